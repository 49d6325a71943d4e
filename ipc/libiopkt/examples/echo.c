/*
 * An echo server for any number of connections, in one thread: the stack's sockets and epoll.
 *
 *     cc -o echo echo.c $(pkg-config --cflags --libs iopkt)
 *     ./echo 7
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <iopkt.h>

enum { EVENTS = 64, BUFFER = 16384 };

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

/* Returns what came; closes when the peer has. */
static void echo(int fd)
{
    static char buffer[BUFFER];
    ssize_t len = iopkt_recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    for (ssize_t done = 0; done < len;) {
        ssize_t sent = iopkt_send(fd, buffer + done, (size_t)(len - done), MSG_NOSIGNAL);
        if (sent < 0) {
            len = -1;
            break;
        }
        done += sent;
    }
    if (len <= 0)
        iopkt_close(fd);
}

int main(int argc, char **argv)
{
    unsigned short port = (unsigned short)(argc > 1 ? atoi(argv[1]) : 7);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    name.sin_addr.s_addr = inet_addr(argc > 2 ? argv[2] : "0.0.0.0");

    int listener = iopkt_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) {
        fprintf(stderr, "echo: socket: %s (is io-pkt running?)\n", strerror(errno));
        return 1;
    }
    int yes = 1;
    iopkt_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (iopkt_bind(listener, (struct sockaddr *)&name, sizeof name) < 0 ||
        iopkt_listen(listener, 64) < 0) {
        perror("echo: listen");
        return 1;
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                echo(fd);
                continue;
            }
            int accepted = iopkt_accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (accepted >= 0)
                watch(epoll, accepted);
        }
    }
}
