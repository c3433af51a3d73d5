//! The IR's op tables, the stubs and the builder agree: one kernel for each spelling.

use super::staged;
use tile_lang::build::KernelDef;
use tile_lang::ir::{AtomicOp, BinaryOp, CmpOp, OpKind, ReduceOp, TernaryOp, UnaryOp};

/// A module with a kernel `out.store([0, 0], expression of x)` for each name, and the list of them.
macro_rules! kernels {
    ($module:ident, $x:ident: $($name:ident: $from:ident -> $to:ident $write:ident $e:expr;)*) => {
        mod $module {
            use tile_lang::dsl::*;
            use tile_lang::tile;
            $(
                #[tile::kernel(crate = tile_lang)]
                fn $name(input: &Global<$from, 2>, out: &mut Global<$to, 2>) {
                    let $x = input.load::<Tile<$from, 16, 16>>([0, 0]);
                    out.$write([0, 0], $e);
                }
            )*
            pub const ALL: &[(&str, tile_lang::build::KernelDef)] = &[$((stringify!($name), $name::DEF)),*];
        }
    };
}

kernels!(unary, x:
    neg: f32 -> f32 store -x;
    abs: f32 -> f32 store x.abs();
    exp: f32 -> f32 store x.exp();
    exp2: f32 -> f32 store x.exp2();
    ln: f32 -> f32 store x.ln();
    log2: f32 -> f32 store x.log2();
    sqrt: f32 -> f32 store x.sqrt();
    rsqrt: f32 -> f32 store x.rsqrt();
    recip: f32 -> f32 store x.recip();
    sin: f32 -> f32 store x.sin();
    cos: f32 -> f32 store x.cos();
    tanh: f32 -> f32 store x.tanh();
    erf: f32 -> f32 store x.erf();
    sigmoid: bf16 -> bf16 store x.sigmoid();
    floor: f32 -> f32 store x.floor();
    ceil: bf16 -> bf16 store x.ceil();
    trunc: f16 -> f16 store x.trunc();
    round_ties_even: f32 -> f32 store x.round_ties_even();
    not: bool -> bool store !x;
    to_bits: f32 -> i32 store x.to_bits();
    from_bits: i32 -> f32 store x.from_bits();
);

kernels!(binary, x:
    add: f32 -> f32 store x + x;
    sub: bf16 -> bf16 store x - x;
    mul: i32 -> i32 store 2 * x;
    div: f16 -> f16 store x / x;
    rem: i32 -> i32 store x % 3;
    min: f32 -> f32 store x.min(x);
    max: i32 -> i32 store x.max(1);
    and: bool -> bool store x & x;
    or: i32 -> i32 store x | 1;
    xor: i32 -> i32 store x ^ x;
    shl: i32 -> i32 store x << 2;
    shr: i32 -> i32 store x >> x;
    shr_logical: i32 -> i32 store x.shr_logical(3);
    mul_high: i32 -> i32 store x.mul_high(x);
);

kernels!(ternary, x:
    mul_add: f32 -> f32 store x.mul_add(2.0, x.mul_add(x, 1.0));
);

kernels!(compare, x:
    lt: f32 -> bool store x.lt(x);
    le: f32 -> bool store x.le(0.0);
    gt: i32 -> bool store x.gt(1);
    ge: bf16 -> bool store x.ge(x);
    eq: i32 -> bool store x.eq(x);
    ne: bool -> bool store x.ne(x);
);

kernels!(reduce, x:
    row_sum: f32 -> f32 store x.row_sum();
    row_max: i32 -> i32 store x.row_max();
    row_min: f32 -> f32 store x.row_min();
    row_argmax: f32 -> i32 store x.row_argmax();
    row_argmin: f32 -> i32 store x.row_argmin();
    row_product: f32 -> f32 store x.row_product();
    row_all: bool -> bool store x.row_all();
    row_any: bool -> bool store x.row_any();
    col_sum: f32 -> f32 store x.col_sum();
    col_max: f32 -> f32 store x.col_max();
    col_min: i32 -> i32 store x.col_min();
    col_argmax: f32 -> i32 store x.col_argmax();
    col_argmin: f32 -> i32 store x.col_argmin();
    col_product: f32 -> f32 store x.col_product();
    col_all: bool -> bool store x.col_all();
    col_any: bool -> bool store x.col_any();
    all_sum: f32 -> f32 set x.row_sum().all_sum();
    all_max: f32 -> f32 set x.row_sum().all_max();
    all_min: i32 -> i32 set x.row_sum().all_min();
    all_argmax: f32 -> i32 set x.row_sum().all_argmax();
    all_argmin: f32 -> i32 set x.row_sum().all_argmin();
    all_product: i32 -> i32 set x.row_sum().all_product();
    all_all: bool -> bool set x.row_any().all_all();
    all_any: bool -> bool set x.row_all().all_any();
);

