//! A Milvus 1.x for tests: a stand-in server and the real client, both in Python, from the environment that
//! `tests/setup` makes. What it does wrong on demand stands in `server.py`.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

/// Ids and vectors of a partition, sorted.
pub type Rows = Vec<(i64, Vec<u8>)>;

/// The Python with pymilvus 1.1.2.
pub fn python() -> PathBuf {
    let given = std::env::var_os("MILVUSDM_TEST_ENV").map(PathBuf::from);
    let env = given.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache/milvusdm/test-env")
    });
    let python = env.join("v1/bin/python");
    assert!(
        python.exists(),
        "{} is missing: tests/setup installs it",
        python.display()
    );
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support/milvus1")
        .join(name)
}

/// A stand-in server. It ends when its standard input does, so with the test's process, however that ends.
pub struct StandIn {
    pub port: u16,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
}

impl StandIn {
    /// Starts one, with arguments of its script.
    pub fn start(arguments: &[&str]) -> StandIn {
        let mut child = Command::new(python())
            .arg(script("server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it speaks");
        let port = line.trim().strip_prefix("PORT ");
        StandIn {
            port: port
                .and_then(|p| p.parse().ok())
                .unwrap_or_else(|| panic!("it said {line:?}; is tests/setup up to date?")),
            talk: Mutex::new((input, output)),
            child,
        }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Orders something, by the script's words.
    pub fn order(&self, order: Value) -> Value {
        let mut talk = self.talk.lock().expect("no test panics with it locked");
        let (input, output) = &mut *talk;
        writeln!(input, "{order}").expect("it listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("it speaks");
        let mut answer: Value = serde_json::from_str(&line).expect("it speaks JSON");
        assert!(answer.get("error").is_none(), "{order}: {answer}");
        answer["ok"].take()
    }

    /// Makes the `nth` call from now of a method go wrong.
    pub fn fault(&self, call: &str, nth: u32, how: &str) {
        self.order(json!({"do": "fault", "call": call, "nth": nth, "how": how}));
    }

    /// What a collection holds, by partition; the default one is "".
    pub fn rows(&self, collection: &str) -> BTreeMap<String, Rows> {
        let found = self.order(json!({"do": "rows", "collection": collection}));
        let found = found
            .as_object()
            .unwrap_or_else(|| panic!("there is no collection {collection}"));
        let rows = |rows: &Value| {
            let rows = rows.as_array().expect("a list").iter();
            let mut rows: Rows = rows
                .map(|row| {
                    let id = row[0].as_str().and_then(|id| id.parse().ok());
                    let vector = row[1].as_str().map(unhex);
                    id.zip(vector).expect("an id and a vector")
                })
                .collect();
            rows.sort();
            rows
        };
        found
            .iter()
            .map(|(tag, all)| (tag.clone(), rows(all)))
            .collect()
    }

    /// The methods that were called, in order.
    pub fn calls(&self) -> Vec<String> {
        let calls = self.order(json!({"do": "calls"}));
        let calls = calls.as_array().expect("a list").iter();
        calls
            .map(|call| call[0].as_str().expect("a name").to_owned())
            .collect()
    }

    /// The raw requests of a method.
    pub fn requests(&self, call: &str) -> Vec<Vec<u8>> {
        let requests = self.order(json!({"do": "requests", "call": call}));
        let requests = requests.as_array().expect("a list").iter();
        requests
            .map(|raw| unhex(raw.as_str().expect("hex")))
            .collect()
    }

    /// Has the real client do something with this server.
    pub fn client(&self, verb: &str, question: Value) -> Value {
        client(&self.port.to_string(), verb, question)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has the real client do something.
pub fn client(port: &str, verb: &str, question: Value) -> Value {
    let mut child = Command::new(python())
        .arg(script("client.py"))
        .args([port, verb])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut input = child.stdin.take().expect("piped");
    input
        .write_all(question.to_string().as_bytes())
        .expect("it listens");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "the 1.x client, {verb}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("it speaks JSON")
}

/// Bytes as the scripts write them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).expect("ascii"), 16).expect("hex"))
        .collect()
}
