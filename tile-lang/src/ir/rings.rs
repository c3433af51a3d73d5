//! Whether the bodies of a kernel that is split into roles fit together: what each role may do, slots used once, and one
//! order of transactions.
//!
//! One ring carries all transactions, and the n-th slot that the producer fills is the n-th that the consumer waits for. Both
//! bodies must therefore have the same loops and conditions around the same transactions. That is decided here by comparing
//! the two trees of control flow; bounds and conditions are the same if they are the same expression of parameters, extents,
//! read-only arrays and enclosing loops.

use super::{BlockId, Kernel, OpData, OpId, OpKind, RingPart, Role, Type, ValueId};
use crate::diag::{Diagnostic, Diagnostics, pointing};
use crate::span::Span;
use std::collections::{HashMap, HashSet};

/// Checks a kernel that is well-formed and split into roles. A kernel with one body for all warps has nothing to check.
///
/// # Errors
/// All that is wrong: `E24` slots and their order, `E33` an op in a role that can't run it.
pub fn check_rings(kernel: &Kernel) -> Result<(), Diagnostics> {
    let Some(consumer) = kernel.body(Role::Consumer) else { return Ok(()) };
    let mut c = Checker { k: kernel, errors: Vec::new() };
    c.released(consumer);
    let producer = kernel.body(Role::Producer);
    if let Some(producer) = producer {
        c.copies_only(producer);
    }
    if c.errors.is_empty() {
        let mut same = Same::new(kernel);
        let fills = producer.map(|b| steps(kernel, b)).unwrap_or_default();
        c.order(&mut same, &fills, &steps(kernel, consumer));
        if let Some(producer) = producer {
            c.work(&mut same, producer, consumer);
        }
    }
    if c.errors.is_empty() { Ok(()) } else { Err(Diagnostics(c.errors)) }
}

/// The most slots that the consumer holds at one time.
pub fn slots_held(kernel: &Kernel) -> usize {
    fn go(k: &Kernel, block: BlockId) -> usize {
        let (mut now, mut most) = (0usize, 0);
        for op in k.block(block).ops.iter().map(|id| k.op(*id)) {
            match op.kind {
                OpKind::RingWait(_) => now += 1,
                OpKind::RingRelease => now = now.saturating_sub(1),
                _ => {}
            }
            let inside = op.blocks.iter().map(|b| go(k, *b)).max().unwrap_or(0);
            most = most.max(now + inside);
        }
        most
    }
    kernel.body(Role::Consumer).map_or(0, |b| go(kernel, b))
}

