//! The network emulator: who reaches whom, how late, and what is lost.
//!
//! What is sent reliably and lost comes later, by one retransmission timeout for each loss; what
//! is sent unreliably does not come. Latencies are drawn for each message, so messages overtake
//! each other wherever nothing puts them back into order. What meets a partition is lost; what
//! is reliable is tried again until it is healed or its connection has ended.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use circlet_core::node::TrackerId;

use crate::latency::LatencyModel;
use crate::random::{Stream, mix};
use crate::world::NodeIndex;

/// How the network and the connections over it behave.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// One-way latency. Default uniform, 5 to 15 ms: members in one country. Trackers are where
    /// the first member is.
    pub latency: LatencyModel,
    /// Probability that a message is lost. Default 0.
    pub loss: f64,
    /// Time after which what was lost is sent again; doubles each time, five times. Default
    /// 300 ms: between SCTP's fast retransmission (one round trip) and its minimum timeout of 1 s
    /// (RFC 9260, section 16).
    pub retransmission_timeout: Duration,
    /// Bytes a second of one link in one direction; `None`: links are infinitely fast, and what is
    /// sent counts as sent at once. Default 12,500,000: 100 Mbit/s.
    pub bandwidth: Option<u64>,
    /// Bytes a second that a node's links send together; `None`, the default: no such limit. What
    /// trackers and their nodes exchange is not counted.
    pub uplink: Option<u64>,
    /// Bytes a second that a node's links receive together; `None`, the default: no such limit.
    pub downlink: Option<u64>,
    /// Share of all pairs of nodes that can never have a link. Which ones follows from the
    /// simulation's seed. Default 0.
    pub unconnectable: f64,
    /// Time that a connection takes to make its offer or answer, and then its candidate. Default
    /// 1 to 5 ms.
    pub gathering: RangeInclusive<Duration>,
    /// What each side computes between being reached and being open. Default 2 to 10 ms: with
    /// its two round trips about what was measured (DESIGN, section 9).
    pub handshake: RangeInclusive<Duration>,
    /// Time after which a connection that cannot be made has failed, from when both descriptions
    /// are known. Default 10 s, as the native driver has it.
    pub connect_timeout: Duration,
    /// When a connection notices by itself that its path is dead. Default `None`: the node has
    /// to find out.
    pub path_timeouts: Option<PathTimeouts>,
    /// Time after which a connection to a tracker that nobody answers has failed. Default 5 s.
    pub tracker_connect_timeout: Duration,
    /// Probability that what comes for a connection already closed is given to the node anyway,
    /// as it may happen in a driver with queues. Default 0.5.
    pub late_events: f64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            latency: LatencyModel::from(ms(5)..=ms(15)),
            loss: 0.0,
            retransmission_timeout: ms(300),
            bandwidth: Some(12_500_000),
            uplink: None,
            downlink: None,
            unconnectable: 0.0,
            gathering: ms(1)..=ms(5),
            handshake: ms(2)..=ms(10),
            connect_timeout: ms(10_000),
            path_timeouts: None,
            tracker_connect_timeout: ms(5_000),
            late_events: 0.5,
        }
    }
}

/// When ICE notices a dead path (RFC 8445, and consent freshness, RFC 7675).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathTimeouts {
    /// Silence until ICE is `disconnected`.
    pub suspect: Duration,
    /// Silence until it has `failed`, and the connection has ended.
    pub failed: Duration,
}

/// Which side of a partition the trackers are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackerReach {
    /// Everybody reaches them.
    Everybody,
    /// Nobody does.
    Nobody,
    /// One group does, by its place in the list of groups.
    Group(usize),
}

/// The state of the network. All read it; it changes only between events.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    seed: u64,
    sites: Vec<Site>,
    tracker_reach: TrackerReach,
    blocked: BTreeSet<(NodeIndex, NodeIndex)>,
    trackers_up: Vec<bool>,
}

/// What the network knows about a node.
#[derive(Clone, Copy, Debug, Default)]
struct Site {
    /// Its side of a partition.
    group: usize,
    /// The generation of its process, `None` if there is none.
    running: Option<u32>,
}

/// The group of the nodes that a partition does not name, and of all without one.
const REST: usize = usize::MAX;

/// The place of the trackers, for the latency.
const TRACKERS: NodeIndex = NodeIndex(0);

impl Network {
    pub(crate) fn new(config: NetworkConfig, seed: u64, trackers: u16) -> Self {
        Self {
            config,
            seed,
            sites: Vec::new(),
            tracker_reach: TrackerReach::Everybody,
            blocked: BTreeSet::new(),
            trackers_up: vec![true; usize::from(trackers)],
        }
    }

    /// How it behaves.
    #[must_use]
    pub const fn config(&self) -> &NetworkConfig {
        &self.config
    }

