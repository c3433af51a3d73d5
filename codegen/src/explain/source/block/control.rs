//! Loops with the variables that they carry, and conditions.

use super::super::reserved;
use super::super::text::{Text, typed_literal};
use super::{Writer, identifier};
use std::collections::HashMap;
use tile_lang::ir::{Kernel, OpData, OpId, OpKind, ValueId};

impl Writer<'_> {
    /// A loop: its variables, its header, its block, what they become.
    pub fn for_loop(&mut self, op: &OpData, stages: usize) {
        let (bounds, inits) = op.operands.split_at(2);
        // A range of two literals would be unrolled.
        if stages == 0 && bounds.iter().all(|v| self.is_literal(*v)) {
            self.bind_through(bounds[0]);
        }
        let mut groups: Vec<&[ValueId]> = inits.chunks(1).collect();
        groups.push(bounds);
        self.settle(&groups);
        let block = self.k.block(op.blocks[0]);
        let ends = yielded(self.k, &block.ops);
        let mut carried = Vec::new();
        // Carried variables count in the order of their declarations: one that is there already is used if none before it is new.
        let mut last = None;
        for (i, init) in inits.iter().enumerate() {
            let arg = block.args[i + 1];
            let own = self
                .variables
                .get(init)
                .copied()
                .filter(|n| self.starters.contains(init) && last.is_none_or(|l| l < *n));
            let name = match (own, self.text(*init)) {
                (Some(n), Text::Atom(name)) => {
                    last = Some(n);
                    self.bound(arg, name.clone());
                    name
                }
                (_, text) => {
                    let text = if let Text::Literal(l) = text { typed_literal(l) } else { text.plain() };
                    let name = self.name_like(arg, *init);
                    self.line(&format!("let mut {name} = {text};"));
                    last = Some(usize::MAX);
                    name
                }
            };
            carried.push((arg, ends[i], name));
        }
        let [from, to] = [bounds[0], bounds[1]].map(|v| self.text(v).tight_bound());
        self.take(&op.operands);
        let index = self.name_or_none(block.args[0], "k");
        // Names of ops begin with a loop's label or variable: one without a variable keeps its name as a label.
        let variable = &self.k.values[block.args[0].index()].name;
        let named = block.label.as_deref().or_else(|| variable.as_deref().filter(|_| index == "_"));
        let label = named.map_or_else(String::new, |name| {
            let label = identifier(name);
            let label = if reserved().contains(&label) { format!("{label}_") } else { label };
            self.labels.insert(op.blocks[0], label.clone());
            format!("'{label}: ")
        });
        let range = if stages > 0 { format!("pipelined::<{stages}>({from}..{to})") } else { format!("{from}..{to}") };
        self.line(&format!("{label}for {index} in {range} {{"));
        self.depth += 1;
        self.ops(&block.ops, &carried, &ends);
        self.assign(&carried);
        self.depth -= 1;
        self.line("}");
        for (r, (_, _, name)) in op.results.iter().zip(carried) {
            self.names.insert(*r, name);
        }
    }

    /// The assignments at the end of a loop's block that the ops have not made.
    fn assign(&mut self, carried: &[(ValueId, ValueId, String)]) {
        let open: Vec<&(ValueId, ValueId, String)> = carried
            .iter()
            .filter(|(_, end, name)| self.names.get(end) != Some(name) || self.is_old(*end, carried))
            .collect();
        if open.len() == 1 {
            self.settle(&[&[open[0].1]]);
        } else {
            self.flush();
        }
        // A variable that takes another one's old value takes it from a copy.
        let mut old: HashMap<ValueId, String> = HashMap::new();
        for (start, end, _) in &open {
            if end != start && carried.iter().any(|(s, _, _)| s == end) && !old.contains_key(end) {
                let copy = self.fresh("old");
                let text = self.text(*end).plain();
                self.line(&format!("let {copy} = {text};"));
                old.insert(*end, copy);
            }
        }
        for (_, end, name) in open.clone() {
            let text = match (old.get(end), self.text(*end)) {
                (Some(copy), _) => copy.clone(),
                (None, Text::Literal(l)) => typed_literal(l),
                (None, other) => other.plain(),
            };
            self.line(&format!("{name} = {text};"));
        }
        let ends: Vec<ValueId> = open.iter().map(|(_, end, _)| *end).collect();
        self.take(&ends);
        self.flush();
    }

    /// Whether a value is what a variable held at the start of the iteration.
    fn is_old(&self, v: ValueId, carried: &[(ValueId, ValueId, String)]) -> bool {
        carried.iter().any(|(start, _, _)| *start == v)
    }

    /// A condition; what it gives is its value.
    pub fn if_else(&mut self, op: &OpData, after: &[OpId], ends: &[ValueId]) {
        let condition = op.operands[0];
        if self.is_literal(condition) {
            self.bind_through(condition);
        }
        self.settle(&[&[condition]]);
        let test = self.text(condition).plain();
        self.take(&[condition]);
        let target = match &op.results[..] {
            [] => String::new(),
            [one] => match self.assigned(*one, after, ends) {
                Some(name) => {
                    self.names.insert(*one, name.clone());
                    format!("{name} = ")
                }
                None => format!("let {} = ", self.name(*one, "t")),
            },
            many => {
                let names: Vec<String> = many.iter().map(|r| self.name(*r, "t")).collect();
                format!("let {} = ", nested(&names))
            }
        };
        self.line(&format!("{target}if {test} {{"));
        self.branch(op, 0);
        let empty = self.k.block(op.blocks[1]).ops.len() <= 1 && op.results.is_empty();
        if !empty {
            self.line("} else {");
            self.branch(op, 1);
        }
        self.line(if op.results.is_empty() { "}" } else { "};" });
    }

    fn branch(&mut self, op: &OpData, side: usize) {
        let ops = &self.k.block(op.blocks[side]).ops;
        let ends = yielded(self.k, ops);
        self.depth += 1;
        self.ops(ops, &[], &ends);
        self.settle(&[&ends]);
        let texts: Vec<String> = ends
            .iter()
            .map(|v| match self.text(*v) {
                Text::Literal(l) => typed_literal(l),
                other => other.plain(),
            })
            .collect();
        self.take(&ends);
        if !texts.is_empty() {
            let value = nested(&texts);
            self.line(&value);
        }
        self.depth -= 1;
    }
}

/// What a block yields.
fn yielded(k: &Kernel, ops: &[OpId]) -> Vec<ValueId> {
    ops.last()
        .map(|id| k.op(*id))
        .filter(|op| op.kind == OpKind::Yield)
        .map(|op| op.operands.clone())
        .unwrap_or_default()
}

/// `a`, `(a, b)`, or tuples of at most six, which is how many the builder takes.
fn nested(items: &[String]) -> String {
    match items {
        [one] => one.clone(),
        few if few.len() <= 6 => format!("({})", few.join(", ")),
        many => {
            let size = many.len().div_ceil(6).max(2);
            let groups: Vec<String> = many.chunks(size).map(nested).collect();
            nested(&groups)
        }
    }
}
