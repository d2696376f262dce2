//! What do finished files hold? Their rows, in the order in which they were written. Other programs may have changed
//! the files since, so nothing in them is trusted.

use std::path::Path;
use std::sync::Arc;

use arrow_array::Array;

use crate::batch::{Batch, Part, Target};
use crate::digest;
use crate::error::{Error, Result};
use crate::input::Volume;
use crate::parquet::{File, Manifest, Rows};
use crate::schema::Columns;
use crate::sink::equal;
use crate::sink::held::{Compared, Held, Holder, Way, What};

/// Opens a directory to compare it with what was written to it. The checksums of its files are verified first.
pub fn open(dir: &Path, volume: &Volume, target: &Target) -> Result<Held<'static>> {
    let another = |error: Error| Held::Another(format!("{error:#}"));
    let manifest = match Manifest::read(dir, volume) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(Held::Another(format!("{} has no manifest", dir.display()))),
        Err(error) => return Ok(another(error)),
    };
    if !manifest.columns.hold_the_same(&target.columns) {
        let what = format!("{} has other columns: {}", dir.display(), manifest.columns);
        return Ok(Held::Another(what));
    }
    let opened = manifest.open(dir, volume).and_then(|files| {
        files
            .iter()
            .try_for_each(|(listed, file)| listed.check(&file.view))?;
        Ok(files)
    });
    let files = match opened {
        Ok(files) => files,
        Err(error) => return Ok(another(error)),
    };
    let mut first = 0;
    let files = files.into_iter().map(|(_, file)| {
        first += file.rows;
        (first - file.rows, file)
    });
    Ok(Held::Rows(Box::new(Whole {
        files: files.collect(),
        columns: target.columns.clone(),
        wanted: 0,
        found: 0,
    })))
}

/// Files with the columns that were written.
struct Whole {
    /// Each file with the number of rows before it.
    files: Vec<(u64, File)>,
    columns: Arc<Columns>,
    /// Digests of all rows so far, as written and as found: sums, so that order does not matter.
    wanted: u64,
    found: u64,
}

impl Whole {
    /// The rows at these positions, in parts.
    fn rows(&self, first: u64, count: u64) -> Result<Vec<Part>> {
        let (mut parts, mut row, end) = (Vec::new(), first, first + count);
        for (before, file) in &self.files {
            if row >= end || row >= before + file.rows || row < *before {
                continue;
            }
            let groups = 0..file.metadata.num_row_groups();
            let mut rows = Rows::new(file, &self.columns, 0, groups, row - before)?;
            while row < end
                && let Some(block) = rows.next_block()?
            {
                let part = Part::new(&self.columns, block.values, file.view.path(), block.row)?;
                let take = part.len().min((end - row) as usize);
                row += take as u64;
                parts.push(part.slice(0, take));
            }
        }
        Ok(parts)
    }
}

impl Holder for Whole {
    fn way(&self) -> Way {
        Way::InOrder
    }

    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        let rows = batch.rows();
        let mut compared = Compared::default();
        let there = match self.rows(batch.first_row, rows) {
            Ok(there) => there,
            Err(error) => {
                if let Some(part) = batch.parts.first() {
                    compared.differs(part, 0, What::Unreadable(format!("{error:#}")));
                }
                compared.differing = rows;
                // Whatever the error is, the file is not what was written.
                self.wanted = self.wanted.wrapping_add(1);
                return Ok(compared);
            }
        };
        let sum = |parts: &[Part]| {
            parts
                .iter()
                .fold(0u64, |sum, part| sum.wrapping_add(digest::part(part)))
        };
        self.wanted = self.wanted.wrapping_add(sum(&batch.parts));
        self.found = self.found.wrapping_add(sum(&there));
        // Ranges within one part on both sides.
        let (mut there, mut at) = (there.into_iter(), 0);
        let mut other: Option<Part> = there.next();
        for part in &batch.parts {
            let mut row = 0;
            while row < part.len() {
                let Some(held) = &other else {
                    (row..part.len()).for_each(|row| compared.differs(part, row, What::Missing));
                    break;
                };
                let count = (part.len() - row).min(held.len() - at);
                compare(part, row, &held.slice(at, count), &mut compared);
                (row, at) = (row + count, at + count);
                if at == held.len() {
                    (other, at) = (there.next(), 0);
                }
            }
        }
        compared.rows = rows;
        Ok(compared)
    }

    fn only_order_differs(&self) -> bool {
        self.wanted == self.found
    }
}

/// Compares rows of a part, from this one on, with those in the file.
fn compare(part: &Part, first: usize, there: &Part, compared: &mut Compared) {
    let wanted = part.slice(first, there.len());
    let same = (0..part.columns().all().len()).all(|n| same(&*wanted.column(n), &*there.column(n)));
    if same {
        return;
    }
    for row in 0..there.len() {
        if part.key(first + row) != there.key(row) {
            compared.differs(part, first + row, What::OtherId(there.key(row)));
            continue;
        }
        let columns = part.columns().all().iter().enumerate();
        let differs = columns.filter(|(number, column)| {
            let (a, b) = (wanted.column(*number), there.column(*number));
            !equal::values(column.kind, (&a, row), (&b, row))
        });
        let first_differing = differs.map(|(_, column)| column).next();
        if let Some(column) = first_differing {
            compared.differs(
                part,
                first + row,
                match part.columns().as_plain() {
                    Some(_) => What::OtherVector,
                    None => What::OtherValue(column.name.clone()),
                },
            );
        }
    }
}

/// Whether two arrays of one type are the same, bit for bit.
fn same(one: &dyn Array, two: &dyn Array) -> bool {
    one == two
}
