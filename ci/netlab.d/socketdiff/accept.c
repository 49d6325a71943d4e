/* accept, accept4; getsockname and getpeername. */
#include "socketdiff.h"

CASE(accept, connection)
{
    in_name from = {0}, local = {0};
    socklen_t len = sizeof from;
    int listener = listening(port(0), 5);
    NEED(peer_connect(port(0)));
    int fd = TRY_FD(accept(listener, SA(&from), &len));
    say_name("from", SA(&from), len);
    len = sizeof local;
    TRY(getsockname(fd, SA(&local), &len));
    say_name("local", SA(&local), len);
    say_events("listener", listener);
    say_events("connection", fd);
}
CASE(accept, no_name)
{
    socklen_t len = 16;
    int listener = listening(port(0), 5);
    NEED(peer_connect(port(0)));
    TRY_FD(accept(listener, NULL, &len));
    say("length %u", len);
}
CASE(accept, no_length)
{
    in_name from;
    int listener = listening(port(0), 5);
    NEED(peer_connect(port(0)));
    await(listener, POLLIN);
    TRY_FD(accept(listener, SA(&from), NULL));
    nonblocking(listener);
    TRY_FD(accept(listener, NULL, NULL));
}
CASE(accept, negative_length)
{
    in_name from;
    socklen_t len = -1;
    int listener = listening(port(0), 5);
    NEED(peer_connect(port(0)));
    TRY_FD(accept(listener, SA(&from), &len));
}
CASE(accept, short_name)
{
    unsigned char from[16];
    socklen_t len = 4;
    int listener = listening(port(0), 5);
    memset(from, 0xaa, sizeof from);
    NEED(peer_connect(port(0)));
    TRY_FD(accept(listener, (void *)from, &len));
    say("length %u, rest untouched %d", len, from[4] == 0xaa && from[15] == 0xaa);
}
CASE(accept, nobody_waits)
{
    int listener = listening(port(0), 5);
    nonblocking(listener);
    TRY_FD(accept(listener, NULL, NULL));
    TRY_FD(accept4(listener, NULL, NULL, SOCK_NONBLOCK));
}
CASE(accept, timeout)
{
    struct timeval time = {.tv_usec = 30000};
    int listener = listening(port(0), 5), start = now_ms();
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    TRY_FD(accept(listener, NULL, NULL));
    say("waited: %d", now_ms() - start >= 28);
}
CASE(accept, not_listening) { TRY_FD(accept(bound(SOCK_STREAM, port(0)), NULL, NULL)); }
CASE(accept, fresh) { TRY_FD(accept(stream(), NULL, NULL)); }
CASE(accept, connection_is_no_listener)
{
    int id, fd = connected(&id);
    TRY_FD(accept(fd, NULL, NULL));
}
CASE(accept, datagram) { TRY_FD(accept(bound(SOCK_DGRAM, port(0)), NULL, NULL)); }
CASE(accept, closed_descriptor)
{
    int fd = stream();
    close(fd);
    TRY_FD(accept(fd, NULL, NULL));
    TRY_FD(accept(-1, NULL, NULL));
}
CASE(accept, no_socket) { TRY_FD(accept(NEED(open("/dev/null", O_RDWR)), NULL, NULL)); }

