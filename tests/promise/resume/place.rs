//! How the simulated sink decides, makes ready and finishes: as the sinks of real servers do, with deaths and failures
//! between any two steps.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use milvusdm::batch::Target;
use milvusdm::error::{Error, Kind, Result};
use milvusdm::progress::Phase;
use milvusdm::sink::{Action, Decision, Finishing};

use super::sink::{Faulty, Mutant};

/// How far the end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Step {
    #[default]
    Full,
    Flushing(u32),
    Flushed,
    Indexing(u32),
    Done,
}

/// What a life of the loader knows of places.
pub struct Places {
    /// Targets that do not have all their rows.
    unfilled: Mutex<HashSet<u32>>,
    step: Mutex<Step>,
    /// How often each step was acknowledged since the last time that it had to be taken again.
    begun: Mutex<HashMap<&'static str, u32>>,
    /// Deeds so far, and after how many the loader dies.
    deeds: AtomicU64,
    dies_at: u64,
}

impl Places {
    pub fn new(dies_at: u64) -> Places {
        Places {
            unfilled: Mutex::default(),
            step: Mutex::default(),
            begun: Mutex::default(),
            deeds: AtomicU64::new(0),
            dies_at,
        }
    }
}

impl Faulty {
    pub fn decision(&self, target: &Target) -> Decision {
        let (action, replaces) = match self.server.place(target.number) {
            None => (Action::Create, 0),
            Some(place) => (Action::Replace, place.number),
        };
        Decision {
            removes: None,
            replaces,
            action,
            rows_before: 0,
            ours: true,
            why: "simulated".to_owned(),
        }
    }

    /// Dies here, perhaps.
    fn deed(&self) -> Result<()> {
        if self.places.deeds.fetch_add(1, Ordering::SeqCst) == self.places.dies_at {
            self.dead.store(true, Ordering::SeqCst);
        }
        self.alive()
    }

    pub fn make_ready(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()> {
        let number = target.number;
        self.deed()?;
        if self.world.meddlers && !begun && number == 0 && self.chance(12) {
            self.server.meddle();
        }
        let there = self.server.place(number);
        match (begun, there) {
            (true, Some(_)) => {}
            (true, None) => return Err(Error::new(Kind::Refused, "it is gone")),
            (false, there) => {
                let old = there.filter(|place| {
                    decision.action == Action::Replace
                        && (place.number == decision.replaces || self.mutant == Mutant::DropsByName)
                });
                if old.is_some() {
                    self.server.remove(number);
                    self.deed()?;
                }
                match self.server.place(number) {
                    Some(place) if !place.rows.is_empty() && self.mutant != Mutant::NoLookAgain => {
                        return Err(Error::new(Kind::Refused, "somebody made and filled it"));
                    }
                    Some(_) => {}
                    None => self.server.make(number),
                }
                self.deed()?;
            }
        }
        self.places.unfilled.lock().unwrap().insert(number);
        Ok(())
    }

    pub fn number(&self, target: &Target) -> u64 {
        match self.mutant {
            Mutant::NoPlaces => 0,
            _ => self.server.place(target.number).map_or(0, |p| p.number),
        }
    }

    /// A step was acknowledged: a second time is once too often.
    fn acknowledged(&self, what: &'static str) {
        let mut begun = self.places.begun.lock().unwrap();
        let times = begun.entry(what).or_default();
        *times += 1;
        if *times > 1 {
            self.server.twice.store(true, Ordering::SeqCst);
        }
    }

    /// The next step for the collection that all targets are in: the last target to be full has it flushed.
    pub fn advance(&self, target: &Target) -> Result<Finishing> {
        self.deed()?;
        // What is late is not as late as this.
        self.server.arrive_all(target.number);
        let mut unfilled = self.places.unfilled.lock().unwrap();
        unfilled.remove(&target.number);
        if !unfilled.is_empty() && self.mutant != Mutant::FlushesEach {
            return Ok(Finishing::Done);
        }
        drop(unfilled);
        let mut step = self.places.step.lock().unwrap();
        if self.world.shaky && self.chance(4) {
            if self.mutant == Mutant::FinishesAnew {
                *step = Step::Full;
            }
            return Err(Error::new(Kind::Lost, "no answer"));
        }
        let doing = |phase, figure: u32| Finishing::Doing {
            phase,
            figure: u64::from(figure),
            percent: None,
        };
        let (next, told) = match *step {
            Step::Full => {
                self.server.flush();
                self.acknowledged("flush");
                (Step::Flushing(0), doing(Phase::Flushing, 0))
            }
            Step::Flushing(2) => (Step::Flushed, Finishing::Next),
            Step::Flushing(n) => (Step::Flushing(n + 1), doing(Phase::Flushing, n + 1)),
            Step::Flushed => {
                self.acknowledged("index");
                (Step::Indexing(0), doing(Phase::Indexing, 0))
            }
            Step::Indexing(2) => (Step::Done, Finishing::Done),
            Step::Indexing(n) => (Step::Indexing(n + 1), doing(Phase::Indexing, n + 1)),
            Step::Done if self.mutant == Mutant::FlushesEach => (Step::Full, Finishing::Done),
            Step::Done => (Step::Done, Finishing::Done),
        };
        *step = next;
        Ok(told)
    }

    /// Rows came after the steps were taken.
    pub fn step_back(&self) {
        if self.mutant != Mutant::NoStepBack {
            *self.places.step.lock().unwrap() = Step::Full;
            self.places.begun.lock().unwrap().clear();
        }
    }
}
