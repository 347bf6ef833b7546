/*
 * cpu.c - which kernel paths this CPU and this system run, by CPUID and XGETBV.
 *
 * A path needs every feature of the instruction set its file is compiled for (x86-64-v3,
 * -v4), not only those its intrinsics name, because the compiler may use any of them.
 */
#include "backend/backend_internal.h"

#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum cpu_register { EAX, EBX, ECX, EDX };

struct feature {
    const char *why; /* what to say when it is missing */
    uint32_t leaf;
    enum cpu_register from;
    uint32_t bit;
};

#define FEATURE(name, leaf, from, bit)                     \
    {                                                      \
        "this CPU lacks " name " (CPUID)", leaf, from, bit \
    }
static const struct feature features_avx2[] = {
    FEATURE("fma", 1, ECX, 12), FEATURE("movbe", 1, ECX, 22),
    FEATURE("avx", 1, ECX, 28), FEATURE("f16c", 1, ECX, 29),
    FEATURE("bmi1", 7, EBX, 3), FEATURE("avx2", 7, EBX, 5),
    FEATURE("bmi2", 7, EBX, 8), FEATURE("lzcnt", 0x80000001, ECX, 5),
};
static const struct feature features_avx512[] = {
    FEATURE("avx512f", 7, EBX, 16),  FEATURE("avx512dq", 7, EBX, 17),
    FEATURE("avx512cd", 7, EBX, 28), FEATURE("avx512bw", 7, EBX, 30),
    FEATURE("avx512vl", 7, EBX, 31),
};
static const struct feature features_amx[] = {
    FEATURE("amx_tile", 7, EDX, 24),
    FEATURE("amx_bf16", 7, EDX, 22),
};

/* Register state that the system must save and restore, as bits of XCR0. */
enum { STATE_AVX = 0x6, STATE_AVX512 = 0xe6, STATE_AMX = 0x60000 };
enum { CPUID_OSXSAVE_BIT = 27 };
/* arch_prctl codes of Linux 5.16: a process asks once before it touches tile data,
 * feature 18. */
enum { ARCH_REQ_XCOMP_PERM_CODE = 0x1023, XFEATURE_XTILEDATA = 18 };

static bool has_feature(const struct feature *feature)
{
    uint32_t r[4] = {0};
    if (__get_cpuid_count(feature->leaf, 0, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) == 0)
        return false;
    return (r[feature->from] >> feature->bit & 1) != 0;
}

static bool has_all(const struct feature *features, size_t n, const char **why)
{
    for (size_t i = 0; i < n; i++) {
        if (has_feature(&features[i])) continue;
        *why = features[i].why;
        return false;
    }
    return true;
}
#define HAS_ALL(list, why) has_all(list, sizeof(list) / sizeof((list)[0]), why)

static bool system_saves(uint32_t state)
{
    static const struct feature osxsave = {"", 1, ECX, CPUID_OSXSAVE_BIT};
    if (!has_feature(&osxsave)) return false;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state) == state;
}

static bool runs_avx2(const char **why)
{
    if (!HAS_ALL(features_avx2, why)) return false;
    *why = "the system does not save AVX registers";
    return system_saves(STATE_AVX);
}

static bool runs_avx512(const char **why)
{
    if (!runs_avx2(why) || !HAS_ALL(features_avx512, why)) return false;
    *why = "the system does not save AVX-512 registers";
    return system_saves(STATE_AVX512);
}

static bool runs_amx(const char **why)
{
    if (!runs_avx512(why) || !HAS_ALL(features_amx, why)) return false;
    *why = "the system does not save AMX tiles";
    if (!system_saves(STATE_AMX)) return false;
    *why = "the system refuses AMX tiles to this process (arch_prctl)";
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM_CODE, XFEATURE_XTILEDATA) == 0;
}

bool ucb_cpu_runs(enum ucb_kernel kernel, const char **why)
{
    switch (kernel) {
    case UCB_KERNEL_AVX2: return runs_avx2(why);
    case UCB_KERNEL_AVX512: return runs_avx512(why);
    case UCB_KERNEL_AMX: return runs_amx(why);
    default: return true;
    }
}

/* CPUID leaves a virtual machine, which takes microseconds: the answer is kept. Racing
 * threads store the same value. */
bool ucb_cpu_has_fma(void)
{
    enum { UNKNOWN, NO, YES };
    static atomic_int known = UNKNOWN;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == UNKNOWN) {
        const char *why;
        answer = runs_avx2(&why) ? YES : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}

bool ucb_cpu_has_avx512bf16(void)
{
    enum { LEAF = 7, SUBLEAF = 1, BIT = 5 };
    uint32_t r[4] = {0};
    const char *why;
    if (!runs_avx512(&why)) return false;
    if (__get_cpuid_count(LEAF, 0, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) == 0) return false;
    if (r[EAX] < SUBLEAF) return false; /* the last one */
    __cpuid_count(LEAF, SUBLEAF, r[EAX], r[EBX], r[ECX], r[EDX]);
    return (r[EAX] >> BIT & 1) != 0;
}
