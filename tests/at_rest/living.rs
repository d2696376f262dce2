//! A running Milvus as a source: real servers, real collections, and what goes wrong between them.
//!
//! What other tools do wrong, as measured on them or read in their sources, and the test that it does not happen here:
//!
//! | # | who | what | test |
//! |---|---|---|---|
//! | 1 | VTS, split | offsets of one count: rows lost or doubled when others write | `living_kills` `rows_that_nobody_writes…` (both), ranges of keys |
//! | 2 | VTS, split | ranges of several partitions forget the collection | `everything…`: `wide`, several ranges of each of two partitions |
//! | 3 | VTS, seek | each range reads all keys before it again | `source::milvus::split` (questions are counted), `benches/living` (flat cost) |
//! | 4 | VTS, state | no progress inside a range | `living_kills` `…killed…`, `no_row_is_read_twice_after_a_kill` |
//! | 5 | VTS, sink | plain inserts again | `living_kills` `…killed…`: exact |
//! | 6 | VTS, converter | int16 widened, JSON rewritten | `everything…`: `every`; `json_travels_byte_for_byte…` |
//! | 7 | VTS, create | properties, aliases, index names stay behind | `everything…`: `traits` |
//! | 8 | VTS, retry | three attempts, by one text | `living_kills`: the source limits queries, dies and comes back |
//! | 9 | VTS 135, 105, 119, 74, 79 | keys that a server made, `max_length`, texts that look like JSON | `everything…`: `traits` |
//! | 10 | milvus-migration | nothing is compared | every job here ends with `verify` |
//! | 11 | milvus-migration, channel | hangs when the destination fails | `a_target_that_fails…` |
//! | 12 | milvus-migration, create | an existing target is not looked at | `a_target_that_fails…` |
//! | 13 | milvus#36346 | NULL becomes 0 | `lite::null…` |
//! | 14 | milvus-sdk-go | `() and id > 5` | `a_filter…`, and no filter everywhere else |
//! | 15 | pymilvus#1960, #2846 | keys unescaped, the key "", the greatest key | `everything…`: `every`; `the_greatest_key…` |
//! | 16 | milvus#29406, #33137, #36179 | pages lose rows where keys repeat | `everything…`: `twice` |
//! | 17 | milvus#32059 | a short page is taken for the end | `everything…`: `twice`, where 41 rows have one key |
//! | 18 | milvus#33774, #41000, #45485 | counts of copies | `everything…`: `twice` |
//! | 19 | milvus-lite#366 | Lite gives rows in no order | `lite::rows_in_no_order…` |
//! | 20 | milvus#40384 | an empty array kills | `everything…`: `every`, `lite::…` |
//! | 21 | milvus#52212, #24118 | what is no JSON travels | `json_travels_byte_for_byte…` |
//! | 22 | milvus#22796 | another dimension is taken | `a_target_that_fails…` |
//! | 23 | milvus#29570 | rows outside of the range | `a_row_that_was_not_asked_for…` |

mod elsewhere;
mod growing;
mod liar;
mod lite;
mod places;

use crate::support::{self, migration};

use std::sync::OnceLock;

use serde_json::{Value, json};

use migration::{Jobs, support_script};
use support::{Engine, Server};

/// The server that all tests here read, with collections of every kind. Its answers are short, so that many pages are too
/// long for it.
fn source() -> &'static Server {
    static MADE: OnceLock<Server> = OnceLock::new();
    MADE.get_or_init(|| {
        migration::check_installed();
        let short = "proxy.grpc.serverMaxSendSize=1600000";
        let server = Server::start(Engine::Standalone, &["--set", short]);
        support_script("living.py", &["make", &server.address()]);
        server
    })
}

/// The server that most of them write to: each other collections.
fn other() -> &'static Server {
    Server::shared(Engine::Standalone)
}

fn dump(server: &Server, names: &[&str]) -> Value {
    let address = server.address();
    let arguments = [&["dump", address.as_str()], names].concat();
    serde_json::from_str(&support_script("living.py", &arguments)).unwrap()
}

fn job(to: &str, source_more: &str, more: &str) -> String {
    let from = source().address();
    format!("source: {{milvus: {{address: '{from}', {source_more}}}}}\nsink: {{{to}}}\n{more}")
}

fn to_milvus(server: &Server, more: &str) -> String {
    format!("milvus: {{address: '{}', {more}}}", server.address())
}

/// The rows of a collection that was dumped: by partition, and there by key.
fn rows(dumped: &Value) -> serde_json::Map<String, Value> {
    dumped["rows"].as_object().cloned().unwrap_or_default()
}

/// Every row of one collection is in the other, and no other.
#[track_caller]
fn same_rows(name: &str, one: &Value, other: &Value) {
    let (one, other) = (rows(one), rows(other));
    assert!(!one.is_empty(), "{name}");
    for (partition, rows) in &one {
        let there = &other.get(partition).unwrap_or(&Value::Null);
        for (key, row) in rows.as_object().unwrap() {
            assert_eq!(row, &there[key], "{name}/{partition}: {key}");
        }
        let count = |rows: &Value| rows.as_object().map_or(0, |rows| rows.len());
        assert_eq!(count(rows), count(there), "{name}/{partition}");
    }
}

