//! Scales of plots: from a value to a place, with ticks at round numbers.

use super::format::short;

/// From a value to a share of the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    ticks: Ticks,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ticks {
    /// At multiples of this.
    Every(f64),
    /// At powers of ten, equal factors being equally long.
    Logarithmic,
}

impl Scale {
    /// From zero to a round number that is no less than `max`.
    pub(super) fn from_zero(max: f64) -> Self {
        let max = if max.is_finite() && max > 0.0 {
            max
        } else {
            1.0
        };
        Self::up_to_a_tick(max, step(max, 5.0))
    }

    /// The same for what is counted: no ticks at fractions.
    pub(super) fn count_from_zero(max: f64) -> Self {
        let max = if max.is_finite() && max > 1.0 {
            max
        } else {
            1.0
        };
        Self::up_to_a_tick(max, step(max, 5.0).max(1.0))
    }

    /// Between two values, neither of which has to be round.
    pub(super) fn between(low: f64, high: f64) -> Self {
        let fits = low.is_finite() && high.is_finite() && low < high;
        let (low, high) = if fits { (low, high) } else { (0.0, 1.0) };
        Self {
            low,
            high,
            ticks: Ticks::Every(step(high - low, 5.0)),
        }
    }

    /// For bars of the whole numbers from `first` to `last`, half of one beyond both.
    pub(super) fn bars(first: u64, last: u64) -> Self {
        let span = last.saturating_sub(first) as f64 + 1.0;
        // A tick for each if there are few.
        let every = if span <= 12.0 {
            1.0
        } else {
            step(span, 5.0).max(1.0)
        };
        let (low, high) = (first as f64 - 0.5, last.max(first) as f64 + 0.5);
        Self {
            low,
            high,
            ticks: Ticks::Every(every),
        }
    }

    /// Between two positive values, with equal factors equally long.
    pub(super) fn logarithmic(low: f64, high: f64) -> Self {
        let fits = low > 0.0 && high.is_finite() && low < high;
        let (low, high) = if fits { (low, high) } else { (1.0, 10.0) };
        Self {
            low,
            high,
            ticks: Ticks::Logarithmic,
        }
    }

    fn up_to_a_tick(max: f64, step: f64) -> Self {
        let high = (max / step - 1e-9).ceil() * step;
        Self {
            low: 0.0,
            high,
            ticks: Ticks::Every(step),
        }
    }

    pub(super) const fn is_logarithmic(self) -> bool {
        matches!(self.ticks, Ticks::Logarithmic)
    }

    pub(super) const fn high(self) -> f64 {
        self.high
    }

    /// Where a value lies: 0 at the low end, 1 at the high end, and no further out.
    pub(super) fn place(self, value: f64) -> f64 {
        let share = if self.is_logarithmic() {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// Round numbers within the scale: their values and how they are written.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let values = match self.ticks {
            Ticks::Every(step) => self.linear_ticks(step),
            Ticks::Logarithmic => self.logarithmic_ticks(),
        };
        values
            .into_iter()
            .map(|value| (value, short(value)))
            .collect()
    }

    fn linear_ticks(self, step: f64) -> Vec<f64> {
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        // Multiplied by a whole number or divided by one, so that 0.3 is not 0.30000000000000004.
        let multiple = |index: i64| {
            if step < 1.0 {
                index as f64 / (1.0 / step).round()
            } else {
                index as f64 * step
            }
        };
        (first..=last).take(20).map(multiple).collect()
    }

    /// Powers of ten, with two and five times those if there are few.
    fn logarithmic_ticks(self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let factors: &[f64] = match decades {
            ..2.5 => &[1.0, 2.0, 5.0],
            ..4.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let exponents = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        exponents
            .flat_map(|exponent| {
                factors
                    .iter()
                    .map(move |factor| factor * 10f64.powi(exponent))
            })
            .filter(|&tick| tick >= self.low * 0.999_999 && tick <= self.high * 1.000_001)
            .take(20)
            .collect()
    }
}

/// A round number (1, 2 or 5 times a power of ten) that fits about `count` times into `span`.
pub(super) fn step(span: f64, count: f64) -> f64 {
    let rough = span / count;
    let power = 10f64.powi(rough.log10().floor() as i32);
    let factor = match rough / power {
        ..1.5 => 1.0,
        ..3.5 => 2.0,
        ..7.5 => 5.0,
        _ => 10.0,
    };
    factor * power
}

#[cfg(test)]
mod tests {
    use super::Scale;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_reach_over_the_data() {
        assert_eq!(
            labels(Scale::from_zero(9.3)),
            ["0", "2", "4", "6", "8", "10"]
        );
        assert_eq!(
            labels(Scale::from_zero(0.31)),
            ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3", "0.35"]
        );
        assert_eq!(
            labels(Scale::from_zero(5_000.0)),
            ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]
        );
        assert_eq!(
            labels(Scale::between(98.7, 100.0)),
            ["98.8", "99", "99.2", "99.4", "99.6", "99.8", "100"]
        );
    }

    #[test]
    fn what_is_counted_has_no_fractions() {
        assert_eq!(labels(Scale::bars(1, 3)), ["1", "2", "3"]);
        assert_eq!(labels(Scale::bars(5, 5)), ["5"]);
        assert_eq!(labels(Scale::bars(0, 99)), ["0", "20", "40", "60", "80"]);
        assert_eq!(
            labels(Scale::count_from_zero(17.0))
                .last()
                .map(String::as_str),
            Some("18")
        );
        assert_eq!(labels(Scale::count_from_zero(0.0)), ["0", "1"]);
    }

    #[test]
    fn logarithmic_ticks_are_round() {
        assert_eq!(
            labels(Scale::logarithmic(15.0, 1_200.0)),
            ["20", "50", "100", "200", "500", "1,000"]
        );
        assert_eq!(
            labels(Scale::logarithmic(1.0, 1e6)),
            ["1", "10", "100", "1,000", "10k", "100k", "1M"]
        );
    }

    #[test]
    fn nothing_to_show_still_has_a_scale() {
        for max in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Scale::from_zero(max).high(), 1.0);
        }
        for scale in [
            Scale::between(3.0, 3.0),
            Scale::logarithmic(0.0, 1.0),
            Scale::from_zero(1e-300),
        ] {
            assert!(scale.ticks().len() >= 2, "{scale:?}");
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1e300] {
                assert!((0.0..=1.0).contains(&scale.place(value)));
            }
        }
    }

    #[test]
    fn places() {
        assert_eq!(Scale::between(2.0, 6.0).place(3.0), 0.25);
        assert!((Scale::logarithmic(1.0, 100.0).place(10.0) - 0.5).abs() < 1e-12);
        assert_eq!(Scale::logarithmic(1.0, 100.0).place(0.0), 0.0);
    }
}
