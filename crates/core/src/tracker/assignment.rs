//! Whom a newcomer should turn to.

use alloc::vec::Vec;

use rand::Rng;
use rand::rngs::Xoshiro256PlusPlus;

use super::clients::Session;
use super::registry::{Among, Direction, Registry};
use super::{ClientId, Tracker, TrackerConfig};
use crate::identity::NodeId;
use crate::ring::Place;
use crate::room::RoomId;
use crate::wire::{Assignment, MAX_LIST, TrackerMessage};

impl<T: Registry> Tracker<T> {
    pub(super) fn send_assigned(&mut self, client: ClientId, session: &Session) {
        let (members, assignment) = self.assign(&session.room, session.place);
        self.send(
            client,
            TrackerMessage::Assigned {
                members,
                assignment,
            },
        );
    }

    /// The number of members of `room`, and whom of them the one at `place` should turn to.
    pub(super) fn assign(&mut self, room: &RoomId, place: Place) -> (u64, Assignment) {
        let members = self.registry.room(room).map_or(0, |room| room.members);
        let draw = Draw {
            registry: &self.registry,
            room,
            place,
            config: &self.config,
        };
        let ring = draw.ring();
        let mesh = draw.mesh(&ring, members, &mut self.mesh_rng);
        (members as u64, Assignment { ring, mesh })
    }
}

/// One assignment in the making.
struct Draw<'a, T> {
    registry: &'a T,
    room: &'a RoomId,
    place: Place,
    config: &'a TrackerConfig,
}

impl<T: Registry> Draw<'_, T> {
    /// The members next to the place, nearest first, predecessors and successors in turn.
    fn ring(&self) -> Vec<NodeId> {
        let predecessors = self.side(Direction::CounterClockwise);
        let successors = self.side(Direction::Clockwise);
        let mut ring = Vec::with_capacity(predecessors.len() + successors.len());
        for nearness in 0..predecessors.len().max(successors.len()) {
            for side in [&predecessors, &successors] {
                if let Some(id) = side.get(nearness)
                    && !ring.contains(id)
                {
                    ring.push(*id);
                }
            }
        }
        ring
    }

    /// The members next to the place on one side: those who have joined the ring, and if they
    /// are too few, then others after them.
    fn side(&self, direction: Direction) -> Vec<NodeId> {
        let wanted = self.config.assigned_ring.min(MAX_LIST / 2);
        let walk = |among| self.registry.walk(self.room, self.place, direction, among);
        let mut side: Vec<_> = walk(Among::Joined)
            .take(wanted)
            .map(|place| place.id)
            .collect();
        if side.len() < wanted {
            for place in walk(Among::All).take(wanted) {
                if side.len() < wanted && !side.contains(&place.id) {
                    side.push(place.id);
                }
            }
        }
        side
    }

    /// Members to take as long links, at harmonic distances (Symphony, USITS 2003, section 3).
    fn mesh(&self, ring: &[NodeId], members: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<NodeId> {
        let wanted = self.config.assigned_mesh.min(MAX_LIST);
        let mut mesh = Vec::with_capacity(wanted.min(members));
        while mesh.len() < wanted {
            let target = Place {
                position: self.place.position.advance(harmonic(members, rng)),
                id: NodeId::from_bytes([0; 32]),
            };
            let walk = |among| {
                self.registry
                    .walk(self.room, target, Direction::Clockwise, among)
                    .map(|place| place.id)
            };
            let is_free =
                |id: &NodeId| *id != self.place.id && !ring.contains(id) && !mesh.contains(id);
            // If that many are not free, then nobody is.
            let enough = ring.len() + mesh.len() + 2;
            let free = walk(Among::Joined).take(enough).find(is_free);
            match free.or_else(|| walk(Among::All).take(enough).find(is_free)) {
                Some(id) => mesh.push(id),
                None => break,
            }
        }
        mesh
    }
}

/// A distance x of the whole ring with density 1 / (x ln n), 1/n <= x <= 1, in positions.
fn harmonic(members: usize, rng: &mut Xoshiro256PlusPlus) -> u64 {
    const RING: f64 = 18_446_744_073_709_551_616.0;
    // 53 bits: as many as fit into the fraction of an f64.
    let uniform = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let x = libm::exp(libm::log(members.max(2) as f64) * (uniform - 1.0));
    // Saturates.
    (x * RING) as u64
}
