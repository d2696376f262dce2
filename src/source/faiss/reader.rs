//! Reads a range of an index's rows, in the order in which they are stored.

use bytes::Bytes;

use super::duplicates::{Stretch, ids};
use super::opened::Opened;
use crate::batch::{Cut, Limits, Part, Position};
use crate::error::{Error, Kind, Result};
use crate::format::faiss::Run;
use crate::input::View;
use crate::limits::GATHER_BELOW_BYTES;
use crate::source::{Files, Reader};

/// Reads the rows of a shard, forward.
pub struct Rows<'s> {
    faiss: &'s Opened,
    next: u64,
    end: u64,
    batch_rows: u64,
    stretch: Option<Stretch>,
    codes: Vec<u8>,
}

impl<'s> Rows<'s> {
    pub fn new(faiss: &'s Opened, from: Position, end: Position, limits: Limits) -> Rows<'s> {
        Rows {
            faiss,
            next: from.row(),
            end: end.row(),
            batch_rows: limits.rows(faiss.rows.vector),
            stretch: None,
            codes: Vec::new(),
        }
    }
}

/// Rows that are combined because each run of them is short.
#[derive(Default)]
struct Gathered {
    first: u64,
    ids: Vec<i64>,
    vectors: Vec<u8>,
}

impl Reader for Rows<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let kept = self.faiss.kept();
        let end = self.end.min(self.next.saturating_add(self.batch_rows));
        let parts = if self.next < kept {
            let end = end.min(kept);
            let parts = self.stored(self.next, end)?;
            self.next = end;
            parts
        } else {
            let part = self.duplicates(self.next - kept, end - self.next)?;
            self.next += part.len() as u64;
            vec![part]
        };
        Ok(Some(Cut {
            parts,
            next: Position::Row(self.next),
        }))
    }

    fn files(&self) -> Files {
        self.faiss.files()
    }
}

