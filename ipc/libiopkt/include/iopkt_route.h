/*
 * iopkt_route.h: routing sockets of an io-pkt stack, in BSD's messages. Link with -liopkt (pkg-config iopkt).
 *
 *     int s = iopkt_route_socket(0);
 *     ssize_t len = iopkt_read(s, buffer, sizeof buffer);
 *     struct rt_msghdr *rtm = (struct rt_msghdr *)buffer;
 *     if (rtm->rtm_version == IOPKT_RTM_VERSION && rtm->rtm_type == IOPKT_RTM_ADD)
 *         ...
 *
 * One read gives one message: a head, and behind it the addresses that its rtm_addrs, ifm_addrs or ifam_addrs
 * says, in the order of the bits. IOPKT_RT_ADVANCE leads from one to the next.
 *
 * Names. BSD's, where Linux has no such names: rt_msghdr, if_msghdr, ifa_msghdr, if_announcemsghdr, rt_metrics,
 * if_data and their fields. Of RTM_, RTA_, RTAX_ and RTF_ Linux's <net/route.h> and <linux/rtnetlink.h> have some with
 * other values, and its sockaddrs have no sa_len; so all numbers have IOPKT_ before them, and sockaddrs iopkt_. A program
 * from BSD that includes neither of these two headers defines IOPKT_BSD_NAMES before it includes this one, and has
 * BSD's numbers by their own names.
 *
 * Layouts and numbers are those of a 64-bit NetBSD as far as the stack has something to say there; the rest of a structure's
 * fields is not here, or 0. Families are Linux's (AF_INET6 is 10), and so are ifm_flags (<net/if.h>).
 */
#ifndef IOPKT_ROUTE_H
#define IOPKT_ROUTE_H

#include <netinet/in.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A routing socket. Of routes, neighbours and addresses those of a family are heard, AF_INET or AF_INET6, or all: 0.
 * The descriptor is close-on-exec, ready to read when there are messages (of another family, too: who waits with poll
 * makes it nonblocking), and is read, written, copied and closed by this library. Only iopkt_read, iopkt_write and
 * their kin do something with it, not the calls for sockets' names and options. What is heard: iopkt_route_socket(3).
 * EAFNOSUPPORT. ENOBUFS: as many others, or of this user, have one as may. ENETDOWN, ETIMEDOUT, EMFILE: as
 * iopkt_socket. EOPNOTSUPP: the stack is another node's.
 */
int iopkt_route_socket(int family);

/*
 * Asks the stack for something by RTM_ADD, RTM_DELETE, RTM_CHANGE or RTM_GET, in one write each. Fails with what has gone
 * wrong, as BSD's write does; either way the message comes back on this socket, with this process's number in
 * rtm_pid, and with IOPKT_RTF_DONE, or rtm_errno.
 */

/* Types of messages. */
#define IOPKT_RTM_VERSION 4
#define IOPKT_RTM_ADD 0x1         /* rt_msghdr */
#define IOPKT_RTM_DELETE 0x2      /* rt_msghdr */
#define IOPKT_RTM_CHANGE 0x3      /* rt_msghdr */
#define IOPKT_RTM_GET 0x4         /* rt_msghdr */
#define IOPKT_RTM_IFANNOUNCE 0x10 /* if_announcemsghdr */
#define IOPKT_RTM_IFINFO 0x14     /* if_msghdr */
#define IOPKT_RTM_NEWADDR 0x16    /* ifa_msghdr */
#define IOPKT_RTM_DELADDR 0x17    /* ifa_msghdr */

/* Places of addresses, and their bits. */
#define IOPKT_RTAX_DST 0
#define IOPKT_RTAX_GATEWAY 1
#define IOPKT_RTAX_NETMASK 2
#define IOPKT_RTAX_GENMASK 3
#define IOPKT_RTAX_IFP 4
#define IOPKT_RTAX_IFA 5
#define IOPKT_RTAX_AUTHOR 6
#define IOPKT_RTAX_BRD 7
#define IOPKT_RTAX_TAG 8
#define IOPKT_RTAX_MAX 9
#define IOPKT_RTA_DST 0x1
#define IOPKT_RTA_GATEWAY 0x2
#define IOPKT_RTA_NETMASK 0x4
#define IOPKT_RTA_GENMASK 0x8
#define IOPKT_RTA_IFP 0x10
#define IOPKT_RTA_IFA 0x20
#define IOPKT_RTA_AUTHOR 0x40
#define IOPKT_RTA_BRD 0x80
#define IOPKT_RTA_TAG 0x100

