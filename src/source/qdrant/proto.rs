//! Which messages are exchanged with Qdrant? Those used here, with prost derives; answers with points are read in
//! `points`. Field numbers are those of Qdrant 1.19, which only ever adds to them; unknown fields are skipped.

#![allow(missing_docs)] // A message's fields are documented in Qdrant's proto files; the numbers are the contract.

use std::collections::HashMap;

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckReply {
    #[prost(string, tag = "1")]
    pub title: String,
    #[prost(string, tag = "2")]
    pub version: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListCollectionsRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct ListCollectionsResponse {
    #[prost(message, repeated, tag = "1")]
    pub collections: Vec<CollectionDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionDescription {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListAliasesRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct ListAliasesResponse {
    #[prost(message, repeated, tag = "1")]
    pub aliases: Vec<AliasDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AliasDescription {
    #[prost(string, tag = "1")]
    pub alias_name: String,
    #[prost(string, tag = "2")]
    pub collection_name: String,
}

/// For calls that take only a collection's name: `Get` of its description, and its shard keys.
#[derive(Clone, PartialEq, Message)]
pub struct CollectionRequest {
    #[prost(string, tag = "1")]
    pub collection_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetCollectionInfoResponse {
    #[prost(message, optional, tag = "1")]
    pub result: Option<CollectionInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionInfo {
    #[prost(message, optional, tag = "7")]
    pub config: Option<CollectionConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionConfig {
    #[prost(message, optional, tag = "1")]
    pub params: Option<CollectionParams>,
    #[prost(message, optional, tag = "2")]
    pub hnsw_config: Option<HnswConfig>,
    #[prost(message, optional, tag = "6")]
    pub strict_mode_config: Option<StrictModeConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StrictModeConfig {
    #[prost(bool, optional, tag = "1")]
    pub enabled: Option<bool>,
    #[prost(uint32, optional, tag = "2")]
    pub max_query_limit: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionParams {
    #[prost(uint32, tag = "3")]
    pub shard_number: u32,
    #[prost(message, optional, tag = "5")]
    pub vectors_config: Option<VectorsConfig>,
    #[prost(int32, optional, tag = "9")]
    pub sharding_method: Option<i32>,
    #[prost(message, optional, tag = "10")]
    pub sparse_vectors_config: Option<SparseVectorConfig>,
}

/// `ShardingMethod.Custom`.
pub const CUSTOM_SHARDING: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct VectorsConfig {
    #[prost(oneof = "VectorsKinds", tags = "1, 2")]
    pub config: Option<VectorsKinds>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum VectorsKinds {
    #[prost(message, tag = "1")]
    Params(VectorParams),
    #[prost(message, tag = "2")]
    ParamsMap(VectorParamsMap),
}

#[derive(Clone, PartialEq, Message)]
pub struct VectorParamsMap {
    #[prost(map = "string, message", tag = "1")]
    pub map: HashMap<String, VectorParams>,
}

#[derive(Clone, PartialEq, Message)]
pub struct VectorParams {
    #[prost(uint64, tag = "1")]
    pub size: u64,
    #[prost(int32, tag = "2")]
    pub distance: i32,
    #[prost(message, optional, tag = "3")]
    pub hnsw_config: Option<HnswConfig>,
    #[prost(int32, optional, tag = "6")]
    pub datatype: Option<i32>,
    #[prost(message, optional, tag = "7")]
    pub multivector_config: Option<MultiVectorConfig>,
}

/// `Distance`.
pub mod distance {
    pub const COSINE: i32 = 1;
    pub const EUCLID: i32 = 2;
    pub const DOT: i32 = 3;
    pub const MANHATTAN: i32 = 4;
}

/// `Datatype`: those that store values differently from how they were sent.
pub mod datatype {
    pub const UINT8: i32 = 2;
    pub const FLOAT16: i32 = 3;
    pub const TURBO4: i32 = 4;
}

#[derive(Clone, PartialEq, Message)]
pub struct MultiVectorConfig {
    #[prost(int32, tag = "1")]
    pub comparator: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct HnswConfig {
    #[prost(uint64, optional, tag = "1")]
    pub m: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub ef_construct: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SparseVectorConfig {
    #[prost(map = "string, message", tag = "1")]
    pub map: HashMap<String, SparseVectorParams>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SparseVectorParams {
    #[prost(int32, optional, tag = "2")]
    pub modifier: Option<i32>,
}

/// `Modifier.Idf`.
pub const IDF: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct ListShardKeysResponse {
    #[prost(message, repeated, tag = "1")]
    pub shard_keys: Vec<ShardKeyDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ShardKeyDescription {
    #[prost(message, optional, tag = "1")]
    pub key: Option<ShardKey>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct ShardKey {
    #[prost(oneof = "ShardKeyKinds", tags = "1, 2")]
    pub key: Option<ShardKeyKinds>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Oneof)]
pub enum ShardKeyKinds {
    #[prost(string, tag = "1")]
    Keyword(String),
    #[prost(uint64, tag = "2")]
    Number(u64),
}

#[derive(Clone, PartialEq, Message)]
pub struct ShardKeySelector {
    #[prost(message, repeated, tag = "1")]
    pub shard_keys: Vec<ShardKey>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PointId {
    #[prost(oneof = "PointIdKinds", tags = "1, 2")]
    pub kind: Option<PointIdKinds>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum PointIdKinds {
    #[prost(uint64, tag = "1")]
    Num(u64),
    #[prost(string, tag = "2")]
    Uuid(String),
}

#[derive(Clone, PartialEq, Message)]
pub struct ScrollPoints {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(message, optional, tag = "2")]
    pub filter: Option<Filter>,
    #[prost(message, optional, tag = "3")]
    pub offset: Option<PointId>,
    #[prost(uint32, optional, tag = "4")]
    pub limit: Option<u32>,
    #[prost(message, optional, tag = "6")]
    pub with_payload: Option<Selector>,
    #[prost(message, optional, tag = "7")]
    pub with_vectors: Option<Selector>,
    #[prost(message, optional, tag = "9")]
    pub shard_key_selector: Option<ShardKeySelector>,
}

/// `WithPayloadSelector` and `WithVectorsSelector`: all, or none.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Selector {
    // A oneof's member is sent even if it is false.
    #[prost(bool, optional, tag = "1")]
    pub enable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetPoints {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(message, repeated, tag = "2")]
    pub ids: Vec<PointId>,
    #[prost(message, optional, tag = "4")]
    pub with_payload: Option<Selector>,
    #[prost(message, optional, tag = "5")]
    pub with_vectors: Option<Selector>,
    #[prost(message, optional, tag = "7")]
    pub shard_key_selector: Option<ShardKeySelector>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CountPoints {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(message, optional, tag = "2")]
    pub filter: Option<Filter>,
    #[prost(bool, optional, tag = "3")]
    pub exact: Option<bool>,
    #[prost(message, optional, tag = "5")]
    pub shard_key_selector: Option<ShardKeySelector>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CountResponse {
    #[prost(message, optional, tag = "1")]
    pub result: Option<CountResult>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct CountResult {
    #[prost(uint64, tag = "1")]
    pub count: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Filter {
    #[prost(message, repeated, tag = "3")]
    pub must_not: Vec<Condition>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Condition {
    #[prost(message, optional, tag = "7")]
    pub has_vector: Option<HasVectorCondition>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HasVectorCondition {
    #[prost(string, tag = "1")]
    pub has_vector: String,
}
