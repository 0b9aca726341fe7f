//! `[network]` and `[trackers]`: what is between the members.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::files::Files;
use super::key::{Key, Wrong};
use crate::latency::{LatencyMatrix, LatencyModel, LogNormal};
use crate::network::{NetworkConfig, PathTimeouts};
use crate::results::Detail;

/// The largest matrix file, in bytes: that of [`LatencyMatrix::MAX_SIZE`] with 15 characters for
/// each number.
const MAX_MATRIX_BYTES: u64 = 16 << 20;

/// The longest latency, in milliseconds.
const MAX_LATENCY_MS: f64 = 60_000.0;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetworkTable {
    latency: Option<LatencyTable>,
    loss: Option<f64>,
    link_mbit_per_s: Option<f64>,
    uplink_mbit_per_s: Option<f64>,
    downlink_mbit_per_s: Option<f64>,
    unconnectable_share: Option<f64>,
    gathering_ms: Option<f64>,
    link_setup_ms: Option<f64>,
    connect_timeout_ms: Option<f64>,
    retransmission_timeout_ms: Option<f64>,
    path_suspect_ms: Option<f64>,
    path_failed_ms: Option<f64>,
}

impl NetworkTable {
    pub(super) fn build(self, key: &Key, files: &Files) -> Result<NetworkConfig, Wrong> {
        let mut config = NetworkConfig {
            // A driver's oddity that tests of the core are after, and nobody else.
            late_events: 0.0,
            ..NetworkConfig::default()
        };
        if let Some(latency) = self.latency {
            config.latency = latency.build(&key.at("latency"), files)?;
        }
        if let Some(loss) = self.loss {
            config.loss = key.at("loss").within(loss, 0.0, 0.9)?;
        }
        for (name, value, setting) in [
            (
                "link_mbit_per_s",
                self.link_mbit_per_s,
                &mut config.bandwidth,
            ),
            (
                "uplink_mbit_per_s",
                self.uplink_mbit_per_s,
                &mut config.uplink,
            ),
            (
                "downlink_mbit_per_s",
                self.downlink_mbit_per_s,
                &mut config.downlink,
            ),
        ] {
            if let Some(value) = value {
                *setting = Some(key.at(name).bandwidth(value)?);
            }
        }
        if let Some(share) = self.unconnectable_share {
            config.unconnectable = key.at("unconnectable_share").share(share)?;
        }
        for (name, value, setting) in [
            ("gathering_ms", self.gathering_ms, &mut config.gathering),
            ("link_setup_ms", self.link_setup_ms, &mut config.handshake),
        ] {
            if let Some(value) = value {
                let time = key.at(name).millis(value)?;
                *setting = time..=time;
            }
        }
        for (name, value, setting) in [
            (
                "connect_timeout_ms",
                self.connect_timeout_ms,
                &mut config.connect_timeout,
            ),
            (
                "retransmission_timeout_ms",
                self.retransmission_timeout_ms,
                &mut config.retransmission_timeout,
            ),
        ] {
            if let Some(value) = value {
                // What is tried again after no time would stop the simulated time.
                key.at(name).within(value, 1.0, f64::MAX)?;
                *setting = key.at(name).millis(value)?;
            }
        }
        config.path_timeouts = path_timeouts(key, self.path_suspect_ms, self.path_failed_ms)?;
        Ok(config)
    }
}

