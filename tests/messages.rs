//! Reliable messages arrive once and in order, forwarded, while a member is killed.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::json;
use support::{LONG, Random, Ring};

const MEMBERS: usize = 16;
const MESSAGES: usize = 10_000;
const WINDOW: usize = 256;

/// Ten thousand messages between members that live to the end. Some more are from and to the one
/// that is killed in the middle, while messages are under way. No more than `links` links are
/// open, so that most messages have to be forwarded.
fn nothing_is_lost(topology: &str, links: usize) {
    let mut ring = Ring::start(
        MEMBERS,
        &[
            "--topology",
            topology,
            "--ring-links",
            "1",
            "--long-links",
            "1",
        ],
    );
    ring.wait_settled(links);
    let mut random = Random::new(1);
    let start = Instant::now();
    let mut pairs = ring.exchange(0, MESSAGES / 2, WINDOW, &mut random);

    let forwarded = |ring: &mut Ring, member| ring.status(member)["forwarded"].as_u64().unwrap();
    let victim = (0..MEMBERS)
        .max_by_key(|&member| forwarded(&mut ring, member))
        .unwrap();
    let passed_on = forwarded(&mut ring, victim);
    assert!(passed_on > 0, "the one to be killed has forwarded nothing");

    // Under way when it is killed: nobody waits for these.
    let others: Vec<usize> = (0..MEMBERS).filter(|&member| member != victim).collect();
    for _ in 0..WINDOW {
        let (from, to) = random.pair(others.len());
        let number = pairs.len();
        pairs.push((others[from], others[to]));
        ring.send(
            others[from],
            others[to],
            &number.to_string(),
            &number.to_string(),
        );
    }
    ring.kill(victim);
    let kept = |pairs: &[(usize, usize)]| {
        let lives = |&&(from, to): &&(usize, usize)| from != victim && to != victim;
        pairs.iter().filter(lives).count()
    };
    let missing = MESSAGES - kept(&pairs);
    let more = ring.exchange(pairs.len(), missing, WINDOW, &mut random);
    pairs.extend(more);
    let repaired = ring.wait_closed(LONG);
    let elapsed = start.elapsed();
    assert_eq!(kept(&pairs), MESSAGES);

    let wanted: BTreeMap<usize, (usize, usize)> = pairs
        .iter()
        .copied()
        .enumerate()
        .filter(|&(_, (from, to))| from != victim && to != victim)
        .collect();
    ring.wait_for("all outcomes and arrivals", LONG, |views| {
        let arrived: usize = views.iter().map(|view| view.messages.len()).sum();
        arrived >= wanted.len()
            && wanted
                .iter()
                .all(|(number, &(from, _))| views[from].outcomes.contains_key(&number.to_string()))
    });
    check(&ring, &wanted, victim);
    let forwarded_share = ring.look(|views| {
        let messages = others.iter().flat_map(|&member| &views[member].messages);
        let far = messages
            .filter(|message| message.hops >= 2 && wanted.contains_key(&number(&message.text)))
            .count();
        far as f64 / wanted.len() as f64
    });
    println!(
        "{topology}: {MESSAGES} messages in {elapsed:?}, {:.0} % took two hops or more; \
         n{victim} had passed on {passed_on}; ring closed {repaired:?} after the last message",
        forwarded_share * 100.0
    );
    assert!(forwarded_share >= 0.3, "{forwarded_share}");
}

