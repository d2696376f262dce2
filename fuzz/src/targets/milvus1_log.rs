//! A file of Milvus 1.x's log, and the one that says where it ends: `| number 1 | <n>.wal, which is mxlog.meta too … |`.

use milvusdm::format::wal::{Records, last_lsn};
use milvusdm::input::View;

use super::support::repository;

pub fn run(bytes: &[u8]) {
    let Some((number, log)) = bytes.split_first() else {
        return;
    };
    let view = View::from_bytes("0.wal", log.to_vec());
    let _ = last_lsn(view.clone());
    let (mut records, mut before) = (Records::new(view, (*number).into()), 0);
    while let Ok(Some(record)) = records.next() {
        assert!(record.lsn as u32 > before, "a log that does not go forward");
        before = record.lsn as u32;
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let wal = repository("tests/fixtures/milvus1x/v1.1.1-crash/milvus/wal");
    let read = |name: &str| std::fs::read(wal.join(name)).unwrap();
    vec![
        [&[0][..], &read("0.wal")].concat(),
        [&[0][..], &read("mxlog.meta")].concat(),
    ]
}
