//! Signals.

use super::*;

#[test]
fn every_signal_is_passed_on_unchanged() {
    let mut bench = Bench::new();
    let (a, b) = (Who::new(1), Who::new(2));
    let (from, ..) = bench.enter(&a);
    let (to, ..) = bench.enter(&b);
    for signal in every_signal() {
        let message = a.signal(b.id(), signal);
        let outputs = bench.tell(from, message.clone());
        assert_eq!(
            outputs,
            [Output::Send {
                client: to,
                message
            }]
        );
    }
    assert_eq!(bench.tracker.counters().signals_relayed, 5);
    assert_eq!(bench.tracker.counters().signals_unreachable, 0);
}

#[test]
fn a_receiver_that_is_not_here_is_told_unless_nobody_waits() {
    let mut bench = Bench::new();
    let (a, b) = (Who::new(1), Who::new(2));
    let elsewhere = Who {
        room: "other".into(),
        ..Who::new(3)
    };
    let (from, ..) = bench.enter(&a);
    bench.enter(&elsewhere);
    for to in [b.id(), elsewhere.id(), a.id()] {
        for signal in every_signal() {
            let waits = !matches!(signal, Signal::Reject { .. });
            let outputs = bench.tell(from, a.signal(to, signal));
            let unreachable = Output::Send {
                client: from,
                message: TrackerMessage::Unreachable { to, attempt: 42 },
            };
            assert_eq!(outputs, Vec::from_iter(waits.then_some(unreachable)));
        }
    }
    assert_eq!(bench.tracker.counters().signals_unreachable, 15);
    assert_eq!(bench.tracker.counters().signals_relayed, 0);
}

#[test]
fn signals_in_anothers_name_or_room_are_forbidden() {
    let (a, b) = (Who::new(1), Who::new(2));
    for signal in [
        b.signal_in(ROOM, a.id(), Signal::EndOfCandidates),
        a.signal_in("other", b.id(), Signal::EndOfCandidates),
    ] {
        let mut bench = Bench::new();
        let (client, ..) = bench.enter(&a);
        bench.enter(&b);
        let told = bench.refusal(client, TrackerMessage::Signal { signal });
        assert_eq!(error_code(&told), ErrorCode::Forbidden);
        assert_eq!(bench.tracker.members(), 1);
    }
}
