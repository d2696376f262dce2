//! How do the bytes of a COPY become batches? Row by row in key order, cut by the size of the values.

use arrow_array::Array;

use super::session::Session;
use super::values::Maker;
use super::{Found, Pgvector};
use crate::batch::{Cut, Key, Limits, Part, Position};
use crate::error::{Error, Kind, Place, Result};
use crate::limits;
use crate::source::{Files, Reader};

/// The signature of a COPY, before the flags and the length of the header extension.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Reads a range of keys, forward.
pub struct Rows<'s> {
    source: &'s Pgvector,
    found: &'s Found,
    copy: Copy<'s>,
    at: Position,
    end: Position,
    limits: Limits,
    makers: Vec<Maker>,
    /// Rows so far.
    row: u64,
    /// How many rows the snapshot has in the range, if that is known and must hold.
    counted: Option<u64>,
}

impl<'s> Rows<'s> {
    /// A reader of the keys after a position.
    pub fn open(
        source: &'s Pgvector,
        from: Position,
        end: Position,
        limits: Limits,
    ) -> Result<Rows<'s>> {
        let found = source.found();
        if let (Some(why), Position::After(_)) = (&found.steadiness.doubt, &from) {
            let what = format!(
                "{} may return other rows each time it is executed, because of {why}: what is left of it is unknown",
                found.relation.full_name
            );
            let hint = "`--again` reads everything again; `run: {existing: upsert}` replaces what has arrived";
            return Err(Error::new(Kind::Changed, what).hint(hint));
        }
        let counted = found.ranges.iter();
        let mut counted = counted.filter(|range| (&range.0, &range.1) == (&from, &end));
        let counted = counted.next().map(|(.., rows)| *rows);
        let columns: Vec<&str> = found.fields.all.iter().map(|f| f.sql.as_str()).collect();
        let condition = match found.fields.key.within(&from, &end)?.as_str() {
            "" => String::new(),
            condition => format!(" WHERE {condition}"),
        };
        let sql = format!(
            "COPY (SELECT {} FROM {}{condition} ORDER BY {}) TO STDOUT (FORMAT binary)",
            columns.join(", "),
            found.relation.from,
            found.fields.key.order
        );
        let mut session = source.session()?;
        session.connection().copy(&sql)?;
        Ok(Rows {
            source,
            found,
            copy: Copy::new(session, found.fields.all.len()),
            at: from,
            end,
            limits,
            makers: found
                .fields
                .all
                .iter()
                .map(|field| Maker::new(field.kind))
                .collect(),
            row: 0,
            counted: counted.filter(|_| found.steadiness.is_counted),
        })
    }

    fn wrong(&self, kind: Kind, what: String) -> Error {
        let place = Place::Remote {
            address: format!(
                "{}/{}",
                self.source.address(),
                self.found.relation.full_name
            ),
            call: "copy",
        };
        let after = match &self.at {
            Position::After(key) => format!("the rows after the key {key}"),
            _ => "the first rows".to_owned(),
        };
        Error::new(kind, format!("{after}: {what}")).at(place)
    }

    /// Takes rows until a batch is full.
    fn take(&mut self) -> Result<()> {
        let mut bytes = 0;
        while (self.makers[0].len() as u64) < self.limits.batch_rows.max(1) {
            if !self.copy.next_row()? {
                return Ok(());
            }
            let fields = &self.found.fields.all;
            let mut weight = 0;
            for (field, value) in fields.iter().zip(&self.copy.values) {
                let len = value.as_ref().map_or(0, |value| value.len());
                weight += field.codec.weight(len, field.kind);
            }
            if self.makers[0].len() > 0 && bytes + weight > self.limits.batch_bytes {
                return Ok(());
            }
            bytes += weight;
            for (number, field) in fields.iter().enumerate() {
                let value = self.copy.value(number);
                let put = match (value, field.nullable) {
                    (None, false) => Err("has no value now, but every row had one".to_owned()),
                    (value, _) => self.makers[number].put(&field.codec, value),
                };
                if let Err(what) = put {
                    let what = format!("row {}: `{}` {what}", self.makers[0].len(), field.name);
                    return Err(self.wrong(Kind::Corrupt, what));
                }
            }
            self.copy.consume();
        }
        Ok(())
    }
}

