/* poll, select, epoll: what they say in which state, and beside other descriptors. */
#include "socketdiff.h"
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

CASE(mask, fresh_stream) { say_all_events("events", stream()); }
CASE(mask, fresh_datagram) { say_all_events("events", datagram()); }
CASE(mask, listener)
{
    int fd = listening(port(0), 5);
    say_all_events("events", fd);
    NEED(peer_connect(port(0)));
    await(fd, POLLIN);
    say_all_events("events", fd);
}
CASE(mask, connected)
{
    int id, fd = connected(&id);
    say_all_events("events", fd);
    NEED(peer_send(id, "a", 1, 0));
    await(fd, POLLIN);
    say_all_events("events", fd);
}
CASE(mask, half_closed_by_us)
{
    int id, fd = connected(&id);
    NEED(shutdown(fd, SHUT_WR));
    say_all_events("events", fd);
}
CASE(mask, half_closed_by_peer)
{
    int id, fd = connected(&id);
    NEED(peer_shutdown(id, SHUT_WR));
    await(fd, POLLRDHUP);
    say_all_events("events", fd);
}
CASE(mask, closed_by_both)
{
    int id, fd = connected(&id);
    NEED(shutdown(fd, SHUT_WR));
    NEED(peer_close(id));
    await(fd, POLLRDHUP);
    pause_ms(10);
    say_all_events("events", fd);
}
CASE(mask, reset)
{
    int id, fd = connected(&id);
    NEED(peer_reset(id));
    await(fd, POLLRDHUP);
    say_all_events("events", fd);
}
CASE(mask, refused)
{
    in_name name = at(theirs, port(0));
    int fd = stream();
    nonblocking(fd);
    connect(fd, SA(&name), LEN);
    await(fd, POLLOUT);
    say_all_events("events", fd);
}
CASE(mask, refused_datagram)
{
    in_name name = at(theirs, port(0));
    int fd = datagram();
    NEED(connect(fd, SA(&name), LEN));
    NEED(send(fd, "a", 1, 0));
    await(fd, POLLERR | POLLIN);
    say_all_events("events", fd);
}
CASE(mask, band)
{
    int id, fd = connected(&id);
    struct pollfd p = {.fd = fd, .events = POLLWRBAND};
    TRY(poll(&p, 1, 0));
}
CASE(mask, closed_descriptor) { say_all_events("events", 77); }

CASE(refused, datagram_recv)
{
    char c;
    in_name name = at(theirs, port(0));
    int fd = datagram();
    NEED(connect(fd, SA(&name), LEN));
    TRY(send(fd, "a", 1, 0));
    await(fd, POLLERR | POLLIN);
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
}
CASE(refused, datagram_send)
{
    in_name name = at(theirs, port(0));
    int fd = datagram();
    NEED(connect(fd, SA(&name), LEN));
    TRY(send(fd, "a", 1, 0));
    await(fd, POLLERR | POLLIN);
    TRY(send(fd, "a", 1, 0));
    pause_ms(10);
    TRY(send(fd, "a", 1, 0));
}
CASE(refused, datagram_option)
{
    in_name name = at(theirs, port(0));
    int fd = datagram();
    NEED(connect(fd, SA(&name), LEN));
    TRY(send(fd, "a", 1, 0));
    await(fd, POLLERR | POLLIN);
    say("SO_ERROR %s", error_name(get(fd, SOL_SOCKET, SO_ERROR)));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(refused, datagram_blocked_recv)
{
    char c;
    in_name name = at(theirs, port(0));
    int fd = datagram();
    NEED(connect(fd, SA(&name), LEN));
    TRY(send(fd, "a", 1, 0));
    TRY(recv(fd, &c, 1, 0));
}
CASE(refused, datagram_not_connected_hears_nothing)
{
    char c;
    in_name name = at(theirs, port(0));
    int fd = datagram();
    TRY(sendto(fd, "a", 1, 0, SA(&name), LEN));
    pause_ms(20);
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}

CASE(select, readable_and_writable)
{
    int id, fd = connected(&id);
    fd_set in, out, except;
    struct timeval none = {0};
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    FD_SET(fd, &in), FD_SET(fd, &out), FD_SET(fd, &except);
    TRY(select(fd + 1, &in, &out, &except, &none));
    say("in %d, out %d, except %d", !!FD_ISSET(fd, &in), !!FD_ISSET(fd, &out), !!FD_ISSET(fd, &except));
    NEED(peer_send(id, "a", 1, MSG_OOB));
    await(fd, POLLPRI);
    FD_SET(fd, &in), FD_SET(fd, &except);
    TRY(select(fd + 1, &in, NULL, &except, &none));
    say("in %d, except %d", !!FD_ISSET(fd, &in), !!FD_ISSET(fd, &except));
}
CASE(select, timeout)
{
    int id, fd = connected(&id), start = now_ms();
    fd_set in;
    struct timespec time = {.tv_nsec = 20000000};
    FD_ZERO(&in);
    FD_SET(fd, &in);
    TRY(pselect(fd + 1, &in, NULL, NULL, &time, NULL));
    say("waited: %d", now_ms() - start >= 19);
}
CASE(select, wakes)
{
    int id, fd = connected(&id);
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fd, &in);
    NEED(peer_later(id, 20, "a", 1));
    TRY(select(fd + 1, &in, NULL, NULL, NULL));
}
CASE(ppoll, wakes)
{
    int id, fd = connected(&id);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    NEED(peer_later(id, 20, "a", 1));
    TRY(ppoll(&p, 1, NULL, NULL));
    say_mask("events", p.revents);
}

