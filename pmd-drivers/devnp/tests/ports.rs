//! Ports of real drivers. EAL starts once per process, so this is one test with steps.
//!
//! The steps on a tap need CAP_NET_ADMIN and /dev/net/tun; without them they say so and are skipped.

#[path = "ports/wire.rs"]
mod wire;

use core::ptr::NonNull;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devnp::{AttachEnv, AttachError, DriverSpec, Port, RxQueue, TxQueue, Units, attach};
use dpdk::{Burst, Eal, EalArgs, Mbuf, Memory, Mempool, MempoolOptions, PacketPool, topology};
use shm::{Loan, PacketMemory};
use types::MacAddr;
use wire::{ETHERTYPE, Wire};

const WORKERS: u16 = 1;

/// What every step works with.
struct World {
    eal: Eal,
    pool: Mempool,
    shown: Option<Mempool>,
    units: Units,
}

impl World {
    fn start() -> Self {
        let args = EalArgs::new(&format!("devnp-test-{}", std::process::id()))
            .plan(&topology::plan(WORKERS))
            .memory(Memory::Ordinary { mib: 64 });
        let started = Instant::now();
        let eal = Eal::init(&args.to_vec()).unwrap();
        println!("EAL started in {:?}", started.elapsed());
        let options = MempoolOptions { count: 4095, ..MempoolOptions::default() };
        let pool = Mempool::create("test", &options).unwrap();
        Self { eal, pool, shown: None, units: Units::new() }
    }

    fn attach(&mut self, name: &str, options: &str) -> Result<Port, AttachError> {
        self.attach_for(WORKERS, name, options)
    }

    fn attach_for(&mut self, workers: u16, name: &str, options: &str) -> Result<Port, AttachError> {
        let spec = DriverSpec::parse(name, options)?;
        let env =
            AttachEnv { workers, pool: &self.pool, shown: self.shown.as_ref(), units: &self.units };
        attach(&self.eal, &spec, &env)
    }

    fn detach(&mut self, port: Port) {
        let (base, unit) = port.unit();
        let base = base.to_owned();
        let _ = port.detach().unwrap();
        self.units.release(&base, unit);
    }
}

#[test]
fn ports_of_real_drivers() {
    let mut world = World::start();
    buffers_come_back(&world);
    buffers_grow_and_shrink(&world);
    eal_starts_once();
    workers_run(&world);
    null_takes_everything(&mut world);
    ring_returns_what_it_was_given(&mut world);
    unknown_drivers_are_refused_with_a_suggestion(&mut world);
    wrong_options_are_refused(&mut world);
    packets_lie_in_memory_that_can_be_shown(&mut world);
    match world.attach("tap", "mac=02:00:00:00:00:01,iface=devnptest0,irq=5,speed=123") {
        Err(error @ (AttachError::NoPermission { .. } | AttachError::NoKernelSupport { .. })) => {
            println!("the steps on a tap are skipped: {error}; {}", error.help());
        }
        attached => {
            tap(&mut world, attached.unwrap());
            a_packet_socket_wakes(&mut world);
        }
    }
    assert_eq!(world.pool.in_use(), 0, "buffers lost");
    let World { eal, pool, shown, .. } = world;
    drop((pool, shown));
    eal.cleanup().unwrap();
}

fn buffers_come_back(world: &World) {
    for round in 0..1000_usize {
        let mut burst = Burst::new();
        assert!(world.pool.alloc_burst(&mut burst, round % 33));
        drop(burst.pop());
        let _kept = world.pool.alloc().unwrap();
    }
    assert_eq!(world.pool.in_use(), 0);
    assert_eq!(world.pool.available(), 4095);
}

