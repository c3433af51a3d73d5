//! What kernels say about themselves, on the simulators: at once.

use super::InterpError;
use super::exec::Run;
use super::prepare::Step;
use super::value::Value;
use crate::debug::{self, Number};

/// Element `i` of a value whose tile has `columns` columns.
fn element(value: &Value, i: usize, columns: usize) -> Option<Number> {
    Some(match value {
        Value::Empty => return None,
        Value::F32(x) => Number::Real(*x),
        Value::I32(x) => Number::Int(*x),
        Value::Bool(x) => Number::Truth(*x != 0),
        Value::TileF(t) => Number::Real(*t.get(i)?),
        Value::TileI(t) => Number::Int(*t.get(i)?),
        Value::TileB(t) => Number::Truth(*t.get(i)? != 0),
        Value::View(v) => {
            let columns = columns.max(1);
            Number::Real(*v.data.get(v.offset + i / columns * v.row + i % columns * v.col)?)
        }
    })
}

impl Run<'_> {
    /// Element `i` of an operand.
    fn said(&self, step: &Step, operand: usize, i: usize) -> Result<Number, InterpError> {
        let columns = step.ins.get(operand).map_or(1, |input| input.shape[1]);
        let number = self.peek(step, operand).and_then(|value| element(value, i, columns));
        number.ok_or_else(|| self.malformed(step))
    }

    /// Empties the slots of operands that nobody reads any more.
    fn done_with(&mut self, step: &Step) {
        for i in 0..step.ins.len() {
            let value = self.take(step, i);
            self.pool.recycle(value);
        }
    }
}

/// `device_assert!`: the first element of the condition that is false ends the run.
pub(super) fn assert(run: &mut Run<'_>, step: &Step) -> Result<(), InterpError> {
    let Some(site) = &step.site else { return Err(run.malformed(step)) };
    let n = site.shape.iter().product::<usize>();
    for i in 0..n {
        if run.said(step, 0, i)? == Number::Truth(true) {
            continue;
        }
        let values = (1..step.ins.len()).map(|v| run.said(step, v, i)).collect::<Result<Vec<_>, _>>()?;
        return Err(InterpError(site.failed(run.item, i, &values)));
    }
    run.done_with(step);
    Ok(())
}

/// `dbg_tile!`
pub(super) fn show(run: &mut Run<'_>, step: &Step) -> Result<(), InterpError> {
    let Some(site) = &step.site else { return Err(run.malformed(step)) };
    let n = site.shape.iter().product::<usize>();
    let elements = (0..n).map(|i| run.said(step, 0, i)).collect::<Result<Vec<_>, _>>()?;
    debug::show(&site.shown(run.item, &elements));
    run.done_with(step);
    Ok(())
}
