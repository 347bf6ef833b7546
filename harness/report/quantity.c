/* quantity.c - see quantity.h. */
#include "report/quantity.h"

#include <math.h>
#include <string.h>

#include "core/text.h"

enum { MAX_DIGITS = 32 };

/* Half a unit of the last digit that counts. */
static double slack_of(const char *digits)
{
    const char *point = strchr(digits, '.');
    size_t n = strlen(digits), zeros = 0;
    if (point != NULL) return 0.5 * pow(10, -(double)(n - 1 - (size_t)(point - digits)));
    while (zeros + 1 < n && digits[n - 1 - zeros] == '0') zeros++;
    return 0.5 * pow(10, (double)zeros);
}

/* "1,234.5": a comma only before three digits and never behind the point.
 * Advances *text. */
static bool read_number(const char **text, double *value, double *slack)
{
    char digits[MAX_DIGITS];
    size_t n = 0;
    bool point = false;
    const char *p = *text;
    if (*p == '-') digits[n++] = *p++;
    for (; n + 1 < MAX_DIGITS; p++) {
        bool group = *p == ',' && !point && strspn(p + 1, "0123456789") == 3;
        if (group) continue;
        if (*p == '.' && !point)
            point = true;
        else if (*p < '0' || *p > '9')
            break;
        digits[n++] = *p;
    }
    digits[n] = '\0';
    if (!ucb_parse_f64(digits, value)) return false;
    *slack = slack_of(digits[0] == '-' ? digits + 1 : digits);
    *text = p;
    return true;
}

static bool take(const char **text, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(*text, prefix, n) != 0) return false;
    *text += n;
    return true;
}

static enum ucb_relation read_relation(const char **text)
{
    if (take(text, "~")) return UCB_RELATION_ABOUT;
    if (take(text, "<")) return UCB_RELATION_BELOW;
    if (take(text, ">")) return UCB_RELATION_ABOVE;
    return UCB_RELATION_EQUAL;
}

static bool read_numbers(const char **text, struct ucb_quantity *q)
{
    do {
        double value, slack;
        if (!read_number(text, &value, &slack)) return false;
        q->low = q->n_numbers == 0 ? value : fmin(q->low, value);
        q->high = q->n_numbers == 0 ? value : fmax(q->high, value);
        q->slack = fmax(q->slack, slack);
        q->n_numbers++;
    } while (take(text, ";") || take(text, "-"));
    return true;
}

ucb_status ucb_quantity_parse(const char *text, struct ucb_quantity *out,
                              struct ucb_err *err)
{
    struct ucb_quantity q = {.relation = UCB_RELATION_NONE};
    const char *p = text;
    if (*text == '\0' || strcmp(text, "variable") == 0 || strcmp(text, "TBD") == 0) {
        *out = q;
        return UCB_OK;
    }
    q.relation = read_relation(&p);
    bool good = read_numbers(&p, &q);
    if (good && q.relation == UCB_RELATION_EQUAL && take(&p, "+"))
        q.relation = UCB_RELATION_ABOVE;
    if (good && !take(&p, "%")) take(&p, "x");
    if (!good || *p != '\0')
        return UCB_FAIL(
            err, UCB_USAGE,
            "\"%s\" is not a value: known are 5, -0.7, 10,000+, ~5, <2, >2, 4;5;8, "
            "0.25-0.5, each with %% or x behind it, variable and TBD",
            text);
    if (q.relation == UCB_RELATION_ABOUT) q.slack = fmax(q.slack, 0.1 * fabs(q.high));
    *out = q;
    return UCB_OK;
}
