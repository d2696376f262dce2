//! Looks at HDF5 files in a separate process before this one does: a damaged file may crash the library that reads
//! them. One such process looks at all files of a job. It reports what it is about to open; its death is an error about
//! that file.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::job::{Form, Globs, Job, Mistakes};
use crate::limits;
use crate::sink::hdf5 as written;
use crate::source::hdf5::{self as files, Description};

/// The hidden command by which this program calls itself.
pub const COMMAND: &str = "look-at-hdf5";

/// A request to the process.
#[derive(Serialize, Deserialize)]
enum Wanted {
    /// A description of a file.
    Description(PathBuf),
    /// That the files of a source can be opened: its settings, and what of it is admitted.
    Source {
        settings: serde_yaml::Mapping,
        allow: Vec<String>,
        block: Vec<String>,
    },
    /// That the files that a destination already has can be opened.
    Destination { settings: serde_yaml::Mapping },
}

/// A report from the process, ended by a NUL, which JSON never contains.
#[derive(Serialize, Deserialize)]
enum Told {
    /// What is looked at from here on; the bytes of a path.
    File(Vec<u8>),
    /// It is still working.
    Alive,
    /// The description, or why there is none.
    Described(Box<std::result::Result<Description, Failure>>),
}

/// An error between processes.
#[derive(Serialize, Deserialize)]
struct Failure {
    /// Whether the file is at fault, rather than its disk.
    corrupt: bool,
    what: String,
    hint: Option<String>,
}

