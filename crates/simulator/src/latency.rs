//! Latency models: how long a message takes one way, drawn for each message.
//!
//! A draw is a pure function of the two ends and one random word, so that any engine can make it
//! on any thread. It calculates with whole microseconds; the one model with a curved distribution
//! takes it from a table of quantiles that is computed once, with `libm`, whose results are the
//! same on every machine.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::random::scale;

/// Steps of the quantile table.
const QUANTILES: usize = 1024;

/// How long messages take, one way.
#[derive(Clone, Debug, PartialEq)]
pub enum LatencyModel {
    /// Uniform, or constant.
    Uniform(Uniform),
    /// Log-normal, as round-trip times on the internet are.
    LogNormal(LogNormal),
    /// By the places that the two members are at.
    Matrix(Arc<LatencyMatrix>),
}

impl LatencyModel {
    /// Every message takes this long.
    #[must_use]
    pub fn constant(latency: Duration) -> Self {
        Self::from(latency..=latency)
    }

    /// The latency of one message from the `from`-th to the `to`-th member, for a random `word`.
    #[must_use]
    pub fn draw(&self, from: u32, to: u32, word: u64) -> Duration {
        Duration::from_micros(self.draw_micros(from, to, word))
    }

    /// The same in microseconds.
    #[inline]
    #[must_use]
    pub(crate) fn draw_micros(&self, from: u32, to: u32, word: u64) -> u64 {
        match self {
            Self::Uniform(model) => model.draw(word),
            Self::LogNormal(model) => model.draw(word),
            Self::Matrix(matrix) => matrix.draw(from, to, word),
        }
    }

    /// The least that can be drawn.
    #[must_use]
    pub fn least(&self) -> Duration {
        match self {
            Self::Uniform(model) => Duration::from_micros(model.low),
            Self::LogNormal(model) => Duration::from_micros(model.quantiles[0]),
            Self::Matrix(matrix) => Duration::from_micros(matrix.least),
        }
    }

    /// The most that can be drawn.
    #[must_use]
    pub fn greatest(&self) -> Duration {
        match self {
            Self::Uniform(model) => Duration::from_micros(model.high),
            Self::LogNormal(model) => Duration::from_micros(model.quantiles[QUANTILES]),
            Self::Matrix(matrix) => Duration::from_micros(matrix.greatest),
        }
    }
}

/// Uniform between the two, both included; constant if they are equal.
impl From<RangeInclusive<Duration>> for LatencyModel {
    fn from(range: RangeInclusive<Duration>) -> Self {
        Self::Uniform(Uniform {
            low: micros(*range.start()),
            high: micros(*range.end()),
        })
    }
}

/// Uniform latency between two bounds, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uniform {
    low: u64,
    high: u64,
}

impl Uniform {
    #[inline]
    const fn draw(self, word: u64) -> u64 {
        let width = self.high.saturating_sub(self.low).saturating_add(1);
        self.low + scale(word, width)
    }
}

/// Log-normal latency: the logarithm is normally distributed. The tails are cut at the quantiles
/// 1/2048 and 2047/2048.
#[derive(Clone, Debug, PartialEq)]
pub struct LogNormal {
    /// The quantile i / [`QUANTILES`], in microseconds.
    quantiles: Arc<[u64]>,
}

impl LogNormal {
    /// The distribution with this median, and this standard deviation of the natural logarithm.
    #[must_use]
    pub fn new(median: Duration, sigma: f64) -> Self {
        let quantile = |normal: f64| {
            let factor = libm::exp(sigma * normal);
            libm::round(micros(median) as f64 * factor) as u64
        };
        Self {
            quantiles: normal_quantiles().into_iter().map(quantile).collect(),
        }
    }

    fn draw(&self, word: u64) -> u64 {
        let step = scale(word, QUANTILES as u64) as usize;
        let (low, high) = (self.quantiles[step], self.quantiles[step + 1]);
        // The word's lower half, which the step hardly depends on.
        Uniform { low, high }.draw(word << 32)
    }
}

/// One-way latencies between places. The `i`-th member is at place `i` modulo their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyMatrix {
    size: usize,
    /// Row by row, in microseconds.
    cells: Vec<u64>,
    /// How far a draw may be from its cell, in thousandths of it.
    jitter_permille: u64,
    least: u64,
    greatest: u64,
}

impl LatencyMatrix {
    /// At most this many places.
    pub const MAX_SIZE: usize = 1024;

    /// The matrix of these rows, from place to place; each draw is uniform within
    /// `jitter_permille` thousandths (up to 1000) of its cell.
    ///
    /// # Errors
    /// What is wrong with it: it has no rows, too many, or they are not as long as it is high.
    pub fn new(rows: &[Vec<Duration>], jitter_permille: u64) -> Result<Self, String> {
        let size = rows.len();
        if size == 0 || size > Self::MAX_SIZE {
            let most = Self::MAX_SIZE;
            return Err(format!("a matrix has 1 to {most} rows, not {size}"));
        }
        if let Some(row) = rows.iter().position(|row| row.len() != size) {
            let (number, have) = (row + 1, rows[row].len());
            return Err(format!(
                "row {number} has {have} numbers, and there are {size} rows"
            ));
        }
        let cells: Vec<u64> = rows.iter().flatten().copied().map(micros).collect();
        let jitter_permille = jitter_permille.min(1000);
        let least = cells.iter().min().copied().unwrap_or(0);
        let greatest = cells.iter().max().copied().unwrap_or(0);
        Ok(Self {
            size,
            cells,
            jitter_permille,
            least: least - least * jitter_permille / 1000,
            greatest: greatest + greatest * jitter_permille / 1000,
        })
    }

