//! Mesh, star and ring of real processes: everybody reaches everybody, and again when the hub dies.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{LONG, Ring, View};

/// A room whose links are as its topology has them.
fn room_of(size: usize, topology: &str) -> Ring {
    let ring = Ring::start(size, &["--topology", topology]);
    let closed = ring.wait_closed_since_start(LONG);
    let whole = ring.wait_for("the links", LONG, |views| is_whole(views, topology));
    println!("{topology} of {size}: closed {closed:?} after the last start, whole {whole:?} later");
    ring
}

/// Whether every living member has the links that it wants, and in a star everybody the same hub.
fn is_whole(views: &[View], topology: &str) -> bool {
    let living: Vec<&View> = views.iter().filter(|view| view.lives).collect();
    let linked = |view: &View, other: &View| {
        view.node == other.node || view.links_open.contains(&other.node)
    };
    match topology {
        "mesh" => living
            .iter()
            .all(|view| living.iter().all(|other| linked(view, other))),
        "star" => living.iter().any(|hub| {
            let hub_of = |view: &View| view.hub.as_ref() == Some(&hub.node);
            living.iter().all(|view| hub_of(view) && linked(hub, view))
        }),
        _ => true,
    }
}

/// Who is the hub.
fn hub(ring: &Ring) -> usize {
    ring.look(|views| {
        let hub = views
            .iter()
            .find_map(|view| view.hub.clone().filter(|_| view.lives));
        let hub = hub.expect("there is a hub");
        views.iter().position(|view| view.node == hub).unwrap()
    })
}