/// Describes a file.
pub fn describe(path: &Path) -> Result<Description> {
    let mut described = None;
    look(&Wanted::Description(path.to_owned()), path, &mut |told| {
        if let Told::Described(answer) = told {
            described = Some(answer);
        }
    })?;
    match described.map(|answer| *answer) {
        Some(Ok(description)) => Ok(description),
        Some(Err(failure)) => {
            let kind = if failure.corrupt {
                Kind::Corrupt
            } else {
                Kind::Io
            };
            let error = Error::path(kind, path, failure.what);
            Err(match failure.hint {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
        None => files::inspect(path),
    }
}

/// Checks that nothing in a job's HDF5 files crashes the library. Planning reports anything else that is wrong with
/// them.
pub fn survives(job: &Job) -> Result<()> {
    if job.sink.name == written::KIND.name && may_be_there(&job.sink.settings) {
        let settings = job.sink.settings.clone();
        let wanted = Wanted::Destination { settings };
        let looked = look(&wanted, Path::new("the destination"), &mut |_| {});
        looked.map_err(|e| match e.kind() {
            Kind::Corrupt => e.hint("remove the file, and the job writes it again"),
            _ => e,
        })?;
    }
    if job.source.name != files::KIND.name {
        return Ok(());
    }
    let wanted = Wanted::Source {
        settings: job.source.settings.clone(),
        allow: job.collections.allow.clone(),
        block: job.collections.block.clone(),
    };
    look(&wanted, Path::new("the source"), &mut |_| {})
}

/// Whether files of a destination may exist already.
fn may_be_there(settings: &serde_yaml::Mapping) -> bool {
    let text = |key| settings.get(key).and_then(serde_yaml::Value::as_str);
    let mut paths = ["path", "dir"].into_iter().filter_map(text);
    // Paths with variables or a home directory are resolved later.
    paths.any(|path| path.contains("${") || path.starts_with('~') || Path::new(path).exists())
}

fn look(wanted: &Wanted, first: &Path, each: &mut dyn FnMut(Told)) -> Result<()> {
    let Some(mut child) = begin(wanted) else {
        tracing::warn!(
            "no separate process could be started to check HDF5 files first: this one opens them"
        );
        return Ok(());
    };
    let stdout = child.stdout.take().expect("its output was asked for");
    let told = listen(stdout);
    let mut file = first.to_owned();
    let silence = Duration::from_secs(limits::HDF5_LOOK_S);
    loop {
        match told.recv_timeout(silence) {
            Ok(Told::File(path)) => file = Path::new(OsStr::from_bytes(&path)).to_owned(),
            Ok(told) => each(told),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // It may have ended by itself at this moment.
                let _ = child.kill();
                let _ = child.wait();
                let what = format!(
                    "the HDF5 library was still reading it after {} s: it is damaged",
                    silence.as_secs()
                );
                return Err(Error::path(Kind::Corrupt, &file, what));
            }
        }
    }
    let status = child.wait();
    let status = status.map_err(|e| Error::io(&file, "wait for the process that checks it", &e))?;
    judge(status, &file)
}

fn judge(status: ExitStatus, file: &Path) -> Result<()> {
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (_, Some(2 | 15)) => return Err(Error::new(Kind::Stopped, "stopped on request")),
        (_, Some(signal)) => format!("signal {signal}"),
        (code, _) => format!("exit {}", code.unwrap_or_default()),
    };
    let what = format!("the HDF5 library crashed on it ({how}): it is damaged");
    Err(Error::path(Kind::Corrupt, file, what).hint("copy it again from where it came from"))
}

/// Starts the process with its request.
fn begin(wanted: &Wanted) -> Option<Child> {
    // This very program, even if another has taken its name since.
    let same = Path::new("/proc/self/exe");
    let program = match same.exists() {
        true => same.to_owned(),
        false => std::env::current_exe().ok()?,
    };
    let mut child = Command::new(program);
    child
        .arg(COMMAND)
        // Fills freed and uninitialised memory, so that a bug that would harm this process later harms that one now.
        .env("MALLOC_PERTURB_", "165")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = child.spawn().ok()?;
    let text = serde_json::to_vec(wanted).expect("paths and settings are plain data");
    let mut stdin = child.stdin.take().expect("its input was asked for");
    // If the process ended before it read this, its exit status shows it.
    let _ = stdin.write_all(&text);
    Some(child)
}

/// Receives the reports of the process. The thread ends with it.
fn listen(stdout: ChildStdout) -> Receiver<Told> {
    let (send, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut record = Vec::new();
            let most = limits::HDF5_DESCRIPTION_BYTES_MAX;
            let read = (&mut stdout).take(most).read_until(0, &mut record);
            if read.is_err() || record.pop() != Some(0) {
                return;
            }
            let sent = serde_json::from_slice(&record).map(|told| send.send(told));
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    told
}

/// The process itself: reads the request from standard input, and reports on standard output.
pub fn child() -> ExitCode {
    // It ends when its parent ends, however that happens, and leaves no core dump.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let bound = |most| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    let _ = setrlimit(Resource::Core, bound(0));
    let _ = setrlimit(Resource::Data, bound(limits::HDF5_LOOK_BYTES));
    let mut text = Vec::new();
    let read = std::io::stdin().read_to_end(&mut text);
    let wanted = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
    match wanted {
        None => return ExitCode::from(2),
        Some(Wanted::Description(path)) => {
            let described = files::look(&path, &mut || tell(&Told::Alive));
            let failure = |e: Error| Failure {
                corrupt: e.kind() == Kind::Corrupt,
                what: e.what().to_owned(),
                hint: e.hint_text().map(str::to_owned),
            };
            tell(&Told::Described(Box::new(described.map_err(failure))));
        }
        Some(Wanted::Destination { settings }) => {
            let known = written::KIND.settings;
            let mut form = Form::new("sink.hdf5", settings, known, &Mistakes::default());
            written::rehearse(&mut form, &mut |path| {
                tell(&Told::File(path.as_os_str().as_bytes().to_vec()));
            });
        }
        Some(Wanted::Source {
            settings,
            allow,
            block,
        }) => {
            let mut form = Form::new(
                "source.hdf5",
                settings,
                files::KIND.settings,
                &Mistakes::default(),
            );
            let admitted = Globs { allow, block };
            files::rehearse(&mut form, &admitted, &mut |file| {
                tell(&match file {
                    Some(path) => Told::File(path.as_os_str().as_bytes().to_vec()),
                    None => Told::Alive,
                });
            });
        }
    }
    ExitCode::SUCCESS
}

fn tell(told: &Told) {
    let mut record = serde_json::to_vec(told).expect("what is told is plain data");
    record.push(0);
    let mut out = std::io::stdout().lock();
    // If nobody listens any more, the parent has gone, and this process will follow.
    let _ = out.write_all(&record).and_then(|()| out.flush());
}
