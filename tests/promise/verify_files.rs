//! `milvusdm verify` on HDF5 files, and what it says of jobs it cannot compare. No server.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with jobs and their data.
struct Jobs(TempDir);

/// How a command ended.
struct Ended(Output, Value);

impl Ended {
    #[track_caller]
    fn code(self, expected: i32) -> Ended {
        assert_eq!(self.0.status.code(), Some(expected), "{}", self.said());
        self
    }

    #[track_caller]
    fn says(self, parts: &[&str]) -> Ended {
        let said = self.said();
        for part in parts {
            assert!(said.contains(part), "no `{part}` in:\n{said}");
        }
        self
    }

    fn said(&self) -> String {
        let bytes = [&self.0.stdout[..], &self.0.stderr[..]].concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Jobs {
    fn new() -> Jobs {
        Jobs(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn milvusdm(&self, verb: &str, job: &str, more: &[&str]) -> Ended {
        let report = self.path("report.json");
        let _ = std::fs::remove_file(&report);
        let output = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args([verb, job, "--progress", "none", "--report", "report.json"])
            .args(more)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let report = std::fs::read(&report).unwrap_or(b"null".to_vec());
        Ended(output, serde_json::from_slice(&report).unwrap())
    }

    /// Everything in the directory but reports, with its bytes.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut all: Vec<_> = entries
            .map(|e| e.unwrap().path())
            .filter(|p| !p.ends_with("report.json") && p.is_file())
            .map(|p| (p.clone(), std::fs::read(p).unwrap()))
            .collect();
        all.sort();
        all
    }

    /// A flat Faiss index: rows of 8 floats, numbered from 0, NaN, infinities and −0 among them.
    fn floats(&self, name: &str, rows: usize) {
        let value = |i: usize| match i % 53 {
            0 => f32::NAN.to_bits() | 0x1234,
            1 => f32::INFINITY.to_bits(),
            2 => (-0.0f32).to_bits(),
            _ => (i as f32 * 0.25).to_bits(),
        };
        let vectors: Vec<u8> = (0..rows * 8).flat_map(|i| value(i).to_le_bytes()).collect();
        let mut file = [b"IxF2".as_slice(), &8u32.to_le_bytes()].concat();
        file.extend((rows as u64).to_le_bytes());
        file.extend((1u64 << 20).to_le_bytes().repeat(2));
        file.push(1);
        file.extend(1u32.to_le_bytes());
        file.extend(((rows * 8) as u64).to_le_bytes());
        file.extend(vectors);
        std::fs::write(self.path(name), file).unwrap();
    }

    /// A flat binary Faiss index of 64 bits a row.
    fn bits(&self, name: &str, rows: usize) {
        let mut file = [
            b"IBxF".as_slice(),
            &64u32.to_le_bytes(),
            &8u32.to_le_bytes(),
        ]
        .concat();
        file.extend((rows as u64).to_le_bytes());
        file.push(1);
        file.extend(1u32.to_le_bytes());
        file.extend(((rows * 8) as u64).to_le_bytes());
        file.extend((0..rows * 8).map(|i| (i * 31 % 251) as u8));
        std::fs::write(self.path(name), file).unwrap();
    }

    fn job(&self, sink: &str, run: &str) {
        let text = format!(
            "source: {{faiss: {{path: a.index}}}}\nsink: {{hdf5: {{path: out.h5{sink}}}}}\nrun: {{batch: 4KiB{run}}}\n"
        );
        self.write("job.yaml", &text);
    }

    /// Changes one byte of the file, where these bytes stand in it.
    #[track_caller]
    fn flip(&self, at: &[u8], of: usize) -> Restore<'_> {
        let path = self.path("out.h5");
        let before = std::fs::read(&path).unwrap();
        let mut found = before
            .windows(at.len())
            .enumerate()
            .filter(|(_, w)| *w == at);
        let place = found.next().expect("the bytes are in the file").0 + of;
        assert!(found.next().is_none(), "the bytes are there more than once");
        let mut bytes = before.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        Restore(self, before)
    }
}

/// Puts the file back.
struct Restore<'j>(&'j Jobs, Vec<u8>);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        std::fs::write(self.0.path("out.h5"), &self.1).unwrap();
    }
}

/// Vectors of rows as they are in the file of floats.
fn row(number: usize) -> Vec<u8> {
    (number * 8 + 3..number * 8 + 8)
        .flat_map(|i| (i as f32 * 0.25).to_le_bytes())
        .collect()
}

