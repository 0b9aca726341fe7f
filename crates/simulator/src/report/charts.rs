//! Which plots a report has, and what is in them: of one run, or of several laid over each other.

use crate::results::{Distribution, Results, Sample, Traffic};

use super::axis::{Scale, step};
use super::format::{Unit, count, number, percent};
use super::plot::{Axis, Bar, Plot, Series, Shape};

/// More marks than this hide what they mark; the page's table has them still.
const MAX_MARKS: usize = 20;

/// No more bars than this; beyond, neighbouring values share one.
const MAX_BARS: f64 = 40.0;

/// A run and what it is called beside others.
pub(super) struct Run<'a> {
    pub label: String,
    pub results: &'a Results,
}

/// The plots of everything but the messages.
pub(super) fn overlay_plots(runs: &[Run]) -> Vec<Plot> {
    let all = [
        ring(runs),
        rings(runs),
        living(runs),
        delivery(runs),
        sent_over_time(runs),
        links_over_time(runs),
        links(runs),
        bandwidth(runs),
    ];
    all.into_iter().flatten().collect()
}

/// The plots of one class of messages.
pub(super) fn traffic_plots(runs: &[Run], class: &str) -> Vec<Plot> {
    [hops(runs, class), latency(runs, class)]
        .into_iter()
        .flatten()
        .collect()
}

fn traffic<'a>(run: &Run<'a>, class: &str) -> Option<&'a Traffic> {
    run.results
        .traffic
        .iter()
        .find(|traffic| traffic.class == class)
}

fn hops(runs: &[Run], class: &str) -> Option<Plot> {
    let of = |run: &Run| Some(traffic(run, class)?.hops.clone());
    let (x, series) = histogram(runs, of, "hop")?;
    Some(Plot {
        title: "Hops".to_owned(),
        x: Axis {
            label: "hops".to_owned(),
            scale: x,
        },
        y: Axis {
            label: "% of what was delivered".to_owned(),
            scale: Scale::from_zero(highest(&series)),
        },
        series,
        ..no_plot()
    })
}

fn latency(runs: &[Run], class: &str) -> Option<Plot> {
    let found: Vec<(&Run, &Distribution)> = runs
        .iter()
        .filter_map(|run| Some((run, &traffic(run, class)?.latency_us)))
        .filter(|(_, latency)| latency.count() > 0)
        .collect();
    let min = found
        .iter()
        .filter_map(|(_, latency)| latency.min())
        .min()? as f64;
    let max = found
        .iter()
        .filter_map(|(_, latency)| latency.max())
        .max()? as f64;
    let (unit, per_unit) = if max >= 20e6 { ("s", 1e6) } else { ("ms", 1e3) };
    let scale = if min > 0.0 && max / min > 50.0 {
        Scale::logarithmic(min / per_unit, max / per_unit)
    } else {
        Scale::from_zero(max / per_unit)
    };
    let series = found.iter().map(|(run, latency)| {
        let mut seen = 0;
        let first = latency.min().map(|least| (least as f64 / per_unit, 0.0));
        let curve = latency.buckets().map(|bucket| {
            seen += bucket.count;
            let at_most = bucket.high.min(latency.max().unwrap_or(u64::MAX));
            (
                at_most as f64 / per_unit,
                seen as f64 / latency.count() as f64 * 100.0,
            )
        });
        let curve = first.into_iter().chain(curve).collect();
        let points = [50.0, 90.0, 99.0]
            .into_iter()
            .filter_map(|percent| Some((latency.percentile(percent)? as f64 / per_unit, percent)));
        let points: Vec<(f64, f64)> = points.collect();
        let figures: Vec<String> = points
            .iter()
            .map(|&(at, percent)| format!("{percent} % in {} {unit}", number(at)))
            .collect();
        let name = called(runs, run, &figures.join(", "));
        Series {
            name,
            shape: Shape::LineWithPoints(curve, points),
        }
    });
    Some(Plot {
        title: "Latency: how much arrived within a time".to_owned(),
        x: Axis {
            label: format!("{unit} since it was sent"),
            scale,
        },
        y: Axis {
            label: "% of what was delivered".to_owned(),
            scale: Scale::from_zero(100.0),
        },
        series: series.collect(),
        ..no_plot()
    })
}

