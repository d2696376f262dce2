//! How do rows look in messages? Columns of values, as Insert sends them and Query answers with them.

use prost::Message;

use super::LongArray;

#[derive(Clone, PartialEq, Message)]
pub struct FieldData {
    #[prost(int32, tag = "1")]
    pub data_type: i32,
    #[prost(string, tag = "2")]
    pub field_name: String,
    #[prost(message, optional, tag = "3")]
    pub scalars: Option<ScalarField>,
    #[prost(message, optional, tag = "4")]
    pub vectors: Option<VectorField>,
    #[prost(bool, tag = "6")]
    pub is_dynamic: bool,
    #[prost(bool, repeated, tag = "7")]
    pub valid_data: Vec<bool>,
}

/// Exactly one of its members is set.
#[derive(Clone, PartialEq, Message)]
pub struct ScalarField {
    #[prost(message, optional, tag = "1")]
    pub bool_data: Option<BoolArray>,
    #[prost(message, optional, tag = "2")]
    pub int_data: Option<IntArray>,
    #[prost(message, optional, tag = "3")]
    pub long_data: Option<LongArray>,
    #[prost(message, optional, tag = "4")]
    pub float_data: Option<Packed>,
    #[prost(message, optional, tag = "5")]
    pub double_data: Option<Packed>,
    #[prost(message, optional, tag = "6")]
    pub string_data: Option<StringArray>,
    #[prost(message, optional, tag = "8")]
    pub array_data: Option<ArrayArray>,
    #[prost(message, optional, tag = "9")]
    pub json_data: Option<BytesArray>,
    #[prost(message, optional, tag = "12")]
    pub geometry_wkt_data: Option<StringArray>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BoolArray {
    #[prost(bool, repeated, tag = "1")]
    pub data: Vec<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct IntArray {
    #[prost(int32, repeated, tag = "1")]
    pub data: Vec<i32>,
}

/// A FloatArray or DoubleArray, its packed values as the bytes they are, little-endian.
#[derive(Clone, PartialEq, Message)]
pub struct Packed {
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StringArray {
    #[prost(string, repeated, tag = "1")]
    pub data: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ArrayArray {
    #[prost(message, repeated, tag = "1")]
    pub data: Vec<ScalarField>,
    #[prost(int32, tag = "2")]
    pub element_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct BytesArray {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub data: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SparseFloatArray {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub contents: Vec<Vec<u8>>,
    #[prost(int64, tag = "2")]
    pub dim: i64,
}

/// Vectors, byte for byte: `float_vector` is stored as the bytes of its FloatArray.
#[derive(Clone, PartialEq, Message)]
pub struct VectorField {
    #[prost(int64, tag = "1")]
    pub dim: i64,
    #[prost(message, optional, tag = "2")]
    pub float_vector: Option<FloatBytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub binary_vector: Option<bytes::Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub float16_vector: Option<bytes::Bytes>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub bfloat16_vector: Option<bytes::Bytes>,
    #[prost(message, optional, tag = "6")]
    pub sparse_float_vector: Option<SparseFloatArray>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub int8_vector: Option<bytes::Bytes>,
}

/// A FloatArray whose packed floats are kept as the bytes they are: little-endian f32 after f32.
#[derive(Clone, PartialEq, Message)]
pub struct FloatBytes {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: bytes::Bytes,
}

/// The shape of InsertRequest and of UpsertRequest, which agree on fields 1 to 7.
#[derive(Clone, PartialEq, Message)]
pub struct InsertRequest {
    #[prost(string, tag = "2")]
    pub db_name: String,
    #[prost(string, tag = "3")]
    pub collection_name: String,
    #[prost(string, tag = "4")]
    pub partition_name: String,
    #[prost(message, repeated, tag = "5")]
    pub fields_data: Vec<FieldData>,
    #[prost(uint32, tag = "7")]
    pub num_rows: u32,
}
