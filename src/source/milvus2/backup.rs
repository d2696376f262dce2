//! What did milvus-backup write? JSON metadata in one file or four, and raw binlogs. The settings of `milvus_backup`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::catalog::{ALL_PARTITIONS, Collection, Index, Partition, Root};
use super::files::Dbs;
use super::{Stored, meta};
use crate::error::{Error, Kind, Result};
use crate::input::{Access, Volume};
use crate::job::{Form, Globs, Setting};
use crate::limits;
use crate::milvus::proto::{
    CollectionSchema, FieldBinlog, FieldSchema, FunctionSchema, KeyValue, LEVEL_0, LogInfo,
    SegmentInfo, ValueField, segment_state,
};
use crate::source::choose::{self, Choice};
use crate::source::files;
use crate::source::{Source, SourceKind, Spec};
use crate::store::{self, Login};

/// The source `milvus_backup`.
pub const BACKUP: SourceKind = SourceKind {
    name: "milvus_backup",
    summary: "a backup of Milvus 2.x (up to 2.5) made by milvus-backup, no server needed",
    settings: &[
        Setting::path(
            "path",
            "the directory of the backup, which holds meta/ and binlogs/; also s3://bucket/prefix",
        )
        .required()
        .example("backup/my_backup"),
        Setting::texts("db", "one or more databases, or globs").or("default"),
        choose::COLLECTIONS,
        store::S3,
        files::ACCESS,
    ],
    read: |form| Some(Box::new(Settings::read(form)?)),
};

struct Settings {
    path: PathBuf,
    dbs: Dbs,
    choice: Choice,
    access: Access,
    login: Login,
}

impl Settings {
    fn read(form: &mut Form) -> Option<Settings> {
        let path = form.required("path", "the directory of the backup");
        let login = Login::read(form);
        login.check(
            form,
            path.as_ref().is_none_or(|p| store::is_address(p.as_ref())),
        );
        Some(Settings {
            login,
            path: PathBuf::from(path?),
            dbs: Dbs::read(form),
            choice: Choice::read(form),
            access: files::access(form),
        })
    }
}

impl Spec for Settings {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        let volume = store::volume(&self.path, self.access, &self.login)?;
        let backup = read(&self.path, &volume)?;
        let all = self.dbs.of(backup.collections, &backup.meta)?;
        let choice = self.choice.admit(admitted);
        let source = Stored::open(&all, &choice, &self.path, &backup.meta, &volume)?;
        Ok(Box::new(source))
    }
}

/// A backup with its metadata.
pub struct Backup {
    /// Its name.
    pub name: String,
    /// The version of Milvus that it was taken from.
    pub version: String,
    /// The metadata file; if there are several, the first.
    pub meta: PathBuf,
    /// Its collections.
    pub collections: Vec<Collection>,
}

const WHOLE: &str = "full_meta.json";
const TOP: &str = "backup_meta.json";

/// Whether a directory is a backup.
pub fn is_backup(path: &Path, volume: &Volume) -> Result<bool> {
    let meta = path.join("meta");
    Ok(volume.is_file(&meta.join(WHOLE))? || volume.is_file(&meta.join(TOP))?)
}

/// Reads the metadata of a backup.
pub fn read(path: &Path, volume: &Volume) -> Result<Backup> {
    if !volume.is_dir(path)? {
        return Err(Error::path(Kind::Job, path, "there is no such directory"));
    }
    let dir = path.join("meta");
    let whole = dir.join(WHOLE);
    let (meta, info) = if volume.is_file(&whole)? {
        let info: Info = json(&whole, volume)?;
        (whole, info)
    } else if volume.is_file(&dir.join(TOP))? {
        (dir.join(TOP), by_level(&dir, volume)?)
    } else {
        let what =
            format!("is not a milvus-backup backup: it has neither meta/{WHOLE} nor meta/{TOP}");
        let error = Error::path(Kind::Job, path, what);
        let inside = volume.list(path)?.into_iter();
        let inside = inside
            .map(|entry| path.join(entry.name))
            .find(|path| is_backup(path, volume).unwrap_or(false));
        return Err(match inside {
            Some(inside) => error.hint(format!("there is a backup in it: {}", inside.display())),
            None => error,
        });
    };
    if info.format == "snapshot" {
        let what =
            "is a backup in `snapshot` format (storage V3), which this program does not read yet";
        return Err(Error::path(Kind::Unsupported, &meta, what));
    }
    let binlogs = path.join("binlogs");
    let root = Root {
        insert: &binlogs.join("insert_log"),
        deletions: &binlogs.join("delta_log"),
    };
    let collections = info.collection_backups.into_iter();
    let collections = collections.map(|of| collection(of, &root));
    let collections = collections.collect::<std::result::Result<Vec<_>, _>>();
    Ok(Backup {
        name: info.name,
        version: info.milvus_version,
        collections: collections.map_err(|what| Error::path(Kind::Corrupt, &meta, what))?,
        meta,
    })
}

