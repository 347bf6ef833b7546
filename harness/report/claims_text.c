/*
 * claims_text.c - the claims for a terminal and as CSV: the columns of v_claims, then more.
 */
#include <math.h>
#include <string.h>

#include "report/claims.h"
#include "report/rows.h"

static bool names_id(const char *notes, const char *id)
{
    return strstr(notes, id) != NULL;
}

const char *ucb_claim_note_text(const struct ucb_claims *claims, const struct ucb_claim *c)
{
    const char *out = c->notes;
    for (size_t i = 0; out != NULL && i < claims->n_notes; i++)
        if (names_id(c->notes, claims->notes[i].id))
            out = ucb_arena_printf(claims->arena, "%s [%s: %s]", out, claims->notes[i].id,
                                   claims->notes[i].text);
    return out;
}

static bool new_table(const struct ucb_claims *claims, size_t i)
{
    const struct ucb_claim *c = &claims->list[i];
    return i == 0 ||
           strncmp(c->id, claims->list[i - 1].id, (size_t)c->table_chars + 1) != 0;
}

/* ---- counts ---- */

static void add_counts(struct ucb_text *out, const char *name, int n_chars,
                       const size_t counts[UCB_N_VERDICTS])
{
    size_t total = 0;
    ucb_text_add(out, "%-6.*s", n_chars, name);
    for (int v = 0; v < UCB_N_VERDICTS; v++) {
        ucb_text_add(out, "  %*zu",
                     (int)strlen(ucb_claim_verdict_name((enum ucb_claim_verdict)v)),
                     counts[v]);
        total += counts[v];
    }
    ucb_text_add(out, "  %6zu\n", total);
}

/* "reproduced" has three meanings; nobody should have to guess how often each. */
static void add_kinds(struct ucb_text *out, const struct ucb_claims *claims)
{
    size_t measured = 0, rows = 0, arithmetic = 0, disputed = 0;
    for (size_t i = 0; i < claims->n; i++) {
        const struct ucb_claim *c = &claims->list[i];
        if (c->verdict != UCB_VERDICT_REPRODUCED) continue;
        measured += c->n > 0;
        rows += c->n == 0 && c->kind == UCB_CLAIM_RAW;
        arithmetic += c->kind == UCB_CLAIM_ARITHMETIC;
        disputed += strstr(c->notes, "D-") != NULL ||
                    strstr(c->reason, "which it uses") != NULL;
    }
    ucb_text_add(
        out,
        "Of the reproduced, %zu were measured, %zu follow from the author's own rows and "
        "%zu by arithmetic; %zu of them\nnote a discrepancy or use a refuted number.\n",
        measured, rows, arithmetic, disputed);
}

void ucb_claims_summary(const struct ucb_claims *claims, struct ucb_text *out)
{
    size_t counts[UCB_N_VERDICTS] = {0}, all[UCB_N_VERDICTS] = {0};
    ucb_text_add(out, "%-6s", "table");
    for (int v = 0; v < UCB_N_VERDICTS; v++)
        ucb_text_add(out, "  %s", ucb_claim_verdict_name((enum ucb_claim_verdict)v));
    ucb_text_add(out, "  claims\n");
    for (size_t i = 0; i < claims->n; i++) {
        const struct ucb_claim *c = &claims->list[i];
        counts[c->verdict]++;
        all[c->verdict]++;
        if (i + 1 < claims->n && !new_table(claims, i + 1)) continue;
        add_counts(out, c->id, c->table_chars, counts);
        memset(counts, 0, sizeof(counts));
    }
    add_counts(out, "all", 3, all);
    add_kinds(out, claims);
}

/* ---- claims.txt ---- */

static void add_measured(struct ucb_text *out, const struct ucb_claims *claims,
                         const struct ucb_claim *c)
{
    if (isnan(c->measured)) return;
    const char *number = ucb_claim_number(claims->arena, c->measured);
    if (number == NULL) {
        out->failed = true;
        return;
    }
    ucb_text_add(out, ", %s %s", c->n > 0 ? "measured" : "recomputed", number);
    if (!isnan(c->ci_low) && !isnan(c->ci_high))
        ucb_text_add(out, " [%.6g, %.6g]", c->ci_low, c->ci_high);
    if (c->n > 0) ucb_text_add(out, " n=%lld", (long long)c->n);
}

