//! The packet path allocates nothing: counted, over thousands of packets both ways.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use harness::World;
use harness::path::{BURST, Kind, Path, tick};

/// The system's allocator, and how often it was asked while `COUNTING`.
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) {
            let _ = ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Only the worker's breath is watched: peer and client are test code.
fn watched(world: &mut World) {
    COUNTING.store(true, Ordering::Relaxed);
    tick(world);
    COUNTING.store(false, Ordering::Relaxed);
}

// EAL starts once per process, so both paths share one test.
#[test]
fn the_packet_path_allocates_nothing() {
    let mut world = World::new().expect("a world without hugepages and without root");
    for kind in [Kind::UdpEcho, Kind::TcpReceive, Kind::TcpSend, Kind::RequestResponse] {
        let mut path = Path::new(&mut world, kind).unwrap();
        for _ in 0..100 {
            assert_eq!(path.burst(&mut world, tick), Ok(BURST), "{kind:?} warming up");
        }
        ALLOCATIONS.store(0, Ordering::Relaxed);
        for _ in 0..1000 {
            assert_eq!(path.burst(&mut world, watched), Ok(BURST), "{kind:?}");
        }
        let allocations = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(allocations, 0, "{kind:?}: allocations in 32000 packets");
    }
    assert_eq!(world.wind_up(), 0, "buffers left behind");
}
