/*
 * mapping_guard.c - see mapping_guard.h. The table is fixed and atomic because a signal
 * handler reads it: no lock and no allocation may stand between a fault and its repair.
 * `begin` is written last and cleared first.
 */
#include "model/mapping_guard.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { N_SLOTS = 512 };

static struct slot {
    atomic_bool used;
    atomic_uintptr_t begin, end; /* begin 0: not to be looked at */
    atomic_bool tripped;
} slots[N_SLOTS];
static struct sigaction previous;
static uintptr_t page_bytes;

static struct slot *find_slot(uintptr_t address)
{
    for (size_t i = 0; i < N_SLOTS; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin);
        if (begin != 0 && address >= begin && address < atomic_load(&slots[i].end))
            return &slots[i];
    }
    return NULL;
}

/* mmap is not on POSIX's list for handlers; on Linux it is a bare system call. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    struct slot *slot = find_slot(address);
    if (slot != NULL) {
        void *page = (void *)(address / page_bytes * page_bytes);
        atomic_store(&slot->tripped, true);
        if (mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) != MAP_FAILED)
            return;
    }
    if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != NULL) {
        previous.sa_sigaction(number, info, context);
        return;
    }
    sigaction(number, &previous,
              NULL); /* the instruction runs again, and now the old way */
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
}

size_t ucb_guard_add(const void *data, size_t n_bytes)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (data == NULL) return N_SLOTS;
    pthread_once(&once, install);
    for (size_t i = 0; i < N_SLOTS; i++) {
        if (atomic_exchange(&slots[i].used, true)) continue;
        atomic_store(&slots[i].tripped, false);
        atomic_store(&slots[i].end, (uintptr_t)data + n_bytes);
        atomic_store(&slots[i].begin, (uintptr_t)data);
        return i;
    }
    return N_SLOTS;
}

void ucb_guard_remove(size_t guard)
{
    if (guard >= N_SLOTS) return;
    atomic_store(&slots[guard].begin, 0);
    atomic_store(&slots[guard].used, false);
}

bool ucb_guard_tripped(size_t guard)
{
    return guard < N_SLOTS && atomic_load(&slots[guard].tripped);
}
