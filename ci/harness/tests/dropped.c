/* A protocol module of whose packets the daemon drops some. What goes out as ICMP its filter stops. A frame of its
 * EtherType says by its first byte what is done with it: 's' sends it too short, 'l' too long, 'n' gives it to a socket
 * that nobody has, 't' to such a stream. */
#include <errno.h>
#include <stdlib.h>

#include "iopkt/lsm.h"

enum { ETHERTYPE = 0x88b5, HEADER_LEN = 14, MTU = 1500, ICMP = 1 };
static const uint64_t NOBODY = 7, STREAM = 1ULL << 63;

static int dropped_open(const struct lsm_api *api, const struct lsm_host *host, void **instance) {
    struct lsm_attach frames = {.size = sizeof frames, .to = LSM_TO_ETHERTYPE, .value = ETHERTYPE};
    struct lsm_attach filter = {.size = sizeof filter, .to = LSM_TO_FILTER_INET, .value = LSM_OUT};
    *instance = (void *)api;
    return api->attach(host, &frames) < 0 || api->attach(host, &filter) < 0 ? -EINVAL : 0;
}

static void dropped_close(void *instance) {
    (void)instance;
}

static int dropped_filter(void *instance, struct lsm_context *context, const struct lsm_arrival *arrival,
                          struct devnp_mbuf *const *packets, uint8_t *verdicts, uint16_t count) {
    const struct lsm_api *api = instance;
    (void)context, (void)arrival;
    for (uint16_t i = 0; i < count; i++)
        verdicts[i] = api->packet->data(packets[i])[9] == ICMP ? LSM_DROP : LSM_PASS;
    return 0;
}

static int dropped_receive(void *instance, struct lsm_context *context, const struct lsm_arrival *arrival,
                           struct devnp_mbuf **packets, uint16_t count) {
    const struct lsm_api *api = instance;
    for (uint16_t i = 0; i < count; i++) {
        uint8_t what = api->packet->data(packets[i])[HEADER_LEN];
        uint16_t taken = 0;
        if (what == 'n' || what == 't')
            taken = api->deliver(context, what == 't' ? NOBODY | STREAM : NOBODY, NULL, &packets[i], 1);
        else if (api->packet->set_len(packets[i], what == 's' ? HEADER_LEN - 1 : HEADER_LEN + MTU + 1) == 0)
            taken = api->send_frames(context, arrival->interface, &packets[i], 1);
        if (!taken)
            api->packet->free(&packets[i], 1);
    }
    return 0;
}

const struct lsm_module lsm_module = {
    .magic = LSM_MAGIC,
    .abi = LSM_ABI_VERSION,
    .size = sizeof lsm_module,
    .kind = LSM_KIND_PROTOCOL,
    .threading = LSM_THREADING_WORKERS,
    .name = "dropped",
    .version = "0.1",
    .options = "",
    .open = dropped_open,
    .close = dropped_close,
    .receive = dropped_receive,
    .filter = dropped_filter,
};
