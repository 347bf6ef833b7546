/*
 * spm.c - SentencePiece BPE: two neighbours merge when their joint text is a token; the
 * highest score goes first.
 *
 * Scores become ranks once, at opening: merging then compares integers, and equal scores
 * have equal ranks, so that among them the leftmost goes first.
 *
 * A SentencePiece text has no pretokenizer: all of it is one piece. But where no token
 * holds a space behind another character, no merge can ever cross such a place, so the text
 * may be cut there and gives the same ids, faster.
 */
#include <math.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "model/tokenizer_internal.h"

struct scored {
    float score;
    uint32_t id;
};

static int higher_first(const void *left, const void *right)
{
    const struct scored *a = left, *b = right;
    if (a->score != b->score) return a->score < b->score ? 1 : -1;
    return (a->id > b->id) - (a->id < b->id);
}

ucb_status ucb_spm_rank(struct ucb_tokenizer *t, const void *scores, struct ucb_err *err)
{
    uint32_t n = t->vocab.n_ids, rank = 0;
    struct scored *order = UCB_NEW(&t->memory, struct scored, n);
    t->score_ranks = UCB_NEW(&t->memory, uint32_t, n);
    if (order == NULL || t->score_ranks == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the scores of %u ids", (unsigned)n);
    for (uint32_t id = 0; id < n; id++) {
        order[id] = (struct scored){ucb_load_f32((const char *)scores + 4 * (size_t)id),
                                    id};
        if (isnan(order[id].score))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "tokenizer.ggml.scores[%u] is NaN; scores must have an order",
                            (unsigned)id);
    }
    qsort(order, n, sizeof(*order), higher_first);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) rank = i;
        t->score_ranks[order[i].id] = rank;
    }
    return UCB_OK;
}

bool ucb_spm_rule(const struct ucb_tokenizer *t, const char *piece,
                  const struct ucb_symbol *left, const struct ucb_symbol *right,
                  uint32_t *rank, uint32_t *merged)
{
    *merged = ucb_vocab_find(&t->vocab, piece + left->start,
                             (size_t)left->n_bytes + right->n_bytes);
    if (*merged == UCB_NO_ID) return false;
    *rank = t->score_ranks[*merged];
    return true;
}

static bool has_inner_space(const struct ucb_token *token)
{
    for (uint32_t i = 1; i < token->n_bytes; i++)
        if (token->text[i] == ' ' && token->text[i - 1] != ' ') return true;
    return false;
}

ucb_status ucb_spm_cut_words(struct ucb_tokenizer *t, struct ucb_err *err)
{
    for (uint32_t id = 0; id < t->vocab.n_ids; id++)
        if (has_inner_space(&t->vocab.tokens[id])) return UCB_OK;
    return ucb_pretok_add(&t->pretok, "words", err);
}
