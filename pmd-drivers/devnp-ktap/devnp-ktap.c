/* Driver module in C: a tap of the kernel, with checksums left to whoever has to compute them.
 *
 *     cc -O2 -Wall -Wextra -shared -fPIC -I pmd-drivers/include -o devnp-ktap.so devnp-ktap.c
 *     io-pkt -d $PWD/devnp-ktap.so iface=iop0,address=198.18.77.2/24
 *
 * One interface is one tap with a queue per worker. Each frame has a virtio_net_hdr before it
 * (IFF_VNET_HDR): outgoing frames say "sum from here to there", incoming ones say that their sum is
 * right or need not be. So neither side sums what only crosses memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "iopkt/devnp.h"

enum { QUEUES_MAX = 16, PIECES_MAX = 16, MTU = 1500 };

struct ktap {
    const struct devnp_api *api;
    const struct devnp_host *host;
    uint16_t queues;
    int fd[QUEUES_MAX];
    /* Each queue's packets without one to read into. One writer each. */
    uint64_t no_buffer[QUEUES_MAX];
    uint64_t not_sent[QUEUES_MAX];
    /* A buffer that a read found no frame for. */
    struct devnp_mbuf *spare[QUEUES_MAX];
};

static void say(struct ktap *k, int32_t level, const char *what, int error) {
    char text[160];
    snprintf(text, sizeof text, "%s: %s", what, strerror(error));
    k->api->log(k->host, level, text);
}

static void ktap_close(void *device) {
    struct ktap *k = device;
    for (uint16_t q = 0; q < k->queues; q++) {
        if (k->spare[q])
            k->api->free(&k->spare[q], 1);
        if (k->fd[q] >= 0)
            close(k->fd[q]);
    }
    free(k);
}

/* One queue of the tap: 0, or a negative errno. */
static int open_queue(struct ktap *k, uint16_t q, struct ifreq *ifr) {
    int header = sizeof(struct virtio_net_hdr);
    unsigned int offload = TUN_F_CSUM;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    k->fd[q] = fd;
    ifr->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (k->queues > 1 ? IFF_MULTI_QUEUE : 0);
    if (ioctl(fd, TUNSETIFF, ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, offload) < 0)
        return -errno;
    return 0;
}

static int ktap_open(const struct devnp_api *api, const struct devnp_host *host,
                     const struct devnp_config *config, struct devnp_info *info) {
    struct ifreq ifr = {0};
    ssize_t len = api->option(host, "iface", ifr.ifr_name, sizeof ifr.ifr_name);
    if (len == -2 || config->queues > QUEUES_MAX)
        return -EINVAL;
    if (len <= 0)
        strcpy(ifr.ifr_name, "iop%d");
    struct ktap *k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->api = api;
    k->host = host;
    k->queues = config->queues;
    memset(k->fd, -1, sizeof k->fd);
    for (uint16_t q = 0; q < k->queues; q++) {
        int error = open_queue(k, q, &ifr);
        if (error) {
            say(k, DEVNP_LOG_ERROR, ifr.ifr_name, -error);
            ktap_close(k);
            return error;
        }
    }
    info->queues = k->queues;
    info->mtu = config->mtu && config->mtu < MTU ? config->mtu : MTU;
    info->mtu_max = MTU;
    info->offloads =
        DEVNP_OFFLOAD_TCP_CHECKSUM | DEVNP_OFFLOAD_UDP_CHECKSUM | DEVNP_OFFLOAD_MULTI_SEGMENT;
    memcpy(info->kernel_interface, ifr.ifr_name, sizeof info->kernel_interface);
    info->device = k;
    return 0;
}

static int32_t ktap_start(void *device) {
    (void)device;
    return 0;
}

static void ktap_stop(void *device) {
    (void)device;
}

