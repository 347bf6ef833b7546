/* fire_vfs.c - see fire_vfs.h. */
#include "fault/fire_vfs.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pcg.h"
#include "test.h"

enum { MAX_FILES = 4, MAX_CHANGES = 4096 };
enum call { CALL_OPEN, CALL_WRITE, CALL_SYNC, CALL_TRUNCATE, CALL_REMOVE };

/* A write, a truncation (no bytes) or a removal (size -1) that no sync has covered. */
struct change {
    sqlite3_int64 offset;
    int n_bytes;
    uint8_t *bytes;
};

/* A file as it is on the disk: what its last sync left, and what came after. */
struct disk_file {
    char path[1024];
    bool exists;
    uint8_t *data;
    size_t n_bytes;
    struct change *changes;
    size_t n_changes;
};

struct fire_file {
    sqlite3_file base;
    struct disk_file *disk; /* NULL: a temporary file without a name */
    sqlite3_file *real;     /* follows this struct */
};

static struct {
    sqlite3_vfs *real, vfs;
    bool armed, hit, failed_last;
    enum fire_kind kind;
    uint64_t n, n_calls;
    struct disk_file files[MAX_FILES];
    size_t n_files;
} fire;

const char *fire_kind_name(enum fire_kind kind)
{
#define FIRE_NAME(code, name) name,
    static const char *const names[] = {FIRE_KIND_LIST(FIRE_NAME)};
#undef FIRE_NAME
    return names[kind];
}

/* ---- what is on the disk ---- */

static bool cuts(void)
{
    return fire.armed && (fire.kind == FIRE_CUT_DROP || fire.kind == FIRE_CUT_MIX);
}

static void forget_changes(struct disk_file *d)
{
    for (size_t i = 0; i < d->n_changes; i++) free(d->changes[i].bytes);
    d->n_changes = 0;
}

/* The file as the system has it now is what the disk has. */
static void settle(struct disk_file *d)
{
    FILE *file = fopen(d->path, "rb");
    forget_changes(d);
    free(d->data);
    d->data = NULL;
    d->n_bytes = 0;
    d->exists = file != NULL;
    if (file == NULL) return;
    fseek(file, 0, SEEK_END);
    d->n_bytes = (size_t)ftell(file);
    d->data = malloc(d->n_bytes + 1);
    rewind(file);
    CHECK(d->data != NULL && fread(d->data, 1, d->n_bytes, file) == d->n_bytes);
    fclose(file);
}

static struct disk_file *disk_of(const char *path)
{
    if (path == NULL) return NULL;
    for (size_t i = 0; i < fire.n_files; i++)
        if (strcmp(fire.files[i].path, path) == 0) return &fire.files[i];
    CHECK(fire.n_files < MAX_FILES);
    struct disk_file *d = &fire.files[fire.n_files++];
    snprintf(d->path, sizeof(d->path), "%s", path);
    d->changes = calloc(MAX_CHANGES, sizeof(*d->changes));
    CHECK(d->changes != NULL);
    settle(d);
    return d;
}

static void note_change(struct disk_file *d, sqlite3_int64 offset, const void *bytes,
                        int n_bytes)
{
    if (d == NULL || !cuts()) return;
    CHECK(d->n_changes < MAX_CHANGES);
    struct change *c = &d->changes[d->n_changes++];
    *c = (struct change){offset, n_bytes, NULL};
    if (n_bytes == 0) return;
    c->bytes = malloc((size_t)n_bytes);
    CHECK(c->bytes != NULL);
    memcpy(c->bytes, bytes, (size_t)n_bytes);
}

static void resize(struct disk_file *d, size_t n_bytes)
{
    d->data = realloc(d->data, n_bytes + 1);
    CHECK(d->data != NULL);
    if (n_bytes > d->n_bytes) memset(d->data + d->n_bytes, 0, n_bytes - d->n_bytes);
    d->n_bytes = n_bytes;
}

static void apply(struct disk_file *d, const struct change *c)
{
    size_t end = (size_t)c->offset + (size_t)c->n_bytes;
    d->exists = c->offset >= 0;
    if (c->offset < 0)
        resize(d, 0);
    else if (c->n_bytes == 0 || end > d->n_bytes)
        resize(d, end);
    if (c->n_bytes > 0) memcpy(d->data + c->offset, c->bytes, (size_t)c->n_bytes);
}

void fire_vfs_cut(enum fire_kind kind, uint64_t seed)
{
    struct ucb_pcg coin;
    ucb_pcg_named(&coin, seed, "power cut");
    for (size_t i = 0; i < fire.n_files; i++) {
        struct disk_file *d = &fire.files[i];
        for (size_t c = 0; c < d->n_changes && kind == FIRE_CUT_MIX; c++)
            if (ucb_pcg_unit(&coin) < 0.5f) apply(d, &d->changes[c]);
        FILE *file = d->exists ? fopen(d->path, "wb") : NULL;
        if (!d->exists) unlink(d->path);
        if (!d->exists) continue;
        CHECK(file != NULL && fwrite(d->data, 1, d->n_bytes, file) == d->n_bytes);
        CHECK_EQ(fclose(file), 0);
    }
}