/// A name for what is sent together.
fn next_round() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("round {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Each living member sends a reliable message to each other one; returns how long it took until
/// all were delivered, and how many crossed how many links.
fn all_reach_all(ring: &mut Ring) -> (Duration, BTreeMap<u64, usize>) {
    let round = next_round();
    let living = ring.order();
    let start = Instant::now();
    for &from in &living {
        for &to in living.iter().filter(|&&to| to != from) {
            let id = format!("{round} {from} {to}");
            ring.send(from, to, &id, &id);
        }
    }
    let pairs = living.len() * (living.len() - 1);
    let of_round = |text: &String| text.starts_with(&format!("{round} "));
    ring.wait_for("all outcomes and messages", LONG, |views| {
        let outcomes = views
            .iter()
            .map(|view| view.outcomes.keys().filter(|id| of_round(id)).count());
        // What has been delivered may not have been read by this test yet.
        let messages = views
            .iter()
            .map(|view| view.messages.iter().filter(|it| of_round(&it.text)).count());
        outcomes.sum::<usize>() >= pairs && messages.sum::<usize>() >= pairs
    });
    let took = start.elapsed();
    let mut hops = BTreeMap::new();
    for (to, view) in ring.views().iter().enumerate() {
        for (id, outcome) in view.outcomes.iter().filter(|(id, _)| of_round(id)) {
            assert_eq!(outcome, "delivered", "{id}");
        }
        let got: Vec<_> = view
            .messages
            .iter()
            .filter(|message| of_round(&message.text))
            .collect();
        let expected = if living.contains(&to) {
            living.len() - 1
        } else {
            0
        };
        assert_eq!(got.len(), expected, "n{to} got {got:?}");
        for message in got {
            *hops.entry(message.hops).or_default() += 1;
        }
    }
    (took, hops)
}

/// As [`all_reach_all`], again until no message crosses more than `most` links: right after a link
/// has opened not all have been told of it. Gives what the last round took.
fn all_reach_all_by(ring: &mut Ring, most: u64) -> (Duration, BTreeMap<u64, usize>) {
    let start = Instant::now();
    loop {
        let (took, hops) = all_reach_all(ring);
        if hops.keys().all(|crossed| *crossed <= most) {
            return (took, hops);
        }
        assert!(start.elapsed() < LONG, "more than {most} links: {hops:?}");
    }
}

/// Each living member broadcasts once, and everybody else gets it once. Gives how many were passed
/// on.
fn all_hear_all(ring: &mut Ring) -> u64 {
    let round = next_round();
    let before = forwarded(ring);
    let living = ring.order();
    for &from in &living {
        let text = format!("{round} {from}");
        ring.tell(from, &json!({"cmd": "broadcast", "id": text, "text": text}));
    }
    let of_round = format!("{round} ");
    let heard = |view: &View| {
        let messages = view.messages.iter();
        messages
            .filter(|message| message.text.starts_with(&of_round))
            .count()
    };
    let others = living.len() - 1;
    ring.wait_for("all broadcasts", LONG, |views| {
        living.iter().all(|&member| heard(&views[member]) >= others)
    });
    let passed_on = forwarded(ring) - before;
    ring.look(|views| {
        for &member in &living {
            assert_eq!(heard(&views[member]), others, "n{member}");
        }
    });
    passed_on
}

/// How many messages the living members have passed on.
fn forwarded(ring: &mut Ring) -> u64 {
    let living = ring.order().into_iter();
    living
        .map(|member| ring.status(member)["forwarded"].as_u64().unwrap())
        .sum()
}

#[test]
fn meshes_reach_everybody_by_one_link() {
    for size in [8, 16, 32] {
        let mut ring = room_of(size, "mesh");
        let (took, hops) = all_reach_all_by(&mut ring, 1);
        println!("mesh of {size}: all reached all in {took:?}, hops {hops:?}");
        // Once all have been told of all links nobody passes anything on.
        let start = Instant::now();
        while all_hear_all(&mut ring) > 0 {
            assert!(start.elapsed() < LONG, "broadcasts are passed on");
        }
    }
}

#[test]
fn stars_reach_everybody_and_again_when_the_hub_dies() {
    for size in [8, 16, 32] {
        let mut ring = room_of(size, "star");
        let (took, hops) = all_reach_all_by(&mut ring, 2);
        println!("star of {size}: all reached all in {took:?}, hops {hops:?}");
        all_hear_all(&mut ring);

        let first = hub(&ring);
        let killed = Instant::now();
        ring.kill(first);
        // Sent while the hub is dead and nobody knows.
        all_reach_all(&mut ring);
        let reached = killed.elapsed();
        ring.wait_for("another hub", LONG, |views| is_whole(views, "star"));
        let whole = killed.elapsed();
        println!(
            "star of {size}: all reached all again {reached:?} after SIGKILL of the hub, another hub {whole:?} after it"
        );
        assert_ne!(hub(&ring), first);
        all_reach_all_by(&mut ring, 2);
        all_hear_all(&mut ring);
    }
}

#[test]
fn rings_reach_everybody() {
    for size in [8, 16, 32] {
        let mut ring = room_of(size, "ring");
        let (took, hops) = all_reach_all(&mut ring);
        println!("ring of {size}: all reached all in {took:?}, hops {hops:?}");
        all_hear_all(&mut ring);
    }
}

#[test]
fn a_named_hub_is_told_and_another_one_refused() {
    let mut ring = Ring::start(2, &["--topology", "star"]);
    ring.wait_closed(LONG);
    // The later one would not be chosen by itself.
    let last = ring.node(1);
    let named = if hub_is(&ring, &last) {
        ring.node(0)
    } else {
        last
    };
    ring.flags.extend(["--hub".to_owned(), named.clone()]);
    ring.add();
    ring.wait_for("the named hub", LONG, |views| {
        let hub = |view: &View| view.hub.as_ref() == Some(&named);
        views.iter().all(hub) && is_whole(views, "star")
    });
    ring.flags = ["--topology", "star", "--hub", &ring.node(2)]
        .map(str::to_owned)
        .into();
    let other = ring.add();
    let (status, stderr) = ring.wait_end(other);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&format!("--hub {named}")), "{stderr}");
    all_reach_all_by(&mut ring, 2);
}

fn hub_is(ring: &Ring, node: &str) -> bool {
    ring.wait_for("a hub", LONG, |views| is_whole(views, "star"));
    ring.look(|views| views[0].hub.as_deref() == Some(node))
}
