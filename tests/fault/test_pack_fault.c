/* pack where the disk is full or memory runs out: the old file stays, nothing else is left
 * behind. */
#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/file.h"
#include "core/pool.h"
#include "pack/pack_gguf.h"
#include "tiny.h"

static struct ucb_err err;

static size_t count_files(const char *folder)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    CHECK(d != NULL);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* An old file that must survive. */
static const char *old_file(void)
{
    const char *folder = ucb_test_path("%s/out", ucb_test_folder()),
               *path = ucb_test_path("%s/x.gguf", folder);
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_OK(ucb_file_write(path, "old", 3, &err), err);
    return path;
}

static void check_old(const char *path)
{
    struct ucb_file file;
    CHECK_OK(ucb_file_map(path, &file, &err), err);
    CHECK_EQ(file.n_bytes, 3);
    CHECK(memcmp(file.data, "old", 3) == 0);
    ucb_file_unmap(&file);
    CHECK_EQ(count_files(ucb_test_path("%s/out", ucb_test_folder())), 1);
}

TEST(a_full_disk_ends_a_pack_and_leaves_the_old_file)
{
    static char said[4096];
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()), *path = old_file();
    ucb_tiny_model(model);
    /* The limit on file sizes stands in for a full disk; the file would take 190 KB. */
    FILE *pipe = popen(
        ucb_test_path("sh -c 'ulimit -f 64; %s pack --format gguf --model %s "
                      "--method nf4 --out %s 2>&1; echo exit $?'",
                      ucb_test_program(), model, path),
        "r");
    CHECK(pipe != NULL);
    said[fread(said, 1, sizeof(said) - 1, pipe)] = '\0';
    pclose(pipe);
    CHECK_HAS(said, "exit 4");
    CHECK_HAS(said, "nothing was changed");
    check_old(path);
}

/* Opens everything, packs; the n-th allocation of the packing itself fails. */
static ucb_status pack_with(const char *model_path, const char *path, long n)
{
    struct ucb_model *model;
    struct ucb_backend *backend;
    struct ucb_arena arena;
    struct ucb_pack_options o = {.out = path, .label = "test"};
    struct ucb_pack_result result;
    struct ucb_chain *chain;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_chain_parse("nf4", &arena, &chain, &err), err);
    CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL, &backend, &err), err);
    CHECK_OK(ucb_model_open(model_path, &model, &err), err);
    CHECK_OK(ucb_loader_open(model, backend, NULL, UCB_SCOPE_ALL, 0, "", &o.loader, &err),
             err);
    o.model = model;
    o.chain = chain;
    o.scope = UCB_SCOPE_ALL;
    ucb_mem_fail_after(n);
    ucb_status status = ucb_pack_gguf(&o, &result, &err);
    ucb_mem_fail_after(0);
    ucb_loader_close(o.loader);
    ucb_model_close(model);
    ucb_backend_close(backend);
    ucb_arena_free(&arena);
    return status;
}

TEST(without_memory_a_pack_says_so_and_leaves_the_old_file)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()), *path = old_file();
    long n = 1;
    ucb_tiny_model(model);
    for (; n < 1000; n++) {
        ucb_status status = pack_with(model, path, n);
        if (status == UCB_OK) break;
        CHECK_STATUS(status, UCB_NOMEM, err);
        check_old(path);
    }
    CHECK(n > 10 && n < 1000);
}
