/* io-pkt: what a protocol module (lsm-NAME.so) and the daemon say to each other.
 *
 * Generated from stack/lsm-abi; do not edit. How to write a protocol: stack/README.md.
 * A module exports one variable:
 *
 *     const struct lsm_module lsm_module = { .magic = LSM_MAGIC, ... };
 */

#ifndef IOPKT_LSM_H
#define IOPKT_LSM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "iopkt/devnp.h"

// First word of every [`Module`]: `lsm1` in memory on a little-endian machine.
#define LSM_MAGIC 829256556

// The version that this header describes.
#define LSM_ABI_VERSION 1

// [`Module::kind`]: a protocol.
#define LSM_KIND_PROTOCOL 2

// [`Module::threading`]: all workers' calls come from one thread, the first worker's; the others hand
// packets over to it. With several workers such a module can't have taps and filters.
#define LSM_THREADING_SINGLE 1

// [`Module::threading`]: each worker calls for itself, several at once.
#define LSM_THREADING_WORKERS 2

// [`Module::flags`]: may be loaded more than once at a time. Without it a second load is refused
// with `EALREADY`.
#define LSM_FLAG_SEVERAL 1

// [`Module::flags`]: its code stays in the process when it is unloaded.
#define LSM_FLAG_STAY 2

// [`Attach::to`]: frames of the EtherType [`Attach::value`], from 0x0600 on, that are for this station
// or for a group. IPv4, ARP and IPv6 are the stack's.
#define LSM_TO_ETHERTYPE 1

// [`Attach::to`]: IPv4 packets of the protocol [`Attach::value`] that are for this host, from the IP
// header on, checked and without padding. ICMP, TCP and UDP are the stack's.
#define LSM_TO_PROTOCOL 2

// [`Attach::to`]: a look at all frames, [`IN`] and [`OUT`] as [`Attach::value`] says.
#define LSM_TO_TAP 3

// [`Attach::to`]: a filter of IPv4 packets, from the IP header on. On the way [`IN`] they are for this
// station and well formed, and not yet known to be for this host. On the way [`OUT`] sums may be left
// to the port, and text may be a client's, who can change it: judge headers.
#define LSM_TO_FILTER_INET 4

// [`Attach::to`]: a filter of frames at the interfaces, from the Ethernet header on.
#define LSM_TO_FILTER_INTERFACE 5

// [`Attach::to`]: a filter of IPv6 packets, from the IP header on, as [`TO_FILTER_INET`] is of IPv4's; extension
// headers are not yet looked at on the way [`IN`].
#define LSM_TO_FILTER_INET6 7

// [`Attach::to`]: sockets of type `SOCK_DGRAM` of the address family [`Attach::value`] / 65536 with the
// protocol [`Attach::value`] % 65536. `AF_UNSPEC` and `AF_UNIX` can't be had; of `AF_INET` and `AF_INET6`
// protocol 0 and ICMP's, TCP's and UDP's are the stack's.
#define LSM_TO_SOCKETS 6

// [`Attach::to`]: sockets of type `SOCK_STREAM`, of families and protocols as with [`TO_SOCKETS`].
#define LSM_TO_STREAMS 8

// [`Attach::value`], [`Arrival::direction`]: packets that come.
#define LSM_IN 1

// [`Attach::value`], [`Arrival::direction`]: packets that go.
#define LSM_OUT 2

// A filter's verdict: it may pass, changed or not.
#define LSM_PASS 0

// A filter's verdict: the daemon drops and counts it.
#define LSM_DROP 1

// A filter's verdict: the packet is the module's now.
#define LSM_CONSUMED 2

// What a call of a worker returns if the module has failed: it is called no more, except to close.
#define LSM_FAILED -1

// [`Api::log`]: an error.
#define LSM_LOG_ERROR 0

// [`Api::log`]: something odd.
#define LSM_LOG_WARNING 1

// [`Api::log`]: worth knowing.
#define LSM_LOG_INFO 2

// [`Api::log`]: for whoever looks for a fault.
#define LSM_LOG_DEBUG 3

// [`Interface::flags`]: the operator has set it up.
#define LSM_INTERFACE_UP 1

