//! A running OpenSearch as a source: a real server, what it holds, and what goes wrong on the way.

mod cases;
mod moving;
mod typed;
mod whole;

use crate::support::{self, arrived, away, killed, migration, new_job, opensearch as server};

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use migration::Jobs;
use new_job::into_both;
use server::{OpenSearch, free_port, script};
use support::{Certificates, Engine, Server, run_python, test_env};

fn opensearch() -> &'static OpenSearch {
    static STARTED: OnceLock<OpenSearch> = OnceLock::new();
    STARTED.get_or_init(|| {
        let server = server::start();
        server::script(&["make", &server.address]);
        server
    })
}

fn job(index: &str, more: &str, to: &str) -> String {
    let address = &opensearch().address;
    format!(
        "source: {{opensearch: {{urls: ['{address}'], index: {index}, {more}}}}}\nsink: {{{to}}}\n"
    )
}

fn dump(index: &str) -> Value {
    let said = script(&["dump", &opensearch().address, index]);
    serde_json::from_str(&said).unwrap()
}

/// What Parquet files hold: by `_id` the vectors, and the rest.
const READ: &str = r#"
import json, struct, sys, glob
import pyarrow.parquet as pq
out = {}
for path in sorted(glob.glob(sys.argv[1] + "/**/*.parquet", recursive=True)):
    for row in pq.read_table(path).to_pylist():
        key = row.pop("_id")
        assert key not in out, key
        rest = json.loads(row.pop("$meta"))
        out[key] = {"rest": rest, "vectors": row}
def plain(value):
    if isinstance(value, bytes): return list(value)
    return value
print(json.dumps(out, default=plain))
"#;

fn parquet(dir: &Path) -> Value {
    let python = test_env().join("tables/bin/python");
    let output = Command::new(python)
        .args(["-c", READ])
        .arg(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no vector"));
    list.iter().map(|n| n.as_f64().unwrap() as f32).collect()
}

#[test]
fn every_document_and_field_arrives_in_parquet() {
    let jobs = Jobs::new();
    let out = jobs.path("out");
    let to = format!("parquet: {{dir: '{}'}}", out.display());
    let ended = jobs.run("items", &job("items", "", &to)).code(0);
    assert_eq!(ended.report["snapshot"], "pinned", "{}", ended.said);
    let (there, arrived) = (dump("items"), parquet(&out));
    let (there, arrived) = (there.as_object().unwrap(), arrived.as_object().unwrap());
    assert_eq!(there.len(), arrived.len());
    assert!(there.len() > 2400);
    for (key, document) in there {
        let row = &arrived[key];
        let mut rest = document.clone();
        let object = rest.as_object_mut().unwrap();
        let v = object.remove("v").unwrap();
        let w = object["inner"]
            .as_object_mut()
            .unwrap()
            .remove("w")
            .unwrap();
        assert_eq!(floats(&v), floats(&row["vectors"]["v"]), "{key}");
        assert_eq!(floats(&w), floats(&row["vectors"]["inner.w"]), "{key}");
        assert_eq!(rest, row["rest"], "{key}");
    }
}

/// Rows of a Milvus collection by key: vectors as floats, and the dynamic field.
const ROWS: &str = r#"
import json, sys
from pymilvus import connections, Collection
host, port = sys.argv[1].split(":")
connections.connect(host=host, port=port)
c = Collection(sys.argv[2])
fields = [f.name for f in c.schema.fields] + ["$meta"]
out, at = {}, ""
while True:
    rows = c.query(f'id > {json.dumps(at, ensure_ascii=False)}', output_fields=["*"], limit=16000, consistency_level="Strong")
    for row in rows:
        row = dict(row)
        out[row.pop("id")] = {k: [float(x) for x in v] if hasattr(v, "__len__") and k == "v" else v for k, v in row.items()}
    break
# A key that is there twice is shown once, and counted twice.
count = c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
assert count == len(rows) == len(out), (count, len(rows), len(out))
print(json.dumps(out, default=str))
"#;

fn plain_into(engine: Engine, name: &str, count: usize) {
    let server = Server::shared(engine);
    script(&["rows", &opensearch().address, name, &count.to_string()]);
    let jobs = Jobs::new();
    let to = format!(
        "milvus: {{address: '{}', metric: L2, index: {{type: FLAT}}, load: true}}",
        server.address()
    );
    let job = job(name, "page: 700", &to) + "fields: {id: id}\nrun: {verify: full}\n";
    let ended = jobs.run(name, &job).code(0);
    assert_eq!(
        ended.report["targets"][0]["delivered"], count,
        "{}",
        ended.said
    );
    let rows: Value = serde_json::from_str(&run_python(ROWS, &[&server.address(), name])).unwrap();
    let there = dump(name);
    assert_eq!(rows.as_object().unwrap().len(), count);
    for (key, document) in there.as_object().unwrap() {
        let row = &rows[key];
        assert_eq!(floats(&row["v"]), floats(&document["v"]), "{key}");
        assert_eq!(
            (&row["n"], &row["text"]),
            (&document["n"], &document["text"]),
            "{key}"
        );
    }
}

#[test]
fn an_index_goes_to_milvus_row_by_row() {
    plain_into(Engine::Standalone, "standalone_rows", 3000);
}

#[test]
fn an_index_goes_to_milvus_lite_row_by_row() {
    plain_into(Engine::LitePython, "lite_rows", 2000);
}

#[test]
fn bytes_become_int8_vectors_and_an_empty_index_an_empty_target() {
    let jobs = Jobs::new();
    let to = |name: &str| format!("parquet: {{dir: '{}'}}", jobs.path(name).display());
    jobs.run("bytes", &job("bytes", "", &to("bytes"))).code(0);
    let (there, arrived) = (dump("bytes"), parquet(&jobs.path("bytes")));
    for (key, document) in there.as_object().unwrap() {
        let bytes = document["v"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_i64().unwrap() as i8);
        let row = arrived[key]["vectors"]["v"].as_array().unwrap().iter();
        let row = row.map(|n| n.as_i64().unwrap() as i8);
        assert_eq!(bytes.collect::<Vec<_>>(), row.collect::<Vec<_>>(), "{key}");
    }
    let ended = jobs.run("empty", &job("empty", "", &to("empty"))).code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 0, "{}", ended.said);
}

