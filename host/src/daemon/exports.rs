//! Exports: files with all torrents and the documents of full scrapes, made again and again while the
//! daemon serves.

use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use karuta_swarm::Shared;

use super::error::{Error, system};
use crate::config::{self, Config};
use crate::confine::Wall;
use crate::export::{Clock, Export, Prefix, Wanted};
use crate::file::{self, Gentle};
use crate::metrics::{ExportSeries, Metrics};
use crate::process;
use crate::public::FullScrape;

/// The thread that exports.
pub struct Exports {
    orders: Orders,
    stopping: Arc<AtomicBool>,
    ended: Receiver<()>,
}

/// Says what the thread exports from now on.
#[derive(Clone)]
pub struct Orders(Sender<Vec<config::Export>>);

/// The thread's side.
struct Exporter {
    store: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// When the clock of the store began.
    start: Instant,
    stopping: Arc<AtomicBool>,
    /// Files.
    jobs: Vec<Job>,
    full_scrape: Option<Arc<FullScrape>>,
    /// When the next documents of the full scrape are made; `None`: never.
    scrape_next: Option<Instant>,
}

struct Job {
    wanted: config::Export,
    series: Arc<ExportSeries>,
    /// When the next one begins.
    next: Instant,
}

/// How long the thread may take to end. It is interrupted between two pieces of a file.
const PATIENCE: Duration = Duration::from_secs(1);

impl Exports {
    /// Starts the thread, and its first exports.
    pub fn start(
        store: Arc<Shared>,
        metrics: Arc<Metrics>,
        full_scrape: Option<Arc<FullScrape>>,
        start: Instant,
    ) -> Result<Self, Error> {
        let (orders, waiting) = channel();
        let (at_work, ended) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let exporter = Exporter {
            store,
            metrics,
            start,
            stopping: stopping.clone(),
            jobs: Vec::new(),
            scrape_next: full_scrape.is_some().then(Instant::now),
            full_scrape,
        };
        let work = move || {
            // Workers come first.
            process::lower_priority(process::BEHIND);
            exporter.work(&waiting);
            drop::<Sender<()>>(at_work);
        };
        let thread = thread::Builder::new().name("exports".into()).spawn(work);
        thread.map_err(|error| system("cannot start exports thread", error))?;
        Ok(Self { orders: Orders(orders), stopping, ended })
    }

    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Gives up an export under way. A thread that takes longer is abandoned.
    pub fn end(self) {
        self.stopping.store(true, Relaxed);
        // Wakes it.
        let _ = self.orders.0.send(Vec::new());
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

impl Orders {
    /// Changes to the exports of a configuration, as far as they may be written. Those that have not
    /// changed keep their time; new ones begin at once.
    pub fn adopt(&self, config: &Config, wall: &Wall) {
        let may = config.export.iter().filter(|export| wall.permits(file::folder(&export.path)));
        // The receiver is gone if the daemon stops.
        let _ = self.0.send(may.cloned().collect());
    }
}

impl Exporter {
    fn work(mut self, orders: &Receiver<Vec<config::Export>>) {
        while !self.stopping.load(Relaxed) {
            let now = Instant::now();
            let next = self.jobs.iter().map(|job| job.next).chain(self.scrape_next).min();
            let order = match next {
                Some(next) => orders.recv_timeout(next.saturating_duration_since(now)),
                None => orders.recv().map_err(RecvTimeoutError::from),
            };
            match order {
                Ok(wanted) => self.adopt(wanted),
                Err(RecvTimeoutError::Timeout) if self.scrape_next == next => self.publish(),
                Err(RecvTimeoutError::Timeout) => self.export(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn adopt(&mut self, wanted: Vec<config::Export>) {
        let mut earlier = std::mem::take(&mut self.jobs);
        let job = |wanted: config::Export| {
            let kept = earlier.iter().position(|job| job.wanted == wanted);
            kept.map(|at| earlier.swap_remove(at)).unwrap_or_else(|| {
                let path = wanted.path.display().to_string();
                let series = ExportSeries::new(path, wanted.format.name(), wanted.every);
                Job { wanted, series: Arc::new(series), next: Instant::now() }
            })
        };
        self.jobs = wanted.into_iter().map(job).collect();
        self.metrics.set_exports(self.jobs.iter().map(|job| job.series.clone()).collect());
    }

    /// Makes the export that is due first. If that fails, the file before stays.
    fn export(&mut self) {
        let Some(at) = (0..self.jobs.len()).min_by_key(|at| self.jobs[*at].next) else { return };
        let Job { wanted, series, .. } = &self.jobs[at];
        match self.write(wanted) {
            Ok(bytes) => series.written(bytes),
            Err(_) if self.stopping.load(Relaxed) => {}
            Err(error) => {
                let reason = error.to_string();
                // The following ones are only counted.
                if series.failed(reason.clone()) {
                    let path = wanted.path.display();
                    tracing::error!(reason, %path, "cannot write export; the last one stays");
                }
            }
        }
        self.jobs[at].next = Instant::now() + self.jobs[at].wanted.every;
    }

    /// Makes the documents of the full scrape.
    fn publish(&mut self) {
        let Some(full_scrape) = &self.full_scrape else { return };
        for format in full_scrape.formats() {
            let wanted = Wanted { format, min_peers: 0, prefix: Prefix::default(), peers: false };
            let clock = Clock::since(self.start);
            let mut export = Export::new(self.store.clone(), wanted, clock);
            // It has grown a little since the last time.
            let expected = full_scrape.size(format);
            let mut document = Vec::with_capacity(expected + expected / 16);
            loop {
                match self.advance(&mut export, &mut document) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => return,
                }
            }
            document.shrink_to_fit();
            full_scrape.publish(format, document.into());
        }
        self.scrape_next = Some(Instant::now() + full_scrape.min_interval());
    }

    /// Writes a file, and returns its size in bytes.
    fn write(&self, wanted: &config::Export) -> io::Result<u64> {
        let config::Export { format, min_peers, prefix, peers, .. } = *wanted;
        let wanted_torrents = Wanted { format, min_peers, prefix, peers };
        let clock = Clock::since(self.start);
        let mut export = Export::new(self.store.clone(), wanted_torrents, clock);
        let mut bytes = 0;
        file::replace(&wanted.path, |file| {
            let mut file = Gentle::new(file.try_clone()?);
            let mut piece = Vec::new();
            let mut more = true;
            while more {
                more = self.advance(&mut export, &mut piece)?;
                file.write_all(&piece)?;
                bytes += piece.len() as u64;
                piece.clear();
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Does a part of the work, unless the daemon stops. Returns `false` if nothing is left to do.
    fn advance(&self, export: &mut Export<Shared>, into: &mut Vec<u8>) -> io::Result<bool> {
        process::give_way();
        match self.stopping.load(Relaxed) {
            true => Err(ErrorKind::Interrupted.into()),
            false => Ok(export.next(into)),
        }
    }
}
