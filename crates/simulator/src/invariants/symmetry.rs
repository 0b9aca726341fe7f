//! Links are symmetric in the end: what both ends and their drivers say, and where the ring
//! wants them.
//!
//! Source: DESIGN, section 4 (one link serves every wish for it) and section 5 (ring links held
//! open on each side). Checked once faults are over and repaired.

use std::collections::{BTreeMap, BTreeSet};

use circlet_core::identity::NodeId;
use circlet_core::node::Snapshot;
use circlet_core::wire::LinkState;

/// The name of the invariant.
pub const NAME: &str = "links symmetric in the end";

/// Checks what each node reports of its links against the other nodes' reports: links between
/// living nodes only, one for each pair, open at both ends.
///
/// Holds once nothing has changed for a while: a link opens and closes at one end first.
///
/// # Errors
/// The first thing that is not so, for people.
pub fn check_symmetric(nodes: &[Snapshot]) -> Result<(), String> {
    let open: BTreeMap<NodeId, BTreeSet<NodeId>> = nodes
        .iter()
        .map(|node| (node.node, open_peers(node)))
        .collect();
    for node in nodes {
        let name = node.node.short();
        let peers: BTreeSet<_> = node.links.iter().map(|link| link.peer).collect();
        if peers.len() < node.links.len() {
            return Err(format!(
                "{name} has two links to one peer: {:?}",
                node.links
            ));
        }
        for peer in &open[&node.node] {
            let back = open
                .get(peer)
                .is_some_and(|peers| peers.contains(&node.node));
            if !back {
                return Err(format!("{name} has a link to {peer:?} that has none to it"));
            }
        }
    }
    Ok(())
}

/// Checks that each node has open links to its nearest `ring_links` successors and predecessors.
///
/// # Errors
/// The first neighbour that is missing, for people.
pub fn check_ring_links(nodes: &[Snapshot], ring_links: usize) -> Result<(), String> {
    for node in nodes {
        let open = open_peers(node);
        let wanted = [&node.successors, &node.predecessors];
        for peer in wanted
            .into_iter()
            .flat_map(|list| list.iter().take(ring_links))
        {
            if !open.contains(peer) {
                return Err(format!(
                    "{:?} has no link to its neighbour {peer:?}",
                    node.node
                ));
            }
        }
    }
    Ok(())
}

/// Checks that what a node reports is what its driver holds: `held` are the peers of the open
/// connections, one for each connection.
///
/// # Errors
/// What differs, for people.
pub fn check_driver(node: &Snapshot, held: &[NodeId]) -> Result<(), String> {
    let mut reported: Vec<_> = open_peers(node).into_iter().collect();
    let mut held = held.to_vec();
    reported.sort();
    held.sort();
    if reported == held {
        Ok(())
    } else {
        Err(format!(
            "{:?} reports links to {reported:?} and holds connections to {held:?}",
            node.node
        ))
    }
}

fn open_peers(node: &Snapshot) -> BTreeSet<NodeId> {
    node.links
        .iter()
        .filter(|link| link.state != LinkState::Connecting)
        .map(|link| link.peer)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::ideal;

    #[test]
    fn planted_faults_are_found() {
        let check = |nodes: &[Snapshot]| check_symmetric(nodes).and(check_ring_links(nodes, 2));
        assert_eq!(check(&ideal(9, 4)), Ok(()));
        let faults: [fn(&mut Snapshot); 4] = [
            |node| node.links.retain(|link| link.peer != node.successors[0]),
            |node| node.links[0].peer = NodeId::from_bytes([9; 32]),
            |node| node.links[0].state = LinkState::Connecting,
            |node| node.links.push(node.links[0].clone()),
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            let mut nodes = ideal(9, 4);
            fault(&mut nodes[4]);
            assert!(check(&nodes).is_err(), "fault {number}");
        }
    }

    #[test]
    fn the_driver_must_hold_what_is_reported() {
        let node = &ideal(3, 4)[0];
        let mut held: Vec<_> = node.links.iter().map(|link| link.peer).collect();
        held.reverse();
        assert_eq!(check_driver(node, &held), Ok(()));
        assert!(check_driver(node, &held[1..]).is_err());
        held.push(held[0]);
        assert!(check_driver(node, &held).is_err());
    }
}
