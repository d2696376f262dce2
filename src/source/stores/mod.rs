//! llamaindex, haystack: how are the JSON files of their in-memory stores read? Ids, texts and metadata are held in
//! memory, vectors are read in place.
//!
//! ```text
//! default__vector_store.json  {"embedding_dict": {id: [0.1, …]}, …}    docstore.json  {"docstore/data": {id: {"__data__": …}}}
//! documents.json              {"documents": [{"id": …, "content": …, "meta": {…}, "embedding": [0.1, …]}], …}
//! ```

mod haystack;
mod llamaindex;
mod rows;

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Source, SourceKind, Spec, files};
use crate::error::{Error, Kind, Place, Result};
use crate::input::{Access, View};
use crate::job::Setting;
use crate::limits;
use crate::schema::Metric;
use crate::source::documents::Read;

/// The source `llamaindex`.
pub const LLAMAINDEX: SourceKind = SourceKind {
    name: "llamaindex",
    summary: "directories that LlamaIndex's StorageContext persists, with its simple vector store",
    settings: &[
        Setting::path("path", "the directory, with docstore.json in it")
            .required()
            .example("storage"),
        Setting::text(
            "store",
            "the vector store's name, which precedes `__vector_store.json`",
        )
        .or("default"),
        files::ACCESS,
    ],
    read: |form| {
        let path = form.required("path", "the directory, such as storage");
        let store = form.text("store").unwrap_or_else(|| "default".to_owned());
        let access = files::access(form);
        let path = PathBuf::from(path?);
        Some(Box::new(Wanted(Box::new(move || {
            llamaindex::open(&path, &store, access)
        }))))
    },
};

/// The source `haystack`.
pub const HAYSTACK: SourceKind = SourceKind {
    name: "haystack",
    summary: "files that Haystack's InMemoryDocumentStore saves (save_to_disk)",
    settings: &[
        Setting::path("path", "the JSON file")
            .required()
            .example("documents.json"),
        files::ACCESS,
    ],
    read: |form| {
        let path = form.required("path", "the JSON file, such as documents.json");
        let access = files::access(form);
        let path = PathBuf::from(path?);
        Some(Box::new(Wanted(Box::new(move || {
            haystack::open(&path, access)
        }))))
    },
};

/// How a job's store is opened.
struct Wanted(Box<dyn Fn() -> Result<rows::Store>>);

impl Spec for Wanted {
    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new((self.0)()?))
    }
}

/// A row without its vector.
#[derive(Clone, Debug)]
struct Row {
    id: String,
    /// The position of its vector in the text of the file.
    vector: Range<usize>,
    text: Option<String>,
    /// A JSON object.
    metadata: String,
}

/// What was found.
struct Found {
    rows: Vec<Row>,
    metric: Option<Metric>,
    notes: Vec<String>,
}

/// Opens a JSON file.
fn open(path: &Path, access: Access) -> Result<View> {
    let view = View::open(path, access)?;
    if view.len() > limits::STORE_BYTES_MAX {
        let what = format!(
            "has {} bytes, but stores of at most {} are read",
            view.len(),
            limits::STORE_BYTES_MAX
        );
        return Err(Error::path(Kind::Unsupported, path, what));
    }
    Ok(view)
}

/// Passes the text of a file to its reader.
fn parsed<T>(view: &View, read: impl FnOnce(&str) -> Read<T>) -> Result<T> {
    let bytes = view.bytes()?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| view.corrupt(e.valid_up_to() as u64, "is not JSON: it is not UTF-8"))?;
    read(text).map_err(|what| {
        Error::new(Kind::Corrupt, what).at(Place::File {
            path: view.path().clone(),
            at: 0,
        })
    })
}
