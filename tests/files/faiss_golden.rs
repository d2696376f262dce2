//! Files that Faiss wrote, of every kind, against what was put into them.

use crate::support::faiss as support;

use std::io::{Seek, SeekFrom, Write};

use milvusdm::batch::{Keys, Limits, Position};
use milvusdm::error::Kind;
use milvusdm::format::faiss::inspect;
use milvusdm::input::{Access, View};
use milvusdm::schema::Metric;
use support::*;

fn near(found: &[u8], expected: &[u8], tolerance: f32) -> bool {
    let float = |word: &[u8]| f32::from_le_bytes(word.try_into().unwrap());
    let pairs = found.chunks_exact(4).zip(expected.chunks_exact(4));
    found.len() == expected.len()
        && (found == expected
            || pairs
                .map(|(a, b)| (float(a) - float(b)).abs())
                .all(|difference| difference <= tolerance))
}

#[test]
fn every_kind_gives_back_what_was_put_in() {
    for name in names() {
        let path = fixtures().join(format!("{name}.index"));
        let expected = expected(&name);
        for access in ["map", "read"] {
            let more = format!(", access: {access}");
            let opened = open(&settings(&path, expected.lossy, &more));
            if expected.refused {
                let error = opened.err().unwrap_or_else(|| panic!("{name} was taken"));
                assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
                assert!(error.hint_text().is_some(), "{name}: {error}");
                continue;
            }
            let source = opened.unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut found = all(&*source).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut wanted = expected.rows.clone();
            found.sort_by_key(|row| row.0);
            wanted.sort_by_key(|row| row.0);
            assert_eq!(found.len(), wanted.len(), "{name}");
            for (found, wanted) in found.iter().zip(&wanted) {
                assert_eq!(found.0, wanted.0, "{name}");
                let same = match expected.tolerance {
                    0.0 => found.1 == wanted.1,
                    tolerance => near(&found.1, &wanted.1, tolerance),
                };
                assert!(
                    same,
                    "{name}: id {}: {:?}, expected {:?}",
                    found.0, found.1, wanted.1
                );
            }
        }
    }
}

#[test]
fn shards_cover_all_rows_once_and_resume_anywhere() {
    for name in names() {
        let expected = expected(&name);
        if expected.refused {
            continue;
        }
        let path = fixtures().join(format!("{name}.index"));
        let source = open(&settings(&path, expected.lossy, "")).unwrap();
        let survey = source.survey(LIMITS).unwrap();
        let mut next = Position::Row(0);
        for shard in &survey.manifest.shards {
            assert_eq!(shard.start, next, "{name}");
            assert_eq!(shard.end.row() - shard.start.row(), shard.rows, "{name}");
            next = shard.end.clone();
            let (parts, ends) = read(&*source, shard, shard.start.clone()).unwrap();
            assert_eq!(ends.last(), Some(&shard.end), "{name}");
            let all = rows(&parts);
            assert_eq!(all.len() as u64, shard.rows, "{name}");
            let mut row = shard.start.row();
            for part in &parts {
                assert_eq!(
                    part.row, row,
                    "{name}: rows are numbered as they are stored"
                );
                row += part.len() as u64;
            }
            for end in ends {
                let (rest, _) = read(&*source, shard, end.clone()).unwrap();
                let done = (end.row() - shard.start.row()) as usize;
                assert_eq!(rows(&rest), all[done..], "{name} from {end:?}");
            }
        }
        assert_eq!(next.row(), survey.manifest.targets[0].rows, "{name}");
        assert_eq!(next.row(), expected.rows.len() as u64, "{name}");
    }
}

#[test]
fn what_comes_back_only_nearly_is_refused_unless_asked_for() {
    for name in names() {
        let path = fixtures().join(format!("{name}.index"));
        if expected(&name).lossy {
            let error = open(&settings(&path, false, "")).err();
            let error = error.unwrap_or_else(|| panic!("{name} was taken"));
            assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
            assert!(
                error.hint_text().unwrap().contains("lossy: allow"),
                "{error}"
            );
            let source = open(&settings(&path, true, "")).unwrap();
            assert!(!source.survey(LIMITS).unwrap().warnings.is_empty());
        }
    }
}

#[test]
fn ids_may_be_row_numbers_if_the_job_says_so() {
    for name in ["idmap", "ivf", "ivf_dedup", "idmap_ivf", "binary_hash"] {
        let path = fixtures().join(format!("{name}.index"));
        let source = open(&settings(&path, false, ", ids: row_number")).unwrap();
        let ids: Vec<i64> = all(&*source)
            .unwrap()
            .into_iter()
            .map(|row| row.0)
            .collect();
        let numbers: Vec<i64> = (0..expected(name).rows.len() as i64).collect();
        assert_eq!(ids, numbers, "{name}");
        let keys = |source: &dyn milvusdm::source::Source| {
            source.survey(LIMITS).unwrap().manifest.targets[0].keys
        };
        assert_eq!(keys(&*source), Keys::RowNumbers, "{name}");
        let source = open(&settings(&path, false, "")).unwrap();
        assert_eq!(keys(&*source), Keys::Stored, "{name}");
    }
}

