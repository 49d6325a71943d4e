/*
 * The words the cases are written in. A case is a function that makes calls and says what came of them; it
 * runs in a process of its own, and beside it stands a peer over the kernel, which does as it is told.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct test {
    const char *area, *name;
    void (*run)(void);
};
void add_test(struct test test);

/* A case: CASE(area, name) { ... }. */
#define CASE(area, name)                                                                                     \
    static void area##_##name(void);                                                                         \
    __attribute__((constructor)) static void add_##area##_##name(void)                                       \
    {                                                                                                        \
        add_test((struct test){#area, #name, area##_##name});                                                \
    }                                                                                                        \
    static void area##_##name(void)

/* A line of the case. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "what: 5", or "what: EINVAL" if the result is -1. Returns the result. */
long said(const char *what, long result);
#define TRY(call) said(#call, (errno = 0, (long)(call)))
/* The same for a call that makes a descriptor, whose number is nobody's business. */
int made_fd(const char *what, int fd);
#define TRY_FD(call) made_fd(#call, (errno = 0, (call)))
/* The same for a call that must not fail where it is not what the case is about; else the case ends. */
long need(const char *what, long result);
#define NEED(call) need(#call, (errno = 0, (long)(call)))
const char *error_name(int number);

/* Addresses: our own, the peer's, one of the link that nobody has. */
extern const char *mine, *theirs, *nobody;
typedef struct sockaddr_in in_name;
in_name at(const char *address, int port);
#define SA(name) ((struct sockaddr *)(name))
#define LEN sizeof(struct sockaddr_in)
/* Prints a name without an ephemeral port: those below 30000 were asked for. */
void say_name(const char *what, const struct sockaddr *name, socklen_t len);
/* A port of this case's own, the same in both runs. */
int port(int n);

/* Sockets in a state. */
int stream(void);
int datagram(void);
int bound(int kind, int port);
int listening(int port, int backlog);
/* Connected to the peer, who accepted it as *id. */
int connected(int *id);
/* Accepted; the peer connected as *id; *listener may be NULL: it is closed. */
int accepted(int *id, int *listener);
/* Connected datagram sockets; the peer's has port(1). */
int associated(int *id);
/* The peer is told to do something, and it is waited for until it is seen here. */
int reset_by_peer(void);

/* Waiting: until one of the events is there (1 s at most); the events that are there. */
int await(int fd, int events);
/* Until so many bytes can be read (FIONREAD). */
void await_bytes(int fd, int count);
/* Until all that was sent has been acknowledged. */
void await_sent(int fd);
void pause_ms(int ms);
/* Sends until there has been no room for so long that what is on its way has arrived. What was sent. */
long fill(int fd);
int now_ms(void);
/* "what: POLLIN POLLOUT", without POLLERR and POLLHUP: the cases of area "mask" are about those. */
void say_events(const char *what, int fd);
/* With those, but without POLLWRBAND: case mask/band is about that. */
void say_all_events(const char *what, int fd);
void say_mask(const char *what, int mask);
void nonblocking(int fd);
void set(int fd, int level, int name, int value);
int get(int fd, int level, int name);

/* What the peer does: each returns the peer's result, or -1 and errno. */
int peer_listen(int port, int backlog);
int peer_accept(int listener);
int peer_connect(int port);
int peer_send(int id, const void *data, int len, int flags);
int peer_recv(int id, void *into, int len, int flags);
/* Reads until so many bytes have come, or the end, or half a second has passed; their number. */
long peer_drain(int id, long len);
int peer_shutdown(int id, int how);
int peer_close(int id);
int peer_reset(int id);
int peer_udp(int port);
int peer_sendto(int id, int port, const void *data, int len);
/* What came, with the sender's port, TTL and TOS. */
struct peer_datagram {
    int len, port, ttl, tos;
    char data[2048];
};
struct peer_datagram peer_recvfrom(int id);
int peer_set(int id, int level, int name, int value);
/* The peer sends by itself, after so many milliseconds. */
int peer_later(int id, int ms, const void *data, int len);
