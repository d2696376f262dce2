//! A job file, read as far as it can be without touching anything.

use std::path::Path;

use milvusdm::job::{Endpoint, Form, Job, Setting, matches};
use milvusdm::sink::SINKS;
use milvusdm::source::SOURCES;

use super::support::files;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(job) = Job::parse(Path::new("job.yaml"), text.to_owned()) else {
        return;
    };
    let form = |what: &str, endpoint: &Endpoint, settings: &'static [Setting]| {
        let path = format!("{what}.{}", endpoint.name);
        Form::new(path, endpoint.settings.clone(), settings, &job.mistakes)
    };
    if let Some(kind) = SOURCES.iter().find(|kind| kind.name == job.source.name) {
        let mut form = form("source", &job.source, kind.settings);
        let spec = (kind.read)(&mut form);
        assert!(spec.is_some() || !job.mistakes.all().is_empty());
        form.done();
    }
    if let Some(kind) = SINKS.iter().find(|kind| kind.name == job.sink.name) {
        let mut form = form("sink", &job.sink, kind.settings);
        let spec = (kind.read)(&mut form);
        assert!(spec.is_some() || !job.mistakes.all().is_empty());
        form.done();
    }
    assert_eq!(job.check().is_ok(), job.mistakes.all().is_empty());
    for glob in job.collections.allow.iter().chain(&job.collections.block) {
        matches(glob, "prod_aaaaaaaaaaaaaaaaaaaa/p1");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let jobs = files("yamls", ".yaml").into_iter();
    let mut seeds: Vec<Vec<u8>> = jobs.map(|path| std::fs::read(path).unwrap()).collect();
    seeds.push(b"source: {milvus1: {path: a, collections: {c: [_default]}}}\nsink: {hdf5: {dir: b, compression: gzip1}}\ncollections: {allow: ['a*'], block: ['?b/*']}\ninto: {collection: '{partition}'}\nfields: {vector: {name: v, as: float16, normalize: l2}}\nrun: {batch: 4MiB, patience: 10m, on_doubt: stop, verify: off}\n".to_vec());
    seeds
}