fn ring(runs: &[Run]) -> Option<Plot> {
    let mut plot = over_time(runs, "Right successors", "% of the living members", |run| {
        vec![(
            String::new(),
            points(run, |sample| Some(sample.ring_correct_share * 100.0)),
        )]
    })?;
    zoom_into_percent(&mut plot);
    if let ([run], [_, ..]) = (runs, plot.x.scale.ticks().as_slice()) {
        let per_unit = time_unit(runs).1;
        let mut wrong = Vec::new();
        let mut since = None;
        for sample in &run.results.series {
            let time = sample.time_s / per_unit;
            match (sample.ring_is_right, since) {
                (false, None) => since = Some(time),
                (true, Some(start)) => {
                    wrong.push((start, time));
                    since = None;
                }
                _ => {}
            }
        }
        wrong.extend(since.map(|start| (start, plot.x.scale.high())));
        plot.shaded = (wrong, "ring not right".to_owned());
    }
    Some(plot)
}

/// How many rings there are, where there was ever more than one.
fn rings(runs: &[Run]) -> Option<Plot> {
    let samples = runs.iter().flat_map(|run| &run.results.series);
    let most = samples.filter_map(|sample| sample.rings).max()?;
    if most < 2 {
        return None;
    }
    let mut plot = over_time(runs, "Separate rings", "rings", |run| {
        vec![(
            String::new(),
            points(run, |sample| sample.rings.map(|rings| rings as f64)),
        )]
    })?;
    plot.y.scale = Scale::count_from_zero(most as f64);
    Some(plot)
}

fn living(runs: &[Run]) -> Option<Plot> {
    let mut plot = over_time(runs, "Living members", "members", |run| {
        vec![(
            String::new(),
            points(run, |sample| Some(sample.living as f64)),
        )]
    })?;
    plot.y.scale = Scale::count_from_zero(highest(&plot.series));
    Some(plot)
}

fn delivery(runs: &[Run]) -> Option<Plot> {
    let share = |sample: &Sample| Some(sample.delivered_share()? * 100.0);
    let mut plot = over_time(
        runs,
        "Delivered, by when it was sent",
        "% of what was expected",
        |run| vec![(String::new(), stretches(run, |sample, _| share(sample)))],
    )?;
    zoom_into_percent(&mut plot);
    Some(plot)
}

fn sent_over_time(runs: &[Run]) -> Option<Plot> {
    over_time(runs, "Sent by a member, mean", "kbit/s", |run| {
        let rate =
            |sample: &Sample, seconds: f64| Some(sample.bytes_sent_per_member * 8e-3 / seconds);
        vec![(String::new(), stretches(run, rate))]
    })
    .filter(|plot| highest(&plot.series) > 0.0)
}

fn links_over_time(runs: &[Run]) -> Option<Plot> {
    let mean = |run: &Run| points(run, |sample| Some(sample.links_mean));
    let most = |run: &Run| points(run, |sample| Some(sample.links_max as f64));
    if let [_] = runs {
        return over_time(runs, "Open links of a member", "links", |run| {
            vec![
                ("mean".to_owned(), mean(run)),
                ("most".to_owned(), most(run)),
            ]
        });
    }
    over_time(runs, "Open links of a member, mean", "links", |run| {
        vec![(String::new(), mean(run))]
    })
}

fn links(runs: &[Run]) -> Option<Plot> {
    let (x, series) = histogram(runs, |run| Some(run.results.load.links.clone()), "link")?;
    Some(Plot {
        title: "Open links of the members, at the end".to_owned(),
        x: Axis {
            label: "links".to_owned(),
            scale: x,
        },
        y: Axis {
            label: "% of the members".to_owned(),
            scale: Scale::from_zero(highest(&series)),
        },
        series,
        ..no_plot()
    })
}

