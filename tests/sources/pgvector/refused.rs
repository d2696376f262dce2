//! What cannot be read is refused in one sentence, with the exit code that fits, and without the password.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::pgvector::migration::Jobs;
use crate::pgvector::{postgres, source};
use crate::support::{Certificates, Engine, Server};

const TABLES: &str = "
CREATE TABLE keyless (a int, v vector(2));
CREATE TABLE two_keys (a int, b int, v vector(2), PRIMARY KEY (a, b));
INSERT INTO two_keys SELECT n / 2, n % 2, '[1,2]' FROM generate_series(0, 9) n;
CREATE TABLE gaps (a int, v vector(2)); INSERT INTO gaps VALUES (1, '[1,2]'), (NULL, '[1,2]');
CREATE TABLE mixed (id int PRIMARY KEY, v vector); INSERT INTO mixed VALUES (1, '[1,2]'), (2, '[1,2,3]');
CREATE TABLE untold (id int PRIMARY KEY, v vector);
CREATE TABLE lists (id int PRIMARY KEY, v vector(2)[]);
CREATE TABLE odd_key (id float8 PRIMARY KEY, v vector(2));
CREATE TABLE few (id int PRIMARY KEY, v vector(2)); INSERT INTO few VALUES (1, '[1,2]'), (2, NULL);
CREATE TABLE secret (id int PRIMARY KEY, v vector(2)); INSERT INTO secret VALUES (1, '[1,2]');
CREATE ROLE guest LOGIN PASSWORD 'hunter2'; GRANT SELECT ON secret, few TO guest;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON secret FOR SELECT USING (false);
CREATE TABLE hidden (id int PRIMARY KEY, v vector(2));";

fn job(source: &str, jobs: &Jobs) -> String {
    let out = jobs.path("out").display().to_string();
    format!("{source}sink: {{parquet: {{dir: '{out}'}}}}\n")
}