/// A transaction, or control flow around some.
enum Step<'k> {
    /// A fill or a wait.
    Transaction(&'k [RingPart], Span),
    /// A loop.
    Loop(OpId, Vec<Step<'k>>, Span),
    /// A condition.
    Branch(ValueId, [Vec<Step<'k>>; 2], Span),
}

impl Step<'_> {
    fn span(&self) -> Span {
        match self {
            Step::Transaction(_, span) | Step::Loop(_, _, span) | Step::Branch(_, _, span) => *span,
        }
    }
}

/// The tree of transactions of a body.
fn steps(k: &Kernel, block: BlockId) -> Vec<Step<'_>> {
    let mut out = Vec::new();
    for &id in &k.block(block).ops {
        let op = k.op(id);
        match (&op.kind, &op.blocks[..]) {
            (OpKind::RingFill(parts) | OpKind::RingWait(parts), _) => out.push(Step::Transaction(parts, op.span)),
            (OpKind::For { .. }, [body]) => {
                let inner = steps(k, *body);
                if !inner.is_empty() {
                    out.push(Step::Loop(id, inner, op.span));
                }
            }
            (OpKind::If, [a, b]) => {
                let both = [steps(k, *a), steps(k, *b)];
                if both.iter().any(|s| !s.is_empty()) {
                    out.push(Step::Branch(op.operands[0], both, op.span));
                }
            }
            _ => {}
        }
    }
    out
}

struct Checker<'k> {
    k: &'k Kernel,
    errors: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn error(&mut self, span: Span, code: &'static str, message: impl Into<String>, notes: Vec<String>) {
        let file = self.k.files.get(span.file as usize).cloned().unwrap_or_default();
        self.errors.push(Diagnostic { code, message: message.into(), file, span, notes });
    }

    /// A note that points at another place of the kernel.
    fn points(&self, what: &str, span: Span) -> String {
        pointing(what, self.k.files.get(span.file as usize).map_or("", String::as_str), span)
    }

    /// Each slot that is waited for is given back once, in its own block, and not read afterwards.
    fn released(&mut self, block: BlockId) {
        let k = self.k;
        // By view: the wait's op, and where it was released.
        let mut views: HashMap<ValueId, OpId> = HashMap::new();
        let mut waits: Vec<(OpId, Option<Span>)> = Vec::new();
        for &id in &k.block(block).ops {
            let op = k.op(id);
            match &op.kind {
                OpKind::RingWait(_) => {
                    views.extend(op.results.iter().map(|r| (*r, id)));
                    waits.push((id, None));
                    continue;
                }
                OpKind::RingRelease => {
                    let wait = op.operands.first().and_then(|v| views.get(v)).copied();
                    let Some(slot) = wait.and_then(|w| waits.iter_mut().find(|(id, _)| *id == w)) else {
                        let fix = "release a slot in the block that waits for it";
                        self.error(
                            op.span,
                            "E24",
                            "releases a slot that this block did not wait for",
                            vec![fix.into()],
                        );
                        continue;
                    };
                    let before = slot.1.replace(op.span);
                    let whole = k.op(slot.0).results == op.operands;
                    if let Some(first) = before {
                        let notes = vec![self.points("it is released here already", first), "release it once".into()];
                        self.error(op.span, "E24", "releases a slot twice", notes);
                    } else if !whole {
                        let fix = "release all tiles of the slot together".to_owned();
                        self.error(op.span, "E24", "releases a part of a slot; slots are released whole", vec![fix]);
                    }
                    continue;
                }
                _ => {}
            }
            let used = reads(k, op);
            for (wait, released) in &waits {
                let Some(at) = *released else { continue };
                if views.iter().any(|(v, w)| w == wait && used.contains(v)) {
                    let notes =
                        vec![self.points("the slot is released here", at), "release it after the last read".into()];
                    let message = format!("`{}` reads a slot after its release", op.kind.mnemonic());
                    self.error(op.span, "E24", message, notes);
                    break;
                }
            }
            if matches!(op.kind, OpKind::Slice(_) | OpKind::Transpose)
                && let Some(wait) = op.operands.first().and_then(|v| views.get(v)).copied()
            {
                views.extend(op.results.iter().map(|r| (*r, wait)));
            }
            op.blocks.iter().for_each(|b| self.released(*b));
        }
        for (wait, released) in waits {
            if released.is_none() {
                let fix =
                    "release it in this block, after the last read: a slot that isn't given back is never filled again";
                self.error(k.op(wait).span, "E24", "waits for a slot that is never released", vec![fix.into()]);
            }
        }
    }

    /// The producer is one thread that computes indices and starts copies.
    fn copies_only(&mut self, body: BlockId) {
        let k = self.k;
        let mut wrong = Vec::new();
        k.walk_block(body, &mut |_, op: &OpData| {
            let tiles =
                op.operands.iter().chain(&op.results).any(|v| matches!(k.ty(*v), Type::Tile(..) | Type::Smem(..)));
            if tiles || op.kind.writes_array() || op.kind.is_debug() {
                wrong.push((op.span, op.kind.mnemonic()));
            }
        });
        for (span, name) in wrong {
            let message = format!("`{name}` in the role that fills the ring");
            let fix = "that role is one thread: it computes numbers, reads single elements with `at` and fills slots; move this to the other role";
            self.error(span, "E33", message, vec![fix.into()]);
        }
    }

    /// The role that computes, by the name that it has in the source.
    fn consumer(&self) -> String {
        let named = self.k.resources.roles.iter().find(|r| r.role == Role::Consumer);
        named.map_or_else(|| "the consumer".to_owned(), |r| format!("role `{}`", r.name))
    }

    /// The same transactions in the same order; one error for each block that differs.
    fn order(&mut self, same: &mut Same<'_>, fills: &[Step<'_>], waits: &[Step<'_>]) {
        for (fill, wait) in fills.iter().zip(waits) {
            let (at, other) = (fill.span(), wait.span());
            match (fill, wait) {
                (Step::Transaction(a, _), Step::Transaction(b, _)) if same_parts(a, b) => {}
                (Step::Transaction(a, _), Step::Transaction(b, _)) => {
                    let message =
                        format!("this fills a slot with {}, the consumer next waits for {}", list(a), list(b));
                    let notes = vec![
                        self.points("the wait is here", other),
                        "one ring carries all slots: fill and wait in one order".into(),
                    ];
                    return self.error(at, "E24", message, notes);
                }
                (Step::Loop(a, x, _), Step::Loop(b, y, _)) => {
                    if !same.pair(*a, *b) {
                        let notes = vec![
                            self.points(&format!("{}'s loop is here", self.consumer()), other),
                            "write the same range in both roles: the slots filled and the slots waited for must be equally many".into(),
                        ];
                        return self.error(
                            at,
                            "E24",
                            "the loops around this ring's slots run over different ranges",
                            notes,
                        );
                    }
                    self.order(same, x, y);
                }
                (Step::Branch(a, x, _), Step::Branch(b, y, _)) => {
                    if !same.value(*a, *b) {
                        let notes = vec![
                            self.points(&format!("{}'s condition is here", self.consumer()), other),
                            "write the same condition in both roles".into(),
                        ];
                        return self.error(
                            at,
                            "E24",
                            "slots are filled and waited for under different conditions",
                            notes,
                        );
                    }
                    self.order(same, &x[0], &y[0]);
                    self.order(same, &x[1], &y[1]);
                }
                _ => {
                    let message =
                        format!("the producer {} here, the consumer {}", what(fill, "fills"), what(wait, "waits"));
                    let notes = vec![
                        self.points("the consumer's is here", other),
                        "both roles need the same loops and conditions around their slots".into(),
                    ];
                    return self.error(at, "E24", message, notes);
                }
            }
        }
        let common = fills.len().min(waits.len());
        if let Some(extra) = fills.get(common) {
            let notes = vec!["wait for it and release it in the other role, or don't fill it".into()];
            self.error(extra.span(), "E24", "the producer fills a slot that the consumer never waits for", notes);
        }
        if let Some(extra) = waits.get(common) {
            let notes = vec!["fill it in the other role, or don't wait for it: this wait would never end".into()];
            self.error(extra.span(), "E24", "the consumer waits for a slot that the producer never fills", notes);
        }
    }

    /// Both roles walk the same work items.
    fn work(&mut self, same: &mut Same<'_>, producer: BlockId, consumer: BlockId) {
        let k = self.k;
        let find = |b: BlockId| k.block(b).ops.iter().map(|id| k.op(*id)).find(|op| op.kind == OpKind::Work);
        let (Some(a), Some(b)) = (find(producer), find(consumer)) else { return };
        let equal =
            a.operands.len() == b.operands.len() && a.operands.iter().zip(&b.operands).all(|(x, y)| same.value(*x, *y));
        if !equal {
            let notes =
                vec![self.points("the consumer's is here", b.span), "ask for the same extents in both roles".into()];
            self.error(a.span, "E24", "the roles ask for different work", notes);
        }
    }
}

