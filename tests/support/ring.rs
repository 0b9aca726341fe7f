//! Members of one room, each a `circlet node --json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Tracker, hermetic, wait};
use super::{LONG, Random};

/// What a member has told so far.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub node: String,
    pub position: String,
    pub joined: bool,
    pub successor: Option<String>,
    pub predecessor: Option<String>,
    /// The hub of a star.
    pub hub: Option<String>,
    /// How many of its links are open.
    pub links: usize,
    pub messages: Vec<Message>,
    /// The event that ended each send, by its id: delivered, failed, expired, sent.
    pub outcomes: BTreeMap<String, String>,
    pub circulated: BTreeMap<String, Value>,
    pub status: BTreeMap<String, Value>,
    pub errors: Vec<String>,
    /// Peers whose link was open and is gone.
    pub links_lost: Vec<String>,
    pub links_open: Vec<String>,
    /// Whether it is a member by the test's will: neither killed nor told to leave.
    pub lives: bool,
    /// Whether its stdout has ended.
    pub ended: bool,
}

/// A message that a member was given.
#[derive(Clone, Debug)]
pub struct Message {
    pub from: String,
    pub class: String,
    pub seq: u64,
    pub text: String,
    pub hops: u64,
}

/// A tracker and the members of one room.
pub struct Ring {
    pub directory: TempDir,
    pub tracker: Tracker,
    /// What members are given that are started from now on.
    pub flags: Vec<String>,
    members: Vec<Process>,
    shared: Arc<Shared>,
    last_start: Instant,
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: PathBuf,
}

#[derive(Default)]
struct Shared {
    views: Mutex<Vec<View>>,
    changed: Condvar,
}

impl Ring {
    /// A tracker and `count` members that are given `flags`.
    pub fn start(count: usize, flags: &[&str]) -> Self {
        let directory = TempDir::with_prefix("circlet-test-").unwrap();
        let tracker = Tracker::start(directory.path());
        Self::start_at(directory, tracker, count, flags)
    }

    /// `count` members of a tracker that runs already.
    pub fn start_at(directory: TempDir, tracker: Tracker, count: usize, flags: &[&str]) -> Self {
        let mut ring = Self {
            directory,
            tracker,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            members: Vec::new(),
            shared: Arc::default(),
            last_start: Instant::now(),
        };
        for _ in 0..count {
            ring.add();
        }
        ring
    }

    /// Starts one more member; returns its number.
    pub fn add(&mut self) -> usize {
        self.add_with_key(&format!("{}.pem", self.members.len()))
    }

    /// Starts one more member with the key in this file of the ring's directory.
    pub fn add_with_key(&mut self, key: &str) -> usize {
        let number = self.members.len();
        let directory = self.directory.path();
        let stderr = directory.join(format!("{number}.stderr"));
        let mut child = hermetic(directory)
            .args(["node", "--json", "--room", "test"])
            .args(["--tracker", &self.tracker.url()])
            .args(["--name", &format!("n{number}"), "--identity", key])
            .args(&self.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        self.shared.views.lock().unwrap().push(View {
            lives: true,
            ..View::default()
        });
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || read(number, stdout, &shared));
        self.members.push(Process {
            child,
            stdin,
            stderr,
        });
        self.last_start = Instant::now();
        number
    }

    /// The directory of keys and stderr files.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives a member a command.
    pub fn tell(&mut self, member: usize, command: &Value) {
        let stdin = self.members[member].stdin.as_mut().unwrap();
        // One write a line, so that none is torn when the process ends.
        stdin.write_all(format!("{command}\n").as_bytes()).unwrap();
    }

