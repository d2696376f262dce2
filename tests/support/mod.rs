//! Servers for tests, and what tests have in common. Starts only what a test asks for, and stops only that.

#![allow(dead_code, clippy::print_stderr)] // Each test binary uses its own part of it.

pub mod arrived;
pub mod away;
pub mod chroma;
pub mod faiss;
pub mod fake_milvus;
pub mod gateway;
pub mod killed;
pub mod largest;
pub mod migration;
pub mod milvus1;
pub mod milvus1_files;
pub mod milvus2x;
pub mod new_job;
pub mod opensearch;
pub mod pinecone;
pub mod pty;
pub mod qdrant;
pub mod random;
pub mod rest_import;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use milvusdm::batch::{Batch, BatchId, Keys, Part, Position, Target, TargetName};
use milvusdm::job::{Form, Job};
use milvusdm::schema::{Columns, VectorType};
use milvusdm::sink::milvus::KIND;
use milvusdm::sink::{Finishing, Sink};
use tempfile::TempDir;

/// Where `tests/setup` installed servers: `$MILVUSDM_TEST_ENV`, else `~/.cache/milvusdm/test-env`.
pub fn test_env() -> PathBuf {
    let given = std::env::var_os("MILVUSDM_TEST_ENV").map(PathBuf::from);
    given.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache/milvusdm/test-env")
    })
}

/// A Python with pymilvus 2.3.8, numpy and h5py.
pub fn python() -> PathBuf {
    test_env().join("ms/venv/bin/python")
}

/// Runs a script of `tests/support` with pyarrow, pandas, polars and DuckDB, and returns what it printed.
pub fn tables(script: &str, arguments: &[&str]) -> String {
    run_script(&test_env().join("tables/bin/python"), script, arguments)
}

/// Runs a script of `tests/support` with this Python, and returns what it printed.
pub fn run_script(python: &Path, script: &str, arguments: &[&str]) -> String {
    assert!(
        python.exists(),
        "{} is not there: tests/setup installs it",
        python.display()
    );
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let output = Command::new(python)
        .arg(scripts.join(script))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Which server to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Milvus 2.3.5 standalone.
    Standalone,
    /// Milvus Lite 3.2.2.
    LitePython,
    /// Milvus Lite 2.5.1.
    LiteCpp,
    /// PostgreSQL 18.6 with pgvector 0.8.6.
    Postgres,
    /// SeaweedFS 4.48, which speaks S3; user and secret are `minioadmin`.
    SeaweedFs,
}

impl Engine {
    fn script(self) -> PathBuf {
        let name = match self {
            Engine::Standalone => "milvus-standalone",
            Engine::Postgres => "postgres",
            Engine::SeaweedFs => "seaweedfs",
            _ => "milvus-lite",
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/support")
            .join(name)
    }

    fn install(self) -> PathBuf {
        test_env().join(match self {
            Engine::Standalone => "ms",
            Engine::Postgres => "pg",
            Engine::SeaweedFs => "seaweedfs",
            _ => "lite",
        })
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Engine::Standalone | Engine::Postgres | Engine::SeaweedFs => &[],
            Engine::LitePython => &["--engine", "py"],
            Engine::LiteCpp => &["--engine", "cpp"],
        }
    }
}

/// A server of our own. It ends, and its data goes, when this is dropped or the test's process ends, however
/// that happens: a watcher reads a pipe that closes then.
pub struct Server {
    engine: Engine,
    data: PathBuf,
    port: u16,
    arguments: Vec<String>,
    watcher: Option<Child>,
    _directory: TempDir,
}

impl Server {
    /// Starts one, with further arguments of its script, and waits until it is ready.
    pub fn start(engine: Engine, arguments: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // The C++ engine of Milvus Lite allows only short plain names.
        let data = directory.path().join("data");
        let mut server = Server {
            engine,
            data,
            port: 0,
            arguments: arguments.iter().map(|a| a.to_string()).collect(),
            watcher: None,
            _directory: directory,
        };
        server.watcher = Some(server.watch());
        server.port = server.begin(0);
        server
    }

