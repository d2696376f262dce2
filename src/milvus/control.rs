//! Everything a client does except sending rows: collections, partitions, flushes, indexes, loads, counts.
//! One call each; the caller waits and decides.

use std::collections::HashMap;

use crate::error::{Error, Kind, Result};

use super::proto::{
    self, AliasRequest, Answer, BoolResponse, CollectionRequest, CreateIndexRequest,
    DescribeCollectionResponse, DescribeIndexRequest, DescribeIndexResponse, DropIndexRequest,
    FieldSchema, FlushRequest, FlushResponse, FunctionSchema, GetFlushStateRequest,
    GetFlushStateResponse, GetLoadStateResponse, GetLoadingProgressResponse, KeyValue,
    LoadCollectionRequest, LoadPartitionsRequest, LoadRequest, PartitionRequest,
    PartitionsResponse, QueryRequest, ReleasePartitionsRequest, ShowCollectionsRequest,
    ShowCollectionsResponse, StatisticsResponse, Status, data_type, index_state, load_state,
};
use super::{Client, Flavour, ok, status};

/// A collection as the server describes it.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Its own name, which an alias resolves to.
    pub name: String,
    /// The server's id of it, which changes when it is dropped and recreated; 0 if the server does not say.
    pub number: i64,
    /// Its description; empty if the server does not keep one.
    pub description: String,
    /// Whether the server makes the primary keys.
    pub auto_id: bool,
    /// Whether it has a dynamic field, which is not among its fields.
    pub is_dynamic: bool,
    /// Its fields.
    pub fields: Vec<FieldSchema>,
    /// The names of its lists of structs, which are not among its fields.
    pub structs: Vec<String>,
    /// What it computes while rows come in.
    pub functions: Vec<FunctionSchema>,
    /// Names and values that it keeps.
    pub properties: Vec<KeyValue>,
    /// How many shards it has.
    pub shards: u32,
    /// With a partition key: the number of partitions that it distributes rows over.
    pub partitions: u32,
    /// Its default consistency level, as `common.ConsistencyLevel` numbers it.
    pub consistency: i32,
    /// Its aliases.
    pub aliases: Vec<String>,
}

impl Collection {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&FieldSchema> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// Whether a key in rows decides on their partition, so that requests cannot name one.
    pub fn has_partition_key(&self) -> bool {
        self.fields.iter().any(|f| f.is_partition_key)
    }
}

impl FieldSchema {
    /// A number among its parameters, such as `max_length`.
    pub fn param(&self, name: &str) -> Option<usize> {
        let param = self.type_params.iter().find(|p| p.key == name)?;
        param.value.parse().ok()
    }

    /// The dimension of a vector field.
    pub fn dimension(&self) -> Option<u32> {
        self.param("dim")?.try_into().ok()
    }

    /// Whether every row must have a value.
    pub fn is_required(&self) -> bool {
        let filled = self.default_value.is_some() || self.is_function_output;
        !(filled || self.nullable || self.is_dynamic)
    }

    /// Its name and type, for people: such as `embedding FLOAT_VECTOR(128)`.
    pub fn describe(&self) -> String {
        let kind = data_type::name(self.data_type);
        let name = &self.name;
        match (self.dimension(), self.is_primary_key) {
            (Some(dim), _) => format!("{name} {kind}({dim})"),
            (None, true) => format!("{name} {kind} primary key"),
            (None, false) => format!("{name} {kind}"),
        }
    }
}

/// What to ask about a flush that was begun.
#[derive(Clone, Debug, Default)]
pub struct Flushing {
    segments: Vec<i64>,
    flush_ts: u64,
}

/// An index as the server describes it.
#[derive(Clone, Debug)]
pub struct IndexState {
    /// Such as `HNSW`.
    pub kind: String,
    /// Such as `L2`.
    pub metric: String,
    /// All parameters it was created with.
    pub params: Vec<KeyValue>,
    /// Whether all rows have been indexed.
    pub finished: bool,
    /// Rows indexed, and of how many; both 0 if the server does not say.
    pub rows: (u64, u64),
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

impl Client {
    fn collection_request(&self, collection: &str) -> CollectionRequest {
        CollectionRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
        }
    }

