/*
 * The library on descriptors that are not a stack's, and without a stack: every function is there with
 * the signature of the header, and does what the kernel does. Prints "ok".
 */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <iopkt.h>
#include <iopkt_route.h>

/* As src/driver.rs has them. */
_Static_assert(SIOCSDRVSPEC == 0x4028697b && SIOCGDRVSPEC == 0xc028697b && SIOCGDRVCOM == 0xc02869f0, "numbers");
_Static_assert(offsetof(struct iopkt_nic_config, mtu) == 38 && sizeof(struct iopkt_nic_config) == 52, "what is known");
_Static_assert(offsetof(struct iopkt_nic_stats, fcs_errors) == 12 * 8 && sizeof(struct iopkt_nic_stats) == 31 * 8, "counters");

static void transfer(int a, int b)
{
    char in[16];
    struct iovec out_list[2] = {{"he", 2}, {"llo", 3}};
    struct iovec in_list = {in, sizeof in};
    struct msghdr out_msg = {.msg_iov = out_list, .msg_iovlen = 2};
    struct msghdr in_msg = {.msg_iov = &in_list, .msg_iovlen = 1};
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    int waiting = 0;

    assert(iopkt_write(a, "hello", 5) == 5);
    assert(iopkt_ioctl(b, FIONREAD, &waiting) == 0 && waiting == 5);
    assert(iopkt_read(b, in, sizeof in) == 5);
    assert(iopkt_writev(a, out_list, 2) == 5);
    assert(iopkt_readv(b, &in_list, 1) == 5 && memcmp(in, "hello", 5) == 0);
    assert(iopkt_send(a, "hello", 5, MSG_NOSIGNAL) == 5);
    assert(iopkt_recv(b, in, sizeof in, 0) == 5);
    assert(iopkt_sendto(a, "hello", 5, 0, NULL, 0) == 5);
    assert(iopkt_recvfrom(b, in, sizeof in, 0, (struct sockaddr *)&from, &from_len) == 5);
    assert(iopkt_sendmsg(a, &out_msg, 0) == 5);
    assert(iopkt_recvmsg(b, &in_msg, 0) == 5);
    assert(iopkt_recv(b, in, sizeof in, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

static int listener(struct sockaddr_in *name)
{
    socklen_t len = sizeof *name;
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    assert(iopkt_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0);
    assert(iopkt_bind(fd, (struct sockaddr *)name, sizeof *name) == 0);
    assert(iopkt_listen(fd, 5) == 0);
    assert(iopkt_getsockname(fd, (struct sockaddr *)name, &len) == 0 && len == sizeof *name);
    return fd;
}

int main(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    assert(iopkt_setprefix("/none") == 0);
    assert(iopkt_socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == ENETDOWN);
    assert(iopkt_route_socket(0) == -1 && errno == ENETDOWN);
    assert(iopkt_route_socket(AF_UNIX) == -1 && errno == EAFNOSUPPORT);
    struct ifaddrs *addresses = NULL;
    char link[IF_NAMESIZE];
    assert(iopkt_getifaddrs(&addresses) == -1 && errno == ENETDOWN && !addresses);
    assert(!iopkt_if_nameindex() && errno == ENETDOWN);
    assert(iopkt_if_nametoindex("lo0") == 0 && errno == ENETDOWN);
    assert(!iopkt_if_indextoname(1, link) && errno == ENETDOWN);
    iopkt_freeifaddrs(NULL);
    iopkt_if_freenameindex(calloc(1, sizeof(struct if_nameindex)));
    assert(iopkt_setprefix(NULL) == 0);
    assert(iopkt_setsockprefix(NULL) == -1 && errno == EFAULT);
    assert(iopkt_setsockprefix("/none") == 0 && iopkt_clearsockprefix() == 0);
    assert(iopkt_socket(AF_UNIX, SOCK_STREAM, 0) == -1 && errno == EAFNOSUPPORT);
    assert(iopkt_socket(AF_INET, SOCK_SEQPACKET, 1) == -1 && errno == ESOCKTNOSUPPORT);
    assert(iopkt_socket(AF_INET, SOCK_RAW, 0) == -1 && errno == EPROTONOSUPPORT);
    assert(iopkt_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP) == -1 && errno == EPROTONOSUPPORT);

    int l = listener(&name), a = socket(AF_INET, SOCK_STREAM, 0);
    assert(iopkt_connect(a, (struct sockaddr *)&name, sizeof name) == 0);
    int b = iopkt_accept(l, (struct sockaddr *)&peer, &len);
    assert(b >= 0 && len == sizeof peer);
    assert(iopkt_getpeername(a, (struct sockaddr *)&peer, &len) == 0);
    assert(peer.sin_port == name.sin_port);
    assert(iopkt_accept4(l, NULL, NULL, 12345) == -1 && errno == EINVAL);
    transfer(a, b);

    int type = 0;
    len = sizeof type;
    assert(iopkt_getsockopt(a, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM);
    const void *shown;
    void *room;
    assert(iopkt_recv_zc(a, &shown, 0) == -1 && errno == EOPNOTSUPP);
    assert(iopkt_release(a, 1) == -1 && errno == EOPNOTSUPP);
    assert(iopkt_send_reserve(a, &room, 1, 0) == -1 && errno == EOPNOTSUPP);
    assert(iopkt_send_commit(a, "x", 1, 0) == -1 && errno == EOPNOTSUPP);
    assert(iopkt_adopt(a) == -1 && errno == ENOTSOCK);
    assert(iopkt_sockatmark(a) == 0);
    assert(iopkt_fcntl(a, F_SETFL, O_NONBLOCK) == 0);
    assert(iopkt_fcntl(a, F_GETFL) & O_NONBLOCK);
    int c = iopkt_dup(a), d = iopkt_dup2(a, 50), e = iopkt_dup3(a, 51, O_CLOEXEC);
    assert(c >= 0 && d == 50 && e == 51 && iopkt_fcntl(e, F_GETFD) == FD_CLOEXEC);
    assert(iopkt_dup2(a, a) == a && iopkt_dup2(77, 77) == -1 && errno == EBADF);
    assert(iopkt_close_range(50, 51, 0) == 0 || errno == ENOSYS);
    assert(iopkt_shutdown(c, SHUT_WR) == 0);
    assert(iopkt_recv(b, &type, sizeof type, 0) == 0);
    assert(iopkt_close(a) == 0 && iopkt_close(a) == -1 && errno == EBADF);
    puts("ok");
    return 0;
}
