//! F2M, H2M, M2M and M2H jobs of the Python tool, rewritten as general jobs.
//! The only file to delete once nobody has such jobs any more.

use serde_yaml::{Mapping, Value};

use super::{Mistakes, Setting, did_you_mean, words};
use crate::limits;

/// Where a key of a classic job goes: (classic key, general key path).
type Moves = &'static [(&'static str, &'static str)];

const COMMON: Moves = &[
    ("run", "run"),
    ("into", "into"),
    ("fields", "fields"),
    ("collections", "collections"),
];
const TO_MILVUS: Moves = &[
    ("dest_collection_name", "sink.milvus.collection"),
    ("dest_partition_name", "sink.milvus.partition"),
    ("mode", "sink.milvus.mode"),
    ("dest_user", "sink.milvus.user"),
    ("dest_password", "sink.milvus.password"),
    ("dest_token", "sink.milvus.token"),
    ("dest_db", "sink.milvus.db"),
    ("dest_tls", "sink.milvus.tls"),
    // As in the errors of a general job.
    ("tls", "sink.milvus.tls"),
    ("shards", "sink.milvus.shards"),
    ("auto_id", "sink.milvus.auto_id"),
    ("index", "sink.milvus.index"),
    ("load", "sink.milvus.load"),
];
/// The dimension that the job expects; general jobs have no such setting.
pub const DIMENSION: Setting = Setting::number(
    "dimension",
    (1, limits::DIMENSIONS_MAX),
    "the dimension that the data must have",
);
/// The settings in `collection_parameter`.
const PARAMETERS: [(&str, &str); 3] = [
    ("collection_parameter.dimension", "dimension"),
    (
        "collection_parameter.index_file_size",
        "sink.milvus.index_file_size",
    ),
    ("collection_parameter.metric_type", "sink.milvus.metric"),
];
/// A hint in two spellings.
const VERSION: [Setting; 2] = [
    Setting::text("milvus_version", "a hint; the server is asked what it is"),
    Setting::text("milvus-version", "the same"),
];
/// The address in two parts.
const ADDRESS: [Setting; 2] = [
    Setting::text(
        "dest_host",
        "where the server is: with dest_port, sink.milvus.address",
    )
    .required(),
    Setting::number("dest_port", (0, u16::MAX as u64), "its port").or("19530"),
];
const FROM_FAISS: Moves = &[
    ("data_path", "source.faiss.path"),
    ("data_dir", "source.faiss.dir"),
    ("ids", "source.faiss.ids"),
    ("first_id", "source.faiss.first_id"),
    ("ids_file", "source.faiss.ids_file"),
    ("lossy", "source.faiss.lossy"),
    ("lists", "source.faiss.lists"),
    ("access", "source.faiss.access"),
];
const FROM_HDF5: Moves = &[
    ("data_path", "source.hdf5.paths"),
    ("data_dir", "source.hdf5.dir"),
    ("ids", "source.hdf5.ids"),
    ("vectors", "source.hdf5.vectors"),
    ("first_id", "source.hdf5.first_id"),
    ("transpose", "source.hdf5.transpose"),
    ("as", "source.hdf5.as"),
    ("pack", "source.hdf5.pack"),
    ("access", "source.hdf5.access"),
];
const FROM_MILVUS1: Moves = &[
    ("source_milvus_path", "source.milvus1.path"),
    ("mysql_parameter", "source.milvus1.mysql"),
    ("source_collection", "source.milvus1.collections"),
    ("ignore_wal", "source.milvus1.ignore_wal"),
    ("missing_segments", "source.milvus1.missing_segments"),
    ("without_metadata", "source.milvus1.without_metadata"),
    ("access", "source.milvus1.access"),
];
const TO_HDF5: Moves = &[
    ("data_dir", "sink.hdf5.dir"),
    ("mode", "sink.hdf5.mode"),
    ("compression", "sink.hdf5.compression"),
    ("shuffle", "sink.hdf5.shuffle"),
    ("chunk_rows", "sink.hdf5.chunk_rows"),
];

/// A key of a classic job.
pub enum ClassicKey {
    /// Another name of this key path of a general job; in `collection_parameter` if it has a dot.
    Means(&'static str, &'static str),
    /// A key that general jobs do not have.
    Own(Setting),
}

/// The keys of a classic job.
pub fn keys(classic: &str) -> Vec<ClassicKey> {
    let (from, to) = moves(classic);
    let moved = from.iter().chain(to).chain(COMMON);
    let mut all: Vec<_> = moved
        .map(|(old, new)| ClassicKey::Means(old, new))
        .collect();
    all.extend(VERSION.map(ClassicKey::Own));
    if std::ptr::eq(to, TO_MILVUS) {
        all.extend(ADDRESS.map(ClassicKey::Own));
        all.extend(PARAMETERS.map(|(old, new)| ClassicKey::Means(old, new)));
    }
    all
}

