//! Every golden file cut short and turned over byte by byte, and read as a job reads it: an error with a place, or rows
//! that are what the file then says; never a panic, a hang, or an allocation beyond the input.

use crate::support::{largest, run_alone};
use crate::targets;

use std::path::{Path, PathBuf};

use largest::{Watched, largest};
use milvusdm::error::{Error, Kind, Place};
use milvusdm::source::SourceKind;
use milvusdm::source::{faiss, hdf5, milvus1};
use targets::support::{files, hdf5_files, open, read_all, repository};

#[global_allocator]
static WATCHED: Watched = Watched;

/// What readers have for themselves, whatever they read: blocks of files, tables of a batch.
const ROOM_BYTES: usize = 256 << 10;

/// A damaged input: how it is read, where it lies, and how long it is with all that belongs to it.
struct Damaged<'a> {
    kind: &'a SourceKind,
    settings: &'a str,
    what: &'a str,
    bytes: usize,
}

impl Damaged<'_> {
    /// Reads it; a source that opens gives as many rows as it announced (`read_all` looks).
    #[track_caller]
    fn read(&self) -> Result<u64, Error> {
        let deed = || open(self.kind, self.settings).and_then(|source| read_all(&*source));
        let (read, most) = largest(deed);
        let allowed = self.bytes + ROOM_BYTES;
        assert!(
            most <= allowed,
            "{}: {most} bytes at once, {allowed} are fair",
            self.what
        );
        if let Err(error) = &read {
            // Each complaint says where.
            assert!(
                error.place().is_some(),
                "{}: no place in: {error}",
                self.what
            );
            assert!(
                matches!(error.kind(), Kind::Corrupt | Kind::Unsupported),
                "{}: {error:?}",
                self.what
            );
        }
        read
    }

    /// Reads what was cut below what it describes.
    #[track_caller]
    fn refused(&self) -> Error {
        match self.read() {
            Err(error) => error,
            Ok(rows) => panic!("{}: gave {rows} rows", self.what),
        }
    }
}

/// Does a deed for each on as many threads as there are cores, each with a directory of its own.
fn shares<T: Sync>(all: &[T], deed: impl Fn(&T, &Path) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                let room = tempfile::tempdir().unwrap();
                while let Some(one) =
                    all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    deed(one, room.path());
                }
            });
        }
    });
}

#[test]
fn faiss_files_cut_and_turned_over() {
    // `hostile.rs` turns bits of all of each file over, in memory; this is the whole way from the file's name.
    shares(&files("tests/fixtures/faiss", ".index"), |fixture, room| {
        let whole = std::fs::read(fixture).unwrap();
        let path = room.join("odd.index");
        let lists = fixture.with_extension("ivfdata");
        let lists_bytes = lists.metadata().map_or(0, |meta| meta.len() as usize);
        let settings = format!(
            "{{path: '{}', lossy: allow{}}}",
            path.display(),
            if lists_bytes > 0 {
                format!(", lists: '{}'", lists.display())
            } else {
                String::new()
            }
        );
        let read = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            let (what, bytes_read) = (format!("{} {what}", fixture.display()), bytes.len());
            // A packed code of half a byte is a float of four: rows may be eight times as long as their codes.
            let bytes = 8 * whole.len() + lists_bytes;
            let damaged = Damaged {
                kind: &faiss::KIND,
                settings: &settings,
                what: &what,
                bytes,
            };
            match bytes_read < whole.len() {
                true => {
                    let error = damaged.refused();
                    assert!(
                        matches!(error.place(), Some(Place::File { .. })),
                        "{what}: {error}"
                    );
                    assert_eq!(error.kind(), Kind::Corrupt, "{what}: {error}");
                }
                false => drop(damaged.read()),
            }
        };
        for len in 0..whole.len() {
            read(&whole[..len], &format!("cut to {len}"));
        }
        for at in 0..whole.len().min(150) {
            let mut odd = whole.clone();
            odd[at] ^= 1 << (at % 8);
            read(&odd, &format!("turned over at {at}"));
        }
    });
}

