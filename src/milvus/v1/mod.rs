//! How does one talk to Milvus 1.x? The blocking API of milvus.grpc, spoken by 0.10, 1.0 and 1.1.
//! Sorts every answer by what happens next; never retries. The caller waits and decides.

pub mod proto;
pub mod wire;

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;

use crate::error::{Error, Kind, Result};
use crate::limits;

use super::{Client, Flavour, Settings, framed, read};
use proto::{
    Answer, BoolReply, CollectionInfo, CollectionName, CollectionSchema, FlushParam, Ids,
    IndexParam, KeyValuePair, PartitionParam, PreloadCollectionParam, RowRecord, Status, VectorIds,
    VectorsData, code,
};

/// The tag that means the collection itself. It is never sent: 1.1.1 answers an insert into it with success and
/// loses the rows (milvus#6266).
pub const DEFAULT_PARTITION: &str = "_default";

/// Ids that one look-up may ask for: GetVectorsByIDRequest refuses more.
const LOOK_UP_IDS_MAX: usize = 1000;

/// A Milvus 1.x server, and the connections to it. Shared by all threads; its calls block.
pub struct V1 {
    client: Client,
}

/// The flushed rows of a collection, partition by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(pub Vec<Partition>);

/// What has been flushed of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Its tag; empty: the default one.
    pub tag: String,
    /// Its rows.
    pub rows: u64,
    /// The ids of its segments, which are made from the time: no two are ever the same.
    pub segments: Vec<u64>,
}

impl Rows {
    /// Rows of a partition; empty: the default one.
    pub fn of(&self, partition: &str) -> u64 {
        let found = self.0.iter().find(|one| one.tag == partition);
        found.map_or(0, |one| one.rows)
    }

    /// Rows of all other partitions.
    pub fn outside(&self, partition: &str) -> u64 {
        let others = self.0.iter().filter(|one| one.tag != partition);
        others.map(|one| one.rows).sum()
    }

    /// The numbers of the segments of one partition, or of all.
    pub fn segments(&self, partition: Option<&str>) -> impl Iterator<Item = u64> {
        let wanted = move |one: &&Partition| partition.is_none_or(|tag| tag == one.tag);
        let found = self.0.iter().filter(wanted);
        found.flat_map(|one| one.segments.iter().copied())
    }
}

impl V1 {
    /// Connects to a server, which must be a 1.x one.
    pub fn open(settings: &Settings, connections: usize) -> Result<V1> {
        let mut client = Client::dial(settings, 1)?;
        client.server = client.hello()?;
        if client.server.flavour != Flavour::V1 {
            return Err(Error::new(
                Kind::Refused,
                format!("this is {}, not a 1.x server", client.server),
            )
            .at(client.place("Connect"))
            .hint("`sink: {milvus: …}` is for Milvus 2.x"));
        }
        V1::known(settings, connections, client)
    }

    /// Connects to a server that was found to be a 1.x one.
    pub(super) fn known(settings: &Settings, connections: usize, found: Client) -> Result<V1> {
        let mut client = Client::dial_with(settings, connections, false)?;
        client.server = found.server;
        Ok(V1 { client })
    }

    /// What it is and where: such as `Milvus 1.1.1 at http://127.0.0.1:19530`.
    pub fn describe(&self) -> String {
        format!("{} at {}", self.client.server(), self.client.address())
    }

    /// What it is: such as `Milvus 1.1.1`.
    pub fn name(&self) -> String {
        self.client.server().to_string()
    }

    /// Whether look-ups and deletions can be limited to one partition: from 1.1 on. Older servers ignore the tag.
    pub fn looks_into_partitions(&self) -> bool {
        self.client.server().release.is_some_and(|r| r >= (1, 1))
    }

    /// The largest `index_file_size` it takes, in megabytes.
    pub fn index_file_size_max(&self) -> u64 {
        // 1.1.0 takes only 4096, too, and reports that itself.
        match self.client.server().release {
            Some(release) if release < (1, 1) => 4096,
            _ => 131_072,
        }
    }