#[test]
fn what_cannot_be_read_is_refused_in_a_sentence() {
    postgres().sql(TABLES);
    let address = postgres().address();
    let jobs = Jobs::new();
    let url = |login: &str, rest: &str| {
        format!(
            "source: {{pgvector: {{url: 'postgres://{login}@{address}/{rest}', table: few}}}}\n"
        )
    };
    let closed = "source: {pgvector: {url: 'postgres://me:hunter2@127.0.0.1:1/x', table: few}}\n";
    for (number, (source, code, parts)) in [
        (
            url("postgres:hunter2", "postgres"),
            5,
            &["password authentication failed"][..],
        ),
        (url("postgres", "postgres"), 5, &["asks for a password"]),
        (
            url("postgres:secret", "nowhere"),
            2,
            &["\"nowhere\" does not exist"],
        ),
        (
            url("postgres:secret", "postgres?sslmode=require"),
            5,
            &["does not offer TLS"],
        ),
        (closed.to_owned(), 5, &["cannot connect"]),
        (
            source("table: fexw"),
            2,
            &["no table `fexw`", "did you mean `few`?"],
        ),
        (
            source("table: nope.nothing_like_it"),
            2,
            &["no table", "tables with vectors"],
        ),
        (
            source("table: few, key: idd"),
            2,
            &["no column `idd`", "did you mean `id`?"],
        ),
        (source("table: few, columns: [vv]"), 2, &["no column `vv`"]),
        (
            source("table: keyless"),
            2,
            &["has no primary key", "`key:`"],
        ),
        (
            source("table: two_keys"),
            2,
            &["primary key of 2 columns (a, b)"],
        ),
        (
            source("table: two_keys, key: a"),
            3,
            &["is not unique", "0 (2 times)"],
        ),
        (source("table: gaps, key: a"), 3, &["1 rows have no `a`"]),
        (source("table: mixed"), 3, &["`v` have 2 to 3 dimensions"]),
        (source("table: untold"), 3, &["declares no dimension"]),
        (source("table: lists"), 3, &["`v` holds arrays of vector"]),
        (source("table: odd_key"), 2, &["`id` is float8"]),
        (
            url("guest:hunter2", "postgres").replace("few", "secret"),
            5,
            &["row-level security", "BYPASSRLS"],
        ),
        (
            url("guest:hunter2", "postgres").replace("few", "hidden"),
            5,
            &["permission denied"],
        ),
        (
            source("query: 'select 1 as id; drop table few', key: id"),
            2,
            &["syntax error"],
        ),
        (source("query: 'selct 1', key: id"), 2, &["syntax error"]),
        (source("query: 'select id from few'"), 2, &["pgvector.key"]),
        (
            source("table: few, query: 'select 1'"),
            2,
            &["exactly one of table and query"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("refused_{number}");
        let ended = jobs.run(&name, &job(&source, &jobs)).code(code).says(parts);
        assert!(!ended.said.contains("hunter2"), "{}", ended.said);
        assert!(!ended.report.to_string().contains("hunter2"));
        assert!(!jobs.path("out").exists(), "{source}");
    }
    assert_eq!(postgres().sql("SELECT count(*) FROM few"), "2");
}

#[test]
fn rows_without_a_vector_are_told_and_a_query_leaves_them_out() {
    postgres().sql("CREATE TABLE holed (id int PRIMARY KEY, v vector(2)); INSERT INTO holed VALUES (1, '[1,2]'), (2, NULL);");
    let milvus = Server::shared(Engine::Standalone);
    let sink = crate::pgvector::to_milvus(milvus, "collection: holed");
    let jobs = Jobs::new();
    jobs.run("holed", &format!("{}{sink}", source("table: holed")))
        .code(3)
        .says(&[
            "1 rows have no `v`",
            "where v is not null",
            "row 1 (id 2): `v` has no value",
        ]);
    let query = "query: 'select * from holed where v is not null -- whole', key: id";
    let ended = jobs
        .run("whole", &format!("{}{sink}", source(query)))
        .code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 1);
}

#[test]
fn a_line_is_encrypted_with_the_server_that_is_meant() {
    let certificates = Certificates::make();
    let (certificate, key) = (
        certificates.path("server.pem"),
        certificates.path("server.key"),
    );
    postgres().sql("CREATE TABLE shown (id int PRIMARY KEY, v vector(2)); INSERT INTO shown VALUES (1, '[1,2]')");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/pg_tls.py");
    let mut gateway = Command::new("python3")
        .args([script, &postgres().address(), &certificate, &key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    let mut said = BufReader::new(gateway.stdout.take().unwrap());
    said.read_line(&mut port).unwrap();
    let address = format!("127.0.0.1:{}", port.trim());
    let other = Certificates::make();
    let jobs = Jobs::new();
    let localhost = address.replace("127.0.0.1", "localhost");
    let (ours, theirs) = (certificates.path("ca.pem"), other.path("ca.pem"));
    for (number, (at, parameters, code)) in [
        (&address, "sslmode=require".to_owned(), 0),
        (&address, "sslmode=prefer".to_owned(), 0),
        (&address, "sslmode=disable".to_owned(), 0),
        (
            &address,
            format!("sslmode=verify-full&sslrootcert={ours}"),
            0,
        ),
        (
            &localhost,
            format!("sslmode=verify-full&sslrootcert={ours}"),
            0,
        ),
        (
            &localhost,
            format!("sslmode=verify-ca&sslrootcert={ours}"),
            0,
        ),
        (
            &address,
            format!("sslmode=verify-full&sslrootcert={theirs}"),
            5,
        ),
        (
            &address,
            format!("sslmode=verify-ca&sslrootcert={theirs}"),
            5,
        ),
        (
            &address,
            "sslmode=verify-ca&sslrootcert=/nowhere.pem".to_owned(),
            2,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let url = format!("postgres://postgres@{at}/postgres?{parameters}");
        let source =
            format!("source: {{pgvector: {{url: '{url}', password: secret, table: shown}}}}\n");
        let out = jobs.path(&format!("out_{number}")).display().to_string();
        let job = format!("{source}sink: {{parquet: {{dir: '{out}'}}}}\n");
        let ended = jobs.run(&format!("tls_{number}"), &job).code(code);
        if code == 5 {
            ended.says(&["TLS: ", "invalid peer certificate"]);
        }
    }
    drop(gateway.stdin.take());
    gateway.wait().unwrap();
}
