/*
 * tokenizer_internal.h - what the files of the tokenizer share.
 *
 * A text passes through: added tokens (added.c), normalizer (normalize.c), pretokenizer
 * (pretok.c), merges (bpe.c and spm.c on top of merge.c); tokenize.c is the passage. The
 * tables come from tokenizer_json.c or tokenizer_gguf.c; tokenizer.c opens the right one.
 * After opening nothing in struct ucb_tokenizer changes.
 */
#ifndef UCB_MODEL_TOKENIZER_INTERNAL_H
#define UCB_MODEL_TOKENIZER_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>

#include "model/tokenizer.h"

#define UCB_NO_ID UINT32_MAX

/* The numbers are those of GGUF's tokenizer.ggml.token_type. */
enum ucb_token_kind {
    UCB_TOKEN_ABSENT = 0, /* an id that no token has */
    UCB_TOKEN_NORMAL = 1,
    UCB_TOKEN_UNKNOWN = 2,
    UCB_TOKEN_CONTROL = 3,
    UCB_TOKEN_USER = 4,
    UCB_TOKEN_UNUSED = 5,
    UCB_TOKEN_BYTE = 6,
};

/* ---- spelling.c: how a vocabulary file writes the bytes of a token ---- */

enum ucb_spelling {
    UCB_SPELL_ALPHABET, /* GPT-2: one of 256 printable characters a byte */
    UCB_SPELL_SPACES,   /* SentencePiece: U+2581 is a space */
};
/*
 * The bytes that `text` stands for; false where a character is outside the alphabet. `out`
 * holds n_chars bytes.
 */
bool ucb_spelling_decode(enum ucb_spelling spelling, const char *text, size_t n_chars,
                         char *out, size_t *n_bytes);
/* "<0x0A>" -> 10; -1 for any other text. */
int ucb_byte_token(const char *text, size_t n_chars);

/* ---- vocab.c: id -> bytes, bytes -> id ---- */

struct ucb_token {
    const char *text; /* the bytes it stands for, in the pool */
    uint32_t n_bytes;
    enum ucb_token_kind kind;
};
struct ucb_vocab {
    enum ucb_spelling spelling; /* of its file; set before the first put */
    struct ucb_token *tokens;
    uint32_t n_ids;
    char *pool;
    size_t pool_bytes, pool_used;
    uint32_t *slots; /* open addressing: id, or UCB_NO_ID */
    size_t n_slots;  /* a power of two */
};
/* Room for ids below n_ids and n_bytes of text in all; the index has room for every id. */
ucb_status ucb_vocab_reserve(struct ucb_vocab *v, uint32_t n_ids, size_t n_bytes,
                             struct ucb_arena *memory, struct ucb_err *err);
/*
 * Gives an id (below n_ids) the token spelled `text`. Control and user tokens are plain
 * text in every file. A normal token outside the alphabet becomes UNUSED: no merge can make
 * it. CORRUPT when the id has a token, or a byte token is no "<0xNN>".
 */
ucb_status ucb_vocab_put(struct ucb_vocab *v, uint32_t id, const char *text, size_t n_chars,
                         enum ucb_token_kind kind, struct ucb_err *err);
/*
 * Makes the id findable by its bytes; UCB_NO_ID, or the id that has these bytes already
 * (then nothing changes).
 */
uint32_t ucb_vocab_index(struct ucb_vocab *v, uint32_t id);
/* The id with these bytes, or UCB_NO_ID. */
uint32_t ucb_vocab_find(const struct ucb_vocab *v, const char *text, size_t n_bytes);

uint64_t ucb_text_hash(const char *text, size_t n_bytes);
/* Up to 40 bytes of any text as printable ASCII, for messages. */
struct ucb_shown {
    char text[176];
};
struct ucb_shown ucb_show(const char *text, size_t n_bytes);

/* ---- added.c: tokens recognised as they are written ---- */

struct ucb_added_token {
    const char *text;
    uint32_t n_bytes, id;
    bool lstrip, rstrip; /* takes the white space before it, after it */
};
struct ucb_added {
    struct ucb_added_token *tokens; /* sorted by bytes */
    size_t n, capacity;
    bool starts[256]; /* some token begins with this byte */
};
ucb_status ucb_added_reserve(struct ucb_added *a, size_t capacity, struct ucb_arena *memory,
                             struct ucb_err *err);
/* The token's text is kept, not copied. */
void ucb_added_put(struct ucb_added *a, struct ucb_added_token token);
/* To be called once after the last put. CORRUPT when two ids have the same text. */
ucb_status ucb_added_sort(struct ucb_added *a, struct ucb_err *err);
/* Where a token lies, with the white space it takes. */
struct ucb_added_match {
    size_t begin, end;
    size_t from; /* behind the token as it is written: where the search goes on */
    uint32_t id;
};
/*
 * The leftmost, there the longest token in text[m->from..n_bytes); false when there is
 * none. *m is zero at first and the match before from then on: a token takes no white space
 * that one before it took. It may itself lie in such: then it begins before m->end was.
 */