/// What the members send and receive, from the one who does least to the one who does most.
fn bandwidth(runs: &[Run]) -> Option<Plot> {
    let mut curves: Vec<(String, &Distribution)> = Vec::new();
    for run in runs {
        let load = &run.results.load;
        if let [_] = runs {
            curves.push(("sends".to_owned(), &load.uplink_bits_per_s));
            curves.push(("receives".to_owned(), &load.downlink_bits_per_s));
        } else {
            curves.push((run.label.clone(), &load.uplink_bits_per_s));
        }
    }
    curves.retain(|(_, rates)| rates.max() > Some(0));
    let max = curves.iter().filter_map(|(_, rates)| rates.max()).max()? as f64 / 1e3;
    let least = |rates: &Distribution| {
        rates
            .buckets()
            .map(|bucket| bucket.low)
            .find(|&low| low > 0)
    };
    let min = curves.iter().filter_map(|(_, rates)| least(rates)).min()? as f64 / 1e3;
    let median = curves
        .iter()
        .filter_map(|(_, rates)| rates.percentile(50.0))
        .min()? as f64
        / 1e3;

    let limit = runs
        .iter()
        .filter_map(|run| run.results.load.uplink_limit_bits_per_s)
        .max();
    let limit = limit.map(|bits| bits as f64 / 1e3);
    let near = limit.filter(|limit| max > 0.3 * limit);
    let scale = if max > 50.0 * median {
        Scale::logarithmic(min * 0.8, max.max(near.unwrap_or(0.0)) * 1.2)
    } else {
        Scale::from_zero(max.max(near.unwrap_or(0.0)))
    };
    let series = curves.iter().map(|(name, rates)| {
        let mut before = 0;
        let curve = rates.buckets().flat_map(|bucket| {
            let share = |members: u64| members as f64 / rates.count() as f64 * 100.0;
            let rate = (bucket.low + (bucket.high - bucket.low) / 2).min(rates.max().unwrap_or(0));
            let from = before;
            before += bucket.count;
            [
                (share(from), rate as f64 / 1e3),
                (share(before), rate as f64 / 1e3),
            ]
        });
        Series {
            name: name.clone(),
            shape: Shape::Line(curve.collect()),
        }
    });
    let mut note = Vec::new();
    if scale.is_logarithmic() {
        note.push("The scale is logarithmic.".to_owned());
    }
    if let (Some(limit), None) = (limit, near) {
        note.push(format!(
            "An uplink carries {}.",
            Unit::KilobitsPerSecond.write(limit)
        ));
    }
    let what = if runs.len() == 1 {
        "Bandwidth of the members, sorted"
    } else {
        "Uplinks of the members, sorted"
    };
    Some(Plot {
        title: what.to_owned(),
        x: Axis {
            label: "% of the members carry no more".to_owned(),
            scale: Scale::between(0.0, 100.0),
        },
        y: Axis {
            label: "kbit/s".to_owned(),
            scale,
        },
        series: series.collect(),
        levels: near
            .map(|limit| (limit, "limit of an uplink".to_owned()))
            .into_iter()
            .collect(),
        note: note.join(" "),
        ..no_plot()
    })
}

/// A plot over time from each run's lines: their names and points in virtual seconds. A line
/// without a name has its run's.
fn over_time(
    runs: &[Run],
    title: &str,
    label: &str,
    lines: impl Fn(&Run) -> Vec<(String, Vec<(f64, f64)>)>,
) -> Option<Plot> {
    let (unit, per_unit) = time_unit(runs);
    let mut series = Vec::new();
    for run in runs {
        for (name, mut points) in lines(run) {
            for point in &mut points {
                point.0 /= per_unit;
            }
            if points.len() > 1 {
                let name = if name.is_empty() {
                    run.label.clone()
                } else {
                    name
                };
                series.push(Series {
                    name,
                    shape: Shape::Line(points),
                });
            }
        }
    }
    if series.is_empty() {
        return None;
    }
    let end = longest(runs) / per_unit;
    Some(Plot {
        title: title.to_owned(),
        x: Axis {
            label: format!("virtual time, {unit}"),
            scale: Scale::between(0.0, end),
        },
        y: Axis {
            label: label.to_owned(),
            scale: Scale::from_zero(highest(&series)),
        },
        series,
        marks: marks(runs, per_unit),
        ..no_plot()
    })
}

/// What happened, if it is the same in all runs and not too much.
fn marks(runs: &[Run], per_unit: f64) -> Vec<(f64, String)> {
    let Some((first, others)) = runs.split_first() else {
        return Vec::new();
    };
    let marks = &first.results.marks;
    if marks.len() > MAX_MARKS || others.iter().any(|run| run.results.marks != *marks) {
        return Vec::new();
    }
    marks
        .iter()
        .map(|mark| (mark.time_s / per_unit, mark.label.clone()))
        .collect()
}

/// A figure at the time of each sample, in virtual seconds.
fn points(run: &Run, figure: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    run.results
        .series
        .iter()
        .filter_map(|sample| Some((sample.time_s, figure(sample)?)))
        .collect()
}

/// A figure that holds from one sample, or the beginning, to the next: its value for a sample and
/// the seconds before that.
fn stretches(run: &Run, figure: impl Fn(&Sample, f64) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut since = 0.0;
    for sample in &run.results.series {
        let seconds = sample.time_s - since;
        if let (true, Some(value)) = (seconds > 0.0, figure(sample, seconds)) {
            points.extend([(since, value), (sample.time_s, value)]);
        }
        since = sample.time_s;
    }
    points
}

fn longest(runs: &[Run]) -> f64 {
    runs.iter()
        .map(|run| {
            run.results
                .series
                .last()
                .map_or(0.0, |sample| sample.time_s)
                .max(run.results.duration_s)
        })
        .fold(0.0, f64::max)
}