    /// The server that tests of this binary share.
    pub fn shared(engine: Engine) -> &'static Server {
        static STANDALONE: OnceLock<Server> = OnceLock::new();
        static PYTHON: OnceLock<Server> = OnceLock::new();
        static CPP: OnceLock<Server> = OnceLock::new();
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        static SEAWEEDFS: OnceLock<Server> = OnceLock::new();
        let cell = match engine {
            Engine::Standalone => &STANDALONE,
            Engine::LitePython => &PYTHON,
            Engine::LiteCpp => &CPP,
            Engine::Postgres => &POSTGRES,
            Engine::SeaweedFs => &SEAWEEDFS,
        };
        cell.get_or_init(|| Server::start(engine, &[]))
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Of a Postgres: the URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://postgres:secret@{}/postgres", self.address())
    }

    /// Of a Postgres: runs statements, and gives what psql prints of them.
    pub fn sql(&self, statements: &str) -> String {
        let note = std::fs::read_to_string(self.data.join("place")).expect("it was started");
        let bin = note.lines().last().expect("it has a line");
        let output = Command::new(Path::new(bin).join("psql"))
            .args([
                &self.url(),
                "-qAtX",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statements,
            ])
            .output()
            .expect("psql runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {said}");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// The directory that it keeps its data in.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Stops it in good order; [`Server::start_again`] starts it.
    pub fn stop(&self) {
        self.script("stop", &[]);
    }

    /// Kills it, as a power cut would.
    pub fn kill(&self) {
        self.script("kill", &[]);
    }

    /// Starts it again on the same data and port.
    pub fn start_again(&self) {
        assert_eq!(self.begin(self.port), self.port);
    }

    fn begin(&self, port: u16) -> u16 {
        let port = port.to_string();
        let install = self.engine.install();
        let install = install.to_string_lossy();
        let mut arguments = vec!["--install", &install, "--port", &port];
        arguments.extend(self.engine.arguments());
        arguments.extend(self.arguments.iter().map(String::as_str));
        let said = self.script("start", &arguments);
        let port = said
            .split_whitespace()
            .find_map(|w| w.strip_prefix("PORT="));
        port.and_then(|p| p.parse().ok())
            .unwrap_or_else(|| panic!("the script said no port: {said}"))
    }

    fn script(&self, verb: &str, arguments: &[&str]) -> String {
        let output = Command::new("python3")
            .arg(self.engine.script())
            .args([verb, "--data"])
            .arg(&self.data)
            .args(arguments)
            .output()
            .expect("python3 runs");
        assert!(
            output.status.success(),
            "{:?} {verb}: {}(servers are installed by tests/setup into {})",
            self.engine,
            String::from_utf8_lossy(&output.stderr),
            test_env().display()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn watch(&self) -> Child {
        use std::os::unix::process::CommandExt;
        let script = "cat >/dev/null; python3 \"$1\" stop --data \"$2\"; rm -rf \"$2\"";
        Command::new("sh")
            .args(["-c", script, "watcher"])
            .arg(self.engine.script())
            .arg(&self.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt of the tests must reach the server through us only.
            .process_group(0)
            .spawn()
            .expect("sh runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            drop(watcher.stdin.take());
            if let Err(error) = watcher.wait() {
                eprintln!("the watcher of a server was lost: {error}");
            }
        }
    }
}

/// A sink `milvus` as a job opens it: its settings, and those of `run`.
pub fn open_milvus(sink: &str, run: &str) -> milvusdm::error::Result<Box<dyn Sink>> {
    let text =
        format!("source: {{faiss: {{path: x}}}}\nsink: {{milvus: {{{sink}}}}}\nrun: {{{run}}}\n");
    let job = Job::parse(Path::new("test.yaml"), text).unwrap();
    let settings = job.sink.settings.clone();
    let mut form = Form::new("sink.milvus", settings, KIND.settings, &job.mistakes);
    let spec = (KIND.read)(&mut form);
    form.done();
    job.check().unwrap();
    spec.unwrap().open(&job.run)
}

/// Has a sink take all steps that follow when a target has its rows.
pub fn finish(sink: &dyn Sink, target: &Target) -> milvusdm::error::Result<()> {
    while sink.finish(target)? != Finishing::Done {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

/// A target of one collection, named by the sink's settings: ids from the source, no metric of its own.
pub fn target(sink: &dyn Sink, kind: VectorType) -> Target {
    let none = TargetName {
        collection: String::new(),
        partition: String::new(),
    };
    Target {
        number: 0,
        name: sink.name(&none),
        columns: Columns::plain("id", "embedding", kind).unwrap(),
        traits: Default::default(),
        keys: Keys::Stored,
        auto_id: false,
        rows: 0,
        rows_deleted: 0,
        source: "test".into(),
    }
}

/// Rows of a part from one on, as many as there are of so many: a batch.
pub fn batch(target: &Target, part: &Part, first: usize, rows: usize) -> Batch {
    let rows = rows.min(part.len() - first);
    Batch {
        id: BatchId {
            run: 7,
            shard: 0,
            index: first as u32,
        },
        target: target.number,
        first_row: first as u64,
        parts: vec![part.slice(first, rows)],
        next: Position::Row((first + rows) as u64),
    }
}

/// Certificates for TLS tests, made with openssl: an authority, a server and a client.
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes them.
    pub fn make() -> Certificates {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = r#"
            set -e
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-authority \
                -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE
            printf 'subjectAltName=DNS:localhost,DNS:milvus.test,IP:127.0.0.1\n' > san
            for who in server client; do
                openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key -out $who.csr
                openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                    -extfile san -out $who.pem
            done"#;
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(directory.path())
            .output()
            .expect("sh runs");
        assert!(
            output.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Certificates { directory }
    }

    /// The path of one: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// Runs a Python script with pymilvus, and returns what it printed.
pub fn run_python(script: &str, arguments: &[&str]) -> String {
    let output = Command::new(python())
        .args(["-c", script])
        .args(arguments)
        .output()
        .expect("the Python of tests/setup runs");
    assert!(
        output.status.success(),
        "python: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs the program in a directory: its exit code, and what it printed on standard output and standard error.
pub fn milvusdm(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
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

/// Another process that runs one test: the path of its module (`module_path!()`), and its name.
pub fn run_alone(module: &str, test: &str) -> Command {
    let (_, module) = module.split_once("::").expect("a test is in a module");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::{test}"), "--nocapture"]);
    command
}
