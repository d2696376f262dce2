//! One registry of job keys: what the parser takes, what the schema takes and what new jobs show are the same.
//!
//! Each setting is given values of its shape and of other shapes; the parser's verdict and that of a JSON Schema
//! validator must agree on every one of the jobs so made.

#[allow(unused)]
use crate::support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use milvusdm::job::settings::GENERAL;
use milvusdm::job::{CLASSIC, Form, Job, Need, Setting, Takes};
use milvusdm::sink::SINKS;
use milvusdm::source::SOURCES;
use serde_yaml::{Mapping, Value};

use support::milvusdm;

/// What a validator says of each document by the schema that the program writes: `Ok`, or why not.
fn validate(documents: &[Value]) -> Vec<Result<(), String>> {
    let room = tempfile::tempdir().unwrap();
    let (code, _, said) = milvusdm(room.path(), &["schema", "-o", "job.schema.json"]);
    assert_eq!(code, Some(0), "{said}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/validate.py");
    let mut python = Command::new(support::python())
        .arg(script)
        .arg(room.path().join("job.schema.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = String::new();
    for document in documents {
        lines.push_str(&serde_json::to_string(document).unwrap());
        lines.push('\n');
    }
    let mut stdin = python.stdin.take().unwrap();
    let write = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    write.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let verdicts: Vec<_> = text
        .lines()
        .map(|line| match serde_json::from_str(line).unwrap() {
            serde_json::Value::Bool(true) => Ok(()),
            why => Err(why.to_string()),
        })
        .collect();
    assert_eq!(verdicts.len(), documents.len());
    verdicts
}

/// All mistakes that the parser finds in a job, each with its key path, sources and sinks included.
fn mistakes(document: &Value) -> BTreeMap<String, String> {
    let text = serde_yaml::to_string(document).unwrap();
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    for (what, endpoint) in [("source", &job.source), ("sink", &job.sink)] {
        let path = format!("{what}.{}", endpoint.name);
        let settings = endpoint.settings.clone();
        let source = SOURCES
            .iter()
            .find(|k| what == "source" && k.name == endpoint.name);
        let sink = SINKS
            .iter()
            .find(|k| what == "sink" && k.name == endpoint.name);
        if let Some(kind) = source {
            let mut form = Form::new(path, settings, kind.settings, &job.mistakes);
            let _ = (kind.read)(&mut form);
            form.done();
        } else if let Some(kind) = sink {
            let mut form = Form::new(path, settings, kind.settings, &job.mistakes);
            let _ = (kind.read)(&mut form);
            form.done();
        } else if !endpoint.name.is_empty() {
            job.mistakes
                .add(what, format!("unknown {what} `{}`", endpoint.name), None);
        }
    }
    let all = job.mistakes.all().into_iter();
    all.map(|m| (m.key, m.what)).collect()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Values that fit a setting.
fn fitting(setting: &Setting) -> Vec<Value> {
    let mut values = fitting_shapes(&setting.takes);
    for text in [setting.default, setting.example] {
        if !text.is_empty() && !text.contains("${") {
            values.push(yaml(text));
        }
    }
    if setting.need == Need::Optional {
        values.extend([Value::Null, "".into()]);
    }
    // Text of every kind is not a server's address, and not a place for braces.
    if setting.name == "address" {
        values.retain(|value| value.as_str().is_some_and(|text| text.contains(':')));
    }
    values
}

fn fitting_shapes(takes: &Takes) -> Vec<Value> {
    match takes {
        Takes::Text | Takes::Secret | Takes::Path => vec!["text".into(), 7.into(), true.into()],
        Takes::Texts | Takes::Paths => vec!["text".into(), yaml("[one, 2]")],
        Takes::Number(min, max) => vec![(*min).into(), (*max).into(), max.to_string().into()],
        Takes::NumberOrAuto(min, max) => vec!["auto".into(), (*min).into(), (*max).into()],
        Takes::Flag => vec![true.into(), false.into(), "yes".into(), "off".into()],
        Takes::Choice(words) => {
            let mut values: Vec<Value> = words.iter().map(|word| (*word).into()).collect();
            values.extend(words.iter().map(|word| word.to_uppercase().into()));
            values
        }
        Takes::Size => vec!["64KiB".into(), "1 mb".into(), 100_000.into()],
        Takes::Duration => vec!["10m".into(), "1h30m".into(), 90.into(), "250ms".into()],
        Takes::Map(settings) => vec![Value::Mapping(least(settings))],
        Takes::Names(each) => {
            let map = |value| Value::Mapping(Mapping::from_iter([("name".into(), value)]));
            fitting_shapes(each).into_iter().map(map).collect()
        }
        Takes::Any(all) => all.iter().flat_map(fitting_shapes).collect(),
    }
}

/// Values that do not fit a setting, whatever else is there.
fn unfitting(takes: &Takes) -> Vec<Value> {
    let all = [
        yaml("{a: {b: c}}"),
        yaml("[[1]]"),
        yaml("[a, b]"),
        "no such word".into(),
        (-5).into(),
        2.5.into(),
    ];
    let fits = |takes: &Takes, value: &Value| match (takes, value) {
        (Takes::Text | Takes::Secret | Takes::Path, value) => {
            !value.is_mapping() && !value.is_sequence()
        }
        (Takes::Texts | Takes::Paths, Value::Sequence(items)) => !items[0].is_sequence(),
        (Takes::Texts | Takes::Paths, value) => !value.is_mapping(),
        // A map of anything, such as a query.
        (Takes::Names(Takes::Any(_)), Value::Mapping(_)) => true,
        (Takes::Names(_), Value::Mapping(_)) => false,
        _ => false,
    };
    let takes = match takes {
        Takes::Any(all) => all.to_vec(),
        one => vec![*one],
    };
    let values = all.into_iter();
    values
        .filter(|value| !takes.iter().any(|t| fits(t, value)))
        .collect()
}

/// The fewest settings that a map takes.
fn least(settings: &[Setting]) -> Mapping {
    let mut map = Mapping::new();
    let mut chosen = false;
    for setting in settings {
        let wanted = match setting.need {
            Need::Required => true,
            Need::OneOf => !std::mem::replace(&mut chosen, true),
            Need::Optional => false,
        };
        if wanted {
            map.insert(
                setting.name.into(),
                fitting(setting).pop().expect("a value that fits"),
            );
        }
    }
    map
}

/// The same with a setting; of those of which there must be one, only it.
fn with(settings: &[Setting], setting: &Setting, value: Value) -> Mapping {
    let mut map = least(settings);
    if setting.need == Need::OneOf {
        map.retain(|key, _| {
            settings
                .iter()
                .any(|s| key == s.name && s.need != Need::OneOf)
        });
    }
    map.insert(setting.name.into(), value);
    map
}

/// Every map of settings there is: its key path, and how a job is made that has it.
type Place = (String, &'static [Setting], Box<dyn Fn(Mapping) -> Value>);

fn places() -> Vec<Place> {
    let source = || Mapping::from_iter([("faiss".into(), yaml("{path: a.index}"))]);
    let sink = || Mapping::from_iter([("hdf5".into(), yaml("{path: out.h5}"))]);
    let job = move |source: Mapping, sink: Mapping| {
        Mapping::from_iter([
            ("source".into(), source.into()),
            ("sink".into(), sink.into()),
        ])
    };
    let mut places: Vec<Place> = Vec::new();
    for kind in SOURCES {
        let of = move |map: Mapping| {
            Value::Mapping(job(
                Mapping::from_iter([(kind.name.into(), map.into())]),
                sink(),
            ))
        };
        add(
            &mut places,
            format!("source.{}", kind.name),
            kind.settings,
            std::rc::Rc::new(of),
        );
    }
    for kind in SINKS {
        let of = move |map: Mapping| {
            Value::Mapping(job(
                source(),
                Mapping::from_iter([(kind.name.into(), map.into())]),
            ))
        };
        add(
            &mut places,
            format!("sink.{}", kind.name),
            kind.settings,
            std::rc::Rc::new(of),
        );
    }
    for setting in GENERAL {
        let of = move |map: Mapping| {
            let mut job = job(source(), sink());
            job.insert(setting.name.into(), map.into());
            Value::Mapping(job)
        };
        let settings = setting.takes.settings().unwrap();
        add(
            &mut places,
            setting.name.to_owned(),
            settings,
            std::rc::Rc::new(of),
        );
    }
    places
}

fn add(
    places: &mut Vec<Place>,
    path: String,
    settings: &'static [Setting],
    of: std::rc::Rc<dyn Fn(Mapping) -> Value>,
) {
    for setting in settings {
        if let Some(inner) = setting.takes.settings() {
            let of = of.clone();
            let around = move |map: Mapping| of(with(settings, setting, map.into()));
            add(
                places,
                format!("{path}.{}", setting.name),
                inner,
                std::rc::Rc::new(around),
            );
        }
    }
    places.push((path, settings, Box::new(move |map| of(map))));
}

#[test]
fn the_parser_and_the_schema_take_the_same_jobs() {
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for (path, settings, of) in places() {
        for setting in settings {
            let key = format!("{path}.{}", setting.name);
            for value in fitting(setting) {
                right.push((key.clone(), of(with(settings, setting, value))));
            }
            for value in unfitting(&setting.takes) {
                wrong.push((key.clone(), of(with(settings, setting, value))));
            }
            if setting.need == Need::Required {
                let mut map = least(settings);
                map.remove(setting.name);
                wrong.push((key, of(map)));
            }
        }
        let mut map = least(settings);
        map.insert("no_such_key".into(), 1.into());
        wrong.push((format!("{path}.no_such_key"), of(map)));
    }
    assert!(
        right.len() > 300 && wrong.len() > 300,
        "{} {}",
        right.len(),
        wrong.len()
    );
    let mut blamed = Vec::new();
    for (key, job) in &right {
        let found = mistakes(job);
        // What goes together with what is for the parser alone, and is said of other keys or of a rule.
        let about_shape = |what: &String| {
            ["is not", "neither", "must be", "unknown"]
                .iter()
                .any(|w| what.contains(w))
        };
        let what = found.get(key).filter(|what| about_shape(what));
        blamed.extend(what.map(|what| (key, what.clone(), serde_yaml::to_string(job).unwrap())));
    }
    assert!(blamed.is_empty(), "{blamed:#?}");
    for (key, job) in &wrong {
        let found = mistakes(job);
        let blamed = found.keys().any(|found| found.starts_with(key.as_str()));
        assert!(
            blamed,
            "{key} of\n{}found {found:?}",
            serde_yaml::to_string(job).unwrap()
        );
    }
    let documents: Vec<Value> = right
        .iter()
        .chain(&wrong)
        .map(|(_, job)| job.clone())
        .collect();
    let verdicts = validate(&documents);
    for ((key, job), verdict) in right.iter().zip(&verdicts) {
        assert_eq!(
            verdict,
            &Ok(()),
            "{key} of\n{}",
            serde_yaml::to_string(job).unwrap()
        );
    }
    for ((key, job), verdict) in wrong.iter().zip(&verdicts[right.len()..]) {
        assert!(
            verdict.is_err(),
            "{key} of\n{}",
            serde_yaml::to_string(job).unwrap()
        );
    }
}

fn shipped() -> Vec<PathBuf> {
    let yamls = Path::new(env!("CARGO_MANIFEST_DIR")).join("yamls");
    let files = std::fs::read_dir(yamls).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_shipped_job_fits_the_shipped_schema() {
    let files = shipped();
    assert!(files.len() >= 14);
    let mut documents = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(
            text.starts_with("# yaml-language-server: $schema=job.schema.json\n"),
            "{} does not name its schema in the first line",
            file.display()
        );
        documents.push(yaml(&text));
        assert_eq!(
            mistakes(&yaml(&text)),
            BTreeMap::new(),
            "{}",
            file.display()
        );
    }
    for (file, verdict) in files.iter().zip(validate(&documents)) {
        assert_eq!(verdict, Ok(()), "{}", file.display());
    }
    let shipped = files[0].with_file_name("job.schema.json");
    let (_, schema, _) = milvusdm(Path::new("/"), &["schema"]);
    assert!(
        std::fs::read_to_string(&shipped).unwrap_or_default() == schema,
        "settings have changed: cargo run -- schema -o yamls/job.schema.json"
    );
}

#[test]
fn classic_jobs_that_the_parser_refuses_do_not_fit_the_schema() {
    let f2m = "milvus_version: 2.x, data_path: a.index, dest_host: h";
    let m2h = "source_milvus_path: /m, data_dir: out";
    let cases = [
        (format!("F2M: {{{f2m}}}"), true),
        (
            format!("F2M: {{{f2m}, dest_port: 19530, mode: APPEND, mysql_parameter: }}"),
            false,
        ),
        (
            format!("F2M: {{{f2m}, dest_port: '19530', mode: Skip, dest_partition_name: ''}}"),
            true,
        ),
        (
            format!("F2M: {{{f2m}, collection_parameter: {{dimension: 4, metric_type: l2}}}}"),
            true,
        ),
        (format!("F2M: {{{f2m}, collection_parameter: }}"), true),
        (
            format!("F2M: {{{f2m}, collection_parameter: {{dimensions: 4}}}}"),
            false,
        ),
        (format!("F2M: {{{f2m}, dest_port: 70000}}"), false),
        (format!("F2M: {{{f2m}, mode: replace}}"), false),
        (
            format!("F2M: {{{f2m}, run: {{verify: off, batch: 1MiB}}}}"),
            true,
        ),
        (format!("F2M: {{{f2m}, run: {{verfy: off}}}}"), false),
        (format!("F2M: {{{f2m}}}\nrun: {{}}"), false),
        ("F2M: {data_path: a.index}".to_owned(), false),
        (
            "H2M: {data_path: [a.h5, b.h5], data_dir: , dest_host: h}".to_owned(),
            true,
        ),
        (
            "H2M: {data_path: [a.h5], data_dir: d, dest_host: h}".to_owned(),
            false,
        ),
        ("H2M: {dest_host: h}".to_owned(), false),
        (
            format!("M2H: {{{m2h}, mysql_parameter: '', source_collection: {{a: [p, q], b: }}}}"),
            true,
        ),
        (
            format!("M2H: {{{m2h}, source_collection: [a, b], compression: GZIP1}}"),
            true,
        ),
        (format!("M2H: {{{m2h}, compression: zip}}"), false),
        (
            format!("M2H: {{{m2h}, mysql_parameter: {{host: h, user: u, database: d}}}}"),
            true,
        ),
        (
            format!("M2H: {{{m2h}, mysql_parameter: {{host: h}}}}"),
            false,
        ),
        ("M2H: {source_milvus_path: /m}".to_owned(), false),
        (
            "M2M: {source_milvus_path: /m, dest_host: h, mode: skip, index: source}".to_owned(),
            true,
        ),
        ("source: {faiss: {path: a}}".to_owned(), false),
        (
            "source: {faiss: {path: a}, hdf5: {paths: b}}\nsink: {hdf5: {path: c}}".to_owned(),
            false,
        ),
        (
            "source: {fiass: {path: a}}\nsink: {hdf5: {path: c}}".to_owned(),
            false,
        ),
        (
            "source: {faiss: {path: a, dir: b}}\nsink: {hdf5: {path: c}}".to_owned(),
            false,
        ),
        (
            "source: {faiss: {path: '', dir: b}}\nsink: {hdf5: {path: c}}".to_owned(),
            true,
        ),
        (
            "source: {faiss: {path: a}}\nsink: {hdf5: {path: c}}\ndimension: 4".to_owned(),
            false,
        ),
    ];
    let documents: Vec<Value> = cases.iter().map(|(text, _)| yaml(text)).collect();
    for (((text, is_right), document), verdict) in
        cases.iter().zip(&documents).zip(validate(&documents))
    {
        let found = mistakes(document);
        assert_eq!(found.is_empty(), *is_right, "{text}: {found:?}");
        assert_eq!(verdict.is_ok(), *is_right, "{text}: {verdict:?}");
    }
    assert!(
        CLASSIC
            .iter()
            .all(|name| cases.iter().any(|(text, _)| text.starts_with(name)))
    );
}

/// All that a new job shows, comments taken for settings; of those of which one is needed, the one it chose.
fn unfolded(job: &str) -> Value {
    let settings = |line: &str| {
        let bare = line.replacen("# ", "", 1);
        let is_key = |text: &str| {
            let word = text.trim_start().split(':').next().unwrap_or_default();
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        };
        match line.trim_start().starts_with("# ") && is_key(&bare) && bare.contains(':') {
            true if line.contains("one of these is required") => None,
            true => Some(bare),
            false => Some(line.to_owned()),
        }
    };
    let lines: Vec<String> = job.lines().filter_map(settings).collect();
    yaml(&lines.join("\n"))
}

#[test]
fn a_new_job_for_every_pair_fits_the_schema_with_and_without_its_comments() {
    let room = tempfile::tempdir().unwrap();
    let (mut names, mut documents) = (Vec::new(), Vec::new());
    for source in SOURCES {
        for sink in SINKS {
            let (code, job, said) = milvusdm(room.path(), &["init", source.name, sink.name]);
            assert_eq!(code, Some(0), "{said}");
            let edits = job.lines().filter(|line| line.contains("EDIT:")).count();
            // A server and what to read of it, and where it goes.
            assert!((1..=3).contains(&edits), "{edits} lines to edit:\n{job}");
            assert_eq!(mistakes(&yaml(&job)), BTreeMap::new(), "{job}");
            names.push(format!("{} to {}", source.name, sink.name));
            documents.push(yaml(&job));
            names.push(format!("{} to {}, comments too", source.name, sink.name));
            let all = unfolded(&job);
            let shown = all["source"][source.name].as_mapping().unwrap().len();
            let one_of = source
                .settings
                .iter()
                .filter(|s| s.need == Need::OneOf)
                .count();
            assert_eq!(
                shown,
                source.settings.len() - one_of.saturating_sub(1),
                "{job}"
            );
            assert!(all["run"]["patience"].is_string(), "{job}");
            documents.push(all);
        }
    }
    for ((name, document), verdict) in names.iter().zip(&documents).zip(validate(&documents)) {
        assert_eq!(
            verdict,
            Ok(()),
            "{name}:\n{}",
            serde_yaml::to_string(document).unwrap()
        );
    }
    let path = room.path();
    assert_eq!(
        milvusdm(path, &["init", "faiss", "milvus", "-o", "a.yaml"]).0,
        Some(0)
    );
    let (code, _, said) = milvusdm(path, &["init", "faiss", "milvus", "-o", "a.yaml"]);
    assert_eq!(code, Some(2), "a file is not overwritten: {said}");
    let (code, _, said) = milvusdm(path, &["init", "fais", "milvus"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("a similar value exists: 'faiss'"), "{said}");
}
