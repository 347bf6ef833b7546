/* Core: halves, streams, numbers, bytes, the pool. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/bytes.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/half.h"
#include "core/pcg.h"
#include "core/pool.h"
#include "core/sha256.h"
#include "core/text.h"

TEST(every_half_widens_and_rounds_back_to_itself)
{
    for (uint32_t h = 0; h < 65536; h++) {
        bool f16_nan = (h & 0x7fff) > 0x7c00, bf16_nan = (h & 0x7fff) > 0x7f80;
        if (!f16_nan) CHECK_EQ(ucb_f16_from_f32(ucb_f16_widen((uint16_t)h)), h);
        if (!bf16_nan) CHECK_EQ(ucb_bf16_from_f32(ucb_bf16_widen((uint16_t)h)), h);
        if (f16_nan) CHECK(isnan(ucb_f16_widen((uint16_t)h)));
        if (bf16_nan) CHECK(isnan(ucb_bf16_widen((uint16_t)h)));
    }
}

TEST(bytes_that_are_no_utf8_become_replacement_characters_one_by_one)
{
    static const struct {
        const char *bytes, *expected;
        size_t n_bytes;
    } cases[] = {
        {"", "", 0},
        {"na\xc3\xafve \xf0\x9f\x90\xa6", "na\xc3\xafve \xf0\x9f\x90\xa6", 11},
        {"a\xff\xfe.", "a\xef\xbf\xbd\xef\xbf\xbd.", 4},
        {"\xc3", "\xef\xbf\xbd", 1},                 /* cut */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", 2}, /* longer than needed */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3}, /* a surrogate */
        {"a\0b",
         "a\xef\xbf\xbd"
         "b",
         3},
    };
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        struct ucb_text text = {0};
        ucb_text_add_utf8(&text, cases[k].bytes, cases[k].n_bytes);
        CHECK_TEXT(ucb_text_get(&text), cases[k].expected);
        ucb_text_free(&text);
    }
}

TEST(halves_round_to_nearest_even_at_every_boundary)
{
    for (uint32_t h = 0; h < 0x7bff; h++) { /* between neighbours h and h + 1 */
        float low = ucb_f16_widen((uint16_t)h), high = ucb_f16_widen((uint16_t)(h + 1)),
              middle = (low + high) / 2;
        CHECK_EQ(ucb_f16_from_f32(middle), h + (h & 1));
        CHECK_EQ(ucb_f16_from_f32(nextafterf(middle, 0)), h);
        CHECK_EQ(ucb_f16_from_f32(nextafterf(middle, INFINITY)), h + 1);
    }
    CHECK_EQ(ucb_f16_from_f32(65519.996f), 0x7bff);
    CHECK_EQ(ucb_f16_from_f32(65520.0f), 0x7c00);
    CHECK_EQ(ucb_f16_from_f32(-INFINITY), 0xfc00);
    CHECK_EQ(ucb_bf16_from_f32(1.00390625f), 0x3f80); /* 1 + 2^-8, a tie: to even */
    CHECK_EQ(ucb_bf16_from_f32(3.4e38f), 0x7f80);
}

TEST(pcg32_yields_the_published_sequence)
{
    static const uint32_t known[] = {0xa15c02b7, 0x7b47f409, 0xba1d3330,
                                     0x83d2f293, 0xbfa4784b, 0xcbed606e};
    struct ucb_pcg r;
    ucb_pcg_seed(&r, 42, 54);
    for (size_t i = 0; i < 6; i++) CHECK_EQ(ucb_pcg_next(&r), known[i]);
}

TEST(named_streams_differ_and_repeat)
{
    struct ucb_pcg a, b, c;
    ucb_pcg_named(&a, 1, "x");
    ucb_pcg_named(&b, 1, "x");
    ucb_pcg_named(&c, 1, "y");
    uint32_t first = ucb_pcg_next(&a);
    CHECK_EQ(first, ucb_pcg_next(&b));
    CHECK(first != ucb_pcg_next(&c));
}

