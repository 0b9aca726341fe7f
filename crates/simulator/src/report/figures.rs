//! The figures that sum up a run.

use crate::results::{Distribution, MemberLoad, Results, Traffic};

use super::format::Unit;

/// One figure of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// What it belongs to: `members`, a class of messages, `ring`, `load`, `graph`.
    pub group: String,
    pub name: String,
    pub unit: Unit,
    /// `None` if it was not measured.
    pub value: Option<f64>,
}

/// The key figures of a run, in the order they are shown.
pub(super) fn key_figures(results: &Results) -> Vec<Figure> {
    let mut list = List(Vec::new());
    let population = results.population;
    list.count("members", "started", population.started);
    list.count("members", "left", population.left);
    list.count("members", "crashed", population.crashed);
    list.count("members", "living at the end", population.living);
    for traffic in &results.traffic {
        list.traffic(traffic);
    }
    list.ring(results);
    list.load(results);
    list.graph(results);
    list.add(
        "run",
        "virtual time",
        Unit::Seconds,
        Some(results.duration_s),
    );
    list.count("run", "events", results.events);
    list.count("run", "violations of invariants", results.violations.count);
    list.0
}

/// What became of the ring after something had happened, until the next thing did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Repair {
    /// It was right in every sample.
    StayedRight,
    /// It was wrong, and right for good after so many virtual seconds: to the time between two
    /// samples.
    After(f64),
    /// It was not right when the next thing happened, or at the end.
    NotYet,
    /// No sample was taken.
    Unknown,
}

impl Repair {
    pub(super) fn write(self) -> String {
        match self {
            Self::StayedRight => "stayed right".to_owned(),
            Self::After(seconds) => {
                format!("right for good after {}", Unit::Seconds.write(seconds))
            }
            Self::NotYet => "did not become right".to_owned(),
            Self::Unknown => "-".to_owned(),
        }
    }
}

/// The ring's repair after each of the scenario's marks.
pub(super) fn repairs(results: &Results) -> Vec<Repair> {
    let ends = results
        .marks
        .iter()
        .skip(1)
        .map(|next| next.time_s)
        .chain([f64::INFINITY]);
    let mut repairs = Vec::new();
    for (mark, end) in results.marks.iter().zip(ends) {
        let mut repair = Repair::Unknown;
        let until = |time_s: f64| time_s > mark.time_s && time_s <= end;
        for sample in results.series.iter().filter(|sample| until(sample.time_s)) {
            repair = match (sample.ring_is_right, repair) {
                (true, Repair::Unknown) => Repair::StayedRight,
                (true, Repair::NotYet) => Repair::After(sample.time_s - mark.time_s),
                (true, before) => before,
                (false, _) => Repair::NotYet,
            };
        }
        repairs.push(repair);
    }
    repairs
}

struct List(Vec<Figure>);

impl List {
    fn add(&mut self, group: &str, name: &str, unit: Unit, value: Option<f64>) {
        self.0.push(Figure {
            group: group.to_owned(),
            name: name.to_owned(),
            unit,
            value,
        });
    }

    fn count(&mut self, group: &str, name: &str, value: u64) {
        self.add(group, name, Unit::Count, Some(value as f64));
    }

    fn traffic(&mut self, traffic: &Traffic) {
        let group = &traffic.class;
        self.count(group, "sent", traffic.sent);
        self.add(group, "delivered", Unit::Share, traffic.delivered_share());
        self.count(group, "lost", traffic.lost);
        self.count(group, "delivered twice", traffic.duplicated);
        self.count(group, "out of order", traffic.out_of_order);
        let of = |distribution: &Distribution, percent, scale| {
            Some(distribution.percentile(percent)? as f64 / scale)
        };
        self.add(group, "mean hops", Unit::Hops, traffic.hops.mean());
        for (name, percent) in [("hops, 99th percentile", 99.0), ("most hops", 100.0)] {
            self.add(group, name, Unit::Hops, of(&traffic.hops, percent, 1.0));
        }
        for (name, percent) in [
            ("latency, median", 50.0),
            ("latency, 99th percentile", 99.0),
            ("longest latency", 100.0),
        ] {
            self.add(
                group,
                name,
                Unit::Milliseconds,
                of(&traffic.latency_us, percent, 1e3),
            );
        }
        if traffic.timeouts.count() > 0 {
            self.add(
                group,
                "timeouts per message",
                Unit::None,
                traffic.timeouts.mean(),
            );
        }
    }

