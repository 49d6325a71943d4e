/* What many cases do: sockets in a state, waiting, printing. */
#include "socketdiff.h"

in_name at(const char *address, int number)
{
    in_name name = {.sin_family = AF_INET, .sin_port = htons(number)};
    inet_pton(AF_INET, address, &name.sin_addr);
    return name;
}

void say_name(const char *what, const struct sockaddr *name, socklen_t len)
{
    const in_name *in = (const in_name *)name;
    int number = len >= 4 ? ntohs(in->sin_port) : 0;
    if (len < LEN)
        say("%s: %u bytes", what, len);
    else if (number >= 30000)
        say("%s: family %d, %s, some port, %u bytes", what, in->sin_family, inet_ntoa(in->sin_addr), len);
    else
        say("%s: family %d, %s, port %d, %u bytes", what, in->sin_family, inet_ntoa(in->sin_addr), number, len);
}

int stream(void) { return NEED(socket(AF_INET, SOCK_STREAM, 0)); }
int datagram(void) { return NEED(socket(AF_INET, SOCK_DGRAM, 0)); }

int bound(int kind, int number)
{
    in_name name = at(mine, number);
    int fd = NEED(socket(AF_INET, kind, 0));
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    NEED(bind(fd, SA(&name), LEN));
    return fd;
}

int listening(int number, int backlog)
{
    int fd = bound(SOCK_STREAM, number);
    NEED(listen(fd, backlog));
    return fd;
}

int connected(int *id)
{
    in_name name = at(theirs, port(7));
    int listener = NEED(peer_listen(port(7), 5)), fd = stream();
    NEED(connect(fd, SA(&name), LEN));
    *id = NEED(peer_accept(listener));
    peer_close(listener);
    return fd;
}

int accepted(int *id, int *listener)
{
    int from = listening(port(6), 5);
    *id = NEED(peer_connect(port(6)));
    int fd = NEED(accept(from, NULL, NULL));
    if (listener)
        *listener = from;
    else
        close(from);
    return fd;
}

int associated(int *id)
{
    in_name name = at(theirs, port(1));
    int fd = bound(SOCK_DGRAM, port(0));
    *id = NEED(peer_udp(port(1)));
    NEED(connect(fd, SA(&name), LEN));
    return fd;
}

int reset_by_peer(void)
{
    int id, fd = connected(&id);
    peer_reset(id);
    await(fd, POLLHUP);
    return fd;
}

int await(int fd, int events)
{
    struct pollfd p = {.fd = fd, .events = events};
    for (int left = 1000; left > 0; left--) {
        p.revents = 0;
        if (poll(&p, 1, 0) > 0 && (p.revents & (events | POLLNVAL)))
            break;
        pause_ms(1);
    }
    return p.revents;
}

void await_bytes(int fd, int wanted)
{
    int have = 0;
    for (int left = 1000; left > 0; left--) {
        if (ioctl(fd, FIONREAD, &have) < 0 || have >= wanted)
            break;
        pause_ms(1);
    }
}

void await_sent(int fd)
{
    int have = 1;
    for (int left = 1000; left > 0; left--) {
        if (ioctl(fd, TIOCOUTQ, &have) < 0 || have == 0)
            break;
        pause_ms(1);
    }
}

long fill(int fd)
{
    static char room[1 << 20];
    long sent = 0;
    for (int refused = 0; refused < 5; pause_ms(20)) {
        long r = send(fd, room, sizeof room, MSG_DONTWAIT);
        sent += r > 0 ? r : 0;
        refused = r > 0 ? 0 : refused + 1;
    }
    return sent;
}

void pause_ms(int ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

int now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void say_mask(const char *what, int mask)
{
    static const struct { int bit; const char *name; } bits[] = {
        {POLLIN, "POLLIN"}, {POLLPRI, "POLLPRI"}, {POLLOUT, "POLLOUT"}, {POLLERR, "POLLERR"}, {POLLHUP, "POLLHUP"},
        {POLLNVAL, "POLLNVAL"}, {POLLRDNORM, "POLLRDNORM"}, {POLLRDBAND, "POLLRDBAND"}, {POLLWRNORM, "POLLWRNORM"},
        {POLLWRBAND, "POLLWRBAND"}, {POLLRDHUP, "POLLRDHUP"},
    };
    char text[256] = "";
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
        if (mask & bits[i].bit)
            strcat(strcat(text, " "), bits[i].name);
    say("%s:%s", what, text[0] ? text : " nothing");
}

void say_events(const char *what, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLRDBAND};
    if (poll(&p, 1, 0) < 0)
        said(what, -1);
    else
        say_mask(what, p.revents & ~(POLLERR | POLLHUP));
}

void say_all_events(const char *what, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLRDBAND};
    if (poll(&p, 1, 0) < 0)
        said(what, -1);
    else
        say_mask(what, p.revents);
}

void nonblocking(int fd) { NEED(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)); }

void set(int fd, int level, int name, int value) { NEED(setsockopt(fd, level, name, &value, sizeof value)); }

int get(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof value;
    return getsockopt(fd, level, name, &value, &len) < 0 ? -1 : value;
}