/// The schema that was copied is the source's; only that it was made by a run is said, and keys are kept.
#[track_caller]
fn same_schema(name: &str, one: &Value, other: &Value) {
    let schema = |dumped: &Value| {
        let mut schema = dumped["schema"].clone();
        let said = schema["description"].as_str().unwrap().to_owned();
        let said = said.split("milvusdm run").next().unwrap();
        schema["description"] = json!(said.trim_end_matches([' ', '(']));
        schema["auto_id"] = json!(null);
        for field in schema["fields"].as_array_mut().unwrap() {
            if field["is_primary"] == json!(true) {
                field["auto_id"] = json!(null);
            }
        }
        schema
    };
    // Keys come first in a copy.
    let sorted = |dumped: &Value| {
        let mut schema = schema(dumped);
        let fields = schema["fields"].as_array_mut().unwrap();
        fields.sort_by_key(|field| field["name"].as_str().unwrap().to_owned());
        schema
    };
    assert_eq!(sorted(one), sorted(other), "{name}");
    for what in ["partitions", "indexes", "about"] {
        assert_eq!(one[what], other[what], "{name}: {what}");
    }
}

const ALL: [&str; 10] = [
    "plain", "every", "parts", "keyed", "bits", "traits", "wide", "empty", "twice", "verbatim",
];

/// What a collection counts once it was copied: rows whose key another one has stay behind.
fn counted(name: &str, source: &Value) -> Value {
    match name {
        "twice" => json!(260),
        _ => source["count"].clone(),
    }
}

#[test]
fn everything_goes_to_another_server_row_by_row_with_its_whole_schema() {
    let (from, to) = (source(), other());
    let jobs = Jobs::new();
    let collections = format!("collections: [{}]", ALL.join(", "));
    let sink = to_milvus(to, "index: source, load: true, aliases: true");
    let job = job(&sink, &collections, "run: {verify: full, batch: 32KiB}\n");
    let ended = jobs.run("all", &job).code(0);
    assert_eq!(ended.report["snapshot"], "live", "{}", ended.said);
    let (one, other) = (dump(from, &ALL), dump(to, &ALL));
    for name in ALL {
        same_rows(name, &one[name], &other[name]);
        same_schema(name, &one[name], &other[name]);
        let expected = counted(name, &one[name]);
        assert_eq!(other[name]["count"], expected, "{name}");
    }
    for target in ended.report["targets"].as_array().unwrap() {
        assert_eq!(target["agrees"], true, "{target}");
    }
    assert_eq!(one["twice"]["count"], 590);
    ended.says(&["330 rows have the key of another row"]);
    assert_eq!(other["traits"]["aliases"], json!(["traits_alias"]));
}

#[test]
fn json_travels_byte_for_byte_and_what_is_none_is_named() {
    let jobs = Jobs::new();
    let sink = to_milvus(other(), "index: source, load: true");
    let job = |name: &str, more: &str| {
        let into = format!("into: {{collection: copy_of_{name}}}\nrun: {{{more}}}\n");
        job(&sink, &format!("collections: [{name}]"), &into)
    };
    jobs.run("verbatim", &job("verbatim", "verify: full"))
        .code(0);
    let raw = |server: &Server, name: &str| -> Value {
        let said = support_script("living.py", &["raw", &server.address(), name]);
        serde_json::from_str::<Value>(&said).unwrap()[name].take()
    };
    let there = raw(other(), "copy_of_verbatim");
    assert_eq!(raw(source(), "verbatim"), there);
    assert_eq!(there.as_object().unwrap().len(), 7);
    let spoilt = job("spoilt", "verify: full");
    let ended = jobs.run("spoilt", &spoilt);
    ended
        .code(3)
        .says(&["`j` of the row with key 1 is not JSON", "filter"]);
    let without = spoilt.replace("[spoilt]", "[spoilt], filter: 'pk != 1'");
    let without = without.replace("copy_of_spoilt", "copy_of_sound");
    jobs.run("without", &without).code(0);
    let keys = raw(other(), "copy_of_sound");
    let keys: Vec<&String> = keys.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["0", "2"]);
}

#[test]
fn answers_that_are_too_long_are_asked_for_in_halves() {
    let jobs = Jobs::new();
    let sink = to_milvus(other(), "index: source, load: true");
    let job = job(&sink, "collections: [long]", "run: {verify: full}\n");
    let ended = jobs.run("long", &job).code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 300);
    assert_eq!(ended.report["targets"][0]["content"]["rows_compared"], 300);
}

