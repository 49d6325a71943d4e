/* io-pkt: what a driver module (devnp-NAME.so) and the daemon say to each other.
 *
 * Generated from pmd-drivers/devnp-abi/src/lib.rs; do not edit. How to write a driver:
 * pmd-drivers/README.md. A module exports one variable:
 *
 *     const struct devnp_module devnp_module = { .magic = DEVNP_MAGIC, ... };
 */

#ifndef IOPKT_DEVNP_H
#define IOPKT_DEVNP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// First word of every [`Module`]: `dvnp` in memory on a little-endian machine.
#define DEVNP_MAGIC 1886287460

// The version that this header describes.
#define DEVNP_ABI_VERSION 1

// [`Module::kind`]: a network driver.
#define DEVNP_KIND_DRIVER 1

// [`Module::threading`]: calls into queues come from one thread. Such a driver has one queue, the first
// worker's, which sends for the others and hands them what is theirs.
#define DEVNP_THREADING_SINGLE 1

// [`Module::threading`]: each queue has one thread; different queues are served at once.
#define DEVNP_THREADING_QUEUE 2

// [`Module::flags`]: one interface at a time; a second `open` would not work.
#define DEVNP_FLAG_SINGLE_INSTANCE 1

// [`Module::flags`]: stays loaded when its last interface is gone.
#define DEVNP_FLAG_STAY 2

// [`Module::flags`]: stands before another driver, which the operator names with `lower=`.
#define DEVNP_FLAG_NEEDS_LOWER 4

// [`Info::flags`]: `open` wants to be called again, with the next [`Config::port`], for another
// interface of the same options.
#define DEVNP_INFO_MORE 1

// [`Info::offloads`]: fills in IPv4 header checksums.
#define DEVNP_OFFLOAD_IPV4_CHECKSUM 1

// [`Info::offloads`]: fills in TCP checksums.
#define DEVNP_OFFLOAD_TCP_CHECKSUM 2

// [`Info::offloads`]: fills in UDP checksums.
#define DEVNP_OFFLOAD_UDP_CHECKSUM 4

// [`Info::offloads`]: sends packets of several pieces. Without it every packet is one piece.
#define DEVNP_OFFLOAD_MULTI_SEGMENT 8

// [`Info::offloads`]: cuts TCP segments, into as many packets as their text needs; needs
// [`OFFLOAD_TCP_CHECKSUM`] and [`OFFLOAD_MULTI_SEGMENT`], and [`Info::pieces_max`].
#define DEVNP_OFFLOAD_TCP_SEGMENTATION 16

// [`TxRequest::flags`]: fill in the IPv4 header's checksum.
#define DEVNP_TX_IPV4_CHECKSUM 1

// [`TxRequest::flags`]: fill in the TCP checksum; the field holds the pseudo-header's sum.
#define DEVNP_TX_TCP_CHECKSUM 2

// [`TxRequest::flags`]: fill in the UDP checksum; the field holds the pseudo-header's sum.
#define DEVNP_TX_UDP_CHECKSUM 4

// [`Api::set_rx`]: the IPv4 header's checksum is right.
#define DEVNP_RX_IPV4_GOOD 1

// [`Api::set_rx`]: the IPv4 header's checksum is wrong.
#define DEVNP_RX_IPV4_BAD 2

// [`Api::set_rx`]: the TCP or UDP checksum is right, or need not be.
#define DEVNP_RX_L4_GOOD 4

// [`Api::set_rx`]: the TCP or UDP checksum is wrong.
#define DEVNP_RX_L4_BAD 8

// Added to what `rx_burst` and `tx_burst` return: the driver has failed. The interface goes down,
// and no queue of it is called until the operator sets it up again (`stop`, `start`).
#define DEVNP_FAILED 32768

// [`Api::log`]: an error.
#define DEVNP_LOG_ERROR 0

// [`Api::log`]: something odd.
#define DEVNP_LOG_WARNING 1

// [`Api::log`]: worth knowing.
#define DEVNP_LOG_INFO 2

// [`Api::log`]: for whoever looks for a fault.
#define DEVNP_LOG_DEBUG 3

// Length of [`Stats::values`]: room for places to come.
#define DEVNP_STATS_MAX 64

