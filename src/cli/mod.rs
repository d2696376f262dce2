//! What does the operator see? Commands, exit codes, outputs.
//! The only room that prints.

#![allow(clippy::print_stderr)]

/// Prints a line on standard output. Whoever stops reading it (`milvusdm inspect … | head`) does not break a run.
macro_rules! out {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod carry;
mod inspect;
mod progress;
mod show;
mod verify;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::error::{Error, Result};
use crate::sink::SINKS;
use crate::source::SOURCES;

/// Moves billions of vectors into, out of and between Milvus installations.
#[derive(Parser)]
#[command(name = "milvusdm", version)]
struct Cli {
    /// The job to run: the Python tool's spelling of `milvusdm run JOB`
    #[arg(long, value_name = "JOB")]
    yaml: Option<PathBuf>,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Clone, Default)]
struct Common {
    /// Print machine-readable JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// How much to log on standard error
    #[arg(long, global = true, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Warn)]
    log: LogLevel,
}

#[derive(Args, Clone, Default)]
struct RunFlags {
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = progress::Style::Auto)]
    progress: progress::Style,
    /// Write a JSON report to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Load anew what was loaded before, or begin an unfinished load anew
    #[arg(long)]
    again: bool,
}

#[derive(Clone, Copy, Default, ValueEnum, PartialEq, Eq)]
enum LogLevel {
    Error,
    #[default]
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Subcommand)]
enum Command {
    /// Run a job; the same command goes on after a crash or stop
    Run {
        /// The job file
        job: PathBuf,
        #[command(flatten)]
        flags: RunFlags,
    },
    /// Say what a job would do; changes nothing anywhere
    Plan {
        /// The job file
        job: PathBuf,
    },
    /// Compare source and destination of a finished job, row by row; changes nothing anywhere
    Verify {
        /// The job file
        job: PathBuf,
        #[command(flatten)]
        flags: verify::VerifyFlags,
    },
    /// Say what a Faiss index file, HDF5 file or Milvus 1.x directory holds
    Inspect {
        /// The file or directory
        path: PathBuf,
    },
    /// List sources and sinks and their settings
    Formats,
}

/// Runs the program with the arguments it was given.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let common = cli.common;
    logging(&common);
    open_many_files();
    let result = match cli.command {
        Some(Command::Run { job, flags }) => carry::run_job(&job, &flags, &common),
        Some(Command::Plan { job }) => carry::plan_job(&job, &common),
        Some(Command::Verify { job, flags }) => verify::verify_job(&job, &flags, &common),
        Some(Command::Inspect { path }) => inspect::inspect(&path, &common),
        Some(Command::Formats) => {
            formats(&common);
            Ok(())
        }
        None => {
            let Some(job) = cli.yaml else {
                eprintln!("error: which command? `milvusdm --help` lists them");
                return ExitCode::from(2);
            };
            carry::run_job(&job, &cli.run, &common)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, &common),
    }
}

/// Asks for as many open files as the system lets us have, often more than the 1024 that a shell allows: a job may name
/// more HDF5 files than that, and those with chunks stay open.
fn open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Best effort: where it is refused, and the files are too many, the one that cannot be opened is named.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn fail(error: &Error, common: &Common) -> ExitCode {
    let code = error.kind().exit_code();
    if common.json && !error.is_reported() {
        out!("{}", serde_json::json!({"error": show::error_json(error)}));
    }
    eprintln!("error: {error}");
    ExitCode::from(code)
}

fn logging(common: &Common) {
    let level = match common.log {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    // Every frame of every connection is for who asks for everything.
    let others = match level {
        tracing::Level::DEBUG => tracing::Level::INFO,
        level => level,
    };
    let filter = Targets::new()
        .with_default(others)
        .with_target("milvusdm", level);
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let logs = tracing_subscriber::registry().with(logs.with_filter(filter));
    // A second initialisation happens only in tests, where the first one serves.
    let _ = logs.try_init();
}

fn formats(common: &Common) {
    type Entry = (
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str)],
    );
    let sources: Vec<Entry> = SOURCES
        .iter()
        .map(|k| (k.name, k.summary, k.settings))
        .collect();
    let sinks: Vec<Entry> = SINKS
        .iter()
        .map(|k| (k.name, k.summary, k.settings))
        .collect();
    if common.json {
        let list = |entries: &[Entry]| -> serde_json::Value {
            let one = |(name, summary, settings): &Entry| {
                let settings: serde_json::Map<String, serde_json::Value> = settings
                    .iter()
                    .map(|(k, v)| (k.to_string(), (*v).into()))
                    .collect();
                serde_json::json!({"name": name, "summary": summary, "settings": settings})
            };
            entries.iter().map(one).collect()
        };
        let all = serde_json::json!({"sources": list(&sources), "sinks": list(&sinks)});
        out!("{all:#}");
        return;
    }
    for (title, entries) in [("Sources", sources), ("Sinks", sinks)] {
        out!("{title}");
        for (name, summary, settings) in entries {
            out!("  {name:<10} {summary}");
            for (key, meaning) in settings {
                out!("      {key:<16} {meaning}");
            }
        }
    }
}

/// Complains of a report that cannot be written: now rather than after the last row.
fn writable(report: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.create(true).append(true).open(report);
    opened
        .map(drop)
        .map_err(|e| Error::io(report, "write the report", &e))
}

/// Prints a value as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("reports are plain data");
    out!("{text}");
    Ok(())
}
