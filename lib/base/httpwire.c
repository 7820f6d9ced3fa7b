#include "base/httpwire.h"

#include <string.h>
#include <strings.h>

enum {
    BAD_REQUEST = 400,
    METHOD_NOT_ALLOWED = 405,
    TOO_LARGE = 413,
    EXPECTATION_FAILED = 417,
    TOO_MANY_FIELDS = 431,
    NOT_IMPLEMENTED = 501,
    VERSION_NOT_SUPPORTED = 505,
    LENGTH_DIGITS_MAX = 18, /* below 2^63 */
    SIZE_DIGITS_MAX = 15,   /* hexadecimal; below 2^60 */
};

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 9110, 5.6.2 */
static bool is_token(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++)
        if (!is_digit(*text) && !is_letter(*text) && !strchr("!#$%&'*+-.^_`|~", *text))
            return false;
    return true;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* In place. Control characters don't come out of it: no path or parameter of ours has any. */
static bool decode_percent(char *text, bool plus_is_blank)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        char c = *from;

        if (c == '%') {
            int high = hex_value(from[1]);
            int low = high < 0 ? -1 : hex_value(from[2]);

            if (low < 0)
                return false;
            c = (char)(high * 16 + low);
            from += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        if ((c >= 0 && c < ' ') || c == 0x7f)
            return false;
        *to++ = c;
    }
    *to = '\0';
    return true;
}

static int parse_query(cx_httpwire_head *head, char *query)
{
    while (query) {
        char *parameter = strsep(&query, "&");
        char *name = strsep(&parameter, "=");
        char *value = parameter ? parameter : name + strlen(name);

        if (!*name && !parameter)
            continue;
        if (head->query_count == CX_HTTPWIRE_FIELDS_MAX)
            return BAD_REQUEST;
        if (!decode_percent(name, true) || !decode_percent(value, true))
            return BAD_REQUEST;
        head->query[head->query_count++] = (cx_httpwire_field){name, value};
    }
    return 0;
}

static int parse_version(cx_httpwire_head *head, const char *version)
{
    if (strcmp(version, "HTTP/1.1") == 0)
        head->minor = 1;
    else if (strcmp(version, "HTTP/1.0") != 0)
        return strncmp(version, "HTTP/", 5) == 0 ? VERSION_NOT_SUPPORTED : BAD_REQUEST;
    head->keep_alive = head->minor == 1; /* 1.0 had it as an extension, which nobody needs */
    return 0;
}

static int parse_method(cx_httpwire_head *head, const char *method)
{
    if (!is_token(method))
        return BAD_REQUEST;
    for (size_t i = 0; i < CX_COUNT(methods); i++)
        if (strcmp(method, methods[i]) == 0)
            head->method = methods[i];
    return head->method ? 0 : METHOD_NOT_ALLOWED;
}

static int parse_request_line(cx_httpwire_head *head, char *line)
{
    char *method = strsep(&line, " ");
    char *target = strsep(&line, " ");
    int status;

    if (!target || !line || strchr(line, ' '))
        return BAD_REQUEST;
    if ((status = parse_version(head, line)) != 0 || (status = parse_method(head, method)) != 0)
        return status;
    for (const char *c = target; *c; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return BAD_REQUEST;
    if (*target != '/' || strchr(target, '#'))
        return BAD_REQUEST;
    head->path = strsep(&target, "?");
    if (!decode_percent((char *)head->path, false))
        return BAD_REQUEST;
    return parse_query(head, target);
}

static bool is_field_value(const char *value)
{
    for (; *value; value++)
        if ((*value >= 0 && *value < ' ' && *value != '\t') || *value == 0x7f)
            return false;
    return true;
}

static int parse_field(cx_httpwire_head *head, char *line)
{
    char *name = strsep(&line, ":");
    size_t size;

    if (!line || !is_token(name))
        return BAD_REQUEST;
    line += strspn(line, " \t");
    size = strlen(line);
    while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\t'))
        line[--size] = '\0';
    if (!is_field_value(line))
        return BAD_REQUEST;
    if (head->header_count == CX_HTTPWIRE_FIELDS_MAX)
        return TOO_MANY_FIELDS;
    head->headers[head->header_count++] = (cx_httpwire_field){name, line};
    return 0;
}

/* The header's only value: false when it is there twice. */
static bool find_single(const cx_httpwire_head *head, const char *name, const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < head->header_count; i++) {
        if (strcasecmp(head->headers[i].name, name) != 0)
            continue;
        if (*value)
            return false;
        *value = head->headers[i].value;
    }
    return true;
}

static bool list_has(const char *list, const char *word)
{
    size_t size = strlen(word);

    while (*list) {
        size_t end;

        list += strspn(list, ", \t");
        end = strcspn(list, ", \t");
        if (end == size && strncasecmp(list, word, size) == 0)
            return true;
        list += end;
    }
    return false;
}

static bool parse_length(const char *text, uint64_t *length)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > LENGTH_DIGITS_MAX || text[digits])
        return false;
    *length = 0;
    for (; *text; text++)
        *length = *length * 10 + (uint64_t)(*text - '0');
    return true;
}

static int judge_framing(cx_httpwire_head *head)
{
    const char *host, *length, *encoding, *expect;

    if (!find_single(head, "Host", &host) || !find_single(head, "Content-Length", &length) ||
        !find_single(head, "Transfer-Encoding", &encoding) || !find_single(head, "Expect", &expect))
        return BAD_REQUEST;
    if ((!host && head->minor == 1) || (length && encoding) || (encoding && head->minor == 0))
        return BAD_REQUEST;
    if (length && !parse_length(length, &head->content_length))
        return BAD_REQUEST;
    if (encoding && strcasecmp(encoding, "chunked") != 0)
        return NOT_IMPLEMENTED;
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return EXPECTATION_FAILED;
    head->is_chunked = encoding != NULL;
    head->wants_continue = expect && head->minor == 1;
    return 0;
}

