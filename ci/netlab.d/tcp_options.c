/*
 * Sets and reads TCP's socket options, and sends and receives urgent data, corked and uncorked text; prints
 * one line per question. Run once over the stack and once over the kernel: the lines are to be equal.
 *
 *   tcp_options PORT    waits for the peer of tcp_options.py, then does as above
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef SIOCATMARK
#define SIOCATMARK 0x8905
#endif
int sockatmark(int fd);

struct option {
    const char *name;
    int level, number;
    int values[4];
};

#define TCP(name, ...) {#name, IPPROTO_TCP, name, {__VA_ARGS__}}
#define SO(name, ...) {#name, SOL_SOCKET, name, {__VA_ARGS__}}
static const struct option OPTIONS[] = {
    TCP(TCP_NODELAY, 1, 0, 7, 1),
    TCP(TCP_CORK, 1, 0, 5, 0),
    TCP(TCP_MAXSEG, 87, 32768, -1, 1000),
    TCP(TCP_KEEPIDLE, 0, 32768, 32767, 60),
    TCP(TCP_KEEPINTVL, 0, 32768, 32767, 10),
    TCP(TCP_KEEPCNT, 0, 128, 127, 5),
    TCP(TCP_SYNCNT, 0, 128, 127, 3),
    TCP(TCP_LINGER2, -5, 30, 100, 0),
    TCP(TCP_DEFER_ACCEPT, 5, 1, 100, 0),
    TCP(TCP_WINDOW_CLAMP, 1, 5000, 1000000, 500000),
    TCP(TCP_USER_TIMEOUT, -1, 1, 1000000, 30000),
    TCP(TCP_NOTSENT_LOWAT, 1, 16384, -1, 131072),
    SO(SO_KEEPALIVE, 1, 0, 7, 1),
    SO(SO_OOBINLINE, 1, 0, 7, 0),
    SO(SO_REUSEADDR, 1, 0, 1, 1),
    SO(SO_REUSEPORT, 1, 0, 1, 0),
    SO(SO_RCVBUF, 0, 8192, 65536, 100000),
    SO(SO_SNDBUF, 0, 8192, 65536, 100000),
    SO(SO_RCVLOWAT, 1, 2, 100, 1),
    SO(SO_MAX_PACING_RATE, 5000000, 1000000, 100000000, -1),
};
#define COUNT (sizeof OPTIONS / sizeof OPTIONS[0])

static void show(const char *where, int fd, const char *name, int level, int number)
{
    int value = 0;
    socklen_t len = sizeof value;
    int r = getsockopt(fd, level, number, &value, &len);
    printf("%s: %s is %d (%s, %u bytes)\n", where, name, r < 0 ? 0 : value, r < 0 ? strerror(errno) : "ok", len);
}

static void set(const char *where, int fd, const struct option *o, int value)
{
    int r = setsockopt(fd, o->level, o->number, &value, sizeof value);
    printf("%s: %s to %d: %s\n", where, o->name, value, r < 0 ? strerror(errno) : "ok");
}

static void set_all(const char *where, int fd)
{
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < 4; j++) {
            set(where, fd, &OPTIONS[i], OPTIONS[i].values[j]);
            show(where, fd, OPTIONS[i].name, OPTIONS[i].level, OPTIONS[i].number);
        }
}

static void congestion(const char *where, int fd, const char *name)
{
    char found[32] = "";
    socklen_t len = sizeof found;
    int r = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name));
    printf("%s: congestion %s: %s", where, name, r < 0 ? strerror(errno) : "ok");
    r = getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, found, &len);
    printf(", is %s (%u bytes)\n", r < 0 ? strerror(errno) : found, len);
}

static struct tcp_info info(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        perror("TCP_INFO");
    return info;
}

/* Until the peer has acknowledged everything. */
static void settle(int fd)
{
    int left = 1;
    for (int i = 0; i < 3000 && left; i++) {
        ioctl(fd, TIOCOUTQ, &left);
        usleep(1000);
    }
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* What is held back goes after 200 ms at the latest: a program that was not run for so long between its
   calls, on a busy machine, has seen nothing, and says so by its status. */
enum { HELD_MS = 100, LATE = 75 };

static void held_since(long long start)
{
    if (now_ms() - start > HELD_MS)
        exit(LATE);
}

static unsigned segments(int fd, const char *what, void (*act)(int))
{
    settle(fd);
    struct tcp_info before = info(fd);
    act(fd);
    settle(fd);
    struct tcp_info after = info(fd);
    unsigned sent = after.tcpi_data_segs_out - before.tcpi_data_segs_out;
    /* A busy machine may be late with an ACK. */
    sent -= after.tcpi_total_retrans - before.tcpi_total_retrans;
    printf("%s: %u segments\n", what, sent);
    return sent;
}

static void number(int fd, int name, int value) { setsockopt(fd, IPPROTO_TCP, name, &value, sizeof value); }
static void thrice(int fd, int flags) { for (int i = 0; i < 3; i++) send(fd, "0123456789", 10, flags); }
static void corked(int fd)
{
    long long start = now_ms();
    number(fd, TCP_CORK, 1);
    thrice(fd, 0);
    number(fd, TCP_CORK, 0);
    held_since(start);
}
static void forgotten(int fd) { number(fd, TCP_CORK, 1); thrice(fd, 0); settle(fd); number(fd, TCP_CORK, 0); }
static void pushed(int fd) { number(fd, TCP_CORK, 1); thrice(fd, 0); number(fd, TCP_NODELAY, 1); settle(fd); number(fd, TCP_CORK, 0); }
static void more(int fd)
{
    long long start = now_ms();
    send(fd, "0123456789", 10, MSG_MORE);
    send(fd, "0123456789", 10, MSG_MORE);
    send(fd, "x", 1, 0);
    held_since(start);
}
/* With pauses: what is sent at once may go in one segment. */
static void nodelay(int fd)
{
    number(fd, TCP_NODELAY, 1);
    for (int i = 0; i < 3; i++) {
        long long start = now_ms();
        thrice(fd, MSG_MORE);
        send(fd, "x", 1, 0);
        held_since(start);
        usleep(20000);
    }
}
static void urgent(int fd) { send(fd, "ab", 2, MSG_MORE); send(fd, "c!", 2, MSG_OOB); usleep(20000); send(fd, "def", 3, 0); }

/* Waits until so many bytes have come since the connection began; says how many can be read. */
static void await(int fd, unsigned long long bytes)
{
    int have = 0;
    for (int i = 0; i < 10000 && info(fd).tcpi_bytes_received < bytes; i++)
        usleep(1000);
    ioctl(fd, FIONREAD, &have);
    printf("can read %d\n", have);
}

static void receive(int fd, int flags, const char *name)
{
    char in[100];
    int mark = -1, r = recv(fd, in, sizeof in, flags | MSG_DONTWAIT);
    int error = errno;
    ioctl(fd, SIOCATMARK, &mark);
    if (r < 0)
        printf("recv %s: %s", name, strerror(error));
    else
        printf("recv %s: \"%.*s\"", name, r, in);
    printf(", at the mark: %d %d\n", mark, sockatmark(fd));
}

static volatile sig_atomic_t signals;
static void on_urgent(int number) { (void)number; signals++; }

static void pri(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLPRI};
    poll(&p, 1, 0);
    printf("POLLPRI: %d, SIGURG: %d\n", !!(p.revents & POLLPRI), (int)signals);
}

