#include "base/redact.h"

#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "base/redact_parts.h"

enum {
    ROUNDS_MAX = 4, /* a mark can bring two parts of text together that make a secret only now */
    KNOWN_LINES_MAX = CX_KNOWN_SECRETS_MAX,
};

struct cx_redactor {
    cx_list known;
};

const char *cx_secret_word(cx_secret kind)
{
    switch (kind) {
#define CX_SECRET_WORD(name, word) \
    case CX_SECRET_##name: return word;
        CX_SECRETS(CX_SECRET_WORD)
#undef CX_SECRET_WORD
    case CX_SECRET_COUNT: break;
    }
    return NULL;
}

/* ---- reading text */

size_t redact_escape(cx_bytes text, size_t at)
{
    if (at + 1 >= text.size || text.data[at] != '\\')
        return 0;
    return strchr("nrtbf\"'\\/", text.data[at + 1]) != NULL && text.data[at + 1] != '\0' ? 2 : 0;
}

size_t redact_mark_size(cx_bytes text, size_t at)
{
    if (!redact_is_at(text, at, REDACT_MARK, false))
        return 0;
    for (cx_secret kind = 0; kind < CX_SECRET_COUNT; kind++) {
        const char *word = cx_secret_word(kind);
        size_t after = at + strlen(REDACT_MARK);

        if (redact_is_at(text, after, word, false) &&
            redact_is_at(text, after + strlen(word), ">", false))
            return strlen(REDACT_MARK) + strlen(word) + 1;
    }
    return 0;
}

/* ---- one round */

static void add_mark(cx_buffer *out, cx_secret kind, bool quoted, cx_redactions *found)
{
    cx_buffer_addf(out, "%s" REDACT_MARK "%s>%s", quoted ? "\"" : "", cx_secret_word(kind),
                   quoted ? "\"" : "");
    found->total++;
    found->of[kind]++;
}

/* A private key whose beginning is not in the text: what was already taken over of it goes. */
static void drop_key_lines(cx_buffer *out, size_t from)
{
    while (out->size > from) {
        uint8_t last = out->data[out->size - 1];

        if (!redact_is_base64(last) && strchr("=\r\n\\ \t", last) == NULL)
            break;
        out->size--;
    }
}

/* `-----END … PRIVATE KEY-----` without its begin. */
static size_t key_end_size(cx_bytes text, size_t at)
{
    static const char begin[] = "-----END ", key[] = "PRIVATE KEY";
    size_t end;

    if (!redact_is_at(text, at, begin, false))
        return 0;
    for (end = at + strlen(begin); end < text.size && end - at < 64; end++) {
        if (redact_is_at(text, end, key, false)) {
            end += strlen(key);
            while (end < text.size && (redact_is_word(text.data[end]) || text.data[end] == ' ' ||
                                       text.data[end] == '-'))
                end++;
            return end - at;
        }
        if (!redact_is_word(text.data[end]) && text.data[end] != ' ')
            return 0;
    }
    return 0;
}

static bool find(cx_bytes text, size_t at, redact_hit *hit)
{
    return redact_shape(text, at, hit) || redact_named(text, at, hit);
}

/* What stands between words: an escape, a mark, the end of a key (*is_key). Its size, or 0. */
static size_t sign_size(cx_bytes text, size_t at, bool *is_key)
{
    size_t size = 0;

    *is_key = false;
    switch (text.data[at]) {
    case '<': return redact_mark_size(text, at);
    case '\\': return redact_escape(text, at);
    case '-':
        size = key_end_size(text, at);
        *is_key = size > 0;
        return size;
    default: return 0;
    }
}