// [`Interface::flags`]: there is a carrier.
#define LSM_INTERFACE_RUNNING 2

// [`Interface::flags`]: packets to ourselves.
#define LSM_INTERFACE_LOOPBACK 4

// [`Event::kind`]: an interface has come.
#define LSM_EVENT_ATTACHED 1

// [`Event::kind`]: an interface is gone.
#define LSM_EVENT_DETACHED 2

// [`Event::kind`]: an interface was set up or down, its MTU, address or carrier is another.
#define LSM_EVENT_CHANGED 3

// [`Event::kind`]: an interface has got the address [`Event::address`].
#define LSM_EVENT_ADDRESS_ADDED 4

// [`Event::kind`]: an interface has lost the address [`Event::address`].
#define LSM_EVENT_ADDRESS_REMOVED 5

// [`Event::kind`]: an interface has got the IPv6 address [`Event6::address`], which may be used now.
#define LSM_EVENT_ADDRESS6_ADDED 6

// [`Event::kind`]: an interface has lost the IPv6 address [`Event6::address`].
#define LSM_EVENT_ADDRESS6_REMOVED 7

// [`Variable::flags`]: the operator may set it. Without it only the module does, as with a counter.
#define LSM_VARIABLE_WRITABLE 1

// Most bytes that one read or write of a path moves, and that go in or out with one ioctl.
#define LSM_PATH_BYTES_MAX 61440

// What `path_read` and `path_ioctl` return if [`Api::path_answer`] will say it later.
#define LSM_PATH_LATER -4096

// The daemon's side of one loaded module. Opaque.
struct lsm_host {
    uint8_t opaque[0];
};

// What a module wants of the stack.
struct lsm_attach {
    // Bytes of this structure.
    uint32_t size;
    // `TO_…`.
    uint32_t to;
    // As `to` says.
    uint32_t value;
    // Filters and taps: the lower one is nearer to the wire, so it is asked first of what comes and
    // last of what goes. Equal ones stand in the order in which they were loaded.
    int32_t order;
    // [`TO_FILTER_INTERFACE`] and [`TO_TAP`]: the one interface, by its name; null: all.
    const char *interface;
};

// An interface as it was a moment ago.
struct lsm_interface {
    // Bytes of this structure.
    uint32_t size;
    // `INTERFACE_…`.
    uint32_t flags;
    // Its number, as in [`Arrival::interface`].
    uint32_t index;
    // Largest IP packet.
    uint32_t mtu;
    // Its MAC address.
    uint8_t mac[6];
    // Prefix length of `address`.
    uint8_t prefix_len;
    // Unused.
    uint8_t reserved;
    // Its first IPv4 address, most significant byte first; all 0: it has none.
    uint8_t address[4];
    // Its name.
    char name[16];
};

// A worker, during one call. Opaque.
struct lsm_context {
    uint8_t opaque[0];
};

// Where packets go.
struct lsm_destination {
    // Bytes of this structure.
    uint32_t size;
    // IPv4 address, most significant byte first.
    uint8_t to[4];
    // Address to send from; all 0: the one that the route suggests.
    uint8_t from[4];
    // Protocol number.
    uint8_t protocol;
    // Type of service.
    uint8_t tos;
    // Time to live; 0: the stack's.
    uint8_t ttl;
    // Unused.
    uint8_t reserved;
};

// A number that operator and module share: `iopkt sysctl NAME.VARIABLE`.
struct lsm_variable {
    // Bytes of this structure.
    uint32_t size;
    // `VARIABLE_…`.
    uint32_t flags;
    // Its name after the module's: letters, digits, `_`, and `.` between.
    const char *name;
    // What it means, in a sentence.
    const char *text;
    // The least that the operator may set.
    int64_t min;
    // The most.
    int64_t max;
    // Its first value.
    int64_t value;
};

// A socket's address. A program has it as `struct sockaddr_in` in `AF_INET`, and in every other family in
// the layout of `struct sockaddr_in6`, under the family's number: what the bytes mean is the module's
// business. Names that programs pass are as hostile as the rest of what they say.
struct lsm_name {
    // Bytes of this structure.
    uint32_t size;
    // The address family.
    uint16_t family;
    // Port, in the machine's byte order.
    uint16_t port;
    // `sin6_scope_id`: an interface, as a rule.
    uint32_t scope;
    // The address, from the front; `AF_INET` has 4 bytes.
    uint8_t address[16];
};

