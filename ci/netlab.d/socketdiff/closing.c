/*
 * What a call holds: the file it was given, from the first to the last, whoever closes the number meanwhile or uses
 * it anew.
 */
#include "socketdiff.h"
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

/* A call in a thread of its own. */
struct waiter {
    int fd;
    long (*call)(struct waiter *w);
    long result;
    int error;
    char in[8];
    pthread_t thread;
};
static char much[16 << 20];

static void *run(void *argument)
{
    struct waiter *w = argument;
    w->result = w->call(w);
    w->error = errno;
    return NULL;
}
static struct waiter *begun(int fd, long (*call)(struct waiter *))
{
    static struct waiter w;
    w = (struct waiter){.fd = fd, .call = call};
    pthread_create(&w.thread, NULL, run, &w);
    pause_ms(50);
    return &w;
}
static void over(struct waiter *w)
{
    pthread_join(w->thread, NULL);
    said("waiter", (errno = w->error, w->result));
}
/* Another file under the number. Returns its other end, which has sent it some text. */
static int used_anew(int number)
{
    int other[2];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, other));
    NEED(write(other[1], "other", 5));
    TRY(dup2(other[0], number) == number);
    return other[1];
}
static void untouched(int number, int other)
{
    char in[8];
    TRY(recv(number, in, sizeof in, MSG_DONTWAIT));
    TRY(recv(other, in, sizeof in, MSG_DONTWAIT));
}

static long receives(struct waiter *w) { return recv(w->fd, w->in, 4, 0); }
static long receives_all(struct waiter *w) { return recv(w->fd, w->in, 4, MSG_WAITALL); }
static long accepts(struct waiter *w) { return accept(w->fd, NULL, NULL) >= 0; }
static long sends(struct waiter *w) { return send(w->fd, much, sizeof much, 0); }

static int any_connection(void)
{
    int id;
    return connected(&id);
}

static void closed_while_it_receives(int fd, int id, void (*closes)(int fd))
{
    struct waiter *w = begun(fd, receives_all);
    closes(fd);
    for (int i = 0; i < 4; i++) {
        pause_ms(10);
        NEED(peer_send(id, &"abcd"[i], 1, 0));
    }
    over(w);
    say("%.4s, and the peer: %d", w->in, peer_recv(id, w->in, 1, 0));
}
static void by_close(int fd) { TRY(close(fd)); }
static void by_range(int fd) { TRY(close_range(fd, fd, 0)); }
static void by_stream(int fd) { TRY(fclose(fdopen(fd, "r+"))); }
static void by_copy(int fd) { used_anew(fd); }
#define RECEIVES(closes)                                                                                     \
    {                                                                                                        \
        int id, fd = connected(&id);                                                                         \
        closed_while_it_receives(fd, id, closes);                                                            \
    }
