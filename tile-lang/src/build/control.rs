//! Loops and conditions on values of the kernel.

use super::{Arg, Cx, Val};
use crate::dtype::DType;
use crate::ir::{BlockId, OpData, OpKind, Type, ValueId};
use crate::span::Span;

impl Cx {
    /// `for i in lo..hi` with carried variables: `body` gets the induction variable and the carried values and returns
    /// their next values, of the same types. Returns the values after the loop.
    pub fn for_loop(
        &mut self,
        span: Span,
        range: (Arg, Arg),
        stages: usize,
        carried: Vec<Val>,
        body: impl FnOnce(&mut Cx, Val, &[Val]) -> Vec<Val>,
    ) -> Vec<Val> {
        let bounds = [self.lift(span, range.0), self.lift(span, range.1)];
        for b in bounds {
            if !self.is_poison(b) && *self.ty(b) != Type::Scalar(DType::I32) {
                let message = format!("loop bounds are i32, this one is {}", self.ty(b));
                self.error(span, "E51", message, &["write `as i32`".into()]);
            }
        }
        self.refuse_handles(span, &carried);
        let block = self.kernel.add_block();
        let index = self.kernel.add_value(Type::Scalar(DType::I32));
        let inner: Vec<Val> = carried
            .iter()
            .map(|v| {
                let data = self.kernel.values[v.0.index()].clone();
                let inner = self.kernel.add_value(data.ty);
                self.kernel.values[inner.index()].name = data.name;
                Val(inner)
            })
            .collect();
        let mut args: Vec<ValueId> = vec![index];
        args.extend(inner.iter().map(|v| v.0));
        self.kernel.blocks[block.index()].args = args;
        self.nested(span, block, &carried, |cx| body(cx, Val(index), &inner));
        let mut operands = vec![bounds[0].0, bounds[1].0];
        operands.extend(carried.iter().map(|v| v.0));
        self.structured(span, OpKind::For { stages }, operands, &carried, vec![block])
    }

    /// Gives the loop whose body is being staged its label.
    pub fn loop_label(&mut self, label: &str) {
        self.kernel.blocks[self.block.index()].label = Some(label.into());
    }

    /// `if condition { … } else { … }` on a uniform value: both closures get the carried values and return their next
    /// values, of the same types.
    pub fn if_else(
        &mut self,
        span: Span,
        condition: Val,
        carried: Vec<Val>,
        then: impl FnOnce(&mut Cx, &[Val]) -> Vec<Val>,
        otherwise: impl FnOnce(&mut Cx, &[Val]) -> Vec<Val>,
    ) -> Vec<Val> {
        self.if_else_with(span, condition, carried, then, |cx, inner, _| otherwise(cx, inner))
    }

    /// As [`Cx::if_else`]; the second branch also gets what the first one gave.
    pub(super) fn if_else_with(
        &mut self,
        span: Span,
        condition: Val,
        carried: Vec<Val>,
        then: impl FnOnce(&mut Cx, &[Val]) -> Vec<Val>,
        otherwise: impl FnOnce(&mut Cx, &[Val], &[Val]) -> Vec<Val>,
    ) -> Vec<Val> {
        if !self.is_poison(condition) && *self.ty(condition) != Type::Scalar(DType::Bool) {
            let message = format!("`if` needs one uniform bool, this is {}", self.ty(condition));
            self.error(span, "E02", message, &["choose element by element with `select` or `keep`".into()]);
        }
        self.refuse_handles(span, &carried);
        let blocks = [self.kernel.add_block(), self.kernel.add_block()];
        let first = self.nested(span, blocks[0], &carried, |cx| then(cx, &carried));
        self.nested(span, blocks[1], &first, |cx| otherwise(cx, &carried, &first));
        self.structured(span, OpKind::If, vec![condition.0], &first, blocks.to_vec())
    }

    /// Fills a nested block and ends it with a yield of values typed like `like`.
    fn nested(&mut self, span: Span, block: BlockId, like: &[Val], f: impl FnOnce(&mut Cx) -> Vec<Val>) -> Vec<Val> {
        let outer = std::mem::replace(&mut self.block, block);
        let mut next = f(self);
        for (v, l) in next.iter_mut().zip(like) {
            let (got, want) = (self.ty(*v).clone(), self.ty(*l).clone());
            if got != want && got != Type::Error && want != Type::Error {
                let name = self.kernel.values[l.0.index()].name.clone().unwrap_or_default();
                *v = self.error(
                    span,
                    "E52",
                    format!("variable `{name}` is {want} before this block and {got} after it"),
                    &["a variable assigned in a loop or condition keeps its type".into()],
                );
            }
        }
        self.push(span, OpKind::Yield, &next, &[]);
        self.block = outer;
        next
    }

    fn structured(
        &mut self,
        span: Span,
        kind: OpKind,
        operands: Vec<ValueId>,
        like: &[Val],
        blocks: Vec<BlockId>,
    ) -> Vec<Val> {
        let results: Vec<ValueId> = like
            .iter()
            .map(|v| {
                let data = self.kernel.values[v.0.index()].clone();
                let r = self.kernel.add_value(data.ty);
                self.kernel.values[r.index()].name = data.name;
                r
            })
            .collect();
        let id = self.kernel.add_op(OpData { kind, operands, results: results.clone(), blocks, span, name: None });
        self.kernel.blocks[self.block.index()].ops.push(id);
        results.into_iter().map(Val).collect()
    }
}
