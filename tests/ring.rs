//! Rings of processes close, and a message goes once round.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use serde_json::json;
use support::{LONG, Ring, View};

/// Around the length of the successor list, where the rules of small rings end (DESIGN, section
/// 5), and beyond.
const SIZES: [usize; 8] = [1, 2, 3, 8, 9, 10, 16, 32];

fn closes_and_circulates(topology: &str) {
    for size in SIZES {
        let mut ring = Ring::start(
            size,
            &[
                "--topology",
                topology,
                "--ring-links",
                "1",
                "--long-links",
                "1",
            ],
        );
        let closed = ring.wait_closed_since_start(LONG);
        println!("{topology}, {size} members: closed {closed:?} after the last start");

        let order = ring.order();
        let origin = order[0];
        ring.tell(
            origin,
            &json!({"cmd": "circulate", "id": "round", "text": "once round"}),
        );
        let took = ring.wait_for("the message to come back", LONG, |views| {
            views[origin].circulated.contains_key("round")
        });
        println!("{topology}, {size} members: once round in {took:?}");
        let views = ring.views();
        let others: Vec<&str> = order[1..]
            .iter()
            .map(|&member| views[member].node.as_str())
            .collect();
        let circulated = &views[origin].circulated["round"];
        assert_eq!(circulated["seen"], json!(others), "in ring order");
        assert_eq!(circulated["complete"], true);
        let circulated_to = |view: &View| {
            let messages = view.messages.iter();
            messages
                .filter(|message| message.class == "circulate")
                .count()
        };
        ring.wait_for("every member to tell of it", LONG, |views| {
            order[1..]
                .iter()
                .all(|&member| circulated_to(&views[member]) > 0)
        });
        for (member, view) in ring.views().iter().enumerate() {
            assert_eq!(
                circulated_to(view),
                usize::from(member != origin),
                "n{member}"
            );
        }
    }
}

#[test]
fn ring_closes_and_circulates() {
    closes_and_circulates("ring");
}

#[test]
fn small_world_closes_and_circulates() {
    closes_and_circulates("small-world");
}

#[test]
fn another_topology_is_refused_and_named() {
    let mut ring = Ring::start(2, &["--topology", "ring"]);
    ring.wait_closed(LONG);
    ring.flags = vec!["--topology".to_owned(), "small-world".to_owned()];
    let other = ring.add();
    let (status, stderr) = ring.wait_end(other);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("ring"), "{stderr}");
    assert_eq!(ring.status(0)["members"], 2);
}
