//! Our reader beside libfaiss: the same rows from all that both read, and what only libfaiss decodes.
//! `tests/faiss-feature` installs what it needs, builds and runs it.
#![cfg(feature = "faiss")]

use crate::support::faiss as support;

use std::path::Path;

use faiss::Index;
use faiss::index::Idx;
use faiss::index::io::{read_index, read_index_binary};
use milvusdm::batch::Keys;
use milvusdm::error::Kind;
use support::*;

/// Where libfaiss 1.12 is wrong: it does not undo whitening. Ours is compared with what was added in `faiss_golden.rs`.
const KNOWN: [&str; 1] = ["pca_white_ivf"];
/// A NaN that nothing decodes to.
const UNTOUCHED: u32 = 0x7fed_cba9;

fn near(found: &[u8], expected: &[u8], tolerance: f32) -> bool {
    let float = |word: &[u8]| f32::from_le_bytes(word.try_into().unwrap());
    let pairs = found.chunks_exact(4).zip(expected.chunks_exact(4));
    found.len() == expected.len()
        && (found == expected
            || pairs
                .map(|(a, b)| (float(a) - float(b)).abs())
                .all(|difference| difference <= tolerance))
}

/// What libfaiss gives back from a file, by id; why not, where it does not. Rows that it has no way to are left out.
fn oracle(path: &Path) -> Result<Vec<Row>, String> {
    let name = path.to_str().unwrap();
    let head = std::fs::read(path).unwrap();
    if head.starts_with(b"IB") {
        let index = read_index_binary(name).map_err(|e| e.to_string())?;
        let width = index.d() as usize / 8;
        let row = |i: u64| {
            let mut code = vec![0u8; width];
            let given = index.reconstruct(Idx::new(i), &mut code);
            given.map(|()| (i as i64, code)).map_err(|e| e.to_string())
        };
        return (0..index.ntotal()).map(row).collect();
    }
    let mut index = read_index(name).map_err(|e| e.to_string())?;
    let mut ids: Vec<i64> = (0..index.ntotal() as i64).collect();
    if head.starts_with(b"IxM") {
        let map = index.into_id_map().map_err(|e| e.to_string())?;
        ids = map.id_map().iter().map(|id| id.to_native()).collect();
        index = map.into_inner();
    }
    let width = index.d() as usize;
    let mut room = vec![f32::from_bits(UNTOUCHED); ids.len() * width];
    index
        .reconstruct_n(Idx::new(0), ids.len(), &mut room)
        .map_err(|e| e.to_string())?;
    let rows = ids.into_iter().zip(room.chunks_exact(width));
    let had = rows.filter(|(_, row)| row.iter().any(|x| x.to_bits() != UNTOUCHED));
    Ok(had
        .map(|(id, row)| (id, row.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect())
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

#[test]
fn both_give_the_same_rows() {
    let mut compared = 0;
    let (mut apart, mut differ) = (Vec::new(), Vec::new());
    for name in names() {
        let expected = expected(&name);
        let path = fixtures().join(format!("{name}.index"));
        if expected.refused || expected.rows.is_empty() {
            continue;
        }
        let theirs = match oracle(&path) {
            Ok(rows) if rows.is_empty() => {
                apart.push(format!("{name}: no row by its number"));
                continue;
            }
            Ok(rows) => rows,
            Err(why) => {
                let why = why.rsplit(": ").next().unwrap_or_default();
                apart.push(format!("{name}: {why}"));
                continue;
            }
        };
        let source = open(&settings(&path, expected.lossy, "")).unwrap();
        let ours = sorted(all(&*source).unwrap());
        let tolerance = 2.0 * expected.tolerance;
        let same = theirs.iter().all(|(id, row)| {
            let start = ours.partition_point(|other| other.0 < *id);
            let mut with_id = ours[start..].iter().take_while(|other| other.0 == *id);
            with_id.any(|other| near(&other.1, row, tolerance))
        });
        if same {
            compared += 1;
        } else {
            differ.push(name);
        }
    }
    assert_eq!(differ, KNOWN);
    assert!(
        compared >= 50,
        "only {compared} files were compared: {apart:#?}"
    );
}

#[test]
fn libfaiss_decodes_what_our_reader_does_not() {
    let room = fixtures().join("foreign");
    let mut decoded = 0;
    let entries = std::fs::read_dir(&room).unwrap();
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "index"));
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let expected = expected(&format!("foreign/{name}"));
        let error = open(&settings(&path, false, "")).err();
        let error = error.unwrap_or_else(|| panic!("{name}: loss was taken unasked"));
        assert_eq!(error.kind(), Kind::Unsupported, "{name}");
        assert!(
            expected.refused || error.hint_text().unwrap().contains("lossy: allow"),
            "{name}"
        );
        let opened = open(&settings(&path, true, ""));
        if expected.refused {
            let error = opened.err().unwrap_or_else(|| panic!("{name} was taken"));
            assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
            if name == "ivf_other_ids" {
                assert!(error.to_string().contains("does not find row"), "{error}");
            }
            continue;
        }
        let source = opened.unwrap_or_else(|e| panic!("{name}: {e}"));
        let survey = source.survey(LIMITS).unwrap();
        assert!(survey.warnings.len() >= 2, "{name}");
        let mut next = 0;
        for shard in &survey.manifest.shards {
            assert_eq!(shard.start.row(), next, "{name}");
            next = shard.end.row();
            let (_, ends) = read(&*source, shard, shard.start).unwrap();
            let (rest, _) = read(&*source, shard, ends[0]).unwrap();
            let done = (ends[0].row() - shard.start.row()) as usize;
            let whole = rows(&read(&*source, shard, shard.start).unwrap().0);
            assert_eq!(rows(&rest), whole[done..], "{name}: from the middle");
        }
        assert_eq!(next as usize, expected.rows.len(), "{name}");
        let found = all(&*source).unwrap();
        for (found, wanted) in found.iter().zip(&expected.rows) {
            assert_eq!(found.0, wanted.0, "{name}");
            assert!(
                near(&found.1, &wanted.1, expected.tolerance),
                "{name}: id {}: {found:?}, expected {wanted:?}",
                found.0
            );
        }
        assert_eq!(found.len(), expected.rows.len(), "{name}");
        decoded += 1;
    }
    assert!(decoded >= 15, "only {decoded} files were decoded");
}

#[test]
fn ids_of_a_map_are_stored_ones_unless_the_job_says_otherwise() {
    let path = fixtures().join("foreign/idmap_residual.index");
    let keys = |more: &str| {
        let source = open(&settings(&path, true, more)).unwrap();
        let first = all(&*source).unwrap()[0].0;
        (
            source.survey(LIMITS).unwrap().manifest.targets[0].keys,
            first,
        )
    };
    assert_eq!(keys(""), (Keys::Stored, -100_000));
    assert_eq!(keys(", ids: row_number"), (Keys::RowNumbers, 0));
    let error = open(&settings(&path, true, ", lists: /nowhere"))
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Job);
}
