//! `karuta plugin bench`: measures the cost of a component.

use std::path::Path;
use std::time::{Duration, Instant};

use super::cases::{Cases, Measured, name_of};
use super::{Failure, engine, engine_counting_fuel, inspect};
use crate::exchange::Exchange;
use crate::policy::{Compiler, Component, Engine, Question, Setting, Trial};
use crate::text::Escaped;

/// The limits for repeating each call: time and number of calls.
const TIME: Duration = Duration::from_secs(1);
const CALLS: usize = 200_000;
/// Calls before those that are measured.
const WARM_UP: usize = 1000;
/// Calls whose fuel is counted.
const FUELLED: usize = 1000;
/// Instances that are made to measure how long one takes.
const INSTANCES: usize = 20;

/// Measures a component with the last call of each case, or with an announce if there are no cases.
pub fn bench(component: &Path, cases: Option<&Path>, compiler: &Compiler) -> Result<(), Failure> {
    let fail = |reason: String| Failure::Usage(format!("{}: {reason}", component.display()));
    let bytes = Component::read(component).map_err(fail)?;
    let name = name_of(component);
    let load = |engine: &Engine| {
        let start = Instant::now();
        let candidate = Component::load(engine, &bytes);
        let candidate = candidate.map_err(|refusal| fail(refusal.to_string()))?;
        Ok::<_, Failure>((candidate, start.elapsed()))
    };
    let bare = Engine::new(compiler.clone(), None).map_err(|error| error.to_string())?;
    let (_, compiled) = load(&bare)?;
    let engine = engine(compiler)?;
    // The first load may have to compile it again.
    load(&engine)?;
    let (candidate, cached) = load(&engine)?;
    let cases = cases.map(Cases::read).transpose()?;
    let to_measure = |candidate: &Component| match &cases {
        Some(cases) => cases.to_measure(candidate, &name),
        None => Ok(vec![plain(candidate, &name)?]),
    };
    let mut calls = to_measure(&candidate)?;
    println!("{}", component.display());
    println!("  size       {}", inspect::size(bytes.len()));
    println!("  load       {} compiled, {} from the cache", show(compiled), show(cached));
    let Some(first) = calls.first_mut() else { return Ok(()) };
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        let start = Instant::now();
        first.trial.renew()?;
        instances.push(start.elapsed());
    }
    instances.sort_unstable();
    let memory = inspect::size(first.trial.memory());
    println!("  instance   {} with `init`, {memory}", show(instances[INSTANCES / 2]));
    // Counting fuel slows code down, so it uses a second engine, and times are measured in the
    // first.
    let counting = engine_counting_fuel(compiler)?;
    let (candidate, _) = load(&counting)?;
    let fuelled = to_measure(&candidate)?;
    println!("\n  {:<44} {:>9} {:>9} {:>8} {:>9}", "CALL", "MEDIAN", "P99", "CALLS", "FUEL");
    let clock = clock();
    for (call, fuelled) in calls.iter_mut().zip(fuelled) {
        let name: String = Escaped(&call.name).to_string().chars().take(44).collect();
        let measured = measure(call, clock).and_then(|times| Some((times, fuel(fuelled)?)));
        match measured {
            None => println!("  {name:<44} the call fails"),
            Some((times, fuel)) => {
                let at = |share: usize| show(times[(times.len() - 1) * share / 100]);
                let (median, p99, calls) = (at(50), at(99), times.len());
                println!("  {name:<44} {median:>9} {p99:>9} {calls:>8} {fuel:>9}");
            }
        }
    }
    Ok(())
}

/// Measures an ordinary announce.
fn plain(candidate: &Component, name: &str) -> Result<Measured, Failure> {
    let setting = Setting {
        name: name.to_owned(),
        config: serde_json::json!({}),
        max_interval: 2400,
        max_num_want: 200,
        ..Setting::default()
    };
    let trial = Trial::start(candidate, &setting)?;
    let question = Question::Announce(Box::<Exchange>::default());
    Ok(Measured { name: "an announce".to_owned(), trial, question })
}

/// Returns the sorted times of many calls, minus the time that reading the clock takes.
fn measure(call: &mut Measured, clock: Duration) -> Option<Vec<Duration>> {
    let Measured { trial, question, .. } = call;
    for _ in 0..WARM_UP {
        trial.time(question)?;
    }
    let mut times = Vec::with_capacity(CALLS);
    let start = Instant::now();
    while times.len() < CALLS && start.elapsed() < TIME {
        times.push(trial.time(question)?.saturating_sub(clock));
    }
    times.sort_unstable();
    Some(times)
}

/// Returns the mean fuel of a call over many, because not every call collects garbage.
fn fuel(mut call: Measured) -> Option<u64> {
    let Measured { trial, question, .. } = &mut call;
    for _ in 0..WARM_UP {
        trial.time(question)?;
    }
    let fuel = (0..FUELLED).map(|_| trial.fuel(question));
    fuel.sum::<Option<u64>>().map(|fuel| fuel / FUELLED as u64)
}

/// Measures how long it takes to read the clock twice.
fn clock() -> Duration {
    let mut times: Vec<_> = (0..WARM_UP).map(|_| Instant::now().elapsed()).collect();
    times.sort_unstable();
    times[WARM_UP / 2]
}

fn show(time: Duration) -> String {
    match time.as_nanos() {
        nanos @ 0..10_000 => format!("{nanos} ns"),
        nanos @ 10_000..1_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        nanos @ 1_000_000..10_000_000_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        nanos => format!("{:.1} s", nanos as f64 / 1e9),
    }
}
