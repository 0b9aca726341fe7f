//! `circlet bench broadcast`: messages to all members of a room, each member a process.

mod figures;
pub mod member;
mod protocol;
mod tally;

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::local::members::{self, Member};
use crate::local::process::{Process, Told};
use crate::output::print;
use crate::{descriptors, signals, tracker};
use figures::{Figures, Run};
use protocol::{Account, Answer, Order, Total};

/// Bytes of a message unless told otherwise.
const SIZE: usize = 200;

/// Answers of the processes that may wait; beyond that they wait for the benchmark.
const TOLD: usize = 4096;

/// Time for the ring to close, and for anything else that takes moments.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for which no link may have come or gone before it begins; time after which it begins
/// anyway.
const CALM: Duration = Duration::from_secs(2);
const SETTLING: Duration = Duration::from_secs(20);

/// Time without any message after which those that are missing are taken to be lost: longer than
/// members ask for what is missing.
const SILENCE: Duration = Duration::from_secs(12);

/// Measures, prints a table, and the figures as one JSON object in the last line.
pub async fn run(args: BenchArgs, json: bool, verbose: u8) -> Result<(), Failure> {
    let (nodes, killed) = (
        args.broadcast.nodes,
        args.broadcast.kill.of(args.broadcast.nodes),
    );
    if killed + 2 > nodes {
        return Err(Failure::Usage(format!(
            "killing {killed} of {nodes} leaves no two of them; kill fewer"
        )));
    }
    descriptors::raise_limit();
    let tracker = tracker::start_local().await?;
    let mut bench = Bench::new(args, killed, verbose)?;
    let figures = tokio::select! {
        figures = bench.measure(tracker.url()) => figures,
        () = signals::end() => Err(Failure::failed("stopped before it was done")),
    };
    bench.end().await;
    tracker.shutdown().await;
    let figures = figures?;
    if !json {
        for line in figures.lines() {
            print(&line);
        }
    }
    // No map with keys that are not text, no failing serializer: this cannot fail.
    print(&serde_json::to_string(&figures).unwrap_or_default());
    if figures.is_clean() {
        Ok(())
    } else {
        Err(Failure::failed(
            "messages were lost, repeated or out of order; run it again with -v and report it",
        ))
    }
}

struct Bench {
    args: BenchArgs,
    /// How many are to be killed: the last ones, whose places on the ring are random.
    killed: usize,
    verbose: u8,
    /// What the processes say on stderr; removed at the end.
    directory: TempDir,
    members: Vec<Member>,
    progress: Vec<Progress>,
    told: mpsc::Receiver<Told<Answer>>,
    tell: mpsc::Sender<Told<Answer>>,
}

/// What is known of a member while messages are under way.
#[derive(Default)]
struct Progress {
    sent: usize,
    /// By the number of the sender.
    received: Vec<usize>,
    total: Option<Box<Total>>,
}

impl Bench {
    fn new(args: BenchArgs, killed: usize, verbose: u8) -> Result<Self, Failure> {
        let directory = TempDir::with_prefix("circlet-bench-")
            .map_err(|error| Failure::failed(format!("no temporary directory: {error}")))?;
        let (tell, told) = mpsc::channel(TOLD);
        Ok(Self {
            args,
            killed,
            verbose,
            directory,
            members: Vec::new(),
            progress: Vec::new(),
            told,
            tell,
        })
    }

    async fn measure(&mut self, tracker: String) -> Result<Figures, Failure> {
        self.form(tracker).await?;
        self.settle().await?;
        let links = members::open_links(&self.members);
        self.begin()?;
        if self.killed > 0 {
            let half = self.messages().iter().sum::<usize>() / 2;
            let is_half_sent =
                |bench: &Self| bench.progress.iter().map(|p| p.sent).sum::<usize>() >= half;
            self.listen("half of the messages were not sent", is_half_sent)
                .await?;
            self.kill()?;
        }
        self.listen_to_the_end().await?;
        let totals = self.totals().await?;
        let broadcast = &self.args.broadcast;
        Ok(Figures::new(Run {
            size: self.size(),
            topology: broadcast.topology.topology,
            rate: broadcast.rate,
            messages: self.messages(),
            killed: self.killed,
            links,
            totals,
        }))
    }

    /// Starts the processes and waits for the ring.
    async fn form(&mut self, tracker: String) -> Result<(), Failure> {
        let nodes = self.args.broadcast.nodes;
        let most = self.messages().into_iter().max().unwrap_or_default();
        for member in 0..nodes {
            let name = format!("n{}", member + 1);
            let process = Process::start(
                member,
                vec!["bench".into(), "broadcast-member".into()],
                self.directory.path(),
                self.verbose,
                self.tell.clone(),
            )
            .map_err(|error| Failure::failed(format!("cannot start {name}: {error}")))?;
            self.members.push(Member::new(name, process));
            self.progress.push(Progress::default());
            // There are 200 at most.
            let number = |of: usize| u16::try_from(of).unwrap_or(u16::MAX);
            let order = Order::Join {
                number: number(member),
                members: number(nodes),
                tracker: tracker.clone(),
                topology: self.args.broadcast.topology.topology,
                messages: most,
            };
            self.members[member].tell(&order)?;
        }
        self.listen("the ring did not close", |bench| {
            members::is_closed(&bench.members)
        })
        .await
    }

