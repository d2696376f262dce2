//! How many rows are there, what do they reveal, and at which keys is the relation divided so that
//! several readers can work at a time?

use super::describe::{Fields, KeyField, Open};
use super::relation::{Relation, cell, literal};
use super::wire::{Connection, Row};
use crate::batch::{Key, Position};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A range of keys, and how many rows are in it.
pub type Counted = (Position, Position, u64);

impl KeyField {
    /// The condition for keys after one position, up to and including another; empty for all.
    pub fn within(&self, from: &Position, to: &Position) -> Result<String> {
        let bound = |position: &Position, sign: &str| match (position, self.is_text) {
            (Position::After(Key::Int(key)), false) => {
                Ok(Some(format!("{} {sign} '{key}'{}", self.order, self.cast)))
            }
            (Position::After(Key::Text(key)), true) => Ok(Some(format!(
                "{} {sign} {}{}",
                self.order,
                literal(key),
                self.cast
            ))),
            (Position::Start, _) if sign == ">" => Ok(None),
            (Position::End, _) if sign == "<=" => Ok(None),
            (Position::End, _) => Ok(Some("false".to_owned())),
            _ => Err(Error::new(
                Kind::Changed,
                format!("the keys of `{}` now have another type", self.name),
            )),
        };
        let both = [bound(from, ">")?, bound(to, "<=")?];
        let both: Vec<String> = both.into_iter().flatten().collect();
        Ok(both.join(" AND "))
    }
}

/// Counts rows, fills in what only they can tell, and divides them into `most` ranges at most.
pub fn count(
    connection: &mut Connection,
    relation: &Relation,
    fields: &mut Fields,
    most: u64,
) -> Result<Vec<Counted>> {
    let from = &relation.from;
    let order = &fields.key.order;
    let bounds = bounds(connection, relation, fields, most)?;
    let mut ranges: Vec<(Position, Position)> = Vec::new();
    let mut at = Position::Start;
    for bound in bounds.into_iter().map(Position::After) {
        ranges.push((at, bound.clone()));
        at = bound;
    }
    ranges.push((at, Position::End));
    // One pass for everything to be counted.
    let mut asked = vec![format!("count(*) FILTER (WHERE {order} IS NULL)")];
    for (from, to) in &ranges {
        asked.push(match fields.key.within(from, to)?.as_str() {
            "" => "count(*)".to_owned(),
            condition => format!("count(*) FILTER (WHERE {condition})"),
        });
    }
    let first = asked.len();
    for field in &fields.all[1..] {
        let column = &field.sql;
        match &field.open {
            Some(Open::Dimension(counted)) => {
                asked.push(format!("min({counted}), max({counted})"));
            }
            Some(Open::Lists) => asked.push(format!(
                "count(*) FILTER (WHERE pg_catalog.array_ndims({column}) > 1 OR \
                 pg_catalog.array_position({column}, NULL) IS NOT NULL), 0"
            )),
            None => asked.push("0, 0".to_owned()),
        }
        asked.push(match field.kind.is_vector() && field.nullable {
            true => format!("count(*) FILTER (WHERE {column} IS NULL)"),
            false => "0".to_owned(),
        });
    }
    let rows = connection.query(&format!("SELECT {} FROM {from}", asked.join(", ")))?;
    let row = rows.first().ok_or_else(|| refused("it sends no counts"))?;
    let keyless = number(row, 0)?;
    if keyless > 0 {
        let what = format!(
            "{keyless} rows have no `{}`, which identifies rows",
            fields.key.name
        );
        let error = Error::new(Kind::Corrupt, what);
        return Err(error.hint("name another column in `key:`; a query can leave these rows out"));
    }
    tell(fields, row, first)?;
    unique(connection, relation, fields)?;
    let counts = (1..first).map(|at| number(row, at));
    let counts = counts.collect::<Result<Vec<u64>>>()?;
    let all = ranges.into_iter().zip(counts);
    Ok(all.map(|((from, to), rows)| (from, to, rows)).collect())
}

/// Fills in the fields from the rows; there are three numbers for each field, after those of the ranges.
fn tell(fields: &mut Fields, row: &Row, first: usize) -> Result<()> {
    for (number_of, field) in fields.all[1..].iter_mut().enumerate() {
        let at = first + number_of * 3;
        match &field.open {
            Some(Open::Dimension(_)) => {
                let (least, most) = (cell(row, at), cell(row, at + 1));
                let name = &field.name;
                if least != most {
                    let what = format!("the vectors of `{name}` have {least} to {most} dimensions");
                    return Err(Error::new(Kind::Unsupported, what).hint(
                        "a query can select those of one length: `where vector_dims(v) = 768`",
                    ));
                }
                let Ok(dimension) = least.parse() else {
                    let what = format!("`{name}` declares no dimension, and no row has a vector");
                    return Err(Error::new(Kind::Unsupported, what)
                        .hint("a query can declare it: `select id, v::vector(768) as v from …`"));
                };
                *field = field.of_dimension(dimension);
            }
            Some(Open::Lists) if number(row, at)? > 0 => {
                fields.notes.push(format!(
                    "`{}`: some arrays have several dimensions or contain NULL: all become JSON",
                    field.name
                ));
                *field = field.of_json();
            }
            _ => field.open = None,
        }
        if field.kind.is_vector() && field.nullable {
            let without = number(row, at + 2)?;
            field.nullable = without > 0;
            if without > 0 {
                fields.notes.push(format!(
                    "{without} rows have no `{0}`; `query: \"select … where {0} is not null\"` leaves them out",
                    field.name
                ));
            }
        }
    }
    Ok(())
}

