//! One end of a link: its state, what happens to it, and what it says to the other end.

use std::collections::VecDeque;

use circlet_core::Timestamp;
use circlet_core::identity::NodeId;
use circlet_core::node::{Channel, DownReason, Input, LinkId, Role};
use circlet_core::wire::{FrameBuf, Signal};

use crate::resequencer::Resequencer;
use crate::world::{LinkEnd, NodeIndex, World};

/// What happens to one end of a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// It has made an offer, an answer, a candidate.
    Local(Box<Signal>),
    /// Something came over the network.
    Packet { from: LinkEnd, packet: Packet },
    /// It is through the node's downlink too.
    Arrived { from: LinkEnd, packet: Packet },
    /// Something sent did not arrive, and it has been noticed.
    Undelivered { packet: Packet, attempt: u32 },
    /// It has computed what opens it.
    Ready,
    /// It should be open by now.
    ConnectTimeout,
    /// Some bytes may have left.
    Sent,
    /// Its path has been dead since then, if it has not come back.
    PathSilent { since: Timestamp, failed: bool },
}

/// What one end sends to the other.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Hello,
    HelloAck,
    Frame {
        channel: Channel,
        /// Counts the frames of an ordered channel.
        sequence: u64,
        frame: FrameBuf,
    },
    /// Closed on purpose, or by the end of the process.
    Close,
}

impl Packet {
    /// What it weighs on an uplink or downlink: only frames do.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.size(),
            Self::Hello | Self::HelloAck | Self::Close => 0,
        }
    }

    /// Whether it is sent again until it arrives.
    pub(super) const fn is_reliable(&self) -> bool {
        match self {
            Self::Hello | Self::HelloAck => true,
            Self::Frame { channel, .. } => channel.is_reliable(),
            // Like the close_notify of DTLS (RFC 9147, section 5.10).
            Self::Close => false,
        }
    }
}

impl LinkEvent {
    /// What a driver with queues may still tell about a connection that the node has closed.
    pub(super) fn late_input(self, link: LinkId) -> Option<Input> {
        match self {
            Self::Local(signal) => Some(Input::LocalSignal {
                link,
                signal: *signal,
            }),
            Self::Packet { packet, .. } | Self::Arrived { packet, .. } => match packet {
                Packet::Frame { channel, frame, .. } => Some(Input::Frame {
                    link,
                    channel,
                    frame,
                }),
                Packet::Close => Some(Input::LinkDown {
                    link,
                    reason: DownReason::Closed,
                }),
                Packet::Hello | Packet::HelloAck => None,
            },
            Self::Ready => Some(Input::LinkUp { link }),
            Self::Sent => Some(Input::LinkWritable { link, bytes: 1 }),
            Self::PathSilent { failed: false, .. } => Some(Input::LinkSuspect { link }),
            Self::ConnectTimeout | Self::PathSilent { failed: true, .. } => Some(Input::LinkDown {
                link,
                reason: DownReason::Failed,
            }),
            Self::Undelivered { .. } => None,
        }
    }
}

/// One end of a link.
#[derive(Debug)]
pub(super) struct End {
    pub(super) peer: NodeId,
    pub(super) role: Role,
    pub(super) remote: Option<LinkEnd>,
    pub(super) stage: Stage,
    /// Whether the other end may be looked for: a candidate of it is known.
    pub(super) has_candidate: bool,
    pub(super) greeted: bool,
    messages: Ordered,
    bulk: Ordered,
    /// Came before the handshake was over.
    pub(super) early: Vec<(Channel, FrameBuf)>,
    /// When the last byte given so far has left.
    pub(super) busy_until: Timestamp,
    /// Bytes that have not been reported as sent, with when they leave.
    pub(super) unreported: VecDeque<(Timestamp, usize)>,
    /// When all that was sent so far has arrived, if nothing is lost.
    pub(super) arrived_by: Timestamp,
    pub(super) silent_since: Option<Timestamp>,
}

/// Both directions of an ordered channel.
#[derive(Debug, Default)]
struct Ordered {
    sent: u64,
    received: Resequencer<FrameBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Waits for descriptions.
    New,
    /// Both descriptions are known.
    Connecting,
    /// The other end has been reached.
    Reached,
    Open,
}

impl End {
    pub(super) fn new(peer: NodeId, role: Role, now: Timestamp) -> Self {
        Self {
            peer,
            role,
            remote: None,
            stage: Stage::New,
            has_candidate: false,
            greeted: false,
            messages: Ordered::default(),
            bulk: Ordered::default(),
            early: Vec::new(),
            busy_until: now,
            unreported: VecDeque::new(),
            arrived_by: now,
            silent_since: None,
        }
    }

    /// The number of a frame to be sent, for channels that have them.
    pub(super) fn next_sequence(&mut self, channel: Channel) -> u64 {
        self.ordered(channel).map_or(0, |ordered| {
            ordered.sent += 1;
            ordered.sent - 1
        })
    }

    /// Takes a frame, and gives those that are to be delivered now.
    pub(super) fn receive(
        &mut self,
        channel: Channel,
        sequence: u64,
        frame: FrameBuf,
    ) -> Vec<FrameBuf> {
        match self.ordered(channel) {
            None => vec![frame],
            Some(ordered) => {
                ordered.received.insert(sequence, frame);
                std::iter::from_fn(|| ordered.received.next()).collect()
            }
        }
    }

    /// Whether nothing that `node` sends here arrives, or nobody takes it.
    pub(super) fn is_path_dead(&self, node: NodeIndex, world: &World) -> bool {
        self.remote.is_some_and(|remote| {
            !world.network.is_running(remote.node, remote.generation)
                || !world.network.joins(node, remote.node)
        })
    }

    fn ordered(&mut self, channel: Channel) -> Option<&mut Ordered> {
        match channel {
            Channel::Messages => Some(&mut self.messages),
            Channel::Bulk => Some(&mut self.bulk),
            Channel::Control | Channel::Realtime => None,
        }
    }
}

impl LinkEnd {
    /// The description by which the other end will know this one.
    pub(super) fn describe(self) -> String {
        format!("v=0\r\na=sim:{self}\r\n")
    }

    /// The end that a description is of, `None` if it is none.
    pub(super) fn of_description(sdp: &str) -> Option<Self> {
        let token = sdp.lines().find_map(|line| line.strip_prefix("a=sim:"))?;
        let mut parts = token.split(':');
        let end = Self {
            node: NodeIndex(parts.next()?.parse().ok()?),
            generation: parts.next()?.parse().ok()?,
            link: LinkId(parts.next()?.parse().ok()?),
        };
        parts.next().is_none().then_some(end)
    }
}
