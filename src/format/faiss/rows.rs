//! Which bytes are the rows, and what has to be undone to get back the vectors that were added.

use std::sync::Arc;

use super::coded::LIBFAISS_DECODES;
use super::decode;
use super::footer;
use super::header::FourCc;
use super::index::{Body, Node, Remedy, Stored};
use super::lists::{Layout, Lists, Place};
use super::quantizer::Codec;
use super::remedy::remedy;
use super::transform::{Act, Transform};
use super::undo::{Step, Undo, floats, undo};
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::schema::{Element, Metric, VectorType};

/// How well the vectors can be recovered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Faithful {
    /// As they were added.
    Exactly,
    /// Approximately, and why.
    Roughly(String),
}

/// What can be recovered from an index.
#[derive(Clone, Debug)]
pub enum Recovery {
    /// Rows.
    Rows(Box<Rows>),
    /// Nothing.
    Nothing {
        /// The kind that prevents it: the index, or one inside it.
        kind: FourCc,
        /// What it is instead, as the end of a sentence that begins with that kind.
        why: String,
        /// What can be done.
        how: String,
        /// Whether libfaiss, as the feature `faiss` builds it, may know how to decode it.
        foreign: bool,
    },
}

/// The rows of an index: where they are, what they are, which ids they have.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The kind of index that has them: the file's, or one inside it.
    pub kind: FourCc,
    /// The type of the vectors that come out.
    pub vector: VectorType,
    /// How the index measures.
    pub metric: Metric,
    /// Rows; one that is stored once for several counts as several.
    pub rows: u64,
    /// What is stored.
    pub stored: Arc<Stored>,
    /// Tables that map stored ids, or row numbers, to ids; applied in this order.
    pub maps: Vec<View>,
    /// How well vectors can be recovered.
    pub faithful: Faithful,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// What turns decoded rows into vectors, in the order it is done.
    pub(super) steps: Vec<Step>,
    /// Whether vectors are the signs of what comes out of the steps.
    pub(super) signs: bool,
    /// The index file.
    pub(super) file: View,
}

/// Why there is nothing.
struct Nothing {
    kind: FourCc,
    why: String,
    how: Help,
}

/// What can be done.
enum Help {
    Words(&'static str),
    Faiss(Remedy),
}

impl From<&'static str> for Help {
    fn from(words: &'static str) -> Help {
        Help::Words(words)
    }
}

impl From<Remedy> for Help {
    fn from(remedy: Remedy) -> Help {
        Help::Faiss(remedy)
    }
}

impl Nothing {
    fn new(node: &Node, why: impl Into<String>, how: impl Into<Help>) -> Nothing {
        Nothing {
            kind: node.fourcc,
            why: why.into(),
            how: how.into(),
        }
    }

    fn untrained(node: &Node) -> Nothing {
        Nothing::new(
            node,
            "was never trained and holds no rows",
            "train it and add vectors, or give the filled index",
        )
    }
}

/// What the walk to the rows has passed.
#[derive(Default)]
struct Way {
    /// Wrappers that count rows of their own.
    counted: Vec<(FourCc, u64)>,
    /// Whether a warning says already that the count of rows is wrong.
    miscounted: bool,
    maps: Vec<View>,
    chains: Vec<Transform>,
    signs: bool,
    rough: Vec<String>,
    warnings: Vec<String>,
}

/// What can be done about kinds that libfaiss decodes.
const LIBFAISS: &str = if cfg!(feature = "faiss") {
    "with `lossy: allow` libfaiss decodes it, if it can"
} else {
    "a build with `--features faiss` may have libfaiss decode it, with `lossy: allow`"
};

impl Recovery {
    /// What can be recovered from an index, the outermost of a file. Reads matrices, no rows.
    pub fn of(file: &View, node: &Node) -> Result<Recovery> {
        let mut way = Way::default();
        if footer::is_there(file)? {
            way.warnings.push(
                "the file ends as those of Lucene do (OpenSearch, Elasticsearch): its ids are Lucene's numbers of \
                 documents in one segment, not the ids of documents"
                    .to_owned(),
            );
        }
        let end = match walk(node, &mut way) {
            Ok(stored) => finish(file, node, stored, way)?,
            Err(nothing) => Err(nothing),
        };
        Ok(match end {
            Ok(rows) => Recovery::Rows(Box::new(rows)),
            // If there are no rows, it does not matter what would have been kept.
            Err(_) if node.rows == 0 && node.trained && node.dimension > 0 => {
                Recovery::Rows(Box::new(empty(file, node)))
            }
            Err(Nothing { kind, why, how }) => {
                let foreign = !node.binary && libfaiss_decodes(node);
                let how = match how {
                    Help::Words(words) => words.to_owned(),
                    Help::Faiss(of) if foreign => format!("{LIBFAISS}; {}", remedy(node, of)),
                    Help::Faiss(of) => remedy(node, of),
                };
                Recovery::Nothing {
                    kind,
                    why,
                    how,
                    foreign,
                }
            }
        })
    }
}

