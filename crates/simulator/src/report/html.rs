//! One run as a page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::results::{Detail, Expectation, Results};

use super::charts::{Run, overlay_plots, traffic_plots};
use super::drawing;
use super::figures::{Figure, key_figures, repairs};
use super::format::{Unit, count, counted, deviation, number};
use super::plot::Plot;
use super::text::bound;

const STYLE: &str = include_str!("style.css");

/// A table with a row for each expectation or reference has no more rows than this.
const MAX_ROWS: usize = 500;

/// A table of what happened has no more rows than this.
const MAX_MARKS: usize = 50;

pub(super) fn report(results: &Results) -> String {
    let scenario = &results.scenario;
    let title = if scenario.title.is_empty() {
        &scenario.name
    } else {
        &scenario.title
    };
    let run = Run {
        label: String::new(),
        results,
    };
    let runs = [run];
    page(
        title,
        html! {
            h1 { (title) }
            @for paragraph in paragraphs(&scenario.description) { p { (paragraph) } }
            (verdict(results))
            (about(results))
            (violations(results))
        (expectations(&results.expectations))
        (references(results))
        h2 { "Key figures" }
        (figure_tables(&key_figures(results)))
        (marks(results))
            @for traffic in &results.traffic {
                (plots(&format!("Messages: {}", traffic.class), &traffic_plots(&runs, &traffic.class)))
            }
            (plots("Overlay", &overlay_plots(&runs)))
            @if let Some(drawing) = &results.drawing {
                h2 { "The overlay at " (Unit::Seconds.write(drawing.time_s)) }
                (drawing::render(drawing))
            }
            (footnotes(results))
        },
    )
}

/// A page that needs nothing from anywhere, and may ask for nothing.
pub(super) fn page(title: &str, body: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - circlet" }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
    .into_string()
}

/// Plots under a heading, if there are any.
pub(super) fn plots(heading: &str, plots: &[Plot]) -> Markup {
    html! {
        @if !plots.is_empty() {
            h2 { (heading) }
            div.plots { @for plot in plots { (plot.render()) } }
        }
    }
}

/// What a run was: scenario, protocol, seed, version.
pub(super) fn about(results: &Results) -> Markup {
    let detail = match results.detail {
        Detail::Full => "whole nodes",
        Detail::Overlay => "overlay only",
    };
    html! {
        p.about {
            "Scenario " (results.scenario.name) ", topology " (results.topology) ", " (detail)
            ", seed " (results.seed) ", circlet " (results.version) "; "
            (Unit::Seconds.write(results.duration_s)) " of virtual time, "
            (count(results.events)) " events. The same scenario, seed and version give the same figures."
        }
        @if !results.complete {
            p.bad { "Stopped before the scenario's end: all figures are of what was simulated until then." }
        }
    }
}

/// Whether the run did what was demanded.
pub(super) fn verdict(results: &Results) -> Markup {
    let unmet = results.expectations.iter().filter(|one| !one.met).count();
    html! {
        @if results.violations.count > 0 {
            p.verdict.bad { "✗ " (counted(results.violations.count, "violation")) " of invariants" }
        }
        @if unmet > 0 {
            p.verdict.bad { "✗ " (unmet) " of " (results.expectations.len()) " expectations not met" }
        } @else if !results.expectations.is_empty() {
            p.verdict.good { "✓ All " (results.expectations.len()) " expectations met" }
        }
    }
}

fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n")
        .map(str::trim)
        .filter(|paragraph| !paragraph.is_empty())
}

fn figure_tables(figures: &[Figure]) -> Markup {
    html! {
        div.tables {
            @for group in figures.chunk_by(|a, b| a.group == b.group) {
                div {
                    h3 { (capital(&group[0].group)) }
                    table { tbody {
                        @for figure in group {
                            tr {
                                th scope="row" { (figure.name) }
                                td.number { (figure.unit.write_if_any(figure.value)) }
                            }
                        }
                    } }
                }
            }
        }
    }
}

