//! What did an earlier attempt write, and how much of it is still valid? Its work is continued as far as the bytes
//! exist and the source returns the same rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::away::Away;
use super::journal::{Line, Written};
use super::target::{Filling, JOURNAL, Open, State, file_name, told};
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::parquet::{Listed, Manifest};

impl Filling {
    /// Takes over what the journal lists, as far as the files hold it; removes everything else that an earlier run
    /// left.
    pub(super) fn take_up(&self, state: &mut State, lines: Vec<Line>) -> Result<()> {
        let mut kept: Vec<Line> = Vec::new();
        let (mut groups, mut whole): (Vec<Written>, BTreeMap<u64, Listed>) = Default::default();
        for line in lines {
            match &line {
                Line::Whole {
                    file,
                    rows,
                    bytes,
                    crc32,
                } => {
                    let listed = Listed {
                        name: self.name(*file),
                        rows: *rows,
                        bytes: *bytes,
                        crc32: *crc32,
                    };
                    let there = [self.temporary(*file), self.named(*file)]
                        .into_iter()
                        .any(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() == *bytes));
                    let there = match &self.away {
                        Some(away) if !there => away.has(&listed.name, *bytes)?,
                        _ => there,
                    };
                    if !there {
                        // Nothing in the file can be trusted.
                        groups.retain(|group| group.file != *file);
                        kept.retain(
                            |line| !matches!(line, Line::Group(group) if group.file == *file),
                        );
                        break;
                    }
                    whole.insert(*file, listed);
                    groups
                        .iter_mut()
                        .filter(|g| g.file == *file)
                        .for_each(|g| g.footer = Vec::new());
                }
                Line::Group(group) => groups.push(group.clone()),
                Line::Begin { .. } => break,
            }
            kept.push(line);
        }
        // The unfinished file is usable as far as its bytes are those that were written.
        let open = groups
            .last()
            .map(|group| group.file)
            .filter(|file| !whole.contains_key(file));
        if let Some(number) = open {
            let path = self.temporary(number);
            let of_file: Vec<&Written> = groups.iter().filter(|g| g.file == number).collect();
            let (good, sum) = good(&path, &of_file);
            let bad = of_file.len() - good;
            groups.truncate(groups.len() - bad);
            kept.truncate(kept.len() - bad);
            if good > 0 {
                let end = groups.last().expect("some are good").end;
                let io = |doing: &'static str| {
                    let path = path.clone();
                    move |e: std::io::Error| Error::io(&path, doing, &e)
                };
                let mut file = File::options()
                    .write(true)
                    .open(&path)
                    .map_err(io("open"))?;
                file.set_len(end).map_err(io("truncate"))?;
                file.seek(SeekFrom::Start(end)).map_err(io("truncate"))?;
                state.file = Some(Open {
                    number,
                    file,
                    len: end,
                    sum,
                });
            }
        }
        state.waiting = whole.keys().copied().collect();
        (state.groups, state.whole) = (groups, whole);
        let path = self.dir.join(JOURNAL);
        let told = told(&self.target, &self.shape, self.moving);
        state.journal.rewrite(&path, self.run, &told, &kept)?;
        self.remove_others(state)
    }

    /// Removes temporary files that the journal does not list.
    fn remove_others(&self, state: &State) -> Result<()> {
        let known = state
            .whole
            .keys()
            .copied()
            .chain(state.file.as_ref().map(|file| file.number));
        let known: Vec<u64> = known.collect();
        let known: Vec<PathBuf> = known
            .into_iter()
            .map(|number| self.temporary(number))
            .collect();
        let listing = std::fs::read_dir(&self.dir).map_err(|e| Error::io(&self.dir, "list", &e))?;
        for entry in listing.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = name.starts_with(".milvusdm-part-") && name.ends_with(".tmp");
            if ours && !known.contains(&entry.path()) {
                let path = entry.path();
                std::fs::remove_file(&path)
                    .map_err(|e| Error::io(&path, "remove a file that an earlier run left", &e))?;
            }
        }
        Ok(())
    }

    /// Discards what an earlier attempt wrote after the confirmed rows: a changing source may have other rows there by
    /// now.
    pub(super) fn discard(&self, state: &mut State) -> Result<()> {
        let row = state.next_row();
        let keeps = |file: u64| {
            file.saturating_add(1)
                .saturating_mul(self.shape.rows_per_file)
                <= row
        };
        for number in state.whole.keys().filter(|number| !keeps(**number)) {
            let (named, temporary) = (self.named(*number), self.temporary(*number));
            let is_here = temporary.try_exists().unwrap_or(true);
            match &self.away {
                // None of its rows are kept.
                Some(away) if number.saturating_mul(self.shape.rows_per_file) >= row => {
                    away.remove(&self.name(*number))?;
                }
                Some(away) if !is_here => away.fetch(&self.name(*number), &temporary)?,
                None if !is_here => std::fs::rename(&named, &temporary)
                    .map_err(|e| Error::io(&named, "reopen the finished file", &e))?,
                _ => {}
            }
        }
        let mut lines = state.journal.lines(&self.dir.join(JOURNAL))?;
        lines.retain(|line| match line {
            Line::Group(group) => group.first < row,
            Line::Whole { file, .. } => keeps(*file),
            Line::Begin { .. } => false,
        });
        state.file = None;
        self.take_up(state, lines)?;
        match state.groups.len() == state.confirmed {
            true => Ok(()),
            false => {
                let what = "rows that were written before no longer exist";
                Err(Error::path(Kind::Io, &self.dir, what))
            }
        }
    }
}

