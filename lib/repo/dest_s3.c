/* A bucket as destination: part of repo/dest.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "repo/dest_kind.h"
#include "repo/s3.h"
#include "repo/xml.h"

enum {
    ANSWER_MAX = 1024 * 1024,
    LIST_ANSWER_MAX = 8 * 1024 * 1024,
    PAGES_MAX = 100000,
    WHOLE_MAX = 64 * 1024 * 1024, /* larger objects go in parts */
    PART_SIZE = 16 * 1024 * 1024, /* S3 wants 5 MiB at least, and 10,000 parts at most */
    UPLOAD_ID_MAX = 1024,
};

bool cx_dest_s3_open(const char *url, void **self, cx_err *err)
{
    CX_AUTO(cx_s3_place_free) cx_s3_place place = {0};

    if (!cx_s3_place_parse(url, &place, err))
        return false;
    *self = cx_s3_open(&place);
    return true;
}

static void close_s3(void *self)
{
    cx_s3 *s3 = self;

    cx_s3_close(&s3);
}

static bool is_done(const cx_s3_answer *answer)
{
    return answer->status >= 200 && answer->status < 300;
}

/* ---- buckets */

static bool make_bucket(cx_s3 *s3, cx_err *err)
{
    const cx_s3_place *place = cx_s3_where(s3);
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    CX_AUTO(cx_free)
    char *body = strcmp(place->region, "us-east-1") == 0
                     ? cx_strdup("")
                     : cx_format("<CreateBucketConfiguration><LocationConstraint>%s"
                                 "</LocationConstraint></CreateBucketConfiguration>",
                                 place->region);
    cx_s3_request request = {.method = "PUT", .body = cx_bytes_of(body), .answer_max = ANSWER_MAX};

    if (!cx_s3_send(s3, &request, &answer, err))
        return false;
    /* 409: somebody else of us was faster. */
    return is_done(&answer) || answer.status == 409 || cx_s3_fail(&answer, "make the bucket", err);
}

static bool prepare(void *self, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {.method = "HEAD", .answer_max = ANSWER_MAX};

    if (!cx_s3_send(self, &request, &answer, err))
        return false;
    if (answer.status == 404)
        return make_bucket(self, err);
    /* Who may write objects need not be allowed to look at the bucket. */
    return is_done(&answer) || answer.status == 403 || cx_s3_fail(&answer, "the bucket", err);
}

static bool now(void *self, int64_t *wall_ms, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {.method = "HEAD", .answer_max = ANSWER_MAX};

    if (!cx_s3_send(self, &request, &answer, err))
        return false;
    if (answer.date_ms == 0)
        return cx_fail(err, CX_PROTOCOL, "the storage does not tell its time");
    *wall_ms = answer.date_ms;
    return true;
}

/* ---- objects */

static bool stat_object(void *self, const char *key, cx_object *object, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {.method = "HEAD", .key = key, .answer_max = ANSWER_MAX};

    if (!cx_s3_send(self, &request, &answer, err))
        return false;
    if (!is_done(&answer))
        return cx_s3_fail(&answer, key, err);
    *object = (cx_object){key, answer.length, answer.modified_ms};
    return true;
}

static bool put_whole(cx_s3 *s3, const char *key, cx_bytes bytes, const char *header,
                      cx_s3_answer *answer, cx_err *err)
{
    cx_s3_request request = {
        .method = "PUT", .key = key, .header = header, .body = bytes, .answer_max = ANSWER_MAX};

    return cx_s3_send(s3, &request, answer, err);
}

/* A server that can't do it in one step is asked first. */
static bool put_new(cx_s3 *s3, const char *key, cx_bytes bytes, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_object object;

    if (!put_whole(s3, key, bytes, "If-None-Match: *", &answer, err))
        return false;
    if (is_done(&answer))
        return true;
    if (answer.status != 501)
        return cx_s3_fail(&answer, key, err);
    if (stat_object(s3, key, &object, err))
        return cx_fail(err, CX_EXISTS, "%s is there already", key);
    if (err->code != CX_NOT_FOUND)
        return false;
    cx_s3_answer_free(&answer);
    return put_whole(s3, key, bytes, NULL, &answer, err) &&
           (is_done(&answer) || cx_s3_fail(&answer, key, err));
}