    fn partition_request(&self, collection: &str, partition: &str) -> PartitionRequest {
        PartitionRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            partition_name: partition_name(partition).to_owned(),
        }
    }

    /// The collection of this name or alias, if there is one.
    pub fn collection(&self, name: &str) -> Result<Option<Collection>> {
        let call = "DescribeCollection";
        let request = self.collection_request(name);
        let answer: DescribeCollectionResponse = self.ask(call, &request)?;
        if answer.status().is_some_and(status::collection_missing) {
            return Ok(None);
        }
        ok(&answer).map_err(|e| e.at(self.place(call)))?;
        let number = answer.collection_id;
        let schema = answer.schema.unwrap_or_default();
        let keys = schema.fields.iter().filter(|f| f.is_primary_key);
        Ok(Some(Collection {
            auto_id: schema.auto_id || keys.into_iter().any(|f| f.auto_id),
            name: match schema.name.is_empty() {
                true => name.to_owned(),
                false => schema.name,
            },
            description: schema.description,
            is_dynamic: schema.enable_dynamic_field,
            fields: schema.fields,
            structs: (schema.struct_array_fields.into_iter())
                .map(|field| field.name)
                .collect(),
            functions: schema.functions,
            properties: answer.properties,
            number,
            shards: u32::try_from(answer.shards_num).unwrap_or(0),
            partitions: u32::try_from(answer.num_partitions).unwrap_or(0),
            consistency: answer.consistency_level,
            aliases: answer.aliases,
        }))
    }

    /// The names of all collections of the database, in order.
    pub fn collections(&self) -> Result<Vec<String>> {
        let request = ShowCollectionsRequest {
            db_name: self.db.clone(),
        };
        let answer: ShowCollectionsResponse = self.tell("ShowCollections", &request)?;
        let mut names = answer.names;
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a collection with all that is in it.
    pub fn drop_collection(&self, name: &str) -> Result<()> {
        self.tell::<Status>("DropCollection", &self.collection_request(name))?;
        Ok(())
    }

    /// Removes a collection from the query nodes' memory; its data stays.
    pub fn release_collection(&self, name: &str) -> Result<()> {
        self.tell::<Status>("ReleaseCollection", &self.collection_request(name))?;
        Ok(())
    }

    /// Whether a collection has a partition of this name.
    pub fn has_partition(&self, collection: &str, partition: &str) -> Result<bool> {
        let request = self.partition_request(collection, partition);
        let answer: BoolResponse = self.tell("HasPartition", &request)?;
        Ok(answer.value)
    }

    /// All partitions of a collection, each with the server's id of it, which changes when it is dropped and recreated;
    /// 0 if the server does not say.
    pub fn partitions(&self, collection: &str) -> Result<HashMap<String, u64>> {
        let request = self.collection_request(collection);
        let answer: PartitionsResponse = self.tell("ShowPartitions", &request)?;
        let numbers = answer.partition_ids.into_iter();
        let numbers = numbers.map(|n| u64::try_from(n).unwrap_or(0));
        let all = answer.partition_names.into_iter();
        Ok(all.zip(numbers.chain(std::iter::repeat(0))).collect())
    }

    /// Makes a partition.
    pub fn create_partition(&self, collection: &str, partition: &str) -> Result<()> {
        let request = self.partition_request(collection, partition);
        self.tell::<Status>("CreatePartition", &request)?;
        Ok(())
    }

    /// Removes a partition with all that is in it. It must not be loaded.
    pub fn drop_partition(&self, collection: &str, partition: &str) -> Result<()> {
        let request = self.partition_request(collection, partition);
        self.tell::<Status>("DropPartition", &request)?;
        Ok(())
    }

    /// Removes a partition from the query nodes' memory.
    pub fn release_partition(&self, collection: &str, partition: &str) -> Result<()> {
        // Milvus Lite has no such call, and drops partitions as they are.
        if self.server.flavour != Flavour::Full {
            return Ok(());
        }
        let request = ReleasePartitionsRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            partition_names: vec![partition_name(partition).to_owned()],
        };
        self.tell::<Status>("ReleasePartitions", &request)?;
        Ok(())
    }

    /// Rows by the server's statistics: flushed rows, replaced and deleted ones too; of one partition if named.
    pub fn statistics(&self, collection: &str, partition: Option<&str>) -> Result<u64> {
        let answer: StatisticsResponse = match partition {
            Some(partition) => {
                let request = self.partition_request(collection, partition);
                self.tell("GetPartitionStatistics", &request)?
            }
            None => {
                let request = self.collection_request(collection);
                self.tell("GetCollectionStatistics", &request)?
            }
        };
        let rows = answer.stats.iter().find(|s| s.key == "row_count");
        rows.and_then(|s| s.value.parse().ok()).ok_or_else(|| {
            Error::new(Kind::Refused, "the statistics hold no row_count")
                .at(self.place("GetCollectionStatistics"))
        })
    }

    /// Live rows, including everything acknowledged before; of one partition if named. The collection or partition must
    /// be loaded.
    pub fn count(&self, collection: &str, partition: Option<&str>) -> Result<u64> {
        let request = QueryRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            output_fields: vec!["count(*)".to_owned()],
            partition_names: partition
                .map(|p| partition_name(p).to_owned())
                .into_iter()
                .collect(),
            ..QueryRequest::default()
        };
        self.counted(&request)
    }

    /// The figure in the answer to a query for `count(*)`.
    pub(super) fn counted(&self, request: &QueryRequest) -> Result<u64> {
        let answer = self.queried(request)?;
        let field = answer.fields_data.into_iter().next();
        let rows = field
            .and_then(|f| f.scalars?.long_data?.data.first().copied())
            .and_then(|n| u64::try_from(n).ok());
        rows.ok_or_else(|| {
            Error::new(Kind::Refused, "the answer to count(*) holds no count")
                .at(self.place("Query"))
        })
    }

    /// Whether a collection, or a partition of it, can be queried now.
    pub fn is_loaded(&self, collection: &str, partition: Option<&str>) -> Result<bool> {
        Ok(self.load_state(collection, partition)? == load_state::LOADED)
    }

    /// How far a collection, or a partition of it, is on its way to the query nodes, as [`load_state`] numbers it.
    pub fn load_state(&self, collection: &str, partition: Option<&str>) -> Result<i32> {
        let request = self.load_request(collection, partition);
        let answer: GetLoadStateResponse = self.tell("GetLoadState", &request)?;
        Ok(answer.state)
    }

    /// Begins to load a collection.
    pub fn load(&self, collection: &str) -> Result<()> {
        let request = LoadCollectionRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            replica_number: 1,
        };
        self.tell::<Status>("LoadCollection", &request)?;
        Ok(())
    }

    /// The percentage of a collection that has been loaded.
    pub fn loading_progress(&self, collection: &str) -> Result<i64> {
        let request = self.load_request(collection, None);
        let answer: GetLoadingProgressResponse = self.tell("GetLoadingProgress", &request)?;
        Ok(answer.progress)
    }

    fn load_request(&self, collection: &str, partition: Option<&str>) -> LoadRequest {
        LoadRequest {
            collection_name: collection.to_owned(),
            partition_names: partition
                .map(|p| partition_name(p).to_owned())
                .into_iter()
                .collect(),
            db_name: self.db.clone(),
        }
    }

    /// Begins to make everything acknowledged so far durable in segments.
    pub fn flush(&self, collection: &str) -> Result<Flushing> {
        let request = FlushRequest {
            db_name: self.db.clone(),
            collection_names: vec![collection.to_owned()],
        };
        let mut answer: FlushResponse = self.tell("Flush", &request)?;
        let segments = answer.segment_ids.remove(collection).unwrap_or_default();
        Ok(Flushing {
            segments: segments.data,
            flush_ts: answer.flush_ts.remove(collection).unwrap_or_default(),
        })
    }

    /// Whether a flush is done. Servers from 2.3 on are asked by time, older ones by segments.
    pub fn is_flushed(&self, collection: &str, flushing: &Flushing) -> Result<bool> {
        let request = GetFlushStateRequest {
            segment_ids: flushing.segments.clone(),
            flush_ts: flushing.flush_ts,
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
        };
        let answer: GetFlushStateResponse = self.tell("GetFlushState", &request)?;
        Ok(answer.flushed)
    }

    /// The index on a field, if there is one.
    pub fn index(&self, collection: &str, field: &str) -> Result<Option<IndexState>> {
        let call = "DescribeIndex";
        let request = DescribeIndexRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            field_name: field.to_owned(),
        };
        let answer: DescribeIndexResponse = self.ask(call, &request)?;
        if answer.status().is_some_and(status::index_missing) {
            return Ok(None);
        }
        ok(&answer).map_err(|e| e.at(self.place(call)))?;
        let index = answer.indexes.into_iter().find(|i| i.field_name == field);
        Ok(index.map(index_state))
    }

    /// All indexes of a collection.
    pub fn indexes(&self, collection: &str) -> Result<Vec<proto::IndexDescription>> {
        let call = "DescribeIndex";
        let request = DescribeIndexRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            field_name: String::new(),
        };
        let answer: DescribeIndexResponse = self.ask(call, &request)?;
        if answer.status().is_some_and(status::index_missing) {
            return Ok(Vec::new());
        }
        ok(&answer).map_err(|e| e.at(self.place(call)))?;
        Ok(answer.indexes)
    }

    /// Creates an index on a field; the server builds it later. Without a name, the server chooses one.
    pub fn create_index(
        &self,
        collection: &str,
        field: &str,
        name: &str,
        params: Vec<KeyValue>,
    ) -> Result<()> {
        let request = CreateIndexRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            field_name: field.to_owned(),
            extra_params: params,
            index_name: name.to_owned(),
        };
        self.tell::<Status>("CreateIndex", &request)?;
        Ok(())
    }
}

