//! The overlay as a picture: members on a circle by position, links between them.

use std::f64::consts::TAU;

use maud::{Markup, html};

use crate::results::{Drawing, DrawnLink, LinkKind};

use super::format::count;
use super::plot::px;

const SIZE: f64 = 640.0;
const RADIUS: f64 = 292.0;

/// What a link is drawn as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// To the next living member on the ring.
    Next,
    /// To another one near by: the lists of successors and predecessors.
    Near,
    Long,
}

impl Line {
    /// In the order in which they are drawn: what matters most on top.
    const ALL: [Self; 3] = [Self::Long, Self::Near, Self::Next];

    const fn class(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Near => "near",
            Self::Long => "long",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Next => "to the next member",
            Self::Near => "to others near by on the ring",
            Self::Long => "other links",
        }
    }
}

/// Draws the overlay as an HTML `figure`.
pub(super) fn render(drawing: &Drawing) -> Markup {
    let members = &drawing.members;
    let places: Vec<(f64, f64)> = members.iter().map(|member| place(member.turn)).collect();
    let whole = members.iter().filter(|member| member.whole).count() as u64;
    let path = |link: &DrawnLink, line: Line| {
        let (from, to) = (
            places.get(link.from as usize)?,
            places.get(link.to as usize)?,
        );
        Some(curve(*from, *to, line))
    };
    let lines = lines(drawing);
    let of_line = |line: Line| lines.iter().filter(move |(_, other)| *other == line);
    let dot = px(match members.len() {
        0..=32 => 7.0,
        33..=100 => 5.0,
        _ => 3.0,
    });
    html! {
        figure.overlay {
            p.legend {
                @for line in Line::ALL.into_iter().rev().filter(|&line| of_line(line).next().is_some()) {
                    span { (swatch(line)) " " (line.name()) }
                }
                span { (key("alive")) " living" }
                @if members.iter().any(|member| !member.alive) { span { (key("dead")) " failed" } }
            }
            svg viewBox={ "0 0 " (SIZE) " " (SIZE) } role="img" aria-label="The overlay" {
                title { "The overlay: " (members.len()) " members on the ring" }
                circle.orbit cx=(px(SIZE / 2.0)) cy=(px(SIZE / 2.0)) r=(px(RADIUS)) {}
                @for line in Line::ALL {
                    g.(line.class()) { @for (link, _) in of_line(line) { path d=[path(link, line)] {} } }
                }
                @for (member, &(x, y)) in members.iter().zip(&places) {
                    @let class = if !member.alive { "dead" } else if member.whole { "alive" } else { "end" };
                    circle.(class) cx=(px(x)) cy=(px(y)) r=(dot) { title { (member.member) } }
                }
            }
            p.note {
                @if whole == drawing.total {
                    "All " (count(drawing.total)) " members, clockwise by position."
                } @else {
                    (count(whole)) " of " (count(drawing.total)) " members, spread evenly over the ring, "
                    "with all their links; pale: those whom they lead to."
                }
            }
        }
    }
}

/// What each link is drawn as. Who is next to whom can be said only if everybody is drawn.
fn lines(drawing: &Drawing) -> Vec<(&DrawnLink, Line)> {
    let members = &drawing.members;
    let mut living: Vec<u32> = (0..members.len() as u32)
        .filter(|&index| members[index as usize].alive)
        .collect();
    living.sort_by(|&a, &b| {
        members[a as usize]
            .turn
            .total_cmp(&members[b as usize].turn)
    });
    let mut rank = vec![None; members.len()];
    if members.len() as u64 == drawing.total {
        for (place, &index) in living.iter().enumerate() {
            rank[index as usize] = Some(place);
        }
    }
    let is_next = |link: &DrawnLink| {
        let rank_of = |end: u32| rank.get(end as usize).copied().flatten();
        let (Some(from), Some(to)) = (rank_of(link.from), rank_of(link.to)) else {
            return false;
        };
        let apart = from.abs_diff(to);
        apart == 1 || apart + 1 == living.len()
    };
    let line = |link: &DrawnLink| match link.kind {
        LinkKind::Ring if is_next(link) => Line::Next,
        LinkKind::Ring => Line::Near,
        LinkKind::Long => Line::Long,
    };
    drawing
        .links
        .iter()
        .map(|link| (link, line(link)))
        .collect()
}

/// Where a position is: clockwise, 0 at the top.
fn place(turn: f64) -> (f64, f64) {
    let turn = if turn.is_finite() { turn } else { 0.0 };
    let (sine, cosine) = (libm::sin(turn * TAU), libm::cos(turn * TAU));
    (SIZE / 2.0 + RADIUS * sine, SIZE / 2.0 - RADIUS * cosine)
}

/// The way of a link: straight along the ring, bent towards the middle across it.
fn curve(from: (f64, f64), to: (f64, f64), line: Line) -> String {
    let bend = match line {
        Line::Next => 1.0,
        Line::Near => 0.9,
        Line::Long => 0.45,
    };
    let towards = |a: f64, b: f64| SIZE / 2.0 + ((a + b) / 2.0 - SIZE / 2.0) * bend;
    let (x, y) = (towards(from.0, to.0), towards(from.1, to.1));
    format!(
        "M{} {}Q{} {} {} {}",
        px(from.0),
        px(from.1),
        px(x),
        px(y),
        px(to.0),
        px(to.1)
    )
}

fn swatch(line: Line) -> Markup {
    html! {
        svg.key viewBox="0 0 22 10" aria-hidden="true" {
            g.(line.class()) { path d="M1 5L21 5" {} }
        }
    }
}

fn key(class: &str) -> Markup {
    html! { svg.key viewBox="0 0 22 10" aria-hidden="true" { circle.(class) cx="11" cy="5" r="4" {} } }
}

#[cfg(test)]
mod tests {
    use super::{Line, lines};
    use crate::results::{Drawing, DrawnLink, DrawnMember, LinkKind};

    #[test]
    fn the_next_member_is_the_next_living_one() {
        let member = |turn, alive| DrawnMember {
            turn,
            alive,
            ..DrawnMember::default()
        };
        let members = vec![
            member(0.1, true),
            member(0.9, true),
            member(0.2, false),
            member(0.3, true),
            member(0.5, true),
        ];
        let link = |from, to| DrawnLink {
            from,
            to,
            kind: LinkKind::Ring,
        };
        let links = [link(0, 3), link(0, 1), link(3, 1), link(0, 2)];
        let drawn = |drawing: &Drawing| {
            lines(drawing)
                .into_iter()
                .map(|(_, line)| line == Line::Next)
                .collect::<Vec<_>>()
        };
        let mut drawing = Drawing::of(0.0, members, &links);
        assert_eq!(drawn(&drawing), [true, true, false, false]);
        drawing.total = 9;
        assert_eq!(drawn(&drawing), [false; 4], "of a part nobody can say");
    }
}
