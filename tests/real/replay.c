/* Makes a list of heap calls with the malloc this process has, each by the thread it names, one at a time, and notes what came
 * of each. For tests that hold a model against the real allocator, and for benchmarks.
 *
 *   replay CALLS THREADS ANSWERS MAPS [bare]
 *
 * CALLS:   records of 40 bytes: kind (m c r a f, x: the thread ends), thread, 6 bytes 0, then id, old id, a, b as 8 bytes each.
 * ANSWERS: for each call 5 words of 8 bytes: address (0 for none), usable size, break, and, after every 256th call and the last,
 *          mapped and resident bytes; resident without pages of files, since the system takes those of code back when it likes.
 *          The first record is written before the calls: nanoseconds of all calls in its first word, of the processor.
 *          bare: only that record; nothing is asked between the calls.
 * MAPS:    the mappings of the process just before the first call.
 *
 * Without address randomness; its own tables lie far away, so that the heap lies as in a small program. LD_PRELOAD gives it another
 * malloc. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { EVERY = 256, THREADS_MAX = 256, DONE = -1, NOBODY = -2 };
struct call { uint8_t kind, thread, zero[6]; uint64_t id, old, a, b; };
struct answer { uint64_t at, usable, brk, mapped, resident; };

static struct call *calls;
static struct answer *answers;
static size_t count, next;
static char **at;
static int turn = NOBODY, statm, ending, bare;
static pid_t ids[THREADS_MAX];

static void die(const char *why) {
    if (write(2, why, strlen(why)) < 0 || write(2, "\n", 1) < 0) _exit(3);
    _exit(2);
}

static void *table(size_t bytes) {
    static char *place = (char *)0x600000000000;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED_NOREPLACE;
    char *p = mmap(place, bytes + 1, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED) die("replay: no memory for its tables");
    place += (bytes + (1 << 30)) & ~(size_t)((1 << 30) - 1);
    return p;
}

static void sizes(struct answer *to) {
    char text[128], *c = text;
    ssize_t n = pread(statm, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    uint64_t pages[3] = {0, 0, 0};
    for (int k = 0; *c && k < 3; c++) {
        if (*c == ' ') k++;
        else pages[k] = pages[k] * 10 + (uint64_t)(*c - '0');
    }
    to->mapped = pages[0] * 4096;
    to->resident = (pages[1] - pages[2]) * 4096;
}

static void touch(char *p, uint64_t bytes) {
    for (uint64_t b = 0; b < bytes; b += 4096) p[b] = 1;
    if (bytes) p[bytes - 1] = 1;
}

static void make(const struct call *c, struct answer *to) {
    char *p = 0;
    uint64_t bytes = c->a;
    switch (c->kind) {
    case 'm': p = malloc(c->a); break;
    case 'c': p = calloc(c->a, c->b); bytes = c->a * c->b; break;
    case 'r': p = realloc(at[c->old], c->a); at[c->old] = 0; break;
    case 'a': p = memalign(c->a, c->b); bytes = c->b; break;
    case 'f': free(at[c->id]); at[c->id] = 0; break;
    case 'x': break;
    default: die("replay: unknown kind of call");
    }
    if (p) {
        touch(p, bytes);
        at[c->id] = p;
        if (bare) return;
        to->at = (uint64_t)p;
        to->usable = malloc_usable_size(p);
    }
}

static void pass(int to) {
    __atomic_store_n(&turn, to, __ATOMIC_RELEASE);
    syscall(SYS_futex, &turn, FUTEX_WAKE, THREADS_MAX, 0, 0, 0);
}

static void note_sizes(void) {
    if (bare) return;
    answers[next].brk = (uint64_t)sbrk(0);
    if (next % EVERY == 0 || next == count) sizes(&answers[next]);
}

/* The thread before has made its last call; now it must be gone, with all that its end gives back. */
static void await_end(void) {
    if (!ending) return;
    while (syscall(SYS_tgkill, getpid(), ending, 0) == 0 || errno != ESRCH) sched_yield();
    ending = 0;
    note_sizes();
}

static void *thread(void *number) {
    int me = (int)(intptr_t)number, now;
    ids[me] = (pid_t)syscall(SYS_gettid);
    for (;;) {
        while ((now = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != me) {
            if (now == DONE) {
                if (!me) await_end();
                return 0;
            }
            syscall(SYS_futex, &turn, FUTEX_WAIT, now, 0, 0, 0);
        }
        await_end();
        int is_over = 0;
        while (next < count && calls[next].thread == me && !is_over) {
            const struct call *c = &calls[next++];
            make(c, &answers[next]);
            note_sizes();
            is_over = c->kind == 'x';
        }
        if (is_over) ending = ids[me];
        pass(next < count ? calls[next].thread : DONE);
        if (is_over) return 0;
    }
}

static void copy_maps(const char *path) {
    char text[65536];
    int from = open("/proc/self/maps", O_RDONLY), to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    for (ssize_t n; (n = read(from, text, sizeof text)) > 0;)
        if (write(to, text, (size_t)n) != n) die("replay: cannot write the mappings");
    close(from);
    close(to);
}

static uint64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv, char **environment) {
    if (argc != 5 && argc != 6) die("usage: replay CALLS THREADS ANSWERS MAPS [bare]");
    bare = argc == 6;
    int persona = personality(0xffffffff);
    if (!(persona & ADDR_NO_RANDOMIZE)) {
        personality((unsigned long)persona | ADDR_NO_RANDOMIZE);
        execve("/proc/self/exe", argv, environment);
        die("replay: cannot start itself again");
    }
    int file = open(argv[1], O_RDONLY), threads = atoi(argv[2]);
    off_t bytes = lseek(file, 0, SEEK_END);
    if (bytes < 0 || threads > THREADS_MAX) die("replay: cannot read the calls");
    count = (size_t)bytes / sizeof *calls;
    calls = table((size_t)bytes);
    for (off_t have = 0; have < bytes;) {
        ssize_t n = pread(file, (char *)calls + have, (size_t)(bytes - have), have);
        if (n <= 0) die("replay: cannot read the calls");
        have += n;
    }
    uint64_t last = 0;
    for (size_t i = 0; i < count; i++) last = calls[i].id > last ? calls[i].id : last;
    at = table((last + 1) * sizeof *at);
    answers = table((count + 1) * sizeof *answers);
    statm = open("/proc/self/statm", O_RDONLY);
    for (int i = 1; i < threads; i++) {
        pthread_t t;
        if (pthread_create(&t, 0, thread, (void *)(intptr_t)i)) die("replay: no more threads");
        while (!__atomic_load_n(&ids[i], __ATOMIC_ACQUIRE)) sched_yield();
    }
    copy_maps(argv[4]);
    sizes(&answers[0]);
    answers[0].brk = (uint64_t)sbrk(0);
    uint64_t start = nanoseconds();
    turn = count ? calls[0].thread : DONE;
    if (threads > 1) pass(turn);
    thread(0);
    answers[0].at = nanoseconds() - start;
    int to = open(argv[3], O_CREAT | O_TRUNC | O_WRONLY, 0644);
    const char *from = (const char *)answers;
    for (size_t left = (bare ? 1 : count + 1) * sizeof *answers; left;) {
        ssize_t n = write(to, from, left);
        if (n <= 0) die("replay: cannot write the answers");
        from += n;
        left -= (size_t)n;
    }
    _exit(0);
}
