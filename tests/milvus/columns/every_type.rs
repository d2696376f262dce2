//! Every type into every server, from Parquet, read back with pymilvus: with NULL and defaults, empty arrays, empty sparse
//! rows, texts of 65,535 bytes and keys that break what quotes them badly. What a server lacks is refused before anything
//! is made.

use std::path::Path;

use serde_json::{Value, json};

use super::migration::Jobs;
use super::support::{Engine, Server, python, run_script, tables, test_env};

const ENGINES: [(Engine, &str); 3] = [
    (Engine::Standalone, "standalone"),
    (Engine::LitePython, "python"),
    (Engine::LiteCpp, "cpp"),
];

/// A pymilvus that knows what a server has.
fn client(engine: Engine) -> std::path::PathBuf {
    match engine {
        Engine::Standalone => python(),
        _ => test_env().join("lite/venv-py/bin/python"),
    }
}

fn script(python: &Path, arguments: &[&str]) -> String {
    run_script(python, "every_type.py", arguments)
}

fn made(jobs: &Jobs, what: &str) -> Value {
    let directory = jobs.0.path().to_str().unwrap();
    serde_json::from_str(&tables("every_type.py", &["make", what, directory])).unwrap()
}

#[test]
fn every_type_from_parquet_is_read_back_by_pymilvus() {
    let mut compared = Vec::new();
    for (engine, word) in ENGINES {
        let (server, jobs) = (Server::shared(engine), Jobs::new());
        let address = server.address();
        for (name, of) in made(&jobs, word).as_object().unwrap() {
            let collection = format!("every_{name}");
            let job = json!({
                "source": {"parquet": {"path": format!("{name}.parquet"), "id": "pk", "types": of["types"]}},
                "sink": {"milvus": {"address": address, "collection": collection, "load": true}},
                "fields": {"columns": of["columns"], "rest": "dynamic"},
                "run": {"verify": "full"},
            });
            jobs.run(name, &job.to_string()).code(0);
            let read = ["read", word, &address, &collection, name];
            let count = script(&client(engine), &read);
            compared.push((word, name.clone(), count.trim().parse::<usize>().unwrap()));
        }
    }
    // 17 columns that all have, vectors, and two in the dynamic field; 15 keys, 13 of which Lite in C++ can be asked for.
    let count = |word: &'static str, name: &str, count: usize| (word, name.to_owned(), count);
    compared.sort();
    assert_eq!(
        compared,
        [
            count("cpp", "all", 13 * 23),
            count("cpp", "bits", 13 * 20),
            count("python", "all", 15 * 23),
            count("standalone", "bits", 15 * 20),
            count("standalone", "floats", 15 * 20),
        ]
    );
}

#[test]
fn fields_with_defaults_get_them() {
    for (engine, word) in ENGINES {
        let (server, jobs) = (Server::shared(engine), Jobs::new());
        let address = server.address();
        made(&jobs, word);
        let name = if engine == Engine::Standalone {
            "floats"
        } else {
            "all"
        };
        script(
            &client(engine),
            &["defaults", word, &address, "every_default"],
        );
        let job = json!({
            "source": {"parquet": {"path": format!("{name}.parquet"), "id": "pk", "columns": ["v"]}},
            "sink": {"milvus": {"address": address, "collection": "every_default", "metric": "L2", "index": {"type": "FLAT"}, "load": true}},
            "run": {"verify": "full"},
        });
        let ended = jobs.run("defaults", &job.to_string());
        if engine == Engine::LiteCpp {
            // It does not even describe such a collection.
            ended.code(5);
            continue;
        }
        ended.code(0);
        let read = script(
            &client(engine),
            &["read_defaults", &address, "every_default"],
        );
        assert_eq!(read.trim(), "15", "{word}");
    }
}

#[test]
fn what_a_server_lacks_is_refused_by_name_and_nothing_is_made() {
    let jobs = Jobs::new();
    let types = made(&jobs, "lacks");
    let moment = "timestamptz";
    // By file: what each server says; `None`: it has that.
    let cases: [(&str, [Option<&str>; 3]); 10] = [
        ("sparse", [Some("no sparse vectors"), None, None]),
        (
            "half",
            [Some("no float16 vectors"), Some("no float16 vectors"), None],
        ),
        (
            "brain",
            [
                Some("no bfloat16 vectors"),
                Some("no bfloat16 vectors"),
                None,
            ],
        ),
        (
            "int8",
            [
                Some("no int8 vectors"),
                Some("no int8 vectors"),
                Some("no int8 vectors"),
            ],
        ),
        ("bits", [None, Some("no binary vectors"), None]),
        ("two", [Some("2 vectors (v, w)"), None, None]),
        (
            "none",
            [Some("0 vectors"), Some("0 vectors"), Some("0 vectors")],
        ),
        ("moment", [Some(moment), None, Some(moment)]),
        ("shape", [Some("geometry"), None, Some("geometry")]),
        (
            "structs",
            [
                Some("column `c` is List"),
                Some("column `c` is List"),
                Some("column `c` is List"),
            ],
        ),
    ];
    for (at, (engine, _)) in ENGINES.into_iter().enumerate() {
        let server = Server::shared(engine);
        let mut names = Vec::new();
        for (name, expected) in &cases {
            let Some(expected) = expected[at] else {
                continue;
            };
            let collection = format!("lacks_{name}");
            let job = json!({
                "source": {"parquet": {"path": format!("{name}.parquet"), "types": types[name]}},
                "sink": {"milvus": {"address": server.address(), "collection": collection}},
            });
            jobs.run(&format!("{name}_{at}"), &job.to_string())
                .code(3)
                .says(&[expected]);
            names.push(collection);
        }
        let address = server.address();
        let mut arguments = vec!["there", &address];
        arguments.extend(names.iter().map(String::as_str));
        let there = script(&client(engine), &arguments);
        assert_eq!(there.trim(), "[]", "{engine:?}");
    }
}
