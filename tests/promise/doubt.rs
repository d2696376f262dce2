//! Batches that may or may not have arrived: what the program does about them, destination by destination, and how
//! the operator goes on. The server takes the rows and cuts the line before it says so.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::path::Path;

use milvusdm::milvus::proto::{CollectionSchema, FieldSchema, KeyValue, data_type};
use serde_json::json;

use migration::{Ended, Jobs};
use support::fake_milvus::{Fake, Misbehave};

const ROWS: usize = 5_000;

fn run(jobs: &Jobs, fake: &Fake, sink: &str, run: &str) -> Ended {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5/float_example.h5");
    let job = format!(
        "source: {{hdf5: {{paths: {}}}}}\nsink: {{milvus: {{address: '{}', collection: c{sink}}}}}\n\
         run: {{batch: 40KiB{run}}}\n",
        file.display(),
        fake.address
    );
    jobs.run("job", &job)
}

/// A server whose answer to the third batch is lost.
fn forgetful() -> Fake {
    let fake = Fake::start("v2.3.5");
    for _ in 0..2 {
        fake.next(Misbehave::Acknowledge(100));
    }
    fake.next(Misbehave::TakeAndCut);
    fake
}

/// Puts the collection there that the job would make, with rows of somebody else's.
fn with_rows(fake: &Fake) {
    let key = FieldSchema {
        name: "id".to_owned(),
        data_type: data_type::INT64,
        is_primary_key: true,
        ..FieldSchema::default()
    };
    let vector = FieldSchema {
        name: "embedding".to_owned(),
        data_type: data_type::FLOAT_VECTOR,
        type_params: vec![KeyValue::new("dim", "100".to_owned())],
        ..FieldSchema::default()
    };
    let schema = CollectionSchema {
        name: "c".to_owned(),
        fields: vec![key, vector],
        ..CollectionSchema::default()
    };
    fake.has(schema, 70);
}

/// How many times each id was sent, most often and least often, and how many writes were upserts.
fn sent(fake: &Fake) -> (usize, usize, usize) {
    let mut times = std::collections::HashMap::new();
    for arrived in fake.arrived() {
        for id in arrived.ids().unwrap() {
            *times.entry(*id).or_insert(0) += 1;
        }
    }
    assert_eq!(times.len(), ROWS);
    let upserts = fake
        .arrived()
        .iter()
        .filter(|a| a.method == "Upsert")
        .count();
    (
        *times.values().max().unwrap(),
        *times.values().min().unwrap(),
        upserts,
    )
}

#[test]
fn rows_of_this_job_alone_go_as_an_upsert_and_the_run_goes_on() {
    let (fake, jobs) = (forgetful(), Jobs::new());
    let ended = run(&jobs, &fake, "", "").code(7);
    let (_, least, upserts) = sent(&fake);
    assert!(least == 1 && upserts > 0);
    // What the cut hit was counted more than once by statistics, which then prove nothing.
    ended.says(&["NOT PROVEN", "everything was delivered", "verify --load"]);
    let ended = run(&jobs, &fake, "", "").code(7);
    assert_eq!(ended.report["outcome"], json!("not proven"));
    assert_eq!(sent(&fake).2, upserts, "it was sent again");
    let target = &ended.report["targets"][0];
    assert_eq!(target["rests_on"], json!("statistics"));
    assert_eq!(target["proof"], json!("open"));
    assert_eq!(target["rows_open"], target["sent_again"]);
    assert_eq!(target["agrees"], json!(false));
    assert!(
        target["remark"].as_str().unwrap().contains("upper bound"),
        "{target}"
    );
    assert!(target["upserted"].as_u64().unwrap() >= 100, "{target}");
}

#[test]
fn a_batch_that_had_to_be_upserted_often_is_no_difference() {
    let (fake, jobs) = (forgetful(), Jobs::new());
    for _ in 0..3 {
        fake.next(Misbehave::TakeAndCut);
    }
    let ended = run(&jobs, &fake, "", ", connections: 1, in_flight: 1").code(7);
    let target = &ended.report["targets"][0];
    let counted = target["rows_counted"].as_u64().unwrap();
    let once = ROWS as u64 + target["upserted"].as_u64().unwrap();
    assert!(counted > once, "{target}");
    let remark = target["remark"].as_str().unwrap();
    assert!(remark.contains("upper bound"), "{target}");
}

