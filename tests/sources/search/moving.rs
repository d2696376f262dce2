//! What happens meanwhile: others write, the program is killed, the server or the line to it goes away.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::away::{Line, goes_away_and_comes_back};
use super::killed::{begin, ended, gets_further, killed_four_times, receipts};
use super::migration::Jobs;
use super::server::{self, script};
use super::support::fake_milvus::{Arrived, Fake, Misbehave};
use super::support::{self, Engine, Server, run_python};
use super::{ROWS, dump, floats, job, opensearch, parquet};

/// Documents of an index whose `_id` begins so are rows of the collection of its name, and nothing is there twice.
#[track_caller]
fn check(milvus: &str, name: &str, there: &Value, prefix: &str) -> usize {
    let rows: Value = serde_json::from_str(&run_python(ROWS, &[milvus, name])).unwrap();
    let documents = there.as_object().unwrap().iter();
    let mut kept = 0;
    for (key, document) in documents.filter(|(key, _)| key.starts_with(prefix)) {
        let row = &rows[key];
        assert_eq!(floats(&row["v"]), floats(&document["v"]), "{key}");
        assert_eq!(
            (&row["n"], &row["text"]),
            (&document["n"], &document["text"]),
            "{key}"
        );
        kept += 1;
    }
    kept
}

fn to_milvus(milvus: &str) -> String {
    format!("milvus: {{address: '{milvus}', metric: L2, index: {{type: FLAT}}, load: true}}")
}

#[test]
fn rows_that_nobody_touches_arrive_once_while_others_come_and_go_and_the_program_is_killed() {
    let milvus = Server::shared(Engine::Standalone).address();
    let (name, count) = ("moving_rows", 6000);
    script(&["rows", &opensearch().address, name, &count.to_string()]);
    let search = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/search.py");
    let mut writer = Command::new(support::python())
        .arg(search)
        .args(["write", &opensearch().address, name])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let jobs = Jobs::new();
    let text =
        job(name, "page: 100", &to_milvus(&milvus)) + "fields: {id: id}\nrun: {batch: 16KiB}\n";
    let ended = killed_four_times(&jobs, "kill", &text, 500);
    writer.kill().unwrap();
    writer.wait().unwrap();
    // Rows that were sent again and are gone since prove nothing either way.
    assert!(matches!(ended.code, Some(0 | 7)), "{}", ended.said);
    assert_eq!(check(&milvus, name, &dump(name), "keep-"), count);
}

#[test]
fn one_state_is_read_whatever_others_write_meanwhile() {
    let (jobs, name) = (Jobs::new(), "moment");
    script(&["rows", &opensearch().address, name, "3000"]);
    let before = dump(name);
    let to = format!("parquet: {{dir: '{}'}}", jobs.path("out").display());
    let text = job(name, "page: 100, rows_per_s: 500", &to) + "run: {verify: count}\n";
    std::fs::write(jobs.path("moment.yaml"), text).unwrap();
    let child = begin(&jobs, "moment", &[]);
    // Once the server keeps the states of its three shards, nothing that is written matters. The program sleeps meanwhile.
    let began = Instant::now();
    while script(&["states", &opensearch().address, name]).trim() != "3" {
        assert!(began.elapsed() < Duration::from_secs(60), "no states");
        std::thread::sleep(Duration::from_millis(20));
    }
    let signal = |signal: &str| {
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([signal, pid.as_str()]).status();
        assert!(sent.unwrap().success());
    };
    signal("-STOP");
    script(&["upset", &opensearch().address, name]);
    signal("-CONT");
    let (code, said) = ended(child);
    assert_eq!(code, Some(0), "{said}");
    let (there, arrived) = (before.as_object().unwrap(), parquet(&jobs.path("out")));
    assert_ne!(before, dump(name));
    assert_eq!(arrived.as_object().unwrap().len(), there.len());
    for (key, document) in there {
        let mut document = document.clone();
        let v = document.as_object_mut().unwrap().remove("v").unwrap();
        assert_eq!(floats(&arrived[key]["vectors"]["v"]), floats(&v), "{key}");
        assert_eq!(arrived[key]["rest"], document, "{key}");
    }
}