TEST(sha256_of_abc_is_the_standard_one)
{
    char hex[UCB_SHA256_HEX];
    ucb_sha256_hex("abc", 3, hex);
    CHECK_TEXT(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(numbers_are_parsed_whole_or_not_at_all)
{
    uint64_t u;
    int64_t i;
    double f;
    CHECK(ucb_parse_u64("18446744073709551615", &u) && u == UINT64_MAX);
    CHECK(!ucb_parse_u64("18446744073709551616", &u));
    CHECK(!ucb_parse_u64("-1", &u) && !ucb_parse_u64("", &u) && !ucb_parse_u64("1 ", &u) &&
          !ucb_parse_u64("+1", &u));
    CHECK(ucb_parse_i64("-5", &i) && i == -5);
    CHECK(ucb_parse_f64("0.25", &f) && f == 0.25);
    CHECK(!ucb_parse_f64("nan", &f) && !ucb_parse_f64("1e999", &f) &&
          !ucb_parse_f64("0x1", &f));
    CHECK(ucb_parse_bytes("4G", &u) && u == 4ull << 30);
    CHECK(ucb_parse_bytes("512MiB", &u) && u == 512ull << 20);
    CHECK(!ucb_parse_bytes("99999999999T", &u) && !ucb_parse_bytes("4X", &u));
}

TEST(an_unknown_word_is_answered_with_its_neighbours)
{
    static const char *const names[] = {"nf4", "fp4", "int8", "hqq"};
    char text[128];
    ucb_text_near("nf", names, 4, text, sizeof(text));
    CHECK_HAS(text, "`nf4`");
    ucb_text_near("zzzzzz", names, 4, text, sizeof(text));
    CHECK_HAS(text, "known: nf4, fp4, int8, hqq");
}

TEST(a_writer_counts_every_byte_under_its_part)
{
    struct ucb_writer out = {0};
    struct ucb_err err;
    ucb_part(&out, UCB_PART_CODES);
    ucb_put_u8(&out, 1);
    ucb_part(&out, UCB_PART_SCALES);
    ucb_put_f32(&out, 2.0f);
    CHECK_OK(ucb_writer_status(&out, &err), err);
    CHECK_EQ(out.part_bytes[UCB_PART_CODES], 1);
    CHECK_EQ(out.part_bytes[UCB_PART_SCALES], 4);
    CHECK_EQ(out.n_bytes, 5);
    struct ucb_reader in = {out.data, out.n_bytes, 0};
    uint8_t code;
    uint64_t wide;
    float scale;
    CHECK(ucb_get_u8(&in, &code) && code == 1);
    CHECK(!ucb_get_u64(&in, &wide) && in.at == 1);
    CHECK(ucb_get_f32(&in, &scale) && scale == 2.0f);
    ucb_writer_free(&out);
}

static void count_one(void *context, size_t index)
{
    atomic_fetch_add(&((atomic_int *)context)[index], 1);
}

TEST(a_parallel_loop_runs_each_index_once)
{
    static atomic_int hits[1000];
    for (unsigned n_threads = 1; n_threads <= 7; n_threads += 3) {
        struct ucb_pool *pool;
        struct ucb_err err;
        CHECK_OK(ucb_pool_open(n_threads, &pool, &err), err);
        for (int round = 0; round < 50; round++)
            ucb_parallel_for(pool, 1000, count_one, hits);
        ucb_pool_close(pool);
    }
    for (int i = 0; i < 1000; i++) CHECK_EQ(atomic_load(&hits[i]), 150);
}

TEST(a_file_is_replaced_whole_or_not_at_all)
{
    struct ucb_err err;
    struct ucb_file file;
    const char *path = ucb_test_path("%s/a/b.bin", ucb_test_folder());
    CHECK_STATUS(ucb_file_write(path, "x", 1, &err), UCB_IO, err);
    CHECK_OK(ucb_folder_make(ucb_test_path("%s/a", ucb_test_folder()), &err), err);
    CHECK_OK(ucb_file_write(path, "old", 3, &err), err);
    struct ucb_out_file out;
    CHECK_OK(ucb_out_open(path, &out, &err), err);
    fputs("half", out.stream);
    ucb_out_discard(&out);
    CHECK_OK(ucb_file_map(path, &file, &err), err);
    CHECK(file.n_bytes == 3 && memcmp(file.data, "old", 3) == 0);
    ucb_file_unmap(&file);
    CHECK_STATUS(ucb_file_map(ucb_test_folder(), &file, &err), UCB_MISSING, err);
}

/* Files in the test's folder whose name holds ".ucb-". */
static int count_temporaries(void)
{
    DIR *dir = opendir(ucb_test_folder());
    int n = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += strstr(e->d_name, ".ucb-") != NULL;
    closedir(dir);
    return n;
}

TEST(what_a_killed_writer_left_is_removed_by_the_next_one_of_the_same_file)
{
    const char *path = ucb_test_path("%s/target", ucb_test_folder());
    struct ucb_out_file out, other;
    struct ucb_err err;
    pid_t child = fork();
    if (child == 0) {
        if (ucb_out_open(path, &out, &err) != UCB_OK) _exit(1);
        raise(SIGKILL);
    }
    int state;
    CHECK_EQ(waitpid(child, &state, 0), child);
    CHECK(WIFSIGNALED(state));
    CHECK_EQ(count_temporaries(), 1);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/target2", ucb_test_folder()), "x", 1, &err),
             err);
    CHECK_EQ(count_temporaries(), 1); /* another file's is left alone */
    CHECK_OK(ucb_out_open(path, &out, &err), err);
    CHECK_EQ(count_temporaries(), 1);
    CHECK_OK(ucb_out_open(path, &other, &err), err); /* and so is a living one's */
    CHECK_EQ(count_temporaries(), 2);
    ucb_out_discard(&other);
    CHECK_OK(ucb_out_commit(&out, &err), err);
    CHECK_EQ(count_temporaries(), 0);
}

/* In a container every start of the program may have the same process number. */
TEST(what_a_killed_process_of_our_own_number_left_is_removed_too)
{
    struct ucb_err err;
    const char *path = ucb_test_path("%s/target", ucb_test_folder()),
               *left = ucb_test_path("%s.ucb-%ld-7.tmp", path, (long)getpid());
    CHECK(close(open(left, O_WRONLY | O_CREAT, 0600)) == 0);
    CHECK_OK(ucb_file_write(path, "x", 1, &err), err);
    CHECK_EQ(count_temporaries(), 0);
}

TEST(a_written_file_has_the_permissions_that_the_umask_leaves)
{
    static const mode_t masks[] = {0, 022, 027, 077};
    struct ucb_err err;
    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        const char *path = ucb_test_path("%s/%zu.bin", ucb_test_folder(), i);
        struct stat info;
        umask(masks[i]);
        CHECK_OK(ucb_file_write(path, "x", 1, &err), err);
        CHECK(stat(path, &info) == 0);
        CHECK_EQ(info.st_mode & 0777, 0666 & ~masks[i]);
    }
    umask(022);
}

