//! Where is a collection divided, so that several read it at a time? At keys, found by counting: rows need not be there.
//! Uneven pieces do no harm.

use std::collections::BTreeMap;

use super::ask::Asked;
use crate::batch::{Key, Limits, Position};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A range of keys, and how many rows are in it.
pub type Counted = (Position, Position, u64);

/// The ranges of what is loaded.
pub fn ranges(asked: &Asked<'_>, limits: Limits) -> Result<Vec<Counted>> {
    let all = asked.count(&Position::Start, &Position::End)?;
    check_last_key(asked)?;
    let (row_bytes, _) = asked.stretch.columns.row_bytes();
    let batch = (limits.batch_bytes / row_bytes.max(1)).clamp(1, limits.batch_rows);
    let pieces = (all / (batch * 4)).clamp(1, limits::MILVUS_RANGES);
    let mut bounds = vec![Position::Start];
    if pieces > 1 {
        let count = |key: &Key| asked.count(&Position::Start, &Position::After(key.clone()));
        let first = asked.key_at(&Position::Start, &Position::End, 0)?;
        let keys = match first {
            Some(Key::Text(_)) => texts(&count, all, pieces)?,
            Some(Key::Int(first)) => numbers(&count, first, all, pieces)?,
            None => Vec::new(),
        };
        bounds.extend(keys.into_iter().map(Position::After));
    }
    bounds.push(Position::End);
    bounds.dedup();
    let counted = bounds.windows(2).map(|ends| {
        let rows = asked.count(&ends[0], &ends[1])?;
        Ok((ends[0].clone(), ends[1].clone(), rows))
    });
    counted.collect()
}

/// The one range of what is not loaded; rows as the statistics have them.
pub fn unknown(asked: &Asked<'_>) -> Result<Vec<Counted>> {
    let look_up = &asked.stretch.look_up;
    let client = &asked.stretch.home.client;
    let rows = client.statistics(&look_up.collection, look_up.partition.as_deref())?;
    Ok(vec![(Position::Start, Position::End, rows)])
}

/// Servers until the end of 2025 count a row with the greatest key there is, and give it to no query.
fn check_last_key(asked: &Asked<'_>) -> Result<()> {
    if asked.is_text() {
        return Ok(());
    }
    let before = Position::After(Key::Int(i64::MAX - 1));
    let counted = asked.count(&before, &Position::End)?;
    if counted == 0 || asked.key_at(&before, &Position::End, 0)?.is_some() {
        return Ok(());
    }
    let key = &asked.stretch.look_up.key;
    let what = format!(
        "{}: {} with the key {}, which this server counts and gives to no query",
        asked.stretch.shown,
        match counted {
            1 => "there is a row".to_owned(),
            rows => format!("there are {rows} rows"),
        },
        i64::MAX
    );
    Err(Error::new(Kind::Unsupported, what).hint(format!(
        "bring it under another key, or leave it behind with `filter: \"{key} < {}\"`",
        i64::MAX
    )))
}

type Count<'c> = dyn Fn(&Key) -> Result<u64> + 'c;

/// Whether so many rows are near enough to what is wanted.
fn is_near(found: u64, wanted: u64, all: u64, pieces: u64) -> bool {
    found.abs_diff(wanted) <= all / pieces / 8
}

fn numbers(count: &Count<'_>, first: i64, all: u64, pieces: u64) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    // Behind the first key: twice as far until all are found, then halved.
    let (mut low, mut high) = (first, i64::MAX);
    let mut step = 1i64;
    while let Some(key) = first.checked_add(step) {
        if count(&Key::Int(key))? >= all {
            high = key;
            break;
        }
        let Some(more) = step.checked_mul(4) else {
            break;
        };
        step = more;
    }
    for piece in 1..pieces {
        let wanted = all * piece / pieces;
        let (mut from, mut to) = (low, high);
        while from < to {
            let middle = ((i128::from(from) + i128::from(to)) / 2) as i64;
            let found = count(&Key::Int(middle))?;
            if is_near(found, wanted, all, pieces) {
                (from, to) = (middle, middle);
            } else if found < wanted {
                from = middle.saturating_add(1);
            } else {
                to = middle;
            }
        }
        low = from;
        keys.push(Key::Int(from));
    }
    keys.dedup();
    Ok(keys)
}

