//! Milvus Lite, 2.x and 3.x: what its real servers wrote, the last of it while they died, arrives as a server answers that
//! is started on a copy of it.

#![allow(clippy::unwrap_used)]

mod hostile;

use crate::support::{self, migration};

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use migration::{Jobs, server};
use serde_json::Value;
use support::{run_script, test_env};

/// A version of Milvus Lite: the engine's name, what it keeps is called, and which collections Milvus 2.3.5 can have.
struct Version {
    engine: &'static str,
    kept: &'static str,
    carried: &'static str,
    home: &'static LazyLock<tempfile::TempDir>,
}

static DIRECTORY: LazyLock<tempfile::TempDir> = LazyLock::new(|| made("py"));
static FILE: LazyLock<tempfile::TempDir> = LazyLock::new(|| made("cpp"));

const VERSIONS: [Version; 2] = [
    Version {
        engine: "py",
        kept: "lite",
        carried: "typed,texts,keyed,made,twice,defaults,parts,nothing",
        home: &DIRECTORY,
    },
    Version {
        engine: "cpp",
        kept: "lite.db",
        carried: "typed,texts,keyed,made,twice,nothing",
        home: &FILE,
    },
];

fn lite(arguments: &[&str]) -> String {
    let with_lite = test_env().join("lite/venv-py/bin/python");
    run_script(&with_lite, "lite.py", arguments)
}

fn made(engine: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let install = test_env().join("lite");
    lite(&[
        "make",
        engine,
        install.to_str().unwrap(),
        home.path().to_str().unwrap(),
    ]);
    home
}

impl Version {
    fn kept(&self) -> PathBuf {
        self.home.path().join("killed").join(self.kept)
    }

    fn answers(&self) -> PathBuf {
        self.home.path().join("answers.json")
    }

    /// All rows by collection, as the server answers.
    fn answered(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.answers()).unwrap()).unwrap()
    }

    fn source(&self, more: &str) -> String {
        format!(
            "source: {{milvus_lite: {{path: '{}'{more}}}}}\n",
            self.kept().display()
        )
    }

    /// What is there, and when it was written.
    fn state(&self) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
        fn walk(dir: &Path, found: &mut Vec<(PathBuf, u64, std::time::SystemTime)>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                }
                let about = path.metadata().unwrap();
                found.push((path, about.len(), about.modified().unwrap()));
            }
        }
        let mut found = Vec::new();
        walk(&self.home.path().join("killed"), &mut found);
        found.sort();
        found
    }
}

#[test]
fn what_a_server_left_arrives_in_parquet_as_one_answers() {
    for version in &VERSIONS {
        let before = version.state();
        let jobs = Jobs::new();
        let sink = "sink: {parquet: {dir: out, rows_per_file: 50}}\n";
        let ended = jobs.run("all", &(version.source("") + sink)).code(0);
        let out = jobs.path("out");
        let (out, answers) = (out.to_str().unwrap(), version.answers());
        lite(&["parquet", out, answers.to_str().unwrap()]);
        let answered = version.answered();
        let rows = answered
            .as_object()
            .unwrap()
            .values()
            .map(|c| c["rows"].as_array().unwrap().len());
        assert_eq!(
            ended.report["progress"]["rows"].as_u64(),
            Some(rows.sum::<usize>() as u64)
        );
        let verified = jobs.milvusdm(&["verify", "all.yaml"]);
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stdout)
        );
        assert_eq!(
            version.state(),
            before,
            "{}: something was written there",
            version.engine
        );
    }
}

fn into_milvus(version: &Version, names: &str, prefix: &str, run: &str) -> String {
    let index = match names {
        "bits" => "metric: HAMMING, index: {type: BIN_FLAT}",
        _ => "metric: L2, index: {type: FLAT}",
    };
    version.source(&format!(", collections: [{names}]"))
        + &format!(
            "sink: {{milvus: {{address: 'http://{}', {index}, load: true}}}}\n\
             into: {{collection: '{prefix}_{{collection}}'}}\nrun: {{verify: full{run}}}\n",
            server().address()
        )
}

