//! What does a file hold, and what of it would travel? For people and for programs.
//! Never fails on what a file holds: it says what cannot be read.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::kinds;
use super::open::{self, Ids};
use super::table::Table;
use crate::error::{Error, Kind, Result};
use crate::h5::{self, raw};
use crate::input::{Access, View};
use crate::job::Globs;
use crate::source::values::Stored;

/// Groups inside one another that are looked into.
const DEPTH_MAX: usize = 8;
/// How many groups are looked into: links may lead in circles.
const GROUPS_MAX: usize = 1000;
/// How many attributes are listed.
const ATTRIBUTES_MAX: usize = 1000;
/// Datasets that are listed.
const DATASETS_MAX: usize = 1000;

/// What an HDF5 file holds.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// `HDF5`.
    pub format: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its datasets, groups' ones by their path.
    pub datasets: Vec<Dataset>,
    /// Text and number attributes of the file.
    pub attributes: Vec<(String, String)>,
    /// What a job without settings would carry, or why it would carry nothing.
    pub carried: std::result::Result<Carried, String>,
}

/// A dataset.
#[derive(Clone, Debug, Serialize)]
pub struct Dataset {
    /// Its path in the file.
    pub name: String,
    /// Its extents, rows first.
    pub shape: Vec<u64>,
    /// What its values are, or why they cannot be read.
    pub values: String,
    /// Where its rows are: contiguous, chunked and by which filters.
    pub layout: String,
    /// What it could be: vectors of a type, ids, or neither.
    pub could_be: String,
}

/// What a job would carry.
#[derive(Clone, Debug, Serialize)]
pub struct Carried {
    /// Rows.
    pub rows: u64,
    /// The type of vectors.
    pub vectors: String,
    /// Components of a vector.
    pub dimension: u32,
    /// How distances are measured, if the file says.
    pub metric: Option<String>,
    /// Where ids come from.
    pub ids: String,
    /// The least and the greatest id, where they are stored.
    pub id_range: Option<(i64, i64)>,
    /// The collection and partition that the file names.
    pub collection: String,
    /// The partition's exact tag.
    pub partition: String,
    /// Whether rows travel as they are mapped.
    pub mapped: bool,
}

/// Looks at a file.
pub fn inspect(path: &Path) -> Result<Description> {
    let view = View::open(path, Access::Map)?;
    let file = hdf5::File::open(path)
        .map_err(|e| h5::failed(Kind::Corrupt, path, "read it as HDF5", &e))?;
    let mut datasets = Vec::new();
    let mut groups = vec![(String::new(), 0)];
    let mut left = GROUPS_MAX;
    while let Some((group, depth)) = groups.pop()
        && left > 0
    {
        left -= 1;
        let at = if group.is_empty() { "/" } else { &group };
        let names = file.group(at).map(|g| raw::members(&g, DATASETS_MAX + 1));
        let names = names.unwrap_or_default();
        for name in names {
            let name = if group.is_empty() {
                name
            } else {
                format!("{group}/{name}")
            };
            if datasets.len() == DATASETS_MAX {
                break;
            }
            if depth < DEPTH_MAX
                && file
                    .group(&name)
                    .is_ok_and(|g| g.filename() == file.filename())
            {
                groups.push((name, depth + 1));
            } else {
                datasets.push(dataset(&file, path, &view, name));
            }
        }
    }
    let names = raw::attributes(&file, ATTRIBUTES_MAX);
    let attributes = names.into_iter().map(|name| {
        let number = || {
            let attr = file.attr(&name).ok()?;
            let whole = attr.read_scalar::<i64>().map(|n| n.to_string()).ok();
            whole.or_else(|| attr.read_scalar::<f64>().map(|n| n.to_string()).ok())
        };
        let value = open::text(&file, &name).or_else(number);
        (name, value.unwrap_or_else(|| "…".to_owned()))
    });
    Ok(Description {
        format: "HDF5",
        bytes: view.len(),
        datasets,
        attributes: attributes.collect(),
        carried: carried(path).map_err(|e| e.what().to_owned()),
    })
}

