//! A draining Milvus in another process, jobs that load into it, and what a run of the program costs.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

#[path = "../../tests/support/fake_milvus.rs"]
#[allow(dead_code)]
mod fake_milvus;

/// A server that counts rows and discards them, in a process of its own.
pub struct Drain {
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
    /// When the first insert into a collection began to arrive.
    first: Receiver<Instant>,
}

impl Drain {
    /// To be called first in `main`: in the process that was started as the server, it never returns.
    pub fn here() {
        if std::env::args().nth(1).as_deref() != Some("drain") {
            return;
        }
        let server = fake_milvus::Fake::drain(|_| println!("insert"));
        println!("{}", server.address);
        // Ends with the bench, however that ends.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    }

    /// Starts one: this same program, run as the server.
    pub fn start() -> Drain {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("drain")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap();
        let (said, first) = channel();
        std::thread::spawn(move || {
            for _ in lines.map_while(Result::ok) {
                if said.send(Instant::now()).is_err() {
                    break;
                }
            }
        });
        Drain {
            child,
            address,
            first,
        }
    }

    /// CPU seconds it has used.
    pub fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        let words = after_name.split_whitespace().skip(11).take(2);
        words.map(|w| w.parse::<f64>().unwrap()).sum::<f64>() / TICKS
    }

    /// Runs a job of this Faiss file to its end.
    pub fn load(&self, index: &Path, run: &str) -> Cost {
        let directory = tempfile::tempdir().unwrap();
        let job = directory.path().join("job.yaml");
        let text = format!(
            "source: {{faiss: {{path: '{}'}}}}\n\
             sink: {{milvus: {{address: 'http://{}', collection: bench, mode: overwrite}}}}\n\
             run: {{checkpoint: '{}/ckpt', {run}}}\n",
            index.display(),
            self.address,
            directory.path().display()
        );
        std::fs::write(&job, text).unwrap();
        let mut cost = program(&["plan", job.to_str().unwrap()]);
        let plan_s = cost.wall_s;
        let started = Instant::now();
        cost = program(&["run", job.to_str().unwrap(), "--progress", "none"]);
        cost.plan_s = plan_s;
        let firsts: Vec<Instant> = self.first.try_iter().collect();
        cost.first_s = (*firsts.first().expect("an insert arrived") - started).as_secs_f64();
        cost
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What a run of the program cost.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds until the first insert reached the server.
    pub first_s: f64,
    /// Seconds that `milvusdm plan` of the same job took.
    pub plan_s: f64,
    /// CPU seconds, user and system.
    pub cpu_s: f64,
    /// Of these, user's.
    pub user_s: f64,
    /// The most memory it had, mapped pages included.
    pub peak_mib: f64,
}

/// Runs the program, which must succeed.
fn program(arguments: &[&str]) -> Cost {
    let before = used(libc::RUSAGE_CHILDREN);
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The peak of the process's own memory: getrusage would count ours before the exec, too.
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut cost = Cost::default();
    let ended = std::thread::scope(|scope| {
        let (end, ended) = channel();
        scope.spawn(move || end.send((child.wait().unwrap(), started.elapsed())));
        loop {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let peak = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
            if let Some(kib) = peak.and_then(|l| l.split_whitespace().next()) {
                cost.peak_mib = kib.parse::<f64>().unwrap() / 1024.0;
            }
            if let Ok((ended, wall)) = ended.recv_timeout(Duration::from_millis(10)) {
                cost.wall_s = wall.as_secs_f64();
                break ended;
            }
        }
    });
    assert!(ended.success(), "milvusdm {arguments:?} ended with {ended}");
    let after = used(libc::RUSAGE_CHILDREN);
    cost.user_s = after[0] - before[0];
    cost.cpu_s = cost.user_s + after[1] - before[1];
    cost
}

/// CPU seconds of this process (`RUSAGE_SELF`) or of its children that have ended (`RUSAGE_CHILDREN`).
pub fn cpu_s(who: libc::c_int) -> f64 {
    used(who).iter().sum()
}

/// The same, split into user and system.
fn used(who: libc::c_int) -> [f64; 2] {
    // SAFETY: all zeros is a rusage, which getrusage then fills.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(who, &mut usage), 0);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    [seconds(usage.ru_utime), seconds(usage.ru_stime)]
}

/// Linux's unit of CPU time, in ticks a second.
const TICKS: f64 = 100.0;

/// CPU seconds that the whole machine has used.
pub fn machine_busy_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let words = stat.lines().next().unwrap().split_whitespace().skip(1);
    let ticks: Vec<f64> = words.map(|w| w.parse().unwrap()).collect();
    // user nice system idle iowait irq softirq …
    [0, 1, 2, 5, 6].iter().map(|i| ticks[*i]).sum::<f64>() / TICKS
}

/// Writes a Faiss flat index of `rows` floats of `dim` dimensions; `fill` makes the vectors, `None` leaves a hole that
/// reads as zeros and takes no disk.
pub fn flat_index(path: &Path, rows: u64, dim: u32, fill: Option<&mut dyn FnMut() -> f32>) {
    let words = rows * u64::from(dim);
    let mut head = head(b"IxF2", rows, dim);
    head.extend(words.to_le_bytes());
    assert_eq!(head.len(), 45);
    write(path, &head, 4 * words, fill);
}

/// Writes a Faiss index whose components are integers of one byte each (a scalar quantizer, `QT_8bit_direct`), all of
/// them a hole.
pub fn byte_index(path: &Path, rows: u64, dim: u32) {
    let bytes = rows * u64::from(dim);
    let mut head = head(b"IxSQ", rows, dim);
    head.extend(5u32.to_le_bytes()); // QT_8bit_direct
    head.extend([0; 8]); // How ranges were trained: there are none.
    for word in [u64::from(dim), u64::from(dim), 0, bytes] {
        head.extend(word.to_le_bytes());
    }
    write(path, &head, bytes, None);
}

/// Writes the head of an index and `len` bytes of vectors: floats that `fill` makes, or a hole.
fn write(path: &Path, head: &[u8], len: u64, fill: Option<&mut dyn FnMut() -> f32>) {
    let file = std::fs::File::create(path).unwrap();
    let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
    file.write_all(head).unwrap();
    if let Some(fill) = fill {
        for _ in 0..len / 4 {
            file.write_all(&fill().to_le_bytes()).unwrap();
        }
    }
    let file = file.into_inner().unwrap();
    file.set_len(head.len() as u64 + len).unwrap();
    // Otherwise the first rounds would wait for these bytes whenever the checkpoint is synced.
    file.sync_all().unwrap();
}

/// The head of every Faiss index: its kind, d, ntotal, two unused words, trained, L2.
fn head(kind: &[u8; 4], rows: u64, dim: u32) -> Vec<u8> {
    let mut head = kind.to_vec();
    head.extend(dim.to_le_bytes());
    head.extend(rows.to_le_bytes());
    head.extend([[0, 0, 16, 0, 0, 0, 0, 0]; 2].concat());
    head.push(1);
    head.extend(1u32.to_le_bytes());
    head
}

/// Numbers in [-1, 1), the same every time.
pub fn noise() -> impl FnMut() -> f32 {
    let mut state = 7u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// The lower quartile, the median and the upper quartile.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
