//! Faults as a user meets them, by the program itself: full disks, checkpoints that are not ours, sources and
//! destinations that change under a run. Each ends with its exit code and a sentence, and the same command continues.

mod overwritten;

use crate::support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use milvusdm::milvus::{Client, Deadlines, Login, Settings};
use milvusdm::schema::{Columns, Element, VectorType};
use support::fake_milvus::{Fake, Misbehave};
use support::{Engine, Server};
use tempfile::TempDir;

const DIMENSION: usize = 16;

/// A flat L2 index whose vectors say their row, as Faiss lays it out.
fn flat(rows: usize) -> Vec<u8> {
    let mut file = b"IxF2".to_vec();
    file.extend((DIMENSION as i32).to_le_bytes());
    file.extend((rows as i64).to_le_bytes());
    file.extend([1_048_576i64.to_le_bytes(); 2].concat());
    file.push(1);
    file.extend(1i32.to_le_bytes());
    file.extend(((rows * DIMENSION) as u64).to_le_bytes());
    file.extend((0..rows * DIMENSION).flat_map(|i| ((i / DIMENSION) as f32).to_le_bytes()));
    file
}

/// A directory with a source in it, and jobs on that.
struct Scene(TempDir);

impl Scene {
    /// A Faiss index of so many rows, `data.index`.
    fn new(rows: usize) -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        std::fs::write(scene.path("data.index"), flat(rows)).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a job, one batch at a time, and gives the command that runs it.
    fn job(&self, source: &str, sink: &str, run: &str) -> Command {
        let batch = if run.contains("batch:") {
            ""
        } else {
            "batch: 4KiB, "
        };
        let run = format!("{batch}threads: 1, connections: 1, in_flight: 1, {run}");
        let job = format!("source: {{{source}}}\nsink: {{{sink}}}\nrun: {{{run}}}\n");
        std::fs::write(self.path("job.yaml"), job).unwrap();
        self.command(
            env!("CARGO_BIN_EXE_milvusdm"),
            &["run", "job.yaml", "--progress", "none"],
        )
    }

