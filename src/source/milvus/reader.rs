//! How is a range of keys read? Page by page: first the end of a page is queried, then all rows up to it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_data::transform::MutableArrayData;

use super::ask::Asked;
use crate::batch::{Cut, Key, Limits, Part, Position};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::source::{Files, Reader};

/// How often to look again for a row that is counted but not returned.
const ATTEMPTS: u32 = 5;
/// How long to wait before that.
const WAIT: Duration = Duration::from_millis(200);

/// Reads a range, forward.
pub struct Pages<'s> {
    asked: Asked<'s>,
    at: Position,
    end: Position,
    limits: Limits,
    /// Rows of the next page.
    page: u64,
    /// The largest number to ask for: reduced when an answer was too long.
    page_max: u64,
    /// Whether the keys of the last page were consecutive numbers.
    dense: bool,
    /// Rows so far.
    row: u64,
    cuts: VecDeque<Cut>,
}

impl<'s> Pages<'s> {
    pub fn new(asked: Asked<'s>, from: Position, end: Position, limits: Limits) -> Pages<'s> {
        let (row_bytes, others) = asked.stretch.columns.row_bytes();
        let page_max = asked.source.spec.page.min(limits.batch_rows);
        let rows = limits.batch_bytes / row_bytes.max(1);
        // The length of texts is known from the first page on.
        let first = match others {
            true => rows.min(limits::MILVUS_FIRST_PAGE_ROWS),
            false => rows,
        };
        Pages {
            asked,
            at: from,
            end,
            limits,
            page: first.clamp(1, page_max.max(1)),
            page_max: page_max.max(1),
            dense: false,
            row: 0,
            cuts: VecDeque::new(),
        }
    }

    /// Reads the next page, if there is one.
    fn read(&mut self) -> Result<()> {
        let mut attempts = 0;
        while self.cuts.is_empty() && self.at < self.end {
            self.asked.source.pace.take(self.page);
            let (upto, counted) = match self.guess()? {
                Some(page) => page,
                None => self.page_end()?,
            };
            let rows = match self.whole(&upto, counted) {
                // Others may have written between counting and reading: fewer rows take less time.
                Ok(None) if self.page > 1 => {
                    self.page = (self.page / 4).max(1);
                    continue;
                }
                Ok(None) if attempts < ATTEMPTS => {
                    attempts += 1;
                    std::thread::sleep(WAIT);
                    continue;
                }
                Ok(None) => return Err(self.withheld(&upto)),
                Err(error) if error.kind() == Kind::TooBig && self.page > 1 => {
                    self.page = (self.page / 2).max(1);
                    self.page_max = self.page;
                    continue;
                }
                Err(error) if error.kind() == Kind::TooBig => {
                    let what = format!(
                        "one row {} is larger than the server can return: {}",
                        describe(&upto),
                        error.what()
                    );
                    return Err(Error::new(Kind::Refused, what));
                }
                Ok(Some(rows)) => rows,
                Err(error) => return Err(error),
            };
            attempts = 0;
            self.cut(rows, upto)?;
        }
        Ok(())
    }

    /// Where the next page ends, and the number of rows up to there.
    fn page_end(&self) -> Result<(Position, u64)> {
        let (at, end) = (&self.at, &self.end);
        let last = self.asked.key_at(at, end, self.page - 1)?;
        let upto = match last.map(Position::After) {
            Some(upto) if upto <= *at || upto > *end => {
                return Err(self.outside(&upto));
            }
            Some(upto) => upto,
            None => end.clone(),
        };
        let counted = self.asked.count(at, &upto)?;
        Ok((upto, counted))
    }

    /// The same if keys are consecutive, which a count shows: this saves the server a pass over the rest of the range.
    fn guess(&mut self) -> Result<Option<(Position, u64)>> {
        let (true, Position::After(Key::Int(at))) = (std::mem::take(&mut self.dense), &self.at)
        else {
            return Ok(None);
        };
        let upto = at.saturating_add_unsigned(self.page);
        let upto = Position::After(Key::Int(upto)).min(self.end.clone());
        let counted = self.asked.count(&self.at, &upto)?;
        // If other keys than these exist, the page ends elsewhere.
        let is_page = counted == self.page || counted < self.page && upto == self.end;
        Ok((is_page && upto > self.at).then_some((upto, counted)))
    }

    /// All rows up to there, in key order; `None` if more are counted than returned, and duplicate keys do not explain
    /// it.
    fn whole(&mut self, upto: &Position, before: u64) -> Result<Option<Vec<ArrayRef>>> {
        let key = self.asked.stretch.columns.key_number();
        let mut rows = self.asked.rows(&self.at, upto)?;
        let mut keys = keys(&rows[key])?;
        if !keys.is_sorted() {
            let mut order: Vec<usize> = (0..keys.len()).collect();
            order.sort_unstable_by(|a, b| keys[*a].cmp(&keys[*b]));
            rows = rows.iter().map(|column| taken(column, &order)).collect();
            keys.sort_unstable();
        }
        self.check(&keys, upto)?;
        self.dense = is_dense(&keys);
        let given = keys.len() as u64;
        // While others write, two counts may differ.
        let counted = match before > given {
            true => before.min(self.asked.count(&self.at, upto)?),
            false => before,
        };
        let copies = self.asked.check_whole(&self.at, upto, &keys, counted)?;
        let all = &self.asked.source.copies;
        all.fetch_add(copies.unwrap_or(0), Ordering::Relaxed);
        Ok(copies.map(|_| rows))
    }

    fn withheld(&self, upto: &Position) -> Error {
        let what = format!(
            "{}: the server counts a row {} that it does not return",
            self.asked.stretch.shown,
            describe(upto)
        );
        Error::new(Kind::Refused, what).hint(
            "a query node may still be loading it: the same command continues where this one stopped",
        )
    }

    /// Keys must be within the requested range, each once.
    fn check(&self, keys: &[Key], upto: &Position) -> Result<()> {
        for key in [keys.first(), keys.last()].into_iter().flatten() {
            let at = Position::After(key.clone());
            if at <= self.at || at > *upto {
                return Err(self.outside(&at));
            }
        }
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let (name, key) = (&self.asked.stretch.shown, &pair[0]);
                let what = format!("{name}: the server returned two rows with the key {key}");
                Err(Error::new(Kind::Refused, what))
            }
            None => Ok(()),
        }
    }

    fn outside(&self, at: &Position) -> Error {
        let what = format!(
            "{}: the server returned a row {} that was not requested",
            self.asked.stretch.shown,
            describe(at)
        );
        Error::new(Kind::Refused, what)
    }

    /// Cuts a page into batches.
    fn cut(&mut self, rows: Vec<ArrayRef>, upto: Position) -> Result<()> {
        let stretch = self.asked.stretch;
        let page = Part::new(&stretch.columns, rows, &stretch.place, self.row)?;
        let (len, bytes) = (page.len(), page.bytes());
        self.row += len as u64;
        self.at = upto.clone();
        let each = (bytes / (len as u64).max(1)).max(1);
        let fits = (self.limits.batch_bytes / each).clamp(1, self.limits.batch_rows);
        self.page = fits
            .min(self.page.saturating_mul(4))
            .clamp(1, self.page_max);
        let mut first = 0;
        while first < len {
            let mut count = (fits as usize).min(len - first);
            let mut part = page.slice(first, count);
            while count > 1 && part.bytes() > self.limits.batch_bytes {
                count /= 2;
                part = page.slice(first, count);
            }
            first += count;
            let next = match first == len {
                true => upto.clone(),
                false => Position::After(part.key(count - 1)),
            };
            self.cuts.push_back(Cut {
                parts: vec![part],
                next,
            });
        }
        Ok(())
    }
}