/// A word as it begins a heading.
pub(super) fn capital(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

fn expectations(expectations: &[Expectation]) -> Markup {
    html! {
        @if !expectations.is_empty() {
            h2 { "Expectations" }
            div.wide { table {
                thead { tr {
                    th { "" } th { "What" } th.number { "Measured" } th { "Has to be" } th { "Source" }
                } }
                tbody { @for one in expectations.iter().take(MAX_ROWS) { tr {
                    td.short { @if one.met { span.good { "✓ met" } } @else { span.bad { "✗ not met" } } }
                    th scope="row" { (one.metric) }
                    td.number { (Unit::None.write_if_any(one.measured)) }
                    td.short { (bound(one.bound)) }
                    td { (one.source) }
                } } }
            } }
            (more(expectations.len(), MAX_ROWS))
        }
    }
}

fn references(results: &Results) -> Markup {
    let groups = results.references.chunk_by(|a, b| a.source == b.source);
    html! {
        @if !results.references.is_empty() { h2 { "Published figures" } }
        @for group in groups.take(MAX_ROWS) {
            h3 { (group[0].source) }
            div.wide { table {
                thead { tr {
                    th { "What" } th.number { "Published" } th.number { "Measured" }
                    th.number { "Deviation" } th { "Note" }
                } }
                tbody { @for row in group.iter().take(MAX_ROWS) { tr {
                    th scope="row" { (row.name) }
                    td.number { (number(row.published)) }
                    td.number { (Unit::None.write_if_any(row.measured)) }
                    td.number { (row.deviation_percent().map_or_else(|| "-".to_owned(), deviation)) }
                    td { (row.note) }
                } } }
            } }
            (more(group.len(), MAX_ROWS))
        }
    }
}

fn violations(results: &Results) -> Markup {
    let violations = &results.violations;
    html! {
        @if violations.count > 0 {
            h2.bad { "Violated invariants" }
            div.wide { table {
                thead { tr { th.number { "At" } th { "Invariant" } th { "What was seen" } } }
                tbody { @for row in &violations.first { tr {
                    td.number { (Unit::Seconds.write(row.time_s)) }
                    th scope="row" { (row.invariant) }
                    td { (row.what) }
                } } }
            } }
            @let listed = violations.first.len() as u64;
            @if violations.count > listed {
                p.note { "The first " (count(listed)) " of " (count(violations.count)) "." }
            }
        }
    }
}

fn marks(results: &Results) -> Markup {
    html! {
        @if !results.marks.is_empty() {
            h2 { "What happened" }
            p.note { "The numbers stand above the plots over time, unless there are many." }
            @let rows = results.marks.iter().zip(repairs(results)).enumerate();
            div.wide { table {
                thead { tr { th { "" } th.number { "At" } th { "What" } th { "The ring" } } }
                tbody { @for (index, (mark, repair)) in rows.take(MAX_MARKS) { tr {
                    td { (index + 1) }
                    td.number { (Unit::Seconds.write(mark.time_s)) }
                    td { (mark.label) }
                    td.short { (repair.write()) }
                } } }
            } }
            (more(results.marks.len(), MAX_MARKS))
        }
    }
}

fn footnotes(results: &Results) -> Markup {
    html! {
        @if let Some(graph) = results.graph.as_ref().filter(|graph| !graph.is_exact()) {
            p.note {
                "Paths were measured from " (count(graph.path_sources)) " of the "
                (count(graph.nodes)) " members, evenly chosen, and clustering at "
                (count(graph.clustering_sources)) "; so the diameter is a lower bound."
            }
        }
        p.note {
            "Counts, means, least and most are exact, and so are percentiles below 256; others are to 0.4 %. "
            "A member's rate is its mean while it lived."
        }
    }
}

/// Says that a table was cut.
fn more(rows: usize, shown: usize) -> Markup {
    html! { @if rows > shown { p.note { "The first " (shown) " of " (rows) "." } } }
}
