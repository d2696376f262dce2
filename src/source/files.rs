//! What do file sources have in common? Which files are selected, what identifies them, where they are cut.
//! Reads no rows.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::batch::{Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::input::{Access, View, Volume};
use crate::job::{Form, Setting, is_glob, matches};
use crate::limits;

/// The files that a job names: one, a list in its order, or those of a directory or a glob in natural order.
pub enum Named {
    /// In the order listed; a glob among them stands for its files in natural order.
    Paths(Vec<PathBuf>),
    /// All files in a directory that have one of the source's extensions.
    Dir(PathBuf),
    /// All that match, whatever their extension.
    Glob(String),
}

/// The settings that [`Named::read`] reads besides `dir`, for the list of a source.
pub const PATH: Setting = Setting::paths(
    "path",
    "the file, or a glob for files in natural order: 2 before 10",
)
.one_of();
/// See [`PATH`].
pub const PATHS: Setting =
    Setting::paths("paths", "the files in this order; globs are allowed").one_of();
/// See [`PATH`].
pub const GLOB: Setting = Setting::path(
    "glob",
    "files whose path matches, such as shards/*.fbin, in natural order: 2 before 10",
)
.one_of();
/// How bytes are read.
pub const ACCESS: Setting = Setting::choice(
    "access",
    &["map", "read"],
    "how files are read: mapped into memory, or with read calls (for network mounts)",
)
.or("map");

impl Named {
    /// Reads `path`, `paths`, `dir` or `glob`, exactly one of which must be given.
    pub fn read(form: &mut Form) -> Option<Named> {
        let path = form.list("path").and_then(Named::paths);
        let paths = form.list("paths").and_then(Named::paths);
        let dir = form.text("dir").map(|dir| Named::Dir(dir.into()));
        let glob = form.text("glob").map(Named::Glob);
        let mut given = [path, paths, dir, glob].into_iter().flatten();
        let one = given.next();
        if one.is_none() || given.next().is_some() {
            form.needs_one(&["path", "paths", "dir", "glob"]);
            return None;
        }
        one
    }

    fn paths(paths: Vec<String>) -> Option<Named> {
        let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
        (!paths.is_empty()).then_some(Named::Paths(paths))
    }

    /// The files, at least one.
    pub fn files(&self, endings: &[&str]) -> Result<Vec<PathBuf>> {
        match self {
            Named::Paths(paths) => {
                let mut files = Vec::with_capacity(paths.len());
                for path in paths {
                    match path.to_str().filter(|path| is_glob(path)) {
                        Some(glob) => files.append(&mut fitting(glob)?),
                        None => files.push(path.clone()),
                    }
                }
                Ok(files)
            }
            Named::Dir(dir) => in_directory(dir, endings),
            Named::Glob(glob) => fitting(glob),
        }
    }
}

impl Named {
    /// The first path named: a file, a directory or a glob.
    pub fn first(&self) -> &Path {
        match self {
            Named::Paths(paths) => paths.first().map_or(Path::new(""), PathBuf::as_path),
            Named::Dir(path) => path,
            Named::Glob(glob) => Path::new(glob),
        }
    }

    /// The same for a bucket, at least one.
    pub fn objects(&self, volume: &Volume, ending: &str) -> Result<Vec<PathBuf>> {
        let dir = match self {
            Named::Paths(paths) => return Ok(paths.clone()),
            Named::Dir(dir) => dir,
            Named::Glob(glob) => {
                let error =
                    Error::path(Kind::Job, Path::new(glob), "globs do not work in a bucket");
                return Err(error.hint("`dir:` reads all files below a prefix"));
            }
        };
        let entries = volume.list(dir)?.into_iter().filter(|entry| !entry.is_dir);
        let paths = entries.map(|entry| dir.join(entry.name));
        let ends = |path: &PathBuf| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case(ending))
        };
        let mut paths: Vec<PathBuf> = paths.filter(ends).collect();
        if paths.is_empty() {
            let what = format!("has no objects that end in .{ending}");
            return Err(Error::path(Kind::Job, dir, what));
        }
        paths.sort_by(|one, two| natural(one, two));
        Ok(paths)
    }
}

