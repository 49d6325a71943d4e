//! Received packets on loan to clients: what is read comes back, what is not comes back with the client, and nothing
//! that a client does costs others theirs.

#![expect(clippy::cast_possible_truncation, reason = "lengths of the test's own making")]

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use harness::World;
use harness::frame::{self, Segment};
use inet::SocketId;
use inet::command::{Command, Event};
use shm::{Share, SocketEnd, SocketMemory};
use wire::tcp::flag;

const TEXT: usize = 1448;

/// A connection of a client's whose peer is the test.
struct Connection {
    client: u16,
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    socket: SocketId,
    memory: SocketMemory,
    _descriptor: OwnedFd,
}

impl Connection {
    fn open(world: &mut World, client: u16, from: u16) -> Self {
        let ports = (from, 80 + client);
        world.listen_as(client, ports.1, 8);
        let to = |segment| Segment { src_port: ports.0, dst_port: ports.1, ..segment };
        let bare = Segment { seq: 0, flags: flag::SYN, options: &[2, 4, 5, 180], ..NOTHING };
        assert!(world.inject(&frame::tcp(&to(bare))));
        world.breathe();
        let iss = world.sent().iter().find_map(|f| harness::path::syn_ack(f)).unwrap();
        let ack = iss.wrapping_add(1);
        assert!(world.inject(&frame::tcp(&to(Segment { seq: 1, ack, ..NOTHING }))));
        world.breathe();
        let established = world.events.drain(..).find_map(|event| match event {
            Event::Established { socket, cell, .. } => Some((socket, cell)),
            _ => None,
        });
        let (socket, cell) = established.unwrap();
        let (ours, theirs) = SocketEnd::pair().unwrap();
        world.send(Command::Accepted { socket, descriptor: Arc::new(ours) });
        world.breathe();
        let memory = world.memory_of(client, cell).unwrap();
        Self { client, ports, seq: 1, ack, socket, memory, _descriptor: theirs }
    }

    /// The peer sends `count` segments of `len` bytes, each byte the number of its segment.
    fn arrive(&mut self, world: &mut World, count: u8, len: usize) {
        for number in 0..count {
            let text = vec![number; len];
            let Self { ports: (src_port, dst_port), seq, ack, .. } = *self;
            let segment = Segment { src_port, dst_port, seq, ack, text: &text, ..NOTHING };
            assert!(world.inject(&frame::tcp(&segment)));
            self.seq = self.seq.wrapping_add(len as u32);
        }
        world.breathe();
        world.each_sent(|_| {});
    }

    /// Reads `len` bytes by copy.
    fn read(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = self.memory.receive().read(&mut [IoSliceMut::new(&mut bytes)], false, false);
        bytes.truncate(read);
        bytes
    }
}

const NOTHING: Segment<'static> =
    Segment { src_port: 0, dst_port: 0, seq: 0, ack: 0, flags: flag::ACK, options: &[], text: &[] };

/// Lent, returned, taken back, over quota, pool low.
fn counts(world: &World) -> [u64; 5] {
    let loans = &world.worker.counters().loans;
    let counters =
        [&loans.lent, &loans.returned, &loans.taken_back, &loans.over_quota, &loans.pool_low];
    counters.map(|counter| counter.value())
}

fn since(world: &World, before: [u64; 5]) -> [u64; 5] {
    let now = counts(world);
    core::array::from_fn(|n| now[n] - before[n])
}

#[test]
fn packets_are_lent_and_come_back() {
    let mut world = World::lending().expect("a world without hugepages and without root");
    let borrower = world.add_client_of(Share::default().lending(64)).unwrap();
    read_by_copy_or_in_place(&mut world, borrower);
    short_text_is_copied(&mut world, borrower);
    beyond_the_quota_text_is_copied(&mut world, borrower);
    quiet_streams_give_back_what_was_read(&mut world, borrower);
    clients_of_a_user_share_its_quota(&mut world);
    a_closed_socket_gives_all_back(&mut world, borrower);
    who_may_not_borrow_gets_copies(&mut world);
    a_shared_packet_stays_where_it_is(&mut world, borrower);
    a_client_that_ends_gives_all_back(&mut world, borrower);
    a_liar_gets_nothing(&mut world);
    half_of_the_pool_is_for_what_comes(&mut world);
    assert_eq!(world.worker.usage().lent, 0);
    assert_eq!(world.wind_up(), 0, "buffers left behind");
}

fn close(world: &mut World, connection: &Connection) {
    world.send(Command::Close { socket: connection.socket, reset: true });
    world.breathe();
    world.breathe();
    world.each_sent(|_| {});
    world.events.clear();
}