fn buffers_grow_and_shrink(world: &World) {
    let mut packet = world.pool.alloc().unwrap();
    assert_eq!((packet.headroom(), packet.data_len(), packet.segments()), (128, 0, 1));
    assert!(packet.extend_from_slice(b"payload"));
    packet.prepend(3).unwrap().copy_from_slice(b"hd:");
    assert_eq!(packet.data(), b"hd:payload");
    assert!(packet.adjust(1) && packet.trim(1));
    assert_eq!(packet.data(), b"d:payloa");
    assert!(packet.prepend(2000).is_none() && packet.append(3000).is_none());
    assert!(!packet.adjust(100) && !packet.trim(100));
    let mut tail = world.pool.alloc().unwrap();
    assert!(tail.extend_from_slice(b"-tail"));
    packet.chain(tail).unwrap();
    assert_eq!((packet.segments(), packet.packet_len(), packet.data_len()), (2, 13, 8));
    let mut copy = [0; 7];
    assert!(packet.copy_out(5, &mut copy));
    assert_eq!(&copy, b"loa-tai");
    assert!(!packet.copy_out(7, &mut copy));
    assert!(packet.linearize());
    assert_eq!((packet.data(), packet.segments()), (&b"d:payloa-tail"[..], 1));
}

fn eal_starts_once() {
    assert_eq!(Eal::init(&[]).unwrap_err(), dpdk::EalError::SecondStart);
}

fn workers_run(world: &World) {
    let lcores = world.eal.lcores();
    assert_eq!(lcores.len(), usize::from(WORKERS));
    let (send, receive) = std::sync::mpsc::channel();
    let pool = world.pool.clone();
    let work = Box::new(move || send.send(pool.alloc().unwrap()).unwrap());
    world.eal.launch(lcores[0], work).unwrap();
    let packet: Mbuf = receive.recv().unwrap();
    world.eal.wait(lcores[0]).unwrap();
    drop(packet);
    world.eal.launch(lcores[0], Box::new(|| panic!("on purpose"))).unwrap();
    assert!(world.eal.wait(lcores[0]).is_err());
}

fn packets_lie_in_memory_that_can_be_shown(world: &mut World) {
    let memory = PacketMemory::create(1023).unwrap();
    let shown = PacketPool::create("shown", 0, memory).unwrap();
    world.shown = Some(shown.pool().clone());
    for (name, options) in [("memif", "zero-copy=yes,role=client"), ("virtio_user", "")] {
        let refused = world.attach(name, options).unwrap_err();
        assert!(matches!(refused, AttachError::OwnMemory { .. }), "{name}: {refused}");
    }
    let mut port = world.attach("null", "").unwrap();
    let (mut rx, mut tx) = port.take_queues(0).unwrap();
    let mut burst = Burst::new();
    for _ in 0..100 {
        assert_eq!(rx.rx_burst(&mut burst), 32);
        for mbuf in &mut burst {
            let buffer = shown.number(mbuf).unwrap();
            assert!(mbuf.is_sole() && mbuf.headroom() == 128 && !mbuf.data().is_empty());
            assert_eq!(
                shown.place(&mbuf.data()[10..]).map(|p| (p.buffer, p.offset)),
                Some((buffer, 138))
            );
            mbuf.data_mut().fill(7);
        }
        // The client's own memory can't be put in the place of one that is shown.
        let arena = shm::Arena::reserve(1).unwrap();
        let (slot, _files) = arena.attach(1, Arc::default()).unwrap();
        let loan = slot.lane(0).unwrap().loan(0, 64).unwrap();
        let mut other = shown.pool().alloc().unwrap();
        assert!(other.attach_external(loan).is_err());
        assert_eq!(tx.tx_burst(&mut burst), 32);
    }
    assert!(world.pool.alloc().is_some_and(|mbuf| shown.number(&mbuf).is_none()));
    let all: Vec<Mbuf> = core::iter::from_fn(|| shown.pool().alloc()).collect();
    let numbers: std::collections::BTreeSet<_> = all.iter().map(|m| shown.number(m)).collect();
    assert_eq!((all.len(), numbers.len()), (1023, 1023), "a buffer for each, and all come back");
    drop((all, rx, tx));
    world.detach(port);
    world.shown = None;
}

