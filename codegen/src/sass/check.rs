//! Whether machine code has the instructions that the lowering meant each role to have: what ptxas drops in silence is
//! found here.

use super::Sass;
use crate::explain::{ops_in, place};
use crate::layout::assign;
use crate::target::{Copies, Target};
use tile_lang::diag::Diagnostic;
use tile_lang::ir::{Access, Kernel, OpKind, Role, Type};
use tile_lang::span::Span;

/// What does one thing.
#[derive(Debug, PartialEq, Eq)]
pub struct Instructions {
    /// Names in machine code, of which one suffices: generations call it differently.
    pub any: &'static [&'static str],
    /// Its name in the module and in PTX.
    pub ptx: &'static str,
}

/// Something that a role's machine code must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Whose code.
    pub role: Role,
    /// The instructions that do it.
    pub by: &'static Instructions,
    /// What they are for.
    pub what: &'static str,
    /// Kernel that needs it.
    pub kernel: String,
    /// Where, if it is one op's doing.
    pub file: String,
    /// See `file`.
    pub span: Span,
}

impl Intent {
    /// Whether it is to be expected of ptxas. What the module has and the PTX hasn't is settled before: LLVM has found that it can
    /// never run, as behind a condition that never holds, or that nothing needs its result.
    pub fn is_asked_for(&self, module: &str, ptx: &str) -> bool {
        ptx.contains(self.by.ptx) || !module.contains(self.by.ptx)
    }
}

/// Tensor core products from registers.
const PRODUCTS: &Instructions = &Instructions { any: &["HMMA", "QMMA", "OMMA", "IMMA"], ptx: "mma.sync" };
/// Products of operands with block scales: of FP4 and of 8-bit floats.
const SCALED_PRODUCTS: &Instructions = &Instructions { any: &["OMMA.SF", "QMMA.SF"], ptx: "block_scale" };
const SETS_REGISTERS: &Instructions = &Instructions { any: &["USETMAXREG"], ptx: "setmaxnreg" };
const BULK_COPIES: &Instructions = &Instructions { any: &["UBLKCP"], ptx: "cp.async.bulk.shared" };
const TENSOR_COPIES: &Instructions = &Instructions { any: &["UTMALDG"], ptx: "cp.async.bulk.tensor" };
/// Products by warpgroups of 16-bit floats, of bytes and of integers.
const WARPGROUP_PRODUCTS: &Instructions = &Instructions { any: &["HGMMA", "QGMMA", "IGMMA"], ptx: "wgmma.mma_async" };
/// What a warpgroup gives its turn on with.
const TURNS: &Instructions = &Instructions { any: &["BAR.ARV"], ptx: "bar.arrive" };
const LANE_COPIES: &Instructions = &Instructions { any: &["LDGSTS"], ptx: "cp.async.cg" };
const BARRIERS: &Instructions = &Instructions { any: &["SYNCS"], ptx: "mbarrier" };
/// Before barriers had a unit of their own they were operations on shared memory.
const BARRIERS_IN_MEMORY: &Instructions = &Instructions { any: &["LDS", "ATOMS"], ptx: "mbarrier" };

/// What kernels, split into roles, mean for a target.
pub fn intents(kernels: &[Kernel], target: &Target) -> Vec<Intent> {
    let mut out: Vec<Intent> = Vec::new();
    let barriers = match target.copies {
        Copies::Bulk => BARRIERS,
        Copies::Lanes => BARRIERS_IN_MEMORY,
    };
    for k in kernels {
        for &(role, body) in &k.bodies {
            let mut add = |by, what, span: Span| {
                if !out.iter().any(|i| i.role == role && i.what == what) {
                    let file = place(k, span).file;
                    out.push(Intent { role, by, what, kernel: k.name.clone(), file, span });
                }
            };
            if target.setmaxnreg && role != Role::All {
                add(SETS_REGISTERS, "set its number of registers", Span::NONE);
            }
            let layouts = assign(k, body, target);
            for (id, op) in ops_in(k, body).into_iter().map(|id| (id, k.op(id))) {
                match &op.kind {
                    OpKind::RingFill(parts) => {
                        let mut at = 0;
                        for part in parts {
                            let weight = matches!(k.ty(op.operands[at]), Type::Global(_, _, Access::Weight));
                            at += 1 + part.rank;
                            match target.copies {
                                Copies::Lanes => add(LANE_COPIES, "copy into the ring", op.span),
                                Copies::Bulk if weight => add(BULK_COPIES, "copy weights into the ring", op.span),
                                Copies::Bulk => add(TENSOR_COPIES, "copy boxes of arrays into the ring", op.span),
                            }
                        }
                    }
                    OpKind::RingWait(_) => add(barriers, "wait for the ring", op.span),
                    OpKind::Mma if layouts.warpgroups.contains(&id) => {
                        add(WARPGROUP_PRODUCTS, "multiply by warpgroups", op.span);
                        if layouts.turns.contains(&id) {
                            add(TURNS, "give turns on", op.span);
                        }
                    }
                    OpKind::Mma => add(PRODUCTS, "multiply on tensor cores", op.span),
                    OpKind::MmaScaled => add(SCALED_PRODUCTS, "multiply with block scales", op.span),
                    _ => {}
                }
            }
        }
    }
    out
}

