//! How are numbers stored in files, and how do they become vectors and ids?
//! Pure: bytes in, bytes out.

use crate::simd;

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
}

impl Stored {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Stored::Float { bytes, .. } | Stored::Integer { bytes, .. } | Stored::Bytes(bytes) => {
                bytes
            }
        }
    }

    /// Its name for people, as numpy would have it.
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
        }
    }
}

/// Why a stretch of values could not become vectors or ids: the value's number in it, and what it is.
pub type Wrong = (usize, String);

impl Stored {
    /// Whether vectors of this type are stored just as they travel.
    pub fn as_they_travel(self) -> bool {
        matches!(
            self,
            Stored::Float {
                bytes: 4,
                big_endian: false
            } | Stored::Integer { bytes: 1, .. }
                | Stored::Bytes(_)
        )
    }

    /// Appends stored values as they travel in vectors.
    pub fn vectors_into(self, from: &[u8], to: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Stored::Float { bytes, big_endian } => floats_into(bytes, big_endian, from, to),
            Stored::Integer { bytes, .. } if bytes > 1 => {
                for (i, value) in self.integers(from).enumerate() {
                    match u8::try_from(value) {
                        Ok(byte) => to.push(byte),
                        Err(_) => {
                            return Err((i, format!("{value} is not a byte of a binary vector")));
                        }
                    }
                }
                Ok(())
            }
            _ => {
                to.extend_from_slice(from);
                Ok(())
            }
        }
    }

    /// Whether every value is surely an id. Others are looked at before the first row travels.
    pub fn is_whole(self) -> bool {
        matches!(self, Stored::Integer { .. })
    }

    /// Appends stored values as ids: whole numbers, floats that are whole, digits.
    pub fn ids_into(self, from: &[u8], to: &mut Vec<i64>) -> Result<(), Wrong> {
        // As they nearly always are.
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
            // Beyond these, neighbours of whole numbers are missing: an id may have been rounded to another's.
            let bits = match bytes {
                8 => 53,
                4 => 24,
                _ => 11,
            };
            for (i, value) in self.floats(from).enumerate() {
                if value.fract() != 0.0 || value.abs() >= f64::from(bits).exp2() {
                    return Err((
                        i,
                        format!("{value} is no whole number below 2^{bits}, as ids are"),
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
                        format!("{value} is more than an id can be, {}", i64::MAX),
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

    /// Stored whole numbers, one after the other.
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

/// The whole number that text is, spelt as numbers are: else texts that differ would be one id.
fn digits(text: &[u8]) -> Result<i64, String> {
    let end = text.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&text[..end]);
    let number = text.trim().parse::<i64>().ok();
    let number = number.filter(|n| n.to_string() == text.trim());
    number.ok_or_else(|| format!("`{text}` is no whole number, as ids are"))
}

/// Floats of so many bytes as float32, rounded to the nearest; one that is finite and would become infinite is refused.
fn floats_into(bytes: usize, big_endian: bool, from: &[u8], to: &mut Vec<u8>) -> Result<(), Wrong> {
    /// Bytes that are turned around at a time, in the cache.
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
    Err((i, format!("{value:e} is more than a float32 can be")))
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
            stored.vectors_into(from, &mut to).unwrap();
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
        let (at, what) = float(8, false).vectors_into(&wide, &mut to).unwrap_err();
        assert_eq!(
            (at, what.as_str(), to),
            (1, "-1e39 is more than a float32 can be", vec![7])
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
            .vectors_into(&[0, 0, 0, 255, 0, 0, 0, 1], &mut to)
            .unwrap();
        assert_eq!(to, [255, 1]);
        assert!(stored.vectors_into(&[0xff; 4], &mut to).is_err());
        assert!(stored.vectors_into(&[0, 0, 1, 0], &mut to).is_err());
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
