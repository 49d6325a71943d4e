/* A per-packet driver in C, to begin from: a wire. What one interface sends, the other receives.
 *
 *     cc -O2 -Wall -Wextra -shared -fPIC -I pmd-drivers/include -o devn-wire.so devn.c
 *     io-pkt -d $PWD/devn-wire.so -d $PWD/devn-wire.so
 *
 * A driver of a device starts a thread in open, which calls rx for each frame, and ends it in close:
 * pmd-drivers/devn-tun/devn-tun.c.
 */
#include <errno.h>
#include <stdatomic.h>

#include "iopkt/devn.h"

/* Both ends. 0: not there. */
static struct end {
    const struct devn_host *host;
    _Atomic uint64_t handle;
} ends[2];

static int32_t wire_open(const struct devn_host *host, uint64_t handle,
                         const struct devn_config *config, struct devn_info *info) {
    struct end *end = atomic_load(&ends[0].handle) ? &ends[1] : &ends[0];
    if (atomic_load(&end->handle))
        return -EBUSY;
    end->host = host;
    atomic_store(&end->handle, handle);
    info->mtu = config->mtu;
    info->device = end;
    host->log(handle, DEVN_LOG_INFO, "one end of the wire");
    return 0;
}

static void wire_close(void *device) {
    struct end *end = device;
    atomic_store(&end->handle, 0);
}

/* The frame is the daemon's: a device that sends later needs a copy. */
static int32_t wire_tx(void *device, const void *frame, uint32_t len) {
    struct end *end = device, *other = end == &ends[0] ? &ends[1] : &ends[0];
    uint64_t handle = atomic_load(&other->handle);
    /* What the other end has no room for is dropped, and counted there. */
    if (handle)
        end->host->rx(handle, frame, len);
    return 0;
}

const struct devn_driver devn_driver = {
    .magic = DEVN_MAGIC,
    .abi = DEVN_ABI_VERSION,
    .size = sizeof(struct devn_driver),
    .kind = DEVN_KIND_DRIVER,
    .name = "wire",
    .version = "1",
    .options = "",
    .open = wire_open,
    .close = wire_close,
    .tx = wire_tx,
};
