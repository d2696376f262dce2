//! What do etcd's keys say about collections? Only live ones: dropped ones keep their keys for a while.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use prost::Message;

use super::catalog::{ALL_PARTITIONS, Collection, Index, Partition, Root, why_skipped};
use super::etcd::Keys;
use crate::error::Result;
use crate::milvus::proto::{
    AliasInfo, CollectionInfo, DatabaseInfo, FieldBinlog, FieldIndexInfo, FieldSchema,
    FunctionSchema, MessagePosition, PartitionInfo, SegmentInfo, StructArrayFieldSchema,
    object_state,
};

/// The default database and its id.
pub const DEFAULT_DB: (i64, &str) = (1, "default");

/// All live collections, in order of creation. `root` holds `insert_log`.
pub fn collections(keys: &Keys, root: &Path) -> Result<Vec<Collection>> {
    let mut dbs = BTreeMap::from([(DEFAULT_DB.0, DEFAULT_DB.1.to_owned())]);
    each(
        keys,
        "root-coord/database/db-info/",
        |_, db: DatabaseInfo| {
            dbs.insert(db.id, db.name);
        },
    )?;
    let mut all: BTreeMap<i64, Collection> = BTreeMap::new();
    let mut channels: HashMap<String, i64> = HashMap::new();
    let mut add = |db: i64, info: CollectionInfo| {
        if info.state != object_state::CREATED {
            return;
        }
        for channel in info.channels {
            channels.insert(channel, info.id);
        }
        let schema = info.schema.unwrap_or_default();
        let inline = info.partition_ids.iter().zip(&info.partition_names);
        let collection = Collection {
            id: info.id,
            db: dbs.get(&db).cloned().unwrap_or_else(|| db.to_string()),
            name: schema.name.clone(),
            schema,
            shards: info.shards,
            consistency: info.consistency_level,
            properties: info.properties,
            partitions: inline.map(|(id, name)| Partition::new(*id, name)).collect(),
            ..Collection::default()
        };
        all.entry(info.id).or_insert(collection);
    };
    each(
        keys,
        "root-coord/database/collection-info/",
        |key, info: CollectionInfo| {
            let db = key.split('/').next().and_then(|db| db.parse().ok());
            add(db.unwrap_or(info.database), info);
        },
    )?;
    each(keys, "root-coord/collection/", |_, info: CollectionInfo| {
        add(DEFAULT_DB.0, info);
    })?;
    describe(keys, &mut all)?;
    segments(keys, root, &mut all)?;
    // The oldest of the timestamps up to which its channels were read.
    each(
        keys,
        "datacoord-meta/channel-cp/",
        |channel, at: MessagePosition| {
            let id = channels.get(channel);
            if let Some(collection) = id.and_then(|id| all.get_mut(id)) {
                let before = collection.as_of.unwrap_or(u64::MAX);
                collection.as_of = Some(before.min(at.timestamp));
            }
        },
    )?;
    let mut all: Vec<Collection> = all.into_values().collect();
    for collection in &mut all {
        collection.schema.fields.sort_by_key(|field| field.field_id);
        let parts = &mut collection.partitions;
        parts.sort_by_key(|part| (!part.tag.is_empty(), part.id));
        parts.dedup_by_key(|part| part.id);
        collection.segments.sort_by_key(|segment| segment.id);
    }
    Ok(all)
}

/// Reads each value below a path, with the rest of its key.
fn each<M: Message + Default>(
    keys: &Keys,
    path: &str,
    mut then: impl FnMut(&str, M),
) -> Result<()> {
    for (key, value) in keys.below(path) {
        let message = M::decode(value.clone()).map_err(|e| keys.wrong(path, key, e))?;
        then(key, message);
    }
    Ok(())
}

/// The number at the beginning of the rest of a key.
fn first(key: &str) -> Option<i64> {
    key.split('/').next()?.parse().ok()
}

