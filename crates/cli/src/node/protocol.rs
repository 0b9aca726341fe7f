//! The JSON lines of `circlet node --json`: commands in, events out.

use bytes::Bytes;
use circlet_core::Topology;
use circlet_core::identity::{Incarnation, NodeId};
use circlet_core::node::{Class, Counters, Neighbours, Snapshot};
use circlet_core::wire::{LinkReport, LinkState, NodeKind};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// The longest `id` of a command, in bytes: it is kept until the command's outcome is known.
pub const MAX_ID: usize = 1024;

/// A command on stdin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
pub enum Request {
    /// A message to one member.
    Send {
        id: Option<String>,
        to: NodeId,
        #[serde(flatten)]
        content: Content,
        #[serde(default)]
        class: SendClass,
    },
    /// A message to all.
    Broadcast {
        id: Option<String>,
        #[serde(flatten)]
        content: Content,
    },
    /// A message once round the ring.
    Circulate {
        id: Option<String>,
        #[serde(flatten)]
        content: Content,
    },
    /// The messages of `from` are taken up to `seq`.
    Ack { from: NodeId, seq: u64 },
    /// Asks for [`Report::Status`].
    Status { id: Option<String> },
    /// Ends the node.
    Leave,
}

impl Request {
    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn from_line(line: &str) -> Result<Self, String> {
        let request: Self = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match &request {
            Self::Send { id: Some(id), .. }
            | Self::Broadcast { id: Some(id), .. }
            | Self::Circulate { id: Some(id), .. }
            | Self::Status { id: Some(id) }
                if id.len() > MAX_ID =>
            {
                Err(format!("an id has at most {MAX_ID} bytes"))
            }
            _ => Ok(request),
        }
    }
}

/// What is promised about a message to one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendClass {
    /// Once and in order.
    #[default]
    Reliable,
    /// At most once.
    Datagram,
}

/// The content of a message: text, or bytes in base64 (RFC 4648, section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl Content {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            data: None,
        }
    }

    /// Text if it is UTF-8, else base64.
    pub fn of(payload: &[u8]) -> Self {
        match std::str::from_utf8(payload) {
            Ok(text) => Self::text(text),
            Err(_) => Self {
                text: None,
                data: Some(BASE64.encode(payload)),
            },
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// If there is no content, both sorts of it, or no base64.
    pub fn into_payload(self) -> Result<Bytes, String> {
        match (self.text, self.data) {
            (Some(text), None) => Ok(text.into()),
            (None, Some(data)) => BASE64
                .decode(data.as_bytes())
                .map(Bytes::from)
                .map_err(|error| format!("data is no base64: {error}")),
            (None, None) => Err("text or data is missing".to_owned()),
            (Some(_), Some(_)) => Err("text and data are given, one is wanted".to_owned()),
        }
    }
}

/// An event on stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Report {
    /// The node runs.
    Ready {
        node: NodeId,
        position: String,
        room: String,
    },
    /// It is a member of the ring.
    Joined {
        successor: Option<NodeId>,
        predecessor: Option<NodeId>,
        members: usize,
    },
    /// Its neighbours or links are others than before.
    Neighbours(NeighbourReport),
    /// A message for this node.
    Message {
        from: NodeId,
        class: String,
        seq: u64,
        #[serde(flatten)]
        content: Content,
        hops: u16,
    },
    /// The receiver has taken the message.
    Delivered { id: Option<String> },
    /// The message will not be tried any longer.
    Failed { id: Option<String>, reason: String },
    /// The message was not acknowledged in time.
    Expired { id: Option<String> },
    /// A datagram or broadcast is on its way.
    Sent { id: Option<String> },
    /// A circulated message came back (`complete`), or its time is over.
    Circulated {
        id: Option<String>,
        seen: Vec<NodeId>,
        count: u64,
        complete: bool,
    },
    /// The answer to [`Request::Status`].
    Status(Box<StatusReport>),
    /// A bad command line.
    Error { message: String },
    /// A member came or left.
    Peer {
        node: NodeId,
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<NodeKind>,
        joined: bool,
    },
    /// A link changed its state; `null` is gone.
    Link {
        peer: NodeId,
        state: Option<LinkState>,
    },
    /// A tracker has this node in its table, or has it no longer.
    Tracker { url: String, connected: bool },
    /// The connection to a tracker ended, or could not be made.
    TrackerLost { url: String, reason: String },
    /// Events that were dropped because nobody read them.
    Missed {
        datagrams: u64,
        broadcasts: u64,
        others: u64,
    },
    /// The clocks of this node and a tracker differ.
    ClockSkew { skew_ms: i64 },
    /// A later session of this identity has taken over.
    Superseded { by: Incarnation },
    /// The node cannot be in this room.
    Refused { message: String },
    /// The node has left.
    Left,
}

