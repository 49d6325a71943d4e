//! Transmit rings, blocks, arming, and cells over several lives.

use std::io::IoSlice;

use shm::{Ancillary, PushError, SendQueue, SocketEnd, TxFlags};

use crate::{Pair, Random, read, rounds};

fn push(mut side: SendQueue<'_>, text: &[u8]) -> Result<usize, PushError> {
    side.push(&[IoSlice::new(text)], 0, TxFlags::NONE)
}

#[test]
fn what_is_written_is_received_and_released() {
    let mut random = Random(99);
    let mut pair = Pair::new();
    let (cell, memory) = pair.socket();
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let mut released = 0;
    for _ in 0..rounds(5000) {
        let text = random.bytes(random.0.to_le_bytes()[0].into());
        match push(memory.send(), &text) {
            Ok(len) => sent.extend_from_slice(&text[..len]),
            Err(refused) => assert_eq!(refused, PushError::NoRoom),
        }
        if random.below(3) == 0 {
            while let Some(posted) = pair.lane.receive().unwrap() {
                let mut bytes = vec![0; posted.length as usize];
                assert!(pair.lane.copy_out(posted.offset, &mut bytes));
                received.extend_from_slice(&bytes);
            }
            pair.lane.commit();
        }
        if random.below(10) == 0 {
            released = received.len() as u64;
            pair.lane.set_tx_released(cell, released);
        }
    }
    assert!(released > 0);
    assert_eq!(received, sent[..received.len()]);
    assert!(received.len() > rounds(100_000) as usize, "many laps of the ring and many blocks");
}

#[test]
fn a_full_ring_and_a_full_buffer_refuse() {
    let mut pair = Pair::new();
    let (cell, memory) = pair.socket();
    for _ in 0..1024 {
        assert_eq!(push(memory.send(), b"x"), Ok(1));
    }
    assert_eq!(push(memory.send(), b"x"), Err(PushError::RingFull));
    assert!(!memory.post_arm());
    while pair.lane.receive().unwrap().is_some() {}
    pair.lane.commit();
    pair.lane.set_send_buffer(cell, 1024);
    assert_eq!(push(memory.send(), b"x"), Err(PushError::NoRoom));
    pair.lane.set_tx_released(cell, 1000);
    assert_eq!(push(memory.send(), &[0; 5000]), Ok(1000));
}

#[test]
fn datagrams_lie_together_however_long() {
    let mut pair = Pair::new();
    let (cell, memory) = pair.socket();
    let mut released = 0;
    for len in [0, 1, 1000, 16_352, 16_353, 65_507, 40_000, 3, 65_507] {
        let payload = vec![0x5a; len];
        let to = ([192, 0, 2, 1], 53).into();
        let parts = [IoSlice::new(&payload[..len / 2]), IoSlice::new(&payload[len / 2..])];
        memory.send().push_datagram(Some(to), &Ancillary::default(), &parts).unwrap();
        let posted = pair.lane.receive().unwrap().unwrap();
        assert!(posted.flags.contains(TxFlags::DATAGRAM));
        assert_eq!(posted.length as usize, len + shm::DatagramHeader::LEN);
        let mut bytes = vec![0; posted.length as usize];
        assert!(pair.lane.copy_out(posted.offset, &mut bytes));
        assert_eq!(&bytes[shm::DatagramHeader::LEN..], &payload[..]);
        released += u64::from(posted.length);
        pair.lane.set_tx_released(cell, released);
    }
}

#[test]
fn blocks_of_closed_sockets_come_back() {
    let mut pair = Pair::new();
    for _ in 0..rounds(400) {
        // 10 KiB in flight in 20 000 sockets: far more than the transmit area has.
        let (cell, memory) = pair.socket();
        assert_eq!(push(memory.send(), &[1; 10_240]), Ok(10_240));
        while pair.lane.receive().unwrap().is_some() {}
        pair.lane.commit();
        pair.lane.free_cell(cell);
    }
}

#[test]
fn stale_descriptors_and_words_touch_nobody() {
    let mut pair = Pair::new();
    let (cell, old) = pair.socket();
    assert_eq!(push(old.send(), b"late"), Ok(4));
    pair.lane.free_cell(cell);
    assert_eq!(old.status(), None);
    let new = loop {
        let next = pair.lane.allocate_cell().unwrap();
        if next.index == cell.index {
            break next;
        }
    };
    assert_ne!(new.generation, cell.generation);
    assert_eq!(pair.lane.receive(), Ok(None), "posted for the cell's last life");
    // Unread words of the old life are no misbehaviour of the new one.
    let mut producer = shm::StreamProducer::new(new, 65_536);
    assert_eq!(producer.refresh(&mut pair.lane), Ok(0));
    let memory = pair.map.socket(new, 0).unwrap();
    pair.lane.set_send_buffer(new, 1000);
    assert_eq!(push(memory.send(), b"new"), Ok(3));
    assert_eq!(pair.lane.receive().unwrap().unwrap().id(), new);
}

#[test]
fn a_token_goes_out_once_per_arm() {
    let mut pair = Pair::new();
    let (cell, memory) = pair.socket();
    assert!(pair.lane.in_armed(cell), "a fresh cell is armed");
    assert!(!memory.receive().has_token());
    pair.lane.in_token_sent(cell);
    assert!(!pair.lane.in_armed(cell));
    assert!(memory.receive().has_token());
    memory.receive().arm();
    assert!(!memory.receive().has_token());
    assert!(pair.lane.in_armed(cell));
    assert!(!pair.lane.out_armed(cell), "a fresh cell is writable");
    memory.send().arm();
    assert!(!memory.send().is_drained());
    assert!(pair.lane.out_armed(cell));
    pair.lane.out_drained(cell);
    assert!(memory.send().is_drained());
}

