//! What is left of a Milvus 1.x: segments that are gone, and directories whose metadata is.

#![allow(clippy::unwrap_used)]

use crate::support::milvus1_files as milvus1;

use milvus1::{LIMITS, SMALL, copy, copy_tree, fingerprint, golden, open, read};
use milvusdm::error::Kind;

const TABLES: &str = "v1.1.1/milvus/db/tables";

/// Rows of the first target that these settings make, and what is said of them.
fn rows(path: &std::path::Path, settings: &str) -> (Vec<(i64, Vec<u8>)>, Vec<String>) {
    let source = open(path, settings).unwrap();
    let mut read = read(&*source, SMALL).unwrap();
    (read.rows.remove(0), read.survey.warnings)
}

#[test]
fn segments_that_are_gone_are_left_out_when_the_job_says_so() {
    let name = "collections: [f8_l2]";
    let (whole, _) = rows(&golden("v1.1.1/milvus"), name);
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 3] = [
        ("the directory", |dir| std::fs::remove_dir_all(dir).unwrap()),
        ("the vectors", |dir| remove(dir, "rv")),
        ("the ids", |dir| remove(dir, "uid")),
    ];
    for (what, harm) in harms {
        let room = copy("v1.1.1");
        let path = room.path().join("milvus");
        harm(&path.join("db/tables/f8_l2/1795363735802265000"));
        let error = open(&path, name).err().unwrap();
        assert!(
            [Kind::Corrupt, Kind::Unsupported].contains(&error.kind()),
            "{what}: {error}"
        );
        let before = fingerprint(&path);
        let (left, warnings) = rows(&path, &format!("{name}\nmissing_segments: skip"));
        assert_eq!(whole.len() - left.len(), 199, "{what}");
        assert_eq!(left[..294], whole[..294], "{what}");
        assert_eq!(left[294..], whole[294 + 199..], "{what}");
        let said = warnings.join("\n");
        for part in [
            "missing_segments: skip",
            "1795363735802265000",
            "counts 199 rows",
        ] {
            assert!(said.contains(part), "{what}: {said}");
        }
        assert_eq!(fingerprint(&path), before, "{what}");
    }
    // All there: nothing is said, and nothing changes.
    let (same, warnings) = rows(
        &golden("v1.1.1/milvus"),
        &format!("{name}\nmissing_segments: skip"),
    );
    assert_eq!((same, warnings), (whole, Vec::new()));
}

fn remove(dir: &std::path::Path, ending: &str) {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut files = files.filter(|path| path.extension().is_some_and(|e| e == ending));
    std::fs::remove_file(files.next().unwrap()).unwrap();
}

#[test]
fn a_segment_that_is_damaged_or_lacks_its_deletions_is_refused_all_the_same() {
    let settings = "collections: [f8_l2]\nmissing_segments: skip";
    let room = copy("v1.1.1");
    let path = room.path().join("milvus");
    let segment = path.join("db/tables/f8_l2/1795363735802265000");
    let deletions = std::fs::read(segment.join("deleted_docs")).unwrap();
    std::fs::remove_file(segment.join("deleted_docs")).unwrap();
    assert_eq!(open(&path, settings).err().unwrap().kind(), Kind::Corrupt);
    std::fs::write(
        segment.join("deleted_docs"),
        &deletions[..deletions.len() - 1],
    )
    .unwrap();
    assert_eq!(open(&path, settings).err().unwrap().kind(), Kind::Corrupt);
}

#[test]
fn a_directory_without_metadata_is_read_as_the_job_describes_it() {
    for (directory, whose, says) in [
        (
            "f8_l2",
            "f8_l2: [_default]",
            "collection: f8_l2, dimension: 8, metric: l2",
        ),
        (
            "b64_hamming",
            "b64_hamming: [_default]",
            "collection: b64_hamming, dimension: 64, metric: HAMMING",
        ),
        (
            "1795363735834354000",
            "f128_ip: ['part 2/a.b']",
            "collection: f128_ip, partition: 'part 2/a.b', dimension: 128, metric: IP",
        ),
    ] {
        let wanted = read(
            &*open(
                &golden("v1.1.1/milvus"),
                &format!("collections: {{{whose}}}"),
            )
            .unwrap(),
            LIMITS,
        );
        let wanted = wanted.unwrap();
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("moved");
        copy_tree(&golden(TABLES).join(directory), &path);
        let before = fingerprint(&path);
        for access in ["map", "read"] {
            let settings = format!("without_metadata: {{{says}}}\naccess: {access}");
            let found = read(&*open(&path, &settings).unwrap(), SMALL).unwrap();
            assert_eq!(found.rows, wanted.rows, "{directory}");
            let (one, two) = (
                &found.survey.manifest.targets[0],
                &wanted.survey.manifest.targets[0],
            );
            assert_eq!(
                (&one.name, one.vector(), one.metric()),
                (&two.name, two.vector(), two.metric())
            );
            assert_eq!(one.index(), None, "nobody says which index it had");
            assert!(
                found
                    .survey
                    .warnings
                    .iter()
                    .any(|w| w.contains("without metadata"))
            );
        }
        assert_eq!(fingerprint(&path), before);
    }
}

#[test]
fn what_does_not_fit_a_directory_without_metadata_is_said() {
    let path = golden(TABLES).join("f8_l2");
    let error = open(&path, "").err().unwrap();
    assert!(
        error.hint_text().unwrap().contains("without_metadata"),
        "{error}"
    );
    let alone = |says: &str| {
        open(
            &path,
            &format!("without_metadata: {{collection: c, {says}}}"),
        )
    };
    let error = alone("dimension: 16, metric: L2").err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(
        error.hint_text().unwrap().contains("vectors of 32 bytes"),
        "{error}"
    );
    let error = open(
        &golden("v1.1.1/milvus"),
        "without_metadata: {collection: c, dimension: 8, metric: L2}",
    );
    assert!(
        error
            .err()
            .unwrap()
            .to_string()
            .contains("holds no segments")
    );
    // What was merged is still there, and only the metadata said that it is dead.
    let path = golden(TABLES).join("f8_merged");
    let (all, warnings) = rows(
        &path,
        "without_metadata: {collection: c, dimension: 8, metric: L2}",
    );
    assert!(
        all.len() > 97 && warnings[0].contains("twice"),
        "{} {warnings:?}",
        all.len()
    );
}

#[test]
fn classic_jobs_take_the_same_settings() {
    let job = |settings: &str| {
        let text = format!("M2H:\n  source_milvus_path: /d\n  data_dir: /o\n{settings}");
        milvusdm::job::Job::parse(std::path::Path::new("M2H.yaml"), text).unwrap()
    };
    let good = job(
        "  missing_segments: skip\n  without_metadata: {collection: c, dimension: 8, metric: L2}\n",
    );
    good.check().unwrap();
    assert_eq!(good.source.settings["missing_segments"], "skip");
    assert_eq!(good.source.settings["without_metadata"]["dimension"], 8);
}
