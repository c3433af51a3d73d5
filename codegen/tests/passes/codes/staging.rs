//! What staging says: shapes, types and roles of an instance.

use super::{Case, case, message};
use tile_lang::DType;
use tile_lang::build::{Arg, Cx, Val};
use tile_lang::dsl::*;
use tile_lang::ir::Access;
use tile_lang::span::Span;
use tile_lang::tile;

pub const CASES: &[Case] = &[
    case("E01", "a view that has no name", || message(unnamed::instance(0))),
    case("E02", "a condition that is a tile", || {
        built(|cx| {
            let x = tile(cx);
            let below = cx.method(here(line!(), 29, 2), x, "lt", &[], vec![Arg::Float(0.0)]);
            cx.if_else(here(line!(), 16, 7), below, vec![], |_, _| vec![], |_, _| vec![]);
        })
    }),
    case("E03", "a product with too few rows", || message(product::instance(8))),
    case("E03", "as many coordinates as extents", || {
        built(|cx| {
            let _ = cx.work_axes::<2>(here(line!(), 24, 9), Arg::List(vec![Arg::Int(4)]));
        })
    }),
    case("E04", "an order of e4m3", || message(ordered::instance(DType::E4m3))),
    case("E05", "a register tile of six elements", || message(sized::instance(6))),
    case("E06", "a repetition to no multiple", || message(repeated::instance(96))),
    case("E10", "a staged tile of eight bytes", || message(narrow::instance(DType::E8m0))),
    case("E12", "a weight in parts of tiles", || message(within_tiles::instance(0))),
    case("E13", "a slice that reaches beyond its tile", || message(sliced::instance(160))),
    case("E14", "a write to an array that is read only", || {
        built(|cx| {
            let x = cx.param_global("x", DType::F32, 1, Access::Read);
            cx.method(here(line!(), 16, 6), x, "set", &[], vec![Arg::List(vec![Arg::Int(0)]), Arg::Float(1.0)]);
        })
    }),
    case("E21", "a slot that is too large", || message(large_slots::instance(0))),
    case("E24", "roles that run over different ranges", || message(ranges::instance(0))),
    case("E24", "a slot that nobody waits for", || message(unpaired::instance(0))),
    case("E24", "a slot taken while another is open", || message(between::instance(0))),
    case("E30", "two rings with different numbers of slots", || message(two_rings::instance(4))),
    case("E30", "a second role that fills", || message(two_producers::instance(0))),
    case("E33", "a role that fills and waits", || message(one_role::instance(0))),
    case("E33", "a tile in the role that fills", || message(tiles_in_the_producer::instance(0))),
    case("E50", "an offset that is no i32", || message(far::instance(65_536))),
    case("E51", "a loop to a real number", || {
        built(|cx| {
            let range = (Arg::Int(0), Arg::Float(2.5));
            cx.for_loop(here(line!(), 16, 8), range, 1, vec![], |_, _, _| vec![]);
        })
    }),
    case("E52", "a list that grows in a loop", || message(uneven::instance())),
    case("E55", "generics that break a requirement", || message(halved::instance(64, 40))),
    case("E56", "generics of the wrong number", || message(halved::DEF.instance(&[64.into()]))),
    case("E56", "an argument that only the device knows", || {
        built(|cx| {
            let x = tile(cx);
            cx.host_argument(here(line!(), 16, 13), Some(Arg::Val(x)));
        })
    }),
];

/// A place on a line of this file.
fn here(line: u32, col: u32, len: u32) -> Span {
    Span { file: 0, line, col, len }
}

/// What the builder says where rustc lets no kernel through: all that staged code calls is checked again.
fn built(f: impl FnOnce(&mut Cx)) -> String {
    let mut cx = Cx::new("built", file!());
    f(&mut cx);
    message(cx.finish())
}

fn tile(cx: &mut Cx) -> Val {
    let span = here(line!(), 5, 2);
    let one = cx.lift(span, 1.0);
    cx.spread(span, one, &[16])
}

#[tile::kernel(crate = tile_lang)]
fn product<const M: usize>(x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let a = x.load::<Tile<bf16, M, 64>>([0, 0]);
    let b = x.load::<Tile<bf16, 64, 8>>([0, 1]);
    y.store([0, 0], mma(a, b));
}

#[tile::kernel(crate = tile_lang)]
fn ordered<E: Elem>(x: &Global<E, 1>, y: &mut Global<bool, 1>) {
    y.store([0], x.load::<Tile<E, 8>>([0]).lt(x.load::<Tile<E, 8>>([1])));
}

#[tile::kernel(crate = tile_lang)]
fn sized<const N: usize>(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    y.store([0], x.load::<Tile<f32, N>>([0]));
}

#[tile::kernel(crate = tile_lang)]
fn repeated<const N: usize>(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    y.store([0], x.load::<Tile<f32, 16>>([0]).repeat::<N>());
}

