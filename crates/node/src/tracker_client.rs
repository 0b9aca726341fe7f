//! The WebSocket connection to a tracker.
//!
//! One task per connection, which carries messages and decides nothing: logging in, pings and
//! trying again are the core's.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use circlet_core::node::TrackerId;
use circlet_core::wire::{MAX_TRACKER_MESSAGE, SUBPROTOCOL, TrackerMessage};
use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::uri::PathAndQuery;
use tokio_tungstenite::tungstenite::http::{StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};
use tracing::debug;

use crate::dial::{Dial, Stream};

/// Time for name resolution, TCP, TLS and the WebSocket handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a message may take to be handed to the network.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Messages to a tracker that may wait. A node sends some dozens while it joins.
const QUEUE: usize = 256;

/// The longest URL, in bytes: as in presence records.
const MAX_URL: usize = 256;

/// Where a tracker is: `ws://HOST[:PORT][/PATH]`, or `wss://` for TLS. The path is `/ws` unless
/// given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerUrl {
    text: String,
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

/// A text that is no tracker's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no tracker's URL ({reason}); one looks like ws://127.0.0.1:7700")]
pub struct TrackerUrlError {
    url: String,
    reason: &'static str,
}

impl TrackerUrl {
    /// The URL as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TrackerUrl {
    type Err = TrackerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| TrackerUrlError {
            url: text.chars().take(MAX_URL).collect(),
            reason,
        };
        if text.len() > MAX_URL {
            return Err(fail("it is too long"));
        }
        let uri: Uri = text.parse().map_err(|_| fail("it is no URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(fail("it must begin with ws:// or wss://")),
        };
        if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err(fail("it must not hold a user or password"));
        }
        let host = match uri.host() {
            Some(host) if !host.is_empty() => host.trim_matches(['[', ']']).to_owned(),
            _ => return Err(fail("it names no host")),
        };
        // `Uri` takes what follows a colon for a port only if it is one.
        let port = match uri.port_u16() {
            Some(0) => return Err(fail("port 0 is none")),
            Some(port) => port,
            None if uri.authority().is_some_and(|it| has_port(it.as_str())) => {
                return Err(fail("the port is no number under 65536"));
            }
            None if is_tls => 443,
            None => 80,
        };
        let mut parts = uri.into_parts();
        if parts.path_and_query.as_ref().is_none_or(|path| path == "/") {
            parts.path_and_query = Some(PathAndQuery::from_static("/ws"));
        }
        Ok(Self {
            uri: Uri::from_parts(parts).map_err(|_| fail("it is no URL"))?,
            text: text.to_owned(),
            host,
            port,
            is_tls,
        })
    }
}

fn has_port(authority: &str) -> bool {
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    after_host.contains(':')
}

/// Names one connection to a tracker, so that a late event of an old one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    pub(crate) tracker: TrackerId,
    pub(crate) generation: u64,
}

/// What a connection has to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TrackerEvent {
    Message(Box<TrackerMessage>),
    /// It ended or could not be made; for people, why. The last event.
    Lost(String),
}

pub(crate) type TrackerEvents = mpsc::Sender<(ConnectionId, TrackerEvent)>;

/// Connects to `url` and carries messages both ways until one side ends it.
///
/// Returns where messages to the tracker go, and the task to be run. Dropping the sender closes
/// the connection, once what was sent before is out.
pub(crate) fn connect(
    url: Arc<TrackerUrl>,
    dial: Arc<dyn Dial>,
    connection: ConnectionId,
    events: TrackerEvents,
) -> (
    mpsc::Sender<TrackerMessage>,
    impl Future<Output = ()> + Send + 'static,
) {
    let (sender, mut outgoing) = mpsc::channel(QUEUE);
    let task = async move {
        let result = match open(&url, &*dial).await {
            Ok(mut socket) => carry(&mut socket, &mut outgoing, connection, &events).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            debug!(%url, %error, "tracker lost");
            // Nobody listens any more only when the node has ended.
            let _ = events
                .send((connection, TrackerEvent::Lost(error.to_string())))
                .await;
        }
    };
    (sender, task)
}

