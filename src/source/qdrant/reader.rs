//! How is a range of ids read? Page by page, each from the id after the last one; pages are cut into batches.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::client::Wanted;
use super::ids::{self, Id};
use super::points::{self, Page};
use super::{Qdrant, Stretch};
use crate::batch::{Cut, Limits, Part, Position};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::source::{Files, Reader, cut};

/// Reads a range, forward.
pub struct Points<'s> {
    source: &'s Qdrant,
    stretch: &'s Stretch,
    /// The first id that was not requested yet; `None` if there is none.
    next: Option<Id>,
    last: Id,
    end: Position,
    limits: Limits,
    /// Points of the next page.
    page: u64,
    /// Rows so far.
    row: u64,
    cuts: VecDeque<Cut>,
}

impl<'s> Points<'s> {
    pub fn new(
        source: &'s Qdrant,
        stretch: &'s Stretch,
        from: Position,
        end: Position,
        limits: Limits,
    ) -> Points<'s> {
        let (row_bytes, _) = stretch.described.columns.row_bytes();
        let fits = (limits.batch_bytes / row_bytes.max(1)).min(limits.batch_rows);
        let last = ids::last_of(&end, stretch.described.keyed);
        Points {
            source,
            stretch,
            next: ids::first_behind(&from).filter(|id| *id <= last && from < end),
            last,
            end,
            limits,
            // The length of payloads is known from the first page on.
            page: fits.clamp(1, limits::QDRANT_FIRST_PAGE_POINTS),
            row: 0,
            cuts: VecDeque::new(),
        }
    }

    /// Reads the next pages, until one has points.
    fn read(&mut self) -> Result<()> {
        while let Some(from) = self.next
            && self.cuts.is_empty()
        {
            let most = self.page.min(self.source.page_max.load(Ordering::Relaxed));
            let most = self.source.pace.most(most);
            self.source.pace.take(most);
            match self.page(from, most) {
                Ok(page) => self.take(from, page)?,
                Err(error) => self.fewer(from, most, error)?,
            }
        }
        Ok(())
    }

    /// Points from an id on.
    fn page(&self, from: Id, most: u64) -> Result<Page> {
        let (client, place) = (&self.source.client, &self.stretch.place);
        let described = &self.stretch.described;
        if !self.stretch.by_ids {
            let answer = client.scroll(place, from, most, Wanted::All)?;
            return points::read(described, &answer, points::SCROLLED, self.last);
        }
        let answer = client.scroll(place, from, most, Wanted::Ids)?;
        let asked = points::ids(&answer, self.last)?;
        check(self.stretch, from, &asked.ids)?;
        let found = match asked.ids.is_empty() {
            true => Page::default(),
            false => {
                let answer = client.points(place, &asked.ids)?;
                points::read(described, &answer, points::GOT, self.last)?
            }
        };
        // Points deleted in the meantime are silently left out of the answer.
        let gone: Vec<&Id> = asked
            .ids
            .iter()
            .filter(|id| !found.ids.contains(id))
            .collect();
        if let Some(first) = gone.first() {
            tracing::warn!(
                "{}: {} points were deleted while they were read; {} is the first",
                self.stretch.name,
                gone.len(),
                first.text()
            );
            let vanished = &self.source.vanished;
            vanished.fetch_add(gone.len() as u64, Ordering::Relaxed);
        }
        Ok(Page {
            next: asked.next,
            beyond: asked.beyond,
            ..found
        })
    }

    /// Asks for fewer points, if that may help.
    fn fewer(&mut self, from: Id, most: u64, error: Error) -> Result<()> {
        let is_much = matches!(error.kind(), Kind::TooBig | Kind::TooMuch | Kind::Slow);
        if is_much && most > 1 {
            let page_max = &self.source.page_max;
            page_max.fetch_min(most / 2, Ordering::Relaxed);
            self.page = most / 2;
            tracing::info!(
                "{}: {most} points at a time are too many: {error:#}",
                self.stretch.name
            );
            return Ok(());
        }
        match error.kind() {
            Kind::TooBig | Kind::TooMuch => {
                let place = &self.stretch.place;
                let id = self.source.next_id(place, from)?.unwrap_or(from);
                let what = format!(
                    "{}: point {} cannot be read: {}",
                    self.stretch.name,
                    id.text(),
                    error.what()
                );
                Err(Error::new(Kind::Refused, what))
            }
            _ => Err(error),
        }
    }

    /// Takes a page: cuts it into batches and moves on.
    fn take(&mut self, from: Id, page: Page) -> Result<()> {
        check(self.stretch, from, &page.ids)?;
        let described = &self.stretch.described;
        let end_is_last = self.end == Position::End;
        if end_is_last
            && page
                .beyond
                .is_some_and(|id| described.keyed.key(id).is_none())
        {
            self.source.strangers.fetch_add(1, Ordering::Relaxed);
        }
        let behind = page.ids.last().and_then(|id| id.next());
        // If all points of a page are gone, reading continues where the server indicates.
        let on = behind.max(page.next);
        self.next = match page.next.is_none() || page.beyond.is_some() {
            true => None,
            false => on.filter(|id| *id <= self.last),
        };
        if self.next.is_some_and(|next| next <= from) {
            let what = format!("{}: the server sent the same page again", self.stretch.name);
            return Err(Error::new(Kind::Refused, what));
        }
        let Some(last) = page.ids.last() else {
            return Ok(());
        };
        let upto = match self.next {
            None => self.end.clone(),
            Some(_) => described
                .keyed
                .behind(*last)
                .expect("ids that cannot be keys were refused"),
        };
        let part = Part::new(
            &described.columns,
            page.columns,
            &self.stretch.path,
            self.row,
        )?;
        self.row += part.len() as u64;
        let fits = cut::fitting(&part, self.limits);
        self.page = fits.min(self.page.saturating_mul(4)).max(1);
        let mut left = part.len();
        for some in cut::pieces(&part, self.limits) {
            left -= some.len();
            let next = match left {
                0 => upto.clone(),
                _ => Position::After(some.key(some.len() - 1)),
            };
            self.cuts.push_back(Cut {
                parts: vec![some],
                next,
            });
        }
        Ok(())
    }
}

/// Ids must be the requested ones, in order.
fn check(stretch: &Stretch, from: Id, ids: &[Id]) -> Result<()> {
    let odd = ids.first().filter(|id| **id < from);
    let pairs = ids.windows(2).find(|pair| pair[0] >= pair[1]);
    match odd.or(pairs.map(|pair| &pair[1])) {
        None => Ok(()),
        Some(id) => {
            let what = format!(
                "{}: the server sent point {} where a later one was requested",
                stretch.name,
                id.text()
            );
            Err(Error::new(Kind::Refused, what))
        }
    }
}

impl Reader for Points<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        self.read()?;
        Ok(self.cuts.pop_front())
    }

    fn files(&self) -> Files {
        Files::new([])
    }
}
