//! Vectors that are written from where they lie: pages of every width, read by everyone, and by us without a copy.

use milvusdm::batch::Limits;
use milvusdm::input;
use serde_json::{Value, json};

use crate::parquet::given::{open, rows};
use crate::parquet::migration::Jobs;
use crate::support::tables;

const LIMITS: Limits = Limits {
    batch_bytes: 4 << 20,
    batch_rows: 1 << 20,
};

/// Components of vectors that a bit-packed run, a run of one, and a page of one row could get wrong.
const DIMENSIONS: [u32; 8] = [1, 2, 7, 8, 9, 64, 1000, 300_000];

#[test]
fn vectors_of_every_width_are_read_by_everyone_and_by_us_uncopied() {
    let jobs = Jobs::new();
    for dimension in DIMENSIONS {
        let rows = (3_000_000 / dimension).clamp(5, 4099);
        let mut bytes = [rows, dimension].map(u32::to_le_bytes).concat();
        bytes.extend((0..rows * dimension).flat_map(|at| (at as f32 * 0.37).sin().to_le_bytes()));
        std::fs::write(jobs.path("x.fbin"), &bytes).unwrap();
        // What is said and what is left out are the same to vectors.
        let all = [
            ("left_out", json!({})),
            ("none", json!({"compression": "none"})),
        ];
        let ways = if dimension == 64 { &all[..] } else { &all[..1] };
        for (name, compression) in ways {
            let out = format!("{name}_{dimension}");
            let mut job = json!({
                "source": {"vecs": {"path": "x.fbin"}},
                "sink": {"parquet": {"dir": out, "rows_per_file": 3000}},
                "run": {"batch": "1MiB"},
            });
            for (key, value) in compression.as_object().unwrap() {
                job["sink"]["parquet"][key] = value.clone();
            }
            jobs.run(&out, &job.to_string()).code(0);
            let dir = jobs.path(&out);
            let said = tables(
                "parquet_vectors.py",
                &[dir.to_str().unwrap(), jobs.path("x.fbin").to_str().unwrap()],
            );
            assert_eq!(said.trim(), format!("{rows} rows of {dimension}"));
            let source = open(&json!({"dir": dir})).unwrap();
            let manifest = source.survey(LIMITS).unwrap().manifest;
            let (mut all, mut lying) = (Vec::new(), 0);
            for shard in &manifest.shards {
                let mut reader = source.open(shard, shard.start.clone(), LIMITS).unwrap();
                while let Some(cut) = reader.next().unwrap() {
                    for part in &cut.parts {
                        let vectors = part.vectors();
                        lying += usize::from(input::origin(vectors).is_some()) * vectors.len();
                        all.extend_from_slice(vectors);
                    }
                }
            }
            assert!(all == bytes[8..], "{out}: other vectors");
            // Pages that are too small to be handed on alone are joined.
            if all.len() > 2 << 20 {
                assert!(
                    lying * 10 > all.len() * 9,
                    "{out}: {lying} of {} bytes lie in the file",
                    all.len()
                );
            }
        }
    }
}

#[test]
fn rows_without_a_vector_are_written_beside_those_that_have_one() {
    let jobs = Jobs::new();
    tables("parquet_large.py", &[jobs.0.path().to_str().unwrap()]);
    let before = rows(
        &*open(&json!({"paths": [jobs.path("null.parquet")]})).unwrap(),
        LIMITS,
    );
    let before = before.unwrap();
    assert!(before.1[4000].as_array().unwrap().contains(&Value::Null));
    for packing in ["none", "zstd"] {
        // Row groups of all kinds: whole ones are framed, the one with the gap is not.
        let job = json!({
            "source": {"parquet": {"path": "null.parquet"}},
            "sink": {"parquet": {"dir": packing, "compression": packing}},
            "run": {"batch": "64KiB"},
        });
        jobs.run(packing, &job.to_string()).code(0);
        let after = rows(&*open(&json!({"dir": jobs.path(packing)})).unwrap(), LIMITS).unwrap();
        assert!(after == before, "{packing}");
        let read = tables("parquet_read.py", &[jobs.path(packing).to_str().unwrap()]);
        let read: Vec<Value> = serde_json::from_str(&read).unwrap();
        assert_eq!(read.len(), 5000);
        for (number, row) in read.iter().enumerate() {
            assert_eq!(
                row["embedding"].is_null(),
                number == 4000,
                "{packing} row {number}"
            );
        }
    }
}
