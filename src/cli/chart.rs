//! How is a run drawn? Lines and bars as inline SVG.

use std::fmt::Write as _;

use super::page::escaped;
use super::show;
use crate::progress::{Point, PutOff};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 10.0;
const BAR: f64 = 22.0;
/// Where bars begin: right of the longest name of a phase.
const NAMES: f64 = 120.0;

/// Rows a second between points; dashed lines where requests were put off.
pub fn rates(points: &[Point], put_off: &[PutOff]) -> String {
    let mut steps: Vec<(f64, f64, f64)> = Vec::new();
    let mut before = Point::default();
    for point in points {
        let span = (point.ms - before.ms).max(1) as f64 / 1e3;
        let rate = (point.rows - before.rows) as f64 / span;
        steps.push((before.ms as f64 / 1e3, point.ms as f64 / 1e3, rate));
        before = *point;
    }
    let end = (before.ms as f64 / 1e3).max(0.001);
    let top = round(steps.iter().map(|(.., rate)| *rate).fold(1.0, f64::max));
    let x = |seconds: f64| LEFT + seconds.min(end) / end * (WIDTH - LEFT - 8.0);
    let y = |rate: f64| TOP + (1.0 - rate / top) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(HEIGHT, "Rows a second over time");
    for part in [0.0, 0.5, 1.0] {
        let at = y(top * part);
        line(&mut svg, "axis", (LEFT, at), (WIDTH - 8.0, at));
        text(&mut svg, "end", (LEFT - 6.0, at + 4.0), &figure(top * part));
        let anchor = if part == 1.0 { "end" } else { "start" };
        let label = show::seconds(end * part);
        text(&mut svg, anchor, (x(end * part), HEIGHT - 8.0), &label);
    }
    let mut path = String::new();
    for (from, to, rate) in &steps {
        let _ = write!(
            path,
            " {:.1},{:.1} {:.1},{:.1}",
            x(*from),
            y(*rate),
            x(*to),
            y(*rate)
        );
    }
    let (first, last, ground) = (x(0.0), x(end), y(0.0));
    let _ = writeln!(
        svg,
        "<polygon class=\"area\" points=\"{first:.1},{ground:.1}{path} {last:.1},{ground:.1}\"/>"
    );
    let _ = writeln!(
        svg,
        "<polyline class=\"rate\" points=\"{}\"/>",
        path.trim_start()
    );
    for put_off in put_off {
        for ms in [put_off.first_ms, put_off.last_ms] {
            let at = x(ms as f64 / 1e3);
            line(&mut svg, "off", (at, TOP), (at, ground));
        }
    }
    svg + "</svg>\n"
}

/// Seconds of each phase, as bars.
pub fn bars(phases: &[(String, f64)]) -> String {
    let longest = phases
        .iter()
        .map(|(_, seconds)| *seconds)
        .fold(0.001, f64::max);
    let mut svg = open(phases.len() as f64 * BAR + 8.0, "Seconds of each phase");
    for (number, (name, seconds)) in phases.iter().enumerate() {
        let top = number as f64 * BAR + 4.0;
        let length = (seconds / longest * (WIDTH - NAMES - 110.0)).max(1.0);
        text(&mut svg, "end", (NAMES - 8.0, top + 13.0), name);
        let _ = writeln!(
            svg,
            "<rect class=\"bar\" x=\"{NAMES}\" y=\"{top}\" width=\"{length:.1}\" height=\"{:.1}\"/>",
            BAR - 6.0
        );
        text(
            &mut svg,
            "start",
            (NAMES + length + 8.0, top + 13.0),
            &show::seconds(*seconds),
        );
    }
    svg + "</svg>\n"
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{}</title>\n",
        escaped(title)
    )
}

// Writing to a string does not fail.
fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(svg: &mut String, anchor: &str, (x, y): (f64, f64), words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

/// The next of 1, 2, 5, 10, 20 … that is not below it.
fn round(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(value)
}

/// A figure in few letters.
fn figure(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1} M", v / 1e6),
        v if v >= 1e4 => format!("{:.0} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_stays_within_the_picture() {
        let point = |ms, rows| Point { ms, rows, bytes: 0 };
        let put_off = PutOff {
            why: "later".to_owned(),
            times: 2,
            first_ms: 100,
            last_ms: 90_000,
        };
        for points in [
            vec![point(0, 0), point(0, 5)],
            vec![point(1, 1), point(60_000, u64::MAX / 2)],
            vec![point(100, 7), point(200, 7), point(900, 1_000_000)],
        ] {
            let svg = rates(&points, std::slice::from_ref(&put_off));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let numbers = svg
                .split(['"', ' ', ',', '\n'])
                .filter_map(|n| n.parse::<f64>().ok());
            assert!(numbers.clone().count() > 20);
            assert!(numbers.clone().all(|n| (0.0..=WIDTH).contains(&n)), "{svg}");
        }
    }

    #[test]
    fn axes_end_at_round_figures() {
        for (value, expected) in [
            (1.0, 1.0),
            (1.2, 2.0),
            (37_000.0, 50_000.0),
            (501.0, 1000.0),
        ] {
            assert_eq!(round(value), expected);
        }
        assert_eq!(
            (figure(5e6), figure(25_000.0), figure(500.0)),
            ("5.0 M".into(), "25 k".into(), "500".into())
        );
    }
}
