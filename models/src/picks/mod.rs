//! Which tile and schedule a product is made with, picked from measurements.
//!
//! A sweep measures one product in every variant that can be had, for some shapes. A shape that was measured takes the fastest variant. For
//! another one each variant's time is carried over from the nearest shape it was measured at: an SM makes one tile after the other, so that time goes
//! with the rounds of tiles and with the terms of each, and a last round that is partly empty takes as long as a full one.

use serde::{Deserialize, Serialize};

/// Measurements of sweeps, one JSON object a line, as `UPDATE_PRINTED=1 cargo test -p tile-tests --test library picks` writes them from the
/// results.
pub const MEASURED: &str = include_str!("measured.jsonl");

/// SMs of the device that was measured: tiles that are made at one time.
const AT_ONCE: usize = 132;

/// One variant of one product, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The library kernel.
    pub kernel: String,
    /// Rows and columns of the result, terms.
    pub extents: [usize; 3],
    /// Rows, columns, and the kernel's third size.
    pub tile: [usize; 3],
    /// The kernel's generics that say so, by name.
    pub generics: Vec<(String, usize)>,
    /// The schedule; `default` for the compiler's own choices.
    pub schedule: String,
    /// Median, µs.
    pub us: f64,
    /// The device.
    pub machine: String,
    /// The day.
    pub date: String,
    /// Of the PTX that ran.
    pub ptx_sha256: String,
}

/// A variant for a product, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pick {
    /// Rows, columns, and the kernel's third size.
    pub tile: [usize; 3],
    /// The kernel's generics that say so, by name.
    pub generics: Vec<(String, usize)>,
    /// The schedule; `default` for the compiler's own choices.
    pub schedule: String,
    /// What it takes, µs: measured, or carried over.
    pub us: f64,
    /// The shape it was measured at.
    pub measured_at: [usize; 3],
    /// What it took there, µs.
    pub measured_us: f64,
    /// Where, and when.
    pub by: String,
}

impl Pick {
    /// Whether the very shape was measured.
    pub fn is_measured(&self, extents: [usize; 3]) -> bool {
        self.measured_at == extents
    }
}

/// All measurements.
pub fn measured() -> Vec<Measured> {
    parse(MEASURED)
}

fn parse(text: &str) -> Vec<Measured> {
    // The file is the program's own, and a test reads all of it.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Every variant of a kernel for which there are measurements, for a product of these extents, best first; empty for a kernel that no sweep
/// measured.
pub fn ranked(all: &[Measured], kernel: &str, extents: [usize; 3]) -> Vec<Pick> {
    let mut out: Vec<Pick> = Vec::new();
    let of_kernel = || all.iter().filter(|m| m.kernel == kernel);
    for m in of_kernel() {
        if out.iter().any(|p| p.tile == m.tile && p.schedule == m.schedule) {
            continue;
        }
        let same = of_kernel().filter(|o| o.tile == m.tile && o.schedule == m.schedule);
        let Some(nearest) = same.min_by(|a, b| apart(a.extents, extents).total_cmp(&apart(b.extents, extents))) else {
            continue;
        };
        out.push(Pick {
            tile: m.tile,
            generics: m.generics.clone(),
            schedule: m.schedule.clone(),
            us: nearest.us * work(extents, m.tile) / work(nearest.extents, m.tile),
            measured_at: nearest.extents,
            measured_us: nearest.us,
            by: format!("{}, {}", nearest.machine, nearest.date),
        });
    }
    out.sort_by(|a, b| a.us.total_cmp(&b.us));
    out
}

/// How far two shapes are apart: by which factors their extents differ, in powers of two.
fn apart(a: [usize; 3], b: [usize; 3]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (*x.max(&1) as f64 / y.max(1) as f64).log2().abs()).sum()
}

/// What a product's time goes with: rounds of tiles, times terms.
fn work([m, n, k]: [usize; 3], [rows, columns, _]: [usize; 3]) -> f64 {
    let tiles = m.div_ceil(rows).max(1) * n.div_ceil(columns).max(1);
    (tiles.div_ceil(AT_ONCE) * k.max(1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(extents: [usize; 3], tile: [usize; 3], schedule: &str, us: f64) -> Measured {
        let text = String::new;
        let (kernel, schedule, generics) = ("gemm".into(), schedule.into(), Vec::new());
        Measured { kernel, extents, tile, generics, schedule, us, machine: text(), date: text(), ptx_sha256: text() }
    }

    #[test]
    fn what_was_measured_counts_as_measured() {
        let all = [of([4096; 3], [128, 256, 64], "default", 190.0), of([4096; 3], [128, 256, 64], "steps", 180.0)];
        let list = ranked(&all, "gemm", [4096; 3]);
        assert_eq!((list[0].schedule.as_str(), list[0].us, list.len()), ("steps", 180.0, 2));
        assert!(list[0].is_measured([4096; 3]) && !list[0].is_measured([4096, 4096, 4097]));
        assert_eq!(ranked(&all, "linear", [4096; 3]), []);
    }

    #[test]
    fn an_empty_round_takes_as_long_as_a_full_one() {
        // 128 tiles of 128×256 are one round, 256 of 128×128 two.
        let all = [of([2048; 3], [128, 256, 64], "default", 40.0), of([2048; 3], [128, 128, 64], "default", 50.0)];
        assert_eq!(ranked(&all, "gemm", [2048; 3])[0].tile, [128, 256, 64]);
        // 144 of the large ones are two rounds, 288 of the small ones three.
        let odd = ranked(&all, "gemm", [2304, 2048, 2048]);
        assert_eq!((odd[0].tile, odd[0].us), ([128, 128, 64], 75.0));
        assert_eq!((odd[1].tile, odd[1].us), ([128, 256, 64], 80.0));
    }

    #[test]
    fn each_variant_is_carried_over_from_what_is_nearest() {
        let all = [of([1024; 3], [128, 128, 64], "default", 10.0), of([8192; 3], [128, 128, 64], "default", 1500.0)];
        assert_eq!(ranked(&all, "gemm", [8192, 8192, 4096])[0].us, 750.0);
        assert_eq!(ranked(&all, "gemm", [1024, 1024, 2048])[0].us, 20.0);
    }

    #[test]
    fn every_measurement_is_read() {
        assert_eq!(measured().len(), MEASURED.lines().count());
    }
}
