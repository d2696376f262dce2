//! What does a message of the server say? Rows, columns, and errors with what to do about them. Pure.

use crate::error::{Error, Kind, Result};

/// A column of a statement's result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described {
    pub name: String,
    /// The OID of its type; for a domain, that of its base type.
    pub type_oid: u32,
    pub typmod: i32,
}

/// The values of a row.
pub fn row(body: &[u8]) -> Result<Vec<Option<String>>> {
    let mut bytes = Bytes(body);
    let count = bytes.number::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(count) {
        let len = i32::from_be_bytes(bytes.number()?);
        row.push(match len {
            -1 => None,
            len => {
                let len = usize::try_from(len).map_err(|_| short())?;
                Some(text(bytes.take(len)?))
            }
        });
    }
    Ok(row)
}

/// The columns of a description.
pub fn columns(body: &[u8]) -> Result<Vec<Described>> {
    let mut bytes = Bytes(body);
    let count = bytes.number::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(count) {
        let name = bytes.until_zero()?;
        bytes.take(6)?;
        let type_oid = u32::from_be_bytes(bytes.number()?);
        bytes.take(2)?;
        let typmod = i32::from_be_bytes(bytes.number()?);
        bytes.take(2)?;
        columns.push(Described {
            name: text(name),
            type_oid,
            typmod,
        });
    }
    Ok(columns)
}

/// The error that the server sent.
pub fn failed(body: &[u8]) -> Error {
    let mut bytes = Bytes(body);
    let (mut code, mut message, mut hint) = (String::new(), String::new(), None);
    while let Ok([field]) = bytes.number::<1>() {
        let Ok(value) = bytes.until_zero() else {
            break;
        };
        match field {
            b'C' => code = text(value),
            b'M' => message = text(value),
            b'H' => hint = Some(text(value)),
            _ => {}
        }
    }
    let error = Error::new(kind_of(&code), format!("{message} (SQLSTATE {code})"));
    match (hint, &*code) {
        (_, "42501") if message.contains("row-level security") => error.hint(
            "rows would be left out silently: read as the table's owner or as a role with BYPASSRLS",
        ),
        (Some(hint), _) => error.hint(hint),
        (None, _) => error,
    }
}

/// What to do about an error code.
fn kind_of(code: &str) -> Kind {
    match (code, code.get(..2).unwrap_or_default()) {
        // Missing tables, columns, schemas, databases and functions, and invalid statements.
        ("3D000" | "3F000", _) => Kind::Job,
        ("42501", _) => Kind::Refused,
        (_, "42") => Kind::Job,
        ("57P01" | "57P02" | "57P03" | "25P02" | "25P03" | "25P04" | "72000", _) => {
            Kind::Unreachable
        }
        ("57014", _) => Kind::Lost,
        (_, "08") => Kind::Lost,
        ("55P03", _) | (_, "40" | "53") => Kind::Busy,
        _ => Kind::Refused,
    }
}

/// Text from the server, which converts everything to UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that are consumed from the front.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn until_zero(&mut self) -> Result<&'b [u8]> {
        let len = self.0.iter().position(|byte| *byte == 0);
        let taken = self.take(len.ok_or_else(short)?)?;
        self.take(1)?;
        Ok(taken)
    }
}

fn short() -> Error {
    Error::new(
        Kind::Refused,
        "the server does not speak the protocol of Postgres: a message ends early",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_tell_what_happens_next() {
        let of = |code: &str| failed(format!("SERROR\0C{code}\0Mno\0Hdo this\0\0").as_bytes());
        for (code, kind) in [
            ("28P01", Kind::Refused),
            ("42P01", Kind::Job),
            ("3D000", Kind::Job),
            ("42501", Kind::Refused),
            ("57P01", Kind::Unreachable),
            ("53300", Kind::Busy),
            ("40001", Kind::Busy),
            ("08006", Kind::Lost),
            ("XX000", Kind::Refused),
        ] {
            assert_eq!(of(code).kind(), kind, "{code}");
        }
        assert_eq!(
            of("28P01").to_string(),
            "no (SQLSTATE 28P01)\n  hint: do this"
        );
        assert_eq!(failed(b"").kind(), Kind::Refused);
        assert_eq!(failed(b"C42").kind(), Kind::Refused);
    }

    #[test]
    fn rows_and_columns_are_read_and_short_ones_are_errors() {
        let rows = b"\0\x02\xff\xff\xff\xff\0\0\0\x02ab";
        assert_eq!(row(rows).unwrap(), [None, Some("ab".to_owned())]);
        let columns_of = b"\0\x01v\0\0\0\0\x01\0\x02\0\0\x40\x01\xff\xff\0\0\0\x03\0\0";
        let expected = Described {
            name: "v".to_owned(),
            type_oid: 0x4001,
            typmod: 3,
        };
        assert_eq!(columns(columns_of).unwrap(), [expected]);
        for len in 0..rows.len() {
            assert!(row(&rows[..len]).is_err(), "{len}");
        }
        for len in 0..columns_of.len() {
            assert!(columns(&columns_of[..len]).is_err(), "{len}");
        }
        assert!(row(b"\0\x01\x80\0\0\0").is_err());
    }
}
