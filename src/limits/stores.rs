//! Bounds of what is read from databases, directories of databases and buckets, and of the server's own import.

/// Bytes that are read from a Postgres server at a time: many rows, and still in the cache.
pub const POSTGRES_BUFFER_BYTES: usize = 256 << 10;

/// The longest message of a Postgres server, which is a row: its values end at 1 GiB, those of vectors far below.
pub const POSTGRES_MESSAGE_BYTES_MAX: usize = 256 << 20;

/// An answer of the catalogue: a few hundred bytes for each column.
pub const POSTGRES_ANSWER_BYTES_MAX: usize = 64 << 20;

/// Seconds until the system asks whether a silent Postgres server is there, and between three such questions.
pub const POSTGRES_KEEPALIVE_S: u64 = 30;

/// Ranges of keys for each connection to a Postgres server, so that uneven ones do not keep one alone at the end.
pub const POSTGRES_RANGES_EACH: u64 = 4;

/// A range of fewer rows is not worth a request of its own.
pub const POSTGRES_RANGE_ROWS_MIN: u64 = 4096;

/// Rows of a table that are looked at for the keys between ranges; a smaller one is looked at whole.
pub const POSTGRES_SAMPLE_ROWS: f64 = 200_000.0;

/// Keys that repeat, and are named.
pub const POSTGRES_REPEATS_SHOWN: u64 = 5;

/// Values of a pickle: those of a document are about thirty, and one takes 24 bytes.
pub const PICKLE_VALUES_MAX: usize = 64 << 20;

/// The longest pickle that is read: it is interpreted as a whole.
pub const PICKLE_BYTES_MAX: u64 = 1 << 30;

/// How deep the metadata of a document may be nested.
pub const METADATA_DEPTH_MAX: usize = 64;

/// Bytes of a document's metadata as JSON: lists that contain one list many times grow without limit.
pub const METADATA_BYTES_MAX: usize = 1 << 20;

/// The longest JSON file of a store in memory that is read: it is parsed as a whole.
pub const STORE_BYTES_MAX: u64 = 16 << 30;

/// Rows that a Milvus source is asked for at a time: servers look no further for the row at which a page ends.
pub const MILVUS_PAGE_ROWS_MAX: u64 = 16_384;

/// The same before it is known how long texts are.
pub const MILVUS_FIRST_PAGE_ROWS: u64 = 512;

/// Ranges of keys that a Milvus collection is divided into, so that several are read at a time.
pub const MILVUS_RANGES: u64 = 8;

/// Characters of a text at which a collection is divided.
pub const MILVUS_SPLIT_CHARS: usize = 64;

/// Bytes that are read from an HTTP connection at a time: fewer calls to the system and to TLS.
pub const HTTP_READ_BYTES: usize = 128 << 10;

/// The longest answer of an HTTP server that is not rows: mappings of thousands of fields have some megabytes.
pub const HTTP_SHORT_ANSWER_BYTES_MAX: usize = 16 << 20;

/// Bytes of a value of a SQLite file: rows of Milvus Lite are no longer than a request to it, 64 MiB, and a little
/// more.
pub const SQLITE_VALUE_BYTES_MAX: i32 = 80 << 20;

/// The description of a batch in an Arrow stream: some hundred bytes for each column.
pub const ARROW_MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// A schema or a manifest of Milvus Lite: a hundred bytes for each field or file.
pub const LITE_JSON_BYTES_MAX: u64 = 64 << 20;

/// Rows of a table of Milvus Lite that a shard has at least: what is shorter is read by one thread.
pub const LITE_SHARD_ROWS: u64 = 4096;

/// Bytes of rows of Milvus Lite that are taken from a table at once.
pub const LITE_BLOCK_BYTES: usize = 1 << 20;

/// Requests that find out where the ids of a Qdrant collection lie: each takes a millisecond of the server's time.
pub const QDRANT_PROBES: usize = 256;

/// Ranges of ids that a Qdrant collection is divided into, so that several are read at a time.
pub const QDRANT_RANGES: usize = 8;

/// Points that are asked for at once where the job does not say: how long an answer may be decides before.
pub const QDRANT_PAGE_POINTS: u64 = 4096;

/// Points of a first page, before it is known how long their payloads are.
pub const QDRANT_FIRST_PAGE_POINTS: u64 = 128;

