//! Buckets that speak S3: a real SeaweedFS, and a real Milvus 2.3.5 that keeps its storage there.

#![allow(clippy::unwrap_used)]

mod bulk;
mod milvus;
mod moving;
mod parquet;

use crate::milvus2::canonical;
use crate::support::{self, migration};

use std::path::Path;
use std::sync::Arc;

use milvusdm::error::{Kind, Result};
use milvusdm::job::{Form, Mistakes};
use milvusdm::store::{self, Address, Bucket, Login};
use support::{Engine, Server};

/// The settings of a job for the server of these tests.
fn settings() -> String {
    let address = Server::shared(Engine::SeaweedFs).address();
    format!("s3: {{endpoint: 'http://{address}', access_key: minioadmin, secret_key: minioadmin}}")
}

fn login(settings: &str) -> Login {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(&format!("{{{settings}}}")).unwrap();
    let mut form = Form::new("sink", map, &[store::S3], &mistakes);
    let login = Login::read(&mut form);
    assert!(form.done(), "{:?}", mistakes.all());
    login
}

fn bucket(settings: &str, address: &str) -> Result<Arc<dyn Bucket>> {
    let address = Address::of(Path::new(address))?.unwrap();
    store::open(&address, &login(settings))
}

fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn objects_are_written_listed_read_in_stretches_and_removed() {
    let bucket = bucket(&settings(), "s3://tests").unwrap();
    assert_eq!(bucket.look("plain/nothing").unwrap(), None);
    for (key, text) in [
        ("plain/a b/c%d", "one"),
        ("plain/é", "two"),
        ("plain/x/y", ""),
    ] {
        bucket.put(key, text.into()).unwrap();
        let found = bucket.look(key).unwrap().unwrap();
        assert_eq!((&*found.key, found.bytes), (key, text.len() as u64));
        assert_eq!(bucket.read(&found, 0..found.bytes).unwrap(), text);
    }
    let listing = bucket.list("plain/").unwrap();
    assert_eq!(listing.folders, ["a b", "x"]);
    assert_eq!(listing.objects.len(), 1);
    let mut all = Vec::new();
    let mut each = |page: Vec<store::Found>| {
        all.extend(page.into_iter().map(|found| found.key));
        true
    };
    bucket.walk("plain/", &mut each).unwrap();
    assert_eq!(all, ["plain/a b/c%d", "plain/x/y", "plain/é"]);
    bucket.delete("plain/é").unwrap();
    bucket.delete("plain/é").unwrap();
    assert_eq!(bucket.look("plain/é").unwrap(), None);
}

#[test]
fn a_long_file_goes_up_in_parts_and_is_read_at_any_place() {
    let bucket = bucket(&settings(), "s3://tests").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long");
    let all = bytes((40 << 20) + 12_345);
    std::fs::write(&path, &all).unwrap();
    bucket.upload("long/file", &path).unwrap();
    let found = bucket.look("long/file").unwrap().unwrap();
    assert_eq!(found.bytes, all.len() as u64);
    // Through the blocks that readers have, over their borders too.
    let volume = store::volume(
        Path::new("s3://tests/long"),
        Default::default(),
        &login(&settings()),
    );
    let view = volume
        .unwrap()
        .open(Path::new("s3://tests/long/file"))
        .unwrap();
    for (at, len) in [
        (0, 10),
        (2 << 20, 1),
        ((2 << 20) - 3, 7),
        (5_000_000, 9_000_000),
        (view.len() - 5, 5),
    ] {
        let (from, to) = (at as usize, (at + len) as usize);
        assert_eq!(
            view.cut(at, len).unwrap().bytes().unwrap(),
            all[from..to],
            "{at} {len}"
        );
        let mut room = vec![0; len as usize];
        view.apart().read(at, &mut room).unwrap();
        assert_eq!(room, all[from..to], "{at} {len}");
    }
    assert!(view.cut(view.len(), 1).is_err());
    // Another object under the key: what was looked at is gone.
    bucket.put("long/file", "short".into()).unwrap();
    let error = view
        .forward()
        .cut(20 << 20, 4)
        .unwrap()
        .bytes()
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Changed, "{error}");
    let error = bucket.read(&found, 0..4).unwrap_err();
    assert_eq!(error.kind(), Kind::Changed, "{error}");
}

#[test]
fn what_keeps_from_a_bucket_is_said_without_secrets() {
    let wrong = settings().replace("secret_key: minioadmin", "secret_key: hunter2");
    let error = bucket(&wrong, "s3://tests").unwrap().list("").unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    let said = format!("{error:#}");
    assert!(
        said.contains("denied") && said.contains("AWS_ACCESS_KEY_ID"),
        "{said}"
    );
    assert!(!said.contains("hunter2") && !said.contains('<'), "{said}");
    let error = bucket(&settings(), "s3://no-such-bucket").unwrap();
    let error = error.list("").unwrap_err();
    assert_eq!(error.kind(), Kind::Job, "{error}");
    assert!(error.to_string().contains("no such bucket"), "{error}");
}