    /// Gives a member a line as it is.
    pub fn tell_line(&mut self, member: usize, line: &[u8]) {
        let stdin = self.members[member].stdin.as_mut().unwrap();
        stdin.write_all(line).unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    /// Sends `text` reliably from one member to another.
    pub fn send(&mut self, from: usize, to: usize, id: &str, text: &str) {
        let node = self.node(to);
        self.tell(
            from,
            &json!({"cmd": "send", "id": id, "to": node, "text": text, "class": "reliable"}),
        );
    }

    /// A member's status, asked for now.
    pub fn status(&mut self, member: usize) -> Value {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("status-{next}");
        self.tell(member, &json!({"cmd": "status", "id": id}));
        self.wait_for("a status", LONG, |views| {
            views[member].status.contains_key(&id)
        });
        self.views()[member].status[&id].clone()
    }

    /// A member's NodeId.
    pub fn node(&self, member: usize) -> String {
        self.shared.views.lock().unwrap()[member].node.clone()
    }

    /// What all members have told so far.
    pub fn views(&self) -> Vec<View> {
        self.shared.views.lock().unwrap().clone()
    }

    /// A look at what all members have told so far.
    pub fn look<T>(&self, look: impl FnOnce(&[View]) -> T) -> T {
        look(&self.shared.views.lock().unwrap())
    }

    /// Waits until `done`; returns how long that took.
    ///
    /// # Panics
    /// After `limit`, with what the members have told.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&[View]) -> bool,
    ) -> Duration {
        let start = Instant::now();
        let mut views = self.shared.views.lock().unwrap();
        while !done(&views) {
            let elapsed = start.elapsed();
            if elapsed >= limit {
                let views = views.clone();
                self.panic_with(what, limit, &views);
            }
            views = self
                .shared
                .changed
                .wait_timeout(views, limit - elapsed)
                .unwrap()
                .0;
        }
        start.elapsed()
    }

    /// Waits until every living member's neighbours are those next to it; returns how long that
    /// took.
    pub fn wait_closed(&self, limit: Duration) -> Duration {
        self.wait_for("the ring to close", limit, is_closed)
    }

    /// Waits until the ring has closed; returns the time since the last start.
    pub fn wait_closed_since_start(&self, limit: Duration) -> Duration {
        self.wait_closed(limit);
        self.last_start.elapsed()
    }

    /// Waits until the ring is closed and no more than `links` links are open: those that only
    /// joining took are kept for some seconds.
    pub fn wait_settled(&self, links: usize) {
        let ends = |views: &[View]| views.iter().map(|view| view.links).sum::<usize>();
        let settled = |views: &[View]| is_closed(views) && ends(views) <= 2 * links;
        loop {
            self.wait_for("links to be closed", LONG, settled);
            // Some may open late.
            thread::sleep(Duration::from_millis(300));
            if self.look(settled) {
                return;
            }
        }
    }

    /// The living members in ring order.
    pub fn order(&self) -> Vec<usize> {
        self.look(order)
    }

    /// Kills a member (SIGKILL).
    pub fn kill(&mut self, member: usize) {
        self.members[member].child.kill().unwrap();
        self.shared.views.lock().unwrap()[member].lives = false;
    }

    /// Ends a member's stdin, which is a clean leave.
    pub fn close_stdin(&mut self, member: usize) {
        self.members[member].stdin = None;
        self.shared.views.lock().unwrap()[member].lives = false;
    }

    /// Waits for the end of a member's process; returns its status and what it said on stderr.
    pub fn wait_end(&mut self, member: usize) -> (ExitStatus, String) {
        self.shared.views.lock().unwrap()[member].lives = false;
        let process = &mut self.members[member];
        let status = wait(&mut process.child, LONG);
        (status, std::fs::read_to_string(&process.stderr).unwrap())
    }

    /// The process id of a member.
    pub fn id(&self, member: usize) -> u32 {
        self.members[member].child.id()
    }

    /// Sends `count` reliable messages between random pairs of living members, numbered from
    /// `first`, `window` under way at a time; waits until each has an outcome and has arrived.
    /// Returns the pairs.
    pub fn exchange(
        &mut self,
        first: usize,
        count: usize,
        window: usize,
        random: &mut Random,
    ) -> Vec<(usize, usize)> {
        let living = self.order();
        let mut pairs = Vec::new();
        for number in first..first + count {
            let (from, to) = random.pair(living.len());
            let (from, to) = (living[from], living[to]);
            pairs.push((from, to));
            self.send(from, to, &number.to_string(), &number.to_string());
            if pairs.len() >= window {
                let settled = pairs.len() - window;
                let (from, _) = pairs[settled];
                let id = (first + settled).to_string();
                self.wait_for("an outcome", LONG, |views| {
                    views[from].outcomes.contains_key(&id)
                });
            }
        }
        self.wait_for("all outcomes", LONG, |views| {
            let mut numbered = pairs.iter().zip(first..);
            numbered
                .all(|(&(from, _), number)| views[from].outcomes.contains_key(&number.to_string()))
        });
        pairs
    }

