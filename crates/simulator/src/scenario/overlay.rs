//! `[overlay]` and `[timing]`: the members, and how they behave.

use std::time::Duration;

use circlet_core::{Config, Routing, Topology};
use serde::Deserialize;

use super::files::Files;
use super::key::{Key, Wrong};
use super::room::Room;
use crate::results::Detail;

/// Members that a simulation of whole nodes can begin with or get.
pub const MAX_NODES_FULL: u64 = 5_000;

/// Members that a simulation of the overlay alone can begin with or get.
pub const MAX_NODES_OVERLAY: u64 = 4_000_000;

/// The overlay that a scenario begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlay {
    /// Members at the beginning.
    pub nodes: u32,
    /// Its shape.
    pub topology: Topology,
    /// How it comes about.
    pub start: Start,
    /// How its members behave.
    pub config: Config,
    /// How long links are chosen.
    pub long_link_kind: LongLinkKind,
    /// Whether the overlay is kept up: the dead are found out, and the ring is stabilized.
    pub maintained: bool,
    /// Whether a dead neighbour is noticed, by a timeout, by whoever gives it a message, which
    /// then goes to the next best one.
    pub acknowledged_hops: bool,
    /// The hub of a star, in the order of starting.
    pub hub: u32,
}

/// How the overlay comes about.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// It is there and right when the time begins.
    Ideal,
    /// Its members join one after another, from time zero on.
    Join {
        /// Time from one to the next.
        every: Duration,
    },
    /// It is that of a living room.
    Room(Room),
}

/// How long links are chosen. `Fingers` is for comparison with published figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongLinkKind {
    /// At distances drawn from a harmonic distribution (Symphony, USITS 2003).
    #[default]
    Harmonic,
    /// At distances that are powers of two (Chord, ToN 2003).
    Fingers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OverlayTable {
    nodes: Option<u64>,
    topology: Topology,
    start: Option<String>,
    join_every_ms: Option<f64>,
    ring_links: Option<u64>,
    long_links: Option<u64>,
    list_length: Option<u64>,
    max_links: Option<u64>,
    max_presence: Option<u64>,
    long_link_kind: LongLinkKind,
    routing: Routing,
    lookahead: Option<bool>,
    maintained: Option<bool>,
    acknowledged_hops: bool,
    hub: Option<u64>,
}

impl OverlayTable {
    /// Puts another number of members in the place of the file's.
    pub(super) fn override_nodes(&mut self, nodes: Option<u64>) {
        self.nodes = nodes.or(self.nodes);
    }

    pub(super) fn build(
        self,
        key: &Key,
        timing: &TimingTable,
        detail: Detail,
        files: &Files,
    ) -> Result<Overlay, Wrong> {
        let start = self.start(key, files)?;
        let nodes = match (&start, self.nodes) {
            (Start::Room(room), None) => room.members.len() as u64,
            (Start::Room(_), Some(_)) => {
                return Err(key
                    .at("nodes")
                    .wrong("says nothing with the start of a room"));
            }
            (_, nodes) => key.at("nodes").required(nodes)?,
        };
        key.at("nodes").whole(nodes, 1, max_nodes(detail))?;
        if detail == Detail::Full {
            self.check_full(key)?;
        }
        let hub = self.hub.unwrap_or(0);
        if self.hub.is_some() && self.topology != Topology::Star {
            return Err(key
                .at("hub")
                .wrong("says nothing without topology = \"star\""));
        }
        key.at("hub").whole(hub, 0, nodes - 1)?;
        let config = self.config(key, timing)?;
        Ok(Overlay {
            nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
            topology: self.topology,
            start,
            config,
            long_link_kind: self.long_link_kind,
            maintained: self.maintained.unwrap_or(true),
            acknowledged_hops: self.acknowledged_hops,
            hub: u32::try_from(hub).unwrap_or(u32::MAX),
        })
    }

    fn start(&self, key: &Key, files: &Files) -> Result<Start, Wrong> {
        let every = self.join_every_ms;
        let start = match self.start.as_deref() {
            None | Some("ideal") => Start::Ideal,
            Some("join") => Start::Join {
                every: key.at("join_every_ms").millis(every.unwrap_or(100.0))?,
            },
            Some(path) if path.ends_with(".json") => {
                let key = key.at("start");
                let text = files.read(path, Room::MAX_BYTES);
                let room = text.and_then(|text| Room::parse(&text));
                Start::Room(room.map_err(|why| key.wrong(format!("{path}: {why}")))?)
            }
            Some(_) => {
                return Err(key.at("start").wrong(
                    "has to be \"ideal\", \"join\" or the name of a .json file with a room",
                ));
            }
        };
        if every.is_some() && !matches!(start, Start::Join { .. }) {
            return Err(key
                .at("join_every_ms")
                .wrong("says nothing without start = \"join\""));
        }
        Ok(start)
    }