/// How deep maps and lists of a payload may lie in one another: what reads the JSON that is made of them stops at 128.
pub const QDRANT_PAYLOAD_DEPTH_MAX: usize = 100;

/// Rows that a Chroma server is asked for at a time: it binds a variable for each, and has no more than 32,766.
pub const CHROMA_PAGE_ROWS_MAX: u64 = 32_000;

/// The same where the job does not say: it makes a page as a whole before it sends it (measured: 2,500 rows at a time
/// are as fast as more).
pub const CHROMA_PAGE_ROWS: u64 = 2500;

/// The same before it is known how long rows are.
pub const CHROMA_FIRST_PAGE_ROWS: u64 = 128;

/// Ranges that a collection of Chroma is divided into, so that several are read at a time.
pub const CHROMA_RANGES: u64 = 8;

/// A range of fewer rows is not worth a request of its own.
pub const CHROMA_RANGE_ROWS_MIN: u64 = 4096;

/// Rows whose ids tell a place between two rows, though all rows before it are deleted but one of these.
pub const CHROMA_PLACE_IDS: u64 = 8;

/// Ids that are looked through at a time for a place that deletions have moved.
pub const CHROMA_LOOK_BACK_ROWS: u64 = 8192;

/// Collections that a Chroma server is asked for at a time.
pub const CHROMA_COLLECTIONS: usize = 500;

/// Seconds a page may take: a server loads the whole index of a collection before it answers for the first time.
pub const CHROMA_DEADLINE_S: u64 = 300;

/// The pickle of a Chroma index: some forty bytes for each row, twice.
pub const CHROMA_LABELS_BYTES_MAX: u64 = 4 << 30;

/// How often a request that Pinecone puts off is sent again before all that was read with it is: some six seconds.
pub const PINECONE_ASKED_AGAIN: usize = 6;

/// Ids that Pinecone lists at a time, at most.
pub const PINECONE_PAGE_ROWS: u64 = 100;

/// Pages that are fetched from Pinecone at a time where the job does not say: it answers a hundred requests a second.
pub const PINECONE_CONNECTIONS: usize = 4;

/// Bytes of ids in the address of a request: servers on the way take eight kilobytes in all.
pub const PINECONE_QUERY_BYTES: usize = 6 << 10;

/// Milliseconds after which rows that were listed and not found are asked for again: the service takes a moment until
/// what was written is everywhere.
pub const PINECONE_LOOKS_AGAIN_MS: [u64; 2] = [200, 1000];

/// Namespaces whose first rows are looked at for what rows have.
pub const PINECONE_NAMESPACES_SAMPLED: usize = 16;

/// How deep values of a document may lie in one another: Elasticsearch takes 20 levels of objects unless told
/// otherwise, and what reads the JSON that is made of them stops at 127.
pub const DOCUMENT_DEPTH_MAX: usize = 120;

/// Keys of documents that a profile tells apart: more are no columns of a collection.
pub const PROFILE_KEYS_MAX: usize = 200;

/// Documents that are looked at for a profile.
pub const PROFILE_DOCUMENTS: usize = 1000;

/// Documents that Elasticsearch and OpenSearch are asked for at a time: `index.max_result_window`, unless told
/// otherwise.
pub const SEARCH_PAGE_ROWS_MAX: u64 = 10_000;

/// The same before it is known how long documents are.
pub const SEARCH_FIRST_PAGE_ROWS: u64 = 256;

/// Bytes of an answer that pages are made for: both sides hold one as a whole.
pub const SEARCH_ANSWER_BYTES: usize = 16 << 20;

/// Numbers of writes that are looked through at a time: where few of them are left, a wide window costs as little as a
/// narrow one.
pub const SEARCH_WINDOW_MAX: i64 = 1 << 40;

/// Seconds a search may take, and an answer may stand still.
pub const SEARCH_DEADLINE_S: u64 = 120;

/// The JSON at the head of a binlog: its length, its version, a word or two.
pub const BINLOG_EXTRAS_BYTES_MAX: u64 = 64 << 10;

/// Levels of pages in a bbolt file: with a hundred keys a page, three hold a million.
pub const BBOLT_DEPTH_MAX: u32 = 32;

/// Keys of Milvus in etcd: some thirty for each segment.
pub const ETCD_KEYS_MAX: usize = 64 << 20;

