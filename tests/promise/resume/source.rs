//! What the simulated job moves: rows whose id is their number.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use milvusdm::batch::{Cut, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName};
use milvusdm::error::Result;
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::source::{Files, Reader, Source, Survey};

const VECTOR: VectorType = VectorType {
    element: Element::Float32,
    dimension: 1,
};

/// Rows whose id is their number, in three targets and so many small ones.
pub struct Numbers(pub u32);

/// The row of a small target.
pub fn small_row(target: u32) -> i64 {
    1000 + i64::from(target)
}

pub fn manifest(small: u32) -> Manifest {
    let columns = Columns::plain("id", "embedding", VECTOR).unwrap();
    let target = |number: u32, rows: u64| Target {
        number,
        name: TargetName {
            collection: format!("t{number}"),
            partition: String::new(),
        },
        columns: columns.clone(),
        traits: Default::default(),
        keys: Keys::Stored,
        auto_id: false,
        rows,
        rows_deleted: 0,
        source: "numbers".to_owned(),
    };
    let shard = |number: u32, target: u32, start: u64, end: u64, first_row: u64| Shard {
        number,
        target,
        part: 0,
        name: format!("{start}..{end}"),
        rows: end - start,
        first_row,
        start: Position::Row(start),
        end: Position::Row(end),
    };
    let mut targets = vec![target(0, 50), target(1, 13), target(2, 0)];
    let mut shards = vec![
        shard(0, 0, 0, 30, 0),
        shard(1, 0, 30, 31, 30),
        shard(2, 0, 31, 50, 31),
        shard(3, 1, 100, 113, 0),
    ];
    for number in 3..3 + small {
        let row = small_row(number) as u64;
        targets.push(target(number, 1));
        shards.push(shard(1 + number, number, row, row + 1, 0));
    }
    Manifest { targets, shards }
}

impl Source for Numbers {
    fn survey(&self, _: Limits) -> Result<Survey> {
        Ok(Survey {
            manifest: manifest(self.0),
            identity: BTreeMap::new(),
            warnings: Vec::new(),
            indexes_differ: None,
        })
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        _: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(NumbersReader {
            at: from.row(),
            end: shard.end.row(),
        }))
    }

    fn unchanged(&self) -> Result<()> {
        Ok(())
    }
}

struct NumbersReader {
    at: u64,
    end: u64,
}

impl Reader for NumbersReader {
    fn next(&mut self) -> Result<Option<Cut>> {
        if self.at == self.end {
            return Ok(None);
        }
        let last = self.end.min(self.at + 4);
        let ids: Vec<i64> = (self.at..last).map(|i| i as i64).collect();
        let bytes: Vec<u8> = ids.iter().flat_map(|i| (*i as f32).to_le_bytes()).collect();
        let columns = Columns::plain("id", "embedding", VECTOR)?;
        let part = Part::of_vectors(
            &columns,
            ids,
            Bytes::from(bytes),
            &Path::new("n").into(),
            self.at,
        )?;
        self.at = last;
        Ok(Some(Cut {
            parts: vec![part],
            next: Position::Row(last),
        }))
    }

    fn files(&self) -> Files {
        Files::new([])
    }
}
