/* Sockets that are bound to an interface: to the loopback, or to the link to the peer. */
#include "socketdiff.h"
#include <netinet/ip_icmp.h>

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

#define LOOP 1
#define LINK ((int)if_nametoindex("tap0"))

static int by(int kind, int interface)
{
    int fd = NEED(socket(AF_INET, kind, 0));
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (interface)
        set(fd, SOL_SOCKET, SO_BINDTOIFINDEX, interface);
    return fd;
}
static void name_it(int fd, int port)
{
    in_name name = {.sin_family = AF_INET, .sin_port = htons(port)};
    NEED(bind(fd, SA(&name), LEN));
}
static void say_device(const char *what, int fd)
{
    char name[IFNAMSIZ] = "", of_number[IFNAMSIZ] = "";
    socklen_t len = sizeof name;
    int number = get(fd, SOL_SOCKET, SO_BINDTOIFINDEX);
    said(what, (errno = 0, getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len)));
    say("%s: the loopback %d, the link %d, its name %d", what, number == LOOP, number == LINK,
        number && if_indextoname(number, of_number) && !strcmp(name, of_number));
}

CASE(device, by_number)
{
    int fd = stream();
    say_device("fresh", fd);
    set(fd, SOL_SOCKET, SO_BINDTOIFINDEX, LINK);
    say_device("bound", fd);
    set(fd, SOL_SOCKET, SO_BINDTOIFINDEX, LOOP);
    say_device("changed", fd);
    set(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 0);
    say_device("let go", fd);
    int wrong[] = {99, -1};
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &wrong[0], sizeof *wrong));
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &wrong[1], sizeof *wrong));
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &wrong[0], 2));
}
CASE(device, nobody_changes_it)
{
    int link = LINK, loop = LOOP, fd = datagram();
    NEED(setresuid(65534, 65534, 65534));
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &link, sizeof link));
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &loop, sizeof loop));
    TRY(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
    say_device("it stays", fd);
}
CASE(device, datagrams)
{
    int id = NEED(peer_udp(port(1))), here = by(SOCK_DGRAM, LINK), loop = by(SOCK_DGRAM, LOOP);
    char in[8] = "";
    name_it(here, port(0));
    name_it(loop, port(0));
    NEED(peer_sendto(id, port(0), "a", 1));
    await(here, POLLIN);
    TRY(recv(here, in, sizeof in, MSG_DONTWAIT));
    TRY(recv(loop, in, sizeof in, MSG_DONTWAIT));
    in_name to = at(theirs, port(1));
    TRY(sendto(here, "b", 1, 0, SA(&to), LEN));
    say("the peer got %d", peer_recvfrom(id).len);
}
CASE(device, the_bound_one_comes_first)
{
    int id = NEED(peer_udp(port(1))), any = by(SOCK_DGRAM, 0), here = by(SOCK_DGRAM, LINK);
    int fds[] = {here, any};
    char in[8] = "";
    for (int i = 0; i < 2; i++)
        name_it(fds[i], port(0));
    NEED(peer_sendto(id, port(0), "a", 1));
    await(here, POLLIN);
    for (int i = 0; i < 2; i++)
        TRY(recv(fds[i], in, sizeof in, MSG_DONTWAIT));
    set(here, SOL_SOCKET, SO_BINDTOIFINDEX, LOOP);
    NEED(peer_sendto(id, port(0), "b", 1));
    await(any, POLLIN);
    TRY(recv(here, in, sizeof in, MSG_DONTWAIT));
    TRY(recv(any, in, sizeof in, MSG_DONTWAIT));
}
CASE(device, ports)
{
    in_name name = {.sin_family = AF_INET, .sin_port = htons(port(0))};
    int fds[] = {datagram(), datagram(), datagram(), datagram()};
    set(fds[0], SOL_SOCKET, SO_BINDTOIFINDEX, LOOP);
    set(fds[1], SOL_SOCKET, SO_BINDTOIFINDEX, LINK);
    set(fds[2], SOL_SOCKET, SO_BINDTOIFINDEX, LINK);
    for (int i = 0; i < 4; i++)
        TRY(bind(fds[i], SA(&name), LEN));
}
CASE(device, listeners)
{
    int loop = by(SOCK_STREAM, LOOP), here = by(SOCK_STREAM, LINK);
    name_it(loop, port(0));
    TRY(listen(loop, 5));
    say("the peer: %s", peer_connect(port(0)) < 0 ? error_name(errno) : "connected");
    name_it(here, port(0));
    TRY(listen(here, 5));
    int id = NEED(peer_connect(port(0)));
    int new = NEED(accept(here, NULL, NULL));
    say_device("accepted", new);
    TRY(send(new, "abc", 3, 0));
    say("the peer got %ld", peer_drain(id, 3));
    nonblocking(loop);
    TRY(accept(loop, NULL, NULL));
}
CASE(device, connections)
{
    int listener = NEED(peer_listen(port(0), 5)), fd = by(SOCK_STREAM, LINK);
    in_name name = at(theirs, port(0));
    char in[4];
    TRY(connect(fd, SA(&name), LEN));
    int id = NEED(peer_accept(listener));
    TRY(send(fd, "abc", 3, 0));
    say("the peer got %ld", peer_drain(id, 3));
    NEED(peer_send(id, "def", 3, 0));
    await_bytes(fd, 3);
    TRY(recv(fd, in, 3, 0));
}
static int unicast(int fd, int family, uint32_t interface)
{
    interface = htonl(interface);
    return family == AF_INET6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_IF, &interface, sizeof interface)
                              : setsockopt(fd, IPPROTO_IP, IP_UNICAST_IF, &interface, sizeof interface);
}
static void say_unicast(const char *what, int fd)
{
    int v4 = ntohl(get(fd, IPPROTO_IP, IP_UNICAST_IF)), v6 = ntohl(get(fd, IPPROTO_IPV6, IPV6_UNICAST_IF));
    say("%s: the loopback %d %d, the link %d %d", what, v4 == LOOP, v6 == LOOP, v4 == LINK, v6 == LINK);
}
CASE(device, unicast_values)
{
    int fds[] = {datagram(), stream(), NEED(socket(AF_INET6, SOCK_DGRAM, 0))}, wrong = htonl(1);
    for (int i = 0; i < 3; i++) {
        TRY(unicast(fds[i], AF_INET, LINK));
        TRY(unicast(fds[i], AF_INET6, LOOP));
        say_unicast("set", fds[i]);
        TRY(unicast(fds[i], AF_INET, 99));
        TRY(unicast(fds[i], AF_INET6, 99));
        TRY(unicast(fds[i], AF_INET, -1));
        TRY(setsockopt(fds[i], IPPROTO_IP, IP_UNICAST_IF, &wrong, 2));
        TRY(setsockopt(fds[i], IPPROTO_IPV6, IPV6_UNICAST_IF, &wrong, 2));
        say_unicast("as before", fds[i]);
        set(fds[i], SOL_SOCKET, SO_BINDTOIFINDEX, LINK);
        TRY(unicast(fds[i], AF_INET, LINK));
        TRY(unicast(fds[i], AF_INET6, LINK));
        TRY(unicast(fds[i], AF_INET, 0));
        TRY(unicast(fds[i], AF_INET6, 0));
        say_unicast("taken back", fds[i]);
    }
}
CASE(device, unicast_datagrams)
{
    int id = NEED(peer_udp(port(1))), lost = datagram(), fd = datagram(), both = datagram();
    in_name to = at(theirs, port(1));
    struct peer_datagram in;
    NEED(unicast(lost, AF_INET, LOOP));
    TRY(sendto(lost, "lost", 4, 0, SA(&to), LEN));
    NEED(unicast(fd, AF_INET, LINK));
    TRY(sendto(fd, "a", 1, 0, SA(&to), LEN));
    TRY((in = peer_recvfrom(id)).len);
    /* An interface that it is bound to counts more. */
    NEED(unicast(both, AF_INET, LOOP));
    set(both, SOL_SOCKET, SO_BINDTOIFINDEX, LINK);
    TRY(sendto(both, "bc", 2, 0, SA(&to), LEN));
    TRY((in = peer_recvfrom(id)).len);
}
CASE(device, unicast_connects)
{
    int id = NEED(peer_udp(port(1))), listener = NEED(peer_listen(port(0), 5)), fd = datagram(), other = stream();
    in_name to = at(theirs, port(1)), name = at(theirs, port(0));
    socklen_t len = LEN;
    NEED(unicast(fd, AF_INET, LINK));
    TRY(connect(fd, SA(&to), LEN));
    NEED(getsockname(fd, SA(&to), &len));
    say_name("it is", SA(&to), len);
    TRY(send(fd, "a", 1, 0));
    say("the peer got %d", peer_recvfrom(id).len);
    /* Streams have it and make no use of it. */
    NEED(unicast(other, AF_INET, LOOP));
    TRY(connect(other, SA(&name), LEN));
    NEED(peer_accept(listener));
}
CASE(device, pings)
{
    in_name to = at(theirs, 0);
    struct icmphdr request = {.type = ICMP_ECHO, .un.echo.sequence = htons(7)};
    char in[64];
    int here = NEED(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    int hears = NEED(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), deaf = NEED(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    set(here, SOL_SOCKET, SO_BINDTOIFINDEX, LINK);
    set(hears, SOL_SOCKET, SO_BINDTOIFINDEX, LINK);
    set(deaf, SOL_SOCKET, SO_BINDTOIFINDEX, LOOP);
    TRY(sendto(here, &request, sizeof request, 0, SA(&to), LEN));
    await(here, POLLIN);
    TRY(recv(here, in, sizeof in, MSG_DONTWAIT));
    await(hears, POLLIN);
    TRY(recv(hears, in, sizeof in, MSG_DONTWAIT));
    TRY(recv(deaf, in, sizeof in, MSG_DONTWAIT));
}