    /// The collection of this name, if there is one.
    pub fn collection(&self, name: &str) -> Result<Option<CollectionSchema>> {
        let request = CollectionName {
            collection_name: name.to_owned(),
        };
        let reply: BoolReply = self.tell("HasCollection", &request)?;
        if !reply.bool_reply {
            return Ok(None);
        }
        let schema: CollectionSchema = self.ask("DescribeCollection", &request)?;
        match schema.status() {
            Some(status) if status.error_code == code::COLLECTION_NOT_EXISTS => Ok(None),
            _ => self.good("DescribeCollection", schema).map(Some),
        }
    }

    /// Makes a collection. `Busy` while one of the same name is being deleted.
    pub fn create_collection(&self, schema: CollectionSchema) -> Result<()> {
        self.tell::<Status>("CreateCollection", &schema).map(drop)
    }

    /// Removes a collection; its name stays taken for a while.
    pub fn drop_collection(&self, name: &str) -> Result<()> {
        let request = CollectionName {
            collection_name: name.to_owned(),
        };
        self.tell::<Status>("DropCollection", &request).map(drop)
    }

    /// Whether there is such a partition. Asked rather than tried, because Create and Insert have no error codes of
    /// their own for partitions.
    pub fn has_partition(&self, collection: &str, partition: &str) -> Result<bool> {
        let request = partition_param(collection, partition);
        let reply: BoolReply = self.tell("HasPartition", &request)?;
        Ok(reply.bool_reply)
    }

    /// Makes a partition.
    pub fn create_partition(&self, collection: &str, partition: &str) -> Result<()> {
        let request = partition_param(collection, partition);
        self.tell::<Status>("CreatePartition", &request).map(drop)
    }

    /// Removes a partition and its rows.
    pub fn drop_partition(&self, collection: &str, partition: &str) -> Result<()> {
        let request = partition_param(collection, partition);
        self.tell::<Status>("DropPartition", &request).map(drop)
    }

    /// Rows of each partition, flushed ones only.
    pub fn rows(&self, collection: &str) -> Result<Rows> {
        let request = CollectionName {
            collection_name: collection.to_owned(),
        };
        let call = "ShowCollectionInfo";
        let info: CollectionInfo = self.tell(call, &request)?;
        read_rows(&info.json_info).ok_or_else(|| {
            let what = format!("the rows of {collection} cannot be read from what the server said");
            Error::new(Kind::Refused, what).at(self.client.place(call))
        })
    }

    /// Makes everything that was inserted and deleted take effect and count; returns when it does. Insert, Delete
    /// and Flush wait in one queue of the server, so what arrived earlier takes effect, too.
    pub fn flush(&self, collection: &str) -> Result<()> {
        let request = FlushParam {
            collection_name_array: vec![collection.to_owned()],
        };
        self.tell::<Status>("Flush", &request).map(drop)
    }

    /// Sends a body made by [`wire`]; how many rows the server says it took.
    pub fn insert(&self, body: &[Bytes]) -> Result<u64> {
        let answer = self.exchange("Insert", body.to_vec(), limits::V1_DEADLINE_S);
        let ids: VectorIds = answer.and_then(|answer| self.good("Insert", answer))?;
        Ok(ids.vector_id_array.len() as u64)
    }

    /// How many of these ids exist among flushed rows: in a partition if one is named and the server can look into it,
    /// otherwise in the whole collection.
    pub fn present(&self, collection: &str, partition: &str, ids: &[i64]) -> Result<u64> {
        let vectors = self.vectors(collection, partition, ids)?;
        Ok(vectors.iter().flatten().count() as u64)
    }

