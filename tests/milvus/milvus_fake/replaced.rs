//! What is replaced, by a job that may have died and is gone on with.

use milvusdm::batch::Target;
use milvusdm::error::Kind;
use milvusdm::schema::VectorType;
use milvusdm::sink::{Action, Attempt, Decision, Sink};

use super::support::fake_milvus::Fake;
use super::support::target;
use super::{F32X4, collection, deliver, embedding, key, open};

#[test]
fn what_was_replaced_before_the_program_died_is_not_replaced_again() {
    let fake = Fake::start("v2.3.5");
    fake.has(collection(vec![key(), embedding(2)]), 10);
    let sink = open(&fake, "mode: overwrite", "").unwrap();
    let place = target(&*sink, F32X4);
    let decision = sink.decide(&place).unwrap();
    assert_eq!((decision.action, decision.ours), (Action::Replace, true));
    assert_eq!(fake.calls("DropCollection"), 0, "deciding changes nothing");
    sink.prepare(&place, &decision, false).unwrap();
    deliver(&*sink, F32X4, Attempt::First).unwrap();
    assert_eq!(fake.calls("DropCollection"), 1);

    let again = open(&fake, "mode: overwrite", "").unwrap();
    again.prepare(&place, &decision, true).unwrap();
    deliver(&*again, F32X4, Attempt::First).unwrap();
    assert_eq!(fake.calls("DropCollection"), 1);
    assert_eq!(again.count(&place).unwrap().rows, 6);
}

#[test]
fn what_is_gone_when_a_job_goes_on_is_not_made_anew() {
    let fake = Fake::start("v2.3.5");
    let sink = open(&fake, "", "").unwrap();
    let place = target(&*sink, F32X4);
    let decision = sink.decide(&place).unwrap();
    let error = sink.prepare(&place, &decision, true).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(
        error.what().contains("collection c no longer exists"),
        "{error}"
    );
    assert_eq!(fake.calls("CreateCollection"), 0);
}

#[test]
fn targets_that_share_a_collection_replace_it_once() {
    let fake = Fake::start("v2.3.5");
    fake.has(collection(vec![key(), embedding(4)]), 10);
    let sink = open(&fake, "mode: overwrite", "").unwrap();
    let whole = target(&*sink, F32X4);
    let mut part = whole.clone();
    part.number = 1;
    part.name.partition = "p1".into();
    let decided: Vec<_> = [&part, &whole].map(|t| (t, sink.decide(t).unwrap())).into();
    for (target, decision) in &decided {
        sink.prepare(target, decision, false).unwrap();
    }
    assert_eq!(fake.calls("DropCollection"), 1);
    assert_eq!(
        fake.calls("CreatePartition"),
        1,
        "and it is there after all"
    );

    let mut other = target(
        &*sink,
        VectorType {
            dimension: 8,
            ..F32X4
        },
    );
    other.number = 2;
    other.name.partition = "p2".into();
    let error = sink.decide(&other).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot go into the same collection"),
        "{error}"
    );
}

/// A new start of the job that an earlier one decided so about.
fn next_start(fake: &Fake, decided: &[(&Target, &Decision)]) -> Box<dyn Sink> {
    let sink = open(fake, "mode: overwrite", "").unwrap();
    for (target, _) in decided {
        sink.decide(target).unwrap();
    }
    sink.begin(7);
    for (target, decision) in decided {
        sink.decided(target, decision);
    }
    sink
}

fn partition(whole: &Target, number: u32, name: &str) -> Target {
    let mut part = whole.clone();
    part.number = number;
    part.name.partition = name.to_owned();
    part
}

#[test]
fn partitions_that_a_start_left_as_they_were_are_replaced_by_the_next() {
    let fake = Fake::start("v2.3.5");
    fake.has(collection(vec![key(), embedding(4)]), 10);
    let sink = open(&fake, "mode: overwrite", "").unwrap();
    let whole = target(&*sink, F32X4);
    let parts = ["p", "q"].map(|name| {
        fake.has_partition("c", name);
        partition(&whole, u32::from(name == "q"), name)
    });
    let decisions = parts.each_ref().map(|part| sink.decide(part).unwrap());
    assert!(decisions.iter().all(|d| d.action == Action::Replace));
    sink.prepare(&parts[0], &decisions[0], false).unwrap();
    assert_eq!(fake.calls("DropPartition"), 1);

    let again = next_start(
        &fake,
        &[(&parts[0], &decisions[0]), (&parts[1], &decisions[1])],
    );
    again.prepare(&parts[0], &decisions[0], true).unwrap();
    assert_eq!(fake.calls("DropPartition"), 1);
    again.prepare(&parts[1], &decisions[1], false).unwrap();
    assert_eq!(fake.calls("DropPartition"), 2);
}

#[test]
fn a_collection_made_after_the_decision_is_not_replaced_for_any_target_in_it() {
    let fake = Fake::start("v2.3.5");
    fake.has(collection(vec![key(), embedding(4)]), 10);
    let sink = open(&fake, "mode: overwrite", "").unwrap();
    let whole = target(&*sink, F32X4);
    let part = partition(&whole, 1, "p");
    let decisions = [&part, &whole].map(|target| (target, sink.decide(target).unwrap()));
    // The program dies; somebody drops the collection and makes it anew.
    let schema = fake.drop_collection("c");
    fake.has(schema, 5);
    let decided = decisions
        .each_ref()
        .map(|(target, decision)| (*target, decision));
    let again = next_start(&fake, &decided);
    let refused = decided.map(|(target, decision)| again.prepare(target, decision, false).err());
    let refused = refused
        .into_iter()
        .flatten()
        .next()
        .expect("one is refused");
    assert!(
        refused.what().contains("5 rows that are not its own"),
        "{refused}"
    );
    assert_eq!(fake.calls("DropCollection"), 0);
}
