//! How is a namespace read? Ids are listed page by page, in byte order, and several pages are fetched in parallel;
//! listed rows that are missing are requested again, and then counted.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::groups;
use super::source::{Pinecone, Stretch};
use super::vectors::{self, Fetched, Rows, Wrong};
use crate::batch::{Cut, Key, Limits, Part, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::source::{Files, Reader, cut};

/// Reads a range of ids, forward.
pub struct Pages<'s> {
    source: &'s Pinecone,
    stretch: &'s Stretch,
    /// The common prefix of all ids of the range.
    prefix: String,
    /// Everything up to this id was read.
    after: Option<String>,
    /// The last id; `None` if there is none.
    last: Option<String>,
    end: Position,
    list: List,
    limits: Limits,
    row: u64,
    cuts: VecDeque<Cut>,
}

/// How far the ids have been listed.
#[derive(Default)]
struct List {
    /// The last id listed.
    at: Option<String>,
    token: Option<String>,
    done: bool,
}

fn id(position: &Position) -> Option<String> {
    match position {
        Position::After(Key::Text(id)) => Some(id.to_string()),
        _ => None,
    }
}

impl<'s> Pages<'s> {
    pub fn new(
        source: &'s Pinecone,
        stretch: &'s Stretch,
        shard: &Shard,
        from: &Position,
        limits: Limits,
    ) -> Pages<'s> {
        let (after, last) = (id(from), id(&shard.end));
        // Ids between two others share their common prefix.
        let prefix = match (&after, &last) {
            (Some(after), Some(last)) => common(after, last),
            _ => "",
        };
        Pages {
            source,
            stretch,
            prefix: prefix.to_owned(),
            list: List {
                done: *from >= shard.end,
                ..List::default()
            },
            after,
            last,
            end: shard.end.clone(),
            limits,
            row: 0,
            cuts: VecDeque::new(),
        }
    }

    /// Reads pages until there are rows, or no more.
    fn read(&mut self) -> Result<()> {
        while self.cuts.is_empty() && !self.list.done {
            let mut ids = Vec::new();
            // As many as are fetched in parallel.
            for _ in 0..self.source.settings.connections {
                if self.list.done {
                    break;
                }
                self.list(&mut ids)?;
            }
            if !ids.is_empty() {
                self.source.pace.take(ids.len() as u64);
                self.fetch(&ids)?;
            }
        }
        Ok(())
    }

    /// Lists a page: adds its ids that come after those already read.
    fn list(&mut self, ids: &mut Vec<String>) -> Result<()> {
        let namespace = &self.stretch.namespace;
        let client = &self.source.client;
        let most = self.source.pace.most(self.source.settings.page);
        let token = self.list.token.clone();
        let page = client.list(namespace, &self.prefix, most, token.as_deref());
        let page = match page {
            // The token has expired: the list starts again, and what was read is skipped.
            Err(error) if error.kind() == Kind::Refused && token.is_some() => {
                tracing::info!("{}: the list starts again: {error:#}", self.stretch.name);
                self.list = List::default();
                client.list(namespace, &self.prefix, most, None)?
            }
            page => page?,
        };
        for id in page.ids {
            if self.list.at.as_ref().is_some_and(|at| *at >= id) {
                let what = format!(
                    "{}: the server lists id {} after {}, which is not byte order",
                    self.stretch.name,
                    crate::json::quoted(&id),
                    crate::json::quoted(self.list.at.as_deref().unwrap_or_default())
                );
                return Err(Error::new(Kind::Refused, what));
            }
            self.list.at = Some(id.clone());
            if self.last.as_ref().is_some_and(|last| id > *last) {
                self.list.done = true;
                return Ok(());
            }
            let behind = ids.last().or(self.after.as_ref());
            if behind.is_none_or(|behind| id > *behind) {
                ids.push(id);
            }
        }
        // A page may be empty although others follow.
        self.list.done = page.next.is_none();
        self.list.token = page.next;
        Ok(())
    }

    /// Fetches rows, and makes batches of them.
    fn fetch(&mut self, ids: &[String]) -> Result<()> {
        let answers = self.answers(ids)?;
        let mut found = Fetched::new();
        for answer in &answers {
            vectors::fetched(answer, &mut found).map_err(|wrong| self.wrong(wrong))?;
        }
        let missing: Vec<String> = ids
            .iter()
            .filter(|id| !found.contains_key(*id))
            .cloned()
            .collect();
        // A row written a moment ago may be listed but not yet be readable.
        let (mut later, mut left) = (Vec::new(), missing);
        for wait_ms in limits::PINECONE_LOOKS_AGAIN_MS {
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(wait_ms));
            let answers = self.answers(&left)?;
            let mut again = Fetched::new();
            for answer in &answers {
                vectors::fetched(answer, &mut again).map_err(|wrong| self.wrong(wrong))?;
            }
            left.retain(|id| !again.contains_key(id));
            later.extend(again.into_iter().map(|(id, row)| (id, row.to_owned())));
        }
        if let Some(first) = left.first() {
            tracing::warn!(
                "{}: {} rows were deleted while they were read; {} is the first",
                self.stretch.name,
                left.len(),
                crate::json::quoted(first)
            );
            let vanished = &self.source.vanished;
            vanished.fetch_add(left.len() as u64, Ordering::Relaxed);
        }
        found.extend(later.iter().map(|(id, row)| (id.clone(), row.as_str())));
        let mut rows = Rows::new(self.stretch.shape);
        for id in ids {
            if let Some(row) = found.get(id) {
                rows.add(id, row).map_err(|wrong| self.wrong(wrong))?;
            }
        }
        self.after = ids.last().cloned();
        if rows.is_empty() {
            return Ok(());
        }
        let columns = self.stretch.columns.clone();
        let page = Part::new(&columns, rows.finish(), &self.stretch.place, self.row)?;
        self.row += page.len() as u64;
        let mut left = page.len();
        for part in cut::pieces(&page, self.limits) {
            left -= part.len();
            let next = match (left, self.list.done) {
                (0, true) => self.end.clone(),
                _ => Position::After(part.key(part.len() - 1)),
            };
            self.cuts.push_back(Cut {
                parts: vec![part],
                next,
            });
        }
        Ok(())
    }

    /// The answers to several parallel requests.
    fn answers(&self, ids: &[String]) -> Result<Vec<Vec<u8>>> {
        let (client, namespace) = (&self.source.client, &self.stretch.namespace);
        let groups = groups(ids);
        let mut answers = Vec::with_capacity(groups.len());
        for some in groups.chunks(self.source.settings.connections) {
            let found: Vec<Result<Vec<u8>>> = std::thread::scope(|scope| {
                let asked = some
                    .iter()
                    .map(|ids| scope.spawn(move || client.fetch(namespace, ids)));
                let asked: Vec<_> = asked.collect();
                let joined = asked.into_iter().map(|asked| asked.join());
                joined
                    .map(|found| found.expect("asking does not panic"))
                    .collect()
            });
            answers.extend(found.into_iter().collect::<Result<Vec<_>>>()?);
        }
        Ok(answers)
    }

    fn wrong(&self, wrong: Wrong) -> Error {
        let name = &self.stretch.name;
        match wrong {
            Wrong::Odd(what) => Error::new(Kind::Refused, format!("{name}: {what}")),
            Wrong::Row { id, what } => {
                let what = format!("{name}: row {} {what}", crate::json::quoted(&id));
                let error = Error::new(Kind::Unsupported, what);
                match error.what().contains("which none of the first rows has") {
                    true => error.hint("`sparse: yes` creates a column for them"),
                    false => error,
                }
            }
        }
    }
}

/// The common prefix of two texts.
fn common<'t>(one: &'t str, two: &str) -> &'t str {
    let same = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b);
    let mut len = same.count();
    while !one.is_char_boundary(len) {
        len -= 1;
    }
    &one[..len]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_begin_alike_up_to_a_whole_character() {
        for (one, two, expected) in [
            ("abc", "abd", "ab"),
            ("", "x", ""),
            ("doc#1", "doc#1", "doc#1"),
            // The first byte of both is the same.
            ("ä", "ö", ""),
            ("xä1", "xä", "xä"),
        ] {
            assert_eq!(common(one, two), expected);
        }
    }
}