impl Rows {
    /// The rows of an index, or an error that says why there are none.
    pub fn of(file: &View, node: &Node) -> Result<Rows> {
        match Recovery::of(file, node)? {
            Recovery::Rows(rows) => Ok(*rows),
            Recovery::Nothing { kind, why, how, .. } => {
                let what = format!("the Faiss index {} {why}", node.names(kind));
                Err(Error::path(Kind::Unsupported, file.path(), what).hint(how))
            }
        }
    }

    /// Whether rows have ids of their own.
    pub fn has_ids(&self) -> bool {
        !self.maps.is_empty() || self.stored.lists.runs.iter().any(|run| run.ids.is_some())
    }

    /// Whether the stored bytes are the vectors.
    pub fn is_plain(&self) -> bool {
        self.decodes_nothing() && self.stored.lists.layout == Layout::Rows
    }

    /// Whether the stored bytes, put in order, are the vectors.
    pub(super) fn decodes_nothing(&self) -> bool {
        matches!(self.stored.codec, Codec::Float | Codec::Bits)
            && self.steps.is_empty()
            && !self.signs
            && !self.stored.by_residual
    }

    /// Pairs of ids of which the second is stored only as the first.
    pub fn duplicates(&self) -> u64 {
        let table = self.stored.duplicates.as_ref();
        table.map_or(0, |table| table.len() / 16)
    }

    /// The index file.
    pub fn file(&self) -> &View {
        &self.file
    }
}

impl Node {
    /// The name of a kind in it, and its own.
    pub fn names(&self, kind: FourCc) -> String {
        if kind == self.fourcc {
            format!("`{kind}`")
        } else {
            format!("`{kind}` inside `{}`", self.fourcc)
        }
    }
}

/// Descends to the index that has the rows.
fn walk(node: &Node, way: &mut Way) -> std::result::Result<Found, Nothing> {
    if !matches!(node.body, Body::Rows(_)) {
        way.counted.push((node.fourcc, node.rows));
    }
    match &node.body {
        Body::Rows(stored) => {
            check_stored(node, stored, way)?;
            Ok(Found {
                kind: node.fourcc,
                stored: stored.clone(),
                dimension: node.dimension,
            })
        }
        Body::IdMap { inner, ids } => {
            let found = walk(inner, way)?;
            way.maps.push(ids.clone());
            Ok(found)
        }
        Body::Graph { storage, .. } => walk(storage, way),
        Body::Refine { base, refine } => refined(base, refine, way),
        Body::Transformed { chain, inner } => {
            way.chains.extend(chain.iter().cloned());
            walk(inner, way)
        }
        Body::FromFloat(inner) => {
            way.signs = true;
            walk(inner, way)
        }
        Body::MinMax(_) => Err(Nothing::new(
            node,
            "is a codec; the minimum and maximum of each row are not in the file",
            Remedy::Gone,
        )),
        Body::Combinations(_) => Err(Nothing::new(
            node,
            "holds centres of clusters and no rows",
            "give the index that it is the quantizer of",
        )),
        Body::Coded { .. } if node.rows == 0 && !node.trained => Err(Nothing::untrained(node)),
        Body::Coded { why, how, .. } => Err(Nothing::new(node, *why, *how)),
        Body::Missing => Err(Nothing::new(
            node,
            "was written without its vectors (`null` is in their place)",
            "write the index again with faiss, without IO_FLAG_SKIP_STORAGE",
        )),
    }
}

/// Whether libfaiss, as the crate `faiss` builds it, may give back vectors of an index that we do not decode.
fn libfaiss_decodes(node: &Node) -> bool {
    match &node.body {
        Body::Coded { .. } => node.rows > 0 && LIBFAISS_DECODES.contains(&&node.fourcc.0),
        Body::Rows(stored) => {
            stored.lists.place == Place::Here
                && stored.lists.rows > 0
                && stored.by_residual
                && !decode::has_centres(stored.quantizer.as_ref())
        }
        Body::IdMap { inner, .. } => libfaiss_decodes(inner),
        Body::Transformed { chain, inner } => {
            chain.iter().all(libfaiss_undoes) && libfaiss_decodes(inner)
        }
        Body::Graph { storage, .. } => libfaiss_decodes(storage),
        // libfaiss asks the refined index only.
        Body::Refine { refine, .. } => libfaiss_decodes(refine),
        Body::MinMax(_) | Body::FromFloat(_) | Body::Combinations(_) | Body::Missing => false,
    }
}

