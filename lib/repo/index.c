#include "repo/index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "base/time.h"

enum { SEGMENTS_MAX = 1024 * 1024 };

/* ---- writing, without a tree of objects: there is a line for each file of the node */

/* Length of the UTF-8 character at text, 0 when it is none (RFC 3629). */
static size_t utf8_size(const uint8_t *text)
{
    static const struct {
        uint8_t mask, bits, least, most; /* of the first byte; of the second one */
    } rows[] = {{0x80, 0, 0, 0},
                {0xe0, 0xc0, 0x80, 0xbf},
                {0xf0, 0xe0, 0x80, 0xbf},
                {0xf8, 0xf0, 0x80, 0xbf}};

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        uint8_t least = rows[i].least, most = rows[i].most;

        if ((text[0] & rows[i].mask) != rows[i].bits)
            continue;
        if (text[0] == 0xc0 || text[0] == 0xc1 || text[0] > 0xf4)
            return 0;
        least = text[0] == 0xe0 ? 0xa0 : text[0] == 0xf0 ? 0x90 : least;
        most = text[0] == 0xed ? 0x9f : text[0] == 0xf4 ? 0x8f : most;
        for (size_t j = 1; j <= i; j++, least = 0x80, most = 0xbf)
            if (text[j] < least || text[j] > most)
                return 0;
        return i + 1;
    }
    return 0;
}

/* The inside of a JSON string; false when a byte had to be replaced. */
static bool add_escaped(const char *text, cx_buffer *line)
{
    bool is_exact = true;

    for (const uint8_t *at = (const uint8_t *)text; *at != '\0';) {
        const uint8_t *from = at;
        size_t size = 1;

        while (*at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\')
            at++;
        if (at > from) {
            cx_buffer_add(line, from, (size_t)(at - from));
            continue;
        }
        if (*at < 0x80)
            cx_buffer_addf(line, *at == '"' || *at == '\\' ? "\\%c" : "\\u%04x", *at);
        else if ((size = utf8_size(at)) > 0)
            cx_buffer_add(line, at, size);
        else {
            cx_buffer_add_text(line, "\xef\xbf\xbd");
            is_exact = false;
            size = 1;
        }
        at += size;
    }
    return is_exact;
}

static bool add_text(const char *key, const char *text, cx_buffer *line)
{
    bool is_exact;

    cx_buffer_addf(line, "\"%s\":\"", key);
    is_exact = add_escaped(text, line);
    cx_buffer_add_text(line, "\",");
    return is_exact;
}

static void add_exact(const char *key, const char *text, cx_buffer *line)
{
    if (add_text(key, text, line))
        return;

    CX_AUTO(cx_free) char *base64 = cx_base64(cx_bytes_of(text));

    cx_buffer_addf(line, "\"%s_base64\":\"%s\",", key, base64);
}

static void add_hex(const uint8_t *bytes, size_t size, cx_buffer *line)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *to = cx_buffer_reserve(line, 2 * size);

    for (size_t i = 0; i < size; i++) {
        *to++ = (uint8_t)digits[bytes[i] >> 4];
        *to++ = (uint8_t)digits[bytes[i] & 15];
    }
    line->size += 2 * size;
}

static const char *kind_word(cx_tar_kind kind)
{
    switch (kind) {
    case CX_TAR_FILE: return "file";
    case CX_TAR_FOLDER: return "folder";
    case CX_TAR_LINK: return "link";
    }
    return NULL;
}

void cx_index_add(const cx_index_entry *entry, cx_buffer *lines)
{
    const cx_tar_entry *tar = &entry->tar;
    char time[CX_TIME_TEXT_SIZE];

    cx_buffer_add_text(lines, "{");
    add_text("component", entry->component, lines);
    add_exact("path", tar->path, lines);
    add_text("type", kind_word(tar->kind), lines);
    cx_buffer_addf(lines, "\"mode\":\"%04o\",\"uid\":%" PRId64 ",\"gid\":%" PRId64 ",",
                   (unsigned)tar->mode, tar->uid, tar->gid);
    if (tar->user != NULL)
        add_text("user", tar->user, lines);
    if (tar->group != NULL)
        add_text("group", tar->group, lines);
    cx_buffer_addf(lines, "\"size\":%" PRId64 ",\"mtime\":\"%s\",", tar->size,
                   cx_time_text(tar->mtime_seconds * 1000, time));
    if (tar->mtime_ns != 0)
        cx_buffer_addf(lines, "\"mtime_ns\":%" PRId64 ",", tar->mtime_ns);
    if (tar->kind == CX_TAR_FILE) {
        cx_buffer_add_text(lines, "\"sha256\":\"");
        add_hex(entry->sha256, sizeof entry->sha256, lines);
        cx_buffer_add_text(lines, "\",");
    }
    if (tar->kind == CX_TAR_LINK)
        add_exact("target", tar->target, lines);
    cx_buffer_add_text(lines, "\"segments\":[");
    for (size_t i = 0; i < entry->segment_count; i++) {
        cx_buffer_add_text(lines, i == 0 ? "\"" : ",\"");
        add_hex(entry->segments[i], CX_SEGMENT_ID_SIZE, lines);
        cx_buffer_add_text(lines, "\"");
    }
    cx_buffer_add_text(lines, "]}\n");
}