fn json<T: DeserializeOwned>(path: &Path, volume: &Volume) -> Result<T> {
    let view = match volume {
        // A mapped file may change while it is read.
        Volume::Disk(_) => Volume::Disk(Access::Read).open(path)?,
        Volume::Remote(_) => volume.open(path)?,
    };
    if view.len() > limits::BACKUP_META_BYTES_MAX {
        let what = format!("has {} bytes, too many for metadata", view.len());
        return Err(view.corrupt(0, what));
    }
    let bytes = view.bytes()?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let before: usize = lines
            .take(e.line().saturating_sub(1))
            .map(<[u8]>::len)
            .sum();
        let at = before + e.column().saturating_sub(1);
        view.corrupt(at as u64, format!("is not metadata of milvus-backup: {e}"))
    })
}

/// Combines the four metadata files of older backups.
fn by_level(dir: &Path, volume: &Volume) -> Result<Info> {
    let mut info: Info = json(&dir.join(TOP), volume)?;
    let collections: Level<OfCollection> = json(&dir.join("collection_meta.json"), volume)?;
    let partitions: Level<OfPartition> = json(&dir.join("partition_meta.json"), volume)?;
    let segments: Level<OfSegment> = json(&dir.join("segment_meta.json"), volume)?;
    info.collection_backups = collections.infos;
    let mut by_partition: BTreeMap<(i64, i64), Vec<OfSegment>> = BTreeMap::new();
    for segment in segments.infos {
        let of = (segment.collection_id, segment.partition_id);
        by_partition.entry(of).or_default().push(segment);
    }
    for collection in &mut info.collection_backups {
        let id = collection.collection_id;
        let mine = partitions.infos.iter().filter(|p| p.collection_id == id);
        collection.partition_backups = mine.cloned().collect();
        for partition in &mut collection.partition_backups {
            let segments = by_partition.remove(&(id, partition.partition_id));
            partition.segment_backups = segments.unwrap_or_default();
        }
        if collection.l0_segments.is_empty() {
            let all = by_partition.remove(&(id, ALL_PARTITIONS));
            collection.l0_segments = all.unwrap_or_default();
        }
    }
    match by_partition.first_key_value() {
        None => Ok(info),
        Some(((collection, partition), _)) => {
            let what = format!(
                "lists segments of partition {partition} of collection {collection}, which the other metadata does not list"
            );
            Err(Error::path(
                Kind::Corrupt,
                &dir.join("segment_meta.json"),
                what,
            ))
        }
    }
}

