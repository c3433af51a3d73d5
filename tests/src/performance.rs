//! The page of figures beside the vendors' kernels, and its plot, made from the rows of results.

use crate::results::{Row, files, read};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The products' and attention's rows, ours and the peers'.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Sweeps.
    sweeps: Vec<Row>,
    /// The peers' rows, newest last.
    peers: Vec<Row>,
    /// Cases of the device suite.
    cases: Vec<Row>,
}

/// A line of the table.
struct Line<'r> {
    ours: &'r Row,
    peer: &'r Row,
}

impl Figures {
    /// Reads the results of every machine.
    ///
    /// # Errors
    /// A file can't be read, or a line is no row.
    pub fn read(folder: &Path) -> Result<Figures, String> {
        let all = |suite| -> Result<Vec<Row>, String> {
            let mut rows: Vec<Row> = Vec::new();
            for file in files(folder, suite) {
                rows.extend(read(&file)?);
            }
            rows.sort_by(|a, b| a.date.cmp(&b.date));
            Ok(rows)
        };
        Ok(Figures { sweeps: all("sweep")?, peers: all("peers")?, cases: all("device")? })
    }

    /// Each peer's newest row with the fastest of ours that was measured with it.
    fn lines(&self) -> Vec<Line<'_>> {
        let mut newest: BTreeMap<(&str, &str), &Row> = BTreeMap::new();
        for row in &self.peers {
            newest.insert((&row.work, &row.shape), row);
        }
        let mut out = Vec::new();
        for peer in newest.into_values() {
            let extents = peer.more.get("extents");
            let ours: Vec<Vec<&Row>> = match extents {
                Some(_) => ["", "_blocks"].map(|tail| self.newest_sweep(&format!("{}{tail}", peer.work), peer)).into(),
                None => {
                    let begins = |r: &&Row| r.work == peer.work && r.shape.contains(&same_shape(peer));
                    // Of equal names the newest stays.
                    let last: BTreeMap<&str, &Row> =
                        self.cases.iter().filter(begins).map(|r| (&r.shape[..], r)).collect();
                    vec![last.into_values().collect()]
                }
            };
            out.extend(ours.into_iter().filter_map(fastest).map(|ours| Line { ours, peer }));
        }
        out.sort_by_key(|l| (l.ours.work.clone(), l.ours.flops));
        out
    }

    /// Each variant's newest row.
    fn newest_sweep(&self, work: &str, peer: &Row) -> Vec<&Row> {
        let own = self.sweeps.iter().filter(|r| r.work == work && r.more.get("extents") == peer.more.get("extents"));
        let newest: BTreeMap<&str, &Row> = own.map(|r| (&r.shape[..], r)).collect();
        newest.into_values().collect()
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut out = String::from(HEAD);
        for Line { ours, peer } in self.lines() {
            let (Some(us), Some(them)) = (ours.us, best(peer)) else { continue };
            let variant = match (ours.more.get("tile"), ours.more.get("schedule")) {
                (Some(tile), Some(schedule)) => {
                    let tile: Vec<String> = tile.as_array().into_iter().flatten().map(ToString::to_string).collect();
                    format!("{}, `{}`", tile.join("×"), schedule.as_str().unwrap_or_default())
                }
                _ => {
                    // Behind what the case is: its tile, and its schedule if it has one.
                    let rest = ours.shape.split_once(&same_shape(peer)).map_or("", |(_, rest)| rest);
                    let (tile, schedule) =
                        rest.trim_start_matches('_').split_once('_').unwrap_or((rest.trim_matches('_'), "default"));
                    format!("{}, `{schedule}`", tile.replace('x', "×"))
                }
            };
            let _ = writeln!(
                out,
                "| `{}` | {} | {us:.1} | {:.0} | {variant} | {} | {them:.1} | **{:.2}** |",
                ours.work,
                peer.shape,
                rate(ours, us),
                peer.implementation,
                them / us
            );
        }
        out
    }

    /// TFLOP/s of square bf16 products over their size.
    pub fn plot(&self) -> String {
        let squares = |work: &str| {
            let lines = self.lines();
            let mut ours: Vec<(f64, f64)> = Vec::new();
            let mut theirs: Vec<(f64, f64)> = Vec::new();
            for l in lines.iter().filter(|l| l.ours.work == work) {
                let extents: Vec<u64> =
                    l.peer.more.get("extents").and_then(|e| serde_json::from_value(e.clone()).ok()).unwrap_or_default();
                if let ([m, n, k], Some(a), Some(b)) = (&extents[..], l.ours.us, best(l.peer))
                    && m == n
                    && n == k
                {
                    ours.push((*m as f64, rate(l.ours, a)));
                    theirs.push((*m as f64, rate(l.peer, b)));
                }
            }
            (ours, theirs)
        };
        let (ours, theirs) = squares("gemm");
        svg("bf16 products of N×N×N, H200", &[("monotile", "#0b6e4f", ours), ("cuBLAS", "#8a8d91", theirs)])
    }
}

