/* A protocol module that lets everything pass: what a filter and a tap cost the packet path is the daemon's. */
#include <errno.h>
#include <stdlib.h>

#include "iopkt/lsm.h"

static int pass_open(const struct lsm_api *api, const struct lsm_host *host, void **instance) {
    struct lsm_attach filter = {.size = sizeof filter, .to = LSM_TO_FILTER_INET, .value = LSM_IN | LSM_OUT};
    struct lsm_attach frames = {.size = sizeof frames, .to = LSM_TO_FILTER_INTERFACE, .value = LSM_IN | LSM_OUT};
    struct lsm_attach tap = {.size = sizeof tap, .to = LSM_TO_TAP, .value = LSM_IN | LSM_OUT};
    *instance = NULL;
    return api->attach(host, &filter) < 0 || api->attach(host, &frames) < 0 || api->attach(host, &tap) < 0 ? -EINVAL : 0;
}

static void pass_close(void *instance) {
    (void)instance;
}

static int pass_filter(void *instance, struct lsm_context *context, const struct lsm_arrival *arrival,
                       struct devnp_mbuf *const *packets, uint8_t *verdicts, uint16_t count) {
    (void)instance, (void)context, (void)arrival, (void)packets, (void)verdicts, (void)count;
    return 0;
}

static int pass_tap(void *instance, struct lsm_context *context, const struct lsm_arrival *arrival,
                    const struct devnp_mbuf *const *packets, uint16_t count) {
    (void)instance, (void)context, (void)arrival, (void)packets, (void)count;
    return 0;
}

const struct lsm_module lsm_module = {
    .magic = LSM_MAGIC,
    .abi = LSM_ABI_VERSION,
    .size = sizeof lsm_module,
    .kind = LSM_KIND_PROTOCOL,
    .threading = LSM_THREADING_WORKERS,
    .name = "pass",
    .version = "0.1",
    .options = "",
    .open = pass_open,
    .close = pass_close,
    .filter = pass_filter,
    .tap = pass_tap,
};