impl Report {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        // No map with keys that are not text, no failing serializer: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Successor, predecessor and links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourReport {
    pub successor: Option<NodeId>,
    pub predecessor: Option<NodeId>,
    /// The hub, in a star.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<NodeId>,
    pub links: Vec<Link>,
}

impl From<Neighbours> for NeighbourReport {
    fn from(neighbours: Neighbours) -> Self {
        Self {
            successor: neighbours.successor,
            predecessor: neighbours.predecessor,
            hub: neighbours.hub,
            links: neighbours.links.into_iter().map(Link::from).collect(),
        }
    }
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub peer: NodeId,
    pub state: LinkState,
    pub path: Path,
    pub rtt_us: Option<u64>,
}

impl From<LinkReport> for Link {
    fn from(link: LinkReport) -> Self {
        Self {
            peer: link.peer,
            state: link.state,
            path: Path::Direct,
            rtt_us: link.rtt_us,
        }
    }
}

/// How a link gets to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// By a connection of its own.
    Direct,
}

/// Everything a node tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    pub id: Option<String>,
    pub node: NodeId,
    pub position: String,
    pub topology: Topology,
    pub member: bool,
    #[serde(flatten)]
    pub neighbours: NeighbourReport,
    pub successors: Vec<NodeId>,
    pub predecessors: Vec<NodeId>,
    pub long_links: Vec<NodeId>,
    /// How many there are, this one included.
    pub members: usize,
    /// Those it knows of, this one not included.
    pub peers: Vec<Peer>,
    #[serde(flatten)]
    pub counters: CounterReport,
}

impl StatusReport {
    pub fn new(id: Option<String>, snapshot: Snapshot) -> Self {
        let peers = snapshot.members.into_iter();
        Self {
            id,
            node: snapshot.node,
            position: snapshot.position.to_string(),
            topology: snapshot.topology,
            member: snapshot.member,
            neighbours: NeighbourReport {
                successor: snapshot.successors.first().copied(),
                predecessor: snapshot.predecessors.first().copied(),
                hub: snapshot.hub,
                links: snapshot.links.into_iter().map(Link::from).collect(),
            },
            successors: snapshot.successors,
            predecessors: snapshot.predecessors,
            long_links: snapshot.long_links,
            members: snapshot.estimate,
            peers: peers
                .map(|(node, name, kind)| Peer { node, name, kind })
                .collect(),
            counters: snapshot.counters.into(),
        }
    }
}

/// A member that a node knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub node: NodeId,
    pub name: String,
    pub kind: NodeKind,
}

/// The node's counts; [`Counters`] says what each means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterReport {
    pub forwarded: u64,
    pub received: u64,
    pub dropped: u64,
    pub repeats: u64,
    pub retransmitted: u64,
    pub bad_frames: u64,
    pub bad_signals: u64,
    pub bad_signatures: u64,
    pub links_opened: u64,
    pub links_failed: u64,
    pub links_timed_out: u64,
    pub throttled: u64,
    pub forged: u64,
    pub cut_off: u64,
}

impl From<Counters> for CounterReport {
    fn from(counters: Counters) -> Self {
        // Named one by one, so that a count added to the core is not forgotten here.
        let Counters {
            forwarded,
            received,
            dropped,
            repeats,
            retransmitted,
            bad_frames,
            bad_signals,
            bad_signatures,
            links_opened,
            links_failed,
            links_timed_out,
            throttled,
            forged,
            cut_off,
        } = counters;
        Self {
            forwarded,
            received,
            dropped,
            repeats,
            retransmitted,
            bad_frames,
            bad_signals,
            bad_signatures,
            links_opened,
            links_failed,
            links_timed_out,
            throttled,
            forged,
            cut_off,
        }
    }
}

/// The `message` event of a message.
pub fn message(message: &circlet_core::node::Message) -> Report {
    Report::Message {
        from: message.from,
        class: class_name(message.class),
        seq: message.sequence,
        content: Content::of(&message.payload),
        hops: message.hops,
    }
}

