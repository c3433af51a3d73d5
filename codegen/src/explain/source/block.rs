//! Statements: in which order expressions are evaluated, and which are bound.

mod control;

use super::text::{Pending, Text};
use super::{Parts, param_type, part_types, reserved, tile_type};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use tile_lang::ir::{BlockId, Kernel, OpData, OpId, OpKind, Type, ValueId};

/// Longest expression that is written inside of another one.
const LONGEST: usize = 60;

/// The state of printing.
pub(super) struct Writer<'k> {
    pub k: &'k Kernel,
    pub out: String,
    pub depth: usize,
    pub rings: Vec<(Parts, String)>,
    /// Why there is no source, if so.
    pub problem: Option<String>,
    names: HashMap<ValueId, String>,
    taken: HashSet<String>,
    uses: HashMap<ValueId, usize>,
    /// Values that are another one's copy.
    same: HashMap<ValueId, ValueId>,
    pending: Vec<Pending>,
    /// Values that a variable of their own holds, which may be changed.
    /// In the order in which they are declared.
    variables: HashMap<ValueId, usize>,
    /// Values that a loop's variable or a product's accumulator in their own block starts with, and nothing else uses.
    starters: HashSet<ValueId>,
    /// Names of views by their first tile.
    views: HashMap<ValueId, String>,
    /// Labels of loops.
    labels: HashMap<BlockId, String>,
    /// Variables of the loop whose block is being written: carried value at its start, value at its end, name.
    carried: Vec<(ValueId, ValueId, String)>,
}

impl<'k> Writer<'k> {
    /// For a kernel of which these lists of ops are printed; `same` says which values are another one's copies.
    pub fn new(k: &'k Kernel, same: HashMap<ValueId, ValueId>, printed: [&[OpId]; 3]) -> Self {
        let (mut uses, mut starters) = (HashMap::new(), HashSet::new());
        let value = |v: &ValueId| same.get(v).copied().unwrap_or(*v);
        for ops in printed {
            count_uses(k, ops, &value, &mut uses);
            starts(k, ops, &mut starters);
        }
        starters.retain(|v| uses.get(v) == Some(&1));
        Writer {
            k,
            out: String::new(),
            depth: 0,
            rings: Vec::new(),
            problem: None,
            names: HashMap::new(),
            taken: reserved(),
            uses,
            same,
            pending: Vec::new(),
            variables: HashMap::new(),
            starters,
            views: HashMap::new(),
            labels: HashMap::new(),
            carried: Vec::new(),
        }
    }

