//! The packet path allocates nothing: counted, over thousands of packets both ways, without and
//! with a protocol module that filters and looks at all of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use harness::World;
use harness::module::compile;
use harness::path::{self, BURST, Kind, tick};

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

// EAL starts once per process, so all paths share one test.
#[test]
fn the_packet_path_allocates_nothing() {
    let mut world = World::new().expect("a world without hugepages and without root");
    let kinds =
        [Kind::UdpEcho, Kind::TcpReceive, Kind::TcpSend, Kind::RequestResponse, Kind::RequestAlone];
    let mut paths = Vec::new();
    for kind in kinds {
        let mut path = path::Path::new(&mut world, kind).unwrap();
        nothing_is_allocated(&mut world, kind, &mut path);
        paths.push((kind, path));
    }
    // With filters and a tap.
    let module = compile("pass.c", env!("CARGO_TARGET_TMPDIR")).unwrap();
    world.load_protocol(&module).expect("the module");
    for (kind, path) in &mut paths {
        nothing_is_allocated(&mut world, *kind, path);
    }
    let mut bridged = path::Path::new(&mut world, Kind::L2Bridge).unwrap();
    nothing_is_allocated(&mut world, Kind::L2Bridge, &mut bridged);
    for attachment in world.attachments() {
        assert!(attachment.passed > 100_000, "the module was not asked: {attachment:?}");
    }
    assert_eq!(world.wind_up(), 0, "buffers left behind");
}

fn nothing_is_allocated(world: &mut World, kind: Kind, path: &mut path::Path) {
    for _ in 0..100 {
        assert_eq!(path.burst(world, tick), Ok(BURST), "{kind:?} warming up");
    }
    ALLOCATIONS.store(0, Ordering::Relaxed);
    for _ in 0..1000 {
        assert_eq!(path.burst(world, watched), Ok(BURST), "{kind:?}");
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(allocations, 0, "{kind:?}: allocations in 32000 packets");
}
