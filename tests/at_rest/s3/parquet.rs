//! Parquet files in a bucket: written, killed in the middle and gone on with, replaced, restored, checked alone.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::s3::migration::Jobs;
use crate::s3::{bucket, settings};

/// Rows in a file of vectors beside the jobs.
fn vectors(jobs: &Jobs, rows: usize) {
    let dim = 16u32;
    let mut bytes = Vec::with_capacity(rows * 68);
    for row in 0..rows {
        bytes.extend(dim.to_le_bytes());
        for n in 0..dim {
            bytes.extend(((row as f32) + n as f32 / 16.0).to_le_bytes());
        }
    }
    std::fs::write(jobs.path("base.fvecs"), bytes).unwrap();
}

fn job(dir: &str, more: &str) -> String {
    format!(
        "source: {{vecs: {{path: base.fvecs}}}}\nsink: {{parquet: {{dir: 's3://tests/{dir}', {}, {more}}}}}\n",
        settings()
    )
}

/// `verify` of a directory in the bucket: its exit code and its report.
fn checked(jobs: &Jobs, dir: &str) -> (Option<i32>, Value) {
    let endpoint = settings();
    let endpoint = endpoint.split('\'').nth(1).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["verify", &format!("s3://tests/{dir}"), "--json"])
        .current_dir(jobs.0.path())
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "minioadmin")
        .env("AWS_SECRET_ACCESS_KEY", "minioadmin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        report.unwrap_or_else(|e| panic!("{e}: {said}")),
    )
}

