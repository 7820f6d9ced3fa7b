/* Manifests, indexes, the set of segments, S3's XML: what is written comes back, what is wrong does not
 * come in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "repo/index.h"
#include "repo/manifest.h"
#include "repo/segments.h"
#include "repo/xml.h"

/* ---- manifests */

static cx_manifest *make_manifest(void)
{
    cx_manifest *manifest = cx_alloc(1, sizeof *manifest);

    *manifest = (cx_manifest){
        .id = cx_backup_id(1763863200000, "node-1", "full", 0x1a2b),
        .type = cx_strdup("full"),
        .cluster = cx_strdup("prod"),
        .node_id = cx_strdup("node-1"),
        .version = cx_strdup("0.1.0"),
        .created_ms = 1763863200000,
        .files = 3,
        .bytes = 99,
        .components = cx_alloc(1, sizeof(cx_manifest_component)),
        .component_count = 1,
    };
    manifest->components[0] = (cx_manifest_component){
        .name = cx_strdup("agent_state"),
        .files = 3,
        .bytes = 99,
        .segments = cx_alloc(2, sizeof(cx_segment)),
        .segment_count = 2,
    };
    manifest->components[0].segments[1] =
        (cx_segment){.id = {1, 2}, .sha256 = {3}, .size = 1024, .stored_bytes = 300};
    return manifest;
}

static void a_manifest_comes_back_as_it_was(void **state)
{
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = make_manifest();
    CX_AUTO(cx_json_free) json_t *json = cx_manifest_to_json(manifest);
    CX_AUTO(cx_free) char *text = cx_json_line(json);
    CX_AUTO(cx_manifest_free) cx_manifest *read = NULL;
    cx_err err;

    (void)state;
    assert_true(cx_manifest_parse(cx_bytes_of(text), "m", &read, &err));
    assert_string_equal(read->id, "20251123T020000Z-node-1-full-1a2b");
    assert_null(read->parent);
    assert_int_equal(read->created_ms, 1763863200000);
    assert_int_equal(read->components[0].segment_count, 2);
    assert_memory_equal(&read->components[0].segments[1], &manifest->components[0].segments[1],
                        sizeof(cx_segment));
    assert_non_null(cx_manifest_find(read, "agent_state"));
    assert_null(cx_manifest_find(read, "other"));
}

static void a_manifest_with_a_wrong_field_is_refused(void **state)
{
    static const struct {
        const char *find, *replace;
    } rows[] = {
        {"\"format\":1", "\"format\":0"},
        {"\"format\":1", "\"format\":2"},
        {"\"format\":1", "\"format\":\"1\""},
        {"20251123T020000Z-node-1-full-1a2b", "../../../etc"},
        {"20251123T020000Z-node-1-full-1a2b", ""},
        {"\"type\":\"full\"", "\"type\":\"other\""},
        {"\"parent\":null", "\"parent\":\"../x\""},
        {"\"node-1\"", "\"../x\""},
        {"\"agent_state\"", "\"a/b\""},
        {"\"size\":1024", "\"size\":-1"},
        {"\"size\":1024", "\"size\":999999999999"},
        {"\"stored_bytes\":300", "\"stored_bytes\":99999999999"},
        {"\"id\":\"0102", "\"id\":\"01"},
        {"\"id\":\"0102", "\"id\":\"010X"},
        {"\"id\":\"0102", "\"id\":\"010A"},
        {"\"segments\":[", "\"segment\":["},
        {"\"index\":{", "\"index\":[],\"x\":{"},
        {"2025-11-23T02:00:00Z", "yesterday"},
        {"\"files\":3", "\"files\":-3"},
    };
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = make_manifest();
    CX_AUTO(cx_json_free) json_t *json = cx_manifest_to_json(manifest);
    CX_AUTO(cx_free) char *text = cx_json_line(json);

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        const char *at = strstr(text, rows[i].find);
        CX_AUTO(cx_manifest_free) cx_manifest *read = NULL;
        cx_err err;

        if (at == NULL)
            fail_msg("row %zu: %s is not there", i, rows[i].find);

        CX_AUTO(cx_free)
        char *changed = cx_format("%.*s%s%s", (int)(at - text), text, rows[i].replace,
                                  at + strlen(rows[i].find));

        if (cx_manifest_parse(cx_bytes_of(changed), "m", &read, &err))
            fail_msg("%s is taken", rows[i].replace);
    }
}

