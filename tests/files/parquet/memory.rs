//! What memory does a run take? As much as its batches, however many rows there are and however long their texts.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::parquet::migration::Jobs;
use crate::support::test_env;

/// Texts of 100 bytes; eight times as many of them; short ones and 300 of a megabyte at the end of the only row group, in all
/// 300 MB; 400 rows that have one of four texts of a megabyte, which stand in a dictionary.
const ROWS: &str = "
import os, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
def write(name, texts, **more):
    count = len(texts)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(count * 8, '<f4')), 8).cast(pa.list_(pa.float32()))
    table = pa.table({'id': np.arange(count), 'embedding': vectors, 'text': pa.array(texts)})
    pq.write_table(table, os.path.join(sys.argv[1], name + '.parquet'), row_group_size=count, compression='zstd', **more)
write('few', ['%0100d' % i for i in range(20_000)])
write('many', ['%0100d' % i for i in range(160_000)])
long = ['%d' % i * (1 << 20) for i in range(4)]
write('long', [''] * 100_000 + [long[i % 4] for i in range(300)], use_dictionary=False, write_batch_size=16)
write('dictionary', [long[i % 4] for i in range(400)], dictionary_pagesize_limit=1 << 23)
";

/// Runs a job over a file, and gives the most memory that it had at a time, in MiB.
fn peak(jobs: &Jobs, name: &str) -> u64 {
    let job = json!({
        "source": {"parquet": {"path": format!("{name}.parquet")}},
        "sink": {"parquet": {"dir": format!("{name}_out")}},
        "run": {"batch": "1MiB", "threads": 2},
    });
    let file = format!("{name}.yaml");
    std::fs::write(jobs.path(&file), job.to_string()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", &file, "--progress", "none"])
        .current_dir(jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let ended = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let most = status.unwrap_or_default();
        // What is mapped does not count: the kernel takes it back as it likes.
        let most = most.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = most.and_then(|most| most.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0) / 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(ended.success(), "{name}");
    peak
}

#[test]
fn memory_depends_on_batches_and_neither_on_rows_nor_on_the_longest_text() {
    let jobs = Jobs::new();
    let made = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", ROWS])
        .arg(jobs.0.path())
        .status();
    assert!(made.unwrap().success());
    let few = peak(&jobs, "few");
    for name in ["many", "long", "dictionary"] {
        let peak = peak(&jobs, name);
        // A page of 16 texts of a megabyte is unpacked at once, and batches of one such text are on their way. Read
        // at once, the texts alone would take 300.
        assert!(
            peak < few + 200,
            "{name}: {peak} MiB, and {few} MiB of few rows"
        );
    }
}
