//! A WebSocket (RFC 6455) from the server's side that holds no memory while nothing happens.
//!
//! `tokio-tungstenite` keeps its buffers for as long as a connection lives, at the size of the
//! largest message that ever went through them: 4 KiB of an idle client, more than 128 KiB of one
//! that wishes it so. Twenty thousand clients make that the tracker's memory. Here what has come
//! and what is to go lie in buffers that are given back as soon as they are empty; reading goes
//! through the stack. Handshake and frame headers are still tungstenite's.

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use circlet_core::wire::MAX_TRACKER_MESSAGE;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Bytes read at a time.
const READ: usize = 8 * 1024;

/// Pongs that may wait, in bytes; of more pings some stay unanswered (RFC 6455, section 5.5.3).
const PONGS: usize = 1024;

/// The most that a control frame carries (RFC 6455, section 5.5).
const MAX_CONTROL: u64 = 125;

/// What every client may have begun to send, however much the others have: a login.
const FREE: usize = 4 * 1024;

/// A WebSocket after its handshake.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    stream: S,
    unread: Unread,
    unwritten: Vec<u8>,
    /// Of `unwritten`, the bytes that are written.
    written: usize,
}

/// Something whole that has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(String),
    /// A ping or pong. A ping's answer waits to be flushed.
    Control,
    /// The other side has closed. The answer waits to be flushed.
    Closed,
}

#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    Refused(Violation),
}

/// Why the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: CloseCode,
    pub(crate) text: &'static str,
}

const PROTOCOL: Violation = Violation {
    code: CloseCode::Protocol,
    text: "this is not the WebSocket protocol (RFC 6455)",
};

const NOT_TEXT: Violation = Violation {
    code: CloseCode::Unsupported,
    text: "messages are JSON text, and this one is binary",
};

const NOT_UTF8: Violation = Violation {
    code: CloseCode::Invalid,
    text: "messages are JSON text, and this one is not UTF-8",
};

const TOO_LARGE: Violation = Violation {
    code: CloseCode::Size,
    text: "a message has at most 65536 bytes",
};

const TOO_BUSY: Violation = Violation {
    code: CloseCode::Again,
    text: "too many large messages are coming in at a time; try later",
};

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A WebSocket over `stream`, of which `early` has been read already. `all` counts what
    /// all sockets hold of messages that are not whole yet; above `limit` it is limited.
    pub(crate) fn new(stream: S, early: Vec<u8>, all: Arc<AtomicUsize>, limit: usize) -> Self {
        Self {
            stream,
            unread: Unread::new(early, all, limit),
            unwritten: Vec::new(),
            written: 0,
        }
    }

    /// The next that comes whole; `None` at the end of the stream. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Option<Incoming>, ReadError> {
        loop {
            if let Some(frame) = self.unread.decode().map_err(ReadError::Refused)? {
                return Ok(Some(self.take(frame)));
            }
            let (stream, unread) = (&mut self.stream, &mut self.unread);
            let read = poll_fn(|cx| unread.poll_fill(Pin::new(stream), cx)).await;
            if read.map_err(ReadError::Io)? == 0 {
                return Ok(None);
            }
            self.unread.account().map_err(ReadError::Refused)?;
        }
    }

    fn take(&mut self, frame: Frame) -> Incoming {
        match frame {
            Frame::Text(text) => Incoming::Text(text),
            Frame::Ping(payload) => {
                if self.unwritten.len() + payload.len() <= PONGS {
                    self.put(OpCode::Control(Control::Pong), &payload);
                }
                Incoming::Control
            }
            Frame::Pong => Incoming::Control,
            Frame::Close(code) => {
                self.put_close(code, "");
                Incoming::Closed
            }
        }
    }

    /// Has a text message wait to be flushed.
    pub(crate) fn put_text(&mut self, text: &str) {
        self.put(OpCode::Data(Data::Text), text.as_bytes());
    }

    /// Has a close wait to be flushed; nothing may follow it.
    pub(crate) fn put_close(&mut self, code: CloseCode, reason: &str) {
        let mut payload = u16::from(code).to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.put(OpCode::Control(Control::Close), &payload);
    }

    fn put(&mut self, opcode: OpCode, payload: &[u8]) {
        let header = FrameHeader {
            opcode,
            ..FrameHeader::default()
        };
        self.unwritten.reserve(payload.len() + 10);
        // Writing to a Vec cannot fail.
        let _ = header.format(payload.len() as u64, &mut self.unwritten);
        self.unwritten.extend_from_slice(payload);
    }

    /// Bytes that wait to be flushed.
    pub(crate) fn waiting(&self) -> usize {
        self.unwritten.len() - self.written
    }

    /// Writes what waits. May be dropped while it waits, and called again.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.waiting() > 0 {
            let rest = &self.unwritten[self.written..];
            match self.stream.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.written += written,
            }
        }
        self.unwritten = Vec::new();
        self.written = 0;
        self.stream.flush().await
    }

    /// Ends the connection after what waits is written.
    ///
    /// What still comes is read and thrown away: closing a socket with unread data in it resets
    /// the connection, and the last words may be lost with it (RFC 9112, section 9.6).
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await?;
        drain(&mut self.stream).await
    }
}

