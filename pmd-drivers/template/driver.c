/* A driver module in C, to begin from: what is sent comes back.
 *
 *     cc -O2 -Wall -Wextra -shared -fPIC -I pmd-drivers/include -o devnp-example.so driver.c
 *     io-pkt -d $PWD/devnp-example.so
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iopkt/devnp.h"

enum { RING = 256 };

struct example {
    const struct devnp_api *api;
    uint16_t head, tail;
    struct devnp_mbuf *ring[RING];
};

static int example_open(const struct devnp_api *api, const struct devnp_host *host,
                        const struct devnp_config *config, struct devnp_info *info) {
    struct example *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    e->api = api;
    api->log(host, DEVNP_LOG_INFO, "what is sent comes back");
    info->queues = 1; /* DEVNP_THREADING_SINGLE */
    info->mtu = config->mtu ? config->mtu : 1500;
    info->mtu_max = 1500;
    info->device = e;
    return 0;
}

static void example_stop(void *device) {
    struct example *e = device;
    for (; e->tail != e->head; e->tail++)
        e->api->free(&e->ring[e->tail % RING], 1);
}

static void example_close(void *device) {
    example_stop(device);
    free(device);
}

static int32_t example_start(void *device) {
    (void)device;
    return 0;
}

/* How many of `count` come before the ring's end; the others stand at its beginning. */
static uint16_t to_the_end(uint16_t at, uint16_t count) {
    return count < RING - at ? count : RING - at;
}

/* Packets that we return are the daemon's. */
static uint16_t example_rx_burst(void *device, uint16_t queue, struct devnp_mbuf **packets,
                                 uint16_t count) {
    struct example *e = device;
    uint16_t waiting = e->head - e->tail, at = e->tail % RING;
    uint16_t got = waiting < count ? waiting : count, whole = to_the_end(at, got);
    (void)queue;
    memcpy(packets, &e->ring[at], whole * sizeof *packets);
    if (whole < got)
        memcpy(&packets[whole], e->ring, (got - whole) * sizeof *packets);
    e->tail += got;
    return got;
}

/* Packets that we say we took are ours. */
static uint16_t example_tx_burst(void *device, uint16_t queue, struct devnp_mbuf **packets,
                                 uint16_t count) {
    struct example *e = device;
    uint16_t room = RING - (uint16_t)(e->head - e->tail), at = e->head % RING;
    uint16_t sent = room < count ? room : count, whole = to_the_end(at, sent);
    (void)queue;
    memcpy(&e->ring[at], packets, whole * sizeof *packets);
    if (whole < sent)
        memcpy(e->ring, &packets[whole], (sent - whole) * sizeof *packets);
    e->head += sent;
    return sent;
}

const struct devnp_module devnp_module = {
    .magic = DEVNP_MAGIC,
    .abi = DEVNP_ABI_VERSION,
    .size = sizeof(struct devnp_module),
    .kind = DEVNP_KIND_DRIVER,
    .threading = DEVNP_THREADING_SINGLE,
    .name = "example",
    .version = "1",
    .options = "",
    .open = example_open,
    .close = example_close,
    .start = example_start,
    .stop = example_stop,
    .rx_burst = example_rx_burst,
    .tx_burst = example_tx_burst,
};
