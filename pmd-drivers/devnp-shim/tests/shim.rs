//! The shim between a driver in C and a daemon of a few functions.
#![expect(clippy::tests_outside_test_module, reason = "an integration test is one")]

#[path = "shim/daemon.rs"]
mod daemon;

use std::sync::atomic::Ordering;

use daemon::{EMPTY, Fake, Interface, LOG, NOTES, PACKETS};
use devnp_abi::Stat;

/// A thread that appears while a driver opens is the driver's, so this is one test with steps.
#[test]
fn the_shim() {
    what_the_driver_is_becomes_what_the_module_is();
    single_frames_become_a_burst();
    a_burst_becomes_single_frames();
    a_full_queue_drops_and_counts();
    frames_of_a_wrong_length_are_refused_and_counted();
    frames_come_only_between_start_and_close();
    threads_that_receive_at_once_take_turns();
    the_daemon_asks_and_the_driver_tells();
    a_driver_that_does_not_open_leaves_nothing();
    a_driver_that_leaves_a_silent_thread_stays_loaded();
    a_driver_whose_thread_goes_on_stays_loaded();
}

fn opened(name: &str) -> (Fake, Interface) {
    let fake = Fake::link(name);
    let interface = Interface::open(&fake, 0).unwrap();
    interface.start();
    (fake, interface)
}

fn frame(byte: u8, len: usize) -> Vec<u8> {
    vec![byte; len]
}

fn readable(fd: i32) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

fn what_the_driver_is_becomes_what_the_module_is() {
    let (fake, interface) = opened("info");
    assert_eq!((interface.info.queues, interface.info.offloads), (1, 0));
    assert_eq!((interface.info.mtu, interface.info.mtu_max), (1500, 1500), "no jumbo frames");
    assert_eq!(interface.info.mac, [2, 0, 0, 0, 0, 7]);
    assert!(
        interface
            .info
            .kernel_interface
            .iter()
            .map(|c| c.cast_unsigned())
            .eq(*b"fake0\0\0\0\0\0\0\0\0\0\0\0")
    );
    interface.close();
    let interface = Interface::open(&fake, 1280).unwrap();
    assert_eq!(interface.info.mtu, 1280);
    interface.close();
    assert!(fake.unlink());
}

fn single_frames_become_a_burst() {
    let (fake, interface) = opened("rx");
    assert!(!readable(interface.fd()));
    let frames: Vec<_> = (0..40).map(|n| frame(n, 60 + usize::from(n))).collect();
    for frame in &frames {
        assert_eq!(fake.rx(None, frame), 0);
    }
    assert!(readable(interface.fd()));
    assert_eq!(interface.rx(32), frames[..32]);
    EMPTY.store(true, Ordering::SeqCst);
    assert_eq!(interface.rx(32).len(), 0);
    EMPTY.store(false, Ordering::SeqCst);
    assert_eq!(interface.rx(32), frames[32..], "what found no buffer has waited");
    assert_eq!(interface.rx(32).len(), 0);
    assert!(!readable(interface.fd()));
    interface.close();
    assert_eq!(PACKETS.load(Ordering::SeqCst), 0);
}

fn a_burst_becomes_single_frames() {
    let (fake, interface) = opened("tx");
    let (first, second) = (frame(1, 60), frame(2, 1514));
    assert_eq!(interface.tx(&[&first, &second]), 2);
    assert_eq!((fake.number(c"fake_sent"), fake.last_sent()), (2, second.clone()));
    fake.set(libc::EAGAIN, 0, false);
    assert_eq!(interface.tx(&[&first]), 0, "not now: it is offered again");
    fake.set(libc::EIO, 0, false);
    assert_eq!(interface.tx(&[&first, &second]), 2, "lost");
    assert_eq!(interface.stat(Stat::TxInternal), Some(2));
    fake.set(0, 0, false);
    interface.close();
    assert_eq!(PACKETS.load(Ordering::SeqCst), 0);
}

