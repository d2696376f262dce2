//! A vector file, named by its format: `| format 1 | file … |`.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::vecs::KIND;

use super::support::{open, read_all, room};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| room("vecs"));

const FORMATS: [&str; 6] = ["fvecs", "bvecs", "ivecs", "fbin", "u8bin", "i8bin"];

pub fn run(bytes: &[u8]) {
    let Some((format, file)) = bytes.split_first() else {
        return;
    };
    let path = ROOM.join("a");
    std::fs::write(&path, file).unwrap();
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let access = ["map", "read"][bytes.len() % 2];
    let settings = format!(
        "{{path: '{}', format: {format}, access: {access}}}",
        path.display()
    );
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let rows = |bytes: usize| (0..5u8).map(move |row| vec![row; 4 * bytes]);
    let seed = |number: usize| {
        let bytes = if [1, 4, 5].contains(&number) { 1 } else { 4 };
        let mut seed = vec![number as u8];
        if number < 3 {
            rows(bytes).for_each(|row| seed.extend([vec![4, 0, 0, 0], row].concat()));
        } else {
            seed.extend([5, 0, 0, 0, 4, 0, 0, 0]);
            rows(bytes).for_each(|row| seed.extend(row));
        }
        seed
    };
    (0..FORMATS.len()).map(seed).collect()
}