    pub(crate) fn config_mut(&mut self) -> &mut NetworkConfig {
        &mut self.config
    }

    pub(crate) fn set_running(&mut self, node: NodeIndex, generation: Option<u32>) {
        let index = node.0 as usize;
        if self.sites.len() <= index {
            let rest = Site {
                group: REST,
                running: None,
            };
            self.sites.resize(index + 1, rest);
        }
        self.sites[index].running = generation;
    }

    pub(crate) fn set_tracker_up(&mut self, tracker: TrackerId, up: bool) {
        if let Some(state) = self.trackers_up.get_mut(usize::from(tracker.0)) {
            *state = up;
        }
    }

    pub(crate) fn partition(&mut self, groups: &[Vec<NodeIndex>], trackers: TrackerReach) {
        self.heal();
        for (group, members) in groups.iter().enumerate() {
            for member in members {
                self.sites[member.0 as usize].group = group;
            }
        }
        self.tracker_reach = trackers;
    }

    pub(crate) fn heal(&mut self) {
        for site in &mut self.sites {
            site.group = REST;
        }
        self.tracker_reach = TrackerReach::Everybody;
    }

    pub(crate) fn block(&mut self, a: NodeIndex, b: NodeIndex) {
        self.blocked.insert((a.min(b), a.max(b)));
    }

    pub(crate) fn unblock(&mut self, a: NodeIndex, b: NodeIndex) {
        self.blocked.remove(&(a.min(b), a.max(b)));
    }

    pub(crate) fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    /// Whether what one of the two sends arrives at the other's machine.
    #[must_use]
    pub fn joins(&self, a: NodeIndex, b: NodeIndex) -> bool {
        let group = |node: NodeIndex| self.sites.get(node.0 as usize).map(|site| site.group);
        group(a) == group(b)
            && !self.blocked.contains(&(a.min(b), a.max(b)))
            && !is_unconnectable(self.seed, self.config.unconnectable, a, b)
    }

    /// A number for each of these nodes, the same for those that can exchange frames, directly or
    /// through others of them.
    #[must_use]
    pub fn components(&self, nodes: &[NodeIndex]) -> Vec<usize> {
        let mut components: Vec<usize> = (0..nodes.len()).collect();
        for (at, node) in nodes.iter().enumerate() {
            // All that it joins become one with it; before it they have been looked at.
            for before in 0..at {
                let (own, other) = (components[at], components[before]);
                if own != other && self.joins(*node, nodes[before]) {
                    let later = own.max(other);
                    for component in &mut components[..=at] {
                        if *component == later {
                            *component = own.min(other);
                        }
                    }
                }
            }
        }
        components
    }

    /// Whether a node reaches the trackers' machine.
    #[must_use]
    pub fn joins_tracker(&self, node: NodeIndex) -> bool {
        match self.tracker_reach {
            TrackerReach::Everybody => true,
            TrackerReach::Nobody => false,
            TrackerReach::Group(group) => self
                .sites
                .get(node.0 as usize)
                .is_some_and(|site| site.group == group),
        }
    }

    /// Whether this process of a node runs.
    #[must_use]
    pub fn is_running(&self, node: NodeIndex, generation: u32) -> bool {
        self.sites
            .get(node.0 as usize)
            .is_some_and(|site| site.running == Some(generation))
    }

    /// Whether a tracker runs.
    #[must_use]
    pub fn is_tracker_up(&self, tracker: TrackerId) -> bool {
        self.trackers_up
            .get(usize::from(tracker.0))
            .is_some_and(|up| *up)
    }

    /// How long a message between a node and a tracker takes.
    pub(crate) fn tracker_delay(&self, node: NodeIndex, random: &mut Stream) -> Duration {
        self.reliable_delay(node, TRACKERS, random)
    }

    /// How long a message takes that is sent again until it arrives.
    pub(crate) fn reliable_delay(
        &self,
        from: NodeIndex,
        to: NodeIndex,
        random: &mut Stream,
    ) -> Duration {
        let mut delay = self.config.latency.draw(from.0, to.0, random.word());
        let mut attempt = 0;
        while attempt < 16 && random.chance(self.config.loss) {
            delay += self.backoff(attempt);
            attempt += 1;
        }
        delay
    }

    /// How long a message takes that is sent once, `None` if it is lost.
    pub(crate) fn unreliable_delay(
        &self,
        from: NodeIndex,
        to: NodeIndex,
        random: &mut Stream,
    ) -> Option<Duration> {
        let delay = self.config.latency.draw(from.0, to.0, random.word());
        (!random.chance(self.config.loss)).then_some(delay)
    }

    /// The wait before what was lost is sent again for the `attempt`-th time, from 0.
    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        self.config.retransmission_timeout * (1 << attempt.min(5))
    }
}

