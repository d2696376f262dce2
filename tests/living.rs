//! A running Milvus as a source: real servers, real collections, and what goes wrong between them.

mod support;

#[path = "support/migration.rs"]
mod migration;

use serde_json::Value;

use migration::{Jobs, support_script};
use support::{Engine, Server};

/// The server that all tests here read, with collections of every kind.
fn source() -> &'static Server {
    static MADE: std::sync::OnceLock<&'static Server> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let server = migration::server();
        support_script("living.py", &["make", &server.address()]);
        server
    })
}

fn dump(server: &Server, names: &[&str]) -> Value {
    let address = server.address();
    let arguments = [&["dump", address.as_str()], names].concat();
    serde_json::from_str(&support_script("living.py", &arguments)).unwrap()
}

fn job(to: &str, source_more: &str, more: &str) -> String {
    let from = source().address();
    format!("source: {{milvus: {{address: '{from}', {source_more}}}}}\nsink: {{{to}}}\n{more}")
}

fn to_milvus(server: &Server, more: &str) -> String {
    format!("milvus: {{address: '{}', {more}}}", server.address())
}

#[track_caller]
fn same_rows(name: &str, one: &Value, other: &Value) {
    let rows = |dumped: &Value| {
        dumped[name]["rows"]
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    let (one, other) = (rows(one), rows(other));
    for (partition, rows) in &one {
        let there = &other.get(partition).unwrap_or(&Value::Null);
        for (key, row) in rows.as_object().unwrap() {
            assert_eq!(row, &there[key], "{name}/{partition}: {key}");
        }
        let count = |rows: &Value| rows.as_object().map_or(0, |rows| rows.len());
        assert_eq!(count(rows), count(there), "{name}/{partition}");
    }
}

const ALL: [&str; 5] = ["plain", "every", "parts", "keyed", "bits"];

#[test]
fn every_kind_of_collection_goes_to_another_server_row_by_row() {
    let (from, to) = (source(), Server::start(Engine::Standalone, &[]));
    let jobs = Jobs::new();
    let collections = format!("collections: [{}]", ALL.join(", "));
    let job = job(
        &to_milvus(&to, "index: source, load: true"),
        &collections,
        "run: {verify: full}\n",
    );
    let ended = jobs.run("all", &job).code(0);
    assert_eq!(ended.report["snapshot"], "live", "{}", ended.said);
    let (one, other) = (dump(from, &ALL), dump(&to, &ALL));
    for name in ALL {
        same_rows(name, &one, &other);
    }
    assert_eq!(one["parts"]["partitions"], other["parts"]["partitions"]);
    for target in ended.report["targets"].as_array().unwrap() {
        assert_eq!(target["agrees"], true, "{target}");
    }
}

#[test]
fn what_is_not_loaded_is_refused_or_loaded_for_the_job_and_released() {
    let (from, to) = (source(), Server::shared(Engine::LitePython));
    let jobs = Jobs::new();
    let asleep = |more: &str| {
        let collections = format!("collections: [asleep], {more}");
        let fields = "fields: {id: pk, vector: v}\n";
        job(&to_milvus(to, ""), &collections, fields)
    };
    jobs.run("refused", &asleep(""))
        .code(5)
        .says(&["asleep is not loaded", "load: true"]);
    let ended = jobs.run("loaded", &asleep("load: true")).code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 50);
    let state = "import sys; from pymilvus import connections, utility\n\
                 host, port = sys.argv[1].split(':'); connections.connect(host=host, port=port)\n\
                 print(utility.load_state('asleep').name)";
    let state = support::run_python(state, &[&from.address()]);
    assert_eq!(state, "NotLoad", "it is released again");
}

#[test]
fn every_column_goes_to_milvus_lite_and_a_plain_collection_into_a_file() {
    let (from, to) = (source(), Server::shared(Engine::LitePython));
    let jobs = Jobs::new();
    let finite = "collections: [every], filter: 'f < 1.0e38 and f > -1.0e38 and i64 % 5 != 0'";
    let ended = jobs.run(
        "lite",
        &job(&to_milvus(to, ""), finite, "run: {misfit: skip}\n"),
    );
    ended.code(0);
    let file = jobs.path("plain.h5");
    let to = format!("hdf5: {{path: '{}'}}", file.display());
    jobs.run(
        "file",
        &job(&to, "collections: [plain]", "run: {verify: full}\n"),
    )
    .code(0);
    let rows = dump(from, &["plain"])["plain"]["count"].clone();
    let count = "import h5py, sys; print(len(h5py.File(sys.argv[1])['ids']))";
    let count = support::run_python(count, &[&file.display().to_string()]);
    assert_eq!(count, (rows.as_i64().unwrap()).to_string());
}

