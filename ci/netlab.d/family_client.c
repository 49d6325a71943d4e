/* A program that uses the family of stack/template/family.c: MAC INTERFACE PORT COUNT | crowd | sleep.
 * With NATIVE it calls the library, else it is any program under `iopkt run`. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef NATIVE
#include <iopkt.h>
#define socket iopkt_socket
#define bind iopkt_bind
#define connect iopkt_connect
#define getsockname iopkt_getsockname
#define getpeername iopkt_getpeername
#define sendto iopkt_sendto
#define recvfrom iopkt_recvfrom
#define send iopkt_send
#define recv iopkt_recv
#define close iopkt_close
#endif

enum { FAMILY = 60 };

static void need(int ok, const char *what) {
    if (ok)
        return;
    perror(what);
    exit(1);
}

static struct sockaddr_in6 name(int port) {
    struct sockaddr_in6 n = {.sin6_family = FAMILY, .sin6_port = htons(port)};
    return n;
}

static int opened(int port) {
    int s = socket(FAMILY, SOCK_DGRAM, 0);
    need(s >= 0, "socket");
    struct sockaddr_in6 n = name(port);
    need(bind(s, (struct sockaddr *)&n, sizeof n) == 0, "bind");
    return s;
}

static int crowd(void) {
    int count = 0;
    while (count < 1000 && socket(FAMILY, SOCK_DGRAM, 0) >= 0)
        count++;
    need(errno == ENFILE, "socket");
    printf("%d\n", count);
    return 0;
}

static int sleeper(void) {
    char text[10];
    int s = opened(77);
    struct pollfd readable = {.fd = s, .events = POLLIN};
    need(poll(&readable, 1, -1) == 1, "poll");
    need(recv(s, text, sizeof text, 0) >= 0, "recv");
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2)
        return strcmp(argv[1], "crowd") ? sleeper() : crowd();
    unsigned mac[6];
    need(argc == 5 && sscanf(argv[1], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6, "arguments");
    int count = atoi(argv[4]), s = opened(0);
    struct sockaddr_in6 to = name(atoi(argv[3])), from, mine;
    socklen_t len = sizeof mine;
    for (int i = 0; i < 6; i++)
        to.sin6_addr.s6_addr[i] = (unsigned char)mac[i];
    to.sin6_scope_id = (unsigned)atoi(argv[2]);
    need(getsockname(s, (struct sockaddr *)&mine, &len) == 0 && mine.sin6_family == FAMILY && mine.sin6_port, "getsockname");
    for (int i = 0; i < count; i++) {
        char text[1400], back[2000];
        size_t size = (size_t)(i * 7) % sizeof text;
        memset(text, i, sizeof text);
        need(sendto(s, text, size, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)size, "sendto");
        struct pollfd readable = {.fd = s, .events = POLLIN};
        need(poll(&readable, 1, 3000) == 1, "poll");
        len = sizeof from;
        need(recvfrom(s, back, sizeof back, 0, (struct sockaddr *)&from, &len) == (ssize_t)size, "recvfrom");
        need(!memcmp(text, back, size) && len == sizeof from && !memcmp(&from, &to, sizeof from), "what came back");
    }
    need(connect(s, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    len = sizeof from;
    need(getpeername(s, (struct sockaddr *)&from, &len) == 0 && !memcmp(&from, &to, sizeof from), "getpeername");
    char text[10];
    need(send(s, "connected", 9, 0) == 9 && recv(s, text, sizeof text, 0) == 9, "connected");
    int other = socket(FAMILY, SOCK_DGRAM, 0);
    need(other >= 0 && bind(other, (struct sockaddr *)&mine, sizeof mine) < 0 && errno == EADDRINUSE, "one port twice");
    /* Not a name of this family; no name at all; longer than a frame: the next call says so. */
    struct sockaddr_in inet = {.sin_family = AF_INET};
    need(sendto(other, "x", 1, 0, (struct sockaddr *)&inet, sizeof inet) < 0 && errno == EAFNOSUPPORT, "AF_INET");
    need(send(other, "x", 1, 0) < 0 && errno == EDESTADDRREQ, "no peer");
    need(socket(FAMILY, SOCK_STREAM, 0) < 0 && socket(FAMILY, SOCK_DGRAM, 9) < 0, "what it has not");
    need(close(other) == 0 && close(s) == 0, "close");
    printf("%d\n", count);
    return 0;
}