#[test]
fn the_greatest_key_is_refused_before_a_row_moves_and_can_be_left_behind() {
    let jobs = Jobs::new();
    let sink = to_milvus(other(), "index: source");
    let refused = job(&sink, "collections: [last]", "");
    let said = [
        "9223372036854775807",
        "counts but returns to no query",
        "filter:",
    ];
    jobs.run("refused", &refused).code(3).says(&said);
    let without = "collections: [last], filter: 'pk < 9223372036854775807'";
    let ended = jobs.run("without", &job(&sink, without, ""));
    let ended = ended.code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 6);
    let there = dump(other(), &["last"]);
    let keys = there["last"]["rows"]["_default"].as_object().unwrap();
    assert!(keys.contains_key("-9223372036854775808"), "{keys:?}");
}

#[test]
fn a_filter_and_named_columns_say_what_travels() {
    let jobs = Jobs::new();
    let sink = to_milvus(other(), "index: source");
    let into = "into: {collection: few}\n";
    let wrong = job(&sink, "collections: [traits], columns: [vv, n]", into);
    jobs.run("wrong", &wrong)
        .code(2)
        .says(&["no field `vv`", "did you mean"]);
    let some = "collections: [traits], columns: [v, n], filter: 'n < 100 or n >= 850'";
    let ended = jobs.run("few", &job(&sink, some, into)).code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 150);
    let fixed = job(
        &sink,
        "collections: [every], dynamic: false",
        "into: {collection: fixed}\n",
    );
    jobs.run("fixed", &fixed).code(0);
    let there = dump(other(), &["few", "fixed"]);
    let names = |name: &str| {
        let fields = there[name]["schema"]["fields"].as_array().unwrap().iter();
        fields
            .map(|f| f["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("few"), ["pk", "n", "v"]);
    let indexes = there["few"]["indexes"].as_array().unwrap();
    let indexed: Vec<&Value> = indexes.iter().map(|i| &i[1]).collect();
    assert_eq!(indexed, ["by_n", "by_v"]);
    assert_eq!(there["fixed"]["about"]["enable_dynamic_field"], false);
    assert_eq!(names("fixed").len(), 19);
}

#[test]
fn a_target_that_fails_and_a_schema_that_differs_end_the_job() {
    let jobs = Jobs::new();
    let sink = to_milvus(other(), "");
    let into = |name: &str| format!("into: {{collection: {name}}}\nrun: {{verify: off}}\n");
    jobs.run("made", &job(&sink, "collections: [bits]", &into("differs")))
        .code(0);
    let ended = jobs.run(
        "differs",
        &job(&sink, "collections: [plain]", &into("differs")),
    );
    ended.code(5).says(&["schema mismatch", "differs"]);
    // The same fields, of another dimension.
    jobs.run(
        "narrow",
        &job(&sink, "collections: [last], filter: 'pk < 9'", &into("two")),
    )
    .code(0);
    let ended = jobs.run("wide", &job(&sink, "collections: [plain]", &into("two")));
    ended.code(5).says(&["schema mismatch", "two"]);
    // In the middle of the rows: a text that is too long for the field that there is.
    let narrow = "fields: {columns: {text: {type: varchar, max_length: 20}}}\n";
    let into = "into: {collection: short}\n";
    let ended = jobs.run(
        "short",
        &job(&sink, "collections: [every]", &format!("{narrow}{into}")),
    );
    ended.code(3).says(&["text", "20"]);
}

#[test]
fn what_is_not_loaded_is_refused_or_loaded_for_the_job_and_released() {
    let (from, to) = (source(), Server::shared(Engine::LitePython));
    let jobs = Jobs::new();
    let asleep = |more: &str| {
        let collections = format!("collections: [asleep], {more}");
        let fields = "fields: {id: pk, vector: v}\n";
        job(&to_milvus(to, ""), &collections, fields)
    };
    jobs.run("refused", &asleep(""))
        .code(5)
        .says(&["asleep is not loaded", "load: true"]);
    let ended = jobs.run("loaded", &asleep("load: true")).code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 50);
    let state = "import sys; from pymilvus import connections, utility\n\
                 host, port = sys.argv[1].split(':'); connections.connect(host=host, port=port)\n\
                 print(utility.load_state('asleep').name)";
    let state = support::run_python(state, &[&from.address()]);
    assert_eq!(state, "NotLoad", "it is released again");
}

#[test]
fn a_job_of_milvus_migration_runs_as_it_stands() {
    let (from, to) = (source(), Server::shared(Engine::LitePython));
    let jobs = Jobs::new();
    let text = format!(
        "dumper:\n  worker:\n    limit: 2\n    workMode: milvus2x\n    reader:\n      bufferSize: 500\n\
         meta:\n  mode: config\n  version: 2.3.0\n  collection: plain\n  milvus:\n    collection: plain_copy\n\
         source:\n  milvus2x:\n    endpoint: {}\n    username:\n    password:\n\
         target:\n  milvus2x:\n    endpoint: {}\n",
        from.address(),
        to.address()
    );
    std::fs::write(jobs.path("migration.yaml"), text).unwrap();
    let output = jobs.milvusdm(&["start", "-c", "migration.yaml", "--progress", "none"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("bufferSize") || said.contains("buffersize"),
        "{said}"
    );
    assert_eq!(dump(to, &["plain_copy"])["plain_copy"]["count"], 6000);
}