static int epoll_with(int fd, unsigned events)
{
    struct epoll_event e = {.events = events, .data.u32 = 7};
    int set = NEED(epoll_create1(0));
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
    return set;
}
static void look(int set, int ms)
{
    struct epoll_event got[8];
    int n = epoll_wait(set, got, 8, ms);
    say("%d events", n);
    for (int i = 0; i < n; i++)
        say_mask(got[i].data.u32 == 7 ? "socket" : "another", got[i].events & ~(EPOLLERR | EPOLLHUP));
}
CASE(epoll, level)
{
    char in[4];
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN);
    look(set, 0);
    NEED(peer_send(id, "ab", 2, 0));
    look(set, 1000);
    NEED(recv(fd, in, 1, 0));
    look(set, 0);
    NEED(recv(fd, in, 1, 0));
    look(set, 0);
}
CASE(epoll, edge)
{
    char in[4];
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN | EPOLLET);
    NEED(peer_send(id, "ab", 2, 0));
    look(set, 1000);
    look(set, 0);
    NEED(recv(fd, in, 4, 0));
    TRY(recv(fd, in, 4, MSG_DONTWAIT));
    NEED(peer_send(id, "c", 1, 0));
    look(set, 1000);
}
CASE(epoll, edge_more_without_reading)
{
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN | EPOLLET);
    NEED(peer_send(id, "ab", 2, 0));
    look(set, 1000);
    NEED(peer_send(id, "cd", 2, 0));
    await_bytes(fd, 4);
    look(set, 20);
}
CASE(epoll, edge_after_reading_a_part)
{
    char in[4];
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN | EPOLLET);
    NEED(peer_send(id, "ab", 2, 0));
    look(set, 1000);
    NEED(recv(fd, in, 1, 0));
    look(set, 0);
    NEED(peer_send(id, "cd", 2, 0));
    await_bytes(fd, 3);
    look(set, 20);
}
CASE(epoll, edge_writable)
{
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLOUT | EPOLLET);
    look(set, 0);
    look(set, 0);
    nonblocking(fd);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){20000}, sizeof(int));
    long sent = fill(fd);
    look(set, 0);
    peer_drain(id, sent);
    look(set, 1000);
}
CASE(epoll, oneshot)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = 7};
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN | EPOLLONESHOT);
    NEED(peer_send(id, "ab", 2, 0));
    look(set, 1000);
    look(set, 0);
    NEED(epoll_ctl(set, EPOLL_CTL_MOD, fd, &e));
    look(set, 0);
}
CASE(epoll, exclusive)
{
    int fd = listening(port(0), 5), set = epoll_with(fd, EPOLLIN | EPOLLEXCLUSIVE);
    NEED(peer_connect(port(0)));
    look(set, 1000);
    NEED(accept(fd, NULL, NULL));
    look(set, 0);
}
CASE(epoll, peer_closes)
{
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
    NEED(peer_close(id));
    look(set, 1000);
}
CASE(epoll, closing_takes_it_out)
{
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN);
    NEED(peer_send(id, "ab", 2, 0));
    look(set, 1000);
    TRY(close(fd));
    look(set, 0);
}
CASE(epoll, a_copy_keeps_it_in)
{
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN);
    NEED(dup(fd));
    TRY(close(fd));
    NEED(peer_send(id, "ab", 2, 0));
    look(set, 1000);
}
CASE(epoll, adding_twice)
{
    struct epoll_event e = {.events = EPOLLIN};
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN);
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
    TRY(epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
    TRY(epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
    TRY(epoll_ctl(set, EPOLL_CTL_MOD, fd, &e));
}
CASE(epoll, beside_others)
{
    struct epoll_event e = {.events = EPOLLIN};
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
    sigset_t usr;
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN), ends[2];
    int event = NEED(eventfd(0, 0)), timer = NEED(timerfd_create(CLOCK_MONOTONIC, 0));
    sigemptyset(&usr), sigaddset(&usr, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr, NULL);
    int by_signal = NEED(signalfd(-1, &usr, 0));
    NEED(pipe(ends));
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, event, &e));
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, timer, &e));
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, by_signal, &e));
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &e));
    look(set, 0);
    NEED(eventfd_write(event, 1));
    NEED(timerfd_settime(timer, 0, &soon, NULL));
    kill(getpid(), SIGUSR1);
    NEED(write(ends[1], "x", 1));
    NEED(peer_send(id, "ab", 2, 0));
    await(fd, POLLIN);
    pause_ms(5);
    struct epoll_event got[8];
    TRY(epoll_wait(set, got, 8, 1000));
}

