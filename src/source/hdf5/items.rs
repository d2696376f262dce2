//! One dataset per row: which rows do the datasets of a group make?
//! Names that are whole numbers are ids; other names only determine the order, with numbers in them compared by value.

use bytes::Bytes;
use hdf5::Group;

use super::axes::{Axes, Role, times};
use super::rows::Rows;
use super::table::{Bands, How, Origin, Place, Refusal, Table, Told, gather_rows, told};
use crate::error::Result;
use crate::h5::raw;
use crate::input::View;
use crate::limits;
use crate::source::files::in_numbers;
use crate::source::values::Stored;

/// Datasets of a group that are rows.
#[derive(Debug)]
pub struct Items {
    /// Their names, in the order of the rows.
    names: Vec<Box<str>>,
    /// Where each is in the file; [`PACKED`]: it has to be read through the library.
    places: Vec<u64>,
}

/// Marks a dataset that is not stored in the file in one plain piece.
const PACKED: u64 = u64::MAX;

/// Opens the datasets of a group as vectors, with ids if all names are whole numbers. `except` is a dataset of the
/// group that is no row. Inspects each one, and calls `alive` now and then.
pub fn open(
    group: &Group,
    path: &str,
    except: Option<&str>,
    view: &View,
    alive: &mut dyn FnMut(),
) -> Told<(Table, Option<Table>)> {
    let mut names = raw::members(group, limits::HDF5_ITEMS_MAX + 1);
    if names.len() > limits::HDF5_ITEMS_MAX {
        let most = limits::HDF5_ITEMS_MAX;
        return Err(format!("has more than {most} members, too many to be a row each").into());
    }
    names.retain(|name| Some(name.as_str()) != except);
    let numbers: Option<Vec<i64>> = names.iter().map(|name| number(name)).collect();
    match numbers {
        Some(_) => names.sort_by_cached_key(|name| number(name)),
        None => names.sort_by(|one, two| in_numbers(one, two)),
    }
    let base = group.file().map_err(told)?.userblock();
    let mut first: Option<Table> = None;
    let mut places = Vec::with_capacity(names.len());
    for (row, name) in names.iter().enumerate() {
        let item = item(group, path, name, view, base)?;
        if let Some(first) = &first {
            alike(&names[0], first, name, &item)?;
        }
        places.push(match &item.place {
            Place::Runs(runs) if runs.len() == 1 => runs[0].at,
            _ => PACKED,
        });
        first.get_or_insert(item);
        if row.is_multiple_of(1024) {
            alive();
        }
    }
    let Some(first) = first else {
        return Err(format!("`{path}` is an empty group: no dataset in it is a row").into());
    };
    let (rows, width) = (names.len() as u64, first.rows);
    let ids = numbers.is_some().then(|| ids(path, &names));
    let note = match &ids {
        Some(_) => {
            format!("each of the {rows} datasets of `{path}` is a row; their names are the ids")
        }
        None => format!(
            "each of the {rows} datasets of `{path}` is a row, in the order of their names, from `{}` to `{}` (numbers in \
             them by value); the names are not all whole numbers and stay behind: row n has the n-th name",
            names[0],
            names[names.len() - 1]
        ),
    };
    let row_bytes = width * first.stored.bytes() as u64;
    let band = gather_rows(row_bytes);
    let is_packed = places.contains(&PACKED);
    let items = Items {
        names: names.into_iter().map(String::into_boxed_str).collect(),
        places,
    };
    let vectors = Table {
        name: path.to_owned(),
        rows,
        shape: vec![rows, width],
        width: Some(width),
        row_bytes,
        place: Place::Bands(Bands {
            chunk_rows: band,
            chunk_columns: width,
            across: 1,
            rows: band,
            how: How::Items(items),
        }),
        layout: "a dataset to a row".to_owned(),
        notes: vec![note],
        axes: Axes {
            row: 0,
            column: Some(1),
        },
        origin: whole(path),
        unpacked_by_library: is_packed,
        ..first
    };
    Ok((vectors, ids))
}

/// The first dataset of a group, if it could be a row: its name and its number of values.
pub fn could_be_rows(group: &Group, view: &View) -> Option<(String, u64)> {
    let name = raw::members(group, 1).pop()?;
    let item = item(group, "", &name, view, 0).ok()?;
    Some((name, item.rows))
}

