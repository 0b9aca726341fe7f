//! A living room as the beginning of a scenario: what `circlet topology --format json` prints.

use std::collections::BTreeMap;

use circlet_core::identity::NodeId;
use circlet_core::wire::{LinkReport, LinkState};
use serde::Deserialize;

/// A room's members and the links between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// In ring order.
    pub members: Vec<RoomMember>,
    /// Open links between them, as places in `members`, the smaller one first; each once, in
    /// order.
    pub links: Vec<(u32, u32)>,
}

/// A member of a living room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomMember {
    /// Its id.
    pub node: NodeId,
    /// Its position on the ring.
    pub position: u64,
    /// Its name, for people.
    pub name: String,
}

/// The tracker's table. What is not named here is left alone.
#[derive(Deserialize)]
struct Table {
    members: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    node: NodeId,
    position: String,
    name: String,
    #[serde(default)]
    links: Vec<LinkReport>,
}

impl Room {
    /// The largest table taken, in bytes: one of 10,000 members takes 15 MB.
    pub(super) const MAX_BYTES: u64 = 64 << 20;

    /// Reads the JSON that `circlet topology --format json` prints.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Table = serde_json::from_str(text).map_err(|error| {
            format!("is not what `circlet topology --format json` prints: {error}")
        })?;
        let mut reports = BTreeMap::new();
        for row in table.members {
            let position = u64::from_str_radix(&row.position, 16)
                .map_err(|_| format!("\"{}\" is no position", row.position))?;
            let member = RoomMember {
                node: row.node,
                position,
                name: row.name,
            };
            if reports
                .insert((position, row.node), (member, row.links))
                .is_some()
            {
                return Err(format!("{} is there twice", row.node.short()));
            }
        }
        if reports.is_empty() {
            return Err("nobody is in the room".to_owned());
        }
        let places: BTreeMap<NodeId, u32> =
            reports.keys().map(|(_, node)| *node).zip(0..).collect();
        let mut links = Vec::new();
        for (place, (_, reports)) in (0..).zip(reports.values()) {
            for report in reports
                .iter()
                .filter(|report| report.state == LinkState::Open)
            {
                // Links to those who have left the room meanwhile are none.
                if let Some(&other) = places.get(&report.peer).filter(|other| **other != place) {
                    links.push((other.min(place), other.max(place)));
                }
            }
        }
        // Most often both ends tell of it.
        links.sort_unstable();
        links.dedup();
        Ok(Self {
            members: reports.into_values().map(|(member, _)| member).collect(),
            links,
        })
    }

    /// The places of those whose name is `wanted`, or whose NodeId begins with it.
    pub fn find(&self, wanted: &str) -> impl Iterator<Item = u32> {
        let is_meant = move |member: &RoomMember| {
            // Shorter beginnings say little.
            let by_id = wanted.len() >= 6 && member.node.to_string().starts_with(wanted);
            by_id || member.name == wanted
        };
        (0..)
            .zip(&self.members)
            .filter(move |(_, member)| is_meant(member))
            .map(|(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_core::identity::Identity;

    fn id(number: u8) -> NodeId {
        Identity::from_seed(&[number; 32]).node_id()
    }

    fn row(number: u8, position: &str, peers: &[u8]) -> String {
        let links: Vec<String> = peers
            .iter()
            .map(|peer| {
                format!(
                    "{{\"peer\":\"{}\",\"state\":\"open\",\"rtt_us\":410}}",
                    id(*peer)
                )
            })
            .collect();
        format!(
            "{{\"node\":\"{}\",\"position\":\"{position}\",\"name\":\"n{number}\",\"kind\":\
             \"native\",\"member\":true,\"links\":[{}]}}",
            id(number),
            links.join(",")
        )
    }

    fn room(rows: &[String]) -> Result<Room, String> {
        let rows = rows.join(",");
        Room::parse(&format!(
            "{{\"name\":\"demo\",\"topology\":\"small-world\",\"members\":[{rows}]}}"
        ))
    }

    #[test]
    fn members_are_in_ring_order_with_their_links() {
        let rows = [
            row(1, "c000000000000000", &[2, 9]),
            row(2, "4000000000000000", &[1, 3]),
            row(3, "8000000000000000", &[]),
        ];
        let room = room(&rows).unwrap();
        let names: Vec<_> = room.members.iter().map(|member| &member.name[..]).collect();
        assert_eq!(names, ["n2", "n3", "n1"]);
        assert_eq!(room.links, [(0, 1), (0, 2)]);
        assert_eq!(room.find("n3").collect::<Vec<_>>(), [1]);
        let prefix = &id(1).to_string()[..10];
        assert_eq!(room.find(prefix).collect::<Vec<_>>(), [2]);
        assert_eq!(room.find("n").count(), 0);
    }

    #[test]
    fn what_is_no_room_is_refused() {
        let once = row(1, "0000000000000001", &[]);
        assert!(room(&[once.clone(), once]).unwrap_err().contains("twice"));
        assert!(room(&[row(1, "x", &[])]).is_err());
        assert!(room(&[]).unwrap_err().contains("nobody"));
        assert!(Room::parse("[]").is_err());
    }
}
