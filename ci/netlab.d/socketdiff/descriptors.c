/* Descriptors as numbers and modes; ioctl; files and pipes at the other end of a copy. */
#include "socketdiff.h"
#include <sys/mman.h>
#include <sys/sendfile.h>

CASE(number, dup)
{
    char c = 0;
    int id, fd = connected(&id), copy = TRY_FD(dup(fd));
    TRY(close(fd));
    TRY(send(copy, "x", 1, 0));
    TRY(peer_recv(id, &c, 1, 0));
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    say("FD_CLOEXEC %d", fcntl(copy, F_GETFD));
    TRY(close(copy));
    TRY(peer_recv(id, &c, 1, 0));
}
CASE(number, dup2)
{
    int id, fd = connected(&id), file = NEED(open("/dev/null", O_RDWR));
    say("same: %d", dup2(fd, fd) == fd);
    say("over a file: %d", dup2(fd, file) == file);
    TRY(send(file, "x", 1, 0));
    TRY(dup2(fd, -1));
    TRY(dup2(-1, fd));
    TRY(send(fd, "x", 1, 0));
}
CASE(number, dup2_of_a_file_over_it)
{
    char c;
    int id, fd = connected(&id), file = NEED(open("/dev/null", O_RDWR));
    say("over the socket: %d", dup2(file, fd) == fd);
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    TRY(write(fd, "x", 1));
    TRY(peer_recv(id, &c, 1, 0));
}
CASE(number, dup3)
{
    int id, fd = connected(&id), file = NEED(open("/dev/null", O_RDWR));
    TRY(dup3(fd, fd, 0));
    TRY(dup3(fd, file, 1));
    say("over a file: %d", dup3(fd, file, O_CLOEXEC) == file);
    say("FD_CLOEXEC %d", fcntl(file, F_GETFD));
    TRY(send(file, "x", 1, 0));
}
CASE(number, f_dupfd)
{
    int id, fd = connected(&id), copy = fcntl(fd, F_DUPFD, 200);
    say("at least 200: %d, FD_CLOEXEC %d", copy >= 200, fcntl(copy, F_GETFD));
    TRY(send(copy, "x", 1, 0));
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 300);
    say("at least 300: %d, FD_CLOEXEC %d", copy >= 300, fcntl(copy, F_GETFD));
    TRY(send(copy, "x", 1, 0));
    TRY(fcntl(fd, F_DUPFD, -1));
}
CASE(number, modes_are_shared_by_copies)
{
    char c;
    int id, fd = connected(&id), copy = NEED(dup(fd));
    TRY(fcntl(copy, F_SETFL, O_NONBLOCK));
    TRY(recv(fd, &c, 1, 0));
    TRY(fcntl(fd, F_SETFL, 0));
    say("blocking: %d", !(fcntl(copy, F_GETFL) & O_NONBLOCK));
    set(copy, SOL_SOCKET, SO_KEEPALIVE, 1);
    say("keepalive %d", get(fd, SOL_SOCKET, SO_KEEPALIVE));
}
CASE(number, close_twice)
{
    int fd = stream();
    TRY(close(fd));
    TRY(close(fd));
}
CASE(number, close_range)
{
    int a = stream(), b = datagram();
    TRY(close_range(a, b, 0));
    TRY(fcntl(a, F_GETFD));
    TRY(getsockname(b, NULL, NULL));
}
CASE(number, set_close_on_exec)
{
    int fd = stream();
    TRY(fcntl(fd, F_SETFD, FD_CLOEXEC));
    TRY(fcntl(fd, F_GETFD));
    TRY(ioctl(fd, FIONCLEX));
    TRY(fcntl(fd, F_GETFD));
    TRY(ioctl(fd, FIOCLEX));
    TRY(fcntl(fd, F_GETFD));
}
CASE(number, fcntl_nobody_knows)
{
    int fd = stream();
    TRY(fcntl(fd, 9999, 0));
    TRY(fcntl(-1, F_GETFL));
    say("access %d", fcntl(fd, F_GETFL) & O_ACCMODE);
}

