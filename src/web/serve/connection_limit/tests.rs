//! Tests of the module `connection_limit`.

use super::*;

/// Simulates visitors by address; each takes a permit a millisecond after the previous one.
struct Room {
    limit: ConnectionLimit,
    now: Instant,
}

impl Room {
    fn new(limit: usize) -> Self {
        Self {
            limit: ConnectionLimit::new(limit),
            now: Instant::now(),
        }
    }

    fn enters(&mut self, ip: &str) -> Option<Permit> {
        self.now += Duration::from_millis(1);
        self.limit.try_admit(ip.parse().unwrap(), self.now)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

fn has_left(permit: &Permit) -> bool {
    permit.leave.is_cancelled()
}

#[test]
fn one_address_may_use_all_idle_capacity() {
    let mut room = Room::new(3);
    let all = [
        room.enters("192.0.2.1"),
        room.enters("192.0.2.1"),
        room.enters("192.0.2.1"),
    ]
    .map(Option::unwrap);
    assert!(!all.iter().any(has_left));
    let other = room.enters("192.0.2.2").unwrap();
    assert_eq!(
        all.iter().map(has_left).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert!(!has_left(&other));
}

#[test]
fn busiest_address_evicts_its_own_connections() {
    let mut room = Room::new(4);
    let few = room.enters("192.0.2.2").unwrap();
    let mut many: Vec<_> = (0..100)
        .map(|_| room.enters("192.0.2.1").unwrap())
        .collect();
    assert!(!has_left(&few), "the oldest of all, but of another address");
    assert_eq!(many.iter().filter(|s| !has_left(s)).count(), 3);
    assert!(!has_left(&many.pop().unwrap()));
}

#[test]
fn idle_connections_are_evicted_before_streams() {
    let mut room = Room::new(2);
    let stream = room.enters("192.0.2.1").unwrap();
    stream.ask(room.now);
    room.pass(BUSY * 60);
    let silent = room.enters("192.0.2.1").unwrap();
    let third = room.enters("192.0.2.1").unwrap();
    assert_eq!((has_left(&stream), has_left(&silent)), (false, true));
    third.ask(room.now);
    let fourth = room.enters("192.0.2.1").unwrap();
    assert_eq!((has_left(&stream), has_left(&third)), (true, false));
    fourth.ask(room.now);
    assert!(
        room.enters("192.0.2.1").is_none(),
        "both are being answered"
    );
    room.pass(BUSY);
    assert!(room.enters("192.0.2.1").is_some());
}

#[test]
fn an_address_that_keeps_every_seat_busy_makes_room_too() {
    let mut room = Room::new(3);
    let busy = [
        room.enters("192.0.2.1"),
        room.enters("192.0.2.1"),
        room.enters("192.0.2.1"),
    ]
    .map(Option::unwrap);
    for permit in &busy {
        permit.ask(room.now);
    }
    assert!(room.enters("192.0.2.1").is_none());
    let other = room.enters("192.0.2.2").unwrap();
    other.ask(room.now);
    assert_eq!(
        busy.iter().map(has_left).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert!(room.enters("192.0.2.2").is_none(), "it holds its share");
}

#[test]
fn address_with_most_connections_evicts_nobody_else() {
    let mut room = Room::new(3);
    let idle = room.enters("192.0.2.2").unwrap();
    idle.ask(room.now);
    room.pass(BUSY * 5);
    let busy = [room.enters("192.0.2.1"), room.enters("192.0.2.1")].map(Option::unwrap);
    for permit in &busy {
        permit.ask(room.now);
    }
    assert!(room.enters("192.0.2.1").is_none());
    assert!(!has_left(&idle));
}

#[test]
fn a_network_of_ipv6_is_one_visitor() {
    let of = |ip: &str| client_prefix(ip.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
}