/* rtm_flags. */
#define IOPKT_RTF_UP 0x1
#define IOPKT_RTF_GATEWAY 0x2
#define IOPKT_RTF_HOST 0x4
#define IOPKT_RTF_REJECT 0x8
#define IOPKT_RTF_DYNAMIC 0x10
#define IOPKT_RTF_DONE 0x40
#define IOPKT_RTF_CONNECTED 0x100
#define IOPKT_RTF_LLINFO 0x400 /* a neighbour: its link address is the gateway */
#define IOPKT_RTF_STATIC 0x800
#define IOPKT_RTF_BLACKHOLE 0x1000

/* rtm_inits. */
#define IOPKT_RTV_MTU 0x1

/* ifan_what. */
#define IOPKT_IFAN_ARRIVAL 0
#define IOPKT_IFAN_DEPARTURE 1

/* ifi_link_state and ifi_type. */
#define IOPKT_LINK_STATE_UNKNOWN 0
#define IOPKT_LINK_STATE_DOWN 1
#define IOPKT_LINK_STATE_UP 2
#define IOPKT_IFT_ETHER 0x6
#define IOPKT_IFT_LOOP 0x18

/* ifam_addrflags. */
#define IOPKT_IN6_IFF_TENTATIVE 0x2
#define IOPKT_IN6_IFF_DUPLICATED 0x4
#define IOPKT_IN6_IFF_DEPRECATED 0x10
#define IOPKT_IN6_IFF_AUTOCONF 0x40
#define IOPKT_IN6_IFF_TEMPORARY 0x80

/* Family of struct iopkt_sockaddr_dl. */
#define IOPKT_AF_LINK 18

struct rt_metrics {
	uint64_t rmx_locks;
	uint64_t rmx_mtu; /* the only one that is set */
	uint64_t rmx_hopcount, rmx_recvpipe, rmx_sendpipe, rmx_ssthresh, rmx_rtt, rmx_rttvar;
	int64_t rmx_expire, rmx_pksent;
};

struct rt_msghdr {
	uint16_t rtm_msglen;
	uint8_t rtm_version, rtm_type;
	uint16_t rtm_index; /* of the interface */
	uint16_t rtm_pad;
	int32_t rtm_flags, rtm_addrs;
	int32_t rtm_pid, rtm_seq; /* 0: nobody here has asked */
	int32_t rtm_errno, rtm_use, rtm_inits, rtm_pad2;
	struct rt_metrics rtm_rmx;
};

struct if_data {
	uint8_t ifi_type, ifi_addrlen, ifi_hdrlen, ifi_pad;
	int32_t ifi_link_state;
	uint64_t ifi_mtu, ifi_metric, ifi_baudrate;
};

struct if_msghdr {
	uint16_t ifm_msglen;
	uint8_t ifm_version, ifm_type;
	int32_t ifm_addrs, ifm_flags;
	uint16_t ifm_index, ifm_pad;
	struct if_data ifm_data;
};

struct ifa_msghdr {
	uint16_t ifam_msglen;
	uint8_t ifam_version, ifam_type;
	uint16_t ifam_index, ifam_pad;
	int32_t ifam_flags, ifam_addrs, ifam_addrflags, ifam_metric;
};

struct if_announcemsghdr {
	uint16_t ifan_msglen;
	uint8_t ifan_version, ifan_type;
	uint16_t ifan_index;
	char ifan_name[16];
	uint16_t ifan_what;
};

/* What all sockaddrs of messages begin with. Written ones may be shorter than theirs: what is beyond is 0. */
struct iopkt_sockaddr {
	uint8_t sa_len, sa_family;
	uint8_t sa_data[14];
};

struct iopkt_sockaddr_in {
	uint8_t sin_len, sin_family;
	uint16_t sin_port;
	struct in_addr sin_addr;
	uint8_t sin_zero[8];
};

struct iopkt_sockaddr_in6 {
	uint8_t sin6_len, sin6_family;
	uint16_t sin6_port;
	uint32_t sin6_flowinfo;
	struct in6_addr sin6_addr;
	uint32_t sin6_scope_id; /* the interface, of link-local ones */
};

