//! The text of `/metrics`: every series, summed over all threads.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use karuta_swarm::Totals;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as Sample, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder, TextEncoder};

use super::{
    Action, BOUNDS, CONTROL, Cause, FAMILIES, Histogram, Hook, Metrics, Outcome, PolicySeries,
    TRANSPORTS, Verdict, Would, call_index, error_index, plugin, request_index,
};
use crate::data::{DataSource, Definition};
use crate::log;

/// Counts for each bucket, and the sum in nanoseconds.
type Sum = ([u64; BOUNDS.len() + 1], u64);

pub fn text(metrics: &Metrics) -> String {
    let mut families = Vec::from(requests(metrics));
    families.extend(swarms(metrics));
    families.extend(policies(metrics));
    families.extend(metrics.reloads.families());
    families.extend(metrics.connection_families());
    families.extend(metrics.kernel.families());
    families.push(counter(
        "karuta_log_dropped_total",
        "Log lines that came faster than they were read, or could not be written.",
        vec![(vec![], log::dropped() as f64)],
    ));
    families.extend(metrics.plugins.families().into_iter().map(|(name, family)| {
        let values = family.values.iter();
        let samples = values.map(|(policy, value)| (vec![("policy", &**policy)], *value)).collect();
        let make = match family.kind {
            plugin::Kind::Counter => counter,
            plugin::Kind::Gauge => gauge,
        };
        make(&format!("karuta_plugin_{name}"), &family.help, samples)
    }));
    families.extend(data(metrics));
    families.push(metrics.admin.family());
    families.extend(metrics.site_calls.families());
    families.push(metrics.decisions.family());
    families.extend(metrics.tls.families());
    families.extend(metrics.snapshots.families());
    families.extend(metrics.export_families());
    families.extend(metrics.public.families());
    families.extend(metrics.share().map(|share| share.families()).unwrap_or_default());
    families.extend(metrics.account_families());
    families.extend(metrics.ring_families());
    families.extend(metrics.process_families());
    families.retain(|family| !family.get_metric().is_empty());
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
        tracing::error!(%error, "cannot encode metrics; the page is incomplete");
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn requests(metrics: &Metrics) -> [MetricFamily; 2] {
    let workers = metrics.workers.lock();
    let mut counts = Vec::new();
    let mut durations = Vec::new();
    for (transport, transport_name) in TRANSPORTS {
        for action in Action::ALL {
            for (family, family_name) in FAMILIES {
                for outcome in Outcome::ALL {
                    let at = request_index(transport, *action, family, *outcome);
                    let sum = add_up(workers.iter().map(|worker| &worker.requests[at]));
                    let count: u64 = sum.0.iter().sum();
                    if count == 0 {
                        continue;
                    }
                    let labels = vec![
                        ("transport", transport_name),
                        ("action", action.name()),
                        ("family", family_name),
                        ("outcome", outcome.name()),
                    ];
                    counts.push((labels.clone(), count as f64));
                    durations.push((labels, sum));
                }
            }
        }
    }
    [
        counter("karuta_requests_total", "Requests, by outcome.", counts),
        histogram(
            "karuta_request_duration_seconds",
            "Time from the complete request to the complete answer.",
            durations,
        ),
    ]
}

fn swarms(metrics: &Metrics) -> [MetricFamily; 2] {
    let totals = metrics.totals();
    [
        gauge(
            "karuta_swarms",
            "Torrents with at least one peer.",
            vec![(vec![], totals.swarms as f64)],
        ),
        gauge("karuta_peers", "Peers of all torrents.", peers(totals)),
    ]
}

/// Returns the numbers of peers by family and role.
pub fn peers(totals: Totals) -> Vec<(Labels<'static>, f64)> {
    let families = [("ipv4", totals.ipv4), ("ipv6", totals.ipv6)];
    let peers = families.into_iter().flat_map(|(family, population)| {
        [("seeder", population.seeders), ("leecher", population.leechers)]
            .map(|(role, count)| (vec![("family", family), ("role", role)], count as f64))
    });
    peers.collect()
}

fn policies(metrics: &Metrics) -> Vec<MetricFamily> {
    let all = metrics.policies.lock();
    let mut by_name: BTreeMap<&str, Vec<&PolicySeries>> = BTreeMap::new();
    for policy in all.iter() {
        by_name.entry(&policy.name).or_default().push(policy);
    }
    let mut calls = Vec::new();
    let mut durations = Vec::new();
    let mut errors = Vec::new();
    let mut memory = Vec::new();
    let mut failed = Vec::new();
    let mut restarts = Vec::new();
    let mut dropped = Vec::new();
    let mut shadow = Vec::new();
    for (name, threads) in by_name {
        let elsewhere = metrics.plugins.find(name);
        for hook in Hook::ALL {
            for verdict in Verdict::ALL {
                let at = call_index(*hook, *verdict);
                let labels = |remembered| {
                    vec![
                        ("policy", name),
                        ("hook", hook.name()),
                        ("verdict", verdict.name()),
                        ("remembered", remembered),
                    ]
                };
                let mut count: u64 = threads.iter().map(|thread| thread.calls[at].get()).sum();
                if *verdict == Verdict::Error {
                    count += elsewhere.as_ref().map_or(0, |series| series.failures(*hook));
                }
                if count > 0 {
                    calls.push((labels("false"), count as f64));
                }
                let count: u64 = threads.iter().map(|thread| thread.remembered[at].get()).sum();
                if count > 0 {
                    calls.push((labels("true"), count as f64));
                }
                let sum = add_up(threads.iter().map(|thread| &thread.durations[at]));
                if sum.0.iter().any(|bucket| *bucket > 0) {
                    durations.push((labels("false"), sum));
                }
            }
            for cause in Cause::ALL {
                let at = error_index(*hook, *cause);
                let mut count: u64 = threads.iter().map(|thread| thread.errors[at].get()).sum();
                count += elsewhere.as_ref().map_or(0, |series| series.errors(*hook, *cause));
                if count > 0 {
                    let labels =
                        vec![("policy", name), ("hook", hook.name()), ("cause", cause.name())];
                    errors.push((labels, count as f64));
                }
            }
        }
        for would in Would::ALL {
            let count: u64 =
                threads.iter().map(|thread| thread.shadow[*would as usize].get()).sum();
            if count > 0 {
                shadow.push((vec![("policy", name), ("would", would.name())], count as f64));
            }
        }
        let bytes: u64 = threads.iter().map(|thread| thread.memory.load(Relaxed)).sum();
        memory.push((vec![("policy", name)], bytes as f64));
        let is_failed = threads.iter().any(|thread| thread.failed.load(Relaxed));
        failed.push((vec![("policy", name)], f64::from(u8::from(is_failed))));
        let count: u64 = threads.iter().map(|thread| thread.restarts.get()).sum();
        restarts.push((vec![("policy", name)], count as f64));
        let count: u64 = threads.iter().map(|thread| thread.dropped.load(Relaxed)).sum();
        if threads.iter().any(|thread| thread.worker == CONTROL) {
            dropped.push((vec![("policy", name)], count as f64));
        }
    }
    vec![
        counter("karuta_policy_calls_total", "Decisions of policies, by verdict.", calls),
        histogram(
            "karuta_policy_duration_seconds",
            "Duration of policy calls that returned; one call in 64 is measured.",
            durations,
        ),
        counter(
            "karuta_policy_shadow_total",
            "What policies in shadow mode would have done, by action.",
            shadow,
        ),
        counter("karuta_policy_errors_total", "Failed policy calls, by cause.", errors),
        gauge(
            "karuta_policy_memory_bytes",
            "Memory of the instances of a policy that serve.",
            memory,
        ),
        gauge("karuta_policy_failed", "Whether a worker has given the policy up.", failed),
        counter("karuta_policy_restarts_total", "Instances that replaced a failed one.", restarts),
        counter(
            "karuta_policy_observer_dropped_total",
            "Announce outcomes that the observer did not get.",
            dropped,
        ),
    ]
}

fn data(metrics: &Metrics) -> [MetricFamily; 5] {
    let sources = metrics.data.lock();
    fn labels(source: &DataSource) -> Labels<'_> {
        let Definition { policy, name, .. } = source.definition();
        vec![("policy", policy), ("data", name)]
    }
    let [mut ages, mut entries, mut errors, mut edits, mut unwritten] = [const { Vec::new() }; 5];
    for source in &*sources {
        ages.extend(source.age().map(|age| (labels(source), age.as_secs_f64())));
        entries.push((labels(source), source.entries() as f64));
        errors.push((labels(source), source.errors() as f64));
        edits.extend(source.edit_count().map(|count| (labels(source), count as f64)));
        unwritten.extend(source.edits().map(|edits| (labels(source), edits.errors() as f64)));
    }
    [
        gauge("karuta_data_age_seconds", "Time since the version in use was read.", ages),
        gauge("karuta_data_entries", "Entries of the version in use.", entries),
        counter("karuta_data_errors_total", "New versions of the data that were refused.", errors),
        gauge("karuta_list_edits", "Edits of the list that its data does not say.", edits),
        counter(
            "karuta_list_journal_errors_total",
            "Times when the journal of the edits could not be written.",
            unwritten,
        ),
    ]
}

