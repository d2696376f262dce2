//! Does a target fit a server? Names, vectors, metrics, indexes.
//! Pure: compares what is wanted with what exists, and makes no calls. Milvus 2.3 acknowledges three wrong requests
//! that then destroy it (no dimension, text keys for int64, another dimension): all are refused here.

use std::fmt;

use crate::batch::{Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::milvus::proto::KeyValue;
use crate::milvus::{IndexState, Server, described};
use crate::schema::{Column, ColumnType, FieldIndex, Index, Metric, Role, VectorType};

use super::settings::{IndexWanted, Settings};

/// An index to create.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexPlan {
    /// Such as `HNSW`.
    pub kind: String,
    /// As Milvus 2.x names it.
    pub metric: String,
    /// Names and values.
    pub params: Vec<(String, String)>,
}

/// Returns errors about all names that Milvus 2.x does not allow.
pub fn names(target: &Target) -> Vec<Error> {
    let TargetName {
        collection,
        partition,
    } = &target.name;
    let mut wrong = Vec::new();
    if collection.is_empty() {
        let error = Error::new(
            Kind::Job,
            "neither the job nor the source names a collection",
        );
        wrong
            .push(error.hint(
                "name it with `sink.milvus.collection` (classic jobs: dest_collection_name)",
            ));
    } else {
        wrong.extend(name("collection", collection, true).err());
    }
    if !partition.is_empty() {
        // 2.3.5 accepts partitions that begin with a digit.
        wrong.extend(name("partition", partition, false).err());
    }
    let columns = target.columns.all().iter();
    let fields = columns.filter(|column| column.role != Role::Dynamic);
    wrong.extend(fields.filter_map(|column| name("field", &column.name, true).err()));
    wrong
}

/// The longest name of a collection, partition or field.
const NAME_BYTES_MAX: usize = 255;

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A name to use for a partition tag that Milvus 2.x does not allow: readable, and with a digest of the whole tag, so
/// that two tags do not get the same name. `None`: the tag is allowed.
pub fn allowed_partition(tag: &str) -> Option<String> {
    if tag.chars().all(plain) && tag.len() <= NAME_BYTES_MAX {
        return None;
    }
    let digest = crate::digest::name(tag.as_bytes());
    let digest = format!("_{:08x}", (digest ^ (digest >> 32)) as u32);
    let readable = tag.chars().map(|c| if plain(c) { c } else { '_' });
    let mut name: String = readable.take(NAME_BYTES_MAX - digest.len() - 1).collect();
    // Not every version accepts a leading digit.
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    Some(name + &digest)
}

/// Returns an error about a name that Milvus 2.x does not allow.
pub fn name(what: &str, name: &str, letter_first: bool) -> Result<()> {
    let first = name.chars().next().unwrap_or('0');
    let digit_first = letter_first && first.is_ascii_digit();
    if name.chars().all(plain) && name.len() <= NAME_BYTES_MAX && !digit_first {
        return Ok(());
    }
    let rule = match letter_first {
        true => "letters, digits and underscores, no digit first, at most 255",
        false => "letters, digits and underscores, at most 255",
    };
    let error = Error::new(
        Kind::Job,
        format!("Milvus 2.x does not allow the {what} name `{name}`: {rule}"),
    );
    let ways = "`into:` renames collections and partitions, `fields:` renames columns";
    Err(match suggested(name, letter_first) {
        Some(better) => error.hint(format!("`{better}` is allowed; {ways}")),
        None => error.hint(ways),
    })
}

/// The nearest name that is allowed.
fn suggested(name: &str, letter_first: bool) -> Option<String> {
    let near = name.chars().map(|c| if plain(c) { c } else { '_' });
    let near: String = near.take(NAME_BYTES_MAX - 1).collect();
    let digit_first = letter_first && near.starts_with(|c: char| c.is_ascii_digit());
    let near = if digit_first {
        format!("_{near}")
    } else {
        near
    };
    near.contains(|c: char| c.is_ascii_alphanumeric())
        .then_some(near)
}

/// Why Milvus, or this server, lacks a kind of vectors, if it does.
pub fn lacking(kind: VectorType, server: &Server) -> Option<String> {
    if !server.takes(kind.element) {
        return Some(format!("{server} has no {} vectors", kind.element.name()));
    }
    let most = match (kind.is_binary(), server.release) {
        // From 2.4 on the limit counts bytes of binary vectors.
        (true, Some(release)) if release >= (2, 4) => limits::MILVUS_DIMENSIONS_MAX * 8,
        _ => limits::MILVUS_DIMENSIONS_MAX,
    };
    let dimension = kind.dimension;
    if dimension == 0 || dimension > most {
        return Some(format!(
            "vectors of {dimension} dimensions: Milvus allows 1 to {most}"
        ));
    }
    if kind.is_binary() && !dimension.is_multiple_of(8) {
        return Some(format!(
            "binary vectors of {dimension} dimensions: Milvus allows only multiples of 8"
        ));
    }
    None
}