static void accept_flags(int flags)
{
    int listener = listening(port(0), 5);
    NEED(peer_connect(port(0)));
    int fd = accept4(listener, NULL, NULL, flags);
    said("accept4", fd < 0 ? -1 : 0);
    if (fd >= 0)
        say("O_NONBLOCK %d, FD_CLOEXEC %d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK), fcntl(fd, F_GETFD));
}
CASE(accept, flags_none) { accept_flags(0); }
CASE(accept, flags_nonblocking) { accept_flags(SOCK_NONBLOCK); }
CASE(accept, flags_close_on_exec) { accept_flags(SOCK_CLOEXEC); }
CASE(accept, flags_both) { accept_flags(SOCK_NONBLOCK | SOCK_CLOEXEC); }
CASE(accept, flags_nobody_knows) { accept_flags(1); }
CASE(accept, mode_is_not_inherited)
{
    int listener = listening(port(0), 5);
    nonblocking(listener);
    NEED(peer_connect(port(0)));
    await(listener, POLLIN);
    int fd = NEED(accept(listener, NULL, NULL));
    say("O_NONBLOCK %d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
}
CASE(accept, options_are_inherited)
{
    struct linger linger = {1, 3};
    struct timeval time = {.tv_usec = 248000};
    socklen_t len = sizeof linger;
    int listener = listening(port(0), 5), ttl = 33, tos = 0x10;
    set(listener, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(listener, SOL_SOCKET, SO_OOBINLINE, 1);
    set(listener, SOL_SOCKET, SO_RCVLOWAT, 3);
    set(listener, SOL_SOCKET, SO_PRIORITY, 2);
    set(listener, IPPROTO_TCP, TCP_NODELAY, 1);
    set(listener, IPPROTO_IP, IP_TTL, ttl);
    set(listener, IPPROTO_IP, IP_TOS, tos);
    setsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt(listener, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    NEED(peer_connect(port(0)));
    int fd = NEED(accept(listener, NULL, NULL));
    say("keepalive %d, inline %d, low %d, priority %d, no delay %d", get(fd, SOL_SOCKET, SO_KEEPALIVE), get(fd, SOL_SOCKET, SO_OOBINLINE),
        get(fd, SOL_SOCKET, SO_RCVLOWAT), get(fd, SOL_SOCKET, SO_PRIORITY), get(fd, IPPROTO_TCP, TCP_NODELAY));
    say("ttl %d, tos %d, reuse %d", get(fd, IPPROTO_IP, IP_TTL), get(fd, IPPROTO_IP, IP_TOS), get(fd, SOL_SOCKET, SO_REUSEADDR));
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len);
    say("linger %d %d", linger.l_onoff, linger.l_linger);
    len = sizeof time;
    getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, &len);
    say("receive timeout %ld", (long)time.tv_usec);
    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, &len);
    say("send timeout %ld", (long)time.tv_usec);
}
CASE(accept, timeout_is_inherited_and_works)
{
    struct timeval time = {.tv_usec = 30000};
    char c;
    int listener = listening(port(0), 5);
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    NEED(peer_connect(port(0)));
    int fd = NEED(accept(listener, NULL, NULL)), start = now_ms();
    TRY(recv(fd, &c, 1, 0));
    say("waited: %d", now_ms() - start >= 28);
}
CASE(accept, data_came_before)
{
    char in[4] = "";
    int listener = listening(port(0), 5), id = NEED(peer_connect(port(0)));
    NEED(peer_send(id, "abc", 3, 0));
    pause_ms(10);
    int fd = NEED(accept(listener, NULL, NULL));
    say_mask("awaited", await(fd, POLLIN) & POLLIN);
    TRY(recv(fd, in, 3, 0));
}
CASE(accept, peer_has_closed_already)
{
    char c;
    int listener = listening(port(0), 5), id = NEED(peer_connect(port(0)));
    NEED(peer_send(id, "a", 1, 0));
    NEED(peer_close(id));
    pause_ms(10);
    int fd = NEED(accept(listener, NULL, NULL));
    await(fd, POLLRDHUP);
    say_events("events", fd);
    TRY(recv(fd, &c, 1, 0));
    TRY(recv(fd, &c, 1, 0));
}
CASE(accept, peer_has_reset_already)
{
    char c;
    int listener = listening(port(0), 5), id = NEED(peer_connect(port(0)));
    await(listener, POLLIN);
    NEED(peer_reset(id));
    pause_ms(20);
    say_events("listener", listener);
    nonblocking(listener);
    int fd = TRY_FD(accept(listener, NULL, NULL));
    if (fd < 0)
        return;
    await(fd, POLLIN);
    say_events("events", fd);
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
}
CASE(accept, many_in_order)
{
    in_name from;
    socklen_t len = sizeof from;
    int listener = listening(port(0), 16), fds[8];
    char c = 0, text[9] = "";
    for (int i = 0; i < 8; i++) {
        int id = NEED(peer_connect(port(0)));
        c = 'a' + i;
        NEED(peer_send(id, &c, 1, 0));
    }
    for (int i = 0; i < 8; i++) {
        fds[i] = NEED(accept(listener, SA(&from), &len));
        recv(fds[i], &text[i], 1, 0);
    }
    say("%s", text);
    nonblocking(listener);
    TRY_FD(accept(listener, NULL, NULL));
}

CASE(names, fresh)
{
    in_name got;
    socklen_t len = sizeof got;
    int fd = stream();
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    TRY(getpeername(fd, SA(&got), &len));
    fd = datagram();
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    TRY(getpeername(fd, SA(&got), &len));
}

static void cut(socklen_t room, int (*name_of)(int, struct sockaddr *, socklen_t *))
{
    unsigned char name[32];
    socklen_t len = room;
    in_name peer = at(theirs, port(1));
    int fd = bound(SOCK_DGRAM, port(0));
    NEED(connect(fd, SA(&peer), LEN));
    memset(name, 0xaa, sizeof name);
    said("call", (errno = 0, name_of(fd, (void *)name, &len)));
    say("length %u", len);
    for (int i = 0; i < 20; i++)
        if (i == 0 || i == 1 || (i >= 4 && i <= 8) || i == 15 || i == 16)
            say("byte %d: %02x", i, name[i]);
}
CASE(names, local_cut_to_zero) { cut(0, getsockname); }
CASE(names, local_cut_to_one) { cut(1, getsockname); }
CASE(names, local_cut_to_seven) { cut(7, getsockname); }
CASE(names, local_exact) { cut(16, getsockname); }
CASE(names, local_more_room) { cut(32, getsockname); }
CASE(names, local_negative_room) { cut(-1, getsockname); }
CASE(names, peer_cut_to_zero) { cut(0, getpeername); }
CASE(names, peer_cut_to_five) { cut(5, getpeername); }
CASE(names, peer_more_room) { cut(32, getpeername); }
CASE(names, peer_negative_room) { cut(-5, getpeername); }
CASE(names, null)
{
    in_name got;
    socklen_t len = sizeof got;
    int id, fd = connected(&id);
    TRY(getsockname(fd, NULL, &len));
    TRY(getsockname(fd, SA(&got), NULL));
    TRY(getpeername(fd, NULL, &len));
    TRY(getpeername(fd, SA(&got), NULL));
}
CASE(names, bad_address)
{
    socklen_t len = LEN;
    TRY(getsockname(stream(), (void *)8, &len));
}
CASE(names, closed_descriptor)
{
    in_name got;
    socklen_t len = sizeof got;
    TRY(getsockname(-1, SA(&got), &len));
    TRY(getpeername(-1, SA(&got), &len));
    int fd = NEED(open("/dev/null", O_RDWR));
    TRY(getsockname(fd, SA(&got), &len));
    TRY(getpeername(fd, SA(&got), &len));
}
CASE(names, listener)
{
    in_name got;
    socklen_t len = sizeof got;
    int fd = listening(port(0), 1);
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    TRY(getpeername(fd, SA(&got), &len));
}
CASE(names, after_peer_has_closed)
{
    in_name got;
    socklen_t len = sizeof got;
    int id, fd = connected(&id);
    peer_close(id);
    await(fd, POLLRDHUP);
    TRY(getpeername(fd, SA(&got), &len));
    say_name("peer", SA(&got), len);
}
CASE(names, after_both_have_closed)
{
    in_name got;
    socklen_t len = sizeof got;
    int id, fd = connected(&id);
    shutdown(fd, SHUT_WR);
    peer_close(id);
    await(fd, POLLHUP);
    TRY(getpeername(fd, SA(&got), &len));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
}
CASE(names, after_reset)
{
    in_name got;
    socklen_t len = sizeof got;
    int fd = reset_by_peer();
    TRY(getpeername(fd, SA(&got), &len));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
}
