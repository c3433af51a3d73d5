//! Ops that move elements: within tiles, and between tiles and arrays by tiles of indices. One work item, whose tile is
//! the beginning of a larger array.

use super::builder::{Build, Built, numbers};
use super::ops::{AT, finished, spec};
use super::{Case, Expected};
use crate::random::Random;
use tile_lang::DType;
use tile_lang::build::{Arg, Cx, Space, Val};
use tile_lang::interp::round_to;
use tile_lang::ir::{Access, AtomicOp, Class, Fold, Order, ReduceOp, Scope};

const ARRAY: [usize; 2] = [37, 50];
const ROWS: usize = 16;
const COLS: usize = 32;

/// An array that is read: element type, extents, contents.
struct Given(DType, Vec<usize>, Vec<f64>);

/// An array that is written: element type, extents, contents before and after.
struct Made(DType, Vec<usize>, Vec<f64>, Vec<f64>);

impl Made {
    /// All of it is written.
    fn whole(d: DType, dims: [usize; 2], after: Vec<f64>) -> Made {
        Made(d, dims.to_vec(), vec![1.0; after.len()], after)
    }
}

/// Ops on the arrays that are read and those that are written.
type Body<'a> = dyn Fn(&mut Cx, &[Val], &[Val]) + 'a;

/// A case of one work item: `body` gets the arrays that are read and those that are written.
fn case(name: &str, shape: &str, error: f64, given: Vec<Given>, made: Vec<Made>, body: &Body<'_>) -> Built {
    let mut cx = Cx::new(name, file!());
    let reads: Vec<Val> = (given.iter().enumerate())
        .map(|(i, g)| cx.param_global(&format!("x{i}"), g.0, g.1.len(), Access::Read))
        .collect();
    let writes: Vec<Val> = (made.iter().enumerate())
        .map(|(i, m)| cx.param_global(&format!("y{i}"), m.0, m.1.len(), Access::Write))
        .collect();
    body(&mut cx, &reads, &writes);
    let kernel = finished(cx, name)?;
    let mut b = Build::new(name, shape);
    for Given(d, dims, x) in &given {
        b.numbers(*d, dims, x);
    }
    let buffers: Vec<usize> = made.iter().map(|Made(d, dims, before, _)| b.numbers(*d, dims, before)).collect();
    let dtype = given[0].0;
    let expect = move || {
        let one =
            |(buffer, m): (&usize, &Made)| Expected { buffer: *buffer, data: numbers(m.0, &m.3), magnitudes: None };
        buffers.iter().zip(&made).map(one).collect()
    };
    b.finish_kernel(kernel, dtype.name(), error, Box::new(expect))
}

fn origin() -> Arg {
    Arg::List(vec![Arg::Int(0), Arg::Int(0)])
}

fn load(cx: &mut Cx, x: Val, d: DType) -> Val {
    cx.method(AT, x, "load", &[spec(Space::Tile, d, &[ROWS, COLS]).into()], vec![origin()])
}

fn store(cx: &mut Cx, y: Val, x: Val) {
    cx.method(AT, y, "store", &[], vec![origin(), x.into()]);
}

/// Contents of the whole array, small so that sums are exact, and those of the tile.
fn contents(random: &mut Random, d: DType) -> (Vec<f64>, Vec<f64>) {
    let all: Vec<f64> = (0..ARRAY[0] * ARRAY[1])
        .map(|_| match d {
            DType::Bool => (random.bits() % 2) as f64,
            DType::U8 => (random.bits() % 7) as f64,
            d if d.is_float() => f64::from(round_to(d, (random.bits() % 13) as f32 / 2.0 - 3.0)),
            _ => (random.bits() % 9) as f64 - 4.0,
        })
        .collect();
    let tile = (0..ROWS * COLS).map(|i| all[i / COLS * ARRAY[1] + i % COLS]).collect();
    (all, tile)
}

