//! The command line: usage, help, settings, the JSON protocol's edges.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{LONG, Ring, Tracker, circlet, finished, hermetic, lines};
use tempfile::TempDir;

const COMMANDS: [&str; 7] = [
    "demo", "tracker", "node", "identity", "topology", "simulate", "bench",
];

fn directory() -> TempDir {
    TempDir::with_prefix("circlet-test-").unwrap()
}

#[test]
fn help_has_an_example_on_every_command() {
    let directory = directory();
    for command in COMMANDS {
        let output = circlet(directory.path(), &[command, "-h"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let text = String::from_utf8(output.stdout).unwrap();
        let example = format!("Example: circlet {command}");
        assert!(text.contains(&example), "{text}");
    }
    let output = circlet(directory.path(), &["-h"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        COMMANDS.iter().all(|command| text.contains(command)),
        "{text}"
    );
    for later in ["invite", "send", "receive"] {
        assert!(!text.contains(&format!("  {later} ")), "{text}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let directory = directory();
    for arguments in [
        &[][..],
        &["fly"],
        &["simulate"],
        &["simulate", "churn", "--list"],
        &["simulate", "churn", "--seeds", "1..2"],
        &["simulate", "--swarm"],
        &["simulate", "--swarm", "--seeds", "2..2"],
        &["simulate", "--swarm", "--seeds", "1..2", "--seed", "1"],
        &["simulate", "--compare", "churn"],
        &["simulate", "churn", "--threads", "0"],
        &["node"],
        &["node", "--room", "a/b"],
        &["node", "--room", "x", "--topology", "web"],
        &["node", "--room", "x", "--topology", "star", "--hub", "me"],
        &[
            "node",
            "--room",
            "x",
            "--topology",
            "star",
            "--may-be-hub=perhaps",
        ],
        &["node", "--room", "x", "--tracker", "http://localhost"],
        &["node", "--room", "x", "--ring-links", "0"],
        &["node", "--room", "x", "--limit", "2MB/s"],
        &["tracker", "--listen", "nowhere"],
        &["tracker", "--tls-cert", "cert.pem"],
        &["topology", "--room", "x"],
        &["bench"],
        &["bench", "broadcast", "--kill", "101%"],
        &["bench", "broadcast", "--nodes", "4", "--kill", "3"],
        &["demo", "--nodes", "0"],
        &["demo", "--nodes", "2", "--kill", "2"],
        &["demo", "--nodes", "1", "--kill", "0"],
        &["identity", "--config", "missing.toml"],
    ] {
        let output = circlet(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let node = "a".repeat(52);
    let hub = ["node", "--room", "x", "--topology", "mesh", "--hub", &node];
    let output = circlet(directory.path(), &hub);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("the topology mesh has none"), "{text}");
}

/// What `circlet identity --json` says, with a file, environment variables and arguments.
fn key_used(directory: &TempDir, file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
    let config = directory.path().join("config").join("circlet");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), file).unwrap();
    let before: Vec<_> = pem_files(directory);
    let mut command = hermetic(directory.path());
    command.arg("identity").args(flags).stdin(Stdio::null());
    command.envs(variables.iter().copied());
    let output = finished(&mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut made = pem_files(directory);
    made.retain(|name| !before.contains(name));
    for name in &made {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    made.concat()
}

fn pem_files(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".pem")).collect()
}

#[test]
fn arguments_win_over_the_environment_and_that_over_the_file() {
    let directory = directory();
    let file = "identity = 'file.pem'";
    let variable = &[("CIRCLET_IDENTITY", "variable.pem")][..];
    let flag = &["--identity", "flag.pem"][..];
    assert_eq!(key_used(&directory, file, variable, flag), "flag.pem");
    assert_eq!(key_used(&directory, file, variable, &[]), "variable.pem");
    assert_eq!(key_used(&directory, file, &[], &[]), "file.pem");
    assert_eq!(
        key_used(&directory, "[identity]\nidentity = 'table.pem'", &[], &[]),
        "table.pem"
    );
    let empty = &[("CIRCLET_IDENTITY", "")][..];
    assert_eq!(key_used(&directory, file, empty, &[]), "file.pem");

    let other = directory.path().join("other.toml");
    fs::write(&other, "identity = 'other.pem'").unwrap();
    let config = &["--config", other.to_str().unwrap()][..];
    assert_eq!(key_used(&directory, file, &[], config), "other.pem");
    let config = &[("CIRCLET_CONFIG", other.to_str().unwrap())][..];
    assert_eq!(key_used(&directory, file, config, &[]), "other.pem");
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    let directory = directory();
    let path = directory.path().join("bad.toml");
    fs::write(&path, "# settings\nroom = 'x'\n\nring-link = 2\n").unwrap();
    let path = path.to_str().unwrap();
    let output = circlet(directory.path(), &["identity", "--config", path]);
    assert_eq!(output.status.code(), Some(2));
    let text = lines(&output.stderr);
    assert_eq!(text.len(), 1, "{text:?}");
    assert!(
        text[0].contains(&format!("{path}:4: unknown key `ring-link`")),
        "{text:?}"
    );
}

#[test]
fn a_tracker_says_where_it_listens_and_ends_on_a_signal() {
    let directory = directory();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut tracker = Tracker::start(directory.path());
        assert!(
            tracker.address.starts_with("127.0.0.1:"),
            "{}",
            tracker.address
        );
        let address = tracker.address.clone();
        let output = circlet(directory.path(), &["tracker", "--listen", &address]);
        assert_eq!(output.status.code(), Some(1));
        let text = lines(&output.stderr);
        assert_eq!(text.len(), 1, "{text:?}");
        assert!(
            text[0].contains(&address) && text[0].contains("--listen"),
            "{text:?}"
        );

        kill(pid(tracker.id()), signal).unwrap();
        assert_eq!(tracker.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_room_is_drawn_from_the_trackers_table() {
    let ring = Ring::start(3, &[]);
    ring.wait_closed(LONG);
    let nodes: Vec<String> = ring.views().into_iter().map(|view| view.node).collect();
    let draw = |format: &str| {
        let url = ring.tracker.url();
        let flags = [
            "topology",
            "--tracker",
            &url,
            "--room",
            "test",
            "--format",
            format,
        ];
        let output = circlet(ring.path(), &flags);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Members report to the tracker every few seconds.
    let start = Instant::now();
    while !draw("text").contains("the ring is closed") {
        assert!(start.elapsed() < LONG, "{}", draw("text"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let text = draw("text");
    assert!(
        text.contains("Room test: 3 members, small-world, 3 links"),
        "{text}"
    );
    let table: Value = serde_json::from_str(&draw("json")).unwrap();
    assert_eq!(table["members"].as_array().unwrap().len(), 3);
    let (dot, xml) = (draw("dot"), draw("graphml"));
    assert!(dot.starts_with("graph \"test\" {"), "{dot}");
    for node in &nodes {
        assert!(text.contains(&node[..8]), "{text}");
        assert!(dot.contains(node), "{dot}");
        assert!(xml.contains(&format!("<node id=\"{node}\">")), "{xml}");
    }

    let url = ring.tracker.url();
    let nobody = ["topology", "--tracker", &url, "--room", "nobody"];
    let output = circlet(ring.path(), &nobody);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&output.stderr).len(), 1);
    let nowhere = ["topology", "--tracker", "ws://127.0.0.1:1", "--room", "x"];
    let output = circlet(ring.path(), &nowhere);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&output.stderr).len(), 1);
}

#[test]
fn bad_command_lines_are_said_and_the_node_goes_on() {
    let mut ring = Ring::start(1, &[]);
    ring.wait_for("a ring of one", LONG, |views| views[0].joined);
    let too_long = [b"{\"cmd\":\"".as_slice(), &vec![b'x'; 2 << 20]].concat();
    let node = ring.node(0);
    let own = json!({"cmd": "send", "id": "own", "to": node, "text": "x"});
    let large = json!({"cmd": "broadcast", "id": "large", "text": "x".repeat(70_000)});
    for line in [
        b"nonsense".as_slice(),
        b"",
        b"\xff",
        b"{\"cmd\":\"fly\"}",
        b"{\"cmd\":\"send\",\"id\":\"1\",\"to\":\"me\",\"text\":\"x\"}",
        &too_long,
    ] {
        ring.tell_line(0, line);
    }
    ring.wait_for("six errors", LONG, |views| views[0].errors.len() == 6);
    ring.tell(0, &own);
    ring.tell(0, &large);
    ring.wait_for("two failures", LONG, |views| {
        ["own", "large"].iter().all(|&id| {
            views[0]
                .outcomes
                .get(id)
                .is_some_and(|kind| kind == "failed")
        })
    });
    let status = ring.status(0);
    assert_eq!(status["successor"], Value::Null);
    assert_eq!(status["members"], 1);
    assert_eq!(status["forwarded"], 0);
    ring.tell(0, &json!({"cmd": "leave"}));
    let (status, stderr) = ring.wait_end(0);
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_end_of_stdin_and_signals_are_a_clean_leave() {
    let mut ring = Ring::start(4, &[]);
    ring.wait_closed(LONG);
    let started = Instant::now();
    ring.close_stdin(0);
    assert_eq!(ring.wait_end(0).0.code(), Some(0));
    ring.wait_closed(LONG);
    println!("closed {:?} after the end of stdin", started.elapsed());
    for (member, signal) in [(1, Signal::SIGINT), (2, Signal::SIGTERM)] {
        let sent = Instant::now();
        kill(pid(ring.id(member)), signal).unwrap();
        assert_eq!(ring.wait_end(member).0.code(), Some(0), "{signal}");
        ring.wait_closed(LONG);
        println!("closed {:?} after {signal}", sent.elapsed());
    }
    assert_eq!(ring.views()[3].successor, None);
}

#[test]
fn without_json_and_terminal_stdin_is_not_read() {
    let directory = directory();
    let mut command = hermetic(directory.path());
    command.args(["node", "--room", "x", "--name", "service"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // The end of stdin would be a leave; the member joins all the same.
    while !line.contains("joined") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it has left");
    }
    kill(pid(child.id()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn nobody_reading_stdout_neither_hangs_nor_kills_a_node() {
    let directory = directory();
    let node = |command: &mut Command| {
        command
            .args(["node", "--json", "--room", "x"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    // Closed: the next line finds nobody, and the node leaves.
    let mut child = node(&mut hermetic(directory.path()));
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < LONG, "it goes on for nobody");
        // The process may end between the look and the write.
        let _ = stdin.write_all(b"{\"cmd\":\"status\"}\n");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));

    // Blocked: far more lines than the pipe and all queues hold, and a signal ends it yet.
    let mut child = node(&mut hermetic(directory.path()));
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(
        move || {
            while stdin.write_all(b"{\"cmd\":\"status\"}\n").is_ok() {}
        },
    );
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    kill(pid(child.id()), Signal::SIGTERM).unwrap();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < LONG, "a blocked stdout holds it up");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "ended {:?} after the signal, stdout blocked",
        start.elapsed()
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
    writer.join().unwrap();
}

#[test]
fn the_demo_ends_with_its_figures() {
    let directory = directory();
    let flags = [
        "demo",
        "--json",
        "--nodes",
        "6",
        "--messages",
        "400",
        "--kill",
        "1",
    ];
    let output = circlet(directory.path(), &flags);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output.stdout);
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    println!("{last}");
    let demo = &last["demo"];
    for (field, value) in [
        ("nodes", json!(6)),
        ("topology", json!("small-world")),
        ("messages", json!(400)),
        ("delivered", json!(400)),
        ("lost", json!(0)),
        ("duplicated", json!(0)),
        ("killed", json!(1)),
    ] {
        assert_eq!(demo[field], value, "{field}");
    }
    assert_eq!(demo["repair_ms"].as_array().unwrap().len(), 1);
    for field in [
        "ring_closed_ms",
        "forwarded_share",
        "hop_us_p50",
        "hop_us_p99",
    ] {
        assert!(demo[field].is_number(), "{field}");
    }
}

#[test]
fn a_demo_in_one_process_is_a_ring_like_any_other() {
    let directory = directory();
    let output = circlet(
        directory.path(),
        &[
            "demo",
            "--json",
            "--in-process",
            "--nodes=24",
            "--messages=200",
            "--idle=1",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let last: Value = serde_json::from_str(lines(&output.stdout).last().unwrap()).unwrap();
    let demo = &last["demo"];
    for (field, value) in [
        ("nodes", json!(24)),
        ("in_process", json!(true)),
        ("messages", json!(200)),
        ("delivered", json!(200)),
        ("lost", json!(0)),
        ("duplicated", json!(0)),
        ("disordered", json!(0)),
        ("killed", json!(1)),
    ] {
        assert_eq!(demo[field], value, "{field}: {demo}");
    }
    assert!(demo["forwarded_share"].as_f64().unwrap() > 0.0, "{demo}");
    let idle = &demo["idle"];
    assert_eq!(idle["seconds"], 1.0, "{demo}");
    // On average everybody has links on both sides; two neighbours share one.
    assert!(idle["links"].as_f64().unwrap() >= 2.0, "{demo}");
    for field in ["resident_mb", "cpu_percent"] {
        assert!(idle[field].as_f64().unwrap() > 0.0, "{field}: {demo}");
    }
}

#[test]
fn a_demo_that_stays_goes_on_until_a_signal_and_leaves_nothing_behind() {
    let directory = directory();
    let mut child = hermetic(directory.path())
        .args(["demo", "--json", "--stay", "--nodes", "3"])
        .args(["--messages", "30", "--kill", "0"])
        .env("TMPDIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&output.next().unwrap().unwrap()).unwrap() };
    let staying = next();
    assert_eq!(staying["event"], "staying");
    assert_eq!(next()["demo"]["delivered"], 30);

    let url = staying["tracker"].as_str().unwrap();
    let draw = ["topology", "--json", "--room", "demo", "--tracker", url];
    let drawn = circlet(directory.path(), &draw);
    let table: Value = serde_json::from_slice(&drawn.stdout).unwrap();
    assert_eq!(table["members"].as_array().unwrap().len(), 3);
    kill(pid(child.id()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(circlet(directory.path(), &draw).status.code(), Some(1));
    let left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("circlet-demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap())
}
