//! Jobs and addresses that are not what they seem: each ends soon, with one sentence that says what it is.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use migration::{Jobs, flat_index};
use support::fake_milvus::Fake;

/// Runs a command to its end: exit code and all that it said. It has to end by itself.
#[track_caller]
fn ended(jobs: &Jobs, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(arguments)
        .current_dir(jobs.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code(), said)
}

#[track_caller]
fn check(jobs: &Jobs, job: &str, code: i32, parts: &[&str]) {
    std::fs::write(jobs.path("job.yaml"), job).unwrap();
    for command in ["plan", "run"] {
        let (got, said) = ended(jobs, &[command, "job.yaml"]);
        assert_eq!(got, Some(code), "{command}: {said}");
        for part in parts {
            assert!(said.contains(part), "{command}: no `{part}` in {said}");
        }
        assert!(
            !said.contains('\x1b') && !said.contains('\u{202e}'),
            "{said:?}"
        );
    }
}

fn to(address: &str) -> String {
    format!(
        "source: {{faiss: {{path: flat.index}}}}\nsink: {{milvus: {{address: '{address}', collection: c}}}}\n"
    )
}

/// A port where somebody answers every connection so.
fn port(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if answer.is_empty() {
                held.push(stream);
                continue;
            }
            let mut asked = [0; 512];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn ports_of_others_are_told_apart_and_soon() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    let since = Instant::now();
    check(
        &jobs,
        &to(&port(b"")),
        5,
        &["accepts connections here but never answers"],
    );
    assert!(
        since.elapsed() < Duration::from_secs(50),
        "{:?}",
        since.elapsed()
    );
    let page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    check(
        &jobs,
        &to(&port(page)),
        5,
        &["an HTTP/1 server answers here", "19530"],
    );
}

#[test]
fn jobs_of_other_tools_and_slips_are_recognised() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    let migration = "dumper: {worker: {workMode: faiss}}\nsource: {mode: local, local: {faissFile: a.index}}\n\
                     target: {create: {collection: {name: c, dim: 4}}, milvus2x: {endpoint: 'h:1'}}\n";
    check(
        &jobs,
        migration,
        2,
        &[
            "a job of milvus-migration (workMode: faiss)",
            "the equivalent here is",
            "faiss: {path: a.index}",
        ],
    );
    check(&jobs, "f2m: {data_path: x}\n", 2, &["did you mean `F2M`?"]);
    check(
        &jobs,
        "source:\n\tfaiss: {path: x}\n",
        2,
        &["line 2", "tab"],
    );
    check(&jobs, &"[".repeat(40_000), 2, &["nested more than 64 deep"]);
    let address = "M2M: {source_milvus_path: '127.0.0.1:19530', dest_host: 127.0.0.1, dest_port: 1, mode: append, \
                   source_collection: {c: []}}\n";
    check(
        &jobs,
        address,
        2,
        &["is an address", "`source: {milvus: {address: …}}`"],
    );
    std::fs::create_dir_all(jobs.path("milvus2/insert_log")).unwrap();
    check(
        &jobs,
        &address.replace("127.0.0.1:19530", "milvus2"),
        2,
        &["is a data directory of Milvus 2.x", "milvus_files"],
    );
    let fake = Fake::start("v2.3.5");
    let name = to(&fake.address).replace("collection: c", "collection: my-products");
    check(
        &jobs,
        &name,
        2,
        &[
            "does not allow the collection name `my-products`",
            "`my_products` is allowed",
        ],
    );
}

#[test]
fn nothing_waits_for_a_pipe_that_nobody_writes_to() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    let made = Command::new("mkfifo")
        .arg(jobs.path("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let fake = Fake::start("v2.3.5");
    let good = to(&fake.address);
    check(
        &jobs,
        &good.replace("flat.index", "pipe"),
        2,
        &["is not a regular file"],
    );
    check(
        &jobs,
        &format!("{good}run: {{checkpoint: pipe}}\n"),
        2,
        &["not a regular file"],
    );
    std::fs::write(
        jobs.path("job.yaml"),
        format!("{good}run: {{checkpoint: no/such/place.ckpt}}\n"),
    )
    .unwrap();
    let (plan, said) = ended(&jobs, &["plan", "job.yaml"]);
    assert!(said.contains("no/such"), "{said}");
    let (run, said) = ended(&jobs, &["run", "job.yaml"]);
    assert_eq!(plan, run, "{said}");
    assert_ne!(plan, Some(0));
}

#[test]
fn merge_keys_and_a_dry_run_work() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    let fake = Fake::start("v2.3.5");
    let job = format!(
        "source: {{faiss: {{path: flat.index}}}}\nsink:\n  milvus:\n    <<: {{collection: merged, address: '{}'}}\n    mode: append\n",
        fake.address
    );
    std::fs::write(jobs.path("job.yaml"), job).unwrap();
    for arguments in [
        &["run", "job.yaml", "--dry-run"][..],
        &["--yaml", "job.yaml", "--dry-run"],
        &["plan", "job.yaml"],
    ] {
        let (code, said) = ended(&jobs, arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("target       merged") && said.contains("will be    created"),
            "{said}"
        );
    }
    assert_eq!(fake.calls("CreateCollection"), 0);
}

