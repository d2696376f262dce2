//! Several index files as one source, and ids that lie beside them.

use crate::support::faiss as support;

use std::path::{Path, PathBuf};

use milvusdm::batch::{Keys, Position};
use milvusdm::error::Kind;
use milvusdm::source::Source;
use support::*;

/// A flat L2 index whose components are 0 for the first row, 1 for the second, and so on from `first`.
fn flat(path: &Path, first: u32, rows: u32) {
    let mut file = b"IxF2".to_vec();
    file.extend(2i32.to_le_bytes());
    file.extend(u64::from(rows).to_le_bytes());
    file.extend([0; 16]);
    file.extend([1, 1, 0, 0, 0]);
    file.extend(u64::from(rows * 2).to_le_bytes());
    for row in first..first + rows {
        file.extend([(row as f32).to_le_bytes(); 2].concat());
    }
    std::fs::write(path, file).unwrap();
}

/// Twelve files of ten rows, named so that the order of letters is another.
fn twelve() -> tempfile::TempDir {
    let room = tempfile::tempdir().unwrap();
    for number in 0..12 {
        flat(
            &room.path().join(format!("part{number}.index")),
            number * 10,
            10,
        );
    }
    std::fs::write(room.path().join("notes.txt"), "no index").unwrap();
    room
}

/// Each row's id beside the number that its vector holds.
fn pairs(source: &dyn Source) -> Vec<(i64, i64)> {
    let number = |vector: &[u8]| f32::from_le_bytes(vector[..4].try_into().unwrap()) as i64;
    let rows = all(source).unwrap().into_iter();
    rows.map(|(id, vector)| (id, number(&vector))).collect()
}

fn shown(path: &Path) -> String {
    format!("'{}'", path.display())
}

fn fixture(name: &str) -> PathBuf {
    fixtures().join(format!("{name}.index"))
}

#[test]
fn files_are_one_collection_in_natural_order_or_as_listed() {
    let room = twelve();
    let dir = room.path();
    let whole: Vec<(i64, i64)> = (0..120).map(|n| (n, n)).collect();
    for settings in [
        format!("{{dir: {}}}", shown(dir)),
        format!("{{dir: {}, access: read}}", shown(dir)),
        format!("{{glob: {}}}", shown(&dir.join("part*.index"))),
    ] {
        let source = open(&settings).unwrap();
        assert_eq!(pairs(&*source), whole, "{settings}");
        let survey = source.survey(LIMITS).unwrap();
        let target = &survey.manifest.targets[0];
        assert_eq!((target.rows, target.keys), (120, Keys::RowNumbers));
        assert!(
            target.source.ends_with("part0.index and 11 more"),
            "{}",
            target.source
        );
        assert_eq!(target.index().unwrap().kind, "FLAT");
        let files = (0..12).map(|part| shown(source.file(part).unwrap()));
        let expected = (0..12).map(|n| shown(&dir.join(format!("part{n}.index"))));
        assert!(files.eq(expected), "{settings}");
        let identity = survey
            .identity
            .keys()
            .filter(|key| key.ends_with(".head_crc32"));
        assert_eq!(identity.count(), 12);
    }
    let listed = format!(
        "{{paths: [{}, {}], first_id: 1000}}",
        shown(&dir.join("part10.index")),
        shown(&dir.join("part2.index"))
    );
    let expected: Vec<(i64, i64)> = (1000..).zip((100..110).chain(20..30)).collect();
    let source = open(&listed).unwrap();
    assert_eq!(pairs(&*source), expected);
    // A shard goes on from anywhere, and a file that is changed is noticed.
    let survey = source.survey(LIMITS).unwrap();
    let shards = &survey.manifest.shards;
    assert!(shards.iter().map(|s| s.first_row).eq([0, 5, 10, 15]));
    assert!(
        shards
            .iter()
            .map(|s| s.start.clone())
            .eq([0, 5, 0, 5].map(Position::Row))
    );
    let (parts, _) = read(&*source, &shards[3], Position::Row(7)).unwrap();
    assert!(rows(&parts).iter().map(|row| row.0).eq(1017..1020));
    flat(&dir.join("part2.index"), 20, 9);
    assert_eq!(source.unchanged().unwrap_err().kind(), Kind::Changed);
}

