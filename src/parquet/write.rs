//! How are rows written as row groups that every reader of Parquet accepts?
//! Lists are written as `list.element`, and no Arrow schema is added: so DuckDB, polars, pandas and the import of every
//! Milvus version read the same columns. Uncompressed vectors of floats are framed without a copy; the crate writes the
//! other columns. Pure: rows in, bytes out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, ListArray, PrimitiveArray, RecordBatch, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use bytes::Bytes;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::basic::{Compression, Encoding};
use ::parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataBuilder,
    ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;

use super::{MAGIC, describe, framed};
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, ColumnType, Element, Role, VectorType};

/// How pages can be compressed: the words in jobs.
pub const PACKINGS: [&str; 5] = ["none", "zstd", "snappy", "lz4", "gzip"];

fn packing(word: &str) -> Compression {
    match word {
        "zstd" => Compression::ZSTD(Default::default()),
        "snappy" => Compression::SNAPPY,
        "lz4" => Compression::LZ4_RAW,
        "gzip" => Compression::GZIP(Default::default()),
        _ => Compression::UNCOMPRESSED,
    }
}

/// Makes row groups of these columns.
pub struct Writer {
    kinds: Vec<ColumnType>,
    schema: SchemaRef,
    properties: WriterProperties,
    /// Whether vectors of floats are stored in pages as they are.
    unpacked: bool,
    /// The metadata of a file without row groups.
    base: ParquetMetaData,
}

/// A row group by itself.
pub struct Group {
    /// Its pages, in order; vectors among them as they were given.
    pub bytes: Vec<Bytes>,
    /// Its metadata in the footer, as if it came right after a file's first bytes.
    pub footer: Vec<u8>,
}

/// The pages of columns that the crate has written, and their metadata.
struct Others {
    bytes: Bytes,
    columns: std::vec::IntoIter<ColumnChunkMetaData>,
}

impl Writer {
    /// A writer of these columns, compressed as the job says; by default, vectors of floats are not compressed.
    pub fn new(columns: &[Column], word: Option<&str>) -> Result<Writer> {
        let fields = columns
            .iter()
            .map(|c| Field::new(&c.name, spelt(c.kind), c.nullable));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let unpacked = word.is_none_or(|word| packing(word) == Compression::UNCOMPRESSED);
        let properties = properties(columns, word, unpacked);
        let empty = begin(&schema, &properties)?.into_inner();
        Ok(Writer {
            kinds: columns.iter().map(|c| c.kind).collect(),
            base: decode(footer_of(&empty.map_err(|e| failed(&describe(&e)))?))?,
            schema,
            properties,
            unpacked,
        })
    }

    /// Writes rows, in several parts, as one row group.
    pub fn group(&self, stretches: &[Vec<ArrayRef>]) -> Result<Group> {
        let rows = stretches.iter().map(|s| s.first().map_or(0, |a| a.len()));
        let rows: usize = rows.sum();
        let framed: Vec<Option<VectorType>> = (0..self.kinds.len())
            .map(|number| self.framed(number, stretches))
            .collect();
        let mut others = self.others(&framed, stretches)?;
        let schema = self.base.file_metadata().schema_descr_ptr();
        let (mut bytes, mut columns) = (Vec::new(), Vec::with_capacity(schema.num_columns()));
        let mut at = MAGIC.len() as i64;
        for leaf in 0..schema.num_columns() {
            let number = schema.get_column_root_idx(leaf);
            let column = if let Some(vector) = framed[number] {
                let leaf = schema.column(leaf);
                let lying = stretches.iter().map(|s| lying(&s[number], vector));
                let lying: Vec<Bytes> = lying.collect();
                let dimension = vector.dimension as usize;
                let chunk = framed::pages(&lying, dimension, leaf.max_def_level());
                bytes.extend(chunk.bytes);
                let column = ColumnChunkMetaData::builder(leaf)
                    .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
                    .set_num_values((rows * dimension) as i64)
                    .set_total_compressed_size(chunk.len as i64)
                    .set_total_uncompressed_size(chunk.len as i64)
                    .set_data_page_offset(at);
                column.build().map_err(|e| failed(&describe(&e)))?
            } else {
                let column = others.columns.next();
                let column = column.ok_or_else(|| failed("a column has no metadata"))?;
                let (start, len) = column.byte_range();
                bytes.push(others.bytes.slice(start as usize..(start + len) as usize));
                moved(column, at - start as i64)?
            };
            at += column.compressed_size();
            columns.push(column);
        }
        let unpacked = columns.iter().map(ColumnChunkMetaData::uncompressed_size);
        let group = RowGroupMetaData::builder(schema)
            .set_num_rows(rows as i64)
            .set_total_byte_size(unpacked.sum())
            .set_column_metadata(columns);
        let group = group.build().map_err(|e| failed(&describe(&e)))?;
        let footer = footer_of(&self.end(vec![group])?).to_vec();
        Ok(Group { bytes, footer })
    }

