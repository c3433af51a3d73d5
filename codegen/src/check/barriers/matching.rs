//! Matches the control flow of the producer with that of the consumers.
//!
//! Both roles walk the ring in the order of their own loops and conditions, so these must have one origin: at the same
//! position, with bounds and conditions that are computed alike. What can't be matched is an error; what is matched gets the same
//! trip counts and branches in every run.

use std::collections::{HashMap, HashSet};
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, Role, ValueId};

/// The consumers' loop or condition for each of the producer's.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// From the producer's op to the consumers'.
    pub partner: HashMap<OpId, OpId>,
    /// Where the roles differ: an op, what is wrong, and the other role's op.
    pub wrong: Vec<(OpId, String, Option<OpId>)>,
}

/// Matches the bodies of a kernel that is split into roles.
pub fn matching(k: &Kernel) -> Matching {
    let mut written = HashSet::new();
    k.walk(|_, op| {
        if op.kind.writes_array() {
            written.insert(op.operands[0]);
        }
    });
    let mut m = Matcher { k, origins: origins(k), written, out: Matching::default() };
    match (k.body(Role::Producer), k.body(Role::Consumer)) {
        (Some(p), Some(c)) => m.blocks(p, c),
        (Some(p), None) if !ring_ops(k, p).is_empty() => {
            m.out.wrong.push((ring_ops(k, p)[0], "the producer fills slots, and there are no consumers".into(), None));
        }
        (None, Some(c)) if !ring_ops(k, c).is_empty() => {
            m.out.wrong.push((ring_ops(k, c)[0], "the consumers take slots, and there is no producer".into(), None));
        }
        _ => {}
    }
    m.out
}

/// Whether an op, or one nested in it, takes a slot.
pub fn uses_ring(k: &Kernel, id: OpId) -> bool {
    let op = k.op(id);
    matches!(op.kind, OpKind::RingFill(_) | OpKind::RingWait(_))
        || op.blocks.iter().any(|b| k.block(*b).ops.iter().any(|o| uses_ring(k, *o)))
}

/// Whether a body takes slots.
pub fn uses_ring_in(k: &Kernel, block: BlockId) -> bool {
    !ring_ops(k, block).is_empty()
}

/// The ops of a block, in order, that take slots.
fn ring_ops(k: &Kernel, block: BlockId) -> Vec<OpId> {
    k.block(block).ops.iter().copied().filter(|id| uses_ring(k, *id)).collect()
}

/// Where a value comes from.
#[derive(Clone, Copy)]
enum Origin {
    Result(OpId, usize),
    Argument(OpId, usize),
}

fn origins(k: &Kernel) -> HashMap<ValueId, Origin> {
    let mut out = HashMap::new();
    k.walk(|id, op| {
        out.extend(op.results.iter().enumerate().map(|(i, v)| (*v, Origin::Result(id, i))));
        for b in &op.blocks {
            out.extend(k.block(*b).args.iter().enumerate().map(|(i, v)| (*v, Origin::Argument(id, i))));
        }
    });
    out
}

struct Matcher<'a> {
    k: &'a Kernel,
    origins: HashMap<ValueId, Origin>,
    /// Arrays that the kernel writes.
    written: HashSet<ValueId>,
    out: Matching,
}

