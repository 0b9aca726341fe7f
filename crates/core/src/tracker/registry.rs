//! The table: who is in which room, in ring order, and what they last said of themselves.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Unbounded};

use super::{ClientId, Entry, RoomSnapshot};
use crate::identity::NodeId;
use crate::ring::Place;
use crate::room::RoomId;
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::LinkReport;

/// Where the table is kept: [`Table`] keeps it in memory; several trackers that share one table
/// would put theirs here.
///
/// A room is there as long as it has members. What names a room or member that is not there
/// changes nothing and finds nothing.
pub trait Registry {
    /// How many rooms there are.
    fn rooms(&self) -> usize;

    /// How many members all rooms have together.
    fn members(&self) -> usize;

    /// What is true of a whole room.
    fn room(&self, room: &RoomId) -> Option<RoomInfo>;

    /// The member at `place`.
    fn member(&self, room: &RoomId, place: Place) -> Option<&Member>;

    /// Puts a member at `place`, instead of the one there. A room called `name` that runs
    /// `topology` is made if there is none, and made anew if nobody else is in it. It has the first
    /// `hub` that is named.
    fn insert(
        &mut self,
        room: &RoomId,
        name: &str,
        topology: Topology,
        hub: Option<NodeId>,
        place: Place,
        member: Member,
    );

    /// Takes a member out.
    fn remove(&mut self, room: &RoomId, place: Place);

    /// Notes that a member was heard.
    fn hear(&mut self, room: &RoomId, place: Place, now: Timestamp);

    /// Notes what a member says of itself.
    fn report(&mut self, room: &RoomId, place: Place, report: Report);

    /// The members once round the ring from `from` on, whether or not somebody is there, without
    /// `from` itself.
    fn walk(
        &self,
        room: &RoomId,
        from: Place,
        direction: Direction,
        among: Among,
    ) -> impl Iterator<Item = Place>;

    /// The connections of those members whose report names `node` as a neighbour or as the peer
    /// of a link.
    fn naming(&self, room: &RoomId, node: &NodeId) -> Vec<ClientId>;

    /// A copy of one room.
    fn snapshot(&self, room: &RoomId) -> Option<RoomSnapshot>;

    /// Copies of all rooms, by name.
    fn snapshots(&self) -> Vec<RoomSnapshot>;
}

/// What is true of a whole room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its topology.
    pub topology: Topology,
    /// The hub that its members have named, if any.
    pub hub: Option<NodeId>,
    /// How many members it has.
    pub members: usize,
}

/// A member and its connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The connection.
    pub client: ClientId,
    /// The member's line of the table.
    pub entry: Entry,
}

/// What a member says of itself: [`TrackerMessage::Announce`](crate::wire::TrackerMessage).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether it has joined the ring.
    pub member: bool,
    /// Its successor.
    pub successor: Option<NodeId>,
    /// Its predecessor.
    pub predecessor: Option<NodeId>,
    /// Its links.
    pub links: Vec<LinkReport>,
    /// Connection attempts that ended in a link.
    pub connected: u64,
    /// Connection attempts that did not.
    pub unconnected: u64,
}

/// A way round the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a member to its successors.
    Clockwise,
    /// From a member to its predecessors.
    CounterClockwise,
}

/// Which members are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Everybody in the table.
    All,
    /// Those who say that they have joined the ring.
    Joined,
}

/// The table of one tracker alone, in memory.
#[derive(Debug, Default)]
pub struct Table {
    rooms: BTreeMap<RoomId, Room>,
}

#[derive(Debug)]
struct Room {
    name: String,
    topology: Topology,
    hub: Option<NodeId>,
    members: BTreeMap<Place, Member>,
    /// Those of `members` who have joined the ring.
    joined: BTreeMap<Place, ()>,
    /// Who is named, and by whose connection: finds those to tell of a loss without asking all.
    named: BTreeSet<(NodeId, ClientId)>,
}

impl Registry for Table {
    fn rooms(&self) -> usize {
        self.rooms.len()
    }

    fn members(&self) -> usize {
        self.rooms.values().map(|room| room.members.len()).sum()
    }

    fn room(&self, room: &RoomId) -> Option<RoomInfo> {
        self.rooms.get(room).map(|room| RoomInfo {
            topology: room.topology,
            hub: room.hub,
            members: room.members.len(),
        })
    }

    fn member(&self, room: &RoomId, place: Place) -> Option<&Member> {
        self.rooms.get(room)?.members.get(&place)
    }

    fn insert(
        &mut self,
        room: &RoomId,
        name: &str,
        topology: Topology,
        hub: Option<NodeId>,
        place: Place,
        member: Member,
    ) {
        self.remove(room, place);
        let room = self.rooms.entry(*room).or_insert_with(|| Room {
            name: name.into(),
            topology,
            hub,
            members: BTreeMap::new(),
            joined: BTreeMap::new(),
            named: BTreeSet::new(),
        });
        room.hub = room.hub.or(hub);
        if member.entry.member {
            room.joined.insert(place, ());
        }
        let names = names(&member.entry);
        room.named
            .extend(names.into_iter().map(|node| (node, member.client)));
        room.members.insert(place, member);
    }

