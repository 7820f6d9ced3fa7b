#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pki/identity.h"

#define ID_64 "a123456789012345678901234567890123456789012345678901234567890123"
#define ID_65 ID_64 "x"

static void only_identities_of_a_cluster_are_read(void **state)
{
    static const struct {
        const char *uri;
        const char *cluster; /* NULL: refused */
        const char *name;
        cx_identity_kind kind;
    } rows[] = {
        {"spiffe://prod/node/node-1", "prod", "node-1", CX_IDENTITY_NODE},
        {"spiffe://prod/operator/alice", "prod", "alice", CX_IDENTITY_OPERATOR},
        {"spiffe://eu-1.prod_a/node/N.1_x", "eu-1.prod_a", "N.1_x", CX_IDENTITY_NODE},
        {"spiffe://" ID_64 "/node/" ID_64, ID_64, ID_64, CX_IDENTITY_NODE},
        {"spiffe://" ID_65 "/node/node-1", NULL, NULL, 0},
        {"spiffe://prod/node/" ID_65, NULL, NULL, 0},
        {"", NULL, NULL, 0},
        {"spiffe://", NULL, NULL, 0},
        {"spiffe://prod", NULL, NULL, 0},
        {"spiffe://prod/", NULL, NULL, 0},
        {"spiffe://prod/node", NULL, NULL, 0},
        {"spiffe://prod/node/", NULL, NULL, 0},
        {"spiffe:///node/node-1", NULL, NULL, 0},
        {"spiffe://prod//node-1", NULL, NULL, 0},
        {"spiffe://prod/node/node-1/", NULL, NULL, 0},
        {"spiffe://prod/node/node-1/x", NULL, NULL, 0},
        {"spiffe://prod/node/node-1?x", NULL, NULL, 0},
        {"spiffe://prod/node/node-1#x", NULL, NULL, 0},
        {"spiffe://prod/node/node%2d1", NULL, NULL, 0},
        {"spiffe://prod:80/node/node-1", NULL, NULL, 0},
        {"spiffe://user@prod/node/node-1", NULL, NULL, 0},
        {"spiffe://prod/nodes/node-1", NULL, NULL, 0},
        {"spiffe://prod/nod/node-1", NULL, NULL, 0},
        {"spiffe://prod/NODE/node-1", NULL, NULL, 0},
        {"SPIFFE://prod/node/node-1", NULL, NULL, 0},
        {"https://prod/node/node-1", NULL, NULL, 0},
        {" spiffe://prod/node/node-1", NULL, NULL, 0},
        {"spiffe://prod/node/node-1 ", NULL, NULL, 0},
        {"spiffe://prod/node/..", NULL, NULL, 0},
        {"spiffe://prod/node/-x", NULL, NULL, 0},
        {"spiffe://prod/node/n\xc3\xb6", NULL, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_identity identity = {0};
        cx_err err = {0};
        bool accepted = cx_identity_parse_uri(rows[i].uri, &identity, &err);

        if (accepted != (rows[i].cluster != NULL))
            fail_msg("%s: %s", rows[i].uri, accepted ? "accepted" : err.message);
        if (!accepted && err.code != CX_CERT_INVALID)
            fail_msg("%s: refused as %s", rows[i].uri, cx_code_word(err.code));
        if (accepted) {
            assert_string_equal(identity.cluster, rows[i].cluster);
            assert_string_equal(identity.name, rows[i].name);
            assert_int_equal(identity.kind, rows[i].kind);
        }
    }
}

static void what_is_written_is_read_again(void **state)
{
    cx_identity identity = {.cluster = ID_64, .name = ID_64, .kind = CX_IDENTITY_OPERATOR};
    cx_identity again = {0};
    char uri[CX_URI_SIZE];
    cx_err err = {0};

    (void)state;
    cx_identity_uri(&identity, uri);

    assert_true(cx_identity_parse_uri(uri, &again, &err));
    assert_string_equal(again.cluster, ID_64);
    assert_string_equal(again.name, ID_64);
    assert_int_equal(again.kind, CX_IDENTITY_OPERATOR);
}

static void roles_grow_in_power_and_have_a_word_each(void **state)
{
    cx_role role;
    cx_err err = {0};

    (void)state;
    for (cx_role each = CX_ROLE_VIEWER; each <= CX_ROLE_ADMIN; each++) {
        assert_true(cx_role_parse(cx_role_word(each), &role, &err));
        assert_int_equal(role, each);
    }
    assert_true(CX_ROLE_VIEWER < CX_ROLE_OPERATOR && CX_ROLE_OPERATOR < CX_ROLE_ADMIN);
    assert_false(cx_role_parse("root", &role, &err));
    assert_int_equal(err.code, CX_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_identities_of_a_cluster_are_read),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(roles_grow_in_power_and_have_a_word_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
