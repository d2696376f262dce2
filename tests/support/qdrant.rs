//! A stand-in for a Qdrant server: tests/support/fake_qdrant.py, which says what it is.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::python;

/// One that runs; it ends when this is dropped, or the test's process ends.
pub struct Fake {
    child: Child,
    pub address: String,
}

impl Fake {
    /// Starts one, which asks for an API key if there is one.
    pub fn start(key: Option<&str>) -> Fake {
        Fake::serve(key)
    }

    /// Starts one with one collection alone.
    pub fn of(collection: &str) -> Fake {
        Fake::serve(["", collection])
    }

    fn serve<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Fake {
        assert!(
            python().exists(),
            "tests/setup installs what the tests need"
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fake_qdrant.py");
        let mut child = Command::new(python())
            .args([script, "serve"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("PORT=").expect("it says its port");
        Fake {
            address: format!("http://127.0.0.1:{port}"),
            child,
        }
    }

    /// The one that the tests of a binary share.
    pub fn shared() -> &'static Fake {
        static FAKE: OnceLock<Fake> = OnceLock::new();
        FAKE.get_or_init(|| Fake::start(None))
    }

    /// The source of a job.
    pub fn source(&self, more: &str) -> String {
        format!(
            "source: {{qdrant: {{address: '{}', {more}}}}}\n",
            self.address
        )
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
