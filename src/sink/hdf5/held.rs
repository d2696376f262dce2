//! What does a finished file hold? Its rows, read through the library, in the order in which they were written.
//! Other programs may have changed the file since, so nothing in it is trusted.

use std::path::Path;

use hdf5::{Dataset, Datatype};

use super::Layout;
use super::create::Shape;
use crate::batch::{Batch, Key, Part, Target};
use crate::error::{Error, Result};
use crate::h5;
use crate::h5::raw::{self, Stretch};
use crate::schema::Element;
use crate::simd;
use crate::sink::held::{Compared, Held, Holder, Way, What};

/// Opens a file to compare it with what was written to it.
pub fn open(path: &Path, target: &Target, layout: &Layout) -> Result<Held<'static>> {
    match std::fs::File::open(path) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Held::Another(format!("{} does not exist", path.display())));
        }
        Err(e) => return Err(Error::io(path, "read", &e)),
    }
    let shape = Shape::of(target, layout);
    Ok(match datasets(path, target, &shape) {
        Ok((vectors, ids)) => Held::Rows(Box::new(Whole {
            vectors,
            ids,
            row_bytes: shape.row_bytes,
            wanted: 0,
            found: 0,
        })),
        Err(what) => Held::Another(format!("{}: {what}", path.display())),
    })
}

/// The file's datasets, or why they are not those that were written.
fn datasets(
    path: &Path,
    target: &Target,
    shape: &Shape,
) -> std::result::Result<(Dataset, Dataset), String> {
    let told = |e: hdf5::Error| format!("cannot be read: {}", h5::cause(&e));
    let file = hdf5::File::open(path).map_err(told)?;
    let open = |name: &str, extents: &[u64], kind: hdf5::Result<Datatype>| {
        let dataset = file.dataset(name).map_err(told)?;
        let there = dataset.get_shape().map_err(told)?;
        let there: Vec<u64> = there.iter().map(|n| *n as u64).collect();
        if there != extents {
            return Err(format!(
                "`{name}` has the extents {there:?}, but {extents:?} were written"
            ));
        }
        if dataset.dtype().map_err(told)? != kind.map_err(told)? {
            return Err(format!(
                "`{name}` has a different type from the one that was written"
            ));
        }
        Ok(dataset)
    };
    let kind = match target.vector().element {
        Element::Float32 => Datatype::from_type::<f32>(),
        Element::BFloat16 => return Err("bfloat16 is never written".to_owned()),
        Element::Float16 => Datatype::from_type::<half::f16>(),
        Element::Int8 => Datatype::from_type::<i8>(),
        Element::Bit => Datatype::from_type::<u8>(),
    };
    let vectors = open(h5::VECTORS, &[shape.rows, shape.columns], kind)?;
    let ids = open(h5::IDS, &[shape.rows], Datatype::from_type::<i64>())?;
    Ok((vectors, ids))
}

/// A file with the dimensions and types that were written.
struct Whole {
    vectors: Dataset,
    ids: Dataset,
    row_bytes: u64,
    /// Digests of all rows so far, as written and as found: sums, so that order does not matter.
    wanted: u64,
    found: u64,
}

impl Holder for Whole {
    fn way(&self) -> Way {
        Way::InOrder
    }

    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        let rows = batch.rows() as usize;
        let width = self.row_bytes as usize;
        let mut ids = vec![0; rows * 8];
        let mut vectors = vec![0; rows * width];
        let stretch = Stretch {
            axis: 0,
            first: batch.first_row,
            rows: rows as u64,
        };
        let read = |dataset: &Dataset, to: &mut [u8]| {
            raw::type_of(dataset).and_then(|values| raw::read_rows(dataset, &values, stretch, to))
        };
        let read = read(&self.ids, &mut ids).and_then(|()| read(&self.vectors, &mut vectors));
        let mut compared = Compared::default();
        if let Err(error) = read {
            if let Some(part) = batch.parts.first() {
                compared.differs(part, 0, What::Unreadable(h5::cause(&error)));
            }
            compared.differing = rows as u64;
            // Whatever the error is, the file is not what was written.
            self.wanted = self.wanted.wrapping_add(1);
            return Ok(compared);
        }
        let ids: Vec<i64> = ids
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b))
            .collect();
        self.found = self
            .found
            .wrapping_add(simd::digest_rows(&ids, &vectors, width));
        let mut before = 0;
        for part in &batch.parts {
            let there = &vectors[before * width..][..part.len() * width];
            self.compare_part(part, &ids[before..][..part.len()], there, &mut compared);
            before += part.len();
        }
        compared.rows = rows as u64;
        Ok(compared)
    }

    fn only_order_differs(&self) -> bool {
        self.wanted == self.found
    }
}

impl Whole {
    fn compare_part(&mut self, part: &Part, ids: &[i64], there: &[u8], compared: &mut Compared) {
        let wanted = part.vectors();
        let width = self.row_bytes as usize;
        let digest = simd::digest_rows(part.ids(), wanted, width);
        self.wanted = self.wanted.wrapping_add(digest);
        if part.ids() == ids && wanted == there {
            return;
        }
        for (row, (wanted_id, id)) in part.ids().iter().zip(ids).enumerate() {
            let bytes = row * width..(row + 1) * width;
            if wanted_id != id {
                compared.differs(part, row, What::OtherId(Key::Int(*id)));
            } else if wanted[bytes.clone()] != there[bytes] {
                compared.differs(part, row, What::OtherVector);
            }
        }
    }
}