/// Up to this etcd's file is read into memory, so that a running server does not change it while it is looked at.
pub const ETCD_HELD_BYTES_MAX: u64 = 64 << 20;

/// How often etcd's file is read again if it was written to meanwhile.
pub const ETCD_TRIES: u32 = 5;

/// Bytes of etcd's file: its recommended quota ends at 8 GiB.
pub const ETCD_FILE_BYTES_MAX: u64 = 64 << 30;

/// Bytes of metadata that are asked of a running etcd, and held.
pub const ETCD_ASKED_BYTES_MAX: u64 = 1 << 30;

/// Keys of a page that is asked of a running etcd: an answer is a message of some megabytes.
pub const ETCD_PAGE_KEYS: i64 = 500;

/// Bytes of deleted keys that are held for a segment, and for all deletions of a partition that lie in segments of
/// their own: some two million keys that are numbers.
pub const DELETIONS_BYTES_MAX: u64 = 64 << 20;

/// Shares that deleted keys are read in where they are more: each reads all logs of deletions and all keys once more.
pub const DELETION_SHARES_MAX: u64 = 256;

/// Rows of a segment whose live ones are counted together: a shard begins with such a block.
pub const LIVE_BLOCK_ROWS: u64 = 64 << 10;

/// The metadata of milvus-backup: some kilobytes for each segment.
pub const BACKUP_META_BYTES_MAX: u64 = 1 << 30;

/// Bytes of rows of a file that a server imports, where the job does not say: a job costs a server seconds whatever its
/// size.
pub const BULK_FILE_BYTES: u64 = 1 << 30;

/// The largest such file: Milvus takes 16 GiB, with all that is not rows counted.
pub const BULK_FILE_BYTES_MAX: u64 = 15 << 30;

/// Rows of such a file.
pub const BULK_ROWS_MAX: u64 = 1 << 28;

/// Files that a server has at a time, where the job does not say: one that it imports, one that waits.
pub const BULK_JOBS: u64 = 2;

/// How often a batch's file is given to the server when its jobs fail.
pub const BULK_ATTEMPTS: usize = 3;

/// Bytes of rows of a row group of such a file: readers hold one at a time.
pub const BULK_GROUP_BYTES: u64 = 32 << 20;

/// Bytes that are written to such a file at a time.
pub const BULK_WRITE_BYTES: usize = 1 << 20;

/// The longest answer about import jobs: a server remembers a thousand, each of a line in a list, and a job has a
/// thousand files at most.
#[cfg(feature = "network")]
pub const IMPORT_ANSWER_BYTES_MAX: usize = 4 << 20;

/// How long after a file was offered a server surely remembers its job: Milvus 2.4 and later forget them after three
/// hours, and 2.3 after a day, both by default.
pub const BULK_REMEMBERED_S: (u64, u64) = (20 * 3600, 2 * 3600);

/// Bytes that are asked for at a time of a file that is on no disk, so that the way there and back hardly counts.
pub const REMOTE_BLOCK_BYTES: u64 = 2 << 20;

/// Such blocks that a reader of several columns holds.
pub const REMOTE_HELD: usize = 16;

/// Such blocks that a reader holds which goes forward.
pub const REMOTE_HELD_FORWARD: usize = 2;

/// Readers at a time where files are on no disk: each waits for its answers.
pub const REMOTE_READS_AT_ONCE: usize = 4;

/// Bytes of a part of an upload; S3 wants 5 MiB at least.
pub const STORE_PART_BYTES: u64 = 16 << 20;

/// Parts of an upload that S3 takes.
pub const STORE_PARTS_MAX: u64 = 10_000;

/// Parts of an upload that are on their way at a time, each held in memory.
pub const STORE_PARTS_AT_ONCE: usize = 4;

/// Times that a request to a bucket is sent again, and seconds until it is given up: a caller's patience begins then.
pub const STORE_RETRIES: usize = 6;

/// See [`STORE_RETRIES`].
pub const STORE_RETRY_S: u64 = 60;

/// Seconds of silence after which an answer of a bucket is given up.
pub const STORE_SILENCE_S: u64 = 60;

/// Names that are listed below one prefix of a bucket, and objects that are known so that opening them asks nobody.
pub const STORE_KNOWN_MAX: usize = 1_000_000;

/// Characters of what a library says of a failure.
pub const STORE_WORDS_MAX: usize = 300;
