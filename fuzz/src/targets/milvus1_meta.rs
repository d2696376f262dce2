//! Rows of the metadata tables of Milvus 1.x, over a whole directory of segments: a line each, `T`, `S` or `F` for the
//! table, then cells after tabs: `#` and a number, `-` for none, anything else is text.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::milvus1::{KIND, inspect};
use rusqlite::types::Value;

use super::milvus1_directory::copy;
use super::support::{open, read_all, repository, room};

const GOLDEN: &str = "tests/fixtures/milvus1x/v1.0.0/milvus";
const TABLES: [(&str, &str); 3] = [
    (
        "Tables",
        "id, table_id, state, dimension, flag, engine_type, index_params, metric_type, owner_table, partition_tag, flush_lsn",
    ),
    (
        "TableFiles",
        "id, table_id, segment_id, file_type, row_count",
    ),
    ("Fields", "collection_id"),
];

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| {
    let room = room("meta");
    copy(&repository(GOLDEN), &room);
    room
});

pub fn run(bytes: &[u8]) {
    let _ = std::fs::remove_file(ROOM.join("db/meta.sqlite"));
    let connection = rusqlite::Connection::open(ROOM.join("db/meta.sqlite")).unwrap();
    let tables = TABLES
        .map(|(table, columns)| format!("CREATE TABLE {table}({columns});"))
        .concat();
    let pragmas = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN;";
    connection
        .execute_batch(&format!("{pragmas}{tables}"))
        .unwrap();
    for line in String::from_utf8_lossy(bytes).lines().take(200) {
        let mut cells = line.split('\t');
        let letter = cells.next();
        let table = ["T", "S", "F"].iter().position(|t| Some(*t) == letter);
        let Some((table, columns)) = table.map(|t| TABLES[t]) else {
            continue;
        };
        let columns = columns.split(", ").count();
        let cells = cells
            .chain(std::iter::repeat("-"))
            .take(columns)
            .map(|cell| match cell.strip_prefix('#') {
                Some(number) => number.parse().map_or(Value::Real(1.8e19), Value::Integer),
                None if cell == "-" => Value::Null,
                None => Value::Text(cell.to_owned()),
            });
        let room = vec!["?"; columns].join(", ");
        let values = rusqlite::params_from_iter(cells);
        connection
            .execute(&format!("INSERT INTO {table} VALUES({room})"), values)
            .unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    drop(connection);
    let settings = format!(
        "{{path: '{}', ignore_wal: {}}}",
        ROOM.display(),
        bytes.len().is_multiple_of(2)
    );
    let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
    let _ = inspect(&ROOM, None).map(|d| d.to_string());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let path = repository(GOLDEN).join("db/meta.sqlite");
    let uri = format!("file:{}?immutable=1", path.display());
    let connection = rusqlite::Connection::open(uri).unwrap();
    let mut lines = Vec::new();
    for (letter, (table, columns)) in ["T", "S", "F"].into_iter().zip(TABLES) {
        let mut statement = connection
            .prepare(&format!("SELECT {columns} FROM {table}"))
            .unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells = (0..columns.split(", ").count()).map(|i| match row.get_unwrap(i) {
                Value::Integer(number) => format!("\t#{number}"),
                Value::Text(text) => format!("\t{text}"),
                other => unreachable!("{other:?}"),
            });
            lines.push(format!("{letter}{}\n", cells.collect::<String>()));
        }
    }
    let few = lines.iter().filter(|line| line.contains("f8_dupdel"));
    vec![
        lines.concat().into_bytes(),
        few.cloned().collect::<String>().into_bytes(),
    ]
}