#[test]
fn copies_of_keys_are_told_and_each_key_travels_once() {
    let (from, to) = (source(), Server::start(Engine::Standalone, &[]));
    let jobs = Jobs::new();
    let more = "fields: {id: pk, vector: v}\nrun: {verify: count}\n";
    let to_copy = to_milvus(&to, "index: source, load: true");
    let ended = jobs.run("twice", &job(&to_copy, "collections: [twice]", more));
    let ended = ended.code(0).says(&["have the key of another row"]);
    assert_eq!(ended.report["targets"][0]["delivered"], 260);
    let (one, other) = (dump(from, &["twice"]), dump(&to, &["twice"]));
    same_rows("twice", &one, &other);
    assert_eq!(other["twice"]["count"], 260);
}

#[test]
fn loader_source_and_destination_are_killed_and_a_writer_writes_meanwhile() {
    let from = Server::start(Engine::Standalone, &[]);
    let to = Server::start(Engine::Standalone, &[]);
    support_script("living.py", &["rows", &from.address(), "many", "60000"]);
    let before = dump(&from, &["many"]);
    let jobs = Jobs::new();
    let text = format!(
        "source: {{milvus: {{address: '{}', collections: [many], page: 700}}}}\nsink: {{milvus: {{address: '{}', \
         index: source, load: true}}}}\nfields: {{id: pk, vector: v}}\nrun: {{verify: count, batch: 64KiB}}\n",
        from.address(),
        to.address()
    );
    std::fs::write(jobs.path("many.yaml"), text).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/living.py");
    let mut writer = std::process::Command::new(support::python())
        .args([script, "write", &from.address(), "many"])
        .spawn()
        .unwrap();
    let mut run = 0;
    let code = loop {
        let mut loader = std::process::Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args([
                "run",
                "many.yaml",
                "--progress",
                "none",
                "--report",
                "r.json",
            ])
            .current_dir(jobs.path("."))
            .env("XDG_STATE_HOME", jobs.path("state"))
            .spawn()
            .unwrap();
        run += 1;
        let wait = std::time::Duration::from_millis(400 * run);
        std::thread::sleep(wait);
        match run {
            ..=6 => loader.kill().unwrap(),
            7 => {
                from.kill();
                from.start_again();
                loader.kill().unwrap();
            }
            8 => {
                to.kill();
                to.start_again();
            }
            _ => {}
        }
        let code = loader.wait().unwrap().code();
        if run > 8 || code == Some(0) {
            break code;
        }
    };
    let _ = writer.kill();
    let _ = writer.wait();
    let report = std::fs::read_to_string(jobs.path("r.json")).unwrap();
    assert!(matches!(code, Some(0 | 7)), "{report}");
    assert!(report.contains("\"snapshot\": \"live\""), "{report}");
    let after = dump(&to, &["many"]);
    let rows = |dumped: &Value| {
        dumped["many"]["rows"]["_default"]
            .as_object()
            .unwrap()
            .clone()
    };
    let (before, after) = (rows(&before), rows(&after));
    for (key, row) in before {
        if key.parse::<i64>().unwrap() % 3 == 0 {
            assert_eq!(Some(&row), after.get(&key), "{key}");
        }
    }
}

#[test]
fn a_job_of_milvus_migration_runs_as_it_stands() {
    let (from, to) = (source(), Server::shared(Engine::LitePython));
    let jobs = Jobs::new();
    let text = format!(
        "dumper:\n  worker:\n    limit: 2\n    workMode: milvus2x\n    reader:\n      bufferSize: 500\n\
         meta:\n  mode: config\n  version: 2.3.0\n  collection: plain\n  milvus:\n    collection: plain_copy\n\
         source:\n  milvus2x:\n    endpoint: {}\n    username:\n    password:\n\
         target:\n  milvus2x:\n    endpoint: {}\n",
        from.address(),
        to.address()
    );
    std::fs::write(jobs.path("migration.yaml"), text).unwrap();
    let output = jobs.milvusdm(&["start", "-c", "migration.yaml", "--progress", "none"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("bufferSize") || said.contains("buffersize"),
        "{said}"
    );
    assert_eq!(dump(to, &["plain_copy"])["plain_copy"]["count"], 6000);
}
