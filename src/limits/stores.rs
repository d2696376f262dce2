//! Bounds of what is read from databases, database directories and buckets, and of the server's own import.

/// Bytes that are read from a Postgres server at a time: many rows, and still in the cache.
pub const POSTGRES_BUFFER_BYTES: usize = 256 << 10;

/// The longest message of a Postgres server, which is a row: its values end at 1 GiB, those of vectors far below.
pub const POSTGRES_MESSAGE_BYTES_MAX: usize = 256 << 20;

/// An answer of the catalogue: a few hundred bytes for each column.
pub const POSTGRES_ANSWER_BYTES_MAX: usize = 64 << 20;

/// Seconds of silence after which the system probes a Postgres server, and between the three probes.
pub const POSTGRES_KEEPALIVE_S: u64 = 30;

/// Ranges of keys for each connection to a Postgres server, so that uneven ranges do not leave one connection working
/// alone at the end.
pub const POSTGRES_RANGES_EACH: u64 = 4;

/// A range of fewer rows is not worth a request of its own.
pub const POSTGRES_RANGE_ROWS_MIN: u64 = 4096;

/// Rows of a table that are sampled for the keys between ranges; a smaller table is read whole. Whole blocks are sampled:
/// with 10 rows to a block, the sizes of 16 ranges have a standard deviation of 9 %.
pub const POSTGRES_SAMPLE_ROWS: f64 = 20_000.0;

/// Repeated keys that an error names.
pub const POSTGRES_REPEATS_SHOWN: u64 = 5;

/// Values of a pickle: a document has about thirty, and one takes 24 bytes.
pub const PICKLE_VALUES_MAX: usize = 64 << 20;

/// The longest pickle that is read: it is interpreted as a whole.
pub const PICKLE_BYTES_MAX: u64 = 1 << 30;

/// How deep the metadata of a document may be nested.
pub const METADATA_DEPTH_MAX: usize = 64;

/// Bytes of a document's metadata as JSON: lists that contain one list many times grow without limit.
pub const METADATA_BYTES_MAX: usize = 1 << 20;

/// The longest JSON file of an in-memory store that is read: it is parsed as a whole.
pub const STORE_BYTES_MAX: u64 = 16 << 30;

/// Rows that a Milvus source requests at a time: servers search no further for the row that ends a page.
pub const MILVUS_PAGE_ROWS_MAX: u64 = 16_384;

/// The same before the length of texts is known.
pub const MILVUS_FIRST_PAGE_ROWS: u64 = 512;

/// Ranges of keys that a Milvus collection is divided into, so that several are read concurrently.
pub const MILVUS_RANGES: u64 = 8;

/// Characters of a text at which a collection is divided.
pub const MILVUS_SPLIT_CHARS: usize = 64;

/// Bytes that are read from an HTTP connection at a time: fewer calls to the system and to TLS.
pub const HTTP_READ_BYTES: usize = 128 << 10;

/// The longest answer of an HTTP server except rows: mappings of thousands of fields take some megabytes.
pub const HTTP_SHORT_ANSWER_BYTES_MAX: usize = 16 << 20;

/// Bytes of a value in a SQLite file: rows of Milvus Lite are no longer than a request to it, 64 MiB, and a little
/// more.
pub const SQLITE_VALUE_BYTES_MAX: i32 = 80 << 20;

/// The description of a batch in an Arrow stream: a few hundred bytes for each column.
pub const ARROW_MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// A schema or a manifest of Milvus Lite: a hundred bytes for each field or file.
pub const LITE_JSON_BYTES_MAX: u64 = 64 << 20;

/// The fewest rows of a Milvus Lite table in a shard: a shorter table is read by one thread.
pub const LITE_SHARD_ROWS: u64 = 4096;

/// Bytes of rows of Milvus Lite that are read from a table at once.
pub const LITE_BLOCK_BYTES: usize = 1 << 20;

/// Requests to find out how the ids of a Qdrant collection are distributed: each takes a millisecond of the server's
/// time.
pub const QDRANT_PROBES: usize = 256;

/// Ranges of ids that a Qdrant collection is divided into, so that several are read concurrently.
pub const QDRANT_RANGES: usize = 8;

/// Points that are requested at once if the job does not say: the limit on an answer's length usually applies first.
pub const QDRANT_PAGE_POINTS: u64 = 4096;

