//! Binlogs of Milvus 2.x, storage V1: what surrounds the Parquet file in them?
//! A magic number, an event that describes the log, then events with a payload each. Reads no payload.

use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::input::{Cursor, View};
use crate::limits;

/// What every binlog begins with.
pub const MAGIC: [u8; 4] = [0xbc, 0xfa, 0xff, 0x00];

/// Where the ids of the collection, partition, segment and field begin.
pub const DESCRIPTOR: u64 = 21;

/// Bytes of the header of an event: timestamp, type, length, position of the next.
const HEADER_BYTES: u64 = 17;
/// Bytes of the descriptor behind its header, and of the list of header lengths that follows.
const DESCRIPTOR_BYTES: u64 = 52 + 8;
/// Bytes of the first event without the text of its extras.
const FIRST_EVENT_BYTES: u64 = HEADER_BYTES + DESCRIPTOR_BYTES + 4;
/// Bytes before a payload: the event's header, and the first and the last timestamp in it.
const BEFORE_PAYLOAD: u64 = HEADER_BYTES + 16;

/// What an event holds, by Milvus' number for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Values of one field.
    Insert,
    /// Keys that were deleted.
    Delete,
}

/// A binlog whose frame was read.
#[derive(Clone, Debug)]
pub struct Binlog {
    /// The collection it belongs to.
    pub collection: i64,
    /// The partition it belongs to; -1: all.
    pub partition: i64,
    /// The segment it belongs to.
    pub segment: i64,
    /// The field whose values it holds; -1 in logs of deletions.
    pub field: i64,
    /// Whether keys and times of deletions are columns of their own, not JSON.
    pub has_columns: bool,
    /// The payloads: a Parquet file each.
    pub payloads: Vec<View>,
}

/// Whether a file begins as a binlog does.
pub fn is_binlog(view: &View) -> bool {
    let mut head = [0; 4];
    view.read(0, &mut head).is_ok() && head == MAGIC
}

/// Reads the frame of a binlog whose events are all of this kind.
pub fn read(view: &View, event: Event) -> Result<Binlog> {
    let mut cursor = Cursor::new(view.clone());
    if cursor.array::<4>("magic number")? != MAGIC {
        return Err(view.corrupt(0, "is not a binlog: it does not begin with bc fa ff 00"));
    }
    cursor.u64("timestamp")?;
    let kind = cursor.u8("event type")?;
    let length = cursor.i32("event length")?;
    cursor.i32("next position")?;
    let mut binlog = Binlog {
        collection: cursor.i64("collection")?,
        partition: cursor.i64("partition")?,
        segment: cursor.i64("segment")?,
        field: cursor.i64("field")?,
        has_columns: false,
        payloads: Vec::new(),
    };
    cursor.u64("first timestamp")?;
    cursor.u64("last timestamp")?;
    cursor.i32("payload type")?;
    cursor.array::<8>("header lengths")?;
    let at = cursor.at();
    let extras = cursor.i32("length of extras")?;
    let size = u64::try_from(extras).unwrap_or(u64::MAX);
    // The first releases had a longer header, which shifts everything after it.
    let whole = size.saturating_add(FIRST_EVENT_BYTES);
    if kind != 0 || u64::try_from(length) != Ok(whole) {
        let what =
            format!("a descriptor of type {kind} with {length} bytes is not one of storage V1");
        return Err(view.corrupt(4, what));
    }
    if size > limits::BINLOG_EXTRAS_BYTES_MAX {
        return Err(view.corrupt(at, format!("extras of {size} bytes")));
    }
    let extras = cursor.payload("extras", size, 1)?.bytes()?;
    let extras: Value = match extras.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&extras)
            .map_err(|e| view.corrupt(at.saturating_add(4), format!("extras are not JSON: {e}")))?,
    };
    if extras.get("edek").is_some() {
        let error = Error::new(Kind::Unsupported, "is encrypted (edek)")
            .at(view.place(at.saturating_add(4)));
        return Err(error.hint("only Milvus with its keys can read it"));
    }
    binlog.has_columns = extras.get("version").and_then(Value::as_str) == Some("MULTI_FIELD");
    while cursor.remaining() > 0 {
        binlog.payloads.push(payload(&mut cursor, event)?);
    }
    if binlog.payloads.is_empty() {
        return Err(view.corrupt(cursor.at(), "ends before its first event: it is cut short"));
    }
    Ok(binlog)
}

fn payload(cursor: &mut Cursor, event: Event) -> Result<View> {
    let start = cursor.at();
    cursor.u64("event timestamp")?;
    let kind = cursor.u8("event type")?;
    let length = cursor.i32("event length")?;
    // Newer writers record a wrong position of the next event; the length is right.
    cursor.i32("next position")?;
    cursor.u64("first timestamp")?;
    cursor.u64("last timestamp")?;
    let expected = match event {
        Event::Insert => 1,
        Event::Delete => 2,
    };
    if kind != expected {
        let what = format!("an event of type {kind}, expected {expected}");
        return Err(cursor.corrupt(start, what));
    }
    let length = u64::try_from(length).ok();
    match length.and_then(|length| length.checked_sub(BEFORE_PAYLOAD)) {
        Some(length) => cursor.payload("payload", length, 1),
        None => Err(cursor.corrupt(start, "an event is shorter than its header")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(extras: &str, kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0; 9]);
        let length = FIRST_EVENT_BYTES + extras.len() as u64;
        bytes.extend((length as i32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([1i64, 2, 3, 100].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([0; 20]);
        bytes.extend([34, 10, 10, 10, 10, 10, 10, 10]);
        bytes.extend((extras.len() as i32).to_le_bytes());
        bytes.extend(extras.as_bytes());
        bytes.extend([0; 8]);
        bytes.push(kind);
        bytes.extend((BEFORE_PAYLOAD as i32 + payload.len() as i32).to_le_bytes());
        bytes.extend([0; 20]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_frame_is_read_and_a_cut_one_is_refused() {
        let bytes = log(r#"{"version":"MULTI_FIELD"}"#, 1, b"payload");
        let read = |bytes: &[u8]| read(&View::from_bytes("/x", bytes.to_vec()), Event::Insert);
        let binlog = read(&bytes).unwrap();
        assert_eq!((binlog.collection, binlog.field), (1, 100));
        assert_eq!((binlog.segment, binlog.has_columns), (3, true));
        assert_eq!(binlog.payloads[0].bytes().unwrap(), &b"payload"[..]);
        for len in 0..bytes.len() {
            let error = read(&bytes[..len]).unwrap_err();
            assert!(error.to_string().starts_with("/x at byte "), "{error}");
        }
        let said = read(&log("", 2, b"")).unwrap_err().to_string();
        assert!(said.contains("type 2, expected 1"), "{said}");
        let said = read(&log(r#"{"edek":"x"}"#, 1, b"")).unwrap_err();
        assert_eq!(said.kind(), Kind::Unsupported);
    }
}
