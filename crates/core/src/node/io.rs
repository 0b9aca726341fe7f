//! What goes into a [`Node`](super::Node) and what comes out of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use super::Counters;
use crate::identity::{Incarnation, NodeId};
use crate::ring::Position;
use crate::topology::Topology;
use crate::wire::{
    FrameBuf, LinkReport, LinkState, NodeKind, RejectReason, Signal, SignedSignal, TrackerMessage,
};

/// Names one connection attempt of this node; never used again, so that a late event of an old
/// attempt can do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names one of the trackers that this node was told of, by its place in that list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackerId(pub u16);

/// The caller's name for a command whose outcome comes as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// The data channels of a link, negotiated beforehand (RFC 8832 is not used).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Protocol frames: reliable, unordered.
    Control,
    /// Messages: reliable, ordered.
    Messages,
    /// Files: reliable, ordered.
    Bulk,
    /// Unordered, never retransmitted.
    Realtime,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Control, Self::Messages, Self::Bulk, Self::Realtime];

    /// The stream id, the same on both sides (Firefox takes ids below 256 only).
    #[must_use]
    pub const fn stream_id(self) -> u16 {
        match self {
            Self::Control => 64,
            Self::Messages => 65,
            Self::Bulk => 66,
            Self::Realtime => 67,
        }
    }

    /// The label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Messages => "messages",
            Self::Bulk => "bulk",
            Self::Realtime => "realtime",
        }
    }

    /// Whether frames arrive in the order they were sent in.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::Messages | Self::Bulk)
    }

    /// Whether frames are sent again until they arrive.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Realtime)
    }
}

/// Which part a node plays in setting a link up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Makes the offer.
    Offerer,
    /// Answers it.
    Answerer,
}

/// Why a link is no more, as the driver saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// The other side closed it, or its process ended.
    Closed,
    /// No path, no handshake, or an established path was lost.
    Failed,
}

/// What is promised about a message to one member (DESIGN, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// At most once.
    Datagram,
    /// Exactly once in effect, in order per sender.
    Reliable,
    /// Every member that stays connected gets it once, in order per sender.
    Broadcast,
    /// Once round the ring.
    Circulate,
}

impl Class {
    /// The word used on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::Reliable => "reliable",
            Self::Broadcast => "broadcast",
            Self::Circulate => "circulate",
        }
    }
}

/// What the application wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send `payload` to one member at most once. Answered by [`Event::Sent`].
    Datagram {
        /// The caller's name for it.
        id: CommandId,
        /// The receiver.
        to: NodeId,
        /// The content, at most [`MAX_PAYLOAD`](crate::wire::MAX_PAYLOAD) bytes.
        payload: Bytes,
    },
    /// Send `payload` to one member reliably. Answered by exactly one of
    /// [`Event::Delivered`], [`Event::Expired`], [`Event::Failed`].
    Reliable {
        /// The caller's name for it.
        id: CommandId,
        /// The receiver.
        to: NodeId,
        /// The content, at most [`MAX_PAYLOAD`](crate::wire::MAX_PAYLOAD) bytes.
        payload: Bytes,
        /// How long to try; `None` is [`Config::message_deadline`](crate::Config).
        deadline: Option<Duration>,
    },
    /// Send `payload` to every member. Answered by [`Event::Sent`].
    Broadcast {
        /// The caller's name for it.
        id: CommandId,
        /// The content, at most [`MAX_PAYLOAD`](crate::wire::MAX_PAYLOAD) bytes.
        payload: Bytes,
    },
    /// Send `payload` once round the ring. Answered by [`Event::Circulated`].
    Circulate {
        /// The caller's name for it.
        id: CommandId,
        /// The content, at most [`MAX_CIRCULATED`](crate::wire::MAX_CIRCULATED) bytes.
        payload: Bytes,
    },
    /// The application has taken the messages of `from` up to `sequence`. Only with
    /// [`Config::manual_ack`](crate::Config).
    Acknowledge {
        /// Whose messages.
        from: NodeId,
        /// The last one taken.
        sequence: u64,
    },
    /// Leave the room, once what was sent before is on its way: neighbours and trackers are told.
    /// Ends with [`Event::Left`].
    Leave,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The application wants something.
    Command(Command),
    /// The calendar, at start and every minute or so.
    WallClock {
        /// Milliseconds since 1970.
        unix_ms: u64,
    },
    /// A tracker said something. The connection to it is taken to be up from its first message.
    Tracker {
        /// Which tracker.
        tracker: TrackerId,
        /// What it said.
        message: TrackerMessage,
    },
    /// The connection to a tracker ended, or could not be made.
    TrackerLost {
        /// Which tracker.
        tracker: TrackerId,
    },
    /// A signal that came by hand.
    Signal(SignedSignal),
    /// A connection made an offer, an answer, a candidate.
    LocalSignal {
        /// Which connection.
        link: LinkId,
        /// What it made. The `wish` and `topology` of an offer are filled in by the node.
        signal: Signal,
    },
    /// All channels of a connection are open. Comes before its first frame.
    LinkUp {
        /// Which connection.
        link: LinkId,
    },
    /// A connection's path has gone silent (ICE `disconnected`). A hint to probe.
    LinkSuspect {
        /// Which connection.
        link: LinkId,
    },
    /// A connection ended or could not be made. The driver has closed it.
    LinkDown {
        /// Which connection.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// What arrives on a connection cannot be taken apart into frames: see
    /// [`Unpacker`](crate::wire::Unpacker). The node closes it.
    LinkGarbled {
        /// Which connection.
        link: LinkId,
    },
    /// A connection has passed `bytes` of earlier frames to the network.
    LinkWritable {
        /// Which connection.
        link: LinkId,
        /// How many bytes no longer wait.
        bytes: usize,
    },
    /// A frame arrived.
    Frame {
        /// On which connection.
        link: LinkId,
        /// On which of its channels.
        channel: Channel,
        /// The frame.
        frame: FrameBuf,
    },
}

