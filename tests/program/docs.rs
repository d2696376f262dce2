//! What the documentation shows works: each job in it is one, each block marked `runnable` runs, and a first job made
//! by `init` runs once two lines are edited.
//!
//! A page is read from its beginning in a directory of its own, which holds [`inputs`]. Blocks that begin with
//! ```` ```yaml runnable=NAME ```` are written to NAME and planned; the lines of ```` ```sh runnable ```` are run. The
//! address 127.0.0.1:19530 in them is that of a real Milvus 2.3.5.

#[allow(unused)]
use crate::support::milvus2x as unpacked;

use crate::support;

use std::path::{Path, PathBuf};
use std::process::Command;

use milvusdm::job::Job;
use milvusdm::sink::SINKS;
use milvusdm::source::SOURCES;
use support::{Engine, Server};

const SHOWN_ADDRESS: &str = "127.0.0.1:19530";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a shell line in a directory, `milvusdm` on its path: whether it went well, and what it said.
fn sh(room: &Path, line: &str) -> (bool, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_milvusdm"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(room)
        .env("PATH", path)
        .env("HOME", room)
        .env_remove("XDG_STATE_HOME")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

const ARRAYS: &str = r#"
import numpy as np, h5py, sys
room = sys.argv[1]
rng = np.random.default_rng(7)
vectors = rng.standard_normal((300, 16), dtype=np.float32)
ids = np.arange(1000, 1300)
np.save(f"{room}/embeddings.npy", vectors)
np.save(f"{room}/ids.npy", ids)
with open(f"{room}/base.fvecs", "wb") as file:
    for row in vectors:
        np.int32(16).tofile(file)
        row.tofile(file)
with h5py.File(f"{room}/vectors.h5", "w") as file:
    file["embeddings"], file["ids"] = vectors, ids
import faiss
index = faiss.IndexIDMap(faiss.IndexFlatL2(16))
index.add_with_ids(vectors, ids)
faiss.write_index(index, f"{room}/vectors.index")
"#;

const TABLE: &str = r#"
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, sys
vectors = np.random.default_rng(8).standard_normal((300, 16), dtype=np.float32)
table = pa.table({
    "id": pa.array(range(1000, 1300), pa.int64()),
    "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
})
pq.write_table(table, f"{sys.argv[1]}/vectors.parquet")
"#;

/// What pages and first jobs find in their directory: `vectors.index`, `vectors.h5`, `base.fvecs`, `embeddings.npy`,
/// `ids.npy`, `vectors.parquet`, `milvus/` of a Milvus 1.x, `storage/` of a Milvus 2.x and `backup/` of it.
fn inputs(room: &Path) {
    let mut python = Command::new(support::python());
    let output = python.args(["-c", ARRAYS]).arg(room).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let tables = support::test_env().join("tables/bin/python");
    let output = Command::new(tables)
        .args(["-c", TABLE])
        .arg(room)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let fixture = root().join("tests/fixtures/milvus1x/v1.0.0/milvus");
    let (copied, said) = sh(room, &format!("cp -r '{}' milvus", fixture.display()));
    assert!(copied, "{said}");
    unpacked::unpack(room);
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// The blocks of a page: what stands after the backticks, and the text.
fn blocks(page: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(page).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => open = Some((info.trim().to_owned(), String::new())),
            (None, Some((_, block))) => block.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block does not end", page.display());
    blocks
}

#[test]
fn every_job_in_the_documentation_is_a_job() {
    let mut jobs = 0;
    for page in pages() {
        for (info, text) in blocks(&page) {
            let is_job = ["source:", "F2M:", "H2M:", "M2M:", "M2H:"];
            let is_job = is_job
                .iter()
                .any(|key| text.lines().any(|line| line.starts_with(key)));
            if !info.starts_with("yaml") || !is_job {
                continue;
            }
            jobs += 1;
            let room = tempfile::tempdir().unwrap();
            let name = room.path().join("job.yaml");
            std::fs::write(&name, &text).unwrap();
            let job = Job::read(&name).and_then(|job| job.check().map(|()| job));
            let job = job.unwrap_or_else(|e| panic!("{}: {e}\n{text}", page.display()));
            assert!(
                SOURCES.iter().any(|kind| kind.name == job.source.name),
                "{text}"
            );
            assert!(
                SINKS.iter().any(|kind| kind.name == job.sink.name),
                "{text}"
            );
        }
    }
    assert!(jobs >= 10, "{jobs}");
}

#[test]
fn every_link_within_the_documentation_leads_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap();
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = page.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
        }
    }
}

#[test]
fn every_kind_has_a_page() {
    for kind in SOURCES {
        let page = root().join(format!("docs/sources/{}.md", kind.name));
        assert!(page.exists(), "{} is missing", page.display());
    }
    for kind in SINKS {
        let page = root().join(format!("docs/sinks/{}.md", kind.name));
        assert!(page.exists(), "{} is missing", page.display());
    }
}

