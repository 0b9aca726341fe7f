//! What can be set, with where each default comes from.

use core::time::Duration;

use serde::Deserialize;

/// Which way round the ring messages go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// To whoever is nearest to the receiver, on either side.
    #[default]
    BothWays,
    /// Clockwise only, never past the receiver, as in Chord (ToN 2003, section IV).
    Clockwise,
}

/// How a node behaves. Every default names its source, or says "guess".
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Length r of the successor and predecessor lists. Default 8: DESIGN, section 5; Zave 2017
    /// needs r + 1 members before her rules hold.
    pub list_len: usize,
    /// Ring links held open on each side. Default 4: DESIGN, section 5.
    pub ring_links: usize,
    /// Own long links k. Default 8: 4.0 mean hops at 10,000 members with lookahead (measured
    /// with a prototype; Symphony, USITS 2003, section 3).
    pub long_links: usize,
    /// Whether neighbours are told all links, and messages routed with one step of lookahead.
    /// Default true: 4.0 mean hops against 5.8 at 10,000 members (measured with a prototype).
    pub lookahead: bool,
    /// Which way messages go. Default both ways round: DESIGN, section 5.
    pub routing: Routing,
    /// Links of all sorts that a node holds at most. Default 48: 2 x 4 ring links wanted, as
    /// many wanted by others, 8 own and 16 accepted long links, and 8 in transition. Guess.
    pub max_links: usize,
    /// Links of all sorts that the hub of a star holds at most. Default 256: as many as a report to
    /// a tracker may name; 115 MB at the 450 KB a link end of DESIGN, section 9.
    pub max_hub_links: usize,
    /// Whether others may choose this node for the hub of a star. Default true: guess; a browser
    /// tab, whose links are few, is to say no.
    pub may_be_hub: bool,
    /// Links of a mesh or star that a node sets up at a time. Default 8: guess.
    pub direct_attempts: usize,
    /// Silence after which a link is pinged. Default 1 s: DESIGN, section 5.
    pub heartbeat: Duration,
    /// Time between probes of a silent link. Default 300 ms: DESIGN, section 5.
    pub probe_interval: Duration,
    /// Unanswered probes after which a peer is dead. Default 6: with a heartbeat of 1 s, whose
    /// answer may take two probe intervals, that is 3.4 s after its last frame; DESIGN, section
    /// 5, allows 4 s.
    pub probes: u32,
    /// Time between rounds of stabilization. Default 1 s: the workload W1; changes are told at
    /// once anyway.
    pub stabilize: Duration,
    /// The least time between two tables told to the same neighbours. Default 20 ms: guess.
    pub tell_interval: Duration,
    /// Time that a connection attempt may take. Default 10 s: ICE checks on real paths need
    /// that long (measured).
    pub attempt_timeout: Duration,
    /// Time that the answer to an offer may take, after which others are turned to. Default
    /// 2 s: an answer takes milliseconds, but a loaded machine starting 32 nodes may need a
    /// second (measured).
    pub answer_timeout: Duration,
    /// Time for which somebody found dead or unreachable is not believed to be alive on others'
    /// word. Default 10 s: more than it takes the news to go r members round. Guess.
    pub quarantine: Duration,
    /// Frames other than messages that a link may bring in a second, and answers of many frames
    /// that it may ask for; more are dropped. Default 2000: some tables, probes and lookups a
    /// second are usual, and as many presence records verified take a tenth of a core. Guess.
    pub link_rate: u32,
    /// The same at a time, and how many are dropped before the link is closed. Default 8000: all
    /// presence records of a full room, several times over. Guess.
    pub link_burst: u32,
    /// Breaches of the protocol after which a link is closed. Default 8: guess.
    pub breaches: u32,
    /// Time for which there are no links with somebody who was cut off. Default 60 s: guess.
    pub ban: Duration,
    /// Attempts of others that are taken up in a second, and as many own ones with members that
    /// have told no presence; more are turned down or wait. Default 10: each takes milliseconds
    /// and some 300 KB. Guess.
    pub attempt_rate: u32,
    /// The same at a time. Default 64: a node of a room that starts all at once is offered as
    /// many links as it can hold. Guess.
    pub attempt_burst: u32,
    /// Signals that are looked at in a second; more are dropped. Default 500: verifying them takes
    /// 3 percent of a core. Guess.
    pub signal_rate: u32,
    /// The same at a time. Default 2000: those of 200 attempts. Guess.
    pub signal_burst: u32,
    /// Time for which a link that neither side wants is kept. Default 5 s: guess.
    pub linger: Duration,
    /// Time that a node which leaves gives its reliable messages to be acknowledged, and its links
    /// to take what waits. Default 1 s: guess.
    pub leave_timeout: Duration,
    /// Time between looks at the long links. Default 2 s: guess.
    pub long_link_interval: Duration,
    /// Time that a reliable message is tried. Default 30 s: guess.
    pub message_deadline: Duration,
    /// Reliable messages to one receiver that may wait, sent or not. Default 8192: guess.
    pub queue_messages: usize,
    /// Their bytes. Default 8 MiB: guess.
    pub queue_bytes: usize,
    /// Reliable messages to one receiver under way at a time. Default 256: 128 KB of 500-byte
    /// messages, the product of 10 MB/s and 13 ms. Guess.
    pub window_messages: usize,
    /// Their bytes. Default 2 MiB: 190 MB/s through a relay, where 1 MiB gave 155 (measured).
    pub window_bytes: usize,
    /// Receivers and senders that streams are kept for. Default 4096: guess.
    pub streams: usize,
    /// Time that an acknowledgement may wait for others. Default 2 ms: guess.
    pub ack_delay: Duration,
    /// Bytes given to a link that may wait for the network. Default 1 MiB: DESIGN, section 4.
    pub link_window: usize,
    /// Bytes that may wait in the node for a link; more are dropped, and reliable messages are
    /// sent again later. Default 4 MiB: guess.
    pub link_queue: usize,
    /// The least time between two frames of own broadcasts, unless a frame is full: what is sent in
    /// between goes together, under one signature. Default 2 ms: verifying 500 signatures a second
    /// takes 2 percent of a core.
    pub broadcast_delay: Duration,
    /// Frames of broadcasts of one sender that are kept to fill others' gaps, and that may wait
    /// behind a gap. Default 4096: what one sends in [`Config::gap_give_up`] at a frame each
    /// 2 ms, and more.
    pub broadcast_cache: usize,
    /// Bytes of others' broadcasts that wait behind gaps or are kept to fill them, and as many of
    /// reliable messages that wait; more are dropped. Default 32 MiB: guess.
    pub held_bytes: usize,
    /// Time after which missing broadcasts are asked for. Default 100 ms: guess.
    pub gap_timeout: Duration,
    /// Time after which missing broadcasts are given up. Default 5 s: longer than it takes to
    /// notice a dead peer.
    pub gap_give_up: Duration,
    /// Time that a hop of a circulated message may take before the next member is tried; a dead
    /// one is passed by as soon as it is found out. Default 5 s: SCTP repeats a lost packet after
    /// 1 s, then 2 s (RFC 9260, section 6.3.1), and a hop takes one packet and its answer.
    pub circulate_hop_timeout: Duration,
    /// Time after which the origin of a circulated message reports what is known. Default 30 s:
    /// guess.
    pub circulate_timeout: Duration,
    /// Time between two tellings of the own presence. Default 60 s: DESIGN, section 3.
    pub presence_interval: Duration,
    /// Time after which a member may tell one more record, beyond the first few. Default 10 s:
    /// guess.
    pub presence_pace: Duration,
    /// Time after which a member not heard of is taken to be gone. Default 150 s: two tellings
    /// missed.
    pub presence_timeout: Duration,
    /// Members whose presence is kept. Default 1000: DESIGN, section 3.
    pub max_presence: usize,
    /// Time that a signal holds. Default 30 s: three times a connection attempt.
    pub signal_expiry: Duration,
    /// How far clocks may differ. Default 120 s: DESIGN, section 2.
    pub clock_tolerance: Duration,
    /// The first wait before a tracker is tried again; doubles each time. Default 200 ms: guess.
    pub tracker_backoff: Duration,
    /// The longest such wait. Default 3 s: a restarted tracker is to list everybody within 5 s.
    pub tracker_backoff_max: Duration,
    /// Time between two reports to the tracker; changes are reported after a tenth of it.
    /// Default 3 s: guess.
    pub announce_interval: Duration,
    /// Silence after which a tracker is taken to be lost. Default 10 s: three reports.
    pub tracker_timeout: Duration,
    /// Whether reliable messages are acknowledged by
    /// [`Command::Acknowledge`](crate::node::Command) only. Default false.
    pub manual_ack: bool,
    /// Whether frames are encoded as they are sent, so that sizes are exact. A simulation may
    /// turn it off and let them travel as values. Default true.
    pub encode_frames: bool,
    /// A bug, for tests of what is to find it.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<crate::planted::PlantedBug>,
}

