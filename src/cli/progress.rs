//! Shows how far a run is: looks at the counters ten times a second and steers nothing.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::Common;
use crate::progress::{Progress, Snapshot};

/// How progress is shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// A bar on a terminal, lines elsewhere
    #[default]
    Auto,
    /// A line every few seconds
    Plain,
    /// A JSON object a line, every second, on standard error
    Json,
    /// Nothing
    None,
}

impl Style {
    /// What is shown when standard output is read by a program.
    pub fn beside(self, common: &Common) -> Style {
        match self {
            Style::Auto if common.json => Style::None,
            style => style,
        }
    }
}

const LOOK: Duration = Duration::from_millis(100);
const PLAIN_EVERY: Duration = Duration::from_secs(5);
const JSON_EVERY: Duration = Duration::from_secs(1);

/// A thread that shows progress until it is told to end.
pub struct Shown {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Begins to show.
    pub fn start(style: Style, progress: Arc<Progress>) -> Shown {
        let style = match style {
            Style::Auto if std::io::stderr().is_terminal() => Style::Auto,
            Style::Auto => Style::Plain,
            other => other,
        };
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || match style {
            Style::Auto => bar(&progress, &ended),
            Style::Plain => every(PLAIN_EVERY, &progress, &ended, |s| eprintln!("{}", line(s))),
            Style::Json => every(JSON_EVERY, &progress, &ended, |s| {
                eprintln!("{}", serde_json::to_string(s).unwrap_or_default());
            }),
            Style::None => {}
        });
        Shown {
            end,
            thread: Some(thread),
        }
    }

    /// Stops showing.
    pub fn end(mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there would only have cost the display.
            let _ = thread.join();
        }
    }
}

fn every(wait: Duration, progress: &Progress, end: &AtomicBool, mut show: impl FnMut(&Snapshot)) {
    let mut last = Instant::now();
    while !end.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        if last.elapsed() >= wait {
            last = Instant::now();
            show(&progress.snapshot());
        }
    }
}

fn bar(progress: &Progress, end: &AtomicBool) {
    let bar = ProgressBar::new(progress.snapshot().rows_total);
    let style = ProgressStyle::with_template("{bar:30} {percent}% {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    while !end.load(Ordering::Relaxed) {
        let now = progress.snapshot();
        bar.set_length(now.rows_total);
        bar.set_position(now.rows);
        bar.set_message(line(&now));
        std::thread::sleep(LOOK);
    }
    bar.finish_and_clear();
}

/// Rows, bytes, rates and what is left, in a line.
fn line(now: &Snapshot) -> String {
    let here = now.rows - now.rows_resumed.min(now.rows);
    let rate = here as f64 / now.seconds.max(0.001);
    let left = now.rows_total.saturating_sub(now.rows);
    let eta = if rate > 0.0 {
        super::show::seconds(left as f64 / rate)
    } else {
        "?".to_owned()
    };
    let mut line = format!(
        "{}/{} rows  {}  {:.0} rows/s  {}/s  ETA {eta}",
        now.rows,
        now.rows_total,
        super::show::bytes(now.bytes),
        rate,
        super::show::bytes((now.bytes as f64 / now.seconds.max(0.001)) as u64),
    );
    if let Some(waiting) = &now.waiting {
        line.push_str(&format!(
            "  waiting: {}",
            waiting.lines().next().unwrap_or_default()
        ));
    }
    line
}