impl Reader for Rows<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        self.take()?;
        if self.makers[0].len() == 0 {
            self.count()?;
            return Ok(None);
        }
        let mut values = Vec::with_capacity(self.makers.len());
        for number in 0..self.makers.len() {
            let made = self.makers[number].finish();
            values.push(made.map_err(|what| {
                let name = &self.found.fields.all[number].name;
                self.wrong(Kind::Corrupt, format!("`{name}` {what}"))
            })?);
        }
        let part = Part::new(&self.found.columns, values, &self.found.place, self.row)?;
        self.check(&part)?;
        self.row += part.len() as u64;
        let is_last = !self.copy.next_row()?;
        if is_last {
            self.count()?;
        }
        self.at = match is_last {
            true => self.end.clone(),
            false => Position::After(part.key(part.len() - 1)),
        };
        Ok(Some(Cut {
            parts: vec![part],
            next: self.at.clone(),
        }))
    }

    fn files(&self) -> Files {
        Files::new([])
    }
}

impl Rows<'_> {
    /// In one snapshot, a range must have the rows that were counted there.
    fn count(&self) -> Result<()> {
        match self.counted {
            Some(counted) if counted != self.row && self.source.sessions.lost() == 0 => {
                let what = format!(
                    "{} of {counted} rows came: it returns other rows each time it is executed",
                    self.row
                );
                let error = self.wrong(Kind::Changed, what);
                Err(error.hint("put its rows into a table or a materialized view, and read that"))
            }
            _ => Ok(()),
        }
    }

    /// Keys must ascend within the range: resuming relies on it.
    fn check(&self, part: &Part) -> Result<()> {
        let outside = |key: Key| {
            let what = format!("the server sent the row {key} out of key order");
            Err(self.wrong(Kind::Refused, what))
        };
        let texts = part.text_keys();
        let odd = match &texts {
            None => (part.ids().windows(2)).position(|pair| pair[0] >= pair[1]),
            Some(texts) => {
                (1..texts.len()).position(|row| texts.value(row - 1) >= texts.value(row))
            }
        };
        if let Some(row) = odd {
            return outside(part.key(row + 1));
        }
        let (first, last) = (part.key(0), part.key(part.len() - 1));
        if Position::After(first.clone()) <= self.at {
            return outside(first);
        }
        match Position::After(last.clone()) > self.end {
            true => outside(last),
            false => Ok(()),
        }
    }
}

/// The rows of a COPY. A row is normally read in place; one that arrives in pieces is joined.
struct Copy<'s> {
    session: Option<Session<'s>>,
    columns: usize,
    /// The bytes of a message that have not been consumed yet.
    message: std::ops::Range<usize>,
    /// Pieces, if a row or the header arrived in several.
    pieces: Vec<u8>,
    is_pieces: bool,
    has_begun: bool,
    has_ended: bool,
    /// Where the values of the next row are, and where it ends; unknown until looked for.
    values: Vec<Option<std::ops::Range<usize>>>,
    end: Option<usize>,
}

