/*
 * Runs the cases one after the other, each in a process of its own, and prints what they say.
 *
 *   socketdiff --peer PATH                             be the peer; PATH is where it listens
 *   socketdiff --list                                  names of the cases
 *   socketdiff PATH MINE THEIRS NOBODY [AREA/CASE...]  run them: three addresses of one link
 *
 * Lines are "area/case: text". A case that neither ends nor says that it waits is killed after five seconds,
 * which is a line, too.
 */
#include "socketdiff.h"
#include "peer.h"
#include <fnmatch.h>
#include <stdarg.h>
#include <sys/wait.h>

#define TESTS_MAX 1000
#define SECONDS_MAX 5

const char *mine, *theirs, *nobody;
static struct test tests[TESTS_MAX];
static int count, current;

void add_test(struct test test)
{
    if (count == TESTS_MAX)
        abort();
    tests[count++] = test;
}

static int by_name(const void *one, const void *other)
{
    const struct test *a = one, *b = other;
    int order = strcmp(a->area, b->area);
    return order ? order : strcmp(a->name, b->name);
}

static void line(const char *text) { printf("%s/%s: %s\n", tests[current].area, tests[current].name, text); }

void say(const char *format, ...)
{
    char text[4096];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    line(text);
}

const char *error_name(int number)
{
    const char *name = strerrorname_np(number);
    return name ? name : "?";
}

long said(const char *what, long result)
{
    int error = errno;
    if (result == -1 && error)
        say("%s: %s", what, error_name(error));
    else
        say("%s: %ld", what, result);
    errno = error;
    return result;
}

int made_fd(const char *what, int fd)
{
    int error = errno;
    say("%s: %s", what, fd < 0 ? error_name(error) : "ok");
    errno = error;
    return fd;
}

long need(const char *what, long result)
{
    if (result < 0) {
        say("%s: %s, so the case can't go on", what, error_name(errno));
        fflush(stdout);
        _exit(0);
    }
    return result;
}

int port(int n) { return 10000 + 8 * current + n; }

static void run(const char *path)
{
    meet_peer(path);
    tests[current].run();
    fflush(stdout);
    _exit(0);
}

/* Waits for the case; the watchdog is this process's own clock. */
static void run_watched(const char *path)
{
    int status, left = SECONDS_MAX * 200;
    pid_t child = fork();
    if (child == 0)
        run(path);
    while (waitpid(child, &status, WNOHANG) == 0 && left-- > 0)
        usleep(left > SECONDS_MAX * 200 - 20 ? 500 : 5000);
    if (left < 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        line("hangs");
    } else if (WIFSIGNALED(status)) {
        printf("%s/%s: killed by SIG%s\n", tests[current].area, tests[current].name, sigabbrev_np(WTERMSIG(status)));
    }
}

static int wanted(int number, int argc, char **argv)
{
    char name[256];
    snprintf(name, sizeof name, "%s/%s", tests[number].area, tests[number].name);
    for (int i = 5; i < argc; i++)
        if (fnmatch(argv[i], name, 0) == 0)
            return 1;
    return argc <= 5;
}

int main(int argc, char **argv)
{
    qsort(tests, count, sizeof tests[0], by_name);
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (int i = 0; i < count; i++)
            printf("%s/%s\n", tests[i].area, tests[i].name);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "--peer"))
        return be_peer(argv[2]);
    if (argc < 5)
        return fprintf(stderr, "usage: %s PATH MINE THEIRS NOBODY [AREA/CASE...]\n", argv[0]), 64;
    mine = argv[2];
    theirs = argv[3];
    nobody = argv[4];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (current = 0; current < count; current++)
        if (wanted(current, argc, argv))
            run_watched(argv[1]);
    return 0;
}
