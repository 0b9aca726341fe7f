//! A room's table as JSON.

use circlet_core::identity::{Incarnation, NodeId};
use circlet_core::tracker::Entry;
use circlet_core::wire::{LinkReport, NodeKind};
use circlet_core::{Timestamp, Topology};
use serde::Serialize;

use crate::hub::RoomAnswer;

#[derive(Serialize)]
struct Table<'a> {
    name: &'a str,
    topology: Topology,
    hub: Option<NodeId>,
    members: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    node: NodeId,
    position: String,
    incarnation: Incarnation,
    name: &'a str,
    kind: NodeKind,
    since_s: f64,
    heard_s: f64,
    member: bool,
    successor: Option<NodeId>,
    predecessor: Option<NodeId>,
    links: &'a [LinkReport],
    connected: u64,
    unconnected: u64,
}

/// The members in ring order; `since_s` and `heard_s` are seconds ago, to the millisecond.
pub(crate) fn to_json(answer: &RoomAnswer) -> Vec<u8> {
    let rows = answer.room.members.iter();
    let table = Table {
        name: &answer.room.name,
        topology: answer.room.topology,
        hub: answer.room.hub,
        members: rows.map(|entry| Row::new(entry, answer.now)).collect(),
    };
    // No map with keys that are not text, no failing serializer: this cannot fail.
    serde_json::to_vec(&table).unwrap_or_default()
}

impl<'a> Row<'a> {
    fn new(entry: &'a Entry, now: Timestamp) -> Self {
        let ago_s = |at| now.since(at).as_millis() as f64 / 1000.0;
        Self {
            node: entry.node,
            position: entry.position.to_string(),
            incarnation: entry.incarnation,
            name: &entry.name,
            kind: entry.kind,
            since_s: ago_s(entry.since),
            heard_s: ago_s(entry.heard),
            member: entry.member,
            successor: entry.successor,
            predecessor: entry.predecessor,
            links: &entry.links,
            connected: entry.connected,
            unconnected: entry.unconnected,
        }
    }
}
