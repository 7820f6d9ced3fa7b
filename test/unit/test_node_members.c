/* tools/node/members: a gossip agent that starts again makes nobody be forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/members.h"

/* The members after an answer, as "a=alive b=left", in the order of their ids. */
static void expect(node_members *members, const char *answer, int64_t now_ms, const char *expected)
{
    CX_AUTO(cx_json_free) json_t *json = json_loads(answer, 0, NULL);
    CX_AUTO(cx_json_free) json_t *merged = node_members_merge(members, json, now_ms);
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    const json_t *member;
    size_t i;

    for (char id = 'a'; id <= 'c'; id++)
        json_array_foreach (json_object_get(merged, "members"), i, member)
            if (cx_json_text_or_empty(member, "node_id")[0] == id)
                cx_buffer_addf(&text, "%c=%s ", id, cx_json_text_or_empty(member, "status"));
    cx_buffer_add(&text, "", 1);
    assert_string_equal((const char *)text.data, expected);
}

#define MEMBER(id, status) "{\"node_id\":\"" id "\",\"status\":\"" status "\"}"
#define LIST(members)      "{\"members\":[" members "]}"

static void who_is_not_listed_stays_for_a_while_as_it_was(void **state)
{
    node_members *members = node_members_open();

    (void)state;
    expect(members, LIST(MEMBER("a", "alive") "," MEMBER("b", "alive")), 0, "a=alive b=alive ");
    expect(members, LIST(MEMBER("a", "alive")), 1000, "a=alive b=alive ");
    expect(members, LIST(MEMBER("a", "alive")), NODE_MEMBERS_KEEP_MS - 1, "a=alive b=alive ");
    expect(members, LIST(MEMBER("a", "alive")), NODE_MEMBERS_KEEP_MS, "a=alive ");
    node_members_close(&members);
}

static void what_is_told_counts_at_once(void **state)
{
    node_members *members = node_members_open();

    (void)state;
    expect(members, LIST(MEMBER("a", "alive") "," MEMBER("b", "alive")), 0, "a=alive b=alive ");
    expect(members, LIST(MEMBER("a", "alive") "," MEMBER("b", "left")), 10, "a=alive b=left ");
    expect(members, LIST(MEMBER("c", "alive")), 20, "a=alive b=left c=alive ");
    expect(members, LIST(MEMBER("b", "alive")), NODE_MEMBERS_KEEP_MS + 10, "b=alive c=alive ");
    node_members_close(&members);
    node_members_close(&members);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_not_listed_stays_for_a_while_as_it_was),
        cmocka_unit_test(what_is_told_counts_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