/* ---- indexes */

struct collected {
    size_t count;
    char *path, *target;
    cx_tar_entry tar;
    uint8_t sha256[32];
    size_t segments;
};

static bool collect(const cx_index_entry *entry, void *arg, cx_err *err)
{
    struct collected *collected = arg;

    (void)err;
    cx_free(&collected->path);
    cx_free(&collected->target);
    collected->count++;
    collected->path = cx_strdup(entry->tar.path);
    collected->target = cx_strdup(entry->tar.target);
    collected->tar = entry->tar;
    collected->segments = entry->segment_count;
    memcpy(collected->sha256, entry->sha256, 32);
    return true;
}

static void an_entry_of_the_index_comes_back_whatever_its_name(void **state)
{
    static const char *const names[] = {
        "plain",
        "with \"quotes\" and \\",
        "tab\tnewline\n",
        "caf\xc3\xa9",
        "\xf0\x9f\x90\x98",
        "not \xff utf-8",
        "\xc0\x80",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "\xe2\x82",
        "\x7f\x01",
    };
    uint8_t segments[2][CX_SEGMENT_ID_SIZE] = {{1}, {2}};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(names); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
        struct collected collected = {0};
        cx_index_entry entry = {
            .component = "agent_state",
            .tar = {.kind = i % 2 == 0 ? CX_TAR_FILE : CX_TAR_LINK,
                    .path = names[i],
                    .target = names[i],
                    .mode = 0640,
                    .uid = 7,
                    .user = "caf\xc3\xa9",
                    .size = 12,
                    .mtime_seconds = 1763863200,
                    .mtime_ns = 999999999},
            .sha256 = {9},
            .segments = (const uint8_t(*)[CX_SEGMENT_ID_SIZE])segments,
            .segment_count = 2,
        };
        cx_err err;

        cx_index_add(&entry, &lines);
        if (!cx_index_read(cx_buffer_bytes(&lines), collect, &collected, &err))
            fail_msg("name %zu: %s", i, err.message);
        assert_int_equal(collected.count, 1);
        assert_string_equal(collected.path, names[i]);
        if (entry.tar.kind == CX_TAR_LINK)
            assert_string_equal(collected.target, names[i]);
        else
            assert_memory_equal(collected.sha256, entry.sha256, 32);
        assert_int_equal(collected.tar.mtime_seconds, 1763863200);
        assert_int_equal(collected.tar.mtime_ns, 999999999);
        assert_int_equal(collected.segments, 2);
        cx_free(&collected.path);
        cx_free(&collected.target);
    }
}

static void a_wrong_line_of_an_index_is_refused(void **state)
{
    static const char *const rows[] = {
        "{}",
        "[]",
        "x",
        "{\"component\":\"c\",\"path\":\"../a\",\"type\":\"folder\",\"mode\":\"0755\",\"uid\":0,"
        "\"gid\":0,\"size\":0,\"mtime\":\"2025-01-01T00:00:00Z\",\"segments\":[]}",
        "{\"component\":\"c\",\"path\":\"a\",\"type\":\"device\",\"mode\":\"0755\",\"uid\":0,"
        "\"gid\":0,\"size\":0,\"mtime\":\"2025-01-01T00:00:00Z\",\"segments\":[]}",
        "{\"component\":\"c\",\"path\":\"a\",\"type\":\"folder\",\"mode\":\"9999\",\"uid\":0,"
        "\"gid\":0,\"size\":0,\"mtime\":\"2025-01-01T00:00:00Z\",\"segments\":[]}",
        "{\"component\":\"c\",\"path\":\"a\",\"type\":\"folder\",\"mode\":\"0755\",\"uid\":-1,"
        "\"gid\":0,\"size\":0,\"mtime\":\"2025-01-01T00:00:00Z\",\"segments\":[]}",
        "{\"component\":\"c\",\"path\":\"a\",\"type\":\"folder\",\"mode\":\"0755\",\"uid\":0,"
        "\"gid\":0,\"size\":0,\"mtime\":\"2025-01-01T00:00:00Z\",\"segments\":[\"short\"]}",
        "{\"component\":\"c\",\"path\":\"a\",\"type\":\"file\",\"mode\":\"0755\",\"uid\":0,"
        "\"gid\":0,\"size\":0,\"mtime\":\"2025-01-01T00:00:00Z\",\"segments\":[]}",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        struct collected collected = {0};
        cx_err err;

        if (cx_index_read(cx_bytes_of(rows[i]), collect, &collected, &err))
            fail_msg("row %zu is taken", i);
        assert_int_equal(collected.count, 0);
    }
}

