//! What verification makes of servers that answer wrongly, late or not at all: no real one does on demand.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Key, Part, Position};
use milvusdm::error::{Kind, Result};
use milvusdm::milvus::proto::*;
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::sink::Sink;
use milvusdm::sink::held::{Compared, Held, What};

use support::fake_milvus::Fake;
use support::{open_milvus, target};

const F32X2: VectorType = VectorType {
    element: Element::Float32,
    dimension: 2,
};

fn collection() -> CollectionSchema {
    let id = FieldSchema {
        name: "id".to_owned(),
        is_primary_key: true,
        data_type: data_type::INT64,
        ..FieldSchema::default()
    };
    let vector = FieldSchema {
        name: "embedding".to_owned(),
        data_type: data_type::FLOAT_VECTOR,
        type_params: vec![KeyValue::new("dim", "2")],
        ..FieldSchema::default()
    };
    CollectionSchema {
        name: "c".to_owned(),
        fields: vec![id, vector],
        ..CollectionSchema::default()
    }
}

fn open(fake: &Fake) -> Box<dyn Sink> {
    open_milvus(&format!("address: '{}', collection: c", fake.address), "").unwrap()
}

fn vector(id: i64) -> Vec<u8> {
    [(id as f32).to_le_bytes(), 0.5f32.to_le_bytes()].concat()
}

/// Rows of these ids, each id a part of its own.
fn batch(ids: &[i64]) -> Batch {
    let columns = Columns::plain("id", "embedding", F32X2).unwrap();
    let file: Arc<Path> = Path::new("x").into();
    let part = |(row, id): (usize, &i64)| {
        Part::of_vectors(
            &columns,
            vec![*id],
            Bytes::from(vector(*id)),
            &file,
            row as u64,
        )
        .unwrap()
    };
    Batch {
        id: BatchId {
            run: 7,
            shard: 0,
            index: 0,
        },
        target: 0,
        first_row: 0,
        parts: ids.iter().enumerate().map(part).collect(),
        next: Position::Row(0),
    }
}

/// The answer that holds these rows.
fn rows(ids: &[i64]) -> QueryResults {
    fields(
        ids.to_vec(),
        ids.iter().flat_map(|id| vector(*id)).collect(),
    )
}

fn fields(ids: Vec<i64>, vectors: Vec<u8>) -> QueryResults {
    let id = FieldData {
        field_name: "id".to_owned(),
        scalars: Some(ScalarField {
            long_data: Some(LongArray { data: ids }),
            ..ScalarField::default()
        }),
        ..FieldData::default()
    };
    let vector = FieldData {
        field_name: "embedding".to_owned(),
        vectors: Some(VectorField {
            dim: 2,
            float_vector: Some(FloatBytes {
                data: Bytes::from(vectors),
            }),
            ..VectorField::default()
        }),
        ..FieldData::default()
    };
    QueryResults {
        fields_data: vec![vector, id],
        ..QueryResults::default()
    }
}

fn count(rows: i64) -> QueryResults {
    let mut answer = fields(vec![rows], Vec::new());
    answer.fields_data.remove(0);
    answer
}

/// The keys that a query asks for.
fn asked(request: &QueryRequest) -> Vec<i64> {
    let list = request
        .expr
        .strip_prefix("id in [")
        .and_then(|l| l.strip_suffix(']'));
    let ids = list.unwrap().split(',');
    ids.map(|id| id.parse().unwrap()).collect()
}

fn is_count(request: &QueryRequest) -> bool {
    request.output_fields == ["count(*)"]
}

/// What comparing these ids brings where queries are answered so.
fn compare(
    ids: &[i64],
    by: impl FnMut(&QueryRequest) -> QueryResults + Send + 'static,
) -> Result<Compared> {
    let fake = Fake::start("v2.3.5");
    fake.has(collection(), 10);
    fake.queried(by);
    let sink = open(&fake);
    let Held::Rows(mut holder) = sink.held(&target(&*sink, F32X2)).unwrap() else {
        panic!("it is loaded");
    };
    holder.compare(&batch(ids))
}

/// The ids of which there are two.
fn doubled(at: &'static [i64]) -> impl FnMut(&QueryRequest) -> QueryResults {
    move |request| {
        let ids = asked(request);
        let copies = ids.iter().filter(|id| at.contains(id)).count();
        match is_count(request) {
            true => count((ids.len() + copies) as i64),
            false => rows(&ids),
        }
    }
}

#[test]
fn the_first_of_ids_that_are_there_twice_is_found() {
    let ids: Vec<i64> = (0..1000).rev().collect();
    for at in [&[999][..], &[0], &[413], &[2, 800, 801]] {
        let compared = compare(&ids, doubled(at)).unwrap();
        assert_eq!((compared.rows, compared.differing), (1000, at.len() as u64));
        let first = compared.first.unwrap();
        assert_eq!(
            (first.key, first.what),
            (Key::Int(at[at.len() - 1]), What::Copies(2))
        );
    }
    let compared = compare(&ids, doubled(&[])).unwrap();
    assert_eq!(
        (compared.rows, compared.differing, compared.first),
        (1000, 0, None)
    );
}

