//! On-disk inverted lists: which file are they in?

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::format::faiss::{Place, Rows};
use crate::input::{Access, View};

/// The file that rows are in: the index file, or the one it names. That file may have moved: a setting
/// says where it is now; else it is searched at its recorded path, then next to the index file.
pub fn find(file: &View, rows: &Rows, setting: Option<&Path>, access: Access) -> Result<View> {
    let Place::Elsewhere { name, bytes, at } = &rows.stored.lists.place else {
        if let Some(setting) = setting {
            let what = format!(
                "this index has its lists in it, not in {}",
                setting.display()
            );
            return Err(Error::path(Kind::Job, file.path(), what).hint("leave out `lists`"));
        }
        return Ok(file.clone());
    };
    // Faiss creates the file with the first row.
    if rows.stored.lists.rows == 0 && setting.is_none() {
        return Ok(file.clone());
    }
    // Faiss stores no name for mapped lists: they are in the file that it read the index from.
    if name.is_empty() && setting.is_none() {
        let what = "its inverted lists are in another file whose name was not kept: the index was read with \
                    IO_FLAG_MMAP and then written again";
        return Err(Error::new(Kind::Job, what).at(file.place(*at)).hint(
            "set `lists:` to the index file that it was read from: that file has the lists",
        ));
    }
    let stored = Path::new(OsStr::from_bytes(name));
    let beside = stored
        .file_name()
        .map(|name| file.path().with_file_name(name));
    let data = if let Some(setting) = setting {
        View::open(setting, access)?
    } else if stored.is_file() {
        View::open(stored, access)?
    } else if let Some(beside) = beside.as_deref().filter(|path| path.is_file()) {
        View::open(beside, access)?
    } else {
        let beside = beside.unwrap_or_default();
        let what = match beside == stored {
            true => format!(
                "its inverted lists are in another file, {}, which does not exist",
                stored.display()
            ),
            false => format!(
                "its inverted lists are in another file, which is neither at {} nor at {}",
                stored.display(),
                beside.display()
            ),
        };
        return Err(Error::new(Kind::Job, what)
            .at(file.place(*at))
            .hint("set `lists:` to the path of that file"));
    };
    if data.len() < *bytes {
        let what = format!(
            "the file of the inverted lists has {} bytes, the index {} says {bytes}",
            data.len(),
            file.path().display()
        );
        return Err(Error::path(Kind::Corrupt, data.path(), what)
            .hint("copy the file again, or set `lists:` to the path of the right one"));
    }
    Ok(data)
}
