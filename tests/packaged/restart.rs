//! Restarts of the service while clients announce.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Scope;

use karuta_tests::announce::Announce;
use karuta_tests::eventually;
use karuta_tests::udp::{self, Client};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::{TRACKER, UPGRADE, installed, property};

/// UDP clients: so many that each worker has some.
const CLIENTS: u16 = 8;
/// How many announces of a client wait for an answer at most. Those of all clients fit into the
/// smallest buffer that a kernel grants.
const WINDOW: usize = 32;

/// Clients that announce until this is dropped.
#[derive(Default)]
struct Load {
    ends: AtomicBool,
    /// How many announces were answered over UDP, and over HTTP.
    udp: AtomicUsize,
    http: AtomicUsize,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.ends.load(Ordering::Relaxed)
    }

    /// Announces over UDP. Every announce must get its answer, although none is sent twice.
    fn announce_over_udp(&self, port: u16) {
        let client = Client::connect(TRACKER);
        let announce = Announce::of('a').port(port);
        let mut waiting = BTreeSet::new();
        let mut transactions = 0..;
        while self.goes_on() || !waiting.is_empty() {
            if self.goes_on() && waiting.len() < WINDOW {
                let transaction = transactions.next().expect("numbers do not end");
                client.send(&announce.packet(client.id, transaction));
                waiting.insert(transaction);
                continue;
            }
            let answer = client.receive();
            let transaction = u32::from_be_bytes(answer[4..8].try_into().expect("four bytes"));
            assert!(waiting.remove(&transaction), "a second answer to {transaction}");
            udp::body(&answer, udp::ANNOUNCE, transaction).expect("no error");
            self.udp.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Announces over HTTP, each time on a new connection, which must be accepted and answered.
    fn announce_over_http(&self) {
        while self.goes_on() {
            Announce::of('b').http(TRACKER).expect("no failure");
            self.http.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        for port in 1..=CLIENTS {
            scope.spawn(move || self.announce_over_udp(port));
        }
        scope.spawn(|| self.announce_over_http());
    }

    /// Waits until announces over both transports are answered.
    fn is_served(&self) {
        let counts = || [&self.udp, &self.http].map(|count| count.load(Ordering::Relaxed));
        let before = counts();
        eventually("announces are answered", || {
            counts().iter().zip(before).all(|(now, before)| *now >= before + 20)
        });
    }
}

/// Ends a load, also when a test fails.
struct End<'a>(&'a Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

#[test]
fn restarts_and_an_upgrade_lose_no_announce_and_refuse_no_connection() {
    let Some(machine) = installed() else { return };
    machine.next_version("true");
    let load = Load::default();
    machine.in_its_network(|| {
        std::thread::scope(|scope| {
            load.start(scope);
            let _end = End(&load);
            load.is_served();
            for command in ["systemctl restart karuta", "systemctl restart karuta", UPGRADE] {
                let process = property(&machine, "MainPID");
                machine.does(command);
                assert_ne!(property(&machine, "MainPID"), process, "{command}");
                load.is_served();
            }
        });
    });
}

#[test]
fn a_stuck_worker_is_restarted() {
    let Some(machine) = installed() else { return };
    machine.does(
        "mkdir /etc/systemd/system/karuta.service.d
         printf '[Service]\\nWatchdogSec=3s\\n' >/etc/systemd/system/karuta.service.d/soon.conf
         systemctl daemon-reload && systemctl restart karuta",
    );
    let process = property(&machine, "MainPID");
    // A thread that is traced stands still.
    let worker = Pid::from_raw(machine.thread(&process, "worker-0"));
    ptrace::attach(worker).expect("root may trace it");
    waitpid(worker, Some(WaitPidFlag::__WALL)).expect("it stands still");
    eventually("it is restarted", || {
        // Its process ends only when its tracer knows of its end.
        let _ = waitpid(worker, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
        ![&*process, "0"].contains(&&*property(&machine, "MainPID"))
    });
    machine.serves();
    assert_ne!(property(&machine, "NRestarts"), "0");
}
