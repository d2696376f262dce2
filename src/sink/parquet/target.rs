//! How do the rows of a target get into its files? In order, each row group behind the one before; files get their names
//! once all are whole, the manifest last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::journal::{Journal, Line, Written};
use super::piece::{Encoded, Piece, pieces, write_all};
use crate::batch::{Batch, Part, Target};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::parquet::{Listed, MAGIC, MANIFEST, Manifest, Writer};

/// The journal's name in the directory of a target.
pub const JOURNAL: &str = ".milvusdm-journal";

/// What a target's files are made of.
#[derive(Clone, Debug)]
pub struct Shape {
    pub rows_per_file: u64,
    /// How pages are packed, where the job says.
    pub packing: Option<&'static str>,
}

/// A target that is being written.
pub struct Filling {
    dir: PathBuf,
    target: Target,
    shape: Shape,
    writer: Writer,
    /// Whether files of these names may be there already.
    replace: bool,
    run: u64,
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    journal: Journal,
    /// Row groups in the files, in order; the first `confirmed` of them came in this run.
    groups: Vec<Written>,
    confirmed: usize,
    whole: BTreeMap<u64, Listed>,
    /// The file that is not whole yet.
    file: Option<Open>,
    /// Pieces that came before their turn, by first row.
    early: BTreeMap<u64, Piece>,
    early_bytes: u64,
    digest: u64,
}

struct Open {
    number: u64,
    file: File,
    len: u64,
    sum: crc32fast::Hasher,
}

impl State {
    fn next_row(&self) -> u64 {
        match self.confirmed.checked_sub(1) {
            Some(last) => self.groups[last].first + self.groups[last].rows,
            None => 0,
        }
    }
}

impl Filling {
    /// Goes on with what this run wrote before it died, or begins.
    pub fn open(
        dir: &Path,
        target: &Target,
        shape: &Shape,
        run: u64,
        replace: bool,
    ) -> Result<Filling> {
        let path = dir.join(JOURNAL);
        let (journal, lines) = Journal::open(&path, run, &told(target, shape))?;
        let filling = Filling {
            dir: dir.to_owned(),
            writer: Writer::new(target.columns.all(), shape.packing)?,
            target: target.clone(),
            shape: shape.clone(),
            replace,
            run,
            state: Mutex::new(State {
                journal,
                groups: Vec::new(),
                confirmed: 0,
                whole: BTreeMap::new(),
                file: None,
                early: BTreeMap::new(),
                early_bytes: 0,
                digest: 0,
            }),
            moved: Condvar::new(),
        };
        filling.take_up(lines)?;
        Ok(filling)
    }

    fn name(number: u64) -> String {
        format!("part-{number:05}.parquet")
    }

    fn named(&self, number: u64) -> PathBuf {
        self.dir.join(Self::name(number))
    }

    fn temporary(&self, number: u64) -> PathBuf {
        self.dir
            .join(format!(".milvusdm-{}.tmp", Self::name(number)))
    }

