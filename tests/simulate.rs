//! `circlet simulate`: scenarios from files and built in, what is wrong with them, the same bytes
//! for the same run, and its end by a signal.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{LONG, Tracker, circlet, hermetic, lines, wait};
use tempfile::TempDir;

/// Some seconds of a dozen members: a crash, all sorts of messages.
const SMALL: &str = "
title = \"A dozen\"
seed = 5
duration_s = 8

[overlay]
nodes = 12

[[faults]]
at_s = 2
kind = \"crash\"
count = 2

[[traffic]]
kind = \"unicast\"
from = \"all\"
per_s = 2

[[traffic]]
kind = \"broadcast\"
per_s = 1

[[expect]]
metric = \"unicast.delivered_share\"
at_least = 1
";

/// A day: more than anybody waits for.
const LONG_ONE: &str = "duration_s = 86400\noverlay.nodes = 12\n";

fn directory_with(text: &str) -> TempDir {
    let directory = TempDir::with_prefix("circlet-test-").unwrap();
    fs::write(directory.path().join("small.toml"), text).unwrap();
    directory
}

fn simulate(directory: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["simulate"];
    all.extend(arguments);
    circlet(directory, &all)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_scenario_is_run_and_reported() {
    let directory = directory_with(SMALL);
    let arguments = ["small.toml", "--report", "out.html", "--csv", "tables"];
    let output = simulate(directory.path(), &arguments);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        summary.contains("A dozen") && summary.contains("1 of 1 met"),
        "{summary}"
    );
    let page = fs::read_to_string(directory.path().join("out.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("A dozen"));
    let series = fs::read_to_string(directory.path().join("tables/series.csv")).unwrap();
    assert!(series.lines().count() > 10, "{series}");
}

#[test]
fn the_same_run_gives_the_same_bytes_on_any_number_of_threads() {
    let directory = directory_with(SMALL);
    let run = |threads| {
        let output = simulate(
            directory.path(),
            &["small.toml", "--json", "--threads", threads],
        );
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let last = lines(&output.stderr).pop().unwrap();
        let cost: Value = serde_json::from_str(&last).unwrap();
        for figure in ["events", "wall_s", "cpu_s"] {
            assert!(cost["run"][figure].is_number(), "{last}");
        }
        output.stdout
    };
    let (first, again, two) = (run("1"), run("1"), run("2"));
    assert_eq!(lines(&first).len(), 1);
    let line: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(line["simulation"]["population"]["crashed"], 2);
    assert!(first == again, "two runs differ");
    assert!(first == two, "one thread and two differ");
    let other = simulate(directory.path(), &["small.toml", "--json", "--seed", "6"]);
    assert!(other.stdout != first, "another seed gives the same");
}

#[test]
fn an_expectation_that_is_not_met_is_a_failure() {
    let strict = SMALL.replace("at_least = 1", "at_least = 2");
    let directory = directory_with(&strict);
    let output = simulate(directory.path(), &["small.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let why = lines(&output.stderr);
    assert_eq!(why, ["circlet: not as expected: unicast.delivered_share"]);
}

#[test]
fn what_is_wrong_with_a_scenario_is_said_in_a_line() {
    for (from, to, wanted) in [
        (
            "count = 2",
            "cont = 2",
            "small.toml:12: key `faults[0].cont`: unknown field",
        ),
        (
            "nodes = 12",
            "nodes = -1",
            "small.toml:7: key `overlay.nodes`: ",
        ),
        (
            "at_s = 2",
            "at_s = 9",
            "small.toml:10: key `faults[0].at_s`: 9 s is after the end",
        ),
        ("[overlay]", "[overlay", "small.toml:6: "),
    ] {
        let directory = directory_with(&SMALL.replace(from, to));
        let output = simulate(directory.path(), &["small.toml"]);
        let said = lines(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{to}");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("circlet: ") && said[0].contains(wanted),
            "{said:?}"
        );
    }
    let directory = directory_with("");
    for missing in ["no-such-scenario", "missing.toml", "."] {
        let output = simulate(directory.path(), &[missing]);
        assert_eq!(output.status.code(), Some(1), "{missing}");
        assert!(text(&output.stderr).contains(missing), "{output:?}");
    }
}

#[test]
fn built_in_scenarios_are_listed_and_known_by_name() {
    let directory = directory_with("");
    let listed = lines(&simulate(directory.path(), &["--list"]).stdout);
    let found = |name: &str| {
        listed
            .iter()
            .any(|line| line.split_whitespace().next() == Some(name))
    };
    assert!(found("churn") && found("cold-start"), "{listed:?}");
    let json = simulate(directory.path(), &["--list", "--json"]);
    let first: Value = serde_json::from_str(&lines(&json.stdout)[0]).unwrap();
    assert!(first["scenario"]["title"].is_string(), "{first}");
    let small = ["adjacent-failure", "--nodes", "16", "--seed", "2", "--json"];
    let output = simulate(directory.path(), &small);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        line["simulation"]["population"]["started"], 16,
        "{output:?}"
    );
    assert_eq!(line["simulation"]["seed"], 2);
}

#[test]
fn runs_are_compared() {
    let directory = directory_with(SMALL);
    let first = simulate(directory.path(), &["small.toml", "--json"]);
    fs::write(directory.path().join("a.json"), &first.stdout).unwrap();
    let arguments = ["--compare", "a.json", "small.toml", "--report", "both.html"];
    let output = simulate(directory.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let table = text(&output.stdout);
    assert!(
        table.contains("small (1)") && table.contains("unicast delivered"),
        "{table}"
    );
    assert!(directory.path().join("both.html").is_file());
    fs::write(directory.path().join("b.json"), "{}").unwrap();
    let output = simulate(directory.path(), &["--compare", "a.json", "b.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("b.json"), "{output:?}");
}

#[test]
fn a_signal_ends_a_run_with_what_is_known() {
    let directory = directory_with(LONG_ONE);
    let mut child = hermetic(directory.path())
        .args(["simulate", "small.toml", "--json", "-v"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    // It says when it has begun to listen to signals.
    let begun = stderr.find(|line| line.as_ref().unwrap().contains("simulating"));
    assert!(begun.is_some());
    let said = thread::spawn(move || stderr.map(Result::unwrap).collect::<Vec<String>>());
    let printed = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(wait(&mut child, LONG).code(), Some(1));
    let line: Value = serde_json::from_slice(&printed.join().unwrap()).unwrap();
    assert_eq!(line["simulation"]["complete"], false);
    let said = said.join().unwrap();
    let stopped = |line: &String| line.starts_with("circlet: stopped after ");
    assert!(said.iter().any(stopped), "{said:?}");
    assert!(said.last().unwrap().starts_with("{\"run\":"), "{said:?}");
}

/// The table of a room of real members is the beginning of a scenario.
#[test]
fn a_living_room_is_simulated() {
    let directory = directory_with(
        "duration_s = 5\noverlay.start = \"room.json\"\n\
         [[faults]]\nat_s = 1\nkind = \"leave\"\nmembers = [\"ada\", \"bob\"]\n",
    );
    let tracker = Tracker::start(directory.path());
    let url = tracker.url();
    let mut members: Vec<_> = ["ada", "bob", "cyd", "dan"]
        .iter()
        .map(|name| {
            let identity = format!("{name}.pem");
            let mut arguments = vec!["node", "--json", "--room", "r", "--tracker", &url];
            arguments.extend(["--name", name, "--identity", &identity]);
            hermetic(directory.path())
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let table = loop {
        let arguments = [
            "topology",
            "--tracker",
            &url,
            "--room",
            "r",
            "--format",
            "json",
        ];
        let output = circlet(directory.path(), &arguments);
        let table: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        let count = table
            .as_ref()
            .and_then(|table| Some(table["members"].as_array()?.len()));
        if count == Some(4) {
            break output.stdout;
        }
        thread::sleep(Duration::from_millis(50));
    };
    for member in &mut members {
        drop(member.stdin.take());
        wait(member, LONG);
    }
    fs::write(directory.path().join("room.json"), table).unwrap();
    let output = simulate(directory.path(), &["small.toml", "--json"]);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    let population = &line["simulation"]["population"];
    assert_eq!(
        (&population["started"], &population["left"]),
        (&4.into(), &2.into()),
        "{output:?}"
    );
    let rows = line["simulation"]["members"]["rows"].as_array().unwrap();
    let fate = |name: &str| rows.iter().find(|row| row["member"] == name).unwrap()["fate"].clone();
    assert_eq!((fate("ada"), fate("cyd")), ("left".into(), "living".into()));
}
