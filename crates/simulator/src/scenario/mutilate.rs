//! Breaks scenario files, for tests that nothing bad comes of it.

use crate::random::Stream;

/// What may stand in the place of a value.
const VALUES: [&str; 24] = [
    "0",
    "1",
    "-1",
    "2",
    "0.5",
    "-0.0",
    "1e308",
    "-1e308",
    "nan",
    "inf",
    "9223372036854775807",
    "\"\"",
    "\"n0\"",
    "\"all\"",
    "\"crash\"",
    "\"random\"",
    "true",
    "[]",
    "[0.5, 0.5]",
    "{}",
    "[[]]",
    "1979-05-27",
    "1e-300",
    "0.001",
];

/// One of the texts with a few changes: lines, values or bytes of it replaced, moved, repeated or
/// left out.
pub(crate) fn mutilate(texts: &[&str], random: &mut Stream) -> String {
    let pick = |random: &mut Stream| random.pick(texts).copied().unwrap_or_default();
    let mut lines: Vec<String> = pick(random).lines().map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        let at = random.below(lines.len() as u64) as usize;
        let Some(line) = lines.get_mut(at) else { break };
        match random.below(7) {
            0 => {
                lines.remove(at);
            }
            1 => {
                let copy = line.clone();
                lines.insert(at, copy);
            }
            2 => {
                let other: Vec<&str> = pick(random).lines().collect();
                *line = random.pick(&other).copied().unwrap_or_default().to_owned();
            }
            3 | 4 => {
                if let Some((key, _)) = line.split_once(" = ") {
                    let value = random.pick(&VALUES).copied().unwrap_or_default();
                    *line = format!("{key} = {value}");
                }
            }
            5 => {
                let mut bytes = line.clone().into_bytes();
                if let Some(place) = bytes.len().checked_sub(1) {
                    let place = random.below(place as u64 + 1) as usize;
                    bytes[place] = random.below(256) as u8;
                    *line = String::from_utf8_lossy(&bytes).into_owned();
                }
            }
            _ => {
                let other = random.below(lines.len() as u64) as usize;
                lines.swap(at, other);
            }
        }
    }
    lines.join("\n")
}
