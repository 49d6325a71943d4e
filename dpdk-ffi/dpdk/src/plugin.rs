//! The shared objects that DPDK's drivers are in: found by what they say of themselves, loaded when
//! they are needed, never unloaded (DPDK has pointers into them).
//!
//! Each has a text `PMD_INFO_STRING= {"name": "net_tap", "params": "iface=<string>", "pci_ids": [[32902,
//! 4110, 65535, 65535]]}` for each of its drivers: the names, options and PCI devices (vendor, device,
//! and those of the subsystem; 65535 is any) that it knows.

use core::ffi::{CStr, c_int, c_void};
use core::ptr::NonNull;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What every process needs: the bus of virtual devices, and the rings that packet buffers wait in.
const CORE: [&str; 2] = ["bus_vdev", "mempool_ring"];
/// The bus of PCI devices.
const PCI: &str = "bus_pci";
/// "Any", in a list of PCI devices.
const ANY: u16 = 0xffff;

/// Before EAL starts: buses and buffers.
pub(crate) fn load_core(args: &[String]) -> Result<(), PluginError> {
    let pci = (!args.iter().any(|arg| arg == "--no-pci")).then_some(PCI);
    let alone = args.iter().any(|arg| arg == "--in-memory" || arg == "--no-shconf");
    if !alone {
        load_all_with_queues();
    }
    CORE.into_iter().chain(pci).try_for_each(load)
}

/// A secondary process finds the lists of its libraries (`rte_tailq`) in the primary, or does not start, whether it
/// needs them or not. So all libraries of DPDK that have such lists are loaded for it.
fn load_all_with_queues() {
    const MARK: &[u8] = b"rte_eal_tailq_register";
    let abi = abi();
    let libraries = folder();
    let Some(libraries) = libraries.parent().and_then(Path::parent) else { return };
    let fits = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("librte_") && name.ends_with(&format!(".so.{abi}"))
    };
    let entries = fs::read_dir(libraries).into_iter().flatten().filter_map(Result::ok);
    let has_lists = |bytes: &[u8]| bytes.windows(MARK.len()).any(|window| window == MARK);
    for file in entries.map(|entry| entry.path()).filter(fits) {
        // One that can't be loaded here a tool can't load either.
        if says(&file, has_lists) {
            let _ = open(&file);
        }
    }
}

/// The plug-ins' folder says which ABI this is: `pmds-23.0`.
fn abi() -> String {
    let folder = folder();
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.trim_start_matches("pmds-").split('.').next().unwrap_or_default().to_owned()
}

/// The drivers of a device: of the PCI device at this address, or those that the name of a virtual
/// one and its arguments mention.
pub(crate) fn load_drivers(bus: &str, device: &str, args: &str) -> Result<(), PluginError> {
    if bus == "pci" {
        let Some(ids) = pci_ids(device) else { return Ok(()) };
        let serves = |bytes: &[u8]| infos(bytes).any(|info| drives(info, ids));
        return files().iter().filter(|file| says(file, serves)).try_for_each(|file| open(file));
    }
    let args = args.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let drivers = args.filter(|word| word.starts_with("net_")).chain([device]);
    drivers.filter_map(|driver| find(without_number(driver))).try_for_each(|file| open(&file))
}

/// `net_tap` for `net_tap0`.
fn without_number(device: &str) -> &str {
    device.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// The drivers for network devices on this machine, `net_tap` and so on.
#[must_use]
pub fn drivers() -> Vec<String> {
    let name = |file: PathBuf| {
        let name = file.file_name()?.to_str()?.strip_prefix("librte_net_")?.strip_suffix(".so")?;
        Some(format!("net_{name}"))
    };
    files().into_iter().filter_map(name).collect()
}

/// What a driver says its options are, as `iface=<string> remote=<string>`. `None` if there is no
/// such driver or it says nothing.
#[must_use]
pub fn options_of(driver: &str) -> Option<String> {
    let bytes = fs::read(find(driver)?).ok()?;
    let options = infos(&bytes).find(|info| field(info, "name") == Some(driver))?;
    field(options, "params").map(str::to_owned)
}

/// The plug-in that has this driver: the one of its name, or one with another name that mentions it
/// (`net_virtio_user` is in `librte_net_virtio.so`).
fn find(driver: &str) -> Option<PathBuf> {
    // An old name of the same driver.
    let plain = driver.strip_prefix("eth_").map(|name| format!("net_{name}"));
    let own = file(plain.as_deref().unwrap_or(driver));
    if own.exists() {
        return Some(own);
    }
    let has = |bytes: &[u8]| infos(bytes).any(|info| field(info, "name") == Some(driver));
    files().into_iter().find(|file| says(file, has))
}

fn folder() -> PathBuf {
    let folder = CStr::from_bytes_with_nul(dpdk_sys::RTE_EAL_PMD_PATH).unwrap_or_default();
    PathBuf::from(folder.to_string_lossy().as_ref())
}

fn file(name: &str) -> PathBuf {
    folder().join(format!("librte_{name}.so"))
}

/// All plug-ins for network devices, sorted.
fn files() -> Vec<PathBuf> {
    let fits = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("librte_net_") && name.ends_with(".so"))
    };
    let entries = fs::read_dir(folder()).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(fits).collect();
    files.sort_unstable();
    files
}

fn says(file: &Path, what: impl Fn(&[u8]) -> bool) -> bool {
    fs::read(file).is_ok_and(|bytes| what(&bytes))
}