/// Whether libfaiss undoes a transform as we do. Version 1.12 transposes whitening matrices too: wrong.
fn libfaiss_undoes(transform: &Transform) -> bool {
    match (&transform.act, undo(transform)) {
        (Act::Linear { matrix, .. }, Ok(Undo::Step { step, .. })) => match (step, floats(matrix)) {
            (Step::Matrix { rows, .. }, Ok(matrix)) => {
                let mut pairs = rows.iter().zip(&matrix);
                pairs.all(|(ours, theirs)| (ours - theirs).abs() <= 1e-3)
            }
            _ => false,
        },
        (_, Ok(Undo::Step { .. })) => true,
        _ => false,
    }
}

/// The better of two that have the same rows; ids are row numbers in the second.
fn refined(base: &Node, refine: &Node, way: &mut Way) -> std::result::Result<Found, Nothing> {
    let mut found = Vec::new();
    for which in [refine, base] {
        let mut its = Way::default();
        let result = walk(which, &mut its);
        found.push((result, its));
    }
    let exact = found
        .iter()
        .position(|(result, its)| result.is_ok() && its.rough.is_empty());
    let rough = found.iter().position(|(result, _)| result.is_ok());
    let (result, its) = found.swap_remove(exact.or(rough).unwrap_or(0));
    way.maps.extend(its.maps);
    way.chains.extend(its.chains);
    way.rough.extend(its.rough);
    way.miscounted |= its.miscounted;
    way.warnings.extend(its.warnings);
    result
}

/// What the walk has found.
struct Found {
    kind: FourCc,
    stored: Arc<Stored>,
    dimension: u32,
}

/// Why an index may count rows and have none at all.
const MOVED_OUT: &str = "merge_from() of Faiss moves the rows into another index, and may leave the count behind; \
     they are in the index that received them";

fn miscounted(kind: FourCc, counted: u64, held: u64, why: &str) -> String {
    format!("the index `{kind}` counts {counted} rows and holds {held}: {why}")
}

fn check_stored(node: &Node, stored: &Stored, way: &mut Way) -> std::result::Result<(), Nothing> {
    let lists = &stored.lists;
    match lists.place {
        Place::Missing => {
            return Err(Nothing::new(
                node,
                "was written without its inverted lists (`il00`)",
                "write the index again with faiss, including its lists",
            ));
        }
        Place::Packed { .. } => {
            return Err(Nothing::new(
                node,
                "keeps codes packed for FastScan, which this program does not decode",
                Remedy::Gone,
            ));
        }
        Place::Here | Place::Elsewhere { .. } => {}
    }
    if lists.rows == 0 && !node.trained {
        return Err(Nothing::untrained(node));
    }
    let duplicates = stored.duplicates.as_ref();
    let total = lists
        .rows
        .saturating_add(duplicates.map_or(0, |table| table.len() / 16));
    if node.rows != total {
        let why = if node.rows < total {
            "all rows that it holds are read".to_owned()
        } else if total == 0 {
            MOVED_OUT.to_owned()
        } else if duplicates.is_some() {
            "Faiss still counts duplicates that were removed, and vectors with NaN, which it does not keep"
                .to_owned()
        } else {
            let gone = node.rows.saturating_sub(total);
            format!("Faiss counts vectors with NaN, {gone} here, and does not keep them")
        };
        way.miscounted = true;
        way.warnings
            .push(miscounted(node.fourcc, node.rows, total, &why));
    }
    if total == 0 {
        return Ok(());
    }
    match &stored.codec {
        Codec::Float | Codec::Bits => {}
        Codec::Scalar(scalar) if !scalar.is_known() => {
            let why = format!(
                "keeps scalar quantizer codes ({}), which this program does not decode",
                scalar.name()
            );
            let remedy = match stored.quantizer {
                Some(_) => Remedy::Lists,
                None => Remedy::Rows,
            };
            return Err(Nothing::new(node, why, remedy));
        }
        Codec::Scalar(scalar) if matches!(scalar.kind, 5 | 8) && !stored.by_residual => {}
        codec => way
            .rough
            .push(format!("vectors are kept as {}", codec.name())),
    }
    if stored.by_residual && !decode::has_centres(stored.quantizer.as_ref()) {
        return Err(Nothing::new(
            node,
            "keeps residuals of vectors to their list's centre, and this program cannot read the centres",
            Remedy::Lists,
        ));
    }
    Ok(())
}

