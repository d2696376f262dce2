//! Says what a file or directory holds.

use std::fmt::Display;
use std::path::Path;

use serde::Serialize;

use super::{Common, print_json};
use crate::error::Result;
use crate::format::faiss;
use crate::input::{Access, View};
use crate::source::milvus1;

/// `milvusdm inspect PATH`.
pub fn inspect(path: &Path, common: &Common) -> Result<()> {
    if path.is_dir() {
        return show(&milvus1::inspect(path, None)?, common);
    }
    let view = View::open(path, Access::Map)?;
    show(&faiss::inspect(&view)?, common)
}

fn show(description: &(impl Serialize + Display), common: &Common) -> Result<()> {
    if common.json {
        return print_json(description);
    }
    println!("{}", description.to_string().trim_end());
    Ok(())
}
