//! A run of the swarm as data: the settings, and what befalls whom and when.
//!
//! A plan says everything about a run, so it can be generated, shrunk, printed, saved and
//! repeated. Its text is TOML with one line for each step.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use circlet_core::{Config, Topology};
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::config::SimConfig;
use crate::latency::LatencyModel;
use crate::nesting;
use crate::network::{NetworkConfig, PathTimeouts};

/// The most nodes that a plan may name.
pub const MAX_NODES: u32 = 10_000;

/// The most trackers that a plan may have.
pub const MAX_TRACKERS: u16 = 16;

/// A run of the swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What every random number of the run follows from: identities, latencies, losses.
    pub seed: u64,
    /// When the faults end and everything is healed, in milliseconds of virtual time.
    pub heal_ms: u64,
    /// How many rounds of messages follow once the ring is whole again; all of them must arrive.
    pub final_rounds: u32,
    /// How nodes, trackers and network behave.
    pub settings: Settings,
    /// What happens before that, in order of time.
    pub steps: Vec<Step>,
}

/// How nodes, trackers and network behave in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The topology of the room.
    pub topology: Topology,
    /// The node that a star is to have for its hub, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<u32>,
    /// [`Config::list_len`].
    pub list_len: usize,
    /// [`Config::ring_links`].
    pub ring_links: usize,
    /// [`Config::long_links`].
    pub long_links: usize,
    /// [`Config::max_links`].
    pub max_links: usize,
    /// [`Config::window_messages`].
    pub window_messages: usize,
    /// [`Config::link_window`] in bytes.
    pub link_window: usize,
    /// [`Config::broadcast_cache`].
    pub broadcast_cache: usize,
    /// [`Config::message_deadline`] and [`Config::circulate_timeout`] in milliseconds.
    pub deadline_ms: u64,
    /// How many trackers there are.
    pub trackers: u16,
    /// Clocks are wrong by up to as many milliseconds.
    pub clock_skew_ms: u32,
    /// The least and the greatest one-way latency, in milliseconds.
    pub latency_ms: [u64; 2],
    /// Of a thousand messages, how many are lost.
    pub loss_permille: u32,
    /// Bytes a second of one link in one direction; 0: as many as there are.
    pub bandwidth: u64,
    /// Of a hundred late events of closed links, how many nodes are told.
    pub late_events_percent: u32,
    /// Whether connections notice by themselves that their path is dead.
    pub path_timeouts: bool,
    /// Whether frames and tracker messages travel as bytes.
    pub encode: bool,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, in milliseconds of virtual time.
    pub at_ms: u64,
    /// What.
    #[serde(rename = "do")]
    pub action: Action,
}

/// What happens. Nodes have the numbers that the plan gives them; what is asked of one that does
/// not run, or was never started, does not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// A new node starts.
    Spawn(u32),
    /// A node dies, and nobody is told.
    Crash(u32),
    /// A node dies, and its connections are closed.
    CrashNoticed(u32),
    /// A node leaves.
    Leave(u32),
    /// A node's process is killed if it runs, and started again.
    Restart(u32),
    /// A tracker dies.
    CrashTracker(u16),
    /// A tracker starts again.
    StartTracker(u16),
    /// The network is cut between these nodes and all others.
    Partition {
        /// One side.
        group: Vec<u32>,
        /// Who still reaches the trackers.
        trackers: Reach,
    },
    /// The cut is over.
    Heal,
    /// Two nodes cannot have a link any more.
    Block([u32; 2]),
    /// They can again.
    Unblock([u32; 2]),
    /// From now on, of a thousand messages as many are lost.
    Loss(u32),
    /// Reliable messages.
    Send(Talk),
    /// Datagrams.
    Datagram(Talk),
    /// Messages to everybody.
    Broadcast(Shout),
    /// Messages round the ring.
    Circulate(Shout),
}

/// Messages from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Talk {
    /// The sender.
    pub from: u32,
    /// The receiver.
    pub to: u32,
    /// How many, one right after the other.
    pub count: u32,
    /// The size of each, at least 8.
    pub bytes: usize,
}

