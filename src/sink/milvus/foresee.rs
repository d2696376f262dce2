//! What will a run do besides delivering rows, and will the server accept it? Metric, index, load, the basis of the
//! count. Only looks; to prove an index it creates a collection of its own, and removes it again.

use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::job::Verify;
use crate::milvus::NewCollection;
use crate::schema::CollectionTraits;
use crate::sink::{Action, Decision, Foreseen};

use super::Milvus;
use super::columns;
use super::fit::{self, IndexPlan};

/// Types of index that Milvus has had so far.
const KINDS: [&str; 27] = [
    "FLAT",
    "IVF_FLAT",
    "IVF_SQ8",
    "IVF_PQ",
    "IVF_RABITQ",
    "HNSW",
    "HNSW_SQ",
    "HNSW_PQ",
    "HNSW_PRQ",
    "SCANN",
    "DISKANN",
    "AUTOINDEX",
    "BIN_FLAT",
    "BIN_IVF_FLAT",
    "GPU_IVF_FLAT",
    "GPU_IVF_PQ",
    "GPU_BRUTE_FORCE",
    "GPU_CAGRA",
    "IVF_SQ8H",
    "IVF_FLAT_CC",
    "ANNOY",
    "RHNSW_FLAT",
    "RHNSW_SQ",
    "RHNSW_PQ",
    "NSG",
    "MINHASH_LSH",
    "SPARSE_INVERTED_INDEX",
];

impl Milvus {
    pub(super) fn foreseen(&self, target: &Target, decision: &Decision) -> Result<Foreseen> {
        let settings = &self.settings;
        let index = fit::indexes(target, settings)?;
        let in_source = target.metric();
        let vectors: Vec<_> = target.columns.vectors().map(|(_, column)| column).collect();
        // The metric and an existing index are those of the first vector.
        let (there, metric) = match vectors.first() {
            Some(first) => {
                let there = match decision.action {
                    Action::Append | Action::Skip => {
                        self.seen_index(&target.name.collection, &first.name)?
                    }
                    _ => None,
                };
                (there, fit::metric(first, settings, vectors.len() == 1)?)
            }
            None => (None, None),
        };
        let metric = match &there {
            Some(there) => Some(there.metric.clone()),
            None => metric.map(|m| m.name().to_owned()),
        };
        let said_by = match (&there, &settings.metric, in_source) {
            (Some(_), ..) => "the existing index".to_owned(),
            (None, Some(job), Some(source)) if job != source => {
                format!("the job; the source has {}", source.name())
            }
            (None, Some(_), None) => "the job; the source has none".to_owned(),
            (None, Some(_), Some(_)) => "the job and the source".to_owned(),
            (None, None, _) => "the source".to_owned(),
        };
        let is_loaded = match decision.action {
            Action::Append | Action::Skip => {
                self.client.is_loaded(&target.name.collection, None)?
            }
            _ => false,
        };
        let skips = decision.action == Action::Skip;
        let others = fit::other_indexes(target, settings);
        let others = others
            .iter()
            .map(|(field, _, plan)| format!("; {field}: {plan}"));
        let others: String = others.collect();
        Ok(Foreseen {
            way: match skips {
                true => String::new(),
                false => self.way(target),
            },
            metric_in_target: metric.map(|metric| (metric, said_by)),
            index: match (&there, index.as_slice()) {
                (Some(there), _) => format!("{} with metric {}, which exists and is kept", there.kind, there.metric),
                (None, [_, ..]) if skips => "none".to_owned(),
                (None, [(_, plan)]) => format!("{plan}{others}, created once all rows are in; a run has the server try it first"),
                (None, plans @ [_, ..]) => {
                    let plans: Vec<String> = plans.iter().map(|(field, plan)| format!("{field}: {plan}")).collect();
                    format!("{}{others}, created once all rows are in", plans.join("; "))
                }
                (None, []) => "none is created: searches choose the metric, and a collection without an index cannot be loaded".to_owned(),
            },
            load: match settings.load && !skips {
                true => "once all rows are in",
                false if is_loaded => "is already loaded",
                false => "no",
            },
            rests_on: match self.run.verify {
                Verify::Off => "acknowledgements: nothing is counted (`verify: off`)",
                _ if settings.load || is_loaded => "an exact count: the collection is loaded",
                _ => "the server's statistics: the collection is not loaded",
            },
        })
    }

    /// How rows reach the server, and why.
    fn way(&self, target: &Target) -> String {
        match &self.bulk {
            Some(bulk) => bulk.way(target, self.client.server()),
            None => {
                "inserts: the job has no `bulk`, with which the server would import files itself"
                    .to_owned()
            }
        }
    }