    fn ring(&mut self, results: &Results) {
        let Some(end) = results.series.last() else {
            return;
        };
        self.add(
            "ring",
            "right successors at the end",
            Unit::Share,
            Some(end.ring_correct_share),
        );
        if let Some(rings) = end.rings {
            self.count("ring", "rings at the end", rings);
        }
        let longest = repairs(results)
            .into_iter()
            .filter_map(|repair| match repair {
                Repair::After(seconds) => Some(seconds),
                _ => None,
            });
        let longest = longest.reduce(f64::max);
        if longest.is_some() {
            self.add("ring", "longest repair", Unit::Seconds, longest);
        }
    }

    fn load(&mut self, results: &Results) {
        let load = &results.load;
        self.add(
            "load",
            "links a member, mean",
            Unit::None,
            load.links.mean(),
        );
        self.add(
            "load",
            "links a member, most",
            Unit::Count,
            load.links.max().map(|max| max as f64),
        );
        let rate = Unit::KilobitsPerSecond;
        let kbit = |bits: u64| bits as f64 / 1e3;
        for (name, rates) in [
            ("uplink", &load.uplink_bits_per_s),
            ("downlink", &load.downlink_bits_per_s),
        ] {
            self.add(
                "load",
                &format!("{name}, mean"),
                rate,
                rates.mean().map(|mean| mean / 1e3),
            );
            self.add(
                "load",
                &format!("{name}, median"),
                rate,
                rates.percentile(50.0).map(kbit),
            );
            self.add(
                "load",
                &format!("{name}, most"),
                rate,
                rates.max().map(kbit),
            );
        }
        if let Some(limit) = load.uplink_limit_bits_per_s {
            self.add("load", "uplink, limit", rate, Some(kbit(limit)));
        }
        let mut member = |role: &str, load: &Option<MemberLoad>| {
            if let Some(load) = load {
                self.add(
                    "load",
                    &format!("{role}'s uplink"),
                    rate,
                    Some(kbit(load.uplink_bits_per_s)),
                );
                self.add(
                    "load",
                    &format!("{role}'s downlink"),
                    rate,
                    Some(kbit(load.downlink_bits_per_s)),
                );
                self.count("load", &format!("{role}'s links"), load.links);
            }
        };
        member("busiest member", &load.busiest);
        member("centre", &load.centre);
    }

    fn graph(&mut self, results: &Results) {
        let Some(graph) = &results.graph else {
            return;
        };
        let bound = if graph.is_exact() {
            "diameter"
        } else {
            "diameter, at least"
        };
        self.count("graph", "links", graph.edges);
        self.count("graph", bound, graph.diameter);
        self.add("graph", "mean path", Unit::Hops, graph.mean_path);
        self.add("graph", "clustering", Unit::None, Some(graph.clustering));
        self.count("graph", "components", graph.components);
        self.count("graph", "members in the largest", graph.largest_component);
        self.count("graph", "cut points", graph.cut_points);
    }
}

#[cfg(test)]
mod tests {
    use super::{Repair, repairs};
    use crate::results::{Mark, Results, Sample};

    #[test]
    fn a_repair_lasts_until_the_ring_stays_right() {
        let sample = |time_s, ring_is_right| Sample {
            time_s,
            ring_is_right,
            ..Sample::default()
        };
        let mark = |time_s| Mark {
            time_s,
            label: String::new(),
        };
        let mut results = Results {
            marks: vec![mark(10.0)],
            ..Results::default()
        };
        results.series = vec![sample(9.0, false), sample(10.0, false)];
        assert_eq!(
            repairs(&results),
            [Repair::Unknown],
            "a mark's own time is before it"
        );
        let mut then = |time_s, right, wanted| {
            results.series.push(sample(time_s, right));
            assert_eq!(repairs(&results), [wanted], "at {time_s}");
        };
        then(11.0, true, Repair::StayedRight);
        then(12.0, false, Repair::NotYet);
        then(13.0, true, Repair::After(3.0));
        then(14.0, false, Repair::NotYet);
        then(15.0, true, Repair::After(5.0));
        then(16.0, true, Repair::After(5.0));

        results.marks = vec![mark(1.0), mark(11.5), mark(14.0), mark(15.5)];
        let wanted = [
            Repair::NotYet,
            Repair::NotYet,
            Repair::StayedRight,
            Repair::StayedRight,
        ];
        results.series[0] = sample(9.0, true);
        results.series[1] = sample(11.5, false);
        results.series.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
        assert_eq!(repairs(&results), wanted);
    }
}
