//! Who may enter, who is refused, and which of two sessions stays.

use super::*;

#[test]
fn no_two_challenges_are_alike() {
    let mut bench = Bench::new();
    let (a, b) = (bench.connect(), bench.connect());
    assert_ne!(bench.nonces[&a], bench.nonces[&b]);

    let mut other = Bench::seeded(TrackerConfig::default(), 2);
    let c = other.connect();
    assert_ne!(bench.nonces[&a], other.nonces[&c]);
}

#[test]
fn a_welcome_tells_the_time() {
    let mut bench = Bench::new();
    let (result, outputs) = bench.input(Input::WallClock { unix_ms: 5_000 });
    assert_eq!((result, outputs), (Ok(()), vec![]));
    bench.wait(250);
    bench.enter(&Who::new(1));
    let times: Vec<_> = bench
        .trace
        .iter()
        .filter_map(|output| match output {
            Output::Send {
                message: TrackerMessage::Welcome { time_unix_ms, .. },
                ..
            } => Some(*time_unix_ms),
            _ => None,
        })
        .collect();
    assert_eq!(times, [5_250]);
}

#[test]
fn the_first_member_is_alone_and_the_second_gets_the_first() {
    let mut bench = Bench::new();
    let (a, b) = (Who::new(1), Who::new(2));
    let (_, members, assignment) = bench.enter(&a);
    assert_eq!((members, assignment), (1, Assignment::default()));
    let told = bench.trace.len();
    let (client, members, assignment) = bench.enter(&b);
    assert_eq!(members, 2);
    assert_eq!(assignment.ring, [a.id()]);
    assert!(assignment.mesh.is_empty());
    // The first one hears nothing of the second.
    for output in &bench.trace[told..] {
        assert!(
            matches!(output, Output::Send { client: to, .. } if *to == client),
            "{output:?}"
        );
    }
    let room = bench.tracker.room(ROOM).unwrap();
    assert_eq!(
        (room.name.as_str(), room.topology),
        (ROOM, Topology::SmallWorld)
    );
    assert!(room.members.is_sorted_by_key(|m| (m.position, m.node)));
    let entry = bench.entry(b.id()).unwrap();
    assert_eq!(
        (entry.name.as_str(), entry.incarnation),
        ("node 2", b.incarnation)
    );
    assert!(!entry.member && entry.links.is_empty());
}

#[test]
fn logins_that_cannot_be_are_refused() {
    let mut bench = Bench::new();
    bench.enter(&Who::new(1));
    let change = |f: fn(&mut Who)| {
        let mut who = Who::new(2);
        f(&mut who);
        who
    };
    let cases = [
        (change(|who| who.room = String::new()), ErrorCode::Room),
        (change(|who| who.room = "a/b".into()), ErrorCode::Room),
        (change(|who| who.room = "x".repeat(65)), ErrorCode::Room),
        (
            change(|who| who.name = "x".repeat(65)),
            ErrorCode::Malformed,
        ),
        (
            change(|who| who.name = "bell\u{7}".into()),
            ErrorCode::Malformed,
        ),
        (
            change(|who| who.topology = Topology::Ring),
            ErrorCode::Topology,
        ),
    ];
    for (i, (who, code)) in cases.into_iter().enumerate() {
        assert_eq!(error_code(&bench.turned_away(&who)), code, "case {i}");
        assert_eq!(bench.tracker.counters().refused, i as u64 + 1);
    }
    assert_eq!(bench.tracker.members(), 1);
    assert_eq!(bench.tracker.clients(), 1);
}

