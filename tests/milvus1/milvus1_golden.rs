//! Are directories that Milvus's own code wrote read row by row as they should be, and left as they were?

#![allow(clippy::unwrap_used)]

use crate::support::{milvus1_files as milvus1, run_alone};

use std::path::Path;
use std::process::Command;

use milvus1::{LIMITS, SMALL, check, copy, cuts, fingerprint, golden, open, open_for, read, sql};
use milvusdm::batch::Keys;
use milvusdm::error::Kind;

const CLEAN: [&str; 2] = ["v1.1.1", "v1.0.0"];

#[test]
fn every_table_of_every_golden_directory_is_read_as_it_should_be() {
    for version in CLEAN {
        for access in ["access: map", "access: read"] {
            for limits in [LIMITS, SMALL] {
                let source = open(&golden(version).join("milvus"), access).unwrap();
                check(version, &read(&*source, limits).unwrap());
            }
        }
        // The db directory itself will do.
        let source = open(&golden(version).join("milvus/db"), "").unwrap();
        check(version, &read(&*source, LIMITS).unwrap());
    }
}

#[test]
fn floats_that_are_none_and_rows_that_repeat_travel_as_they_are() {
    let source = open(&golden("v1.1.1/milvus"), "collections: [f8_l2, f8_dupids]").unwrap();
    let read = read(&*source, LIMITS).unwrap();
    let words = |bytes: &[u8]| -> Vec<u32> {
        let words = bytes
            .chunks(4)
            .map(|w| u32::from_le_bytes(w.try_into().unwrap()));
        words.collect()
    };
    let odd: Vec<u32> = read.rows[0]
        .iter()
        .flat_map(|(_, v)| words(v))
        .filter(|w| !f32::from_bits(*w).is_normal())
        .collect();
    assert!(odd.iter().any(|w| f32::from_bits(*w).is_nan()), "{odd:x?}");
    assert!(odd.contains(&(-0.0f32).to_bits()), "{odd:x?}");
    let ids: Vec<i64> = read.rows[0].iter().map(|(id, _)| *id).collect();
    assert!(ids.contains(&(i64::MAX - 1)) && ids.iter().any(|id| *id < -1_000_000_000));
    let repeated = &read.rows[1];
    assert_eq!(repeated.len(), 10);
    assert!(
        repeated
            .iter()
            .any(|(a, _)| repeated.iter().filter(|(b, _)| a == b).count() > 1)
    );
}

#[test]
fn targets_say_what_is_known_of_them() {
    let source = open(&golden("v1.1.1/milvus"), "").unwrap();
    let survey = source.survey(LIMITS).unwrap();
    let target = |name: &str| {
        let found = survey
            .manifest
            .targets
            .iter()
            .find(|t| t.name.to_string() == name);
        found.unwrap().clone()
    };
    assert!(target("f8_autoid").auto_id);
    assert!(!target("f128_ip/p1").auto_id);
    assert!(
        survey
            .manifest
            .targets
            .iter()
            .all(|t| t.keys == Keys::Stored)
    );
    let index = |name: &str| {
        let index = target(name).index().cloned().unwrap();
        let params = index.params.iter().map(|(k, v)| format!(" {k}={v}"));
        format!("{}{}", index.kind, params.collect::<String>())
    };
    assert_eq!(index("f8_indexed"), "IVF_FLAT nlist=64");
    assert_eq!(index("f8_toindex"), "HNSW M=16 efConstruction=200");
    assert_eq!(index("f128_ip/p1"), "FLAT");
    assert_eq!(index("b128_substructure"), "BIN_FLAT");
    assert_eq!(target("f8_alldeleted").rows_deleted, 50);
    assert_eq!(survey.warnings, [""; 0]);

    let source = open(&golden("v1.0.0/milvus"), "").unwrap();
    let warnings = source.survey(LIMITS).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("f8_dupdel: metadata counts 37 rows, 38 are live"));
}

