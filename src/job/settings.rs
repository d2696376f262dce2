//! What may a job say? Each setting: its name, what it takes, its default, and what it is for.
//!
//! These lists are the only place that knows a key. The parser refuses what they do not name, and takes words and
//! bounds from them; `milvusdm formats`, `schema` and `init` are generated from them. A new setting is one line in
//! the list of its source or sink, or in [`GENERAL`], and the line that reads it.

use super::fields::FIELDS;
use super::{Existing, IdCollision, Misfits, NonFinite, OnDoubt, Verify, legacy};

/// One setting of a job.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key.
    pub name: &'static str,
    /// Which values it takes.
    pub takes: Takes,
    /// Whether it has to be given.
    pub need: Need,
    /// Its default, as a job would spell it; empty: none, or what `about` says.
    pub default: &'static str,
    /// What a new job shows, as YAML; empty: the default.
    pub example: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
}

/// The values that a key takes. `null` and `''` always mean the same as nothing, and text may contain `${NAME}`.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A single value, taken as text.
    Text,
    /// Text that output, logs and checkpoints must not show.
    Secret,
    /// A path; `~` at its beginning is the home directory.
    Path,
    /// Text, or a list of texts.
    Texts,
    /// A path, or a list of paths.
    Paths,
    /// A whole number between bounds.
    Number(u64, u64),
    /// A whole number between bounds, or `auto`.
    NumberOrAuto(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// Bytes, such as `4MiB`.
    Size,
    /// A length of time, such as `10m`.
    Duration,
    /// A map of these settings.
    Map(&'static [Setting]),
    /// A map whose keys the job chooses, each with this.
    Names(&'static Takes),
    /// Any of these.
    Any(&'static [Takes]),
}

/// Whether a setting has to be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// It may be left out.
    Optional,
    /// It must be there.
    Required,
    /// Exactly one of the settings of its map with this mark must be there.
    OneOf,
}

impl Setting {
    /// A setting that may be left out.
    pub const fn new(name: &'static str, takes: Takes, about: &'static str) -> Setting {
        Setting {
            name,
            takes,
            need: Need::Optional,
            default: "",
            example: "",
            about,
        }
    }

    /// Takes text.
    pub const fn text(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Text, about)
    }

    /// Takes text that is never shown.
    pub const fn secret(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Secret, about)
    }

    /// Takes a path.
    pub const fn path(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Path, about)
    }

    /// Takes a text or a list of texts.
    pub const fn texts(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Texts, about)
    }

    /// Takes a path or a list of paths.
    pub const fn paths(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Paths, about)
    }

    /// Takes a whole number between bounds.
    pub const fn number(
        name: &'static str,
        (min, max): (u64, u64),
        about: &'static str,
    ) -> Setting {
        Setting::new(name, Takes::Number(min, max), about)
    }

    /// Takes a whole number between bounds, or `auto`, the default.
    pub const fn number_or_auto(
        name: &'static str,
        (min, max): (u64, u64),
        about: &'static str,
    ) -> Setting {
        Setting::new(name, Takes::NumberOrAuto(min, max), about).or("auto")
    }

    /// Takes `true` or `false`, the default.
    pub const fn flag(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Flag, about).or("false")
    }

    /// Takes one of some words.
    pub const fn choice(
        name: &'static str,
        words: &'static [&'static str],
        about: &'static str,
    ) -> Setting {
        Setting::new(name, Takes::Choice(words), about)
    }

    /// Takes a number of bytes.
    pub const fn size(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Size, about)
    }

    /// Takes a length of time.
    pub const fn duration(name: &'static str, about: &'static str) -> Setting {
        Setting::new(name, Takes::Duration, about)
    }

    /// Takes a map of settings.
    pub const fn map(
        name: &'static str,
        settings: &'static [Setting],
        about: &'static str,
    ) -> Setting {
        Setting::new(name, Takes::Map(settings), about)
    }

    /// The same, with a default.
    pub const fn or(self, default: &'static str) -> Setting {
        Setting { default, ..self }
    }

    /// The same, required.
    pub const fn required(self) -> Setting {
        Setting {
            need: Need::Required,
            ..self
        }
    }

    /// The same; exactly one of the settings with this mark must be there.
    pub const fn one_of(self) -> Setting {
        Setting {
            need: Need::OneOf,
            ..self
        }
    }

    /// The same, with an example for new jobs.
    pub const fn example(self, example: &'static str) -> Setting {
        Setting { example, ..self }
    }

    /// Its purpose, values and default, in one line.
    pub fn meaning(&self) -> String {
        let mut notes = Vec::new();
        notes.extend(self.takes.told());
        match self.need {
            Need::Required => notes.push("required".to_owned()),
            Need::OneOf => notes.push("one of these is required".to_owned()),
            Need::Optional => {}
        }
        if !self.default.is_empty() {
            notes.push(format!("default {}", self.default));
        }
        match notes.is_empty() {
            true => self.about.to_owned(),
            false => format!("{} ({})", self.about, notes.join("; ")),
        }
    }
}

