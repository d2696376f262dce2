//! What was asked? The job file, checked for shape; nothing touched.
//! Knows the general settings; a source or sink reads its own.

mod fields;
mod foreign;
mod form;
mod globs;
mod legacy;
mod lines;
mod pem;
mod place;
mod set;
pub mod settings;
mod text;
mod words;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use crate::error::{Error, Kind, Place, Result};
use crate::limits;

pub use fields::{
    ColumnSettings, FieldSettings, INDEX, METRICS, Rest, TYPES, TypeSettings, read_index,
    read_metric,
};
pub use form::{Form, Mistake, Mistakes, did_you_mean, expand};
pub use globs::{Globs, matches};
pub use legacy::{ClassicKey, keys as classic_keys};
use lines::{find_line, has_key};
pub use pem::read_pem;
use place::CheckpointPlace;
pub use place::{absolute, is_glob, state_directory};
pub use set::Set;
pub use settings::{Need, Setting, Takes};

/// The YAML, checked for shape, nothing touched.
#[derive(Debug)]
pub struct Job {
    /// The file it was read from.
    pub path: Arc<Path>,
    /// Which classic job it is, if any: `F2M`, `H2M`, `M2M` or `M2H`.
    pub classic: Option<&'static str>,
    /// Where vectors come from.
    pub source: Endpoint,
    /// Where they go.
    pub sink: Endpoint,
    /// Which collections and partitions of the source travel.
    pub collections: Globs,
    /// New names for collections and partitions.
    pub into: Into,
    /// Names of the columns in the target, and what becomes of the vectors.
    pub fields: FieldSettings,
    /// How it is run.
    pub run: RunSettings,
    /// The dimension the job says the data has, with the key that says so.
    pub dimension: Option<u64>,
    /// Mistakes so far. The code that reads source and sink settings adds to them.
    pub mistakes: Mistakes,
    text: String,
    aliases: Vec<(String, String)>,
    sets: Vec<Set>,
}

/// A source or sink by name, its settings not yet read.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// Such as `faiss`; empty if the job does not say (a mistake was noted).
    pub name: String,
    /// The settings under the name.
    pub settings: Mapping,
}

/// New names for collections and partitions; `{db}`, `{collection}` and `{partition}` stand for the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Into {
    /// The collection's new name.
    pub collection: Option<String>,
    /// The partition's new name.
    pub partition: Option<String>,
}

