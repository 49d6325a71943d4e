//! A client that writes what it likes into its memory, while the worker reads it, beside one that behaves.
//!
//! It has the files and no library: whole bursts of descriptors with spoiled fields are written into its ring,
//! a thread writes them over while they are read, scribbles over what else it can write, punches holes into
//! the memory and tries to cut it off. Most of it is legal, so that the worker acts on it; what is not must
//! cost the client its place, and nobody else anything.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inet::command::{Command, Event, Transport};
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::{pread, pwrite};
use shm::layout::{
    BLOCK_LEN, CELLS, DATAGRAM_MAX, READ_LEN, RING_LEN, RX_BLOCKS, TX_AREA_LEN, WRITE_LEN,
};
use shm::{Ancillary, CellId, DatagramHeader, SocketMemory, TxFlags};
use wire::tcp::flag;

use crate::frame::{self, Random};
use crate::peers::Peers;
use crate::{PEER, World};

/// Descriptors written at once: what a worker takes in one breath.
const BURST: u32 = 128;
const DESCRIPTOR_LEN: u64 = 16;
/// One in so many breaks the rules.
const VIOLATION: usize = 1024;
/// Where the cells begin in the write part (`shm::layout`); its ring begins at 0, the transmit area is its end.
const CELL_WORDS: u64 = 1 << 20;
const AREA: u64 = WRITE_LEN as u64 - TX_AREA_LEN as u64;
/// What the worker receives into is the end of the read part.
const RECEIVED: u64 = READ_LEN as u64 - RX_BLOCKS as u64 * BLOCK_LEN as u64;
/// Toggles from one lap of the ring to the next.
const LAP: u32 = 1 << 31;
const HEADER_LEN: u32 = 64;
const NO_CELL: CellId = CellId { index: 0, generation: 0 };

/// Ports of the enemy's datagrams and connections, and of its neighbour.
const ENEMY_UDP: u16 = 1000;
const ENEMY_TCP: u16 = 1001;
const HONEST: u16 = 7;
/// Ways to break the rules; each is tried about as often as the others.
const KINDS: usize = 5;
/// What only the neighbour sends and receives.
const CANARY: [u8; 16] = *b"canary of client";

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Descriptors that the worker has read.
    pub read: u64,
    /// Clients that were hostile, one after the other.
    pub enemies: u64,
    /// Those that were disconnected, by what they did.
    pub violations: BTreeMap<String, u64>,
    /// Writes of the other thread into what the worker reads, and holes it has punched.
    pub rewritten: u64,
    /// See `rewritten`.
    pub holes: u64,
    /// Attempts to shorten or lengthen the memory that succeeded, and all of them.
    pub cut: (u64, u64),
    /// The neighbour's requests, and those that were answered in the same breath.
    pub honest: (u64, u64),
    /// The neighbour's bytes seen in the enemy's frames or memory.
    pub leaks: u64,
    /// Packets that were lent, and those that came back.
    pub lent: (u64, u64),
    /// Buffers left when all had ended.
    pub buffers_left: u32,
}

impl Outcome {
    /// What was promised and does not hold.
    #[must_use]
    pub fn broken(&self) -> Option<&'static str> {
        // One that is noticed only where it is the last straw is not noticed.
        let is_often = |times: &&u64| times.saturating_mul(50) >= self.enemies;
        let often = self.violations.values().filter(is_often).count();
        let broken = [
            (self.honest.0 != self.honest.1 || self.honest.0 == 0, "a neighbour was not served"),
            (self.leaks > 0, "bytes of one client were seen by another"),
            (self.cut.0 > 0 || self.cut.1 == 0, "the memory was cut off"),
            (self.rewritten == 0 || self.holes == 0, "nothing was written over meanwhile"),
            (often < KINDS, "a way to break the rules went unnoticed"),
            (
                self.lent.0 != self.lent.1 || self.lent.0 == 0,
                "packets that were lent did not come back",
            ),
            (self.buffers_left > 0, "buffers were left behind"),
        ];
        broken.iter().find_map(|(is_so, what)| is_so.then_some(*what))
    }
}

/// One hostile client.
struct Enemy {
    number: u16,
    read: OwnedFd,
    write: Arc<OwnedFd>,
    cells: Vec<CellId>,
    peers: Peers,
    _descriptors: Vec<OwnedFd>,
}

