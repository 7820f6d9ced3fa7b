#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/crypt.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAA=="
#define KEY_B "NUDi22rkoCPAR6/+UegZ+jSUFHKCAsr/PieKBk+sb2o="

static cx_keyring *ring_of(const char *text)
{
    cx_keyring *ring = NULL;
    cx_err err;

    if (!cx_keyring_parse(cx_bytes_of(text), &ring, &err))
        fail_msg("%s", err.message);
    return ring;
}

static void a_ring_is_a_list_of_keys_in_base64(void **state)
{
    static const struct {
        const char *name, *text;
        bool good;
    } rows[] = {
        {"one key", "[\"" KEY_A "\"]", true},
        {"two keys", "[\n  \"" KEY_A "\",\n  \"" KEY_B "\"\n]\n", true},
        {"the same key twice counts once", "[\"" KEY_A "\", \"" KEY_A "\"]", true},
        {"no keys", "[]", false},
        {"nothing", "", false},
        {"no list", "\"" KEY_A "\"", false},
        {"a number", "[7]", false},
        {"15 bytes", "[\"AAAAAAAAAAAAAAAAAAAA\"]", false},
        {"33 bytes", "[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]", false},
        {"no base64", "[\"!!!\"]", false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_keyring_close) cx_keyring *ring = NULL;
        cx_err err;
        bool good = cx_keyring_parse(cx_bytes_of(rows[i].text), &ring, &err);

        if (good != rows[i].good)
            fail_msg("%s: %s", rows[i].name, good ? "taken" : err.message);
        if (!good && err.code != CX_CONFIG)
            fail_msg("%s: %s", rows[i].name, cx_code_word(err.code));
    }
}

static void what_is_written_is_read_again(void **state)
{
    CX_AUTO(cx_keyring_close) cx_keyring *ring = ring_of("[\"" KEY_B "\",\"" KEY_A "\"]");
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    (void)state;
    cx_keyring_write(ring, &text);
    CX_AUTO(cx_keyring_close) cx_keyring *again = ring_of((const char *)text.data);

    assert_int_equal(cx_keyring_count(again), 2);
    assert_int_equal(cx_keyring_key(again, 0).size, 32);
    assert_int_equal(cx_keyring_key(again, 1).size, 16);
}

static void keys_change_without_losing_the_primary_one(void **state)
{
    CX_AUTO(cx_keyring_close) cx_keyring *ring = ring_of("[\"" KEY_A "\"]");
    uint8_t bytes[] = "0123456789abcdef0123456789abcdef";
    cx_bytes fresh = {bytes, 24}, old = cx_keyring_key(ring, 0);
    uint8_t old_copy[32];
    bool changed;
    cx_err err;

    (void)state;
    memcpy(old_copy, old.data, old.size);
    old.data = old_copy;
    assert_false(cx_keyring_install(ring, (cx_bytes){bytes, 23}, &changed, &err));
    assert_int_equal(err.code, CX_INVALID);
    assert_false(cx_keyring_use(ring, fresh, &changed, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
    assert_true(cx_keyring_install(ring, fresh, &changed, &err) && changed);
    assert_true(cx_keyring_install(ring, fresh, &changed, &err) && !changed);
    assert_false(cx_keyring_remove(ring, old, &changed, &err));
    assert_int_equal(err.code, CX_BUSY);
    assert_true(cx_keyring_use(ring, fresh, &changed, &err) && changed);
    assert_true(cx_bytes_equal(cx_keyring_key(ring, 0), fresh));
    assert_true(cx_keyring_remove(ring, old, &changed, &err) && changed);
    assert_true(cx_keyring_remove(ring, old, &changed, &err) && !changed);
    assert_int_equal(cx_keyring_count(ring), 1);
}

static void a_ring_has_a_limit(void **state)
{
    CX_AUTO(cx_keyring_close) cx_keyring *ring = cx_keyring_new();
    uint8_t key[16] = {0};
    bool changed;
    cx_err err;

    (void)state;
    for (key[0] = 0; key[0] < CX_KEYRING_KEYS_MAX; key[0]++)
        assert_true(cx_keyring_install(ring, (cx_bytes){key, sizeof(key)}, &changed, &err));
    assert_false(cx_keyring_install(ring, (cx_bytes){key, sizeof(key)}, &changed, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
}

static void only_who_has_the_key_reads(void **state)
{
    CX_AUTO(cx_keyring_close) cx_keyring *ours = ring_of("[\"" KEY_B "\"]");
    CX_AUTO(cx_keyring_close) cx_keyring *both = ring_of("[\"" KEY_A "\",\"" KEY_B "\"]");
    CX_AUTO(cx_keyring_close) cx_keyring *other = ring_of("[\"" KEY_A "\"]");
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0}, plain = {0};
    cx_bytes text = cx_bytes_of("attack at dawn"), head = cx_bytes_of("head");
    cx_rng rng = cx_rng_seed(8);
    cx_err err;

    (void)state;
    cx_crypt_seal(ours, &rng, head, text, &sealed);
    assert_int_equal(sealed.size, text.size + CX_CRYPT_OVERHEAD);
    assert_true(cx_crypt_open(both, head, cx_buffer_bytes(&sealed), &plain, &err));
    assert_true(cx_bytes_equal(cx_buffer_bytes(&plain), text));
    cx_buffer_clear(&plain);
    assert_false(cx_crypt_open(other, head, cx_buffer_bytes(&sealed), &plain, &err));
    assert_false(cx_crypt_open(ours, cx_bytes_of("tail"), cx_buffer_bytes(&sealed), &plain, &err));
    assert_int_equal(plain.size, 0);
    /* Each byte counts: version, nonce, text, tag. */
    for (size_t i = 0; i < sealed.size; i++) {
        sealed.data[i] ^= 1;
        assert_false(cx_crypt_open(ours, head, cx_buffer_bytes(&sealed), &plain, &err));
        sealed.data[i] ^= 1;
    }
    for (size_t size = 0; size < sealed.size; size++)
        assert_false(cx_crypt_open(ours, head, (cx_bytes){sealed.data, size}, &plain, &err));
    assert_int_equal(plain.size, 0);
}

static void nonces_do_not_repeat(void **state)
{
    CX_AUTO(cx_keyring_close) cx_keyring *ring = ring_of("[\"" KEY_B "\"]");
    CX_AUTO(cx_buffer_free) cx_buffer first = {0}, second = {0};
    cx_rng rng = cx_rng_seed(9);

    (void)state;
    cx_crypt_seal(ring, &rng, (cx_bytes){0}, cx_bytes_of("same"), &first);
    cx_crypt_seal(ring, &rng, (cx_bytes){0}, cx_bytes_of("same"), &second);
    assert_memory_not_equal(first.data, second.data, first.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_is_a_list_of_keys_in_base64),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(keys_change_without_losing_the_primary_one),
        cmocka_unit_test(a_ring_has_a_limit),
        cmocka_unit_test(only_who_has_the_key_reads),
        cmocka_unit_test(nonces_do_not_repeat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