#[tile::kernel(crate = tile_lang)]
fn narrow<E: Elem>(x: &Global<E, 2>, y: &mut Global<f32, 2>) {
    y.store([0, 0], x.stage::<Smem<E, 1, 8>>([0, 0]).cast::<f32>());
}

#[tile::kernel(crate = tile_lang)]
fn sliced<const C: usize>(x: &Global<bf16, 2>, y: &mut Global<bf16, 2>) {
    let k = x.stage::<Smem<bf16, 64, 192>>([0, 0]);
    y.store([0, 0], k.slice::<64, 64>(0, C).read());
}

#[tile::kernel(crate = tile_lang)]
fn large_slots<const S: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<f32, 128, 256>>::new::<S>();
    role("load", 0, 0, || ring.acquire().fill(x, [0, 0]).commit());
    role("math", 0, 0, || {
        let v = ring.wait();
        y.store([0, 0], v.get().read());
        v.release();
    });
}

#[tile::kernel(crate = tile_lang)]
fn two_rings<const S: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let first = Ring::<Smem<f32, 16, 32>>::new::<S>();
    let second = Ring::<Smem<f32, 16, 32>>::new::<3>();
    role("load", 0, 0, || {
        first.acquire().fill(x, [0, 0]).commit();
        second.acquire().fill(x, [0, 1]).commit();
    });
    role("math", 0, 0, || {
        let a = first.wait();
        let b = second.wait();
        y.store([0, 0], a.get().read() + b.get().read());
        a.release();
        b.release();
    });
}

/// A kernel with a ring of one part and the given roles.
macro_rules! roles {
    ($name:ident($w:ident, $y:ident, $n:ident, $ring:ident) $($body:tt)*) => {
        #[tile::kernel(crate = tile_lang)]
        fn $name<const S: usize>($w: &Weight<bf16, 2>, $y: &mut Global<f32, 2>) {
            let $n = cdiv($w.dim(1), 32);
            let $ring = Ring::<Smem<bf16, 16, 32>>::new::<S>();
            $($body)*
        }
    };
}

roles!(within_tiles(w, y, n, ring)
    role("load", 1, 56, || ring.acquire().fill_at(w, [0, n]).commit());
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

roles!(unnamed(w, y, n, ring)
    role("load", 1, 56, || ring.acquire().fill(w, [0, n]).commit());
    role("math", 8, 224, || { let (v, i) = (ring.wait(), 0); y.store([i, i], v.get().cast::<f32>()); v.release(); });
);

roles!(ranges(w, y, n, ring)
    role("load", 1, 56, || for k in 0..n { ring.acquire().fill(w, [0, k]).commit(); });
    role("math", 8, 224, || {
        let mut sum = Tile::<f32, 16, 32>::zero();
        for _k in 1..n { let v = ring.wait(); sum += v.get().cast::<f32>(); v.release(); }
        y.store([0, 0], sum);
    });
);

roles!(unpaired(w, y, n, ring)
    role("load", 1, 56, || { ring.acquire().fill(w, [0, 0]).commit(); ring.acquire().fill(w, [0, 1]).commit(); });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

roles!(between(w, y, n, ring)
    role("load", 1, 56, || for k in 0..n {
        let a = ring.acquire();
        let b = ring.acquire();
        b.fill(w, [0, k]).commit();
        a.fill(w, [0, k]).commit();
    });
    role("math", 8, 224, || for k in 0..n { let v = ring.wait(); y.store([0, k], v.get().cast::<f32>()); v.release(); });
);

roles!(two_producers(w, y, n, ring)
    role("load", 1, 56, || ring.acquire().fill(w, [0, 0]).commit());
    role("more", 1, 56, || ring.acquire().fill(w, [0, 1]).commit());
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

roles!(one_role(w, y, n, ring)
    role("all", 8, 224, || {
        ring.acquire().fill(w, [0, n]).commit();
        let v = ring.wait();
        y.store([0, 0], v.get().cast::<f32>());
        v.release();
    });
);

roles!(tiles_in_the_producer(w, y, n, ring)
    role("load", 1, 56, || {
        let t = y.load::<Tile<f32, 16, 16>>([0, 0]);
        y.store([1, n], t);
        ring.acquire().fill(w, [0, 0]).commit();
    });
    role("math", 8, 224, || { let v = ring.wait(); y.store([0, n], v.get().cast::<f32>()); v.release(); });
);

#[tile::kernel(crate = tile_lang)]
fn far<const N: usize>(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    y.store([0], x.load::<Tile<f32, N>>([40_000]));
}

#[tile::kernel(crate = tile_lang)]
fn uneven(x: &Global<f32, 1>, n: i32) {
    let mut list = vec![x.at([0])];
    for i in 0..n {
        list.push(x.at([i]));
    }
}

#[tile::kernel(crate = tile_lang)]
fn halved<const D: usize, const HALF: usize>(x: &mut Global<f32, 1>) {
    require!(2 * HALF == D);
    x.set([0], 1.0);
}

#[test]
fn messages_of_staging() {
    insta::assert_snapshot!(super::provoked(CASES));
}
