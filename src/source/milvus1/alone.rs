//! How is the directory of one collection read if its metadata is lost? The job supplies what the metadata would say.
//! Finds segments by their files; opens none.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::job::{Form, Setting};
use crate::limits;
use crate::schema::Metric;

use super::Place;
use super::meta::{Collection, Listed, Meta};

/// What the job says of a directory of segments.
#[derive(Clone, Debug)]
pub struct Alone {
    collection: String,
    partition: String,
    dimension: u32,
    metric: Metric,
}

/// The metrics of Milvus 1.x, in the order of their numbers, which count from 1.
const METRICS: [&str; 7] = [
    "L2",
    "IP",
    "HAMMING",
    "JACCARD",
    "TANIMOTO",
    "SUBSTRUCTURE",
    "SUPERSTRUCTURE",
];

/// The settings of `without_metadata`.
pub const SETTINGS: &[Setting] = &[
    Setting::text("collection", "the name of the collection").required(),
    Setting::number(
        "dimension",
        (1, limits::MILVUS_DIMENSIONS_MAX as u64),
        "what each vector has",
    )
    .required(),
    Setting::choice(
        "metric",
        &METRICS,
        "says whether vectors are floats or bits",
    )
    .required(),
    Setting::text("partition", "the partition; left out: the default one"),
];

impl Alone {
    /// Reads `{collection, partition, dimension, metric}`; `None` when it has mistakes.
    pub fn read(mut form: Form) -> Option<Alone> {
        let collection = form.required("collection", "the name of the collection");
        let partition = form.text("partition").unwrap_or_default();
        let dimension = match form.has("dimension") {
            true => form.number("dimension"),
            false => {
                form.mistake("dimension", "is missing: what each vector has");
                None
            }
        };
        let metric = match form.has("metric") {
            true => form.choice("metric").and_then(Metric::named),
            false => {
                form.mistake(
                    "metric",
                    "is missing: it says whether vectors are floats or bits",
                );
                None
            }
        };
        if let (Some(dimension), Some(metric)) = (dimension, &metric)
            && metric.is_binary()
            && dimension % 8 != 0
        {
            form.mistake(
                "dimension",
                "the bits of a binary vector are a multiple of 8",
            );
        }
        form.done().then_some(())?;
        Some(Alone {
            collection: collection?,
            partition,
            dimension: u32::try_from(dimension?).ok()?,
            metric: metric?,
        })
    }

    /// The directory of segments, and metadata made from what the job says.
    pub fn meta(&self, path: &Path) -> Result<(Place, Meta)> {
        let found = segments(path)?;
        if found.is_empty() {
            let what = "holds no segments: directories with a file that ends in .rv";
            return Err(Error::path(Kind::Job, path, what).hint(
                "name the directory of the collection or partition itself, below db/tables",
            ));
        }
        let whole = path
            .canonicalize()
            .map_err(|e| Error::path(Kind::Job, path, format!("cannot look into it: {e}")))?;
        let name = whole.file_name().unwrap_or_default();
        let tables = whole.parent().unwrap_or(&whole).to_owned();
        let number = METRICS.iter().position(|name| *name == self.metric.name());
        let metric_type = number.map_or(0, |number| number as i64 + 1);
        let listed = found.into_iter().map(Listed::unlisted).collect();
        let partition = (self.partition.clone(), name.to_string_lossy().into_owned());
        let collection = Collection::alone(
            self.collection.clone(),
            self.dimension.into(),
            metric_type,
            partition,
            listed,
        );
        let place = Place {
            given: path.to_owned(),
            root: whole.clone(),
            db: whole,
            tables,
        };
        let collections = vec![collection];
        Ok((
            place,
            Meta {
                collections,
                dropped: 0,
            },
        ))
    }

    /// What cannot be known without metadata.
    pub fn warning(&self) -> String {
        "read without metadata: segments that were merged or dropped and not yet removed are migrated too, so rows may come \
         twice; what waits in the log is not looked at"
            .to_owned()
    }
}

/// The names of the subdirectories that hold vectors, in the order of their creation: names are times.
pub fn segments(path: &Path) -> Result<Vec<String>> {
    let wrong = |e: std::io::Error| {
        let what = match e.kind() {
            std::io::ErrorKind::NotFound => "there is no such directory".to_owned(),
            _ => format!("cannot list: {e}"),
        };
        Error::path(Kind::Job, path, what)
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if holds_vectors(&entry.path()) {
            names.push(name);
        }
    }
    names.sort_by(|one, two| one.len().cmp(&two.len()).then_with(|| one.cmp(two)));
    Ok(names)
}

fn holds_vectors(dir: &PathBuf) -> bool {
    let Ok(mut entries) = std::fs::read_dir(dir) else {
        return false;
    };
    entries.any(|entry| entry.is_ok_and(|e| e.path().extension().is_some_and(|e| e == "rv")))
}
