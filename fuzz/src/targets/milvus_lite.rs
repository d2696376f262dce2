//! One damaged file of Milvus Lite: `| which 1 | its bytes … |`, in a directory of 3.x, or the file of 2.x.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use milvusdm::source::milvus_lite::{KIND, inspect};

use super::milvus1_directory::copy;
use super::support::{open, read_all, repository, room};

/// A directory, its files with what is in them, and a file of 2.x beside it.
type Room = (PathBuf, Vec<(PathBuf, Vec<u8>)>);

static ROOM: LazyLock<Room> = LazyLock::new(|| {
    let room = room("milvus_lite");
    copy(&repository("tests/fixtures/milvus_lite"), &room);
    let mut files = Vec::new();
    find(&room, &mut files);
    files.sort();
    let files = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e != "md"));
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    (room, files.map(read).collect())
});

fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => find(&path, found),
            false => found.push(path),
        }
    }
}

pub fn run(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let (room, files) = &*ROOM;
    let (path, whole) = &files[usize::from(*which) % files.len()];
    let kept = match path.extension().is_some_and(|ending| ending == "db") {
        true => path.clone(),
        false => room.join("lite"),
    };
    std::fs::write(path, bytes).unwrap();
    let settings = format!("{{path: '{}'}}", kept.display());
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
    let _ = inspect(&kept).map(|told| told.to_string());
    std::fs::write(path, whole).unwrap();
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |(which, file): (usize, &(PathBuf, Vec<u8>))| [&[which as u8][..], &file.1].concat();
    ROOM.1.iter().enumerate().map(seed).collect()
}