const HEAD: &str = "# Beside the vendors' kernels

Made from `tests/results` by a test; one machine and one run each line, the peer measured right before and right after ours (the better median counts), random inputs,
medians, a launch at a time. `tests/peers/in_turns.py` made the rows. A ratio above 1 means that ours takes less time. FP8 with scales by blocks stands beside a product with one scale for each
operand, which has less to do.

![TFLOP/s over size](performance.svg)

| kernel | shape | ours, µs | TFLOP/s | variant | peer | peer, µs | ratio |
|---|---|---|---|---|---|---|---|
";

/// What the names of our cases of a peer's shape have in common.
fn same_shape(peer: &Row) -> String {
    // `h64_8_d192_128_4096_causal` is `…_4096of4096_causal_…`.
    let mut parts: Vec<String> = peer.shape.split('_').map(str::to_owned).collect();
    if let Some(tokens) = parts.iter_mut().rev().nth(1) {
        *tokens = format!("{tokens}of{tokens}");
    }
    parts.join("_")
}

/// A peer's time: the better of the medians before and after ours, since clocks may have been low in one of them.
fn best(peer: &Row) -> Option<f64> {
    let median = |name: &str| peer.more.get(name).and_then(serde_json::Value::as_f64);
    median("before_us").zip(median("after_us")).map(|(a, b)| a.min(b)).or(peer.us)
}

/// The row with the least time.
fn fastest(rows: Vec<&Row>) -> Option<&Row> {
    rows.into_iter().filter(|r| r.us.is_some()).min_by(|a, b| a.us.unwrap_or(0.0).total_cmp(&b.us.unwrap_or(0.0)))
}

/// TFLOP/s.
fn rate(row: &Row, us: f64) -> f64 {
    row.flops as f64 / us * 1e-6
}

/// A name, a colour and points.
type Series<'s> = (&'s str, &'s str, Vec<(f64, f64)>);

/// Lines over powers of two.
fn svg(title: &str, series: &[Series<'_>]) -> String {
    const SIZE: (f64, f64) = (640.0, 360.0);
    const EDGE: f64 = 48.0;
    let points = || series.iter().flat_map(|s| &s.2);
    let top = points().fold(1.0f64, |m, p| m.max(p.1));
    let top = (top / 200.0).ceil() * 200.0;
    let (low, high) = points().fold((f64::MAX, 1.0f64), |(l, h), p| (l.min(p.0.log2()), h.max(p.0.log2())));
    let x = |v: f64| EDGE + (v.log2() - low) / (high - low).max(1.0) * (SIZE.0 - 2.0 * EDGE);
    let y = |v: f64| SIZE.1 - EDGE - v / top * (SIZE.1 - 2.0 * EDGE);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{EDGE}\" y=\"24\" font-size=\"14\">{title}: TFLOP/s</text>\n",
        SIZE.0, SIZE.1
    );
    for i in 0..=(top / 200.0) as usize {
        let v = i as f64 * 200.0;
        let _ = writeln!(
            out,
            "<path d=\"M{EDGE} {0:.1}H{1}\" stroke=\"#dddddd\"/><text x=\"8\" y=\"{2:.1}\">{v}</text>",
            y(v),
            SIZE.0 - EDGE,
            y(v) + 4.0
        );
    }
    for (i, (name, colour, points)) in series.iter().enumerate() {
        let line: Vec<String> = points.iter().map(|p| format!("{:.1} {:.1}", x(p.0), y(p.1))).collect();
        let _ = writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            line.join("L"),
            SIZE.0 - 2.0 * EDGE - 40.0,
            EDGE + 160.0 + 18.0 * i as f64
        );
        for p in points {
            let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(p.0), y(p.1));
        }
    }
    for p in series.first().into_iter().flat_map(|s| &s.2) {
        let _ =
            writeln!(out, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", x(p.0), SIZE.1 - 24.0, p.0);
    }
    out + "</svg>\n"
}
