#include "repo/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME_SIZE = 100,
    PREFIX_SIZE = 155,
    OWNER_SIZE = 32,
    PART_MAX = 255,
    PAX_NAME_PARTS = 2,
};

static const int64_t id_max = 07777777;       /* what 7 octal digits hold */
static const int64_t size_max = 077777777777; /* and 11 */

struct header { /* ustar, POSIX.1 */
    char name[NAME_SIZE];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link[NAME_SIZE];
    char magic[6];
    char version[2];
    char user[OWNER_SIZE];
    char group[OWNER_SIZE];
    char device_major[8];
    char device_minor[8];
    char prefix[PREFIX_SIZE];
    char rest[12];
};

_Static_assert(sizeof(struct header) == CX_TAR_BLOCK, "a header is one block");

static void put_octal(char *field, size_t size, int64_t value)
{
    for (size_t i = size - 1; i-- > 0; value >>= 3)
        field[i] = (char)('0' + (value & 7));
    field[size - 1] = '\0';
}

static void put_text(char *field, size_t size, const char *text)
{
    memcpy(field, text, strnlen(text, size));
}

static void add_block(struct header *header, cx_buffer *stream)
{
    unsigned sum = 0;

    memset(header->checksum, ' ', sizeof header->checksum);
    for (size_t i = 0; i < sizeof *header; i++)
        sum += ((const uint8_t *)header)[i];
    put_octal(header->checksum, 7, sum); /* six digits, NUL, blank: as everybody does it */
    cx_buffer_add(stream, header, sizeof *header);
}

/* One record "SIZE KEY=VALUE\n", where SIZE counts its own digits. */
static void add_record(cx_buffer *records, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3;
    size_t digits = 1;

    for (size_t power = 10; rest + digits >= power; power *= 10)
        digits++;
    cx_buffer_addf(records, "%zu %s=%s\n", rest + digits, key, value);
}

static void add_number(cx_buffer *records, const char *key, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, value);
    add_record(records, key, text);
}

/* A path that is longer than the name field is split at a slash, if it can be. */
static bool put_path(struct header *header, const char *path)
{
    size_t size = strlen(path);

    if (size <= NAME_SIZE) {
        put_text(header->name, NAME_SIZE, path);
        return true;
    }
    for (const char *slash = path + size - NAME_SIZE - 1; *slash != '\0'; slash++) {
        if (*slash != '/' || slash == path || slash[1] == '\0')
            continue;
        if (slash - path > PREFIX_SIZE)
            break;
        memcpy(header->prefix, path, (size_t)(slash - path));
        put_text(header->name, NAME_SIZE, slash + 1);
        return true;
    }
    /* Never read where the extended header is; a shortened name for old programs. */
    put_text(header->name, NAME_SIZE, path);
    return false;
}

/* Before the first second of 1970 the fraction counts down from zero. */
static void add_mtime(cx_buffer *records, const cx_tar_entry *entry)
{
    int64_t seconds = entry->mtime_seconds;
    int64_t ns = entry->mtime_ns;
    bool is_negative = seconds < 0;
    char text[48];

    if (is_negative && ns > 0) {
        seconds++;
        ns = 1000000000 - ns;
    }
    int size = snprintf(text, sizeof text, "%s%" PRId64 ".%09" PRId64,
                        is_negative && seconds == 0 ? "-" : "", seconds, ns);

    while (size > 0 && text[size - 1] == '0')
        text[--size] = '\0';
    if (size > 0 && text[size - 1] == '.')
        text[size - 1] = '\0';
    add_record(records, "mtime", text);
}

