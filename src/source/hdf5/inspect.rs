//! What does a file hold, and what of it would travel? For people and for programs.
//! Never fails because of a file's content: it reports what cannot be read.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::axes::Role;
use super::kinds::{self, Wish};
use super::open::{self, Settings};
use super::table::{How, Place, Table};
use crate::error::{Error, Kind, Result, shown};
use crate::h5::{attribute, attributes, raw};
use crate::input::{Access, View};
use crate::job::Globs;
use crate::limits;
use crate::source::values::Stored;

/// How deep nested groups are inspected.
const DEPTH_MAX: usize = 8;
/// How many groups are inspected: links may form cycles.
const GROUPS_MAX: usize = 1000;
/// How many attributes are listed.
const ATTRIBUTES_MAX: usize = 1000;
/// Datasets that are listed.
const DATASETS_MAX: usize = 1000;
/// Names that are counted, in a group or of attributes.
const NAMES_MAX: usize = 1 << 20;

/// What an HDF5 file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// `HDF5`.
    pub format: String,
    /// Its length.
    pub bytes: u64,
    /// Its datasets; those in groups are named by their paths.
    pub datasets: Vec<Dataset>,
    /// Further members of groups, which were not inspected.
    pub datasets_not_listed: u64,
    /// Groups that were not inspected.
    pub groups_not_looked_into: u64,
    /// Attributes of the file; the text is empty for one without a value.
    pub attributes: Vec<(String, String)>,
    /// Further attributes.
    pub attributes_not_listed: u64,
    /// What a job without settings would carry, or why it would carry nothing.
    pub carried: std::result::Result<Carried, String>,
}

/// A dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// How many ids repeat, if they are stored and few enough to sort.
    pub ids_repeated: Option<u64>,
    /// The collection and partition that the file names.
    pub collection: String,
    /// The partition's exact tag.
    pub partition: String,
    /// Whether rows travel straight from the mapped file.
    pub mapped: bool,
    /// What the operator should know: attributes that contradict the data or cannot be understood, rows never written.
    pub notes: Vec<String>,
}

/// Looks at a file.
pub fn inspect(path: &Path) -> Result<Description> {
    look(path, &mut || ())
}

