//! Servers that answer wrongly, or "later": a stand-in, because no real one does on demand.

use milvusdm::milvus::proto::*;

use crate::living::migration::Jobs;
use crate::support::fake_milvus::Fake;

/// Rows 0 to 99, of which an answer holds those that are asked for.
fn asked(request: &QueryRequest) -> Vec<i64> {
    let bound = |sign: &str| {
        let all = request.expr.split(" and ").filter_map(|part| {
            let part = part.trim_matches(['(', ')']);
            part.strip_prefix("id ")?
                .strip_prefix(sign)?
                .parse::<i64>()
                .ok()
        });
        all.collect::<Vec<i64>>()
    };
    let (after, upto) = (bound("> "), bound("<= "));
    let one_key = request.expr.split_once("id in [");
    let one_key = one_key.and_then(|(_, rest)| rest.split(']').next()?.parse::<i64>().ok());
    (0..100)
        .filter(|id| after.iter().all(|a| id > a) && upto.iter().all(|u| id <= u))
        .filter(|id| one_key.is_none_or(|key| *id == key))
        .collect()
}

fn answer(request: &QueryRequest, ids: Vec<i64>) -> QueryResults {
    let param = |key: &str| {
        let param = request.query_params.iter().find(|p| p.key == key)?;
        param.value.parse::<usize>().ok()
    };
    let longs = |name: &str, data: Vec<i64>| FieldData {
        field_name: name.to_owned(),
        scalars: Some(ScalarField {
            long_data: Some(LongArray { data }),
            ..ScalarField::default()
        }),
        ..FieldData::default()
    };
    let fields_data = match request.output_fields.first().map(String::as_str) {
        Some("count(*)") => vec![longs("count(*)", vec![ids.len() as i64])],
        _ => {
            let ids = match param("limit") {
                Some(limit) => {
                    let some = ids.into_iter().skip(param("offset").unwrap_or(0));
                    some.take(limit).collect()
                }
                None => ids,
            };
            let vector = FieldData {
                field_name: "embedding".to_owned(),
                vectors: Some(VectorField {
                    dim: 2,
                    float_vector: Some(FloatBytes {
                        data: vec![0; ids.len() * 8].into(),
                    }),
                    ..VectorField::default()
                }),
                ..FieldData::default()
            };
            vec![vector, longs("id", ids)]
        }
    };
    QueryResults {
        fields_data,
        ..QueryResults::default()
    }
}

fn is_rows(request: &QueryRequest) -> bool {
    request
        .output_fields
        .iter()
        .any(|field| field == "embedding")
}

/// Copies the rows of a server that answers queries so into files.
fn run(
    by: impl FnMut(&QueryRequest) -> QueryResults + Send + 'static,
) -> (Option<i32>, String, Jobs) {
    let fake = Fake::start("v2.3.5");
    let field = |name: &str, data_type| FieldSchema {
        name: name.to_owned(),
        data_type,
        ..FieldSchema::default()
    };
    let key = FieldSchema {
        is_primary_key: true,
        ..field("id", data_type::INT64)
    };
    let vector = FieldSchema {
        type_params: vec![KeyValue::new("dim", "2")],
        ..field("embedding", data_type::FLOAT_VECTOR)
    };
    let schema = CollectionSchema {
        name: "c".to_owned(),
        fields: vec![key, vector],
        ..CollectionSchema::default()
    };
    fake.has(schema, 100);
    fake.has_partition("c", "_default");
    fake.queried(by);
    let jobs = Jobs::new();
    let job = format!(
        "source: {{milvus: {{address: '{}', page: 10}}}}\nsink: {{parquet: {{dir: '{}'}}}}\nrun: {{verify: count}}\n",
        fake.address,
        jobs.path("out").display()
    );
    let ended = jobs.run("job", &job);
    (ended.code, ended.said, jobs)
}

#[test]
fn a_row_that_was_not_asked_for_or_comes_twice_ends_the_job() {
    let beside = run(|request| {
        let mut ids = asked(request);
        if is_rows(request) && ids.contains(&45) {
            ids.push(70);
        }
        answer(request, ids)
    });
    assert_eq!(beside.0, Some(5), "{}", beside.1);
    assert!(
        beside.1.contains("with the key 70 that was not requested"),
        "{}",
        beside.1
    );
    let twice = run(|request| {
        let mut ids = asked(request);
        if is_rows(request) && ids.contains(&45) {
            ids.insert(1, ids[0]);
        }
        answer(request, ids)
    });
    assert_eq!(twice.0, Some(5), "{}", twice.1);
    assert!(twice.1.contains("two rows with the key"), "{}", twice.1);
    // Counted, and never given.
    let withheld = run(|request| {
        let mut ids = asked(request);
        if !request.output_fields[0].starts_with("count") {
            ids.retain(|id| *id != 45);
        }
        answer(request, ids)
    });
    assert_eq!(withheld.0, Some(5), "{}", withheld.1);
    assert!(withheld.1.contains("does not return"), "{}", withheld.1);
}

#[test]
fn what_a_server_refuses_for_a_while_is_asked_again() {
    // Load balance, nodes that go and come, limits: codes of Milvus, and words where it has none.
    let mut passing: Vec<(i32, &str)> = [4, 8, 12, 103, 106, 503, 601, 902, 2200]
        .into_iter()
        .map(|code| (code, "later"))
        .collect();
    passing.push((65535, "fail to Query: no available shard delegator found"));
    let mut number = 0;
    let ended = run(move |request| {
        number += 1;
        if number % 4 == 0
            && let Some((code, reason)) = passing.pop()
        {
            return QueryResults {
                status: Some(Status {
                    error_code: 1,
                    code,
                    reason: reason.to_owned(),
                    retriable: false,
                }),
                ..QueryResults::default()
            };
        }
        answer(request, asked(request))
    });
    assert_eq!(ended.0, Some(0), "{}", ended.1);
    assert!(ended.1.contains("100 rows"), "{}", ended.1);
    // What does not pass ends the job at once.
    let ended = run(|request| QueryResults {
        status: Some(Status {
            error_code: 1,
            code: 1100,
            reason: format!("cannot parse expression: {}", request.expr),
            retriable: false,
        }),
        ..QueryResults::default()
    });
    assert_eq!(ended.0, Some(5), "{}", ended.1);
}
