//! How is a job carried by several programs? The job's own log has what they have in common: the decisions about
//! targets, and that they were carried out. Next to it, each share has a log of what it delivered, which the last step
//! merges.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::differs::{another, differences};
use super::log::{self, Log};
use super::open::{self, Found};
use crate::error::{Error, Kind, Result};
use crate::plan::{Plan, Share};
use crate::sink::Action;

/// The path of the log of a share.
fn path_of(path: &Path, share: Share) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-of-{}", share.number, share.of));
    PathBuf::from(name)
}

/// All logs of shares next to a job's log.
fn share_logs(path: &Path) -> Result<Vec<PathBuf>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_share = |file: &str| {
        let rest = file.strip_prefix(&*name)?.strip_prefix('.')?;
        let (number, of) = rest.split_once("-of-")?;
        (number.parse::<u32>().is_ok() && of.parse::<u32>().is_ok()).then_some(())
    };
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        // Other problems with the folder are reported elsewhere.
        Err(_) => return Ok(Vec::new()),
    };
    let names = listing.flatten().map(|entry| entry.path());
    let is_share = |path: &PathBuf| {
        let file = path
            .file_name()
            .map(|file| file.to_string_lossy().into_owned());
        file.is_some_and(|file| is_share(&file).is_some())
    };
    Ok(names.filter(is_share).collect())
}

/// Refuses to continue the log of a job that is carried in another number of shares; 0: not in shares.
pub(super) fn check(path: &Path, log: &Log, shares: u32) -> Result<()> {
    let before = log.shares().unwrap_or(0);
    if before == shares {
        return Ok(());
    }
    let (what, hint) = match (before, shares) {
        (0, _) => (
            "belongs to a run that carries all of this job".to_owned(),
            "the same command without --shard continues it".to_owned(),
        ),
        (before, 0) => (
            format!("belongs to a job that is carried in {before} shares"),
            format!(
                "`--shard 1/{before}` and so on continue one each, `milvusdm finish` takes the last steps; --again \
                 restarts the job without shares"
            ),
        ),
        (before, shares) => (
            format!("belongs to a job that is carried in {before} shares, not {shares}"),
            format!("`--shard 1/{before}` and so on continue it"),
        ),
    };
    Err(Error::path(Kind::Job, path, what).hint(hint))
}

/// Refuses to begin while shares of the previous run are still at work.
pub(super) fn check_idle(path: &Path) -> Result<()> {
    for share in share_logs(path)? {
        if open::try_locked(&share)?.is_none() {
            let what = "another milvusdm is working on this share of the job";
            return Err(Error::path(Kind::Job, &share, what).hint("stop it first"));
        }
    }
    Ok(())
}

/// What the common log of shares says about a run, for `plan`.
pub(super) fn told(path: &Path, log: &Log) -> String {
    let of = log.shares().unwrap_or(0);
    let run = log.header.as_ref().map_or("", |header| &*header.run);
    let (mut done, mut rows) = (0, 0);
    for number in 1..=of {
        if let Some(log) = of_run(&path_of(path, Share { number, of }), run) {
            rows += log.delivered();
            done += u32::from(log.finished.is_some());
        }
    }
    format!(
        "records that the job is carried in {of} shares, of which {done} finished; {rows} rows were delivered"
    )
}

/// The log of a share of this run, if there is one that can be read.
fn of_run(path: &Path, run: &str) -> Option<Log> {
    let (log, _) = log::read(path, &log::text(path).ok()?).ok()?;
    let same = log.header.as_ref().is_some_and(|header| header.run == run);
    same.then_some(log)
}

impl Checkpoint {
    /// The common log of a job's shares, once no other program holds it: its holder decides about the targets and
    /// creates them while the others wait. `wait` fails if that takes too long.
    pub fn in_common(
        path: &Path,
        plan: &Plan,
        of: u32,
        wait: &dyn Fn() -> Result<()>,
    ) -> Result<Found> {
        open::make_folder(path, plan)?;
        let file = loop {
            match open::try_locked(path)? {
                // Another program that had nothing to record may have removed it meanwhile.
                Some(file) if is_at(&file, path) => break file,
                _ => wait()?,
            }
        };
        open::begin_or_resume(file, path, plan, false, of)
    }

    /// Whether all decisions about targets have been carried out.
    pub fn is_prepared(&self) -> bool {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        let done = |target: &log::TargetLog| {
            let skips = |decision: &crate::sink::Decision| decision.action == Action::Skip;
            target.prepared || target.decision.as_ref().is_some_and(skips)
        };
        !state.log.targets.is_empty() && state.log.targets.values().all(done)
    }

    /// The log of a share of the job that this common log belongs to.
    pub fn of_share(&self, plan: &Plan, share: Share) -> Result<Found> {
        let path = path_of(&self.path, share);
        let mut file = open::open_locked(&path)?;
        let log = open::read_log(&mut file, &path)?;
        let run = format!("{:016x}", self.run);
        let goes_on = log.header.as_ref().is_some_and(|header| header.run == run);
        let found = if goes_on {
            if let Some(finished) = log.finished {
                return Ok(Found::Finished(finished));
            }
            let differs = differences(&log, &plan.fingerprint);
            if !differs.is_empty() {
                return Err(another(&path, &differs));
            }
            open::resume(&path, file, log, plan)?
        } else {
            let header = open::header(plan, self.run, share);
            let begun = open::begun_anew(file, &path, plan, header, None, None);
            Found::Open(Box::new(begun))
        };
        if let Found::Open(log) = &found {
            self.tell(log)?;
        }
        Ok(found)
    }

