//! The file of an etcd that holds the metadata of a Milvus 2.x.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::milvus2::inspect;

use super::support::{golden2, room};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| room("milvus2_meta"));

pub fn run(bytes: &[u8]) {
    let path = ROOM.join("db");
    std::fs::write(&path, bytes).unwrap();
    if let Ok(Some(description)) = inspect(&path) {
        assert!(!description.to_string().is_empty());
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let room = golden2("milvus2_meta_seed");
    let whole = std::fs::read(room.join("storage/etcd.data/member/snap/db")).unwrap();
    // With what stands for the sum of a snapshot behind it.
    vec![[&whole[..], &[7; 32]].concat(), whole]
}
