//! What do we say to Milvus 2.x, and what does it say back? The messages we speak, as prost derives.
//! Field numbers are those of milvus-proto 2.3, which later versions only add to; unknown fields are skipped.
//! Insert bodies are not made here but in `wire`; their messages are here so that tests can read them back.

#![allow(missing_docs)] // A message's fields are documented in milvus-proto; the numbers are the contract.

pub mod import;
mod rows;
mod schema;
mod stored;

use std::collections::HashMap;

use prost::Message;

pub use rows::*;
pub use schema::*;
pub use stored::*;

/// Data types of a field, as `FieldSchema.data_type` and `FieldData.type` have them.
pub mod data_type {
    pub const BOOL: i32 = 1;
    pub const INT8: i32 = 2;
    pub const INT16: i32 = 3;
    pub const INT32: i32 = 4;
    pub const INT64: i32 = 5;
    pub const FLOAT: i32 = 10;
    pub const DOUBLE: i32 = 11;
    pub const VARCHAR: i32 = 21;
    pub const ARRAY: i32 = 22;
    pub const JSON: i32 = 23;
    pub const GEOMETRY: i32 = 24;
    pub const TIMESTAMPTZ: i32 = 26;
    pub const BINARY_VECTOR: i32 = 100;
    pub const FLOAT_VECTOR: i32 = 101;
    pub const FLOAT16_VECTOR: i32 = 102;
    pub const BFLOAT16_VECTOR: i32 = 103;
    pub const SPARSE_FLOAT_VECTOR: i32 = 104;
    pub const INT8_VECTOR: i32 = 105;

    /// Its name, for people.
    pub fn name(number: i32) -> String {
        let name = match number {
            BOOL => "BOOL",
            INT8 => "INT8",
            INT16 => "INT16",
            INT32 => "INT32",
            INT64 => "INT64",
            FLOAT => "FLOAT",
            DOUBLE => "DOUBLE",
            20 => "STRING",
            VARCHAR => "VARCHAR",
            ARRAY => "ARRAY",
            JSON => "JSON",
            GEOMETRY => "GEOMETRY",
            25 => "TEXT",
            TIMESTAMPTZ => "TIMESTAMPTZ",
            BINARY_VECTOR => "BINARY_VECTOR",
            FLOAT_VECTOR => "FLOAT_VECTOR",
            FLOAT16_VECTOR => "FLOAT16_VECTOR",
            BFLOAT16_VECTOR => "BFLOAT16_VECTOR",
            SPARSE_FLOAT_VECTOR => "SPARSE_FLOAT_VECTOR",
            INT8_VECTOR => "INT8_VECTOR",
            _ => return format!("type {number}"),
        };
        name.to_owned()
    }
}

/// `common.LoadState`.
pub mod load_state {
    pub const NOT_LOADED: i32 = 1;
    pub const LOADING: i32 = 2;
    pub const LOADED: i32 = 3;
}

/// `common.IndexState`.
pub mod index_state {
    pub const FINISHED: i32 = 3;
    pub const FAILED: i32 = 4;
}

#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub error_code: i32,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(int32, tag = "3")]
    pub code: i32,
    #[prost(bool, tag = "4")]
    pub retriable: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

impl KeyValue {
    pub fn new(key: &str, value: impl Into<String>) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: value.into(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct ClientInfo {
    #[prost(string, tag = "1")]
    pub sdk_type: String,
    #[prost(string, tag = "2")]
    pub sdk_version: String,
    #[prost(string, tag = "3")]
    pub local_time: String,
    #[prost(string, tag = "4")]
    pub user: String,
    #[prost(string, tag = "5")]
    pub host: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ServerInfo {
    #[prost(string, tag = "1")]
    pub build_tags: String,
    #[prost(string, tag = "5")]
    pub deploy_mode: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ConnectRequest {
    #[prost(message, optional, tag = "2")]
    pub client_info: Option<ClientInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ConnectResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub server_info: Option<ServerInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetVersionRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct GetVersionResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(string, tag = "2")]
    pub version: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListDatabasesRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct ListDatabasesResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(string, repeated, tag = "2")]
    pub db_names: Vec<String>,
}

/// `Command` of Milvus 1.x (milvus.grpc): asked only to tell such a server from one that is broken.
#[derive(Clone, PartialEq, Message)]
pub struct V1Command {
    #[prost(string, tag = "1")]
    pub cmd: String,
}

/// `StringReply` of Milvus 1.x.
#[derive(Clone, PartialEq, Message)]
pub struct V1StringReply {
    #[prost(string, tag = "2")]
    pub string_reply: String,
}

/// The shape of Drop-, Describe- and ReleaseCollection, and of GetCollectionStatistics.
#[derive(Clone, PartialEq, Message)]
pub struct CollectionRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct DescribeCollectionResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub schema: Option<CollectionSchema>,
    #[prost(int64, tag = "3")]
    pub collection_id: i64,
    #[prost(int32, tag = "8")]
    pub shards_num: i32,
    #[prost(string, repeated, tag = "9")]
    pub aliases: Vec<String>,
    /// As numbered by `Consistency::ALL`.
    #[prost(int32, tag = "11")]
    pub consistency_level: i32,
    #[prost(message, repeated, tag = "13")]
    pub properties: Vec<KeyValue>,
    #[prost(int64, tag = "15")]
    pub num_partitions: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ShowCollectionsRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ShowCollectionsResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BoolResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(bool, tag = "2")]
    pub value: bool,
}

/// The shape of Create-, Drop- and HasPartition, and of GetPartitionStatistics.
#[derive(Clone, PartialEq, Message)]
pub struct PartitionRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, tag = "4")]
    pub partition_name: String,
}

