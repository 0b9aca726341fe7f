//! What can be set.

use circlet_core::identity::{Identity, NodeId};
use circlet_core::node::TrackerId;
use circlet_core::tracker::TrackerConfig;
use circlet_core::wire::NodeKind;
use circlet_core::{Config, Topology};

use crate::network::NetworkConfig;
use crate::random::{Concern, Stream};

/// A simulation's settings.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// What every random number follows from.
    pub seed: u64,
    /// The network.
    pub network: NetworkConfig,
    /// How the nodes behave.
    pub node: Config,
    /// How the trackers behave.
    pub tracker: TrackerConfig,
    /// How many trackers there are; each has a table of its own.
    pub trackers: u16,
    /// The room.
    pub room: String,
    /// Its topology.
    pub topology: Topology,
    /// The hub that its members name.
    pub hub: Option<NodeId>,
    /// Whether frames and tracker messages travel as bytes, encoded and decoded; else as values.
    pub encode: bool,
    /// Lines of trace kept, the last ones; 0 for none.
    pub trace_lines: usize,
    /// Events kept for each node, the last ones.
    pub event_log: usize,
    /// The calendar at the beginning, in Unix milliseconds.
    pub unix_ms: u64,
}

impl SimConfig {
    /// The default settings with a seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The identity of the `number`-th node.
    #[must_use]
    pub fn identity(&self, number: u32) -> Identity {
        let seed = Stream::fork(self.seed, Concern::Identity, u64::from(number)).bytes();
        Identity::from_seed(&seed)
    }

    pub(crate) fn tracker_ids(&self) -> impl Iterator<Item = TrackerId> + use<> {
        (0..self.trackers).map(TrackerId)
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            network: NetworkConfig::default(),
            node: Config::default(),
            tracker: TrackerConfig::default(),
            trackers: 1,
            room: "simulation".into(),
            topology: Topology::SmallWorld,
            hub: None,
            encode: false,
            trace_lines: 0,
            event_log: 1 << 16,
            unix_ms: 1_800_000_000_000,
        }
    }
}

/// What can be different for a single node.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// What it runs on.
    pub kind: NodeKind,
    /// Its behaviour; `None` is [`SimConfig::node`].
    pub config: Option<Config>,
    /// Its topology; `None` is [`SimConfig::topology`].
    pub topology: Option<Topology>,
    /// The hub that it names; `None` is [`SimConfig::hub`].
    pub hub: Option<NodeId>,
    /// How far its calendar is ahead, in milliseconds.
    pub clock_skew_ms: i64,
    /// Which of the seed's identities and streams of random numbers it has; `None`: the one with
    /// the number of its [`NodeIndex`](crate::NodeIndex). With numbers of their own, nodes stay
    /// who they are when others are left out.
    pub number: Option<u32>,
}
