//! Machine code as nvdisasm prints it: instructions, the flow between them, which role runs which, what loops they form.
//!
//! A role's code is what can be reached from where it sets its registers: `USETMAXREG.DEALLOC` begins the producer,
//! `USETMAXREG.TRY_ALLOC` the consumers.

mod check;
mod report;

pub use check::{Instructions, Intent, intents, missing};
pub use report::{Counts, Loop, RoleSass, SassReport, report};

use crate::explain::Place;
use crate::lines;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use tile_lang::ir::Role;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its address in the function.
    pub address: usize,
    /// Whether a predicate decides if it runs.
    pub guarded: bool,
    /// Its name with modifiers, `HMMA.16816.F32.BF16`.
    pub op: String,
    /// Name and operands.
    pub text: String,
    /// Line of source that it comes from, where the code has line information.
    pub place: Option<Place>,
}

impl Instruction {
    /// Whether this is its name, without modifiers or with the first of them.
    pub fn is(&self, name: &str) -> bool {
        self.op.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
        self.text.match_indices(".L_").map(move |(at, _)| self.text[at..].split(end).next().unwrap_or_default())
    }
}

/// Which instructions belong to something, by index.
pub type Part = Vec<bool>;

/// The machine code of a function.
#[derive(Clone, Debug, Default)]
pub struct Sass {
    /// Its instructions in the order of addresses.
    pub code: Vec<Instruction>,
    /// What may run after each.
    next: Vec<Vec<usize>>,
}

impl Sass {
    /// Reads nvdisasm's text.
    pub fn parse(text: &str) -> Sass {
        let (mut code, mut labels) = (Vec::new(), HashMap::new());
        let mut place = None;
        for line in text.lines().map(str::trim) {
            if let Some(label) = line.strip_suffix(':').filter(|l| l.starts_with(".L_")) {
                labels.insert(label.to_owned(), code.len());
            } else if let Some(found) = lines::sass_place(line) {
                place = found;
            } else if let Some(mut instruction) = instruction(line) {
                instruction.place.clone_from(&place);
                code.push(instruction);
            }
        }
        let next = (0..code.len()).map(|i| successors(&code, i, &labels)).collect();
        Sass { code, next }
    }

    /// Where a role begins: where it sets its registers.
    fn entry(&self, role: Role) -> Option<usize> {
        let mark = match role {
            Role::Producer => "DEALLOC",
            Role::Consumer => "TRY_ALLOC",
            Role::All => return (!self.code.is_empty()).then_some(0),
        };
        self.code.iter().position(|i| i.is("USETMAXREG") && i.op.contains(mark))
    }

    /// What a role can reach; none if it doesn't set its registers.
    pub fn role(&self, role: Role) -> Option<Part> {
        let mut stack = vec![self.entry(role)?];
        let mut seen = vec![false; self.code.len()];
        while let Some(at) = stack.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                stack.extend(&self.next[at]);
            }
        }
        Some(seen)
    }

    /// The loops of a part, from the target of a backward jump to the jump, in the order of addresses. Of several jumps to one
    /// place the last one counts.
    pub fn loops(&self, part: &Part) -> Vec<RangeInclusive<usize>> {
        let mut ends: HashMap<usize, usize> = HashMap::new();
        for at in (0..self.code.len()).filter(|i| part[*i]) {
            for target in self.next[at].iter().filter(|t| **t <= at) {
                let end = ends.entry(*target).or_insert(at);
                *end = at.max(*end);
            }
        }
        let mut out: Vec<RangeInclusive<usize>> = ends.into_iter().map(|(begin, end)| begin..=end).collect();
        out.sort_by_key(|l| (*l.start(), *l.end()));
        out
    }
}

/// `/*0010*/  @P1 BRA `(.L_x_1) ;`, also with the encoding after it.
fn instruction(line: &str) -> Option<Instruction> {
    let (address, rest) = line.strip_prefix("/*")?.split_once("*/")?;
    let address = usize::from_str_radix(address, 16).ok()?;
    let rest = rest.split(';').next().unwrap_or_default().trim().trim_start_matches('{').trim();
    let (guarded, text) = match rest.strip_prefix('@') {
        Some(guarded) => (true, guarded.split_once(char::is_whitespace).map_or("", |(_, t)| t.trim())),
        None => (false, rest),
    };
    let op = text.split(' ').next().unwrap_or_default();
    // The second line of an instruction's encoding holds nothing else.
    (!op.is_empty() && !op.starts_with("/*")).then(|| Instruction {
        address,
        guarded,
        op: op.into(),
        text: text.into(),
        place: None,
    })
}

fn successors(code: &[Instruction], at: usize, labels: &HashMap<String, usize>) -> Vec<usize> {
    let inst = &code[at];
    let targets = || inst.labels().filter_map(|l| labels.get(l)).copied().filter(|t| *t < code.len());
    let mut out = Vec::new();
    let mut falls = true;
    if ["BRA", "BRX", "BRXU", "JMP", "JMX", "CALL"].iter().any(|j| inst.is(j)) {
        out.extend(targets());
        // A jump with an operand beside its target depends on it.
        let operands = inst.text.split_once(' ').map_or("", |(_, o)| o);
        let plain = operands.trim_start().starts_with('`') || inst.is("BRX") || inst.is("BRXU");
        falls = inst.guarded || inst.is("CALL") || !plain;
    } else if inst.is("EXIT") || inst.is("RET") {
        falls = inst.guarded;
    }
    if falls && at + 1 < code.len() {
        out.push(at + 1);
    }
    out
}
