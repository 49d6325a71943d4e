/* getsockopt and setsockopt: values, sizes, errors. One case for each option and kind of socket. */
#include "socketdiff.h"
#include <asm/socket.h>

static void got(const char *what, int fd, int level, int name, socklen_t room)
{
    unsigned char value[64];
    socklen_t len = room;
    memset(value, 0xee, sizeof value);
    errno = 0;
    if (getsockopt(fd, level, name, value, &len) < 0) {
        say("%s, room %u: %s", what, room, error_name(errno));
        return;
    }
    char text[200] = "";
    for (socklen_t i = 0; i < len && i < 32; i++)
        sprintf(text + strlen(text), " %02x", value[i]);
    say("%s, room %u: %u bytes%s, more untouched %d", what, room, len, text, value[room < 63 ? room : 63] == 0xee);
}

static void put(int fd, int level, int name, int value, socklen_t len)
{
    unsigned char room[64] = "";
    memcpy(room, &value, sizeof value);
    errno = 0;
    int r = setsockopt(fd, level, name, room, len);
    say("to %d in %u bytes: %s", value, len, r < 0 ? error_name(errno) : "ok");
}

static void probe(int fd, int level, int name, const int *values)
{
    got("fresh", fd, level, name, 4);
    got("fresh", fd, level, name, 0);
    got("fresh", fd, level, name, 1);
    got("fresh", fd, level, name, 2);
    got("fresh", fd, level, name, 20);
    for (int i = 0; i < 4; i++) {
        put(fd, level, name, values[i], 4);
        got("now", fd, level, name, 4);
    }
    put(fd, level, name, values[0], 0);
    put(fd, level, name, values[0], 1);
    put(fd, level, name, values[0], 3);
    got("now", fd, level, name, 4);
    put(fd, level, name, values[0], 8);
    got("now", fd, level, name, 4);
}