fn add_up<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Sum {
    let mut sum = ([0; BOUNDS.len() + 1], 0);
    for histogram in histograms {
        for (total, bucket) in sum.0.iter_mut().zip(&histogram.buckets) {
            *total += bucket.get();
        }
        sum.1 += histogram.nanoseconds.get();
    }
    sum
}

pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

pub(super) fn counter(name: &str, help: &str, samples: Vec<(Labels, f64)>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, samples, |metric, value| {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    })
}

pub(super) fn gauge(name: &str, help: &str, samples: Vec<(Labels, f64)>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, samples, |metric, value| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    })
}

fn histogram(name: &str, help: &str, samples: Vec<(Labels, Sum)>) -> MetricFamily {
    let bounds = BOUNDS.map(|bound| bound as f64 / 1e9);
    let samples = samples.into_iter().map(|(labels, (buckets, nanoseconds))| {
        (labels, (buckets.to_vec(), nanoseconds as f64 / 1e9))
    });
    histogram_of(name, help, &bounds, samples.collect())
}

/// Makes a histogram with these upper bounds. A sample is the counts of all buckets, with that of the
/// values above the last bound at the end, and the sum of the values.
pub(super) fn histogram_of(
    name: &str,
    help: &str,
    bounds: &[f64],
    samples: Vec<(Labels, (Vec<u64>, f64))>,
) -> MetricFamily {
    family(name, help, MetricType::HISTOGRAM, samples, |metric, (buckets, sum)| {
        let mut cumulative = 0;
        let below = bounds.iter().zip(&buckets).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut sample = Sample::default();
        sample.set_bucket(below.collect());
        sample.set_sample_count(buckets.iter().sum());
        sample.set_sample_sum(sum);
        metric.set_histogram(sample);
    })
}