#[test]
fn on_disk_lists_cut_and_turned_over() {
    let room = tempfile::tempdir().unwrap();
    let fixture = repository("tests/fixtures/faiss/ivf_on_disk.index");
    let whole = std::fs::read(fixture.with_extension("ivfdata")).unwrap();
    let lists = room.path().join("odd.ivfdata");
    let settings = format!(
        "{{path: '{}', lists: '{}'}}",
        fixture.display(),
        lists.display()
    );
    for len in 0..whole.len() {
        std::fs::write(&lists, &whole[..len]).unwrap();
        let what = format!("lists cut to {len}");
        let bytes = whole.len();
        Damaged {
            kind: &faiss::KIND,
            settings: &settings,
            what: &what,
            bytes,
        }
        .refused();
    }
}

/// Reads one file of a Milvus 1.x directory, cut and turned over, with all others whole.
fn milvus1_file(version: &str, collection: &str, name: &str, lens: &[usize], flips: usize) {
    let room = tempfile::tempdir().unwrap();
    let copy = room.path().join("milvus");
    targets::milvus1_directory::copy(
        &repository(&format!("tests/fixtures/milvus1x/{version}/milvus")),
        &copy,
    );
    let path = find(&copy, name);
    let whole = std::fs::read(&path).unwrap();
    let settings = format!(
        "{{path: '{}', collections: [{collection}]}}",
        copy.display()
    );
    let bytes = whole.len() + (128 << 10);
    let rows = |what: &str| {
        Damaged {
            kind: &milvus1::KIND,
            settings: &settings,
            what,
            bytes,
        }
        .read()
    };
    for len in lens.iter().filter(|len| **len < whole.len()) {
        std::fs::write(&path, &whole[..*len]).unwrap();
        let what = format!("{version} {name} cut to {len}");
        assert!(rows(&what).is_err(), "{what}");
    }
    for at in 0..flips.min(whole.len()) {
        let mut odd = whole.clone();
        odd[at] ^= 1 << (at % 8);
        std::fs::write(&path, odd).unwrap();
        let _ = rows(&format!("{version} {name} turned over at {at}"));
    }
}

/// The first file whose path ends so.
fn find(directory: &Path, ending: &str) -> PathBuf {
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.to_str().unwrap().ends_with(ending) {
            return path;
        }
    }
    panic!("no {ending} in {}", directory.display());
}