    /// The type of a column whose vectors can be stored in pages as they are: floats, one vector in each row.
    fn framed(&self, number: usize, stretches: &[Vec<ArrayRef>]) -> Option<VectorType> {
        let ColumnType::Vector(vector) = self.kinds[number] else {
            return None;
        };
        let has_nulls = stretches.iter().any(|s| s[number].null_count() > 0);
        (self.unpacked && vector.element == Element::Float32 && !has_nulls).then_some(vector)
    }

    /// Has the crate write the columns that are not framed.
    fn others(&self, framed: &[Option<VectorType>], stretches: &[Vec<ArrayRef>]) -> Result<Others> {
        let wanted: Vec<usize> = (0..framed.len()).filter(|n| framed[*n].is_none()).collect();
        if wanted.is_empty() {
            return Ok(Others {
                bytes: Bytes::new(),
                columns: Vec::new().into_iter(),
            });
        }
        let schema = self.schema.project(&wanted);
        let schema = Arc::new(schema.map_err(|e| failed(&e.to_string()))?);
        let mut writer = begin(&schema, &self.properties)?;
        for stretch in stretches {
            let values = wanted
                .iter()
                .map(|number| as_written(&stretch[*number], self.kinds[*number]));
            let values = values
                .collect::<std::result::Result<_, _>>()
                .map_err(|e: String| failed(&e))?;
            let batch =
                RecordBatch::try_new(schema.clone(), values).map_err(|e| failed(&e.to_string()))?;
            writer.write(&batch).map_err(|e| failed(&describe(&e)))?;
        }
        let bytes = writer.into_inner().map_err(|e| failed(&describe(&e)))?;
        let metadata = decode(footer_of(&bytes))?;
        let group = metadata.row_groups().first();
        let group = group.ok_or_else(|| failed("a row group has no metadata"))?;
        Ok(Others {
            columns: group.columns().to_vec().into_iter(),
            bytes: bytes.into(),
        })
    }

    /// The end of a file whose row groups have these footers and start at these offsets.
    pub fn footer(&self, groups: &[(u64, &[u8])]) -> Result<Vec<u8>> {
        let all = groups.iter().enumerate();
        let all = all.map(|(number, (start, footer))| shifted(&decode(footer)?, number, *start));
        self.end(all.collect::<Result<_>>()?)
    }

    /// The end of a file with these row groups.
    fn end(&self, groups: Vec<RowGroupMetaData>) -> Result<Vec<u8>> {
        let file = self.base.file_metadata();
        let rows = groups.iter().map(|group| group.num_rows()).sum();
        let file = FileMetaData::new(
            file.version(),
            rows,
            file.created_by().map(str::to_owned),
            None,
            file.schema_descr_ptr(),
            file.column_orders().cloned(),
        );
        let metadata = ParquetMetaDataBuilder::new(file)
            .set_row_groups(groups)
            .build();
        let mut end = Vec::new();
        let written = ParquetMetaDataWriter::new(&mut end, &metadata).finish();
        written.map_err(|e| failed(&describe(&e)))?;
        Ok(end)
    }
}

