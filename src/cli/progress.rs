//! Shows how far a command is: looks at the counters ten times a second and steers nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;

use super::say::Screen;
use super::{Common, show};
use crate::error::shown;
use crate::progress::{Phase, Progress, Snapshot};

/// How progress is shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// A line that is redrawn on a terminal, lines elsewhere
    #[default]
    Auto,
    /// A line every five seconds
    Plain,
    /// A JSON object a line, every second, on standard error
    Json,
    /// Nothing
    None,
}

const LOOK: Duration = Duration::from_millis(100);
const PLAIN_EVERY: Duration = Duration::from_secs(5);
const JSON_EVERY: Duration = Duration::from_secs(1);
/// Rates cover the last seconds only: the speed of an hour ago says little about what is left.
const WINDOW: Duration = Duration::from_secs(30);
/// Columns of the bar itself.
const BAR: usize = 16;

/// A thread that shows progress until this is dropped; then the redrawn line is cleared.
pub struct Shown {
    screen: Screen,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Starts the thread. With `--json`, nothing is shown unless it was asked for.
    pub fn start(style: Style, progress: Arc<Progress>, common: &Common) -> Shown {
        let screen = common.screen.clone();
        let style = match style {
            Style::Auto if common.json => Style::None,
            Style::Auto if !screen.is_terminal() => Style::Plain,
            style => style,
        };
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let on = screen.clone();
        let thread = std::thread::spawn(move || match style {
            Style::Auto => every(LOOK, &progress, &ended, |look| {
                screen.draw(&look.line(screen.columns().saturating_sub(1)));
            }),
            Style::Plain => every(PLAIN_EVERY, &progress, &ended, |look| {
                screen.offer(&shown(&look.line(usize::MAX)));
            }),
            Style::Json => every(JSON_EVERY, &progress, &ended, |look| {
                screen.offer(&look.json().to_string());
            }),
            Style::None => {}
        });
        Shown {
            screen: on,
            end,
            thread: Some(thread),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there cost only the display.
            let _ = thread.join();
        }
        self.screen.wipe();
    }
}

fn every(wait: Duration, progress: &Progress, end: &AtomicBool, mut show: impl FnMut(&Look)) {
    let mut window = Window::default();
    let mut last = Instant::now();
    while !end.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        let look = Look::at(progress, &mut window);
        if last.elapsed() >= wait && !end.load(Ordering::Relaxed) {
            last = Instant::now();
            show(&look);
        }
    }
}

/// Rows and bytes that this attempt had delivered at moments of the last seconds.
#[derive(Default)]
struct Window(VecDeque<(Instant, u64, u64)>);

impl Window {
    /// Rows and bytes a second up to now.
    fn rates(&mut self, now: Instant, rows: u64, bytes: u64) -> (f64, f64) {
        self.0.push_back((now, rows, bytes));
        while self.0.len() > 2 && now - self.0[1].0 >= WINDOW {
            self.0.pop_front();
        }
        let (first, rows_then, bytes_then) = self.0[0];
        let seconds = (now - first).as_secs_f64();
        if seconds < LOOK.as_secs_f64() / 2.0 {
            return (0.0, 0.0);
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (rate(rows, rows_then), rate(bytes, bytes_then))
    }
}

/// The state at one moment, as it is shown.
struct Look {
    now: Snapshot,
    phase: Phase,
    target: String,
    /// Percent of this phase, if known.
    percent: Option<u64>,
    phase_seconds: f64,
    rows_per_s: f64,
    bytes_per_s: f64,
    waiting: Option<crate::progress::Waiting>,
}

impl Look {
    fn at(progress: &Progress, window: &mut Window) -> Look {
        let now = progress.snapshot();
        let doing = progress.doing().now();
        let own = now.rows.saturating_sub(now.rows_resumed);
        let counts = matches!(doing.phase, Phase::Sending | Phase::Verifying);
        let (rows_per_s, bytes_per_s) = window.rates(Instant::now(), own, now.bytes);
        let by_rows = (counts && now.rows_total > 0)
            .then(|| (now.rows as f64 / now.rows_total as f64 * 100.0) as u64);
        Look {
            phase: doing.phase,
            target: doing.target,
            percent: doing.percent.or(by_rows).map(|p| p.min(100)),
            phase_seconds: doing.since.elapsed().as_secs_f64(),
            rows_per_s: if counts { rows_per_s } else { 0.0 },
            bytes_per_s: if counts { bytes_per_s } else { 0.0 },
            waiting: progress.waiting(),
            now,
        }
    }

    fn counts(&self) -> bool {
        matches!(self.phase, Phase::Sending | Phase::Verifying) && self.now.rows_total > 0
    }

    fn eta_s(&self) -> Option<f64> {
        let left = self.now.rows_total.saturating_sub(self.now.rows) as f64;
        (self.counts() && self.rows_per_s > 0.0).then(|| left / self.rows_per_s)
    }