#[derive(Deserialize)]
struct Level<T> {
    #[serde(default = "Vec::new")]
    infos: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    name: String,
    milvus_version: String,
    format: String,
    collection_backups: Vec<OfCollection>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfCollection {
    collection_id: i64,
    db_name: String,
    collection_name: String,
    schema: OfSchema,
    shards_num: i32,
    consistency_level: i32,
    partition_backups: Vec<OfPartition>,
    l0_segments: Vec<OfSegment>,
    index_infos: Vec<OfIndex>,
    properties: Value,
    aliases: Value,
    backup_timestamp: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfSchema {
    name: String,
    description: String,
    fields: Vec<OfField>,
    enable_dynamic_field: bool,
    functions: Vec<OfFunction>,
    struct_array_fields: Vec<OfField>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfField {
    #[serde(rename = "fieldID")]
    field_id: i64,
    name: String,
    is_primary_key: bool,
    description: String,
    data_type: i32,
    type_params: Vec<Pair>,
    #[serde(rename = "autoID")]
    auto_id: bool,
    state: i32,
    element_type: i32,
    default_value: Value,
    default_value_proto: String,
    default_value_base64: String,
    is_dynamic: bool,
    is_partition_key: bool,
    is_clustering_key: bool,
    nullable: bool,
    is_function_output: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfFunction {
    name: String,
    description: String,
    #[serde(rename = "type")]
    kind: i32,
    input_field_names: Vec<String>,
    output_field_names: Vec<String>,
    params: Vec<Pair>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct OfPartition {
    partition_id: i64,
    partition_name: String,
    collection_id: i64,
    segment_backups: Vec<OfSegment>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct OfSegment {
    segment_id: i64,
    collection_id: i64,
    partition_id: i64,
    num_of_rows: i64,
    binlogs: Vec<OfLogs>,
    deltalogs: Vec<OfLogs>,
    group_id: i64,
    is_l0: bool,
    v_channel: String,
    storage_version: i64,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct OfLogs {
    #[serde(rename = "fieldID")]
    field_id: i64,
    binlogs: Vec<OfLog>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct OfLog {
    entries_num: i64,
    log_path: String,
    log_id: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfIndex {
    field_name: String,
    index_name: String,
    index_type: String,
    params: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pair {
    key: String,
    value: String,
}

fn pairs(pairs: Vec<Pair>) -> Vec<KeyValue> {
    let pairs = pairs.into_iter();
    pairs
        .map(|pair| KeyValue::new(&pair.key, pair.value))
        .collect()
}

/// Pairs given as a list of keys and values, or as a map.
fn any_pairs(value: Value) -> Vec<KeyValue> {
    match value {
        Value::Object(map) => {
            let all = map.into_iter();
            all.map(|(key, value)| KeyValue::new(&key, text(&value)))
                .collect()
        }
        list => pairs(serde_json::from_value(list).unwrap_or_default()),
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Names given as strings, or as objects with a name.
fn names(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    let name = |value: &Value| {
        let named = ["name", "alias", "alias_name"]
            .iter()
            .find_map(|key| value.get(key));
        named.unwrap_or(value).as_str().map(str::to_owned)
    };
    all.filter_map(name).collect()
}

fn collection(of: OfCollection, root: &Root<'_>) -> std::result::Result<Collection, String> {
    let name = match of.collection_name.is_empty() {
        true => of.schema.name.clone(),
        false => of.collection_name,
    };
    let mut found = Collection {
        id: of.collection_id,
        db: match of.db_name.is_empty() {
            true => meta::DEFAULT_DB.1.to_owned(),
            false => of.db_name,
        },
        schema: schema(of.schema).map_err(|what| format!("collection {name}: {what}"))?,
        name,
        shards: of.shards_num,
        consistency: of.consistency_level,
        properties: any_pairs(of.properties),
        aliases: names(&of.aliases),
        indexes: of.index_infos.into_iter().map(index).collect(),
        // A Milvus timestamp has its milliseconds above 18 other bits.
        as_of: Some(of.backup_timestamp).filter(|stamp| *stamp > 1 << 56),
        ..Collection::default()
    };
    for partition in of.partition_backups {
        let id = partition.partition_id;
        found
            .partitions
            .push(Partition::new(id, &partition.partition_name));
        for segment in partition.segment_backups {
            found
                .segments
                .push(self::segment(segment, of.collection_id, id, root));
        }
    }
    for segment in of.l0_segments {
        let id = match segment.partition_id {
            0 => ALL_PARTITIONS,
            id => id,
        };
        let segment = OfSegment {
            is_l0: true,
            ..segment
        };
        found
            .segments
            .push(self::segment(segment, of.collection_id, id, root));
    }
    found
        .partitions
        .sort_by_key(|part| (!part.tag.is_empty(), part.id));
    found.segments.sort_by_key(|segment| segment.id);
    Ok(found)
}

fn segment(
    of: OfSegment,
    collection: i64,
    partition: i64,
    root: &Root<'_>,
) -> super::catalog::Segment {
    let logs = |all: Vec<OfLogs>| -> Vec<FieldBinlog> {
        let all = all.into_iter();
        all.map(|of| FieldBinlog {
            field: of.field_id,
            logs: (of.binlogs.into_iter())
                .map(|log| LogInfo {
                    rows: log.entries_num,
                    path: log.log_path,
                    id: log.log_id,
                })
                .collect(),
            children: Vec::new(),
        })
        .collect()
    };
    let info = SegmentInfo {
        id: of.segment_id,
        collection,
        partition,
        channel: of.v_channel,
        rows: of.num_of_rows,
        state: segment_state::FLUSHED,
        level: if of.is_l0 { LEVEL_0 } else { 0 },
        storage_version: of.storage_version,
        ..SegmentInfo::default()
    };
    let group = Some(of.group_id).filter(|id| *id != 0 && partition != ALL_PARTITIONS);
    root.segment(&info, &logs(of.binlogs), &logs(of.deltalogs), group)
}

fn index(of: OfIndex) -> Index {
    let mut params: Vec<KeyValue> = (of.params.into_iter())
        .map(|(key, value)| KeyValue::new(&key, value))
        .collect();
    if !of.index_type.is_empty() && !params.iter().any(|p| p.key == "index_type") {
        params.push(KeyValue::new("index_type", of.index_type));
    }
    Index {
        field: of.field_name,
        name: of.index_name,
        params,
    }
}

fn schema(of: OfSchema) -> std::result::Result<CollectionSchema, String> {
    let fields = of.fields.into_iter().map(field);
    Ok(CollectionSchema {
        name: of.name,
        description: of.description,
        fields: fields.collect::<std::result::Result<_, _>>()?,
        enable_dynamic_field: of.enable_dynamic_field,
        functions: of.functions.into_iter().map(function).collect(),
        struct_array_fields: (of.struct_array_fields.into_iter())
            .map(|field| crate::milvus::proto::StructArrayFieldSchema { name: field.name })
            .collect(),
        ..CollectionSchema::default()
    })
}

fn function(of: OfFunction) -> FunctionSchema {
    FunctionSchema {
        name: of.name,
        description: of.description,
        kind: of.kind,
        input_field_names: of.input_field_names,
        output_field_names: of.output_field_names,
        params: pairs(of.params),
    }
}

fn field(of: OfField) -> std::result::Result<FieldSchema, String> {
    let default = default(&of);
    let unread = || format!("the default value of field {} cannot be read", of.name);
    Ok(FieldSchema {
        default_value: default.map_err(|()| unread())?,
        field_id: of.field_id,
        name: of.name.clone(),
        is_primary_key: of.is_primary_key,
        description: of.description,
        data_type: of.data_type,
        type_params: pairs(of.type_params),
        auto_id: of.auto_id,
        state: of.state,
        element_type: of.element_type,
        is_dynamic: of.is_dynamic,
        is_partition_key: of.is_partition_key,
        is_clustering_key: of.is_clustering_key,
        nullable: of.nullable,
        is_function_output: of.is_function_output,
    })
}

/// The default of a field: a message, plain or in base64; in older backups, under the name of its member.
fn default(of: &OfField) -> std::result::Result<Option<ValueField>, ()> {
    let message = match (&*of.default_value_base64, &*of.default_value_proto) {
        ("", "") => None,
        ("", message) => Some(message.as_bytes().to_vec()),
        (base64, _) => Some(decoded(base64).ok_or(())?),
    };
    if let Some(message) = message {
        return ValueField::decode(&message[..]).map(Some).map_err(drop);
    }
    let Some(data) = of.default_value.get("Data").and_then(Value::as_object) else {
        return match of.default_value.is_null() {
            true => Ok(None),
            false => Err(()),
        };
    };
    let member = |name: &str| data.get(name);
    let int = member("IntData").and_then(Value::as_i64);
    let value = ValueField {
        bool_data: member("BoolData").and_then(Value::as_bool),
        int_data: int.and_then(|value| i32::try_from(value).ok()),
        long_data: member("LongData").and_then(Value::as_i64),
        float_data: member("FloatData")
            .and_then(Value::as_f64)
            .map(|value| value as f32),
        double_data: member("DoubleData").and_then(Value::as_f64),
        string_data: member("StringData")
            .and_then(Value::as_str)
            .map(str::to_owned),
    };
    match value == ValueField::default() {
        true => Err(()),
        false => Ok(Some(value)),
    }
}

/// Bytes decoded from base64 as in RFC 4648.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
