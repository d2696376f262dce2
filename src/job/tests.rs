//! Reading jobs: settings are read, mistakes are named.

use super::*;

fn job(text: &str) -> Job {
    Job::parse(Path::new("job.yaml"), text.to_owned()).unwrap()
}

#[test]
fn a_general_job_has_defaults() {
    let job = job("source:\n  faiss: {path: a.index}\nsink:\n  hdf5: {path: out.h5}\n");
    job.check().unwrap();
    assert_eq!(
        (job.source.name.as_str(), job.sink.name.as_str()),
        ("faiss", "hdf5")
    );
    assert!(job.run.checkpoint.ends_with("job.yaml.ckpt"));
    assert_eq!(job.run.batch_bytes, 4 << 20);
    assert_eq!(job.fields.vector, None);
}

#[test]
fn mistakes_are_reported_together_each_with_its_line() {
    let job =
        job("source:\n  faiss: {path: a.index}\nsnk: {}\nrun:\n  batch: 1\n  on_doubt: maybe\n");
    let error = job.check().unwrap_err().to_string();
    assert_eq!(
        error,
        "job.yaml: 4 mistakes\
         \n  sink: is missing (`milvusdm formats` lists them all)\
         \n  line 5: run.batch: 1 bytes is not between 4KiB and 60MiB (Milvus refuses requests above 64MiB)\
         \n  line 6: run.on_doubt: `maybe` is not one of auto, upsert, resend, stop\
         \n  line 3: snk: unknown key (did you mean `sink`?)"
    );
}

#[test]
fn lines_are_found_in_block_and_flow_style() {
    let text = "# sink: no\nsource:\n  faiss: {path: a,\n    ids: stored}\nsink:\n  milvus:\n    mode: x # ids: 3\n";
    assert_eq!(find_line(text, "source.faiss.ids"), 4);
    assert_eq!(find_line(text, "sink.milvus.mode"), 7);
    assert_eq!(find_line(text, "sink.milvus.absent"), 6);
    assert_eq!(find_line(text, "absent"), 0);
}