fn a_full_queue_drops_and_counts() {
    let (fake, interface) = opened("full");
    for _ in 0..1024 {
        assert_eq!(fake.rx(None, &frame(1, 60)), 0);
    }
    for _ in 0..44 {
        assert_eq!(fake.rx(None, &frame(2, 60)), -libc::ENOBUFS);
    }
    assert_eq!(interface.stat(Stat::RxMissed), Some(44), "the driver's own 77 is not valid");
    assert!((0..32).all(|_| interface.rx(32).len() == 32));
    assert_eq!(fake.rx(None, &frame(3, 60)), 0);
    interface.close();
}

fn frames_of_a_wrong_length_are_refused_and_counted() {
    let (fake, interface) = opened("length");
    assert_eq!(fake.rx(None, &frame(1, 1518)), 0);
    assert_eq!(fake.rx(None, &frame(1, 1519)), -libc::EMSGSIZE);
    assert_eq!(fake.rx(None, &frame(1, 70_000)), -libc::EMSGSIZE);
    assert_eq!(fake.rx(None, &frame(1, 14)), 0);
    assert_eq!(fake.rx(None, &frame(1, 13)), -libc::EINVAL);
    assert_eq!(interface.stat(Stat::RxOversized), Some(2));
    assert_eq!(interface.stat(Stat::RxShort), Some(6), "the driver's own 5 and the shim's");
    assert_eq!(interface.stat(Stat::RxFcs), Some(3), "the driver's own");
    assert_eq!(interface.rx(32).len(), 2);
    interface.close();
}

fn frames_come_only_between_start_and_close() {
    let (fake, interface) = opened("late");
    let old = fake.number(c"fake_handle");
    interface.stop();
    assert_eq!(fake.rx(None, &frame(1, 60)), -libc::ENETDOWN);
    interface.start();
    assert_eq!(fake.rx(None, &frame(1, 60)), 0);
    interface.close();
    assert_eq!(fake.rx(Some(old), &frame(2, 60)), -libc::ENODEV);
    let interface = Interface::open(&fake, 0).unwrap();
    interface.start();
    assert_eq!(fake.rx(Some(old), &frame(3, 60)), -libc::ENODEV, "a handle is used once");
    for made_up in [0, 1, 63, u64::MAX, fake.number(c"fake_handle") + 1] {
        assert_eq!(fake.rx(Some(made_up), &frame(4, 60)), -libc::ENODEV, "{made_up}");
    }
    assert_eq!(fake.rx(None, &frame(5, 60)), 0);
    assert_eq!(interface.rx(32), [frame(5, 60)]);
    interface.close();
}

fn threads_that_receive_at_once_take_turns() {
    const EACH: u8 = 60;
    let (fake, interface) = opened("threads");
    let (handle, rx) = (fake.number(c"fake_handle"), fake.symbol(c"fake_rx_with") as usize);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let _ = scope.spawn(move || {
                // SAFETY: declared so in fake.c.
                let call: extern "C" fn(u64, *const u8, u32) -> i32 =
                    unsafe { core::mem::transmute(rx) };
                for number in 0..EACH {
                    let mut frame = frame(thread, 60 + usize::from(number));
                    frame[0] = number;
                    assert_eq!(call(handle, frame.as_ptr(), 60 + u32::from(number)), 0);
                }
            });
        }
    });
    let mut next = [0_u8; 4];
    let mut frames = interface.rx(255);
    frames.extend(interface.rx(255));
    for got in frames {
        let place = &mut next[usize::from(got[1])];
        assert_eq!((got[0], got.len()), (*place, 60 + usize::from(*place)), "in its order, whole");
        *place += 1;
    }
    assert_eq!(next, [EACH; 4]);
    interface.close();
}

