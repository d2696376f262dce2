//! The sink of the simulation, and what can be taken out of the rules.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use milvusdm::batch::{Batch, Keys, Limits, Target, TargetName};
use milvusdm::buffers::Buffer;
use milvusdm::error::{Error, Kind, Result};
use milvusdm::sink::held::Held;
use milvusdm::sink::{
    Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, Strength,
};

use super::Random;
use super::place::Places;
use super::server::{Request, Rows, Server, World, strange};

/// What is taken out of the rules, to see the test fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    None,
    /// Batches in doubt go as they went the first time.
    BlindResend,
    /// Nobody recorded what may be on its way.
    NoWindows,
    /// Batches that were sent more than once are not looked after.
    NoLookAfter,
    /// The verdict does not know which batches were sent more than once.
    Believes,
    /// What was not there when it was decided on is not looked at again before it is filled.
    NoLookAgain,
    /// What is replaced is known by its name.
    DropsByName,
    /// What an earlier start decided is forgotten.
    DecidesAnew,
    /// Nobody recorded that a target was prepared.
    NoPrepared,
    /// Places do not have numbers.
    NoPlaces,
    /// What takes too long is no matter of how much is sent.
    NeverSmaller,
    /// What is refused after it was done is taken for what is refused at once.
    TakenForTooBig,
    /// Halves of a batch in doubt go as if they had never been sent.
    HalvesAnew,
    /// An error among the steps at the end begins them anew.
    FinishesAnew,
    /// Rows that go after the steps at the end are not followed by these.
    NoStepBack,
    /// The collection is flushed for each target in it.
    FlushesEach,
}

/// So many bytes a row: enough for sizes to matter.
const ROW: &[u8] = &[0; 64 << 10];
/// A life of the loader that delivers more often does not get on.
const DELIVERIES_MAX: u64 = 5000;

/// A sink that misbehaves by its seed.
pub struct Faulty {
    pub server: Arc<Server>,
    pub random: Mutex<Random>,
    pub dead: AtomicBool,
    pub deliveries: AtomicU64,
    pub dies_at: u64,
    pub calm: bool,
    pub world: World,
    pub mutant: Mutant,
    pub places: Places,
    /// Rows on their way.
    pub out: AtomicU64,
    /// Rows of each batch as it was cut.
    pub whole: Mutex<HashMap<(u32, u32), u32>>,
}

impl Faulty {
    pub fn chance(&self, one_in: u64) -> bool {
        self.random.lock().unwrap().one_in(one_in)
    }

    pub fn alive(&self) -> Result<()> {
        match self.dead.load(Ordering::SeqCst) {
            true => Err(Error::new(Kind::Io, "the loader is dead")),
            false => Ok(()),
        }
    }

    fn store(&self, parcel: &Parcel, upsert: bool) {
        self.server.store(request(parcel, upsert));
    }

    /// A request that nobody answers: it is carried out, later or never.
    fn lose(&self, parcel: &Parcel, upsert: bool) {
        let (arrives, wait) = {
            let mut random = self.random.lock().unwrap();
            (random.one_in(2), random.next() % 6)
        };
        if arrives {
            let wait = if self.world.late { wait } else { 0 };
            self.server.store_later(wait, request(parcel, upsert));
        }
    }

    /// Whether a request is an upsert.
    fn upserts(&self, parcel: &Parcel, attempt: Attempt) -> bool {
        let whole = self.whole.lock().unwrap();
        let is_half = whole.get(&(parcel.id.shard, parcel.id.index)) > Some(&parcel.rows);
        attempt == Attempt::Again && !(is_half && self.mutant == Mutant::HalvesAnew)
    }

    /// What comes of a request that is on its way, by the line it takes.
    fn line(&self, parcel: &Parcel, upsert: bool, out: u64) -> Result<()> {
        let World { slow, limited, .. } = self.world;
        if slow > 0 && out > slow {
            self.lose(parcel, upsert);
            return Err(match self.mutant {
                Mutant::NeverSmaller => Error::new(Kind::Lost, "no answer"),
                _ => Error::new(Kind::Slow, "no answer in time"),
            });
        }
        if limited > 0 && u64::from(parcel.rows) > limited {
            self.store(parcel, upsert);
            return Err(match self.mutant {
                Mutant::TakenForTooBig => Error::new(Kind::TooBig, "too big"),
                _ => Error::new(Kind::TooMuch, "the answer is too big"),
            });
        }
        Ok(())
    }
}

