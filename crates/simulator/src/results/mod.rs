//! What a run has shown: plain data, the same whichever engine ran it.
//!
//! Everything in [`Results`] is counted or computed in a fixed order from the scenario, the seed
//! and the version of the program. Nothing says how long the run took by the clock, or on how
//! many threads: equal runs give equal bytes when they are written.

mod distribution;
mod drawing;
mod graph;
mod metric;

use serde::{Deserialize, Serialize};

pub use distribution::{Bucket, Distribution, Inconsistent};
pub use metric::{CLASSES, Metric};

/// The results of one run of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The scenario, as its file calls it.
    pub scenario: ScenarioName,
    /// The version of the program that ran it.
    pub version: String,
    /// Where all its random numbers came from.
    pub seed: u64,
    /// How much of the protocol was simulated.
    pub detail: Detail,
    /// The shape of the overlay: `ring`, `small-world`, `mesh` or `star`.
    pub topology: String,
    /// Virtual time that was simulated, in seconds.
    pub duration_s: f64,
    /// False if the run was stopped before the scenario's end: all figures are of what was
    /// simulated until then.
    pub complete: bool,
    /// Events that were handled.
    pub events: u64,
    /// What became of the members.
    pub population: Population,
    /// What became of the messages, one entry for each class that the scenario sends.
    pub traffic: Vec<Traffic>,
    /// What the scenario did to the overlay, in order of time.
    pub marks: Vec<Mark>,
    /// The state of the overlay over time, in order of time.
    pub series: Vec<Sample>,
    /// What the members' links and uplinks carried.
    pub load: Load,
    /// Members one by one, or an even sample of them.
    pub members: Members,
    /// The overlay as a graph, at the end.
    pub graph: Option<GraphMetrics>,
    /// The overlay as a picture, at the end or at a chosen time.
    pub drawing: Option<Drawing>,
    /// What must never happen and did.
    pub violations: Violations,
    /// What the scenario demands, and whether it was met.
    pub expectations: Vec<Expectation>,
    /// Published figures that the scenario repeats.
    pub references: Vec<Reference>,
}

impl Results {
    /// Whether no invariant was violated and every expectation met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.count == 0 && self.expectations.iter().all(|expectation| expectation.met)
    }
}

/// What a scenario is called, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioName {
    /// The name of its file, without directory and `.toml`.
    pub name: String,
    /// One line.
    pub title: String,
    /// What it shows; may be empty.
    pub description: String,
}

/// How much of the protocol was simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// Whole nodes: signalling, links, trackers, delivery.
    #[default]
    Full,
    /// The overlay alone: ring maintenance, long links, routing.
    Overlay,
}

/// How many members there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Population {
    /// Members that began to join at any time.
    pub started: u64,
    /// Those that left and said so.
    pub left: u64,
    /// Those that vanished without a word.
    pub crashed: u64,
    /// Those that lived at the end.
    pub living: u64,
}

/// What became of the messages of one class.
///
/// A reception is one message at one member: a unicast expects one, a broadcast as many as there
/// are other members that live and stay. `expected` is `delivered` plus `lost` once the run is
/// over; what was still on its way then is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// One of [`CLASSES`].
    pub class: String,
    /// Messages that members sent.
    pub sent: u64,
    /// Receptions that should follow from them.
    pub expected: u64,
    /// Receptions that did, repeats not counted.
    pub delivered: u64,
    /// Receptions that did not and no longer can.
    pub lost: u64,
    /// Receptions of what the same member had received before.
    pub duplicated: u64,
    /// Receptions of what the sender sent before something that had already been received.
    pub out_of_order: u64,
    /// Hops of each delivered message: 1 if it went over one link.
    pub hops: Distribution,
    /// Microseconds from sending to each reception.
    pub latency_us: Distribution,
    /// For each message, the dead members that were tried on its way (Chord's timeouts).
    pub timeouts: Distribution,
}

impl Traffic {
    /// Delivered receptions among those expected, 0 to 1; `None` if none was expected.
    #[must_use]
    pub fn delivered_share(&self) -> Option<f64> {
        share(self.delivered, self.expected)
    }
}

/// Something that the scenario did to the overlay: a fault, a heal, a crowd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// When, in virtual seconds.
    pub time_s: f64,
    /// What, in a few words: `30 % crash`.
    pub label: String,
}

/// The state of the overlay at one time, and the traffic since the sample before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in virtual seconds.
    pub time_s: f64,
    /// Members alive.
    pub living: u64,
    /// Living members whose successor is the right one, among all the living, 0 to 1.
    pub ring_correct_share: f64,
    /// Whether the ring is right at every living member, with what the engine can say about
    /// predecessors and lists too.
    pub ring_is_right: bool,
    /// Separate rings that the successors of the living form.
    pub rings: Option<u64>,
    /// Open links of a living member.
    pub links_mean: f64,
    /// The most that any has.
    pub links_max: u64,
    /// Receptions that should follow from messages sent since the last sample.
    pub expected: u64,
    /// How many of those did follow, at any time until the end of the run.
    pub delivered: u64,
    /// Bytes that a living member sent since the last sample, on average.
    pub bytes_sent_per_member: f64,
}