#[test]
fn stored_ids_of_several_files_travel_as_they_are() {
    let paths = format!(
        "paths: [{}, {}]",
        shown(&fixture("idmap")),
        shown(&fixture("ivf"))
    );
    let source = open(&format!("{{{paths}}}")).unwrap();
    let mut expected = expected("idmap").rows;
    expected.extend(support::expected("ivf").rows);
    let mut found = all(&*source).unwrap();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let survey = source.survey(LIMITS).unwrap();
    assert_eq!(survey.manifest.targets[0].keys, Keys::Stored);
    assert!(
        survey
            .warnings
            .iter()
            .any(|w| w.contains("of different kinds")),
        "{:?}",
        survey.warnings
    );
    assert!(survey.manifest.targets[0].index().is_none());
    let source = open(&format!("{{{paths}, ids: row_number, first_id: 7}}")).unwrap();
    assert!(all(&*source).unwrap().iter().map(|row| row.0).eq(7..31));
}

#[test]
fn ids_beside_the_index_are_those_of_its_rows_or_labels() {
    let room = tempfile::tempdir().unwrap();
    let ids: Vec<i64> = (0..12).map(|n| n * n - 3).collect();
    let text = room.path().join("ids.txt");
    let lines: Vec<String> = ids.iter().map(i64::to_string).collect();
    std::fs::write(&text, lines.join("\n")).unwrap();
    let npy = room.path().join("ids.npy");
    let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (12,), }\n";
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    ids.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
    std::fs::write(&npy, bytes).unwrap();
    // Lists of ivf_array_map hold row numbers, in an order of their own.
    for name in ["flat_l2", "ivf_array_map", "hnsw", "binary_hnsw"] {
        for list in [&text, &npy] {
            for access in ["map", "read"] {
                let settings = format!(
                    "{{path: {}, ids_file: {}, access: {access}}}",
                    shown(&fixture(name)),
                    shown(list)
                );
                let source = open(&settings).unwrap();
                let mut found = all(&*source).unwrap();
                let rows = expected(name).rows.into_iter();
                let mut wanted: Vec<Row> = rows.map(|(row, v)| (ids[row as usize], v)).collect();
                found.sort();
                wanted.sort();
                assert_eq!(found, wanted, "{settings}");
                let survey = source.survey(LIMITS).unwrap();
                assert_eq!(survey.manifest.targets[0].keys, Keys::Stored);
                assert!(survey.identity.contains_key("ids.bytes"));
                assert!(
                    source
                        .content()
                        .unwrap()
                        .unwrap()
                        .keys()
                        .any(|key| key.starts_with("ids: "))
                );
            }
        }
    }
    // One list for several files, in their order.
    let parts = [room.path().join("a.index"), room.path().join("b.index")];
    flat(&parts[0], 0, 5);
    flat(&parts[1], 5, 7);
    let settings = format!(
        "{{paths: [{}, {}], ids_file: {}}}",
        shown(&parts[0]),
        shown(&parts[1]),
        shown(&text)
    );
    let source = open(&settings).unwrap();
    let wanted: Vec<(i64, i64)> = ids.iter().copied().zip(0..).collect();
    assert_eq!(pairs(&*source), wanted);
    std::fs::write(&text, lines.join("\n") + "\n7").unwrap();
    assert_eq!(source.unchanged().unwrap_err().kind(), Kind::Changed);
    let error = open(&settings).err().unwrap();
    assert!(
        error.to_string().contains("has 13 ids for 12 rows"),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Job);
    std::fs::write(&text, "1\n2\n3").unwrap();
    let error = open(&settings).err().unwrap();
    assert!(
        error.to_string().contains("has 3 ids for 12 rows"),
        "{error}"
    );
}