// What the daemon does for a module. The table lives as long as the process. What takes a
// [`Context`] may be called only during the call that was given it, everything else from any thread.
struct lsm_api {
    // [`ABI_VERSION`] of the daemon.
    uint32_t abi;
    // Bytes of this table.
    uint32_t size;
    // What can be done with a packet: the functions of this table that take no `devnp_host`.
    const struct devnp_api *packet;
    // Writes a line of text to the daemon's log, with the module's name before it.
    void (*log)(const struct lsm_host *host, int32_t level, const char *text);
    // Copies the value of an option to `to` as a C string and returns its length; 0 for an option
    // without value, -1 if it was not given, -2 if there is no room.
    ptrdiff_t (*option)(const struct lsm_host *host, const char *key, char *to, size_t len);
    // `count` empty packets with 128 bytes of headroom: 0, or -ENOMEM and none.
    int32_t (*alloc)(const struct lsm_host *host, struct devnp_mbuf **packets, uint16_t count);
    // Only in `open`: the number of an attachment, or -EINVAL, -ENOSPC. Whether somebody else has
    // it already turns out when `open` has returned: then the module is closed again.
    int32_t (*attach)(const struct lsm_host *host, const struct lsm_attach *what);
    // How many workers call the module, numbered from 0: 1 with [`THREADING_SINGLE`].
    uint32_t (*workers)(const struct lsm_host *host);
    // Writes up to `max` interfaces and says how many there are.
    uint32_t (*interfaces)(const struct lsm_host *host, struct lsm_interface *to, uint32_t max);
    // Has `worker` call [`Module::call`] soon: 0, or -EAGAIN when too many such calls wait, -EINVAL.
    int32_t (*call_in_worker)(const struct lsm_host *host, uint32_t worker, void *argument);
    // Has the module's own thread call [`Module::work`] soon, which may block: 0, or -EAGAIN when too
    // much work waits.
    int32_t (*defer)(const struct lsm_host *host, void *argument);
    // The worker's number.
    uint32_t (*worker)(const struct lsm_context *context);
    // Nanoseconds of `CLOCK_MONOTONIC` when the worker last looked.
    uint64_t (*now)(const struct lsm_context *context);
    // Sends frames, Ethernet header and all, by an interface, and says how many were taken, from the
    // front; the others are still the caller's. A frame that can't be sent is dropped and counted.
    uint16_t (*send_frames)(struct lsm_context *context,
                            uint32_t interface,
                            struct devnp_mbuf **packets,
                            uint16_t count);
    // Sends packets without IP header by the route, and says how many were taken, as above.
    uint16_t (*send_packets)(struct lsm_context *context,
                             const struct lsm_destination *to,
                             struct devnp_mbuf **packets,
                             uint16_t count);
    // Has this worker call [`Module::timer`] at that time of `CLOCK_MONOTONIC` or a little later; 0:
    // not. There is one timer for each worker, and this sets it anew.
    void (*set_timer)(struct lsm_context *context, uint64_t at);
    // The module has failed, on a thread of its own: it is called no more, except to close.
    void (*failed)(const struct lsm_host *host);
    // Only in `open`: the number of a variable, or -EINVAL, -EEXIST, -ENOSPC.
    int32_t (*variable)(const struct lsm_host *host, const struct lsm_variable *what);
    // A variable's value; 0 for a number that none has.
    int64_t (*value)(const struct lsm_host *host, uint32_t variable);
    // Sets a variable.
    void (*set_value)(const struct lsm_host *host, uint32_t variable, int64_t value);
    // Adds to a variable: a counter. All workers share it: once per burst is better than once per
    // packet.
    void (*add_value)(const struct lsm_host *host, uint32_t variable, int64_t more);
    // Only in `open`: makes `<run><prefix>/dev/NAME` with these permissions (0600, 0660, 0666) and
    // returns its number, or -EINVAL, -ENOSPC, -EADDRINUSE or the kernel's error. Who connects there
    // is served by `path_open` and so on, on a thread of the module's paths.
    int32_t (*path)(const struct lsm_host *host, const char *name, uint32_t mode);
    // Answers a request that has returned [`PATH_LATER`], from any thread: with `len` bytes, or with a
    // negative errno in `result` (0 otherwise). The handle names the request: it has to be this client's
    // alone, and has one request at a time. An answer for a client that is gone is dropped.
    void (*path_answer)(const struct lsm_host *host,
                        uint64_t handle,
                        int32_t result,
                        const void *data,
                        size_t len);
    // Gives packets to a socket of the module's, a datagram each, all from one sender; says how many were
    // taken, from the front: the others are still the caller's. Those for a socket that is gone, or whose
    // reader is too slow, are dropped and counted.
    //
    // A stream gets text so, from nobody in particular, in no more bytes than [`Module::socket_room`] has
    // said. Streams are all the first worker's: others take nothing for them, here and in what follows, which
    // answers 0, or -EINVAL there. [`Api::call_in_worker`] leads to it.
    uint16_t (*deliver)(struct lsm_context *context,
                        uint64_t socket,
                        const struct lsm_name *from,
                        struct devnp_mbuf **packets,
                        uint16_t count);
    // Somebody called `from` connects to a stream that listens. [`Module::socket_arrived`] says what has come
    // of it, and names the attempt by `tag`.
    int32_t (*arrive)(struct lsm_context *context,
                      uint64_t listener,
                      const struct lsm_name *from,
                      uint64_t tag);
    // A stream's `connect()` has led to its peer. The stream is called `name` from now on, unless that is null.
    int32_t (*connected)(struct lsm_context *context, uint64_t socket, const struct lsm_name *name);
    // So many bytes more of what a program sends are wanted: [`Module::socket_send`] gets no others.
    int32_t (*want)(struct lsm_context *context, uint64_t socket, uint32_t bytes);
    // With 0: nothing follows what was delivered. With an errno: the stream has ended in both directions, or its
    // `connect()` has failed; nothing more is said of it but that it is closed.
    int32_t (*finish)(struct lsm_context *context, uint64_t socket, int32_t error);
};

