/* MSG_*; SIGPIPE; sendmmsg and recvmmsg. */
#include "socketdiff.h"

CASE(flags, peek)
{
    char in[8] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "abcd", 4, 0));
    await_bytes(fd, 4);
    TRY(recv(fd, in, 2, MSG_PEEK));
    TRY(recv(fd, in, 8, MSG_PEEK));
    say("%s", in);
    TRY(recv(fd, in, 8, 0));
    TRY(recv(fd, in, 8, MSG_PEEK | MSG_DONTWAIT));
}
CASE(flags, peek_waitall)
{
    char in[8] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "abcd", 4, 0));
    await_bytes(fd, 4);
    TRY(recv(fd, in, 4, MSG_PEEK | MSG_WAITALL));
    TRY(recv(fd, in, 8, MSG_PEEK | MSG_WAITALL | MSG_DONTWAIT));
}
CASE(flags, peek_datagram)
{
    in_name from;
    socklen_t len = sizeof from;
    char in[8] = "";
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "abc", 3));
    TRY(recvfrom(fd, in, 8, MSG_PEEK, SA(&from), &len));
    say_name("from", SA(&from), len);
    TRY(recv(fd, in, 1, MSG_PEEK));
    TRY(recv(fd, in, 8, 0));
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
}
CASE(flags, waitall)
{
    char in[8] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "ab", 2, 0));
    NEED(peer_later(id, 30, "cd", 2));
    TRY(recv(fd, in, 4, MSG_WAITALL));
    say("%s", in);
}
CASE(flags, waitall_until_the_end)
{
    char in[8] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "ab", 2, 0));
    NEED(peer_close(id));
    TRY(recv(fd, in, 8, MSG_WAITALL));
    TRY(recv(fd, in, 8, MSG_WAITALL));
}
CASE(flags, waitall_until_timeout)
{
    struct timeval time = {.tv_usec = 40000};
    char in[8] = "";
    int id, fd = connected(&id);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    NEED(peer_send(id, "ab", 2, 0));
    TRY(recv(fd, in, 8, MSG_WAITALL));
    TRY(recv(fd, in, 8, MSG_WAITALL));
}
CASE(flags, waitall_datagram)
{
    char in[8];
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "abc", 3));
    TRY(recv(fd, in, 8, MSG_WAITALL));
}
CASE(flags, waitall_in_nonblocking_mode)
{
    char in[8];
    int id, fd = connected(&id);
    nonblocking(fd);
    NEED(peer_send(id, "ab", 2, 0));
    await_bytes(fd, 2);
    TRY(recv(fd, in, 8, MSG_WAITALL));
    TRY(recv(fd, in, 8, MSG_WAITALL));
}
CASE(flags, waitall_until_reset)
{
    char in[8];
    int id, fd = connected(&id);
    NEED(peer_send(id, "ab", 2, 0));
    await_bytes(fd, 2);
    NEED(peer_reset(id));
    pause_ms(10);
    TRY(recv(fd, in, 8, MSG_WAITALL));
    TRY(recv(fd, in, 8, MSG_WAITALL));
}
CASE(flags, dontwait)
{
    char in[8];
    int id, fd = connected(&id);
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
    TRY(recv(fd, in, 8, MSG_DONTWAIT | MSG_PEEK));
    TRY(send(fd, "x", 1, MSG_DONTWAIT));
    say("mode is as it was: %d", !(fcntl(fd, F_GETFL) & O_NONBLOCK));
}
CASE(flags, trunc_throws_away)
{
    char in[8] = "....";
    int id, fd = connected(&id);
    NEED(peer_send(id, "abcdef", 6, 0));
    await_bytes(fd, 6);
    TRY(recv(fd, in, 4, MSG_TRUNC));
    say("untouched: %.4s", in);
    TRY(recv(fd, NULL, 1, MSG_TRUNC));
    TRY(recv(fd, in, 8, 0));
    say("%.1s", in);
}
CASE(flags, trunc_peek)
{
    char in[8] = "....";
    int id, fd = connected(&id);
    NEED(peer_send(id, "abcdef", 6, 0));
    await_bytes(fd, 6);
    TRY(recv(fd, in, 4, MSG_TRUNC | MSG_PEEK));
    TRY(recv(fd, in, 8, 0));
}
CASE(flags, errqueue_is_empty)
{
    char in[8];
    int id, fd = connected(&id);
    TRY(recv(fd, in, 8, MSG_ERRQUEUE));
    fd = associated(&id);
    TRY(recv(fd, in, 8, MSG_ERRQUEUE));
}
CASE(flags, receive_nobody_knows)
{
    char in[8];
    int id, fd = connected(&id);
    NEED(peer_send(id, "a", 1, 0));
    await_bytes(fd, 1);
    TRY(recv(fd, in, 8, 0x01000000));
    NEED(peer_send(id, "a", 1, 0));
    await_bytes(fd, 1);
    TRY(recv(fd, in, 8, MSG_CMSG_CLOEXEC | MSG_NOSIGNAL | MSG_WAITFORONE | MSG_CONFIRM));
}
CASE(flags, send_nobody_knows)
{
    int id, fd = connected(&id);
    TRY(send(fd, "a", 1, 0x01000000));
    TRY(send(fd, "a", 1, MSG_CONFIRM | MSG_DONTROUTE | MSG_EOR | MSG_PEEK | MSG_TRUNC | MSG_WAITALL));
    fd = associated(&id);
    TRY(send(fd, "a", 1, 0x01000000));
    TRY(send(fd, "a", 1, MSG_CONFIRM | MSG_DONTROUTE | MSG_EOR));
    TRY(send(fd, "a", 1, MSG_PEEK | MSG_TRUNC | MSG_WAITALL));
}
CASE(flags, oob_of_a_datagram)
{
    char c;
    int id, fd = associated(&id);
    TRY(send(fd, "a", 1, MSG_OOB));
    TRY(recv(fd, &c, 1, MSG_OOB | MSG_DONTWAIT));
}
CASE(flags, oob)
{
    char in[8] = "";
    int id, fd = connected(&id);
    TRY(recv(fd, in, 1, MSG_OOB));
    NEED(peer_send(id, "ab", 2, MSG_OOB));
    say_mask("awaited", await(fd, POLLPRI) & POLLPRI);
    TRY(recv(fd, in, 8, 0));
    TRY(recv(fd, in, 8, MSG_OOB));
    say("%.1s", in);
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
    TRY(send(fd, "yz", 2, MSG_OOB));
    pause_ms(10);
    TRY(peer_recv(id, in, 1, MSG_OOB));
    say("%.1s", in);
}
CASE(flags, recvmsg_flags_of_oob)
{
    char in[8];
    struct iovec into = {in, 8};
    struct msghdr m = {.msg_iov = &into, .msg_iovlen = 1};
    int id, fd = connected(&id);
    NEED(peer_send(id, "ab", 2, MSG_OOB));
    await(fd, POLLPRI);
    TRY(recvmsg(fd, &m, MSG_OOB));
    say("flags %x", m.msg_flags);
    TRY(recvmsg(fd, &m, 0));
    say("flags %x", m.msg_flags);
}
CASE(flags, recvmsg_says_cmsg_cloexec)
{
    char in[8];
    struct iovec into = {in, 8};
    struct msghdr m = {.msg_iov = &into, .msg_iovlen = 1};
    int id, fd = connected(&id);
    NEED(peer_send(id, "ab", 2, 0));
    await_bytes(fd, 2);
    TRY(recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_TRUNC));
    say("flags %x", m.msg_flags);
}
CASE(flags, more_waits)
{
    char in[8] = "";
    int id, fd = connected(&id);
    TRY(send(fd, "ab", 2, MSG_MORE));
    pause_ms(10);
    TRY(peer_recv(id, in, 8, MSG_DONTWAIT));
    TRY(send(fd, "cd", 2, 0));
    TRY(peer_recv(id, in, 4, MSG_WAITALL));
    say("%s", in);
}
/* TCP_NODELAY pushes what waits when it is set, not what follows. */
static unsigned sent_segments(int fd)
{
    /* <netinet/tcp.h> does not know tcpi_data_segs_out yet. */
    uint32_t info[40] = {0}, *data_segments = info + 156 / 4;
    socklen_t len = sizeof info;
    NEED(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len));
    return *data_segments - ((struct tcp_info *)info)->tcpi_total_retrans;
}
CASE(flags, more_after_no_delay)
{
    enum { ROUNDS = 50 };
    int id, fd = connected(&id);
    for (int i = 0; i < ROUNDS; i++) {
        set(fd, IPPROTO_TCP, TCP_NODELAY, i & 1);
        set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        NEED(send(fd, "ab", 2, MSG_MORE));
        NEED(send(fd, "cd", 2, MSG_MORE));
        pause_ms(1);
        NEED(send(fd, "e", 1, 0));
        await_sent(fd);
    }
    say("%u segments for %d texts", sent_segments(fd), ROUNDS);
}
CASE(flags, zerocopy_without_option)
{
    char in[8] = "";
    int id, fd = connected(&id);
    TRY(send(fd, "ab", 2, MSG_ZEROCOPY));
    TRY(peer_recv(id, in, 2, MSG_WAITALL));
}