impl Client {
    /// Drops an index by its name. The collection must not be loaded.
    pub fn drop_index(&self, collection: &str, field: &str, name: &str) -> Result<()> {
        let request = DropIndexRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            field_name: field.to_owned(),
            index_name: name.to_owned(),
        };
        self.tell::<Status>("DropIndex", &request)?;
        Ok(())
    }

    /// Gives a collection an alias.
    pub fn create_alias(&self, collection: &str, alias: &str) -> Result<()> {
        self.tell::<Status>("CreateAlias", &self.alias_request(collection, alias))?;
        Ok(())
    }

    /// Moves another collection's alias to this one.
    pub fn move_alias(&self, collection: &str, alias: &str) -> Result<()> {
        self.tell::<Status>("AlterAlias", &self.alias_request(collection, alias))?;
        Ok(())
    }

    fn alias_request(&self, collection: &str, alias: &str) -> AliasRequest {
        AliasRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            alias: alias.to_owned(),
        }
    }

    /// Begins to load a partition.
    pub fn load_partition(&self, collection: &str, partition: &str) -> Result<()> {
        let request = LoadPartitionsRequest {
            db_name: self.db.clone(),
            collection_name: collection.to_owned(),
            partition_names: vec![partition_name(partition).to_owned()],
            replica_number: 1,
        };
        self.tell::<Status>("LoadPartitions", &request)?;
        Ok(())
    }
}

/// A partition as requests name it.
pub(super) fn partition_name(partition: &str) -> &str {
    match partition {
        "" => "_default",
        name => name,
    }
}

fn index_state(index: proto::IndexDescription) -> IndexState {
    let param = |key: &str| {
        let found = index.params.iter().find(|p| p.key == key);
        found.map(|p| p.value.clone()).unwrap_or_default()
    };
    let failed = index.state == index_state::FAILED;
    let rows = |n: i64| u64::try_from(n).unwrap_or(0);
    IndexState {
        kind: param("index_type"),
        metric: param("metric_type"),
        finished: index.state == index_state::FINISHED && index.pending_rows <= 0,
        rows: (rows(index.indexed_rows), rows(index.total_rows)),
        failed: failed.then(|| index.fail_reason.clone()),
        params: index.params,
    }
}