    fn panic_with(&self, what: &str, limit: Duration, views: &[View]) -> ! {
        for (number, view) in views.iter().enumerate() {
            let short = |id: &Option<String>| id.as_ref().map(|id| id[..8].to_owned());
            eprintln!(
                "n{number} {:.8}@{} lives {} ended {} joined {} successor {:?} predecessor {:?} \
                 messages {} outcomes {} errors {:?}",
                view.node,
                view.position,
                view.lives,
                view.ended,
                view.joined,
                short(&view.successor),
                short(&view.predecessor),
                view.messages.len(),
                view.outcomes.len(),
                view.errors,
            );
            let stderr = std::fs::read_to_string(&self.members[number].stderr).unwrap_or_default();
            eprint!("{stderr}");
        }
        panic!("waited {limit:?} for {what}");
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for process in &mut self.members {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

fn read(number: usize, stdout: ChildStdout, shared: &Shared) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        let event: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("n{number} wrote {line:?}: {error}"));
        shared.views.lock().unwrap()[number].take(&event);
        shared.changed.notify_all();
    }
    shared.views.lock().unwrap()[number].ended = true;
    shared.changed.notify_all();
}

impl View {
    fn take(&mut self, event: &Value) {
        let text = |field: &str| event[field].as_str().map(str::to_owned);
        let id = text("id").unwrap_or_default();
        let kind = text("event").expect("every line has an event");
        match kind.as_str() {
            "ready" => {
                self.node = text("node").unwrap();
                self.position = text("position").unwrap();
            }
            "joined" | "neighbours" => {
                self.joined |= kind == "joined";
                self.successor = text("successor");
                self.predecessor = text("predecessor");
                self.hub = text("hub");
                if let Some(links) = event["links"].as_array() {
                    let open = links.iter().filter(|link| link["state"] == "open");
                    self.links = open.count();
                }
            }
            "link" => {
                let peer = text("peer").unwrap();
                let was_open = self.links_open.contains(&peer);
                match (event["state"].as_str(), was_open) {
                    (Some("open"), false) => self.links_open.push(peer),
                    (None, true) => {
                        self.links_open.retain(|open| *open != peer);
                        self.links_lost.push(peer);
                    }
                    _ => {}
                }
            }
            "message" => self.messages.push(Message {
                from: text("from").unwrap(),
                class: text("class").unwrap(),
                seq: event["seq"].as_u64().unwrap(),
                text: text("text").or(text("data")).unwrap(),
                hops: event["hops"].as_u64().unwrap(),
            }),
            "delivered" | "failed" | "expired" | "sent" => {
                let before = self.outcomes.insert(id.clone(), kind.clone());
                assert_eq!(before, None, "{id} has a second outcome, {kind}");
            }
            "circulated" => {
                self.circulated.insert(id, event.clone());
            }
            "status" => {
                self.status.insert(id, event.clone());
            }
            "error" => self.errors.push(text("message").unwrap()),
            _ => {}
        }
    }
}

fn order(views: &[View]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..views.len())
        .filter(|&member| views[member].lives)
        .collect();
    order.sort_by_key(|&member| (&views[member].position, &views[member].node));
    order
}

fn is_closed(views: &[View]) -> bool {
    let order = order(views);
    let count = order.len();
    let node = |at: usize| (count > 1).then(|| views[order[at % count]].node.clone());
    (0..count).all(|at| {
        let view = &views[order[at]];
        view.joined && view.successor == node(at + 1) && view.predecessor == node(at + count - 1)
    })
}
