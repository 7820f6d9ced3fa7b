/* From files to pieces of the stream: part of repo/create.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "repo/create_run.h"

enum { READ_TRIES = 3 };

static void free_digest(EVP_MD_CTX **owner)
{
    EVP_MD_CTX_free(*owner);
    *owner = NULL;
}

static void pass(struct create *create, int64_t bytes)
{
    create->passed_bytes += bytes;
    cx_progress_set(&create->progress, create->passed_bytes, cx_now_ms());
}

/* ---- one file */

/* *fd is -1 when it is gone, or is no file any more. What is read is an open file's own size, which may
 * have changed since the walk; a group's file may not outgrow its group. */
static bool open_item(struct create *create, const struct part *part, struct item *item, int *fd,
                      cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_walk_path(part->component->roots, item->entry);

    /* It did not change, but others of its group did. */
    if (item->is_database && item->snapshot == NULL && !cx_create_snapshot(create, part, item, err))
        return false;

    const char *from = item->snapshot != NULL ? item->snapshot : path;
    CX_AUTO(cx_fd_close)
    int opened = open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat info;

    if (opened < 0) {
        item->vanished = errno == ENOENT || errno == ELOOP || errno == ENXIO;
        return item->vanished || cx_fail_errno(err, "open %s", path);
    }
    if (fstat(opened, &info) < 0)
        return cx_fail_errno(err, "stat %s", path);
    if (!S_ISREG(info.st_mode)) {
        item->vanished = true;
        return true;
    }
    if (item->snapshot == NULL) {
        cx_identity identity;

        if (!cx_identity_of(opened, path, &identity, err))
            return false;
        item->identity = identity;
        item->content_bytes = identity.size;
    }
    *fd = opened;
    opened = -1;
    return true;
}

/* Whether the file is as it was when it was opened. */
static bool note_changes(struct create *create, struct item *item, int fd, cx_err *err)
{
    cx_identity after;

    if (item->snapshot != NULL)
        return true;
    if (!cx_identity_of(fd, item->entry->path, &after, err))
        return false;
    if (after.size == item->identity.size && after.mtime_ns == item->identity.mtime_ns &&
        item->content_bytes == item->identity.size)
        return true;
    item->is_unsettled = true;
    create->created->changed++;
    return true;
}

/* Up to size bytes at the end of the buffer; fewer only at the end of the file. */
static bool read_more(int fd, const char *path, size_t size, cx_buffer *buffer, size_t *got,
                      cx_err *err)
{
    uint8_t *to = cx_buffer_reserve(buffer, size);

    *got = 0;
    while (*got < size) {
        ssize_t count = read(fd, to + *got, size - *got);

        if (count < 0 && errno == EINTR && !cx_interrupted())
            continue;
        if (count < 0)
            return cx_fail_errno(err, "read %s", path);
        if (count == 0)
            break;
        *got += (size_t)count;
    }
    buffer->size += *got;
    return true;
}

static void add_zeros(cx_buffer *buffer, size_t size)
{
    memset(cx_buffer_reserve(buffer, size), 0, size);
    buffer->size += size;
}

/* ---- groups of small files */

static bool add_small_file(struct create *create, const struct part *part, struct item *item,
                           cx_buffer *group, cx_err *err)
{
    size_t before = group->size;

    for (int tries = 1;; tries++) {
        CX_AUTO(cx_fd_close) int fd = -1;
        size_t size, content_at, got;

        group->size = before;
        if (!open_item(create, part, item, &fd, err))
            return false;
        if (item->vanished) {
            create->created->vanished++;
            return true;
        }
        if (item->content_bytes > CX_CUT_GROUP_MAX) /* it grew; what it had is whole */
            item->content_bytes = CX_CUT_GROUP_MAX;
        size = (size_t)item->content_bytes;

        cx_tar_entry entry = cx_create_tar_entry(create, item);

        cx_tar_add_header(&entry, group);
        content_at = group->size;
        if (!read_more(fd, item->entry->path, size, group, &got, err))
            return false;
        if (got < size && tries < READ_TRIES) /* cut shorter at this moment */
            continue;
        add_zeros(group, size - got);
        cx_sha256((cx_bytes){group->data + content_at, size}, item->sha256);
        cx_tar_add_padding(item->content_bytes, group);
        create->created->read_bytes += item->content_bytes;
        return note_changes(create, item, fd, err);
    }
}

static bool add_group(struct create *create, struct part *part, size_t first, size_t count,
                      cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer group = {0};
    size_t piece = cx_stream_count(create->stream);

    for (size_t i = first; i < first + count; i++) {
        struct item *item = &part->items[i];

        item->first_piece = piece;
        item->piece_count = 1;
        if (item->entry->kind != CX_TAR_FILE) {
            cx_tar_entry entry = cx_create_tar_entry(create, item);

            cx_tar_add_header(&entry, &group);
        } else if (!add_small_file(create, part, item, &group, err)) {
            return false;
        }
        pass(create, item->content_bytes);
    }
    return group.size == 0 || cx_stream_add(create->stream, &group, err);
}

/* ---- large files */

/* Where the first piece of the window ends. */
static size_t cut_window(const struct create *create, const struct item *item)
{
    cx_bytes window = cx_buffer_bytes(&create->window);

    if (!item->is_database)
        return cx_cut_content(&create->cutter, window);
    return window.size < CX_CUT_BLOCK ? window.size : CX_CUT_BLOCK;
}

