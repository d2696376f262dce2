//! Do ids repeat within a target? Looked for before the first row moves, in bounded memory.
//! Reads ids only: the vectors' pages are never touched.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use super::Plan;
use super::last::find_last;
use crate::batch::{Key, Keys, Part, Target};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::job::IdCollision;
use crate::limits;

/// How many of the repeated ids an error lists.
const SAMPLE: usize = 10;

/// Refuses a plan in which ids repeat within a target that tells rows apart by them, unless the job keeps them.
///
/// `stop` is called now and then; it fails if the operator wants to stop.
pub fn check_repeats(plan: &Plan, stop: &dyn Fn() -> Result<()>) -> Result<()> {
    match plan.settings.id_collision {
        IdCollision::Keep => return Ok(()),
        IdCollision::Last => {
            let behind = find_last(plan, stop)?;
            if behind > 0 {
                tracing::warn!(
                    "`run.id_collision: last`: {behind} rows are not migrated, because a later one has their id"
                );
            }
            return Ok(());
        }
        IdCollision::Fail => {}
    }
    for target in &plan.manifest.targets {
        if !plan.keyed(target) {
            continue;
        }
        let (repeats, sample) = repeats(plan, target, SAMPLE, stop)?;
        if repeats > 0 {
            return Err(refusal(target, repeats, &sample));
        }
    }
    plan.source.unchanged()
}

/// How many rows of a target repeat the key of another, and up to `most` of these keys, each once.
pub fn repeats(
    plan: &Plan,
    target: &Target,
    most: usize,
    stop: &dyn Fn() -> Result<()>,
) -> Result<(u64, Vec<Key>)> {
    // Such a source numbers rows across all its files, or returns each key once.
    if target.keys != Keys::Stored {
        return Ok((0, Vec::new()));
    }
    let mut ids = Ids::new(limits::ID_SORT_BYTES / 8);
    let mut texts = false;
    each_part(plan, target, stop, |part| match part.text_keys() {
        None => ids.add(part.ids()),
        Some(keys) => {
            texts = true;
            let hashes: Vec<i64> = keys.iter().flatten().map(hash).collect();
            ids.add(&hashes)
        }
    })?;
    if !texts {
        let (repeats, ids) = ids.repeats(most, stop)?;
        return Ok((repeats, ids.into_iter().map(Key::Int).collect()));
    }
    let hashes_max = most.max(limits::REPEATED_IDS_MAX);
    let (repeats, hashes) = ids.repeats(hashes_max, stop)?;
    match hashes.is_empty() {
        true => Ok((0, Vec::new())),
        false => same_texts(plan, target, most, stop, repeats, hashes),
    }
}

/// Two texts may have the same hash: rows with a repeated hash are read again, and their texts compared. If more hashes
/// repeat than are kept, those beyond count as repeats.
fn same_texts(
    plan: &Plan,
    target: &Target,
    most: usize,
    stop: &dyn Fn() -> Result<()>,
    repeated_hashes: u64,
    hashes: Vec<i64>,
) -> Result<(u64, Vec<Key>)> {
    let all_kept = hashes.len() < most.max(limits::REPEATED_IDS_MAX);
    let hashes: HashSet<i64> = hashes.into_iter().collect();
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    each_part(plan, target, stop, |part| {
        let keys = part.text_keys();
        for key in keys.iter().flatten().flatten() {
            if !hashes.contains(&hash(key)) {
                continue;
            }
            match rows.get_mut(key) {
                Some(rows) => *rows += 1,
                None => {
                    rows.insert(key.to_owned(), 1);
                }
            }
        }
        Ok(())
    })?;
    rows.retain(|_, rows| *rows > 1);
    let exact = rows.values().map(|rows| rows - 1).sum();
    let repeats = if all_kept { exact } else { repeated_hashes };
    let keys = rows.into_keys().take(most);
    Ok((repeats, keys.map(|key| Key::Text(key.into())).collect()))
}

fn hash(key: &str) -> i64 {
    digest::name(key.as_bytes()) as i64
}

/// Passes on each part of a target, in the source's order, so that its keys can be read. Its files have been checked to
/// be unchanged; the caller checks the source as a whole, once for all targets.
pub fn each_part(
    plan: &Plan,
    target: &Target,
    stop: &dyn Fn() -> Result<()>,
    mut look: impl FnMut(&Part) -> Result<()>,
) -> Result<()> {
    let shards = plan.manifest.shards.iter();
    for shard in shards.filter(|s| s.target == target.number) {
        let mut reader = plan.source.open(shard, shard.start.clone(), plan.limits)?;
        while let Some(cut) = reader.next()? {
            stop()?;
            for part in &cut.parts {
                look(part)?;
            }
        }
        reader.files().unchanged()?;
    }
    Ok(())
}

fn refusal(target: &Target, repeats: u64, sample: &[Key]) -> Error {
    let listed: Vec<String> = sample.iter().map(Key::to_string).collect();
    let more = if repeats > sample.len() as u64 {
        ", …"
    } else {
        ""
    };
    Error::new(
        Kind::Unsupported,
        format!(
            "{repeats} rows of target {} repeat the id of another row: ids {}{more}",
            target.name,
            listed.join(", ")
        ),
    )
    .hint(
        "`run: {id_collision: keep}` inserts them all; Milvus then returns one row for each id and counts all; \
         `id_collision: last` takes the last row of each id",
    )
}

