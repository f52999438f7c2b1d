//! Limits the number of open connections. When all permits are in use, a new connection takes the
//! permit of the least useful one, so that no visitor can shut out the others.
//!
//! A fixed limit per address would throttle everyone behind a reverse proxy, who share its address.
//! So one address may use all permits that nobody else needs.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection with a request this recent is being answered, and keeps its permit.
const BUSY: Duration = Duration::from_secs(1);

/// All permits in use.
#[derive(Clone)]
pub(super) struct ConnectionLimit {
    limit: usize,
    open: Arc<Mutex<Open>>,
    freed: Arc<Notify>,
}

#[derive(Default)]
struct Open {
    by: BTreeMap<u64, Connection>,
    next: u64,
}

/// A connection.
struct Connection {
    client_prefix: IpAddr,
    /// The time of its last request, or of its arrival if it has sent none.
    at: Instant,
    has_asked: bool,
    leave: CancellationToken,
}

/// The permit of one connection; released when dropped.
pub(super) struct Permit {
    number: u64,
    limit: ConnectionLimit,
    leave: CancellationToken,
}

impl ConnectionLimit {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Arc::default(),
            freed: Arc::default(),
        }
    }

    /// Waits for a permit for a connection from `ip`. Returns `None` if busy connections from the
    /// same address prevent it, so that the next connections in the queue do not have to wait.
    pub(super) async fn take(&self, ip: IpAddr) -> Option<Permit> {
        loop {
            let freed = self.freed.notified();
            if let Some(permit) = self.try_admit(ip, Instant::now()) {
                return Some(permit);
            }
            if self
                .open()
                .by
                .values()
                .any(|s| s.client_prefix == client_prefix(ip))
            {
                return None;
            }
            // Connections that are busy now may be idle by then.
            let _ = tokio::time::timeout(BUSY, freed).await;
        }
    }

    /// Takes a free permit, or evicts another connection.
    fn try_admit(&self, ip: IpAddr, now: Instant) -> Option<Permit> {
        let mut open = self.open();
        if open.by.len() >= self.limit {
            if let Some(number) = open.eviction_candidate(client_prefix(ip), now)
                && let Some(connection) = open.by.remove(&number)
            {
                connection.leave.cancel();
            } else {
                return None;
            }
        }
        let number = open.next;
        open.next += 1;
        let leave = CancellationToken::new();
        let connection = Connection {
            client_prefix: client_prefix(ip),
            at: now,
            has_asked: false,
            leave: leave.clone(),
        };
        open.by.insert(number, connection);
        Some(Permit {
            number,
            limit: self.clone(),
            leave,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Selects a connection of the address with the most permits: one that has sent no request yet,
    /// otherwise the one with the oldest request. That is an idle connection, a stream (which
    /// reconnects), or a very slow reader. An address with fewer permits than the `newcomer`'s is
    /// never affected. A connection that is being answered is evicted only if its address holds at
    /// least two permits more.
    fn eviction_candidate(&self, newcomer: IpAddr, now: Instant) -> Option<u64> {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.by.values() {
            *held.entry(connection.client_prefix).or_default() += 1;
        }
        let mine = held.get(&newcomer).copied().unwrap_or(0);
        let may_leave = |s: &Connection| {
            let others = held[&s.client_prefix];
            others >= mine
                && (!s.has_asked || now.duration_since(s.at) >= BUSY || others > mine + 1)
        };
        let rank = |s: &Connection| {
            (
                held[&s.client_prefix],
                !s.has_asked,
                now.duration_since(s.at),
            )
        };
        let candidates = self.by.iter().filter(|(_, s)| may_leave(s));
        // Prefers the oldest among equals.
        candidates
            .rev()
            .max_by_key(|(_, s)| rank(s))
            .map(|(number, _)| *number)
    }
}

impl Permit {
    /// Records that the connection sent a request.
    pub(super) fn ask(&self, now: Instant) {
        if let Some(connection) = self.limit.open().by.get_mut(&self.number) {
            (connection.at, connection.has_asked) = (now, true);
        }
    }

    /// Completes when this connection is evicted.
    pub(super) async fn evicted(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.open().by.remove(&self.number);
        self.limit.freed.notify_one();
    }
}

/// Returns the key that identifies a visitor: an IPv4 address, or an entire IPv6 network.
pub(in crate::web) fn client_prefix(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests;
