//! Random faults in random mixes.

use circlet_simulator::run::Stop;

use crate::args::SimulateArgs;
use crate::failure::Failure;

/// Tries seeds, or one plan.
pub fn run(_: &SimulateArgs, _: bool, _: &Stop) -> Result<(), Failure> {
    Err(Failure::failed("swarms cannot be run yet"))
}
