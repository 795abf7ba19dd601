//! A chart of one case: latency by percentile, with one line for each server. Both axes are
//! logarithmic. On linear axes the tail would not be visible.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 70.0;
const COLOURS: [&str; 5] = ["#888888", "#c15f3c", "#2a78d6", "#2e8b57", "#8a4fbf"];

/// An SVG file. `lines` has the name of each server, and its latency in microseconds at each
/// of the `percentiles`.
pub fn draw(title: &str, percentiles: &[f64], lines: &[(String, Vec<f64>)]) -> String {
    let values = lines.iter().flat_map(|(_, values)| values);
    let lowest = values
        .clone()
        .copied()
        .fold(f64::MAX, f64::min)
        .log10()
        .floor();
    let highest = values.copied().fold(1.0, f64::max).log10().ceil();
    let x_step = (WIDTH - 2.0 * MARGIN) / (percentiles.len() - 1) as f64;
    let x = |index: usize| MARGIN + x_step * index as f64;
    let y_step = (HEIGHT - 2.0 * MARGIN) / (highest - lowest).max(1.0);
    let y = |value: f64| HEIGHT - MARGIN - y_step * (value.log10() - lowest);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"30\" font-size=\"16\">{title}: latency</text>\n"
    );
    // Writing to a String cannot fail.
    for power in lowest as i32..=highest as i32 {
        let value = 10f64.powi(power);
        let at = y(value);
        let (left, right) = (MARGIN, WIDTH - MARGIN);
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value} µs</text>",
            left - 8.0,
            at + 4.0
        );
    }
    for (index, percent) in percentiles.iter().enumerate() {
        let (at, bottom) = (x(index), HEIGHT - MARGIN + 20.0);
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{bottom}\" text-anchor=\"middle\">p{percent}</text>"
        );
    }
    for (index, (name, values)) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points = values.iter().enumerate();
        let points: String = points
            .map(|(index, value)| format!("{:.1},{:.1} ", x(index), y(*value)))
            .collect();
        let legend_x = MARGIN + 150.0 * index as f64;
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{legend_x}\" y=\"52\" fill=\"{colour}\">{name}</text>"
        );
    }
    svg + "</svg>\n"
}