/// Compares what arrived, schemas included.
fn compare(version: &Version, names: &str, prefix: &str) {
    let answers = version.answers();
    let arguments = [
        "milvus",
        &server().address(),
        answers.to_str().unwrap(),
        names,
        prefix,
    ];
    run_script(&support::python(), "lite.py", &arguments);
}

#[test]
fn a_prototype_becomes_collections_of_a_server() {
    for version in &VERSIONS {
        let jobs = Jobs::new();
        let prefix = format!("lite_{}", version.engine);
        jobs.run("serve", &into_milvus(version, version.carried, &prefix, ""))
            .code(0);
        compare(version, version.carried, &prefix);
        jobs.run("serve", &into_milvus(version, version.carried, &prefix, ""))
            .code(0)
            .says(&["nothing to do"]);
    }
}

#[test]
fn bits_arrive_and_what_2_3_5_does_not_have_is_refused_by_name() {
    let file = &VERSIONS[1];
    let jobs = Jobs::new();
    jobs.run("bits", &into_milvus(file, "bits", "lite_cpp", ""))
        .code(0);
    compare(file, "bits", "lite_cpp");
    for (version, name, word) in [
        (file, "half", "float16"),
        (file, "brain", "bfloat16"),
        (file, "several", "3 vectors"),
        (&VERSIONS[0], "several", "3 vectors"),
        (&VERSIONS[0], "nulls", "null"),
    ] {
        let ended = jobs.run(name, &into_milvus(version, name, "refused", ""));
        ended.code(3).says(&[word]);
    }
}

