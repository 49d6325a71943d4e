/* Sockets in other processes: over fork, vfork, exec and posix_spawn, and over a unix socket. */
#include "socketdiff.h"
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static void say_status(const char *what, pid_t child)
{
    int status = -1;
    NEED(waitpid(child, &status, 0));
    say("%s: exited %d with %d", what, WIFEXITED(status), WEXITSTATUS(status));
}

/* What the peer gets, and then whether it sees the end. */
static void say_peer(int id, int len)
{
    char in[64] = "";
    int got = 0, r;
    while (got < len && (r = peer_recv(id, in + got, len - got, 0)) > 0)
        got += r;
    say("the peer got %s", in);
}

CASE(process, fork_both_use_it)
{
    char in[8] = "";
    int id, fd = connected(&id);
    pid_t child = NEED(fork());
    if (child == 0) {
        char c[4] = "";
        int r = recv(fd, c, 3, 0);
        _exit(r == 3 && !strcmp(c, "abc") && send(fd, "from child ", 11, 0) == 11 ? 7 : 8);
    }
    NEED(peer_send(id, "abc", 3, 0));
    say_status("child", child);
    TRY(send(fd, "from parent", 11, 0));
    say_peer(id, 22);
    NEED(peer_send(id, "def", 3, 0));
    await_bytes(fd, 3);
    TRY(recv(fd, in, 3, 0));
    say("%s", in);
}

CASE(process, last_close_ends_it)
{
    int id, fd = connected(&id), gate[2];
    NEED(pipe(gate));
    pid_t child = NEED(fork());
    if (child == 0) {
        char c;
        close(gate[1]);
        int r = read(gate[0], &c, 1);
        _exit(r == 1 && send(fd, "x", 1, 0) == 1 ? 0 : 1);
    }
    TRY(close(fd));
    pause_ms(30);
    NEED(peer_send(id, "there", 5, 0));
    NEED(write(gate[1], "g", 1));
    say_status("child", child);
    say_peer(id, 1);
    char c;
    say("then the peer sees %s", peer_recv(id, &c, 1, 0) == 0 ? "the end" : error_name(errno));
}

CASE(process, fork_listener_in_both)
{
    int listener = listening(port(0), 5);
    pid_t child = NEED(fork());
    if (child == 0) {
        int fd = accept(listener, NULL, NULL);
        _exit(fd >= 0 && send(fd, "child", 5, 0) == 5 ? 0 : 1);
    }
    int id = NEED(peer_connect(port(0)));
    say_status("child", child);
    say_peer(id, 5);
    id = NEED(peer_connect(port(0)));
    int fd = accept(listener, NULL, NULL);
    TRY(send(fd, "parent", 6, 0));
    say_peer(id, 6);
}

/* A program of its own, with the socket as its input and output. */
static void spawned(const char *const argv[])
{
    posix_spawn_file_actions_t actions;
    int id, fd = connected(&id);
    pid_t child;
    NEED(posix_spawn_file_actions_init(&actions));
    NEED(posix_spawn_file_actions_adddup2(&actions, fd, 0));
    NEED(posix_spawn_file_actions_adddup2(&actions, fd, 1));
    say("posix_spawn: %d", posix_spawnp(&child, argv[0], &actions, NULL, (char **)argv, environ));
    close(fd);
    NEED(peer_send(id, "hello\n", 6, 0));
    NEED(peer_shutdown(id, SHUT_WR));
    say_status("program", child);
    say_peer(id, 6);
    char c;
    say("then the peer sees %s", peer_recv(id, &c, 1, 0) == 0 ? "the end" : error_name(errno));
}
CASE(process, spawn_cat) { spawned((const char *const[]){"cat", NULL}); }
CASE(process, spawn_sed) { spawned((const char *const[]){"sed", "s/l/L/g", NULL}); }
CASE(process, spawn_shell) { spawned((const char *const[]){"sh", "-c", "read word; echo $word", NULL}); }

CASE(process, vfork_and_exec)
{
    int id, fd = connected(&id);
    pid_t child = vfork();
    if (child == 0) {
        dup2(fd, 1);
        execlp("echo", "echo", "hello", NULL);
        _exit(9);
    }
    say_status("program", child);
    say_peer(id, 6);
    TRY(send(fd, "still", 5, 0));
    say_peer(id, 5);
}

/* Is the number open in a program that is exec'd? */
static void exec_sees(int fd)
{
    char question[64];
    sprintf(question, "test -e /proc/self/fd/%d", fd);
    pid_t child = NEED(fork());
    if (child == 0) {
        execlp("sh", "sh", "-c", question, NULL);
        _exit(9);
    }
    say_status("open there", child);
}
CASE(process, exec_keeps) { exec_sees(stream()); }
CASE(process, exec_closes_on_exec) { exec_sees(NEED(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))); }
CASE(process, exec_closes_after_fcntl)
{
    int fd = datagram();
    NEED(fcntl(fd, F_SETFD, FD_CLOEXEC));
    exec_sees(fd);
}

static void pass(int over, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = "";
    struct iovec out = {"f", 1};
    struct msghdr m = {.msg_iov = &out, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    TRY(sendmsg(over, &m, 0));
}
static int taken(int over)
{
    char control[CMSG_SPACE(sizeof(int))], data;
    struct iovec into = {&data, 1};
    struct msghdr m = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fd = -1;
    if (recvmsg(over, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    return fd;
}
CASE(process, passed_over_a_unix_socket)
{
    int over[2], id;
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, over));
    pid_t child = NEED(fork());
    if (child == 0) {
        char in[4] = "";
        int fd = taken(over[1]);
        _exit(fd >= 0 && recv(fd, in, 3, 0) == 3 && send(fd, in, 3, 0) == 3 ? 0 : 1);
    }
    int fd = connected(&id);
    pass(over[0], fd);
    NEED(peer_send(id, "abc", 3, 0));
    TRY(close(fd));
    say_status("child", child);
    say_peer(id, 3);
}
CASE(process, passed_to_itself)
{
    int over[2], id, fd = associated(&id);
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, over));
    pass(over[0], fd);
    int other = NEED(taken(over[1]));
    TRY(close(fd));
    TRY(send(other, "abc", 3, 0));
    say("the peer got %d", peer_recvfrom(id).len);
}
