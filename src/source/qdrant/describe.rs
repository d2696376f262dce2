//! What does Qdrant's description of a collection mean? Vectors become columns, the payload the dynamic field.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::Keyed;
use super::proto::{
    CUSTOM_SHARDING, CollectionInfo, CollectionParams, HnswConfig, IDF, VectorParams, VectorsKinds,
    datatype, distance,
};
use crate::error::{Error, Kind, Result};
use crate::schema::{
    Column, ColumnType, Columns, Element, Index, Metric, Role, Scalar, VectorType,
};

/// A collection as its rows are read.
#[derive(Clone, Debug)]
pub struct Described {
    /// How rows are identified.
    pub keyed: Keyed,
    /// Their columns: the key first, the payload last.
    pub columns: Arc<Columns>,
    /// Vectors and their columns.
    pub slots: Vec<Slot>,
    /// The column number of the payload.
    pub payload: usize,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// A vector of a collection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its name in Qdrant; empty for the one without a name.
    pub name: String,
    /// Its column number.
    pub column: usize,
}

/// The number of points without a vector, by its name; `None` if unknown.
pub type Without = BTreeMap<String, Option<u64>>;

/// The vectors of a collection, dense ones first, by name.
pub fn vectors(params: &CollectionParams) -> Vec<String> {
    let dense = dense(params).into_keys().map(str::to_owned);
    let mut all: Vec<String> = dense.collect();
    all.extend(sparse(params).into_keys().map(str::to_owned));
    all
}

fn dense(params: &CollectionParams) -> BTreeMap<&str, &VectorParams> {
    let config = params.vectors_config.as_ref();
    match config.and_then(|config| config.config.as_ref()) {
        Some(VectorsKinds::Params(one)) => BTreeMap::from([("", one)]),
        Some(VectorsKinds::ParamsMap(map)) => map.map.iter().map(|(n, p)| (&**n, p)).collect(),
        None => BTreeMap::new(),
    }
}

fn sparse(params: &CollectionParams) -> BTreeMap<&str, bool> {
    let config = params.sparse_vectors_config.as_ref();
    let all = config.iter().flat_map(|config| &config.map);
    all.map(|(name, params)| (&**name, params.modifier == Some(IDF)))
        .collect()
}

/// Whether points are in shards that were named when they were written.
pub fn is_divided(params: &CollectionParams) -> bool {
    params.sharding_method == Some(CUSTOM_SHARDING)
}

/// The columns of a collection's rows.
pub fn describe(
    name: &str,
    info: &CollectionInfo,
    keyed: Keyed,
    without: &Without,
) -> Result<Described> {
    let config = info.config.clone().unwrap_or_default();
    let params = config.params.unwrap_or_default();
    let hnsw = config.hnsw_config.unwrap_or_default();
    let (dense, sparse) = (dense(&params), sparse(&params));
    let free = |choices: &[&str]| {
        let taken =
            |choice: &&&str| !dense.contains_key(**choice) && !sparse.contains_key(**choice);
        let found = choices.iter().find(taken);
        found.map_or_else(|| format!("{}_of_point", choices[0]), |c| (*c).to_owned())
    };
    let mut all = vec![Column::key(
        free(&["id", "point_id"]),
        match keyed {
            Keyed::ByInt => ColumnType::Scalar(Scalar::Int64),
            Keyed::ByText => ColumnType::VarChar {
                max_bytes: Some(36),
            },
        },
    )];
    let (mut slots, mut notes) = (Vec::new(), Vec::new());
    let mut add = |vector: &str, column: Column, notes: &mut Vec<String>| {
        let missing = without.get(vector).copied().flatten();
        match missing {
            Some(0) => {}
            Some(count) => notes.push(format!(
                "{name}: {count} points have no vector `{}`; Milvus accepts no rows without it: `run: {{misfit: skip}}` \
                 leaves these out, `fields: {{columns: {{{}: false}}}}` leaves out the vector",
                column.name, column.name
            )),
            None => notes.push(format!(
                "{name}: this server cannot tell how many points have no vector `{}`",
                column.name
            )),
        }
        slots.push(Slot {
            name: vector.to_owned(),
            column: all.len(),
        });
        all.push(Column {
            nullable: missing != Some(0),
            ..column
        });
    };
    for (vector, params) in &dense {
        let called = match *vector {
            "" => free(&["vector", "embedding"]),
            named => named.to_owned(),
        };
        let column = dense_column(name, &called, params, hnsw, &mut notes)?;
        add(vector, column, &mut notes);
    }
    for (vector, idf) in &sparse {
        if *idf {
            notes.push(format!(
                "{name}: searches of `{vector}` weight words by their rarity (modifier idf), which is not part of the \
                 vectors"
            ));
        }
        let column = Column {
            metric: Some(Metric::Ip),
            index: Some(Index {
                kind: "SPARSE_INVERTED_INDEX".to_owned(),
                params: Vec::new(),
            }),
            ..Column::new(*vector, ColumnType::Sparse)
        };
        add(vector, column, &mut notes);
    }
    let payload = all.len();
    all.push(Column {
        role: Role::Dynamic,
        ..Column::new("$meta", ColumnType::Json)
    });
    Ok(Described {
        keyed,
        columns: Columns::new(all)?,
        slots,
        payload,
        notes,
    })
}

