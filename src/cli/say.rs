//! How do messages reach the operator? As text on standard output, lines on standard error, and one line that is
//! redrawn. No control character reaches a terminal unless this file puts it there.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result, shown};
use crate::limits;

/// Adds a line to a [`Text`].
macro_rules! line {
    ($text:expr) => { $text.add(format_args!("")) };
    ($text:expr, $($words:tt)*) => { $text.add(format_args!($($words)*)) };
}
pub(super) use line;

/// Lines for standard output. A name cannot break a line.
#[derive(Default)]
pub struct Text(String);

impl Text {
    /// Adds a line.
    pub fn add(&mut self, words: fmt::Arguments<'_>) {
        let words = words.to_string();
        let _ = writeln!(self.0, "{}", shown(&words));
    }

    /// Adds words, wrapped to this many columns; lines after the first are indented further.
    pub fn fold(&mut self, indent: usize, words: &str, columns: usize) {
        let words = shown(words);
        let (mut line, mut is_begun) = (" ".repeat(indent), false);
        for mut word in words.split(' ') {
            loop {
                let room = columns.saturating_sub(width(&line) + usize::from(is_begun));
                if width(word) <= room {
                    line.push_str(if is_begun { " " } else { "" });
                    line.push_str(word);
                    is_begun = true;
                    break;
                }
                if !is_begun {
                    // Longer than a line: as much of it as fits, at least one character.
                    let first = word.chars().next().map_or(0, char::len_utf8);
                    let (part, rest) = word.split_at(fitted(word, room).len().max(first));
                    line.push_str(part);
                    word = rest;
                }
                line!(self, "{line}");
                (line, is_begun) = (" ".repeat(indent + 2), false);
                if word.is_empty() {
                    break;
                }
            }
        }
        if is_begun {
            line!(self, "{line}");
        }
    }

    /// Adds lines as they are.
    pub fn add_lines(&mut self, lines: &str) {
        for words in lines.lines() {
            line!(self, "{words}");
        }
    }

    /// Prints it on standard output.
    pub fn print(&self) -> Result<()> {
        print(&self.0)
    }
}

/// Columns that a line on standard output may have: no limit without a terminal.
pub fn columns() -> usize {
    let out = io::stdout();
    if !out.is_terminal() {
        return usize::MAX;
    }
    let size = rustix::termios::tcgetwinsize(out);
    match size.map_or(0, |size| usize::from(size.ws_col)) {
        0 => 79,
        // Some terminals break a line that fills their width.
        columns => columns - 1,
    }
}

/// Prints on standard output. A reader that stops early (`milvusdm inspect … | head`) is not an error; a full disk is.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Error::new(
            Kind::Io,
            format!("cannot write to standard output: {e}"),
        )),
    }
}

/// Prints a value as JSON on standard output.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("reports are plain data");
    print(&format!("{text}\n"))
}

/// Standard error, shared by all threads that print: a redrawn line makes way for lines that stay.
///
/// A separate thread writes. A terminal that accepts no more output (Ctrl-S, a reader that hangs) blocks its writer
/// for as long as it likes, and neither a run nor its end may wait for that. The terminal may belong to other programs
/// too, so it stays in blocking mode.
#[derive(Clone, Default)]
pub struct Screen(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Messages that are not written yet.
    lines: VecDeque<String>,
    /// A line of progress that is not written yet.
    offered: Option<String>,
    /// What the redrawn line is to show next; whatever it was to show before is dropped.
    redrawn: Option<String>,
    /// Whether the redrawn line is to be cleared.
    wiped: bool,
    /// Whether the redrawn line is on the screen.
    drawn: bool,
    /// Since when the writer has been writing, and whether it writes a message.
    writing: Option<(Instant, bool)>,
    has_writer: bool,
    /// Whether the program is about to exit: no progress is shown any more.
    closed: bool,
}

/// After this long in one write, standard error counts as blocked.
const BLOCKED_AFTER: Duration = Duration::from_millis(200);
/// From the left edge: nothing, to the right edge.
const CLEAR: &str = "\r\x1b[K";

