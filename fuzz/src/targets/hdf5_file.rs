//! A whole HDF5 file. What libhdf5 makes of it before we see it is libhdf5's: see README.md.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::hdf5::{KIND, inspect};

use super::support::{hdf5_files, open, read_all, repository, room};

static PATH: LazyLock<PathBuf> = LazyLock::new(|| room("hdf5").join("a.h5"));

pub fn run(bytes: &[u8]) {
    std::fs::write(&*PATH, bytes).unwrap();
    let access = ["map", "read"][bytes.len() % 2];
    let settings = format!("{{paths: ['{}'], access: {access}}}", PATH.display());
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
    let _ = inspect(&PATH).map(|d| d.to_string());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = hdf5_files();
    seeds.push(std::fs::read(repository("tests/fixtures/hdf5/byte_example.h5")).unwrap());
    seeds
}
