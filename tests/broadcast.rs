//! Broadcasts reach everybody once and in order, whoever sends, while members are killed.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{LONG, Ring, View, circlet, lines};

const MEMBERS: usize = 16;

/// As long as the messages that the benchmark sends.
const SIZE: usize = 200;

fn text(sender: usize, number: usize) -> String {
    format!("{sender} {number} {:>width$}", "", width = SIZE - 10)
}

fn broadcast(ring: &mut Ring, sender: usize, number: usize) {
    let (id, text) = (number.to_string(), text(sender, number));
    ring.tell(sender, &json!({"cmd": "broadcast", "id": id, "text": text}));
}

/// The broadcasts of one sender that a member was given.
fn from<'a>(view: &'a View, sender: &'a str) -> impl Iterator<Item = &'a str> {
    let messages = view.messages.iter();
    let its =
        messages.filter(move |message| message.class == "broadcast" && message.from == sender);
    its.map(|message| message.text.as_str())
}

/// Waits until each of `members` has as many messages as each of `senders` has sent, and checks
/// that they are those, in order.
fn all_arrive(ring: &Ring, members: &[usize], senders: &[usize], count: usize) {
    let nodes: Vec<String> = senders.iter().map(|&sender| ring.node(sender)).collect();
    let pairs = |member: usize| {
        let senders = senders.iter().zip(&nodes);
        senders.filter(move |&(&sender, _)| sender != member)
    };
    let has_all = |views: &[View]| {
        members.iter().all(|&member| {
            pairs(member).all(|(_, node)| from(&views[member], node).count() >= count)
        })
    };
    // There are so many messages that counting them at each takes longer than the ring does.
    let start = Instant::now();
    while !ring.look(has_all) && start.elapsed() < LONG {
        thread::sleep(Duration::from_millis(20));
    }
    ring.wait_for("all broadcasts", Duration::ZERO, has_all);
    let views = ring.views();
    for &member in members {
        for (&sender, node) in pairs(member) {
            let wanted = (0..count).map(|number| text(sender, number));
            assert!(
                from(&views[member], node).eq(wanted),
                "n{member} has not got what n{sender} has sent, once and in order"
            );
        }
    }
}

/// With few links, so that most of it is passed on, by several members.
#[test]
fn all_send_at_once() {
    const EACH: usize = 100;
    for topology in ["ring", "small-world"] {
        let flags = ["--ring-links", "1", "--long-links", "1"];
        let mut ring = Ring::start(MEMBERS, &[&flags[..], &["--topology", topology]].concat());
        ring.wait_closed(LONG);
        let start = Instant::now();
        for number in 0..EACH {
            for sender in 0..MEMBERS {
                broadcast(&mut ring, sender, number);
            }
        }
        let all: Vec<usize> = (0..MEMBERS).collect();
        all_arrive(&ring, &all, &all, EACH);
        println!("{topology}: {} in {:?}", EACH * MEMBERS, start.elapsed());
    }
}

/// Five of sixteen are killed, one of which sends too, while one that lives goes on.
#[test]
fn a_third_is_killed_in_the_middle() {
    const COUNT: usize = 1500;
    const PAUSE: Duration = Duration::from_millis(2);
    const KILLED: usize = 5;
    for topology in ["small-world", "mesh"] {
        let mut ring = Ring::start(MEMBERS, &["--topology", topology]);
        ring.wait_closed(LONG);
        let (sender, dying) = (0, MEMBERS - 1);
        let start = Instant::now();
        for number in 0..COUNT {
            let due = PAUSE * u32::try_from(number).unwrap();
            thread::sleep(due.saturating_sub(start.elapsed()));
            broadcast(&mut ring, sender, number);
            if number < COUNT / 2 {
                broadcast(&mut ring, dying, number);
            } else if number == COUNT / 2 {
                for member in MEMBERS - KILLED..MEMBERS {
                    ring.kill(member);
                }
            }
        }
        let living: Vec<usize> = (0..MEMBERS - KILLED).collect();
        all_arrive(&ring, &living, &[sender], COUNT);
        println!("{topology}: {COUNT} in {:?}", start.elapsed());
        // Of the dead one as much as has come: nothing twice, nothing left out.
        let node = ring.node(dying);
        let views = ring.views();
        for &member in &living {
            let came = from(&views[member], &node);
            let wanted = (0..).map(|number| text(dying, number));
            for (came, wanted) in came.zip(wanted) {
                assert_eq!(came, wanted, "n{member}");
            }
        }
        ring.wait_closed(LONG);
    }
}

#[test]
fn what_broadcasts_take_is_measured() {
    let directory = tempfile::TempDir::with_prefix("circlet-test-").unwrap();
    let arguments = [
        "bench",
        "broadcast",
        "--nodes=5",
        "--messages=300",
        "--from-all",
        "--kill=20%",
        "--json",
    ];
    let output = circlet(directory.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = lines(&output.stdout);
    assert_eq!(text.len(), 1, "{text:?}");
    let figures: Value = serde_json::from_str(&text[0]).unwrap();
    let is = |name: &str, value: Value| assert_eq!(figures[name], value, "{name}: {figures}");
    is("bench", "broadcast".into());
    is("nodes", 5.into());
    is("senders", 5.into());
    is("killed", 1.into());
    is("messages", 240.into());
    is("expected", (240 * 3).into());
    is("delivered", (240 * 3).into());
    for name in ["lost", "duplicated", "out_of_order"] {
        is(name, 0.into());
    }
    for name in [
        "messages_per_s",
        "latency_ms_p50",
        "latency_ms_p99",
        "longest_gap_ms",
    ] {
        assert!(figures[name].as_f64().unwrap() > 0.0, "{name}: {figures}");
    }
}
