/* Options about groups. */
#include "socketdiff.h"

/* In the C library's header of another feature set. */
#ifndef IP_MULTICAST_ALL
#define IP_MULTICAST_ALL 49
#endif

static int member(int fd, int option, const char *group, const char *interface)
{
    struct ip_mreq request = {.imr_multiaddr = at(group, 0).sin_addr, .imr_interface = at(interface, 0).sin_addr};
    return setsockopt(fd, IPPROTO_IP, option, &request, sizeof request);
}
static int of_source(int fd, int option, const char *group, const char *source)
{
    struct ip_mreq_source request = {.imr_multiaddr = at(group, 0).sin_addr, .imr_interface = at(mine, 0).sin_addr,
                                     .imr_sourceaddr = at(source, 0).sin_addr};
    return setsockopt(fd, IPPROTO_IP, option, &request, sizeof request);
}

CASE(group, join_and_leave)
{
    int fd = datagram();
    TRY(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", mine));
    TRY(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", mine));
    TRY(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", mine));
    TRY(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", mine));
}
CASE(group, wrong_groups)
{
    int fd = datagram();
    TRY(member(fd, IP_ADD_MEMBERSHIP, "198.18.77.9", mine));
    TRY(member(fd, IP_ADD_MEMBERSHIP, "255.255.255.255", mine));
    TRY(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", "203.0.113.9"));
    TRY(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", "203.0.113.9"));
    TRY(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, "", 0));
    TRY(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, "abcdefg", 7));
}
CASE(group, stream)
{
    int fd = stream(), one = 1;
    TRY(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", mine));
    TRY(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &one, sizeof one));
    TRY(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &one, sizeof one));
}
CASE(group, sources)
{
    int fd = datagram();
    TRY(of_source(fd, IP_BLOCK_SOURCE, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_ADD_SOURCE_MEMBERSHIP, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_ADD_SOURCE_MEMBERSHIP, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_BLOCK_SOURCE, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_DROP_SOURCE_MEMBERSHIP, "239.1.2.3", nobody));
    TRY(of_source(fd, IP_DROP_SOURCE_MEMBERSHIP, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_DROP_SOURCE_MEMBERSHIP, "239.1.2.3", theirs));
}
CASE(group, blocked_sources)
{
    int fd = datagram();
    NEED(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", mine));
    TRY(of_source(fd, IP_UNBLOCK_SOURCE, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_BLOCK_SOURCE, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_BLOCK_SOURCE, "239.1.2.3", theirs));
    TRY(of_source(fd, IP_UNBLOCK_SOURCE, "239.1.2.3", theirs));
}
CASE(group, as_many_as_may_be)
{
    char group[32];
    int fd = datagram(), n;
    for (n = 0; n < 30; n++) {
        snprintf(group, sizeof group, "239.1.1.%d", n);
        if (member(fd, IP_ADD_MEMBERSHIP, group, mine) < 0) break;
    }
    say("%d, then %s", n, error_name(errno));
}
CASE(group, interface)
{
    struct in_addr address = at(mine, 0).sin_addr;
    socklen_t len = sizeof address;
    int fd = datagram();
    TRY(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, sizeof address));
    memset(&address, 0, sizeof address);
    TRY(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, &len));
    say("%s", inet_ntoa(address));
    address = at(nobody, 0).sin_addr;
    TRY(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, sizeof address));
    TRY(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, 3));
}
CASE(group, all)
{
    int fd = datagram(), value = -1;
    socklen_t len = sizeof value;
    TRY(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &value, &len));
    say("%d", value);
    value = 2;
    TRY(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &value, sizeof value));
}
CASE(group, own_datagram)
{
    struct in_addr address = at(mine, 0).sin_addr;
    in_name to = at("239.1.2.3", port(0)), from;
    socklen_t len = sizeof from;
    char in[8] = "";
    int fd = bound(SOCK_DGRAM, port(0)), sender = datagram(), off = 0;
    NEED(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", mine));
    NEED(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &address, sizeof address));
    TRY(sendto(sender, "abc", 3, 0, SA(&to), LEN));
    TRY(recvfrom(fd, in, 8, 0, SA(&from), &len));
    say("%s", in);
    NEED(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_LOOP, &off, sizeof off));
    TRY(sendto(sender, "abc", 3, 0, SA(&to), LEN));
    usleep(100000);
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
}
CASE(group, six)
{
    struct ipv6_mreq request = {.ipv6mr_interface = 9999};
    int fd = NEED(socket(AF_INET6, SOCK_DGRAM, 0)), value = -1;
    socklen_t len = sizeof value;
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request));
    inet_pton(AF_INET6, "ff05::123", &request.ipv6mr_multiaddr);
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request));
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, 16));
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &request, sizeof request));
    TRY(getsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &value, &len));
    say("%d", value);
    value = 256;
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &value, sizeof value));
    value = -1;
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &value, sizeof value));
    TRY(getsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &value, &len));
    say("%d", value);
}

/* The sources of a group, as a whole. */
static int of_sources(int fd, unsigned mode, unsigned count, unsigned len)
{
    struct {
        struct ip_msfilter head;
        struct in_addr more[15];
    } list = {.head = {.imsf_fmode = mode, .imsf_numsrc = count}};
    inet_pton(AF_INET, "239.1.2.3", &list.head.imsf_multiaddr);
    inet_pton(AF_INET, mine, &list.head.imsf_interface);
    struct in_addr *sources = (struct in_addr *)((char *)&list + 16);
    for (unsigned n = 0; n < 12; n++)
        sources[n].s_addr = htonl(0xc6124d00u + 100 + n);
    return setsockopt(fd, IPPROTO_IP, IP_MSFILTER, &list, len);
}
CASE(group, sources_as_a_whole)
{
    int fd = datagram();
    TRY(of_sources(fd, MCAST_INCLUDE, 2, 24));
    TRY(of_sources(fd, MCAST_INCLUDE, 0, 16));
    NEED(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", mine));
    TRY(of_sources(fd, MCAST_INCLUDE, 2, 24));
    TRY(of_sources(fd, MCAST_INCLUDE, 2, 23));
    TRY(of_sources(fd, MCAST_INCLUDE, 2, 15));
    TRY(of_sources(fd, MCAST_INCLUDE, 11, 64));
    TRY(of_sources(fd, 7, 1, 20));
    TRY(of_source(fd, IP_BLOCK_SOURCE, "239.1.2.3", theirs));
    TRY(of_sources(fd, MCAST_EXCLUDE, 1, 20));
    TRY(of_source(fd, IP_BLOCK_SOURCE, "239.1.2.3", theirs));
    TRY(of_sources(fd, MCAST_INCLUDE, 0, 16));
    TRY(of_source(fd, IP_BLOCK_SOURCE, "239.1.2.3", theirs));
}
CASE(group, datagrams_of_the_sources_named)
{
    in_name to = at("239.1.2.3", port(0));
    struct in_addr address = at(mine, 0).sin_addr;
    int fd = bound(SOCK_DGRAM, port(0)), sender = bound(SOCK_DGRAM, port(1));
    char c;
    NEED(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", mine));
    NEED(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &address, sizeof address));
    NEED(of_sources(fd, MCAST_INCLUDE, 2, 24));
    NEED(sendto(sender, "a", 1, 0, SA(&to), LEN));
    pause_ms(50);
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    NEED(of_sources(fd, MCAST_EXCLUDE, 2, 24));
    NEED(sendto(sender, "b", 1, 0, SA(&to), LEN));
    TRY(recv(fd, &c, 1, 0));
}
