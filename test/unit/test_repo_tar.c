/* tar streams: ours read by tar(1), tar's read by us, and what a stream may not do to a host. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/proc.h"
#include "repo/extract.h"

struct pieces { /* a stream that comes in pieces of so many bytes */
    cx_bytes rest;
    size_t size;
};

static bool give(void *arg, cx_bytes *piece, cx_err *err)
{
    struct pieces *pieces = arg;
    size_t size = pieces->rest.size < pieces->size ? pieces->rest.size : pieces->size;

    (void)err;
    *piece = (cx_bytes){pieces->rest.data, size};
    pieces->rest = (cx_bytes){pieces->rest.data + size, pieces->rest.size - size};
    return true;
}

static void add(cx_buffer *stream, cx_tar_entry entry, const char *content)
{
    entry.size = content == NULL ? 0 : (int64_t)strlen(content);
    cx_tar_add_header(&entry, stream);
    if (content != NULL)
        cx_buffer_add_text(stream, content);
    cx_tar_add_padding(entry.size, stream);
}

static char *make_folder(void)
{
    char *path = cx_strdup("/tmp/cx-test-tar-XXXXXX");

    assert_non_null(mkdtemp(path));
    return path;
}

static void remove_folder(char **path)
{
    cx_err err;

    assert_true(cx_remove_tree(*path, &err));
    cx_free(path);
}

static char *repeated(const char *part, int times)
{
    cx_buffer text = {0};

    for (int i = 0; i < times; i++)
        cx_buffer_add_text(&text, part);
    return cx_buffer_take_text(&text);
}

static void every_kind_of_name_and_number_comes_back(void **state)
{
    CX_AUTO(cx_free) char *deep = repeated("a-folder-with-a-name/", 40);
    CX_AUTO(cx_free) char *deep_file = cx_format("%sfile", deep);
    CX_AUTO(cx_free) char *long_name = repeated("0123456789", 25);
    CX_AUTO(cx_free) char *split = cx_format("%.140s/%.90s", long_name, long_name);
    CX_AUTO(cx_free) char *split_deep = cx_format("d/%s", split);
    const cx_tar_entry rows[] = {
        {.kind = CX_TAR_FILE, .path = "short", .mode = 0644, .user = "root", .group = "root"},
        {.kind = CX_TAR_FOLDER, .path = "folder", .mode = 0750, .mtime_seconds = 1},
        {.kind = CX_TAR_LINK, .path = "link", .target = "/any/where", .mode = 0777},
        {.kind = CX_TAR_LINK, .path = "long-link", .target = deep_file, .mode = 0777},
        {.kind = CX_TAR_FILE, .path = deep_file, .mode = 0600, .mtime_ns = 5},
        {.kind = CX_TAR_FILE, .path = long_name, .mode = 07777},
        {.kind = CX_TAR_FILE, .path = split_deep, .mode = 0},
        {.kind = CX_TAR_FILE, .path = "caf\xc3\xa9 \"\\\n", .mode = 0644},
        {.kind = CX_TAR_FILE, .path = "not \xff utf-8", .mode = 0644},
        {.kind = CX_TAR_FILE, .path = "ids", .uid = 4000000000, .gid = 3000000000},
        {.kind = CX_TAR_FILE, .path = "old", .mtime_seconds = -2, .mtime_ns = 250000000},
        {.kind = CX_TAR_FILE, .path = "far", .mtime_seconds = INT64_C(99999999999)},
    };
    CX_AUTO(cx_buffer_free) cx_buffer stream = {0};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        add(&stream, rows[i], rows[i].kind == CX_TAR_FILE ? rows[i].path : NULL);
    cx_tar_add_end(&stream);
    for (size_t size = 1; size <= 4096; size = size * 7 + 1) {
        struct pieces pieces = {cx_buffer_bytes(&stream), size};
        CX_AUTO(cx_tar_close) cx_tar_reader *reader = cx_tar_open(give, &pieces);
        cx_tar_entry entry;
        bool found;
        cx_err err;

        for (size_t i = 0; i < CX_COUNT(rows); i++) {
            if (!cx_tar_next(reader, &entry, &found, &err))
                fail_msg("%s: %s", rows[i].path, err.message);
            assert_true(found);
            assert_string_equal(entry.path, rows[i].path);
            assert_int_equal(entry.kind, rows[i].kind);
            assert_int_equal(entry.mode, rows[i].mode);
            assert_int_equal(entry.uid, rows[i].uid);
            assert_int_equal(entry.gid, rows[i].gid);
            assert_int_equal(entry.mtime_seconds, rows[i].mtime_seconds);
            assert_int_equal(entry.mtime_ns, rows[i].mtime_ns);
            if (rows[i].target != NULL)
                assert_string_equal(entry.target, rows[i].target);
        }
        assert_true(cx_tar_next(reader, &entry, &found, &err));
        assert_false(found);
    }
}

