/*
 * An application of DPDK at an interface of io-pkt: it drops datagrams to port 9, changes those to port 7, and sends a
 * frame of its own. It attaches as a secondary process; iopkt starts it, and the daemon has it back when it ends:
 *
 *   cc -O2 $(pkg-config --cflags libdpdk) packet_app.c -o packet_app $(pkg-config --libs libdpdk)
 *   iopkt rings tap0 -- ./packet_app
 *
 * The daemon has [eal] multi_process = true, and the interface packet_rings = "both". For each of the worker's queues named
 * in IOPKT_RINGS there are four rings with one who puts and one who takes:
 *
 *   NAME.show    packets; each goes back by
 *   NAME.pass    if it is to go on, changed or not, or by
 *   NAME.drop    if it is not
 *   NAME.blank   empty buffers for packets of our own, which leave by NAME.pass
 *
 * A buffer is never freed here, and none allocated: those that this process has are the daemon's, which takes them back
 * if it dies. One buffer is one packet; what is set of it is data_off and data_len.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_udp.h>

#define BURST 32
#define QUEUES_MAX 64
#define OUR_ETHER_TYPE 0x88b5 /* IEEE's first one for experiments. */

struct queue {
	struct rte_ring *show, *pass, *drop, *blank;
	int sends;
};

static struct rte_ring *
ring(const char *queue, const char *what)
{
	char name[RTE_RING_NAMESIZE];
	struct rte_ring *found;

	snprintf(name, sizeof(name), "%s.%s", queue, what);
	found = rte_ring_lookup(name);
	if (found == NULL) {
		fprintf(stderr, "no ring %s\n", name);
		exit(1);
	}
	return found;
}

/* The UDP header of an IPv4 packet that has one in this buffer. */
static struct rte_udp_hdr *
udp(struct rte_mbuf *packet)
{
	struct rte_ether_hdr *ether = rte_pktmbuf_mtod(packet, struct rte_ether_hdr *);
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(ether + 1);
	size_t room = packet->data_len, ip_len;

	if (room < sizeof(*ether) + sizeof(*ip) || ether->ether_type != rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4))
		return NULL;
	ip_len = (ip->version_ihl & 15) * 4;
	if (ip->next_proto_id != IPPROTO_UDP || room < sizeof(*ether) + ip_len + sizeof(struct rte_udp_hdr) + 1)
		return NULL;
	return RTE_PTR_ADD(ip, ip_len);
}

/* Is the packet to go on? */
static int
judge(struct rte_mbuf *packet)
{
	struct rte_udp_hdr *header = udp(packet);

	if (header == NULL)
		return 1;
	if (header->dst_port == rte_cpu_to_be_16(7)) {
		*(char *)(header + 1) = '!';
		header->dgram_cksum = 0; /* None, which IPv4 allows. */
	}
	return header->dst_port != rte_cpu_to_be_16(9);
}

/* Sends a frame of our own; 0 if there is no buffer for it yet. */
static int
greet(const struct queue *queue)
{
	static const char text[46] = "an application was here";
	struct rte_mbuf *packet;
	struct rte_ether_hdr *ether;

	if (rte_ring_sc_dequeue(queue->blank, (void **)&packet) != 0)
		return 0;
	packet->data_len = sizeof(*ether) + sizeof(text);
	ether = rte_pktmbuf_mtod(packet, struct rte_ether_hdr *);
	memset(&ether->dst_addr, 0xff, sizeof(ether->dst_addr));
	memset(&ether->src_addr, 2, sizeof(ether->src_addr));
	ether->ether_type = rte_cpu_to_be_16(OUR_ETHER_TYPE);
	memcpy(ether + 1, text, sizeof(text));
	return rte_ring_sp_enqueue(queue->pass, packet) == 0;
}

static unsigned int
attend(const struct queue *queue)
{
	struct rte_mbuf *packets[BURST];
	unsigned int count = rte_ring_sc_dequeue_burst(queue->show, (void **)packets, BURST, NULL);

	for (unsigned int i = 0; i < count; i++)
		/* Both have room for all buffers that are out. */
		(void)rte_ring_sp_enqueue(judge(packets[i]) ? queue->pass : queue->drop, packets[i]);
	return count;
}

int
main(void)
{
	const char *rings = getenv("IOPKT_RINGS"), *prefix = getenv("IOPKT_FILE_PREFIX");
	char file_prefix[128], *names, *name;
	char *arguments[] = { "packet_app", "--proc-type=secondary", file_prefix, "--no-pci", "--log-level=error", "-l0", NULL };
	struct queue queues[QUEUES_MAX];
	int count = 0, greeted = 0;

	if (rings == NULL || prefix == NULL) {
		fprintf(stderr, "start it with: iopkt rings INTERFACE -- packet_app\n");
		return 64;
	}
	snprintf(file_prefix, sizeof(file_prefix), "--file-prefix=%s", prefix);
	if (rte_eal_init(RTE_DIM(arguments) - 1, arguments) < 0)
		return 1;
	names = strdup(rings);
	for (name = strtok(names, " "); name != NULL && count < QUEUES_MAX; name = strtok(NULL, " "))
		queues[count++] = (struct queue){ ring(name, "show"), ring(name, "pass"), ring(name, "drop"),
						  ring(name, "blank"), strstr(name, ".tx") != NULL };
	printf("ready: %s\n", rings);
	fflush(stdout);
	for (;;) {
		unsigned int worked = 0;

		for (int i = 0; i < count; i++) {
			worked += attend(&queues[i]);
			if (!greeted && queues[i].sends)
				greeted = greet(&queues[i]);
		}
		if (worked == 0)
			usleep(50);
	}
}
