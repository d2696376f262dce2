//! What reading vectors from Parquet costs compared with a plain sum of as many bytes: `benches/parquet` runs it.
//!
//! `cargo bench --bench parquet -- FILE ROUNDS`: all batches of the file on one thread, every vector byte summed once,
//! alternating with the sum of the file's own bytes; prints a line of JSON with the seconds of each turn.

#![allow(clippy::print_stdout, unsafe_code)]

#[path = "support/sum.rs"]
mod sum;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use milvusdm::batch::Limits;
use milvusdm::input::{Access, View};
use milvusdm::job::{Form, Job};
use milvusdm::source::{SOURCES, Source};

use sum::sum;

const LIMITS: Limits = Limits {
    batch_bytes: 4 << 20,
    batch_rows: 1 << 20,
};

fn open(file: &str) -> Box<dyn Source> {
    let text = format!("source: {{parquet: {{path: '{file}'}}}}\nsink: {{none: {{}}}}\n");
    let job = Job::parse(Path::new("bench.yaml"), text).unwrap();
    let found = SOURCES.iter().find(|k| k.name == "parquet").unwrap();
    let mut form = Form::new(
        "source",
        job.source.settings.clone(),
        found.settings,
        &job.mistakes,
    );
    (found.read)(&mut form).unwrap().open().unwrap()
}

/// Reads all batches. Returns the vector bytes seen, and their sum.
fn read(file: &str) -> (u64, f32) {
    let source = open(file);
    let manifest = source.survey(LIMITS).unwrap().manifest;
    let (mut bytes, mut total) = (0, 0.0);
    for shard in &manifest.shards {
        let mut reader = source.open(shard, shard.start.clone(), LIMITS).unwrap();
        while let Some(cut) = reader.next().unwrap() {
            for part in &cut.parts {
                bytes += part.vectors().len() as u64;
                total += sum(part.vectors());
            }
        }
    }
    (bytes, total)
}

/// Sums as many bytes of the raw file, freshly mapped, in pieces of a batch.
fn plain(file: &str, bytes: u64) -> f32 {
    let view = View::open(Path::new(file), Access::Map).unwrap();
    let (mut at, mut total) = (0, 0.0);
    let end = bytes.min(view.len());
    while at < end {
        let len = LIMITS.batch_bytes.min(end - at);
        total += sum(&view.cut(at, len).unwrap().bytes().unwrap());
        at += len;
    }
    total
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (Some(file), Some(rounds)) = (arguments.next(), arguments.next()) else {
        // `cargo bench` runs every bench; this one needs a file.
        println!("benches/parquet runs this");
        return;
    };
    let (bytes, _) = black_box(read(&file));
    let (mut ours, mut sums) = (Vec::new(), Vec::new());
    for _ in 0..rounds.parse().unwrap() {
        let start = Instant::now();
        black_box(read(&file));
        ours.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        black_box(plain(&file, bytes));
        sums.push(start.elapsed().as_secs_f64());
    }
    println!("{{\"bytes\": {bytes}, \"read\": {ours:?}, \"sum\": {sums:?}}}");
}
