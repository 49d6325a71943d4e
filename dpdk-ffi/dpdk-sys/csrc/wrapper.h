/* What bindgen reads: DPDK's headers, the shim, and flags whose macros bindgen can't evaluate. */
#pragma once

#include <rte_config.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

#include "shim.h"

#define FLAG(name) static const uint64_t SHIM_##name = RTE_##name

FLAG(MBUF_F_RX_RSS_HASH);
FLAG(MBUF_F_RX_IP_CKSUM_MASK);
FLAG(MBUF_F_RX_IP_CKSUM_BAD);
FLAG(MBUF_F_RX_IP_CKSUM_GOOD);
FLAG(MBUF_F_RX_L4_CKSUM_MASK);
FLAG(MBUF_F_RX_L4_CKSUM_BAD);
FLAG(MBUF_F_RX_L4_CKSUM_GOOD);
FLAG(MBUF_F_TX_IP_CKSUM);
FLAG(MBUF_F_TX_IPV4);
FLAG(MBUF_F_TX_IPV6);
FLAG(MBUF_F_TX_TCP_CKSUM);
FLAG(MBUF_F_TX_TCP_SEG);
FLAG(MBUF_F_TX_UDP_CKSUM);
FLAG(MBUF_F_TX_L4_MASK);
FLAG(MBUF_F_TX_OFFLOAD_MASK);
FLAG(MBUF_F_EXTERNAL);
FLAG(MBUF_F_INDIRECT);

FLAG(ETH_RX_OFFLOAD_IPV4_CKSUM);
FLAG(ETH_RX_OFFLOAD_UDP_CKSUM);
FLAG(ETH_RX_OFFLOAD_TCP_CKSUM);
FLAG(ETH_RX_OFFLOAD_TCP_LRO);
FLAG(ETH_RX_OFFLOAD_SCATTER);
FLAG(ETH_RX_OFFLOAD_RSS_HASH);
FLAG(ETH_TX_OFFLOAD_IPV4_CKSUM);
FLAG(ETH_TX_OFFLOAD_UDP_CKSUM);
FLAG(ETH_TX_OFFLOAD_TCP_CKSUM);
FLAG(ETH_TX_OFFLOAD_TCP_TSO);
FLAG(ETH_TX_OFFLOAD_MULTI_SEGS);
FLAG(ETH_TX_OFFLOAD_MBUF_FAST_FREE);

FLAG(ETH_RSS_IPV4);
FLAG(ETH_RSS_IPV6);
FLAG(ETH_RSS_NONFRAG_IPV4_TCP);
FLAG(ETH_RSS_NONFRAG_IPV4_UDP);
FLAG(ETH_RSS_NONFRAG_IPV6_TCP);
FLAG(ETH_RSS_NONFRAG_IPV6_UDP);

#undef FLAG

static const uint32_t SHIM_ETH_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t SHIM_ETH_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t SHIM_LOG_WARNING = RTE_LOG_WARNING;
static const uint32_t SHIM_LCORE_ID_ANY = LCORE_ID_ANY;
