//! How is a collection described in messages? Its fields, its functions and its other settings.

use prost::Message;

use super::KeyValue;

#[derive(Clone, PartialEq, Message)]
pub struct FieldSchema {
    #[prost(int64, tag = "1")]
    pub field_id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(bool, tag = "3")]
    pub is_primary_key: bool,
    #[prost(string, tag = "4")]
    pub description: String,
    #[prost(int32, tag = "5")]
    pub data_type: i32,
    #[prost(message, repeated, tag = "6")]
    pub type_params: Vec<KeyValue>,
    #[prost(bool, tag = "8")]
    pub auto_id: bool,
    #[prost(int32, tag = "9")]
    pub state: i32,
    #[prost(int32, tag = "10")]
    pub element_type: i32,
    #[prost(message, optional, tag = "11")]
    pub default_value: Option<ValueField>,
    #[prost(bool, tag = "12")]
    pub is_dynamic: bool,
    #[prost(bool, tag = "13")]
    pub is_partition_key: bool,
    #[prost(bool, tag = "14")]
    pub is_clustering_key: bool,
    #[prost(bool, tag = "15")]
    pub nullable: bool,
    #[prost(bool, tag = "16")]
    pub is_function_output: bool,
}

/// A default value. Of its members one is set.
#[derive(Clone, PartialEq, Message)]
pub struct ValueField {
    #[prost(bool, optional, tag = "1")]
    pub bool_data: Option<bool>,
    #[prost(int32, optional, tag = "2")]
    pub int_data: Option<i32>,
    #[prost(int64, optional, tag = "3")]
    pub long_data: Option<i64>,
    #[prost(float, optional, tag = "4")]
    pub float_data: Option<f32>,
    #[prost(double, optional, tag = "5")]
    pub double_data: Option<f64>,
    #[prost(string, optional, tag = "6")]
    pub string_data: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionSchema {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub description: String,
    #[prost(int32, tag = "4")]
    pub kind: i32,
    #[prost(string, repeated, tag = "5")]
    pub input_field_names: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub output_field_names: Vec<String>,
    #[prost(message, repeated, tag = "9")]
    pub params: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionSchema {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(bool, tag = "3")]
    pub auto_id: bool,
    #[prost(message, repeated, tag = "4")]
    pub fields: Vec<FieldSchema>,
    #[prost(bool, tag = "5")]
    pub enable_dynamic_field: bool,
    #[prost(message, repeated, tag = "7")]
    pub functions: Vec<FunctionSchema>,
    #[prost(message, repeated, tag = "9")]
    pub struct_array_fields: Vec<StructArrayFieldSchema>,
}

/// Fields in a list of structs. Only named here: nothing reads them.
#[derive(Clone, PartialEq, Message)]
pub struct StructArrayFieldSchema {
    #[prost(string, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateCollectionRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(bytes = "vec", tag = "4")]
    pub schema: Vec<u8>,
    #[prost(int32, tag = "5")]
    pub shards_num: i32,
    #[prost(int32, tag = "6")]
    pub consistency_level: i32,
    #[prost(message, repeated, tag = "7")]
    pub properties: Vec<KeyValue>,
    #[prost(int64, tag = "8")]
    pub num_partitions: i64,
}
