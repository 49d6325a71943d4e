/* A program that uses the streams of stack/template/stream.c (family 61), or of ci/faulty-protocol (62): WHAT PORT, see main.
 * With NATIVE it calls the library, else it is any program under `iopkt run`. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef NATIVE
#include <iopkt.h>
#define socket iopkt_socket
#define bind iopkt_bind
#define listen iopkt_listen
#define accept iopkt_accept
#define connect iopkt_connect
#define getpeername iopkt_getpeername
#define send iopkt_send
#define recv iopkt_recv
#define shutdown iopkt_shutdown
#define ioctl iopkt_ioctl
#define close iopkt_close
#endif

static int family = 61;
#define PASSED _IOR('p', 1, uint64_t)
#define REVERSE _IOWR('p', 2, uint64_t)

static void need(int ok, const char *what) {
    if (ok)
        return;
    perror(what);
    exit(1);
}

static struct sockaddr_in6 name(const char *port) {
    struct sockaddr_in6 n = {.sin6_family = family, .sin6_port = htons(atoi(port))};
    return n;
}

static int listening(const char *port) {
    int s = socket(family, SOCK_STREAM, 0);
    need(s >= 0, "socket");
    struct sockaddr_in6 n = name(port);
    need(bind(s, (struct sockaddr *)&n, sizeof n) == 0, "bind");
    need(listen(s, 0) == 0, "listen");
    puts("ready");
    fflush(stdout);
    return s;
}

static int accepted(int s) {
    struct sockaddr_in6 peer;
    socklen_t len = sizeof peer;
    int c = accept(s, (struct sockaddr *)&peer, &len);
    need(c >= 0, "accept");
    need(peer.sin6_family == family, "peer");
    return c;
}

static int connected(const char *port, int flags) {
    int s = socket(family, SOCK_STREAM | flags, 0);
    need(s >= 0, "socket");
    struct sockaddr_in6 n = name(port), peer;
    socklen_t len = sizeof peer;
    need(connect(s, (struct sockaddr *)&n, sizeof n) == 0 || (flags && errno == EINPROGRESS), "connect");
    struct pollfd writable = {.fd = s, .events = POLLOUT};
    need(poll(&writable, 1, 5000) == 1, "poll");
    need(getpeername(s, (struct sockaddr *)&peer, &len) == 0 && peer.sin6_port == n.sin6_port, "getpeername");
    return s;
}

/* All that comes, to the standard output's descriptor. */
static size_t take(int s, int to) {
    static char text[60000];
    size_t sum = 0;
    for (;;) {
        ssize_t len = recv(s, text, sizeof text, 0);
        need(len >= 0, "recv");
        if (len == 0)
            return sum;
        sum += (size_t)len;
        need(to < 0 || write(to, text, (size_t)len) == len, "write");
    }
}

static void line(void) {
    char c;
    while (read(0, &c, 1) == 1 && c != '\n')
        ;
}

int main(int argc, char **argv) {
    static char text[100000];
    signal(SIGPIPE, SIG_IGN);
    need(argc == 3, "arguments");
    const char *what = argv[1], *port = argv[2];
    if (!strcmp(what, "sink")) { /* takes all, says so, closes */
        int l = listening(port), c = accepted(l);
        (void)take(c, 1);
        need(send(c, "bye", 3, 0) == 3 && close(c) == 0 && close(l) == 0, "close");
    } else if (!strcmp(what, "source")) { /* sends all, asks how much the module has seen of it */
        int s = connected(port, 0);
        uint64_t passed = 0;
        for (ssize_t len; (len = read(0, text, sizeof text)) > 0;)
            need(send(s, text, (size_t)len, 0) == len, "send");
        need(shutdown(s, SHUT_WR) == 0, "shutdown");
        need(recv(s, text, 3, MSG_WAITALL) == 3 && !memcmp(text, "bye", 3) && recv(s, text, 3, 0) == 0, "the end");
        need(ioctl(s, PASSED, &passed) == 0, "ioctl");
        need(ioctl(s, _IOW('p', 9, int), &argc) < 0 && errno == ENOTTY, "no such ioctl");
        printf("%llu\n", (unsigned long long)passed);
    } else if (!strcmp(what, "stall")) { /* reads nothing until it is told to */
        int l = listening(port), c = accepted(l);
        line();
        printf("%zu\n", take(c, -1));
    } else if (!strcmp(what, "flood")) { /* sends until there is no room; a line, and it closes */
        int s = connected(port, SOCK_NONBLOCK);
        size_t sum = 0;
        struct pollfd writable = {.fd = s, .events = POLLOUT};
        while (poll(&writable, 1, 300) == 1) {
            ssize_t len = send(s, text, sizeof text, 0);
            need(len > 0 || errno == EAGAIN, "send");
            sum += len > 0 ? (size_t)len : 0;
        }
        printf("%zu\n", sum);
        fflush(stdout);
        line();
    } else if (!strcmp(what, "pour")) { /* sends until that fails */
        int s = connected(port, 0);
        puts("ready");
        fflush(stdout);
        while (send(s, text, sizeof text, 0) > 0)
            ;
        need(0, "send");
    } else if (!strcmp(what, "drop")) { /* accepts, reads a little, closes */
        int l = listening(port), c = accepted(l);
        need(recv(c, text, 10, MSG_WAITALL) == 10 && close(c) == 0, "close");
        line();
    } else if (!strcmp(what, "accept")) { /* waits for connections for ever */
        for (int l = listening(port);;)
            (void)accepted(l);
    } else if (!strcmp(what, "echo")) { /* what it sends comes back, much more than fits at a time */
        family = 62;
        uint64_t number = 0x0102030405060708;
        int s = connected(port, SOCK_NONBLOCK);
        need(ioctl(s, REVERSE, &number) == 0 && number == 0x0807060504030201, "ioctl");
        size_t most = 8 << 20, sent = 0, got = 0;
        for (struct pollfd both = {.fd = s, .events = POLLIN | POLLOUT}; got < most; ) {
            unsigned char bytes[40000];
            both.events = (short)(sent < most ? POLLIN | POLLOUT : POLLIN);
            need(poll(&both, 1, 5000) == 1, "poll");
            size_t len = sizeof bytes < most - sent ? sizeof bytes : most - sent;
            for (size_t i = 0; i < len; i++)
                bytes[i] = (unsigned char)((sent + i) * 31 >> 5);
            ssize_t done = len ? send(s, bytes, len, 0) : 0;
            need(done >= 0 || errno == EAGAIN, "send");
            sent += done > 0 ? (size_t)done : 0;
            done = recv(s, bytes, sizeof bytes, 0);
            need(done > 0 || (done < 0 && errno == EAGAIN), "recv");
            for (ssize_t i = 0; i < done; i++, got++)
                need(bytes[i] == (unsigned char)(got * 31 >> 5), "what came back");
        }
        need(shutdown(s, SHUT_WR) == 0 && poll(&(struct pollfd){.fd = s, .events = POLLIN}, 1, 5000) == 1, "shutdown");
        need(recv(s, text, 1, 0) == 0, "the end");
        printf("%zu\n", got);
    } else if (!strcmp(what, "wait")) { /* waits for bytes that never come */
        int s = connected(port, 0);
        puts("ready");
        fflush(stdout);
        need(recv(s, text, 1, 0) > 0, "recv");
    } else {
        need(0, what);
    }
    return 0;
}