#[test]
fn what_the_documentation_marks_as_runnable_runs() {
    let server = Server::shared(Engine::Standalone);
    let mut run = 0;
    for page in pages() {
        let marked = blocks(&page)
            .into_iter()
            .filter(|(info, _)| info.contains(" runnable"));
        let marked: Vec<(String, String)> = marked.collect();
        if marked.is_empty() {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let room = directory.path();
        inputs(room);
        for (info, text) in marked {
            let text = text.replace(SHOWN_ADDRESS, &server.address());
            let line = match info.split_once(" runnable=") {
                Some(("yaml", name)) => {
                    std::fs::write(room.join(name), &text).unwrap();
                    format!("milvusdm plan {name}")
                }
                _ => {
                    assert_eq!(info, "sh runnable", "{}", page.display());
                    text
                }
            };
            let (went_well, said) = sh(room, &line);
            assert!(went_well, "{}:\n{line}\n{said}", page.display());
            run += 1;
        }
    }
    assert!(run >= 10, "{run}");
}

/// The lines to edit of a first job, and what they become.
fn edited(job: &str, source: &str, sink: &str, address: &str) -> String {
    let with = |line: &str| {
        let key = line.trim_start().split(':').next().unwrap();
        let value = match (source, key) {
            (_, "address") => format!("\"http://{address}\""),
            (_, "dir") => format!("out_{source}_{sink}"),
            ("faiss", "path") => "vectors.index".to_owned(),
            ("hdf5", "paths") => "[vectors.h5]".to_owned(),
            ("milvus1", "path") => "milvus".to_owned(),
            ("numpy", "vectors") => "embeddings.npy".to_owned(),
            ("vecs", "path") => "base.fvecs".to_owned(),
            ("parquet", "paths") => "[vectors.parquet]".to_owned(),
            _ => panic!("{source} to {sink}: what is `{line}`?"),
        };
        let indent = line.len() - line.trim_start().len();
        format!("{}{key}: {value}", " ".repeat(indent))
    };
    let lines = job.lines().map(|line| match line.contains("# EDIT") {
        true => with(line),
        false => line.replace("my_collection", &format!("first_{source}")),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_first_job_runs_once_its_marked_lines_are_edited() {
    let server = Server::shared(Engine::Standalone);
    let directory = tempfile::tempdir().unwrap();
    let room = directory.path();
    inputs(room);
    let is_here = |name: &str| SINKS.iter().any(|kind| kind.name == name);
    let sinks = ["milvus", "parquet", "hdf5"]
        .into_iter()
        .filter(|name| is_here(name));
    for sink in sinks {
        let sources = SOURCES.iter().filter(|kind| FILES.contains(&kind.name));
        for source in sources.map(|kind| kind.name) {
            let name = format!("{source}_{sink}.yaml");
            let (made, said) = sh(room, &format!("milvusdm init {source} {sink} -o {name}"));
            assert!(made, "{said}");
            let job = std::fs::read_to_string(room.join(&name)).unwrap();
            let edits = job.lines().filter(|line| line.contains("# EDIT")).count();
            assert_eq!(edits, 2, "{job}");
            let job = edited(&job, source, sink, &server.address());
            std::fs::write(room.join(&name), job).unwrap();
            let (planned, said) = sh(room, &format!("milvusdm plan {name}"));
            assert!(planned, "{name}: {said}");
            let (went_well, said) = sh(room, &format!("milvusdm run {name}"));
            assert!(went_well && said.contains("done: "), "{name}: {said}");
            let (again, said) = sh(room, &format!("milvusdm run {name}"));
            assert!(again && said.contains("nothing to do"), "{name}: {said}");
        }
    }
}

/// Sources whose inputs [`inputs`] makes.
const FILES: [&str; 6] = ["faiss", "hdf5", "milvus1", "numpy", "parquet", "vecs"];

#[test]
fn the_cases_of_other_tools_name_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("tests/CASES.md")).unwrap();
    let (mut cases, mut named) = (0, 0);
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        cases += usize::from(line[2..].starts_with(|c: char| c.is_ascii_digit()));
        for word in line.split('`').filter(|word| word.contains("::")) {
            let (file, test) = word.split_once("::").unwrap();
            let places = match file {
                "lib" => vec![root().join("src")],
                file => std::fs::read_dir(root().join("tests"))
                    .unwrap()
                    .map(|topic| topic.unwrap().path())
                    .flat_map(|topic| [topic.join(format!("{file}.rs")), topic.join(file)])
                    .collect(),
            };
            let found = places.iter().any(|place| has_test(place, test));
            assert!(found, "{word} is no test");
            named += 1;
        }
    }
    assert_eq!(cases, 22);
    assert!(named > cases, "{named}");
}

/// Whether a file, or one below a directory, has a test of this name.
fn has_test(place: &Path, name: &str) -> bool {
    if place.is_dir() {
        let entries = std::fs::read_dir(place).unwrap();
        return entries
            .into_iter()
            .any(|entry| has_test(&entry.unwrap().path(), name));
    }
    let text = std::fs::read_to_string(place).unwrap_or_default();
    text.contains(&format!("#[test]\nfn {name}("))
        || text.contains(&format!("#[test]\n    fn {name}("))
}
