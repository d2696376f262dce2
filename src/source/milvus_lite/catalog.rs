//! Milvus Lite 3.x: what does a directory hold? Databases, collections, and the files that each lists as live.
//!
//! A file that no manifest names is left over from a crash and is ignored; one that a manifest names must exist.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::fields::{self, Described, Field, OnField, Recorded};
use crate::error::{Error, Kind, Result};
use crate::input::{Access, View};
use crate::limits;
use crate::schema::{Bounds, CollectionTraits, Index};

/// The database that is used if none is named.
pub const DEFAULT: &str = "default";
/// The partition that every collection has.
pub const DEFAULT_PARTITION: &str = "_default";

const COLLECTIONS: &str = "collections";
const DATABASES: &str = "databases";
const SCHEMA: &str = "schema.json";
const MANIFEST: &str = "manifest.json";
const ALIASES: &str = "aliases.json";

/// The number of partitions over which rows with a partition key are spread.
const BUCKETS: u32 = 16;

/// Whether a directory is one of Milvus Lite's.
pub fn is_it(root: &Path) -> bool {
    root.join(COLLECTIONS).is_dir()
}

/// The databases of a directory.
pub fn databases(root: &Path) -> Result<Vec<String>> {
    let mut names = vec![DEFAULT.to_owned()];
    let there = root.join(DATABASES);
    if there.is_dir() {
        names.extend(directories(&there)?);
    }
    Ok(names)
}

/// Where the collections of a database are.
fn home(root: &Path, db: &str) -> PathBuf {
    match db {
        DEFAULT => root.to_owned(),
        name => root.join(DATABASES).join(name),
    }
}

/// The collections of a database, by name.
pub fn collections(root: &Path, db: &str) -> Result<Vec<(String, PathBuf)>> {
    let dir = home(root, db).join(COLLECTIONS);
    if !dir.is_dir() {
        let what = format!("has no database `{db}`");
        let listed = format!("there are {}", databases(root)?.join(", "));
        return Err(Error::path(Kind::Job, root, what).hint(listed));
    }
    let names = directories(&dir)?.into_iter();
    let all = names.map(|name| {
        let dir = dir.join(&name);
        (name, dir)
    });
    // One that was being created when the program died has no schema and no rows yet.
    Ok(all.filter(|(_, dir)| dir.join(SCHEMA).exists()).collect())
}

/// The names of the directories in one, sorted.
fn directories(dir: &Path) -> Result<Vec<String>> {
    let failed = |e: std::io::Error| Error::io(dir, "list", &e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().map_err(|name| {
            let what = format!("the name `{}` is not UTF-8", name.display());
            Error::path(Kind::Unsupported, dir, what)
        })?;
        names.push(name);
        if names.len() > limits::FILES_MAX {
            let what = format!("has more than {} entries", limits::FILES_MAX);
            return Err(Error::path(Kind::Unsupported, dir, what));
        }
    }
    names.sort();
    Ok(names)
}

/// What is recorded about a collection.
pub struct Entry {
    pub described: Described,
    /// Whether its partitions are those over which a partition key spreads rows, which have no user-visible names.
    pub is_bucketed: bool,
    /// The live files of each partition, data and deletions.
    pub files: BTreeMap<String, Listed>,
    /// The logs of unflushed rows and deletions.
    pub row_logs: Vec<PathBuf>,
    pub deletion_logs: Vec<PathBuf>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// The files that this was read from.
    pub views: Vec<View>,
}

/// Live files of a partition.
#[derive(Default)]
pub struct Listed {
    pub data: Vec<PathBuf>,
    pub deletions: Vec<PathBuf>,
}

impl Entry {
    /// Reads the description of a collection.
    pub fn read(root: &Path, db: &str, name: &str, dir: &Path) -> Result<Entry> {
        let schema = Json::read(&dir.join(SCHEMA))?;
        let mut notes = Vec::new();
        let mut recorded = schema.recorded(name, &mut notes)?;
        let is_bucketed = recorded.fields.iter().any(|field| field.is_partition_key);
        if is_bucketed {
            recorded.traits.partitions = Some(BUCKETS);
        }
        let mut views = vec![schema.view.clone()];
        let mut files: BTreeMap<String, Listed> = BTreeMap::new();
        files.entry(DEFAULT_PARTITION.to_owned()).or_default();
        // There is none before the first flush.
        if dir.join(MANIFEST).exists() {
            let manifest = Json::read(&dir.join(MANIFEST)).map_err(|e| {
                match dir.join(format!("{MANIFEST}.prev")).exists() {
                    true => e.hint(
                        "manifest.json.prev is its previous version: copied over manifest.json, it can be read, but rows \
                         that were flushed since are not in it",
                    ),
                    false => e,
                }
            })?;
            manifest.files(dir, &mut files)?;
            manifest.indexes(&mut recorded)?;
            views.push(manifest.view);
        } else if dir.join(format!("{MANIFEST}.prev")).exists() {
            let what =
                "is missing, although manifest.json.prev exists: what was flushed is unknown";
            return Err(Error::path(Kind::Corrupt, &dir.join(MANIFEST), what));
        }
        let aliases = home(root, db).join(ALIASES);
        if aliases.exists() {
            let aliases = Json::read(&aliases)?;
            let of_it = aliases.root.iter();
            let of_it = of_it.filter(|(_, target)| target.as_str() == Some(name));
            recorded.traits.aliases = of_it.map(|(alias, _)| alias.clone()).collect();
            views.push(aliases.view);
        }
        let logs = logs(&dir.join("wal"))?;
        let [row_logs, deletion_logs] = ["wal_data_", "wal_delta_"].map(|start| {
            let of_kind = logs.iter().filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(start)
            });
            of_kind.cloned().collect()
        });
        let described = recorded.described();
        Ok(Entry {
            described: described.map_err(|what| schema.unsupported(what))?,
            is_bucketed,
            files,
            row_logs,
            deletion_logs,
            notes,
            views,
        })
    }
}

