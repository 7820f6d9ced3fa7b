#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/time.h"

/* Each test has a folder of its own, works in it, and finds it removed afterwards. */
static int enter_scratch(void **state)
{
    char *folder = cx_strdup(P_tmpdir "/cx-test-io-XXXXXX");

    *state = mkdtemp(folder);
    return *state != NULL && chdir(folder) == 0 ? 0 : -1;
}

static int leave_scratch(void **state)
{
    char *folder = *state;
    cx_err err;
    bool removed = chdir("/") == 0 && cx_remove_tree(folder, &err);

    free(folder);
    return removed ? 0 : -1;
}

static size_t count_entries(const char *folder)
{
    DIR *directory = opendir(folder);
    size_t count = 0;

    assert_non_null(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - 2; /* . and .. */
}

static void assert_content(const char *path, const char *expected)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    cx_err err;

    assert_true(cx_read_file(path, 10000, &data, &err));
    assert_string_equal((char *)data.data, expected);
}

static mode_t mode_of(const char *path)
{
    struct stat info;

    assert_int_equal(lstat(path, &info), 0);
    return info.st_mode & 07777;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void a_replaced_file_has_the_new_bytes_and_mode(void **state)
{
    cx_err err;

    (void)state;
    assert_true(cx_replace("f", 0644, cx_bytes_of("one"), &err));
    assert_content("f", "one");
    assert_int_equal(mode_of("f"), 0644);
    assert_true(cx_replace("f", 0600, cx_bytes_of(""), &err));
    assert_content("f", "");
    assert_int_equal(mode_of("f"), 0600);
    assert_int_equal(count_entries("."), 1);
}

static void a_link_is_replaced_not_followed(void **state)
{
    cx_err err;

    (void)state;
    write_file("target", "safe", 0600);
    assert_int_equal(symlink("target", "link"), 0);
    assert_true(cx_replace("link", 0600, cx_bytes_of("new"), &err));
    assert_content("target", "safe");
    assert_content("link", "new");
}

static void a_created_file_is_never_overwritten(void **state)
{
    cx_err err;

    (void)state;
    assert_true(cx_create("f", 0600, cx_bytes_of("one"), &err));
    assert_false(cx_create("f", 0600, cx_bytes_of("two"), &err));
    assert_int_equal(err.code, CX_EXISTS);
    assert_content("f", "one");
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_false(cx_create("dangling", 0600, cx_bytes_of("two"), &err));
    assert_int_equal(err.code, CX_EXISTS);
    assert_int_equal(count_entries("."), 2);
}

static void what_cannot_be_created_is_named(void **state)
{
    cx_err err;
    char name[300];

    (void)state;
    assert_false(cx_replace("missing/f", 0600, cx_bytes_of("x"), &err));
    assert_int_equal(err.code, CX_CANT_CREATE);
    assert_non_null(strstr(err.message, "missing/f"));
    assert_false(cx_replace("", 0600, cx_bytes_of("x"), &err));
    assert_int_equal(err.code, CX_INVALID);
    assert_false(cx_replace("./", 0600, cx_bytes_of("x"), &err));
    assert_false(cx_replace("..", 0600, cx_bytes_of("x"), &err));
    memset(name, 'n', sizeof(name) - 1);
    name[255] = '\0';
    assert_true(cx_replace(name, 0600, cx_bytes_of("x"), &err)); /* the temporary name fits too */
    assert_int_equal(mkdir("folder", 0700), 0);
    assert_false(cx_replace("folder", 0600, cx_bytes_of("x"), &err));
    assert_int_equal(count_entries("."), 2);
}

static void a_stage_that_is_not_committed_leaves_nothing(void **state)
{
    cx_stage *stage = NULL;
    cx_err err;

    (void)state;
    write_file("f", "old", 0600);
    assert_true(cx_stage_open("f", 0600, &stage, &err));
    assert_true(cx_write_all(stage->fd, cx_bytes_of("new"), "f", &err));
    assert_int_equal(count_entries("."), 2);
    cx_stage_close(&stage);
    assert_null(stage);
    cx_stage_close(&stage);
    assert_content("f", "old");
    assert_int_equal(count_entries("."), 1);
}

static void only_files_of_dead_stages_are_swept(void **state)
{
    static const char *const kept[] = {
        "f",
        ".cxtmp-1-0123456789abcdef",
        ".f.cxtmp-x-0123456789abcdef",
        ".f.cxtmp-1-0123456789abcdeg",
        ".f.cxtmp-1-0123",
        ".f.cxtmp-",
        "f.cxtmp-1-0123456789abcdef",
    };
    cx_stage *stage = NULL;
    cx_err err;

    (void)state;
    assert_true(cx_stage_open("f", 0600, &stage, &err));
    cx_free(&stage->temp); /* as if the process had died */
    cx_stage_close(&stage);
    assert_int_equal(count_entries("."), 1);
    for (size_t i = 0; i < CX_COUNT(kept); i++)
        write_file(kept[i], "", 0600);
    assert_true(cx_sweep_stages(".", &err));
    assert_int_equal(count_entries("."), CX_COUNT(kept));
    assert_true(cx_sweep_stages("missing", &err));
}

static void a_file_beyond_its_bound_is_too_large(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    cx_err err;

    (void)state;
    cx_buffer_add_text(&data, "kept");
    write_file("f", "12345", 0600);
    assert_false(cx_read_file("f", 4, &data, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
    assert_string_equal((char *)data.data, "kept");
    assert_true(cx_read_file("f", 5, &data, &err));
    assert_string_equal((char *)data.data, "kept12345");
    /* A size that the kernel doesn't tell beforehand. */
    assert_false(cx_read_file("/proc/self/status", 5, &data, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
    assert_false(cx_read_file("/dev/zero", 1000000, &data, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
    assert_string_equal((char *)data.data, "kept12345");
    assert_true(cx_read_file("/proc/self/status", 100000, &data, &err));
    assert_non_null(strstr((char *)data.data, "Name:"));
}

static void a_large_file_is_read_whole(void **state)
{
    enum { SIZE = 300000 };
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    CX_AUTO(cx_buffer_free) cx_buffer again = {0};
    cx_err err;

    (void)state;
    for (int i = 0; i < SIZE; i++)
        cx_buffer_add(&data, &(char){(char)(i % 251)}, 1);
    assert_true(cx_replace("f", 0600, cx_buffer_bytes(&data), &err));
    assert_true(cx_read_file("f", SIZE, &again, &err));
    assert_true(cx_bytes_equal(cx_buffer_bytes(&data), cx_buffer_bytes(&again)));
}

static void what_is_no_file_is_not_read(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    cx_err err;

    (void)state;
    assert_false(cx_read_file("missing", 10, &data, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
    assert_false(cx_read_file(".", 10, &data, &err));
    assert_int_equal(err.code, CX_INVALID);
    assert_int_equal(mkfifo("fifo", 0600), 0); /* nobody writes: a blocking read would hang */
    assert_false(cx_read_file("fifo", 10, &data, &err));
    assert_int_equal(err.code, CX_INVALID);
}

static void what_the_shell_substitutes_is_read(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    int pipes[2];
    cx_err err;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], "abc", 3), 3);
    close(pipes[1]);

    CX_AUTO(cx_free) char *path = cx_format("/dev/fd/%d", pipes[0]);

    assert_true(cx_read_file(path, 10, &data, &err));
    assert_string_equal((char *)data.data, "abc");
    close(pipes[0]);
}

static void a_secret_that_others_may_read_is_refused(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    cx_err err;

    (void)state;
    write_file("open", "secret", 0640);
    write_file("key", "secret", 0400);
    assert_int_equal(symlink("key", "link"), 0);
    assert_false(cx_read_secret_file("open", 100, &data, &err));
    assert_int_equal(err.code, CX_PERMISSION);
    assert_false(cx_read_secret_file("link", 100, &data, &err));
    assert_int_equal(err.code, CX_PERMISSION);
    assert_false(cx_read_secret_file("key", 5, &data, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
    assert_int_equal(data.size, 0);
    assert_true(cx_read_secret_file("key", 6, &data, &err));
    assert_string_equal((char *)data.data, "secret");
}

static void folders_are_made_with_their_parents(void **state)
{
    bool changed = false;
    cx_err err;

    (void)state;
    assert_true(cx_make_folders("a/b.//c./", 0750, &changed, &err));
    assert_true(changed);
    assert_int_equal(mode_of("a"), 0750);
    assert_int_equal(mode_of("a/b./c."), 0750);
    assert_true(cx_make_folders("a/b./c.", 0700, &changed, &err));
    assert_false(changed);
    assert_int_equal(mode_of("a/b./c."), 0750);
    write_file("a/file", "", 0600);
    assert_false(cx_make_folders("a/file/b", 0700, NULL, &err));
    assert_int_equal(err.code, CX_EXISTS);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_false(cx_make_folders("dangling/b", 0700, NULL, &err));
    assert_true(cx_make_folders("/usr/bin", 0700, &changed, &err) && !changed);
    assert_false(cx_make_folders("", 0700, NULL, &err));
}

static void removing_a_file_that_is_not_there_is_fine(void **state)
{
    cx_err err;

    (void)state;
    write_file("f", "", 0600);
    assert_true(cx_remove_file("f", &err));
    assert_false(cx_exists("f"));
    assert_true(cx_remove_file("f", &err));
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_true(cx_exists("dangling"));
}

static void a_removed_tree_takes_nothing_along(void **state)
{
    cx_err err;

    (void)state;
    assert_true(cx_make_folders("outside/kept", 0700, NULL, &err));
    assert_true(cx_make_folders("tree/a/b/c", 0700, NULL, &err));
    write_file("tree/a/b/f", "", 0000);
    assert_int_equal(symlink("../outside", "tree/link"), 0);
    assert_int_equal(symlink("tree", "link"), 0);
    assert_true(cx_remove_tree("link", &err));
    assert_true(cx_exists("tree/a/b/f"));
    assert_true(cx_remove_tree("tree", &err));
    assert_false(cx_exists("tree"));
    assert_true(cx_exists("outside/kept"));
    assert_true(cx_remove_tree("tree", &err));
}

/* As an agent could build it: PATH_MAX ends no folder that is made step by step. */
static void a_very_deep_tree_is_removed(void **state)
{
    enum { LEVELS = 5000 };
    cx_err err;
    int folder = open(".", O_RDONLY | O_DIRECTORY);

    (void)state;
    assert_int_equal(mkdir("deep", 0700), 0);
    assert_int_equal(chdir("deep"), 0);
    for (int i = 0; i < LEVELS; i++)
        assert_true(mkdir("sub", 0700) == 0 && chdir("sub") == 0);
    write_file("f", "", 0600);
    assert_int_equal(fchdir(folder), 0);
    close(folder);
    assert_true(cx_remove_tree("deep", &err));
    assert_false(cx_exists("deep"));
}

static void a_held_lock_names_its_holder(void **state)
{
    int fd = -1;
    int second = -1;
    cx_err err;

    (void)state;
    assert_true(cx_lock("lock", &fd, &err));
    assert_false(cx_lock("lock", &second, &err));
    assert_int_equal(err.code, CX_BUSY);
    assert_int_equal(second, -1);

    CX_AUTO(cx_free) char *holder = cx_format("held by process %ld", (long)getpid());

    assert_non_null(strstr(err.message, holder));
    cx_fd_close(&fd);
    assert_int_equal(fd, -1);
    assert_true(cx_lock("lock", &second, &err));
    cx_fd_close(&second);
    assert_true(cx_exists("lock"));
}

static void a_lock_ends_with_its_process(void **state)
{
    int pipes[2];
    int fd = -1;
    int64_t start_ms;
    cx_err err;
    char ready;

    (void)state;
    assert_int_equal(pipe(pipes), 0);

    pid_t child = fork();

    if (child == 0) {
        ready = cx_lock("lock", &fd, &err) ? 'y' : 'n';
        if (write(pipes[1], &ready, 1) == 1)
            pause();
        _exit(0);
    }
    assert_int_equal(read(pipes[0], &ready, 1), 1);
    assert_int_equal(ready, 'y');
    start_ms = cx_now_ms();
    assert_false(cx_lock_wait("lock", 60, &fd, &err));
    assert_true(cx_now_ms() - start_ms >= 60);

    CX_AUTO(cx_free) char *holder = cx_format("held by process %ld", (long)child);

    assert_non_null(strstr(err.message, holder));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_true(cx_lock_wait("lock", 10000, &fd, &err));
    cx_fd_close(&fd);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(pipes[0]);
    close(pipes[1]);
}

static void a_process_is_known_by_its_start(void **state)
{
    char boot_id[40];

    (void)state;
    cx_boot_id(boot_id);
    assert_true(boot_id[0] == '\0' || strlen(boot_id) == 36);
    assert_true(cx_process_started(getpid()) > 0);
    assert_int_equal(cx_process_started(getpid()), cx_process_started(getpid()));

    pid_t child = fork();

    if (child == 0)
        _exit(0);

    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(cx_process_started(child), 0); /* a zombie */
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(cx_process_started(child), 0);
    assert_int_equal(cx_process_started(0), 0);
}

static void paths_are_joined_by_one_slash(void **state)
{
    static const struct {
        const char *folder, *name, *joined;
    } rows[] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a//", "/b", "a/b"},
        {"/", "b", "/b"},  {"", "b", "b"},     {"a/b", "c/d", "a/b/c/d"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *joined = cx_path_join(rows[i].folder, rows[i].name);

        assert_string_equal(joined, rows[i].joined);
    }
}

static void a_full_disk_is_an_io_error(void **state)
{
    CX_AUTO(cx_fd_close) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    cx_err err;

    (void)state;
    assert_false(cx_write_all(fd, cx_bytes_of("x"), "full", &err));
    assert_int_equal(err.code, CX_IO);
}

/* Only root can give anything away. */
static void what_root_makes_belongs_to_the_owner_of_its_folder(void **state)
{
    const char *const made[] = {"service/file", "service/new", "service/lock"};
    struct stat info;
    int lock = -1;
    cx_err err;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir("service", 0750), 0);
    assert_int_equal(chown("service", 4711, 4712), 0);

    assert_true(cx_replace("service/file", 0600, (cx_bytes){(const uint8_t *)"x", 1}, &err));
    assert_true(cx_make_folders("service/new/below", 0750, NULL, &err));
    assert_true(cx_lock("service/lock", &lock, &err));
    cx_fd_close(&lock);
    for (size_t i = 0; i < CX_COUNT(made); i++) {
        assert_int_equal(stat(made[i], &info), 0);
        assert_int_equal(info.st_uid, 4711);
        assert_int_equal(info.st_gid, 4712);
    }
    assert_int_equal(stat("service/new/below", &info), 0);
    assert_int_equal(info.st_uid, 4711);
}

static void a_lock_that_was_there_keeps_its_owner(void **state)
{
    struct stat info;
    int lock = -1;
    cx_err err;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir("service", 0750), 0);
    assert_true(cx_replace("service/lock", 0600, (cx_bytes){(const uint8_t *)"", 0}, &err));
    assert_int_equal(chown("service", 4711, 4712), 0);

    assert_true(cx_lock("service/lock", &lock, &err));
    cx_fd_close(&lock);
    assert_int_equal(stat("service/lock", &info), 0);
    assert_int_equal(info.st_uid, 0);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, enter_scratch, leave_scratch)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(what_root_makes_belongs_to_the_owner_of_its_folder),
        IN_SCRATCH(a_lock_that_was_there_keeps_its_owner),
        IN_SCRATCH(a_replaced_file_has_the_new_bytes_and_mode),
        IN_SCRATCH(a_link_is_replaced_not_followed),
        IN_SCRATCH(a_created_file_is_never_overwritten),
        IN_SCRATCH(what_cannot_be_created_is_named),
        IN_SCRATCH(a_stage_that_is_not_committed_leaves_nothing),
        IN_SCRATCH(only_files_of_dead_stages_are_swept),
        IN_SCRATCH(a_file_beyond_its_bound_is_too_large),
        IN_SCRATCH(a_large_file_is_read_whole),
        IN_SCRATCH(what_is_no_file_is_not_read),
        IN_SCRATCH(what_the_shell_substitutes_is_read),
        IN_SCRATCH(a_secret_that_others_may_read_is_refused),
        IN_SCRATCH(folders_are_made_with_their_parents),
        IN_SCRATCH(removing_a_file_that_is_not_there_is_fine),
        IN_SCRATCH(a_removed_tree_takes_nothing_along),
        IN_SCRATCH(a_very_deep_tree_is_removed),
        IN_SCRATCH(a_held_lock_names_its_holder),
        IN_SCRATCH(a_lock_ends_with_its_process),
        IN_SCRATCH(a_process_is_known_by_its_start),
        IN_SCRATCH(paths_are_joined_by_one_slash),
        IN_SCRATCH(a_full_disk_is_an_io_error),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
