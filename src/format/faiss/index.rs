//! The tree of indexes in a file.

use std::sync::Arc;

use super::binary;
use super::coded::{SVS, coded, svs};
use super::fast_scan;
use super::footer;
use super::graph;
use super::header::{FourCc, Header, Measure, bytes_of, expect, header, unknown};
use super::ivf;
use super::lists::{Lists, levels_of, norms_bytes, slots};
use super::quantizer::{self, Codec, Product};
use super::stranger;
use super::transform::{Transform, transform};
use crate::error::{Error, Kind, Result};
use crate::input::{Cursor, View};
use crate::limits;

/// One index, with those inside it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its four characters.
    pub fourcc: FourCc,
    /// What that is, in words.
    pub class: &'static str,
    /// Where it begins.
    pub at: u64,
    /// Components, or bits.
    pub dimension: u32,
    /// Rows it declares.
    pub rows: u64,
    /// Whether it was trained.
    pub trained: bool,
    /// How it measures.
    pub measure: Measure,
    /// Whether its vectors are bits.
    pub binary: bool,
    /// What it consists of.
    pub body: Body,
}

/// What an index consists of.
#[derive(Clone, Debug)]
pub enum Body {
    /// Rows.
    Rows(Arc<Stored>),
    /// An index and an id for each of its rows.
    IdMap {
        /// The index.
        inner: Box<Node>,
        /// The ids, i64.
        ids: View,
    },
    /// Links over an index that has the rows.
    Graph {
        /// The index that has the rows.
        storage: Box<Node>,
        /// How an HNSW graph was made, where it is one and says so.
        hnsw: Option<Hnsw>,
    },
    /// A rough index, and another with the same rows in better quality.
    Refine {
        /// The rough one.
        base: Box<Node>,
        /// The better one.
        refine: Box<Node>,
    },
    /// Vectors were transformed before the index took them.
    Transformed {
        /// First to last.
        chain: Vec<Transform>,
        /// The index.
        inner: Box<Node>,
    },
    /// A codec that scales each row; Faiss cannot add rows to it.
    MinMax(Box<Node>),
    /// Bits as floats, −1 and 1.
    FromFloat(Box<Node>),
    /// A coarse quantizer whose centres are all combinations of these.
    Combinations(Product),
    /// Rows that cannot be decoded.
    Coded {
        /// What it keeps instead, as the end of a sentence.
        why: &'static str,
        /// What can be done.
        how: Remedy,
        /// Its quantizer.
        inner: Option<Box<Node>>,
    },
    /// The place of an index that was not written.
    Missing,
}

/// What Faiss itself can reconstruct from codes that this program does not decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Approximations, by row number.
    Rows,
    /// Approximations, list by list: by row number Faiss finds them only where ids are row numbers.
    Lists,
    /// Nothing.
    Gone,
}

/// How an HNSW graph was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hnsw {
    /// Links of a row on each level but the lowest, which has twice as many.
    pub links: u32,
    /// How many candidates were looked at for each row.
    pub candidates: u32,
}

/// Rows and what they are.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What a code is.
    pub codec: Codec,
    /// Where codes are.
    pub lists: Lists,
    /// Whose rows are the lists' centres.
    pub quantizer: Option<Node>,
    /// Whether codes encode residuals: a vector minus the centre of its list.
    pub by_residual: bool,
    /// Pairs of ids, i64: the row stored under the first belongs to the second, too.
    pub duplicates: Option<View>,
    /// A second product quantizer, for the residuals of the first, and its codes by id.
    pub second: Option<(Product, View)>,
}

impl Stored {
    pub(super) fn new(codec: Codec, lists: Lists) -> Stored {
        Stored {
            codec,
            lists,
            quantizer: None,
            by_residual: false,
            duplicates: None,
            second: None,
        }
    }

    pub(super) fn body(codec: Codec, lists: Lists) -> Body {
        Body::Rows(Arc::new(Stored::new(codec, lists)))
    }

