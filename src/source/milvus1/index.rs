//! Which index of Milvus 2.x is nearest to one of Milvus 1.x?
//! Knows names and parameters only.

use crate::schema::{Index, Metric};

/// Names of Tables.engine_type, counted from 0.
const NAMES: [&str; 13] = [
    "none",
    "FLAT",
    "IVF_FLAT",
    "IVF_SQ8",
    "RNSG",
    "IVF_SQ8H",
    "IVF_PQ",
    "SPTAG_KDT",
    "SPTAG_BKT",
    "BIN_FLAT",
    "BIN_IVF_FLAT",
    "HNSW",
    "ANNOY",
];

/// What Milvus 1.x calls an index.
pub fn name(engine_type: i64) -> &'static str {
    let index = usize::try_from(engine_type).ok();
    index
        .and_then(|i| NAMES.get(i))
        .copied()
        .unwrap_or("unknown")
}

/// The same index in Milvus 2.x, or the nearest one and how it differs.
///
/// The metric decides between float and binary indexes, as it does for vectors.
pub fn to_v2(
    engine_type: i64,
    params: &str,
    metric: Option<&Metric>,
) -> (Option<Index>, Option<String>) {
    let given = serde_json::from_str(params).unwrap_or_default();
    let mut params = Params {
        given,
        taken: Vec::new(),
        lost: Vec::new(),
    };
    let binary = metric.is_some_and(Metric::is_binary);
    let kind = match (engine_type, binary) {
        (1 | 9, true) => "BIN_FLAT",
        // 2.x compares subsets and supersets by brute force only.
        (2 | 10, true) if matches!(metric, Some(Metric::Substructure | Metric::Superstructure)) => {
            params.instead("BIN_IVF_FLAT", "BIN_FLAT");
            "BIN_FLAT"
        }
        (2 | 10, true) => "BIN_IVF_FLAT",
        (1 | 9, false) => "FLAT",
        (2, false) => "IVF_FLAT",
        (3, false) => "IVF_SQ8",
        (5, false) => {
            params.instead("IVF_SQ8H", "IVF_SQ8");
            "IVF_SQ8"
        }
        (6, false) => "IVF_PQ",
        (11, false) => "HNSW",
        (4 | 7 | 8 | 12, false) => {
            params.instead(name(engine_type), "HNSW");
            "HNSW"
        }
        (other, _) => {
            let what = format!(
                "index type {other} ({}) is not one it could have",
                name(other)
            );
            return (None, Some(what));
        }
    };
    match kind {
        "IVF_FLAT" | "IVF_SQ8" | "BIN_IVF_FLAT" => params.take("nlist", "nlist", 1, 65_536, 1024),
        "IVF_PQ" => {
            params.take("nlist", "nlist", 1, 65_536, 1024);
            params.take("m", "m", 1, 32_768, 16);
            if params.given.contains_key("nbits") {
                params.take("nbits", "nbits", 1, 16, 8);
            }
        }
        "HNSW" if engine_type == 4 => {
            params.take("out_degree", "M", 4, 64, 16);
            params.take("candidate_pool_size", "efConstruction", 8, 512, 200);
        }
        "HNSW" => {
            params.take("M", "M", 4, 64, 16);
            params.take("efConstruction", "efConstruction", 8, 512, 200);
        }
        _ => {}
    }
    let index = Index {
        kind: kind.to_owned(),
        params: params.taken,
    };
    let lost = (!params.lost.is_empty()).then(|| params.lost.join("; "));
    (Some(index), lost)
}

struct Params {
    given: serde_json::Map<String, serde_json::Value>,
    taken: Vec<(String, String)>,
    lost: Vec<String>,
}

impl Params {
    fn instead(&mut self, old: &str, new: &str) {
        self.lost.push(format!(
            "it has an index {old}, which Milvus 2.x does not offer here; the nearest is {new}"
        ));
    }

    fn take(&mut self, old: &'static str, new: &'static str, min: i64, max: i64, default: i64) {
        let given = match self.given.get(old) {
            Some(serde_json::Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
            None => None,
        };
        let value = given.unwrap_or(default).clamp(min, max);
        if let Some(given) = given.filter(|g| *g != value) {
            self.lost.push(format!(
                "its index has {old} {given}, Milvus 2.x takes {min} to {max}: {new} {value} is nearest"
            ));
        }
        self.taken.push((new.to_owned(), value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_its_nearest() {
        for (engine, params, metric, kind, said) in [
            (1, "{}", Metric::L2, "FLAT", false),
            (1, "{}", Metric::Substructure, "BIN_FLAT", false),
            (2, "{\"nlist\":64}", Metric::L2, "IVF_FLAT nlist=64", false),
            (
                2,
                "{\"nlist\":99999}",
                Metric::L2,
                "IVF_FLAT nlist=65536",
                true,
            ),
            (
                2,
                "{\"nlist\":64}",
                Metric::Jaccard,
                "BIN_IVF_FLAT nlist=64",
                false,
            ),
            (
                10,
                "{\"nlist\":64}",
                Metric::Superstructure,
                "BIN_FLAT",
                true,
            ),
            (3, "", Metric::L2, "IVF_SQ8 nlist=1024", false),
            (5, "{\"nlist\":\"7\"}", Metric::L2, "IVF_SQ8 nlist=7", true),
            (
                6,
                "{\"nlist\":9,\"m\":4}",
                Metric::L2,
                "IVF_PQ nlist=9 m=4",
                false,
            ),
            (
                4,
                "{\"out_degree\":50}",
                Metric::Ip,
                "HNSW M=50 efConstruction=200",
                true,
            ),
            (
                11,
                "{\"M\":16,\"efConstruction\":300}",
                Metric::L2,
                "HNSW M=16 efConstruction=300",
                false,
            ),
            (
                12,
                "{\"n_trees\":8}",
                Metric::L2,
                "HNSW M=16 efConstruction=200",
                true,
            ),
        ] {
            let (index, lost) = to_v2(engine, params, Some(&metric));
            let index = index.unwrap();
            let params: String = index
                .params
                .iter()
                .map(|(k, v)| format!(" {k}={v}"))
                .collect();
            assert_eq!(format!("{}{params}", index.kind), kind);
            assert_eq!(lost.is_some(), said, "{engine}: {lost:?}");
        }
        for engine in [0, -1, 13, i64::MAX] {
            assert!(to_v2(engine, "{}", Some(&Metric::L2)).0.is_none());
        }
    }
}