type Socket = WebSocketStream<MaybeTlsStream<Box<dyn Stream>>>;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout,
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no trusted certificates on this system: {0}")]
    NoRoots(String),
    #[error("it has no room now ({0}); trying again")]
    TurnedAway(StatusCode),
    #[error("no circlet tracker answers there: {0}")]
    Handshake(Box<tungstenite::Error>),
    #[error("it takes no messages")]
    SendTimeout,
    #[error("{0}")]
    WebSocket(Box<tungstenite::Error>),
    #[error("it said something that cannot be read: {0}")]
    Unreadable(String),
    #[error("it closed the connection")]
    Closed,
}

impl From<tungstenite::Error> for Error {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Closed
            }
            error => Self::WebSocket(Box::new(error)),
        }
    }
}

async fn open(url: &TrackerUrl, dial: &dyn Dial) -> Result<Socket, Error> {
    timeout(CONNECT_TIMEOUT, open_in_time(url, dial))
        .await
        .unwrap_or(Err(Error::ConnectTimeout))
}

async fn open_in_time(url: &TrackerUrl, dial: &dyn Dial) -> Result<Socket, Error> {
    let connector = if url.is_tls {
        let tls = tokio::task::spawn_blocking(trusting_the_system)
            .await
            .map_err(|error| Error::NoRoots(error.to_string()))?
            .map_err(Error::NoRoots)?;
        Connector::Rustls(tls)
    } else {
        Connector::Plain
    };
    open_with(url, dial, connector).await
}

async fn open_with(
    url: &TrackerUrl,
    dial: &dyn Dial,
    connector: Connector,
) -> Result<Socket, Error> {
    let dialled = dial.dial(url.host.clone(), url.port).await;
    let stream = dialled.map_err(Error::Connect)?;
    let request = ClientRequestBuilder::new(url.uri.clone()).with_sub_protocol(SUBPROTOCOL);
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .max_write_buffer_size(4 * MAX_TRACKER_MESSAGE)
        .max_message_size(Some(MAX_TRACKER_MESSAGE))
        .max_frame_size(Some(MAX_TRACKER_MESSAGE));
    let (socket, _response) = tokio_tungstenite::client_async_tls_with_config(
        request,
        stream,
        Some(config),
        Some(connector),
    )
    .await
    .map_err(|error| match error {
        tungstenite::Error::Http(answer) if is_temporary(answer.status()) => {
            Error::TurnedAway(answer.status())
        }
        error => Error::Handshake(Box::new(error)),
    })?;
    Ok(socket)
}

/// Whether a tracker, or what stands before it, says so when there is too much to do.
fn is_temporary(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
}

