//! Small inputs of each kind, made anew for each check.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use milvusdm::milvus::proto;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::conformance::unpacked::unpack;

/// An input that was made.
pub struct Input {
    /// Settings of the source, as entries of a YAML map in braces.
    pub settings: String,
    /// The path that settings name: when it is not there, the job is wrong.
    pub root: PathBuf,
    /// A file that holds rows: damaged by the checks.
    pub file: PathBuf,
    /// A byte of that file that belongs to a row.
    pub row_byte: u64,
    /// Lengths at which the file is whole though shorter: multiples of this, where it has no count of its rows.
    pub row_bytes_uncounted: Option<u64>,
}

impl Input {
    fn file(settings: String, file: PathBuf, row_byte: u64) -> Input {
        Input {
            settings,
            root: file.clone(),
            file,
            row_byte,
            row_bytes_uncounted: None,
        }
    }
}

/// Rows of every input that is generated.
pub const ROWS: usize = 23;
/// Their dimension.
pub const DIMENSION: usize = 8;

/// Component `i` of a row.
pub fn component(row: usize, i: usize) -> f32 {
    (row * DIMENSION + i) as f32 * 0.25 - 3.0
}

/// All rows as they travel.
pub fn vectors() -> Vec<u8> {
    let rows = (0..ROWS).flat_map(|row| (0..DIMENSION).map(move |i| component(row, i)));
    rows.flat_map(f32::to_le_bytes).collect()
}

/// The id of a row where ids are stored.
pub fn id(row: usize) -> i64 {
    1000 - 7 * row as i64
}

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path)
}

/// A directory that LangChain saved.
pub fn langchain(dir: &Path) -> Input {
    let root = dir.join("store");
    copy_tree(&fixture("langchain/current"), &root);
    let file = root.join("index.faiss");
    let row_byte = std::fs::metadata(&file).unwrap().len() - 3;
    Input {
        settings: format!("path: '{}'", root.display()),
        root,
        file,
        row_byte,
        row_bytes_uncounted: None,
    }
}

/// A directory of Chroma: some of its vectors lie in an index, some in the log of writes.
#[cfg(feature = "chroma")]
pub fn chroma(dir: &Path) -> Input {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let made = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        let counts = [ROWS, DIMENSION].map(|n| n.to_string());
        crate::conformance::chroma::script(&[
            "small",
            made.to_str().unwrap(),
            &counts[0],
            &counts[1],
        ]);
        made.to_owned()
    });
    let root = dir.join("chroma");
    copy_tree(made, &root);
    let mut files = Vec::new();
    find(&root, "bin", &mut files);
    files.retain(|file| file.ends_with("data_level0.bin"));
    Input {
        settings: format!("path: '{}'", root.display()),
        root,
        file: files.remove(0),
        // Behind the links of the first element.
        row_byte: 140,
        // Room for more elements may follow those that are counted.
        row_bytes_uncounted: Some(132 + 4 * DIMENSION as u64 + 8),
    }
}

/// A Faiss `IndexFlatL2`.
pub fn faiss_flat(dir: &Path) -> Input {
    let path = dir.join("flat.index");
    let mut bytes = b"IxF2".to_vec();
    bytes.extend((DIMENSION as u32).to_le_bytes());
    bytes.extend((ROWS as u64).to_le_bytes());
    bytes.extend((1u64 << 20).to_le_bytes().repeat(2));
    bytes.push(1);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(((ROWS * DIMENSION) as u64).to_le_bytes());
    let row_byte = bytes.len() as u64;
    bytes.extend(vectors());
    std::fs::write(&path, bytes).unwrap();
    Input::file(format!("path: '{}'", path.display()), path, row_byte)
}

/// Inverted lists with ids, as Faiss wrote them.
pub fn faiss_lists(dir: &Path) -> Input {
    let path = dir.join("lists.index");
    std::fs::copy(fixture("faiss/idmap_ivf.index"), &path).unwrap();
    let middle = std::fs::metadata(&path).unwrap().len() / 2;
    Input::file(format!("path: '{}'", path.display()), path, middle)
}

/// An HDF5 file with ids, in chunks of five rows, packed or not.
fn hdf5(dir: &Path, deflate: bool) -> Input {
    let path = dir.join("rows.h5");
    let file = hdf5::File::create(&path).unwrap();
    let mut builder = file.new_dataset::<f32>().chunk((5, DIMENSION));
    if deflate {
        builder = builder.deflate(3);
    }
    let dataset = builder.shape((ROWS, DIMENSION)).create("embeddings");
    let rows = (0..ROWS).flat_map(|row| (0..DIMENSION).map(move |i| component(row, i)));
    dataset
        .unwrap()
        .write_raw(&rows.collect::<Vec<_>>())
        .unwrap();
    let dataset = file.new_dataset::<i64>().shape(ROWS).create("ids").unwrap();
    dataset
        .write_raw(&(0..ROWS).map(id).collect::<Vec<_>>())
        .unwrap();
    file.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let row_byte = match deflate {
        true => bytes.len() / 2,
        false => {
            let row = &vectors()[..DIMENSION * 4];
            bytes.windows(row.len()).position(|w| w == row).unwrap()
        }
    };
    Input::file(
        format!("paths: ['{}']", path.display()),
        path,
        row_byte as u64,
    )
}

