/* A protocol module in C, to begin from: frames of its EtherType go back to their senders.
 *
 *     cc -O2 -Wall -Wextra -shared -fPIC -I pmd-drivers/include -I stack/include \
 *         -o lsm-example.so protocol.c
 *     io-pkt -d net_tap -p $PWD/lsm-example.so
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iopkt/lsm.h"

/* For local experiments (IEEE 802). */
enum { ETHERTYPE = 0x88b6 };

struct example {
    const struct lsm_api *api;
    const struct lsm_host *host;
    uint32_t answered; /* iopkt sysctl example.answered */
};

static int example_open(const struct lsm_api *api, const struct lsm_host *host, void **instance) {
    struct lsm_attach frames = {.size = sizeof frames, .to = LSM_TO_ETHERTYPE, .value = ETHERTYPE};
    struct lsm_variable answered = {.size = sizeof answered, .name = "answered",
                                    .text = "Frames sent back.", .max = INT64_MAX};
    struct example *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    int attached = api->attach(host, &frames), variable = api->variable(host, &answered);
    if (attached < 0 || variable < 0) {
        free(e);
        return attached < 0 ? attached : variable;
    }
    e->api = api;
    e->host = host;
    e->answered = (uint32_t)variable;
    api->log(host, LSM_LOG_INFO, "frames come back");
    *instance = e;
    return 0;
}

static void example_close(void *instance) {
    free(instance);
}

/* The packets are ours: what is not sent is freed. */
static int example_receive(void *instance, struct lsm_context *context,
                           const struct lsm_arrival *arrival, struct devnp_mbuf **packets,
                           uint16_t count) {
    struct example *e = instance;
    for (uint16_t i = 0; i < count; i++) {
        uint8_t *frame = e->api->packet->data(packets[i]), to[6];
        memcpy(to, frame, 6);
        memcpy(frame, frame + 6, 6);
        memcpy(frame + 6, to, 6);
    }
    uint16_t sent = e->api->send_frames(context, arrival->interface, packets, count);
    e->api->packet->free(packets + sent, count - sent);
    e->api->add_value(e->host, e->answered, sent);
    return 0;
}

const struct lsm_module lsm_module = {
    .magic = LSM_MAGIC,
    .abi = LSM_ABI_VERSION,
    .size = sizeof lsm_module,
    .kind = LSM_KIND_PROTOCOL,
    .threading = LSM_THREADING_WORKERS,
    .name = "example",
    .version = "0.1",
    .options = "",
    .open = example_open,
    .close = example_close,
    .receive = example_receive,
};