    /// The same under a limit: no file may become longer than so many KiB.
    fn limited(&self, kib: u64) -> Command {
        let script = format!(
            "ulimit -f {}; exec \"$0\" run job.yaml --progress none",
            2 * kib
        );
        // 512 bytes are the unit of POSIX.
        self.command("sh", &["-c", &script, env!("CARGO_BIN_EXE_milvusdm")])
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a run, and waits until so many batches have receipts.
    fn start(&self, mut command: Command, receipts: usize) -> Child {
        let child = command.spawn().unwrap();
        let began = Instant::now();
        while self.receipts() < receipts {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{} receipts",
                self.receipts()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    fn receipts(&self) -> usize {
        let log = std::fs::read_to_string(self.path("job.yaml.ckpt")).unwrap_or_default();
        log.matches("{\"received\"").count()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Kills a run as a power cut would.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn check(output: Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "does not say `{word}`:\n{said}");
    }
}

const FAISS: &str = "faiss: {path: data.index}";
const HDF5: &str = "hdf5: {path: out.h5}";
/// The collection `c` of a server.
fn into(fake: &Fake) -> String {
    format!(
        "milvus: {{address: 'http://{}', collection: c}}",
        fake.address
    )
}

/// So slow that there is time to do something to a run.
const SLOW: &str = "max_rows_per_s: 1000";

#[test]
fn a_second_process_on_one_checkpoint_is_refused() {
    let scene = Scene::new(20_000);
    let first = scene.start(scene.job(FAISS, HDF5, SLOW), 1);
    let second = scene.job(FAISS, HDF5, SLOW).output().unwrap();
    check(
        second,
        2,
        &["job.yaml.ckpt: another milvusdm is using this checkpoint"],
    );
    kill(first);
    check(
        scene.job(FAISS, HDF5, "").output().unwrap(),
        0,
        &["done: 20000 rows"],
    );
}

#[test]
fn the_checkpoint_of_another_unfinished_job_is_refused_saying_what_differs() {
    let scene = Scene::new(20_000);
    kill(scene.start(scene.job(FAISS, HDF5, SLOW), 2));
    let before = std::fs::read(scene.path("job.yaml.ckpt")).unwrap();
    let other = "hdf5: {path: out.h5, chunk_rows: 77}";
    let refused = scene.job(FAISS, other, "").output().unwrap();
    check(
        refused,
        2,
        &[
            "is the checkpoint of another, unfinished job",
            "sink.hdf5.chunk_rows: was absent, is 77",
            "--again",
        ],
    );
    assert_eq!(std::fs::read(scene.path("job.yaml.ckpt")).unwrap(), before);
    assert!(!scene.path("out.h5").exists());
    // What only says how fast it goes is no difference.
    check(
        scene.job(FAISS, HDF5, "").output().unwrap(),
        0,
        &["done: 20000 rows"],
    );
}

/// Sets a file's time of change back to what it was.
fn with_time_of(path: &Path, change: impl FnOnce(&Path)) {
    let before = path.metadata().unwrap().modified().unwrap();
    change(path);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(before)
        .unwrap();
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, at)
        .unwrap();
}

type Change = fn(&Path);

#[test]
fn a_source_that_changed_since_the_checkpoint_is_refused() {
    let scene = Scene::new(20_000);
    // An HDF5 file of the same rows.
    check(
        scene
            .job(FAISS, "hdf5: {path: data.h5}", "checkpoint: other.ckpt")
            .output()
            .unwrap(),
        0,
        &[],
    );
    let changes: [(&str, Change); 3] = [
        ("digest", |path| overwrite(path, 100_000, b"x")),
        ("bytes", |path| {
            let file = File::options().append(true).open(path).unwrap();
            file.set_len(path.metadata().unwrap().len() + 1).unwrap();
        }),
        // Time and length are as they were: the first bytes tell.
        ("digest ", |path| {
            with_time_of(path, |path| overwrite(path, 9_000, &[0x77; 8]))
        }),
    ];
    for (source, name) in [(FAISS, "data.index"), ("hdf5: {paths: data.h5}", "data.h5")] {
        let whole = std::fs::read(scene.path(name)).unwrap();
        for (what, change) in &changes {
            // A trailing byte is a mistake of a Faiss file by itself, which is said first.
            if (name, *what) == ("data.index", "bytes") {
                continue;
            }
            kill(scene.start(scene.job(source, HDF5, SLOW), 1));
            change(&scene.path(name));
            let refused = scene.job(source, HDF5, "").output().unwrap();
            check(
                refused,
                4,
                &[
                    "the source changed since this unfinished run began",
                    what,
                    "--again",
                ],
            );
            assert!(!scene.path("out.h5").exists(), "{what}");
            std::fs::write(scene.path(name), &whole).unwrap();
            std::fs::remove_file(scene.path("job.yaml.ckpt")).unwrap();
        }
        // A copy of the same bytes, with a time and an inode of its own, is the same source.
        kill(scene.start(scene.job(source, HDF5, SLOW), 1));
        let copy = scene.path("copy");
        std::fs::copy(scene.path(name), &copy).unwrap();
        std::fs::rename(&copy, scene.path(name)).unwrap();
        check(
            scene.job(source, HDF5, "").output().unwrap(),
            0,
            &["20000 rows"],
        );
        std::fs::remove_file(scene.path("out.h5")).unwrap();
        std::fs::remove_file(scene.path("job.yaml.ckpt")).unwrap();
    }
}

#[test]
fn no_secret_reaches_checkpoint_report_or_output() {
    let (scene, fake) = (Scene::new(1000), Fake::start("v2.3.5"));
    for login in ["user: root, password: hunter2", "token: 'root:hunter2'"] {
        let sink = format!(
            "milvus: {{address: 'http://{}', collection: c, mode: overwrite, {login}}}",
            fake.address
        );
        let mut command = scene.job(FAISS, &sink, "");
        let output = command
            .args(["--report", "report.json", "--log", "trace", "--again"])
            .output()
            .unwrap();
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        check(output, 0, &[]);
        for (name, text) in [
            ("output", said),
            ("report", std::fs::read(scene.path("report.json")).unwrap()),
            (
                "checkpoint",
                std::fs::read(scene.path("job.yaml.ckpt")).unwrap(),
            ),
        ] {
            // As it is, and in base64 as the header has it.
            for secret in ["hunter2", "aHVudGVyM", "h1bnRlcj", "odW50ZXIy"] {
                assert!(!String::from_utf8_lossy(&text).contains(secret), "{name}");
            }
        }
    }
}

#[test]
fn a_checkpoint_that_cannot_be_made_stops_the_run_before_it_begins() {
    let scene = Scene::new(1000);
    // These hold for root, too, whom no permission stops: no system lets files be made in the last two.
    for place in [
        "data.index/job.ckpt",
        "no/such/directory/job.ckpt",
        "/proc/job.ckpt",
        "/sys/job.ckpt",
    ] {
        let output = scene
            .job(FAISS, HDF5, &format!("checkpoint: {place}"))
            .output()
            .unwrap();
        check(
            output,
            6,
            &[&format!("{place}: cannot open the checkpoint")],
        );
        assert_eq!(scene.names(), ["data.index", "job.yaml"], "{place}");
    }
}

#[test]
fn a_disk_that_fills_under_the_checkpoint_stops_the_run_and_the_same_command_goes_on() {
    const ROWS: usize = 20_000;
    let (scene, fake) = (Scene::new(ROWS), Fake::start("v2.3.5"));
    let sink = into(&fake);
    let mut plain = scene.job(FAISS, &sink, "");
    let words = ["job.yaml.ckpt: cannot write the checkpoint: File too large"];
    // The second time it is full from the start.
    for _ in 0..2 {
        check(scene.limited(6).output().unwrap(), 6, &words);
    }
    let log = std::fs::read_to_string(scene.path("job.yaml.ckpt")).unwrap();
    assert!(
        log.len() <= 6 << 10 && log.contains("received"),
        "{}",
        log.len()
    );
    // Batches whose receipts the disk had no room for went again, and statistics count them twice.
    check(
        plain.output().unwrap(),
        7,
        &["done: 20000 rows", "NOT PROVEN"],
    );
    let mut ids = vec![0; ROWS];
    for arrived in fake.arrived() {
        let keys = arrived
            .request
            .fields_data
            .into_iter()
            .find_map(|f| f.scalars?.long_data)
            .unwrap();
        for id in keys.data {
            let times: &mut i32 = &mut ids[id as usize];
            assert!(
                *times == 0 || arrived.method == "Upsert",
                "row {id} was inserted twice"
            );
            *times += 1;
        }
    }
    assert!(ids.iter().all(|times| *times > 0), "a row is missing");
}

#[test]
fn a_disk_that_fills_under_the_output_leaves_no_file_that_looks_whole() {
    for layout in [
        "",
        ", chunk_rows: 100",
        ", compression: gzip1",
        ", compression: lzf, chunk_rows: 10",
    ] {
        let scene = Scene::new(60_000);
        let sink = format!("hdf5: {{path: out.h5{layout}}}");
        // Batches so large that the checkpoint stays far below the limit.
        let mut plain = scene.job(FAISS, &sink, "batch: 64KiB");
        check(
            scene.limited(100).output().unwrap(),
            6,
            &["out.h5", "File too large"],
        );
        let mut names = scene.names();
        // It stays where there are receipts in it.
        names.retain(|name| name != "job.yaml.ckpt");
        assert_eq!(names, ["data.index", "job.yaml"], "{layout}");
        check(plain.output().unwrap(), 0, &["done: 60000 rows"]);
        let back = "hdf5: {path: again.h5}";
        let run = "checkpoint: again.ckpt";
        check(
            scene
                .job("hdf5: {paths: out.h5}", back, run)
                .output()
                .unwrap(),
            0,
            &["done: 60000 rows"],
        );
    }
}

#[test]
fn clocks_may_jump() {
    let scene = Scene::new(1000);
    let mut job = scene.job(FAISS, HDF5, "");
    check(job.output().unwrap(), 0, &["done: 1000 rows"]);
    let path = scene.path("job.yaml.ckpt");
    let log = std::fs::read_to_string(&path).unwrap();
    for at in [0, 4_000_000_000u64, u64::MAX] {
        let lines = log.lines().map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(&line[9..]).unwrap();
            for (what, key) in [("header", "created"), ("finished", "at")] {
                if let Some(time) = record.get_mut(what).and_then(|r| r.get_mut(key)) {
                    *time = at.into();
                }
            }
            let json = record.to_string();
            format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
        });
        let lines: Vec<String> = lines.collect();
        std::fs::write(&path, lines.concat()).unwrap();
        check(
            job.output().unwrap(),
            0,
            &["nothing to do: this job finished"],
        );
        // Unfinished, it goes on.
        std::fs::write(&path, lines[..lines.len() - 2].concat()).unwrap();
        std::fs::remove_file(scene.path("out.h5")).unwrap();
        check(job.output().unwrap(), 0, &["done: 1000 rows"]);
    }
}

