//! docs/jobs.md names the settings of classic jobs: those that the parser knows, and no others.

use std::collections::BTreeSet;
use std::path::Path;

use milvusdm::job::{CLASSIC, ClassicKey, classic_keys};

#[test]
fn the_table_of_classic_settings_is_what_the_parser_knows() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/jobs.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, table) = docs.split_once("## Settings of classic jobs").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut told = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let (key, means) = (cells[0].trim_end_matches('`'), cells[1].trim_matches('`'));
        for job in cells[2].trim_end_matches(" |").split(", ") {
            assert!(told.insert((job, key, means)), "{row} is there twice");
        }
    }
    let mut known = BTreeSet::new();
    for job in CLASSIC {
        for key in classic_keys(job) {
            known.insert(match key {
                ClassicKey::Means(old, new) => (job, old, new),
                ClassicKey::Own(setting) => (job, setting.name, setting.about),
            });
        }
    }
    let missing: Vec<_> = known.difference(&told).collect();
    let unknown: Vec<_> = told.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not told: {missing:#?}, not known: {unknown:#?}"
    );
    for key in [
        "dest_user",
        "dest_token",
        "dest_tls",
        "load",
        "index",
        "run",
        "into",
        "fields",
    ] {
        assert!(told.iter().any(|(_, known, _)| *known == key), "{key}");
    }
}
