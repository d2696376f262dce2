//! What does the operator see? Commands, exit codes, outputs.
//! The only room that prints.

mod backup;
mod carry;
mod chart;
mod formats;
mod help;
mod init;
mod inspect;
mod known;
mod look;
mod page;
mod progress;
mod remote;
mod report;
mod say;
mod schema;
mod shares;
mod show;
mod summary;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use crate::error::{Error, shown};
use crate::job::Set;
use crate::plan::Share;
use crate::source::parquet;

use shares::Part;

use say::{LogLine, Screen, print_json};

/// Moves billions of vectors into, out of and between Milvus installations.
#[derive(Parser)]
#[command(name = "milvusdm", version, arg_required_else_help = true)]
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
    /// Where all messages go
    #[arg(skip)]
    screen: Screen,
}

/// What the command line changes in a job.
#[derive(Args, Clone, Default)]
struct Sets {
    /// Put a value into the job before it is read, such as `--set sink.milvus.mode=skip`; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Set>,
}

#[derive(Args, Clone, Default)]
struct RunFlags {
    #[command(flatten)]
    sets: Sets,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = progress::Style::Auto)]
    progress: progress::Style,
    /// Write a report to this file: a page for browsers if it ends in .html, else JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Deliver again what was delivered before, or restart an unfinished run from its first row
    #[arg(long)]
    again: bool,
    /// Carry one share of the rows, such as `2/4`: as many programs, on any hosts, carry one each, and `milvusdm
    /// finish` takes the last steps. `auto` and `auto/4` use the number of a task in a Slurm array or a pod of a
    /// Kubernetes indexed Job
    #[arg(long, value_name = "K/N", conflicts_with = "dry_run")]
    shard: Option<Share>,
    /// Show what would be done, and do nothing: the same as `plan`
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Clone, Default)]
struct FinishFlags {
    #[command(flatten)]
    sets: Sets,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = progress::Style::Auto)]
    progress: progress::Style,
    /// Write a report to this file: a page for browsers if it ends in .html, else JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl RunFlags {
    /// The part of the job that a command with these flags carries.
    fn part(&self) -> Part {
        self.shard.map_or(Part::Whole, Part::Share)
    }
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
    /// Run a job; the same command continues after a crash or stop
    Run {
        /// The job file; `-`: standard input
        job: PathBuf,
        #[command(flatten)]
        flags: RunFlags,
    },
    /// Run a job of milvus-migration, as that program is called
    #[command(aliases = ["dump", "load"])]
    Start {
        /// The job file
        #[arg(short, long, value_name = "FILE", default_value = "migration.yaml")]
        config: PathBuf,
        /// The collection to copy, under this name, instead of the one that the file names
        #[arg(short, long, value_name = "COLLECTION")]
        table: Option<String>,
        #[command(flatten)]
        flags: RunFlags,
    },
    /// Show what a job would do; changes nothing anywhere
    Plan {
        /// The job file; `-`: standard input
        job: PathBuf,
        #[command(flatten)]
        sets: Sets,
    },
    /// Take the last steps of a job that was run in shares (`--shard`): flush, index, load, count, verify
    Finish {
        /// The job file; `-`: standard input
        job: PathBuf,
        #[command(flatten)]
        flags: FinishFlags,
    },
    /// Compare source and destination of a finished job, row by row, or check a backup; changes nothing anywhere
    Verify {
        /// The job file (`-`: standard input), or the directory of a backup that `sink: parquet` wrote, s3:// too
        job: PathBuf,
        #[command(flatten)]
        flags: verify::VerifyFlags,
    },
    /// Show what a Faiss index, HDF5, vector, numpy or Parquet file, a Milvus 1.x directory or a server holds
    Inspect {
        /// The file or directory, or the address of a server that needs no login: http://host:port
        path: PathBuf,
    },
    /// List sources and sinks and their settings
    Formats,
    /// Write a commented job for a source and a sink
    Init {
        /// The kind of source
        #[arg(value_parser = PossibleValuesParser::new(names(formats::sources())))]
        source: String,
        /// The kind of sink
        #[arg(value_parser = PossibleValuesParser::new(names(formats::sinks())))]
        sink: String,
        /// The job file to write, which must not exist yet; left out: standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the JSON Schema of job files, for editors and checks
    Schema {
        /// The file to write; left out: standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write a manual page
    Man {
        /// The command to describe; left out: the program
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
    /// Look at HDF5 files for another process of this program
    #[command(name = look::COMMAND, hide = true)]
    LookAtHdf5,
}

/// Runs the program with the arguments it was given.
pub fn main() -> ExitCode {
    let screen = Screen::default();
    let code = match Cli::try_parse() {
        Ok(cli) => obey(cli, &screen),
        // It quotes what was typed, which may hold control characters.
        Err(e) if e.use_stderr() => {
            for line in e.render().to_string().trim_end().lines() {
                screen.say(&shown(line));
            }
            ExitCode::from(2)
        }
        Err(e) => e.exit(),
    };
    screen.finish();
    code
}

fn obey(cli: Cli, screen: &Screen) -> ExitCode {
    let common = Common {
        screen: screen.clone(),
        ..cli.common
    };
    logging(&common);
    open_many_files();
    let result = match cli.command {
        Some(Command::Run { job, flags }) if flags.dry_run => {
            carry::plan_job(&job, &flags.sets, &common)
        }
        Some(Command::Start {
            config,
            table,
            mut flags,
        }) => {
            if let Some(name) = table {
                let names = vec![name.clone()];
                let sets = [
                    Set::of("source.milvus.collections", names),
                    Set::of("into.collection", name),
                ];
                flags.sets.set.extend(sets);
            }
            carry::run_job(&config, &flags, flags.part(), &common)
        }
        Some(Command::Run { job, flags }) => carry::run_job(&job, &flags, flags.part(), &common),
        Some(Command::Finish { job, flags }) => {
            let flags = RunFlags {
                sets: flags.sets,
                progress: flags.progress,
                report: flags.report,
                ..RunFlags::default()
            };
            carry::run_job(&job, &flags, Part::LastSteps, &common)
        }
        Some(Command::Plan { job, sets }) => carry::plan_job(&job, &sets, &common),
        Some(Command::Verify { job, flags }) => match parquet::is_backup(&job) {
            true => backup::verify(&job, flags.progress, &common),
            false => verify::verify_job(&job, &flags, &common),
        },
        Some(Command::Inspect { path }) => inspect::inspect(&path, &common),
        Some(Command::Formats) => formats::formats(&common),
        Some(Command::Init {
            source,
            sink,
            output,
        }) => init::init(&source, &sink, output.as_deref()),
        Some(Command::Schema { output }) => schema::write(output.as_deref()),
        Some(Command::Completions { shell }) => help::completions(shell),
        Some(Command::Man { of }) => help::man(of.as_deref()),
        Some(Command::LookAtHdf5) => return look::child(),
        None => {
            let Some(job) = cli.yaml else {
                let said = "error: no command given; `milvusdm --help` lists them";
                common.screen.say(said);
                return ExitCode::from(2);
            };
            match cli.run.dry_run {
                true => carry::plan_job(&job, &cli.run.sets, &common),
                false => carry::run_job(&job, &cli.run, cli.run.part(), &common),
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, &common),
    }
}

fn names(entries: Vec<formats::Entry>) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.name).collect()
}

/// Raises the limit on open files as far as the system allows, often above the 1024 of a shell: a job may name more
/// HDF5 files than that, and those with chunks stay open.
fn open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Best effort: if it is refused and there are too many files, an error names the one that cannot be opened.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn fail(error: &Error, common: &Common) -> ExitCode {
    let code = error.kind().exit_code();
    if common.json && !error.is_reported() {
        // If that cannot be printed either, the exit code reports it.
        let _ = print_json(&serde_json::json!({"error": show::error_json(error)}));
    }
    common.screen.say(&format!("error: {error}"));
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
    // Frames of connections are logged at level trace only.
    let others = match level {
        tracing::Level::DEBUG => tracing::Level::INFO,
        level => level,
    };
    let filter = Targets::new()
        .with_default(others)
        .with_target("milvusdm", level);
    let screen = common.screen.clone();
    let logs = tracing_subscriber::fmt::layer()
        .event_format(Plain {
            times: level > tracing::Level::WARN,
        })
        .with_ansi(false)
        .with_writer(move || LogLine(screen.clone()));
    let logs = tracing_subscriber::registry().with(logs.with_filter(filter));
    // A second initialisation happens only in tests, which can use the first one.
    let _ = logs.try_init();
}

/// Logs like all other messages: `warning: …`, one line each. At levels above warnings each has its time.
struct Plain {
    times: bool,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let word = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warning",
            tracing::Level::INFO => "note",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "trace",
        };
        let mut words = String::new();
        context.format_fields(Writer::new(&mut words), event)?;
        if self.times {
            write!(writer, "{} ", show::utc(SystemTime::now()))?;
        }
        write!(writer, "{word}: {}", shown(&words))
    }
}
