/* Per-packet driver for tests: misbehaves as its options say.
 *
 *     fail          open returns -EIO            threads=N  from N threads at once
 *     flood=N       brings N frames at once      late       close leaves a thread that goes on
 *     long, short   frames of a wrong length    stall      they come while tx keeps the worker
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "iopkt/devn.h"

enum { THREADS_MAX = 16 };

struct faulty {
    const struct devn_host *host;
    uint64_t handle;
    unsigned long frames;
    int threads, late, stall;
    uint32_t len;
    atomic_int sending, done, end;
    _Atomic uint64_t taken, refused;
    pthread_t thread[THREADS_MAX];
};

static void *bring(void *arg) {
    struct faulty *f = arg;
    static const uint8_t frame[1 << 17] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
    while (f->stall && !atomic_load(&f->sending) && !atomic_load(&f->end))
        usleep(100);
    /* Brought before the interface is started they would not be counted. */
    int32_t said;
    while ((said = f->host->rx(f->handle, frame, 60)) == -ENETDOWN)
        usleep(100);
    for (unsigned long n = 0; n < f->frames; n++) {
        atomic_fetch_add(said ? &f->refused : &f->taken, 1);
        said = f->host->rx(f->handle, frame, f->len);
    }
    atomic_fetch_add(said ? &f->refused : &f->taken, 1);
    atomic_fetch_add(&f->done, 1);
    while (f->late || !atomic_load(&f->end)) {
        if (f->late)
            f->host->rx(f->handle, frame, 60);
        usleep(1000);
    }
    return NULL;
}

static int32_t faulty_open(const struct devn_host *host, uint64_t handle,
                           const struct devn_config *config, struct devn_info *info) {
    char *const keys[] = {"fail", "flood", "long", "short", "threads", "late", "stall", NULL};
    char *copy = strdup(config->options), *rest = copy, *value;
    struct faulty *f = calloc(1, sizeof *f);
    f->host = host;
    f->handle = handle;
    f->threads = 1;
    f->len = 60;
    int fail = 0;
    while (*rest) {
        switch (getsubopt(&rest, keys, &value)) {
        case 0: fail = 1; break;
        case 1: f->frames = strtoul(value, NULL, 10); break;
        case 2: f->len = 100000; break;
        case 3: f->len = 13; break;
        case 4: f->threads = atoi(value); break;
        case 5: f->late = 1; break;
        case 6: f->stall = 1; break;
        }
    }
    free(copy);
    if (fail) {
        free(f);
        return -EIO;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int n = 0; n < f->threads; n++)
        pthread_create(&f->thread[n], NULL, bring, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    info->device = f;
    return 0;
}

static void faulty_close(void *device) {
    struct faulty *f = device;
    if (f->late)
        return;
    atomic_store(&f->end, 1);
    for (int n = 0; n < f->threads; n++)
        pthread_join(f->thread[n], NULL);
    free(f);
}

static int32_t faulty_tx(void *device, const void *frame, uint32_t len) {
    struct faulty *f = device;
    (void)frame;
    (void)len;
    atomic_store(&f->sending, 1);
    while (f->stall && atomic_load(&f->done) < f->threads)
        usleep(100);
    return -EIO;
}

static int32_t faulty_devctl(void *device, uint32_t command, void *data, uint32_t *len,
                             uint32_t room) {
    struct faulty *f = device;
    if (command == DEVN_DEVCTL_OWN && *len < room) {
        ((char *)data)[(*len)++] = '!';
        return 0;
    }
    if (command != DEVN_DEVCTL_STATS)
        return -EOPNOTSUPP;
    struct devnp_stats *stats = data;
    /* What it has counted itself, for the test to compare. */
    stats->values[DEVNP_STAT_RX_MULTICAST] = atomic_load(&f->taken);
    stats->values[DEVNP_STAT_RX_BROADCAST] = atomic_load(&f->refused);
    stats->valid = 1ull << DEVNP_STAT_RX_MULTICAST | 1ull << DEVNP_STAT_RX_BROADCAST;
    return 0;
}

#ifndef SINGLE
#define SINGLE 0
#endif

const struct devn_driver devn_driver = {
    .magic = DEVN_MAGIC,
    .abi = DEVN_ABI_VERSION,
    .size = sizeof(struct devn_driver),
    .kind = DEVN_KIND_DRIVER,
    .flags = SINGLE ? DEVN_FLAG_SINGLE_INSTANCE : 0,
    .name = "bad",
    .version = "1",
    .options = "fail flood=NUMBER long short threads=NUMBER late stall",
    .open = faulty_open,
    .close = faulty_close,
    .tx = faulty_tx,
    .devctl = faulty_devctl,
};
