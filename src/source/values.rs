//! How are numbers stored in files, and how do they become vectors and ids?
//! Pure: bytes in, bytes out.

use crate::job::{Form, Setting};
use crate::schema::Element;
use crate::simd;

/// The setting that [`read_as`] reads.
pub const AS: Setting = Setting::choice(
    "as",
    &["float32", "int8", "binary"],
    "what whole numbers become; binary: bytes of eight bits each",
);

/// Reads `as`: what the components of vectors become.
pub fn read_as(form: &mut Form) -> Option<Element> {
    let word = form.choice("as")?;
    Element::named(word)
}

/// How values are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// IEEE floats of 2, 4 or 8 bytes.
    Float { bytes: usize, big_endian: bool },
    /// Whole numbers of 1, 2, 4 or 8 bytes.
    Integer {
        bytes: usize,
        signed: bool,
        big_endian: bool,
    },
    /// Strings or opaque values of a fixed length: bytes as they are.
    Bytes(usize),
    /// Booleans, one byte each, 0 or 1.
    Bool,
}

impl Stored {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Stored::Float { bytes, .. } | Stored::Integer { bytes, .. } | Stored::Bytes(bytes) => {
                bytes
            }
            Stored::Bool => 1,
        }
    }

    /// Its name in messages, as numpy writes it.
    pub fn name(self) -> String {
        let order = |big_endian: bool| if big_endian { ", big-endian" } else { "" };
        match self {
            Stored::Float { bytes, big_endian } => {
                format!("float{}{}", bytes * 8, order(big_endian))
            }
            Stored::Integer {
                bytes,
                signed,
                big_endian,
            } => {
                let sign = if signed { "int" } else { "uint" };
                format!("{sign}{}{}", bytes * 8, order(big_endian))
            }
            Stored::Bytes(bytes) => format!("{bytes} bytes"),
            Stored::Bool => "bool".to_owned(),
        }
    }
}

/// Why a range of values could not become vectors or ids: the value's number in it, and the reason.
pub type Wrong = (usize, String);

impl Stored {
    /// Whether these values can become vectors of this element at all; individual ones may still be too large for it.
    pub fn can_be(self, element: Element) -> bool {
        match self {
            Stored::Float { .. } => element == Element::Float32,
            Stored::Integer { .. } | Stored::Bool => {
                [Element::Float32, Element::Int8, Element::Bit].contains(&element)
            }
            Stored::Bytes(_) => element == Element::Bit,
        }
    }

    /// Whether vectors of this element are stored in the format of the batches.
    pub fn travels_as(self, element: Element) -> bool {
        match self {
            Stored::Float { bytes, big_endian } => {
                element == Element::Float32 && bytes == 4 && !big_endian
            }
            Stored::Integer { bytes, signed, .. } => {
                bytes == 1 && (element == Element::Bit || element == Element::Int8 && signed)
            }
            Stored::Bytes(_) => element == Element::Bit,
            Stored::Bool => false,
        }
    }

    /// Appends stored values in the batch format of vectors of this element: floats as float32; whole numbers as
    /// float32, as signed bytes or as bytes of bits if nothing is lost; booleans as bits, the first one in the highest
    /// bit.
    ///
    /// Rows are complete; those of booleans as bits have a multiple of eight.
    pub fn vectors_into(
        self,
        element: Element,
        from: &[u8],
        to: &mut Vec<u8>,
    ) -> Result<(), Wrong> {
        match (self, element) {
            (Stored::Float { bytes, big_endian }, _) => {
                return floats_into(bytes, big_endian, from, to);
            }
            _ if self.travels_as(element) => to.extend_from_slice(from),
            (Stored::Bool, Element::Bit) => bits_into(from, to),
            (Stored::Bool, Element::Float32) => {
                small_into(from, to, |byte| f32::from(byte.min(1)));
            }
            (Stored::Bool, _) => to.extend(from.iter().map(|byte| *byte.min(&1))),
            (
                Stored::Integer {
                    bytes: 1,
                    signed: true,
                    ..
                },
                Element::Float32,
            ) => {
                small_into(from, to, |byte| f32::from(byte as i8));
            }
            (Stored::Integer { bytes: 1, .. }, Element::Float32) => small_into(from, to, f32::from),
            (Stored::Integer { .. }, _) => return self.whole_into(element, from, to),
            (Stored::Bytes(_), _) => return Err((0, "bytes are not numbers".to_owned())),
        }
        Ok(())
    }

