//! Does a target fit a Milvus 1.x server? Names, types, dimensions, metrics, indexes: the rules of its
//! ValidationUtil.cpp, checked before anything is sent.
//! Pure: compares what is wanted with what exists, and makes no calls.

use tracing::warn;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::milvus::v1::proto::CollectionSchema;
use crate::schema::{Element, Metric, VectorType};
use crate::sink::milvus::settings::IndexWanted;

use super::settings::Settings;

/// Metrics with their numbers in 1.x.
const METRICS: [(i32, Metric); 7] = [
    (1, Metric::L2),
    (2, Metric::Ip),
    (3, Metric::Hamming),
    (4, Metric::Jaccard),
    (5, Metric::Tanimoto),
    (6, Metric::Substructure),
    (7, Metric::Superstructure),
];

/// Indexes with their numbers in its interface. FLAT and IVF_FLAT have the same numbers for binary and float vectors.
const INDEXES: [(&str, i32); 10] = [
    ("FLAT", 1),
    ("IVF_FLAT", 2),
    ("IVF_SQ8", 3),
    ("RNSG", 4),
    ("IVF_SQ8H", 5),
    ("IVF_PQ", 6),
    ("HNSW", 11),
    ("ANNOY", 12),
    ("BIN_FLAT", 1),
    ("BIN_IVF_FLAT", 2),
];

/// An index to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPlan {
    /// Its number.
    pub number: i32,
    /// Its parameters in JSON.
    pub params: String,
}

/// Returns an error about names that Milvus 1.x does not allow.
pub fn names(target: &Target) -> Result<()> {
    let collection = target.name.collection.as_str();
    if collection.is_empty() {
        return Err(Error::new(
            Kind::Job,
            "neither the job nor the source names a collection",
        )
        .hint("name it with `collection` of the sink (classic jobs: dest_collection_name)"));
    }
    let plain = collection
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !plain || collection.len() > 255 || collection.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::new(
            Kind::Job,
            format!(
                "Milvus 1.x does not allow the collection name `{collection}`: letters, digits and underscores, no \
                 digit first, at most 255"
            ),
        )
        .hint("rename collections with `into:`"));
    }
    let partition = target.name.partition.as_str();
    // Any characters are allowed, but the server strips blanks around a tag.
    if partition.len() > 255 || partition.trim() != partition {
        return Err(Error::new(
            Kind::Job,
            format!("Milvus 1.x does not allow the partition tag `{partition}`: at most 255 bytes, no blanks around it"),
        )
        .hint("rename partitions with `into:`"));
    }
    Ok(())
}

/// Returns an error about vectors that Milvus 1.x does not have.
pub fn vectors(kind: VectorType) -> Result<()> {
    let wrong = |what: String| Err(Error::new(Kind::Unsupported, what));
    if !matches!(kind.element, Element::Float32 | Element::Bit) {
        return wrong(format!(
            "Milvus 1.x has float32 and binary vectors, but not {}",
            kind.element.name()
        ));
    }
    let (dimension, most) = (kind.dimension, limits::MILVUS_DIMENSIONS_MAX);
    if dimension == 0 || dimension > most {
        return wrong(format!(
            "vectors of {dimension} dimensions: Milvus allows 1 to {most}"
        ));
    }
    if kind.is_binary() && !dimension.is_multiple_of(8) {
        return wrong(format!(
            "binary vectors of {dimension} dimensions: Milvus allows only multiples of 8"
        ));
    }
    Ok(())
}