fn read_by_copy_or_in_place(world: &mut World, borrower: u16) {
    let before = counts(world);
    let mut connection = Connection::open(world, borrower, 5001);
    connection.arrive(world, 8, TEXT);
    assert_eq!((since(world, before), world.worker.usage().lent), ([8, 0, 0, 0, 0], 8));
    // Nothing of it is in the client's own blocks.
    let copied = connection.read(3 * TEXT + 10);
    assert!(copied.chunks(TEXT).zip(0_u8..).all(|(piece, n)| piece.iter().all(|b| *b == n)));
    let mut queue = connection.memory.receive();
    assert_eq!(queue.first(false), &[3; TEXT - 10]);
    assert_eq!(queue.consume(TEXT - 10), TEXT - 10);
    assert_eq!(queue.first(false), &[4; TEXT], "a packet is shown where it lies");
    assert_eq!(queue.consume(TEXT / 2), TEXT / 2);
    drop(queue);
    // The worker hears of it with the next segment.
    connection.arrive(world, 1, TEXT);
    assert_eq!(since(world, before), [9, 4, 0, 0, 0]);
    assert_eq!(connection.read(9 * TEXT).len(), 4 * TEXT + TEXT / 2);
    close(world, &connection);
    assert_eq!(since(world, before), [9, 9, 0, 0, 0]);
}

fn short_text_is_copied(world: &mut World, borrower: u16) {
    let before = counts(world);
    let mut connection = Connection::open(world, borrower, 5002);
    connection.arrive(world, 4, 128);
    assert_eq!(since(world, before), [0; 5]);
    connection.arrive(world, 4, 129);
    assert_eq!(since(world, before)[0], 4);
    assert_eq!(connection.read(9999).len(), 4 * 128 + 4 * 129);
    close(world, &connection);
}

fn beyond_the_quota_text_is_copied(world: &mut World, borrower: u16) {
    let before = counts(world);
    let mut one = Connection::open(world, borrower, 5003);
    let mut other = Connection::open(world, borrower, 5004);
    for _ in 0..4 {
        one.arrive(world, 10, TEXT);
        other.arrive(world, 10, TEXT);
    }
    let [lent, _, _, over_quota, _] = since(world, before);
    assert_eq!((lent, over_quota > 0), (64, true));
    for connection in [&one, &other] {
        let all = connection.read(99 * TEXT);
        assert_eq!(all.len(), 40 * TEXT);
        let right = |(piece, n): (&[u8], usize)| piece.iter().all(|b| usize::from(*b) == n % 10);
        assert!(all.chunks(TEXT).zip(0..).all(right));
    }
    close(world, &one);
    close(world, &other);
    assert_eq!(world.worker.usage().lent, 0);
}

fn quiet_streams_give_back_what_was_read(world: &mut World, borrower: u16) {
    let mut quiet = Connection::open(world, borrower, 5005);
    for _ in 0..4 {
        quiet.arrive(world, 16, TEXT);
    }
    assert_eq!((world.worker.usage().lent, quiet.read(99 * TEXT).len()), (64, 64 * TEXT));
    // All is read, and nothing tells the worker of it but that another stream wants some.
    let mut busy = Connection::open(world, borrower, 5006);
    busy.arrive(world, 8, TEXT);
    let before = counts(world);
    busy.arrive(world, 8, TEXT);
    assert_eq!(since(world, before)[0], 8, "what was read is lent again");
    close(world, &quiet);
    close(world, &busy);
}

/// What one client has read is lent to the other, though nothing else is heard of the first.
fn clients_of_a_user_share_its_quota(world: &mut World) {
    let share = Arc::new(Share::default().lending(64));
    let clients = [(); 2].map(|()| world.add_client_of(Arc::clone(&share)).unwrap());
    let mut quiet = Connection::open(world, clients[0], 5012);
    let mut busy = Connection::open(world, clients[1], 5013);
    for _ in 0..4 {
        quiet.arrive(world, 16, TEXT);
    }
    let before = counts(world);
    busy.arrive(world, 8, TEXT);
    assert_eq!((since(world, before)[0], busy.read(99 * TEXT).len()), (0, 8 * TEXT));
    assert_eq!(quiet.read(99 * TEXT).len(), 64 * TEXT);
    // A breath for each client that may borrow.
    for _ in 0..4 {
        busy.arrive(world, 8, TEXT);
    }
    assert!(since(world, before)[0] >= 8, "{:?}", since(world, before));
    close(world, &quiet);
    close(world, &busy);
    for client in clients {
        world.send(Command::Detach { client });
    }
    world.breathe();
    assert_eq!(world.worker.usage().lent, 0);
}

