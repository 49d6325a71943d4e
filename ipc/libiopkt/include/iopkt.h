/*
 * iopkt.h: BSD sockets on an io-pkt stack.
 *
 * Each function has the signature, the results and the errno values of the call of its name without
 * `iopkt_`. Link with -liopkt (pkg-config iopkt).
 *
 *     int s = iopkt_socket(AF_INET, SOCK_STREAM, 0);
 *     iopkt_connect(s, (struct sockaddr *)&peer, sizeof peer);
 *     iopkt_write(s, "hello", 5);
 *     iopkt_close(s);
 *
 * Descriptors are real. A socket's number is a descriptor of the kernel's whose readiness always equals
 * the socket's: hand it to select, poll or epoll together with any others, and make it nonblocking as
 * usual. Reading, writing, closing and copying it must go through this library. The other way round,
 * these functions take any descriptor: what is not a stack's socket is passed to the kernel.
 *
 * Loopback. 127.0.0.0/8 and ::1 are left to the kernel, where the machine's own services are: a socket that is
 * bound to it, connected to it, or sends its first datagram there becomes a kernel's socket under
 * the same number (under all its copies' numbers, if it has been duplicated). Register it with epoll
 * after that. It stays on the stack if the daemon claims loopback, or with IOPKT_LOOPBACK=stack.
 *
 * fork and exec. A child has its parent's sockets; a socket closes with its last copy. New sockets of a
 * child are its own. A program that was given a descriptor, by exec or over a unix socket, makes it a
 * socket again with iopkt_adopt.
 *
 * Threads. All functions may be called from any thread at any time, except iopkt_setprefix.
 *
 * Environment. SOCK: prefix of the stack (see iopkt_setprefix); /net/NODE: the stack of another node, by way of a running
 * "iopkt qnet sockets". IOPKT_RUN: directory of all stacks,
 * /run/io-pkt if not set. AUTOCONNECT=1: a connect or a datagram without a way (EHOSTUNREACH, ENETUNREACH) has
 * /etc/autoconnect run, or $IOPKT_AUTOCONNECT, and is tried once more if that exits with 0.
 */
#ifndef IOPKT_H
#define IOPKT_H

#include <ifaddrs.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A new socket: AF_INET or AF_INET6 with SOCK_STREAM (TCP), SOCK_DGRAM (UDP; ICMP's echoes with its protocol) or SOCK_RAW (any protocol;
 * EPERM but for root and the daemon's user), and SOCK_NONBLOCK, SOCK_CLOEXEC.
 * SOCK_DGRAM of a family or protocol that a protocol module of the stack has brought; its names are laid out as struct sockaddr_in6
 * (in AF_INET sockaddr_in). ENETDOWN: no stack is running, or the module is gone. ETIMEDOUT: it does not answer. EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT: not for a stack.
 * ENOBUFS: the stack has no room. EMFILE: as ever, or the number would be above 2^20.
 */
int iopkt_socket(int domain, int type, int protocol);

/* Names and connections. A name of another family than the socket's: EAFNOSUPPORT. */
int iopkt_bind(int fd, const struct sockaddr *name, socklen_t len);
int iopkt_listen(int fd, int backlog);
int iopkt_accept(int fd, struct sockaddr *name, socklen_t *len);
int iopkt_accept4(int fd, struct sockaddr *name, socklen_t *len, int flags);
int iopkt_connect(int fd, const struct sockaddr *name, socklen_t len);
int iopkt_shutdown(int fd, int how);
int iopkt_getsockname(int fd, struct sockaddr *name, socklen_t *len);
int iopkt_getpeername(int fd, struct sockaddr *name, socklen_t *len);
int iopkt_sockatmark(int fd);

/*
 * Names of BSD and QNX for options that Linux calls otherwise or has not; TCP_MAXSEG and TCP_NODELAY are the same.
 * TCP_KEEPALIVE is seconds before the first probe; SO_SETFIB is said below.
 */
#ifndef TCP_KEEPALIVE
#define TCP_KEEPALIVE TCP_KEEPIDLE
#endif
#ifndef TCP_NOPUSH
#define TCP_NOPUSH TCP_CORK
#endif
#ifndef SO_SETFIB
#define SO_SETFIB 0x100a
#endif