    /// Has the server check type and parameters of an index before anything is removed or sent.
    pub(super) fn prove_index(&self, target: &Target, decision: &Decision) -> Result<()> {
        let mut plans = fit::indexes(target, &self.settings)?;
        let kind = |field: &str| {
            let mut columns = target.columns.all().iter();
            columns.find(|c| c.name == field).map(|c| c.kind)
        };
        plans.retain(|(field, plan)| {
            let proven = kind(field).map(|kind| (plan.clone(), kind));
            !proven.is_some_and(|proven| self.state().proven.contains(&proven))
        });
        if decision.action == Action::Skip || plans.is_empty() {
            return Ok(());
        }
        let kept = decision.action == Action::Append || !target.name.partition.is_empty();
        // An existing index has been compared with the wanted one.
        if kept && let Some(found) = self.seen(&target.name.collection)? {
            let mut open = Vec::new();
            for (field, plan) in plans {
                if self.seen_index(&found.name, &field)?.is_none() {
                    open.push((field, plan));
                }
            }
            plans = open;
            if plans.is_empty() {
                return Ok(());
            }
        }
        let name = proof_name();
        let made = self.client.create_collection(&NewCollection {
            name: &name,
            description: "created by milvusdm to try an index, and removed at once",
            columns: &target.columns,
            traits: &CollectionTraits::default(),
            consistency: None,
            nullable: &|column| columns::is_nullable(column, self.client.server()),
            auto_id: false,
            shards: 1,
        });
        if let Err(error) = made {
            if error.kind().is_silence() {
                return Err(error);
            }
            // The job's user may have access only to the job's collection.
            warn!("the index could not be tried beforehand: {error:#}");
            return Ok(());
        }
        let tried = plans.iter().try_for_each(|(field, plan)| {
            let tried = self.client.create_index(&name, field, "", plan.extra_params());
            tried.map_err(|error| match error.kind() {
                Kind::Refused => {
                    let what = format!("the server refuses the index {plan}: {}", error.what());
                    Error::new(Kind::Refused, what).hint(format!(
                        "`sink.milvus.index` (classic jobs: `index`) sets its type and params{}; nothing was sent, created \
                         or removed",
                        missing(plan)
                    ))
                }
                _ => error,
            })
        });
        let gone = self.client.drop_collection(&name);
        if let Err(error) = gone {
            warn!("collection {name}, created to try the index, could not be removed: {error:#}");
        }
        tried?;
        for (field, plan) in plans {
            let kind = kind(&field).expect("plans are of the target's columns");
            self.state().proven.insert((plan, kind));
        }
        Ok(())
    }
}

/// The end of a sentence about missing parameters that this type of index needs before Milvus 2.4.
fn missing(plan: &IndexPlan) -> String {
    let needed: &[&str] = match plan.kind.as_str() {
        "HNSW" => &["M", "efConstruction"],
        "IVF_FLAT" | "IVF_SQ8" | "BIN_IVF_FLAT" | "SCANN" => &["nlist"],
        "IVF_PQ" => &["nlist", "m"],
        _ => &[],
    };
    let lacks = |name: &&&str| !plan.params.iter().any(|(given, _)| given == **name);
    let missing: Vec<&str> = needed.iter().filter(lacks).copied().collect();
    match missing.is_empty() {
        true => String::new(),
        false => format!("; {} needs {}", plan.kind, missing.join(" and ")),
    }
}

/// A warning about a type of index that no Milvus has had, with a suggestion if there is one.
pub(super) fn unknown_kind(plan: &IndexPlan) -> Option<String> {
    // Swapped letters are surely a mistake, and reported as an error.
    if KINDS.contains(&plan.kind.as_str()) || swapped(&plan.kind).is_some() {
        return None;
    }
    let meant = crate::job::did_you_mean(&plan.kind, &KINDS);
    let meant = meant.map(|meant| format!(" ({meant})")).unwrap_or_default();
    Some(format!(
        "no Milvus known to this program has an index `{}`{meant}: the server is asked before the first row",
        plan.kind
    ))
}

/// The type of index that has exactly the letters of a word in another order: the most common typo, and unlikely to be
/// the name of a future index.
pub(super) fn swapped(kind: &str) -> Option<&'static str> {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let mut kinds = KINDS.into_iter();
    kinds.find(|known| *known != kind && letters(known) == letters(kind))
}

/// A name that no collection can have by accident.
fn proof_name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |d| d.as_nanos());
    format!("milvusdm_proof_{:x}_{nanos:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_index_that_nobody_has_is_said_with_what_was_meant() {
        let plan = |kind: &str| IndexPlan {
            kind: kind.to_owned(),
            metric: "L2".to_owned(),
            params: Vec::new(),
        };
        assert_eq!(unknown_kind(&plan("HNSW")), None);
        for (kind, meant) in [("IVF_FLATT", "`IVF_FLAT`"), ("DISKAN", "`DISKANN`")] {
            let said = unknown_kind(&plan(kind)).unwrap();
            assert!(said.contains(meant), "{said}");
        }
        let said = unknown_kind(&plan("SOMETHING_ELSE")).unwrap();
        assert!(!said.contains("did you mean"), "{said}");
        let slips = ["HNWS", "FALT", "IVF_FLTA", "HNSW", "FLAT", "FLATS"];
        let meant = slips.map(swapped);
        let expected = [
            Some("HNSW"),
            Some("FLAT"),
            Some("IVF_FLAT"),
            None,
            None,
            None,
        ];
        assert_eq!(meant, expected);
    }
}
