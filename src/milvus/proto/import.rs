//! How does one ask for an import of files, and what became of it?

use prost::Message;

use super::{KeyValue, Status};

#[derive(Clone, PartialEq, Message)]
pub struct ImportRequest {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(string, tag = "2")]
    pub partition_name: String,
    #[prost(string, repeated, tag = "5")]
    pub files: Vec<String>,
    #[prost(string, tag = "7")]
    pub db_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ImportResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(int64, repeated, tag = "2")]
    pub tasks: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetImportStateRequest {
    #[prost(int64, tag = "1")]
    pub task: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetImportStateResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(int32, tag = "2")]
    pub state: i32,
    #[prost(int64, tag = "3")]
    pub row_count: i64,
    #[prost(message, repeated, tag = "5")]
    pub infos: Vec<KeyValue>,
    #[prost(int64, tag = "6")]
    pub id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListImportTasksRequest {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(string, tag = "3")]
    pub db_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListImportTasksResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub tasks: Vec<GetImportStateResponse>,
}