static volatile sig_atomic_t pipes;
static void on_pipe(int number)
{
    (void)number;
    pipes++;
}
static int broken(void)
{
    int id, fd = connected(&id);
    signal(SIGPIPE, on_pipe);
    NEED(shutdown(fd, SHUT_WR));
    return fd;
}
CASE(sigpipe, send)
{
    int fd = broken();
    TRY(send(fd, "x", 1, 0));
    say("signals %d", (int)pipes);
}
CASE(sigpipe, send_without_signal)
{
    int fd = broken();
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    say("signals %d", (int)pipes);
}
CASE(sigpipe, write_and_writev)
{
    struct iovec out = {"x", 1};
    int fd = broken();
    TRY(write(fd, "x", 1));
    TRY(writev(fd, &out, 1));
    TRY(sendmsg(fd, &(struct msghdr){.msg_iov = &out, .msg_iovlen = 1}, 0));
    say("signals %d", (int)pipes);
}
CASE(sigpipe, write_nothing)
{
    int fd = broken();
    TRY(write(fd, "", 0));
    TRY(send(fd, "", 0, 0));
    say("signals %d", (int)pipes);
}
CASE(sigpipe, ignored)
{
    int fd = broken();
    signal(SIGPIPE, SIG_IGN);
    TRY(write(fd, "x", 1));
}
CASE(sigpipe, kills)
{
    int fd = broken();
    signal(SIGPIPE, SIG_DFL);
    TRY(write(fd, "x", 1));
}
CASE(sigpipe, fresh)
{
    int fd = stream();
    signal(SIGPIPE, on_pipe);
    TRY(send(fd, "x", 1, 0));
    say("signals %d", (int)pipes);
}
CASE(sigpipe, reset)
{
    int fd = reset_by_peer();
    signal(SIGPIPE, on_pipe);
    TRY(send(fd, "x", 1, 0));
    TRY(send(fd, "x", 1, 0));
    say("signals %d", (int)pipes);
}
CASE(sigpipe, datagram)
{
    int id, fd = associated(&id);
    signal(SIGPIPE, on_pipe);
    NEED(shutdown(fd, SHUT_WR));
    TRY(send(fd, "x", 1, 0));
    say("signals %d", (int)pipes);
}