impl Sample {
    /// Delivered receptions among those expected, 0 to 1; `None` if none was expected.
    #[must_use]
    pub fn delivered_share(&self) -> Option<f64> {
        share(self.delivered, self.expected)
    }
}

/// What the members carried. A member's rate is its mean over the time it lived, or over the
/// window that the scenario measures in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Open links of each member at the end.
    pub links: Distribution,
    /// What each member sent, in bits per second.
    pub uplink_bits_per_s: Distribution,
    /// What each member received, in bits per second.
    pub downlink_bits_per_s: Distribution,
    /// The uplink that the scenario gives each member, in bits per second.
    pub uplink_limit_bits_per_s: Option<u64>,
    /// Who sent most.
    pub busiest: Option<MemberLoad>,
    /// The centre: the hub of a star, or the one that streams to all.
    pub centre: Option<MemberLoad>,
}

/// What one member carried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLoad {
    /// Its name.
    pub member: String,
    /// Bits per second it sent.
    pub uplink_bits_per_s: u64,
    /// Bits per second it received.
    pub downlink_bits_per_s: u64,
    /// Its open links.
    pub links: u64,
}

/// Members one by one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// How many there were in all.
    pub total: u64,
    /// All of them, or an even sample in the order they started in: see [`Members::sample`].
    pub rows: Vec<MemberRow>,
}

impl Members {
    /// At most this many rows are kept.
    pub const MAX_ROWS: u64 = 10_000;

    /// Which members get a row when there are `total`: all, or every n-th from the first.
    pub fn sample(total: u64) -> impl Iterator<Item = u64> {
        let step = total.div_ceil(Self::MAX_ROWS).max(1);
        (0..total).step_by(usize::try_from(step).unwrap_or(usize::MAX))
    }
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Its name.
    pub member: String,
    /// Its position on the ring, 16 hex digits.
    pub position: String,
    /// When it began to join, in virtual seconds.
    pub started_s: f64,
    /// When it left or crashed.
    pub ended_s: Option<f64>,
    /// What became of it.
    pub fate: Fate,
    /// Open links, when it ended or at the end.
    pub links: u64,
    /// Bytes it sent.
    pub bytes_sent: u64,
    /// Bytes it received.
    pub bytes_received: u64,
    /// Bits per second it sent while it lived.
    pub uplink_bits_per_s: u64,
    /// Bits per second it received while it lived.
    pub downlink_bits_per_s: u64,
    /// Messages of its own.
    pub sent: u64,
    /// Messages delivered to it.
    pub received: u64,
    /// Messages it passed on for others.
    pub forwarded: u64,
}

/// What became of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It lived at the end.
    #[default]
    Living,
    /// It left and said so.
    Left,
    /// It vanished without a word.
    Crashed,
}

/// The overlay's links among the living, as an undirected graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphMetrics {
    /// When the graph was taken, in virtual seconds.
    pub time_s: f64,
    /// Members.
    pub nodes: u64,
    /// Links.
    pub edges: u64,
    /// Members whose paths to all others were measured: `nodes`, or a sample.
    pub path_sources: u64,
    /// The longest of the shortest paths found, in links. Exact if every member's paths were
    /// measured, otherwise a lower bound. Pairs that no path joins are left out.
    pub diameter: u64,
    /// The mean of the shortest paths found, in links; `None` if no path joins any two.
    pub mean_path: Option<f64>,
    /// Members whose clustering was measured: `nodes`, or a sample.
    pub clustering_sources: u64,
    /// The mean over those members of the share of pairs of its neighbours that are linked
    /// themselves (Watts and Strogatz, 1998); 0 for a member of fewer than two neighbours.
    pub clustering: f64,
    /// Connected components.
    pub components: u64,
    /// Members in the largest one.
    pub largest_component: u64,
    /// Members whose loss would split a component.
    pub cut_points: u64,
    /// Links of each member.
    pub degree: Distribution,
}

impl GraphMetrics {
    /// Whether every member's paths were measured.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.path_sources == self.nodes
    }
}

/// The overlay, or a part of it, to be drawn: see [`Drawing::of`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    /// When, in virtual seconds.
    pub time_s: f64,
    /// Members that there are in all; more than `members` holds if only some are drawn.
    pub total: u64,
    /// The members, in any order.
    pub members: Vec<DrawnMember>,
    /// Links between them.
    pub links: Vec<DrawnLink>,
}

impl Drawing {
    /// At most this many members are drawn; with more, nothing can be seen.
    pub const MAX_MEMBERS: usize = 300;
}

