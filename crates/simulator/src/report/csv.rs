//! Tables for spreadsheets and plotting programs.

use std::io;

use serde::Serialize;

use crate::results::{Distribution, Results};

use super::figures::key_figures;

/// The tables of a run: file name and content.
pub(super) fn tables(results: &Results) -> io::Result<[(&'static str, Vec<u8>); 4]> {
    let figures = key_figures(results);
    let figures = figures.iter().map(|figure| FigureRow {
        group: &figure.group,
        name: &figure.name,
        value: figure.value,
        unit: if figure.unit.symbol() == "%" {
            "share"
        } else {
            figure.unit.symbol()
        },
    });
    Ok([
        ("figures.csv", table(figures)?),
        ("series.csv", table(&results.series)?),
        ("members.csv", table(&results.members.rows)?),
        ("distributions.csv", table(distribution_rows(results))?),
    ])
}

#[derive(Serialize)]
struct FigureRow<'a> {
    group: &'a str,
    name: &'a str,
    value: Option<f64>,
    unit: &'a str,
}

/// One bucket of a distribution: `count` values from `low` to `high`, both included.
#[derive(Serialize)]
struct BucketRow {
    distribution: String,
    low: u64,
    high: u64,
    count: u64,
}

fn distribution_rows(results: &Results) -> impl Iterator<Item = BucketRow> {
    let load = &results.load;
    let mut all: Vec<(String, &Distribution)> = Vec::new();
    for traffic in &results.traffic {
        let class = &traffic.class;
        all.push((format!("{class} hops"), &traffic.hops));
        all.push((format!("{class} latency_us"), &traffic.latency_us));
        all.push((format!("{class} timeouts"), &traffic.timeouts));
    }
    all.push(("links".to_owned(), &load.links));
    all.push(("uplink_bits_per_s".to_owned(), &load.uplink_bits_per_s));
    all.push(("downlink_bits_per_s".to_owned(), &load.downlink_bits_per_s));
    all.into_iter().flat_map(|(distribution, counts)| {
        counts.buckets().map(move |bucket| BucketRow {
            distribution: distribution.clone(),
            low: bucket.low,
            high: bucket.high,
            count: bucket.count,
        })
    })
}

fn table<R: Serialize>(rows: impl IntoIterator<Item = R>) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}
