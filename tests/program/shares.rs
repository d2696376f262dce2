//! Jobs carried in shares, each by a program of its own, into a real Milvus 2.3.5: killed, restarted in any order, and
//! finished once all rows are there.

use crate::support::{self, migration};

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use migration::{Jobs, flat_index, read_back, sink, support_script};
use serde_json::{Value, json};
use support::{python, run_python, test_env};

const ROWS: usize = 12_000;

/// A job of [`ROWS`] rows, with small batches, so that there is time to be killed in.
fn job(jobs: &Jobs, collection: &str, more: &str, run: &str) {
    flat_index(jobs, "a.index", ROWS, 32);
    let source = "source: {faiss: {path: a.index, ids: row_number}}\n";
    let text = format!(
        "{source}{}run: {{batch: 8KiB, {run}}}\n",
        sink(&format!("collection: {collection}, {more}"))
    );
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    let file = format!("{source}sink: {{hdf5: {{path: wanted.h5, mode: skip}}}}\n");
    jobs.run("file", &file).code(0);
}

/// What a collection holds, and should hold.
#[track_caller]
fn check_whole(jobs: &Jobs, collection: &str) {
    let path = jobs.path("wanted.h5");
    let wanted = support_script("read_back.py", &["-", "h5", path.to_str().unwrap()]);
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    let back = &read_back(&[collection])[collection];
    assert_eq!(back["count"], json!(ROWS));
    let held = &back["partitions"]["_default"];
    assert_eq!(
        (&held["rows"], &held["sorted"]),
        (&wanted["rows"], &wanted["sorted"])
    );
}

struct Said {
    code: Option<i32>,
    text: String,
}

#[track_caller]
fn milvusdm(jobs: &Jobs, line: &str) -> Said {
    let output = jobs.milvusdm(&line.split(' ').collect::<Vec<_>>());
    Said {
        code: output.status.code(),
        text: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    }
}

#[track_caller]
fn check(jobs: &Jobs, line: &str, code: i32, words: &[&str]) {
    let said = milvusdm(jobs, line);
    assert_eq!(said.code, Some(code), "{line}: {}", said.text);
    for word in words {
        assert!(
            said.text.contains(word),
            "{line}: no `{word}` in {}",
            said.text
        );
    }
}