/* ---- in parts */

static bool read_upload_id(const char *path, const char *text, void *arg, cx_err *err)
{
    char **upload_id = arg;

    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0)
        return true;
    if (text[0] == '\0' || strlen(text) > UPLOAD_ID_MAX)
        return cx_fail(err, CX_PROTOCOL, "an upload without an id");
    cx_free(upload_id);
    *upload_id = cx_percent_encoded(text);
    return true;
}

static bool begin_parts(cx_s3 *s3, const char *key, char **upload_id, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {
        .method = "POST", .key = key, .query = "uploads=", .answer_max = ANSWER_MAX};

    if (!cx_s3_send(s3, &request, &answer, err))
        return false;
    if (!is_done(&answer))
        return cx_s3_fail(&answer, key, err);
    if (!cx_xml_read(cx_buffer_bytes(&answer.body), read_upload_id, upload_id, err))
        return false;
    return *upload_id != NULL || cx_fail(err, CX_PROTOCOL, "an upload without an id");
}

static bool put_part(cx_s3 *s3, const char *key, const char *upload_id, size_t number,
                     cx_bytes part, cx_buffer *list, cx_err *err)
{
    CX_AUTO(cx_free) char *query = cx_format("partNumber=%zu&uploadId=%s", number, upload_id);
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {
        .method = "PUT", .key = key, .query = query, .body = part, .answer_max = ANSWER_MAX};

    if (!cx_s3_send(s3, &request, &answer, err))
        return false;
    if (!is_done(&answer))
        return cx_s3_fail(&answer, key, err);
    if (answer.etag == NULL || strpbrk(answer.etag, "<>&\"") != NULL)
        return cx_fail(err, CX_PROTOCOL, "%s: a part without an ETag", key);
    cx_buffer_addf(list, "<Part><PartNumber>%zu</PartNumber><ETag>\"%s\"</ETag></Part>", number,
                   answer.etag);
    return true;
}

static bool end_parts(cx_s3 *s3, const char *key, const char *upload_id, const cx_buffer *list,
                      cx_err *err)
{
    CX_AUTO(cx_free) char *query = cx_format("uploadId=%s", upload_id);
    CX_AUTO(cx_free)
    char *body = cx_format("<CompleteMultipartUpload>%s</CompleteMultipartUpload>",
                           (const char *)list->data);
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {.method = "POST",
                             .key = key,
                             .query = query,
                             .body = cx_bytes_of(body),
                             .answer_max = ANSWER_MAX};

    if (!cx_s3_send(s3, &request, &answer, err))
        return false;
    /* A failure may come with status 200 (S3's documentation of CompleteMultipartUpload). */
    if (!is_done(&answer) ||
        (answer.body.size > 0 && strstr((const char *)answer.body.data, "<Error>") != NULL))
        return cx_s3_fail(&answer, key, err);
    return true;
}

static void abort_parts(cx_s3 *s3, const char *key, const char *upload_id)
{
    CX_AUTO(cx_free) char *query = cx_format("uploadId=%s", upload_id);
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {
        .method = "DELETE", .key = key, .query = query, .answer_max = ANSWER_MAX};
    cx_err ignored;

    (void)!cx_s3_send(s3, &request, &answer, &ignored);
}

static bool put_parts(cx_s3 *s3, const char *key, cx_bytes bytes, cx_err *err)
{
    CX_AUTO(cx_free) char *upload_id = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer list = {0};
    cx_object object = {0};
    cx_bytes rest = bytes;
    bool done;

    if (!begin_parts(s3, key, &upload_id, err))
        return false;
    for (size_t number = 1; rest.size > 0; number++) {
        size_t size = rest.size < PART_SIZE ? rest.size : PART_SIZE;

        done = put_part(s3, key, upload_id, number, (cx_bytes){rest.data, size}, &list, err);
        if (!done)
            break;
        rest = (cx_bytes){rest.data + size, rest.size - size};
    }
    done = rest.size == 0 && end_parts(s3, key, upload_id, &list, err);
    if (!done) {
        abort_parts(s3, key, upload_id);
        return false;
    }
    if (!stat_object(s3, key, &object, err))
        return false;
    return object.size == (int64_t)bytes.size ||
           cx_fail(err, CX_CORRUPT, "%s: %" PRId64 " bytes are there, %zu were stored", key,
                   object.size, bytes.size);
}