static uint16_t ktap_rx_burst(void *device, uint16_t q, struct devnp_mbuf **packets,
                              uint16_t count) {
    struct ktap *k = device;
    const struct devnp_api *api = k->api;
    uint16_t got = 0;
    while (got < count) {
        struct devnp_mbuf *packet = k->spare[q];
        k->spare[q] = NULL;
        if (!packet && api->alloc(k->host, &packet, 1) != 0) {
            k->no_buffer[q]++;
            break;
        }
        struct virtio_net_hdr header;
        struct iovec to[2] = {{&header, sizeof header}, {api->data(packet), api->room(packet)}};
        ssize_t n = readv(k->fd[q], to, 2);
        if (n <= (ssize_t)sizeof header || api->set_len(packet, n - sizeof header) != 0) {
            k->spare[q] = packet;
            break;
        }
        /* NEEDS_CSUM: the sum was left to hardware and the text is right. */
        if (header.flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID))
            api->set_rx(packet, DEVNP_RX_L4_GOOD);
        packets[got++] = packet;
    }
    return got;
}

static uint16_t ktap_tx_burst(void *device, uint16_t q, struct devnp_mbuf **packets,
                              uint16_t count) {
    struct ktap *k = device;
    const struct devnp_api *api = k->api;
    uint16_t sent = 0;
    for (; sent < count; sent++) {
        struct virtio_net_hdr header = {0};
        struct iovec from[PIECES_MAX + 1] = {{&header, sizeof header}};
        struct devnp_tx_request ask;
        api->tx_request(packets[sent], &ask);
        if (ask.flags & (DEVNP_TX_TCP_CHECKSUM | DEVNP_TX_UDP_CHECKSUM)) {
            header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
            header.csum_start = ask.l2_len + ask.l3_len;
            /* Where the sum is in a TCP and in a UDP header. */
            header.csum_offset = ask.flags & DEVNP_TX_TCP_CHECKSUM ? 16 : 6;
        }
        uint16_t pieces = api->pieces(packets[sent], (struct devnp_piece *)&from[1], PIECES_MAX);
        ssize_t n = pieces ? writev(k->fd[q], from, pieces + 1) : -1;
        if (n < 0 && pieces && errno == EAGAIN)
            break;
        if (n < 0)
            /* The tap is down, or the frame has more pieces than anything makes: lost. */
            k->not_sent[q]++;
    }
    if (sent)
        api->free(packets, sent);
    return sent;
}

static int32_t ktap_rx_fd(void *device, uint16_t q) {
    struct ktap *k = device;
    return q < k->queues ? k->fd[q] : -1;
}

static int32_t ktap_stats(void *device, struct devnp_stats *stats) {
    struct ktap *k = device;
    for (uint16_t q = 0; q < k->queues; q++) {
        stats->values[DEVNP_STAT_RX_NO_BUFFER] += k->no_buffer[q];
        stats->values[DEVNP_STAT_TX_INTERNAL] += k->not_sent[q];
    }
    stats->valid = 1ull << DEVNP_STAT_RX_NO_BUFFER | 1ull << DEVNP_STAT_TX_INTERNAL;
    return 0;
}

static int32_t ktap_set_mtu(void *device, uint16_t mtu) {
    (void)device;
    return mtu <= MTU ? 0 : -EINVAL;
}

const struct devnp_module devnp_module = {
    .magic = DEVNP_MAGIC,
    .abi = DEVNP_ABI_VERSION,
    .size = sizeof(struct devnp_module),
    .kind = DEVNP_KIND_DRIVER,
    .threading = DEVNP_THREADING_QUEUE,
    .name = "ktap",
    .version = "1",
    .options = "iface=NAME",
    .open = ktap_open,
    .close = ktap_close,
    .start = ktap_start,
    .stop = ktap_stop,
    .rx_burst = ktap_rx_burst,
    .tx_burst = ktap_tx_burst,
    .rx_fd = ktap_rx_fd,
    .stats = ktap_stats,
    .set_mtu = ktap_set_mtu,
};
