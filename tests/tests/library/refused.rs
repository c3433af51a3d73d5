//! Launches of dense products that make no sense: refused before anything runs, by the clause that says why.

use tile_lang::DType::{self, Bf16, E4m3, F32, I32};
use tile_lang::build::{Generic, KernelDef};
use tile_lang::plan::{Buffer, Operand, Plan, Visibility};
use tile_models::kernels::epilogue::NONE;
use tile_models::kernels::{gemm, gemm_epilogue, gemm_fp8, gemm_grouped};

/// An array's element type and extents.
type Array<'a> = (DType, &'a [usize]);

/// Other extents of some arrays, and the clause that refuses them.
type Change<'a> = (&'a [(usize, &'a [usize])], &'a str);

/// What a plan says to a kernel with these arrays, and numbers behind them.
fn pushed(def: KernelDef, generics: &[Generic], arrays: &[Array<'_>], numbers: &[f32]) -> Result<(), String> {
    let kernel = def.instance(generics).map_err(|e| e.to_string())?;
    let mut plan = Plan::new("refused");
    let mut operands = Vec::new();
    for (i, (dtype, dims)) in arrays.iter().enumerate() {
        let (name, dims) = (format!("arg{i}"), dims.to_vec());
        plan.buffers.push(Buffer { name, dtype: *dtype, dims: dims.clone(), visibility: Visibility::Device });
        operands.push(Operand::Buffer { id: i, offset: 0, dims });
    }
    operands.extend(numbers.iter().map(|x| Operand::F32(*x)));
    let kernel = plan.kernel(kernel);
    plan.push(kernel, operands, "it", (file!(), line!())).map(drop).map_err(|e| e.to_string())
}

/// The arrays are taken; with one of them of other extents, they are refused by the clause.
fn refused(def: KernelDef, generics: &[Generic], arrays: &[Array<'_>], numbers: &[f32], changes: &[Change<'_>]) {
    pushed(def, generics, arrays, numbers).unwrap_or_else(|e| panic!("{}: {e}", def.name));
    for (change, clause) in changes {
        let mut arrays = arrays.to_vec();
        change.iter().for_each(|(at, dims)| arrays[*at].1 = dims);
        let said = pushed(def, generics, &arrays, numbers).expect_err(clause);
        assert!(said.contains(clause), "{} with {change:?}: no `{clause}` in {said}", def.name);
    }
}

#[test]
fn products_without_elements_or_terms_or_of_rows_that_can_not_be_copied() {
    let generics = [Bf16.into(), F32.into(), 128.into(), 128.into(), 64.into()];
    let arrays: [Array<'_>; 3] = [(Bf16, &[16, 24]), (Bf16, &[40, 24]), (F32, &[16, 40])];
    refused(
        gemm::gemm::DEF,
        &generics,
        &arrays,
        &[],
        &[
            (&[(0, &[16, 0]), (1, &[40, 0])], "a.dim(1) > 0"),
            (&[(0, &[0, 24]), (2, &[0, 40])], "a.dim(0) > 0"),
            (&[(1, &[0, 24]), (2, &[16, 0])], "b.dim(0) > 0"),
            (&[(0, &[16, 20]), (1, &[40, 20])], "a.dim(1) % 8 == 0"),
            (&[(1, &[40, 32])], "a.dim(1) == b.dim(1)"),
            (&[(2, &[24, 40])], "c.dim(0) == a.dim(0)"),
        ],
    );
    let arrays: [Array<'_>; 3] = [(Bf16, &[24, 16]), (Bf16, &[24, 40]), (F32, &[16, 40])];
    refused(
        gemm::gemm_tn::DEF,
        &generics,
        &arrays,
        &[],
        &[
            (&[(0, &[0, 16]), (1, &[0, 40])], "a.dim(0) > 0"),
            (&[(0, &[24, 12]), (2, &[12, 40])], "a.dim(1) % 8 == 0"),
            (&[(1, &[24, 42]), (2, &[16, 42])], "b.dim(1) % 8 == 0"),
        ],
    );
    let arrays: [Array<'_>; 3] = [(Bf16, &[3, 16, 24]), (Bf16, &[3, 40, 24]), (F32, &[3, 16, 40])];
    refused(
        gemm::gemm_batched::DEF,
        &generics,
        &arrays,
        &[],
        &[
            (&[(1, &[2, 40, 24])], "b.dim(0) == a.dim(0) || b.dim(0) == 1"),
            (&[(0, &[0, 16, 24]), (1, &[1, 40, 24]), (2, &[0, 16, 40])], "a.dim(0) > 0"),
        ],
    );
}

#[test]
fn scales_of_other_extents() {
    let codes: [Array<'_>; 2] = [(E4m3, &[37, 272]), (E4m3, &[200, 272])];
    let generics = [F32.into(), 128.into(), 128.into(), 128.into()];
    let arrays = [codes[0], (F32, &[1]), codes[1], (F32, &[1]), (F32, &[37, 200])];
    refused(
        gemm_fp8::gemm_fp8::DEF,
        &generics,
        &arrays,
        &[],
        &[(&[(1, &[37])], "a_scale.dim(0) == 1"), (&[(0, &[37, 264]), (2, &[200, 264])], "a.dim(1) % 16 == 0")],
    );
    let arrays = [codes[0], (F32, &[37]), codes[1], (F32, &[200]), (F32, &[37, 200])];
    refused(
        gemm_fp8::gemm_fp8_rows::DEF,
        &generics,
        &arrays,
        &[],
        &[(&[(1, &[1])], "a_scales.dim(0) == a.dim(0)"), (&[(3, &[37])], "b_scales.dim(0) == b.dim(0)")],
    );
    let generics = [F32.into(), 2.into(), 128.into(), 128.into()];
    let arrays = [codes[0], (F32, &[3, 40]), codes[1], (F32, &[2, 3]), (F32, &[37, 200])];
    refused(
        gemm_fp8::gemm_fp8_blocks::DEF,
        &generics,
        &arrays,
        &[],
        &[
            (&[(1, &[40, 3])], "a_scales.dim(1) % 4 == 0"),
            (&[(1, &[2, 40])], "a_scales.dim(0) == cdiv(a.dim(1), BLOCK)"),
            (&[(1, &[3, 36])], "a_scales.dim(1) >= a.dim(0)"),
            (&[(3, &[3, 2])], "b_scales.dim(0) == cdiv(b.dim(0), BLOCK)"),
            (&[(3, &[2, 2])], "b_scales.dim(1) == cdiv(b.dim(1), BLOCK)"),
        ],
    );
    // A tile of columns with two scales.
    let said = gemm_fp8::gemm_fp8_blocks::DEF.instance(&[F32.into(), 1.into(), 128.into(), 256.into()]).unwrap_err();
    assert!(said.to_string().contains("BLOCK.is_multiple_of(BN)"), "{said}");
}

#[test]
fn groups_and_epilogues_that_do_not_fit() {
    let generics = [Bf16.into(), F32.into(), 128.into(), 128.into(), 64.into(), 2.into()];
    let arrays: [Array<'_>; 4] = [(Bf16, &[37, 24]), (Bf16, &[3, 40, 24]), (I32, &[4]), (F32, &[37, 40])];
    refused(
        gemm_grouped::gemm_grouped::DEF,
        &generics,
        &arrays,
        &[],
        &[
            (&[(2, &[3])], "offsets.dim(0) == b.dim(0) + 1"),
            (&[(1, &[4, 40, 24]), (2, &[5])], "b.dim(0) < (1 << BITS)"),
            (&[(1, &[0, 40, 24]), (2, &[1])], "b.dim(0) > 0"),
        ],
    );
    let generics = [Bf16.into(), F32.into(), NONE.into(), 128.into(), 128.into(), 64.into()];
    let arrays: [Array<'_>; 4] = [(Bf16, &[37, 24]), (Bf16, &[40, 24]), (F32, &[40]), (F32, &[37, 40])];
    refused(
        gemm_epilogue::gemm_bias::DEF,
        &generics,
        &arrays,
        &[1.0, 0.0],
        &[(&[(2, &[37])], "bias.dim(0) == b.dim(0)"), (&[(0, &[37, 0]), (1, &[40, 0])], "a.dim(1) > 0")],
    );
    let generics = [Bf16.into(), NONE.into(), 128.into(), 128.into(), 64.into()];
    let arrays: [Array<'_>; 4] = [(Bf16, &[37, 24]), (Bf16, &[200, 24]), (E4m3, &[37, 200]), (F32, &[2, 37])];
    refused(
        gemm_epilogue::gemm_quantised::DEF,
        &generics,
        &arrays,
        &[],
        &[
            (&[(3, &[2, 36])], "scales.dim(1) >= a.dim(0)"),
            (&[(3, &[1, 37])], "scales.dim(0) == cdiv(b.dim(0), SCALED)"),
        ],
    );
    // An activation that there is not.
    let said = gemm_epilogue::gemm_bias::DEF
        .instance(&[Bf16.into(), F32.into(), 5.into(), 128.into(), 128.into(), 64.into()])
        .unwrap_err();
    assert!(said.to_string().contains("ACT <= SILU"), "{said}");
}
