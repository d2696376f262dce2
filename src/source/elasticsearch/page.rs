//! What is in the answer to a search? Documents, read in one pass over the bytes.

use crate::source::documents::{Read, Rows, Scan};

/// The end of a page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// How many documents the server returned.
    pub hits: u64,
    /// The number of each row that was kept, in order.
    pub numbers: Vec<i64>,
    /// The number of the last document that it returned.
    pub last: Option<i64>,
    /// Documents that were skipped because they lack their vector.
    pub without_vector: u64,
}

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is incomplete for now.
    Partial(String),
    /// It is not a valid answer of such a server.
    Odd(String),
    /// A document cannot be migrated.
    Document { id: String, what: String },
}

/// What becomes of a document without its vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// It is a row.
    Keep,
    /// It is skipped.
    Skip,
    /// It is an error.
    Refuse,
}

/// The newest id of a state, in an answer: a key of the outermost object, before or after the documents.
pub fn id(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let mut id = None;
    // Servers put it first, so the rest need not be read.
    let found = Scan::new(text).members(|key, _, scan| {
        if key == "pit_id" {
            id = Some(scan.string()?.into_owned());
            return Err(String::new());
        }
        scan.value().map(|_| ())
    });
    found.err().filter(String::is_empty).and(id)
}

/// Reads all documents of an answer.
pub fn read(answer: &[u8], rows: &mut Rows<'_>, lack: Lack) -> Result<Page, Wrong> {
    let Ok(text) = std::str::from_utf8(answer) else {
        return Err(Wrong::Odd("the answer is not UTF-8".to_owned()));
    };
    let mut page = Page::default();
    let mut wrong = None;
    let mut scan = Scan::new(text);
    let whole = scan.members(|key, _, scan| match key {
        "timed_out" => match scan.value()? {
            "false" => Ok(()),
            _ => {
                wrong = Some(Wrong::Partial("the search timed out".to_owned()));
                Err(String::new())
            }
        },
        "_shards" => scan.members(|key, _, scan| {
            let value = scan.value()?;
            if key == "failed" && value != "0" {
                wrong = Some(Wrong::Partial(format!("{value} shards failed")));
                return Err(String::new());
            }
            Ok(())
        }),
        "hits" => scan.members(|key, _, scan| match key {
            "hits" => scan.elements(|scan| {
                hit(scan, rows, lack, &mut page).map_err(|at| {
                    wrong = Some(at);
                    String::new()
                })
            }),
            _ => scan.value().map(|_| ()),
        }),
        _ => scan.value().map(|_| ()),
    });
    let ended = whole.and_then(|()| scan.end());
    match (wrong, ended) {
        (Some(wrong), _) => Err(wrong),
        (None, Err(what)) => Err(Wrong::Odd(format!("the answer {what}"))),
        (None, Ok(())) => Ok(page),
    }
}

fn hit(scan: &mut Scan<'_>, rows: &mut Rows<'_>, lack: Lack, page: &mut Page) -> Result<(), Wrong> {
    let (mut id, mut number) = (None, None);
    let mut document: Option<Read<Option<&str>>> = None;
    let mut given = None;
    let read = scan.members(|key, _, scan| {
        match key {
            "_id" => id = Some(scan.string()?.into_owned()),
            "_source" => {
                let read = rows.read(scan);
                let failed = read.is_err();
                document = Some(read);
                // The rest of it cannot be skipped.
                if failed {
                    return Err(String::new());
                }
            }
            "fields" => given = Some(scan.value()?),
            "sort" => scan.elements(|scan| {
                let value = scan.whole()?;
                number.get_or_insert(value);
                Ok(())
            })?,
            _ => {
                scan.value()?;
            }
        }
        Ok(())
    });
    let named = |id: Option<String>, what: String| Wrong::Document {
        id: id.unwrap_or_else(|| "?".to_owned()),
        what,
    };
    let missing = match document {
        Some(Err(what)) => return Err(named(id, what)),
        Some(Ok(missing)) => Some(missing),
        None => None,
    };
    read.map_err(|what| Wrong::Odd(format!("the answer {what}")))?;
    let (Some(id), Some(number)) = (id, number) else {
        return Err(Wrong::Odd(
            "the answer has a document without `_id` or `sort`".to_owned(),
        ));
    };
    let Some(missing) = missing else {
        return Err(named(Some(id), "has no `_source`".to_owned()));
    };
    if let Err(what) = rows.give(given) {
        return Err(named(Some(id), what));
    }
    if page.last.is_some_and(|last| last >= number) {
        let what = format!(
            "the answer has document {number} after {}",
            page.last.unwrap_or(0)
        );
        return Err(Wrong::Odd(what));
    }
    page.hits += 1;
    page.last = Some(number);
    match (missing, lack) {
        (None, _) | (Some(_), Lack::Keep) => {
            rows.keep(&id);
            page.numbers.push(number);
        }
        (Some(_), Lack::Skip) => {
            rows.drop_last();
            page.without_vector += 1;
        }
        (Some(vector), Lack::Refuse) => {
            return Err(named(Some(id), format!("has no vector `{vector}`")));
        }
    }
    Ok(())
}
