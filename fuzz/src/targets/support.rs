//! What targets share: a directory to put files in, sources read to their end, and a real run to take files from.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use milvusdm::batch::{Limits, Part};
use milvusdm::checkpoint::{Checkpoint, Found};
use milvusdm::error::Result;
use milvusdm::job::{Form, Job, Mistakes};
use milvusdm::plan::{Plan, plan};
use milvusdm::progress::Progress;
use milvusdm::run::{Stop, run};
use milvusdm::source::{Source, SourceKind};

/// So small that files of a dozen rows have several batches.
pub const LIMITS: Limits = Limits {
    batch_bytes: 4096,
    batch_rows: 5,
};

/// More rows than any seed has.
const ROWS_MAX: u64 = 10_000;

/// A directory of this process: cargo's for tests, else `$TMPDIR`, which `fuzz/run` puts into memory and removes.
pub fn room(name: &str) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let rooms = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let room = rooms.join(format!("fuzz-{name}-{number}"));
    let _ = std::fs::remove_dir_all(&room);
    std::fs::create_dir_all(&room).unwrap();
    room
}

/// A file or directory of the repository, from wherever this is built.
pub fn repository(path: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut roots = here.ancestors().map(|root| root.join(path));
    roots.find(|p| p.exists()).expect("the repository is whole")
}

/// The files of a directory of the repository that end so, in order.
pub fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository(directory)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// The source that these settings make.
pub fn open(kind: &SourceKind, settings: &str) -> Result<Box<dyn Source>> {
    let mistakes = Mistakes::default();
    let settings = serde_yaml::from_str(settings).expect("settings are YAML");
    let mut form = Form::new("source", settings, kind.settings, &mistakes);
    let spec = (kind.read)(&mut form).unwrap_or_else(|| panic!("{:?}", mistakes.all()));
    spec.open()
}

/// A Milvus 2.3.5 at rest, and a backup of it, in a directory of its own.
pub fn golden2(name: &str) -> PathBuf {
    let room = room(name);
    let archive = repository("tests/fixtures/milvus2x/golden.tar.gz");
    let script = "tar -xzf \"$1\" -C \"$2\" && cp -r \"$2/storage\" \"$2/backup/binlogs\"";
    let mut unpack = std::process::Command::new("sh");
    let done = unpack
        .args(["-c", script, "sh"])
        .args([&archive, &room])
        .status();
    assert!(done.unwrap().success(), "tar unpacks {}", archive.display());
    room
}

/// Reads a source of columns of any type to its end, or to the first error.
pub fn read_any(source: &dyn Source) -> Result<u64> {
    let manifest = source.survey(LIMITS)?.manifest;
    let mut all = 0;
    for shard in &manifest.shards {
        let (mut reader, mut rows) = (source.open(shard, shard.start.clone(), LIMITS)?, 0);
        while let Some(cut) = reader.next()? {
            let count: u64 = cut.parts.iter().map(|part: &Part| part.len() as u64).sum();
            assert!(count > 0 && count <= LIMITS.batch_rows);
            rows += count;
            assert!(rows <= shard.rows);
            if rows > ROWS_MAX {
                return Ok(all + rows);
            }
        }
        assert_eq!(rows, shard.rows, "{}", shard.name);
        all += rows;
    }
    Ok(all)
}

/// Reads a source to its end: what comes must be what the survey announced.
pub fn read_all(source: &dyn Source) -> Result<u64> {
    let manifest = source.survey(LIMITS)?.manifest;
    let mut all = 0;
    for shard in &manifest.shards {
        let vector = manifest.targets[shard.target as usize].plain();
        let (mut reader, mut rows) = (source.open(shard, shard.start.clone(), LIMITS)?, 0);
        while let Some(cut) = reader.next()? {
            // HDF5 has rows that take no room in the file: no end of them is waited for.
            if rows > ROWS_MAX {
                return Ok(all + rows);
            }
            let count: u64 = cut.parts.iter().map(|part: &Part| part.len() as u64).sum();
            assert!(count > 0 && count <= LIMITS.batch_rows);
            if let Some(vector) = vector {
                let bytes: u64 = cut.parts.iter().map(|p| p.vectors().len() as u64).sum();
                assert_eq!(bytes, count * vector.row_bytes());
            }
            rows += count;
        }
        assert_eq!(rows, shard.rows, "{}", shard.name);
        all += rows;
    }
    assert_eq!(all, manifest.targets.iter().map(|t| t.rows).sum::<u64>());
    Ok(all)
}

/// The plan of a job that needs no server: a Faiss file of the repository into an HDF5 file of `room`.
pub fn plan_into(room: &Path, sink: &str) -> Plan {
    let index = repository("tests/fixtures/faiss/nndescent.index");
    let job = format!(
        "source: {{faiss: {{path: '{}'}}}}\nsink: {{hdf5: {{path: '{}', {sink}}}}}\nrun: {{batch: 4KiB, checkpoint: '{}'}}\n",
        index.display(),
        room.join("out.h5").display(),
        room.join("job.ckpt").display(),
    );
    plan(&Job::parse(Path::new("job.yaml"), job).unwrap()).unwrap()
}

/// Runs it: the file is there afterwards, and so is the checkpoint.
pub fn carry(plan: &Plan) {
    let Found::Open(checkpoint) =
        Checkpoint::create_or_resume(&plan.settings.checkpoint, plan, true).unwrap()
    else {
        unreachable!("asked for again");
    };
    let mut decisions = plan.decide().unwrap();
    checkpoint.decide(0, &decisions[0]).unwrap();
    let (progress, stop) = (Progress::default(), Stop::default());
    run(plan, &checkpoint, &mut decisions, &progress, &stop)
        .map_err(|e| e.0)
        .unwrap();
    checkpoint.finish().unwrap();
}

/// HDF5 files as the sink writes them: each layout once.
pub fn hdf5_files() -> Vec<Vec<u8>> {
    let layouts = [
        "chunk_rows: auto",
        "chunk_rows: 3",
        "chunk_rows: 3, compression: gzip1, shuffle: true",
        "chunk_rows: 9, compression: lzf",
    ];
    let one = |layout: &&str| {
        let room = room("seed");
        carry(&plan_into(&room, layout));
        std::fs::read(room.join("out.h5")).unwrap()
    };
    layouts.iter().map(one).collect()
}
