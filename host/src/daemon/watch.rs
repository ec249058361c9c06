//! The files of plugins whose policies have `watch: true`.

use crate::policy::Generation;
use crate::watch::Watch;

/// What is known of the files of the plugins that serve.
#[derive(Default)]
pub struct Plugins(Vec<Watch>);

impl Plugins {
    /// Whether any file that the generation watches has changed since it was loaded, and stands
    /// still. Each change is told once.
    pub fn have_changed(&mut self, generation: &Generation) -> bool {
        let mut earlier = std::mem::take(&mut self.0);
        let mut changed = false;
        for policy in generation.policies.iter().filter(|policy| policy.watch) {
            let plugin = policy.plugin();
            let known = earlier.iter().position(|watch| watch.path() == plugin.file);
            let mut watch = known.map_or_else(
                || Watch::new(plugin.file.clone(), Some(plugin.stamp)),
                |at| earlier.swap_remove(at),
            );
            match watch.look() {
                Ok(Some(stamp)) => {
                    watch.settle(stamp);
                    // Another reason to reload may have come first.
                    changed |= stamp != plugin.stamp;
                }
                Ok(None) => {}
                Err(reason) => {
                    let policy = &plugin.name;
                    tracing::warn!(%policy, reason, "cannot watch plugin; the old one keeps serving");
                }
            }
            self.0.push(watch);
        }
        changed
    }
}