fn moves(classic: &str) -> (Moves, Moves) {
    match classic {
        "F2M" => (FROM_FAISS, TO_MILVUS),
        "H2M" => (FROM_HDF5, TO_MILVUS),
        "M2M" => (FROM_MILVUS1, TO_MILVUS),
        _ => (FROM_MILVUS1, TO_HDF5),
    }
}

/// The general job that a classic one means, and the (general, classic) names of its keys.
pub fn rewrite(
    classic: &'static str,
    root: Mapping,
    mistakes: &Mistakes,
) -> (Mapping, Vec<(String, String)>) {
    for key in root
        .keys()
        .filter_map(Value::as_str)
        .filter(|k| *k != classic)
    {
        mistakes.add(
            key,
            format!("unknown key: a {classic} job has one top-level key"),
            None,
        );
    }
    let body = match root.get(classic) {
        Some(Value::Mapping(body)) => body.clone(),
        other => {
            let found = words::found(other.unwrap_or(&Value::Null));
            let what = format!("must be a map of settings, not {found}");
            mistakes.add(classic, what, None);
            Mapping::new()
        }
    };
    let (from, to) = moves(classic);
    let to_milvus = std::ptr::eq(to, TO_MILVUS);
    if ["dest_tls", "tls"]
        .iter()
        .all(|k| body.get(k).is_some_and(|v| !is_absent(v)))
        && to_milvus
    {
        mistakes.add(
            format!("{classic}.tls"),
            "is another name of dest_tls: give only one of them",
            None,
        );
    }
    let mut job = Rewritten {
        root: Mapping::new(),
        aliases: Vec::new(),
        classic,
    };
    let mut known: Vec<&str> = VERSION.iter().map(|setting| setting.name).collect();
    for (old, new) in from.iter().chain(to).chain(COMMON) {
        known.push(old);
        job.aliases
            .push((new.to_string(), format!("{classic}.{old}")));
        if let Some(value) = body.get(old).filter(|v| !is_absent(v)) {
            job.set(new, value.clone());
        }
    }
    if classic == "F2M" {
        job.alias("source.faiss.paths", "data_path");
    }
    if to_milvus {
        known.extend(ADDRESS.iter().map(|setting| setting.name));
        known.push("collection_parameter");
        address(&mut job, &body, mistakes);
        parameters(&mut job, &body, mistakes);
    }
    // `dest_partition_name: ''` is the default partition, whatever the source calls its own. Where the collection
    // is named that goes without saying, and must: `mode: overwrite` is then about the collection.
    if to_milvus
        && classic != "M2M"
        && job.is_absent("sink.milvus.partition")
        && job.is_absent("sink.milvus.collection")
        && body.get("into").is_none()
    {
        job.set("sink.milvus.partition", "_default".into());
    }
    // A hint only: the server is asked what it is.
    if let Some(hint) = ["milvus_version", "milvus-version"]
        .iter()
        .find_map(|k| body.get(k))
        && to_milvus
    {
        job.set("sink.milvus.version_hint", hint.clone());
    }
    if classic == "H2M"
        && is_absent(body.get("data_path").unwrap_or(&Value::Null))
            == is_absent(body.get("data_dir").unwrap_or(&Value::Null))
    {
        mistakes.add(
            "H2M.data_path",
            "needs exactly one of data_path and data_dir",
            None,
        );
    }
    for key in body.keys() {
        let name = key.as_str().unwrap_or_default();
        if !known.contains(&name) {
            let hint = did_you_mean(name, &known);
            mistakes.add(format!("{classic}.{name}"), "unknown key", hint);
        }
    }
    (job.root, job.aliases)
}

struct Rewritten {
    root: Mapping,
    aliases: Vec<(String, String)>,
    classic: &'static str,
}

impl Rewritten {
    fn set(&mut self, path: &str, value: Value) {
        let mut names: Vec<&str> = path.split('.').collect();
        let last = names.pop().expect("a path has a last name");
        let mut map = &mut self.root;
        for name in names {
            let entry = map
                .entry(name.into())
                .or_insert_with(|| Value::Mapping(Mapping::new()));
            map = entry
                .as_mapping_mut()
                .expect("only maps are made on the way");
        }
        map.insert(last.into(), value);
    }

    fn is_absent(&self, path: &str) -> bool {
        let mut map = &self.root;
        for name in path.split('.') {
            match map.get(name) {
                Some(Value::Mapping(inner)) => map = inner,
                Some(_) => return false,
                None => return true,
            }
        }
        false
    }

    fn alias(&mut self, general: &str, old: &str) {
        self.aliases
            .push((general.to_owned(), format!("{}.{old}", self.classic)));
    }
}

