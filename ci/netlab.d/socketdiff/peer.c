/* The peer: sits in another namespace, over the kernel, and does what the case asks over a unix socket. */
#include "socketdiff.h"
#include "peer.h"
#include <sys/un.h>

static int sockets[1024];
static int control = -1;

static int keep(int fd)
{
    if (fd < 0)
        return -1;
    for (int i = 0; i < 1024; i++)
        if (sockets[i] < 0) {
            struct timeval patience = {.tv_sec = 2};
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            sockets[i] = fd;
            return i;
        }
    close(fd);
    return -1;
}

static int made(int kind, int number)
{
    int yes = 1, fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    in_name name = at("0.0.0.0", number);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (number && bind(fd, SA(&name), LEN) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static long forget(int id, int reset)
{
    struct linger linger = {.l_onoff = 1};
    int fd = sockets[id];
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    sockets[id] = -1;
    return close(fd);
}

static long listen_at(const struct request *q)
{
    int fd = made(SOCK_STREAM, q->a);
    if (fd >= 0 && listen(fd, q->b) < 0)
        return -1;
    return keep(fd);
}

static long connect_to(const struct request *q)
{
    in_name name = at(q->data, q->a);
    int fd = made(SOCK_STREAM, 0);
    if (connect(fd, SA(&name), LEN) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return keep(fd);
}

static long drain(int fd, long len)
{
    static char room[1 << 16];
    struct timeval patience = {.tv_usec = 500000};
    long have = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (have < len) {
        long r = recv(fd, room, sizeof room < (size_t)(len - have) ? sizeof room : (size_t)(len - have), 0);
        if (r <= 0)
            break;
        have += r;
    }
    return have;
}

static long receive_from(int fd, struct reply *a)
{
    char control[256];
    in_name from = {0};
    struct iovec into = {a->data, sizeof a->data};
    struct msghdr m = {&from, sizeof from, &into, 1, control, sizeof control, 0};
    int yes = 1;
    setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &yes, sizeof yes);
    long r = recvmsg(fd, &m, 0);
    a->len = r < 0 ? 0 : r;
    a->port = ntohs(from.sin_port);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c && r >= 0; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_type == IP_TTL)
            a->ttl = *(int *)CMSG_DATA(c);
        if (c->cmsg_type == IP_TOS)
            a->tos = *CMSG_DATA(c);
    }
    return r;
}

static long later(int fd, const struct request *q)
{
    pid_t child = fork();
    if (child)
        return child > 0 ? 0 : -1;
    pause_ms(q->a);
    send(fd, q->data, q->len, MSG_NOSIGNAL);
    _exit(0);
}

static long obey(const struct request *q, struct reply *a)
{
    int fd = q->id >= 0 && q->id < 1024 ? sockets[q->id] : -1;
    in_name name;
    switch (q->op) {
    case LISTEN: return listen_at(q);
    case ACCEPT: return keep(accept(fd, NULL, NULL));
    case CONNECT: return connect_to(q);
    case SEND: return send(fd, q->data, q->len, q->a | MSG_NOSIGNAL);
    case RECV: return a->len = recv(fd, a->data, q->a, q->b);
    case DRAIN: return drain(fd, q->a);
    case SHUTDOWN: return shutdown(fd, q->a);
    case CLOSE: return forget(q->id, 0);
    case RESET: return forget(q->id, 1);
    case UDP: return keep(made(SOCK_DGRAM, q->a));
    case SENDTO:
        name = at(q->data + q->len, q->a);
        return sendto(fd, q->data, q->len, 0, SA(&name), LEN);
    case RECVFROM: return receive_from(fd, a);
    case SET: return setsockopt(fd, q->a, q->b, &q->c, sizeof q->c);
    case LATER: return later(fd, q);
    default:
        for (int i = 0; i < 1024; i++)
            if (sockets[i] >= 0)
                forget(i, 1);
        return 0;
    }
}