    /// Appends whole numbers one by one.
    fn whole_into(self, element: Element, from: &[u8], to: &mut Vec<u8>) -> Result<(), Wrong> {
        for (i, value) in self.integers(from).enumerate() {
            let what = match element {
                Element::Float32 => {
                    let float = value as f32;
                    if float as i128 == value {
                        to.extend(float.to_le_bytes());
                        continue;
                    }
                    "is not exactly a float32"
                }
                Element::Int8 => {
                    if let Ok(byte) = i8::try_from(value) {
                        to.push(byte as u8);
                        continue;
                    }
                    "is not a signed byte"
                }
                _ => {
                    if let Ok(byte) = u8::try_from(value) {
                        to.push(byte);
                        continue;
                    }
                    "is not a byte of a binary vector"
                }
            };
            return Err((i, format!("{value} {what}")));
        }
        Ok(())
    }

    /// Whether every value is certainly a valid id. Others are checked before the first row is sent.
    pub fn is_whole(self) -> bool {
        matches!(self, Stored::Integer { .. })
    }

    /// Appends stored values as ids: whole numbers, floats that are whole, digits.
    pub fn ids_into(self, from: &[u8], to: &mut Vec<i64>) -> Result<(), Wrong> {
        // The usual case.
        if let (
            8,
            Stored::Integer {
                signed: true,
                big_endian: false,
                ..
            },
        ) = (self.bytes(), self)
        {
            to.extend(
                from.as_chunks::<8>()
                    .0
                    .iter()
                    .map(|b| i64::from_le_bytes(*b)),
            );
            return Ok(());
        }
        if let Stored::Float { bytes, .. } = self {
            // Beyond this, floats skip whole numbers: an id may have been rounded to another one.
            let bits = match bytes {
                8 => 53,
                4 => 24,
                _ => 11,
            };
            for (i, value) in self.floats(from).enumerate() {
                if value.fract() != 0.0 || value.abs() >= f64::from(bits).exp2() {
                    return Err((
                        i,
                        format!("{value} is not a whole number below 2^{bits}, as ids must be"),
                    ));
                }
                to.push(value as i64);
            }
            return Ok(());
        }
        if let Stored::Bytes(bytes) = self {
            for (i, value) in from.chunks_exact(bytes).enumerate() {
                to.push(digits(value).map_err(|what| (i, what))?);
            }
            return Ok(());
        }
        for (i, value) in self.integers(from).enumerate() {
            match i64::try_from(value) {
                Ok(id) => to.push(id),
                Err(_) => {
                    return Err((
                        i,
                        format!("{value} is larger than the largest id, {}", i64::MAX),
                    ));
                }
            }
        }
        Ok(())
    }

    fn floats(self, from: &[u8]) -> impl Iterator<Item = f64> {
        let (bytes, big_endian) = match self {
            Stored::Float { bytes, big_endian } => (bytes, big_endian),
            _ => unreachable!("asked of floats only"),
        };
        from.chunks_exact(bytes).map(move |value| {
            let mut wide = [0u8; 8];
            wide[..bytes].copy_from_slice(value);
            if big_endian {
                wide[..bytes].reverse();
            }
            let [a, b, c, d, ..] = wide;
            match bytes {
                8 => f64::from_le_bytes(wide),
                4 => f64::from(f32::from_le_bytes([a, b, c, d])),
                _ => {
                    let mut single = [0; 4];
                    simd::f16_to_f32(&[a, b], &mut single);
                    f64::from(f32::from_le_bytes(single))
                }
            }
        })
    }

    /// Stored whole numbers, one after another.
    pub fn integers(self, from: &[u8]) -> impl Iterator<Item = i128> {
        let Stored::Integer {
            bytes,
            signed,
            big_endian,
        } = self
        else {
            unreachable!("asked of whole numbers only");
        };
        from.chunks_exact(bytes).map(move |value| {
            let mut wide = [0u8; 8];
            if big_endian {
                wide[8 - bytes..].copy_from_slice(value);
                wide.reverse();
            } else {
                wide[..bytes].copy_from_slice(value);
            }
            let value = u64::from_le_bytes(wide);
            if signed {
                let unused = 64 - 8 * bytes as u32;
                i128::from((value << unused) as i64 >> unused)
            } else {
                i128::from(value)
            }
        })
    }
}

/// The whole number that a text is, in canonical form: otherwise different texts could be the same id.
fn digits(text: &[u8]) -> Result<i64, String> {
    let end = text.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&text[..end]);
    let number = text.trim().parse::<i64>().ok();
    let number = number.filter(|n| n.to_string() == text.trim());
    number.ok_or_else(|| format!("`{text}` is not a whole number, as ids must be"))
}

/// Appends single bytes as floats.
fn small_into(from: &[u8], to: &mut Vec<u8>, value: impl Fn(u8) -> f32) {
    let start = to.len();
    to.resize(start + from.len() * 4, 0);
    for (byte, out) in from.iter().zip(to[start..].as_chunks_mut::<4>().0) {
        *out = value(*byte).to_le_bytes();
    }
}