impl Rows<'_> {
    /// The stored rows `first..end`.
    fn stored(&mut self, first: u64, end: u64) -> Result<Vec<Part>> {
        let faiss = self.faiss;
        let lists = &faiss.rows.stored.lists;
        let width = lists.code_bytes;
        let (mut parts, mut row) = (Vec::new(), first);
        let mut gathered = Gathered::default();
        for run in &lists.runs[lists.run_of(first)..] {
            if row >= end {
                break;
            }
            let within = row - run.first;
            let count = (run.rows - within).min(end - row);
            let long = count * width >= GATHER_BELOW_BYTES as u64 || count == end - first;
            if faiss.rows.is_plain() && long {
                gathered.flush(faiss, &mut parts)?;
                let vectors = faiss.data.cut(run.codes + within * width, count * width)?;
                let (ids, _) = self.ids(run, row, count)?;
                parts.push(self.part(ids, vectors.bytes()?, row)?);
            } else {
                self.gather(run, row, count, &mut gathered)?;
            }
            row += count;
        }
        gathered.flush(faiss, &mut parts)?;
        self.ask_ahead(end);
        Ok(parts)
    }

    /// Decodes rows of a run and adds them to those gathered.
    fn gather(&mut self, run: &Run, row: u64, count: u64, gathered: &mut Gathered) -> Result<()> {
        let faiss = self.faiss;
        let (ids, inner) = self.ids(run, row, count)?;
        if gathered.ids.is_empty() {
            gathered.first = row;
        }
        self.codes.clear();
        let lists = &faiss.rows.stored.lists;
        lists.fetch(&faiss.data, run, row - run.first, count, &mut self.codes)?;
        let inner = inner.as_deref().unwrap_or(&ids);
        let out = &mut gathered.vectors;
        faiss
            .decoder
            .decode(run.list, &self.codes, Some(inner), out)?;
        gathered.ids.extend(ids);
        Ok(())
    }

    /// The ids of rows of a run, and the ids stored with their codes if those differ.
    fn ids(&self, run: &Run, row: u64, count: u64) -> Result<(Vec<i64>, Option<Vec<i64>>)> {
        let faiss = self.faiss;
        let numbers = || (row as i64..).take(count as usize).collect::<Vec<_>>();
        let mut maps = faiss.rows.maps.as_slice();
        let inner = match (run.ids, maps) {
            (Some(at), _) => ids(&faiss.data, at + (row - run.first) * 8, count)?,
            // A map over rows without ids stores its ids in the order of the rows.
            (None, [first, rest @ ..]) if faiss.stored_ids => {
                maps = rest;
                ids(first, row * 8, count)?
            }
            (None, _) => numbers(),
        };
        if !faiss.stored_ids {
            return Ok((faiss.numbers(row, count), Some(inner)));
        }
        if maps.is_empty() {
            return Ok((inner, None));
        }
        Ok((self.mapped(maps, inner.clone())?, Some(inner)))
    }

    /// Looks the ids of the inner index up in tables.
    fn mapped(&self, maps: &[View], mut ids: Vec<i64>) -> Result<Vec<i64>> {
        for map in maps {
            for id in &mut ids {
                let at = u64::try_from(*id).ok().and_then(|id| id.checked_mul(8));
                let Some(at) = at.filter(|at| *at < map.len()) else {
                    if map.path() != self.faiss.file.path() {
                        return Err(unlisted(self.faiss, *id, map));
                    }
                    let what = format!(
                        "row {id} of the index inside is past the {} ids: rows were removed, \
                         which Faiss does not keep track of in a map over inverted lists",
                        map.len() / 8
                    );
                    return Err(map
                        .corrupt(0, what)
                        .with_kind(Kind::Unsupported)
                        .hint("with `ids: row_number` the vectors can be had without their ids"));
                };
                let mut word = [0; 8];
                map.read(at, &mut word)?;
                *id = i64::from_le_bytes(word);
            }
            // They were anywhere in the map, which may be larger than memory.
            map.give_back();
        }
        Ok(ids)
    }

    /// Rows that have the vector of one that is stored, from this pair of the table on.
    fn duplicates(&mut self, pair: u64, count: u64) -> Result<Part> {
        let faiss = self.faiss;
        let stored = &faiss.rows.stored;
        let Some(table) = &stored.duplicates else {
            return Err(Error::new(
                Kind::Changed,
                "a position past the end of the index",
            ));
        };
        let stretch = match self.stretch.take() {
            Some(stretch) if !stretch.from(pair, 1).is_empty() => stretch,
            _ => Stretch::holding(faiss, table, pair)?,
        };
        let mut gathered = Gathered {
            first: faiss.kept() + pair,
            ..Gathered::default()
        };
        for (row, id) in stretch.from(pair, count) {
            let run = &stored.lists.runs[stored.lists.run_of(*row)];
            self.codes.clear();
            let lists = &stored.lists;
            lists.fetch(&faiss.data, run, row - run.first, 1, &mut self.codes)?;
            let out = &mut gathered.vectors;
            faiss.decoder.decode(run.list, &self.codes, None, out)?;
            gathered.ids.push(*id);
        }
        faiss.data.give_back();
        if !faiss.stored_ids {
            gathered.ids = faiss.numbers(gathered.first, gathered.ids.len() as u64);
        } else if !faiss.rows.maps.is_empty() {
            gathered.ids = self.mapped(&faiss.rows.maps, gathered.ids)?;
        }
        self.stretch = Some(stretch);
        self.part(gathered.ids, gathered.vectors.into(), gathered.first)
    }

    fn part(&self, ids: Vec<i64>, vectors: Bytes, row: u64) -> Result<Part> {
        let faiss = self.faiss;
        Part::of_vectors(&faiss.columns, ids, vectors, faiss.data.path(), row)
    }

    /// Asks for the bytes of the next batch, where they lie together.
    fn ask_ahead(&self, row: u64) {
        let lists = &self.faiss.rows.stored.lists;
        let Some(run) = lists.runs.get(lists.run_of(row)) else {
            return;
        };
        if row < self.end && self.faiss.rows.is_plain() {
            let within = row.saturating_sub(run.first);
            let count = (run.rows - within).min(self.batch_rows).min(self.end - row);
            let (at, len) = (
                run.codes + within * lists.code_bytes,
                count * lists.code_bytes,
            );
            if let Ok(ahead) = self.faiss.data.cut(at, len) {
                ahead.will_need();
            }
        }
    }
}

/// An id that the list of ids has no place for.
fn unlisted(faiss: &Opened, id: i64, list: &View) -> Error {
    let what = format!(
        "has a row labelled {id}, and the list of ids has {} for labels from 0 on",
        list.len() / 8
    );
    Error::path(Kind::Unsupported, faiss.file.path(), what)
        .hint("an index with ids of its own takes none from a list: leave out `ids_file`")
}

impl Gathered {
    fn flush(&mut self, faiss: &Opened, parts: &mut Vec<Part>) -> Result<()> {
        if !self.ids.is_empty() {
            let Gathered {
                first,
                ids,
                vectors,
            } = std::mem::take(self);
            let file = faiss.data.path();
            parts.push(Part::of_vectors(
                &faiss.columns,
                ids,
                vectors.into(),
                file,
                first,
            )?);
        }
        Ok(())
    }
}