#[test]
fn documents_without_their_vector_are_refused_or_left_behind() {
    let jobs = Jobs::new();
    let to = |name: &str| format!("parquet: {{dir: '{}'}}", jobs.path(name).display());
    jobs.run("fail", &job("lacking", "", &to("fail")))
        .code(3)
        .says(&[
            "lacking: document \"b\" has no vector `v`",
            "missing_vector: skip",
        ]);
    let ended = jobs
        .run("skip", &job("lacking", "missing_vector: skip", &to("skip")))
        .code(0);
    let arrived = parquet(&jobs.path("skip"));
    assert_eq!(
        arrived.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["a", "d"]
    );
    ended.says(&["3 documents without their vector were left out"]);
}

#[test]
fn an_alias_names_its_target_and_a_query_chooses_documents() {
    let jobs = Jobs::new();
    let to = format!("parquet: {{dir: '{}'}}", jobs.path("out").display());
    let more = "query: {range: {n: {gte: 10, lt: 15}}}";
    let ended = jobs.run("alias", &job("aliased", more, &to)).code(0);
    assert_eq!(
        ended.report["targets"][0]["name"], "aliased",
        "{}",
        ended.said
    );
    assert_eq!(parquet(&jobs.path("out")).as_object().unwrap().len(), 5);
}

/// The stand-in for Elasticsearch's dialect, before the same server.
fn elasticsearch(more: &[&str]) -> (Child, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/elasticsearch.py");
    let mut process = Command::new(support::python())
        .arg(script)
        .arg(&opensearch().address)
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    let mut said = BufReader::new(process.stdout.take().unwrap());
    said.read_line(&mut port).unwrap();
    (process, format!("127.0.0.1:{}", port.trim()))
}