#[test]
fn an_index_with_ids_of_its_own_takes_none_from_a_list() {
    let room = tempfile::tempdir().unwrap();
    let list = room.path().join("ids.txt");
    std::fs::write(&list, (0..12).map(|n| format!("{n}\n")).collect::<String>()).unwrap();
    let settings = format!(
        "{{path: {}, ids_file: {}}}",
        shown(&fixture("idmap")),
        shown(&list)
    );
    let error = open(&settings).err().unwrap();
    assert_eq!(error.kind(), Kind::Job);
    assert!(
        error.hint_text().unwrap().contains("leave out `ids_file`"),
        "{error}"
    );
}

#[test]
fn files_that_do_not_go_together_are_refused() {
    let room = tempfile::tempdir().unwrap();
    let small = room.path().join("small.index");
    flat(&small, 0, 3);
    let both = |one: &Path, two: &Path, more: &str| {
        let settings = format!("{{paths: [{}, {}]{more}}}", shown(one), shown(two));
        open(&settings).err().map(|error| {
            assert_eq!(error.kind(), Kind::Job, "{error}");
            format!("{error}")
        })
    };
    for (one, two, what) in [
        (fixture("flat_l2"), small.clone(), "float32 × 2"),
        (fixture("flat_l2"), fixture("flat_ip"), "has the metric IP"),
        (fixture("flat_l2"), fixture("idmap"), "has ids"),
        (fixture("ivf"), fixture("flat_l2"), "has ids"),
        (small.clone(), small.clone(), "is the same file"),
    ] {
        let said = both(&one, &two, "").unwrap();
        assert!(said.contains(what), "{said}, expected {what}");
    }
    assert_eq!(
        both(&fixture("flat_l2"), &fixture("idmap"), ", ids: row_number"),
        None
    );
    // An empty index says nothing about ids.
    assert_eq!(both(&fixture("flat_empty"), &fixture("idmap"), ""), None);
    let said = open(&format!(
        "{{path: {}, first_id: 5}}",
        shown(&fixture("idmap"))
    ))
    .err()
    .unwrap();
    assert!(said.to_string().contains("has ids of its own"), "{said}");
    let first = i64::MAX - 1;
    let said = open(&format!("{{path: {}, first_id: {first}}}", shown(&small)))
        .err()
        .unwrap();
    assert!(said.to_string().contains("exceed the largest id"), "{said}");
    let error = open(&format!(
        "{{dir: {}}}",
        shown(&fixtures().join("../milvus1x"))
    ))
    .err()
    .unwrap();
    assert!(error.to_string().contains(".index"), "{error}");
    for (settings, what) in [
        ("{path: a, dir: b}", "exactly one"),
        ("{}", "exactly one"),
        ("{path: a, ids_file: i, first_id: 3}", "ids_file"),
        ("{path: a, ids_file: i, ids: row_number}", "ids_file"),
        ("{paths: [a, b], lists: c}", "lists"),
        ("{path: a, first_id: -1}", "first_id"),
        ("{path: a, first_id: 9223372036854775808}", "first_id"),
    ] {
        let said = mistakes(settings).join("; ");
        assert!(said.contains(what), "{settings}: {said}");
    }
}

#[test]
fn classic_jobs_take_the_same_settings() {
    let job = |settings: &str| {
        let text = format!(
            "F2M:\n  dest_host: h\n  dest_port: 1\n  mode: append\n  dest_collection_name: c\n{settings}"
        );
        milvusdm::job::Job::parse(Path::new("F2M.yaml"), text).unwrap()
    };
    let good = job("  data_dir: /d\n  first_id: 100\n");
    good.check().unwrap();
    assert_eq!(good.source.settings["dir"], "/d");
    assert_eq!(good.source.settings["first_id"], 100);
    let good = job("  data_path: [a.index, b.index]\n  ids_file: ids.npy\n");
    good.check().unwrap();
    assert_eq!(good.source.settings["path"][1], "b.index");
    assert_eq!(good.source.settings["ids_file"], "ids.npy");
}
