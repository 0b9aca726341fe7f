//! Several runs side by side.

use maud::{Markup, html};

use crate::results::{Expectation, Results};

use super::charts::{Run, overlay_plots, traffic_plots};
use super::figures::{Figure, key_figures};
use super::format::{Unit, deviation, plain};
use super::html::{about, capital, page, plots, verdict};
use super::text::bound;

/// One line of the comparison: a figure in each of the runs.
struct Row {
    figure: Figure,
    values: Vec<Option<f64>>,
}

pub(super) fn page_of(results: &[Results]) -> String {
    let runs = runs(results);
    let mut classes: Vec<&str> = Vec::new();
    for traffic in results.iter().flat_map(|results| &results.traffic) {
        if !classes.contains(&traffic.class.as_str()) {
            classes.push(&traffic.class);
        }
    }
    page(
        "Comparison",
        html! {
            h1 { "Comparison of " (runs.len()) " runs" }
            @for run in &runs {
                h3 { (run.label) @if !run.results.scenario.title.is_empty() { ": " (run.results.scenario.title) } }
                (verdict(run.results))
                (about(run.results))
            }
            h2 { "Key figures" }
            (table(&runs))
            (expectations(&runs))
            @for class in classes { (plots(&format!("Messages: {class}"), &traffic_plots(&runs, class))) }
            (plots("Overlay", &overlay_plots(&runs)))
        },
    )
}

pub(super) fn text_of(results: &[Results]) -> String {
    let runs = runs(results);
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut head = vec![String::new()];
    head.extend(runs.iter().map(|run| plain(&run.label)));
    head.extend(differs(&runs).then(|| "difference".to_owned()));
    lines.push(head);
    for row in rows(&runs) {
        let mut line = vec![format!("{} {}", plain(&row.figure.group), row.figure.name)];
        line.extend(
            row.values
                .iter()
                .map(|value| row.figure.unit.write_if_any(*value)),
        );
        line.extend(differs(&runs).then(|| difference(&row)));
        lines.push(line);
    }
    let columns = runs.len() + 1 + usize::from(differs(&runs));
    let cell = |line: &[String], column: usize| line[column].chars().count();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .map(|line| cell(line, column))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let mut written = format!("{:<width$}", line[0], width = widths[0]);
        for column in 1..columns {
            written += &format!("  {:>width$}", line[column], width = widths[column]);
        }
        text += written.trim_end();
        text.push('\n');
    }
    text
}

/// The runs, each called by what tells it from the others.
fn runs(results: &[Results]) -> Vec<Run<'_>> {
    let label = |index: usize, run: &Results| {
        let same_name = |other: &&Results| other.scenario.name == run.scenario.name;
        let same_seed = |other: &&Results| same_name(other) && other.seed == run.seed;
        let name = &run.scenario.name;
        match (
            results.iter().filter(same_name).count(),
            results.iter().filter(same_seed).count(),
        ) {
            (1, _) => name.clone(),
            (_, 1) => format!("{name}, seed {}", run.seed),
            _ => format!("{name} ({})", index + 1),
        }
    };
    let runs = results.iter().enumerate();
    runs.map(|(index, results)| Run {
        label: label(index, results),
        results,
    })
    .collect()
}

/// Every figure that any of the runs has, in the order of the first that has it.
fn rows(runs: &[Run]) -> Vec<Row> {
    let figures: Vec<Vec<Figure>> = runs.iter().map(|run| key_figures(run.results)).collect();
    let same = |a: &Figure, b: &Figure| (&a.group, &a.name) == (&b.group, &b.name);
    let mut rows: Vec<Row> = Vec::new();
    for figure in figures.iter().flatten() {
        if rows.iter().any(|row| same(&row.figure, figure)) {
            continue;
        }
        // After the last of its group, so that groups stay together.
        let place = rows
            .iter()
            .rposition(|row| row.figure.group == figure.group);
        let values = figures
            .iter()
            .map(|run| run.iter().find(|other| same(other, figure))?.value);
        let row = Row {
            figure: figure.clone(),
            values: values.collect(),
        };
        rows.insert(place.map_or(rows.len(), |place| place + 1), row);
    }
    rows
}

/// Whether there is a column for the difference: between two, that is clear.
fn differs(runs: &[Run]) -> bool {
    runs.len() == 2
}

/// How far the second run is from the first, in percent.
fn difference(row: &Row) -> String {
    match row.values[..] {
        [Some(first), Some(second)] if first == second => "same".to_owned(),
        [Some(first), Some(second)] if first != 0.0 => deviation((second / first - 1.0) * 100.0),
        _ => String::new(),
    }
}

fn table(runs: &[Run]) -> Markup {
    let rows = rows(runs);
    html! {
        div.wide { table {
            thead { tr {
                th { "" }
                @for run in runs { th.number { (run.label) } }
                @if differs(runs) { th.number { "Difference" } }
            } }
            @for group in rows.chunk_by(|a, b| a.figure.group == b.figure.group) {
                tbody {
                    tr { th scope="rowgroup" { strong { (capital(&group[0].figure.group)) } } }
                    @for row in group { tr {
                        th scope="row" { (row.figure.name) }
                        @for value in &row.values { td.number { (row.figure.unit.write_if_any(*value)) } }
                        @if differs(runs) { td.number { (difference(row)) } }
                    } }
                }
            }
        } }
    }
}

/// Expectations that any of the runs has: what was measured in each, met or not.
fn expectations(runs: &[Run]) -> Markup {
    let mut all: Vec<&Expectation> = Vec::new();
    let same = |a: &Expectation, b: &Expectation| a.metric == b.metric && a.bound == b.bound;
    for one in runs.iter().flat_map(|run| &run.results.expectations) {
        if !all.iter().any(|other| same(other, one)) {
            all.push(one);
        }
    }
    let in_run = |run: &Run, one: &Expectation| {
        run.results
            .expectations
            .iter()
            .find(|other| same(other, one))
            .cloned()
    };
    html! {
        @if !all.is_empty() {
            h2 { "Expectations" }
            div.wide { table {
                thead { tr {
                    th { "What" } th { "Has to be" }
                    @for run in runs { th.number { (run.label) } }
                } }
                tbody { @for one in all { tr {
                    th scope="row" { (one.metric) }
                    td.short { (bound(one.bound)) }
                    @for run in runs {
                        @match in_run(run, one) {
                            Some(theirs) => {
                                @let (class, sign) = if theirs.met { ("good", "✓") } else { ("bad", "✗") };
                                td.number { span.(class) {
                                    (Unit::None.write_if_any(theirs.measured)) " " (sign)
                                } }
                            }
                            None => td.number { "-" },
                        }
                    }
                } } }
            } }
        }
    }
}
