//! Reads the source of a job as a run does, and discards the rows. Prints one line of JSON: seconds until the source
//! was divided and until all was read, rows and bytes.
//!
//!     source_read JOB.yaml    driven by benches/living and benches/sources

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use milvusdm::batch::Limits;
use milvusdm::job::{Form, Job};
use milvusdm::limits;
use milvusdm::source::SOURCES;

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    let [_, path] = arguments.as_slice() else {
        println!("benches/living and benches/sources run this: it needs a server");
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let job = Job::parse(Path::new(path), text).unwrap();
    let named = |kind: &&milvusdm::source::SourceKind| kind.name == job.source.name;
    let kind = SOURCES.iter().find(named).unwrap();
    let settings = job.source.settings.clone();
    let mut form = Form::new("source", settings, kind.settings, &job.mistakes);
    let source = (kind.read)(&mut form).unwrap().open().unwrap();
    let batches = Limits {
        batch_bytes: job.run.batch_bytes,
        batch_rows: limits::BATCH_ROWS_MAX,
    };
    let start = Instant::now();
    let survey = source.survey(batches).unwrap();
    let divided = start.elapsed();
    let (next, rows, bytes) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..cores.max(source.reads_at_once().unwrap_or(0)) {
            scope.spawn(|| {
                let shards = &survey.manifest.shards;
                while let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut reader = source.open(shard, shard.start.clone(), batches).unwrap();
                    while let Some(cut) = reader.next().unwrap() {
                        for part in &cut.parts {
                            rows.fetch_add(part.len() as u64, Ordering::Relaxed);
                            bytes.fetch_add(part.bytes(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    println!(
        "{{\"divided\": {:.4}, \"wall\": {:.4}, \"rows\": {}, \"bytes\": {}, \"ranges\": {}}}",
        divided.as_secs_f64(),
        start.elapsed().as_secs_f64(),
        rows.into_inner(),
        bytes.into_inner(),
        survey.manifest.shards.len()
    );
}
