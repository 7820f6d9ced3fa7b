/* The dashboard's files, of share/www, and who may see them. They are read once, at the start. */
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/httpd.h"
#include "base/io.h"
#include "config/share.h"
#include "guard.h"
#include "watch.h"

enum { FILE_MAX = 512 * 1024, TOKEN_MAX = 4096, HOST_SIZE = 256 };

/* Nothing from elsewhere, nothing inline, nobody's frame. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

static const struct {
    const char *path, *name, *type;
} files[] = {
    {"/", "www/index.html", "text/html; charset=utf-8"},
    {"/dashboard.js", "www/dashboard.js", "text/javascript; charset=utf-8"},
    {"/dashboard.css", "www/dashboard.css", "text/css; charset=utf-8"},
    {"/icon.svg", "www/icon.svg", "image/svg+xml"},
};

struct watch_page {
    health_guard guard;
    cx_buffer contents[CX_COUNT(files)];
};

static health_request request_of(const cx_exchange *exchange)
{
    return (health_request){
        .host = cx_exchange_header(exchange, "Host"),
        .origin = cx_exchange_header(exchange, "Origin"),
        .fetch_site = cx_exchange_header(exchange, "Sec-Fetch-Site"),
        .mark = cx_exchange_header(exchange, health_guard_mark),
        .authorization = cx_exchange_header(exchange, "Authorization"),
    };
}

bool watch_page_may_look(const watch_self *watch, const cx_exchange *exchange, cx_err *err)
{
    health_request request = request_of(exchange);

    return health_guard_look(&watch->page->guard, &request, err);
}

bool watch_page_may_change(const watch_self *watch, const cx_exchange *exchange, cx_err *err)
{
    health_request request = request_of(exchange);

    return health_guard_change(&watch->page->guard, &request, err);
}

const char *watch_page_silencing(const watch_self *watch)
{
    return watch->page != NULL ? health_guard_word(&watch->page->guard) : "off";
}

void watch_page_protect(cx_exchange *exchange)
{
    cx_exchange_add_header(exchange, "Content-Security-Policy", policy);
    cx_exchange_add_header(exchange, "X-Content-Type-Options", "nosniff");
    cx_exchange_add_header(exchange, "X-Frame-Options", "DENY");
    cx_exchange_add_header(exchange, "Referrer-Policy", "no-referrer");
    cx_exchange_add_header(exchange, "Cross-Origin-Resource-Policy", "same-origin");
    cx_exchange_add_header(exchange, "Cache-Control", "no-store");
}

bool watch_page_answer(const watch_self *watch, cx_exchange *exchange)
{
    for (size_t i = 0; i < CX_COUNT(files); i++) {
        if (strcmp(files[i].path, cx_exchange_path(exchange)) != 0 ||
            watch->page->contents[i].size == 0)
            continue;
        cx_exchange_answer(exchange, 200, files[i].type,
                           cx_buffer_bytes(&watch->page->contents[i]));
        return true;
    }
    return false;
}

/* Without its files the watcher watches all the same. */
static void read_files(watch_self *watch)
{
    for (size_t i = 0; i < CX_COUNT(files); i++) {
        CX_AUTO(cx_free) char *path = cx_share_path(files[i].name);
        cx_err err;

        if (!cx_read_file(path, FILE_MAX, &watch->page->contents[i], &err))
            cx_log_error(&watch->log, CX_WARN, "no_dashboard", &err);
    }
}

static bool read_token(const char *path, health_guard *guard, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer token = {0};
    bool good;

    if (!cx_read_secret_file(path, TOKEN_MAX, &token, err))
        return false;
    good = health_guard_set_token(guard, cx_buffer_bytes(&token), err) || cx_wrap(err, "%s", path);
    sodium_memzero(token.data, token.size);
    return good;
}

bool watch_page_open(watch_self *watch, const watch_serve_options *options, cx_err *err)
{
    health_guard *guard;
    char host[HOST_SIZE] = "";

    watch->page = cx_alloc(1, sizeof *watch->page);
    guard = &watch->page->guard;
    guard->is_open = health_guard_is_loopback(options->address);
    for (size_t i = 0; i < options->names->count; i++)
        cx_list_add(&guard->names, options->names->items[i]);
    if (gethostname(host, sizeof host - 1) == 0 && host[0] != '\0')
        cx_list_add(&guard->names, host);
    cx_list_take(&guard->names, cx_strndup(options->address, strcspn(options->address, ":")));
    if (options->token_file != NULL && !read_token(options->token_file, guard, err))
        return false;
    read_files(watch);
    return true;
}

void watch_page_close(watch_self *watch)
{
    if (watch->page == NULL)
        return;
    health_guard_free(&watch->page->guard);
    for (size_t i = 0; i < CX_COUNT(files); i++)
        cx_buffer_free(&watch->page->contents[i]);
    cx_free(&watch->page);
}
