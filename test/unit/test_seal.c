/* age and minisign files: our own round trips, hostile changes, and the real programs both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/proc.h"
#include "base/text.h"
#include "seal/age.h"
#include "seal/bech32.h"
#include "seal/minisign.h"

enum { CONTENT_MAX = 1024 * 1024 };

struct keys {
    char *identity, *recipient;
    cx_age_identities *identities;
    cx_age_recipients recipients;
    char folder[32];
};

static int set_up(void **state)
{
    struct keys *keys = cx_alloc(1, sizeof *keys);
    cx_err err = {0};

    cx_age_generate(&keys->identity, &keys->recipient);
    assert_true(
        cx_age_parse_identities(cx_bytes_of(keys->identity), "test", &keys->identities, &err));
    assert_true(cx_age_add_recipient(&keys->recipients, keys->recipient, &err));
    strcpy(keys->folder, "/tmp/cx-seal-XXXXXX");
    assert_non_null(mkdtemp(keys->folder));
    *state = keys;
    return 0;
}

static int tear_down(void **state)
{
    struct keys *keys = *state;
    cx_err err = {0};

    cx_free_secret(&keys->identity);
    cx_free(&keys->recipient);
    cx_age_identities_free(&keys->identities);
    assert_true(cx_remove_tree(keys->folder, &err));
    cx_free(&keys);
    return 0;
}

static void fill(cx_buffer *content, size_t size)
{
    content->size = 0;
    cx_random(cx_buffer_reserve(content, size), size);
    content->size = size;
}

/* Sizes around the chunk of 64 KiB, where the last chunk is full, short or empty. */
static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 300000};

static void what_is_sealed_opens_again(void **state)
{
    struct keys *keys = *state;

    for (size_t i = 0; i < CX_COUNT(sizes); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer content = {0};
        CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
        CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
        cx_err err = {0};

        fill(&content, sizes[i]);
        assert_true(cx_age_seal(&keys->recipients, cx_buffer_bytes(&content), &sealed, &err));
        assert_int_equal(sealed.size, cx_age_sealed_size(sizes[i], 1));
        assert_true(
            cx_age_open(keys->identities, cx_buffer_bytes(&sealed), CONTENT_MAX, &plain, &err));
        assert_true(cx_bytes_equal(cx_buffer_bytes(&plain), cx_buffer_bytes(&content)));
    }
}

static void every_flipped_byte_of_the_header_and_each_chunk_is_noticed(void **state)
{
    struct keys *keys = *state;
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
    cx_err err = {0};

    fill(&content, 70000);
    assert_true(cx_age_seal(&keys->recipients, cx_buffer_bytes(&content), &sealed, &err));
    for (size_t at = 0; at < sealed.size; at += at < 300 ? 1 : 997) {
        CX_AUTO(cx_buffer_free) cx_buffer plain = {0};

        sealed.data[at] ^= 1;
        if (cx_age_open(keys->identities, cx_buffer_bytes(&sealed), CONTENT_MAX, &plain, &err))
            fail_msg("a flipped bit of byte %zu was not noticed", at);
        assert_int_equal(plain.size, 0);
        sealed.data[at] ^= 1;
    }
}

static void a_cut_file_is_noticed_at_every_length(void **state)
{
    struct keys *keys = *state;
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
    cx_err err = {0};

    fill(&content, 131072);
    assert_true(cx_age_seal(&keys->recipients, cx_buffer_bytes(&content), &sealed, &err));
    for (size_t size = 0; size < sealed.size; size += size < 400 ? 1 : 4096) {
        CX_AUTO(cx_buffer_free) cx_buffer plain = {0};

        if (cx_age_open(keys->identities, (cx_bytes){sealed.data, size}, CONTENT_MAX, &plain, &err))
            fail_msg("a cut to %zu bytes was not noticed", size);
    }
}