fn finish(
    file: &View,
    node: &Node,
    found: Found,
    mut way: Way,
) -> Result<std::result::Result<Rows, Nothing>> {
    const FLAT: &str = "holds vectors of 0 dimensions";
    const IDLE: &str = "there is nothing to move";
    let stored = found.stored;
    if node.dimension == 0 {
        return Ok(Err(Nothing::new(node, FLAT, IDLE)));
    }
    // What is inside may be trained while a transform around it is not.
    if stored.lists.rows == 0 && !node.trained {
        return Ok(Err(Nothing::untrained(node)));
    }
    let rows = match stored.duplicates.as_ref() {
        Some(table) => stored.lists.rows.saturating_add(table.len() / 16),
        None => stored.lists.rows,
    };
    let mut steps = Vec::new();
    if rows > 0 {
        let mut unit = false;
        for transform in way.chains.iter().rev() {
            if matches!(transform.act, Act::Normalize) {
                unit = true;
                continue;
            }
            match undo(transform)? {
                Undo::Step { step, loss, shifts } => {
                    if shifts && unit {
                        way.rough
                            .push("vectors were centred and then scaled to unit length".to_owned());
                    }
                    way.rough.extend(loss);
                    steps.push(step);
                }
                Undo::Cannot(why) => {
                    return Ok(Err(Nothing::new(
                        node,
                        format!("keeps vectors after a transform that cannot be undone: {why}"),
                        "the vectors as they were transformed are in the index inside it: with faiss, \
                         write_index() that one (`.index`), and use it",
                    )));
                }
            }
        }
        if !steps.is_empty() {
            let names: Vec<_> = way.chains.iter().map(Transform::name).collect();
            way.warnings.push(format!(
                "a transform is undone in float32 ({}): last bits may differ from the vectors that were added",
                names.join(", ")
            ));
        }
        if unit {
            let same = if metric(node) == Metric::Ip {
                "; with them IP is the same as COSINE"
            } else {
                ""
            };
            way.warnings.push(format!(
                "vectors were scaled to unit length when they were added; their lengths were not kept{same}"
            ));
        }
    }
    if found.dimension == 0 && rows > 0 {
        return Ok(Err(Nothing::new(node, FLAT, IDLE)));
    }
    // Wrappers of a miscounted index repeat its number: one warning is enough.
    let wrong = way.counted.iter().find(|(_, counted)| *counted != rows);
    if let Some((kind, counted)) = wrong.filter(|_| !way.miscounted) {
        let why = if rows == 0 {
            MOVED_OUT
        } else {
            "all rows that it holds are read"
        };
        way.warnings.push(miscounted(*kind, *counted, rows, why));
    }
    let faithful = if way.rough.is_empty() {
        Faithful::Exactly
    } else {
        Faithful::Roughly(way.rough.join("; "))
    };
    Ok(Ok(Rows {
        kind: found.kind,
        vector: vector(node),
        metric: metric(node),
        rows,
        stored,
        maps: way.maps,
        faithful,
        warnings: way.warnings,
        steps,
        signs: way.signs,
        file: file.clone(),
    }))
}

/// No rows, of the type they would have.
fn empty(file: &View, node: &Node) -> Rows {
    let vector = vector(node);
    let codec = if node.binary {
        Codec::Bits
    } else {
        Codec::Float
    };
    let lists = Lists::new(vector.row_bytes(), 0);
    Rows {
        kind: node.fourcc,
        vector,
        metric: metric(node),
        rows: 0,
        stored: Arc::new(Stored::new(codec, lists)),
        maps: Vec::new(),
        faithful: Faithful::Exactly,
        warnings: Vec::new(),
        steps: Vec::new(),
        signs: false,
        file: file.clone(),
    }
}

/// The type of the vectors that come out of an index.
pub fn vector(node: &Node) -> VectorType {
    VectorType {
        element: if node.binary {
            Element::Bit
        } else {
            Element::Float32
        },
        dimension: node.dimension,
    }
}

/// How an index measures distances.
pub fn metric(node: &Node) -> Metric {
    if node.binary {
        Metric::Hamming
    } else {
        node.measure.metric()
    }
}
