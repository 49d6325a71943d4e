/* Control messages: in both directions for datagrams, and what a stream does. */
#include "socketdiff.h"

/* Prints what came; numbers of interfaces and times are said to be plausible. */
static void say_control(struct msghdr *m)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        size_t len = c->cmsg_len - CMSG_LEN(0);
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info = {0};
            char to[16], us[16];
            memcpy(&info, CMSG_DATA(c), len);
            inet_ntop(AF_INET, &info.ipi_addr, to, sizeof to);
            inet_ntop(AF_INET, &info.ipi_spec_dst, us, sizeof us);
            say("IP_PKTINFO %zu bytes: to %s, us %s, interface %d", len, to, us, info.ipi_ifindex > 0);
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
            say("IP_TTL %zu bytes: %d", len, *(int *)CMSG_DATA(c));
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
            say("IP_TOS %zu bytes: %d", len, *CMSG_DATA(c));
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP) {
            struct timeval at;
            memcpy(&at, CMSG_DATA(c), sizeof at);
            say("SO_TIMESTAMP %zu bytes, now: %d", len, labs((long)(now.tv_sec - at.tv_sec)) <= 2);
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(c), sizeof at);
            say("SO_TIMESTAMPNS %zu bytes, now: %d", len, labs((long)(now.tv_sec - at.tv_sec)) <= 2);
        } else {
            say("level %d, type %d, %zu bytes", c->cmsg_level, c->cmsg_type, len);
        }
    }
}

static void receive_with_room(int fd, size_t room)
{
    char in[16], control[512] = "";
    in_name from;
    struct iovec into = {in, sizeof in};
    struct msghdr m = {&from, LEN, &into, 1, control, room, 0};
    TRY(recvmsg(fd, &m, 0));
    say("control %zu bytes, flags %x, name %u", m.msg_controllen, m.msg_flags, m.msg_namelen);
    say_control(&m);
}
static void receive(int fd) { receive_with_room(fd, 512); }

