//! A picture of a run: throughput above, latency below, over time. SVG, so that it needs no library to make or to read.

use std::fmt::Write as _;

use crate::report::Report;

const WIDTH: f64 = 900.0;
const PANEL_HEIGHT: f64 = 200.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const GAP: f64 = 50.0;

struct Line<'a> {
    name: &'a str,
    colour: &'a str,
    values: Vec<f64>,
}

/// The run as an SVG document.
pub(crate) fn svg(report: &Report) -> String {
    let seconds = &report.timeline;
    // The last second is not a whole one.
    let whole = &seconds[..seconds.len().saturating_sub(1).max(1).min(seconds.len())];
    let take = |value: fn(&crate::report::Second) -> f64| whole.iter().map(value).collect::<Vec<f64>>();
    let throughput = [Line { name: "requests/s", colour: "#1f77b4", values: take(|second| second.requests as f64) }];
    let latency = [
        Line { name: "p50 ms", colour: "#2ca02c", values: take(|second| second.p50_ms) },
        Line { name: "p99 ms", colour: "#d62728", values: take(|second| second.p99_ms) },
    ];
    let height = TOP + 2.0 * (PANEL_HEIGHT + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" \
         font-size=\"15\">{} of {}, {} connections</text>\n",
        escaped(&report.work),
        escaped(&report.size),
        report.connections
    );
    panel(&mut out, TOP, &throughput);
    panel(&mut out, TOP + PANEL_HEIGHT + GAP, &latency);
    out += "</svg>\n";
    out
}

fn panel(out: &mut String, top: f64, lines: &[Line<'_>]) {
    let most = lines.iter().flat_map(|line| &line.values).fold(0.0_f64, |most, value| most.max(*value));
    let ceiling = rounded_up(most);
    let (right, bottom) = (WIDTH - RIGHT, top + PANEL_HEIGHT);
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let y = bottom - share * PANEL_HEIGHT;
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{}\" \
             text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            number(ceiling * share)
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let wide = (right - LEFT) / line.values.len().saturating_sub(1).max(1) as f64;
        let points = line.values.iter().enumerate().map(|(second, value)| {
            format!("{:.1},{:.1}", LEFT + wide * second as f64, bottom - value / ceiling * PANEL_HEIGHT)
        });
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/><text x=\"{}\" y=\"{}\" \
             fill=\"{}\">{}</text>",
            line.colour,
            LEFT + 90.0 * index as f64,
            top - 6.0,
            line.colour,
            line.name
        );
    }
    let seconds = lines[0].values.len();
    let _ = writeln!(out, "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{seconds} s</text>", bottom + 16.0);
}

/// The next 1, 2 or 5 times a power of ten.
fn rounded_up(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(power * 10.0)
}

fn number(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::rounded_up;

    #[test]
    fn scales_are_round() {
        assert_eq!([0.3, 1.0, 1.1, 3.0, 999.0].map(rounded_up), [0.5, 1.0, 2.0, 5.0, 1000.0]);
    }
}
