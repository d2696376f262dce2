//! How does a report look in a browser? One page without scripts or external resources.
//! Written from the report's own JSON. Names come from files and servers: all text passes [`escaped`].

use std::fmt::Write as _;

use serde_json::Value;

use super::{chart, show};
use crate::error::shown;
use crate::limits;
use crate::progress::{Course, Phase};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--ink:#2563eb}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line);\
overflow-wrap:break-word}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
.good{color:#15803d}.bad{color:#dc2626}.wide{overflow-x:auto}\
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:currentColor}\
.axis{stroke:currentColor;stroke-opacity:.35}.rate{fill:none;stroke:var(--ink);stroke-width:1.5}\
.area{fill:var(--ink);fill-opacity:.15}.bar{fill:var(--ink)}.off{stroke:#dc2626;stroke-dasharray:3 3}";

/// The page of a report.
pub fn page(report: &Value, course: &Course) -> String {
    let mut page = Page::default();
    let state = text_of(report, "state");
    let title = format!("{state}: {}", text_of(report, "job"));
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    // Whatever gets into the page by mistake, a browser runs and fetches nothing.
    page.raw(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n",
    );
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    page.raw(&format!("<title>milvusdm: {}</title>\n", escaped(&title)));
    page.raw(&format!("<style>{STYLE}</style>\n</head>\n<body>\n"));
    let is_good = ["done", "done before", "skipped", "agrees"].contains(&state.as_str());
    let class = if is_good { "good" } else { "bad" };
    page.raw(&format!("<h1 class=\"{class}\">{}</h1>\n", escaped(&title)));
    page.error(report);
    page.summary(report);
    page.course(report, course);
    page.phases(report);
    page.targets(report);
    page.put_off(course);
    page.left_out(report);
    page.list("Left behind", &report["left_behind"]);
    page.list("Warnings", &report["warnings"]);
    page.raw("</body>\n</html>\n");
    page.0
}

/// Text that is safe anywhere in a page, attributes included. Control characters are spelt out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML must not contain these, not even escaped.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A value of a report as text: strings bare, everything else as JSON, nothing for null.
fn text_of(value: &Value, key: &str) -> String {
    bare(&value[key])
}

fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn head(&mut self, title: &str) {
        self.raw(&format!("<h2>{}</h2>\n", escaped(title)));
    }

    /// A table; columns of figures are aligned right.
    fn table(&mut self, head: &[(&str, bool)], rows: &[Vec<String>]) {
        let cell = |out: &mut String, tag: &str, text: &str, is_figure: bool| {
            let class = if is_figure { " class=\"n\"" } else { "" };
            // Writing to a string does not fail.
            let _ = write!(out, "<{tag}{class}>{}</{tag}>", escaped(text));
        };
        let mut out = "<div class=\"wide\"><table>\n".to_owned();
        if head.iter().any(|(name, _)| !name.is_empty()) {
            out.push_str("<tr>");
            head.iter()
                .for_each(|(name, figure)| cell(&mut out, "th", name, *figure));
            out.push_str("</tr>\n");
        }
        for row in rows {
            out.push_str("<tr>");
            for (text, (_, is_figure)) in row.iter().zip(head) {
                cell(&mut out, "td", text, *is_figure);
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
        self.raw(&out);
    }

    fn list(&mut self, title: &str, lines: &Value) {
        let lines = lines.as_array().map_or(&[][..], Vec::as_slice);
        if lines.is_empty() {
            return;
        }
        self.head(title);
        self.raw("<ul>\n");
        for line in lines.iter().take(limits::PAGE_ROWS_MAX) {
            self.raw(&format!("<li>{}</li>\n", escaped(&bare(line))));
        }
        self.raw("</ul>\n");
        self.more(lines.len());
    }

    fn more(&mut self, all: usize) {
        if let Some(more) = all
            .checked_sub(limits::PAGE_ROWS_MAX)
            .filter(|more| *more > 0)
        {
            self.raw(&format!(
                "<p>… and {more} more: the JSON report lists all</p>\n"
            ));
        }
    }

    fn error(&mut self, report: &Value) {
        let error = &report["error"];
        if error.is_null() {
            return;
        }
        let place = match text_of(error, "place") {
            place if place.is_empty() => place,
            place => format!("{place}: "),
        };
        let what = text_of(error, "what");
        self.raw(&format!(
            "<p class=\"bad\">{}</p>\n",
            escaped(&format!("{place}{what}"))
        ));
        let hint = text_of(error, "hint");
        if !hint.is_empty() {
            self.raw(&format!("<p>{}</p>\n", escaped(&format!("hint: {hint}"))));
        }
        let mistakes = error["mistakes"].as_array().map_or(&[][..], Vec::as_slice);
        let said =
            |m: &Value| Value::from(format!("{}: {}", text_of(m, "place"), text_of(m, "what")));
        let mistakes: Vec<Value> = mistakes.iter().map(said).collect();
        self.list("Mistakes", &mistakes.into());
    }

    fn summary(&mut self, report: &Value) {
        self.head("Summary");
        let progress = &report["progress"];
        let number = |key: &str| progress[key].as_u64().unwrap_or(0);
        let seconds = report["seconds"].as_f64().unwrap_or(0.0);
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut row = |name: &str, text: String| {
            if !text.is_empty() {
                rows.push(vec![name.to_owned(), text]);
            }
        };
        row("job", text_of(report, "job"));
        row("destination", text_of(report, "destination"));
        row("checkpoint", text_of(report, "checkpoint"));
        row("start", text_of(report, "start"));
        row("end", text_of(report, "end"));
        row("took", show::seconds(seconds));
        if progress.is_object() {
            let own = number("rows").saturating_sub(number("rows_resumed"));
            row(
                "rows",
                format!("{} of {}", number("rows"), number("rows_total")),
            );
            if number("rows_resumed") > 0 {
                row(
                    "before this run",
                    show::count(number("rows_resumed"), "row", "rows"),
                );
            }
            let bytes = number("bytes");
            row("bytes of vectors and ids", show::bytes(bytes));
            let span = seconds.max(0.001);
            let rate = own as f64 / span;
            row(
                "rate",
                format!(
                    "{rate:.0} rows/s, {}/s",
                    show::bytes((bytes as f64 / span) as u64)
                ),
            );
            row("batches", number("batches").to_string());
            row("requests put off", number("retries").to_string());
        }
        row("digest of all rows", text_of(report, "digest"));
        row("host", text_of(report, "host"));
        row("version", text_of(report, "version"));
        self.table(&[("", false), ("", false)], &rows);
    }

    fn course(&mut self, report: &Value, course: &Course) {
        let points = course.all();
        if report["progress"].is_object() && points.len() > 1 {
            self.head("Rows a second");
            let drawn = chart::rates(&points, &course.put_off);
            self.raw(&drawn);
        }
    }

    fn phases(&mut self, report: &Value) {
        let phases = report["phases"].as_object().into_iter().flatten();
        let mut phases: Vec<(String, f64)> = phases
            .map(|(name, seconds)| (name.clone(), seconds.as_f64().unwrap_or(0.0)))
            .collect();
        phases.sort_by_key(|(name, _)| Phase::ALL.iter().position(|p| p.to_string() == *name));
        if !phases.is_empty() {
            self.head("Phases");
            let drawn = chart::bars(&phases);
            self.raw(&drawn);
        }
    }

    fn targets(&mut self, report: &Value) {
        let targets = report["targets"].as_array().map_or(&[][..], Vec::as_slice);
        if targets.is_empty() {
            return;
        }
        self.head("Targets and verification");
        let row = |target: &Value| {
            let number = |key: &str| text_of(target, key);
            let mut verdict = vec![match target["agrees"].as_bool() {
                Some(true) => "agrees".to_owned(),
                _ if target["counts_agree"] == Value::Bool(false) => "DIFFERS".to_owned(),
                _ if target["content"]["agrees"] == Value::Bool(false) => {
                    match target["content"]["not_compared"].as_str() {
                        Some(why) => format!("NOT COMPARED: {why}"),
                        None => "DIFFERS".to_owned(),
                    }
                }
                _ => "NOT PROVEN".to_owned(),
            }];
            let content = &target["content"];
            let first = &content["first_difference"];
            verdict.extend([
                text_of(target, "remark"),
                text_of(content, "rests_on"),
                text_of(first, "said"),
                text_of(content, "remark"),
            ]);
            verdict.retain(|part| !part.is_empty());
            vec![
                number("name"),
                number("source"),
                number("action"),
                number("rows_before"),
                number("delivered"),
                number("left_out"),
                number("rows_deleted"),
                number("rows_counted"),
                number("rests_on"),
                verdict.join("; "),
            ]
        };
        let rows: Vec<Vec<String>> = targets
            .iter()
            .take(limits::PAGE_ROWS_MAX)
            .map(row)
            .collect();
        self.table(
            &[
                ("target", false),
                ("from", false),
                ("was", false),
                ("before", true),
                ("delivered", true),
                ("left out", true),
                ("deleted", true),
                ("counted", true),
                ("rests on", false),
                ("verification", false),
            ],
            &rows,
        );
        self.more(targets.len());
    }

    fn put_off(&mut self, course: &Course) {
        if course.put_off.is_empty() {
            return;
        }
        self.head("Requests put off");
        let seconds = |ms: u64| show::seconds(ms as f64 / 1e3);
        let rows = course.put_off.iter().map(|put_off| {
            vec![
                put_off.times.to_string(),
                seconds(put_off.first_ms),
                seconds(put_off.last_ms),
                put_off.why.clone(),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        self.table(
            &[
                ("times", true),
                ("first after", true),
                ("last after", true),
                ("why", false),
            ],
            &rows,
        );
    }

    fn left_out(&mut self, report: &Value) {
        let left_out = report["left_out"].as_array().map_or(&[][..], Vec::as_slice);
        if left_out.is_empty() {
            return;
        }
        self.head("Rows left out");
        let row = |row: &Value| {
            ["target", "file", "row", "id"]
                .map(|key| text_of(row, key))
                .to_vec()
        };
        let rows: Vec<Vec<String>> = left_out
            .iter()
            .take(limits::PAGE_ROWS_MAX)
            .map(row)
            .collect();
        self.table(
            &[
                ("target", false),
                ("file", false),
                ("row", true),
                ("id", false),
            ],
            &rows,
        );
        self.more(left_out.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_text_can_leave_its_place() {
        let evil = "</td><script>alert('1')</script>&\"\u{1b}[31m\n\u{202e}";
        let mut course = Course::default();
        course.delivered(10, 1, 1);
        course.delivered(500, 9, 9);
        course.put_off(20, evil);
        let report = json!({
            "state": "failed", "job": evil, "destination": evil, "checkpoint": evil, "host": evil,
            "progress": {"rows": 9, "rows_total": 10}, "phases": {evil: 1.0}, "left_behind": [evil],
            "warnings": [evil], "left_out": [{"target": evil, "file": evil, "row": 1, "id": evil}],
            "error": {"place": evil, "what": evil, "hint": evil, "mistakes": [{"place": evil, "what": evil}]},
            "targets": [{"name": evil, "source": evil, "remark": evil,
                         "content": {"agrees": false, "rests_on": evil, "first_difference": {"said": evil}}}],
        });
        let page = page(&report, &course);
        assert!(page.matches("&lt;/td&gt;&lt;script&gt;").count() >= 15);
        for part in [
            "<script", "</script", "\u{1b}", "\u{202e}", "&\"", "alert('",
        ] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let warnings: Vec<String> = (0..limits::PAGE_ROWS_MAX + 7)
            .map(|n| n.to_string())
            .collect();
        let page = page(
            &json!({"state": "done", "warnings": warnings}),
            &Course::default(),
        );
        assert!(page.contains("and 7 more"), "{page}");
        assert_eq!(page.matches("<li>").count(), limits::PAGE_ROWS_MAX);
    }
}