    pub fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{}{text}", "    ".repeat(self.depth));
    }

    /// A name that nothing has yet.
    pub fn fresh(&mut self, base: &str) -> String {
        let base = identifier(base);
        let mut name = base.clone();
        let mut n = 1;
        while !self.taken.insert(name.clone()) {
            n += 1;
            name = format!("{base}_{n}");
        }
        name
    }

    /// A parameter with its type.
    pub fn param(&mut self, v: ValueId, name: &str) -> String {
        let name = self.fresh(name);
        self.names.insert(v, name.clone());
        format!("{name}: {}", param_type(self.k.ty(v)))
    }

    /// The value that a value is printed as.
    pub fn value(&self, v: ValueId) -> ValueId {
        self.same.get(&v).copied().unwrap_or(v)
    }

    /// How often a value is used.
    pub fn count(&self, v: ValueId) -> usize {
        self.used(v)
    }

    /// The expressions that wait.
    pub fn waiting(&self) -> &[Pending] {
        &self.pending
    }

    /// Says what a value is called.
    pub fn bound(&mut self, v: ValueId, name: String) {
        self.names.insert(v, name);
    }

    fn used(&self, v: ValueId) -> usize {
        self.uses.get(&self.value(v)).copied().unwrap_or(0)
    }

    /// A name for a value after its source name, and that it is bound to it.
    pub fn name(&mut self, v: ValueId, otherwise: &str) -> String {
        let base = self.k.values[v.index()].name.clone();
        let name = self.fresh(base.as_deref().unwrap_or(otherwise));
        self.names.insert(v, name.clone());
        name
    }

    /// A name for a value after its own source name or another one's.
    fn name_like(&mut self, v: ValueId, other: ValueId) -> String {
        let base = self.k.values[other.index()].name.clone().unwrap_or_else(|| "v".into());
        self.name(v, &base)
    }

    /// The text of a value: its name, or the expression that waits for its use.
    pub fn text(&self, v: ValueId) -> Text {
        let v = self.value(v);
        if let Some(p) = self.pending.iter().find(|p| p.value == v) {
            return p.text.clone();
        }
        Text::Atom(self.names.get(&v).cloned().unwrap_or_else(|| format!("undefined_{}", v.0)))
    }

    /// Whether the value waits and is written by a literal.
    pub fn is_literal(&self, v: ValueId) -> bool {
        matches!(self.text(v), Text::Literal(_))
    }

    /// How many of those that wait are no operands of an op at its end. The operands are given in the order in which the op's text names
    /// them: in each group the expressions are evaluated, then the literals become constants.
    fn before_operands(&self, groups: &[&[ValueId]]) -> usize {
        let mut keep = self.pending.len();
        while keep > 0 {
            let tail = &self.pending[keep - 1..];
            let wanted = groups.iter().flat_map(|group| {
                let waits = |v: &ValueId| tail.iter().find(|p| p.value == self.value(*v));
                let (literals, others): (Vec<&Pending>, Vec<&Pending>) =
                    group.iter().filter_map(waits).partition(|p| matches!(p.text, Text::Literal(_)));
                others.into_iter().chain(literals).map(|p| p.value).collect::<Vec<_>>()
            });
            if !wanted.eq(tail.iter().map(|p| p.value)) {
                break;
            }
            keep -= 1;
        }
        keep
    }

    /// Prepares the operands of an op that becomes an expression: what can't be evaluated in the order of the op's text is bound now. Expressions
    /// that stay are taken by [`Writer::take`].
    pub fn arrange(&mut self, groups: &[&[ValueId]]) {
        let free = self.before_operands(groups);
        let wanted = |p: &Pending| groups.iter().any(|g| g.iter().any(|v| self.value(*v) == p.value));
        let bound = self.pending[..free].iter().rposition(wanted).map_or(0, |i| i + 1);
        self.bind_first(bound);
    }

    /// As [`Writer::arrange`] for an op that becomes a statement: all that waits before its operands is bound.
    pub fn settle(&mut self, groups: &[&[ValueId]]) {
        let free = self.before_operands(groups);
        self.bind_first(free);
    }

    fn bind_first(&mut self, count: usize) {
        let first: Vec<Pending> = self.pending.drain(..count).collect();
        first.into_iter().for_each(|p| self.bind(p));
    }

    /// Binds everything that waits.
    pub fn flush(&mut self) {
        self.settle(&[]);
    }

    /// Binds everything that waits up to and with a value.
    pub fn bind_through(&mut self, v: ValueId) {
        let v = self.value(v);
        if let Some(at) = self.pending.iter().position(|p| p.value == v) {
            self.bind_first(at + 1);
        }
    }

    fn bind(&mut self, p: Pending) {
        let text = match &p.text {
            Text::Literal(l) => format!("{}.cast::<{}>()", p.text.tight(), l.dtype()),
            other => other.plain(),
        };
        self.let_value(p.value, &text);
    }

    fn let_value(&mut self, v: ValueId, text: &str) {
        if self.used(v) == 0 {
            return self.line(&format!("let _ = {text};"));
        }
        let name = self.name(v, "t");
        if self.starters.contains(&v) {
            self.declared(v);
            return self.line(&format!("let mut {name} = {text};"));
        }
        self.line(&format!("let {name} = {text};"));
    }

    /// A value now has a variable of its own.
    pub fn declared(&mut self, v: ValueId) {
        let number = self.variables.len();
        self.variables.insert(v, number);
    }

    /// Whether a value that nothing else uses is held by a variable of the block that is being written.
    pub fn has_variable(&self, v: ValueId) -> bool {
        self.variables.contains_key(&v) && self.starters.contains(&v)
    }

    /// Takes the expressions of settled operands out of those that wait; their texts must have been read.
    pub fn take(&mut self, operands: &[ValueId]) {
        let operands: Vec<ValueId> = operands.iter().map(|v| self.value(*v)).collect();
        self.pending.retain(|p| !operands.contains(&p.value));
    }

    /// An op's result: kept for its one use, assigned to the variable that carries it, or bound.
    pub fn result(&mut self, op: &OpData, text: Text, after: &[OpId], ends: &[ValueId]) {
        let v = op.results[0];
        if let Some(name) = self.assigned(v, after, ends) {
            self.flush();
            self.names.insert(v, name.clone());
            return self.line(&format!("{name} = {};", text.plain()));
        }
        let here = after.iter().any(|id| self.k.op(*id).operands.contains(&v));
        let named =
            self.k.values[v.index()].name.is_some() && !matches!(text, Text::Literal(_)) && !self.starters.contains(&v);
        let inline = self.used(v) == 1 && here && !named && text.plain().len() <= LONGEST;
        self.pending.push(Pending { value: v, text });
        if !inline {
            self.flush();
        }
    }

    /// The variable of the loop around that has this value at the end, if its value before is not needed any more.
    pub fn assigned(&self, v: ValueId, after: &[OpId], ends: &[ValueId]) -> Option<String> {
        let mut at = self.carried.iter().filter(|(_, end, _)| *end == v);
        let (Some((start, _, name)), None) = (at.next(), at.next()) else { return None };
        if !ends.contains(&v) {
            return None;
        }
        let reads = |op: &OpData| op.kind != OpKind::Yield && op.operands.contains(start);
        let later = after.iter().any(|id| {
            let op = self.k.op(*id);
            let mut found = reads(op);
            op.blocks
                .iter()
                .for_each(|b| self.k.walk_block(*b, &mut |_, inner: &OpData| found |= inner.operands.contains(start)));
            found
        });
        (!later && !ends.contains(start)).then(|| name.clone())
    }

    /// The ops of a block without its `yield`. `carried` are the variables of the loop whose block it is, `ends` what it yields.
    pub fn ops(&mut self, ops: &[OpId], carried: &[(ValueId, ValueId, String)], ends: &[ValueId]) {
        let outer = std::mem::replace(&mut self.carried, carried.to_vec());
        let mut at = 0;
        while let Some(id) = ops.get(at) {
            let op = self.k.op(*id);
            at += 1;
            if op.kind == OpKind::Yield {
                break;
            }
            let rest = &ops[at - 1..];
            match self.ceil_div(rest, ends).or_else(|| self.by_tile(rest, ends)) {
                Some(done) => at += done - 1,
                None => self.op(op, &ops[at..], ends),
            }
            if let Some(name) = &self.k.op(ops[at - 1]).name {
                self.flush();
                self.name_last(name);
            }
        }
        if carried.is_empty() && ends.is_empty() {
            self.flush();
        }
        self.carried = outer;
    }

    /// `#[op(name)]` before the line that was written last.
    fn name_last(&mut self, name: &str) {
        let start = self.out.trim_end().rfind('\n').map_or(0, |i| i + 1);
        let line = format!("{}#[op({})]\n", "    ".repeat(self.depth), identifier(name));
        self.out.insert_str(start, &line);
    }

    /// The kernel with the names that staging what is printed gives to values, ops and loops.
    pub fn renamed(&self) -> Kernel {
        let mut k = self.k.clone();
        for (i, v) in k.values.iter_mut().enumerate() {
            v.name = self.names.get(&ValueId(i as u32)).cloned();
        }
        for op in &mut k.ops {
            op.name = op.name.take().map(|n| identifier(&n));
        }
        for (i, block) in k.blocks.iter_mut().enumerate() {
            block.label = self.labels.get(&BlockId(i as u32)).cloned();
        }
        k
    }

    /// `let [i, j] = work([…]);`
    pub fn work(&mut self, op: &OpData) {
        self.settle(&[&op.operands]);
        let extents: Vec<String> = op.operands.iter().map(|v| self.text(*v).plain()).collect();
        self.take(&op.operands);
        let names: Vec<String> = op.results.iter().map(|r| self.name_or_none(*r, "item")).collect();
        self.line(&format!("let [{}] = work([{}]);", names.join(", "), extents.join(", ")));
    }

    /// `_` for a value that nobody uses.
    fn name_or_none(&mut self, v: ValueId, otherwise: &str) -> String {
        if self.used(v) == 0 { "_".into() } else { self.name(v, otherwise) }
    }

    /// `let view = ring.wait();` and its tiles.
    pub fn wait(&mut self, op: &OpData) {
        self.flush();
        let OpKind::RingWait(parts) = &op.kind else { return };
        let ring = self.ring(&part_types(parts));
        let view = self.fresh("slot");
        self.line(&format!("let {view} = {ring}.wait();"));
        self.views.insert(op.results[0], view.clone());
        // A release names the tiles too.
        let names: Vec<String> = op
            .results
            .iter()
            .map(|r| if self.used(*r) <= 1 { "_".to_owned() } else { self.name(*r, "part") })
            .collect();
        match &names[..] {
            names if names.iter().all(|n| n == "_") => {}
            [one] => self.line(&format!("let {one} = {view}.get();")),
            _ => self.line(&format!("let ({}) = {view}.get();", names.join(", "))),
        }
    }

    /// `view.release();`
    pub fn release(&mut self, op: &OpData) {
        self.flush();
        let view = op.operands.first().and_then(|v| self.views.get(v)).cloned().unwrap_or_default();
        self.line(&format!("{view}.release();"));
    }

    /// `ring.acquire().fill_at(…).commit();`
    pub fn fill(&mut self, op: &OpData) {
        let OpKind::RingFill(parts) = &op.kind else { return };
        let mut at = 0;
        let mut groups: Vec<&[ValueId]> = Vec::new();
        for p in parts {
            groups.push(&op.operands[at + 1..at + 1 + p.rank]);
            at += 1 + p.rank;
        }
        self.settle(&groups);
        let mut text = format!("{}.acquire()", self.ring(&part_types(parts)));
        let mut at = 0;
        for (p, offsets) in parts.iter().zip(&groups) {
            let list: Vec<String> = offsets.iter().map(|v| self.text(*v).plain()).collect();
            let _ = write!(text, ".fill_at({}, [{}])", self.text(op.operands[at]).plain(), list.join(", "));
            at += 1 + p.rank;
        }
        self.take(&op.operands);
        self.line(&format!("{text}.commit();"));
    }

    /// The ring with slots of these parts.
    pub fn ring(&self, parts: &Parts) -> String {
        self.rings.iter().find(|(p, _)| p == parts).map(|(_, name)| name.clone()).unwrap_or_default()
    }

    /// `x.store_at([…], t);` and its like.
    pub fn store(&mut self, op: &OpData) {
        let (method, first) = match op.kind {
            OpKind::Store => ("store_at", 2),
            OpKind::StoreMasked => ("store_masked_at", 3),
            _ => ("set", 2),
        };
        let (values, index) = (&op.operands[1..first], &op.operands[first..]);
        let in_order: Vec<ValueId> = index.iter().chain(values).copied().collect();
        // `set` makes a constant of its value before those of the index.
        if values.iter().any(|v| self.is_literal(*v)) {
            self.bind_through(values[0]);
        }
        self.settle(&[&in_order]);
        let list: Vec<String> = index.iter().map(|v| self.text(*v).plain()).collect();
        let values: Vec<String> = values.iter().map(|v| self.text(*v).plain()).collect();
        let array = self.text(op.operands[0]).plain();
        self.take(&op.operands);
        self.line(&format!("{array}.{method}([{}], {});", list.join(", "), values.join(", ")));
    }

    /// A tile type that a value has.
    pub fn tile_of(&self, v: ValueId) -> String {
        match self.k.ty(v) {
            Type::Tile(d, s) => tile_type("Tile", *d, s),
            Type::Smem(d, s) => tile_type("Smem", *d, s),
            _ => String::new(),
        }
    }
}

