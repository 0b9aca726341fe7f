//! A plot as SVG: axes, lines and bars.
//!
//! Colours come from the page's style sheet, by class, so that a plot follows the reader's light
//! or dark screen; that, and escaping by construction, is why these are not drawn by a plotting
//! library.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::Scale;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 17.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = 44.0;

/// Lines of more points are thinned to what can be seen.
const MAX_POINTS: usize = 1_000;

/// How many colours the style sheet has for series, and how many dashes for lines. Further ones
/// begin again, with other dashes.
const COLOURS: usize = 6;
const DASHES: usize = 4;

/// A plot with its title and legend.
pub(super) struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Values on the y axis that are worth a line across, and what they are.
    pub levels: Vec<(f64, String)>,
    /// Values on the x axis where something happened, and what.
    pub marks: Vec<(f64, String)>,
    /// Stretches of the x axis that are shaded, and what that means.
    pub shaded: (Vec<(f64, f64)>, String),
    /// What has to be known to read it; may be empty.
    pub note: String,
}

pub(super) struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    pub scale: Scale,
}

/// One line or set of bars.
pub(super) struct Series {
    pub name: String,
    pub shape: Shape,
}

pub(super) enum Shape {
    Line(Vec<(f64, f64)>),
    /// A line, and points on it that stand out.
    LineWithPoints(Vec<(f64, f64)>, Vec<(f64, f64)>),
    Bars(Vec<Bar>),
}

/// A bar from zero to `y`, between two values of the x axis.
pub(super) struct Bar {
    pub from: f64,
    pub to: f64,
    pub y: f64,
    /// What a pointer over it shows.
    pub hint: String,
}

impl Plot {
    /// The plot as an HTML `figure`.
    pub(super) fn render(&self) -> Markup {
        html! {
            figure {
                figcaption { (self.title) }
                (self.legend())
                (self.svg())
                @if !self.note.is_empty() { p.note { (self.note) } }
            }
        }
    }

    fn legend(&self) -> Markup {
        html! {
            p.legend {
                @for (index, series) in self.series.iter().enumerate() {
                    @if !series.name.is_empty() {
                        span { @if self.series.len() > 1 { (key(index)) " " } (series.name) }
                    }
                }
                @if !self.shaded.0.is_empty() {
                    span { svg.key viewBox="0 0 22 10" aria-hidden="true" {
                        rect.shaded x="0" y="0" width="22" height="10" {}
                    } " " (self.shaded.1) }
                }
            }
        }
    }