    /// The vectors of these ids, as bytes; `None` for missing ones. Looks where [`V1::present`] does.
    pub fn vectors(
        &self,
        collection: &str,
        partition: &str,
        ids: &[i64],
    ) -> Result<Vec<Option<Bytes>>> {
        const CALL: &str = "GetVectorsByID";
        let there = |row: RowRecord| {
            let vector = match row.float_data.is_empty() {
                true => row.binary_data,
                false => row.float_data,
            };
            (!vector.is_empty()).then_some(vector)
        };
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LOOK_UP_IDS_MAX) {
            let request = ids_param(collection, partition, ids);
            let answer: VectorsData = self.ask(CALL, &request)?;
            if answer.status().is_some_and(is_empty) {
                found.resize(found.len() + ids.len(), None);
                continue;
            }
            let answer = self.good(CALL, answer)?;
            if answer.vectors_data.len() != ids.len() {
                let what = format!(
                    "{} ids were asked for, but {} were answered",
                    ids.len(),
                    answer.vectors_data.len()
                );
                return Err(Error::new(Kind::Refused, what).at(self.client.place(CALL)));
            }
            found.extend(answer.vectors_data.into_iter().map(there));
        }
        Ok(found)
    }

    /// Deletes rows by their ids; takes effect with the next flush. Reaches as far as [`V1::present`].
    pub fn delete(&self, collection: &str, partition: &str, ids: &[i64]) -> Result<()> {
        let request = ids_param(collection, partition, ids);
        self.tell::<Status>("DeleteByID", &request).map(drop)
    }

    /// The number of the index on a collection, and its parameters in JSON.
    pub fn index(&self, collection: &str) -> Result<(i32, String)> {
        let request = CollectionName {
            collection_name: collection.to_owned(),
        };
        let index: IndexParam = self.tell("DescribeIndex", &request)?;
        let params = index.extra_params.into_iter().find(|p| p.key == "params");
        Ok((index.index_type, params.map_or(String::new(), |p| p.value)))
    }

    /// Builds an index, and returns when it is built.
    pub fn create_index(&self, collection: &str, index_type: i32, params: String) -> Result<()> {
        let request = IndexParam {
            status: None,
            collection_name: collection.to_owned(),
            index_type,
            extra_params: vec![KeyValuePair {
                key: "params".to_owned(),
                value: params,
            }],
        };
        let answer = self.exchange("CreateIndex", framed(&request), limits::V1_INDEX_DEADLINE_S);
        answer
            .and_then(|answer: Status| self.good("CreateIndex", answer))
            .map(drop)
    }

    /// Loads a collection into memory.
    pub fn load(&self, collection: &str) -> Result<()> {
        let request = PreloadCollectionParam {
            collection_name: collection.to_owned(),
        };
        self.tell::<Status>("PreloadCollection", &request).map(drop)
    }

    /// Calls a method that must succeed.
    fn tell<A: Answer>(&self, method: &'static str, request: &impl Message) -> Result<A> {
        let answer = self.ask(method, request)?;
        self.good(method, answer)
    }

    /// Calls a method, and reads the answer, whatever status it carries.
    fn ask<A: Answer>(&self, method: &'static str, request: &impl Message) -> Result<A> {
        self.exchange(method, framed(request), limits::V1_DEADLINE_S)
    }

    fn exchange<A: Answer>(
        &self,
        method: &'static str,
        body: Vec<Bytes>,
        deadline_s: u64,
    ) -> Result<A> {
        let path = format!("/milvus.grpc.MilvusService/{method}");
        let path = PathAndQuery::try_from(path).expect("methods have plain names");
        let headers = self.client.headers.clone();
        let deadline = Duration::from_secs(deadline_s);
        let answer = self.client.exchange(path, headers, body, deadline);
        answer
            .map_err(|(failure, sent)| super::status::failure(failure, sent))
            .and_then(|answer| read(&answer))
            .map_err(|e| e.at(self.client.place(method)))
    }

    fn good<A: Answer>(&self, method: &'static str, answer: A) -> Result<A> {
        match answer.status() {
            Some(status) if status.error_code != 0 => {
                Err(refusal(status).at(self.client.place(method)))
            }
            _ => Ok(answer),
        }
    }
}

