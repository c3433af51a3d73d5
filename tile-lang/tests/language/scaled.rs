//! Products of operands with block scales: what they compute, what their text is, what is said of wrong ones.

use super::{run, staged};
use std::sync::Arc;
use tile_lang::build::{Arg, Cx, InstanceError, Space, TypeSpec};
use tile_lang::dsl::*;
use tile_lang::interp::{ArgValue, Array};
use tile_lang::ir::{Access, OpKind, parse};
use tile_lang::tile;
use tile_lang::{DType, Span};

const M: usize = 16;
const N: usize = 8;
const K: usize = 128;

macro_rules! kernels {
    ($($name:ident: $a:ident by $b:ident, $s:ident of $blocks:literal;)*) => {$(
        #[tile::kernel(crate = tile_lang)]
        fn $name(a: &Global<$a, 2>, sa: &Global<$s, 2>, b: &Global<$b, 2>, sb: &Global<$s, 2>, y: &mut Global<f32, 2>) {
            let mut acc = Tile::<f32, 16, 8>::full(1.0);
            let bt = b.stage::<Smem<$b, 8, 128>>([0, 0]);
            let scales = sb.load::<Tile<$s, 8, $blocks>>([0, 0]).t();
            acc.mma_scaled(a.load::<Tile<$a, 16, 128>>([0, 0]), sa.load::<Tile<$s, 16, $blocks>>([0, 0]), bt.t(), scales);
            y.store([0, 0], acc);
        }
    )*};
}
kernels! {
    mxf4: e2m1 by e2m1, e8m0 of 4;
    nvf4: e2m1 by e2m1, e4m3 of 8;
    mxf8: e4m3 by e5m2, e8m0 of 4;
}

/// Numbers that every type here holds, different in each row and column.
fn numbers(rows: usize, columns: usize, seed: usize) -> Vec<f32> {
    let list = [0.0, 0.5, 1.0, -1.5, 2.0, -3.0, 4.0];
    (0..rows * columns).map(|i| list[(seed + i + i / columns * 3) % list.len()]).collect()
}

fn array(dtype: DType, dims: [usize; 2], data: &[f32]) -> ArgValue {
    Arc::new(Array::from_f32(dtype, dims, data).unwrap_or_else(|e| panic!("{e}"))).into()
}

#[test]
fn products_with_block_scales_are_those_of_scaled_operands() {
    let cases = [
        (mxf4::DEF, [DType::E2m1, DType::E2m1, DType::E8m0], 4, [0.5, 1.0, 4.0]),
        // The sign of a scale is not looked at.
        (nvf4::DEF, [DType::E2m1, DType::E2m1, DType::E4m3], 8, [0.75, -1.25, 3.0]),
        (mxf8::DEF, [DType::E4m3, DType::E5m2, DType::E8m0], 4, [2.0, 0.25, 1.0]),
    ];
    for (def, [da, db, ds], blocks, some) in cases {
        let kernel = staged(def.instance(&[]));
        let (a, b) = (numbers(M, K, 1), numbers(N, K, 2));
        let scales = |rows: usize, seed: usize| -> Vec<f32> {
            (0..rows * blocks).map(|i| some[(seed + i + i / blocks) % 3]).collect()
        };
        let (sa, sb) = (scales(M, 0), scales(N, 1));
        let inputs =
            [array(da, [M, K], &a), array(ds, [M, blocks], &sa), array(db, [N, K], &b), array(ds, [N, blocks], &sb)];
        let y = run(&kernel, &inputs, DType::F32, &[M, N]).to_f32();
        let block = K / blocks;
        for (i, y) in y.into_iter().enumerate() {
            let (r, c) = (i / N, i % N);
            let term = |p: usize| {
                a[r * K + p] * sa[r * blocks + p / block].abs() * b[c * K + p] * sb[c * blocks + p / block].abs()
            };
            let want = 1.0 + (0..K).map(term).sum::<f32>();
            assert_eq!(y, want, "{}: {r}, {c}", kernel.name);
        }
        // Printed and read again it is the same kernel.
        let text = kernel.to_string();
        assert!(text.contains(" = mma_scaled %"), "{text}");
        let again = parse(&text, "scaled.tile").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(again.to_string(), text);
        // The variable that it is called on has the result.
        let mut used = false;
        kernel.walk(|_, op| used |= op.kind == OpKind::Store && kernel.definitions()[op.operands[1].index()].is_some());
        assert!(used);
    }
}

