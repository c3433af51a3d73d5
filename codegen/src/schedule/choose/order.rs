//! The order of items: in bands, where each tile of rows and each tile of columns is staged by many items.

use super::Chosen;
use crate::CodegenError;
use crate::lower::Machine;
use crate::passes::{Axis, Derived, explicit_roles};
use tile_lang::ir::{Kernel, OpKind, Role};
use tile_lang::schedule::{Pinned, Raster};
use tile_lang::span::Span;

/// Rows of a band. CTAs of one wave, some 130, make a patch of 8 rows by 16 columns of tiles then, which is near to square, so that least is
/// read at one time.
const BAND: usize = 8;

pub(super) fn choose(chosen: &mut Chosen, machine: Machine) -> Result<(), CodegenError> {
    if chosen.kernel.schedule.as_deref().is_some_and(|s| s.raster.is_some()) {
        return Ok(());
    }
    let roles = explicit_roles(&chosen.kernel, machine.group_bytes)?;
    if !staged_by_rows_and_columns(&roles) {
        return Ok(());
    }
    let raster = Raster::Grouped(BAND);
    chosen.schedule().raster = Some(Pinned { value: raster, span: Span::NONE });
    chosen.note(
        format!("raster {raster}"),
        "one staged operand depends on the rows of `work` alone and another on its columns, so that items of a band read both out of the L2 cache".into(),
    );
    Ok(())
}

/// Whether some staged tile depends on the last axis of `work` and not on the one before, and another the other way round.
fn staged_by_rows_and_columns(k: &Kernel) -> bool {
    let Some(producer) = k.body(Role::Producer) else { return false };
    let mut axes = 0;
    k.walk(|_, op| {
        if op.kind == OpKind::Work {
            axes = op.results.len();
        }
    });
    if axes < 2 {
        return false;
    }
    let [rows, columns] = [axes - 2, axes - 1].map(|i| Derived::of(k, producer, Axis::At(i)));
    let (mut by_rows, mut by_columns) = (false, false);
    k.walk(|_, op| {
        let OpKind::RingFill(parts) = &op.kind else { return };
        let mut at = 0;
        for part in parts {
            let offsets = &op.operands[at + 1..at + 1 + part.rank];
            let [r, c] = [&rows, &columns].map(|axis| offsets.iter().any(|v| axis.has(*v)));
            by_rows |= r && !c;
            by_columns |= c && !r;
            at += 1 + part.rank;
        }
    });
    by_rows && by_columns
}