/// What a plug-in says of each of its drivers.
fn infos(file: &[u8]) -> impl Iterator<Item = &str> {
    const MARK: &[u8] = b"PMD_INFO_STRING= ";
    let starts = file.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    starts.filter_map(|(at, _)| {
        let text = file.get(at + MARK.len()..)?.split(|byte| *byte == 0).next()?;
        str::from_utf8(text).ok()
    })
}

/// A text of it.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.split_once(&format!("\"{name}\": \""))?.1.split('"').next()
}

/// Vendor and device, and those of its subsystem.
fn pci_ids(address: &str) -> Option<[u16; 4]> {
    let device = Path::new("/sys/bus/pci/devices").join(address);
    let read = |name| {
        let text = fs::read_to_string(device.join(name)).ok()?;
        u16::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    Some([read("vendor")?, read("device")?, read("subsystem_vendor")?, read("subsystem_device")?])
}

/// Whether this driver is for the PCI device.
fn drives(info: &str, ids: [u16; 4]) -> bool {
    let Some((_, list)) = info.split_once("\"pci_ids\": ") else { return false };
    list.split('[').any(|row| {
        let row = row.split(']').next().unwrap_or_default();
        let row: Vec<u16> = row.split(',').filter_map(|id| id.trim().parse().ok()).collect();
        row.len() == ids.len() && row.iter().zip(ids).all(|(have, id)| *have == id || *have == ANY)
    })
}

fn load(name: &str) -> Result<(), PluginError> {
    open(&file(name))
}

/// What lets `dpdk-dumpcap` and `dpdk-pdump` copy packets (`rte_pdump_init`). Nobody else needs this library.
pub(crate) fn start_capture() -> Result<(), PluginError> {
    let file = PathBuf::from(format!("librte_pdump.so.{}", abi()));
    let handle = handle_of(&file)?;
    // SAFETY: a library that stays loaded, and a C string.
    let start = unsafe { libc::dlsym(handle.as_ptr(), c"rte_pdump_init".as_ptr()) };
    let wrong = |reason: &str| PluginError { file: file.clone(), reason: reason.into() };
    let start = NonNull::new(start).ok_or_else(|| wrong("it has no rte_pdump_init"))?;
    // SAFETY: `int rte_pdump_init(void)` since DPDK 16.07.
    let start = unsafe {
        core::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(start.as_ptr())
    };
    // SAFETY: EAL runs; the function registers itself with EAL's channel to secondary processes.
    match unsafe { start() } {
        0 => Ok(()),
        _ => Err(wrong("rte_pdump_init fails")),
    }
}

fn open(file: &Path) -> Result<(), PluginError> {
    handle_of(file).map(drop)
}

fn handle_of(file: &Path) -> Result<NonNull<c_void>, PluginError> {
    let wrong = |reason| PluginError { file: file.into(), reason };
    let path = CString::new(file.as_os_str().as_bytes())
        .map_err(|_| wrong("its path has a NUL byte".into()))?;
    // SAFETY: a C string. The library's initialisers enter its drivers into DPDK's lists, which
    // the caller keeps others from: EAL has not started, or the control lock is held.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if let Some(handle) = NonNull::new(handle) {
        return Ok(handle);
    }
    // SAFETY: returns a C string of this thread, or null.
    let error = unsafe { libc::dlerror() };
    if error.is_null() {
        return Err(wrong("the dynamic linker gives no reason".into()));
    }
    // SAFETY: not null, and valid until the next call of the linker on this thread.
    let text = unsafe { CStr::from_ptr(error) };
    Err(wrong(text.to_string_lossy().into_owned()))
}

/// A plug-in can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a plug-in of DPDK can't be loaded: {reason}")]
pub struct PluginError {
    /// The file.
    pub file: PathBuf,
    /// The dynamic linker's words.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_found_under_its_name_its_old_name_and_in_a_library_of_another_name() {
        assert_eq!(find("net_tap"), Some(file("net_tap")));
        assert_eq!(find("eth_tap"), Some(file("net_tap")));
        assert_eq!(find("net_virtio_user"), Some(file("net_virtio")));
        assert_eq!(find("net_nothing"), None);
        assert_eq!(without_number("net_virtio_user12"), "net_virtio_user");
    }

    #[test]
    fn a_driver_says_its_options() {
        let options = options_of("net_tap").unwrap();
        assert!(options.contains("iface=<string>") && options.contains("remote="), "{options}");
        assert!(drivers().contains(&"net_tap".to_owned()));
    }

    #[test]
    fn a_pci_device_is_matched_by_vendor_and_device() {
        let info = r#"{"name": "net_e1000_em", "pci_ids": [[32902, 4110, 65535, 65535],[32902, 4111, 4660, 65535]]}"#;
        assert!(drives(info, [0x8086, 0x100e, 1, 2]));
        assert!(drives(info, [0x8086, 0x100f, 0x1234, 2]));
        assert!(!drives(info, [0x8086, 0x100f, 1, 2]));
        assert!(!drives(info, [0x8086, 0x1010, 1, 2]));
        let files: Vec<PathBuf> = files()
            .into_iter()
            .filter(|f| says(f, |bytes| infos(bytes).any(|i| drives(i, [0x8086, 0x100e, 0, 0]))))
            .collect();
        assert_eq!(files, [file("net_e1000")]);
    }
}
