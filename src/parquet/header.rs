//! What does the header of a page contain? Thrift's compact protocol, as far as page headers need it.
//! Pure: allocates nothing, and never reads past its input.

use ::parquet::basic::Encoding;

/// The kind of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Levels and values, compressed together.
    Data,
    /// Levels, uncompressed, then values.
    DataV2 {
        rows: u32,
        nulls: u32,
        definition_bytes: u32,
        repetition_bytes: u32,
        packed: bool,
    },
    /// Values that data pages refer to.
    Dictionary { sorted: bool },
    /// An index, which is not used.
    Other,
}

/// The header of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the header itself.
    pub len: usize,
    pub kind: Kind,
    /// Bytes of the page in the file, without the header.
    pub stored: u32,
    /// Bytes of the page when decompressed.
    pub unpacked: u32,
    pub crc32: Option<u32>,
    /// The number of levels, or of a dictionary's values.
    pub values: u32,
    pub encoding: Encoding,
    pub definition_encoding: Encoding,
    pub repetition_encoding: Encoding,
}

/// Why there is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// It continues past the input.
    Short,
    /// It is not a header.
    Wrong(&'static str),
}

/// Reads the header at the start of these bytes.
pub fn read(bytes: &[u8]) -> Result<Header, Bad> {
    let mut thrift = Thrift { bytes, at: 0 };
    let (mut kind, mut unpacked, mut stored, mut crc32) = (None, None, None, None);
    let (mut data, mut dictionary, mut v2) = (None, None, None);
    thrift.fields(|thrift, number, wire| {
        match (number, wire) {
            (1, I32) => kind = Some(thrift.int()?),
            (2, I32) => unpacked = Some(thrift.size()?),
            (3, I32) => stored = Some(thrift.size()?),
            (4, I32) => crc32 = Some(thrift.int()? as u32),
            (5, STRUCT) => data = Some(thrift.data()?),
            (7, STRUCT) => dictionary = Some(thrift.dictionary()?),
            (8, STRUCT) => v2 = Some(thrift.data_v2()?),
            _ => thrift.skip(wire, 0)?,
        }
        Ok(())
    })?;
    let part = |part: Option<Part>| part.ok_or(Bad::Wrong("a page header lacks a required field"));
    let part = match kind {
        Some(0) => part(data)?,
        Some(2) => part(dictionary)?,
        Some(3) => part(v2)?,
        Some(_) => Part {
            kind: Kind::Other,
            ..Part::default()
        },
        None => {
            return Err(Bad::Wrong(
                "a page header does not state the type of the page",
            ));
        }
    };
    let (Some(unpacked), Some(stored)) = (unpacked, stored) else {
        return Err(Bad::Wrong(
            "a page header does not state the length of the page",
        ));
    };
    Ok(Header {
        len: thrift.at,
        kind: part.kind,
        stored,
        unpacked,
        crc32,
        values: part.values,
        encoding: part.encoding,
        definition_encoding: part.definition_encoding,
        repetition_encoding: part.repetition_encoding,
    })
}

/// What a page header contains for one kind of page, in addition to the lengths.
struct Part {
    kind: Kind,
    values: u32,
    encoding: Encoding,
    definition_encoding: Encoding,
    repetition_encoding: Encoding,
}

impl Default for Part {
    fn default() -> Part {
        Part {
            kind: Kind::Data,
            values: 0,
            encoding: Encoding::PLAIN,
            definition_encoding: Encoding::RLE,
            repetition_encoding: Encoding::RLE,
        }
    }
}

/// Types of the wire format.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const STRUCT: u8 = 12;
/// How deep values may be nested; those of a page header are nested three deep.
const DEPTH_MAX: u32 = 16;

