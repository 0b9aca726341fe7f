//! Nobody has more links than allowed.
//!
//! Source: DESIGN, section 4: a native node has at most [`Config::max_links`] in all (the hub of a
//! star [`Config::max_hub_links`]), k own long links, and at most 2k accepted from others. Checked at any time, attempts included.

use circlet_core::Config;
use circlet_core::Topology;
use circlet_core::node::Snapshot;

/// The name of the invariant.
pub const NAME: &str = "degree caps";

/// Checks the numbers of a node's links.
///
/// # Errors
/// How many it has, for people.
pub fn check(node: &Snapshot, topology: Topology, config: &Config) -> Result<(), String> {
    let own = topology.wanted(config).long_links;
    let accepted = config.accepted_long_links();
    // In a star a node may be the hub, or have been until a moment ago.
    let links = config.most_links(topology.has_hub());
    for (what, count, most) in [
        ("links", node.links.len(), links),
        ("own long links", node.long_links.len(), own),
        ("accepted long links", node.accepted_long_links, accepted),
    ] {
        if count > most {
            return Err(format!("{:?} has {count} {what} of {most}", node.node));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::ideal;

    #[test]
    fn too_many_links_of_each_sort_are_found() {
        let config = Config {
            max_links: 8,
            long_links: 1,
            ..Config::default()
        };
        let check = |node: &Snapshot| check(node, Topology::SmallWorld, &config);
        let node = &ideal(9, 4)[0];
        assert_eq!(check(node), Ok(()));
        let faults: [fn(&mut Snapshot); 3] = [
            |node| node.links.push(node.links[0].clone()),
            |node| node.long_links = vec![node.node; 2],
            |node| node.accepted_long_links = 3,
        ];
        for fault in faults {
            let mut node = node.clone();
            fault(&mut node);
            assert!(check(&node).is_err());
        }
    }
}
