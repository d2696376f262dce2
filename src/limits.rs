//! Every bound in the program, named, with its reason. Constants only.

mod stores;

pub use stores::*;

/// Default size of a batch's vectors and ids: the measured throughput levels off at 1 to 4 MiB.
pub const BATCH_BYTES_DEFAULT: u64 = 4 << 20;

/// The largest batch a job may ask for. Milvus 2.x refuses messages above 67,108,864 bytes; ids, names and framing need
/// far less than the 4 MiB left here.
pub const BATCH_BYTES_MAX: u64 = 60 << 20;

/// The smallest batch a job may ask for: below it, one request per few rows would be ruinous.
pub const BATCH_BYTES_MIN: u64 = 4 << 10;

/// No batch has more rows than this, however short they are: row counts travel as u32, and the answer of a
/// Milvus server carries up to 16 bytes for each row.
pub const BATCH_ROWS_MAX: u64 = 1 << 20;

/// Ranges of a mapping shorter than this are copied into a buffer: a body frame for each costs more than the copy
/// (measured: one frame a row costs 6 times as much as gathering).
pub const GATHER_BELOW_BYTES: usize = 64 << 10;

/// The most dimensions a vector may have: the limit of Faiss's own reader.
pub const DIMENSIONS_MAX: u64 = 1 << 20;

/// The most dimensions Milvus accepts, 1.x and 2.x.
pub const MILVUS_DIMENSIONS_MAX: u32 = 32_768;

/// Bytes of a file that are checksummed at a time if a footer has its CRC-32.
pub const SUMMED_AT_ONCE: u64 = 4 << 20;

/// Bytes of a list of ids in text that are read at a time.
pub const ID_LINES_AT_ONCE: u64 = 1 << 20;

/// The longest line of such a list: an id has up to 20 characters, and may have spaces around it.
pub const ID_LINE_BYTES_MAX: usize = 256;

/// How deep Faiss indexes may be nested; real files stay below 6.
pub const NESTING_MAX: u32 = 32;

/// Shards of a target whose source has no natural boundaries: more than any pool has threads, few enough that a window
/// record for each costs nothing.
pub const SHARDS_PER_TARGET: u64 = 64;

/// Batches of a shard that one synced window record covers.
pub const WINDOW_BATCHES: u32 = 64;

/// How many omitted rows, colliding ids and similar findings are listed; all are counted.
pub const LISTED_MAX: usize = 1000;

/// Memory for sorting ids when looking for repeats; the rest goes to a temporary file.
pub const ID_SORT_BYTES: usize = 32 << 20;

/// Bytes at the start of a source's file, where headers are, whose digest distinguishes files of the same length and
/// time.
pub const HEAD_BYTES: u64 = 64 << 10;

/// Files up to this size are digested completely to identify them: a tenth of a second from a disk.
pub const CONTENT_WHOLE_BYTES: u64 = 32 << 20;

/// Blocks of a longer file that are digested, and how long each is: 8 MiB in all.
pub const CONTENT_BLOCKS: u64 = 128;

/// Bytes of such a block.
pub const CONTENT_BLOCK_BYTES: u64 = 64 << 10;

/// Entries of a directory that a job may name as a whole.
pub const FILES_MAX: usize = 1 << 20;

/// Files of a target that a plan lists with their rows and first ids, in addition to the last one.
pub const FILES_LISTED: usize = 10;

/// The header of a NumPy array: those of plain numbers have some 120 bytes.
pub const NPY_HEADER_BYTES_MAX: u64 = 64 << 10;

/// Entries of a zip archive: NumPy writes one for each array.
pub const ZIP_ENTRIES_MAX: u64 = 64 << 10;

/// Bytes of a compressed member of an archive that are decompressed at a time.
pub const INFLATE_STEP_BYTES: u64 = 256 << 10;

/// The largest job file: a job is written by a person.
pub const JOB_BYTES_MAX: u64 = 4 << 20;

/// Files of one source whose mistakes are listed at a time: more would add nothing.
pub const MISTAKES_OF_FILES_MAX: usize = 20;

/// How long to wait for a job file that is a pipe.
pub const JOB_PIPE_WAIT_SECONDS: u64 = 10;

/// Ids that `inspect` scans for their range: 64 MiB of them, well under a second.
pub const IDS_SCANNED_MAX: u64 = 8 << 20;