#[test]
fn a_topology_that_differs_is_told_the_rooms() {
    let mut bench = Bench::new();
    bench.enter(&Who::new(1));
    let mut other = Who::new(2);
    other.topology = Topology::Ring;
    match bench.turned_away(&other) {
        TrackerMessage::Error { message, .. } => {
            assert!(message.contains("small-world"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    // Whoever is alone in a room may restart it with another one.
    let mut alone = Who::new(1);
    alone.incarnation.0 += 1;
    alone.topology = Topology::Ring;
    bench.enter(&alone);
    assert_eq!(bench.tracker.room(ROOM).unwrap().topology, Topology::Ring);
    bench.enter(&other);
}

#[test]
fn the_first_hub_that_is_named_is_the_rooms() {
    let mut bench = Bench::new();
    let star = |seed: u8, hub: Option<u8>| Who {
        topology: Topology::Star,
        hub: hub.map(|hub| Who::new(hub).id()),
        ..Who::new(seed)
    };
    let named = |bench: &Bench| bench.tracker.room(ROOM).unwrap().hub;
    bench.enter(&star(1, None));
    assert_eq!(named(&bench), None);
    bench.enter(&star(2, Some(9)));
    match bench.turned_away(&star(3, Some(8))) {
        TrackerMessage::Error { code, message } => {
            assert_eq!(code, ErrorCode::Topology);
            let named = alloc::format!("--hub {}", Who::new(9).id());
            assert!(message.contains(&named), "{message}");
        }
        other => panic!("{other:?}"),
    }
    // Who names none, or the same, is told.
    for hub in [None, Some(9)] {
        let client = bench.connect();
        let login = bench.login(client, &star(4, hub));
        let outputs = bench.tell(client, login);
        let told = outputs.iter().find_map(|output| match output {
            Output::Send {
                message: TrackerMessage::Welcome { hub, .. },
                ..
            } => Some(*hub),
            _ => None,
        });
        assert_eq!(told, Some(named(&bench)), "{outputs:?}");
    }
    assert_eq!(named(&bench), Some(Who::new(9).id()));
}

#[test]
fn a_signature_is_good_for_its_key_and_connection_only() {
    let mut bench = Bench::new();
    let (one, two) = (bench.connect(), bench.connect());
    let replayed = bench.login(one, &Who::new(1));
    assert_eq!(
        error_code(&bench.refusal(two, replayed.clone())),
        ErrorCode::Login
    );
    let mut stolen = replayed.clone();
    if let TrackerMessage::Login { node, .. } = &mut stolen {
        *node = Who::new(2).id();
    }
    assert_eq!(error_code(&bench.refusal(one, stolen)), ErrorCode::Login);
    assert_eq!(bench.tracker.counters().refused, 2);
    assert_eq!(bench.tracker.members(), 0);
    // Both are gone.
    assert_eq!(bench.say(one, replayed), (Err(InputError::Stale), vec![]));
}

#[test]
fn nothing_but_a_login_comes_first_and_only_once() {
    let mut bench = Bench::new();
    for message in [
        TrackerMessage::Ping,
        TrackerMessage::Ask,
        TrackerMessage::Leave,
        announce(true, None, None, &[]),
    ] {
        let client = bench.connect();
        assert_eq!(
            error_code(&bench.refusal(client, message)),
            ErrorCode::Forbidden
        );
    }
    let who = Who::new(1);
    let (client, ..) = bench.enter(&who);
    let again = bench.login(client, &who);
    assert_eq!(
        error_code(&bench.refusal(client, again)),
        ErrorCode::Forbidden
    );
    assert_eq!(bench.tracker.members(), 0);
}

#[test]
fn what_only_the_tracker_says_is_forbidden_to_clients() {
    let node = Who::new(9).id();
    for message in [
        TrackerMessage::Gone { node },
        TrackerMessage::Superseded {
            incarnation: Incarnation(1),
        },
        TrackerMessage::Unreachable {
            to: node,
            attempt: 1,
        },
        TrackerMessage::Assigned {
            members: 1,
            assignment: Assignment::default(),
        },
    ] {
        let mut bench = Bench::new();
        let (client, ..) = bench.enter(&Who::new(1));
        assert_eq!(
            error_code(&bench.refusal(client, message)),
            ErrorCode::Forbidden
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_in_few_words() {
    let mut bench = Bench::new();
    let (client, ..) = bench.enter(&Who::new(1));
    let (result, outputs) = bench.input(Input::Refused {
        client,
        code: ErrorCode::Malformed,
        error: "ö".repeat(2_000),
    });
    assert_eq!(result, Err(InputError::Refused));
    let told = last_words(client, &outputs);
    assert_eq!(error_code(&told), ErrorCode::Malformed);
    // What the other side reads is within its limits.
    assert_eq!(TrackerMessage::from_json(&told.to_json()), Ok(told));
    assert_eq!(bench.tracker.members(), 0);
}

#[test]
fn a_full_tracker_says_so() {
    let config = TrackerConfig {
        max_clients: 4,
        max_rooms: 2,
        max_members: 2,
        ..TrackerConfig::default()
    };
    let mut bench = Bench::with(config);
    bench.enter(&Who::new(1));
    bench.enter(&Who::new(2));
    assert_eq!(
        error_code(&bench.turned_away(&Who::new(3))),
        ErrorCode::Full
    );
    // A reconnect takes nobody's place.
    bench.enter(&Who::new(2));

    let elsewhere = |seed, room: &str| Who {
        room: room.into(),
        ..Who::new(seed)
    };
    bench.enter(&elsewhere(4, "second"));
    assert_eq!(
        error_code(&bench.turned_away(&elsewhere(5, "third"))),
        ErrorCode::Full
    );
    assert_eq!(bench.tracker.rooms(), 2);

    bench.connect();
    let client = ClientId(1_000);
    let (result, outputs) = bench.input(Input::ClientUp { client });
    assert_eq!(result, Err(InputError::Refused));
    assert_eq!(error_code(&last_words(client, &outputs)), ErrorCode::Full);
    assert_eq!(bench.tracker.clients(), 4);
    assert_eq!(bench.tracker.counters().refused, 3);
}

#[test]
fn the_greater_incarnation_wins() {
    let mut bench = Bench::new();
    let old = Who::new(1);
    let newer = Who {
        incarnation: Incarnation(200),
        ..old.clone()
    };
    let (first, ..) = bench.enter(&old);
    bench.tell(first, announce(true, None, None, &[]));

    let second = bench.connect();
    let login = bench.login(second, &newer);
    let outputs = bench.tell(second, login);
    assert_eq!(
        outputs[..2],
        [
            Output::Send {
                client: first,
                message: TrackerMessage::Superseded {
                    incarnation: Incarnation(200)
                },
            },
            Output::Close { client: first },
        ]
    );
    let entry = bench.entry(old.id()).unwrap();
    assert_eq!((entry.incarnation, entry.member), (Incarnation(200), false));

    // The older one is told who won, and nothing changes.
    let told = bench.turned_away(&old);
    assert_eq!(
        told,
        TrackerMessage::Superseded {
            incarnation: Incarnation(200)
        }
    );
    assert_eq!(bench.entry(old.id()), Some(entry));
    let counters = bench.tracker.counters();
    assert_eq!(
        (counters.superseded, counters.refused, counters.logins),
        (2, 0, 2)
    );
    // The close of the loser's connection is no loss of the winner.
    assert_eq!(
        bench.input(Input::ClientDown { client: first }),
        (Err(InputError::Stale), vec![])
    );
    assert_eq!(bench.tracker.members(), 1);
}

#[test]
fn a_reconnect_keeps_what_was_said() {
    let mut bench = Bench::new();
    let (who, peer) = (Who::new(1), Who::new(2));
    let (first, ..) = bench.enter(&who);
    let (other, ..) = bench.enter(&peer);
    bench.tell(
        first,
        announce(true, Some(peer.id()), Some(peer.id()), &[peer.id()]),
    );
    let before = bench.entry(who.id()).unwrap();

    bench.wait(1_000);
    let again = bench.connect();
    let login = bench.login(again, &who);
    let outputs = bench.tell(again, login);
    assert_eq!(outputs[0], Output::Close { client: first });
    assert!(matches!(outputs[1], Output::Send { client, .. } if client == again));
    assert_eq!(outputs.len(), 2);
    assert_eq!(bench.tracker.counters().superseded, 0);
    let after = bench.entry(who.id()).unwrap();
    assert_eq!(
        after,
        Entry {
            heard: bench.now,
            ..before
        }
    );

    // Hints about its peers go to the new connection.
    let (_, outputs) = bench.input(Input::ClientDown { client: other });
    assert_eq!(
        outputs,
        [Output::Send {
            client: again,
            message: TrackerMessage::Gone { node: peer.id() },
        }]
    );
}
