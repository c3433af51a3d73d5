//! Kernels under the library's schedules: what must come out is what comes out without them.

use super::{Case, attention, gemm, gemm_fp8, linear, prefill};
use tile_lang::schedule::ScheduleDef;
use tile_models::kernels::library;

/// Cases of each kernel that a schedule is made for.
const EACH: usize = 2;

pub(super) fn cases() -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    for def in library::schedules() {
        let family = match def.kernel.name {
            name if name.starts_with("gemm_fp8") => gemm_fp8::cases,
            "gemm" => gemm::cases,
            "attention" => attention::cases,
            "prefill" => prefill::cases,
            _ => linear::cases,
        };
        let mut fit = family()?.into_iter().filter(|c| c.kernel == def.kernel.name).take(EACH).peekable();
        if fit.peek().is_none() {
            return Err(format!("no case runs `{}`, which schedule `{}` is for", def.kernel.name, def.name));
        }
        for case in fit {
            out.push(under(case, def)?);
        }
    }
    Ok(out)
}

/// A case of one kernel under a schedule of it.
pub(super) fn under(mut case: Case, def: ScheduleDef) -> Result<Case, String> {
    let kernel = case.plan.kernels[0].clone();
    let schedule = def.schedule(&kernel).map_err(|e| e.to_string())?;
    case.plan.schedule(0, schedule).map_err(|e| e.to_string())?;
    case.name = format!("{}_{}", case.name, def.name);
    case.shape = format!("{}_{}", case.shape, def.name);
    Ok(case)
}