pub fn hdf5_chunks(dir: &Path) -> Input {
    hdf5(dir, false)
}

pub fn hdf5_packed(dir: &Path) -> Input {
    hdf5(dir, true)
}

/// A data directory of Milvus 1.1.1.
pub fn milvus1(dir: &Path) -> Input {
    let root = dir.join("milvus");
    copy_tree(&fixture("milvus1x/v1.1.1/milvus"), &root);
    let mut segments = Vec::new();
    find(&root.join("db/tables/f8_l2"), "rv", &mut segments);
    segments.sort();
    Input {
        settings: format!("path: '{}', ignore_wal: true", root.display()),
        root,
        file: segments.remove(0),
        row_byte: 30,
        row_bytes_uncounted: None,
    }
}

/// Rows of a Milvus 2.3.5 at rest, with deletions: two segments of every type of column.
pub fn milvus2_files(dir: &Path) -> Input {
    unpack(dir);
    let root = dir.join("storage");
    let vectors = "470723403745529279/470723403745529292/470723403745529311/118";
    Input {
        settings: format!("path: '{}', collections: {{all_i64: [p2]}}", root.display()),
        file: only_file(&root.join("insert_log").join(vectors)),
        root,
        row_byte: 300,
        row_bytes_uncounted: None,
    }
}

/// A backup with text keys, binary vectors and deletions.
pub fn milvus2_backup(dir: &Path) -> Input {
    unpack(dir);
    let root = dir.join("backup");
    let mut files = Vec::new();
    let below = root.join("binlogs/insert_log/470723403745729367");
    find_in(&below, "102", &mut files);
    files.sort();
    Input {
        settings: format!("path: '{}', collections: [str_bin]", root.display()),
        file: files.remove(0),
        root,
        row_byte: 300,
        row_bytes_uncounted: None,
    }
}

fn only_file(dir: &Path) -> PathBuf {
    let mut all = fs_paths(dir);
    assert_eq!(all.len(), 1, "{}", dir.display());
    all.remove(0)
}

