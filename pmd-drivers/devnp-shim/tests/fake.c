/* A per-packet driver for the shim's tests: does what the test tells it to. One interface. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "iopkt/devn.h"

static const struct devn_host *host;
static uint64_t handle;
static pthread_t thread;
static atomic_int go_on;
static int tx_code, fail_open, keep_thread;
static uint32_t tx_count, tx_len;
static uint8_t tx_frame[DEVN_FRAME_MAX];
static uint32_t promiscuous, allmulticast, mtu;
static uint8_t mac[6];

/* The test's hands. */
int32_t fake_rx_with(uint64_t other, const void *frame, uint32_t len) { return host->rx(other, frame, len); }
uint64_t fake_handle(void) { return handle; }
void fake_set(int code, int fail, int keep) { tx_code = code; fail_open = fail; keep_thread = keep; }
uint64_t fake_sent(void) { return tx_count; }
uint32_t fake_last(uint8_t *to) { memcpy(to, tx_frame, tx_len); return tx_len; }
uint64_t fake_modes(void) { return (uint64_t)mac[5] << 32 | promiscuous << 17 | allmulticast << 16 | mtu; }
void fake_link(void) { host->link_changed(handle); }
void fake_removed(void) { host->removed(handle); }
void fake_log(void) { host->log(handle, DEVN_LOG_INFO, "the driver says so"); }

/* Brings frames until it is told to end. */
static void *reader(void *arg) {
    uint8_t frame[60] = {0};
    (void)arg;
    while (atomic_load(&go_on)) {
        host->rx(handle, frame, sizeof frame);
        usleep(100);
    }
    return NULL;
}
/* A thread that never calls the daemon. */
static void *sleeper(void *arg) {
    (void)arg;
    while (!atomic_load(&go_on))
        usleep(100);
    return NULL;
}
void fake_wake_sleeper(void) {
    atomic_store(&go_on, 1);
    pthread_join(thread, NULL);
}
void fake_thread(void) {
    atomic_store(&go_on, 1);
    pthread_create(&thread, NULL, reader, NULL);
}
void fake_end_thread(void) {
    atomic_store(&go_on, 0);
    pthread_join(thread, NULL);
}

static int32_t fake_open(const struct devn_host *from, uint64_t number, const struct devn_config *config,
                         struct devn_info *info) {
    host = from;
    handle = number;
    tx_count = 0;
    if (fail_open == ECHILD)
        pthread_create(&thread, NULL, sleeper, NULL);
    if (fail_open)
        return -fail_open;
    if (from->abi != DEVN_ABI_VERSION || config->size != sizeof *config || info->size != sizeof *info ||
        strcmp(config->options, "speed=9"))
        return -EINVAL;
    info->mtu = config->mtu ? config->mtu : 9000;
    memcpy(info->mac, "\2\0\0\0\0\7", 6);
    strcpy(info->kernel_interface, "fake0");
    info->device = &tx_count;
    return 0;
}

static void fake_close(void *device) {
    if (device == &tx_count && atomic_load(&go_on) && !keep_thread)
        fake_end_thread();
}

static int32_t fake_tx(void *device, const void *frame, uint32_t len) {
    if (device != &tx_count)
        return -EBADF;
    if (tx_code)
        return -tx_code;
    tx_len = len;
    memcpy(tx_frame, frame, len);
    tx_count++;
    return 0;
}

static int32_t fake_devctl(void *device, uint32_t command, void *data, uint32_t *len,
                           uint32_t room) {
    (void)device;
    switch (command) {
    case DEVN_DEVCTL_PROMISCUOUS:
        promiscuous = *(uint32_t *)data;
        return *len == sizeof promiscuous ? 0 : -EINVAL;
    case DEVN_DEVCTL_MTU:
        mtu = *(uint32_t *)data;
        return *len == sizeof mtu ? 0 : -EINVAL;
    case DEVN_DEVCTL_ALLMULTICAST:
        allmulticast = *(uint32_t *)data;
        return *len == sizeof allmulticast ? 0 : -EINVAL;
    case DEVN_DEVCTL_MAC:
        memcpy(mac, data, sizeof mac);
        return *len == sizeof mac ? 0 : -EINVAL;
    case DEVN_DEVCTL_OWN:
        if (*len != 4 || room < 11)
            return -EINVAL;
        memcpy(data, "four bytes?", *len = 11);
        return 0;
    case DEVN_DEVCTL_LINK:
        ((struct devnp_link *)data)->speed_mbps = 100;
        return 0;
    case DEVN_DEVCTL_STATS: {
        struct devnp_stats *stats = data;
        stats->valid = 1u << DEVNP_STAT_RX_FCS | 1u << DEVNP_STAT_RX_SHORT;
        stats->values[DEVNP_STAT_RX_FCS] = 3;
        stats->values[DEVNP_STAT_RX_SHORT] = 5;
        /* Not said to be valid. */
        stats->values[DEVNP_STAT_RX_MISSED] = 77;
        return 0;
    }
    }
    return -EOPNOTSUPP;
}

const struct devn_driver devn_driver = {
    .magic = DEVN_MAGIC,
    .abi = DEVN_ABI_VERSION,
    .size = sizeof(struct devn_driver),
    .kind = DEVN_KIND_DRIVER,
    .name = "fake",
    .version = "1",
    .options = "speed=NUMBER",
    .open = fake_open,
    .close = fake_close,
    .tx = fake_tx,
    .devctl = fake_devctl,
};
