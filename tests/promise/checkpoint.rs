//! The log of a run, damaged: cut anywhere, turned over anywhere, or no log at all.

use std::path::{Path, PathBuf};

use milvusdm::batch::{Batch, BatchId, Position, Shard};
use milvusdm::checkpoint::{Checkpoint, Found};
use milvusdm::error::{Kind, Result};
use milvusdm::job::Job;
use milvusdm::plan::{Plan, plan};
use milvusdm::sink::{Parcel, Receipt};

/// A plan that needs no server, its checkpoint in this directory.
fn a_plan(directory: &Path) -> Plan {
    let index = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faiss/ivf.index");
    let job = format!(
        "source: {{faiss: {{path: '{}'}}}}\nsink: {{hdf5: {{path: '{}'}}}}\n",
        index.display(),
        directory.join("out.h5").display()
    );
    plan(&Job::parse(Path::new("job.yaml"), job).unwrap()).unwrap()
}

fn open(path: &Path, plan: &Plan) -> Result<Checkpoint> {
    match Checkpoint::create_or_resume(path, plan, false)? {
        Found::Open(checkpoint) => Ok(*checkpoint),
        Found::Finished(_) => panic!("it was never finished"),
    }
}

/// Records a receipt for a batch of ten rows.
fn receive(checkpoint: &Checkpoint, shard: &Shard, index: u32) {
    let id = BatchId {
        run: checkpoint.run(),
        shard: shard.number,
        index,
    };
    let batch = Batch {
        id,
        target: 0,
        first_row: 0,
        parts: Vec::new(),
        next: Position::Row(u64::from(index) + 1),
    };
    let parcel = Parcel {
        id,
        rows: 10,
        payload_bytes: 100,
        digest: 7,
        body: Vec::new(),
        left_out: Vec::new(),
        batch,
    };
    let receipt = Receipt {
        rows: 10,
        upserted: false,
    };
    let from = Position::Row(u64::from(index));
    checkpoint
        .record(&parcel, &receipt, &from, false, None)
        .unwrap();
}

/// The log of a run that had sent more than it had receipts for.
fn a_log(path: &Path, plan: &Plan) -> Vec<u8> {
    let checkpoint = open(path, plan).unwrap();
    let shard = &plan.manifest.shards[0];
    checkpoint.decide(0, &plan.decide().unwrap()[0]).unwrap();
    checkpoint.prepared(&[(0, 7)]).unwrap();
    checkpoint.open_window(shard, 6).unwrap();
    for index in [1, 0, 4, 2] {
        receive(&checkpoint, shard, index);
    }
    std::fs::read(path).unwrap()
}

/// Batches with a receipt in the whole lines of a text, and how far a window was opened: read by other means.
fn said(text: &[u8]) -> (Vec<u32>, u32) {
    let (mut received, mut window) = (Vec::new(), 0);
    for line in text
        .split_inclusive(|b| *b == b'\n')
        .filter(|l| l.ends_with(b"\n"))
    {
        let record: serde_json::Value = serde_json::from_slice(&line[9..]).unwrap();
        received.extend(
            record["received"]["index"]
                .as_u64()
                .map(|index| index as u32),
        );
        window = record["window"]["upto"]
            .as_u64()
            .map_or(window, |upto| upto as u32);
    }
    (received, window)
}

fn room() -> (tempfile::TempDir, PathBuf, Plan) {
    let directory = tempfile::tempdir().unwrap();
    let (path, plan) = (directory.path().join("job.ckpt"), a_plan(directory.path()));
    (directory, path, plan)
}

#[test]
fn a_log_cut_at_any_byte_forgets_no_whole_record() {
    let (_directory, path, plan) = room();
    let whole = a_log(&path, &plan);
    let shard = &plan.manifest.shards[0];
    for len in 0..=whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let (received, window) = said(&whole[..len]);
        let check = |checkpoint: &Checkpoint, received: &[u32]| {
            let standing = checkpoint.standing(shard);
            for index in 0..9 {
                let is = received.contains(&index);
                assert_eq!(standing.received(index), is, "cut at {len}: batch {index}");
                assert_eq!(
                    standing.in_doubt(index),
                    index < window && !is,
                    "cut at {len}: batch {index}"
                );
            }
            assert_eq!(checkpoint.totals(0).delivered, 10 * received.len() as u64);
        };
        let checkpoint = open(&path, &plan).unwrap();
        assert_eq!(
            checkpoint.resumed(),
            len > 0 && whole[..len].contains(&b'\n')
        );
        check(&checkpoint, &received);
        // And it can be written on: the torn end is gone.
        receive(&checkpoint, shard, 7);
        drop(checkpoint);
        check(
            &open(&path, &plan).unwrap(),
            &[&received[..], &[7]].concat(),
        );
    }
}

#[test]
fn a_byte_turned_over_is_refused_and_named() {
    let (_directory, path, plan) = room();
    let whole = a_log(&path, &plan);
    // A log whose last end of line is missing looks torn, and is cut there.
    for at in 0..whole.len() - 1 {
        let mut odd = whole.clone();
        odd[at] ^= 1 << (at % 8);
        std::fs::write(&path, &odd).unwrap();
        let error = open(&path, &plan)
            .err()
            .unwrap_or_else(|| panic!("byte {at} goes unnoticed"));
        assert_eq!(error.kind(), Kind::Job, "{error}");
        let line = whole[..at]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |end| end + 1);
        let place = format!("is damaged: the line at byte {line} ");
        let said = error.to_string();
        assert!(said.starts_with(path.to_str().unwrap()), "{said}");
        assert!(
            said.contains(&place) || line == 0 && said.contains("is not a checkpoint"),
            "byte {at}: {said}"
        );
        assert_eq!(
            std::fs::read(&path).unwrap(),
            odd,
            "nothing is mended by guessing"
        );
    }
}

