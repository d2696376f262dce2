//! Damaged storages and backups: each is an error that names the file, or rows; never a panic, never much memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use milvusdm::error::{Error, Kind, Result};

use crate::milvus2::Golden;
use crate::milvus2::canonical::{open, rows};
use crate::support::python;

/// The files below a directory, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => left.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn read(kind: &str, settings: &str) -> Result<()> {
    let source = open(kind, settings)?;
    rows(&*source, 50).map(|_| ())
}

#[track_caller]
fn refused(error: Option<Error>, path: &Path, what: &str) {
    let error = error.unwrap_or_else(|| panic!("{}: {what} is read", path.display()));
    assert_eq!(
        error.kind().exit_code(),
        3,
        "{}: {what}: {error}",
        path.display()
    );
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(
        error.to_string().contains(&*name),
        "{what}: {name} is not named: {error}"
    );
}

/// Files that reading a partition needs: logs of moments, keys, texts, arrays, vectors, JSON, and deletions.
fn needed(golden: &Golden) -> Vec<PathBuf> {
    // The number of the collection all_i64 and its partition p2, which has two segments.
    let of_p2 = "470723403745529279/470723403745529292";
    let mut all = files(&golden.path("storage/insert_log").join(of_p2));
    let fields = ["1", "100", "108", "117", "118", "119"];
    all.retain(|path| {
        let field = path.parent().unwrap().file_name().unwrap();
        fields.iter().any(|kept| field == *kept)
    });
    all.extend(files(&golden.path("storage/delta_log").join(of_p2)));
    assert_eq!(all.len(), 14);
    all
}

fn of_p2(golden: &Golden) -> String {
    let path = golden.path("storage");
    format!("path: '{}', collections: {{all_i64: [p2]}}", path.display())
}

#[test]
fn a_log_that_is_missing_cut_or_in_the_place_of_another_is_refused_by_name() {
    let golden = Golden::new();
    let settings = of_p2(&golden);
    read("milvus_files", &settings).unwrap();
    let all = needed(&golden);
    let refusal = || read("milvus_files", &settings).err();
    for (number, path) in all.iter().enumerate() {
        let whole = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        refused(refusal(), path, "nothing");
        for len in (0..whole.len()).step_by(96).chain([whole.len() - 1]) {
            fs::write(path, &whole[..len]).unwrap();
            refused(refusal(), path, &format!("{len} of {} bytes", whole.len()));
        }
        // Another field's, another segment's, a log of deletions.
        let other = &all[(number + 1) % all.len()];
        fs::copy(other, path).unwrap();
        refused(refusal(), path, "another log");
        fs::write(path, &whole).unwrap();
    }
    read("milvus_files", &settings).unwrap();
}

