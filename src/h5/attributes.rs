//! What does an attribute say? Checks the class of its dataspace before anything is read, because it may have no value,
//! and validates text. Unsafe room 5.
//! One call per block, each under the library's lock.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;

use hdf5::Location;
use hdf5_sys::h5::{H5_index_t, H5_iter_order_t, herr_t};
use hdf5_sys::h5a::{H5A_info_t, H5Aget_space, H5Aget_type, H5Aiterate2, H5Aopen, H5Aread};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_class_t, H5Sget_simple_extent_npoints, H5Sget_simple_extent_type};
use hdf5_sys::h5t::H5Treclaim;

use super::raw::{Handle, Names};
use super::types::{Class, Facts, Order, Padding, Type};
use crate::limits;
use crate::simd;

/// What an attribute says.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Text, and whether parts of it had to be replaced because they were not UTF-8.
    Text(String, Encoding),
    /// A whole number.
    Whole(i128),
    /// Another number.
    Float(f64),
    /// It has no value.
    Empty,
    /// Anything else, with a description of what it is.
    Other(String),
}

/// Whether text was UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// It was UTF-8.
    Utf8,
    /// It was not: invalid bytes were replaced.
    Replaced,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text, _) => f.write_str(text),
            Value::Whole(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Empty => Ok(()),
            Value::Other(what) => write!(f, "({what})"),
        }
    }
}

/// The names of an object's attributes, in order, at most `most`. The crate's function turns the encoding of names into
/// an enum, for which a damaged file may have any value.
pub fn names(object: &Location, most: usize) -> Vec<String> {
    unsafe extern "C" fn note(
        _: hid_t,
        name: *const c_char,
        _: *const H5A_info_t,
        names: *mut c_void,
    ) -> herr_t {
        // SAFETY: the library passes a C string, and the pointer that the call below handed in.
        unsafe { Names::note(name, names) }
    }
    Names::listed(most, |found| {
        // SAFETY: the object is open as long as it is borrowed; `found` has the type that the function expects. If
        // listing fails, the names found so far are kept.
        unsafe {
            H5Aiterate2(
                object.id(),
                H5_index_t::H5_INDEX_NAME,
                H5_iter_order_t::H5_ITER_INC,
                std::ptr::null_mut(),
                Some(note),
                found,
            )
        };
    })
}

/// What an object's attribute of this name says; `None` if it has none.
pub fn read(object: &Location, name: &str) -> Option<Value> {
    let name = CString::new(name).ok()?;
    // SAFETY: the object is open as long as it is borrowed; the name is a C string.
    let opened = Handle::new(|| unsafe { H5Aopen(object.id(), name.as_ptr(), H5P_DEFAULT) });
    let attribute = opened.ok()?;
    let read = hdf5::sync::sync(|| value(&attribute));
    Some(read.unwrap_or_else(|e| Value::Other(format!("cannot be read: {}", super::cause(&e)))))
}

/// Whether an object has an attribute of this name with a value.
pub fn has_value(object: &Location, name: &str) -> bool {
    read(object, name).is_some_and(|value| !matches!(value, Value::Empty))
}

fn value(attribute: &Handle) -> hdf5::Result<Value> {
    // SAFETY: the attribute is open as long as it is borrowed.
    let space = Handle::new(|| unsafe { H5Aget_space(attribute.id()) })?;
    // SAFETY: the space is open.
    let class = unsafe { H5Sget_simple_extent_type(space.id()) };
    // SAFETY: as above.
    let count = unsafe { H5Sget_simple_extent_npoints(space.id()) };
    let scalar = match class {
        H5S_class_t::H5S_SCALAR => true,
        H5S_class_t::H5S_SIMPLE => false,
        _ => return Ok(Value::Empty),
    };
    let count = match u64::try_from(count) {
        Ok(0) => return Ok(Value::Empty),
        Ok(count) => count,
        Err(_) => return Ok(Value::Other("of no size".to_owned())),
    };
    // SAFETY: the attribute is open as long as it is borrowed.
    let values = Type(Handle::new(|| unsafe { H5Aget_type(attribute.id()) })?);
    let facts = values.facts()?;
    let bytes = count.saturating_mul(facts.bytes as u64);
    let many = |what: &str| Ok(Value::Other(format!("{count} {what}")));
    let class = match facts.class {
        Class::Compound => return many("compound"),
        Class::Array => return many("arrays"),
        Class::Sequence => return many("of variable length"),
        Class::Other(name) => return many(name),
        class => class,
    };
    if bytes > limits::HDF5_ATTRIBUTE_BYTES_MAX {
        return Ok(Value::Other(format!("{count} values, {bytes} bytes")));
    }
    if facts.variable {
        return match count {
            1 => variable(attribute, &space, &values),
            _ => many("texts"),
        };
    }
    let mut room = vec![0u8; bytes as usize];
    // SAFETY: the attribute and the type are open; the room is as long as all its values, and the type, the file's own,
    // is of fixed length.
    let status = unsafe { H5Aread(attribute.id(), values.0.id(), room.as_mut_ptr().cast()) };
    hdf5::h5check(status)?;
    // Text with NULs is stored as a list of bytes.
    if class == Class::Integer && facts.bytes == 1 && !facts.signed && !scalar {
        return Ok(match String::from_utf8(room) {
            Ok(text) if text.len() <= limits::HDF5_TEXT_BYTES_MAX => {
                Value::Text(text, Encoding::Utf8)
            }
            _ => Value::Other(format!("{count} bytes")),
        });
    }
    match class {
        _ if count > 1 && class == Class::String => many("texts"),
        _ if count > 1 => many("values"),
        Class::String => Ok(text(fixed(&room, facts.padding))),
        Class::Opaque => many("opaque"),
        _ => Ok(number(&facts, &room)),
    }
}