#[test]
fn who_begins_anew_is_told_of_a_batch_that_has_no_receipt() {
    let (fake, jobs) = (Fake::start("v2.3.5"), Jobs::new());
    fake.next(Misbehave::TakeAndCut);
    let only = ", on_doubt: stop, connections: 1, in_flight: 1";
    run(&jobs, &fake, "", only).code(5);
    let again = jobs.milvusdm(&["run", "job.yaml", "--again"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("delivered 0 or more rows"), "{said}");
    assert!(said.contains("they will be there twice"), "{said}");
}

#[test]
fn beside_rows_of_others_the_run_stops_and_names_the_choices() {
    for choice in ["resend", "upsert"] {
        let (fake, jobs) = (forgetful(), Jobs::new());
        with_rows(&fake);
        run(&jobs, &fake, "", "").code(5).says(&[
            "may or may not have arrived",
            "held rows before",
            "on_doubt: resend",
            "on_doubt: upsert",
        ]);
        // Asked again it stops again: the batch is still in doubt.
        run(&jobs, &fake, "", "").code(5).says(&["on_doubt"]);
        let ended = run(&jobs, &fake, "", &format!(", on_doubt: {choice}"));
        if choice == "upsert" {
            ended.code(7);
            assert!(sent(&fake).2 > 0);
        } else {
            // Its rows had arrived, and are there twice now: that is said.
            ended
                .code(5)
                .says(&["70 rows were there before", "5000 were delivered"]);
            assert_eq!(sent(&fake).2, 0);
        }
    }
}

#[test]
fn without_keys_or_with_repeated_ones_the_run_stops() {
    for (sink, more, why) in [
        (", auto_id: true", "", "the server generates the ids"),
        ("", ", id_collision: keep", "ids may repeat"),
        ("", ", on_doubt: stop", "the job sets"),
    ] {
        let (fake, jobs) = (forgetful(), Jobs::new());
        run(&jobs, &fake, sink, more).code(5).says(&[
            "may or may not have arrived",
            why,
            "on_doubt: resend",
        ]);
    }
}

#[test]
fn what_was_made_for_a_run_that_failed_at_once_is_not_made_or_removed_again() {
    let jobs = Jobs::new();
    let fake = Fake::start("v2.3.5");
    with_rows(&fake);
    fake.next(Misbehave::Status(1, 1100, "no such thing"));
    run(&jobs, &fake, ", mode: overwrite", "").code(5);
    assert_eq!(fake.calls("DropCollection"), 1);
    assert!(jobs.path("job.yaml.ckpt").exists());
    let planned = jobs.milvusdm(&["plan", "job.yaml"]);
    let said = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(said.contains("not applied again"), "{said}");
    // Of the batches that had no receipt when it ended nobody knows.
    run(&jobs, &fake, ", mode: overwrite", "").code(7);
    assert_eq!(fake.calls("DropCollection"), 1);
    sent(&fake);
}

#[test]
fn a_checkpoint_that_was_taken_away_is_missed() {
    let jobs = Jobs::new();
    let fake = Fake::start("v2.3.5");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5/float_example.h5");
    let job = format!(
        "source: {{hdf5: {{paths: {}}}}}\nsink: {{milvus: {{address: '{}', collection: c}}}}\n\
         run: {{batch: 40KiB, max_rows_per_s: 3000}}\n",
        file.display(),
        fake.address
    );
    let path = jobs.path("job.yaml.ckpt");
    let ended = std::thread::scope(|scope| {
        let running = scope.spawn(|| jobs.run("job", &job));
        while fake.arrived().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::fs::remove_file(&path).unwrap();
        running.join().unwrap()
    });
    ended
        .code(6)
        .says(&["job.yaml.ckpt", "was removed or replaced", "a second time"]);
}