/// Reshape, slice, join and transpose of one type.
fn shapes(d: DType) -> Built {
    let (all, tile) = contents(&mut Random(11), d);
    let at = |r: usize, c: usize| tile[r * COLS + c];
    let made = |rows: usize, cols: usize, f: &dyn Fn(usize, usize) -> f64| {
        Made::whole(d, [rows, cols], (0..rows * cols).map(|i| f(i / cols, i % cols)).collect())
    };
    let outs = vec![
        made(COLS, ROWS, &|r, c| tile[r * ROWS + c]),
        made(8, 16, &|r, c| at(r + 3, c + 5)),
        made(2 * ROWS, COLS, &|r, c| at(r % ROWS, c)),
        made(ROWS, 2 * COLS, &|r, c| at(r, c % COLS)),
        made(COLS, ROWS, &|r, c| at(c, r)),
    ];
    let given = vec![Given(d, ARRAY.to_vec(), all)];
    case("op_shape", d.name(), 0.0, given, outs, &|cx, x, y| {
        let t = load(cx, x[0], d);
        let turned = cx.transpose(AT, t);
        let values = [
            cx.reshape(AT, t, &[COLS, ROWS]),
            cx.slice(AT, t, &[3, 5], &[8, 16]),
            cx.join(AT, t, t, 0, 2 * ROWS),
            cx.join(AT, t, t, 1, 2 * COLS),
            turned,
        ];
        for (y, value) in y.iter().zip(values) {
            store(cx, *y, value);
        }
    })
}

/// All scans of one type along one axis.
fn scans(d: DType, axis: usize) -> Built {
    let (all, tile) = contents(&mut Random(12), d);
    // Products stay small: ±1 and ±½.
    let small =
        |x: f64| if d == DType::F32 { [0.5, 1.0, -1.0][x.abs() as usize % 3] } else { 1.0 - 2.0 * (x.abs() % 2.0) };
    let ops: Vec<ReduceOp> =
        ReduceOp::ALL.iter().copied().filter(|op| op.class().holds(d) && matches!(op.fold(), Fold::Join(_))).collect();
    let outs = ops.iter().map(|op| {
        let Fold::Join(join) = op.fold() else { return Made::whole(d, [ROWS, COLS], Vec::new()) };
        let mut out: Vec<f64> =
            if *op == ReduceOp::Product { tile.iter().map(|x| small(*x)).collect() } else { tile.clone() };
        let back = if axis == 1 { 1 } else { COLS };
        for i in back..out.len() {
            if axis == 0 || i % COLS != 0 {
                let (a, b) = (out[i - back], out[i]);
                out[i] = match d {
                    DType::I32 => f64::from(join.eval_int(a as i32, b as i32).unwrap_or_default()),
                    _ => f64::from(join.eval_real(a as f32, b as f32).unwrap_or(f32::NAN)),
                };
            }
        }
        Made::whole(d, [ROWS, COLS], out)
    });
    let outs = outs.collect();
    let factors: Vec<f64> = all.iter().map(|x| small(*x)).collect();
    let given = vec![Given(d, ARRAY.to_vec(), all), Given(d, ARRAY.to_vec(), factors)];
    case("op_scan", &format!("{d}_axis{axis}"), 0.0, given, outs, &|cx, x, y| {
        let (t, factors) = (load(cx, x[0], d), load(cx, x[1], d));
        for (op, y) in ops.iter().zip(y) {
            let value = cx.scan(AT, *op, if *op == ReduceOp::Product { factors } else { t }, axis);
            store(cx, *y, value);
        }
    })
}

/// Indices of rows and columns, some of them outside.
fn indices(random: &mut Random) -> [Vec<f64>; 2] {
    ARRAY.map(|n| (0..ROWS * COLS).map(|_| (random.bits() % (n as u64 + 4)) as f64 - 2.0).collect())
}

