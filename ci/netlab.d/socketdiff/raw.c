/* Raw sockets and those for echo messages of ICMP. */
#include "socketdiff.h"
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

/* In no header of the C library. */
#ifndef ICMP_FILTER
#define ICMP_FILTER 1
#endif
#define SOL_RAW_LEVEL 255
#define UNASSIGNED 253

static int raw(int protocol) { return NEED(socket(AF_INET, SOCK_RAW, protocol)); }
static int ping(void) { return NEED(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)); }

static uint16_t sum(const void *bytes, int len)
{
    const uint16_t *words = bytes;
    uint32_t total = 0;
    for (int i = 0; i < len / 2; i++)
        total += words[i];
    total = (total >> 16) + (total & 0xffff);
    return ~(total + (total >> 16));
}
static struct icmphdr request(int id, int sequence)
{
    struct icmphdr echo = {.type = ICMP_ECHO, .un.echo = {.id = htons(id), .sequence = htons(sequence)}};
    echo.checksum = sum(&echo, sizeof echo);
    return echo;
}
static void say_local(const char *what, int fd)
{
    in_name name = {0};
    socklen_t len = sizeof name;
    said(what, (errno = 0, getsockname(fd, SA(&name), &len)));
    say("%s: %s, port %d", what, inet_ntoa(name.sin_addr), ntohs(name.sin_port) < 30000 ? ntohs(name.sin_port) : -1);
}
/* One packet of a raw socket's, or that there is none. */
static void say_packet(int fd)
{
    char packet[2048];
    in_name from = {0};
    socklen_t len = sizeof from;
    if (!await(fd, POLLIN)) {
        say("nothing comes");
        return;
    }
    long got = recvfrom(fd, packet, sizeof packet, MSG_DONTWAIT, SA(&from), &len);
    if (got < (long)sizeof(struct iphdr)) {
        said("recvfrom", got);
        return;
    }
    const struct iphdr *ip = (void *)packet;
    const struct icmphdr *icmp = (void *)(packet + ip->ihl * 4);
    say("%ld bytes of protocol %d from %s, port %d; header of %d, length %d, ttl %d", got, ip->protocol,
        inet_ntoa(from.sin_addr), ntohs(from.sin_port), ip->ihl * 4, ntohs(ip->tot_len), ip->ttl);
    if (ip->protocol == IPPROTO_ICMP)
        say("type %d code %d id %d sequence %d", icmp->type, icmp->code, ntohs(icmp->un.echo.id),
            ntohs(icmp->un.echo.sequence));
}