/// Whether a value means the same as nothing.
pub fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Sequence(items) => items.iter().all(is_absent),
        _ => false,
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn address(job: &mut Rewritten, body: &Mapping, mistakes: &Mistakes) {
    let classic = job.classic;
    job.alias("sink.milvus.address", "dest_host");
    let host = text(body.get("dest_host"));
    if host.is_none() {
        mistakes.add(
            format!("{classic}.dest_host"),
            "is missing: where the server is",
            None,
        );
    }
    let port = text(body.get("dest_port")).unwrap_or_else(|| "19530".to_owned());
    if !port.starts_with("${") && port.parse::<u16>().is_err() {
        mistakes.add(
            format!("{classic}.dest_port"),
            format!("`{port}` is not a port"),
            None,
        );
    }
    let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
    let (scheme, host) = match host.split_once("://") {
        Some((scheme, host)) => (scheme.to_owned(), host.to_owned()),
        None if ["dest_tls", "tls"]
            .iter()
            .any(|k| body.get(k).is_some_and(|v| !is_absent(v))) =>
        {
            ("https".to_owned(), host)
        }
        None => ("http".to_owned(), host),
    };
    job.set(
        "sink.milvus.address",
        format!("{scheme}://{host}:{port}").into(),
    );
}

fn parameters(job: &mut Rewritten, body: &Mapping, mistakes: &Mistakes) {
    let inner = |old: &'static str| old.split_once('.').map_or(old, |(_, name)| name);
    let moves = PARAMETERS.map(|(old, new)| (inner(old), new));
    for (old, new) in PARAMETERS {
        job.alias(new, old);
    }
    let parameters = match body.get("collection_parameter") {
        None | Some(Value::Null) => return,
        Some(Value::String(s)) if s.is_empty() => return,
        Some(Value::Mapping(map)) => map.clone(),
        Some(other) => {
            let key = format!("{}.collection_parameter", job.classic);
            let what = format!("must be a map of settings, not {}", words::found(other));
            return mistakes.add(key, what, None);
        }
    };
    for (key, value) in &parameters {
        let name = key.as_str().unwrap_or_default();
        match moves.iter().find(|(old, _)| *old == name) {
            Some(_) if is_absent(value) => {}
            Some((_, new)) => job.set(new, value.clone()),
            None => {
                let known: Vec<&str> = moves.iter().map(|(old, _)| *old).collect();
                let key = format!("{}.collection_parameter.{name}", job.classic);
                mistakes.add(key, "unknown key", did_you_mean(name, &known));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Job;
    use std::path::Path;

    const F2M: &str = "F2M:
  milvus_version: 2.0.0
  data_path: '/data/faiss_flat.index'
  dest_host: '127.0.0.1'
  dest_port: 19531
  mode: 'append'
  dest_collection_name: 'test'
  dest_partition_name: ''
  collection_parameter:
    dimension: 256
    index_file_size: 1024
    metric_type: 'L2'
";

    fn job(text: &str) -> Job {
        Job::parse(Path::new("F2M.yaml"), text.to_owned()).unwrap()
    }

    #[test]
    fn an_f2m_job_of_the_python_tool_is_a_general_job() {
        let job = job(F2M);
        job.check().unwrap();
        assert_eq!(job.classic, Some("F2M"));
        assert_eq!(job.source.name, "faiss");
        assert_eq!(job.source.settings["path"], "/data/faiss_flat.index");
        assert_eq!(job.sink.settings["address"], "http://127.0.0.1:19531");
        assert_eq!(job.sink.settings["metric"], "L2");
        assert_eq!(job.dimension, Some(256));
    }

    #[test]
    fn overwrite_without_a_partition_is_about_the_collection() {
        let job = job(&F2M.replace("append", "overwrite"));
        job.check().unwrap();
        assert_eq!(job.sink.settings.get("partition"), None);
    }

    #[test]
    fn mistakes_bear_the_names_the_operator_wrote() {
        let job = job(&F2M
            .replace("dimension: 256", "dimension: many")
            .replace("data_path", "data_pth"));
        let said = job.check().unwrap_err().to_string();
        assert!(
            said.contains("line 3: F2M.data_pth: unknown key (did you mean `data_path`?)"),
            "{said}"
        );
        assert!(
            said.contains(
                "line 10: F2M.collection_parameter.dimension: `many` is not a whole number"
            ),
            "{said}"
        );
    }

    #[test]
    fn h2m_takes_the_settings_of_its_source() {
        let text = "H2M: {data_path: a.h5, dest_host: h, first_id: 7, transpose: true, as: float32, pack: bits}";
        let job = job(text);
        job.check().unwrap();
        let settings = &job.source.settings;
        assert_eq!(settings["first_id"], 7);
        assert_eq!(settings["transpose"], true);
        assert_eq!(
            (&settings["as"], &settings["pack"]),
            (&"float32".into(), &"bits".into())
        );
    }

    #[test]
    fn h2m_takes_files_or_a_directory_not_both() {
        let text = "H2M: {data_path: [a.h5], data_dir: d, dest_host: h, dest_port: 1}";
        let said = job(text).check().unwrap_err().to_string();
        assert!(
            said.contains("exactly one of data_path and data_dir"),
            "{said}"
        );
    }
}