impl Config {
    /// Long links of others that a node takes: 2k (DESIGN, section 4), two if it has none itself.
    #[must_use]
    pub fn accepted_long_links(&self) -> usize {
        2 * self.long_links.max(1)
    }

    /// Links of all sorts that a node holds at most: [`Config::max_links`], as a hub
    /// [`Config::max_hub_links`] if that is more.
    #[must_use]
    pub fn most_links(&self, is_hub: bool) -> usize {
        if is_hub {
            self.max_hub_links.max(self.max_links)
        } else {
            self.max_links
        }
    }

    /// Direct links that a node of a mesh or star holds at most: all but 8, which are kept free for
    /// the ring (on each side one link, and three more attempts to find it).
    #[must_use]
    pub fn most_direct_links(&self, is_hub: bool) -> usize {
        let most = self.most_links(is_hub);
        most - (most / 2).min(8)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            list_len: 8,
            ring_links: 4,
            long_links: 8,
            lookahead: true,
            routing: Routing::BothWays,
            max_links: 48,
            max_hub_links: 256,
            may_be_hub: true,
            direct_attempts: 8,
            heartbeat: Duration::from_secs(1),
            probe_interval: Duration::from_millis(300),
            probes: 6,
            stabilize: Duration::from_secs(1),
            tell_interval: Duration::from_millis(20),
            attempt_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(2),
            quarantine: Duration::from_secs(10),
            link_rate: 2000,
            link_burst: 8000,
            breaches: 8,
            ban: Duration::from_secs(60),
            attempt_rate: 10,
            attempt_burst: 64,
            signal_rate: 500,
            signal_burst: 2000,
            linger: Duration::from_secs(5),
            leave_timeout: Duration::from_secs(1),
            long_link_interval: Duration::from_secs(2),
            message_deadline: Duration::from_secs(30),
            queue_messages: 8192,
            queue_bytes: 8 << 20,
            window_messages: 256,
            window_bytes: 2 << 20,
            streams: 4096,
            ack_delay: Duration::from_millis(2),
            link_window: 1 << 20,
            link_queue: 4 << 20,
            broadcast_delay: Duration::from_millis(2),
            broadcast_cache: 4096,
            held_bytes: 32 << 20,
            gap_timeout: Duration::from_millis(100),
            gap_give_up: Duration::from_secs(5),
            circulate_hop_timeout: Duration::from_secs(5),
            circulate_timeout: Duration::from_secs(30),
            presence_interval: Duration::from_secs(60),
            presence_pace: Duration::from_secs(10),
            presence_timeout: Duration::from_secs(150),
            max_presence: 1000,
            signal_expiry: Duration::from_secs(30),
            clock_tolerance: Duration::from_secs(120),
            tracker_backoff: Duration::from_millis(200),
            tracker_backoff_max: Duration::from_secs(3),
            announce_interval: Duration::from_secs(3),
            tracker_timeout: Duration::from_secs(10),
            manual_ack: false,
            encode_frames: true,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}
