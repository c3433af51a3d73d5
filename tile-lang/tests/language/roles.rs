//! Explicit roles: what they stage to, that they mean what inferred ones mean, and all that can be wrong with them.

use super::{reals, staged};
use std::sync::Arc;
use tile_lang::DType;
use tile_lang::build::{InstanceError, KernelDef};
use tile_lang::dsl::*;
use tile_lang::interp::{self, ArgValue, Array, Options};
use tile_lang::ir::{Kernel, OpKind, Role, Stage};
use tile_lang::tile;

/// y = x·wᵀ, roles inferred.
#[tile::kernel(crate = tile_lang)]
fn inferred<const BM: usize, const BN: usize, const BK: usize>(
    x: &Global<bf16, 3>,
    w: &Weight<bf16, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(x.dim(0) == cdiv(w.dim(1), BK), x.dim(2) == BK as i32, y.dim(0) == x.dim(1), y.dim(1) == w.dim(0));
    let [i, j] = work([cdiv(x.dim(1), BM), cdiv(w.dim(0), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let a = x.stage_at::<Smem<bf16, BM, BK>>([k, i * BM as i32, 0]);
        let b = w.stage::<Smem<bf16, BN, BK>>([j, k]);
        acc.mma(a, b.t());
    }
    y.store([i, j], acc);
}

/// The same with explicit roles.
#[tile::kernel(crate = tile_lang)]
fn explicit<const BM: usize, const BN: usize, const BK: usize, const S: usize>(
    x: &Global<bf16, 3>,
    w: &Weight<bf16, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(x.dim(0) == cdiv(w.dim(1), BK), x.dim(2) == BK as i32, y.dim(0) == x.dim(1), y.dim(1) == w.dim(0));
    let [i, j] = work([cdiv(x.dim(1), BM), cdiv(w.dim(0), BN)]);
    let n = cdiv(w.dim(1), BK);
    let ring = Ring::<(Smem<bf16, BM, BK>, Smem<bf16, BN, BK>)>::new::<S>();
    role("load", 1, 56, || {
        for k in 0..n {
            ring.acquire().fill_at(x, [k, i * BM as i32, 0]).fill(w, [j, k]).commit();
        }
    });
    role("math", 8, 224, || {
        let mut acc = Tile::<f32, BM, BN>::zero();
        for _k in 0..n {
            let slot = ring.wait();
            let (a, b) = slot.get();
            acc.mma(a, b.t());
            slot.release();
        }
        y.store([i, j], acc);
    });
}

/// Two rings of different parts, a condition around one of them, two slots held at one time, bindings for each step.
#[tile::kernel(crate = tile_lang)]
fn two_rings<const N: usize>(a: &Weight<bf16, 2>, b: &Global<f32, 2>, count: &Global<i32, 1>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(a.dim(0), 16)]);
    let first = Ring::<Smem<bf16, 16, N>>::new::<4>();
    let second = Ring::<(Smem<f32, 16, N>, Smem<f32, 16, N>)>::new::<0>();
    role("load", 0, 0, || {
        let slot = first.acquire();
        let slot = slot.fill(a, [i, 0]);
        slot.commit();
        if i < count.at([0]) {
            second.acquire().fill(b, [i, 0]).fill_at(b, [0, 0]).commit();
        }
        let next = first.acquire();
        next.fill(a, [0, 0]).commit();
    });
    role("math", 0, 0, || {
        let x = first.wait();
        let mut sum = x.get().cast::<f32>();
        if i < count.at([0]) {
            let both = second.wait();
            let (own, top) = both.get();
            sum += own.read() - top.read() * 2.0;
            both.release();
        }
        let z = first.wait();
        sum += z.get().cast::<f32>();
        z.release();
        sum += x.get().cast::<f32>();
        x.release();
        y.store([i, 0], sum);
    });
}

fn data(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 101) % 61) as f32 / 16.0 - 1.8).collect()
}

fn bf16s(dims: &[usize], seed: usize) -> ArgValue {
    let n = dims.iter().product();
    Arc::new(Array::from_f32(DType::Bf16, dims, &data(n, seed)).unwrap_or_else(|e| panic!("{e}"))).into()
}

