//! What was found out: one table for people, JSON for programs, a drawing for each case.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::Sample;
use crate::drawing;

/// What the rounds of one case found out about one server.
pub struct Row {
    pub case: &'static str,
    pub server: String,
    /// The error is why there are none.
    pub rounds: Result<Vec<Sample>, String>,
}

const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

impl Row {
    /// The median of what the rounds say of something.
    fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let rounds = self.rounds.as_ref().ok()?;
        let mut values: Vec<f64> = rounds.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            count if count % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }

    /// In microseconds.
    fn percentile(&self, percent: f64) -> Option<f64> {
        self.median(|sample| percentile(&sample.latencies, percent))
    }

    /// In microseconds.
    fn cpu(&self) -> Option<f64> {
        self.median(|sample| sample.cpu.map(microseconds))
    }
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// In microseconds; the latencies are in order.
fn percentile(latencies: &[Duration], percent: f64) -> Option<f64> {
    let rank = (latencies.len() as f64 * percent / 100.0).ceil() as usize;
    latencies
        .get(rank.saturating_sub(1))
        .copied()
        .map(microseconds)
}

const HEADER: [&str; 10] = [
    "case",
    "server",
    "requests/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "CPU µs",
    "of floor",
    "p50 of floor",
    "peak MiB",
];

/// The rows as a table that is Markdown too. Rows of a case stand together, the floor's first.
pub fn table(rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEADER.map(String::from).into()];
    let mut floor = None;
    for row in rows {
        if row.server == "floor" || floor.is_none_or(|floor: &Row| floor.case != row.case) {
            floor = Some(row);
        }
        let floor = floor.filter(|floor| floor.server == "floor");
        lines.push(line(row, floor));
    }
    let column = |index: usize| lines.iter().map(move |line| line[index].chars().count());
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|index| column(index).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate();
        for (index, (cell, width)) in cells {
            // Numbers stand to the right.
            let _ = match index {
                0 | 1 => write!(text, "| {cell:<width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (index, width) in widths.iter().enumerate() {
                let end = if index < 2 { "-" } else { ":" };
                let _ = write!(text, "| {}{end} ", "-".repeat(width - 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

fn line(row: &Row, floor: Option<&Row>) -> Vec<String> {
    let mut cells = vec![row.case.to_owned(), row.server.clone()];
    if let Err(error) = &row.rounds {
        cells.push(error.clone());
        cells.resize(HEADER.len(), String::new());
        return cells;
    }
    let ratio = |of: fn(&Row) -> Option<f64>| Some(of(row)? / of(floor?)?);
    let p50 = |row: &Row| row.percentile(50.0);
    let held = row
        .median(|sample| sample.held)
        .map(|bytes| format!("{bytes:.0} B each"));
    cells.extend([
        held.unwrap_or_else(|| shown(row.median(|sample| sample.rate), 0)),
        shown(p50(row), 1),
        shown(row.percentile(99.0), 1),
        shown(row.percentile(99.9), 1),
        shown(row.cpu(), 2),
        shown(ratio(Row::cpu), 2),
        shown(ratio(p50), 2),
        shown(row.median(|sample| Some(sample.peak as f64 / 1048576.0)), 1),
    ]);
    cells
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("".into(), |value| format!("{value:.digits$}"))
}

/// Writes `results.json` and a drawing for each case into `folder`.
pub fn save(rows: &[Row], machine: &str, folder: &Path) -> io::Result<()> {
    let results: Vec<Value> = rows.iter().map(raw).collect();
    let results = json!({"machine": machine, "results": results});
    fs::write(folder.join("results.json"), format!("{results:#}\n"))?;
    for rows in rows.chunk_by(|one, next| one.case == next.case) {
        let name: String = rows[0]
            .case
            .to_lowercase()
            .replace(|c: char| !c.is_alphanumeric(), "-");
        let line = |row: &Row| {
            let values: Option<Vec<f64>> = PERCENTILES
                .map(|percent| row.percentile(percent))
                .into_iter()
                .collect();
            Some((row.server.clone(), values?))
        };
        let lines: Vec<_> = rows.iter().filter_map(line).collect();
        if !lines.is_empty() {
            let drawing = drawing::draw(rows[0].case, &PERCENTILES, &lines);
            fs::write(folder.join(format!("{name}.svg")), drawing)?;
        }
    }
    Ok(())
}

fn raw(row: &Row) -> Value {
    let round = |sample: &Sample| {
        let percentiles =
            PERCENTILES.map(|percent| json!([percent, percentile(&sample.latencies, percent)]));
        json!({
            "requests": sample.latencies.len(),
            "requests_per_second": sample.rate,
            "latency_percentiles_us": percentiles,
            "cpu_us": sample.cpu.map(microseconds),
            "peak_resident_bytes": sample.peak,
            "resident_bytes_per_connection": sample.held,
        })
    };
    let rounds = row
        .rounds
        .as_ref()
        .map(|rounds| rounds.iter().map(round).collect::<Vec<_>>());
    json!({
        "case": row.case,
        "server": row.server,
        "rounds": rounds.clone().unwrap_or_default(),
        "error": rounds.err(),
    })
}

/// Cores, processor and kernel.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}
