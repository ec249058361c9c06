//! Asks configurations about recorded requests, without a tracker.

use std::sync::Arc;
use std::thread;

use karuta_bittorrent::Transport;

use super::error::{Error, system};
use super::listeners::ListenerRoutes;
use super::loaded::{Loaded, Loader, refused};
use crate::config::Config;
use crate::data;
use crate::policy::{self, Artifacts, Clock, Compiler, Engine, Estate, Generation, Purpose};
use crate::recording::Hidden;
use crate::replay::{Parts, Recalled, Recorded, Report, Site, Stage, replay as ask};
use crate::state_dir::StateDir;

/// The seed of what policies get instead of random numbers.
const SEED: u64 = 1;

/// What a configuration says about requests.
pub struct Replayed {
    pub report: Report,
    /// The policies that may answer otherwise each time, and why.
    pub unrepeatable: Vec<(String, String)>,
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
    let unrepeatable = generation.unrepeatable(hidden.credentials);
    let against = against.map(|config| self::stages(config, &engine, recorded));
    let mut against = against.transpose()?.map(|(stages, _)| stages);
    let report = ask(recorded, &mut stages, against.as_deref_mut());
    let report = report.map_err(|error| system("cannot start thread", error))?;
    Ok(Replayed { report, unrepeatable })
}

/// Loads a configuration: once for each processor if its policies share nothing over workers, or else
/// once.
fn stages(
    config: Config,
    engine: &Arc<Engine>,
    recorded: &Recorded,
) -> Result<(Vec<Stage>, Generation), Error> {
    let config = Arc::new(config);
    let state = StateDir::existing(config.state_dir.as_deref()).ok().flatten();
    let opening = data::Opening::of_other(state.as_ref());
    let table = ListenerRoutes::read(&config)?.table;
    let begin = |earlier: Option<&Loaded>| {
        let (clock, swarms) = (Clock::standing(recorded.start()), Arc::<Recalled>::default());
        let loader = Loader {
            policies: policy::Loader {
                engine: engine.clone(),
                estate: Estate::standing(clock.clone(), SEED),
                opening: opening.clone(),
            },
            swarms: swarms.clone(),
            routes: table.clone(),
        };
        let loaded = match earlier {
            None => loader.load(config.clone().into())?,
            // Their code is compiled, and their data is read.
            Some(earlier) => loader
                .reload(config.clone().into(), earlier, |_| false, Purpose::Serve)
                .map_err(|error| refused(&config, &error))?,
        };
        let stage = stage(&loaded, clock, swarms, recorded.workers())?;
        Ok::<_, Error>((stage, loaded))
    };
    let (first, loaded) = begin(None)?;
    let is_shared = loaded.generation.shares_state() || config.tracker.limits.per_second > 0;
    let lanes = match is_shared {
        true => 1,
        false => thread::available_parallelism().map_or(1, usize::from).min(recorded.workers()),
    };
    let mut stages = vec![first];
    for _ in 1..lanes {
        stages.push(begin(Some(&loaded))?.0);
    }
    Ok((stages, loaded.generation))
}

fn stage(
    loaded: &Loaded,
    clock: Clock,
    swarms: Arc<Recalled>,
    workers: usize,
) -> Result<Stage, Error> {
    let config = &loaded.config;
    let parts = Parts {
        generation: loaded.generation.clone(),
        clock,
        swarms,
        settings: loaded.settings(),
        limits: config.tracker.limits,
        max_scrape: config.tracker.max_scrape,
        sites: sites(config)?,
    };
    Stage::new(parts, workers).map_err(|error| refused(config, &error))
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
