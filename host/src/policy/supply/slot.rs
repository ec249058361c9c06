//! Builds instances on background threads.
//!
//! Every worker has a [`Slot`] for each policy, with the current instance and a spare, so that a
//! trap does not delay the next request. A thread of the policy creates new instances and drops
//! failed ones.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use super::probation::Probation;
use crate::policy::component::THREAD_STACK;
use crate::policy::instance::{Instance, InstanceError, Place, Plugin};

/// The commands for the thread that creates the instances of one plugin.
pub struct Supplier {
    plugin: Arc<Plugin>,
    commands: Sender<Command>,
}

/// A new instance, or why it could not be created.
type Delivery = Result<Box<Instance>, InstanceError>;

enum Command {
    Make { place: Place, not_before: Instant, reply: Sender<Delivery> },
    LetGo(Box<Instance>),
}

impl Supplier {
    /// Starts the thread. It ends with the last supplier and slot of the plugin.
    pub fn start(plugin: Arc<Plugin>) -> std::io::Result<Arc<Self>> {
        let (commands, queue) = channel();
        let workshop = plugin.clone();
        std::thread::Builder::new()
            .name(format!("make-{}", plugin.name))
            .stack_size(THREAD_STACK)
            .spawn(move || work(&workshop, &queue))?;
        Ok(Arc::new(Self { plugin, commands }))
    }

    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }
}

fn work(plugin: &Plugin, queue: &Receiver<Command>) {
    let mut later: Vec<(Instant, Place, Sender<Delivery>)> = Vec::new();
    loop {
        let now = Instant::now();
        let next = later.iter().map(|(at, ..)| at.saturating_duration_since(now)).min();
        let command = match next {
            Some(wait) => queue.recv_timeout(wait),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match command {
            Ok(Command::Make { place, not_before, reply }) => {
                later.push((not_before, place, reply))
            }
            Ok(Command::LetGo(instance)) => drop(instance),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        while let Some(at) = later.iter().position(|(not_before, ..)| *not_before <= now) {
            let (_, place, reply) = later.swap_remove(at);
            // A slot that is gone needs no instance.
            let _ = reply.send(make(plugin, place));
        }
    }
}

fn make(plugin: &Plugin, place: Place) -> Delivery {
    Instance::with_data(plugin, place).map(Box::new)
}

/// The instances of one policy on one worker.
pub struct Slot {
    supplier: Arc<Supplier>,
    place: Place,
    current: Option<Box<Instance>>,
    spare: Option<Box<Instance>>,
    deliveries: Receiver<Delivery>,
    reply: Sender<Delivery>,
    outstanding: u32,
    probation: Probation,
}

impl Slot {
    /// Creates the first instance on the caller's thread, while the policy's thread creates the
    /// spare.
    pub fn new(supplier: &Arc<Supplier>, place: Place) -> Result<Self, InstanceError> {
        let (reply, deliveries) = channel();
        let mut slot = Self {
            supplier: supplier.clone(),
            place,
            current: None,
            spare: None,
            deliveries,
            reply,
            outstanding: 0,
            probation: Probation::default(),
        };
        slot.order();
        slot.current = Some(make(&supplier.plugin, place)?);
        Ok(slot)
    }

    /// Returns the current instance, if there is one.
    pub fn instance(&mut self) -> Option<&mut Instance> {
        self.current.as_deref_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.current.is_none()
    }

    /// Switches to an instance with the newest raw data as soon as there is one. Returns `true` if
    /// it has just replaced another.
    pub fn freshen(&mut self) -> bool {
        let version = self.supplier.plugin.fed_version();
        if self.current.as_ref().is_none_or(|current| current.fed() == version) {
            return false;
        }
        self.collect();
        if let Some(stale) = self.spare.take_if(|spare| spare.fed() != version) {
            let _ = self.supplier.commands.send(Command::LetGo(stale));
        }
        let fresh = self.spare.take();
        let swapped = fresh.is_some();
        if let Some(old) = fresh.and_then(|fresh| self.current.replace(fresh)) {
            let _ = self.supplier.commands.send(Command::LetGo(old));
            self.probation.renew();
        }
        self.order();
        swapped
    }

    /// Returns whether the slot has given up on its plugin.
    pub fn has_failed(&self) -> bool {
        self.probation.has_failed()
    }

    /// Records that the current instance has returned from a call.
    pub fn prove(&mut self) {
        self.probation.prove();
    }

    /// Drops the current instance, which has failed.
    pub fn empty(&mut self) {
        self.probation.fail();
        if let Some(dead) = self.current.take() {
            let _ = self.supplier.commands.send(Command::LetGo(dead));
        }
    }

    /// Switches to the spare, and orders another. Returns `false` if there is no spare yet.
    pub fn refill(&mut self) -> bool {
        self.collect();
        self.current = self.spare.take();
        self.order();
        self.current.is_some()
    }

    fn collect(&mut self) {
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.outstanding -= 1;
            match delivery {
                Ok(instance) => self.spare = Some(instance),
                Err(reason) => {
                    self.probation.fail_anew();
                    let policy = &*self.supplier.plugin.name;
                    tracing::error!(policy, %reason, "cannot create instance");
                    self.order();
                }
            }
        }
    }

    /// Orders an instance, with a growing delay if instances keep failing.
    fn order(&mut self) {
        if self.has_failed() || self.outstanding > 0 || self.spare.is_some() {
            return;
        }
        let command = Command::Make {
            place: self.place,
            not_before: Instant::now() + self.probation.pause(),
            reply: self.reply.clone(),
        };
        if self.supplier.commands.send(command).is_ok() {
            self.outstanding += 1;
        }
    }
}

impl Drop for Slot {
    /// Drops the instances on the policy's thread: unmapping their memory would delay a worker.
    fn drop(&mut self) {
        let delivered = self.deliveries.try_recv().ok().and_then(Result::ok);
        for instance in [self.current.take(), self.spare.take(), delivered].into_iter().flatten() {
            let _ = self.supplier.commands.send(Command::LetGo(instance));
        }
    }
}
