//! An index of the service as a source: a target and a shard for each namespace.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::client::{Client, Stats, groups};
use super::reader::Pages;
use super::vectors::{self, Fetched, Shape};
use super::{Settings, partition};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::job::Globs;
use crate::limits;
use crate::schema::{Column, ColumnType, Columns, Element, Index, Metric, Role, VectorType};
use crate::source::documents;
use crate::source::pace::Pace;
use crate::source::{Reader, Source, Stillness, Survey};

/// An index, and what is read from it.
pub struct Pinecone {
    pub client: Client,
    pub settings: Settings,
    admitted: Globs,
    /// What is read, once it is known.
    looked: OnceLock<Looked>,
    pub pace: Pace,
    /// Rows that were listed, but missing when they were requested.
    pub vanished: AtomicU64,
}

struct Looked {
    stretches: Vec<Stretch>,
    dimension: Option<u32>,
    notes: Vec<String>,
}

/// A namespace that is read.
pub struct Stretch {
    pub name: TargetName,
    pub namespace: String,
    pub shape: Shape,
    pub columns: Arc<Columns>,
    count: u64,
    /// Where its rows are, for messages.
    pub place: Arc<Path>,
}

impl Pinecone {
    pub fn new(client: Client, settings: Settings, admitted: Globs) -> Pinecone {
        Pinecone {
            client,
            admitted,
            looked: OnceLock::new(),
            pace: Pace::new(settings.rows_per_s),
            vanished: AtomicU64::new(0),
            settings,
        }
    }

    /// What is read, looked up once.
    fn looked(&self) -> Result<&Looked> {
        if self.looked.get().is_none() {
            let found = self.look()?;
            let _ = self.looked.set(found);
        }
        Ok(self.looked.get().expect("it was just set"))
    }

    fn look(&self) -> Result<Looked> {
        let mut stats = self.client.stats()?;
        // An index without rows becomes a collection without rows.
        if stats.namespaces.is_empty() {
            stats.namespaces.insert(super::DEFAULT.to_owned(), 0);
        }
        let there: Vec<String> = stats.namespaces.keys().cloned().collect();
        let collection = match &self.settings.collection {
            Some(name) => name.clone(),
            None => index_name(self.client.server.address()),
        };
        let mut wanted = self.settings.chosen(&there)?;
        wanted.retain(|name| self.admitted.admit(&collection, &partition(name)));
        let filled = wanted.iter().filter(|name| stats.namespaces[*name] > 0);
        let sampled = filled.take(limits::PINECONE_NAMESPACES_SAMPLED);
        let (mut has_sparse, mut looked_at, mut cost) = (false, 0, 0.0);
        for namespace in sampled {
            let mut listed = self.client.list(namespace, "", self.settings.page, None)?;
            // A page may be empty although others follow.
            while let Some(next) = listed.next.take().filter(|_| listed.ids.is_empty()) {
                listed = (self.client).list(namespace, "", self.settings.page, Some(&next))?;
            }
            for ids in groups(&listed.ids) {
                let answer = self.client.fetch(namespace, ids)?;
                let mut rows = Fetched::new();
                // Errors in an answer are reported when its rows are read.
                if vectors::fetched(&answer, &mut rows).is_ok() {
                    has_sparse |= vectors::any_sparse(&rows);
                }
                looked_at += ids.len();
                cost += vectors::cost(&answer).unwrap_or(0.0);
            }
        }
        let (shape, columns, mut notes) =
            shape(&stats, self.settings.sparse.unwrap_or(has_sparse))?;
        let rows: u64 = wanted.iter().map(|name| stats.namespaces[name]).sum();
        if cost > 0.0 {
            let all = cost / looked_at as f64 * rows as f64;
            notes.push(format!(
                "reading {rows} rows will cost about {all:.0} read units, judging by the first {looked_at}"
            ));
        }
        let stretches = wanted.into_iter().map(|namespace| {
            let name = TargetName {
                collection: collection.clone(),
                partition: partition(&namespace),
            };
            let place = format!("{}/{namespace}", self.client.server.address());
            Stretch {
                name,
                shape,
                columns: columns.clone(),
                count: stats.namespaces[&namespace],
                place: Path::new(&place).into(),
                namespace,
            }
        });
        Ok(Looked {
            stretches: stretches.collect(),
            dimension: stats.dimension,
            notes,
        })
    }

    fn stretch(&self, shard: &Shard) -> Result<&Stretch> {
        let stretch = self.looked()?.stretches.get(shard.part as usize);
        stretch.ok_or_else(|| {
            let what = format!("{} no longer exists", shard.name);
            Error::new(Kind::Changed, what)
        })
    }
}

/// The name of the index, from its host: `products-abc1234.svc.…`.
fn index_name(address: &str) -> String {
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    let label = host.split(['.', ':', '/']).next().unwrap_or_default();
    match label.rsplit_once('-') {
        Some((name, _)) if host.contains(".svc.") && !name.is_empty() => name.to_owned(),
        _ if label.bytes().all(|byte| byte.is_ascii_digit()) => "index".to_owned(),
        _ => label.to_owned(),
    }
}