/// How often ops, and those nested in them, use each value.
fn count_uses(k: &Kernel, ops: &[OpId], value: &impl Fn(&ValueId) -> ValueId, uses: &mut HashMap<ValueId, usize>) {
    for op in ops.iter().map(|id| k.op(*id)) {
        op.operands.iter().for_each(|v| *uses.entry(value(v)).or_default() += 1);
        op.blocks.iter().for_each(|b| count_uses(k, &k.block(*b).ops, value, uses));
    }
}

/// Values that a loop or a product beside the op that makes them starts with.
fn starts(k: &Kernel, ops: &[OpId], out: &mut HashSet<ValueId>) {
    let mut made: HashSet<ValueId> = HashSet::new();
    for op in ops.iter().map(|id| k.op(*id)) {
        match op.kind {
            OpKind::For { .. } => out.extend(op.operands[2..].iter().filter(|v| made.contains(v))),
            ref kind if kind.is_product() => out.extend(op.operands[..1].iter().filter(|v| made.contains(v))),
            _ => {}
        }
        made.extend(&op.results);
        op.blocks.iter().for_each(|b| starts(k, &k.block(*b).ops, out));
    }
}

/// A name that Rust takes.
pub(super) fn identifier(text: &str) -> String {
    let mut out: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.chars().next().is_none_or(|c| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    if out.chars().all(|c| c == '_') {
        out.insert(0, 'v');
    }
    out
}