impl<'s> Copy<'s> {
    fn new(session: Session<'s>, columns: usize) -> Copy<'s> {
        Copy {
            session: Some(session),
            columns,
            message: 0..0,
            pieces: Vec::new(),
            is_pieces: false,
            has_begun: false,
            has_ended: false,
            values: Vec::new(),
            end: None,
        }
    }

    fn bytes(&self) -> &[u8] {
        match (&self.session, self.is_pieces) {
            (_, true) => &self.pieces,
            (Some(session), _) => session.bytes(self.message.clone()),
            (None, _) => &[],
        }
    }

    /// The value of the next row in a column.
    fn value(&self, column: usize) -> Option<&[u8]> {
        self.values[column].clone().map(|at| &self.bytes()[at])
    }

    /// Looks for the next row; `false` at the end.
    fn next_row(&mut self) -> Result<bool> {
        while self.end.is_none() && !self.has_ended {
            if !self.has_begun {
                match head(self.bytes())? {
                    Some(len) => {
                        self.has_begun = true;
                        self.skip(len);
                    }
                    None => self.more()?,
                }
                continue;
            }
            let mut values = std::mem::take(&mut self.values);
            let found = row(self.bytes(), self.columns, &mut values);
            self.values = values;
            match found? {
                Look::Row(len) => self.end = Some(len),
                Look::Part => self.more()?,
                Look::Trailer => self.close()?,
            }
        }
        Ok(!self.has_ended)
    }

    fn consume(&mut self) {
        if let Some(len) = self.end.take() {
            self.skip(len);
        }
    }

    fn skip(&mut self, len: usize) {
        match self.is_pieces {
            true => {
                self.pieces.drain(..len);
                self.is_pieces = !self.pieces.is_empty();
            }
            false => self.message.start += len,
        }
    }

    /// Takes the next message, and appends it to what is left.
    fn more(&mut self) -> Result<()> {
        let session = self.session.as_mut().expect("it is open until its end");
        if !self.is_pieces && !self.message.is_empty() {
            self.pieces.clear();
            let left = session.bytes(self.message.clone());
            self.pieces.extend_from_slice(left);
            self.is_pieces = true;
        }
        let Some(message) = session.connection().copied()? else {
            return Err(Error::new(Kind::Lost, "the COPY ended within a row"));
        };
        match self.is_pieces {
            false => self.message = message,
            true => {
                let bytes = session.bytes(message);
                if self.pieces.len() + bytes.len() > limits::POSTGRES_MESSAGE_BYTES_MAX {
                    return Err(Error::new(
                        Kind::Refused,
                        "the server sends a row that does not end",
                    ));
                }
                self.pieces.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// Reads to the end of the answer, so that the session can be used again.
    fn close(&mut self) -> Result<()> {
        self.has_ended = true;
        if let Some(mut session) = self.session.take() {
            while session.connection().copied()?.is_some() {}
        }
        Ok(())
    }
}

enum Look {
    /// A row of so many bytes.
    Row(usize),
    /// Less than a row.
    Part,
    /// The end.
    Trailer,
}

/// Bytes of the header; `None` if it is incomplete.
///
/// ```text
/// | signature 11 | flags 4 | extension bytes 4 | extension … |
/// ```
fn head(bytes: &[u8]) -> Result<Option<usize>> {
    let same = bytes.len().min(SIGNATURE.len());
    if bytes[..same] != SIGNATURE[..same] {
        return Err(Error::new(
            Kind::Refused,
            "what the server sends is not a binary COPY",
        ));
    }
    let Some(rest) = bytes
        .get(SIGNATURE.len()..)
        .and_then(|rest| rest.first_chunk::<8>())
    else {
        return Ok(None);
    };
    let more = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
    let len = SIGNATURE.len() + 8 + more;
    Ok((bytes.len() >= len).then_some(len))
}

/// Where the values of a row are.
///
/// ```text
/// | columns 2 | (bytes 4, value) … |      NULL: bytes −1; the end: columns −1
/// ```
fn row(
    bytes: &[u8],
    columns: usize,
    values: &mut Vec<Option<std::ops::Range<usize>>>,
) -> Result<Look> {
    let Some(count) = bytes.first_chunk::<2>() else {
        return Ok(Look::Part);
    };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Look::Trailer);
    }
    let odd = |what: String| Err(Error::new(Kind::Refused, what));
    if usize::try_from(count) != Ok(columns) {
        return odd(format!(
            "the server sent a row of {count} values for {columns} columns"
        ));
    }
    values.clear();
    let mut at = 2;
    for _ in 0..columns {
        let Some(len) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(Look::Part);
        };
        at += 4;
        match i32::from_be_bytes(*len) {
            -1 => values.push(None),
            len => {
                let Ok(len) = usize::try_from(len) else {
                    return odd(format!("the server sent a value of {len} bytes"));
                };
                if bytes.len() - at < len {
                    return Ok(Look::Part);
                }
                values.push(Some(at..at + len));
                at += len;
            }
        }
    }
    Ok(Look::Row(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_whole_or_not_at_all() {
        let whole = b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff";
        let mut values = Vec::new();
        for len in 0..whole.len() {
            let found = row(&whole[..len], 2, &mut values).unwrap();
            assert!(matches!(found, Look::Part), "{len}");
        }
        let found = row(whole, 2, &mut values).unwrap();
        assert!(matches!(found, Look::Row(12)));
        assert_eq!(values, [Some(6..8), None]);
        assert!(matches!(
            row(b"\xff\xff", 2, &mut values).unwrap(),
            Look::Trailer
        ));
        assert!(row(whole, 3, &mut values).is_err());
        assert!(row(b"\0\x01\xff\xff\xff\xfe", 1, &mut values).is_err());
    }

    #[test]
    fn a_head_is_known_by_its_signature() {
        let whole = [&SIGNATURE[..], &[0, 0, 0, 0, 0, 0, 0, 2, 9, 9]].concat();
        for len in 0..whole.len() {
            assert_eq!(head(&whole[..len]).unwrap(), None, "{len}");
        }
        assert_eq!(head(&whole).unwrap(), Some(21));
        assert!(head(b"PGCOPX").is_err());
    }
}
