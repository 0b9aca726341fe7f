//! What can be given on the command line. Each flag is declared here, once: its environment
//! variable and its key in the configuration file follow from its name (see [`crate::config`]).

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use circlet_core::Topology;
use circlet_core::identity::NodeId;
use circlet_core::room::is_room_name;
use circlet_core::wire::MAX_NAME;
use circlet_node::TrackerUrl;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};

/// Keeps a group of machines connected to each other over WebRTC: a ring with shortcuts
/// across it.
#[derive(Debug, Parser)]
#[command(
    name = "circlet",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example: circlet demo\n\n\
        Every flag is also a key of the configuration file (ring-links = 2, or under [node] for \
        one command only) and an environment variable (CIRCLET_RING_LINKS). The command line \
        wins, then the environment, then the file."
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of all commands.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Read settings from this TOML file instead of circlet/config.toml in the XDG
    /// configuration directory.
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    pub config: Option<PathBuf>,
    /// Print JSON lines on stdout, and nothing else there.
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// Log more on stderr: -v what happens, -vv everything. RUST_LOG says it in detail.
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 900)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it all on this machine: a ring of processes, messages, a killed member, the repair.
    Demo(DemoArgs),
    /// Help members find each other.
    Tracker(TrackerArgs),
    /// Be a member of a room.
    Node(NodeArgs),
    /// Print this machine's NodeId; make its key if there is none.
    Identity(IdentityArgs),
    /// Draw a room as its tracker sees it.
    Topology(TopologyArgs),
    /// Run a scenario in virtual time: the real protocol, a few members or a million.
    Simulate(SimulateArgs),
    /// Measure what messages cost on this machine.
    Bench(BenchArgs),
}

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example: circlet demo --nodes 12 --messages 20000 --kill 2\n\n\
    The time per hop is that of messages sent one at a time: from the moment the sender's \
    process is told to send to the moment the receiver's process has told of it, divided by the \
    links crossed. It contains the pipes to and from both processes."
)]
pub struct DemoArgs {
    /// Members of the ring, each a process.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = in_range(1, 200))]
    pub nodes: usize,
    /// All members in one process. One that is killed is dropped there, so that its connections
    /// are closed at once.
    #[arg(long)]
    pub in_process: bool,
    /// Leave the ring alone for so many seconds, and report the memory and CPU time that an idle
    /// member takes [default: 0; with --in-process 5].
    #[arg(long, value_name = "SECONDS", value_parser = in_range(0, 3600))]
    pub idle: Option<usize>,
    /// Reliable messages between random pairs of members that live to the end.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = in_range(0, 1_000_000))]
    pub messages: usize,
    /// Members killed (SIGKILL) while messages flow, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = in_range(0, 199))]
    pub kill: usize,
    #[command(flatten)]
    pub topology: TopologyFlag,
    /// Keep the ring running afterwards, until Ctrl-C.
    #[arg(long)]
    pub stay: bool,
    /// Ring links that each member holds open on each side. Low, so that messages are forwarded.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = in_range(1, 8))]
    pub ring_links: usize,
    /// Long links that each member opens.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = in_range(0, 16))]
    pub long_links: usize,
    /// Which random pairs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: circlet tracker --listen 0.0.0.0:7700")]
pub struct TrackerArgs {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,
    /// The certificate chain for wss:// and https://, PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Clients at a time; fewer if the system allows fewer open files.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = in_range(1, 1_000_000))]
    pub max_clients: usize,
    /// Rooms at a time.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = in_range(1, 1_000_000))]
    pub max_rooms: usize,
    /// Members of one room.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = in_range(1, 1_000_000))]
    pub max_members: usize,
    /// Connections of one network address; 0 lifts all limits per address, for a tracker behind a
    /// proxy.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = in_range(0, 1_000_000))]
    pub max_per_address: usize,
    /// Limit the addresses of this machine too.
    #[arg(long)]
    pub limit_loopback: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: circlet node --room demo --tracker ws://127.0.0.1:7700\n\n\
    On a terminal it is a chat; with --json commands are read from stdin and events written to \
    stdout, one JSON object a line; otherwise (a service) stdin is not read."
)]
pub struct NodeArgs {
    /// The room to be a member of.
    #[arg(long, value_name = "NAME", value_parser = room_name)]
    pub room: String,
    /// A tracker to find others by; may be repeated.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub tracker: Vec<TrackerUrl>,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The name shown to others [default: the first characters of the NodeId].
    #[arg(long, value_name = "NAME", value_parser = member_name)]
    pub name: Option<String>,
    #[command(flatten)]
    pub topology: TopologyFlag,
    /// The hub of a star, by its NodeId: a setting of the room, which the first member to name one
    /// decides. While it is not there, and if none is named, it is who has run for longest.
    #[arg(long, value_name = "NODEID")]
    pub hub: Option<NodeId>,
    /// Whether this member may be chosen for the hub of a star.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub may_be_hub: bool,
    /// Ring links held open on each side.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = in_range(1, 8))]
    pub ring_links: usize,
    /// Long links that this member opens itself.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = in_range(0, 16))]
    pub long_links: usize,
    /// An ICE server (stun:HOST:PORT); may be repeated.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub ice: Vec<String>,
    /// With --json: reliable messages count as taken when {"cmd":"ack"} says so.
    #[arg(long)]
    pub manual_ack: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: circlet identity --identity alice.pem")]
pub struct IdentityArgs {
    /// The key file, PKCS#8 PEM [default: circlet/identity.pem in the XDG data directory].
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: circlet topology --tracker ws://127.0.0.1:7700 --room demo \
    --format dot | dot -Tsvg -o ring.svg"
)]
pub struct TopologyArgs {
    /// The tracker to ask; of several the first that answers.
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    pub tracker: Vec<TrackerUrl>,
    /// The room to draw.
    #[arg(long, value_name = "NAME", value_parser = room_name)]
    pub room: String,
    /// What to print [default: text, or json with --json].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// How a room is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The ring in order, for people.
    Text,
    /// The tracker's table.
    Json,
    /// For Graphviz.
    Dot,
    /// For yEd, Gephi, networkx.
    Graphml,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: circlet simulate churn --report churn.html\n\n\
    SCENARIO is a TOML file or the name of a built-in one, which --list shows; its keys are in \
    docs/SIMULATION.md. The exit code is 0 if no invariant was violated and every expectation of \
    the scenario met. Ctrl-C ends with what is known so far, and exit code 1; a second one at \
    once.\n\n\
    With --json the last line on stdout is {\"simulation\":{..}}, the same for the same scenario, \
    seed and version; the last one on stderr is {\"run\":{..}}, what it took.")]