    pub(super) fn over(codec: Codec, lists: Lists, quantizer: Node) -> Body {
        Body::Rows(Arc::new(Stored {
            quantizer: Some(quantizer),
            ..Stored::new(codec, lists)
        }))
    }
}

impl Node {
    pub(super) fn new(
        fourcc: FourCc,
        class: &'static str,
        at: u64,
        header: Header,
        body: Body,
    ) -> Node {
        Node {
            fourcc,
            class,
            at,
            dimension: header.dimension,
            rows: header.rows,
            trained: header.trained,
            measure: header.measure,
            binary: false,
            body,
        }
    }

    /// The rows it can have. An index around a transform does not always notice that `merge_from` took rows out.
    fn rows_inside(&self) -> u64 {
        match &self.body {
            Body::Transformed { inner, .. } => inner.rows_inside(),
            _ => self.rows,
        }
    }
}

/// Reads a file that holds an index, of floats or of bits, and nothing else except Lucene's footer.
pub fn parse(view: &View) -> Result<Node> {
    let mut c = Cursor::new(view.clone());
    let found = outermost(&mut c);
    // No kind of index begins like this; perhaps another known kind of file does.
    if found.is_err()
        && c.at() <= 4
        && let Some(error) = stranger::named(view)?
    {
        return Err(error);
    }
    let node = found?;
    footer::skip(&mut c)?;
    let end = c.at();
    c.finish().map_err(|error| {
        error.hint(format!(
            "the index ends there, and something else appended the rest; if that is known not to belong to it, \
             `head -c {end}` of the file is the index alone"
        ))
    })?;
    Ok(node)
}

fn outermost(c: &mut Cursor) -> Result<Node> {
    let fourcc = FourCc::read(&mut c.clone(), "fourcc")?;
    if SVS.contains(&&fourcc.0) {
        FourCc::read(c, "fourcc")?;
        let node = svs(c)?;
        c.payload("stream", c.remaining(), 1)?;
        return Ok(node);
    }
    if fourcc.0.starts_with(b"IB") {
        return binary::node(c, 0);
    }
    node(c, 0)
}

pub(super) fn deeper(c: &Cursor, depth: u32) -> Result<u32> {
    if depth >= limits::NESTING_MAX {
        let what = format!("indexes are nested more than {depth} deep");
        return Err(c.corrupt(c.at(), what));
    }
    Ok(depth.saturating_add(1))
}

