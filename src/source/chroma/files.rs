//! What do the files of a vector index hold? Vectors by row id; its graph is ignored.
//!
//! ```text
//! header.bin            | version 4 = 1 | offset 8 | most 8 | count 8 | element 8 | label at 8 | data at 8 | …
//! data_level0.bin       count × | links … | dimension × f32, at `data at` | label u64, at `label at` |
//! length.bin            count × f32: the original lengths of vectors that are stored normalized
//! index_metadata.pickle {"id_to_label": {id: label}, "max_seq_id": …}
//! ```

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Kind, Place, Result};
use crate::format::pickle::{self, Value};
use crate::input::{Access, View};
use crate::limits;

/// The class in the pickle of releases that wrote it from Python.
const CLASS: (&str, &str) = (
    "chromadb.segment.impl.vector.local_persistent_hnsw",
    "PersistentData",
);

/// An index.
pub struct Index {
    data: View,
    /// The original lengths of vectors that are stored normalized.
    lengths: Option<View>,
    labels: View,
    count: u64,
    element_bytes: u64,
    label_at: u64,
    data_at: u64,
    dimension: u32,
}

/// Ids, each with its element number.
type Labels = Vec<(String, u64)>;

/// The rows that an index knows.
pub struct Known {
    /// The element number of each row.
    pub elements: HashMap<String, u32>,
    /// The last write that went into it, if the pickle records it.
    pub last_write: Option<i64>,
}

impl Index {
    /// Opens the index in a directory; `None` if nothing was written to it yet.
    pub fn open(
        directory: &Path,
        dimension: u32,
        is_unit: bool,
        access: Access,
    ) -> Result<Option<Index>> {
        let labels = directory.join("index_metadata.pickle");
        if !labels.exists() {
            return Ok(None);
        }
        let view = |name: &str| View::open(&directory.join(name), access);
        let (header, data) = (view("header.bin")?, view("data_level0.bin")?);
        let mut bytes = [0; 52];
        header.read(0, &mut bytes)?;
        let number = |at: usize| {
            let word = bytes[at..]
                .first_chunk::<8>()
                .expect("the header is longer");
            u64::from_le_bytes(*word)
        };
        let version = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if version != 1 {
            let what = format!("is an index of version {version}, but only 1 is supported");
            return Err(Error::path(Kind::Unsupported, header.path(), what));
        }
        let index = Index {
            lengths: is_unit.then(|| view("length.bin")).transpose()?,
            labels: View::open(&labels, access)?,
            count: number(20),
            element_bytes: number(28),
            label_at: number(36),
            data_at: number(44),
            dimension,
            data,
        };
        let vector_bytes = u64::from(dimension) * 4;
        let fits = index.data_at.checked_add(vector_bytes) == Some(index.label_at)
            && index.label_at.checked_add(8) == Some(index.element_bytes);
        if !fits {
            let what = format!(
                "has elements of {} bytes with vectors at {} and labels at {}, which does not fit vectors of \
                 {dimension} dimensions",
                index.element_bytes, index.data_at, index.label_at
            );
            return Err(header.corrupt(28, what));
        }
        let all = index.count.checked_mul(index.element_bytes);
        if index.count > u64::from(u32::MAX) || all.is_none_or(|all| all > index.data.len()) {
            let what = format!(
                "has {} bytes, but header.bin declares {} elements of {}",
                index.data.len(),
                index.count,
                index.element_bytes
            );
            return Err(index.data.corrupt(index.data.len(), what));
        }
        if !index.data.len().is_multiple_of(index.element_bytes) {
            let what = format!("ends within an element of {} bytes", index.element_bytes);
            return Err(index.data.corrupt(index.data.len(), what));
        }
        if let Some(lengths) = &index.lengths
            && lengths.len() < index.count * 4
        {
            let what = format!("has the lengths of fewer than {} vectors", index.count);
            return Err(lengths.corrupt(lengths.len(), what));
        }
        Ok(Some(index))
    }