/// The scalar forms of ops that Rust's number types have no operator for, by the op's own name.
mod functions {
    use tile_lang::dsl::*;
    use tile_lang::tile;

    #[tile::kernel(crate = tile_lang)]
    pub fn scalars(x: f32, i: i32, out: &mut Global<f32, 1>) {
        let a = x.abs()
            + x.tanh()
            + erf(x)
            + x.ceil().trunc().round_ties_even()
            + x.exp()
            + x.exp2()
            + x.ln()
            + x.log2()
            + x.sqrt()
            + rsqrt(x)
            + x.recip()
            + x.sin()
            + x.cos()
            + x.powf(2.0).clamp(0.0, 1.0)
            + x.mul_add(3.0, x);
        let b = from_bits(shr_logical(to_bits(x.floor()), i) ^ mul_high(i, i) & !i | i << 2 >> 1);
        out.set([0], (-a).min(b).max(a + i as f32) - a * b / x);
    }
}

/// The stubs of what moves elements, and of products of every type.
mod moves {
    use tile_lang::dsl::*;
    use tile_lang::tile;

    #[tile::kernel(crate = tile_lang)]
    pub fn shapes<T: Number>(x: &Global<T, 2>, y: &mut Global<T, 2>, z: &mut Global<T, 1>) {
        let t = x.load::<Tile<T, 16, 32>>([0, 0]);
        y.store([0, 0], t.reshape::<32, 16>());
        y.store([0, 0], t.slice::<8, 16>(4, 2));
        y.store([0, 0], t.join_rows::<32>(t));
        y.store([0, 0], t.join_cols::<64>(t).clamp(t.join_cols::<64>(t), t.join_cols::<64>(t)));
        z.store([0], t.reshape::<512, 0>());
    }

    #[tile::kernel(crate = tile_lang)]
    pub fn scans(x: &Global<f32, 2>, y: &mut Global<f32, 2>, z: &mut Global<f32, 1>) {
        let t = x.load::<Tile<f32, 16, 32>>([0, 0]);
        y.store([0, 0], t.row_cumsum() + t.row_cumproduct() + t.row_cummax() + t.row_cummin());
        y.store([0, 0], t.col_cumsum() + t.col_cumproduct() + t.col_cummax() + t.col_cummin());
        let v = t.row_sum();
        z.store([0], v.all_cumsum() + v.all_cumproduct() + v.all_cummax() + v.all_cummin());
    }

    #[tile::kernel(crate = tile_lang)]
    pub fn indexed(x: &Global<i32, 2>, y: &mut Global<i32, 2>, f: &mut Global<f32, 1>) {
        let (r, c) = (Tile::<i32, 16, 32>::row_index(), Tile::<i32, 16, 32>::col_index());
        let t = x.gather([r, c]);
        y.scatter([c, r], t);
        y.atomic_add([r, c], 1);
        y.atomic_max([r, c], t);
        y.atomic_min([r, c], t);
        y.atomic_or([r, c], t);
        y.atomic_and([r, c], t);
        y.atomic_xor([r, c], t);
        let before = y.atomic_exchange([r, c], t);
        let seen = y.atomic_cas([r, c], before, 7);
        y.atomic_cas_ordered([r, c], seen, t, Order::Acquire, Scope::Gpu);
        f.atomic_add([r], t.cast::<f32>());
        f.atomic_max([r], 1.0);
        f.atomic_min_ordered([r], t.cast::<f32>(), Order::Release, Scope::System);
    }

    #[tile::kernel(crate = tile_lang)]
    pub fn products<T: Factor, U: Factor>(a: &Global<T, 2>, w: &Weight<T, 2>, y: &mut Global<f32, 2>) {
        let x = a.load::<Tile<T, 32, 32>>([0, 0]);
        let s = w.stage::<Smem<T, 32, 32>>([0, 0]);
        let halves = x.cast::<f16>();
        let mut c = mma(halves, s.cast::<f16>());
        c.mma(x.cast::<e4m3>(), s.cast::<e5m2>());
        let mut i = mma(x.cast::<i8>(), s.cast::<u8>());
        i.mma(x.cast::<u8>(), s.cast::<u8>());
        y.store([0, 0], c + i.cast::<f32>() + x.cast::<e2m1>().cast::<f32>());
        let wide = x.cast::<f32>();
        a.prefetch::<Tile<T, 32, 32>>([1, 0]);
        a.prefetch_at::<Tile<T, 32, 32>>([5, 0]);
        let mut t = mma_tf32(wide, wide.t());
        t.mma_tf32(wide, wide);
        y.store([0, 0], t);
        y.store([0, 0], x.cast::<U>().cast::<e8m0>().cast::<f32>());
    }
}

