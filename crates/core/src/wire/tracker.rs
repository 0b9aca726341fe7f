//! Messages between a node and its tracker: JSON text with a `type` tag.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{MAX_LIST, MAX_NAME, MAX_TRACKER_MESSAGE, SignedSignal, WireError, from_json, limit};
use crate::identity::{Incarnation, NodeId, Signature};
use crate::room::MAX_ROOM_NAME;
use crate::topology::Topology;

/// The most links in a report to a tracker.
pub const MAX_REPORTED_LINKS: usize = 256;

/// What sort of machine a member runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// A process of its own.
    #[default]
    Native,
    /// A browser tab.
    Browser,
}

/// The state of a link as its owner reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Being negotiated.
    Connecting,
    /// Carrying frames.
    Open,
    /// Silent: being probed.
    Suspect,
}

/// One link of a member, for the tracker's table and for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The member at the other end.
    pub peer: NodeId,
    /// Its state.
    pub state: LinkState,
    /// The round-trip time in microseconds, once measured.
    #[serde(default)]
    pub rtt_us: Option<u64>,
}

/// Whom a newcomer should turn to: a start, not the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The members next to it on the ring, nearest first, predecessors and successors in turn.
    pub ring: Vec<NodeId>,
    /// Members to take as long links.
    pub mesh: Vec<NodeId>,
}

/// Why the tracker refuses something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The message cannot be read or is over a limit.
    Malformed,
    /// The signature does not prove the key.
    Login,
    /// The name of the room cannot be one.
    Room,
    /// The room runs another topology or has another hub; the text names it.
    Topology,
    /// Something before a login, or a signal in another's name.
    Forbidden,
    /// The tracker is full.
    Full,
    /// Too much in too short a time.
    Limited,
    /// Too slow: no login in time, or silent for too long.
    Timeout,
}

/// A message to or from the tracker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum TrackerMessage {
    /// Tracker to node, first of all: what to sign.
    Challenge {
        /// The protocol's version, 1.
        version: u16,
        /// 32 random bytes as hexadecimal text.
        nonce: String,
    },
    /// Node to tracker: who it is.
    Login {
        /// The node.
        node: NodeId,
        /// Its session.
        incarnation: Incarnation,
        /// The name of its room.
        room: String,
        /// Its own name, for people.
        name: String,
        /// What it runs on.
        kind: NodeKind,
        /// The topology it wants; the room's first member decides.
        topology: Topology,
        /// The hub that it wants for a star, if it knows of one; the first member that names one
        /// decides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hub: Option<NodeId>,
        /// Over [`login_bytes`].
        signature: Signature,
    },
    /// Tracker to node: it is in the table now.
    Welcome {
        /// The tracker's clock, in Unix milliseconds.
        time_unix_ms: u64,
        /// How many members the table has, this one included.
        members: u64,
        /// Whom to turn to; nobody if it is the only one.
        assignment: Assignment,
        /// The hub that the room has been given, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hub: Option<NodeId>,
    },
    /// Tracker to node: whom to turn to, after `Ask` or because its report differs from the
    /// table.
    Assigned {
        /// How many members the table has, this one included.
        members: u64,
        /// Whom to turn to.
        assignment: Assignment,
    },
    /// Node to tracker: the first assignment led nowhere; another, please.
    Ask,
    /// Node to tracker: its state, on change and every some seconds.
    Announce {
        /// Whether it has joined the ring.
        member: bool,
        /// Its successor.
        successor: Option<NodeId>,
        /// Its predecessor.
        predecessor: Option<NodeId>,
        /// Its links, at most [`MAX_REPORTED_LINKS`].
        links: Vec<LinkReport>,
        /// Connection attempts that ended in a link, since it started.
        connected: u64,
        /// Connection attempts that did not: its ICE situation.
        unconnected: u64,
    },
    /// Both ways: a signal to be passed on to the member it names, or passed on from one.
    Signal {
        /// The signal, signed end to end; the tracker reads only whom it is from and to.
        signal: SignedSignal,
    },
    /// Tracker to node: the receiver of its signal is not here.
    Unreachable {
        /// The receiver.
        to: NodeId,
        /// The attempt that the signal belonged to.
        attempt: u64,
    },
    /// Tracker to node: a member's connection to the tracker ended. A hint to probe.
    Gone {
        /// The member.
        node: NodeId,
    },
    /// Tracker to node: the same identity has logged in with a greater incarnation.
    Superseded {
        /// The greater one.
        incarnation: Incarnation,
    },
    /// Node to tracker: it leaves the room.
    Leave,
    /// Tracker to node: refused, and why; the connection ends.
    Error {
        /// Which sort of refusal.
        code: ErrorCode,
        /// What to do about it, for people.
        message: String,
    },
    /// Either way: is somebody there?
    Ping,
    /// The answer to `Ping`.
    Pong,
}

