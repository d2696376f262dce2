//! What the tests of the `milvus1` source share: fixtures, copies of them, and reading them through the trait.

#![allow(dead_code)] // Each test file uses its own part.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use milvusdm::batch::{Cut, Limits, Position, Shard, Target};
use milvusdm::error::Result;
use milvusdm::job::{Form, Globs, Mistakes};
use milvusdm::source::{Source, Survey, milvus1};
use sha2::{Digest, Sha256};

/// Batches of one size.
pub const LIMITS: Limits = Limits {
    batch_bytes: 4 << 20,
    batch_rows: 1 << 20,
};

/// Batches so small that every segment has several.
pub const SMALL: Limits = Limits {
    batch_bytes: 4096,
    batch_rows: 7,
};

/// The directory of a golden installation, as it is in the repository.
pub fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/milvus1x")
        .join(version)
}

/// What its tables must hold.
pub fn expected(version: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(golden(version).join("expected.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    all["tables"].as_array().unwrap().clone()
}

/// A copy to do anything with; the installation is `milvus` in it.
pub fn copy(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&golden(version).join("milvus"), &dir.path().join("milvus"));
    dir
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The source that these settings make, with `path` put in.
pub fn open(path: &Path, settings: &str) -> Result<Box<dyn Source>> {
    spec(path, settings).open()
}

/// The same with the job's allow and block lists.
pub fn open_for(path: &Path, allow: &[&str], block: &[&str]) -> Result<Box<dyn Source>> {
    let list = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect();
    spec(path, "").open_for(&Globs {
        allow: list(allow),
        block: list(block),
    })
}

fn spec(path: &Path, settings: &str) -> Box<dyn milvusdm::source::Spec> {
    let mistakes = Mistakes::default();
    let text = format!("path: {:?}\n{settings}", path.to_str().unwrap());
    let map = serde_yaml::from_str(&text).unwrap();
    let mut form = Form::new("source.milvus1", map, milvus1::KIND.settings, &mistakes);
    let spec = (milvus1::KIND.read)(&mut form);
    assert!(form.done(), "{settings}: {:?}", mistakes.all());
    spec.unwrap()
}

/// All rows of a source, by target, in the order of shards; every promise of the trait is checked on the way.
pub struct Read {
    pub survey: Survey,
    /// Rows of each target: id, then the vector's bytes.
    pub rows: Vec<Vec<(i64, Vec<u8>)>>,
}

pub fn read(source: &dyn Source, limits: Limits) -> Result<Read> {
    let survey = source.survey(limits)?;
    let mut rows = vec![Vec::new(); survey.manifest.targets.len()];
    for (number, shard) in survey.manifest.shards.iter().enumerate() {
        assert_eq!(shard.number as usize, number);
        let target = &survey.manifest.targets[shard.target as usize];
        let of: &mut Vec<_> = &mut rows[shard.target as usize];
        assert_eq!(shard.first_row, of.len() as u64, "{}", shard.name);
        let before = of.len();
        for cut in cuts(source, shard, shard.start.clone(), limits)? {
            take(&cut, target, limits, of);
        }
        assert_eq!((of.len() - before) as u64, shard.rows, "{}", shard.name);
    }
    for (number, target) in survey.manifest.targets.iter().enumerate() {
        assert_eq!(target.number as usize, number);
        assert_eq!(rows[number].len() as u64, target.rows, "{}", target.name);
    }
    Ok(Read { survey, rows })
}

pub fn cuts(
    source: &dyn Source,
    shard: &Shard,
    from: Position,
    limits: Limits,
) -> Result<Vec<Cut>> {
    // A plan numbers shards and targets anew.
    let aimed = Shard {
        number: 999,
        target: 0,
        first_row: 77,
        ..shard.clone()
    };
    let mut reader = source.open(&aimed, from, limits)?;
    let mut cuts = Vec::new();
    while let Some(cut) = reader.next()? {
        reader.files().unchanged()?;
        cuts.push(cut);
    }
    Ok(cuts)
}

fn take(cut: &Cut, target: &Target, limits: Limits, rows: &mut Vec<(i64, Vec<u8>)>) {
    let width = target.vector().row_bytes() as usize;
    let count: usize = cut.parts.iter().map(|p| p.len()).sum();
    assert!(count > 0 && count as u64 <= limits.rows(target.vector()));
    for part in &cut.parts {
        assert!(!part.is_empty());
        let stored = std::fs::read(&part.file).unwrap();
        for (i, id) in part.ids().iter().enumerate() {
            let vector = &part.vectors()[i * width..(i + 1) * width];
            let at = 8 + (part.row as usize + i) * width;
            assert_eq!(vector, &stored[at..at + width], "a row's number is its own");
            rows.push((*id, vector.to_vec()));
        }
    }
}

/// SHA-256 over id and vector of every row, as expected.json has it.
pub fn digest(rows: &[(i64, Vec<u8>)]) -> String {
    let mut sum = Sha256::new();
    for (id, vector) in rows {
        sum.update(id.to_le_bytes());
        sum.update(vector);
    }
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares all that was read with expected.json of this version.
pub fn check(version: &str, read: &Read) {
    let expected = expected(version);
    let targets = &read.survey.manifest.targets;
    let names: Vec<String> = targets.iter().map(|t| t.name.to_string()).collect();
    assert_eq!(targets.len(), expected.len(), "{names:?}");
    for table in &expected {
        let (collection, tag) = (text(table, "collection"), text(table, "partition_tag"));
        let target = targets
            .iter()
            .find(|t| t.name.collection == collection && t.name.partition == tag)
            .unwrap_or_else(|| panic!("{version}: {collection}/{tag} is missing: {names:?}"));
        let rows = &read.rows[target.number as usize];
        assert_eq!(
            digest(rows),
            text(table, "live_sha256"),
            "{version}: {collection}/{tag}"
        );
        assert_eq!(target.rows, table["live_rows"].as_u64().unwrap());
        assert_eq!(
            u64::from(target.vector().dimension),
            table["dimension"].as_u64().unwrap()
        );
        assert_eq!(
            target.vector().is_binary(),
            table["binary"].as_bool().unwrap()
        );
        let metrics = [
            "L2",
            "IP",
            "HAMMING",
            "JACCARD",
            "TANIMOTO",
            "SUBSTRUCTURE",
            "SUPERSTRUCTURE",
        ];
        let metric = metrics[table["metric_type"].as_u64().unwrap() as usize - 1];
        assert_eq!(target.metric().unwrap().name(), metric);
        let segments = table["segments"].as_array().unwrap();
        let stored: u64 = segments
            .iter()
            .map(|s| s["rows_total"].as_u64().unwrap())
            .sum();
        assert_eq!(target.rows_deleted, stored - target.rows);
    }
}

fn text(value: &serde_json::Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}

/// Every file and directory below a path: length, time of change, mode, and digest.
pub fn fingerprint(path: &Path) -> BTreeMap<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeMap::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let meta = std::fs::metadata(&path).unwrap();
        let mut said = format!("{} {} {:o}", meta.mtime(), meta.mtime_nsec(), meta.mode());
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            open.extend(entries.map(|e| e.unwrap().path()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let sum = Sha256::digest(&bytes);
            said.push_str(&format!(" {} {sum:x?}", bytes.len()));
        }
        all.insert(path, said);
    }
    all
}

/// Changes the metadata of a copy.
pub fn sql(installation: &Path, statements: &str) {
    let path = installation.join("db/meta.sqlite");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(statements).unwrap();
}
