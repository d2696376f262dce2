//! The records of the log, and the state that they add up to.
//! Bytes in, state out: opens nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::{Key, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::sink::{Action, Count, Decision, Strength};

use super::intervals::Intervals;

/// What the records state.
#[derive(Default)]
pub struct Log {
    pub header: Option<Header>,
    pub targets: BTreeMap<u32, TargetLog>,
    pub shards: BTreeMap<u32, ShardLog>,
    /// The shards, if the source would return others when asked again.
    pub given: Vec<Shard>,
    pub finished: Option<Finished>,
    pub left_out: Vec<(u32, String, u64, Value)>,
}

#[derive(Default, Clone)]
pub struct TargetLog {
    pub decision: Option<Decision>,
    pub prepared: bool,
    /// The destination's own id of where it goes; 0: unknown.
    pub place: u64,
    pub done: bool,
    pub totals: Totals,
    pub again: Vec<Again>,
}

/// A batch that was sent more than once before it got a receipt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Again {
    /// Its shard.
    pub shard: u32,
    /// Its index there.
    pub index: u32,
    /// Where in the shard it starts.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// Its rows.
    pub rows: u64,
}

#[derive(Default)]
pub struct ShardLog {
    pub target: u32,
    /// All batches below this index have receipts, and the next one starts here.
    pub below: u32,
    pub from: Option<Position>,
    /// Receipts at or above `below`, each with the position after it.
    pub beyond: BTreeMap<u32, Position>,
    pub window: u32,
    /// Batches below the window of a run that stopped cleanly that may have been sent and have no receipt.
    pub doubt: BTreeSet<u32>,
    pub closed: Option<u32>,
    /// The same, if batches are identified by the keys they hold.
    pub intervals: Intervals,
}

/// What was delivered to a target by this run and the ones it resumes.
#[derive(Default, Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Totals {
    /// Rows with a receipt.
    pub delivered: u64,
    /// Of these, rows whose batch went as an upsert.
    pub upserted: u64,
    /// Rows with a receipt whose batch was sent more than once: an earlier attempt may have arrived, too.
    pub sent_again: u64,
    /// Rows left out (`non_finite: skip`).
    pub left_out: u64,
    /// Bytes of vectors and ids delivered.
    pub bytes: u64,
    /// Wrapping sum of the rows' digests, in reports as hexadecimal text: JSON's numbers are too narrow.
    #[serde(serialize_with = "hexadecimal")]
    pub digest: u64,
    /// The largest relative error of a component that was converted to another type; `None`: none was. It comes
    /// from the batches' receipts, so it covers all rows delivered by this run and the ones it resumes; rows whose receipt
    /// was lost are converted, and counted, again.
    #[serde(rename = "largest_relative_error")]
    pub relative_error: Option<f32>,
}

/// When a run finished, and with how many rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// Rows delivered, all targets together.
    pub rows: u64,
    /// Seconds since the epoch.
    pub at: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    pub version: u32,
    pub run: String,
    pub created: u64,
    pub fingerprint: BTreeMap<String, String>,
    /// Stamps of the source's files; the first version kept them in the fingerprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stamps: BTreeMap<String, String>,
    /// The number of shares that the job is carried in; 0: not in shares.
    #[serde(default, skip_serializing_if = "is_none")]
    pub shares: u32,
    /// The share that the log belongs to; 0: it is the common one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub share: u32,
}

/// A position: a row's number, `"start"`, `"end"`, `{"after": 7}` or `{"after": "seven"}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum At {
    Row(u64),
    Edge(Edge),
    Key { after: KeyAt },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    Start,
    End,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyAt {
    Int(i64),
    Text(String),
}

impl From<&Position> for At {
    fn from(position: &Position) -> At {
        let key = |key: &Key| match key {
            Key::Int(id) => KeyAt::Int(*id),
            Key::Text(text) => KeyAt::Text(text.to_string()),
        };
        match position {
            Position::Start => At::Edge(Edge::Start),
            Position::Row(row) => At::Row(*row),
            Position::After(after) => At::Key { after: key(after) },
            Position::End => At::Edge(Edge::End),
        }
    }
}

