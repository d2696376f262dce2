//! What is in a stream of Arrow record batches? The positions of its batches, and their rows as columns.
//!
//! A program that died while writing leaves a stream without an end, with an incomplete last batch: everything before
//! it is valid. If more batches follow an incomplete one, the stream is damaged.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::{ArrowError, SchemaRef};

use super::convert;
use super::guard::guarded;
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::limits;
use crate::schema::Columns;

/// What each message begins with.
const MARK: [u8; 4] = [0xff; 4];

/// A stream whose messages have been scanned.
pub struct Stream {
    /// Its bytes.
    pub view: View,
    /// Rows in all its batches.
    pub rows: u64,
    /// The position of an incomplete batch.
    pub cut: Option<u64>,
    /// The message with the schema, and its content; `None`: the stream was cut before its end.
    schema: Option<(View, SchemaRef)>,
    batches: Vec<Batch>,
}

/// A batch: its message, and which rows it holds.
struct Batch {
    message: View,
    first: u64,
    rows: u64,
}

/// What is at a position of a stream.
enum Found {
    Schema(View),
    Batch(View, u64),
    End,
    /// An incomplete message.
    Part,
}

impl Stream {
    /// Scans a stream.
    pub fn open(view: View) -> Result<Stream> {
        let mut stream = Stream {
            rows: 0,
            cut: None,
            schema: None,
            batches: Vec::new(),
            view,
        };
        let view = stream.view.clone();
        let mut at = 0;
        while at < view.len() {
            match found(&view, at)? {
                Found::Schema(message) if at == 0 => {
                    at += message.len();
                    let schema = schema(&message)?;
                    stream.schema = Some((message, schema));
                }
                Found::Schema(_) => return Err(view.corrupt(at, "the stream has a second schema")),
                Found::Batch(..) if at == 0 => {
                    return Err(view.corrupt(at, "the stream does not begin with its schema"));
                }
                Found::Batch(message, 0) => at += message.len(),
                Found::Batch(message, rows) => {
                    at += message.len();
                    stream.batches.push(Batch {
                        message,
                        first: stream.rows,
                        rows,
                    });
                    stream.rows += rows;
                }
                Found::End => {
                    at += 8;
                    if at < view.len() {
                        return Err(view.corrupt(at, "bytes follow the end of the stream"));
                    }
                }
                Found::Part => {
                    check_nothing_follows(&view, at)?;
                    stream.cut = Some(at);
                    break;
                }
            }
        }
        Ok(stream)
    }

    /// How many batches there are.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// The number of the batch that has this row; the number of batches if none has it.
    pub fn batch_of(&self, row: u64) -> usize {
        self.batches
            .partition_point(|batch| batch.first + batch.rows <= row)
    }

    /// The first row of a batch.
    pub fn first_row(&self, batch: usize) -> u64 {
        self.batches[batch].first
    }