fn a_closed_socket_gives_all_back(world: &mut World, borrower: u16) {
    let mut connection = Connection::open(world, borrower, 5007);
    connection.arrive(world, 16, TEXT);
    assert_eq!(world.worker.usage().lent, 16);
    close(world, &connection);
    assert_eq!(world.worker.usage().lent, 0);
}

fn who_may_not_borrow_gets_copies(world: &mut World) {
    let before = counts(world);
    let mut connection = Connection::open(world, 0, 5008);
    connection.arrive(world, 16, TEXT);
    assert_eq!((since(world, before), connection.read(99 * TEXT).len()), ([0; 5], 16 * TEXT));
    close(world, &connection);
}

/// A packet that comes to us over loopback, or that somebody else has a reference to, is not in the pool or not ours
/// alone: here one of another pool.
fn a_shared_packet_stays_where_it_is(world: &mut World, borrower: u16) {
    let before = counts(world);
    let mut connection = Connection::open(world, borrower, 5009);
    let frames = world.frames().clone();
    let shown = core::mem::replace(&mut world.pool, frames);
    connection.arrive(world, 4, TEXT);
    world.pool = shown;
    assert_eq!((since(world, before), connection.read(99 * TEXT).len()), ([0; 5], 4 * TEXT));
    close(world, &connection);
}

fn a_client_that_ends_gives_all_back(world: &mut World, borrower: u16) {
    let before = counts(world);
    let mut connection = Connection::open(world, borrower, 5010);
    connection.arrive(world, 16, TEXT);
    world.send(Command::Detach { client: connection.client });
    world.breathe();
    assert_eq!((since(world, before), world.worker.usage().lent), ([16, 0, 16, 0, 0], 0));
    // What was on its way goes on without it.
    connection.arrive(world, 4, TEXT);
    assert_eq!(world.worker.usage().lent, 0);
}

fn a_liar_gets_nothing(world: &mut World) {
    let liar = world.add_client_of(Share::default().lending(64)).unwrap();
    let mut connection = Connection::open(world, liar, 5011);
    connection.arrive(world, 8, TEXT);
    // It says that it has read what has not come.
    let cell = connection.memory.id();
    // The worker looks when more comes.
    let word = u64::from(cell.generation) << 48 | (9 * TEXT + 1) as u64;
    world.scribble(liar, (1 << 20) + 64 * u64::from(cell.index), &word.to_ne_bytes()).unwrap();
    connection.arrive(world, 1, TEXT);
    let told = world
        .events
        .iter()
        .any(|e| matches!(e, Event::Misbehaved { client, .. } if *client == liar));
    assert!(told, "{:?}", world.events);
    assert!(world.worker.usage().lent >= 8, "nothing came back for it");
    world.send(Command::Detach { client: liar });
    world.breathe();
    assert_eq!(world.worker.usage().lent, 0);
}

fn half_of_the_pool_is_for_what_comes(world: &mut World) {
    let modest = world.add_client_of(Share::default().lending(64)).unwrap();
    let hoarder = world.add_client_of(Share::default().lending(100_000)).unwrap();
    let before = counts(world);
    let mut connections = Vec::new();
    while since(world, before)[4] == 0 {
        let mut connection = Connection::open(world, hoarder, 6000 + connections.len() as u16);
        for _ in 0..2 {
            connection.arrive(world, 20, TEXT);
        }
        connections.push(connection);
        assert!(connections.len() < 200, "{:?}", counts(world));
    }
    assert_eq!(world.worker.usage().lent, 4095);
    let mut other = Connection::open(world, modest, 5999);
    let before = counts(world);
    other.arrive(world, 4, TEXT);
    assert_eq!(
        (since(world, before)[0], other.read(99 * TEXT).len()),
        (0, 4 * TEXT),
        "it goes on in copies"
    );
    // What the hoarder has read is found, and lent to the other.
    assert!(connections.iter().all(|c| c.read(99 * TEXT).len() == 40 * TEXT));
    for _ in 0..4 {
        other.arrive(world, 4, TEXT);
    }
    assert!(
        since(world, before)[0] > 0 && since(world, before)[1] > 0,
        "{:?}",
        since(world, before)
    );
    world.send(Command::Detach { client: modest });
    world.send(Command::Detach { client: hoarder });
    world.breathe();
    assert_eq!(world.worker.usage().lent, 0);
}
