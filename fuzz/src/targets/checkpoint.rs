//! The log of a run: `| how 1 | lines … |`. Bit 0 of `how`: lines get the checksums they need, else only what libFuzzer
//! guesses would pass; bit 1: the header of the very job comes first, so that it is resumed.

use std::sync::LazyLock;

use milvusdm::checkpoint::{Checkpoint, Found};
use milvusdm::plan::Plan;

use super::support::{carry, plan_into, room};

struct Log {
    plan: Plan,
    lines: Vec<String>,
}

thread_local! {
    // A run leaves the lines of a real log; its checkpoint is then ours to write over.
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let plan = plan_into(&room("checkpoint"), "mode: overwrite");
        carry(&plan);
        let text = std::fs::read_to_string(&plan.settings.checkpoint).unwrap();
        let lines = text.lines().map(|line| line[9..].to_owned()).collect();
        Log { plan, lines }
    });
}

fn sealed(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

fn go(log: &Log, bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else {
        return;
    };
    let mut text = if how & 2 == 0 {
        Vec::new()
    } else {
        sealed(&log.lines[0]).into_bytes()
    };
    match how & 1 {
        0 => text.extend(rest),
        _ => text.extend(
            String::from_utf8_lossy(rest)
                .lines()
                .flat_map(|line| sealed(line).into_bytes()),
        ),
    }
    let (plan, path) = (&log.plan, &log.plan.settings.checkpoint);
    std::fs::write(path, text).unwrap();
    let _ = Checkpoint::foresee(path, plan);
    let Ok(Found::Open(checkpoint)) = Checkpoint::create_or_resume(path, plan, false) else {
        return;
    };
    for shard in &plan.manifest.shards {
        let standing = checkpoint.standing(shard);
        assert!(!standing.in_doubt(standing.index.saturating_sub(1)) || standing.index == 0);
    }
    let (totals, left_out) = (checkpoint.totals(0), checkpoint.left_out());
    checkpoint.close(&plan.manifest.shards[0], 7).unwrap();
    drop(checkpoint);
    // What it says is said again when it is opened again.
    let Ok(Found::Open(again)) = Checkpoint::create_or_resume(path, plan, false) else {
        panic!("not resumed")
    };
    assert!(again.resumed() && again.totals(0) == totals && again.left_out() == left_out);
}

pub fn run(bytes: &[u8]) {
    LOG.with(|log| go(log, bytes));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let lines = LOG.with(|log| log.lines.clone());
    let whole = lines[1..].join("\n");
    let torn: String = lines.iter().map(|line| sealed(line)).collect();
    let extra = "{\"reset\":0}\n{\"received\":{\"shard\":0,\"target\":0,\"index\":3,\"next\":9,\"rows\":1,\"bytes\":1,\"digest\":1,\"upserted\":true,\"left_out\":1,\"rows_left_out\":[[\"a\",1,2]]}}";
    let unfinished = lines[1..lines.len() - 1].join("\n");
    vec![
        [b"\x03", whole.as_bytes()].concat(),
        [b"\x03", unfinished.as_bytes()].concat(),
        [b"\x03", extra.as_bytes()].concat(),
        [b"\x00", torn.as_bytes()].concat(),
        [b"\x02", &torn.as_bytes()[torn.find('\n').unwrap() + 1..]].concat(),
        [b"\x01", lines.join("\n").as_bytes()].concat(),
    ]
}