/// Why an input was not taken. Commands that fail change nothing; what a peer or a tracker did
/// wrong is counted, and may cost it its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// The payload is larger than it may be.
    TooLarge {
        /// The bytes given.
        bytes: usize,
        /// The bytes allowed: [`MAX_PAYLOAD`](crate::wire::MAX_PAYLOAD), or
        /// [`MAX_CIRCULATED`](crate::wire::MAX_CIRCULATED).
        limit: usize,
    },
    /// Too many messages to this member wait to be delivered; try again after some were.
    Full,
    /// The node has not joined the ring yet: there is nobody to give it to.
    NotJoined,
    /// The receiver is this node itself.
    ToSelf,
    /// The node is leaving or has been superseded.
    Ended,
    /// The peer broke the protocol: the frame could not be read, or came where it must not.
    Protocol,
    /// The signal was refused: not genuine, for another, expired, a repeat.
    Signal,
    /// A peer or a tracker sends more than it may: dropped.
    Throttled,
    /// It belongs to a connection or tracker that is no more.
    Stale,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => {
                write!(f, "the message has {bytes} bytes, and {limit} are allowed")
            }
            Self::Full => f.write_str("too many messages wait to be delivered"),
            Self::NotJoined => f.write_str("the node has not joined the ring yet"),
            Self::ToSelf => f.write_str("the receiver is this node itself"),
            Self::Ended => f.write_str("the node has left the room"),
            Self::Protocol => f.write_str("the peer broke the protocol"),
            Self::Signal => f.write_str("the signal was refused"),
            Self::Throttled => f.write_str("it comes too often"),
            Self::Stale => f.write_str("the connection is no more"),
        }
    }
}

impl core::error::Error for InputError {}

/// One thing for the driver to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Make a connection. The offerer makes an offer at once; the answerer waits for
    /// [`Output::ApplySignal`].
    OpenLink {
        /// Its name from now on.
        link: LinkId,
        /// The member at the other end.
        peer: NodeId,
        /// Which part to play.
        role: Role,
    },
    /// Close a connection, once the frames given before are out, and within a second. No
    /// [`Input::LinkDown`] is expected.
    CloseLink {
        /// Which connection.
        link: LinkId,
    },
    /// Give a peer's signal to a connection. The node has verified it.
    ApplySignal {
        /// Which connection.
        link: LinkId,
        /// The signal.
        signal: Signal,
    },
    /// Send a frame.
    SendFrame {
        /// On which connection.
        link: LinkId,
        /// On which of its channels.
        channel: Channel,
        /// The frame.
        frame: FrameBuf,
    },
    /// Connect to a tracker; its first message or [`Input::TrackerLost`] is the answer.
    ConnectTracker {
        /// Which tracker.
        tracker: TrackerId,
    },
    /// Drop the connection to a tracker. No [`Input::TrackerLost`] is expected.
    CloseTracker {
        /// Which tracker.
        tracker: TrackerId,
    },
    /// Send a message to a tracker.
    SendTracker {
        /// Which tracker.
        tracker: TrackerId,
        /// The message.
        message: TrackerMessage,
    },
    /// Tell the application.
    Event(Event),
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The node is a member of the ring now: told once.
    Joined {
        /// Its neighbours at that moment.
        neighbours: Neighbours,
        /// How many members it knows of, itself included.
        members: usize,
    },
    /// Successor, predecessor, hub or links are others than before.
    Neighbours(Neighbours),
    /// A message for this node.
    Message(Message),
    /// A reliable message was taken by the receiver's application.
    Delivered {
        /// The command.
        id: CommandId,
    },
    /// A reliable message was not acknowledged in time. It may have arrived.
    Expired {
        /// The command.
        id: CommandId,
    },
    /// A reliable message will not be tried any longer. It may have arrived.
    Failed {
        /// The command.
        id: CommandId,
        /// Why.
        reason: FailReason,
    },
    /// A datagram or broadcast is on its way.
    Sent {
        /// The command.
        id: CommandId,
    },
    /// A circulated message came back, or its time is over.
    Circulated {
        /// The command.
        id: CommandId,
        /// Who saw it, in ring order from the successor on, without this node: the first 1,000.
        seen: Vec<NodeId>,
        /// How many saw it.
        count: u64,
        /// Whether it came back.
        complete: bool,
    },
    /// Somebody is here: told of each member once, and again when its name or session changes.
    PeerJoined {
        /// The member.
        peer: NodeId,
        /// Its name.
        name: String,
        /// What it runs on.
        kind: NodeKind,
    },
    /// Somebody left, or has not been heard of for long.
    PeerLeft {
        /// The member.
        peer: NodeId,
        /// Its name.
        name: String,
    },
    /// A link to a member changed its state.
    Link {
        /// The member.
        peer: NodeId,
        /// The new state, `None` once it is gone.
        state: Option<LinkState>,
    },
    /// A signal left for, or came from, a member.
    Signalling {
        /// The member.
        peer: NodeId,
        /// Which signal; see [`Signal::name`].
        signal: &'static str,
        /// Whether it was sent (else received).
        sent: bool,
    },
    /// A member turned an offer of ours down.
    Rejected {
        /// The member.
        peer: NodeId,
        /// Why.
        reason: RejectReason,
    },
    /// A tracker has this node in its table, or has it no longer.
    Tracker {
        /// Which tracker.
        tracker: TrackerId,
        /// Whether it has.
        connected: bool,
    },
    /// This node's clock and a tracker's differ by more than the tolerance.
    ClockSkew {
        /// Tracker minus node, in milliseconds.
        skew_ms: i64,
    },
    /// A later session of this identity has taken over. The node has ended.
    Superseded {
        /// The session that won.
        by: Incarnation,
    },
    /// The node cannot be in this room: it has ended. Says why, for people.
    Refused {
        /// What the tracker or a member said.
        message: String,
    },
    /// The node has left and told its neighbours: it has ended.
    Left,
}

