//! Servers that say they took what they did not: the program must not say success.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::path::Path;

use serde_json::json;

use migration::{Ended, Jobs};
use support::fake_milvus::{Fake, Misbehave};

/// Rows of the published file that is brought to the server in batches of a hundred or so.
const ROWS: u64 = 5_000;

fn run(fake: &Fake, more: &str) -> Ended {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5/float_example.h5");
    let job = format!(
        "source: {{hdf5: {{paths: {}}}}}\nsink: {{milvus: {{address: '{}', collection: c}}}}\n\
         run: {{batch: 40KiB{more}}}\n",
        file.display(),
        fake.address
    );
    Jobs::new().run("job", &job)
}

#[test]
fn a_server_that_keeps_what_it_acknowledges_is_believed() {
    let fake = Fake::start("v2.3.5");
    let ended = run(&fake, "").code(0);
    assert_eq!(ended.report["targets"][0]["rows_counted"], json!(ROWS));
    assert_eq!(ended.report["targets"][0]["rests_on"], json!("statistics"));
    assert_eq!(ended.report["targets"][0]["proof"], json!("statistics"));
}

#[test]
fn rows_that_were_counted_twice_do_not_stand_for_rows_that_were_dropped() {
    // An answer is lost, so that its batch is sent twice; another batch, of as many rows, is acknowledged and dropped.
    for (lost, dropped) in [(1, 4), (5, 2)] {
        let fake = Fake::start("v2.3.5");
        for place in 0..6 {
            fake.next(match place {
                _ if place == lost => Misbehave::TakeAndCut,
                _ if place == dropped => Misbehave::Drop,
                _ => Misbehave::Acknowledge(100),
            });
        }
        let ended = run(&fake, ", connections: 1, in_flight: 1").code(7).says(&[
            "everything was delivered, but it is not proven",
            "verify --load",
        ]);
        let target = &ended.report["targets"][0];
        assert_eq!(target["proof"], json!("open"), "{target}");
        assert!(target["rows_open"].as_u64().unwrap() >= 100, "{target}");
        assert_eq!(ended.report["outcome"], json!("not proven"));
    }
}

#[test]
fn a_batch_that_is_acknowledged_and_dropped_ends_the_run_with_5() {
    for place in [0, 7] {
        let fake = Fake::start("v2.3.5");
        for _ in 0..place {
            fake.next(Misbehave::Acknowledge(100));
        }
        fake.next(Misbehave::Drop);
        let ended = run(&fake, "").code(5).says(&[
            "5000 were delivered",
            "counts 49",
            "do not rely on this copy",
        ]);
        let target = &ended.report["targets"][0];
        assert_eq!(target["agrees"], json!(false), "{target}");
        assert!(target["rows_counted"].as_u64().unwrap() < ROWS, "{target}");
        assert_eq!(ended.report["outcome"], json!("failed"));
    }
}

#[test]
fn what_nobody_counted_rests_on_acknowledgements_and_says_so() {
    let fake = Fake::start("v2.3.5");
    fake.next(Misbehave::Drop);
    let ended = run(&fake, ", verify: off")
        .code(0)
        .says(&["acknowledgements"]);
    let target = &ended.report["targets"][0];
    assert_eq!(target["rests_on"], json!("acknowledgements"));
    assert_eq!(target["rows_counted"], json!(null));
}

#[test]
fn a_batch_acknowledged_in_part_ends_the_run_with_5() {
    let fake = Fake::start("v2.3.5");
    fake.next(Misbehave::Acknowledge(3));
    run(&fake, "").code(5).says(&["3 were acknowledged"]);
}