/// A member in a drawing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DrawnMember {
    /// Its name.
    pub member: String,
    /// Its position on the ring, from 0 to 1.
    pub turn: f64,
    /// Whether it is alive.
    pub alive: bool,
    /// Whether all its links are drawn; otherwise it is shown as the end of some.
    pub whole: bool,
}

/// A link in a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawnLink {
    /// One end: an index of [`Drawing::members`].
    pub from: u32,
    /// The other.
    pub to: u32,
    /// What it is held open for.
    pub kind: LinkKind,
}

/// What a link is held open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A successor or predecessor.
    Ring,
    /// Anything else: a long link, a hub, a mesh.
    Long,
}

/// What must never happen and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Violations {
    /// How many times.
    pub count: u64,
    /// The first of them.
    pub first: Vec<ViolationRow>,
}

impl Violations {
    /// At most this many are listed; the others are only counted.
    pub const MAX_LISTED: usize = 100;

    /// Counts a violation, and lists it if it is among the first.
    pub fn push(&mut self, row: ViolationRow) {
        self.count += 1;
        if self.first.len() < Self::MAX_LISTED {
            self.first.push(row);
        }
    }
}

/// One violation of an invariant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViolationRow {
    /// When, in virtual seconds.
    pub time_s: f64,
    /// The invariant's name.
    pub invariant: String,
    /// What was seen.
    pub what: String,
}

/// What a scenario demands of a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The figure's name, with its unit.
    pub metric: String,
    /// What it has to be.
    pub bound: Bound,
    /// What it was; `None` if nothing was measured, which meets no bound.
    pub measured: Option<f64>,
    /// Whether it was met.
    pub met: bool,
    /// Where the bound is from: a paper, a requirement, a baseline.
    pub source: String,
}

impl Expectation {
    /// Holds a measured figure against its bound.
    #[must_use]
    pub fn new(metric: &str, bound: Bound, measured: Option<f64>, source: &str) -> Self {
        Self {
            metric: metric.to_owned(),
            bound,
            measured,
            met: measured.is_some_and(|measured| bound.admits(measured)),
            source: source.to_owned(),
        }
    }
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
    /// No further from a value than so many percent of it.
    Within {
        /// The value.
        of: f64,
        /// How far from it.
        percent: f64,
    },
}

impl Bound {
    /// Whether a value is within the bound.
    #[must_use]
    pub fn admits(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Within { of, percent } => (value - of).abs() <= of.abs() * percent / 100.0,
        }
    }
}

/// A published figure beside the measured one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Where it is from: paper and table.
    pub source: String,
    /// What it is, with its unit.
    pub name: String,
    /// What was published.
    pub published: f64,
    /// What was measured here; `None` if nothing was.
    pub measured: Option<f64>,
    /// How the two differ in what they measure; may be empty.
    pub note: String,
}

impl Reference {
    /// How far the measured figure is from the published one, in percent of that.
    #[must_use]
    pub fn deviation_percent(&self) -> Option<f64> {
        let measured = self.measured?;
        (self.published != 0.0).then(|| (measured / self.published - 1.0) * 100.0)
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

#[cfg(test)]
mod tests {
    use super::{Bound, Expectation, Members, Reference, ViolationRow, Violations};

    #[test]
    fn bounds_admit_their_edge_and_nothing_unmeasured() {
        let met = |bound, measured| Expectation::new("", bound, measured, "").met;
        assert!(met(Bound::AtLeast(3.0), Some(3.0)) && !met(Bound::AtLeast(3.0), Some(2.9)));
        assert!(met(Bound::AtMost(3.0), Some(3.0)) && !met(Bound::AtMost(3.0), Some(3.1)));
        let near = Bound::Within {
            of: -4.0,
            percent: 25.0,
        };
        assert!(met(near, Some(-5.0)) && !met(near, Some(-5.1)) && !met(near, Some(4.0)));
        assert!(!met(Bound::AtMost(3.0), None) && !met(Bound::AtMost(3.0), Some(f64::NAN)));
    }

    #[test]
    fn a_deviation_needs_both_figures() {
        let mut row = Reference {
            published: 4.0,
            measured: Some(4.2),
            ..Reference::default()
        };
        assert!((row.deviation_percent().unwrap() - 5.0).abs() < 1e-9);
        row.published = 0.0;
        assert_eq!(row.deviation_percent(), None);
    }

    #[test]
    fn members_are_sampled_evenly() {
        assert_eq!(Members::sample(0).count(), 0);
        assert_eq!(Members::sample(10_000).count(), 10_000);
        assert_eq!(
            Members::sample(10_001).take(3).collect::<Vec<_>>(),
            [0, 2, 4]
        );
        assert_eq!(Members::sample(1_000_000).count(), 10_000);
    }

    #[test]
    fn violations_beyond_the_list_are_counted() {
        let mut violations = Violations::default();
        for _ in 0..150 {
            violations.push(ViolationRow::default());
        }
        assert_eq!((violations.count, violations.first.len()), (150, 100));
    }
}