    /// Copies the decisions about targets, and that they were carried out, into the log of a share.
    fn tell(&self, share: &Checkpoint) -> Result<()> {
        let targets: Vec<(u32, crate::sink::Decision, u64)> = {
            let state = self
                .state
                .lock()
                .expect("no one panics with the log locked");
            let targets = state.log.targets.iter();
            let told = targets.filter_map(|(number, target)| {
                Some((*number, target.decision.clone()?, target.place))
            });
            told.collect()
        };
        let known = |number: u32| share.decision(number).is_some_and(|(_, prepared)| prepared);
        let new = targets.iter().filter(|(number, decision, _)| {
            !known(*number)
                && (decision.action != Action::Skip || share.decision(*number).is_none())
        });
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        let decisions: Vec<_> = new
            .iter()
            .map(|(number, decision, _)| (*number, decision))
            .collect();
        share.decide_all(&decisions)?;
        let carried_out = new
            .iter()
            .filter(|(_, decision, _)| decision.action != Action::Skip);
        let places: Vec<_> = carried_out
            .map(|(number, _, place)| (*number, *place))
            .collect();
        share.prepared(&places)
    }

    /// The log of a job all of whose shares have finished, with what they delivered; otherwise an error that names the
    /// missing ones.
    pub fn gathered(path: &Path, plan: &Plan) -> Result<Found> {
        Checkpoint::expect(path)?;
        let mut file = open::open_locked(path)?;
        let log = open::read_log(&mut file, path)?;
        let differs = differences(&log, &plan.fingerprint);
        if let Some(finished) = log.finished.clone().filter(|_| differs.is_empty()) {
            return Ok(Found::Finished(finished));
        }
        if !differs.is_empty() {
            return Err(another(path, &differs));
        }
        let Some(of) = log.shares() else {
            let what = "belongs to a job that is not carried in shares";
            return Err(Error::path(Kind::Job, path, what).hint("`milvusdm run` continues it"));
        };
        let found = open::resume(path, file, log, plan)?;
        if let Found::Open(log) = &found {
            log.take_in(plan, of)?;
        }
        Ok(found)
    }

    /// Merges what shares delivered. Repeating this changes nothing.
    fn take_in(&self, plan: &Plan, of: u32) -> Result<()> {
        let run = format!("{:016x}", self.run);
        let given = self
            .shards()
            .unwrap_or_else(|| plan.manifest.shards.clone());
        let manifest = crate::batch::Manifest {
            targets: Vec::new(),
            shards: given,
        };
        let shares = || (1..=of).map(|number| Share { number, of });
        // Shares without rows need not have run; logs that were merged may be gone.
        let open = |share: &Share| {
            let mut shards = share.shards(&manifest);
            shards.any(|shard| !self.standing(shard).closed)
        };
        let wanted: Vec<Share> = shares().filter(|share| open(share)).collect();
        let mut missing = Vec::new();
        for share in &wanted {
            match of_run(&path_of(&self.path, *share), &run) {
                None => missing.push(format!("{} (not begun)", share.number)),
                Some(log) if log.finished.is_none() => {
                    missing.push(format!(
                        "{} ({} rows delivered)",
                        share.number,
                        log.delivered()
                    ));
                }
                Some(_) => {}
            }
        }
        if !missing.is_empty() {
            const SHOWN: usize = 50;
            let more = match missing.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            missing.truncate(SHOWN);
            let what = format!(
                "of {of} shares these have not finished: {}{more}",
                missing.join(", ")
            );
            let first = missing[0].split(' ').next().unwrap_or_default().to_owned();
            return Err(Error::path(Kind::Job, &self.path, what).hint(format!(
                "`milvusdm run` with `--shard {first}/{of}` and so on continues them"
            )));
        }
        let mut state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        for share in wanted {
            let path = path_of(&self.path, share);
            let text = log::text(&path).map_err(|e| Error::io(&path, "read the checkpoint", &e))?;
            for record in log::deliveries(&path, &text)? {
                self.append(&mut state, record)?;
            }
        }
        self.sync(&mut state)
    }

    /// Removes the logs of shares: the common log has everything by now.
    pub fn remove_shares(&self) -> Result<()> {
        let of = {
            let state = self
                .state
                .lock()
                .expect("no one panics with the log locked");
            state.log.shares().unwrap_or(0)
        };
        for number in 1..=of {
            let path = path_of(&self.path, Share { number, of });
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(&path, "remove the log of a share", &e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a path still leads to a file.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(there), Ok(ours)) = (std::fs::metadata(path), file.metadata()) else {
        return false;
    };
    (there.dev(), there.ino()) == (ours.dev(), ours.ino())
}
