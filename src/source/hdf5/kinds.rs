//! What do the values of a dataset mean, and which vectors do they make?
//! Pure: types in, types out.

use hdf5::datatype::{ByteOrder, Datatype};

use crate::h5::raw::{self, Class, Facts};
use crate::schema::{Element, VectorType};
use crate::source::values::Stored;

/// IEEE 754: positions and sizes of sign, exponent and mantissa, and the bias.
const IEEE: [(usize, [usize; 6]); 3] = [
    (2, [15, 10, 5, 0, 10, 15]),
    (4, [31, 23, 8, 0, 23, 127]),
    (8, [63, 52, 11, 0, 52, 1023]),
];

/// How a type stores values, or what it is that cannot be read.
pub fn stored(dtype: &Datatype) -> Result<Stored, String> {
    let facts = raw::facts(dtype).map_err(|e| e.to_string())?;
    let bytes = dtype.size();
    let big_endian = match dtype.byte_order() {
        ByteOrder::LittleEndian | ByteOrder::None => false,
        ByteOrder::BigEndian => true,
        other => return Err(format!("numbers in byte order {other:?}")),
    };
    let Facts {
        class, precision, ..
    } = facts;
    let whole = precision == bytes * 8 && facts.offset == 0;
    match class {
        _ if facts.variable => Err("values of variable length".to_owned()),
        Class::Float => {
            let ieee = IEEE.iter().find(|(b, _)| *b == bytes);
            if !whole || ieee.map(|(_, layout)| *layout) != facts.float {
                return Err(format!("floats of {bytes} bytes that are not IEEE's"));
            }
            Ok(Stored::Float { bytes, big_endian })
        }
        Class::Integer if whole && [1, 2, 4, 8].contains(&bytes) => Ok(Stored::Integer {
            bytes,
            signed: facts.signed,
            big_endian,
        }),
        Class::Integer => Err(format!("whole numbers of {precision} bits in {bytes} bytes")),
        Class::String | Class::Opaque => Ok(Stored::Bytes(bytes)),
        Class::Enum => Err(
            "named values (Python's booleans are): one bit takes one byte; pack them, as np.packbits does"
                .to_owned(),
        ),
        Class::Other(name) => Err(format!("values of class {name}")),
    }
}

/// What a dataset of this shape holds as vectors, or why it holds none.
///
/// Whole numbers are bytes of binary vectors, eight components each, unless the file says that they are
/// components: signed bytes then, as this program writes them.
pub fn vectors(stored: Stored, shape: &[u64], components: bool) -> Result<VectorType, String> {
    let columns = match (stored, shape) {
        (Stored::Bytes(bytes), [_]) => bytes as u64,
        (Stored::Bytes(_), _) => return Err("strings lie in a table, not one to a row".to_owned()),
        (_, [_, columns]) => *columns,
        (_, [_]) => return Err("has one dimension: a number to a row, not a vector".to_owned()),
        _ => return Err(format!("has {} dimensions, vectors have two", shape.len())),
    };
    let (element, dimension) = match stored {
        Stored::Float { .. } => (Element::Float32, Some(columns)),
        Stored::Integer {
            bytes: 1,
            signed: true,
            ..
        } if components => (Element::Int8, Some(columns)),
        Stored::Integer { .. } if components => {
            return Err(format!(
                "holds {} as components (its attributes say so); only binary vectors may be whole numbers",
                stored.name()
            ));
        }
        Stored::Integer { .. } | Stored::Bytes(_) => (Element::Bit, columns.checked_mul(8)),
    };
    let fits = dimension.filter(|d| (1..=crate::limits::DIMENSIONS_MAX).contains(d));
    let dimension = fits.and_then(|d| u32::try_from(d).ok());
    let Some(dimension) = dimension else {
        return Err(format!("vectors of {columns} columns cannot be carried"));
    };
    Ok(VectorType { element, dimension })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_types_that_are_vectors() {
        let stored = Stored::Integer {
            bytes: 4,
            signed: true,
            big_endian: true,
        };
        let vector = vectors(stored, &[9, 64], false).unwrap();
        assert_eq!((vector.element, vector.dimension), (Element::Bit, 512));
        let vector = vectors(Stored::Bytes(64), &[9], false).unwrap();
        assert_eq!((vector.element, vector.dimension), (Element::Bit, 512));
        for (stored, shape, components) in [
            (stored, &[9, 64][..], true),
            (stored, &[9], false),
            (stored, &[9, 0], false),
            (stored, &[9, u64::MAX], false),
            (stored, &[9, 3, 3], false),
            (stored, &[], false),
            (Stored::Bytes(64), &[9, 3], false),
        ] {
            assert!(vectors(stored, shape, components).is_err(), "{shape:?}");
        }
    }
}
