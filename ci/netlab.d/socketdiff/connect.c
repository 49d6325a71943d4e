/* connect. */
#include "socketdiff.h"

static int trying(void)
{
    in_name name = at(nobody, port(0));
    int fd = stream();
    nonblocking(fd);
    if (connect(fd, SA(&name), LEN) == 0 || errno != EINPROGRESS)
        said("connect to nobody", -1);
    return fd;
}

CASE(connect, stream)
{
    in_name got = {0};
    socklen_t len = sizeof got;
    int id, fd = connected(&id);
    TRY(getpeername(fd, SA(&got), &len));
    say_name("peer", SA(&got), len);
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    say_events("events", fd);
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(connect, refused)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
    say_events("events", fd);
}
CASE(connect, refused_then_accepted)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&name), LEN));
    TRY(send(fd, "x", 1, 0));
}
CASE(connect, refused_twice)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, refused_calls_after)
{
    in_name name = at(theirs, port(0)), got;
    socklen_t len = sizeof got;
    char c;
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(getpeername(fd, SA(&got), &len));
    TRY(shutdown(fd, SHUT_RDWR));
}
CASE(connect, refused_nonblocking)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    nonblocking(fd);
    TRY(connect(fd, SA(&name), LEN));
    say_mask("awaited", await(fd, POLLOUT) & POLLOUT);
    say_events("events", fd);
    say("SO_ERROR %s", error_name(get(fd, SOL_SOCKET, SO_ERROR)));
    say("SO_ERROR again %d", get(fd, SOL_SOCKET, SO_ERROR));
    say_events("events", fd);
}
CASE(connect, refused_nonblocking_connect_says_so)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    nonblocking(fd);
    TRY(connect(fd, SA(&name), LEN));
    await(fd, POLLOUT);
    TRY(connect(fd, SA(&name), LEN));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(connect, refused_nonblocking_send_says_so)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    nonblocking(fd);
    TRY(connect(fd, SA(&name), LEN));
    await(fd, POLLOUT);
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
}
CASE(connect, refused_nonblocking_recv_says_so)
{
    char c;
    in_name name = at(theirs, port(0));
    int fd = stream();
    nonblocking(fd);
    TRY(connect(fd, SA(&name), LEN));
    await(fd, POLLOUT);
    TRY(recv(fd, &c, 1, 0));
    TRY(recv(fd, &c, 1, 0));
}
CASE(connect, nonblocking)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    nonblocking(fd);
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&name), LEN));
    say_mask("awaited", await(fd, POLLOUT) & POLLOUT);
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
    TRY(connect(fd, SA(&name), LEN));
    TRY(connect(fd, SA(&name), LEN));
    TRY(send(fd, "x", 1, 0));
}
CASE(connect, under_way)
{
    in_name name = at(nobody, port(0)), got;
    socklen_t len = sizeof got;
    char c;
    int fd = trying();
    say_events("events", fd);
    TRY(connect(fd, SA(&name), LEN));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(recv(fd, &c, 1, 0));
    TRY(getpeername(fd, SA(&got), &len));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    TRY(listen(fd, 5));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(connect, under_way_shut_for_reading)
{
    int fd = trying();
    TRY(shutdown(fd, SHUT_RD));
    say_events("events", fd);
}
CASE(connect, under_way_shut)
{
    in_name name = at(nobody, port(0));
    char c;
    int fd = trying();
    TRY(shutdown(fd, SHUT_RDWR));
    say_events("events", fd);
    TRY(connect(fd, SA(&name), LEN));
    TRY(recv(fd, &c, 1, 0));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
}
CASE(connect, under_way_send_timeout)
{
    in_name name = at(nobody, port(0));
    struct timeval time = {.tv_usec = 50000};
    int fd = stream(), start = now_ms();
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    TRY(connect(fd, SA(&name), LEN));
    start = now_ms() - start;
    say("waited: %d", start >= 45 && start < 1500);
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, under_way_dissolved)
{
    in_name name = at(nobody, port(0)), none = {.sin_family = AF_UNSPEC};
    int fd = trying();
    TRY(connect(fd, SA(&none), LEN));
    say_events("events", fd);
    NEED(peer_listen(port(0), 5));
    name = at(theirs, port(0));
    TRY(fcntl(fd, F_SETFL, 0));
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, dissolved)
{
    in_name none = {.sin_family = AF_UNSPEC}, name = at(theirs, port(0)), got;
    socklen_t len = sizeof got;
    int id, fd = connected(&id);
    char c;
    TRY(connect(fd, SA(&none), LEN));
    TRY(peer_recv(id, &c, 1, 0));
    TRY(getpeername(fd, SA(&got), &len));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&name), LEN));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
}
CASE(connect, again)
{
    in_name name = at(theirs, port(0));
    int id, fd = connected(&id);
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, listener)
{
    in_name name = at(theirs, port(0));
    int fd = listening(port(1), 5);
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, after_reset)
{
    in_name name = at(theirs, port(0));
    int fd = reset_by_peer();
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&name), LEN));
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, after_both_have_closed)
{
    in_name name = at(theirs, port(0));
    int id, fd = connected(&id);
    TRY(peer_close(id));
    await(fd, POLLRDHUP);
    TRY(shutdown(fd, SHUT_WR));
    await(fd, POLLHUP);
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, keeps_bound_port)
{
    in_name name = at(theirs, port(0)), got;
    socklen_t len = sizeof got;
    int fd = bound(SOCK_STREAM, port(1));
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&name), LEN));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
}
CASE(connect, wildcard_becomes_address)
{
    in_name name = at(theirs, port(0)), any = at("0.0.0.0", port(1)), got;
    socklen_t len = sizeof got;
    int fd = stream();
    TRY(bind(fd, SA(&any), LEN));
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&name), LEN));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
}
CASE(connect, same_four_tuple)
{
    in_name name = at(theirs, port(0));
    int a = bound(SOCK_STREAM, port(1)), b = bound(SOCK_STREAM, port(1));
    NEED(peer_listen(port(0), 5));
    TRY(connect(a, SA(&name), LEN));
    TRY(connect(b, SA(&name), LEN));
}
CASE(connect, port_zero)
{
    in_name name = at(theirs, 0);
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, broadcast)
{
    in_name name = at("255.255.255.255", port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, subnet_broadcast)
{
    in_name name = at("198.18.77.255", port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, multicast)
{
    in_name name = at("224.0.0.5", port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, no_route)
{
    in_name name = at("203.0.113.1", port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(connect, own_address)
{
    in_name name = at(mine, port(0));
    int listener = listening(port(0), 5), fd = stream();
    TRY(connect(fd, SA(&name), LEN));
    int other = NEED(accept(listener, NULL, NULL));
    char c = 0;
    TRY(send(other, "y", 1, 0));
    TRY(recv(fd, &c, 1, 0));
}
CASE(connect, own_address_refused)
{
    in_name name = at(mine, port(0));
    int fd = stream();
    TRY(connect(fd, SA(&name), LEN));
}

static void connect_len(socklen_t len)
{
    struct { in_name name; char more[112]; } room = {.name = at(theirs, port(0))};
    int fd = stream();
    NEED(peer_listen(port(0), 5));
    TRY(connect(fd, SA(&room), len));
}
CASE(connect, length_zero) { connect_len(0); }
CASE(connect, length_one) { connect_len(1); }
CASE(connect, length_two) { connect_len(2); }
CASE(connect, length_short_by_one) { connect_len(15); }
CASE(connect, length_longest) { connect_len(128); }
CASE(connect, length_too_long) { connect_len(129); }
CASE(connect, length_negative) { connect_len(-1); }
CASE(connect, null)
{
    int fd = stream();
    TRY(connect(fd, NULL, LEN));
    TRY(connect(fd, NULL, 0));
}
CASE(connect, bad_address)
{
    int fd = stream();
    TRY(connect(fd, (struct sockaddr *)8, LEN));
}
CASE(connect, family_unix)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    name.sin_family = AF_UNIX;
    TRY(connect(fd, SA(&name), LEN));
    fd = datagram();
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, family_unspecified_fresh)
{
    in_name none = {.sin_family = AF_UNSPEC};
    int fd = stream();
    TRY(connect(fd, SA(&none), LEN));
    TRY(connect(fd, SA(&none), 2));
}
CASE(connect, closed_descriptor)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    close(fd);
    TRY(connect(fd, SA(&name), LEN));
    TRY(connect(-1, SA(&name), LEN));
}
CASE(connect, no_socket)
{
    in_name name = at(theirs, port(0));
    TRY(connect(NEED(open("/dev/null", O_RDWR)), SA(&name), LEN));
}

CASE(connect, datagram)
{
    in_name name = at(theirs, port(0)), got;
    socklen_t len = sizeof got;
    int fd = datagram();
    TRY(connect(fd, SA(&name), LEN));
    TRY(getpeername(fd, SA(&got), &len));
    say_name("peer", SA(&got), len);
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, datagram_moves_to_another_peer)
{
    in_name name = at(theirs, port(0)), other = at(theirs, port(1)), got;
    socklen_t len = sizeof got;
    int fd = datagram();
    TRY(connect(fd, SA(&name), LEN));
    TRY(connect(fd, SA(&other), LEN));
    TRY(getpeername(fd, SA(&got), &len));
    say_name("peer", SA(&got), len);
}
CASE(connect, datagram_dissolved)
{
    in_name name = at(theirs, port(0)), none = {.sin_family = AF_UNSPEC}, got;
    socklen_t len = sizeof got;
    int fd = datagram();
    TRY(connect(fd, SA(&name), LEN));
    TRY(connect(fd, SA(&none), LEN));
    TRY(getpeername(fd, SA(&got), &len));
    TRY(send(fd, "x", 1, 0));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    TRY(connect(fd, SA(&none), LEN));
    TRY(connect(fd, SA(&none), 2));
}
CASE(connect, datagram_dissolved_keeps_bound_port)
{
    in_name name = at(theirs, port(0)), none = {.sin_family = AF_UNSPEC}, got;
    socklen_t len = sizeof got;
    int fd = bound(SOCK_DGRAM, port(1));
    TRY(connect(fd, SA(&name), LEN));
    TRY(connect(fd, SA(&none), LEN));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
}
CASE(connect, datagram_port_zero)
{
    in_name name = at(theirs, 0), got;
    socklen_t len = sizeof got;
    int fd = datagram();
    TRY(connect(fd, SA(&name), LEN));
    TRY(getpeername(fd, SA(&got), &len));
    TRY(send(fd, "x", 1, 0));
}
CASE(connect, datagram_no_route)
{
    in_name name = at("203.0.113.1", port(0));
    int fd = datagram();
    TRY(connect(fd, SA(&name), LEN));
}
CASE(connect, datagram_broadcast)
{
    in_name name = at("198.18.77.255", port(0));
    int fd = datagram();
    TRY(connect(fd, SA(&name), LEN));
    set(fd, SOL_SOCKET, SO_BROADCAST, 1);
    TRY(connect(fd, SA(&name), LEN));
    TRY(send(fd, "x", 1, 0));
}
CASE(connect, datagram_hears_only_its_peer)
{
    int id, fd = associated(&id), other = NEED(peer_udp(port(2)));
    char c = 0;
    NEED(peer_sendto(other, port(0), "o", 1));
    NEED(peer_sendto(id, port(0), "p", 1));
    await(fd, POLLIN);
    TRY(recv(fd, &c, 1, 0));
    say("from the peer: %d", c == 'p');
    pause_ms(5);
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
}
CASE(connect, datagram_keeps_what_came_before)
{
    in_name name = at(theirs, port(1));
    int fd = bound(SOCK_DGRAM, port(0)), other = NEED(peer_udp(port(2)));
    char c = 0;
    NEED(peer_sendto(other, port(0), "o", 1));
    await(fd, POLLIN);
    TRY(connect(fd, SA(&name), LEN));
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
}
/* Nobody on the link answers for the address. */
CASE(connect, nobody_is_there)
{
    in_name name = at(nobody, port(0));
    int fd = stream(), beside = datagram();
    NEED(connect(beside, SA(&name), LEN));
    NEED(send(beside, "a", 1, 0));
    int start = now_ms();
    TRY(connect(fd, SA(&name), LEN));
    say("soon: %d", now_ms() - start < 4500);
    pause_ms(50);
    TRY(send(beside, "b", 1, 0));
    TRY(recv(beside, &start, sizeof start, MSG_DONTWAIT));
}
