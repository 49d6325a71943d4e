//! The packet sockets of `net_af_packet`: the driver waits on none of them and shows none, but each queue has one, and
//! it is readable while a frame lies in the queue's ring (packet(7), `PACKET_RX_RING`).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::RawFd;

/// The socket of receive queue `q` of the driver's only port on the kernel's interface number `interface`, which has so many queues:
/// the kernel lists sockets in the order in which they were opened, and the driver opens those of its queues in their
/// order. `None` also if there are others on that interface, as those of a second port are.
pub(super) fn of_queue(interface: u32, q: u16, queues: u16) -> Option<RawFd> {
    let table = fs::read_to_string("/proc/thread-self/net/packet").ok()?;
    let inodes: Vec<u64> = inodes_on(&table, interface).collect();
    let mut own = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").ok()?.flatten() {
        let fd: Option<RawFd> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let inode = fs::read_link(entry.path()).ok().and_then(|link| socket_inode(link.to_str()?));
        if let (Some(fd), Some(inode)) = (fd, inode.filter(|inode| inodes.contains(inode))) {
            // Any copy will do.
            let _ = own.entry(inode).or_insert(fd);
        }
    }
    if own.len() != usize::from(queues) {
        return None;
    }
    inodes.iter().filter_map(|inode| own.get(inode).copied()).nth(usize::from(q))
}

/// What `/proc/net/packet` says of sockets on this interface.
fn inodes_on(table: &str, interface: u32) -> impl Iterator<Item = u64> + '_ {
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_ascii_whitespace().skip(4);
        let on: u32 = columns.next()?.parse().ok()?;
        (on == interface).then(|| columns.last()?.parse().ok()).flatten()
    })
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                     0000000000000000 3      3    0003   7     1 0      0      4711\n\
                     0000000000000000 3      3    0003   12    1 0      0      4712\n\
                     0000000000000000 3      3    0003   7     1 0      0      4713\n";
        assert_eq!(inodes_on(table, 7).collect::<Vec<_>>(), [4711, 4713]);
        assert_eq!(inodes_on(table, 1).count(), 0);
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("/dev/null"), None);
    }
}
