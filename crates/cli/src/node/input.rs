//! Lines from stdin, bounded.

use std::io::{self, BufRead};
use std::thread;

use tokio::sync::mpsc;

/// The longest line taken, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// Lines that wait to be handled.
const WAITING: usize = 64;

/// One line, or why it is none.
pub type Line = Result<String, LineError>;

/// A line that was not taken. The next one is read all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// Longer than [`MAX_LINE`].
    TooLong,
    /// Not UTF-8.
    NotText,
}

impl LineError {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::TooLong => "the line is longer than 1 MiB",
            Self::NotText => "the line is not UTF-8",
        }
    }
}

/// Reads stdin on a thread of its own, which a blocked read does not keep the process from
/// ending. The channel closes at the end of stdin.
pub fn stdin() -> io::Result<mpsc::Receiver<Line>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut stdin = io::stdin().lock();
            // An unreadable stdin has ended.
            while let Ok(Some(line)) = read_line(&mut stdin, MAX_LINE) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        })?;
    Ok(receiver)
}

/// The next line without its end, `None` after the last. What is beyond `limit` is skipped, not
/// kept.
fn read_line(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut length = 0;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() && length == 0 {
            return Ok(None);
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        length += part.len();
        if length <= limit {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        let at_end = end.is_some() || chunk.is_empty();
        input.consume(used);
        if at_end {
            break;
        }
    }
    Ok(Some(if length > limit {
        Err(LineError::TooLong)
    } else {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| LineError::NotText)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_fuzz::{corpus, fuzz};

    #[test]
    fn fuzz_lines() {
        const LIMIT: usize = 16;
        fuzz(corpus!("lines"), 50_000, &["\n", "\r\n", "\r"], |bytes| {
            let mut input = io::BufReader::with_capacity(7, bytes);
            let mut lines = 0;
            while let Some(line) = read_line(&mut input, LIMIT).unwrap() {
                lines += 1;
                if let Ok(line) = line {
                    assert!(line.len() <= LIMIT && !line.contains('\n'), "{line:?}");
                }
            }
            let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
            let has_rest = bytes.last().is_some_and(|byte| *byte != b'\n');
            assert_eq!(lines, ends + usize::from(has_rest));
        });
    }

    #[test]
    fn lines_over_the_limit_and_bad_text_are_errors_and_the_next_one_is_read() {
        let bytes = b"one\r\n123456789\n\xff\n\nlast";
        // A small buffer, so that lines span several reads.
        let mut input = io::BufReader::with_capacity(4, &bytes[..]);
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input, 8).unwrap() {
            lines.push(line);
        }
        assert_eq!(
            lines,
            [
                Ok("one".to_owned()),
                Err(LineError::TooLong),
                Err(LineError::NotText),
                Ok(String::new()),
                Ok("last".to_owned()),
            ]
        );
    }
}