// Places in [`Stats::values`].
enum devnp_stat {
    // Frames received.
    DEVNP_STAT_RX_PACKETS,
    // Bytes received.
    DEVNP_STAT_RX_BYTES,
    // Multicast frames received.
    DEVNP_STAT_RX_MULTICAST,
    // Broadcast frames received.
    DEVNP_STAT_RX_BROADCAST,
    // Frames lost for want of a buffer.
    DEVNP_STAT_RX_NO_BUFFER,
    // Frames lost because the ring was full.
    DEVNP_STAT_RX_MISSED,
    // Frames with a wrong frame check sequence.
    DEVNP_STAT_RX_FCS,
    // Frames that did not end on a byte.
    DEVNP_STAT_RX_ALIGNMENT,
    // Frames shorter than 64 bytes.
    DEVNP_STAT_RX_SHORT,
    // Frames longer than the largest.
    DEVNP_STAT_RX_OVERSIZED,
    // Frames whose length field disagrees.
    DEVNP_STAT_RX_LENGTH,
    // Symbol errors.
    DEVNP_STAT_RX_SYMBOL,
    // Other faults on receive.
    DEVNP_STAT_RX_INTERNAL,
    // Frames sent.
    DEVNP_STAT_TX_PACKETS,
    // Bytes sent.
    DEVNP_STAT_TX_BYTES,
    // Multicast frames sent.
    DEVNP_STAT_TX_MULTICAST,
    // Broadcast frames sent.
    DEVNP_STAT_TX_BROADCAST,
    // Frames not sent for want of a buffer.
    DEVNP_STAT_TX_NO_BUFFER,
    // Frames not sent: other faults.
    DEVNP_STAT_TX_INTERNAL,
    // Frames put off because the medium was busy.
    DEVNP_STAT_TX_DEFERRED,
    // Frames sent after one collision.
    DEVNP_STAT_TX_SINGLE_COLLISION,
    // Frames sent after several collisions.
    DEVNP_STAT_TX_MULTIPLE_COLLISIONS,
    // Collisions after the first 64 bytes.
    DEVNP_STAT_TX_LATE_COLLISION,
    // Frames given up after too many collisions.
    DEVNP_STAT_TX_EXCESSIVE_COLLISIONS,
    // Frames given up after too long a wait.
    DEVNP_STAT_TX_EXCESSIVE_DEFERRAL,
    // Carrier lost while sending.
    DEVNP_STAT_TX_NO_CARRIER,
    // Heartbeat (SQE) errors.
    DEVNP_STAT_TX_SQE,
    // Frames longer than the largest, with a wrong frame check sequence.
    DEVNP_STAT_RX_JABBER,
    // Frames with further bits after their end.
    DEVNP_STAT_RX_DRIBBLE,
    // Frames that met a collision.
    DEVNP_STAT_TX_COLLISIONS,
};

// The daemon's side of one interface. Opaque.
struct devnp_host {
    uint8_t opaque[0];
};

// A packet, or a chain of pieces that is one. Opaque.
struct devnp_mbuf {
    uint8_t opaque[0];
};

// One piece of a packet: `struct iovec`.
struct devnp_piece {
    // First byte.
    const void *data;
    // Bytes.
    size_t len;
};

// What a driver is to fill in before it sends a packet.
struct devnp_tx_request {
    // `TX_…`.
    uint32_t flags;
    // Bytes before the IP header.
    uint16_t l2_len;
    // Bytes of the IP header.
    uint16_t l3_len;
    // Bytes of the TCP or UDP header.
    uint16_t l4_len;
    // Bytes of text in each segment, if the packet is to be cut; 0: it is not. Then the TCP checksum
    // field holds the sum of a pseudo-header with length 0, and the IP header's is to be filled in too.
    uint16_t segment_len;
};