fn run(kernel: &Kernel, inputs: &[ArgValue], dims: &[usize]) -> Vec<f32> {
    let out = Arc::new(Array::zeros(DType::F32, dims));
    let mut args = inputs.to_vec();
    args.push(out.clone().into());
    interp::launch(kernel, &args, Options::default()).unwrap_or_else(|e| panic!("{e}\n{kernel:#}"));
    out.to_f32()
}

#[test]
fn explicit_roles_mean_what_inferred_ones_mean() {
    let kernel = staged(explicit::instance(16, 16, 32, 4));
    assert_eq!(kernel.stage, Stage::Specialised);
    assert_eq!((kernel.resources.slots, kernel.resources.roles[0].name.as_str()), (4, "load"));
    assert_eq!((kernel.resources.roles[1].warps, kernel.resources.roles[1].registers), (8, 224));
    let inputs = [bf16s(&[3, 32, 32], 1), bf16s(&[48, 96], 2)];
    let want = run(&staged(inferred::instance(16, 16, 32)), &inputs, &[32, 48]);
    assert!(want.iter().any(|x| x.abs() > 1.0));
    assert_eq!(run(&kernel, &inputs, &[32, 48]), want);
}

#[test]
fn the_bodies_keep_what_they_need() {
    let kernel = staged(explicit::instance(16, 16, 32, 4));
    insta::assert_snapshot!(format!("{kernel:#}"));
}

#[test]
fn rings_of_different_parts_share_one_order() {
    let kernel = staged(two_rings::instance(32));
    assert_eq!(tile_lang::ir::slots_held(&kernel), 2);
    let (a, b) = (data(32 * 32, 3), data(32 * 32, 4));
    let array = |d: &[f32]| Arc::new(Array::from_f32(DType::Bf16, [32, 32], d).unwrap_or_else(|e| panic!("{e}")));
    let rounded = array(&a).to_f32();
    let got = run(&kernel, &[array(&a).into(), reals(&[32, 32], &b), super::ints(&[1], &[1])], &[32, 32]);
    for (at, got) in got.iter().enumerate() {
        let own = if at < 16 * 32 { b[at] - b[at % (16 * 32)] * 2.0 } else { 0.0 };
        let want = rounded[at] + own + rounded[at % (16 * 32)] + rounded[at];
        assert!((want - got).abs() < 1e-5, "{at}: {got}, not {want}");
    }
}