// What the packets of a call have in common.
struct lsm_arrival {
    // Bytes of this structure.
    uint32_t size;
    // What [`Api::attach`] returned.
    uint32_t attachment;
    // [`IN`] or [`OUT`].
    uint32_t direction;
    // The interface they came by or are to leave by.
    uint32_t interface;
};

// Something has changed.
struct lsm_event {
    // Bytes of this structure.
    uint32_t size;
    // `EVENT_…`.
    uint32_t kind;
    // The interface as it is now, or as it was before it went.
    struct lsm_interface interface;
    // The address that came or went.
    uint8_t address[4];
    // Its prefix length.
    uint8_t prefix_len;
    // Unused.
    uint8_t reserved[3];
};

// Who has opened a path, as the kernel knows it.
struct lsm_peer {
    // Bytes of this structure.
    uint32_t size;
    // What [`Api::path`] returned.
    uint32_t path;
    // Process id.
    uint32_t pid;
    // User id.
    uint32_t uid;
    // Group id.
    uint32_t gid;
    // Unused.
    uint32_t reserved;
};

// A socket that a program opens.
struct lsm_opening {
    // Bytes of this structure.
    uint32_t size;
    // What [`Api::attach`] returned.
    uint32_t attachment;
    // Names it in all calls, and no other socket ever.
    uint64_t socket;
    // Process id of the program, as the kernel knows it.
    uint32_t pid;
    // Its user id.
    uint32_t uid;
};