impl Matcher<'_> {
    fn blocks(&mut self, p: BlockId, c: BlockId) {
        let (ps, cs) = (ring_ops(self.k, p), ring_ops(self.k, c));
        for (p, c) in ps.iter().zip(&cs) {
            self.pair(*p, *c);
        }
        if let Some(extra) = ps.get(cs.len()) {
            self.out.wrong.push((*extra, "the producer fills a slot that the consumers don't take".into(), None));
        }
        if let Some(extra) = cs.get(ps.len()) {
            self.out.wrong.push((*extra, "the consumers take a slot that the producer doesn't fill".into(), None));
        }
    }

    fn pair(&mut self, p: OpId, c: OpId) {
        let (a, b) = (self.k.op(p), self.k.op(c));
        let wrong = match (&a.kind, &b.kind) {
            (OpKind::RingFill(x), OpKind::RingWait(y)) => {
                let text = "the producer fills the slot with other parts than the consumers take from it";
                (x != y).then(|| text.to_owned())
            }
            (OpKind::For { .. }, OpKind::For { .. }) => {
                self.out.partner.insert(p, c);
                let same = (0..2).all(|i| self.same(a.operands[i], b.operands[i], &mut HashSet::new()));
                self.blocks(a.blocks[0], b.blocks[0]);
                (!same).then(|| "the bounds of this loop are computed differently in the two roles".to_owned())
            }
            (OpKind::If, OpKind::If) => {
                self.out.partner.insert(p, c);
                let same = self.same(a.operands[0], b.operands[0], &mut HashSet::new());
                for (x, y) in a.blocks.iter().zip(&b.blocks) {
                    self.blocks(*x, *y);
                }
                (!same).then(|| "the condition of this branch is computed differently in the two roles".to_owned())
            }
            (x, y) => Some(format!("the producer has `{}` where the consumers have `{}`", x.mnemonic(), y.mnemonic())),
        };
        if let Some(wrong) = wrong {
            self.out.wrong.push((p, wrong, Some(c)));
        }
    }

    /// Whether two values are computed alike; pairs in `assumed` are taken for equal, as a loop's carried values are
    /// while its body is compared.
    fn same(&self, a: ValueId, b: ValueId, assumed: &mut HashSet<(ValueId, ValueId)>) -> bool {
        if a == b || !assumed.insert((a, b)) {
            return true;
        }
        match (self.origins.get(&a), self.origins.get(&b)) {
            (Some(Origin::Result(x, i)), Some(Origin::Result(y, j))) => {
                let (p, c) = (self.k.op(*x), self.k.op(*y));
                match (&p.kind, &c.kind) {
                    (OpKind::For { .. }, OpKind::For { .. }) => {
                        let (from, to) = (self.k.block(p.blocks[0]), self.k.block(c.blocks[0]));
                        match (from.args.get(i + 1), to.args.get(j + 1)) {
                            (Some(from), Some(to)) => self.same(*from, *to, assumed),
                            _ => false,
                        }
                    }
                    (OpKind::If, OpKind::If) => {
                        self.same(p.operands[0], c.operands[0], assumed)
                            && p.blocks.iter().zip(&c.blocks).all(|(x, y)| self.same_end(*x, *i, *y, *j, assumed))
                    }
                    (kind, other) => {
                        // What the kernel itself writes may have changed between the two roles' reads.
                        let data = kind.reads_array() && self.written.contains(&p.operands[0]);
                        i == j && kind == other && !data && self.all_same(&p.operands, &c.operands, assumed)
                    }
                }
            }
            (Some(Origin::Argument(x, i)), Some(Origin::Argument(y, j))) => {
                self.same_argument((*x, *i), (*y, *j), assumed)
            }
            _ => false,
        }
    }

    fn all_same(&self, a: &[ValueId], b: &[ValueId], assumed: &mut HashSet<(ValueId, ValueId)>) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(x, y)| self.same(*x, *y, assumed))
    }

    fn same_end(&self, a: BlockId, i: usize, b: BlockId, j: usize, assumed: &mut HashSet<(ValueId, ValueId)>) -> bool {
        let end = |block: BlockId, at: usize| {
            self.k.block(block).ops.last().and_then(|e| self.k.op(*e).operands.get(at)).copied()
        };
        end(a, i).zip(end(b, j)).is_some_and(|(x, y)| self.same(x, y, assumed))
    }

    /// Arguments of two loops: both count over the same bounds, or both are carried alike.
    fn same_argument(
        &self,
        (x, i): (OpId, usize),
        (y, j): (OpId, usize),
        assumed: &mut HashSet<(ValueId, ValueId)>,
    ) -> bool {
        let (p, c) = (self.k.op(x), self.k.op(y));
        if self.out.partner.get(&x) != Some(&y) && !self.all_same(&p.operands[..2], &c.operands[..2], assumed) {
            return false;
        }
        if i == 0 || j == 0 {
            return i == j;
        }
        let start = p.operands.get(i + 1).zip(c.operands.get(j + 1));
        start.is_some_and(|(a, b)| self.same(*a, *b, assumed))
            && self.same_end(p.blocks[0], i - 1, c.blocks[0], j - 1, assumed)
    }
}
