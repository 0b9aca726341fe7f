//! Losses, leaves, silence.

use super::*;

#[test]
fn those_who_named_a_lost_member_are_told() {
    let mut bench = Bench::new();
    let lost = Who::new(1);
    let id = lost.id();
    let stranger = Who::new(9).id();
    let (down, ..) = bench.enter(&lost);
    let by_successor = bench.enter(&Who::new(2)).0;
    let by_predecessor = bench.enter(&Who::new(3)).0;
    let by_link = bench.enter(&Who::new(4)).0;
    let no_longer = bench.enter(&Who::new(5)).0;
    let never = bench.enter(&Who::new(6)).0;
    bench.tell(by_successor, announce(true, Some(id), None, &[]));
    bench.tell(by_predecessor, announce(true, None, Some(id), &[]));
    bench.tell(by_link, announce(false, None, None, &[stranger, id]));
    bench.tell(no_longer, announce(false, Some(id), Some(id), &[id]));
    bench.tell(
        no_longer,
        announce(false, Some(stranger), Some(stranger), &[]),
    );
    bench.tell(never, announce(true, Some(stranger), None, &[stranger]));

    let (result, outputs) = bench.input(Input::ClientDown { client: down });
    assert_eq!(result, Ok(()));
    let gone = |client| Output::Send {
        client,
        message: TrackerMessage::Gone { node: id },
    };
    assert_eq!(
        outputs,
        [gone(by_successor), gone(by_predecessor), gone(by_link)]
    );
    assert_eq!(bench.entry(id), None);
    assert_eq!(
        bench.input(Input::ClientDown { client: down }),
        (Err(InputError::Stale), vec![])
    );
}

#[test]
fn a_leave_takes_effect_at_once_and_ends_the_connection() {
    let mut bench = Bench::new();
    let (a, b) = (Who::new(1), Who::new(2));
    let (leaver, ..) = bench.enter(&a);
    let (other, ..) = bench.enter(&b);
    bench.tell(other, announce(true, Some(a.id()), Some(a.id()), &[a.id()]));
    let outputs = bench.tell(leaver, TrackerMessage::Leave);
    assert_eq!(
        outputs,
        [
            Output::Send {
                client: other,
                message: TrackerMessage::Gone { node: a.id() },
            },
            Output::Close { client: leaver },
        ]
    );
    assert_eq!(bench.tracker.members(), 1);
    assert_eq!(
        bench.say(leaver, TrackerMessage::Ping),
        (Err(InputError::Stale), vec![])
    );
    // Rooms vanish with their last member.
    bench.tell(other, TrackerMessage::Leave);
    assert_eq!((bench.tracker.rooms(), bench.tracker.clients()), (0, 0));
    assert_eq!(bench.tracker.room(ROOM), None);
}

#[test]
fn a_ping_is_answered() {
    let mut bench = Bench::new();
    let (client, ..) = bench.enter(&Who::new(1));
    let outputs = bench.tell(client, TrackerMessage::Ping);
    assert_eq!(
        outputs,
        [Output::Send {
            client,
            message: TrackerMessage::Pong
        }]
    );
    assert_eq!(bench.tell(client, TrackerMessage::Pong), []);
}

#[test]
fn a_silent_member_is_pinged_then_closed_like_a_lost_one() {
    let mut bench = Bench::new();
    let (quiet, watcher) = (Who::new(1), Who::new(2));
    let (client, ..) = bench.enter(&quiet);
    let (other, ..) = bench.enter(&watcher);
    bench.tell(other, announce(true, Some(quiet.id()), None, &[]));
    let ping = |client| Output::Send {
        client,
        message: TrackerMessage::Ping,
    };

    bench.wait(4_499);
    assert_eq!(bench.timeout(), []);
    bench.wait(1);
    assert_eq!(
        bench.tracker.poll_timeout(),
        Some((bench.now, TimerKind::Silence))
    );
    assert_eq!(bench.timeout(), [ping(client), ping(other)]);
    assert_eq!(bench.timeout(), []);
    bench.tell(other, TrackerMessage::Pong);
    bench.wait(4_499);
    assert_eq!(bench.timeout(), []);
    bench.wait(1);
    let outputs = bench.timeout();
    assert_eq!(
        error_code(&last_words(client, &outputs[..3])),
        ErrorCode::Timeout
    );
    assert_eq!(
        outputs[1..],
        [
            Output::Send {
                client: other,
                message: TrackerMessage::Gone { node: quiet.id() },
            },
            Output::Close { client },
            ping(other),
        ]
    );
    assert_eq!(bench.tracker.counters().timed_out, 1);
    assert_eq!(bench.entry(quiet.id()), None);
    assert!(bench.entry(watcher.id()).is_some());
}

#[test]
fn one_who_does_not_log_in_is_closed() {
    let mut bench = Bench::new();
    let client = bench.connect();
    bench.wait(3_999);
    assert_eq!(bench.timeout(), []);
    bench.wait(1);
    let told = last_words(client, &bench.timeout());
    assert_eq!(error_code(&told), ErrorCode::Timeout);
    assert_eq!(bench.tracker.counters().login_timed_out, 1);
    assert_eq!(bench.tracker.clients(), 0);
    assert_eq!(bench.tracker.poll_timeout(), None);
}

#[test]
fn one_who_says_too_much_is_refused_wherever_it_comes_from() {
    let mut bench = Bench::with(TrackerConfig {
        identity_rate: Rate::new(10, 20),
        ..TrackerConfig::default()
    });
    let (loud, other) = (Who::new(1), Who::new(2));
    let (first, ..) = bench.enter(&loud);
    let (calm, ..) = bench.enter(&other);
    for _ in 0..10 {
        bench.tell(first, TrackerMessage::Ping);
    }
    // A description of 36 KiB: as much as ten messages.
    bench.tell(
        first,
        loud.signal(
            other.id(),
            Signal::Answer {
                sdp: "x".repeat(9 * 4096),
            },
        ),
    );
    let (result, outputs) = bench.say(first, TrackerMessage::Ping);
    assert_eq!(result, Err(InputError::Refused));
    let told = last_words(first, &outputs);
    assert_eq!(error_code(&told), ErrorCode::Limited);

    // Coming back gains nothing, waiting does.
    let (again, ..) = bench.enter(&loud);
    let (result, outputs) = bench.say(again, TrackerMessage::Ping);
    assert_eq!(result, Err(InputError::Refused));
    let told = last_words(again, &outputs);
    assert_eq!(error_code(&told), ErrorCode::Limited);
    bench.wait(100);
    let (later, ..) = bench.enter(&loud);
    bench.tell(later, TrackerMessage::Ping);
    bench.tell(calm, TrackerMessage::Ping);
    let counters = bench.tracker.counters();
    assert_eq!((counters.limited, counters.refused), (2, 2));
}

#[test]
fn a_snapshot_has_the_rooms_by_name() {
    let mut bench = Bench::new();
    for (seed, room) in [(1, "b"), (2, "c"), (3, "a"), (4, "b")] {
        bench.enter(&Who {
            room: room.into(),
            ..Who::new(seed)
        });
    }
    let snapshot = bench.tracker.snapshot();
    let rooms: Vec<_> = snapshot
        .rooms
        .iter()
        .map(|room| (room.name.as_str(), room.members.len()))
        .collect();
    assert_eq!(rooms, [("a", 1), ("b", 2), ("c", 1)]);
    assert_eq!((snapshot.clients, snapshot.counters.logins), (4, 4));
    assert_eq!(bench.tracker.room("nobody"), None);
}