/// Files that an attempt finished and renamed according to its journal: those of the recorded length that no manifest
/// lists.
pub(super) fn left(dir: &Path, away: Option<&Away>, noted: &[Line]) -> Result<Vec<String>> {
    let whole = noted.iter().filter_map(|line| match line {
        Line::Whole { file, bytes, .. } => Some((*file, *bytes)),
        _ => None,
    });
    if let Some(away) = away {
        return away.left(whole);
    }
    let manifest = Manifest::read(dir, &Volume::default()).ok().flatten();
    let is_listed = |name: &str| {
        let mut files = manifest.iter().flat_map(|manifest| &manifest.files);
        files.any(|file| file.name == name)
    };
    let there = whole.filter_map(|(number, bytes)| {
        let name = file_name(number, "");
        let meta = std::fs::metadata(dir.join(&name)).ok()?;
        (meta.len() == bytes && !is_listed(&name)).then_some(name)
    });
    Ok(there.collect())
}

/// Removes the files that an attempt of another run, or with other settings, left: they would mix with the files of
/// this one.
pub(super) fn remove_left(dir: &Path, away: Option<&Away>, noted: &[Line]) -> Result<()> {
    left(dir, away, noted)?
        .iter()
        .try_for_each(|name| match away {
            Some(away) => away.remove(name),
            None => {
                let path = dir.join(name);
                std::fs::remove_file(&path)
                    .map_err(|e| Error::io(&path, "remove a file that an earlier run left", &e))
            }
        })
}

/// How many of a file's row groups are as they were written, and the checksum up to the end of the last one.
fn good(path: &Path, groups: &[&Written]) -> (usize, crc32fast::Hasher) {
    let mut sum = crc32fast::Hasher::new();
    let Ok(mut file) = File::open(path) else {
        return (0, sum);
    };
    let (mut good, mut at) = (0, 0);
    for group in groups {
        let mut next = sum.clone();
        let mut stretch = (&mut file).take(group.end.saturating_sub(at));
        let mut room = vec![0; 1 << 20];
        loop {
            match stretch.read(&mut room) {
                Ok(0) => break,
                Ok(count) => next.update(&room[..count]),
                Err(_) => return (good, sum),
            }
        }
        if stretch.limit() > 0 || next.clone().finalize() != group.crc32 {
            break;
        }
        (sum, at, good) = (next, group.end, good + 1);
    }
    (good, sum)
}