int be_peer(const char *path)
{
    static struct request q;
    static struct reply a;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    signal(SIGCHLD, SIG_IGN);
    memset(sockets, -1, sizeof sockets);
    strncpy(name.sun_path, path, sizeof name.sun_path - 1);
    if (bind(server, SA(&name), sizeof name) < 0 || listen(server, 5) < 0)
        return perror(path), 1;
    for (;;) {
        int from = accept(server, NULL, NULL);
        while (from >= 0 && recv(from, &q, sizeof q, 0) > 0) {
            memset(&a, 0, offsetof(struct reply, data));
            errno = 0;
            a.result = obey(&q, &a);
            a.error = errno;
            send(from, &a, offsetof(struct reply, data) + (a.len > 0 ? a.len : 0), MSG_NOSIGNAL);
        }
        q.op = FORGET;
        obey(&q, &a);
        close(from);
    }
}

/* The other end: the case's. */
static long ask(int op, int id, int a, int b, int c, const void *data, int len, struct reply *reply)
{
    static struct request q;
    static struct reply mine_own;
    struct reply *into = reply ? reply : &mine_own;
    q = (struct request){.op = op, .id = id, .a = a, .b = b, .c = c, .len = len};
    memcpy(q.data, data, len);
    strcpy(q.data + len, mine);
    send(control, &q, offsetof(struct request, data) + len + strlen(mine) + 1, MSG_NOSIGNAL);
    while (recv(control, into, sizeof *into, 0) < 0 && errno == EINTR)
        ;
    errno = into->error;
    return into->result;
}

void meet_peer(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strncpy(name.sun_path, path, sizeof name.sun_path - 1);
    control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(control, SA(&name), sizeof name) < 0) {
        perror(path);
        exit(1);
    }
}

int peer_listen(int n, int backlog) { return ask(LISTEN, -1, n, backlog, 0, "", 0, NULL); }
int peer_accept(int id) { return ask(ACCEPT, id, 0, 0, 0, "", 0, NULL); }
int peer_connect(int n) { return ask(CONNECT, -1, n, 0, 0, "", 0, NULL); }
int peer_send(int id, const void *data, int len, int flags) { return ask(SEND, id, flags, 0, 0, data, len, NULL); }
long peer_drain(int id, long len) { return ask(DRAIN, id, len, 0, 0, "", 0, NULL); }
int peer_shutdown(int id, int how) { return ask(SHUTDOWN, id, how, 0, 0, "", 0, NULL); }
int peer_close(int id) { return ask(CLOSE, id, 0, 0, 0, "", 0, NULL); }
int peer_reset(int id) { return ask(RESET, id, 0, 0, 0, "", 0, NULL); }
int peer_udp(int n) { return ask(UDP, -1, n, 0, 0, "", 0, NULL); }
int peer_sendto(int id, int n, const void *data, int len) { return ask(SENDTO, id, n, 0, 0, data, len, NULL); }
int peer_set(int id, int level, int name, int value) { return ask(SET, id, level, name, value, "", 0, NULL); }
int peer_later(int id, int ms, const void *data, int len) { return ask(LATER, id, ms, 0, 0, data, len, NULL); }

int peer_recv(int id, void *into, int len, int flags)
{
    static struct reply a;
    int r = ask(RECV, id, len, flags, 0, "", 0, &a);
    if (r > 0)
        memcpy(into, a.data, r);
    return r;
}

struct peer_datagram peer_recvfrom(int id)
{
    static struct reply a;
    struct peer_datagram got = {.len = ask(RECVFROM, id, 0, 0, 0, "", 0, &a)};
    got.port = a.port;
    got.ttl = a.ttl;
    got.tos = a.tos;
    if (got.len > 0)
        memcpy(got.data, a.data, got.len < (int)sizeof got.data ? got.len : (int)sizeof got.data);
    return got;
}
