//! How is a vector written in JSON? A list of numbers, or text: base64 of floats, hexadecimal of bytes.
//!
//! Numbers are rounded as Java servers that read JSON do it: to the nearest double, then to the nearest float.

use super::scan::{Read, Scan};
use crate::schema::{Element, VectorType};

/// What was found in the place of a vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A vector, which was added.
    Vector,
    /// Null, or an empty list.
    Nothing,
}

/// Reads a vector, and appends its bytes; an error message that continues after the vector's name.
pub fn vector(scan: &mut Scan<'_>, kind: VectorType, out: &mut Vec<u8>) -> Read<Found> {
    let width = kind.row_bytes() as usize;
    let before = out.len();
    let read = match scan.peek() {
        Some(b'[') => numbers(scan, kind, out),
        Some(b'"') => text(scan, kind, out),
        Some(b'n') if scan.next_is_null() => Ok(()),
        _ => {
            let value = scan.value()?;
            let end = value.floor_char_boundary(40);
            Err(format!("is {}, not a list of numbers", &value[..end]))
        }
    };
    let found = out.len() - before;
    let read = match (read, found) {
        (Ok(()), 0) => Ok(Found::Nothing),
        (Ok(()), found) if found == width => Ok(Found::Vector),
        (Ok(()), found) => {
            let each = (width as u64 * 8 / u64::from(kind.dimension)).max(1) as usize;
            let dimensions = found * 8 / each;
            Err(format!(
                "has {dimensions} dimensions, not {}",
                kind.dimension
            ))
        }
        (Err(what), _) => Err(what),
    };
    if read != Ok(Found::Vector) {
        out.truncate(before);
    }
    read
}

fn numbers(scan: &mut Scan<'_>, kind: VectorType, out: &mut Vec<u8>) -> Read<()> {
    let most = out.len() + kind.row_bytes() as usize;
    out.reserve(kind.row_bytes() as usize);
    match kind.element {
        Element::Float32 => scan.elements(|scan| {
            let value = scan.float()?;
            // Components beyond the maximum are counted, but not kept.
            if out.len() < most + 4 {
                out.extend_from_slice(&value.to_le_bytes());
            }
            Ok(())
        }),
        Element::BFloat16 => scan.elements(|scan| {
            let bits = scan.float()?.to_bits();
            // Round to nearest, ties to even.
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            if out.len() < most + 2 {
                out.extend_from_slice(&(rounded as u16).to_le_bytes());
            }
            Ok(())
        }),
        Element::Float16 => Err("cannot be read as float16".to_owned()),
        Element::Int8 | Element::Bit => scan.elements(|scan| {
            let value = scan.number()?;
            let byte = match kind.element {
                Element::Bit if (0.0..=255.0).contains(&value) => value as u8,
                _ if (-128.0..=127.0).contains(&value) => value as i8 as u8,
                _ => return Err(format!("holds {value}, which no byte holds")),
            };
            if value.trunc() != value {
                return Err(format!("holds {value}, which no byte holds"));
            }
            if out.len() < most + 1 {
                out.push(byte);
            }
            Ok(())
        }),
    }
}

/// Elasticsearch 9.3 writes floats in base64, most significant byte first, and bytes in hexadecimal.
fn text(scan: &mut Scan<'_>, kind: VectorType, out: &mut Vec<u8>) -> Read<()> {
    let text = scan.string()?;
    let start = out.len();
    let wrong = || Err("is text, and neither base64 nor hexadecimal of a vector".to_owned());
    let width = kind.row_bytes() as usize;
    match kind.element {
        Element::Int8 | Element::Bit if text.len() == width * 2 => {
            for pair in text.as_bytes().chunks_exact(2) {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                    return wrong();
                };
                out.push((high << 4 | low) as u8);
            }
            Ok(())
        }
        _ if !crate::http::base64::decode(text.as_bytes(), out) => wrong(),
        Element::Float32 => {
            out[start..].chunks_exact_mut(4).for_each(<[u8]>::reverse);
            match (out.len() - start).is_multiple_of(4) {
                true => Ok(()),
                false => wrong(),
            }
        }
        Element::BFloat16 | Element::Float16 => {
            out[start..].chunks_exact_mut(2).for_each(<[u8]>::reverse);
            Ok(())
        }
        Element::Int8 | Element::Bit => Ok(()),
    }
}