/// TLS that trusts whom the system trusts, or the certificates that `SSL_CERT_FILE` names.
fn trusting_the_system() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(match found.errors.first() {
                    Some(error) => error.to_string(),
                    None => "install ca-certificates or set SSL_CERT_FILE".to_owned(),
                });
            }
            trusting(roots)
        })
        .clone()
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    // Named, as other crates of the application may bring another provider in.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Carries messages until this side closes (`Ok`) or the connection is lost.
async fn carry(
    socket: &mut Socket,
    outgoing: &mut mpsc::Receiver<TrackerMessage>,
    connection: ConnectionId,
    events: &TrackerEvents,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => send(socket, &message).await?,
                None => {
                    // It is over for us, however the other side takes it.
                    let _ = timeout(CLOSE_TIMEOUT, close(socket)).await;
                    return Ok(());
                }
            },
            received = socket.next() => {
                let message = match received.ok_or(Error::Closed)?? {
                    Message::Text(text) => TrackerMessage::from_json(text.as_str())
                        .map_err(|error| Error::Unreadable(error.to_string()))?,
                    Message::Binary(_) => {
                        return Err(Error::Unreadable("binary message".to_owned()));
                    }
                    Message::Close(_) => return Err(Error::Closed),
                    // Answered by the library.
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
                };
                if events.send((connection, TrackerEvent::Message(Box::new(message)))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn send(socket: &mut Socket, message: &TrackerMessage) -> Result<(), Error> {
    let text = Message::text(message.to_json());
    timeout(SEND_TIMEOUT, socket.send(text))
        .await
        .map_err(|_| Error::SendTimeout)??;
    Ok(())
}

/// The closing handshake (RFC 6455, section 7.1.1): without waiting for the other side's part
/// what was sent last might be lost.
async fn close(socket: &mut Socket) -> Result<(), Error> {
    socket.close(None).await?;
    while let Some(received) = socket.next().await {
        received?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
    use tokio_tungstenite::tungstenite::http::HeaderValue;

    use super::*;
    use crate::dial::Tcp;

    const CONNECTION: ConnectionId = ConnectionId {
        tracker: TrackerId(3),
        generation: 7,
    };

    /// A connection to `address`, and what it says.
    struct Client {
        outgoing: mpsc::Sender<TrackerMessage>,
        events: mpsc::Receiver<(ConnectionId, TrackerEvent)>,
        task: JoinHandle<()>,
    }

    impl Client {
        fn connect(address: SocketAddr) -> Self {
            let url = Arc::new(format!("ws://{address}").parse().unwrap());
            let (sender, events) = mpsc::channel(16);
            let (outgoing, task) = connect(url, Arc::new(Tcp), CONNECTION, sender);
            Self {
                outgoing,
                events,
                task: tokio::spawn(task),
            }
        }

        async fn next(&mut self) -> TrackerEvent {
            let event = timeout(Duration::from_secs(10), self.events.recv()).await;
            let (connection, event) = event.expect("an event in time").expect("an event");
            assert_eq!(connection, CONNECTION);
            event
        }

        async fn lost(&mut self) -> String {
            match self.next().await {
                TrackerEvent::Lost(reason) => reason,
                TrackerEvent::Message(message) => panic!("{message:?}"),
            }
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[expect(
        clippy::result_large_err,
        reason = "the signature is tungstenite's callback's"
    )]
    async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
        let (stream, _) = listener.accept().await.unwrap();
        accept_hdr_async(stream, |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/ws");
            let offered = &request.headers()["sec-websocket-protocol"];
            assert_eq!(offered, SUBPROTOCOL);
            let chosen = HeaderValue::from_static(SUBPROTOCOL);
            response
                .headers_mut()
                .insert("sec-websocket-protocol", chosen);
            Ok(response)
        })
        .await
        .unwrap()
    }

    fn text(message: &TrackerMessage) -> Message {
        Message::text(message.to_json())
    }

    #[tokio::test]
    async fn messages_pass_both_ways_and_closing_flushes() {
        let (listener, address) = listener().await;
        let mut client = Client::connect(address);
        let mut server = accept(&listener).await;
        server.send(text(&TrackerMessage::Ping)).await.unwrap();
        assert_eq!(
            client.next().await,
            TrackerEvent::Message(Box::new(TrackerMessage::Ping))
        );
        for _ in 0..100 {
            client.outgoing.send(TrackerMessage::Ask).await.unwrap();
        }
        client.outgoing.send(TrackerMessage::Leave).await.unwrap();
        drop(client.outgoing);
        for _ in 0..100 {
            let received = server.next().await.unwrap().unwrap();
            assert_eq!(received, text(&TrackerMessage::Ask));
        }
        let last = server.next().await.unwrap().unwrap();
        assert_eq!(last, text(&TrackerMessage::Leave));
        assert!(matches!(
            server.next().await,
            Some(Ok(Message::Close(_))) | None
        ));
        drop(server);
        client.task.await.unwrap();
        assert_eq!(
            client.events.recv().await,
            None,
            "an end on purpose is no loss"
        );
    }

    #[tokio::test]
    async fn every_other_end_is_a_loss() {
        let (listener, address) = listener().await;
        for (last_words, reason) in [
            (Some(Message::text("nonsense")), "cannot be read"),
            (Some(Message::binary(vec![1])), "cannot be read"),
            (
                Some(Message::text(" ".repeat(MAX_TRACKER_MESSAGE + 1))),
                "too long",
            ),
            (Some(Message::Close(None)), "closed"),
            (None, ""),
        ] {
            let mut client = Client::connect(address);
            let mut server = accept(&listener).await;
            if let Some(message) = last_words {
                server.send(message).await.unwrap();
                // Held open: the client has to notice by what was said.
                let lost = client.lost().await;
                assert!(lost.contains(reason), "{lost:?} should say {reason:?}");
            } else {
                drop(server);
                client.lost().await;
            }
            timeout(CONNECT_TIMEOUT, client.task)
                .await
                .unwrap()
                .unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_there_and_somebody_else_there_are_told_apart() {
        let (listener, address) = listener().await;
        drop(listener);
        let lost = Client::connect(address).lost().await;
        assert!(lost.starts_with("cannot connect"), "{lost}");

        let (listener, address) = self::listener().await;
        let mut client = Client::connect(address);
        let (mut stream, _) = listener.accept().await.unwrap();
        let full = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, full)
            .await
            .unwrap();
        let lost = client.lost().await;
        assert!(lost.starts_with("it has no room now (503"), "{lost}");

        let mut client = Client::connect(address);
        let (stream, _) = listener.accept().await.unwrap();
        // A WebSocket server, but of another protocol.
        tokio_tungstenite::accept_async(stream).await.unwrap();
        let lost = client.lost().await;
        assert!(lost.starts_with("no circlet tracker"), "{lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up() {
        let (listener, address) = listener().await;
        let mut client = Client::connect(address);
        let _stream = listener.accept().await.unwrap();
        let lost = client.lost().await;
        assert_eq!(lost, "no connection within 5 s");
    }

    #[tokio::test]
    async fn tls_takes_who_is_trusted_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("cert"), directory.path().join("key"));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tracker = circlet_tracker::Tracker::builder()
            .bind("127.0.0.1:0".parse().unwrap())
            .tls(cert, key)
            .serve()
            .await
            .unwrap();
        let url: TrackerUrl = tracker.url().parse().unwrap();
        assert!(url.is_tls);

        let mut roots = RootCertStore::empty();
        let nobody = Connector::Rustls(trusting(roots.clone()).unwrap());
        let refused = open_with(&url, &Tcp, nobody).await.map(drop);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("invalid peer certificate"), "{refused}");

        roots.add(made.cert.der().clone()).unwrap();
        let trusting = Connector::Rustls(trusting(roots).unwrap());
        let mut socket = open_with(&url, &Tcp, trusting).await.unwrap();
        let first = socket.next().await.unwrap().unwrap();
        let challenge = TrackerMessage::from_json(first.to_text().unwrap());
        assert!(matches!(challenge, Ok(TrackerMessage::Challenge { .. })));
        tracker.shutdown().await;
    }

    #[test]
    fn urls_are_read_with_their_defaults() {
        for (text, uri, host, port) in [
            (
                "ws://127.0.0.1:7700",
                "ws://127.0.0.1:7700/ws",
                "127.0.0.1",
                7700,
            ),
            ("ws://a.example", "ws://a.example/ws", "a.example", 80),
            ("wss://a.example/", "wss://a.example/ws", "a.example", 443),
            ("ws://[::1]:7/x", "ws://[::1]:7/x", "::1", 7),
        ] {
            let url: TrackerUrl = text.parse().unwrap();
            assert_eq!(
                (url.uri.to_string().as_str(), url.host.as_str(), url.port),
                (uri, host, port)
            );
            assert_eq!(url.as_str(), text);
        }
        for bad in [
            "",
            "127.0.0.1:7700",
            "http://a.example",
            "ws://",
            "ws://:7700",
            "ws://a.example:0",
            "ws://a.example:70000",
            "ws://a.example:x",
            "ws://ada:secret@a.example",
            "ws://a b",
            &format!("ws://{}", "a".repeat(MAX_URL)),
        ] {
            let error = bad.parse::<TrackerUrl>().unwrap_err().to_string();
            assert!(error.contains("ws://127.0.0.1:7700"), "{error}");
        }
    }
}