/* ---- reading */

struct line {
    cx_index_entry entry;
    char *path, *target; /* where they were in base64 */
    uint8_t (*segments)[CX_SEGMENT_ID_SIZE];
};

static void free_line(struct line *line)
{
    cx_free(&line->path);
    cx_free(&line->target);
    cx_free(&line->segments);
}

static bool kind_of(const char *word, cx_tar_kind *kind)
{
    for (int i = 0; kind_word((cx_tar_kind)i) != NULL; i++)
        if (strcmp(kind_word((cx_tar_kind)i), word) == 0) {
            *kind = (cx_tar_kind)i;
            return true;
        }
    return false;
}

static bool need_exact(const json_t *json, const char *key, const char **text, char **owner,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *base64_key = cx_format("%s_base64", key);
    const char *base64 = NULL;
    cx_buffer bytes = {0};

    if (!cx_json_need_text(json, "entry", key, text, err) ||
        !cx_json_get_text(json, "entry", base64_key, &base64, err))
        return false;
    if (base64 == NULL)
        return true;
    if (!cx_from_base64(base64, CX_TAR_PATH_MAX, &bytes, err)) {
        cx_buffer_free(&bytes);
        return false;
    }
    *text = *owner = cx_buffer_take_text(&bytes);
    return true;
}

static bool parse_mode(const char *text, mode_t *mode)
{
    size_t size = strlen(text);

    *mode = (mode_t)strtoul(text, NULL, 8);
    return size >= 1 && size <= 5 && strspn(text, "01234567") == size && *mode <= 07777;
}

static bool parse_segments(const json_t *json, struct line *line, cx_err *err)
{
    const json_t *list = json_object_get(json, "segments");
    size_t count = json_array_size(list);

    if (!json_is_array(list) || count > SEGMENTS_MAX)
        return cx_fail(err, CX_INVALID, "entry.segments: not a list");
    line->segments = cx_alloc(count + 1, sizeof *line->segments);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (text == NULL || !cx_from_hex(text, line->segments[i], CX_SEGMENT_ID_SIZE, err))
            return cx_fail(err, CX_INVALID, "entry.segments: not an id");
    }
    line->entry.segments = (const uint8_t(*)[CX_SEGMENT_ID_SIZE])line->segments;
    line->entry.segment_count = count;
    return true;
}

static bool parse_line(const json_t *json, struct line *line, cx_err *err)
{
    cx_tar_entry *tar = &line->entry.tar;
    const char *type = NULL, *mode = NULL, *mtime = NULL, *sha256 = NULL;
    int64_t mtime_ms = 0;

    if (!cx_json_need_text(json, "entry", "component", &line->entry.component, err) ||
        !need_exact(json, "path", &tar->path, &line->path, err) ||
        !cx_tar_check_path(tar->path, err) ||
        !cx_json_need_text(json, "entry", "type", &type, err) ||
        !cx_json_need_text(json, "entry", "mode", &mode, err) ||
        !cx_json_need_int(json, "entry", "uid", 0, UINT32_MAX, &tar->uid, err) ||
        !cx_json_need_int(json, "entry", "gid", 0, UINT32_MAX, &tar->gid, err) ||
        !cx_json_get_text(json, "entry", "user", &tar->user, err) ||
        !cx_json_get_text(json, "entry", "group", &tar->group, err) ||
        !cx_json_need_int(json, "entry", "size", 0, INT64_MAX, &tar->size, err) ||
        !cx_json_need_text(json, "entry", "mtime", &mtime, err) ||
        !cx_time_parse(mtime, &mtime_ms, err) ||
        !cx_json_get_int(json, "entry", "mtime_ns", 0, 999999999, &tar->mtime_ns, err))
        return false;
    if (!kind_of(type, &tar->kind) || !parse_mode(mode, &tar->mode))
        return cx_fail(err, CX_INVALID, "entry: type or mode is wrong");
    tar->mtime_seconds = mtime_ms / 1000 - (mtime_ms % 1000 < 0);
    if (tar->kind == CX_TAR_FILE &&
        (!cx_json_need_text(json, "entry", "sha256", &sha256, err) ||
         !cx_from_hex(sha256, line->entry.sha256, sizeof line->entry.sha256, err)))
        return false;
    if (tar->kind == CX_TAR_LINK && !need_exact(json, "target", &tar->target, &line->target, err))
        return false;
    return parse_segments(json, line, err);
}

bool cx_index_read(cx_bytes lines, cx_index_each *each, void *arg, cx_err *err)
{
    for (size_t number = 1; lines.size > 0; number++) {
        const uint8_t *end = memchr(lines.data, '\n', lines.size);
        size_t size = end == NULL ? lines.size : (size_t)(end - lines.data);
        CX_AUTO(cx_json_free) json_t *json = NULL;
        CX_AUTO(free_line) struct line line = {0};

        if (!cx_json_parse((cx_bytes){lines.data, size}, CX_INDEX_LINE_MAX, "index", &json, err) ||
            !parse_line(json, &line, err))
            return cx_wrap(err, "index, line %zu", number);
        if (!each(&line.entry, arg, err))
            return false;
        size += end != NULL;
        lines = (cx_bytes){lines.data + size, lines.size - size};
    }
    return true;
}