/// Why a reliable message failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// The receiver left the room.
    PeerLeft,
    /// This node left the room or ended.
    Left,
}

impl FailReason {
    /// For people and scripts.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::PeerLeft => "the receiver left the room",
            Self::Left => "this node left the room",
        }
    }
}

/// A message as the application gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub from: NodeId,
    /// In which session of it.
    pub incarnation: Incarnation,
    /// What was promised about it.
    pub class: Class,
    /// Its number within the sender's stream, from 1; 0 for datagrams.
    pub sequence: u64,
    /// How many links it crossed.
    pub hops: u16,
    /// The content.
    pub payload: Bytes,
}

/// A member's ring neighbours, hub and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// The next member clockwise, `None` alone.
    pub successor: Option<NodeId>,
    /// The next member counter-clockwise, `None` alone.
    pub predecessor: Option<NodeId>,
    /// The hub of a star, once it is known.
    pub hub: Option<NodeId>,
    /// All links, by peer.
    pub links: Vec<LinkReport>,
}

/// How full the fullest of a node's queues are. [`Config`](crate::Config) says how full each may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Bytes of frames that wait in the node for one link.
    pub link_bytes: usize,
    /// Reliable messages to one receiver, sent or not.
    pub messages: usize,
    /// Bytes of reliable messages to one receiver.
    pub message_bytes: usize,
    /// Receivers of reliable messages, or their senders, whichever are more.
    pub streams: usize,
    /// Senders of broadcasts.
    pub broadcast_streams: usize,
}

/// What a node knows and holds: for invariants, metrics and `status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The node.
    pub node: NodeId,
    /// Its position.
    pub position: Position,
    /// Its session.
    pub incarnation: Incarnation,
    /// The room's topology.
    pub topology: Topology,
    /// The hub of a star, as far as it knows: it may be the node itself.
    pub hub: Option<NodeId>,
    /// Whether it has joined.
    pub member: bool,
    /// Whether it is to leave as soon as it has seen off what it was given.
    pub leaving: bool,
    /// Its successor list, nearest first.
    pub successors: Vec<NodeId>,
    /// Its predecessor list, nearest first.
    pub predecessors: Vec<NodeId>,
    /// All links, by peer.
    pub links: Vec<LinkReport>,
    /// The peers of its own long links.
    pub long_links: Vec<NodeId>,
    /// How many of its links are long links of others and nothing else.
    pub accepted_long_links: usize,
    /// The members it knows by presence, itself not included: id, name, kind.
    pub members: Vec<(NodeId, String, NodeKind)>,
    /// How many members there are, as far as it can tell, itself included.
    pub estimate: usize,
    /// Bytes of others' messages that wait behind gaps, or are kept to fill others' gaps.
    pub held_bytes: usize,
    /// How full its queues are.
    pub queues: Queues,
    /// The counts.
    pub counters: Counters,
}
