/* Many threads, and what one does to a socket another waits at. */
#include "socketdiff.h"

struct waiter {
    int fd;
    long result;
    int error;
    char in[4];
};
static void *receive(void *argument)
{
    struct waiter *w = argument;
    w->result = recv(w->fd, w->in, 4, 0);
    w->error = errno;
    return NULL;
}
static void say_waiter(const struct waiter *w) { said("waiter", (errno = w->error, w->result)); }

CASE(thread, shutdown_wakes_receiver)
{
    pthread_t thread;
    int id, fd = connected(&id);
    struct waiter w = {.fd = fd};
    pthread_create(&thread, NULL, receive, &w);
    pause_ms(30);
    TRY(shutdown(fd, SHUT_RD));
    pthread_join(thread, NULL);
    say_waiter(&w);
}
CASE(thread, shutdown_wakes_datagram_receiver)
{
    pthread_t thread;
    int id, fd = associated(&id);
    struct waiter w = {.fd = fd};
    pthread_create(&thread, NULL, receive, &w);
    pause_ms(30);
    TRY(shutdown(fd, SHUT_RD));
    pthread_join(thread, NULL);
    say_waiter(&w);
}
CASE(thread, reset_wakes_receiver)
{
    pthread_t thread;
    int id, fd = connected(&id);
    struct waiter w = {.fd = fd};
    pthread_create(&thread, NULL, receive, &w);
    pause_ms(30);
    NEED(peer_reset(id));
    pthread_join(thread, NULL);
    say_waiter(&w);
}
CASE(thread, close_wakes_nobody_and_data_does)
{
    pthread_t thread;
    int id, fd = connected(&id);
    struct waiter w = {.fd = fd};
    pthread_create(&thread, NULL, receive, &w);
    pause_ms(30);
    TRY(close(fd));
    pause_ms(30);
    NEED(peer_send(id, "abcd", 4, 0));
    pthread_join(thread, NULL);
    say_waiter(&w);
}
CASE(thread, two_wait_each_gets_one)
{
    pthread_t threads[2];
    struct waiter w[2];
    int id, fd = associated(&id);
    for (int i = 0; i < 2; i++) {
        w[i] = (struct waiter){.fd = fd};
        pthread_create(&threads[i], NULL, receive, &w[i]);
    }
    pause_ms(30);
    NEED(peer_sendto(id, port(0), "a", 1));
    NEED(peer_sendto(id, port(0), "b", 1));
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        say_waiter(&w[i]);
    }
    say("both: %d", w[0].in[0] + w[1].in[0] == 'a' + 'b');
}
CASE(thread, reads_and_writes_at_once)
{
    pthread_t thread;
    int id, fd = connected(&id);
    struct waiter w = {.fd = fd};
    pthread_create(&thread, NULL, receive, &w);
    pause_ms(20);
    TRY(send(fd, "x", 1, 0));
    NEED(peer_send(id, "abcd", 4, 0));
    pthread_join(thread, NULL);
    say_waiter(&w);
}
CASE(thread, a_thousand_wait)
{
    enum { COUNT = 1000 };
    static pthread_t threads[COUNT];
    static struct waiter w[COUNT];
    pthread_attr_t small;
    in_name peer = at(theirs, port(1));
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1))), done = 0;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    for (int i = 0; i < COUNT; i++) {
        w[i] = (struct waiter){.fd = fd};
        if (pthread_create(&threads[i], &small, receive, &w[i]) != 0)
            say("thread %d", i);
    }
    pause_ms(50);
    NEED(peer_sendto(id, port(0), "a", 1));
    NEED(connect(fd, SA(&peer), LEN));
    TRY(shutdown(fd, SHUT_RD));
    for (int i = 0; i < COUNT; i++) {
        pthread_join(threads[i], NULL);
        done += w[i].result >= 0;
    }
    say("%d returned", done);
}

