//! Whatever a file says: scenarios, matrices of latencies, rooms, plans and results are read, or are
//! an error of one sentence; nothing panics.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use circlet_fuzz::{config, corpus, fuzz_text};
use circlet_simulator::report;
use circlet_simulator::results::Results;
use circlet_simulator::scenario::{Files, Overrides, Room, Scenario};
use circlet_simulator::swarm::{Plan, generate};
use proptest::prelude::*;

/// Some seconds for each target.
const INPUTS: u32 = 20_000;

/// Of TOML: what opens and closes, and values of every type.
const TOML: [&str; 24] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\n",
    "\"",
    "'''",
    "\"\"\"",
    "#",
    "nan",
    "inf",
    "-inf",
    "true",
    "1979-05-27T07:32:00Z",
    "0x10",
    "1_000",
    "[overlay]\n",
    "[[faults]]\n",
    "at_s = ",
    "nodes = ",
    "[[[[[[[[",
];

#[test]
fn fuzz_scenarios() {
    let simulations = concat!(env!("CARGO_MANIFEST_DIR"), "/../../simulations");
    fuzz_text(simulations, INPUTS, &TOML, |text| {
        let scenario = Scenario::parse("fuzz.toml", text, &Files::none(), Overrides::default());
        if let Err(error) = scenario {
            let error = error.to_string();
            assert!(
                error.starts_with("fuzz.toml:") && !error.contains('\n'),
                "{error}"
            );
        }
    });
}

#[test]
fn fuzz_matrices() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = "duration_s = 1\n[overlay]\nnodes = 2\n\
                    [network]\nlatency = { model = \"matrix\", file = \"matrix.csv\" }\n";
    fuzz_text(
        corpus!("matrix"),
        INPUTS,
        &["nan", "inf", "-", "#", "\n", "\t", ";"],
        |text| {
            fs::write(directory.path().join("matrix.csv"), text).unwrap();
            let files = Files::of(directory.path());
            // Most are errors; what is none has latencies that can be drawn.
            let _ = Scenario::parse("fuzz.toml", scenario, &files, Overrides::default());
        },
    );
}

#[test]
fn fuzz_rooms() {
    fuzz_text(
        corpus!("room"),
        INPUTS,
        &["{", "}", "[", "]", "null", "\"members\":["],
        |text| {
            if let Ok(room) = Room::parse(text) {
                let count = u32::try_from(room.members.len()).unwrap();
                assert!(room.links.iter().all(|(a, b)| a < b && *b < count));
            }
        },
    );
}

#[test]
fn fuzz_plans() {
    fuzz_text(corpus!("plan"), INPUTS, &TOML, |text| {
        if let Ok(plan) = Plan::parse(text) {
            assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
        }
    });
}

#[test]
fn fuzz_results() {
    fuzz_text(
        corpus!("results"),
        INPUTS / 4,
        &["null", "[]", "{}", "-1", "1e308"],
        |text| {
            if let Ok(results) = serde_json::from_str::<Results>(text) {
                serde_json::to_string(&results).unwrap();
                let _ = report::compare(&[results.clone(), results]);
            }
        },
    );
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn plans_come_back(seed: u64) {
        let plan = generate(seed);
        prop_assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
    }
}

/// Makes the corpus of plans. Run it with `--ignored` once plans can say more.
#[test]
#[ignore = "writes into the source tree"]
fn make_corpus() {
    for seed in 1..=4 {
        fs::write(
            Path::new(corpus!("plan")).join(seed.to_string()),
            generate(seed).to_string(),
        )
        .unwrap();
    }
}
