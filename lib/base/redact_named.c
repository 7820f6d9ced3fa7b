/* Secrets that are known by the name before them: `"password": "…"`, `TOKEN=…`, `--secret …`. */
#include <ctype.h>
#include <string.h>

#include "base/redact_parts.h"

enum {
    NAME_MAX_SIZE = 128,
    NESTED_MAX = 64 * 1024, /* of a list or an object that is secret as a whole */
    QUOTES_MAX = 16,        /* backslashes before a quote: JSON in JSON in JSON in JSON */
};

/* Ends of names, in lower case, without what separates words. */
#define ENDING(word)           \
    {                          \
        word, sizeof(word) - 1 \
    }
static const struct {
    const char *word;
    size_t size;
} endings[] = {
    ENDING("password"),
    ENDING("passwd"),
    ENDING("passphrase"),
    ENDING("passcode"),
    ENDING("secret"),
    ENDING("secrets"),
    ENDING("token"),
    ENDING("tokens"),
    ENDING("apikey"),
    ENDING("apikeys"),
    ENDING("accesskey"),
    ENDING("accesskeyid"),
    ENDING("secretkey"),
    ENDING("privatekey"),
    ENDING("privatekeys"),
    ENDING("signingkey"),
    ENDING("encryptionkey"),
    ENDING("encryptkey"),
    ENDING("sessionkey"),
    ENDING("authkey"),
    ENDING("gossipkey"),
    ENDING("gossipkeys"),
    ENDING("gossipkeyring"),
    ENDING("routingkey"),
    ENDING("integrationkey"),
    ENDING("servicekey"),
    ENDING("masterkey"),
    ENDING("hmackey"),
    ENDING("sharedkey"),
    ENDING("psk"),
    ENDING("authorization"),
    ENDING("cookie"),
    ENDING("credential"),
    ENDING("credentials"),
    ENDING("webhookurl"),
    ENDING("amzsignature"),
    ENDING("connectionstring"),
};

/* A name and what follows it up to its value. */
typedef struct name {
    size_t at, size;
    size_t value;   /* where the value begins */
    char separator; /* = : > or ' ' */
    bool quoted;    /* the name is, so this is JSON or like it */
    bool spaced;    /* blanks around the separator */
    bool leads;     /* nothing before it in its line but blanks and dashes */
    size_t indent;  /* its column, then */
} name;

/* ---- reading */

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static bool is_space(uint8_t byte)
{
    return is_blank(byte) || byte == '\n' || byte == '\r';
}

static bool is_backslash(uint8_t byte)
{
    return byte == '\\';
}

static bool is_name(uint8_t byte)
{
    return redact_is_word(byte) || byte == '-' || byte == '.';
}

static bool is_at_any(cx_bytes text, size_t at, const char *bytes)
{
    return at < text.size && text.data[at] != '\0' && strchr(bytes, text.data[at]) != NULL;
}

static size_t line_end(cx_bytes text, size_t at)
{
    const uint8_t *end = at < text.size ? memchr(text.data + at, '\n', text.size - at) : NULL;

    return end == NULL ? text.size : (size_t)(end - text.data);
}

/* A quote and the backslashes before it: how many bytes, or 0. */
static size_t quote_size(cx_bytes text, size_t at)
{
    size_t slashes = redact_span(text, at, QUOTES_MAX, is_backslash);

    return is_at_any(text, at + slashes, "\"'") ? slashes + 1 : 0;
}

/* ---- names */

/* `db_pass`, `SMTP.PWD`: the last word of several. Alone they are what a test did, and a folder. */
static bool ends_in_word(cx_bytes text, const name *named, const char *word)
{
    size_t size = strlen(word), end = named->at + named->size;

    return named->size > size + 1 && redact_is_at(text, end - size, word, true) &&
           !isalnum(text.data[end - size - 1]);
}

