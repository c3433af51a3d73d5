//! Loops and conditions: blocks with arguments.

use super::body::{Body, Held, register_type};
use super::crossing::Crossing;
use super::emit::Ssa;
use super::flight::Flight;
use super::notes::Here;
use crate::CodegenError;
use crate::layout::Layout;
use std::collections::HashMap;
use tile_lang::dtype::DType;
use tile_lang::ir::{OpData, OpId, Type, ValueId};

/// Carried values with the block arguments that stand for them.
type Bound = Vec<(ValueId, Vec<Ssa>)>;

impl Body<'_> {
    /// Whether the elements of a carried tile travel in pairs: 16-bit elements, which products take two in a register.
    fn in_pairs(&self, v: ValueId) -> bool {
        let registers = self.layouts.native.get(&v).map_or(1, Layout::registers);
        matches!(self.dtype(v), DType::Bf16 | DType::F16) && registers.is_multiple_of(2)
    }

    /// The registers of carried values, one after the other, with their types.
    fn flatten(&mut self, values: &[ValueId], like: &[ValueId]) -> Result<Vec<(Ssa, &'static str)>, CodegenError> {
        let mut out = Vec::new();
        for (v, l) in values.iter().zip(like) {
            let ty = register_type(self.dtype(*l));
            if self.is_tile(*l) {
                let Some(layout) = self.layouts.native.get(l).cloned() else {
                    return self.broken("carried tile without layout");
                };
                let elements = self.elements(*v, &layout)?;
                if self.in_pairs(*l) {
                    let pairs = elements.chunks(2);
                    out.extend(pairs.map(|pair| {
                        let pair = self.e.vector(pair, ty);
                        (self.e.bitcast(&pair, &format!("vector<2x{ty}>"), "i32"), "i32")
                    }));
                } else {
                    out.extend(elements.into_iter().map(|e| (e, ty)));
                }
            } else {
                out.push((self.scalar(*v)?, ty));
            }
        }
        Ok(out)
    }

    /// Binds carried values to block arguments; returns the arguments' declaration.
    fn arguments(&mut self, values: &[ValueId]) -> Result<(String, Bound), CodegenError> {
        let mut text = Vec::new();
        let mut bound = Vec::new();
        for v in values {
            let pairs = self.is_tile(*v) && self.in_pairs(*v);
            let ty = if pairs { "i32" } else { register_type(self.dtype(*v)) };
            let count = match (self.is_tile(*v), self.layouts.native.get(v)) {
                (true, Some(l)) => l.registers() / if pairs { 2 } else { 1 },
                (true, None) => return self.broken("carried tile without layout"),
                (false, _) => 1,
            };
            let names: Vec<Ssa> = (0..count).map(|_| self.e.fresh()).collect();
            text.extend(names.iter().map(|n| format!("{n}: {ty}")));
            bound.push((*v, names));
        }
        Ok((text.join(", "), bound))
    }

    /// Binds block arguments to the values that they stand for. What was computed before the block is no more the last.
    fn bind(&mut self, bound: Bound) -> Result<(), CodegenError> {
        for (v, names) in bound {
            if self.is_tile(v) {
                let elements = if self.in_pairs(v) { self.apart(&names, self.dtype(v)) } else { names };
                self.define(v, Held::Elements(elements))?;
            } else {
                self.scalars.insert(v, names.into_iter().next().unwrap_or_default());
            }
        }
        self.computed.clear();
        Ok(())
    }

    /// The elements of pairs.
    fn apart(&mut self, pairs: &[Ssa], d: DType) -> Vec<Ssa> {
        let ty = format!("vector<2x{}>", register_type(d));
        let mut out = Vec::with_capacity(2 * pairs.len());
        for pair in pairs {
            let pair = self.e.bitcast(pair, "i32", &ty);
            out.extend([0, 1].map(|i| self.e.extract(&pair, i, &ty)));
        }
        out
    }

    /// Arrays that a block writes or reads, for the barriers between iterations.
    fn touched(&self, block: tile_lang::ir::BlockId, written: &mut Vec<ValueId>, read: &mut Vec<ValueId>) {
        for &id in &self.k.block(block).ops {
            let op = self.k.op(id);
            match &op.kind {
                kind if kind.writes_array() => written.push(op.operands[0]),
                kind if kind.reads_array() => read.push(op.operands[0]),
                _ => {}
            }
            for &b in &op.blocks {
                self.touched(b, written, read);
            }
        }
    }

    fn touch(&mut self, op: &OpData) {
        let (mut written, mut read) = (Vec::new(), Vec::new());
        for &b in &op.blocks {
            self.touched(b, &mut written, &mut read);
        }
        self.written.extend(written);
        self.read.extend(read);
    }

    pub fn for_loop(&mut self, op: &OpData) -> Result<(), CodegenError> {
        self.keep_all()?;
        self.land(0);
        match self.crossing(op) {
            None => self.plain_loop(op),
            Some(crossing) => self.running_loop(op, &crossing),
        }
    }

    fn plain_loop(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let (lo, hi) = (self.scalar(op.operands[0])?, self.scalar(op.operands[1])?);
        let carried = self.k.block(op.blocks[0]).args[1..].to_vec();
        let init = self.flatten(&op.operands[2..], &carried)?;
        let (head, inside, exit) = (self.e.label(), self.e.label(), self.e.label());
        let index = self.e.fresh();
        let (declared, bound) = self.arguments(&carried)?;
        let after: Bound = op.results.iter().copied().zip(bound.iter().map(|b| b.1.clone())).collect();
        self.e.br(&head, &[vec![(lo, "i32")], init].concat());
        self.e.block(&head, &with_index(&index, &declared));
        let more = self.e.icmp("slt", &index, &hi, "i32");
        self.e.cond_br(&more, &inside, &exit);
        self.e.block(&inside, "");
        let next = self.iteration(op, &index, bound, None)?;
        self.e.br(&head, &next);
        self.e.block(&exit, "");
        self.bind(after)
    }

    /// A loop whose last product runs into the next iteration. It is tested before the loop and at the end of the body, and what runs is waited for
    /// on the way out of the body alone: ptxas serialises all products if a path around the loop meets the running sum before the wait (C7514).
    fn running_loop(&mut self, op: &OpData, crossing: &Crossing) -> Result<(), CodegenError> {
        let (lo, hi) = (self.scalar(op.operands[0])?, self.scalar(op.operands[1])?);
        let carried = self.k.block(op.blocks[0]).args[1..].to_vec();
        let init = self.flatten(&op.operands[2..], &carried)?;
        let [first, inside, again, landing, around, exit] = std::array::from_fn(|_| self.e.label());
        let index = self.e.fresh();
        let (declared, bound) = self.arguments(&carried)?;
        let (results, after) = self.arguments(&op.results)?;
        let any = self.e.icmp("slt", &lo, &hi, "i32");
        self.e.cond_br(&any, &first, &around);
        self.e.block(&around, "");
        self.e.br(&exit, &init);
        self.e.block(&first, "");
        self.e.br(&inside, &[vec![(lo, "i32")], init].concat());
        self.e.block(&inside, &with_index(&index, &declared));
        let next = self.iteration(op, &index, bound, Some(crossing))?;
        let more = self.e.icmp("slt", &next[0].0, &hi, "i32");
        self.e.cond_br(&more, &again, &landing);
        self.e.block(&again, "");
        self.e.br(&inside, &next);
        self.e.block(&landing, "");
        self.notes.own();
        self.tiles.push(HashMap::new());
        let mut left = next.into_iter().skip(1).map(|(x, _)| x);
        for (v, names) in &after {
            let held: Vec<Ssa> = left.by_ref().take(names.len()).collect();
            match self.layouts.native.get(v).cloned() {
                Some(layout) if self.is_tile(*v) => self.remember(*v, layout, Held::Elements(held)),
                _ => self.scalars.extend(held.into_iter().map(|x| (*v, x))),
            }
        }
        self.take_off(Some(crossing), &op.results);
        self.land(0);
        let landed = self.flatten(&op.results, &op.results)?;
        self.tiles.pop();
        self.e.br(&exit, &landed);
        self.e.block(&exit, &format!("({results})"));
        self.bind(after)
    }

    /// The body of a loop for one index; the next index and the values that it hands on.
    fn iteration(
        &mut self,
        op: &OpData,
        index: &Ssa,
        bound: Bound,
        crossing: Option<&Crossing>,
    ) -> Result<Vec<(Ssa, &'static str)>, CodegenError> {
        let args = self.k.block(op.blocks[0]).args.clone();
        // What an iteration writes, the next may read, and the other way round. With no iteration nothing meets in between.
        let (written, read) = (self.written.clone(), self.read.clone());
        self.touch(op);
        self.tiles.push(HashMap::new());
        self.scalars.insert(args[0], index.clone());
        let outer = self.notes.at(Here::Entry(op.blocks[0]));
        self.bind(bound)?;
        self.take_off(crossing, &args[1..]);
        let yields = self.block(op.blocks[0])?;
        self.notes.at(outer);
        let mut next = vec![(self.e.add_const(index, 1), "i32")];
        self.land(usize::from(crossing.is_some()));
        // The sum of a product that runs on is carried as it is.
        self.flights.clear();
        next.extend(self.flatten(&yields, &args[1..])?);
        self.tiles.pop();
        self.written.extend(written);
        self.read.extend(read);
        self.touch(op);
        Ok(next)
    }

    /// At the head and after the end of a loop: its crossing product may run, with the sum in one of these values.
    fn take_off(&mut self, crossing: Option<&Crossing>, carried: &[ValueId]) {
        if let Some(c) = crossing {
            let (value, put_off) = (Some(carried[c.carried]), c.put_off.clone());
            self.flights.push(Flight { value, words: Vec::new(), slots: Vec::new(), put_off });
        }
    }

    pub fn if_else(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        self.keep_all()?;
        if self.meddles(id) {
            self.land(0);
        }
        self.land_used(id);
        let condition = self.scalar(op.operands[0])?;
        let (yes, no, join) = (self.e.label(), self.e.label(), self.e.label());
        self.e.cond_br(&condition, &yes, &no);
        let (written, read) = (self.written.clone(), self.read.clone());
        for (label, block) in [&yes, &no].into_iter().zip(&op.blocks) {
            self.e.block(label, "");
            self.written.clone_from(&written);
            self.read.clone_from(&read);
            self.tiles.push(HashMap::new());
            let yields = self.block(*block)?;
            let values = self.flatten(&yields, &op.results)?;
            self.tiles.pop();
            self.e.br(&join, &values);
        }
        self.written.extend(written);
        self.read.extend(read);
        self.touch(op);
        let (declared, bound) = self.arguments(&op.results)?;
        self.e.block(&join, &if declared.is_empty() { String::new() } else { format!("({declared})") });
        self.bind(bound)
    }

    /// Whether a type is carried in registers.
    pub fn is_scalar(&self, v: ValueId) -> bool {
        matches!(self.k.ty(v), Type::Scalar(_))
    }
}

/// The declaration of a block's arguments, a loop's index first.
fn with_index(index: &Ssa, others: &str) -> String {
    let comma = if others.is_empty() { "" } else { ", " };
    format!("({index}: i32{comma}{others})")
}