impl Screen {
    /// Whether a terminal is there to be redrawn.
    pub fn is_terminal(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Columns of the terminal now.
    pub fn columns(&self) -> usize {
        let size = rustix::termios::tcgetwinsize(io::stderr());
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { 80 } else { columns }
    }

    /// Prints lines that stay, and returns when they are written, or when standard error is blocked. The caller has
    /// made them safe to show.
    pub fn say(&self, lines: &str) {
        let mut state = self.lock();
        while state.lines.len() >= limits::SCREEN_LINES_MAX {
            state = self.0.wait(state);
        }
        drop(state);
        self.change(|state| state.lines.push_back(lines.to_owned()));
        self.settle();
    }

    /// Prints a line that stays, unless earlier ones are still waiting: the next report of progress supersedes it.
    pub fn offer(&self, line: &str) {
        self.change(|state| {
            if state.is_idle() && !state.closed {
                state.offered = Some(line.to_owned());
            }
        });
    }

    /// Redraws the line, cut to the terminal's width. The cursor stays at its beginning, so that an echo of the
    /// terminal (`^C`) breaks no line.
    pub fn draw(&self, line: &str) {
        let line = fitted(line, self.columns().saturating_sub(1));
        self.change(|state| {
            if !state.closed {
                state.redrawn = Some(line);
                state.wiped = false;
            }
        });
    }

    /// Clears the redrawn line, if one is there. Does not wait for a blocked terminal.
    pub fn wipe(&self) {
        self.change(State::wipe);
        self.settle();
    }

    /// Clears the redrawn line for good and prints a last line, if there is one, before the program exits. Does not wait
    /// for a blocked terminal.
    pub fn part(&self, line: Option<&str>) {
        self.change(|state| {
            state.closed = true;
            state.offered = None;
            state.wipe();
            state.lines.extend(line.map(str::to_owned));
        });
        self.settle();
    }

    /// Waits until all messages are written, however long the terminal takes. Progress does not count as a message.
    pub fn finish(&self) {
        let mut state = self.lock();
        while state.has_messages() {
            state = self.0.wait(state);
        }
    }

    /// Waits until everything is written, however long the terminal takes.
    pub fn rest(&self) {
        let mut state = self.lock();
        while !state.is_idle() {
            state = self.0.wait(state);
        }
    }

    /// Waits until everything is written or standard error is blocked.
    fn settle(&self) {
        let mut state = self.lock();
        while !state.is_idle() && !state.is_blocked() {
            state = self.0.wait(state);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if !state.has_writer {
            let shared = self.0.clone();
            let writer = std::thread::Builder::new().name("screen".to_owned());
            state.has_writer = writer.spawn(move || shared.write()).is_ok();
        }
        if !state.has_writer {
            // The system allows no more threads.
            while let Some((text, _)) = state.next() {
                let _ = io::stderr().write_all(text.as_bytes());
            }
        }
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Shared {
    /// Writes what there is to write, for as long as the program runs.
    fn write(&self) {
        let mut state = self.lock();
        loop {
            let Some((text, is_message)) = state.next() else {
                self.changed.notify_all();
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.writing = Some((Instant::now(), is_message));
            drop(state);
            // If standard error cannot be written, there is nowhere to report it.
            let _ = io::stderr().write_all(text.as_bytes());
            state = self.lock();
            state.writing = None;
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, but only briefly: a writer that blocks changes nothing.
    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, BLOCKED_AFTER / 4);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    /// What to write next, and whether it is a message.
    fn next(&mut self) -> Option<(String, bool)> {
        let message = self.lines.pop_front();
        let is_message = message.is_some();
        if let Some(lines) = message.or_else(|| self.offered.take()) {
            let clear = if std::mem::take(&mut self.drawn) {
                CLEAR
            } else {
                ""
            };
            return Some((format!("{clear}{lines}\n"), is_message));
        }
        if let Some(line) = self.redrawn.take() {
            self.drawn = true;
            return Some((format!("\r{line}\x1b[K\r"), false));
        }
        let is_left = std::mem::take(&mut self.wiped) && std::mem::take(&mut self.drawn);
        is_left.then(|| (CLEAR.to_owned(), false))
    }

    fn wipe(&mut self) {
        self.redrawn = None;
        self.wiped = true;
    }

    fn is_idle(&self) -> bool {
        let is_written = self.offered.is_none() && self.redrawn.is_none() && !self.wiped;
        is_written && self.lines.is_empty() && self.writing.is_none()
    }

    fn has_messages(&self) -> bool {
        !self.lines.is_empty() || matches!(self.writing, Some((_, true)))
    }

    fn is_blocked(&self) -> bool {
        let since = self.writing.map(|(since, _)| since);
        since.is_some_and(|since| since.elapsed() > BLOCKED_AFTER)
    }
}

/// The most columns that a text can take: every character outside ASCII counts as two.
pub fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

/// As much of a line as fits into this many columns.
fn fitted(line: &str, columns: usize) -> String {
    let line = shown(line);
    let mut left = columns;
    let fits = |c: &char| {
        let wide = columns_of(*c);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    line.chars().take_while(fits).collect()
}

/// The destination of logs: each write is a line.
pub struct LogLine(pub Screen);

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.say(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_whatever_stands_in_it() {
        assert_eq!(fitted("abcdef", 4), "abcd");
        assert_eq!(fitted("abc", 4), "abc");
        assert_eq!(fitted("a大bc", 4), "a大b");
        assert_eq!(fitted("大大大", 5), "大大");
        assert_eq!(fitted("a\x1b[2J", 79), "a\\u{1b}[2J");
    }

    #[test]
    fn words_are_folded_within_the_columns() {
        let folded = |indent, words: &str, columns| {
            let mut text = Text::default();
            text.fold(indent, words, columns);
            text.0
        };
        assert_eq!(folded(2, "one two three", 9), "  one two\n    three\n");
        assert_eq!(folded(0, "one two", usize::MAX), "one two\n");
        assert_eq!(folded(0, "abcdefgh ij", 5), "abcde\n  fgh\n  ij\n");
        assert_eq!(folded(4, "大大大", 6), "    大\n      大\n      大\n");
        assert_eq!(folded(9, "ab", 3), "         a\n           b\n");
        for columns in 8..60 {
            let words =
                "counted 60000 (exact count): agrees, in a_very_long_name_of_a_collection 大大大";
            for line in folded(2, words, columns).lines() {
                assert!(width(line) <= columns, "{line} in {columns}");
            }
        }
    }

    #[test]
    fn no_name_forges_a_line() {
        let mut text = Text::default();
        line!(text, "target  {}", "a\n  b: agrees\x1b[1A");
        line!(text);
        assert_eq!(text.0, "target  a\\n  b: agrees\\u{1b}[1A\n\n");
    }
}