static void tell(int fd) { send(fd, "\n", 1, 0); }

static void urgent_in(int fd)
{
    int on = 1, off = 0;
    signal(SIGURG, on_urgent);
    fcntl(fd, F_SETOWN, getpid());
    pri(fd);
    receive(fd, MSG_OOB, "MSG_OOB of nothing");
    tell(fd); /* abc! def */
    await(fd, 7);
    pri(fd);
    receive(fd, MSG_OOB | MSG_PEEK, "MSG_OOB MSG_PEEK");
    receive(fd, MSG_OOB, "MSG_OOB");
    pri(fd);
    receive(fd, MSG_OOB, "MSG_OOB again");
    receive(fd, MSG_PEEK, "MSG_PEEK");
    receive(fd, 0, "");
    receive(fd, MSG_PEEK, "MSG_PEEK");
    receive(fd, 0, "");
    receive(fd, 0, "");
    tell(fd); /* the same again, nobody takes the urgent byte */
    await(fd, 14);
    pri(fd);
    receive(fd, MSG_WAITALL, "MSG_WAITALL");
    receive(fd, 0, "");
    pri(fd);
    receive(fd, MSG_OOB, "MSG_OOB too late");
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
    tell(fd);
    await(fd, 21);
    receive(fd, MSG_OOB, "MSG_OOB inline");
    receive(fd, 0, "");
    receive(fd, 0, "");
    receive(fd, 0, "");
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &off, sizeof off);
}