/* What GNU tar writes of a folder, in each of its formats. */
static void what_tar_writes_is_read(void **state)
{
    static const char *const formats[] = {"--format=gnu", "--format=pax", "--format=ustar"};
    CX_AUTO(remove_folder) char *folder = make_folder();
    CX_AUTO(cx_free) char *name = repeated("0123456789", 9);
    CX_AUTO(cx_free) char *path = cx_format("%s/%s/%s", folder, name, name);
    CX_AUTO(cx_free) char *parent = cx_format("%s/%s", folder, name);
    CX_AUTO(cx_free) char *expected = cx_format("%s/%s", name, name);
    cx_err err;

    (void)state;
    assert_true(cx_make_folders(parent, 0755, NULL, &err));
    assert_true(cx_replace(path, 0640, cx_bytes_of("content"), &err));
    for (size_t i = 0; i < CX_COUNT(formats); i++) {
        const char *const argv[] = {"tar", formats[i], "-c", "-C", folder, name, NULL};
        CX_AUTO(cx_proc_result_free) cx_proc_result result = {0};
        bool is_there = false;

        assert_true(cx_proc_run(
            &(cx_proc_spec){.argv = argv, .timeout_ms = 10000, .output_max = 1024 * 1024}, &result,
            &err));

        struct pieces pieces = {cx_buffer_bytes(&result.output), 10000};
        CX_AUTO(cx_tar_close) cx_tar_reader *reader = cx_tar_open(give, &pieces);
        cx_tar_entry entry;
        bool found = true;

        while (found) {
            if (!cx_tar_next(reader, &entry, &found, &err))
                fail_msg("%s: %s", formats[i], err.message);
            if (!found || entry.kind != CX_TAR_FILE)
                continue;

            cx_bytes piece;

            assert_string_equal(entry.path, expected);
            assert_int_equal(entry.mode, 0640);
            assert_true(cx_tar_content(reader, &piece, &err));
            assert_true(cx_bytes_equal(piece, cx_bytes_of("content")));
            is_there = true;
        }
        assert_true(is_there);
    }
}

static void a_stream_that_is_cut_or_changed_is_refused(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer stream = {0};
    cx_err err;

    (void)state;
    add(&stream, (cx_tar_entry){.path = "a", .mtime_ns = 1}, "content");
    for (size_t size = 1; size < stream.size; size++) {
        struct pieces pieces = {{stream.data, size}, 512};
        CX_AUTO(cx_tar_close) cx_tar_reader *reader = cx_tar_open(give, &pieces);
        cx_tar_entry entry;
        bool found = false;
        bool read = cx_tar_next(reader, &entry, &found, &err) &&
                    (!found || cx_tar_next(reader, &entry, &found, &err));

        if (read)
            fail_msg("cut after %zu bytes", size);
    }
    for (size_t at = 0; at < 512; at++) { /* the first header */
        struct pieces pieces = {cx_buffer_bytes(&stream), 4096};
        CX_AUTO(cx_tar_close) cx_tar_reader *reader = cx_tar_open(give, &pieces);
        cx_tar_entry entry;
        bool found = false;

        stream.data[at] ^= 1;
        if (cx_tar_next(reader, &entry, &found, &err) && (at < 148 || at >= 156))
            fail_msg("byte %zu changed", at);
        stream.data[at] ^= 1;
    }
}

static void a_path_that_leads_out_is_refused(void **state)
{
    static const char *const rows[] = {"/etc/passwd", "..",   "../a", "a/../../b", "a/..",
                                       "./a",         "a//b", "",     "a/./b",     "."};
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer stream = {0};

        if (cx_tar_check_path(rows[i], &err))
            fail_msg("\"%s\" is taken", rows[i]);
        add(&stream, (cx_tar_entry){.path = rows[i]}, "x");

        struct pieces pieces = {cx_buffer_bytes(&stream), 4096};
        CX_AUTO(cx_tar_close) cx_tar_reader *reader = cx_tar_open(give, &pieces);
        cx_tar_entry entry;
        bool found;

        if (cx_tar_next(reader, &entry, &found, &err))
            fail_msg("\"%s\" is read", rows[i]);
    }
    assert_true(cx_tar_check_path("a", &err));
    assert_true(cx_tar_check_path("a/..b/c..", &err));
}

/* The type's byte, with the checksum that fits. */
static void set_type(cx_buffer *stream, char type)
{
    unsigned sum = 0;
    char text[8];

    stream->data[156] = (uint8_t)type;
    memset(stream->data + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += stream->data[i];
    snprintf(text, sizeof text, "%06o", sum);
    memcpy(stream->data + 148, text, 7);
}

static void what_is_no_file_folder_or_link_is_refused(void **state)
{
    static const char types[] = {'1', '3', '4', '6', 'S', 'M', 'V'};
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(types); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer stream = {0};
        cx_tar_entry entry;
        bool found;

        add(&stream, (cx_tar_entry){.path = "a"}, NULL);
        set_type(&stream, types[i]);

        struct pieces pieces = {cx_buffer_bytes(&stream), 4096};
        CX_AUTO(cx_tar_close) cx_tar_reader *reader = cx_tar_open(give, &pieces);

        if (cx_tar_next(reader, &entry, &found, &err))
            fail_msg("type %c is read", types[i]);
    }
}

