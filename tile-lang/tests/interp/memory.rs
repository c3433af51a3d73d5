//! Global memory, launches and what goes wrong in them.

use super::{AT, Case, array, load, origin, smem, tile};
use std::sync::Arc;
use tile_lang::DType;
use tile_lang::build::{Arg, Cx, Val};
use tile_lang::interp::{self, ArgValue, Array, LaunchError, Options, View};
use tile_lang::ir::{Access, BinaryOp, CmpOp, Kernel, OpKind, Stage, UnaryOp};

/// A kernel with these array parameters.
fn build(params: &[(DType, usize, Access)], body: impl FnOnce(&mut Cx, &[Val])) -> Kernel {
    let mut cx = Cx::new("case", "case.rs");
    let values: Vec<Val> =
        params.iter().enumerate().map(|(i, p)| cx.param_global(&format!("p{i}"), p.0, p.1, p.2)).collect();
    body(&mut cx, &values);
    cx.finish().unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn loads_fill_with_zeros_and_stores_drop() {
    let data: Vec<f32> = (1..=18).map(|x| x as f32).collect();
    let case = Case::new(&[array(DType::F32, &[2, 3, 3], &data)]);
    let at = |o: [i64; 3]| Arg::List(o.into_iter().map(Arg::Int).collect());
    let read = |o: [i64; 3]| case.reals(&[2, 2], |cx, v| load(cx, v[0], &[2, 2], DType::F32, at(o)));
    assert_eq!(read([0, 0, 0]), [1., 2., 4., 5.]);
    assert_eq!(read([1, 2, 2]), [18., 0., 0., 0.]);
    assert_eq!(read([1, -1, -1]), [0., 0., 0., 10.]);
    assert_eq!(read([2, 0, 0]), [0.; 4]);
    assert_eq!(read([-1, 0, 0]), [0.; 4]);
    assert_eq!(read([0, 7, -9]), [0.; 4]);
    let row = case.reals(&[2], |cx, v| load(cx, v[0], &[2], DType::F32, at([1, 1, 2])));
    assert_eq!(row, [15., 0.]);
    let row = case.reals(&[2], |cx, v| load(cx, v[0], &[2], DType::F32, at([1, 3, 0])));
    assert_eq!(row, [0., 0.]);

    let out = Arc::new(Array::from_f32(DType::F32, [3, 3], &[9.0; 9]).unwrap());
    let store = |offsets: [i64; 2], masked: bool| {
        let mut cx = Cx::new("store", "case.rs");
        let y = cx.param_global("y", DType::F32, 2, Access::Write);
        let x = cx.iota(AT, &[2, 2], 1);
        let mask = cx.compare(AT, CmpOp::Gt, x, 0);
        let x = cx.cast(AT, x, DType::F32);
        let at = Arg::List(offsets.into_iter().map(Arg::Int).collect());
        let mut args = vec![at, x.into()];
        if masked {
            args.push(mask.into());
        }
        cx.method(AT, y, if masked { "store_masked_at" } else { "store_at" }, &[], args);
        interp::launch(&cx.finish().unwrap(), &[out.clone().into()], Options::default()).unwrap();
    };
    store([2, 1], false);
    assert_eq!(out.to_f32(), [9., 9., 9., 9., 9., 9., 9., 0., 1.]);
    store([-1, -1], false);
    assert_eq!(out.to_f32(), [1., 9., 9., 9., 9., 9., 9., 0., 1.]);
    store([1, 0], true);
    assert_eq!(out.to_f32(), [1., 9., 9., 9., 1., 9., 9., 1., 1.]);
    store([5, 0], false);
    assert_eq!(out.to_f32(), [1., 9., 9., 9., 1., 9., 9., 1., 1.]);
}

#[test]
fn staged_weights_are_padded_sliced_and_turned() {
    let bytes: Vec<u8> = (0..6 * 20).map(|i| i as u8).collect();
    let w = Arc::new(Array::from_bytes(DType::U8, [6, 20], Arc::new(bytes), 0).unwrap());
    let kernel = build(&[(DType::U8, 2, Access::Weight), (DType::I32, 2, Access::Write)], |cx, v| {
        let s =
            cx.method(AT, v[0], "stage", &[smem(DType::U8, &[4, 16])], vec![Arg::List(vec![Arg::Int(1), Arg::Int(1)])]);
        let s = cx.slice(AT, s, &[1, 2], &[2, 4]);
        let t = cx.transpose(AT, s);
        let x = cx.registers(AT, t);
        let x = cx.cast(AT, x, DType::I32);
        cx.method(AT, v[1], "store", &[], vec![origin(2), x.into()]);
    });
    let y = Arc::new(Array::zeros(DType::I32, [4, 2]));
    interp::launch(&kernel, &[w.into(), y.clone().into()], Options::default()).unwrap();
    // Rows 5 and 6 of the weight, columns 18 to 21: only row 5 and columns 18 and 19 exist.
    assert_eq!(y.to_i32(), [118, 0, 119, 0, 0, 0, 0, 0]);
}

#[test]
fn every_stored_format_is_decoded() {
    let cases: [(DType, Vec<u8>, [f32; 4]); 6] = [
        (DType::Bf16, [0x80u8, 0x3f, 0x00, 0xc0].repeat(8), [1.0, -2.0, 1.0, -2.0]),
        (DType::F16, [0x00u8, 0x3c, 0x00, 0xc0].repeat(8), [1.0, -2.0, 1.0, -2.0]),
        (DType::E4m3, [0x38u8, 0xc0].repeat(8), [1.0, -2.0, 1.0, -2.0]),
        (DType::E5m2, [0x3cu8, 0xc0].repeat(8), [1.0, -2.0, 1.0, -2.0]),
        (DType::E2m1, [0xc2u8, 0x91].repeat(4), [1.0, -2.0, 0.5, -0.5]),
        (DType::E8m0, [127u8, 130].repeat(8), [1.0, 8.0, 1.0, 8.0]),
    ];
    for (dtype, bytes, want) in cases {
        let n = 16;
        let w = Arc::new(Array::from_bytes(dtype, [1, n], Arc::new(bytes), 0).unwrap());
        let columns = 128 / dtype.bits().min(8);
        let kernel = build(&[(dtype, 2, Access::Weight), (DType::F32, 2, Access::Write)], |cx, v| {
            let s = cx.method(AT, v[0], "stage", &[smem(dtype, &[1, columns])], vec![origin(2)]);
            let x = cx.registers(AT, s);
            let x = cx.cast(AT, x, DType::F32);
            cx.method(AT, v[1], "store", &[], vec![origin(2), x.into()]);
        });
        let y = Arc::new(Array::zeros(DType::F32, [1, 4]));
        interp::launch(&kernel, &[w.into(), y.clone().into()], Options::default()).unwrap();
        assert_eq!(y.to_f32(), want, "{dtype}");
    }
}

#[test]
fn items_elements_scalars_and_dims() {
    let mut cx = Cx::new("items", "case.rs");
    let x = cx.param_global("x", DType::F32, 2, Access::Read);
    let y = cx.param_global("y", DType::F32, 2, Access::Write);
    let scale = cx.param_scalar("scale", DType::F32);
    let flip = cx.param_scalar("flip", DType::Bool);
    let shift = cx.param_scalar("shift", DType::I32);
    let rows = cx.method(AT, x, "dim", &[], vec![Arg::Int(0)]);
    let cols = cx.method(AT, x, "dim", &[], vec![Arg::Int(1)]);
    let at = cx.work(AT, [rows, cols].into());
    let e = cx.method(AT, x, "at", &[], vec![[at[0], at[1]].into()]);
    let e = cx.binary(AT, BinaryOp::Mul, e, scale);
    let minus = cx.unary(AT, UnaryOp::Neg, e);
    let e = cx.select(AT, flip, minus, e);
    let col = cx.binary(AT, BinaryOp::Add, at[1], shift);
    let col = cx.binary(AT, BinaryOp::Rem, col, cols);
    cx.method(AT, y, "set", &[], vec![[at[0], col].into(), e.into()]);
    let kernel = cx.finish().unwrap();
    let x = array(DType::F32, &[3, 4], &(0..12).map(|i| i as f32).collect::<Vec<_>>());
    // The result is a part of a larger array.
    let big = Arc::new(Array::from_f32(DType::F32, [20], &[-1.0; 20]).unwrap());
    let y = View::new(big.clone(), 4, [3, 4]).unwrap();
    let args = [x.into(), y.into(), 2.0f32.into(), true.into(), 1.into()];
    assert_eq!(interp::work_extents(&kernel, &args).unwrap(), [3, 4]);
    interp::launch(&kernel, &args, Options::default()).unwrap();
    let want = [-6., -0., -2., -4., -14., -8., -10., -12., -22., -16., -18., -20.];
    assert_eq!(big.to_f32()[4..16], want);
    assert!(big.to_f32()[..4].iter().chain(&big.to_f32()[16..]).all(|x| *x == -1.0));
    big.write_f32(4, &[0.0; 12]).unwrap();
    interp::run_item(&kernel, &args, &[2, 0], Options::default()).unwrap();
    assert_eq!(big.to_f32()[4..16], [0., 0., 0., 0., 0., 0., 0., 0., 0., -16., 0., 0.]);
}

#[test]
fn requirements_name_their_numbers() {
    let mut cx = Cx::new("checked", "case.rs");
    let x = cx.param_global("x", DType::F32, 2, Access::Read);
    let n = cx.param_scalar("n", DType::I32);
    let d = cx.method(AT, x, "dim", &[], vec![Arg::Int(1)]);
    let twice = cx.binary(AT, BinaryOp::Mul, n, 2);
    let c = cx.compare(AT, CmpOp::Eq, d, twice);
    cx.require(AT, c, "`x.dim(1) == 2 * n`");
    cx.work(AT, Arg::List(vec![n.into()]));
    let kernel = cx.finish().unwrap();
    let x = array(DType::F32, &[1, 6], &[0.0; 6]);
    assert_eq!(interp::work_extents(&kernel, &[x.clone().into(), 3.into()]).unwrap(), [3]);
    let failed = interp::launch(&kernel, &[x.clone().into(), 4.into()], Options::default()).unwrap_err();
    insta::assert_snapshot!(failed, @r"
    error[E60]: kernel `checked` requires `x.dim(1) == 2 * n`
      --> case.rs:7:3
      = x.dim(1) = 6
      = n = 4
      = launch with arrays and numbers for which it holds
    ");
    let e = interp::launch(&kernel, &[x.clone().into(), 3.0f32.into()], Options::default()).unwrap_err();
    insta::assert_snapshot!(e, @r"
    error[E61]: kernel `checked`: `n` is i32, the argument the real number 3
      = give one argument for each parameter, in order, of its type
    ");
    let e = interp::launch(&kernel, &[3.into()], Options::default()).unwrap_err();
    assert!(matches!(e, LaunchError::Arguments { .. }), "{e}");
}

#[test]
fn mistakes_name_their_place() {
    let x = array(DType::F32, &[4, 8], &[0.0; 32]);
    let at = build(&[(DType::F32, 2, Access::Read)], |cx, v| {
        cx.method(AT, v[0], "at", &[], vec![Arg::List(vec![Arg::Int(1), Arg::Int(8)])]);
    });
    let e = interp::launch(&at, &[x.clone().into()], Options::default()).unwrap_err();
    insta::assert_snapshot!(e, @r"
    error[E63]: `at` of `p0` is outside the array
      --> case.rs:7:3
      = index [1, 8], extents [4, 8]
      = guard the access with `if`, or `require!` that the index is inside
    ");
    let stage = |index: [i64; 2], shape: [usize; 2]| {
        let kernel = build(&[(DType::F32, 2, Access::Read)], |cx, v| {
            let at = Arg::List(index.into_iter().map(Arg::Int).collect());
            cx.method(AT, v[0], "stage_at", &[smem(DType::F32, &shape)], vec![at]);
        });
        interp::launch(&kernel, &[x.clone().into()], Options::default())
    };
    // Any box of an array; what lies outside is zero.
    for (index, shape) in [([2, 0], [2, 8]), ([2, 4], [1, 4]), ([3, 0], [2, 8]), ([0, 0], [2, 4]), ([-1, 6], [2, 4])] {
        stage(index, shape).unwrap();
    }
    let set = build(&[(DType::F32, 2, Access::Write)], |cx, v| {
        cx.method(AT, v[0], "set", &[], vec![Arg::List(vec![Arg::Int(-1), Arg::Int(0)]), Arg::Float(1.0)]);
    });
    assert!(interp::launch(&set, &[x.into()], Options::default()).is_err());
    let bytes = Arc::new(Array::from_bytes(DType::F32, [1, 1], Arc::new(vec![0u8; 4]), 0).unwrap());
    let e = interp::launch(&set, &[bytes.into()], Options::default()).unwrap_err();
    assert!(e.to_string().contains("read only"), "{e}");
}

#[test]
fn kernels_that_are_not_well_formed_do_not_run() {
    let mut kernel = build(&[(DType::F32, 1, Access::Write)], |cx, v| {
        let x = cx.constructor(AT, &tile(DType::F32, &[4]), "zero", vec![]);
        cx.method(AT, v[0], "store", &[], vec![origin(1), x.into()]);
    });
    let y: ArgValue = array(DType::F32, &[4], &[1.0; 4]).into();
    interp::launch(&kernel, std::slice::from_ref(&y), Options::default()).unwrap();
    kernel.ops[0].kind = OpKind::RingRelease;
    kernel.stage = Stage::Tile;
    assert!(matches!(
        interp::launch(&kernel, std::slice::from_ref(&y), Options::default()),
        Err(LaunchError::Kernel(_))
    ));
}

#[test]
fn many_items_write_disjoint_parts() {
    let mut cx = Cx::new("fill", "case.rs");
    let y = cx.param_global("y", DType::I32, 1, Access::Write);
    let n = cx.method(AT, y, "dim", &[], vec![Arg::Int(0)]);
    let n = cx.binary(AT, BinaryOp::Div, n, 8);
    let i = cx.work(AT, Arg::List(vec![n.into()]))[0];
    let x = cx.iota(AT, &[8], 0);
    let base = cx.binary(AT, BinaryOp::Mul, i, 8);
    let x = cx.binary(AT, BinaryOp::Add, x, base);
    cx.method(AT, y, "store", &[], vec![Arg::List(vec![i.into()]), x.into()]);
    let kernel = cx.finish().unwrap();
    let y = Arc::new(Array::zeros(DType::I32, [8 * 1000]));
    interp::launch(&kernel, &[y.clone().into()], Options::default()).unwrap();
    assert_eq!(y.to_i32(), (0..8000).collect::<Vec<_>>());
}
