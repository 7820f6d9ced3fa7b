/* Reading tar streams: part of repo/tar.h. */
#include <inttypes.h>
#include <string.h>

#include "repo/tar.h"

enum { FIELD_MAX = 256 };

struct extended { /* what extended headers said of the next entry */
    char *path, *target, *user, *group;
    int64_t size, uid, gid, mtime_seconds, mtime_ns;
    bool has_size, has_uid, has_gid, has_mtime;
};

struct cx_tar_reader {
    cx_tar_fill *fill;
    void *arg;
    cx_bytes piece;    /* what is left of the last one */
    uint64_t position; /* in the stream, for messages */
    int64_t content;   /* bytes of the entry's content that were not taken */
    size_t padding;
    char *path, *target, *user, *group; /* of the last entry */
    struct extended extended;
    bool ended;
};

static void free_extended(struct extended *extended)
{
    cx_free(&extended->path);
    cx_free(&extended->target);
    cx_free(&extended->user);
    cx_free(&extended->group);
    *extended = (struct extended){0};
}

cx_tar_reader *cx_tar_open(cx_tar_fill *fill, void *arg)
{
    cx_tar_reader *reader = cx_alloc(1, sizeof *reader);

    reader->fill = fill;
    reader->arg = arg;
    return reader;
}

void cx_tar_close(cx_tar_reader **owner)
{
    cx_tar_reader *reader = CX_TAKE(*owner);

    if (reader == NULL)
        return;
    free_extended(&reader->extended);
    cx_free(&reader->path);
    cx_free(&reader->target);
    cx_free(&reader->user);
    cx_free(&reader->group);
    cx_free(&reader);
}

/* Up to size bytes of the stream; none at its end. */
static bool take(cx_tar_reader *reader, size_t size, cx_bytes *taken, cx_err *err)
{
    if (reader->piece.size == 0 && !reader->fill(reader->arg, &reader->piece, err))
        return false;
    if (size > reader->piece.size)
        size = reader->piece.size;
    *taken = (cx_bytes){reader->piece.data, size};
    reader->piece = (cx_bytes){reader->piece.data + size, reader->piece.size - size};
    reader->position += size;
    return true;
}

static bool cut_short(const cx_tar_reader *reader, cx_err *err)
{
    return cx_fail(err, CX_CORRUPT, "tar stream: it is cut after %" PRIu64 " bytes",
                   reader->position);
}

static bool take_all(cx_tar_reader *reader, uint8_t *to, size_t size, cx_err *err)
{
    for (cx_bytes taken; size > 0; to += taken.size, size -= taken.size) {
        if (!take(reader, size, &taken, err))
            return false;
        if (taken.size == 0)
            return cut_short(reader, err);
        memcpy(to, taken.data, taken.size);
    }
    return true;
}

static bool skip(cx_tar_reader *reader, int64_t size, cx_err *err)
{
    for (cx_bytes taken; size > 0; size -= (int64_t)taken.size) {
        if (!take(reader, (size_t)size, &taken, err))
            return false;
        if (taken.size == 0)
            return cut_short(reader, err);
    }
    return true;
}

static bool malformed(const cx_tar_reader *reader, const char *what, cx_err *err)
{
    return cx_fail(err, CX_MALFORMED, "tar stream: %s before byte %" PRIu64, what,
                   reader->position);
}

/* Octal digits between blanks, or GNU's binary form (first bit set) for what they can't hold. */
static bool read_number(const uint8_t *field, size_t size, int64_t *value)
{
    uint64_t number = 0;
    size_t at = 0;

    if (field[0] == 0x80) {
        for (size_t i = 1; i < size; i++) {
            if (number >> 55 != 0)
                return false;
            number = number << 8 | field[i];
        }
        *value = (int64_t)number;
        return true;
    }
    while (at < size && field[at] == ' ')
        at++;
    for (; at < size && field[at] >= '0' && field[at] <= '7'; at++)
        number = number << 3 | (uint64_t)(field[at] - '0'); /* at most 12 digits */
    for (; at < size; at++)
        if (field[at] != ' ' && field[at] != '\0')
            return false;
    *value = (int64_t)number;
    return true;
}

static bool checksum_is_right(const uint8_t *block)
{
    int64_t wanted = 0;
    unsigned sum = 0;

    for (size_t i = 0; i < CX_TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : block[i];
    return read_number(block + 148, 8, &wanted) && wanted == sum;
}

static bool is_empty(const uint8_t *block)
{
    for (size_t i = 0; i < CX_TAR_BLOCK; i++)
        if (block[i] != 0)
            return false;
    return true;
}

/* ---- extended headers */

static bool parse_decimal(const char *text, size_t size, int64_t *value)
{
    bool is_negative = size > 0 && text[0] == '-';
    int64_t number = 0;

    text += is_negative;
    size -= is_negative;
    if (size == 0 || size > 18)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (text[i] - '0');
    }
    *value = is_negative ? -number : number;
    return true;
}