/// How the crate writes these columns.
fn properties(columns: &[Column], word: Option<&str>, unpacked: bool) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(packing(word.unwrap_or("zstd")))
        .set_created_by(format!("milvusdm {}", env!("CARGO_PKG_VERSION")))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for column in columns {
        let path = |more: &[&str]| {
            let parts = [&*column.name].into_iter().chain(more.iter().copied());
            ColumnPath::new(parts.map(str::to_owned).collect())
        };
        let of_list = ["list", "element"];
        match column.kind {
            ColumnType::Vector(vector) => {
                let bits = vector.element == Element::Bit;
                let path = if bits { path(&[]) } else { path(&of_list) };
                properties =
                    properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
                if unpacked && vector.element == Element::Float32 {
                    properties =
                        properties.set_column_compression(path.clone(), Compression::UNCOMPRESSED);
                }
                // Parquet stores bytes as four-byte integers: as dictionary indices they take one byte again.
                let is_bytes = !bits && vector.element != Element::Float32;
                properties = properties.set_column_dictionary_enabled(path, is_bytes);
            }
            ColumnType::Sparse => {
                let path = path(&["values", "list", "element"]);
                properties = properties.set_column_dictionary_enabled(path, false);
            }
            _ if column.role == Role::Key => {
                properties = properties.set_column_dictionary_enabled(path(&[]), false);
            }
            _ => {}
        }
    }
    properties.build()
}

fn begin(schema: &SchemaRef, properties: &WriterProperties) -> Result<ArrowWriter<Vec<u8>>> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties.clone())
        .with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)
        .map_err(|e| failed(&describe(&e)))
}

/// The bytes of vectors, not copied.
fn lying(array: &ArrayRef, vector: VectorType) -> Bytes {
    let fixed = array.as_fixed_size_binary();
    let width = vector.row_bytes() as usize;
    let bytes = fixed
        .values()
        .slice_with_length(fixed.offset() * width, fixed.len() * width);
    Bytes::from_owner(bytes)
}

fn failed(what: &str) -> Error {
    Error::new(
        Kind::Io,
        format!("rows cannot be written as Parquet: {what}"),
    )
}

/// The footer of a whole file, or of the end of one.
fn footer_of(bytes: &[u8]) -> &[u8] {
    let end = bytes.len() - 8;
    let len = bytes[end..]
        .first_chunk()
        .map_or(0, |len| u32::from_le_bytes(*len) as usize);
    &bytes[end - len..end]
}

fn decode(footer: &[u8]) -> Result<ParquetMetaData> {
    ParquetMetaDataReader::decode_metadata(footer).map_err(|e| failed(&describe(&e)))
}

/// The only row group of a file, with this number and moved to this offset.
fn shifted(metadata: &ParquetMetaData, number: usize, start: u64) -> Result<RowGroupMetaData> {
    let Some(group) = metadata.row_groups().first() else {
        return Err(failed("a row group has no metadata"));
    };
    // The first bytes of a file preceded it.
    let by = start as i64 - MAGIC.len() as i64;
    let columns = group.columns().iter().cloned();
    let columns = columns.map(|column| moved(column, by));
    let builder = group
        .clone()
        .into_builder()
        .set_column_metadata(columns.collect::<Result<_>>()?)
        .set_ordinal(number as i32)
        .set_file_offset(start as i64);
    builder.build().map_err(|e| failed(&describe(&e)))
}

/// A column moved by this many bytes.
fn moved(column: ColumnChunkMetaData, by: i64) -> Result<ColumnChunkMetaData> {
    let dictionary = column.dictionary_page_offset().map(|at| at + by);
    let data = column.data_page_offset() + by;
    let builder = column.into_builder().set_data_page_offset(data);
    let moved = builder.set_dictionary_page_offset(dictionary).build();
    moved.map_err(|e| failed(&describe(&e)))
}

fn element(kind: DataType) -> FieldRef {
    Arc::new(Field::new("element", kind, false))
}

