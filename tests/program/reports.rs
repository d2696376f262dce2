//! Reports as pages: well-formed, self-contained, with every name in its place, and shown by a real Chromium.

#[allow(unused)]
use crate::support;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A name that would leave any place where text is not escaped.
const EVIL: &str = "<script>document.title='stolen'<&\"'>.index";

fn milvusdm(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
    let output = command
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

const ROWS: usize = 4000;

/// A flat index of 16 dimensions, as Faiss lays it out.
fn index() -> Vec<u8> {
    let mut file = b"IxF2".to_vec();
    file.extend(16i32.to_le_bytes());
    file.extend((ROWS as i64).to_le_bytes());
    file.extend([1_048_576i64.to_le_bytes(); 2].concat());
    file.push(1);
    file.extend(1i32.to_le_bytes());
    file.extend((ROWS as u64 * 16).to_le_bytes());
    file.extend((0..ROWS * 16).flat_map(|n| (n as f32).to_le_bytes()));
    file
}

/// A job with an evil name, carried; and the page of its report.
fn carried(room: &Path) -> PathBuf {
    std::fs::write(room.join(EVIL), index()).unwrap();
    let job = serde_json::json!({
        "source": {"faiss": {"path": EVIL}},
        "sink": {"hdf5": {"path": format!("{EVIL}.h5")}},
        // So that there are several batches, and a while between them.
        "run": {"batch": "4KiB", "max_rows_per_s": 4000},
    });
    std::fs::write(room.join("job.yaml"), job.to_string()).unwrap();
    let (code, said) = milvusdm(room, &["run", "job.yaml", "--report", "report.html"]);
    assert_eq!(code, Some(0), "{said}");
    room.join("report.html")
}

/// Reads a page as XML, and says what is in it: elements and text, as JSON.
const LOOK: &str = r#"
import json, sys, xml.etree.ElementTree as tree
text = open(sys.argv[1], encoding="utf-8").read()
assert text.startswith("<!DOCTYPE html>"), text[:40]
root = tree.fromstring(text)
names, words = {}, []
for element in root.iter():
    name = element.tag.rsplit("}", 1)[-1]
    names[name] = names.get(name, 0) + 1
    words += [element.text or "", element.tail or ""]
    for key, value in element.attrib.items():
        assert not key.startswith("on") and key not in ("href", "src", "srcset", "action"), (key, value)
print(json.dumps({"names": names, "text": "\n".join(words)}))
"#;

fn look(page: &Path) -> serde_json::Value {
    let mut python = Command::new(support::python());
    let output = python.args(["-c", LOOK]).arg(page).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_page_is_well_formed_and_no_name_leaves_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let page = carried(directory.path());
    let seen = look(&page);
    for name in ["script", "link", "img", "iframe", "object", "form", "a"] {
        assert!(seen["names"][name].is_null(), "{name}: {seen}");
    }
    assert_eq!(seen["names"]["svg"], 2, "rates and phases: {seen}");
    assert_eq!(seen["names"]["polyline"], 1);
    let text = seen["text"].as_str().unwrap();
    for part in [
        EVIL,
        "Summary",
        "Rows a second",
        "Phases",
        "sending",
        "Targets and verification",
        "agrees",
        "requests put off",
    ] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    let css = std::fs::read_to_string(&page).unwrap();
    assert!(!css.contains("url(") && !css.contains("@import"));
    // It fetches nothing: the one address in it is the name of a vocabulary.
    assert_eq!(
        css.matches("://").count(),
        css.matches("http://www.w3.org/2000/svg").count()
    );
}

#[test]
fn a_page_tells_what_failed_and_what_a_verification_found() {
    let directory = tempfile::tempdir().unwrap();
    let room = directory.path();
    carried(room);
    let verify = ["verify", "job.yaml", "--report", "verify.HTML"];
    let (code, said) = milvusdm(room, &verify);
    assert_eq!(code, Some(0), "{said}");
    let text = look(&room.join("verify.HTML"))["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains("agrees: job.yaml") && text.contains("full content of"),
        "{text}"
    );
    // A byte of a vector is turned over.
    let file = room.join(format!("{EVIL}.h5"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(milvusdm(room, &verify).0, Some(5));
    let text = look(&room.join("verify.HTML"))["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains("differs: job.yaml") && text.contains("DIFFERS"),
        "{text}"
    );
    // The JSON report is what it was.
    let (code, said) = milvusdm(room, &["run", "job.yaml", "--report", "r.json"]);
    assert!(code.is_some(), "{said}");
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(room.join("r.json")).unwrap()).unwrap();
    assert!(
        json["targets"].is_array() && json["course"].is_null(),
        "{json}"
    );
}

#[test]
fn chromium_shows_the_page_and_runs_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let page = carried(directory.path());
    let chromium = |arguments: &[&str]| {
        let mut command = Command::new("chromium");
        // The tests may be root's, and may have little shared memory.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]);
        command.arg(format!(
            "--user-data-dir={}",
            directory.path().join("profile").display()
        ));
        command.env("HOME", directory.path());
        command
            .args(arguments)
            .arg(format!("file://{}", page.display()));
        let output = command.output();
        let output = output.expect("chromium is here: tests/setup installs it");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    let shown = String::from_utf8(chromium(&["--dump-dom"])).unwrap();
    assert!(
        shown.contains("<title>milvusdm: done: job.yaml</title>"),
        "{shown}"
    );
    assert!(
        shown.contains("&lt;script&gt;document.title=") && !shown.contains("<script"),
        "{shown}"
    );
    let picture = directory.path().join("page.png");
    chromium(&[
        "--window-size=1000,1400",
        &format!("--screenshot={}", picture.display()),
    ]);
    let png = std::fs::read(&picture).unwrap();
    assert!(
        png.starts_with(b"\x89PNG") && png.len() > 20_000,
        "{} bytes",
        png.len()
    );
    if let Some(wanted) = std::env::var_os("MILVUSDM_SCREENSHOT") {
        std::fs::copy(&picture, wanted).unwrap();
    }
}