/// The error for a status other than SUCCESS. There are few codes, and most things arrive as UNEXPECTED_ERROR, so the
/// message counts.
fn refusal(status: &Status) -> Error {
    let reason = match status.reason.trim() {
        "" => format!("error code {}", status.error_code),
        reason => reason.trim_end_matches('.').to_owned(),
    };
    let error = |kind| Error::new(kind, format!("the server said: {reason}"));
    match status.error_code {
        code::UNEXPECTED if reason.contains("in delete state") => error(Kind::Busy),
        code::UNEXPECTED if reason.contains("server is shutdown") => error(Kind::Busy),
        code::OUT_OF_MEMORY => {
            error(Kind::Full).hint("the server needs more memory; the same command then continues")
        }
        code::CANNOT_CREATE_FOLDER | code::CANNOT_CREATE_FILE => {
            error(Kind::Refused).hint("the server cannot write: is its disk full?")
        }
        code::PERMISSION_DENIED => {
            error(Kind::Refused).hint("a read-only node of a cluster takes no rows")
        }
        code::COLLECTION_NOT_EXISTS => Error::new(
            Kind::Refused,
            format!("the collection is not there (any more): {reason}"),
        )
        .hint("another program may have dropped it while the job ran"),
        code::ILLEGAL_VECTOR_ID => Error::new(
            Kind::Refused,
            format!("a collection of Milvus 1.x has either ids of its own making or ids that are given, from its \
                     first row on, and this one has the other kind: {reason}"),
        )
        .hint("`auto_id: true` lets the server make the ids, `auto_id: false` keeps those of the source; or fill \
               another collection"),
        _ => error(Kind::Refused),
    }
}

/// In 1.x, a look-up in a collection or partition without rows is an error.
fn is_empty(status: &Status) -> bool {
    status.error_code == code::UNEXPECTED && status.reason.contains("is empty")
}

/// The rows in what ShowCollectionInfo says.
fn read_rows(json: &str) -> Option<Rows> {
    let info: serde_json::Value = serde_json::from_str(json).ok()?;
    let partitions = info.get("partitions")?.as_array()?;
    let rows = partitions.iter().map(|partition| {
        let tag = match partition.get("tag")?.as_str()? {
            DEFAULT_PARTITION => "",
            tag => tag,
        };
        let segments = partition.get("segments").and_then(|all| all.as_array());
        let number = |one: &serde_json::Value| one.get("name")?.as_str()?.parse().ok();
        Some(Partition {
            tag: tag.to_owned(),
            rows: partition.get("row_count")?.as_u64()?,
            segments: segments.into_iter().flatten().filter_map(number).collect(),
        })
    });
    rows.collect::<Option<Vec<_>>>().map(Rows)
}

fn partition_param(collection: &str, partition: &str) -> PartitionParam {
    PartitionParam {
        collection_name: collection.to_owned(),
        tag: partition.to_owned(),
    }
}

fn ids_param(collection: &str, partition: &str, ids: &[i64]) -> Ids {
    Ids {
        collection_name: collection.to_owned(),
        id_array: ids.to_vec(),
        partition_tag: partition.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_happens_next() {
        let check = |error_code, reason: &str, kind| {
            let status = Status {
                error_code,
                reason: reason.to_owned(),
            };
            let error = refusal(&status);
            assert_eq!(error.kind(), kind, "{error}");
        };
        let deleted = "Collection already exists and it is in delete state, please wait a second";
        check(1, deleted, Kind::Busy);
        check(1, "Milvus server is shutdown!", Kind::Busy);
        check(1, "Duplicate partition is not allowed", Kind::Refused);
        check(24, "", Kind::Full);
        check(12, "Entities IDs are auto-generated.", Kind::Refused);
        check(4, "Collection x does not exist.", Kind::Refused);
        check(11, "", Kind::Refused);
    }

    #[test]
    fn rows_are_read_partition_by_partition() {
        let rows = read_rows(
            r#"{"data_size":1,"partitions":[{"row_count":3,"segments":[{"name":"1606210000000000123","row_count":3},
                {"name":"odd"}],"tag":"_default"},{"row_count":4,"segments":null,"tag":"p/1"}],"row_count":7}"#,
        );
        let rows = rows.unwrap();
        assert_eq!((rows.of(""), rows.of("p/1"), rows.of("p2")), (3, 4, 0));
        assert_eq!((rows.outside(""), rows.outside("p/1")), (4, 3));
        assert!(rows.segments(None).eq([1_606_210_000_000_000_123]));
        assert_eq!(rows.segments(Some("p/1")).count(), 0);
        assert_eq!(read_rows("{}"), None);
    }
}
