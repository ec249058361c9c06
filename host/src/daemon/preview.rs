//! Looks at what a reload would change, beside what serves.

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::candidate::Maker;
use super::foresight::Foresight;
use super::loaded::Loaded;
use super::reload::{obstacle, previewed};
use crate::admin::{
    Archive, ChangedPlugin, Expected, PluginFacts, Preview, Promoted, Refusal, difference, others,
};
use crate::config::{self, Config, Mode};
use crate::file;
use crate::generations::Pin;
use crate::policy::{Policy, Purpose};
use crate::replay::Verdicts;
use crate::survey::Survey;

/// The largest plugin that is described, in bytes.
const MOST: u64 = 256 << 20;

impl Maker {
    /// Does all that a reload does, but serve.
    ///
    /// # Errors
    ///
    /// Why a reload would be refused.
    pub fn preview(
        &self,
        expected: &Expected,
        archive: &Archive,
        pin: Option<&Pin>,
        foresight: &Foresight,
    ) -> Result<Preview, Refusal> {
        let config = self.read(expected)?;
        let candidate = self.load(config, Purpose::Look)?;
        let (later, mut report) = (candidate.loaded, candidate.report);
        let content = later.content();
        previewed(expected, &content)?;
        let earlier = self.current.load_full();
        report.generation += u64::from(report.needs_generation());
        report.tokens = tokens(&earlier.config) != tokens(&later.config);
        let names = ["what serves".to_owned(), self.file.display().to_string()];
        let diff = difference((&names[0], &earlier.config), (&names[1], &later.config));
        let diff = diff.map_err(|error| Refusal::of("configuration", error.to_string()))?;
        let imports = Imports { archive };
        let plugins = others(&earlier.content(), &content).into_iter().map(|other| ChangedPlugin {
            before: other.before.map(|digest| imports.of(&earlier, &other.policy, digest)),
            after: other.after.map(|digest| imports.of(&later, &other.policy, digest)),
            policy: other.policy,
        });
        let plugins = plugins.collect();
        let verdicts = match report.needs_generation() {
            true => foresight.of(&earlier, &later),
            false => Verdicts::skipped("nothing that decides would change"),
        };
        Ok(Preview {
            promoted: self.promoted(&earlier, &later),
            verdicts,
            report,
            sha256: content.sha256.clone(),
            content: content.digest(),
            diff,
            plugins,
            obstacle: obstacle(self, pin),
        })
    }

    /// Returns what the policies that leave shadow mode would have done in it.
    fn promoted(&self, earlier: &Loaded, later: &Loaded) -> Vec<Promoted> {
        let is_promoted = |policy: &&config::Policy| {
            let before = earlier.config.policies.iter().find(|one| one.name == policy.name);
            before.is_some_and(|before| before.mode == Mode::Shadow) && policy.mode == Mode::Enforce
        };
        let promoted = later.config.policies.iter().filter(is_promoted);
        promoted
            .map(|policy| {
                let counts = self.metrics.shadow_counts(&policy.name).into_iter();
                Promoted {
                    policy: policy.name.clone(),
                    counts: counts.map(|(would, count)| (would.to_owned(), count)).collect(),
                }
            })
            .collect()
    }
}

/// Returns what says who may use the admin API.
fn tokens(config: &Config) -> impl PartialEq {
    let config::Admin { token, tokens, torrust, .. } = config.admin.clone();
    (token, tokens, torrust)
}

/// Describes plugins by their bytes.
struct Imports<'a> {
    archive: &'a Archive,
}

impl Imports<'_> {
    /// Describes the plugin of a policy, as far as its bytes are still to be had.
    fn of(&self, loaded: &Loaded, policy: &str, sha256: String) -> PluginFacts {
        let kept = self.archive.as_ref().ok().and_then(|kept| kept.plugin(&sha256).ok());
        let policy = loaded.generation.find(policy).map(|policy| &**policy);
        let file = policy.map(|policy: &Policy| policy.plugin().file.clone());
        let bytes = kept.into_iter().chain(file).find_map(|file| read(&file, &sha256));
        let Some(bytes) = bytes else { return PluginFacts { sha256, ..PluginFacts::default() } };
        // What serves is a component.
        let survey = Survey::of(&bytes).unwrap_or_default();
        let imports: BTreeSet<_> = survey.imports.keys().cloned().collect();
        PluginFacts {
            sha256,
            bytes: Some(bytes.len() as u64),
            contract: survey.versions().into_iter().map(str::to_owned).collect(),
            imports: imports.into_iter().collect(),
        }
    }
}

/// Returns the bytes of a file, if they have this digest.
fn read(path: &Path, sha256: &str) -> Option<Vec<u8>> {
    let bytes = file::read(path, MOST).ok()?;
    (hex::encode(Sha256::digest(&bytes)) == sha256).then_some(bytes)
}
