//! The same inputs give the same outputs, and the table holds together whatever they are.

use super::*;
use crate::ring::Member;

/// Many members, everything that draws or orders: the outputs of one run.
fn run(seed: u64) -> Vec<Output> {
    let mut bench = Bench::seeded(TrackerConfig::default(), seed);
    let nodes = in_ring_order(40);
    let clients = closed_ring(&mut bench, &nodes);
    for client in &clients {
        bench.tell(*client, TrackerMessage::Ask);
    }
    for client in &clients[..20] {
        bench
            .input(Input::ClientDown { client: *client })
            .0
            .unwrap();
    }
    bench.wait(20_000);
    bench.timeout();
    bench.trace
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let first = run(7);
    assert!(first.len() > 150, "{}", first.len());
    assert_eq!(first, run(7));
    assert_ne!(first, run(8), "the seed decides nonces and long links");
}

/// What has to hold of the table whatever happened.
fn check_table(tracker: &Tracker) {
    let snapshot = tracker.snapshot();
    let mut members = 0;
    for room in &snapshot.rooms {
        let id = RoomId::open(&room.name);
        assert!(!room.members.is_empty(), "a room without members");
        members += room.members.len();
        let places: Vec<_> = room
            .members
            .iter()
            .map(|entry| Place::of(&id, entry.node))
            .collect();
        assert!(places.is_sorted(), "not in ring order");
        let client_of = |place: &Place| tracker.registry.member(&id, *place).unwrap().client;
        for place in &places {
            match &tracker.clients.get(client_of(place)).unwrap().stage {
                Stage::Member(session) => assert_eq!((session.room, session.place), (id, *place)),
                Stage::Challenged(_) => panic!("a member that has not logged in"),
            }
        }
        for (entry, place) in room.members.iter().zip(&places) {
            let joined: Vec<_> = tracker
                .registry
                .walk(&id, *place, Direction::Clockwise, Among::Joined)
                .collect();
            let expected = room.members.iter().zip(&places);
            let mut expected: Vec<_> = expected
                .filter(|(other, at)| other.member && *at != place)
                .map(|(_, at)| *at)
                .collect();
            expected.sort_by(|a, b| place.clockwise_order(*a, *b));
            assert_eq!(joined, expected, "joined");

            let names_it = |other: &Entry| {
                other.successor == Some(entry.node)
                    || other.predecessor == Some(entry.node)
                    || other.links.iter().any(|link| link.peer == entry.node)
            };
            let named_by = room.members.iter().zip(&places);
            let mut named_by: Vec<_> = named_by
                .filter(|(other, _)| names_it(other))
                .map(|(_, at)| client_of(at))
                .collect();
            named_by.sort();
            assert_eq!(tracker.registry.naming(&id, &entry.node), named_by, "named");
        }
    }
    assert_eq!(
        (tracker.members(), tracker.rooms()),
        (members, snapshot.rooms.len())
    );
    assert!(members <= tracker.clients());
    assert_eq!(tracker.poll_timeout().is_some(), tracker.clients() > 0);
}

#[test]
fn the_table_stays_consistent_whatever_happens() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut below = |n: u64| rng.next_u64() % n;
    let mut bench = Bench::new();
    let nodes: Vec<_> = (1..=8).map(Who::new).collect();
    let mut live: Vec<(ClientId, Who)> = Vec::new();
    let (mut refused, mut most) = (0, 0);
    for _ in 0..6_000 {
        bench.wait(below(1_500));
        let any = |n: u64| nodes[n as usize].id();
        if live.is_empty() || below(8) == 0 {
            let mut who = nodes[below(8) as usize].clone();
            who.incarnation = Incarnation(below(3));
            who.room = if below(4) == 0 {
                "other".into()
            } else {
                ROOM.into()
            };
            live.push((bench.connect(), who));
        }
        let at = below(live.len() as u64) as usize;
        let (client, who) = live[at].clone();
        let is_member = bench.tracker.clients.session_mut(client).is_some();
        let message = match below(40) {
            0 => TrackerMessage::Leave,
            1 => {
                let _ = bench.input(Input::ClientDown { client });
                TrackerMessage::Pong
            }
            2 => bench.login(client, &who),
            _ if !is_member => bench.login(client, &who),
            3..=20 => announce(
                below(3) > 0,
                (below(2) == 0).then(|| any(below(8))),
                (below(2) == 0).then(|| any(below(8))),
                &[any(below(8)), any(below(8))],
            ),
            21..=30 => who.signal(any(below(8)), Signal::EndOfCandidates),
            31..=35 => TrackerMessage::Ask,
            _ => TrackerMessage::Ping,
        };
        if bench.say(client, message).0 == Err(InputError::Refused) {
            refused += 1;
        }
        if below(10) == 0 {
            bench.timeout();
        }
        live.retain(|(client, _)| bench.tracker.clients.get(*client).is_some());
        most = most.max(bench.tracker.members());
        assert_eq!(live.len(), bench.tracker.clients());
        check_table(&bench.tracker);
    }
    let counters = bench.tracker.counters();
    assert!(refused > 100 && most > 5, "{refused} {most}");
    let enough = |count| count > 10;
    assert!(
        enough(counters.superseded) && enough(counters.timed_out),
        "{counters:?}"
    );
    assert!(enough(counters.signals_relayed), "{counters:?}");
}