/// The time that `bytes` take at so many bytes a second.
pub(crate) fn occupancy(bytes: usize, bandwidth: Option<u64>) -> Duration {
    bandwidth.map_or(Duration::ZERO, |bandwidth| {
        Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / bandwidth.max(1))
    })
}

/// Whether two nodes are of the `share` of pairs that can never have a link. It is a hash of the
/// two and the seed that decides, so no list of pairs has to be kept.
#[must_use]
pub fn is_unconnectable(seed: u64, share: f64, a: NodeIndex, b: NodeIndex) -> bool {
    // Saturates at both ends; 0 has to be nobody and 1 everybody.
    let threshold = (share * 2f64.powi(64)) as u64;
    let pair = u64::from(a.0.min(b.0)) << 32 | u64::from(a.0.max(b.0));
    threshold > 0 && a != b && mix(mix(seed) ^ mix(pair)) <= threshold
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Concern;

    fn network(loss: f64) -> Network {
        let config = NetworkConfig {
            loss,
            ..NetworkConfig::default()
        };
        let mut network = Network::new(config, 1, 1);
        for node in 0..4 {
            network.set_running(NodeIndex(node), Some(0));
        }
        network
    }

    #[test]
    fn a_partition_cuts_groups_from_each_other_and_from_the_rest() {
        let mut network = network(0.0);
        let [a, b, c, d] = [0, 1, 2, 3].map(NodeIndex);
        network.partition(&[vec![a, b], vec![c]], TrackerReach::Group(0));
        assert!(network.joins(a, b) && !network.joins(b, c) && !network.joins(a, d));
        assert!(network.joins_tracker(b));
        assert!(!network.joins_tracker(c) && !network.joins_tracker(d));
        network.heal();
        assert!(network.joins(b, c) && network.joins_tracker(d));
    }

    #[test]
    fn a_blocked_pair_stays_blocked_both_ways() {
        let mut network = network(0.0);
        let [a, b, c] = [0, 1, 2].map(NodeIndex);
        network.block(b, a);
        network.heal();
        assert!(!network.joins(a, b) && !network.joins(b, a) && network.joins(a, c));
        network.unblock(a, b);
        assert!(network.joins(a, b));
    }

    #[test]
    fn loss_delays_what_is_reliable_and_drops_the_rest() {
        let mut random = Stream::fork(1, Concern::Network, 0);
        let (lossy, sound) = (network(0.5), network(0.0));
        let latest = sound.config.latency.greatest();
        let [a, b] = [0, 1].map(NodeIndex);
        let draws = 1000;
        let dropped = (0..draws)
            .filter(|_| lossy.unreliable_delay(a, b, &mut random).is_none())
            .count();
        let delayed = (0..draws)
            .filter(|_| lossy.reliable_delay(a, b, &mut random) > latest)
            .count();
        assert!((400..600).contains(&dropped), "{dropped}");
        assert!((400..600).contains(&delayed), "{delayed}");
        assert!((0..draws).all(|_| sound.reliable_delay(a, b, &mut random) <= latest));
    }

    #[test]
    fn bytes_take_their_time() {
        assert_eq!(
            occupancy(12_500, Some(12_500_000)),
            Duration::from_millis(1)
        );
        assert_eq!(occupancy(12_500, None), Duration::ZERO);
    }

    #[test]
    fn the_share_of_pairs_that_cannot_connect_is_as_set() {
        let count = |seed, share| {
            let pairs = (0..200).flat_map(|a| (0..a).map(move |b| (NodeIndex(a), NodeIndex(b))));
            pairs
                .filter(|(a, b)| is_unconnectable(seed, share, *a, *b))
                .inspect(|(a, b)| assert!(is_unconnectable(seed, share, *b, *a)))
                .count()
        };
        // Of 19,900 pairs.
        assert_eq!((count(1, 0.0), count(1, 1.0)), (0, 19_900));
        assert!(count(1, 0.2).abs_diff(3_980) < 200, "{}", count(1, 0.2));
        assert!(count(2, 0.2) != count(1, 0.2));
    }

    #[test]
    fn components_are_those_who_reach_each_other_through_others() {
        let mut network = network(0.0);
        let nodes: Vec<_> = (0..5).map(NodeIndex).collect();
        for node in &nodes {
            network.set_running(*node, Some(1));
        }
        assert_eq!(network.components(&nodes), [0; 5]);
        let group = vec![nodes[1], nodes[3], nodes[4]];
        network.partition(&[group], TrackerReach::Nobody);
        assert_eq!(network.components(&nodes), [0, 1, 0, 1, 1]);
        // 4 still reaches 1 by way of 3, and then nobody.
        network.block(nodes[1], nodes[4]);
        assert_eq!(network.components(&nodes), [0, 1, 0, 1, 1]);
        network.block(nodes[3], nodes[4]);
        assert_eq!(network.components(&nodes), [0, 1, 0, 1, 4]);
    }
}
