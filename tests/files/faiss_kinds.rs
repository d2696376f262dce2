//! Every kind of file that Faiss makes, carried to HDF5 and compared, row for row, with what Faiss was given.
//!
//! `tests/support/faiss_kinds.py` writes the files with Faiss itself and says what must come of each;
//! `tests/support/compare_h5.py` reads the results with h5py. Between them stands only the program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// No case has more than a few thousand rows: a run that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_kind_of_faiss_index_arrives_as_it_was_given() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    check(dir.path(), &[]);
}

/// `MILVUSDM_SEED=7 cargo test --test files -- --ignored faiss_kinds::`: other shapes, sizes, ids for another seed.
#[test]
#[ignore = "for as long as one likes, seed after seed"]
fn random_faiss_indexes_arrive_as_they_were_given() {
    let seed = std::env::var("MILVUSDM_SEED").unwrap_or_else(|_| "1".to_owned());
    let count = std::env::var("MILVUSDM_CASES").unwrap_or_else(|_| "100".to_owned());
    let dir = tempfile::tempdir().expect("a temporary directory");
    check(dir.path(), &["--seed", &seed, "--random", &count]);
}

/// `MILVUSDM_SEED=7 cargo test --test files -- --ignored faiss_kinds::`: copies that end early or have one bit turned over.
#[test]
#[ignore = "for as long as one likes, seed after seed"]
fn damaged_copies_are_refused_or_carried_but_nothing_else() {
    let seed = std::env::var("MILVUSDM_SEED").unwrap_or_else(|_| "1".to_owned());
    let mut random = seed.parse().expect("MILVUSDM_SEED is a number");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kit = dir.path().join("kit");
    let cases = make(&kit, &python(), &["--seed", &seed]);
    let mut failed = Vec::new();
    for case in cases.iter().filter(|c| c["exit"] == json!([0])) {
        let name = text(&case["name"]);
        let path = kit.join(text(&case["file"]));
        let whole = fs::read(&path).expect("the generator wrote it");
        for copy in 0..4 {
            let mut bytes = whole.clone();
            // What is damaged lies where the structure is, more often than not: at the start.
            let reach = if copy % 2 == 0 { 400 } else { usize::MAX };
            let at = pick(&mut random, bytes.len().min(reach));
            let cut = copy < 2;
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << pick(&mut random, 8);
            }
            fs::write(&path, bytes).expect("it can be written again");
            let home = dir.path().join(format!("{name}-{copy}"));
            fs::create_dir(&home).expect("names of cases are distinct");
            let mut source = case["source"].as_object().cloned().unwrap_or_default();
            source.insert("path".into(), json!(path));
            source.insert("lossy".into(), json!("allow"));
            let sink = json!({"hdf5": {"path": home.join("out.h5")}});
            let job = json!({"source": {"faiss": source}, "sink": sink});
            fs::write(home.join("job.yaml"), job.to_string()).expect("the job can be written");
            let result = milvusdm(&home);
            let good = match &result {
                Ok((code, said)) => {
                    !said.contains("panicked") && (*code == 3 || !cut && [0, 2].contains(code))
                }
                Err(_) => false,
            };
            if !good {
                let deed = if cut { "cut" } else { "bit turned over" };
                failed.push(format!("{name}: {deed} at {at}: {result:?}"));
            }
            fs::remove_dir_all(&home).expect("it can be removed");
        }
    }
    let count = failed.len();
    assert!(
        failed.is_empty(),
        "{count} with seed {seed}:\n{}",
        failed.join("\n")
    );
}

/// A number below `end`, by splitmix64.
fn pick(random: &mut u64, end: usize) -> usize {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *random;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) % end as u64) as usize
}

/// How a case is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// As it stands.
    Plain,
    /// Read instead of mapped, in the smallest batches, which cut lists anywhere.
    SmallReads,
    /// The ids that are stored are not wanted.
    RowNumbers,
    /// A lossy kind, loss not allowed.
    NoLoss,
}

/// A case as `cases.json` has it, run in one way.
struct Run<'c> {
    case: &'c Value,
    way: Way,
}

fn check(dir: &Path, args: &[&str]) {
    let python = python();
    let kit = dir.join("kit");
    let cases = make(&kit, &python, args);
    let runs: Vec<Run> = cases.iter().flat_map(ways).collect();
    let (next, failed, pairs) = (
        AtomicUsize::new(0),
        Mutex::new(Vec::new()),
        Mutex::new(Vec::new()),
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match carry(dir, &kit, run) {
                        Ok(Some(pair)) => pairs.lock().unwrap().push(pair),
                        Ok(None) => {}
                        Err(what) => failed
                            .lock()
                            .unwrap()
                            .push(format!("{}: {what}", label(run))),
                    }
                }
            });
        }
    });
    let (mut failed, pairs) = (failed.into_inner().unwrap(), pairs.into_inner().unwrap());
    failed.extend(differences(dir, &python, &pairs));
    failed.sort();
    assert!(
        failed.is_empty(),
        "{} of {} runs of {} cases ({}) went wrong:\n{}",
        failed.len(),
        runs.len(),
        cases.len(),
        args.join(" "),
        failed.join("\n")
    );
}

/// Has the cases made.
fn make(kit: &Path, python: &Path, args: &[&str]) -> Vec<Value> {
    let mut generator = Command::new(python);
    generator.arg(support("faiss_kinds.py")).arg(kit).args(args);
    let made = generator.output().expect("python starts");
    let said = String::from_utf8_lossy(&made.stderr);
    let status = made.status;
    assert!(
        status.success(),
        "the cases could not be made: {status}: {said}"
    );
    let text = fs::read_to_string(kit.join("cases.json")).expect("the generator wrote cases.json");
    let list: Value = serde_json::from_str(&text).expect("cases.json is JSON");
    let cases = list["cases"].as_array().expect("cases.json has cases");
    assert!(!cases.is_empty(), "no cases were made");
    cases.clone()
}