/// Pairs of a Faiss table of duplicates that are held at a time, with the positions of their rows: about 64 MiB a
/// shard. All ids of the index are read once for each batch of pairs.
pub const DUPLICATES_AT_ONCE: u64 = 1 << 20;

/// Default bytes of an uncompressed chunk of an HDF5 file: HDF5's readers cache chunks of up to 1 MiB by default.
pub const HDF5_CHUNK_BYTES: u64 = 1 << 20;

/// Default bytes of a compressed chunk before compression: small enough that a batch has several for threads to share.
pub const HDF5_PACKED_CHUNK_BYTES: u64 = 512 << 10;

/// Uncompressed HDF5 files have no more chunks than this unless the job says so: larger files have larger chunks.
pub const HDF5_CHUNKS_TYPICAL: u64 = 32_768;

/// Entries that one node of an HDF5 chunk index can have: one node, written first, keeps chunks in one piece.
pub const HDF5_CHUNKS_MAX: u64 = 65_534;

/// Chunks of HDF5 files have 32-bit lengths.
pub const HDF5_CHUNK_BYTES_MAX: u64 = u32::MAX as u64;

/// A chunk that is compressed is held in memory whole.
pub const HDF5_PACKED_CHUNK_BYTES_MAX: u64 = 64 << 20;

/// Compressed chunks that wait for earlier ones before delivery threads are slowed down.
pub const HDF5_EARLY_BYTES: u64 = 32 << 20;

/// The longest answer of a server that is read: an insert's answer carries up to 16 bytes for each of its rows,
/// and pages of a query are requested well below this. Its decoded messages are held along with it.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Seconds within which an insert must be answered after the last piece of its body was sent: a busy server takes a
/// few.
pub const INSERT_DEADLINE_S: u64 = 120;

/// Seconds after which any other call without an answer counts as lost.
pub const CONTROL_DEADLINE_S: u64 = 60;

/// The same for calls in which a server may do all the work before it answers: Milvus Lite flushes, indexes and
/// loads that way; drops of large collections wait for other parts of a server.
pub const SLOW_DEADLINE_S: u64 = 600;

/// Seconds to connect in: TCP's own patience is minutes.
pub const CONNECT_DEADLINE_S: u64 = 10;

/// Seconds between pings on a connection with calls in flight, so that a dead peer is noticed. Milvus Lite closes the
/// connection at the third ping without data in between, which comes later than `INSERT_DEADLINE_S`.
pub const PING_EVERY_S: u64 = 60;

/// Seconds in which a ping must be answered: on a slow line it waits behind everything that the connection was given
/// before, which passes within the time for an insert.
pub const PING_ANSWER_S: u64 = INSERT_DEADLINE_S;

/// Rows in a request to the C++ engine of Milvus Lite, whose insert time grows with their square (measured:
/// 2,000 rows 0.18 s, 10,000 rows 4.7 s).
pub const LITE_CPP_ROWS_MAX: u64 = 1000;

/// Bytes of rows that are digested at a step and copied while they are in the cache: half of a small L1 + L2.
pub const CHECK_STEP_BYTES: usize = 32 << 10;

/// Default connections to a server: on two cores, more than two do not help (measured), and four keep a Milvus server
/// more than busy.
pub const CONNECTIONS_DEFAULT: usize = 2;

/// Requests in flight on each connection to begin with: with one, a connection idles between an answer and the next
/// request (measured: 1.1 against 1.7 GB/s into a server that discards rows).
pub const IN_FLIGHT_FIRST: usize = 2;

/// Requests in flight on each connection at most, if their number is found by trial: each holds a batch in memory.
pub const IN_FLIGHT_MAX: usize = 3;

/// Seconds after which a call to Milvus 1.x without an answer counts as lost: inserts wait there behind flushes,
/// in one queue.
pub const V1_DEADLINE_S: u64 = 900;

/// Seconds allowed for building an index of Milvus 1.x: the call returns when all is built.
pub const V1_INDEX_DEADLINE_S: u64 = 7 * 24 * 3600;

/// Seconds between pings to Milvus 1.x: its server closes connections that ping more often than every 300 s.
pub const V1_PING_EVERY_S: u64 = 330;