fn request(parcel: &Parcel, upsert: bool) -> Request {
    let parts = parcel.batch.parts.iter();
    let ids = parts.flat_map(|p| p.ids().to_vec()).collect();
    (parcel.batch.target, ids, upsert)
}

impl Sink for Faulty {
    fn describe(&self) -> String {
        "simulation".to_owned()
    }
    fn limits(&self, wanted: Limits) -> Limits {
        wanted
    }
    fn name(&self, source: &TargetName) -> TargetName {
        source.clone()
    }
    fn keyed(&self, _: Keys) -> bool {
        true
    }
    fn remote(&self) -> bool {
        true
    }
    fn decide(&self, target: &Target) -> Result<Decision> {
        Ok(self.decision(target))
    }
    fn prepare(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()> {
        self.make_ready(target, decision, begun)
    }
    fn place(&self, target: &Target) -> Result<u64> {
        Ok(self.number(target))
    }
    fn pack(&self, batch: Batch, _: Buffer) -> Result<Parcel> {
        let rows = batch.rows();
        let mut whole = self.whole.lock().unwrap();
        let key = (batch.id.shard, batch.id.index);
        whole.entry(key).or_insert(rows as u32);
        Ok(Parcel {
            id: batch.id,
            rows: rows as u32,
            payload_bytes: rows * 12,
            digest: rows,
            body: vec![Bytes::from_static(ROW); rows as usize],
            left_out: Vec::new(),
            batch,
        })
    }
    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt> {
        self.alive()?;
        self.server.arrive();
        let (fate, drops, strange_now) = {
            let mut random = self.random.lock().unwrap();
            let drops = self.world.drops > 0 && random.one_in(self.world.drops);
            (random.next() % 10, drops, random.one_in(8))
        };
        if self.world.strangers
            && strange_now
            && !self.server.strangers_wrote.swap(true, Ordering::SeqCst)
        {
            self.server.insert(0, strange());
        }
        let upsert = self.upserts(parcel, attempt);
        let delivery = self.deliveries.fetch_add(1, Ordering::SeqCst);
        if delivery == self.dies_at {
            self.lose(parcel, upsert);
            self.dead.store(true, Ordering::SeqCst);
            return self.alive().map(|()| unreachable!("it is dead"));
        }
        if delivery > DELIVERIES_MAX {
            return Err(Error::new(Kind::Refused, "it does not get on"));
        }
        match if self.calm { 9 } else { fate } {
            0 => return Err(Error::new(Kind::Busy, "later")),
            1 => return Err(Error::new(Kind::Unreachable, "nobody there")),
            2 if parcel.rows > 1 => return Err(Error::new(Kind::TooBig, "too big")),
            3 => {
                self.lose(parcel, upsert);
                return Err(Error::new(Kind::Lost, "no answer"));
            }
            _ => {}
        }
        let rows = u64::from(parcel.rows);
        let out = rows + self.out.fetch_add(rows, Ordering::SeqCst);
        std::thread::yield_now();
        let passed = self.line(parcel, upsert, out);
        self.out.fetch_sub(rows, Ordering::SeqCst);
        passed?;
        if drops {
            self.server.dropped.store(true, Ordering::SeqCst);
        } else {
            self.store(parcel, upsert);
        }
        Ok(Receipt {
            rows: parcel.rows,
            upserted: upsert,
        })
    }
    fn redelivery(&self, _: &Target, _: &Decision) -> Redelivery {
        Redelivery::Harmless
    }
    fn resumable(&self) -> bool {
        true
    }
    fn finish(&self, target: &Target) -> Result<Finishing> {
        self.advance(target)
    }
    fn unfinish(&self, _: &Target) {
        self.step_back();
    }
    fn replaces(&self) -> bool {
        self.mutant != Mutant::NoLookAfter
    }
    fn count(&self, target: &Target) -> Result<Count> {
        let place = self.server.place(target.number).unwrap_or_default();
        Ok(match self.world.loaded {
            true => Count {
                rows: place.rows.len() as u64,
                strength: Strength::Exact,
            },
            false => Count {
                rows: place.came,
                strength: Strength::Statistics,
            },
        })
    }
    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>> {
        Ok(match self.world.loaded {
            true => Held::Rows(Box::new(Rows(&self.server, target.number))),
            false => Held::Hidden {
                why: "not loaded".to_owned(),
                hint: String::new(),
            },
        })
    }
    fn abandon(&self, _: &Target, _: &Decision) -> Option<String> {
        None
    }
}
