//! Whom newcomers are told to turn to.

use super::*;

#[test]
fn ring_neighbours_are_the_next_ones_each_side_nearest_first() {
    let mut bench = Bench::new();
    let nodes = in_ring_order(20);
    let newcomer = 7;
    let others: Vec<_> = nodes
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != newcomer)
        .map(|(_, who)| who.clone())
        .collect();
    closed_ring(&mut bench, &others);
    let (_, members, assignment) = bench.enter(&nodes[newcomer]);
    assert_eq!(members, 20);
    let expected: Vec<_> = [6, 8, 5, 9, 4, 10, 3, 11]
        .map(|i: usize| nodes[i].id())
        .into();
    assert_eq!(assignment.ring, expected);

    let mut mesh = assignment.mesh.clone();
    assert_eq!(mesh.len(), 8);
    mesh.sort();
    mesh.dedup();
    assert_eq!(mesh.len(), 8, "nobody twice");
    for id in mesh {
        assert!(id != nodes[newcomer].id() && !assignment.ring.contains(&id));
    }
}

#[test]
fn those_who_have_joined_come_first_and_others_fill_up() {
    let mut bench = Bench::new();
    let nodes = in_ring_order(12);
    let clients: Vec<_> = nodes[1..].iter().map(|who| bench.enter(who).0).collect();
    // Of eleven only the third and the eighth after the newcomer have joined.
    for i in [3, 8] {
        let other = nodes[11 - i].id();
        bench.tell(
            clients[i - 1],
            announce(true, Some(other), Some(other), &[]),
        );
    }
    let (client, _, assignment) = bench.enter(&nodes[0]);
    let at = |i: usize| nodes[i].id();
    assert_eq!(assignment.ring[..2], [at(8), at(3)]);
    assert_eq!(assignment.ring.len(), 6);
    assert!(assignment.ring.contains(&at(11)) && assignment.ring.contains(&at(1)));
    // Everybody is assigned in a room this small.
    assert_eq!(assignment.ring.len() + assignment.mesh.len(), 11);

    let outputs = bench.tell(client, TrackerMessage::Ask);
    match outputs.as_slice() {
        [
            Output::Send {
                client: to,
                message:
                    TrackerMessage::Assigned {
                        members,
                        assignment: again,
                    },
            },
        ] => {
            assert_eq!((*to, *members), (client, 12));
            assert_eq!(again.ring, assignment.ring);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn long_links_are_drawn_harmonically() {
    let mut bench = Bench::new();
    let nodes = in_ring_order(200);
    closed_ring(&mut bench, &nodes[1..]);
    let (client, ..) = bench.enter(&nodes[0]);
    let index: BTreeMap<_, _> = nodes
        .iter()
        .zip(0..)
        .map(|(who, i)| (who.id(), i))
        .collect();
    // Of 800 draws at density 1 / (x ln 200), the quarter after the newcomer has all distances
    // x < 1/4: 1 - ln 4 / ln 200 = 74 % of them, and uniform draws would put 25 % there.
    let mut near = 0;
    for _ in 0..100 {
        match bench.tell(client, TrackerMessage::Ask).as_slice() {
            [
                Output::Send {
                    message: TrackerMessage::Assigned { assignment, .. },
                    ..
                },
            ] => {
                assert_eq!(assignment.mesh.len(), 8);
                near += assignment.mesh.iter().filter(|id| index[id] < 50).count();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((500..680).contains(&near), "{near}");
}

#[test]
fn lists_stay_within_what_receivers_take() {
    let config = TrackerConfig {
        assigned_ring: 1_000,
        assigned_mesh: 1_000,
        ..TrackerConfig::default()
    };
    let mut bench = Bench::with(config);
    for who in in_ring_order(200) {
        bench.enter(&who);
    }
    let welcome = bench.trace.last().unwrap();
    let Output::Send { message, .. } = welcome else {
        panic!("{welcome:?}");
    };
    assert_eq!(
        TrackerMessage::from_json(&message.to_json()).as_ref(),
        Ok(message)
    );
}
