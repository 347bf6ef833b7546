/* file.c - see file.h. */
#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ucb_status ucb_file_map(const char *path, struct ucb_file *out, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UCB_FAIL(err, errno == ENOENT || errno == ENOTDIR ? UCB_MISSING : UCB_IO,
                        "%s: %s", path, errno == ENOENT ? "no such file" : strerror(errno));
    if (fstat(fd, &info) != 0) {
        status = UCB_FAIL(err, UCB_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(info.st_mode)) {
        status = UCB_FAIL(err, UCB_MISSING, "%s: not a regular file", path);
        goto out;
    }
    *out = (struct ucb_file){NULL, (size_t)info.st_size};
    if (out->n_bytes == 0) goto out;
    void *p = mmap(NULL, out->n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        status = UCB_FAIL(err, UCB_IO, "%s: cannot map: %s", path, strerror(errno));
    else
        out->data = p;
out:
    close(fd);
    return status;
}

void ucb_file_unmap(struct ucb_file *file)
{
    if (file->data != NULL) munmap((void *)(uintptr_t)file->data, file->n_bytes);
    *file = (struct ucb_file){0};
}

void ucb_file_forget(const void *data, size_t n_bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data,
              end = begin + n_bytes;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* A fault maps the pages around it too: by Linux's default, 64 KB. */
void ucb_file_forget_behind(const void *stretch, size_t from, size_t n_bytes)
{
    enum { FAULT_AROUND = 64 << 10 };
    size_t back = from < FAULT_AROUND ? from : FAULT_AROUND;
    ucb_file_forget((const uint8_t *)stretch + (from - back), n_bytes + back);
}

/*
 * A new file beside `path` that nobody else has: "PATH.ucb-PROCESS-COUNT.tmp". Not mkstemp,
 * whose 0600 would stay: this way the system applies the umask, as for any file. It stays
 * locked while it is written, so that clean_up() tells it from what a killed process left.
 */
static int open_temporary(const char *path, char *name, size_t size)
{
    static atomic_uint count;
    int fd;
    do
        snprintf(name, size, "%s.ucb-%ld-%u.tmp", path, (long)getpid(),
                 atomic_fetch_add(&count, 1));
    while ((fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0 &&
           errno == EEXIST);
    if (fd >= 0) flock(fd, LOCK_EX | LOCK_NB); /* a file system without locks: none */
    return fd;
}

/* The process in the name of a temporary file of `base`, or 0 for any other name. */
static long writer_of(const char *name, const char *base)
{
    long process;
    unsigned count;
    int end = 0;
    size_t n = strlen(base);
    if (strncmp(name, base, n) != 0) return 0;
    return sscanf(name + n, ".ucb-%ld-%u.tmp%n", &process, &count, &end) == 2 && end > 0 &&
                   name[n + (size_t)end] == '\0' && process > 0
               ? process
               : 0;
}

/* Removes what processes that were killed while they wrote `path` left beside it: whose
 * writer is gone from this machine and whose lock nobody holds on any. */
static void clean_up(const char *path)
{
    char folder[PATH_MAX], name[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    snprintf(name, sizeof(name), "%s", path);
    const char *base = basename(name);
    DIR *dir = opendir(dirname(folder));
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        long process = writer_of(e->d_name, base);
        if (process == 0) continue;
        /* In a container every start may have the same process number: a file of ours that
         * is not locked is one of a process before us. */
        if (process != (long)getpid() && (kill((pid_t)process, 0) == 0 || errno != ESRCH))
            continue;
        int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(dir), e->d_name, 0);
        if (fd >= 0) close(fd);
    }
    if (dir != NULL) closedir(dir);
}

static ucb_status open_beside(const char *path, struct ucb_out_file *out,
                              struct ucb_err *err)
{
    size_t size = strlen(path) + sizeof(".ucb--9223372036854775808-4294967295.tmp");
    *out = (struct ucb_out_file){NULL, strdup(path), malloc(size)};
    if (out->path == NULL || out->temporary == NULL) {
        free(out->path);
        free(out->temporary);
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a file name", path);
    }
    clean_up(path);
    int fd = open_temporary(path, out->temporary, size);
    out->stream = fd < 0 ? NULL : fdopen(fd, "wb");
    if (out->stream != NULL) return UCB_OK;
    ucb_status status = UCB_FAIL(err, UCB_IO, "%s: cannot write there: %s", path,
                                 strerror(errno));
    if (fd >= 0) {
        close(fd);
        unlink(out->temporary);
    }
    free(out->path);
    free(out->temporary);
    *out = (struct ucb_out_file){0};
    return status;
}

/* A device or a pipe (/dev/stdout, /dev/full) is written as it is: there is nothing to
 * replace. */
static ucb_status open_in_place(const char *path, struct ucb_out_file *out,
                                struct ucb_err *err)
{
    *out = (struct ucb_out_file){fopen(path, "wb"), strdup(path), NULL};
    if (out->stream != NULL && out->path != NULL) return UCB_OK;
    ucb_status status = UCB_FAIL(err, UCB_IO, "%s: cannot write there: %s", path,
                                 strerror(errno));
    if (out->stream != NULL) fclose(out->stream);
    free(out->path);
    *out = (struct ucb_out_file){0};
    return status;
}

/* A link stays: what it points to is replaced. */
ucb_status ucb_out_open(const char *path, struct ucb_out_file *out, struct ucb_err *err)
{
    struct stat info;
    char target[PATH_MAX];
    bool there = stat(path, &info) == 0;
    if (there && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return open_in_place(path, out, err);
    return open_beside(there && realpath(path, target) != NULL ? target : path, out, err);
}

/*
 * A rename is on disk once the folder is. A folder that may be written but not read cannot
 * be synced, and some file systems do not sync folders (EINVAL): there the system decides
 * when.
 */
static ucb_status sync_folder_of(const char *path, struct ucb_err *err)
{
    char *folder = strdup(path);
    if (folder == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a folder name", path);
    int fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 ? errno != EACCES : fsync(fd) != 0 && errno != EINVAL;
    ucb_status status = UCB_OK;
    if (failed)
        status = UCB_FAIL(err, UCB_IO, "%s: written, but its folder cannot be synced: %s",
                          path, strerror(errno));
    if (fd >= 0) close(fd);
    free(folder);
    return status;
}

ucb_status ucb_out_commit(struct ucb_out_file *out, struct ucb_err *err)
{
    bool in_place = out->temporary == NULL;
    int failed = ferror(out->stream) || fflush(out->stream) != 0 ||
                 (!in_place && fsync(fileno(out->stream)) != 0);
    int saved = errno;
    if (fclose(out->stream) != 0 && !failed) {
        failed = 1;
        saved = errno;
    }
    out->stream = NULL;
    if (!failed && !in_place && rename(out->temporary, out->path) != 0) {
        failed = 1;
        saved = errno;
    }
    ucb_status status;
    if (failed) {
        if (!in_place) unlink(out->temporary);
        status = UCB_FAIL(err, UCB_IO, "%s: writing failed%s: %s", out->path,
                          in_place ? "" : ", nothing was changed", strerror(saved));
    } else {
        status = in_place ? UCB_OK : sync_folder_of(out->path, err);
    }
    free(out->path);
    free(out->temporary);
    *out = (struct ucb_out_file){0};
    return status;
}

void ucb_out_discard(struct ucb_out_file *out)
{
    if (out->stream == NULL) return;
    fclose(out->stream);
    if (out->temporary != NULL) unlink(out->temporary);
    free(out->path);
    free(out->temporary);
    *out = (struct ucb_out_file){0};
}

ucb_status ucb_file_write(const char *path, const void *data, size_t n_bytes,
                          struct ucb_err *err)
{
    struct ucb_out_file out;
    UCB_TRY(ucb_out_open(path, &out, err));
    if (n_bytes > 0)
        fwrite(data, 1, n_bytes,
               out.stream); /* an error stays in the stream; commit reports it */
    return ucb_out_commit(&out, err);
}

ucb_status ucb_folder_make(const char *path, struct ucb_err *err)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a folder name", path);
    ucb_status status = UCB_OK;
    for (char *p = copy + 1; status == UCB_OK; p++) {
        if (*p != '/' && *p != '\0') continue;
        char saved = *p;
        *p = '\0';
        struct stat info;
        if (mkdir(copy, 0777) != 0 &&
            !(errno == EEXIST && stat(copy, &info) == 0 && S_ISDIR(info.st_mode)))
            status = UCB_FAIL(err, UCB_IO, "%s: cannot make the folder: %s", copy,
                              strerror(errno));
        *p = saved;
        if (saved == '\0') break;
    }
    free(copy);
    return status;
}

bool ucb_file_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}