    /// As much of it as fits into this many columns, the most important first.
    fn line(&self, columns: usize) -> String {
        if let Some(waiting) = &self.waiting {
            let clock = |at: SystemTime| show::clock(at);
            return format!(
                "waiting since {}, until {} UTC: {}",
                clock(waiting.since),
                clock(waiting.until),
                waiting.why
            );
        }
        let phase = match self.percent {
            Some(percent) => format!("{} {percent} %", self.phase),
            None => self.phase.to_string(),
        };
        // In display order; if space is short, the highest numbers are dropped first.
        let mut parts: Vec<(u8, String)> = vec![(0, phase)];
        if self.counts() {
            let now = &self.now;
            let done = (self.percent.unwrap_or(0) as usize * BAR / 100).min(BAR);
            let bar = format!("[{}{}]", "#".repeat(done), "-".repeat(BAR - done));
            let eta = self.eta_s().map_or("?".to_owned(), show::seconds);
            parts.push((5, bar));
            parts.push((2, format!("{}/{} rows", now.rows, now.rows_total)));
            parts.push((3, format!("{:.0} rows/s", self.rows_per_s)));
            parts.push((4, format!("{}/s", show::bytes(self.bytes_per_s as u64))));
            parts.push((1, format!("ETA {eta}")));
            if now.rows_resumed > 0 {
                parts.push((6, format!("began at row {}", now.rows_resumed)));
            }
        } else {
            parts.push((1, format!("for {}", show::seconds(self.phase_seconds))));
            if !self.target.is_empty() {
                parts.push((2, self.target.clone()));
            }
        }
        while parts.len() > 1 && width(&parts) > columns {
            let last = parts.iter().map(|(order, _)| *order).max().unwrap_or(0);
            parts.retain(|(order, _)| *order != last);
        }
        let words: Vec<&str> = parts.iter().map(|(_, words)| words.as_str()).collect();
        words.join("  ")
    }

    fn json(&self) -> serde_json::Value {
        let waiting = self.waiting.as_ref().map(|waiting| {
            serde_json::json!({
                "why": waiting.why,
                "since": show::utc(waiting.since),
                "until": show::utc(waiting.until),
            })
        });
        let target = (!self.target.is_empty()).then_some(&self.target);
        serde_json::json!({
            "time": show::utc(SystemTime::now()),
            "phase": self.phase.to_string(),
            "target": target,
            "percent": self.percent,
            "rows": self.now.rows,
            "rows_total": self.now.rows_total,
            "rows_resumed": self.now.rows_resumed,
            "bytes": self.now.bytes,
            "rows_per_s": self.rows_per_s,
            "bytes_per_s": self.bytes_per_s,
            "eta_s": self.eta_s(),
            "waiting": waiting,
        })
    }
}

fn width(parts: &[(u8, String)]) -> usize {
    let words: usize = parts.iter().map(|(_, words)| words.chars().count()).sum();
    words + 2 * (parts.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(rows: u64, resumed: u64, phase: Phase) -> Look {
        let progress = Progress::default();
        progress.total(2_000_000, 1_000_000_000);
        progress.resumed(resumed);
        progress.delivered(rows - resumed, (rows - resumed) * 500);
        Look {
            now: progress.snapshot(),
            phase,
            target: "products/p1".into(),
            percent: Some(rows / 20_000),
            phase_seconds: 12.0,
            rows_per_s: 10_000.0,
            bytes_per_s: 5e6,
            waiting: None,
        }
    }

    #[test]
    fn a_line_keeps_what_matters_most_at_any_width() {
        let look = look(1_000_000, 500_000, Phase::Sending);
        for columns in 15..200 {
            let line = look.line(columns);
            assert!(line.chars().count() <= columns, "{columns}: {line}");
            assert!(line.starts_with("sending"), "{line}");
        }
        assert_eq!(
            look.line(79),
            "sending 50 %  1000000/2000000 rows  10000 rows/s  5.0 MB/s  ETA 1 min 40 s"
        );
        assert_eq!(look.line(39), "sending 50 %  ETA 1 min 40 s");
        assert!(
            look.line(120).contains("began at row 500000"),
            "{}",
            look.line(120)
        );
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut window = Window::default();
        let start = Instant::now();
        let mut rates = (0.0, 0.0);
        for second in 0..200u64 {
            // Fast for a hundred seconds, slow for another hundred.
            let rows = second.min(100) * 1000 + second.saturating_sub(100) * 10;
            rates = window.rates(start + Duration::from_secs(second), rows, rows * 4);
        }
        assert!(
            (rates.0 - 10.0).abs() < 0.5 && (rates.1 - 40.0).abs() < 2.0,
            "{rates:?}"
        );
        assert!(window.0.len() < 40);
    }

    #[test]
    fn json_has_the_fields_of_the_interface() {
        let json = look(1_000_000, 0, Phase::Sending).json();
        for key in [
            "time",
            "phase",
            "target",
            "rows",
            "rows_total",
            "bytes",
            "rows_per_s",
            "eta_s",
            "waiting",
        ] {
            assert!(json.get(key).is_some(), "{key}: {json}");
        }
        assert_eq!(json["eta_s"], 100.0);
        assert_eq!(
            look(1, 0, Phase::Flushing).json()["eta_s"],
            serde_json::Value::Null
        );
    }
}
