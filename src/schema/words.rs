//! What are the types of columns called? In jobs, in manifests, and by Milvus.

use super::{ColumnType, Element, Scalar, VectorType};

/// The bounds that go with the name of a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Of dense vectors: components.
    pub dim: Option<u32>,
    /// Of text, and of text in arrays: bytes of the longest.
    pub max_length: Option<u32>,
    /// Of arrays: values of the longest.
    pub max_capacity: Option<u32>,
}

const VECTORS: [(Element, &str); 5] = [
    (Element::Float32, "float_vector"),
    (Element::Float16, "float16_vector"),
    (Element::BFloat16, "bfloat16_vector"),
    (Element::Int8, "int8_vector"),
    (Element::Bit, "binary_vector"),
];

impl ColumnType {
    /// The names of all types, arrays as `array<…>`.
    pub const NAMES: &'static str = "bool, int8, int16, int32, int64, float, double, varchar, json, array<…>, \
        geometry, timestamptz, float_vector, float16_vector, bfloat16_vector, int8_vector, binary_vector, \
        sparse_float_vector";

    /// Milvus's name for it, without bounds: such as `varchar`, `array<int64>` or `float_vector`.
    pub fn word(self) -> String {
        match self {
            ColumnType::Scalar(scalar) => scalar.name().to_owned(),
            ColumnType::VarChar { .. } => "varchar".to_owned(),
            ColumnType::Json => "json".to_owned(),
            ColumnType::Array { of, .. } => format!("array<{}>", of.name()),
            ColumnType::Vector(vector) => {
                let word = VECTORS.iter().find(|(e, _)| *e == vector.element);
                word.map_or("", |(_, word)| word).to_owned()
            }
            ColumnType::Sparse => "sparse_float_vector".to_owned(),
            ColumnType::Geometry => "geometry".to_owned(),
            ColumnType::Timestamptz => "timestamptz".to_owned(),
        }
    }

    /// The bounds, which its name does not include.
    pub fn bounds(self) -> Bounds {
        match self {
            ColumnType::VarChar { max_bytes } => Bounds {
                max_length: max_bytes,
                ..Bounds::default()
            },
            ColumnType::Array {
                of,
                capacity,
                max_bytes,
            } => Bounds {
                max_length: max_bytes.filter(|_| of == Scalar::VarChar),
                max_capacity: capacity,
                ..Bounds::default()
            },
            ColumnType::Vector(vector) => Bounds {
                dim: Some(vector.dimension),
                ..Bounds::default()
            },
            _ => Bounds::default(),
        }
    }

    /// The type of this name with these bounds; a sentence if there is none.
    pub fn of_word(word: &str, bounds: Bounds) -> std::result::Result<ColumnType, String> {
        let name = word.trim().to_ascii_lowercase();
        let kind = match name.as_str() {
            "json" => ColumnType::Json,
            "sparse_float_vector" => ColumnType::Sparse,
            "geometry" => ColumnType::Geometry,
            "timestamptz" => ColumnType::Timestamptz,
            "varchar" => ColumnType::VarChar {
                max_bytes: bounds.max_length,
            },
            name => {
                let array = name
                    .strip_prefix("array<")
                    .and_then(|n| n.strip_suffix('>'));
                let vector = VECTORS.iter().find(|(_, word)| *word == name);
                match (array.map(str::trim).map(Scalar::named), vector) {
                    (Some(Some(of)), _) => ColumnType::Array {
                        of,
                        capacity: bounds.max_capacity,
                        max_bytes: bounds.max_length,
                    },
                    (None, Some((element, _))) => ColumnType::Vector(VectorType {
                        element: *element,
                        dimension: bounds
                            .dim
                            .ok_or_else(|| format!("`{name}` needs its dimension"))?,
                    }),
                    _ => match Scalar::named(name) {
                        Some(scalar) => ColumnType::Scalar(scalar),
                        None => {
                            return Err(format!(
                                "`{word}` is not a type: there are {}",
                                ColumnType::NAMES
                            ));
                        }
                    },
                }
            }
        };
        let odd = |what: &str| Err(format!("`{name}` has no {what}"));
        if bounds.max_length.is_some() && kind.bounds().max_length.is_none() {
            return odd("max_length");
        }
        if bounds.max_capacity.is_some() && kind.bounds().max_capacity.is_none() {
            return odd("max_capacity");
        }
        match kind {
            ColumnType::Array { of, max_bytes, .. }
                if of != Scalar::VarChar && max_bytes.is_some() =>
            {
                odd("max_length")
            }
            kind => Ok(kind),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every type, with bounds.
    pub fn kinds() -> Vec<ColumnType> {
        let scalars = Scalar::ALL.into_iter().filter(|s| *s != Scalar::VarChar);
        let vectors = Element::ALL.into_iter().map(|element| {
            let dimension = 16;
            ColumnType::Vector(VectorType { element, dimension })
        });
        let arrays = Scalar::ALL.into_iter().map(|of| ColumnType::Array {
            of,
            capacity: Some(7),
            max_bytes: (of == Scalar::VarChar).then_some(9),
        });
        let others = [
            ColumnType::Json,
            ColumnType::Sparse,
            ColumnType::Geometry,
            ColumnType::Timestamptz,
            ColumnType::VarChar { max_bytes: None },
            ColumnType::VarChar {
                max_bytes: Some(65_535),
            },
        ];
        let all = scalars.map(ColumnType::Scalar).chain(vectors).chain(arrays);
        all.chain(others).collect()
    }

    #[test]
    fn every_type_is_read_back_from_its_name() {
        for kind in kinds() {
            assert_eq!(ColumnType::of_word(&kind.word(), kind.bounds()), Ok(kind));
        }
        let no = |word: &str, bounds| ColumnType::of_word(word, bounds).unwrap_err();
        let long = Bounds {
            max_length: Some(3),
            ..Bounds::default()
        };
        assert_eq!(no("json", long), "`json` has no max_length");
        assert_eq!(no("array<int8>", long), "`array<int8>` has no max_length");
        assert!(no("array<json>", Bounds::default()).contains("is not a type"));
        assert!(no("string", Bounds::default()).contains("there are bool, int8"));
        assert_eq!(
            no("float_vector", Bounds::default()),
            "`float_vector` needs its dimension"
        );
    }
}
