//! The addresses of STUN servers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a link waits for the address of a STUN server before it goes on without; its own
/// candidates wait meanwhile. Guess.
const LOOKUP_WAIT: Duration = Duration::from_millis(100);

/// How long an address that was looked up is used. Guess.
const LOOKUP_HOLDS: Duration = Duration::from_secs(300);

/// Looks up the addresses of STUN servers, and remembers them. The stack looks them up for every link, in the task that also
/// runs the link: a name server that does not answer would hold up everything else.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// As many as there are STUN servers in the settings.
    known: Mutex<BTreeMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl Names {
    /// The addresses of `host`, a name or an address with a port; those known before if they
    /// cannot be looked up soon.
    ///
    /// # Errors
    /// If there are none.
    pub(super) async fn resolve(self: Arc<Self>, host: String) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let known = self.known().get(&host).cloned();
        match known {
            Some((at, addresses)) if at.elapsed() < LOOKUP_HOLDS => Ok(addresses),
            _ => {
                // Goes on if this link does not wait for it: the next one will profit.
                let lookup = tokio::spawn(self.look_up(host));
                match tokio::time::timeout(LOOKUP_WAIT, lookup).await {
                    Ok(found) => found.map_err(io::Error::other)?,
                    Err(late) => known.map(|(_, old)| old).ok_or_else(|| late.into()),
                }
            }
        }
    }

    async fn look_up(self: Arc<Self>, host: String) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = tokio::net::lookup_host(&host).await?.collect();
        self.known()
            .insert(host, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Vec<SocketAddr>)>> {
        // Nobody can panic while holding it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_looked_up_once() {
        let names = Arc::new(Names::default());
        let first = Arc::clone(&names)
            .resolve("localhost:3478".to_owned())
            .await;
        let first = first.unwrap();
        assert!(first.iter().any(|address| address.ip().is_loopback()));
        assert_eq!(
            Arc::clone(&names)
                .resolve("localhost:3478".to_owned())
                .await
                .unwrap(),
            first
        );
        assert_eq!(names.known().len(), 1);
    }

    #[tokio::test]
    async fn literal_addresses_need_no_lookup() {
        let names = Arc::new(Names::default());
        let literal = "192.0.2.1:3478";
        let found = Arc::clone(&names).resolve(literal.to_owned()).await;
        assert_eq!(found.unwrap(), [literal.parse::<SocketAddr>().unwrap()]);
        assert!(names.known().is_empty());
    }
}