#[test]
fn the_text_form_holds_roles_and_what_they_ask_for() {
    for kernel in [staged(explicit::instance(16, 16, 32, 4)), staged(two_rings::instance(32))] {
        let read: Kernel = kernel.to_string().parse().unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        assert_eq!(read.to_string(), kernel.to_string());
        assert_eq!(read.resources, kernel.resources);
        tile_lang::ir::check_rings(&read).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn a_kernel_without_staged_data_has_one_role() {
    let kernel = staged(lonely::instance());
    assert_eq!(kernel.body(Role::Producer).map(|b| kernel.block(b).ops.len()), Some(0));
    assert_eq!(run(&kernel, &[reals(&[16], &[2.0; 16])], &[16]), [6.0; 16]);
}

#[tile::kernel(crate = tile_lang)]
fn lonely(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    role("math", 8, 224, || y.store([0], x.load::<Tile<f32, 16>>([0]) * 3.0));
}

/// Code, token and message of all that is wrong.
fn mistakes(def: &KernelDef, generics: &[tile_lang::build::Generic]) -> Vec<String> {
    let source = include_str!("roles.rs");
    let list = match def.instance(generics) {
        Err(InstanceError::Staging(list)) => list.0,
        Err(e) => panic!("{e}"),
        Ok(kernel) => panic!("staged:\n{kernel:#}"),
    };
    let shown = list.iter().map(|d| {
        let line = source.lines().nth(d.span.line as usize - 1).unwrap_or_default();
        let token = line.get(d.span.col as usize - 1..(d.span.col + d.span.len) as usize - 1).unwrap_or_default();
        assert!(!d.notes.is_empty(), "no fix: {d:?}");
        format!("{} at `{token}`: {}", d.code, d.message)
    });
    shown.collect()
}

/// A kernel with a ring of one part `[16, 32]` and the given bodies.
macro_rules! wrong {
    ($name:ident($w:ident, $y:ident, $n:ident, $ring:ident) $($body:tt)*) => {
        #[tile::kernel(crate = tile_lang)]
        fn $name<const N: usize>($w: &Weight<bf16, 2>, $y: &mut Global<f32, 2>) {
            let $n = cdiv($w.dim(1), 32);
            let $ring = Ring::<Smem<bf16, 16, 32>>::new::<N>();
            $($body)*
        }
    };
}

wrong!(ranges(w, y, n, ring)
    role("load", 1, 56, || for k in 0..n { ring.acquire().fill(w, [0, k]).commit(); });
    role("math", 8, 224, || {
        let mut sum = Tile::<f32, 16, 32>::zero();
        for _k in 1..n { let v = ring.wait(); sum += v.get().cast::<f32>(); v.release(); }
        y.store([0, 0], sum);
    });
);

wrong!(conditions(w, y, n, ring)
    role("load", 1, 56, || if n > 1 { ring.acquire().fill(w, [0, 0]).commit(); });
    role("math", 8, 224, || {
        if n > 2 { let v = ring.wait(); y.store([0, 0], v.get().cast::<f32>()); v.release(); }
    });
);

wrong!(unpaired(w, y, n, ring)
    role("load", 1, 56, || { ring.acquire().fill(w, [0, 0]).commit(); ring.acquire().fill(w, [0, 1]).commit(); });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

wrong!(never_filled(w, y, n, ring)
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

wrong!(never_read(w, _y, n, ring)
    role("load", 1, 56, || { ring.acquire().fill(w, [0, n]).commit(); });
);

wrong!(one_role(w, y, n, ring)
    role("all", 8, 224, || {
        ring.acquire().fill(w, [0, n]).commit();
        let v = ring.wait();
        y.store([0, 0], v.get().cast::<f32>());
        v.release();
    });
);

wrong!(two_producers(w, y, n, ring)
    role("load", 1, 56, || { ring.acquire().fill(w, [0, 0]).commit(); });
    role("more", 1, 56, || { ring.acquire().fill(w, [0, 1]).commit(); });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

wrong!(two_consumers(w, y, n, ring)
    role("load", 1, 56, || { ring.acquire().fill(w, [0, 0]).commit(); });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
    role("rest", 8, 224, || y.store([1, n], Tile::<f32, 16, 32>::zero()));
);

wrong!(outside(w, y, n, ring)
    y.store([1, n], Tile::<f32, 16, 32>::zero());
    let early = ring.acquire();
    role("load", 1, 56, || { ring.acquire().fill(w, [0, 0]).commit(); });
    early.fill(w, [0, 0]).commit();
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

wrong!(tiles_in_the_producer(w, y, n, ring)
    role("load", 1, 56, || {
        let t = y.load::<Tile<f32, 16, 16>>([0, 0]);
        y.store([1, n], t);
        ring.acquire().fill(w, [0, 0]).commit();
    });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

wrong!(unused_tile_in_the_producer(w, y, n, ring)
    role("load", 1, 56, || {
        let _t = y.load::<Tile<f32, 16, 16>>([0, n]);
        ring.acquire().fill(w, [0, 0]).commit();
    });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

wrong!(staged_too(w, y, n, ring)
    role("load", 1, 56, || { ring.acquire().fill(w, [0, 0]).commit(); });
    role("math", 8, 224, || {
        let s = w.stage::<Smem<bf16, 16, 32>>([0, n]);
        let v = ring.wait();
        y.store([0, n], v.get().cast::<f32>() + s.cast::<f32>());
        v.release();
    });
);

wrong!(between(w, y, n, ring)
    role("load", 1, 56, || for k in 0..n {
        let a = ring.acquire();
        let b = ring.acquire();
        b.fill(w, [0, k]).commit();
        a.fill(w, [0, k]).commit();
    });
    role("math", 8, 224, || for k in 0..n {
        let v = ring.wait();
        y.store([0, k], v.get().cast::<f32>());
        v.release();
    });
);

wrong!(loose_offset(w, y, n, ring)
    role("load", 1, 56, || { ring.acquire().fill_at(w, [0, n]).commit(); });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

#[tile::kernel(crate = tile_lang)]
fn order<const N: usize>(a: &Weight<bf16, 2>, b: &Weight<f32, 2>, y: &mut Global<f32, 2>) {
    let first = Ring::<Smem<bf16, 16, 32>>::new::<N>();
    let second = Ring::<Smem<f32, 16, 32>>::new::<3>();
    role("load", 1, 56, || {
        first.acquire().fill(a, [0, 0]).commit();
        second.acquire().fill(b, [0, 0]).commit();
    });
    role("math", 8, 224, || {
        let x = second.wait();
        let z = first.wait();
        y.store([0, 0], x.get().read() + z.get().cast::<f32>());
        x.release();
        z.release();
    });
}

#[test]
fn every_mistake_is_found_at_its_token() {
    let one = |def: &KernelDef| mistakes(def, &[0.into()]);
    assert_eq!(
        one(&ranges::DEF),
        ["E24 at `for k in 0..n`: the loops around this ring's slots run over different ranges"]
    );
    let whole = ranges::DEF.instance(&[0.into()]).map_or_else(|e| e.to_string(), |k| k.to_string());
    assert!(whole.contains("= role `math`'s loop is here: "), "{whole}");
    assert_eq!(
        one(&conditions::DEF),
        ["E24 at `if n > 1`: slots are filled and waited for under different conditions"]
    );
    assert_eq!(one(&unpaired::DEF), ["E24 at `acquire`: the producer fills a slot that the consumer never waits for"]);
    assert_eq!(one(&never_filled::DEF), ["E24 at `wait`: the consumer waits for a slot that the producer never fills"]);
    assert_eq!(one(&never_read::DEF), ["E33 at `role`: this kernel fills a ring, and no role computes"]);
    assert_eq!(one(&one_role::DEF), ["E33 at `acquire`: role `all` both fills the ring and waits for it"]);
    assert_eq!(one(&two_producers::DEF), ["E30 at `role`: a second role, `more`, fills the ring"]);
    assert_eq!(one(&two_consumers::DEF), ["E30 at `role`: a second role, `rest`, computes"]);
    assert_eq!(
        one(&outside::DEF),
        ["E33 at `acquire`: a slot is taken outside of any role", "E33 at `store`: `store` outside of the roles"]
    );
    assert_eq!(
        one(&tiles_in_the_producer::DEF),
        [
            "E33 at `load`: `load` in the role that fills the ring",
            "E33 at `store`: `store` in the role that fills the ring"
        ]
    );
    assert_eq!(one(&unused_tile_in_the_producer::DEF), ["E33 at `load`: `load` in the role that fills the ring"]);
    assert_eq!(one(&staged_too::DEF), ["E33 at `stage`: `stage` in a kernel with explicit roles"]);
    assert_eq!(one(&between::DEF), ["E24 at `acquire`: a slot is taken while another is not committed yet"]);
    assert_eq!(
        one(&loose_offset::DEF),
        ["E12 at `fill_at`: a weight is filled in whole tiles: offset 1 is not known to be a multiple of 32"]
    );
    assert_eq!(
        mistakes(&order::DEF, &[0.into()]),
        ["E24 at `acquire`: this fills a slot with bf16 16x32, the consumer next waits for f32 16x32"]
    );
    assert_eq!(mistakes(&order::DEF, &[4.into()])[0], "E30 at `new`: this ring has 3 slots, another of this kernel 4");
}

/// A release on another way through host code, a copy taken before the release, a binding that gets another tile: all are fine.
#[tile::kernel(crate = tile_lang)]
fn reads_around_releases<const EARLY: usize>(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    role("load", 1, 56, || {
        for k in 0..2 {
            ring.acquire().fill(w, [0, k]).commit();
        }
    });
    role("math", 8, 224, || {
        let first = ring.wait();
        let mut part = first.get();
        let kept = part.cast::<f32>();
        if EARLY == 1 {
            first.release();
            y.store([0, 0], kept);
        } else {
            y.store([0, 0], part.cast::<f32>());
            first.release();
        }
        let second = ring.wait();
        part = second.get();
        y.store([0, 1], part.cast::<f32>() + kept);
        second.release();
    });
}

#[test]
fn reads_before_a_release_or_on_another_way_are_accepted() {
    let w = bf16s(&[16, 64], 3);
    let outputs =
        [0, 1].map(|early| run(&staged(reads_around_releases::instance(early)), std::slice::from_ref(&w), &[16, 64]));
    assert_eq!(outputs[0], outputs[1]);
    let all = data(16 * 64, 3).into_iter().map(interp::round_bf16).collect::<Vec<f32>>();
    for (at, got) in outputs[0].iter().enumerate() {
        let want = if at % 64 < 32 { all[at] } else { all[at] + all[at - 32] };
        assert_eq!(*got, want, "{at}");
    }
}

#[test]
fn no_op_of_the_tile_form_is_left() {
    let kernel = staged(two_rings::instance(32));
    kernel.walk(|_, op| assert!(op.kind.legal_in(Stage::Specialised) && op.kind != OpKind::Stage));
}

/// The example of `docs/roles.md`.
#[tile::kernel(crate = tile_lang)]
fn norm_linear<const T: usize, const BM: usize, const BK: usize, const S: usize>(
    x: &Global<f32, 3>,
    gain: &Global<f32, 1>,
    w: &Weight<bf16, 2>,
    eps: f32,
    y: &mut Global<f32, 2>,
) {
    require!(x.dim(1) == T as i32, x.dim(2) == BK as i32, x.dim(0) == cdiv(w.dim(1), BK), w.dim(1) % BK as i32 == 0);
    require!(gain.dim(0) == w.dim(1), y.dim(0) == T as i32, y.dim(1) == w.dim(0));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let blocks = cdiv(w.dim(1), BK);
    let ring = Ring::<(Smem<bf16, BM, BK>, Smem<f32, T, BK>)>::new::<S>();

    role("load", 1, 56, || {
        for k in 0..blocks {
            ring.acquire().fill(w, [i, k]).fill_at(x, [k, 0, 0]).commit();
        }
    });

    role("math", 8, 224, || {
        let mut acc = Tile::<f32, BM, T>::zero();
        let mut squares = Tile::<f32, T>::zero();
        for k in 0..blocks {
            let slot = ring.wait();
            let (codes, rows) = slot.get();
            let h = rows.read();
            squares += (h * h).row_sum();
            let scaled = h * gain.load::<Tile<f32, BK>>([k]).rows::<T>();
            acc.mma(codes, scaled.cast::<bf16>().t());
            slot.release();
        }
        // The norm is one factor for each row: it can wait until the products are summed.
        let scale = (squares / w.dim(1) as f32 + eps).rsqrt();
        y.store([0, i], (acc * scale.rows::<BM>()).t());
    });
}

#[test]
fn the_documented_example_is_a_norm_and_a_linear_layer() {
    let (rows, columns, terms, block) = (8, 32, 96, 32);
    let kernel = staged(norm_linear::instance(rows, 16, block, 4));
    let (x, w) = (data(rows * terms, 5), data(columns * terms, 6));
    let array = Arc::new(Array::from_f32(DType::Bf16, [columns, terms], &w).unwrap_or_else(|e| panic!("{e}")));
    let w = array.to_f32();
    // Blocks of columns: x[k, t, c].
    let blocked: Vec<f32> = (0..terms / block)
        .flat_map(|k| (0..rows).flat_map(move |t| (0..block).map(move |c| t * terms + k * block + c)))
        .map(|at| x[at])
        .collect();
    let inputs = [
        reals(&[terms / block, rows, block], &blocked),
        reals(&[terms], &vec![1.0; terms]),
        array.into(),
        0.5f32.into(),
    ];
    let got = run(&kernel, &inputs, &[rows, columns]);
    for t in 0..rows {
        let row = &x[t * terms..(t + 1) * terms];
        let scale = (row.iter().map(|v| v * v).sum::<f32>() / terms as f32 + 0.5).sqrt().recip();
        for n in 0..columns {
            let sum: f32 =
                row.iter().zip(&w[n * terms..(n + 1) * terms]).map(|(a, b)| interp::round_bf16(*a) * b).sum();
            let want = sum * scale;
            assert!(
                (got[t * columns + n] - want).abs() < 1e-4 * want.abs().max(1.0),
                "{t} {n}: {}, not {want}",
                got[t * columns + n]
            );
        }
    }
}
