//! What a person wants to know of a run, in a screenful.

use crate::results::{Bound, Distribution, Expectation, MemberLoad, Results, Traffic};

use super::figures::repairs;
use super::format::{Unit, count, counted, deviation, number, percent, plain};

/// Of a list that may be long, so many lines are shown.
const MOST_LINES: usize = 12;

/// Sums up a run in lines of text for a terminal.
pub(super) fn summary(results: &Results) -> String {
    let mut text = Lines(vec![title(results)]);
    if !results.complete {
        text.0
            .push("stopped before its end: the figures are of what was simulated".to_owned());
    }
    let duration = Unit::Seconds.write(results.duration_s);
    text.add(
        "simulated",
        format!("{duration}, {}", counted(results.events, "event")),
    );
    text.add("members", population(results));
    for traffic in &results.traffic {
        text.add(&plain(&traffic.class), messages(traffic));
        text.add_some("", way(traffic));
    }
    text.add_some("ring", ring(results));
    text.0.extend(marks(results));
    let load = &results.load;
    text.add_some("links", links(&load.links));
    text.add_some("uplink", rate(&load.uplink_bits_per_s));
    text.add_some("downlink", rate(&load.downlink_bits_per_s));
    text.add_some("busiest", load.busiest.as_ref().map(member));
    text.add_some("centre", load.centre.as_ref().map(member));
    text.add_some("graph", graph(results));
    text.add("invariants", violations(results));
    text.0
        .extend(list(results.violations.first.iter().map(|row| {
            let (time, what) = (Unit::Seconds.write(row.time_s), plain(&row.what));
            format!("  at {time}, {}: {what}", plain(&row.invariant))
        })));
    text.0.extend(references(results));
    text.0.extend(expectations(results));
    text.0.join("\n") + "\n"
}

struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, name: &str, text: String) {
        self.0.push(format!("{name:<13} {text}"));
    }

    fn add_some(&mut self, name: &str, text: Option<String>) {
        if let Some(text) = text {
            self.add(name, text);
        }
    }
}

/// What was demanded, in words.
pub(super) fn bound(bound: Bound) -> String {
    match bound {
        Bound::AtLeast(least) => format!("at least {}", number(least)),
        Bound::AtMost(most) => format!("at most {}", number(most)),
        Bound::Within { of, percent } => format!("{} within {} %", number(of), number(percent)),
    }
}

fn title(results: &Results) -> String {
    let scenario = &results.scenario;
    let name = plain(&scenario.name);
    let title = if scenario.title.is_empty() {
        name.clone()
    } else {
        format!("{name}: {}", plain(&scenario.title))
    };
    format!(
        "{title} ({}, seed {})",
        plain(&results.topology),
        results.seed
    )
}

fn population(results: &Results) -> String {
    let all = results.population;
    let mut text = format!(
        "{} living of {} started",
        count(all.living),
        count(all.started)
    );
    for (number, what) in [(all.left, "left"), (all.crashed, "crashed")] {
        if number > 0 {
            text += &format!(", {} {what}", count(number));
        }
    }
    text
}

fn messages(traffic: &Traffic) -> String {
    let mut text = format!("{} sent", count(traffic.sent));
    if let Some(share) = traffic.delivered_share() {
        text += &format!(", {} delivered", percent(share));
    }
    for (number, what) in [
        (traffic.lost, "lost"),
        (traffic.duplicated, "twice"),
        (traffic.out_of_order, "out of order"),
    ] {
        text += &format!(", {} {what}", count(number));
    }
    text
}

