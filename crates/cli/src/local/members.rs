//! Members of a ring on this machine, as they tell of themselves.

use circlet_core::identity::NodeId;
use circlet_core::wire::LinkState;

use serde::Serialize;

use super::process::Process;
use crate::failure::Failure;
use crate::node::protocol::{NeighbourReport, Report};

/// One process of the ring.
pub struct Member {
    pub name: String,
    /// `None` once it is dead.
    pub process: Option<Process>,
    /// Its id, and its position in hexadecimal, once it is ready.
    pub place: Option<(NodeId, String)>,
    pub neighbours: Option<NeighbourReport>,
    /// Whether it has found its place on the ring.
    pub joined: bool,
    /// Messages that it has passed on, once it was asked.
    pub forwarded: Option<u64>,
}

impl Member {
    pub fn new(name: String, process: Process) -> Self {
        Self {
            name,
            process: Some(process),
            place: None,
            neighbours: None,
            joined: false,
            forwarded: None,
        }
    }

    /// Tells it to do something; the dead are told nothing.
    ///
    /// # Errors
    /// If it does not take commands.
    pub fn tell(&self, request: &impl Serialize) -> Result<(), Failure> {
        match &self.process {
            Some(process) if !process.tell(request) => {
                Err(self.failure(process, "takes no commands"))
            }
            _ => Ok(()),
        }
    }

    /// Its process has ended.
    ///
    /// # Errors
    /// If it was not killed before.
    pub fn on_end(&self) -> Result<(), Failure> {
        match &self.process {
            Some(process) => Err(self.failure(process, "has ended")),
            None => Ok(()),
        }
    }

    fn failure(&self, process: &Process, what: &str) -> Failure {
        Failure::failed(format!("{} {what}: {}", self.name, process.last_words()))
    }

    pub fn lives(&self) -> bool {
        self.process.is_some()
    }

    /// Takes what it says about itself; gives back what it says about messages.
    pub fn take(&mut self, report: Report) -> Option<Report> {
        match report {
            Report::Ready { node, position, .. } => self.place = Some((node, position)),
            Report::Joined {
                successor,
                predecessor,
                ..
            } => {
                self.joined = true;
                let neighbours = self.neighbours.get_or_insert_default();
                neighbours.successor = successor;
                neighbours.predecessor = predecessor;
            }
            Report::Neighbours(neighbours) => self.neighbours = Some(neighbours),
            Report::Status(status) => self.forwarded = Some(status.counters.forwarded),
            report => return Some(report),
        }
        None
    }

    fn open_links(&self) -> usize {
        let neighbours = self.neighbours.iter();
        let links = neighbours.flat_map(|neighbours| &neighbours.links);
        links.filter(|link| link.state == LinkState::Open).count()
    }
}

/// Lets all processes leave.
pub async fn end(members: Vec<Member>) {
    let processes = members.into_iter().filter_map(|member| member.process);
    let leaving: Vec<_> = processes
        .map(|process| tokio::spawn(process.end()))
        .collect();
    for process in leaving {
        // Fails if that has panicked, which has been said then.
        let _ = process.await;
    }
}

/// The numbers of those that live.
pub fn living(members: &[Member]) -> Vec<usize> {
    let numbers = 0..members.len();
    numbers.filter(|&number| members[number].lives()).collect()
}

/// The member with this id.
pub fn find(members: &[Member], id: NodeId) -> Option<usize> {
    let is_it = |member: &Member| matches!(&member.place, Some((node, _)) if *node == id);
    members.iter().position(is_it)
}

/// Whether everybody who lives has the living members next to it as its neighbours.
pub fn is_closed(members: &[Member]) -> bool {
    let Some(order) = in_order(members) else {
        return false;
    };
    let count = order.len();
    let id = |at: usize| match &order[at % count].place {
        Some((id, _)) if count > 1 => Some(*id),
        _ => None,
    };
    order.iter().enumerate().all(|(at, member)| {
        member.neighbours.as_ref().is_some_and(|neighbours| {
            neighbours.successor == id(at + 1) && neighbours.predecessor == id(at + count - 1)
        })
    })
}

/// Links that are open at both ends.
pub fn open_links(members: &[Member]) -> usize {
    let living = members.iter().filter(|member| member.lives());
    living.map(Member::open_links).sum::<usize>() / 2
}

/// What to call those that live, in ring order.
pub fn labels(members: &[Member]) -> Vec<String> {
    let order = in_order(members).unwrap_or_default();
    let label = |member: &Member| {
        let (_, position) = member.place.as_ref()?;
        let first = position.get(..4)?;
        Some(format!("{:<4} {first}", member.name))
    };
    order.into_iter().filter_map(label).collect()
}

/// Those that live in the order of their positions; `None` before all are ready.
fn in_order(members: &[Member]) -> Option<Vec<&Member>> {
    let living = members.iter().filter(|member| member.lives());
    let mut order: Vec<(&str, &Member)> = living
        .map(|member| member.place.as_ref().map(|(_, at)| (at.as_str(), member)))
        .collect::<Option<_>>()?;
    order.sort_by_key(|&(position, _)| position);
    Some(order.into_iter().map(|(_, member)| member).collect())
}
