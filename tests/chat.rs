//! `circlet node` on a terminal.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::json;
use support::{LONG, Ring, hermetic};

/// A member at a terminal.
struct Chat {
    child: Child,
    screen: File,
    terminal: OwnedFd,
    before: Termios,
    /// Everything written to the terminal that was not looked for yet.
    shown: String,
    /// The beginning of a character.
    unread: Vec<u8>,
}

impl Chat {
    fn start(ring: &Ring, name: &str) -> Self {
        Self::start_on(ring, name, "xterm")
    }

    /// At a terminal of the kind that `TERM` names.
    fn start_on(ring: &Ring, name: &str, term: &str) -> Self {
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = hermetic(ring.path())
            .args(["node", "--room", "test", "--tracker", &ring.tracker.url()])
            .args(["--name", name, "--identity", &format!("{name}.pem")])
            .env("TERM", term)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        Self {
            child,
            screen: File::from(pty.master),
            terminal: pty.slave,
            before,
            shown: String::new(),
            unread: Vec::new(),
        }
    }

    fn type_in(&mut self, text: &str) {
        self.screen.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown; returns what was shown up to there.
    fn wait_for(&mut self, text: &str) -> String {
        self.wait_for_all(&[text]);
        let end = self.shown.find(text).unwrap() + text.len();
        let rest = self.shown.split_off(end);
        std::mem::replace(&mut self.shown, rest)
    }

    /// Waits until all `texts` are shown, in whatever order.
    fn wait_for_all(&mut self, texts: &[&str]) {
        let start = Instant::now();
        while !texts.iter().all(|text| self.shown.contains(text)) {
            assert!(start.elapsed() < LONG, "no {texts:?} in {:?}", self.shown);
            let mut ready = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::from(100u8)).unwrap() > 0 {
                let mut bytes = [0; 4096];
                let count = self.screen.read(&mut bytes).unwrap();
                self.unread.extend_from_slice(&bytes[..count]);
                // A character may come in parts.
                let whole = match str::from_utf8(&self.unread) {
                    Ok(text) => text.len(),
                    Err(error) => error.valid_up_to(),
                };
                let rest = self.unread.split_off(whole);
                let text = std::mem::replace(&mut self.unread, rest);
                self.shown.push_str(str::from_utf8(&text).unwrap());
            }
        }
    }

    /// Waits for the end, after which the terminal is as it was; returns the exit code.
    fn wait_end(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(tcgetattr(&self.terminal).unwrap(), self.before);
                return status.code();
            }
            assert!(start.elapsed() < LONG, "the chat goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn people_talk_and_what_arrives_leaves_the_typed_line_alone() {
    let mut ring = Ring::start(1, &[]);
    ring.wait_closed(LONG);
    let mut ada = Chat::start(&ring, "ada");
    ada.wait_for("You are ada in room test");
    ada.wait_for_all(&["n0 is here", "* joined"]);
    ring.wait_for("ada", LONG, |views| views[0].successor.is_some());

    ada.type_in("hello wor");
    ada.wait_for("hello wor");
    ring.tell(
        0,
        &json!({"cmd": "broadcast", "id": "1", "text": "hi\u{1b}[2J"}),
    );
    let shown = ada.wait_for("> hello wor");
    assert!(
        shown.contains("\r\u{1b}[Kn0: hi\u{fffd}[2J\r\n"),
        "{shown:?}"
    );
    ada.type_in("ld\r");
    ring.wait_for("what was typed", LONG, |views| views[0].messages.len() == 1);
    let heard = ring.views()[0].messages[0].clone();
    assert_eq!(
        (heard.class.as_str(), heard.text.as_str()),
        ("broadcast", "hello world")
    );

    ada.type_in("/to n0 psst\r");
    ring.wait_for("what was whispered", LONG, |views| {
        views[0].messages.len() == 2
    });
    let heard = ring.views()[0].messages[1].clone();
    assert_eq!(
        (heard.class.as_str(), heard.text.as_str()),
        ("reliable", "psst")
    );
    ada.type_in("/ring round\r");
    ada.wait_for("seen by n0; it came back");
    ada.type_in("/peers\r");
    let node = ring.node(0);
    ada.wait_for(&format!("{}  n0", &node[..8]));
    ada.type_in("/to nobody x\r");
    ada.wait_for("nobody is not here");
    ada.type_in("/quit\r");
    assert_eq!(ada.wait_end(), Some(0));
    ring.wait_for("ada to leave", LONG, |views| views[0].successor.is_none());
}

#[test]
fn the_end_of_input_and_signals_leave_and_put_the_terminal_back() {
    let ring = Ring::start(0, &[]);
    for keys in ["\u{4}", "\u{3}"] {
        let mut chat = Chat::start(&ring, "ada");
        let shown = chat.wait_for("joined");
        // Before the prompt a key would be the terminal's, and lost.
        let (before, _) = shown.split_once("You are").unwrap();
        assert!(before.contains("> "), "{shown:?}");
        chat.type_in(keys);
        assert_eq!(chat.wait_end(), Some(0), "{keys:?}");
    }
    let mut chat = Chat::start(&ring, "ada");
    chat.wait_for("joined");
    chat.type_in("half a li");
    chat.wait_for("half a li");
    let id = Pid::from_raw(i32::try_from(chat.child.id()).unwrap());
    kill(id, Signal::SIGTERM).unwrap();
    assert_eq!(chat.wait_end(), Some(0));
}

#[test]
fn lines_that_come_at_once_are_all_taken() {
    let ring = Ring::start(1, &[]);
    ring.wait_closed(LONG);
    let mut ada = Chat::start(&ring, "ada");
    ada.wait_for_all(&["n0 is here", "* joined"]);
    ring.wait_for("ada", LONG, |views| views[0].successor.is_some());

    ada.type_in("one\rtwo\r");
    ring.wait_for("both lines", LONG, |views| views[0].messages.len() == 2);
    let views = ring.views();
    let heard: Vec<&str> = views[0].messages.iter().map(|m| m.text.as_str()).collect();
    assert_eq!(heard, ["one", "two"]);

    // The editor ends while there are answers to show. It has the keys again at the next prompt.
    ada.wait_for("two\r\n");
    ada.wait_for("> ");
    ada.type_in("/fly\r/walk\r/run\r/swim\r\u{4}");
    ada.wait_for("* left");
    assert_eq!(ada.wait_end(), Some(0));
}

#[test]
fn a_terminal_that_cannot_be_edited_on_gives_and_takes_plain_lines() {
    let mut ring = Ring::start(1, &[]);
    ring.wait_closed(LONG);
    let mut ada = Chat::start_on(&ring, "ada", "dumb");
    let mut shown = ada.wait_for("You are ada in room test");
    ada.wait_for_all(&["n0 is here", "* joined"]);
    ring.wait_for("ada", LONG, |views| views[0].successor.is_some());

    ring.tell(0, &json!({"cmd": "broadcast", "id": "1", "text": "hi"}));
    shown += &ada.wait_for("n0: hi\r\n");
    ada.type_in("hello\r");
    ring.wait_for("what was typed", LONG, |views| views[0].messages.len() == 1);
    assert_eq!(ring.views()[0].messages[0].text, "hello");
    assert!(!shown.contains(['\u{1b}', '>']), "{shown:?}");
    ada.type_in("\u{4}");
    assert_eq!(ada.wait_end(), Some(0));
}
