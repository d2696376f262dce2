//! Where is a collection divided, so that several readers can work at once? At keys found by counting, which need not
//! exist. Uneven pieces do no harm.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::ask::Asked;
use crate::batch::{Key, Limits, Position};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A range of keys, and how many rows are in it.
pub type Counted = (Position, Position, u64);

/// The ranges of a loaded collection or partition.
pub fn ranges(asked: &Asked<'_>, limits: Limits) -> Result<Vec<Counted>> {
    let all = asked.count(&Position::Start, &Position::End)?;
    check_last_key(asked)?;
    let (row_bytes, _) = asked.stretch.columns.row_bytes();
    let batch = (limits.batch_bytes / row_bytes.max(1)).clamp(1, limits.batch_rows);
    let pieces = (all / (batch * 4)).clamp(1, limits::MILVUS_RANGES);
    let mut bounds = vec![(Position::Start, 0)];
    if pieces > 1 {
        let known = RefCell::new(BTreeMap::new());
        let count = |key: &Key| {
            if let Some(rows) = known.borrow().get(key) {
                return Ok(*rows);
            }
            let rows = asked.count(&Position::Start, &Position::After(key.clone()))?;
            known.borrow_mut().insert(key.clone(), rows);
            Ok(rows)
        };
        let first = asked.key_at(&Position::Start, &Position::End, 0)?;
        let keys = match first {
            Some(Key::Text(_)) => texts(&count, all, pieces)?,
            Some(Key::Int(first)) => numbers(&count, first, all, pieces)?,
            None => Vec::new(),
        };
        for key in keys {
            let rows = count(&key)?;
            bounds.push((Position::After(key), rows));
        }
    }
    bounds.push((Position::End, all));
    bounds.dedup_by(|next, last| next.0 == last.0);
    let counted = bounds.windows(2).map(|ends| {
        let (from, to) = (&ends[0], &ends[1]);
        // Others may delete between two counts.
        (from.0.clone(), to.0.clone(), to.1.saturating_sub(from.1))
    });
    Ok(counted.collect())
}

/// The single range of what is not loaded; the number of rows comes from the statistics.
pub fn unknown(asked: &Asked<'_>) -> Result<Vec<Counted>> {
    let look_up = &asked.stretch.look_up;
    let client = &asked.stretch.home.client;
    let rows = client.statistics(&look_up.collection, look_up.partition.as_deref())?;
    Ok(vec![(Position::Start, Position::End, rows)])
}

/// Servers until the end of 2025 count a row with the greatest possible key, but return it to no query.
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
        "{}: {} with the key {}, which this server counts but returns to no query",
        asked.stretch.shown,
        match counted {
            1 => "there is a row".to_owned(),
            rows => format!("there are {rows} rows"),
        },
        i64::MAX
    );
    Err(Error::new(Kind::Unsupported, what).hint(format!(
        "store it under another key, or exclude it with `filter: \"{key} < {}\"`",
        i64::MAX
    )))
}

/// The number of rows up to a key; each key is queried once, however often it is needed.
type Count<'c> = dyn Fn(&Key) -> Result<u64> + 'c;

/// Whether a number of rows is close enough to the wanted one.
fn is_near(found: u64, wanted: u64, all: u64, pieces: u64) -> bool {
    found.abs_diff(wanted) <= all / pieces / 8
}

fn numbers(count: &Count<'_>, first: i64, all: u64, pieces: u64) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    // Moves four times as far from the first key until all rows are found.
    let mut high = (i64::MAX, all);
    let mut step = 1i64;
    while let Some(key) = first.checked_add(step) {
        let rows = count(&Key::Int(key))?;
        if rows >= all {
            high = (key, rows);
            break;
        }
        let Some(more) = step.checked_mul(4) else {
            break;
        };
        step = more;
    }
    let mut low = (first, 0);
    for piece in 1..pieces {
        let wanted = all * piece / pieces;
        let (mut from, mut to) = (low, high);
        // Alternates between where evenly spaced keys would be and the middle: uneven keys cost at most twice a
        // bisection.
        let mut is_even = true;
        while from.0 < to.0 {
            let middle = match is_even {
                true => between(from, to, wanted),
                false => between((from.0, 0), (to.0, 2), 1),
            };
            is_even = !is_even;
            let found = count(&Key::Int(middle))?;
            if is_near(found, wanted, all, pieces) {
                (from, to) = ((middle, found), (middle, found));
            } else if found < wanted {
                from = (middle.saturating_add(1), found);
            } else {
                to = (middle, found);
            }
        }
        low = from;
        keys.push(Key::Int(from.0));
    }
    keys.dedup();
    Ok(keys)
}

/// The key with the wanted number of rows up to it, if keys were evenly spaced between two with known numbers; below
/// the second.
fn between((from, before): (i64, u64), (to, upto): (i64, u64), wanted: u64) -> i64 {
    let (span, rows) = (to.abs_diff(from), upto.saturating_sub(before).max(1));
    let part = wanted.saturating_sub(before).min(rows);
    let far = u128::from(span) * u128::from(part) / u128::from(rows);
    let far = (far as u64).min(span - 1);
    from.wrapping_add_unsigned(far)
}

/// Characters at which texts are divided: printable ASCII, in byte order.
const PRINTABLE: (u8, u8) = (0x20, 0x7e);

fn texts(count: &Count<'_>, all: u64, pieces: u64) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    for piece in 1..pieces {
        let wanted = all * piece / pieces;
        let mut prefix = String::new();
        // Character by character: the last one with no more rows than wanted.
        'longer: while prefix.len() < limits::MILVUS_SPLIT_CHARS {
            let (mut from, mut to) = (PRINTABLE.0, PRINTABLE.1 + 1);
            while from < to {
                let middle = from + (to - from) / 2;
                let text = format!("{prefix}{}", char::from(middle));
                let found = count(&Key::Text(text.as_str().into()))?;
                if is_near(found, wanted, all, pieces) {
                    prefix = text;
                    break 'longer;
                }
                match found < wanted {
                    true => from = middle + 1,
                    false => to = middle,
                }
            }
            // The character before the first one that is too many, and what follows it.
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
        let asked = RefCell::new(std::collections::BTreeSet::new());
        let count = |key: &Key| {
            asked.borrow_mut().insert(key.clone());
            Ok(all.partition_point(|k| k <= key) as u64)
        };
        let keys = match &all[0] {
            Key::Int(first) => numbers(&count, *first, len, pieces).unwrap(),
            Key::Text(_) => texts(&count, len, pieces).unwrap(),
        };
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        // However many rows there are: a division costs some queries, not a pass over what comes before it.
        let most = 7 * if even { 70 } else { 700 };
        let questions = asked.borrow().len();
        assert!(questions < most, "{questions} questions");
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
        let squares = |k: i64| Key::Int(k * k * k * k * k);
        check((0..1000).map(squares).collect(), true);
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
        // Texts cannot be divided between characters beyond ASCII, but nothing breaks.
        check((0..1000).map(|k| text("日本", k)).collect(), false);
        check(vec![Key::Int(5); 1000], false);
    }
}
