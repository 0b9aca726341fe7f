//! The tracker's table, and the graph of links that it makes.

use std::collections::BTreeMap;

use circlet_core::Topology;
use circlet_core::identity::NodeId;
use circlet_core::wire::{LinkReport, LinkState};
use petgraph::Undirected;
use petgraph::algo::{connected_components, dijkstra};
use petgraph::graph::{Graph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Members above which the distances are not computed: that takes members x links steps.
const MAX_DISTANCES: usize = 1000;

/// A room as the tracker tells it. Fields not named here are left alone.
#[derive(Debug, Deserialize)]
pub struct Table {
    pub name: String,
    pub topology: Topology,
    /// In ring order.
    pub members: Vec<Member>,
}

/// A member as the tracker tells it.
#[derive(Debug, Deserialize)]
pub struct Member {
    pub node: NodeId,
    #[serde(deserialize_with = "position")]
    pub position: String,
    pub name: String,
    pub member: bool,
    pub successor: Option<NodeId>,
    pub predecessor: Option<NodeId>,
    pub links: Vec<LinkReport>,
}

/// A position as it is printed: a tracker may send anything.
fn position<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err(D::Error::custom("a position is 16 hexadecimal digits"))
    }
}

/// A link between two members, told by at least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether its ends are next to each other on the ring.
    pub ring: bool,
    pub state: LinkState,
    pub rtt_us: Option<u64>,
}

/// A room's members, by ring order, and the links between them.
pub struct Overlay {
    pub name: String,
    pub topology: Topology,
    pub graph: Graph<Member, Link, Undirected>,
}

/// How far members are from each other, in links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    pub greatest: usize,
    pub mean: f64,
}

impl Overlay {
    pub fn new(table: Table) -> Self {
        let count = table.members.len();
        let mut links: BTreeMap<(usize, usize), Link> = BTreeMap::new();
        let at: BTreeMap<NodeId, usize> = table
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| (member.node, index))
            .collect();
        for (from, member) in table.members.iter().enumerate() {
            for report in &member.links {
                let Some(&to) = at.get(&report.peer) else {
                    continue;
                };
                let ends = (from.min(to), from.max(to));
                let gap = ends.1 - ends.0;
                let link = Link {
                    ring: gap == 1 || gap == count - 1,
                    state: report.state,
                    rtt_us: report.rtt_us,
                };
                // Of two reports the one that says more: the other end may not know yet.
                links
                    .entry(ends)
                    .and_modify(|known| {
                        if known.state != LinkState::Open || known.rtt_us.is_none() {
                            *known = link;
                        }
                    })
                    .or_insert(link);
            }
        }
        let mut graph = Graph::with_capacity(count, links.len());
        for member in table.members {
            graph.add_node(member);
        }
        for ((a, b), link) in links {
            if a != b {
                graph.add_edge(NodeIndex::new(a), NodeIndex::new(b), link);
            }
        }
        Self {
            name: table.name,
            topology: table.topology,
            graph,
        }
    }

    /// The members in ring order.
    pub fn members(&self) -> impl Iterator<Item = (NodeIndex, &Member)> {
        self.graph
            .node_indices()
            .map(|index| (index, &self.graph[index]))
    }

    /// The other ends of a member's links, in ring order from the member on.
    pub fn links(&self, member: NodeIndex) -> Vec<(&Member, Link)> {
        let count = self.graph.node_count();
        let mut links: Vec<_> = self
            .graph
            .edges(member)
            .map(|edge| {
                let other = if edge.source() == member {
                    edge.target()
                } else {
                    edge.source()
                };
                let clockwise = (other.index() + count - member.index()) % count;
                (clockwise, &self.graph[other], *edge.weight())
            })
            .collect();
        links.sort_by_key(|&(clockwise, ..)| clockwise);
        links
            .into_iter()
            .map(|(_, member, link)| (member, link))
            .collect()
    }

    /// The member that ought to be the successor of `member`: the next one, nobody alone.
    pub fn next(&self, member: NodeIndex) -> Option<NodeId> {
        let count = self.graph.node_count();
        let next = NodeIndex::new((member.index() + 1) % count);
        (count > 1).then(|| self.graph[next].node)
    }

    /// Members whose successor or predecessor is not the one next to them.
    pub fn misplaced(&self) -> usize {
        let count = self.graph.node_count();
        self.members()
            .filter(|(index, member)| {
                let before = NodeIndex::new((index.index() + count - 1) % count);
                let before = (count > 1).then(|| self.graph[before].node);
                member.successor != self.next(*index) || member.predecessor != before
            })
            .count()
    }

    /// The hub of a star: the member that most others have an open link to, of several the one that
    /// comes first; nobody among fewer than three.
    pub fn hub(&self) -> Option<NodeIndex> {
        if !self.topology.has_hub() || self.graph.node_count() < 3 {
            return None;
        }
        let open = |member: &NodeIndex| {
            let links = self.graph.edges(*member);
            links
                .filter(|link| link.weight().state == LinkState::Open)
                .count()
        };
        self.graph.node_indices().rev().max_by_key(open)
    }

    /// Groups of members that reach each other by links.
    pub fn parts(&self) -> usize {
        connected_components(&self.graph)
    }

    /// `None` if there are too many members, or none that reach another.
    pub fn distances(&self) -> Option<Distances> {
        if self.graph.node_count() > MAX_DISTANCES {
            return None;
        }
        let (mut greatest, mut sum, mut pairs) = (0, 0, 0);
        for from in self.graph.node_indices() {
            for (to, links) in dijkstra(&self.graph, from, None, |_| 1usize) {
                if to != from {
                    greatest = greatest.max(links);
                    sum += links;
                    pairs += 1;
                }
            }
        }
        (pairs > 0).then(|| Distances {
            greatest,
            mean: sum as f64 / f64::from(pairs),
        })
    }
}
