//! What surrounds an index: LangChain keeps one in a directory, next to a pickle with texts and ids.
//! Names files, opens none.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};

/// The error for a directory given in place of the index in it; `None` if no index is directly in it.
pub fn index_in(path: &Path) -> Option<Error> {
    if !path.is_dir() {
        return None;
    }
    let entries = std::fs::read_dir(path).ok()?;
    let mut indexes: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            file.extension()
                .is_some_and(|e| e == "faiss" || e == "index")
        })
        .filter(|file| file.is_file())
        .collect();
    indexes.sort();
    let (first, others) = indexes.split_first()?;
    let mut what = format!("is a directory; the index in it is {}", first.display());
    if !others.is_empty() {
        what = format!("is a directory with {} index files", indexes.len());
    }
    let hint = match (left_behind(first), others) {
        (Some(beside), _) => format!("name that file: {beside}"),
        (None, []) => "name that file".to_owned(),
        (None, _) => "name the file that is meant".to_owned(),
    };
    Some(Error::path(Kind::Job, path, what).hint(hint))
}

/// What is left behind when an index of LangChain's travels.
pub fn left_behind(index: &Path) -> Option<String> {
    let pickle = index.with_extension("pkl");
    let langchain = index.extension().is_some_and(|e| e == "faiss") && pickle.is_file();
    langchain.then(|| {
        format!(
            "{} next to it is LangChain's: the texts and ids of its documents are left out, rows are migrated under their row \
             numbers",
            pickle.display()
        )
    })
}
