//! Does a target fit a server? Names, types, dimensions, schemas, metrics, indexes.
//! Pure: knows what was asked and what is there, and calls nobody. Three wrong requests are acknowledged by
//! Milvus 2.3 and then destroy it (no dimension, text keys for int64, another dimension): none passes here.

use std::fmt;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::milvus::proto::{KeyValue, data_type};
use crate::milvus::{Collection, Server, wire};
use crate::schema::{Element, Index, Metric, VectorType};

use super::settings::{IndexWanted, Settings};

/// An index to make.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexPlan {
    /// Such as `HNSW`.
    pub kind: String,
    /// As Milvus 2.x names it.
    pub metric: String,
    /// Names and values.
    pub params: Vec<(String, String)>,
}

/// The primary key's name in a target.
pub fn id_name(target: &Target) -> &str {
    &target.columns.all()[0].name
}

/// The vector's name in a target.
pub fn vector_name(target: &Target) -> &str {
    &target.columns.all()[1].name
}

/// Complains of names Milvus 2.x does not allow.
pub fn names(target: &Target) -> Result<()> {
    let collection = &target.name.collection;
    if collection.is_empty() {
        return Err(Error::new(
            Kind::Job,
            "the job names no collection, and neither does the source",
        )
        .hint("`sink.milvus.collection` (classic jobs: dest_collection_name) names it"));
    }
    name("collection", collection, true)?;
    if !target.name.partition.is_empty() {
        // 2.3.5 takes partitions that begin with a digit.
        name("partition", &target.name.partition, false)?;
    }
    name("field", id_name(target), true)?;
    name("field", vector_name(target), true)
}

/// The longest name of a collection, partition or field.
const NAME_BYTES_MAX: usize = 255;

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A name in place of a partition tag that Milvus 2.x does not allow: readable, and with a digest of the whole tag,
/// so that two tags do not get the same one. `None`: the tag is allowed.
pub fn allowed_partition(tag: &str) -> Option<String> {
    if tag.chars().all(plain) && tag.len() <= NAME_BYTES_MAX {
        return None;
    }
    let digest = crate::digest::name(tag.as_bytes());
    let digest = format!("_{:08x}", (digest ^ (digest >> 32)) as u32);
    let readable = tag.chars().map(|c| if plain(c) { c } else { '_' });
    let mut name: String = readable.take(NAME_BYTES_MAX - digest.len() - 1).collect();
    // Not every version takes a digit first.
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    Some(name + &digest)
}