    fn remove(&mut self, room: &RoomId, place: Place) {
        let id = room;
        let Some(room) = self.rooms.get_mut(id) else {
            return;
        };
        if let Some(member) = room.members.remove(&place) {
            room.joined.remove(&place);
            for node in names(&member.entry) {
                room.named.remove(&(node, member.client));
            }
        }
        if room.members.is_empty() {
            self.rooms.remove(id);
        }
    }

    fn hear(&mut self, room: &RoomId, place: Place, now: Timestamp) {
        if let Some(room) = self.rooms.get_mut(room)
            && let Some(member) = room.members.get_mut(&place)
        {
            member.entry.heard = now;
        }
    }

    fn report(&mut self, room: &RoomId, place: Place, report: Report) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.report(place, report);
        }
    }

    fn walk(
        &self,
        room: &RoomId,
        from: Place,
        direction: Direction,
        among: Among,
    ) -> impl Iterator<Item = Place> {
        let room = self.rooms.get(room);
        let (all, joined) = match among {
            Among::All => (room.map(|room| &room.members), None),
            Among::Joined => (None, room.map(|room| &room.joined)),
        };
        let all = all.map(|all| once_round(all, from, direction));
        let joined = joined.map(|joined| once_round(joined, from, direction));
        all.into_iter()
            .flatten()
            .chain(joined.into_iter().flatten())
    }

    fn naming(&self, room: &RoomId, node: &NodeId) -> Vec<ClientId> {
        let Some(room) = self.rooms.get(room) else {
            return Vec::new();
        };
        room.named
            .range((*node, ClientId(0))..=(*node, ClientId(u64::MAX)))
            .map(|(_, client)| *client)
            .collect()
    }

    fn snapshot(&self, room: &RoomId) -> Option<RoomSnapshot> {
        self.rooms.get(room).map(Room::snapshot)
    }

    fn snapshots(&self) -> Vec<RoomSnapshot> {
        let mut rooms: Vec<_> = self.rooms.values().map(Room::snapshot).collect();
        rooms.sort_by(|a, b| a.name.cmp(&b.name));
        rooms
    }
}

impl Room {
    fn report(&mut self, place: Place, report: Report) {
        let Some(Member { client, entry }) = self.members.get_mut(&place) else {
            return;
        };
        let before = names(entry);
        entry.member = report.member;
        entry.successor = report.successor;
        entry.predecessor = report.predecessor;
        entry.links = report.links;
        entry.links.shrink_to_fit();
        entry.connected = report.connected;
        entry.unconnected = report.unconnected;
        let after = names(entry);
        if before != after {
            for node in before {
                self.named.remove(&(node, *client));
            }
            self.named
                .extend(after.into_iter().map(|node| (node, *client)));
        }
        if report.member {
            self.joined.insert(place, ());
        } else {
            self.joined.remove(&place);
        }
    }

    fn snapshot(&self) -> RoomSnapshot {
        RoomSnapshot {
            name: self.name.clone(),
            topology: self.topology,
            hub: self.hub,
            members: self.members.values().map(|m| m.entry.clone()).collect(),
        }
    }
}

/// Whom a member names in its report, in order, each once.
fn names(entry: &Entry) -> Vec<NodeId> {
    let neighbours = entry.successor.into_iter().chain(entry.predecessor);
    let mut names: Vec<_> = neighbours
        .chain(entry.links.iter().map(|link| link.peer))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn once_round<V>(
    ring: &BTreeMap<Place, V>,
    from: Place,
    direction: Direction,
) -> impl Iterator<Item = Place> {
    let mut after = ring.range((Excluded(from), Unbounded));
    let mut before = ring.range(..from);
    core::iter::from_fn(move || match direction {
        Direction::Clockwise => after.next().or_else(|| before.next()),
        Direction::CounterClockwise => before.next_back().or_else(|| after.next_back()),
    })
    .map(|(place, _)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Position;
    use alloc::vec;

    fn place(position: u64) -> Place {
        Place {
            position: Position(position),
            id: NodeId::from_bytes([7; 32]),
        }
    }

    #[test]
    fn a_walk_goes_once_round_without_its_start() {
        let ring: BTreeMap<_, _> = [10, 20, 30, 40].map(|p| (place(p), ())).into();
        let walk = |from, direction| -> Vec<u64> {
            once_round(&ring, place(from), direction)
                .map(|place| place.position.0)
                .collect()
        };
        assert_eq!(walk(20, Direction::Clockwise), vec![30, 40, 10]);
        assert_eq!(walk(20, Direction::CounterClockwise), vec![10, 40, 30]);
        assert_eq!(walk(25, Direction::Clockwise), vec![30, 40, 10, 20]);
        assert_eq!(walk(5, Direction::CounterClockwise), vec![40, 30, 20, 10]);
        assert_eq!(walk(u64::MAX, Direction::Clockwise), vec![10, 20, 30, 40]);
    }
}