/// The logs of a directory, ordered by number.
fn logs(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |e: std::io::Error| Error::io(dir, "list", &e);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "arrow") {
            all.push(path);
        }
    }
    all.sort_by(|one, two| super::super::files::natural(one, two));
    Ok(all)
}

/// A file that holds a JSON object.
struct Json {
    view: View,
    root: Map<String, Value>,
}

impl Json {
    fn read(path: &Path) -> Result<Json> {
        let view = View::open(path, Access::Read)?;
        if view.len() > limits::LITE_JSON_BYTES_MAX {
            return Err(view.corrupt(0, format!("has {} bytes, which is too many", view.len())));
        }
        let bytes = view.bytes()?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(root)) => Ok(Json { view, root }),
            Ok(_) => Err(view.corrupt(0, "is not a JSON object")),
            Err(error) => {
                let lines = bytes.split_inclusive(|byte| *byte == b'\n');
                let before = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len);
                let at = before.sum::<usize>() + error.column().saturating_sub(1);
                Err(view.corrupt(at as u64, format!("is not JSON: {error}")))
            }
        }
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::path(Kind::Corrupt, self.view.path(), what)
    }

    fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::path(Kind::Unsupported, self.view.path(), what)
    }

    /// The members of an object under a key; none if there is no such key.
    fn members<'j>(
        &self,
        of: &'j Map<String, Value>,
        key: &str,
    ) -> Result<Vec<(&'j str, &'j Value)>> {
        match of.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Object(members)) => {
                Ok(members.iter().map(|(key, value)| (&**key, value)).collect())
            }
            Some(other) => Err(self.wrong(format!("`{key}` is {other}, not an object"))),
        }
    }

    fn list<'j>(&self, of: &'j Map<String, Value>, key: &str) -> Result<&'j [Value]> {
        match of.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(all)) => Ok(all),
            Some(other) => Err(self.wrong(format!("`{key}` is {other}, not a list"))),
        }
    }

    fn object<'j>(&self, value: &'j Value, what: &str) -> Result<&'j Map<String, Value>> {
        let object = value.as_object();
        object.ok_or_else(|| self.wrong(format!("{what} is {value}, not an object")))
    }

    fn text<'j>(&self, of: &'j Map<String, Value>, key: &str) -> Result<&'j str> {
        let text = of.get(key).and_then(Value::as_str);
        text.ok_or_else(|| self.wrong(format!("`{key}` is missing or not a string")))
    }

    fn texts(&self, of: &Map<String, Value>, key: &str) -> Result<Vec<String>> {
        let texts = self.list(of, key)?.iter().map(|value| {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| self.wrong(format!("`{key}` has {value}, which is not a string")))
        });
        texts.collect()
    }

    fn flag(&self, of: &Map<String, Value>, key: &str) -> Result<bool> {
        match of.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(format!("`{key}` is {other}, not true or false"))),
        }
    }

    fn bound(&self, of: &Map<String, Value>, key: &str) -> Result<Option<u32>> {
        match of.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let bound = value.as_u64().and_then(|bound| u32::try_from(bound).ok());
                let wrong =
                    || self.wrong(format!("`{key}` is {value}, not an unsigned 32-bit number"));
                bound.map(Some).ok_or_else(wrong)
            }
        }
    }

    /// Reads a schema.
    fn recorded(&self, name: &str, notes: &mut Vec<String>) -> Result<Recorded> {
        if let Some(version) = self.root.get("schema_format_version")
            && version.as_u64().is_none_or(|version| version > 2)
        {
            let what = format!("has version {version}, but only 1 and 2 are supported");
            return Err(self.unsupported(what));
        }
        let mut fields = Vec::new();
        for value in self.list(&self.root, "fields")? {
            let of = self.object(value, "a field")?;
            let field = self.field(of)?;
            if field.nullable && field.word.ends_with("_vector") {
                notes.push(format!(
                    "{name}: rows without a vector in `{}` have zeros there: Milvus Lite stores nothing else for them",
                    field.name
                ));
            }
            let default = of.get("default_value").filter(|value| !value.is_null());
            if let Some(default) = default
                && field.default.is_none()
            {
                notes.push(format!(
                    "{name}: the default of `{}`, {default}, is not migrated; its values are",
                    field.name
                ));
            }
            fields.push(field);
        }
        let mut functions = Vec::new();
        for value in self.list(&self.root, "functions")? {
            let of = self.object(value, "a function")?;
            let params = self.members(of, "params")?.into_iter();
            let function = fields::function(
                of.get("function_type").and_then(Value::as_u64).unwrap_or(0),
                self.text(of, "name")?,
                self.texts(of, "input_field_names")?,
                self.texts(of, "output_field_names")?,
                params
                    .map(|(key, value)| (key.to_owned(), fields::plain(value)))
                    .collect(),
            );
            functions.push(function.map_err(|what| self.unsupported(what))?);
        }
        let properties = self.members(&self.root, "properties")?.into_iter();
        Ok(Recorded {
            fields,
            is_dynamic: self.flag(&self.root, "enable_dynamic_field")?,
            indexes: Vec::new(),
            traits: CollectionTraits {
                properties: properties
                    .map(|(key, value)| (key.to_owned(), fields::plain(value)))
                    .collect(),
                functions,
                ..CollectionTraits::default()
            },
        })
    }

    fn field(&self, of: &Map<String, Value>) -> Result<Field> {
        let word = match self.text(of, "dtype")? {
            "array" => format!("array<{}>", self.text(of, "element_type")?),
            word => word.to_owned(),
        };
        let mut params = Vec::new();
        for key in ["enable_analyzer", "enable_match"] {
            if self.flag(of, key)? {
                params.push((key.to_owned(), "true".to_owned()));
            }
        }
        let analyzer = of.get("analyzer_params").filter(|value| !value.is_null());
        params.extend(analyzer.map(|value| ("analyzer_params".to_owned(), fields::plain(value))));
        let default = of.get("default_value").unwrap_or(&Value::Null);
        Ok(Field {
            name: self.text(of, "name")?.to_owned(),
            default: fields::default_of(&word, default),
            bounds: Bounds {
                dim: self.bound(of, "dim")?,
                max_length: self.bound(of, "max_length")?,
                max_capacity: self.bound(of, "max_capacity")?,
            },
            word,
            is_key: self.flag(of, "is_primary")?,
            is_partition_key: self.flag(of, "is_partition_key")?,
            is_output: self.flag(of, "is_function_output")?,
            auto_id: self.flag(of, "auto_id")?,
            nullable: self.flag(of, "nullable")?,
            description: String::new(),
            params,
        })
    }

    /// The files that a manifest lists as live.
    fn files(&self, dir: &Path, into: &mut BTreeMap<String, Listed>) -> Result<()> {
        if let Some(version) = self.root.get("manifest_format_version")
            && version.as_u64().is_none_or(|version| version > 2)
        {
            let what = format!("has version {version}, but only 1 and 2 are supported");
            return Err(self.unsupported(what));
        }
        for (partition, value) in self.members(&self.root, "partitions")? {
            if !is_name(partition) {
                return Err(self.wrong(format!("`{partition}` is not a partition name")));
            }
            let of = self.object(value, "a partition")?;
            let place = dir.join("partitions").join(partition);
            let within = |key: &str| -> Result<Vec<PathBuf>> {
                let paths = self.texts(of, key)?.into_iter().map(|path| {
                    // Windows separates names with backslashes.
                    let path = PathBuf::from(path.replace('\\', "/"));
                    let is_below = path.components().all(|c| matches!(c, Component::Normal(_)));
                    match is_below {
                        true => Ok(place.join(path)),
                        false => Err(self.wrong(format!(
                            "`{}` is not a file of partition `{partition}`",
                            path.display()
                        ))),
                    }
                });
                paths.collect()
            };
            let listed = Listed {
                data: within("data_files")?,
                deletions: within("delta_files")?,
            };
            for path in listed.data.iter().chain(&listed.deletions) {
                if !path.try_exists().unwrap_or(true) {
                    let what = format!(
                        "is missing, but {} lists it as live",
                        self.view.path().display()
                    );
                    return Err(Error::path(Kind::Corrupt, path, what));
                }
            }
            into.insert(partition.to_owned(), listed);
        }
        Ok(())
    }

    fn indexes(&self, recorded: &mut Recorded) -> Result<()> {
        for (field, value) in self.members(&self.root, "index_specs")? {
            let of = self.object(value, "an index")?;
            let params = self.members(of, "build_params")?.into_iter();
            recorded.indexes.push(OnField {
                field: field.to_owned(),
                metric: of
                    .get("metric_type")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                index: Index {
                    kind: self.text(of, "index_type")?.to_owned(),
                    params: params
                        .map(|(key, value)| (key.to_owned(), fields::plain(value)))
                        .collect(),
                },
            });
        }
        Ok(())
    }
}

/// Whether this is the name of a single directory.
fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    )
}
