//! A chain of policies without a tracker around it.

use std::path::Path;
use std::sync::Arc;

use karuta::policy::{Chain, Compiler, Engine, Estate, Generation, Loader, TrackerView, When};
use karuta::{config, data, metrics};
use karuta_swarm::{Options, Shared};

/// Returns the path of a component, if it is built.
pub fn component(name: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let file = folder.join(format!("{name}.wasm")).display().to_string();
    if !Path::new(&file).exists() {
        eprintln!("skipping the policy: {file} is not built");
        return None;
    }
    Some(file)
}

/// Makes a chain of one policy.
pub fn chain(policy: &str) -> Chain {
    let yaml = format!(
        "udp: [{{ listen: '127.0.0.1:0' }}]\n\
         policies: [{{ name: one, {policy} }}]",
    );
    let config =
        config::parse(&yaml, Path::new("config.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let metrics = metrics::Metrics::new(Default::default);
    let loader = Loader {
        engine: Engine::new(Compiler::InProcess, None).expect("an engine").into(),
        estate: Estate::new(metrics.plugins()),
        opening: data::Opening::new(None, data::Fetch::Soon).expect("no data"),
    };
    let tracker = TrackerView {
        max_interval: 3600,
        max_num_want: 200,
        peer_lifetime: config.tracker.peer_lifetime,
        swarms: Arc::new(Shared::alone(Options::default())),
    };
    let generation = loader.load(&config.policies, vec![When::default()], &tracker);
    let generation = generation.unwrap_or_else(|error| panic!("{error}"));
    let links = generation.prepare(&Generation::default(), 0, 1, &metrics);
    let mut chain = Chain::default();
    chain.adopt(links.unwrap_or_else(|error| panic!("{error}")), false);
    chain
}
