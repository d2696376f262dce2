//! Faiss fixtures, read the way a job does.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use milvusdm::batch::{Limits, Part, Position, Shard};
use milvusdm::error::Result;
use milvusdm::job::{Form, Mistakes};
use milvusdm::source::{SOURCES, Source};

/// So small that files of a dozen rows have several batches.
pub const LIMITS: Limits = Limits {
    batch_bytes: 4 << 20,
    batch_rows: 5,
};

/// A row: its id, its vector's bytes.
pub type Row = (i64, Vec<u8>);

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faiss")
}

/// Names of all fixtures, and of those only that are small.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures()).unwrap();
    let names = entries.filter_map(|entry| {
        let path = entry.unwrap().path();
        let index = path.extension().is_some_and(|e| e == "index");
        index.then(|| path.file_stem().unwrap().to_str().unwrap().to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert!(names.len() > 60, "fixtures are missing");
    names
}

/// What is in a fixture.
pub struct Expected {
    pub lossy: bool,
    pub refused: bool,
    pub tolerance: f32,
    pub rows: Vec<Row>,
}

pub fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(fixtures().join(format!("{name}.rows"))).unwrap();
    let (notes, rows) = text.split_once('\n').unwrap();
    let note = |key: &str| {
        let mut words = notes.split_whitespace();
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    let row = |line: &str| {
        let (id, hex) = line.split_once('\t').unwrap();
        let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
        let vector = (0..hex.len()).step_by(2).map(byte).collect();
        (id.parse().unwrap(), vector)
    };
    Expected {
        lossy: note("lossy").is_some(),
        refused: note("refused").is_some(),
        tolerance: note("tolerance").map_or(0.0, |t| t.parse().unwrap()),
        rows: rows.lines().map(row).collect(),
    }
}

/// The source that these settings make.
pub fn open(settings: &str) -> Result<Box<dyn Source>> {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(settings).unwrap();
    let kind = SOURCES.iter().find(|kind| kind.name == "faiss").unwrap();
    let mut form = Form::new("source.faiss", map, kind.settings, &mistakes);
    let spec = (kind.read)(&mut form);
    assert!(form.done(), "{:?}", mistakes.all());
    spec.unwrap().open()
}

pub fn settings(path: &Path, lossy: bool, more: &str) -> String {
    let lossy = if lossy { "allow" } else { "refuse" };
    format!("{{path: '{}', lossy: {lossy}{more}}}", path.display())
}

/// What is wrong with these settings.
pub fn mistakes(settings: &str) -> Vec<String> {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(settings).unwrap();
    let kind = SOURCES.iter().find(|kind| kind.name == "faiss").unwrap();
    let mut form = Form::new("source.faiss", map, kind.settings, &mistakes);
    let _ = (kind.read)(&mut form);
    let all = mistakes.all().into_iter();
    all.map(|m| format!("{}: {}", m.key, m.what)).collect()
}

/// The parts of a shard from a position on, and where each batch ended.
pub fn read(
    source: &dyn Source,
    shard: &Shard,
    from: Position,
) -> Result<(Vec<Part>, Vec<Position>)> {
    let mut reader = source.open(shard, from, LIMITS)?;
    let (mut parts, mut ends) = (Vec::new(), Vec::new());
    while let Some(cut) = reader.next()? {
        let rows: usize = cut.parts.iter().map(Part::len).sum();
        assert!(rows > 0 && rows as u64 <= LIMITS.batch_rows);
        assert!(cut.parts.iter().all(|part| !part.is_empty()));
        parts.extend(cut.parts);
        ends.push(cut.next);
    }
    Ok((parts, ends))
}

pub fn rows(parts: &[Part]) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in parts {
        let width = part.vectors().len() / part.len();
        let vectors = part.vectors().chunks(width).map(<[u8]>::to_vec);
        rows.extend(part.ids().iter().copied().zip(vectors));
    }
    rows
}

/// All rows of a source, in order.
pub fn all(source: &dyn Source) -> Result<Vec<Row>> {
    let survey = source.survey(LIMITS)?;
    let mut found = Vec::new();
    for shard in &survey.manifest.shards {
        found.extend(rows(&read(source, shard, shard.start.clone())?.0));
    }
    Ok(found)
}