static void add_claim(struct ucb_text *out, const struct ucb_claims *claims,
                      const struct ucb_claim *c)
{
    ucb_text_add(out, "%s  %s: %s%s%s, %s: claimed %s%s%s", c->id,
                 ucb_claim_verdict_name(c->verdict), c->model,
                 *c->model == '\0' ? "" : ", ", c->method, c->metric, c->value,
                 *c->unit == '\0' ? "" : " ", c->unit);
    add_measured(out, claims, c);
    ucb_text_add(out, "\n        %s: %s\n", ucb_claim_kind_name(c->kind), c->reason);
    if (*c->notes != '\0') ucb_text_add(out, "        note: %s\n", c->notes);
}

void ucb_claims_text(const struct ucb_claims *claims, struct ucb_text *out)
{
    ucb_claims_summary(claims, out);
    for (size_t i = 0; i < claims->n; i++) {
        if (new_table(claims, i)) ucb_text_add(out, "\n%s\n\n", claims->list[i].source);
        add_claim(out, claims, &claims->list[i]);
    }
    ucb_text_add(out, "\nDiscrepancies that the notes name\n\n");
    for (size_t i = 0; i < claims->n_notes; i++)
        ucb_text_add(out, "%s  %s\n", claims->notes[i].id, claims->notes[i].text);
    ucb_text_add(
        out,
        "\nreproduced: the claim follows from the numbers it rests on (arithmetic, raw-verified), or "
        "the measured interval holds it.\n"
        "refuted: it does not follow, or the measurement excludes it (Holm within a table, 5 %%).\n"
        "In brackets: 95%% intervals, n documents. Rules: docs/claims.md.\n");
}

/* ---- claims.csv ---- */

static void csv_text(struct ucb_text *out, const char *text)
{
    if (text == NULL) out->failed = true; /* its memory ran out */
    ucb_text_add(out, "\"");
    for (; text != NULL && *text != '\0'; text++)
        ucb_text_add(out, *text == '"' ? "\"\"" : "%c", *text);
    ucb_text_add(out, "\"");
}

static void csv_texts(struct ucb_text *out, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0) ucb_text_add(out, ",");
        csv_text(out, texts[i]);
    }
}

static void csv_real(struct ucb_text *out, double value)
{
    char text[UCB_REAL_TEXT];
    ucb_text_add(out, ",%s", isnan(value) ? "" : ucb_real_text(value, text));
}

static void csv_claim(struct ucb_text *out, const struct ucb_claims *claims,
                      const struct ucb_claim *c)
{
    const char *const keys[] = {c->id, c->source, c->model, c->method, c->metric},
                      *const why[] = {ucb_claim_verdict_name(c->verdict), c->reason,
                                      ucb_claim_note_text(claims, c)},
                      *const more[] = {c->value, c->unit, ucb_claim_kind_name(c->kind)};
    csv_texts(out, keys, 5);
    csv_real(out, c->quantity.n_numbers == 0 ? NAN : c->quantity.high);
    csv_real(out, c->measured);
    csv_real(out, c->ci_low);
    csv_real(out, c->ci_high);
    ucb_text_add(out, ",");
    if (c->n > 0) ucb_text_add(out, "%lld", (long long)c->n);
    ucb_text_add(out, ",");
    csv_texts(out, why, 3);
    ucb_text_add(out, ",");
    csv_texts(out, more, 3);
    csv_real(out, c->p);
    csv_real(out, c->p_adjusted);
    ucb_text_add(out, "\n");
}

void ucb_claims_csv(const struct ucb_claims *claims, struct ucb_text *out)
{
    ucb_text_add(out,
                 "claim_id,source,model,method,metric,claimed,measured,ci_low,ci_high,n,"
                 "verdict,reason,note,claimed_text,unit,kind,p,p_holm\n");
    for (size_t i = 0; i < claims->n; i++) csv_claim(out, claims, &claims->list[i]);
}
