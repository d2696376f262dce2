//! How is a range of keys queried, and is it complete? Rows, keys at a distance, counts, and what comparing them shows.

use arrow_array::ArrayRef;

use super::{Milvus, Stretch};
use crate::batch::{Key, Position};
use crate::error::{Error, Kind, Result};
use crate::milvus::Range;
use crate::milvus::proto::load_state;
use crate::schema::ColumnType;

/// The most queries spent to find out which keys of a page exist more than once.
const QUESTIONS: u32 = 256;

/// A partition or collection to query.
#[derive(Clone, Copy)]
pub struct Asked<'s> {
    pub source: &'s Milvus,
    pub stretch: &'s Stretch,
}

impl<'s> Asked<'s> {
    pub fn of(source: &'s Milvus, stretch: &'s Stretch) -> Asked<'s> {
        Asked { source, stretch }
    }

    /// Whether keys are text.
    pub fn is_text(&self) -> bool {
        matches!(self.stretch.columns.key().kind, ColumnType::VarChar { .. })
    }

    fn range<'r>(&'r self, after: &'r Position, upto: &'r Position) -> Range<'r> {
        let key = |at: &'r Position| match at {
            Position::After(key) => Some(key),
            Position::Start | Position::Row(_) | Position::End => None,
        };
        Range {
            after: key(after),
            upto: key(upto),
            filter: self.source.spec.filter.as_deref(),
        }
    }

    /// All rows of a range.
    pub fn rows(&self, after: &Position, upto: &Position) -> Result<Vec<ArrayRef>> {
        let range = self.range(after, upto);
        let client = &self.stretch.home.client;
        let rows = client.range(&self.stretch.look_up, &range, self.is_text());
        rows.map_err(|e| self.unloaded(e))
    }

    /// The key of the row that has this many rows before it in a range.
    pub fn key_at(&self, after: &Position, upto: &Position, before: u64) -> Result<Option<Key>> {
        let range = self.range(after, upto);
        let client = &self.stretch.home.client;
        let key = client.key_at(&self.stretch.look_up, &range, self.is_text(), before);
        key.map_err(|e| self.unloaded(e))
    }

    /// The number of rows in a range, counting all copies of a key.
    pub fn count(&self, after: &Position, upto: &Position) -> Result<u64> {
        let range = self.range(after, upto);
        let client = &self.stretch.home.client;
        let count = client.count_range(&self.stretch.look_up, &range, self.is_text());
        count.map_err(|e| self.unloaded(e))
    }

    fn count_key(&self, key: &Key) -> Result<u64> {
        let filter = self.source.spec.filter.as_deref();
        let client = &self.stretch.home.client;
        let count = client.count_key(&self.stretch.look_up, key, filter);
        count.map_err(|e| self.unloaded(e))
    }

    /// A restarted server reloads what was loaded, which takes a while: until then, it refuses queries that it will
    /// answer later.
    fn unloaded(&self, error: Error) -> Error {
        if error.kind() != Kind::Refused {
            return error;
        }
        let look_up = &self.stretch.look_up;
        let partition = look_up.partition.as_deref();
        let client = &self.stretch.home.client;
        let state = client.load_state(&look_up.collection, partition);
        match state {
            Ok(load_state::LOADING) => {
                let what = format!("{} is being loaded: {}", self.stretch.shown, error.what());
                Error::new(Kind::Busy, what)
            }
            Ok(load_state::NOT_LOADED) => {
                let what = format!(
                    "{} was released while it was being read: {}",
                    self.stretch.shown,
                    error.what()
                );
                Error::new(Kind::Refused, what)
                    .hint("load it again: the same command then continues where this one stopped")
            }
            Err(e) if e.kind().is_silence() => Error::new(Kind::Busy, error.what().to_owned()),
            _ => error,
        }
    }

    /// How many rows of a range share the key of another row. `counted` rows exist, and rows with these keys, in order,
    /// were returned. `None` if rows exist that were not returned.
    pub fn copies(
        &self,
        (after, upto): (&Position, &Position),
        keys: &[Key],
        counted: u64,
        questions: &mut u32,
    ) -> Result<Option<u64>> {
        let given = keys.len() as u64;
        if counted <= given {
            return Ok(Some(0));
        }
        if *questions == 0 && given > 0 {
            return Ok(Some(counted - given));
        }
        *questions = questions.saturating_sub(1);
        let (left, right) = match keys {
            [] => return Ok(None),
            [key] => {
                // Rows with this key, and rows between it and its neighbours.
                let at = Position::After(key.clone());
                let upto_it = self.count(after, &at)?;
                let behind = self.count(&at, upto)?;
                let same = self.count_key(key)?;
                let is_all = behind == 0 && upto_it <= same;
                return Ok(is_all.then(|| same.saturating_sub(1)));
            }
            keys => keys.split_at(keys.len() / 2),
        };
        let middle = Position::After(left[left.len() - 1].clone());
        let in_left = self.count(after, &middle)?;
        let in_right = counted.saturating_sub(in_left);
        let Some(copies) = self.copies((after, &middle), left, in_left, questions)? else {
            return Ok(None);
        };
        let others = self.copies((&middle, upto), right, in_right, questions)?;
        Ok(others.map(|others| copies + others))
    }

    /// How many rows of a range are further copies of the returned keys; `None` if the server counts rows that it does
    /// not return.
    pub fn check_whole(
        &self,
        after: &Position,
        upto: &Position,
        keys: &[Key],
        counted: u64,
    ) -> Result<Option<u64>> {
        let mut questions = QUESTIONS;
        self.copies((after, upto), keys, counted, &mut questions)
    }
}
