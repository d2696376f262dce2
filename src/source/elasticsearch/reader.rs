//! How is a shard read? In windows of sequence numbers: the server finds a window's documents without scanning the
//! rest, and a window never holds more documents than it is wide, however many are deleted.
//!
//! An index may keep no such numbers. Its documents are then read in the order that they have in one state, page by
//! page, and a position records which state that was: once that state is gone, what is left is unknown.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::cluster::{Cluster, View};
use super::page::{self, Lack, Wrong};
use super::settings::Missing;
use super::{Elastic, Piece};
use crate::batch::{Cut, Key, Limits, Part, Position};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::source::documents::Rows;
use crate::source::{Files, Reader, cut};

/// Reads a shard, forward.
pub struct Pages<'s> {
    source: &'s Elastic,
    piece: &'s Piece,
    /// Everything up to this number was read.
    at: i64,
    end: i64,
    limits: Limits,
    /// Documents of the next page.
    page: u64,
    /// Numbers of the next window.
    window: i64,
    /// Rows so far.
    row: u64,
    cuts: VecDeque<Cut>,
    answer: Vec<u8>,
}

/// The low bits of a position in a state's own order: the document's number; the bits above are the state's.
const DOCUMENT_BITS: u32 = 32;

/// The number that a position follows.
fn number(at: &Position) -> i64 {
    match at {
        Position::After(Key::Int(number)) => *number,
        Position::End => i64::MAX,
        _ => -1,
    }
}

