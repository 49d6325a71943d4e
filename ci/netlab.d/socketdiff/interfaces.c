/* Which interfaces there are: lists, names, numbers, and the questions of netdevice(7). Numbers and hardware
 * addresses are each side's own, and lo is called lo0 on the stack: of these only the relations are said. */
#include "socketdiff.h"
#include <ifaddrs.h>
#include <net/if_arp.h>
#include <netpacket/packet.h>

#define LINK "tap0"

static const char *text(const struct sockaddr *name)
{
    static char room[4][64];
    static int turn;
    char *into = room[turn++ % 4];
    if (!name)
        return "none";
    if (name->sa_family == AF_INET)
        return inet_ntop(AF_INET, &((struct sockaddr_in *)name)->sin_addr, into, 64);
    if (name->sa_family == AF_PACKET) {
        const struct sockaddr_ll *link = (const void *)name;
        sprintf(into, "link, hatype %d, halen %d, protocol %d", link->sll_hatype, link->sll_halen, link->sll_protocol);
        return into;
    }
    return "?";
}

static const char *called(const char *name, unsigned flags) { return flags & IFF_LOOPBACK ? "loopback" : name; }

/* Of IPv6 the loopback's address alone is the same on both sides. */
static int is_shown(const struct ifaddrs *at)
{
    return at->ifa_addr && (at->ifa_addr->sa_family == AF_INET || at->ifa_addr->sa_family == AF_PACKET);
}

CASE(interfaces, getifaddrs)
{
    struct ifaddrs *list = NULL;
    NEED(getifaddrs(&list));
    for (struct ifaddrs *at = list; at; at = at->ifa_next)
        if (is_shown(at))
            say("%s, flags %x: %s, mask %s, broadcast %s, data %d", called(at->ifa_name, at->ifa_flags),
                at->ifa_flags, text(at->ifa_addr), text(at->ifa_netmask), text(at->ifa_broadaddr), !!at->ifa_data);
    freeifaddrs(list);
}

CASE(interfaces, getifaddrs_has_link_local_scopes)
{
    struct ifaddrs *list = NULL;
    int wrong = 0;
    NEED(getifaddrs(&list));
    for (struct ifaddrs *at = list; at; at = at->ifa_next) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)at->ifa_addr;
        if (!six || six->sin6_family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
            continue;
        wrong += six->sin6_scope_id != if_nametoindex(at->ifa_name);
    }
    freeifaddrs(list);
    say("scopes that are not the numbers of their links: %d", wrong);
}

CASE(interfaces, nameindex)
{
    struct if_nameindex *list = if_nameindex();
    int count = 0;
    if (!list) {
        say("if_nameindex: %s", error_name(errno));
        return;
    }
    for (; list[count].if_name; count++) {
        char name[IF_NAMESIZE];
        say("name to number and back: %d %d", if_nametoindex(list[count].if_name) == list[count].if_index,
            if_indextoname(list[count].if_index, name) == name && !strcmp(name, list[count].if_name));
    }
    say("count %d, last number %u", count, list[count].if_index);
    if_freenameindex(list);
}

CASE(interfaces, unknown_names)
{
    char name[IF_NAMESIZE];
    errno = 0;
    say("if_nametoindex: %u, %s", if_nametoindex("nonesuch7"), error_name(errno));
    errno = 0;
    say("if_nametoindex of nothing: %u, %s", if_nametoindex(""), error_name(errno));
    errno = 0;
    say("if_indextoname: %d, %s", if_indextoname(4711, name) == NULL, error_name(errno));
    errno = 0;
    say("if_indextoname of 0: %d, %s", if_indextoname(0, name) == NULL, error_name(errno));
}

static int ask(int fd, const char *what, unsigned long request, const char *name, struct ifreq *asked)
{
    memset(asked, 0, sizeof *asked);
    strcpy(asked->ifr_name, name);
    errno = 0;
    int r = ioctl(fd, request, asked);
    if (r < 0)
        say("%s of %s: %s", what, name, error_name(errno));
    return r;
}