    /// The rows that it has.
    pub fn known(&self) -> Result<Known> {
        let (labels, last_write) = self.labels()?;
        let mut elements = HashMap::with_capacity(self.count.min(1 << 26) as usize);
        let each = (limits::LITE_BLOCK_BYTES as u64 / self.element_bytes).max(1);
        let mut first = 0;
        while first < self.count {
            let some = each.min(self.count - first);
            let at = first * self.element_bytes;
            let bytes = self.data.cut(at, some * self.element_bytes)?.bytes()?;
            for (number, element) in bytes.chunks_exact(self.element_bytes as usize).enumerate() {
                let label = element[self.label_at as usize..].first_chunk::<8>();
                let label = u64::from_le_bytes(*label.expect("an element ends with its label"));
                elements.insert(label, (first + number as u64) as u32);
            }
            first += some;
        }
        let mut known = HashMap::with_capacity(labels.len());
        for (id, label) in labels {
            let Some(element) = elements.get(&label) else {
                let what = format!(
                    "gives row {} the label {label}, which no element of data_level0.bin has",
                    crate::json::quoted(&id)
                );
                return Err(Error::path(Kind::Corrupt, self.labels.path(), what));
            };
            known.insert(id, *element);
        }
        Ok(Known {
            elements: known,
            last_write,
        })
    }

    fn labels(&self) -> Result<(Labels, Option<i64>)> {
        if self.labels.len() > limits::CHROMA_LABELS_BYTES_MAX {
            let what = format!(
                "has {} bytes, but at most {} are read",
                self.labels.len(),
                limits::CHROMA_LABELS_BYTES_MAX
            );
            return Err(Error::path(Kind::Unsupported, self.labels.path(), what));
        }
        let bytes = self.labels.bytes()?;
        let wrong = |at: usize, what: String| {
            Error::new(Kind::Corrupt, what).at(Place::File {
                path: self.labels.path().clone(),
                at: at as u64,
            })
        };
        let is_known = |module: &str, name: &str| (module, name) == CLASS;
        let (made, value) =
            pickle::read(&bytes, &is_known).map_err(|(at, what)| wrong(at, what))?;
        let state = match value {
            Value::Object(number) => made.object(number).and_then(|object| object.state),
            value => Some(value),
        };
        let found = state.and_then(|state| Some((state, made.get(state, "id_to_label")?)));
        let Some((state, Value::Dict(labels))) = found else {
            let what = "is not a list of the rows of a Chroma index".to_owned();
            return Err(wrong(bytes.len(), what));
        };
        let mut all = Vec::new();
        for (id, label) in made.dict(labels) {
            match (id.text(), label) {
                (Some(id), Value::Int(label)) if u64::try_from(*label).is_ok() => {
                    all.push((id.to_owned(), *label as u64));
                }
                _ => {
                    let what =
                        "has an id that is not text, or a label that is not a number".to_owned();
                    return Err(wrong(bytes.len(), what));
                }
            }
        }
        let last = match made.get(state, "max_seq_id") {
            Some(Value::Int(last)) => i64::try_from(last).ok(),
            _ => None,
        };
        Ok((all, last))
    }

    /// Appends the vector of an element.
    pub fn vector(&self, element: u32, out: &mut Vec<u8>) -> Result<()> {
        let at = u64::from(element) * self.element_bytes + self.data_at;
        let bytes = self.data.cut(at, u64::from(self.dimension) * 4)?.bytes()?;
        let Some(lengths) = &self.lengths else {
            out.extend_from_slice(&bytes);
            return Ok(());
        };
        let mut length = [0; 4];
        lengths.read(u64::from(element) * 4, &mut length)?;
        let length = f32::from_le_bytes(length);
        for float in bytes.as_chunks::<4>().0 {
            out.extend((f32::from_le_bytes(*float) * length).to_le_bytes());
        }
        Ok(())
    }

    /// Its files.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        [&self.data, &self.labels].into_iter().chain(&self.lengths)
    }
}