/// How a job is run.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Threads that read and pack; `None`: as many as the machine has.
    pub threads: Option<usize>,
    /// Connections to a server; `None`: chosen.
    pub connections: Option<usize>,
    /// Requests in flight on each connection; `None`: chosen.
    pub in_flight: Option<usize>,
    /// Bytes of vectors and ids in a batch.
    pub batch_bytes: u64,
    /// Rows a second at most.
    pub max_rows_per_s: Option<u64>,
    /// Bytes a second at most.
    pub max_bytes_per_s: Option<u64>,
    /// The checkpoint file, from the root.
    pub checkpoint: PathBuf,
    /// Why it is not next to the job file, unless the job says so.
    pub checkpoint_why: Option<String>,
    /// Where earlier versions of this program left it, if the job does not name it.
    pub checkpoint_before: Option<PathBuf>,
    /// How long, all in all, a destination may say "later" or stay silent before the run gives up.
    pub patience: Duration,
    /// The first wait before something is tried again; the next ones grow. Not for jobs: tests shorten it.
    pub first_wait: Duration,
    /// How long an unanswered request may still arrive. Not for jobs: tests shorten it.
    pub late_wait: Duration,
    /// What to do with a batch that may or may not have arrived.
    pub on_doubt: OnDoubt,
    /// Whether ids that repeat within a target may be carried.
    pub id_collision: IdCollision,
    /// What to do with rows whose keys are in the target before the first row is sent.
    pub existing: Existing,
    /// Whether a source without rows may replace what is there.
    pub allow_empty: bool,
    /// What to do with rows that hold NaN or infinity, where the target refuses them.
    pub non_finite: NonFinite,
    /// What to do with other values that do not fit their field.
    pub misfit: Misfits,
    /// How much is compared at the end.
    pub verify: Verify,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }
        impl $name {
            /// The words a job may use.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
            /// The one of this word.
            pub fn of(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words!(
    /// What to do with a batch that may or may not have arrived.
    OnDoubt {
        /// Upsert if that can only replace what this job sent, else stop.
        Auto = "auto",
        /// Upsert, even if other rows may have the same keys.
        Upsert = "upsert",
        /// Send again, and accept that rows may be duplicated.
        Resend = "resend",
        /// Stop.
        Stop = "stop",
    }
);
words!(
    /// Whether ids that repeat within a target may be carried.
    IdCollision {
        /// No: refused before the first row moves.
        Fail = "fail",
        /// Yes, all rows.
        Keep = "keep",
        /// Only the last row of each id in the order of the source.
        Last = "last",
    }
);
words!(
    /// What to do with rows whose keys are in the target before the first row is sent.
    Existing {
        /// Refuse.
        Fail = "fail",
        /// Replace the rows that are there.
        Upsert = "upsert",
        /// Add them anyway: such rows are then there twice.
        Keep = "keep",
    }
);
words!(
    /// What to do with rows that hold NaN or infinity, where the target refuses them.
    NonFinite {
        /// Stop, naming file, row and id.
        Fail = "fail",
        /// Leave the row out, count and list it.
        Skip = "skip",
    }
);
words!(
    /// What to do with values that do not fit their field.
    Misfits {
        /// Stop, naming file, row, key and column.
        Fail = "fail",
        /// Leave the value out if the field may be null, else stop.
        Null = "null",
        /// Leave the row out, count and list it.
        Skip = "skip",
        /// Keep the value in the dynamic field, under the column's name and `_misfit`; if the field may be null, else
        /// stop.
        Dynamic = "dynamic",
    }
);
words!(
    /// How much is compared at the end.
    Verify {
        /// Nothing.
        Off = "off",
        /// Row counts.
        Count = "count",
        /// Row counts and a sample of rows.
        Sample = "sample",
        /// Row counts and all rows.
        Full = "full",
    }
);
words!(
    /// What components of vectors become.
    StoreAs {
        /// IEEE half precision, rounded to nearest.
        Float16 = "float16",
        /// The high half of a float32, rounded to nearest.
        BFloat16 = "bfloat16",
        /// Signed bytes, if nothing is lost.
        Int8 = "int8",
    }
);
words!(
    /// How rows are scaled to length 1.
    Normalize {
        /// By the square root of the sum of squares.
        L2 = "l2",
    }
);
words!(
    /// What to do with a target that exists.
    Mode {
        /// Refuse.
        Fail = "fail",
        /// Do nothing, and report that.
        Skip = "skip",
        /// Create what is missing, and add.
        Append = "append",
        /// Drop it, then create it.
        Overwrite = "overwrite",
    }
);

/// The jobs of the Python tool.
pub const CLASSIC: [&str; 4] = ["F2M", "H2M", "M2M", "M2H"];

impl Job {
    /// The name of a job that comes through standard input.
    pub const STDIN: &'static str = "-";

    /// Reads a job file.
    pub fn read(path: &Path) -> Result<Job> {
        Job::read_with(path, &[])
    }

    /// Reads a job file, or standard input for `-`, and applies the values from the command line.
    pub fn read_with(path: &Path, sets: &[Set]) -> Result<Job> {
        let text = text::read(path)?;
        Job::parse_with(path, text, sets)
    }

    /// Parses a job.
    pub fn parse(path: &Path, text: String) -> Result<Job> {
        Job::parse_with(path, text, &[])
    }

    /// The same, with the values from the command line applied.
    pub fn parse_with(path: &Path, text: String, sets: &[Set]) -> Result<Job> {
        let root = yaml::read(&text).map_err(|(line, what, hint)| {
            let error = Error::new(Kind::Job, what).at(Place::Job {
                path: path.into(),
                line,
                key: String::new(),
            });
            let error = error.detail("note: nothing else was checked because of this");
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        let Value::Mapping(mut root) = root else {
            return Err(Error::path(
                Kind::Job,
                path,
                "a job is a map with `source:` and `sink:`, or one of F2M, H2M, M2M, M2H",
            ));
        };
        if let Some((general, notes)) = foreign::living(&root).or_else(|| foreign::searched(&root))
        {
            notes.iter().for_each(|note| tracing::warn!("{note}"));
            root = general;
        }
        if let Some(error) = foreign::recognised(&root) {
            return Err(error.at(Place::Path(path.into())));
        }
        let mistakes = Mistakes::default();
        let mut aliases = Vec::new();
        let classic = CLASSIC.into_iter().find(|c| root.contains_key(*c));
        // Keys of a classic job, and those of the general job that it stands for, are both allowed.
        let (own, general): (Vec<&Set>, Vec<&Set>) = sets
            .iter()
            .partition(|set| classic.is_some_and(|c| set.is_below(c)));
        own.iter().for_each(|set| set.put(&mut root, &mistakes));
        if let Some(classic) = classic {
            let (general, names) = legacy::rewrite(classic, root, &mistakes);
            root = general;
            aliases = names;
        }
        general.iter().for_each(|set| set.put(&mut root, &mistakes));
        let settings = match classic {
            Some(_) => settings::REWRITTEN,
            None => settings::JOB,
        };
        let mut form = Form::new("", root, settings, &mistakes);
        let source = endpoint(&mut form, "source");
        let sink = endpoint(&mut form, "sink");
        let collections = form
            .form("collections")
            .map(Globs::read)
            .unwrap_or_default();
        let into = form.form("into").map(read_into).unwrap_or_default();
        let fields = fields::read(form.form("fields"));
        let place = match path.as_os_str() == Job::STDIN {
            true => CheckpointPlace::of_text(&format!("{text}{sets:?}")),
            false => Some(CheckpointPlace::of(path)),
        };
        let run = read_run(form.form("run"), place, &mistakes);
        let dimension = classic.and_then(|_| form.number("dimension"));
        form.done();
        Ok(Job {
            path: path.into(),
            classic,
            source,
            sink,
            collections,
            into,
            fields,
            run,
            dimension,
            mistakes,
            text,
            aliases,
            sets: sets.to_vec(),
        })
    }

    /// An error that lists all mistakes found so far, if there are any.
    pub fn check(&self) -> Result<()> {
        Error::several(self.mistaken()).map_or(Ok(()), |error| Err(self.named(error)))
    }

    /// Each mistake found so far, as an error with its place.
    pub fn mistaken(&self) -> Vec<Error> {
        let mistakes = self.mistakes.all().into_iter();
        let errors = mistakes.map(|mistake| {
            let rivals = &mistake.rivals;
            let set = rivals.iter().find(|rival| self.is_set(rival));
            let key = set.unwrap_or(&mistake.key);
            let other = set.and_then(|set| rivals.iter().find(|rival| *rival != set));
            let other = other.map(|other| self.original_key(other));
            let hint = other.map(|other| format!("`--set {other}=` removes the other one"));
            let hint = hint.or(mistake.hint.clone());
            let error = Error::new(Kind::Job, mistake.what.clone()).at(self.place(key));
            hint.into_iter().fold(error, Error::hint)
        });
        errors.collect()
    }

    /// An error about several things in this job, with the job's name.
    pub fn named(&self, error: Error) -> Error {
        match error.mistakes().is_empty() {
            true => error,
            false => error.at(self.place("")),
        }
    }

    /// Where a key is in the file, under the name it has there.
    pub fn place(&self, key: &str) -> Place {
        // A mistake in a map as a whole may be caused by a value that was put into it.
        let made = |set: &Set| {
            let added = set.below(key);
            added.is_some_and(|name| !self.says(key) || !self.says(name))
        };
        if self.is_set(key) || self.sets.iter().any(made) {
            return Place::Job {
                path: Path::new("--set").into(),
                line: 0,
                key: key.to_owned(),
            };
        }
        let key = self.original_key(key);
        Place::Job {
            path: self.path.clone(),
            line: find_line(&self.text, &key),
            key,
        }
    }

    /// Whether the command line gives a key, or one above it.
    fn is_set(&self, key: &str) -> bool {
        let original = self.original_key(key);
        let mut sets = self.sets.iter();
        sets.any(|set| set.covers(key) || set.covers(&original))
    }

    /// Whether a key is in the file.
    fn says(&self, key: &str) -> bool {
        let name = key.rsplit('.').next().unwrap_or_default();
        self.text.lines().any(|line| has_key(line, name))
    }

    /// The key as the operator wrote it: classic jobs have other names.
    fn original_key(&self, key: &str) -> String {
        let fits = self.aliases.iter().filter(|(general, _)| {
            key == general || key.starts_with(general) && key[general.len()..].starts_with('.')
        });
        match fits.max_by_key(|(general, _)| general.len()) {
            Some((general, original)) => format!("{original}{}", &key[general.len()..]),
            None => key.to_owned(),
        }
    }
}

fn endpoint(form: &mut Form, key: &'static str) -> Endpoint {
    match form.value(key) {
        Some(Value::Mapping(map)) if map.len() == 1 => {
            let (name, settings) = map.into_iter().next().expect("it has one entry");
            let name = name.as_str().unwrap_or_default().to_owned();
            match settings {
                Value::Mapping(settings) => Endpoint { name, settings },
                Value::Null => Endpoint {
                    name,
                    settings: Mapping::new(),
                },
                other => {
                    let what = format!("must be a map of settings, not {}", words::found(&other));
                    form.mistake(&format!("{key}.{name}"), what);
                    Endpoint::default()
                }
            }
        }
        None => {
            form.mistake_hint(key, "is missing", "`milvusdm formats` lists them all");
            Endpoint::default()
        }
        Some(other) => {
            let found = match &other {
                Value::Mapping(map) if map.is_empty() => "there is none".to_owned(),
                Value::Mapping(map) => {
                    let names = map.keys().map(words::found);
                    format!("there are {}", names.collect::<Vec<_>>().join(", "))
                }
                other => format!("found {}", words::found(other)),
            };
            form.mistake_hint(
                key,
                format!("needs exactly one kind of {key} under it: {found}"),
                "`milvusdm formats` lists them all",
            );
            Endpoint::default()
        }
    }
}

fn read_into(mut form: Form) -> Into {
    // An empty name is the default partition: all partitions go into it.
    let default = form.is_empty_text("partition").then(String::new);
    let into = Into {
        collection: form.text("collection"),
        partition: form.text("partition").or(default),
    };
    for (key, name) in [
        ("collection", &into.collection),
        ("partition", &into.partition),
    ] {
        let plain = name.as_deref().unwrap_or_default();
        let known = ["{db}", "{collection}", "{partition}"];
        let plain = known
            .iter()
            .fold(plain.to_owned(), |text, word| text.replace(word, ""));
        if plain.contains(['{', '}']) {
            form.mistake(
                key,
                "may hold {db}, {collection} and {partition}, no other braces",
            );
        }
    }
    form.done();
    into
}

/// `place`: where the checkpoint goes unless the job says so; `None`: nowhere.
fn read_run(
    form: Option<Form>,
    place: Option<CheckpointPlace>,
    mistakes: &Mistakes,
) -> RunSettings {
    let is_placed = place.is_some();
    let place = place.unwrap_or_default();
    let mut run = RunSettings {
        threads: None,
        connections: None,
        in_flight: None,
        batch_bytes: limits::BATCH_BYTES_DEFAULT,
        max_rows_per_s: None,
        max_bytes_per_s: None,
        checkpoint: place.path,
        checkpoint_why: place.why,
        checkpoint_before: place.before,
        patience: Duration::from_secs(600),
        first_wait: Duration::from_millis(100),
        late_wait: Duration::from_secs(limits::LATE_S),
        on_doubt: OnDoubt::Auto,
        id_collision: IdCollision::Fail,
        existing: Existing::Fail,
        allow_empty: false,
        non_finite: NonFinite::Fail,
        misfit: Misfits::Fail,
        verify: Verify::Count,
    };
    let without_place = || {
        let what =
            "is missing: a job from standard input has no folder, and there is no home directory";
        mistakes.add("run.checkpoint", what, None);
    };
    let Some(mut form) = form else {
        if !is_placed {
            without_place();
        }
        return run;
    };
    let small = |n: u64| n as usize;
    run.threads = form.number_or_auto("threads").map(small);
    run.connections = form.number_or_auto("connections").map(small);
    run.in_flight = form.number_or_auto("in_flight").map(small);
    if let Some(batch) = form.size("batch") {
        let (min, max) = (limits::BATCH_BYTES_MIN, limits::BATCH_BYTES_MAX);
        if (min..=max).contains(&batch) {
            run.batch_bytes = batch;
        } else {
            form.mistake(
                "batch",
                format!("{batch} bytes is not between 4KiB and 60MiB (Milvus refuses requests above 64MiB)"),
            );
        }
    }
    run.max_rows_per_s = form.number("max_rows_per_s");
    run.max_bytes_per_s = form.size("max_bytes_per_s");
    if run.max_bytes_per_s == Some(0) {
        form.mistake("max_bytes_per_s", "0 bytes a second would never end");
    }
    if let Some(path) = form.text("checkpoint") {
        run.checkpoint = absolute(Path::new(&path));
        (run.checkpoint_why, run.checkpoint_before) = (None, None);
    } else if !is_placed {
        without_place();
    }
    run.patience = form.duration("patience").unwrap_or(run.patience);
    run.on_doubt = form
        .choice("on_doubt")
        .and_then(OnDoubt::of)
        .unwrap_or(run.on_doubt);
    run.id_collision = form
        .choice("id_collision")
        .and_then(IdCollision::of)
        .unwrap_or(run.id_collision);
    run.existing = form
        .choice("existing")
        .and_then(Existing::of)
        .unwrap_or(run.existing);
    run.allow_empty = form.flag("allow_empty").unwrap_or(false);
    run.misfit = form
        .choice("misfit")
        .and_then(Misfits::of)
        .unwrap_or(run.misfit);
    run.non_finite = form
        .choice("non_finite")
        .and_then(NonFinite::of)
        .unwrap_or(run.non_finite);
    run.verify = form
        .choice("verify")
        .and_then(Verify::of)
        .unwrap_or(run.verify);
    form.done();
    run
}

#[cfg(test)]
mod tests;
