//! Damaged and hostile input: an error with its place, never a panic or an allocation without bound.

mod fuzz_targets;
mod golden_damage;
mod hostile;
mod hostile_job;
mod milvus1_hostile;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;
