/* states.c - see states.h. Disk blocks are reserved when the file is made: a full disk is
 * an error here, not a crash later. */
#include "eval/states.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/file.h"

enum { STRETCH_BYTES = 16 << 20 };

/* A file without a name, so that a process that is killed leaves none; where the file
 * system has no such files, one whose name is removed at once. -1: errno says why. */
static int open_spill(const char *folder, char *path)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    return fd;
}

static ucb_status map_spill(size_t n_bytes, const char *folder, void **out,
                            struct ucb_err *err)
{
    char path[4096];
    if (folder == NULL)
        return UCB_FAIL(
            err, UCB_ENVIRONMENT,
            "%zu bytes of hidden states do not fit --memory, and there is no folder for a "
            "file of them: set --cache, UCBENCH_CACHE or HOME, or give more --memory",
            n_bytes);
    UCB_TRY(ucb_folder_make(folder, err));
    int n = snprintf(path, sizeof(path), "%s/states-XXXXXX", folder);
    if (n < 0 || (size_t)n >= sizeof(path))
        return UCB_FAIL(err, UCB_USAGE, "%s: too long a folder name", folder);
    int fd = open_spill(folder, path);
    if (fd < 0)
        return UCB_FAIL(err, UCB_IO, "%s: cannot keep hidden states there: %s", folder,
                        strerror(errno));
    int full = posix_fallocate(fd, 0, (off_t)n_bytes);
    void *p = full != 0 ? MAP_FAILED
                        : mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int saved = full != 0 ? full : errno;
    close(fd);
    if (p == MAP_FAILED)
        return UCB_FAIL(
            err, UCB_IO,
            "%s: no room for %zu bytes of hidden states: %s; free some, name another --cache, or give more --memory",
            folder, n_bytes, strerror(saved));
    *out = p;
    return UCB_OK;
}

ucb_status ucb_states_alloc(size_t n_floats, bool spill, const char *folder,
                            struct ucb_states *out, struct ucb_err *err)
{
    size_t n_bytes;
    void *p = NULL;
    *out = (struct ucb_states){0};
    if (!ucb_size_mul(n_floats > 0 ? n_floats : 1, sizeof(float), &n_bytes))
        return UCB_FAIL(err, UCB_NOMEM, "%zu hidden-state values overflow", n_floats);
    if (spill) {
        UCB_TRY(map_spill(n_bytes, folder, &p, err));
    } else {
        p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return UCB_FAIL(
                err, UCB_NOMEM,
                "no memory for %zu bytes of hidden states; try a smaller --memory",
                n_bytes);
    }
    *out = (struct ucb_states){p, n_bytes, spill};
    return UCB_OK;
}

void ucb_states_release(const struct ucb_states *states, size_t first, size_t n)
{
    if (states->spilled)
        ucb_file_forget_behind(states->x, first * sizeof(float), n * sizeof(float));
}

size_t ucb_states_stretch(const struct ucb_states *states, size_t width)
{
    size_t n = STRETCH_BYTES / (width * sizeof(float));
    return !states->spilled ? SIZE_MAX : n > 0 ? n : 1;
}

void ucb_states_free(struct ucb_states *states)
{
    if (states->x != NULL) munmap(states->x, states->n_bytes);
    *states = (struct ucb_states){0};
}
