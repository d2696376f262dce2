//! Killed in the middle of staging, submitting and waiting, as often as `BULK_KILLS` says.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::migration::{self, Jobs};
use super::support::{Engine, Server, run_python};
use super::{RUN, job, run, start};

/// Starts a server again that is gone, as an operator does: Milvus 2.3.5 ends when a client is killed while it asks about
/// imports (a nil dereference of its own).
fn revive(server: &Server) -> bool {
    std::thread::sleep(Duration::from_millis(500));
    let is_gone = TcpStream::connect(server.address()).is_err();
    if is_gone {
        server.kill();
        server.start_again();
    }
    is_gone
}

/// What is being done, by the staged files and the ledgers beside them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Nothing,
    Staging,
    Submitting,
    Waiting,
}

fn entries(jobs: &Jobs) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(jobs.path("staging"))
        .into_iter()
        .flatten();
    let sets = runs
        .flatten()
        .filter_map(|run| std::fs::read_dir(run.path()).ok());
    sets.flatten().flatten().map(|set| set.path()).collect()
}

/// What is under way, apart from `before`, the sets that were there.
fn doing(jobs: &Jobs, before: &[PathBuf]) -> Vec<Doing> {
    let (mut all, entries) = (vec![Doing::Nothing], entries(jobs));
    let ledgers = entries
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "ledger"));
    let mut known = String::new();
    for ledger in ledgers {
        let text = std::fs::read_to_string(ledger).unwrap_or_default();
        match text.lines().last() {
            Some(line) if line.contains("submitted") => all.push(Doing::Submitting),
            Some(line) if line.contains("accepted") => all.push(Doing::Waiting),
            _ => {}
        }
        known += &text;
    }
    let new = entries
        .iter()
        .filter(|path| path.is_dir() && !before.contains(path));
    let mut names = new.filter_map(|path| path.file_name()?.to_str());
    if names.any(|name| !known.contains(name)) {
        all.push(Doing::Staging);
    }
    all
}

#[test]
#[allow(clippy::print_stdout)] // `--nocapture` shows what each death met.
fn killed_while_it_stages_submits_or_waits_every_row_is_there_once() {
    let rounds = std::env::var("BULK_KILLS").map_or(3, |n| n.parse::<u32>().unwrap());
    let (jobs, server) = (Jobs::new(), Server::start(Engine::Standalone, &[]));
    // As many files as deaths, so that there is something left to do.
    let file_bytes = 12_000 * 136 / rounds;
    let bulk = format!("file_bytes: {file_bytes}, keep: true");
    job(&jobs, "bulk_killed", "", &bulk);
    let text = std::fs::read_to_string(jobs.path("job.yaml")).unwrap();
    let text = text.replace(&migration::server().address(), &server.address());
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut seed = u64::from(now.subsec_nanos());
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for round in 0..rounds {
        let wanted = [Doing::Staging, Doing::Submitting, Doing::Waiting][round as usize % 3];
        let before = entries(&jobs);
        let mut child = start(&jobs);
        let began = Instant::now();
        // Whatever it is doing by then if it never does that.
        while !doing(&jobs, &before).contains(&wanted)
            && child.try_wait().unwrap().is_none()
            && began.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        let more = random(match wanted {
            Doing::Waiting => 2_000,
            _ => 5,
        });
        std::thread::sleep(Duration::from_millis(more));
        let met = doing(&jobs, &before);
        let _ = child.kill();
        let status = child.wait().unwrap();
        let said = format!("round {round}, to be killed while {wanted:?}: {status}");
        assert!(status.code().is_none_or(|code| code == 0), "{said}");
        let died = if revive(&server) {
            "; the server died of it"
        } else {
            ""
        };
        println!("{said}; under way: {met:?}{died}");
    }
    // After a death of the server its statistics may count what it broke off.
    let output = jobs.milvusdm(&RUN.split(' ').collect::<Vec<_>>());
    assert!(matches!(output.status.code(), Some(0 | 5)), "{output:?}");
    let count = r#"
import sys
from pymilvus import Collection, connections
connections.connect(uri="http://" + sys.argv[1])
c = Collection("bulk_killed")
c.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
c.load()
ids = [row["id"] for row in c.query("id >= 0", limit=16384, consistency_level="Strong")]
print(c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"], len(set(ids)))
"#;
    assert_eq!(run_python(count, &[&server.address()]), "12000 12000");
    run(&jobs, "verify job.yaml --progress none", 0, &["agrees"]);
}
