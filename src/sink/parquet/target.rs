//! How do the rows of a target get into its files? In order, each row group after the one before. Files get their final
//! names once all are complete; the manifest is written last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use super::again;
use super::away::Away;
use super::journal::{Journal, Line, Written};
use super::piece::{Content, Encoded, Piece, pieces, write_all};
use crate::batch::{Batch, Part, Target};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::limits;
use crate::parquet::{Listed, MAGIC, MANIFEST, Manifest, Writer};

/// The journal's name in the directory of a target.
pub const JOURNAL: &str = ".milvusdm-journal";

/// What the files of a target need.
#[derive(Clone, Debug)]
pub struct Shape {
    pub rows_per_file: u64,
    /// How pages are compressed, if the job says so.
    pub packing: Option<&'static str>,
}

/// A target that is being written.
pub struct Filling {
    pub(super) dir: PathBuf,
    pub(super) target: Target,
    pub(super) shape: Shape,
    writer: Writer,
    /// Whether files of these names may exist already.
    replace: bool,
    /// Where complete files are moved, if they do not stay.
    pub(super) away: Option<Away>,
    /// Whether the source may now have more, fewer or other rows.
    pub(super) moving: bool,
    pub(super) run: u64,
    state: Mutex<State>,
    moved: Condvar,
}

pub(super) struct State {
    pub(super) journal: Journal,
    /// Row groups in the files, in order; the first `confirmed` of them arrived in this run.
    pub(super) groups: Vec<Written>,
    pub(super) confirmed: usize,
    pub(super) whole: BTreeMap<u64, Listed>,
    /// Complete files that may still have to be moved to their destination.
    pub(super) waiting: BTreeSet<u64>,
    /// The unfinished file.
    pub(super) file: Option<Open>,
    /// Pieces that arrived early, by first row.
    early: BTreeMap<u64, Piece>,
    early_bytes: u64,
    /// From this row on, the source has other rows than an earlier attempt wrote.
    differs_from: Option<u64>,
    digest: u64,
}

pub(super) struct Open {
    pub(super) number: u64,
    pub(super) file: File,
    pub(super) len: u64,
    pub(super) sum: crc32fast::Hasher,
}

impl State {
    pub(super) fn next_row(&self) -> u64 {
        match self.confirmed.checked_sub(1) {
            Some(last) => self.groups[last].first + self.groups[last].rows,
            None => 0,
        }
    }
}

impl Filling {
    /// Continues what this run wrote before it died, or starts.
    pub fn open(
        dir: &Path,
        target: &Target,
        shape: &Shape,
        run: u64,
        (replace, moving): (bool, bool),
        away: Option<Away>,
    ) -> Result<Filling> {
        let path = dir.join(JOURNAL);
        let anew = |others: &[Line]| again::remove_left(dir, away.as_ref(), others);
        let (journal, lines) = Journal::open(&path, run, &told(target, shape, moving), &anew)?;
        let filling = Filling {
            dir: dir.to_owned(),
            writer: Writer::new(target.columns.all(), shape.packing)?,
            target: target.clone(),
            shape: shape.clone(),
            replace,
            away,
            moving,
            run,
            state: Mutex::new(State {
                journal,
                groups: Vec::new(),
                confirmed: 0,
                whole: BTreeMap::new(),
                waiting: BTreeSet::new(),
                file: None,
                early: BTreeMap::new(),
                early_bytes: 0,
                differs_from: None,
                digest: 0,
            }),
            moved: Condvar::new(),
        };
        filling.take_up(&mut filling.state(), lines)?;
        Ok(filling)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics with it locked")
    }

    pub(super) fn name(&self, number: u64) -> String {
        let suffix = self.away.as_ref().map_or("", Away::suffix);
        file_name(number, suffix)
    }

    pub(super) fn named(&self, number: u64) -> PathBuf {
        self.dir.join(self.name(number))
    }

    pub(super) fn temporary(&self, number: u64) -> PathBuf {
        self.dir
            .join(format!(".milvusdm-{}.tmp", self.name(number)))
    }

    /// The digests of a batch's row groups, in order, and their sum.
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

