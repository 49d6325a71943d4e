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
