//! What every source promises: batches are a pure function of the plan, reading goes on from anywhere, limits hold,
//! another file is noticed, and what cannot be read is refused by name.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use milvusdm::batch::{Limits, Manifest, Part, Position, Shard};
use milvusdm::error::{Error, Kind, Result};
use milvusdm::job::{Form, Mistakes};
use milvusdm::source::{SOURCES, Source, Stillness};

use crate::conformance::inputs::{self, Input};
use crate::conformance::servers;
#[cfg(feature = "network")]
use crate::conformance::stores;

/// A kind of source over one kind of input: its name in a job, and what makes the input.
type Case = (&'static str, fn(&Path) -> Input);

/// All of them.
const KINDS: &[Case] = &[
    #[cfg(feature = "chroma")]
    ("chroma", inputs::chroma),
    ("faiss", inputs::faiss_flat),
    ("faiss", inputs::faiss_lists),
    #[cfg(feature = "network")]
    ("haystack", stores::haystack),
    ("hdf5", inputs::hdf5_chunks),
    ("hdf5", inputs::hdf5_packed),
    ("langchain", inputs::langchain),
    #[cfg(feature = "network")]
    ("llamaindex", stores::llamaindex),
    ("milvus1", inputs::milvus1),
    ("milvus_lite", inputs::lite_directory),
    ("milvus_lite", inputs::lite_file),
    ("milvus_backup", inputs::milvus2_backup),
    ("milvus_files", inputs::milvus2_files),
    ("numpy", inputs::npy),
    ("numpy", inputs::npy_columns),
    ("numpy", inputs::npz_stored),
    ("numpy", inputs::npz_packed),
    ("parquet", inputs::parquet_pages),
    ("parquet", inputs::parquet_packed),
    ("vecs", inputs::fvecs),
    ("vecs", inputs::bvecs),
    ("vecs", inputs::fbin),
    ("vecs", inputs::i8bin),
];

type MakeSettings = fn() -> String;

/// Kinds that are servers, and what makes their rows: nothing of them can be damaged as files can.
const SERVERS: &[(&str, MakeSettings)] = &[
    #[cfg(feature = "chroma")]
    ("chroma", servers::chroma_server),
    ("milvus", servers::milvus),
    #[cfg(feature = "elasticsearch")]
    ("elasticsearch", servers::opensearch),
    #[cfg(feature = "elasticsearch")]
    ("opensearch", servers::opensearch),
    ("pgvector", servers::pgvector),
    #[cfg(feature = "pinecone")]
    ("pinecone", servers::pinecone),
    #[cfg(feature = "qdrant")]
    ("qdrant", servers::qdrant),
];

const WIDE: Limits = Limits {
    batch_bytes: 4 << 20,
    batch_rows: 1 << 20,
};

fn rows_at_a_time(batch_rows: u64) -> Limits {
    Limits { batch_rows, ..WIDE }
}

/// Runs a check over each kind of input, in a directory of its own.
fn each(check: impl Fn(&str, &Input)) {
    for (name, make) in KINDS {
        let dir = tempfile::tempdir().unwrap();
        check(name, &make(dir.path()));
    }
}

/// Runs a check over each kind of source that stands still, servers among them: twice the settings of one input.
fn each_at_rest(check: impl Fn(&str, [String; 2])) {
    let servers = SERVERS.iter().map(|(name, _)| *name);
    let names = KINDS.iter().map(|(name, _)| *name).chain(servers);
    let names: Vec<&str> = names.collect();
    for kind in SOURCES {
        assert!(names.contains(&kind.name), "{} is in no list", kind.name);
    }
    each(|kind, input| {
        let by = |access| format!("{}, access: {access}", input.settings);
        check(kind, ["map", "read"].map(by));
    });
    for (name, make) in SERVERS {
        let settings = make();
        check(name, [settings.clone(), settings]);
    }
}

fn open(kind: &str, settings: &str) -> Result<Box<dyn Source>> {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(&format!("{{{settings}}}")).unwrap();
    let known = SOURCES.iter().find(|k| k.name == kind).unwrap();
    let mut form = Form::new("source", map, known.settings, &mistakes);
    let spec = (known.read)(&mut form);
    assert!(form.done(), "{settings}: {:?}", mistakes.all());
    spec.unwrap().open()
}

/// A row: its id, its vector, its stored number.
type Row = (i64, Vec<u8>, u64);

/// A batch: its rows, and where the next one starts.
type Batch = (Vec<Row>, Position);

fn rows(parts: &[Part]) -> Vec<Row> {
    let row = |part: &Part| {
        if part.columns().as_plain().is_none() {
            // Where a bit was turned over in a file that says itself what its columns are.
            let digest = |row| milvusdm::digest::part(&part.slice(row, 1));
            let all = (0..part.len()).map(|row| (0, digest(row).to_le_bytes().to_vec()));
            let all = all.zip(part.row..).map(|((id, v), n)| (id, v, n));
            return all.collect::<Vec<Row>>();
        }
        let width = part.vectors().len() / part.len();
        let vectors: Vec<Vec<u8>> = part.vectors().chunks(width).map(<[u8]>::to_vec).collect();
        let ids = part.ids().to_vec();
        ids.into_iter()
            .zip(vectors)
            .zip(part.row..)
            .map(|((id, v), n)| (id, v, n))
            .collect()
    };
    parts.iter().flat_map(row).collect()
}

/// The batches of a shard from a position on; checks that limits hold on the way.
fn batches(
    source: &dyn Source,
    manifest: &Manifest,
    shard: &Shard,
    from: Position,
    limits: Limits,
) -> Result<Vec<Batch>> {
    // A plan may number shards and targets anew.
    let aimed = Shard {
        number: 999,
        target: 77,
        ..shard.clone()
    };
    let vector = manifest.targets[shard.target as usize].plain();
    let most = vector.map_or(limits.batch_rows, |vector| limits.rows(vector));
    let mut reader = source.open(&aimed, from.clone(), limits)?;
    let (mut found, mut at) = (Vec::new(), from);
    while let Some(cut) = reader.next()? {
        let mut rows = rows(&cut.parts);
        if source.stillness() != Stillness::Frozen {
            // Rows that come and go have no numbers.
            rows.iter_mut().for_each(|row| row.2 = 0);
        }
        assert!(
            cut.parts.iter().all(|part| !part.is_empty()),
            "{}: an empty part",
            shard.name
        );
        assert!(
            !rows.is_empty() && rows.len() as u64 <= most,
            "{}: {} rows",
            shard.name,
            rows.len()
        );
        assert!(
            cut.next > at && cut.next <= shard.end,
            "{}: {:?}",
            shard.name,
            cut.next
        );
        at = cut.next.clone();
        found.push((rows, cut.next));
    }
    assert!(
        reader.next()?.is_none(),
        "{}: rows after the end",
        shard.name
    );
    reader.files().unchanged()?;
    Ok(found)
}

/// All batches of all shards; checks that the manifest adds up.
fn all(source: &dyn Source, limits: Limits) -> Result<Vec<Vec<Batch>>> {
    let manifest = source.survey(limits)?.manifest;
    let mut before = vec![0; manifest.targets.len()];
    let mut found = Vec::new();
    for (number, shard) in manifest.shards.iter().enumerate() {
        assert_eq!(shard.number as usize, number);
        assert_eq!(
            shard.first_row, before[shard.target as usize],
            "{}",
            shard.name
        );
        let of = batches(source, &manifest, shard, shard.start.clone(), limits)?;
        let rows: usize = of.iter().map(|b| b.0.len()).sum();
        assert_eq!(rows as u64, shard.rows, "{}", shard.name);
        before[shard.target as usize] += shard.rows;
        found.push(of);
    }
    let rows: Vec<u64> = manifest.targets.iter().map(|t| t.rows).collect();
    assert_eq!(before, rows);
    Ok(found)
}

/// The rows of each target, however they are cut.
fn by_target(source: &dyn Source, limits: Limits) -> Vec<Vec<(i64, Vec<u8>)>> {
    let manifest = source.survey(limits).unwrap().manifest;
    let mut found = vec![Vec::new(); manifest.targets.len()];
    for (shard, batches) in manifest.shards.iter().zip(all(source, limits).unwrap()) {
        let rows = batches.into_iter().flat_map(|b| b.0);
        found[shard.target as usize].extend(rows.map(|(id, vector, _)| (id, vector)));
    }
    found
}

#[test]
fn a_batch_of_a_name_has_the_same_rows_in_every_opening_of_the_source() {
    each_at_rest(|kind, settings| {
        let sources = settings.map(|settings| open(kind, &settings).unwrap());
        for limits in [1, 2, 5, 1000].map(rows_at_a_time) {
            let [mapped, read] = [0, 1].map(|i| all(&*sources[i], limits).unwrap());
            assert!(mapped == read, "{kind}: {limits:?}");
            let manifest = sources[0].survey(limits).unwrap().manifest;
            let again = sources[0].survey(limits).unwrap().manifest;
            assert_eq!(format!("{manifest:?}"), format!("{again:?}"), "{kind}");
            // Shards in any order, all at once.
            std::thread::scope(|scope| {
                for (shard, expected) in manifest.shards.iter().zip(&mapped).rev() {
                    let (source, manifest) = (&*sources[0], &manifest);
                    scope.spawn(move || {
                        let found = batches(source, manifest, shard, shard.start.clone(), limits);
                        assert!(found.unwrap() == *expected, "{kind}: {}", shard.name);
                    });
                }
            });
        }
    });
}

#[test]
fn limits_cut_the_same_rows_otherwise() {
    each_at_rest(|kind, [settings, _]| {
        let source = open(kind, &settings).unwrap();
        let expected = by_target(&*source, WIDE);
        assert!(expected.iter().map(Vec::len).sum::<usize>() > 10, "{kind}");
        let tight = Limits {
            batch_bytes: 100,
            ..WIDE
        };
        for limits in [
            rows_at_a_time(1),
            rows_at_a_time(3),
            rows_at_a_time(7),
            tight,
        ] {
            assert!(
                by_target(&*source, limits) == expected,
                "{kind}: {limits:?}"
            );
        }
    });
}

#[test]
fn reading_goes_on_from_any_batch() {
    each_at_rest(|kind, [settings, _]| {
        let source = open(kind, &settings).unwrap();
        for limits in [1, 4].map(rows_at_a_time) {
            let manifest = source.survey(limits).unwrap().manifest;
            let whole = all(&*source, limits).unwrap();
            for (shard, expected) in manifest.shards.iter().zip(&whole) {
                for (number, (_, next)) in expected.iter().enumerate() {
                    let rest = batches(&*source, &manifest, shard, next.clone(), limits).unwrap();
                    assert!(
                        rest == expected[number + 1..],
                        "{kind}: {} from {next:?}",
                        shard.name
                    );
                }
            }
        }
    });
}

#[test]
fn other_data_have_another_identity_and_are_noticed_while_they_are_read() {
    each(|kind, input| {
        // What is packed shows that it was changed when it is opened.
        let identity = || {
            let source = open(kind, &input.settings).ok()?;
            Some(source.survey(WIDE).unwrap().identity)
        };
        let content = || open(kind, &input.settings).ok()?.content().unwrap();
        let source = open(kind, &input.settings).unwrap();
        let before = source.survey(WIDE).unwrap();
        let (held, known_held) = (source.content().unwrap().is_some(), content());
        let known = Some(before.identity.clone());
        assert_eq!(known, identity(), "{kind}: nothing changed");
        let shard = before.manifest.shards.iter().find(|s| s.rows > 0).unwrap();
        // A source may look again only at files that were read.
        all(&*source, WIDE).unwrap();
        source.unchanged().unwrap();
        let bytes = fs::read(&input.file).unwrap();
        let modified = fs::metadata(&input.file).unwrap().modified().unwrap();
        let later = modified + Duration::from_secs(1);
        let rewrite = |bytes: &[u8], modified| {
            fs::write(&input.file, bytes).unwrap();
            let file = File::options().write(true).open(&input.file).unwrap();
            file.set_modified(modified).unwrap();
        };
        // Another byte of a row, and the same bytes at another time.
        let mut odd = bytes.clone();
        odd[input.row_byte as usize] ^= 1;
        for (what, bytes) in [("a byte", &odd), ("the time", &bytes)] {
            rewrite(bytes, later);
            assert_eq!(
                source.unchanged().unwrap_err().kind(),
                Kind::Changed,
                "{kind}: {what}"
            );
            assert_ne!(known, identity(), "{kind}: {what}");
            // What a source holds is told apart from when it was written, where it can be.
            if held {
                assert_eq!(
                    known_held == content(),
                    what == "the time",
                    "{kind}: {what}"
                );
            }
        }
        let error = source
            .open(shard, shard.start.clone(), WIDE)
            .and_then(|reader| reader.files().unchanged());
        // Some sources look at all their files only when a target is finished.
        assert!(
            error.is_ok() || error.is_err_and(|e| e.kind() == Kind::Changed),
            "{kind}"
        );
        rewrite(&bytes, modified);
        assert_eq!(known, identity(), "{kind}: put back");
        // Another file of the same name.
        let copy = input.file.with_extension("copy");
        fs::copy(&input.file, &copy).unwrap();
        fs::rename(&copy, &input.file).unwrap();
        File::options()
            .write(true)
            .open(&input.file)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        assert_ne!(known, identity(), "{kind}: another inode");
        assert_eq!(
            source.unchanged().unwrap_err().kind(),
            Kind::Changed,
            "{kind}"
        );
    });
}

/// What goes wrong when all of a source is read.
fn refusal(kind: &str, settings: &str) -> Option<Error> {
    let source = open(kind, settings);
    source
        .and_then(|source| all(&*source, rows_at_a_time(7)))
        .err()
}

#[track_caller]
fn names(error: &Error, path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(
        error.to_string().contains(&*name),
        "{name} is not named: {error}"
    );
}

#[test]
fn a_source_that_is_not_there_is_the_jobs_mistake() {
    each(|kind, input| {
        fs::rename(&input.root, input.root.with_extension("moved")).unwrap();
        let error = refusal(kind, &input.settings).unwrap();
        assert_eq!(error.kind(), Kind::Job, "{kind}: {error}");
        names(&error, &input.root);
    });
}

#[test]
fn a_file_that_is_empty_short_or_something_else_is_refused_by_name() {
    each(|kind, input| {
        let whole = fs::read(&input.file).unwrap();
        let text = b"These are not the rows that you are looking for.\n".repeat(40);
        let mut noise = whole.clone();
        noise
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = (i * 167 + i / 251) as u8);
        let image = [&b"\x89PNG\r\n\x1a\n"[..], &[0; 900]].concat();
        for (what, bytes) in [
            ("empty", vec![]),
            ("text", text),
            ("noise", noise),
            ("an image", image),
        ] {
            fs::write(&input.file, bytes).unwrap();
            let error = refusal(kind, &input.settings);
            let error = error.unwrap_or_else(|| panic!("{kind}: {what} is read"));
            assert_eq!(error.kind().exit_code(), 3, "{kind}: {what}: {error}");
            names(&error, &input.file);
        }
        for len in (0..whole.len())
            .step_by(whole.len() / 200 + 1)
            .chain([whole.len() - 1])
        {
            if input
                .row_bytes_uncounted
                .is_some_and(|row| (len as u64).is_multiple_of(row))
            {
                continue;
            }
            fs::write(&input.file, &whole[..len]).unwrap();
            let error = refusal(kind, &input.settings);
            let error =
                error.unwrap_or_else(|| panic!("{kind}: {len} of {} bytes are read", whole.len()));
            assert_eq!(error.kind().exit_code(), 3, "{kind}: {len} bytes: {error}");
            names(&error, &input.file);
        }
    });
}

#[test]
fn a_bit_turned_over_is_an_error_or_rows() {
    each(|kind, input| {
        let whole = fs::read(&input.file).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 150 + 1) {
            let mut odd = whole.clone();
            odd[at] ^= 1 << (at % 8);
            fs::write(&input.file, &odd).unwrap();
            if let Some(error) = refusal(kind, &input.settings) {
                // Names that the job asks for may be other ones now.
                let code = error.kind().exit_code();
                assert!([2, 3].contains(&code), "{kind}: byte {at}: {error}");
            }
        }
    });
}
