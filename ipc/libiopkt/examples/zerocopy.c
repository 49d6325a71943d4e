/*
 * An echo server that copies each byte once: from where it has been received to where it is sent from.
 * One process for each connection.
 *
 *     cc -o zerocopy zerocopy.c $(pkg-config --cflags --libs iopkt)
 *     ./zerocopy 7
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <iopkt.h>

/* 0 at the end of the connection, -1 if it has failed. */
static int echo(int fd)
{
    const void *from;
    ssize_t len;
    while ((len = iopkt_recv_zc(fd, &from, 0)) > 0) {
        for (ssize_t done = 0; done < len;) {
            void *to;
            ssize_t room = iopkt_send_reserve(fd, &to, (size_t)(len - done), MSG_NOSIGNAL);
            if (room < 0)
                return -1;
            memcpy(to, (const char *)from + done, (size_t)room);
            if (iopkt_send_commit(fd, to, (size_t)room, MSG_NOSIGNAL) != room)
                return -1;
            done += room;
        }
        if (iopkt_release(fd, (size_t)len) != len)
            return -1;
    }
    return (int)len;
}

int main(int argc, char **argv)
{
    unsigned short port = (unsigned short)(argc > 1 ? atoi(argv[1]) : 7);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};

    signal(SIGCHLD, SIG_IGN);
    int listener = iopkt_socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) {
        fprintf(stderr, "zerocopy: socket: %s (is io-pkt running?)\n", strerror(errno));
        return 1;
    }
    if (iopkt_bind(listener, (struct sockaddr *)&name, sizeof name) < 0 || iopkt_listen(listener, 64) < 0) {
        perror("zerocopy: bind");
        return 1;
    }
    for (;;) {
        int fd = iopkt_accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (fork() == 0) {
            iopkt_close(listener);
            _exit(echo(fd) < 0);
        }
        iopkt_close(fd);
    }
}
