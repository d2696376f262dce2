//! What the tests share: jobs into sinks, rows into batches, h5py as the judge.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Cut, Keys, Limits, Part, Position, Target, TargetName};
use milvusdm::buffers::Buffers;
use milvusdm::error::Result;
use milvusdm::job::{Form, Job};
use milvusdm::schema::{Columns, Element, Metric, VectorType};
use milvusdm::sink::{Action, Attempt, SINKS, Sink};
use milvusdm::source::{SOURCES, Source};

/// The Python of the test environment, which has h5py and numpy.
pub fn python() -> PathBuf {
    let env = std::env::var_os("MILVUSDM_TEST_ENV").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/milvusdm/test-env"),
        PathBuf::from,
    );
    env.join("ms/venv/bin/python")
}

/// What a script says; it gets `args` as `sys.argv[1:]`.
pub fn py(script: &str, args: &[&Path]) -> String {
    let python = python();
    let mut command = Command::new(&python);
    command.arg("-c");
    command.arg(format!(
        "import sys, h5py, numpy as np, json, hashlib\n{script}"
    ));
    let out = command.args(args).output();
    let out = out.unwrap_or_else(|e| panic!("{}: {e}; see MILVUSDM_TEST_ENV", python.display()));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}\n{script}");
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

/// The sink of these settings (flow-style YAML).
pub fn sink(settings: &str) -> Box<dyn Sink> {
    let text = format!("source: {{none: {{}}}}\nsink: {{hdf5: {settings}}}\n");
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    let kind = SINKS.iter().find(|k| k.name == "hdf5").unwrap();
    let mut form = Form::new(
        "sink.hdf5",
        job.sink.settings.clone(),
        kind.settings,
        &job.mistakes,
    );
    let spec = (kind.read)(&mut form);
    form.done();
    job.check().unwrap();
    spec.unwrap().open(&job.run).unwrap()
}

/// The mistakes in these settings.
pub fn mistakes(settings: &str) -> String {
    let text = format!("source: {{none: {{}}}}\nsink: {{hdf5: {settings}}}\n");
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    let kind = SINKS.iter().find(|k| k.name == "hdf5").unwrap();
    let mut form = Form::new(
        "sink.hdf5",
        job.sink.settings.clone(),
        kind.settings,
        &job.mistakes,
    );
    let _ = (kind.read)(&mut form);
    form.done();
    job.check().unwrap_err().to_string()
}

pub fn target(number: u32, name: (&str, &str), vector: VectorType, rows: u64) -> Target {
    Target {
        number,
        name: TargetName {
            collection: name.0.into(),
            partition: name.1.into(),
        },
        columns: Columns::plain("id", "embedding", vector).unwrap().measured(
            Some(if vector.is_binary() {
                Metric::Jaccard
            } else {
                Metric::L2
            }),
            None,
        ),
        traits: Default::default(),
        keys: Keys::Stored,
        auto_id: false,
        rows,
        rows_deleted: 0,
        source: "somewhere".into(),
    }
}

pub fn vector(element: Element, dimension: u32) -> VectorType {
    VectorType { element, dimension }
}

/// Bytes that look random, always the same.
pub fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&(seed >> 16).to_le_bytes()[..4]);
    }
    bytes.truncate(len);
    bytes
}

/// Vectors of a type with every bit pattern among them, NaN too; `squeezable` ones compress.
pub fn payload(vector: VectorType, rows: u64, squeezable: bool) -> Vec<u8> {
    let len = (vector.row_bytes() * rows) as usize;
    let mut bytes = noise(len, 7);
    if squeezable {
        bytes.iter_mut().skip(1).step_by(2).for_each(|b| *b = 63);
    }
    bytes
}

pub fn id_of(row: u64) -> i64 {
    (row as i64).wrapping_mul(-7_046_029_254_386_353_131)
}

/// The batches of a target: `sizes` rows each over and over, each batch of up to three parts.
pub fn batches(target: &Target, bytes: &Bytes, sizes: &[u64]) -> Vec<Batch> {
    let width = target.vector().row_bytes();
    let file: Arc<Path> = Path::new("source").into();
    let mut out = Vec::new();
    let (mut first, mut sizes) = (0, sizes.iter().cycle());
    while first < target.rows {
        let rows = (*sizes.next().unwrap()).min(target.rows - first);
        let mut parts = Vec::new();
        let mut at = first;
        for share in [rows / 3, rows / 2 - rows / 3, rows - rows / 2] {
            let ids = (at..at + share).map(id_of).collect();
            let slice = bytes.slice((at * width) as usize..((at + share) * width) as usize);
            if share > 0 {
                parts.push(Part::of_vectors(&target.columns, ids, slice, &file, at).unwrap());
            }
            at += share;
        }
        out.push(Batch {
            id: BatchId {
                run: 1,
                shard: 0,
                index: out.len() as u32,
            },
            target: target.number,
            first_row: first,
            parts,
            next: Position::Row(first + rows),
        });
        first += rows;
    }
    out
}