    fn draw(&self, from: u32, to: u32, word: u64) -> u64 {
        let place = |member: u32| member as usize % self.size;
        let cell = self.cells[place(from) * self.size + place(to)];
        let off = cell * self.jitter_permille / 1000;
        let (low, high) = (cell - off, cell + off);
        Uniform { low, high }.draw(word)
    }
}

/// The whole microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The quantiles i / [`QUANTILES`] of the standard normal distribution, cut at half a step from
/// both ends.
fn normal_quantiles() -> [f64; QUANTILES + 1] {
    let mut quantiles = [0.0; QUANTILES + 1];
    let mut quantile = 0.0;
    for step in (0..QUANTILES / 2).rev() {
        let share = (step as f64).max(0.5) / QUANTILES as f64;
        // Newton's method; below zero the distribution function is convex, so from the quantile
        // above it converges without overshooting.
        for _ in 0..8 {
            let below = 0.5 * libm::erfc(-quantile * std::f64::consts::FRAC_1_SQRT_2);
            let density = libm::exp(-0.5 * quantile * quantile) / std::f64::consts::TAU.sqrt();
            quantile -= (below - share) / density;
        }
        (quantiles[step], quantiles[QUANTILES - step]) = (quantile, -quantile);
    }
    quantiles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Concern, Stream};

    const DRAWS: usize = 20_000;

    fn drawn(model: &LatencyModel) -> Vec<u64> {
        let mut stream = Stream::fork(1, Concern::Network, 0);
        let mut all: Vec<u64> = (0..DRAWS)
            .map(|_| micros(model.draw(0, 1, stream.word())))
            .collect();
        all.sort_unstable();
        all
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn uniform_and_constant_stay_within_and_fill_their_range() {
        let all = drawn(&LatencyModel::from(ms(20)..=ms(180)));
        assert!(all[0] >= 20_000 && all[DRAWS - 1] <= 180_000);
        assert!(all[DRAWS / 2].abs_diff(100_000) < 2_000);
        assert_eq!(drawn(&LatencyModel::constant(ms(7)))[DRAWS - 1], 7_000);
    }

    #[test]
    fn log_normal_has_the_quantiles_of_the_formula() {
        let model = LatencyModel::LogNormal(LogNormal::new(ms(50), 0.5));
        let all = drawn(&model);
        // exp(0.5 z) x 50 ms for z = -1.2816, 0, 1.2816, 2.3263.
        for (share, wanted) in [
            (0.10, 26_344),
            (0.50, 50_000),
            (0.90, 94_898),
            (0.99, 159_995),
        ] {
            let have = all[(DRAWS as f64 * share) as usize];
            assert!(
                have.abs_diff(wanted) < wanted / 20,
                "{share}: {have}, not {wanted}"
            );
        }
        assert!(model.least() <= Duration::from_micros(all[0]));
        assert!(model.greatest() >= Duration::from_micros(all[DRAWS - 1]));
    }

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        let quantiles = normal_quantiles();
        // Of 1/1024, 1/4 and 3/4.
        for (step, wanted) in [(1, -3.09725), (256, -0.674_490), (768, 0.674_490)] {
            let have: f64 = quantiles[step];
            assert!((have - wanted).abs() < 1e-4, "{step}: {have}, not {wanted}");
        }
        assert!(quantiles.is_sorted());
    }

    #[test]
    fn a_matrix_gives_the_cell_of_the_two_places() {
        let rows = [vec![ms(1), ms(10)], vec![ms(20), ms(2)]];
        let exact = LatencyModel::Matrix(Arc::new(LatencyMatrix::new(&rows, 0).unwrap()));
        let cells = [(0, 1), (1, 0), (2, 4), (3, 1)].map(|(a, b)| exact.draw(a, b, 17));
        assert_eq!(cells, [ms(10), ms(20), ms(1), ms(2)]);
        let all = drawn(&LatencyModel::Matrix(Arc::new(
            LatencyMatrix::new(&rows, 100).unwrap(),
        )));
        assert_eq!((all[0], all[DRAWS - 1]), (9_000, 11_000));
    }

    #[test]
    fn a_matrix_that_is_none_is_refused() {
        assert!(LatencyMatrix::new(&[], 0).is_err());
        let ragged = [vec![ms(1), ms(2)], vec![ms(1)]];
        let why = LatencyMatrix::new(&ragged, 0).unwrap_err();
        assert!(why.contains("row 2"), "{why}");
    }
}