/// Messages from one node to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shout {
    /// The sender.
    pub from: u32,
    /// How many, one right after the other.
    pub count: u32,
    /// The size of each, at least 8.
    pub bytes: usize,
}

/// Who reaches the trackers during a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Both sides.
    Everybody,
    /// Neither.
    Nobody,
    /// The group that the partition names.
    Group,
}

impl Plan {
    /// Reads a plan from its text.
    ///
    /// # Errors
    /// What is wrong with it and where, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        nesting::check(text).map_err(|deep| deep.to_string())?;
        let mut plan: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        plan.steps.sort_by_key(|step| step.at_ms);
        plan.check()?;
        Ok(plan)
    }

    /// The numbers of all nodes that the plan starts, in ascending order.
    #[must_use]
    pub fn nodes(&self) -> Vec<u32> {
        let mut nodes: Vec<_> = self
            .steps
            .iter()
            .filter_map(|step| match step.action {
                Action::Spawn(node) => Some(node),
                _ => None,
            })
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The simulation that the plan runs in.
    #[must_use]
    pub fn sim_config(&self) -> SimConfig {
        let settings = &self.settings;
        let config = SimConfig::with_seed(self.seed);
        SimConfig {
            network: settings.network(),
            node: settings.node(),
            trackers: settings.trackers,
            topology: settings.topology,
            hub: settings.hub.map(|hub| config.identity(hub).node_id()),
            encode: settings.encode,
            event_log: 0,
            ..config
        }
    }

    fn check(&self) -> Result<(), String> {
        let settings = &self.settings;
        let [low, high] = settings.latency_ms;
        if low > high {
            return Err(format!("latency_ms: {low} is more than {high}"));
        }
        if settings.trackers > MAX_TRACKERS {
            return Err(format!("trackers: at most {MAX_TRACKERS}"));
        }
        if settings.list_len == 0 || settings.ring_links == 0 || settings.max_links == 0 {
            return Err("list_len, ring_links and max_links are at least 1".into());
        }
        // TOML writes no greater ones, and a plan that fails has to be written down.
        if write!(String::new(), "{self}").is_err() {
            return Err("numbers are less than 2^63".into());
        }
        if let Some(node) = self.nodes().last().filter(|node| **node >= MAX_NODES) {
            return Err(format!(
                "node {node}: the numbers are less than {MAX_NODES}"
            ));
        }
        Ok(())
    }
}

/// The plan as TOML: what [`Plan::parse`] reads.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed = {}", self.seed)?;
        writeln!(f, "heal_ms = {}", self.heal_ms)?;
        writeln!(f, "final_rounds = {}", self.final_rounds)?;
        writeln!(f, "steps = [")?;
        for step in &self.steps {
            let value = Value::try_from(step).map_err(|_| fmt::Error)?;
            writeln!(f, "    {value},")?;
        }
        writeln!(f, "]\n\n[settings]")?;
        f.write_str(&toml::to_string(&self.settings).map_err(|_| fmt::Error)?)
    }
}

impl Settings {
    /// Nothing special: the shipped defaults, a fast and sound network. What a failing plan is
    /// shrunk towards.
    #[must_use]
    pub fn plain() -> Self {
        let config = Config::default();
        Self {
            topology: Topology::SmallWorld,
            hub: None,
            list_len: config.list_len,
            ring_links: config.ring_links,
            long_links: config.long_links,
            max_links: config.max_links,
            window_messages: config.window_messages,
            link_window: config.link_window,
            broadcast_cache: config.broadcast_cache,
            deadline_ms: 30_000,
            trackers: 1,
            clock_skew_ms: 0,
            latency_ms: [10, 10],
            loss_permille: 0,
            bandwidth: 0,
            late_events_percent: 0,
            path_timeouts: false,
            encode: false,
        }
    }