static void another_identity_is_refused_and_large_content_too(void **state)
{
    struct keys *keys = *state;
    CX_AUTO(cx_free_secret) char *identity = NULL;
    CX_AUTO(cx_free) char *recipient = NULL;
    CX_AUTO(cx_age_identities_free) cx_age_identities *others = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
    cx_err err = {0};

    cx_age_generate(&identity, &recipient);
    assert_true(cx_age_parse_identities(cx_bytes_of(identity), "test", &others, &err));
    assert_true(cx_age_seal(&keys->recipients, cx_bytes_of("twelve bytes"), &sealed, &err));
    assert_false(cx_age_open(others, cx_buffer_bytes(&sealed), CONTENT_MAX, &plain, &err));
    assert_int_equal(err.code, CX_PERMISSION);
    assert_false(cx_age_open(keys->identities, cx_buffer_bytes(&sealed), 11, &plain, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
}

static void a_typing_error_in_a_recipient_is_found(void **state)
{
    struct keys *keys = *state;
    cx_age_recipients recipients = {0};
    cx_err err = {0};

    for (size_t i = 0; keys->recipient[i]; i++) {
        char kept = keys->recipient[i];

        keys->recipient[i] = kept == 'q' ? 'p' : 'q';
        assert_false(cx_age_add_recipient(&recipients, keys->recipient, &err));
        keys->recipient[i] = kept;
    }
    assert_false(cx_age_add_recipient(&recipients, keys->identity, &err));
    assert_null(strstr(err.message, keys->identity));
}

/* ---- the real programs */

static char *in(const struct keys *keys, const char *name)
{
    return cx_path_join(keys->folder, name);
}

static void put(const struct keys *keys, const char *name, cx_bytes bytes)
{
    CX_AUTO(cx_free) char *path = in(keys, name);
    cx_err err = {0};

    assert_true(cx_replace(path, 0600, bytes, &err));
}

static int run(const struct keys *keys, const char *const *argv)
{
    cx_proc_result result = {0};
    cx_err err = {0};
    cx_proc_spec spec = {
        .argv = argv, .folder = keys->folder, .timeout_ms = 60000, .output_max = 65536};

    assert_true(cx_proc_run(&spec, &result, &err));

    int status = result.status;

    cx_proc_result_free(&result);
    return status;
}

static void age_opens_ours_and_we_open_its(void **state)
{
    struct keys *keys = *state;

    put(keys, "key.txt", cx_bytes_of(keys->identity));
    for (size_t i = 0; i < CX_COUNT(sizes); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer content = {0};
        CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
        CX_AUTO(cx_buffer_free) cx_buffer read = {0};
        CX_AUTO(cx_buffer_free) cx_buffer theirs = {0};
        CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
        CX_AUTO(cx_free) char *opened = in(keys, "opened");
        CX_AUTO(cx_free) char *sealed_by_age = in(keys, "theirs.age");
        const char *open[] = {"age", "-d", "-i", "key.txt", "-o", "opened", "ours.age", NULL};
        const char *seal[] = {"age", "-r", keys->recipient, "-o", "theirs.age", "plain", NULL};
        cx_err err = {0};

        fill(&content, sizes[i]);
        assert_true(cx_age_seal(&keys->recipients, cx_buffer_bytes(&content), &sealed, &err));
        put(keys, "ours.age", cx_buffer_bytes(&sealed));
        assert_int_equal(run(keys, open), 0);
        /* age makes no file of no content. */
        if (sizes[i] > 0)
            assert_true(cx_read_file(opened, CONTENT_MAX, &read, &err));
        assert_true(cx_bytes_equal(cx_buffer_bytes(&read), cx_buffer_bytes(&content)));

        put(keys, "plain", cx_buffer_bytes(&content));
        assert_int_equal(run(keys, seal), 0);
        assert_true(cx_read_file(sealed_by_age, CONTENT_MAX, &theirs, &err));
        assert_true(
            cx_age_open(keys->identities, cx_buffer_bytes(&theirs), CONTENT_MAX, &plain, &err));
        assert_true(cx_bytes_equal(cx_buffer_bytes(&plain), cx_buffer_bytes(&content)));
    }
}

static void a_passphrase_opens_what_it_sealed_and_no_other_does(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer sealed = {0};
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
    cx_err err = {0};

    (void)state;
    assert_true(cx_age_seal_passphrase("correct horse", cx_bytes_of("kit"), &sealed, &err));
    assert_true(
        cx_age_open_passphrase("correct horse", cx_buffer_bytes(&sealed), 100, &plain, &err));
    assert_true(cx_bytes_equal(cx_buffer_bytes(&plain), cx_bytes_of("kit")));
    assert_false(cx_age_open_passphrase("battery", cx_buffer_bytes(&sealed), 100, &plain, &err));
    assert_int_equal(err.code, CX_PERMISSION);
}

static void minisign_verifies_ours_and_we_verify_its(void **state)
{
    struct keys *keys = *state;
    CX_AUTO(cx_free_secret) char *secret_text = NULL;
    CX_AUTO(cx_free) char *public_text = NULL;
    CX_AUTO(cx_minisign_secret_free) cx_minisign_secret *secret = NULL;
    CX_AUTO(cx_free) char *secret_path = in(keys, "ours.key");
    CX_AUTO(cx_free) char *their_public = in(keys, "theirs.pub");
    CX_AUTO(cx_free) char *their_signature = in(keys, "file.minisig");
    CX_AUTO(cx_buffer_free) cx_buffer signature = {0};
    CX_AUTO(cx_free) char *comment = NULL;
    cx_bytes content = cx_bytes_of("{\"manifest\":1}\n");
    cx_minisign_public public_key;
    const char *verify[] = {"minisign", "-V", "-q", "-m", "file", "-p", "ours.pub", NULL};
    const char *make[] = {"minisign",   "-G", "-W",         "-f", "-p",
                          "theirs.pub", "-s", "theirs.key", NULL};
    const char *sign[] = {"minisign", "-S", "-s", "theirs.key", "-m", "file", NULL};
    cx_err err = {0};

    cx_minisign_generate(&secret_text, &public_text);
    put(keys, "ours.key", cx_bytes_of(secret_text));
    put(keys, "ours.pub", cx_bytes_of(public_text));
    put(keys, "file", content);
    assert_true(cx_minisign_read_secret(secret_path, &secret, &err));

    CX_AUTO(cx_free) char *ours = cx_minisign_sign(secret, content, "timestamp:1 file:manifest");

    put(keys, "file.minisig", cx_bytes_of(ours));
    assert_int_equal(run(keys, verify), 0);
    put(keys, "file", cx_bytes_of("changed"));
    assert_int_not_equal(run(keys, verify), 0);

    put(keys, "file", content);
    assert_int_equal(run(keys, make), 0);
    assert_int_equal(run(keys, sign), 0);
    assert_true(cx_minisign_read_public(their_public, &public_key, &err));
    assert_true(cx_read_file(their_signature, CX_MINISIGN_FILE_MAX, &signature, &err));
    assert_true(
        cx_minisign_verify(&public_key, content, cx_buffer_bytes(&signature), &comment, &err));
    assert_non_null(comment);
    assert_false(cx_minisign_verify(&public_key, cx_bytes_of("changed"),
                                    cx_buffer_bytes(&signature), NULL, &err));
    assert_int_equal(err.code, CX_CORRUPT);
    assert_false(cx_minisign_verify(&public_key, content, cx_bytes_of(ours), NULL, &err));
    assert_int_equal(err.code, CX_PERMISSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_sealed_opens_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_byte_of_the_header_and_each_chunk_is_noticed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_file_is_noticed_at_every_length, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_identity_is_refused_and_large_content_too, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_typing_error_in_a_recipient_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(age_opens_ours_and_we_open_its, set_up, tear_down),
        cmocka_unit_test(a_passphrase_opens_what_it_sealed_and_no_other_does),
        cmocka_unit_test_setup_teardown(minisign_verifies_ours_and_we_verify_its, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
