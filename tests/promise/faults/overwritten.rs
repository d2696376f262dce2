//! Sources that are truncated or overwritten while they are read.

use super::*;

#[test]
fn a_source_truncated_or_rewritten_while_it_is_read_ends_the_run() {
    let scene = Scene::new(60_000);
    let make = |layout: &str, name: &str| {
        let sink = format!("hdf5: {{path: {name}{layout}}}");
        let run = format!("checkpoint: {name}.ckpt");
        check(scene.job(FAISS, &sink, &run).output().unwrap(), 0, &[]);
    };
    make("", "plain.h5");
    make(", compression: gzip1, chunk_rows: 100", "packed.h5");
    let changes: [(&str, Change); 4] = [
        ("now has", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(2000)
                .unwrap()
        }),
        ("was written to", |path| {
            overwrite(path, path.metadata().unwrap().len() - 2000, &[9; 400])
        }),
        ("was replaced by another file", |path| {
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            std::fs::rename(&copy, path).unwrap();
        }),
        ("is gone", |path| std::fs::remove_file(path).unwrap()),
    ];
    for access in ["map", "read"] {
        for (kind, name) in [
            ("faiss: {path", "data.index"),
            ("hdf5: {paths", "plain.h5"),
            ("hdf5: {paths", "packed.h5"),
        ] {
            let path = scene.path(name);
            let whole = std::fs::read(&path).unwrap();
            for (words, change) in &changes {
                let source = format!("{kind}: {name}, access: {access}}}");
                let child = scene.start(scene.job(&source, HDF5, SLOW), 1);
                change(&path);
                let output = child.wait_with_output().unwrap();
                let short = access == "read" && *words == "now has";
                let words = if short {
                    "the file became shorter"
                } else {
                    words
                };
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(4), "{source}, {words}: {said}");
                assert!(said.contains(name), "{source}: {said}");
                assert!(
                    said.contains(words) || short && said.contains("now has"),
                    "{source}: {said}"
                );
                assert!(!scene.path("out.h5").exists(), "{source}");
                std::fs::write(&path, &whole).unwrap();
                std::fs::remove_file(scene.path("job.yaml.ckpt")).unwrap();
            }
        }
    }
}

#[test]
fn what_was_sent_of_an_overwritten_source_is_sent_again_when_it_is_put_back() {
    const ROWS: usize = 30_000;
    let (scene, fake) = (Scene::new(ROWS), Fake::start("v2.3.5"));
    let path = scene.path("data.index");
    let sink = into(&fake);
    // Rows that arrived, in order, and whether with the vector that `flat` gave them.
    let arrived = || {
        let mut rows: Vec<(i64, bool)> = Vec::new();
        for write in fake.arrived() {
            let ids = write.ids().unwrap();
            let vectors = write
                .request
                .fields_data
                .iter()
                .find_map(|f| f.vectors.as_ref());
            let floats = &vectors.unwrap().float_vector.as_ref().unwrap().data;
            let whole = ids
                .iter()
                .zip(floats.chunks(4 * DIMENSION))
                .map(|(id, vector)| (*id, vector == (*id as f32).to_le_bytes().repeat(DIMENSION)));
            rows.extend(whole);
        }
        rows
    };
    let whole = std::fs::read(&path).unwrap();
    // Batches that are large enough to go out uncopied.
    let slow = "batch: 128KiB, max_rows_per_s: 10000";
    // Whether a batch goes out after the change and before it is noticed is a race: on a busy machine not at once.
    for _ in 0..5 {
        let more = scene.receipts() + 2;
        let child = scene.start(scene.job(FAISS, &sink, slow), more);
        with_time_of(&path, |path| {
            // Batches that were checked and wait for their turn hold pages of it.
            overwrite(path, 45, &vec![9; whole.len() - 45]);
            let said = ["was written to", "it is restored"];
            check(child.wait_with_output().unwrap(), 4, &said);
            overwrite(path, 0, &whole);
        });
        if arrived().iter().any(|(_, is_right)| !is_right) {
            break;
        }
    }
    assert!(
        arrived().iter().any(|(_, is_right)| !is_right),
        "none was sent"
    );
    check(
        scene
            .job(FAISS, &sink, "batch: 128KiB, verify: off")
            .output()
            .unwrap(),
        0,
        &["done: 30000 rows"],
    );
    let last: std::collections::HashMap<i64, bool> = arrived().into_iter().collect();
    assert_eq!(last.len(), ROWS);
    let wrong = last.iter().filter(|(_, is_right)| !**is_right).count();
    assert_eq!(wrong, 0, "rows that stay as they were sent meanwhile");
}

#[test]
fn what_a_server_makes_of_an_overwritten_source_is_blamed_on_the_source() {
    let (scene, fake) = (Scene::new(3000), Fake::start("v2.3.5"));
    let sink = into(&fake);
    let child = scene.start(scene.job(FAISS, &sink, SLOW), 3);
    fake.next(Misbehave::Status(
        65_535,
        1100,
        "value 'NaN' is not a number",
    ));
    overwrite(&scene.path("data.index"), 45, &[0xff; 4000]);
    let said = ["was written to", "it is restored"];
    check(child.wait_with_output().unwrap(), 4, &said);
}