// What the daemon does for a driver. The table lives as long as the process; everything in it may
// be called from any thread.
struct devnp_api {
    // [`ABI_VERSION`] of the daemon.
    uint32_t abi;
    // Bytes of this table.
    uint32_t size;
    // Writes a line of text to the daemon's log, with the interface's name before it.
    void (*log)(const struct devnp_host *host, int32_t level, const char *text);
    // Copies the value of an option to `to` as a C string and returns its length; 0 for an option
    // without value, -1 if it was not given, -2 if there is no room.
    ptrdiff_t (*option)(const struct devnp_host *host, const char *key, char *to, size_t len);
    // `count` empty packets with 128 bytes of headroom: 0, or -ENOMEM and none.
    int32_t (*alloc)(const struct devnp_host *host, struct devnp_mbuf **packets, uint16_t count);
    // Frees packets.
    void (*free)(struct devnp_mbuf **packets, uint16_t count);
    // First byte of the packet's first piece.
    uint8_t *(*data)(struct devnp_mbuf *packet);
    // Bytes of the whole packet.
    uint32_t (*len)(const struct devnp_mbuf *packet);
    // Bytes that a packet of one piece has room for, from [`data`](Self::data) on.
    uint32_t (*room)(const struct devnp_mbuf *packet);
    // Makes a packet of one piece this long: 0, or -EINVAL.
    int32_t (*set_len)(struct devnp_mbuf *packet, uint32_t len);
    // Copies `len` bytes from `offset` of the packet: 0, or -EINVAL if it is shorter.
    int32_t (*copy)(const struct devnp_mbuf *packet, uint32_t offset, uint32_t len, void *to);
    // The packet's pieces, for `writev`: their number, or 0 if there are more than `max`. Bytes may
    // be a client's that changes them meanwhile: send them, do not judge them.
    uint16_t (*pieces)(const struct devnp_mbuf *packet, struct devnp_piece *pieces, uint16_t max);
    // What is to be filled in before the packet is sent.
    void (*tx_request)(const struct devnp_mbuf *packet, struct devnp_tx_request *request);
    // What is known of a received packet's checksums: `RX_…`.
    void (*set_rx)(struct devnp_mbuf *packet, uint32_t flags);
    // The link has changed: the daemon will ask.
    void (*link_changed)(const struct devnp_host *host);
    // The device is gone (unplugged): the daemon stops and closes the interface soon.
    void (*removed)(const struct devnp_host *host);
};

// The device below a driver with [`FLAG_NEEDS_LOWER`]. Lives until `close`.
struct devnp_lower {
    // Bytes of this structure.
    uint32_t size;
    // Pairs of queues: as many as the driver is asked for.
    uint16_t queues;
    // Its largest IP packet.
    uint16_t mtu;
    // Its address.
    uint8_t mac[6];
    // 1: there is a carrier.
    uint8_t up;
    // Unused.
    uint8_t reserved;
    // Takes received packets; only from the `rx_burst` of the same queue.
    uint16_t (*rx_burst)(const struct devnp_lower *lower,
                         uint16_t queue,
                         struct devnp_mbuf **packets,
                         uint16_t count);
    // Sends packets and says how many were taken, from the front; only from the `rx_burst` or
    // `tx_burst` of the same queue.
    uint16_t (*tx_burst)(const struct devnp_lower *lower,
                         uint16_t queue,
                         struct devnp_mbuf **packets,
                         uint16_t count);
    // A descriptor that is readable while packets wait, or -1.
    int32_t (*rx_fd)(const struct devnp_lower *lower, uint16_t queue);
};

// What the operator and the daemon want of an interface.
struct devnp_config {
    // Bytes of this structure.
    uint32_t size;
    // 0 for the first interface of these options, then 1, … while [`INFO_MORE`] is set.
    uint32_t port;
    // Pairs of queues: one per worker, or one with [`THREADING_SINGLE`].
    uint16_t queues;
    // `mtu=`; 0: not given.
    uint16_t mtu;
    // `mac=`; all 0: not given.
    uint8_t mac[6];
    // `promiscuous`.
    uint8_t promiscuous;
    // `nomulticast`.
    uint8_t nomulticast;
    // The driver's own options, `key=value,…`; [`Api::option`] takes them apart.
    const char *options;
    // The device below, or null.
    const struct devnp_lower *lower;
};

// What `open` has made.
struct devnp_info {
    // Bytes of this structure.
    uint32_t size;
    // `OFFLOAD_…`.
    uint32_t offloads;
    // `INFO_…`.
    uint32_t flags;
    // Pairs of queues; at least as many as the daemon asked for, or the interface is refused.
    uint16_t queues;
    // Largest IP packet now.
    uint16_t mtu;
    // Largest IP packet ever.
    uint16_t mtu_max;
    // The address; all 0: the daemon chooses one.
    uint8_t mac[6];
    // The kernel's interface at the other end, or empty.
    char kernel_interface[16];
    // What the other functions get.
    void *device;
    // With [`OFFLOAD_TCP_SEGMENTATION`]: most pieces of a packet that is to be cut.
    uint16_t pieces_max;
    // Unused.
    uint8_t reserved[6];
};

