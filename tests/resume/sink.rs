//! The sink of the simulation, and what can be taken out of the rules.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use milvusdm::batch::{Batch, Keys, Limits, Target, TargetName};
use milvusdm::buffers::Buffer;
use milvusdm::error::{Error, Kind, Result};
use milvusdm::sink::held::Held;
use milvusdm::sink::{
    Action, Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, Strength,
};

use super::Random;
use super::server::{Request, Rows, STRANGE, STRANGE_ROWS, Server, World};

/// What is taken out of the in-doubt rule, to see the test fail.
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
}

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
}

impl Faulty {
    fn store(&self, parcel: &Parcel, upsert: bool) {
        self.server.store(request(parcel, upsert));
    }

    /// A request that nobody answers: it is carried out, later or never.
    fn lose(&self, parcel: &Parcel, upsert: bool) {
        let (arrives, wait) = {
            let mut random = self.random.lock().unwrap();
            (random.one_in(2), random.next() % 6)
        };
        let finishing = self.server.finishing.load(Ordering::SeqCst);
        match arrives {
            true if self.world.late && wait > 0 && !finishing => {
                let mut late = self.server.late.lock().unwrap();
                late.push((wait, request(parcel, upsert)));
            }
            true => self.store(parcel, upsert),
            false => {}
        }
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
    fn decide(&self, _: &Target) -> Result<Decision> {
        Ok(Decision {
            removes: None,
            replaces: 0,
            action: Action::Create,
            rows_before: 0,
            ours: true,
            why: "simulated".to_owned(),
        })
    }
    fn prepare(&self, target: &Target, _: &Decision, begun: bool) -> Result<()> {
        if !begun {
            self.server
                .rows
                .lock()
                .unwrap()
                .insert(target.number, Vec::new());
        }
        Ok(())
    }
    fn pack(&self, batch: Batch, _: Buffer) -> Result<Parcel> {
        let rows = batch.rows();
        Ok(Parcel {
            id: batch.id,
            rows: rows as u32,
            payload_bytes: rows * 12,
            digest: rows,
            body: vec![Bytes::from(vec![0; rows as usize])],
            left_out: Vec::new(),
            batch,
        })
    }
    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt> {
        let lost = || Error::new(Kind::Lost, "no answer");
        if self.dead.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Refused, "the loader is dead"));
        }
        self.server.arrive(false);
        let (fate, drops, strange) = {
            let mut random = self.random.lock().unwrap();
            let drops = self.world.drops > 0 && random.one_in(self.world.drops);
            (random.next() % 10, drops, random.one_in(8))
        };
        if self.world.strangers
            && strange
            && !self.server.strangers_wrote.swap(true, Ordering::SeqCst)
        {
            let ids = (STRANGE..STRANGE + STRANGE_ROWS).collect();
            self.server.store((0, ids, false));
        }
        let upsert = attempt == Attempt::Again;
        if self.deliveries.fetch_add(1, Ordering::SeqCst) == self.dies_at {
            self.lose(parcel, upsert);
            self.dead.store(true, Ordering::SeqCst);
            return Err(Error::new(Kind::Refused, "killed here"));
        }
        match if self.calm { 9 } else { fate } {
            0 => return Err(Error::new(Kind::Busy, "later")),
            1 => return Err(Error::new(Kind::Unreachable, "nobody there")),
            2 if parcel.rows > 1 => return Err(Error::new(Kind::TooBig, "too big")),
            3 => {
                self.lose(parcel, upsert);
                return Err(lost());
            }
            _ => {}
        }
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
    fn finish(&self, _: &Target) -> Result<Finishing> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Refused, "the loader is dead"));
        }
        // Finishing takes longer than anything is late.
        self.server.finishing.store(true, Ordering::SeqCst);
        self.server.arrive(true);
        Ok(Finishing::Done)
    }
    fn replaces(&self) -> bool {
        self.mutant != Mutant::NoLookAfter
    }
    fn count(&self, target: &Target) -> Result<Count> {
        if !self.world.loaded {
            let came = self.server.came.lock().unwrap();
            return Ok(Count {
                rows: came.get(&target.number).copied().unwrap_or(0),
                strength: Strength::Statistics,
            });
        }
        let rows = self.server.rows.lock().unwrap();
        Ok(Count {
            rows: rows.get(&target.number).map_or(0, |r| r.len() as u64),
            strength: Strength::Exact,
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