impl Reader for Pages<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        self.read()?;
        Ok(self.cuts.pop_front())
    }

    fn files(&self) -> Files {
        Files::new([])
    }
}

fn describe(at: &Position) -> String {
    match at {
        Position::After(key) => format!("with the key {key}"),
        _ => "with the last keys".to_owned(),
    }
}

fn keys(column: &ArrayRef) -> Result<Vec<Key>> {
    if let Some(ids) = column.as_primitive_opt::<Int64Type>() {
        return Ok(ids.values().iter().map(|id| Key::Int(*id)).collect());
    }
    match column.as_string_opt::<i32>() {
        Some(texts) => Ok(texts
            .iter()
            .map(|text| Key::Text(text.unwrap_or_default().into()))
            .collect()),
        None => Err(Error::new(
            Kind::Refused,
            "keys are neither integers nor text",
        )),
    }
}

/// Whether sorted keys are consecutive numbers.
fn is_dense(keys: &[Key]) -> bool {
    match (keys.first(), keys.last()) {
        (Some(Key::Int(first)), Some(Key::Int(last))) => {
            last.abs_diff(*first) == keys.len() as u64 - 1
        }
        _ => false,
    }
}

/// A column's rows in another order.
fn taken(column: &ArrayRef, order: &[usize]) -> ArrayRef {
    let data = column.to_data();
    let mut out = MutableArrayData::new(vec![&data], false, order.len());
    for row in order {
        out.try_extend(0, *row, *row + 1)
            .expect("reordering adds no rows");
    }
    make_array(out.freeze())
}