// The state of the wire.
struct devnp_link {
    // Bytes of this structure.
    uint32_t size;
    // Megabits a second; 0: unknown.
    uint32_t speed_mbps;
    // 1: there is a carrier.
    uint8_t up;
    // 1: both ways at once.
    uint8_t full_duplex;
    // 1: speed and duplex were negotiated.
    uint8_t autonegotiated;
    // Unused.
    uint8_t reserved;
};

// Counters of an interface since it was opened.
struct devnp_stats {
    // Bytes of this structure.
    uint32_t size;
    // Unused.
    uint32_t reserved;
    // Bit `n` says that `values[n]` counts.
    uint64_t valid;
    // By [`Stat`].
    uint64_t values[DEVNP_STATS_MAX];
};

// The exported table. Functions may be null where it says so. All return 0 or a negative errno, if
// nothing else is said.
struct devnp_module {
    // [`MAGIC`].
    uint32_t magic;
    // [`ABI_VERSION`].
    uint32_t abi;
    // Bytes of this table.
    uint32_t size;
    // [`KIND_DRIVER`].
    uint32_t kind;
    // `THREADING_…`.
    uint32_t threading;
    // `FLAG_…`.
    uint32_t flags;
    // The driver's name, base of its interfaces' names: up to 11 letters, digits, `-`, `_`, not
    // ending in a digit.
    const char *name;
    // The driver's own version, for listings.
    const char *version;
    // Its options as `loss=PERCENT seed=NUMBER fast`: any other is refused with this text.
    const char *options;
    // Makes an interface. `api` stays valid until the process ends, `host` until `close` returns,
    // `config` during the call.
    int32_t (*open)(const struct devnp_api *api,
                    const struct devnp_host *host,
                    const struct devnp_config *config,
                    struct devnp_info *info);
    // Takes the interface away. No call is under way, none follows.
    void (*close)(void *device);
    // Begins to receive and send; also after a failure.
    int32_t (*start)(void *device);
    // No longer receives or sends.
    void (*stop)(void *device);
    // Writes up to `count` received packets and says how many.
    uint16_t (*rx_burst)(void *device, uint16_t queue, struct devnp_mbuf **packets, uint16_t count);
    // Takes packets from the front and says how many. The others are offered again.
    uint16_t (*tx_burst)(void *device, uint16_t queue, struct devnp_mbuf **packets, uint16_t count);
    // A descriptor that is readable while packets wait, or -1: the worker then looks every
    // millisecond. The driver keeps it open until `close`. May be null.
    int32_t (*rx_fd)(void *device, uint16_t queue);
    // The state of the wire. Null: always up.
    int32_t (*link)(void *device, struct devnp_link *link);
    // Counters beyond those that the daemon keeps. May be null.
    int32_t (*stats)(void *device, struct devnp_stats *stats);
    // Changes the address, 6 bytes. Null: the driver lets every frame through, and only the daemon's
    // side changes.
    int32_t (*set_mac)(void *device, const uint8_t *mac);
    // Changes the largest IP packet. Null: it can't.
    int32_t (*set_mtu)(void *device, uint16_t mtu);
    // Receives frames for everybody, or not. Null: it can't.
    int32_t (*set_promiscuous)(void *device, uint8_t on);
    // Receives frames for all groups, or for none. Null: all arrive, always.
    int32_t (*set_allmulticast)(void *device, uint8_t on);
    // A command of the driver's own (`SIOCSDRVSPEC`, `iopkt ifconfig IF drvspec`): takes `*len` bytes at
    // `data` and leaves `*len` bytes of answer there, at most `room`. Null: it has none.
    int32_t (*ioctl)(void *device, uint32_t command, void *data, uint32_t *len, uint32_t room);
    // The process crashes: stop DMA. Runs in a signal handler, on whichever thread has the fault, while
    // others may be in this driver: no locks, no memory, only stores and raw system calls. May be
    // null.
    void (*panic_stop)(void *device);
};

#endif  /* IOPKT_DEVNP_H */

/* What every module exports. */
extern const struct devnp_module devnp_module;
