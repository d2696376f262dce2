//! What each reader costs: all batches of a source, every vector byte read once (the row digest), one thread, page
//! cache warm; and the HDF5 sink, from rows to a finished file.
//!
//! `cargo bench --bench scan` after `tests/setup`, whose Python writes the files: 200,000 rows of 128 components each.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use milvusdm::batch::{Batch, BatchId, Limits};
use milvusdm::buffers::Buffers;
use milvusdm::job::{Form, Job};
use milvusdm::simd;
use milvusdm::sink::{Attempt, Finishing, SINKS, Sink};
use milvusdm::source::{SOURCES, Source};

const ROW_BYTES: u64 = 4 * 128;
const ROWS: u64 = 200_000;
const LIMITS: Limits = Limits {
    batch_bytes: 4 << 20,
    batch_rows: 1 << 20,
};

/// Runs Python to write the files.
fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let env = std::env::var_os("MILVUSDM_TEST_ENV").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/milvusdm/test-env"),
        PathBuf::from,
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/support/scan_data.py");
    let made = Command::new(env.join("ms/venv/bin/python"))
        .arg(script)
        .arg(dir.path())
        .status();
    assert!(
        made.is_ok_and(|s| s.success()),
        "tests/setup installs what this needs"
    );
    dir
}

fn job(source: &str, sink: &str) -> Job {
    let text = format!("source: {{{source}}}\nsink: {{{sink}}}\n");
    Job::parse(Path::new("bench.yaml"), text).unwrap()
}

fn source(kind: &str, settings: &str) -> Box<dyn Source> {
    let job = job(&format!("{kind}: {{{settings}}}"), "none: {}");
    let found = SOURCES.iter().find(|k| k.name == kind).unwrap();
    let mut form = Form::new(
        "source",
        job.source.settings.clone(),
        found.settings,
        &job.mistakes,
    );
    let spec = (found.read)(&mut form).unwrap();
    spec.open().unwrap()
}

fn hdf5_sink(settings: &str) -> Box<dyn Sink> {
    let job = job("none: {}", &format!("hdf5: {{{settings}}}"));
    let found = SINKS.iter().find(|k| k.name == "hdf5").unwrap();
    let mut form = Form::new(
        "sink",
        job.sink.settings.clone(),
        found.settings,
        &job.mistakes,
    );
    let spec = (found.read)(&mut form).unwrap();
    spec.open(&job.run).unwrap()
}

/// Reads all batches. Returns the rows seen, and their digest.
fn scan(source: &dyn Source) -> (u64, u64) {
    let manifest = source.survey(LIMITS).unwrap().manifest;
    let (mut rows, mut digest) = (0, 0u64);
    for shard in &manifest.shards {
        let mut reader = source.open(shard, shard.start.clone(), LIMITS).unwrap();
        while let Some(cut) = reader.next().unwrap() {
            for part in &cut.parts {
                rows += part.len() as u64;
                let digested = simd::digest_rows(part.ids(), part.vectors(), ROW_BYTES as usize);
                digest = digest.wrapping_add(digested);
            }
        }
    }
    (rows, digest)
}

fn readers(c: &mut Criterion) {
    let dir = data();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut group = c.benchmark_group("scan");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    let mut digests = Vec::new();
    for (name, kind, settings) in [
        (
            "faiss flat",
            "faiss",
            format!("path: {}", path("flat.index")),
        ),
        ("faiss ivf", "faiss", format!("path: {}", path("ivf.index"))),
        (
            "faiss sq8",
            "faiss",
            format!("path: {}, lossy: allow", path("sq8.index")),
        ),
        (
            "hdf5 contiguous",
            "hdf5",
            format!("paths: {}", path("plain.h5")),
        ),
        (
            "hdf5 chunked",
            "hdf5",
            format!("paths: {}", path("chunked.h5")),
        ),
        (
            "hdf5 gzip1 and shuffle",
            "hdf5",
            format!("paths: {}", path("gzip.h5")),
        ),
        (
            "hdf5 big-endian doubles",
            "hdf5",
            format!("paths: {}", path("doubles.h5")),
        ),
        ("milvus1", "milvus1", format!("path: {}", path("whole"))),
        (
            "milvus1, 1 % deleted",
            "milvus1",
            format!("path: {}", path("deleted")),
        ),
    ] {
        let source = source(kind, &settings);
        let (rows, digest) = scan(&*source);
        assert!(
            rows == ROWS || name.ends_with("deleted") && rows == ROWS - ROWS / 100,
            "{name}: {rows}"
        );
        if kind != "milvus1" && !name.ends_with("sq8") {
            digests.push(digest);
        }
        group.throughput(Throughput::Bytes(rows * ROW_BYTES));
        group.bench_function(name, |b| b.iter(|| black_box(scan(&*source))));
    }
    // The same rows under the same ids, whatever their layout.
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    group.finish();

    let mut group = c.benchmark_group("hdf5 out");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(ROWS * ROW_BYTES));
    let source = source("faiss", &format!("path: {}", path("flat.index")));
    for (name, settings) in [
        ("uncompressed", ""),
        ("gzip1 and shuffle", ", compression: gzip1, shuffle: true"),
    ] {
        let out = path("out.h5");
        let settings = format!("path: {out}, mode: overwrite{settings}");
        group.bench_function(name, |b| {
            b.iter(|| {
                carry(&*source, &*hdf5_sink(&settings));
                std::fs::remove_file(&out).unwrap();
            })
        });
    }
    group.finish();
}

/// Writes every batch into a file, on this thread.
fn carry(source: &dyn Source, sink: &dyn Sink) {
    let manifest = source.survey(LIMITS).unwrap().manifest;
    let target = &manifest.targets[0];
    let decision = sink.decide(target).unwrap();
    sink.prepare(target, &decision, false).unwrap();
    let rooms = Buffers::default();
    for shard in &manifest.shards {
        let mut reader = source.open(shard, shard.start.clone(), LIMITS).unwrap();
        let (mut first_row, mut index) = (shard.first_row, 0);
        while let Some(cut) = reader.next().unwrap() {
            let batch = Batch {
                id: BatchId {
                    run: 1,
                    shard: shard.number,
                    index,
                },
                target: target.number,
                first_row,
                parts: cut.parts,
                next: cut.next,
            };
            first_row += batch.rows();
            index += 1;
            let parcel = sink.pack(batch, rooms.take()).unwrap();
            sink.deliver(&parcel, Attempt::First).unwrap();
        }
    }
    assert_eq!(sink.finish(target).unwrap(), Finishing::Done);
}

criterion_group!(benches, readers);
criterion_main!(benches);