#[test]
fn a_full_standard_output_is_an_error_and_a_closed_one_is_not() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    let fake = Fake::start("v2.3.5");
    std::fs::write(jobs.path("job.yaml"), to(&fake.address)).unwrap();
    for arguments in [
        &["formats"][..],
        &["formats", "--json"],
        &["plan", "job.yaml"],
        &["plan", "job.yaml", "--json"],
        &["inspect", "flat.index"],
        &["run", "job.yaml", "--json"],
    ] {
        let into = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
            let command = command.args(arguments).current_dir(jobs.0.path());
            command
                .stdout(stdout)
                .stderr(Stdio::piped())
                .output()
                .unwrap()
        };
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = into(full.into());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = into(writer.into());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn names_in_a_job_cannot_steer_the_terminal() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    let fake = Fake::start("v2.3.5");
    let evil = "a\\e[2J\\r\\n  products: agrees\\u202Eb";
    let job = to(&fake.address).replace("collection: c", &format!("collection: \"{evil}\""));
    check(
        &jobs,
        &job,
        2,
        &["does not allow the collection name", "\\u{1b}[2J\\r\\n"],
    );
    let job = to(&fake.address).replace("flat.index", "\"no\\e[31m\\n  target: agrees\"");
    check(
        &jobs,
        &job,
        2,
        &["there is no such file", "no\\u{1b}[31m\\n"],
    );
    let long = "x".repeat(100_000);
    std::fs::write(
        jobs.path("job.yaml"),
        to(&fake.address).replace("collection: c", &format!("collection: {long}")),
    )
    .unwrap();
    let (code, said) = ended(&jobs, &["plan", "job.yaml"]);
    assert_eq!(code, Some(2));
    assert!(said.len() < 10_000, "{} bytes", said.len());
}

#[test]
fn settings_of_classic_jobs_are_listed_and_tls_is_one() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    let (_, said) = ended(&jobs, &["formats"]);
    for key in [
        "dest_user",
        "dest_token",
        "dest_tls",
        "load",
        "index",
        "into",
        "collection_parameter.metric_type",
    ] {
        assert!(
            said.contains(&format!("      {key} ")),
            "no {key} in {said}"
        );
    }
    for key in ["tls", "dest_tls"] {
        let job = format!(
            "F2M: {{data_path: flat.index, dest_host: 127.0.0.1, dest_port: 1, dest_collection_name: c, mode: append, \
             {key}: {{ca: none.pem}}}}\n"
        );
        check(
            &jobs,
            &job,
            2,
            &["none.pem", "tls.ca: there is no such file"],
        );
    }
}

#[test]
fn a_key_of_the_command_line_beside_its_rival_in_the_file_is_named() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 10, 4);
    std::fs::write(
        jobs.path("job.yaml"),
        "source: {faiss: {path: flat.index}}\nsink:\n  hdf5:\n    dir: out\n",
    )
    .unwrap();
    let all = "needs exactly one of path, paths, dir and glob: there are path, ";
    for (set, place, what, hint) in [
        (
            "source.faiss.dir=d",
            "--set: source.faiss.dir: ",
            format!("{all}dir"),
            "source.faiss.path=",
        ),
        (
            "source.faiss.glob='*.index'",
            "--set: source.faiss.glob: ",
            format!("{all}glob"),
            "source.faiss.path=",
        ),
        (
            "sink.hdf5.path=o.h5",
            "--set: sink.hdf5.path: ",
            "needs exactly one of path and dir: there are path, dir".to_owned(),
            "sink.hdf5.dir=",
        ),
    ] {
        let (code, said) = ended(&jobs, &["plan", "job.yaml", "--set", set]);
        assert_eq!(code, Some(2), "{said}");
        for part in [
            format!("{place}{what}"),
            format!("`--set {hint}` removes the other one"),
        ] {
            assert!(said.contains(&part), "no `{part}` in {said}");
        }
        // What the hint says helps.
        let mut arguments = vec!["plan", "job.yaml", "--set", set, "--set", hint];
        if set == "source.faiss.dir=d" {
            arguments.extend(["--set", "source.faiss.dir=."]);
        }
        let (code, said) = ended(&jobs, &arguments);
        assert_eq!(code, Some(0), "{said}");
    }
    // Where the file holds both, its line is named.
    let job = "source:\n  faiss:\n    path: a\n    dir: d\nsink: {hdf5: {path: o.h5}}\n";
    std::fs::write(jobs.path("job.yaml"), job).unwrap();
    let (_, said) = ended(&jobs, &["plan", "job.yaml", "--set", "run.batch=1MiB"]);
    assert!(said.contains("line 4: source.faiss.dir: needs"), "{said}");
    assert!(!said.contains("--set"), "{said}");
}