#[test]
fn milvus1_files_cut_and_turned_over() {
    let segment = [
        "f8_dupdel/1795363736388283000/1795363736388283000.rv",
        "f8_dupdel/1795363736388283000/1795363736388283000.uid",
        "f8_dupdel/1795363736388283000/deleted_docs",
    ];
    let every: Vec<usize> = (0..2000).collect();
    for name in segment {
        milvus1_file("v1.0.0", "f8_dupdel", name, &every, 64);
    }
    // Metadata in pages of 4096 bytes, which SQLite reads: each page's end, and lengths between. What is cut off may be
    // free space only: that is then no loss.
    let room = tempfile::tempdir().unwrap();
    for version in ["v1.0.0", "v1.1.1", "v1.1.1-crash"] {
        let copy = room.path().join(version);
        targets::milvus1_directory::copy(
            &repository(&format!("tests/fixtures/milvus1x/{version}/milvus")),
            &copy,
        );
        for name in [
            "db/meta.sqlite",
            "db/meta.sqlite-wal",
            "wal/0.wal",
            "wal/mxlog.meta",
        ] {
            let path = copy.join(name);
            let Ok(whole) = std::fs::read(&path) else {
                continue;
            };
            for ignore in [false, true] {
                let settings = format!("{{path: '{}', ignore_wal: {ignore}}}", copy.display());
                let step = (whole.len() / 24).max(1);
                for len in (0..whole.len()).step_by(step) {
                    std::fs::write(&path, &whole[..len]).unwrap();
                    let what = format!("{version} {name} cut to {len}");
                    let bytes = 2 << 20;
                    let _ = Damaged {
                        kind: &milvus1::KIND,
                        settings: &settings,
                        what: &what,
                        bytes,
                    }
                    .read();
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

#[test]
fn hdf5_files_cut() {
    let golden =
        |name: &str| std::fs::read(repository(&format!("tests/fixtures/hdf5/{name}.h5"))).unwrap();
    let mut all = vec![("byte_example".to_owned(), golden("byte_example"))];
    let ours = hdf5_files().into_iter().enumerate();
    all.extend(ours.map(|(layout, file)| (format!("layout {layout}"), file)));
    shares(&all, |(name, whole), room| {
        let path = room.join("odd.h5");
        let settings = format!("{{paths: ['{}']}}", path.display());
        let read = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            // Rows that were never written are made in blocks of 4 MiB.
            let bytes = 8 << 20;
            Damaged {
                kind: &hdf5::KIND,
                settings: &settings,
                what,
                bytes,
            }
            .read()
        };
        read(whole, name).unwrap();
        // Those of ours are longer, and most of it is alike.
        for len in (0..whole.len()).step_by(if *name == "byte_example" { 1 } else { 7 }) {
            let what = format!("{name} cut to {len}");
            assert!(read(&whole[..len], &what).is_err(), "{what}");
        }
    });
    // The large one is shortened where it lies.
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("float_example.h5");
    std::fs::write(&path, golden("float_example")).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let settings = format!("{{paths: ['{}']}}", path.display());
    let len = path.metadata().unwrap().len();
    let lens = (0..4096)
        .chain((4096..len - 4096).step_by(4099))
        .chain(len - 4096..len);
    for len in lens.collect::<Vec<_>>().into_iter().rev() {
        file.set_len(len).unwrap();
        let what = format!("float_example cut to {len}");
        Damaged {
            kind: &hdf5::KIND,
            settings: &settings,
            what: &what,
            bytes: 4 << 20,
        }
        .refused();
    }
}

/// A byte turned over in a header is libhdf5's to judge before it is ours, and it may die or never come back of
/// some of them (fuzz/README.md has the places). They are therefore read in a process of their own: it may end in a
/// signal, which nobody can take for success, and another goes on behind that byte. A panic of ours ends the test.
#[test]
fn hdf5_headers_turned_over() {
    if let Ok(room) = std::env::var("MILVUSDM_TURN_OVER") {
        return turn_over(Path::new(&room));
    }
    let room = tempfile::tempdir().unwrap();
    let room = room.path();
    std::fs::copy(
        repository("tests/fixtures/hdf5/byte_example.h5"),
        room.join("whole.h5"),
    )
    .unwrap();
    std::fs::write(room.join("next"), "0").unwrap();
    let len = room.join("whole.h5").metadata().unwrap().len() as usize;
    let (mut next, mut signals) = (0, 0);
    while next < len {
        let begun = next;
        let mut child = run_alone(module_path!(), "hdf5_headers_turned_over")
            .env("MILVUSDM_TURN_OVER", room)
            .spawn()
            .unwrap();
        let mut moved = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
            let now = std::fs::read_to_string(room.join("next"))
                .unwrap()
                .parse()
                .unwrap_or(next);
            if now > next {
                (next, moved) = (now, std::time::Instant::now());
            } else if moved.elapsed().as_secs() >= 10 {
                child.kill().unwrap();
            }
        };
        next = std::fs::read_to_string(room.join("next"))
            .unwrap()
            .parse()
            .unwrap();
        assert!(next > begun, "nothing was read: {status}");
        assert!(
            status.success() || status.code().is_none(),
            "byte {}: {status}",
            next - 1
        );
        signals += usize::from(status.code().is_none());
    }
    assert!(signals <= len / 100, "{signals} of {len} ended in a signal");
}

/// Reads a file with each byte turned over, from where the process before this one ended.
fn turn_over(room: &Path) {
    let whole = std::fs::read(room.join("whole.h5")).unwrap();
    let first = std::fs::read_to_string(room.join("next"))
        .unwrap()
        .parse()
        .unwrap();
    let path = room.join("odd.h5");
    let settings = format!("{{paths: ['{}']}}", path.display());
    for at in first..whole.len() {
        std::fs::write(room.join("next"), (at + 1).to_string()).unwrap();
        let mut odd = whole.clone();
        odd[at] ^= 1 << (at % 8);
        std::fs::write(&path, odd).unwrap();
        let (what, bytes) = (
            format!("turned over at {at}"),
            (8 << 20) + 1032 * whole.len(),
        );
        let _ = Damaged {
            kind: &hdf5::KIND,
            settings: &settings,
            what: &what,
            bytes,
        }
        .read();
        let _ = hdf5::inspect(&path).map(|d| d.to_string());
    }
}
