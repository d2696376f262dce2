//! What do vector files, arrays and archives hold? For people and for programs.
//! Never fails on a file's contents: reports what cannot be read.

use std::fmt;

use serde::Serialize;

use super::tables::{Rows, Table};
use super::values::Stored;
use super::{numpy, vecs};
use crate::error::Result;
use crate::input::View;
use crate::limits;
use crate::schema::Element;

/// What a file holds.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// Such as `fvecs` or `npz`.
    pub format: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its arrays: only one, except in archives.
    pub arrays: Vec<Shown>,
}

/// An array.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its name in an archive.
    pub name: Option<String>,
    /// Its dimensions, rows first.
    pub shape: Vec<u64>,
    /// The type of its values, or why they cannot be read.
    pub values: String,
    /// How its rows are stored.
    pub layout: &'static str,
    /// What it could be: vectors of a type, ids, or neither.
    pub could_be: String,
    /// The least and the greatest id, if it could hold ids.
    pub id_range: Option<(i64, i64)>,
}

/// Describes a file, if its extension or its first bytes show that it is of one of these kinds.
pub fn inspect(view: &View) -> Result<Option<Description>> {
    let (format, arrays) = if numpy::is_archive(view) {
        let members = numpy::members(view)?;
        let mut arrays = Vec::new();
        for member in members {
            let name = member.name.clone();
            arrays.push(shown(Some(name), numpy::Array::member(view, member)));
        }
        ("npz", arrays)
    } else if numpy::is_array(view) {
        ("npy", vec![shown(None, numpy::Array::file(view))])
    } else if let Some(format) = vecs::format_of(view.path()) {
        let table = vecs::table(view, format)?;
        (format, vec![vectors(&table, vecs::default(table.stored))])
    } else {
        return Ok(None);
    };
    Ok(Some(Description {
        format,
        bytes: view.len(),
        arrays,
    }))
}

fn vectors(table: &Table, element: Element) -> Shown {
    Shown {
        name: None,
        shape: vec![table.rows, table.columns],
        values: table.stored.name(),
        layout: table.place.name(),
        could_be: match table.vector(element) {
            Ok(vector) => format!("vectors: {vector}"),
            Err(error) => format!("no vectors: {}", error.what()),
        },
        id_range: None,
    }
}

fn shown(name: Option<String>, array: Result<numpy::Array>) -> Shown {
    let unread = |error: crate::error::Error, shape: Vec<u64>| Shown {
        name: name.clone(),
        shape,
        values: error.what().to_owned(),
        layout: "not read",
        could_be: "nothing that can be carried".to_owned(),
        id_range: None,
    };
    let array = match array {
        Ok(array) => array,
        Err(error) => return unread(error, Vec::new()),
    };
    let shape = array.header.shape.clone();
    if let Ok(ids) = array.ids() {
        return Shown {
            shape,
            could_be: "ids".to_owned(),
            id_range: range(&ids),
            name,
            ..vectors(&ids, Element::Bit)
        };
    }
    match array.vectors() {
        Ok(table) => Shown {
            name,
            ..vectors(&table, numpy::default(table.stored))
        },
        Err(error) => unread(error, shape),
    }
}

/// The range of ids, if there are not too many to read.
fn range(ids: &Table) -> Option<(i64, i64)> {
    if ids.rows > limits::IDS_SCANNED_MAX || !matches!(ids.stored, Stored::Integer { .. }) {
        return None;
    }
    let (mut rows, mut first, mut found) = (Rows::new(ids), 0, None);
    while first < ids.rows {
        let count = (1 << 16).min(ids.rows - first);
        for id in rows.ids(first, count).ok()? {
            let (least, most) = found.unwrap_or((id, id));
            found = Some((least.min(id), most.max(id)));
        }
        first += count;
    }
    found
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} file, {} bytes", self.format, self.bytes)?;
        for array in &self.arrays {
            let shape: Vec<String> = array.shape.iter().map(u64::to_string).collect();
            let name = array
                .name
                .as_ref()
                .map_or(String::new(), |name| format!("{name}: "));
            write!(
                f,
                "\n  {name}{} {}, {}",
                shape.join(" × "),
                array.values,
                array.layout
            )?;
            write!(f, "\n    could be {}", array.could_be)?;
            if let Some((least, most)) = array.id_range {
                write!(f, ", {least} to {most}")?;
            }
        }
        Ok(())
    }
}
