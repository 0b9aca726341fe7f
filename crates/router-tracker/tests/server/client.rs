//! A node as far as the tracker can tell, and a small HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use circlet_core::Topology;
use circlet_core::identity::{Identity, Incarnation, NodeId, Purpose};
use circlet_core::room::RoomId;
use circlet_core::wire::{
    Assignment, ErrorCode, NodeKind, SUBPROTOCOL, Signal, SignalBody, TrackerMessage, VERSION,
    login_bytes,
};
use circlet_tracker::{Builder, Tracker};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Longer than anything here takes, so that a failure is one and no hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `what` no longer than is sensible.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it takes too long")
}

pub fn builder() -> Builder {
    Tracker::builder().bind("127.0.0.1:0".parse().unwrap())
}

pub async fn tracker() -> Tracker {
    builder().serve().await.unwrap()
}

/// Who a client says it is.
#[derive(Clone)]
pub struct Who {
    pub identity: Identity,
    pub incarnation: Incarnation,
    pub room: String,
    pub topology: Topology,
}

impl Who {
    pub fn new(seed: u8) -> Self {
        Self {
            identity: Identity::from_seed(&[seed; 32]),
            incarnation: Incarnation(100),
            room: "room".into(),
            topology: Topology::SmallWorld,
        }
    }

    pub fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    pub fn login(&self, nonce: &str) -> TrackerMessage {
        let (node, name) = (self.id(), "a name".to_string());
        let signed = login_bytes(
            nonce,
            &node,
            self.incarnation,
            self.topology,
            &self.room,
            &name,
        );
        TrackerMessage::Login {
            node,
            incarnation: self.incarnation,
            room: self.room.clone(),
            name,
            kind: NodeKind::Native,
            topology: self.topology,
            hub: None,
            signature: self.identity.sign(Purpose::Login, &signed),
        }
    }

    pub fn signal(&self, to: NodeId, signal: Signal) -> TrackerMessage {
        let body = SignalBody {
            version: VERSION,
            room: RoomId::open(&self.room),
            from: self.id(),
            to,
            incarnation: self.incarnation,
            attempt: 42,
            sequence: 1,
            expires_unix_ms: 1,
            signal,
        };
        TrackerMessage::Signal {
            signal: body.sign(&self.identity),
        }
    }
}

/// A WebSocket request to the tracker at `url`.
pub fn request(url: &str, subprotocol: Option<&'static str>) -> Request {
    let mut request = url.into_client_request().unwrap();
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(subprotocol),
        );
    }
    request
}

/// A connected client.
pub struct Client<S = TcpStream> {
    socket: WebSocketStream<S>,
    pub nonce: String,
}

impl Client {
    /// Connects and reads the challenge.
    pub async fn connect(tracker: &Tracker) -> Self {
        let stream = soon(TcpStream::connect(tracker.local_addr()))
            .await
            .unwrap();
        Self::over(stream, &tracker.url()).await
    }

    /// Connects and logs in.
    pub async fn enter(tracker: &Tracker, who: &Who) -> (Self, u64, Assignment) {
        let mut client = Self::connect(tracker).await;
        let (members, assignment) = client.login(who).await;
        (client, members, assignment)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn over(stream: S, url: &str) -> Self {
        let request = request(url, Some(SUBPROTOCOL));
        let (socket, response) = soon(tokio_tungstenite::client_async(request, stream))
            .await
            .unwrap();
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], SUBPROTOCOL);
        let mut client = Self {
            socket,
            nonce: String::new(),
        };
        match client.receive().await {
            TrackerMessage::Challenge { version, nonce, .. } => {
                assert_eq!(version, VERSION);
                client.nonce = nonce;
            }
            other => panic!("{other:?}"),
        }
        client
    }

    pub async fn login(&mut self, who: &Who) -> (u64, Assignment) {
        let login = who.login(&self.nonce);
        self.send(&login).await;
        match self.receive().await {
            TrackerMessage::Welcome {
                members,
                assignment,
                ..
            } => (members, assignment),
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, message: &TrackerMessage) {
        self.send_raw(Message::Text(message.to_json().into())).await;
    }

    /// Sends to a tracker that may have closed the connection meanwhile.
    pub async fn try_send(&mut self, message: &TrackerMessage) {
        let message = Message::Text(message.to_json().into());
        let _ = soon(self.socket.send(message)).await;
    }

    /// What the WebSocket runs over.
    pub fn stream(&mut self) -> &mut S {
        self.socket.get_mut()
    }

    pub async fn send_raw(&mut self, message: Message) {
        soon(self.socket.send(message)).await.unwrap();
    }

    /// The next message of the tracker.
    pub async fn receive(&mut self) -> TrackerMessage {
        match self.receive_raw().await {
            Message::Text(text) => TrackerMessage::from_json(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn receive_raw(&mut self) -> Message {
        soon(self.socket.next()).await.unwrap().unwrap()
    }

    /// What comes before the tracker closes the connection, and its close code.
    pub async fn last_words(&mut self) -> (Vec<TrackerMessage>, Option<CloseCode>) {
        let (mut words, mut code) = (Vec::new(), None);
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    words.push(TrackerMessage::from_json(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => code = frame.map(|frame| frame.code),
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(Error::Io(_) | Error::Protocol(_))) | None => return (words, code),
                Some(Err(other)) => panic!("{other:?}"),
            }
        }
    }

    /// The code of the error that the tracker closes the connection with.
    pub async fn refusal(&mut self) -> ErrorCode {
        match self.last_words().await.0.as_slice() {
            [TrackerMessage::Error { code, .. }] => *code,
            other => panic!("{other:?}"),
        }
    }

    /// Returns once the tracker has taken everything said before.
    pub async fn settle(&mut self) {
        self.send(&TrackerMessage::Ping).await;
        assert_eq!(self.receive().await, TrackerMessage::Pong);
    }
}

/// An HTTP answer: its status, its head, its body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends `request` as it is and reads until the other side closes.
pub async fn exchange(addr: SocketAddr, request: &str) -> Answer {
    let mut stream = soon(TcpStream::connect(addr)).await.unwrap();
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer {
        status: head.split(' ').nth(1).unwrap_or("0").parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_string(),
    }
}

pub async fn get(addr: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    exchange(addr, &request).await
}
