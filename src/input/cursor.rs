//! Checked reading of little-endian fields, by name.
//! Never allocates by a number it read, and never reads past its view.

use super::View;
use crate::error::{Error, Kind, Result};

/// Reads little-endian fields by name; the name goes into the error.
#[derive(Clone)]
pub struct Cursor {
    view: View,
    at: u64,
}

macro_rules! field {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        pub fn $name(&mut self, field: &'static str) -> Result<$name> {
            Ok($name::from_le_bytes(self.array::<$bytes>(field)?))
        }
    };
}

impl Cursor {
    /// Starts at the first byte of a view.
    pub fn new(view: View) -> Cursor {
        Cursor { view, at: 0 }
    }

    field!(
        /// An unsigned byte.
        u8, 1);
    field!(
        /// A 16-bit count.
        u16, 2);
    field!(
        /// A 32-bit count.
        u32, 4);
    field!(
        /// A 64-bit count.
        u64, 8);
    field!(
        /// A signed 32-bit number.
        i32, 4);
    field!(
        /// A signed 64-bit number.
        i64, 8);
    field!(
        /// A single-precision number.
        f32, 4);
    field!(
        /// A double-precision number.
        f64, 8);

    /// A byte that must be 0 or 1.
    pub fn bool(&mut self, field: &'static str) -> Result<bool> {
        let at = self.at;
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self
                .view
                .corrupt(at, format!("{field} = {other}, expected 0 or 1"))),
        }
    }

    /// `N` bytes as they are.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let mut room = [0; N];
        let bytes = self.payload(field, N as u64, 1)?;
        bytes.read(0, &mut room)?;
        Ok(room)
    }

    /// A 64-bit count of items of `unit` bytes, refused here if the file cannot hold them: nothing downstream allocates
    /// or
    /// loops by an unchecked number.
    pub fn count(&mut self, field: &'static str, unit: u64) -> Result<u64> {
        let before = self.at;
        let count = self.u64(field)?;
        self.check(before, field, count, unit)?;
        Ok(count)
    }

    /// Skips `count` items of `unit` bytes each and returns them as a view.
    pub fn payload(&mut self, field: &'static str, count: u64, unit: u64) -> Result<View> {
        let len = self.check(self.at, field, count, unit)?;
        let view = self.view.cut(self.at, len)?;
        self.at += len;
        Ok(view)
    }

    /// A 64-bit count, then that many items of `unit` bytes, as a view.
    pub fn vector(&mut self, field: &'static str, unit: u64) -> Result<View> {
        let count = self.count(field, unit)?;
        self.payload(field, count, unit)
    }

    /// The current position: bytes from the start of the view.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that remain.
    pub fn remaining(&self) -> u64 {
        self.view.len() - self.at
    }

    /// The view that is being read.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// An error about the field that was just read or is about to be.
    pub fn corrupt(&self, at: u64, what: impl Into<String>) -> Error {
        self.view.corrupt(at, what)
    }

    /// Refuses leftovers.
    pub fn finish(self) -> Result<()> {
        if self.remaining() == 0 {
            return Ok(());
        }
        Err(self.view.corrupt(
            self.at,
            format!("{} bytes follow the end of the data", self.remaining()),
        ))
    }

    fn check(&self, at: u64, field: &'static str, count: u64, unit: u64) -> Result<u64> {
        let len = count.checked_mul(unit);
        match len {
            Some(len) if len <= self.remaining() => Ok(len),
            _ => {
                let needs = match len {
                    Some(len) => format!("{len} bytes"),
                    None => "more bytes than any file has".to_owned(),
                };
                let what = if count == 1 || unit == 1 && count <= 8 {
                    format!("{field} needs {needs}, {} remain", self.remaining())
                } else {
                    format!(
                        "{field} = {count} of {unit} bytes each needs {needs}, {} remain",
                        self.remaining()
                    )
                };
                Err(Error::new(Kind::Corrupt, what)
                    .at(self.view.place(at))
                    .hint("the file is cut short or damaged here: compare its length and checksum with the original's"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_the_file_cannot_hold_is_refused_where_it_stands() {
        let mut bytes = vec![1];
        bytes.extend(9_000_000_000u64.to_le_bytes());
        bytes.extend([0; 12]);
        let mut cursor = Cursor::new(View::from_bytes("/products.index", bytes));
        cursor.bool("trained").unwrap();
        let said = cursor.vector("codes", 4).unwrap_err().to_string();
        assert_eq!(
            said.lines().next().unwrap(),
            "/products.index at byte 1: codes = 9000000000 of 4 bytes each needs 36000000000 bytes, 12 remain"
        );
    }

    #[test]
    fn leftovers_are_refused() {
        let mut cursor = Cursor::new(View::from_bytes("/x", vec![1, 0, 0, 0, 9]));
        assert_eq!(cursor.i32("d").unwrap(), 1);
        assert_eq!(
            cursor.finish().unwrap_err().to_string(),
            "/x at byte 4: 1 bytes follow the end of the data"
        );
    }
}
