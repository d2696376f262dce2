//! Which rows does a directory in Pinecone's import format hold? Parquet files below a directory for each namespace:
//! `id`, `values`, `sparse_values` and `metadata`, which is JSON. Other columns, added by exporters, are left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};

use super::{DEFAULT, Settings, partition};
use crate::batch::{Cut, Limits, Part, Position, Shard, TargetName};
use crate::error::{Error, Kind, Result};
use crate::job::Globs;
use crate::parquet;
use crate::schema::{Column, ColumnType, Columns, Role};
use crate::source::documents;
use crate::source::files::natural;
use crate::source::parquet::open_named;
use crate::source::{Files, Reader, Source, Survey};

/// The columns that are migrated besides `id`, and what they become.
const COLUMNS: [(&str, &str); 3] = [
    ("values", "float_vector"),
    ("sparse_values", "sparse_float_vector"),
    ("metadata", "json"),
];

/// Opens a directory.
pub fn open(path: &Path, settings: &Settings, admitted: &Globs) -> Result<Box<dyn Source>> {
    let mut namespaces: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (name, files) in below(path)? {
        namespaces.entry(name).or_default().extend(files);
    }
    if namespaces.is_empty() {
        let what = "has neither .parquet files nor directories of them, one for each namespace";
        return Err(Error::path(Kind::Job, path, what));
    }
    let collection = match (&settings.collection, path.file_name()) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.to_string_lossy().into_owned(),
        (None, None) => "index".to_owned(),
    };
    let there: Vec<String> = namespaces.keys().cloned().collect();
    let wishes =
        COLUMNS.map(|(name, kind)| (name, parquet::wish(kind).expect("there is such a type")));
    let mut targets = Vec::new();
    for namespace in settings.chosen(&there)? {
        let name = TargetName {
            collection: collection.clone(),
            partition: partition(&namespace),
        };
        if admitted.admit(&name.collection, &name.partition) {
            targets.push((name, namespaces[&namespace].clone()));
        }
    }
    let source = open_named(targets, "id", &wishes, settings.access)?;
    let survey = source.survey(Limits {
        batch_bytes: 1,
        batch_rows: 1,
    })?;
    let columns = survey
        .manifest
        .targets
        .iter()
        .map(|target| Made::of(&target.columns));
    let columns = columns.collect::<Result<_>>()?;
    Ok(Box::new(Layout { source, columns }))
}

/// The columns of files, and what they become: those that the service's API returns, in its order.
struct Made {
    stored: Arc<Columns>,
    made: Arc<Columns>,
    /// The number of each column in the files; `None` if no file has it.
    from: Vec<Option<usize>>,
}

impl Made {
    fn of(stored: &Arc<Columns>) -> Result<Made> {
        let (mut all, mut from) = (Vec::new(), Vec::new());
        for name in ["id", "values", "sparse_values"] {
            let mut there = stored.all().iter().enumerate();
            if let Some((number, column)) = there.find(|(_, column)| column.name == name) {
                let mut column = column.clone();
                if column.kind == ColumnType::Sparse {
                    (column.metric, column.index) = super::source::sparse();
                    column.nullable = true;
                }
                all.push(column);
                from.push(Some(number));
            }
        }
        all.push(Column {
            role: Role::Dynamic,
            ..Column::new(documents::REST, ColumnType::Json)
        });
        let mut there = stored.all().iter();
        from.push(there.position(|column| column.name == "metadata"));
        Ok(Made {
            stored: stored.clone(),
            made: Columns::new(all)?,
            from,
        })
    }

    /// A part of the files as it is migrated, with an empty object where a row has no metadata.
    fn part(&self, part: &Part) -> Result<Part> {
        let values = self
            .made
            .all()
            .iter()
            .zip(&self.from)
            .map(|(column, from)| {
                let values = from.map(|number| part.column(number));
                match values {
                    Some(values) if column.role != Role::Dynamic || values.null_count() == 0 => {
                        values
                    }
                    Some(values) => {
                        let texts = values.as_string::<i32>().iter();
                        let texts = texts.map(|text| text.unwrap_or("{}"));
                        Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
                    }
                    None => Arc::new(StringArray::from_iter_values(vec!["{}"; part.len()])),
                }
            });
        Part::new(&self.made, values.collect(), &part.file, part.row)
    }
}

/// The Parquet files of a directory and its subdirectories, by namespace.
fn below(path: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut all = Vec::new();
    let entries = |dir: &Path| -> Result<Vec<PathBuf>> {
        let listed = std::fs::read_dir(dir).map_err(|e| Error::io(dir, "list", &e))?;
        let listed = listed.map(|entry| entry.map(|entry| entry.path()));
        let mut listed: Vec<PathBuf> = listed
            .collect::<std::io::Result<_>>()
            .map_err(|e| Error::io(dir, "list", &e))?;
        listed.sort_by(|one, two| natural(one, two));
        Ok(listed)
    };
    let is_rows =
        |path: &PathBuf| path.is_file() && path.extension().is_some_and(|e| e == "parquet");
    let here = entries(path)?;
    let own: Vec<PathBuf> = here.iter().filter(|path| is_rows(path)).cloned().collect();
    if !own.is_empty() {
        all.push((DEFAULT.to_owned(), own));
    }
    for dir in here.iter().filter(|path| path.is_dir()) {
        let files: Vec<PathBuf> = entries(dir)?.into_iter().filter(is_rows).collect();
        if !files.is_empty() {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            all.push((name.into_owned(), files));
        }
    }
    Ok(all)
}

/// Parquet files whose metadata becomes the dynamic field.
struct Layout {
    source: Box<dyn Source>,
    /// For each target.
    columns: Vec<Made>,
}

impl Layout {
    fn of(&self, columns: &Columns) -> Option<&Made> {
        let mut all = self.columns.iter();
        all.find(|made| made.stored.hold_the_same(columns))
    }
}

impl Source for Layout {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let mut survey = self.source.survey(limits)?;
        for target in &mut survey.manifest.targets {
            if let Some(found) = self.of(&target.columns) {
                target.columns = found.made.clone();
            }
        }
        Ok(survey)
    }

    fn profile(&self, shard: &Shard) -> Result<Vec<String>> {
        documents::profile(self, shard)
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        self.source.content()
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(Filled {
            layout: self,
            reader: self.source.open(shard, from, limits)?,
        }))
    }

    fn peek<'s>(&'s self, shard: &Shard, limits: Limits) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(Filled {
            layout: self,
            reader: self.source.peek(shard, limits)?,
        }))
    }

    fn file(&self, part: u32) -> Option<&Path> {
        self.source.file(part)
    }

    fn unchanged(&self) -> Result<()> {
        self.source.unchanged()
    }
}

/// Rows, with an empty object for those without metadata.
struct Filled<'s> {
    layout: &'s Layout,
    reader: Box<dyn Reader + 's>,
}

impl Reader for Filled<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let Some(mut cut) = self.reader.next()? else {
            return Ok(None);
        };
        for part in &mut cut.parts {
            if let Some(found) = self.layout.of(part.columns()) {
                *part = found.part(part)?;
            }
        }
        Ok(Some(cut))
    }

    fn files(&self) -> Files {
        self.reader.files()
    }
}