static void judge_connection(cx_httpwire_head *head)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (strcasecmp(head->headers[i].name, "Connection") != 0)
            continue;
        if (list_has(head->headers[i].value, "close")) {
            head->keep_alive = false;
            return;
        }
    }
}

/* Cuts the line before CRLF out of *rest; NULL when a CR or LF stands elsewhere. */
static char *take_line(char **rest)
{
    char *line = *rest;
    size_t size = strcspn(line, "\r\n");

    if (line[size] != '\r' || line[size + 1] != '\n')
        return NULL;
    line[size] = '\0';
    *rest = line + size + 2;
    return line;
}

static int parse(cx_httpwire_head *head)
{
    char *rest = head->text;
    char *line = take_line(&rest);
    int status = line ? parse_request_line(head, line) : BAD_REQUEST;

    while (status == 0) {
        line = take_line(&rest);
        if (!line)
            return BAD_REQUEST;
        if (!*line)
            break;
        status = parse_field(head, line);
    }
    if (status != 0)
        return status;
    if (*rest)
        return BAD_REQUEST;
    judge_connection(head);
    return judge_framing(head);
}

int cx_httpwire_parse(cx_bytes text, cx_httpwire_head *head)
{
    int status = BAD_REQUEST;

    *head = (cx_httpwire_head){0};
    if (text.size > 0 && !memchr(text.data, '\0', text.size)) {
        head->text = cx_strndup((const char *)text.data, text.size);
        status = parse(head);
    }
    if (status != 0)
        cx_httpwire_head_free(head);
    return status;
}

void cx_httpwire_head_free(cx_httpwire_head *head)
{
    cx_free(&head->text);
    *head = (cx_httpwire_head){0};
}

const char *cx_httpwire_header(const cx_httpwire_head *head, const char *name)
{
    for (size_t i = 0; i < head->header_count; i++)
        if (strcasecmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    return NULL;
}

const char *cx_httpwire_query(const cx_httpwire_head *head, const char *name)
{
    for (size_t i = 0; i < head->query_count; i++)
        if (strcmp(head->query[i].name, name) == 0)
            return head->query[i].value;
    return NULL;
}

/* True when the line is whole (without its CRLF, in chunked->line). */
static bool collect_line(cx_httpwire_chunked *chunked, cx_bytes *input, int *status)
{
    while (input->size > 0) {
        char c = (char)input->data[0];

        *input = (cx_bytes){input->data + 1, input->size - 1};
        if (c == '\n') {
            if (chunked->line_size == 0 || chunked->line[chunked->line_size - 1] != '\r')
                break;
            chunked->line[chunked->line_size - 1] = '\0';
            chunked->line_size = 0;
            return true;
        }
        if (c == '\0' || chunked->line_size == sizeof(chunked->line) - 1)
            break;
        if (chunked->line_size > 0 && chunked->line[chunked->line_size - 1] == '\r')
            break;
        chunked->line[chunked->line_size++] = c;
        if (input->size == 0)
            return false;
    }
    *status = BAD_REQUEST;
    return false;
}

/* "1f3" or "1f3;extension". Too much is refused as soon as it is announced. */
static int parse_size(cx_httpwire_chunked *chunked, size_t body_left)
{
    size_t digits = strspn(chunked->line, "0123456789abcdefABCDEF");
    const char *end = chunked->line + digits;

    end += strspn(end, " \t");
    if (digits == 0 || digits > SIZE_DIGITS_MAX || (*end && *end != ';'))
        return BAD_REQUEST;
    chunked->left = 0;
    for (size_t i = 0; i < digits; i++)
        chunked->left = chunked->left * 16 + (uint64_t)hex_value(chunked->line[i]);
    if (chunked->left > body_left)
        return TOO_LARGE;
    chunked->state = chunked->left > 0 ? CX_CHUNKED_DATA : CX_CHUNKED_TRAILER;
    return 0;
}

static void take_data(cx_httpwire_chunked *chunked, cx_bytes *input, cx_buffer *body)
{
    size_t size = chunked->left < input->size ? (size_t)chunked->left : input->size;

    cx_buffer_add(body, input->data, size);
    *input = (cx_bytes){input->data + size, input->size - size};
    chunked->left -= size;
    if (chunked->left == 0)
        chunked->state = CX_CHUNKED_DATA_END;
}

/* What a chunk's data, and the trailer's lines, are followed by. */
static int end_line(cx_httpwire_chunked *chunked)
{
    if (chunked->state == CX_CHUNKED_DATA_END) {
        chunked->state = CX_CHUNKED_SIZE;
        return chunked->line[0] ? BAD_REQUEST : 0;
    }
    if (!chunked->line[0])
        chunked->state = CX_CHUNKED_DONE;
    else if (++chunked->trailers > CX_HTTPWIRE_TRAILERS_MAX)
        return BAD_REQUEST;
    return 0;
}

int cx_httpwire_chunked_take(cx_httpwire_chunked *chunked, cx_bytes *input, size_t body_max,
                             cx_buffer *body)
{
    int status = 0;

    while (status == 0 && input->size > 0 && chunked->state != CX_CHUNKED_DONE) {
        if (chunked->state == CX_CHUNKED_DATA)
            take_data(chunked, input, body);
        else if (collect_line(chunked, input, &status))
            status = chunked->state == CX_CHUNKED_SIZE ? parse_size(chunked, body_max - body->size)
                                                       : end_line(chunked);
    }
    return status;
}
