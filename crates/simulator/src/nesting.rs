//! How deep a TOML text nests, before it is parsed.
//!
//! `toml` recurses for each array and inline table, and stops at 80. But where it goes on after a
//! mistake, it counts closing braces whose opening ones it has not counted, as in `a = {{}{}`. Such
//! a text of some kilobytes gets past that limit and overflows the stack, which ends the process.
//! So do, in a build that is not optimized, tables within the limit that are dropped, if each of them
//! has a dotted key of 80 parts.

use std::fmt;

/// The most levels of one header or of one key with its value: brackets and braces that are open,
/// and dots of keys. A scenario needs three.
pub const MAX_DEPTH: usize = 32;

/// The text nests deeper than [`MAX_DEPTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep {
    /// The byte of the text where the first bracket, brace or dot too many stands.
    pub at: usize,
}

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "brackets, braces and dotted keys are nested deeper than {MAX_DEPTH}"
        )
    }
}

impl std::error::Error for TooDeep {}

/// Makes sure that a text can be given to `toml`. Its brackets need not match: a closing one only
/// counts against the last that is open, so that the parser cannot be deeper than what is counted.
///
/// # Errors
/// If it nests too deep.
pub fn check(text: &str) -> Result<(), TooDeep> {
    let bytes = text.as_bytes();
    // What closes each bracket, and how deep it is within.
    let mut open: Vec<(u8, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'[' | b'{' | b'.' if depth == MAX_DEPTH => return Err(TooDeep { at }),
            b'[' | b'{' => {
                depth += 1;
                open.push((if byte == b'[' { b']' } else { b'}' }, depth));
            }
            // It may be that of a number, which makes one level more and no harm.
            b'.' => depth += 1,
            b']' | b'}' => {
                open.pop_if(|(close, _)| *close == byte);
                depth = within(&open);
            }
            b',' | b'\r' | b'\n' => depth = within(&open),
            _ => {}
        }
        at = token_end(bytes, at);
    }
    Ok(())
}

/// How deep the next key or value stands.
fn within(open: &[(u8, usize)]) -> usize {
    open.last().map_or(0, |(_, depth)| *depth)
}

/// Where the token ends that begins at a byte. What is no TOML is divided as `toml` does it too:
/// what one takes for a string and the other does not would hide its brackets.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let until = |ends: &[u8]| {
        let len = bytes[at..].iter().position(|byte| ends.contains(byte));
        len.map_or(bytes.len(), |len| at + len)
    };
    match bytes[at] {
        b'.' | b'=' | b',' | b'[' | b']' | b'{' | b'}' | b' ' | b'\t' | b'\r' | b'\n' => at + 1,
        b'#' => until(b"\r\n"),
        quote @ (b'"' | b'\'') => string_end(bytes, at, quote),
        // Quotes within a word begin no string.
        _ => until(b".=,[]{} \t#\r\n"),
    }
}

fn string_end(bytes: &[u8], begin: usize, quote: u8) -> usize {
    let long = bytes[begin..].starts_with(&[quote; 3]);
    let quotes = if long { 3 } else { 1 };
    let mut at = begin + quotes;
    loop {
        match &bytes[at..] {
            [] => return at,
            rest if rest.starts_with(&[quote; 3][..quotes]) => break,
            [b'\n', ..] if !long => return at,
            [b'\\', b'\\' | b'"', ..] if quote == b'"' => at += 2,
            _ => at += 1,
        }
    }
    at += quotes;
    // Up to two quotes more stand at the end of a long string's text.
    let spare = bytes[at..].iter().take(if long { 2 } else { 0 });
    at + spare.take_while(|byte| **byte == quote).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_counted() {
        let most = format!("a = {}1{}\n", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(check(&most.repeat(3)), Ok(()));
        assert_eq!(
            check(&"[[faults]]\nshares = [0.5, 0.5]\n".repeat(1000)),
            Ok(())
        );
        let dots = format!("{}\n", "a.".repeat(MAX_DEPTH));
        assert_eq!(check(&dots.repeat(3)), Ok(()));
        assert_eq!(check(&"[0.5, 0.5,\n0.5]\n".repeat(100)), Ok(()));
        for (too_many, levels) in [
            ("[", 1),
            ("{", 1),
            (".", 1),
            ("a = {", 1),
            ("a.b.c = {", 3),
            ("a . \"b\" = [", 2),
            ("[\n[", 2),
            ("[}", 1),
            ("{]", 1),
            ("{}{", 1),
            ("{a.b, c.d = [e.f, ", 3),
        ] {
            let fits = MAX_DEPTH / levels;
            let fit = too_many.repeat(fits);
            let TooDeep { at } = check(&too_many.repeat(fits + 1)).unwrap_err();
            assert!(
                at >= fit.len() && at < fit.len() + too_many.len(),
                "{too_many}"
            );
        }
    }

    #[test]
    fn strings_and_comments_count_for_nothing() {
        let deep = "[{".repeat(MAX_DEPTH);
        for (before, after) in [
            ("#", "\n"),
            ("'", "'"),
            ("'\\", "'"),
            ("\"\\\"", "\""),
            ("\"\\\\\\\"", "\\\\\""),
            ("\"\"\"\n", "\"\"\""),
            ("\"\"\"\\\"\"\"", "\"\"\"\"\""),
            ("'''\n'' ", "'''''"),
        ] {
            let text = format!("{before}{deep}{after}");
            assert_eq!(check(&text), Ok(()), "{text}");
            assert_eq!(check(&format!("\u{feff}{text}")), Ok(()), "{text}");
            // The string or comment ends there.
            let at = text.len() + MAX_DEPTH;
            assert_eq!(
                check(&format!("{text}{deep}")),
                Err(TooDeep { at }),
                "{text}"
            );
        }
        // None begins here, or it ends with its line.
        for before in ["it's", "it\"s", "\u{e9}'", "'\n", "\"\\\n", "#\r"] {
            assert!(check(&format!("{before}{deep}")).is_err(), "{before}");
        }
    }
}
