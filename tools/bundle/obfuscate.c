#include "obfuscate.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

enum { ADDRESS_TEXT_MAX = 45 };

struct bundle_obfuscator {
    json_t *map;
    cx_list hosts;
    size_t addresses, names;
};

static bool is_of_address(uint8_t byte)
{
    return byte != '\0' && strchr("0123456789abcdefABCDEF.:", byte) != NULL;
}

static bool is_of_name(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '_';
}

/* The word that stands for it. */
static const char *word_for(bundle_obfuscator *obfuscator, const char *text, bool is_address)
{
    json_t *known = json_object_get(obfuscator->map, text);
    CX_AUTO(cx_free) char *word = NULL;

    if (known != NULL)
        return json_string_value(known);
    if (obfuscator->addresses + obfuscator->names >= BUNDLE_NAMES_MAX)
        return is_address ? "address-more" : "host-more";
    word = is_address ? cx_format("address-%zu", ++obfuscator->addresses)
                      : cx_format("host-%zu", ++obfuscator->names);
    json_object_set_new(obfuscator->map, text, json_string(word));
    return json_string_value(json_object_get(obfuscator->map, text));
}

static bool is_everybodys(const char *address)
{
    static const char *const same[] = {"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1"};

    for (size_t i = 0; i < CX_COUNT(same); i++)
        if (strcmp(address, same[i]) == 0)
            return true;
    return false;
}

/* The longest address that the text begins with, as text; its size, or 0. A port or a full stop after
 * it is not part of it. */
static size_t take_address(cx_bytes text, size_t at, char address[ADDRESS_TEXT_MAX + 1])
{
    uint8_t binary[16];
    size_t size = 0;

    while (size < ADDRESS_TEXT_MAX && at + size < text.size && is_of_address(text.data[at + size]))
        size++;
    for (; size >= 2; size--) {
        if (at + size < text.size && is_of_name(text.data[at + size]))
            continue; /* a word that only begins like one */
        memcpy(address, text.data + at, size);
        address[size] = '\0';
        if (inet_pton(AF_INET, address, binary) == 1 || inet_pton(AF_INET6, address, binary) == 1)
            return size;
    }
    return 0;
}

/* A known host that stands there as a whole word; domains below it count too. */
static size_t take_host(const bundle_obfuscator *obfuscator, cx_bytes text, size_t at)
{
    size_t longest = 0;

    for (size_t i = 0; i < obfuscator->hosts.count; i++) {
        const char *host = obfuscator->hosts.items[i];
        size_t size = strlen(host);

        if (size > longest && text.size - at >= size &&
            strncasecmp((const char *)text.data + at, host, size) == 0 &&
            (at + size == text.size || !is_of_name(text.data[at + size])))
            longest = size;
    }
    return longest;
}

bundle_obfuscator *bundle_obfuscator_open(void)
{
    bundle_obfuscator *obfuscator = cx_alloc(1, sizeof *obfuscator);

    obfuscator->map = json_object();
    return obfuscator;
}

void bundle_obfuscator_close(bundle_obfuscator **owner)
{
    if (*owner == NULL)
        return;
    cx_json_free(&(*owner)->map);
    cx_list_free(&(*owner)->hosts);
    cx_free(owner);
}

void bundle_obfuscator_know(bundle_obfuscator *obfuscator, const char *host)
{
    uint8_t binary[16];

    if (strlen(host) > 1 && strcmp(host, "localhost") != 0 &&
        inet_pton(AF_INET, host, binary) != 1 && inet_pton(AF_INET6, host, binary) != 1 &&
        !cx_list_has(&obfuscator->hosts, host) && obfuscator->hosts.count < BUNDLE_NAMES_MAX)
        cx_list_add(&obfuscator->hosts, host);
}

void bundle_obfuscate(bundle_obfuscator *obfuscator, cx_bytes text, cx_buffer *out)
{
    bool begins = true;
    size_t at = 0;

    while (at < text.size) {
        char address[ADDRESS_TEXT_MAX + 1];
        size_t size = begins ? take_address(text, at, address) : 0;

        if (size > 0 && !is_everybodys(address)) {
            cx_buffer_add_text(out, word_for(obfuscator, address, true));
        } else if (size == 0 && begins && (size = take_host(obfuscator, text, at)) > 0) {
            CX_AUTO(cx_free) char *host = cx_strndup((const char *)text.data + at, size);

            for (char *each = host; *each != '\0'; each++)
                *each = (char)tolower((unsigned char)*each);
            cx_buffer_add_text(out, word_for(obfuscator, host, false));
        } else {
            size = size > 0 ? size : 1;
            cx_buffer_add(out, text.data + at, size);
        }
        at += size;
        /* After a colon may stand an address (`addr:10.0.0.1`), after a full stop the rest of one. */
        begins = !is_of_name(text.data[at - 1]) && text.data[at - 1] != '.';
        if (at >= 2 && text.data[at - 2] == '\\')
            begins = true; /* \n of a JSON text */
    }
}

json_t *bundle_obfuscator_map(const bundle_obfuscator *obfuscator)
{
    return json_incref(obfuscator->map);
}
