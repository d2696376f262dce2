//! Vectors that are taken as they lie: which are, that their bytes are the right ones wherever reading begins, and what
//! becomes of pages that are not so.

use milvusdm::batch::Limits;
use milvusdm::input;
use serde_json::json;

use super::given::open;
use super::support::tables;

const DIM: usize = 40;
const LIMITS: Limits = Limits {
    batch_bytes: 64 << 10,
    batch_rows: 1 << 20,
};

#[test]
fn vectors_lie_in_the_file_or_are_joined_and_are_right_wherever_reading_begins() {
    let dir = tempfile::tempdir().unwrap();
    tables("parquet_large.py", &[dir.path().to_str().unwrap()]);
    for (name, lies) in [
        ("plain_1.0", true),
        ("plain_2.0", true),
        ("across_1.0", true),
        ("across_2.0", true),
        ("fixed", true),
        ("sized", true),
        ("small_1.0", false),
        ("small_2.0", false),
        ("zstd_1.0", false),
        ("zstd_2.0", false),
        ("null", true),
        ("short", true),
    ] {
        let path = dir.path().join(format!("{name}.parquet"));
        let source = open(&json!({"paths": [path]})).unwrap();
        let manifest = source.survey(LIMITS).unwrap().manifest;
        let (mut all, mut lying, mut rows, mut starts) = (0, 0, 0, Vec::new());
        let mut ended = None;
        for shard in &manifest.shards {
            let mut from = shard.start.clone();
            let mut reader = source.open(shard, from.clone(), LIMITS).unwrap();
            loop {
                let cut = match reader.next() {
                    Ok(Some(cut)) => cut,
                    Ok(None) => break,
                    Err(error) => {
                        ended = Some(error.to_string());
                        break;
                    }
                };
                for part in &cut.parts {
                    let column = part.columns().named("embedding").unwrap().0;
                    let bytes = part.vectors_of(column);
                    all += bytes.len();
                    if input::origin(bytes).is_some() {
                        lying += bytes.len();
                    }
                    check(name, part.row as usize, bytes);
                    rows += part.len();
                }
                starts.push((shard.clone(), from, cut.clone()));
                from = cut.next;
            }
        }
        match name {
            "short" => {
                let said = ended.unwrap();
                assert!(said.contains("row 4000: has 39 components"), "{said}");
            }
            _ => assert_eq!((rows, ended), (5000, None), "{name}"),
        }
        let enough = lying * 10 > all * 5;
        assert_eq!(
            enough, lies,
            "{name}: {lying} of {all} bytes lie in the file"
        );
        // A run that goes on cuts the same batches.
        for (shard, from, cut) in starts.iter().step_by(7) {
            let mut reader = source.open(shard, from.clone(), LIMITS).unwrap();
            let again = reader.next().unwrap().unwrap();
            let bytes = |parts: &[milvusdm::batch::Part]| -> Vec<u8> {
                let vectors = |p: &milvusdm::batch::Part| {
                    p.vectors_of(p.columns().named("embedding").unwrap().0)
                        .to_vec()
                };
                parts.iter().flat_map(vectors).collect()
            };
            assert_eq!(
                bytes(&again.parts),
                bytes(&cut.parts),
                "{name} from {from:?}"
            );
            assert_eq!(again.next, cut.next, "{name}");
        }
    }
}

fn check(name: &str, first: usize, bytes: &[u8]) {
    for (row, vector) in (first..).zip(bytes.chunks_exact(DIM * 4)) {
        let floats = vector
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let expected = (0..DIM).map(|c| match (name, row) {
            ("null", 4000) => 0.0,
            _ => (row * DIM + c) as f32,
        });
        assert!(floats.eq(expected), "{name} row {row}");
    }
}