fn fs_paths(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The files in directories of this name.
fn find_in(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for path in fs_paths(dir).into_iter().filter(|path| path.is_dir()) {
        match path.file_name().is_some_and(|n| n == name) {
            true => found.extend(fs_paths(&path)),
            false => find_in(&path, name, found),
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn find(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Rows behind their dimension each.
fn counted(dir: &Path, name: &str, rows: &[u8]) -> Input {
    let width = rows.len() / ROWS;
    let row = |row: &[u8]| [&(DIMENSION as u32).to_le_bytes()[..], row].concat();
    let bytes: Vec<u8> = rows.chunks(width).flat_map(row).collect();
    let path = write(dir, name, &bytes);
    Input {
        row_bytes_uncounted: Some(width as u64 + 4),
        ..Input::file(format!("paths: ['{}']", path.display()), path, 9)
    }
}

/// Rows behind their number and dimension.
fn headed(dir: &Path, name: &str, rows: &[u8]) -> Input {
    let head = [ROWS as u32, DIMENSION as u32]
        .map(u32::to_le_bytes)
        .concat();
    let path = write(dir, name, &[&head, rows].concat());
    Input::file(
        format!("path: '{}', first_id: 100", path.display()),
        path,
        13,
    )
}

pub fn fvecs(dir: &Path) -> Input {
    counted(dir, "x.fvecs", &vectors())
}

pub fn bvecs(dir: &Path) -> Input {
    let bytes: Vec<u8> = (0..ROWS * DIMENSION).map(|i| i as u8).collect();
    counted(dir, "x.bvecs", &bytes)
}

pub fn fbin(dir: &Path) -> Input {
    headed(dir, "x.fbin", &vectors())
}

pub fn i8bin(dir: &Path) -> Input {
    let bytes: Vec<u8> = (0..ROWS * DIMENSION).map(|i| i as u8).collect();
    headed(dir, "x.i8bin", &bytes)
}

/// An array as numpy writes it.
fn array(descr: &str, fortran_order: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let text =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}");
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((text.len() as u16 + 1).to_le_bytes());
    array.extend(text.as_bytes());
    array.push(b'\n');
    array.extend(bytes);
    array
}

fn rows_array() -> Vec<u8> {
    array(
        "<f4",
        "False",
        &format!("({ROWS}, {DIMENSION})"),
        &vectors(),
    )
}

/// An array of rows, and one of big-endian ids.
pub fn npy(dir: &Path) -> Input {
    let ids: Vec<u8> = (0..ROWS).flat_map(|row| id(row).to_be_bytes()).collect();
    let ids = write(
        dir,
        "ids.npy",
        &array(">i8", "False", &format!("({ROWS},)"), &ids),
    );
    let path = write(dir, "rows.npy", &rows_array());
    let settings = format!("vectors: '{}', ids: '{}'", path.display(), ids.display());
    Input::file(settings, path, 120)
}

/// An array of doubles that lie column by column.
pub fn npy_columns(dir: &Path) -> Input {
    let columns = (0..DIMENSION).flat_map(|i| (0..ROWS).map(move |row| component(row, i)));
    let columns: Vec<u8> = columns.flat_map(|f| f64::from(f).to_le_bytes()).collect();
    let array = array("<f8", "True", &format!("({ROWS}, {DIMENSION})"), &columns);
    let path = write(dir, "columns.npy", &array);
    Input::file(format!("vectors: '{}'", path.display()), path, 121)
}

/// An archive of two arrays.
fn npz(dir: &Path, name: &str, deflate: bool) -> Input {
    let ids: Vec<u8> = (0..ROWS)
        .flat_map(|row| (id(row) as i32).to_le_bytes())
        .collect();
    let ids = array("<i4", "False", &format!("({ROWS},)"), &ids);
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in [("ids.npy", ids), ("x.npy", rows_array())] {
        let packed = match deflate {
            true => {
                let mut encoder =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
                std::io::Write::write_all(&mut encoder, &bytes).unwrap();
                encoder.finish().unwrap()
            }
            false => bytes.clone(),
        };
        let mut shared = vec![20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0];
        shared.extend(crc32fast::hash(&bytes).to_le_bytes());
        shared.extend((packed.len() as u32).to_le_bytes());
        shared.extend((bytes.len() as u32).to_le_bytes());
        shared.extend((name.len() as u16).to_le_bytes());
        shared.extend([0, 0]);
        directory.extend([b"PK\x01\x02\x14\x00", &shared[..], &[0; 10]].concat());
        directory.extend((archive.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        archive.extend([b"PK\x03\x04", &shared[..], name.as_bytes(), &packed].concat());
    }
    let first = archive.len() as u32;
    archive.extend(&directory);
    archive.extend(
        [
            b"PK\x05\x06\0\0\0\0\x02\0\x02\0",
            &(directory.len() as u32).to_le_bytes()[..],
        ]
        .concat(),
    );
    archive.extend([&first.to_le_bytes()[..], &[0, 0]].concat());
    let path = write(dir, name, &archive);
    let shown = path.display();
    Input::file(
        format!("vectors: '{shown}:x', ids: '{shown}:ids'"),
        path,
        first as u64 - 9,
    )
}

pub fn npz_stored(dir: &Path) -> Input {
    npz(dir, "stored.npz", false)
}

pub fn npz_packed(dir: &Path) -> Input {
    npz(dir, "packed.npz", true)
}

/// Columns `id` and `embedding`, in row groups of seven.
fn parquet(dir: &Path, name: &str, properties: WriterProperties) -> Input {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(id)));
    let row = |row| Some((0..DIMENSION).map(move |i| Some(component(row, i))));
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(row));
    let columns: [(&str, ArrayRef); 2] = [("embedding", Arc::new(lists)), ("id", ids)];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    let path = write(dir, name, &writer.into_inner().unwrap());
    Input::file(format!("paths: ['{}']", path.display()), path, 200)
}

pub fn parquet_pages(dir: &Path) -> Input {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(7));
    let properties = properties.set_dictionary_enabled(false);
    parquet(dir, "pages.parquet", properties.build())
}

pub fn parquet_packed(dir: &Path) -> Input {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(7));
    let properties = properties.set_compression(Compression::ZSTD(Default::default()));
    let version = parquet::file::properties::WriterVersion::PARQUET_2_0;
    parquet(
        dir,
        "packed.parquet",
        properties.set_writer_version(version).build(),
    )
}

/// A collection of Milvus Lite 3.x: rows in one file of its default partition, one of them deleted, one written again.
pub fn lite_directory(dir: &Path) -> Input {
    let root = dir.join("lite");
    let collection = root.join("collections/x");
    let partition = collection.join("partitions/_default");
    for folder in ["data", "delta"] {
        std::fs::create_dir_all(partition.join(folder)).unwrap();
    }
    let schema = format!(
        r#"{{"collection_name": "x", "version": 1, "fields": [
        {{"name": "id", "dtype": "int64", "is_primary": true}},
        {{"name": "v", "dtype": "float_vector", "dim": {DIMENSION}}}]}}"#
    );
    write(&collection, "schema.json", schema.as_bytes());
    let manifest = br#"{"manifest_format_version": 2, "partitions": {"_default": {
        "data_files": ["data/data_1.parquet"], "delta_files": ["delta/delta_1.parquet"]}}}"#;
    write(&collection, "manifest.json", manifest);
    let seq = |all: Vec<u64>| Arc::new(arrow_array::UInt64Array::from(all)) as ArrayRef;
    let keys = |all: Vec<i64>| Arc::new(Int64Array::from(all)) as ArrayRef;
    let saved = |dir: PathBuf, name: &str, columns: Vec<(&str, ArrayRef)>| {
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let properties = properties.set_dictionary_enabled(false).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        write(&dir, name, &writer.into_inner().unwrap())
    };
    let row = |row| Some((0..DIMENSION).map(move |i| Some(component(row, i))));
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(row));
    let ids = (0..ROWS).map(|row| id(if row == 9 { 5 } else { row }));
    let file = saved(
        partition.join("data"),
        "data_1.parquet",
        vec![
            ("_seq", seq((1..=ROWS as u64).collect())),
            ("id", keys(ids.collect())),
            ("v", Arc::new(vectors)),
        ],
    );
    let deleted = vec![
        ("id", keys(vec![id(2), id(5)])),
        ("_seq", seq(vec![100, 7])),
    ];
    saved(partition.join("delta"), "delta_1.parquet", deleted);
    Input {
        settings: format!("path: '{}'", root.display()),
        root,
        file,
        row_byte: 900,
        row_bytes_uncounted: None,
    }
}