/// What the thread that writes meanwhile shares with the one that runs the worker.
#[derive(Default)]
struct Meanwhile {
    /// Memory of the enemy at hand, and its cells.
    target: Mutex<Option<(Arc<OwnedFd>, Vec<CellId>)>>,
    /// How far its ring has been read.
    position: AtomicU64,
    stop: AtomicBool,
    rewritten: AtomicU64,
    holes: AtomicU64,
    cut: [AtomicU64; 2],
}

/// Until `count` descriptors have been read.
///
/// # Errors
/// DPDK or the kernel refused something.
pub fn run(count: u64, seed: u64) -> Result<Outcome, String> {
    let mut world = World::lending()?;
    let (_, cell, _descriptor) = world.bind_udp(HONEST)?;
    let neighbour = world.memory(cell).ok_or("no memory")?;
    let meanwhile = Arc::new(Meanwhile::default());
    let writer = std::thread::spawn({
        let meanwhile = Arc::clone(&meanwhile);
        move || meanwhile.write(&mut Random::new(seed ^ u64::MAX))
    });
    let mut outcome = Outcome::default();
    let mut random = Random::new(seed);
    let fought = fight(count, &mut world, &neighbour, &meanwhile, &mut random, &mut outcome);
    meanwhile.stop.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| "the writer panicked")?;
    fought?;
    outcome.rewritten = meanwhile.rewritten.load(Ordering::Relaxed);
    outcome.holes = meanwhile.holes.load(Ordering::Relaxed);
    let [worked, tried] = &meanwhile.cut;
    outcome.cut = (worked.load(Ordering::Relaxed), tried.load(Ordering::Relaxed));
    drop(neighbour);
    outcome.buffers_left = world.wind_up();
    let loans = &world.worker.counters().loans;
    outcome.lent = (loans.lent.value(), loans.returned.value() + loans.taken_back.value());
    Ok(outcome)
}

fn fight(
    count: u64,
    world: &mut World,
    neighbour: &SocketMemory,
    meanwhile: &Meanwhile,
    random: &mut Random,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut told = 0;
    while outcome.read < count {
        let mut enemy = Enemy::attach(world, outcome.enemies)?;
        meanwhile.point_at(Some(&enemy));
        outcome.enemies += 1;
        while outcome.read < count && enemy.turn(world, meanwhile, random, outcome)? {
            if (outcome.read / u64::from(BURST)).is_multiple_of(4) {
                serve(world, neighbour, outcome);
            }
        }
        meanwhile.point_at(None);
        if outcome.enemies.is_multiple_of(64) {
            outcome.leaks += u64::from(enemy.sees_canary()?);
        }
        enemy.detach(world)?;
        serve(world, neighbour, outcome);
        if outcome.read / 5_000_000 > told {
            told = outcome.read / 5_000_000;
            eprintln!(
                "    {} M descriptors, {} enemies",
                outcome.read / 1_000_000,
                outcome.enemies
            );
        }
    }
    Ok(())
}

impl Enemy {
    /// A fresh one: a socket that is bound, one that is not, and for one in eight a connection.
    fn attach(world: &mut World, before: u64) -> Result<Self, String> {
        // The peer's address is not forgotten, however long this goes on.
        let _ = world.inject(&frame::arp(true));
        let (number, files) = world.add_enemy()?;
        let mut enemy = Self {
            number,
            read: files.read,
            write: Arc::new(files.write),
            cells: Vec::new(),
            peers: Peers::new()?,
            _descriptors: Vec::new(),
        };
        for port in [Some(ENEMY_UDP), None] {
            let (socket, cell, descriptor) = world.open_as(number, Transport::Datagram)?;
            if let Some(port) = port {
                let local = SocketAddr::new(crate::LOCAL.into(), port);
                let _ = world.call(|call| Command::Bind { call, socket, local })?;
            }
            enemy.cells.push(cell);
            enemy._descriptors.push(descriptor);
        }
        if before.is_multiple_of(8) {
            world.listen_as(number, ENEMY_TCP, 8);
            // Connections of those before may still be there, with text that nobody acknowledges.
            let port = 10_000 + u16::try_from(before / 8 % 50_000).unwrap_or(0);
            enemy.peers.open(world, (number, ENEMY_TCP), port..port + 1, &mut pass)?;
            enemy.cells.extend(enemy.peers.cells());
        }
        let header = DatagramHeader::new(Some((PEER, 9).into()), 100);
        enemy.poke(AREA, zerocopy::IntoBytes::as_bytes(&header))?;
        Ok(enemy)
    }

