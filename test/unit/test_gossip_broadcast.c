#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "gossip/broadcast.h"

static void put(cx_broadcasts *queue, const char *text, cx_broadcast **slot)
{
    assert_true(cx_broadcasts_put(queue, cx_bytes_of(text), slot));
}

/* What one packet takes, joined by spaces. */
static const char *taken(cx_broadcasts *queue, size_t budget, unsigned transmissions,
                         char text[512])
{
    CX_AUTO(cx_parts_free) cx_parts parts = {0};

    text[0] = '\0';
    cx_broadcasts_take(queue, 2, &budget, transmissions, &parts);
    for (size_t i = 0; i < parts.count; i++) {
        cx_bytes part = cx_parts_at(&parts, i);

        if (i > 0)
            strcat(text, " ");
        strncat(text, (const char *)part.data, part.size);
    }
    return text;
}

static void the_longest_goes_first_then_the_newest(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {0};
    char text[512];

    (void)state;
    put(&queue, "short-one-a", NULL);
    put(&queue, "a-longer-one", NULL);
    put(&queue, "short-one-b", NULL);
    assert_string_equal(taken(&queue, 1000, 1, text), "a-longer-one short-one-b short-one-a");
    assert_int_equal(queue.count, 0);
}

static void who_was_sent_less_goes_first(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {0};
    char text[512];

    (void)state;
    put(&queue, "the-long-old-one", NULL);
    taken(&queue, 1000, 4, text);
    put(&queue, "new-and-short", NULL);
    assert_string_equal(taken(&queue, 1000, 4, text), "new-and-short the-long-old-one");
}

static void what_does_not_fit_waits_and_the_rest_goes(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {0};
    char text[512];

    (void)state;
    put(&queue, "a-very-very-long-message", NULL);
    put(&queue, "message-one", NULL);
    put(&queue, "message-two", NULL);
    assert_string_equal(taken(&queue, 13, 1, text), "message-two");
    assert_string_equal(taken(&queue, 26, 1, text), "a-very-very-long-message");
    assert_string_equal(taken(&queue, 12, 1, text), "");
    assert_string_equal(taken(&queue, 13, 1, text), "message-one");
}

static void each_is_sent_so_often_and_no_more(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {0};
    cx_broadcast *slot = NULL;
    char text[512];

    (void)state;
    put(&queue, "again-and-again", &slot);
    for (int i = 0; i < 4; i++) {
        assert_non_null(slot);
        assert_string_equal(taken(&queue, 1000, 4, text), "again-and-again");
    }
    assert_null(slot);
    assert_string_equal(taken(&queue, 1000, 4, text), "");
}

static void a_new_message_replaces_the_old_one_of_its_slot(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {0};
    cx_broadcast *one = NULL, *other = NULL;
    char text[512];

    (void)state;
    put(&queue, "one-is-suspect", &one);
    put(&queue, "other-is-alive", &other);
    put(&queue, "one-is-alive!!", &one);
    assert_int_equal(queue.count, 2);
    assert_string_equal(taken(&queue, 1000, 4, text), "one-is-alive!! other-is-alive");
    cx_broadcasts_forget(&queue, &one);
    assert_null(one);
    assert_string_equal(taken(&queue, 1000, 4, text), "other-is-alive");
}

static void what_can_never_be_sent_is_not_queued(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {0};
    uint8_t bytes[CX_BROADCAST_SIZE_MAX + 1] = {1};

    (void)state;
    assert_false(cx_broadcasts_put(&queue, (cx_bytes){bytes, sizeof(bytes)}, NULL));
    assert_false(cx_broadcasts_put(&queue, (cx_bytes){bytes, 0}, NULL));
    assert_true(cx_broadcasts_put(&queue, (cx_bytes){bytes, CX_BROADCAST_SIZE_MAX}, NULL));
}

static void a_full_queue_drops_what_was_sent_most(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {.limit = 2};
    cx_broadcast *first = NULL;
    char text[512];

    (void)state;
    put(&queue, "the-first-one", &first);
    taken(&queue, 1000, 4, text);
    put(&queue, "the-second-one", NULL);
    put(&queue, "the-third-one", NULL);
    assert_null(first);
    assert_string_equal(taken(&queue, 1000, 4, text), "the-second-one the-third-one");
}

static void a_packet_has_no_more_than_127_parts(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {0};
    CX_AUTO(cx_parts_free) cx_parts parts = {0};
    size_t budget = 100000;

    (void)state;
    for (int i = 0; i < 300; i++)
        put(&queue, "a-message", NULL);
    cx_broadcasts_take(&queue, 2, &budget, 1, &parts);
    assert_int_equal(parts.count, CX_BROADCAST_PARTS_MAX);
    assert_int_equal(queue.count, 300 - CX_BROADCAST_PARTS_MAX);
}

/* The sorted list against what must always hold. */
static void the_order_holds_whatever_happens(void **state)
{
    CX_AUTO(cx_broadcasts_free) cx_broadcasts queue = {.limit = 100};
    cx_broadcast *slots[50] = {NULL};
    cx_rng rng = cx_rng_seed(17);
    uint8_t bytes[64] = {0};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t at = (size_t)cx_rng_below(&rng, CX_COUNT(slots));
        cx_bytes message = {bytes, 10 + (size_t)cx_rng_below(&rng, 50)};
        CX_AUTO(cx_parts_free) cx_parts parts = {0};
        size_t budget = (size_t)cx_rng_below(&rng, 400), whole = budget, used = 0;

        switch (cx_rng_below(&rng, 4)) {
        case 0: cx_broadcasts_put(&queue, message, &slots[at]); break;
        case 1: cx_broadcasts_put(&queue, message, NULL); break;
        case 2: cx_broadcasts_forget(&queue, &slots[at]); break;
        default: cx_broadcasts_take(&queue, 2, &budget, 5, &parts); break;
        }
        for (size_t j = 0; j < parts.count; j++)
            used += parts.sizes[j] + 2;
        assert_int_equal(used, parts.count > 0 ? whole - budget : 0);
        assert_true(queue.count <= 100);
    }
    /* Every message that is left can still be found by its slot. */
    for (size_t i = 0; i < CX_COUNT(slots); i++)
        cx_broadcasts_forget(&queue, &slots[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_goes_first_then_the_newest),
        cmocka_unit_test(who_was_sent_less_goes_first),
        cmocka_unit_test(what_does_not_fit_waits_and_the_rest_goes),
        cmocka_unit_test(each_is_sent_so_often_and_no_more),
        cmocka_unit_test(a_new_message_replaces_the_old_one_of_its_slot),
        cmocka_unit_test(what_can_never_be_sent_is_not_queued),
        cmocka_unit_test(a_full_queue_drops_what_was_sent_most),
        cmocka_unit_test(a_packet_has_no_more_than_127_parts),
        cmocka_unit_test(the_order_holds_whatever_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
