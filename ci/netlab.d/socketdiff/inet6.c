/* Sockets of AF_INET6 that talk over IPv4 (RFC 3493 3.7). */
#include "socketdiff.h"

typedef struct sockaddr_in6 in6_name;
#define LEN6 sizeof(in6_name)

static in6_name mapped(const char *address, int port)
{
    char text[64];
    in6_name name = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    sprintf(text, "::ffff:%s", address);
    inet_pton(AF_INET6, text, &name.sin6_addr);
    return name;
}
static void say_name6(const char *what, int (*get)(int, struct sockaddr *, socklen_t *), int fd)
{
    in6_name name = {0};
    socklen_t len = sizeof name;
    char text[64] = "";
    said(what, (errno = 0, get(fd, SA(&name), &len)));
    inet_ntop(AF_INET6, &name.sin6_addr, text, sizeof text);
    int port = ntohs(name.sin6_port);
    say("%s: family %d, length %u, %s, port %d", what, name.sin6_family, len, text, port < 30000 ? port : -1);
}

CASE(inet6, fresh_name) { say_name6("getsockname", getsockname, NEED(socket(AF_INET6, SOCK_STREAM, 0))); }

CASE(inet6, mapped_stream)
{
    in6_name name = mapped(theirs, port(0));
    char in[4] = "";
    int listener = NEED(peer_listen(port(0), 5)), fd = NEED(socket(AF_INET6, SOCK_STREAM, 0));
    TRY(connect(fd, SA(&name), LEN6));
    int id = NEED(peer_accept(listener));
    say_name6("getsockname", getsockname, fd);
    say_name6("getpeername", getpeername, fd);
    TRY(send(fd, "abc", 3, 0));
    say("the peer got %d", peer_recv(id, in, 3, 0));
    NEED(peer_send(id, "def", 3, 0));
    await_bytes(fd, 3);
    TRY(recv(fd, in, 3, 0));
}
CASE(inet6, listener_takes_both)
{
    in6_name any = {.sin6_family = AF_INET6, .sin6_port = htons(port(0))};
    int fd = NEED(socket(AF_INET6, SOCK_STREAM, 0));
    TRY(bind(fd, SA(&any), LEN6));
    TRY(listen(fd, 5));
    NEED(peer_connect(port(0)));
    int new = NEED(accept(fd, NULL, NULL));
    say_name6("getsockname", getsockname, new);
}
CASE(inet6, listener_of_its_own_only)
{
    in6_name any = {.sin6_family = AF_INET6, .sin6_port = htons(port(0))};
    int fd = NEED(socket(AF_INET6, SOCK_STREAM, 0));
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    TRY(bind(fd, SA(&any), LEN6));
    TRY(listen(fd, 5));
    say("the peer: %s", peer_connect(port(0)) < 0 ? error_name(errno) : "connected");
}
static void refused(int kind, const char *to)
{
    in6_name name = mapped(to, port(0));
    int fd = NEED(socket(AF_INET6, kind, 0));
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    TRY(connect(fd, SA(&name), LEN6));
}
CASE(inet6, only_stream_to_mapped) { refused(SOCK_STREAM, theirs); }
CASE(inet6, only_datagram_to_mapped) { refused(SOCK_DGRAM, theirs); }
CASE(inet6, name_of_inet)
{
    in_name name = at(theirs, port(0));
    int fd = NEED(socket(AF_INET6, SOCK_DGRAM, 0));
    TRY(bind(fd, SA(&name), LEN));
    TRY(sendto(fd, "x", 1, 0, SA(&name), LEN));
}
CASE(inet6, no_route)
{
    in6_name name = {.sin6_family = AF_INET6, .sin6_port = htons(port(0))};
    inet_pton(AF_INET6, "2001:db8::1", &name.sin6_addr);
    TRY(sendto(NEED(socket(AF_INET6, SOCK_DGRAM, 0)), "x", 1, 0, SA(&name), LEN6));
    TRY(connect(NEED(socket(AF_INET6, SOCK_DGRAM, 0)), SA(&name), LEN6));
    TRY(connect(NEED(socket(AF_INET6, SOCK_STREAM, 0)), SA(&name), LEN6));
}
CASE(inet6, mapped_no_route)
{
    in6_name name = mapped("203.0.113.5", port(0));
    TRY(sendto(NEED(socket(AF_INET6, SOCK_DGRAM, 0)), "x", 1, 0, SA(&name), LEN6));
}

/* Ancillary data of datagrams that came over IPv4. */
static void received_with(int level, int name)
{
    in6_name any = {.sin6_family = AF_INET6, .sin6_port = htons(port(0))}, from = {0};
    char data[8], control[256], text[64] = "";
    int fd = NEED(socket(AF_INET6, SOCK_DGRAM, 0)), id = NEED(peer_udp(port(1)));
    NEED(bind(fd, SA(&any), LEN6));
    set(fd, level, name, 1);
    NEED(peer_sendto(id, port(0), "abc", 3));
    await(fd, POLLIN);
    struct iovec into = {data, sizeof data};
    struct msghdr m = {&from, LEN6, &into, 1, control, sizeof control, 0};
    TRY(recvmsg(fd, &m, MSG_DONTWAIT));
    inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof text);
    say("from %s, name of %u bytes", text, m.msg_namelen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        say("level %d, type %d, %zu bytes", c->cmsg_level, c->cmsg_type, c->cmsg_len);
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            inet_ntop(AF_INET6, &((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr, text, sizeof text);
            say("to %s", text);
        }
    }
}
CASE(inet6, pktinfo_of_mapped) { received_with(IPPROTO_IPV6, IPV6_RECVPKTINFO); }