#[test]
fn a_whole_file_is_compared_and_nothing_is_changed() {
    for (sink, binary) in [
        ("", false),
        (", compression: gzip1, shuffle: true", false),
        (", chunk_rows: 7", true),
    ] {
        let jobs = Jobs::new();
        match binary {
            true => jobs.bits("a.index", 3000),
            false => jobs.floats("a.index", 3000),
        }
        jobs.job(sink, "");
        jobs.milvusdm("run", "job.yaml", &[]).code(0);
        let before = jobs.all();
        let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(0);
        let ended = ended.says(&[
            "the destination agrees",
            "full content of 3000 rows in order: agrees",
            "counted 3000 (exact count)",
        ]);
        assert_eq!(before, jobs.all());
        let (report, target) = (&ended.1, &ended.1["targets"][0]);
        assert_eq!(report["outcome"], json!("agrees"));
        let content = &target["content"];
        assert_eq!(content["rows_compared"], json!(3000));
        assert_eq!(content["digest"], target["digest"]);
        assert_eq!(
            content["rests_on"],
            json!("full content of 3000 rows in order")
        );
        let ended = jobs.milvusdm("verify", "job.yaml", &["--json"]).code(0);
        let printed: Value = serde_json::from_slice(&ended.0.stdout).unwrap();
        assert_eq!(printed["targets"], ended.1["targets"]);
    }
}

#[test]
fn one_byte_is_found_and_its_row_named() {
    let jobs = Jobs::new();
    jobs.floats("a.index", 3000);
    jobs.job("", "");
    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    {
        let vector = row(700);
        let _restore = jobs.flip(&vector, 2);
        let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(5);
        let ended = ended.says(&[
            "the destination differs",
            "1 row differs: id 700 is there with another vector (row 700 of a.index)",
        ]);
        let target = &ended.1["targets"][0];
        assert_eq!(ended.1["outcome"], json!("differs"));
        assert_eq!(
            (&target["agrees"], &target["counts_agree"]),
            (&json!(false), &json!(true))
        );
        let first = &target["content"]["first_difference"];
        assert_eq!(
            (&first["id"], &first["what"]),
            (&json!(700), &json!("other vector"))
        );
        // A run that had finished counts only, and says no more.
        jobs.milvusdm("run", "job.yaml", &[])
            .code(0)
            .says(&["counts 3000"]);
    }
    {
        let ids: Vec<u8> = [1233u64, 1234, 1235]
            .iter()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        let _restore = jobs.flip(&ids, 8);
        let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(5);
        ended.says(&["1 row differs: id 1234 has id 1235 in its place"]);
    }
    jobs.milvusdm("verify", "job.yaml", &[]).code(0);
    std::fs::remove_file(jobs.path("out.h5")).unwrap();
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(5);
    ended.says(&["out.h5 does not exist", "the destination counts 0"]);
}

#[test]
fn damage_to_packed_chunks_and_to_the_file_itself_is_found() {
    let jobs = Jobs::new();
    jobs.floats("a.index", 5000);
    jobs.job(", compression: gzip6, chunk_rows: 500", "");
    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    let path = jobs.path("out.h5");
    let whole = std::fs::read(&path).unwrap();
    // The library calls bytes at 1/3 and 2/3 of a file of packed chunks what it will: some other rows, or none.
    for place in [whole.len() / 3, whole.len() * 2 / 3, 3] {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        std::fs::write(&path, bytes).unwrap();
        let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(5);
        assert!(
            !ended.said().contains("destination agrees"),
            "{}",
            ended.said()
        );
    }
    std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    jobs.milvusdm("verify", "job.yaml", &[]).code(5);
    std::fs::write(&path, &whole).unwrap();
    jobs.milvusdm("verify", "job.yaml", &[]).code(0);
}

#[test]
fn rows_in_another_order_are_the_same_rows() {
    let jobs = Jobs::new();
    jobs.floats("a.index", 2000);
    jobs.job("", "");
    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    let reorder = |what: &str| {
        let script = format!(
            "import h5py, numpy as np\nwith h5py.File('out.h5', 'r+') as f:\n  order = np.arange(len(f['ids']))[::-1]\n  \
             for name in {what}:\n    f[name][:] = f[name][:][order]"
        );
        let env = std::env::var_os("MILVUSDM_TEST_ENV").map(PathBuf::from);
        let env = env.unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/milvusdm/test-env")
        });
        let python = Command::new(env.join("ms/venv/bin/python"))
            .args(["-c", &script])
            .current_dir(jobs.0.path())
            .output()
            .unwrap();
        assert!(
            python.status.success(),
            "{}",
            String::from_utf8_lossy(&python.stderr)
        );
    };
    reorder("('ids', 'embeddings')");
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(0);
    let ended = ended.says(&["full content of 2000 rows by a digest that is independent of order"]);
    assert!(
        ended.said().contains("not in the order"),
        "{}",
        ended.said()
    );
    // Ids alone are other rows.
    reorder("('ids',)");
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(5);
    ended.says(&["2000 rows differ, the first one: id 0 is there with another vector"]);
}

#[test]
fn a_run_compares_at_its_end_where_the_job_says_so() {
    for verify in ["sample", "full"] {
        let jobs = Jobs::new();
        jobs.floats("a.index", 500);
        jobs.job("", &format!(", verify: {verify}"));
        let ended = jobs.milvusdm("run", "job.yaml", &[]).code(0);
        let ended = ended.says(&["full content of 500 rows in order: agrees"]);
        assert!(!ended.said().contains("cannot be had"), "{}", ended.said());
        assert_eq!(
            ended.1["targets"][0]["content"]["rows_compared"],
            json!(500)
        );
    }
    let jobs = Jobs::new();
    jobs.floats("a.index", 500);
    jobs.job("", "");
    let ended = jobs.milvusdm("run", "job.yaml", &[]).code(0);
    assert_eq!(ended.1["targets"][0]["content"], json!(null));
    assert!(!ended.said().contains("content"), "{}", ended.said());
}