    /// What whole nodes cannot do.
    fn check_full(&self, key: &Key) -> Result<(), Wrong> {
        let overlay_only = [
            (
                "long_link_kind",
                self.long_link_kind != LongLinkKind::default(),
            ),
            ("routing", self.routing != Routing::default()),
            ("lookahead", self.lookahead == Some(false)),
            ("maintained", self.maintained == Some(false)),
            ("acknowledged_hops", self.acknowledged_hops),
        ];
        key.only("detail = \"full\"", &[], overlay_only)
    }

    fn config(&self, key: &Key, timing: &TimingTable) -> Result<Config, Wrong> {
        let mut config = Config {
            routing: self.routing,
            lookahead: self.lookahead.unwrap_or(true),
            ..Config::default()
        };
        let sizes: [(&'static str, Option<u64>, u64, u64, &mut usize); 5] = [
            ("ring_links", self.ring_links, 1, 64, &mut config.ring_links),
            ("long_links", self.long_links, 0, 64, &mut config.long_links),
            ("list_length", self.list_length, 1, 64, &mut config.list_len),
            (
                "max_links",
                self.max_links,
                2,
                65_536,
                &mut config.max_links,
            ),
            (
                "max_presence",
                self.max_presence,
                0,
                100_000,
                &mut config.max_presence,
            ),
        ];
        for (name, value, least, most, setting) in sizes {
            if let Some(value) = value {
                *setting = key.at(name).whole(value, least, most)? as usize;
            }
        }
        if config.ring_links > config.list_len {
            let (wanted, known) = (config.ring_links, config.list_len);
            return Err(key.at("ring_links").wrong(format!(
                "{wanted} links cannot be held open to a list of {known} members"
            )));
        }
        timing.apply(&Key::default().at("timing"), &mut config)?;
        Ok(config)
    }
}

/// How many members a simulation can begin with, and get in all.
pub(super) const fn max_nodes(detail: Detail) -> u64 {
    match detail {
        Detail::Full => MAX_NODES_FULL,
        Detail::Overlay => MAX_NODES_OVERLAY,
    }
}

/// Declares `[timing]`: keys in milliseconds, each with the setting of [`Config`] that it sets.
macro_rules! timing {
    ($($key:ident => $setting:ident),* $(,)?) => {
        /// The members' times; each key is that of a [`Config`] field with its unit.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct TimingTable {
            $($key: Option<f64>,)*
            probes: Option<u64>,
        }

        impl TimingTable {
            fn apply(&self, key: &Key, config: &mut Config) -> Result<(), Wrong> {
                $(if let Some(value) = self.$key {
                    // What is repeated after no time would stop the simulated time.
                    let key = key.at(stringify!($key));
                    key.within(value, 1.0, f64::MAX)?;
                    config.$setting = key.millis(value)?;
                })*
                if let Some(probes) = self.probes {
                    config.probes = key.at("probes").whole(probes, 1, 1000)? as u32;
                }
                Ok(())
            }
        }
    };
}

timing! {
    heartbeat_ms => heartbeat,
    probe_interval_ms => probe_interval,
    stabilize_ms => stabilize,
    tell_interval_ms => tell_interval,
    attempt_timeout_ms => attempt_timeout,
    answer_timeout_ms => answer_timeout,
    quarantine_ms => quarantine,
    linger_ms => linger,
    leave_timeout_ms => leave_timeout,
    long_link_interval_ms => long_link_interval,
    message_deadline_ms => message_deadline,
    ack_delay_ms => ack_delay,
    gap_timeout_ms => gap_timeout,
    gap_give_up_ms => gap_give_up,
    circulate_hop_timeout_ms => circulate_hop_timeout,
    circulate_timeout_ms => circulate_timeout,
    presence_interval_ms => presence_interval,
    presence_timeout_ms => presence_timeout,
    tracker_backoff_ms => tracker_backoff,
    tracker_backoff_max_ms => tracker_backoff_max,
    announce_interval_ms => announce_interval,
    tracker_timeout_ms => tracker_timeout,
}
