//! What the simulated destination holds, and what outlives a loader.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use milvusdm::batch::{Batch, Key};
use milvusdm::error::Result;
use milvusdm::sink::held::{Compared, Holder, Way, What};

use super::Random;

/// What a seed's world is like.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Rows can be read and counted exactly; else there are statistics of all that ever came.
    pub loaded: bool,
    /// Requests without an answer may be carried out later than their successors.
    pub late: bool,
    /// One in so many requests is acknowledged and dropped; 0: none.
    pub drops: u64,
    /// Somebody else writes rows of other keys.
    pub strangers: bool,
}

impl World {
    pub fn of(random: &mut Random) -> World {
        World {
            loaded: random.one_in(2),
            late: random.one_in(2),
            drops: if random.one_in(3) { 12 } else { 0 },
            strangers: random.one_in(6),
        }
    }
}

/// Keys of strangers begin here; they write more rows than the job has, so that no count hides them.
pub const STRANGE: i64 = 1_000_000;
pub const STRANGE_ROWS: i64 = 1000;

/// A request: the target, the keys, and whether it is an upsert.
pub type Request = (u32, Vec<i64>, bool);

/// What outlives a loader: rows as a server that does not enforce keys keeps them.
#[derive(Default)]
pub struct Server {
    pub rows: Mutex<HashMap<u32, Vec<i64>>>,
    /// Rows that ever came, for statistics.
    pub came: Mutex<HashMap<u32, u64>>,
    /// Requests on their way, and after how many more they arrive.
    pub late: Mutex<Vec<(u64, Request)>>,
    /// Whether something was acknowledged and dropped.
    pub dropped: AtomicBool,
    pub strangers_wrote: AtomicBool,
    /// Targets that were being finished: what is late arrives before that is done.
    pub finishing: AtomicBool,
}

impl Server {
    pub fn store(&self, (target, ids, upsert): Request) {
        let mut rows = self.rows.lock().unwrap();
        let kept = rows.entry(target).or_default();
        if upsert {
            kept.retain(|id| !ids.contains(id));
        }
        *self.came.lock().unwrap().entry(target).or_default() += ids.len() as u64;
        kept.extend(ids);
    }

    /// Time passes: what is due arrives, or all of it.
    pub fn arrive(&self, all: bool) {
        let mut late = self.late.lock().unwrap();
        let (due, still) = std::mem::take(&mut *late)
            .into_iter()
            .map(|(wait, request)| (wait.saturating_sub(1), request))
            .partition::<Vec<_>, _>(|(wait, _)| all || *wait == 0);
        *late = still;
        drop(late);
        due.into_iter().for_each(|(_, request)| self.store(request));
    }
}

/// Rows by key, as a loaded collection gives them.
pub struct Rows<'s>(pub &'s Server, pub u32);

impl Rows<'_> {
    fn count(&self, id: i64) -> u64 {
        let rows = self.0.rows.lock().unwrap();
        let kept = rows.get(&self.1);
        kept.map_or(0, |kept| {
            kept.iter().filter(|one| **one == id).count() as u64
        })
    }
}

impl Holder for Rows<'_> {
    fn way(&self) -> Way {
        Way::ById
    }
    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        let mut compared = Compared::default();
        for part in &batch.parts {
            for (row, id) in part.ids().iter().enumerate() {
                match self.count(*id) {
                    0 => compared.differs(part, row, What::Missing),
                    1 => compared.rows += 1,
                    n => compared.differs(part, row, What::Copies(n)),
                }
            }
        }
        Ok(compared)
    }
    fn copies(&mut self, keys: &[Key]) -> Result<Option<u64>> {
        let count = |key: &Key| match key {
            Key::Int(id) => self.count(*id),
            Key::Text(_) => 0,
        };
        Ok(Some(keys.iter().map(count).sum()))
    }
}
