/* Obfuscation: addresses and host names become words that say nothing, the same one for the same name
 * everywhere in a bundle, so that who reads it still sees what belongs together.
 *
 * IPv4 and IPv6 addresses are found by their form (ports stay); 0.0.0.0, 127.0.0.1, :: and ::1 stay.
 * Host names are those that the caller knows, and what is below them. The map from what was to what is
 * stays with who made the bundle.
 *
 * Pure: no clock, no I/O. */
#pragma once

#include "base/json.h"

enum { BUNDLE_NAMES_MAX = 10000 }; /* different names; beyond it all become `more` */

typedef struct bundle_obfuscator bundle_obfuscator;

bundle_obfuscator *bundle_obfuscator_open(void);
void bundle_obfuscator_close(bundle_obfuscator **owner);
/* A host's name; an address, a name of one letter and `localhost` are passed over. */
void bundle_obfuscator_know(bundle_obfuscator *obfuscator, const char *host);
void bundle_obfuscate(bundle_obfuscator *obfuscator, cx_bytes text, cx_buffer *out);
/* {"10.0.0.1":"address-1","db.example":"host-1"}; new reference. */
json_t *bundle_obfuscator_map(const bundle_obfuscator *obfuscator);