/// Decides, prepares, carries all batches in this order on so many threads, and finishes. The sum of the digests.
pub fn carry(sink: &dyn Sink, target: &Target, batches: Vec<Batch>, threads: usize) -> Result<u64> {
    let decision = sink.decide(target)?;
    if decision.action == Action::Skip {
        return Ok(0);
    }
    sink.prepare(target, &decision, false)?;
    let rooms = Buffers::default();
    let queue = std::sync::Mutex::new(batches.into_iter());
    let digest = std::sync::Mutex::new(0u64);
    let worker = || -> Result<()> {
        loop {
            let Some(batch) = queue.lock().unwrap().next() else {
                return Ok(());
            };
            let parcel = sink.pack(batch, rooms.take())?;
            let receipt = sink.deliver(&parcel, Attempt::First)?;
            assert_eq!(receipt.rows, parcel.rows);
            let mut digest = digest.lock().unwrap();
            *digest = digest.wrapping_add(parcel.digest);
        }
    };
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap())
    });
    if let Err(error) = done.and_then(|()| sink.finish(target)) {
        sink.abandon(target, &decision);
        return Err(error);
    }
    Ok(digest.into_inner().unwrap())
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The source of these settings (flow-style YAML).
pub fn source(settings: &str) -> Result<Box<dyn Source>> {
    let text = format!("source: {{hdf5: {settings}}}\nsink: {{none: {{}}}}\n");
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    let kind = SOURCES.iter().find(|k| k.name == "hdf5").unwrap();
    let mut form = Form::new(
        "source.hdf5",
        job.source.settings.clone(),
        kind.settings,
        &job.mistakes,
    );
    let spec = (kind.read)(&mut form);
    form.done();
    job.check()?;
    spec.unwrap().open()
}

/// Batches of so many rows.
pub fn limits(rows: u64) -> Limits {
    Limits {
        batch_bytes: 4 << 20,
        batch_rows: rows,
    }
}

/// What a source hands over for each target: its ids and its vectors' bytes. Checks on the way that shards and
/// batches lie one after the other, and that reading goes on from any position.
pub fn read_all(source: &dyn Source, limits: Limits) -> Result<Vec<(Vec<i64>, Vec<u8>)>> {
    let survey = source.survey(limits)?;
    let manifest = survey.manifest;
    let mut out = vec![(Vec::new(), Vec::new()); manifest.targets.len()];
    for (number, shard) in manifest.shards.iter().enumerate() {
        assert_eq!(shard.number as usize, number);
        let (ids, bytes) = &mut out[shard.target as usize];
        assert_eq!(shard.first_row, ids.len() as u64, "{}", shard.name);
        let vector = manifest.targets[shard.target as usize].vector();
        let before = ids.len();
        let mut from = shard.start.clone();
        let mut reader = source.open(shard, from.clone(), limits)?;
        while let Some(cut) = reader.next()? {
            let rows: usize = cut.parts.iter().map(Part::len).sum();
            assert!(rows > 0 && rows as u64 <= limits.rows(vector));
            let mut row = from.row();
            for part in &cut.parts {
                assert!(!part.is_empty());
                assert_eq!(part.row, row);
                row += part.len() as u64;
                ids.extend_from_slice(part.ids());
                bytes.extend_from_slice(part.vectors());
            }
            // The same batch again, from its position.
            let again = source.open(shard, from.clone(), limits)?.next()?.unwrap();
            assert_eq!(again.next, cut.next);
            let flat = |c: &Cut| {
                c.parts
                    .iter()
                    .flat_map(|p| p.vectors().to_vec())
                    .collect::<Vec<_>>()
            };
            assert!(flat(&again) == flat(&cut));
            from = cut.next;
        }
        assert_eq!(from, shard.end);
        assert_eq!((ids.len() - before) as u64, shard.rows);
    }
    for (target, (ids, bytes)) in manifest.targets.iter().zip(&out) {
        assert_eq!(target.rows, ids.len() as u64);
        assert_eq!(
            bytes.len() as u64,
            target.rows * target.vector().row_bytes()
        );
    }
    source.unchanged()?;
    Ok(out)
}