struct iopkt_sockaddr_dl {
	uint8_t sdl_len, sdl_family;
	uint16_t sdl_index;
	uint8_t sdl_type, sdl_nlen, sdl_alen, sdl_slen;
	uint8_t sdl_data[24]; /* the name, then the link address */
};

/* Bytes that a sockaddr of this sa_len takes. */
#define IOPKT_RT_ROUNDUP(len) ((len) > 0 ? 1 + (((len)-1) | 7) : 8)
/* From a sockaddr of a message to the next. */
#define IOPKT_RT_ADVANCE(sa) \
	((struct iopkt_sockaddr *)(void *)((char *)(sa) + IOPKT_RT_ROUNDUP(((struct iopkt_sockaddr *)(sa))->sa_len)))

#ifdef IOPKT_BSD_NAMES
#define RTM_VERSION IOPKT_RTM_VERSION
#define RTM_ADD IOPKT_RTM_ADD
#define RTM_DELETE IOPKT_RTM_DELETE
#define RTM_CHANGE IOPKT_RTM_CHANGE
#define RTM_GET IOPKT_RTM_GET
#define RTM_IFANNOUNCE IOPKT_RTM_IFANNOUNCE
#define RTM_IFINFO IOPKT_RTM_IFINFO
#define RTM_NEWADDR IOPKT_RTM_NEWADDR
#define RTM_DELADDR IOPKT_RTM_DELADDR
#define RTAX_DST IOPKT_RTAX_DST
#define RTAX_GATEWAY IOPKT_RTAX_GATEWAY
#define RTAX_NETMASK IOPKT_RTAX_NETMASK
#define RTAX_GENMASK IOPKT_RTAX_GENMASK
#define RTAX_IFP IOPKT_RTAX_IFP
#define RTAX_IFA IOPKT_RTAX_IFA
#define RTAX_AUTHOR IOPKT_RTAX_AUTHOR
#define RTAX_BRD IOPKT_RTAX_BRD
#define RTAX_TAG IOPKT_RTAX_TAG
#define RTAX_MAX IOPKT_RTAX_MAX
#define RTA_DST IOPKT_RTA_DST
#define RTA_GATEWAY IOPKT_RTA_GATEWAY
#define RTA_NETMASK IOPKT_RTA_NETMASK
#define RTA_GENMASK IOPKT_RTA_GENMASK
#define RTA_IFP IOPKT_RTA_IFP
#define RTA_IFA IOPKT_RTA_IFA
#define RTA_AUTHOR IOPKT_RTA_AUTHOR
#define RTA_BRD IOPKT_RTA_BRD
#define RTA_TAG IOPKT_RTA_TAG
#define RTF_UP IOPKT_RTF_UP
#define RTF_GATEWAY IOPKT_RTF_GATEWAY
#define RTF_HOST IOPKT_RTF_HOST
#define RTF_REJECT IOPKT_RTF_REJECT
#define RTF_DYNAMIC IOPKT_RTF_DYNAMIC
#define RTF_DONE IOPKT_RTF_DONE
#define RTF_CONNECTED IOPKT_RTF_CONNECTED
#define RTF_LLINFO IOPKT_RTF_LLINFO
#define RTF_STATIC IOPKT_RTF_STATIC
#define RTF_BLACKHOLE IOPKT_RTF_BLACKHOLE
#define RTV_MTU IOPKT_RTV_MTU
#define IFAN_ARRIVAL IOPKT_IFAN_ARRIVAL
#define IFAN_DEPARTURE IOPKT_IFAN_DEPARTURE
#define LINK_STATE_UNKNOWN IOPKT_LINK_STATE_UNKNOWN
#define LINK_STATE_DOWN IOPKT_LINK_STATE_DOWN
#define LINK_STATE_UP IOPKT_LINK_STATE_UP
#define IFT_ETHER IOPKT_IFT_ETHER
#define IFT_LOOP IOPKT_IFT_LOOP
#define IN6_IFF_TENTATIVE IOPKT_IN6_IFF_TENTATIVE
#define IN6_IFF_DUPLICATED IOPKT_IN6_IFF_DUPLICATED
#define IN6_IFF_DEPRECATED IOPKT_IN6_IFF_DEPRECATED
#define IN6_IFF_AUTOCONF IOPKT_IN6_IFF_AUTOCONF
#define IN6_IFF_TEMPORARY IOPKT_IN6_IFF_TEMPORARY
#define AF_LINK IOPKT_AF_LINK
#endif

#ifdef __cplusplus
}
#endif

#endif
