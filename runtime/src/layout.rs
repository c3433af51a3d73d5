//! Where a plan's arrays lie on a device, and the records that name them.

use crate::error::RuntimeError;
use crate::tensor_map;
use tile_lang::DType;
use tile_lang::artifact::Image;
use tile_lang::ir::{Access, Type};
use tile_lang::packing::Packing;
use tile_lang::plan::{Operand, Plan, Weight};
use tile_lang::record::{self, RECORD_BYTES};

/// Weights begin at multiples of this.
const ALIGN: usize = 1024;
/// Counters behind those of the instructions, for the kernel's own use.
const SPARE_COUNTERS: usize = 8;

/// One stored copy of a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WeightCopy {
    /// Index into the plan's weights.
    pub weight: usize,
    /// Storage order; none is row-major.
    pub packing: Option<Packing>,
    /// Where another program has stored it already.
    pub there: Option<u64>,
    /// First byte in the weights' memory, unless it is there.
    pub offset: usize,
    /// Its bytes.
    pub bytes: usize,
}

impl WeightCopy {
    /// Its address, with `weights` the address of this program's own.
    pub fn address(&self, weights: u64) -> u64 {
        self.there.unwrap_or(weights + self.offset as u64)
    }
}

/// Sizes and places of everything a plan needs on a device.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// One per distinct use of a weight, in order of weights.
    pub copies: Vec<WeightCopy>,
    /// Bytes of all copies that aren't there, with their padding.
    pub weight_bytes: usize,
    /// Bytes of each buffer.
    pub buffers: Vec<usize>,
}

impl Layout {
    /// Checks that the plan and its image are consistent, and places the arrays. `there` tells where a weight is stored
    /// in an order already.
    pub fn new(
        plan: &Plan,
        image: &Image,
        there: &dyn Fn(&Weight, Option<&Packing>) -> Option<u64>,
    ) -> Result<Layout, RuntimeError> {
        let fail = |message: String| RuntimeError::Plan { plan: plan.name.clone(), message };
        check(plan, image).map_err(fail)?;
        let mut layout = Layout { copies: Vec::new(), weight_bytes: 0, buffers: Vec::new() };
        for b in &plan.buffers {
            layout
                .buffers
                .push(array_bytes(b.dtype, &b.dims).ok_or_else(|| fail(format!("buffer `{}` is too large", b.name)))?);
        }
        for instr in &plan.program {
            for (param, operand) in instr.operands.iter().enumerate() {
                let Operand::Weight { id } = operand else { continue };
                let packing = packing(plan, image, instr.kernel, param);
                if layout.find(*id, packing).is_none() {
                    let w = &plan.weights[*id];
                    let too_large = || fail(format!("weight `{}` is too large", w.name));
                    let dense = array_bytes(w.dtype, &w.dims).ok_or_else(too_large)?;
                    let bytes = match packing {
                        None => dense,
                        Some(p) if w.dims.len() >= 2 && p.tile[0] > 0 && p.tile[1] > 0 => p.bytes(w.dtype, &w.dims),
                        Some(_) => {
                            return Err(fail(format!("weight `{}` has too few axes to be stored as tiles", w.name)));
                        }
                    };
                    let there = there(w, packing);
                    layout.copies.push(WeightCopy { weight: *id, packing: packing.cloned(), there, offset: 0, bytes });
                }
            }
        }
        layout.copies.sort_by_key(|c| c.weight);
        for copy in layout.copies.iter_mut().filter(|c| c.there.is_none()) {
            copy.offset = layout.weight_bytes;
            layout.weight_bytes += copy.bytes.next_multiple_of(ALIGN);
        }
        Ok(layout)
    }

    fn find(&self, weight: usize, packing: Option<&Packing>) -> Option<&WeightCopy> {
        self.copies.iter().find(|c| c.weight == weight && c.packing.as_ref() == packing)
    }

    /// Bytes of the control block with its counters.
    pub fn control_bytes(plan: &Plan) -> usize {
        record::control::BYTES + (plan.program.len() + SPARE_COUNTERS) * record::control::COUNTER_STRIDE
    }

