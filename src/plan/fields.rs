//! What do the job's `fields:` make of a target? Names of plain rows, or a shape for each set of columns.

use std::sync::Arc;

use crate::batch::Target;
use crate::convert::{Conversion, Shape};
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::schema::Columns;

/// Gives a target of a source its final columns. Returns how columns are converted, if they do not stay as they are.
pub fn aimed(
    job: &Job,
    conversion: Option<Conversion>,
    target: &mut Target,
) -> Result<Option<Shape>> {
    if let Some(vector) = target.plain()
        && job.fields.are_plain()
    {
        let vector = match conversion {
            None => vector,
            Some(conversion) => conversion.becomes(vector).map_err(|what| {
                let error = Error::new(Kind::Job, format!("{}: {what}", target.source));
                error.at(job.place(conversion.key()))
            })?,
        };
        let name = |said: &Option<String>, column: usize| match said {
            Some(name) => name.clone(),
            None => target.columns.all()[column].name.clone(),
        };
        let (id, name) = (name(&job.fields.id, 0), name(&job.fields.vector, 1));
        let columns = Columns::plain(&id, &name, vector)?;
        target.columns = columns.measured(target.metric().cloned(), target.index().cloned());
        return Ok(None);
    }
    let shape = Shape::of(&target.columns, &job.fields, job.run.misfit).map_err(|wrong| {
        let wrong = wrong.into_iter().map(|(key, error)| {
            let error = error.at(job.place(&key));
            error.detail(format!("source: {}", target.source))
        });
        Error::several(wrong.collect()).expect("something was wrong")
    })?;
    if let Some(shape) = &shape {
        target.columns = shape.to().clone();
        target.traits = Arc::new(target.traits.renamed(|name| shape.name_of(name)));
    }
    Ok(shape)
}

/// Adds a shape to those of a target, once for each set of columns.
pub fn note(shapes: &mut Vec<Shape>, shape: Shape) {
    let is_there = |there: &Shape| there.from().hold_the_same(shape.from());
    if !shapes.iter().any(is_there) {
        shapes.push(shape);
    }
}
