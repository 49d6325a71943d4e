//! The packet sockets of `net_af_packet`: the driver waits on none of them and shows none, but each queue has one, and
//! it is readable exactly while a frame lies in the queue's ring (packet(7), `PACKET_RX_RING`).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::RawFd;

/// The socket of receive queue `q` of the driver on the kernel's interface number `interface`. The driver opens them in the
/// order of its queues; copies of them have higher numbers.
pub(super) fn of_queue(interface: u32, q: u16) -> Option<RawFd> {
    let table = fs::read_to_string("/proc/thread-self/net/packet").ok()?;
    let mut first = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").ok()?.flatten() {
        let number: Option<RawFd> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let inode = fs::read_link(entry.path()).ok().and_then(|link| socket_inode(link.to_str()?));
        if let (Some(fd), Some(inode)) = (number, inode) {
            let lowest: &mut RawFd = first.entry(inode).or_insert(fd);
            *lowest = fd.min(*lowest);
        }
    }
    let mut sockets: Vec<RawFd> =
        inodes_on(&table, interface).filter_map(|inode| first.get(&inode).copied()).collect();
    sockets.sort_unstable();
    sockets.get(usize::from(q)).copied()
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
