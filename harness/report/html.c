/* html.c - see html.h. */
#include "report/html.h"

#include <string.h>

#include "core/resource.h"

void ucb_html_escape(struct ucb_text *out, const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        switch (*text) {
        case '&': ucb_text_add(out, "&amp;"); break;
        case '<': ucb_text_add(out, "&lt;"); break;
        case '>': ucb_text_add(out, "&gt;"); break;
        case '"': ucb_text_add(out, "&quot;"); break;
        default: ucb_text_add_chars(out, text, 1);
        }
    }
}

ucb_status ucb_html_fill(const char *resource, ucb_html_mark *write, void *page,
                         struct ucb_text *out, struct ucb_err *err)
{
    const struct ucb_resource *r = ucb_resource_find(resource);
    if (r == NULL)
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "%s is missing from this build; build it again", resource);
    const char *text = r->data;
    for (;;) {
        const char *open = strstr(text, "{{"),
                   *close = open == NULL ? NULL : strstr(open, "}}");
        if (close == NULL) break;
        ucb_text_add_chars(out, text, (size_t)(open - text));
        UCB_TRY(write(page, open + 2, (size_t)(close - open) - 2, err));
        text = close + 2;
    }
    ucb_text_add(out, "%s", text);
    return UCB_OK;
}

void ucb_html_style(struct ucb_text *out)
{
    static const char open[] = "<style>\n";
    const struct ucb_resource *r = ucb_resource_find("reports/report.html");
    const char *from = r == NULL ? NULL : strstr(r->data, open),
               *to = from == NULL ? NULL : strstr(from, "</style>");
    if (to == NULL) return;
    from += sizeof(open) - 1;
    ucb_text_add_chars(out, from, (size_t)(to - from));
}