/* Stands before the C library's in this program, and does the same; counts folders. */
static int n_synced_folders;
int fsync(int fd)
{
    struct stat info;
    n_synced_folders += fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
    return (int)syscall(SYS_fsync, fd);
}

TEST(a_committed_file_is_synced_with_its_folder)
{
    struct ucb_err err;
    CHECK_OK(ucb_file_write(ucb_test_path("%s/x", ucb_test_folder()), "x", 1, &err), err);
    CHECK_EQ(n_synced_folders, 1);
    CHECK(chdir(ucb_test_folder()) == 0);
    CHECK_OK(ucb_file_write("y", "y", 1, &err), err);
    CHECK_EQ(n_synced_folders, 2);
}

TEST(an_arena_refuses_sizes_that_overflow)
{
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    CHECK(ucb_arena_array(&arena, SIZE_MAX / 2, 3) == NULL);
    uint8_t *a = ucb_arena_alloc(&arena, 100), *b = ucb_arena_alloc(&arena, 1 << 20);
    CHECK(a != NULL && b != NULL && (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
    ucb_mem_fail_after(1);
    CHECK(ucb_arena_alloc(&arena, 8) == NULL);
    CHECK(ucb_arena_alloc(&arena, 8) != NULL);
    ucb_arena_free(&arena);
}
