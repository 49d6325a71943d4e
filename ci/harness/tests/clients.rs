//! A worker looks at the rings of its clients in turn, and first at those that something goes on with.

use core::time::Duration;

use harness::World;
use harness::peers::Peers;
use inet::limits::{LIVELY_BREATHS, QUIET_BUDGET};
use wire::tcp::flag;

/// Clients beside the first.
const CLIENTS: u16 = 40;

fn breathe(world: &mut World) {
    world.pass(Duration::from_micros(20));
}

/// Many clients, the last of which has a connection.
fn world_of_clients() -> (World, Peers) {
    let (mut world, mut peers) = (World::new().unwrap(), Peers::new().unwrap());
    let last = (0..CLIENTS).map(|_| world.add_client().unwrap()).last().unwrap();
    world.listen_as(last, 80, 1);
    peers.open(&mut world, (last, 80), 6000..6001, &mut breathe).unwrap();
    (world, peers)
}

/// Nothing goes on for a while.
fn fall_quiet(world: &mut World) {
    for _ in 0..=LIVELY_BREATHS {
        breathe(world);
    }
    world.each_sent(|_| {});
}

/// Breaths until the worker sends what the client posts now; the peer acknowledges it.
fn breaths_to_send(world: &mut World, peers: &mut Peers, text: &[u8]) -> usize {
    peers.write(0, text).unwrap();
    let breath = |_: &usize| {
        breathe(world);
        !world.sent().is_empty()
    };
    let count = (1..1000).find(breath).unwrap();
    peers.acknowledge(world, 0, u32::try_from(text.len()).unwrap()).unwrap();
    breathe(world);
    count
}

fn who_posts_out_of_the_blue_is_heard_in_turn(world: &mut World, peers: &mut Peers) {
    fall_quiet(world);
    let turns = usize::from(CLIENTS + 1).div_ceil(QUIET_BUDGET);
    let count = breaths_to_send(world, peers, b"news");
    assert!(count <= turns, "{count} breaths, {turns} for all of them");
}

fn who_has_posted_is_heard_at_once_for_a_while(world: &mut World, peers: &mut Peers) {
    for _ in 0..LIVELY_BREATHS / 2 {
        breathe(world);
    }
    assert_eq!(breaths_to_send(world, peers, b"more"), 1);
}

fn who_was_told_something_is_heard_at_once(world: &mut World, peers: &mut Peers) {
    fall_quiet(world);
    peers.inject(world, 0, flag::ACK | flag::PSH, b"question").unwrap();
    breathe(world);
    assert_eq!(peers.read(0).unwrap(), 8);
    world.each_sent(|_| {});
    assert_eq!(breaths_to_send(world, peers, b"answer"), 1);
}

fn all_who_fall_quiet_in_one_breath_are_heard_again(world: &mut World, peers: &mut Peers) {
    for client in 1..CLIENTS {
        let (port, theirs) = (100 + client, 7000 + client);
        world.listen_as(client, port, 1);
        peers.open(world, (client, port), theirs..theirs + 1, &mut breathe).unwrap();
    }
    let all = 0..peers.list.len();
    for _ in 0..3 {
        fall_quiet(world);
        all.clone().for_each(|index| peers.write(index, b"news").unwrap());
        let mut heard = 0;
        for _ in 0..usize::from(CLIENTS + 1).div_ceil(QUIET_BUDGET) {
            breathe(world);
            world.each_sent(|_| heard += 1);
        }
        assert_eq!(heard, all.len());
        all.clone().for_each(|index| peers.acknowledge(world, index, 4).unwrap());
        breathe(world);
    }
}

#[test]
fn clients_take_turns_and_lively_ones_come_first() {
    let (mut world, mut peers) = world_of_clients();
    // The others fall quiet meanwhile.
    who_has_posted_is_heard_at_once_for_a_while(&mut world, &mut peers);
    who_posts_out_of_the_blue_is_heard_in_turn(&mut world, &mut peers);
    who_has_posted_is_heard_at_once_for_a_while(&mut world, &mut peers);
    who_was_told_something_is_heard_at_once(&mut world, &mut peers);
    all_who_fall_quiet_in_one_breath_are_heard_again(&mut world, &mut peers);
}
