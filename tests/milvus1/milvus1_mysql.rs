//! Is metadata in a real MariaDB read as it is in SQLite? The server is started here, on a directory of its own.

#![allow(clippy::unwrap_used)]

use crate::support::milvus1_files as milvus1;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use milvus1::{LIMITS, check, copy, golden, open, read};
use milvusdm::error::Kind;
use mysql::prelude::Queryable;

const PASSWORD: &str = "p@ss:w/ö?#%";

/// The tables as Milvus 1.x makes them in MySQL (db/meta/MySQLMetaImpl.cpp, read for the format description).
const TABLES: [&str; 4] = [
    "CREATE TABLE `Tables`(id BIGINT PRIMARY KEY AUTO_INCREMENT, table_id VARCHAR(255) UNIQUE NOT NULL, \
     state INT NOT NULL, dimension SMALLINT NOT NULL, created_on BIGINT NOT NULL, flag BIGINT DEFAULT 0 NOT NULL, \
     index_file_size BIGINT DEFAULT 1024 NOT NULL, engine_type INT DEFAULT 1 NOT NULL, \
     index_params VARCHAR(512) NOT NULL, metric_type INT DEFAULT 1 NOT NULL, \
     owner_table VARCHAR(255) DEFAULT '' NOT NULL, partition_tag VARCHAR(255) DEFAULT '' NOT NULL, \
     version VARCHAR(64) DEFAULT '1.1.1' NOT NULL, flush_lsn BIGINT DEFAULT 0 NOT NULL)",
    "CREATE TABLE TableFiles(id BIGINT PRIMARY KEY AUTO_INCREMENT, table_id VARCHAR(255) NOT NULL, \
     segment_id VARCHAR(255) DEFAULT '' NOT NULL, engine_type INT DEFAULT 1 NOT NULL, \
     file_id VARCHAR(255) NOT NULL, file_type INT DEFAULT 0 NOT NULL, file_size BIGINT DEFAULT 0 NOT NULL, \
     row_count BIGINT DEFAULT 0 NOT NULL, updated_time BIGINT NOT NULL, created_on BIGINT NOT NULL, \
     date INT DEFAULT -1 NOT NULL, flush_lsn BIGINT DEFAULT 0 NOT NULL)",
    "CREATE TABLE Environment(global_lsn BIGINT DEFAULT 0 NOT NULL)",
    "CREATE TABLE `Fields`(collection_id VARCHAR(255) NOT NULL, field_name VARCHAR(255) NOT NULL, \
     field_type INT DEFAULT 0 NOT NULL, field_params VARCHAR(255) NOT NULL)",
];

/// A MariaDB that lives as long as this.
struct Server {
    process: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(name: &str) -> String {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];
    let found = places.iter().map(|p| format!("{p}/{name}"));
    let mut found = found.filter(|p| Path::new(p).exists());
    found
        .next()
        .unwrap_or_else(|| panic!("{name} is not installed: apt-get install -y mariadb-server"))
}

