/*
 * main.c - the verbs, help, and what a failure looks like: one sentence on stderr and an
 * exit code that means something.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "core/json.h"
#include "core/resource.h"
#include "core/text.h"

static const struct ucb_command *const commands[] = {
#define UCB_COMMAND_ENTRY(name) &ucb_command_##name,
    UCB_COMMAND_LIST(UCB_COMMAND_ENTRY)
#undef UCB_COMMAND_ENTRY
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const char intro[] =
    "ucbench - what does this many bits per weight really cost a language model?\n"
    "\n"
    "usage: ucbench VERB [options]        ucbench VERB --help explains one verb\n"
    "\n";
static const char outro[] =
    "\n"
    "A first sweep, on data inside the program:\n"
    "  ucbench sweep --model smollm2-135m --method none --method nf4 --method hqq:bits=4,group=64 --db results.db\n"
    "  ucbench report table --db results.db --out out/\n"
    "  ucbench report pareto --db results.db --out out/\n"
    "\n"
    "Exit codes: 0 done, 1 the answer is no (a check or a cell failed), 2 usage, 3 bad input, 4 environment.\n";

static void print_help(FILE *to)
{
    fputs(intro, to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs(outro, to);
}

static const struct ucb_command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

/* Verbs that the design names and this build does not have: many machines on one plan. */
static const char *const later[] = {"worker", "emit-slurm", "merge"};

static int refuse_verb(const char *name)
{
    const char *names[N_COMMANDS];
    char near[256];
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
        if (strcmp(name, later[i]) == 0) {
            fprintf(
                stderr,
                "ucbench: `%s` is not part of this version: a plan runs on one machine; "
                "`ucbench sweep` goes on where it was stopped, and several may share a "
                "database\n",
                name);
            return ucb_exit_code(UCB_USAGE);
        }
    for (size_t i = 0; i < N_COMMANDS; i++) names[i] = commands[i]->name;
    ucb_text_near(name, names, N_COMMANDS, near, sizeof(near));
    fprintf(stderr, "ucbench: there is no verb `%s`; %s\n", name, near);
    return ucb_exit_code(UCB_USAGE);
}

static int run(const struct ucb_command *command, int n_args, char **args)
{
    for (int i = 1; i < n_args; i++)
        if (strcmp(args[i], "--help") == 0 || strcmp(args[i], "-h") == 0) {
            fputs(command->help, stdout);
            return 0;
        }
    struct ucb_err err = {0};
    ucb_status status = command->run(n_args, args, &err);
    /* A full disk behind stdout shows only here. */
    if (status == UCB_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = UCB_FAIL(&err, UCB_IO, "writing to standard output failed");
    if (status != UCB_OK && err.text[0] != '\0') fprintf(stderr, "ucbench: %s\n", err.text);
    return ucb_exit_code(status);
}

/* What follows --version: nothing, or --json. */
static int print_version(int n_args, char **args)
{
    bool json = n_args == 1 && strcmp(args[0], "--json") == 0;
    if (n_args > 0 && !json) {
        fprintf(stderr, "ucbench: --version takes --json and nothing else, not `%s`\n",
                args[0]);
        return ucb_exit_code(UCB_USAGE);
    }
    if (json)
        printf("{\"build\": \"%s\"}\n", ucb_build_id());
    else
        printf("ucbench build %.16s\n", ucb_build_id());
    return 0;
}

int main(int n_args, char **args)
{
    ucb_json_watch_memory();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error, reported as one */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow */
    if (n_args < 2) {
        print_help(stderr);
        return ucb_exit_code(UCB_USAGE);
    }
    const char *verb = args[1];
    if (strcmp(verb, "help") == 0 && n_args == 3) {
        const struct ucb_command *command = find_command(args[2]);
        if (command == NULL) return refuse_verb(args[2]);
        fputs(command->help, stdout);
        return 0;
    }
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 ||
        strcmp(verb, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(verb, "--version") == 0 || strcmp(verb, "version") == 0)
        return print_version(n_args - 2, args + 2);
    const struct ucb_command *command = find_command(verb);
    return command == NULL ? refuse_verb(verb) : run(command, n_args - 1, args + 1);
}