static bool is_secret_name(cx_bytes text, const name *named)
{
    char word[NAME_MAX_SIZE + 1];
    size_t count = 0;

    for (size_t i = named->at; i < named->at + named->size; i++)
        if (isalnum(text.data[i]))
            word[count++] = (char)tolower(text.data[i]);
    word[count] = '\0';
    for (size_t i = 0; i < CX_COUNT(endings) && count > 0; i++) {
        size_t size = endings[i].size;

        if (endings[i].word[size - 1] == word[count - 1] && count >= size &&
            memcmp(word + count - size, endings[i].word, size) == 0)
            return true;
    }
    return ends_in_word(text, named, "pass") || ends_in_word(text, named, "pwd");
}

/* Where it stands in its line; a YAML key does so alone, or after the dash of a list. */
static void look_before(cx_bytes text, name *named)
{
    size_t start = named->at;

    if (start > 0 && is_at_any(text, start - 1, "\"'"))
        start--;
    named->indent = start;
    while (start > 0 && (is_blank(text.data[start - 1]) || text.data[start - 1] == '-'))
        start--;
    named->leads = start == 0 || text.data[start - 1] == '\n';
    named->indent -= start;
}

/* `--name value`, or "--name","value" of an argument list. */
static bool flag_value(cx_bytes text, name *named, size_t at)
{
    size_t quote = quote_size(text, at);

    if (!redact_is_at(text, named->at, "--", false))
        return false;
    named->separator = ' ';
    named->value = at + quote;
    named->value += redact_span(text, named->value, NAME_MAX_SIZE, is_blank);
    if (quote > 0) {
        if (!is_at_any(text, named->value, ","))
            return false;
        named->value++;
        named->value += redact_span(text, named->value, NAME_MAX_SIZE, is_space);
        return quote_size(text, named->value) > 0;
    }
    return named->value > at && !is_at_any(text, named->value, "-\r\n");
}

/* The separator after the name. */
static bool look_after(cx_bytes text, name *named)
{
    size_t end = named->at + named->size, quote = quote_size(text, end), at = end + quote;

    if (named->at > 0 && text.data[named->at - 1] == '<' && is_at_any(text, end, ">")) {
        named->separator = '>';
        named->value = end + 1;
        return true;
    }
    at += redact_span(text, at, NAME_MAX_SIZE, is_blank);
    if (!is_at_any(text, at, "=:") || redact_is_at(text, at, "==", false) ||
        redact_is_at(text, at, "://", false))
        return flag_value(text, named, end);
    named->separator = (char)text.data[at];
    named->quoted = quote > 0;
    named->value =
        at + 1 + (redact_is_at(text, at, "=>", false) || redact_is_at(text, at, ":=", false));
    named->value += redact_span(text, named->value, NAME_MAX_SIZE, is_blank);
    named->spaced = named->value > at + 1 || (quote == 0 && at > end);
    return true;
}

/* Most words are no names: told by what follows them, before anything is compared. */
static bool may_be_name(cx_bytes text, const name *named)
{
    size_t end = named->at + named->size;

    if (is_at_any(text, end, " \t") && text.data[named->at] != '-')
        end += redact_span(text, end, NAME_MAX_SIZE, is_blank);
    return is_at_any(text, end, "=:>\"'\\ \t");
}

static bool take_name(cx_bytes text, size_t at, name *named)
{
    *named = (name){.at = at, .size = redact_span(text, at, NAME_MAX_SIZE + 1, is_name)};
    if (named->size == 0 || named->size > NAME_MAX_SIZE || !may_be_name(text, named) ||
        !is_secret_name(text, named))
        return false;
    look_before(text, named);
    return look_after(text, named);
}

/* ---- values */

/* What a quote that is written with so many backslashes encloses: up to the next one that is written
 * the same way, else to the end of the line. */
static size_t quoted_size(cx_bytes text, size_t from, size_t quote)
{
    uint8_t mark = text.data[from - 1];
    size_t slashes = 0, end = line_end(text, from);

    for (size_t at = from; at < end; at++) {
        if (text.data[at] == mark && (quote == 1 ? slashes % 2 == 0 : slashes + 1 == quote))
            return at - (quote - 1) - from;
        slashes = text.data[at] == '\\' ? slashes + 1 : 0;
    }
    return end - from;
}

