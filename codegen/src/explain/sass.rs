//! Looks at machine code as nvdisasm prints it: which role runs which instructions, and what loops they form.
//!
//! A role's code is what can be reached from where it sets its registers: `USETMAXREG.DEALLOC` begins the producer,
//! `USETMAXREG.TRY_ALLOC` the consumer.

use serde::Serialize;
use std::collections::HashMap;

/// Instructions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub instructions: usize,
    /// Tensor core products.
    pub mma: usize,
    /// Asynchronous bulk copies.
    pub bulk_copies: usize,
    /// Operations on barriers in shared memory.
    pub barriers: usize,
    /// Loads from shared memory.
    pub shared_loads: usize,
    /// Loads from global memory.
    pub global_loads: usize,
    /// Accesses of local memory: spills.
    pub local: usize,
}

/// A loop: from the target of a backward jump to the jump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loop {
    /// Address of its first instruction.
    pub begin: usize,
    /// Address of the jump back.
    pub end: usize,
    /// What it holds, inner loops included.
    pub counts: Counts,
}

/// The code of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleSass {
    /// `producer` or `consumer`.
    pub role: &'static str,
    /// Registers of a thread that it sets.
    pub registers: Option<usize>,
    /// What can be reached.
    pub counts: Counts,
    /// Its loops, in the order of addresses.
    pub loops: Vec<Loop>,
}

/// What a kernel's machine code holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SassReport {
    /// Everything.
    pub all: Counts,
    /// By role; a role that doesn't set its registers is left out.
    pub roles: Vec<RoleSass>,
}

/// One instruction.
struct Inst<'a> {
    address: usize,
    guarded: bool,
    op: &'a str,
    text: &'a str,
}

impl Inst<'_> {
    fn labels(&self) -> impl Iterator<Item = &str> {
        let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
        self.text.match_indices(".L_").map(move |(at, _)| self.text[at..].split(end).next().unwrap_or_default())
    }

    fn is(&self, name: &str) -> bool {
        self.op.split('.').next() == Some(name)
    }
}

/// Reads nvdisasm's text.
pub fn analyse(sass: &str) -> SassReport {
    let (code, labels) = parse(sass);
    let all: Vec<usize> = (0..code.len()).collect();
    let next: Vec<Vec<usize>> = all.iter().map(|i| successors(&code, *i, &labels)).collect();
    let mut report = SassReport { all: count(&code, all.iter().copied()), roles: Vec::new() };
    for (role, mark) in [("producer", "DEALLOC"), ("consumer", "TRY_ALLOC")] {
        let Some(start) = code.iter().position(|i| i.is("USETMAXREG") && i.op.contains(mark)) else { continue };
        let reached = reach(&next, start);
        let registers = code[start].text.rsplit([' ', ',']).find_map(number);
        let counts = count(&code, all.iter().copied().filter(|i| reached[*i]));
        report.roles.push(RoleSass { role, registers, counts, loops: loops(&code, &next, &reached) });
    }
    report
}

