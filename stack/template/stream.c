/* A protocol module in C with streams of a family of its own: programs of this machine talk to each other.
 *
 *     cc -O2 -Wall -Wextra -shared -fPIC -I pmd-drivers/include -I stack/include -o lsm-pipe.so stream.c
 *     iopkt mount ./lsm-pipe.so
 *     int s = socket(61, SOCK_STREAM, 0);          // under iopkt run, or iopkt_socket()
 *
 * A name is a port. What one end sends is the other end's to read, so nothing is kept here: an end wants as much
 * as there is room for at the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "iopkt/lsm.h"

enum { FAMILY = 61, ENDS_MAX = 64 };

/* How many bytes have gone from this end to the other. */
#define PASSED _IOR('p', 1, uint64_t)

struct end {
    uint64_t socket; /* 0: free */
    uint64_t peer;   /* 0: none, or gone */
    uint64_t passed;
    uint16_t port; /* 0: it has none */
    int listens, ended;
};

/* Streams are all the first worker's, so nothing needs a lock. */
struct pipes {
    const struct lsm_api *api;
    struct end ends[ENDS_MAX];
};

/* A free one is the end with the number 0. */
static struct end *end_of(struct pipes *p, uint64_t socket) {
    for (int i = 0; i < ENDS_MAX; i++)
        if (p->ends[i].socket == socket)
            return &p->ends[i];
    return NULL;
}

static struct end *peer_of(struct pipes *p, uint64_t socket) {
    struct end *end = end_of(p, socket);
    return end && end->peer ? end_of(p, end->peer) : NULL;
}

static struct end *end_at(struct pipes *p, uint16_t port) {
    for (int i = 0; port && i < ENDS_MAX; i++)
        if (p->ends[i].socket && p->ends[i].port == port)
            return &p->ends[i];
    return NULL;
}

static int pipes_open(const struct lsm_api *api, const struct lsm_host *host, void **instance) {
    struct lsm_attach streams = {.size = sizeof streams, .to = LSM_TO_STREAMS, .value = FAMILY << 16};
    struct pipes *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    /* A daemon that is older than streams knows no such attachment. */
    int code = api->attach(host, &streams);
    if (code < 0) {
        free(p);
        return code;
    }
    p->api = api;
    *instance = p;
    return 0;
}

static void pipes_close(void *instance) {
    free(instance);
}

static int pipes_socket_open(void *instance, struct lsm_context *context,
                             const struct lsm_opening *what) {
    struct end *end = end_of(instance, 0);
    (void)context;
    if (!end)
        return -ENFILE;
    *end = (struct end){.socket = what->socket};
    return 0;
}

/* Port 0 is any that is free. */
static int pipes_socket_bind(void *instance, struct lsm_context *context, uint64_t socket,
                             struct lsm_name *name) {
    struct pipes *p = instance;
    struct end *end = end_of(p, socket);
    (void)context;
    for (uint16_t port = 0x8000; name->port == 0 && port < 0xffff; port++)
        if (!end_at(p, port))
            name->port = port;
    if (end_at(p, name->port))
        return -EADDRINUSE;
    end->port = name->port;
    memset(name->address, 0, sizeof name->address);
    return 0;
}

static int pipes_socket_listen(void *instance, struct lsm_context *context, uint64_t socket,
                               uint32_t backlog) {
    struct end *end = end_of(instance, socket);
    (void)context, (void)backlog;
    if (!end->port)
        return -EDESTADDRREQ;
    end->listens = 1;
    return 0;
}

/* The attempt is called by the number of the stream that makes it. */
static int pipes_socket_connect(void *instance, struct lsm_context *context, uint64_t socket,
                                const struct lsm_name *peer) {
    struct pipes *p = instance;
    struct end *there = peer ? end_at(p, peer->port) : NULL;
    struct lsm_name from = {.size = sizeof from, .family = FAMILY, .port = end_of(p, socket)->port};
    if (!there || !there->listens)
        return -ECONNREFUSED;
    return p->api->arrive(context, there->socket, &from, socket);
}