/// Reads an index of floats.
pub(super) fn node(c: &mut Cursor, depth: u32) -> Result<Node> {
    let depth = deeper(c, depth)?;
    let at = c.at();
    let fourcc = FourCc::read(c, "fourcc")?;
    let make = |class, header, body| Ok(Node::new(fourcc, class, at, header, body));
    match &fourcc.0 {
        b"null" => make("left out", NOTHING, Body::Missing),
        b"IxFI" | b"IxF2" | b"IxFl" => {
            let header = header(c)?;
            let body = flat(c, &header)?;
            make("flat vectors (IndexFlat)", header, body)
        }
        b"IxFP" | b"IxFp" => flat_panorama(c, fourcc, at),
        b"IxMp" | b"IxM2" => {
            let header = header(c)?;
            let inner = node(c, depth)?;
            let body = id_map(c, &header, inner)?;
            make("vectors with ids of their own (IndexIDMap)", header, body)
        }
        b"IHNf" | b"IHfP" | b"IH00" | b"IHNp" | b"IHNs" | b"IHN2" | b"IHNc" | b"IHc2" => {
            hnsw(c, fourcc, at, depth)
        }
        b"INSf" | b"INSp" | b"INSs" => {
            let header = header(c)?;
            c.i32("GK")?;
            c.u8("build_type")?;
            for field in [
                "nndescent_S",
                "nndescent_R",
                "nndescent_L",
                "nndescent_iter",
            ] {
                c.i32(field)?;
            }
            graph::nsg(c, header.rows)?;
            let body = over_graph(c, &header, depth, None)?;
            make("graph of neighbours (IndexNSG)", header, body)
        }
        b"INNf" => {
            let header = header(c)?;
            graph::nndescent(c, header.rows)?;
            let body = over_graph(c, &header, depth, None)?;
            make("graph of neighbours (IndexNNDescent)", header, body)
        }
        b"IxRF" | b"IxRP" => {
            let header = header(c)?;
            let base = Box::new(node(c, depth)?);
            let refine = Box::new(node(c, depth)?);
            c.f32("k_factor")?;
            let body = Body::Refine { base, refine };
            make("refined search (IndexRefine)", header, body)
        }
        b"IxPT" => pre_transform(c, fourcc, at, depth),
        b"IwIQ" => independent(c, fourcc, at, depth),
        b"IRMf" | b"IRMh" => {
            let header = header(c)?;
            let body = Body::MinMax(Box::new(node(c, depth)?));
            make("row-wise min-max codec (IndexRowwiseMinMax)", header, body)
        }
        b"IxSQ" => {
            let header = header(c)?;
            let scalar = quantizer::scalar(c, &header)?;
            let code_bytes = scalar.code_bytes;
            let body = codes(c, &header, Codec::Scalar(scalar), code_bytes)?;
            make("scalar quantizer (IndexScalarQuantizer)", header, body)
        }
        b"IxPQ" | b"IxPo" | b"IxPq" => {
            let mut header = header(c)?;
            let pq = quantizer::product(c, header.dimension)?;
            let code_bytes = pq.code_bytes();
            let body = codes(c, &header, Codec::Product(pq), code_bytes)?;
            if &fourcc.0 != b"IxPQ" {
                c.i32("search_type")?;
                c.bool("encode_signs")?;
                c.i32("polysemous_ht")?;
            }
            if &fourcc.0 != b"IxPq" {
                // These wrote inner product where they meant L2.
                header.measure = Measure::L2;
            }
            make("product quantizer (IndexPQ)", header, body)
        }
        b"Imiq" => {
            let header = header(c)?;
            let pq = quantizer::product(c, header.dimension)?;
            let class = "coarse quantizer of combinations (MultiIndexQuantizer)";
            make(class, header, Body::Combinations(pq))
        }
        b"IwFl" | b"IwFd" | b"IwPn" | b"IwP2" | b"IvFL" | b"IvFl" => {
            ivf::flat(c, fourcc, at, depth)
        }
        b"IwSq" | b"IwSQ" | b"IvSQ" => ivf::scalar(c, fourcc, at, depth),
        b"IwPQ" | b"IwQR" | b"IvPQ" | b"IvQR" => ivf::product(c, fourcc, at, depth),
        b"IPfs" => fast_scan::flat(c, fourcc, at),
        b"IwPf" => fast_scan::inverted(c, fourcc, at, depth),
        other => match coded(c, other, depth)? {
            Some(found) => make(found.class, found.header, found.body),
            None if SVS.contains(&other) => Err(Error::new(
                Kind::Unsupported,
                "an Intel SVS index has no length, so what follows it cannot be found",
            )
            .at(c.view().place(at))),
            None if other.starts_with(b"IB") => Err(c.corrupt(
                at,
                format!("found `{fourcc}`, an index of bits, expected one of floats"),
            )),
            None => Err(unknown(c, at, fourcc, "a kind of index")),
        },
    }
}

/// The header of an index that was not written.
const NOTHING: Header = Header {
    dimension: 0,
    rows: 0,
    trained: false,
    measure: Measure::L2,
};

pub(super) fn float_bytes(header: &Header) -> u64 {
    u64::from(header.dimension).saturating_mul(4)
}

/// The rows as they are. Faiss counts this block in f32.
fn flat(c: &mut Cursor, header: &Header) -> Result<Body> {
    let at = c.at();
    let components = u64::from(header.dimension);
    let expected = bytes_of(c, at, "rows", header.rows, components)?;
    let codes = c.vector("codes", 4)?;
    expect(c, at, "codes", codes.len() / 4, expected)?;
    let lists = Lists::one(float_bytes(header), rows_if(header), at.saturating_add(8));
    Ok(Stored::body(Codec::Float, lists))
}

