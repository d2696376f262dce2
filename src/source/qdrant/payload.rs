//! What does a payload hold? Converts values of Qdrant's messages to JSON text: whole numbers and doubles keep their
//! type, and keys are sorted by their bytes, so that the same payload always yields the same text.

use super::wire::{Broken, Fields, Value};
use crate::limits;

/// Why a payload cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Odd {
    /// The message is malformed.
    Broken,
    /// Maps and lists are nested too deeply.
    Deep,
}

impl From<Broken> for Odd {
    fn from(_: Broken) -> Odd {
        Odd::Broken
    }
}

/// Writes a JSON object of entries, each a key and a value.
pub fn object(mut entries: Vec<(&str, &[u8])>, depth: usize, out: &mut Vec<u8>) -> Result<(), Odd> {
    if depth > limits::QDRANT_PAYLOAD_DEPTH_MAX {
        return Err(Odd::Deep);
    }
    // For a duplicate key the last entry counts, as in protobuf.
    entries.sort_by_key(|(key, _)| *key);
    out.push(b'{');
    let mut any = false;
    for (number, (key, bytes)) in entries.iter().enumerate() {
        if entries.get(number + 1).is_some_and(|next| next.0 == *key) {
            continue;
        }
        if any {
            out.push(b',');
        }
        any = true;
        text(key, out);
        out.push(b':');
        value(bytes, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// An entry of a map.
pub fn entry(bytes: &[u8]) -> Result<(&str, &[u8]), Broken> {
    let (mut key, mut value) = ("", &[][..]);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => key = std::str::from_utf8(bytes).map_err(|_| Broken)?,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((key, value))
}

fn value(bytes: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Odd> {
    let mut last = None;
    for field in Fields(bytes) {
        last = Some(field?);
    }
    match last {
        Some((2, Value::Fixed64(bytes))) => match f64::from_le_bytes(bytes) {
            float if float.is_finite() => out.extend(format!("{float:?}").into_bytes()),
            // Qdrant stores payloads as JSON, which has no such numbers.
            _ => out.extend(b"null"),
        },
        Some((3, Value::Varint(whole))) => out.extend((whole as i64).to_string().into_bytes()),
        Some((4, Value::Bytes(bytes))) => {
            text(std::str::from_utf8(bytes).map_err(|_| Odd::Broken)?, out);
        }
        Some((5, Value::Varint(flag))) => {
            out.extend(if flag == 0 { &b"false"[..] } else { b"true" });
        }
        Some((6, Value::Bytes(bytes))) => {
            let mut entries = Vec::new();
            for field in Fields(bytes) {
                if let (1, Value::Bytes(bytes)) = field? {
                    entries.push(entry(bytes)?);
                }
            }
            object(entries, depth + 1, out)?;
        }
        Some((7, Value::Bytes(bytes))) => {
            if depth >= limits::QDRANT_PAYLOAD_DEPTH_MAX {
                return Err(Odd::Deep);
            }
            out.push(b'[');
            let mut any = false;
            for field in Fields(bytes) {
                if let (1, Value::Bytes(bytes)) = field? {
                    if any {
                        out.push(b',');
                    }
                    any = true;
                    value(bytes, depth + 1, out)?;
                }
            }
            out.push(b']');
        }
        Some((1, Value::Varint(_))) | None => out.extend(b"null"),
        Some(_) => return Err(Odd::Broken),
    }
    Ok(())
}

fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(number: u8, inner: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, inner.len() as u8][..], inner].concat()
    }

    #[test]
    fn values_are_told_as_json_has_them() {
        let double = |value: f64| [&[17][..], &value.to_le_bytes()].concat();
        let negative = [24, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let list = nested(
            7,
            &[nested(1, &[24, 1]), nested(1, &nested(4, b"\"\n"))].concat(),
        );
        let map = nested(1, &[nested(1, b"k"), nested(2, &[40, 1])].concat());
        let table: [(&[u8], &str); 8] = [
            (&[8, 0], "null"),
            (&[], "null"),
            (&double(5.0), "5.0"),
            (&double(f64::NAN), "null"),
            (&negative, "-1"),
            (&list, r#"[1,"\"\n"]"#),
            (&nested(6, &map), r#"{"k":true}"#),
            (&nested(6, &[]), "{}"),
        ];
        for (bytes, expected) in table {
            let mut out = Vec::new();
            value(bytes, 0, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn keys_are_in_order_and_the_last_of_the_same_counts() {
        let mut out = Vec::new();
        let entries = vec![
            ("b", &[24, 1][..]),
            ("a", &[24, 2][..]),
            ("b", &[24, 3][..]),
        ];
        object(entries, 0, &mut out).unwrap();
        assert_eq!(out, br#"{"a":2,"b":3}"#);
    }

    #[test]
    fn what_lies_too_deep_is_refused() {
        let mut bytes = vec![8, 0];
        // Longer ones need more than one byte for the length.
        for _ in 0..30 {
            bytes = nested(7, &nested(1, &bytes));
        }
        let mut out = Vec::new();
        assert_eq!(value(&bytes, 90, &mut out), Err(Odd::Deep));
        assert_eq!(value(&[0x0b], 0, &mut out), Err(Odd::Broken));
    }
}