/// Points of a first page, before the size of their payloads is known.
pub const QDRANT_FIRST_PAGE_POINTS: u64 = 128;

/// How deep maps and lists of a payload may be nested: parsers of the resulting JSON stop at 128.
pub const QDRANT_PAYLOAD_DEPTH_MAX: usize = 100;

/// Rows that are requested from a Chroma server at a time: it binds a variable for each, and has no more than 32,766.
pub const CHROMA_PAGE_ROWS_MAX: u64 = 32_000;

/// The same if the job does not say: the server builds a whole page before sending it (measured: 2,500 rows at a time
/// are as fast as more).
pub const CHROMA_PAGE_ROWS: u64 = 2500;

/// The same before the size of rows is known.
pub const CHROMA_FIRST_PAGE_ROWS: u64 = 128;

/// Ranges that a Chroma collection is divided into, so that several are read concurrently.
pub const CHROMA_RANGES: u64 = 8;

/// A range of fewer rows is not worth a request of its own.
pub const CHROMA_RANGE_ROWS_MIN: u64 = 4096;

/// Rows whose ids mark a position between two rows: it is still found if all rows before it but one of these are
/// deleted.
pub const CHROMA_PLACE_IDS: u64 = 8;

/// Ids that are searched at a time for a position that deletions have shifted.
pub const CHROMA_LOOK_BACK_ROWS: u64 = 8192;

/// Collections that are requested from a Chroma server at a time.
pub const CHROMA_COLLECTIONS: usize = 500;

/// Seconds a page may take: before its first answer, a server loads the whole index of a collection.
pub const CHROMA_DEADLINE_S: u64 = 300;

/// The pickle of a Chroma index: some forty bytes for each row, twice.
pub const CHROMA_LABELS_BYTES_MAX: u64 = 4 << 30;

/// How often a request that Pinecone postpones is repeated before everything read together with it is repeated: about
/// six seconds.
pub const PINECONE_ASKED_AGAIN: usize = 6;

/// Ids that Pinecone lists at a time, at most.
pub const PINECONE_PAGE_ROWS: u64 = 100;

/// Pages that are fetched from Pinecone concurrently if the job does not say: it answers a hundred requests a second.
pub const PINECONE_CONNECTIONS: usize = 4;

/// Bytes of ids in the address of a request: proxies accept eight kilobytes in all.
pub const PINECONE_QUERY_BYTES: usize = 6 << 10;

/// Milliseconds after which rows that were listed but not found are requested again: the service takes a moment to make
/// a write visible everywhere.
pub const PINECONE_LOOKS_AGAIN_MS: [u64; 2] = [200, 1000];

/// Namespaces whose first rows are sampled to find out what rows contain.
pub const PINECONE_NAMESPACES_SAMPLED: usize = 16;

/// How deep values of a document may be nested: Elasticsearch accepts 20 levels of objects unless configured otherwise,
/// and parsers of the resulting JSON stop at 127.
pub const DOCUMENT_DEPTH_MAX: usize = 120;

/// Keys of documents that a profile distinguishes: more than that cannot be columns of a collection.
pub const PROFILE_KEYS_MAX: usize = 200;

/// Documents that are sampled for a profile.
pub const PROFILE_DOCUMENTS: usize = 1000;

/// Documents that are requested from Elasticsearch and OpenSearch at a time: `index.max_result_window`, unless
/// configured otherwise.
pub const SEARCH_PAGE_ROWS_MAX: u64 = 10_000;

/// The same before the size of documents is known.
pub const SEARCH_FIRST_PAGE_ROWS: u64 = 256;

/// Target size of an answer in bytes, used to size pages: both sides hold one as a whole.
pub const SEARCH_ANSWER_BYTES: usize = 16 << 20;

/// Sequence numbers that are searched at a time: if few of them are left, a wide window costs as little as a narrow
/// one.
pub const SEARCH_WINDOW_MAX: i64 = 1 << 40;

/// Seconds a search may take, and an answer may stall.
pub const SEARCH_DEADLINE_S: u64 = 120;

/// The JSON at the head of a binlog: its length, its version, and little else.
pub const BINLOG_EXTRAS_BYTES_MAX: u64 = 64 << 10;

/// Levels of pages in a bbolt file: with a hundred keys a page, three hold a million.
pub const BBOLT_DEPTH_MAX: u32 = 32;

/// Keys of Milvus in etcd: some thirty for each segment.
pub const ETCD_KEYS_MAX: usize = 64 << 20;