static bool put(void *self, const char *key, cx_bytes bytes, cx_put how, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};

    if (how == CX_PUT_NEW)
        return put_new(self, key, bytes, err);
    if (bytes.size > WHOLE_MAX)
        return put_parts(self, key, bytes, err);
    return put_whole(self, key, bytes, NULL, &answer, err) &&
           (is_done(&answer) || cx_s3_fail(&answer, key, err));
}

static bool flush(void *self, cx_err *err)
{
    (void)self, (void)err; /* what S3 has acknowledged is durable */
    return true;
}

static bool get(void *self, const char *key, size_t size_max, cx_buffer *bytes, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {.method = "GET", .key = key, .answer_max = size_max};

    if (request.answer_max < ANSWER_MAX)
        request.answer_max = ANSWER_MAX; /* of a failure */
    if (!cx_s3_send(self, &request, &answer, err))
        return cx_wrap(err, "%s", key);
    if (!is_done(&answer))
        return cx_s3_fail(&answer, key, err);
    if (answer.body.size > size_max)
        return cx_fail(err, CX_TOO_LARGE, "%s has more than %zu bytes", key, size_max);
    if (bytes->size == 0) {
        cx_buffer_free(bytes);
        *bytes = answer.body;
        answer.body = (cx_buffer){0};
    } else {
        cx_buffer_add(bytes, answer.body.data, answer.body.size);
    }
    return true;
}

static bool remove_object(void *self, const char *key, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    cx_s3_request request = {.method = "DELETE", .key = key, .answer_max = ANSWER_MAX};

    return cx_s3_send(self, &request, &answer, err) &&
           (is_done(&answer) || answer.status == 404 || cx_s3_fail(&answer, key, err));
}

/* ---- listings */

struct listing {
    const cx_s3_place *place;
    cx_object_each *each; /* NULL: folders are wanted */
    void *arg;
    cx_list *names;
    size_t prefix_size; /* of the wanted prefix, the place's included */
    char *key, *token;
    int64_t size, arrived_ms;
    bool is_truncated;
};

static void free_listing(struct listing *listing)
{
    cx_free(&listing->key);
    cx_free(&listing->token);
}

/* Keys come URL-encoded (encoding-type=url), or XML could not hold them all. */
static char *decode_key(const char *text)
{
    size_t size = strlen(text), length = 0;
    char *key = cx_alloc(size + 1, 1);

    for (size_t i = 0; i < size; i++) {
        char hex[3] = {0};

        if (text[i] == '%' && i + 2 < size) {
            memcpy(hex, text + i + 1, 2);
            key[length++] = (char)strtoul(hex, NULL, 16);
            i += 2;
        } else {
            key[length++] = text[i] == '+' ? ' ' : text[i];
        }
    }
    key[length] = '\0';
    return key;
}

static bool end_object(struct listing *listing, cx_err *err)
{
    size_t place_size = strlen(listing->place->prefix);
    cx_object object = {.size = listing->size, .arrived_ms = listing->arrived_ms};

    if (listing->key == NULL || strncmp(listing->key, listing->place->prefix, place_size) != 0)
        return cx_fail(err, CX_PROTOCOL, "a listing with an object that was not asked for");
    object.key = listing->key + place_size;
    return listing->each == NULL || listing->each(&object, listing->arg, err);
}

static void end_folder(struct listing *listing, const char *text)
{
    CX_AUTO(cx_free) char *prefix = decode_key(text);
    size_t size = strlen(prefix);

    if (listing->names == NULL || size <= listing->prefix_size + 1 || prefix[size - 1] != '/')
        return;
    prefix[size - 1] = '\0';
    cx_list_add(listing->names, prefix + listing->prefix_size);
}