static void questions(int fd)
{
    struct ifreq asked;
    if (!ask(fd, "SIOCGIFFLAGS", SIOCGIFFLAGS, LINK, &asked))
        say("flags %x", (unsigned short)asked.ifr_flags);
    if (!ask(fd, "SIOCGIFADDR", SIOCGIFADDR, LINK, &asked))
        say("address %s, port %d", text(&asked.ifr_addr), ((struct sockaddr_in *)&asked.ifr_addr)->sin_port);
    if (!ask(fd, "SIOCGIFNETMASK", SIOCGIFNETMASK, LINK, &asked))
        say("mask %s", text(&asked.ifr_netmask));
    if (!ask(fd, "SIOCGIFBRDADDR", SIOCGIFBRDADDR, LINK, &asked))
        say("broadcast %s", text(&asked.ifr_broadaddr));
    if (!ask(fd, "SIOCGIFDSTADDR", SIOCGIFDSTADDR, LINK, &asked))
        say("destination %s", text(&asked.ifr_dstaddr));
    if (!ask(fd, "SIOCGIFMTU", SIOCGIFMTU, LINK, &asked))
        say("mtu %d", asked.ifr_mtu);
    if (!ask(fd, "SIOCGIFMETRIC", SIOCGIFMETRIC, LINK, &asked))
        say("metric %d", asked.ifr_metric);
    if (!ask(fd, "SIOCGIFHWADDR", SIOCGIFHWADDR, LINK, &asked))
        say("hardware %d, of one station %d", asked.ifr_hwaddr.sa_family, !(asked.ifr_hwaddr.sa_data[0] & 1));
    if (!ask(fd, "SIOCGIFINDEX", SIOCGIFINDEX, LINK, &asked)) {
        say("number as by name: %d", (unsigned)asked.ifr_ifindex == if_nametoindex(LINK));
        int r = ioctl(fd, SIOCGIFNAME, &asked);
        say("and back: %d, %s", r, asked.ifr_name);
    }
}

CASE(ioctl, interface_stream) { questions(stream()); }
CASE(ioctl, interface_datagram) { questions(datagram()); }
CASE(ioctl, interface_inet6) { questions(NEED(socket(AF_INET6, SOCK_DGRAM, 0))); }

CASE(ioctl, interface_unknown)
{
    static const unsigned long requests[] = {SIOCGIFFLAGS, SIOCGIFADDR,   SIOCGIFNETMASK, SIOCGIFBRDADDR, SIOCGIFMTU,
                                             SIOCGIFMETRIC, SIOCGIFHWADDR, SIOCGIFINDEX,   SIOCGIFDSTADDR};
    int fd = datagram();
    struct ifreq asked;
    for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++)
        ask(fd, "a question", requests[i], "nonesuch7", &asked);
    ask(fd, "a question", SIOCGIFMTU, "", &asked);
    asked.ifr_ifindex = 4711;
    TRY(ioctl(fd, SIOCGIFNAME, &asked));
    TRY(ioctl(fd, SIOCGIFMTU, NULL));
    TRY(ioctl(fd, SIOCGIFCONF, NULL));
}

CASE(ioctl, interface_loopback)
{
    struct ifaddrs *list = NULL;
    struct ifreq asked;
    int fd = datagram();
    NEED(getifaddrs(&list));
    for (struct ifaddrs *at = list; at; at = at->ifa_next) {
        if (!(at->ifa_flags & IFF_LOOPBACK) || at->ifa_addr->sa_family != AF_INET)
            continue;
        memset(&asked, 0, sizeof asked);
        strcpy(asked.ifr_name, at->ifa_name);
        TRY(ioctl(fd, SIOCGIFHWADDR, &asked));
        say("hardware %d", asked.ifr_hwaddr.sa_family);
        TRY(ioctl(fd, SIOCGIFFLAGS, &asked));
        say("flags %x", (unsigned short)asked.ifr_flags);
        TRY(ioctl(fd, SIOCGIFMTU, &asked));
        say("mtu %d", asked.ifr_mtu);
        TRY(ioctl(fd, SIOCGIFBRDADDR, &asked));
        say("broadcast %s", text(&asked.ifr_broadaddr));
    }
}

CASE(ioctl, interface_list)
{
    struct ifreq room[8];
    struct ifconf list = {.ifc_len = 0, .ifc_req = NULL};
    int fd = stream();
    TRY(ioctl(fd, SIOCGIFCONF, &list));
    say("needs %zu entries", list.ifc_len / sizeof *room);
    for (int places = 0; places <= 3; places++) {
        list = (struct ifconf){.ifc_len = places * sizeof *room + 5, .ifc_req = room};
        TRY(ioctl(fd, SIOCGIFCONF, &list));
        say("room for %d: %d bytes", places, list.ifc_len);
    }
    for (unsigned i = 0; i < list.ifc_len / sizeof *room; i++)
        say("%s: %s", strncmp(room[i].ifr_name, "lo", 2) ? room[i].ifr_name : "loopback", text(&room[i].ifr_addr));
    list = (struct ifconf){.ifc_len = -1, .ifc_req = room};
    TRY(ioctl(fd, SIOCGIFCONF, &list));
}

/* What a datagram came by is told in the same numbers. */
CASE(interfaces, packet_info_has_their_numbers)
{
    int fd = bound(SOCK_DGRAM, port(0));
    set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    int id = NEED(peer_udp(port(1)));
    peer_sendto(id, port(0), "x", 1);
    await(fd, POLLIN);
    char data[8], control[256], name[IF_NAMESIZE] = "";
    struct iovec iov = {data, sizeof data};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    TRY(recvmsg(fd, &message, MSG_DONTWAIT));
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(at), sizeof info);
        say("by %s", if_indextoname(info.ipi_ifindex, name) ? name : error_name(errno));
        say("as by name: %d", if_nametoindex(LINK) == (unsigned)info.ipi_ifindex);
    }
}