impl Takes {
    /// The words among what it takes.
    pub fn words(&self) -> &'static [&'static str] {
        match self {
            Takes::Choice(words) => words,
            Takes::Any(all) => all
                .iter()
                .map(Takes::words)
                .find(|w| !w.is_empty())
                .unwrap_or_default(),
            _ => &[],
        }
    }

    /// The bounds of the number among what it takes.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        match self {
            Takes::Number(min, max) | Takes::NumberOrAuto(min, max) => Some((*min, *max)),
            Takes::Any(all) => all.iter().find_map(Takes::bounds),
            _ => None,
        }
    }

    /// The settings of the map among what it takes.
    pub fn settings(&self) -> Option<&'static [Setting]> {
        match self {
            Takes::Map(settings) => Some(settings),
            Takes::Any(all) => all.iter().find_map(Takes::settings),
            _ => None,
        }
    }

    /// Whether its text is a path.
    pub fn is_path(&self) -> bool {
        match self {
            Takes::Path | Takes::Paths => true,
            Takes::Any(all) => all.iter().any(Takes::is_path),
            _ => false,
        }
    }

    /// What it takes, if the name and purpose of a setting do not tell.
    fn told(&self) -> Option<String> {
        match self {
            Takes::Choice(words) => Some(words.join(", ")),
            Takes::Number(min, max) | Takes::NumberOrAuto(min, max)
                if *max < u64::from(u32::MAX) =>
            {
                Some(format!("{min} to {max}"))
            }
            Takes::Size => Some("bytes, such as 4MiB".to_owned()),
            Takes::Duration => Some("such as 10m".to_owned()),
            Takes::Map(settings) => {
                let names: Vec<&str> = settings.iter().map(|s| s.name).collect();
                Some(format!("{{{}}}", names.join(", ")))
            }
            Takes::Any(all) => {
                let told: Vec<String> = all.iter().filter_map(Takes::told).collect();
                (!told.is_empty()).then(|| told.join(", or "))
            }
            _ => None,
        }
    }
}

/// The setting of this name.
pub fn find(settings: &'static [Setting], name: &str) -> Option<&'static Setting> {
    settings.iter().find(|setting| setting.name == name)
}

pub use super::legacy::DIMENSION;

/// The range of numeric ids.
pub const IDS: (u64, u64) = (0, i64::MAX as u64);

/// The settings next to `source:` and `sink:`.
pub const GENERAL: &[Setting] = &[
    Setting::map(
        "collections",
        &[
            Setting::texts("allow", "globs of what is migrated").example("[\"prod_*\"]"),
            Setting::texts("block", "globs of what is not, even if it is allowed")
                .example("[\"*_tmp\"]"),
        ],
        "which collections, or collection/partition, of the source are migrated",
    ),
    Setting::map(
        "into",
        &[
            Setting::text("collection", "the collection's new name").example("\"{collection}\""),
            Setting::text("partition", "the partition's new name; '': the default one")
                .example("\"{partition}\""),
        ],
        "new names; {db}, {collection} and {partition} stand for the source's; giving several the same name merges them",
    ),
    Setting::map(
        "fields",
        FIELDS,
        "names of the columns in the target, and what becomes of the vectors",
    ),
    Setting::map("run", RUN, "how the job is run"),
];

const RUN: &[Setting] = &[
    Setting::number_or_auto("threads", (1, 1024), "threads that read and pack"),
    Setting::number_or_auto("connections", (1, 256), "connections to a server"),
    Setting::number_or_auto("in_flight", (1, 64), "requests in flight on each connection"),
    Setting::size("batch", "bytes in a batch, 4KiB to 60MiB").or("4MiB"),
    Setting::number("max_rows_per_s", (1, u64::MAX), "go no faster").example("100000"),
    Setting::size("max_bytes_per_s", "go no faster").example("100MB"),
    Setting::path("checkpoint", "the log of what arrived; left out: <job file>.ckpt next to the job")
        .example("./job.ckpt"),
    Setting::duration("patience", "how long a destination may say \"later\" or stay silent")
        .or("10m"),
    Setting::choice(
        "on_doubt",
        OnDoubt::WORDS,
        "what to do with a batch that may or may not have arrived",
    )
    .or("auto"),
    Setting::choice(
        "id_collision",
        IdCollision::WORDS,
        "ids that repeat within a Milvus 2.x target: refused, all inserted, or the last row of each",
    )
    .or("fail"),
    Setting::choice(
        "existing",
        Existing::WORDS,
        "rows whose ids are in the target before the first row: refused, replaced, or duplicated",
    )
    .or("fail"),
    Setting::flag("allow_empty", "true: a source without rows may overwrite what is there"),
    Setting::choice(
        "non_finite",
        NonFinite::WORDS,
        "rows with NaN or infinity, which Milvus 2.x refuses",
    )
    .or("fail"),
    Setting::choice("misfit", Misfits::WORDS, "other values that do not fit their field").or("fail"),
    Setting::choice("verify", Verify::WORDS, "what is compared at the end").or("count"),
];

/// `source:` or `sink:`, whose settings belong to the kind named below it.
const fn endpoint(name: &'static str) -> Setting {
    Setting::new(name, Takes::Names(&Takes::Map(&[])), "exactly one kind").required()
}

/// The keys of a job: `source`, `sink` and [`GENERAL`]; and what only classic jobs say.
pub const JOB: &[Setting] = &{
    let mut all = [endpoint("source"); GENERAL.len() + 2];
    all[1] = endpoint("sink");
    let mut i = 0;
    while i < GENERAL.len() {
        all[i + 2] = GENERAL[i];
        i += 1;
    }
    all
};

/// The same after a classic job has been rewritten.
pub const REWRITTEN: &[Setting] = &{
    let mut all = [legacy::DIMENSION; JOB.len() + 1];
    let mut i = 0;
    while i < JOB.len() {
        all[i + 1] = JOB[i];
        i += 1;
    }
    all
};