pub struct SimulateArgs {
    /// A scenario file, or the name of a built-in scenario.
    #[arg(value_name = "SCENARIO")]
    pub scenario: Option<String>,
    /// Another seed than the scenario's.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Another number of members at the beginning than the scenario's.
    #[arg(long, value_name = "N")]
    pub nodes: Option<u64>,
    /// Threads; the results are the same with any number [default: as many as the machine runs].
    #[arg(long, value_name = "N", value_parser = in_range(1, 64))]
    pub threads: Option<usize>,
    /// Write a page with plots, which needs nothing else.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Write tables for spreadsheets into a directory.
    #[arg(long, value_name = "DIR")]
    pub csv: Option<PathBuf>,
    /// Try random faults in random mixes instead, one mix for each of --seeds.
    #[arg(long)]
    pub swarm: bool,
    /// With --swarm: the seeds to try, B excluded.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Option<Range<u64>>,
    /// With --swarm: begin no seed after so many minutes.
    #[arg(long, value_name = "M", value_parser = in_range(1, 100_000))]
    pub minutes: Option<usize>,
    /// With --swarm: run the plan in this file, which a failed seed has printed.
    #[arg(long, value_name = "FILE.toml")]
    pub plan: Option<PathBuf>,
    /// Put two runs side by side: each a scenario, or a .json file with what --json printed.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub compare: Vec<String>,
    /// List the built-in scenarios.
    #[arg(long)]
    pub list: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: circlet bench relay --size 16240 --seconds 5\n\n\
    Links and relays run in this process over real WebRTC on loopback. The time per hop is that of \
    messages sent one at a time, from send to receive, divided by the links crossed. A tracker is a \
    process of its own, and so is the bare relay that it is compared with; its clients are in this one. \
    Of a broadcast each member is a process."
)]
pub struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    pub what: BenchKind,
    /// Bytes of one message [default: 16240; of a session description: 1500; of a broadcast: 200].
    #[arg(long, value_name = "BYTES", value_parser = in_range(16, 61_440))]
    pub size: Option<usize>,
    /// How long each part is measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = in_range(1, 3600))]
    pub seconds: usize,
    /// Of a tracker: its clients [default: 4000, fewer if the system allows fewer open files].
    #[arg(long, value_name = "N", value_parser = in_range(64, 1_000_000))]
    pub clients: Option<usize>,
    #[command(flatten)]
    pub broadcast: BroadcastArgs,
}

