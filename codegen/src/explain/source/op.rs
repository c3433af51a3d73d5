//! Ops as expressions.

use super::block::Writer;
use super::text::{Pending, Text};
use super::{part_types, tile_type};
use tile_lang::ir::{BinaryOp, CmpOp, Literal, OpData, OpId, OpKind, Sync, Type, UnaryOp, ValueId};

impl Writer<'_> {
    /// One op. `after` are those behind it in its block, `ends` what the block yields.
    pub fn op(&mut self, op: &OpData, after: &[OpId], ends: &[ValueId]) {
        let text = match &op.kind {
            OpKind::Const(l) => Text::Literal(*l),
            OpKind::Work => return self.work(op),
            OpKind::Require(_) => {
                self.literals_last(op);
                self.settle(&[&op.operands]);
                let [condition] = self.plain(op);
                self.take(&op.operands);
                return self.line(&format!("require!({condition});"));
            }
            OpKind::Prefetch(shape) => {
                self.settle(&[&op.operands]);
                let d = self.k.ty(op.operands[0]).dtype().unwrap_or(tile_lang::DType::F32);
                let index: Vec<String> = op.operands[1..].iter().map(|v| self.text(*v).plain()).collect();
                let (array, of) = (self.text(op.operands[0]).plain(), tile_type("Tile", d, shape));
                self.take(&op.operands);
                return self.line(&format!("{array}.prefetch_at::<{of}>([{}]);", index.join(", ")));
            }
            OpKind::DeviceAssert(message) => {
                self.settle(&[&op.operands]);
                let mut args = vec![self.text(op.operands[0]).plain(), format!("{message:?}")];
                args.extend(op.operands[1..].iter().map(|v| self.text(*v).plain()));
                self.take(&op.operands);
                return self.line(&format!("device_assert!({});", args.join(", ")));
            }
            OpKind::DbgTile(label) => {
                self.settle(&[&op.operands]);
                let [x] = self.plain(op);
                self.take(&op.operands);
                return self.line(&format!("dbg_tile!({label:?}, {x});"));
            }
            OpKind::Mark(name) => {
                self.flush();
                return self.line(&format!("mark!({name:?});"));
            }
            OpKind::Dim(axis) => Text::Atom(format!("{}.dim({axis})", self.text(op.operands[0]).plain())),
            OpKind::Unary(unary) => self.unary(op, *unary),
            OpKind::Binary(binary) => self.binary(op, *binary),
            OpKind::Cmp(cmp) => self.cmp(op, *cmp),
            OpKind::Ternary(ternary) => {
                if self.is_literal(op.operands[0]) {
                    self.bind_through(op.operands[0]);
                }
                self.arrange(&[&op.operands]);
                let [_, y, z] = self.plain(op);
                Text::Atom(format!("{}.{}({y}, {z})", self.text(op.operands[0]).tight(), ternary.name()))
            }
            OpKind::Select => {
                if self.is_literal(op.operands[0]) {
                    self.bind_through(op.operands[0]);
                }
                self.arrange(&[&op.operands]);
                let [c, a, b] = self.plain(op);
                Text::Atom(format!("select({c}, {a}, {b})"))
            }
            OpKind::Cast => {
                self.arrange(&[&op.operands]);
                let to = self.k.ty(op.results[0]).dtype().map_or_else(String::new, |d| d.to_string());
                Text::Atom(format!("{}.cast::<{to}>()", self.text(op.operands[0]).tight()))
            }
            OpKind::Splat => self.splat(op),
            OpKind::Iota(axis) => {
                let of = self.turbofish(op.results[0]);
                Text::Atom(format!("{of}::{}()", if *axis == 0 { "row_index" } else { "col_index" }))
            }
            OpKind::Broadcast(axis) => {
                let extent = self.k.ty(op.results[0]).shape()[*axis];
                self.method(op, &format!("{}::<{extent}>", if *axis == 1 { "cols" } else { "rows" }))
            }
            OpKind::Repeat(_) => {
                let extent = self.k.ty(op.results[0]).shape().last().copied().unwrap_or(1);
                self.method(op, &format!("repeat::<{extent}>"))
            }
            OpKind::Transpose => self.method(op, "t"),
            OpKind::Read => self.method(op, "read"),
            OpKind::Slice(at) if at.len() != 2 => {
                self.problem.get_or_insert_with(|| "it takes a part of a tile with one axis".into());
                return;
            }
            OpKind::Slice(at) => {
                self.arrange(&[&op.operands]);
                let shape = self.k.ty(op.results[0]).shape();
                let x = self.text(op.operands[0]).tight();
                Text::Atom(format!("{x}.slice::<{}, {}>({}, {})", shape[0], shape[1], at[0], at[1]))
            }
            OpKind::Reshape => {
                let shape = self.k.ty(op.results[0]).shape();
                let (rows, cols) = (shape[0], shape.get(1).copied().unwrap_or(0));
                self.method(op, &format!("reshape::<{rows}, {cols}>"))
            }
            OpKind::Join(axis) => {
                self.arrange(&[&op.operands]);
                let extent = self.k.ty(op.results[0]).shape()[*axis];
                let name = if *axis == 0 { "join_rows" } else { "join_cols" };
                let (a, b) = (self.text(op.operands[0]).tight(), self.text(op.operands[1]).plain());
                Text::Atom(format!("{a}.{name}::<{extent}>({b})"))
            }
            OpKind::Reduce(reduce, axis) => {
                let along = self.along(op, *axis);
                self.method(op, &format!("{along}_{}", reduce.name()))
            }
            OpKind::Scan(reduce, axis) => {
                let along = self.along(op, *axis);
                self.method(op, &format!("{along}_cum{}", reduce.name()))
            }
            OpKind::Gather => self.element(op, "gather"),
            OpKind::Scatter => return self.scatter(op, "scatter", 1, Sync::default()),
            OpKind::Atomic(atomic, sync) => {
                let name = format!("atomic_{}", atomic.name());
                if self.count(op.results[0]) == 0 {
                    return self.scatter(op, &name, 1, *sync);
                }
                self.indexed(op, &name, 1, *sync)
            }
            OpKind::AtomicCas(sync) => {
                if self.count(op.results[0]) == 0 {
                    return self.scatter(op, "atomic_cas", 2, *sync);
                }
                self.indexed(op, "atomic_cas", 2, *sync)
            }
            OpKind::Load => {
                let of = self.tile_of(op.results[0]);
                self.element(op, &format!("load_at::<{of}>"))
            }
            OpKind::At => self.element(op, "at"),
            OpKind::Store | OpKind::StoreMasked | OpKind::Set => return self.store(op),
            OpKind::Mma | OpKind::MmaScaled => return self.product(op, after, ends),
            OpKind::For { stages } => return self.for_loop(op, *stages),
            OpKind::If => return self.if_else(op, after, ends),
            OpKind::RingFill(_) => return self.fill(op),
            OpKind::RingWait(_) => return self.wait(op),
            OpKind::RingRelease => return self.release(op),
            OpKind::Yield => return,
            OpKind::Stage => {
                self.problem.get_or_insert_with(|| "it still stages tiles without a ring".into());
                return;
            }
        };
        self.take(&op.operands);
        self.result(op, text, after, ends);
    }

    /// What names of reductions and scans begin with.
    fn along(&self, op: &OpData, axis: usize) -> &'static str {
        match (self.k.ty(op.operands[0]).shape().len(), axis) {
            (1, _) => "all",
            (_, 1) => "row",
            _ => "col",
        }
    }

    /// `array.name([…], x);`
    fn scatter(&mut self, op: &OpData, name: &str, elements: usize, sync: Sync) {
        self.settle(&[&indexed_order(op, elements)]);
        let text = self.indexed_text(op, name, elements, sync);
        self.take(&op.operands);
        self.line(&format!("{text};"));
    }

    /// `array.name([…], x)`
    fn indexed(&mut self, op: &OpData, name: &str, elements: usize, sync: Sync) -> Text {
        self.arrange(&[&indexed_order(op, elements)]);
        Text::Atom(self.indexed_text(op, name, elements, sync))
    }

    fn indexed_text(&self, op: &OpData, name: &str, elements: usize, sync: Sync) -> String {
        let (suffix, mut last) = match sync {
            sync if sync == Sync::default() => ("", Vec::new()),
            Sync { order, scope } => {
                ("_ordered", vec![format!("Order::{}", order.variant()), format!("Scope::{}", scope.variant())])
            }
        };
        let text = |v: &ValueId| self.text(*v).plain();
        let index: Vec<String> = op.operands[1 + elements..].iter().map(text).collect();
        let mut args = vec![format!("[{}]", index.join(", "))];
        args.extend(op.operands[1..1 + elements].iter().map(text));
        args.append(&mut last);
        format!("{}.{name}{suffix}({})", text(&op.operands[0]), args.join(", "))
    }

    /// The operands' texts as arguments.
    fn plain<const N: usize>(&self, op: &OpData) -> [String; N] {
        std::array::from_fn(|i| self.text(op.operands[i]).plain())
    }

    /// Operands of an op of which one at least must be no literal, or it would be computed while staging.
    fn literals_last(&mut self, op: &OpData) {
        if op.operands.iter().all(|v| self.is_literal(*v)) {
            self.bind_through(op.operands[0]);
        }
        self.arrange(&[&op.operands]);
    }

    /// `x.name()`
    fn method(&mut self, op: &OpData, name: &str) -> Text {
        self.arrange(&[&op.operands]);
        Text::Atom(format!("{}.{name}()", self.text(op.operands[0]).tight()))
    }

    /// `array.name([…])`
    fn element(&mut self, op: &OpData, name: &str) -> Text {
        self.arrange(&[&op.operands]);
        let index: Vec<String> = op.operands[1..].iter().map(|v| self.text(*v).plain()).collect();
        Text::Atom(format!("{}.{name}([{}])", self.text(op.operands[0]).plain(), index.join(", ")))
    }

    /// `Tile::<f32, 16, 64>`
    fn turbofish(&self, v: ValueId) -> String {
        match self.k.ty(v) {
            Type::Tile(d, s) => tile_type("Tile::", *d, s),
            _ => String::new(),
        }
    }

    fn splat(&mut self, op: &OpData) -> Text {
        self.arrange(&[&op.operands]);
        let of = self.turbofish(op.results[0]);
        let x = self.text(op.operands[0]);
        let zero = matches!(&x, Text::Literal(Literal::I32(0)))
            || matches!(&x, Text::Literal(Literal::F32(z)) if z.to_bits() == 0);
        let tile = if zero { format!("{of}::zero()") } else { format!("{of}::full({})", x.plain()) };
        Text::Full { inner: Box::new(x), tile }
    }

    fn unary(&mut self, op: &OpData, unary: UnaryOp) -> Text {
        self.literals_last(op);
        let tile = matches!(self.k.ty(op.operands[0]), Type::Tile(..));
        let x = self.text(op.operands[0]);
        match unary {
            UnaryOp::Neg => Text::Loose(format!("-{}", x.tight())),
            UnaryOp::Not => Text::Loose(format!("!{}", x.tight())),
            UnaryOp::Rsqrt | UnaryOp::Erf | UnaryOp::ToBits | UnaryOp::FromBits if !tile => {
                Text::Atom(format!("{}({})", unary.name(), x.plain()))
            }
            _ => Text::Atom(format!("{}.{}()", x.tight(), unary.name())),
        }
    }

    /// Operands of an op of two of them, as they are written. A tile of one number, made last, is written as the number.
    fn two(&mut self, op: &OpData) -> (Text, Text) {
        self.literals_last(op);
        let [a, b] = [op.operands[0], op.operands[1]];
        let (x, y) = (self.text(a), self.text(b));
        let last = |w: &Self, v: ValueId| w.waits_last(v);
        match (x, y) {
            (x, Text::Full { inner, .. }) if !matches!(x, Text::Full { .. }) && last(self, b) => (x, *inner),
            // In front it may only be a literal or a name: the other operand is evaluated before it is spread.
            (Text::Full { inner, .. }, y) if !matches!(y, Text::Full { .. }) && !self.waits(b) && last(self, a) => {
                (*inner, y)
            }
            both => both,
        }
    }

    fn binary(&mut self, op: &OpData, binary: BinaryOp) -> Text {
        let (x, y) = self.two(op);
        let symbol = match binary {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::And => "&",
            BinaryOp::Or => "|",
            BinaryOp::Xor => "^",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
            BinaryOp::ShrLogical | BinaryOp::MulHigh if !matches!(self.k.ty(op.operands[0]), Type::Tile(..)) => {
                return Text::Atom(format!("{}({}, {})", binary.name(), x.plain(), y.plain()));
            }
            BinaryOp::Min | BinaryOp::Max | BinaryOp::ShrLogical | BinaryOp::MulHigh => {
                // A number in front of a method has no tile's methods.
                let (x, y) = match x {
                    Text::Atom(_) | Text::Loose(_) | Text::Literal(_) if self.is_number(op, &x) => {
                        (self.text(op.operands[0]), y)
                    }
                    x => (x, y),
                };
                return Text::Atom(format!("{}.{}({})", x.tight(), binary.name(), y.plain()));
            }
        };
        Text::Loose(format!("{} {symbol} {}", operand(&x), operand(&y)))
    }

    /// Whether the first operand is a tile that is written as a number.
    fn is_number(&self, op: &OpData, x: &Text) -> bool {
        matches!(self.k.ty(op.operands[0]), Type::Tile(..))
            && matches!(self.text(op.operands[0]), Text::Full { .. })
            && !matches!(x, Text::Full { .. })
    }

    fn cmp(&mut self, op: &OpData, cmp: CmpOp) -> Text {
        if matches!(self.k.ty(op.operands[0]), Type::Tile(..)) {
            let (x, y) = self.two(op);
            let x = if self.is_number(op, &x) { self.text(op.operands[0]) } else { x };
            return Text::Atom(format!("{}.{}({})", x.tight(), cmp.name(), y.plain()));
        }
        self.literals_last(op);
        let symbol = match cmp {
            CmpOp::Lt => "<",
            CmpOp::Le => "<=",
            CmpOp::Gt => ">",
            CmpOp::Ge => ">=",
            CmpOp::Eq => "==",
            CmpOp::Ne => "!=",
        };
        let [x, y] = [op.operands[0], op.operands[1]].map(|v| self.text(v));
        Text::Loose(format!("{} {symbol} {}", operand(&x), operand(&y)))
    }

    /// `acc.mma(a, b);`, or `mma(a, b)` where the accumulator starts from zero; `acc.mma_scaled(a, scales, b, scales);`.
    fn product(&mut self, op: &OpData, after: &[OpId], ends: &[ValueId]) {
        let [acc, a, b] = [op.operands[0], op.operands[1], op.operands[2]];
        let written = match op.operands[..] {
            [_, a, b, scales_a, scales_b] => vec![a, scales_a, b, scales_b],
            _ => vec![a, b],
        };
        let mma = match op.kind {
            OpKind::Mma if self.k.ty(a).dtype() == Some(tile_lang::DType::F32) => "mma_tf32",
            _ => op.kind.mnemonic(),
        };
        let zero =
            op.kind == OpKind::Mma && matches!(self.text(acc), Text::Full { tile, .. } if tile.ends_with("::zero()"));
        if zero && self.waits_last(acc) {
            self.arrange(&[&[a, b, acc]]);
            if self.waits(acc) {
                let text = Text::Atom(format!("{mma}({}, {})", self.text(a).plain(), self.text(b).plain()));
                self.take(&op.operands);
                return self.result(op, text, after, ends);
            }
        }
        self.settle(&[&[&[acc][..], &written].concat()]);
        let list: Vec<String> = written.iter().map(|v| self.text(*v).plain()).collect();
        let (from, call) = (self.text(acc).plain(), format!("{mma}({})", list.join(", ")));
        self.take(&op.operands);
        let name = match self.assigned(op.results[0], after, ends) {
            Some(name) => {
                self.bound(op.results[0], name.clone());
                if from != name {
                    self.line(&format!("{name} = {from};"));
                }
                name
            }
            None if self.has_variable(acc) => {
                self.bound(op.results[0], from.clone());
                from
            }
            None => {
                let name = self.name(op.results[0], "product");
                self.line(&format!("let mut {name} = {from};"));
                name
            }
        };
        self.declared(op.results[0]);
        self.line(&format!("{name}.{call};"));
    }

    /// A load, store or fill whose offsets are tiles times extents, made right before it: written by tile index. Gives how many ops it was.
    pub fn by_tile(&mut self, ops: &[OpId], ends: &[ValueId]) -> Option<usize> {
        let k = self.k;
        let simple = |op: &OpData| matches!(op.kind, OpKind::Const(_) | OpKind::Binary(BinaryOp::Mul));
        let at = ops.iter().take(MOST_OFFSETS).position(|id| !simple(k.op(*id)))?;
        let op = k.op(ops[at]);
        // The arrays with their offsets and the extents of a tile.
        let mut boxes: Vec<(ValueId, &[ValueId], &[usize])> = Vec::new();
        match &op.kind {
            OpKind::Load => boxes.push((op.operands[0], &op.operands[1..], k.ty(op.results[0]).shape())),
            OpKind::Store => boxes.push((op.operands[0], &op.operands[2..], k.ty(op.operands[1]).shape())),
            OpKind::StoreMasked => boxes.push((op.operands[0], &op.operands[3..], k.ty(op.operands[1]).shape())),
            OpKind::RingFill(parts) => {
                let mut from = 0;
                for p in parts {
                    boxes.push((op.operands[from], &op.operands[from + 1..from + 1 + p.rank], &p.shape));
                    from += 1 + p.rank;
                }
            }
            _ => return None,
        }
        let mut expected: Vec<OpId> = Vec::new();
        let mut indices: Vec<Vec<Index>> = Vec::new();
        for (_, offsets, shape) in &boxes {
            let lead = offsets.len() - shape.len();
            let list = offsets.iter().enumerate().map(|(axis, v)| {
                let extent = if axis < lead { 1 } else { shape[axis - lead] };
                self.index(*v, extent, &ops[..at], &mut expected)
            });
            indices.push(list.collect::<Option<_>>()?);
        }
        if expected.is_empty() || expected != ops[..at] {
            return None;
        }
        let values: Vec<ValueId> = match op.kind {
            OpKind::Store => op.operands[1..2].to_vec(),
            OpKind::StoreMasked => op.operands[1..3].to_vec(),
            _ => Vec::new(),
        };
        let indexed: Vec<ValueId> = indices.iter().flatten().filter_map(|i| i.of).collect();
        // A literal among these would become a constant elsewhere.
        if indexed.iter().chain(&values).any(|v| self.is_literal(*v)) {
            return None;
        }
        let in_order: Vec<ValueId> = indexed.iter().chain(&values).copied().collect();
        if op.results.is_empty() {
            self.settle(&[&in_order]);
        } else {
            self.arrange(&[&in_order]);
        }
        let lists: Vec<String> = indices
            .iter()
            .map(|list| {
                let list: Vec<String> =
                    list.iter().map(|i| i.of.map_or_else(|| i.number.to_string(), |v| self.text(v).plain())).collect();
                list.join(", ")
            })
            .collect();
        let arrays: Vec<String> = boxes.iter().map(|(g, ..)| self.text(*g).plain()).collect();
        let values: Vec<String> = values.iter().map(|v| self.text(*v).plain()).collect();
        self.take(&in_order);
        match &op.kind {
            OpKind::Load => {
                let text = format!("{}.load::<{}>([{}])", arrays[0], self.tile_of(op.results[0]), lists[0]);
                self.result(op, Text::Atom(text), &ops[at + 1..], ends);
            }
            OpKind::RingFill(parts) => {
                let fills = arrays.iter().zip(&lists).map(|(array, list)| format!(".fill({array}, [{list}])"));
                let fills: String = fills.collect();
                let ring = self.ring(&part_types(parts));
                self.line(&format!("{ring}.acquire(){fills}.commit();"));
            }
            kind => {
                let method = if *kind == OpKind::Store { "store" } else { "store_masked" };
                self.line(&format!("{}.{method}([{}], {});", arrays[0], lists[0], values.join(", ")));
            }
        }
        Some(at + 1)
    }

    /// An offset as an index of tiles of this extent; the ops that the builder makes for it are added to `expected`.
    fn index(&self, v: ValueId, extent: usize, ops: &[OpId], expected: &mut Vec<OpId>) -> Option<Index> {
        let k = self.k;
        let made = |v: ValueId| ops.iter().copied().find(|id| k.op(*id).results.contains(&v));
        let Some(id) = made(v) else {
            return (extent == 1).then_some(Index { of: Some(v), number: 0 });
        };
        if self.count(v) != 1 {
            return None;
        }
        match &k.op(id).kind {
            OpKind::Const(Literal::I32(n)) if n % extent as i32 == 0 => {
                expected.push(id);
                Some(Index { of: None, number: n / extent as i32 })
            }
            OpKind::Binary(BinaryOp::Mul) if extent > 1 => {
                let [of, by] = [k.op(id).operands[0], k.op(id).operands[1]];
                let constant = made(by)?;
                let fits = k.op(constant).kind == OpKind::Const(Literal::I32(extent as i32));
                if !fits || self.count(by) != 1 || made(of).is_some() {
                    return None;
                }
                expected.extend([constant, id]);
                Some(Index { of: Some(of), number: 0 })
            }
            _ => None,
        }
    }

    /// `cdiv(a, b)` stands for ops on constants that no other source makes. Gives how many ops it was.
    pub fn ceil_div(&mut self, ops: &[OpId], ends: &[ValueId]) -> Option<usize> {
        let k = self.k;
        let [c, one, sub, add, div, ..] = ops else { return None };
        let [c, one, sub, add, div] = [c, one, sub, add, div].map(|id| k.op(*id));
        let (OpKind::Const(Literal::I32(by)), OpKind::Const(Literal::I32(1))) = (&c.kind, &one.kind) else {
            return None;
        };
        let value = |op: &OpData| op.results.first().copied();
        let (cv, ov, sv, av) = (value(c)?, value(one)?, value(sub)?, value(add)?);
        let shape = sub.kind == OpKind::Binary(BinaryOp::Sub)
            && sub.operands == [cv, ov]
            && add.kind == OpKind::Binary(BinaryOp::Add)
            && add.operands[1] == sv
            && div.kind == OpKind::Binary(BinaryOp::Div)
            && div.operands == [av, cv];
        let own = [(cv, 2), (ov, 1), (sv, 1), (av, 1)].iter().all(|(v, n)| self.count(*v) == *n);
        let a = add.operands[0];
        if !shape || !own || self.is_literal(a) {
            return None;
        }
        self.arrange(&[&[a]]);
        let text = Text::Atom(format!("cdiv({}, {by}i32)", self.text(a).plain()));
        self.take(&[a]);
        self.result(div, text, &ops[5..], ends);
        Some(5)
    }

    /// Whether a value waits for its use.
    fn waits(&self, v: ValueId) -> bool {
        self.waiting().iter().any(|p: &Pending| p.value == self.value(v))
    }

    /// Whether a value is the last of those that wait.
    fn waits_last(&self, v: ValueId) -> bool {
        self.waiting().last().is_some_and(|p| p.value == self.value(v))
    }
}

/// Most ops that make the offsets of one op.
const MOST_OFFSETS: usize = 64;

/// An index: a value, or a number.
struct Index {
    of: Option<ValueId>,
    number: i32,
}

/// Operands of an op at indices in the order of its text, the indices before the elements.
fn indexed_order(op: &OpData, elements: usize) -> Vec<ValueId> {
    [&op.operands[..1], &op.operands[1 + elements..], &op.operands[1..1 + elements]].concat()
}

/// A literal beside something whose type is known.
fn operand(t: &Text) -> String {
    match t {
        Text::Literal(_) => {
            let text = t.plain();
            if text.starts_with('-') { format!("({text})") } else { text }
        }
        other => other.tight(),
    }
}
