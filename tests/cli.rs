//! Mistakes that need no server: one sentence each that a tired person can act on, the right exit code, and nothing
//! left behind.

use std::path::Path;
use std::process::Command;

/// A flat L2 index of 2 × 4 zeros, as Faiss lays it out.
fn flat() -> Vec<u8> {
    let mut file = b"IxF2".to_vec();
    file.extend(4i32.to_le_bytes());
    file.extend(2i64.to_le_bytes());
    file.extend([1_048_576i64.to_le_bytes(); 2].concat());
    file.push(1);
    file.extend(1i32.to_le_bytes());
    file.extend(8u64.to_le_bytes());
    file.extend([0; 32]);
    file
}

fn check(directory: &Path, data: &str, key: &str, code: i32, expected: &str) {
    let job = format!(
        "F2M: {{{key}: {data}, dest_host: 127.0.0.1, dest_port: 1, dest_collection_name: c, mode: append}}"
    );
    std::fs::write(directory.join("job.yaml"), job).unwrap();
    let mut before: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
    let output = command
        .args(["run", "job.yaml"])
        .current_dir(directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "{said}\ndoes not say: {expected}");
    let mut after: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    before.sort();
    after.sort();
    assert_eq!(before, after, "something was left behind");
}

#[test]
fn mistakes_are_said_in_a_sentence_and_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("good.index"), flat()).unwrap();
    std::fs::write(path.join("cut.index"), &flat()[..60]).unwrap();
    std::fs::write(path.join("text.index"), "this is not an index").unwrap();
    check(
        path,
        "none.index",
        "data_path",
        2,
        "none.index: there is no such file",
    );
    check(
        path,
        "text.index",
        "data_path",
        3,
        "text.index: is no index of Faiss: it is text",
    );
    check(
        path,
        "cut.index",
        "data_path",
        3,
        "cut.index at byte 37: codes = 8 of 4 bytes each needs 32 bytes, 15 remain",
    );
    check(
        path,
        "good.index",
        "data_pth",
        2,
        "did you mean `data_path`?",
    );
    check(
        path,
        "good.index",
        "data_path",
        5,
        "the server cannot be reached: Connection refused",
    );
}

/// Runs a command in a directory: its exit code, standard output and standard error.
fn milvusdm(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
    let output = command
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn one_plan_names_every_mistake_of_job_source_and_destination() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let job = "source: {faiss: {path: none.index, ides: stored}}
sink: {milvus: {address: '127.0.0.1:1', collection: c, mode: apend, shards: 0}}
run: {patience: soon}
";
    std::fs::write(path.join("job.yaml"), job).unwrap();
    for command in ["plan", "run"] {
        let (code, out, said) = milvusdm(path, &[command, "job.yaml"]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 8, "{said}");
        assert_eq!(lines[0], "error: job.yaml: 6 mistakes");
        assert!(lines[1].contains("line 3: run.patience: `soon`"), "{said}");
        assert!(
            said.contains("source.faiss.ides: unknown key (did you mean `ids`?)"),
            "{said}"
        );
        assert!(
            said.contains("line 2: sink.milvus.mode: `apend` is not one of"),
            "{said}"
        );
        assert!(said.contains("sink.milvus.shards: `0`"), "{said}");
        assert!(
            lines[5].contains("none.index: there is no such file"),
            "{said}"
        );
        assert!(lines[6].contains("the server cannot be reached"), "{said}");
        assert!(
            lines[7].contains(
                "nothing more can be said about the source and what is at the destination"
            ),
            "{said}"
        );
    }
    let mended = job
        .replace("ides", "ids")
        .replace("apend", "append")
        .replace("shards: 0", "shards: 1");
    std::fs::write(path.join("job.yaml"), mended).unwrap();
    let (code, _, said) = milvusdm(path, &["plan", "job.yaml"]);
    assert_eq!(code, Some(2));
    for part in [
        "3 mistakes",
        "run.patience",
        "none.index: there is no such file",
        "the server cannot be reached",
    ] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    let (code, out, _) = milvusdm(path, &["plan", "job.yaml", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    let mistakes = told["error"]["mistakes"].as_array().unwrap();
    let codes: Vec<_> = mistakes
        .iter()
        .map(|m| m["exit_code"].as_u64().unwrap())
        .collect();
    assert_eq!((code, codes), (Some(2), vec![2, 2, 5]), "{told}");
    assert!(
        told["error"]["details"][0]
            .as_str()
            .unwrap()
            .contains("until this is mended")
    );
}

#[test]
fn a_directory_of_langchain_names_its_index_and_what_stays_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    std::fs::create_dir(&store).unwrap();
    std::fs::write(store.join("index.faiss"), flat()).unwrap();
    std::fs::write(store.join("index.pkl"), b"\x80\x04N.").unwrap();
    let job = |path: &str| {
        let job =
            format!("{{source: {{faiss: {{path: {path}}}}}, sink: {{hdf5: {{path: out.h5}}}}}}");
        std::fs::write(directory.path().join("job.yaml"), job).unwrap();
        milvusdm(directory.path(), &["plan", "job.yaml"])
    };
    for (code, _, said) in [
        job("store"),
        milvusdm(directory.path(), &["inspect", "store"]),
    ] {
        assert_eq!(code, Some(2), "{said}");
        for word in ["store/index.faiss", "index.pkl", "stay behind"] {
            assert!(said.contains(word), "{said}");
        }
    }
    let (code, shown, said) = job("store/index.faiss");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        format!("{shown}{said}").contains("stay behind"),
        "{shown}{said}"
    );
    let (code, _, said) = job("store/index.pkl");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("it is a Python pickle"), "{said}");
}

#[test]
fn where_the_folder_cannot_be_written_the_log_is_in_the_state_directory() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let directory = tempfile::tempdir().unwrap();
    let room = directory.path();
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let (jobs, home) = (room.join("jobs"), room.join("home"));
    std::fs::create_dir(&jobs).unwrap();
    std::fs::create_dir(&home).unwrap();
    mode(room, 0o755);
    // Anybody must be able to run it: the tests may be root's, whom no folder keeps out.
    let program = room.join("milvusdm");
    std::fs::copy(env!("CARGO_BIN_EXE_milvusdm"), &program).unwrap();
    let index = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faiss/ivf.index");
    std::fs::copy(index, home.join("a.index")).unwrap();
    let job = "source: {faiss: {path: '~/a.index'}}\nsink: {hdf5: {path: '~/out.h5'}}\n";
    std::fs::write(jobs.join("job.yaml"), job).unwrap();
    mode(&jobs, 0o555);
    mode(&home, 0o777);
    mode(&home.join("a.index"), 0o644);
    let run = |verb: &str| {
        let mut command = std::process::Command::new(&program);
        command.arg(verb).arg(jobs.join("job.yaml"));
        command.env("HOME", &home).env_remove("XDG_STATE_HOME");
        if rustix::process::geteuid().is_root() {
            command.uid(65534);
        }
        let output = command.current_dir("/").output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let state = home.join(".local/state/milvusdm");
    assert!(run("plan").contains("cannot be written"));
    assert!(!state.exists(), "plan changes nothing");
    assert!(run("run").contains("cannot be written"));
    let names = std::fs::read_dir(&state).unwrap();
    let names: Vec<String> = names
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .any(|n| n.starts_with("job.yaml-") && n.ends_with(".ckpt")),
        "{names:?}"
    );
    assert!(run("run").contains("nothing to do"));
    mode(&jobs, 0o755);
}
