//! How does a file of Milvus Lite 2.x store schemas and rows? As Milvus messages, one for each row.

use arrow_array::ArrayRef;
use bytes::Bytes;
use prost::Message;

use super::proto::{CollectionSchema, FieldData, KeyValue, ScalarField, VectorField};
use super::values;
use crate::schema::{ColumnType, Columns, DefaultValue, Element, Role, Scalar};

/// A row as it is stored.
#[derive(Clone, PartialEq, Message)]
struct StoredRow {
    #[prost(message, repeated, tag = "1")]
    fields: Vec<FieldData>,
}

/// An index as it is stored.
#[derive(Clone, PartialEq, Message)]
pub struct StoredIndex {
    /// The number of its field.
    #[prost(int64, tag = "1")]
    pub field_id: i64,
    /// Its type, its metric and its parameters.
    #[prost(message, repeated, tag = "5")]
    pub params: Vec<KeyValue>,
}

/// A schema as it is stored.
pub fn schema(bytes: &[u8]) -> Result<CollectionSchema, String> {
    CollectionSchema::decode(bytes).map_err(|e| e.to_string())
}

/// An index as it is stored.
pub fn index(bytes: &[u8]) -> Result<StoredIndex, String> {
    StoredIndex::decode(bytes).map_err(|e| e.to_string())
}

/// Rows to be turned into columns.
pub struct Rows<'c> {
    columns: &'c Columns,
    values: Vec<Values>,
    rows: usize,
    bytes: usize,
}

/// The values of rows in one column.
#[derive(Default)]
struct Values {
    scalars: ScalarField,
    dense: Vec<u8>,
    sparse: Vec<Vec<u8>>,
}

