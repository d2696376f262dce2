//! What happened to the file of a batch? A few synced lines for each batch, so that no file is imported twice, however
//! often the program dies.
//!
//! ```text
//! submitted FILES ──► accepted JOB ──► (committing JOB) ──► done
//!        │                  └────────► failed ──► submitted OTHER FILES …
//!        └── no answer: the server is asked for a job with these files
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The server is being asked to import a set of files.
    Submitted {
        /// The set.
        files: String,
        /// When, in seconds since 1970.
        at: u64,
        /// Whether rows stay invisible until the job is told to commit.
        held: bool,
    },
    /// The server accepted the set, as this job.
    Accepted(String, i64),
    /// This job is being told to commit.
    Committing(String, i64),
    /// The job, if there was one, imported no row.
    Failed(String, String),
    /// The rows have arrived.
    Done(u64),
}

/// The ledger of a batch.
pub struct Ledger {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
}

impl Ledger {
    /// Opens and reads it. A torn line that a crash left at the end is ignored: what it would have recorded had not
    /// been done yet, or is asked for again.
    pub fn open(path: &Path) -> Result<Ledger> {
        let io = |doing: &'static str| move |e: std::io::Error| Error::io(path, doing, &e);
        let options = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path);
        let mut file = options.map_err(io("open the ledger"))?;
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(io("read the ledger"))?;
        let whole = text.rfind('\n').map_or(0, |last| last + 1);
        if whole < text.len() {
            // Otherwise the next line would turn it into a valid one.
            file.set_len(whole as u64)
                .map_err(io("truncate the ledger"))?;
        }
        let lines = text[..whole].lines();
        let entries = lines.filter_map(|line| serde_json::from_str(line).ok());
        Ok(Ledger {
            path: path.to_owned(),
            entries: entries.collect(),
            file,
        })
    }

    /// The last entry.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// How often importing it failed.
    pub fn failures(&self) -> usize {
        let failed = |entry: &&Entry| matches!(entry, Entry::Failed(..));
        self.entries.iter().filter(failed).count()
    }

    /// When these files were submitted to the server, and whether their rows are held back; `None`: they were not.
    pub fn submitted(&self, set: &str) -> Option<(u64, bool)> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Submitted { files, at, held } if files == set => Some((*at, *held)),
            _ => None,
        })
    }

    /// Appends a line, and syncs it.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        let line = serde_json::to_string(&entry).expect("entries are plain data");
        self.write(&format!("{line}\n"))?;
        self.entries.push(entry);
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let written = self.file.write_all(text.as_bytes());
        let written = written.and_then(|()| self.file.sync_data());
        written.map_err(|e| Error::io(&self.path, "write the ledger", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_read_as_far_as_its_lines_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.last(), None);
        let submitted = Entry::Submitted {
            files: "a".to_owned(),
            at: 5,
            held: true,
        };
        ledger.add(submitted).unwrap();
        assert_eq!(ledger.submitted("a"), Some((5, true)));
        assert_eq!(ledger.submitted("b"), None);
        ledger.add(Entry::Accepted("a".to_owned(), 7)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut ledger = Ledger::open(&path).unwrap();
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(ledger.entries.len(), lines, "{cut}");
            ledger.add(Entry::Done(3)).unwrap();
            let again = Ledger::open(&path).unwrap();
            assert_eq!(again.entries.len(), lines + 1, "{cut}");
            assert_eq!(again.last(), Some(&Entry::Done(3)));
        }
    }
}