static bool parse_time(const char *text, size_t size, int64_t *seconds, int64_t *ns)
{
    const char *point = memchr(text, '.', size);
    size_t whole = point == NULL ? size : (size_t)(point - text);
    bool is_negative = text[0] == '-';
    int64_t unit = 100000000;

    *ns = 0;
    if (whole == (size_t)is_negative) /* ".5", "-.5" */
        *seconds = 0;
    else if (!parse_decimal(text, whole, seconds))
        return false;
    for (size_t i = whole + 1; i < size; i++, unit /= 10) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *ns += unit * (text[i] - '0');
    }
    if (is_negative && *ns > 0) {
        *seconds -= 1;
        *ns = 1000000000 - *ns;
    }
    return true;
}

static bool set_text(char **to, const char *value, size_t size)
{
    if (memchr(value, '\0', size) != NULL)
        return false;
    cx_free(to);
    *to = cx_strndup(value, size);
    return true;
}

static bool is(const char *key, size_t size, const char *word)
{
    return strlen(word) == size && memcmp(key, word, size) == 0;
}

/* Keys that say nothing of what we restore are passed over. */
static bool apply_record(struct extended *to, const char *key, size_t key_size, const char *value,
                         size_t size)
{
    if (is(key, key_size, "path"))
        return set_text(&to->path, value, size);
    if (is(key, key_size, "linkpath"))
        return set_text(&to->target, value, size);
    if (is(key, key_size, "uname"))
        return set_text(&to->user, value, size);
    if (is(key, key_size, "gname"))
        return set_text(&to->group, value, size);
    if (is(key, key_size, "size"))
        return (to->has_size = parse_decimal(value, size, &to->size)) && to->size >= 0;
    if (is(key, key_size, "uid"))
        return (to->has_uid = parse_decimal(value, size, &to->uid)) && to->uid >= 0;
    if (is(key, key_size, "gid"))
        return (to->has_gid = parse_decimal(value, size, &to->gid)) && to->gid >= 0;
    if (is(key, key_size, "mtime"))
        return size > 0 &&
               (to->has_mtime = parse_time(value, size, &to->mtime_seconds, &to->mtime_ns));
    return true;
}

static bool parse_records(struct extended *to, const char *text, size_t size)
{
    while (size > 0) {
        const char *blank = memchr(text, ' ', size < 8 ? size : 8);
        int64_t length = 0;

        if (blank == NULL || !parse_decimal(text, (size_t)(blank - text), &length) ||
            length < (blank - text) + 4 || (size_t)length > size || text[length - 1] != '\n')
            return false;

        const char *key = blank + 1;
        size_t rest = (size_t)(text + length - key);
        const char *equals = memchr(key, '=', rest);

        if (equals == NULL || equals == key ||
            !apply_record(to, key, (size_t)(equals - key), equals + 1,
                          (size_t)(text + length - 1 - (equals + 1))))
            return false;
        text += length;
        size -= (size_t)length;
    }
    return true;
}

/* The content of an extended header, or of GNU tar's headers for long names. */
static bool read_extended(cx_tar_reader *reader, char type, int64_t size, cx_err *err)
{
    CX_AUTO(cx_free) char *text = NULL;
    struct extended ignored = {0};
    bool is_right;

    if (size < 1 || size > CX_TAR_PAX_MAX)
        return malformed(reader, "an extended header of a wrong size", err);
    text = cx_alloc((size_t)size + 1, 1);
    if (!take_all(reader, (uint8_t *)text, (size_t)size, err) ||
        !skip(reader, (CX_TAR_BLOCK - size % CX_TAR_BLOCK) % CX_TAR_BLOCK, err))
        return false;
    if (type == 'L' || type == 'K') {
        char **to = type == 'L' ? &reader->extended.path : &reader->extended.target;

        is_right = set_text(to, text, strnlen(text, (size_t)size));
    } else {
        is_right = parse_records(type == 'x' ? &reader->extended : &ignored, text, (size_t)size);
        free_extended(&ignored);
    }
    return is_right || malformed(reader, "a damaged extended header", err);
}

/* ---- entries */

static char *field_text(const uint8_t *field, size_t size)
{
    return cx_strndup((const char *)field, strnlen((const char *)field, size));
}

static void take_path(cx_tar_reader *reader, const uint8_t *block)
{
    CX_AUTO(cx_free) char *name = field_text(block, 100);
    bool is_posix = memcmp(block + 257, "ustar\0", 6) == 0; /* GNU's own has times there */
    CX_AUTO(cx_free) char *prefix = is_posix ? field_text(block + 345, 155) : cx_strdup("");

    cx_free(&reader->path);
    if (reader->extended.path != NULL)
        reader->path = CX_TAKE(reader->extended.path);
    else
        reader->path = cx_format("%s%s%s", prefix, prefix[0] == '\0' ? "" : "/", name);
}

static bool kind_of(uint8_t type, cx_tar_kind *kind)
{
    switch (type) {
    case '\0':
    case '0':
    case '7': *kind = CX_TAR_FILE; return true;
    case '5': *kind = CX_TAR_FOLDER; return true;
    case '2': *kind = CX_TAR_LINK; return true;
    default: return false;
    }
}