impl<'s> Pages<'s> {
    pub fn new(
        source: &'s Elastic,
        piece: &'s Piece,
        from: Position,
        end: Position,
        limits: Limits,
    ) -> Pages<'s> {
        let (row_bytes, _) = piece.whole.layout.columns().row_bytes();
        // The length of texts is known from the first page on.
        let each = row_bytes.saturating_mul(3) + 1024;
        let first = (limits.batch_bytes / each).min(limits::SEARCH_FIRST_PAGE_ROWS);
        let most = source.settings.page.min(limits.batch_rows).max(1);
        let page = first.clamp(1, most);
        Pages {
            source,
            piece,
            at: number(&from),
            end: number(&end),
            limits,
            page,
            window: page as i64,
            row: 0,
            cuts: VecDeque::new(),
            answer: Vec::new(),
        }
    }

    /// Reads pages until there are rows, or no more documents.
    fn read(&mut self) -> Result<()> {
        while self.cuts.is_empty() {
            self.source.pace.take(self.page);
            let piece = self.piece;
            let mut view = piece.view();
            if view.is_none() {
                let mut fresh = self.source.cluster.view(&piece.whole.index, piece.shard)?;
                piece.opened(&mut fresh);
                piece.renewed.store(true, Ordering::Relaxed);
                *view = Some(fresh);
            }
            let there = view.as_mut().expect("it was just made");
            let base = match there.opened {
                None => 0,
                Some(opened) => self.begun(opened)?,
            };
            let last = base + there.last;
            let end = self.end.min(last);
            if self.at >= end {
                return Ok(());
            }
            let upto = match there.opened {
                None => self.at.saturating_add(self.window).min(end),
                Some(_) => end,
            };
            let asked = self.ask(there, base, upto);
            match asked {
                Err(error) if Cluster::is_gone(&error) => {
                    tracing::warn!(
                        "{} shard {}: the server no longer keeps the state that was read; the rest is read as it is \
                         now: {error:#}",
                        piece.whole.index.name,
                        piece.shard
                    );
                    *view = None;
                    continue;
                }
                // A smaller page may get through.
                Err(error) if error.kind() == Kind::TooBig && self.page > 1 => {
                    self.page = (self.page / 2).max(1);
                    self.window = self.window.min(self.page as i64);
                    continue;
                }
                Err(error) => {
                    self.page = (self.page / 2).max(1);
                    self.window = self.window.min(self.page as i64);
                    return Err(error);
                }
                Ok(()) => {}
            }
            drop(view);
            self.take(base, upto)?;
        }
        Ok(())
    }

    /// The first position of a state that has its own order. Positions in another state are unrelated to this one.
    fn begun(&self, opened: i64) -> Result<i64> {
        let is_of_it = |at: i64| at < 0 || at == i64::MAX || at >> DOCUMENT_BITS == opened;
        if is_of_it(self.at) && is_of_it(self.end) {
            return Ok(opened << DOCUMENT_BITS);
        }
        let what = format!(
            "{} shard {}: the state that was read is gone, and without sequence numbers \
             (`index.disable_sequence_numbers`) what is left is unknown",
            self.piece.whole.index.name, self.piece.shard
        );
        let hint =
            "`--again` reads everything again; `run: {existing: upsert}` replaces what has arrived";
        Err(Error::new(Kind::Changed, what).hint(hint))
    }

    /// Requests the documents of a window.
    fn ask(&mut self, view: &mut View, base: i64, upto: i64) -> Result<()> {
        let cluster = &self.source.cluster;
        let index = &self.piece.whole.index;
        let mut body = cluster.search(view, (self.at - base).max(-1), upto, self.page);
        if !index.asked.is_empty() {
            body["fields"] = serde_json::json!(index.asked);
        }
        if index.hides_vectors {
            body["_source"] = serde_json::json!({"exclude_vectors": false});
        }
        cluster.searched(&body, view, limits::ANSWER_BYTES_MAX, &mut self.answer)
    }

    fn wrong(&self, wrong: Wrong) -> Error {
        let name = &self.piece.whole.index.name;
        let of_answer = |kind, what: String| {
            Error::new(kind, format!("{name} shard {}: {what}", self.piece.shard))
        };
        match wrong {
            Wrong::Partial(what) => of_answer(Kind::Busy, what),
            Wrong::Odd(what) => of_answer(Kind::Refused, what),
            Wrong::Document { id, what } => {
                let lacks = what.starts_with("has no vector");
                let what = format!("{name}: document {} {what}", crate::json::quoted(&id));
                let error = Error::new(Kind::Unsupported, what);
                match lacks {
                    true => error.hint(
                        "`missing_vector: skip` leaves such documents out and counts them; `missing_vector: null` \
                         makes them rows without a vector, if the destination supports them",
                    ),
                    false => error,
                }
            }
        }
    }

    /// Turns an answer into rows.
    fn take(&mut self, base: i64, upto: i64) -> Result<()> {
        let layout = &self.piece.whole.layout;
        let lack = match self.source.settings.missing {
            Missing::Fail => Lack::Refuse,
            Missing::Skip => Lack::Skip,
            Missing::Null => Lack::Keep,
        };
        let mut rows = Rows::new(layout);
        let mut found = page::read(&self.answer, &mut rows, lack).map_err(|w| self.wrong(w))?;
        let numbers = found.numbers.iter_mut().chain(&mut found.last);
        numbers.for_each(|number| *number = number.saturating_add(base));
        let outside = |n: &i64| *n <= self.at || *n > upto;
        if found.numbers.iter().chain(&found.last).any(outside) {
            let what = "the server sent documents that were not requested".to_owned();
            return Err(self.wrong(Wrong::Odd(what)));
        }
        (self.source.without_vector).fetch_add(found.without_vector, Ordering::Relaxed);
        // After a full page, the window may have more documents.
        let full = found.hits >= self.page;
        self.at = match found.last {
            Some(last) if full => last,
            _ => upto,
        };
        self.window = match found.hits {
            hits if hits * 2 <= self.page => {
                self.window.saturating_mul(2).min(limits::SEARCH_WINDOW_MAX)
            }
            _ if full => (self.window / 2).max(self.page as i64),
            _ => self.window,
        };
        self.cut(rows, &found.numbers)
    }

    /// Cuts a page into batches.
    fn cut(&mut self, rows: Rows<'_>, numbers: &[i64]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let whole = &self.piece.whole;
        let page = Part::new(
            whole.layout.columns(),
            rows.finish(),
            &whole.place,
            self.row,
        )?;
        let len = page.len();
        self.row += len as u64;
        // An answer is about three times as large as its rows.
        let most = self.source.settings.page.min(self.limits.batch_rows).max(1);
        let roomy =
            limits::SEARCH_ANSWER_BYTES as u64 * len as u64 / (self.answer.len() as u64).max(1);
        self.page = cut::fitting(&page, self.limits)
            .min(roomy)
            .min(self.page.saturating_mul(4))
            .clamp(1, most);
        self.window = self.window.max(self.page as i64);
        let mut first = 0;
        for part in cut::pieces(&page, self.limits) {
            first += part.len();
            self.cuts.push_back(Cut {
                parts: vec![part],
                next: Position::After(Key::Int(numbers[first - 1])),
            });
        }
        Ok(())
    }
}

impl Reader for Pages<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        self.read()?;
        Ok(self.cuts.pop_front())
    }

    fn files(&self) -> Files {
        Files::new([])
    }
}
