//! What does Milvus keep in etcd? Collections, partitions, segments and their logs; and how etcd's own file stores
//! keys.

use bytes::Bytes;
use prost::Message;

use super::{CollectionSchema, KeyValue};

/// States of a collection or partition: one that is not "created" is being created or dropped.
pub mod object_state {
    pub const CREATED: i32 = 0;
}

/// `common.SegmentState`.
pub mod segment_state {
    pub const GROWING: i32 = 2;
    pub const SEALED: i32 = 3;
    pub const FLUSHED: i32 = 4;
    pub const FLUSHING: i32 = 5;
    pub const DROPPED: i32 = 6;
    pub const IMPORTING: i32 = 7;

    /// Its name, for people.
    pub fn name(number: i32) -> String {
        let name = match number {
            1 => "not existing",
            GROWING => "growing",
            SEALED => "sealed",
            FLUSHED => "flushed",
            FLUSHING => "flushing",
            DROPPED => "dropped",
            IMPORTING => "importing",
            _ => return format!("in state {number}"),
        };
        name.to_owned()
    }
}

/// `SegmentLevel` of segments that hold deletions only.
pub const LEVEL_0: i32 = 1;

/// `mvccpb.KeyValue` of etcd.
#[derive(Clone, PartialEq, Message)]
pub struct Revision {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct DatabaseInfo {
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionInfo {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(message, optional, tag = "2")]
    pub schema: Option<CollectionSchema>,
    /// Until 2.1, partitions were here.
    #[prost(int64, repeated, tag = "4")]
    pub partition_ids: Vec<i64>,
    #[prost(string, repeated, tag = "5")]
    pub partition_names: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub channels: Vec<String>,
    #[prost(int32, tag = "10")]
    pub shards: i32,
    #[prost(int32, tag = "12")]
    pub consistency_level: i32,
    #[prost(int32, tag = "13")]
    pub state: i32,
    #[prost(message, repeated, tag = "14")]
    pub properties: Vec<KeyValue>,
    #[prost(int64, tag = "15")]
    pub database: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionInfo {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(int64, tag = "4")]
    pub collection: i64,
    #[prost(int32, tag = "5")]
    pub state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct AliasInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "2")]
    pub collection: i64,
    #[prost(int32, tag = "4")]
    pub state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldIndexInfo {
    #[prost(message, optional, tag = "1")]
    pub info: Option<IndexInfo>,
    #[prost(bool, tag = "2")]
    pub deleted: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct IndexInfo {
    #[prost(int64, tag = "1")]
    pub collection: i64,
    #[prost(int64, tag = "2")]
    pub field: i64,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(message, repeated, tag = "6")]
    pub params: Vec<KeyValue>,
    /// As the user gave them; `params` has what the server derived from them.
    #[prost(message, repeated, tag = "12")]
    pub user_params: Vec<KeyValue>,
}

/// The position up to which a channel's log was read.
#[derive(Clone, PartialEq, Message)]
pub struct MessagePosition {
    #[prost(uint64, tag = "4")]
    pub timestamp: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct SegmentInfo {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(int64, tag = "2")]
    pub collection: i64,
    #[prost(int64, tag = "3")]
    pub partition: i64,
    #[prost(string, tag = "4")]
    pub channel: String,
    #[prost(int64, tag = "5")]
    pub rows: i64,
    #[prost(int32, tag = "6")]
    pub state: i32,
    #[prost(message, repeated, tag = "11")]
    pub binlogs: Vec<FieldBinlog>,
    #[prost(message, repeated, tag = "13")]
    pub deltalogs: Vec<FieldBinlog>,
    #[prost(bool, tag = "14")]
    pub by_compaction: bool,
    #[prost(int64, repeated, tag = "15")]
    pub compaction_from: Vec<i64>,
    #[prost(bool, tag = "17")]
    pub is_importing: bool,
    #[prost(bool, tag = "18")]
    pub is_fake: bool,
    #[prost(int32, tag = "20")]
    pub level: i32,
    #[prost(int64, tag = "21")]
    pub storage_version: i64,
    #[prost(bool, tag = "28")]
    pub is_invisible: bool,
    #[prost(string, tag = "32")]
    pub manifest_path: String,
    #[prost(uint64, tag = "36")]
    pub commit_timestamp: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldBinlog {
    #[prost(int64, tag = "1")]
    pub field: i64,
    #[prost(message, repeated, tag = "2")]
    pub logs: Vec<LogInfo>,
    /// The fields in a group of columns, storage V2.
    #[prost(int64, repeated, tag = "3")]
    pub children: Vec<i64>,
}

/// `data.Binlog`.
#[derive(Clone, PartialEq, Message)]
pub struct LogInfo {
    #[prost(int64, tag = "1")]
    pub rows: i64,
    /// Empty from 2.3 on: the path follows from the numbers.
    #[prost(string, tag = "4")]
    pub path: String,
    #[prost(int64, tag = "6")]
    pub id: i64,
}