void cx_tar_add_header(const cx_tar_entry *entry, cx_buffer *stream)
{
    static const char types[] = {[CX_TAR_FILE] = '0', [CX_TAR_FOLDER] = '5', [CX_TAR_LINK] = '2'};
    CX_AUTO(cx_buffer_free) cx_buffer records = {0};
    CX_AUTO(cx_free)
    char *path = cx_format("%s%s", entry->path, entry->kind == CX_TAR_FOLDER ? "/" : "");
    struct header header = {.type = types[entry->kind], .magic = "ustar", .version = {'0', '0'}};
    int64_t size = entry->kind == CX_TAR_FILE ? entry->size : 0;
    bool mtime_fits = entry->mtime_seconds >= 0 && entry->mtime_seconds <= size_max;

    if (!put_path(&header, path))
        add_record(&records, "path", path);
    if (entry->kind == CX_TAR_LINK) {
        put_text(header.link, NAME_SIZE, entry->target);
        if (strlen(entry->target) > NAME_SIZE)
            add_record(&records, "linkpath", entry->target);
    }
    put_octal(header.mode, sizeof header.mode, entry->mode & 07777);
    put_octal(header.uid, sizeof header.uid, entry->uid <= id_max ? entry->uid : 0);
    if (entry->uid > id_max)
        add_number(&records, "uid", entry->uid);
    put_octal(header.gid, sizeof header.gid, entry->gid <= id_max ? entry->gid : 0);
    if (entry->gid > id_max)
        add_number(&records, "gid", entry->gid);
    put_octal(header.size, sizeof header.size, size <= size_max ? size : 0);
    if (size > size_max)
        add_number(&records, "size", size);
    put_octal(header.mtime, sizeof header.mtime, mtime_fits ? entry->mtime_seconds : 0);
    if (!mtime_fits || entry->mtime_ns > 0)
        add_mtime(&records, entry);
    if (entry->user != NULL && strlen(entry->user) < OWNER_SIZE)
        put_text(header.user, OWNER_SIZE, entry->user);
    if (entry->group != NULL && strlen(entry->group) < OWNER_SIZE)
        put_text(header.group, OWNER_SIZE, entry->group);

    if (records.size > 0) {
        struct header pax = {.type = 'x', .magic = "ustar", .version = {'0', '0'}};

        put_text(pax.name, NAME_SIZE, "pax");
        put_octal(pax.mode, sizeof pax.mode, 0600);
        put_octal(pax.uid, sizeof pax.uid, 0);
        put_octal(pax.gid, sizeof pax.gid, 0);
        put_octal(pax.size, sizeof pax.size, (int64_t)records.size);
        put_octal(pax.mtime, sizeof pax.mtime, 0);
        add_block(&pax, stream);
        cx_buffer_add(stream, records.data, records.size);
        cx_tar_add_padding((int64_t)records.size, stream);
    }
    add_block(&header, stream);
}

void cx_tar_add_padding(int64_t size, cx_buffer *stream)
{
    static const uint8_t zeros[CX_TAR_BLOCK];
    size_t over = (size_t)(size % CX_TAR_BLOCK);

    if (over > 0)
        cx_buffer_add(stream, zeros, CX_TAR_BLOCK - over);
}

size_t cx_tar_size(int64_t size)
{
    return 3 * CX_TAR_BLOCK + ((size_t)size + CX_TAR_BLOCK - 1) / CX_TAR_BLOCK * CX_TAR_BLOCK;
}

void cx_tar_add_end(cx_buffer *stream)
{
    static const uint8_t zeros[2 * CX_TAR_BLOCK];

    cx_buffer_add(stream, zeros, sizeof zeros);
}

bool cx_tar_check_path(const char *path, cx_err *err)
{
    size_t size = strnlen(path, CX_TAR_PATH_MAX + 1);

    if (size == 0 || size > CX_TAR_PATH_MAX)
        return cx_fail(err, CX_INVALID, "the path of an entry has %s",
                       size == 0 ? "no byte" : "too many bytes");
    for (const char *part = path; part != NULL; part = strchr(part, '/')) {
        part += *part == '/' && part > path;

        size_t length = strcspn(part, "/");

        if (length == 0 || length > PART_MAX || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.'))
            return cx_fail(err, CX_INVALID, "the path of an entry leads out of its folder: %.100s",
                           path);
    }
    return true;
}
