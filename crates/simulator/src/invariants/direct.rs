//! Direct links are there in the end: everybody's to everybody in a mesh, everybody's to the same
//! hub in a star.
//!
//! Source: DESIGN, section 5 (topologies). Checked once faults are over and repaired, as far as two
//! members can have a link and a node has room for so many.

use std::collections::BTreeSet;

use circlet_core::identity::NodeId;
use circlet_core::node::Snapshot;
use circlet_core::wire::LinkState;
use circlet_core::{Config, Topology};

/// The name of the invariant.
pub const NAME: &str = "direct links in the end";

/// Checks the direct links of all nodes; `can_link` says of two whether they can have one.
///
/// # Errors
/// The first link that is missing, or hub that is another one, for people.
pub fn check(
    nodes: &[Snapshot],
    topology: Topology,
    config: &Config,
    can_link: impl Fn(NodeId, NodeId) -> bool,
) -> Result<(), String> {
    let others = nodes.len().saturating_sub(1);
    match topology {
        Topology::Ring | Topology::SmallWorld => Ok(()),
        Topology::Mesh if others > config.most_direct_links(false) => Ok(()),
        Topology::Mesh => nodes
            .iter()
            .try_for_each(|node| check_links(node, nodes, &can_link)),
        Topology::Star => {
            let hub = nodes.iter().find(|node| node.hub == Some(node.node));
            let hub = hub.map(|hub| hub.node);
            if let Some(other) = nodes.iter().find(|node| node.hub != hub) {
                let (node, other) = (other.node, other.hub);
                return Err(format!("{node:?} takes {other:?} for the hub, not {hub:?}"));
            }
            let hub = nodes.iter().find(|node| Some(node.node) == hub);
            if others > config.most_direct_links(true) {
                return Ok(());
            }
            hub.map_or(Ok(()), |hub| check_links(hub, nodes, &can_link))
        }
    }
}

/// Checks that a node has an open link to each of the others that it can have one with.
fn check_links(
    node: &Snapshot,
    nodes: &[Snapshot],
    can_link: &impl Fn(NodeId, NodeId) -> bool,
) -> Result<(), String> {
    let open = node.links.iter();
    let open = open.filter(|link| link.state != LinkState::Connecting);
    let open: BTreeSet<_> = open.map(|link| link.peer).collect();
    let me = node.node;
    let others = nodes.iter().map(|other| other.node);
    let mut missing = others.filter(|other| *other != me && !open.contains(other));
    match missing.find(|other| can_link(me, *other)) {
        Some(other) => Err(format!("{me:?} has no direct link to {other:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::ideal;

    fn check_in(nodes: &[Snapshot], topology: Topology) -> Result<(), String> {
        check(nodes, topology, &Config::default(), |_, _| true)
    }

    #[test]
    fn a_missing_link_of_a_mesh_is_found() {
        let whole = ideal(5, 8);
        assert_eq!(check_in(&whole, Topology::Mesh), Ok(()));
        let mut nodes = whole.clone();
        nodes[2].links.pop();
        assert!(check_in(&nodes, Topology::Mesh).is_err());
        assert_eq!(check_in(&nodes, Topology::SmallWorld), Ok(()));
        let apart = check(&nodes, Topology::Mesh, &Config::default(), |_, _| false);
        assert_eq!(apart, Ok(()));
    }

    #[test]
    fn two_hubs_and_a_missing_link_of_a_star_are_found() {
        let mut nodes = ideal(5, 8);
        let hub = nodes[3].node;
        for node in &mut nodes {
            node.hub = Some(hub);
        }
        assert_eq!(check_in(&nodes, Topology::Star), Ok(()));
        let mut lacking = nodes.clone();
        lacking[3].links.pop();
        assert!(check_in(&lacking, Topology::Star).is_err());
        nodes[1].hub = Some(nodes[1].node);
        assert!(check_in(&nodes, Topology::Star).is_err());
    }
}
