/* Where and who: part of repo/s3.h. */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "repo/s3.h"

enum { CREDENTIALS_MAX = 64 * 1024, LINE_MAX_SIZE = 1024 };

static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";

static const char *environment(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* ---- the URL */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static char *decoded(const char *text, size_t size)
{
    char *value = cx_alloc(size + 1, 1);
    size_t length = 0;

    for (size_t i = 0; i < size; i++) {
        int high = text[i] == '%' && i + 2 < size ? hex_digit(text[i + 1]) : -1;
        int low = high < 0 ? -1 : hex_digit(text[i + 2]);

        value[length++] = (char)(low < 0 ? text[i] : high << 4 | low);
        i += low < 0 ? 0 : 2;
    }
    return value;
}

static bool set_option(cx_s3_place *place, const char *name, size_t name_size, char *value,
                       bool *has_path_style, cx_err *err)
{
    CX_AUTO(cx_free) char *owned = value;

    if (name_size == 8 && memcmp(name, "endpoint", 8) == 0) {
        cx_free(&place->endpoint);
        place->endpoint = CX_TAKE(owned);
    } else if (name_size == 6 && memcmp(name, "region", 6) == 0) {
        cx_free(&place->region);
        place->region = CX_TAKE(owned);
    } else if (name_size == 10 && memcmp(name, "path_style", 10) == 0) {
        *has_path_style = true;
        place->path_style = strcmp(owned, "1") == 0 || strcmp(owned, "true") == 0;
    } else {
        cx_fail(err, CX_USAGE, "%.*s: no such option", (int)name_size, name);
        return cx_hint(err, "endpoint, region, path_style");
    }
    return true;
}

static bool read_options(cx_s3_place *place, const char *query, cx_err *err)
{
    bool has_path_style = false;

    while (query != NULL && *query != '\0') {
        size_t size = strcspn(query, "&");
        const char *equals = memchr(query, '=', size);
        size_t name_size = equals == NULL ? size : (size_t)(equals - query);
        char *value = equals == NULL ? cx_strdup("1") : decoded(equals + 1, size - name_size - 1);

        if (!set_option(place, query, name_size, value, &has_path_style, err))
            return false;
        query += size + (query[size] == '&');
    }
    if (place->endpoint == NULL)
        place->endpoint = cx_strdup(environment("AWS_ENDPOINT_URL_S3"));
    if (place->endpoint == NULL)
        place->endpoint = cx_strdup(environment("AWS_ENDPOINT_URL"));
    /* Servers of one's own seldom have a name for each bucket. */
    if (!has_path_style)
        place->path_style = place->endpoint != NULL;
    return true;
}

static bool read_prefix(cx_s3_place *place, const char *path, size_t size, cx_err *err)
{
    CX_AUTO(cx_free) char *text = cx_strndup(path, size);
    char *start = text + strspn(text, "/");
    size_t length = strlen(start);

    while (length > 0 && start[length - 1] == '/')
        start[--length] = '\0';
    for (const char *at = start; *at != '\0'; at++)
        if (strchr(safe, *at) == NULL && (*at != '/' || at[1] == '/'))
            return cx_fail(err, CX_USAGE,
                           "the prefix \"%.100s\" has a character that is not allowed", start);
    place->prefix = cx_format("%s%s", start, length > 0 ? "/" : "");
    return true;
}

static bool check_endpoint(cx_s3_place *place, cx_err *err)
{
    size_t size = strlen(place->endpoint);
    const char *host = strstr(place->endpoint, "://");

    while (size > 0 && place->endpoint[size - 1] == '/')
        place->endpoint[--size] = '\0';
    if (host == NULL ||
        (strncmp(place->endpoint, "http://", 7) != 0 &&
         strncmp(place->endpoint, "https://", 8) != 0) ||
        strpbrk(host + 3, "/?#@ ") != NULL || host[3] == '\0')
        return cx_fail(err, CX_USAGE, "endpoint %.200s is not http(s)://host[:port]",
                       place->endpoint);
    return true;
}

/* ---- credentials */

/* "name = value" of an INI file. */
static bool read_pair(char *line, const char **name, const char **value)
{
    char *equals = strchr(line, '=');
    char *end;

    if (equals == NULL)
        return false;
    *equals = '\0';
    for (end = equals; end > line && strchr(" \t", end[-1]) != NULL; end--)
        end[-1] = '\0';
    *name = line + strspn(line, " \t");
    *value = equals + 1 + strspn(equals + 1, " \t");
    return true;
}

static void set_credential(cx_s3_place *place, const char *name, const char *value)
{
    char **to = strcmp(name, "aws_access_key_id") == 0       ? &place->access_key
                : strcmp(name, "aws_secret_access_key") == 0 ? &place->secret_key
                : strcmp(name, "aws_session_token") == 0     ? &place->session_token
                                                             : NULL;

    if (to != NULL) {
        cx_free_secret(to);
        *to = cx_strdup(value);
    }
}

static void parse_credentials(cx_s3_place *place, char *text, const char *profile)
{
    bool is_ours = false;

    for (char *line = text, *next; line != NULL; line = next) {
        const char *name, *value;
        size_t size;

        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        for (size = strlen(line); size > 0 && strchr(" \t\r", line[size - 1]) != NULL; size--)
            line[size - 1] = '\0';
        if (line[0] == '[')
            is_ours = size > 2 && line[size - 1] == ']' && strlen(profile) == size - 2 &&
                      memcmp(line + 1, profile, size - 2) == 0;
        else if (is_ours && line[0] != '#' && line[0] != ';' && read_pair(line, &name, &value))
            set_credential(place, name, value);
    }
}

static char *credentials_path(void)
{
    const char *folder = environment("CREDENTIALS_DIRECTORY");
    const char *chosen = environment("AWS_SHARED_CREDENTIALS_FILE");
    const char *home = environment("HOME");
    CX_AUTO(cx_free)
    char *passed = folder != NULL ? cx_path_join(folder, "aws-credentials") : NULL;

    if (passed != NULL && cx_exists(passed))
        return CX_TAKE(passed);
    if (chosen != NULL)
        return cx_strdup(chosen);
    return home != NULL ? cx_path_join(home, ".aws/credentials") : NULL;
}

static bool read_credentials(cx_s3_place *place, cx_err *err)
{
    const char *profile = environment("AWS_PROFILE");
    CX_AUTO(cx_free) char *path = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    if (environment("AWS_ACCESS_KEY_ID") != NULL && environment("AWS_SECRET_ACCESS_KEY") != NULL) {
        place->access_key = cx_strdup(environment("AWS_ACCESS_KEY_ID"));
        place->secret_key = cx_strdup(environment("AWS_SECRET_ACCESS_KEY"));
        place->session_token = cx_strdup(environment("AWS_SESSION_TOKEN"));
        return true;
    }
    path = credentials_path();
    if (path != NULL && cx_exists(path)) {
        if (!cx_read_file(path, CREDENTIALS_MAX, &text, err))
            return false;
        parse_credentials(place, (char *)text.data, profile != NULL ? profile : "default");
        explicit_bzero(text.data, text.size);
    }
    if (place->access_key != NULL && place->secret_key != NULL)
        return true;
    cx_fail(err, CX_UNAUTHENTICATED, "there are no S3 credentials");
    return cx_hint(err, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials");
}

/* ---- public */

bool cx_s3_place_parse(const char *url, cx_s3_place *place, cx_err *err)
{
    const char *bucket = url + strlen("s3://");
    size_t size = strcspn(bucket, "/?");
    const char *path = bucket + size;
    size_t path_size = strcspn(path, "?");
    const char *query = path[path_size] == '?' ? path + path_size + 1 : NULL;
    const char *region = environment("AWS_REGION");

    if (region == NULL)
        region = environment("AWS_DEFAULT_REGION");
    if (size < 3 || size > 63 || strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") < size)
        return cx_fail(err, CX_USAGE, "no bucket is called \"%.*s\"", (int)size, bucket);
    place->bucket = cx_strndup(bucket, size);
    if (!read_prefix(place, path, path_size, err) || !read_options(place, query, err))
        return false;
    if (place->region == NULL)
        place->region = cx_strdup(region != NULL ? region : "us-east-1");
    if (place->region[0] == '\0' || strspn(place->region, safe) != strlen(place->region))
        return cx_fail(err, CX_USAGE, "no region is called \"%.60s\"", place->region);
    if (place->endpoint == NULL)
        place->endpoint = cx_format("https://s3.%s.amazonaws.com", place->region);
    place->ca_file = cx_strdup(environment("AWS_CA_BUNDLE"));
    return check_endpoint(place, err) && read_credentials(place, err);
}

void cx_s3_place_free(cx_s3_place *place)
{
    cx_free(&place->endpoint);
    cx_free(&place->bucket);
    cx_free(&place->prefix);
    cx_free(&place->region);
    cx_free(&place->access_key);
    cx_free_secret(&place->secret_key);
    cx_free_secret(&place->session_token);
    cx_free(&place->ca_file);
    *place = (cx_s3_place){0};
}