CASE(raw, open)
{
    TRY(socket(AF_INET, SOCK_RAW, 0));
    TRY(socket(AF_INET, SOCK_RAW, -1));
    TRY(socket(AF_INET, SOCK_RAW, 1000));
    TRY_FD(socket(AF_INET, SOCK_RAW, IPPROTO_RAW));
    TRY_FD(socket(AF_INET, SOCK_RAW, IPPROTO_TCP));
    TRY_FD(socket(AF_INET, SOCK_RAW, IPPROTO_ICMPV6));
    TRY_FD(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
    TRY_FD(socket(AF_INET6, SOCK_RAW, IPPROTO_RAW));
    TRY(socket(AF_INET6, SOCK_RAW, 0));
    TRY_FD(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    TRY_FD(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
    TRY(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6));
    TRY(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMP));
    TRY(socket(AF_INET, SOCK_STREAM, IPPROTO_ICMP));
}
CASE(raw, nobody_has_no_right)
{
    NEED(setresuid(65534, 65534, 65534));
    TRY(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    TRY(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
    TRY(socket(AF_INET, SOCK_RAW, 0));
    TRY_FD(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
}
CASE(raw, what_it_is)
{
    int fd = raw(UNASSIGNED), echo = ping(), six = NEED(socket(AF_INET6, SOCK_RAW, IPPROTO_UDP));
    say("type %d protocol %d domain %d", get(fd, SOL_SOCKET, SO_TYPE), get(fd, SOL_SOCKET, SO_PROTOCOL), get(fd, SOL_SOCKET, SO_DOMAIN));
    say("type %d protocol %d domain %d", get(echo, SOL_SOCKET, SO_TYPE), get(echo, SOL_SOCKET, SO_PROTOCOL), get(echo, SOL_SOCKET, SO_DOMAIN));
    say("type %d protocol %d domain %d", get(six, SOL_SOCKET, SO_TYPE), get(six, SOL_SOCKET, SO_PROTOCOL), get(six, SOL_SOCKET, SO_DOMAIN));
    say_all_events("fresh", fd);
    TRY(listen(fd, 5));
    TRY(accept(fd, NULL, NULL));
    TRY(shutdown(fd, SHUT_RD));
    TRY(listen(echo, 5));
}
CASE(raw, names)
{
    int fd = raw(UNASSIGNED);
    in_name name = at(mine, 99), other = at("203.0.113.9", 0), peer = at(theirs, 0);
    socklen_t len = sizeof name;
    say_local("fresh", fd);
    TRY(bind(fd, SA(&other), LEN));
    TRY(bind(fd, SA(&name), LEN));
    say_local("bound", fd);
    TRY(bind(fd, SA(&name), LEN));
    TRY(bind(fd, SA(&name), 8));
    TRY(connect(fd, SA(&peer), LEN));
    say_local("connected", fd);
    TRY(getpeername(fd, SA(&peer), &len));
    peer = at(theirs, 7);
    TRY(connect(fd, SA(&peer), LEN));
    TRY(getpeername(fd, SA(&peer), &len));
    say("the peer's port is %d", ntohs(peer.sin_port));
    peer.sin_family = AF_UNSPEC;
    TRY(connect(fd, SA(&peer), LEN));
    say_local("dissolved", fd);
}
CASE(raw, echo)
{
    int fd = raw(IPPROTO_ICMP);
    struct icmphdr echo = request(4711, 1);
    in_name to = at(theirs, 0);
    TRY(send(fd, &echo, sizeof echo, 0));
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    say_packet(fd);
    to.sin_port = htons(9);
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    say_packet(fd);
    TRY(connect(fd, SA(&to), LEN));
    TRY(send(fd, &echo, sizeof echo, 0));
    say_packet(fd);
    say_packet(fd);
}
CASE(raw, own_request_and_answer)
{
    int fd = raw(IPPROTO_ICMP);
    struct icmphdr echo = request(4712, 2);
    in_name to = at(mine, 0);
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    say_packet(fd);
    say_packet(fd);
}
CASE(raw, two_hear_the_same)
{
    int fd = raw(IPPROTO_ICMP), other = raw(IPPROTO_ICMP), elsewhere = raw(IPPROTO_ICMP), away = raw(IPPROTO_UDP);
    struct icmphdr echo = request(4713, 3);
    in_name to = at(theirs, 0), far = at(nobody, 0);
    TRY(connect(elsewhere, SA(&far), LEN));
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    say_packet(fd);
    say_packet(other);
    nonblocking(elsewhere);
    nonblocking(away);
    TRY(recv(elsewhere, &echo, sizeof echo, 0));
    TRY(recv(away, &echo, sizeof echo, 0));
}
CASE(raw, filter)
{
    int fd = raw(IPPROTO_ICMP), other = raw(IPPROTO_UDP);
    uint32_t block = 1 << ICMP_ECHOREPLY, read = 0;
    socklen_t len = sizeof read;
    struct icmphdr echo = request(4714, 4);
    in_name to = at(theirs, 0);
    TRY(setsockopt(fd, SOL_RAW_LEVEL, ICMP_FILTER, &block, sizeof block));
    TRY(getsockopt(fd, SOL_RAW_LEVEL, ICMP_FILTER, &read, &len));
    say("%#x, %u bytes", read, len);
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    pause_ms(50);
    nonblocking(fd);
    TRY(recv(fd, &echo, sizeof echo, 0));
    TRY(setsockopt(other, SOL_RAW_LEVEL, ICMP_FILTER, &block, sizeof block));
    TRY(setsockopt(fd, SOL_RAW_LEVEL, 99, &block, sizeof block));
    TRY(setsockopt(fd, IPPROTO_TCP, 1, &block, sizeof block));
    TRY(setsockopt(datagram(), SOL_RAW_LEVEL, ICMP_FILTER, &block, sizeof block));
    TRY(setsockopt(ping(), SOL_RAW_LEVEL, ICMP_FILTER, &block, sizeof block));
}
CASE(raw, header_included)
{
    struct {
        struct iphdr ip;
        struct icmphdr icmp;
    } packet = {.ip = {.version = 4, .ihl = 5, .ttl = 9, .protocol = IPPROTO_ICMP}, .icmp = request(4715, 5)};
    int fd = raw(IPPROTO_ICMP), other = raw(IPPROTO_RAW), plain = datagram();
    in_name to = at(theirs, 0);
    static char large[1600];
    packet.ip.daddr = to.sin_addr.s_addr;
    say("IP_HDRINCL %d and %d", get(fd, IPPROTO_IP, IP_HDRINCL), get(other, IPPROTO_IP, IP_HDRINCL));
    set(fd, IPPROTO_IP, IP_HDRINCL, 1);
    TRY(sendto(fd, &packet, sizeof packet, 0, SA(&to), LEN));
    say_packet(fd);
    TRY(sendto(other, &packet, sizeof packet, 0, SA(&to), LEN));
    say_packet(fd);
    memcpy(large, &packet, sizeof packet);
    TRY(sendto(other, large, sizeof large, 0, SA(&to), LEN));
    say("IP_HDRINCL is %d", get(fd, IPPROTO_IP, IP_HDRINCL));
    set(plain, IPPROTO_IP, IP_HDRINCL, 1);
    say("of a datagram socket %d", get(plain, IPPROTO_IP, IP_HDRINCL));
}
CASE(raw, protocol_of_nobody)
{
    int fd = raw(UNASSIGNED);
    in_name to = at(mine, 0);
    TRY(sendto(fd, "abc", 3, 0, SA(&to), LEN));
    say_packet(fd);
    TRY(sendto(fd, "", 0, 0, SA(&to), LEN));
    say_packet(fd);
    TRY(sendto(fd, "abc", 3, MSG_OOB, SA(&to), LEN));
}
CASE(raw, sizes)
{
    static char bytes[70000];
    int fd = raw(UNASSIGNED);
    in_name to = at(mine, 0);
    TRY(sendto(fd, bytes, 65535, 0, SA(&to), LEN));
    TRY(sendto(fd, bytes, 70000, 0, SA(&to), LEN));
    TRY(sendto(fd, bytes, 9000, 0, SA(&to), LEN));
    TRY(recv(fd, bytes, 100, MSG_TRUNC));
    set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    to = at(theirs, 0);
    TRY(sendto(fd, bytes, 1481, 0, SA(&to), LEN));
    pause_ms(50);
    TRY(sendto(fd, bytes, 1480, 0, SA(&to), LEN));
}
CASE(raw, hears_datagrams_of_others)
{
    int fd = raw(IPPROTO_UDP), user = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    char in[8] = "";
    NEED(peer_sendto(id, port(0), "abcd", 4));
    say_packet(fd);
    TRY(recv(user, in, sizeof in, 0));
}
CASE(raw, ttl_and_time)
{
    int fd = raw(IPPROTO_ICMP);
    char data[200], control[200];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct icmphdr echo = request(4716, 6);
    in_name to = at(theirs, 0);
    set(fd, IPPROTO_IP, IP_RECVTTL, 1);
    set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    TRY(recvmsg(fd, &message, 0));
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        say("level %d type %d", c->cmsg_level, c->cmsg_type);
    TRY(sendto(fd, "", 0, 0, SA(&(in_name){.sin_family = AF_UNIX}), LEN));
    TRY(sendto(fd, "", 0, 0, SA(&to), 8));
    to = at("255.255.255.255", 0);
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
}

CASE(ping, names)
{
    int fd = ping(), other = ping();
    in_name name = at(mine, port(0)), wrong = at("203.0.113.9", 0), to = at(theirs, 0);
    socklen_t len = sizeof name;
    say_local("fresh", fd);
    TRY(bind(fd, SA(&wrong), LEN));
    TRY(bind(fd, SA(&name), LEN));
    say_local("bound", fd);
    TRY(bind(fd, SA(&name), LEN));
    TRY(bind(other, SA(&name), LEN));
    TRY(connect(fd, SA(&to), LEN));
    say_local("connected", fd);
    TRY(getpeername(fd, SA(&to), &len));
}
static void say_answer(int fd)
{
    struct icmphdr echo = {0};
    in_name from = {0};
    socklen_t len = sizeof from;
    long got = await(fd, POLLIN) ? recvfrom(fd, &echo, sizeof echo, MSG_DONTWAIT, SA(&from), &len) : -2;
    say("%ld bytes from %s, port %d: type %d, id %d, sequence %d", got, inet_ntoa(from.sin_addr), ntohs(from.sin_port), echo.type,
        ntohs(echo.un.echo.id), ntohs(echo.un.echo.sequence));
}
CASE(ping, echo)
{
    int fd = ping(), other = raw(IPPROTO_ICMP);
    in_name name = at("0.0.0.0", port(0)), to = at(theirs, 0);
    struct icmphdr echo = request(1, 7);
    echo.checksum = 12345;
    TRY(bind(fd, SA(&name), LEN));
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    say_answer(fd);
    say_packet(other);
    to.sin_port = htons(9);
    TRY(connect(fd, SA(&to), LEN));
    TRY(send(fd, &echo, sizeof echo, 0));
    say_answer(fd);
    to = at(mine, 0);
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
}
CASE(ping, has_a_name_from_its_first_send_on)
{
    int fd = ping();
    in_name name = at("0.0.0.0", port(0));
    struct icmphdr echo = request(1, 7);
    TRY(send(fd, &echo, sizeof echo, 0));
    TRY(bind(fd, SA(&name), LEN));
}
CASE(ping, to_oneself)
{
    int fd = ping();
    in_name name = at("0.0.0.0", port(0)), to = at(mine, 0);
    struct icmphdr echo = request(1, 8);
    TRY(bind(fd, SA(&name), LEN));
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    say_answer(fd);
}
CASE(ping, only_requests)
{
    int fd = ping();
    in_name to = at(theirs, 0);
    struct icmphdr echo = request(1, 9);
    TRY(sendto(fd, &echo, 7, 0, SA(&to), LEN));
    echo.type = ICMP_TIMESTAMP;
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    echo = request(1, 9);
    echo.code = 1;
    TRY(sendto(fd, &echo, sizeof echo, 0, SA(&to), LEN));
    static char large[70000] = {ICMP_ECHO};
    TRY(sendto(fd, large, sizeof large, 0, SA(&to), LEN));
    TRY(sendto(fd, large, 8, MSG_OOB, SA(&to), LEN));
    TRY(sendto(fd, large, 8, 0, SA(&(in_name){.sin_family = AF_UNIX}), LEN));
}

CASE(raw6, names)
{
    struct sockaddr_in6 name = {0};
    socklen_t len = sizeof name;
    int fd = NEED(socket(AF_INET6, SOCK_RAW, UNASSIGNED)), echo = NEED(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
    TRY(getsockname(fd, SA(&name), &len));
    say("port %d", ntohs(name.sin6_port));
    TRY(getsockname(echo, SA(&name), &len));
    say("port %d", ntohs(name.sin6_port));
    name = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(9)};
    inet_pton(AF_INET6, "2001:db8:dead::1", &name.sin6_addr);
    TRY(bind(fd, SA(&name), sizeof name));
    TRY(sendto(fd, "x", 1, 0, SA(&name), sizeof name));
    TRY(send(fd, "x", 1, 0));
    inet_pton(AF_INET6, "::ffff:198.18.77.1", &name.sin6_addr);
    name.sin6_port = 0;
    TRY(sendto(fd, "x", 1, 0, SA(&name), sizeof name));
}
CASE(raw6, checksum)
{
    int fd = NEED(socket(AF_INET6, SOCK_RAW, UNASSIGNED)), icmp = NEED(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
    int odd = 3, even = 4, none = -1;
    say("%d and %d", get(fd, IPPROTO_IPV6, IPV6_CHECKSUM), get(icmp, IPPROTO_IPV6, IPV6_CHECKSUM));
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &odd, sizeof odd));
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &even, sizeof even));
    say("%d", get(fd, IPPROTO_IPV6, IPV6_CHECKSUM));
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &none, sizeof none));
    say("%d", get(fd, IPPROTO_IPV6, IPV6_CHECKSUM));
    TRY(setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &even, 2));
    TRY(setsockopt(icmp, IPPROTO_IPV6, IPV6_CHECKSUM, &even, sizeof even));
    TRY(setsockopt(fd, SOL_RAW_LEVEL, IPV6_CHECKSUM, &even, sizeof even));
    TRY(setsockopt(fd, IPPROTO_IP, IP_TTL, &even, sizeof even));
}
CASE(raw6, filter)
{
    int fd = NEED(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)), other = NEED(socket(AF_INET6, SOCK_RAW, UNASSIGNED));
    struct icmp6_filter filter, read = {0};
    socklen_t len = sizeof read;
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
    TRY(setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter));
    TRY(getsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &read, &len));
    say("%u bytes, %s", len, memcmp(&filter, &read, sizeof read) ? "others" : "the same");
    TRY(setsockopt(other, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter));
    TRY(setsockopt(fd, IPPROTO_ICMPV6, 99, &filter, sizeof filter));
}
CASE(raw6, header_included)
{
    int fd = NEED(socket(AF_INET6, SOCK_RAW, UNASSIGNED)), other = NEED(socket(AF_INET6, SOCK_RAW, IPPROTO_RAW));
    say("IPV6_HDRINCL %d and %d", get(fd, IPPROTO_IPV6, 36), get(other, IPPROTO_IPV6, 36));
    set(fd, IPPROTO_IPV6, 36, 1);
    say("IPV6_HDRINCL %d", get(fd, IPPROTO_IPV6, 36));
}
