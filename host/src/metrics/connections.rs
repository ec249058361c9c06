//! Open connections, by what they do.

use std::cell::Cell as Current;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::proto::MetricFamily;

use super::render::gauge;
use super::{Cell, Metrics};

label! {
    /// What a connection does.
    ConnectionState {
        Handshake => "handshake",
        Reading => "reading",
        Answering => "answering",
        Idle => "idle",
    }
}

/// The connections of one worker on one listener.
pub struct Connections {
    listener: SocketAddr,
    /// How many are in each state.
    states: [Cell; ConnectionState::ALL.len()],
}

/// A connection, counted until it is dropped.
pub struct Presence {
    connections: Arc<Connections>,
    state: Current<ConnectionState>,
}

impl Metrics {
    /// Returns the cells of one worker for a listener, by its address.
    pub fn connections(&self, listener: SocketAddr) -> Arc<Connections> {
        let connections = Arc::new(Connections { listener, states: Default::default() });
        self.connections.lock().push(connections.clone());
        connections
    }

    /// Returns the open connections of each listener.
    pub fn open_connections(&self) -> Vec<(SocketAddr, u64)> {
        let by_state = self.connections_by_state();
        by_state.into_iter().map(|(listener, states)| (listener, states.iter().sum())).collect()
    }

    fn connections_by_state(&self) -> BTreeMap<SocketAddr, [u64; ConnectionState::ALL.len()]> {
        let mut by_listener = BTreeMap::<_, [u64; ConnectionState::ALL.len()]>::new();
        for one in self.connections.lock().iter() {
            let sums = by_listener.entry(one.listener).or_default();
            for (sum, cell) in sums.iter_mut().zip(&one.states) {
                *sum += cell.get();
            }
        }
        by_listener
    }

    pub(super) fn connection_families(&self) -> [MetricFamily; 1] {
        let by_listener = self.connections_by_state();
        let listeners: Vec<_> =
            by_listener.iter().map(|(listener, sums)| (listener.to_string(), sums)).collect();
        let samples = listeners.iter().flat_map(|(listener, sums)| {
            ConnectionState::ALL.iter().zip(*sums).map(|(state, count)| {
                (vec![("listener", &**listener), ("state", state.name())], *count as f64)
            })
        });
        [gauge("karuta_connections", "Open connections, by what they do.", samples.collect())]
    }
}

impl Presence {
    /// Counts a connection. Only the thread that owns the cells calls this.
    pub fn new(connections: &Arc<Connections>, state: ConnectionState) -> Self {
        connections.states[state as usize].add(1);
        Self { connections: connections.clone(), state: Current::new(state) }
    }

    pub fn turn(&self, state: ConnectionState) {
        self.connections.states[self.state.replace(state) as usize].take_one();
        self.connections.states[state as usize].add(1);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.connections.states[self.state.get() as usize].take_one();
    }
}

#[cfg(test)]
mod tests {
    use karuta_swarm::Totals;

    use super::*;

    #[test]
    fn a_connection_is_in_one_state_until_it_ends() {
        let metrics = Metrics::new(Totals::default);
        let address = ([127, 0, 0, 1], 80).into();
        let workers = [metrics.connections(address), metrics.connections(address)];
        let shown = || {
            let text = metrics.render();
            let counts = ConnectionState::ALL.iter().map(|state| {
                let series = format!(
                    "karuta_connections{{listener=\"127.0.0.1:80\",state=\"{}\"}} ",
                    state.name()
                );
                let count = text.lines().find_map(|line| line.strip_prefix(&series));
                count.unwrap().parse::<u64>().unwrap()
            });
            counts.collect::<Vec<_>>()
        };
        assert_eq!(shown(), [0, 0, 0, 0]);
        let [one, other] = workers.each_ref().map(|worker| {
            let presence = Presence::new(worker, ConnectionState::Handshake);
            presence.turn(ConnectionState::Reading);
            presence
        });
        other.turn(ConnectionState::Answering);
        other.turn(ConnectionState::Idle);
        assert_eq!(shown(), [0, 1, 0, 1]);
        drop(one);
        assert_eq!(shown(), [0, 0, 0, 1]);
        drop(other);
        assert_eq!(shown(), [0, 0, 0, 0]);
    }
}
