#include "archive.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/cli.h"

struct bundle_writer {
    struct archive *archive;
};

static bool fail_archive(struct archive *archive, cx_code code, const char *what, cx_err *err)
{
    const char *why = archive_error_string(archive);

    return cx_fail(err, code, "%s: %s", what, why != NULL ? why : "unknown error");
}

static bool ends_with(const char *text, size_t size, const char *ending)
{
    size_t ending_size = strlen(ending);

    return size >= ending_size && memcmp(text + size - ending_size, ending, ending_size) == 0;
}

bool bundle_compression_of(const char *path, bundle_compression *compression, cx_err *err)
{
    size_t size = strlen(path);

    if (ends_with(path, size, ".age"))
        size -= strlen(".age");
    if (ends_with(path, size, ".tar.gz") || ends_with(path, size, ".tgz"))
        *compression = BUNDLE_GZIP;
    else if (ends_with(path, size, ".tar.zst"))
        *compression = BUNDLE_ZSTD;
    else
        return cx_fail(err, CX_INVALID, "--output %s: ends in neither .tar.gz nor .tar.zst", path);
    return true;
}

bool bundle_writer_open(int fd, bundle_compression compression, bundle_writer **writer, cx_err *err)
{
    CX_AUTO(bundle_writer_close) bundle_writer *opened = cx_alloc(1, sizeof *opened);
    struct archive *archive = opened->archive = archive_write_new();
    int filter;

    if (archive == NULL)
        return cx_fail(err, CX_INTERNAL, "no archive can be made");
    filter = compression == BUNDLE_ZSTD ? archive_write_add_filter_zstd(archive)
                                        : archive_write_add_filter_gzip(archive);
    /* ARCHIVE_WARN: by a program of its own, which does not report its errors as well. */
    if (filter != ARCHIVE_OK || archive_write_set_format_pax_restricted(archive) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(archive, 1) != ARCHIVE_OK ||
        archive_write_open_fd(archive, fd) != ARCHIVE_OK)
        return fail_archive(archive, CX_IO, "open the archive", err);
    *writer = CX_TAKE(opened);
    return true;
}

bool bundle_writer_add(bundle_writer *writer, const char *path, cx_bytes content, int64_t wall_ms,
                       cx_err *err)
{
    struct archive_entry *entry = archive_entry_new();
    bool written;

    archive_entry_set_pathname(entry, path);
    archive_entry_set_size(entry, (la_int64_t)content.size);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0600);
    archive_entry_set_mtime(entry, wall_ms / 1000, 0);
    written =
        archive_write_header(writer->archive, entry) == ARCHIVE_OK &&
        archive_write_data(writer->archive, content.data, content.size) == (la_ssize_t)content.size;
    archive_entry_free(entry);
    return written || fail_archive(writer->archive, CX_IO, path, err);
}

bool bundle_writer_end(bundle_writer *writer, cx_err *err)
{
    return archive_write_close(writer->archive) == ARCHIVE_OK ||
           fail_archive(writer->archive, CX_IO, "write the archive", err);
}

void bundle_writer_close(bundle_writer **owner)
{
    if (*owner == NULL)
        return;
    if ((*owner)->archive != NULL)
        archive_write_free((*owner)->archive);
    cx_free(owner);
}

/* ---- reading */

static void close_reader(struct archive **owner)
{
    if (*owner != NULL)
        archive_read_free(*owner);
    *owner = NULL;
}

static bool read_content(struct archive *archive, const char *path, cx_buffer *content, cx_err *err)
{
    enum { PIECE = 64 * 1024 };
    la_ssize_t got;

    while ((got = archive_read_data(archive, cx_buffer_reserve(content, PIECE), PIECE)) > 0) {
        content->size += (size_t)got;
        if (content->size > BUNDLE_ENTRY_MAX)
            return cx_fail(err, CX_TOO_LARGE, "%.200s: more than %d bytes", path, BUNDLE_ENTRY_MAX);
    }
    return got == 0 || fail_archive(archive, CX_MALFORMED, path, err);
}

/* Unpacked, it would be elsewhere than below the folder where that is done. */
static bool leads_out(const char *path)
{
    if (path[0] == '/')
        return true;
    for (;;) {
        size_t size = strcspn(path, "/");

        if (size == 2 && memcmp(path, "..", 2) == 0)
            return true;
        if (path[size] == '\0')
            return false;
        path += size + 1;
    }
}

static bool read_entry(struct archive *archive, struct archive_entry *header, bundle_entry *entry,
                       void *arg, cx_err *err)
{
    const char *path = archive_entry_pathname_utf8(header);
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};

    if (path == NULL)
        return cx_fail(err, CX_MALFORMED, "a file's name is not UTF-8");
    if (archive_entry_filetype(header) == AE_IFDIR)
        return true;
    if (archive_entry_filetype(header) != AE_IFREG || archive_entry_hardlink(header) != NULL)
        return cx_fail(err, CX_MALFORMED, "%.200s: neither a file nor a folder", path);
    if (leads_out(path))
        return cx_fail(err, CX_MALFORMED, "%.200s: leads out of the bundle", path);
    return read_content(archive, path, &content, err) &&
           entry(path, cx_buffer_bytes(&content), arg, err);
}

bool bundle_read(cx_bytes bytes, const char *name, bundle_entry *entry, void *arg, cx_err *err)
{
    CX_AUTO(close_reader) struct archive *archive = archive_read_new();
    struct archive_entry *header = NULL;
    int status;

    if (archive_read_support_filter_gzip(archive) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(archive) != ARCHIVE_OK ||
        archive_read_support_format_tar(archive) != ARCHIVE_OK ||
        archive_read_open_memory(archive, bytes.data, bytes.size) != ARCHIVE_OK)
        return fail_archive(archive, CX_MALFORMED, name, err);
    for (size_t count = 0; (status = archive_read_next_header(archive, &header)) == ARCHIVE_OK;
         count++) {
        if (count == BUNDLE_ENTRIES_MAX)
            return cx_fail(err, CX_TOO_LARGE, "%s: more than %d files", name, BUNDLE_ENTRIES_MAX);
        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        if (!read_entry(archive, header, entry, arg, err))
            return cx_wrap(err, "%s", name);
    }
    return status == ARCHIVE_EOF || fail_archive(archive, CX_MALFORMED, name, err);
}

bool bundle_map(int fd, const char *name, cx_bytes *content, cx_err *err)
{
    struct stat status;
    void *at;

    if (fstat(fd, &status) < 0)
        return cx_fail_errno(err, "%s", name);
    if (!S_ISREG(status.st_mode) || status.st_size == 0)
        return cx_fail(err, CX_MALFORMED, "%s: %s", name,
                       status.st_size == 0 ? "empty" : "not a regular file");
    at = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED)
        return cx_fail_errno(err, "map %s", name);
    *content = (cx_bytes){at, (size_t)status.st_size};
    return true;
}

void bundle_unmap(cx_bytes *content)
{
    if (content->data != NULL)
        munmap((void *)(uintptr_t)content->data, content->size);
    *content = (cx_bytes){0};
}