/* A list or an object with all that is in it; one without an end goes to the end of its line. */
static size_t nested_size(cx_bytes text, size_t from)
{
    size_t depth = 0, at = from;

    while (at < text.size && at - from < NESTED_MAX) {
        size_t quote = quote_size(text, at);

        if (quote > 0 && depth > 0) {
            at += quote;
            at += quoted_size(text, at, quote);
            quote = quote_size(text, at);
            at += quote > 0 ? quote : (at < text.size);
            continue;
        }
        if (is_at_any(text, at, "[{"))
            depth++;
        if (is_at_any(text, at, "]}") && --depth == 0)
            return at + 1 - from;
        at++;
    }
    return line_end(text, from) - from;
}

/* Whether a value without quotes goes on at this byte. */
static bool goes_on(cx_bytes text, const name *named, size_t at, bool whole_line)
{
    if (is_at_any(text, at, "\r\n") || redact_escape(text, at) > 0 || text.data[at] == '\0')
        return false;
    if (named->separator == '>')
        return text.data[at] != '<';
    if (named->quoted)
        return !is_at_any(text, at, ",}] \t");
    if (is_at_any(text, at, "\"'`"))
        return at + 1 < text.size && redact_is_word(text.data[at + 1]);
    if (whole_line)
        return true;
    if (text.data[at] == '&') { /* of a query, when another parameter follows */
        size_t next = redact_span(text, at + 1, NAME_MAX_SIZE, is_name);

        return next == 0 || !is_at_any(text, at + 1 + next, "=");
    }
    return !is_blank(text.data[at]);
}

static size_t bare_size(cx_bytes text, const name *named)
{
    bool whole_line =
        named->separator == ':' || (named->separator == '=' && named->spaced && named->leads);
    size_t at = named->value, mark;

    while (at < text.size &&
           ((mark = redact_mark_size(text, at)) > 0 || goes_on(text, named, at, whole_line)))
        at += mark > 0 ? mark : 1;
    while (at > named->value && is_blank(text.data[at - 1]))
        at--;
    return at - named->value;
}

static bool is_digits(cx_bytes text, size_t at, size_t size)
{
    for (size_t i = at; i < at + size; i++)
        if (!isdigit(text.data[i]))
            return false;
    return true;
}

/* Words that say that there is no value; and how many tokens there are. */
static bool is_no_secret(cx_bytes text, const name *named, size_t size)
{
    static const char *const words[] = {"null", "true", "false", "none", "nil", "~", "-"};

    for (size_t i = 0; i < CX_COUNT(words); i++)
        if (size == strlen(words[i]) && redact_is_at(text, named->value, words[i], true))
            return true;
    return (text.data[named->at + named->size - 1] | 0x20) == 's' &&
           is_digits(text, named->value, size);
}

static bool hit_value(cx_bytes text, const name *named, size_t from, size_t size, redact_hit *hit)
{
    *hit = (redact_hit){.keep = from - named->at, .cut = size, .kind = CX_SECRET_NAMED};
    return size > 0 && redact_mark_size(text, from) != size;
}

/* The lines below a key that are its value in YAML: deeper than the key, or dashes below it. */
static bool block(cx_bytes text, const name *named, redact_hit *hit)
{
    size_t line = line_end(text, named->value), from = 0, end = 0;

    while (line < text.size) {
        size_t start = line + 1, blanks = redact_span(text, start, SIZE_MAX, is_blank);
        size_t first = start + blanks;

        line = line_end(text, start);
        if (first >= line || text.data[first] == '\r')
            continue; /* an empty line belongs to what comes after it */
        if (blanks < named->indent ||
            (blanks == named->indent && !redact_is_at(text, first, "- ", false)))
            break;
        if (from == 0)
            from = first;
        end = line;
    }
    return from != 0 && hit_value(text, named, from, end - from, hit);
}

