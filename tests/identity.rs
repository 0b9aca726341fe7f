//! A member's identity: it lasts, it has one session, and a bad key file is said to be one.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::{LONG, Ring, circlet, lines};
use tempfile::TempDir;

#[test]
fn id_and_position_survive_a_restart() {
    let mut ring = Ring::start(2, &[]);
    ring.wait_closed(LONG);
    let before = ring.views();
    ring.kill(0);
    ring.wait_end(0);
    let again = ring.add_with_key("0.pem");
    println!("closed {:?} after the restart", ring.wait_closed(LONG));
    let after = ring.views();
    assert_eq!(after[again].node, before[0].node);
    assert_eq!(after[again].position, before[0].position);

    let output = circlet(ring.path(), &["identity", "--json", "--identity", "0.pem"]);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["node"], before[0].node.as_str());
}

#[test]
fn a_second_session_supersedes_the_first() {
    let mut ring = Ring::start(3, &[]);
    ring.wait_closed(LONG);
    let second = ring.add_with_key("0.pem");
    let (status, stderr) = ring.wait_end(0);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("superseded"), "{stderr}");
    println!("closed {:?} after the first ended", ring.wait_closed(LONG));
    assert!(ring.views()[second].joined);
    assert!(!ring.views()[second].ended);
}

#[test]
fn a_bad_key_file_is_one_line_and_exit_code_1() {
    let directory = TempDir::with_prefix("circlet-test-").unwrap();
    let path = |name: &str| directory.path().join(name);
    let made = circlet(directory.path(), &["identity", "--identity", "good.pem"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert_eq!(mode("good.pem", &directory), 0o600);

    fs::create_dir(path("directory.pem")).unwrap();
    let good = fs::read(path("good.pem")).unwrap();
    fs::write(path("truncated.pem"), &good[..good.len() / 2]).unwrap();
    set_mode("truncated.pem", 0o600, &directory);
    fs::write(path("open.pem"), &good).unwrap();
    set_mode("open.pem", 0o644, &directory);
    for name in [
        "directory.pem",
        "truncated.pem",
        "open.pem",
        "missing/key.pem",
    ] {
        for command in [
            &["identity", "--identity", name][..],
            &["node", "--json", "--room", "x", "--identity", name],
            &["node", "--room", "x", "--identity", name],
        ] {
            let output = circlet(directory.path(), command);
            assert_eq!(output.status.code(), Some(1), "{command:?}");
            assert!(output.stdout.is_empty(), "{command:?}");
            let said = lines(&output.stderr);
            assert_eq!(said.len(), 1, "{command:?}: {said:?}");
            assert!(
                said[0].contains(name.split('/').next().unwrap()),
                "{said:?}"
            );
        }
    }
}

fn mode(name: &str, directory: &TempDir) -> u32 {
    let metadata = fs::metadata(directory.path().join(name)).unwrap();
    metadata.permissions().mode() & 0o777
}

fn set_mode(name: &str, mode: u32, directory: &TempDir) {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(directory.path().join(name), permissions).unwrap();
}