/// Booleans as bits, eight to a byte, the first one in the highest bit: as `numpy.packbits` does.
fn bits_into(from: &[u8], to: &mut Vec<u8>) {
    let bytes = from.as_chunks::<8>().0.iter();
    to.extend(bytes.map(|eight| {
        let bit = |byte: u8, value: &u8| byte << 1 | u8::from(*value != 0);
        eight.iter().fold(0, bit)
    }));
}

/// Floats of this many bytes as float32, rounded to the nearest; a finite one that would become infinite is refused.
fn floats_into(bytes: usize, big_endian: bool, from: &[u8], to: &mut Vec<u8>) -> Result<(), Wrong> {
    /// Bytes converted at a time, in the cache.
    const BLOCK: usize = 4096;
    let convert = |from: &[u8], to: &mut [u8]| match bytes {
        2 => {
            simd::f16_to_f32(from, to);
            true
        }
        8 => simd::f64_to_f32(from, to),
        _ => {
            to.copy_from_slice(from);
            true
        }
    };
    let start = to.len();
    to.resize(start + from.len() / bytes * 4, 0);
    let mut fits = true;
    if big_endian {
        let mut room = [0; BLOCK];
        let targets = to[start..].chunks_mut(BLOCK / bytes * 4);
        for (from, to) in from.chunks(BLOCK).zip(targets) {
            let room = &mut room[..from.len()];
            room.copy_from_slice(from);
            simd::swap_bytes(bytes, room);
            fits &= convert(room, to);
        }
    } else {
        fits = convert(from, &mut to[start..]);
    }
    if fits {
        return Ok(());
    }
    to.truncate(start);
    let read = if big_endian {
        f64::from_be_bytes
    } else {
        f64::from_le_bytes
    };
    let values = from.as_chunks::<8>().0.iter().map(|value| read(*value));
    let (i, value) = values
        .enumerate()
        .find(|(_, value)| value.is_finite() && (*value as f32).is_infinite())
        .expect("only doubles can be too large");
    Err((i, format!("{value:e} is out of range for float32")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(stored: Stored, bytes: &[u8]) -> Result<Vec<i64>, Wrong> {
        let mut to = Vec::new();
        stored.ids_into(bytes, &mut to).map(|()| to)
    }

    #[test]
    fn whole_numbers_of_any_length_sign_and_order_are_ids() {
        for (bytes, signed, big_endian, from, expected) in [
            (1, true, false, &[0xff, 0x7f][..], &[-1, 127][..]),
            (1, false, false, &[0xff], &[255]),
            (2, true, false, &[0xfe, 0xff], &[-2]),
            (2, true, true, &[0xff, 0xfe], &[-2]),
            (4, false, true, &[0x80, 0, 0, 1], &[0x8000_0001]),
            (4, true, true, &[0x80, 0, 0, 1], &[-0x7fff_ffff]),
            (8, true, true, &[0x80, 0, 0, 0, 0, 0, 0, 0], &[i64::MIN]),
            (
                8,
                false,
                false,
                &[1, 0, 0, 0, 0, 0, 0, 0x40],
                &[(1 << 62) + 1],
            ),
        ] {
            let stored = Stored::Integer {
                bytes,
                signed,
                big_endian,
            };
            assert_eq!(ids(stored, from).unwrap(), expected, "{stored:?}");
        }
        let stored = Stored::Integer {
            bytes: 8,
            signed: false,
            big_endian: false,
        };
        let (at, what) = ids(stored, &[&[0; 8][..], &[0xff; 8]].concat()).unwrap_err();
        assert_eq!((at, &what[..20]), (1, "18446744073709551615"));
    }

    #[test]
    fn floats_become_float32() {
        let check = |stored: Stored, from: &[u8], expected: &[f32]| {
            let mut to = Vec::new();
            stored
                .vectors_into(Element::Float32, from, &mut to)
                .unwrap();
            let bits = |f: &f32| f.to_le_bytes();
            assert_eq!(
                to,
                expected.iter().flat_map(bits).collect::<Vec<_>>(),
                "{stored:?}"
            );
        };
        let float = |bytes, big_endian| Stored::Float { bytes, big_endian };
        let odd = [1.5, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 2.0];
        check(float(4, true), &odd.map(f32::to_be_bytes).concat(), &odd);
        check(
            float(8, true),
            &odd.map(|f| f64::from(f).to_be_bytes()).concat(),
            &odd,
        );
        check(
            float(8, false),
            &[0.1f64, 1e-60].map(f64::to_le_bytes).concat(),
            &[0.1, 0.0],
        );
        check(
            float(2, false),
            &[0x00, 0x3c, 0x01, 0x00],
            &[1.0, 5.960_464_5e-8],
        );
        check(float(2, true), &[0x3c, 0x00], &[1.0]);
        let mut to = vec![7];
        let wide = [1.0f64, -1e39].map(f64::to_le_bytes).concat();
        let (at, what) = float(8, false)
            .vectors_into(Element::Float32, &wide, &mut to)
            .unwrap_err();
        assert_eq!(
            (at, what.as_str(), to),
            (1, "-1e39 is out of range for float32", vec![7])
        );
    }

    #[test]
    fn whole_numbers_are_bytes_of_binary_vectors() {
        let stored = Stored::Integer {
            bytes: 4,
            signed: true,
            big_endian: true,
        };
        let mut to = Vec::new();
        stored
            .vectors_into(Element::Bit, &[0, 0, 0, 255, 0, 0, 0, 1], &mut to)
            .unwrap();
        assert_eq!(to, [255, 1]);
        assert!(
            stored
                .vectors_into(Element::Bit, &[0xff; 4], &mut to)
                .is_err()
        );
        assert!(
            stored
                .vectors_into(Element::Bit, &[0, 0, 1, 0], &mut to)
                .is_err()
        );
    }

    #[test]
    fn whole_numbers_become_floats_and_signed_bytes_where_nothing_is_lost() {
        let integer = |bytes, signed| Stored::Integer {
            bytes,
            signed,
            big_endian: false,
        };
        let check = |stored: Stored, element, from: &[u8], expected: Result<&[u8], usize>| {
            let mut to = Vec::new();
            let done = stored.vectors_into(element, from, &mut to);
            let found = done.map(|()| &to[..]).map_err(|(at, _)| at);
            assert_eq!(found, expected, "{stored:?} {element:?} {from:?}");
        };
        let floats =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|f| f.to_le_bytes()).collect() };
        let (float, int8) = (Element::Float32, Element::Int8);
        check(
            integer(1, false),
            float,
            &[0, 255],
            Ok(&floats(&[0.0, 255.0])),
        );
        check(
            integer(1, true),
            float,
            &[127, 128],
            Ok(&floats(&[127.0, -128.0])),
        );
        check(integer(1, false), int8, &[127], Ok(&[127]));
        check(integer(1, false), int8, &[1, 128], Err(1));
        check(integer(2, true), int8, &[0x80, 0xff, 0, 1], Err(1));
        check(integer(2, true), int8, &[0x80, 0xff], Ok(&[0x80]));
        let most = (1i32 << 24).to_le_bytes();
        check(integer(4, true), float, &most, Ok(&floats(&[16_777_216.0])));
        check(
            integer(4, true),
            float,
            &((1i32 << 24) + 1).to_le_bytes(),
            Err(0),
        );
        check(integer(8, false), float, &u64::MAX.to_le_bytes(), Err(0));
        check(
            integer(8, true),
            float,
            &i64::MIN.to_le_bytes(),
            Ok(&floats(&[i64::MIN as f32])),
        );
        check(
            Stored::Bool,
            Element::Bit,
            &[1, 0, 0, 0, 0, 0, 1, 2],
            Ok(&[0x83]),
        );
        check(Stored::Bool, float, &[1, 0], Ok(&floats(&[1.0, 0.0])));
    }

    #[test]
    fn floats_and_digits_are_ids_where_nothing_is_lost() {
        let double = Stored::Float {
            bytes: 8,
            big_endian: true,
        };
        let of = |values: &[f64]| {
            ids(
                double,
                &values
                    .iter()
                    .flat_map(|v| v.to_be_bytes())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            of(&[0.0, -0.0, -7.0, 9007199254740991.0]).unwrap(),
            [0, 0, -7, (1 << 53) - 1]
        );
        for odd in [0.5, f64::NAN, f64::INFINITY, 9007199254740992.0] {
            assert_eq!(of(&[1.0, odd]).unwrap_err().0, 1, "{odd}");
        }
        let single = Stored::Float {
            bytes: 4,
            big_endian: false,
        };
        assert_eq!(ids(single, &16777215f32.to_le_bytes()).unwrap(), [16777215]);
        assert!(ids(single, &16777216f32.to_le_bytes()).is_err());
        let text = Stored::Bytes(4);
        assert_eq!(ids(text, b"7\0\0\0-120 0  ").unwrap(), [7, -120, 0]);
        for odd in [b"007 ", b"P07\0", b"\0\0\0\0", b"+7  ", b"7.0 ", b"-0  "] {
            assert!(ids(text, odd).is_err(), "{odd:?}");
        }
    }
}