/// The ways a case is run.
fn ways(case: &Value) -> Vec<Run<'_>> {
    let mut ways = vec![Way::Plain];
    if case["exit"] == json!([0]) {
        ways.push(Way::SmallReads);
    }
    if case["row_numbers"] == true {
        ways.push(Way::RowNumbers);
    }
    if case["lossy"] == "yes" {
        ways.push(Way::NoLoss);
    }
    ways.into_iter().map(|way| Run { case, way }).collect()
}

fn label(run: &Run) -> String {
    format!("{} ({:?})", text(&run.case["name"]), run.way)
}

/// Runs the program; what is to be compared, nothing where it rightly refused, or what was wrong.
fn carry(dir: &Path, kit: &Path, run: &Run) -> Result<Option<Value>, String> {
    let name = text(&run.case["name"]);
    let home = dir.join(format!("{name}-{:?}", run.way));
    fs::create_dir(&home).expect("names of cases are distinct");
    let mut source = run.case["source"].as_object().cloned().unwrap_or_default();
    source.insert("path".into(), json!(kit.join(text(&run.case["file"]))));
    if run.case["lossy"] == "yes" && run.way != Way::NoLoss {
        source.insert("lossy".into(), json!("allow"));
    }
    let mut settings = json!({"checkpoint": home.join("job.ckpt")});
    match run.way {
        Way::SmallReads => {
            source.insert("access".into(), json!("read"));
            settings["batch"] = json!("4KiB");
        }
        Way::RowNumbers => {
            source.insert("ids".into(), json!("row_number"));
        }
        Way::Plain | Way::NoLoss => {}
    }
    let h5 = home.join("out.h5");
    let job = json!({"source": {"faiss": source}, "sink": {"hdf5": {"path": h5}}, "run": settings});
    // JSON is YAML.
    fs::write(home.join("job.yaml"), job.to_string()).expect("the job can be written");

    let (code, said) = milvusdm(&home)?;
    if said.contains("panicked") {
        return Err(format!("exit {code}: {said}"));
    }
    let expected: Vec<i64> = match run.way {
        Way::NoLoss => vec![3],
        _ => numbers(&run.case["exit"]),
    };
    let refused_well = code == 3 && run.case["may_refuse"] == true;
    if !expected.contains(&code) && !refused_well {
        return Err(format!("exit {code}, expected {expected:?}: {said}"));
    }
    let lower = said.to_lowercase();
    let lists = |key: &str| run.case[key].as_array().into_iter().flatten().map(text);
    if let Some(wrong) = lists("never_says").find(|w| lower.contains(&w.to_lowercase())) {
        return Err(format!("it says `{wrong}`: {said}"));
    }
    if code == 0 {
        if let Some(missing) = lists("warns").find(|w| !lower.contains(&w.to_lowercase())) {
            return Err(format!("no warning has `{missing}`: {said}"));
        }
        return Ok(Some(json!({
            "label": label(run),
            "h5": h5,
            "vectors": kit.join(format!("{name}.vectors.npy")),
            "ids": kit.join(format!("{name}.ids.npy")),
            "tolerance": run.case["tolerance"],
            "order": run.case["order"],
            "metric": run.case["metric"],
            "row_numbers": run.way == Way::RowNumbers,
        })));
    }
    if h5.exists() {
        return Err(format!("exit {code}, but the target was made"));
    }
    let mut wanted: Vec<&str> = lists("says").collect();
    if run.way == Way::NoLoss && !refused_well {
        wanted.push("lossy: allow");
    }
    match wanted.iter().find(|w| !lower.contains(&w.to_lowercase())) {
        Some(missing) => Err(format!("the message has no `{missing}`: {said}")),
        None => Ok(None),
    }
}

/// Runs the job that is in this directory. Its exit code, and what it said.
fn milvusdm(home: &Path) -> Result<(i64, String), String> {
    let said = home.join("stderr");
    let stderr = File::create(&said).expect("a file can be made");
    // Nothing here needs memory: a length in a damaged file must not be believed.
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "none"])
        .current_dir(home)
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("the program starts");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
            return Err(format!("still running after {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let said = String::from_utf8_lossy(&fs::read(said).expect("it can be read")).into_owned();
    match status.code() {
        Some(code) => Ok((code.into(), said)),
        None => Err(format!("{status}: {said}")),
    }
}

/// Which of the files are not as expected, and how.
fn differences(dir: &Path, python: &Path, pairs: &[Value]) -> Vec<String> {
    let list = dir.join("pairs.json");
    fs::write(&list, json!(pairs).to_string()).expect("the list can be written");
    let mut comparator = Command::new(python);
    comparator.arg(support("compare_h5.py")).arg(list);
    let found = comparator.output().expect("python starts");
    let said = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "nothing was compared: {said}");
    let lines = String::from_utf8_lossy(&found.stdout).into_owned();
    lines.lines().map(|l| l.replace('\t', ": ")).collect()
}

/// The Python of the test environment, which has Faiss and h5py.
fn python() -> PathBuf {
    let env = std::env::var_os("MILVUSDM_TEST_ENV").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(".cache/milvusdm/test-env")
        },
        PathBuf::from,
    );
    let python = env.join("ms/venv/bin/python");
    assert!(
        python.exists(),
        "{} does not exist: run `tests/setup`, which makes the test environment (or set MILVUSDM_TEST_ENV)",
        python.display()
    );
    python
}

fn support(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support")
        .join(script)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn numbers(value: &Value) -> Vec<i64> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_i64).collect()
}
