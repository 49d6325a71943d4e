//! Making Prometheus families without a registered metric behind them.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::sample::HistogramSample;

/// Labels of one series.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A counter family. Empty families are not published.
pub(crate) fn counter(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, metrics)
}

/// A gauge family.
pub(crate) fn gauge(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, metrics)
}

/// A histogram family with one series.
pub(crate) fn histogram(name: &str, help: &str, sample: &HistogramSample) -> MetricFamily {
    let mut cumulative = 0_u64;
    let mut buckets = Vec::with_capacity(sample.buckets.len());
    for &(upper_bound, count) in &sample.buckets {
        cumulative = cumulative.saturating_add(count);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(upper_bound);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_sample_count(cumulative);
    histogram.set_sample_sum(sample.sum);
    histogram.set_bucket(buckets);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}

/// One series of a counter.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are doubles")]
pub(crate) fn count(labels: Labels<'_>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::default();
    metric.set_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

/// One series of a gauge.
pub(crate) fn level(labels: Labels<'_>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::default();
    metric.set_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

/// One series of a gauge that counts things.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are doubles")]
pub(crate) fn level_of(labels: Labels<'_>, value: u64) -> Metric {
    level(labels, value as f64)
}

/// A part of a metric's name: what Prometheus does not allow becomes `_`.
pub(crate) fn name_part(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    text.chars().map(keep).collect()
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}
