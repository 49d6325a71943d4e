//! Slots, seals, and who keeps what mapped.

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::sync::Arc;

use shm::{Arena, ArenaError, CellId};

fn map(file: &std::os::fd::OwnedFd, prot: ProtFlags) -> Result<(), Errno> {
    // SAFETY: a fresh mapping that nobody uses.
    let at =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), 4096, prot, MapFlags::SHARED, file, 0) }?;
    // SAFETY: mapped by the line above.
    unsafe { rustix::mm::munmap(at, 4096) }
}

#[test]
fn a_client_can_neither_resize_nor_write_what_it_reads() {
    let arena = Arena::reserve(1).unwrap();
    let (_slot, files) = arena.attach(4, Arc::default()).unwrap();
    for file in [&files.read, &files.write] {
        assert_eq!(rustix::fs::ftruncate(file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(file, 1 << 30), Err(Errno::PERM));
        let seals = rustix::fs::SealFlags::WRITE;
        assert_eq!(rustix::fs::fcntl_add_seals(file, seals), Err(Errno::PERM));
    }
    let both = ProtFlags::READ | ProtFlags::WRITE;
    assert_eq!(map(&files.read, both), Err(Errno::PERM));
    assert_eq!(map(&files.read, ProtFlags::READ), Ok(()));
    assert_eq!(map(&files.write, both), Ok(()));
    assert_eq!(rustix::io::pwrite(&files.read, b"x", 0), Err(Errno::PERM));
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::fs::fallocate(&files.read, punch, 0, 4096), Err(Errno::PERM));
}

#[test]
fn holes_in_the_write_part_read_as_zero() {
    let arena = Arena::reserve(1).unwrap();
    let (slot, files) = arena.attach(1, Arc::default()).unwrap();
    let mut lane = slot.lane(0).unwrap();
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&files.write, punch, 0, 32 << 20).unwrap();
    assert_eq!(lane.receive(), Ok(None));
}

#[test]
fn slots_are_aligned_reused_and_kept_by_what_is_in_use() {
    let arena = Arena::reserve(2).unwrap();
    assert_eq!(arena.base().as_ptr() as usize % arena.page_size(), 0);
    assert_eq!(arena.len(), 132 << 20, "two slots, each with room for its skew");
    let (first, _) = arena.attach(1, Arc::default()).unwrap();
    let (second, _) = arena.attach(1, Arc::default()).unwrap();
    assert_eq!((first.index(), second.index()), (0, 1));
    assert_eq!(arena.attach(1, Arc::default()).unwrap_err(), ArenaError::Full);
    let lane = first.lane(0).unwrap();
    assert!(first.lane(0).is_none(), "each lane once");
    assert!(first.lane(1).is_none());
    let loan = lane.loan(100, 200).unwrap();
    assert!(lane.loan((28 << 20) - 1, 2).is_none());
    drop((first, lane));
    assert_eq!(
        arena.attach(1, Arc::default()).unwrap_err(),
        ArenaError::Full,
        "the loan keeps the slot"
    );
    drop(loan);
    let (again, _) = arena.attach(1, Arc::default()).unwrap();
    assert_eq!(again.index(), 0);
    assert_eq!(arena.attach(0, Arc::default()).unwrap_err(), ArenaError::Lanes(0));
    assert_eq!(arena.attach(65, Arc::default()).unwrap_err(), ArenaError::Lanes(65));
}

#[test]
fn a_new_client_sees_nothing_of_the_last_one() {
    let arena = Arena::reserve(1).unwrap();
    for _ in 0..3 {
        let (slot, files) = arena.attach(1, Arc::default()).unwrap();
        let mut byte = [1; 4096];
        for at in [0, 9 << 20, 31 << 20] {
            assert_eq!(rustix::io::pread(&files.read, &mut byte, at), Ok(4096));
            assert_eq!(byte, [0; 4096]);
        }
        let mut lane = slot.lane(0).unwrap();
        let cell = lane.allocate_cell().unwrap();
        let mut producer = shm::StreamProducer::new(cell, 65_536);
        assert_eq!(producer.write(&mut lane, 0, b"canary"), 6);
    }
}

#[test]
fn cells_belong_to_lanes_and_run_out() {
    let arena = Arena::reserve(1).unwrap();
    let (slot, _files) = arena.attach(3, Arc::default()).unwrap();
    let per_lane = shm::layout::cells_per_lane(3);
    assert_eq!(per_lane, 2048);
    let mut lane = slot.lane(2).unwrap();
    let cells: Vec<CellId> = std::iter::from_fn(|| lane.allocate_cell()).collect();
    assert_eq!(cells.len(), 2048);
    assert!(cells.iter().all(|cell| cell.index / per_lane == 2));
    lane.free_cell(cells[7]);
    lane.free_cell(cells[7]);
    let again = lane.allocate_cell().unwrap();
    assert_eq!(again.index, cells[7].index);
    assert_ne!(again.generation, cells[7].generation);
    assert!(lane.allocate_cell().is_none());
}
