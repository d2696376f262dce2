//! A stand-in for Pinecone: tests/support/fake_pinecone.py, which says what it is.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::python;

/// One that runs; it ends when this is dropped, or the test's process ends.
pub struct Fake {
    child: Child,
    pub address: String,
}

impl Fake {
    /// Starts one of this kind, which asks for an API key if there is one.
    pub fn start(kind: &str, key: Option<&str>) -> Fake {
        assert!(
            python().exists(),
            "tests/setup installs what the tests need"
        );
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/fake_pinecone.py"
        );
        let mut child = Command::new(python())
            .args([script, "serve", kind])
            .args(key)
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

    /// The source of a job.
    pub fn source(&self, more: &str) -> String {
        format!(
            "source: {{pinecone: {{host: '{}', {more}}}}}\n",
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