/* ---- the set */

static void a_set_holds_every_segment_once(void **state)
{
    CX_AUTO(cx_segments_close) cx_segments *set = cx_segments_open(12345);
    enum { COUNT = 5000 };

    (void)state;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < COUNT; i++) {
            uint8_t id[CX_SEGMENT_ID_SIZE] = {0}; /* alike in most bytes, as if chosen to collide */

            memcpy(id + 28, &i, sizeof i);
            cx_segments_add(set, id)->mark = i;
        }
    assert_int_equal(cx_segments_count(set), COUNT);
    for (uint32_t i = 0; i < COUNT + 10; i++) {
        uint8_t id[CX_SEGMENT_ID_SIZE] = {0};
        const cx_segment_slot *slot;

        memcpy(id + 28, &i, sizeof i);
        slot = cx_segments_find(set, id);
        assert_true((slot != NULL) == (i < COUNT));
        if (slot != NULL)
            assert_int_equal(slot->mark, i);
    }
}

static void a_segments_object_name_leads_back_to_it(void **state)
{
    uint8_t id[CX_SEGMENT_ID_SIZE] = {0xab, 0xcd}, read[CX_SEGMENT_ID_SIZE];
    CX_AUTO(cx_free) char *name = cx_segment_object(id);

    (void)state;
    assert_true(cx_segment_of_object(name, read));
    assert_memory_equal(id, read, sizeof id);
    for (size_t at = 0; name[at] != '\0'; at++) {
        char kept = name[at];

        name[at] = '!';
        assert_false(cx_segment_of_object(name, read));
        name[at] = kept;
    }
    assert_false(cx_segment_of_object("", read));
    assert_false(cx_segment_of_object("segments/../../etc/passwd", read));
}

/* ---- XML */

static bool note(const char *path, const char *text, void *arg, cx_err *err)
{
    (void)err;
    cx_buffer_addf(arg, "%s=%s;", path, text);
    return true;
}

static void elements_end_with_their_text(void **state)
{
    static const struct {
        const char *xml, *seen;
    } rows[] = {
        {"<?xml version=\"1.0\"?><a><b>x</b><b/></a>", "a/b=x;a/b=;a=;"},
        {"<a k='>' l=\"/>\">1 &lt;&amp;&gt;&quot;&apos;&#65;&#x42;</a>", "a=1 <&>\"'AB;"},
        {"<a><!-- <b> --><c >t</c ></a>\n", NULL},
        {"<a>&#233;&#x20ac;&#x1f418;</a>", "a=\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x98;"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer seen = {0};
        cx_err err;

        if (!cx_xml_read(cx_bytes_of(rows[i].xml), note, &seen, &err))
            fail_msg("%s: %s", rows[i].xml, err.message);
        if (rows[i].seen != NULL)
            assert_string_equal((const char *)seen.data, rows[i].seen);
    }
}

static void xml_that_is_cut_nested_or_clever_is_refused(void **state)
{
    static const char *const rows[] = {
        "<a>",
        "<a",
        "<a></b>",
        "</a>",
        "<a>&nope;</a>",
        "<a>&#0;</a>",
        "<a>&#xd800;</a>",
        "<a>&#x110000;</a>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<a><![CDATA[x]]></a>",
        "<a><!-- ",
        "<>x</>",
        "<a>&</a>",
        "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer seen = {0};
        cx_err err;

        if (cx_xml_read(cx_bytes_of(rows[i]), note, &seen, &err))
            fail_msg("%s is taken", rows[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_comes_back_as_it_was),
        cmocka_unit_test(a_manifest_with_a_wrong_field_is_refused),
        cmocka_unit_test(an_entry_of_the_index_comes_back_whatever_its_name),
        cmocka_unit_test(a_wrong_line_of_an_index_is_refused),
        cmocka_unit_test(a_set_holds_every_segment_once),
        cmocka_unit_test(a_segments_object_name_leads_back_to_it),
        cmocka_unit_test(elements_end_with_their_text),
        cmocka_unit_test(xml_that_is_cut_nested_or_clever_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
