//! Single figures of [`Results`] by name, for expectations and references.

use super::{Distribution, MemberLoad, Results, Traffic};

/// The name of one figure, with its unit: `unicast.latency_ms_p99`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    name: String,
    figure: Figure,
}

/// Which figure: a place in one of the tables below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Traffic { class: usize, figure: usize },
    Whole(usize),
}

/// What messages are called in [`Traffic::class`].
pub const CLASSES: [&str; 6] = [
    "datagram",
    "unicast",
    "broadcast",
    "circulate",
    "stream",
    "lookup",
];

type OfTraffic = fn(&Traffic) -> Option<f64>;
type OfResults = fn(&Results) -> Option<f64>;

/// What can be asked of the messages of a class: `class.figure`.
const TRAFFIC: [(&str, OfTraffic); 25] = [
    ("sent", |of| Some(of.sent as f64)),
    ("expected", |of| Some(of.expected as f64)),
    ("delivered", |of| Some(of.delivered as f64)),
    ("lost", |of| Some(of.lost as f64)),
    ("duplicated", |of| Some(of.duplicated as f64)),
    ("out_of_order", |of| Some(of.out_of_order as f64)),
    ("delivered_share", Traffic::delivered_share),
    ("lost_per_10000", |of| {
        (of.expected > 0).then(|| of.lost as f64 * 1e4 / of.expected as f64)
    }),
    ("hops_mean", |of| of.hops.mean()),
    ("hops_p1", |of| percentile(&of.hops, 1.0)),
    ("hops_p50", |of| percentile(&of.hops, 50.0)),
    ("hops_p90", |of| percentile(&of.hops, 90.0)),
    ("hops_p99", |of| percentile(&of.hops, 99.0)),
    ("hops_max", |of| of.hops.max().map(|max| max as f64)),
    ("latency_ms_mean", |of| of.latency_us.mean().map(thousandth)),
    ("latency_ms_p1", |of| {
        percentile(&of.latency_us, 1.0).map(thousandth)
    }),
    ("latency_ms_p50", |of| {
        percentile(&of.latency_us, 50.0).map(thousandth)
    }),
    ("latency_ms_p90", |of| {
        percentile(&of.latency_us, 90.0).map(thousandth)
    }),
    ("latency_ms_p99", |of| {
        percentile(&of.latency_us, 99.0).map(thousandth)
    }),
    ("latency_ms_max", |of| {
        percentile(&of.latency_us, 100.0).map(thousandth)
    }),
    ("timeouts_mean", |of| of.timeouts.mean()),
    ("timeouts_p1", |of| percentile(&of.timeouts, 1.0)),
    ("timeouts_p50", |of| percentile(&of.timeouts, 50.0)),
    ("timeouts_p99", |of| percentile(&of.timeouts, 99.0)),
    ("timeouts_max", |of| percentile(&of.timeouts, 100.0)),
];

/// What can be asked of the whole.
const WHOLE: [(&str, OfResults); 32] = [
    ("population.started", |of| {
        Some(of.population.started as f64)
    }),
    ("population.left", |of| Some(of.population.left as f64)),
    ("population.crashed", |of| {
        Some(of.population.crashed as f64)
    }),
    ("population.living", |of| Some(of.population.living as f64)),
    ("ring.correct_share", |of| {
        Some(of.series.last()?.ring_correct_share)
    }),
    ("ring.correct_share_min", |of| {
        let shares = of.series.iter().map(|sample| sample.ring_correct_share);
        shares.min_by(f64::total_cmp)
    }),
    ("ring.is_right", |of| {
        Some(f64::from(u8::from(of.series.last()?.ring_is_right)))
    }),
    ("ring.right_after_s", right_after_s),
    ("ring.rings", |of| Some(of.series.last()?.rings? as f64)),
    ("links.mean", |of| of.load.links.mean()),
    ("links.p50", |of| percentile(&of.load.links, 50.0)),
    ("links.p99", |of| percentile(&of.load.links, 99.0)),
    ("links.max", |of| percentile(&of.load.links, 100.0)),
    ("uplink_mbit_per_s.mean", |of| {
        of.load.uplink_bits_per_s.mean().map(millionth)
    }),
    ("uplink_mbit_per_s.p50", |of| {
        percentile(&of.load.uplink_bits_per_s, 50.0).map(millionth)
    }),
    ("uplink_mbit_per_s.p99", |of| {
        percentile(&of.load.uplink_bits_per_s, 99.0).map(millionth)
    }),
    ("uplink_mbit_per_s.max", |of| {
        percentile(&of.load.uplink_bits_per_s, 100.0).map(millionth)
    }),
    ("uplink_mbit_per_s.centre", |of| {
        let up = |centre: &MemberLoad| millionth(centre.uplink_bits_per_s as f64);
        of.load.centre.as_ref().map(up)
    }),
    ("downlink_mbit_per_s.mean", |of| {
        of.load.downlink_bits_per_s.mean().map(millionth)
    }),
    ("downlink_mbit_per_s.p50", |of| {
        percentile(&of.load.downlink_bits_per_s, 50.0).map(millionth)
    }),
    ("downlink_mbit_per_s.p99", |of| {
        percentile(&of.load.downlink_bits_per_s, 99.0).map(millionth)
    }),
    ("downlink_mbit_per_s.max", |of| {
        percentile(&of.load.downlink_bits_per_s, 100.0).map(millionth)
    }),
    ("downlink_mbit_per_s.centre", |of| {
        let down = |centre: &MemberLoad| millionth(centre.downlink_bits_per_s as f64);
        of.load.centre.as_ref().map(down)
    }),
    ("graph.diameter", |of| {
        Some(of.graph.as_ref()?.diameter as f64)
    }),
    ("graph.mean_path", |of| of.graph.as_ref()?.mean_path),
    ("graph.clustering", |of| Some(of.graph.as_ref()?.clustering)),
    ("graph.components", |of| {
        Some(of.graph.as_ref()?.components as f64)
    }),
    ("graph.largest_component", |of| {
        Some(of.graph.as_ref()?.largest_component as f64)
    }),
    ("graph.cut_points", |of| {
        Some(of.graph.as_ref()?.cut_points as f64)
    }),
    ("graph.degree_mean", |of| of.graph.as_ref()?.degree.mean()),
    ("events", |of| Some(of.events as f64)),
    ("violations", |of| Some(of.violations.count as f64)),
];

