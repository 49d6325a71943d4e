/* shutdown in each state, and the ends of connections. */
#include "socketdiff.h"

static void fresh(int fd)
{
    TRY(shutdown(fd, SHUT_RD));
    TRY(shutdown(fd, SHUT_WR));
    TRY(shutdown(fd, SHUT_RDWR));
    TRY(shutdown(fd, 3));
    TRY(shutdown(fd, -1));
}
CASE(shutdown, fresh_stream) { fresh(stream()); }
CASE(shutdown, fresh_datagram) { fresh(datagram()); }
CASE(shutdown, bound_stream) { fresh(bound(SOCK_STREAM, port(0))); }
CASE(shutdown, bound_datagram) { fresh(bound(SOCK_DGRAM, port(0))); }
CASE(shutdown, connected_wrong_way)
{
    int id, fd = connected(&id);
    TRY(shutdown(fd, 3));
    TRY(shutdown(fd, -1));
    TRY(send(fd, "x", 1, 0));
}
CASE(shutdown, write)
{
    char in[4] = "";
    int id, fd = connected(&id);
    TRY(send(fd, "ab", 2, 0));
    TRY(shutdown(fd, SHUT_WR));
    say_events("events", fd);
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(write(fd, "", 0));
    TRY(peer_recv(id, in, 4, MSG_WAITALL));
    TRY(peer_recv(id, in, 4, 0));
    NEED(peer_send(id, "cd", 2, 0));
    TRY(recv(fd, in, 4, 0));
    TRY(shutdown(fd, SHUT_WR));
    NEED(peer_close(id));
    TRY(recv(fd, in, 4, 0));
    await(fd, POLLHUP);
    TRY(shutdown(fd, SHUT_WR));
}
CASE(shutdown, read)
{
    char in[4] = "";
    int id, fd = connected(&id);
    TRY(shutdown(fd, SHUT_RD));
    say_events("events", fd);
    TRY(recv(fd, in, 4, 0));
    TRY(recv(fd, in, 4, MSG_DONTWAIT));
    TRY(send(fd, "x", 1, 0));
    TRY(peer_recv(id, in, 1, 0));
    TRY(shutdown(fd, SHUT_RD));
}
CASE(shutdown, read_data_comes_later)
{
    char in[4] = "";
    int id, fd = connected(&id);
    TRY(shutdown(fd, SHUT_RD));
    NEED(peer_send(id, "abc", 3, 0));
    pause_ms(20);
    TRY(recv(fd, in, 4, 0));
    say("%s", in);
    TRY(recv(fd, in, 4, 0));
}
CASE(shutdown, read_data_was_there)
{
    char in[4] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "abc", 3, 0));
    await_bytes(fd, 3);
    TRY(shutdown(fd, SHUT_RD));
    TRY(recv(fd, in, 2, 0));
    TRY(recv(fd, in + 2, 2, 0));
    say("%s", in);
    TRY(recv(fd, in, 4, 0));
}
CASE(shutdown, both)
{
    char in[4] = "";
    int id, fd = connected(&id);
    TRY(shutdown(fd, SHUT_RDWR));
    say_events("events", fd);
    TRY(recv(fd, in, 4, 0));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(peer_recv(id, in, 4, 0));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(shutdown, peer_writes)
{
    char c;
    int id, fd = connected(&id);
    NEED(peer_send(id, "a", 1, 0));
    NEED(peer_shutdown(id, SHUT_WR));
    await(fd, POLLRDHUP);
    say_events("events", fd);
    TRY(recv(fd, &c, 1, 0));
    say_events("events", fd);
    TRY(recv(fd, &c, 1, 0));
    TRY(recv(fd, &c, 1, MSG_PEEK));
    TRY(send(fd, "x", 1, 0));
    TRY(peer_recv(id, &c, 1, 0));
}
CASE(shutdown, peer_closes_then_we_send)
{
    int id, fd = connected(&id);
    NEED(peer_close(id));
    await(fd, POLLRDHUP);
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    await(fd, POLLHUP);
    pause_ms(10);
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(shutdown, peer_closes_then_we_send_and_read)
{
    char c;
    int id, fd = connected(&id);
    NEED(peer_close(id));
    await(fd, POLLRDHUP);
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    await(fd, POLLHUP);
    pause_ms(10);
    TRY(recv(fd, &c, 1, 0));
    TRY(recv(fd, &c, 1, 0));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
}
CASE(shutdown, closing_with_unread_data_resets)
{
    char c;
    int id, fd = connected(&id);
    NEED(peer_send(id, "abc", 3, 0));
    await_bytes(fd, 3);
    TRY(close(fd));
    TRY(peer_recv(id, &c, 1, 0));
}
CASE(shutdown, closing_sends_what_is_left)
{
    static char room[300000];
    int id, fd = connected(&id);
    TRY(send(fd, room, sizeof room, 0));
    TRY(close(fd));
    say("all arrives: %d", peer_drain(id, sizeof room) == sizeof room);
    TRY(peer_recv(id, room, 1, 0));
}
CASE(shutdown, data_after_close_is_reset)
{
    char c;
    int id, fd = connected(&id);
    TRY(close(fd));
    TRY(peer_recv(id, &c, 1, 0));
    TRY(peer_send(id, "x", 1, 0));
    pause_ms(20);
    TRY(peer_send(id, "x", 1, 0));
}
CASE(shutdown, after_reset)
{
    char c;
    int fd = reset_by_peer();
    TRY(shutdown(fd, SHUT_WR));
    TRY(shutdown(fd, SHUT_RDWR));
    TRY(recv(fd, &c, 1, 0));
    TRY(shutdown(fd, SHUT_RD));
}
CASE(shutdown, datagram_read)
{
    char c;
    int id, fd = associated(&id);
    TRY(shutdown(fd, SHUT_RD));
    say_events("events", fd);
    TRY(recv(fd, &c, 1, 0));
    TRY(send(fd, "x", 1, 0));
    say("%d bytes", peer_recvfrom(id).len);
}
CASE(shutdown, datagram_write)
{
    char c = 0;
    int id, fd = associated(&id);
    TRY(shutdown(fd, SHUT_WR));
    say_events("events", fd);
    TRY(send(fd, "x", 1, 0));
    NEED(peer_sendto(id, port(0), "y", 1));
    TRY(recv(fd, &c, 1, 0));
}
CASE(shutdown, datagram_both)
{
    char c;
    int id, fd = associated(&id);
    TRY(shutdown(fd, SHUT_RDWR));
    TRY(recv(fd, &c, 1, 0));
    TRY(send(fd, "x", 1, 0));
    say_events("events", fd);
}

CASE(reset, receive_says_so_once)
{
    char c;
    int fd = reset_by_peer();
    say_events("events", fd);
    TRY(recv(fd, &c, 1, 0));
    TRY(recv(fd, &c, 1, 0));
    say_events("events", fd);
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
}
CASE(reset, send_says_so_once)
{
    char c;
    int fd = reset_by_peer();
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(recv(fd, &c, 1, 0));
}
CASE(reset, option_says_so_once)
{
    char c;
    int fd = reset_by_peer();
    say("SO_ERROR %s", error_name(get(fd, SOL_SOCKET, SO_ERROR)));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
    TRY(recv(fd, &c, 1, 0));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
}
CASE(reset, data_before_it_is_lost_or_not)
{
    char in[4];
    int id, fd = connected(&id);
    NEED(peer_send(id, "abc", 3, 0));
    await_bytes(fd, 3);
    NEED(peer_reset(id));
    pause_ms(10);
    TRY(recv(fd, in, 4, 0));
    TRY(recv(fd, in, 4, 0));
    TRY(recv(fd, in, 4, 0));
}
CASE(reset, by_us)
{
    struct linger linger = {.l_onoff = 1};
    char c;
    int id, fd = connected(&id);
    TRY(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    TRY(close(fd));
    TRY(peer_recv(id, &c, 1, 0));
}
CASE(reset, no_bytes_are_no_question)
{
    char c;
    int fd = reset_by_peer();
    TRY(recv(fd, &c, 0, 0));
    TRY(read(fd, &c, 0));
    TRY(send(fd, &c, 0, MSG_NOSIGNAL));
}