/* The text is taken over in long pieces: from `kept` on it still waits. */
static void redact_round(cx_bytes text, cx_buffer *out, cx_redactions *found)
{
    size_t start = out->size, at = 0, kept = 0, size;
    bool is_key;

    while (at < text.size) {
        redact_hit hit = {0};

        if ((size = sign_size(text, at, &is_key)) > 0) {
            if (is_key) {
                cx_buffer_add(out, text.data + kept, at - kept);
                drop_key_lines(out, start);
                add_mark(out, CX_SECRET_PRIVATE_KEY, false, found);
                kept = at + size;
            }
            at += size;
        } else if (find(text, at, &hit)) {
            cx_buffer_add(out, text.data + kept, at + hit.keep - kept);
            add_mark(out, hit.kind, hit.quoted, found);
            at += hit.keep + hit.cut;
            kept = at;
            /* The midst of a word begins none. */
            at += redact_span(text, at, SIZE_MAX, redact_is_word);
        } else {
            size = redact_span(text, at, SIZE_MAX, redact_is_word);
            at += size > 0 ? size : 1;
        }
    }
    cx_buffer_add(out, text.data + kept, text.size - kept);
}

/* ---- what the caller knows */

static void redact_known(const cx_redactor *redactor, cx_buffer *text, cx_redactions *found)
{
    for (size_t i = 0; redactor != NULL && i < redactor->known.count; i++) {
        const char *secret = redactor->known.items[i];
        size_t size = strlen(secret), at = 0;
        CX_AUTO(cx_buffer_free) cx_buffer out = {0};
        const uint8_t *hit;

        while (text->size - at >= size && text->size > 0 &&
               (hit = memmem(text->data + at, text->size - at, secret, size)) != NULL) {
            cx_buffer_add(&out, text->data + at, (size_t)(hit - text->data) - at);
            add_mark(&out, CX_SECRET_KNOWN, false, found);
            at = (size_t)(hit - text->data) + size;
        }
        if (at == 0)
            continue;
        cx_buffer_add(&out, text->data + at, text->size - at);
        cx_buffer_free(text);
        *text = out;
        out = (cx_buffer){0};
    }
}

/* ---- public */

cx_redactor *cx_redactor_open(void)
{
    return cx_alloc(1, sizeof(cx_redactor));
}

void cx_redactor_close(cx_redactor **owner)
{
    if (*owner == NULL)
        return;
    for (size_t i = 0; i < (*owner)->known.count; i++)
        sodium_memzero((*owner)->known.items[i], strlen((*owner)->known.items[i]));
    cx_list_free(&(*owner)->known);
    cx_free(owner);
}

void cx_redactor_know(cx_redactor *redactor, cx_bytes secret)
{
    size_t at = 0;

    while (at < secret.size) {
        const uint8_t *end = memchr(secret.data + at, '\n', secret.size - at);
        size_t size = end == NULL ? secret.size - at : (size_t)(end - secret.data) - at;
        const char *line = (const char *)secret.data + at;
        CX_AUTO(cx_free_secret) char *text = cx_strndup(line, size);

        at += size + 1;
        text[strcspn(text, "\r")] = '\0';
        if (strlen(text) >= CX_KNOWN_SECRET_MIN && strncmp(text, "-----", 5) != 0 &&
            text[0] != '#' && strncmp(text, "untrusted comment:", 18) != 0 &&
            !cx_list_has(&redactor->known, text) && redactor->known.count < KNOWN_LINES_MAX)
            cx_list_add(&redactor->known, text);
    }
}

void cx_redact(const cx_redactor *redactor, cx_bytes text, cx_buffer *out, cx_redactions *found)
{
    CX_AUTO(cx_buffer_free) cx_buffer from = {0};

    cx_buffer_add(&from, text.data, text.size);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        CX_AUTO(cx_buffer_free) cx_buffer to = {0};
        cx_redactions here = {0};

        redact_known(redactor, &from, &here);
        redact_round(cx_buffer_bytes(&from), &to, &here);
        for (cx_secret kind = 0; kind < CX_SECRET_COUNT; kind++)
            found->of[kind] += here.of[kind];
        found->total += here.total;
        cx_buffer_free(&from);
        from = to;
        to = (cx_buffer){0};
        if (here.total == 0)
            break;
    }
    cx_buffer_add(out, from.data, from.size);
}
