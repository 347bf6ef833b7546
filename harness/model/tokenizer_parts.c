/*
 * tokenizer_parts.c - normalizer and pretokenizer of a tokenizer.json, and the fields that
 * all of its components have; see tokenizer_parts.h.
 */
#include "model/tokenizer_parts.h"

#include <string.h>

#include "core/text.h"

/* ---- fields ---- */

const char *ucb_field_kind(const json_t *value)
{
    static const char *const names[] = {"an object",  "an array",      "a string",
                                        "an integer", "a real number", "true",
                                        "false",      "null"};
    return value == NULL ? "absent" : names[json_typeof(value)];
}

ucb_status ucb_field_wrong(const char *field, const json_t *found, const char *expected,
                           struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s is %s, must be %s", field, ucb_field_kind(found),
                    expected);
}

/* The name in "type" of a component; "" where there is none. */
const char *ucb_field_type(const json_t *component)
{
    const char *type = json_string_value(json_object_get(component, "type"));
    return type == NULL ? "" : type;
}

bool ucb_field_absent(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

/* A boolean field that may be absent. */
ucb_status ucb_field_bool(const json_t *object, const char *key, bool absent, bool *out,
                          struct ucb_err *err)
{
    const json_t *value = json_object_get(object, key);
    if (!ucb_field_absent(value) && !json_is_boolean(value))
        return ucb_field_wrong(key, value, "true or false", err);
    *out = ucb_field_absent(value) ? absent : json_is_true(value);
    return UCB_OK;
}

ucb_status ucb_field_unknown(const char *field, const json_t *component,
                             const char *const *known, size_t n_known, struct ucb_err *err)
{
    char near[256];
    ucb_text_near(ucb_field_type(component), known, n_known, near, sizeof(near));
    return UCB_FAIL(
        err, UCB_UNSUPPORTED,
        "%s has the type `%.60s`, which would change the ids and is not implemented; %s",
        field, ucb_field_type(component), near);
}

bool ucb_field_is(const json_t *object, const char *key, const char *expected)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL && strcmp(text, expected) == 0;
}

/* ---- normalizer and pretokenizer ---- */

typedef ucb_status component_reader(struct ucb_tokenizer *t, const json_t *component,
                                    struct ucb_err *err);

/* A component, or each of a Sequence of components. */
static ucb_status read_components(struct ucb_tokenizer *t, const json_t *component,
                                  const char *list, component_reader *read,
                                  struct ucb_err *err)
{
    const json_t *one;
    size_t i;
    if (ucb_field_absent(component)) return UCB_OK;
    if (strcmp(ucb_field_type(component), "Sequence") != 0) return read(t, component, err);
    const json_t *items = json_object_get(component, list);
    if (!json_is_array(items)) return ucb_field_wrong(list, items, "an array", err);
    json_array_foreach(items, i, one) UCB_TRY(read(t, one, err));
    return UCB_OK;
}

#define MARK "\xe2\x96\x81"

static ucb_status read_normalizer(struct ucb_tokenizer *t, const json_t *component,
                                  struct ucb_err *err)
{
    static const char *const known[] = {"NFC", "Prepend", "Replace", "Sequence"};
    const char *type = ucb_field_type(component);
    struct ucb_normalizer *n = &t->normalizer;
    if (strcmp(type, "NFC") == 0 && !n->spaces && !n->prefix)
        n->nfc = true;
    else if (strcmp(type, "Prepend") == 0 && ucb_field_is(component, "prepend", MARK) &&
             !n->spaces)
        n->prefix = true;
    else if (strcmp(type, "Replace") == 0 &&
             ucb_field_is(json_object_get(component, "pattern"), "String", " ") &&
             ucb_field_is(component, "content", MARK))
        n->spaces = true;
    else if (strcmp(type, "NFC") == 0 || strcmp(type, "Prepend") == 0 ||
             strcmp(type, "Replace") == 0)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "normalizer: this use of %s is not implemented; known: NFC, then "
                        "Prepend of U+2581, then Replace of space by U+2581",
                        type);
    else
        return ucb_field_unknown("normalizer", component, known,
                                 sizeof(known) / sizeof(known[0]), err);
    return UCB_OK;
}

static ucb_status read_behavior(const json_t *component, enum ucb_split *split,
                                struct ucb_err *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    static const enum ucb_split splits[] = {
        UCB_SPLIT_ISOLATED, UCB_SPLIT_REMOVED, UCB_SPLIT_MERGED_WITH_PREVIOUS,
        UCB_SPLIT_MERGED_WITH_NEXT, UCB_SPLIT_CONTIGUOUS};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (ucb_field_is(component, "behavior", names[i])) {
            *split = splits[i];
            return UCB_OK;
        }
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "pre_tokenizer: the behavior of %s is none of Isolated, Removed, "
                    "MergedWithPrevious, MergedWithNext, Contiguous",
                    ucb_field_type(component));
}

/* Spaces are marks by then, so it would have to find U+2581 where we keep a space. */
static ucb_status add_pattern(struct ucb_tokenizer *t, const char *type,
                              const char *pattern, size_t n_bytes,
                              struct ucb_pretok_rule rule, struct ucb_err *err)
{
    if (t->normalizer.spaces)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "pre_tokenizer: %s where spaces are U+2581 is not implemented",
                        type);
    return ucb_pretok_add_pattern(&t->pretok, pattern, n_bytes, rule, &t->memory, err);
}

