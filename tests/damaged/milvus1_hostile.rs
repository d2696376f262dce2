//! What do damaged directories do? An error, or rows that agree with what was announced; never a panic.

#![allow(clippy::unwrap_used)]

use crate::support::milvus1_files as milvus1;

use std::path::{Path, PathBuf};

use milvus1::{LIMITS, SMALL, copy, golden, open, read};
use milvusdm::error::{Error, Kind};
use milvusdm::source::milvus1::inspect;

/// A copy of one collection of a golden directory, without its log.
fn small(version: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = copy(version);
    let path = dir.path().join("milvus");
    std::fs::remove_dir_all(path.join("wal")).unwrap();
    (dir, path)
}

/// Reads a collection; [`read`] checks that rows are as many as announced, each where it says it is.
fn rows(path: &Path, settings: &str) -> Result<usize, Error> {
    let source = open(path, settings)?;
    Ok(read(&*source, SMALL)?.rows.iter().map(Vec::len).sum())
}

const DUPDEL: &str = "collections: [f8_dupdel]";
const SEGMENT: &str = "db/tables/f8_dupdel/1795363736388283000";
const FILES: [&str; 3] = [
    "1795363736388283000.rv",
    "1795363736388283000.uid",
    "deleted_docs",
];

#[test]
fn a_segment_file_cut_anywhere_is_refused() {
    let (_dir, path) = small("v1.0.0");
    assert_eq!(rows(&path, DUPDEL).unwrap(), 38);
    for name in FILES {
        let file = path.join(SEGMENT).join(name);
        let bytes = std::fs::read(&file).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&file, &bytes[..len]).unwrap();
            let error = rows(&path, DUPDEL).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{name} {len}: {error}");
            let said = error.to_string();
            assert!(said.contains(name) && said.contains(" at byte "), "{said}");
        }
        std::fs::write(&file, &bytes).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_counts_or_deletions_is_refused_or_changes_which_rows_live() {
    let (_dir, path) = small("v1.0.0");
    for name in FILES {
        let file = path.join(SEGMENT).join(name);
        let bytes = std::fs::read(&file).unwrap();
        for at in 0..bytes.len().min(20) {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                std::fs::write(&file, &flipped).unwrap();
                match rows(&path, DUPDEL) {
                    Err(error) => assert_eq!(error.kind(), Kind::Corrupt, "{error}"),
                    // 40 stored, 3 or fewer named as deleted; ids and vectors may be anything.
                    Ok(rows) => assert!((37..=40).contains(&rows), "{name} {at}.{bit}: {rows}"),
                }
                inspect(&path, None).unwrap();
            }
        }
        std::fs::write(&file, &bytes).unwrap();
    }
}