static int listener_with(int *id, int level, int option)
{
    int fd = bound(SOCK_DGRAM, port(0));
    *id = NEED(peer_udp(port(1)));
    if (option)
        set(fd, level, option, 1);
    return fd;
}
static void one(int level, int option)
{
    int id, fd = listener_with(&id, level, option);
    NEED(peer_sendto(id, port(0), "abc", 3));
    receive(fd);
}
CASE(ancillary, none) { one(0, 0); }
CASE(ancillary, pktinfo) { one(IPPROTO_IP, IP_PKTINFO); }
CASE(ancillary, ttl) { one(IPPROTO_IP, IP_RECVTTL); }
CASE(ancillary, tos) { one(IPPROTO_IP, IP_RECVTOS); }
CASE(ancillary, timestamp) { one(SOL_SOCKET, SO_TIMESTAMP); }
CASE(ancillary, timestamp_ns) { one(SOL_SOCKET, SO_TIMESTAMPNS); }
static int with_all(int *id)
{
    int fd = listener_with(id, SOL_SOCKET, SO_TIMESTAMP);
    set(fd, IPPROTO_IP, IP_RECVTOS, 1);
    set(fd, IPPROTO_IP, IP_RECVTTL, 1);
    set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    return fd;
}
CASE(ancillary, all)
{
    int id, fd = with_all(&id);
    NEED(peer_sendto(id, port(0), "abc", 3));
    receive(fd);
}
CASE(ancillary, values_of_the_sender)
{
    int id, fd = with_all(&id);
    NEED(peer_set(id, IPPROTO_IP, IP_TTL, 17));
    NEED(peer_set(id, IPPROTO_IP, IP_TOS, 0x28));
    NEED(peer_sendto(id, port(0), "abc", 3));
    receive(fd);
}
CASE(ancillary, taken_off_again)
{
    int id, fd = with_all(&id);
    set(fd, IPPROTO_IP, IP_RECVTTL, 0);
    set(fd, SOL_SOCKET, SO_TIMESTAMP, 0);
    NEED(peer_sendto(id, port(0), "abc", 3));
    receive(fd);
}
CASE(ancillary, peeked)
{
    char in[16], control[512];
    struct iovec into = {in, sizeof in};
    struct msghdr m = {NULL, 0, &into, 1, control, 512, 0};
    int id, fd = with_all(&id);
    NEED(peer_sendto(id, port(0), "abc", 3));
    TRY(recvmsg(fd, &m, MSG_PEEK));
    say_control(&m);
    receive(fd);
}
CASE(ancillary, of_a_cut_datagram)
{
    char in[1], control[512];
    struct iovec into = {in, sizeof in};
    struct msghdr m = {NULL, 0, &into, 1, control, 512, 0};
    int id, fd = with_all(&id);
    NEED(peer_sendto(id, port(0), "abc", 3));
    TRY(recvmsg(fd, &m, 0));
    say("flags %x", m.msg_flags);
    say_control(&m);
}
static void in_room(size_t room)
{
    int id, fd = with_all(&id);
    set(fd, SOL_SOCKET, SO_TIMESTAMP, 0);
    NEED(peer_sendto(id, port(0), "abc", 3));
    receive_with_room(fd, room);
}
CASE(ancillary, room_zero) { in_room(0); }
CASE(ancillary, room_fifteen) { in_room(15); }
CASE(ancillary, room_sixteen) { in_room(16); }
CASE(ancillary, room_twenty) { in_room(20); }
CASE(ancillary, room_of_one) { in_room(CMSG_SPACE(sizeof(struct in_pktinfo))); }
CASE(ancillary, room_of_one_and_a_half) { in_room(CMSG_SPACE(sizeof(struct in_pktinfo)) + 18); }
CASE(ancillary, room_of_two) { in_room(CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(int))); }
CASE(ancillary, room_exact) { in_room(CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(int)) + CMSG_LEN(1)); }
CASE(ancillary, room_null)
{
    char in[4];
    struct iovec into = {in, sizeof in};
    struct msghdr m = {NULL, 0, &into, 1, NULL, 100, 0};
    int id, fd = with_all(&id);
    NEED(peer_sendto(id, port(0), "abc", 3));
    TRY(recvmsg(fd, &m, 0));
    say("control %zu bytes, flags %x", m.msg_controllen, m.msg_flags);
}
CASE(ancillary, of_a_broadcast)
{
    int id, fd = datagram();
    in_name any = at("0.0.0.0", port(0));
    NEED(bind(fd, SA(&any), LEN));
    set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    id = NEED(peer_udp(port(1)));
    (void)id;
    NEED(peer_sendto(id, port(0), "abc", 3));
    receive(fd);
}
CASE(ancillary, batch)
{
    char in[2][4], control[2][128];
    struct iovec v[2] = {{in[0], 4}, {in[1], 4}};
    struct mmsghdr m[2] = {{{NULL, 0, &v[0], 1, control[0], 128, 0}, 0}, {{NULL, 0, &v[1], 1, control[1], 128, 0}, 0}};
    int id, fd = listener_with(&id, IPPROTO_IP, IP_RECVTTL);
    NEED(peer_sendto(id, port(0), "a", 1));
    NEED(peer_set(id, IPPROTO_IP, IP_TTL, 9));
    NEED(peer_sendto(id, port(0), "b", 1));
    pause_ms(10);
    TRY(recvmmsg(fd, m, 2, MSG_DONTWAIT, NULL));
    say_control(&m[0].msg_hdr);
    say_control(&m[1].msg_hdr);
}

