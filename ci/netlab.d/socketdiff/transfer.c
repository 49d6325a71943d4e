/* send, recv, read, write and their like: lengths, lists, ends. */
#include "socketdiff.h"

CASE(transfer, stream_there_and_back)
{
    char in[8] = "";
    int id, fd = connected(&id);
    TRY(send(fd, "hello", 5, 0));
    TRY(peer_recv(id, in, 5, MSG_WAITALL));
    say("%s", in);
    NEED(peer_send(id, "world", 5, 0));
    TRY(recv(fd, in, 5, MSG_WAITALL));
    say("%s", in);
}
CASE(transfer, read_and_write)
{
    char in[8] = "";
    int id, fd = connected(&id);
    TRY(write(fd, "hello", 5));
    TRY(peer_recv(id, in, 5, MSG_WAITALL));
    NEED(peer_send(id, "world", 5, 0));
    TRY(read(fd, in, 5));
    say("%s", in);
    NEED(peer_close(id));
    TRY(read(fd, in, 5));
    TRY(read(fd, in, 5));
}
CASE(transfer, stream_no_bytes)
{
    char c;
    int id, fd = connected(&id);
    TRY(send(fd, "", 0, 0));
    TRY(send(fd, NULL, 0, 0));
    TRY(write(fd, "", 0));
    TRY(recv(fd, &c, 0, MSG_DONTWAIT));
    TRY(read(fd, &c, 0));
    NEED(peer_send(id, "a", 1, 0));
    await(fd, POLLIN);
    TRY(recv(fd, &c, 0, 0));
    TRY(recv(fd, NULL, 0, 0));
    TRY(recv(fd, &c, 1, 0));
}
CASE(transfer, stream_part_by_part)
{
    char in[16] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "abcdefgh", 8, 0));
    await_bytes(fd, 8);
    TRY(recv(fd, in, 3, 0));
    TRY(recv(fd, in + 3, 16, 0));
    say("%s", in);
    TRY(recv(fd, in, 1, MSG_DONTWAIT));
}
CASE(transfer, recvfrom_of_a_stream)
{
    in_name from = at("1.2.3.4", 5);
    socklen_t len = sizeof from;
    char c;
    int id, fd = connected(&id);
    NEED(peer_send(id, "a", 1, 0));
    TRY(recvfrom(fd, &c, 1, 0, SA(&from), &len));
    say("length %u", len);
}
CASE(transfer, sendto_of_a_stream)
{
    in_name to = at(theirs, port(5));
    char c;
    int id, fd = connected(&id);
    TRY(sendto(fd, "a", 1, 0, SA(&to), LEN));
    TRY(peer_recv(id, &c, 1, 0));
}
CASE(transfer, stream_not_connected)
{
    in_name to = at(theirs, port(5));
    char c;
    int fd = stream();
    TRY(recv(fd, &c, 1, 0));
    TRY(read(fd, &c, 1));
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    TRY(send(fd, "a", 1, MSG_NOSIGNAL));
    TRY(sendto(fd, "a", 1, MSG_NOSIGNAL, SA(&to), LEN));
}
CASE(transfer, listener)
{
    char c;
    int fd = listening(port(0), 5);
    TRY(recv(fd, &c, 1, 0));
    TRY(send(fd, "a", 1, MSG_NOSIGNAL));
}
CASE(transfer, null_buffer)
{
    int id, fd = connected(&id);
    TRY(send(fd, NULL, 5, 0));
    NEED(peer_send(id, "a", 1, 0));
    await(fd, POLLIN);
    TRY(recv(fd, NULL, 5, 0));
    TRY(write(fd, NULL, 5));
    TRY(read(fd, NULL, 5));
}
CASE(transfer, closed_descriptor)
{
    char c;
    int fd = stream();
    close(fd);
    TRY(send(fd, "a", 1, MSG_NOSIGNAL));
    TRY(recv(fd, &c, 1, 0));
    TRY(read(fd, &c, 1));
    TRY(write(fd, &c, 1));
    TRY(sendmsg(fd, &(struct msghdr){0}, MSG_NOSIGNAL));
    TRY(recvmsg(fd, &(struct msghdr){0}, 0));
}
CASE(transfer, no_socket)
{
    char c;
    int fd = NEED(open("/dev/null", O_RDWR));
    TRY(send(fd, "a", 1, MSG_NOSIGNAL));
    TRY(recv(fd, &c, 1, 0));
    TRY(sendto(fd, "a", 1, 0, NULL, 0));
    TRY(shutdown(fd, SHUT_RD));
}
CASE(transfer, positions)
{
    struct stat about;
    char c;
    int id, fd = connected(&id);
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(pread(fd, &c, 1, 0));
    TRY(pwrite(fd, "a", 1, 0));
    TRY(ftruncate(fd, 0));
    TRY(fsync(fd));
    TRY(fdatasync(fd));
    TRY(fstat(fd, &about));
    say("a socket: %d, size %ld", S_ISSOCK(about.st_mode), (long)about.st_size);
    TRY(fchdir(fd));
    TRY(isatty(fd));
}
CASE(transfer, writev_readv)
{
    char a[4] = "", b[4] = "", c[4] = "";
    struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdefg", 5}}, in[3] = {{a, 3}, {b, 1}, {c, 3}};
    int id, fd = connected(&id);
    TRY(writev(fd, out, 3));
    char text[8] = "";
    TRY(peer_recv(id, text, 7, MSG_WAITALL));
    say("%s", text);
    NEED(peer_send(id, "tuvwxyz", 7, 0));
    await_bytes(fd, 7);
    TRY(readv(fd, in, 3));
    say("%.3s %.1s %.3s", a, b, c);
}
CASE(transfer, lists_that_are_wrong)
{
    struct iovec one = {"a", 1}, too_long = {"a", (size_t)-1};
    int id, fd = connected(&id);
    TRY(writev(fd, &one, 0));
    TRY(writev(fd, &one, -1));
    TRY(writev(fd, &one, 1025));
    TRY(readv(fd, &one, 0));
    TRY(readv(fd, &one, -1));
    TRY(readv(fd, &one, 1025));
    TRY(writev(fd, NULL, 1));
    TRY(readv(fd, NULL, 1));
    TRY(writev(fd, &too_long, 1));
    TRY(sendmsg(fd, &(struct msghdr){.msg_iov = &one, .msg_iovlen = 1025}, 0));
    TRY(recvmsg(fd, &(struct msghdr){.msg_iov = &one, .msg_iovlen = 1025}, 0));
    TRY(sendmsg(fd, &(struct msghdr){.msg_iov = NULL, .msg_iovlen = 1}, 0));
}
CASE(transfer, longest_list)
{
    static struct iovec many[1024];
    char text[1024];
    int id, fd = connected(&id);
    for (int i = 0; i < 1024; i++)
        many[i] = (struct iovec){"x", 1};
    TRY(writev(fd, many, 1024));
    TRY(peer_recv(id, text, 1024, MSG_WAITALL));
}
CASE(transfer, sendmsg_recvmsg_stream)
{
    char a[4] = "", b[4] = "";
    struct iovec out[2] = {{"abc", 3}, {"de", 2}}, in[2] = {{a, 2}, {b, 4}};
    in_name name = at("9.9.9.9", 9);
    struct msghdr to = {.msg_iov = out, .msg_iovlen = 2}, from = {&name, LEN, in, 2, NULL, 7, 77};
    int id, fd = connected(&id);
    TRY(sendmsg(fd, &to, 0));
    NEED(peer_send(id, "vwxyz", 5, 0));
    await_bytes(fd, 5);
    TRY(recvmsg(fd, &from, 0));
    say("%.2s %.3s, name %u bytes, control %zu, flags %x", a, b, from.msg_namelen, from.msg_controllen, from.msg_flags);
}
CASE(transfer, sendmsg_without_list)
{
    int id, fd = connected(&id);
    TRY(sendmsg(fd, &(struct msghdr){0}, 0));
    TRY(recvmsg(fd, &(struct msghdr){0}, MSG_DONTWAIT));
}
CASE(transfer, sendmsg_null)
{
    int id, fd = connected(&id);
    TRY(sendmsg(fd, NULL, 0));
    TRY(recvmsg(fd, NULL, MSG_DONTWAIT));
}
CASE(transfer, more_than_the_window)
{
    int id, fd = connected(&id);
    nonblocking(fd);
    set(fd, SOL_SOCKET, SO_SNDBUF, 50000);
    long sent = fill(fd);
    said("send", send(fd, "x", 1, 0));
    say("sent much: %d", sent > 100000);
    say_events("full", fd);
    say("all arrives: %d", peer_drain(id, sent) == sent);
    await(fd, POLLOUT);
    say_events("empty", fd);
    said("send", send(fd, "x", 1, 0));
}
CASE(transfer, blocking_send_waits_for_room)
{
    static char room[1 << 20];
    int id, fd = connected(&id);
    set(fd, SOL_SOCKET, SO_SNDBUF, 20000);
    struct timeval time = {.tv_usec = 40000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    long sent = 0, r;
    while ((r = send(fd, room, sizeof room, 0)) > 0)
        sent += r;
    said("send", r);
    say("sent some: %d", sent > 10000);
    TRY(send(fd, room, 1, 0));
    TRY(send(fd, room, 1, MSG_DONTWAIT));
    say("all arrives: %d", peer_drain(id, sent) == sent);
}
CASE(transfer, receive_timeout)
{
    struct timeval time = {.tv_usec = 30000};
    char c;
    int id, fd = connected(&id), start;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    start = now_ms();
    TRY(recv(fd, &c, 1, 0));
    say("waited: %d", now_ms() - start >= 28);
    start = now_ms();
    TRY(read(fd, &c, 1));
    say("waited: %d", now_ms() - start >= 28);
    int other = bound(SOCK_DGRAM, port(0));
    setsockopt(other, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    start = now_ms();
    TRY(recv(other, &c, 1, 0));
    say("waited: %d", now_ms() - start >= 28);
}

CASE(datagram, there_and_back)
{
    in_name to = at(theirs, port(1)), from = {0};
    socklen_t len = sizeof from;
    char in[8] = "";
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    TRY(sendto(fd, "hello", 5, 0, SA(&to), LEN));
    struct peer_datagram got = peer_recvfrom(id);
    say("%d bytes from port %d: %.5s", got.len, got.port - port(0), got.data);
    NEED(peer_sendto(id, port(0), "world", 5));
    TRY(recvfrom(fd, in, 8, 0, SA(&from), &len));
    say("%s", in);
    say_name("from", SA(&from), len);
}
CASE(datagram, name_cut)
{
    unsigned char from[16];
    socklen_t len = 3;
    char c;
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    memset(from, 0xaa, 16);
    NEED(peer_sendto(id, port(0), "w", 1));
    TRY(recvfrom(fd, &c, 1, 0, (void *)from, &len));
    say("length %u, %02x %02x", len, from[2] != 0xaa, from[3]);
}
CASE(datagram, name_without_length)
{
    in_name from;
    char c;
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "w", 1));
    await(fd, POLLIN);
    TRY(recvfrom(fd, &c, 1, 0, SA(&from), NULL));
    TRY(recvfrom(fd, &c, 1, MSG_DONTWAIT, NULL, NULL));
}
CASE(datagram, name_length_negative)
{
    in_name from;
    socklen_t len = -1;
    char c;
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "w", 1));
    await(fd, POLLIN);
    TRY(recvfrom(fd, &c, 1, 0, SA(&from), &len));
}
CASE(datagram, empty)
{
    in_name to = at(theirs, port(1)), from = {0};
    socklen_t len = sizeof from;
    char in[8];
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    TRY(sendto(fd, "", 0, 0, SA(&to), LEN));
    struct peer_datagram got = peer_recvfrom(id);
    say("%d bytes from port %d", got.len, got.port - port(0));
    NEED(peer_sendto(id, port(0), "", 0));
    say_mask("awaited", await(fd, POLLIN) & POLLIN);
    int have = 7;
    ioctl(fd, FIONREAD, &have);
    say("FIONREAD %d", have);
    TRY(recvfrom(fd, in, 8, 0, SA(&from), &len));
    say_name("from", SA(&from), len);
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
}
CASE(datagram, empty_by_read)
{
    char in[8];
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "", 0));
    NEED(peer_sendto(id, port(0), "b", 1));
    await(fd, POLLIN);
    pause_ms(5);
    TRY(read(fd, in, 8));
    TRY(read(fd, in, 8));
}
CASE(datagram, no_room)
{
    char in[8];
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "abc", 3));
    NEED(peer_sendto(id, port(0), "def", 3));
    await(fd, POLLIN);
    pause_ms(5);
    TRY(read(fd, in, 0));
    TRY(recv(fd, in, 0, 0));
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
    TRY(recv(fd, in, 8, MSG_DONTWAIT));
}
CASE(datagram, cut)
{
    char in[8] = "";
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "abcdef", 6));
    NEED(peer_sendto(id, port(0), "g", 1));
    TRY(recv(fd, in, 2, 0));
    say("%s", in);
    TRY(recv(fd, in, 8, 0));
}
CASE(datagram, cut_with_trunc)
{
    char in[8] = "";
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "abcdef", 6));
    TRY(recv(fd, in, 2, MSG_PEEK | MSG_TRUNC));
    TRY(recv(fd, in, 2, MSG_TRUNC));
    say("%s", in);
}
CASE(datagram, cut_in_recvmsg)
{
    char a[2] = "", b[2] = "";
    struct iovec in[2] = {{a, 1}, {b, 1}};
    in_name from;
    struct msghdr m = {.msg_name = &from, .msg_namelen = LEN, .msg_iov = in, .msg_iovlen = 2};
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    NEED(peer_sendto(id, port(0), "abcdef", 6));
    NEED(peer_sendto(id, port(0), "xy", 2));
    TRY(recvmsg(fd, &m, 0));
    say("%s %s, flags %x, name %u", a, b, m.msg_flags, m.msg_namelen);
    TRY(recvmsg(fd, &m, MSG_TRUNC));
    say("%s %s, flags %x", a, b, m.msg_flags);
}
CASE(datagram, without_destination)
{
    int fd = datagram();
    TRY(send(fd, "a", 1, 0));
    TRY(write(fd, "a", 1));
    TRY(sendto(fd, "a", 1, 0, NULL, 0));
    TRY(sendmsg(fd, &(struct msghdr){.msg_iov = &(struct iovec){"a", 1}, .msg_iovlen = 1}, 0));
}
CASE(datagram, connected_with_destination)
{
    in_name other = at(theirs, port(2));
    int id, fd = associated(&id), second = NEED(peer_udp(port(2)));
    TRY(sendto(fd, "a", 1, 0, SA(&other), LEN));
    struct peer_datagram got = peer_recvfrom(second);
    say("%d bytes from port %d", got.len, got.port - port(0));
    TRY(send(fd, "bc", 2, 0));
    got = peer_recvfrom(id);
    say("%d bytes from port %d", got.len, got.port - port(0));
}
static void to_len(socklen_t len)
{
    struct { in_name name; char more[112]; } to = {.name = at(theirs, port(1))};
    int fd = datagram();
    NEED(peer_udp(port(1)));
    TRY(sendto(fd, "a", 1, 0, SA(&to), len));
}
CASE(datagram, destination_length_zero) { to_len(0); }
CASE(datagram, destination_length_one) { to_len(1); }
CASE(datagram, destination_length_fifteen) { to_len(15); }
CASE(datagram, destination_length_longest) { to_len(128); }
CASE(datagram, destination_length_too_long) { to_len(129); }
CASE(datagram, destination_length_negative) { to_len(-1); }
static void to_name(int family, const char *address, int number)
{
    in_name to = at(address, number);
    int fd = datagram();
    to.sin_family = family;
    TRY(sendto(fd, "a", 1, 0, SA(&to), LEN));
    pause_ms(5);
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(datagram, destination_port_zero) { to_name(AF_INET, theirs, 0); }
CASE(datagram, destination_family_unspecified) { to_name(AF_UNSPEC, theirs, port(1)); }
CASE(datagram, destination_family_unix) { to_name(AF_UNIX, theirs, port(1)); }
CASE(datagram, destination_no_route) { to_name(AF_INET, "203.0.113.9", port(1)); }
CASE(datagram, destination_broadcast) { to_name(AF_INET, "198.18.77.255", port(1)); }
CASE(datagram, destination_limited_broadcast) { to_name(AF_INET, "255.255.255.255", port(1)); }
CASE(datagram, destination_nobody_listens) { to_name(AF_INET, theirs, port(3)); }
CASE(datagram, broadcast_allowed)
{
    in_name to = at("198.18.77.255", port(1));
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    set(fd, SOL_SOCKET, SO_BROADCAST, 1);
    TRY(sendto(fd, "a", 1, 0, SA(&to), LEN));
    say("%d bytes", peer_recvfrom(id).len);
}
CASE(datagram, own_address)
{
    in_name to = at(mine, port(0));
    char in[4] = "";
    int fd = bound(SOCK_DGRAM, port(0));
    TRY(sendto(fd, "me", 2, 0, SA(&to), LEN));
    TRY(recv(fd, in, 4, 0));
}
static void of_length(int length)
{
    static char room[70000];
    in_name to = at(theirs, port(1));
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    TRY(sendto(fd, room, length, 0, SA(&to), LEN));
    say("%d bytes", peer_recvfrom(id).len);
}
CASE(datagram, length_one_packet) { of_length(1472); }
CASE(datagram, length_two_packets) { of_length(1473); }
CASE(datagram, length_nine_thousand) { of_length(9000); }
CASE(datagram, length_longest) { of_length(65507); }
static void too_long(int length)
{
    static char room[70000];
    in_name to = at(theirs, port(1));
    int fd = datagram();
    TRY(sendto(fd, room, length, 0, SA(&to), LEN));
    TRY(sendto(fd, room, 1, 0, SA(&to), LEN));
}
CASE(datagram, length_too_long) { too_long(65508); }
CASE(datagram, length_much_too_long) { too_long(70000); }
CASE(datagram, gathered)
{
    in_name to = at(theirs, port(1));
    struct iovec out[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
    int fd = datagram(), id = NEED(peer_udp(port(1)));
    TRY(sendmsg(fd, &(struct msghdr){&to, LEN, out, 3, NULL, 0, 0}, 0));
    struct peer_datagram got = peer_recvfrom(id);
    say("%d bytes: %.5s", got.len, got.data);
}
CASE(datagram, large_one_comes)
{
    static char in[65536];
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    struct timeval time = {.tv_usec = 300000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    memset(in, 'q', sizeof in);
    NEED(peer_sendto(id, port(0), in, 1472));
    TRY(recv(fd, in, sizeof in, 0));
    NEED(peer_sendto(id, port(0), in, 8000));
    TRY(recv(fd, in, sizeof in, 0));
}
CASE(datagram, many_wait_in_order)
{
    char text[33] = "", c;
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    for (int i = 0; i < 32; i++) {
        c = 'A' + i;
        NEED(peer_sendto(id, port(0), &c, 1));
    }
    for (int i = 0; i < 32; i++)
        NEED(recv(fd, text + i, 1, 0));
    say("%s", text);
}
CASE(datagram, unbound_gets_port_by_sending)
{
    in_name to = at(theirs, port(1)), got;
    socklen_t len = sizeof got;
    int fd = datagram();
    NEED(peer_udp(port(1)));
    TRY(sendto(fd, "a", 1, 0, SA(&to), LEN));
    TRY(getsockname(fd, SA(&got), &len));
    say_name("local", SA(&got), len);
    TRY(bind(fd, SA(&to), LEN));
}
CASE(datagram, unbound_receives_nothing)
{
    char c;
    int fd = datagram();
    TRY(recv(fd, &c, 1, MSG_DONTWAIT));
    say_events("events", fd);
}
CASE(datagram, more_joins)
{
    int id, fd = associated(&id);
    TRY(send(fd, "ab", 2, MSG_MORE));
    TRY(send(fd, "cd", 2, 0));
    struct peer_datagram got = peer_recvfrom(id);
    say("%d bytes: %.4s", got.len, got.data);
}
CASE(datagram, cork_joins)
{
    int id, fd = associated(&id), off = 0, on = 1;
    TRY(setsockopt(fd, IPPROTO_UDP, 1 /* UDP_CORK */, &on, sizeof on));
    TRY(send(fd, "ab", 2, 0));
    TRY(send(fd, "cd", 2, 0));
    TRY(setsockopt(fd, IPPROTO_UDP, 1, &off, sizeof off));
    struct peer_datagram got = peer_recvfrom(id);
    say("%d bytes: %.4s", got.len, got.data);
}
