//! A real OpenSearch 2.19, as Maven Central has it.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{python, test_env};

/// One that runs. It ends when this process does: it reads a pipe that closes then.
pub struct OpenSearch {
    pub address: String,
    home: PathBuf,
    ports: [u16; 2],
    process: Child,
}

impl OpenSearch {
    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again on the same data and ports.
    pub fn start_again(&mut self) {
        self.process = begin(&self.home, self.ports);
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Starts one that holds nothing.
pub fn start() -> OpenSearch {
    let install = test_env().join("opensearch");
    assert!(
        install.join("installed").exists(),
        "tests/setup installs OpenSearch"
    );
    let home = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
    for name in ["config", "modules", "plugins", "tmp", "logs"] {
        std::fs::create_dir(home.join(name)).unwrap();
    }
    let ports = [free_port(), free_port()];
    OpenSearch {
        address: format!("http://127.0.0.1:{}", ports[0]),
        process: begin(home, ports),
        home: home.to_owned(),
        ports,
    }
}

fn begin(home: &Path, ports: [u16; 2]) -> Child {
    let install = test_env().join("opensearch");
    let classes = format!("{0}/classes:{0}/lib/*", install.display());
    let process = Command::new("java")
        .args([
            "-Xms512m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-Dio.netty.noUnsafe=true",
        ])
        .args([
            "-Dio.netty.noKeySetOptimization=true",
            "-Dlog4j2.disable.jmx=true",
        ])
        .arg(format!("-Djava.io.tmpdir={}", home.join("tmp").display()))
        .args(["-cp", &classes, "Launch"])
        .arg(home)
        .args(ports.map(|port| port.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(home.join("said")).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", ports[0])).is_err() {
        let said = std::fs::read_to_string(home.join("said")).unwrap_or_default();
        assert!(
            begun.elapsed() < Duration::from_secs(240),
            "OpenSearch does not start: {said}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    process
}

/// Runs tests/support/search.py: what it prints.
pub fn script(arguments: &[&str]) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/search.py");
    let output = Command::new(python()).arg(path).args(arguments).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