/// The place of an index pair in the array.
fn place(r: f64, c: f64) -> Option<usize> {
    let inside = |x: f64, n: usize| (x >= 0.0 && x < n as f64).then_some(x as usize);
    Some(inside(r, ARRAY[0])? * ARRAY[1] + inside(c, ARRAY[1])?)
}

fn index_arrays([rows, cols]: [Vec<f64>; 2]) -> [Given; 2] {
    [rows, cols].map(|x| Given(DType::I32, vec![ROWS, COLS], x))
}

fn index(cx: &mut Cx, x: &[Val]) -> Arg {
    Arg::List(x.iter().map(|x| load(cx, *x, DType::I32).into()).collect())
}

/// A gather, and a scatter to places of which none is named twice.
fn gather_scatter(d: DType) -> Built {
    let mut random = Random(13);
    let (all, tile) = contents(&mut random, d);
    let [rows, cols] = indices(&mut random);
    let found = (0..ROWS * COLS).map(|i| place(rows[i], cols[i]).map_or(0.0, |p| all[p])).collect();
    // Element i goes to place 3 i + 5, of which some lie beyond the end.
    let to: [Vec<f64>; 2] = [
        (0..ROWS * COLS).map(|i| ((4 * i + 5) / ARRAY[1]) as f64).collect(),
        (0..ROWS * COLS).map(|i| ((4 * i + 5) % ARRAY[1]) as f64).collect(),
    ];
    let mut after = vec![1.0; all.len()];
    for i in 0..ROWS * COLS {
        if let Some(p) = place(to[0][i], to[1][i]) {
            after[p] = tile[i];
        }
    }
    let made = vec![Made::whole(d, [ROWS, COLS], found), Made(d, ARRAY.to_vec(), vec![1.0; all.len()], after)];
    let mut given = vec![Given(d, ARRAY.to_vec(), all)];
    given.extend(index_arrays([rows, cols]));
    given.extend(index_arrays(to));
    case("op_gather_scatter", d.name(), 0.0, given, made, &|cx, x, y| {
        let t = load(cx, x[0], d);
        let from = index(cx, &x[1..3]);
        let found = cx.method(AT, x[0], "gather", &[], vec![from]);
        store(cx, y[0], found);
        let to = index(cx, &x[3..5]);
        cx.method(AT, y[1], "scatter", &[], vec![to, t.into()]);
    })
}

/// All atomic ops of one type, at places of which many are named twice.
fn atomics(d: DType) -> Built {
    let mut random = Random(14);
    let (all, tile) = contents(&mut random, d);
    let [rows, cols] = indices(&mut random);
    // Few places, so that they meet; what an exchange leaves there depends on the order.
    let [rows, cols] =
        [rows, cols].map(|list| list.into_iter().map(|x| if x > 6.0 { x % 5.0 } else { x }).collect::<Vec<_>>());
    let ordered = |op: &AtomicOp| op.class().holds(d) && *op != AtomicOp::Exchange;
    let ops: Vec<AtomicOp> = AtomicOp::ALL.iter().copied().filter(ordered).collect();
    let made = ops.iter().map(|op| {
        let mut after = all.clone();
        for i in 0..ROWS * COLS {
            let Some(p) = place(rows[i], cols[i]) else { continue };
            after[p] = if d == DType::I32 {
                f64::from(op.eval_int(after[p] as i32, tile[i] as i32).unwrap_or_default())
            } else {
                f64::from(op.eval_real(after[p] as f32, tile[i] as f32).unwrap_or(f32::NAN))
            };
        }
        Made(d, ARRAY.to_vec(), all.clone(), after)
    });
    let made = made.collect();
    let mut given = vec![Given(d, ARRAY.to_vec(), all.clone())];
    given.extend(index_arrays([rows, cols]));
    case("op_atomic", d.name(), 0.0, given, made, &|cx, x, y| {
        let t = load(cx, x[0], d);
        for (op, y) in ops.iter().zip(y) {
            let to = index(cx, &x[1..3]);
            cx.method(AT, *y, &format!("atomic_{}", op.name()), &[], vec![to, t.into()]);
        }
    })
}