fn null_takes_everything(world: &mut World) {
    let mut port = world.attach("null", "").unwrap();
    assert_eq!((port.name(), port.driver()), ("null0", "net_null"));
    let (_rx, mut tx) = port.take_queues(0).unwrap();
    assert!(port.take_queues(0).is_none(), "a queue is handed out once");
    let mut burst = Burst::new();
    assert!(world.pool.alloc_burst(&mut burst, 32));
    assert_eq!((tx.tx_burst(&mut burst), burst.len()), (32, 0));
    drop((_rx, tx));
    world.detach(port);
    assert_eq!(world.pool.in_use(), 0);
}

fn ring_returns_what_it_was_given(world: &mut World) {
    let mut port = world.attach("net_ring", "name=loop").unwrap();
    assert_eq!(port.name(), "loop0");
    assert!(port.mac().is_unicast());
    let (mut rx, mut tx) = port.take_queues(0).unwrap();
    let mut burst = Burst::new();
    assert!(world.pool.alloc_burst(&mut burst, 5));
    for (packet, byte) in burst.iter_mut().zip(0..) {
        packet.append(1).unwrap()[0] = byte;
    }
    assert_eq!(tx.tx_burst(&mut burst), 5);
    assert_eq!(rx.rx_burst(&mut burst), 5);
    let bytes: Vec<u8> = burst.iter().map(|packet| packet.data()[0]).collect();
    assert_eq!(bytes, [0, 1, 2, 3, 4]);
    while tx.tx_burst(&mut burst) > 0 || burst.is_empty() {
        burst.clear();
        assert!(world.pool.alloc_burst(&mut burst, 32));
    }
    assert_eq!(burst.len(), 32, "what a full ring does not take stays");
    while rx.rx_burst(&mut burst) > 0 || burst.is_full() {
        burst.clear();
    }
    drop((rx, tx));
    world.detach(port);
    assert_eq!(world.pool.in_use(), 0);
}

fn unknown_drivers_are_refused_with_a_suggestion(world: &mut World) {
    let error = world.attach("tpa", "").unwrap_err();
    println!("{error}\n  {}", error.help());
    assert!(matches!(&error, AttachError::UnknownDriver { .. }), "{error:?}");
    assert!(error.help().contains("net_tap"), "{}", error.help());
}

fn wrong_options_are_refused(world: &mut World) {
    let error = world.attach("af_packet", "iface=nosuch0").unwrap_err();
    assert!(matches!(&error, AttachError::NoSuchInterface { interface } if interface == "nosuch0"));
    let error = world.attach("pcap", "rx_pcap=/nonexistent/file.pcap").unwrap_err();
    println!("{error}\n  {}", error.help());
    let error = world.attach("memif", "role=nonsense").unwrap_err();
    println!("{error}\n  {}", error.help());
    let error = world.attach("tap", "iface=lo").unwrap_err();
    assert!(matches!(error, AttachError::InterfaceTaken { .. }), "{error:?}");
    let error = world.attach("0000:ff:1f.7", "").unwrap_err();
    println!("{error}\n  {}", error.help());
    assert!(matches!(error, AttachError::PciNotBound { .. }), "{error:?}");
}