/// Flags of `circlet bench broadcast`.
#[derive(Clone, Debug, clap::Args)]
pub struct BroadcastArgs {
    /// Of a broadcast: members, each a process.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = in_range(2, 200))]
    pub nodes: usize,
    /// Of a broadcast: messages in all.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = in_range(1, 1_000_000))]
    pub messages: usize,
    /// Of a broadcast: messages a second in all [default: as many as go].
    #[arg(long, value_name = "N", value_parser = in_range(1, 1_000_000))]
    pub rate: Option<usize>,
    /// Of a broadcast: all members send, and not just one.
    #[arg(long)]
    pub from_all: bool,
    /// Of a broadcast: members killed (SIGKILL) when half of the messages are sent, by number or
    /// as a part of all (30%).
    #[arg(long, value_name = "N|P%", default_value = "0", value_parser = share)]
    pub kill: Share,
    #[command(flatten)]
    pub topology: TopologyFlag,
}

/// How many of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Number(usize),
    /// So much of a hundred.
    Percent(usize),
}

impl Share {
    /// How many of `all` that is, rounded.
    #[must_use]
    pub const fn of(self, all: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (all * percent + 50) / 100,
        }
    }
}

/// What `circlet bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchKind {
    /// Messages between two members that share a link.
    Link,
    /// Messages that one member passes on.
    Relay,
    /// Messages to all members.
    Broadcast,
    /// Joins, signals and idle clients of a tracker.
    Tracker,
    /// Serves what `tracker` is compared with.
    #[value(hide = true)]
    BareRelay,
    /// Is one member of `broadcast`.
    #[value(hide = true)]
    BroadcastMember,
}

impl BenchKind {
    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Relay => "relay",
            Self::Broadcast => "broadcast",
            Self::Tracker => "tracker",
            Self::BareRelay => "bare-relay",
            Self::BroadcastMember => "broadcast-member",
        }
    }
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TopologyFlag {
    /// The shape of the room's overlay: ring, small-world, mesh or star.
    #[arg(long, value_name = "NAME", default_value = "small-world")]
    pub topology: Topology,
}

fn room_name(text: &str) -> Result<String, String> {
    if is_room_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a room's name has 1 to 64 bytes, no '/' and no control characters".to_owned())
    }
}

fn member_name(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a name has 1 to {MAX_NAME} bytes and no control characters"
        ))
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(first, end)| {
        let (first, end) = (first.parse().ok()?, end.parse().ok()?);
        (first < end).then_some(first..end)
    });
    range.ok_or_else(|| "seeds are two numbers A..B, A smaller than B".to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent
            .parse()
            .ok()
            .filter(|p| *p <= 100)
            .map(Share::Percent),
        None => text.parse().ok().map(Share::Number),
    };
    share.ok_or_else(|| "a number, or a part of all such as 30%".to_owned())
}

fn in_range(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}
