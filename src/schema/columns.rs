//! Which columns does a row have? Names, types and roles, checked once, and their Arrow schema.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::{ColumnTraits, Index, Metric, VectorType};
use crate::error::{Error, Kind, Result};

/// The element types of arrays.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scalar {
    /// True or false.
    Bool,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// Single precision.
    Float,
    /// Double precision.
    Double,
    /// UTF-8 text.
    VarChar,
}

impl Scalar {
    /// All, for parsing and listing.
    pub const ALL: [Scalar; 8] = [
        Scalar::Bool,
        Scalar::Int8,
        Scalar::Int16,
        Scalar::Int32,
        Scalar::Int64,
        Scalar::Float,
        Scalar::Double,
        Scalar::VarChar,
    ];

    /// Milvus's name for it, as jobs have it.
    pub fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "bool",
            Scalar::Int8 => "int8",
            Scalar::Int16 => "int16",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Float => "float",
            Scalar::Double => "double",
            Scalar::VarChar => "varchar",
        }
    }

    /// The scalar of this name.
    pub fn named(name: &str) -> Option<Scalar> {
        Scalar::ALL.into_iter().find(|s| s.name() == name)
    }

    /// How Arrow spells it.
    pub fn arrow(self) -> DataType {
        match self {
            Scalar::Bool => DataType::Boolean,
            Scalar::Int8 => DataType::Int8,
            Scalar::Int16 => DataType::Int16,
            Scalar::Int32 => DataType::Int32,
            Scalar::Int64 => DataType::Int64,
            Scalar::Float => DataType::Float32,
            Scalar::Double => DataType::Float64,
            Scalar::VarChar => DataType::Utf8,
        }
    }
}

/// What the values of a column are: the types of Milvus 2.x.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ColumnType {
    /// Numbers and truth values; text is [`ColumnType::VarChar`].
    Scalar(Scalar),
    /// UTF-8 text, with its maximum length if known.
    VarChar {
        /// Bytes of the longest value allowed.
        max_bytes: Option<u32>,
    },
    /// JSON text.
    Json,
    /// Lists of scalars.
    Array {
        /// What is in them.
        of: Scalar,
        /// Values of the longest list allowed, if known.
        capacity: Option<u32>,
        /// For lists of text: bytes of the longest text allowed, if known.
        max_bytes: Option<u32>,
    },
    /// Vectors of one type and dimension.
    Vector(VectorType),
    /// Sparse vectors: pairs of a u32 index and an f32 value, little-endian, indexes ascending.
    Sparse,
    /// A shape, as WKT text.
    Geometry,
    /// A timestamp, in microseconds since 1970 UTC.
    Timestamptz,
}

impl ColumnType {
    /// How Arrow spells it.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::Scalar(scalar) => scalar.arrow(),
            ColumnType::VarChar { .. } | ColumnType::Json | ColumnType::Geometry => DataType::Utf8,
            ColumnType::Array { of, .. } => {
                DataType::List(Arc::new(Field::new("item", of.arrow(), false)))
            }
            ColumnType::Vector(vector) => {
                DataType::FixedSizeBinary(i32::try_from(vector.row_bytes()).unwrap_or(i32::MAX))
            }
            ColumnType::Sparse => DataType::LargeBinary,
            ColumnType::Timestamptz => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
        }
    }

    /// Bytes of a value, if all have the same length; bits count as bytes.
    pub fn value_bytes(self) -> Option<u64> {
        Some(match self {
            ColumnType::Scalar(scalar) => match scalar {
                Scalar::Bool | Scalar::Int8 => 1,
                Scalar::Int16 => 2,
                Scalar::Int32 | Scalar::Float => 4,
                Scalar::Int64 | Scalar::Double => 8,
                Scalar::VarChar => return None,
            },
            ColumnType::Vector(vector) => vector.row_bytes(),
            ColumnType::Timestamptz => 8,
            _ => return None,
        })
    }

    /// Whether it is searched by distance.
    pub fn is_vector(self) -> bool {
        matches!(self, ColumnType::Vector(_) | ColumnType::Sparse)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |f: &mut fmt::Formatter<'_>, most: &Option<u32>| match most {
            Some(most) => write!(f, "({most})"),
            None => Ok(()),
        };
        match self {
            ColumnType::Scalar(scalar) => f.write_str(scalar.name()),
            ColumnType::VarChar { max_bytes } => {
                f.write_str("varchar")?;
                bound(f, max_bytes)
            }
            ColumnType::Json => f.write_str("json"),
            ColumnType::Array {
                of,
                capacity,
                max_bytes,
            } => {
                write!(f, "array<{}", of.name())?;
                bound(f, max_bytes)?;
                f.write_str(">")?;
                bound(f, capacity)
            }
            ColumnType::Vector(vector) => vector.fmt(f),
            ColumnType::Sparse => f.write_str("sparse"),
            ColumnType::Geometry => f.write_str("geometry"),
            ColumnType::Timestamptz => f.write_str("timestamptz"),
        }
    }
}

