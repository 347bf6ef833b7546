/* gnuplot.c - see gnuplot.h. */
#include "report/gnuplot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"

enum { WORDS = 512, PATH = 4096 };
static const char workshop_prefix[] = ".drawing-";

/* PATH finds gnuplot, HOME holds the font cache; nothing else of the caller's environment
 * may change a picture. */
static void make_environment(char path[4096], char home[4096], char *environment[6])
{
    const char *p = getenv("PATH"), *h = getenv("HOME");
    snprintf(path, 4096, "PATH=%s", p == NULL ? "/usr/bin:/bin" : p);
    snprintf(home, 4096, "HOME=%s", h == NULL ? "/" : h);
    environment[0] = path;
    environment[1] = home;
    environment[2] = "LC_ALL=C.UTF-8";
    environment[3] = "TZ=UTC";
    environment[4] = NULL;
}

/* Starts gnuplot with its stderr in `words_fd`. Returns 0 or an errno. */
static int start(const char *folder, char *const args[], int words_fd, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    char path[4096], home[4096], *environment[6];
    make_environment(path, home, environment);
    if (posix_spawn_file_actions_init(&actions) != 0) return ENOMEM;
    int code = posix_spawn_file_actions_adddup2(&actions, words_fd, STDERR_FILENO);
    if (code == 0)
        code = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
                                                O_RDONLY, 0);
    if (code == 0)
        code = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
                                                O_WRONLY, 0);
    if (code == 0) code = posix_spawn_file_actions_addchdir_np(&actions, folder);
    if (code == 0) code = posix_spawnp(child, args[0], &actions, NULL, args, environment);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* Reads to the end, so that the child never blocks on a full pipe, and keeps the beginning,
 * on one line. */
static void read_words(int fd, char words[WORDS])
{
    char rest[256];
    size_t n = 0;
    ssize_t got;
    while ((got = n + 1 < WORDS ? read(fd, words + n, WORDS - 1 - n)
                                : read(fd, rest, sizeof(rest))) != 0) {
        if (got < 0 && errno != EINTR) break;
        if (got > 0 && n + 1 < WORDS) n += (size_t)got;
    }
    words[n] = '\0';
    for (char *p = words; *p != '\0'; p++)
        if (*p == '\n' || *p == '\t') *p = ' ';
}

static ucb_status wait_for(pid_t child, const char *script, const char *words,
                           struct ucb_err *err)
{
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    /* To gnuplot that is a warning, and a chart without points a chart. */
    bool lacks_data = strstr(words, "Cannot find or open file") != NULL;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0 && !lacks_data) return UCB_OK;
    return UCB_FAIL(
        err, UCB_ENVIRONMENT,
        "gnuplot could not draw %s (%s %d): %s; needs gnuplot 5.4 with the svg, pngcairo and "
        "pdfcairo terminals",
        script, WIFEXITED(state) ? "exit code" : "signal",
        WIFEXITED(state) ? WEXITSTATUS(state) : WTERMSIG(state),
        words[0] == '\0' ? "no message" : words);
}

/* Draws in `workshop`, a folder inside the script's. */
static ucb_status draw(const char *folder, const char *workshop, const char *script,
                       const char *kind, struct ucb_err *err)
{
    char variables[64], script_path[256], words[WORDS] = "";
    int fds[2];
    pid_t child = 0;
    snprintf(variables, sizeof(variables), "kind = \"%s\"; folder = \"../\"", kind);
    snprintf(script_path, sizeof(script_path), "../%s", script);
    char *const args[] = {"gnuplot", "-d", "-e", variables, script_path, NULL};
    if (pipe2(fds, O_CLOEXEC) != 0)
        return UCB_FAIL(err, UCB_IO, "gnuplot: no pipe: %s", strerror(errno));
    int code = start(workshop, args, fds[1], &child);
    close(fds[1]);
    if (code == 0) read_words(fds[0], words);
    close(fds[0]);
    if (code == ENOENT)
        return UCB_FAIL(
            err, UCB_ENVIRONMENT,
            "gnuplot was not found in PATH, it draws the charts; `apt-get install "
            "gnuplot-nox` (the data and the script are in %s)",
            folder);
    if (code != 0)
        return UCB_FAIL(err, UCB_ENVIRONMENT, "gnuplot could not be started: %s",
                        strerror(code));
    return wait_for(child, script, words, err);
}

