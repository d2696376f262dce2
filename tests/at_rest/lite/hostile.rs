//! Damaged files of Milvus Lite: refused by name, or read as far as a server would.

use std::path::{Path, PathBuf};

use milvusdm::batch::Limits;
use milvusdm::error::{Kind, Result};
use milvusdm::job::{Form, Mistakes};
use milvusdm::source::Source;
use milvusdm::source::milvus_lite::{KIND, inspect};

use crate::lite::{VERSIONS, copy};

pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(&format!("{{path: '{}'}}", path.display())).unwrap();
    let mut form = Form::new("source", map, KIND.settings, &mistakes);
    (KIND.read)(&mut form).unwrap().open()
}

/// All rows of a source.
fn read(path: &Path) -> Result<u64> {
    let limits = Limits {
        batch_bytes: 1 << 16,
        batch_rows: 100,
    };
    let source = open(path)?;
    let manifest = source.survey(limits)?.manifest;
    let mut rows = 0;
    for shard in &manifest.shards {
        let mut of_shard = 0;
        let mut reader = source.open(shard, shard.start.clone(), limits)?;
        while let Some(cut) = reader.next()? {
            of_shard += cut.parts.iter().map(|p| p.len() as u64).sum::<u64>();
        }
        assert_eq!(of_shard, shard.rows, "{}", shard.name);
        rows += of_shard;
    }
    assert_eq!(rows, manifest.targets.iter().map(|t| t.rows).sum::<u64>());
    Ok(rows)
}

/// Bytes that this process had in memory at most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// Cuts a file at many places and turns bits over in it; what is said must name it.
fn damage(root: &Path, file: &Path, is_log: bool) -> (usize, usize) {
    let whole = std::fs::read(file).unwrap();
    let rows = read(root).unwrap();
    let (mut tried, mut refused) = (0, 0);
    let mut check = |bytes: &[u8], may_be_read: bool, what: &str| {
        std::fs::write(file, bytes).unwrap();
        tried += 1;
        let _ = inspect(root).map(|told| told.to_string());
        match read(root) {
            Ok(found) => {
                assert!(
                    may_be_read,
                    "{} {what}: {found} of {rows} rows are read",
                    file.display()
                );
            }
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(
                    matches!(error.kind(), Kind::Corrupt | Kind::Unsupported),
                    "{what}: {said}"
                );
                let collection = file
                    .components()
                    .rev()
                    .nth(1)
                    .unwrap()
                    .as_os_str()
                    .to_string_lossy();
                let name = file.file_name().unwrap().to_string_lossy();
                // What one file says may be missing in another one of its collection.
                let is_near = said.contains(&*name)
                    || said.contains(&*collection)
                    || said.contains("/collections/");
                assert!(is_near, "{} {what}: {said}", file.display());
            }
        }
    };
    for step in 0..25 {
        let len = whole.len() * step / 25;
        check(&whole[..len], is_log, &format!("cut to {len} bytes"));
    }
    for step in 0..25 {
        let at = whole.len() * step / 25 + step % 7;
        let at = at.min(whole.len() - 1);
        let mut odd = whole.clone();
        odd[at] ^= 1 << (step % 8);
        check(&odd, true, &format!("a bit of byte {at}"));
    }
    std::fs::write(file, &whole).unwrap();
    (tried, refused)
}

#[test]
fn damaged_files_are_refused_by_name() {
    let room = tempfile::tempdir().unwrap();
    let root = room.path().join("lite");
    copy(&VERSIONS[0].kept(), &root);
    // What is read is what the damage is in, and a collection beside it.
    for name in [
        "busy", "nulls", "defaults", "keyed", "made", "several", "twice", "words", "texts",
    ] {
        std::fs::remove_dir_all(root.join("collections").join(name)).unwrap();
    }
    let typed = root.join("collections/typed");
    let data = typed.join("partitions/_default/data");
    let first = |dir: PathBuf, start: &str| -> PathBuf {
        let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        let mut names: Vec<PathBuf> = names
            .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(start))
            .collect();
        names.sort();
        names.remove(0)
    };
    let (mut tried, mut refused) = (0, 0);
    for (file, is_log) in [
        (typed.join("schema.json"), false),
        (typed.join("manifest.json"), false),
        (first(data.clone(), "data_"), false),
        (
            first(typed.join("partitions/_default/delta"), "delta_"),
            false,
        ),
        (first(typed.join("wal"), "wal_data"), true),
        (first(typed.join("wal"), "wal_delta"), true),
    ] {
        let of_file = damage(&root, &file, is_log);
        (tried, refused) = (tried + of_file.0, refused + of_file.1);
    }
    let database = room.path().join("lite.db");
    std::fs::copy(VERSIONS[1].kept(), &database).unwrap();
    let of_file = damage(&database, &database, false);
    (tried, refused) = (tried + of_file.0, refused + of_file.1);
    assert!(tried >= 350 && refused >= 140, "{refused} of {tried}");
    assert!(peak() < 300 << 20, "{} bytes", peak());

    // A file that is live and gone, and a manifest without its own.
    std::fs::remove_file(first(data, "data_")).unwrap();
    let error = read(&root).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[test]
fn a_length_that_is_wrong_is_no_end_of_a_log() {
    let room = tempfile::tempdir().unwrap();
    let root = room.path().join("lite");
    copy(&VERSIONS[0].kept(), &root);
    let wal = root.join("collections/busy/wal");
    let mut log = std::fs::read_dir(&wal).unwrap().map(|e| e.unwrap().path());
    let log = log
        .find(|p| p.to_string_lossy().contains("wal_data"))
        .unwrap();
    let whole = std::fs::read(&log).unwrap();
    let mark = [0xff; 4];
    let mut starts = (8..whole.len() - 8)
        .step_by(8)
        .filter(|at| whole[*at..][..4] == mark);
    let second = starts.nth(1).unwrap();
    let mut odd = whole.clone();
    // The description of a batch is said to be longer than the file.
    odd[second + 6] = 0x7f;
    std::fs::write(&log, &odd).unwrap();
    let error = read(&root).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let said = error.to_string();
    assert!(
        said.contains(&format!("at byte {second}")) && said.contains("wal_data"),
        "{said}"
    );
    // What a death leaves is read up to where it is whole.
    std::fs::write(&log, &whole[..second + 100]).unwrap();
    assert!(read(&root).unwrap() > 0);
}