impl From<At> for Position {
    fn from(at: At) -> Position {
        match at {
            At::Row(row) => Position::Row(row),
            At::Edge(Edge::Start) => Position::Start,
            At::Edge(Edge::End) => Position::End,
            At::Key { after } => Position::After(match after {
                KeyAt::Int(id) => Key::Int(id),
                KeyAt::Text(text) => Key::Text(text.into()),
            }),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Header(Header),
    /// A shard of a source that would be cut differently when asked again.
    Shard {
        number: u32,
        target: u32,
        part: u32,
        name: String,
        rows: u64,
        first_row: u64,
        start: At,
        end: At,
    },
    Target {
        number: u32,
        action: String,
        rows_before: u64,
        ours: bool,
        why: String,
        /// Rows that are removed, and what that figure rests on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removes: Option<(u64, String)>,
        /// The destination's own id of what is replaced.
        #[serde(default, skip_serializing_if = "is_zero")]
        replaces: u64,
    },
    /// The destination's own id of where a target goes.
    Place {
        target: u32,
        number: u64,
    },
    Prepared(u32),
    Window {
        shard: u32,
        target: u32,
        upto: u32,
    },
    Received {
        shard: u32,
        target: u32,
        index: u32,
        next: At,
        rows: u64,
        bytes: u64,
        digest: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relative_error: Option<f32>,
        #[serde(default, skip_serializing_if = "is_false")]
        upserted: bool,
        /// Where the batch starts, if it was sent more than once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<At>,
        /// Where the batch starts, if batches are identified by their keys.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<At>,
        /// Rows left out of it.
        #[serde(default, skip_serializing_if = "is_zero")]
        left_out: u64,
        /// Some of them: file, row, id.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rows_left_out: Vec<(String, u64, Value)>,
    },
    /// Of the batches of the windows so far, only these may have been sent without a receipt.
    Doubt {
        shard: u32,
        target: u32,
        batches: Vec<u32>,
    },
    Closed {
        shard: u32,
        target: u32,
        batches: u32,
    },
    /// A batch of a changing source: what it holds, recorded before it may be sent.
    Cut {
        shard: u32,
        target: u32,
        index: u32,
        from: At,
        next: At,
    },
    /// An interval of such a source without rows.
    Empty {
        shard: u32,
        target: u32,
        from: At,
        next: At,
    },
    Reset(u32),
    Done(u32),
    Finished(Finished),
}

impl From<&Shard> for Record {
    fn from(shard: &Shard) -> Record {
        Record::Shard {
            number: shard.number,
            target: shard.target,
            part: shard.part,
            name: shard.name.clone(),
            rows: shard.rows,
            first_row: shard.first_row,
            start: (&shard.start).into(),
            end: (&shard.end).into(),
        }
    }
}

fn hexadecimal<S: serde::Serializer>(digest: &u64, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_str(&format!("{digest:016x}"))
}
fn is_false(b: &bool) -> bool {
    !b
}
fn is_zero(n: &u64) -> bool {
    *n == 0
}
fn is_none(n: &u32) -> bool {
    *n == 0
}

impl Log {
    /// Rows with a receipt, all targets together.
    pub fn delivered(&self) -> u64 {
        self.targets.values().map(|t| t.totals.delivered).sum()
    }

    /// The number of shares that the job is carried in, if this is their common log.
    pub fn shares(&self) -> Option<u32> {
        let header = self.header.as_ref()?;
        (header.shares > 0 && header.share == 0).then_some(header.shares)
    }

    /// Whether something may have been sent. Shares note that in their own logs.
    pub fn may_have_sent(&self) -> bool {
        let prepared = self.targets.values().any(|target| target.prepared);
        !self.shards.is_empty() || prepared && self.shares().is_some()
    }

    /// Applies one record.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Header(header) => self.header = Some(header),
            Record::Target {
                number,
                action,
                rows_before,
                ours,
                why,
                removes,
                replaces,
            } => {
                let all = [
                    Action::Skip,
                    Action::Create,
                    Action::Append,
                    Action::Replace,
                ];
                let action = all.into_iter().find(|a| a.name() == action);
                self.targets.entry(number).or_default().decision = action.map(|action| Decision {
                    action,
                    rows_before,
                    ours,
                    why,
                    removes: removes.map(|(rows, strength)| Count {
                        rows,
                        strength: Strength::named(&strength),
                    }),
                    replaces,
                });
            }
            Record::Place { target, number } => {
                self.targets.entry(target).or_default().place = number;
            }
            Record::Prepared(target) => self.targets.entry(target).or_default().prepared = true,
            Record::Window {
                shard,
                target,
                upto,
            } => self.shard(shard, target).window = upto,
            Record::Received {
                shard,
                target,
                index,
                next,
                rows,
                bytes,
                digest,
                relative_error,
                upserted,
                again,
                from,
                left_out,
                rows_left_out,
            } => {
                let (known, next) = (self.shard(shard, target), Position::from(next));
                let is_new = match from {
                    Some(from) => known.intervals.received(index, from.into(), next.clone()),
                    None => known.receive(index, next.clone()),
                };
                if !is_new {
                    return;
                }
                // Logs of the first version do not say which batches were sent more than once; no others were upserted.
                let first = self.header.as_ref().is_some_and(|h| h.version < 2);
                let sent_again = again.is_some() || first && upserted;
                let log = self.targets.entry(target).or_default();
                log.again.extend(again.map(|from| Again {
                    shard,
                    index,
                    from: from.into(),
                    to: next,
                    rows,
                }));
                let totals = &mut log.totals;
                totals.delivered += rows;
                totals.upserted += if upserted { rows } else { 0 };
                totals.sent_again += if sent_again { rows } else { 0 };
                totals.left_out += left_out;
                totals.bytes += bytes;
                totals.digest = totals.digest.wrapping_add(digest);
                if let Some(error) = relative_error {
                    let largest = totals.relative_error.unwrap_or(0.0).max(error);
                    totals.relative_error = Some(largest);
                }
                let room = limits::LISTED_MAX.saturating_sub(self.left_out.len());
                let listed = rows_left_out.into_iter().take(room);
                self.left_out
                    .extend(listed.map(|(file, row, id)| (target, file, row, id)));
            }
            Record::Doubt {
                shard,
                target,
                batches,
            } => {
                let log = self.shard(shard, target);
                log.window = 0;
                log.doubt.extend(batches);
                log.intervals.only(&log.doubt);
            }
            Record::Shard {
                number,
                target,
                part,
                name,
                rows,
                first_row,
                start,
                end,
            } => self.given.push(Shard {
                number,
                target,
                part,
                name,
                rows,
                first_row,
                start: start.into(),
                end: end.into(),
            }),
            Record::Cut {
                shard,
                target,
                index,
                from,
                next,
            } => {
                let log = self.shard(shard, target);
                log.intervals.cut(index, from.into(), next.into());
            }
            Record::Empty {
                shard,
                target,
                from,
                next,
            } => {
                let log = self.shard(shard, target);
                log.intervals.cover(from.into(), next.into());
            }
            Record::Closed {
                shard,
                target,
                batches,
            } => {
                self.shard(shard, target).closed = Some(batches);
            }
            Record::Reset(target) => {
                self.shards.retain(|_, shard| shard.target != target);
                self.left_out.retain(|(number, ..)| *number != target);
                let log = self.targets.entry(target).or_default();
                log.totals = Totals::default();
                log.again.clear();
            }
            Record::Done(target) => self.targets.entry(target).or_default().done = true,
            Record::Finished(finished) => self.finished = Some(finished),
        }
    }