/// The keys of a write's rows.
fn keys(write: &Arrived) -> &[String] {
    let mut columns = write.request.fields_data.iter();
    let key = columns.find(|column| column.field_name == "id").unwrap();
    let texts = key.scalars.as_ref().unwrap().string_data.as_ref().unwrap();
    &texts.data
}

/// A batch is on its way, and those behind it have arrived, when the program is killed. Then everything is written anew:
/// nothing is where it was. Each document comes, and none as a second row of its key.
#[test]
fn what_was_written_while_no_program_ran_replaces_what_had_arrived() {
    let (jobs, fake) = (Jobs::new(), Fake::start("v2.3.5"));
    let (name, count) = ("rewritten", 600);
    script(&["rows", &opensearch().address, name, &count.to_string()]);
    fake.next(Misbehave::Hang);
    let to = format!(
        "milvus: {{address: '{}', collection: {name}}}",
        fake.address
    );
    let text = job(name, "page: 40", &to) + "fields: {id: id}\nrun: {in_flight: 4}\n";
    std::fs::write(jobs.path("again.yaml"), text).unwrap();
    let mut child = begin(&jobs, "again", &[]);
    let began = Instant::now();
    let arrived = || -> usize { fake.arrived().iter().map(|write| keys(write).len()).sum() };
    // All but one batch; and the program knows that.
    while arrived() < count - 40 || receipts(&jobs, "again") < fake.arrived().len() {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", arrived());
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fake.hangs(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let first = fake.arrived().len();
    assert!(arrived() < count);
    script(&["upset", &opensearch().address, name, "all"]);
    let (code, said) = ended(begin(&jobs, "again", &[]));
    // The stand-in counts rows, and knows no keys.
    assert!(matches!(code, Some(0 | 5 | 7)), "{code:?}: {said}");
    let second = &fake.arrived()[first..];
    let methods: Vec<&str> = second.iter().map(|write| &*write.method).collect();
    assert!(
        methods.iter().all(|method| *method == "Upsert"),
        "{methods:?}"
    );
    let mut all: Vec<&String> = second.iter().flat_map(keys).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{said}");
}

fn stop(mut child: Child) -> (Option<i32>, String) {
    // A run that waits for a server that never comes would keep the test for ever.
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(240) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    ended(child)
}

#[test]
fn a_server_that_is_killed_and_started_again_is_read_on_from_a_new_state() {
    let (mut own, jobs) = (server::start(), Jobs::new());
    let (name, count) = ("restarted", 3000);
    script(&["rows", &own.address, name, &count.to_string()]);
    let said = script(&["dump", &own.address, name]);
    let there: Value = serde_json::from_str(&said).unwrap();
    let milvus = Server::shared(Engine::Standalone).address();
    let text = format!(
        "source: {{opensearch: {{urls: ['{}'], index: {name}, page: 100}}}}\nsink: {{{}}}\nfields: {{id: id}}\n\
         run: {{batch: 16KiB, max_rows_per_s: 400, patience: 200s}}\n",
        own.address,
        to_milvus(&milvus)
    );
    std::fs::write(jobs.path("restarted.yaml"), text).unwrap();
    let child = gets_further(&jobs, "restarted", begin(&jobs, "restarted", &[]), 3);
    own.kill();
    own.start_again();
    let (code, said) = stop(child);
    assert!(matches!(code, Some(0 | 7)), "{code:?}: {said}");
    assert!(said.contains("no longer keeps the state"), "{said}");
    assert_eq!(check(&milvus, name, &there, ""), count);
}

#[test]
fn a_line_that_breaks_ends_the_run_once_patience_ends_and_the_same_command_goes_on() {
    let (jobs, name) = (Jobs::new(), "line_rows");
    script(&["rows", &opensearch().address, name, "3000"]);
    let milvus = Server::shared(Engine::Standalone).address();
    let mut line = Line::to(&opensearch().address);
    let text = format!(
        "source: {{opensearch: {{urls: ['{}'], index: {name}, page: 100}}}}\nsink: {{{}}}\nfields: {{id: id}}\n\
         run: {{batch: 16KiB}}\n",
        line.address(),
        to_milvus(&milvus)
    );
    goes_away_and_comes_back(&jobs, "line", &mut line, &text, 400);
    assert_eq!(check(&milvus, name, &dump(name), ""), 3000);
}