/// An etcd file up to this size is read into memory, so that a running server does not change it while it is inspected.
pub const ETCD_HELD_BYTES_MAX: u64 = 64 << 20;

/// How often etcd's file is read again if it was written to in the meantime.
pub const ETCD_TRIES: u32 = 5;

/// Bytes of etcd's file: its recommended quota ends at 8 GiB.
pub const ETCD_FILE_BYTES_MAX: u64 = 64 << 30;

/// Bytes of metadata that are requested from a running etcd, and held.
pub const ETCD_ASKED_BYTES_MAX: u64 = 1 << 30;

/// Keys in a page that is requested from a running etcd: an answer is a message of a few megabytes.
pub const ETCD_PAGE_KEYS: i64 = 500;

/// Bytes of deleted keys that are held for a segment, and for all deletions of a partition that are in segments of
/// their own: some two million numeric keys.
pub const DELETIONS_BYTES_MAX: u64 = 64 << 20;

/// Passes over deleted keys if there are more: each pass reads all logs of deletions and all keys again.
pub const DELETION_SHARES_MAX: u64 = 256;

/// Rows of a segment whose live rows are counted together: a shard begins with such a block.
pub const LIVE_BLOCK_ROWS: u64 = 64 << 10;

/// The metadata of milvus-backup: some kilobytes for each segment.
pub const BACKUP_META_BYTES_MAX: u64 = 1 << 30;

/// Bytes of rows in a file for the server's import, if the job does not say: an import job costs a server seconds
/// whatever its size.
pub const BULK_FILE_BYTES: u64 = 1 << 30;

/// The largest such file: Milvus accepts 16 GiB, including everything that is not rows.
pub const BULK_FILE_BYTES_MAX: u64 = 15 << 30;

/// Rows of such a file.
pub const BULK_ROWS_MAX: u64 = 1 << 28;

/// Files that a server has at a time, if the job does not say: one being imported, one waiting.
pub const BULK_JOBS: u64 = 2;

/// How often a batch's file is submitted to the server if its jobs fail.
pub const BULK_ATTEMPTS: usize = 3;

/// Bytes of rows of a row group of such a file: readers hold one at a time.
pub const BULK_GROUP_BYTES: u64 = 32 << 20;

/// Bytes that are written to such a file at a time.
pub const BULK_WRITE_BYTES: usize = 1 << 20;

/// The longest answer about import jobs: a server remembers a thousand, each a line in a list, and a job has a thousand
/// files at most.
#[cfg(feature = "network")]
pub const IMPORT_ANSWER_BYTES_MAX: usize = 4 << 20;

/// How long after a file was submitted a server certainly remembers its job: Milvus 2.4 and later forget jobs after
/// three hours, and 2.3 after a day, both by default.
pub const BULK_REMEMBERED_S: (u64, u64) = (20 * 3600, 2 * 3600);

/// Bytes that are requested at a time from a remote file, so that the round trip hardly matters.
pub const REMOTE_BLOCK_BYTES: u64 = 2 << 20;

/// Such blocks held by a reader of several columns.
pub const REMOTE_HELD: usize = 16;

/// Such blocks held by a reader that only moves forwards.
pub const REMOTE_HELD_FORWARD: usize = 2;

/// Concurrent readers of remote files: each waits for its answers.
pub const REMOTE_READS_AT_ONCE: usize = 4;

/// Bytes of a part of an upload; S3 requires at least 5 MiB.
pub const STORE_PART_BYTES: u64 = 16 << 20;

/// Parts of an upload that S3 accepts.
pub const STORE_PARTS_MAX: u64 = 10_000;

/// Parts of an upload in flight, each held in memory.
pub const STORE_PARTS_AT_ONCE: usize = 4;

/// How often a request to a bucket is repeated, and the seconds until it is given up: the caller's patience begins
/// then.
pub const STORE_RETRIES: usize = 6;

/// See [`STORE_RETRIES`].
pub const STORE_RETRY_S: u64 = 60;

/// Seconds of silence after which an answer from a bucket is given up.
pub const STORE_SILENCE_S: u64 = 60;

/// Names that are listed below one prefix of a bucket, and objects that are remembered so that opening them needs no
/// request.
pub const STORE_KNOWN_MAX: usize = 1_000_000;

/// Characters of a library's error message.
pub const STORE_WORDS_MAX: usize = 300;
