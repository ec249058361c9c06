//! A configuration that may serve next: read, checked and loaded beside the one that serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::compare::{compare, fixed};
use super::loaded::{Loaded, Loader, Wanted, refused};
use super::socket_file;
use crate::admin::{Expected, Refusal, Report};
use crate::config::{self, Config};
use crate::confine::Wall;
use crate::generations::{Content, Generations, Served, digest_of};
use crate::metrics::{Metrics, Renewal};
use crate::policy::{LoadError, Purpose};
use crate::tls::{Certificates, PATIENCE};

/// Makes candidates. None of them changes anything before it is adopted.
pub struct Maker {
    pub file: PathBuf,
    pub loader: Loader,
    pub metrics: Arc<Metrics>,
    /// The configuration that the process was started with.
    pub started: Arc<Config>,
    pub current: Arc<ArcSwap<Loaded>>,
    /// What policies can write to, whatever the configuration says by now.
    pub wall: Wall,
}

/// A configuration that may serve next.
pub struct Candidate {
    pub loaded: Loaded,
    /// `None`: those in use stay.
    pub certificates: Option<Certificates>,
    /// What is different from what serves. Its generation is the one that serves.
    pub report: Report,
}

impl Maker {
    /// Reads the configuration file.
    ///
    /// # Errors
    ///
    /// The file is wrong, or has another digest than the one expected.
    pub fn read(&self, expected: &Expected) -> Result<Arc<Config>, Refusal> {
        let config = config::load(&self.file).map(Arc::new).map_err(wrong("configuration"))?;
        let digest = config.source.digest();
        if expected.file.is_some_and(|expected| expected != digest) {
            let reason = format!("the file has changed, its SHA-256 is {}", hex::encode(digest));
            return Err(Refusal::of("expect", reason));
        }
        Ok(config)
    }

    /// Loads a configuration that was read.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn load(&self, config: Arc<Config>, purpose: Purpose) -> Result<Candidate, Refusal> {
        let certificates = Certificates::load(&config, PATIENCE).map_err(|error| {
            if purpose == Purpose::Serve {
                self.metrics.renewal(Renewal::Refused);
            }
            wrong("certificates")(error)
        })?;
        self.make(config.into(), Some(certificates), purpose)
    }

    /// Loads a generation that was kept. Its plugins are those that served. Certificates are not what went
    /// wrong, so those in use stay if its own cannot be read.
    ///
    /// # Errors
    ///
    /// It is not kept, or cannot serve any more.
    pub fn load_kept(
        &self,
        generations: &Generations,
        generation: u64,
    ) -> Result<(Served, Candidate), Refusal> {
        let (served, wanted) = kept(generations, generation, &self.file)
            .map_err(|reason| Refusal::of("rollback", reason))?;
        let certificates = Certificates::load(&wanted.config, PATIENCE).inspect_err(|error| {
            tracing::warn!(%error, "cannot read the certificates of an earlier generation; keeping those in use");
        });
        Ok((served, self.make(wanted, certificates.ok(), Purpose::Serve)?))
    }

    fn make(
        &self,
        wanted: Wanted,
        certificates: Option<Certificates>,
        purpose: Purpose,
    ) -> Result<Candidate, Refusal> {
        let config = wanted.config.clone();
        socket_file::group(&config)
            .map_err(|error| Refusal::of("configuration", error.to_string()))?;
        let earlier = self.current.load_full();
        let failed = |name: &str| self.metrics.summary(name).failed;
        let loaded = self.loader.reload(wanted, &earlier, failed, purpose);
        let loaded = loaded.map_err(|error| refusal(&config, &error))?;
        let mut report = compare(&earlier, &loaded);
        report.needs_restart = fixed(&self.started, &loaded.config, &self.wall);
        report.exports = earlier.config.export != loaded.config.export;
        report.generation = self.metrics.generation();
        Ok(Candidate { loaded, certificates, report })
    }
}

/// Returns why a policy cannot be used.
pub fn refusal(config: &Config, error: &LoadError) -> Refusal {
    Refusal {
        policy: Some(error.policy.to_string()),
        stage: error.cause.stage().to_owned(),
        reason: refused(config, error).to_string(),
    }
}

fn wrong(stage: &str) -> impl Fn(config::Error) -> Refusal {
    move |error| Refusal::of(stage, error.to_string())
}

/// Reads a generation that was kept, as the configuration of `file`. Its plugins are read from their own
/// files, or from where they were kept if those have other bytes by now.
///
/// # Errors
///
/// Why it cannot be used, in a sentence.
pub fn kept(
    generations: &Generations,
    generation: u64,
    file: &Path,
) -> Result<(Served, Wanted), String> {
    let (served, text) = generations.find(generation)?;
    let unfit = |reason: String| format!("generation {generation} cannot be used: {reason}");
    let config = config::parse_kept(&text, file).map_err(|error| unfit(error.to_string()))?;
    let mut wanted = Wanted::from(Arc::new(config));
    for policy in &mut wanted.policies {
        let of_policy =
            |reason: String| unfit(format!("the plugin of policy `{}`: {reason}", policy.name));
        let digest = served.content.plugins.get(&policy.name);
        let digest = digest.ok_or_else(|| of_policy("its digest is missing".to_owned()))?;
        if !digest_of(&policy.plugin).is_ok_and(|found| found == *digest) {
            policy.plugin = generations.plugin(digest).map_err(of_policy)?;
        }
        let mut bytes = [0; 32];
        // The digests of what is kept are sound.
        policy.sha256 = hex::decode_to_slice(digest, &mut bytes).ok().map(|()| bytes);
    }
    Ok((served, wanted))
}

/// Returns the digests of the configuration file and its plugins, as far as they can be read.
pub fn on_disk(file: &Path) -> Content {
    match config::load_without_files(file) {
        Ok(config) => {
            let plugins = config
                .policies
                .iter()
                .filter_map(|policy| Some((policy.name.clone(), digest_of(&policy.plugin).ok()?)));
            Content { sha256: hex::encode(config.source.digest()), plugins: plugins.collect() }
        }
        Err(_) => {
            let sha256 = config::digest(file).map(hex::encode).unwrap_or_default();
            Content { sha256, ..Content::default() }
        }
    }
}