fn share(jobs: &Jobs, number: u32, of: u32) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "none", "--shard"])
        .arg(format!("{number}/{of}"))
        .current_dir(jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn log(jobs: &Jobs, number: u32, of: u32) -> PathBuf {
    jobs.path(&format!("job.yaml.ckpt.{number}-of-{of}"))
}

/// Waits until the log of a share has so many receipts.
fn wait_for_receipts(jobs: &Jobs, number: u32, of: u32, receipts: usize) {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(log(jobs, number, of)).unwrap_or_default();
        if text.matches("\"received\"").count() >= receipts {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "share {number}: {text}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn ended(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn four_shares_two_killed_and_restarted_in_any_order_bring_every_row_once() {
    let jobs = Jobs::new();
    job(
        &jobs,
        "shares_killed",
        "index: {type: FLAT}, metric: L2, load: true",
        "max_rows_per_s: 2000",
    );
    let mut shares: Vec<Child> = (1..=4).map(|number| share(&jobs, number, 4)).collect();
    for (number, receipts) in [(2, 3), (3, 9)] {
        wait_for_receipts(&jobs, number, 4, receipts);
        shares[number as usize - 1].kill().unwrap();
        shares[number as usize - 1].wait().unwrap();
    }
    let finish = "finish job.yaml --progress none";
    check(&jobs, finish, 2, &["have not finished: ", "2 (", "3 ("]);
    ended(shares.remove(3));
    ended(shares.remove(0));
    check(
        &jobs,
        finish,
        2,
        &[
            "of 4 shares these have not finished: 2 (",
            ", 3 (",
            "--shard 2/4",
        ],
    );
    // One that has finished says so, and drops or sends nothing.
    let again = "run job.yaml --progress none --shard";
    check(
        &jobs,
        &format!("{again} 1/4"),
        0,
        &["nothing to do: share 1 of 4 has already finished"],
    );
    check(
        &jobs,
        &format!("{again} 3/4"),
        0,
        &["continues at row", "share 3 of 4 has finished"],
    );
    check(&jobs, finish, 2, &["have not finished: 2 ("]);
    check(
        &jobs,
        &format!("{again} 2/4"),
        0,
        &["share 2 of 4 has finished"],
    );
    check(&jobs, finish, 0, &["12000"]);
    check_whole(&jobs, "shares_killed");
    assert!(!log(&jobs, 1, 4).exists());
    check(
        &jobs,
        finish,
        0,
        &["this job finished", "12000 rows delivered"],
    );
    check(
        &jobs,
        &format!("{again} 4/4"),
        0,
        &["this job finished", "12000 rows delivered"],
    );
    check(&jobs, "run job.yaml --progress none", 0, &["nothing to do"]);
    check(&jobs, "verify job.yaml --progress none", 0, &["agrees"]);
}

#[test]
fn overwrite_is_done_once_whichever_share_comes_first_or_again() {
    let jobs = Jobs::new();
    job(&jobs, "shares_replaced", "mode: append", "");
    check(&jobs, "run job.yaml --progress none", 0, &[]);
    job(&jobs, "shares_replaced", "mode: overwrite", "");
    let again = "run job.yaml --progress none --set run.checkpoint=other.ckpt --shard";
    for number in [3, 1] {
        check(
            &jobs,
            &format!("{again} {number}/3"),
            0,
            &[&format!("share {number} of 3 has finished")],
        );
    }
    check(&jobs, &format!("{again} 1/3"), 0, &["already finished"]);
    check(&jobs, &format!("{again} 2/3"), 0, &[]);
    let finish = "finish job.yaml --progress none --set run.checkpoint=other.ckpt";
    check(&jobs, finish, 0, &[]);
    check_whole(&jobs, "shares_replaced");
}

#[test]
fn what_cannot_be_carried_in_shares_is_refused() {
    let jobs = Jobs::new();
    job(&jobs, "shares_refused", "", "");
    let run = "run job.yaml --progress none";
    check(
        &jobs,
        "finish job.yaml",
        2,
        &["there is no such checkpoint"],
    );
    check(
        &jobs,
        &format!("{run} --shard 5/4"),
        2,
        &["there is no share 5 of 4"],
    );
    check(
        &jobs,
        &format!("{run} --shard auto"),
        2,
        &["neither is set"],
    );
    check(
        &jobs,
        &format!("{run} --shard 1/4 --again"),
        2,
        &["must not do to the others"],
    );
    check(
        &jobs,
        "run file.yaml --progress none --again --shard 1/4",
        2,
        &["a file is written by one program"],
    );
    check(
        &jobs,
        &format!("{run} --shard 1/4"),
        0,
        &["share 1 of 4 has finished"],
    );
    check(
        &jobs,
        &format!("{run} --shard 1/3"),
        2,
        &["belongs to a job that is carried in 4 shares, not 3"],
    );
    check(
        &jobs,
        run,
        2,
        &[
            "belongs to a job that is carried in 4 shares",
            "milvusdm finish",
        ],
    );
    check(
        &jobs,
        "plan job.yaml",
        0,
        &["carried in 4 shares, of which 1 finished; "],
    );
    check(
        &jobs,
        &format!("{run} --shard 2/4 --set fields.id=other"),
        2,
        &["unfinished job", "fields"],
    );

    let held = share(&jobs, 2, 4);
    ended(held);
    job(&jobs, "shares_plain", "", "max_rows_per_s: 2000");
    std::fs::remove_file(jobs.path("job.yaml.ckpt")).unwrap();
    let mut whole = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "none"])
        .current_dir(jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !std::fs::read_to_string(jobs.path("job.yaml.ckpt"))
        .is_ok_and(|log| log.contains("received"))
    {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    whole.kill().unwrap();
    whole.wait().unwrap();
    check(
        &jobs,
        &format!("{run} --shard 1/4"),
        2,
        &["belongs to a run that carries all of this job"],
    );
    check(&jobs, "finish job.yaml", 2, &["is not carried in shares"]);
}

#[test]
fn a_task_of_an_array_and_a_pod_of_a_job_take_their_share() {
    let jobs = Jobs::new();
    job(&jobs, "shares_array", "", "");
    let with = |variables: &[(&str, &str)], shard: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
        command.args(["run", "job.yaml", "--progress", "none", "--shard", shard]);
        let output = command
            .envs(variables.iter().copied())
            .env("XDG_STATE_HOME", jobs.path("state"))
            .current_dir(jobs.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let array = [
        ("SLURM_ARRAY_TASK_ID", "1"),
        ("SLURM_ARRAY_TASK_MIN", "0"),
        ("SLURM_ARRAY_TASK_COUNT", "2"),
    ];
    assert!(with(&array, "auto").contains("share 2 of 2 has finished"));
    assert!(with(&[("JOB_COMPLETION_INDEX", "0")], "auto/2").contains("share 1 of 2 has finished"));
    check(&jobs, "finish job.yaml --progress none", 0, &[]);
    check_whole(&jobs, "shares_array");
}

/// A block of docs/operations.md that has these words.
fn shown(words: &str) -> String {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let mut blocks = blocks.filter_map(|block| Some(block.split_once('\n')?.1));
    let block = blocks.find(|block| block.contains(words));
    block
        .unwrap_or_else(|| panic!("no block has {words}"))
        .to_owned()
}

/// Runs a command as a task or pod would, in a home whose `jobs/job.yaml` is the job.
#[track_caller]
fn in_home(jobs: &Jobs, command: &mut Command, variables: &[(&str, &str)]) -> String {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_milvusdm"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let output = command
        .env("PATH", path)
        .env("HOME", jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .envs(variables.iter().copied())
        .current_dir(jobs.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// A real Slurm of one node, which ends with the test.
struct Slurm {
    data: PathBuf,
    environment: Vec<(String, String)>,
}

impl Slurm {
    fn start(jobs: &Jobs) -> Slurm {
        let (data, install) = (jobs.path("slurm"), test_env().join("slurm"));
        let output = slurm("start", &data, &["--install", install.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let text = String::from_utf8(output.stdout).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Slurm {
            environment: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            data,
        }
    }

    /// Runs a line of a shell where `sbatch` is Slurm's, in a home whose `jobs/job.yaml` is the job.
    #[track_caller]
    fn shell(&self, jobs: &Jobs, line: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_milvusdm"));
        let mut command = Command::new("bash");
        command.args(["-ec", line]).current_dir(jobs.0.path());
        command.env("HOME", jobs.0.path());
        command.env("XDG_STATE_HOME", jobs.path("state"));
        for (key, value) in &self.environment {
            let value = match key.as_str() {
                "PATH" => format!("{}:{value}", program.parent().unwrap().display()),
                _ => value.clone(),
            };
            command.env(key, value);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{line}: {said}");
        said
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        slurm("stop", &self.data, &[]);
    }
}

fn slurm(verb: &str, data: &Path, more: &[&str]) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/slurm");
    let mut command = Command::new(script);
    command.args([verb, "--data"]).arg(data).args(more);
    // What it leaves running must not hold the pipes.
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_slurm_array_in_the_documentation_carries_a_job_on_a_real_slurm() {
    let jobs = Jobs::new();
    job(&jobs, "shares_slurm", "", "");
    std::fs::create_dir(jobs.path("jobs")).unwrap();
    std::fs::copy(jobs.path("job.yaml"), jobs.path("jobs/job.yaml")).unwrap();
    std::fs::write(jobs.path("array.sh"), shown("#SBATCH --array=1-8")).unwrap();
    std::fs::write(
        jobs.path("one.sh"),
        shown("#SBATCH --job-name=milvusdm --nodes=1"),
    )
    .unwrap();
    let slurm = Slurm::start(&jobs);
    for script in ["array.sh", "one.sh"] {
        let said = slurm.shell(&jobs, &format!("sbatch --test-only {script}"));
        assert!(said.contains("to start at"), "{script}: {said}");
    }
    slurm.shell(&jobs, &shown("sbatch --dependency"));
    let began = Instant::now();
    while !slurm.shell(&jobs, "squeue --noheader").trim().is_empty() {
        let late = began.elapsed() > Duration::from_secs(300);
        assert!(!late, "{}", slurm.shell(&jobs, "cat slurm-*.out"));
        std::thread::sleep(Duration::from_millis(300));
    }
    let said = slurm.shell(&jobs, "cat slurm-*.out");
    for share in 1..=8 {
        let ended = format!("share {share} of 8 has finished");
        assert!(said.contains(&ended), "{ended}: {said}");
        assert!(jobs.path(&format!("jobs/report.{share}.json")).exists());
    }
    assert!(said.contains("done: 12000 rows"), "{said}");
    check_whole(&jobs, "shares_slurm");
}

#[test]
fn the_indexed_job_in_the_documentation_carries_a_job() {
    let jobs = Jobs::new();
    job(&jobs, "shares_pods", "", "");
    let text = shown("completionMode: Indexed");
    let all: Vec<serde_yaml::Value> = serde_yaml::Deserializer::from_str(&text)
        .map(|one| serde::Deserialize::deserialize(one).unwrap())
        .collect();
    let [indexed, last] = &all[..] else {
        panic!("two jobs are shown")
    };
    // Kubernetes' own schemas, in which an unknown key is a mistake.
    let validate = "import sys, yaml, kubernetes_validate as k\nfor job in yaml.safe_load_all(sys.argv[1]): \
                    print(job['kind'], k.validate(job, '1.31', strict=True))";
    let valid = run_python(validate, &[&text]);
    assert_eq!(valid.lines().count(), 2, "{valid}");
    let wrong = text.replace("backoffLimitPerIndex", "backOffLimitPerIndex");
    let refused = Command::new(python())
        .args(["-c", validate, &wrong])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert_eq!(indexed["kind"], "Job");
    let pods = indexed["spec"]["completions"].as_u64().unwrap();
    let run = |job: &serde_yaml::Value, variables: &[(&str, &str)]| {
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_sequence().unwrap().iter();
        let here = format!("{}/", jobs.0.path().display());
        let arguments: Vec<String> = arguments
            .map(|a| {
                a.as_str()
                    .unwrap()
                    .replace("/job/", &here)
                    .replace("/state/", &here)
            })
            .collect();
        let program = env!("CARGO_BIN_EXE_milvusdm");
        in_home(&jobs, Command::new(program).args(arguments), variables)
    };
    for pod in 0..pods {
        let said = run(indexed, &[("JOB_COMPLETION_INDEX", &pod.to_string())]);
        let expected = format!("share {} of {pods} has finished", pod + 1);
        assert!(
            said.contains(&expected) || said.contains("\"phase\""),
            "{said}"
        );
    }
    run(last, &[]);
    check_whole(&jobs, "shares_pods");
}