    /// How the nodes behave.
    #[must_use]
    pub fn node(&self) -> Config {
        let deadline = Duration::from_millis(self.deadline_ms);
        Config {
            list_len: self.list_len,
            ring_links: self.ring_links,
            long_links: self.long_links,
            max_links: self.max_links,
            window_messages: self.window_messages,
            link_window: self.link_window,
            broadcast_cache: self.broadcast_cache,
            message_deadline: deadline,
            circulate_timeout: deadline,
            encode_frames: self.encode,
            ..Config::default()
        }
    }

    /// How the network behaves.
    #[must_use]
    pub fn network(&self) -> NetworkConfig {
        NetworkConfig {
            latency: LatencyModel::from(self.latency()),
            loss: f64::from(self.loss_permille) / 1000.0,
            bandwidth: (self.bandwidth > 0).then_some(self.bandwidth),
            late_events: f64::from(self.late_events_percent) / 100.0,
            path_timeouts: self.path_timeouts.then_some(PathTimeouts {
                suspect: Duration::from_millis(2000),
                failed: Duration::from_millis(6000),
            }),
            ..NetworkConfig::default()
        }
    }

    fn latency(&self) -> RangeInclusive<Duration> {
        let [low, high] = self.latency_ms.map(Duration::from_millis);
        low..=high
    }
}

impl Action {
    /// Whether it changes who can reach whom, or who can signal.
    #[must_use]
    pub const fn changes_network(&self) -> bool {
        matches!(
            self,
            Self::Partition { .. }
                | Self::Heal
                | Self::Block(_)
                | Self::Unblock(_)
                | Self::CrashTracker(_)
                | Self::StartTracker(_)
        )
    }

    /// The nodes concerned.
    #[must_use]
    pub fn nodes(&self) -> Vec<u32> {
        match self {
            Self::Spawn(node)
            | Self::Crash(node)
            | Self::CrashNoticed(node)
            | Self::Leave(node)
            | Self::Restart(node) => vec![*node],
            Self::Partition { group, .. } => group.clone(),
            Self::Block(pair) | Self::Unblock(pair) => pair.to_vec(),
            Self::Send(talk) | Self::Datagram(talk) => vec![talk.from, talk.to],
            Self::Broadcast(shout) | Self::Circulate(shout) => vec![shout.from],
            Self::CrashTracker(_) | Self::StartTracker(_) | Self::Heal | Self::Loss(_) => {
                Vec::new()
            }
        }
    }

    /// Takes a node out of it; `None` if nothing is left of it.
    #[must_use]
    pub fn without(&self, node: u32) -> Option<Self> {
        match self {
            Self::Partition { group, trackers } => {
                let group: Vec<_> = group.iter().copied().filter(|n| *n != node).collect();
                let trackers = *trackers;
                (!group.is_empty()).then_some(Self::Partition { group, trackers })
            }
            other => (!other.nodes().contains(&node)).then(|| other.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::generate;

    #[test]
    fn a_plan_is_what_its_text_says() {
        for seed in 0..50 {
            let plan = generate(seed);
            assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let text = generate(1).to_string();
        for (from, to) in [
            ("seed = 1", "seed = -1"),
            ("[settings]", "[setting]"),
            ("heal_ms", "heal"),
            ("trackers = 1", "trackers = 1000"),
            ("spawn = 0", "spawn = 10000"),
            ("spawn = 0", "span = 0"),
            ("list_len = ", "list_len = 0 #"),
            ("latency_ms = [", "latency_ms = [9999, 0] # "),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Plan::parse(&text.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn no_nesting_overflows_the_stack() {
        let text = format!("a = {{{}{}", "{}".repeat(100_000), "={".repeat(100_000));
        assert!(Plan::parse(&text).unwrap_err().contains("deeper than 32"));
    }

    #[test]
    fn a_node_can_be_taken_out() {
        let partition = Action::Partition {
            group: vec![1, 2],
            trackers: Reach::Nobody,
        };
        let smaller = partition.without(1).expect("2 is left");
        assert_eq!(smaller.nodes(), [2]);
        assert_eq!(smaller.without(2), None);
        assert_eq!(Action::Block([1, 2]).without(2), None);
        assert_eq!(Action::Heal.without(2), Some(Action::Heal));
    }
}