/// What a column is there for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// It identifies rows.
    Key,
    /// It holds values without a column of their own: one JSON object a row.
    Dynamic,
    /// Its value decides on a row's partition.
    PartitionKey,
    /// A column like others.
    Plain,
}

/// What to do with text that is longer than its field takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TooLong {
    /// It does not fit.
    #[default]
    Fail,
    /// It is cut, between two characters.
    Truncate,
    /// Its row is left out.
    Skip,
}

/// One column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: ColumnType,
    /// Whether a row may have none.
    pub nullable: bool,
    /// What it is there for.
    pub role: Role,
    /// Of a vector: its metric, if known.
    pub metric: Option<Metric>,
    /// Of a vector: the index on it, if known.
    pub index: Option<Index>,
    /// Of text: what to do with text that is too long.
    pub too_long: TooLong,
    /// Whether the job asks for exactly this metric.
    pub is_metric_asked: bool,
    /// Whether the job asks for exactly this index.
    pub is_index_asked: bool,
    /// What its field has besides the type.
    pub traits: ColumnTraits,
}

impl Column {
    /// A column in which every row has a value.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Column {
        Column {
            name: name.into(),
            kind,
            nullable: false,
            role: Role::Plain,
            metric: None,
            index: None,
            too_long: TooLong::Fail,
            is_metric_asked: false,
            is_index_asked: false,
            traits: ColumnTraits::default(),
        }
    }

    /// The key column.
    pub fn key(name: impl Into<String>, kind: ColumnType) -> Column {
        Column {
            role: Role::Key,
            ..Column::new(name, kind)
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)?;
        f.write_str(match self.role {
            Role::Key => " key",
            Role::Dynamic => " dynamic",
            Role::PartitionKey => " partition key",
            Role::Plain => "",
        })?;
        f.write_str(if self.nullable { " null" } else { "" })
    }
}

/// The columns of a target. Built once, so that positions need not be looked up on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Columns {
    all: Box<[Column]>,
    arrow: SchemaRef,
    key: usize,
    plain: Option<VectorType>,
}

impl Columns {
    /// These columns, exactly one of them the key, an int64 or text.
    pub fn new(all: Vec<Column>) -> Result<Arc<Columns>> {
        let wrong = |what: String| Err(Error::new(Kind::Unsupported, what));
        let mut keys = all.iter().enumerate().filter(|(_, c)| c.role == Role::Key);
        let Some((key, column)) = keys.next() else {
            return wrong("there is no column that identifies rows".to_owned());
        };
        if let Some((_, other)) = keys.next() {
            return wrong(format!(
                "rows are identified by one column, not by both `{}` and `{}`",
                column.name, other.name
            ));
        }
        let kinds = [ColumnType::Scalar(Scalar::Int64)];
        let is_text = matches!(column.kind, ColumnType::VarChar { .. });
        if column.nullable || !(kinds.contains(&column.kind) || is_text) {
            return wrong(format!(
                "rows are identified by an int64 or text that each of them has, not by {column}"
            ));
        }
        for (number, column) in all.iter().enumerate() {
            if all[..number].iter().any(|c| c.name == column.name) {
                return wrong(format!("two columns are called `{}`", column.name));
            }
            if let ColumnType::Vector(vector) = column.kind
                && !(1..=i32::MAX as u64).contains(&vector.row_bytes())
            {
                return wrong(format!("vectors of type {vector} cannot be carried"));
            }
        }
        let fields = all
            .iter()
            .map(|c| Field::new(&c.name, c.kind.arrow(), c.nullable));
        let arrow = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let plain = match &*all {
            [id, vector] if key == 0 && !is_text && vector.role == Role::Plain => match vector {
                Column {
                    kind: ColumnType::Vector(kind),
                    nullable: false,
                    ..
                } if !id.nullable => Some(*kind),
                _ => None,
            },
            _ => None,
        };
        Ok(Arc::new(Columns {
            all: all.into(),
            arrow,
            key,
            plain,
        }))
    }

