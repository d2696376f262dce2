//! How wall time, CPU and memory grow with the number of rows: 96-d floats from a Faiss flat index into a draining
//! Milvus in another process, on one thread and on two, with and without the file in the page cache. The index is a
//! hole in the file system: it reads as zeros and takes no disk. A second index has one byte per component, sent as the
//! same floats; memory has room for it up to 10^8 rows (9.6 GB), so that no size has to be read cold.
//!
//! `cargo bench --bench scaling [-- EXPONENT [ROUNDS]]`: up to 10^EXPONENT rows, 8 by default (38 GB are read and sent,
//! each time), and the median of ROUNDS rounds, 3 by default; the 38 GB of floats once.

#![allow(clippy::print_stdout, unsafe_code)]

use std::collections::HashMap;
use std::path::Path;

#[path = "support/drain.rs"]
#[allow(dead_code)] // Each bench uses its own part of it.
mod drain;

use drain::{Cost, Drain, byte_index, flat_index, quartiles};

const DIM: u32 = 96;
const ROW_BYTES: f64 = 4.0 * DIM as f64;

/// Evicts a file from the page cache.
fn evict(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

fn main() {
    Drain::here();
    let mut numbers = std::env::args().filter_map(|a| a.parse::<u32>().ok());
    let exponent = numbers.next().unwrap_or(8);
    let rounds = numbers.next().unwrap_or(3);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [floats, bytes] = ["f32", "u8"].map(|source| directory.path().join(source));
    let server = Drain::start();
    println!(
        "      rows      GB source threads  cache    plan s   first insert s   wall s   ns a row   after the first insert   each row more   user CPU ns a row   CPU-s/GB   peak MiB"
    );
    let sizes = (5..=exponent).flat_map(|e| {
        // In addition to the powers of ten, 1 GB and 8 GB: their memory is compared.
        let between = match e {
            6 => Some((1e9 / ROW_BYTES) as u64),
            7 => Some((8e9 / ROW_BYTES) as u64),
            _ => None,
        };
        [Some(10u64.pow(e)), between.filter(|_| e < exponent)]
    });
    let mut peaks = Vec::new();
    let mut smaller = HashMap::new();
    for rows in sizes.flatten() {
        flat_index(&floats, rows, DIM, None);
        byte_index(&bytes, rows, DIM);
        let is_largest = rows > 30_000_000;
        // The largest index of floats does not fit into memory, so it is never in the page cache: for comparison, the
        // others are also measured cold. A cold run leaves the file warm for the next one.
        let regimes: &[(&str, u32, bool)] = match is_largest {
            true => &[("f32", 1, true), ("f32", 2, true), ("u8", 2, false)],
            false => &[
                ("f32", 2, true),
                ("f32", 1, false),
                ("f32", 2, false),
                ("u8", 2, false),
            ],
        };
        for (source, threads, is_cold) in regimes {
            let is_bytes = *source == "u8";
            let path = if is_bytes { &bytes } else { &floats };
            let load = || server.load(path, &format!("threads: {threads}"));
            if is_bytes {
                load(); // No cold run left it warm.
            }
            let rounds = if is_largest && *is_cold { 1 } else { rounds };
            let costs: Vec<Cost> = (0..rounds)
                .map(|_| {
                    if *is_cold {
                        evict(path);
                    }
                    load()
                })
                .collect();
            let middle = |value: fn(&Cost) -> f64| quartiles(costs.iter().map(value))[1];
            let gb = rows as f64 * ROW_BYTES / 1e9;
            let wall_s = middle(|c| c.wall_s);
            // Compared with the next smaller size in the same state: what is done once per run is in both.
            let more = smaller.insert((*source, *threads, *is_cold), (rows, wall_s));
            let more = more.map_or("-".to_owned(), |(n, s)| {
                format!("{:.0}", (wall_s - s) / (rows - n) as f64 * 1e9)
            });
            println!(
                "{rows:>10} {gb:>7.2} {source:>6} {threads:>7} {:>6} {:>9.3} {:>16.3} {wall_s:>8.2} {:>10.0} {:>24.0} {more:>15} {:>19.0} {:>10.2} {:>10.0}",
                if *is_cold { "cold" } else { "warm" },
                middle(|c| c.plan_s),
                middle(|c| c.first_s),
                wall_s / rows as f64 * 1e9,
                middle(|c| c.wall_s - c.first_s) / rows as f64 * 1e9,
                middle(|c| c.user_s) / rows as f64 * 1e9,
                middle(|c| c.cpu_s) / gb,
                middle(|c| c.peak_mib),
            );
            if *threads == 2 && !is_cold && !is_bytes {
                peaks.push((gb, middle(|c| c.peak_mib)));
            }
        }
    }
    let peak = |gb: f64| peaks.iter().find(|(g, _)| (g - gb).abs() < 0.1);
    if let (Some((_, one)), Some((_, eight))) = (peak(1.0), peak(8.0)) {
        println!(
            "peak memory, 8 GB / 1 GB: {:.2} (wanted within 0.10 of 1)",
            eight / one
        );
    }
}
