/* What became of what a socket has sent: IP_RECVERR, MSG_ERRQUEUE, POLLERR. */
#include "socketdiff.h"
#include <linux/errqueue.h>
#include <netinet/ip_icmp.h>

typedef struct sockaddr_in6 in6_name;

static int wanting(int family)
{
    int fd = NEED(socket(family, SOCK_DGRAM, 0));
    set(fd, IPPROTO_IP, IP_RECVERR, 1);
    if (family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    return fd;
}
/* A datagram for a port that nobody has. */
static void send_to(int fd, int port, const char *text, size_t len)
{
    in_name to = at(theirs, port);
    NEED(sendto(fd, text, len, 0, SA(&to), LEN));
}
static void say_address(const char *what, const struct sockaddr *name, socklen_t len)
{
    const in6_name *six = (const void *)name;
    char text[64] = "";
    if (len < 2 || name->sa_family == AF_UNSPEC)
        say("%s: none", what);
    else if (name->sa_family == AF_INET6)
        say("%s: %s, port %d, scope %d, %u bytes", what, inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text),
            ntohs(six->sin6_port), six->sin6_scope_id != 0, len);
    else
        say_name(what, name, len);
}
/* The first error that waits, with all that comes with it. */
static void say_error(int fd, int room)
{
    char bytes[2048], control[512];
    struct sockaddr_storage name = {0};
    struct iovec into = {bytes, room};
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &into, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    long len = said("recvmsg(MSG_ERRQUEUE)", (errno = 0, recvmsg(fd, &message, MSG_ERRQUEUE)));
    if (len < 0)
        return;
    say("%.*s, flags %#x", len > 20 ? 20 : (int)len, bytes, message.msg_flags);
    say_address("to", SA(&name), message.msg_namelen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        const struct sock_extended_err *e = (void *)CMSG_DATA(c);
        say("level %d type %d: %lu bytes", c->cmsg_level, c->cmsg_type, (unsigned long)c->cmsg_len);
        if (c->cmsg_type == IP_TTL && c->cmsg_level == IPPROTO_IP)
            say("ttl %d", *(int *)CMSG_DATA(c));
        if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
            !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
            continue;
        say("%s, origin %d type %d code %d info %u data %u", error_name(e->ee_errno), e->ee_origin, e->ee_type, e->ee_code,
            e->ee_info, e->ee_data);
        const struct sockaddr *offender = SO_EE_OFFENDER(e);
        say_address("offender", offender, c->cmsg_len - CMSG_LEN(sizeof *e));
    }
}
static void await_error(int fd) { await(fd, POLLERR); }