/// Reads to the end, by way of the stack.
pub(crate) async fn drain<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    while poll_fn(|cx| poll_read(Pin::new(stream), cx, |_| ())).await? > 0 {}
    Ok(())
}

/// Reads some bytes and shows them to `take`; how many, 0 at the end.
pub(crate) fn poll_read<S: AsyncRead>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    let mut buffer = [MaybeUninit::uninit(); READ];
    let mut buffer = ReadBuf::uninit(&mut buffer);
    ready!(stream.poll_read(cx, &mut buffer))?;
    take(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

/// One frame, or a message of several.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close(CloseCode),
}

/// What has come and is not whole yet.
#[derive(Debug)]
struct Unread {
    bytes: Vec<u8>,
    /// Of `bytes`, those that are done with.
    done: usize,
    /// The fragments so far, unmasked, of a message that goes on.
    message: Option<Vec<u8>>,
    /// How much of it is in `all`.
    counted: usize,
    all: Arc<AtomicUsize>,
    limit: usize,
}

impl Unread {
    fn new(bytes: Vec<u8>, all: Arc<AtomicUsize>, limit: usize) -> Self {
        Self {
            bytes,
            done: 0,
            message: None,
            counted: 0,
            all,
            limit,
        }
    }

    fn poll_fill<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        poll_read(stream, cx, |read| {
            self.bytes.drain(..mem::take(&mut self.done));
            self.bytes.extend_from_slice(read);
        })
    }

    /// Counts what is held now.
    fn account(&mut self) -> Result<(), Violation> {
        let held = self.bytes.len() + self.message.as_ref().map_or(0, Vec::len);
        if held >= self.counted {
            self.all.fetch_add(held - self.counted, Ordering::Relaxed);
        } else {
            self.all.fetch_sub(self.counted - held, Ordering::Relaxed);
        }
        self.counted = held;
        if held > FREE && self.all.load(Ordering::Relaxed) > self.limit {
            return Err(TOO_BUSY);
        }
        Ok(())
    }

    /// The next frame if it is whole; a message only when its last fragment is.
    fn decode(&mut self) -> Result<Option<Frame>, Violation> {
        loop {
            let mut cursor = Cursor::new(&self.bytes[self.done..]);
            let header = FrameHeader::parse(&mut cursor).map_err(|_| PROTOCOL)?;
            let Some((header, len)) = header else {
                return self.wait_for_more();
            };
            let start = self.done + usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            self.check(&header, len)?;
            // It is small now.
            let end = start + usize::try_from(len).unwrap_or(usize::MAX);
            let Some(payload) = self.bytes.get_mut(start..end) else {
                return self.wait_for_more();
            };
            unmask(payload, header.mask.unwrap_or_default());
            self.done = end;
            if let Some(frame) = take(&header, payload, &mut self.message)? {
                return Ok(Some(frame));
            }
        }
    }

    fn wait_for_more(&mut self) -> Result<Option<Frame>, Violation> {
        if self.done == self.bytes.len() {
            self.bytes = Vec::new();
            self.done = 0;
            self.account()?;
        }
        Ok(None)
    }

    fn check(&self, header: &FrameHeader, len: u64) -> Result<(), Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_none() {
            return Err(PROTOCOL);
        }
        match header.opcode {
            OpCode::Control(_) if header.is_final && len <= MAX_CONTROL => Ok(()),
            OpCode::Control(_) => Err(PROTOCOL),
            OpCode::Data(_) => {
                let before = self.message.as_ref().map_or(0, Vec::len) as u64;
                if before.saturating_add(len) > MAX_TRACKER_MESSAGE as u64 {
                    return Err(TOO_LARGE);
                }
                Ok(())
            }
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.all.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// What a frame that is whole and unmasked amounts to.
fn take(
    header: &FrameHeader,
    payload: &[u8],
    message: &mut Option<Vec<u8>>,
) -> Result<Option<Frame>, Violation> {
    let whole = match header.opcode {
        OpCode::Control(Control::Ping) => return Ok(Some(Frame::Ping(payload.to_vec()))),
        OpCode::Control(Control::Pong) => return Ok(Some(Frame::Pong)),
        OpCode::Control(Control::Close) => {
            let code = match payload {
                [] => CloseCode::Normal,
                [high, low, reason @ ..] if std::str::from_utf8(reason).is_ok() => {
                    CloseCode::from(u16::from_be_bytes([*high, *low]))
                }
                _ => return Err(PROTOCOL),
            };
            return Ok(Some(Frame::Close(if code.is_allowed() {
                code
            } else {
                CloseCode::Protocol
            })));
        }
        OpCode::Data(Data::Text) if message.is_none() => payload.to_vec(),
        OpCode::Data(Data::Binary) => return Err(NOT_TEXT),
        OpCode::Data(Data::Continue) => {
            let mut whole = message.take().ok_or(PROTOCOL)?;
            whole.extend_from_slice(payload);
            whole
        }
        OpCode::Data(_) | OpCode::Control(Control::Reserved(_)) => return Err(PROTOCOL),
    };
    if !header.is_final {
        *message = Some(whole);
        return Ok(None);
    }
    let text = String::from_utf8(whole).map_err(|_| NOT_UTF8)?;
    Ok(Some(Frame::Text(text)))
}

/// RFC 6455, section 5.3.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
    use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn unread(bytes: Vec<u8>) -> Unread {
        Unread::new(bytes, Arc::default(), usize::MAX)
    }

    fn server(stream: DuplexStream) -> Socket<DuplexStream> {
        Socket::new(stream, Vec::new(), Arc::default(), usize::MAX)
    }

    /// A frame as a client sends it.
    fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            is_final,
            opcode,
            mask: Some(MASK),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        unmask(&mut bytes[start..], MASK);
        bytes
    }

    fn all(bytes: Vec<u8>) -> Result<Vec<Frame>, Violation> {
        let mut unread = unread(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = unread.decode()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const CONTINUE: OpCode = OpCode::Data(Data::Continue);
    const PING: OpCode = OpCode::Control(Control::Ping);
    const CLOSE: OpCode = OpCode::Control(Control::Close);

    #[test]
    fn frames_are_read_wherever_they_are_cut() {
        let long = "ö".repeat(30_000);
        let bytes = [
            frame(TEXT, true, b"one"),
            frame(TEXT, false, b"tw"),
            frame(PING, true, b"?"),
            frame(CONTINUE, false, b""),
            frame(CONTINUE, true, b"o"),
            frame(TEXT, true, long.as_bytes()),
            frame(CLOSE, true, &[3, 232]),
        ]
        .concat();
        let expected = [
            Frame::Text("one".into()),
            Frame::Ping(b"?".to_vec()),
            Frame::Text("two".into()),
            Frame::Text(long),
            Frame::Close(CloseCode::Normal),
        ];
        assert_eq!(all(bytes.clone()).unwrap(), expected);
        for step in [1, 2, 3, 7, 1000] {
            let mut unread = unread(Vec::new());
            let mut frames = Vec::new();
            for part in bytes.chunks(step) {
                unread.bytes.drain(..mem::take(&mut unread.done));
                unread.bytes.extend_from_slice(part);
                while let Some(frame) = unread.decode().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, expected, "{step} bytes at a time");
            assert_eq!(unread.bytes.capacity(), 0, "nothing is held");
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let unmasked = {
            let mut bytes = Vec::new();
            FrameHeader::default().format(0, &mut bytes).unwrap();
            bytes
        };
        let mut reserved = frame(TEXT, true, b"x");
        reserved[0] |= 0x40;
        let most = vec![b' '; MAX_TRACKER_MESSAGE];
        assert!(all(frame(TEXT, true, &most)).is_ok());
        for (bytes, violation) in [
            (unmasked, PROTOCOL),
            (reserved, PROTOCOL),
            (frame(OpCode::Data(Data::Reserved(3)), true, b""), PROTOCOL),
            (frame(CONTINUE, true, b"x"), PROTOCOL),
            (
                [frame(TEXT, false, b"x"), frame(TEXT, true, b"y")].concat(),
                PROTOCOL,
            ),
            (frame(PING, false, b""), PROTOCOL),
            (frame(PING, true, &[0; 126]), PROTOCOL),
            (frame(CLOSE, true, &[3]), PROTOCOL),
            (frame(CLOSE, true, &[3, 232, 0xff]), PROTOCOL),
            (frame(OpCode::Data(Data::Binary), true, b"x"), NOT_TEXT),
            (frame(TEXT, true, &[0xff]), NOT_UTF8),
            ([&most[..], b"x"].concat(), PROTOCOL),
            (frame(TEXT, true, &[&most[..], b"x"].concat()), TOO_LARGE),
            (
                [frame(TEXT, false, &most), frame(CONTINUE, true, b"x")].concat(),
                TOO_LARGE,
            ),
            // Said by its header alone.
            (
                vec![
                    0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
                ],
                TOO_LARGE,
            ),
        ] {
            let head = bytes[..bytes.len().min(16)].to_vec();
            assert_eq!(all(bytes).unwrap_err(), violation, "{head:?}");
        }
    }

    #[test]
    fn any_bytes_at_all_are_survived() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let bytes = (0..40)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    // Mostly what looks like a frame.
                    if state.is_multiple_of(3) {
                        0x81
                    } else {
                        state as u8
                    }
                })
                .collect();
            let _ = all(bytes);
        }
    }

    #[tokio::test]
    async fn what_all_hold_together_is_limited_but_a_login_passes() {
        let all = Arc::new(AtomicUsize::new(0));
        let limit = 150_000;
        let mut waiting = Vec::new();
        let part = frame(TEXT, true, &[b' '; 60_000]);
        for expected in [true, true, false] {
            let (mut client, stream) = duplex(1 << 20);
            let mut socket = Socket::new(stream, Vec::new(), Arc::clone(&all), limit);
            client.write_all(&part[..59_000]).await.unwrap();
            let refused = tokio::select! {
                read = socket.next() => matches!(read, Err(ReadError::Refused(TOO_BUSY))),
                () = tokio::time::sleep(std::time::Duration::from_millis(50)) => false,
            };
            assert_eq!(refused, !expected);
            if expected {
                waiting.push((client, socket));
            }
        }
        let (mut client, stream) = duplex(1 << 20);
        let mut socket = Socket::new(stream, Vec::new(), Arc::clone(&all), limit);
        let login = frame(TEXT, true, &[b' '; 2000]);
        client.write_all(&login).await.unwrap();
        assert!(matches!(socket.next().await, Ok(Some(Incoming::Text(_)))));
        drop((waiting, socket));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn it_speaks_with_another_implementation() {
        let (near, far) = duplex(1000);
        let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let mut server = server(far);
        let text = "ä".repeat(20_000);
        let sent = text.clone();
        let (_, received) = tokio::join!(client.send(Message::text(sent)), server.next());
        assert_eq!(received.unwrap(), Some(Incoming::Text(text.clone())));
        server.put_text(&text);
        let (flushed, received) = tokio::join!(server.flush(), client.next());
        flushed.unwrap();
        assert_eq!(received.unwrap().unwrap(), Message::text(text));

        client.send(Message::Ping("?".into())).await.unwrap();
        assert_eq!(server.next().await.unwrap(), Some(Incoming::Control));
        server.flush().await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Pong("?".into())
        );

        server.put_close(CloseCode::Policy, "why");
        server.flush().await.unwrap();
        let frame = CloseFrame {
            code: CloseCode::Policy,
            reason: Utf8Bytes::from_static("why"),
        };
        let received = client.next().await.unwrap().unwrap();
        assert_eq!(received, Message::Close(Some(frame)));
        // It answers as it goes on reading.
        tokio::select! {
            answer = server.next() => assert_eq!(answer.unwrap(), Some(Incoming::Closed)),
            more = client.next() => panic!("{more:?}"),
        }
    }

    #[tokio::test]
    async fn a_flood_of_pings_is_not_answered_in_full() {
        let (mut near, far) = duplex(1 << 20);
        let mut server = server(far);
        for _ in 0..1000 {
            near.write_all(&frame(PING, true, &[7; 125])).await.unwrap();
        }
        for _ in 0..1000 {
            assert_eq!(server.next().await.unwrap(), Some(Incoming::Control));
        }
        assert!(server.waiting() <= 2 * PONGS);
        server.flush().await.unwrap();
        drop(server);
        let mut answers = Vec::new();
        near.read_to_end(&mut answers).await.unwrap();
        assert!((127..=2 * PONGS).contains(&answers.len()));
    }
}
