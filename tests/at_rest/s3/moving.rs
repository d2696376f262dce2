//! Files of a source that changes while it is read, in a bucket: what is up already is gone on with as far as it holds.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, StringArray};
use milvusdm::batch::{Limits, Part, Target};
use milvusdm::buffers::Buffers;
use milvusdm::job::{Form, Job, Mistakes};
use milvusdm::schema::{Column, ColumnType, Columns, Element, Scalar, VectorType};
use milvusdm::sink::{Decision, Finishing, SINKS, Sink};
use milvusdm::source::parquet;

use crate::s3::settings;
use crate::support::{batch, target};

/// A key, and the version of its row.
type Row = (i64, u64);

fn columns() -> Arc<Columns> {
    let text = ColumnType::VarChar { max_bytes: None };
    let key = Column::key("pk", ColumnType::Scalar(Scalar::Int64));
    Columns::new(vec![key, Column::new("t", text)]).unwrap()
}

fn part(rows: &[Row]) -> Part {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let versions = rows.iter().map(|row| row.1.to_string());
    let versions: ArrayRef = Arc::new(StringArray::from_iter_values(versions));
    Part::new(&columns(), vec![keys, versions], &Path::new("x").into(), 0).unwrap()
}

fn sink(dir: &str, home: &Path, rows_per_file: usize) -> Box<dyn Sink> {
    let checkpoint = home.join("ckpt");
    let text = format!(
        "source: {{none: {{}}}}\nsink: {{parquet: {{dir: '{dir}', rows_per_file: {rows_per_file}, {}}}}}\n\
         run: {{checkpoint: '{}'}}\n",
        settings(),
        checkpoint.display()
    );
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    let known = SINKS.iter().find(|kind| kind.name == "parquet").unwrap();
    let map = job.sink.settings.clone();
    let mut form = Form::new("sink", map, known.settings, &job.mistakes);
    let spec = (known.read)(&mut form);
    form.done();
    job.check().unwrap();
    spec.unwrap().open(&job.run).unwrap()
}

/// One attempt: so many of the rows arrive, and all is finished where all do.
fn attempt(sink: &dyn Sink, rows: &[Row], arrive: usize, decided: &mut Option<Decision>) {
    let (part, batch_rows) = (part(rows), 4);
    let plain = VectorType {
        element: Element::Float32,
        dimension: 8,
    };
    let target = Target {
        columns: columns(),
        rows: 40,
        ..target(sink, plain)
    };
    let begun = decided.is_some();
    let decision = match decided {
        Some(decision) => decision.clone(),
        None => decided.insert(sink.decide(&target).unwrap()).clone(),
    };
    sink.begin(7);
    sink.rows_may_change();
    sink.prepare(&target, &decision, begun).unwrap();
    let mut first = 0;
    while first < arrive.min(part.len()) {
        let batch = batch(&target, &part, first, batch_rows);
        let rows = batch.rows() as usize;
        let parcel = sink.pack(batch, Buffers::default().take()).unwrap();
        let first_time = milvusdm::sink::Attempt::First;
        sink.deliver(&parcel, first_time).unwrap();
        first += rows;
    }
    while arrive == usize::MAX && sink.finish(&target).unwrap() != Finishing::Done {}
}

/// What the directory gives as a source: an error where there is a file too many.
fn held(dir: &str) -> Vec<Row> {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(&format!("{{dir: '{dir}', {}}}", settings())).unwrap();
    let mut form = Form::new("source", map, parquet::KIND.settings, &mistakes);
    let spec = (parquet::KIND.read)(&mut form).unwrap();
    let source = spec.open().unwrap_or_else(|e| panic!("{e}"));
    let limits = Limits {
        batch_bytes: 1 << 20,
        batch_rows: 1000,
    };
    let manifest = source.survey(limits).unwrap().manifest;
    let mut found = Vec::new();
    for shard in &manifest.shards {
        let mut reader = source.open(shard, shard.start.clone(), limits).unwrap();
        while let Some(cut) = reader.next().unwrap() {
            for part in &cut.parts {
                let (keys, texts) = (part.column(0), part.column(1));
                let keys = keys.as_primitive::<Int64Type>().values().iter();
                let texts = texts.as_string::<i32>().iter();
                found.extend(
                    keys.zip(texts)
                        .map(|(k, t)| (*k, t.unwrap().parse().unwrap())),
                );
            }
        }
    }
    found
}

#[test]
fn rows_that_change_between_attempts_are_as_they_came_last() {
    // Rows that came before, where they differ from then on, and how many there are at last.
    for (number, (rows_per_file, arrive, differs, last)) in [
        // In the middle of a file that is up; in the first; at a border; in the one that is not whole yet.
        (10, 36, 25, 40),
        (10, 36, 3, 40),
        (10, 36, 20, 40),
        (10, 36, 33, 40),
        // Files that are up and no longer needed.
        (10, 36, 12, 14),
        (10, 40, 40, 20),
        (10, 36, 0, 0),
        // More rows than there were; the same rows.
        (10, 40, 40, 57),
        (7, 40, 40, 40),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = format!("s3://tests/moving-{number}");
        let home = tempfile::tempdir().unwrap();
        let mut decided = None;
        let before: Vec<Row> = (0..40).map(|key| (key, 0)).collect();
        let first = sink(&dir, home.path(), rows_per_file);
        attempt(&*first, &before, arrive, &mut decided);
        drop(first);
        let after: Vec<Row> = (0..last)
            .map(|key| (key, u64::from(key >= differs)))
            .collect();
        let second = sink(&dir, home.path(), rows_per_file);
        attempt(&*second, &after, usize::MAX, &mut decided);
        assert_eq!(held(&dir), after, "case {number}");
        assert!(!home.path().join("ckpt.staging").exists(), "case {number}");
    }
}
