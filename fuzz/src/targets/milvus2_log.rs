//! A log of a Milvus 2.x at rest, read in its place among others: `| which 1 | file … |`.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::milvus2::FILES;

use super::support::{golden2, open, read_any};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| golden2("milvus2_log"));

/// Logs of a segment: moments, keys, an array of texts, vectors, dynamic fields, deletions.
const LOGS: [&str; 6] = [
    "insert_log/470723403745529279/470723403745529292/470723403745529311/1",
    "insert_log/470723403745529279/470723403745529292/470723403745529311/100",
    "insert_log/470723403745529279/470723403745529292/470723403745529311/117",
    "insert_log/470723403745529279/470723403745529292/470723403745529311/118",
    "insert_log/470723403745529279/470723403745529292/470723403745529311/119",
    "delta_log/470723403745529279/470723403745529292/470723403745529311",
];

fn log(which: usize) -> PathBuf {
    let dir = ROOM.join("storage").join(LOGS[which]);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.remove(0)
}

pub fn run(bytes: &[u8]) {
    let Some((which, file)) = bytes.split_first() else {
        return;
    };
    let path = log(usize::from(*which) % LOGS.len());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, file).unwrap();
    let access = ["map", "read"][bytes.len() % 2];
    let settings = format!(
        "{{path: '{}', access: {access}, collections: {{all_i64: [p2]}}}}",
        ROOM.join("storage").display()
    );
    let read = open(&FILES, &settings).and_then(|source| read_any(&*source));
    std::fs::write(&path, whole).unwrap();
    if let Ok(rows) = read {
        assert!(rows <= 100);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |which: usize| [&[which as u8], &std::fs::read(log(which)).unwrap()[..]].concat();
    (0..LOGS.len()).map(seed).collect()
}