static void prepare(struct mmsghdr *m, struct iovec *v, char (*room)[8], int count, size_t len)
{
    memset(m, 0, count * sizeof *m);
    for (int i = 0; i < count; i++) {
        v[i] = (struct iovec){room[i], len};
        m[i].msg_hdr.msg_iov = &v[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
}
CASE(batch, sendmmsg)
{
    char room[4][8] = {"a", "bb", "ccc", "dddd"};
    struct mmsghdr m[4];
    struct iovec v[4];
    int id, fd = associated(&id);
    prepare(m, v, room, 4, 0);
    for (int i = 0; i < 4; i++)
        v[i].iov_len = i + 1;
    TRY(sendmmsg(fd, m, 4, 0));
    for (int i = 0; i < 4; i++) {
        struct peer_datagram got = peer_recvfrom(id);
        say("%u: %d bytes, %.*s", m[i].msg_len, got.len, got.len, got.data);
    }
}
CASE(batch, sendmmsg_none)
{
    int id, fd = associated(&id);
    TRY(sendmmsg(fd, NULL, 0, 0));
    TRY(sendmmsg(fd, NULL, 1, 0));
}
CASE(batch, sendmmsg_first_fails)
{
    char room[2][8];
    struct mmsghdr m[2];
    struct iovec v[2];
    int fd = datagram();
    prepare(m, v, room, 2, 1);
    TRY(sendmmsg(fd, m, 2, 0));
}
CASE(batch, sendmmsg_second_fails)
{
    char room[2][8] = {"a", "b"};
    struct mmsghdr m[2];
    struct iovec v[2];
    in_name to = at(theirs, port(1)), wrong = at(theirs, 0);
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    prepare(m, v, room, 2, 1);
    m[0].msg_hdr.msg_name = &to;
    m[1].msg_hdr.msg_name = &wrong;
    m[0].msg_hdr.msg_namelen = m[1].msg_hdr.msg_namelen = LEN;
    TRY(sendmmsg(fd, m, 2, 0));
    say("%d bytes", peer_recvfrom(id).len);
}
CASE(batch, sendmmsg_stream)
{
    char room[2][8] = {"ab", "cd"}, in[8] = "";
    struct mmsghdr m[2];
    struct iovec v[2];
    int id, fd = connected(&id);
    prepare(m, v, room, 2, 2);
    TRY(sendmmsg(fd, m, 2, 0));
    TRY(peer_recv(id, in, 4, MSG_WAITALL));
    say("%s", in);
}
CASE(batch, recvmmsg)
{
    char room[4][8] = {""};
    struct mmsghdr m[4];
    struct iovec v[4];
    in_name from[4];
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    for (int i = 1; i <= 3; i++)
        NEED(peer_sendto(id, port(0), "abcdefghij", i * 3));
    pause_ms(10);
    prepare(m, v, room, 4, 8);
    for (int i = 0; i < 4; i++) {
        m[i].msg_hdr.msg_name = &from[i];
        m[i].msg_hdr.msg_namelen = LEN;
    }
    TRY(recvmmsg(fd, m, 4, MSG_DONTWAIT, NULL));
    for (int i = 0; i < 3; i++)
        say("%u bytes, %.*s, flags %x, name %u", m[i].msg_len, (int)m[i].msg_len, room[i], m[i].msg_hdr.msg_flags, m[i].msg_hdr.msg_namelen);
}
CASE(batch, recvmmsg_waits_for_one)
{
    char room[4][8] = {""};
    struct mmsghdr m[4];
    struct iovec v[4];
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "a", 1));
    prepare(m, v, room, 4, 8);
    TRY(recvmmsg(fd, m, 4, MSG_WAITFORONE, NULL));
}
CASE(batch, recvmmsg_timeout)
{
    char room[4][8] = {""};
    struct mmsghdr m[4];
    struct iovec v[4];
    struct timespec time = {.tv_nsec = 1000000};
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "a", 1));
    await(fd, POLLIN);
    pause_ms(2);
    prepare(m, v, room, 4, 8);
    time.tv_nsec = 0;
    TRY(recvmmsg(fd, m, 4, 0, &time));
    say("left %ld %ld", (long)time.tv_sec, time.tv_nsec);
}
CASE(batch, recvmmsg_wrong_timeout)
{
    char room[1][8];
    struct mmsghdr m[1];
    struct iovec v[1];
    int fd = bound(SOCK_DGRAM, port(0));
    prepare(m, v, room, 1, 8);
    TRY(recvmmsg(fd, m, 1, 0, &(struct timespec){.tv_nsec = 1000000000}));
    TRY(recvmmsg(fd, m, 1, 0, &(struct timespec){.tv_sec = -1}));
}
CASE(batch, recvmmsg_nothing)
{
    char room[1][8];
    struct mmsghdr m[1];
    struct iovec v[1];
    int fd = bound(SOCK_DGRAM, port(0));
    prepare(m, v, room, 1, 8);
    TRY(recvmmsg(fd, m, 1, MSG_DONTWAIT, NULL));
    TRY(recvmmsg(fd, m, 0, MSG_DONTWAIT, NULL));
}
