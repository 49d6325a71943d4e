/* A protocol module in C with an address family of its own: datagrams straight over Ethernet.
 *
 *     cc -O2 -Wall -Wextra -shared -fPIC -I pmd-drivers/include -I stack/include -o lsm-link.so family.c
 *     iopkt mount ./lsm-link.so
 *     int s = socket(60, SOCK_DGRAM, 0);          // under iopkt run, or iopkt_socket()
 *
 * A name is laid out as struct sockaddr_in6: the station's MAC address is the first 6 bytes of the
 * address, the port is a port, the scope the interface's number. On the wire:
 *
 *     | to, 6 | from, 6 | 0x88b6 | to port, 2 | from port, 2 | length, 2 | text |
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iopkt/lsm.h"

enum { FAMILY = 60, ETHERTYPE = 0x88b6, HEADER_LEN = 20, SOCKETS_MAX = 64 };

struct end {
    uint64_t socket;
    int open;
    uint16_t port; /* 0: it has none */
    struct lsm_name peer; /* of size 0: it has none */
};

/* One thread calls us, so nothing needs a lock. */
struct link {
    const struct lsm_api *api;
    const struct lsm_host *host;
    struct end ends[SOCKETS_MAX];
};

static struct end *end_of(struct link *l, uint64_t socket) {
    for (int i = 0; i < SOCKETS_MAX; i++)
        if (l->ends[i].open && l->ends[i].socket == socket)
            return &l->ends[i];
    return NULL;
}

static struct end *end_at(struct link *l, uint16_t port) {
    for (int i = 0; port && i < SOCKETS_MAX; i++)
        if (l->ends[i].open && l->ends[i].port == port)
            return &l->ends[i];
    return NULL;
}

static void put16(uint8_t *to, uint16_t value) {
    to[0] = value >> 8;
    to[1] = value & 0xff;
}

static uint16_t get16(const uint8_t *from) {
    return (uint16_t)(from[0] << 8 | from[1]);
}

static int link_open(const struct lsm_api *api, const struct lsm_host *host, void **instance) {
    struct lsm_attach frames = {.size = sizeof frames, .to = LSM_TO_ETHERTYPE, .value = ETHERTYPE};
    struct lsm_attach sockets = {.size = sizeof sockets, .to = LSM_TO_SOCKETS, .value = FAMILY << 16};
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    int first = api->attach(host, &frames), second = api->attach(host, &sockets);
    if (first < 0 || second < 0) {
        free(l);
        return first < 0 ? first : second;
    }
    l->api = api;
    l->host = host;
    *instance = l;
    return 0;
}

static void link_close(void *instance) {
    free(instance);
}

/* Frames: the text of each is its socket's. */
static int link_receive(void *instance, struct lsm_context *context,
                        const struct lsm_arrival *arrival, struct devnp_mbuf **packets,
                        uint16_t count) {
    struct link *l = instance;
    const struct devnp_api *p = l->api->packet;
    for (uint16_t i = 0; i < count; i++) {
        uint8_t *frame = p->data(packets[i]);
        uint32_t there = p->len(packets[i]);
        uint16_t len = there < HEADER_LEN ? 0 : get16(frame + 18);
        struct end *end = there < HEADER_LEN ? NULL : end_at(l, get16(frame + 14));
        struct lsm_name from = {.size = sizeof from, .family = FAMILY, .scope = arrival->interface};
        uint16_t given = 0;
        if (end && len <= there - HEADER_LEN) {
            from.port = get16(frame + 16);
            memcpy(from.address, frame + 6, 6);
            memmove(frame, frame + HEADER_LEN, len);
            if (p->set_len(packets[i], len) == 0)
                given = l->api->deliver(context, end->socket, &from, &packets[i], 1);
        }
        if (!given)
            p->free(&packets[i], 1);
    }
    return 0;
}

static int link_socket_open(void *instance, struct lsm_context *context,
                            const struct lsm_opening *what) {
    struct link *l = instance;
    (void)context;
    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (!l->ends[i].open) {
            l->ends[i] = (struct end){.socket = what->socket, .open = 1};
            return 0;
        }
    }
    return -ENFILE;
}

/* Port 0 is any that is free; the address is ours, whatever the program says. */
static int link_socket_bind(void *instance, struct lsm_context *context, uint64_t socket,
                            struct lsm_name *name) {
    struct link *l = instance;
    struct end *end = end_of(l, socket);
    (void)context;
    for (uint16_t port = 0x8000; name->port == 0 && port < 0xffff; port++)
        if (!end_at(l, port))
            name->port = port;
    if (!end)
        return -EINVAL;
    if (end_at(l, name->port))
        return -EADDRINUSE;
    end->port = name->port;
    return 0;
}

static int link_socket_connect(void *instance, struct lsm_context *context, uint64_t socket,
                               const struct lsm_name *peer) {
    struct end *end = end_of(instance, socket);
    (void)context;
    if (!end)
        return -EINVAL;
    end->peer = peer ? *peer : (struct lsm_name){0};
    return 0;
}

static int link_socket_send(void *instance, struct lsm_context *context, uint64_t socket,
                            const struct lsm_name *to, struct devnp_mbuf *packet) {
    struct link *l = instance;
    const struct devnp_api *p = l->api->packet;
    struct end *end = end_of(l, socket);
    struct lsm_interface known[64];
    uint32_t len = p->len(packet), count = l->api->interfaces(l->host, known, 64), at = 0;
    if (end && !to && end->peer.size)
        to = &end->peer;
    while (to && at < count && at < 64 && known[at].index != to->scope)
        at++;
    int code = !end || !to ? -EDESTADDRREQ
               : at == count || at == 64 ? -ENODEV
               : len > 1500 - (HEADER_LEN - 14) || p->set_len(packet, len + HEADER_LEN) ? -EMSGSIZE
                                                                                         : 0;
    if (code == 0) {
        uint8_t *frame = p->data(packet);
        memmove(frame + HEADER_LEN, frame, len);
        memcpy(frame, to->address, 6);
        memcpy(frame + 6, known[at].mac, 6);
        put16(frame + 12, ETHERTYPE);
        put16(frame + 14, to->port);
        put16(frame + 16, end->port);
        put16(frame + 18, (uint16_t)len);
        if (l->api->send_frames(context, to->scope, &packet, 1) == 1)
            return 0;
        code = -ENOBUFS;
    }
    p->free(&packet, 1);
    return code;
}

static void link_socket_close(void *instance, struct lsm_context *context, uint64_t socket) {
    struct end *end = end_of(instance, socket);
    (void)context;
    if (end)
        end->open = 0;
}

const struct lsm_module lsm_module = {
    .magic = LSM_MAGIC,
    .abi = LSM_ABI_VERSION,
    .size = sizeof lsm_module,
    .kind = LSM_KIND_PROTOCOL,
    .threading = LSM_THREADING_SINGLE,
    .name = "link",
    .version = "0.1",
    .options = "",
    .open = link_open,
    .close = link_close,
    .receive = link_receive,
    .socket_open = link_socket_open,
    .socket_bind = link_socket_bind,
    .socket_connect = link_socket_connect,
    .socket_send = link_socket_send,
    .socket_close = link_socket_close,
};
