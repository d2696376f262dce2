//! What columns are there, and how are they spelt in Arrow? What types, metrics and indexes are there?
//! Knows names and widths; never touches a row.
//!
//! A vector column is `FixedSizeBinary(row_bytes)`. Payloads of Faiss files begin at byte 45 or 49, never aligned for
//! f32, and arrow-rs panics on misaligned typed buffers; byte arrays have alignment 1, so a mapped file becomes a
//! column without a copy.

mod collection;
mod columns;
mod json;
pub mod moment;
mod words;

use std::fmt;

pub use collection::{
    CollectionTraits, ColumnTraits, Consistency, DefaultValue, FieldIndex, Function, FunctionKind,
};
pub use columns::{Column, ColumnType, Columns, Role, Scalar, TooLong};
pub use words::Bounds;

/// What one component of a vector is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Element {
    /// IEEE 754 single precision, little-endian.
    Float32,
    /// IEEE 754 half precision, little-endian.
    Float16,
    /// The high half of a float32, little-endian.
    BFloat16,
    /// Signed byte.
    Int8,
    /// One bit; eight to a byte.
    Bit,
}

impl Element {
    /// All, for parsing and listing.
    pub const ALL: [Element; 5] = [
        Element::Float32,
        Element::Float16,
        Element::BFloat16,
        Element::Int8,
        Element::Bit,
    ];

    /// The name in jobs, reports and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Element::Float32 => "float32",
            Element::Float16 => "float16",
            Element::BFloat16 => "bfloat16",
            Element::Int8 => "int8",
            Element::Bit => "binary",
        }
    }

    /// The element of this name.
    pub fn named(name: &str) -> Option<Element> {
        Element::ALL.into_iter().find(|e| e.name() == name)
    }
}

/// The type of a vector column: what its components are, and how many a vector has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VectorType {
    /// What one component is.
    pub element: Element,
    /// Components (bits, for binary vectors) of a vector; at least 1, for binary a multiple of 8.
    pub dimension: u32,
}

impl VectorType {
    /// Bytes of one vector.
    pub fn row_bytes(self) -> u64 {
        let d = u64::from(self.dimension);
        match self.element {
            Element::Float32 => d * 4,
            Element::Float16 | Element::BFloat16 => d * 2,
            Element::Int8 => d,
            Element::Bit => d / 8,
        }
    }

    /// Whether components are bits.
    pub fn is_binary(self) -> bool {
        self.element == Element::Bit
    }
}

impl fmt::Display for VectorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.element.name(), self.dimension)
    }
}

/// An index definition in Milvus's terms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Index {
    /// Such as `HNSW` or `IVF_FLAT`.
    pub kind: String,
    /// Names and values as Milvus takes them, such as `("M", "16")`.
    pub params: Vec<(String, String)>,
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params = self.params.iter().map(|(k, v)| format!("{k}: {v}"));
        let params: Vec<String> = params.collect();
        match params.is_empty() {
            true => f.write_str(&self.kind),
            false => write!(f, "{} {{{}}}", self.kind, params.join(", ")),
        }
    }
}

/// How distances are measured. Milvus keeps it with the index; files keep its name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2,
    /// Inner product.
    Ip,
    /// Inner product of unit vectors.
    Cosine,
    /// Differing bits.
    Hamming,
    /// 1 − |∧| / |∨|.
    Jaccard,
    /// −log2 of the Jaccard similarity; Milvus 1.x only.
    Tanimoto,
    /// The vector is a subset of the query.
    Substructure,
    /// The vector is a superset of the query.
    Superstructure,
    /// One that Milvus does not have, by its name in the source.
    Other(String),
}

impl Metric {
    /// The metrics Milvus has or had.
    pub const MILVUS: [Metric; 8] = [
        Metric::L2,
        Metric::Ip,
        Metric::Cosine,
        Metric::Hamming,
        Metric::Jaccard,
        Metric::Tanimoto,
        Metric::Substructure,
        Metric::Superstructure,
    ];

    /// The name in jobs, reports, HDF5 attributes and Milvus.
    pub fn name(&self) -> &str {
        match self {
            Metric::L2 => "L2",
            Metric::Ip => "IP",
            Metric::Cosine => "COSINE",
            Metric::Hamming => "HAMMING",
            Metric::Jaccard => "JACCARD",
            Metric::Tanimoto => "TANIMOTO",
            Metric::Substructure => "SUBSTRUCTURE",
            Metric::Superstructure => "SUPERSTRUCTURE",
            Metric::Other(name) => name,
        }
    }

    /// The Milvus metric of this name, in any case.
    pub fn named(name: &str) -> Option<Metric> {
        Metric::MILVUS
            .into_iter()
            .find(|m| m.name().eq_ignore_ascii_case(name))
    }

    /// Whether it measures binary vectors.
    pub fn is_binary(&self) -> bool {
        matches!(
            self,
            Metric::Hamming
                | Metric::Jaccard
                | Metric::Tanimoto
                | Metric::Substructure
                | Metric::Superstructure
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_go_by_name_in_any_case() {
        assert_eq!(Metric::named("l2"), Some(Metric::L2));
        assert_eq!(Metric::named("Canberra"), None);
    }
}