/// How sparse values are searched: there is only one way.
pub fn sparse() -> (Option<Metric>, Option<Index>) {
    let index = Index {
        kind: "SPARSE_INVERTED_INDEX".to_owned(),
        params: Vec::new(),
    };
    (Some(Metric::Ip), Some(index))
}

/// The columns of an index's rows.
fn shape(stats: &Stats, has_sparse: bool) -> Result<(Shape, Arc<Columns>, Vec<String>)> {
    let metric = stats.metric.as_deref().map(|metric| match metric {
        "cosine" => Metric::Cosine,
        "dotproduct" => Metric::Ip,
        "euclidean" => Metric::L2,
        other => Metric::Other(other.to_owned()),
    });
    let text = |most| ColumnType::VarChar {
        max_bytes: Some(most),
    };
    let mut all = vec![Column::key("id", text(512))];
    let dense = stats.dimension.map(|dimension| VectorType {
        element: Element::Float32,
        dimension,
    });
    if let Some(kind) = dense {
        all.push(Column {
            metric,
            ..Column::new("values", ColumnType::Vector(kind))
        });
    }
    // An index without a dimension has sparse values only.
    let sparse = has_sparse || dense.is_none();
    let mut notes = vec![
        "all numbers in metadata are doubles in Pinecone, and are kept as it writes them"
            .to_owned(),
    ];
    if sparse {
        let (metric, index) = self::sparse();
        all.push(Column {
            nullable: true,
            metric,
            index,
            ..Column::new("sparse_values", ColumnType::Sparse)
        });
        notes.push(
            "rows may lack sparse values, and Milvus accepts no rows that lack a vector: `run: {misfit: skip}` leaves \
             these out, `fields: {columns: {sparse_values: false}}` leaves out the sparse values"
                .to_owned(),
        );
    }
    all.push(Column {
        role: Role::Dynamic,
        ..Column::new(documents::REST, ColumnType::Json)
    });
    Ok((Shape { dense, sparse }, Columns::new(all)?, notes))
}

impl Source for Pinecone {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let Looked {
            stretches, notes, ..
        } = self.looked()?;
        let address = self.client.server.address();
        let (mut targets, mut shards) = (Vec::new(), Vec::new());
        let mut identity = BTreeMap::new();
        let mut warnings = vec![format!(
            "Pinecone at {address} cannot pin its state: it is read live, and rows that others write or delete meanwhile may or \
             may not be migrated. Its counts lag behind recent writes"
        )];
        for (number, stretch) in stretches.iter().enumerate() {
            shards.push(Shard {
                number: number as u32,
                target: number as u32,
                part: number as u32,
                name: stretch.name.to_string(),
                rows: stretch.count,
                first_row: 0,
                start: Position::Start,
                end: Position::End,
            });
            targets.push(Target {
                number: number as u32,
                name: stretch.name.clone(),
                columns: stretch.columns.clone(),
                traits: Arc::default(),
                keys: Keys::Unique,
                auto_id: false,
                rows: stretch.count,
                rows_deleted: 0,
                source: stretch.place.display().to_string(),
            });
            let what = format!("on {address}, {}", stretch.columns);
            identity.insert(format!("namespace {}", stretch.namespace), what);
        }
        warnings.extend(notes.iter().cloned());
        Ok(Survey {
            manifest: Manifest { targets, shards },
            identity,
            warnings,
            indexes_differ: None,
        })
    }

    fn stillness(&self) -> Stillness {
        Stillness::Live
    }

    /// Each reader fetches several pages at a time.
    fn reads_at_once(&self) -> Option<usize> {
        Some(1)
    }

    fn profile(&self, shard: &Shard) -> Result<Vec<String>> {
        documents::profile(self, shard)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let stretch = self.stretch(shard)?;
        Ok(Box::new(Pages::new(self, stretch, shard, &from, limits)))
    }

    fn remarks(&self) -> Vec<String> {
        let vanished = self.vanished.load(Ordering::Relaxed);
        let said = (vanished > 0).then(|| {
            format!("{vanished} rows were deleted while they were read, and were not migrated")
        });
        said.into_iter().collect()
    }

    fn unchanged(&self) -> Result<()> {
        let Some(looked) = self.looked.get() else {
            return Ok(());
        };
        match self.client.stats() {
            Ok(stats) if stats.dimension == looked.dimension => Ok(()),
            Ok(_) => Err(Error::new(
                Kind::Changed,
                "the index was recreated since the job looked it up: it has another dimension",
            )),
            // A server that does not answer has not changed.
            Err(error) if error.kind().is_silence() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_called_as_its_host() {
        for (address, expected) in [
            (
                "https://products-abc1234.svc.us-east-1.pinecone.io:443",
                "products",
            ),
            (
                "https://my-big-index-x1.svc.aped-1.pinecone.io:443",
                "my-big-index",
            ),
            ("http://127.0.0.1:5081", "index"),
            ("http://localhost:5081", "localhost"),
        ] {
            assert_eq!(index_name(address), expected);
        }
    }
}