static bool add_content(struct create *create, struct item *item, int fd, EVP_MD_CTX *digest,
                        cx_err *err)
{
    int64_t left = item->content_bytes; /* to read */

    cx_buffer_clear(&create->window);
    while (left > 0 || create->window.size > 0) {
        CX_AUTO(cx_buffer_free) cx_buffer piece = {0};
        size_t wanted = CX_CUT_MAX - create->window.size;
        size_t got = 0, size;

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        if ((int64_t)wanted > left)
            wanted = (size_t)left;
        if (!read_more(fd, item->entry->path, wanted, &create->window, &got, err))
            return false;
        add_zeros(&create->window, wanted - got); /* cut shorter while it was read */
        left -= (int64_t)wanted;

        size = cut_window(create, item);
        EVP_DigestUpdate(digest, create->window.data, size);
        cx_buffer_reserve(&piece, size + CX_TAR_BLOCK);
        cx_buffer_add(&piece, create->window.data, size);
        cx_buffer_consume(&create->window, size);
        if (left == 0 && create->window.size == 0)
            cx_tar_add_padding(item->content_bytes, &piece);
        if (!cx_stream_add(create->stream, &piece, err))
            return false;
        pass(create, (int64_t)size);
        cx_targets_renew(&create->targets, cx_now_ms());
    }
    return true;
}

/* The header is a piece of its own: a log that grew has another size in it, and the same first
 * million bytes. */
static bool add_large_file(struct create *create, const struct part *part, struct item *item,
                           cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = -1;
    CX_AUTO(free_digest) EVP_MD_CTX *digest = EVP_MD_CTX_new();
    CX_AUTO(cx_buffer_free) cx_buffer header = {0};

    item->first_piece = cx_stream_count(create->stream);
    if (!open_item(create, part, item, &fd, err))
        return false;
    if (item->vanished) {
        create->created->vanished++;
        return true;
    }
    EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);

    cx_tar_entry entry = cx_create_tar_entry(create, item);

    cx_tar_add_header(&entry, &header);
    if (!cx_stream_add(create->stream, &header, err) ||
        !add_content(create, item, fd, digest, err) || !note_changes(create, item, fd, err))
        return false;
    EVP_DigestFinal_ex(digest, item->sha256, NULL);
    item->piece_count = cx_stream_count(create->stream) - item->first_piece;
    create->created->read_bytes += item->content_bytes;
    if (item->snapshot != NULL)
        unlink(item->snapshot); /* the room may be needed for the next */
    return true;
}

/* ---- what is taken over */

/* Nothing of the group changed, the segment holds nothing else, and everybody has it. */
static bool can_take_over(struct create *create, const struct item *items, size_t count)
{
    const cx_cache_entry *first = items[0].cached;

    if (first == NULL || create->cache->segments[first->first_segment].entries != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (items[i].cached == NULL || items[i].cached->first_segment != first->first_segment ||
            items[i].cached->segment_count != first->segment_count)
            return false;
    for (size_t i = 0; i < first->segment_count; i++)
        if (!cx_targets_have(&create->targets,
                             create->cache->segments[first->first_segment + i].id))
            return false;
    return true;
}

static void take_over(struct create *create, struct item *items, size_t count)
{
    const cx_cache_entry *first = items[0].cached;
    size_t piece = cx_stream_count(create->stream);

    for (size_t i = 0; i < first->segment_count; i++) {
        const cx_cache_segment *segment = &create->cache->segments[first->first_segment + i];

        cx_stream_take_over(create->stream, segment->id, segment->size);
    }
    for (size_t i = 0; i < count; i++) {
        items[i].first_piece = piece;
        items[i].piece_count = first->segment_count;
        pass(create, items[i].content_bytes);
    }
}

/* ---- the component */

static bool is_large(const struct item *item)
{
    return item->entry->kind == CX_TAR_FILE && item->content_bytes >= CX_CUT_LARGE;
}

/* How many entries from here on are one group. */
static size_t group_count(const struct create *create, const struct part *part, size_t first)
{
    size_t bytes = 0, at = first;

    if (is_large(&part->items[first]))
        return 1;
    while (at < part->walk.count && !is_large(&part->items[at])) {
        const struct item *item = &part->items[at++];
        size_t size = cx_tar_size(item->content_bytes);

        bytes += size;
        if (bytes >= CX_CUT_GROUP_MAX || cx_cut_after(&create->cutter, item->entry->path, size))
            break;
    }
    return at - first;
}

bool cx_create_write_part(struct create *create, struct part *part, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer end = {0};

    part->first_piece = cx_stream_count(create->stream);
    for (size_t at = 0, count; at < part->walk.count; at += count) {
        struct item *items = &part->items[at];
        bool added;

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        cx_targets_renew(&create->targets, cx_now_ms());
        count = group_count(create, part, at);
        if (can_take_over(create, items, count)) {
            take_over(create, items, count);
            continue;
        }
        added = is_large(items) ? add_large_file(create, part, items, err)
                                : add_group(create, part, at, count, err);
        if (!added)
            return false;
    }
    /* The end is a piece of its own, always the same. */
    cx_tar_add_end(&end);
    if (!cx_stream_add(create->stream, &end, err))
        return false;
    part->piece_end = cx_stream_count(create->stream);
    return true;
}
