//! How are rows written as row groups that every reader of Parquet takes?
//! Lists are written as `list.element`, and nothing is noted for Arrow: so DuckDB, polars, pandas and the import of every
//! Milvus read the same columns. Pure: rows in, bytes out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, ListArray, PrimitiveArray, RecordBatch, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::basic::Compression;
use ::parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader,
    ParquetMetaDataWriter,
};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;

use super::{MAGIC, said};
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, ColumnType, Element, Role};

/// How pages are packed: the words of jobs.
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
    kinds: Vec<(ColumnType, bool)>,
    schema: SchemaRef,
    properties: WriterProperties,
}

/// A row group by itself.
pub struct Group {
    /// Its pages.
    pub bytes: Vec<u8>,
    /// What its footer says, as if they began at byte 0.
    pub footer: Vec<u8>,
}

impl Writer {
    /// A writer of these columns, packed as a job says.
    pub fn new(columns: &[Column], word: &str) -> Writer {
        let fields = columns
            .iter()
            .map(|c| Field::new(&c.name, spelt(c.kind), c.nullable));
        let mut properties = WriterProperties::builder()
            .set_compression(packing(word))
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
                    properties = properties
                        .set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
                    // Bytes are whole numbers of four bytes in Parquet: as numbers of a dictionary they are bytes again.
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
        Writer {
            kinds: columns.iter().map(|c| (c.kind, c.nullable)).collect(),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            properties: properties.build(),
        }
    }

    fn begin(&self) -> Result<ArrowWriter<Vec<u8>>> {
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties.clone())
            .with_skip_arrow_metadata(true);
        ArrowWriter::try_new_with_options(Vec::new(), self.schema.clone(), options)
            .map_err(|e| failed(&said(&e)))
    }

    /// Rows, in stretches, as one row group.
    pub fn group(&self, stretches: &[Vec<ArrayRef>]) -> Result<Group> {
        let mut writer = self.begin()?;
        for stretch in stretches {
            let values = stretch
                .iter()
                .zip(&self.kinds)
                .map(|(array, (kind, _))| as_written(array, *kind));
            let values = values
                .collect::<std::result::Result<_, _>>()
                .map_err(|e: String| failed(&e))?;
            let batch = RecordBatch::try_new(self.schema.clone(), values)
                .map_err(|e| failed(&e.to_string()))?;
            writer.write(&batch).map_err(|e| failed(&said(&e)))?;
        }
        let mut bytes = writer.into_inner().map_err(|e| failed(&said(&e)))?;
        let footer = cut_footer(&mut bytes);
        Ok(Group { bytes, footer })
    }

    /// The end of a file whose row groups have these footers and begin at these bytes.
    pub fn footer(&self, groups: &[(u64, &[u8])]) -> Result<Vec<u8>> {
        let mut empty = self.begin()?.into_inner().map_err(|e| failed(&said(&e)))?;
        let base = decode(&cut_footer(&mut empty))?;
        let mut all = Vec::with_capacity(groups.len());
        for (number, (start, footer)) in groups.iter().enumerate() {
            let shifted = shifted(&decode(footer)?, number, *start)?;
            all.push(shifted);
        }
        let file = base.file_metadata();
        let rows = all.iter().map(|group| group.num_rows()).sum();
        let file = FileMetaData::new(
            file.version(),
            rows,
            file.created_by().map(str::to_owned),
            None,
            file.schema_descr_ptr(),
            file.column_orders().cloned(),
        );
        let metadata = ParquetMetaDataBuilder::new(file)
            .set_row_groups(all)
            .build();
        let mut end = Vec::new();
        let written = ParquetMetaDataWriter::new(&mut end, &metadata).finish();
        written.map_err(|e| failed(&said(&e)))?;
        Ok(end)
    }
}

fn failed(what: &str) -> Error {
    Error::new(
        Kind::Io,
        format!("rows cannot be written as Parquet: {what}"),
    )
}

/// Cuts the footer off a whole file, and the first bytes, which every file has.
fn cut_footer(bytes: &mut Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 8;
    let len = bytes[end..]
        .first_chunk()
        .map_or(0, |len| u32::from_le_bytes(*len) as usize);
    let footer = bytes[end - len..end].to_vec();
    bytes.truncate(end - len);
    bytes.drain(..MAGIC.len());
    footer
}

fn decode(footer: &[u8]) -> Result<ParquetMetaData> {
    ParquetMetaDataReader::decode_metadata(footer).map_err(|e| failed(&said(&e)))
}

/// The only row group of a file, as the one of this number that begins at this byte.
fn shifted(
    metadata: &ParquetMetaData,
    number: usize,
    start: u64,
) -> Result<::parquet::file::metadata::RowGroupMetaData> {
    let wrong = |e: ::parquet::errors::ParquetError| failed(&said(&e));
    let Some(group) = metadata.row_groups().first() else {
        return Err(failed("a row group has no description"));
    };
    // The first bytes of a file were before it.
    let by = start as i64 - MAGIC.len() as i64;
    let columns = group.columns().iter().map(|column| {
        let dictionary = column.dictionary_page_offset().map(|at| at + by);
        let builder = column.clone().into_builder();
        let builder = builder.set_data_page_offset(column.data_page_offset() + by);
        builder
            .set_dictionary_page_offset(dictionary)
            .build()
            .map_err(wrong)
    });
    let columns = columns.collect::<Result<_>>()?;
    let builder = group.clone().into_builder().set_column_metadata(columns);
    let builder = builder
        .set_ordinal(number as i32)
        .set_file_offset(start as i64);
    builder.build().map_err(wrong)
}

fn element(kind: DataType) -> FieldRef {
    Arc::new(Field::new("element", kind, false))
}

/// How Arrow spells what is written for values of a type.
fn spelt(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Array { of, .. } => DataType::List(element(of.arrow())),
        ColumnType::Vector(vector) => match vector.element {
            Element::Float32 => DataType::List(element(DataType::Float32)),
            Element::Int8 => DataType::List(element(DataType::Int8)),
            // Two bytes a component: there is no bfloat16, and few read float16.
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

/// Values as they are written.
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

/// The vectors of rows that have one.
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