fn family<T>(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: Vec<(Labels, T)>,
    set: impl Fn(&mut Metric, T),
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(labels, value)| {
        let pairs = labels.into_iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        set(&mut metric, value);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use karuta_bittorrent::{Family, Transport};
    use karuta_swarm::{Population, Totals};

    #[test]
    fn threads_are_added_up() {
        let totals = Totals {
            swarms: 3,
            ipv4: Population { seeders: 1, leechers: 2 },
            ipv6: Population::default(),
        };
        let metrics = Metrics::new(move || totals);
        for worker in 0..2 {
            metrics.worker().request(
                Transport::Udp,
                Action::Announce,
                Family::Ipv4,
                Outcome::Ok,
                Duration::from_micros(3),
            );
            let policy = metrics.policy(&"clients".into(), worker);
            policy.call(Hook::Announce, Verdict::Reject);
            policy.error(Hook::Announce, Cause::Deadline);
            policy.restart();
            policy.memory(1000);
        }
        let text = metrics.render();
        let request = "transport=\"udp\",action=\"announce\",family=\"ipv4\",outcome=\"ok\"";
        for line in [
            format!("karuta_requests_total{{{request}}} 2"),
            format!("karuta_request_duration_seconds_bucket{{{request},le=\"0.0000025\"}} 0"),
            format!("karuta_request_duration_seconds_bucket{{{request},le=\"0.000005\"}} 2"),
            format!("karuta_request_duration_seconds_count{{{request}}} 2"),
            "karuta_swarms 3".into(),
            "karuta_peers{family=\"ipv4\",role=\"leecher\"} 2".into(),
            "karuta_policy_calls_total{policy=\"clients\",hook=\"announce\",verdict=\"reject\",\
             remembered=\"false\"} 2"
                .into(),
            "karuta_policy_errors_total{policy=\"clients\",hook=\"announce\",cause=\"deadline\"} 2"
                .into(),
            "karuta_policy_restarts_total{policy=\"clients\"} 2".into(),
            "karuta_policy_memory_bytes{policy=\"clients\"} 2000".into(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