impl Server {
    fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let installed = Command::new(program("mariadb-install-db"))
            .args([
                "--no-defaults",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--user={user}"))
            .output()
            .unwrap();
        assert!(installed.status.success(), "{installed:?}");
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(path("ca.pem"), certificate.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
        let users = format!(
            "CREATE USER 'owner'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO 'owner'@'%';\n\
             CREATE USER 'reader'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT SELECT ON *.* TO 'reader'@'%';\n\
             CREATE USER 'careful'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL;\n\
             GRANT SELECT ON *.* TO 'careful'@'%';\n"
        );
        std::fs::write(path("init.sql"), users).unwrap();
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let log = std::fs::File::create(path("error.log")).unwrap();
        let process = Command::new(program("mariadbd"))
            .args([
                "--no-defaults",
                "--skip-name-resolve",
                "--bind-address=127.0.0.1",
            ])
            .args([
                "--innodb-buffer-pool-size=16M",
                "--character-set-server=utf8mb4",
            ])
            .arg(format!("--user={user}"))
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--socket={}", path("s")))
            .arg(format!("--pid-file={}", path("pid")))
            .arg(format!("--port={port}"))
            .arg(format!("--init-file={}", path("init.sql")))
            .arg(format!("--ssl-cert={}", path("ca.pem")))
            .arg(format!("--ssl-key={}", path("key.pem")))
            .args(["--general-log=1", "--log-output=FILE"])
            .arg(format!("--general-log-file={}", path("general.log")))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Server { process, dir, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.connect("mysql").is_err() {
            let said = || std::fs::read_to_string(server.path("error.log")).unwrap();
            assert!(Instant::now() < deadline, "{}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn connect(&self, database: &str) -> mysql::Result<mysql::Conn> {
        let options = mysql::OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(self.port)
            .user(Some("owner"))
            .pass(Some(PASSWORD))
            .db_name(Some(database))
            .prefer_socket(false);
        mysql::Conn::new(options)
    }

    /// Puts the metadata of a golden directory into a database.
    fn load(&self, database: &str, version: &str) -> mysql::Conn {
        let mut to = self.connect("mysql").unwrap();
        to.query_drop(format!("CREATE DATABASE {database}"))
            .unwrap();
        to.query_drop(format!("USE {database}")).unwrap();
        TABLES.iter().for_each(|sql| to.query_drop(sql).unwrap());
        let copy = copy(version);
        let from = rusqlite::Connection::open(copy.path().join("milvus/db/meta.sqlite")).unwrap();
        for table in ["Tables", "TableFiles", "Environment", "Fields"] {
            let mut statement = from.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = statement.column_count();
            let marks = vec!["?"; columns].join(", ");
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let values: Vec<mysql::Value> = (0..columns)
                    .map(|c| match row.get_ref(c).unwrap() {
                        rusqlite::types::ValueRef::Integer(n) => n.into(),
                        rusqlite::types::ValueRef::Text(t) => t.into(),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                to.exec_drop(format!("INSERT INTO `{table}` VALUES ({marks})"), values)
                    .unwrap();
            }
        }
        to
    }

    fn settings(&self, user: &str, database: &str, more: &str) -> String {
        format!(
            "mysql: {{host: 127.0.0.1, port: {}, user: {user}, password: {PASSWORD:?}, database: {database}{more}}}",
            self.port
        )
    }
}

#[test]
fn metadata_in_mariadb_is_the_same_as_in_sqlite() {
    let server = Server::start();
    for (database, version) in [("one_one", "v1.1.1"), ("one_zero", "v1.0.0")] {
        server.load(database, version);
        let dir = copy(version);
        let path = dir.path().join("milvus");
        let expected = read(&*open(&path, "").unwrap(), LIMITS).unwrap();
        std::fs::remove_file(path.join("db/meta.sqlite")).unwrap();
        let settings = server.settings("reader", database, "");
        let found = read(&*open(&path, &settings).unwrap(), LIMITS).unwrap();
        check(version, &found);
        let said = |read: &milvus1::Read| format!("{:?}", read.survey.manifest);
        assert_eq!(said(&found), said(&expected));
        assert_eq!(found.survey.warnings, expected.survey.warnings);
        let identity = format!("{:?}", found.survey.identity);
        assert!(!identity.contains("p@ss"), "{identity}");
    }
    // All was read in one transaction, by a user who may do nothing but read.
    let log = std::fs::read_to_string(server.path("general.log")).unwrap();
    assert!(
        log.contains("START TRANSACTION WITH CONSISTENT SNAPSHOT"),
        "{log}"
    );
    assert!(log.contains("ISOLATION LEVEL REPEATABLE READ"), "{log}");

    let crashed = server.load("crashed", "v1.1.1-crash");
    drop(crashed);
    let settings = server.settings("reader", "crashed", "");
    let error = open(&golden("v1.1.1-crash/milvus"), &settings)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("15 inserts into f8_unflushed"),
        "{error}"
    );
    let settings = format!("{settings}\nignore_wal: true");
    let source = open(&golden("v1.1.1-crash/milvus"), &settings).unwrap();
    let found = read(&*source, LIMITS).unwrap();
    check("v1.1.1-crash", &found);
    assert!(
        found
            .survey
            .warnings
            .iter()
            .any(|w| w.contains("the metadata is from MySQL"))
    );

    names_that_need_care(&server);
    the_connection_may_be_encrypted(&server);
    what_the_server_refuses_is_said_without_the_password(&server);
}

fn names_that_need_care(server: &Server) {
    let mut changed = server.load("quotes", "v1.0.0");
    let insert = "INSERT INTO `Tables`(table_id, state, dimension, created_on, index_params, metric_type, \
                  owner_table, partition_tag, flush_lsn) VALUES (?, 0, 8, 1, '{}', 1, 'f8_l2', ?, 20152)";
    for (id, tag) in [("501", "it's; -- \"a\" `b` \\"), ("502", "日本 ö 🙂")] {
        changed.exec_drop(insert, (id, tag)).unwrap();
    }
    let settings =
        server.settings("reader", "quotes", "") + "\ncollections: {f8_l2: ['it*', '日*']}";
    let source = open(&golden("v1.0.0/milvus"), &settings).unwrap();
    let manifest = source.survey(LIMITS).unwrap().manifest;
    let tags: Vec<&str> = manifest
        .targets
        .iter()
        .map(|t| t.name.partition.as_str())
        .collect();
    assert_eq!(tags, ["it's; -- \"a\" `b` \\", "日本 ö 🙂"]);
    // A row count that went below zero.
    changed
        .query_drop("UPDATE TableFiles SET row_count = -3 WHERE id = 1")
        .unwrap();
    let settings = server.settings("reader", "quotes", "");
    let source = open(&golden("v1.0.0/milvus"), &settings).unwrap();
    let warnings = source.survey(LIMITS).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|w| w.starts_with("f8_l2: metadata counts 196 rows")),
        "{warnings:?}"
    );
}

fn the_connection_may_be_encrypted(server: &Server) {
    let path = golden("v1.0.0/milvus");
    let plain = open(&path, &server.settings("careful", "one_zero", ""));
    assert_eq!(plain.err().unwrap().kind(), Kind::Job);
    let tls = |ca: &str| server.settings("careful", "one_zero", &format!(", tls: {{ca: {ca:?}}}"));
    let source = open(&path, &tls(&server.path("ca.pem"))).unwrap();
    check("v1.0.0", &read(&*source, LIMITS).unwrap());
    // A server whose certificate nobody vouches for is not talked to.
    let unknown = server.settings("careful", "one_zero", ", tls: {ca: ''}");
    let error = open(&path, &unknown).err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
    let missing = open(&path, &tls("/nowhere/ca.pem"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        missing.starts_with("/nowhere/ca.pem: cannot open"),
        "{missing}"
    );
}

fn what_the_server_refuses_is_said_without_the_password(server: &Server) {
    server
        .connect("mysql")
        .unwrap()
        .query_drop("CREATE DATABASE bare")
        .unwrap();
    let right = server.settings("reader", "one_zero", "");
    for (settings, said) in [
        (
            right.replace("p@ss", "fish"),
            "Access denied for user 'reader'",
        ),
        (right.replace("one_zero", "none"), "Unknown database 'none'"),
        (right.replace("one_zero", "bare"), "has no table Tables"),
        (
            right.replace(&format!("port: {}", server.port), "port: 1"),
            "mysql://127.0.0.1:1/one_zero metadata: cannot read the metadata",
        ),
    ] {
        let error = open(&golden("v1.0.0/milvus"), &settings).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(said), "{text}");
        assert!(!text.contains("p@ss") && !text.contains("fish"), "{text}");
        assert_eq!(
            error.kind().exit_code(),
            if said.contains("no table") { 3 } else { 2 }
        );
    }
}