static void about(int fd, const char *where)
{
    struct tcp_info i = info(fd);
    char room[512];
    printf("%s: state %u, ca_state %u, options %u\n", where, i.tcpi_state, i.tcpi_ca_state, i.tcpi_options & 7);
    printf("%s: retransmits %u, unacked %u, lost %u, total %u\n", where, i.tcpi_retransmits, i.tcpi_unacked, i.tcpi_lost, i.tcpi_total_retrans);
    for (socklen_t want = 0; want <= 232; want += 58) {
        socklen_t len = want;
        int r = getsockopt(fd, IPPROTO_TCP, TCP_INFO, room, &len);
        printf("%s: %u bytes of TCP_INFO: %s, %u\n", where, want, r < 0 ? strerror(errno) : "ok", len);
    }
}

static void counted(int fd)
{
    struct tcp_info i = info(fd);
    printf("counted: acked %llu, received %llu, in %d, out %d\n", (unsigned long long)i.tcpi_bytes_acked,
           (unsigned long long)i.tcpi_bytes_received, i.tcpi_segs_in > 5, i.tcpi_segs_out > 5);
    printf("counted: rtt %d, rto %d, cwnd %d, mss %d, wnd %d\n", i.tcpi_rtt > 0 && i.tcpi_rtt < 1000000,
           i.tcpi_rto >= 200000, i.tcpi_snd_cwnd >= 10, i.tcpi_snd_mss > 500, i.tcpi_snd_wnd > 1000);
    printf("counted: data in %d, not sent %u\n", i.tcpi_data_segs_in >= 3, i.tcpi_notsent_bytes);
}

/* Says by its result what became of it: the order of two threads' lines would be chance. */
static void *accept_one(void *listener)
{
    int fd = accept(*(int *)listener, NULL, NULL);
    return fd < 0 ? strerror(errno) : "ok";
}

static void attempt(const char *what, int r) { printf("shut: %s: %s\n", what, r < 0 ? strerror(errno) : "ok"); }

/* A listener is shut while accept waits, and listens again. */
static void unlisten(int listener)
{
    pthread_t waiting;
    void *said;
    int on = 1;
    socklen_t len = sizeof on;
    attempt("for writing", shutdown(listener, SHUT_WR));
    getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &on, &len);
    printf("shut: still listens: %d\n", on);
    pthread_create(&waiting, NULL, accept_one, &listener);
    usleep(100000);
    attempt("for reading", shutdown(listener, SHUT_RD));
    pthread_join(waiting, &said);
    printf("shut: accept that waited: %s\n", (char *)said);
    attempt("accept", accept(listener, NULL, NULL));
    getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &on, &len);
    printf("shut: still listens: %d\n", on);
    attempt("once more", shutdown(listener, SHUT_RDWR));
    attempt("listen again", listen(listener, 5));
    fcntl(listener, F_SETFL, O_NONBLOCK);
    attempt("accept again", accept(listener, NULL, NULL));
    attempt("both ways", shutdown(listener, SHUT_RDWR));
    attempt("accept", accept(listener, NULL, NULL));
}

int main(int argc, char **argv)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 7)};
    int yes = 1, fd, listener = socket(AF_INET, SOCK_STREAM, 0);

    setvbuf(stdout, NULL, _IOLBF, 0);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    about(fd, "fresh");
    set_all("fresh", fd);
    congestion("fresh", fd, "reno");
    congestion("fresh", fd, "no such");
    congestion("fresh", fd, "cubic");
    receive(fd, 0, "unconnected");
    close(fd);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&name, sizeof name) < 0 || listen(listener, 5) < 0) {
        perror("listen");
        return 1;
    }
    about(listener, "listener");
    set_all("listener", listener);
    congestion("listener", listener, "reno");
    fprintf(stderr, "ready\n");
    fd = accept(listener, NULL, NULL);
    unlisten(listener);
    for (size_t i = 0; i < COUNT; i++)
        show("accepted", fd, OPTIONS[i].name, OPTIONS[i].level, OPTIONS[i].number);
    congestion("accepted", fd, "cubic");
    number(fd, TCP_NODELAY, 0);
    about(fd, "accepted");

    urgent_in(fd);
    segments(fd, "corked", corked);
    segments(fd, "cork forgotten", forgotten);
    segments(fd, "cork overruled by no delay", pushed);
    number(fd, TCP_NODELAY, 0);
    segments(fd, "more", more);
    segments(fd, "no delay", nodelay);
    counted(fd);
    segments(fd, "urgent", urgent);
    set_all("connected", fd);
    number(fd, TCP_QUICKACK, 0);
    show("connected", fd, "TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK);
    number(fd, TCP_QUICKACK, 1);
    show("connected", fd, "TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK);
    shutdown(fd, SHUT_WR);
    settle(fd);
    return 0;
}