fn path_timeouts(
    key: &Key,
    suspect_ms: Option<f64>,
    failed_ms: Option<f64>,
) -> Result<Option<PathTimeouts>, Wrong> {
    let (suspect, failed) = match (suspect_ms, failed_ms) {
        (None, None) => return Ok(None),
        (suspect, failed) => (
            key.at("path_suspect_ms").required(suspect)?,
            key.at("path_failed_ms").required(failed)?,
        ),
    };
    if suspect > failed {
        return Err(key
            .at("path_suspect_ms")
            .wrong(format!("{suspect} is more than path_failed_ms = {failed}")));
    }
    Ok(Some(PathTimeouts {
        suspect: key.at("path_suspect_ms").millis(suspect)?,
        failed: key.at("path_failed_ms").millis(failed)?,
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LatencyTable {
    model: Option<ModelName>,
    ms: Option<f64>,
    min_ms: Option<f64>,
    max_ms: Option<f64>,
    median_ms: Option<f64>,
    sigma: Option<f64>,
    file: Option<String>,
    jitter_share: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ModelName {
    Constant,
    Uniform,
    LogNormal,
    Matrix,
}

impl LatencyTable {
    fn build(self, key: &Key, files: &Files) -> Result<LatencyModel, Wrong> {
        let model = key.at("model").required(self.model)?;
        let (name, allowed): (_, &[&str]) = match model {
            ModelName::Constant => ("constant", &["ms"]),
            ModelName::Uniform => ("uniform", &["min_ms", "max_ms"]),
            ModelName::LogNormal => ("log-normal", &["median_ms", "sigma"]),
            ModelName::Matrix => ("matrix", &["file", "jitter_share"]),
        };
        let given = [
            ("ms", self.ms.is_some()),
            ("min_ms", self.min_ms.is_some()),
            ("max_ms", self.max_ms.is_some()),
            ("median_ms", self.median_ms.is_some()),
            ("sigma", self.sigma.is_some()),
            ("file", self.file.is_some()),
            ("jitter_share", self.jitter_share.is_some()),
        ];
        key.only(&format!("model = \"{name}\""), allowed, given)?;
        let latency = |name, value| {
            let key = key.at(name);
            let ms = key.required(value)?;
            key.within(ms, 0.001, MAX_LATENCY_MS)?;
            key.millis(ms)
        };
        match model {
            ModelName::Constant => Ok(LatencyModel::constant(latency("ms", self.ms)?)),
            ModelName::Uniform => {
                let least = latency("min_ms", self.min_ms)?;
                let most = latency("max_ms", self.max_ms)?;
                if least > most {
                    return Err(key.at("min_ms").wrong("is more than max_ms"));
                }
                Ok(LatencyModel::from(least..=most))
            }
            ModelName::LogNormal => {
                let median = latency("median_ms", self.median_ms)?;
                let sigma = key.at("sigma").required(self.sigma)?;
                key.at("sigma").within(sigma, 0.0, 2.0)?;
                Ok(LatencyModel::LogNormal(LogNormal::new(median, sigma)))
            }
            ModelName::Matrix => {
                let jitter = self.jitter_share.unwrap_or(0.0);
                let jitter = key.at("jitter_share").within(jitter, 0.0, 0.99)?;
                let key = key.at("file");
                let path = key.required(self.file)?;
                let matrix = files
                    .read(&path, MAX_MATRIX_BYTES)
                    .and_then(|text| parse_matrix(&text, (jitter * 1000.0) as u64))
                    .map_err(|why| key.wrong(format!("{path}: {why}")))?;
                Ok(LatencyModel::Matrix(Arc::new(matrix)))
            }
        }
    }
}

/// Rows of milliseconds, between commas or blanks; lines that begin with `#` say nothing.
fn parse_matrix(text: &str, jitter_permille: u64) -> Result<LatencyMatrix, String> {
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let cells = line
            .split([',', ';', ' ', '\t'])
            .filter(|cell| !cell.is_empty());
        let row: Option<Vec<Duration>> = cells.map(parse_cell).collect();
        rows.push(row.ok_or_else(|| {
            let number = number + 1;
            format!("line {number} has to be numbers of milliseconds from 0.001 to 60000")
        })?);
        if rows.len() > LatencyMatrix::MAX_SIZE {
            break;
        }
    }
    LatencyMatrix::new(&rows, jitter_permille)
}

fn parse_cell(cell: &str) -> Option<Duration> {
    let ms: f64 = cell.parse().ok()?;
    let fits = (0.001..=MAX_LATENCY_MS).contains(&ms);
    fits.then(|| Duration::from_micros((ms * 1e3).round() as u64))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TrackersTable {
    count: Option<u64>,
}

impl TrackersTable {
    /// How many trackers there are.
    pub(super) fn build(&self, key: &Key, detail: Detail) -> Result<u16, Wrong> {
        let least = match detail {
            // Nobody finds anybody without one.
            Detail::Full => 1,
            Detail::Overlay => 0,
        };
        let count = key.at("count").whole(self.count.unwrap_or(1), least, 16)?;
        Ok(u16::try_from(count).unwrap_or(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_read_as_tools_write_it() {
        let matrix = parse_matrix("# ms\n1, 20.5\n20.5\t1\n\n", 0).unwrap();
        let model = LatencyModel::Matrix(Arc::new(matrix));
        assert_eq!(model.draw(0, 1, 0), Duration::from_micros(20_500));
        for bad in ["", "1 2\n3", "1 x\n2 3", "1 -2\n2 3", "nan"] {
            assert!(parse_matrix(bad, 0).is_err(), "{bad:?}");
        }
    }
}
