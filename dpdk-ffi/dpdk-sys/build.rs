//! Finds libdpdk, generates the bindings of `csrc/wrapper.h` and compiles `csrc/shim.c`.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

/// The oldest DPDK whose ABI (23) these bindings were written for.
const DPDK_MIN: &str = "22.11";

/// Libraries the names below live in. Buses, the poll-mode drivers and the mempool driver are plug-ins
/// in the `dpdk/pmds-*` folder that are loaded when they are needed, so none of them is linked.
const LIBRARIES: [&str; 6] =
    ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal", "rte_kvargs"];

const FUNCTIONS: &str = "shim_.*\
|rte_eal_(cleanup|hotplug_add|hotplug_remove|has_hugepages|get_runtime_dir|remote_launch|wait_lcore|get_lcore_state)\
|rte_(get_main_lcore|get_next_lcore|lcore_count|lcore_index|lcore_to_cpu_id|lcore_to_socket_id|socket_id|lcore_is_enabled)\
|rte_thread_(register|unregister)\
|rte_(strerror|version)\
|rte_extmem_(register|unregister)\
|rte_pktmbuf_pool_create|rte_pktmbuf_pool_create_extbuf\
|rte_mempool_(avail_count|in_use_count|lookup)\
|rte_ring_reset\
|rte_eth_dev_(configure|start|stop|close|info_get|set_mtu|get_mtu|get_port_by_name|get_name_by_port|is_valid_port|socket_id|default_mac_addr_set|rx_intr_ctl_q_get_fd|rx_intr_enable|rx_intr_disable|adjust_nb_rx_tx_desc|set_link_up|set_link_down|count_avail)\
|rte_eth_(rx_queue_setup|tx_queue_setup|stats_get|stats_reset|xstats_get|xstats_get_names|macaddr_get|promiscuous_enable|promiscuous_disable|allmulticast_enable|allmulticast_disable|link_get_nowait|find_next)\
|rte_log_(set_global_level|set_level_pattern)";

const TYPES: &str = "rte_mbuf|rte_mbuf_ext_shared_info|rte_pktmbuf_extmem|rte_mempool|rte_eth_dev_info|rte_eth_conf\
|rte_eth_rxconf|rte_eth_txconf|rte_eth_stats|rte_eth_xstat|rte_eth_xstat_name|rte_eth_link|rte_ether_addr";

const CONSTANTS: &str = "SHIM_.*|RTE_MAX_LCORE|RTE_MAX_ETHPORTS|RTE_PKTMBUF_HEADROOM\
|RTE_EAL_PMD_PATH|RTE_MEMPOOL_CACHE_MAX_SIZE|RTE_ETH_NAME_MAX_LEN|RTE_MEMPOOL_NAMESIZE";

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    let dpdk = probe();
    let flags = machine_flags();

    for path in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    let _ = cc::Build::new()
        .file("csrc/shim.c")
        .includes(&dpdk.include_paths)
        .flags(&flags)
        .warnings(true)
        .try_compile("iopkt_dpdk_shim")
        .map_err(|error| fail(&format!("csrc/shim.c does not compile: {error}")));
    for library in LIBRARIES {
        println!("cargo:rustc-link-lib=dylib={library}");
    }

    let includes = dpdk.include_paths.iter().map(|path| format!("-I{}", path.display()));
    let bindings = bindgen::Builder::default()
        .header("csrc/wrapper.h")
        .clang_args(includes.chain(flags))
        .allowlist_function(FUNCTIONS)
        .allowlist_type(TYPES)
        .allowlist_var(CONSTANTS)
        .opaque_type("rte_device|rte_memzone|rte_ring|rte_mempool_cache|rte_mempool_memhdr")
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true)
        .prepend_enum_name(false)
        .generate();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bindings.rs");
    match bindings {
        Ok(bindings) => {
            if let Err(error) = bindings.write_to_file(&out) {
                fail(&format!("cannot write {}: {error}", out.display()));
            }
        }
        Err(error) => fail(&format!(
            "bindgen failed: {error}\n  libclang is needed: apt-get install libclang-dev"
        )),
    }
}

/// libdpdk by pkg-config, without its link line: that one names all 50 libraries.
fn probe() -> pkg_config::Library {
    pkg_config::Config::new()
        .atleast_version(DPDK_MIN)
        .cargo_metadata(false)
        .probe("libdpdk")
        .unwrap_or_else(|error| {
            fail(&format!(
                "DPDK {DPDK_MIN} or newer was not found.\n  On Debian 12: apt-get install \
                 libdpdk-dev libclang-dev libhwloc-dev libudev-dev pkg-config\n  Elsewhere: set \
                 PKG_CONFIG_PATH to the folder of libdpdk.pc.\n\n{error}"
            ))
        })
}

/// `-march=…` as DPDK was built: its inline functions use the instructions it names. The
/// `pkg-config` crate drops such flags.
fn machine_flags() -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(program).args(["--cflags-only-other", "libdpdk"]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().filter(|flag| flag.starts_with("-m")).map(Into::into).collect()
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo:warning={line}");
    }
    eprintln!("error: {message}");
    exit(1)
}