    /// A burst of descriptors and one breath. `false`: it has been found out.
    fn turn(
        &mut self,
        world: &mut World,
        meanwhile: &Meanwhile,
        random: &mut Random,
        outcome: &mut Outcome,
    ) -> Result<bool, String> {
        let before = self.position()?;
        meanwhile.position.store(before.into(), Ordering::Relaxed);
        for (at, bytes) in burst(before, &self.cells, random) {
            self.poke(at, &bytes)?;
        }
        match random.below(4) {
            0 => {
                let _ = world.inject(&frame::udp(9, ENEMY_UDP, &[1; 300]));
            }
            1 if !self.peers.list.is_empty() => {
                self.peers.inject(world, 0, flag::ACK | flag::PSH, &[2; 500])?;
            }
            _ => {}
        }
        world.pass(Duration::from_micros(20));
        let look = random.below(64) == 0;
        let mut leaks = 0;
        world.each_sent(|sent| leaks += u64::from(look && has_canary(sent)));
        outcome.leaks += leaks;
        outcome.read += u64::from(self.position()?.wrapping_sub(before));
        let mut is_there = true;
        for event in world.events.drain(..) {
            if let Event::Misbehaved { what, .. } = event {
                *outcome.violations.entry(what.to_string()).or_default() += 1;
                is_there = false;
            }
        }
        Ok(is_there)
    }

    /// Until the worker has let go of its memory.
    fn detach(mut self, world: &mut World) -> Result<(), String> {
        if !self.peers.list.is_empty() {
            self.peers.inject(world, 0, flag::RST | flag::ACK, &[])?;
        }
        world.send(Command::Detach { client: self.number });
        for _ in 0..1000 {
            world.pass(Duration::from_millis(1));
            world.each_sent(|_| {});
            let gone = |event: &Event| matches!(event, Event::Detached { client } if *client == self.number);
            if world.events.iter().any(gone) {
                world.events.clear();
                return Ok(());
            }
        }
        Err("the worker does not let go of a client".into())
    }

    fn position(&self) -> Result<u32, String> {
        let mut word = [0; 4];
        let _ = pread(&self.read, &mut word, 0).map_err(|e| e.to_string())?;
        Ok(u32::from_ne_bytes(word))
    }

    fn poke(&self, at: u64, bytes: &[u8]) -> Result<(), String> {
        pwrite(&self.write, bytes, at).map(|_| ()).map_err(|e| e.to_string())
    }

    /// Is anything of the neighbour's in what it can read?
    fn sees_canary(&self) -> Result<bool, String> {
        // The first receive blocks; what nobody has received into is zero.
        let mut bytes = vec![0; 256 * 1024];
        let _ = pread(&self.read, &mut bytes, RECEIVED).map_err(|e| e.to_string())?;
        Ok(has_canary(&bytes))
    }
}