CASE(ioctl, readable_bytes)
{
    int id, fd = connected(&id), have = 7;
    TRY(ioctl(fd, FIONREAD, &have));
    say("%d", have);
    NEED(peer_send(id, "abc", 3, 0));
    await(fd, POLLIN);
    TRY(ioctl(fd, FIONREAD, &have));
    say("%d", have);
    fd = associated(&id);
    NEED(peer_sendto(id, port(0), "abcd", 4));
    NEED(peer_sendto(id, port(0), "ab", 2));
    await(fd, POLLIN);
    TRY(ioctl(fd, FIONREAD, &have));
    say("of the first datagram: %d", have);
}
CASE(ioctl, listener_has_no_bytes)
{
    int fd = listening(port(0), 1), have = 7;
    TRY(ioctl(fd, FIONREAD, &have));
    TRY(ioctl(fd, TIOCOUTQ, &have));
}
CASE(ioctl, unsent_bytes)
{
    int id, fd = connected(&id), have = 7;
    TRY(ioctl(fd, TIOCOUTQ, &have));
    say("%d", have);
    NEED(send(fd, "abc", 3, 0));
    await_sent(fd);
    TRY(ioctl(fd, TIOCOUTQ, &have));
    say("%d", have);
}
CASE(ioctl, fresh)
{
    int fd = stream(), have = 7;
    TRY(ioctl(fd, FIONREAD, &have));
    say("%d", have);
    TRY(ioctl(fd, TIOCOUTQ, &have));
    say("%d", have);
    fd = datagram();
    TRY(ioctl(fd, FIONREAD, &have));
    say("%d", have);
}
CASE(ioctl, nonblocking)
{
    char c;
    int id, fd = connected(&id), on = 1, off = 0;
    TRY(ioctl(fd, FIONBIO, &on));
    TRY(recv(fd, &c, 1, 0));
    say("O_NONBLOCK %d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    TRY(ioctl(fd, FIONBIO, &off));
    say("O_NONBLOCK %d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
}
CASE(ioctl, nobody_knows)
{
    int fd = stream(), have;
    TRY(ioctl(fd, 0x12345, &have));
    TRY(ioctl(fd, TCGETS, &have));
}

CASE(file, sendfile)
{
    char in[32] = "";
    FILE *file = tmpfile();
    off_t offset = 2;
    int id, fd = connected(&id);
    fputs("0123456789", file);
    fflush(file);
    rewind(file);
    TRY(sendfile(fd, fileno(file), &offset, 5));
    say("offset %ld, position %ld", (long)offset, (long)lseek(fileno(file), 0, SEEK_CUR));
    TRY(sendfile(fd, fileno(file), NULL, 3));
    say("position %ld", (long)lseek(fileno(file), 0, SEEK_CUR));
    offset = 8;
    TRY(sendfile(fd, fileno(file), &offset, 100));
    TRY(sendfile(fd, fileno(file), &offset, 100));
    TRY(peer_recv(id, in, 10, MSG_WAITALL));
    say("%s", in);
}
CASE(file, sendfile_wrong)
{
    off_t offset = -1;
    int id, fd = connected(&id), file = NEED(open("/dev/zero", O_RDONLY));
    TRY(sendfile(fd, -1, NULL, 1));
    TRY(sendfile(fd, file, &offset, 1));
    TRY(sendfile(fd, file, NULL, 0));
}
CASE(file, sendfile_to_the_closed)
{
    int id, fd = connected(&id), file = NEED(open("/proc/self/exe", O_RDONLY));
    signal(SIGPIPE, SIG_IGN);
    NEED(shutdown(fd, SHUT_WR));
    TRY(sendfile(fd, file, NULL, 10));
}
CASE(file, splice_to)
{
    char in[8] = "";
    int id, fd = connected(&id), ends[2];
    NEED(pipe(ends));
    NEED(write(ends[1], "abcdef", 6));
    TRY(splice(ends[0], NULL, fd, NULL, 4, 0));
    TRY(splice(ends[0], NULL, fd, NULL, 100, SPLICE_F_MORE));
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    TRY(peer_recv(id, in, 6, MSG_WAITALL));
    say("%s", in);
}
CASE(file, splice_from)
{
    char in[8] = "";
    int id, fd = connected(&id), ends[2];
    NEED(pipe(ends));
    NEED(peer_send(id, "abcdef", 6, 0));
    await_bytes(fd, 6);
    TRY(splice(fd, NULL, ends[1], NULL, 4, 0));
    TRY(splice(fd, NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK));
    TRY(read(ends[0], in, 8));
    say("%s", in);
    nonblocking(fd);
    TRY(splice(fd, NULL, ends[1], NULL, 100, 0));
    NEED(peer_close(id));
    await(fd, POLLRDHUP);
    TRY(splice(fd, NULL, ends[1], NULL, 100, 0));
}
CASE(file, splice_wrong)
{
    off_t offset = 0;
    int id, fd = connected(&id), ends[2];
    NEED(pipe(ends));
    TRY(splice(fd, &offset, ends[1], NULL, 1, 0));
    TRY(splice(fd, NULL, fd, NULL, 1, 0));
    TRY(splice(fd, NULL, ends[0], NULL, 1, 0));
    TRY(splice(fd, NULL, ends[1], NULL, 0, 0));
}
CASE(file, tee_wrong)
{
    int id, fd = connected(&id), ends[2];
    NEED(pipe(ends));
    NEED(write(ends[1], "abc", 3));
    TRY(tee(ends[0], fd, 1, 0));
    TRY(tee(fd, ends[1], 1, 0));
}
CASE(file, from_the_socket)
{
    int id, fd = connected(&id), file = NEED(memfd_create("file", 0));
    NEED(peer_send(id, "abc", 3, 0));
    await_bytes(fd, 3);
    TRY(sendfile(file, fd, NULL, 3));
    TRY(copy_file_range(fd, NULL, file, NULL, 3, 0));
    TRY(lseek(fd, 0, SEEK_SET));
    TRY(ftruncate(fd, 0));
}
