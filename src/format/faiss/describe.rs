//! A description of an index for people and programs: what it is, what is in it, what can be recovered from it.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::index::{Body, Node};
use super::lists::Place;
use super::rows::{Faithful, Recovery, Rows, metric};
use crate::error::Result;
use crate::input::View;
use crate::limits;

/// An index, with those inside it.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// Its four characters.
    pub fourcc: String,
    /// What that is, in words.
    pub class: String,
    /// Where it begins in the file.
    pub at: u64,
    /// Rows it declares.
    pub rows: u64,
    /// Components, or bits.
    pub dimension: u32,
    /// What a component is when it comes out.
    pub element: &'static str,
    /// How it measures distances.
    pub metric: String,
    /// Whether it was trained.
    pub trained: bool,
    /// What else is known.
    pub notes: Vec<String>,
    /// Indexes inside, each with what it is there for.
    pub inner: Vec<Described>,
    /// What can be recovered from it; given for the outermost index only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryText>,
    /// The ids of its rows; given for the outermost index only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Ids>,
}

/// An index inside another.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    /// What it is there for.
    pub role: &'static str,
    /// What it is.
    pub index: Description,
}

/// What can be recovered from an index.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveryText {
    /// `lossless`, `lossy` or `nothing`.
    pub kind: &'static str,
    /// Rows that would travel.
    pub rows: u64,
    /// A sentence about it.
    pub what: String,
}

/// Ids of rows.
#[derive(Clone, Debug, Serialize)]
pub struct Ids {
    /// Whether they are stored in the file; if not, they are row numbers.
    pub stored: bool,
    /// The lowest and the highest, if finding them is cheap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(i64, i64)>,
    /// How many occur more than once, if they were scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated: Option<u64>,
}

/// The note about an index without rows.
pub const EMPTY: &str =
    "it has no rows, like an index that was trained but never filled: is it the right file?";

/// Whether the separate file of lists is at the path that the index gives, or next to the index.
fn lists_are_there(view: &View, rows: &Rows) -> bool {
    let Place::Elsewhere { name, .. } = &rows.stored.lists.place else {
        return true;
    };
    let stored = Path::new(OsStr::from_bytes(name));
    let beside = stored
        .file_name()
        .map(|name| view.path().with_file_name(name));
    rows.rows == 0 || stored.is_file() || beside.is_some_and(|beside| beside.is_file())
}

/// Reads a file and describes it. Reads no rows, and ids only if there are few.
pub fn inspect(view: &View) -> Result<Description> {
    let node = super::index::parse(view)?;
    let mut description = describe(&node);
    match Recovery::of(view, &node)? {
        Recovery::Rows(rows) => {
            description.notes.extend(rows.warnings.iter().cloned());
            if rows.rows == 0 {
                description.notes.push(EMPTY.to_owned());
            }
            description.ids = Some(ids(&rows)?);
            let (kind, what) = match &rows.faithful {
                Faithful::Exactly => ("lossless", "the vectors that were added".to_owned()),
                Faithful::Roughly(why) => {
                    let what =
                        format!("near the vectors that were added, with `lossy: allow`: {why}");
                    ("lossy", what)
                }
            };
            description.recovery = Some(RecoveryText {
                kind,
                rows: rows.rows,
                what: match lists_are_there(view, &rows) {
                    true => what,
                    false => format!(
                        "{what}; the file of its lists was not found: name it in the job with `lists:`"
                    ),
                },
            });
        }
        Recovery::Nothing { kind, why, how, .. } => {
            let who = if kind == node.fourcc {
                "it".to_owned()
            } else {
                format!("`{kind}` inside it")
            };
            description.recovery = Some(RecoveryText {
                kind: "nothing",
                rows: 0,
                what: format!("{who} {why}; {how}"),
            });
        }
    }
    Ok(description)
}