/* A thread that is cancelled at a call, and what it leaves behind. */
struct victim {
    int fd, cleaned, state;
    long result;
    int error;
    void (*call)(struct victim *v);
};
static void clean(void *argument) { ((struct victim *)argument)->cleaned = 1; }
static void *suffer(void *argument)
{
    struct victim *v = argument;
    pthread_cleanup_push(clean, v);
    pthread_setcancelstate(v->state, NULL);
    errno = 0;
    v->call(v);
    v->error = errno;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_cleanup_pop(0);
    return NULL;
}
static void cancelled(struct victim v)
{
    pthread_t thread;
    void *how;
    pthread_create(&thread, NULL, suffer, &v);
    pause_ms(30);
    say("cancel: %d", pthread_cancel(thread));
    pthread_join(thread, &how);
    say("cancelled %d, cleaned up %d", how == PTHREAD_CANCELED, v.cleaned);
}
static char place[16];
static void in_recv(struct victim *v) { v->result = recv(v->fd, place, 4, 0); }
static void in_read(struct victim *v) { v->result = read(v->fd, place, 4); }
static void in_recvfrom(struct victim *v) { v->result = recvfrom(v->fd, place, 4, 0, NULL, NULL); }
static void in_recvmsg(struct victim *v)
{
    struct iovec into = {place, 4};
    v->result = recvmsg(v->fd, &(struct msghdr){.msg_iov = &into, .msg_iovlen = 1}, 0);
}
static void in_recvmmsg(struct victim *v)
{
    struct iovec into = {place, 4};
    struct mmsghdr one = {.msg_hdr = {.msg_iov = &into, .msg_iovlen = 1}};
    v->result = recvmmsg(v->fd, &one, 1, 0, NULL);
}
static void in_accept(struct victim *v) { v->result = accept(v->fd, NULL, NULL); }
static void in_send(struct victim *v)
{
    static const char much[1000];
    v->result = send(v->fd, much, sizeof much, 0);
}
static void in_connect(struct victim *v)
{
    in_name name = at(nobody, port(0));
    v->result = connect(v->fd, SA(&name), LEN);
}
/* No lock is left held: the socket goes on in the other thread. */
static void stream_cancelled(void (*call)(struct victim *v))
{
    char in[4] = "";
    int id, fd = connected(&id);
    cancelled((struct victim){.fd = fd, .call = call});
    NEED(peer_send(id, "abc", 3, 0));
    await_bytes(fd, 3);
    TRY(recv(fd, in, 3, MSG_DONTWAIT));
    TRY(send(fd, "def", 3, 0));
    say("%s, the peer got %d", in, peer_recv(id, in, 3, 0));
}
CASE(cancel, recv) { stream_cancelled(in_recv); }
CASE(cancel, read) { stream_cancelled(in_read); }
CASE(cancel, recvmsg) { stream_cancelled(in_recvmsg); }
static void datagram_cancelled(void (*call)(struct victim *v))
{
    char in[4] = "";
    int id, fd = associated(&id);
    struct sockaddr_in me;
    socklen_t len = sizeof me;
    cancelled((struct victim){.fd = fd, .call = call});
    NEED(getsockname(fd, SA(&me), &len));
    NEED(peer_sendto(id, ntohs(me.sin_port), "abc", 3));
    await(fd, POLLIN);
    TRY(recv(fd, in, 3, MSG_DONTWAIT));
}
CASE(cancel, recvfrom) { datagram_cancelled(in_recvfrom); }
CASE(cancel, recvmmsg) { datagram_cancelled(in_recvmmsg); }
CASE(cancel, accept)
{
    int listener = listening(port(0), 5);
    cancelled((struct victim){.fd = listener, .call = in_accept});
    NEED(peer_connect(port(0)));
    TRY_FD(accept(listener, NULL, NULL));
}
CASE(cancel, send)
{
    int id, fd = connected(&id);
    set(fd, SOL_SOCKET, SO_SNDBUF, 20000);
    long sent = fill(fd);
    cancelled((struct victim){.fd = fd, .call = in_send});
    say("all arrives: %d", peer_drain(id, sent) == sent);
    await(fd, POLLOUT);
    TRY(send(fd, "abc", 3, MSG_DONTWAIT));
}
CASE(cancel, connect)
{
    in_name name = at(nobody, port(0));
    int fd = stream();
    cancelled((struct victim){.fd = fd, .call = in_connect});
    nonblocking(fd);
    TRY(connect(fd, SA(&name), LEN));
}
/* Its descriptor has been closed before: what the call still held goes with it. */
CASE(cancel, recv_of_what_is_closed)
{
    pthread_t thread;
    void *how;
    int id, fd = connected(&id);
    struct victim v = {.fd = fd, .call = in_recv};
    pthread_create(&thread, NULL, suffer, &v);
    pause_ms(30);
    TRY(close(fd));
    say("cancel: %d", pthread_cancel(thread));
    pthread_join(thread, &how);
    say("cancelled %d, cleaned up %d", how == PTHREAD_CANCELED, v.cleaned);
    say("then the end: %d", peer_recv(id, place, 1, 0));
}
CASE(cancel, disabled)
{
    pthread_t thread;
    void *how;
    int id, fd = connected(&id);
    struct victim v = {.fd = fd, .state = PTHREAD_CANCEL_DISABLE, .call = in_recv};
    pthread_create(&thread, NULL, suffer, &v);
    pause_ms(30);
    say("cancel: %d", pthread_cancel(thread));
    pause_ms(30);
    NEED(peer_send(id, "abcd", 4, 0));
    pthread_join(thread, &how);
    said("recv", (errno = v.error, v.result));
    say("cancelled %d, cleaned up %d", how == PTHREAD_CANCELED, v.cleaned);
}
static void cancel_and_receive(struct victim *v)
{
    pthread_cancel(pthread_self());
    v->result = recv(v->fd, place, 4, 0);
}
CASE(cancel, before_the_call)
{
    char in[8] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "abcd", 4, 0));
    await_bytes(fd, 4);
    cancelled((struct victim){.fd = fd, .call = cancel_and_receive});
    TRY(recv(fd, in, 4, MSG_DONTWAIT));
    say("%s", in);
    // The next thread, which may be given what was kept of this one.
    cancelled((struct victim){.fd = fd, .call = in_recv});
}
