/* err.c - see err.h. */
#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

ucb_status ucb_fail(struct ucb_err *err, ucb_status status, const char *file, int line,
                    const char *format, ...)
{
    if (err == NULL) return status;
    va_list args;
    va_start(args, format);
    err->status = status;
    err->file = file;
    err->line = line;
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return status;
}

void ucb_err_prefix(struct ucb_err *err, const char *format, ...)
{
    if (err == NULL) return;
    char old[UCB_ERR_TEXT];
    memcpy(old, err->text, sizeof(old));
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(err->text)) return;
    snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %.*s",
             (int)sizeof(old) - 1 - n, old);
}

int ucb_exit_code(ucb_status status)
{
    switch (status) {
#define UCB_STATUS_EXIT(code, exit_code, text) \
    case code: return exit_code;
        UCB_STATUS_LIST(UCB_STATUS_EXIT)
#undef UCB_STATUS_EXIT
    }
    return 4;
}

const char *ucb_status_name(ucb_status status)
{
    switch (status) {
#define UCB_STATUS_NAME(code, exit_code, text) \
    case code: return #code;
        UCB_STATUS_LIST(UCB_STATUS_NAME)
#undef UCB_STATUS_NAME
    }
    return "UCB_?";
}
