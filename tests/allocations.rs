//! Packing allocates a handful of times for a batch, however many rows it has and however they lie.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Part, Position};
use milvusdm::buffers::Buffers;
use milvusdm::convert::Conversion;
use milvusdm::job::{Job, Misfits, NonFinite};
use milvusdm::milvus::wire::Envelope;
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::sink::milvus::pack::{Rules, pack};

const RULES: Rules = Rules {
    non_finite: NonFinite::Fail,
    misfit: Misfits::Fail,
};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no count any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `realloc`, which is the same here.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`, which is the same here.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const KIND: VectorType = VectorType {
    element: Element::Float32,
    dimension: 16,
};

/// A batch of so many parts of so many rows each.
fn batch(parts: usize, rows: usize) -> Batch {
    let columns = Columns::plain("id", "embedding", KIND).unwrap();
    let file: Arc<Path> = Path::new("x").into();
    let part = |number: usize| {
        let ids = (0..rows).map(|row| (number * rows + row) as i64);
        let bytes = Bytes::from(vec![1; rows * KIND.row_bytes() as usize]);
        Part::of_vectors(&columns, ids.collect(), bytes, &file, 0).unwrap()
    };
    Batch {
        id: BatchId {
            run: 1,
            shard: 0,
            index: 0,
        },
        target: 0,
        first_row: 0,
        parts: (0..parts).map(part).collect(),
        next: Position::Row(0),
    }
}

/// Allocations of packing that batch, in a room that has grown to its size before.
fn allocations(parts: usize, rows: usize) -> usize {
    let envelope = Envelope::plain("default", "products", "", Some("id"), ("embedding", KIND));
    let rooms = Buffers::default();
    let mut last = 0;
    for _ in 0..3 {
        let (batch, room) = (batch(parts, rows), rooms.take());
        let before = COUNT.get();
        let parcel = pack(&envelope, &[], RULES, batch, room).unwrap();
        last = COUNT.get() - before;
        assert_eq!(parcel.rows as usize, parts * rows);
    }
    last
}

/// Allocations of converting such a batch, in rooms that have grown to its size before.
fn conversions(settings: &str, rows: usize) -> usize {
    let fields = format!("fields: {{vector: {{{settings}}}}}");
    let text = format!("source: {{faiss: {{path: x}}}}\nsink: {{hdf5: {{path: y}}}}\n{fields}\n");
    let job = Job::parse(Path::new("test.yaml"), text).unwrap();
    job.check().unwrap();
    let conversion = Conversion::asked(&job.fields).unwrap();
    let columns = Columns::plain("id", "embedding", conversion.becomes(KIND).unwrap()).unwrap();
    let rooms = Buffers::default();
    let mut last = 0;
    for _ in 0..3 {
        let batch = batch(1, rows);
        let before = COUNT.get();
        let converted = conversion.apply(&columns, batch, NonFinite::Fail, &rooms);
        last = COUNT.get() - before;
        assert_eq!(converted.unwrap().batch.rows() as usize, rows);
    }
    last
}

#[test]
fn converting_allocates_a_constant_number_of_times() {
    for settings in [
        "as: float16",
        "as: bfloat16, normalize: l2",
        "normalize: l2",
    ] {
        let counts = [1, 1000, 60_000].map(|rows| conversions(settings, rows));
        assert_eq!(counts, [counts[0]; 3], "{settings}");
        assert!(counts[0] <= 12, "{settings}: {counts:?}");
    }
}

#[test]
fn packing_allocates_a_constant_number_of_times() {
    let rows_that_stay = [1024, 5000, 60_000].map(|rows| allocations(1, rows));
    assert_eq!(rows_that_stay, [rows_that_stay[0]; 3]);
    let gathered = [(1, 10), (1, 1000), (500, 10), (5000, 1)];
    let gathered = gathered.map(|(parts, rows)| allocations(parts, rows));
    assert_eq!(gathered, [gathered[0]; 4]);
    assert!(rows_that_stay[0] <= 8, "{rows_that_stay:?}");
    assert!(gathered[0] <= 8, "{gathered:?}");
}