CASE(closing, close) RECEIVES(by_close)
CASE(closing, close_range) RECEIVES(by_range)
CASE(closing, fclose) RECEIVES(by_stream)
CASE(closing, dup2) RECEIVES(by_copy)
CASE(closing, with_a_time_limit)
{
    struct timeval limit = {.tv_sec = 2};
    int id, fd = connected(&id);
    NEED(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    closed_while_it_receives(fd, id, by_close);
}
CASE(closing, one_of_two_numbers)
{
    int id, fd = connected(&id);
    NEED(dup(fd));
    closed_while_it_receives(fd, id, by_close);
}
CASE(closing, the_number_is_used_anew)
{
    int id, fd = connected(&id);
    struct waiter *w = begun(fd, receives);
    int other = used_anew(fd);
    NEED(peer_send(id, "abcd", 4, 0));
    over(w);
    untouched(fd, other);
}
CASE(closing, datagram)
{
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    struct waiter *w = begun(fd, receives);
    TRY(close(fd));
    pause_ms(30);
    NEED(peer_sendto(id, port(0), "abcd", 4));
    over(w);
    TRY_FD(bound(SOCK_DGRAM, port(0)));
}
/* A connection ends the waiting, and with it the listening. */
static void last_connection(struct waiter *w)
{
    TRY(peer_connect(port(0)) >= 0);
    over(w);
    pause_ms(30);
    say("then: %s", peer_connect(port(0)) < 0 ? error_name(errno) : "connected");
}
CASE(closing, accept)
{
    int fd = listening(port(0), 5);
    struct waiter *w = begun(fd, accepts);
    TRY(close(fd));
    pause_ms(30);
    last_connection(w);
}
CASE(closing, accept_and_the_number_is_used_anew)
{
    int fd = listening(port(0), 5);
    struct waiter *w = begun(fd, accepts);
    int other = used_anew(fd);
    last_connection(w);
    untouched(fd, other);
}

/* A connection that nobody answers: the call waits as long as the socket sends. */
static long connects(struct waiter *w)
{
    in_name name = at(nobody, port(0));
    return connect(w->fd, SA(&name), LEN);
}
static long opens_fast(struct waiter *w)
{
    in_name name = at(nobody, port(0));
    return sendto(w->fd, "ab", 2, MSG_FASTOPEN, SA(&name), LEN);
}
static void closed_while_it_connects(long (*call)(struct waiter *), void (*closes)(int fd))
{
    struct timeval limit = {.tv_usec = 200000};
    int fd = stream();
    NEED(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    struct waiter *w = begun(fd, call);
    closes(fd);
    over(w);
}
CASE(closing, connect) { closed_while_it_connects(connects, by_close); }
CASE(closing, connect_and_the_number_is_used_anew) { closed_while_it_connects(connects, by_copy); }
CASE(closing, fast_open) { closed_while_it_connects(opens_fast, by_close); }
CASE(closing, fast_open_and_the_number_is_used_anew) { closed_while_it_connects(opens_fast, by_copy); }

/* An attempt that another thread calls off. */
static void called_off(void (*call_off)(int fd))
{
    struct timeval limit = {.tv_sec = 1};
    int fd = stream(), began = now_ms();
    NEED(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    struct waiter *w = begun(fd, connects);
    call_off(fd);
    over(w);
    say("at once: %d", now_ms() - began < 500);
}
static void by_shutdown(int fd) { TRY(shutdown(fd, SHUT_RDWR)); }
static void by_nobody(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    TRY(connect(fd, &none, sizeof none));
}
CASE(closing, shutdown_of_an_attempt) { called_off(by_shutdown); }
CASE(closing, end_of_an_attempt) { called_off(by_nobody); }

/* Calls that are made of several. */
static long sends_file(struct waiter *w)
{
    int file = memfd_create("much", 0);
    long sent = ftruncate(file, sizeof much) ? -1 : sendfile(w->fd, file, NULL, sizeof much);
    int error = errno;
    close(file);
    errno = error;
    return sent;
}
static long sends_messages(struct waiter *w)
{
    struct iovec half = {much, sizeof much / 2};
    struct mmsghdr both[2] = {{.msg_hdr = {.msg_iov = &half, .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &half, .msg_iovlen = 1}}};
    return sendmmsg(w->fd, both, 2, 0);
}
static void sends_all(long (*call)(struct waiter *))
{
    int id, fd = connected(&id);
    struct waiter *w = begun(fd, call);
    int other = used_anew(fd);
    say("the peer got all: %d", peer_drain(id, sizeof much) == sizeof much);
    over(w);
    say("then the end: %d", peer_recv(id, w->in, 1, 0));
    untouched(fd, other);
}
CASE(closing, send) { sends_all(sends); }
CASE(closing, sendfile) { sends_all(sends_file); }
CASE(closing, sendmmsg) { sends_all(sends_messages); }

static int shared[2];
static long sends_shared_file(struct waiter *w) { return sendfile(w->fd, shared[0], NULL, sizeof much); }
CASE(closing, file_of_sendfile)
{
    int id, fd = connected(&id), empty = NEED(memfd_create("empty", 0));
    shared[0] = NEED(memfd_create("much", 0));
    NEED(ftruncate(shared[0], sizeof much));
    struct waiter *w = begun(fd, sends_shared_file);
    TRY(dup2(empty, shared[0]) == shared[0]);
    say("the peer got all: %d", peer_drain(id, sizeof much) == sizeof much);
    over(w);
    say("the other file is at %ld", (long)lseek(empty, 0, SEEK_CUR));
}
/* One step would take it, and waits for room. */
static long sends_some_file(struct waiter *w) { return sendfile(w->fd, shared[0], NULL, 65536); }
CASE(closing, file_of_a_short_sendfile)
{
    enum { LEN_OF_FILE = 10000 };
    int id, fd = connected(&id), other = NEED(memfd_create("other", 0));
    shared[0] = NEED(memfd_create("little", 0));
    NEED(ftruncate(shared[0], LEN_OF_FILE));
    NEED(ftruncate(other, 65536));
    long filled = fill(fd);
    fcntl(fd, F_SETFL, 0);
    struct waiter *w = begun(fd, sends_some_file);
    TRY(dup2(other, shared[0]) == shared[0]);
    say("the peer got all: %d", peer_drain(id, filled + LEN_OF_FILE) == filled + LEN_OF_FILE);
    over(w);
    say("the other file is at %ld", (long)lseek(other, 0, SEEK_CUR));
}
/* Whoever closes any descriptor of a file gives up its locks: the call closes none. */
CASE(closing, locks_of_sendfile)
{
    struct flock all = {.l_type = F_WRLCK};
    int id, fd = connected(&id), how;
    shared[0] = NEED(memfd_create("locked", 0));
    NEED(ftruncate(shared[0], 200000));
    NEED(fcntl(shared[0], F_SETLK, &all));
    struct waiter *w = begun(fd, sends_shared_file);
    say("the peer got all: %d", peer_drain(id, 200000) == 200000);
    TRY(shutdown(fd, SHUT_RDWR));
    over(w);
    pid_t child = NEED(fork());
    if (child == 0)
        _exit(fcntl(shared[0], F_SETLK, &all) ? errno : 0);
    NEED(waitpid(child, &how, 0));
    say("another process: %s", error_name(WEXITSTATUS(how)));
}
static long from_pipe(struct waiter *w) { return splice(shared[0], NULL, w->fd, NULL, 4, 0); }
CASE(closing, splice_to_a_socket)
{
    char in[8];
    int id, fd = connected(&id);
    NEED(pipe(shared));
    struct waiter *w = begun(fd, from_pipe);
    int other = used_anew(fd);
    NEED(write(shared[1], "abcd", 4));
    over(w);
    TRY(peer_recv(id, in, 4, 0));
    untouched(fd, other);
}
static long to_pipe(struct waiter *w) { return splice(w->fd, NULL, shared[1], NULL, 4, 0); }
CASE(closing, splice_from_a_socket)
{
    char in[8];
    int id, fd = connected(&id);
    NEED(pipe(shared));
    struct waiter *w = begun(fd, to_pipe);
    int other = used_anew(fd), pipes = used_anew(shared[1]);
    NEED(peer_send(id, "abcd", 4, 0));
    over(w);
    TRY(read(shared[0], in, 4));
    untouched(fd, other);
    untouched(shared[1], pipes);
}
/* Until it is over the parent's call writes to the pipe, and the child has nothing of it. */
static pid_t child_that_lives_on(int closes, int hold[2]);
CASE(closing, splice_beside_a_child)
{
    char in[8];
    int hold[2], id, fd = connected(&id);
    NEED(pipe(shared));
    struct waiter *w = begun(fd, to_pipe);
    pid_t child = child_that_lives_on(shared[1], hold);
    TRY(close(shared[1]));
    NEED(peer_send(id, "abcd", 4, 0));
    over(w);
    TRY(read(shared[0], in, 8));
    TRY(read(shared[0], in, 8));
    close(hold[1]);
    NEED(waitpid(child, NULL, 0));
}
/* What a child in its parent's memory closes are its own numbers. */
CASE(closing, splice_beside_a_guest)
{
    char in[8];
    int id, fd = connected(&id);
    NEED(pipe(shared));
    struct waiter *w = begun(fd, to_pipe);
    pid_t child = vfork();
    if (child == 0) {
        close(shared[1]);
        close_range((unsigned)shared[1], (unsigned)shared[1], 0);
        _exit(0);
    }
    NEED(waitpid(child, NULL, 0));
    NEED(peer_send(id, "abcd", 4, 0));
    over(w);
    TRY(read(shared[0], in, 8));
    TRY(close(shared[1]));
    TRY(read(shared[0], in, 8));
}
static long receives_messages(struct waiter *w)
{
    struct iovec into[4];
    struct mmsghdr four[4] = {0};
    for (int i = 0; i < 4; i++) {
        into[i] = (struct iovec){w->in + i, 1};
        four[i].msg_hdr = (struct msghdr){.msg_iov = &into[i], .msg_iovlen = 1};
    }
    return recvmmsg(w->fd, four, 4, 0, NULL);
}
CASE(closing, recvmmsg)
{
    int fd = bound(SOCK_DGRAM, port(0)), id = NEED(peer_udp(port(1)));
    struct waiter *w = begun(fd, receives_messages);
    NEED(peer_sendto(id, port(0), "a", 1));
    pause_ms(30);
    int other = used_anew(fd);
    for (int i = 1; i < 4; i++) {
        pause_ms(10);
        NEED(peer_sendto(id, port(0), &"abcd"[i], 1));
    }
    over(w);
    say("%.4s", w->in);
    untouched(fd, other);
}
/* The first message shows where it leads, and the socket goes on there. */
CASE(closing, sendmmsg_to_ourselves)
{
    in_name any = at("0.0.0.0", port(0)), there = at("127.0.0.1", port(1));
    struct iovec text = {"ab", 2};
    struct mmsghdr two[2];
    char in[8];
    int from = datagram(), to = datagram();
    for (int i = 0; i < 2; i++)
        two[i].msg_hdr = (struct msghdr){.msg_iov = &text, .msg_iovlen = 1, .msg_name = &there, .msg_namelen = LEN};
    NEED(bind(from, SA(&any), LEN));
    NEED(bind(to, SA(&there), LEN));
    TRY(sendmmsg(from, two, 2, 0));
    for (int i = 0; i < 2; i++) {
        await(to, POLLIN);
        TRY(recv(to, in, sizeof in, MSG_DONTWAIT));
    }
}

/* A child has the descriptor, but not the call that its parent's thread is in. */
static pid_t child_that_lives_on(int closes, int hold[2])
{
    char in;
    NEED(pipe(hold));
    pid_t child = NEED(fork());
    if (child == 0) {
        close(closes);
        close(hold[1]);
        _exit((int)read(hold[0], &in, 1));
    }
    return child;
}
CASE(closing, in_a_child_too)
{
    int hold[2], fd = listening(port(0), 5);
    struct waiter *w = begun(fd, accepts);
    pid_t child = child_that_lives_on(fd, hold);
    pause_ms(30);
    TRY(close(fd));
    last_connection(w);
    close(hold[1]);
    NEED(waitpid(child, NULL, 0));
}
CASE(closing, before_a_child_is_made)
{
    int hold[2], fd = listening(port(0), 5);
    struct waiter *w = begun(fd, accepts);
    TRY(close(fd));
    pid_t child = child_that_lives_on(-1, hold);
    last_connection(w);
    close(hold[1]);
    NEED(waitpid(child, NULL, 0));
}
/* One that is made by a handler within the call goes on in it, and closes nothing that is not the call's. */
enum { NUMBERS = 8192 };
static pid_t made;
static int open_before;
static int open_numbers(void)
{
    int count = 0;
    for (int fd = 0; fd < NUMBERS; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}
static void make_child(int number)
{
    (void)number;
    made = fork();
    if (made != 0)
        return;
    for (int fd; (fd = dup(0)) >= 0 && fd < NUMBERS;)
        ;
    open_before = open_numbers();
}
static long counts_after_call(struct waiter *w)
{
    long result = recv(w->fd, w->in, 4, 0);
    int error = errno;
    if (made == 0)
        _exit(result != -1 || open_numbers() != open_before);
    errno = error;
    return result;
}
CASE(closing, a_child_made_in_the_call)
{
    struct sigaction action = {.sa_handler = make_child};
    int id, how, fd = connected(&id);
    made = -1;
    sigaction(SIGUSR1, &action, NULL);
    struct waiter *w = begun(fd, counts_after_call);
    TRY(close(fd));
    pthread_kill(w->thread, SIGUSR1);
    over(w);
    NEED(waitpid(made, &how, 0));
    say("the child: %d", WEXITSTATUS(how));
}

/* A handler may leave the call for good. */
static sigjmp_buf out;
static void leave(int number)
{
    (void)number;
    siglongjmp(out, 1);
}
static void left(int fd, long (*call)(struct waiter *))
{
    struct sigaction action = {.sa_handler = leave};
    struct waiter w = {.fd = fd};
    sigaction(SIGALRM, &action, NULL);
    for (volatile int i = 0; i < 3; i++) {
        if (sigsetjmp(out, 1) == 0) {
            struct itimerval soon = {.it_value.tv_usec = 30000};
            setitimer(ITIMER_REAL, &soon, NULL);
            said("the call", call(&w));
        }
    }
    TRY(close(fd));
}
CASE(closing, a_call_that_was_left)
{
    char in[8];
    int id, fd = connected(&id);
    left(fd, receives);
    TRY(peer_recv(id, in, 8, 0));
}
CASE(closing, a_splice_that_was_left)
{
    char in[8];
    NEED(pipe(shared));
    left(any_connection(), to_pipe);
    TRY(close(shared[1]));
    TRY(read(shared[0], in, 8));
}
CASE(closing, an_accept_that_was_left)
{
    left(listening(port(0), 5), accepts);
    pause_ms(30);
    say("then: %s", peer_connect(port(0)) < 0 ? error_name(errno) : "connected");
    TRY_FD(listening(port(0), 5));
}
/* Or close what the call waits at, which is restarted. */
static int closed_by_handler;
static void close_it(int number)
{
    (void)number;
    close(closed_by_handler);
}
static void closed_in_the_call(int fd, long (*call)(struct waiter *), const struct timeval *limit)
{
    struct sigaction action = {.sa_handler = close_it, .sa_flags = SA_RESTART};
    struct itimerval soon = {.it_value.tv_usec = 30000};
    struct waiter w = {.fd = fd};
    closed_by_handler = fd;
    if (limit)
        NEED(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, limit, sizeof *limit));
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    long result = call(&w);
    said("the call", result > 0 ? 1 : result);
}
CASE(closing, in_a_handler_of_recv) { closed_in_the_call(any_connection(), receives, NULL); }
CASE(closing, in_a_handler_of_recvfrom) { closed_in_the_call(bound(SOCK_DGRAM, port(0)), receives, NULL); }
CASE(closing, in_a_handler_of_recv_with_a_time_limit)
{
    struct timeval limit = {.tv_usec = 100000};
    closed_in_the_call(any_connection(), receives, &limit);
}
CASE(closing, in_a_handler_of_send) { closed_in_the_call(any_connection(), sends, NULL); }
CASE(closing, what_a_stream_has_buffered)
{
    char in[16] = "";
    int id, fd = connected(&id);
    FILE *stream = fdopen(fd, "r+");
    fprintf(stream, "buffered");
    TRY(fclose(stream));
    TRY(peer_recv(id, in, 8, MSG_WAITALL));
    say("%s", in);
    TRY(peer_recv(id, in, 8, 0));
}
