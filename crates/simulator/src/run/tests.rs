use std::num::NonZeroUsize;

use super::*;
use crate::scenario::{Files, Overrides};

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test.toml", text, &Files::none(), Overrides::default()).unwrap()
}

fn results_of(text: &str) -> Results {
    results_on(1, text)
}

const QUIET: &str = "
duration_s = 10
[overlay]
nodes = 12
[[traffic]]
kind = \"unicast\"
from = \"all\"
per_s = 2
[[traffic]]
kind = \"broadcast\"
per_s = 1
[[traffic]]
kind = \"circulate\"
per_s = 0.5
[measure]
every_s = 1
";

#[test]
fn a_quiet_overlay_delivers_everything() {
    let results = results_of(QUIET);
    assert!(results.complete && results.passed());
    for class in &results.traffic {
        assert!(class.delivered > 0 && class.lost == 0, "{class:?}");
    }
}

fn results_on(threads: usize, text: &str) -> Results {
    let threads = NonZeroUsize::new(threads).unwrap();
    let run = run(&scenario(text), threads, &Stop::default(), &mut |_| {});
    run.unwrap().results
}

/// Everything that the overlay engine can do, at once.
const BUSY: &str = r#"
    detail = "overlay"
    duration_s = 16
    [overlay]
    nodes = 150
    [network]
    latency = { model = "uniform", min_ms = 5, max_ms = 80 }
    loss = 0.01
    unconnectable_share = 0.05
    uplink_mbit_per_s = 20
    downlink_mbit_per_s = 50
    [[arrivals]]
    kind = "poisson"
    per_s = 2
    [[departures]]
    per_s = 2
    crash_share = 0.5
    [[faults]]
    at_s = 5
    kind = "crash"
    share = 0.1
    [[faults]]
    at_s = 8
    kind = "restart"
    count = 10
    [[faults]]
    at_s = 10
    kind = "partition"
    shares = [0.5, 0.5]
    [[faults]]
    at_s = 11
    kind = "heal"
    [[traffic]]
    kind = "unicast"
    per_s = 100
    [[traffic]]
    kind = "lookup"
    per_s = 50
    [[traffic]]
    kind = "broadcast"
    per_s = 2
"#;

#[test]
fn threads_change_no_byte_of_the_results() {
    let json = |threads| serde_json::to_string(&results_on(threads, BUSY)).unwrap();
    let one = json(1);
    assert_eq!(one, json(1), "on one thread, twice");
    assert_eq!(one, json(2), "on two threads");
    assert_eq!(one, json(3), "on three threads");
}

#[test]
fn an_overlay_under_churn_heals_and_delivers() {
    let results = results_on(2, BUSY);
    assert_eq!(results.violations.count, 0, "{:?}", results.violations);
    let last = results.series.last().unwrap();
    // Those who crashed less than 3.4 s ago are in lists still.
    assert!(last.ring_correct_share > 0.9, "{last:?}");
    assert_eq!(last.rings, Some(1));
    for traffic in &results.traffic {
        let share = traffic.delivered_share().unwrap();
        let least = if traffic.class == "unicast" {
            0.95
        } else {
            0.85
        };
        assert!(share > least, "{}: {share}", traffic.class);
    }
}

#[test]
fn members_that_join_one_after_another_become_a_ring() {
    let results = results_of(
        r#"
        detail = "overlay"
        duration_s = 20
        [overlay]
        nodes = 200
        start = "join"
        join_every_ms = 20
        [[traffic]]
        kind = "unicast"
        per_s = 100
        start_s = 15
        "#,
    );
    let last = results.series.last().unwrap();
    assert!(last.ring_is_right, "{last:?}");
    assert_eq!((last.living, last.rings), (200, Some(1)));
    let [unicast] = &results.traffic[..] else {
        panic!("{:?}", results.traffic)
    };
    assert_eq!(unicast.lost, 0);
    assert!(unicast.sent > 300);
}

#[test]
fn hops_are_those_of_the_prototype() {
    // REFERENCES: 3.6 greedy and 2.7 with lookahead at 1,000 members with 8 long links.
    for (lookahead, hops) in [(false, 3.6), (true, 2.7)] {
        let results = results_of(&format!(
            r#"
            detail = "overlay"
            duration_s = 10
            [overlay]
            nodes = 1000
            lookahead = {lookahead}
            [[traffic]]
            kind = "unicast"
            per_s = 2000
            end_s = 8
            "#
        ));
        let unicast = &results.traffic[0];
        assert_eq!(unicast.lost, 0);
        let mean = unicast.hops.mean().unwrap();
        assert!((mean / hops - 1.0).abs() < 0.1, "{mean} against {hops}");
    }
}