/* ---- failing ---- */

void fire_vfs_arm(enum fire_kind kind, uint64_t n)
{
    for (size_t i = 0; i < fire.n_files; i++) settle(&fire.files[i]);
    fire.armed = true;
    fire.hit = fire.failed_last = false;
    fire.kind = kind;
    fire.n = n;
    fire.n_calls = 0;
}

bool fire_vfs_disarm(void)
{
    fire.armed = fire.failed_last = false;
    return fire.hit;
}

static bool is_full(void)
{
    return fire.kind == FIRE_FULL_ONCE || fire.kind == FIRE_FULL_ON ||
           fire.kind == FIRE_SHORT;
}

static bool fails(enum call call)
{
    bool once = fire.kind == FIRE_FULL_ONCE || fire.kind == FIRE_IO_ONCE ||
                fire.kind == FIRE_SHORT;
    if (!fire.armed) return false;
    if (is_full() && call != CALL_WRITE && call != CALL_OPEN) return false;
    fire.n_calls++;
    fire.hit |= fire.n_calls == fire.n;
    fire.failed_last = once ? fire.n_calls == fire.n : fire.n_calls >= fire.n;
    return fire.failed_last;
}

/* ---- the calls ---- */

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct fire_file *)file)->real;
}

static int fire_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int fire_read(sqlite3_file *file, void *out, int n, sqlite3_int64 offset)
{
    return real_of(file)->pMethods->xRead(real_of(file), out, n, offset);
}

static int fire_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 offset)
{
    sqlite3_file *real = real_of(file);
    if (fails(CALL_WRITE)) {
        if (fire.kind == FIRE_SHORT) real->pMethods->xWrite(real, bytes, n / 2, offset);
        return is_full() ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    note_change(((struct fire_file *)file)->disk, offset, bytes, n);
    return real->pMethods->xWrite(real, bytes, n, offset);
}

static int fire_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (fails(CALL_TRUNCATE)) return SQLITE_IOERR_TRUNCATE;
    note_change(((struct fire_file *)file)->disk, size, NULL, 0);
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int fire_sync(sqlite3_file *file, int flags)
{
    struct disk_file *d = ((struct fire_file *)file)->disk;
    (void)flags;
    if (fails(CALL_SYNC)) return SQLITE_IOERR_FSYNC;
    if (d != NULL && cuts()) settle(d);
    return SQLITE_OK;
}

static int fire_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int fire_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int fire_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int fire_check_lock(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int fire_control(sqlite3_file *file, int what, void *value)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), what, value);
}

static int fire_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

/* No promise about the order or wholeness of writes: the power cuts keep none. */
static int fire_traits(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int fire_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *out_flags)
{
    static const sqlite3_io_methods methods = {1,
                                               fire_close,
                                               fire_read,
                                               fire_write,
                                               fire_truncate,
                                               fire_sync,
                                               fire_size,
                                               fire_lock,
                                               fire_unlock,
                                               fire_check_lock,
                                               fire_control,
                                               fire_sector,
                                               fire_traits,
                                               NULL,
                                               NULL,
                                               NULL,
                                               NULL,
                                               NULL,
                                               NULL};
    struct fire_file *f = (struct fire_file *)file;
    (void)vfs;
    f->base.pMethods = NULL;
    if ((flags & SQLITE_OPEN_CREATE) != 0 && (name == NULL || access(name, F_OK) != 0) &&
        fails(CALL_OPEN))
        return SQLITE_CANTOPEN;
    f->disk = disk_of(name);
    f->real = (sqlite3_file *)(f + 1);
    int code = fire.real->xOpen(fire.real, name, f->real, flags, out_flags);
    if (f->real->pMethods != NULL) f->base.pMethods = &methods;
    return code;
}

static int fire_remove(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs;
    if (fails(CALL_REMOVE)) return SQLITE_IOERR_DELETE;
    struct disk_file *d = disk_of(name);
    note_change(d, -1, NULL, 0);
    int code = fire.real->xDelete(fire.real, name, 0);
    if (sync_folder && cuts()) settle(d);
    return code;
}

static int fire_last_error(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    if (fire.armed && fire.failed_last) return is_full() ? ENOSPC : EIO;
    return fire.real->xGetLastError(fire.real, n, out);
}

void fire_vfs_install(void)
{
    fire.real = sqlite3_vfs_find(NULL);
    CHECK(fire.real != NULL && fire.real != &fire.vfs);
    fire.vfs = *fire.real;
    fire.vfs.zName = "fire";
    fire.vfs.szOsFile = (int)sizeof(struct fire_file) + fire.real->szOsFile;
    fire.vfs.xOpen = fire_open;
    fire.vfs.xDelete = fire_remove;
    fire.vfs.xGetLastError = fire_last_error;
    CHECK_EQ(sqlite3_vfs_register(&fire.vfs, 1), SQLITE_OK);
}
