//! Kernels that say something about themselves: assertions, tiles that are shown, marks.

use super::Case;
use super::builder::Build;
use tile_lang::DType::{Bf16, F32};
use tile_lang::dsl::*;
use tile_lang::exec::Data;
use tile_lang::tile;

/// A case whose kernel says something. The case itself makes all assertions hold.
#[derive(Debug)]
pub struct Said {
    /// The kernel, what it gets and what comes out.
    pub case: Case,
    /// Work items.
    pub items: usize,
    /// The kernel's marks, in the order in which each item passes them.
    pub marks: Vec<String>,
    /// What makes an assertion fail, at one element of one item.
    pub wrong: Vec<Wrong>,
}

/// An element that an assertion doesn't hold for.
#[derive(Debug)]
pub struct Wrong {
    /// The buffer.
    pub buffer: usize,
    /// The element.
    pub element: usize,
    /// What is written there.
    pub value: Data,
    /// What must be reported: the message, the item and the element of the condition.
    pub reported: Vec<String>,
}

/// y = x · kind of the row, with everything looked at on the way: truth values of a tile with one axis, of one with two that went through
/// the ring, and of a number.
#[tile::kernel(crate = tile_lang)]
fn looked_at(x: &Global<bf16, 2>, kinds: &Global<i32, 1>, y: &mut Global<f32, 2>) {
    require!(x.dim(1) == 64, kinds.dim(0) == x.dim(0), y.dim(0) == x.dim(0), y.dim(1) == 64);
    let [i] = work([cdiv(x.dim(0), 16)]);
    mark!("load");
    let kind = kinds.load::<Tile<i32, 16>>([i]);
    device_assert!(kind.ge(0), "kind {} of item {}", kind, i);
    let first = kinds.at([i * 16]);
    device_assert!(first < 1000, "the first kind is {}", first);
    let rows = x.stage::<Smem<bf16, 16, 64>>([i, 0]).cast::<f32>();
    device_assert!(rows.lt(100.0), "{} is too large", rows);
    dbg_tile!("kinds", kind);
    dbg_tile!("rows", rows);
    dbg_tile!("largest", rows.row_max());
    dbg_tile!(first);
    mark!("store");
    y.store([i, 0], rows * kind.cast::<f32>().cols::<64>());
}

fn looked(rows: usize) -> Result<Said, String> {
    let mut case = Build::new(looked_at::DEF.name, &format!("{rows}x64"));
    let x = case.rows(Bf16, &[rows, 64], 1.0);
    let list: Vec<i32> = (0..rows).map(|_| (case.random.bits() % 9) as i32).collect();
    let kinds = case.integers(&[rows], list.clone());
    let x_buffer = kinds.buffer - 1;
    let y = case.out(F32, &[rows, 64]);
    let expect = move || vec![y.reals(x.iter().enumerate().map(|(at, x)| x * list[at / 64] as f32).collect())];
    let case = case.finish(looked_at::DEF, &[], Bf16.name(), 0.0, Box::new(expect))?;
    let items = rows.div_ceil(16);
    // In the last item, row 2 and column 5 of its tile.
    let (item, row, column) = (items - 1, 2, 5);
    let at = 16 * item + row;
    let wrong = |buffer, element, value, reported: &[&str], place: Option<String>| {
        let element_note = place.map(|p| format!("the first element of the condition that is false: {p}"));
        let notes = [format!("work item [{item}]")].into_iter().chain(element_note);
        let reported = reported.iter().map(|t| (*t).to_owned()).chain(notes).collect();
        Wrong { buffer, element, value, reported }
    };
    let kind = format!("assertion failed: kind -3 of item {item}");
    let wrong = vec![
        wrong(kinds.buffer, at, Data::I32(vec![-3]), &[&kind], Some(format!("[{row}]"))),
        wrong(kinds.buffer, at - row, Data::I32(vec![1000]), &["assertion failed: the first kind is 1000"], None),
        wrong(
            x_buffer,
            64 * at + column,
            Data::F32(vec![200.0]),
            &["assertion failed: 200 is too large"],
            Some(format!("[{row}, {column}]")),
        ),
    ];
    Ok(Said { case, items, marks: vec!["load".into(), "store".into()], wrong })
}

/// Fewer items than CTAs, with a tail; more than there are.
pub(super) fn cases() -> Result<Vec<Said>, String> {
    [70, 3200].into_iter().map(looked).collect()
}
