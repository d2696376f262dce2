//! Which parts of a source's schema does a server support? What it lacks is an error before anything is created, or
//! left out if the job says so. Pure: makes no calls.

use std::sync::Arc;

use tracing::warn;

use super::settings::Settings;
use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::milvus::{Collection, Flavour, Server, default_value, properties};
use crate::schema::{Column, Columns};

/// The description of a collection: that of the source's collection, and the run that created it.
pub fn description(target: &Target, mark: &str) -> String {
    match target.traits.description.as_str() {
        "" => mark.to_owned(),
        said => format!("{said} ({mark})"),
    }
}

/// The parts of a target's schema that a server is known to lack.
fn lacking(target: &Target, server: &Server) -> Vec<String> {
    let old = |release: (u32, u32)| match server.flavour {
        Flavour::Full => server.release.is_some_and(|r| r < release),
        _ => true,
    };
    let mut lacks = Vec::new();
    if old((2, 5)) {
        let functions = target.traits.functions.iter();
        lacks.extend(functions.map(|f| format!("function {} ({})", f.name, f.kind.name())));
    }
    for column in target.columns.all() {
        let name = &column.name;
        if column.traits.is_clustering_key && old((2, 4)) {
            lacks.push(format!("clustering key {name}"));
        }
        if let Some(value) = &column.traits.default
            && default_value(column.kind, value).is_none()
        {
            lacks.push(format!("default {value:?} of {name} {}", column.kind));
        }
    }
    lacks
}

/// Returns an error about parts that the server lacks, unless they may be left out.
pub fn check(target: &Target, settings: &Settings, server: &Server) -> Result<()> {
    refuse(lacking(target, server), settings, server)
}

fn refuse(lacks: Vec<String>, settings: &Settings, server: &Server) -> Result<()> {
    if lacks.is_empty() {
        return Ok(());
    }
    let lacks = lacks.join(", ");
    if settings.drops_unsupported {
        warn!("{server} does not support {lacks}: left out");
        return Ok(());
    }
    let what = format!("{server} does not support all of the source's schema: {lacks}");
    let hint = "`sink.milvus.unsupported: drop` creates the collection without these";
    Err(Error::new(Kind::Unsupported, what).hint(hint))
}

/// A target reduced to what the server supports.
pub fn carried(target: &Target, settings: &Settings, server: &Server) -> Target {
    let lacks = lacking(target, server);
    if lacks.is_empty() || !settings.drops_unsupported {
        return target.clone();
    }
    let mut traits = (*target.traits).clone();
    if lacks.iter().any(|what| what.starts_with("function ")) {
        traits.functions.clear();
        traits.outputs.clear();
    }
    let columns = target.columns.all().iter().map(|column| {
        let mut column: Column = column.clone();
        let lost = |what: &str| {
            lacks
                .iter()
                .any(|l| *l == format!("{what} {}", column.name))
        };
        if lost("clustering key") {
            column.traits.is_clustering_key = false;
        }
        let default = column.traits.default.as_ref();
        if default.is_some_and(|value| default_value(column.kind, value).is_none()) {
            column.traits.default = None;
        }
        column
    });
    Target {
        columns: Columns::new(columns.collect()).expect("they were columns before"),
        traits: Arc::new(traits),
        ..target.clone()
    }
}

/// Returns an error about a collection that was created without a part of what was requested.
pub fn as_asked(
    found: &Collection,
    target: &Target,
    settings: &Settings,
    server: &Server,
) -> Result<()> {
    let mut lacks = Vec::new();
    for function in &target.traits.functions {
        if !found.functions.iter().any(|f| f.name == function.name) {
            lacks.push(format!("function {}", function.name));
        }
    }
    for column in target.columns.all() {
        let Some(field) = found.field(&column.name) else {
            continue;
        };
        if column.traits.is_clustering_key && !field.is_clustering_key {
            lacks.push(format!("clustering key {}", column.name));
        }
        if column.traits.default.is_some() && field.default_value.is_none() {
            lacks.push(format!("default of {}", column.name));
        }
        for (key, value) in &column.traits.params {
            let there = field.type_params.iter().find(|p| p.key == *key);
            if there.map(|p| &p.value) != Some(value) {
                lacks.push(format!("{key} of {}", column.name));
            }
        }
    }
    for (key, value) in properties(&target.traits) {
        let there = found.properties.iter().find(|p| p.key == *key);
        if there.map(|p| &p.value) != Some(value) {
            lacks.push(format!("property {key}"));
        }
    }
    refuse(lacks, settings, server)
}