/// Reads `access`.
pub fn access(form: &mut Form) -> Access {
    match form.choice("access") {
        Some("read") => Access::Read,
        _ => Access::Map,
    }
}

/// The files of a directory that have one of these extensions, in natural order.
fn in_directory(dir: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let ends = |path: &PathBuf| {
        let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        endings.iter().any(|e| ending.eq_ignore_ascii_case(e))
    };
    let mut paths = entries(dir)?;
    paths.retain(|path| ends(path) && !path.is_dir());
    if paths.is_empty() {
        let endings: Vec<String> = endings.iter().map(|e| format!(".{e}")).collect();
        let what = format!("has no files that end in {}", endings.join(" or "));
        return Err(Error::path(Kind::Job, dir, what));
    }
    paths.sort_by(|one, two| natural(one, two));
    Ok(paths)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |e: std::io::Error| {
        let what = match e.kind() {
            std::io::ErrorKind::NotFound => "there is no such directory".to_owned(),
            _ => format!("cannot list: {e}"),
        };
        Error::path(Kind::Job, dir, what)
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(wrong)? {
        if paths.len() == limits::FILES_MAX {
            let what = format!("has more than {} entries", limits::FILES_MAX);
            return Err(Error::path(Kind::Job, dir, what));
        }
        paths.push(entry.map_err(wrong)?.path());
    }
    Ok(paths)
}

/// The files whose path matches a glob, component by component, in natural order.
fn fitting(glob: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in Path::new(glob).components() {
        let name = component.as_os_str().to_string_lossy();
        let is_glob = matches!(component, Component::Normal(_)) && name.contains(['*', '?']);
        if !is_glob {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        let mut next = Vec::new();
        for dir in &found {
            let within = if dir.as_os_str().is_empty() {
                Path::new(".")
            } else {
                dir
            };
            // Nothing can match in what is not a directory.
            if !within.is_dir() {
                continue;
            }
            let names = entries(within)?.into_iter();
            let names = names.filter_map(|path| path.file_name().map(OsStr::to_owned));
            // As in a shell, hidden files must be matched explicitly.
            let fits =
                |n: &str| matches(&name, n) && (!n.starts_with('.') || name.starts_with('.'));
            next.extend(
                names
                    .filter(|n| fits(&n.to_string_lossy()))
                    .map(|n| dir.join(n)),
            );
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    if found.is_empty() {
        return Err(Error::path(
            Kind::Job,
            Path::new(glob),
            "no file matches this glob",
        ));
    }
    found.sort_by(|one, two| natural(one, two));
    Ok(found)
}

/// Natural order: numbers in names are compared by value, so that `part2` comes before `part10`.
pub fn natural(one: &Path, two: &Path) -> Ordering {
    in_numbers(&one.to_string_lossy(), &two.to_string_lossy())
}

/// Natural order of names.
pub fn in_numbers(one: &str, two: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), two.as_bytes());
    let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    loop {
        let (m, n) = (digits(a), digits(b));
        let order = if m > 0 && n > 0 {
            let (x, y) = (significant(&a[..m]), significant(&b[..n]));
            (a, b) = (&a[m..], &b[n..]);
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            match (a.split_first(), b.split_first()) {
                (None, None) => return one.cmp(two),
                (x, y) => {
                    let order = x.map(|x| x.0).cmp(&y.map(|y| y.0));
                    (a, b) = (x.map_or(a, |x| x.1), y.map_or(b, |y| y.1));
                    order
                }
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The digits after leading zeros.
fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|c| **c == b'0').count();
    &digits[zeros..]
}

/// What identifies some files, by their paths in the job.
pub fn identities<'v>(files: impl Iterator<Item = &'v View>) -> Result<BTreeMap<String, String>> {
    let all = files.map(|file| Ok((file.path().display().to_string(), identity(file)?)));
    all.collect()
}

/// What identifies a file: if any of it differs, the data may too.
pub fn identity(file: &View) -> Result<String> {
    let head = file.cut(0, file.len().min(limits::HEAD_BYTES))?.bytes()?;
    let head = format!("head_crc32 {:08x}", crc32fast::hash(&head));
    Ok(match file.stamp() {
        Some(stamp) => format!(
            "{} bytes, modified {} ns, inode {}:{}, {head}",
            stamp.bytes, stamp.modified_ns, stamp.inode.0, stamp.inode.1
        ),
        None => head,
    })
}

/// The number of rows in a shard: whole batches and whole seams if possible, and no more shards than `most`.
pub fn shard_rows(rows: u64, batch: u64, seam: u64, most: u64) -> u64 {
    let least = rows.div_ceil(most).max(1);
    let whole = |n: u64, unit: u64| n.div_ceil(unit).saturating_mul(unit);
    if seam > 1 {
        whole(least.max(batch), seam)
    } else {
        whole(least, batch)
    }
}

/// Cuts a part that is a whole target, and whose rows are looked up by number, into shards. `name` precedes the rows
/// in the name of a shard.
pub fn add_shards(shards: &mut Vec<Shard>, target: usize, name: &str, rows: u64) {
    let each = shard_rows(rows, limits::LITE_SHARD_ROWS, 1, limits::SHARDS_PER_TARGET);
    let name = match name {
        "" => String::new(),
        name => format!("{name} "),
    };
    let mut start = 0;
    while start < rows {
        let end = start.saturating_add(each).min(rows);
        shards.push(Shard {
            number: shards.len() as u32,
            target: target as u32,
            part: target as u32,
            name: format!("{name}rows {start}..{end}"),
            rows: end - start,
            first_row: start,
            start: Position::Row(start),
            end: Position::Row(end),
        });
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_of_a_target_cover_its_rows_once() {
        for rows in [
            0,
            1,
            limits::LITE_SHARD_ROWS,
            3 * limits::LITE_SHARD_ROWS + 7,
        ] {
            let mut shards = Vec::new();
            add_shards(&mut shards, 0, "before", 1);
            add_shards(&mut shards, 1, "", rows);
            let mine = &shards[1..];
            let mut next = 0;
            for (number, shard) in (1..).zip(mine) {
                assert_eq!((shard.number, shard.target, shard.part), (number, 1, 1));
                assert_eq!(
                    (shard.first_row, &shard.start),
                    (next, &Position::Row(next))
                );
                next += shard.rows;
                assert_eq!(shard.end, Position::Row(next));
            }
            assert_eq!(next, rows);
            assert!(mine.len() as u64 <= limits::SHARDS_PER_TARGET);
            assert!(
                mine.first()
                    .is_none_or(|shard| shard.name.starts_with("rows 0.."))
            );
        }
    }

    #[test]
    fn shards_are_whole_batches_and_seams() {
        assert_eq!(shard_rows(1_000_000, 1000, 1, 64), 16_000);
        assert_eq!(shard_rows(100, 1000, 1, 64), 1000);
        assert_eq!(shard_rows(0, 1000, 1, 64), 1000);
        assert_eq!(shard_rows(1_000_000, 1000, 3000, 64), 18_000);
        assert_eq!(shard_rows(1_000_000, 1000, 7, 1_000_000), 1001);
        assert_eq!(shard_rows(10, 1000, u64::MAX, 64), u64::MAX);
    }

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["b", "a10", "a2", "a02", "a1/z", "a1", "a10b", "", "a9"].map(Path::new);
        names.sort_by(|one, two| natural(one, two));
        let expected = ["", "a1", "a1/z", "a02", "a2", "a9", "a10", "a10b", "b"];
        assert_eq!(names, expected.map(Path::new));
    }

    #[test]
    fn globs_find_files_below_directories_that_fit() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in [
            "s2/x10.fbin",
            "s2/x9.fbin",
            "s10/x1.fbin",
            "s2/.x.fbin",
            "t/x1.fbin",
        ] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = fitting(&format!("{}/s*/*.fbin", root.display())).unwrap();
        let expected = ["s2/x9.fbin", "s2/x10.fbin", "s10/x1.fbin"].map(|n| root.join(n));
        assert_eq!(found, expected);
        assert!(fitting(&format!("{}/s*/*.npy", root.display())).is_err());
        assert_eq!(in_directory(&root.join("s2"), &["fbin"]).unwrap().len(), 3);
    }
}
