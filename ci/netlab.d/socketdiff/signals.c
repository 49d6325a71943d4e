/* Signals: calls that are interrupted, calls that are restarted, SIGIO. */
#include "socketdiff.h"

static volatile sig_atomic_t signals;
static void on_signal(int number)
{
    (void)number;
    signals++;
}

/* One SIGALRM after 30 ms, in a handler with these flags. */
static void alarm_soon(int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    struct itimerval soon = {.it_value = {.tv_usec = 30000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
}

static void receive(int flags, ssize_t (*call)(int fd, char *into))
{
    char in[8] = "";
    int id, fd = connected(&id);
    alarm_soon(flags);
    NEED(peer_later(id, 120, "late", 4));
    said("call", (errno = 0, call(fd, in)));
    say("%s, signals %d", in, (int)signals);
}
static ssize_t by_recv(int fd, char *into) { return recv(fd, into, 4, 0); }
static ssize_t by_read(int fd, char *into) { return read(fd, into, 4); }
static ssize_t by_peek(int fd, char *into) { return recv(fd, into, 4, MSG_PEEK); }
static ssize_t by_recvmsg(int fd, char *into)
{
    struct iovec v = {into, 4};
    return recvmsg(fd, &(struct msghdr){.msg_iov = &v, .msg_iovlen = 1}, 0);
}
CASE(eintr, recv) { receive(0, by_recv); }
CASE(eintr, read) { receive(0, by_read); }
CASE(eintr, recvmsg) { receive(0, by_recvmsg); }
CASE(eintr, peek) { receive(0, by_peek); }
CASE(restart, recv) { receive(SA_RESTART, by_recv); }
CASE(restart, read) { receive(SA_RESTART, by_read); }
CASE(restart, recvmsg) { receive(SA_RESTART, by_recvmsg); }
CASE(restart, peek) { receive(SA_RESTART, by_peek); }

static void receive_datagram(int flags, int seconds)
{
    struct timeval time = {.tv_sec = seconds};
    char in[8] = "";
    int id, fd = associated(&id);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    alarm_soon(flags);
    TRY(recv(fd, in, 4, 0));
    say("signals %d", (int)signals);
}
CASE(eintr, datagram) { receive_datagram(0, 0); }
CASE(eintr, datagram_with_timeout_though_it_should_restart) { receive_datagram(SA_RESTART, 1); }

static void receive_with_timeout(int flags)
{
    struct timeval time = {.tv_sec = 1};
    char in[8];
    int id, fd = connected(&id);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    alarm_soon(flags);
    TRY(recv(fd, in, 4, 0));
    say("signals %d", (int)signals);
}
CASE(eintr, with_timeout) { receive_with_timeout(0); }
CASE(eintr, with_timeout_though_it_should_restart) { receive_with_timeout(SA_RESTART); }

static void waitall(int flags)
{
    char in[8] = "";
    int id, fd = connected(&id);
    NEED(peer_send(id, "ab", 2, 0));
    await_bytes(fd, 2);
    alarm_soon(flags);
    NEED(peer_later(id, 120, "cd", 2));
    TRY(recv(fd, in, 4, MSG_WAITALL));
    say("%s, signals %d", in, (int)signals);
}
CASE(eintr, waitall_has_some) { waitall(0); }
CASE(restart, waitall_has_some) { waitall(SA_RESTART); }

/* A thread that the alarm does not go to. */
static pthread_t meanwhile(void *(*what)(void *))
{
    sigset_t alarm;
    pthread_t thread;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    pthread_create(&thread, NULL, what, NULL);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    return thread;
}
static void *connect_later(void *unused)
{
    (void)unused;
    pause_ms(120);
    peer_connect(port(0));
    return NULL;
}
static void accept_with(int flags)
{
    int listener = listening(port(0), 5);
    pthread_t thread = meanwhile(connect_later);
    alarm_soon(flags);
    TRY_FD(accept(listener, NULL, NULL));
    say("signals %d", (int)signals);
    pthread_join(thread, NULL);
}
CASE(eintr, accept) { accept_with(0); }
CASE(restart, accept) { accept_with(SA_RESTART); }

static void connect_with(int flags)
{
    in_name name = at(nobody, port(0));
    struct timeval time = {.tv_usec = 300000};
    int fd = stream();
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    alarm_soon(flags);
    TRY(connect(fd, SA(&name), LEN));
    say("signals %d", (int)signals);
}
CASE(eintr, connect) { connect_with(0); }
CASE(eintr, connect_with_timeout_though_it_should_restart) { connect_with(SA_RESTART); }

static void send_with(int flags)
{
    char room[1000] = "";
    int id, fd = connected(&id);
    set(fd, SOL_SOCKET, SO_SNDBUF, 20000);
    fill(fd);
    alarm_soon(flags);
    TRY(send(fd, room, sizeof room, 0));
    say("signals %d", (int)signals);
}
CASE(eintr, send) { send_with(0); }

/* The peer reads after a while. */
static int reader;
static void *read_later(void *unused)
{
    (void)unused;
    pause_ms(120);
    peer_drain(reader, 8 << 20);
    return NULL;
}
static void *accept_later(void *unused)
{
    (void)unused;
    pause_ms(120);
    peer_accept(reader);
    return NULL;
}
static void send_restarted(int flags, int (*make)(int *id), ssize_t (*call)(int fd))
{
    int fd = make(&reader);
    set(fd, SOL_SOCKET, SO_SNDBUF, 20000);
    fill(fd);
    pthread_t thread = meanwhile(read_later);
    alarm_soon(flags);
    said("call", (errno = 0, call(fd)));
    say("signals %d", (int)signals);
    pthread_join(thread, NULL);
    say_events("events", fd);
}
static const char some[1000];
static ssize_t by_send(int fd) { return send(fd, some, sizeof some, 0); }
static ssize_t by_write(int fd) { return write(fd, some, sizeof some); }
static ssize_t by_sendmsg(int fd)
{
    struct iovec v = {(void *)some, sizeof some};
    return sendmsg(fd, &(struct msghdr){.msg_iov = &v, .msg_iovlen = 1}, 0);
}
CASE(restart, send) { send_restarted(SA_RESTART, connected, by_send); }
CASE(restart, write) { send_restarted(SA_RESTART, connected, by_write); }
CASE(restart, sendmsg) { send_restarted(SA_RESTART, connected, by_sendmsg); }
CASE(eintr, write) { send_restarted(0, connected, by_write); }
CASE(restart, connect)
{
    /* The listener's queue is full until somebody accepts, so the first SYN is lost. */
    in_name name = at(theirs, port(0));
    int first = stream(), fd = stream();
    reader = NEED(peer_listen(port(0), 0));
    NEED(connect(first, SA(&name), LEN));
    pthread_t thread = meanwhile(accept_later);
    alarm_soon(SA_RESTART);
    TRY(connect(fd, SA(&name), LEN));
    say("signals %d", (int)signals);
    pthread_join(thread, NULL);
    TRY(send(fd, "abc", 3, 0));
    say_events("events", fd);
}
CASE(eintr, connect_without_timeout)
{
    in_name name = at(nobody, port(0));
    int fd = stream();
    alarm_soon(0);
    TRY(connect(fd, SA(&name), LEN));
    nonblocking(fd);
    TRY(connect(fd, SA(&name), LEN));
    say("signals %d", (int)signals);
}
CASE(eintr, send_has_sent_some)
{
    static char room[8 << 20];
    int id, fd = connected(&id);
    set(fd, SOL_SOCKET, SO_SNDBUF, 20000);
    alarm_soon(SA_RESTART);
    long r = send(fd, room, sizeof room, 0);
    say("some: %d, signals %d", r > 0 && r < (long)sizeof room, (int)signals);
}
CASE(eintr, poll)
{
    int id, fd = connected(&id);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    alarm_soon(SA_RESTART);
    TRY(poll(&p, 1, 1000));
    say("signals %d", (int)signals);
}
CASE(eintr, ignored_signal_is_none)
{
    char in[8] = "";
    int id, fd = connected(&id);
    alarm_soon(0);
    signal(SIGALRM, SIG_IGN);
    NEED(peer_later(id, 80, "late", 4));
    TRY(recv(fd, in, 4, 0));
}

static void async(int id, int fd, int number)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(number, &action, NULL);
    TRY(fcntl(fd, F_SETOWN, getpid()));
    say("owner: %d", fcntl(fd, F_GETOWN) == getpid());
    TRY(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
    say("O_ASYNC: %d", !!(fcntl(fd, F_GETFL) & O_ASYNC));
    NEED(peer_send(id, "a", 1, 0));
    await_bytes(fd, 1);
    pause_ms(10);
    say("told: %d", signals > 0);
}
CASE(sigio, stream)
{
    int id, fd = connected(&id);
    async(id, fd, SIGIO);
}
CASE(sigio, another_signal)
{
    int id, fd = connected(&id);
    TRY(fcntl(fd, F_SETSIG, SIGUSR1));
    say("signal: %d", fcntl(fd, F_GETSIG) == SIGUSR1);
    async(id, fd, SIGUSR1);
}
CASE(sigio, by_ioctl)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    int id, fd = connected(&id), on = 1, owner = getpid();
    sigaction(SIGIO, &action, NULL);
    TRY(ioctl(fd, FIOSETOWN, &owner));
    owner = 0;
    TRY(ioctl(fd, FIOGETOWN, &owner));
    say("owner: %d", owner == getpid());
    TRY(ioctl(fd, FIOASYNC, &on));
    NEED(peer_send(id, "a", 1, 0));
    await_bytes(fd, 1);
    pause_ms(10);
    say("told: %d", signals > 0);
}
