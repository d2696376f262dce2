//! What do the values of a dataset mean, and which vectors do they make?
//! Pure: types and bytes in, types and bytes out.

use super::table::{Refusal, Table};
use crate::h5::types::{Class, Facts, Order, Type};
use crate::schema::{Element, VectorType};
use crate::source::values::{Stored, Wrong};

/// What a job wants made of whole numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Bytes of binary vectors, unless the file says that they are components of signed bytes.
    AsTheFileSays { components: bool },
    /// Components, as float32.
    Floats,
    /// A bit each.
    Bits,
}

/// IEEE 754: positions and sizes of sign, exponent and mantissa, and the bias.
const IEEE: [(usize, [usize; 6]); 3] = [
    (2, [15, 10, 5, 0, 10, 15]),
    (4, [31, 23, 8, 0, 23, 127]),
    (8, [63, 52, 11, 0, 52, 1023]),
];

/// How a type stores values, or why it cannot be read. Enumerated values are stored as numbers.
pub fn stored(values: &Type) -> Result<Stored, String> {
    let facts = values.facts().map_err(|e| e.to_string())?;
    let Facts {
        class,
        bytes,
        precision,
        ..
    } = facts;
    let big_endian = facts.order == Order::Big;
    if facts.order == Order::Other {
        return Err("holds numbers in a byte order that no current machine has".to_owned());
    }
    let whole = precision == bytes * 8 && facts.offset == 0 && [1, 2, 4, 8].contains(&bytes);
    match class {
        _ if facts.variable => Err("holds values of variable length in others".to_owned()),
        Class::Float => {
            let ieee = IEEE.iter().find(|(b, _)| *b == bytes);
            if !whole || ieee.map(|(_, layout)| *layout) != facts.float {
                return Err(format!("holds floats of {bytes} bytes that are not IEEE's"));
            }
            Ok(Stored::Float { bytes, big_endian })
        }
        Class::Integer | Class::Enum if whole => Ok(Stored::Integer {
            bytes,
            signed: facts.signed,
            big_endian,
        }),
        Class::Integer | Class::Enum => Err(format!(
            "holds whole numbers of {precision} bits in {bytes} bytes"
        )),
        Class::String | Class::Opaque => Ok(Stored::Bytes(bytes)),
        Class::Compound => Err("holds values of class compound".to_owned()),
        Class::Array => Err("holds arrays of arrays".to_owned()),
        Class::Sequence => Err("holds values of variable length in others".to_owned()),
        Class::Other(name) => Err(format!("holds values of class {name}")),
    }
}

/// The vectors that a table holds, or why it holds none and what to do about it.
///
/// Integers are bytes of binary vectors, eight components each, unless the file says that they are components:
/// then they are signed bytes, as this program writes them.
pub fn vectors(table: &Table, wish: Wish) -> Result<VectorType, Refusal> {
    vectors_of(table.stored, table.named, table.width, wish)
}

fn vectors_of(
    stored: Stored,
    named: bool,
    width: Option<u64>,
    wish: Wish,
) -> Result<VectorType, Refusal> {
    let float = "`as: float32` in the source carries whole numbers as components";
    let columns = match (stored, width) {
        (Stored::Bytes(bytes), None) => bytes as u64,
        (Stored::Bytes(_), _) => {
            return Err("holds strings in a table, not one to a row"
                .to_owned()
                .into());
        }
        (_, Some(columns)) => columns,
        (_, None) => {
            let what = "has one dimension: one number a row, not a vector".to_owned();
            return Err(what.into());
        }
    };
    let bits = columns.checked_mul(8);
    let (element, dimension) = match (stored, wish) {
        (Stored::Bytes(_), Wish::Floats | Wish::Bits) => {
            return Err("holds bytes, not numbers".to_owned().into());
        }
        (Stored::Float { .. }, Wish::Bits) => {
            let what = format!("holds {}, not booleans to be packed", stored.name());
            return Err(what.into());
        }
        (Stored::Float { .. }, _) | (_, Wish::Floats) => (Element::Float32, Some(columns)),
        (_, Wish::Bits) if columns.is_multiple_of(8) => (Element::Bit, Some(columns)),
        (_, Wish::Bits) => {
            let what =
                format!("has {columns} booleans to a row, binary vectors have a multiple of 8");
            return Err(what.into());
        }
        (Stored::Integer { .. }, _) if named => {
            return Err(Refusal::new(
                "holds named values (Python's booleans are), one to a byte",
                "`pack: bits` in the source packs booleans, eight to a byte; `as: float32` makes them 0 and 1",
            ));
        }
        (
            Stored::Integer {
                bytes: 1,
                signed: true,
                ..
            },
            Wish::AsTheFileSays { components: true },
        ) => (Element::Int8, Some(columns)),
        (Stored::Integer { .. }, Wish::AsTheFileSays { components: true }) => {
            let what = format!(
                "holds {} as components (its attributes say so); only binary vectors may be whole numbers",
                stored.name()
            );
            return Err(Refusal::new(what, float));
        }
        (Stored::Integer { .. } | Stored::Bytes(_), _) => (Element::Bit, bits),
        (Stored::Bool, _) => (Element::Bit, Some(columns)),
    };
    let fits = dimension.filter(|d| (1..=crate::limits::DIMENSIONS_MAX).contains(d));
    let dimension = fits.and_then(|d| u32::try_from(d).ok());
    let Some(dimension) = dimension else {
        return Err(format!("has vectors of {columns} columns, which cannot be carried").into());
    };
    Ok(VectorType { element, dimension })
}

