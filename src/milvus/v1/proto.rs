//! What do we say to Milvus 1.x, and what does it say back? The messages of package milvus.grpc, as prost derives.
//! The same in 0.10.0 to 1.1.2, except for the partition tags of look-ups and deletions, which older servers ignore.

#![allow(missing_docs)] // The numbers are the contract; their meaning stands in milvus.proto of 1.1.

use bytes::Bytes;
use prost::Message;

/// Error codes in a [`Status`] that something is made of.
pub mod code {
    pub const UNEXPECTED: i32 = 1;
    pub const PERMISSION_DENIED: i32 = 3;
    pub const COLLECTION_NOT_EXISTS: i32 = 4;
    pub const ILLEGAL_DIMENSION: i32 = 7;
    pub const ILLEGAL_COLLECTION_NAME: i32 = 9;
    pub const ILLEGAL_VECTOR_ID: i32 = 12;
    pub const CANNOT_CREATE_FOLDER: i32 = 17;
    pub const CANNOT_CREATE_FILE: i32 = 18;
    pub const OUT_OF_MEMORY: i32 = 24;
}

#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub error_code: i32,
    #[prost(string, tag = "2")]
    pub reason: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValuePair {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionName {
    #[prost(string, tag = "1")]
    pub collection_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionSchema {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(string, tag = "2")]
    pub collection_name: String,
    #[prost(int64, tag = "3")]
    pub dimension: i64,
    /// Megabytes.
    #[prost(int64, tag = "4")]
    pub index_file_size: i64,
    #[prost(int32, tag = "5")]
    pub metric_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionParam {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(string, tag = "2")]
    pub tag: String,
}

/// A row; packed floats and bytes look alike on the wire, and bytes keep every bit pattern.
#[derive(Clone, PartialEq, Message)]
pub struct RowRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub float_data: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub binary_data: Bytes,
}

/// Made by hand in `wire`; this one reads it back in tests.
#[derive(Clone, PartialEq, Message)]
pub struct InsertParam {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(message, repeated, tag = "2")]
    pub row_record_array: Vec<RowRecord>,
    #[prost(int64, repeated, tag = "3")]
    pub row_id_array: Vec<i64>,
    #[prost(string, tag = "4")]
    pub partition_tag: String,
    #[prost(message, repeated, tag = "5")]
    pub extra_params: Vec<KeyValuePair>,
}

#[derive(Clone, PartialEq, Message)]
pub struct VectorIds {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(int64, repeated, tag = "2")]
    pub vector_id_array: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BoolReply {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(bool, tag = "2")]
    pub bool_reply: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionRowCount {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(int64, tag = "2")]
    pub collection_row_count: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionInfo {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(string, tag = "2")]
    pub json_info: String,
}

/// Sent and received.
#[derive(Clone, PartialEq, Message)]
pub struct IndexParam {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(string, tag = "2")]
    pub collection_name: String,
    #[prost(int32, tag = "3")]
    pub index_type: i32,
    #[prost(message, repeated, tag = "4")]
    pub extra_params: Vec<KeyValuePair>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FlushParam {
    #[prost(string, repeated, tag = "1")]
    pub collection_name_array: Vec<String>,
}

/// `DeleteByIDParam` and `VectorsIdentity`, which are alike. The tag is of 1.1.
#[derive(Clone, PartialEq, Message)]
pub struct Ids {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(int64, repeated, tag = "2")]
    pub id_array: Vec<i64>,
    #[prost(string, tag = "3")]
    pub partition_tag: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct VectorsData {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub vectors_data: Vec<RowRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PreloadCollectionParam {
    #[prost(string, tag = "1")]
    pub collection_name: String,
}

/// An answer that carries a status.
pub trait Answer: Message + Default {
    /// The status in it; none: it went well.
    fn status(&self) -> Option<&Status>;
}

impl Answer for Status {
    fn status(&self) -> Option<&Status> {
        Some(self)
    }
}

macro_rules! answers {
    ($($name:ident),*) => {
        $(impl Answer for $name {
            fn status(&self) -> Option<&Status> {
                self.status.as_ref()
            }
        })*
    };
}

answers!(
    CollectionSchema,
    VectorIds,
    BoolReply,
    CollectionRowCount,
    CollectionInfo,
    IndexParam,
    VectorsData
);
