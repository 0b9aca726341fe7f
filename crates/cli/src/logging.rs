//! Logs on stderr.

use tracing_subscriber::EnvFilter;

/// Logs what RUST_LOG says, else as much as there are `-v`. Without either nothing is logged: a
/// command that fails says one line, and that is all.
pub fn start(verbose: u8) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(match verbose {
            0 => "off",
            1 => "warn,circlet=info,circlet_core=info,circlet_node=info,circlet_tracker=info",
            _ => "info,circlet=trace,circlet_core=trace,circlet_node=trace,circlet_tracker=trace",
        })
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