    /// Returns an error if the stream cannot provide these columns.
    pub fn fit(&self, columns: &Columns) -> Result<()> {
        let Some((_, schema)) = &self.schema else {
            return Ok(());
        };
        for column in columns.all() {
            let refuse = |what| Err(Error::path(Kind::Unsupported, self.view.path(), what));
            match schema.field_with_name(&column.name) {
                Err(_) => return refuse(format!("has no column `{}`", column.name)),
                Ok(field) if !convert::can(field.data_type(), None, column.kind) => {
                    return refuse(format!(
                        "column `{}` is {}, which cannot become {}",
                        column.name,
                        field.data_type(),
                        column.kind
                    ));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// The values of a batch's rows in these columns.
    pub fn values(&self, batch: usize, columns: &Columns) -> Result<Vec<ArrayRef>> {
        let Batch {
            message,
            first,
            rows,
        } = &self.batches[batch];
        let wrong = |what: String| message.corrupt(0, format!("a batch cannot be read: {what}"));
        let (head, _) = self.schema.as_ref().expect("batches follow a schema");
        let (mut head, mut body) = (Buffer::from(head.bytes()?), Buffer::from(message.bytes()?));
        let decoded = guarded(|| -> std::result::Result<Option<RecordBatch>, ArrowError> {
            let mut decoder = StreamDecoder::new();
            decoder.decode(&mut head)?;
            decoder.decode(&mut body)
        });
        let decoded = decoded.map_err(wrong)?.map_err(|e| wrong(e.to_string()))?;
        let decoded = decoded
            .filter(|batch| batch.num_rows() as u64 == *rows)
            .ok_or_else(|| wrong("it does not have as many rows as it declares".to_owned()))?;
        let all = columns.all().iter().map(|column| {
            let values = decoded.column_by_name(&column.name);
            let values = values.ok_or_else(|| wrong(format!("no column `{}`", column.name)))?;
            let converted =
                guarded(|| convert::convert(values, None, column.kind, column.nullable));
            converted.map_err(wrong)?.map_err(|(at, what)| {
                let row = first + at as u64;
                let what = format!("column `{}` row {row}: {what}", column.name);
                message.corrupt(0, what)
            })
        });
        all.collect()
    }
}

/// Reads what is at a position.
fn found(view: &View, at: u64) -> Result<Found> {
    let left = view.len() - at;
    let mut start = [0; 8];
    let known = left.min(8) as usize;
    view.read(at, &mut start[..known])?;
    if start[..known.min(4)] != MARK[..known.min(4)] {
        return Err(view.corrupt(at, "there is no Arrow message here"));
    }
    if left < 8 {
        return Ok(Found::Part);
    }
    let len = u64::from(u32::from_le_bytes([start[4], start[5], start[6], start[7]]));
    if len == 0 {
        return Ok(Found::End);
    }
    if len > limits::ARROW_MESSAGE_BYTES_MAX {
        return Err(view.corrupt(at + 4, format!("a message of {len} bytes is too large")));
    }
    if left - 8 < len {
        return Ok(Found::Part);
    }
    let bytes = view.cut(at + 8, len)?.bytes()?;
    let wrong = |what: String| view.corrupt(at + 8, format!("a message cannot be read: {what}"));
    let message = root_as_message(&bytes).map_err(|e| wrong(e.to_string()))?;
    let body = u64::try_from(message.bodyLength());
    let body = body.map_err(|_| {
        wrong(format!(
            "its body has a length of {} bytes",
            message.bodyLength()
        ))
    })?;
    let whole = len + 8;
    if left - whole < body {
        return Ok(Found::Part);
    }
    let cut = view.cut(at, whole + body)?;
    match message.header_type() {
        MessageHeader::Schema => Ok(Found::Schema(cut)),
        MessageHeader::RecordBatch => {
            let batch = message.header_as_record_batch();
            let batch = batch.ok_or_else(|| wrong("it is not a record batch".to_owned()))?;
            if batch.compression().is_some() {
                let what = "is compressed, which logs of Milvus Lite are not";
                return Err(Error::new(Kind::Unsupported, what).at(view.place(at)));
            }
            // Each row contains a number of eight bytes.
            let rows = u64::try_from(batch.length()).ok();
            let rows = rows.filter(|rows| rows.saturating_mul(8) <= body);
            let rows = rows.ok_or_else(|| {
                wrong(format!(
                    "it declares {} rows in {body} bytes",
                    batch.length()
                ))
            })?;
            Ok(Found::Batch(cut, rows))
        }
        other => Err(wrong(format!("it is of type {}", other.0))),
    }
}

/// Returns an error if other messages follow an incomplete batch: then its declared length is wrong, and the stream was
/// not cut.
fn check_nothing_follows(view: &View, at: u64) -> Result<()> {
    let rest = view.cut(at, view.len() - at)?.bytes()?;
    for (number, start) in rest.as_chunks::<8>().0.iter().enumerate().skip(1) {
        if start[..4] != MARK {
            continue;
        }
        let further = at + 8 * number as u64;
        if matches!(
            found(view, further),
            Ok(Found::Batch(..) | Found::Schema(_))
        ) {
            let what = format!("a batch is incomplete, but another one follows at byte {further}");
            return Err(view.corrupt(at, what));
        }
    }
    Ok(())
}

fn schema(message: &View) -> Result<SchemaRef> {
    let mut bytes = Buffer::from(message.bytes()?);
    // A message is decoded once the next one begins.
    let mut end = Buffer::from([MARK, [0; 4]].concat());
    let wrong = |what: String| message.corrupt(0, format!("the schema cannot be read: {what}"));
    let schema = guarded(|| {
        let mut decoder = StreamDecoder::new();
        decoder.decode(&mut bytes)?;
        decoder.decode(&mut end)?;
        Ok(decoder.schema())
    });
    let schema = schema.map_err(wrong)?;
    let schema = schema.map_err(|e: ArrowError| wrong(e.to_string()))?;
    schema.ok_or_else(|| wrong("the message holds none".to_owned()))
}