/// The number of the metric a new collection gets: the job's, else the source's, else Milvus's own default.
pub fn metric(target: &Target, settings: &Settings) -> Result<i32> {
    let binary = target.vector().is_binary();
    let hint = "set one with `metric` of the sink (classic jobs: metric_type)";
    let metric = match (&settings.metric, target.metric()) {
        (Some(metric), _) => metric,
        (None, Some(Metric::Other(name))) => {
            return Err(Error::new(
                Kind::Unsupported,
                format!("the source uses the metric {name}, which Milvus does not have"),
            )
            .hint(hint));
        }
        (None, Some(metric)) => metric,
        (None, None) if binary => {
            return Err(Error::new(
                Kind::Job,
                "a collection of Milvus 1.x needs a metric, but the source does not declare one",
            )
            .hint(format!(
                "{hint}: HAMMING, JACCARD, TANIMOTO, SUBSTRUCTURE or SUPERSTRUCTURE"
            )));
        }
        (None, None) => {
            warn!(
                "neither the job nor the source names a metric: L2, the default of Milvus, is used"
            );
            &Metric::L2
        }
    };
    if let Some((number, _)) = METRICS.iter().find(|(_, m)| m == metric)
        && metric.is_binary() == binary
    {
        return Ok(*number);
    }
    Err(Error::new(
        Kind::Job,
        format!(
            "in Milvus 1.x, {} vectors cannot use metric {}",
            target.vector().element.name(),
            metric.name()
        ),
    )
    .hint(match binary {
        true => "binary vectors use HAMMING, JACCARD, TANIMOTO, SUBSTRUCTURE or SUPERSTRUCTURE",
        false => "float vectors use L2 or IP; for unit vectors, IP ranks as COSINE",
    }))
}

