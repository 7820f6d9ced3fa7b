#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void memory_comes_zeroed_and_its_owner_is_emptied(void **state)
{
    int *numbers = cx_alloc(4, sizeof(*numbers));

    (void)state;
    assert_int_equal(numbers[3], 0);
    cx_free(&numbers);
    assert_null(numbers);
    cx_free(&numbers);
}

/* In a child, whose end is what is tested. Volatile, so that the compiler can't see the overflow. */
static void a_product_that_overflows_ends_the_process_with_70(void **state)
{
    volatile size_t huge = SIZE_MAX / 2;
    int status;

    (void)state;

    pid_t child = fork();

    if (child == 0) {
        close(STDERR_FILENO);
        free(cx_alloc(huge, 4));
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EX_SOFTWARE);
}

static void a_taken_owner_is_empty(void **state)
{
    CX_AUTO(cx_free) char *text = cx_strdup("abc");
    CX_AUTO(cx_free) char *taken = CX_TAKE(text);

    (void)state;
    assert_null(text);
    assert_string_equal(taken, "abc");
}

static void a_copy_has_at_most_the_bytes_asked_for(void **state)
{
    CX_AUTO(cx_free) char *cut = cx_strndup("abcdef", 3);
    CX_AUTO(cx_free) char *whole = cx_strndup("ab", 3);

    (void)state;
    assert_string_equal(cut, "abc");
    assert_string_equal(whole, "ab");
    assert_null(cx_strdup(NULL));
}

static void a_buffer_grows_and_stays_text(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer buffer = {0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        cx_buffer_addf(&buffer, "%d,", i);
    assert_int_equal(buffer.size, 3890);
    assert_int_equal(strlen((char *)buffer.data), buffer.size);
    assert_memory_equal(buffer.data + buffer.size - 4, "999,", 5);
}

static void what_is_written_into_reserved_room_is_text(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer buffer = {0};

    (void)state;
    memcpy(cx_buffer_reserve(&buffer, 64), "abc", 3);
    buffer.size += 3;
    assert_string_equal((char *)buffer.data, "abc");
    assert_true(buffer.capacity > 64);
}

static void consumed_bytes_are_gone_from_the_front(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer buffer = {0};

    (void)state;
    cx_buffer_consume(&buffer, 3);
    cx_buffer_add_text(&buffer, "abcdef");
    cx_buffer_consume(&buffer, 2);
    assert_string_equal((char *)buffer.data, "cdef");
    cx_buffer_consume(&buffer, 100);
    assert_int_equal(buffer.size, 0);
    assert_string_equal((char *)buffer.data, "");
}

static void text_taken_from_an_empty_buffer_is_empty(void **state)
{
    cx_buffer buffer = {0};
    CX_AUTO(cx_free) char *text = cx_buffer_take_text(&buffer);

    (void)state;
    assert_string_equal(text, "");
    assert_null(buffer.data);
}

static void bytes_are_equal_by_content(void **state)
{
    (void)state;
    assert_true(cx_bytes_equal(cx_bytes_of("ab"), (cx_bytes){(const uint8_t *)"abc", 2}));
    assert_false(cx_bytes_equal(cx_bytes_of("ab"), cx_bytes_of("abc")));
    assert_true(cx_bytes_equal((cx_bytes){0}, cx_bytes_of("")));
}

static void a_list_owns_its_texts(void **state)
{
    CX_AUTO(cx_list_free) cx_list list = {0};

    (void)state;
    for (int i = 0; i < 100; i++)
        cx_list_take(&list, cx_format("%d", i));
    cx_list_add(&list, "last");
    assert_int_equal(list.count, 101);
    assert_string_equal(list.items[37], "37");
    assert_true(cx_list_has(&list, "last"));
    assert_false(cx_list_has(&list, "las"));
    cx_list_free(&list);
    assert_int_equal(list.count, 0);
    assert_false(cx_list_has(&list, "last"));
}

static void an_error_keeps_its_code_and_hint_when_wrapped(void **state)
{
    cx_err err = {0};

    (void)state;
    assert_false(cx_fail(&err, CX_TIMEOUT, "connect to %s: timed out", "10.0.0.2"));
    assert_false(cx_hint(&err, "is it up?"));
    assert_false(cx_wrap(&err, "drain %s", "node-2"));
    assert_int_equal(err.code, CX_TIMEOUT);
    assert_string_equal(err.message, "drain node-2: connect to 10.0.0.2: timed out");
    assert_string_equal(err.hint, "is it up?");
    assert_false(cx_fail(&err, CX_IO, "again: %s", err.message));
    assert_string_equal(err.message, "again: drain node-2: connect to 10.0.0.2: timed out");
    assert_string_equal(err.hint, "");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    cx_err err = {0};
    char text[1200];

    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "€", 4);
        cx_fail(&err, CX_IO, "%s", text);
        assert_int_equal((strlen(err.message) - shift) % 3, 0);
        assert_true(strlen(err.message) > sizeof(err.message) - 4);
        cx_wrap(&err, "y");
        assert_int_equal((strlen(err.message) - shift) % 3, 0); /* "y: " has three bytes */
        assert_int_equal(err.message[sizeof(err.message) - 1], '\0');
    }
}

static void every_code_comes_back_from_its_word(void **state)
{
    (void)state;
#define CHECK(name, word, status)                          \
    assert_int_equal(cx_code_from_word(word), CX_##name);  \
    assert_string_equal(cx_code_word(CX_##name), word);    \
    assert_int_equal(cx_code_status(CX_##name), status);   \
    assert_in_range(cx_code_to_http(CX_##name), 400, 599); \
    assert_int_not_equal(cx_code_from_http(cx_code_to_http(CX_##name)), CX_OK);
    CX_CODES(CHECK)
#undef CHECK
    assert_int_equal(cx_code_from_word("no such word"), CX_INTERNAL);
    assert_int_equal(cx_code_from_word("ok"), CX_INTERNAL);
    assert_int_equal(cx_code_status(CX_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed_and_its_owner_is_emptied),
        cmocka_unit_test(a_product_that_overflows_ends_the_process_with_70),
        cmocka_unit_test(a_taken_owner_is_empty),
        cmocka_unit_test(a_copy_has_at_most_the_bytes_asked_for),
        cmocka_unit_test(a_buffer_grows_and_stays_text),
        cmocka_unit_test(what_is_written_into_reserved_room_is_text),
        cmocka_unit_test(consumed_bytes_are_gone_from_the_front),
        cmocka_unit_test(text_taken_from_an_empty_buffer_is_empty),
        cmocka_unit_test(bytes_are_equal_by_content),
        cmocka_unit_test(a_list_owns_its_texts),
        cmocka_unit_test(an_error_keeps_its_code_and_hint_when_wrapped),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(every_code_comes_back_from_its_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
