//! Policies in a loop of their own: a chain without a tracker around it.

use std::path::Path;
use std::sync::Arc;

use karuta::policy::{Chain, Compiler, Engine, Generation, Scope, When};
use karuta::{config, data, metrics};
use karuta_swarm::{Memory, Options};

/// The file of a component, where it is built.
pub fn component(name: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let file = folder.join(format!("{name}.wasm")).display().to_string();
    if !Path::new(&file).exists() {
        eprintln!("left out: a policy, for {file} is not built");
        return None;
    }
    Some(file)
}

/// A chain of one policy.
pub fn chain(policy: &str) -> Chain {
    let yaml = format!(
        "udp: [{{ listen: '127.0.0.1:0' }}]\n\
         policies: [{{ name: one, {policy} }}]",
    );
    let config =
        config::parse(&yaml, Path::new("config.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let metrics = metrics::Metrics::new(Default::default);
    let engine = Engine::new(Compiler::InProcess, None, metrics.plugins()).expect("an engine");
    let opening = data::Opening::new(None, data::Fetch::Soon).expect("no data");
    let scope = Scope {
        max_interval: 3600,
        max_num_want: 200,
        peer_lifetime: config.tracker.peer_lifetime,
        swarms: Arc::new(Memory::new(Options::default())),
    };
    let nothing = Generation::default();
    let (policies, whens) = (&config.policies, vec![When::default()]);
    let generation =
        Generation::load(&engine, policies, whens, &scope, &opening, &nothing, |_| false);
    let generation = generation.unwrap_or_else(|(_, error)| panic!("{}", error.reason));
    let links = generation.prepare(&nothing, 0, 1, &metrics);
    let mut chain = Chain::default();
    chain.adopt(links.unwrap_or_else(|(_, error)| panic!("{}", error.reason)));
    chain
}
