//! The signals that ask a process to end.

#[cfg(unix)]
use std::future::Future;
use std::future::pending;

/// Waits for SIGINT or SIGTERM. On Unix neither is missed, or does what it does by default, from
/// the call on.
#[cfg(unix)]
pub fn end() -> impl Future<Output = ()> {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    async fn heard(stream: std::io::Result<Signal>) {
        match stream {
            Ok(mut stream) => {
                stream.recv().await;
            }
            // Without a handler the signal does what it does by default.
            Err(_) => pending().await,
        }
    }
    let terminated = signal(SignalKind::terminate());
    let interrupted = signal(SignalKind::interrupt());
    async {
        tokio::select! {
            () = heard(terminated) => {}
            () = heard(interrupted) => {}
        }
    }
}

/// Waits for an interruption from the keyboard.
#[cfg(not(unix))]
pub async fn end() {
    if tokio::signal::ctrl_c().await.is_err() {
        pending::<()>().await;
    }
}
