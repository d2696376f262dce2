//! A real Chroma 1.5.9: tests/support/chroma.py, which says what else it does.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::test_env;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/chroma.py");

/// The Python that Chroma is installed in.
pub fn python() -> PathBuf {
    let python = test_env().join("chroma/bin/python");
    assert!(python.exists(), "tests/setup installs Chroma");
    python
}

/// Runs the script: what it prints.
pub fn script(arguments: &[&str]) -> String {
    let output = Command::new(python())
        .arg(SCRIPT)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A process of the script that prints its port; it ends when this is dropped, or the test's process ends.
pub struct Running {
    child: Child,
    pub address: String,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Running {
        let mut child = Command::new(python())
            .arg(SCRIPT)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("PORT=").expect("it says its port");
        Running {
            address: format!("http://127.0.0.1:{port}"),
            child,
        }
    }

    /// A server of this directory.
    pub fn serve(directory: &Path) -> Running {
        Running::start(&["serve", directory.to_str().unwrap()])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends its server when its input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The server that the tests of a binary share, with the collections of `make`.
pub fn shared() -> &'static Running {
    static SERVER: OnceLock<Running> = OnceLock::new();
    SERVER.get_or_init(|| {
        let directory = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        let server = Running::serve(directory);
        script(&["make", &server.address]);
        server
    })
}
