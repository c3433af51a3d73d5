//! Figures as they are kept: one JSON object a line and measurement, under `tests/results/<machine>/<suite>.jsonl`.

use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes a second that one H200 reads, measured with bulk copies of 128 KiB in flight on every SM.
pub const CEILING: f64 = 4.7e12;

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The suite: `device`.
    pub suite: String,
    /// The kernel or model.
    pub work: String,
    /// Its shape.
    pub shape: String,
    /// Element type of the weights, or of the inputs where there are none.
    pub dtype: String,
    /// Whose implementation, and its version.
    #[serde(rename = "impl")]
    pub implementation: String,
    /// Median time in µs, where it was measured.
    pub us: Option<f64>,
    /// Least time in µs.
    pub us_min: Option<f64>,
    /// The fewest bytes that the work moves.
    pub bytes: u64,
    /// Operations of its products.
    pub flops: u64,
    /// The share of the machine's reading rate that `bytes` in `us` are.
    pub share: Option<f64>,
    /// Largest error against the reference, relative to the root mean square (models: to σ).
    pub error: Option<f64>,
    /// Of the PTX that ran, without places.
    pub ptx_sha256: String,
    /// Of the source.
    pub commit: String,
    /// The driver's version.
    pub driver: String,
    /// Day and time, UTC.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// The device.
    pub machine: String,
    /// Further figures: `tokens_per_s`, `excused`, …
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// What all rows of one run share.
#[derive(Clone, Debug)]
pub struct Run {
    file: Option<PathBuf>,
    commit: String,
    driver: String,
    command: String,
    suite: String,
}

impl Run {
    /// A run of this program that appends to `file`.
    pub fn new(suite: &str, file: Option<PathBuf>, commit: Option<String>) -> Run {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let program = std::env::args().next().unwrap_or_default();
        let program = Path::new(&program).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Run {
            file,
            commit: commit.or_else(|| std::env::var("MONOTILE_COMMIT").ok()).unwrap_or_default(),
            driver: driver(),
            command: [&[program], &args[..]].concat().join(" "),
            suite: suite.into(),
        }
    }

    /// Completes a row and appends it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, mut row: Row) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        row.suite = self.suite.clone();
        row.implementation = format!("monotile {}", env!("CARGO_PKG_VERSION"));
        row.commit = self.commit.clone();
        row.driver = self.driver.clone();
        row.command = self.command.clone();
        row.date = now();
        if let Some(us) = row.us.filter(|us| *us > 0.0) {
            row.share = Some(row.bytes as f64 / (us * 1e-6) / CEILING);
        }
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(out, "{}", serde_json::to_string(&row)?)
    }
}

/// All rows of a file.
///
/// # Errors
/// It can't be read, or a line is no row; the text says which.
pub fn read(file: &Path) -> Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let row =
        |(i, line): (usize, &str)| serde_json::from_str(line).map_err(|e| format!("{}:{}: {e}", file.display(), i + 1));
    text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(row).collect()
}

/// The files `<machine>/<suite>.jsonl` of a folder.
pub fn files(folder: &Path, suite: &str) -> Vec<PathBuf> {
    let machines = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut out: Vec<PathBuf> =
        machines.map(|m| m.path().join(format!("{suite}.jsonl"))).filter(|f| f.is_file()).collect();
    out.sort();
    out
}

/// The version of the loaded driver; empty where there is none.
fn driver() -> String {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let version = |w: &&str| w.split('.').count() >= 2 && w.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.lines().next().unwrap_or_default().split_whitespace().find(version).unwrap_or_default().into()
}

fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    iso(seconds)
}

/// Seconds since 1970 as day and time.
fn iso(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, in eras of 400.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(iso(1_767_225_600), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn rows_survive() {
        let mut row = Row { work: "linear".into(), us: Some(3.5), bytes: 7, ..Row::default() };
        row.more.insert("tokens_per_s".into(), 3000.into());
        let text = serde_json::to_string(&row).unwrap();
        assert!(text.contains("\"impl\":") && text.contains("\"tokens_per_s\":3000"));
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }
}