    /// Takes up what the journal says, as far as it is in the files; removes what else an earlier run left.
    fn take_up(&self, lines: Vec<Line>) -> Result<()> {
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
                        name: Self::name(*file),
                        rows: *rows,
                        bytes: *bytes,
                        crc32: *crc32,
                    };
                    let there = [self.temporary(*file), self.named(*file)]
                        .into_iter()
                        .any(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() == *bytes));
                    if !there {
                        // Nothing of it can be trusted.
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
        // The file that is not whole: as far as its bytes are those that were written.
        let open = groups
            .last()
            .map(|group| group.file)
            .filter(|file| !whole.contains_key(file));
        let mut state = self.state.lock().expect("no one panics with it locked");
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
                file.set_len(end).map_err(io("cut"))?;
                file.seek(SeekFrom::Start(end)).map_err(io("cut"))?;
                state.file = Some(Open {
                    number,
                    file,
                    len: end,
                    sum,
                });
            }
        }
        (state.groups, state.whole) = (groups, whole);
        let path = self.dir.join(JOURNAL);
        let told = told(&self.target, &self.shape);
        state.journal.rewrite(&path, self.run, &told, &kept)?;
        self.remove_others(&state)
    }

    /// Removes temporary files that the journal knows nothing of.
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
                    .map_err(|e| Error::io(&path, "remove what an earlier run left", &e))?;
            }
        }
        Ok(())
    }

    /// The digests of a batch's row groups, one behind the other, and their sum.
    pub fn pack(&self, batch: &Batch) -> (Bytes, u64) {
        let (mut all, mut sum) = (Vec::new(), 0u64);
        for (_, parts) in pieces(batch, self.shape.rows_per_file) {
            let digests = parts.iter().map(digest::part);
            let digest = digests.fold(0, u64::wrapping_add);
            all.extend(digest.to_le_bytes());
            sum = sum.wrapping_add(digest);
        }
        (all.into(), sum)
    }

    /// A row group, as far as it has to be written.
    fn piece(&self, first: u64, parts: &[Part], digest: u64) -> Result<Piece> {
        let rows = parts.iter().map(|part| part.len() as u64).sum();
        let group = match self.is_written(first, rows, digest) {
            true => None,
            false => Some(Encoded::new(&self.writer, parts)?),
        };
        Ok(Piece {
            first,
            rows,
            digest,
            group,
        })
    }

    /// Whether an earlier attempt wrote just these rows.
    fn is_written(&self, first: u64, rows: u64, digest: u64) -> bool {
        let state = self.state.lock().expect("no one panics with it locked");
        let at = state
            .groups
            .binary_search_by_key(&first, |group| group.first);
        at.is_ok_and(|at| (state.groups[at].rows, state.groups[at].digest) == (rows, digest))
    }

    /// Makes row groups of a batch whose digests these are, several batches at a time, and appends them when all before
    /// them are there; keeps them until then.
    pub fn deliver(&self, batch: &Batch, digests: &[Bytes]) -> Result<()> {
        let digests = digests.iter().flat_map(|bytes| bytes.as_chunks::<8>().0);
        let pieces = pieces(batch, self.shape.rows_per_file).into_iter();
        let pieces = pieces
            .zip(digests)
            .map(|((first, parts), digest)| self.piece(first, &parts, u64::from_le_bytes(*digest)));
        let pieces: Vec<Piece> = pieces.collect::<Result<_>>()?;
        let Some(first) = pieces.first().map(|piece| piece.first) else {
            return Ok(());
        };
        let mut state = self.state.lock().expect("no one panics with it locked");
        // Delivery threads overtake each other by a parcel or two; the one that is ahead waits a while, never for ever.
        if first > state.next_row() && state.early_bytes > limits::PARQUET_EARLY_BYTES {
            let wait = Duration::from_millis(200);
            let behind =
                |s: &mut State| first > s.next_row() && s.early_bytes > limits::PARQUET_EARLY_BYTES;
            let waited = self.moved.wait_timeout_while(state, wait, behind);
            state = waited.expect("no one panics with it locked").0;
        }
        for piece in pieces {
            let bytes = piece.len();
            if piece.first >= state.next_row() && state.early.insert(piece.first, piece).is_none() {
                state.early_bytes += bytes;
            }
        }
        while state
            .early
            .first_key_value()
            .is_some_and(|(first, _)| *first <= state.next_row())
        {
            let (_, piece) = state.early.pop_first().expect("it was looked at");
            state.early_bytes -= piece.len();
            if piece.first == state.next_row() {
                self.append(&mut state, piece)?;
            }
        }
        self.moved.notify_all();
        Ok(())
    }

    fn append(&self, state: &mut State, piece: Piece) -> Result<()> {
        let end = piece.first + piece.rows;
        if end > self.target.rows {
            let what = format!("{} rows were announced, more came", self.target.rows);
            return Err(Error::path(Kind::Changed, &self.dir, what));
        }
        state.digest = state.digest.wrapping_add(piece.digest);
        if let Some(group) = state.groups.get(state.confirmed) {
            if (group.first, group.rows, group.digest) != (piece.first, piece.rows, piece.digest) {
                let _ = std::fs::remove_file(self.dir.join(JOURNAL));
                let what = format!(
                    "the source gives other rows from row {} on than an earlier attempt wrote",
                    piece.first
                );
                let error = Error::path(Kind::Changed, &self.dir, what);
                return Err(error.hint("the same command begins these files anew"));
            }
            state.confirmed += 1;
            return self.close_if_full(state);
        }
        let Some(Encoded { group, len, sum }) = piece.group else {
            return Err(Error::path(
                Kind::Io,
                &self.dir,
                "rows that were written before are no longer there",
            ));
        };
        let number = piece.first / self.shape.rows_per_file;
        let mut open = match state.file.take() {
            Some(open) => open,
            None => self.begin(number)?,
        };
        let path = self.temporary(number);
        let written = write_all(&mut open.file, &group.bytes);
        written.map_err(|e| Error::io(&path, "write", &e))?;
        open.sum.combine(&sum);
        open.len += len;
        let group = Written {
            file: number,
            first: piece.first,
            rows: piece.rows,
            digest: piece.digest,
            end: open.len,
            crc32: open.sum.clone().finalize(),
            footer: group.footer,
        };
        state.file = Some(open);
        state
            .journal
            .add(&self.dir.join(JOURNAL), &Line::Group(group.clone()))?;
        state.groups.push(group);
        state.confirmed += 1;
        self.close_if_full(state)
    }

    fn begin(&self, number: u64) -> Result<Open> {
        let path = self.temporary(number);
        let mut file = File::create(&path).map_err(|e| Error::io(&path, "make the file", &e))?;
        file.write_all(MAGIC)
            .map_err(|e| Error::io(&path, "write", &e))?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(MAGIC);
        Ok(Open {
            number,
            file,
            len: MAGIC.len() as u64,
            sum,
        })
    }

    fn close_if_full(&self, state: &mut State) -> Result<()> {
        let rows = state.next_row();
        match rows.is_multiple_of(self.shape.rows_per_file) && state.confirmed == state.groups.len()
        {
            true => self.close(state),
            false => Ok(()),
        }
    }

    /// Writes the end of the file that is open, and syncs it.
    fn close(&self, state: &mut State) -> Result<()> {
        let Some(mut open) = state.file.take() else {
            return Ok(());
        };
        let path = self.temporary(open.number);
        let (mut start, mut rows) = (MAGIC.len() as u64, 0);
        let mut groups = Vec::new();
        for group in state
            .groups
            .iter()
            .filter(|group| group.file == open.number)
        {
            groups.push((start, &*group.footer));
            (start, rows) = (group.end, rows + group.rows);
        }
        let end = self.writer.footer(&groups)?;
        let written = open
            .file
            .write_all(&end)
            .and_then(|()| open.file.sync_all());
        written.map_err(|e| Error::io(&path, "write the end", &e))?;
        open.sum.update(&end);
        let listed = Listed {
            name: Self::name(open.number),
            rows,
            bytes: open.len + end.len() as u64,
            crc32: open.sum.finalize(),
        };
        let line = Line::Whole {
            file: open.number,
            rows,
            bytes: listed.bytes,
            crc32: listed.crc32,
        };
        state.journal.add(&self.dir.join(JOURNAL), &line)?;
        let of_file = state
            .groups
            .iter_mut()
            .filter(|group| group.file == open.number);
        of_file.for_each(|group| group.footer = Vec::new());
        state.whole.insert(open.number, listed);
        Ok(())
    }

    /// Checks that every row came, gives files their names, and writes the manifest.
    pub fn finish(&self) -> Result<()> {
        let mut state = self.state.lock().expect("no one panics with it locked");
        let rows = state.next_row();
        if rows != self.target.rows || state.confirmed < state.groups.len() {
            let what = format!("{rows} rows came, {} were announced", self.target.rows);
            return Err(Error::path(Kind::Changed, &self.dir, what));
        }
        if rows == 0 && state.whole.is_empty() {
            // A file without rows still says what columns there are.
            state.file = Some(self.begin(0)?);
        }
        self.close(&mut state)?;
        let files: Vec<Listed> = state.whole.values().cloned().collect();
        if self.replace {
            self.remove_replaced(&files)?;
        }
        for number in state.whole.keys() {
            self.rename(&self.temporary(*number), &self.named(*number))?;
        }
        let manifest = Manifest {
            source: self.target.source.clone(),
            collection: self.target.name.collection.clone(),
            partition: self.target.name.partition.clone(),
            auto_id: self.target.auto_id,
            numbered: self.target.keys == crate::batch::Keys::RowNumbers,
            columns: self.target.columns.clone(),
            traits: self.target.traits.clone(),
            digest: state.digest,
            files,
        };
        let temporary = self.dir.join(".milvusdm-manifest.tmp");
        let mut file =
            File::create(&temporary).map_err(|e| Error::io(&temporary, "make the manifest", &e))?;
        let text = manifest.to_text();
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(|e| Error::io(&temporary, "write the manifest", &e))?;
        self.sync_dir()?;
        self.rename(&temporary, &self.dir.join(MANIFEST))?;
        self.sync_dir()?;
        let journal = self.dir.join(JOURNAL);
        std::fs::remove_file(&journal).map_err(|e| Error::io(&journal, "remove the journal", &e))
    }

    /// Removes the manifest that was there, then its files that do not get another of their name.
    fn remove_replaced(&self, files: &[Listed]) -> Result<()> {
        let Ok(Some(before)) = Manifest::read(&self.dir) else {
            return Ok(());
        };
        let remove = |path: PathBuf| match std::fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::io(&path, "remove what is replaced", &e))
            }
            _ => Ok(()),
        };
        let others = before
            .files
            .iter()
            .filter(|old| files.iter().all(|new| new.name != old.name));
        let others: Vec<PathBuf> = others.map(|old| self.dir.join(&old.name)).collect();
        remove(self.dir.join(MANIFEST))?;
        others.into_iter().try_for_each(remove)
    }

    /// Gives a whole file its name. One that has it already was renamed before this program died.
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if !from.try_exists().unwrap_or(true) {
            return Ok(());
        }
        if !self.replace && to.try_exists().unwrap_or(true) {
            let what = "appeared while rows were written, and is left as it is";
            return Err(Error::path(Kind::Job, to, what));
        }
        std::fs::rename(from, to).map_err(|e| Error::io(to, "rename the finished file", &e))
    }

    fn sync_dir(&self) -> Result<()> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|e| Error::io(&self.dir, "sync the directory", &e))
    }
}

/// What the bytes of a target depend on, as a journal notes it.
fn told(target: &Target, shape: &Shape) -> String {
    let columns = target.columns.to_json();
    format!(
        "{} rows of {columns}, {shape:?}, {}",
        target.rows,
        env!("CARGO_PKG_VERSION")
    )
}

/// How many of a file's row groups are there as they were written, and the sum up to the last of them.
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
