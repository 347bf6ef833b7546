/*
 * fuzz_task - hostile bytes as the data set of each task. The first byte chooses task and
 * knobs; what is refused must be refused with a sentence, what is taken must cover its
 * scored positions.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "task/task.h"
#include "byte_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static const char *const specs[] = {
    "lambada",
    "lambada:n=2",
    "lambada-windows:n=5",
    "wikitext:ctx=8",
    "wikitext:ctx=9,half=0,join=hf",
    "wikitext-words:ctx=4",
    "wikitext-words:n=1",
};

static const struct ucb_tokenizer *tokenizer(void)
{
    static struct ucb_tokenizer *opened;
    const char *temporary = getenv("TMPDIR");
    char folder[512];
    if (opened != NULL) return opened;
    snprintf(folder, sizeof(folder), "%s/ucb-fuzz-XXXXXX",
             temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(folder) == NULL || tiny_tokenizer_open(folder, 1, &opened, NULL) != UCB_OK)
        abort();
    tiny_tokenizer_remove(folder);
    return opened;
}

static void check(const struct ucb_items *items)
{
    size_t at = 0;
    for (uint32_t w = 0; w < items->n_windows; w++) {
        uint32_t position = items->windows[w].score_from, end = items->windows[w].n_ids - 1;
        for (; at < items->n_items && items->items[at].window == w; at++) {
            assert(items->items[at].from == position && items->items[at].to > position);
            assert(items->items[at].document < items->n_documents);
            position = items->items[at].to;
        }
        assert(position == end);
    }
    assert(at == items->n_items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct ucb_arena arena;
    struct ucb_task_run run;
    struct ucb_items items;
    struct ucb_err err = {.text = ""};
    if (n_bytes == 0) return 0;
    if (ucb_task_parse(specs[data[0] % (sizeof(specs) / sizeof(specs[0]))], &run, &err) !=
        UCB_OK)
        abort();
    ucb_arena_init(&arena);
    ucb_status status = ucb_task_prepare(&run, "fuzz", (const char *)data + 1, n_bytes - 1,
                                         tokenizer(), &arena, &items, &err);
    if (status == UCB_OK) check(&items);
    if (status != UCB_OK && err.text[0] == '\0') abort();
    ucb_arena_free(&arena);
    return 0;
}