/// Characters that texts are divided at: those that ASCII can print, in the order of their bytes.
const PRINTABLE: (u8, u8) = (0x20, 0x7e);

fn texts(count: &Count<'_>, all: u64, pieces: u64) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    // What all keys begin with is asked for once, not for each piece.
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    for piece in 1..pieces {
        let wanted = all * piece / pieces;
        let mut prefix = String::new();
        // Character by character: the last with which there are not more than wanted.
        'longer: while prefix.len() < limits::MILVUS_SPLIT_CHARS {
            let (mut from, mut to) = (PRINTABLE.0, PRINTABLE.1 + 1);
            while from < to {
                let middle = from + (to - from) / 2;
                let text = format!("{prefix}{}", char::from(middle));
                let found = match known.get(&text) {
                    Some(found) => *found,
                    None => {
                        let found = count(&Key::Text(text.as_str().into()))?;
                        *known.entry(text.clone()).or_insert(found)
                    }
                };
                if is_near(found, wanted, all, pieces) {
                    prefix = text;
                    break 'longer;
                }
                match found < wanted {
                    true => from = middle + 1,
                    false => to = middle,
                }
            }
            // The one before the first that is too many, and what follows on it.
            let last = from.saturating_sub(1).max(PRINTABLE.0);
            prefix.push(char::from(last));
        }
        keys.push(Key::Text(prefix.as_str().into()));
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(all: Vec<Key>, even: bool) {
        let (len, pieces) = (all.len() as u64, 8);
        let questions = std::cell::Cell::new(0);
        let count = |key: &Key| {
            questions.set(questions.get() + 1);
            Ok(all.partition_point(|k| k <= key) as u64)
        };
        let keys = match &all[0] {
            Key::Int(first) => numbers(&count, *first, len, pieces).unwrap(),
            Key::Text(_) => texts(&count, len, pieces).unwrap(),
        };
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        // However many rows there are: a divide costs some questions, not a pass over what lies before it.
        let most = 7 * if even { 70 } else { 700 };
        assert!(questions.get() < most, "{} questions", questions.get());
        let counts: Vec<u64> = keys.iter().map(|key| count(key).unwrap()).collect();
        if even {
            assert_eq!(keys.len(), 7, "{keys:?}");
            for (piece, found) in (1..8).zip(counts) {
                let wanted = len * piece / pieces;
                assert!(is_near(found, wanted, len, pieces), "{keys:?}: {found}");
            }
        }
    }

    fn sorted(mut keys: Vec<Key>) -> Vec<Key> {
        keys.sort_unstable();
        keys
    }

    #[test]
    fn keys_of_any_kind_are_divided_evenly() {
        check((0..1000).map(Key::Int).collect(), true);
        check((0..1000).map(|k| Key::Int(i64::MIN + k)).collect(), true);
        check(
            (0..1000).map(|k| Key::Int(i64::MAX - 1000 + k)).collect(),
            true,
        );
        let wide = |k: i64| Key::Int((k - 500).wrapping_mul(18_000_000_000_000_000));
        check(sorted((0..1000).map(wide).collect()), true);
        let text = |prefix: &str, k: i64| Key::Text(format!("{prefix}{k:05}").into());
        check((0..1000).map(|k| text("", k)).collect(), true);
        let long = "https://example.com/documents/";
        check((0..1000).map(|k| text(long, k)).collect(), true);
        // Characters beyond ASCII cannot be divided between, and nothing goes wrong.
        check((0..1000).map(|k| text("日本", k)).collect(), false);
        check(vec![Key::Int(5); 1000], false);
    }
}