#[test]
fn reading_goes_on_from_any_position_as_if_it_had_never_stopped() {
    let path = golden("v1.1.1/milvus");
    let source = open(&path, "collections: [f8_l2, b64_hamming, f8_alldeleted]").unwrap();
    let survey = source.survey(SMALL).unwrap();
    assert!(
        survey.manifest.shards.len() > 5,
        "segments are cut into shards"
    );
    for shard in &survey.manifest.shards {
        let said = |from| -> Vec<_> {
            let cuts = cuts(&*source, shard, from, SMALL).unwrap();
            let ids = |c: &milvusdm::batch::Cut| -> Vec<i64> {
                c.parts.iter().flat_map(|p| p.ids().to_vec()).collect()
            };
            cuts.iter().map(|c| (ids(c), c.next.clone())).collect()
        };
        let whole = said(shard.start.clone());
        assert_eq!(whole.last().unwrap().1, shard.end);
        for (index, (_, next)) in whole.iter().enumerate() {
            assert_eq!(said(next.clone()), whole[index + 1..]);
        }
    }
}

#[test]
fn what_a_crash_left_in_the_log_is_named_and_refused() {
    let path = golden("v1.1.1-crash/milvus");
    let error = open(&path, "").err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    let said = error.to_string();
    for part in [
        "15 inserts into f8_unflushed (10 in _default, 5 in p1)",
        "2 deletes from f8_unflushed",
        "12 inserts into b64_walonly",
        "ignore_wal: true",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let source = open(&path, "ignore_wal: true").unwrap();
    let all = read(&*source, LIMITS).unwrap();
    check("v1.1.1-crash", &all);
    assert_eq!(all.rows[0].len(), 25);
    assert!(all.survey.warnings[0].contains("12 inserts into b64_walonly"));
}

#[test]
fn only_the_log_of_what_travels_is_in_the_way() {
    let path = golden("v1.1.1-crash/milvus");
    let refused = |settings: &str| open(&path, settings).err().unwrap().to_string();
    let said = refused("collections: [b64_walonly]");
    assert!(
        said.contains("12 inserts") && !said.contains("f8_unflushed"),
        "{said}"
    );
    // A delete without a tag is about all partitions.
    let said = refused("collections: {f8_unflushed: [p1]}");
    assert!(
        said.contains("5 inserts into f8_unflushed (5 in p1)"),
        "{said}"
    );
    assert!(
        said.contains("2 deletes from f8_unflushed") && !said.contains("15 "),
        "{said}"
    );
    let said = open_for(&path, &[], &["f8_*"]).err().unwrap().to_string();
    assert!(!said.contains("f8_unflushed"), "{said}");
    let source = open_for(&path, &["none_*"], &[]).unwrap();
    assert!(source.survey(LIMITS).unwrap().manifest.targets.is_empty());
}

#[test]
fn collections_and_partitions_are_chosen_by_name_and_glob() {
    let names = |settings: &str| -> Vec<String> {
        let source = open(&golden("v1.1.1/milvus"), settings).unwrap();
        let manifest = source.survey(LIMITS).unwrap().manifest;
        manifest
            .targets
            .iter()
            .map(|t| t.name.to_string())
            .collect()
    };
    for (settings, expected) in [
        ("collections: f8_l2", "f8_l2"),
        ("collections: [f8_l2, f8_l2, 'f8_l?']", "f8_l2"),
        (
            "collections: {f128_ip: }",
            "f128_ip f128_ip/p1 f128_ip/part 2/a.b f128_ip/empty",
        ),
        (
            "collections: {f128_ip: []}",
            "f128_ip f128_ip/p1 f128_ip/part 2/a.b f128_ip/empty",
        ),
        (
            "collections: {f128_ip: _default, f8_empty: [pe]}",
            "f128_ip f8_empty/pe",
        ),
        ("collections: {f128_ip: ['', p1]}", "f128_ip f128_ip/p1"),
        (
            "collections: {f128_ip: ['p*']}",
            "f128_ip/p1 f128_ip/part 2/a.b",
        ),
        (
            "collections: {'b5*': ['*p'], 'b8_*': }",
            "b512_jaccard/bp b8_tanimoto",
        ),
        (
            "collections: ['b*_j*', f8_autoid]",
            "b512_jaccard b512_jaccard/bp f8_autoid",
        ),
    ] {
        assert_eq!(names(settings).join(" "), expected, "{settings}");
    }
    for (settings, said) in [
        (
            "collections: [f8_12]",
            "no collection is called `f8_12`: there are f8_l2, f128_ip,",
        ),
        ("collections: [f8_12]", "did you mean `f8_l2`?"),
        (
            "collections: [f8_dropped]",
            "no collection is called `f8_dropped`",
        ),
        (
            "collections: {f128_ip: [p1, p2]}",
            "no partition of f128_ip is called `p2`: there are _default, p1, part 2/a.b, empty",
        ),
    ] {
        let error = open(&golden("v1.1.1/milvus"), settings).err().unwrap();
        assert_eq!(error.kind(), Kind::Job);
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// Runs a test of this file again as another process, with this set in its environment.
const CHILD: &str = "MILVUSDM_TEST_CHILD";

fn child(test: &str, path: &Path) -> Command {
    let mut command = run_alone(module_path!(), test);
    command.env(CHILD, path);
    command
}

fn read_all(root: &Path) {
    for version in CLEAN {
        for access in ["access: map", "access: read"] {
            let source = open(&root.join(version).join("milvus"), access).unwrap();
            check(version, &read(&*source, SMALL).unwrap());
        }
    }
    let crashed = root.join("v1.1.1-crash/milvus");
    open(&crashed, "").err().unwrap();
    let source = open(&crashed, "ignore_wal: true").unwrap();
    check("v1.1.1-crash", &read(&*source, LIMITS).unwrap());
    milvusdm::source::milvus1::inspect(&crashed, None).unwrap();
}

#[test]
fn the_directory_stays_as_it_was_and_may_be_read_only() {
    if let Some(root) = std::env::var_os(CHILD) {
        let probe = Path::new(&root).join("v1.1.1/milvus/db/probe");
        assert!(std::fs::write(probe, "x").is_err(), "it can be written to");
        return read_all(Path::new(&root));
    }
    let dir = tempfile::tempdir().unwrap();
    milvus1::copy_tree(&golden(""), dir.path());
    let before = fingerprint(dir.path());
    read_all(dir.path());
    assert_eq!(fingerprint(dir.path()), before, "after reading");

    // A mount of one's own needs no rights where user namespaces are allowed.
    let me = "the_directory_stays_as_it_was_and_may_be_read_only";
    let mount = r#"mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@""#;
    let reading = child(me, dir.path());
    let mut unshare = Command::new("unshare");
    unshare.args(["-rm", "sh", "-c", mount]).arg(dir.path());
    unshare.arg(reading.get_program()).args(reading.get_args());
    let output = unshare.env(CHILD, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    assert_eq!(
        fingerprint(dir.path()),
        before,
        "after reading it read-only"
    );
}

#[test]
fn a_running_server_is_noticed() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let me = "a_running_server_is_noticed";
    if let Some(path) = std::env::var_os(CHILD) {
        let file = std::fs::File::create(Path::new(&path).join("lock")).unwrap();
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        writeln!(std::io::stdout(), "\nlocked").unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let dir = copy("v1.0.0");
    let path = dir.path().join("milvus");
    let warnings = || open(&path, "").unwrap().survey(LIMITS).unwrap().warnings;
    let mut server = child(me, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap() == "locked"));
    let said = warnings();
    let expected = format!("is locked by a running Milvus (process {})", server.id());
    assert!(said[0].contains(&expected), "{said:?}");
    server.stdin.take().unwrap().write_all(b"\n").unwrap();
    server.wait().unwrap();
    assert!(!warnings().iter().any(|w| w.contains("running Milvus")));
}

#[test]
fn a_source_that_changes_is_noticed() {
    let dir = copy("v1.0.0");
    let path = dir.path().join("milvus");
    let identity = |path: &Path| open(path, "").unwrap().survey(LIMITS).unwrap().identity;
    let before = identity(&path);
    assert_eq!(identity(&path), before);
    let source = open(&path, "").unwrap();
    let survey = source.survey(SMALL).unwrap();
    let shard = &survey.manifest.shards[0];
    let mut reader = source.open(shard, shard.start.clone(), SMALL).unwrap();
    let file = reader.next().unwrap().unwrap().parts[0].file.clone();
    let bytes = std::fs::read(&file).unwrap();
    reader.files().unchanged().unwrap();
    source.unchanged().unwrap();
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(
        reader.files().unchanged().unwrap_err().kind(),
        Kind::Changed
    );
    assert_eq!(source.unchanged().unwrap_err().kind(), Kind::Changed);
    let reopened = source
        .open(shard, shard.start.clone(), SMALL)
        .err()
        .unwrap();
    assert_eq!(reopened.kind(), Kind::Changed);
    let source = open(&path, "").unwrap();
    source.unchanged().unwrap();
    std::fs::write(path.join("db/meta.sqlite-wal"), "x").unwrap();
    assert_eq!(source.unchanged().unwrap_err().kind(), Kind::Changed);
    std::fs::remove_file(path.join("db/meta.sqlite-wal")).unwrap();
    assert_ne!(identity(&path), before);
}

#[test]
fn what_cannot_be_carried_is_named() {
    let refused = |change: &dyn Fn(&Path), settings: &str| {
        let dir = copy("v1.1.1");
        let path = dir.path().join("milvus");
        change(&path);
        let error = match open(&path, settings) {
            Ok(source) => read(&*source, LIMITS).err(),
            Err(e) => Some(e),
        };
        error.map(|e| (e.kind(), e.to_string()))
    };
    let hybrid = |path: &Path| {
        sql(path, "INSERT INTO Fields VALUES ('f8_l2', 'age', 5, '{}')");
    };
    let s3 = |path: &Path| {
        let segment = path.join("db/tables/f8_autoid/1795363736076102000");
        std::fs::remove_file(segment.join("1795363736076102000.rv")).unwrap();
        std::fs::remove_file(segment.join("1795363736076102000.uid")).unwrap();
    };
    let moved = |path: &Path| {
        std::fs::remove_dir_all(path.join("db/tables/1795363735833791000")).unwrap();
    };
    let undeleted = |path: &Path| {
        let segment = path.join("db/tables/f8_autoid/1795363736076102000");
        std::fs::remove_file(segment.join("deleted_docs")).unwrap();
    };
    let old = |path: &Path| sql(path, "ALTER TABLE TableFiles DROP COLUMN segment_id");
    let gone = |path: &Path| std::fs::remove_file(path.join("db/meta.sqlite")).unwrap();
    let metric = |path: &Path| {
        sql(
            path,
            "UPDATE Tables SET metric_type = 9 WHERE table_id = 'f8_l2'",
        );
    };
    let dimension = |path: &Path| {
        sql(
            path,
            "UPDATE Tables SET dimension = 16 WHERE table_id = 'f8_l2'",
        );
    };
    let outside = |path: &Path| {
        sql(
            path,
            "UPDATE TableFiles SET segment_id = '../../..' WHERE id = 1",
        );
    };
    type Case<'c> = (&'c dyn Fn(&Path), Kind, &'c str);
    let checks: [Case<'_>; 9] = [
        (&hybrid, Kind::Unsupported, "collection f8_l2 is hybrid"),
        (
            &s3,
            Kind::Unsupported,
            "the vectors of segment 1795363736076102000 of f8_autoid are missing",
        ),
        (
            &moved,
            Kind::Corrupt,
            "segment 1795363735840349000 of f128_ip/p1 is in the metadata, but its directory is missing",
        ),
        (
            &undeleted,
            Kind::Corrupt,
            "segment 1795363736076102000 of f8_autoid lacks the list of deleted rows",
        ),
        (
            &old,
            Kind::Unsupported,
            "has no column segment_id: written by a Milvus older than 0.7",
        ),
        (
            &gone,
            Kind::Job,
            "if this Milvus keeps its metadata in MySQL",
        ),
        (&metric, Kind::Corrupt, "collection f8_l2 has metric_type 9"),
        (
            &dimension,
            Kind::Corrupt,
            "has 300 ids, and 9600 bytes of vectors of 64 bytes each",
        ),
        (
            &outside,
            Kind::Corrupt,
            "segment_id is `../../..`, not the name of a directory",
        ),
    ];
    for (change, kind, said) in checks {
        let (found, text) = refused(change, "").unwrap();
        assert!(text.contains(said), "{text}");
        assert_eq!(found, kind, "{text}");
    }
    // What is left out is not in the way.
    assert_eq!(refused(&hybrid, "collections: ['b*']"), None);
    let dir = copy("v1.1.1");
    let path = dir.path().join("milvus");
    hybrid(&path);
    open_for(&path, &[], &["f8_l2"]).unwrap();
    assert!(open_for(&path, &[], &["f8_autoid"]).is_err());
}

#[test]
fn files_longer_than_they_say_are_read_to_where_they_say() {
    let dir = copy("v1.1.1");
    let path = dir.path().join("milvus");
    let segment = path.join("db/tables/f8_l2/1795363735800285000");
    for name in [
        "1795363735800285000.rv",
        "1795363735800285000.uid",
        "deleted_docs",
    ] {
        let mut bytes = std::fs::read(segment.join(name)).unwrap();
        bytes.extend([0xff; 13]);
        std::fs::write(segment.join(name), bytes).unwrap();
    }
    let all = read(&*open(&path, "").unwrap(), SMALL).unwrap();
    check("v1.1.1", &all);
    let said = &all.survey.warnings;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("in 3 files, the first") && said[0].contains("(13 bytes)"),
        "{said:?}"
    );
}

#[test]
fn an_inspection_describes_what_the_source_would_refuse() {
    let dir = copy("v1.1.1");
    let path = dir.path().join("milvus");
    sql(
        &path,
        "INSERT INTO Fields VALUES ('f8_toindex', 'age', 5, '{}')",
    );
    std::fs::remove_file(path.join("db/tables/f8_autoid/1795363736076102000/deleted_docs"))
        .unwrap();
    let description = milvusdm::source::milvus1::inspect(&path, None).unwrap();
    let text = description.to_string();
    for part in [
        "collection f128_ip: float32 × 128, IP, index FLAT",
        "  partition part 2/a.b: 48 rows, 2 deleted, 1 segments, ids ",
        "collection f8_autoid: float32 × 8, L2, index FLAT, ids made by the server",
        "cannot be recovered: it is hybrid",
        "segment 1795363736076102000 of f8_autoid/_default lacks the list of deleted rows",
        "log: nothing that is not in segments",
        "rows can be recovered losslessly; 1 of 14 collections not at all; 1 segments not at all",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = serde_json::to_value(&description).unwrap();
    assert_eq!(json["collections"][0]["partitions"][0]["rows"], 641);
    assert_eq!(
        json["collections"][0]["partitions"][0]["ids"][1],
        9223372036854775806i64
    );
    let crashed = milvusdm::source::milvus1::inspect(&golden("v1.1.1-crash/milvus"), None).unwrap();
    assert!(
        crashed
            .to_string()
            .contains("log, never flushed: 15 inserts into f8_unflushed")
    );
}
