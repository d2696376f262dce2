//! A source whose rows get other keys: those that the job makes of its columns, or of the rows' numbers.
//! All code that looks at keys, before, while and after rows travel, sees these.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::batch::{Cut, Limits, Position, Shard};
use crate::convert::Keying;
use crate::error::{Error, Kind, Result};
use crate::job::{FieldSettings, Job};
use crate::schema::Columns;
use crate::source::{Files, Reader, Source, Stillness, Survey};

struct Keyed {
    source: Box<dyn Source>,
    /// For each target of the source its columns there, and how its keys are made.
    keyings: Vec<(Arc<Columns>, Option<Keying>)>,
}

/// The source, with the keys that the job asks for.
pub fn keyed(job: &Job, source: Box<dyn Source>, survey: &Survey) -> Result<Box<dyn Source>> {
    if job.fields.id_from.is_none() && job.fields.id_type.is_none() {
        return Ok(source);
    }
    let numbered = job.fields.id_from.as_deref() == Some(FieldSettings::ROW_NUMBER);
    if numbered && source.stillness() != Stillness::Frozen {
        let what = "rows of a source that may change while it is read cannot be numbered";
        return Err(Error::new(Kind::Job, what).at(job.place("fields.id.from")));
    }
    let mut keyings = Vec::new();
    for target in &survey.manifest.targets {
        let keying = Keying::of(target, &job.fields);
        let keying = keying.map_err(|(key, error)| error.at(job.place(&key)))?;
        keyings.push((target.columns.clone(), keying));
    }
    match keyings.iter().all(|(_, keying)| keying.is_none()) {
        true => Ok(source),
        false => Ok(Box::new(Keyed { source, keyings })),
    }
}

impl Keyed {
    /// Rows of a shard, starting `number` rows after its first.
    fn keyed<'s>(
        &'s self,
        shard: &Shard,
        number: u64,
        reader: Box<dyn Reader + 's>,
    ) -> Box<dyn Reader + 's> {
        Box::new(KeyedReader {
            reader,
            keyings: &self.keyings,
            number: shard.first_row.saturating_add(number),
        })
    }
}

impl Source for Keyed {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let mut survey = self.source.survey(limits)?;
        for (target, (_, keying)) in survey.manifest.targets.iter_mut().zip(&self.keyings) {
            if let Some(keying) = keying {
                *target = keying.target(target.clone());
            }
        }
        Ok(survey)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        // Counted only where rows are numbered.
        let number = from.row().saturating_sub(shard.start.row());
        Ok(self.keyed(shard, number, self.source.open(shard, from, limits)?))
    }

    fn peek<'s>(&'s self, shard: &Shard, limits: Limits) -> Result<Box<dyn Reader + 's>> {
        Ok(self.keyed(shard, 0, self.source.peek(shard, limits)?))
    }

    fn file(&self, part: u32) -> Option<&Path> {
        self.source.file(part)
    }

    fn stillness(&self) -> Stillness {
        self.source.stillness()
    }

    fn reads_at_once(&self) -> Option<usize> {
        self.source.reads_at_once()
    }

    fn ready(&self) -> Result<()> {
        self.source.ready()
    }

    fn remarks(&self) -> Vec<String> {
        self.source.remarks()
    }

    fn profile(&self, shard: &Shard) -> Result<Vec<String>> {
        self.source.profile(shard)
    }

    fn repeats(&self, shard: &Shard, earlier: bool) -> bool {
        self.source.repeats(shard, earlier)
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        self.source.content()
    }

    fn unchanged(&self) -> Result<()> {
        self.source.unchanged()
    }
}

struct KeyedReader<'s> {
    reader: Box<dyn Reader + 's>,
    keyings: &'s [(Arc<Columns>, Option<Keying>)],
    /// Rows of the target before the next one.
    number: u64,
}

impl Reader for KeyedReader<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let Some(mut cut) = self.reader.next()? else {
            return Ok(None);
        };
        for part in &mut cut.parts {
            let mut keyings = self.keyings.iter();
            let found = keyings.find(|(columns, _)| columns.hold_the_same(part.columns()));
            if let Some((_, Some(keying))) = found {
                *part = keying.apply(part, self.number)?;
            }
            self.number = self.number.saturating_add(part.len() as u64);
        }
        Ok(Some(cut))
    }

    fn files(&self) -> Files {
        self.reader.files()
    }
}