/// Ids of a target: nothing is kept while they ascend; otherwise they are sorted, in runs on disk if there are many.
struct Ids {
    /// The last id, while ids ascend.
    last: Option<i64>,
    ascending: bool,
    /// Ids that arrived in ascending order, as ranges of neighbours, until the first that did not.
    ranges: Vec<(i64, i64)>,
    held: Vec<i64>,
    held_max: usize,
    runs: Vec<(File, u64)>,
}

impl Ids {
    fn new(held_max: usize) -> Ids {
        Ids {
            last: None,
            ascending: true,
            ranges: Vec::new(),
            held: Vec::new(),
            held_max: held_max.max(1),
            runs: Vec::new(),
        }
    }

    fn add(&mut self, ids: &[i64]) -> Result<()> {
        for &id in ids {
            if self.ascending && self.last.is_none_or(|last| last < id) {
                self.last = Some(id);
                let ranges = self.ranges.len();
                match self.ranges.last_mut() {
                    Some((_, end)) if end.checked_add(1) == Some(id) => *end = id,
                    _ if ranges < self.held_max / 2 => self.ranges.push((id, id)),
                    _ => {
                        // Too many gaps to keep as ranges: they become a run of their own.
                        self.spill_ranges()?;
                        self.ranges.push((id, id));
                    }
                }
                continue;
            }
            self.ascending = false;
            self.held.push(id);
            if self.held.len() >= self.held_max {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn spill_ranges(&mut self) -> Result<()> {
        let ranges = std::mem::take(&mut self.ranges);
        self.write(ranges.into_iter().flat_map(|(first, last)| first..=last))
    }

    fn spill(&mut self) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        held.sort_unstable();
        self.write(held.iter().copied())?;
        held.clear();
        self.held = held;
        Ok(())
    }

    fn write(&mut self, ids: impl Iterator<Item = i64>) -> Result<()> {
        let failed =
            |e: std::io::Error| Error::io(&std::env::temp_dir(), "keep ids to be sorted", &e);
        let mut file = BufWriter::new(tempfile::tempfile().map_err(failed)?);
        let mut count = 0;
        for id in ids {
            file.write_all(&id.to_le_bytes()).map_err(failed)?;
            count += 1;
        }
        let mut file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        self.runs.push((file, count));
        Ok(())
    }

    /// How many rows repeat the id of another row, and the first of these ids.
    fn repeats(mut self, most: usize, stop: &dyn Fn() -> Result<()>) -> Result<(u64, Vec<i64>)> {
        if self.ascending {
            return Ok((0, Vec::new()));
        }
        self.held.sort_unstable();
        let mut streams: Vec<Box<dyn Iterator<Item = std::io::Result<i64>>>> = Vec::new();
        for (file, count) in self.runs {
            let mut file = BufReader::with_capacity(64 << 10, file);
            streams.push(Box::new((0..count).map(move |_| {
                let mut word = [0; 8];
                file.read_exact(&mut word)?;
                Ok(i64::from_le_bytes(word))
            })));
        }
        streams.push(Box::new(self.held.into_iter().map(Ok)));
        let ranges = self.ranges.into_iter();
        streams.push(Box::new(
            ranges.flat_map(|(first, last)| first..=last).map(Ok),
        ));
        let failed = |e: std::io::Error| Error::io(&std::env::temp_dir(), "read sorted ids", &e);
        let mut heap = BinaryHeap::new();
        for (number, stream) in streams.iter_mut().enumerate() {
            if let Some(id) = stream.next().transpose().map_err(failed)? {
                heap.push(Reverse((id, number)));
            }
        }
        let (mut last, mut repeats, mut sample, mut seen) = (None, 0u64, Vec::new(), 0u64);
        while let Some(Reverse((id, number))) = heap.pop() {
            if last == Some(id) {
                repeats += 1;
                if sample.last() != Some(&id) && sample.len() < most {
                    sample.push(id);
                }
            }
            last = Some(id);
            seen += 1;
            if seen.is_multiple_of(1 << 20) {
                stop()?;
            }
            if let Some(id) = streams[number].next().transpose().map_err(failed)? {
                heap.push(Reverse((id, number)));
            }
        }
        Ok((repeats, sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeats(ids: &[i64], held_max: usize) -> (u64, Vec<i64>) {
        let mut all = Ids::new(held_max);
        for chunk in ids.chunks(3) {
            all.add(chunk).unwrap();
        }
        all.repeats(SAMPLE, &|| Ok(())).unwrap()
    }

    #[test]
    fn repeats_are_counted_however_little_memory_there_is() {
        for held_max in [1, 2, 3, 7, 100] {
            let max = i64::MAX;
            assert_eq!(repeats(&[], held_max), (0, vec![]));
            assert_eq!(
                repeats(&[i64::MIN, -1, 0, 5, 6, 7, 9, max], held_max),
                (0, vec![])
            );
            assert_eq!(repeats(&[5, 5], held_max), (1, vec![5]));
            assert_eq!(
                repeats(&[1, 2, 3, 9, 2, 9, 9, -4, max, max], held_max),
                (4, vec![2, 9, max])
            );
            assert_eq!(repeats(&[3, 2, 1, 0], held_max), (0, vec![]));
            assert_eq!(
                repeats(&[0, 10, 20, 30, 40, 50, 60, 70, 30, 0], held_max),
                (2, vec![0, 30])
            );
        }
    }

    #[test]
    fn ascending_ids_need_no_memory() {
        let mut ids = Ids::new(10);
        ids.add(&(0..100_000).collect::<Vec<i64>>()).unwrap();
        assert_eq!(
            (ids.ranges.len(), ids.held.len(), ids.runs.len()),
            (1, 0, 0)
        );
    }
}
