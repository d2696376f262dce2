//! What is the result of a run or a verification? A table for people that fits every terminal.

use super::carry::Report;
use super::say::{Text, line, width};
use super::show::{bytes, count, name, seconds};
use crate::error::shown;
use crate::verify::{Proof, TargetReport};

/// What a run did, for people.
pub fn summary(report: &Report, columns: usize) -> Text {
    let mut text = Text::default();
    if report.outcome == "skipped" {
        let what = "nothing to do: every target exists, and the mode is skip";
        text.fold(0, what, columns);
        return text;
    }
    let rows: u64 = report.targets.iter().map(|t| t.totals.delivered).sum();
    let total: u64 = report.targets.iter().map(|t| t.totals.bytes).sum();
    let (before, here, here_bytes) = report.progress.as_ref().map_or((0, 0, 0), |p| {
        let before = p.rows_resumed.min(p.rows);
        (before, p.rows - before, p.bytes)
    });
    let span = report.seconds.max(0.001);
    let rates = format!(
        "{:.0} rows/s, {}/s",
        here as f64 / span,
        bytes((here_bytes as f64 / span) as u64)
    );
    let done = format!("done: {} ({})", count(rows, "row", "rows"), bytes(total));
    let said = match before {
        0 => format!("{done} in {}: {rates}", seconds(report.seconds)),
        before => format!(
            "{done}, of these {before} before; this run {} ({}) in {}: {rates}",
            count(here, "row", "rows"),
            bytes(here_bytes),
            seconds(report.seconds)
        ),
    };
    text.fold(0, &said, columns);
    targets(&mut text, &report.targets, columns);
    text
}

/// What a verification found, for people.
pub fn verified(reports: &[TargetReport], span: f64, columns: usize) -> Text {
    let mut text = Text::default();
    if reports.is_empty() {
        return text;
    }
    let word = if reports.iter().any(TargetReport::differs) {
        "differs"
    } else if reports.iter().all(|r| r.agrees) {
        "agrees"
    } else {
        "may hold what was delivered, which is not proven"
    };
    let said = format!("the destination {word}; compared in {}", seconds(span));
    text.fold(0, &said, columns);
    targets(&mut text, reports, columns);
    text
}

/// Each target in a line of a table, with further statements below it. On a narrow terminal the counts move below the
/// figures; on a narrower one, everything is wrapped text.
fn targets(text: &mut Text, reports: &[TargetReport], columns: usize) {
    const HEAD: [&str; 7] = [
        "target",
        "was",
        "before",
        "delivered",
        "left out",
        "deleted",
        "now",
    ];
    let rows = reports.iter().map(|target| {
        let counted = match target.rows_counted {
            Some(n) => format!("counted {n} ({})", target.rests_on),
            None => format!("not counted (rests on {})", target.rests_on),
        };
        [
            shown(name(&target.name)).into_owned(),
            target.action.clone(),
            // Rows that were replaced existed before, too.
            target
                .rows_removed
                .unwrap_or(target.rows_before)
                .to_string(),
            target.totals.delivered.to_string(),
            target.totals.left_out.to_string(),
            target.rows_deleted.to_string(),
            format!("{counted}: {}", verdict(target)),
        ]
    });
    let rows: Vec<[String; 7]> = rows.collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (wide, cell) in widths.iter_mut().zip(row) {
            *wide = width(cell).max(*wide);
        }
    }
    // Two spaces before each.
    let all: usize = widths.iter().map(|wide| wide + 2).sum();
    let figures = all - widths[6] - 2;
    let shape = match columns {
        columns if columns >= all => Shape::Table,
        columns if columns >= figures => Shape::Figures,
        _ => Shape::Words,
    };
    // Names and words are aligned left, figures right.
    let in_line = |cells: &[String; 7]| {
        let cells = cells.iter().zip(widths).enumerate();
        let cells = cells.filter_map(|(number, (cell, wide))| match number {
            0 | 1 => Some(format!("{cell}{}", " ".repeat(wide - width(cell)))),
            6 => (shape == Shape::Table).then(|| cell.clone()),
            _ => Some(format!("{cell:>wide$}")),
        });
        cells.collect::<Vec<String>>().join("  ")
    };
    if shape != Shape::Words {
        line!(text, "  {}", in_line(&HEAD.map(str::to_owned)));
    }
    for (target, row) in reports.iter().zip(&rows) {
        match shape {
            Shape::Words => {
                text.fold(2, &row[0], columns);
                let figures = HEAD.iter().zip(row).take(6).skip(1);
                let figures = figures.map(|(what, figure)| format!("{what} {figure}"));
                text.fold(4, &figures.collect::<Vec<_>>().join(", "), columns);
            }
            _ => line!(text, "  {}", in_line(row)),
        }
        if shape != Shape::Table {
            text.fold(4, &row[6], columns);
        }
        remarks(text, target, columns);
    }
}

/// How targets are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A line for each.
    Table,
    /// A line of figures for each, and what was counted below it.
    Figures,
    /// Words, in as many lines as they need.
    Words,
}

fn verdict(target: &TargetReport) -> &'static str {
    if target.rows_counted.is_none() {
        "not compared"
    } else if !target.counts_agree {
        "DIFFERS"
    } else if target.proof == Proof::Open {
        "NOT PROVEN"
    } else {
        "agrees"
    }
}

fn remarks(text: &mut Text, target: &TargetReport, columns: usize) {
    let mut say = |words: &str| text.fold(4, words, columns);
    if let Some(error) = target.totals.relative_error {
        say(&format!(
            "{}: the largest relative error of a component is {error:.2e}, over all rows delivered",
            target.vector
        ));
    }
    if let Some(remark) = &target.remark {
        say(remark);
    }
    let Some(content) = &target.content else {
        return;
    };
    match &content.not_compared {
        Some(why) => say(&format!("content NOT COMPARED: {why}")),
        None if content.agrees => say(&format!("{}: agrees", content.rests_on)),
        None => say(&format!("{}: DIFFERS", content.rests_on)),
    }
    if let Some(first) = &content.first_difference {
        let (rows, said) = (content.rows_differing, &first.said);
        say(&format!(
            "rows that differ: {rows}; first: {said} (row {} of {})",
            first.row, first.file
        ));
    }
    if let Some(remark) = &content.remark {
        say(remark);
    }
}