/// Looks at a file, and calls `alive` from time to time.
pub fn look(path: &Path, alive: &mut dyn FnMut()) -> Result<Description> {
    let view = View::open(path, Access::Map)?;
    let file = open::by_library(path, &view)?;
    let mut datasets = Vec::new();
    let mut not_listed = 0;
    let mut groups = vec![(String::new(), 0)];
    let mut left = GROUPS_MAX;
    while left > 0
        && let Some((group, depth)) = groups.pop()
    {
        left -= 1;
        let at = if group.is_empty() { "/" } else { &group };
        let Ok(here) = file.group(at) else { continue };
        for name in raw::members(&here, NAMES_MAX) {
            if datasets.len() == DATASETS_MAX {
                not_listed += 1;
                continue;
            }
            let kind = raw::object(&here, &name);
            let name = match group.is_empty() {
                true => name,
                false => format!("{group}/{name}"),
            };
            if kind == raw::Object::Group && depth < DEPTH_MAX {
                groups.push((name, depth + 1));
            } else {
                datasets.push(dataset(&file, path, &view, name));
            }
        }
        alive();
    }
    let names = attributes::names(&file, NAMES_MAX);
    let attributes_not_listed = names.len().saturating_sub(ATTRIBUTES_MAX) as u64;
    let attributes = names.into_iter().take(ATTRIBUTES_MAX).map(|name| {
        let value = attributes::read(&file, &name);
        (name, value.map_or_else(String::new, |v| v.to_string()))
    });
    Ok(Description {
        format: "HDF5".to_owned(),
        bytes: view.len(),
        datasets,
        datasets_not_listed: not_listed,
        groups_not_looked_into: groups.len() as u64,
        attributes: attributes.collect(),
        attributes_not_listed,
        carried: carried(path, alive).map_err(|e| match e.hint_text() {
            Some(hint) => format!("{}; {hint}", e.what()),
            None => e.what().to_owned(),
        }),
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
    let (dataset, origin) = match open::find(file, path, &name) {
        Ok(Some(found)) => found,
        Ok(None) => return unknown("is a link to nowhere".to_owned()),
        Err(error) => return unknown(error.what().to_owned()),
    };
    let shape: Vec<u64> = dataset.shape().iter().map(|n| *n as u64).collect();
    let open = |role| Table::open(&dataset, origin.clone(), role, view, file.userblock());
    let matlab = attributes::has_value(&dataset, attribute::MATLAB);
    let turned = Role::Vectors { turned: matlab };
    let table = open(turned).or_else(|refusal| open(Role::Ids).map_err(|_| refusal));
    match table {
        Err(refusal) => Dataset {
            shape,
            ..unknown(refusal.what)
        },
        Ok(table) => Dataset {
            could_be: could_be(&table, matlab),
            values: table.values(),
            layout: table.layout,
            name,
            shape,
        },
    }
}

/// What a dataset could be to a job.
fn could_be(table: &Table, matlab: bool) -> String {
    let wish = Wish::AsTheFileSays { components: false };
    let vectors = match &table.place {
        // Text of any length.
        Place::Bands(bands) if matches!(bands.how, How::Variable) && table.width.is_none() => None,
        _ => Some(kinds::vectors(table, wish)),
    };
    let ids = ids(table);
    match (vectors, ids) {
        (None, _) => "ids, if they are digits".to_owned(),
        (Some(Ok(_)), Some("ids")) if table.rows != 1 => "ids".to_owned(),
        (Some(Ok(vector)), _) if matlab => {
            let rows = table.rows;
            format!("vectors: with `transpose: true`, {rows} rows of {vector}")
        }
        (Some(Ok(vector)), Some(ids)) => format!("{ids}; else vectors: {vector}"),
        (Some(Ok(vector)), None) => match (table.stored, table.width) {
            (Stored::Integer { .. }, Some(width)) => {
                format!("vectors: {vector}; with `as: float32`, float32 × {width}")
            }
            _ => format!("vectors: {vector}"),
        },
        (Some(Err(_)), Some(ids)) => ids.to_owned(),
        (Some(Err(refusal)), None) => match refusal.hint {
            Some(hint) => format!("no vectors: it {}; {hint}", refusal.what),
            None => format!("no vectors: it {}", refusal.what),
        },
    }
}

/// What ids a dataset could be, if any: it needs one value a row, in either orientation.
fn ids(table: &Table) -> Option<&'static str> {
    let one_each = table.width.is_none_or(|w| w == 1 && table.shape.len() > 1);
    if table.named || !one_each && table.rows != 1 {
        return None;
    }
    match table.stored {
        stored if stored.is_whole() => Some("ids"),
        Stored::Float { .. } => Some("ids, if they are whole numbers"),
        // Not longer than an id may be.
        Stored::Bytes(1..=20) => Some("ids, if they are digits"),
        _ => None,
    }
}

fn carried(path: &Path, alive: &mut dyn FnMut()) -> Result<Carried> {
    let file = open::open(path, &Settings::default(), &Globs::default(), alive)?;
    let file = file.expect("no globs admit all");
    let mut range: Option<(i64, i64)> = None;
    let mut all = Vec::new();
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
            for id in &ids {
                let (least, most) = range.unwrap_or((*id, *id));
                range = Some((least.min(*id), most.max(*id)));
            }
            if table.rows <= limits::IDS_SCANNED_MAX {
                all.append(&mut ids);
            }
            alive();
        }
    }
    all.sort_unstable();
    let ids_repeated = (range.is_some() && !all.is_empty())
        .then(|| all.chunk_by(i64::eq).filter(|same| same.len() > 1).count() as u64);
    let ids = match &file.ids {
        Some(table) => format!("`{}`, {}", table.name, table.stored.name()),
        None => "row numbers: there is no dataset `ids`".to_owned(),
    };
    let mapped =
        matches!(file.vectors.place, Place::Runs(_)) && file.wish.takes_as_it_is(&file.vectors);
    // It is the one file that is looked at.
    let prefix = format!("{}: ", path.display());
    let notes = file.notes.iter().map(|note| {
        let note = note.strip_prefix(&prefix).unwrap_or(note);
        note.to_owned()
    });
    let notes: Vec<String> = notes.collect();
    Ok(Carried {
        rows: file.vectors.rows,
        vectors: format!("`{}`, {}", file.vectors.name, file.vector.element.name()),
        dimension: file.vector.dimension,
        metric: file.metric.map(|m| m.name().to_owned()),
        ids,
        id_range: range,
        ids_repeated,
        collection: file.name.collection,
        partition: file.name.partition,
        mapped,
        notes,
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "HDF5 file, {} bytes", self.bytes)?;
        for set in &self.datasets {
            let shape: Vec<String> = set.shape.iter().map(u64::to_string).collect();
            match set.layout.is_empty() {
                true => writeln!(f, "  {}: {}", shown(&set.name), shown(&set.values))?,
                false => writeln!(
                    f,
                    "  {}: {} × {}, {}",
                    shown(&set.name),
                    shape.join(" × "),
                    shown(&set.values),
                    set.layout
                )?,
            }
            writeln!(f, "    could be {}", shown(&set.could_be))?;
        }
        if self.datasets_not_listed > 0 {
            writeln!(f, "  … and {} more, not listed", self.datasets_not_listed)?;
        }
        if self.groups_not_looked_into > 0 {
            let groups = self.groups_not_looked_into;
            writeln!(f, "  … and {groups} groups that were not inspected")?;
        }
        for (name, value) in &self.attributes {
            let (name, value) = (shown(name), shown(value));
            match value.is_empty() {
                true => writeln!(f, "  @{name} has no value")?,
                false => writeln!(f, "  @{name} = {value}")?,
            }
        }
        if self.attributes_not_listed > 0 {
            writeln!(f, "  … and {} more attributes", self.attributes_not_listed)?;
        }
        match &self.carried {
            Err(what) => write!(f, "nothing would be migrated: {}", shown(what)),
            Ok(carried) => {
                write!(
                    f,
                    "{} rows would be migrated: vectors {} × {}",
                    carried.rows,
                    shown(&carried.vectors),
                    carried.dimension
                )?;
                write!(
                    f,
                    "{}; ids {}",
                    if carried.mapped { ", mapped" } else { "" },
                    shown(&carried.ids)
                )?;
                if let Some((least, most)) = carried.id_range {
                    write!(f, ", {least} to {most}")?;
                }
                match carried.ids_repeated {
                    None | Some(0) => {}
                    Some(1) => write!(f, "; 1 id repeats")?,
                    Some(ids) => write!(f, "; {ids} ids repeat")?,
                }
                if !carried.collection.is_empty() || !carried.partition.is_empty() {
                    let (collection, partition) =
                        (shown(&carried.collection), shown(&carried.partition));
                    write!(f, "; from {collection}/{partition}")?;
                }
                for note in &carried.notes {
                    write!(f, "\nnote: {}", shown(note))?;
                }
                Ok(())
            }
        }
    }
}
