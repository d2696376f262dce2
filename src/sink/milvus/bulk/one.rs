//! How is a batch imported exactly once? Step by step, guided by its ledger, wherever the program died before.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::milvus::ImportState;
use crate::sink::{Parcel, Receipt};

use super::ledger::{Entry, Ledger};
use super::place::Place;
use super::{Bulk, Milvus, Ready};

/// A batch being imported.
pub(super) struct One<'b> {
    pub bulk: &'b Bulk,
    pub milvus: &'b Milvus,
    pub ready: &'b Ready,
    pub parcel: &'b Parcel,
    pub ledger: Ledger,
    pub place: Place,
    /// The current name of its staged set.
    pub staged: String,
}

/// How a job ended.
enum End {
    Done(u64),
    Failed(String),
    /// The server does not know it any more.
    Forgotten,
}

impl One<'_> {
    /// Takes one step after another until the rows have arrived.
    pub fn deliver(&mut self) -> Result<Receipt> {
        let failures = self.ledger.failures();
        loop {
            match self.ledger.last().cloned() {
                Some(Entry::Done(rows)) => {
                    self.remove(&self.staged);
                    return receipt(self.parcel, rows);
                }
                Some(Entry::Accepted(set, job)) => self.follow(set, job, false)?,
                Some(Entry::Committing(set, job)) => self.follow(set, job, true)?,
                Some(Entry::Submitted { files, .. }) => self.unanswered(files, None)?,
                Some(Entry::Failed(_, why))
                    if self.ledger.failures() - failures >= limits::BULK_ATTEMPTS =>
                {
                    let what = format!(
                        "the server could not import rows {}: {why}",
                        at(self.parcel)
                    );
                    return Err(Error::new(Kind::Refused, what).hint(self.place.hint()));
                }
                None | Some(Entry::Failed(..)) => {
                    if self.ledger.submitted(&self.staged).is_some()
                        || !self.place.has(&self.staged)?
                    {
                        self.stage_anew()?;
                    }
                    self.submit(self.staged.clone())?;
                }
            }
        }
    }

    /// Asks the server to import a set.
    fn submit(&mut self, set: String) -> Result<()> {
        self.place.bring(&set, &self.files())?;
        self.ledger.add(Entry::Submitted {
            files: set.clone(),
            at: now_s(),
            held: self.bulk.imports.holds,
        })?;
        match self.ask(&set) {
            Ok(job) => self.ledger.add(Entry::Accepted(set, job)),
            // The refusal may come from a proxy in front of a server that accepted it.
            Err(error) if error.kind() == Kind::Refused => self.unanswered(set, Some(error)),
            Err(error) => Err(error),
        }
    }

    /// The names of the files of a set.
    fn files(&self) -> Vec<String> {
        self.bulk.staging(self.parcel.batch.target).files()
    }

    fn ask(&self, set: &str) -> Result<i64> {
        let files = self.files().into_iter();
        let files: Vec<String> = files.map(|file| self.place.on_server(set, &file)).collect();
        let envelope = &self.ready.envelope;
        let to = (&*envelope.collection, &*envelope.partition);
        self.bulk
            .imports
            .import(&self.milvus.client, to, &files, set)
    }

    /// Finds out, from the jobs of the server, what happened to a submitted set whose request got no answer.
    fn unanswered(&mut self, set: String, mut refused: Option<Error>) -> Result<()> {
        let imports = &self.bulk.imports;
        let (at, held) = self.ledger.submitted(&set).unwrap_or((0, false));
        let has_forgotten = now_s().saturating_sub(at) > imports.remembers_s;
        // The server recognises a repeated request: if there is a job, it returns the number of the job.
        if imports.repeats() && refused.is_none() && !has_forgotten && self.place.has(&set)? {
            match self.ask(&set) {
                Ok(job) => return self.ledger.add(Entry::Accepted(set, job)),
                Err(error) if error.kind() == Kind::Refused => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        // Once the files are removed, a late request finds nothing to import; a job that has begun to read them ends
        // one way or the other.
        self.place.remove(&set)?;
        let (client, patience) = (&self.milvus.client, self.milvus.run.patience);
        let found = imports.find(client, &self.ready.envelope.collection, &set, patience)?;
        match (found, refused) {
            (Some(job), _) => self.ledger.add(Entry::Accepted(set, job)),
            (None, Some(error)) => {
                let why = error.what().to_owned();
                self.ledger.add(Entry::Failed(set, why))
            }
            // A job that was never told to commit has left no rows.
            (None, None) if has_forgotten && !held => Err(forgotten(&format!(
                "files {set} were submitted to the server {} min ago without an answer, and it does not know the job (any more)",
                now_s().saturating_sub(at) / 60
            ))),
            (None, None) => {
                let why = "the server knows no such job".to_owned();
                self.ledger.add(Entry::Failed(set, why))
            }
        }
    }

    /// Follows a job to its end.
    fn follow(&mut self, set: String, job: i64, committing: bool) -> Result<()> {
        let held = self.ledger.submitted(&set).is_some_and(|(_, held)| held);
        match self.wait(&set, job, committing)? {
            End::Done(rows) => {
                self.ledger.add(Entry::Done(rows))?;
                self.remove(&set);
                Ok(())
            }
            End::Failed(why) => {
                info!("import job {job} failed: {why}");
                self.remove(&set);
                self.ledger.add(Entry::Failed(set, why))
            }
            End::Forgotten if held && !committing => {
                let why =
                    format!("the server abandoned import job {job} before its rows were committed");
                self.ledger.add(Entry::Failed(set, why))
            }
            End::Forgotten => Err(forgotten(&format!(
                "the server no longer knows import job {job}"
            ))),
        }
    }

    /// Waits until a job has ended; makes its rows visible once all have arrived.
    fn wait(&mut self, set: &str, number: i64, mut committing: bool) -> Result<End> {
        let began = Instant::now();
        let (mut moved, mut last) = (began, None);
        loop {
            let Some(job) = self.bulk.imports.job(&self.milvus.client, number)? else {
                return Ok(End::Forgotten);
            };
            let state = match job.state {
                ImportState::Completed => return Ok(End::Done(job.rows)),
                ImportState::Failed(why) => return Ok(End::Failed(why)),
                ImportState::Held => {
                    if let Err(error) = receipt(self.parcel, job.rows) {
                        if let Err(error) = self.bulk.imports.abort(number) {
                            warn!("import job {number} could not be aborted: {error:#}");
                        }
                        return Err(error);
                    }
                    if !committing {
                        let entry = Entry::Committing(set.to_owned(), number);
                        self.ledger.add(entry)?;
                        committing = true;
                    }
                    self.bulk.imports.commit(number)?;
                    "Uncommitted".to_owned()
                }
                ImportState::Going(state) => state,
            };
            let figure = Some((state, job.percent));
            if last != figure {
                let (state, percent) = figure.as_ref().expect("it was just made");
                info!("import job {number}: {state}, {percent} %");
                (moved, last) = (Instant::now(), figure);
            }
            if moved.elapsed() > self.milvus.run.patience {
                let seconds = moved.elapsed().as_secs();
                let what = format!("import job {number} has made no progress for {seconds} s");
                return Err(Error::new(Kind::Busy, what));
            }
            std::thread::sleep(self.bulk.imports.pause(began.elapsed()));
        }
    }

    /// Stages the batch under a name that no request has used.
    fn stage_anew(&mut self) -> Result<()> {
        let batch = &self.parcel.batch;
        self.staged = self.bulk.new_set(batch);
        let staging = self.bulk.staging(batch.target);
        self.place.stage(&self.staged, &staging, batch)
    }

    /// Removes a set that is no longer needed. What cannot be removed now is removed at the end.
    fn remove(&self, set: &str) {
        if !self.bulk.settings.keep {
            let _ = self.place.remove(set);
        }
    }
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The error that ends a run which cannot tell whether rows arrived.
fn forgotten(what: &str) -> Error {
    let what = format!("{what}, so it is unknown whether its rows arrived");
    let hint = "check whether they did; `mode: overwrite` with --again loads everything again";
    Error::new(Kind::Refused, what).hint(hint)
}

/// The position of a parcel's rows in the source, for people.
fn at(parcel: &Parcel) -> String {
    match parcel.batch.parts.first() {
        Some(first) => format!("from row {} of {} on", first.row, first.file.display()),
        None => "(none)".to_owned(),
    }
}

fn receipt(parcel: &Parcel, rows: u64) -> Result<Receipt> {
    if rows != u64::from(parcel.rows) {
        let what = format!("{} rows were staged, but {rows} were imported", parcel.rows);
        return Err(Error::new(Kind::Differs, what));
    }
    Ok(Receipt {
        rows: parcel.rows,
        upserted: false,
    })
}
