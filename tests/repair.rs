//! The ring repairs itself, with a tracker or without.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{LONG, Random, Ring, Tracker, circlet};

/// A settled ring of `count` members that hold no spares open, in either topology.
fn lean_ring(count: usize, topology: &str) -> Ring {
    let flags = ["--ring-links", "1", "--long-links", "1"];
    let ring = Ring::start(count, &[&flags[..], &["--topology", topology]].concat());
    ring.wait_closed(LONG);
    let long = if topology == "ring" { 0 } else { count };
    ring.wait_settled(count + long);
    ring
}

#[test]
fn a_clean_leave_is_repaired() {
    for topology in ["ring", "small-world"] {
        let mut ring = lean_ring(8, topology);
        ring.tell(3, &json!({"cmd": "leave"}));
        let start = Instant::now();
        assert_eq!(ring.wait_end(3).0.code(), Some(0));
        ring.wait_closed(LONG);
        println!("{topology}: closed {:?} after a leave", start.elapsed());
    }
}

#[test]
fn a_killed_member_is_repaired() {
    for topology in ["ring", "small-world"] {
        let mut ring = lean_ring(8, topology);
        ring.kill(3);
        let closed = ring.wait_closed(LONG);
        println!("{topology}: closed {closed:?} after a SIGKILL");
    }
}

#[test]
fn three_adjacent_members_are_killed() {
    for topology in ["ring", "small-world"] {
        let mut ring = lean_ring(12, topology);
        let order = ring.order();
        for &member in &order[4..7] {
            ring.kill(member);
        }
        let closed = ring.wait_closed(LONG);
        println!("{topology}: closed {closed:?} after SIGKILL of three adjacent members");
    }
}

#[test]
fn three_adjacent_members_and_the_tracker_are_killed() {
    let mut ring = Ring::start(12, &["--ring-links", "4"]);
    ring.wait_closed(LONG);
    let order = ring.order();
    ring.tracker.kill();
    for &member in &order[4..7] {
        ring.kill(member);
    }
    let closed = ring.wait_closed(LONG);
    println!("closed {closed:?} after SIGKILL of three adjacent members and the tracker");
    let mut random = Random::new(3);
    let pairs = ring.exchange(0, 200, 32, &mut random);
    assert_all_delivered(&ring, &pairs, 0);
}

#[test]
fn a_restarted_tracker_is_whole_again_and_nothing_was_lost() {
    let mut ring = Ring::start(8, &["--ring-links", "1", "--long-links", "1"]);
    ring.wait_closed(LONG);
    wait_for_table(&ring, 8);
    // Links that nobody wants linger for some seconds after joining; from here on none may go.
    let lost_before: Vec<usize> = settled_losses(&ring);
    let mut random = Random::new(4);
    let mut pairs = ring.exchange(0, 200, 32, &mut random);

    ring.tracker.kill();
    pairs.extend(ring.exchange(200, 200, 32, &mut random));
    let address = ring.tracker.address.clone();
    let start = Instant::now();
    ring.tracker = Tracker::start_at(ring.path(), &address);
    pairs.extend(ring.exchange(400, 200, 32, &mut random));
    wait_for_table(&ring, 8);
    println!("table whole {:?} after the restart", start.elapsed());

    assert_all_delivered(&ring, &pairs, 0);
    let lost: Vec<usize> = ring.look(losses);
    assert_eq!(lost, lost_before, "links were dropped");
    ring.wait_closed(LONG);
}

/// Waits until the tracker lists `count` members that have joined.
fn wait_for_table(ring: &Ring, count: usize) {
    let start = Instant::now();
    let url = ring.tracker.url();
    let flags = [
        "topology",
        "--tracker",
        &url,
        "--room",
        "test",
        "--format",
        "json",
    ];
    loop {
        let output = circlet(ring.path(), &flags);
        let table: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let joined = table["members"].as_array().map_or(0, |members| {
            let joined = members.iter().filter(|member| member["member"] == true);
            joined.count()
        });
        if joined == count {
            return;
        }
        assert!(start.elapsed() < LONG, "{joined} of {count} are listed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn losses(views: &[support::View]) -> Vec<usize> {
    views.iter().map(|view| view.links_lost.len()).collect()
}

/// The number of links that each member has lost, once it has not grown for twice the time that
/// unwanted links are kept.
fn settled_losses(ring: &Ring) -> Vec<usize> {
    const QUIET: Duration = Duration::from_secs(10);
    let start = Instant::now();
    let mut last = (Instant::now(), ring.look(losses));
    while last.0.elapsed() < QUIET {
        assert!(start.elapsed() < 2 * LONG, "links keep coming and going");
        std::thread::sleep(Duration::from_millis(100));
        let now = ring.look(losses);
        if now != last.1 {
            last = (Instant::now(), now);
        }
    }
    last.1
}

fn assert_all_delivered(ring: &Ring, pairs: &[(usize, usize)], first: usize) {
    let views = ring.views();
    for (number, &(from, to)) in (first..).zip(pairs) {
        let text = number.to_string();
        assert_eq!(views[from].outcomes[&text], "delivered", "{number}");
        let messages = views[to].messages.iter();
        let arrived = messages.filter(|message| message.text == text).count();
        assert_eq!(arrived, 1, "{number}");
    }
}