    /// Waits until links neither come nor go.
    async fn settle(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let (mut links, mut since) = (members::open_links(&self.members), start);
        while since.elapsed() < CALM && start.elapsed() < SETTLING {
            if let Ok(Some(told)) = timeout_at((since + CALM).into(), self.told.recv()).await {
                self.on_told(told)?;
            }
            let now = members::open_links(&self.members);
            if now != links {
                (links, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Has all begin to count, and the senders to send.
    fn begin(&mut self) -> Result<(), Failure> {
        let messages = self.messages();
        let senders = messages.iter().filter(|messages| **messages > 0).count();
        let rate = self.args.broadcast.rate;
        for (member, messages) in messages.into_iter().enumerate() {
            let order = Order::Begin {
                messages,
                size: self.size(),
                rate: rate.map(|rate| rate as f64 / senders as f64),
            };
            self.members[member].tell(&order)?;
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Failure> {
        let living = self.members.len() - self.killed;
        for member in &mut self.members[living..] {
            if let Some(mut process) = member.process.take() {
                process.kill().map_err(|error| {
                    Failure::failed(format!("cannot kill {}: {error}", member.name))
                })?;
            }
        }
        Ok(())
    }

    /// Waits until all living members have all messages of living members, or nothing comes any
    /// more.
    async fn listen_to_the_end(&mut self) -> Result<(), Failure> {
        let messages = self.messages();
        let living = members::living(&self.members);
        let is_done = |bench: &Self| {
            living.iter().all(|&at| {
                let received = &bench.progress[at].received;
                living.iter().all(|&from| {
                    from == at || received.get(from).copied().unwrap_or(0) >= messages[from]
                })
            })
        };
        let state = |bench: &Self| {
            let progress = bench.progress.iter();
            progress
                .map(|progress| (progress.sent, progress.received.iter().sum::<usize>()))
                .collect::<Vec<_>>()
        };
        let mut last = (Instant::now(), state(self));
        while !is_done(self) && last.0.elapsed() < SILENCE {
            if let Ok(Some(told)) = timeout_at((last.0 + SILENCE).into(), self.told.recv()).await {
                self.on_told(told)?;
            }
            let now = state(self);
            if now != last.1 {
                last = (Instant::now(), now);
            }
        }
        Ok(())
    }

    /// What each member has seen; `None` of the dead.
    async fn totals(&mut self) -> Result<Vec<Option<Box<Total>>>, Failure> {
        let living = members::living(&self.members);
        for &member in &living {
            self.members[member].tell(&Order::Tell)?;
        }
        self.listen("a member did not tell what it has seen", |bench| {
            living.iter().all(|&at| bench.progress[at].total.is_some())
        })
        .await?;
        Ok(self.progress.iter_mut().map(|p| p.total.take()).collect())
    }

    /// Lets every process leave.
    async fn end(self) {
        // What they still tell is not waited for.
        drop(self.told);
        members::end(self.members).await;
    }

    async fn listen(&mut self, failure: &str, done: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let mut deadline = Instant::now() + PATIENCE;
        if let Some(rate) = self.args.broadcast.rate {
            let sending = self.args.broadcast.messages as f64 / rate as f64;
            deadline += Duration::from_secs_f64(sending);
        }
        while !done(self) {
            match timeout_at(deadline.into(), self.told.recv()).await {
                Ok(Some(told)) => self.on_told(told)?,
                Ok(None) => {}
                Err(_) => {
                    return Err(Failure::failed(format!(
                        "{failure} in time; run it again with fewer --nodes, or with -v"
                    )));
                }
            }
        }
        Ok(())
    }

    fn on_told(&mut self, told: Told<Answer>) -> Result<(), Failure> {
        let (member, progress) = (
            &mut self.members[told.member],
            &mut self.progress[told.member],
        );
        match told.report {
            Some(Answer::Node(report)) => {
                member.take(report);
            }
            Some(Answer::Account(Account::Progress { sent, received })) => {
                progress.sent = sent;
                progress.received = received;
            }
            Some(Answer::Account(Account::Total(total))) => progress.total = Some(total),
            None => member.on_end()?,
        }
        Ok(())
    }

    /// How many messages each member sends.
    fn messages(&self) -> Vec<usize> {
        let args = &self.args.broadcast;
        let senders = if args.from_all { args.nodes } else { 1 };
        let share = |member: usize| {
            let rest = usize::from(member < args.messages % senders);
            if member < senders {
                args.messages / senders + rest
            } else {
                0
            }
        };
        (0..args.nodes).map(share).collect()
    }

    fn size(&self) -> usize {
        self.args.size.unwrap_or(SIZE)
    }
}
