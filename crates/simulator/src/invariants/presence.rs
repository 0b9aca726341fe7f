//! Every member has met every other one.
//!
//! Source: DESIGN, section 3: presence is kept for up to 1,000 members. Checked once a ring has
//! been at rest for a while.

use std::collections::BTreeSet;

use circlet_core::identity::NodeId;
use circlet_core::node::Snapshot;

/// Checks that every member has met every other one by its presence.
///
/// # Errors
/// The first member whose view is another, for people.
pub fn check(nodes: &[Snapshot]) -> Result<(), String> {
    let all: BTreeSet<NodeId> = nodes.iter().map(|node| node.node).collect();
    for node in nodes {
        let mut known: BTreeSet<_> = node.members.iter().map(|(id, ..)| *id).collect();
        known.insert(node.node);
        if known != all {
            let missing: Vec<_> = all.difference(&known).collect();
            let surplus: Vec<_> = known.difference(&all).collect();
            let name = node.node.short();
            return Err(format!(
                "{name} misses {missing:?} and believes in {surplus:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::ideal;

    #[test]
    fn presence_must_name_everybody_and_nobody_else() {
        let mut nodes = ideal(5, 8);
        assert_eq!(check(&nodes), Ok(()));
        let removed = nodes[2].members.pop();
        assert!(check(&nodes).is_err());
        nodes[2].members.extend(removed);
        nodes.pop();
        assert!(check(&nodes).is_err());
    }
}
