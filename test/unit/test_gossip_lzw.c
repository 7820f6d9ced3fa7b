/* The capture of 20 kB in test_gossip_wire.c shows that the encoder gives Go's bytes; here: everything
 * comes back, and what is broken is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "gossip/lzw.h"

enum { PLAIN_MAX = 1024 * 1024 };

static void expect_round_trip(cx_bytes plain, const char *name)
{
    CX_AUTO(cx_buffer_free) cx_buffer compressed = {0}, again = {0};
    cx_err err;

    cx_lzw_encode(plain, &compressed);
    if (!cx_lzw_decode(cx_buffer_bytes(&compressed), PLAIN_MAX, &again, &err))
        fail_msg("%s: %s", name, err.message);
    if (!cx_bytes_equal(cx_buffer_bytes(&again), plain))
        fail_msg("%s: came back as something else", name);
}

/* Bytes below `kinds`, in runs: few kinds fill the table slowly with long strings, many kinds fast. */
static void fill(cx_rng *rng, uint8_t *data, size_t size, uint64_t kinds)
{
    size_t at = 0;

    while (at < size) {
        uint8_t byte = (uint8_t)cx_rng_below(rng, kinds);
        size_t run = 1 + (size_t)cx_rng_below(rng, 9);

        for (; run > 0 && at < size; run--)
            data[at++] = byte;
    }
}

static void every_input_comes_back(void **state)
{
    static const uint64_t kinds[] = {1, 2, 7, 60, 256};
    static const size_t sizes[] = {1, 2, 3, 254, 255, 256, 257, 3836, 3837, 3838, 5000, 100000};
    CX_AUTO(cx_free) uint8_t *data = cx_alloc(PLAIN_MAX, 1);
    cx_rng rng = cx_rng_seed(6);

    (void)state;
    for (size_t i = 0; i < CX_COUNT(kinds); i++) {
        for (size_t j = 0; j < CX_COUNT(sizes); j++) {
            CX_AUTO(cx_free)
            char *name = cx_format("%zu bytes of %d kinds", sizes[j], (int)kinds[i]);

            fill(&rng, data, sizes[j], kinds[i]);
            expect_round_trip((cx_bytes){data, sizes[j]}, name);
        }
    }
}

/* Around the sizes at which the table gets full, width by width and byte by byte. */
static void the_table_may_get_full_anywhere(void **state)
{
    uint8_t data[9000];
    cx_rng rng = cx_rng_seed(7);

    (void)state;
    cx_rng_fill(&rng, data, sizeof(data));
    for (size_t size = 3700; size < 4100; size++)
        expect_round_trip((cx_bytes){data, size}, "noise");
    expect_round_trip((cx_bytes){data, sizeof(data)}, "two tables of noise");
}

static void what_comes_out_is_bounded(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0}, compressed = {0}, again = {0};
    cx_err err;

    (void)state;
    memset(cx_buffer_reserve(&plain, PLAIN_MAX), 'a', PLAIN_MAX);
    plain.size = PLAIN_MAX;
    cx_lzw_encode(cx_buffer_bytes(&plain), &compressed);
    assert_false(cx_lzw_decode(cx_buffer_bytes(&compressed), PLAIN_MAX - 1, &again, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
    assert_true(again.size <= PLAIN_MAX - 1);
}

static void broken_data_is_refused(void **state)
{
    static const struct {
        const char *name;
        const uint8_t data[8];
        size_t size;
    } rows[] = {
        {"nothing", {0}, 0},
        {"half a code", {0x00}, 1},
        {"clear and no end", {0x00, 0x01}, 2},
        {"a code above all", {0x00, 0xff, 0xff, 0xff}, 4},
        /* clear, then 258, which nothing has made yet */
        {"the first code is no literal", {0x00, 0x05, 0x06, 0x04}, 4},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
        cx_err err;

        if (cx_lzw_decode((cx_bytes){rows[i].data, rows[i].size}, PLAIN_MAX, &plain, &err))
            fail_msg("%s: taken", rows[i].name);
    }
}

static void bytes_after_the_end_do_not_matter(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer compressed = {0}, plain = {0};
    cx_err err;

    (void)state;
    cx_lzw_encode(cx_bytes_of("to be or not to be"), &compressed);
    cx_buffer_add_text(&compressed, "more");
    assert_true(cx_lzw_decode(cx_buffer_bytes(&compressed), PLAIN_MAX, &plain, &err));
    assert_true(cx_bytes_equal(cx_buffer_bytes(&plain), cx_bytes_of("to be or not to be")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input_comes_back),
        cmocka_unit_test(the_table_may_get_full_anywhere),
        cmocka_unit_test(what_comes_out_is_bounded),
        cmocka_unit_test(broken_data_is_refused),
        cmocka_unit_test(bytes_after_the_end_do_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