/// The largest batch for Milvus 1.x: with up to 18 bytes of framing and id a row, a request of any dimension stays
/// below 64 MiB (its own limit is 256 MiB of vectors; its log's buffers are as small as half of that).
pub const V1_BATCH_BYTES_MAX: u64 = 56 << 20;

/// Text of an HDF5 attribute that is read: a tag of Milvus has 255 bytes at most.
pub const HDF5_TEXT_BYTES_MAX: usize = 4096;

/// Bytes of an HDF5 attribute that are read: those of h5py have 64 KiB at most.
pub const HDF5_ATTRIBUTE_BYTES_MAX: u64 = 1 << 20;

/// Seconds of silence after which a process that inspects HDF5 files counts as stuck in a loop: opening a file takes
/// milliseconds.
pub const HDF5_LOOK_S: u64 = 60;

/// Memory of a process that inspects HDF5 files: rows of chunks (256 MiB), the library's own, ids to be sorted.
pub const HDF5_LOOK_BYTES: u64 = 4 << 30;

/// A description of an HDF5 file, as it passes between processes: 1000 datasets with names of any length.
pub const HDF5_DESCRIPTION_BYTES_MAX: u64 = 256 << 20;

/// Datasets that are rows of a group: their names are held, some 60 bytes each.
pub const HDF5_ITEMS_MAX: usize = 1 << 22;

/// Rows with values of variable length that are read from an HDF5 file at once: the library allocates memory for each.
pub const HDF5_VARIABLE_ROWS: u64 = 4096;

/// Bytes of the rows that one row of HDF5's chunks covers, held while they are unpacked; tall and
/// narrow chunks (of one column each, for example) would need the whole dataset at once.
pub const HDF5_BAND_BYTES_MAX: u64 = 256 << 20;

/// Bytes that one byte of a compressed chunk can become: deflate's limit is 1032, LZF's 88.
pub const HDF5_UNPACKED_MAX: u64 = 1032;

/// Bytes of rows gathered at once from chunks that each hold some of their columns, if nothing has to be decompressed.
pub const HDF5_GATHER_BYTES: u64 = 4 << 20;

/// Bytes of rows that are requested at a time for comparison: servers answer with no more than 64 to 100 MB.
pub const LOOK_UP_BYTES: u64 = 8 << 20;

/// Rows that are requested at a time for comparison: a request lists their keys, up to 20 characters each, and
/// the server parses them (measured: 8,000 keys of 128 floats 0.4 s, 16,000 twice that).
pub const LOOK_UP_ROWS_MAX: u64 = 8192;

/// Keys of a job that are looked up, before the first row is sent, in a target that already has rows: one query, which
/// takes most of a second if rows are dense. Each shard contributes at most two more.
pub const KEYS_LOOKED_UP: u64 = 256;

/// Destinations that are remembered for one checkpoint; beyond that, the oldest are forgotten.
pub const DELIVERY_PLACES_MAX: usize = 20_000;

/// Bytes of a record of deliveries that are read: a record of that many places is far shorter.
pub const DELIVERY_BYTES_MAX: u64 = 64 << 20;

/// Rows of a target that are compared in a sample: this finds damage to one row in a thousand with 99.99 % probability,
/// and to one in ten thousand with 63 %.
pub const SAMPLE_ROWS: u64 = 10_000;

/// Sampled rows that are compared at a time; they are copied, so that their batches can be freed.
pub const SAMPLED_AT_ONCE: usize = 1024;

/// Repeating ids of a target that are remembered when rows are compared: about 64 MiB.
pub const REPEATED_IDS_MAX: usize = 1 << 20;

/// Repeating ids whose copies are counted together: too many of one and too few of another in the same count would
/// cancel out.
pub const COPIES_AT_ONCE: usize = 16;

/// Characters of one sentence that are shown: a name or a server's answer can have any length.
pub const SHOWN_CHARS_MAX: usize = 1500;

/// Messages that wait for a blocked standard error before the threads that add more wait, too.
pub const SCREEN_LINES_MAX: usize = 1000;

/// Mistakes of one job that are shown; all are counted.
pub const MISTAKES_SHOWN_MAX: usize = 100;

/// Seconds for which a proxy may hold back a request whose connection it broke, and still deliver it: for this long
/// after the last batch was found in doubt, duplicates are looked for.
pub const LATE_S: u64 = 15;

