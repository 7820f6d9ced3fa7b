#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "debug/folded.h"

static void stacks_are_counted_the_most_frequent_first(void **state)
{
    CX_AUTO(cx_json_free) json_t *counts = json_object();
    CX_AUTO(cx_free) char *text = NULL;
    CX_AUTO(cx_json_free) json_t *list = NULL;

    (void)state;
    debug_fold(counts, "a;b");
    debug_fold(counts, "a;c");
    debug_fold(counts, "a;c");
    text = debug_folded_text(counts);
    assert_string_equal(text, "a;c 2\na;b 1\n");
    list = debug_folded_list(counts, 1);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 0), "stack"), "a;c");
}

static void different_stacks_are_bounded(void **state)
{
    CX_AUTO(cx_json_free) json_t *counts = json_object();

    (void)state;
    for (int i = 0; i < DEBUG_STACKS_MAX + 10; i++) {
        CX_AUTO(cx_free) char *stack = cx_format("s%d", i);

        debug_fold(counts, stack);
    }
    assert_int_equal(json_object_size(counts), DEBUG_STACKS_MAX + 1);
    assert_int_equal(json_integer_value(json_object_get(counts, "[more]")), 10);
}

static void the_kernels_stack_is_turned_round(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer stack = {0};

    (void)state;
    debug_fold_kernel(cx_bytes_of("[<0>] pipe_read+0x2f/0x4a0\n[<0>] vfs_read+0xbb/0x360\n"
                                  "[<0>] do_syscall_64+0x71/0x280\n"),
                      &stack);
    assert_string_equal((const char *)stack.data, ";do_syscall_64;vfs_read;pipe_read");
    cx_buffer_clear(&stack);
    debug_fold_kernel(cx_bytes_of("\n[<0>]\nx;y"), &stack);
    assert_string_equal((const char *)stack.data, ";x:y");
}

static void what_perf_writes_becomes_stacks(void **state)
{
    static const char text[] = "my agent 11/12 \n"
                               "\t          1af857 inner (inlined)\n"
                               "\t          2508e3 std::map<int, int>::at(int)\n"
                               "\t            1080 _start\n"
                               "\n"
                               "my agent 11/12 \n"
                               "\t          1af857 inner (inlined)\n"
                               "\t          2508e3 std::map<int, int>::at(int)\n"
                               "\t            1080 _start\n"
                               "\n"
                               "sh 13/13 \n"
                               "\t               0 [unknown]\n"
                               "\n";
    CX_AUTO(cx_json_free) json_t *counts = json_object();
    CX_AUTO(cx_free) char *folded = NULL;

    (void)state;
    assert_int_equal(debug_fold_perf(cx_bytes_of(text), "root", counts), 3);
    folded = debug_folded_text(counts);
    assert_string_equal(folded, "root;my agent;_start;std::map<int, int>::at(int);inner 2\n"
                                "root;sh;[unknown] 1\n");
    assert_int_equal(debug_fold_perf(cx_bytes_of("\n \n\t\n"), "root", counts), 0);
}

static void smaps_are_summed_by_kind_and_name(void **state)
{
    static const char text[] =
        "55d0-55d1 r-xp 00000000 08:01 123    /usr/bin/my agent\n"
        "Size:    8 kB\nRss:     8 kB\nPss:     4 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 2 kB\n"
        "VmFlags: rd ex mr mw me\n"
        "7f00-7f01 rw-p 00000000 00:00 0 \n"
        "Rss:    16 kB\nPss:    16 kB\nSwap:   4 kB\n"
        "7f02-7f03 rw-p 00000000 00:00 0      [heap]\n"
        "Rss:     4 kB\nPss:     0 kB\n";
    CX_AUTO(cx_json_free) json_t *sums = json_object();
    CX_AUTO(cx_json_free) json_t *by_name = json_object();
    CX_AUTO(cx_free) char *names = NULL;

    (void)state;
    debug_add_smaps(cx_bytes_of(text), sums, by_name);
    assert_int_equal(json_integer_value(json_object_get(sums, "rss_bytes")), 28 * 1024);
    assert_int_equal(json_integer_value(json_object_get(sums, "pss_bytes")), 20 * 1024);
    assert_int_equal(json_integer_value(json_object_get(sums, "private_bytes")), 3 * 1024);
    assert_int_equal(json_integer_value(json_object_get(sums, "swap_bytes")), 4 * 1024);
    names = debug_folded_text(by_name);
    assert_string_equal(names, "[anonymous] 16384\n/usr/bin/my agent 4096\n");
}

static void a_programs_name_may_hold_anything(void **state)
{
    debug_stat stat;

    (void)state;
    assert_true(debug_read_stat(
        cx_bytes_of("42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 99"), &stat));
    assert_string_equal(stat.comm, "a) b (c");
    assert_int_equal(stat.state, 'S');
    assert_int_equal(stat.ppid, 7);
    assert_int_equal(stat.user_ticks, 150);
    assert_int_equal(stat.system_ticks, 25);
    assert_false(debug_read_stat(cx_bytes_of("42 (a) S 7"), &stat));
    assert_false(debug_read_stat(cx_bytes_of(")("), &stat));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stacks_are_counted_the_most_frequent_first),
        cmocka_unit_test(different_stacks_are_bounded),
        cmocka_unit_test(the_kernels_stack_is_turned_round),
        cmocka_unit_test(what_perf_writes_becomes_stacks),
        cmocka_unit_test(smaps_are_summed_by_kind_and_name),
        cmocka_unit_test(a_programs_name_may_hold_anything),
    };

    return cmocka_run_group_tests_name("debug_folded", tests, NULL, NULL);
}
