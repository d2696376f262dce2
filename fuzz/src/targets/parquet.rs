//! A Parquet file whose rows are read: `| choice 1 | file … |`.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::parquet::KIND;

use super::support::{LIMITS, open, repository, room};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| room("parquet"));

pub fn run(bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else {
        return;
    };
    let path = ROOM.join("a.parquet");
    std::fs::write(&path, file).unwrap();
    let access = ["map", "read"][bytes.len() % 2];
    let id = ["", ", id: row_number"][usize::from(*choice) % 2];
    let settings = format!("{{path: '{}', access: {access}{id}}}", path.display());
    let Ok(source) = open(&KIND, &settings) else {
        return;
    };
    let manifest = source.survey(LIMITS).unwrap().manifest;
    for shard in &manifest.shards {
        let Ok(mut reader) = source.open(shard, shard.start.clone(), LIMITS) else {
            return;
        };
        let mut rows = 0;
        while let Ok(Some(cut)) = reader.next() {
            let count: u64 = cut.parts.iter().map(|part| part.len() as u64).sum();
            assert!(count > 0 && count <= LIMITS.batch_rows);
            rows += count;
            assert!(rows <= shard.rows);
            // Rows without values take no room in a file: no end of them is waited for.
            if rows > 10_000 {
                return;
            }
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let names = ["types_v1", "types_v2", "vectors"];
    let file = |name: &&str| {
        let path = repository("tests/fixtures/parquet").join(format!("{name}.parquet"));
        [&[0], &std::fs::read(path).unwrap()[..]].concat()
    };
    names.iter().map(file).collect()
}