/// How often batches that were sent more than once are checked again, if some of them are in doubt again.
pub const LOOKS_AFTER: u32 = 3;

/// Points of a run's progress that are kept: more than a page can draw, and a few kilobytes.
pub const COURSE_POINTS_MAX: usize = 400;

/// Distinct reasons for postponing requests.
pub const COURSE_REASONS_MAX: usize = 20;

/// Rows in a list of the report's page.
pub const PAGE_ROWS_MAX: usize = 200;

/// Earlier reports that a report keeps.
pub const REPORTS_KEPT: usize = 100;

/// The longest report that is read to be kept in the next one.
pub const REPORT_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a request's body that a connection takes at a time. Each piece shows that the line moves, and restarts the
/// time within which an answer must arrive: so a piece has to pass a slow line well within that time.
pub const PIECE_BYTES: usize = 256 << 10;

/// Targets that are prepared before the log records it: after a crash in between, as many have to be checked again.
pub const PREPARED_AT_ONCE: usize = 64;

/// Targets that a server is asked about, or that are prepared, concurrently: it creates partitions one after the other,
/// but answers in between.
pub const TARGETS_SIDE_BY_SIDE: usize = 4;

/// How deep lists and maps of a job may be nested: no meaningful job comes close.
pub const JOB_DEPTH_MAX: usize = 64;

/// Bytes of a job after its aliases have been expanded.
pub const JOB_UNFOLDED_BYTES_MAX: usize = 64 << 20;

/// Seconds within which a server must have sent something after a connection was made: running servers do so within
/// milliseconds; one that stays silent for longer is examined more closely.
pub const HELLO_S: u64 = 5;

/// Seconds to examine a silent server, twice at most.
pub const PROBE_S: u64 = 2;

/// Fields of a Milvus collection, the primary key among them (`proxy.maxFieldNum`).
pub const MILVUS_FIELDS_MAX: usize = 64;

/// Bytes of a text in Milvus.
pub const MILVUS_TEXT_BYTES_MAX: usize = 65_535;

/// Values of an array in Milvus.
pub const MILVUS_ARRAY_MAX: usize = 4096;

/// Bytes of a JSON value in Milvus, and of a row's part of the dynamic field (`common.JSONMaxLength`).
pub const MILVUS_JSON_BYTES_MAX: usize = 65_536;

/// Bytes of text keys that are looked up in one query.
pub const LOOK_UP_KEY_BYTES: usize = 256 << 10;

/// The footer of a Parquet file: it describes each column of each row group in a few hundred bytes.
pub const PARQUET_FOOTER_BYTES_MAX: u64 = 64 << 20;

/// The header of a page of a Parquet file: its statistics may hold values of any length.
pub const PARQUET_HEADER_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a page, decompressed: usual ones have 1 MiB; some writers put a row group's whole column into one page.
pub const PARQUET_PAGE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of vectors in a page that is written: as large as those of usual writers.
pub const PARQUET_PAGE_BYTES: usize = 1 << 20;

/// Values of a page, including nulls: a few bytes can claim any number of these.
pub const PARQUET_PAGE_VALUES_MAX: u32 = 64 << 20;

/// Rows of a Parquet file: its footer counts them, and they need not take any space.
pub const PARQUET_ROWS_MAX: u64 = 1 << 40;

/// Bytes of rows that are read from a Parquet file at once.
pub const PARQUET_BLOCK_BYTES: u64 = 1 << 20;

/// The least bytes of vectors for a page to be passed on as it is; smaller ones are joined.
pub const PARQUET_PAGE_ALONE_BYTES: usize = 64 << 10;

/// Rows that are read at once, however short they are.
pub const PARQUET_BLOCK_ROWS_MAX: u64 = 4096;

/// The same, if a text may share most of its bytes with the previous one.
pub const PARQUET_BLOCK_ROWS_DELTA: u64 = 64;

/// Rows that are inspected to tell vectors from lists of any length.
pub const PARQUET_SAMPLE_ROWS: usize = 256;

/// The manifest of a directory of Parquet files: a hundred bytes for each file.
pub const PARQUET_MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Row groups that wait for earlier ones before delivery threads are slowed down.
pub const PARQUET_EARLY_BYTES: u64 = 32 << 20;

/// Shares of a job, each carried by a separate program: far more than a destination can serve well.
pub const SHARES_MAX: u32 = 10_000;
