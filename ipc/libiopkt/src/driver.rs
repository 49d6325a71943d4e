//! What a driver knows of its device, and commands of its own, by `ioctl`: BSD's `struct ifdrv`.

use std::ffi::CStr;
use std::io;

use io_pkt_client::{NIC_COUNTERS, NicRow};
use libc::{c_ulong, c_void};

use crate::errno::os;
use crate::interface::NAME_LEN;
use crate::message;
use crate::table::Held;

// As `_IOW('i', 123, struct ifdrv)` and its kin make them.
const SIOCSDRVSPEC: c_ulong = 0x4028_697b;
const SIOCGDRVSPEC: c_ulong = 0xc028_697b;
const SIOCGDRVCOM: c_ulong = 0xc028_69f0;

/// `IOPKT_DRVCOM_CONFIG`: a `struct iopkt_nic_config`.
const CONFIG: c_ulong = 1;
/// `IOPKT_DRVCOM_STATS`: a `struct iopkt_nic_stats`.
const STATS: c_ulong = 2;

/// Most bytes that go to a driver with a command: the daemon takes no more.
const DATA_MAX: usize = 4096;

/// Room of a driver's name in `struct iopkt_nic_config`, its NUL included.
const DRIVER_LEN: usize = 32;

/// `struct iopkt_ifdrv`.
#[repr(C)]
struct Command {
    name: [u8; NAME_LEN],
    command: c_ulong,
    len: usize,
    data: *mut c_void,
}

const _: () = assert!(size_of::<Command>() == 0x28);

/// Is this `ioctl` one for a driver?
pub(crate) const fn is_command(request: c_ulong) -> bool {
    matches!(request, SIOCSDRVSPEC | SIOCGDRVSPEC | SIOCGDRVCOM)
}

/// Asks the driver of one of the interfaces of a socket's stack. So much of the answer as there is room for
/// is written; the command's length becomes that of the whole.
///
/// # Safety
/// `argument` is null or a `struct iopkt_ifdrv` whose data is null or as long as it says.
pub(crate) unsafe fn ask(held: &Held, request: c_ulong, argument: *mut c_void) -> io::Result<()> {
    let place = argument.cast::<Command>();
    if place.is_null() {
        return Err(os(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    let asked = unsafe { place.read_unaligned() };
    let name = CStr::from_bytes_until_nul(&asked.name).map_err(|_| os(libc::ENXIO))?;
    let name = name.to_str().map_err(|_| os(libc::ENXIO))?;
    // SAFETY: the caller's promise.
    let data = unsafe { message::bytes_mut(asked.data, asked.len) }?;
    let channel = held.socket.channel();
    let answer = match (request, asked.command) {
        (SIOCGDRVCOM, CONFIG) => config(&channel.nic(name)?),
        (SIOCGDRVCOM, STATS) => stats(&channel.nic(name)?),
        (SIOCGDRVCOM, _) => return Err(os(libc::EINVAL)),
        _ => {
            let command = u32::try_from(asked.command).map_err(|_| os(libc::EINVAL))?;
            if data.len() > DATA_MAX {
                return Err(os(libc::EMSGSIZE));
            }
            channel.driver_command(name, command, data.to_vec())?
        }
    };
    if request != SIOCSDRVSPEC {
        data.iter_mut().zip(&answer).for_each(|(place, byte)| *place = *byte);
        let told = Command { len: answer.len(), ..asked };
        // SAFETY: the caller's promise.
        unsafe { place.write_unaligned(told) };
    }
    Ok(())
}

/// `struct iopkt_nic_config`.
fn config(row: &NicRow) -> Vec<u8> {
    let driver = row.driver.bytes().chain(core::iter::repeat(0));
    let mut bytes: Vec<u8> = driver.take(DRIVER_LEN - 1).chain([0]).collect();
    let flags = [row.link, row.full_duplex, row.promiscuous, row.all_multicast];
    let flags = flags.iter().rev().fold(0_u32, |flags, is| flags << 1 | u32::from(*is));
    bytes.extend(row.mac.0);
    bytes.extend(row.mtu.to_ne_bytes());
    for word in [row.speed_mbps, flags, row.queues.into()] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// `struct iopkt_nic_stats`, whose counters are in the order of their names.
fn stats(row: &NicRow) -> Vec<u8> {
    let value = |name: &&str| {
        let counter = row.counters.iter().find(|counter| counter.name == *name);
        counter.map(|counter| counter.value)
    };
    let values = NIC_COUNTERS.each_ref().map(value);
    let valid = values.iter().rev().fold(0_u64, |valid, v| valid << 1 | u64::from(v.is_some()));
    let words = core::iter::once(valid).chain(values.iter().map(|value| value.unwrap_or(0)));
    words.flat_map(u64::to_ne_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_pkt_client::NicCounter;

    fn row() -> NicRow {
        let counter = |name: &str, value| NicCounter { name: name.into(), value };
        NicRow {
            interface: "tap0".into(),
            driver: "net_tap".into(),
            mac: "02:00:00:00:00:07".parse().unwrap(),
            mtu: 1500,
            link: true,
            speed_mbps: 10_000,
            full_duplex: false,
            media: Vec::new(),
            queues: 3,
            capabilities: Vec::new(),
            promiscuous: true,
            all_multicast: false,
            counters: vec![counter("rxed_ok", 9), counter("total_collision_frames", 4)],
        }
    }

    /// The places are those of the C header, which `tests/kernel.c` asserts.
    #[test]
    fn what_is_known_of_a_device_has_its_place() {
        let bytes = config(&row());
        assert_eq!((bytes.len(), &bytes[..8]), (52, &b"net_tap\0"[..]));
        assert_eq!(bytes[32..38], [2, 0, 0, 0, 0, 7]);
        assert_eq!(bytes[38..40], 1500_u16.to_ne_bytes());
        assert_eq!(bytes[40..44], 10_000_u32.to_ne_bytes());
        assert_eq!(bytes[44..48], 0b0101_u32.to_ne_bytes(), "a link, promiscuous");
        assert_eq!(bytes[48..52], 3_u32.to_ne_bytes());
        let long = NicRow { driver: "d".repeat(40), ..row() };
        assert_eq!(config(&long)[30..32], [b'd', 0]);
    }

    #[test]
    fn counters_that_a_device_keeps_are_marked() {
        let bytes = stats(&row());
        assert_eq!(bytes.len(), 8 * 31);
        let word = |at: usize| u64::from_ne_bytes(*bytes[at * 8..].first_chunk().unwrap());
        assert_eq!(word(0), 1 << 1 | 1 << 29);
        assert_eq!((word(1), word(2), word(30)), (0, 9, 4));
    }
}
