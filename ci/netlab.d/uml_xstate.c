/*
 * For user-mode Linux on processors with more state than it knows of (AMX has 8 KiB of it): it writes the beginning of
 * a process's extended state back, which the kernel takes as a whole or not at all. What it left out stays as it is.
 *
 *   LD_PRELOAD=uml_xstate.so linux.uml ...
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define STATE_MAX 65536

/* One thread traces all of a guest's processes. */
static char state[STATE_MAX];

long ptrace(enum __ptrace_request request, ...)
{
    static long (*next)(enum __ptrace_request, ...);
    va_list list;
    va_start(list, request);
    pid_t pid = va_arg(list, pid_t);
    void *address = va_arg(list, void *), *data = va_arg(list, void *);
    va_end(list);
    if (!next)
        next = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
        struct iovec part = *(struct iovec *)data, whole = {state, sizeof state};
        if (next(PTRACE_GETREGSET, pid, address, &whole) == 0 && part.iov_len < whole.iov_len) {
            memcpy(state, part.iov_base, part.iov_len);
            return next(request, pid, address, &whole);
        }
    }
    return next(request, pid, address, data);
}
