//! One damaged file in a whole Milvus 1.x directory: `| which 1 | its bytes … |`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use milvusdm::source::milvus1::{KIND, inspect};

use super::support::{open, read_all, repository, room};

/// Files of one collection, and those that speak of all.
const FILES: [&str; 7] = [
    "db/meta.sqlite",
    "db/meta.sqlite-wal",
    "db/tables/f8_unflushed/SEGMENT/SEGMENT.rv",
    "db/tables/f8_unflushed/SEGMENT/SEGMENT.uid",
    "db/tables/f8_unflushed/SEGMENT/deleted_docs",
    "wal/0.wal",
    "wal/mxlog.meta",
];

/// The directory, and its files with what is in them.
type Room = (PathBuf, Vec<(PathBuf, Vec<u8>)>);

static ROOM: LazyLock<Room> = LazyLock::new(|| {
    let room = room("milvus1");
    copy(
        &repository("tests/fixtures/milvus1x/v1.1.1-crash/milvus"),
        &room,
    );
    let segments = std::fs::read_dir(room.join("db/tables/f8_unflushed")).unwrap();
    let segment = segments
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .min()
        .unwrap();
    let there = FILES.map(|file| room.join(file.replace("SEGMENT", &segment)));
    let files = there.map(|path| (path.clone(), std::fs::read(path).unwrap()));
    (room, files.to_vec())
});

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

pub fn run(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let (room, files) = &*ROOM;
    let (path, whole) = &files[usize::from(*which) % files.len()];
    std::fs::write(path, bytes).unwrap();
    let settings = format!(
        "{{path: '{}', ignore_wal: {}}}",
        room.display(),
        which & 0x80 == 0
    );
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
    let _ = inspect(room, None).map(|d| d.to_string());
    std::fs::write(path, whole).unwrap();
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |(which, file): (usize, &(PathBuf, Vec<u8>))| [&[which as u8][..], &file.1].concat();
    let mut seeds: Vec<Vec<u8>> = ROOM.1.iter().enumerate().map(seed).collect();
    seeds.push([&[0x80 + 5][..], &ROOM.1[5].1].concat());
    seeds
}