/// Values that an op, or one nested in it, reads.
fn reads(k: &Kernel, op: &OpData) -> HashSet<ValueId> {
    let mut out: HashSet<ValueId> = op.operands.iter().copied().collect();
    for b in &op.blocks {
        k.walk_block(*b, &mut |_, inner: &OpData| out.extend(&inner.operands));
    }
    out
}

fn same_parts(a: &[RingPart], b: &[RingPart]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.dtype == y.dtype && x.shape == y.shape && x.offset == y.offset)
}

fn list(parts: &[RingPart]) -> String {
    let one = |p: &RingPart| {
        let dims: Vec<String> = p.shape.iter().map(usize::to_string).collect();
        format!("{} {}", p.dtype, dims.join("x"))
    };
    parts.iter().map(one).collect::<Vec<_>>().join(" and ")
}

fn what(step: &Step<'_>, verb: &str) -> String {
    match step {
        Step::Transaction(parts, _) => format!("{verb} for a slot of {}", list(parts)).replace("fills for", "fills"),
        Step::Loop(..) => format!("{verb} in a loop"),
        Step::Branch(..) => format!("{verb} under a condition"),
    }
}

/// Where a value comes from.
#[derive(Clone, Copy)]
enum Source {
    Op(OpId, usize),
    /// Argument of a loop's block.
    Arg(OpId, usize),
}

