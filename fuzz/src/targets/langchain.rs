//! A pickle beside an index of eleven rows, as LangChain's FAISS store saves both.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::langchain::KIND;

use super::support::{open, read_all, room};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| {
    let room = room("langchain");
    let index = include_bytes!("../../../tests/fixtures/langchain/current/index.faiss");
    std::fs::write(room.join("index.faiss"), index).unwrap();
    room
});

pub fn run(bytes: &[u8]) {
    std::fs::write(ROOM.join("index.pkl"), bytes).unwrap();
    let settings = format!("{{path: '{}'}}", ROOM.display());
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let saved = include_bytes!("../../../tests/fixtures/langchain/current/index.pkl");
    let evil = b"cos\nsystem\n(X\x02\0\0\0lstR.";
    // A list that holds itself, and one that holds another often.
    let endless = b"\x80\x04]\x94h\0a.";
    let wide = b"\x80\x04]\x94(h\0h\0h\0h\0e\x85\x94h\x01h\x01\x86.";
    vec![
        saved.to_vec(),
        evil.to_vec(),
        endless.to_vec(),
        wide.to_vec(),
    ]
}