/// The Arrow type in which values of a type are written.
fn spelt(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Array { of, .. } => DataType::List(element(of.arrow())),
        ColumnType::Vector(vector) => match vector.element {
            Element::Float32 => DataType::List(element(DataType::Float32)),
            Element::Int8 => DataType::List(element(DataType::Int8)),
            // Two bytes per component: Parquet has no bfloat16, and few tools read float16.
            Element::Float16 | Element::BFloat16 => DataType::List(element(DataType::UInt8)),
            Element::Bit => DataType::Binary,
        },
        ColumnType::Sparse => DataType::Struct(pair()),
        other => other.arrow(),
    }
}

fn pair() -> Fields {
    let list = |name: &str, kind| Field::new(name, DataType::List(element(kind)), false);
    vec![
        list("indices", DataType::UInt32),
        list("values", DataType::Float32),
    ]
    .into()
}

/// Values in the form in which they are written.
fn as_written(array: &ArrayRef, kind: ColumnType) -> std::result::Result<ArrayRef, String> {
    let told = |e: arrow_schema::ArrowError| e.to_string();
    Ok(match kind {
        ColumnType::Array { of, .. } => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::try_new(element(of.arrow()), offsets, values, nulls).map_err(told)?)
        }
        ColumnType::Vector(vector) => {
            let fixed = array.as_fixed_size_binary();
            let width = vector.row_bytes() as usize;
            if vector.element == Element::Bit {
                let rows =
                    (0..fixed.len()).map(|row| fixed.is_valid(row).then(|| fixed.value(row)));
                return Ok(Arc::new(rows.collect::<BinaryArray>()));
            }
            let values = fixed
                .values()
                .slice_with_length(fixed.offset() * width, fixed.len() * width);
            let bytes = there(values.as_slice(), fixed.nulls(), width);
            let (values, count): (ArrayRef, usize) = match vector.element {
                Element::Float32 => {
                    let floats = bytes
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|f| f32::from_le_bytes(*f))
                        .collect();
                    (numbers::<types::Float32Type>(floats), width / 4)
                }
                Element::Int8 => {
                    let numbers_ = bytes.iter().map(|byte| *byte as i8).collect();
                    (numbers::<types::Int8Type>(numbers_), width)
                }
                _ => (numbers::<types::UInt8Type>(bytes.into_owned()), width),
            };
            let lengths = (0..fixed.len()).map(|row| if fixed.is_valid(row) { count } else { 0 });
            let DataType::List(field) = spelt(kind) else {
                return Err("vectors are lists".to_owned());
            };
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(
                ListArray::try_new(field, offsets, values, fixed.nulls().cloned()).map_err(told)?,
            )
        }
        ColumnType::Sparse => {
            let rows = array.as_binary::<i64>();
            let (mut indices, mut values, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..rows.len() {
                let pairs = if rows.is_valid(row) {
                    rows.value(row).as_chunks::<8>().0
                } else {
                    &[]
                };
                lengths.push(pairs.len());
                for [a, b, c, d, e, f, g, h] in pairs {
                    indices.push(u32::from_le_bytes([*a, *b, *c, *d]));
                    values.push(f32::from_le_bytes([*e, *f, *g, *h]));
                }
            }
            let list = |values: ArrayRef| -> std::result::Result<ArrayRef, String> {
                let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
                let field = element(values.data_type().clone());
                Ok(Arc::new(
                    ListArray::try_new(field, offsets, values, None).map_err(told)?,
                ))
            };
            let lists = vec![
                list(numbers::<types::UInt32Type>(indices))?,
                list(numbers::<types::Float32Type>(values))?,
            ];
            Arc::new(StructArray::try_new(pair(), lists, rows.nulls().cloned()).map_err(told)?)
        }
        _ => array.clone(),
    })
}

fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(values.into(), None))
}

/// The vectors of the rows that have one.
fn there<'v>(
    values: &'v [u8],
    nulls: Option<&NullBuffer>,
    width: usize,
) -> std::borrow::Cow<'v, [u8]> {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => values.into(),
        Some(nulls) => {
            let rows = values.chunks_exact(width).zip(nulls.iter());
            rows.filter(|(_, there)| *there)
                .flat_map(|(row, _)| row)
                .copied()
                .collect::<Vec<u8>>()
                .into()
        }
    }
}
