//! Asks configurations about recorded requests, without a tracker.

use std::sync::Arc;
use std::thread;

use karuta_bittorrent::Transport;

use super::error::{Error, system};
use super::listeners::ListenerRoutes;
use super::loaded::{Loaded, Loader, refused, view};
use crate::books::intervals;
use crate::config::Config;
use crate::data;
use crate::policy::{self, Artifacts, Clock, Compiler, Engine, Estate, Generation, LoadError};
use crate::recording::Hidden;
use crate::replay::{Parts, Recalled, Recorded, Report, Site, Stage, Unrepeatable, replay as ask};
use crate::state_dir::StateDir;
use crate::tracker::Settings;

/// The seed of what policies get instead of random numbers.
const SEED: u64 = 1;

/// What a configuration says about requests.
pub struct Replayed {
    pub report: Report,
    /// The policies that may answer otherwise each time, and why.
    pub unrepeatable: Vec<Unrepeatable>,
}

/// Asks a configuration about requests, and compares with what was recorded, or with what the
/// configuration `against` says. `hidden` is what the recording does not have. Binds and writes nothing, and fetches nothing.
pub fn replay(
    config: Config,
    against: Option<Config>,
    compiler: Compiler,
    recorded: &Recorded,
    hidden: Hidden,
) -> Result<Replayed, Error> {
    let state = StateDir::existing(config.state_dir.as_deref()).ok().flatten();
    let artifacts = state.as_ref().and_then(|state| Artifacts::look(state).ok().flatten());
    let engine = Arc::new(Engine::new(compiler, artifacts)?);
    let (mut stages, generation) = stages(config, &engine, recorded)?;
    let unrepeatable = unrepeatable(&generation, hidden);
    let against = against.map(|config| self::stages(config, &engine, recorded));
    let mut against = against.transpose()?.map(|(stages, _)| stages);
    let report = ask(recorded, &mut stages, against.as_deref_mut());
    let report = report.map_err(|error| system("cannot start thread", error))?;
    Ok(Replayed { report, unrepeatable })
}

/// Names the policies that may answer otherwise each time, without what is `hidden` of requests.
pub fn unrepeatable(generation: &Generation, hidden: Hidden) -> Vec<Unrepeatable> {
    let found = generation.unrepeatable(hidden.credentials).into_iter();
    found.map(|(policy, reason)| Unrepeatable { policy, reason }).collect()
}

/// Loads a configuration, and makes stages of it: one for each processor if its policies share nothing over
/// workers, or else one.
fn stages(
    config: Config,
    engine: &Arc<Engine>,
    recorded: &Recorded,
) -> Result<(Vec<Stage>, Generation), Error> {
    let config = Arc::new(config);
    let state = StateDir::existing(config.state_dir.as_deref()).ok().flatten();
    let loader = Loader {
        policies: policy::Loader {
            engine: engine.clone(),
            estate: Estate::standing(Clock::standing(recorded.start()), SEED),
            opening: data::Opening::of_other(state.as_ref()),
        },
        swarms: Arc::<Recalled>::default(),
        routes: ListenerRoutes::read(&config)?.table,
    };
    let loaded = loader.load(config.clone().into())?;
    let is_shared = loaded.generation.shares_state() || config.tracker.limits.per_second > 0;
    let lanes = match is_shared {
        true => 1,
        false => thread::available_parallelism().map_or(1, usize::from).min(recorded.workers()),
    };
    let stages = (0..lanes.max(1)).map(|_| stage(&loaded, &config, recorded));
    Ok((stages.collect::<Result<_, _>>()?, loaded.generation))
}

/// Makes a stage of a loaded configuration. They share code and data, and nothing else. Requests are read as
/// the listeners of `listening` do.
pub fn stage(loaded: &Loaded, listening: &Config, recorded: &Recorded) -> Result<Stage, Error> {
    let config = &loaded.config;
    let (clock, swarms) = (Clock::standing(recorded.start()), Arc::<Recalled>::default());
    let estate = Estate::standing(clock.clone(), SEED);
    let failed = |error: LoadError| refused(config, &error);
    let generation = loaded.generation.again(&estate, &view(config, swarms.clone()));
    let parts = Parts {
        generation: generation.map_err(failed)?,
        clock,
        swarms,
        settings: settings(loaded, recorded),
        limits: config.tracker.limits,
        max_scrape: listening.tracker.max_scrape,
        sites: sites(listening)?,
    };
    Stage::new(parts, recorded.workers()).map_err(failed)
}

/// Returns the settings for answers, with the interval that a site asked for.
fn settings(loaded: &Loaded, recorded: &Recorded) -> Settings {
    let settings = loaded.settings();
    let asked = loaded.config.accounts.as_ref().map_or(0, |_| recorded.interval());
    let (interval, min_interval) = intervals(asked, settings.interval, settings.min_interval);
    Settings { interval, min_interval, ..settings }
}

/// Returns the listeners, in the order of the daemon's.
fn sites(config: &Config) -> Result<Vec<Site>, Error> {
    let routes = ListenerRoutes::read(config)?;
    let http = config.http.iter().zip(routes.http).map(|(settings, routes)| Site {
        transport: if settings.tls.is_some() { Transport::Https } else { Transport::Http },
        routes,
        allow_address_override: settings.allow_address_override,
    });
    let udp = routes.udp.into_iter().map(|routes| Site {
        transport: Transport::Udp,
        routes,
        allow_address_override: false,
    });
    Ok(http.chain(udp).collect())
}