fn class_name(class: Class) -> String {
    class.name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_fuzz::{corpus, fuzz_text};

    /// Of JSON and of commands.
    const WORDS: [&str; 12] = [
        "{",
        "}",
        "[[[[[[[[",
        ":",
        ",",
        "\"",
        "null",
        "\\ud800",
        "\"cmd\":",
        "\"id\":\"\"",
        "\"data\":",
        "\"text\":",
    ];

    #[test]
    fn fuzz_commands() {
        fuzz_text(corpus!("command"), 50_000, &WORDS, |line| {
            let Ok(request) = Request::from_line(line) else {
                return;
            };
            let again = serde_json::to_string(&request).unwrap();
            assert!(Request::from_line(&again).is_ok(), "{again}");
            if let Request::Send { content, .. }
            | Request::Broadcast { content, .. }
            | Request::Circulate { content, .. } = request
                && let Ok(payload) = content.into_payload()
            {
                assert_eq!(Content::of(&payload).into_payload(), Ok(payload));
            }
        });
    }

    #[test]
    fn commands_are_read_as_documented() {
        let to = NodeId::from_bytes([7; 32]);
        let line =
            format!(r#"{{"cmd":"send","id":"1","to":"{to}","text":"hello","class":"datagram"}}"#);
        match Request::from_line(&line).unwrap() {
            Request::Send {
                id,
                to: receiver,
                content,
                class,
            } => {
                assert_eq!(id.as_deref(), Some("1"));
                assert_eq!(receiver, to);
                assert_eq!(class, SendClass::Datagram);
                assert_eq!(content.into_payload().unwrap(), "hello");
            }
            other => panic!("{other:?}"),
        }
        let line = format!(r#"{{"cmd":"send","to":"{to}","data":"/wA="}}"#);
        match Request::from_line(&line).unwrap() {
            Request::Send { content, class, .. } => {
                assert_eq!(class, SendClass::Reliable);
                assert_eq!(content.into_payload().unwrap(), &[255, 0][..]);
            }
            other => panic!("{other:?}"),
        }
        let line = format!(r#"{{"cmd":"ack","from":"{to}","seq":17}}"#);
        assert!(matches!(
            Request::from_line(&line),
            Ok(Request::Ack { seq: 17, .. })
        ));
        assert!(matches!(
            Request::from_line(r#"{"cmd":"leave"}"#),
            Ok(Request::Leave)
        ));
    }

    #[test]
    fn bad_commands_are_errors() {
        for line in [
            "",
            "[]",
            "{}",
            r#"{"cmd":"fly"}"#,
            r#"{"cmd":"send","text":"x"}"#,
            r#"{"cmd":"send","to":"me","text":"x"}"#,
            r#"{"cmd":"status","id":7}"#,
            &format!(r#"{{"cmd":"status","id":"{}"}}"#, "x".repeat(MAX_ID + 1)),
        ] {
            assert!(Request::from_line(line).is_err(), "{line}");
        }
        for content in [
            Content::default(),
            Content {
                text: Some(String::new()),
                data: Some(String::new()),
            },
            Content {
                text: None,
                data: Some("?".to_owned()),
            },
        ] {
            assert!(content.clone().into_payload().is_err(), "{content:?}");
        }
    }

    #[test]
    fn events_are_written_as_documented() {
        let from = NodeId::from_bytes([7; 32]);
        let event = message(&circlet_core::node::Message {
            from,
            incarnation: Incarnation(1),
            class: Class::Reliable,
            sequence: 17,
            hops: 2,
            payload: Bytes::from_static(b"hello"),
        });
        assert_eq!(
            event.to_line(),
            format!(
                r#"{{"event":"message","from":"{from}","class":"reliable","seq":17,"text":"hello","hops":2}}"#
            )
        );
        let event = Report::Neighbours(NeighbourReport {
            successor: Some(from),
            predecessor: None,
            hub: None,
            links: vec![Link {
                peer: from,
                state: LinkState::Open,
                path: Path::Direct,
                rtt_us: Some(410),
            }],
        });
        assert_eq!(
            event.to_line(),
            format!(
                r#"{{"event":"neighbours","successor":"{from}","predecessor":null,"links":[{{"peer":"{from}","state":"open","path":"direct","rtt_us":410}}]}}"#
            )
        );
        let status = Report::Status(Box::new(StatusReport::new(
            Some("9".to_owned()),
            Snapshot {
                node: from,
                position: circlet_core::ring::Position(255),
                incarnation: Incarnation(1),
                topology: Topology::SmallWorld,
                hub: None,
                member: true,
                leaving: false,
                successors: vec![from],
                predecessors: vec![],
                links: vec![],
                long_links: vec![],
                accepted_long_links: 0,
                members: vec![],
                estimate: 1,
                held_bytes: 0,
                queues: circlet_core::node::Queues::default(),
                counters: Counters {
                    forwarded: 5,
                    ..Counters::default()
                },
            },
        )))
        .to_line();
        assert!(
            status.starts_with(r#"{"event":"status","id":"9","#)
                && status.contains(r#""position":"00000000000000ff""#)
                && status.contains(r#""forwarded":5"#)
                && status.contains(r#""links":[]"#),
            "{status}"
        );
        assert!(matches!(
            serde_json::from_str(&status),
            Ok(Report::Status(status)) if status.counters.forwarded == 5
        ));
    }
}