/// What the atomic ops of one type give back, on places of which none is named twice: a tile of which each thread holds its own
/// elements, and one of which many hold copies.
fn atomics_old(d: DType, n: usize) -> Built {
    let mut random = Random(15);
    let values = |random: &mut Random| -> Vec<f64> { (0..n).map(|_| (random.bits() % 9) as f64 - 4.0).collect() };
    let (before, x, expected) = (values(&mut random), values(&mut random), values(&mut random));
    // Backwards, and the last element outside.
    let to: Vec<f64> = (0..n).map(|i| if i == 0 { n as f64 } else { (n - i) as f64 }).collect();
    let ops: Vec<AtomicOp> = AtomicOp::ALL.iter().copied().filter(|op| op.class().holds(d)).collect();
    let cas = Class::Int.holds(d);
    let (mut made, zeros) = (Vec::new(), vec![0.0; n]);
    let mut expect = |next: &dyn Fn(f64, usize) -> f64| {
        let (mut after, mut old) = (before.clone(), zeros.clone());
        for (i, found) in old.iter_mut().enumerate().skip(1) {
            let p = n - i;
            *found = after[p];
            after[p] = next(after[p], i);
        }
        made.push(Made(d, vec![n], before.clone(), after));
        made.push(Made(d, vec![n], zeros.clone(), old));
    };
    for op in &ops {
        expect(&|old, i| match d {
            DType::I32 => f64::from(op.eval_int(old as i32, x[i] as i32).unwrap_or_default()),
            _ => f64::from(op.eval_real(old as f32, x[i] as f32).unwrap_or(f32::NAN)),
        });
    }
    if cas {
        expect(&|old, i| if old == expected[i] { x[i] } else { old });
    }
    let given = vec![Given(d, vec![n], x.clone()), Given(d, vec![n], expected.clone()), Given(DType::I32, vec![n], to)];
    case("op_atomic_old", &format!("{d}_{n}"), 0.0, given, made, &|cx, x, y| {
        let zero = || Arg::List(vec![Arg::Int(0)]);
        let mut load = |x: Val, d: DType| cx.method(AT, x, "load", &[spec(Space::Tile, d, &[n]).into()], vec![zero()]);
        let (t, expected, to) = (load(x[0], d), load(x[1], d), load(x[2], DType::I32));
        let index = || Arg::List(vec![to.into()]);
        let calls = ops.iter().map(|op| (format!("atomic_{}", op.name()), vec![index(), t.into()]));
        let cas = cas.then(|| ("atomic_cas".to_owned(), vec![index(), expected.into(), t.into()]));
        for ((name, mut args), y) in calls.chain(cas).zip(y.chunks(2)) {
            // The strictest form of every other one.
            let ordered = name.len() % 2 == 0;
            if ordered {
                args.extend([Order::AcqRel.into(), Scope::System.into()]);
            }
            let name = if ordered { name + "_ordered" } else { name };
            let old = cx.method(AT, y[0], &name, &[], args);
            cx.method(AT, y[1], "store", &[], vec![zero(), old.into()]);
        }
    })
}

pub(super) fn cases() -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    for d in DType::ALL.into_iter().filter(|d| *d != DType::E8m0) {
        out.push(shapes(d)?);
        if d.bits() >= 8 {
            out.push(gather_scatter(d)?);
        }
    }
    for d in [DType::F32, DType::I32] {
        out.extend([scans(d, 0)?, scans(d, 1)?]);
    }
    for d in [DType::F32, DType::I32] {
        out.extend([atomics(d)?, atomics_old(d, 512)?, atomics_old(d, 16)?]);
    }
    Ok(out)
}
