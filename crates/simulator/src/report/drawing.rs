//! The overlay as a picture: members on a circle by position, links between them.

use std::f64::consts::TAU;

use maud::{Markup, html};

use crate::results::{Drawing, DrawnLink, LinkKind};

use super::format::count;
use super::plot::px;

const SIZE: f64 = 640.0;
const RADIUS: f64 = 292.0;

/// Draws the overlay as an HTML `figure`.
pub(super) fn render(drawing: &Drawing) -> Markup {
    let places: Vec<(f64, f64)> = drawing
        .members
        .iter()
        .map(|member| place(member.turn))
        .collect();
    let of_kind = |kind| {
        drawing
            .links
            .iter()
            .filter(move |link: &&DrawnLink| link.kind == kind)
    };
    let path = |link: &DrawnLink| {
        Some(curve(
            *places.get(link.from as usize)?,
            *places.get(link.to as usize)?,
            link.kind,
        ))
    };
    let whole = drawing.members.iter().filter(|member| member.whole).count() as u64;
    let dead = drawing.members.iter().any(|member| !member.alive);
    let dot = px(match drawing.members.len() {
        0..=32 => 7.0,
        33..=100 => 5.0,
        _ => 3.0,
    });
    html! {
        figure.overlay {
            p.legend {
                span { (swatch("ring")) " to a successor or predecessor" }
                @if of_kind(LinkKind::Long).next().is_some() {
                    span { (swatch("long")) " other links" }
                }
                span { (key("alive")) " living" }
                @if dead { span { (key("dead")) " failed" } }
            }
            svg viewBox={ "0 0 " (SIZE) " " (SIZE) } role="img" aria-label="The overlay" {
                title { "The overlay: " (drawing.members.len()) " members on the ring" }
                circle.orbit cx=(px(SIZE / 2.0)) cy=(px(SIZE / 2.0)) r=(px(RADIUS)) {}
                g.long { @for link in of_kind(LinkKind::Long) { path d=[path(link)] {} } }
                g.ring { @for link in of_kind(LinkKind::Ring) { path d=[path(link)] {} } }
                @for (member, &(x, y)) in drawing.members.iter().zip(&places) {
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

/// Where a position is: clockwise, 0 at the top.
fn place(turn: f64) -> (f64, f64) {
    let turn = if turn.is_finite() { turn } else { 0.0 };
    let (sine, cosine) = (libm::sin(turn * TAU), libm::cos(turn * TAU));
    (SIZE / 2.0 + RADIUS * sine, SIZE / 2.0 - RADIUS * cosine)
}

/// The way of a link: straight along the ring, bent towards the middle across it.
fn curve(from: (f64, f64), to: (f64, f64), kind: LinkKind) -> String {
    let bend = match kind {
        LinkKind::Ring => 1.0,
        LinkKind::Long => 0.45,
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

fn swatch(class: &str) -> Markup {
    html! { svg.key viewBox="0 0 22 10" aria-hidden="true" { g.(class) { path d="M1 5L21 5" {} } } }
}

fn key(class: &str) -> Markup {
    html! { svg.key viewBox="0 0 22 10" aria-hidden="true" { circle.(class) cx="11" cy="5" r="4" {} } }
}
