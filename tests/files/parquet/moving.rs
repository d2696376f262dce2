//! Rows of a source that may change while it is read: more of them, fewer, or others than were counted, and others than an
//! attempt wrote that was killed.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use milvusdm::batch::{Part, Target};
use milvusdm::buffers::Buffers;
use milvusdm::error::{Error, Result};
use milvusdm::schema::{Column, ColumnType, Columns, Element, VectorType};
use milvusdm::sink::{Attempt, Decision, Finishing, Sink};
use serde_json::json;

use crate::parquet::given::{of, open, rows};
use crate::parquet::random::Random;
use crate::parquet::sink::{WIDE, sink};
use crate::support::{batch, target};

fn columns() -> Arc<Columns> {
    let text = ColumnType::VarChar { max_bytes: None };
    Columns::new(vec![
        Column::key("pk", ColumnType::Scalar(milvusdm::schema::Scalar::Int64)),
        Column::new("t", text),
    ])
    .unwrap()
}

/// Rows with these keys, in their first or another version.
fn part(keys: &[(i64, u64)]) -> Part {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(keys.iter().map(|k| k.0)));
    let texts = keys
        .iter()
        .map(|(key, version)| format!("row {key} of version {version}"));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    Part::new(&columns(), vec![ids, texts], &Path::new("x").into(), 0).unwrap()
}

/// One attempt: so many of the rows arrive, in batches of this many, and all is finished where all do.
fn attempt(
    sink: &dyn Sink,
    announced: u64,
    part: &Part,
    batch_rows: usize,
    arrive: usize,
    decided: &mut Option<Decision>,
) -> Result<Target> {
    let plain = VectorType {
        element: Element::Float32,
        dimension: 8,
    };
    let target = Target {
        columns: columns(),
        rows: announced,
        ..target(sink, plain)
    };
    // Decided once, as a run does.
    let begun = decided.is_some();
    let decision = match decided {
        Some(decision) => decision.clone(),
        None => decided.insert(sink.decide(&target)?).clone(),
    };
    sink.begin(7);
    sink.rows_may_change();
    // A process that another test starts holds the lock of the attempt before until it is itself.
    let busy = |e: &Error| e.to_string().contains("is being written by another run");
    while let Err(error) = sink.prepare(&target, &decision, begun) {
        if !busy(&error) {
            return Err(error);
        }
        std::thread::yield_now();
    }
    let mut first = 0;
    // Packed ahead of what is delivered, as a run does.
    let mut packed = std::collections::VecDeque::new();
    while first < arrive.min(part.len()) {
        let batch = batch(&target, part, first, batch_rows);
        let rows = batch.rows() as usize;
        packed.push_back(sink.pack(batch, Buffers::default().take())?);
        first += rows;
        if packed.len() > 2 {
            sink.deliver(&packed.pop_front().unwrap(), Attempt::First)?;
        }
    }
    for parcel in packed {
        sink.deliver(&parcel, Attempt::First)?;
    }
    while first >= part.len() && sink.finish(&target)? != Finishing::Done {}
    Ok(target)
}

fn check(dir: &Path, expected: &Part) {
    let source = open(&json!({"dir": dir})).unwrap();
    assert_eq!(rows(&*source, WIDE).unwrap().1, of(expected));
    let left = std::fs::read_dir(dir).unwrap().flatten();
    let hidden = left.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn more_rows_or_fewer_than_were_announced_are_all_there() {
    for (announced, came) in [(100, 100), (100, 93), (100, 0), (90, 100), (0, 31)] {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<(i64, u64)> = (0..came).map(|key| (key, 0)).collect();
        let part = part(&keys);
        let sink = sink(&format!(
            "dir: '{}', rows_per_file: 30",
            dir.path().display()
        ));
        let target = attempt(&*sink, announced, &part, 7, usize::MAX, &mut None).unwrap();
        assert_eq!(sink.count(&target).unwrap().rows, came as u64);
        check(dir.path(), &part);
    }
}

#[test]
fn whatever_a_killed_attempt_wrote_the_files_hold_what_came_last() {
    let mut random = Random(11);
    let mut below = |most: u64| random.next() % most;
    for round in 0..200 {
        let dir = tempfile::tempdir().unwrap();
        let settings = format!(
            "dir: '{}', rows_per_file: {}",
            dir.path().display(),
            5 + below(40)
        );
        let batch_rows = 1 + below(12) as usize;
        let mut keys: Vec<(i64, u64)> = (0..below(120) as i64).map(|key| (key, 0)).collect();
        let mut decided = None;
        for _ in 0..1 + below(3) {
            // Killed on its way, or after files got their names and before there is a manifest.
            let whole = below(2) == 0;
            let arrive = if whole {
                usize::MAX
            } else {
                below(120) as usize
            };
            let stop = dir.path().join(".milvusdm-manifest.tmp");
            std::fs::create_dir(&stop).unwrap();
            let sink = sink(&settings);
            let ended = attempt(&*sink, 60, &part(&keys), batch_rows, arrive, &mut decided);
            std::fs::remove_dir(&stop).unwrap();
            // The last batch may be the one that makes it whole.
            match ended {
                Err(error) => assert!(error.to_string().contains("create the manifest"), "{error}"),
                Ok(_) => assert!(arrive < keys.len(), "round {round}"),
            }
            // Others write: from some row on, or hardly anything.
            for _ in 0..below(4) {
                let at = below(keys.len() as u64 + 1) as usize;
                match below(3) {
                    0 if at < keys.len() => drop(keys.remove(at)),
                    1 if at < keys.len() => keys[at].1 += 1,
                    _ => keys.push((keys.last().map_or(0, |k| k.0) + 1, 0)),
                }
            }
        }
        let last = part(&keys);
        attempt(
            &*sink(&settings),
            60,
            &last,
            batch_rows,
            usize::MAX,
            &mut decided,
        )
        .unwrap();
        check(dir.path(), &last);
    }
}