/// Returns an error about a collection that rows of this target do not fit.
pub fn schema(found: &CollectionSchema, target: &Target, settings: &Settings) -> Result<()> {
    let kind = target.vector();
    let there = METRICS.iter().find(|(n, _)| *n == found.metric_type);
    let Some((_, there)) = there else {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "collection {} has metric {}, which is not a metric of Milvus 1.x",
                found.collection_name, found.metric_type
            ),
        ));
    };
    let element = if there.is_binary() {
        "binary"
    } else {
        "float32"
    };
    if there.is_binary() != kind.is_binary() || found.dimension != i64::from(kind.dimension) {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "schema mismatch: collection {} holds {element} × {}, but the vectors of the source are {kind}",
                found.collection_name, found.dimension
            ),
        )
        .hint("name another collection, or use `mode: overwrite` to replace it"));
    }
    match (&settings.metric, target.metric()) {
        (Some(wanted), _) if wanted != there => Err(Error::new(
            Kind::Refused,
            format!(
                "schema mismatch: collection {} has metric {}, but the job has {}",
                found.collection_name,
                there.name(),
                wanted.name()
            ),
        )
        .hint("leave out `metric` to use that of the collection")),
        (None, Some(source)) if source != there => {
            warn!(
                "collection {} has metric {}, but the source has {}",
                found.collection_name,
                there.name(),
                source.name()
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The index to create, if any; an error if 1.x does not have it.
pub fn index(target: &Target, settings: &Settings) -> Result<Option<IndexPlan>> {
    let index = match &settings.index {
        IndexWanted::None => return Ok(None),
        IndexWanted::This(index) => index,
        IndexWanted::Source => match target.index() {
            Some(index) => index,
            None => {
                warn!(
                    "`index: source`, but the source of {} has no index: no index is created",
                    target.name
                );
                return Ok(None);
            }
        },
    };
    let binary = target.vector().is_binary();
    let found = INDEXES.iter().find(|(name, _)| *name == index.kind);
    let number = found.map(|(_, number)| *number);
    let fits = match number {
        Some(1 | 2) => !index.kind.starts_with("BIN_") || binary,
        Some(_) => !binary,
        None => false,
    };
    let Some(number) = number.filter(|_| fits) else {
        let known = INDEXES.iter().filter(|(name, number)| match binary {
            true => name.starts_with("BIN_"),
            false => !name.starts_with("BIN_") && *number != 0,
        });
        let known: Vec<&str> = known.map(|(name, _)| *name).collect();
        return Err(Error::new(
            Kind::Job,
            format!(
                "Milvus 1.x has no index {} for {} vectors",
                index.kind,
                target.vector().element.name()
            ),
        )
        .hint(format!("it has {}", known.join(", "))));
    };
    let value = |text: &String| match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Number(_)) => value,
        _ => serde_json::Value::String(text.clone()),
    };
    let params = index.params.iter().map(|(k, v)| (k.clone(), value(v)));
    let params: serde_json::Map<String, serde_json::Value> = params.collect();
    Ok(Some(IndexPlan {
        number,
        params: serde_json::Value::Object(params).to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Keys, TargetName};
    use crate::job::Mode;
    use crate::schema::{Columns, Index};

    fn target(element: Element, dimension: u32, metric: Option<Metric>) -> Target {
        let kind = VectorType { element, dimension };
        Target {
            number: 0,
            name: TargetName {
                collection: "c".into(),
                partition: String::new(),
            },
            columns: Columns::plain("id", "embedding", kind)
                .unwrap()
                .measured(metric, None),
            traits: Default::default(),
            keys: Keys::Stored,
            auto_id: false,
            rows: 1,
            rows_deleted: 0,
            source: String::new(),
        }
    }

    fn settings(metric: Option<Metric>, index: IndexWanted) -> Settings {
        Settings {
            address: String::new(),
            collection: None,
            partition: None,
            mode: Mode::Append,
            metric,
            index_file_size: 1024,
            auto_id: false,
            index,
            load: false,
        }
    }

    #[test]
    fn a_metric_fits_the_vectors_or_is_refused() {
        let check =
            |element, said: Option<Metric>, source: Option<Metric>, expected: Option<i32>| {
                let found = metric(
                    &target(element, 16, source),
                    &settings(said, IndexWanted::None),
                );
                assert_eq!(found.ok(), expected);
            };
        use Element::{Bit, Float32};
        check(Float32, None, None, Some(1));
        check(Float32, None, Some(Metric::Ip), Some(2));
        check(
            Float32,
            Some(Metric::L2),
            Some(Metric::Other("L1".into())),
            Some(1),
        );
        check(Float32, None, Some(Metric::Other("L1".into())), None);
        check(Float32, Some(Metric::Cosine), None, None);
        check(Float32, Some(Metric::Jaccard), None, None);
        check(Bit, None, None, None);
        check(Bit, None, Some(Metric::Superstructure), Some(7));
    }

    #[test]
    fn indexes_go_by_the_numbers_of_1x() {
        let check = |element, kind: &str, expected: Option<(i32, &str)>| {
            let wanted = IndexWanted::This(Index {
                kind: kind.to_owned(),
                params: vec![("nlist".into(), "16".into())],
            });
            let found = index(&target(element, 16, None), &settings(None, wanted))
                .ok()
                .flatten();
            let found = found.as_ref().map(|i| (i.number, i.params.as_str()));
            assert_eq!(found, expected, "{kind}");
        };
        check(Element::Float32, "IVF_FLAT", Some((2, r#"{"nlist":16}"#)));
        check(Element::Float32, "HNSW", Some((11, r#"{"nlist":16}"#)));
        check(Element::Float32, "DISKANN", None);
        check(Element::Float32, "BIN_FLAT", None);
        check(Element::Bit, "BIN_IVF_FLAT", Some((2, r#"{"nlist":16}"#)));
        check(Element::Bit, "HNSW", None);
    }

    #[test]
    fn names_and_types_are_held_to_its_rules() {
        let mut named = target(Element::Float32, 16, None);
        for (collection, partition, good) in [
            ("_a1", "any / tag.", true),
            ("1a", "", false),
            ("a-b", "", false),
            ("", "", false),
            ("a", " p", false),
        ] {
            named.name.collection = collection.to_owned();
            named.name.partition = partition.to_owned();
            assert_eq!(names(&named).is_ok(), good, "{collection:?} {partition:?}");
        }
        let kind = |element, dimension| VectorType { element, dimension };
        assert!(vectors(kind(Element::Float16, 8)).is_err());
        assert!(vectors(kind(Element::Float32, 32_769)).is_err());
        assert!(vectors(kind(Element::Bit, 32_768)).is_ok());
    }
}