#[test]
fn elasticsearch_is_asked_in_its_own_words_and_may_forget_its_states() {
    let jobs = Jobs::new();
    for (name, more) in [("keeps", &[][..]), ("forgets", &["--forget", "7"])] {
        let (mut process, address) = elasticsearch(more);
        let out = jobs.path(name);
        let job = |password: &str| {
            format!(
                "source: {{elasticsearch: {{urls: ['{address}'], index: aliased, page: 10, user: elastic, password: {password}}}}}\n\
                 sink: {{parquet: {{dir: '{}'}}}}\n",
                out.display()
            )
        };
        jobs.run("wrong", &job("hunter2"))
            .code(5)
            .says(&["refused the login", "unable to authenticate user"]);
        let ended = jobs.run(name, &job("secret"));
        // A file takes no row back, so that it cannot hold rows of two states.
        if name == "forgets" {
            ended.code(4).says(&["the state that was read is gone"]);
            let _ = (process.kill(), process.wait());
            continue;
        }
        let ended = ended.code(0);
        let arrived = parquet(&out);
        let there = dump("aliased-000001");
        assert_eq!(arrived.as_object().unwrap().len(), 40, "{}", ended.said);
        for (key, document) in there.as_object().unwrap() {
            assert_eq!(
                floats(&document["v"]),
                floats(&arrived[key]["vectors"]["v"]),
                "{key}"
            );
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

#[test]
fn a_server_behind_tls_is_trusted_by_its_authority_or_fingerprint_and_by_nothing_else() {
    let (jobs, known, other) = (Jobs::new(), Certificates::make(), Certificates::make());
    // As Elasticsearch does it, the server shows its authority, too.
    let chain = jobs.path("chain.pem").display().to_string();
    let both = ["server.pem", "ca.pem"].map(|name| std::fs::read(known.path(name)).unwrap());
    std::fs::write(&chain, both.concat()).unwrap();
    let (mut process, address) = elasticsearch(&["--tls", &chain, &known.path("server.key")]);
    let run = |name: &str, tls: &str| {
        let job = format!(
            "source: {{elasticsearch: {{urls: ['https://{address}'], index: aliased, user: elastic, password: secret, tls: {tls}}}}}\n\
             sink: {{parquet: {{dir: '{}'}}}}\nrun: {{patience: 1s}}\n",
            jobs.path(name).display()
        );
        jobs.run(name, &job)
    };
    let print = |certificates: &Certificates, name: &str| {
        let script = format!(
            "openssl x509 -in '{}' -noout -fingerprint -sha256 | cut -d= -f2",
            certificates.path(name)
        );
        let said = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    for (name, tls) in [
        ("ca", format!("{{ca: '{}'}}", known.path("ca.pem"))),
        (
            "fingerprint",
            format!("{{fingerprint: '{}'}}", print(&known, "ca.pem")),
        ),
        ("insecure", "{insecure: true}".to_owned()),
    ] {
        run(name, &tls).code(0);
        assert_eq!(
            parquet(&jobs.path(name)).as_object().unwrap().len(),
            40,
            "{name}"
        );
    }
    for (name, tls, expected) in [
        ("system", "{}".to_owned(), "TLS with"),
        (
            "stranger",
            format!("{{ca: '{}'}}", other.path("ca.pem")),
            "TLS with",
        ),
        (
            "other",
            format!("{{fingerprint: '{}'}}", print(&other, "ca.pem")),
            "no certificate with the fingerprint",
        ),
    ] {
        run(name, &tls).code(5).says(&[expected]);
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_new_job_runs_once_its_marked_lines_are_edited() {
    let jobs = Jobs::new();
    for source in ["elasticsearch", "opensearch"] {
        // Both jobs call their collection the same.
        let lite = Server::start(Engine::LitePython, &[]);
        let edits = [
            ("urls", opensearch().address.as_str()),
            ("index", "aliased"),
        ];
        let rows = into_both(&jobs.path("."), source, &edits, &lite.address());
        assert_eq!(rows, [40, 40], "{source}");
    }
}

#[test]
fn plan_prints_the_columns_that_documents_could_have() {
    let jobs = Jobs::new();
    let to = format!("parquet: {{dir: '{}'}}", jobs.path("out").display());
    std::fs::write(jobs.path("plan.yaml"), job("items", "", &to)).unwrap();
    let output = jobs.milvusdm(&["plan", "plan.yaml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    for part in [
        "fields:",
        "big: {type: int64}",
        "title: {type: varchar, max_length:",
        "parts: {type: json}",
        "tags: {type: json}",
        "# or by the mapping, in the source: columns: [a.dotted.key, big, ",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
}

#[test]
fn what_is_wrong_is_one_sentence_with_its_exit_code() {
    let jobs = Jobs::new();
    let to = format!("parquet: {{dir: '{}'}}", jobs.path("out").display());
    jobs.run("missing", &job("nothing-here", "", &to))
        .code(2)
        .says(&["has no index `nothing-here`"]);
    let gone = format!(
        "source: {{opensearch: {{urls: ['127.0.0.1:{}'], index: a}}}}\nsink: {{{to}}}\nrun: {{patience: 1s}}\n",
        free_port()
    );
    jobs.run("gone", &gone).code(5).says(&["cannot be reached"]);
    let milvus = Server::shared(Engine::LitePython).address();
    let other = format!(
        "source: {{opensearch: {{urls: ['{milvus}'], index: a}}}}\nsink: {{{to}}}\nrun: {{patience: 1s}}\n"
    );
    jobs.run("other", &other).code(5);
}