/// Text of variable length.
fn variable(attribute: &Handle, space: &Handle, values: &Type) -> hdf5::Result<Value> {
    let mut pointer: *mut c_char = std::ptr::null_mut();
    // SAFETY: the attribute and the type are open; it has one value (checked by the caller), which is a pointer.
    let status = unsafe {
        let to = (&raw mut pointer).cast();
        H5Aread(attribute.id(), values.0.id(), to)
    };
    hdf5::h5check(status)?;
    if pointer.is_null() {
        return Ok(Value::Empty);
    }
    // SAFETY: not null; the library ends text with a NUL, and frees it below.
    let said = text(unsafe { CStr::from_ptr(pointer) }.to_bytes());
    // SAFETY: the pointer is as the library made it, and is not used again.
    unsafe {
        let room = (&raw mut pointer).cast();
        H5Treclaim(values.0.id(), space.id(), H5P_DEFAULT, room)
    };
    Ok(said)
}

/// Text of fixed length without its padding.
fn fixed(bytes: &[u8], padding: Padding) -> &[u8] {
    let end = match padding {
        Padding::Ended => bytes.iter().position(|b| *b == 0),
        Padding::Nuls => bytes
            .iter()
            .rposition(|b| *b != 0)
            .map(|at| at + 1)
            .or(Some(0)),
        Padding::Spaces => bytes
            .iter()
            .rposition(|b| *b != b' ')
            .map(|at| at + 1)
            .or(Some(0)),
    };
    &bytes[..end.unwrap_or(bytes.len())]
}

fn text(bytes: &[u8]) -> Value {
    if bytes.len() > limits::HDF5_TEXT_BYTES_MAX {
        return Value::Other(format!("text of {} bytes", bytes.len()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned(), Encoding::Utf8),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            Value::Text(text, Encoding::Replaced)
        }
    }
}

/// A number of a native type.
fn number(facts: &Facts, bytes: &[u8]) -> Value {
    let mut wide = [0u8; 8];
    let odd = || Value::Other(format!("a number of {} bytes", facts.bytes));
    if bytes.len() > 8 || facts.order == Order::Other {
        return odd();
    }
    wide[..bytes.len()].copy_from_slice(bytes);
    if facts.order == Order::Big {
        wide[..bytes.len()].reverse();
    }
    let value = u64::from_le_bytes(wide);
    match (facts.class, bytes.len()) {
        (Class::Float, 2) => {
            let mut single = [0; 4];
            simd::f16_to_f32(&wide[..2], &mut single);
            Value::Float(f64::from(f32::from_le_bytes(single)))
        }
        (Class::Float, 4) => Value::Float(f64::from(f32::from_bits(value as u32))),
        (Class::Float, 8) => Value::Float(f64::from_bits(value)),
        (Class::Float, _) => odd(),
        (_, len) if facts.signed => {
            let unused = 64 - 8 * len as u32;
            Value::Whole(i128::from((value << unused) as i64 >> unused))
        }
        _ => Value::Whole(i128::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_fixed_length_ends_where_its_kind_says() {
        for (padding, bytes, expected) in [
            (Padding::Ended, &b"ab\0cd"[..], &b"ab"[..]),
            (Padding::Ended, b"abcd", b"abcd"),
            (Padding::Nuls, b"a\0b\0\0", b"a\0b"),
            (Padding::Nuls, b"\0\0", b""),
            (Padding::Spaces, b"a b  ", b"a b"),
            (Padding::Spaces, b"   ", b""),
        ] {
            assert_eq!(fixed(bytes, padding), expected);
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_replaced_and_long_text_is_not_shown() {
        let Value::Text(said, Encoding::Replaced) = text(b"caf\xe9") else {
            panic!("Latin-1 is not UTF-8");
        };
        assert_eq!(said, "caf\u{fffd}");
        let long = vec![b'x'; limits::HDF5_TEXT_BYTES_MAX + 1];
        assert!(matches!(text(&long), Value::Other(_)));
    }
}