    /// The records of all instructions, one after the other. `weights` is the address of the weights' memory, `buffers`
    /// are those of the buffers, `maps` that of the tensor maps' memory, `ctas` the size of the grid.
    pub fn records(
        &self,
        plan: &Plan,
        image: &Image,
        ctas: usize,
        weights: u64,
        buffers: &[u64],
        maps: u64,
    ) -> Result<Vec<u8>, RuntimeError> {
        let mut out = Vec::with_capacity(plan.program.len() * RECORD_BYTES);
        let order = tensor_map::wanted(plan, image);
        for (index, instr) in plan.program.iter().enumerate() {
            let address = |param: usize, operand: &Operand| match operand {
                Operand::Buffer { id, offset, .. } => buffers[*id] + plan.buffers[*id].dtype.bytes(*offset) as u64,
                Operand::Weight { id } => {
                    self.find(*id, packing(plan, image, instr.kernel, param)).map_or(0, |copy| copy.address(weights))
                }
                Operand::F32(_) | Operand::I32(_) | Operand::Bool(_) => 0,
            };
            out.extend(record::encode(
                instr,
                index,
                &plan.kernels[instr.kernel],
                address,
                |param| {
                    let place = order.binary_search(&(index, param));
                    place.map_or(0, |i| maps + (i * tensor_map::MAP_BYTES) as u64)
                },
                |operand| plan.operand_dims(operand).to_vec(),
                |dep| plan.program[dep].items().min(ctas),
            )?);
        }
        Ok(out)
    }
}

/// Bytes of a dense array, unless they overflow.
fn array_bytes(dtype: DType, dims: &[usize]) -> Option<usize> {
    let bits = dims.iter().try_fold(dtype.bits(), |n, d| n.checked_mul(*d))?;
    bits.checked_next_multiple_of(8).filter(|b| *b < isize::MAX as usize).map(|b| b / 8)
}

/// How a weight bound to a parameter is stored: packed where the parameter is a staged weight, row-major otherwise.
fn packing<'a>(plan: &Plan, image: &'a Image, kernel: usize, param: usize) -> Option<&'a Packing> {
    let k = &plan.kernels[kernel];
    match k.ty(k.params[param].value) {
        Type::Global(_, _, Access::Weight) => image.packings.get(kernel)?.get(param)?.as_ref(),
        _ => None,
    }
}

/// What later code relies on: indices in range, views inside their buffers, a usable stop element.
fn check(plan: &Plan, image: &Image) -> Result<(), String> {
    if image.packings.len() != plan.kernels.len() || image.boxes.len() != plan.kernels.len() {
        return Err(format!("its image is for {} kernels, the plan has {}", image.packings.len(), plan.kernels.len()));
    }
    for k in &plan.kernels {
        if let Some(p) = k.params.iter().find(|p| p.value.index() >= k.values.len()) {
            return Err(format!("parameter `{}` of kernel `{}` has no type", p.name, k.name));
        }
    }
    for (index, instr) in plan.program.iter().enumerate() {
        let bad = |message: String| format!("instruction `{}`: {message}", instr.label);
        let k = plan.kernels.get(instr.kernel).ok_or_else(|| bad(format!("there is no kernel {}", instr.kernel)))?;
        if k.params.len() != instr.operands.len() {
            return Err(bad(format!(
                "kernel `{}` takes {} operands, got {}",
                k.name,
                k.params.len(),
                instr.operands.len()
            )));
        }
        if let Some(dep) = instr.after.iter().find(|dep| **dep >= index) {
            return Err(bad(format!("it waits for instruction {dep}, which is not before it")));
        }
        if instr.extents.iter().try_fold(1usize, |a, n| a.checked_mul(*n)).is_none() {
            return Err(bad(format!("a grid of {:?} items", instr.extents)));
        }
        for (param, operand) in k.params.iter().zip(&instr.operands) {
            operand_fits(plan, k.ty(param.value), operand).map_err(|m| bad(format!("`{}`: {m}", param.name)))?;
        }
    }
    let stop = plan.stop;
    match plan.buffers.get(stop.buffer) {
        Some(b) if b.dtype == DType::I32 && stop.element < b.dims.iter().product() => Ok(()),
        Some(b) => {
            Err(format!("its stop flag is element {} of buffer `{}`, which holds no such i32", stop.element, b.name))
        }
        None => Err("it names no buffer for its stop flag; every plan needs one i32 element for it".into()),
    }
}