#[test]
fn a_bit_turned_over_in_a_log_is_an_error_with_file_and_byte_or_rows() {
    let golden = Golden::new();
    let settings = of_p2(&golden);
    let mut refusals = 0;
    for path in needed(&golden) {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 16 + 1) {
            let mut odd = whole.clone();
            odd[at] ^= 1 << (at % 8);
            fs::write(&path, &odd).unwrap();
            if let Err(error) = read("milvus_files", &settings) {
                refusals += 1;
                refused(Some(error), &path, &format!("byte {at}"));
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(refusals > 60, "{refusals}");
}

#[test]
fn metadata_that_are_cut_or_damaged_are_refused() {
    let golden = Golden::new();
    let settings = of_p2(&golden);
    let path = golden.path("storage/etcd.data/member/snap/db");
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len())
        .step_by(4096)
        .map(|len| len + len / 4096 % 4096)
    {
        fs::write(&path, &whole[..len]).unwrap();
        // Pages behind the last one that is in use may be gone.
        if let Err(error) = read("milvus_files", &settings) {
            assert_eq!(error.kind(), Kind::Corrupt, "{len}: {error}");
            assert!(error.to_string().contains("snap/db"), "{len}: {error}");
        }
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused(read("milvus_files", &settings).err(), &path, "half of it");
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut odd = whole.clone();
        odd[at] ^= 1 << (at % 8);
        fs::write(&path, &odd).unwrap();
        if let Err(error) = read("milvus_files", &settings) {
            // Names that the job asks for may be other ones now.
            let code = error.kind().exit_code();
            assert!([2, 3].contains(&code), "byte {at}: {error}");
        }
    }
}

#[test]
fn a_snapshot_is_known_by_its_sum() {
    use sha2::{Digest, Sha256};
    let golden = Golden::new();
    let whole = fs::read(golden.path("storage/etcd.data/member/snap/db")).unwrap();
    let sum = Sha256::digest(&whole);
    let snapshot = golden.path("etcd.snapshot");
    let settings = format!("{}, meta: '{}'", of_p2(&golden), snapshot.display());
    fs::write(&snapshot, [&whole[..], &sum[..]].concat()).unwrap();
    read("milvus_files", &settings).unwrap();
    let mut odd = [&whole[..], &sum[..]].concat();
    let middle = odd.len() / 2;
    odd[middle] ^= 1;
    fs::write(&snapshot, odd).unwrap();
    refused(
        read("milvus_files", &settings).err(),
        &snapshot,
        "another byte",
    );
}

#[test]
fn a_backup_that_is_cut_or_altered_is_refused() {
    let golden = Golden::new();
    let settings = format!("path: '{}'", golden.path("backup").display());
    let full = golden.path("backup/meta/full_meta.json");
    let whole = fs::read(&full).unwrap();
    for len in (0..whole.len()).step_by(1997) {
        fs::write(&full, &whole[..len]).unwrap();
        refused(
            read("milvus_backup", &settings).err(),
            &full,
            &format!("{len} bytes"),
        );
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    for (from, to, expected) in [
        ("\"data_type\":101", "\"data_type\":100", "but the field is"),
        (
            "\"value\":\"8\"}]}],\"enable",
            "\"value\":\"9\"}]}],\"enable",
            "but the field is",
        ),
        (
            "\"group_id\":470723403745529306",
            "\"group_id\":7",
            "is missing",
        ),
        // Its files would be Parquet then.
        (
            "\"num_of_rows\":190",
            "\"num_of_rows\":190,\"storage_version\":2",
            "is not a Parquet file",
        ),
        (
            "\"num_of_rows\":190",
            "\"num_of_rows\":190,\"storage_version\":3",
            "storage V3",
        ),
        (
            "\"name\":\"bk1\"",
            "\"name\":\"bk1\",\"format\":\"snapshot\"",
            "snapshot",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&full, text.replacen(from, to, 1)).unwrap();
        let error = read("milvus_backup", &settings).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{to}: {error}");
        assert!(error.to_string().contains(expected), "{to}: {error}");
    }
    fs::remove_file(&full).unwrap();
    for name in [
        "backup_meta",
        "collection_meta",
        "partition_meta",
        "segment_meta",
    ] {
        let path = golden.path(&format!("backup/meta/{name}.json"));
        let whole = fs::read(&path).unwrap();
        for len in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            refused(
                read("milvus_backup", &settings).err(),
                &path,
                &format!("{len} bytes"),
            );
        }
        fs::write(&path, whole).unwrap();
    }
    read("milvus_backup", &settings).unwrap();
}

/// A compaction copies logs of deletions that were flushed while it ran, unchanged: they name a segment that is gone.
#[test]
fn a_copied_log_of_deletions_is_read_and_one_of_another_segment_refused() {
    let golden = Golden::new();
    let settings = format!("path: '{}'", golden.path("backup").display());
    let source = open("milvus_backup", &settings).unwrap();
    let expected = rows(&*source, 50).unwrap();
    let segment_of = |path: &Path| -> i64 {
        let segment = path.parent().unwrap().file_name().unwrap();
        segment.to_str().unwrap().parse().unwrap()
    };
    // Some segments are newer than the backup.
    let listed = fs::read_to_string(golden.path("backup/meta/full_meta.json")).unwrap();
    let mut logs = files(&golden.path("backup"));
    logs.retain(|path| {
        let is_log = path
            .components()
            .any(|part| part.as_os_str() == "delta_log");
        is_log && listed.contains(&segment_of(path).to_string())
    });
    assert!(logs.len() > 3, "{logs:?}");
    for path in &logs {
        let whole = fs::read(path).unwrap();
        // Behind the magic number, the event's header, and the ids of the collection and the partition.
        let at = 4 + 17 + 16;
        assert_eq!(whole[at..at + 8], segment_of(path).to_le_bytes());
        let with = |segment: i64| {
            let mut odd = whole.clone();
            odd[at..at + 8].copy_from_slice(&segment.to_le_bytes());
            fs::write(path, odd).unwrap();
        };
        with(7);
        let source = open("milvus_backup", &settings).unwrap();
        assert_eq!(rows(&*source, 50).unwrap(), expected, "{}", path.display());
        let collection = |path: &Path| path.ancestors().nth(4).unwrap().to_owned();
        let mut others = logs.iter().filter(|other| {
            collection(other) == collection(path) && segment_of(other) != segment_of(path)
        });
        with(segment_of(others.next().unwrap()));
        let of_another = read("milvus_backup", &settings).err();
        refused(of_another, path, "a log of another segment");
        fs::write(path, &whole).unwrap();
    }
}

#[test]
fn the_program_ends_with_exit_3_and_little_memory() {
    let golden = Golden::new();
    let job = golden.path("job.yaml");
    let text = format!(
        "source: {{milvus_files: {{{}}}}}\nsink: {{parquet: {{dir: '{}', mode: overwrite}}}}\n",
        of_p2(&golden),
        golden.path("out").display()
    );
    fs::write(&job, text).unwrap();
    let script = r#"
import resource, subprocess, sys
program, job, *paths = sys.argv[1:]
for path in paths:
    whole = open(path, 'rb').read()
    damages = [whole[:len(whole) // 2], b'\xff' * len(whole)]
    # At the head of etcd's file is room that nothing is in.
    if not path.endswith('/db'): damages.append(whole[:100] + b'\xff' * 60 + whole[160:])
    for damaged in damages:
        open(path, 'wb').write(damaged)
        done = subprocess.run([program, 'run', job, '--progress', 'none', '--again'], capture_output=True)
        said = done.stderr.decode()
        assert done.returncode == 3 and path.rsplit('/', 1)[1] in said, (path, done.returncode, said)
    open(path, 'wb').write(whole)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"#;
    let mut paths = needed(&golden);
    paths = paths.split_off(paths.len() - 3);
    paths.push(golden.path("storage/etcd.data/member/snap/db"));
    let output = Command::new(python())
        .args(["-c", script, env!("CARGO_BIN_EXE_milvusdm")])
        .arg(&job)
        .args(&paths)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let kilobytes: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    assert!(kilobytes < 300 << 10, "{kilobytes} kB");
}