/// Hops and latency of what was delivered.
fn way(traffic: &Traffic) -> Option<String> {
    let (hops, latency) = (&traffic.hops, &traffic.latency_us);
    let mut parts = Vec::new();
    if let (Some(mean), Some(p99), Some(max)) = (hops.mean(), hops.percentile(99.0), hops.max()) {
        parts.push(format!("{} hops (99 %: {p99}, most {max})", number(mean)));
    }
    if let (Some(p50), Some(p99), Some(max)) = (
        latency.percentile(50.0),
        latency.percentile(99.0),
        latency.max(),
    ) {
        let ms = |us: u64| number(us as f64 / 1e3);
        parts.push(format!(
            "{} ms (99 %: {}, most {})",
            ms(p50),
            ms(p99),
            ms(max)
        ));
    }
    if let Some(mean) = traffic.timeouts.mean().filter(|&mean| mean > 0.0) {
        parts.push(format!("{} timeouts a message", number(mean)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn ring(results: &Results) -> Option<String> {
    let end = results.series.last()?;
    let mut text = if end.ring_is_right {
        "right at the end".to_owned()
    } else {
        format!(
            "not right at the end: {} of the successors are",
            percent(end.ring_correct_share)
        )
    };
    if let Some(rings) = end.rings.filter(|&rings| rings > 1) {
        text += &format!(", {} rings", count(rings));
    }

    Some(text)
}

fn links(links: &Distribution) -> Option<String> {
    Some(format!(
        "{} a member, at most {}",
        number(links.mean()?),
        count(links.max()?)
    ))
}

fn rate(bits_per_s: &Distribution) -> Option<String> {
    let kbit = |bits: u64| number(bits as f64 / 1e3);
    let mean = number(bits_per_s.mean()? / 1e3);
    let (p50, max) = (kbit(bits_per_s.percentile(50.0)?), kbit(bits_per_s.max()?));
    Some(format!("{mean} kbit/s a member (median {p50}, most {max})"))
}

fn member(load: &MemberLoad) -> String {
    let kbit = |bits: u64| number(bits as f64 / 1e3);
    let (up, down) = (kbit(load.uplink_bits_per_s), kbit(load.downlink_bits_per_s));
    format!(
        "{}: {up} kbit/s up, {down} down, {} links",
        plain(&load.member),
        count(load.links)
    )
}

fn graph(results: &Results) -> Option<String> {
    let graph = results.graph.as_ref()?;
    let least = if graph.is_exact() { "" } else { "at least " };
    Some(format!(
        "diameter {least}{}, mean path {}, clustering {}, {}, {}",
        count(graph.diameter),
        Unit::Hops.write_if_any(graph.mean_path),
        number(graph.clustering),
        counted(graph.components, "component"),
        counted(graph.cut_points, "cut point"),
    ))
}

fn violations(results: &Results) -> String {
    match results.violations.count {
        0 => "no violation".to_owned(),
        times => counted(times, "violation").to_uppercase(),
    }
}

/// What the scenario did, and how the ring took it.
fn marks(results: &Results) -> Vec<String> {
    list(
        results
            .marks
            .iter()
            .zip(repairs(results))
            .map(|(mark, repair)| {
                let (at, what) = (Unit::Seconds.write(mark.time_s), plain(&mark.label));
                format!("  {what} at {at}: {}", repair.write())
            }),
    )
}

fn references(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    if !results.references.is_empty() {
        lines.push("published".to_owned());
    }
    lines.extend(list(results.references.iter().map(|row| {
        let (source, name) = (plain(&row.source), plain(&row.name));
        let measured = Unit::None.write_if_any(row.measured);
        let off = row
            .deviation_percent()
            .map(|percent| format!(" ({})", deviation(percent)));
        let off = off.unwrap_or_default();
        format!(
            "  {name}: {measured}, published {}{off} [{source}]",
            number(row.published)
        )
    })));
    lines
}

/// How many were met, and each that was not.
fn expectations(results: &Results) -> Vec<String> {
    if results.expectations.is_empty() {
        return Vec::new();
    }
    let met = |expectation: &&Expectation| expectation.met;
    let (all, good) = (
        results.expectations.len(),
        results.expectations.iter().filter(met).count(),
    );
    let mut lines = vec![format!("{:<13} {good} of {all} met", "expectations")];
    lines.extend(list(
        results
            .expectations
            .iter()
            .filter(|one| !one.met)
            .map(|one| {
                let measured = Unit::None.write_if_any(one.measured);
                let from = if one.source.is_empty() {
                    String::new()
                } else {
                    format!(" [{}]", plain(&one.source))
                };
                format!(
                    "  NOT MET {}: {measured}, has to be {}{from}",
                    plain(&one.metric),
                    bound(one.bound)
                )
            }),
    ));
    lines
}

/// The first lines, and how many more there are.
fn list(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(format!("  and {more} more: see the report"));
    }
    lines
}