static bool is_block_sign(cx_bytes text, size_t at)
{
    if (!is_at_any(text, at, "|>"))
        return false;
    for (at++; at < text.size && text.data[at] != '\n'; at++)
        if (!is_space(text.data[at]) && !isdigit(text.data[at]) && !is_at_any(text, at, "+-"))
            return false;
    return true;
}

/* The value of a key that lacks one is not the next key. */
static bool is_key(cx_bytes text, size_t at, size_t size, size_t quote)
{
    name inner = {.at = at, .size = size};
    size_t after = at + size + quote_size(text, at + size);

    after += redact_span(text, after, NAME_MAX_SIZE, is_blank);
    return quote > 0 && size > 0 && size <= NAME_MAX_SIZE && is_at_any(text, after, ":=") &&
           is_secret_name(text, &inner);
}

/* `"name": "DB_PASSWORD", "value": "…"`, and the same in YAML: how containers and HTTP libraries list variables
 * and headers. */
static bool pair(cx_bytes text, size_t at, redact_hit *hit)
{
    name key = {.at = at, .size = redact_span(text, at, sizeof "name", is_name)};
    name inner, value;
    size_t from, quote, size;

    if ((key.size != 4 || !redact_is_at(text, at, "name", true)) &&
        (key.size != 3 || !redact_is_at(text, at, "key", true)))
        return false;
    look_before(text, &key);
    if (!look_after(text, &key) || key.separator == '>')
        return false;
    inner = (name){.at = key.value + quote_size(text, key.value)};
    inner.size = redact_span(text, inner.at, NAME_MAX_SIZE, is_name);
    if (!is_secret_name(text, &inner))
        return false;
    from = inner.at + inner.size;
    from += quote_size(text, from);
    size = redact_span(text, from, NAME_MAX_SIZE, is_space);
    from += size + is_at_any(text, from + size, ",");
    from += redact_span(text, from, NAME_MAX_SIZE, is_space);
    value = (name){.at = from + quote_size(text, from)};
    value.size = redact_span(text, value.at, sizeof "value", is_name);
    if (value.size != strlen("value") || !redact_is_at(text, value.at, "value", true))
        return false;
    look_before(text, &value);
    if (!look_after(text, &value) || value.value >= text.size)
        return false;
    quote = quote_size(text, value.value);
    from = value.value + quote;
    size = quote > 0 ? quoted_size(text, from, quote) : bare_size(text, &value);
    return !is_no_secret(text, &value, size) && hit_value(text, &key, from, size, hit);
}

bool redact_named(cx_bytes text, size_t at, redact_hit *hit)
{
    name named;
    size_t quote, size;

    if (is_at_any(text, at, "nNkK") && pair(text, at, hit))
        return true;
    if (!take_name(text, at, &named))
        return false;
    if (named.quoted && line_end(text, named.value) == named.value) {
        size_t next = named.value + redact_span(text, named.value, NAME_MAX_SIZE, is_space);

        if (is_at_any(text, next, "\"[{"))
            named.value = next;
    }
    if (named.value >= text.size)
        return false;
    if (named.separator == ':' && named.leads &&
        (is_at_any(text, named.value, "\r\n#") || is_block_sign(text, named.value)))
        return block(text, &named, hit);
    quote = quote_size(text, named.value);
    if (quote > 0) {
        size = quoted_size(text, named.value + quote, quote);
        return !is_key(text, named.value + quote, size, quote) &&
               hit_value(text, &named, named.value + quote, size, hit);
    }
    if (is_at_any(text, named.value, "[{")) {
        size = nested_size(text, named.value);
        hit_value(text, &named, named.value, size, hit);
        hit->quoted = true;
        return size > 2; /* an empty one is no secret */
    }
    size = bare_size(text, &named);
    if (size == 0 || is_no_secret(text, &named, size))
        return false;
    hit->quoted = false;
    if (!hit_value(text, &named, named.value, size, hit))
        return false;
    hit->quoted = named.quoted;
    return true;
}