impl<'c> Rows<'c> {
    /// No rows yet.
    pub fn new(columns: &'c Columns) -> Rows<'c> {
        let values = columns.all().iter().map(|_| Values::default());
        Rows {
            columns,
            values: values.collect(),
            rows: 0,
            bytes: 0,
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the rows as they were stored.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row, whose key is this as text. Returns a sentence if it does not fit; these rows are unusable after
    /// that.
    pub fn push(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), String> {
        let row = StoredRow::decode(bytes).map_err(|e| e.to_string())?;
        let mut fields = row.fields;
        for (number, column) in self.columns.all().iter().enumerate() {
            let found = fields
                .iter()
                .position(|field| field.field_name == column.name);
            let field = found.map(|at| fields.swap_remove(at)).unwrap_or_default();
            let wrong = |what: String| format!("field `{}` {what}", column.name);
            let count = self.values[number].add(column.kind, field).map_err(wrong)?;
            match (count, &column.traits.default, column.role) {
                (1, _, _) => {}
                (0, Some(value), _) => self.values[number].add_default(column.kind, value),
                (0, _, Role::Dynamic) => self.values[number].add_text(column.kind, "{}"),
                (count, _, _) => return Err(wrong(format!("has {count} values, not one"))),
            }
            if column.role == Role::Key && !self.values[number].ends_with(key) {
                let key = String::from_utf8_lossy(key);
                return Err(wrong(format!("is another one than its row's key, {key}")));
            }
        }
        self.rows += 1;
        self.bytes += bytes.len();
        Ok(())
    }

    /// Their values by column.
    pub fn finish(self) -> Result<Vec<ArrayRef>, String> {
        let all = self.columns.all().iter().zip(self.values);
        let all = all.map(|(column, values)| {
            let read = values::read(column.kind, values.field(column.kind), self.rows);
            read.map_err(|what| format!("field `{}`: {what}", column.name))
        });
        all.collect()
    }
}

impl Values {
    /// Adds the values of a message, and returns their number.
    fn add(&mut self, kind: ColumnType, field: FieldData) -> Result<usize, String> {
        let mut scalars = field.scalars.unwrap_or_default();
        Ok(match kind {
            ColumnType::Vector(vector) => {
                let bytes = field.vectors.and_then(|v| values::vector_bytes(v, vector));
                let bytes = bytes.unwrap_or_default();
                if bytes.len() as u64 != vector.row_bytes() {
                    return Err(format!("has {} bytes, not those of {vector}", bytes.len()));
                }
                self.dense.extend_from_slice(&bytes);
                1
            }
            ColumnType::Sparse => {
                let sparse = field.vectors.and_then(|v| v.sparse_float_vector);
                let contents = sparse.unwrap_or_default().contents;
                for row in &contents {
                    let (pairs, rest) = row.as_chunks::<8>();
                    let index = |p: &[u8; 8]| u32::from_le_bytes([p[0], p[1], p[2], p[3]]);
                    let ascends = pairs.windows(2).all(|p| index(&p[0]) < index(&p[1]));
                    if !rest.is_empty() || !ascends {
                        return Err(
                            "is not a sparse vector: pairs with ascending indices".to_owned()
                        );
                    }
                }
                let count = contents.len();
                self.sparse.extend(contents);
                count
            }
            ColumnType::Array { .. } => {
                let lists = scalars.array_data.unwrap_or_default().data;
                let count = lists.len();
                let into = self.scalars.array_data.get_or_insert_default();
                into.data.extend(lists);
                count
            }
            ColumnType::Json => {
                let texts = scalars.json_data.unwrap_or_default().data;
                let count = texts.len();
                self.scalars
                    .json_data
                    .get_or_insert_default()
                    .data
                    .extend(texts);
                count
            }
            ColumnType::VarChar { .. } => self.append(&mut scalars, Scalar::VarChar),
            ColumnType::Scalar(scalar) => self.append(&mut scalars, scalar),
            ColumnType::Geometry | ColumnType::Timestamptz => {
                return Err(format!("is {kind}, which Milvus Lite 2.x does not have"));
            }
        })
    }

    fn append(&mut self, scalars: &mut ScalarField, of: Scalar) -> usize {
        let count = scalars.len(of);
        self.scalars.append(scalars, of);
        count
    }

    fn add_default(&mut self, kind: ColumnType, value: &DefaultValue) {
        let mut field = ScalarField::default();
        match value {
            DefaultValue::Bool(value) => field.bool_data.get_or_insert_default().data.push(*value),
            DefaultValue::Int(value) if kind == ColumnType::Scalar(Scalar::Int64) => {
                field.long_data.get_or_insert_default().data.push(*value);
            }
            // A value that does not fit its type is found when the column is made.
            DefaultValue::Int(value) => {
                let value = i32::try_from(*value).unwrap_or(i32::MAX);
                field.int_data.get_or_insert_default().data.push(value);
            }
            DefaultValue::Float(value) => {
                let bytes = value.to_le_bytes();
                field.float_data.get_or_insert_default().data.extend(bytes);
            }
            DefaultValue::Double(value) => {
                let bytes = value.to_le_bytes();
                field.double_data.get_or_insert_default().data.extend(bytes);
            }
            DefaultValue::Text(value) => return self.add_text(kind, value),
        }
        if let ColumnType::Scalar(scalar) = kind {
            self.scalars.append(&mut field, scalar);
        }
    }

    fn add_text(&mut self, kind: ColumnType, text: &str) {
        match kind {
            ColumnType::Json => {
                let texts = &mut self.scalars.json_data.get_or_insert_default().data;
                texts.push(text.as_bytes().to_vec());
            }
            _ => {
                let texts = &mut self.scalars.string_data.get_or_insert_default().data;
                texts.push(text.to_owned());
            }
        }
    }

    /// Whether the last value is this key.
    fn ends_with(&self, key: &[u8]) -> bool {
        let texts = self
            .scalars
            .string_data
            .as_ref()
            .and_then(|d| d.data.last());
        let number = self.scalars.long_data.as_ref().and_then(|d| d.data.last());
        match (texts, number) {
            (Some(text), _) => text.as_bytes() == key,
            (None, Some(number)) => number.to_string().as_bytes() == key,
            (None, None) => false,
        }
    }

    /// All rows in one message.
    fn field(self, kind: ColumnType) -> FieldData {
        let mut vectors = VectorField::default();
        if let ColumnType::Vector(vector) = kind {
            let bytes = Bytes::from(self.dense);
            match vector.element {
                Element::Float32 => {
                    vectors.float_vector = Some(super::proto::FloatBytes { data: bytes });
                }
                Element::Bit => vectors.binary_vector = Some(bytes),
                Element::Float16 => vectors.float16_vector = Some(bytes),
                Element::BFloat16 => vectors.bfloat16_vector = Some(bytes),
                Element::Int8 => vectors.int8_vector = Some(bytes),
            }
        }
        vectors.sparse_float_vector = Some(super::proto::SparseFloatArray {
            contents: self.sparse,
            dim: 0,
        });
        FieldData {
            scalars: Some(self.scalars),
            vectors: Some(vectors),
            ..FieldData::default()
        }
    }
}
