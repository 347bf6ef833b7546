/*
 * http_fixture.h - a web server of this machine for tests of downloads: it serves a folder
 * at 127.0.0.1, well or badly. A process of its own, which ends with the test at the
 * latest.
 */
#ifndef UCB_TESTS_HTTP_FIXTURE_H
#define UCB_TESTS_HTTP_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

/* How to answer requests whose path ends in `path`; the first rule with tries left is
 * taken. */
struct ucb_http_rule {
    const char *path;
    int times;            /* how often it holds; 0: always */
    int status;           /* answered in place of 200, without a body; 0: serve the file */
    long cut;             /* close after that many bytes of the body; 0: do not */
    long length_more;     /* added to Content-Length */
    bool silent;          /* close without an answer */
    bool without_range;   /* serve from the start whatever was asked */
    const char *token;    /* answer 401 unless this access token came */
    const char *header;   /* one more header line, without its end, or NULL */
    const char *redirect; /* answer 302 to this path on "localhost", another host's name */
};

/* Serves `root`; every request becomes a line of the file `log`: "GET /path range=-
 * token=-". `rules` are copied, their texts are not. Answers the port. */
int ucb_http_start(const char *root, const char *log, const struct ucb_http_rule *rules,
                   size_t n_rules);
void ucb_http_stop(void);

#endif