#[test]
fn a_socket_that_its_client_has_not_opened_has_nothing_to_read() {
    let mut pair = Pair::new();
    let cell = pair.lane.allocate_cell().unwrap();
    assert!(shm::StreamProducer::new(cell, 65_536).is_read(&pair.lane));
}

#[test]
fn what_was_read_under_the_last_token_needs_no_new_one() {
    let mut pair = Pair::new();
    let (cell, memory) = pair.socket();
    let mut producer = shm::StreamProducer::new(cell, 65_536);
    let show = |producer: &mut shm::StreamProducer, lane: &mut shm::Lane| {
        assert_eq!(producer.write(lane, 0, b"x"), 1);
        producer.publish(1);
        let _ = producer.show(lane);
    };
    show(&mut producer, &mut pair.lane);
    assert!(pair.lane.in_armed(cell) && !producer.is_read(&pair.lane));
    pair.lane.in_token_sent(cell);
    // The worker has shown the second byte and not yet thought of a token.
    show(&mut producer, &mut pair.lane);
    assert_eq!(read(&mut memory.receive(), &mut [0; 9], false), 2);
    memory.receive().arm();
    assert!(pair.lane.in_armed(cell) && producer.is_read(&pair.lane), "a token for nothing");
    show(&mut producer, &mut pair.lane);
    assert!(pair.lane.in_armed(cell) && !producer.is_read(&pair.lane));
}

#[test]
fn an_error_is_reported_once_each_time() {
    let mut pair = Pair::new();
    let (cell, memory) = pair.socket();
    assert_eq!(memory.take_error(), None);
    for _ in 0..3 {
        pair.lane.set_error(cell, 111);
        assert!(memory.has_error());
        assert_eq!(memory.take_error(), Some(111));
        assert_eq!(memory.take_error(), None);
    }
    pair.lane.set_error(cell, 111);
    pair.lane.set_error(cell, 0);
    assert_eq!(memory.take_error(), None, "taken back by the daemon");
}

#[test]
fn a_sleeping_worker_is_rung() {
    let mut pair = Pair::new();
    let (_, memory) = pair.socket();
    let rung = || {
        let mut count = [0; 8];
        rustix::io::read(&pair.doorbell, &mut count).is_ok()
    };
    assert!(memory.post_arm());
    assert!(!rung());
    pair.page.set_sleeping(0, true);
    assert!(memory.post_arm());
    assert!(rung() && pair.lane.pending());
    assert_eq!(push(memory.send(), b"x"), Ok(1));
    assert!(rung());
    pair.page.set_sleeping(0, false);
    assert!(memory.post_arm());
    assert!(!rung());
}

fn pattern(position: usize) -> u8 {
    u8::try_from(position % 251).unwrap()
}

#[test]
fn every_byte_arrives_while_both_sides_run() {
    const TOTAL: usize = if cfg!(miri) { 8 << 10 } else { 8 << 20 };
    let mut pair = Pair::new();
    let (_, memory, mut producer) = pair.stream(200_000);
    let reader = std::thread::spawn(move || {
        let mut out = vec![0; 10_000];
        let mut seen = 0usize;
        while seen < TOTAL {
            let mut side = memory.receive();
            let len = read(&mut side, &mut out, false);
            for byte in &out[..len] {
                assert_eq!(*byte, pattern(seen));
                seen += 1;
            }
            if side.worth_telling() {
                let _posted = memory.post_arm();
            }
            drop(side);
            std::thread::yield_now();
        }
    });
    let text: Vec<u8> = (0..TOTAL).map(pattern).collect();
    let mut sent = 0;
    while sent < TOTAL {
        let _ = producer.refresh(&mut pair.lane).unwrap();
        let len = (producer.window() as usize).min(1448).min(TOTAL - sent);
        let taken = producer.write(&mut pair.lane, 0, &text[sent..sent + len]);
        producer.advance(&mut pair.lane, taken);
        sent += taken as usize;
        if taken == 0 {
            while pair.lane.receive().unwrap().is_some() {}
            pair.lane.commit();
            std::thread::yield_now();
        }
    }
    reader.join().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "a socket of the kernel's")]
fn the_descriptor_follows_the_socket() {
    use rustix::event::{PollFd, PollFlags, poll};
    let (end, client) = SocketEnd::pair().unwrap();
    let ready = || {
        let mut fds = [PollFd::new(&client, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP)];
        let _ = poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        fds[0].revents()
    };
    assert_eq!(ready(), PollFlags::OUT);
    assert!(end.send_token());
    assert_eq!(ready(), PollFlags::IN | PollFlags::OUT);
    let mut token = [0; 8];
    let _ = rustix::net::recv(&client, &mut token, rustix::net::RecvFlags::DONTWAIT).unwrap();
    let stuffing = [0; 64 * 1024];
    while rustix::net::send(&client, &stuffing, rustix::net::SendFlags::DONTWAIT).is_ok() {}
    assert_eq!(ready(), PollFlags::empty());
    assert!(end.drain());
    assert_eq!(ready(), PollFlags::OUT);
    end.end_of_input();
    assert_eq!(ready(), PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP);
    drop(end);
    assert!(ready().contains(PollFlags::HUP));
}
