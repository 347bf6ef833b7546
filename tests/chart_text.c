/* chart_text.c - see chart_text.h. */
#include "chart_text.h"

#include <string.h>

#include "test.h"

const char *chart_caption(const char *script)
{
    static char text[1 << 14];
    size_t n = 0;
    while ((script = strstr(script, "\ncaption[")) != NULL) {
        script = strchr(script, '\'') + 1;
        size_t length = strcspn(script, "\n") - 1; /* without the closing quote */
        CHECK(n + length + 2 < sizeof(text));
        memcpy(text + n, script, length);
        n += length;
        text[n++] = ' ';
        script += length;
    }
    CHECK(n > 0);
    text[n] = '\0';
    return text;
}