#[test]
fn answers_that_fit_nothing_are_no_agreement() {
    let check = |answer: QueryResults, kind: Kind, words: &str| {
        let error = compare(&[1, 2], move |_| answer.clone()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let vectors = [vector(1), vector(2)].concat();
    check(
        fields(vec![1, 2], vectors[..15].to_vec()),
        Kind::Refused,
        "the answer holds 2 keys",
    );
    check(
        fields(vec![1, 2], Vec::new()),
        Kind::Refused,
        "the answer holds 2 keys",
    );
    check(rows(&[1, 2, 3]), Kind::Refused, "not asked for");
    // Rows without a count.
    check(
        rows(&[1, 2]).tap(|a| a.fields_data.truncate(1)),
        Kind::Refused,
        "the answer holds 0 keys",
    );
    check(
        said(65535, "no shard leader"),
        Kind::Refused,
        "no shard leader",
    );
    // After a restart a server loads what was loaded: later it will answer.
    let unloaded = said(101, "collection not loaded");
    check(
        unloaded,
        Kind::Busy,
        "c was loaded, but no longer is: the server said: collection not loaded",
    );
    let fewer = compare(&[1, 2], |request| match is_count(request) {
        true => count(1),
        false => rows(&asked(request)),
    });
    assert_eq!(
        fewer.unwrap_err().kind(),
        Kind::Busy,
        "two answers that do not fit each other"
    );
    let nothing = compare(&[1, 2], |_| QueryResults::default()).unwrap();
    assert_eq!((nothing.rows, nothing.differing), (0, 2));
    assert_eq!(nothing.first.unwrap().what, What::Missing);
    let swapped = compare(&[1, 2], |request| match is_count(request) {
        true => count(2),
        false => fields(vec![2, 1], [vector(1), vector(2)].concat()),
    });
    assert_eq!(swapped.unwrap().differing, 2);
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for QueryResults {}

#[test]
fn without_the_servers_time_every_query_waits_for_all_that_was_written() {
    let compared = compare(&[1, 2], |request| {
        // The fake knows no AllocTimestamp, as servers before 2.2.
        assert_eq!(
            (request.consistency_level, request.guarantee_timestamp),
            (0, 0)
        );
        assert_eq!(request.partition_names, ["_default"]);
        match is_count(request) {
            true => count(2),
            false => rows(&asked(request)),
        }
    });
    assert_eq!(compared.unwrap().differing, 0);
}

/// A flat Faiss index of rows of two floats, as `vector` makes them.
fn index(rows: i64) -> Vec<u8> {
    let mut file = [b"IxF2".as_slice(), &2u32.to_le_bytes()].concat();
    file.extend(rows.to_le_bytes());
    file.extend((1u64 << 20).to_le_bytes().repeat(2));
    file.push(1);
    file.extend(1u32.to_le_bytes());
    file.extend((rows * 2).to_le_bytes());
    file.extend((0..rows).flat_map(vector));
    file
}

/// A job that has been run against a fake server.
fn ran(fake: &Fake, rows: i64) -> tempfile::TempDir {
    let jobs = tempfile::tempdir().unwrap();
    std::fs::write(jobs.path().join("a.index"), index(rows)).unwrap();
    let job = format!(
        "source: {{faiss: {{path: a.index}}}}\nsink: {{milvus: {{address: '{}', collection: c}}}}\n\
         run: {{patience: 3s}}\n",
        fake.address
    );
    std::fs::write(jobs.path().join("job.yaml"), job).unwrap();
    let output = milvusdm(&jobs, "run").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    jobs
}

fn milvusdm(jobs: &tempfile::TempDir, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
    command
        .args([verb, "job.yaml", "--progress", "none"])
        .current_dir(jobs.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A refusal.
fn said(code: i32, reason: &str) -> QueryResults {
    QueryResults {
        status: Some(Status {
            error_code: 1,
            code,
            reason: reason.to_owned(),
            retriable: false,
        }),
        ..QueryResults::default()
    }
}

fn later() -> QueryResults {
    said(8, "rate limit exceeded")
}

/// Well-behaved, for a collection of so many rows.
fn well(request: &QueryRequest, all: i64) -> QueryResults {
    if request.expr.is_empty() {
        return count(all);
    }
    let ids = asked(request);
    match is_count(request) {
        true => count(ids.len() as i64),
        false => rows(&ids),
    }
}

#[test]
fn later_is_waited_for_as_long_as_patience_lasts_and_a_signal_ends_it() {
    let fake = Fake::start("v2.3.5");
    let jobs = ran(&fake, 20_000);
    let queries = Arc::new(AtomicUsize::new(0));
    let seen = queries.clone();
    fake.queried(
        move |request| match seen.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => later(),
            _ => well(request, 20_000),
        },
    );
    let output = milvusdm(&jobs, "verify").output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("full content of 20000 rows by id: agrees"),
        "{said}"
    );
    assert!(queries.load(Ordering::SeqCst) >= 9, "each request twice");

    fake.queried(|request| match request.expr.is_empty() {
        true => count(20_000),
        false => later(),
    });
    let output = milvusdm(&jobs, "verify").output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("gave up after 3 s"), "{said}");
    assert!(!said.contains("agrees"), "{said}");

    let child = milvusdm(&jobs, "verify").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(800));
    let asked_to_stop = Instant::now();
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(asked_to_stop.elapsed() < Duration::from_secs(2));
    assert!(
        said.contains("nothing was changed") && !said.contains("agrees"),
        "{said}"
    );
}

#[test]
fn a_verification_calls_nothing_that_changes_anything() {
    let fake = Fake::start("v2.3.5");
    let jobs = ran(&fake, 100);
    fake.queried(|request| well(request, 100));
    let calls = [
        "Flush",
        "LoadCollection",
        "CreateIndex",
        "CreateCollection",
        "CreatePartition",
        "DropCollection",
    ];
    let before = calls.map(|call| fake.calls(call));
    let writes = fake.arrived().len();
    let output = milvusdm(&jobs, "verify").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(calls.map(|call| fake.calls(call)), before);
    assert_eq!(fake.arrived().len(), writes);
}