static ucb_status read_split(struct ucb_tokenizer *t, const json_t *split,
                             struct ucb_err *err)
{
    struct ucb_pretok_rule rule;
    const json_t *pattern = json_object_get(split, "pattern"),
                 *regex = json_object_get(pattern, "Regex"),
                 *text = json_object_get(pattern, "String");
    UCB_TRY(ucb_field_bool(split, "invert", false, &rule.invert, err));
    /* Gemma's: the normalizer has left no space to split at. */
    if (t->normalizer.spaces && ucb_field_is(pattern, "String", " ") && !rule.invert)
        return UCB_OK;
    rule.literal = !json_is_string(regex);
    if (rule.literal) regex = text;
    if (!json_is_string(regex))
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "pre_tokenizer: Split without pattern.Regex or pattern.String");
    UCB_TRY(read_behavior(split, &rule.split, err));
    return add_pattern(t, "Split", json_string_value(regex), json_string_length(regex),
                       rule, err);
}

/* Those whose characters an expression finds. */
static ucb_status read_characters(struct ucb_tokenizer *t, const json_t *component,
                                  struct ucb_err *err)
{
    const char *type = ucb_field_type(component), *pattern = "\\s";
    struct ucb_pretok_rule rule = {.split = UCB_SPLIT_REMOVED};
    if (strcmp(type, "Punctuation") == 0) {
        rule.split = UCB_SPLIT_ISOLATED; /* where the file says nothing */
        if (!ucb_field_absent(json_object_get(component, "behavior")))
            UCB_TRY(read_behavior(component, &rule.split, err));
        pattern = "[\\p{P}$+<=>\\^`|~]";
    }
    return add_pattern(t, type, pattern, strlen(pattern), rule, err);
}

static ucb_status read_byte_level(struct ucb_tokenizer *t, const json_t *component,
                                  struct ucb_err *err)
{
    bool prefix, regex;
    UCB_TRY(ucb_field_bool(component, "add_prefix_space", true, &prefix, err));
    UCB_TRY(ucb_field_bool(component, "use_regex", true, &regex, err));
    if (prefix)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "pre_tokenizer: ByteLevel with add_prefix_space is not implemented");
    t->by_char = false;
    return regex ? ucb_pretok_add(&t->pretok, "gpt2", err) : UCB_OK;
}

/* Spaces become U+2581, and one may be put before; "split" would cut at them. */
static ucb_status read_metaspace(struct ucb_tokenizer *t, const json_t *component,
                                 struct ucb_err *err)
{
    struct ucb_normalizer *n = &t->normalizer;
    bool split, always;
    UCB_TRY(ucb_field_bool(component, "split", true, &split, err));
    UCB_TRY(ucb_field_bool(component, "add_prefix_space", true, &always, err));
    const json_t *scheme = json_object_get(component, "prepend_scheme");
    bool first = ucb_field_is(component, "prepend_scheme", "first");
    if (scheme != NULL) always = ucb_field_is(component, "prepend_scheme", "always");
    bool known = scheme == NULL || always || first ||
                 ucb_field_is(component, "prepend_scheme", "never");
    if (split || !known || n->spaces || n->prefix || t->pretok.n_steps > 0 ||
        !ucb_field_is(component, "replacement", MARK))
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "pre_tokenizer: this use of Metaspace is not implemented; known: "
                        "replacement U+2581, split false, prepend_scheme always, first or "
                        "never, without Prepend, Replace or a pre_tokenizer before it");
    n->spaces = n->metaspace = true;
    n->prefix = always || first;
    n->first = first;
    return UCB_OK;
}

static ucb_status read_pretokenizer(struct ucb_tokenizer *t, const json_t *component,
                                    struct ucb_err *err)
{
    static const char *const known[] = {"ByteLevel", "Digits",      "Metaspace",
                                        "Split",     "Punctuation", "WhitespaceSplit",
                                        "Sequence"};
    const char *type = ucb_field_type(component);
    bool individual;
    if (!t->by_char)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "pre_tokenizer: `%.60s` after ByteLevel is not implemented", type);
    if (strcmp(type, "ByteLevel") == 0) return read_byte_level(t, component, err);
    if (strcmp(type, "Split") == 0) return read_split(t, component, err);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(t, component, err);
    if (strcmp(type, "Punctuation") == 0 || strcmp(type, "WhitespaceSplit") == 0)
        return read_characters(t, component, err);
    if (strcmp(type, "Digits") != 0)
        return ucb_field_unknown("pre_tokenizer", component, known,
                                 sizeof(known) / sizeof(known[0]), err);
    UCB_TRY(ucb_field_bool(component, "individual_digits", false, &individual, err));
    return ucb_pretok_add(&t->pretok, individual ? "digit" : "digits", err);
}

/*
 * Either every byte is written as a character of the alphabet (ByteLevel), or it is
 * SentencePiece with byte fallback.
 */
ucb_status ucb_tokenizer_read_parts(struct ucb_tokenizer *t, const json_t *root,
                                    struct ucb_err *err)
{
    bool fallback;
    t->by_char = true; /* until a ByteLevel says otherwise */
    UCB_TRY(read_components(t, json_object_get(root, "normalizer"), "normalizers",
                            read_normalizer, err));
    UCB_TRY(read_components(t, json_object_get(root, "pre_tokenizer"), "pretokenizers",
                            read_pretokenizer, err));
    const json_t *model = json_object_get(root, "model");
    UCB_TRY(ucb_field_bool(model, "byte_fallback", false, &fallback, err));
    t->vocab.spelling = t->by_char ? UCB_SPELL_SPACES : UCB_SPELL_ALPHABET;
    bool bytes = !t->by_char && !fallback && !t->normalizer.spaces && !t->normalizer.prefix;
    bool pieces = t->by_char && fallback && t->normalizer.spaces;
    if (bytes || pieces) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "neither byte-level BPE (pre_tokenizer ByteLevel, no byte_fallback) "
                    "nor SentencePiece BPE (model.byte_fallback, normalizer Replace of "
                    "space by U+2581); other tokenizers are not implemented");
}