/*
 * Sending. A stream whose peer is gone: EPIPE, and SIGPIPE unless MSG_NOSIGNAL. MSG_OOB on datagrams:
 * EOPNOTSUPP. MSG_FASTOPEN with an address connects, and the SYN takes the text along if the server's cookie is
 * known; else, if the call may not wait: EINPROGRESS, and nothing was sent. MSG_ZEROCOPY has no effect.
 * Control messages of a datagram: IP_PKTINFO (its source), IP_TTL, IP_TOS, and IPV6_PKTINFO, IPV6_HOPLIMIT,
 * IPV6_TCLASS; others of these levels: EINVAL.
 */
ssize_t iopkt_write(int fd, const void *buf, size_t len);
ssize_t iopkt_writev(int fd, const struct iovec *iov, int count);
ssize_t iopkt_send(int fd, const void *buf, size_t len, int flags);
ssize_t iopkt_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
                     socklen_t to_len);
ssize_t iopkt_sendmsg(int fd, const struct msghdr *msg, int flags);

/*
 * Receiving: MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, MSG_TRUNC; MSG_ERRQUEUE, where IP_RECVERR or IPV6_RECVERR
 * has asked for errors to be kept, as many as 64. libc's poll and epoll_wait show their POLLERR under iopkt run
 * alone; here such an error makes the socket readable until a call has returned its number.
 * Control messages come with datagrams, those that were asked for: IP_PKTINFO, IP_RECVTTL, IP_RECVTOS,
 * IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, SO_TIMESTAMP, SO_TIMESTAMPNS.
 */
ssize_t iopkt_read(int fd, void *buf, size_t len);
ssize_t iopkt_readv(int fd, const struct iovec *iov, int count);
ssize_t iopkt_recv(int fd, void *buf, size_t len, int flags);
ssize_t iopkt_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *from,
                       socklen_t *from_len);
ssize_t iopkt_recvmsg(int fd, struct msghdr *msg, int flags);

/*
 * Without a copy. EOPNOTSUPP for descriptors that are not the stack's.
 *
 * iopkt_recv_zc says where the next bytes are: those of a stream that follow each other in memory, or a
 * datagram; 0 is the end of a stream. They may be read, not written, and stay until iopkt_release, which
 * takes so many of them (the whole datagram) and returns how many there were, or until any call that reads.
 * For a user to whom the stack lends packets (LOANS in io-pkt(8)) a stream's bytes are in the packet that they
 * came in, one packet at a time.
 *
 * iopkt_send_reserve says where up to len bytes of a stream may be written, and returns how many: at
 * least one, often fewer than len. iopkt_send_commit sends the first len of them; until then nothing has
 * happened, and any other call that sends takes the room back (EINVAL).
 *
 * Between the two calls no other thread may use that direction of the socket.
 */
ssize_t iopkt_recv_zc(int fd, const void **data, int flags);
ssize_t iopkt_release(int fd, size_t len);
ssize_t iopkt_send_reserve(int fd, void **data, size_t len, int flags);
ssize_t iopkt_send_commit(int fd, const void *data, size_t len, int flags);

/*
 * Options the stack does not know: ENOPROTOOPT. SO_SETFIB (an int, of SOL_SOCKET) is the stack's own: the table of
 * routes by which the socket's packets go, 0 to begin with; connections that are accepted have their listener's.
 * EINVAL: there are not so many (iopkt sysctl net.fibs).
 */
int iopkt_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int iopkt_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

/*
 * Makes a descriptor a socket of this library that came from elsewhere: inherited over exec, or received
 * over a unix socket (iopkt_recvmsg does it by itself). ENOTSOCK: no socket of the stack, or one of
 * another user's client.
 */
int iopkt_adopt(int fd);

/* Descriptors. */
int iopkt_close(int fd);
int iopkt_close_range(unsigned first, unsigned last, unsigned flags);
int iopkt_dup(int fd);
int iopkt_dup2(int fd, int to);
int iopkt_dup3(int fd, int to, int flags);

/* All commands of fcntl; the third argument is an int or a pointer. */
int iopkt_fcntl(int fd, int command, ...);