    /// An int64 key and one vector, under these names.
    pub fn plain(id: &str, vector: &str, kind: VectorType) -> Result<Arc<Columns>> {
        Columns::new(vec![
            Column::key(id, ColumnType::Scalar(Scalar::Int64)),
            Column::new(vector, ColumnType::Vector(kind)),
        ])
    }

    /// The same columns, each dense vector with this metric and index.
    pub fn measured(&self, metric: Option<Metric>, index: Option<Index>) -> Arc<Columns> {
        let mut columns = self.clone();
        for column in &mut columns.all {
            if matches!(column.kind, ColumnType::Vector(_)) {
                column.metric.clone_from(&metric);
                column.index.clone_from(&index);
            }
        }
        Arc::new(columns)
    }

    /// Whether both have the same names, types and roles, regardless of metrics, indexes and what else their fields
    /// have.
    pub fn hold_the_same(&self, other: &Columns) -> bool {
        let same = |(a, b): (&Column, &Column)| {
            let values = (a.kind, a.nullable, a.role, a.too_long);
            a.name == b.name && values == (b.kind, b.nullable, b.role, b.too_long)
        };
        self.all.len() == other.all.len() && self.all.iter().zip(&other.all).all(same)
    }

    /// All of them, in order.
    pub fn all(&self) -> &[Column] {
        &self.all
    }

    /// The one of this name, and its number.
    pub fn named(&self, name: &str) -> Option<(usize, &Column)> {
        self.all.iter().enumerate().find(|(_, c)| c.name == name)
    }

    /// The number of the key.
    pub fn key_number(&self) -> usize {
        self.key
    }

    /// The key column.
    pub fn key(&self) -> &Column {
        &self.all[self.key]
    }

    /// Dense and sparse vectors.
    pub fn vectors(&self) -> impl Iterator<Item = (usize, &Column)> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, column)| column.kind.is_vector())
    }

    /// The type of the vectors if there are an int64 key and one dense vector that every row has, in this order, and
    /// nothing else.
    pub fn as_plain(&self) -> Option<VectorType> {
        self.plain
    }

    /// Bytes of a row, where columns without a fixed width count as 0; and whether there are such columns.
    pub fn row_bytes(&self) -> (u64, bool) {
        let mut bytes = (0, false);
        for column in &self.all {
            match column.kind.value_bytes() {
                Some(more) => bytes.0 += more,
                None => bytes.1 = true,
            }
        }
        bytes
    }

    /// How Arrow spells them.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }
}

/// Plain columns are displayed as their vectors.
impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(vector) = self.plain {
            return vector.fmt(f);
        }
        for (number, column) in self.all.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            column.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Element;
    use super::*;

    const VECTOR: ColumnType = ColumnType::Vector(VectorType {
        element: Element::Float32,
        dimension: 4,
    });
    const INT64: ColumnType = ColumnType::Scalar(Scalar::Int64);
    const TEXT: ColumnType = ColumnType::VarChar { max_bytes: None };

    #[test]
    fn plain_is_an_int64_key_and_one_vector_and_nothing_else() {
        let plain = |columns: Vec<Column>| Columns::new(columns).unwrap().as_plain().is_some();
        let vector = || Column::new("v", VECTOR);
        assert!(plain(vec![Column::key("id", INT64), vector()]));
        assert!(!plain(vec![vector(), Column::key("id", INT64)]));
        assert!(!plain(vec![Column::key("id", TEXT), vector()]));
        assert!(!plain(vec![
            Column::key("id", INT64),
            vector(),
            Column::new("n", INT64)
        ]));
        let nullable = Column {
            nullable: true,
            ..vector()
        };
        assert!(!plain(vec![Column::key("id", INT64), nullable]));
    }

    #[test]
    fn columns_that_cannot_be_are_refused() {
        let said = |columns: Vec<Column>| Columns::new(columns).unwrap_err().to_string();
        let vector = || Column::new("v", VECTOR);
        for (columns, expected) in [
            (vec![vector()], "no column that identifies rows"),
            (
                vec![Column::key("a", INT64), Column::key("b", INT64)],
                "both `a` and `b`",
            ),
            (vec![Column::key("a", VECTOR)], "not by a float32 × 4 key"),
            (
                vec![Column::key("v", INT64), vector()],
                "two columns are called `v`",
            ),
        ] {
            let said = said(columns);
            assert!(said.contains(expected), "{said}");
        }
    }
}