impl Metric {
    /// The figure of this name.
    ///
    /// # Errors
    /// Which names there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        let whole = WHOLE.iter().position(|(known, _)| *known == name);
        let figure = whole.map(Figure::Whole).or_else(|| {
            let (class, figure) = name.split_once('.')?;
            Some(Figure::Traffic {
                class: CLASSES.iter().position(|known| *known == class)?,
                figure: TRAFFIC.iter().position(|(known, _)| *known == figure)?,
            })
        });
        match figure {
            Some(figure) => Ok(Self {
                name: name.to_owned(),
                figure,
            }),
            None => Err(format!("\"{name}\" is no figure; {}", known())),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The class of messages that it is a figure of, if it is one of messages.
    #[must_use]
    pub fn class(&self) -> Option<&'static str> {
        match self.figure {
            Figure::Traffic { class, .. } => Some(CLASSES[class]),
            Figure::Whole(_) => None,
        }
    }

    /// What it is in these results; `None` if it was not measured.
    #[must_use]
    pub fn measure(&self, results: &Results) -> Option<f64> {
        match self.figure {
            Figure::Whole(figure) => WHOLE[figure].1(results),
            Figure::Traffic { class, figure } => {
                let of_class = |traffic: &&Traffic| traffic.class == CLASSES[class];
                TRAFFIC[figure].1(results.traffic.iter().find(of_class)?)
            }
        }
    }
}

/// The names of all figures, for an error.
fn known() -> String {
    let traffic: Vec<_> = TRAFFIC.iter().map(|(name, _)| *name).collect();
    let whole: Vec<_> = WHOLE.iter().map(|(name, _)| *name).collect();
    format!(
        "there are {}, and for each of {}: {}",
        whole.join(", "),
        CLASSES.join(", "),
        traffic.join(", ")
    )
}

/// Seconds from the last thing that befell the overlay to the first sample from which on the
/// ring was right; `None` if it was not in the end.
fn right_after_s(results: &Results) -> Option<f64> {
    let since = results.marks.last().map_or(0.0, |mark| mark.time_s);
    let later = results.series.iter().rev();
    let right = later.take_while(|sample| sample.ring_is_right && sample.time_s >= since);
    right.last().map(|sample| sample.time_s - since)
}

fn percentile(of: &Distribution, percent: f64) -> Option<f64> {
    of.percentile(percent).map(|value| value as f64)
}

fn thousandth(value: f64) -> f64 {
    value / 1e3
}

fn millionth(value: f64) -> f64 {
    value / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Mark, Sample};

    fn measured(name: &str, results: &Results) -> Option<f64> {
        Metric::parse(name).unwrap().measure(results)
    }

    #[test]
    fn figures_are_found_by_name() {
        let mut lookups = Traffic {
            class: "lookup".to_owned(),
            expected: 4,
            lost: 1,
            ..Traffic::default()
        };
        lookups.latency_us.record(2_500);
        lookups.hops.record(3);
        let results = Results {
            traffic: vec![lookups],
            ..Results::default()
        };
        assert_eq!(measured("lookup.hops_mean", &results), Some(3.0));
        assert_eq!(measured("lookup.latency_ms_max", &results), Some(2.5));
        assert_eq!(measured("lookup.lost_per_10000", &results), Some(2500.0));
        assert_eq!(measured("unicast.hops_mean", &results), None);
        assert_eq!(measured("graph.diameter", &results), None);
        assert_eq!(measured("violations", &results), Some(0.0));
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_there_are() {
        for bad in ["", "lookup", "lookup.", "lookup.hop", "ring", "hops_mean"] {
            let why = Metric::parse(bad).unwrap_err();
            assert!(why.contains("ring.is_right"), "{why}");
        }
    }

    #[test]
    fn the_ring_is_right_from_when_it_stays_so() {
        let sample = |time_s: u32, ring_is_right| Sample {
            time_s: f64::from(time_s),
            ring_is_right,
            ..Sample::default()
        };
        let mut results = Results {
            marks: vec![Mark {
                time_s: 10.0,
                label: String::new(),
            }],
            series: vec![sample(9, true), sample(11, true), sample(12, false)],
            ..Results::default()
        };
        assert_eq!(measured("ring.right_after_s", &results), None);
        results.series.extend([sample(14, true), sample(15, true)]);
        assert_eq!(measured("ring.right_after_s", &results), Some(4.0));
    }
}