/* Sends with one control message; the peer says what has come. */
static void send_one(int fd, int id, int level, int type, const void *data, size_t len)
{
    char control[64] = "";
    in_name to = at(theirs, port(1));
    struct iovec out = {"abc", 3};
    struct msghdr m = {&to, LEN, &out, 1, control, CMSG_SPACE(len), 0};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){CMSG_LEN(len), level, type};
    memcpy(CMSG_DATA(c), data, len);
    if (TRY(sendmsg(fd, &m, 0)) < 0)
        return;
    struct peer_datagram got = peer_recvfrom(id);
    say("%d bytes, TTL %d, TOS %d", got.len, got.ttl, got.tos);
}
static void send_int(int type, int value)
{
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    send_one(fd, id, IPPROTO_IP, type, &value, sizeof value);
}
CASE(ancillary, send_ttl) { send_int(IP_TTL, 5); }
CASE(ancillary, send_ttl_largest) { send_int(IP_TTL, 255); }
CASE(ancillary, send_ttl_zero) { send_int(IP_TTL, 0); }
CASE(ancillary, send_ttl_too_large) { send_int(IP_TTL, 256); }
CASE(ancillary, send_ttl_negative) { send_int(IP_TTL, -1); }
CASE(ancillary, send_tos) { send_int(IP_TOS, 0x20); }
CASE(ancillary, send_tos_too_large) { send_int(IP_TOS, 256); }
CASE(ancillary, send_tos_byte)
{
    unsigned char tos = 0x48;
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    send_one(fd, id, IPPROTO_IP, IP_TOS, &tos, 1);
}
CASE(ancillary, send_ttl_short)
{
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    send_one(fd, id, IPPROTO_IP, IP_TTL, "\5", 1);
}
CASE(ancillary, send_once_only)
{
    in_name to = at(theirs, port(1));
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1))), ttl = 5;
    send_one(fd, id, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    TRY(sendto(fd, "x", 1, 0, SA(&to), LEN));
    say("TTL %d", peer_recvfrom(id).ttl);
}
CASE(ancillary, send_pktinfo_source)
{
    struct in_pktinfo info = {0};
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    inet_pton(AF_INET, mine, &info.ipi_spec_dst);
    send_one(fd, id, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
}
static void send_from(const char *source)
{
    char control[CMSG_SPACE(sizeof(struct in_pktinfo))] = "";
    struct in_pktinfo info = {0};
    in_name to = at(theirs, port(1));
    struct iovec out = {"abc", 3};
    struct msghdr m = {&to, LEN, &out, 1, control, sizeof control, 0};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int fd = datagram();
    inet_pton(AF_INET, source, &info.ipi_spec_dst);
    *c = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
    memcpy(CMSG_DATA(c), &info, sizeof info);
    TRY(sendmsg(fd, &m, 0));
    pause_ms(5);
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(ancillary, send_pktinfo_loopback) { send_from("127.0.0.1"); }
CASE(ancillary, send_pktinfo_foreign) { send_from("198.18.77.99"); }
CASE(ancillary, send_pktinfo_empty)
{
    struct in_pktinfo info = {0};
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    send_one(fd, id, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
}
CASE(ancillary, send_pktinfo_short)
{
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    send_one(fd, id, IPPROTO_IP, IP_PKTINFO, "abcd", 4);
}
CASE(ancillary, send_what_came)
{
    char in[16], control[512];
    in_name from;
    struct iovec into = {in, 3};
    struct msghdr m = {&from, LEN, &into, 1, control, 512, 0};
    int id, fd = listener_with(&id, IPPROTO_IP, IP_PKTINFO);
    NEED(peer_sendto(id, port(0), "abc", 3));
    TRY(recvmsg(fd, &m, 0));
    TRY(sendmsg(fd, &m, 0));
    say("%d bytes", peer_recvfrom(id).len);
}
CASE(ancillary, send_unknown)
{
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    send_one(fd, id, IPPROTO_IP, 99, "abcd", 4);
    send_one(fd, id, SOL_SOCKET, 99, "abcd", 4);
    send_one(fd, id, IPPROTO_TCP, 99, "abcd", 4);
}
CASE(ancillary, send_malformed)
{
    char control[64] = "";
    in_name to = at(theirs, port(1));
    struct iovec out = {"abc", 3};
    struct msghdr m = {&to, LEN, &out, 1, control, 24, 0};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int fd = datagram();
    NEED(peer_udp(port(1)));
    *c = (struct cmsghdr){3, IPPROTO_IP, IP_TTL};
    TRY(sendmsg(fd, &m, 0));
    *c = (struct cmsghdr){25, IPPROTO_IP, IP_TTL};
    TRY(sendmsg(fd, &m, 0));
    m.msg_controllen = 8;
    TRY(sendmsg(fd, &m, 0));
    m.msg_control = NULL;
    m.msg_controllen = 0;
    TRY(sendmsg(fd, &m, 0));
}
CASE(ancillary, stream_has_none)
{
    char in[4], control[128];
    struct iovec into = {in, 4};
    struct msghdr m = {NULL, 0, &into, 1, control, 128, 0};
    int id, fd = connected(&id);
    set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    set(fd, IPPROTO_IP, IP_RECVTTL, 1);
    NEED(peer_send(id, "ab", 2, 0));
    await_bytes(fd, 2);
    TRY(recvmsg(fd, &m, 0));
    say("control %zu bytes, flags %x", m.msg_controllen, m.msg_flags);
}
CASE(ancillary, stream_sends_some)
{
    char control[64] = "";
    struct iovec out = {"abc", 3};
    struct msghdr m = {NULL, 0, &out, 1, control, CMSG_SPACE(4), 0};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int id, fd = connected(&id), ttl = 4;
    *c = (struct cmsghdr){CMSG_LEN(4), IPPROTO_IP, IP_TTL};
    memcpy(CMSG_DATA(c), &ttl, 4);
    TRY(sendmsg(fd, &m, 0));
    *c = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, 99};
    TRY(sendmsg(fd, &m, 0));
    say("%d bytes", peer_recv(id, control, 3, 0));
}