/*
 * FIONREAD, SIOCOUTQ, SIOCATMARK, FIONBIO, FIOASYNC, FIOCLEX, FIONCLEX, and what netdevice(7) asks about
 * interfaces, which are those of the socket's stack: SIOCGIFCONF, SIOCGIFNAME, SIOCGIFINDEX, SIOCGIFFLAGS,
 * SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFBRDADDR, SIOCGIFDSTADDR, SIOCGIFMTU, SIOCGIFMETRIC, SIOCGIFHWADDR.
 * SIOCGDRVSPEC, SIOCSDRVSPEC and SIOCGDRVCOM, see below.
 * On sockets of a protocol module also what that knows, by a number of _IO, _IOR, _IOW or _IOWR.
 * Others: ENOTTY. The third argument is a pointer.
 */
int iopkt_ioctl(int fd, unsigned long request, ...);

/*
 * For drivers: BSD's struct ifdrv. SIOCGDRVSPEC gives the driver a command of its own with the data, and the
 * answer takes the data's place; SIOCSDRVSPEC leaves the data as it is. Both are for root and the daemon's user
 * (EPERM); EOPNOTSUPP: the driver has no such command. SIOCGDRVCOM asks anybody's question: what the driver
 * knows (IOPKT_DRVCOM_CONFIG), what the device has counted (IOPKT_DRVCOM_STATS). ENXIO: no such interface.
 * ifd_len becomes the length of the whole answer, of which there is as much as there was room for.
 */
struct iopkt_ifdrv {
	char ifd_name[IFNAMSIZ];
	unsigned long ifd_cmd;
	size_t ifd_len;
	void *ifd_data;
};
#ifndef SIOCGDRVSPEC
#define SIOCSDRVSPEC _IOW('i', 123, struct iopkt_ifdrv)
#define SIOCGDRVSPEC _IOWR('i', 123, struct iopkt_ifdrv)
#define SIOCGDRVCOM _IOWR('i', 240, struct iopkt_ifdrv)
#endif
#define IOPKT_DRVCOM_CONFIG 1 /* struct iopkt_nic_config */
#define IOPKT_DRVCOM_STATS 2  /* struct iopkt_nic_stats */

struct iopkt_nic_config {
	char driver[32];
	unsigned char mac[6];
	uint16_t mtu;
	uint32_t speed_mbps; /* 0: unknown */
	uint32_t flags;
	uint32_t queues;
};
#define IOPKT_NIC_LINK 1
#define IOPKT_NIC_FULL_DUPLEX 2
#define IOPKT_NIC_PROMISCUOUS 4
#define IOPKT_NIC_ALLMULTI 8

/* Bit n of `valid`: the device keeps the counter n, 0 being txed_ok. */
struct iopkt_nic_stats {
	uint64_t valid;
	uint64_t txed_ok, rxed_ok, octets_txed_ok, octets_rxed_ok;
	uint64_t txed_broadcast, rxed_broadcast, txed_multicast, rxed_multicast;
	uint64_t tx_failed_allocs, rx_failed_allocs, rx_missed;
	uint64_t fcs_errors, align_errors, short_packets, oversized_packets, length_field_outrange, symbol_errors;
	uint64_t internal_rx_errors, internal_tx_errors, tx_deferred;
	uint64_t single_collisions, multi_collisions, late_collisions, xcoll_aborted;
	uint64_t excessive_deferrals, no_carrier, sqe_errors, jabber_detected, dribble_bits, total_collision_frames;
};

/*
 * The stack's interfaces. Their numbers are those of IP_PKTINFO and of sin6_scope_id on its sockets, not the
 * kernel's. ENETDOWN: no stack is running.
 */
int iopkt_getifaddrs(struct ifaddrs **list);
void iopkt_freeifaddrs(struct ifaddrs *list);
struct if_nameindex *iopkt_if_nameindex(void);
void iopkt_if_freenameindex(struct if_nameindex *list);
unsigned iopkt_if_nametoindex(const char *name);
char *iopkt_if_indextoname(unsigned index, char *name);

/*
 * Chooses the stack of sockets made from now on, in all threads: the prefix it was started with
 * ("/alt"), or NULL for the one without. The same as the environment variable SOCK, which it sets: like
 * setenv, not while another thread uses the environment.
 */
int iopkt_setprefix(const char *prefix);

/*
 * The same for sockets that the calling thread makes from now on, whatever SOCK says; iopkt_clearsockprefix
 * ends that. From any thread at any time.
 */
int iopkt_setsockprefix(const char *prefix);
int iopkt_clearsockprefix(void);

#ifdef __cplusplus
}
#endif

#endif