    /// A row group, encoded only if it has to be written.
    fn piece(&self, first: u64, parts: Vec<Part>, digest: u64) -> Result<Piece> {
        let rows = parts.iter().map(|part| part.len() as u64).sum();
        let content = match self.is_written(first, rows, digest) {
            true => Content::Written(parts),
            false => Content::Encoded(Encoded::new(&self.writer, &parts)?),
        };
        Ok(Piece {
            first,
            rows,
            digest,
            content,
        })
    }

    /// Whether an earlier attempt wrote exactly these rows, and the same ones before them.
    fn is_written(&self, first: u64, rows: u64, digest: u64) -> bool {
        let mut state = self.state();
        if state.differs_from.is_some_and(|row| row <= first) {
            return false;
        }
        let at = state
            .groups
            .binary_search_by_key(&first, |group| group.first);
        let written = match at {
            Ok(at) => (state.groups[at].rows, state.groups[at].digest) == (rows, digest),
            Err(_) => false,
        };
        if self.moving && !written {
            state.differs_from = Some(first);
        }
        written
    }

    /// Encodes the batch with these digests as row groups, several batches at a time. Appends them once all earlier
    /// ones have arrived; keeps them until then.
    pub fn deliver(&self, batch: &Batch, digests: &[Bytes]) -> Result<()> {
        let digests = digests.iter().flat_map(|bytes| bytes.as_chunks::<8>().0);
        let pieces = pieces(batch, self.shape.rows_per_file).into_iter();
        let pieces = pieces
            .zip(digests)
            .map(|((first, parts), digest)| self.piece(first, parts, u64::from_le_bytes(*digest)));
        let pieces: Vec<Piece> = pieces.collect::<Result<_>>()?;
        let Some(first) = pieces.first().map(|piece| piece.first) else {
            return Ok(());
        };
        let mut state = self.state();
        // Delivery threads overtake each other by a parcel or two; the one ahead waits for a while, but never forever.
        if first > state.next_row() && state.early_bytes > limits::PARQUET_EARLY_BYTES {
            let wait = Duration::from_millis(200);
            let behind =
                |s: &mut State| first > s.next_row() && s.early_bytes > limits::PARQUET_EARLY_BYTES;
            let waited = self.moved.wait_timeout_while(state, wait, behind);
            state = waited.expect("no one panics with it locked").0;
        }
        // Before anything is accepted, because a failed batch is delivered again. So at most one complete file waits.
        self.bring(&mut state)?;
        for piece in pieces {
            let bytes = piece.len();
            if piece.first >= state.next_row() && state.early.insert(piece.first, piece).is_none() {
                state.early_bytes += bytes;
            }
        }
        while let Some((first, piece)) = state.early.first_key_value()
            && *first <= state.next_row()
        {
            if self.is_stale(&state, piece) {
                // The piece waits until this has succeeded: a transfer may need several attempts.
                self.discard(&mut state)?;
            }
            let (_, piece) = state.early.pop_first().expect("it was looked at");
            state.early_bytes -= piece.len();
            if piece.first == state.next_row() {
                self.append(&mut state, piece)?;
            }
        }
        self.moved.notify_all();
        Ok(())
    }

    /// Moves complete files to their destination, if they do not stay. May be repeated.
    fn bring(&self, state: &mut State) -> Result<()> {
        let Some(away) = &self.away else {
            return Ok(());
        };
        while let Some(number) = state.waiting.first().copied() {
            let path = self.temporary(number);
            if path.try_exists().unwrap_or(true) {
                away.bring(&path, &self.name(number))?;
            }
            state.waiting.pop_first();
        }
        Ok(())
    }

    /// Whether an earlier attempt wrote other rows at this position, and the source may have changed since.
    fn is_stale(&self, state: &State, piece: &Piece) -> bool {
        if !self.moving || piece.first != state.next_row() {
            return false;
        }
        match state.groups.get(state.confirmed) {
            Some(group) => !piece.is(group),
            // An attempt that found no more rows finished the file that this piece belongs to.
            None => {
                let number = piece.first / self.shape.rows_per_file;
                state.whole.contains_key(&number)
            }
        }
    }

