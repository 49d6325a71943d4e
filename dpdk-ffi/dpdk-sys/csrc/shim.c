#define _GNU_SOURCE
#include <rte_config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "shim.h"

int
shim_errno(void)
{
	return rte_errno;
}

unsigned int
shim_lcore_id(void)
{
	return rte_lcore_id();
}

/* A shared librte_eal loads all of its plug-in folder, some 130 libraries, and has no option against
 * it; but it asks stat64 first whether the folder is there. This definition comes before the C
 * library's, and answers that one question, once, with no. Where librte_eal asks otherwise, all are
 * loaded as ever. */
static _Thread_local bool folder_hidden;

int
stat64(const char *restrict path, struct stat64 *restrict to)
{
	if (folder_hidden && strcmp(path, RTE_EAL_PMD_PATH) == 0) {
		folder_hidden = false;
		errno = ENOENT;
		return -1;
	}
	return fstatat64(AT_FDCWD, path, to, 0);
}

int
shim_eal_init(int argc, char **argv)
{
	folder_hidden = true;
	int code = rte_eal_init(argc, argv);
	folder_hidden = false;
	return code;
}

struct rte_mbuf *
shim_pktmbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int
shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void
shim_pktmbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

void
shim_pktmbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int count)
{
	rte_pktmbuf_free_bulk(mbufs, count);
}

static void
own(struct rte_mempool *pool, void *unused, void *mbuf, unsigned int index)
{
	(void)pool;
	(void)unused;
	(void)index;
	((struct rte_mbuf *)mbuf)->ol_flags &= ~RTE_MBUF_F_EXTERNAL;
}

void
shim_pktmbuf_pool_own(struct rte_mempool *pool)
{
	rte_mempool_obj_iter(pool, own, NULL);
}

void
shim_pktmbuf_attach_extbuf(struct rte_mbuf *mbuf, void *start, uint64_t iova, uint16_t len,
			   struct rte_mbuf_ext_shared_info *shared)
{
	rte_pktmbuf_attach_extbuf(mbuf, start, iova, len, shared);
}

int
shim_pktmbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

void
shim_pktmbuf_copy_out(const struct rte_mbuf *mbuf, uint32_t offset, uint32_t len, void *to)
{
	while (mbuf != NULL && offset >= mbuf->data_len) {
		offset -= mbuf->data_len;
		mbuf = mbuf->next;
	}
	for (; mbuf != NULL && len > 0; mbuf = mbuf->next) {
		uint32_t here = RTE_MIN(len, mbuf->data_len - offset);

		memcpy(to, rte_pktmbuf_mtod_offset(mbuf, const char *, offset), here);
		to = RTE_PTR_ADD(to, here);
		len -= here;
		offset = 0;
	}
}

uint16_t
shim_mbuf_refcnt(const struct rte_mbuf *mbuf)
{
	return rte_mbuf_refcnt_read(mbuf);
}

uint16_t
shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t
shim_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, mbufs, count);
}

uint16_t
shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

struct rte_ring *
shim_ring_create(const char *name, unsigned int count)
{
	struct rte_ring *ring = rte_ring_lookup(name);

	return ring != NULL ? ring :
	       rte_ring_create(name, count, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

unsigned int
shim_ring_put(struct rte_ring *ring, void *const *objects, unsigned int count)
{
	return rte_ring_sp_enqueue_burst(ring, objects, count, NULL);
}

unsigned int
shim_ring_take(struct rte_ring *ring, void **objects, unsigned int count)
{
	return rte_ring_sc_dequeue_burst(ring, objects, count, NULL);
}

const char *
shim_eth_device_name(uint16_t port)
{
	struct rte_eth_dev_info info;

	if (!rte_eth_dev_is_valid_port(port) || rte_eth_dev_info_get(port, &info) != 0 || info.device == NULL)
		return NULL;
	return rte_dev_name(info.device);
}

static void (*log_write)(const char *text, size_t len);

static ssize_t
log_cookie_write(void *cookie, const char *text, size_t len)
{
	(void)cookie;
	log_write(text, len);
	return len;
}

int
shim_log_redirect(void (*write)(const char *text, size_t len))
{
	static const cookie_io_functions_t functions = { .write = log_cookie_write };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream == NULL)
		return -1;
	log_write = write;
	setvbuf(stream, NULL, _IOLBF, BUFSIZ);
	return rte_openlog_stream(stream);
}