bool ucb_added_next(const struct ucb_added *a, const char *text, size_t n_bytes,
                    struct ucb_added_match *m);

/* ---- normalize.c ---- */

struct ucb_normalizer {
    bool nfc;
    bool spaces; /* U+2581 counts as a space, as SentencePiece has it */
    bool prefix; /* a space is put before the text */
    /* As the pretokenizer Metaspace has it: none before a text that begins with one, and
     * with `first` only where the text begins. */
    bool metaspace, first;
};
/*
 * All but what the pretokenizer Metaspace does. *out is `text` itself when nothing changes,
 * else lies in `scratch`. `text` is valid UTF-8.
 */
ucb_status ucb_normalize(const struct ucb_normalizer *n, const char *text, size_t n_bytes,
                         struct ucb_arena *scratch, const char **out, size_t *n_out,
                         struct ucb_err *err);
/*
 * That, where there is one, for what lies between added tokens; `begins`: it is not what
 * follows one.
 */
ucb_status ucb_metaspace(const struct ucb_normalizer *n, const char *text, size_t n_bytes,
                         bool begins, struct ucb_arena *scratch, const char **out,
                         size_t *n_out, struct ucb_err *err);

/* ---- onig.c: regular expressions as tokenizer.json files mean them ---- */

struct ucb_text;
/*
 * Writes to the empty `out` what PCRE2 compiles, with UTF, UCP, MULTILINE and the newline
 * U+000A, to an expression of the same matches and no captures. `pattern` is UTF-8.
 * UNSUPPORTED: a construct that is not known to mean the same, by name and offset. `out`
 * belongs to the caller in any case.
 */
ucb_status ucb_onig_rewrite(const char *pattern, size_t n_bytes, struct ucb_text *out,
                            struct ucb_err *err);
/* The same for a text that means itself. */
void ucb_onig_literal(const char *text, size_t n_bytes, struct ucb_text *out);
/* The beginning of an expression for a message: what is not printable ASCII is a ?. */
struct ucb_shown ucb_onig_show(const char *pattern, size_t n_bytes);

/* ---- pretok.c: regular expressions that cut a text into pieces ---- */

/* What becomes of matches (with `invert`: of what lies between them). */
enum ucb_split {
    UCB_SPLIT_ISOLATED,
    UCB_SPLIT_REMOVED,
    UCB_SPLIT_MERGED_WITH_PREVIOUS,
    UCB_SPLIT_MERGED_WITH_NEXT,
    UCB_SPLIT_CONTIGUOUS,
};
struct ucb_pretok_rule {
    enum ucb_split split;
    bool invert;
    bool literal; /* the pattern is a text, not an expression */
};
struct ucb_pretok_step {
    pcre2_code *code;
    struct ucb_pretok_rule rule;
    const char *name; /* in pretok.c's table, or the expression */
    bool known;       /* in the table */
};
enum { UCB_PRETOK_STEPS = 16 };
struct ucb_pretok {
    /* Each cuts the pieces of the one before into its matches and what lies between. */
    struct ucb_pretok_step steps[UCB_PRETOK_STEPS];
    size_t n_steps;
    pcre2_match_context *limits; /* for expressions that are not in the table, or NULL */
};
/* Adds a step by its name in pretok.c's table. */
ucb_status ucb_pretok_add(struct ucb_pretok *p, const char *name, struct ucb_err *err);
/*
 * Adds a step by its expression as tokenizer.json has it: one of the table gets its name.
 * UNSUPPORTED: see ucb_onig_rewrite; too many steps.
 */
ucb_status ucb_pretok_add_pattern(struct ucb_pretok *p, const char *pattern, size_t n_bytes,
                                  struct ucb_pretok_rule rule, struct ucb_arena *memory,
                                  struct ucb_err *err);
void ucb_pretok_free(struct ucb_pretok *p);
/*
 * Match data for all steps, one per thread; NULL without memory. Release with
 * pcre2_match_data_free.
 */
pcre2_match_data *ucb_pretok_match_data(void);
/*
 * Hands each piece of the text to `emit`, in order; stops at a failure and returns it.
 * UNSUPPORTED: an expression that is not in the table backtracks without end.
 */
typedef ucb_status ucb_piece_sink(void *context, const char *piece, size_t n_bytes,
                                  struct ucb_err *err);
ucb_status ucb_pretok_split(const struct ucb_pretok *p, pcre2_match_data *match,
                            const char *text, size_t n_bytes, ucb_piece_sink *emit,
                            void *context, struct ucb_err *err);

/* ---- merge.c: neighbours become one, best rank first, leftmost first ---- */

struct ucb_symbol {
    uint32_t id;             /* or UCB_NO_ID */
    uint32_t start, n_bytes; /* in the piece */
    uint32_t prev, next;     /* neighbours, or UCB_NO_ID */
    uint32_t rank, merged;   /* with the next; rank UCB_NO_ID: they do not merge */
};
/* May two neighbours become one, how early (lower is earlier), and which id is that? */
typedef bool ucb_pair_rule(const struct ucb_tokenizer *t, const char *piece,
                           const struct ucb_symbol *left, const struct ucb_symbol *right,
                           uint32_t *rank, uint32_t *merged);