static volatile sig_atomic_t usr_came;
static void on_usr(int number)
{
    (void)number;
    usr_came++;
}
/* A signal that is pending and let in only while the call waits. */
static void pend(sigset_t *none)
{
    struct sigaction action = {.sa_handler = on_usr};
    sigset_t usr;
    sigemptyset(none);
    sigemptyset(&usr), sigaddset(&usr, SIGUSR1);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_BLOCK, &usr, NULL);
    kill(getpid(), SIGUSR1);
}
CASE(pselect, lets_a_signal_in)
{
    struct timespec second = {.tv_sec = 1};
    sigset_t none;
    fd_set in;
    int id, fd = connected(&id);
    FD_ZERO(&in);
    FD_SET(fd, &in);
    pend(&none);
    TRY(pselect(fd + 1, &in, NULL, NULL, &second, &none));
    say("signals %d", (int)usr_came);
    NEED(peer_send(id, "a", 1, 0));
    FD_ZERO(&in);
    FD_SET(fd, &in);
    TRY(pselect(fd + 1, &in, NULL, NULL, &second, &none));
}
CASE(epoll, pwait_lets_a_signal_in)
{
    struct epoll_event got[2];
    sigset_t none;
    int id, fd = connected(&id), set = epoll_with(fd, EPOLLIN);
    pend(&none);
    TRY(epoll_pwait(set, got, 2, 1000, &none));
    say("signals %d", (int)usr_came);
    NEED(peer_send(id, "a", 1, 0));
    TRY(epoll_pwait(set, got, 2, 1000, &none));
}