/// Reads fields, functions, partitions, aliases and indexes.
fn describe(keys: &Keys, all: &mut BTreeMap<i64, Collection>) -> Result<()> {
    each(keys, "root-coord/fields/", |key, field: FieldSchema| {
        if let Some(collection) = first(key).and_then(|id| all.get_mut(&id))
            && field.state == object_state::CREATED
        {
            collection.schema.fields.push(field);
        }
    })?;
    each(
        keys,
        "root-coord/functions/",
        |key, function: FunctionSchema| {
            if let Some(collection) = first(key).and_then(|id| all.get_mut(&id)) {
                collection.schema.functions.push(function);
            }
        },
    )?;
    each(
        keys,
        "root-coord/struct-array-fields/",
        |key, field: StructArrayFieldSchema| {
            if let Some(collection) = first(key).and_then(|id| all.get_mut(&id)) {
                collection.schema.struct_array_fields.push(field);
            }
        },
    )?;
    each(
        keys,
        "root-coord/partitions/",
        |key, partition: PartitionInfo| {
            if let Some(collection) = first(key).and_then(|id| all.get_mut(&id))
                && partition.state == object_state::CREATED
            {
                let found = Partition::new(partition.id, &partition.name);
                collection.partitions.push(found);
            }
        },
    )?;
    for path in ["root-coord/aliases/", "root-coord/database/aliases/"] {
        each(keys, path, |_, alias: AliasInfo| {
            if let Some(collection) = all.get_mut(&alias.collection)
                && alias.state == object_state::CREATED
            {
                collection.aliases.push(alias.name);
            }
        })?;
    }
    each(keys, "field-index/", |_, found: FieldIndexInfo| {
        let Some(info) = found.info.filter(|_| !found.deleted) else {
            return;
        };
        let Some(collection) = all.get_mut(&info.collection) else {
            return;
        };
        let mut fields = collection.schema.fields.iter();
        if let Some(field) = fields.find(|field| field.field_id == info.field) {
            collection.indexes.push(Index {
                field: field.name.clone(),
                name: info.name,
                params: match info.user_params.is_empty() {
                    true => info.params,
                    false => info.user_params,
                },
            });
        }
    })
}

fn segments(keys: &Keys, root: &Path, all: &mut BTreeMap<i64, Collection>) -> Result<()> {
    let mut logs = [HashMap::new(), HashMap::new()];
    let paths = ["datacoord-meta/binlog/", "datacoord-meta/deltalog/"];
    for (path, logs) in paths.iter().zip(&mut logs) {
        each(keys, path, |key, log: FieldBinlog| {
            let segment = key.split('/').nth(2).and_then(|id| id.parse().ok());
            let of: &mut Vec<FieldBinlog> = logs.entry(segment.unwrap_or(0)).or_default();
            of.push(log);
        })?;
    }
    let [mut binlogs, mut deletions]: [HashMap<i64, Vec<FieldBinlog>>; 2] = logs;
    let root = Root {
        insert: &root.join("insert_log"),
        deletions: &root.join("delta_log"),
    };
    each(keys, "datacoord-meta/s/", |_, info: SegmentInfo| {
        let Some(collection) = all.get_mut(&info.collection) else {
            return;
        };
        let parents = info.compaction_from.clone();
        collection.parents.insert(info.id, parents);
        let mut fields = binlogs.remove(&info.id).unwrap_or_default();
        let mut deleted = deletions.remove(&info.id).unwrap_or_default();
        // Until 2.1, logs were listed in the segment's own value.
        fields.extend(info.binlogs.iter().cloned());
        deleted.extend(info.deltalogs.iter().cloned());
        let mut partitions = collection.partitions.iter();
        let has_partition =
            info.partition == ALL_PARTITIONS || partitions.any(|p| p.id == info.partition);
        let has_logs = !fields.is_empty() || !deleted.is_empty() || !info.manifest_path.is_empty();
        match why_skipped(&info, has_partition, has_logs) {
            Some(why) => {
                let skipped = collection.skipped.entry(why).or_default();
                *skipped = (skipped.0 + 1, skipped.1.saturating_add(info.rows));
            }
            None => {
                let segment = root.segment(&info, &fields, &deleted, None);
                collection.segments.push(segment);
            }
        }
    })
}
