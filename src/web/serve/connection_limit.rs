//! Who may be connected. There are so many limit; when all are open, a newcomer gets the permit of the connection that is
//! missed least, so that no visitor can shut the others out.
//!
//! A fixed number for each address would throttle everybody behind a reverse proxy, whose address they share. So an address
//! may take as many limit as nobody else wants.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection that has asked for something so lately is being answered, and keeps its permit.
const BUSY: Duration = Duration::from_secs(1);

/// Every permit that is open.
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
    /// When it last asked for something; when it came, if it never has.
    at: Instant,
    has_asked: bool,
    leave: CancellationToken,
}

/// The permit of one connection; dropped, it is free.
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

    /// A permit for a connection from `ip`, as soon as there is one; `None` if those who are there already from the same
    /// address keep it busy: nobody behind them in the queue is to wait for that.
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
            // Who is busy now may be idle then.
            let _ = tokio::time::timeout(BUSY, freed).await;
        }
    }

    /// A permit, if one is free; otherwise somebody is asked to leave.
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
    /// Of the address that holds the most limit: a connection that has asked for nothing yet, else the one whose last
    /// request is the oldest. That is an idle one, a stream, which comes again, or a very slow reader. Nobody leaves for
    /// a `newcomer` that holds more, and one that is being answered only for one that holds less.
    fn eviction_candidate(&self, newcomer: IpAddr, now: Instant) -> Option<u64> {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.by.values() {
            *held.entry(connection.client_prefix).or_default() += 1;
        }
        let mine = held.get(&newcomer).copied().unwrap_or(0);
        let may_leave = |s: &Connection| {
            let theirs = held[&s.client_prefix];
            theirs >= mine
                && (!s.has_asked || now.duration_since(s.at) >= BUSY || theirs > mine + 1)
        };
        let rank = |s: &Connection| {
            (
                held[&s.client_prefix],
                !s.has_asked,
                now.duration_since(s.at),
            )
        };
        let candidates = self.by.iter().filter(|(_, s)| may_leave(s));
        // Of equals the one that came first.
        candidates
            .rev()
            .max_by_key(|(_, s)| rank(s))
            .map(|(number, _)| *number)
    }
}

impl Permit {
    /// Notes that something was asked for.
    pub(super) fn ask(&self, now: Instant) {
        if let Some(connection) = self.limit.open().by.get_mut(&self.number) {
            (connection.at, connection.has_asked) = (now, true);
        }
    }

    /// Ends when this connection has to make room.
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

/// Who counts as one visitor: a host has one address of IPv4, but an entire network of IPv6.
pub(in crate::web) fn client_prefix(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests;