impl Meanwhile {
    fn point_at(&self, enemy: Option<&Enemy>) {
        let target = enemy.map(|enemy| (Arc::clone(&enemy.write), enemy.cells.clone()));
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Writes over what is being read, until it is stopped.
    fn write(&self, random: &mut Random) {
        while !self.stop.load(Ordering::Relaxed) {
            let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some((memory, cells)) = target else {
                std::thread::yield_now();
                continue;
            };
            for _ in 0..64 {
                self.write_once(memory.as_fd(), &cells, random);
            }
        }
    }

    fn write_once(&self, memory: impl AsFd, cells: &[CellId], random: &mut Random) {
        let position = u32::try_from(self.position.load(Ordering::Relaxed)).unwrap_or(0);
        let index = position.wrapping_add(u32::try_from(random.below(BURST as usize)).unwrap_or(0));
        let (at, bytes) = match random.below(512) {
            0 => return self.spoil_memory(memory, random),
            1..32 => (AREA + random.below(256) as u64, random.number().to_ne_bytes().to_vec()),
            32..64 => {
                let cell = random.below(cells.len());
                let cell = cells.get(cell).copied().unwrap_or(NO_CELL);
                let at = CELL_WORDS + u64::from(cell.index) * 64;
                // How much it has consumed is believed if the generation is right.
                let consumed = (u64::from(cell.generation) << 48) | (random.number() % 4096);
                let word = random.below(4) as u64 * 8;
                let value = if word == 0 { consumed } else { random.number() };
                (at + word, value.to_ne_bytes().to_vec())
            }
            _ => {
                let bytes = descriptor(index, cells, random).map(u32::to_ne_bytes).concat();
                // Half of one, as often as not.
                let from = if random.below(2) == 0 { 8 } else { 0 };
                (place(index) + from as u64, bytes.get(from..).unwrap_or_default().to_vec())
            }
        };
        let _ = self.rewritten.fetch_add(1, Ordering::Relaxed);
        let _ = pwrite(memory, &bytes, at);
    }

    /// A hole where the worker reads, or an attempt at another length.
    fn spoil_memory(&self, memory: impl AsFd, random: &mut Random) {
        if random.below(2) == 0 {
            let at = [0, CELL_WORDS, AREA][random.below(3)];
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let hole = fallocate(memory, flags, at, 4096 << random.below(4));
            let _ = self.holes.fetch_add(u64::from(hole.is_ok()), Ordering::Relaxed);
        } else {
            let len = [0, 4096, WRITE_LEN as u64 - 1, WRITE_LEN as u64 * 2][random.below(4)];
            let cut = ftruncate(memory, len).is_ok();
            let _ = self.cut[0].fetch_add(u64::from(cut), Ordering::Relaxed);
            let _ = self.cut[1].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A burst from `position` on, as it is to be written: in two pieces if the ring ends in between.
fn burst(position: u32, cells: &[CellId], random: &mut Random) -> Vec<(u64, Vec<u8>)> {
    let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
    for index in (0..BURST).map(|n| position.wrapping_add(n)) {
        let bytes = descriptor(index, cells, random).map(u32::to_ne_bytes).concat();
        match pieces.last_mut() {
            Some((_, piece)) if index % RING_LEN != 0 => piece.extend(bytes),
            _ => pieces.push((place(index), bytes)),
        }
    }
    pieces
}

fn place(index: u32) -> u64 {
    u64::from(index % RING_LEN) * DESCRIPTOR_LEN
}

/// What a client may write, save for one in [`VIOLATION`]; each field at its edges more often than not.
fn descriptor(index: u32, cells: &[CellId], random: &mut Random) -> [u32; 4] {
    let own = cells.get(random.below(cells.len())).copied();
    let own = own.unwrap_or(NO_CELL);
    let datagram = random.below(4) > 0;
    let least = if datagram { HEADER_LEN } else { 0 };
    let most = if datagram { HEADER_LEN + DATAGRAM_MAX } else { TX_AREA_LEN };
    let small = least + random.word() % 1500;
    let mut length = [small, small, small, small, least, most][random.below(6)];
    let last = TX_AREA_LEN - length;
    let mut offset = [0, 0, 0, last, random.word() % (last + 1)][random.below(5)];
    let generation = own.generation.wrapping_add([0, 0, 0, 1, u16::MAX][random.below(5)]);
    let mut cell = [own.index, own.index, own.index, random.word() % CELLS][random.below(4)];
    let mut flags = random.word() & (TxFlags::MORE | TxFlags::URGENT | TxFlags::ARM).bits();
    if random.below(4) > 0 {
        flags &= !TxFlags::ARM.bits();
    }
    if datagram {
        flags |= TxFlags::DATAGRAM.bits();
    }
    if random.below(VIOLATION) == 0 {
        match random.below(5) {
            0 => cell = CELLS + random.word() % CELLS,
            1 => offset = last + 1 + random.word() % 9,
            2 => length = u32::MAX - random.word() % 9,
            3 => flags |= 1 << (4 + random.word() % 27),
            _ => (length, flags) = (random.word() % HEADER_LEN, flags | TxFlags::DATAGRAM.bits()),
        }
    }
    let lap = if (index / RING_LEN).is_multiple_of(2) { LAP } else { 0 };
    [cell | (u32::from(generation) << 16), offset, length, flags | lap]
}

/// A request to the neighbour, and its answer in the next breath.
fn serve(world: &mut World, neighbour: &SocketMemory, outcome: &mut Outcome) {
    outcome.honest.0 += 1;
    let _ = world.inject(&frame::udp(5000, HONEST, &CANARY));
    pass(world);
    let mut queue = neighbour.receive();
    let got = queue.first_datagram().is_some_and(|(_, bytes)| bytes == CANARY);
    let _ = queue.discard();
    drop(queue);
    let to = Some((PEER, 5000).into());
    let text = [IoSlice::new(&CANARY)];
    let sent = neighbour.send().push_datagram(to, &Ancillary::default(), &text).is_ok();
    pass(world);
    let mut answers = 0;
    world.each_sent(|sent| answers += u64::from(has_canary(sent)));
    outcome.honest.1 += u64::from(got && sent && answers == 1);
}

fn has_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY)
}

fn pass(world: &mut World) {
    world.pass(Duration::from_micros(20));
}
