//! The order of work items.

use super::kernels::grid;
use std::sync::Arc;
use tile_lang::DType;
use tile_lang::interp::{Array, Options, Prepared};
use tile_lang::ir;
use tile_lang::schedule::{Raster, Schedule, apply_order};

/// The coordinates of items 0, 1, … as the kernel gets them, found by running one item after the other.
fn order(raster: Raster, extents: [usize; 3]) -> Vec<[usize; 3]> {
    let kernel = Schedule::new().raster(raster).attach(grid::instance(1).unwrap()).unwrap();
    let prepared = Prepared::new(&kernel).unwrap();
    let lowered = apply_order(&kernel);
    ir::verify(&lowered).unwrap_or_else(|e| panic!("{e}\n{lowered:#}"));
    assert_eq!(lowered.schedule.as_ref().and_then(|s| s.raster), None, "it is carried out once");
    let [_, m, n] = extents;
    let array = Arc::new(Array::zeros(DType::I32, extents));
    let mut seen = vec![0; extents.iter().product()];
    let mut out = Vec::new();
    for item in 0..seen.len() {
        let at = [item / (m * n), item / n % m, item % n];
        prepared.run_item(&[array.clone().into()], &at, Options::default()).unwrap();
        let now = array.to_i32();
        let changed: Vec<usize> = (0..now.len()).filter(|i| now[*i] != seen[*i]).collect();
        assert_eq!(changed.len(), 1, "{raster} {extents:?}: item {item} writes one element that nobody wrote");
        let p = changed[0];
        out.push([p / (m * n), p / n % m, p % n]);
        seen = now;
    }
    out
}

/// Rows and columns in the order of definition: bands of `rows` rows, in them column by column.
fn bands(rows: usize, [b, m, n]: [usize; 3]) -> Vec<[usize; 3]> {
    let mut out = Vec::new();
    for outer in 0..b {
        for first in (0..m).step_by(rows) {
            for j in 0..n {
                out.extend((first..(first + rows).min(m)).map(|i| [outer, i, j]));
            }
        }
    }
    out
}

#[test]
fn items_follow_the_raster_and_none_is_lost() {
    for extents in [[1, 4, 6], [2, 5, 3], [3, 1, 4], [2, 7, 1], [1, 1, 1]] {
        let [b, m, n] = extents;
        let rows = order(Raster::RowMajor, extents);
        assert!(rows.is_sorted(), "{rows:?}");
        let columns = order(Raster::ColumnMajor, extents);
        let reversed: Vec<[usize; 3]> = columns.iter().map(|[x, y, z]| [*z, *y, *x]).collect();
        assert!(reversed.is_sorted() && reversed.len() == b * m * n, "{columns:?}");
        for group in [1, 2, 3, 100] {
            assert_eq!(order(Raster::Grouped(group), extents), bands(group, extents), "grouped {group} {extents:?}");
        }
    }
}
