//! The results: a table, a JSON file, and a chart for each case.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::Sample;
use crate::chart;

/// The samples of one case with one server.
pub struct Row {
    pub case: &'static str,
    pub server: String,
    /// An error takes the place of all samples.
    pub rounds: Result<Vec<Sample>, String>,
}

const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

impl Row {
    /// The median of a figure over the rounds.
    fn median(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let rounds = self.rounds.as_ref().ok()?;
        let mut values: Vec<f64> = rounds.iter().filter_map(figure).collect();
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

    /// The largest of a figure over the rounds.
    fn max(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let rounds = self.rounds.as_ref().ok()?;
        rounds.iter().filter_map(figure).max_by(f64::total_cmp)
    }

    /// In microseconds.
    fn cpu(&self) -> Option<f64> {
        self.median(|sample| sample.cpu.map(microseconds))
    }
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// In microseconds. The latencies must be in ascending order.
fn percentile(latencies: &[Duration], percent: f64) -> Option<f64> {
    let rank = (latencies.len() as f64 * percent / 100.0).ceil() as usize;
    latencies
        .get(rank.saturating_sub(1))
        .copied()
        .map(microseconds)
}

const HEADER: [&str; 12] = [
    "case",
    "server",
    "requests/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "longest µs",
    "CPU µs",
    "CPU / floor",
    "p50 / floor",
    "peak MiB",
    "turn µs",
];

const LEGEND: &str = "\
CPU: the server's CPU time per hook; per delivered line with readers; per start in the start-up case.
/ floor: the ratio to the floor in the same run. B each: resident bytes per connection.
longest, turn: the worst of all rounds. turn: CPU time of a turn of the loop, in the hostile cases.
";

/// A Markdown table and a legend. The rows of a case must be adjacent, the floor's first.
pub fn format_table(rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEADER.map(String::from).into()];
    let mut floor = None;
    for row in rows {
        if row.server == "floor" || floor.is_none_or(|floor: &Row| floor.case != row.case) {
            floor = Some(row);
        }
        let floor = floor.filter(|floor| floor.server == "floor");
        lines.push(cells(row, floor));
    }
    let column = |index: usize| lines.iter().map(move |line| line[index].chars().count());
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|index| column(index).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (line_number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate();
        for (index, (cell, width)) in cells {
            // Figures are right-aligned. Writing to a String cannot fail.
            let _ = match index {
                0 | 1 => write!(text, "| {cell:<width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if line_number == 0 {
            for (index, width) in widths.iter().enumerate() {
                let end = if index < 2 { "-" } else { ":" };
                let _ = write!(text, "| {}{end} ", "-".repeat(width - 1));
            }
            text.push_str("|\n");
        }
    }
    text + "\n" + LEGEND
}

fn cells(row: &Row, floor: Option<&Row>) -> Vec<String> {
    let mut cells = vec![row.case.to_owned(), row.server.clone()];
    if let Err(error) = &row.rounds {
        cells.push(error.clone());
        cells.resize(HEADER.len(), String::new());
        return cells;
    }
    let ratio = |figure: fn(&Row) -> Option<f64>| Some(figure(row)? / figure(floor?)?);
    let p50 = |row: &Row| row.percentile(50.0);
    let bytes = row.median(|sample| sample.bytes_per_connection);
    let bytes = bytes.map(|bytes| format!("{bytes:.0} B each"));
    cells.extend([
        bytes.unwrap_or_else(|| format_figure(row.median(|sample| sample.requests_per_second), 0)),
        format_figure(p50(row), 1),
        format_figure(row.percentile(99.0), 1),
        format_figure(row.percentile(99.9), 1),
        format_figure(row.max(|sample| percentile(&sample.latencies, 100.0)), 1),
        format_figure(row.cpu(), 2),
        format_figure(ratio(Row::cpu), 2),
        format_figure(ratio(p50), 2),
        format_figure(
            row.median(|sample| Some(sample.peak_resident as f64 / 1048576.0)),
            1,
        ),
        format_figure(row.max(|sample| sample.longest_turn.map(microseconds)), 0),
    ]);
    cells
}

fn format_figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("".into(), |value| format!("{value:.digits$}"))
}

/// Writes `results.json` and a chart for each case into `directory`.
pub fn save(rows: &[Row], machine: &str, directory: &Path) -> io::Result<()> {
    let results: Vec<Value> = rows.iter().map(row_to_json).collect();
    let results = json!({"machine": machine, "results": results});
    fs::write(directory.join("results.json"), format!("{results:#}\n"))?;
    for rows in rows.chunk_by(|row, next| row.case == next.case) {
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
            let chart = chart::draw(rows[0].case, &PERCENTILES, &lines);
            fs::write(directory.join(format!("{name}.svg")), chart)?;
        }
    }
    Ok(())
}

fn row_to_json(row: &Row) -> Value {
    let round = |sample: &Sample| {
        let percentiles =
            PERCENTILES.map(|percent| json!([percent, percentile(&sample.latencies, percent)]));
        json!({
            "requests": sample.latencies.len(),
            "requests_per_second": sample.requests_per_second,
            "latency_percentiles_us": percentiles,
            "cpu_us": sample.cpu.map(microseconds),
            "peak_resident_bytes": sample.peak_resident,
            "resident_bytes_per_connection": sample.bytes_per_connection,
            "longest_turn_us": sample.longest_turn.map(microseconds),
        })
    };
    let samples = row.rounds.as_deref().unwrap_or_default();
    json!({
        "case": row.case,
        "server": row.server,
        "rounds": samples.iter().map(round).collect::<Vec<_>>(),
        "error": row.rounds.as_ref().err(),
    })
}

/// The processor, the number of cores, and the kernel.
pub fn describe_machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, cores: {cores}, Linux {}", kernel.trim())
}
