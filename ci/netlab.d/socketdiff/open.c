/* socket, bind, listen. */
#include "socketdiff.h"

static void made(int family, int kind, int protocol)
{
    int fd = socket(family, kind, protocol);
    said("socket", fd < 0 ? -1 : 0);
    if (fd < 0)
        return;
    say("type %d, protocol %d, domain %d", get(fd, SOL_SOCKET, SO_TYPE), get(fd, SOL_SOCKET, SO_PROTOCOL), get(fd, SOL_SOCKET, SO_DOMAIN));
    say("O_NONBLOCK %d, FD_CLOEXEC %d, mode %d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK), fcntl(fd, F_GETFD), fcntl(fd, F_GETFL) & O_ACCMODE);
}

CASE(socket, stream) { made(AF_INET, SOCK_STREAM, 0); }
CASE(socket, stream_tcp) { made(AF_INET, SOCK_STREAM, IPPROTO_TCP); }
CASE(socket, datagram) { made(AF_INET, SOCK_DGRAM, 0); }
CASE(socket, datagram_udp) { made(AF_INET, SOCK_DGRAM, IPPROTO_UDP); }
CASE(socket, stream_of_udp) { made(AF_INET, SOCK_STREAM, IPPROTO_UDP); }
CASE(socket, datagram_of_tcp) { made(AF_INET, SOCK_DGRAM, IPPROTO_TCP); }
CASE(socket, nonblocking) { made(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); }
CASE(socket, close_on_exec) { made(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }
CASE(socket, both_flags) { made(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }
CASE(socket, flag_nobody_knows) { made(AF_INET, SOCK_STREAM | 0x100, 0); }
CASE(socket, type_zero) { made(AF_INET, 0, 0); }
CASE(socket, type_seqpacket) { made(AF_INET, SOCK_SEQPACKET, 0); }
CASE(socket, type_rdm) { made(AF_INET, SOCK_RDM, 0); }
CASE(socket, type_eleven) { made(AF_INET, 11, 0); }
CASE(socket, type_negative) { made(AF_INET, -1, 0); }
CASE(socket, family_too_large) { made(999, SOCK_STREAM, 0); }
CASE(socket, family_unspecified) { made(AF_UNSPEC, SOCK_STREAM, 0); }
CASE(socket, family_negative) { made(-1, SOCK_STREAM, 0); }
CASE(socket, stream_protocol_negative) { made(AF_INET, SOCK_STREAM, -1); }
CASE(socket, stream_protocol_too_large) { made(AF_INET, SOCK_STREAM, 300); }
CASE(socket, stream_protocol_nobody_knows) { made(AF_INET, SOCK_STREAM, 253); }
CASE(socket, datagram_protocol_nobody_knows) { made(AF_INET, SOCK_DGRAM, 253); }
CASE(socket, lowest_number)
{
    int a = stream(), b = datagram(), c;
    say("next to each other: %d", b == a + 1);
    TRY(close(a));
    c = stream();
    say("the lowest that is free: %d", c == a);
}

static void bind_to(int kind, const char *address, int number)
{
    in_name name = at(address, number), got = {0};
    socklen_t len = sizeof got;
    int fd = NEED(socket(AF_INET, kind, 0));
    TRY(bind(fd, SA(&name), LEN));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("is", SA(&got), len);
}

CASE(bind, stream_own_address) { bind_to(SOCK_STREAM, mine, port(0)); }
CASE(bind, stream_wildcard) { bind_to(SOCK_STREAM, "0.0.0.0", port(0)); }
CASE(bind, stream_any_port) { bind_to(SOCK_STREAM, mine, 0); }
CASE(bind, stream_nothing_at_all) { bind_to(SOCK_STREAM, "0.0.0.0", 0); }
CASE(bind, stream_foreign_address) { bind_to(SOCK_STREAM, theirs, port(0)); }
CASE(bind, stream_multicast) { bind_to(SOCK_STREAM, "224.0.0.1", port(0)); }
CASE(bind, stream_broadcast) { bind_to(SOCK_STREAM, "255.255.255.255", port(0)); }
CASE(bind, stream_subnet_broadcast) { bind_to(SOCK_STREAM, "198.18.77.255", port(0)); }
CASE(bind, datagram_own_address) { bind_to(SOCK_DGRAM, mine, port(0)); }
CASE(bind, datagram_wildcard) { bind_to(SOCK_DGRAM, "0.0.0.0", port(0)); }
CASE(bind, datagram_any_port) { bind_to(SOCK_DGRAM, mine, 0); }
CASE(bind, datagram_foreign_address) { bind_to(SOCK_DGRAM, theirs, port(0)); }
CASE(bind, datagram_multicast) { bind_to(SOCK_DGRAM, "224.0.0.1", port(0)); }
CASE(bind, datagram_broadcast) { bind_to(SOCK_DGRAM, "255.255.255.255", port(0)); }
CASE(bind, datagram_subnet_broadcast) { bind_to(SOCK_DGRAM, "198.18.77.255", port(0)); }

static void bind_len(socklen_t len)
{
    struct { in_name name; char more[112]; } room = {.name = at(mine, port(0))};
    int fd = stream();
    TRY(bind(fd, SA(&room), len));
}
CASE(bind, length_zero) { bind_len(0); }
CASE(bind, length_one) { bind_len(1); }
CASE(bind, length_two) { bind_len(2); }
CASE(bind, length_short_by_one) { bind_len(15); }
CASE(bind, length_longer) { bind_len(28); }
CASE(bind, length_longest) { bind_len(128); }
CASE(bind, length_too_long) { bind_len(129); }
CASE(bind, length_negative) { bind_len(-1); }
CASE(bind, null)
{
    int fd = stream();
    TRY(bind(fd, NULL, LEN));
    TRY(bind(fd, NULL, 0));
}
CASE(bind, bad_address)
{
    int fd = stream();
    TRY(bind(fd, (struct sockaddr *)1, LEN));
}

static void bind_family(int family, const char *address)
{
    in_name name = at(address, port(0));
    name.sin_family = family;
    int fd = stream();
    TRY(bind(fd, SA(&name), LEN));
}
CASE(bind, family_unspecified_wildcard) { bind_family(AF_UNSPEC, "0.0.0.0"); }
CASE(bind, family_unspecified_address) { bind_family(AF_UNSPEC, mine); }
CASE(bind, family_unix) { bind_family(AF_UNIX, mine); }
CASE(bind, family_inet6) { bind_family(AF_INET6, mine); }

static void twice(int kind, const char *one, const char *other, int reuse, int option)
{
    in_name a = at(one, port(0)), b = at(other, port(0));
    int first = NEED(socket(AF_INET, kind, 0)), second = NEED(socket(AF_INET, kind, 0));
    if (reuse & 1)
        set(first, SOL_SOCKET, option, 1);
    if (reuse & 2)
        set(second, SOL_SOCKET, option, 1);
    TRY(bind(first, SA(&a), LEN));
    TRY(bind(second, SA(&b), LEN));
}
CASE(bind, twice_stream) { twice(SOCK_STREAM, mine, mine, 0, 0); }
CASE(bind, twice_stream_wildcard_first) { twice(SOCK_STREAM, "0.0.0.0", mine, 0, 0); }
CASE(bind, twice_stream_wildcard_second) { twice(SOCK_STREAM, mine, "0.0.0.0", 0, 0); }
CASE(bind, twice_stream_reuse_address) { twice(SOCK_STREAM, mine, mine, 3, SO_REUSEADDR); }
CASE(bind, twice_stream_reuse_address_first_only) { twice(SOCK_STREAM, mine, mine, 1, SO_REUSEADDR); }
CASE(bind, twice_stream_reuse_port) { twice(SOCK_STREAM, mine, mine, 3, SO_REUSEPORT); }
CASE(bind, twice_stream_reuse_port_second_only) { twice(SOCK_STREAM, mine, mine, 2, SO_REUSEPORT); }
CASE(bind, twice_datagram) { twice(SOCK_DGRAM, mine, mine, 0, 0); }
CASE(bind, twice_datagram_wildcard_first) { twice(SOCK_DGRAM, "0.0.0.0", mine, 0, 0); }
CASE(bind, twice_datagram_reuse_address) { twice(SOCK_DGRAM, mine, mine, 3, SO_REUSEADDR); }
CASE(bind, twice_datagram_reuse_address_second_only) { twice(SOCK_DGRAM, mine, mine, 2, SO_REUSEADDR); }
CASE(bind, twice_datagram_reuse_port) { twice(SOCK_DGRAM, mine, mine, 3, SO_REUSEPORT); }
CASE(bind, stream_and_datagram_at_one_port)
{
    in_name name = at(mine, port(0));
    int a = stream(), b = datagram();
    TRY(bind(a, SA(&name), LEN));
    TRY(bind(b, SA(&name), LEN));
}
CASE(bind, again)
{
    in_name name = at(mine, port(0)), other = at(mine, port(1));
    int fd = stream();
    TRY(bind(fd, SA(&name), LEN));
    TRY(bind(fd, SA(&name), LEN));
    TRY(bind(fd, SA(&other), LEN));
}
CASE(bind, again_datagram)
{
    in_name name = at(mine, port(0)), other = at(mine, port(1));
    int fd = datagram();
    TRY(bind(fd, SA(&name), LEN));
    TRY(bind(fd, SA(&other), LEN));
}
CASE(bind, connected_stream)
{
    in_name name = at(mine, port(0));
    int id, fd = connected(&id);
    TRY(bind(fd, SA(&name), LEN));
}
CASE(bind, connected_datagram)
{
    in_name name = at(mine, port(0)), peer = at(theirs, port(1));
    int fd = datagram();
    TRY(connect(fd, SA(&peer), LEN));
    TRY(bind(fd, SA(&name), LEN));
}
CASE(bind, free_again_after_close)
{
    in_name name = at(mine, port(0));
    int fd = stream();
    TRY(bind(fd, SA(&name), LEN));
    TRY(close(fd));
    fd = stream();
    TRY(bind(fd, SA(&name), LEN));
}
CASE(bind, listener_at_port_of_listener)
{
    in_name name = at(mine, port(0));
    int first = stream(), second = stream();
    (void)first;
    listening(port(0), 1);
    set(second, SOL_SOCKET, SO_REUSEADDR, 1);
    TRY(bind(second, SA(&name), LEN));
}
CASE(bind, beside_connection_with_reuse)
{
    in_name name = at(mine, port(6));
    int id, fd = stream();
    accepted(&id, NULL);
    pause_ms(20);
    TRY(bind(fd, SA(&name), LEN));
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    TRY(bind(fd, SA(&name), LEN));
    TRY(listen(fd, 1));
}
CASE(bind, closed_descriptor)
{
    in_name name = at(mine, port(0));
    int fd = stream();
    close(fd);
    TRY(bind(fd, SA(&name), LEN));
    TRY(bind(-1, SA(&name), LEN));
}
CASE(bind, no_socket)
{
    in_name name = at(mine, port(0));
    int fd = NEED(open("/dev/null", O_RDWR));
    TRY(bind(fd, SA(&name), LEN));
}

CASE(listen, unbound)
{
    in_name got = {0};
    socklen_t len = sizeof got;
    int fd = stream();
    TRY(listen(fd, 5));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("is", SA(&got), len);
    say("accepts: %d", get(fd, SOL_SOCKET, SO_ACCEPTCONN));
}
CASE(listen, again)
{
    int fd = listening(port(0), 5);
    TRY(listen(fd, 7));
    TRY(listen(fd, 0));
}
CASE(listen, backlog_zero) { TRY(listen(stream(), 0)); }
CASE(listen, backlog_negative) { TRY(listen(stream(), -1)); }
CASE(listen, backlog_large) { TRY(listen(stream(), INT_MAX)); }
CASE(listen, datagram) { TRY(listen(bound(SOCK_DGRAM, port(0)), 5)); }
CASE(listen, connected)
{
    int id, fd = connected(&id);
    TRY(listen(fd, 5));
}
CASE(listen, accepted)
{
    int id, fd = accepted(&id, NULL);
    TRY(listen(fd, 5));
}
CASE(listen, two_at_one_address)
{
    int a = bound(SOCK_STREAM, port(0)), b = bound(SOCK_STREAM, port(0));
    TRY(listen(a, 5));
    TRY(listen(b, 5));
}
CASE(listen, closed_descriptor)
{
    int fd = stream();
    close(fd);
    TRY(listen(fd, 5));
    TRY(listen(-1, 5));
}
CASE(listen, no_socket) { TRY(listen(NEED(open("/dev/null", O_RDWR)), 5)); }
CASE(listen, backlog_is_kept)
{
    int fd = listening(port(0), 1);
    (void)fd;
    say("first: %d", peer_connect(port(0)) >= 0);
    say("second: %d", peer_connect(port(0)) >= 0);
    nonblocking(fd);
    await(fd, POLLIN);
    say("accept: %d", accept(fd, NULL, NULL) >= 0);
    await(fd, POLLIN);
    say("accept: %d", accept(fd, NULL, NULL) >= 0);
    TRY_FD(accept(fd, NULL, NULL));
}
CASE(listen, connection_in_queue_is_closed_with_it)
{
    char c;
    int fd = listening(port(0), 5), id = NEED(peer_connect(port(0)));
    await(fd, POLLIN);
    TRY(close(fd));
    TRY(peer_recv(id, &c, 1, 0));
}
CASE(listen, refused_after_close)
{
    int fd = listening(port(0), 5);
    TRY(close(fd));
    pause_ms(10);
    TRY_FD(peer_connect(port(0)));
}