#[test]
fn files_go_up_and_are_restored_checked_and_replaced() {
    let jobs = Jobs::new();
    vectors(&jobs, 10_000);
    let first = job("there", "rows_per_file: 3000");
    jobs.run("first", &first).code(0);
    let tests = bucket(&settings(), "s3://tests").unwrap();
    let names = || {
        let listing = tests.list("there/").unwrap();
        let keys = listing.objects.into_iter().map(|found| found.key);
        keys.map(|key| key["there/".len()..].to_owned())
            .collect::<Vec<_>>()
    };
    let parts = |suffix: &str| {
        (0..4)
            .map(|n| format!("part-0000{n}{suffix}.parquet"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(),
        [vec!["manifest.json".to_owned()], parts("")].concat()
    );
    let (code, report) = checked(&jobs, "there");
    assert_eq!(
        (code, &report["state"], &report["rows"]),
        (Some(0), &"whole".into(), &10_000.into())
    );

    // Back, into files of the same bytes.
    let back = format!(
        "source: {{parquet: {{dir: 's3://tests/there', {}}}}}\nsink: {{parquet: {{dir: back, rows_per_file: 3000}}}}\n",
        settings()
    );
    jobs.run("back", &back).code(0);
    for name in parts("") {
        let found = tests.look(&format!("there/{name}")).unwrap().unwrap();
        let there = tests.read(&found, 0..found.bytes).unwrap();
        assert_eq!(
            there,
            std::fs::read(jobs.path(&format!("back/{name}"))).unwrap(),
            "{name}"
        );
    }

    // What is there is not written over, unless the job says so; then under other names, so that it stays until the end.
    jobs.run("again", &first)
        .code(2)
        .says(&["manifest.json", "exists"]);
    let over = job("there", "rows_per_file: 3000, mode: overwrite");
    jobs.run("over", &over).code(0);
    assert_eq!(
        names(),
        [vec!["manifest.json".to_owned()], parts("-b")].concat()
    );
    assert_eq!(checked(&jobs, "there").0, Some(0));

    // Altered, cut, gone.
    let key = "there/part-00002-b.parquet";
    let found = tests.look(key).unwrap().unwrap();
    let whole = tests.read(&found, 0..found.bytes).unwrap();
    let mut odd = whole.to_vec();
    odd[1234] ^= 1;
    for bytes in [odd, whole[..whole.len() - 1].to_vec()] {
        tests.put(key, bytes.into()).unwrap();
        let (code, report) = checked(&jobs, "there");
        assert_eq!(
            (code, &report["state"]),
            (Some(3), &"damaged".into()),
            "{report:#}"
        );
        assert!(
            report["targets"][0]["problems"][0]
                .as_str()
                .unwrap()
                .contains("part-00002-b")
        );
        let damaged = back.replace("dir: back,", "dir: damaged,");
        jobs.run("damaged", &damaged)
            .code(3)
            .says(&["part-00002-b.parquet"]);
    }
    tests.delete(key).unwrap();
    assert_eq!(checked(&jobs, "there").0, Some(3));
}

/// Runs `job.yaml`, and kills it as soon as an object is below this prefix that was not there before.
fn killed(jobs: &Jobs, arguments: &[&str], prefix: &str) {
    let tests = bucket(&settings(), "s3://tests").unwrap();
    let uploaded = || {
        let objects = tests.list(prefix).unwrap().objects.into_iter();
        objects
            .map(|found| (found.key, found.tag, found.modified_ns))
            .collect::<Vec<_>>()
    };
    let before = uploaded();
    let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "none"])
        .args(arguments)
        .current_dir(jobs.0.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while uploaded().iter().all(|object| before.contains(object))
        && child.try_wait().unwrap().is_none()
        && began.elapsed() < Duration::from_secs(60)
    {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A job of many small files, so that it can be killed between two.
fn long_job(jobs: &Jobs, dir: &str) -> String {
    vectors(jobs, 200_000);
    let text = job(dir, "rows_per_file: 20000, compression: none") + "run: {batch: 64KiB}\n";
    std::fs::write(jobs.path("job.yaml"), &text).unwrap();
    text
}

#[test]
fn a_run_that_was_killed_is_gone_on_with() {
    let jobs = Jobs::new();
    let text = long_job(&jobs, "killed");
    let tests = bucket(&settings(), "s3://tests").unwrap();
    killed(&jobs, &[], "killed/");
    let listing = tests.list("killed/").unwrap().objects;
    let is_whole = listing
        .iter()
        .any(|found| found.key.ends_with("manifest.json"));
    let first = tests.look("killed/part-00000.parquet").unwrap().unwrap();
    jobs.run("job", &text).code(0);
    // What was up already did not go up once more, unless all had been done.
    if !is_whole {
        assert_eq!(
            tests.look("killed/part-00000.parquet").unwrap().unwrap(),
            first
        );
    }
    assert!(!jobs.path("job.yaml.ckpt.staging").exists());
    let (code, report) = checked(&jobs, "killed");
    assert_eq!(
        (code, &report["rows"]),
        (Some(0), &200_000.into()),
        "{report:#}"
    );
}

#[test]
fn what_a_killed_run_brought_up_goes_when_the_job_is_begun_anew() {
    let jobs = Jobs::new();
    let text = long_job(&jobs, "anew");
    let tests = bucket(&settings(), "s3://tests").unwrap();
    let names = || {
        let objects = tests.list("anew/").unwrap().objects.into_iter();
        objects.map(|found| found.key).collect::<Vec<_>>()
    };
    let whole = ["anew/manifest.json", "anew/part-00000.parquet"];
    // Another run; the same one, with other files; another one over whole files, and over those of a killed one.
    killed(&jobs, &[], "anew/");
    let left = names();
    assert!(left.contains(&whole[1].to_owned()), "{left:?}");
    killed(&jobs, &["--again"], "anew/");
    let other = text.replace("20000", "1000000");
    jobs.run("job", &other).code(0);
    assert_eq!(names(), whole);
    assert_eq!(checked(&jobs, "anew").0, Some(0));
    let over = text.replace("compression", "mode: overwrite, compression");
    std::fs::write(jobs.path("job.yaml"), &over).unwrap();
    killed(&jobs, &["--again"], "anew/");
    let over = over.replace("20000", "1000000");
    std::fs::write(jobs.path("job.yaml"), over).unwrap();
    let output = jobs.milvusdm(&["run", "job.yaml", "--again", "--progress", "none"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names(), ["anew/manifest.json", "anew/part-00000-b.parquet"]);
    assert_eq!(checked(&jobs, "anew").0, Some(0));
    // What nobody's journal tells of is left alone, and named.
    tests
        .put("anew-2/part-00000.parquet", "PAR1".into())
        .unwrap();
    let stray = text.replace("s3://tests/anew", "s3://tests/anew-2");
    jobs.run("stray", &stray)
        .code(2)
        .says(&["part-00000.parquet", "no manifest lists"]);
}