/// None of `wanted` is lost, repeated, misdelivered or out of order, and each was delivered.
fn check(ring: &Ring, wanted: &BTreeMap<usize, (usize, usize)>, victim: usize) {
    let views = ring.views();
    let mut arrived = BTreeSet::new();
    let mut latest: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (member, view) in views.iter().enumerate() {
        for message in &view.messages {
            assert_eq!(message.class, "reliable");
            let number = number(&message.text);
            let from = views
                .iter()
                .position(|view| view.node == message.from)
                .unwrap();
            assert!(arrived.insert(number), "{number} arrived twice");
            if let Some(&pair) = wanted.get(&number) {
                assert_eq!(pair, (from, member), "{number} arrived elsewhere");
            }
            if from != victim && member != victim {
                let before = latest.insert((from, member), number);
                assert!(before < Some(number), "{number} after {before:?}");
            }
        }
    }
    let lost: Vec<_> = wanted
        .keys()
        .filter(|&number| !arrived.contains(number))
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    for (number, (from, _)) in wanted {
        assert_eq!(
            views[*from].outcomes[&number.to_string()],
            "delivered",
            "{number}"
        );
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap()
}

#[test]
fn nothing_is_lost_on_a_ring() {
    nothing_is_lost("ring", MEMBERS);
}

#[test]
fn nothing_is_lost_on_a_small_world() {
    nothing_is_lost("small-world", 2 * MEMBERS);
}

#[test]
fn a_broadcast_reaches_everybody_once_and_datagrams_and_bytes_arrive() {
    let mut ring = Ring::start(9, &["--ring-links", "1", "--long-links", "1"]);
    ring.wait_closed(LONG);
    for number in 0..20 {
        let id = format!("b{number}");
        ring.tell(3, &json!({"cmd": "broadcast", "id": id, "text": id}));
    }
    ring.wait_for("the broadcasts", LONG, |views| {
        let others = views.iter().enumerate().filter(|(member, _)| *member != 3);
        let mut counts = others.map(|(_, view)| view.messages.len());
        counts.all(|count| count >= 20) && views[3].outcomes.len() == 20
    });
    let views = ring.views();
    let sent: Vec<String> = (0..20).map(|number| format!("b{number}")).collect();
    for (member, view) in views.iter().enumerate() {
        let texts: Vec<&String> = view.messages.iter().map(|message| &message.text).collect();
        if member == 3 {
            assert!(texts.is_empty(), "{texts:?}");
        } else {
            assert_eq!(
                texts,
                sent.iter().collect::<Vec<_>>(),
                "once each, in order"
            );
        }
    }

    let to = ring.node(5);
    ring.tell(
        0,
        &json!({"cmd": "send", "id": "d", "to": to, "class": "datagram", "data": "/wD+"}),
    );
    ring.wait_for("the datagram", LONG, |views| {
        views[0].outcomes.contains_key("d") && views[5].messages.len() == 21
    });
    let views = ring.views();
    let datagram = views[5].messages.last().unwrap();
    assert_eq!(views[0].outcomes["d"], "sent");
    assert_eq!(
        (datagram.class.as_str(), datagram.text.as_str()),
        ("datagram", "/wD+")
    );
}

/// Each of five says something to all and to one of them, and leaves in the same breath.
#[test]
fn what_is_said_before_leaving_arrives() {
    let mut ring = Ring::start(9, &["--ring-links", "1", "--long-links", "1"]);
    for leaver in 0..5 {
        ring.wait_closed(LONG);
        let before: Vec<_> = ring.look(|views| views.iter().map(|v| v.messages.len()).collect());
        let to = ring.node(leaver + 2);
        let mut commands = Vec::new();
        for number in 0..3 {
            let id = format!("b{number}");
            commands.push(json!({"cmd": "broadcast", "id": id, "text": id}));
        }
        commands
            .push(json!({"cmd": "send", "id": "s", "to": to, "text": "s", "class": "reliable"}));
        commands.push(json!({"cmd": "leave"}));
        let lines: Vec<_> = commands.iter().map(ToString::to_string).collect();
        ring.tell_line(leaver, lines.join("\n").as_bytes());
        let (status, stderr) = ring.wait_end(leaver);
        assert_eq!(status.code(), Some(0), "{stderr}");
        let others = leaver + 1..9;
        let wanted = |member: usize| 3 + usize::from(member == leaver + 2);
        ring.wait_for("what was said", LONG, |views| {
            let mut others = others.clone();
            others.all(|member| views[member].messages.len() - before[member] >= wanted(member))
                && views[leaver].outcomes.len() >= 4
        });
        let views = ring.views();
        for member in others {
            let heard = &views[member].messages[before[member]..];
            let texts: Vec<&str> = heard.iter().map(|message| message.text.as_str()).collect();
            let said: Vec<&str> = texts.iter().copied().filter(|text| *text != "s").collect();
            assert_eq!(said, ["b0", "b1", "b2"], "once each, in order");
            assert_eq!(texts.len(), wanted(member), "{texts:?}");
        }
        let outcomes = &views[leaver].outcomes;
        assert_eq!(outcomes["s"], "delivered", "{outcomes:?}");
        assert_eq!(outcomes["b2"], "sent", "{outcomes:?}");
    }
}

#[test]
fn with_manual_ack_a_message_is_delivered_when_it_was_acknowledged() {
    let mut ring = Ring::start(2, &["--manual-ack"]);
    ring.wait_closed(LONG);
    ring.send(0, 1, "1", "one");
    ring.send(0, 1, "2", "two");
    ring.wait_for("the messages", LONG, |views| views[1].messages.len() == 2);
    assert!(ring.views()[0].outcomes.is_empty());
    let (from, first) = (ring.node(0), ring.views()[1].messages[0].seq);
    ring.tell(1, &json!({"cmd": "ack", "from": from, "seq": first}));
    ring.wait_for("the first outcome", LONG, |views| {
        !views[0].outcomes.is_empty()
    });
    assert_eq!(ring.views()[0].outcomes.len(), 1);
    assert_eq!(ring.views()[0].outcomes["1"], "delivered");
    ring.tell(1, &json!({"cmd": "ack", "from": from, "seq": first + 1}));
    ring.wait_for("the second outcome", LONG, |views| {
        views[0]
            .outcomes
            .get("2")
            .is_some_and(|kind| kind == "delivered")
    });
}