/// The metric that an index on a column gets: the job's, else the source's; an error if that is impossible. If a target
/// has several vectors, a column's own metric has priority, and the job's is for those that it applies to.
pub fn metric(column: &Column, settings: &Settings, alone: bool) -> Result<Option<Metric>> {
    let ColumnType::Vector(kind) = column.kind else {
        // Sparse vectors have no other.
        return Ok(Some(Metric::Ip));
    };
    let binary = kind.is_binary();
    let said = settings.metric.as_ref();
    let said = match alone {
        _ if column.is_metric_asked => None,
        true => said,
        false => said.filter(|said| column.metric.is_none() && said.is_binary() == binary),
    };
    let metric = match (said, &column.metric) {
        (Some(metric), _) => metric.clone(),
        (None, None) => return Ok(None),
        (None, Some(Metric::Other(name))) => {
            return Err(Error::new(
                Kind::Unsupported,
                format!("the source uses the metric {name}, which Milvus does not have"),
            )
            .hint("set another one with `sink.milvus.metric` (classic jobs: metric_type)"));
        }
        (None, Some(metric)) => metric.clone(),
    };
    if metric.is_binary() != binary {
        let name = if binary { "binary" } else { "float" };
        return Err(Error::new(
            Kind::Job,
            format!(
                "metric {} does not apply to {} vectors",
                metric.name(),
                kind.element.name()
            ),
        )
        .hint(match binary {
            true => format!(
                "{name} vectors use HAMMING or JACCARD; if the source's integers are components, \
                 `as: float32` in the source reads them as such"
            ),
            false => format!("{name} vectors use L2, IP or COSINE"),
        }));
    }
    Ok(Some(match metric {
        // Removed in 2.3; JACCARD ranks the same.
        Metric::Tanimoto => Metric::Jaccard,
        metric => metric,
    }))
}

/// What the operator should know, although it is not an error.
pub fn warnings(target: &Target, settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.metric.as_ref().or(target.metric()) == Some(&Metric::Tanimoto) {
        warnings.push(
            "Milvus 2.x has no TANIMOTO metric: JACCARD, which ranks the same, replaces it"
                .to_owned(),
        );
    }
    if let (Some(job), Some(source)) = (&settings.metric, target.metric())
        && job != source
    {
        warnings.push(format!(
            "for {}, the job sets metric {}, but the source has {}: the job's is used",
            target.name,
            job.name(),
            source.name()
        ));
    }
    let plans = indexes(target, settings).unwrap_or_default();
    let unknown = plans
        .iter()
        .filter_map(|(_, plan)| super::foresee::unknown_kind(plan));
    warnings.extend(unknown);
    warnings.dedup();
    if settings.index == IndexWanted::Source && target.index().is_none() {
        warnings.push(format!(
            "`index: source`, but the source of {} has no index: no index is created",
            target.name
        ));
    }
    warnings
}

/// The indexes to create, each with its field; an error about what is impossible.
pub fn indexes(target: &Target, settings: &Settings) -> Result<Vec<(String, IndexPlan)>> {
    let vectors: Vec<&Column> = target.columns.vectors().map(|(_, column)| column).collect();
    let alone = vectors.len() == 1;
    let (mut plans, mut wrong) = (Vec::new(), Vec::new());
    wrong.extend(held_by_none(&vectors, settings));
    for column in vectors {
        let metric = metric(column, settings, alone);
        let index = match &settings.index {
            _ if column.is_index_asked => column.index.clone(),
            IndexWanted::None => None,
            IndexWanted::This(index) => Some(index.clone()),
            IndexWanted::Source => column.index.clone(),
        };
        let Some(index) = index else {
            wrong.extend(metric.err());
            continue;
        };
        let fits = alone || column.is_index_asked || holds(&index.kind, column.kind);
        let index = match fits {
            true => index,
            // A collection can be loaded only if each of its vectors has an index.
            false => simplest(column.kind),
        };
        wrong.extend(not_held(&index.kind, column.kind));
        match metric.and_then(|metric| planned(index, metric)) {
            Ok(plan) => plans.push((column.name.clone(), plan)),
            Err(error) => wrong.push(error),
        }
    }
    Error::check(wrong)?;
    Ok(plans)
}