#[test]
fn a_collection_dropped_or_made_anew_midway_is_never_a_success() {
    for (what, words) in [
        ("dropped", "the collection is not there (any more)"),
        (
            "made anew",
            "was dropped and recreated while this job filled it",
        ),
        ("another", "fieldSchema does not match the data"),
    ] {
        let (scene, fake) = (Scene::new(3000), Fake::start("v2.3.5"));
        // Even if nothing is counted at the end.
        let sink = into(&fake);
        let child = scene.start(scene.job(FAISS, &sink, &format!("{SLOW}, verify: off")), 3);
        let mut schema = fake.drop_collection("c");
        match what {
            "made anew" => fake.has(schema, 0),
            "another" => {
                schema.fields[1].name = "other".to_owned();
                fake.has(schema, 0);
            }
            _ => {}
        }
        check(child.wait_with_output().unwrap(), 5, &["c", words]);
    }
}

#[test]
fn a_real_server_whose_collection_is_dropped_or_made_anew_midway_is_never_a_success() {
    let server = Server::shared(Engine::Standalone);
    let address = format!("http://{}", server.address());
    let settings = Settings {
        address: address.clone(),
        login: Login::None,
        db: String::new(),
        tls: None,
        deadlines: Deadlines::default(),
    };
    let client = Client::open(&settings, 1).unwrap();
    let vectors = VectorType {
        element: Element::Float32,
        dimension: DIMENSION as u32,
    };
    let columns = Columns::plain("id", "embedding", vectors).unwrap();
    for (name, made_anew, words) in [
        (
            "faults_dropped",
            false,
            &["the collection is not there (any more)"][..],
        ),
        (
            "faults_anew",
            true,
            // The first where an insert arrives between the two.
            &[
                "the collection is not there (any more)",
                "was dropped and recreated while this job filled it",
            ],
        ),
    ] {
        let scene = Scene::new(4000);
        let sink = format!("milvus: {{address: '{address}', collection: {name}, mode: overwrite}}");
        let child = scene.start(scene.job(FAISS, &sink, &format!("{SLOW}, verify: off")), 3);
        client.drop_collection(name).unwrap();
        if made_anew {
            client
                .create_collection(&milvusdm::milvus::NewCollection {
                    name,
                    description: "",
                    columns: &columns,
                    traits: &Default::default(),
                    consistency: None,
                    nullable: &|_| false,
                    auto_id: false,
                    shards: 1,
                })
                .unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.iter().any(|words| said.contains(words)), "{said}");
        check(output, 5, &[name]);
    }
}
