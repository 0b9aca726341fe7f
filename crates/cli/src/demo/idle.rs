//! What members take that have nothing to do.

use std::process;
use std::time::Duration;

use serde::Serialize;

use crate::local::members::Member;
use crate::local::process::Process;
use crate::statistics::{hundredths, tenths};
use crate::usage::{Usage, usage_of};

/// What each member took, on average. Of members in one process, what that process took beyond
/// what it took without them: the tracker and the demo in it are part of the CPU time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Idle {
    pub seconds: f64,
    /// Link ends of a member.
    pub links: f64,
    /// Resident memory in 1,000,000 bytes.
    pub resident_mb: f64,
    /// Of one core.
    pub cpu_percent: f64,
}

impl Idle {
    /// Puts together what was taken when this process was empty, before the time and after it;
    /// `None` where the system does not tell.
    pub fn new(
        nodes: usize,
        links: usize,
        time: Duration,
        taken: [Option<Usage>; 3],
    ) -> Option<Self> {
        let [empty, before, after] = taken;
        let (empty, before, after) = (empty?, before?, after?);
        let nodes = nodes as f64;
        let resident = after.memory.saturating_sub(empty.memory) as f64 / nodes;
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / nodes;
        Some(Self {
            seconds: time.as_secs_f64(),
            links: tenths(2.0 * links as f64 / nodes),
            resident_mb: hundredths(resident / 1e6),
            cpu_percent: (cpu / time.as_secs_f64() * 1e5).round() / 1e3,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        format!(
            "{:.2} MB resident and {:.3} % of a core for each member, with {:.1} links, over {:.0} s",
            self.resident_mb, self.cpu_percent, self.links, self.seconds
        )
    }
}

/// What the members' processes have taken so far; what this one has if they have none.
pub fn taken(members: &[Member]) -> Option<Usage> {
    let processes = members.iter().filter_map(|member| member.process.as_ref());
    let ids: Vec<u32> = processes.filter_map(Process::id).collect();
    if ids.is_empty() {
        return usage_of(process::id());
    }
    ids.into_iter().try_fold(Usage::default(), |sum, id| {
        let usage = usage_of(id)?;
        Some(Usage {
            cpu: sum.cpu + usage.cpu,
            memory: sum.memory + usage.memory,
        })
    })
}