/// An error about the job's index if the target has several vectors and it suits none of them.
fn held_by_none(vectors: &[&Column], settings: &Settings) -> Option<Error> {
    let IndexWanted::This(index) = &settings.index else {
        return None;
    };
    let open = vectors.iter().filter(|column| !column.is_index_asked);
    let kinds: Vec<ColumnType> = open.map(|column| column.kind).collect();
    let held = kinds.iter().any(|kind| holds(&index.kind, *kind));
    match kinds.first() {
        Some(first) if vectors.len() > 1 && !held => not_held(&index.kind, *first),
        _ => None,
    }
}

/// The name that an index on a field gets; empty: the server chooses one.
pub fn index_name<'t>(target: &'t Target, settings: &Settings, field: &str) -> &'t str {
    match (&settings.index, target.columns.named(field)) {
        (IndexWanted::Source, Some((_, column))) if !column.is_index_asked => {
            &column.traits.index_name
        }
        _ => "",
    }
}

/// The indexes to create on fields that are not vectors, each with its field and its name.
pub fn other_indexes(target: &Target, settings: &Settings) -> Vec<(String, String, IndexPlan)> {
    let all = match settings.index {
        IndexWanted::Source => target.traits.indexes.as_slice(),
        _ => &[],
    };
    let plan = |index: &FieldIndex| {
        let mut params = index.index.params.clone();
        let metric = params.iter().position(|(name, _)| name == "metric_type");
        let metric = metric.map(|at| params.remove(at).1);
        IndexPlan {
            kind: index.index.kind.clone(),
            metric: metric.unwrap_or_default(),
            params,
        }
    };
    all.iter()
        .map(|index| (index.field.clone(), index.name.clone(), plan(index)))
        .collect()
}

/// An error about an existing index that is not the one that is wanted.
pub fn another_index(
    collection: &str,
    field: &str,
    there: &IndexState,
    wanted: &IndexPlan,
) -> Option<Error> {
    let same = wanted.kind == "AUTOINDEX" || wanted.kind == there.kind;
    if same && wanted.metric == there.metric {
        return None;
    }
    let what = format!(
        "collection {collection} has an index {} with metric {} on `{field}`, but the job wants {} with metric {}",
        there.kind, there.metric, wanted.kind, wanted.metric
    );
    let error = Error::new(Kind::Refused, what);
    Some(error.hint("leave out `index` to keep it, or drop it first"))
}

/// A sentence about an existing index with parameters other than the job's.
pub fn other_params(
    collection: &str,
    field: &str,
    there: &IndexState,
    wanted: &IndexPlan,
) -> Option<String> {
    let (_, has) = described::index(&there.params);
    let differ = wanted.params.iter().filter_map(|(name, value)| {
        let (_, kept) = has.params.iter().find(|(known, _)| known == name)?;
        (kept != value).then(|| format!("{name} = {kept}, the job wants {value}"))
    });
    let differ: Vec<String> = differ.collect();
    (!differ.is_empty()).then(|| {
        format!(
            "the index {} on `{field}` of collection {collection} is kept as it is: it has {}",
            there.kind,
            differ.join("; ")
        )
    })
}

fn holds(index: &str, kind: ColumnType) -> bool {
    let binary = index.starts_with("BIN_") || index.starts_with("MINHASH");
    let sparse = index.starts_with("SPARSE_");
    match kind {
        _ if index == "AUTOINDEX" => true,
        ColumnType::Vector(kind) => !sparse && kind.is_binary() == binary,
        _ => sparse,
    }
}

fn simplest(kind: ColumnType) -> Index {
    let name = match kind {
        ColumnType::Vector(kind) if kind.is_binary() => "BIN_FLAT",
        ColumnType::Vector(_) => "FLAT",
        _ => "SPARSE_INVERTED_INDEX",
    };
    Index {
        kind: name.to_owned(),
        params: Vec::new(),
    }
}

/// An error about a type of index that cannot hold a column's vectors.
fn not_held(index: &str, column: ColumnType) -> Option<Error> {
    if holds(index, column) {
        return None;
    }
    let (vectors, kinds) = match column {
        ColumnType::Vector(kind) if kind.is_binary() => (
            "binary",
            "BIN_FLAT, BIN_IVF_FLAT; if the source's integers are components, `as: float32` in the source reads them \
             as such",
        ),
        ColumnType::Vector(kind) if index.starts_with("BIN_") => (
            kind.element.name(),
            "FLAT, IVF_FLAT, HNSW …; if the source's numbers are bits, `pack: bits` in an HDF5 source makes them binary \
             vectors",
        ),
        ColumnType::Vector(kind) => (kind.element.name(), "FLAT, IVF_FLAT, HNSW …"),
        _ => ("sparse", "SPARSE_INVERTED_INDEX, SPARSE_WAND"),
    };
    let what = format!("an index of type {index} cannot hold {vectors} vectors");
    Some(Error::new(Kind::Job, what).hint(format!("these types can: {kinds}")))
}

