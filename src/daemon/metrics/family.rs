//! Families of series: counters that only rise, gauges that are set anew at every scrape.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{CounterVec, GaugeVec, Histogram, HistogramOpts, Opts, Registry};

/// Makes families and registers them.
pub(super) struct Maker<'a>(pub(super) &'a Registry);

impl Maker<'_> {
    pub(super) fn counter(&self, name: &str, help: &str, labels: &[&'static str]) -> Counter {
        let vec = CounterVec::new(Opts::new(name, help), labels).expect("a valid metric");
        let registered = self.0.register(Box::new(vec.clone()));
        registered.expect("every metric has a name of its own");
        Counter {
            vec,
            labels: labels.to_vec(),
            series: Mutex::default(),
        }
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[&'static str]) -> Gauge {
        let vec = GaugeVec::new(Opts::new(name, help), labels).expect("a valid metric");
        let registered = self.0.register(Box::new(vec.clone()));
        registered.expect("every metric has a name of its own");
        Gauge(vec)
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = Histogram::with_opts(opts).expect("a valid metric");
        let registered = self.0.register(Box::new(histogram.clone()));
        registered.expect("every metric has a name of its own");
        histogram
    }
}

/// Counts since the service began.
pub(super) struct Counter {
    vec: CounterVec,
    labels: Vec<&'static str>,
    series: Mutex<BTreeSet<Vec<String>>>,
}

impl Counter {
    /// Publishes a series, at zero if it is new.
    pub(super) fn publish(&self, labels: &[&str]) {
        self.add(labels, 0);
    }

    pub(super) fn add(&self, labels: &[&str], more: u64) {
        self.series().insert(owned(labels));
        self.vec.with_label_values(labels).inc_by(more as f64);
    }

    /// Takes over a total that is counted elsewhere. It never falls.
    pub(super) fn raise_to(&self, labels: &[&str], total: f64) {
        self.series().insert(owned(labels));
        let series = self.vec.with_label_values(labels);
        series.inc_by((total - series.get()).max(0.0));
    }

    /// Takes away the series of what is gone: those whose label has none of these values.
    pub(super) fn keep(&self, label: &str, values: &BTreeSet<String>) {
        let Some(place) = self.labels.iter().position(|one| *one == label) else {
            return;
        };
        self.series().retain(|series| {
            let stays = values.contains(&series[place]);
            if !stays {
                // An error says that there is none.
                let _ = self.vec.remove_label_values(series);
            }
            stays
        });
    }

    fn series(&self) -> MutexGuard<'_, BTreeSet<Vec<String>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What holds at this moment: all its series are set at every scrape, so that none outlives what it is about.
pub(super) struct Gauge(GaugeVec);

impl Gauge {
    /// Replaces all series.
    pub(super) fn set_all<'a, const N: usize>(
        &self,
        series: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        self.0.reset();
        for (labels, value) in series {
            self.0.with_label_values(&labels).set(value);
        }
    }

    /// Sets the only series.
    pub(super) fn set(&self, value: f64) {
        self.set_all([([], value)]);
    }
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&one| one.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(registry: &Registry) -> String {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        let text = text.unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_counter_rises_and_leaves_with_what_it_counts() {
        let registry = Registry::new();
        let counter = Maker(&registry).counter("c_total", "help", &["a", "b"]);
        counter.publish(&["x", "1"]);
        counter.add(&["y", "1"], 3);
        counter.raise_to(&["y", "1"], 5.0);
        counter.raise_to(&["y", "1"], 4.0);
        counter.publish(&["y", "1"]);
        assert_eq!(
            shown(&registry),
            r#"c_total{a="x",b="1"} 0; c_total{a="y",b="1"} 5"#
        );
        counter.keep("other", &BTreeSet::new());
        counter.keep("a", &BTreeSet::from(["y".to_owned()]));
        assert_eq!(shown(&registry), r#"c_total{a="y",b="1"} 5"#);
    }

    #[test]
    fn a_gauge_forgets_what_is_not_set_again() {
        let registry = Registry::new();
        let gauge = Maker(&registry).gauge("g", "help", &["a"]);
        gauge.set_all([(["x"], 1.0), (["y"], 2.0)]);
        gauge.set_all([(["y"], 3.0)]);
        assert_eq!(shown(&registry), r#"g{a="y"} 3"#);
        gauge.set_all::<1>([]);
        assert_eq!(shown(&registry), "");
    }
}
