//! Library kernels as plans of one instruction, with random contents.

use tile_lang::DType;
use tile_lang::build::{Generic, KernelDef};
use tile_lang::plan::{Buffer, Operand, Plan, Visibility, Weight};
use tile_models::kernels as lib;

/// A plan and the integers that its buffers start with; everything else is random.
#[derive(Debug)]
pub struct Case {
    /// Name, unique.
    pub name: String,
    /// One instruction.
    pub plan: Plan,
    /// Contents of integer buffers by index.
    pub integers: Vec<(usize, Vec<i32>)>,
}

/// One argument of a case.
enum Arg {
    /// A weight.
    W(DType, Vec<usize>),
    /// A buffer.
    B(DType, Vec<usize>),
    /// An integer buffer with these contents.
    I(Vec<i32>),
    /// A number.
    F(f32),
    /// A number.
    N(i32),
}

fn case(name: String, def: KernelDef, generics: &[Generic], args: Vec<Arg>) -> Result<Case, String> {
    let mut plan = Plan::new(&name);
    let mut integers = Vec::new();
    let buffer = |name: &str, dtype, dims: Vec<usize>| Buffer { name: name.into(), dtype, dims, visibility: Visibility::Device };
    plan.buffers.push(buffer("stop", DType::I32, vec![1]));
    let kernel = def.instance(generics).map_err(|e| e.to_string())?;
    let kernel = plan.kernel(kernel);
    let mut operands = Vec::new();
    for (i, arg) in args.into_iter().enumerate() {
        operands.push(match arg {
            Arg::W(dtype, dims) => {
                plan.weights.push(Weight { name: format!("arg{i}"), dtype, dims });
                Operand::Weight { id: plan.weights.len() - 1 }
            }
            Arg::B(dtype, dims) => {
                plan.buffers.push(buffer(&format!("arg{i}"), dtype, dims.clone()));
                Operand::Buffer { id: plan.buffers.len() - 1, offset: 0, dims }
            }
            Arg::I(contents) => {
                let dims = vec![contents.len()];
                plan.buffers.push(buffer(&format!("arg{i}"), DType::I32, dims.clone()));
                integers.push((plan.buffers.len() - 1, contents));
                Operand::Buffer { id: plan.buffers.len() - 1, offset: 0, dims }
            }
            Arg::F(x) => Operand::F32(x),
            Arg::N(x) => Operand::I32(x),
        });
    }
    plan.push(kernel, operands, &name, (file!(), line!())).map_err(|e| e.to_string())?;
    plan.link();
    Ok(Case { name, plan, integers })
}

/// All cases.
///
/// # Errors
/// A case that doesn't stage or whose operands don't fit: a fault of this file.
pub fn all() -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    let (f32, bf16) = (DType::F32, DType::Bf16);
    for (n, k, t, norm) in [(48, 128, 16, 0), (512, 384, 16, 1), (37, 200, 16, 1), (1000, 520, 8, 0)] {
        let generics: Vec<Generic> = vec![bf16.into(), f32.into(), f32.into(), norm.into(), t.into(), 16.into(), 128.into()];
        let args = vec![Arg::W(bf16, vec![n, k]), Arg::B(f32, vec![t, k]), Arg::W(f32, vec![k]), Arg::B(f32, vec![t, n]), Arg::F(1e-5)];
        out.push(case(format!("linear_{n}x{k}_{t}_{norm}"), lib::linear::linear::DEF, &generics, args)?);
        let generics: Vec<Generic> = vec![f32.into(), f32.into(), norm.into(), t.into(), 16.into(), 256.into(), 2.into()];
        let args = vec![
            Arg::W(DType::E4m3, vec![n, k]),
            Arg::W(f32, vec![k.div_ceil(128), n]),
            Arg::B(f32, vec![t, k]),
            Arg::W(f32, vec![k]),
            Arg::B(f32, vec![t, n]),
            Arg::F(1e-5),
        ];
        out.push(case(format!("linear_fp8_{n}x{k}_{t}_{norm}"), lib::linear::linear_fp8::DEF, &generics, args)?);
        let k = k / 32 * 32;
        let generics: Vec<Generic> = vec![bf16.into(), f32.into(), 0.into(), t.into(), 16.into(), 256.into(), 8.into()];
        let args = vec![
            Arg::W(DType::E2m1, vec![n, k]),
            Arg::W(DType::E8m0, vec![n, k / 32]),
            Arg::B(bf16, vec![t, k]),
            Arg::W(f32, vec![k]),
            Arg::B(f32, vec![t, n]),
            Arg::F(1e-5),
        ];
        out.push(case(format!("linear_mxfp4_{n}x{k}_{t}"), lib::linear::linear_mxfp4::DEF, &generics, args)?);
    }
    for (position, rows, window) in [(0, 1, 4096), (130, 16, 4096), (300, 7, 128), (511, 1, 4096)] {
        let (h, kv, d, dv, t, s) = (8usize, 2usize, 64usize, 32usize, 16usize, 4usize);
        let generics: Vec<Generic> = [h / kv, 16, 2, 32, d + 8, dv, dv + 8, 128].map(Generic::Int).to_vec();
        let args = vec![
            Arg::B(bf16, vec![h, t * d]),
            Arg::B(bf16, vec![kv, 640, d + 8]),
            Arg::B(bf16, vec![kv, 640, dv + 8]),
            Arg::I(vec![position, rows, 1, 0, 0, 0, 0, 0]),
            Arg::B(f32, vec![t, s, h, dv]),
            Arg::B(f32, vec![t, h, s]),
            Arg::B(f32, vec![t, h, s]),
            Arg::N(window),
        ];
        out.push(case(format!("attention_{position}_{rows}_{window}"), lib::attention::attention::DEF, &generics, args)?);
    }
    Ok(out)
}