#[test]
fn moves_and_products_stage() {
    use tile_lang::DType;
    for d in [DType::F32, DType::Bf16, DType::F16, DType::I32] {
        staged(moves::shapes::DEF.instance(&[d.into()]));
    }
    staged(moves::scans::DEF.instance(&[]));
    staged(moves::indexed::DEF.instance(&[]));
    for d in [DType::Bf16, DType::F16, DType::E4m3, DType::E5m2, DType::I8, DType::U8] {
        staged(moves::products::DEF.instance(&[d.into(), DType::Bf16.into()]));
    }
}

/// The page of the language names every op of every family.
#[test]
fn the_page_of_the_language_lists_every_op() {
    let page = include_str!("../../../docs/language.md");
    let words: Vec<&str> = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let lacks = |name: &str| !words.contains(&name);
    let operators = ["neg", "not", "add", "sub", "mul", "div", "rem", "and", "or", "xor", "shl", "shr"];
    let unary = UnaryOp::ALL.iter().map(|op| op.name());
    let binary = BinaryOp::ALL.iter().map(|op| op.name());
    let compare = CmpOp::ALL.iter().map(|op| op.name());
    let ternary = TernaryOp::ALL.iter().map(|op| op.name());
    let plain =
        unary.chain(binary).chain(ternary).chain(compare).filter(|name| !operators.contains(name)).map(String::from);
    let reductions = ReduceOp::ALL.iter().map(|op| format!("row_{}", op.name()));
    let atomics = AtomicOp::ALL.iter().map(|op| format!("atomic_{}", op.name()));
    let types = tile_lang::DType::ALL.iter().map(|d| d.name().to_owned());
    let missing: Vec<String> = plain.chain(reductions).chain(atomics).chain(types).filter(|name| lacks(name)).collect();
    assert!(missing.is_empty(), "docs/language.md lacks {missing:?}");
}

/// Every kernel holds the op of its name, and every op of the table has a kernel.
fn check(kernels: &[(&str, KernelDef)], names: Vec<String>, holds: impl Fn(&OpKind, &str) -> bool) {
    for name in &names {
        assert!(kernels.iter().any(|(k, _)| k == name), "no stub is tried for `{name}`");
    }
    assert_eq!(names.len(), kernels.len(), "a kernel here names no op of the table");
    for (name, def) in kernels {
        let kernel = staged(def.instance(&[]));
        let mut found = false;
        kernel.walk(|_, op| found |= holds(&op.kind, name));
        assert!(found, "`{name}` became something else:\n{kernel:#}");
    }
}

#[test]
fn unary_ops() {
    let names = UnaryOp::ALL.iter().map(|op| op.name().into()).collect();
    check(unary::ALL, names, |k, name| matches!(k, OpKind::Unary(op) if op.name() == name));
}

#[test]
fn binary_ops() {
    let names = BinaryOp::ALL.iter().map(|op| op.name().into()).collect();
    check(binary::ALL, names, |k, name| matches!(k, OpKind::Binary(op) if op.name() == name));
}

#[test]
fn ternary_ops() {
    let names = TernaryOp::ALL.iter().map(|op| op.name().into()).collect();
    check(ternary::ALL, names, |k, name| matches!(k, OpKind::Ternary(op) if op.name() == name));
}

#[test]
fn comparisons() {
    let names = CmpOp::ALL.iter().map(|op| op.name().into()).collect();
    check(compare::ALL, names, |k, name| matches!(k, OpKind::Cmp(op) if op.name() == name));
}

#[test]
fn reductions() {
    let names =
        ["row", "col", "all"].iter().flat_map(|p| ReduceOp::ALL.iter().map(move |op| format!("{p}_{}", op.name())));
    check(
        reduce::ALL,
        names.collect(),
        |k, name| matches!(k, OpKind::Reduce(op, axis) if name.ends_with(op.name()) && *axis == usize::from(name.starts_with("row"))),
    );
}

#[test]
fn scalar_forms() {
    staged(functions::scalars::instance());
}