/// The answer of ShowPartitions.
#[derive(Clone, PartialEq, Message)]
pub struct PartitionsResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(string, repeated, tag = "2")]
    pub partition_names: Vec<String>,
    #[prost(int64, repeated, tag = "3")]
    pub partition_ids: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReleasePartitionsRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, repeated, tag = "4")]
    pub partition_names: Vec<String>,
}

/// The answer of GetCollectionStatistics and GetPartitionStatistics.
#[derive(Clone, PartialEq, Message)]
pub struct StatisticsResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub stats: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FlushRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, repeated, tag = "3")]
    pub collection_names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LongArray {
    #[prost(int64, repeated, tag = "1")]
    pub data: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FlushResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(map = "string, message", tag = "3")]
    pub segment_ids: HashMap<String, LongArray>,
    #[prost(map = "string, message", tag = "4")]
    pub flushed_segment_ids: HashMap<String, LongArray>,
    #[prost(map = "string, uint64", tag = "6")]
    pub flush_ts: HashMap<String, u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetFlushStateRequest {
    #[prost(int64, repeated, tag = "1")]
    pub segment_ids: Vec<i64>,
    #[prost(uint64, tag = "2")]
    pub flush_ts: u64,
    #[prost(string, tag = "3")]
    pub db_name: String,
    #[prost(string, tag = "4")]
    pub collection_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetFlushStateResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(bool, tag = "2")]
    pub flushed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateIndexRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, tag = "4")]
    pub field_name: String,
    #[prost(message, repeated, tag = "5")]
    pub extra_params: Vec<KeyValue>,
    #[prost(string, tag = "6")]
    pub index_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct DropIndexRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, tag = "4")]
    pub field_name: String,
    #[prost(string, tag = "5")]
    pub index_name: String,
}

/// The shape of CreateAlias and AlterAlias.
#[derive(Clone, PartialEq, Message)]
pub struct AliasRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, tag = "4")]
    pub alias: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct LoadPartitionsRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, repeated, tag = "4")]
    pub partition_names: Vec<String>,
    #[prost(int32, tag = "5")]
    pub replica_number: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct DescribeIndexRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, tag = "4")]
    pub field_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct IndexDescription {
    #[prost(string, tag = "1")]
    pub index_name: String,
    #[prost(message, repeated, tag = "3")]
    pub params: Vec<KeyValue>,
    #[prost(string, tag = "4")]
    pub field_name: String,
    #[prost(int64, tag = "5")]
    pub indexed_rows: i64,
    #[prost(int64, tag = "6")]
    pub total_rows: i64,
    #[prost(int32, tag = "7")]
    pub state: i32,
    #[prost(string, tag = "8")]
    pub fail_reason: String,
    #[prost(int64, tag = "9")]
    pub pending_rows: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct DescribeIndexResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub indexes: Vec<IndexDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LoadCollectionRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(int32, tag = "4")]
    pub replica_number: i32,
}

/// The shape of GetLoadingProgress and GetLoadState.
#[derive(Clone, PartialEq, Message)]
pub struct LoadRequest {
    #[prost(string, tag = "2")]
    pub collection_name: String,
    #[prost(string, repeated, tag = "3")]
    pub partition_names: Vec<String>,
    #[prost(string, tag = "4")]
    pub db_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetLoadingProgressResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(int64, tag = "2")]
    pub progress: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetLoadStateResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(int32, tag = "2")]
    pub state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct QueryRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, tag = "4")]
    pub expr: String,
    #[prost(string, repeated, tag = "5")]
    pub output_fields: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    pub partition_names: Vec<String>,
    /// What was written before it is visible.
    #[prost(uint64, tag = "8")]
    pub guarantee_timestamp: u64,
    #[prost(message, repeated, tag = "9")]
    pub query_params: Vec<KeyValue>,
    /// 0 is Strong: everything acknowledged before is seen. 4 is Customized: by `guarantee_timestamp`.
    #[prost(int32, tag = "11")]
    pub consistency_level: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct AllocTimestampRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct AllocTimestampResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(uint64, tag = "2")]
    pub timestamp: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct QueryResults {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub fields_data: Vec<FieldData>,
}

/// The answer to Insert and Upsert. The ids and row numbers it echoes are skipped.
#[derive(Clone, PartialEq, Message)]
pub struct MutationResult {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(int64, tag = "6")]
    pub insert_cnt: i64,
    #[prost(int64, tag = "7")]
    pub delete_cnt: i64,
    #[prost(int64, tag = "8")]
    pub upsert_cnt: i64,
}

/// An answer that carries a status; what has none in it went well.
pub trait Answer: Message + Default {
    /// The status in it.
    fn status(&self) -> Option<&Status>;
}

/// A bare status is an answer too.
impl Answer for Status {
    fn status(&self) -> Option<&Status> {
        Some(self)
    }
}

macro_rules! answers {
    ($($name:path),*) => {
        $(impl Answer for $name {
            fn status(&self) -> Option<&Status> {
                self.status.as_ref()
            }
        })*
    };
}

answers!(
    AllocTimestampResponse,
    ConnectResponse,
    GetVersionResponse,
    ListDatabasesResponse,
    DescribeCollectionResponse,
    ShowCollectionsResponse,
    BoolResponse,
    PartitionsResponse,
    StatisticsResponse,
    FlushResponse,
    GetFlushStateResponse,
    DescribeIndexResponse,
    GetLoadingProgressResponse,
    GetLoadStateResponse,
    QueryResults,
    MutationResult,
    import::ImportResponse,
    import::GetImportStateResponse,
    import::ListImportTasksResponse
);