/// Which of them the code lacks, as errors at the ops. Where the roles can't be told apart, since nothing sets registers, the
/// whole code counts as each role's.
pub fn missing(sass: &Sass, intents: &[Intent]) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for intent in intents {
        let role = match intent.role {
            Role::Producer => "producer",
            Role::Consumer => "consumers",
            Role::All => "kernel",
        };
        let part = sass.role(intent.role).or_else(|| sass.role(Role::All)).unwrap_or_default();
        let found = sass.code.iter().zip(&part).any(|(i, inside)| *inside && intent.by.any.iter().any(|n| i.is(n)));
        if !found {
            let names = intent.by.any.join(" or ");
            out.push(Diagnostic {
                code: "E41",
                message: format!(
                    "the machine code of `{}` lacks {names}: the {role} should {}",
                    intent.kernel, intent.what
                ),
                file: intent.file.clone(),
                span: intent.span,
                notes: vec!["look at `kernel emit --stage sass` and report it: the lowering and ptxas disagree".into()],
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(role: Role, by: &'static Instructions) -> Intent {
        let span = Span { file: 0, line: 3, col: 5, len: 2 };
        Intent { role, by, what: "do it", kernel: "k".into(), file: "k.rs".into(), span }
    }

    #[test]
    fn an_instruction_in_another_role_does_not_count() {
        let code = "/*00*/ @P0 BRA `(.L_x_1) ;\n/*10*/ USETMAXREG.DEALLOC 0x38 ;\n/*20*/ HMMA.16816 R0, R1, R2, R3 ;\n/*30*/ EXIT ;\n\
                    .L_x_1:\n/*40*/ USETMAXREG.TRY_ALLOC UP0, 0xe0 ;\n/*50*/ UBLKCP [UR1], [UR2], UR3 ;\n/*60*/ EXIT ;\n/*70*/ IMMA R0, R0, R0 ;\n";
        let sass = Sass::parse(code);
        let both = [Role::Producer, Role::Consumer].map(|r| intent(r, SETS_REGISTERS));
        assert_eq!(missing(&sass, &both), []);
        assert_eq!(missing(&sass, &[intent(Role::Consumer, BULK_COPIES), intent(Role::Producer, PRODUCTS)]), []);
        let wrong = missing(&sass, &[intent(Role::Consumer, PRODUCTS), intent(Role::Producer, BULK_COPIES)]);
        let told: Vec<String> = wrong.iter().map(|d| d.message.clone()).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("lacks HMMA") && told[0].contains("the consumers should do it"), "{told:?}");
        assert!(wrong.iter().all(|d| (d.code, d.span.line) == ("E41", 3)));
    }

    #[test]
    fn what_llvm_has_removed_is_not_asked_for() {
        let copy = "cp.async.bulk.tensor.2d.shared::cta.global.tile.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, %r3}], [%r4];";
        let wanted = intent(Role::Producer, TENSOR_COPIES);
        assert!(wanted.is_asked_for(copy, copy));
        assert!(!wanted.is_asked_for(copy, "ret;"));
        // What the lowering forgot is a fault.
        assert!(wanted.is_asked_for("llvm.return", "ret;"));
        assert!(intent(Role::Producer, BULK_COPIES).is_asked_for(copy, copy));
    }

    #[test]
    fn products_without_scales_are_not_those_with_scales() {
        let code = |op: &str| Sass::parse(&format!("/*00*/ {op} R0, R1, R2, R3 ;\n/*10*/ EXIT ;\n"));
        let wanted = [intent(Role::All, SCALED_PRODUCTS)];
        for op in ["OMMA.SF.16864.F32.E2M1.E2M1.UE4M3.4X", "QMMA.SF.16832.F32.E4M3.E5M2.E8"] {
            assert_eq!(missing(&code(op), &wanted), []);
        }
        for op in ["QMMA.16832.F32.E4M3.E4M3", "HMMA.16816.F32", "OMMA.SFX"] {
            let found = missing(&code(op), &wanted);
            assert!(found.len() == 1 && found[0].code == "E41" && found[0].message.contains("OMMA.SF"), "{op}");
        }
    }

    #[test]
    fn code_without_roles_counts_as_everyones() {
        let sass = Sass::parse("/*00*/ LDGSTS [R0], [R1] ;\n/*10*/ EXIT ;\n");
        assert_eq!(missing(&sass, &[intent(Role::Producer, LANE_COPIES)]), []);
        assert_eq!(missing(&sass, &[intent(Role::Consumer, PRODUCTS)]).len(), 1);
        assert_eq!(missing(&Sass::default(), &[intent(Role::All, LANE_COPIES)]).len(), 1);
    }
}