#[test]
fn what_is_no_log_is_refused_and_left_as_it_is() {
    let (directory, path, plan) = room();
    for text in [
        "",
        "precious",
        "precious\n",
        "{\"one\": \"line\"}",
        "0123456789",
        "01234567 {\"heading\"",
        "01234567x",
    ] {
        std::fs::write(&path, text).unwrap();
        let seen = Checkpoint::foresee(&path, &plan);
        assert_eq!(seen.is_err(), !text.is_empty(), "{text}");
        let opened = open(&path, &plan);
        if text.is_empty() {
            opened.unwrap();
            continue;
        }
        let error = opened.err().unwrap();
        assert_eq!(error.kind(), Kind::Job, "{error}");
        assert!(error.to_string().contains("is not a checkpoint"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    // One that never ends.
    let endless = directory.path().join("endless.ckpt");
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    for error in [
        open(&endless, &plan).err().unwrap(),
        Checkpoint::foresee(&endless, &plan).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("is not a regular file"),
            "{error}"
        );
    }
}

/// A line of a log.
fn line(record: &serde_json::Value) -> String {
    let json = record.to_string();
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

#[test]
fn a_log_of_the_first_version_is_found_where_it_was_left_and_gone_on_with() {
    let (directory, _, mut plan) = room();
    // Frozen: logs in the field were written with it.
    let first = &plan.fingerprint.first;
    let keys: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "collections",
            "data: index.bytes",
            "data: index.head_crc32",
            "data: index.inode",
            "data: index.modified_ns",
            "data: index.path",
            "fields",
            "into",
            "limits of a batch",
            "shards",
            "sink.hdf5.path",
            "source.faiss.path",
            "target ",
        ]
    );
    assert_eq!(first["fields"], "id, embedding");
    assert_eq!(first["into"], "Into { collection: None, partition: None }");
    assert_eq!(first["limits of a batch"], "4194304 bytes, 1048576 rows");
    let before = directory.path().join("milvusdm-job.ckpt");
    plan.settings.checkpoint = directory.path().join("job.yaml.ckpt");
    plan.settings.checkpoint_before = Some(before.clone());
    assert_eq!(Checkpoint::find(&plan), plan.settings.checkpoint);
    let header = |fingerprint: &std::collections::BTreeMap<String, String>| {
        line(&serde_json::json!({"header": {
            "version": 1, "run": "00000000000000ab", "created": 1, "fingerprint": fingerprint,
        }}))
    };
    let window = line(&serde_json::json!({"window": {"shard": 0, "target": 0, "upto": 3}}));
    std::fs::write(&before, header(first) + &window).unwrap();
    assert_eq!(Checkpoint::find(&plan), before);
    let checkpoint = open(&before, &plan).unwrap();
    assert!(checkpoint.resumed());
    assert_eq!(checkpoint.run(), 0xab);
    assert!(checkpoint.standing(&plan.manifest.shards[0]).in_doubt(2));
    drop(checkpoint);
    // Of this job as it was: refused where it began, and not passed by.
    let mut other = first.clone();
    other.insert("fields".to_owned(), "key, embedding".to_owned());
    std::fs::write(&before, header(&other) + &window).unwrap();
    assert_eq!(Checkpoint::find(&plan), before);
    let error = open(&before, &plan).err().unwrap();
    assert_eq!(error.kind(), Kind::Job);
    assert!(error.to_string().contains("fields: was key"), "{error}");
    // Another job's of the same name is none of its business.
    other.insert("sink.hdf5.path".to_owned(), "\"elsewhere.h5\"".to_owned());
    std::fs::write(&before, header(&other) + &window).unwrap();
    assert_eq!(Checkpoint::find(&plan), plan.settings.checkpoint);
}

#[test]
fn a_log_that_makes_way_does_so_when_there_is_something_to_record() {
    let (directory, path, plan) = room();
    drop(open(&path, &plan).unwrap());
    let whole = a_log(&path, &plan);
    let other = directory.path().join("other.h5");
    let job = format!(
        "source: {{faiss: {{path: '{}'}}}}\nsink: {{hdf5: {{path: '{}'}}}}\n",
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/faiss/ivf.index")
            .display(),
        other.display()
    );
    let other = milvusdm::plan::plan(&Job::parse(Path::new("job.yaml"), job).unwrap()).unwrap();
    let aside = path.with_extension("ckpt.old");
    let Found::Open(again) = Checkpoint::create_or_resume(&path, &other, true).unwrap() else {
        panic!("it was never finished")
    };
    again.discard_if_untouched(true).unwrap();
    drop(again);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert!(!aside.exists());
    let Found::Open(again) = Checkpoint::create_or_resume(&path, &other, true).unwrap() else {
        panic!("it was never finished")
    };
    again.decide(0, &other.decide().unwrap()[0]).unwrap();
    assert_eq!(std::fs::read(&aside).unwrap(), whole);
    assert_ne!(std::fs::read(&path).unwrap(), whole);
}