fn tap(world: &mut World, mut port: Port) {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    assert_eq!((port.name(), port.driver(), port.mac()), ("tap0", "net_tap", mac));
    assert_eq!(port.kernel_interface(), Some("devnptest0"));
    let [irq, speed] = port.notes() else { panic!("{:?}", port.notes()) };
    assert_eq!(irq, "irq=5 is ignored");
    let words =
        ["speed=123 is ignored: no 123 Mbit/s full duplex here, but", "100 Mbit/s full duplex, "];
    assert!(words.iter().all(|word| speed.contains(word)), "{speed}");
    assert!(port.capabilities().multi_segment && port.capabilities().software_checksum);
    let kernel = std::fs::read_to_string("/sys/class/net/devnptest0/address").unwrap();
    assert_eq!(kernel.trim(), "02:80:00:00:00:01", "the kernel's end has an address of its own");
    println!("link {:?}, mtu {}, {:?}", port.link(), port.mtu(), port.capabilities());

    let wire = Wire::open("devnptest0").unwrap();
    frames_reach_the_kernel(world, &mut port, &wire);
    loans_reach_the_kernel(world, &mut port, &wire);
    frames_reach_the_stack(world, &mut port, &wire);
    the_descriptor_wakes(&mut port, &wire);

    port.set_mtu(1400).unwrap();
    let mtu = std::fs::read_to_string("/sys/class/net/devnptest0/mtu").unwrap();
    assert_eq!((mtu.trim(), port.mtu()), ("1400", 1400));
    let stats = port.stats().unwrap();
    assert!(stats.tx_packets >= 2 && stats.rx_packets >= 2, "{stats:?}");

    let second = world.attach("tap", "iface=devnptest0").unwrap_err();
    assert!(matches!(second, AttachError::InterfaceTaken { .. }), "{second:?}");
    let large = world.attach("tap", "iface=devnptest1,mtu=9000").unwrap_err();
    assert!(matches!(large, AttachError::QueueSetup(_)), "{large:?}");
    let second = world.attach("tap", "iface=devnptest1,mtu=1280").unwrap();
    assert_eq!((second.name(), second.mtu()), ("tap1", 1280));
    world.detach(second);

    let (rx, tx) = port.take_queues(0).unwrap();
    let held = world.eal.hotplug_remove("vdev", "net_tap0");
    assert!(held.is_err(), "a port in use is not removed");
    drop((rx, tx));
    world.detach(port);
    assert!(!std::path::Path::new("/sys/class/net/devnptest0").exists());
}

/// A broadcast frame with this payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6], &[2, 0, 0, 0, 0, 1][..], &ETHERTYPE, payload].concat()
}

fn send(port: &mut Port, packet: Mbuf) {
    let (_rx, mut tx) = port.take_queues(0).unwrap();
    let mut burst = Burst::new();
    burst.push(packet).unwrap();
    assert_eq!(tx.tx_burst(&mut burst), 1);
}

fn frames_reach_the_kernel(world: &World, port: &mut Port, wire: &Wire) {
    let sent = frame(&[7; 100]);
    let mut packet = world.pool.alloc().unwrap();
    assert!(packet.extend_from_slice(&sent));
    send(port, packet);
    assert_eq!(wire.receive().as_deref(), Some(&sent[..]));
}

fn loans_reach_the_kernel(world: &World, port: &mut Port, wire: &Wire) {
    let payload: Arc<Vec<u8>> = Arc::new((0..1400_u32).map(|i| (i % 251) as u8).collect());
    let owner: Arc<dyn core::any::Any + Send + Sync> = payload.clone();
    let start = NonNull::from(&payload[0]);
    // SAFETY: the vector is the owner, is not changed, and has 1400 bytes.
    let loan = unsafe { Loan::new(owner, start, 1400) };
    let mut head = world.pool.alloc().unwrap();
    assert!(head.extend_from_slice(&frame(&[])));
    let mut tail = world.pool.alloc().unwrap();
    tail.attach_external(loan).unwrap();
    assert!(tail.is_external() && tail.data().is_empty() && tail.append(1).is_none());
    head.chain(tail).unwrap();
    assert_eq!((head.segments(), head.packet_len()), (2, 1414));
    assert_eq!(Arc::strong_count(&payload), 2);
    send(port, head);
    assert_eq!(wire.receive(), Some(frame(&payload)));
    assert_eq!(Arc::strong_count(&payload), 1, "the loan is over once the frame is sent");
}

fn receive(rx: &mut RxQueue) -> Option<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut burst = Burst::new();
    while Instant::now() < deadline {
        let _ = rx.rx_burst(&mut burst);
        for packet in burst.drain() {
            if packet.data().get(12..14) == Some(&ETHERTYPE) {
                return Some(packet.data().to_vec());
            }
        }
    }
    None
}

fn frames_reach_the_stack(_world: &World, port: &mut Port, wire: &Wire) {
    let (mut rx, _tx) = port.take_queues(0).unwrap();
    for len in [46, 1000, 1500] {
        let sent = frame(&vec![9; len]);
        wire.send(&sent).unwrap();
        assert_eq!(receive(&mut rx), Some(sent));
    }
}