fn operand_fits(plan: &Plan, ty: &Type, operand: &Operand) -> Result<(), String> {
    let rank = match operand {
        Operand::Buffer { id, offset, dims } => {
            let b = plan.buffers.get(*id).ok_or_else(|| format!("there is no buffer {id}"))?;
            let size = array_bytes(b.dtype, &b.dims).ok_or_else(|| format!("buffer `{}` is too large", b.name))?;
            let elements = dims.iter().try_fold(1usize, |a, n| a.checked_mul(*n)).and_then(|n| n.checked_add(*offset));
            if elements.and_then(|n| n.checked_mul(b.dtype.bits())).is_none_or(|bits| bits.div_ceil(8) > size) {
                return Err(format!("elements from {offset} with extents {dims:?} are not all in buffer `{}`", b.name));
            }
            if !(offset * b.dtype.bits()).is_multiple_of(8) {
                return Err(format!("element {offset} of buffer `{}` begins inside a byte", b.name));
            }
            dims.len()
        }
        Operand::Weight { id } => plan.weights.get(*id).ok_or_else(|| format!("there is no weight {id}"))?.dims.len(),
        Operand::F32(_) | Operand::I32(_) | Operand::Bool(_) => {
            return if matches!(ty, Type::Scalar(_)) {
                Ok(())
            } else {
                Err(format!("the parameter is {ty}, the operand a number"))
            };
        }
    };
    match ty {
        Type::Global(_, want, _) if *want == rank => Ok(()),
        _ => Err(format!("the parameter is {ty}, the operand an array with {rank} axes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tile_lang::ir::{Kernel, Param};
    use tile_lang::packing::TileOrder;
    use tile_lang::plan::{Buffer, ElementRef, Instr, Visibility};

    fn kernel(types: &[Type]) -> Kernel {
        let mut k = Kernel::new("k");
        for (i, ty) in types.iter().enumerate() {
            let value = k.add_value(ty.clone());
            k.params.push(Param { name: format!("p{i}"), value });
        }
        k
    }

    fn instr(operands: Vec<Operand>, extents: Vec<usize>, after: Vec<usize>) -> Instr {
        Instr { kernel: 0, operands, extents, after, label: "op".into(), file: "m.rs".into(), line: 1 }
    }

    /// Two instructions of `k(&mut Global<f32, 1>, &Weight<bf16, 2>, &Global<bf16, 2>, f32)`.
    fn example() -> (Plan, Image) {
        let mut plan = Plan::new("example");
        plan.kernels.push(kernel(&[
            Type::Global(DType::F32, 1, Access::Write),
            Type::Global(DType::Bf16, 2, Access::Weight),
            Type::Global(DType::Bf16, 2, Access::Read),
            Type::Scalar(DType::F32),
        ]));
        let buffer = |name: &str, dtype, dims: &[usize], visibility| Buffer {
            name: name.into(),
            dtype,
            dims: dims.into(),
            visibility,
        };
        plan.buffers.push(buffer("x", DType::F32, &[100], Visibility::Device));
        plan.buffers.push(buffer("stop", DType::I32, &[4], Visibility::Host));
        plan.weights.push(Weight { name: "w".into(), dtype: DType::Bf16, dims: vec![20, 30] });
        plan.stop = ElementRef { buffer: 1, element: 2 };
        for (offset, extents, after) in [(0, vec![3, 50], vec![]), (60, vec![2], vec![0])] {
            let x = Operand::Buffer { id: 0, offset, dims: vec![40] };
            let operands = vec![x, Operand::Weight { id: 0 }, Operand::Weight { id: 0 }, Operand::F32(1.5)];
            plan.program.push(instr(operands, extents, after));
        }
        let packing = Packing { tile: [16, 32], order: TileOrder::RowMajor };
        let image = Image {
            target: "sm_90a".into(),
            entry: "entry".into(),
            threads: 384,
            cluster: 1,
            shared_bytes: 0,
            ptx: String::new(),
            cubin: Vec::new(),
            packings: vec![vec![None, Some(packing.clone()), Some(packing), None]],
            boxes: vec![vec![None; 4]],
            registers: 0,
            spills: 0,
            sites: Vec::new(),
        };
        (plan, image)
    }

    #[test]
    fn one_copy_per_distinct_use() {
        let (plan, image) = example();
        let layout = Layout::new(&plan, &image, &|_, _| None).unwrap();
        let sizes: Vec<_> = layout.copies.iter().map(|c| (c.packing.is_some(), c.offset, c.bytes)).collect();
        assert_eq!(sizes, [(true, 0, 2 * 16 * 32 * 2), (false, 2048, 20 * 30 * 2)]);
        assert_eq!(layout.weight_bytes, 2048 + 2048);
        assert_eq!(layout.buffers, [400, 16]);
    }

    #[test]
    fn what_is_there_is_not_stored_again() {
        let (plan, image) = example();
        let at = 0x5_0000_0000;
        let layout = Layout::new(&plan, &image, &|w, packing| {
            assert_eq!(w.name, "w");
            packing.is_some().then_some(at)
        });
        let layout = layout.unwrap();
        // Only the row-major one, at the start of this program's own weights.
        assert_eq!(layout.weight_bytes, 2048);
        let places: Vec<u64> = layout.copies.iter().map(|c| c.address(0x7_0000_0000)).collect();
        assert_eq!(places, [at, 0x7_0000_0000]);
    }

    #[test]
    fn records_hold_addresses_extents_and_arrivals() {
        let (plan, image) = example();
        let layout = Layout::new(&plan, &image, &|_, _| None).unwrap();
        let bytes = layout.records(&plan, &image, 132, 0x7_0000_0000, &[0x1000, 0x2000], 0).unwrap();
        assert_eq!(bytes.len(), 2 * RECORD_BYTES);
        let second = &bytes[RECORD_BYTES..];
        let word = |at: usize| i32::from_le_bytes(second[at..at + 4].try_into().unwrap());
        let address = |at: usize| u64::from_le_bytes(second[at..at + 8].try_into().unwrap());
        assert_eq!((word(record::ITEMS), word(record::DEPS), word(record::COUNTER)), (2, 1, 1));
        // 150 items on 132 CTAs: each raises the counter once.
        assert_eq!((word(record::DEP_LIST), word(record::DEP_LIST + 4)), (0, 132));
        let at = record::param_offsets(&plan.kernels[0]);
        assert_eq!((address(at[0]), word(at[0] + 8)), (0x1000 + 240, 40));
        assert_eq!((address(at[1]), word(at[1] + 8), word(at[1] + 12)), (0x7_0000_0000, 20, 30));
        assert_eq!(address(at[2]), 0x7_0000_0000 + 2048);
        assert_eq!(f32::from_bits(word(at[3]) as u32), 1.5);
    }

    #[test]
    fn inconsistent_plans_are_refused() {
        type Change = fn(&mut Plan, &mut Image);
        let cases: [(Change, &str); 8] = [
            (|p, _| p.stop.element = 4, "holds no such i32"),
            (|p, _| p.stop.buffer = 0, "holds no such i32"),
            (|p, _| p.stop.buffer = 9, "names no buffer for its stop flag"),
            (|p, _| p.program[1].kernel = 7, "there is no kernel 7"),
            (|p, _| p.program[0].after = vec![1], "which is not before it"),
            (|p, _| p.program[0].operands[1] = Operand::Weight { id: 3 }, "there is no weight 3"),
            (
                |p, _| p.program[1].operands[0] = Operand::Buffer { id: 0, offset: 61, dims: vec![40] },
                "not all in buffer `x`",
            ),
            (|_, i| i.packings.clear(), "its image is for 0 kernels"),
        ];
        for (change, text) in cases {
            let (mut plan, mut image) = example();
            change(&mut plan, &mut image);
            let message = Layout::new(&plan, &image, &|_, _| None).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(text), "{message}");
        }
    }
}
