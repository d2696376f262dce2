//! How is a range of rows read? Page by page. Each page starts with the last row read, to detect deletions that moved
//! the rest; pages are cut into batches.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::page::{self, Page, Wrong};
use super::place::Place;
use super::server::Wanted;
use super::source::{Chroma, Stretch};
use crate::batch::{Cut, Limits, Part, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::source::{Files, Reader, cut};

/// Reads a range, forward.
pub struct Pages<'s> {
    source: &'s Chroma,
    stretch: &'s Stretch,
    /// Where the next row is.
    at: Place,
    /// How many of the rows before it are gone.
    gone: u64,
    end: Position,
    /// The place where it ends; for the last range, the end of all rows.
    last: Place,
    /// Whether one of the rows whose ids mark the end was read.
    met: bool,
    done: bool,
    limits: Limits,
    /// Rows of the next page.
    page: u64,
    cuts: VecDeque<Cut>,
}

impl<'s> Pages<'s> {
    pub fn new(
        source: &'s Chroma,
        stretch: &'s Stretch,
        shard: &Shard,
        from: &Position,
        limits: Limits,
    ) -> Result<Pages<'s>> {
        let place = |position: &Position| match position {
            Position::End => Some(Place {
                rows: shard.first_row.saturating_add(shard.rows),
                ids: stretch.last_ids.clone(),
            }),
            position => Place::of(position),
        };
        let Some((at, last)) = place(from).zip(place(&shard.end)) else {
            let what = format!("{}: a Chroma collection has no such place", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        let (row_bytes, _) = stretch.layout.columns().row_bytes();
        let fits = (limits.batch_bytes / row_bytes.max(1)).min(limits.batch_rows);
        let is_among = |id: &String| last.ids.contains(id);
        Ok(Pages {
            source,
            stretch,
            met: at.ids.last().is_some_and(is_among),
            done: at.rows >= last.rows,
            at,
            gone: 0,
            end: shard.end.clone(),
            last,
            limits,
            page: fits.clamp(1, limits::CHROMA_FIRST_PAGE_ROWS),
            cuts: VecDeque::new(),
        })
    }

    /// Reads pages until there are rows, or no more.
    fn read(&mut self) -> Result<()> {
        while !self.done && self.cuts.is_empty() {
            let left = self.last.rows - self.at.rows;
            let most = self.page.min(self.source.page_max.load(Ordering::Relaxed));
            let most = self.source.pace.most(most.min(left));
            self.source.pace.take(most);
            // The last row read is asked for once more.
            let known = u64::from(!self.at.ids.is_empty());
            let offset = (self.at.rows - self.gone).saturating_sub(known);
            let client = &self.source.client;
            let id = &self.stretch.collection.id;
            match client.page(id, offset, most + known, Wanted::All) {
                Ok(answer) => self.take(&answer, known as usize)?,
                Err(error) => self.fewer(most, error)?,
            }
        }
        Ok(())
    }

    /// Asks for fewer rows, if that may help.
    fn fewer(&mut self, most: u64, error: Error) -> Result<()> {
        let is_much = matches!(error.kind(), Kind::TooBig | Kind::TooMuch);
        if most > 1 && (is_much || error.kind() == Kind::Slow) {
            self.source.page_max.fetch_min(most / 2, Ordering::Relaxed);
            self.page = most / 2;
            tracing::info!(
                "{}: {most} rows at a time are too many: {error:#}",
                self.stretch.name
            );
            return Ok(());
        }
        match is_much {
            true => Err(error.with_kind(Kind::Refused)),
            false => Err(error),
        }
    }

    /// Takes a page: cuts it into batches and moves on.
    fn take(&mut self, answer: &[u8], known: usize) -> Result<()> {
        let names = &self.source.settings.names;
        let Page { ids, columns } =
            page::read(answer, self.stretch.kind, names).map_err(|wrong| self.wrong(wrong))?;
        if known > 0 && ids.first() != self.at.ids.last() {
            return self.find();
        }
        let ids = &ids[known..];
        let mut count = ids.len();
        if let Some(found) = ids.iter().rposition(|id| self.last.ids.contains(id)) {
            self.met = true;
            count = found + 1;
        } else if self.met {
            count = 0;
        }
        let behind = self.at.behind(&ids[..count]);
        self.done = count < ids.len()
            || ids.is_empty()
            || behind.rows >= self.last.rows
            || self.met && behind.ids.last() == self.last.ids.last();
        if self.done && !self.met && self.end != Position::End {
            return Err(self.lost(&self.last));
        }
        if count == 0 {
            return Ok(());
        }
        let place = &self.stretch.place;
        let rows = Part::new(self.stretch.layout.columns(), columns, place, 0)?;
        let mut rows = rows.slice(known, count);
        rows.row = self.at.rows;
        let fits = cut::fitting(&rows, self.limits);
        // Servers build a whole answer before they send it.
        let roomy =
            limits::SEARCH_ANSWER_BYTES as u64 * ids.len() as u64 / answer.len().max(1) as u64;
        let most = self.source.settings.page;
        self.page = fits
            .min(roomy)
            .min(self.page.saturating_mul(4))
            .clamp(1, most);
        let mut first = 0;
        for part in cut::pieces(&rows, self.limits) {
            let past = first + part.len();
            self.at = self.at.behind(&ids[first..past]);
            first = past;
            let next = match self.done && first == count {
                true => self.end.clone(),
                false => self.at.position(),
            };
            self.cuts.push_back(Cut {
                parts: vec![part],
                next,
            });
        }
        Ok(())
    }

    /// Finds the place again after rows before it were deleted: nearer the start.
    fn find(&mut self) -> Result<()> {
        let (client, id) = (&self.source.client, &self.stretch.collection.id);
        let mut upto = (self.at.rows - self.gone).saturating_sub(1);
        while upto > 0 {
            let first = upto.saturating_sub(limits::CHROMA_LOOK_BACK_ROWS);
            let ids = client.ids(id, first, upto - first)?;
            if let Some(found) = ids.iter().rposition(|id| self.at.ids.contains(id)) {
                let rows = first + found as u64 + 1;
                self.gone = self.at.rows - rows;
                // The rows after it are gone, too.
                let kept = self.at.ids.iter().position(|id| *id == ids[found]);
                self.at.ids.truncate(kept.map_or(0, |kept| kept + 1));
                tracing::debug!("{}: {} earlier rows are gone", self.stretch.name, self.gone);
                return Ok(());
            }
            upto = first;
        }
        Err(self.lost(&self.at))
    }

    fn lost(&self, place: &Place) -> Error {
        let name = &self.stretch.name;
        let ids: Vec<String> = place.ids.iter().map(|id| crate::json::quoted(id)).collect();
        let what = format!(
            "{name}: rows were deleted while it was being read, {} among them: what follows them is unknown",
            ids.join(", ")
        );
        Error::new(Kind::Changed, what)
            .hint("`--again` reads everything again: delete nothing meanwhile")
    }

    fn wrong(&self, wrong: Wrong) -> Error {
        let name = &self.stretch.name;
        match wrong {
            Wrong::Odd(what) => Error::new(Kind::Refused, format!("{name}: {what}")),
            Wrong::Row { id, what } => {
                let what = format!("{name}: row {} {what}", crate::json::quoted(&id));
                let error = Error::new(Kind::Unsupported, what);
                match error.what().contains("which is also the key for") {
                    true => error.hint("`document:` and `uri:` of the source rename them"),
                    false => error,
                }
            }
        }
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
