/*
 * fire_vfs.h - a disk that fails on command: an SQLite VFS before the default one, which
 * counts every call that changes a file and lets the n-th of them go wrong.
 *
 * One test process, one thread. fire_vfs_install() makes it the default VFS, so the store
 * under test runs on it unchanged. Syncs are remembered and not passed on: what they would
 * have made safe is known here, and thousands of them cost nothing.
 */
#ifndef UCB_TESTS_FIRE_VFS_H
#define UCB_TESTS_FIRE_VFS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How the n-th call fails. FULL and SHORT count writes and the making of files; the others
 * also syncs, truncations and removals. ON: so does every later call. SHORT: half of the
 * bytes arrive. A process that is killed leaves what IO_ON leaves. CUT: the power goes,
 * and fire_vfs_cut() says what is left on the disk.
 */
#define FIRE_KIND_LIST(X)              \
    X(FIRE_FULL_ONCE, "full, once")    \
    X(FIRE_FULL_ON, "full")            \
    X(FIRE_IO_ONCE, "I/O error, once") \
    X(FIRE_IO_ON, "I/O errors")        \
    X(FIRE_SHORT, "short write")       \
    X(FIRE_CUT_DROP, "power cut")      \
    X(FIRE_CUT_MIX, "power cut, mixed")
#define FIRE_ENUM(code, name) code,
enum fire_kind { FIRE_KIND_LIST(FIRE_ENUM) FIRE_N_KINDS };
#undef FIRE_ENUM
const char *fire_kind_name(enum fire_kind kind);

void fire_vfs_install(void);
/* Counts from now; files are on the disk as they are. n starts with 1. */
void fire_vfs_arm(enum fire_kind kind, uint64_t n);
/* Ends the failing; true when the n-th call came. */
bool fire_vfs_disarm(void);
/*
 * After a CUT, with no file open: every file goes back to its last sync. With MIX each
 * later write, truncation and removal has happened or not by a coin of `seed`, in any
 * order a disk may choose.
 */
void fire_vfs_cut(enum fire_kind kind, uint64_t seed);

#endif
