//! Tensor maps: how bulk tensor copies cut boxes out of arrays.

use crate::error::{Attempt, RuntimeError};
use cudarc::driver::sys::{self, CUtensorMapDataType as DataType};
use tile_lang::DType;
use tile_lang::artifact::{Image, TensorBox};
use tile_lang::plan::{Operand, Plan};

/// Bytes of a map, and its alignment.
pub(crate) const MAP_BYTES: usize = 128;

/// Parameters of the program that need a map: instruction and parameter, in the order in which the maps lie.
pub(crate) fn wanted(plan: &Plan, image: &Image) -> Vec<(usize, usize)> {
    let boxes = |kernel: usize, param: usize| image.boxes.get(kernel).and_then(|k| k.get(param)).copied().flatten();
    let all = plan.program.iter().enumerate();
    all.flat_map(|(i, instr)| (0..instr.operands.len()).map(move |p| (i, instr, p)))
        .filter(|(_, instr, p)| boxes(instr.kernel, *p).is_some())
        .map(|(i, _, p)| (i, p))
        .collect()
}

/// The maps that [`wanted`] lists, one after the other. `buffers` are the addresses of the plan's buffers.
pub(crate) fn encode(plan: &Plan, image: &Image, buffers: &[u64]) -> Result<Vec<u8>, RuntimeError> {
    let mut out = Vec::new();
    for (index, param) in wanted(plan, image) {
        let instr = &plan.program[index];
        let Some(wanted) = image.boxes[instr.kernel][param] else { continue };
        let fail = |message: String| RuntimeError::Plan {
            plan: plan.name.clone(),
            message: format!("instruction `{}`, parameter {param}: {message}", instr.label),
        };
        let Operand::Buffer { id, offset, dims } = &instr.operands[param] else {
            return Err(fail("only buffers are copied in boxes".into()));
        };
        let dtype = plan.buffers[*id].dtype;
        let address = buffers[*id] + dtype.bytes(*offset) as u64;
        out.extend(one(address, dtype, dims, wanted).map_err(fail)??);
    }
    Ok(out)
}

/// The map of one dense array. The outer result says what makes it impossible, the inner one what the driver said.
fn one(
    address: u64,
    dtype: DType,
    dims: &[usize],
    wanted: TensorBox,
) -> Result<Result<[u8; MAP_BYTES], RuntimeError>, String> {
    let rank = dims.len();
    let row = dims.last().map_or(0, |n| dtype.bytes(*n));
    if !(2..=5).contains(&rank) || dims.contains(&0) {
        return Err(format!(
            "tensor copies take arrays of 2 to 5 axes that aren't empty, this one has extents {dims:?}"
        ));
    }
    if !row.is_multiple_of(16) || !address.is_multiple_of(16) {
        return Err(format!(
            "tensor copies need rows and a start at multiples of 16 bytes; its rows have {row} bytes, it starts at byte {} of 16",
            address % 16
        ));
    }
    // Elements of 4 bits are copied as bytes, two at a time.
    let in_unit = if dtype.bits() < 8 { 8 / dtype.bits() } else { 1 };
    let kind = match dtype.bits() {
        4 | 8 => DataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        16 => DataType::CU_TENSOR_MAP_DATA_TYPE_UINT16,
        32 => DataType::CU_TENSOR_MAP_DATA_TYPE_UINT32,
        bits => return Err(format!("tensor copies know no elements of {bits} bits")),
    };
    // The innermost axis comes first; strides are those of all others, in bytes.
    let mut extents: Vec<u64> = dims.iter().rev().map(|n| *n as u64).collect();
    extents[0] /= in_unit as u64;
    let mut strides = Vec::with_capacity(rank - 1);
    let mut bytes = row as u64;
    for n in &extents[1..] {
        strides.push(bytes);
        bytes *= n;
    }
    let mut cut = vec![1u32; rank];
    cut[0] = (wanted.columns / in_unit) as u32;
    cut[1] = wanted.rows as u32;
    let steps = vec![1u32; rank];
    let swizzle = if wanted.swizzled {
        sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B
    } else {
        sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE
    };
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: all pointers are to arrays of `rank` (strides: `rank - 1`) elements that outlive the call; the address is only noted.
    let status = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut map,
            kind,
            rank as u32,
            address as *mut std::ffi::c_void,
            extents.as_ptr(),
            strides.as_ptr(),
            cut.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    Ok(status.result().to("describe an array for tensor copies").map(|()| {
        let mut bytes = [0; MAP_BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(map.opaque) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }))
}
