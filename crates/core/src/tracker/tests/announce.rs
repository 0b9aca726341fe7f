//! Reports, and hints to those whose ring differs from the table.

use super::*;

#[test]
fn a_report_is_kept() {
    let mut bench = Bench::new();
    let (a, b) = (Who::new(1), Who::new(2));
    let (client, ..) = bench.enter(&a);
    bench.enter(&b);
    bench.wait(500);
    bench.tell(client, announce(true, Some(b.id()), None, &[b.id()]));
    let entry = bench.entry(a.id()).unwrap();
    assert!(entry.member);
    assert_eq!(
        (entry.successor, entry.predecessor, entry.links[0].peer),
        (Some(b.id()), None, b.id())
    );
    assert_eq!((entry.connected, entry.unconnected), (3, 1));
    assert_eq!((entry.since, entry.heard), (Timestamp::ZERO, bench.now));
}

#[test]
fn a_ring_that_differs_from_the_table_gets_a_hint_after_two_seconds() {
    let mut bench = Bench::new();
    let nodes = in_ring_order(4);
    let clients = closed_ring(&mut bench, &nodes);
    let at = |i: usize| Some(nodes[i % 4].id());
    let right = announce(true, at(1), at(3), &[]);
    let split = announce(true, at(2), at(2), &[]);

    // The first three were told to be right too early, before everybody had joined.
    assert_eq!(bench.tell(clients[0], right.clone()), []);
    assert_eq!(bench.tell(clients[0], split.clone()), []);
    bench.wait(1_900);
    assert_eq!(bench.tell(clients[0], split.clone()), []);
    bench.wait(100);
    assert!(is_assigned(
        &bench.tell(clients[0], split.clone()),
        clients[0]
    ));
    // At most one each two seconds.
    bench.wait(1_999);
    assert_eq!(bench.tell(clients[0], split.clone()), []);
    bench.wait(1);
    assert!(is_assigned(
        &bench.tell(clients[0], split.clone()),
        clients[0]
    ));
    // Once it was right, the time starts anew.
    assert_eq!(bench.tell(clients[0], right.clone()), []);
    bench.wait(5_000);
    assert_eq!(bench.tell(clients[0], split), []);
    // A wrong predecessor counts like a wrong successor.
    assert_eq!(bench.tell(clients[0], right), []);
    let half = announce(true, at(1), at(2), &[]);
    assert_eq!(bench.tell(clients[0], half.clone()), []);
    bench.wait(2_000);
    assert!(is_assigned(&bench.tell(clients[0], half), clients[0]));
}

#[test]
fn one_who_stays_outside_the_ring_gets_a_hint() {
    let mut bench = Bench::new();
    let nodes = in_ring_order(3);
    closed_ring(&mut bench, &nodes[1..]);
    let (client, ..) = bench.enter(&nodes[0]);
    let outside = announce(false, None, None, &[]);
    assert_eq!(bench.tell(client, outside.clone()), []);
    bench.wait(2_000);
    assert!(is_assigned(&bench.tell(client, outside), client));
}

#[test]
fn a_ring_of_one_is_right() {
    let mut bench = Bench::new();
    let (client, ..) = bench.enter(&Who::new(1));
    for _ in 0..3 {
        assert_eq!(bench.tell(client, announce(true, None, None, &[])), []);
        bench.wait(2_000);
    }
}
