//! Holds the code to the map at the top of src/lib.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let read = |path: PathBuf| {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// The room a file belongs to: `source/faiss/mod.rs` and `source.rs` are both `source`.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Rooms and whom they may call, from the table in lib.rs.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let lib = sources()
        .into_iter()
        .find(|(name, _)| name == "lib.rs")
        .unwrap()
        .1;
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let calls = cells[2].split_whitespace().map(str::to_owned).collect();
        (cells[0].trim_end_matches('`').to_owned(), calls)
    })
    .collect()
}

/// Rooms named by `crate::room` in code, tests and comments left out.
fn calls(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    let mut calls = BTreeSet::new();
    for line in lines {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            calls.insert(name);
        }
    }
    calls
}

#[test]
fn rooms_call_only_whom_the_map_says() {
    let table = table();
    assert!(table.len() > 10, "the table in lib.rs was not found");
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let room = room(&file);
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let Some(may) = table.get(room) else {
            wrong.push(format!("{file}: room `{room}` is not on the map"));
            continue;
        };
        for call in calls(&text) {
            if call != room && !may.contains(&call) {
                wrong.push(format!(
                    "{file} calls `{call}`, which the map does not allow `{room}`"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_map_has_no_room_that_is_not_built() {
    let built: BTreeSet<String> = sources().iter().map(|(f, _)| room(f).to_owned()).collect();
    let missing: Vec<String> = table().into_keys().filter(|r| !built.contains(r)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn unsafe_code_lives_only_in_the_files_the_map_names() {
    let lib = sources()
        .into_iter()
        .find(|(name, _)| name == "lib.rs")
        .unwrap()
        .1;
    for (file, text) in sources() {
        let allows = text.contains("allow(unsafe_code)");
        assert!(
            !allows || lib.contains(&format!("`{file}`")),
            "{file} allows unsafe code and is not named in lib.rs"
        );
    }
}

#[test]
fn no_source_knows_a_sink_and_async_stays_in_its_room() {
    for (file, text) in sources() {
        let code = text
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        if room(&file) != "call" {
            assert!(
                !code.contains("async fn")
                    && !code.contains("tokio::")
                    && !code.contains("tonic::"),
                "{file}"
            );
        }
        // Our own rooms of that name are not the library.
        let library = code
            .replace("source::hdf5", "")
            .replace("hdf5::KIND", "")
            .replace("hdf5::inspect", "");
        if !["h5", "source/hdf5", "sink/hdf5"]
            .iter()
            .any(|r| file.starts_with(r))
        {
            assert!(!library.contains("hdf5::"), "{file} talks to libhdf5");
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "{file} has no //! line");
        let lines = text.split("#[cfg(test)]").next().unwrap().lines().count();
        assert!(
            lines <= 600,
            "{file} has {lines} lines: too long to read at a sitting"
        );
    }
}