fn planned(index: Index, metric: Option<Metric>) -> Result<IndexPlan> {
    let Index { kind, params } = index;
    let Some(metric) = metric else {
        return Err(Error::new(
            Kind::Job,
            "an index needs a metric, but the source does not declare one",
        )
        .hint("set it with `sink.milvus.metric` (classic jobs: metric_type), or by `metric:` of each vector in `fields.columns`"));
    };
    Ok(IndexPlan {
        kind,
        metric: metric.name().to_owned(),
        params,
    })
}

impl fmt::Display for IndexPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        let params: Vec<String> = self
            .params
            .iter()
            .map(|(k, v)| format!("{k}: {v}"))
            .collect();
        if !params.is_empty() {
            write!(f, " {{{}}}", params.join(", "))?;
        }
        match self.metric.is_empty() {
            true => Ok(()),
            false => write!(f, " with metric {}", self.metric),
        }
    }
}

impl IndexPlan {
    /// The parameters for CreateIndex, numbers as numbers.
    pub fn extra_params(&self) -> Vec<KeyValue> {
        let value = |text: &String| match serde_json::from_str(text) {
            Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
            _ => serde_json::Value::String(text.clone()),
        };
        let params = self.params.iter().map(|(k, v)| (k.clone(), value(v)));
        let params: serde_json::Map<String, serde_json::Value> = params.collect();
        let mut all = vec![
            KeyValue::new("index_type", &self.kind),
            KeyValue::new("metric_type", &self.metric),
            KeyValue::new("params", serde_json::Value::Object(params).to_string()),
        ];
        // An index on a field that is not a vector has none of them.
        let says_nothing = |param: &KeyValue| match param.key.as_str() {
            "params" => self.metric.is_empty() && self.params.is_empty(),
            _ => param.value.is_empty(),
        };
        all.retain(|param| !says_nothing(param));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_is_there_is_compared_with_the_one_that_is_wanted() {
        let param = |key: &str, value: &str| KeyValue::new(key, value);
        let there = IndexState {
            kind: "HNSW".to_owned(),
            metric: "L2".to_owned(),
            finished: true,
            rows: (1, 1),
            failed: None,
            params: vec![
                param("index_type", "HNSW"),
                param("params", r#"{"M": 16, "efConstruction": "200"}"#),
            ],
        };
        let wanted = |kind: &str, metric: &str, m: &str| IndexPlan {
            kind: kind.to_owned(),
            metric: metric.to_owned(),
            params: vec![
                ("M".to_owned(), m.to_owned()),
                ("efConstruction".to_owned(), "200".to_owned()),
                ("new".to_owned(), "1".to_owned()),
            ],
        };
        let another = |kind: &str, metric: &str| {
            another_index("c", "v", &there, &wanted(kind, metric, "16")).is_some()
        };
        assert!(!another("HNSW", "L2") && !another("AUTOINDEX", "L2"));
        assert!(another("HNSW", "IP") && another("AUTOINDEX", "IP") && another("FLAT", "L2"));
        let params = |m: &str| other_params("c", "v", &there, &wanted("HNSW", "L2", m));
        assert_eq!(params("16"), None);
        let said = params("32").unwrap();
        assert!(said.ends_with("it has M = 16, the job wants 32"), "{said}");
    }

    #[test]
    fn tags_that_are_not_allowed_become_names_that_are() {
        for tag in ["p1", "_default", "2020", "A_b", &"x".repeat(255)] {
            assert_eq!(allowed_partition(tag), None);
        }
        let mut seen = std::collections::BTreeSet::new();
        let long = "x".repeat(256);
        let wide = "大".repeat(90);
        let digits = "7/".repeat(200);
        let tags = [
            "part 2/a.b",
            "part 2/a_b",
            "part.2/a.b",
            "2020-01",
            "-",
            "a\n",
            "ä",
            "٣",
            &long,
            &wide,
            &digits,
        ];
        for tag in tags {
            let name = allowed_partition(tag).unwrap();
            assert!(name.chars().all(plain), "{name}");
            assert!(name.len() <= NAME_BYTES_MAX && !name.as_bytes()[0].is_ascii_digit());
            assert_eq!(allowed_partition(&name), None);
            assert!(seen.insert(name));
        }
        let name = allowed_partition("part 2/a.b").unwrap();
        assert!(
            name.starts_with("part_2_a_b_") && name.len() == 19,
            "{name}"
        );
        let name = allowed_partition("2020-01").unwrap();
        assert!(name.starts_with("_2020_01_"), "{name}");
    }
}