static bool read_list(const char *path, const char *text, void *arg, cx_err *err)
{
    struct listing *listing = arg;

    if (strcmp(path, "ListBucketResult/Contents/Key") == 0) {
        cx_free(&listing->key);
        listing->key = decode_key(text);
    } else if (strcmp(path, "ListBucketResult/Contents/Size") == 0) {
        listing->size = strtoll(text, NULL, 10);
        if (listing->size < 0)
            return cx_fail(err, CX_PROTOCOL, "a listing with a negative size");
    } else if (strcmp(path, "ListBucketResult/Contents/LastModified") == 0) {
        return cx_time_parse(text, &listing->arrived_ms, err);
    } else if (strcmp(path, "ListBucketResult/Contents") == 0) {
        return end_object(listing, err);
    } else if (strcmp(path, "ListBucketResult/CommonPrefixes/Prefix") == 0) {
        end_folder(listing, text);
    } else if (strcmp(path, "ListBucketResult/IsTruncated") == 0) {
        listing->is_truncated = strcmp(text, "true") == 0;
    } else if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0) {
        cx_free(&listing->token);
        listing->token = cx_percent_encoded(text);
    }
    return true;
}

static bool list_page(cx_s3 *s3, struct listing *listing, const char *prefix, cx_err *err)
{
    CX_AUTO(cx_s3_answer_free) cx_s3_answer answer = {0};
    CX_AUTO(cx_free) char *token = CX_TAKE(listing->token);
    CX_AUTO(cx_free)
    char *query =
        cx_format("%s%s%s%sencoding-type=url&list-type=2&max-keys=1000&prefix=%s",
                  token != NULL ? "continuation-token=" : "", token != NULL ? token : "",
                  token != NULL ? "&" : "", listing->names != NULL ? "delimiter=%2F&" : "", prefix);
    cx_s3_request request = {.method = "GET", .query = query, .answer_max = LIST_ANSWER_MAX};

    listing->is_truncated = false;
    if (!cx_s3_send(s3, &request, &answer, err))
        return false;
    if (!is_done(&answer))
        return cx_s3_fail(&answer, "list", err);
    if (!cx_xml_read(cx_buffer_bytes(&answer.body), read_list, listing, err))
        return cx_wrap(err, "list");
    if (listing->is_truncated &&
        (listing->token == NULL || (token != NULL && strcmp(token, listing->token) == 0)))
        return cx_fail(err, CX_PROTOCOL, "a listing that does not go on");
    return true;
}

static bool list_all(cx_s3 *s3, struct listing *listing, const char *prefix, cx_err *err)
{
    CX_AUTO(cx_free) char *whole = cx_format("%s%s", cx_s3_where(s3)->prefix, prefix);
    CX_AUTO(cx_free) char *encoded = cx_percent_encoded(whole);

    listing->place = cx_s3_where(s3);
    listing->prefix_size = strlen(whole);
    for (int page = 0; page < PAGES_MAX; page++) {
        if (!list_page(s3, listing, encoded, err))
            return false;
        if (!listing->is_truncated)
            return true;
    }
    return cx_fail(err, CX_TOO_LARGE, "a listing of more than %d pages", PAGES_MAX);
}

static bool list(void *self, const char *prefix, cx_object_each *each, void *arg, cx_err *err)
{
    CX_AUTO(free_listing) struct listing listing = {.each = each, .arg = arg};

    /* A bucket that is not there yet holds nothing, like a folder. */
    return list_all(self, &listing, prefix, err) || err->code == CX_NOT_FOUND;
}

static bool folders(void *self, const char *prefix, cx_list *names, cx_err *err)
{
    CX_AUTO(free_listing) struct listing listing = {.names = names};

    return list_all(self, &listing, prefix, err) || err->code == CX_NOT_FOUND;
}

/* An object is whole or not there. Parts of one that was never completed are no objects, and the
 * bucket's lifecycle rule removes them: another node's may be on their way. */
static bool sweep(void *self, const char *prefix, cx_err *err)
{
    (void)self, (void)prefix, (void)err;
    return true;
}

const cx_dest_kind cx_dest_s3_kind = {
    .close = close_s3,
    .prepare = prepare,
    .put = put,
    .flush = flush,
    .get = get,
    .stat = stat_object,
    .remove = remove_object,
    .list = list,
    .folders = folders,
    .sweep = sweep,
    .now = now,
};