/// Whether values of the two bodies are always equal.
struct Same<'k> {
    k: &'k Kernel,
    sources: HashMap<ValueId, Source>,
    written: HashSet<ValueId>,
    /// Pairs shown equal, or assumed so while their loop is compared.
    known: HashSet<(ValueId, ValueId)>,
    /// Loops that run in step.
    paired: HashSet<(OpId, OpId)>,
}

impl<'k> Same<'k> {
    fn new(k: &'k Kernel) -> Self {
        let (mut sources, mut written) = (HashMap::new(), HashSet::new());
        k.walk(|id, op| {
            sources.extend(op.results.iter().enumerate().map(|(i, r)| (*r, Source::Op(id, i))));
            if matches!(op.kind, OpKind::For { .. }) {
                let args = op.blocks.first().map_or(&[][..], |b| &k.block(*b).args);
                sources.extend(args.iter().enumerate().map(|(i, a)| (*a, Source::Arg(id, i))));
            }
            if op.kind.writes_array() {
                written.insert(op.operands[0]);
            }
        });
        Same { k, sources, written, known: HashSet::new(), paired: HashSet::new() }
    }

    fn value(&mut self, a: ValueId, b: ValueId) -> bool {
        if a == b || !self.known.insert((a, b)) {
            return true;
        }
        let equal = self.sources_equal(a, b);
        if !equal {
            // What was concluded from the assumption falls with it.
            self.known.clear();
        }
        equal
    }

    fn sources_equal(&mut self, a: ValueId, b: ValueId) -> bool {
        let k = self.k;
        if k.ty(a) != k.ty(b) {
            return false;
        }
        match (self.sources.get(&a).copied(), self.sources.get(&b).copied()) {
            (Some(Source::Op(x, i)), Some(Source::Op(y, j))) => {
                let (p, q) = (k.op(x), k.op(y));
                match (&p.kind, &q.kind) {
                    (OpKind::For { .. }, OpKind::For { .. }) => self.carried(x, i, y, j),
                    (OpKind::If, OpKind::If) => {
                        self.value(p.operands[0], q.operands[0])
                            && (0..2).all(|side| self.yields(p.blocks[side], i, q.blocks[side], j))
                    }
                    (OpKind::RingWait(_), _) | (_, OpKind::RingWait(_)) => false,
                    (kind, other) => {
                        // Extents of an array that is written stay; what it holds does not.
                        let reads = kind.reads_array();
                        kind == other
                            && i == j
                            && !(reads && self.written.contains(&p.operands[0]))
                            && p.operands.len() == q.operands.len()
                            && p.operands.iter().zip(&q.operands).all(|(v, w)| self.value(*v, *w))
                    }
                }
            }
            (Some(Source::Arg(x, 0)), Some(Source::Arg(y, 0))) => self.paired.contains(&(x, y)),
            (Some(Source::Arg(x, i)), Some(Source::Arg(y, j))) if i > 0 && j > 0 => self.carried(x, i - 1, y, j - 1),
            _ => false,
        }
    }

    /// Whether two loops run over one range; their indices are equal then.
    fn pair(&mut self, x: OpId, y: OpId) -> bool {
        let (p, q) = (self.k.op(x), self.k.op(y));
        let equal = (0..2).all(|i| self.value(p.operands[i], q.operands[i]));
        if equal {
            self.paired.insert((x, y));
        }
        equal
    }

    /// Whether two carried values start and go on alike in loops of the same range.
    fn carried(&mut self, x: OpId, i: usize, y: OpId, j: usize) -> bool {
        let (p, q) = (self.k.op(x), self.k.op(y));
        let (first, second) = (self.k.block(p.blocks[0]).args[i + 1], self.k.block(q.blocks[0]).args[j + 1]);
        self.known.insert((first, second));
        self.pair(x, y)
            && self.value(p.operands[i + 2], q.operands[j + 2])
            && self.yields(p.blocks[0], i, q.blocks[0], j)
    }

    fn yields(&mut self, x: BlockId, i: usize, y: BlockId, j: usize) -> bool {
        let end =
            |b: BlockId, i: usize| self.k.block(b).ops.last().and_then(|id| self.k.op(*id).operands.get(i)).copied();
        match (end(x, i), end(y, j)) {
            (Some(v), Some(w)) => self.value(v, w),
            _ => false,
        }
    }
}