struct ucb_merger {
    struct ucb_symbol *symbols;
    uint64_t *heap; /* rank << 32 | symbol */
    size_t n_symbols, n_heap, capacity;
};
/* Room for n symbols; the old ones are lost. */
ucb_status ucb_merger_reserve(struct ucb_merger *m, size_t n, struct ucb_arena *scratch,
                              struct ucb_err *err);
/* Adds a symbol behind the last. */
void ucb_merger_put(struct ucb_merger *m, uint32_t id, size_t start, size_t n_bytes);
/* Merges all; afterwards symbols[0] and its `next` chain are the result. O(n log n). */
void ucb_merger_run(struct ucb_merger *m, const struct ucb_tokenizer *t, const char *piece,
                    ucb_pair_rule *rule);

/* ---- bpe.c: merges listed in order; spm.c: merges by the score of their result ---- */

struct ucb_pair {
    uint64_t key;          /* left id << 32 | right id */
    uint32_t rank, merged; /* rank UCB_NO_ID: a free slot */
};
struct ucb_pairs {
    struct ucb_pair *slots;
    size_t n_slots; /* a power of two */
};
ucb_status ucb_pairs_reserve(struct ucb_pairs *p, size_t n_merges, struct ucb_arena *memory,
                             struct ucb_err *err);
/* False when the pair has a rank already. */
bool ucb_pairs_put(struct ucb_pairs *p, uint32_t left, uint32_t right, uint32_t rank,
                   uint32_t merged);
ucb_pair_rule ucb_bpe_rule, ucb_spm_rule;
/* Two texts as the file spells them: looks up the three tokens and puts the pair. */
ucb_status ucb_bpe_merge(struct ucb_tokenizer *t, uint32_t rank, const char *left,
                         size_t n_left, const char *right, size_t n_right,
                         struct ucb_err *err);
/*
 * Ranks for all ids from their scores (unaligned fp32, one an id): higher score, lower
 * rank; equal ones share it.
 */
ucb_status ucb_spm_rank(struct ucb_tokenizer *t, const void *scores, struct ucb_err *err);
/*
 * Adds a cut before the spaces of a text, if the finished vocabulary makes sure that it
 * changes nothing.
 */
ucb_status ucb_spm_cut_words(struct ucb_tokenizer *t, struct ucb_err *err);

/* ---- the tokenizer ---- */

struct ucb_tokenizer {
    struct ucb_arena memory;
    struct ucb_vocab vocab;
    struct ucb_added added_raw;        /* recognised before the normalizer */
    struct ucb_added added_normalized; /* after it */
    struct ucb_normalizer normalizer;
    struct ucb_pretok pretok;
    bool by_char;      /* merging starts from characters (SentencePiece), not from bytes */
    bool whole_pieces; /* a piece that is a token is that token, whatever the merges say */
    ucb_pair_rule *rule;
    struct ucb_pairs pairs;
    uint32_t *score_ranks;  /* spm: by id */
    uint32_t byte_ids[256]; /* the token of a single byte, or UCB_NO_ID */
    uint32_t bos;
    uint32_t template_first; /* tokenizer.json: what its post-processor puts first, or
                                UCB_NO_ID */
    bool adds_bos;
};

/* Both fill an empty tokenizer; the caller releases it on failure. */
ucb_status ucb_tokenizer_read_json(struct ucb_tokenizer *t, const char *path,
                                   struct ucb_err *err);
ucb_status ucb_tokenizer_read_gguf(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                                   struct ucb_err *err);
/* The name that a GGUF gives the tokenizer's pretokenizer (tokenizer.ggml.pre), or NULL. */
const char *ucb_tokenizer_gguf_pre(const struct ucb_tokenizer *t);
/*
 * tokenizer.json from memory; `name` stands in messages. What lies beside the file (the BOS
 * token) is not read.
 */
ucb_status ucb_tokenizer_parse_json(struct ucb_tokenizer *t, const char *name,
                                    const char *text, size_t n_bytes, struct ucb_err *err);
/* The same as an object of its own, for tests and fuzzing. */
ucb_status ucb_tokenizer_from_json(const char *name, const char *text, size_t n_bytes,
                                   struct ucb_tokenizer **out, struct ucb_err *err);
/*
 * An added token of SentencePiece that merges make, too: for them, and for people, U+2581
 * in it is a space from now on. What is looked for in a text stays as it is written: put
 * the token among the added ones first.
 */
ucb_status ucb_tokenizer_respell(struct ucb_tokenizer *t, uint32_t id, struct ucb_err *err);
/* byte_ids from the finished vocabulary. */
void ucb_tokenizer_find_bytes(struct ucb_tokenizer *t);

#endif
