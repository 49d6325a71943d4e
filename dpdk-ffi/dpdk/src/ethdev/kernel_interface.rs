//! The link of a port over an interface of the kernel's: `net_af_packet` and `net_af_xdp` of DPDK 22.11 say that theirs
//! is up, whatever has become of it.

use core::ffi::c_int;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use super::EthDevInfo;

/// Up, and with a carrier.
const RUNS: c_int = libc::IFF_UP | libc::IFF_RUNNING;

/// An interface by its number, which it keeps when its name changes.
#[derive(Debug)]
pub(super) struct KernelInterface {
    index: c_int,
    /// To ask by, in the network namespace that the port was made in: kept, for later there may be no descriptor left.
    socket: UnixDatagram,
}

impl KernelInterface {
    /// `None`: there is none, or the driver itself asks about it.
    pub(super) fn under(info: &EthDevInfo) -> Option<Self> {
        if !matches!(info.driver.as_str(), "net_af_packet" | "net_af_xdp") {
            return None;
        }
        Self::new(info.if_index?)
    }

    fn new(index: u32) -> Option<Self> {
        Some(Self { index: index.try_into().ok()?, socket: UnixDatagram::unbound().ok()? })
    }

    /// One that has been removed, or moved to another namespace, does not.
    pub(super) fn runs(&self) -> bool {
        // It may have got another name between the two questions.
        self.flags().or_else(|| self.flags()).is_some_and(|flags| flags & RUNS == RUNS)
    }

    fn flags(&self) -> Option<c_int> {
        let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_ifindex: self.index };
        let mut request = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru };
        // The kernel takes only a name where it tells flags. Neither call waits for its lock on the network's configuration.
        for code in [libc::SIOCGIFNAME, libc::SIOCGIFFLAGS] {
            // SAFETY: the socket is open; both calls read and write one `ifreq`, which is here.
            if unsafe { libc::ioctl(self.socket.as_raw_fd(), code, &raw mut request) } != 0 {
                return None;
            }
        }
        // SAFETY: the second call has filled in the flags; any bits are an integer.
        Some(c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The kernel makes it first in each namespace.
    const LOOPBACK: u32 = 1;

    #[test]
    fn an_interface_runs_while_the_kernel_says_so_and_one_that_is_not_there_does_not() {
        let flags = fs::read_to_string("/sys/class/net/lo/flags").unwrap();
        let flags = c_int::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap();
        // It has a carrier whenever it is up.
        let up = flags & libc::IFF_UP != 0;
        assert_eq!(KernelInterface::new(LOOPBACK).unwrap().runs(), up);
        assert!(!KernelInterface::new(i32::MAX.unsigned_abs()).unwrap().runs());
        assert!(KernelInterface::new(u32::MAX).is_none());
    }
}