    fn append(&self, state: &mut State, piece: Piece) -> Result<()> {
        let end = piece.first + piece.rows;
        if end > self.target.rows && !self.moving {
            let what = format!("{} rows were announced, but more arrived", self.target.rows);
            return Err(Error::path(Kind::Changed, &self.dir, what));
        }
        state.digest = state.digest.wrapping_add(piece.digest);
        if let Some(group) = state.groups.get(state.confirmed) {
            if !piece.is(group) {
                let _ = std::fs::remove_file(self.dir.join(JOURNAL));
                let what = format!(
                    "from row {} on, the source returns other rows than an earlier attempt wrote",
                    piece.first
                );
                let error = Error::path(Kind::Changed, &self.dir, what);
                return Err(error.hint("the same command starts these files over"));
            }
            state.confirmed += 1;
            return self.close_if_full(state);
        }
        let Encoded { group, len, sum } = match piece.content {
            Content::Encoded(encoded) => encoded,
            // What an earlier attempt wrote was discarded after this piece was looked up.
            Content::Written(parts) => Encoded::new(&self.writer, &parts)?,
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
        let mut file = File::create(&path).map_err(|e| Error::io(&path, "create the file", &e))?;
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

    /// Writes the footer of the open file, and syncs it.
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
        written.map_err(|e| Error::io(&path, "write the footer", &e))?;
        open.sum.update(&end);
        let listed = Listed {
            name: self.name(open.number),
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
        state.waiting.insert(open.number);
        Ok(())
    }

    /// Checks that every row arrived, gives files their final names, and writes the manifest. Returns the number of
    /// rows.
    pub fn finish(&self) -> Result<u64> {
        let mut state = self.state();
        let rows = state.next_row();
        if self.moving && state.confirmed < state.groups.len() {
            self.discard(&mut state)?;
        }
        let all = match self.moving {
            true => state.early.is_empty(),
            false => rows == self.target.rows && state.confirmed == state.groups.len(),
        };
        if !all {
            let what = format!(
                "{rows} rows arrived, but {} were announced",
                self.target.rows
            );
            return Err(Error::path(Kind::Changed, &self.dir, what));
        }
        if rows == 0 && state.whole.is_empty() {
            // A file without rows still describes the columns.
            state.file = Some(self.begin(0)?);
        }
        self.close(&mut state)?;
        let files: Vec<Listed> = state.whole.values().cloned().collect();
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
            is_listed: !self.target.name.collection.is_empty(),
            sum: None,
        };
        match &self.away {
            None => self.publish(&state, &manifest)?,
            Some(away) => {
                self.bring(&mut state)?;
                away.publish(&manifest, self.replace)?;
            }
        }
        let journal = self.dir.join(JOURNAL);
        match std::fs::remove_file(&journal) {
            // An attempt that failed after this step removed it.
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::io(&journal, "remove the journal", &e))
            }
            _ => Ok(rows),
        }
    }

    /// Gives files their final names, and writes the manifest.
    fn publish(&self, state: &State, manifest: &Manifest) -> Result<()> {
        if self.replace {
            self.remove_replaced(&manifest.files)?;
        }
        for number in state.whole.keys() {
            self.rename(&self.temporary(*number), &self.named(*number))?;
        }
        let temporary = self.dir.join(".milvusdm-manifest.tmp");
        let mut file = File::create(&temporary)
            .map_err(|e| Error::io(&temporary, "create the manifest", &e))?;
        let text = manifest.to_text();
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(|e| Error::io(&temporary, "write the manifest", &e))?;
        self.sync_dir()?;
        self.rename(&temporary, &self.dir.join(MANIFEST))?;
        self.sync_dir()
    }

    /// Removes the old manifest, then those of its files that no new file of the same name replaces.
    fn remove_replaced(&self, files: &[Listed]) -> Result<()> {
        let Ok(Some(before)) = Manifest::read(&self.dir, &Volume::default()) else {
            return Ok(());
        };
        let remove = |path: PathBuf| match std::fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::io(&path, "remove a replaced file", &e))
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

    /// Gives a complete file its final name. If a file already has that name, it was renamed before this program died.
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

/// The name of a target's file; in a bucket two kinds of names alternate.
pub(super) fn file_name(number: u64, suffix: &str) -> String {
    format!("part-{number:05}{suffix}.parquet")
}

/// What the bytes of a target depend on, in the form that the journal records.
pub(super) fn told(target: &Target, shape: &Shape, moving: bool) -> String {
    let columns = target.columns.to_json();
    let rows = match moving {
        true => "rows".to_owned(),
        false => format!("{} rows", target.rows),
    };
    format!(
        "{rows} of {columns}, {shape:?}, {}",
        env!("CARGO_PKG_VERSION")
    )
}