impl Items {
    /// Reads as many rows as fit, from `first` on.
    pub fn read(&self, table: &Table, view: &View, first: u64, to: &mut [u8]) -> Result<()> {
        let row_bytes = table.row_bytes as usize;
        let mut group = None;
        for (row, to) in (first as usize..).zip(to.chunks_exact_mut(row_bytes.max(1))) {
            let at = self.places[row];
            if at != PACKED {
                view.read(at, to)?;
                continue;
            }
            let wrong = |what: String| {
                let what = format!("`{}/{}` {what}", table.name, self.names[row]);
                crate::error::Error::path(crate::error::Kind::Corrupt, view.path(), what)
            };
            if group.is_none() {
                let opened = hdf5::File::open(view.path()).and_then(|f| f.group(&table.name));
                group = Some(opened.map_err(|e| wrong(crate::h5::cause(&e)))?);
            }
            let group = group.as_ref().expect("it was opened just now");
            let base = group.file().map_or(0, |file| file.userblock());
            let item = item(group, &table.name, &self.names[row], view, base);
            let item = item.map_err(|refusal| wrong(refusal.what))?;
            let pieces = Rows::new(&item, view).pieces(0, item.rows)?;
            let there: usize = pieces.iter().map(Bytes::len).sum();
            if there != to.len() {
                return Err(wrong(format!("has {there} bytes, expected {}", to.len())));
            }
            let mut at = 0;
            for piece in pieces {
                to[at..at + piece.len()].copy_from_slice(&piece);
                at += piece.len();
            }
        }
        Ok(())
    }
}

/// A dataset of a group as a list of numbers.
fn item(group: &Group, path: &str, name: &str, view: &View, base: u64) -> Told<Table> {
    let refuse = |refusal: Refusal| Refusal {
        what: format!("as a group holds rows, but its `{name}` {}", refusal.what),
        ..refusal
    };
    if raw::object(group, name) != raw::Object::Dataset {
        let what = format!("as a group holds rows, but its `{name}` is not a dataset of this file");
        return Err(Refusal::new(
            what,
            "`vectors:` names the group whose datasets are a vector each",
        ));
    }
    let dataset = group.dataset(name).map_err(|e| refuse(told(e)))?;
    let shape: Vec<u64> = dataset.shape().iter().map(|n| *n as u64).collect();
    if shape.iter().filter(|n| **n != 1).count() > 1 {
        let what = format!("is {}, not a list of numbers", times(&shape));
        return Err(refuse(what.into()));
    }
    let origin = whole(&format!("{}/{name}", path.trim_end_matches('/')));
    let table = Table::open(&dataset, origin, Role::Ids, view, base).map_err(refuse)?;
    let is_list = table.width.is_none() && table.rows > 0;
    if !is_list || !matches!(table.stored, Stored::Integer { .. } | Stored::Float { .. }) {
        let what = format!("holds {}, not a list of numbers", table.values());
        return Err(refuse(what.into()));
    }
    Ok(table)
}

/// Refuses a row that is unlike the first.
fn alike(first: &str, one: &Table, name: &str, other: &Table) -> Told<()> {
    let as_long = one.rows == other.rows;
    if as_long && one.stored == other.stored && one.named == other.named {
        return Ok(());
    }
    let said = |table: &Table| format!("{} × {}", table.rows, table.values());
    Err(format!(
        "as a group holds rows, but its `{first}` is {} and its `{name}` is {}: all vectors must be alike",
        said(one),
        said(other)
    )
    .into())
}

/// Ids in the order of rows, held in memory.
fn ids(path: &str, names: &[String]) -> Table {
    let ids = names.iter().filter_map(|name| number(name));
    let bytes: Vec<u8> = ids.flat_map(i64::to_le_bytes).collect();
    let rows = names.len() as u64;
    Table {
        name: format!("names in {path}"),
        rows,
        shape: vec![rows],
        width: None,
        stored: Stored::Integer {
            bytes: 8,
            signed: true,
            big_endian: false,
        },
        named: false,
        row_bytes: 8,
        element_bytes: 8,
        place: Place::Held(bytes.into()),
        layout: "names of datasets".to_owned(),
        notes: Vec::new(),
        axes: Axes {
            row: 0,
            column: None,
        },
        origin: whole(path),
        unpacked_by_library: false,
    }
}

fn whole(path: &str) -> Origin {
    Origin {
        path: path.to_owned(),
        members: Vec::new(),
    }
}

/// The id that a name spells.
fn number(name: &str) -> Option<i64> {
    let digits = name.strip_prefix('-').unwrap_or(name);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    name.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_ids() {
        for (name, id) in [
            ("7", Some(7)),
            ("007", Some(7)),
            ("-3", Some(-3)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("+3", None),
            ("", None),
            ("-", None),
            ("3.0", None),
            ("P3", None),
            ("٣", None),
        ] {
            assert_eq!(number(name), id, "{name}");
        }
    }
}