/// Rows without components do not count: any number of them would fit in zero bytes.
fn rows_if(header: &Header) -> u64 {
    if header.dimension == 0 {
        0
    } else {
        header.rows
    }
}

/// Codes of a fixed length. Faiss counts this block in bytes.
fn codes(c: &mut Cursor, header: &Header, codec: Codec, code_bytes: u64) -> Result<Body> {
    let at = c.at();
    let expected = bytes_of(c, at, "rows", header.rows, code_bytes)?;
    let found = c.vector("codes", 1)?;
    expect(c, at, "bytes of codes", found.len(), expected)?;
    let rows = if code_bytes == 0 { 0 } else { header.rows };
    let lists = Lists::one(code_bytes, rows, at.saturating_add(8));
    Ok(Stored::body(codec, lists))
}

/// A flat index whose header is its own.
///
/// ```text
/// | d 4 | levels 8 | batch 8 | ntotal 8 | trained 1 | count 8 | codes … | count 8 | norms … |
/// ```
fn flat_panorama(c: &mut Cursor, fourcc: FourCc, at: u64) -> Result<Node> {
    let dimension = super::header::dimension(c)?;
    let at_levels = c.at();
    let levels = c.u64("n_levels")?;
    let batch = c.u64("batch_size")?;
    let rows = super::header::row_count(c)?;
    let trained = c.bool("is_trained")?;
    let measure = match &fourcc.0 {
        b"IxFp" => Measure::IP,
        _ => Measure::L2,
    };
    let header = Header {
        dimension,
        rows,
        trained,
        measure,
    };
    let code_bytes = float_bytes(&header);
    let (layout, levels) = levels_of(c, at_levels, code_bytes, levels, batch)?;
    let at_codes = c.at();
    let slots = slots(c, at_codes, rows, batch)?;
    let expected = bytes_of(c, at_codes, "rows", slots, code_bytes)?;
    let codes = c.vector("codes", 1)?;
    expect(c, at_codes, "bytes of codes", codes.len(), expected)?;
    let at_norms = c.at();
    let expected = bytes_of(c, at_norms, "rows", slots, norms_bytes(levels))?;
    let norms = c.vector("norms", 4)?;
    expect(c, at_norms, "bytes of norms", norms.len(), expected)?;
    let mut lists = Lists::one(code_bytes, rows, at_codes.saturating_add(8));
    lists.layout = layout;
    let class = "flat vectors by levels (IndexFlatPanorama)";
    Ok(Node::new(
        fourcc,
        class,
        at,
        header,
        Stored::body(Codec::Float, lists),
    ))
}

/// Ids after the index they belong to.
pub(super) fn id_map(c: &mut Cursor, header: &Header, inner: Node) -> Result<Body> {
    if matches!(inner.body, Body::Missing) {
        return Err(c.corrupt(inner.at, "ids without the index they belong to"));
    }
    expect(
        c,
        inner.at,
        "ntotal of the index inside",
        inner.rows_inside(),
        header.rows,
    )?;
    let (found, expected) = (u64::from(inner.dimension), u64::from(header.dimension));
    expect(c, inner.at, "d of the index inside", found, expected)?;
    let at = c.at();
    let ids = c.vector("ids", 8)?;
    expect(c, at, "ids", ids.len() / 8, header.rows)?;
    let inner = Box::new(inner);
    Ok(Body::IdMap { inner, ids })
}

fn over_graph(c: &mut Cursor, header: &Header, depth: u32, hnsw: Option<Hnsw>) -> Result<Body> {
    let storage = node(c, depth)?;
    agree(c, header, &storage)?;
    let storage = Box::new(storage);
    Ok(Body::Graph { storage, hnsw })
}

