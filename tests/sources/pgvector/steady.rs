//! Queries and views that have other rows, or other keys for them, each time they are executed: read once, or refused.

use std::collections::BTreeSet;

use milvusdm::batch::{Limits, Position};
use milvusdm::error::Kind;
use milvusdm::source::Source;

use crate::pgvector::postgres;
use crate::pgvector::tables::open;

const ROWS: i64 = 20_001;

const LIMITS: Limits = Limits {
    batch_bytes: 1 << 20,
    batch_rows: 500,
};

fn made() {
    static MADE: std::sync::Once = std::sync::Once::new();
    MADE.call_once(|| {
        postgres().sql(&format!(
            "CREATE TABLE drawn (id bigint, v vector(2)); \
             INSERT INTO drawn SELECT n, '[1,2]' FROM generate_series(1, {ROWS}) n; ANALYZE drawn; \
             CREATE VIEW numbered AS SELECT row_number() OVER () AS k, id, v FROM drawn; \
             CREATE FUNCTION half(id bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS \
             $$ BEGIN RETURN random() < 0.5; END $$"
        ));
    });
}

/// The values of `id` in all rows of a source.
fn ids(source: &dyn Source) -> Vec<i64> {
    let survey = source.survey(LIMITS).unwrap();
    let columns = &survey.manifest.targets[0].columns;
    let (column, _) = columns.named("id").unwrap();
    let mut ids = Vec::new();
    for shard in &survey.manifest.shards {
        let mut reader = source.open(shard, shard.start.clone(), LIMITS).unwrap();
        while let Some(cut) = reader.next().unwrap() {
            let parts = cut.parts.iter();
            ids.extend(parts.flat_map(|part| part.ints_of(column).to_vec()));
        }
    }
    ids
}

#[test]
fn what_may_have_other_rows_each_time_is_read_in_one_pass_and_not_resumed() {
    made();
    let all = |rows: i64| (rows, rows);
    for (settings, why, (least, most)) in [
        ("table: numbered, key: k", "a window function", all(ROWS)),
        (
            "query: 'select row_number() over () as k, id, v from drawn', key: k",
            "a window function",
            all(ROWS),
        ),
        (
            "query: 'select gen_random_uuid() as k, id, v from drawn', key: k",
            "the volatile function gen_random_uuid()",
            all(ROWS),
        ),
        (
            "query: 'select id, v from drawn limit 9000', key: id",
            "LIMIT",
            all(9000),
        ),
        (
            "query: 'select id, v from (select * from drawn order by random() limit 9000) x', key: id",
            "LIMIT",
            all(9000),
        ),
        (
            "query: 'select distinct on (id / 2) id, v from drawn', key: id",
            "DISTINCT ON",
            all(ROWS / 2 + 1),
        ),
        (
            "query: 'select id, v from drawn where random() < 0.5', key: id",
            "the volatile function random()",
            (ROWS / 3, ROWS * 2 / 3),
        ),
        (
            "query: 'select id, v from drawn tablesample bernoulli (50)', key: id",
            "TABLESAMPLE",
            (ROWS / 3, ROWS * 2 / 3),
        ),
    ] {
        let source = open(settings);
        let survey = source.survey(LIMITS).unwrap();
        let shard = match survey.manifest.shards.as_slice() {
            [shard] => shard,
            shards => panic!("{settings}: {} ranges", shards.len()),
        };
        let warned = survey.warnings.iter();
        let warned = warned.filter(|w| w.contains("each time") && w.contains(why));
        assert_eq!(warned.count(), 1, "{settings}: {:?}", survey.warnings);
        let found = ids(&*source);
        let rows = found.len() as i64;
        assert!((least..=most).contains(&rows), "{settings}: {rows} rows");
        let unique: BTreeSet<&i64> = found.iter().collect();
        assert_eq!(unique.len(), found.len(), "{settings}");
        let mut reader = source.open(shard, Position::Start, LIMITS).unwrap();
        let next = reader.next().unwrap().unwrap().next;
        let error = source.open(shard, next, LIMITS).err().unwrap();
        assert_eq!(error.kind(), Kind::Changed, "{settings}: {error}");
        assert!(error.to_string().contains(why), "{settings}: {error}");
    }
}

#[test]
fn what_has_the_same_rows_each_time_is_divided() {
    made();
    for (settings, rows) in [
        ("query: 'select id, v from drawn', key: id", ROWS),
        (
            "query: 'select d.id, d.v, now() as at, lower(''A'') as t from drawn d join drawn e using (id) where d.id > 1', key: id",
            ROWS - 1,
        ),
        (
            "query: 'select id, v from drawn where id % 2 = 0 union all select id, v from drawn where id % 2 = 1', key: id",
            ROWS,
        ),
        (
            "query: 'select id, max(v::text)::vector(2) as v from drawn group by id', key: id",
            ROWS,
        ),
        (
            "query: 'with x as (select * from drawn) select distinct id, v::text::vector(2) as v from x', key: id",
            ROWS,
        ),
    ] {
        let source = open(settings);
        let survey = source.survey(LIMITS).unwrap();
        assert_eq!(
            survey.manifest.shards.len(),
            4,
            "{settings}: {:?}",
            survey.warnings
        );
        let found = ids(&*source);
        assert_eq!(found.len() as i64, rows, "{settings}");
        let shard = &survey.manifest.shards[0];
        let mut reader = source.open(shard, shard.start.clone(), LIMITS).unwrap();
        let next = reader.next().unwrap().unwrap().next;
        source.open(shard, next, LIMITS).unwrap();
    }
}

#[test]
fn rows_that_differ_from_those_counted_in_the_snapshot_are_an_error() {
    made();
    // A function that is declared to be what it is not: its plan tells nothing.
    let source = open("query: 'select id, v from drawn where half(id)', key: id");
    let survey = source.survey(LIMITS).unwrap();
    let mut errors = Vec::new();
    for shard in &survey.manifest.shards {
        let mut reader = source.open(shard, shard.start.clone(), LIMITS).unwrap();
        let error = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        errors.extend(error);
    }
    let error = errors.first().expect("two draws of thousands differ");
    assert_eq!(error.kind(), Kind::Changed, "{error}");
    assert!(
        error.to_string().contains("other rows each time"),
        "{error}"
    );
}
