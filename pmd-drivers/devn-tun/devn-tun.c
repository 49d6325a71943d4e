/* Per-packet driver: a tap of the kernel, read by a thread of its own, one frame at a time.
 *
 *     cc -O2 -Wall -Wextra -shared -fPIC -pthread -I pmd-drivers/include -o devn-tun.so devn-tun.c
 *     io-pkt -d $PWD/devn-tun.so iface=iop0,address=198.18.77.2/24
 *
 * This is how drivers of io-net were made, and the example of how to port one: pmd-drivers/README.md.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "iopkt/devn.h"

enum { MTU = 1500 };

struct tun {
    const struct devn_host *host;
    uint64_t handle;
    int fd, end;
    pthread_t reader;
    _Atomic uint64_t multicast, broadcast, no_carrier;
};

static void say(struct tun *t, int32_t level, const char *what, int error) {
    char text[160];
    snprintf(text, sizeof text, "%s: %s", what, strerror(error));
    t->host->log(t->handle, level, text);
}

/* Brings frames until `end` is readable. */
static void *read_frames(void *arg) {
    struct tun *t = arg;
    uint8_t frame[DEVN_FRAME_MAX + 1];
    struct pollfd wait[2] = {{.fd = t->fd, .events = POLLIN}, {.fd = t->end, .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            break;
        if (wait[1].revents)
            return NULL;
        ssize_t n;
        while ((n = read(t->fd, frame, sizeof frame)) > 0) {
            if (frame[0] & 1) {
                static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
                atomic_fetch_add(memcmp(frame, all, 6) ? &t->multicast : &t->broadcast, 1);
            }
            /* What the queue has no room for is dropped, and counted there. */
            t->host->rx(t->handle, frame, (uint32_t)n);
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            break; /* the tap was deleted */
    }
    t->host->removed(t->handle);
    return NULL;
}

static void forget(struct tun *t) {
    if (t->fd >= 0)
        close(t->fd);
    if (t->end >= 0)
        close(t->end);
    free(t);
}

/* The value of iface=, which is the only option. */
static int interface_name(const char *options, char *name) {
    static char *const keys[] = {"iface", NULL};
    char *copy = strdup(options), *rest = copy, *value;
    int code = copy ? 0 : -ENOMEM;
    while (rest && *rest && !code) {
        if (getsubopt(&rest, keys, &value) != 0 || !value || strlen(value) >= IFNAMSIZ)
            code = -EINVAL;
        else
            strcpy(name, value);
    }
    free(copy);
    return code;
}

static int32_t tun_open(const struct devn_host *host, uint64_t handle,
                        const struct devn_config *config, struct devn_info *info) {
    struct ifreq ifr = {.ifr_name = "iop%d"};
    int error = interface_name(config->options, ifr.ifr_name);
    if (error)
        return error;
    struct tun *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->host = host;
    t->handle = handle;
    t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    t->end = eventfd(0, EFD_CLOEXEC);
    ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (t->fd < 0 || t->end < 0 || ioctl(t->fd, TUNSETIFF, &ifr) < 0) {
        error = -errno;
        say(t, DEVN_LOG_ERROR, ifr.ifr_name, -error);
        forget(t);
        return error;
    }
    /* The daemon's signals are not for this thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = -pthread_create(&t->reader, NULL, read_frames, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        forget(t);
        return error;
    }
    info->mtu = config->mtu && config->mtu < MTU ? config->mtu : MTU;
    memcpy(info->kernel_interface, ifr.ifr_name, sizeof info->kernel_interface);
    info->device = t;
    return 0;
}

static void tun_close(void *device) {
    struct tun *t = device;
    eventfd_write(t->end, 1);
    pthread_join(t->reader, NULL);
    forget(t);
}

static int32_t tun_tx(void *device, const void *frame, uint32_t len) {
    struct tun *t = device;
    if (write(t->fd, frame, len) >= 0)
        return 0;
    if (errno != EIO)
        return -errno;
    /* The kernel's end is down: lost on the wire. */
    atomic_fetch_add(&t->no_carrier, 1);
    return 0;
}

static int32_t tun_devctl(void *device, uint32_t command, void *data, uint32_t *len,
                          uint32_t room) {
    struct tun *t = device;
    (void)len;
    (void)room;
    switch (command) {
    case DEVN_DEVCTL_STATS: {
        struct devnp_stats *stats = data;
        stats->values[DEVNP_STAT_RX_MULTICAST] = atomic_load(&t->multicast);
        stats->values[DEVNP_STAT_RX_BROADCAST] = atomic_load(&t->broadcast);
        stats->values[DEVNP_STAT_TX_NO_CARRIER] = atomic_load(&t->no_carrier);
        stats->valid = 1ull << DEVNP_STAT_RX_MULTICAST | 1ull << DEVNP_STAT_RX_BROADCAST |
                       1ull << DEVNP_STAT_TX_NO_CARRIER;
        return 0;
    }
    case DEVN_DEVCTL_MTU:
        return *(uint32_t *)data <= MTU ? 0 : -EINVAL;
    case DEVN_DEVCTL_PROMISCUOUS:
    case DEVN_DEVCTL_MAC:
        return 0; /* a tap hears everything */
    }
    return -EOPNOTSUPP;
}

const struct devn_driver devn_driver = {
    .magic = DEVN_MAGIC,
    .abi = DEVN_ABI_VERSION,
    .size = sizeof(struct devn_driver),
    .kind = DEVN_KIND_DRIVER,
    .name = "tun",
    .version = "1",
    .options = "iface=NAME",
    .open = tun_open,
    .close = tun_close,
    .tx = tun_tx,
    .devctl = tun_devctl,
};