impl TrackerMessage {
    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        // No map with keys that are not text, no failing serializer: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`WireError`] if it is no message, larger than [`MAX_TRACKER_MESSAGE`], or a part of it
    /// is over its limit.
    pub fn from_json(text: &str) -> Result<Self, WireError> {
        let message: Self = from_json(text, MAX_TRACKER_MESSAGE)?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Challenge { nonce, .. } => limit("nonce", nonce.len(), 64),
            Self::Login { room, name, .. } => {
                limit("room", room.len(), MAX_ROOM_NAME)?;
                limit("name", name.len(), MAX_NAME)
            }
            Self::Welcome { assignment, .. } | Self::Assigned { assignment, .. } => {
                limit("ring", assignment.ring.len(), MAX_LIST)?;
                limit("mesh", assignment.mesh.len(), MAX_LIST)
            }
            Self::Announce { links, .. } => limit("links", links.len(), MAX_REPORTED_LINKS),
            Self::Signal { signal } => signal.check(),
            Self::Error { message, .. } => limit("message", message.len(), 1024),
            Self::Ask
            | Self::Unreachable { .. }
            | Self::Gone { .. }
            | Self::Superseded { .. }
            | Self::Leave
            | Self::Ping
            | Self::Pong => Ok(()),
        }
    }
}

/// The bytes that a login signs: version (2 bytes), nonce text, a zero byte, NodeId,
/// incarnation (8 bytes), topology name, a zero byte, room name, a zero byte, node name.
/// Numbers are big endian.
#[must_use]
pub fn login_bytes(
    nonce: &str,
    node: &NodeId,
    incarnation: Incarnation,
    topology: Topology,
    room: &str,
    name: &str,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&super::VERSION.to_be_bytes());
    bytes.extend_from_slice(nonce.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(node.as_bytes());
    bytes.extend_from_slice(&incarnation.0.to_be_bytes());
    bytes.extend_from_slice(topology.name().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(room.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_json() {
        let node = NodeId::from_bytes([3; 32]);
        for message in [
            TrackerMessage::Ask,
            TrackerMessage::Ping,
            TrackerMessage::Gone { node },
            TrackerMessage::Unreachable {
                to: node,
                attempt: (1 << 53) - 1,
            },
            TrackerMessage::Announce {
                member: true,
                successor: Some(node),
                predecessor: None,
                links: alloc::vec![LinkReport {
                    peer: node,
                    state: LinkState::Open,
                    rtt_us: Some(7),
                }],
                connected: 1,
                unconnected: 0,
            },
            TrackerMessage::Error {
                code: ErrorCode::Topology,
                message: "the room runs ring".into(),
            },
        ] {
            let text = message.to_json();
            assert_eq!(TrackerMessage::from_json(&text), Ok(message), "{text}");
        }
    }

    #[test]
    fn limits_are_kept() {
        let huge = " ".repeat(MAX_TRACKER_MESSAGE + 1);
        assert!(matches!(
            TrackerMessage::from_json(&huge),
            Err(WireError::TooLarge { .. })
        ));
        let message = TrackerMessage::Error {
            code: ErrorCode::Full,
            message: "x".repeat(1025),
        };
        assert_eq!(
            TrackerMessage::from_json(&message.to_json()),
            Err(WireError::OverLimit("message"))
        );
        for bad in [
            "",
            "{}",
            "{\"type\":\"nonsense\"}",
            "[1]",
            "{\"type\":\"login\"}",
        ] {
            assert!(TrackerMessage::from_json(bad).is_err(), "{bad}");
        }
    }
}
