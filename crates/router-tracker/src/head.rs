//! The head of a connection's request, read without holding more than has come.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use tokio::io::AsyncRead;

use crate::socket::poll_read;

/// The largest head of a request, in bytes. Those of browsers take about 1 KiB.
pub(crate) const MAX_HEAD: usize = 8 * 1024;

const END: &[u8] = b"\r\n\r\n";

/// What has come first on a connection.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// The head, and what came behind it.
    pub(crate) bytes: Vec<u8>,
    /// Where what came behind it begins.
    pub(crate) end: usize,
}

/// Reads until the head of a request is there, or more than one may have, or there is no more.
/// If it is dropped before, then `head` has what came.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S, head: &mut Head) -> io::Result<()> {
    loop {
        let before = head.bytes.len();
        let bytes = &mut head.bytes;
        let read =
            poll_fn(|cx| poll_read(Pin::new(stream), cx, |read| bytes.extend_from_slice(read)));
        if read.await? == 0 {
            return Ok(());
        }
        // The end may lie across two reads.
        let from = before.saturating_sub(END.len() - 1);
        let found = head.bytes[from..]
            .windows(END.len())
            .position(|window| window == END);
        if let Some(at) = found {
            head.end = from + at + END.len();
            return Ok(());
        }
        if head.bytes.len() > MAX_HEAD {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn read_of(text: &str, step: usize) -> Head {
        let (mut near, mut far) = duplex(step);
        let bytes = text.to_owned().into_bytes();
        let writing = tokio::spawn(async move {
            for part in bytes.chunks(step) {
                // It may have enough.
                let _ = near.write_all(part).await;
            }
        });
        let mut head = Head::default();
        read(&mut far, &mut head).await.unwrap();
        drop(far);
        writing.await.unwrap();
        head
    }

    #[tokio::test]
    async fn the_end_is_found_wherever_reads_are_cut() {
        for step in [1, 2, 3, 18, 19, 100] {
            let head = read_of("GET / HTTP/1.1\r\n\r\nmore", step).await;
            assert_eq!(head.end, 18, "{step}");
            assert!(head.bytes.starts_with(b"GET / HTTP/1.1\r\n\r\n"));
        }
    }

    #[tokio::test]
    async fn what_has_no_end_is_given_up() {
        assert_eq!(read_of("GET / HTTP/1.1\r\n", 4).await.end, 0);
        let head = read_of(&"x".repeat(100_000), 1000).await;
        assert_eq!(head.end, 0);
        assert!(head.bytes.len() <= MAX_HEAD + 1000);
    }
}
