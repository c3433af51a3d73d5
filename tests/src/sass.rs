//! Whether a kernel's machine code is what it is meant to be, role by role and loop by loop.

use std::ops::RangeInclusive;
use tile_codegen::sass::{Part, Sass};
use tile_lang::ir::Role;

/// What a kernel does, as far as its machine code must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// It multiplies what comes through the ring.
    pub staged_products: bool,
    /// It multiplies.
    pub products: bool,
}

/// Products on tensor cores: by a warp, by a warpgroup, of bytes, and with block scales.
const PRODUCTS: [&str; 6] = ["HMMA", "HGMMA", "QGMMA", "IGMMA", "OMMA", "QMMA"];
/// Copies into the ring: contiguous bytes, boxes of arrays.
const COPIES: [&str; 2] = ["UBLKCP", "UTMALDG"];

/// What is wrong with a kernel, one line each; nothing if it is as it is meant to be.
pub fn check(sass: &Sass, demands: Demands) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let (producer, consumer) = (sass.role(Role::Producer), sass.role(Role::Consumer));
    demand(producer.is_some(), "the producer gives no registers up");
    demand(consumer.is_some(), "the consumers take no registers");
    let nothing = || vec![false; sass.code.len()];
    let (producer, consumer) = (producer.unwrap_or_else(nothing), consumer.unwrap_or_else(nothing));
    // Whether code of a part, within a range, has an instruction with all these words.
    let has = |part: &Part, range: &RangeInclusive<usize>, words: &[&str]| {
        range.clone().filter(|i| part[*i]).any(|i| words.iter().all(|w| sass.code[i].op.contains(w)))
    };
    let any = |part: &Part, range: &RangeInclusive<usize>, names: &[&str]| names.iter().any(|n| has(part, range, &[n]));
    let all = 0..=sass.code.len().saturating_sub(1);
    let wait = ["SYNCS", "TRYWAIT"];
    let copies = sass.loops(&producer).iter().any(|l| any(&producer, l, &COPIES) && has(&producer, l, &wait));
    demand(copies, "no loop of the producer waits and copies");
    demand(!any(&producer, &all, &PRODUCTS), "the producer multiplies");
    demand(!any(&consumer, &all, &COPIES), "a consumer copies");
    demand(has(&consumer, &all, &wait), "the consumers wait for nothing");
    // The loop over instructions of the program raises counters behind fences; what it contains runs within one.
    let loops: Vec<RangeInclusive<usize>> =
        sass.loops(&consumer).into_iter().filter(|l| !has(&consumer, l, &["MEMBAR"])).collect();
    let multiplies = |l: &&RangeInclusive<usize>| any(&consumer, l, &PRODUCTS);
    // Products by warpgroups read shared memory themselves.
    let streams =
        |l: &RangeInclusive<usize>| any(&consumer, l, &["LDS", "HGMMA", "QGMMA", "IGMMA"]) && has(&consumer, l, &wait);
    if demands.products {
        demand(loops.iter().any(|l| multiplies(&l)), "no loop of the consumers multiplies");
    }
    if demands.staged_products {
        let found = loops.iter().filter(multiplies).any(streams);
        demand(found, "no loop of the consumers waits for the ring, reads shared memory and multiplies");
    }
    let local = |l: &RangeInclusive<usize>| has(&consumer, l, &["LDL"]) || has(&consumer, l, &["STL"]);
    demand(!loops.iter().any(local), "a loop of the consumers spills to local memory");
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel's skeleton; the markers `C1`, `C2` and `P1` stand for places where lines are put.
    fn skeleton(c1: &str, c2: &str, p1: &str) -> Vec<String> {
        let text = format!(
            "        /*0000*/ @P0 BRA `(.L_x_9) ;
        /*0010*/ USETMAXREG.DEALLOC.CTAPOOL 0x28 ;
.L_x_1:
        /*0020*/ SYNCS.PHASECHK.TRANS64.TRYWAIT P1, [R21+URZ+0x100], R4 ;
        /*0030*/ UBLKCP.S.G [UR8], [UR4], UR6 ;
{p1}
        /*0040*/ @P1 BRA `(.L_x_1) ;
        /*0050*/ BRA `(.L_x_8) ;
.L_x_9:
        /*0060*/ USETMAXREG.TRY_ALLOC.CTAPOOL UP0, 0xe8 ;
.L_x_2:
        /*0068*/ LDS R0, [R2] ;
.L_x_3:
        /*0070*/ SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R47+URZ], R0 ;
        /*0080*/ LDS.128 R56, [R34+0xc00] ;
{c1}
        /*0090*/ @!P1 BRA `(.L_x_3) ;
{c2}
        /*00a0*/ MEMBAR.ALL.GPU ;
        /*00b0*/ @P0 BRA `(.L_x_2) ;
.L_x_8:
        /*00c0*/ EXIT ;"
        );
        check(&Sass::parse(&text), Demands { staged_products: true, products: true })
    }

    const HMMA: &str = "        /*0088*/ HMMA.16816.F32.BF16 R20, R56.reuse, R20, RZ ;";

    #[test]
    fn a_kernel_as_meant_passes() {
        assert_eq!(skeleton(HMMA, "", ""), Vec::<String>::new());
    }

    #[test]
    fn products_outside_their_loop_are_found() {
        assert_eq!(skeleton("", HMMA, "").len(), 2);
        assert!(skeleton("", "", HMMA).contains(&"the producer multiplies".to_owned()));
    }

    #[test]
    fn copies_and_spills_in_consumers_are_found() {
        let two = |line: &str| skeleton(&format!("{HMMA}\n        /*0089*/ {line} ;"), "", "");
        assert_eq!(two("UBLKCP.S.G [UR8], [UR4], UR6"), ["a consumer copies"]);
        assert_eq!(two("STL [R1], R4"), ["a loop of the consumers spills to local memory"]);
        assert_eq!(two("IADD3 R1, R1, R2, RZ"), Vec::<String>::new());
    }
}
