//! Reading SASS: which role an instruction belongs to, which loops it is in, and whether a kernel is what it is meant to be.
//!
//! The producer's code begins where it gives registers up (`USETMAXREG.DEALLOC`), the consumers' where they take them
//! (`USETMAXREG.TRY_ALLOC`). A loop is what lies between a label and a later branch to it.

use std::collections::HashMap;
use std::ops::Range;

/// Instructions of a kernel in order.
#[derive(Clone, Debug, Default)]
pub struct Sass {
    /// Instructions without address, comments and semicolon.
    pub code: Vec<String>,
    /// Where labels stand: the index of the instruction after them.
    labels: HashMap<String, usize>,
}

/// What a kernel does, as far as its machine code must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// It multiplies what comes through the ring.
    pub staged_products: bool,
    /// It multiplies.
    pub products: bool,
}

impl Sass {
    /// From nvdisasm's text.
    pub fn parse(text: &str) -> Sass {
        let mut sass = Sass::default();
        for line in text.lines().map(str::trim) {
            if let Some(label) = line.strip_suffix(':').filter(|l| l.starts_with(".L")) {
                sass.labels.insert(label.into(), sass.code.len());
            }
            let Some(rest) = line.strip_prefix("/*").and_then(|l| l.split_once("*/")).map(|(_, rest)| rest.trim())
            else {
                continue;
            };
            // The second line of an instruction's encoding holds nothing else.
            if let Some(text) = rest.split(';').next().map(str::trim).filter(|t| !t.is_empty() && !t.starts_with("/*"))
            {
                sass.code.push(text.into());
            }
        }
        sass
    }

    fn first(&self, what: &str) -> Option<usize> {
        self.code.iter().position(|i| i.contains(what))
    }

    /// The producer's instructions; empty if the roles can't be told apart.
    pub fn producer(&self) -> Range<usize> {
        match (self.first("USETMAXREG.DEALLOC"), self.first("USETMAXREG.TRY_ALLOC")) {
            (Some(a), Some(b)) if a < b => a..b,
            (Some(a), Some(b)) if b < a => a..self.code.len(),
            _ => 0..0,
        }
    }

    /// The consumers' instructions; empty if the roles can't be told apart.
    pub fn consumer(&self) -> Range<usize> {
        match (self.first("USETMAXREG.DEALLOC"), self.first("USETMAXREG.TRY_ALLOC")) {
            (Some(a), Some(b)) if a < b => b..self.code.len(),
            (Some(a), Some(b)) if b < a => b..a,
            _ => 0..0,
        }
    }

    /// Loops that lie within a part of the code.
    pub fn loops(&self, within: &Range<usize>) -> Vec<Range<usize>> {
        let back = |i: usize| {
            let target = self.code[i].split_once("`(")?.1.split(')').next()?;
            let begin = *self.labels.get(target)?;
            (self.code[i].contains("BRA") && begin <= i && within.contains(&begin)).then_some(begin..i + 1)
        };
        within.clone().filter_map(back).collect()
    }

    /// Whether a part of the code has an instruction with all these words.
    pub fn has(&self, within: &Range<usize>, words: &[&str]) -> bool {
        self.code[within.clone()].iter().any(|i| words.iter().all(|w| i.contains(w)))
    }

    /// What is wrong with a kernel, one line each; nothing if it is as it is meant to be.
    pub fn check(&self, demands: Demands) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                wrong.push(what.to_owned());
            }
        };
        demand(self.first("USETMAXREG.DEALLOC").is_some(), "the producer gives no registers up");
        demand(self.first("USETMAXREG.TRY_ALLOC").is_some(), "the consumers take no registers");
        let (producer, consumer) = (self.producer(), self.consumer());
        let wait = ["SYNCS", "TRYWAIT"];
        let copies = |l: &Range<usize>| self.has(l, &["UBLKCP"]) && self.has(l, &wait);
        demand(self.loops(&producer).iter().any(copies), "no loop of the producer waits and copies");
        demand(!self.has(&producer, &["HMMA"]), "the producer multiplies");
        demand(!self.has(&consumer, &["UBLKCP"]), "a consumer copies");
        demand(self.has(&consumer, &wait), "the consumers wait for nothing");
        // The loop over instructions of the program raises counters behind fences; what it contains runs within one.
        let loops: Vec<Range<usize>> =
            self.loops(&consumer).into_iter().filter(|l| !self.has(l, &["MEMBAR"])).collect();
        let multiplies = |l: &&Range<usize>| self.has(l, &["HMMA"]);
        let streams = |l: &Range<usize>| self.has(l, &["LDS"]) && self.has(l, &wait);
        if demands.products {
            demand(loops.iter().any(|l| multiplies(&l)), "no loop of the consumers multiplies");
        }
        if demands.staged_products {
            let found = loops.iter().filter(multiplies).any(streams);
            demand(found, "no loop of the consumers waits for the ring, reads shared memory and multiplies");
        }
        let local = |l: &Range<usize>| self.has(l, &["LDL"]) || self.has(l, &["STL"]);
        demand(!loops.iter().any(local), "a loop of the consumers spills to local memory");
        wrong
    }
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
        Sass::parse(&text).check(Demands { staged_products: true, products: true })
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
