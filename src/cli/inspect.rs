//! Shows what a file, a directory or a server holds.

use std::fmt::Display;
use std::path::Path;

use serde::Serialize;

use super::say::{Text, print_json};
use super::{Common, look, remote};
use crate::error::{Error, Kind, Result};
use crate::format::{faiss, known};
use crate::input::{Access, View};
use crate::source::{self, milvus_lite, milvus1, milvus2, parquet};

/// Where the signature of an HDF5 file may be: at its start, or after a user block.
const HDF5_SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
const HDF5_STARTS: [u64; 6] = [0, 512, 1024, 2048, 4096, 8192];

/// `milvusdm inspect PATH`.
pub fn inspect(path: &Path, common: &Common) -> Result<()> {
    if path.starts_with("s3:") {
        if let Some(description) = parquet::inspect(path)? {
            return show(&description, common);
        }
        return match milvus2::inspect(path)? {
            Some(description) => show(&description, common),
            None => {
                let what = "is neither storage of Milvus 2.x nor a backup";
                Err(Error::path(Kind::Job, path, what))
            }
        };
    }
    if let Some(address) = remote::address(path) {
        return show(&remote::look(address)?, common);
    }
    if let Some(error) = source::faiss::index_in(path) {
        return Err(error);
    }
    if milvus_lite::is_it(path) {
        return show(&milvus_lite::inspect(path)?, common);
    }
    if let Some(description) = milvus2::inspect(path)? {
        return show(&description, common);
    }
    if let Some(description) = parquet::inspect(path)? {
        return show(&description, common);
    }
    if path.is_dir() {
        if path.join("chroma.sqlite3").is_file() {
            let what = "is a directory of Chroma, which `inspect` does not read";
            let error = Error::path(Kind::Unsupported, path, what);
            return Err(error.hint("`milvusdm plan` of a job with this source lists its collections: `chroma: {path: …}`"));
        }
        return show(&milvus1::inspect(path, None)?, common);
    }
    let view = View::open(path, Access::Map)?;
    if HDF5_STARTS.iter().any(|at| is_hdf5(&view, *at)) {
        return show(&look::describe(path)?, common);
    }
    match source::inspect(&view)? {
        Some(description) => show(&description, common),
        None if is_faiss(&view)? => show(&faiss::inspect(&view)?, common),
        None => Err(stranger(&view)?),
    }
}

/// Whether a file claims to be an index of Faiss, or begins like one.
fn is_faiss(view: &View) -> Result<bool> {
    Ok(matches!(&*ending(view), "index" | "faiss") || faiss::begins(view)?)
}

/// The error about a file whose beginning matches no readable kind, given what its name claims.
fn stranger(view: &View) -> Result<Error> {
    let (wanted, source) = match &*ending(view) {
        "parquet" => ("a Parquet file", "parquet"),
        "h5" | "hdf5" => ("an HDF5 file", "hdf5"),
        "npy" => ("a NumPy array", "numpy"),
        "npz" => ("a NumPy archive", "numpy"),
        _ => ("a file that `inspect` reads", ""),
    };
    if let Some(error) = known::named(view, wanted, source)? {
        return Ok(error);
    }
    let what = format!("is not {wanted}: it does not begin like any known kind of file");
    let error = Error::path(Kind::Unsupported, view.path(), what);
    Ok(error.hint(
        "`inspect` reads indexes of Faiss, HDF5, Parquet, .npy, .npz, files of vectors such as .fvecs and .fbin, and \
         directories of Milvus",
    ))
}

/// The extension of a file, in lower case.
fn ending(view: &View) -> String {
    let ending = view.path().extension().unwrap_or_default();
    ending.to_string_lossy().to_lowercase()
}

fn is_hdf5(view: &View, at: u64) -> bool {
    let mut found = [0; 8];
    view.read(at, &mut found).is_ok() && found == *HDF5_SIGNATURE
}

fn show(description: &(impl Serialize + Display), common: &Common) -> Result<()> {
    if common.json {
        return print_json(description);
    }
    let mut text = Text::default();
    text.add_lines(description.to_string().trim_end());
    text.print()
}
