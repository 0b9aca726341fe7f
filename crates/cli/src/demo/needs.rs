//! What a demo needs: links, and descriptors for them.

use std::ops::RangeInclusive;

use circlet_core::{Config, Topology, Wanted};

use crate::args::DemoArgs;
use crate::descriptors;
use crate::failure::Failure;

/// Links that a member of many opens, or is asked for, only to join: a guess on the safe side.
const LINKS_TO_JOIN: usize = 12;

/// Descriptors of this process for each other one: three pipes at most.
const DESCRIPTORS_OF_A_PROCESS: usize = 4;

/// Descriptors of this process that belong to nobody.
const SPARE_DESCRIPTORS: usize = 64;

/// Members of one process share its descriptors, and the ring would not close without.
pub fn check_descriptors(args: &DemoArgs) -> Result<(), Failure> {
    let Some(limit) = descriptors::raise_limit() else {
        return Ok(());
    };
    let each = if args.in_process {
        // A link takes one at each end; joining and offers of others take more for a while.
        let links = match args.topology.topology {
            Topology::Mesh => args.nodes,
            _ => 2 * args.ring_links + 3 * args.long_links + LINKS_TO_JOIN,
        };
        2 * links + 2
    } else {
        DESCRIPTORS_OF_A_PROCESS
    };
    let needed = args.nodes * each + SPARE_DESCRIPTORS;
    if needed > limit {
        return Err(Failure::failed(format!(
            "{} members need some {needed} open files, and {limit} are allowed; raise ulimit -n \
             or take fewer --nodes",
            args.nodes
        )));
    }
    Ok(())
}

/// The links that each member wants.
pub fn wanted(args: &DemoArgs) -> Wanted {
    args.topology.topology.wanted(&Config {
        ring_links: args.ring_links,
        long_links: args.long_links,
        ..Config::default()
    })
}

/// How many links there are once everybody has what it wants.
pub fn links_wanted(args: &DemoArgs) -> RangeInclusive<usize> {
    let (nodes, wanted) = (args.nodes, wanted(args));
    let each = nodes * (wanted.ring_links + wanted.long_links);
    match args.topology.topology {
        Topology::Ring | Topology::SmallWorld => 0..=each,
        Topology::Mesh => {
            let others = nodes - 1;
            let most = Config::default().most_direct_links(false);
            let least = if others <= most { others } else { 0 };
            nodes * least / 2..=nodes * others / 2
        }
        Topology::Star => nodes - 1..=each + nodes - 1,
    }
}