/// Refuses duplicate keys: a batch that ends between two rows with one key would lose the second.
fn unique(connection: &mut Connection, relation: &Relation, fields: &Fields) -> Result<()> {
    if fields.key.is_proven {
        return Ok(());
    }
    let repeated = connection.query(&format!(
        "SELECT {0}::text, count(*) FROM {1} GROUP BY {0} HAVING count(*) > 1 ORDER BY 2 DESC LIMIT {2}",
        fields.key.order,
        relation.from,
        limits::POSTGRES_REPEATS_SHOWN,
    ))?;
    if repeated.is_empty() {
        return Ok(());
    }
    let some: Vec<String> = repeated
        .iter()
        .map(|row| format!("{} ({} times)", cell(row, 0), cell(row, 1)))
        .collect();
    let what = format!("`{}` is not unique: {}", fields.key.name, some.join(", "));
    Err(Error::new(Kind::Corrupt, what).hint(
        "name a column without duplicates in `key:`; a query can build one, or keep one row of each: `select distinct on \
         (id) …`",
    ))
}

/// The keys between ranges of roughly equal numbers of rows, found in a sample.
fn bounds(
    connection: &mut Connection,
    relation: &Relation,
    fields: &Fields,
    most: u64,
) -> Result<Vec<Key>> {
    if most == 1 {
        return Ok(Vec::new());
    }
    let sample = relation
        .sampled_rows
        .filter(|rows| *rows > limits::POSTGRES_SAMPLE_ROWS);
    let (rows, sample) = match sample {
        Some(rows) => {
            let percent = 100.0 * limits::POSTGRES_SAMPLE_ROWS / rows;
            let sample = format!(" TABLESAMPLE SYSTEM ({percent})");
            (rows as u64, sample)
        }
        None => {
            let rows = connection.query(&format!("SELECT count(*) FROM {}", relation.from))?;
            let rows = rows.first().map_or(Ok(0), |row| number(row, 0))?;
            (rows, String::new())
        }
    };
    let pieces = (rows / limits::POSTGRES_RANGE_ROWS_MIN).clamp(1, most);
    if pieces == 1 {
        return Ok(Vec::new());
    }
    let shares: Vec<String> = (1..pieces)
        .map(|piece| format!("{}", piece as f64 / pieces as f64))
        .collect();
    let rows = connection.query(&format!(
        "SELECT q.k::text FROM (SELECT unnest(percentile_disc(ARRAY[{}]::float8[]) \
         WITHIN GROUP (ORDER BY {})) AS k FROM {}{sample}) AS q WHERE q.k IS NOT NULL",
        shares.join(", "),
        fields.key.order,
        relation.from
    ))?;
    let mut keys = Vec::new();
    for row in &rows {
        let text = cell(row, 0);
        keys.push(match fields.key.is_text {
            true => Key::Text(text.into()),
            false => Key::Int(text.parse().map_err(|_| refused("a key is not a number"))?),
        });
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

fn number(row: &Row, at: usize) -> Result<u64> {
    let number = cell(row, at).parse();
    number.map_err(|_| refused("a count is not a number"))
}

fn refused(what: &str) -> Error {
    let what = format!("the server does not answer as Postgres does: {what}");
    Error::new(Kind::Refused, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_conditions() {
        let key = |order: &str, cast, is_text| KeyField {
            name: "id".to_owned(),
            order: order.to_owned(),
            cast,
            is_text,
            is_proven: true,
        };
        let int = |n| Position::After(Key::Int(n));
        let text = |t: &str| Position::After(Key::Text(t.into()));
        let ints = key("q.\"id\"", "::bigint", false);
        assert_eq!(ints.within(&Position::Start, &Position::End).unwrap(), "");
        assert_eq!(
            ints.within(&int(i64::MIN), &int(5)).unwrap(),
            "q.\"id\" > '-9223372036854775808'::bigint AND q.\"id\" <= '5'::bigint"
        );
        let texts = key("(q.\"id\" COLLATE \"C\")", "", true);
        assert_eq!(
            texts.within(&text("it's"), &Position::End).unwrap(),
            "(q.\"id\" COLLATE \"C\") > 'it''s'"
        );
        assert!(texts.within(&int(1), &Position::End).is_err());
        assert_eq!(
            ints.within(&Position::End, &Position::End).unwrap(),
            "false"
        );
        assert!(ints.within(&Position::Row(1), &Position::End).is_err());
    }
}