/// A row as Milvus Lite 2.x stores it.
#[derive(Clone, PartialEq, prost::Message)]
struct LiteRow {
    #[prost(message, repeated, tag = "1")]
    fields: Vec<proto::FieldData>,
}

/// A file of Milvus Lite 2.x, with a key that was inserted twice.
pub fn lite_file(dir: &Path) -> Input {
    use prost::Message;
    let path = dir.join("lite.db");
    let field = |field_id, name: &str, data_type, is_primary_key| proto::FieldSchema {
        field_id,
        name: name.to_owned(),
        data_type,
        is_primary_key,
        type_params: vec![proto::KeyValue::new("dim", DIMENSION.to_string())],
        ..Default::default()
    };
    let schema = proto::CollectionSchema {
        name: "x".to_owned(),
        fields: vec![field(100, "id", 5, true), field(101, "v", 101, false)],
        ..Default::default()
    };
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE collection_meta (id INTEGER PRIMARY KEY, collection_name VARCHAR(1024),
             meta_type VARCHAR(1024), blob_field BLOB, string_field VARCHAR(1024));
             CREATE TABLE x (id INTEGER PRIMARY KEY, milvus_id VARCHAR(1024), data BLOB);",
        )
        .unwrap();
    let insert = "INSERT INTO collection_meta VALUES (1, 'x', 'schema', ?1, 'id')";
    connection
        .execute(insert, [schema.encode_to_vec()])
        .unwrap();
    for row in 0..ROWS {
        let id = id(if row == 9 { 5 } else { row });
        let vector: Vec<u8> = vectors()[row * DIMENSION * 4..][..DIMENSION * 4].to_vec();
        let stored = LiteRow {
            fields: vec![
                proto::FieldData {
                    field_name: "id".to_owned(),
                    scalars: Some(proto::ScalarField {
                        long_data: Some(proto::LongArray { data: vec![id] }),
                        ..Default::default()
                    }),
                    ..Default::default()
                },
                proto::FieldData {
                    field_name: "v".to_owned(),
                    vectors: Some(proto::VectorField {
                        dim: DIMENSION as i64,
                        float_vector: Some(proto::FloatBytes {
                            data: vector.into(),
                        }),
                        ..Default::default()
                    }),
                    ..Default::default()
                },
            ],
        };
        let insert = "INSERT INTO x (milvus_id, data) VALUES (?1, ?2)";
        let values = rusqlite::params![id.to_string(), stored.encode_to_vec()];
        connection.execute(insert, values).unwrap();
    }
    connection.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let row = &vectors()[4 * DIMENSION * 4..][..DIMENSION * 4];
    let at = bytes.windows(row.len()).position(|w| w == row).unwrap();
    Input::file(format!("path: '{}'", path.display()), path, at as u64)
}
