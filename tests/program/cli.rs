//! Mistakes that need no server: one sentence each that a tired person can act on, the right exit code, and nothing
//! left behind.

use crate::support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use support::milvusdm;

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
        "text.index: is not a Faiss index: it is text",
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
                "nothing more can be checked about the source and what is at the destination"
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
            .contains("until this is fixed")
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
        for word in ["store/index.faiss", "index.pkl", "left out"] {
            assert!(said.contains(word), "{said}");
        }
    }
    let (code, shown, said) = job("store/index.faiss");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        format!("{shown}{said}").contains("left out"),
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
    // Copied by another process: while this one has a file open for writing, its children have it open, too, and the file
    // cannot be run.
    let copied = std::process::Command::new("cp")
        .args([Path::new(env!("CARGO_BIN_EXE_milvusdm")), &program])
        .status();
    assert!(copied.unwrap().success());
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

/// The output of a program, if there is such a program here.
fn output_of(program: &str, arguments: &[&str]) -> Option<std::process::Output> {
    Command::new(program).args(arguments).output().ok()
}

#[test]
fn no_arguments_are_a_question_for_help() {
    let (code, out, said) = milvusdm(Path::new("/"), &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    for part in ["Usage: milvusdm", "run ", "plan ", "init "] {
        assert!(said.contains(part), "no {part}: {said}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_can_read() {
    let room = tempfile::tempdir().unwrap();
    for (shell, check) in [
        ("bash", &["-n"][..]),
        ("zsh", &["-n"]),
        ("fish", &["--no-execute"]),
        ("elvish", &["-compileonly"]),
        ("powershell", &[]),
    ] {
        let (code, script, said) = milvusdm(room.path(), &["completions", shell]);
        assert_eq!(code, Some(0), "{said}");
        for word in ["verify", "init", "progress"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("look-at-hdf5"), "{shell}");
        let file = room.path().join(shell);
        std::fs::write(&file, &script).unwrap();
        let arguments = [check, &[file.to_str().unwrap()]].concat();
        if let Some(output) = output_of(shell, &arguments).filter(|_| !check.is_empty()) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{shell}: {said}");
        }
    }
    // bash completes a command and a kind of source by it.
    let script = room.path().join("bash");
    let ask = format!(
        "source {} && COMP_WORDS=(milvusdm init fa) && COMP_CWORD=2 && _milvusdm milvusdm fa init && echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let output = output_of("bash", &["-c", &ask]).expect("the tests have bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("faiss"), "{output:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let (_, help, _) = milvusdm(Path::new("/"), &["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let commands: Vec<&str> = commands
        .filter(names)
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 9, "{commands:?}");
    let room = tempfile::tempdir().unwrap();
    let pages = commands.iter().filter(|command| **command != "help");
    for command in pages.map(|command| Some(*command)).chain([None]) {
        let arguments: Vec<&str> = ["man"].into_iter().chain(command).collect();
        let (code, page, said) = milvusdm(room.path(), &arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(page.contains(".TH milvusdm"), "{page}");
        assert!(
            page.contains(".SH SYNOPSIS") && page.contains("\\-\\-log"),
            "{page}"
        );
        let file = room.path().join("page.1");
        std::fs::write(&file, &page).unwrap();
        let arguments = ["-man", "-Tascii", "-ww", file.to_str().unwrap()];
        if let Some(output) = output_of("groff", &arguments) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{command:?}: {said}"
            );
        }
    }
    let (code, _, said) = milvusdm(room.path(), &["man", "rin"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("did you mean `run`?"), "{said}");
}

const TO_HDF5: &str = "source: {faiss: {path: a.index}}\nsink: {hdf5: {path: out.h5}}\n";

#[test]
fn what_the_command_line_says_of_a_job_is_part_of_its_meaning() {
    let directory = tempfile::tempdir().unwrap();
    let room = directory.path();
    std::fs::write(room.join("a.index"), flat()).unwrap();
    std::fs::write(room.join("job.yaml"), TO_HDF5).unwrap();
    let (code, planned, said) =
        milvusdm(room, &["plan", "job.yaml", "--set", "sink.hdf5.path=b.h5"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        planned.contains("b.h5") && !planned.contains("out.h5"),
        "{planned}"
    );
    let dry = [
        "run",
        "--dry-run",
        "job.yaml",
        "--set",
        "sink.hdf5.path=b.h5",
    ];
    assert_eq!(milvusdm(room, &dry).1, planned, "a dry run is a plan");
    let dry = [
        "--yaml",
        "job.yaml",
        "--dry-run",
        "--set",
        "sink.hdf5.path=b.h5",
    ];
    assert_eq!(milvusdm(room, &dry).1, planned, "in the old spelling, too");
    assert_eq!(
        std::fs::read_dir(room).unwrap().count(),
        2,
        "a plan changes nothing"
    );
    for path in ["b.h5", "c.h5"] {
        let set = format!("sink.hdf5.path={path}");
        let (code, _, said) = milvusdm(room, &["run", "job.yaml", "--set", &set]);
        assert_eq!(code, Some(0), "{said}");
        assert!(room.join(path).exists());
        let (code, out, said) = milvusdm(room, &["run", "job.yaml", "--set", &set]);
        assert_eq!(code, Some(0), "{said}");
        assert!(out.contains("nothing to do"), "{out}");
        let (code, _, said) = milvusdm(room, &["verify", "job.yaml", "--set", &set]);
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, _, said) = milvusdm(room, &["plan", "job.yaml", "--set", "sink.hdf5.mod=skip"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("--set: sink.hdf5.mod: unknown key (did you mean `mode`?)")
            || said.contains("--set: sink.hdf5.mod: unknown key"),
        "{said}"
    );
    let (code, _, said) = milvusdm(room, &["plan", "job.yaml", "--set", "sink.hdf5.mode"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("KEY=VALUE"), "{said}");
}

/// A command that reads its job from standard input: its exit code and all that it says.
fn through_stdin(
    room: &Path,
    home: Option<&Path>,
    arguments: &[&str],
    job: &str,
) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
    command.args(arguments).current_dir(room);
    command.env_remove("HOME").env_remove("XDG_STATE_HOME");
    if let Some(home) = home {
        command.env("HOME", home);
    }
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(job.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_job_may_come_through_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let (room, home) = (directory.path().join("room"), directory.path().join("home"));
    std::fs::create_dir_all(&room).unwrap();
    std::fs::write(room.join("a.index"), flat()).unwrap();
    let state = home.join(".local/state/milvusdm/stdin-");
    let place = state.to_str().unwrap();
    let (code, said) = through_stdin(&room, Some(&home), &["plan", "-"], TO_HDF5);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(place) && said.contains("recognised by its text"),
        "{said}"
    );
    for told in ["done: 2 rows", "nothing to do"] {
        let (code, said) = through_stdin(&room, Some(&home), &["run", "-"], TO_HDF5);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(told), "{said}");
    }
    let (code, said) = through_stdin(&room, Some(&home), &["verify", "-"], TO_HDF5);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        std::fs::read_dir(&room).unwrap().count(),
        2,
        "no checkpoint beside the data"
    );
    let (code, said) = through_stdin(&room, None, &["run", "-"], TO_HDF5);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("run.checkpoint: is missing"), "{said}");
    let set = [
        "run",
        "-",
        "--set",
        "run.checkpoint=j.ckpt",
        "--set",
        "sink.hdf5.path=b.h5",
    ];
    let (code, said) = through_stdin(&room, None, &set, TO_HDF5);
    assert_eq!(code, Some(0), "{said}");
    assert!(room.join("j.ckpt").exists() && room.join("b.h5").exists());
    let (code, said) = through_stdin(&room, Some(&home), &["plan", "-"], "sink: [");
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn a_file_of_another_kind_is_named_for_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).unwrap();
    let elf = std::fs::read(env!("CARGO_BIN_EXE_milvusdm")).unwrap();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let odd = [0xfe, 0xff, 3, 1].repeat(300);
    for (name, bytes, expected) in [
        (
            "elf.parquet",
            &elf[..4096],
            "is not a Parquet file: it is a program or library of Linux (ELF)",
        ),
        (
            "png.parquet",
            png,
            "is not a Parquet file: it is a PNG image",
        ),
        (
            "hdf5.parquet",
            b"\x89HDF\r\n\x1a\n\0\0\0\0",
            "is not a Parquet file: it is an HDF5 file",
        ),
        (
            "faiss.parquet",
            &flat(),
            "is not a Parquet file: it is a Faiss index",
        ),
        (
            "odd.parquet",
            &odd,
            "is not a Parquet file: it does not begin with PAR1",
        ),
        ("empty.parquet", b"", "the file is empty: 0 bytes"),
    ] {
        write(name, bytes);
        let job =
            format!("source: {{parquet: {{path: {name}}}}}\nsink: {{hdf5: {{path: out.h5}}}}\n");
        std::fs::write(path.join("job.yaml"), job).unwrap();
        for command in ["plan", "run"] {
            let (code, _, said) = milvusdm(path, &[command, "job.yaml"]);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }
    // Of a name that says nothing, `inspect` does not expect an index.
    for (name, bytes, expected) in [
        (
            "elf.parquet",
            &elf[..4096],
            "is not a Parquet file: it is a program or library of Linux (ELF)",
        ),
        (
            "elf.h5",
            &elf[..4096],
            "is not an HDF5 file: it is a program",
        ),
        (
            "elf",
            &elf[..4096],
            "is not a file that `inspect` reads: it is a program",
        ),
        (
            "odd.parquet",
            &odd,
            "is not a Parquet file: it does not begin like any known kind of file",
        ),
        (
            "odd",
            &odd,
            "is not a file that `inspect` reads: it does not begin like any known kind of file",
        ),
        (
            "odd.index",
            &odd,
            "expected the four characters of a kind of index of Faiss",
        ),
        ("text.faiss", b"text", "is not a Faiss index: it is text"),
        (
            "text",
            b"Indeed a text",
            "is not a file that `inspect` reads: it is text",
        ),
        (
            "part",
            b"PcamXXXX",
            "is not a Faiss index: it is a transform alone",
        ),
        (
            "cut",
            &flat()[..60],
            "codes = 8 of 4 bytes each needs 32 bytes",
        ),
    ] {
        write(name, bytes);
        let (code, _, said) = milvusdm(path, &["inspect", name]);
        assert_eq!(code, Some(3), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
    }
    let (_, _, said) = milvusdm(path, &["inspect", "odd"]);
    assert!(
        said.contains("`inspect` reads indexes of Faiss, HDF5, Parquet"),
        "{said}"
    );
    // In a directory it is one line among those of the others.
    std::fs::create_dir(path.join("several")).unwrap();
    write("several/elf.parquet", &elf[..4096]);
    let (code, shown, said) = milvusdm(path, &["inspect", "several"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        shown.contains("it is a program or library of Linux (ELF)"),
        "{shown}"
    );
}
