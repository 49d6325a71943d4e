/* Many datagrams with one call: UDP_SEGMENT and UDP_GRO. */
#include "socketdiff.h"
#include <netinet/udp.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static char text[70000];

static void say_datagrams(int id, int count)
{
    for (int i = 0; i < count; i++) {
        struct peer_datagram got = peer_recvfrom(id);
        say("%d bytes", got.len);
    }
}
static long send_cut(int fd, int len, const void *size, int size_len)
{
    char control[64] = "";
    struct iovec part = {text, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(size_len)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(size_len)};
    memcpy(CMSG_DATA(head), size, size_len);
    return sendmsg(fd, &message, 0);
}

CASE(segment, options)
{
    int fd = datagram(), other = stream(), size = 100, below = -1, above = 65536, most = 65535;
    say("fresh: %d and %d", get(fd, IPPROTO_UDP, UDP_SEGMENT), get(fd, IPPROTO_UDP, UDP_GRO));
    TRY(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size));
    TRY(setsockopt(fd, IPPROTO_UDP, UDP_GRO, &size, sizeof size));
    say("set: %d and %d", get(fd, IPPROTO_UDP, UDP_SEGMENT), get(fd, IPPROTO_UDP, UDP_GRO));
    TRY(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &below, sizeof below));
    TRY(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &above, sizeof above));
    TRY(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &most, sizeof most));
    TRY(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, 2));
    TRY(setsockopt(other, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size));
}
CASE(segment, cut)
{
    int id, fd = associated(&id);
    set(fd, IPPROTO_UDP, UDP_SEGMENT, 100);
    TRY(send(fd, text, 350, 0));
    say_datagrams(id, 4);
    TRY(send(fd, text, 100, 0));
    TRY(send(fd, text, 1, 0));
    TRY(send(fd, text, 200, 0));
    say_datagrams(id, 4);
    set(fd, IPPROTO_UDP, UDP_SEGMENT, 0);
    TRY(send(fd, text, 350, 0));
    say_datagrams(id, 1);
}
CASE(segment, cut_by_message)
{
    int id, fd = associated(&id), wrong = 100;
    uint16_t size = 100, none = 0;
    TRY(send_cut(fd, 250, &size, sizeof size));
    say_datagrams(id, 3);
    set(fd, IPPROTO_UDP, UDP_SEGMENT, 50);
    TRY(send_cut(fd, 250, &size, sizeof size));
    say_datagrams(id, 3);
    TRY(send_cut(fd, 250, &none, sizeof none));
    say_datagrams(id, 1);
    TRY(send_cut(fd, 250, &wrong, sizeof wrong));
}
CASE(segment, limits)
{
    int id, fd = associated(&id);
    set(fd, IPPROTO_UDP, UDP_SEGMENT, 10);
    TRY(send(fd, text, 1281, 0));
    TRY(send(fd, text, 1280, 0));
    say_datagrams(id, 1);
    set(fd, IPPROTO_UDP, UDP_SEGMENT, 1000);
    TRY(send(fd, text, 65508, 0));
    TRY(send(fd, text, 70000, 0));
}
static void say_joined(int fd)
{
    char control[100];
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    TRY(recvmsg(fd, &message, MSG_DONTWAIT));
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        say("level %d type %d, %zu bytes: %d", c->cmsg_level, c->cmsg_type, c->cmsg_len - CMSG_LEN(0), *(int *)CMSG_DATA(c));
}
CASE(segment, joined)
{
    int id, fd = associated(&id);
    set(fd, IPPROTO_UDP, UDP_GRO, 1);
    NEED(peer_set(id, IPPROTO_UDP, UDP_SEGMENT, 100));
    NEED(peer_sendto(id, port(0), text, 350));
    pause_ms(100);
    say_joined(fd);
    NEED(peer_sendto(id, port(0), text, 60));
    pause_ms(100);
    say_joined(fd);
    set(fd, IPPROTO_UDP, UDP_GRO, 0);
    NEED(peer_sendto(id, port(0), text, 350));
    pause_ms(100);
    say_joined(fd);
}