fn describe(node: &Node) -> Description {
    let (mut notes, mut inner) = (Vec::new(), Vec::new());
    let mut add = |role, node: &Node| {
        let index = describe(node);
        inner.push(Described { role, index });
    };
    match &node.body {
        Body::Rows(stored) => {
            let lists = &stored.lists;
            notes.push(format!(
                "codes: {}, {} bytes a row",
                stored.codec.name(),
                lists.code_bytes
            ));
            if stored.quantizer.is_some() {
                let filled = lists.runs.len();
                notes.push(format!(
                    "{filled} of {} lists have rows, {} in all",
                    lists.count, lists.rows
                ));
            }
            if stored.by_residual {
                notes.push("codes are of residuals to the lists' centres".to_owned());
            }
            match &lists.place {
                Place::Here | Place::Packed { .. } => {}
                Place::Missing => notes.push("its lists were not written".to_owned()),
                Place::Elsewhere { name, bytes, .. } if name.is_empty() => notes.push(format!(
                    "its lists are in another file, {bytes} bytes, whose name was not kept"
                )),
                Place::Elsewhere { name, bytes, .. } => notes.push(format!(
                    "its lists are in {}, {bytes} bytes",
                    String::from_utf8_lossy(name)
                )),
            }
            if let Some(table) = &stored.duplicates {
                notes.push(format!(
                    "{} rows are stored once for several",
                    table.len() / 16
                ));
            }
            if let Some(quantizer) = &stored.quantizer {
                add("quantizer", quantizer);
            }
        }
        Body::IdMap { inner, ids } => {
            notes.push(format!("{} ids", ids.len() / 8));
            add("rows", inner);
        }
        Body::Graph { storage, hnsw } => {
            if let Some(hnsw) = hnsw {
                notes.push(format!(
                    "M = {}, efConstruction = {}",
                    hnsw.links, hnsw.candidates
                ));
            }
            add("rows", storage);
        }
        Body::Refine { base, refine } => {
            add("first search", base);
            add("refined search", refine);
        }
        Body::Transformed { chain, inner } => {
            for transform in chain {
                let (from, to) = (transform.from, transform.to);
                notes.push(format!(
                    "transform `{}`: {}, {from} to {to} dimensions",
                    transform.fourcc,
                    transform.name()
                ));
            }
            add("rows", inner);
        }
        Body::MinMax(inner) | Body::FromFloat(inner) => add("rows", inner),
        Body::Combinations(pq) => notes.push(format!("{} x {} bits", pq.parts, pq.bits)),
        Body::Coded { inner, .. } => {
            if let Some(quantizer) = inner {
                add("quantizer", quantizer);
            }
        }
        Body::Missing => {}
    }
    Description {
        fourcc: node.fourcc.to_string(),
        class: node.class.to_owned(),
        at: node.at,
        rows: node.rows,
        dimension: node.dimension,
        element: if node.binary { "binary" } else { "float32" },
        metric: metric(node).name().to_owned(),
        trained: node.trained,
        notes,
        inner,
        recovery: None,
        ids: None,
    }
}

/// Where ids come from, and their range if few enough of them are in this file.
fn ids(rows: &Rows) -> Result<Ids> {
    let last = i64::try_from(rows.rows).unwrap_or(i64::MAX).checked_sub(1);
    if !rows.has_ids() {
        let range = last.filter(|last| *last >= 0).map(|last| (0, last));
        return Ok(Ids {
            stored: false,
            range,
            repeated: None,
        });
    }
    let mut all: Vec<i64> = Vec::new();
    // Of how many words each that is an id is the last.
    let mut see = |view: View, words: usize| -> Result<()> {
        let bytes = view.bytes()?;
        let ids = bytes.chunks_exact(8).skip(words.saturating_sub(1));
        all.extend(
            ids.step_by(words)
                .map(|word| i64::from_le_bytes(word.try_into().expect("chunks_exact(8)"))),
        );
        Ok(())
    };
    let lists = &rows.stored.lists;
    if rows.rows <= limits::IDS_SCANNED_MAX {
        if let Some(map) = rows.maps.last() {
            see(map.clone(), 1)?;
        } else if lists.place == Place::Here {
            for run in &lists.runs {
                let at = run.ids.unwrap_or(0);
                see(rows.file.cut(at, run.rows.saturating_mul(8))?, 1)?;
            }
            // Pairs of a stored id and another id with the same row.
            if let Some(table) = &rows.stored.duplicates {
                see(table.clone(), 2)?;
            }
        }
    }
    all.sort_unstable();
    let repeated = all.chunk_by(i64::eq).filter(|same| same.len() > 1).count();
    Ok(Ids {
        stored: true,
        range: all.first().copied().zip(all.last().copied()),
        repeated: (!all.is_empty()).then_some(repeated as u64),
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "", 0)
    }
}

impl Description {
    fn write(&self, f: &mut fmt::Formatter<'_>, role: &str, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        if self.fourcc == "null" {
            return writeln!(f, "{indent}{role}null: left out");
        }
        writeln!(f, "{indent}{role}{}: {}", self.fourcc, self.class)?;
        let trained = if self.trained { "" } else { ", not trained" };
        writeln!(
            f,
            "{indent}  {} rows, {} x {}, {}{trained}",
            self.rows, self.element, self.dimension, self.metric
        )?;
        for note in &self.notes {
            writeln!(f, "{indent}  {note}")?;
        }
        for inside in &self.inner {
            let role = format!("{}: ", inside.role);
            inside.index.write(f, &role, depth.saturating_add(1))?;
        }
        if let Some(ids) = &self.ids {
            let kind = if ids.stored { "stored" } else { "row numbers" };
            write!(f, "{indent}ids: {kind}")?;
            if let Some((least, most)) = ids.range {
                write!(f, ", {least} to {most}")?;
            }
            match ids.repeated {
                None | Some(0) => writeln!(f)?,
                Some(1) => writeln!(f, "; 1 id repeats")?,
                Some(ids) => writeln!(f, "; {ids} ids repeat")?,
            }
        }
        if let Some(recovery) = &self.recovery {
            let (kind, rows, what) = (recovery.kind, recovery.rows, &recovery.what);
            writeln!(f, "{indent}recovery: {kind}, {rows} rows: {what}")?;
        }
        Ok(())
    }
}
