//! The metadata of a backup, as milvus-backup writes them.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::milvus2::{BACKUP, inspect};

use super::support::{golden2, open, read_any};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| golden2("milvus2_backup"));

pub fn run(bytes: &[u8]) {
    let backup = ROOM.join("backup");
    std::fs::write(backup.join("meta/full_meta.json"), bytes).unwrap();
    if let Ok(Some(description)) = inspect(&backup) {
        assert!(!description.to_string().is_empty());
    }
    let settings = format!("{{path: '{}', db: ['*']}}", backup.display());
    let read = open(&BACKUP, &settings).and_then(|source| read_any(&*source));
    if let Ok(rows) = read {
        assert!(rows <= 2000);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let room = golden2("milvus2_backup_seed");
    let text = std::fs::read_to_string(room.join("backup/meta/full_meta.json")).unwrap();
    // Without groups, as the binlogs lie here.
    let mut flat: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let collections = flat["collection_backups"].as_sequence_mut().unwrap();
    for collection in &mut *collections {
        for partition in collection["partition_backups"].as_sequence_mut().unwrap() {
            for segment in partition["segment_backups"].as_sequence_mut().unwrap() {
                segment.as_mapping_mut().unwrap().remove("group_id");
            }
        }
    }
    let one = |number: usize| {
        let mut flat = flat.clone();
        let all = flat["collection_backups"].as_sequence_mut().unwrap();
        let kept = all[number].clone();
        *all = vec![kept];
        serde_json::to_vec(&flat).unwrap()
    };
    vec![one(0), one(1)]
}