    fn svg(&self) -> Markup {
        html! {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(self.title) {
                title { (self.title) }
                @for &(from, to) in &self.shaded.0 {
                    @let (from, to) = (self.across(from), self.across(to));
                    rect.shaded x=(px(from)) y=(px(TOP)) width=(px((to - from).max(1.0)))
                        height=(px(HEIGHT - TOP - BOTTOM)) {}
                }
                (self.axes())
                @for (value, label) in &self.marks {
                    line.mark x1=(px(self.across(*value))) x2=(px(self.across(*value)))
                        y1=(px(TOP)) y2=(px(HEIGHT - BOTTOM)) { title { (label) } }
                }
                (self.mark_numbers())
                @for (index, series) in self.series.iter().enumerate() {
                    (self.series(index, series))
                }
                @for (value, label) in &self.levels {
                    @let y = self.up(*value);
                    line.level x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(y)) y2=(px(y)) {}
                    text.level x=(px(LEFT + 6.0)) y=(px(if y < TOP + 16.0 { y + 13.0 } else { y - 5.0 })) {
                        (label)
                    }
                }
            }
        }
    }

    fn axes(&self) -> Markup {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        html! {
            g.axis {
                @for (value, label) in self.y.scale.ticks() {
                    @let y = self.up(value);
                    line.grid x1=(px(LEFT)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
                    text.tick-y x=(px(LEFT - 6.0)) y=(px(y + 4.0)) { (label) }
                }
                line x1=(px(LEFT)) x2=(px(right)) y1=(px(bottom)) y2=(px(bottom)) {}
                @for (value, label) in self.x.scale.ticks() {
                    @let x = self.across(value);
                    line x1=(px(x)) x2=(px(x)) y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
                    text.tick-x x=(px(x)) y=(px(bottom + 17.0)) { (label) }
                }
                text.label-y x="0" y="12" { (self.y.label) }
                text.label-x x=(px(right)) y=(px(HEIGHT - 6.0)) { (self.x.label) }
            }
        }
    }

    /// The numbers of the marks, as far as there is room for them.
    fn mark_numbers(&self) -> Markup {
        let mut free_from = 0.0;
        let numbered: Vec<(f64, String)> = self
            .marks
            .iter()
            .enumerate()
            .filter_map(|(index, (value, _))| {
                let (x, text) = (self.across(*value), (index + 1).to_string());
                let half = 3.5 * text.len() as f64;
                (x - half >= free_from).then(|| {
                    free_from = x + half + 3.0;
                    (x, text)
                })
            })
            .collect();
        html! {
            @for (x, number) in numbered {
                text.mark x=(px(x)) y=(px(TOP - 4.0)) { (number) }
            }
        }
    }

    fn series(&self, index: usize, series: &Series) -> Markup {
        let (class, dash) = classes(index);
        match &series.shape {
            Shape::Line(points) => html! { path.line.(class).(dash) d=(self.path(points)) {} },
            Shape::LineWithPoints(points, named) => html! {
                path.line.(class).(dash) d=(self.path(points)) {}
                @for &(x, y) in named {
                    circle.(class) cx=(px(self.across(x))) cy=(px(self.up(y))) r="3.5" {}
                }
            },
            Shape::Bars(bars) => html! {
                @for bar in bars {
                    @let (from, to) = (self.across(bar.from), self.across(bar.to));
                    // Never less than a pixel: what is rare is seen to be there.
                    @let y = self.up(bar.y).min(HEIGHT - BOTTOM - 1.0);
                    @let gap = if to - from > 4.0 { (to - from) * 0.15 } else { 0.0 };
                    rect.(class) x=(px(from + gap / 2.0)) y=(px(y)) width=(px((to - from - gap).max(0.5)))
                        height=(px(HEIGHT - BOTTOM - y)) { title { (bar.hint) } }
                }
            },
        }
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let places: Vec<(f64, f64)> = points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|&(x, y)| (self.across(x), self.up(y)))
            .collect();
        let mut path = String::new();
        for (index, (x, y)) in thinned(&places).into_iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            // Writing to a string cannot fail.
            let _ = write!(path, "{command}{} {}", px(x), px(y));
        }
        path
    }

    fn across(&self, x: f64) -> f64 {
        LEFT + self.x.scale.place(x) * (WIDTH - LEFT - RIGHT)
    }

    fn up(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(y) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The line of a series as it looks in a legend.
pub(super) fn key(series: usize) -> Markup {
    let (class, dash) = classes(series);
    html! {
        svg.key viewBox="0 0 22 10" aria-hidden="true" { path.line.(class).(dash) d="M1 5L21 5" {} }
    }
}

/// The classes of a series: for its colour and for its dashes.
fn classes(series: usize) -> (String, String) {
    let dash = (series % COLOURS + series / COLOURS) % DASHES;
    (format!("s{}", series % COLOURS), format!("d{dash}"))
}

/// A coordinate, to a tenth of a pixel.
pub(super) fn px(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // Minus zero is zero.
    (rounded + 0.0).to_string()
}

/// Few enough points: of each stretch the first, the lowest, the highest and the last.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MAX_POINTS / 4);
    let by_height = |a: &usize, b: &usize, part: &[(f64, f64)]| part[*a].1.total_cmp(&part[*b].1);
    let mut kept = Vec::with_capacity(MAX_POINTS + 4);
    for part in points.chunks(stretch) {
        let ends = [0, part.len() - 1];
        let low = (0..part.len()).min_by(|a, b| by_height(a, b, part));
        let high = (0..part.len()).max_by(|a, b| by_height(a, b, part));
        let mut chosen: Vec<usize> = ends.into_iter().chain(low).chain(high).collect();
        chosen.sort_unstable();
        chosen.dedup();
        kept.extend(chosen.into_iter().map(|index| part[index]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{px, thinned};

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            [px(1.04), px(-0.01), px(12.0), px(0.25)],
            ["1", "0", "12", "0.3"]
        );
    }

    #[test]
    fn a_thinned_line_keeps_its_peaks_and_ends() {
        let points: Vec<(f64, f64)> = (0..100_000)
            .map(|x| {
                (
                    f64::from(x),
                    if x == 54_321 { 9.0 } else { f64::from(x % 2) },
                )
            })
            .collect();
        let kept = thinned(&points);
        assert!(kept.len() <= 1_000, "{}", kept.len());
        assert!(kept.contains(&(54_321.0, 9.0)));
        assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
        assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