// The exported table. Functions may be null where it says so. `instance` is what `open` made.
struct lsm_module {
    // [`MAGIC`].
    uint32_t magic;
    // [`ABI_VERSION`].
    uint32_t abi;
    // Bytes of this table.
    uint32_t size;
    // [`KIND_PROTOCOL`].
    uint32_t kind;
    // `THREADING_…`.
    uint32_t threading;
    // `FLAG_…`.
    uint32_t flags;
    // The protocol's name: up to 15 letters, digits, `-`, `_`.
    const char *name;
    // The module's own version, for listings.
    const char *version;
    // Its options as `bind=INTERFACE rate=NUMBER fast`: any other is refused with this text.
    const char *options;
    // Begins. `api` stays valid until the process ends, `host` until `close` returns. 0, or a negative
    // errno: then `close` is not called.
    int32_t (*open)(const struct lsm_api *api, const struct lsm_host *host, void **instance);
    // Ends. No call is under way, none follows.
    void (*close)(void *instance);
    // Packets of an EtherType or a protocol: the module's now. 0, or [`FAILED`]. May be null if it
    // attaches to none.
    int32_t (*receive)(void *instance,
                       struct lsm_context *context,
                       const struct lsm_arrival *arrival,
                       struct devnp_mbuf **packets,
                       uint16_t count);
    // A look at frames, which stay the daemon's and are not to be changed. 0, or [`FAILED`]. May be
    // null if it attaches to none.
    int32_t (*tap)(void *instance,
                   struct lsm_context *context,
                   const struct lsm_arrival *arrival,
                   const struct devnp_mbuf *const *packets,
                   uint16_t count);
    // Writes a verdict for each packet; they are all [`PASS`] before. Bytes may be changed in place.
    // 0, or [`FAILED`]: then the verdicts written so far hold. May be null if it attaches to none.
    int32_t (*filter)(void *instance,
                      struct lsm_context *context,
                      const struct lsm_arrival *arrival,
                      struct devnp_mbuf *const *packets,
                      uint8_t *verdicts,
                      uint16_t count);
    // The worker's timer. 0, or [`FAILED`]. May be null.
    int32_t (*timer)(void *instance, struct lsm_context *context);
    // What [`Api::call_in_worker`] asked for. 0, or [`FAILED`]. With a null context: the module is
    // about to be closed, the argument is to be freed. May be null.
    int32_t (*call)(void *instance, struct lsm_context *context, void *argument);
    // What [`Api::defer`] asked for, on the module's thread. `last` is 1 if the module is about to be
    // closed and the argument is only to be freed. 0, or [`FAILED`]. May be null.
    int32_t (*work)(void *instance, void *argument, int32_t last);
    // Something has changed, on the module's thread. 0, or [`FAILED`]. May be null.
    int32_t (*event)(void *instance, const struct lsm_event *event);
    // Somebody opens a path: 0, or a negative errno. What is written to `handle` names it in the
    // other calls. One thread serves all paths of a module, request by request; whoever blocks in it
    // makes the module's other users wait, and nobody else. May be null: nobody may.
    int32_t (*path_open)(void *instance, const struct lsm_peer *peer, uint64_t *handle);
    // Reads: how many of at most `len` bytes from `offset` on were written to `to`, 0 at the end, a
    // negative errno, or [`PATH_LATER`]. May be null.
    ptrdiff_t (*path_read)(void *instance, uint64_t handle, uint64_t offset, void *to, size_t len);
    // Writes: how many bytes were taken, or a negative errno. May be null.
    ptrdiff_t (*path_write)(void *instance,
                            uint64_t handle,
                            uint64_t offset,
                            const void *data,
                            size_t len);
    // Anything else, by number, with `len` bytes from the asker: how many of at most `room` bytes were
    // written to `to`, a negative errno, or [`PATH_LATER`]. May be null.
    ptrdiff_t (*path_ioctl)(void *instance,
                            uint64_t handle,
                            uint32_t request,
                            const void *data,
                            size_t len,
                            void *to,
                            size_t room);
    // Whoever had it open is gone. May be null.
    void (*path_close)(void *instance, uint64_t handle);
    // A program opens a socket of [`TO_SOCKETS`]: 0, or a negative errno for the program. This and what
    // follows are calls of the worker that has the socket, always the same one. When the module goes, or
    // has failed, its sockets answer `ENETDOWN`, and nothing more is said about them.
    int32_t (*socket_open)(void *instance,
                           struct lsm_context *context,
                           const struct lsm_opening *what);
    // `bind()`: 0, or a negative errno. What the module makes of `name` is the socket's name (a port that
    // was left open, for example). A program that sends first is bound to a name of zeros. May be null: no
    // socket has a name, and sending needs none.
    int32_t (*socket_bind)(void *instance,
                           struct lsm_context *context,
                           uint64_t socket,
                           struct lsm_name *name);
    // `connect()`: 0, or a negative errno. With null the socket gives up its peer. A stream's attempt is under
    // way then, until [`Api::connected`] or [`Api::finish`]. May be null: none can have one.
    int32_t (*socket_connect)(void *instance,
                              struct lsm_context *context,
                              uint64_t socket,
                              const struct lsm_name *peer);
    // A program sends a datagram: the packet is the module's now. 0, or a negative errno, which the program
    // gets with its next call. `to` is null if the program has named nobody: then the socket has a peer.
    // What a stream's program sends comes so, too, without borders and no more than [`Api::want`] has said; with an
    // errno the stream has ended.
    int32_t (*socket_send)(void *instance,
                           struct lsm_context *context,
                           uint64_t socket,
                           const struct lsm_name *to,
                           struct devnp_mbuf *packet);
    // The last copy of the socket's descriptor is closed. A stream's text that waits to be wanted goes first, and
    // its end; without that end it is reset: text that it has got was not read, or its client has more of it than
    // can be kept. May be null.
    void (*socket_close)(void *instance, struct lsm_context *context, uint64_t socket);
    // `setsockopt()` of a level other than SOL_SOCKET, IP, IPV6, TCP, UDP: 0, or a negative errno. May be null.
    int32_t (*socket_set_option)(void *instance,
                                 struct lsm_context *context,
                                 uint64_t socket,
                                 int32_t level,
                                 int32_t name,
                                 const void *value,
                                 size_t len);
    // `getsockopt()` of such a level: how many of `room` bytes were written, or a negative errno. May be null.
    ptrdiff_t (*socket_option)(void *instance,
                               struct lsm_context *context,
                               uint64_t socket,
                               int32_t level,
                               int32_t name,
                               void *to,
                               size_t room);
    // `listen()`: 0, or a negative errno. `backlog` and one more may wait to be accepted. May be null: none listens.
    int32_t (*socket_listen)(void *instance,
                             struct lsm_context *context,
                             uint64_t socket,
                             uint32_t backlog);
    // What has come of [`Api::arrive`]: the stream's name in all calls, or 0 and an errno: `ECONNREFUSED`, it does
    // not listen; `EAGAIN`, too many wait; `ENOBUFS`, `ENFILE`. May be null.
    void (*socket_arrived)(void *instance,
                           struct lsm_context *context,
                           uint64_t tag,
                           uint64_t socket,
                           int32_t error);
    // There is room for so many bytes more of what a program has to read: when the stream has its peer, and when
    // some have been read. May be null: nothing is ever delivered.
    void (*socket_room)(void *instance, struct lsm_context *context, uint64_t socket, uint32_t bytes);
    // The program sends nothing more: `shutdown()`, or it has closed the stream. All it has sent was passed. A
    // stream that listened does so no longer. May be null.
    void (*socket_end)(void *instance, struct lsm_context *context, uint64_t socket);
    // `ioctl()` of a number that is not the stack's, on a socket of either type, with the `len` bytes that the
    // number says go in (`_IOW`, `_IOWR`), at most 1024: how many of at most `room` bytes that it says come back
    // (`_IOR`, `_IOWR`) were written, or a negative errno. May be null.
    ptrdiff_t (*socket_ioctl)(void *instance,
                              struct lsm_context *context,
                              uint64_t socket,
                              uint32_t request,
                              const void *data,
                              size_t len,
                              void *to,
                              size_t room);
};

// What an event of the kinds [`EVENT_ADDRESS6_ADDED`] and [`EVENT_ADDRESS6_REMOVED`] is the beginning of.
struct lsm_event6 {
    // The event; its size is this structure's.
    struct lsm_event event;
    // The address that came or went.
    uint8_t address[16];
};

#endif  /* IOPKT_LSM_H */

/* What every module exports. */
extern const struct lsm_module lsm_module;
