/* http_fixture.c - see http_fixture.h. One request at a time, one request a connection. */
#include "http_fixture.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "test.h"

enum { MAX_RULES = 16, LIFETIME_SECONDS = 120 };

static pid_t server; /* 0: none */

struct http {
    const char *root, *log;
    struct ucb_http_rule rules[MAX_RULES];
    int used[MAX_RULES];
    size_t n_rules;
    int port;
};

struct request {
    char path[512], token[128];
    long from; /* -1: no range */
};

static void send_all(int peer, const void *data, size_t n)
{
    const char *at = data;
    while (n > 0) {
        ssize_t sent = send(peer, at, n, MSG_NOSIGNAL);
        if (sent <= 0) return;
        at += sent;
        n -= (size_t)sent;
    }
}

static bool read_request(int peer, struct request *out)
{
    char text[8192];
    size_t n = 0;
    text[0] = '\0';
    while (strstr(text, "\r\n\r\n") == NULL) {
        ssize_t got = recv(peer, text + n, sizeof(text) - 1 - n, 0);
        if (got <= 0) return false;
        n += (size_t)got;
        text[n] = '\0';
    }
    *out = (struct request){.from = -1, .token = "-"};
    const char *range = strstr(text, "Range: bytes="),
               *token = strstr(text, "Authorization: Bearer ");
    if (range != NULL) out->from = atol(range + strlen("Range: bytes="));
    if (token != NULL) sscanf(token, "Authorization: Bearer %127[^\r\n]", out->token);
    return sscanf(text, "GET %511s", out->path) == 1;
}

static struct ucb_http_rule rule_of(struct http *h, const char *path)
{
    for (size_t i = 0; i < h->n_rules; i++) {
        size_t n = strlen(h->rules[i].path), n_path = strlen(path);
        if (n > n_path || strcmp(path + n_path - n, h->rules[i].path) != 0) continue;
        if (h->rules[i].times > 0 && h->used[i] == h->rules[i].times) continue;
        h->used[i]++;
        return h->rules[i];
    }
    return (struct ucb_http_rule){.path = ""};
}

static void answer_status(int peer, int status, const char *more)
{
    char head[1024];
    snprintf(head, sizeof(head),
             "HTTP/1.1 %d Said\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", status,
             more);
    send_all(peer, head, strlen(head));
}

static void answer_redirect(int peer, int port, const struct ucb_http_rule *rule)
{
    char more[512];
    snprintf(more, sizeof(more), "Location: http://localhost:%d%s\r\n%s%s", port,
             rule->redirect, rule->header != NULL ? rule->header : "",
             rule->header != NULL ? "\r\n" : "");
    answer_status(peer, 302, more);
}

static void serve_file(int peer, const struct http *h, const struct request *r,
                       const struct ucb_http_rule *rule)
{
    char path[2048], head[1024], range[128] = "";
    struct ucb_file file;
    snprintf(path, sizeof(path), "%s%s", h->root, r->path);
    if (ucb_file_map(path, &file, NULL) != UCB_OK) {
        answer_status(peer, 404, "");
        return;
    }
    long size = (long)file.n_bytes, from = rule->without_range ? -1 : r->from;
    if (from >= size) {
        snprintf(range, sizeof(range), "Content-Range: bytes */%ld\r\n", size);
        answer_status(peer, 416, range);
        return;
    }
    if (from >= 0)
        snprintf(range, sizeof(range), "Content-Range: bytes %ld-%ld/%ld\r\n", from,
                 size - 1, size);
    long first = from > 0 ? from : 0, n = size - first;
    snprintf(head, sizeof(head),
             "HTTP/1.1 %s\r\n%s%s%sContent-Length: %ld\r\nConnection: close\r\n\r\n",
             from >= 0 ? "206 Part" : "200 OK", range,
             rule->header != NULL ? rule->header : "", rule->header != NULL ? "\r\n" : "",
             n + rule->length_more);
    send_all(peer, head, strlen(head));
    if (rule->cut > 0 && rule->cut < n) n = rule->cut;
    if (n > 0) send_all(peer, file.data + first, (size_t)n);
    ucb_file_unmap(&file);
}

static void answer(int peer, struct http *h)
{
    struct request r;
    if (!read_request(peer, &r)) return;
    FILE *log = fopen(h->log, "a");
    if (log != NULL) {
        fprintf(log, r.from < 0 ? "GET %s range=-" : "GET %s range=%ld", r.path, r.from);
        fprintf(log, " token=%s\n", r.token);
        fclose(log);
    }
    struct ucb_http_rule rule = rule_of(h, r.path);
    if (rule.silent) return;
    if (rule.token != NULL && strcmp(rule.token, r.token) != 0)
        answer_status(peer, 401, "");
    else if (rule.redirect != NULL)
        answer_redirect(peer, h->port, &rule);
    else if (rule.status != 0)
        answer_status(peer, rule.status, "");
    else
        serve_file(peer, h, &r, &rule);
}

static _Noreturn void serve(int listener, struct http *h)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LIFETIME_SECONDS);
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer < 0) _exit(0);
        answer(peer, h);
        close(peer);
    }
}

int ucb_http_start(const char *root, const char *log, const struct ucb_http_rule *rules,
                   size_t n_rules)
{
    struct http h = {.root = root, .log = log, .n_rules = n_rules};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof(address);
    ucb_http_stop(); /* of a test that failed */
    CHECK(n_rules <= MAX_RULES);
    if (n_rules > 0) memcpy(h.rules, rules, n_rules * sizeof(*rules));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0);
    CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_EQ(listen(listener, 16), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &n), 0);
    h.port = ntohs(address.sin_port);
    fflush(NULL);
    server = fork();
    CHECK(server >= 0);
    if (server == 0) serve(listener, &h);
    close(listener);
    return h.port;
}

void ucb_http_stop(void)
{
    if (server <= 0) return;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    server = 0;
}
