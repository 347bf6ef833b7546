/* info_text.c - what `ucbench info` prints for people, from its JSON; see info.h. */
#include "info.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text == NULL ? "" : text;
}

static long long number(json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static double real(json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* ---- facts ---- */

static void print_architecture(json_t *o)
{
    json_t *a = json_object_get(o, "architecture");
    printf(
        "  type        %s, %lld layers, hidden %lld, %lld query and %lld key/value heads of %lld, feed-forward %lld\n",
        text_of(o, "model_type"), number(a, "layers"), number(a, "hidden"),
        number(a, "heads"), number(a, "kv_heads"), number(a, "head_dim"), number(a, "ffn"));
    if (number(a, "experts") > 0)
        printf("  experts     %lld, of which %lld run for each token\n",
               number(a, "experts"), number(a, "experts_used"));
    const char *positions = text_of(a, "positions");
    printf("  positions   %s", positions);
    if (strncmp(positions, "rope", 4) == 0)
        printf(", theta %.10g, %lld of %lld dimensions turn", real(a, "rope_theta"),
               number(a, "rotary_dim"), number(a, "head_dim"));
    if (number(a, "max_positions") > 0)
        printf(", made for %lld", number(a, "max_positions"));
    printf("\n  vocabulary  %lld, head %s\n", number(a, "vocabulary"),
           json_is_true(json_object_get(a, "tied_head")) ? "tied to the embedding"
                                                         : "of its own");
}

static void print_kinds(json_t *o)
{
    json_t *entry;
    size_t i;
    double all = real(o, "parameters");
    printf("  parameters  %lld\n", number(o, "parameters"));
    json_array_foreach(json_object_get(o, "kinds"), i, entry)
        printf("    %-12s %14lld  %5.1f %%\n", text_of(entry, "kind"),
               number(entry, "parameters"), 100 * real(entry, "parameters") / all);
}

void ucb_info_print_facts(json_t *o)
{
    json_t *entry;
    size_t i;
    printf("%s\n", text_of(o, "path"));
    if (text_of(o, "name")[0] != '\0') printf("  name        %s\n", text_of(o, "name"));
    if (text_of(o, "licence")[0] != '\0')
        printf("  licence     %s\n", text_of(o, "licence"));
    print_architecture(o);
    print_kinds(o);
    printf(
        "  size        %lld bytes without the tokenizer, %.4f bits per weight; %s, %lld file%s\n",
        number(o, "file_bytes"), real(o, "bits_per_weight"), text_of(o, "format"),
        number(o, "files"), number(o, "files") == 1 ? "" : "s");
    json_array_foreach(json_object_get(o, "types"), i, entry) printf(
        "    %-8s %6lld tensors %14lld elements %14lld bytes\n", text_of(entry, "dtype"),
        number(entry, "tensors"), number(entry, "elements"), number(entry, "bytes"));
    if (text_of(o, "warning")[0] != '\0')
        printf("  warning     %s\n", text_of(o, "warning"));
    fflush(stdout);
}

/* ---- weights ---- */

static void print_lattice(json_t *weights)
{
    json_t *l = json_object_get(weights, "lattice"), *grid = json_object_get(l, "grid");
    double percent = 100 * real(l, "share");
    if (number(l, "judged_weights") == 0)
        printf("  grid        no matrix is large enough to tell\n");
    else if (json_is_true(json_object_get(l, "is_source")))
        printf("  grid        source already quantized: %s (%.1f %% of the weights)\n",
               text_of(l, "source"), percent);
    else if (number(l, "grid_weights") > 0)
        printf(
            "  grid        dense; but %.1f %% of the weights lie on one, most of them: %s\n",
            percent, text_of(grid, "text"));
    else
        printf("  grid        none found: dense weights\n");
}

static void print_total(json_t *t)
{
    json_t *e = json_object_get(t, "entropy");
    char label[32];
    const char *dtype = text_of(t, "dtype"), *as = text_of(t, "counted_as");
    bool other = as[0] != '\0' && strcmp(as, dtype) != 0;
    snprintf(label, sizeof(label), "%s%s%s", dtype, other ? " as " : "", other ? as : "");
    printf("    %-14s %14lld  %7.4f  %8.4f  %8.4f  %8.4f  %8.4f\n", label,
           number(t, "weights"), real(e, "sign"), real(e, "exponent"), real(e, "mantissa"),
           real(e, "total"), real(t, "floor"));
}

/* Bits that are zero everywhere, or even too often: how the weights came here. */
static const char *provenance(json_t *t, char *out, size_t size)
{
    long long zeros = number(t, "trailing_zero_bits");
    double even = real(t, "even_share");
    out[0] = '\0';
    if (strcmp(text_of(json_object_get(t, "grid"), "verdict"), "dense") != 0) return out;
    if (zeros > 0)
        snprintf(out, size, "lowest %lld mantissa bits are zero", zeros);
    else if (even > 0.555 && even < 0.57)
        snprintf(out, size, "last bit even in %.1f %%: rounded twice", 100 * even);
    return out;
}

static void print_tensor(json_t *t)
{
    json_t *grid = json_object_get(t, "grid"), *block = NULL;
    char note[96];
    if (grid == NULL) {
        printf("    %-48s %-5s not counted\n", text_of(t, "name"), text_of(t, "dtype"));
        return;
    }
    block = json_object_get(json_object_get(t, "distinct"), "32");
    printf("    %-48s %-5s %8.4f", text_of(t, "name"), text_of(t, "dtype"),
           real(json_object_get(t, "entropy"), "total"));
    if (block == NULL)
        printf("     -   -");
    else
        printf(" %5.2f %3lld", real(block, "mean"), number(block, "max"));
    printf("  %s", text_of(grid, "text"));
    if (provenance(t, note, sizeof(note))[0] != '\0') printf("; %s", note);
    if (number(t, "identical_rows") > 0)
        printf("; %lld rows stand in it twice", number(t, "identical_rows"));
    if (text_of(t, "same_as")[0] != '\0') printf("; same as %s", text_of(t, "same_as"));
    printf("\n");
}

/* One line for each kind of finding, with how many tensors have it. */
static void print_findings(json_t *weights)
{
    long long constant = 0, same = 0, short_bits = 0, twice = 0;
    json_t *t;
    size_t i;
    json_array_foreach(json_object_get(weights, "tensors"), i, t)
    {
        char note[96];
        const char *verdict = text_of(json_object_get(t, "grid"), "verdict");
        constant += strcmp(verdict, "constant") == 0;
        same += text_of(t, "same_as")[0] != '\0';
        provenance(t, note, sizeof(note));
        short_bits += strstr(note, "zero") != NULL;
        twice += strstr(note, "twice") != NULL;
    }
    if (constant > 0) printf("  note        %lld tensors hold one value\n", constant);
    if (same > 0) printf("  note        %lld tensors repeat an earlier one\n", same);
    if (short_bits > 0)
        printf(
            "  note        in %lld matrices the lowest mantissa bits are all zero: converted from a shorter type\n",
            short_bits);
    if (twice > 0)
        printf(
            "  note        in %lld matrices the last bit is even too often: rounded twice, as fp32 to fp16 to bf16\n",
            twice);
}

void ucb_info_print_weights(json_t *weights, bool each_tensor)
{
    json_t *entry, *totals = json_object_get(weights, "types");
    size_t i;
    print_lattice(weights);
    printf(
        "  entropy     bits per weight       sign  exponent  mantissa     total     floor\n");
    json_array_foreach(totals, i, entry) print_total(entry);
    if (json_array_size(totals) > 1) print_total(json_object_get(weights, "all"));
    print_findings(weights);
    if (!each_tensor) return;
    printf("  tensors     %-41s       entropy, patterns in 32 weights (mean, most)\n", "");
    json_array_foreach(json_object_get(weights, "tensors"), i, entry) print_tensor(entry);
}
