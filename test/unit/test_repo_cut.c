/* Cuts: what an insert, an append and a change move, and what they leave alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "repo/cut.h"

enum { FILE_SIZE = 24 * 1024 * 1024, CUTS_MAX = 128 };

static cx_cutter make_cutter(uint8_t first)
{
    uint8_t seed[CX_CUT_SEED_SIZE] = {first, 2, 3};

    return cx_cutter_from(seed);
}

static size_t cut_all(const cx_cutter *cutter, cx_bytes data, uint64_t pieces[CUTS_MAX],
                      size_t sizes[CUTS_MAX])
{
    size_t count = 0;

    while (data.size > 0) {
        size_t size = cx_cut_content(cutter, data);
        uint64_t hash = 0;

        for (size_t i = 0; i < size; i++)
            hash = hash * 31 + data.data[i];
        assert_true(count < CUTS_MAX);
        pieces[count] = hash;
        sizes[count++] = size;
        data = (cx_bytes){data.data + size, data.size - size};
    }
    return count;
}

static size_t shared(const uint64_t *a, size_t a_count, const uint64_t *b, size_t b_count)
{
    size_t count = 0;

    for (size_t i = 0; i < a_count; i++)
        for (size_t j = 0; j < b_count; j++)
            if (a[i] == b[j]) {
                count++;
                break;
            }
    return count;
}

static void pieces_have_the_sizes_that_they_should(void **state)
{
    cx_cutter cutter = make_cutter(1);
    cx_rng rng = cx_rng_seed(7);
    uint64_t pieces[CUTS_MAX];
    size_t sizes[CUTS_MAX];
    uint8_t *data = cx_alloc(FILE_SIZE, 1);

    (void)state;
    cx_rng_fill(&rng, data, FILE_SIZE);

    size_t count = cut_all(&cutter, (cx_bytes){data, FILE_SIZE}, pieces, sizes);

    for (size_t i = 0; i + 1 < count; i++)
        assert_in_range(sizes[i], CX_CUT_MIN, CX_CUT_MAX);
    assert_in_range(count, FILE_SIZE / (2 * CX_CUT_MEAN), 2 * FILE_SIZE / CX_CUT_MEAN);
    /* Without any content to cut by, too. */
    memset(data, 0, FILE_SIZE);
    count = cut_all(&cutter, (cx_bytes){data, FILE_SIZE}, pieces, sizes);
    for (size_t i = 0; i + 1 < count; i++)
        assert_in_range(sizes[i], CX_CUT_MIN, CX_CUT_MAX);
    cx_free(&data);
}

static void an_insert_in_a_file_changes_few_pieces(void **state)
{
    cx_cutter cutter = make_cutter(1);
    cx_rng rng = cx_rng_seed(8);
    uint64_t before[CUTS_MAX], after[CUTS_MAX];
    size_t sizes[CUTS_MAX];
    uint8_t *data = cx_alloc(FILE_SIZE + 100, 1);

    (void)state;
    cx_rng_fill(&rng, data, FILE_SIZE);

    size_t before_count = cut_all(&cutter, (cx_bytes){data, FILE_SIZE}, before, sizes);

    memmove(data + FILE_SIZE / 2 + 100, data + FILE_SIZE / 2, FILE_SIZE / 2);
    memset(data + FILE_SIZE / 2, 'x', 100);

    size_t after_count = cut_all(&cutter, (cx_bytes){data, FILE_SIZE + 100}, after, sizes);

    assert_true(shared(before, before_count, after, after_count) + 4 >= before_count);
    cx_free(&data);
}

static void another_seed_cuts_elsewhere(void **state)
{
    cx_cutter one = make_cutter(1), other = make_cutter(2);
    cx_rng rng = cx_rng_seed(9);
    uint64_t a[CUTS_MAX], b[CUTS_MAX];
    size_t sizes[CUTS_MAX];
    uint8_t *data = cx_alloc(FILE_SIZE, 1);

    (void)state;
    cx_rng_fill(&rng, data, FILE_SIZE);

    size_t a_count = cut_all(&one, (cx_bytes){data, FILE_SIZE}, a, sizes);
    size_t b_count = cut_all(&other, (cx_bytes){data, FILE_SIZE}, b, sizes);

    assert_int_equal(shared(a, a_count, b, b_count), 0);
    cx_free(&data);
}

static void whether_a_group_ends_depends_on_this_file_alone(void **state)
{
    cx_cutter cutter = make_cutter(3);
    size_t cuts = 0, bytes = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        char path[64];

        snprintf(path, sizeof path, "agents/a%d/file-%d", i % 7, i);
        bytes += 8192;
        cuts += cx_cut_after(&cutter, path, 8192);
        assert_int_equal(cx_cut_after(&cutter, path, 8192), cx_cut_after(&cutter, path, 8192));
    }
    /* One group in CX_CUT_GROUP bytes, give or take. */
    assert_in_range(cuts, bytes / CX_CUT_GROUP * 3 / 4, bytes / CX_CUT_GROUP * 5 / 4);
    assert_true(cx_cut_after(&cutter, "anything", CX_CUT_GROUP));
}

static void a_databases_block_holds_whole_pages(void **state)
{
    (void)state;
    for (int page = 512; page <= 65536; page *= 2)
        assert_int_equal(CX_CUT_BLOCK % page, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_have_the_sizes_that_they_should),
        cmocka_unit_test(an_insert_in_a_file_changes_few_pieces),
        cmocka_unit_test(another_seed_cuts_elsewhere),
        cmocka_unit_test(whether_a_group_ends_depends_on_this_file_alone),
        cmocka_unit_test(a_databases_block_holds_whole_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
