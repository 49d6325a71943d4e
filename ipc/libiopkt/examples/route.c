/*
 * Says what happens to routes, addresses and interfaces, or changes a route:
 *
 *     cc -o route route.c $(pkg-config --cflags --libs iopkt)
 *     ./route
 *     ./route add 203.0.113.0/24 198.18.77.1
 *     ./route get 203.0.113.7
 *
 * Verbs are add, change, delete and get; networks are IPv4's here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <iopkt.h>
#include <iopkt_route.h>

union message {
    char bytes[2048];
    struct rt_msghdr rtm;
    struct if_msghdr ifm;
    struct ifa_msghdr ifam;
    struct if_announcemsghdr ifan;
};

static void print_address(const struct iopkt_sockaddr *sa)
{
    char text[INET6_ADDRSTRLEN] = "?";
    const struct iopkt_sockaddr_dl *dl = (const void *)sa;
    if (sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct iopkt_sockaddr_in *)(const void *)sa)->sin_addr, text, sizeof text);
    else if (sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct iopkt_sockaddr_in6 *)(const void *)sa)->sin6_addr, text, sizeof text);
    else if (sa->sa_family == IOPKT_AF_LINK)
        snprintf(text, sizeof text, "link#%u", dl->sdl_index);
    fputs(text, stdout);
    if (sa->sa_family == IOPKT_AF_LINK)
        for (int n = 0; n < dl->sdl_alen; n++)
            printf("%c%02x", n == 0 ? '=' : ':', dl->sdl_data[dl->sdl_nlen + n]);
}

static void print_addresses(int addrs, void *first)
{
    static const char *const names[IOPKT_RTAX_MAX] = {"dst", "gateway", "netmask", "genmask", "ifp", "ifa", "author", "brd", "tag"};
    struct iopkt_sockaddr *sa = first;
    for (int place = 0; place < IOPKT_RTAX_MAX; place++)
        if (addrs & 1 << place) {
            printf(" %s ", names[place]);
            print_address(sa);
            sa = IOPKT_RT_ADVANCE(sa);
        }
}

static void print_message(union message *m)
{
    static const char *const kinds[] = {"?", "RTM_ADD", "RTM_DELETE", "RTM_CHANGE", "RTM_GET"};
    switch (m->rtm.rtm_type) {
    case IOPKT_RTM_IFANNOUNCE:
        printf("RTM_IFANNOUNCE: if %u %s %s", m->ifan.ifan_index, m->ifan.ifan_name,
               m->ifan.ifan_what == IOPKT_IFAN_ARRIVAL ? "arrival" : "departure");
        break;
    case IOPKT_RTM_IFINFO:
        printf("RTM_IFINFO: if %u flags %#x mtu %d link %s", m->ifm.ifm_index, (unsigned)m->ifm.ifm_flags,
               (int)m->ifm.ifm_data.ifi_mtu, m->ifm.ifm_data.ifi_link_state == IOPKT_LINK_STATE_UP ? "up" : "down");
        print_addresses(m->ifm.ifm_addrs, &m->ifm + 1);
        break;
    case IOPKT_RTM_NEWADDR:
    case IOPKT_RTM_DELADDR:
        printf("%s: if %u", m->rtm.rtm_type == IOPKT_RTM_NEWADDR ? "RTM_NEWADDR" : "RTM_DELADDR", m->ifam.ifam_index);
        print_addresses(m->ifam.ifam_addrs, &m->ifam + 1);
        break;
    case IOPKT_RTM_ADD:
    case IOPKT_RTM_DELETE:
    case IOPKT_RTM_CHANGE:
    case IOPKT_RTM_GET:
        printf("%s: if %u flags %#x seq %d errno %d", kinds[m->rtm.rtm_type], m->rtm.rtm_index, (unsigned)m->rtm.rtm_flags,
               m->rtm.rtm_seq, m->rtm.rtm_errno);
        if (m->rtm.rtm_inits & IOPKT_RTV_MTU)
            printf(" mtu %d", (int)m->rtm.rtm_rmx.rmx_mtu);
        print_addresses(m->rtm.rtm_addrs, &m->rtm + 1);
        break;
    default:
        printf("type %u", m->rtm.rtm_type);
    }
    putchar('\n');
    fflush(stdout);
}

/* The next message; messages that are missing are said to be. */
static int next(int fd, union message *m)
{
    while (iopkt_read(fd, m, sizeof *m) < 0) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (errno == ENOBUFS)
            puts("some messages are missing");
        else if (errno != EAGAIN && errno != EINTR)
            return -1;
        else
            poll(&ready, 1, -1);
        fflush(stdout);
    }
    return 0;
}

