//! Rows into real servers: Milvus 2.3.5 standalone, Milvus Lite 3.2.2 and 2.5.1.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Keys, Limits, Part, Position, Target, TargetName};
use milvusdm::error::{Kind, Result};
use milvusdm::job::{Form, Job};
use milvusdm::schema::{Element, Metric, VectorType, schema};
use milvusdm::sink::milvus::KIND;
use milvusdm::sink::{Action, Attempt, Count, Decision, Redelivery, Rooms, Sink, Strength};

use support::{Certificates, Engine, Server, run_python};

/// A sink as a job opens it.
fn open(sink: &str, run: &str) -> Result<Box<dyn Sink>> {
    let text =
        format!("source: {{faiss: {{path: x}}}}\nsink: {{milvus: {{{sink}}}}}\nrun: {{{run}}}\n");
    let job = Job::parse(Path::new("test.yaml"), text).unwrap();
    let mut form = Form::new("sink.milvus", job.sink.settings.clone(), &job.mistakes);
    let spec = (KIND.read)(&mut form);
    form.done();
    job.check().unwrap();
    spec.unwrap().open(&job.run)
}

fn on(server: &Server, sink: &str) -> Box<dyn Sink> {
    open(&format!("address: '{}', {sink}", server.address()), "").unwrap()
}

/// A name no other test uses.
fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

const F32X4: VectorType = VectorType {
    element: Element::Float32,
    dimension: 4,
};

fn target(sink: &dyn Sink, kind: VectorType) -> Target {
    let source = TargetName {
        collection: String::new(),
        partition: String::new(),
    };
    Target {
        number: 0,
        name: sink.name(&source),
        schema: schema("id", "embedding", kind).unwrap(),
        metric: None,
        index: None,
        keys: Keys::Stored,
        auto_id: false,
        rows: 0,
        rows_deleted: 0,
        source: "test".into(),
    }
}

/// The bytes of the vector of an id: finite for every element type.
fn vector(kind: VectorType, id: i64) -> Vec<u8> {
    match kind.element {
        Element::Float32 => (0..kind.dimension)
            .flat_map(|i| (id as f32 + i as f32 / 1024.0).to_le_bytes())
            .collect(),
        _ => (0..kind.row_bytes())
            .map(|i| (id as u8).wrapping_mul(7).wrapping_add(i as u8) & 0x3f)
            .collect(),
    }
}

fn batch(kind: VectorType, index: u32, ids: std::ops::Range<i64>) -> Batch {
    let ids: Vec<i64> = ids.collect();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| vector(kind, *id)).collect();
    batch_of(kind, index, ids, bytes)
}

fn batch_of(kind: VectorType, index: u32, ids: Vec<i64>, bytes: Vec<u8>) -> Batch {
    let schema = schema("id", "embedding", kind).unwrap();
    let file: Arc<Path> = Path::new("/data/x.index").into();
    let part = Part::new(&schema, ids, Bytes::from(bytes), &file, 1000).unwrap();
    Batch {
        id: BatchId {
            run: 0x9f3c,
            shard: 0,
            index,
        },
        target: 0,
        first_row: 0,
        parts: vec![part],
        next: Position(0),
    }
}

fn deliver(sink: &dyn Sink, batch: Batch, attempt: Attempt) -> Result<u32> {
    let parcel = sink.pack(batch, Rooms::default().take())?;
    Ok(sink.deliver(&parcel, attempt)?.rows)
}

/// Decides, prepares, delivers these ids in two batches, finishes, and counts.
fn carry(sink: &dyn Sink, target: &Target, ids: std::ops::Range<i64>) -> Result<(Decision, Count)> {
    let decision = sink.decide(target)?;
    if decision.action == Action::Skip {
        return Ok((decision, sink.count(target)?));
    }
    sink.prepare(target, &decision, false)?;
    let decision = sink.settle(target, decision)?;
    let kind = target.vector();
    let middle = ids.start + (ids.end - ids.start) / 3;
    for (index, ids) in [ids.start..middle, middle..ids.end].into_iter().enumerate() {
        let rows = (ids.end - ids.start) as u32;
        let delivered = deliver(sink, batch(kind, index as u32, ids), Attempt::First)?;
        assert_eq!(delivered, rows);
    }
    sink.finish(target)?;
    Ok((decision, sink.count(target)?))
}

fn statistics(rows: u64) -> Count {
    Count {
        rows,
        strength: Strength::Statistics,
    }
}

fn exact(rows: u64) -> Count {
    Count {
        rows,
        strength: Strength::Exact,
    }
}

#[test]
fn rows_arrive_and_are_counted() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("arrive");
    let sink = on(server, &format!("collection: {name}"));
    assert!(
        sink.describe()
            .starts_with("Milvus v2.3.5-lite at http://127.0.0.1:")
    );
    let target = target(&*sink, F32X4);
    let (decision, count) = carry(&*sink, &target, 0..300).unwrap();
    assert_eq!((decision.action, decision.ours), (Action::Create, true));
    assert_eq!(count, statistics(300));
}