impl Wish {
    /// Whether vectors of a table are stored exactly as they travel.
    pub fn takes_as_it_is(self, table: &Table) -> bool {
        let whole = matches!(table.stored, Stored::Integer { .. });
        let as_it_is = table.stored.travels_as(element(table.stored));
        as_it_is && (!whole || matches!(self, Wish::AsTheFileSays { .. }))
    }

    /// Converts stored values to components of vectors and appends them.
    pub fn vectors_into(self, stored: Stored, from: &[u8], to: &mut Vec<u8>) -> Result<(), Wrong> {
        let is_whole = stored.is_whole();
        match self {
            Wish::Floats if is_whole => stored.vectors_into(Element::Float32, from, to),
            Wish::Bits if is_whole => bits(stored, from, to),
            _ => stored.vectors_into(element(stored), from, to),
        }
    }
}

/// The element type that stored values become by default.
fn element(stored: Stored) -> Element {
    match stored {
        Stored::Float { .. } => Element::Float32,
        Stored::Integer { .. } | Stored::Bytes(_) | Stored::Bool => Element::Bit,
    }
}

/// Appends zeros and ones as bits.
fn bits(stored: Stored, from: &[u8], to: &mut Vec<u8>) -> Result<(), Wrong> {
    for (i, value) in stored.integers(from).enumerate() {
        let bit = match value {
            0 | 1 => value as u8,
            _ => return Err((i, format!("{value} is neither 0 nor 1"))),
        };
        match to.last_mut() {
            // The first of eight is the highest bit, as in np.packbits.
            Some(byte) if i % 8 != 0 => *byte |= bit << (7 - i % 8),
            _ => to.push(bit << 7),
        }
    }
    Ok(())
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
        let of = |stored, width, components| {
            vectors_of(stored, false, width, Wish::AsTheFileSays { components })
        };
        let vector = of(stored, Some(64), false).unwrap();
        assert_eq!((vector.element, vector.dimension), (Element::Bit, 512));
        let vector = of(Stored::Bytes(64), None, false).unwrap();
        assert_eq!((vector.element, vector.dimension), (Element::Bit, 512));
        for (stored, width, components) in [
            (stored, Some(64), true),
            (stored, None, false),
            (stored, Some(0), false),
            (stored, Some(u64::MAX), false),
            (Stored::Bytes(64), Some(3), false),
        ] {
            assert!(of(stored, width, components).is_err(), "{width:?}");
        }
    }

    #[test]
    fn whole_numbers_become_floats_or_bits_where_the_job_says_so() {
        let bytes = Stored::Integer {
            bytes: 1,
            signed: false,
            big_endian: false,
        };
        let mut to = Vec::new();
        Wish::Floats
            .vectors_into(bytes, &[0, 255], &mut to)
            .unwrap();
        assert_eq!(to, [0f32.to_le_bytes(), 255f32.to_le_bytes()].concat());
        let wide = Stored::Integer {
            bytes: 4,
            signed: true,
            big_endian: false,
        };
        for (value, fits) in [(-(1 << 24), true), (1 << 24, true), ((1 << 24) + 1, false)] {
            let value: i32 = value;
            let done = Wish::Floats.vectors_into(wide, &value.to_le_bytes(), &mut to);
            assert_eq!(done.is_ok(), fits, "{value}");
        }
        let mut to = Vec::new();
        let bits = [1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0];
        Wish::Bits.vectors_into(bytes, &bits, &mut to).unwrap();
        assert_eq!(to, [0b1000_0011, 0b0100_0000]);
        assert!(Wish::Bits.vectors_into(bytes, &[2], &mut to).is_err());
        let of = |width, wish| vectors_of(bytes, true, Some(width), wish);
        assert_eq!(of(16, Wish::Bits).unwrap().dimension, 16);
        assert!(of(12, Wish::Bits).is_err());
        assert!(of(16, Wish::AsTheFileSays { components: false }).is_err());
    }
}