static bool extract(cx_extract *to, cx_tar_entry entry, const char *content, cx_err *err)
{
    return cx_extract_begin(to, &entry, err) &&
           (content == NULL || cx_extract_data(to, cx_bytes_of(content), err)) &&
           cx_extract_end(to, err);
}

static void nothing_is_written_through_a_link(void **state)
{
    CX_AUTO(remove_folder) char *folder = make_folder();
    CX_AUTO(remove_folder) char *outside = make_folder();
    CX_AUTO(cx_free) char *victim = cx_path_join(outside, "victim");
    CX_AUTO(cx_extract_close) cx_extract *to = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    cx_err err;

    (void)state;
    assert_true(cx_replace(victim, 0644, cx_bytes_of("as it was"), &err));
    assert_true(cx_extract_open(folder, &to, &err));
    assert_true(extract(to, (cx_tar_entry){.kind = CX_TAR_LINK, .path = "out", .target = outside},
                        NULL, &err));
    assert_true(extract(to, (cx_tar_entry){.kind = CX_TAR_LINK, .path = "file", .target = victim},
                        NULL, &err));
    assert_true(
        extract(to, (cx_tar_entry){.kind = CX_TAR_LINK, .path = "in", .target = "."}, NULL, &err));
    assert_false(extract(to, (cx_tar_entry){.path = "out/victim", .mode = 0644}, "x", &err));
    assert_false(extract(to, (cx_tar_entry){.path = "out/new/deep", .mode = 0644}, "x", &err));
    assert_false(extract(to, (cx_tar_entry){.path = "in/new", .mode = 0644}, "x", &err));
    assert_false(extract(to, (cx_tar_entry){.path = "file", .mode = 0644}, "x", &err));
    assert_false(extract(to, (cx_tar_entry){.kind = CX_TAR_FOLDER, .path = "out", .mode = 0777},
                         NULL, &err));
    assert_false(extract(to, (cx_tar_entry){.path = "../victim", .mode = 0644}, "x", &err));
    assert_true(cx_read_file(victim, 100, &content, &err));
    assert_string_equal((const char *)content.data, "as it was");
}

static void what_is_there_is_not_overwritten(void **state)
{
    CX_AUTO(remove_folder) char *folder = make_folder();
    CX_AUTO(cx_extract_close) cx_extract *to = NULL;
    cx_err err;

    (void)state;
    assert_true(cx_extract_open(folder, &to, &err));
    assert_true(extract(to, (cx_tar_entry){.path = "a", .mode = 0644}, "first", &err));
    assert_false(extract(to, (cx_tar_entry){.path = "a", .mode = 0644}, "second", &err));
    assert_false(extract(to, (cx_tar_entry){.path = "a/b", .mode = 0644}, "below", &err));
}

static void modes_and_times_are_those_of_the_entries(void **state)
{
    CX_AUTO(remove_folder) char *folder = make_folder();
    CX_AUTO(cx_free) char *sub = cx_path_join(folder, "sub");
    CX_AUTO(cx_free) char *file = cx_path_join(folder, "sub/file");
    CX_AUTO(cx_extract_close) cx_extract *to = NULL;
    struct stat info;
    cx_err err;

    (void)state;
    assert_true(cx_extract_open(folder, &to, &err));
    assert_true(extract(to,
                        (cx_tar_entry){.kind = CX_TAR_FOLDER,
                                       .path = "sub",
                                       .mode = 0510,
                                       .uid = getuid(),
                                       .gid = getgid(),
                                       .mtime_seconds = 1000},
                        NULL, &err));
    assert_true(extract(to,
                        (cx_tar_entry){.path = "sub/file",
                                       .mode = 0404,
                                       .uid = getuid(),
                                       .gid = getgid(),
                                       .mtime_seconds = 2000,
                                       .mtime_ns = 123456789},
                        "x", &err));
    assert_true(cx_extract_finish(to, &err));
    assert_int_equal(stat(sub, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0510);
    assert_int_equal(info.st_mtime, 1000);
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0404);
    assert_int_equal(info.st_mtim.tv_nsec, 123456789);
    assert_int_equal(chmod(sub, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_name_and_number_comes_back),
        cmocka_unit_test(what_tar_writes_is_read),
        cmocka_unit_test(a_stream_that_is_cut_or_changed_is_refused),
        cmocka_unit_test(a_path_that_leads_out_is_refused),
        cmocka_unit_test(what_is_no_file_folder_or_link_is_refused),
        cmocka_unit_test(nothing_is_written_through_a_link),
        cmocka_unit_test(what_is_there_is_not_overwritten),
        cmocka_unit_test(modes_and_times_are_those_of_the_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