static struct iopkt_sockaddr_in *put(struct rt_msghdr *rtm, int bit, struct in_addr address)
{
    struct iopkt_sockaddr_in *sin = (void *)((char *)rtm + rtm->rtm_msglen);
    *sin = (struct iopkt_sockaddr_in){.sin_len = sizeof *sin, .sin_family = AF_INET, .sin_addr = address};
    rtm->rtm_addrs |= bit;
    rtm->rtm_msglen += IOPKT_RT_ROUNDUP(sin->sin_len);
    return sin;
}

static int change(int fd, uint8_t type, char *network, const char *gateway)
{
    union message m = {.rtm = {.rtm_msglen = sizeof m.rtm, .rtm_version = IOPKT_RTM_VERSION, .rtm_type = type, .rtm_seq = 7}};
    char *slash = strchr(network, '/');
    int len = slash ? atoi(slash + 1) : 32;
    struct in_addr address;
    if (slash)
        *slash = '\0';
    if (len < 0 || len > 32 || inet_pton(AF_INET, network, &address) != 1)
        return fprintf(stderr, "route: %s is no network\n", network), 64;
    put(&m.rtm, IOPKT_RTA_DST, address);
    if (gateway && inet_pton(AF_INET, gateway, &address) != 1)
        return fprintf(stderr, "route: %s is no gateway\n", gateway), 64;
    if (gateway) {
        m.rtm.rtm_flags = IOPKT_RTF_UP | IOPKT_RTF_GATEWAY | IOPKT_RTF_STATIC;
        put(&m.rtm, IOPKT_RTA_GATEWAY, address);
    }
    address.s_addr = len == 0 ? 0 : htonl(0xffffffffu << (32 - len));
    if (slash)
        put(&m.rtm, IOPKT_RTA_NETMASK, address);
    int failed = iopkt_write(fd, &m, m.rtm.rtm_msglen) < 0;
    if (failed)
        fprintf(stderr, "route: %s: %s\n", network, strerror(errno));
    while (next(fd, &m) == 0)
        if (m.rtm.rtm_type <= IOPKT_RTM_GET && m.rtm.rtm_pid == getpid()) {
            print_message(&m);
            return failed;
        }
    return 1;
}

int main(int argc, char **argv)
{
    static const char *const verbs[] = {"add", "delete", "change", "get"};
    int fd = iopkt_route_socket(argc > 1 ? AF_INET : 0);
    if (fd < 0) {
        fprintf(stderr, "route: socket: %s (is io-pkt running?)\n", strerror(errno));
        return 1;
    }
    for (int verb = 0; argc > 2 && verb < 4; verb++)
        if (strcmp(argv[1], verbs[verb]) == 0)
            return change(fd, (uint8_t)(IOPKT_RTM_ADD + verb), argv[2], argv[3]);
    if (argc > 1)
        return fprintf(stderr, "route: add, change, delete or get, and a network\n"), 64;
    iopkt_fcntl(fd, F_SETFL, O_NONBLOCK);
    union message m;
    while (next(fd, &m) == 0)
        print_message(&m);
    fprintf(stderr, "route: %s\n", strerror(errno));
    return 1;
}