fn dataset(file: &hdf5::File, path: &Path, view: &View, name: String) -> Dataset {
    let unknown = |what: String| Dataset {
        name: name.clone(),
        shape: Vec::new(),
        values: what,
        layout: String::new(),
        could_be: "nothing that can be carried".to_owned(),
    };
    let dataset = match open::find(file, path, &name) {
        Ok(Some(dataset)) => dataset,
        Ok(None) => return unknown("is a link to nowhere".to_owned()),
        Err(error) => return unknown(error.what().to_owned()),
    };
    let shape: Vec<u64> = dataset.shape().iter().map(|n| *n as u64).collect();
    match Table::open(&dataset, &name, view, file.userblock()) {
        Err(what) => Dataset {
            shape,
            ..unknown(what)
        },
        Ok(table) => {
            let vectors = kinds::vectors(table.stored, &table.shape, false);
            let whole = matches!(table.stored, Stored::Integer { .. });
            Dataset {
                could_be: match vectors {
                    Ok(vector) => format!("vectors: {vector}"),
                    Err(_) if whole && shape.len() == 1 => "ids".to_owned(),
                    Err(what) => format!("no vectors: {what}"),
                },
                values: table.stored.name(),
                layout: table.layout,
                name,
                shape,
            }
        }
    }
}

fn carried(path: &Path) -> Result<Carried> {
    let file = open::open(path, Access::Map, None, &Ids::IfThere, &Globs::default())?;
    let file = file.expect("no globs admit all");
    let mut range: Option<(i64, i64)> = None;
    if let Some(table) = &file.ids {
        let mut rows = super::rows::Rows::new(table, &file.view);
        let mut first = 0;
        while first < table.rows {
            let mut ids = Vec::new();
            for piece in rows.pieces(first, 1 << 16)? {
                let wrong = |(_, what)| Error::path(Kind::Unsupported, path, what);
                table.stored.ids_into(&piece, &mut ids).map_err(wrong)?;
            }
            first += 1 << 16;
            for id in ids {
                let (least, most) = range.unwrap_or((id, id));
                range = Some((least.min(id), most.max(id)));
            }
        }
    }
    let ids = match &file.ids {
        Some(table) => format!("`{}`, {}", table.name, table.stored.name()),
        None => "row numbers: there is no dataset `ids`".to_owned(),
    };
    let mapped =
        matches!(file.vectors.place, super::Place::Runs(_)) && file.vectors.stored.as_they_travel();
    Ok(Carried {
        rows: file.vectors.rows,
        vectors: format!("`{}`, {}", file.vectors.name, file.vector.element.name()),
        dimension: file.vector.dimension,
        metric: file.metric.map(|m| m.name().to_owned()),
        ids,
        id_range: range,
        collection: file.name.collection,
        partition: file.name.partition,
        mapped,
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "HDF5 file, {} bytes", self.bytes)?;
        for set in &self.datasets {
            let shape: Vec<String> = set.shape.iter().map(u64::to_string).collect();
            writeln!(
                f,
                "  {}: {} × {}, {}",
                set.name,
                shape.join(" × "),
                set.values,
                set.layout
            )?;
            writeln!(f, "    could be {}", set.could_be)?;
        }
        for (name, value) in &self.attributes {
            writeln!(f, "  @{name} = {value}")?;
        }
        match &self.carried {
            Err(what) => write!(f, "nothing would travel: {what}"),
            Ok(carried) => {
                write!(
                    f,
                    "{} rows would travel: vectors {} × {}",
                    carried.rows, carried.vectors, carried.dimension
                )?;
                write!(
                    f,
                    "{}; ids {}",
                    if carried.mapped { ", mapped" } else { "" },
                    carried.ids
                )?;
                if let Some((least, most)) = carried.id_range {
                    write!(f, ", {least} to {most}")?;
                }
                if !carried.collection.is_empty() || !carried.partition.is_empty() {
                    write!(f, "; from {}/{}", carried.collection, carried.partition)?;
                }
                Ok(())
            }
        }
    }
}