static bool take_numbers(cx_tar_reader *reader, const uint8_t *block, cx_tar_entry *entry,
                         cx_err *err)
{
    const struct extended *extended = &reader->extended;
    int64_t mode = 0;

    if (!read_number(block + 100, 8, &mode) || !read_number(block + 108, 8, &entry->uid) ||
        !read_number(block + 116, 8, &entry->gid) || !read_number(block + 124, 12, &entry->size) ||
        !read_number(block + 136, 12, &entry->mtime_seconds))
        return malformed(reader, "a header with a field that is no number", err);
    entry->mode = (mode_t)(mode & 07777);
    if (extended->has_uid)
        entry->uid = extended->uid;
    if (extended->has_gid)
        entry->gid = extended->gid;
    if (extended->has_size)
        entry->size = extended->size;
    if (extended->has_mtime) {
        entry->mtime_seconds = extended->mtime_seconds;
        entry->mtime_ns = extended->mtime_ns;
    }
    return true;
}

static bool take_entry(cx_tar_reader *reader, const uint8_t *block, cx_tar_entry *entry,
                       cx_err *err)
{
    *entry = (cx_tar_entry){0};
    if (!kind_of(block[156], &entry->kind))
        return malformed(reader, "an entry that is no file, folder or symbolic link", err);
    if (!take_numbers(reader, block, entry, err))
        return false;
    take_path(reader, block);
    cx_free(&reader->target);
    cx_free(&reader->user);
    cx_free(&reader->group);
    reader->target = reader->extended.target != NULL ? CX_TAKE(reader->extended.target)
                                                     : field_text(block + 157, 100);
    reader->user = reader->extended.user != NULL ? CX_TAKE(reader->extended.user)
                                                 : field_text(block + 265, 32);
    reader->group = reader->extended.group != NULL ? CX_TAKE(reader->extended.group)
                                                   : field_text(block + 297, 32);
    free_extended(&reader->extended);

    size_t size = strlen(reader->path);

    if (size > 1 && reader->path[size - 1] == '/') {
        reader->path[size - 1] = '\0';
        if (entry->kind == CX_TAR_FILE) /* before POSIX, folders were files so named */
            entry->kind = CX_TAR_FOLDER;
    }
    if (!cx_tar_check_path(reader->path, err))
        return false;
    if (entry->kind != CX_TAR_FILE)
        entry->size = 0;
    if (entry->kind == CX_TAR_LINK &&
        (reader->target[0] == '\0' || strlen(reader->target) > CX_TAR_PATH_MAX))
        return malformed(reader, "a link without a target", err);
    entry->path = reader->path;
    entry->target = entry->kind == CX_TAR_LINK ? reader->target : NULL;
    entry->user = reader->user[0] == '\0' ? NULL : reader->user;
    entry->group = reader->group[0] == '\0' ? NULL : reader->group;
    reader->content = entry->size;
    reader->padding = (size_t)((CX_TAR_BLOCK - entry->size % CX_TAR_BLOCK) % CX_TAR_BLOCK);
    return true;
}

bool cx_tar_next(cx_tar_reader *reader, cx_tar_entry *entry, bool *found, cx_err *err)
{
    uint8_t block[CX_TAR_BLOCK];

    *found = false;
    if (reader->ended)
        return true;
    if (!skip(reader, reader->content, err) || !skip(reader, (int64_t)reader->padding, err))
        return false;
    reader->content = 0;
    reader->padding = 0;
    for (bool is_announced = false;; is_announced = true) {
        cx_bytes first;
        int64_t size = 0;

        if (!take(reader, 1, &first, err))
            return false;
        if (first.size == 0 && is_announced) /* by an extended header */
            return cut_short(reader, err);
        if (first.size == 0) { /* a part of a stream need not have its end */
            reader->ended = true;
            return true;
        }
        block[0] = first.data[0];
        if (!take_all(reader, block + 1, sizeof block - 1, err))
            return false;
        if (is_empty(block)) {
            reader->ended = true;
            return true;
        }
        if (!checksum_is_right(block))
            return cx_fail(err, CX_CORRUPT, "tar stream: no header before byte %" PRIu64,
                           reader->position);
        if (strchr("xgLK", block[156]) == NULL || block[156] == '\0')
            break;
        if (!read_number(block + 124, 12, &size) ||
            !read_extended(reader, (char)block[156], size, err))
            return size == 0 ? malformed(reader, "a damaged header", err) : false;
    }
    if (!take_entry(reader, block, entry, err))
        return false;
    *found = true;
    return true;
}

bool cx_tar_content(cx_tar_reader *reader, cx_bytes *piece, cx_err *err)
{
    *piece = (cx_bytes){0};
    if (reader->content == 0)
        return true;
    if (!take(reader, reader->content > INT32_MAX ? INT32_MAX : (size_t)reader->content, piece,
              err))
        return false;
    if (piece->size == 0)
        return cut_short(reader, err);
    reader->content -= (int64_t)piece->size;
    return true;
}
