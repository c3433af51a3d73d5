//! Counts of a kernel's machine code by role and loop.

use super::{Instruction, Sass};
use serde::Serialize;
use tile_lang::ir::Role;

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

/// Counts what code holds.
pub fn report(sass: &Sass) -> SassReport {
    let mut out = SassReport { all: count(&sass.code), roles: Vec::new() };
    for (name, role) in [("producer", Role::Producer), ("consumer", Role::Consumer)] {
        let (Some(part), Some(entry)) = (sass.role(role), sass.entry(role)) else { continue };
        let registers = sass.code[entry].text.rsplit([' ', ',']).find_map(number);
        let within = |range: std::ops::RangeInclusive<usize>| {
            let inside = range.filter(|i| part[*i]);
            count(inside.map(|i| &sass.code[i]))
        };
        let loops = sass.loops(&part).into_iter().map(|l| Loop {
            begin: sass.code[*l.start()].address,
            end: sass.code[*l.end()].address,
            counts: within(l),
        });
        let loops = loops.collect();
        let last = sass.code.len().saturating_sub(1);
        out.roles.push(RoleSass { role: name, registers, counts: within(0..=last), loops });
    }
    out
}

fn number(text: &str) -> Option<usize> {
    usize::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn count<'a>(code: impl IntoIterator<Item = &'a Instruction>) -> Counts {
    let mut c = Counts::default();
    for inst in code {
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
        let report = report(&Sass::parse(SASS));
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