#[test]
fn a_log_cut_anywhere_never_passes_for_one_that_was_flushed() {
    let dir = copy("v1.1.1-crash");
    let path = dir.path().join("milvus");
    for name in ["wal/0.wal", "wal/mxlog.meta"] {
        let file = path.join(name);
        let bytes = std::fs::read(&file).unwrap();
        // An empty mxlog.meta is one that says that nothing was ever logged.
        let shortest = usize::from(name.ends_with("meta"));
        for len in shortest..=bytes.len() {
            std::fs::write(&file, &bytes[..len]).unwrap();
            let error = rows(&path, "").unwrap_err();
            let said = error.to_string();
            assert!(said.contains("ignore_wal: true"), "{name} {len}: {said}");
            assert_eq!(error.kind().exit_code(), 3, "{said}");
            if len % 64 == 1 {
                assert_eq!(rows(&path, "ignore_wal: true").unwrap(), 25);
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_the_log_is_refused_or_hides_one_record_at_most() {
    let dir = copy("v1.1.1-crash");
    let path = dir.path().join("milvus");
    let file = path.join("wal/0.wal");
    let bytes = std::fs::read(&file).unwrap();
    for at in (0..bytes.len()).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&file, &flipped).unwrap();
        // There is no checksum: a name that was changed belongs to nobody. The other records are still seen.
        let error = rows(&path, "").unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{at}: {error}");
    }
}

#[test]
fn a_hole_in_the_log_is_refused() {
    let dir = copy("v1.1.1-crash");
    let path = dir.path().join("milvus");
    let last = |lsn: u64| {
        let meta: Vec<u8> = [lsn; 3].iter().flat_map(|n| n.to_le_bytes()).collect();
        std::fs::write(path.join("wal/mxlog.meta"), meta).unwrap();
    };
    std::fs::write(path.join("wal/2.wal"), b"").unwrap();
    last(2 << 32);
    let said = rows(&path, "").unwrap_err().to_string();
    assert!(
        said.contains("the log continues here, but file 1.wal is missing"),
        "{said}"
    );
    // Files that are not the log's are not looked at.
    std::fs::rename(path.join("wal/2.wal"), path.join("wal/x2.wal")).unwrap();
    let said = rows(&path, "").unwrap_err().to_string();
    assert!(said.contains("15 inserts into f8_unflushed"), "{said}");
    // Without mxlog.meta every record counts.
    std::fs::remove_file(path.join("wal/mxlog.meta")).unwrap();
    let said = rows(&path, "").unwrap_err().to_string();
    assert!(said.contains("15 inserts into f8_unflushed"), "{said}");
}

#[test]
fn damaged_metadata_is_an_error_or_metadata() {
    let (_dir, path) = small("v1.1.1");
    let file = path.join("db/meta.sqlite");
    let bytes = std::fs::read(&file).unwrap();
    let mut seed = 11u64;
    let mut damaged: Vec<Vec<u8>> = (0..bytes.len())
        .step_by(1021)
        .map(|len| bytes[..len].to_vec())
        .collect();
    for _ in 0..150 {
        let mut flipped = bytes.clone();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            let at = (seed >> 20) as usize % bytes.len();
            flipped[at] ^= 1 << (seed % 8);
        }
        damaged.push(flipped);
    }
    for (number, bytes) in damaged.iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        let read = open(&path, "").and_then(|source| read(&*source, LIMITS));
        if let Err(error) = read {
            assert!(
                [2, 3].contains(&error.kind().exit_code()),
                "{number}, seed 11: {error}"
            );
        }
        let _ = inspect(&path, None);
    }
}

#[test]
fn damaged_sqlite_logs_are_an_error_or_metadata_of_an_earlier_moment() {
    let dir = copy("v1.1.1-crash");
    let path = dir.path().join("milvus");
    let file = path.join("db/meta.sqlite-wal");
    let bytes = std::fs::read(&file).unwrap();
    for len in (0..=bytes.len()).step_by(509) {
        std::fs::write(&file, &bytes[..len]).unwrap();
        match rows(&path, "ignore_wal: true") {
            Ok(rows) => assert!(rows <= 25, "{len}: {rows}"),
            Err(error) => assert_eq!(error.kind(), Kind::Corrupt, "{len}: {error}"),
        }
    }
}

#[test]
fn what_is_no_data_directory_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for (path, said) in [
        (
            dir.path().to_owned(),
            "is not a data directory of Milvus 1.x",
        ),
        (dir.path().join("none"), "there is no such directory"),
        (golden("README.md"), "is not a directory"),
    ] {
        let error = open(&path, "").err().unwrap();
        assert_eq!(error.kind(), Kind::Job);
        assert!(error.to_string().contains(said), "{error}");
        assert!(inspect(&path, None).is_err());
    }
    // An installation that was never used.
    std::fs::create_dir_all(dir.path().join("db")).unwrap();
    let empty = rusqlite::Connection::open(dir.path().join("db/meta.sqlite")).unwrap();
    empty
        .execute_batch(
            "CREATE TABLE Tables(id, table_id, state, dimension, flag, engine_type, index_params, metric_type,
                owner_table, partition_tag, flush_lsn);
             CREATE TABLE TableFiles(id, table_id, segment_id, file_type, row_count);",
        )
        .unwrap();
    drop(empty);
    let source = open(dir.path(), "").unwrap();
    assert!(source.survey(LIMITS).unwrap().manifest.targets.is_empty());
}
