//! A Faiss index file, and the file its inverted lists may lie in: `| bytes of lists 2 | lists … | index … |`.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::format::faiss::inspect;
use milvusdm::input::View;
use milvusdm::source::faiss::KIND;

use super::support::{files, open, read_all, room};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| room("faiss"));

pub fn run(bytes: &[u8]) {
    let Some((len, rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let (lists, index) = rest.split_at(rest.len().min(u16::from_le_bytes(*len).into()));
    let paths = [ROOM.join("a.index"), ROOM.join("a.ivfdata")];
    std::fs::write(&paths[0], index).unwrap();
    std::fs::write(&paths[1], lists).unwrap();
    let _ = inspect(&View::from_bytes("a.index", index.to_vec())).map(|d| d.to_string());
    let access = ["map", "read"][bytes.len() % 2];
    let settings = format!(
        "{{path: '{}', lists: '{}', lossy: allow, access: {access}}}",
        paths[0].display(),
        paths[1].display()
    );
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |path: PathBuf| {
        let lists = std::fs::read(path.with_extension("ivfdata")).unwrap_or_default();
        let len = (lists.len() as u16).to_le_bytes();
        [&len[..], &lists, &std::fs::read(path).unwrap()].concat()
    };
    files("tests/fixtures/faiss", ".index")
        .into_iter()
        .map(seed)
        .collect()
}
