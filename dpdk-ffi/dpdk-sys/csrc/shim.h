/* Symbols for DPDK's static inlines and per-thread variables, which have none of their own. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_mbuf_ext_shared_info;
struct rte_ring;

/* rte_errno is a thread-local variable. */
int shim_errno(void);
/* LCORE_ID_ANY on a thread that EAL does not know. */
unsigned int shim_lcore_id(void);

/* rte_eal_init that loads no plug-in by itself: only what the arguments name with -d. */
int shim_eal_init(int argc, char **argv);

struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *pool);
/* 0, or -ENOENT and nothing allocated. */
int shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
/* Frees the chain. */
void shim_pktmbuf_free(struct rte_mbuf *mbuf);
/* Frees every chain; NULL entries are skipped. */
void shim_pktmbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int count);
/* The buffers of a pool over external memory are the mbufs' own: none is ever detached. */
void shim_pktmbuf_pool_own(struct rte_mempool *pool);
void shim_pktmbuf_attach_extbuf(struct rte_mbuf *mbuf, void *start, uint64_t iova, uint16_t len,
                                struct rte_mbuf_ext_shared_info *shared);
int shim_pktmbuf_linearize(struct rte_mbuf *mbuf);
/* Copies `len` bytes from `offset` of the chain; the caller has checked that they exist. */
void shim_pktmbuf_copy_out(const struct rte_mbuf *mbuf, uint32_t offset, uint32_t len, void *to);
uint16_t shim_mbuf_refcnt(const struct rte_mbuf *mbuf);

uint16_t shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* The ring of this name, made if there is none: one who puts, one who takes. */
struct rte_ring *shim_ring_create(const char *name, unsigned int count);
unsigned int shim_ring_put(struct rte_ring *ring, void *const *objects, unsigned int count);
unsigned int shim_ring_take(struct rte_ring *ring, void **objects, unsigned int count);

/* The name of the device below a port ("net_tap0"), or NULL. */
const char *shim_eth_device_name(uint16_t port);

/* Sends DPDK's log text to `write`, from the thread that logs. Returns 0 or -1. */
int shim_log_redirect(void (*write)(const char *text, size_t len));
