//! Storage V2 of Milvus 2.6: which file holds a field? Each group of columns is a bare Parquet file, whose columns are
//! identified by field numbers.
//!
//! Written from the description of the format, and never tested on the files of a server, which no registry offers.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::catalog::{self, Log, TIMESTAMP};
use super::log::{self, Stored};
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::parquet::File;

/// The storage version of segments with such files.
pub const GROUPED: i64 = 2;

/// The logs of each field of a segment: those of the field's group.
pub fn fields(info: &catalog::Segment, volume: &Volume) -> Result<BTreeMap<i64, Vec<Log>>> {
    let mut fields: BTreeMap<i64, Vec<Log>> = BTreeMap::new();
    for logs in info.fields.values() {
        let Some(first) = logs.first() else { continue };
        let file = File::of(log::open(&first.path, volume)?)?;
        for column in file.columns.iter() {
            let Some(number) = column.number else {
                let what = format!("column `{}` has no field number", column.name);
                return Err(file.view.corrupt(0, what));
            };
            if let Some(other) = fields.insert(i64::from(number), logs.clone()) {
                let other = other
                    .first()
                    .map_or(Path::new(""), |log| log.path.as_path());
                let what = format!("field {number} is also in {}", other.display());
                return Err(file.view.corrupt(0, what));
            }
        }
    }
    if !info.fields.is_empty() && !fields.contains_key(&TIMESTAMP) {
        let what = "none of its groups of columns holds the timestamps of rows (field 1)";
        return Err(Error::path(Kind::Corrupt, &info.dir, what));
    }
    Ok(fields)
}

/// The files of a range of rows, each opened once for all columns in it.
#[derive(Default)]
pub struct Opened(HashMap<PathBuf, File>);

impl Opened {
    /// The column of a field in a file.
    pub fn column(&mut self, path: &Path, field: i64, volume: &Volume) -> Result<Stored> {
        let file = match self.0.get(path) {
            Some(file) => file.clone(),
            None => {
                let file = File::of(log::open(path, volume)?.apart())?;
                self.0.insert(path.to_owned(), file.clone());
                file
            }
        };
        let mut columns = file.columns.iter();
        let column = columns.position(|column| column.number.map(i64::from) == Some(field));
        match column {
            Some(column) => Ok(Stored { file, column }),
            None => Err(file
                .view
                .corrupt(0, format!("has no column for field {field}"))),
        }
    }
}
