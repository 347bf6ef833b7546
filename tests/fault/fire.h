/*
 * fire.h - the program as processes that are killed, run side by side, and counted after.
 *
 * The test layer runs few of each; `make fire` sets UCB_FIRE and runs many, by the same
 * code. Everything lies in the test's folder; a failure ends the test.
 */
#ifndef UCB_TESTS_FIRE_H
#define UCB_TESTS_FIRE_H

#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>

/* `make fire` runs: $UCB_FIRE is set. */
static inline bool fire_is_long(void)
{
    return getenv("UCB_FIRE") != NULL;
}

/* Starts ucbench with these words; both streams go to the file `log`. */
pid_t fire_start(const char *log, const char *words);
/* Waits for its end; its exit code, or 128 and the signal. */
int fire_wait(pid_t child);
/* Runs it to its end and wants exit code 0; *seconds, where not NULL,
 * is how long it ran. */
void fire_finish(const char *log, const char *words, double *seconds);

/*
 * Kills and restarts ucbench with these words until it ends by itself, at seeded instants
 * spread over `seconds`, the time of an undisturbed run: every other one evenly, the others
 * evenly in the logarithm, so that the first milliseconds get their share. Returns how many
 * it survived; after `most` it is left alone.
 */
unsigned fire_until_done(const char *log, const char *words, double seconds, unsigned most,
                         unsigned *seed);

/* Kills it at such an instant; false: it had ended well before. */
bool fire_kill_once(const char *log, const char *words, double seconds, unsigned seed);

/* A database of the first schema: what sweeps here start from, so that they migrate. */
void fire_old_database(const char *path);
/* The file is sound and holds exactly the cells, items, metrics and layers of `expected`;
 * the newest run counts every cell of this build. Times, costs and runs may differ. */
void fire_check_equal(const char *path, const char *expected);
/* No file of this folder or below it is temporary or a journal. */
void fire_check_tidy(const char *folder);

#endif