#[test]
fn an_empty_target_agrees() {
    let jobs = Jobs::new();
    jobs.floats("a.index", 0);
    jobs.job("", "");
    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(0);
    ended.says(&["full content of 0 rows in order: agrees"]);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let jobs = Jobs::new();
    let no_checkpoint = ["there is no such checkpoint", "run the job first"];
    jobs.milvusdm("verify", "none.yaml", &[])
        .code(2)
        .says(&["there is no such job file"]);
    jobs.floats("a.index", 100);
    jobs.job("", "");
    let before = jobs.all();
    jobs.milvusdm("verify", "job.yaml", &[])
        .code(2)
        .says(&no_checkpoint);
    assert_eq!(before, jobs.all(), "something was left behind");
    let ended = jobs.milvusdm("verify", "job.yaml", &["--json"]).code(2);
    let printed: Value = serde_json::from_slice(&ended.0.stdout).unwrap();
    assert_eq!(printed["outcome"], json!("failed"));
    assert_eq!(printed["error"]["exit_code"], json!(2));

    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    let checkpoint = jobs.path("job.yaml.ckpt");
    let log = std::fs::read_to_string(&checkpoint).unwrap();
    let done = log.lines().position(|l| l.contains("\"done\"")).unwrap();
    let lines: Vec<&str> = log.lines().take(done).collect();
    std::fs::write(&checkpoint, lines.join("\n") + "\n").unwrap();
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(2);
    ended.says(&[
        "this job has not finished: 100 of 100 rows were delivered",
        "`milvusdm run`",
    ]);
    std::fs::write(&checkpoint, &log).unwrap();
    jobs.milvusdm("verify", "job.yaml", &[]).code(0);

    jobs.job(", compression: gzip1", "");
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(2);
    ended.says(&["is the checkpoint of another job", "sink.hdf5.compression"]);
    jobs.job("", "");
    jobs.floats("a.index", 101);
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(2);
    ended.says(&["target"]);
    // The same bytes, written anew.
    jobs.floats("a.index", 100);
    jobs.milvusdm("verify", "job.yaml", &[]).code(0);
}

#[test]
fn a_source_that_was_rewritten_behind_its_times_is_noticed() {
    let jobs = Jobs::new();
    jobs.floats("a.index", 50_000);
    jobs.job("", "");
    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    let path = jobs.path("a.index");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(4);
    ended.says(&["the source has changed since this run", "a.index"]);
}

#[test]
fn a_backup_of_many_files_is_compared_file_by_file() {
    let jobs = Jobs::new();
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/milvus1x/v1.1.1/milvus"
    );
    let job = format!("source: {{milvus1: {{path: '{golden}'}}}}\nsink: {{hdf5: {{dir: out}}}}\n");
    jobs.write("job.yaml", &job);
    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(0);
    let targets = ended.1["targets"].as_array().unwrap();
    assert!(targets.len() > 15);
    for target in targets {
        let content = &target["content"];
        assert_eq!(content["rows_compared"], target["delivered"]);
        assert_eq!(content["digest"], target["digest"]);
    }
    let lost = jobs.path("out/f128_ip/p1.h5");
    assert!(lost.exists());
    std::fs::rename(jobs.path("out/f8_l2/_default.h5"), &lost).unwrap();
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(5);
    ended.says(&[
        "f8_l2: ",
        "f8_l2/_default.h5 does not exist",
        "f128_ip/p1: ",
        "`embeddings` has the extents",
    ]);
}

#[test]
fn converted_rows_are_compared_with_what_was_delivered() {
    let jobs = Jobs::new();
    jobs.floats("a.index", 3000);
    jobs.job("", "");
    let job = std::fs::read_to_string(jobs.path("job.yaml")).unwrap();
    jobs.write(
        "job.yaml",
        &(job + "fields: {vector: {name: v, as: float16}}\n"),
    );
    jobs.milvusdm("run", "job.yaml", &[]).code(0);
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(0);
    let ended = ended.says(&["full content of 3000 rows in order: agrees", "float16"]);
    let target = &ended.1["targets"][0];
    assert_eq!(target["content"]["digest"], target["digest"]);
    // Half of 700 * 8 + 3 quarters and what follows.
    let halves = [0x6578u16, 0x6579, 0x6579, 0x6579];
    let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    assert!(
        std::fs::read(jobs.path("out.h5"))
            .unwrap()
            .windows(8)
            .any(|w| w == bytes),
        "is it not float16?"
    );
    let place = {
        let file = std::fs::read(jobs.path("out.h5")).unwrap();
        file.windows(8).position(|w| w == bytes).unwrap()
    };
    let mut file = std::fs::read(jobs.path("out.h5")).unwrap();
    file[place] ^= 1;
    std::fs::write(jobs.path("out.h5"), file).unwrap();
    let ended = jobs.milvusdm("verify", "job.yaml", &[]).code(5);
    ended.says(&["is there with another vector"]);
}