#[test]
fn a_run_that_is_killed_goes_on_exactly() {
    for version in &VERSIONS {
        let jobs = Jobs::new();
        let prefix = format!("killed_{}", version.engine);
        let slow = ", batch: 4KiB, max_rows_per_s: 150";
        std::fs::write(
            jobs.path("job.yaml"),
            into_milvus(version, "busy", &prefix, slow),
        )
        .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args(["run", "job.yaml", "--progress", "json"])
            .current_dir(jobs.0.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Once rows have arrived it dies.
        let told = std::io::BufReader::new(child.stderr.take().unwrap());
        let arrived = std::io::BufRead::lines(told)
            .map_while(Result::ok)
            .any(|line| {
                let told: Value = serde_json::from_str(&line).unwrap_or_default();
                told["rows"].as_u64().is_some_and(|rows| rows > 0)
            });
        assert!(
            arrived && child.try_wait().unwrap().is_none(),
            "it was over too soon"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        let went_on = jobs.milvusdm(&["run", "job.yaml", "--set", "run.max_rows_per_s=1000000"]);
        let said = String::from_utf8_lossy(&[went_on.stdout, went_on.stderr].concat()).into_owned();
        assert_eq!(went_on.status.code(), Some(0), "{said}");
        compare(version, "busy", &prefix);
    }
}

#[test]
fn inspect_and_plan_tell_what_is_there() {
    for version in &VERSIONS {
        let jobs = Jobs::new();
        let kept = version.kept();
        let told = jobs.milvusdm(&["inspect", kept.to_str().unwrap(), "--json"]);
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let collections = told["databases"][0]["collections"].as_array().unwrap();
        let answered = version.answered();
        assert_eq!(
            collections.len(),
            answered.as_object().unwrap().len(),
            "{told:#}"
        );
        let of = |name: &str| collections.iter().find(|c| c["name"] == name).unwrap();
        for collection in collections {
            let rows = answered[collection["name"].as_str().unwrap()]["rows"]
                .as_array()
                .unwrap();
            assert_eq!(collection["rows"], rows.len() as u64, "{collection:#}");
            assert_eq!(collection["problem"], Value::Null);
        }
        assert_eq!(
            of("twice")["rows_dead"],
            if version.engine == "py" { 0 } else { 3 }
        );
        assert_eq!(of("typed")["indexes"][0], "v FLAT COSINE");
        let plain = jobs.milvusdm(&["inspect", kept.to_str().unwrap()]);
        let plain = String::from_utf8_lossy(&plain.stdout).into_owned();
        assert!(
            plain.contains("typed") && plain.contains("$meta json dynamic"),
            "{plain}"
        );
        let job = version.source("") + "sink: {parquet: {dir: out}}\n";
        std::fs::write(jobs.path("job.yaml"), job).unwrap();
        let plan = jobs.milvusdm(&["plan", "job.yaml"]);
        let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
        let expected: &[&str] = match version.engine {
            "py" => &[
                "were not flushed: they are read from the log",
                "ends in the middle of a record",
            ],
            _ => &["if a key was inserted more than once, only its last row is migrated"],
        };
        for part in expected {
            assert!(plain_words(&plan).contains(part), "no `{part}` in:\n{plan}");
        }
        if version.engine == "py" {
            assert!(of("busy")["rows_unflushed"].as_u64() > Some(0));
            assert_eq!(of("several")["aliases"][0], "more");
            assert_eq!(of("parts")["partitions"].as_array().unwrap().len(), 4);
        }
    }
}

fn plain_words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn chosen_collections_and_partitions_travel_and_others_do_not_stand_in_the_way() {
    let jobs = Jobs::new();
    let kept = jobs.path("lite");
    copy(&VERSIONS[0].kept(), &kept);
    std::fs::write(kept.join("collections/typed/schema.json"), "{").unwrap();
    let source = |more: &str| format!("source: {{milvus_lite: {{path: lite{more}}}}}\n");
    let sink = "sink: {parquet: {dir: out, mode: overwrite}}\n";
    let all = jobs.run("all", &(source("") + sink)).code(3);
    all.says(&["collections/typed/schema.json at byte 0", "is not JSON"]);
    let blocked = "collections: {block: [typed]}\n";
    jobs.run("blocked", &(source("") + sink + blocked)).code(0);
    let one = jobs
        .run("one", &(source(", collections: {parts: [p1]}") + sink))
        .code(0);
    // What was written again in another partition is dead in this one.
    let answered = VERSIONS[0].answered();
    let rows = answered["parts"]["rows"].as_array().unwrap();
    let of_p1 = rows.iter().filter(|row| row["partition"] == "p1").count();
    assert_eq!(one.report["progress"]["rows"], of_p1);
    let odd = jobs
        .run("odd", &(source(", collections: {parts: [p9]}") + sink))
        .code(2);
    odd.says(&["no partition of parts is called `p9`"]);
    jobs.run("db", &(source(", db: other") + sink))
        .code(2)
        .says(&["no database `other`"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(std::fs::copy(path, to).unwrap()),
        }
    }
}

#[test]
fn a_directory_in_use_is_refused_and_none_starts_on_one_that_is_read() {
    use rustix::fs::{FlockOperation, flock};
    let jobs = Jobs::new();
    let kept = jobs.path("lite");
    copy(&VERSIONS[0].kept(), &kept);
    let lock = std::fs::File::open(kept.join("LOCK")).unwrap();
    // As Milvus Lite does.
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let job = "source: {milvus_lite: {path: lite}}\nsink: {parquet: {dir: out}}\n";
    let ended = jobs.run("held", job).code(2);
    ended.says(&["is in use by a running Milvus Lite", "stop it first"]);
    let told = jobs.milvusdm(&["inspect", "lite"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("warning") && told.contains("is in use by"),
        "{told}"
    );
    drop(lock);
    let source = hostile::open(&kept).unwrap();
    let lock = std::fs::File::open(kept.join("LOCK")).unwrap();
    assert!(flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
    hostile::open(&kept).unwrap();
    drop(source);
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
}