    fn shard(&mut self, shard: u32, target: u32) -> &mut ShardLog {
        let log = self.shards.entry(shard).or_default();
        log.target = target;
        log
    }
}

impl ShardLog {
    /// Returns false if the batch already had a receipt.
    fn receive(&mut self, index: u32, next: Position) -> bool {
        if index < self.below || self.beyond.insert(index, next).is_some() {
            return false;
        }
        while let Some(next) = self.beyond.remove(&self.below) {
            self.below += 1;
            self.from = Some(next);
        }
        true
    }
}

/// A record as a line.
pub fn encode(record: &Record) -> String {
    let json = serde_json::to_string(record).expect("records are plain data");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

fn decode(line: &str) -> Option<Record> {
    let (crc, json) = line.split_once(' ')?;
    let expected = format!("{:08x}", crc32fast::hash(json.as_bytes()));
    (crc == expected).then(|| serde_json::from_str(json).ok())?
}

/// Refuses a file that does not begin like our logs: it may be anything, and must not be truncated as if it were torn.
pub fn check_beginning(path: &Path, text: &[u8]) -> Result<()> {
    const JSON: &[u8] = b" {\"header\":{";
    let (sum, json) = text.split_at(text.len().min(8));
    let begins = sum.iter().all(u8::is_ascii_hexdigit)
        && json.iter().zip(JSON).all(|(one, other)| one == other);
    if begins {
        return Ok(());
    }
    Err(Error::path(
        Kind::Job,
        path,
        "is not a checkpoint: it has no header",
    ))
}

/// The text of a log. Opens regular files only: a pipe would block for ever.
pub fn text(path: &Path) -> std::io::Result<Vec<u8>> {
    match std::fs::metadata(path)?.is_file() {
        true => std::fs::read(path),
        false => Err(std::io::Error::other("it is not a regular file")),
    }
}

/// The records of a share's log about its shards: what it delivered.
pub fn deliveries(path: &Path, text: &[u8]) -> Result<Vec<Record>> {
    let (mut records, about) = (Vec::new(), |record: &Record| {
        matches!(
            record,
            Record::Window { .. }
                | Record::Received { .. }
                | Record::Doubt { .. }
                | Record::Closed { .. }
                | Record::Cut { .. }
                | Record::Empty { .. }
        )
    });
    each(path, text, |record| {
        if about(&record) {
            records.push(record);
        }
    })?;
    Ok(records)
}

/// The state according to the whole records of a log's text, and their length in bytes: a torn last line is ignored.
pub fn read(path: &Path, text: &[u8]) -> Result<(Log, u64)> {
    let mut log = Log::default();
    let whole = each(path, text, |record| log.apply(record))?;
    Ok((log, whole))
}

fn each(path: &Path, text: &[u8], mut with: impl FnMut(Record)) -> Result<u64> {
    check_beginning(path, text)?;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let end = rest.iter().position(|b| *b == b'\n');
        let record = end.and_then(|end| decode(std::str::from_utf8(&rest[..end]).ok()?));
        let Some(record) = record else {
            // Only the end may be torn, and then it has no end of line. A whole line that does not match its
            // checksum may have been synced: what it recorded may matter, so it is not dropped, not even the last one.
            if end.is_some() {
                return Err(Error::path(
                    Kind::Job,
                    path,
                    format!("is damaged: the line at byte {at} does not match its checksum"),
                )
                .hint("move the file away to start over; rows already delivered will be delivered again"));
            }
            break;
        };
        with(record);
        at += end.expect("a record has an end") + 1;
    }
    Ok(at as u64)
}
