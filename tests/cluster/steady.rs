//! Nothing fails.

use karuta_tests::engines::Engine;

use crate::{Scene, figures, lags};

#[test]
fn all_nodes_know_the_same_when_nobody_announces_any_more() {
    for engine in Engine::all() {
        let scene = Scene::begin(&engine);
        let mut heard = scene.crowd.lap();
        figures("at first", &mut heard);
        heard.is_clean();
        let probes = scene.probes();
        let before = scene.cluster.cpu();
        scene.goes_on();
        let (mut heard, used) = (scene.crowd.lap(), scene.cluster.cpu() - before);
        figures("then", &mut heard);
        heard.is_clean();
        lags(probes);
        let microseconds = used.as_secs_f64() * 1e6 / heard.announces as f64;
        eprintln!("{microseconds:.1} µs of the engine for an announce");
        scene.goes_on();
        scene.ends_well();
    }
}