/* Sets the time in a PDF's /CreationDate to a fixed one of equal length. */
static ucb_status fix_date(const char *path, struct ucb_err *err)
{
    static const char mark[] = "/CreationDate (D:", fixed[] = "20000101000000";
    struct ucb_file file;
    UCB_TRY(ucb_file_map(path, &file, err));
    const uint8_t *at = file.n_bytes == 0
                            ? NULL
                            : memmem(file.data, file.n_bytes, mark, sizeof(mark) - 1);
    size_t offset = at == NULL ? 0 : (size_t)(at - file.data) + sizeof(mark) - 1;
    bool found = at != NULL && offset + sizeof(fixed) - 1 <= file.n_bytes;
    ucb_file_unmap(&file);
    if (!found)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: no /CreationDate in it; is it a PDF of gnuplot's pdfcairo?",
                        path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : pwrite(fd, fixed, sizeof(fixed) - 1, (off_t)offset);
    int saved = errno;
    if (fd >= 0) close(fd);
    if (written == (ssize_t)sizeof(fixed) - 1) return UCB_OK;
    return UCB_FAIL(err, UCB_IO, "%s: cannot fix its date: %s", path, strerror(saved));
}

static bool is_pdf(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".pdf") == 0;
}

/* What was drawn is whole; every file is looked at before the first gets its name. */
static ucb_status check_picture(const char *path, const char *script, struct ucb_err *err)
{
    struct stat info;
    if (stat(path, &info) != 0 || info.st_size == 0)
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "gnuplot drew %s without a word, and %s is not there or empty",
                        script, path);
    return is_pdf(path) ? fix_date(path, err) : UCB_OK;
}

static ucb_status hand_over(const char *folder, const char *workshop, const char *name,
                            struct ucb_err *err)
{
    char from[PATH], to[PATH];
    struct ucb_file file;
    if (snprintf(to, PATH, "%s/%s", folder, name) >= PATH)
        return UCB_FAIL(err, UCB_USAGE, "%s: too long a folder name", folder);
    snprintf(from, PATH, "%s/%s", workshop, name);
    UCB_TRY(ucb_file_map(from, &file, err));
    ucb_status status = ucb_file_write(to, file.data, file.n_bytes, err);
    ucb_file_unmap(&file);
    return status;
}

/* A workshop and the pictures in it. */
static void remove_workshop(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && dir == NULL) close(fd);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir != NULL) closedir(dir);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* Removes what reports that were killed left in `folder`: whose lock nobody holds, and that
 * are a minute old, so that one whose lock is about to be taken stays. */
static void clean_up(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        struct stat info;
        if (strncmp(e->d_name, workshop_prefix, sizeof(workshop_prefix) - 1) != 0 ||
            fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISDIR(info.st_mode) || time(NULL) - info.st_mtime < 60)
            continue;
        int fd = openat(dirfd(dir), e->d_name,
                        O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_workshop(dirfd(dir), e->d_name);
        if (fd >= 0) close(fd);
    }
    if (dir != NULL) closedir(dir);
}

ucb_status ucb_gnuplot_run(const char *folder, const char *script, const char *kind,
                           const char *const *made, struct ucb_err *err)
{
    char workshop[PATH - 256], path[PATH];
    clean_up(folder);
    int n = snprintf(workshop, sizeof(workshop), "%s/%sXXXXXX", folder, workshop_prefix);
    if (n < 0 || (size_t)n >= sizeof(workshop))
        return UCB_FAIL(err, UCB_USAGE, "%s: too long a folder name", folder);
    if (mkdtemp(workshop) == NULL)
        return UCB_FAIL(err, UCB_IO, "%s: cannot make a folder to draw in: %s", folder,
                        strerror(errno));
    int lock = open(workshop, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock >= 0) flock(lock, LOCK_EX | LOCK_NB); /* a file system without locks: none */
    ucb_status status = draw(folder, workshop, script, kind, err);
    for (size_t i = 0; made[i] != NULL && status == UCB_OK; i++) {
        snprintf(path, PATH, "%s/%s", workshop, made[i]);
        status = check_picture(path, script, err);
    }
    for (size_t i = 0; made[i] != NULL && status == UCB_OK; i++)
        status = hand_over(folder, workshop, made[i], err);
    remove_workshop(AT_FDCWD, workshop);
    if (lock >= 0) close(lock);
    return status;
}
