//! What the simulated destination holds, and what outlives a loader.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// Somebody else makes, or drops and makes anew, what the job is about to fill.
    pub meddlers: bool,
    /// The first target is there, with rows, and is replaced.
    pub replaces: bool,
    /// More rows than this on their way at a time take too long; 0: none do.
    pub slow: u64,
    /// Answers to more rows than this are too big for a gateway: they are refused, and what was asked is done; 0: none.
    pub limited: u64,
    /// Steps at the end fail now and then.
    pub shaky: bool,
    /// Targets of one row besides those that are always there.
    pub small: u32,
}

impl World {
    pub fn of(random: &mut Random) -> World {
        let mut some = |one_in: u64, most: u64| match random.one_in(one_in) {
            true => 1 + random.next() % most,
            false => 0,
        };
        let (slow, limited) = (some(8, 3), some(6, 3));
        let small = some(4, 5) as u32 + some(50, 80) as u32;
        let strangers = random.one_in(6);
        World {
            loaded: random.one_in(2),
            late: random.one_in(2),
            drops: if random.one_in(3) { 12 } else { 0 },
            strangers,
            meddlers: !strangers && random.one_in(6),
            replaces: random.one_in(3),
            slow,
            limited,
            shaky: random.one_in(3),
            small,
        }
    }
}

/// Keys of strangers begin here; they write more rows than the job has, so that no count hides them.
pub const STRANGE: i64 = 1_000_000;
pub const STRANGE_ROWS: i64 = 1000;
/// Keys of what is replaced.
const OLD: std::ops::Range<i64> = 500_000..500_007;

/// A request: the target, the keys, and whether it is an upsert.
pub type Request = (u32, Vec<i64>, bool);

/// Where the rows of a target are, as a server that does not enforce keys keeps them.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// No two places ever have the same.
    pub number: u64,
    pub rows: Vec<i64>,
    /// Rows that ever came, for statistics.
    pub came: u64,
    /// Rows of the job came since it was last flushed.
    pub unflushed: bool,
}

/// What outlives a loader.
#[derive(Default)]
pub struct Server {
    places: Mutex<HashMap<u32, Place>>,
    made: AtomicU64,
    /// Requests on their way, and after how many more they arrive.
    late: Mutex<Vec<(u64, Request)>>,
    /// Whether something was acknowledged and dropped.
    pub dropped: AtomicBool,
    pub strangers_wrote: AtomicBool,
    /// Whether somebody put a place of theirs where the first target was, or was to be.
    pub meddled: AtomicBool,
    /// Targets that were being finished: what is late arrives before that is done.
    finishing: Mutex<HashSet<u32>>,
    /// A step at the end was taken again although its answer had come.
    pub twice: AtomicBool,
}

impl Server {
    pub fn of(world: World) -> Server {
        let server = Server::default();
        if world.replaces {
            server.make(0);
            server.insert(0, OLD.collect());
        }
        server
    }

    pub fn places(&self) -> HashMap<u32, Place> {
        self.places.lock().unwrap().clone()
    }

    pub fn place(&self, target: u32) -> Option<Place> {
        self.places.lock().unwrap().get(&target).cloned()
    }

    pub fn make(&self, target: u32) {
        let number = 1 + self.made.fetch_add(1, Ordering::SeqCst);
        let place = Place {
            number,
            ..Place::default()
        };
        self.places.lock().unwrap().insert(target, place);
    }

    /// What is still on its way to a place that is gone never arrives.
    pub fn remove(&self, target: u32) {
        self.late
            .lock()
            .unwrap()
            .retain(|(_, (to, ..))| *to != target);
        self.places.lock().unwrap().remove(&target);
    }

    /// Somebody puts a place of theirs where the first target is, or is to be.
    pub fn meddle(&self) {
        if !self.meddled.swap(true, Ordering::SeqCst) {
            self.remove(0);
            self.make(0);
            self.insert(0, strange());
        }
    }

    /// Rows of somebody else.
    pub fn insert(&self, target: u32, ids: Vec<i64>) {
        if let Some(place) = self.places.lock().unwrap().get_mut(&target) {
            place.came += ids.len() as u64;
            place.rows.extend(ids);
        }
    }

    pub fn store(&self, (target, ids, upsert): Request) {
        if let Some(place) = self.places.lock().unwrap().get_mut(&target) {
            if upsert {
                place.rows.retain(|id| !ids.contains(id));
            }
            place.came += ids.len() as u64;
            place.rows.extend(ids);
            place.unflushed = true;
        }
    }

    /// A request is carried out after so many others.
    pub fn store_later(&self, wait: u64, request: Request) {
        match wait > 0 && !self.finishing.lock().unwrap().contains(&request.0) {
            true => self.late.lock().unwrap().push((wait, request)),
            false => self.store(request),
        }
    }

    /// Time passes: what is due arrives.
    pub fn arrive(&self) {
        let mut late = self.late.lock().unwrap();
        let (due, still) = std::mem::take(&mut *late)
            .into_iter()
            .map(|(wait, request)| (wait.saturating_sub(1), request))
            .partition::<Vec<_>, _>(|(wait, _)| *wait == 0);
        *late = still;
        drop(late);
        due.into_iter().for_each(|(_, request)| self.store(request));
    }

    /// So much time passes that all there is for a target arrives.
    pub fn arrive_all(&self, target: u32) {
        self.finishing.lock().unwrap().insert(target);
        let mut late = self.late.lock().unwrap();
        let (due, still) = std::mem::take(&mut *late)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, (to, ..))| *to == target);
        *late = still;
        drop(late);
        due.into_iter().for_each(|(_, request)| self.store(request));
    }

    pub fn flush(&self) {
        let mut places = self.places.lock().unwrap();
        places
            .values_mut()
            .for_each(|place| place.unflushed = false);
    }
}

/// The keys that strangers write.
pub fn strange() -> Vec<i64> {
    (STRANGE..STRANGE + STRANGE_ROWS).collect()
}

/// Rows by key, as a loaded collection gives them.
pub struct Rows<'s>(pub &'s Server, pub u32);

impl Rows<'_> {
    fn count(&self, id: i64) -> u64 {
        let places = self.0.places.lock().unwrap();
        let place = places.get(&self.1);
        place.map_or(0, |place| {
            place.rows.iter().filter(|one| **one == id).count() as u64
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
