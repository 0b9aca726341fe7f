//! The swarm finds bugs that are known to be there.

use circlet_core::PlantedBug;
use circlet_simulator::SimConfig;
use circlet_simulator::swarm::{Failure, Plan, execute, execute_in, generate};

/// Seeds within which a planted bug has to be found.
const SEEDS: u64 = 5;

fn execute_with(plan: &Plan, bug: PlantedBug) -> Option<Failure> {
    let mut config: SimConfig = plan.sim_config();
    config.node.planted_bug = Some(bug);
    execute_in(plan, config).err()
}

/// The bug is found by one of the invariants that are to find it, and the same seed passes
/// without the bug.
#[track_caller]
fn is_found(bug: PlantedBug, by: &[&str]) {
    let found = (1..=SEEDS).find_map(|seed| {
        let failure = execute_with(&generate(seed), bug)?;
        Some((seed, failure))
    });
    let (seed, failure) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
    println!("{bug:?}: seed {seed}: {failure}");
    let invariant = failure.violation.invariant;
    assert!(by.contains(&invariant), "{bug:?}: seed {seed}: {failure}");
    execute(&generate(seed)).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
}

#[test]
fn lists_that_are_not_cut_before_their_owner() {
    is_found(PlantedBug::UncutLists, &["ordered lists"]);
}

/// In Zave's model the predecessor of a new successor would stay dead for ever. Here lists follow
/// from tables that are told when they change, and asked for each second.
#[test]
fn a_repair_that_is_not_notified_does_no_harm() {
    for seed in 1..=SEEDS {
        assert_eq!(
            execute_with(&generate(seed), PlantedBug::UnsaidRepair),
            None
        );
    }
}

#[test]
fn a_dead_predecessor_that_stays() {
    is_found(PlantedBug::KeptDeadPredecessor, &["ideal ring"]);
}

#[test]
fn a_predecessor_known_by_hearsay() {
    is_found(PlantedBug::HearsayPredecessor, &["ideal ring"]);
}

#[test]
fn a_memory_of_messages_that_is_too_short() {
    is_found(
        PlantedBug::ShortMemory,
        &["delivered once", "order per sender"],
    );
}

#[test]
fn a_link_id_that_is_used_again() {
    is_found(PlantedBug::ReusedLinkId, &["driving contract"]);
}

#[test]
fn a_glare_that_both_sides_win() {
    let links = "links symmetric in the end";
    is_found(
        PlantedBug::GlareBothWin,
        &[links, "driving contract", "ideal ring"],
    );
}