#[tile::kernel(crate = tile_lang)]
fn blocks<const S: usize>(a: &Global<e2m1, 2>, s: &Global<e8m0, 2>, y: &mut Global<f32, 2>) {
    let mut acc = Tile::<f32, 16, 16>::zero();
    let t = a.load::<Tile<e2m1, 16, 128>>([0, 0]);
    let scales = s.load::<Tile<e8m0, 16, S>>([0, 0]);
    acc.mma_scaled(t, scales, t.t(), scales.t());
    y.store([0, 0], acc);
}

#[test]
fn scales_of_other_blocks_are_reported_with_the_numbers() {
    staged(blocks::DEF.instance(&[4.into()]));
    let Err(InstanceError::Staging(found)) = blocks::DEF.instance(&[8.into()]) else { panic!("it stages") };
    let told: Vec<String> =
        found.0.iter().map(|d| format!("{} {} ({})", d.code, d.message, d.notes.join("; "))).collect();
    assert_eq!(
        told,
        [
            "E06 the scales of the first operand are tile<e8m0, 16x8>; 128 terms, 32 to a scale of e8m0, need 16×4 (make the tile of scales 16×4)",
            "E06 the scales of the second operand are tile<e8m0, 8x16>; 128 terms, 32 to a scale of e8m0, need 4×16 (make the tile of scales 4×16)",
        ]
    );
    let source = include_str!("scaled.rs");
    let span = found.0[0].span;
    let line = source.lines().nth(span.line as usize - 1).unwrap_or_default();
    assert!(line[span.col as usize - 1..].starts_with("mma_scaled"), "{line}");
}

/// The codes of what a product of these tiles is refused for.
fn refused(a: (DType, [usize; 2]), scales: DType, b: (DType, [usize; 2]), acc: [usize; 2]) -> Vec<&'static str> {
    let at = Span::NONE;
    let mut cx = Cx::new("k", file!());
    let tile = |cx: &mut Cx, name: &str, d: DType, shape: [usize; 2]| {
        let x = cx.param_global(name, d, 2, Access::Read);
        let spec = TypeSpec { space: Space::Tile, dtype: Some(d), shape: shape.to_vec() };
        cx.method(at, x, "load", &[spec.into()], vec![Arg::List(vec![Arg::Int(0), Arg::Int(0)])])
    };
    let (ta, tb) = (tile(&mut cx, "a", a.0, a.1), tile(&mut cx, "b", b.0, b.1));
    let (sa, sb) = (tile(&mut cx, "sa", scales, [a.1[0], 4]), tile(&mut cx, "sb", scales, [4, b.1[1]]));
    let acc = tile(&mut cx, "c", DType::F32, acc);
    cx.mma_scaled(at, acc, [ta, sa], [tb, sb]);
    match cx.finish() {
        Err(found) => found.0.iter().map(|d| d.code).collect(),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn wrong_operands_are_refused() {
    use DType::{Bf16, E2m1, E4m3, E5m2, E8m0};
    assert_eq!(refused((E2m1, [16, 128]), E8m0, (E2m1, [128, 8]), [16, 8]), [""; 0]);
    assert_eq!(refused((E4m3, [16, 128]), E8m0, (E5m2, [128, 8]), [16, 8]), [""; 0]);
    // Types: operands of two kinds, scales of a type that isn't theirs.
    assert_eq!(refused((E2m1, [16, 128]), E8m0, (E4m3, [128, 8]), [16, 8]), ["E04"]);
    assert_eq!(refused((Bf16, [16, 128]), E8m0, (Bf16, [128, 8]), [16, 8]), ["E04"]);
    assert_eq!(refused((E4m3, [16, 128]), E4m3, (E4m3, [128, 8]), [16, 8]), ["E04"]);
    // Shapes: another depth, a depth of half an instruction, too few columns, another accumulator.
    assert_eq!(refused((E2m1, [16, 128]), E8m0, (E2m1, [64, 8]), [16, 8]), ["E03"]);
    assert_eq!(refused((E2m1, [16, 32]), E8m0, (E2m1, [32, 8]), [16, 8]), ["E03"]);
    assert_eq!(refused((E2m1, [16, 128]), E8m0, (E2m1, [128, 4]), [16, 4]), ["E03"]);
    assert_eq!(refused((E2m1, [16, 128]), E8m0, (E2m1, [128, 8]), [16, 16]), ["E03"]);
}
