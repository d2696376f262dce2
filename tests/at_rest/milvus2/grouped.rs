//! Storage V2, made from its description: files of a real server are in no registry. V3 is refused with the reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use milvusdm::error::Kind;

use crate::milvus2::canonical::{open, rows};
use crate::milvus2::{Golden, same};
use crate::support::test_env;

fn grouped() -> Golden {
    let golden = Golden::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/milvus2_groups.py");
    let output = Command::new(test_env().join("tables/bin/python"))
        .arg(script)
        .arg(golden.path("backup"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    golden
}

fn settings(golden: &Golden) -> String {
    format!("path: '{}'", golden.path("backup").display())
}

/// A file of a group of the collection all_i64.
fn file(golden: &Golden, group: &str) -> PathBuf {
    let mut left =
        vec![golden.path("backup/binlogs/insert_log/470723403745529279/470723403745529292")];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let is_in_group = path.parent().unwrap().ends_with(group);
            match path.is_dir() {
                true => left.push(path),
                false if is_in_group => return path,
                false => {}
            }
        }
    }
    panic!("there is no group {group}");
}

#[test]
fn groups_of_columns_hold_the_rows_that_logs_of_fields_held() {
    let golden = grouped();
    let source = open("milvus_backup", &settings(&golden)).unwrap_or_else(|e| panic!("{e}"));
    same(
        &rows(&*source, 50).unwrap(),
        &golden,
        &["all_i64", "str_bin"],
    );
    same(
        &rows(&*source, 1 << 20).unwrap(),
        &golden,
        &["all_i64", "str_bin"],
    );
}

#[test]
fn a_group_that_is_cut_missing_or_another_is_refused_by_name() {
    let golden = grouped();
    let read = || open("milvus_backup", &settings(&golden)).and_then(|source| rows(&*source, 50));
    for group in ["0", "1"] {
        let path = file(&golden, group);
        let whole = fs::read(&path).unwrap();
        let mut damages: Vec<Option<Vec<u8>>> = vec![None];
        damages.extend(
            (0..whole.len())
                .step_by(whole.len() / 40 + 1)
                .map(|len| Some(whole[..len].to_vec())),
        );
        damages.push(Some(
            fs::read(file(&golden, if group == "0" { "1" } else { "0" })).unwrap(),
        ));
        for damage in damages {
            match &damage {
                None => fs::remove_file(&path).unwrap(),
                Some(bytes) => fs::write(&path, bytes).unwrap(),
            }
            let error = read()
                .err()
                .unwrap_or_else(|| panic!("{} is read", path.display()));
            assert_eq!(error.kind().exit_code(), 3, "{error}");
        }
        fs::write(&path, &whole).unwrap();
    }
    read().unwrap();
}

#[test]
fn storage_v3_is_refused_with_the_reason() {
    let golden = Golden::new();
    let meta = golden.path("backup/meta/full_meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    let text = text.replacen("\"segment_id\"", "\"storage_version\":3,\"segment_id\"", 1);
    fs::write(&meta, text).unwrap();
    let error = open("milvus_backup", &settings(&golden)).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    assert!(
        error.to_string().contains("V3") && format!("{error:#}").contains("source: {milvus"),
        "{error:#}"
    );
}
