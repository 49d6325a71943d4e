/* io-pkt: what a per-packet driver (devn-NAME.so) and the daemon's shim say to each other.
 *
 * Generated from pmd-drivers/devn-abi/src/lib.rs; do not edit. How to port a driver:
 * pmd-drivers/README.md. A driver exports one variable:
 *
 *     const struct devn_driver devn_driver = { .magic = DEVN_MAGIC, ... };
 *
 * Counters and the state of the wire are structures of devnp.h.
 */

#ifndef IOPKT_DEVN_H
#define IOPKT_DEVN_H

#include <stddef.h>
#include <stdint.h>
#include "devnp.h"

// First word of every [`Driver`]: `devn` in memory on a little-endian machine.
#define DEVN_MAGIC 1853252964

// The version that this header describes.
#define DEVN_ABI_VERSION 1

// [`Driver::kind`]: a per-packet network driver.
#define DEVN_KIND_DRIVER 1

// [`Driver::flags`]: one interface at a time; a second `open` would not work.
#define DEVN_FLAG_SINGLE_INSTANCE 1

// [`Driver::flags`]: stays loaded when its last interface is gone.
#define DEVN_FLAG_STAY 2

// The longest frame, without its check sequence: 1500 bytes behind an Ethernet header with a VLAN
// tag.
#define DEVN_FRAME_MAX 1518

// [`Driver::devctl`]: `uint32_t`, 1: receive everything, 0: only what is for us.
#define DEVN_DEVCTL_PROMISCUOUS 12

// [`Driver::devctl`]: write counters to a `struct devnp_stats`. `size` is set; set a bit of `valid`
// for each place of `values` that counts. Frames and bytes are counted by the daemon.
#define DEVN_DEVCTL_STATS 22

// [`Driver::devctl`]: write the state of the wire to a `struct devnp_link`, which says up and full
// duplex before.
#define DEVN_DEVCTL_LINK 25

// [`Driver::devctl`]: `uint32_t`, the largest IP packet from now on.
#define DEVN_DEVCTL_MTU 100

// [`Driver::devctl`]: six bytes, the address from now on.
#define DEVN_DEVCTL_MAC 101

// [`Driver::devctl`]: `uint32_t`, 1: receive frames for all groups, 0: for none. A driver that does not
// know it receives all.
#define DEVN_DEVCTL_ALLMULTICAST 102

// [`Driver::devctl`]: commands of the driver's own have this number or a higher one (`iopkt ifconfig IF
// drvspec`).
#define DEVN_DEVCTL_OWN 256

// [`Host::log`]: an error.
#define DEVN_LOG_ERROR 0

// [`Host::log`]: something odd.
#define DEVN_LOG_WARNING 1

// [`Host::log`]: worth knowing.
#define DEVN_LOG_INFO 2

// [`Host::log`]: for whoever looks for a fault.
#define DEVN_LOG_DEBUG 3

// What the daemon does for a driver. The table lives as long as the process, and its functions may
// be called from any thread, but not from a signal handler. `handle` is what `open` got; once `close`
// has returned it means nothing, and calls with it do nothing.
struct devn_host {
    // [`ABI_VERSION`] of the daemon.
    uint32_t abi;
    // Bytes of this table.
    uint32_t size;
    // A frame has arrived: from the Ethernet header on, without its check sequence. It is copied.
    // Returns 0, or why it was dropped: -ENOBUFS (the queue is full), -EMSGSIZE (longer than
    // `DEVN_FRAME_MAX`), -EINVAL (shorter than a header), -ENETDOWN (the interface is not started),
    // -ENODEV (it is closed). The first three are counted.
    int32_t (*rx)(uint64_t handle, const void *frame, uint32_t len);
    // Writes a line of text to the daemon's log, with the interface's name before it.
    void (*log)(uint64_t handle, int32_t level, const char *text);
    // The link has changed: the daemon will ask.
    void (*link_changed)(uint64_t handle);
    // The device is gone (unplugged): the daemon closes the interface soon.
    void (*removed)(uint64_t handle);
};

// What the operator wants of an interface.
struct devn_config {
    // Bytes of this structure.
    uint32_t size;
    // `mtu=`; 0: not given.
    uint16_t mtu;
    // `mac=`; all 0: not given.
    uint8_t mac[6];
    // `promiscuous`.
    uint8_t promiscuous;
    // `nomulticast`.
    uint8_t nomulticast;
    // The driver's own options, `key=value,…`, as `getsubopt` takes them apart; valid during `open`.
    const char *options;
};

// What `open` has made. All zero before, but for `size`.
struct devn_info {
    // Bytes of this structure.
    uint32_t size;
    // Largest IP packet, at most 1500; 0: 1500.
    uint16_t mtu;
    // The address; all 0: the daemon chooses one.
    uint8_t mac[6];
    // The kernel's interface at the other end, or empty.
    char kernel_interface[16];
    // What the other functions get.
    void *device;
};

// The exported table. Functions return 0 or a negative errno, if nothing else is said.
struct devn_driver {
    // [`MAGIC`].
    uint32_t magic;
    // [`ABI_VERSION`].
    uint32_t abi;
    // Bytes of this table.
    uint32_t size;
    // [`KIND_DRIVER`].
    uint32_t kind;
    // `FLAG_…`.
    uint32_t flags;
    // Unused.
    uint32_t reserved;
    // The driver's name, base of its interfaces' names: up to 11 letters, digits, `-`, `_`, not
    // ending in a digit.
    const char *name;
    // The driver's own version, for listings.
    const char *version;
    // Its options as `iface=NAME speed=NUMBER fast`: any other is refused with this text.
    const char *options;
    // Makes an interface and begins to receive. `host` stays valid until the process ends, `config`
    // during the call. If it fails nothing may be left, threads above all.
    int32_t (*open)(const struct devn_host *host,
                    uint64_t handle,
                    const struct devn_config *config,
                    struct devn_info *info);
    // Takes the interface away and ends its threads. No other call is under way, none follows.
    void (*close)(void *device);
    // Sends one frame, from the Ethernet header on, or queues a copy. -EAGAIN: not now, it is offered
    // again. Any other error: the frame is lost, and counted. Must not wait.
    int32_t (*tx)(void *device, const void *frame, uint32_t len);
    // `DEVN_DEVCTL_…`, or a command of its own; -EOPNOTSUPP for what it does not know. `data` has `*len`
    // bytes, and room for `room`: an answer takes their place, and `*len` says how long it is. May be
    // null.
    int32_t (*devctl)(void *device, uint32_t command, void *data, uint32_t *len, uint32_t room);
};

#endif  /* IOPKT_DEVN_H */

/* What every driver exports. */
extern const struct devn_driver devn_driver;