/// The unit of time that suits the longest run, and its seconds.
fn time_unit(runs: &[Run]) -> (&'static str, f64) {
    match longest(runs) {
        ..=600.0 => ("s", 1.0),
        ..=36_000.0 => ("min", 60.0),
        _ => ("h", 3_600.0),
    }
}

/// Bars of the share that each value has among all, in percent, runs side by side.
fn histogram(
    runs: &[Run],
    of: impl Fn(&Run) -> Option<Distribution>,
    what: &str,
) -> Option<(Scale, Vec<Series>)> {
    let found: Vec<(&Run, Distribution)> = runs
        .iter()
        .filter_map(|run| Some((run, of(run)?)))
        .filter(|(_, counts)| counts.count() > 0)
        .collect();
    let min = found.iter().filter_map(|(_, counts)| counts.min()).min()?;
    let max = found.iter().filter_map(|(_, counts)| counts.max()).max()?;
    let span = (max - min) as f64 + 1.0;
    let width = if span <= MAX_BARS {
        1
    } else {
        step(span, MAX_BARS / 2.0).max(1.0) as u64
    };
    let first = min / width * width;
    let bins = (max - first) / width + 1;
    let series = found.iter().enumerate().map(|(index, (run, counts))| {
        let mut shares = vec![0u64; bins as usize];
        for bucket in counts.buckets() {
            let middle = bucket.low + (bucket.high - bucket.low) / 2;
            shares[((middle.clamp(min, max) - first) / width) as usize] += bucket.count;
        }
        let bars = shares
            .iter()
            .zip(0u64..)
            .filter(|&(&share, _)| share > 0)
            .map(|(&share, bin)| {
                let low = first + bin * width;
                let share = share as f64 / counts.count() as f64;
                let part = width as f64 / found.len() as f64;
                let from = low as f64 - 0.5 + part * index as f64;
                let values = match width {
                    1 => count(low),
                    _ => format!("{} to {}", count(low), count(low.saturating_add(width - 1))),
                };
                let plural = if values == "1" { "" } else { "s" };
                let hint = format!("{values} {what}{plural}: {}", percent(share));
                Bar {
                    from,
                    to: from + part,
                    y: share * 100.0,
                    hint,
                }
            });
        let mean = number(counts.mean().unwrap_or_default());
        let (p99, max) = (
            counts.percentile(99.0).unwrap_or(0),
            counts.max().unwrap_or(0),
        );
        let figures = format!(
            "mean {mean}, 99 % up to {}, most {}",
            count(p99),
            count(max)
        );
        let name = called(runs, run, &figures);
        Series {
            name,
            shape: Shape::Bars(bars.collect()),
        }
    });
    Some((
        Scale::bars(
            first,
            (first + (bins - 1) * width).saturating_add(width - 1),
        ),
        series.collect(),
    ))
}

/// What a run's series says of itself in the legend.
fn called(runs: &[Run], run: &Run, figures: &str) -> String {
    if runs.len() == 1 {
        figures.to_owned()
    } else {
        format!("{}: {figures}", run.label)
    }
}

/// Lets a percentage that is always high begin where its changes can be seen, and says so.
fn zoom_into_percent(plot: &mut Plot) {
    let lowest = values(&plot.series).fold(100.0, f64::min);
    let floors = [99.9, 99.0, 95.0, 90.0, 80.0, 50.0];
    let low = floors
        .into_iter()
        .find(|&floor| lowest >= floor && lowest < 100.0)
        .unwrap_or(0.0);
    plot.y.scale = Scale::between(low, 100.0);
    if low > 0.0 {
        plot.note = format!("The scale begins at {} %.", number(low));
    }
}

fn values(series: &[Series]) -> impl Iterator<Item = f64> + '_ {
    series.iter().flat_map(|series| -> Vec<f64> {
        match &series.shape {
            Shape::Line(points) | Shape::LineWithPoints(points, _) => {
                points.iter().map(|point| point.1).collect()
            }
            Shape::Bars(bars) => bars.iter().map(|bar| bar.y).collect(),
        }
    })
}

fn highest(series: &[Series]) -> f64 {
    values(series).fold(0.0, f64::max)
}

/// What a plot has if nothing is said of it.
fn no_plot() -> Plot {
    let axis = || Axis {
        label: String::new(),
        scale: Scale::from_zero(1.0),
    };
    Plot {
        title: String::new(),
        x: axis(),
        y: axis(),
        series: Vec::new(),
        levels: Vec::new(),
        marks: Vec::new(),
        shaded: (Vec::new(), String::new()),
        note: String::new(),
    }
}