fn the_daemon_asks_and_the_driver_tells() {
    let (fake, interface) = opened("devctl");
    let table = devnp_shim::TABLE;
    // SAFETY: open.
    assert_eq!(unsafe { table.set_promiscuous.unwrap()(interface.info.device, 1) }, 0);
    // SAFETY: open.
    assert_eq!(unsafe { table.set_mtu.unwrap()(interface.info.device, 1400) }, 0);
    // SAFETY: open.
    assert_eq!(unsafe { table.set_mtu.unwrap()(interface.info.device, 1501) }, -libc::EINVAL);
    // SAFETY: open.
    assert_eq!(unsafe { table.set_allmulticast.unwrap()(interface.info.device, 0) }, 0);
    let mac = [2, 0, 0, 0, 0, 9];
    // SAFETY: open, and six bytes.
    assert_eq!(unsafe { table.set_mac.unwrap()(interface.info.device, mac.as_ptr()) }, 0);
    assert_eq!(fake.number(c"fake_modes"), 9 << 32 | 1 << 17 | 1400);
    let mut link = devnp_abi::Link { size: 12, up: 1, full_duplex: 1, ..Default::default() };
    // SAFETY: open, and a place for the answer.
    assert_eq!(unsafe { table.link.unwrap()(interface.info.device, &raw mut link) }, 0);
    assert_eq!((link.up, link.speed_mbps), (1, 100));
    let ioctl = |command| {
        let (mut data, mut len) = (*b"okay000000000000", 4);
        let call = table.ioctl.unwrap();
        // SAFETY: open, and room for 16 bytes.
        let code = unsafe {
            call(interface.info.device, command, data.as_mut_ptr().cast(), &raw mut len, 16)
        };
        (code, data[..len as usize].to_vec())
    };
    assert_eq!(ioctl(256), (0, b"four bytes?".to_vec()));
    assert_eq!(ioctl(4711).0, -libc::EOPNOTSUPP);
    assert_eq!(ioctl(22).0, -libc::EINVAL, "counters need more room than 16 bytes");
    fake.call(c"fake_log");
    assert!(LOG.lock().unwrap().iter().any(|line| line == "the driver says so"));
    fake.call(c"fake_link");
    fake.call(c"fake_removed");
    assert_eq!(*NOTES.lock().unwrap(), ["link_changed", "removed"]);
    interface.close();
    fake.call(c"fake_link");
    assert_eq!(NOTES.lock().unwrap().len(), 2, "nobody is told of a closed interface");
}

fn a_driver_that_does_not_open_leaves_nothing() {
    let fake = Fake::link("open");
    fake.set(0, libc::ENODEV, false);
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..200 {
        assert_eq!(Interface::open(&fake, 0).err(), Some(-libc::ENODEV));
    }
    assert_eq!(descriptors(), before);
    assert_eq!(fake.rx(None, &frame(1, 60)), -libc::ENODEV);
    fake.set(0, 0, false);
    for _ in 0..200 {
        Interface::open(&fake, 0).unwrap().close();
    }
    assert_eq!(descriptors(), before);
    assert!(fake.unlink());
}

fn a_driver_that_leaves_a_silent_thread_stays_loaded() {
    let fake = Fake::link("silent");
    fake.set(0, libc::ECHILD, false);
    assert_eq!(Interface::open(&fake, 0).err(), Some(-libc::ECHILD));
    fake.call(c"fake_wake_sleeper");
    assert!(!fake.unlink(), "its code is still there");
}

fn a_driver_whose_thread_goes_on_stays_loaded() {
    let (fake, interface) = opened("ends");
    fake.call(c"fake_thread");
    while interface.rx(32).is_empty() {}
    interface.close();
    assert!(fake.unlink(), "its thread has ended");

    let fake = Fake::link("stays");
    fake.set(0, 0, true);
    let interface = Interface::open(&fake, 0).unwrap();
    interface.start();
    fake.call(c"fake_thread");
    while interface.rx(32).is_empty() {}
    interface.close();
    let log = LOG.lock().unwrap().clone();
    assert!(log.iter().any(|line| line.contains("has not ended its threads")), "{log:?}");
    // The thread calls on, with a handle that is none. It is ended here so that the test can end.
    std::thread::sleep(std::time::Duration::from_millis(5));
    fake.call(c"fake_end_thread");
    assert!(!fake.unlink(), "its code is still there");
}
