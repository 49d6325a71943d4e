/* Fast Open: connections that begin with text. */
#include "socketdiff.h"

static int state(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    NEED(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
    return info.tcpi_state;
}

static int fast_listener(void)
{
    int listener = peer_listen(port(0), 5);
    need("peer_listen", listener);
    NEED(peer_set(listener, IPPROTO_TCP, TCP_FASTOPEN, 5));
    return listener;
}

static long begin(int fd, const char *text, int len, int flags)
{
    in_name name = at(theirs, port(0));
    return sendto(fd, text, len, MSG_FASTOPEN | MSG_NOSIGNAL | flags, SA(&name), LEN);
}

/* The peer's cookie is known from now on. */
static int taught(void)
{
    int listener = fast_listener(), fd = stream();
    need("first contact", begin(fd, "x", 1, 0));
    NEED(peer_close(NEED(peer_accept(listener))));
    close(fd);
    return listener;
}

static int deferred(int listener)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    set(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
    if (listener < 0)
        return fd;
    TRY(connect(fd, SA(&name), LEN));
    return fd;
}

static void received(int listener)
{
    char room[64] = "";
    int id = peer_accept(listener);
    need("peer_accept", id);
    TRY(peer_recv(id, room, sizeof room - 1, 0));
    say("text %s", room);
}

CASE(fast_open, blocking)
{
    int listener = fast_listener();
    for (int i = 0; i < 3; i++) {
        in_name got = {0};
        socklen_t len = sizeof got;
        int fd = stream();
        TRY(begin(fd, "hello", 5, 0));
        say("state %d", state(fd));
        TRY(getpeername(fd, SA(&got), &len));
        say_name("peer", SA(&got), len);
        TRY(begin(fd, "more", 4, 0));
        received(listener);
    }
}
CASE(fast_open, nonblocking)
{
    int listener = taught(), fd = stream();
    TRY(begin(fd, "hello", 5, MSG_DONTWAIT));
    say_mask("awaited", await(fd, POLLOUT) & POLLOUT);
    received(listener);
    say("state %d", state(fd));
    TRY(send(fd, "more", 4, 0));
}
CASE(fast_open, long_text)
{
    static char text[20000];
    int listener = taught(), fd = stream();
    TRY(begin(fd, text, sizeof text, 0));
    TRY(peer_drain(NEED(peer_accept(listener)), sizeof text));
}
CASE(fast_open, no_text)
{
    int listener = taught(), fd = stream();
    TRY(begin(fd, "", 0, 0));
    say("state %d", state(fd));
    TRY(send(fd, "later", 5, 0));
    received(listener);
}
CASE(fast_open, refused)
{
    int listener = taught(), fd = stream();
    peer_close(listener);
    TRY(begin(fd, "hello", 5, 0));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
    say_events("events", fd);
}
CASE(fast_open, refused_nonblocking)
{
    int listener = taught(), fd = stream();
    peer_close(listener);
    TRY(begin(fd, "hello", 5, MSG_DONTWAIT));
    await(fd, POLLIN);
    say("SO_ERROR %s", error_name(get(fd, SOL_SOCKET, SO_ERROR)));
}
CASE(fast_open, nobody_is_there)
{
    struct timeval time = {.tv_usec = 50000};
    in_name name = at(nobody, port(0));
    int fd = stream();
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    TRY(sendto(fd, "hello", 5, MSG_FASTOPEN, SA(&name), LEN));
}
CASE(fast_open, without_an_address)
{
    int fd = stream();
    TRY(sendto(fd, "hello", 5, MSG_FASTOPEN, NULL, 0));
}
CASE(fast_open, connected)
{
    int id, fd = connected(&id);
    TRY(begin(fd, "hello", 5, 0));
}
CASE(fast_open, deferred)
{
    in_name name = at(theirs, port(0)), got = {0};
    socklen_t len = sizeof got;
    int listener = taught(), fd = deferred(listener);
    char c;
    say("state %d", state(fd));
    say_events("events", fd);
    TRY(getpeername(fd, SA(&got), &len));
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    TRY(send(fd, "hello", 5, 0));
    say("state %d", state(fd));
    received(listener);
    TRY(connect(fd, SA(&name), LEN));
    say("set %d", get(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT));
}
CASE(fast_open, deferred_nonblocking)
{
    int listener = taught(), fd = deferred(-1);
    in_name name = at(theirs, port(0));
    nonblocking(fd);
    TRY(connect(fd, SA(&name), LEN));
    TRY(send(fd, "hello", 5, 0));
    say_mask("awaited", await(fd, POLLOUT) & POLLOUT);
    received(listener);
}
CASE(fast_open, deferred_refused)
{
    int listener = taught(), fd;
    peer_close(listener);
    fd = deferred(listener);
    TRY(send(fd, "hello", 5, MSG_NOSIGNAL));
    TRY(send(fd, "hello", 5, MSG_NOSIGNAL));
}
CASE(fast_open, option)
{
    int id, fd = stream();
    TRY(get(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT));
    for (int value = -1; value < 3; value++) {
        said("set", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &value, sizeof value));
        say("is %d", get(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT));
    }
    fd = connected(&id);
    int on = 1;
    TRY(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on));
}
