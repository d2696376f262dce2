//! A backup in Parquet files tells by itself whether it is whole: without its source, and without a server.

use std::fs;
use std::path::{Path, PathBuf};

use milvusdm::error::{Error, Kind};
use milvusdm::source::parquet::{Checked, check};
use serde_json::Value;

use crate::milvus2::Golden;
use crate::milvus2::canonical::{open, rows};
use crate::milvus2::migration::Jobs;

/// The golden storage as a backup.
fn backup() -> Jobs {
    backup_of("*")
}

/// Collections of it.
fn backup_of(collections: &str) -> Jobs {
    let golden = Golden::new();
    let jobs = Jobs::new();
    let job = format!(
        "source: {{milvus_files: {{path: '{}', collections: ['{collections}']}}}}\nsink: {{parquet: {{dir: backup, rows_per_file: 100}}}}\n",
        golden.path("storage").display()
    );
    jobs.run("backup", &job).code(0);
    jobs
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.append(&mut files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn look(dir: &Path) -> Checked {
    check(dir, &|_, _| {}, &|| Ok(())).unwrap()
}

/// What is wrong, in one text.
fn problems(checked: &Checked) -> String {
    let of_targets = checked.targets.iter().flat_map(|target| &target.problems);
    let all: Vec<&str> = of_targets.chain(&checked.problems).map(|p| &**p).collect();
    all.join("\n")
}

#[track_caller]
fn noticed(dir: &Path, file: &Path, what: &str) {
    let checked = look(dir);
    assert!(
        !checked.is_whole(),
        "{}: {what} is not noticed",
        file.display()
    );
    let name = match file.ends_with("manifest.json") {
        true => file.parent().unwrap().file_name(),
        false => file.file_name(),
    };
    let said = problems(&checked);
    assert!(
        said.contains(&*name.unwrap().to_string_lossy()),
        "{}: {what}: {said}",
        file.display()
    );
}

#[test]
fn a_backup_that_is_altered_or_cut_anywhere_is_noticed() {
    let jobs = backup();
    let dir = jobs.path("backup");
    assert!(look(&dir).is_whole(), "{}", problems(&look(&dir)));
    let all = files(&dir);
    assert!(all.iter().any(|path| path.ends_with("backup.json")) && all.len() > 25);
    for path in &all {
        let whole = fs::read(path).unwrap();
        let last = whole.len() - 1;
        for at in [
            0,
            3,
            last / 5,
            last / 3,
            last / 2,
            last / 4 * 3,
            last - 20,
            last - 2,
            last,
        ] {
            let mut odd = whole.clone();
            odd[at] ^= 1 << (at % 8);
            fs::write(path, &odd).unwrap();
            noticed(&dir, path, &format!("byte {at}"));
        }
        for len in [last, last / 2, 1, 0] {
            fs::write(path, &whole[..len]).unwrap();
            noticed(&dir, path, &format!("{len} of {} bytes", whole.len()));
        }
        fs::write(path, [&whole[..], b"\n"].concat()).unwrap();
        noticed(&dir, path, "a byte more");
        fs::remove_file(path).unwrap();
        noticed(&dir, path, "nothing");
        fs::write(path, &whole).unwrap();
    }
    assert!(look(&dir).is_whole());
}

/// Whether the backup can be opened to be restored, and all its rows read.
fn restorable(dir: &Path) -> Result<(), Error> {
    let source = open("parquet", &format!("dir: '{}'", dir.display()))?;
    rows(&*source, 1000).map(drop)
}

#[test]
fn every_byte_of_manifest_and_list_counts_and_restoring_notices_as_well() {
    let jobs = backup_of("str_bin");
    let dir = jobs.path("backup");
    let all = files(&dir);
    let names: Vec<_> = all
        .iter()
        .map(|path| path.strip_prefix(&dir).unwrap())
        .collect();
    let of_rows = [
        "part-00000.parquet",
        "part-00001.parquet",
        "part-00002.parquet",
    ];
    let of_rows = of_rows.map(|name| Path::new("str_bin/_default").join(name));
    let mut expected = vec![
        PathBuf::from("backup.json"),
        "str_bin/_default/manifest.json".into(),
    ];
    expected.extend(of_rows);
    assert_eq!(names, expected);
    restorable(&dir).unwrap();
    for path in &all {
        let whole = fs::read(path).unwrap();
        let step = match path.extension() {
            Some(ending) if ending == "json" => 1,
            _ => 41,
        };
        let flips = (0..whole.len()).step_by(step).map(|at| {
            let mut odd = whole.clone();
            odd[at] ^= 1 << (at % 8);
            (format!("byte {at}"), odd)
        });
        let cuts = (0..whole.len()).step_by(step * 5);
        let cuts = cuts.map(|len| (format!("{len} bytes"), whole[..len].to_vec()));
        for (number, (what, odd)) in flips.chain(cuts).enumerate() {
            fs::write(path, odd).unwrap();
            noticed(&dir, path, &what);
            if number % 7 == 0 {
                let code = restorable(&dir).map_err(|e| e.kind().exit_code());
                assert_eq!(code, Err(3), "{}: {what}", path.display());
            }
        }
        fs::write(path, &whole).unwrap();
    }
    restorable(&dir).unwrap();
}

#[test]
fn files_and_partitions_that_are_gone_more_or_swapped_are_noticed() {
    let jobs = backup();
    let dir = jobs.path("backup");
    let of_p2 = dir.join("all_i64/p2");
    fs::rename(&of_p2, jobs.path("p2")).unwrap();
    let said = problems(&look(&dir));
    assert_eq!(said, "all_i64/p2 is missing: backup.json lists it");
    let refused = |words: &str| {
        let error = restorable(&dir).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    refused("all_i64/p2: is missing: backup.json lists it");
    // What is chosen and there can be restored all the same.
    let part = "source: {parquet: {dir: backup}}\nsink: {parquet: {dir: part}}\ncollections: {allow: [str_bin]}\n";
    jobs.run("part", part).code(0);
    let all = part.replace("collections: {allow: [str_bin]}\n", "");
    jobs.run("all", &all)
        .code(3)
        .says(&["backup.json lists it"]);
    // A part of it is looked at by itself.
    assert!(look(&dir.join("all_i64")).is_whole());
    assert!(look(&jobs.path("p2")).is_whole());
    fs::rename(jobs.path("p2"), &of_p2).unwrap();
    // Another partition in its place, whole by itself.
    let of_p1 = dir.join("all_i64/p1");
    fs::rename(&of_p1, jobs.path("p1")).unwrap();
    fs::rename(&of_p2, &of_p1).unwrap();
    fs::rename(jobs.path("p1"), &of_p2).unwrap();
    assert!(problems(&look(&dir)).contains("not the one that backup.json lists"));
    refused("a different manifest from the one that backup.json lists");
    fs::rename(&of_p1, jobs.path("p1")).unwrap();
    fs::rename(&of_p2, &of_p1).unwrap();
    fs::rename(jobs.path("p1"), &of_p2).unwrap();
    // A file that nobody lists.
    let more = of_p2.join("part-00009.parquet");
    fs::copy(of_p2.join("part-00000.parquet"), &more).unwrap();
    assert!(problems(&look(&dir)).contains("part-00009.parquet"));
    refused("part-00009.parquet");
    fs::remove_file(&more).unwrap();
    assert!(look(&dir).is_whole());
    // A whole partition that nobody lists.
    let copied = dir.join("all_i64/p3");
    fs::create_dir(&copied).unwrap();
    for name in ["manifest.json", "part-00000.parquet"] {
        fs::copy(of_p2.join(name), copied.join(name)).unwrap();
    }
    assert!(problems(&look(&dir)).contains("backup.json does not list it"));
    refused("is not in backup.json");
    fs::remove_dir_all(&copied).unwrap();
    // Without any manifest it is a backup still, of which all is missing.
    for path in files(&dir)
        .iter()
        .filter(|path| path.ends_with("manifest.json"))
    {
        fs::remove_file(path).unwrap();
    }
    assert!(!look(&dir).is_whole());
    refused("is missing: backup.json lists it");
}

#[test]
fn verify_and_inspect_of_a_backup_say_what_it_holds() {
    let jobs = backup();
    let output = jobs.milvusdm(&["verify", "backup", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["state"]),
        (Some(0), &"whole".into())
    );
    let output = jobs.milvusdm(&["inspect", "backup", "--json"]);
    let described: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = described["targets"].as_array().unwrap().iter();
    let rows: u64 = rows.map(|target| target["rows"].as_u64().unwrap()).sum();
    assert_eq!(report["rows"], rows);
    let text = jobs.milvusdm(&["inspect", "backup/all_i64/p2/manifest.json"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("collection all_i64, partition p2, from ")
            && text.contains("80 rows, digest ")
            && text.contains("v FLAT L2"),
        "{text}"
    );

    fs::remove_file(jobs.path("backup/all_i64/p2/part-00000.parquet")).unwrap();
    let output = jobs.milvusdm(&["verify", "backup"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("part-00000.parquet") && said.contains("is missing"),
        "{said}"
    );
    let output = jobs.milvusdm(&["inspect", "backup"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("wrong: there is no such file"), "{said}");
    fs::remove_dir_all(jobs.path("backup/all_i64/p2")).unwrap();
    let output = jobs.milvusdm(&["inspect", "backup/backup.json"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("all_i64/p2 is missing"), "{said}");
    fs::create_dir_all(jobs.path("state")).unwrap();
    assert_eq!(jobs.milvusdm(&["verify", "state"]).status.code(), Some(2));
}