static void pipes_socket_arrived(void *instance, struct lsm_context *context, uint64_t tag,
                                 uint64_t socket, int32_t error) {
    struct pipes *p = instance;
    struct end *here = end_of(p, tag), *there = error ? NULL : end_of(p, 0);
    if (here && there) {
        *there = (struct end){.socket = socket, .peer = tag};
        here->peer = socket;
        p->api->connected(context, tag, NULL);
        return;
    }
    if (here)
        p->api->finish(context, tag, error == ENOBUFS ? error : ECONNREFUSED);
    if (!error)
        p->api->finish(context, socket, ECONNRESET);
}

static void pipes_socket_room(void *instance, struct lsm_context *context, uint64_t socket,
                              uint32_t bytes) {
    struct pipes *p = instance;
    struct end *peer = peer_of(p, socket);
    if (peer)
        p->api->want(context, peer->socket, bytes);
}

static int pipes_socket_send(void *instance, struct lsm_context *context, uint64_t socket,
                             const struct lsm_name *to, struct devnp_mbuf *packet) {
    struct pipes *p = instance;
    struct end *end = end_of(p, socket), *peer = peer_of(p, socket);
    uint32_t len = p->api->packet->len(packet);
    (void)to;
    if (peer && p->api->deliver(context, peer->socket, NULL, &packet, 1) == 1) {
        end->passed += len;
        return 0;
    }
    p->api->packet->free(&packet, 1);
    return peer ? -ENOBUFS : -EPIPE;
}

static void pipes_socket_end(void *instance, struct lsm_context *context, uint64_t socket) {
    struct pipes *p = instance;
    struct end *end = end_of(p, socket), *peer = peer_of(p, socket);
    if (!end)
        return;
    end->ended = 1;
    end->listens = 0;
    if (peer)
        p->api->finish(context, peer->socket, 0);
}

/* The other end may have sent what nobody will read: its next bytes are wanted, and refused. */
static void pipes_socket_close(void *instance, struct lsm_context *context, uint64_t socket) {
    struct pipes *p = instance;
    struct end *end = end_of(p, socket), *peer = peer_of(p, socket);
    if (!end)
        return;
    if (peer) {
        peer->peer = 0;
        if (end->ended)
            p->api->want(context, peer->socket, 1);
        else
            p->api->finish(context, peer->socket, ECONNRESET);
    }
    *end = (struct end){0};
}

static ptrdiff_t pipes_socket_ioctl(void *instance, struct lsm_context *context, uint64_t socket,
                                    uint32_t request, const void *data, size_t len, void *to,
                                    size_t room) {
    struct end *end = end_of(instance, socket);
    (void)context, (void)data, (void)len;
    if (request != PASSED || room < sizeof end->passed || !end)
        return -ENOTTY;
    memcpy(to, &end->passed, sizeof end->passed);
    return sizeof end->passed;
}

const struct lsm_module lsm_module = {
    .magic = LSM_MAGIC,
    .abi = LSM_ABI_VERSION,
    .size = sizeof lsm_module,
    .kind = LSM_KIND_PROTOCOL,
    .threading = LSM_THREADING_SINGLE,
    .name = "pipe",
    .version = "0.1",
    .options = "",
    .open = pipes_open,
    .close = pipes_close,
    .socket_open = pipes_socket_open,
    .socket_bind = pipes_socket_bind,
    .socket_listen = pipes_socket_listen,
    .socket_connect = pipes_socket_connect,
    .socket_arrived = pipes_socket_arrived,
    .socket_room = pipes_socket_room,
    .socket_send = pipes_socket_send,
    .socket_end = pipes_socket_end,
    .socket_close = pipes_socket_close,
    .socket_ioctl = pipes_socket_ioctl,
};