fn number(text: &str) -> Option<usize> {
    usize::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn parse(sass: &str) -> (Vec<Inst<'_>>, HashMap<&str, usize>) {
    let (mut code, mut labels) = (Vec::new(), HashMap::new());
    for line in sass.lines().map(str::trim) {
        if let Some(label) = line.strip_suffix(':').filter(|l| l.starts_with(".L_")) {
            labels.insert(label, code.len());
            continue;
        }
        let Some((address, rest)) = line.strip_prefix("/*").and_then(|l| l.split_once("*/")) else { continue };
        let Ok(address) = usize::from_str_radix(address, 16) else { continue };
        let rest = rest.trim().trim_start_matches('{').trim();
        let (guarded, text) = match rest.strip_prefix('@') {
            Some(guarded) => (true, guarded.split_once(char::is_whitespace).map_or("", |(_, t)| t.trim())),
            None => (false, rest),
        };
        let op = text.split([' ', ';']).next().unwrap_or_default();
        if !op.is_empty() {
            code.push(Inst { address, guarded, op, text });
        }
    }
    (code, labels)
}

fn successors(code: &[Inst<'_>], at: usize, labels: &HashMap<&str, usize>) -> Vec<usize> {
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

fn reach(next: &[Vec<usize>], start: usize) -> Vec<bool> {
    let mut seen = vec![false; next.len()];
    let mut stack = vec![start];
    while let Some(at) = stack.pop() {
        if !std::mem::replace(&mut seen[at], true) {
            stack.extend(&next[at]);
        }
    }
    seen
}

/// Backward jumps make loops; of several to one place the last one counts.
fn loops(code: &[Inst<'_>], next: &[Vec<usize>], reached: &[bool]) -> Vec<Loop> {
    let mut ends: HashMap<usize, usize> = HashMap::new();
    for at in (0..code.len()).filter(|i| reached[*i]) {
        for target in next[at].iter().filter(|t| **t <= at) {
            let end = ends.entry(*target).or_insert(at);
            *end = at.max(*end);
        }
    }
    let mut out: Vec<Loop> = ends
        .into_iter()
        .map(|(begin, end)| Loop {
            begin: code[begin].address,
            end: code[end].address,
            counts: count(code, (begin..=end).filter(|i| reached[*i])),
        })
        .collect();
    out.sort_by_key(|l| (l.begin, l.end));
    out
}

fn count(code: &[Inst<'_>], which: impl Iterator<Item = usize>) -> Counts {
    let mut c = Counts::default();
    for inst in which.map(|i| &code[i]) {
        c.instructions += 1;
        let kind = inst.op.split('.').next().unwrap_or_default();
        match kind {
            "HMMA" | "QMMA" | "OMMA" | "IMMA" | "HGMMA" | "QGMMA" | "UTCHMMA" | "UTCQMMA" => c.mma += 1,
            "UBLKCP" | "UTMALDG" | "UTMASTG" | "UBLKRED" => c.bulk_copies += 1,
            "SYNCS" => c.barriers += 1,
            "LDS" | "LDSM" => c.shared_loads += 1,
            "LDG" => c.global_loads += 1,
            "LDL" | "STL" => c.local += 1,
            _ => {}
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    const SASS: &str = r#"
        /*0000*/                   S2R R12, SR_TID.X ;
        /*0010*/               @P1 BRA `(.L_x_1) ;
        /*0020*/                   USETMAXREG.DEALLOC.CTAPOOL 0x28 ;
.L_x_0:
        /*0030*/                   UBLKCP.S.G [UR8], [UR4], UR6 ;
        /*0040*/               @P0 BRA `(.L_x_0) ;
        /*0050*/                   BRA `(.L_x_3) ;
.L_x_1:
        /*0060*/                   USETMAXREG.TRY_ALLOC.CTAPOOL UP0, 0xe8 ;
        /*0070*/                   BRX R4 -0x80                       (*"BRANCH_TARGETS .L_x_2,.L_x_3"*);
.L_x_2:
        /*0080*/                   HMMA.16816.F32.BF16 R24, R28.reuse, R10, RZ ;
        /*0090*/                   BRA.DIV UR4, `(.L_x_3) ;
        /*00a0*/                   BRA `(.L_x_2) ;
.L_x_3:
        /*00b0*/                   EXIT ;
        /*00c0*/                   BRA `(.L_x_3);
"#;

    #[test]
    fn roles_are_what_they_reach() {
        let report = analyse(SASS);
        assert_eq!(report.all.instructions, 13);
        let [producer, consumer] = &report.roles[..] else { panic!("{report:?}") };
        assert_eq!((producer.role, producer.registers), ("producer", Some(40)));
        assert_eq!((producer.counts.bulk_copies, producer.counts.mma), (1, 0));
        assert_eq!((consumer.role, consumer.registers), ("consumer", Some(232)));
        assert_eq!((consumer.counts.bulk_copies, consumer.counts.mma), (0, 1));
        assert_eq!(consumer.counts.instructions, 6);
        let loops: Vec<(usize, usize)> = consumer.loops.iter().map(|l| (l.begin, l.end)).collect();
        assert_eq!(loops, [(0x80, 0xa0)]);
    }
}