#define NAMED(label, level, name, ...)                                                                       \
    CASE(option, stream_##label) { probe(stream(), level, name, (const int[4]){__VA_ARGS__}); }              \
    CASE(option, datagram_##label) { probe(datagram(), level, name, (const int[4]){__VA_ARGS__}); }
#define OPTION(level, name, ...)                                                                             \
    CASE(option, stream_##name) { probe(stream(), level, name, (const int[4]){__VA_ARGS__}); }               \
    CASE(option, datagram_##name) { probe(datagram(), level, name, (const int[4]){__VA_ARGS__}); }

OPTION(SOL_SOCKET, SO_REUSEADDR, 1, 0, 7, -1)
OPTION(SOL_SOCKET, SO_REUSEPORT, 1, 0, 7, -1)
OPTION(SOL_SOCKET, SO_KEEPALIVE, 1, 0, 7, -1)
OPTION(SOL_SOCKET, SO_BROADCAST, 1, 0, 7, -1)
OPTION(SOL_SOCKET, SO_OOBINLINE, 1, 0, 7, -1)
OPTION(SOL_SOCKET, SO_DONTROUTE, 1, 0, 7, 0)
OPTION(SOL_SOCKET, SO_TIMESTAMP, 1, 0, 7, -1)
OPTION(SOL_SOCKET, SO_TIMESTAMPNS, 1, 0, 7, -1)
OPTION(SOL_SOCKET, SO_PRIORITY, 1, 6, 0, 7)
OPTION(SOL_SOCKET, SO_RCVLOWAT, 1, 100, 0, 5)
OPTION(SOL_SOCKET, SO_SNDLOWAT, 1, 2, 0, -1)
OPTION(SOL_SOCKET, SO_RCVBUF, 8192, 65536, 100000, 20000)
OPTION(SOL_SOCKET, SO_SNDBUF, 8192, 65536, 100000, 20000)
OPTION(SOL_SOCKET, SO_TYPE, 1, 2, 3, 4)
OPTION(SOL_SOCKET, SO_PROTOCOL, 1, 2, 3, 4)
OPTION(SOL_SOCKET, SO_DOMAIN, 1, 2, 3, 4)
OPTION(SOL_SOCKET, SO_ERROR, 1, 2, 3, 4)
OPTION(SOL_SOCKET, SO_ACCEPTCONN, 1, 2, 3, 4)
OPTION(SOL_SOCKET, SO_NO_CHECK, 1, 0, 5, 0)
OPTION(SOL_SOCKET, SO_MARK, 1, 2, 77, 0)
OPTION(SOL_SOCKET, SO_RXQ_OVFL, 1, 0, 2, 0)
OPTION(SOL_SOCKET, SO_BUSY_POLL, 0, 50, -1, 0)
OPTION(SOL_SOCKET, SO_ZEROCOPY, 0, 1, 2, 0)
OPTION(SOL_SOCKET, SO_PEEK_OFF, 0, 2, -1, -1)
OPTION(SOL_SOCKET, SO_BSDCOMPAT, 0, 1, 0, 0)
OPTION(SOL_SOCKET, SO_SELECT_ERR_QUEUE, 0, 1, 0, 0)
OPTION(SOL_SOCKET, SO_PASSCRED, 0, 1, 0, 0)
OPTION(SOL_SOCKET, SO_INCOMING_CPU, 0, 1, -1, 0)
NAMED(unknown_of_socket, SOL_SOCKET, 200, 1, 2, 3, 4)
NAMED(another_unknown_of_socket, SOL_SOCKET, 9999, 1, 2, 3, 4)
OPTION(IPPROTO_IP, IP_TOS, 0x10, 0x28, 256, 3)
OPTION(IPPROTO_IP, IP_TTL, 1, 255, 256, -1)
OPTION(IPPROTO_IP, IP_RECVTTL, 1, 0, 7, -1)
OPTION(IPPROTO_IP, IP_RECVTOS, 1, 0, 7, -1)
OPTION(IPPROTO_IP, IP_PKTINFO, 1, 0, 7, -1)
OPTION(IPPROTO_IP, IP_RECVERR, 1, 0, 7, 0)
OPTION(IPPROTO_IP, IP_MTU_DISCOVER, 0, 2, 1, 9)
OPTION(IPPROTO_IP, IP_FREEBIND, 1, 0, 7, 0)
OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, 0, 7, 0)
OPTION(IPPROTO_IP, IP_MULTICAST_TTL, 1, 255, 256, -1)
OPTION(IPPROTO_IP, IP_MULTICAST_LOOP, 1, 0, 7, 1)
OPTION(IPPROTO_IP, IP_MINTTL, 1, 255, 256, 0)
OPTION(IPPROTO_IP, IP_MTU, 1, 2, 3, 4)
OPTION(IPPROTO_IP, IP_TRANSPARENT, 0, 0, 0, 0)
NAMED(unknown_of_ip, IPPROTO_IP, 60, 1, 2, 3, 4)
OPTION(IPPROTO_TCP, TCP_NODELAY, 1, 0, 7, -1)
NAMED(unknown_of_tcp, IPPROTO_TCP, 99, 1, 2, 3, 4)
NAMED(unknown_of_udp, IPPROTO_UDP, 99, 1, 2, 3, 4)
OPTION(SOL_SOCKET, SO_DEBUG, 1, 0, 7, 0)
NAMED(of_nobody, 77, 1, 1, 2, 3, 4)
NAMED(of_negative_level, -1, 1234, 1, 2, 3, 4)

static void times(int name)
{
    struct timeval values[] = {{1, 500000}, {0, 0}, {0, 1000000}, {0, -1}, {-1, 0}, {0, 100000}, {3600, 0}};
    int fd = stream();
    got("fresh", fd, SOL_SOCKET, name, 16);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        errno = 0;
        int r = setsockopt(fd, SOL_SOCKET, name, &values[i], sizeof values[i]);
        say("%ld %ld: %s", (long)values[i].tv_sec, (long)values[i].tv_usec, r < 0 ? error_name(errno) : "ok");
        got("now", fd, SOL_SOCKET, name, 16);
    }
    TRY(setsockopt(fd, SOL_SOCKET, name, values, 8));
    TRY(setsockopt(fd, SOL_SOCKET, name, values, 15));
    TRY(setsockopt(fd, SOL_SOCKET, name, values, 24));
    got("now", fd, SOL_SOCKET, name, 8);
    got("now", fd, SOL_SOCKET, name, 24);
}
CASE(option, receive_timeout) { times(SO_RCVTIMEO); }
CASE(option, send_timeout) { times(SO_SNDTIMEO); }
CASE(option, linger)
{
    struct linger values[] = {{1, 0}, {1, 5}, {0, 7}, {7, 1}, {0, 0}};
    int fd = stream();
    got("fresh", fd, SOL_SOCKET, SO_LINGER, 8);
    for (size_t i = 0; i < 5; i++) {
        TRY(setsockopt(fd, SOL_SOCKET, SO_LINGER, &values[i], sizeof values[i]));
        got("now", fd, SOL_SOCKET, SO_LINGER, 8);
    }
    TRY(setsockopt(fd, SOL_SOCKET, SO_LINGER, values, 4));
    got("now", fd, SOL_SOCKET, SO_LINGER, 4);
    got("now", fd, SOL_SOCKET, SO_LINGER, 16);
}
CASE(option, null_value)
{
    socklen_t len = 4;
    int fd = stream(), value;
    TRY(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, NULL, 4));
    TRY(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, NULL, &len));
    TRY(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, NULL));
}
CASE(option, negative_length)
{
    socklen_t len = -1;
    int fd = stream(), value = 1;
    TRY(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, -1));
    TRY(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, &len));
    len = -1;
    TRY(getsockopt(fd, IPPROTO_IP, IP_TTL, &value, &len));
    len = -1;
    TRY(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len));
}
CASE(option, closed_descriptor)
{
    socklen_t len = 4;
    int value = 1, file = NEED(open("/dev/null", O_RDWR));
    TRY(setsockopt(-1, SOL_SOCKET, SO_REUSEADDR, &value, 4));
    TRY(getsockopt(-1, SOL_SOCKET, SO_REUSEADDR, &value, &len));
    TRY(setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &value, 4));
    TRY(getsockopt(file, SOL_SOCKET, SO_REUSEADDR, &value, &len));
}
CASE(option, buffers_have_limits)
{
    int fd = stream();
    set(fd, SOL_SOCKET, SO_RCVBUF, 0);
    got("smallest", fd, SOL_SOCKET, SO_RCVBUF, 4);
    set(fd, SOL_SOCKET, SO_SNDBUF, 0);
    got("smallest", fd, SOL_SOCKET, SO_SNDBUF, 4);
}
CASE(option, bind_to_device)
{
    char name[16] = "";
    socklen_t len = sizeof name;
    int fd = stream();
    TRY(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
    say("length %u", len);
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8));
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "tap0", 5));
    len = sizeof name;
    TRY(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
    say("%s, length %u", name, len);
}
CASE(option, mtu_of_a_connection)
{
    int id, fd = associated(&id);
    say("IP_MTU %d", get(fd, IPPROTO_IP, IP_MTU));
    fd = connected(&id);
    say("IP_MTU %d", get(fd, IPPROTO_IP, IP_MTU));
}
CASE(option, ttl_on_the_wire)
{
    int id, fd = associated(&id);
    set(fd, IPPROTO_IP, IP_TTL, 21);
    set(fd, IPPROTO_IP, IP_TOS, 0x60);
    TRY(send(fd, "x", 1, 0));
    struct peer_datagram got = peer_recvfrom(id);
    say("TTL %d, TOS %d", got.ttl, got.tos);
}
CASE(option, receive_low_water)
{
    char in[8];
    int id, fd = connected(&id);
    set(fd, SOL_SOCKET, SO_RCVLOWAT, 4);
    NEED(peer_send(id, "ab", 2, 0));
    await_bytes(fd, 2);
    say_events("two of four", fd);
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
}
CASE(option, multicast_membership)
{
    struct ip_mreqn wrong = {0};
    int fd = datagram();
    TRY(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &wrong, sizeof wrong));
    TRY(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &wrong, 4));
}
/* TCP_INFO's busy and limited times, which <netinet/tcp.h> does not know yet. */
static void waited(const char *when, int fd)
{
    uint64_t info[29] = {0}, *busy = info + 168 / 8;
    socklen_t len = sizeof info;
    NEED(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len));
    say("%s: busy %d, limited by the window %d, by the buffer %d", when, busy[0] >= 250000, busy[1] >= 250000,
        busy[2] >= 250000);
    say("%s: within busy: %d", when, busy[1] + busy[2] <= busy[0]);
}
CASE(option, info_waited)
{
    static char room[1 << 16];
    int id, fd = connected(&id);
    NEED(send(fd, "x", 1, 0));
    NEED(peer_recv(id, room, 1, 0));
    await_sent(fd);
    pause_ms(300);
    waited("nothing to send", fd);
    nonblocking(fd);
    fill(fd);
    pause_ms(300);
    waited("nobody reads", fd);
}