/* What the kernel says when a connection is over, and who is woken by it. */
static void say_hangup(const char *what, int events)
{
    say_mask(what, events & (POLLIN | POLLRDHUP | POLLHUP));
}
/* Closed by both; the peer's FIN is the last one. */
static int over(int *id)
{
    int fd = connected(id);
    NEED(shutdown(fd, SHUT_WR));
    NEED(peer_close(*id));
    return fd;
}
CASE(hangup, wakes_who_asks_for_nothing)
{
    int id, fd = over(&id);
    struct pollfd p = {.fd = fd};
    TRY(poll(&p, 1, 1000));
    say_hangup("events", p.revents);
}
CASE(hangup, half_closed_by_us_is_none)
{
    int id, fd = connected(&id);
    struct pollfd p = {.fd = fd};
    NEED(shutdown(fd, SHUT_WR));
    TRY(poll(&p, 1, 20));
}
CASE(hangup, half_closed_by_the_peer_is_none)
{
    int id, fd = connected(&id);
    struct pollfd p = {.fd = fd};
    NEED(peer_shutdown(id, SHUT_WR));
    await(fd, POLLRDHUP);
    TRY(poll(&p, 1, 20));
}
CASE(hangup, closed_by_the_peer_first)
{
    int id, fd = connected(&id);
    struct pollfd p = {.fd = fd};
    NEED(peer_close(id));
    await(fd, POLLRDHUP);
    NEED(shutdown(fd, SHUT_WR));
    TRY(poll(&p, 1, 1000));
    say_hangup("events", p.revents);
}
CASE(hangup, by_epoll)
{
    struct epoll_event got = {.events = 0};
    int id, fd = over(&id), set = epoll_with(fd, EPOLLRDHUP | EPOLLET);
    await(fd, POLLHUP);
    TRY(epoll_wait(set, &got, 1, 1000));
    say_hangup("events", (int)got.events);
}
CASE(hangup, reset_by_epoll)
{
    struct epoll_event got = {.events = 0};
    int id, fd = connected(&id), set = epoll_with(fd, 0);
    NEED(peer_reset(id));
    TRY(epoll_wait(set, &got, 1, 1000));
    say_hangup("events", (int)got.events | POLLIN | POLLRDHUP);
    TRY(recv(fd, &id, sizeof id, 0));
    TRY(recv(fd, &id, sizeof id, 0));
    TRY(send(fd, "a", 1, MSG_NOSIGNAL));
}
CASE(hangup, unread_bytes_stay)
{
    char in[4];
    int id, fd = connected(&id);
    NEED(shutdown(fd, SHUT_WR));
    NEED(peer_send(id, "abcd", 4, 0));
    NEED(peer_close(id));
    await(fd, POLLHUP);
    TRY(recv(fd, in, 3, 0));
    TRY(recv(fd, in, 3, 0));
    TRY(recv(fd, in, 3, 0));
    say_hangup("events", await(fd, POLLHUP));
}
CASE(hangup, a_copy_lives_on)
{
    in_name name;
    socklen_t len = sizeof name;
    int id, fd = over(&id), copy = NEED(dup(fd));
    char c;
    await(fd, POLLHUP);
    NEED(close(fd));
    pause_ms(20);
    TRY(recv(copy, &c, 1, 0));
    TRY(send(copy, "a", 1, MSG_NOSIGNAL));
    TRY(getsockname(copy, SA(&name), &len));
    say_hangup("events", await(copy, POLLHUP));
}
CASE(hangup, ends_a_blocked_send)
{
    char block[4096] = "";
    int id, fd = connected(&id);
    nonblocking(fd);
    fill(fd);
    NEED(fcntl(fd, F_SETFL, 0));
    NEED(peer_reset(id));
    TRY(send(fd, block, sizeof block, MSG_NOSIGNAL));
    TRY(send(fd, block, sizeof block, MSG_NOSIGNAL));
}
CASE(hangup, the_port_is_free_after_the_last_close)
{
    in_name name = at(theirs, port(7));
    int listener = NEED(peer_listen(port(7), 5)), fd = bound(SOCK_STREAM, port(0));
    NEED(connect(fd, SA(&name), LEN));
    NEED(peer_reset(peer_accept(listener)));
    await(fd, POLLHUP);
    NEED(close(fd));
    pause_ms(20);
    TRY_FD(listening(port(0), 1));
}