/// A graph and the index under it have the same rows.
pub(super) fn agree(c: &Cursor, header: &Header, inner: &Node) -> Result<()> {
    if matches!(inner.body, Body::Missing) {
        return Ok(());
    }
    expect(
        c,
        inner.at,
        "ntotal of the index inside",
        inner.rows_inside(),
        header.rows,
    )?;
    let (found, expected) = (u64::from(inner.dimension), u64::from(header.dimension));
    expect(c, inner.at, "d of the index inside", found, expected)
}

fn hnsw(c: &mut Cursor, fourcc: FourCc, at: u64, depth: u32) -> Result<Node> {
    let header = header(c)?;
    match &fourcc.0 {
        b"IHfP" => {
            c.u64("num_panorama_levels")?;
            c.vector("norms", 4)?;
        }
        b"IHNc" | b"IHc2" => {
            c.bool("keep_max_size_level0")?;
            c.bool("base_level_only")?;
            c.i32("num_base_level_search_entrypoints")?;
            if &fourcc.0 == b"IHc2" {
                c.i32("numeric_type")?;
            }
        }
        _ => {}
    }
    let hnsw = graph::hnsw(c, header.rows)?;
    let body = over_graph(c, &header, depth, hnsw)?;
    let class = match &fourcc.0 {
        b"IHNc" | b"IHc2" => "graph of neighbours from CAGRA (IndexHNSWCagra)",
        _ => "graph of neighbours (IndexHNSW)",
    };
    Ok(Node::new(fourcc, class, at, header, body))
}

fn pre_transform(c: &mut Cursor, fourcc: FourCc, at: u64, depth: u32) -> Result<Node> {
    let header = header(c)?;
    let at_length = c.at();
    let length = c.i32("transforms")?;
    // Each is at least 13 bytes, so a number that the file cannot hold ends in an error, not in a long loop.
    let length = u32::try_from(length).map_err(|_| {
        c.corrupt(
            at_length,
            format!("transforms = {length}, expected 0 or more"),
        )
    })?;
    let (mut chain, mut dimension) = (Vec::new(), header.dimension);
    for _ in 0..length {
        let at = c.at();
        let next = transform(c, depth)?;
        let (found, expected) = (u64::from(next.from), u64::from(dimension));
        expect(c, at, "d_in of the transform", found, expected)?;
        dimension = next.to;
        chain.push(next);
    }
    let inner = node(c, depth)?;
    if !matches!(inner.body, Body::Missing) {
        let (found, expected) = (u64::from(inner.dimension), u64::from(dimension));
        expect(c, inner.at, "d of the index inside", found, expected)?;
    }
    let inner = Box::new(inner);
    let body = Body::Transformed { chain, inner };
    let class = "transformed vectors (IndexPreTransform)";
    Ok(Node::new(fourcc, class, at, header, body))
}

/// An inverted file whose lists were chosen by another quantizer, over other dimensions.
///
/// Faiss does not count rows here when it adds them, so `ntotal` is meaningless.
fn independent(c: &mut Cursor, fourcc: FourCc, at: u64, depth: u32) -> Result<Node> {
    let mut header = header(c)?;
    node(c, depth)?;
    let mut chain = Vec::new();
    if c.bool("has a transform")? {
        let at = c.at();
        let only = transform(c, depth)?;
        let (found, expected) = (u64::from(only.from), u64::from(header.dimension));
        expect(c, at, "d_in of the transform", found, expected)?;
        chain.push(only);
    }
    let inner = node(c, depth)?;
    let dimension = chain.first().map_or(header.dimension, |t| t.to);
    let (found, expected) = (u64::from(inner.dimension), u64::from(dimension));
    expect(c, inner.at, "d of the index inside", found, expected)?;
    if matches!(&inner.fourcc.0, b"IwPQ" | b"IwQR" | b"IvPQ" | b"IvQR") {
        c.i32("use_precomputed_table")?;
    }
    header.rows = inner.rows;
    let inner = Box::new(inner);
    let body = Body::Transformed { chain, inner };
    let class = "inverted file with a quantizer of its own (IndexIVFIndependentQuantizer)";
    Ok(Node::new(fourcc, class, at, header, body))
}