CASE(errors, nobody_listens)
{
    int fd = wanting(AF_INET);
    char in[8];
    say_error(fd, 64);
    send_to(fd, port(0), "hello", 5);
    await_error(fd);
    say_all_events("events", fd);
    say_error(fd, 64);
    say_all_events("afterwards", fd);
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
    TRY(recv(fd, in, sizeof in, MSG_DONTWAIT));
    say_error(fd, 64);
}
CASE(errors, who_has_not_asked_hears_nothing)
{
    int fd = datagram(), beside = wanting(AF_INET);
    send_to(fd, port(0), "a", 1);
    send_to(beside, port(0), "b", 1);
    await_error(beside);
    say_all_events("events", fd);
    say_error(fd, 64);
}
CASE(errors, number_first)
{
    int fd = wanting(AF_INET);
    char in[8];
    send_to(fd, port(0), "a", 1);
    await_error(fd);
    TRY(recv(fd, in, sizeof in, MSG_DONTWAIT));
    TRY(recv(fd, in, sizeof in, MSG_DONTWAIT));
    say_all_events("the error still waits", fd);
    struct pollfd p = {.fd = fd};
    TRY(poll(&p, 1, 1000));
    say_mask("nothing asked for", p.revents);
    say_error(fd, 64);
    TRY(poll(&p, 1, 0));
}
CASE(errors, option_tells_the_number)
{
    int fd = wanting(AF_INET);
    send_to(fd, port(0), "a", 1);
    await_error(fd);
    say("SO_ERROR %s", error_name(get(fd, SOL_SOCKET, SO_ERROR)));
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
    say_error(fd, 64);
}
CASE(errors, in_order)
{
    int fd = wanting(AF_INET);
    char in[8];
    for (int i = 0; i < 3; i++) {
        send_to(fd, port(i), "abc" + i, 1);
        TRY(recv(fd, in, sizeof in, 0));
    }
    say_error(fd, 64);
    say("SO_ERROR %s", error_name(get(fd, SOL_SOCKET, SO_ERROR)));
    say_error(fd, 64);
    say_error(fd, 64);
    say("SO_ERROR %d", get(fd, SOL_SOCKET, SO_ERROR));
    say_error(fd, 64);
}
CASE(errors, sending_tells_the_number)
{
    int fd = wanting(AF_INET);
    in_name to = at(theirs, port(0));
    send_to(fd, port(0), "a", 1);
    await_error(fd);
    TRY(sendto(fd, "b", 1, 0, SA(&to), LEN));
    say_error(fd, 64);
}
CASE(errors, connected)
{
    int fd = wanting(AF_INET);
    in_name to = at(theirs, port(0));
    NEED(connect(fd, SA(&to), LEN));
    NEED(send(fd, "hello", 5, 0));
    await_error(fd);
    say_error(fd, 64);
}
CASE(errors, little_room)
{
    int fd = wanting(AF_INET);
    send_to(fd, port(0), "hello world", 11);
    await_error(fd);
    say_error(fd, 4);
    send_to(fd, port(0), "", 0);
    await_error(fd);
    say_error(fd, 64);
}
CASE(errors, little_control)
{
    int fd = wanting(AF_INET);
    char bytes[8], control[24];
    struct iovec into = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    send_to(fd, port(0), "a", 1);
    await_error(fd);
    TRY(recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT));
    say("flags %#x, %lu bytes", message.msg_flags, (unsigned long)message.msg_controllen);
}
CASE(errors, recvfrom)
{
    int fd = wanting(AF_INET);
    char in[8];
    in_name from = {0};
    socklen_t len = sizeof from;
    send_to(fd, port(0), "hello", 5);
    await_error(fd);
    TRY(recvfrom(fd, in, sizeof in, MSG_ERRQUEUE, SA(&from), &len));
    say_name("to", SA(&from), len);
}
CASE(errors, more_about_the_message)
{
    int fd = wanting(AF_INET);
    set(fd, IPPROTO_IP, IP_RECVTTL, 1);
    set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    set(fd, IPPROTO_IP, IP_RECVTOS, 1);
    set(fd, SOL_SOCKET, SO_TIMESTAMP, 1);
    send_to(fd, port(0), "hello", 5);
    await_error(fd);
    say_error(fd, 64);
}
CASE(errors, taken_off)
{
    int fd = wanting(AF_INET);
    say("IP_RECVERR %d", get(fd, IPPROTO_IP, IP_RECVERR));
    send_to(fd, port(0), "hello", 5);
    await_error(fd);
    set(fd, IPPROTO_IP, IP_RECVERR, 0);
    say("IP_RECVERR %d", get(fd, IPPROTO_IP, IP_RECVERR));
    say_error(fd, 64);
}
CASE(errors, too_long)
{
    static char bytes[2000];
    int fd = wanting(AF_INET);
    in_name to = at(theirs, port(0));
    set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    TRY(sendto(fd, bytes, sizeof bytes, 0, SA(&to), LEN));
    await_error(fd);
    say_error(fd, 64);
    NEED(connect(fd, SA(&to), LEN));
    TRY(send(fd, bytes, sizeof bytes, 0));
    await_error(fd);
    say_error(fd, 64);
}
CASE(errors, mapped)
{
    int fd = wanting(AF_INET6);
    char text[64];
    in6_name to = {.sin6_family = AF_INET6, .sin6_port = htons(port(0))};
    sprintf(text, "::ffff:%s", theirs);
    inet_pton(AF_INET6, text, &to.sin6_addr);
    say("IPV6_RECVERR %d", get(fd, IPPROTO_IPV6, IPV6_RECVERR));
    NEED(sendto(fd, "hello", 5, 0, SA(&to), sizeof to));
    await_error(fd);
    say_error(fd, 64);
}
CASE(errors, epoll)
{
    int fd = wanting(AF_INET), id = NEED(peer_udp(port(1)));
    int sets[] = {NEED(epoll_create1(0)), NEED(epoll_create1(0))};
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 4711}, bare = {.data.u64 = 12};
    in_name name = at(mine, port(2));
    NEED(bind(fd, SA(&name), LEN));
    NEED(epoll_ctl(sets[0], EPOLL_CTL_ADD, fd, &event));
    NEED(epoll_ctl(sets[1], EPOLL_CTL_ADD, fd, &bare));
    send_to(fd, port(0), "a", 1);
    await_error(fd);
    for (int i = 0; i < 2; i++) {
        TRY(epoll_wait(sets[i], &event, 1, 1000));
        say_mask("events", event.events);
        say("data %d", (int)event.data.u64);
    }
    say("SO_ERROR %s", error_name(get(fd, SOL_SOCKET, SO_ERROR)));
    TRY(epoll_wait(sets[0], &event, 1, 1000));
    say_mask("it still waits", event.events);
    NEED(peer_sendto(id, port(2), "b", 1));
    await(fd, POLLIN);
    TRY(epoll_wait(sets[0], &event, 1, 1000));
    say_mask("beside a datagram", event.events);
    say_error(fd, 64);
    TRY(epoll_wait(sets[0], &event, 1, 1000));
    say_mask("without it", event.events);
}
/* Such events are told once, and who asks again waits. */
static void told_once(int how)
{
    int fd = wanting(AF_INET), set = NEED(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN | how, .data.u64 = 4711};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    send_to(fd, port(0), "a", 1);
    TRY(epoll_wait(set, &event, 1, 1000));
    say_mask("events", event.events);
    for (int i = 0; i < 2; i++) {
        int before = now_ms();
        TRY(epoll_wait(set, &event, 1, 60));
        say("waited: %d", now_ms() - before >= 55);
    }
    event.events = EPOLLIN | how;
    NEED(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
    TRY(epoll_wait(set, &event, 1, 1000));
    say_mask("asked for again", event.events);
    say_error(fd, 64);
}
CASE(errors, epoll_edge) { told_once(EPOLLET); }
CASE(errors, epoll_one_shot) { told_once(EPOLLONESHOT); }
/* The input of one member is no error of another's that the program calls the same. */
CASE(errors, epoll_same_data)
{
    int fd = wanting(AF_INET), other = bound(SOCK_DGRAM, port(2)), id = NEED(peer_udp(port(1)));
    int set = NEED(epoll_create1(0)), seen = 0;
    char in[8];
    struct epoll_event events[4] = {{.events = EPOLLIN | EPOLLET, .data.u64 = 4711}};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, events));
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, other, events));
    send_to(fd, port(0), "a", 1);
    await_error(fd);
    NEED(recv(fd, in, sizeof in, MSG_DONTWAIT) < 0 ? 0 : -1);
    NEED(peer_sendto(id, port(2), "b", 1));
    await(other, POLLIN);
    for (int n = NEED(epoll_wait(set, events, 4, 1000)); n-- > 0;)
        seen |= events[n].events;
    say_mask("events", seen & EPOLLIN);
    say_error(fd, 64);
}
/* An error that was read leaves the next one's number, which is told before the next datagram. */
CASE(errors, between_datagrams)
{
    int fd = wanting(AF_INET), id = NEED(peer_udp(port(1)));
    char in[8];
    in_name name = at(mine, port(2));
    NEED(bind(fd, SA(&name), LEN));
    send_to(fd, port(0), "x", 1);
    await_error(fd);
    /* The number of the first is taken, so that the second can be sent. */
    TRY(recv(fd, in, sizeof in, MSG_DONTWAIT));
    send_to(fd, port(0), "y", 1);
    NEED(peer_sendto(id, port(2), "a", 1));
    NEED(peer_sendto(id, port(2), "bc", 2));
    /* What comes from the peer comes in this order. */
    await_bytes(fd, 1);
    TRY(recv(fd, in, sizeof in, 0));
    TRY(recv(fd, in, sizeof in, 0));
    say_error(fd, 64);
    TRY(recv(fd, in, sizeof in, 0));
    TRY(recv(fd, in, sizeof in, 0));
    say_error(fd, 64);
    say_error(fd, 64);
}
CASE(errors, wakes_who_waits)
{
    int fd = wanting(AF_INET);
    char in[8];
    send_to(fd, port(0), "a", 1);
    TRY(recv(fd, in, sizeof in, 0));
    say_error(fd, 64);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    send_to(fd, port(0), "b", 1);
    TRY(poll(&p, 1, 2000));
    say_mask("events", p.revents);
    fd_set in_set;
    FD_ZERO(&in_set);
    FD_SET(fd, &in_set);
    TRY(select(fd + 1, &in_set, NULL, NULL, NULL));
}
CASE(errors, streams_have_none)
{
    int id, fd = connected(&id);
    set(fd, IPPROTO_IP, IP_RECVERR, 1);
    say("IP_RECVERR %d", get(fd, IPPROTO_IP, IP_RECVERR));
    say_error(fd, 64);
}
/* An echo request with one hop too few reaches the peer all the same: the peer is on the link. */
CASE(errors, raw_and_ping)
{
    int fd = NEED(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
    struct { uint16_t source, destination, length, sum; char text[4]; } packet = {htons(port(3)), htons(port(0)), htons(12), 0, "text"};
    in_name to = at(theirs, 0);
    set(fd, IPPROTO_IP, IP_RECVERR, 1);
    NEED(sendto(fd, &packet, sizeof packet, 0, SA(&to), LEN));
    await_error(fd);
    char bytes[64];
    struct iovec into = {bytes, sizeof bytes};
    struct sockaddr_storage name;
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &into, .msg_iovlen = 1};
    TRY(recvmsg(fd, &message, MSG_ERRQUEUE));
    say("%.4s, flags %#x", bytes + 8, message.msg_flags);
    say_name("to", SA(&name), message.msg_namelen);
    int echo = NEED(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    set(echo, IPPROTO_IP, IP_RECVERR, 1);
    struct icmphdr request = {.type = ICMP_ECHO};
    to = at(nobody, 0);
    NEED(sendto(echo, &request, sizeof request, 0, SA(&to), LEN));
    for (int i = 0; i < 8; i++)
        await_error(echo);
    say_error(echo, 8);
}