fn name(what: &str, name: &str, letter_first: bool) -> Result<()> {
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
    let ways = "`into:` gives collections and partitions other names, `fields:` columns";
    Err(match suggested(name, letter_first) {
        Some(better) => error.hint(format!("`{better}` would do; {ways}")),
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

/// Complains of vectors that Milvus, or this server, does not have.
pub fn vectors(kind: VectorType, server: &Server) -> Result<()> {
    let wrong = |what: String| Err(Error::new(Kind::Unsupported, what));
    if !server.takes(kind.element) {
        return wrong(format!("{server} has no {} vectors", kind.element.name()));
    }
    let most = match (kind.is_binary(), server.release) {
        // From 2.4 on the limit counts bytes of binary vectors.
        (true, Some(release)) if release >= (2, 4) => limits::MILVUS_DIMENSIONS_MAX * 8,
        _ => limits::MILVUS_DIMENSIONS_MAX,
    };
    let dimension = kind.dimension;
    if dimension == 0 || dimension > most {
        return wrong(format!(
            "vectors of {dimension} dimensions: Milvus takes 1 to {most}"
        ));
    }
    if kind.is_binary() && !dimension.is_multiple_of(8) {
        return wrong(format!(
            "binary vectors of {dimension} dimensions: Milvus takes multiples of 8"
        ));
    }
    Ok(())
}

/// Complains of a collection that rows of this target do not fit.
pub fn schema(found: &Collection, target: &Target, settings: &Settings) -> Result<()> {
    let there: Vec<String> = found.fields.iter().map(|f| f.describe()).collect();
    let there = there.join(", ");
    let mismatch = |what: String| {
        Error::new(
            Kind::Refused,
            format!("schema mismatch: collection {} {what}", found.name),
        )
    };
    let rename = format!("`fields: {{id: …, vector: …}}` names the fields; there are: {there}");
    let (id, vector) = (id_name(target), vector_name(target));
    let Some(key) = found.fields.iter().find(|f| f.is_primary_key) else {
        return Err(mismatch("has no primary key".to_owned()));
    };
    if key.data_type != data_type::INT64 {
        let kind = data_type::name(key.data_type);
        return Err(mismatch(format!(
            "has a {kind} primary key `{}`, the ids here are INT64",
            key.name
        )));
    }
    match (found.auto_id, settings.auto_id) {
        (true, false) => {
            return Err(mismatch(
                "makes its own ids, so that those of the source cannot be kept".to_owned(),
            )
            .hint("`auto_id: true` leaves them out"));
        }
        (false, true) => {
            return Err(
                mismatch("does not make ids, and the job sends none".to_owned())
                    .hint("leave `auto_id: true` out"),
            );
        }
        (false, false) if key.name != id => {
            let what = format!("keeps its ids in `{}`, not in `{id}`", key.name);
            return Err(mismatch(what).hint(rename));
        }
        _ => {}
    }
    let Some(field) = found.field(vector) else {
        return Err(mismatch(format!("has no field `{vector}`")).hint(rename));
    };
    let kind = target.vector();
    let wanted = wire::vector_data_type(kind.element);
    if field.data_type != wanted || field.dimension() != Some(kind.dimension) {
        return Err(mismatch(format!(
            "has {}, the vectors here are {}({})",
            field.describe(),
            data_type::name(wanted),
            kind.dimension
        )));
    }
    let ours = |name: &str| name == vector || name == key.name;
    let others = found
        .fields
        .iter()
        .filter(|f| !ours(&f.name) && f.is_required());
    let others: Vec<String> = others.map(|f| f.describe()).collect();
    if !others.is_empty() {
        return Err(mismatch(format!(
            "needs values that the source does not have: {}",
            others.join(", ")
        )));
    }
    if found.has_partition_key() && !target.name.partition.is_empty() {
        return Err(mismatch(
            "has a partition key, so that no partition can be named".to_owned(),
        ));
    }
    Ok(())
}

/// The metric an index gets: the job's, else the source's. Complains of what cannot be.
pub fn metric(target: &Target, settings: &Settings) -> Result<Option<Metric>> {
    let binary = target.vector().is_binary();
    let metric = match (&settings.metric, target.metric()) {
        (Some(metric), _) => metric.clone(),
        (None, None) => return Ok(None),
        (None, Some(Metric::Other(name))) => {
            return Err(Error::new(
                Kind::Unsupported,
                format!("the source measures by {name}, which Milvus does not have"),
            )
            .hint(
                "`sink.milvus.metric` (classic jobs: metric_type) names one to use in its place",
            ));
        }
        (None, Some(metric)) => metric.clone(),
    };
    if metric.is_binary() != binary {
        let kind = if binary { "binary" } else { "float" };
        return Err(Error::new(
            Kind::Job,
            format!(
                "metric {} does not measure {} vectors",
                metric.name(),
                target.vector().element.name()
            ),
        )
        .hint(match binary {
            true => format!("{kind} vectors are measured by HAMMING or JACCARD"),
            false => format!("{kind} vectors are measured by L2, IP or COSINE"),
        }));
    }
    Ok(Some(match metric {
        // Gone since 2.3; JACCARD ranks alike.
        Metric::Tanimoto => Metric::Jaccard,
        metric => metric,
    }))
}

/// What the operator should know, though it can be done.
pub fn warnings(target: &Target, settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.metric.as_ref().or(target.metric()) == Some(&Metric::Tanimoto) {
        warnings.push(
            "Milvus 2.x has no TANIMOTO metric: JACCARD, which ranks alike, takes its place"
                .to_owned(),
        );
    }
    if let (Some(job), Some(source)) = (&settings.metric, target.metric())
        && job != source
    {
        warnings.push(format!(
            "the job measures {} by {}, the source by {}: the job's is taken",
            target.name,
            job.name(),
            source.name()
        ));
    }
    if let Ok(Some(plan)) = index(target, settings) {
        warnings.extend(super::foresee::unknown_kind(&plan));
    }
    if settings.index == IndexWanted::Source && target.index().is_none() {
        warnings.push(format!(
            "`index: source`, but the source of {} has no index to go by: none is made",
            target.name
        ));
    }
    warnings
}

/// The index to make, if any. Complains of what cannot be.
pub fn index(target: &Target, settings: &Settings) -> Result<Option<IndexPlan>> {
    let metric = metric(target, settings)?;
    let index = match &settings.index {
        IndexWanted::None => return Ok(None),
        IndexWanted::This(index) => index.clone(),
        IndexWanted::Source => match target.index() {
            Some(index) => index.clone(),
            None => return Ok(None),
        },
    };
    let binary = target.vector().element == Element::Bit;
    let Index { kind, params } = index;
    if kind != "AUTOINDEX" && kind.starts_with("BIN_") != binary && !kind.starts_with("MINHASH") {
        let kinds = if binary {
            "BIN_FLAT, BIN_IVF_FLAT"
        } else {
            "FLAT, IVF_FLAT, HNSW …"
        };
        return Err(Error::new(
            Kind::Job,
            format!(
                "an index {kind} does not hold {} vectors",
                target.vector().element.name()
            ),
        )
        .hint(format!("such as do: {kinds}")));
    }
    let Some(metric) = metric else {
        return Err(Error::new(
            Kind::Job,
            "an index needs a metric, and the source does not know one",
        )
        .hint("`sink.milvus.metric` (classic jobs: metric_type) names it"));
    };
    Ok(Some(IndexPlan {
        kind,
        metric: metric.name().to_owned(),
        params,
    }))
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
        write!(f, " by {}", self.metric)
    }
}

impl IndexPlan {
    /// As CreateIndex takes it: what is a number goes as one.
    pub fn extra_params(&self) -> Vec<KeyValue> {
        let value = |text: &String| match serde_json::from_str(text) {
            Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
            _ => serde_json::Value::String(text.clone()),
        };
        let params = self.params.iter().map(|(k, v)| (k.clone(), value(v)));
        let params: serde_json::Map<String, serde_json::Value> = params.collect();
        vec![
            KeyValue::new("index_type", &self.kind),
            KeyValue::new("metric_type", &self.metric),
            KeyValue::new("params", serde_json::Value::Object(params).to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
