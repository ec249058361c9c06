//! Watches the files of plugins whose policies have `watch: true`.

use crate::policy::Generation;
use crate::watch::Watch;

/// The watched files of the plugins in use.
#[derive(Default)]
pub struct Plugins(Vec<Watch>);

impl Plugins {
    /// Returns whether any watched file of the generation has changed since it was loaded, and has
    /// been stable since. Each change is reported once.
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
                    // A reload for another reason may already have loaded this version.
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