fn the_descriptor_wakes(port: &mut Port, wire: &Wire) {
    let fd = port.rx_fd(0).expect("net_tap has a descriptor");
    let (mut rx, _tx) = port.take_queues(0).unwrap();
    let mut burst = Burst::new();
    while rx.rx_burst(&mut burst) > 0 {
        burst.clear();
    }
    assert!(!wire::poll(fd, 0), "nothing waits");
    for round in 0..100_u8 {
        wire.send(&frame(&[round; 60])).unwrap();
        assert!(wire::poll(fd, 1000), "round {round}: the descriptor is readable");
        assert_eq!(receive(&mut rx), Some(frame(&[round; 60])), "round {round}");
    }
}

/// `net_af_packet` has no descriptor, but its queue's socket is one. Frames come from a tap's other end.
fn a_packet_socket_wakes(world: &mut World) {
    let mut tap = world.attach("tap", "iface=devnptest1").unwrap();
    let up = Command::new("ip").args(["link", "set", "devnptest1", "up"]).status().unwrap();
    assert!(up.success());
    let mut port = world.attach("af_packet", "iface=devnptest1").unwrap();
    let fd = port.rx_fd(0).expect("the socket is found");
    assert!(port.rx_descriptor(0).is_some(), "and copied");
    assert_eq!(port.rx_fd(1), None, "there is one queue");
    let (mut rx, _tx) = port.take_queues(0).unwrap();
    let (_rx, mut tx) = tap.take_queues(0).unwrap();
    for round in 0..100_u8 {
        let mut burst = Burst::new();
        let mut deadline = 1000;
        // The kernel may say something of its own.
        while rx.rx_burst(&mut burst) > 0 || wire::poll(fd, 0) {
            burst.clear();
            deadline -= 1;
            assert!(deadline > 0, "round {round}: empty, and still readable");
        }
        let mut packet = world.pool.alloc().unwrap();
        assert!(packet.extend_from_slice(&frame(&[round; 60])));
        assert!(burst.push(packet).is_ok());
        assert_eq!(tx.tx_burst(&mut burst), 1);
        assert!(wire::poll(fd, 1000), "round {round}: the socket is readable");
        assert_eq!(receive(&mut rx), Some(frame(&[round; 60])), "round {round}");
    }
    drop((rx, _tx));
    world.detach(port);
    each_queues_socket_wakes(world, &mut tx);
    drop((_rx, tx));
    world.detach(tap);
}

/// The kernel spreads flows over the sockets of two queues: the one that is readable is the one whose queue has the frame.
fn each_queues_socket_wakes(world: &mut World, tx: &mut TxQueue) {
    let mut port = world.attach_for(2, "af_packet", "iface=devnptest1,qpairs=2").unwrap();
    let fds = [0, 1].map(|queue| port.rx_fd(queue).expect("each has a socket"));
    assert_ne!(fds[0], fds[1]);
    let mut queues = [0, 1].map(|queue| port.take_queues(queue).unwrap());
    let (mut woken, mut burst) = ([0; 2], Burst::new());
    for flow in 0..100 {
        for (rx, _) in &mut queues {
            while rx.rx_burst(&mut burst) > 0 {
                burst.clear();
            }
        }
        let mut packet = world.pool.alloc().unwrap();
        assert!(packet.extend_from_slice(&datagram(flow)) && burst.push(packet).is_ok());
        assert_eq!(tx.tx_burst(&mut burst), 1);
        let readable = || (0..2).find(|queue| wire::poll(fds[*queue], 1));
        let deadline = Instant::now() + Duration::from_secs(1);
        let queue = loop {
            match readable() {
                Some(queue) => break queue,
                None => assert!(Instant::now() < deadline, "flow {flow}: no socket is readable"),
            }
        };
        assert!(queues[queue].0.rx_burst(&mut burst) > 0, "flow {flow}: another queue has it");
        burst.clear();
        woken[queue] += 1;
    }
    assert!(woken[0] > 0 && woken[1] > 0, "flows are spread: {woken:?}");
    drop(queues);
    world.detach(port);
}

/// Of a flow of its own.
fn datagram(flow: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([198, 18, 90, flow, 198, 18, 91, 9, 0x9c, flow, 0, 9, 0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}
