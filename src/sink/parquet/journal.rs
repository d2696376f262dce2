//! How much of an unfinished target has been written? One line for each row group and file, so that the work of a
//! killed run is continued, not repeated.
//!
//! A line is `CRC32 JSON`. A row group is written to its file before its line is written to the journal. A row group
//! without a line is cut off; a line whose row group is not in the file, after a power cut, is dropped with all lines
//! after it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Line {
    /// Which run the journal belongs to, and the settings that its bytes depend on.
    Begin { run: u64, shape: String },
    /// A row group.
    Group(Written),
    /// A file is complete.
    Whole {
        file: u64,
        rows: u64,
        bytes: u64,
        crc32: u32,
    },
}

/// A row group in its file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Written {
    pub file: u64,
    /// The first row, counted from the start of the target.
    pub first: u64,
    pub rows: u64,
    /// The digest of its rows.
    pub digest: u64,
    /// Its end in the file, and the checksum of all bytes up to there.
    pub end: u64,
    pub crc32: u32,
    /// Its entry in the footer.
    pub footer: Vec<u8>,
}

/// A journal open for writing.
pub struct Journal(File);

/// What the journal of any run contains, up to the first torn line; empty if there is none.
pub fn noted(path: &Path) -> Vec<Line> {
    whole_lines(&std::fs::read(path).unwrap_or_default()).0
}

impl Journal {
    /// Opens the journal of a run, and reads its lines. A journal of another run or shape is started afresh, after its
    /// lines were passed to `anew`.
    pub fn open(
        path: &Path,
        run: u64,
        shape: &str,
        anew: &dyn Fn(&[Line]) -> Result<()>,
    ) -> Result<(Journal, Vec<Line>)> {
        let io = |doing: &'static str| move |e: std::io::Error| Error::io(path, doing, &e);
        let options = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = options.map_err(io("open the journal"))?;
        if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            let what = "is being written by another run";
            return Err(Error::path(crate::error::Kind::Job, path, what));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)
            .map_err(io("read the journal"))?;
        let begin = Line::Begin {
            run,
            shape: shape.to_owned(),
        };
        let (mut lines, mut end) = whole_lines(&text);
        if lines.first() != Some(&begin) {
            anew(&lines)?;
            (lines, end) = (Vec::new(), 0);
        }
        let mut journal = Journal(file);
        journal.cut(path, end)?;
        if lines.is_empty() {
            journal.add(path, &begin)?;
            lines.push(begin);
        }
        lines.remove(0);
        Ok((journal, lines))
    }

    fn cut(&mut self, path: &Path, end: u64) -> Result<()> {
        let cut = self
            .0
            .set_len(end)
            .and_then(|()| self.0.seek(SeekFrom::Start(end)));
        cut.map(drop)
            .map_err(|e| Error::io(path, "truncate the journal", &e))
    }

    /// All its lines except the first.
    pub fn lines(&mut self, path: &Path) -> Result<Vec<Line>> {
        let mut text = Vec::new();
        let read = self.0.seek(SeekFrom::Start(0));
        let read = read.and_then(|_| self.0.read_to_end(&mut text));
        read.map_err(|e| Error::io(path, "read the journal", &e))?;
        let (mut lines, _) = whole_lines(&text);
        lines.drain(..lines.len().min(1));
        Ok(lines)
    }

    /// Starts the journal afresh with these lines.
    pub fn rewrite(&mut self, path: &Path, run: u64, shape: &str, lines: &[Line]) -> Result<()> {
        self.cut(path, 0)?;
        let shape = shape.to_owned();
        self.add(path, &Line::Begin { run, shape })?;
        lines.iter().try_for_each(|line| self.add(path, line))
    }

    /// Appends a line.
    pub fn add(&mut self, path: &Path, line: &Line) -> Result<()> {
        let json = serde_json::to_string(line)
            .map_err(|e| Error::io(path, "write the journal", &e.into()))?;
        let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        (self.0.write_all(line.as_bytes())).map_err(|e| Error::io(path, "write the journal", &e))
    }
}

/// The lines of a journal up to the first torn one, and the offset of that one.
fn whole_lines(text: &[u8]) -> (Vec<Line>, u64) {
    let (mut lines, mut end) = (Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(read) = decode(line) else { break };
        end += line.len() as u64;
        lines.push(read);
    }
    (lines, end)
}

fn decode(line: &[u8]) -> Option<Line> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (sum == crc32fast::hash(json.as_bytes())).then(|| serde_json::from_str(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_noted_is_read_and_a_torn_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let whole = Line::Whole {
            file: 0,
            rows: 5,
            bytes: 7,
            crc32: 9,
        };
        let open = |path: &Path, run, shape| Journal::open(path, run, shape, &|_| Ok(()));
        let (mut journal, lines) = open(&path, 1, "x").unwrap();
        assert_eq!(lines, []);
        journal.add(&path, &whole).unwrap();
        assert!(open(&path, 1, "x").is_err(), "two runs at once");
        drop(journal);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&text[..], b"0000"].concat()).unwrap();
        let (journal, lines) = open(&path, 1, "x").unwrap();
        assert_eq!(lines, std::slice::from_ref(&whole));
        drop(journal);
        assert_eq!(std::fs::read(&path).unwrap(), text);
        for (run, shape) in [(2, "x"), (1, "y")] {
            let copy = dir.path().join(shape);
            std::fs::write(&copy, &text).unwrap();
            let told = std::cell::RefCell::new(Vec::new());
            let refuse = |lines: &[Line]| {
                told.borrow_mut().extend_from_slice(lines);
                Err(Error::new(crate::error::Kind::Io, "no"))
            };
            assert!(Journal::open(&copy, run, shape, &refuse).is_err());
            assert_eq!(told.borrow().last(), Some(&whole));
            assert_eq!(std::fs::read(&copy).unwrap(), text);
            assert_eq!(open(&copy, run, shape).unwrap().1, []);
        }
    }
}
