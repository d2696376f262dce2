//! A Faiss index file, and the file its inverted lists, or its ids, may lie in:
//! `| bytes of lists 2 | lists … | index … |`.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::format::faiss::inspect;
use milvusdm::input::View;
use milvusdm::source::faiss::KIND;

use super::support::{files, open, read_all, repository, room};

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
    let settings = settings.replace("lists:", "ids_file:");
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |path: PathBuf| {
        let lists = std::fs::read(path.with_extension("ivfdata")).unwrap_or_default();
        let len = (lists.len() as u16).to_le_bytes();
        [&len[..], &lists, &std::fs::read(path).unwrap()].concat()
    };
    let mut seeds: Vec<Vec<u8>> = files("tests/fixtures/faiss", ".index")
        .into_iter()
        .map(seed)
        .collect();
    // Ids of twelve rows, as lines and as an array.
    let lines: String = (0..12).map(|id| format!("{}\n", id * 7 - 3)).collect();
    let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (12,), }\n";
    let mut array = b"\x93NUMPY\x01\0".to_vec();
    array.extend((header.len() as u16).to_le_bytes());
    array.extend(header.bytes());
    array.extend([3; 96]);
    let index = std::fs::read(repository("tests/fixtures/faiss/ivf_array_map.index")).unwrap();
    for ids in [lines.into_bytes(), array] {
        seeds.push([&(ids.len() as u16).to_le_bytes()[..], &ids, &index].concat());
    }
    seeds
}