#[test]
fn metrics_keep_their_names() {
    let metric = |name: &str| {
        let path = fixtures().join(format!("{name}.index"));
        let source = open(&settings(&path, false, "")).unwrap();
        let survey = source.survey(LIMITS).unwrap();
        survey.manifest.targets[0].metric().cloned().unwrap()
    };
    assert_eq!(metric("flat_l2"), Metric::L2);
    assert_eq!(metric("flat_ip"), Metric::Ip);
    assert_eq!(metric("flat_l1"), Metric::Other("L1".to_owned()));
    assert_eq!(metric("flat_lp"), Metric::Other("Lp".to_owned()));
    assert_eq!(metric("binary_ivf"), Metric::Hamming);
}

#[test]
fn on_disk_lists_are_found_where_they_are_or_where_the_job_says() {
    let room = tempfile::tempdir().unwrap();
    let index = room.path().join("a.index");
    let lists = fixtures().join("ivf_on_disk.ivfdata");
    std::fs::copy(fixtures().join("ivf_on_disk.index"), &index).unwrap();
    let error = open(&settings(&index, false, "")).err().unwrap();
    assert_eq!(error.kind(), Kind::Job);
    assert!(error.to_string().contains("ivf_on_disk.ivfdata"), "{error}");
    let said = format!(", lists: '{}'", lists.display());
    let source = open(&settings(&index, false, &said)).unwrap();
    let found = all(&*source).unwrap();
    assert_eq!(found.len(), 12);
    let survey = source.survey(LIMITS).unwrap();
    assert!(survey.identity.contains_key("lists.bytes"));
    let short = room.path().join("ivf_on_disk.ivfdata");
    std::fs::write(&short, &std::fs::read(&lists).unwrap()[..100]).unwrap();
    let error = open(&settings(&index, false, "")).err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    std::fs::copy(&lists, &short).unwrap();
    let beside = open(&settings(&index, false, "")).unwrap();
    assert_eq!(all(&*beside).unwrap(), found);
    std::fs::write(&short, b"").unwrap();
    assert_eq!(beside.unchanged().unwrap_err().kind(), Kind::Changed);
}

#[test]
fn a_description_says_what_is_inside_and_what_can_be_had() {
    let text = |name: &str| {
        let path = fixtures().join(format!("{name}.index"));
        let view = View::open(&path, Access::Map).unwrap();
        inspect(&view).unwrap()
    };
    for name in names() {
        let (found, expected) = (text(&name), expected(&name));
        let recovery = found.recovery.as_ref().unwrap();
        let kind = match (expected.refused, expected.lossy) {
            (true, _) => "nothing",
            (_, true) => "lossy",
            _ => "lossless",
        };
        assert_eq!(recovery.kind, kind, "{name}: {found}");
        assert_eq!(recovery.rows, expected.rows.len() as u64, "{name}");
    }
    let found = text("idmap_ivf");
    assert_eq!(
        found.ids.as_ref().unwrap().range,
        Some((i64::MIN, i64::MAX))
    );
    let found = found.to_string();
    assert!(
        found.contains("rows: IwFl: inverted file of vectors"),
        "{found}"
    );
}

/// Bytes of this process that are in memory now.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn memory_does_not_grow_with_the_file() {
    // A file of 512 MiB that takes no room on disk: a map of ids over flat rows of zeros.
    let (rows, dimension) = (1u64 << 17, 1024u64);
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("large.index");
    let header = |fourcc: &[u8; 4]| {
        let mut bytes = fourcc.to_vec();
        bytes.extend((dimension as i32).to_le_bytes());
        bytes.extend(rows.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.push(1);
        bytes.extend(1i32.to_le_bytes());
        bytes
    };
    let mut file = std::fs::File::create(&path).unwrap();
    let mut head = [header(b"IxMp"), header(b"IxF2")].concat();
    head.extend((rows * dimension).to_le_bytes());
    file.write_all(&head).unwrap();
    file.seek(SeekFrom::Current((rows * dimension * 4) as i64))
        .unwrap();
    file.write_all(&rows.to_le_bytes()).unwrap();
    let len = file.stream_position().unwrap() + rows * 8;
    file.set_len(len).unwrap();
    let limits = Limits {
        batch_bytes: 4 << 20,
        batch_rows: 1 << 20,
    };
    for access in ["map", "read"] {
        let source = open(&settings(&path, false, &format!(", access: {access}"))).unwrap();
        let before = resident();
        let (mut most, mut seen) = (0, 0);
        for shard in source.survey(limits).unwrap().manifest.shards {
            let mut reader = source.open(&shard, shard.start.clone(), limits).unwrap();
            while let Some(cut) = reader.next().unwrap() {
                for part in &cut.parts {
                    seen += part.len() as u64;
                    assert!(part.vectors().iter().step_by(4096).all(|byte| *byte == 0));
                }
                most = most.max(resident());
            }
        }
        assert_eq!(seen, rows);
        let grown = most.saturating_sub(before);
        assert!(grown < 64 << 20, "{access}: {grown} bytes more in memory");
    }
}
