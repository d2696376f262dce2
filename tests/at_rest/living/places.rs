//! Which collections of which databases, and what they are called where they arrive.

use serde_json::json;

use crate::living::migration::{Jobs, flat_index};
use crate::living::{dump, job, other, same_rows, same_schema, source, support, to_milvus};

#[test]
fn two_databases_go_in_one_job_and_names_tell_them_apart() {
    let jobs = Jobs::new();
    let sink = to_milvus(other(), "index: source, load: true");
    let both = "db: [default, 'sec*'], collections: [plain, second.more]";
    // The same name in both: which rows go where must be said.
    let ended = jobs.run("unsaid", &job(&sink, both, ""));
    ended.code(2).says(&[
        "default.plain and second.plain would both be called plain",
        "{db}_{collection}",
    ]);
    let into = "into: {collection: 'of_{db}_{collection}'}\nrun: {verify: full}\n";
    let ended = jobs.run("both", &job(&sink, both, into)).code(0);
    assert_eq!(ended.report["targets"].as_array().unwrap().len(), 3);
    let one = dump(source(), &["plain", "second.plain", "second.more"]);
    let copies = ["of_default_plain", "of_second_plain", "of_second_more"];
    let there = dump(other(), &copies);
    for (from, to) in ["plain", "second.plain", "second.more"]
        .into_iter()
        .zip(copies)
    {
        same_rows(from, &one[from], &there[to]);
        assert_eq!(one[from]["count"], there[to]["count"], "{from}");
    }
    let wrong = job(&sink, "db: [secnd, default]", into);
    jobs.run("wrong", &wrong)
        .code(2)
        .says(&["no database is called `secnd`", "did you mean"]);
    let none = "into: {collection: '{db}_x'}\n";
    let faiss = format!("source: {{faiss: {{path: a.index}}}}\nsink: {{{sink}}}\n{none}");
    flat_index(&jobs, "a.index", 10, 4);
    jobs.run("none", &faiss)
        .code(2)
        .says(&["the source reports no database"]);
}

#[test]
fn a_database_goes_into_one_of_its_name() {
    let jobs = Jobs::new();
    let make = "import sys; from pymilvus import connections, db\n\
                host, port = sys.argv[1].split(':'); connections.connect(host=host, port=port)\n\
                db.create_database('second')";
    support::run_python(make, &[&other().address()]);
    let sink = to_milvus(other(), "db: second, index: source, load: true");
    let ended = jobs.run("second", &job(&sink, "db: second", "run: {verify: full}\n"));
    ended.code(0);
    let names = ["second.plain", "second.more"];
    let (one, there) = (dump(source(), &names), dump(other(), &names));
    for name in names {
        same_rows(name, &one[name], &there[name]);
        same_schema(name, &one[name], &there[name]);
    }
}

#[test]
fn globs_choose_and_names_merge_what_has_the_same_schema() {
    let jobs = Jobs::new();
    let sink = to_milvus(other(), "index: source, load: true");
    // Allowed and blocked by the job, with the database before the name and without.
    let lists =
        "collections: {allow: ['second.*', plain, 'part*'], block: ['default.plain', '*/empty']}\n";
    let chosen = job(
        &sink,
        "db: '*'",
        &format!(
            "{lists}into: {{collection: 'by_{{db}}_{{collection}}', partition: 'x_{{partition}}'}}\n"
        ),
    );
    let ended = jobs.run("chosen", &chosen).code(0);
    let targets = ended.report["targets"].as_array().unwrap();
    let mut names: Vec<&str> = targets
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let expected = [
        "by_default_parts/x_",
        "by_default_parts/x_p1",
        "by_default_parts/x_p2",
        "by_second_more/x_",
        "by_second_plain/x_",
    ];
    assert_eq!(names, expected);
    // Equal schemas under one name, a partition for each.
    let merged = job(
        &sink,
        "db: second, collections: ['*']",
        "into: {collection: merged, partition: '{db}_{collection}'}\nrun: {verify: full}\n",
    );
    let ended = jobs.run("merged", &merged).code(0);
    assert_eq!(ended.report["targets"].as_array().unwrap().len(), 2);
    let one = dump(source(), &["second.plain", "second.more"]);
    let there = dump(other(), &["merged"]);
    assert_eq!(there["merged"]["count"], json!(800));
    for name in ["plain", "more"] {
        let from = &one[&format!("second.{name}")]["rows"]["_default"];
        assert_eq!(from, &there["merged"]["rows"][&format!("second_{name}")]);
    }
    let other_schema = job(
        &to_milvus(other(), "load: false"),
        "collections: [plain, bits]",
        "into: {collection: mixed}\n",
    );
    jobs.run("mixed", &other_schema)
        .code(2)
        .says(&["cannot be merged"]);
}