fn dense_column(
    collection: &str,
    name: &str,
    params: &VectorParams,
    collection_hnsw: HnswConfig,
    notes: &mut Vec<String>,
) -> Result<Column> {
    if params.multivector_config.is_some() {
        notes.push(format!(
            "{collection}: `{name}` holds several vectors per point, which Milvus does not search: they become JSON, a \
             list of lists"
        ));
        return Ok(Column::new(name, ColumnType::Json));
    }
    let dimension = u32::try_from(params.size).ok().filter(|size| *size > 0);
    let dimension = dimension.ok_or_else(|| {
        let what = format!(
            "{collection}: vector `{name}` has {} dimensions",
            params.size
        );
        Error::new(Kind::Unsupported, what)
    })?;
    let metric = match params.distance {
        distance::COSINE => Metric::Cosine,
        distance::EUCLID => Metric::L2,
        distance::DOT => Metric::Ip,
        distance::MANHATTAN => Metric::Other("MANHATTAN".to_owned()),
        other => Metric::Other(format!("distance {other}")),
    };
    let datatype = params.datatype.unwrap_or_default();
    if metric == Metric::Cosine && datatype != datatype::UINT8 {
        notes.push(format!(
            "{collection}: `{name}` is searched by cosine, and Qdrant scales such vectors to length 1: their original \
             lengths are lost"
        ));
    }
    let kept = match datatype {
        datatype::UINT8 => Some("whole numbers from 0 to 255"),
        datatype::FLOAT16 => Some("float16"),
        datatype::TURBO4 => Some("4 bits per component (turbo4)"),
        _ => None,
    };
    notes.extend(kept.map(|kept| {
        format!("{collection}: Qdrant stores `{name}` as {kept}: its vectors become float32, as Qdrant returns them")
    }));
    let hnsw = params.hnsw_config.unwrap_or_default();
    let m = hnsw.m.or(collection_hnsw.m).filter(|m| *m > 0);
    let ef = hnsw.ef_construct.or(collection_hnsw.ef_construct);
    let index = m.zip(ef).map(|(m, ef)| Index {
        kind: "HNSW".to_owned(),
        params: vec![
            ("M".to_owned(), m.to_string()),
            ("efConstruction".to_owned(), ef.to_string()),
        ],
    });
    let vector = VectorType {
        element: Element::Float32,
        dimension,
    };
    Ok(Column {
        metric: Some(metric),
        index,
        ..Column::new(name, ColumnType::Vector(vector))
    })
}
