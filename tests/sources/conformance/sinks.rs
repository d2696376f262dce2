//! What every sink promises: looking changes nothing, packing is pure and reads all, what was delivered is counted and
//! can be compared, and what does not fit is refused before anything is made.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Limits, Part, Position, Target};
use milvusdm::buffers::Buffers;
use milvusdm::error::{Kind, Result};
use milvusdm::job::{Form, Job};
use milvusdm::schema::{Element, Metric, VectorType};
use milvusdm::simd::row_digest;
use milvusdm::sink::held::Held;
use milvusdm::sink::{Action, Attempt, SINKS, Sink};
use tempfile::TempDir;

use crate::conformance::inputs::{DIMENSION, ROWS, id, vectors};
use crate::conformance::stand_in::StandIn;
use crate::support::fake_milvus::Fake;
use crate::support::{Engine, Server, finish, target};

/// A destination, ready to be filled, and what must live as long as it does.
struct Destination {
    settings: String,
    /// What is there, as far as it can be told from outside.
    state: Box<dyn Fn() -> String>,
}

/// A kind of sink over one destination: its name in a job, and what makes the destination.
type Case = (&'static str, fn(&Path) -> Destination);

/// All of them.
const KINDS: &[Case] = &[
    ("hdf5", file),
    ("hdf5", packed_file),
    ("parquet", directory),
    ("parquet", small_files),
    ("milvus", stand_in),
    ("milvus", real),
    ("milvus1", stand_in_1x),
];

fn listing(dir: &Path) -> String {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    format!("{names:?}")
}

fn file_with(dir: &Path, more: &str) -> Destination {
    let dir = dir.to_owned();
    Destination {
        settings: format!("path: '{}'{more}", dir.join("out.h5").display()),
        state: Box::new(move || listing(&dir)),
    }
}

fn file(dir: &Path) -> Destination {
    file_with(dir, "")
}

fn packed_file(dir: &Path) -> Destination {
    file_with(dir, ", compression: gzip1, chunk_rows: 4")
}

fn directory_with(dir: &Path, more: &str) -> Destination {
    let dir = dir.to_owned();
    Destination {
        settings: format!("dir: '{}'{more}", dir.join("out").display()),
        state: Box::new(move || listing(&dir)),
    }
}

fn directory(dir: &Path) -> Destination {
    directory_with(dir, "")
}

fn small_files(dir: &Path) -> Destination {
    directory_with(dir, ", rows_per_file: 4, compression: none")
}

fn stand_in(_: &Path) -> Destination {
    let fake = Fake::start("v2.3.5");
    Destination {
        settings: format!(
            "address: '{}', collection: conformance, password: 'hush-hush', user: root",
            fake.address
        ),
        state: Box::new(move || {
            format!(
                "{} {}",
                fake.calls("CreateCollection"),
                fake.arrived().len()
            )
        }),
    }
}

fn real(_: &Path) -> Destination {
    let server = Server::shared(Engine::Standalone);
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Destination {
        settings: format!(
            "address: '{}', collection: conformance_{number}, index: {{type: FLAT}}, load: true",
            server.address()
        ),
        state: Box::new(String::new),
    }
}

fn stand_in_1x(_: &Path) -> Destination {
    let server = StandIn::start(&[]);
    Destination {
        settings: format!("address: '{}', collection: conformance", server.address()),
        state: Box::new(move || {
            let calls = server.calls();
            let writes = calls
                .iter()
                .filter(|c| ["CreateTable", "Insert", "CreatePartition"].contains(&c.as_str()));
            format!("{}", writes.count())
        }),
    }
}

fn each(check: impl Fn(&str, &Destination)) {
    for kind in SINKS {
        assert!(
            KINDS.iter().any(|(name, _)| *name == kind.name),
            "{} is not in KINDS",
            kind.name
        );
    }
    for (name, make) in KINDS {
        let dir: TempDir = tempfile::tempdir().unwrap();
        check(name, &make(dir.path()));
    }
}

fn open(kind: &str, settings: &str) -> Result<Box<dyn Sink>> {
    let text = format!("source: {{none: {{}}}}\nsink: {{{kind}: {{{settings}}}}}\n");
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    let known = SINKS.iter().find(|k| k.name == kind).unwrap();
    let mut form = Form::new(
        "sink",
        job.sink.settings.clone(),
        known.settings,
        &job.mistakes,
    );
    let spec = (known.read)(&mut form);
    form.done();
    job.check().unwrap();
    spec.unwrap().open(&job.run)
}

const FLOATS: VectorType = VectorType {
    element: Element::Float32,
    dimension: DIMENSION as u32,
};

fn aimed(sink: &dyn Sink, kind: VectorType) -> Target {
    let metric = match kind.is_binary() {
        true => Metric::Hamming,
        false => Metric::L2,
    };
    let target = target(sink, kind);
    Target {
        rows: ROWS as u64,
        columns: target.columns.measured(Some(metric), None),
        ..target
    }
}

/// All rows in batches of these sizes, two parts each.
fn batches(target: &Target, sizes: &[usize]) -> Vec<Batch> {
    let bytes = Bytes::from([vec![0], vectors()].concat()).slice(1..);
    let file = Path::new("rows").into();
    let (mut first, mut found) = (0, Vec::new());
    for size in sizes.iter().cycle() {
        if first == ROWS {
            break;
        }
        let past = ROWS.min(first + size);
        let part = |from: usize, to: usize| {
            let bytes = bytes.slice(from * DIMENSION * 4..to * DIMENSION * 4);
            let ids = (from..to).map(id).collect();
            Part::of_vectors(&target.columns, ids, bytes, &file, from as u64).unwrap()
        };
        let middle = first + (past - first) / 2;
        let parts = [part(first, middle), part(middle, past)];
        found.push(Batch {
            id: BatchId {
                run: 9,
                shard: 0,
                index: found.len() as u32,
            },
            target: target.number,
            first_row: first as u64,
            parts: parts.into_iter().filter(|p| !p.is_empty()).collect(),
            next: Position::Row(past as u64),
        });
        first = past;
    }
    found
}

#[test]
fn packing_is_pure_and_its_digest_is_of_all_rows() {
    each(|kind, destination| {
        let sink = open(kind, &destination.settings).unwrap();
        let target = aimed(&*sink, FLOATS);
        let decision = sink.decide(&target).unwrap();
        sink.prepare(&target, &decision, false).unwrap();
        let buffers = Buffers::default();
        for batch in batches(&target, &[5, 1, 9]) {
            let rows: Vec<(i64, Vec<u8>)> = batch
                .parts
                .iter()
                .flat_map(|p| {
                    p.ids()
                        .iter()
                        .copied()
                        .zip(p.vectors().chunks(DIMENSION * 4).map(<[u8]>::to_vec))
                })
                .collect();
            let digest = rows
                .iter()
                .fold(0u64, |d, (id, v)| d.wrapping_add(row_digest(*id, v)));
            let [one, two] = [0, 1].map(|_| sink.pack(batch.clone(), buffers.take()).unwrap());
            assert_eq!(one.body.concat(), two.body.concat(), "{kind}");
            assert_eq!(
                (one.rows as usize, one.digest),
                (rows.len(), digest),
                "{kind}"
            );
            assert_eq!(
                one.payload_bytes,
                (rows.len() * (DIMENSION * 4 + 8)) as u64,
                "{kind}"
            );
            assert!(one.left_out.is_empty(), "{kind}");
            if let Some((left, right)) = batch.halves() {
                let halves =
                    [left, right].map(|half| sink.pack(half, buffers.take()).unwrap().digest);
                assert_eq!(halves[0].wrapping_add(halves[1]), digest, "{kind}");
            }
        }
        sink.abandon(&target, &decision);
    });
}

#[test]
fn limits_are_never_more_than_wanted_and_stay() {
    each(|kind, destination| {
        let sink = open(kind, &destination.settings).unwrap();
        for batch_bytes in [4096, 4 << 20, 60 << 20] {
            let wanted = Limits {
                batch_bytes,
                batch_rows: 1 << 20,
            };
            let limits = sink.limits(wanted);
            assert!(
                limits.batch_bytes <= batch_bytes && limits.batch_rows <= 1 << 20,
                "{kind}"
            );
            assert_eq!(sink.limits(limits), limits, "{kind}");
        }
    });
}

#[test]
fn looking_changes_nothing_and_says_no_secret() {
    each(|kind, destination| {
        let before = (destination.state)();
        let sink = open(kind, &destination.settings).unwrap();
        assert!(
            !sink.describe().contains("hush"),
            "{kind}: {}",
            sink.describe()
        );
        let target = aimed(&*sink, FLOATS);
        let decision = sink.decide(&target).unwrap();
        assert_eq!(decision, sink.decide(&target).unwrap(), "{kind}");
        assert_eq!(
            (decision.action, decision.rows_before),
            (Action::Create, 0),
            "{kind}"
        );
        assert_eq!((destination.state)(), before, "{kind}: a look left traces");
    });
}

#[test]
fn what_was_delivered_is_counted_and_found_again() {
    each(|kind, destination| {
        let sink = open(kind, &destination.settings).unwrap();
        let target = aimed(&*sink, FLOATS);
        let decision = sink.decide(&target).unwrap();
        sink.prepare(&target, &decision, false).unwrap();
        sink.settle(&target, decision).unwrap();
        let batches = batches(&target, &[5, 1, 9]);
        let mut order: Vec<&Batch> = batches.iter().collect();
        if !sink.in_order() {
            order.reverse();
        }
        let buffers = Buffers::default();
        for batch in order {
            let parcel = sink.pack(batch.clone(), buffers.take()).unwrap();
            let receipt = sink.deliver(&parcel, Attempt::First).unwrap();
            assert_eq!(receipt.rows, parcel.rows, "{kind}");
        }
        finish(&*sink, &target).unwrap();
        // Safe to repeat: the program may have died right after it.
        finish(&*sink, &target).unwrap();
        assert_eq!(sink.count(&target).unwrap().rows, ROWS as u64, "{kind}");
        match sink.held(&target).unwrap() {
            Held::Rows(mut holder) => {
                for batch in &batches {
                    let compared = holder
                        .compare(&holder.as_delivered(batch.clone()).unwrap())
                        .unwrap();
                    assert_eq!(
                        (compared.rows, compared.differing),
                        (batch.rows(), 0),
                        "{kind}"
                    );
                }
                let part = &batches[0].parts[0];
                let mut vectors = part.vectors().to_vec();
                vectors[0] ^= 1;
                let odd = Batch {
                    parts: vec![part.with_vectors(&target.columns, vectors.into())],
                    ..batches[0].clone()
                };
                assert_eq!(holder.compare(&odd).unwrap().differing, 1, "{kind}: a bit");
            }
            Held::Hidden { why, hint } => assert!(!why.is_empty() && !hint.is_empty(), "{kind}"),
            Held::Another(why) => panic!("{kind}: {why}"),
        }
        // Another sink on the same settings sees it.
        let again = open(kind, &destination.settings).unwrap();
        match again.decide(&target) {
            Ok(found) => assert_eq!(
                (found.action, found.rows_before),
                (Action::Append, ROWS as u64),
                "{kind}"
            ),
            Err(error) => assert_eq!(error.kind(), Kind::Job, "{kind}: {error}"),
        }
        let narrow = VectorType {
            dimension: 4,
            ..FLOATS
        };
        let bits = VectorType {
            element: Element::Bit,
            dimension: 64,
        };
        for other in [narrow, bits] {
            let again = open(kind, &destination.settings).unwrap();
            let error = again.decide(&aimed(&*again, other)).unwrap_err();
            let refused = [Kind::Job, Kind::Refused].contains(&error.kind());
            assert!(refused, "{kind}: {other}: {error}");
        }
    });
}
