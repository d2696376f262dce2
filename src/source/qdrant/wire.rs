//! Which fields does a message have? Protobuf read in place: nothing is copied, nothing allocated.

/// A field's value, by its wire type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'m> {
    /// A varint.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// A string, a message, or packed numbers.
    Bytes(&'m [u8]),
    /// Four bytes.
    Fixed32([u8; 4]),
}

/// A malformed message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// The fields of a message, in order.
pub struct Fields<'m>(pub &'m [u8]);

impl<'m> Iterator for Fields<'m> {
    type Item = Result<(u32, Value<'m>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Broken))
    }
}

impl<'m> Fields<'m> {
    fn field(&mut self) -> Option<(u32, Value<'m>)> {
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let len = usize::try_from(varint(&mut self.0)?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(len)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(self.array()?),
            // Groups, which are obsolete.
            _ => return None,
        };
        Some((number, value))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }
}

/// A varint, taken from the front.
pub fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (number, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            *bytes = &bytes[number + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_apart_and_nonsense_is_broken() {
        let message = [8, 150, 1, 18, 2, b'h', b'i', 29, 1, 2, 3, 4];
        let fields: Vec<_> = Fields(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            fields,
            [
                (1, Value::Varint(150)),
                (2, Value::Bytes(b"hi")),
                (3, Value::Fixed32([1, 2, 3, 4]))
            ]
        );
        let longer = [[0xff; 10].as_slice(), &[1]].concat();
        for bad in [&[8][..], &[18, 5, 1], &[0], &[11], &longer, &[29, 1]] {
            assert_eq!(Fields(bad).last(), Some(Err(Broken)), "{bad:?}");
        }
    }
}