struct Thrift<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Thrift<'_> {
    fn byte(&mut self) -> Result<u8, Bad> {
        let byte = self.bytes.get(self.at).ok_or(Bad::Short)?;
        self.at += 1;
        Ok(*byte)
    }

    fn varint(&mut self) -> Result<u64, Bad> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Bad::Wrong("a number in a page header has no end"))
    }

    fn int(&mut self) -> Result<i32, Bad> {
        let value = self.varint()?;
        let value = (value >> 1) as i64 ^ -((value & 1) as i64);
        i32::try_from(value).map_err(|_| Bad::Wrong("a number in a page header is too large"))
    }

    fn size(&mut self) -> Result<u32, Bad> {
        u32::try_from(self.int()?).map_err(|_| Bad::Wrong("a count in a page header is negative"))
    }

    fn encoding(&mut self) -> Result<Encoding, Bad> {
        #[expect(deprecated, reason = "files contain it")]
        let bit_packed = Encoding::BIT_PACKED;
        Ok(match self.int()? {
            0 => Encoding::PLAIN,
            2 => Encoding::PLAIN_DICTIONARY,
            3 => Encoding::RLE,
            4 => bit_packed,
            5 => Encoding::DELTA_BINARY_PACKED,
            6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            7 => Encoding::DELTA_BYTE_ARRAY,
            8 => Encoding::RLE_DICTIONARY,
            9 => Encoding::BYTE_STREAM_SPLIT,
            _ => return Err(Bad::Wrong("a page has an unknown encoding")),
        })
    }

    /// The fields of a struct: the number and type of each are passed to the function, which reads the value.
    fn fields(
        &mut self,
        mut read: impl FnMut(&mut Self, i16, u8) -> Result<(), Bad>,
    ) -> Result<(), Bad> {
        let mut number = 0i16;
        loop {
            let byte = self.byte()?;
            let wire = byte & 0x0f;
            if wire == 0 {
                return Ok(());
            }
            number = match byte >> 4 {
                0 => self.int()? as i16,
                more => number.wrapping_add(i16::from(more)),
            };
            read(self, number, wire)?;
        }
    }

    fn skip(&mut self, wire: u8, depth: u32) -> Result<(), Bad> {
        if depth > DEPTH_MAX {
            return Err(Bad::Wrong("a page header is nested too deeply"));
        }
        match wire {
            TRUE | FALSE => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => self.pass(8)?,
            8 => {
                let len = self.varint()?;
                self.pass(len)?;
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                for _ in 0..count {
                    // A boolean in a list has a byte of its own.
                    match head & 0x0f {
                        TRUE | FALSE => drop(self.byte()?),
                        wire => self.skip(wire, depth + 1)?,
                    }
                }
            }
            STRUCT => self.fields(|thrift, _, wire| thrift.skip(wire, depth + 1))?,
            _ => return Err(Bad::Wrong("a page header cannot be read")),
        }
        Ok(())
    }

    fn pass(&mut self, len: u64) -> Result<(), Bad> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.at = self
            .at
            .checked_add(len)
            .filter(|at| *at <= self.bytes.len())
            .ok_or(Bad::Short)?;
        Ok(())
    }

    fn data(&mut self) -> Result<Part, Bad> {
        let mut part = Part::default();
        self.fields(|thrift, number, wire| {
            match (number, wire) {
                (1, I32) => part.values = thrift.size()?,
                (2, I32) => part.encoding = thrift.encoding()?,
                (3, I32) => part.definition_encoding = thrift.encoding()?,
                (4, I32) => part.repetition_encoding = thrift.encoding()?,
                _ => thrift.skip(wire, 0)?,
            }
            Ok(())
        })?;
        Ok(part)
    }

    fn dictionary(&mut self) -> Result<Part, Bad> {
        let (mut part, mut sorted) = (Part::default(), false);
        self.fields(|thrift, number, wire| {
            match (number, wire) {
                (1, I32) => part.values = thrift.size()?,
                (2, I32) => part.encoding = thrift.encoding()?,
                (3, TRUE | FALSE) => sorted = wire == TRUE,
                _ => thrift.skip(wire, 0)?,
            }
            Ok(())
        })?;
        part.kind = Kind::Dictionary { sorted };
        Ok(part)
    }

    fn data_v2(&mut self) -> Result<Part, Bad> {
        let mut part = Part::default();
        let (mut rows, mut nulls, mut definition_bytes, mut repetition_bytes) = (0, 0, 0, 0);
        let mut packed = true;
        self.fields(|thrift, number, wire| {
            match (number, wire) {
                (1, I32) => part.values = thrift.size()?,
                (2, I32) => nulls = thrift.size()?,
                (3, I32) => rows = thrift.size()?,
                (4, I32) => part.encoding = thrift.encoding()?,
                (5, I32) => definition_bytes = thrift.size()?,
                (6, I32) => repetition_bytes = thrift.size()?,
                (7, TRUE | FALSE) => packed = wire == TRUE,
                _ => thrift.skip(wire, 0)?,
            }
            Ok(())
        })?;
        part.kind = Kind::DataV2 {
            rows,
            nulls,
            definition_bytes,
            repetition_bytes,
            packed,
        };
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page with a header as pyarrow writes it: with statistics, which are skipped.
    const DATA: &[u8] = &[
        0x15, 0x00, 0x15, 0x50, 0x15, 0x50, 0x2c, 0x15, 0x0a, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06,
        0x1c, 0x18, 0x01, 0x41, 0x18, 0x01, 0x42, 0x16, 0x00, 0x00, 0x00, 0x00,
    ];

    #[test]
    fn a_header_is_read_and_a_short_one_is_asked_for_again() {
        let header = read(&[DATA, &[9, 9]].concat()).unwrap();
        assert_eq!((header.len, header.values), (DATA.len(), 5));
        assert_eq!(
            (header.kind, header.stored, header.unpacked),
            (Kind::Data, 40, 40)
        );
        assert_eq!((header.encoding, header.crc32), (Encoding::PLAIN, None));
        for len in 0..DATA.len() {
            assert_eq!(read(&DATA[..len]), Err(Bad::Short), "{len}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            &[0x15, 0x00, 0x15, 0x50, 0x15, 0x50, 0x00][..],
            &[0x00],
            &[0x15, 0x00, 0x15, 0x51, 0x15, 0x50, 0x00],
            &[0x1f, 0x00],
            &[
                0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ] {
            assert!(matches!(read(bytes), Err(Bad::Wrong(_))), "{bytes:?}");
        }
        // Lists in lists in lists.
        assert!(matches!(
            read(&[0x19; 200]),
            Err(Bad::Wrong(_) | Bad::Short)
        ));
    }
}
