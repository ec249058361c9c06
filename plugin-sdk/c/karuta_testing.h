// A host for tests, which the machine's own compiler builds instead of a component: see test/policy.c
// of plugins/samples/quiet-hours-c. A test includes, in this order, the generated header, karuta.h, this
// header and the policy's source, and calls the policy's functions:
//
//     #define KARUTA_WORLD announce_policy
//     #include "announce_policy.h"
//     #include "karuta.h"
//     #include "karuta_testing.h"
//     #include "../policy.c"
//
// The policy asks `karuta_host` and changes it. A test begins by setting it:
// `karuta_host = (karuta_test_host){.credential = "secret"};`. What is not set is empty or 0; for a client
// that did not say what is left, set `.left = KARUTA_UNSAID`. Lists end at a NULL name. If the policy calls
// a function of the host that is not below, the test defines it.
//
// Texts are cut as the host cuts them. None of the host's other checks is made: intervals are not bounded,
// nothing expires, and the key-values hold 64 entries of up to 256 bytes. `karuta plugin test` runs a
// component on the real host.
#ifndef KARUTA_TESTING_H
#define KARUTA_TESTING_H

#include <inttypes.h>
#include <time.h>

#define KARUTA_JOIN(a, b) a##_##b
#define KARUTA_TYPE_OF(world, type) KARUTA_JOIN(world, type)
typedef KARUTA_TYPE_OF(KARUTA_WORLD, string_t) karuta_test_string;
typedef KARUTA_TYPE_OF(KARUTA_WORLD, list_u8_t) karuta_test_bytes;

typedef struct karuta_test_pair {
  const char *name, *value;
} karuta_test_pair;

// A data source: its name and format, and its lines.
typedef struct karuta_test_data {
  const char *name, *format, *lines[17];
} karuta_test_data;

typedef struct karuta_test_host {
  // what the policy asks for
  karuta_test_pair query[17], path[17], headers[17], attributes[17];
  const char *credential, *peer_id;
  uint64_t left, uploaded, downloaded;
  karuta_policy_types_address_t client_address;
  karuta_policy_swarm_stats_t swarm;
  karuta_test_data data[5];
  time_t now;
  // what it changed; the last call counts
  char failure[1025], warning[1025], log[1025];
  bool has_retry, retry_never, hidden;
  uint32_t retry_in_minutes, interval_seconds, min_interval_seconds, num_want;
  karuta_policy_types_address_t added;
  uint16_t added_port;
  uint32_t added_count;
  char attribute_name[1025], attribute_value[1025];
  uint32_t remembered_scope, remembered_seconds;
  uint64_t label;
  struct {
    char key[256], value[256];
    size_t key_length, value_length;
    bool used;
  } values[64];
} karuta_test_host;

static karuta_test_host karuta_host;

static inline time_t karuta_test_time(time_t *at) {
  if (at) *at = karuta_host.now;
  return karuta_host.now;
}
#define time karuta_test_time

// Texts

static inline void karuta_test_keep(char kept[1025], const karuta_test_string *text) {
  size_t length = text->len < 1024 ? text->len : 1024;
  memcpy(kept, text->ptr, length);
  kept[length] = 0;
}

// Creates a text for the policy, which frees it.
static inline bool karuta_test_give(const char *text, karuta_test_string *ret) {
  if (!text) return false;
  *ret = KARUTA_TEXT(karuta_test_string, text);
  ret->ptr = malloc(ret->len + 1);
  memcpy(ret->ptr, text, ret->len + 1);
  return true;
}

static inline bool karuta_test_is(const char *text, const karuta_test_string *other) {
  return strlen(text) == other->len && !memcmp(text, other->ptr, other->len);
}

static inline const char *karuta_test_find(const karuta_test_pair *pairs, const karuta_test_string *name) {
  for (; pairs->name; pairs++) {
    if (karuta_test_is(pairs->name, name)) return pairs->value;
  }
  return NULL;
}

// Request

void karuta_policy_request_peer_id(karuta_test_bytes *ret) {
  karuta_test_string text = {0};
  karuta_test_give(karuta_host.peer_id ? karuta_host.peer_id : "-TR4050-abcdefghijkl", &text);
  *ret = (karuta_test_bytes){text.ptr, text.len};
}
uint64_t karuta_policy_request_left(void) { return karuta_host.left; }
uint64_t karuta_policy_request_uploaded(void) { return karuta_host.uploaded; }
uint64_t karuta_policy_request_downloaded(void) { return karuta_host.downloaded; }
bool karuta_policy_request_query_param(karuta_test_string *name, karuta_test_string *ret) {
  return karuta_test_give(karuta_test_find(karuta_host.query, name), ret);
}
bool karuta_policy_request_path_param(karuta_test_string *name, karuta_test_string *ret) {
  return karuta_test_give(karuta_test_find(karuta_host.path, name), ret);
}
bool karuta_policy_request_header(karuta_test_string *name, karuta_test_string *ret) {
  return karuta_test_give(karuta_test_find(karuta_host.headers, name), ret);
}
bool karuta_policy_request_attribute(karuta_test_string *name, karuta_test_string *ret) {
  return karuta_test_give(karuta_test_find(karuta_host.attributes, name), ret);
}
bool karuta_policy_request_credential(karuta_test_string *ret) { return karuta_test_give(karuta_host.credential, ret); }
void karuta_policy_request_client_address(karuta_policy_types_address_t *ret) { *ret = karuta_host.client_address; }

// Response

void karuta_policy_response_fail(karuta_test_string *reason) { karuta_test_keep(karuta_host.failure, reason); }
void karuta_policy_response_warn(karuta_test_string *message) { karuta_test_keep(karuta_host.warning, message); }
void karuta_policy_response_retry_in(uint32_t *minutes) {
  karuta_host.has_retry = minutes;
  karuta_host.retry_never = !minutes;
  karuta_host.retry_in_minutes = minutes ? *minutes : 0;
}
uint32_t karuta_policy_response_interval(void) { return karuta_host.interval_seconds; }
uint32_t karuta_policy_response_min_interval(void) { return karuta_host.min_interval_seconds; }
void karuta_policy_response_set_interval(uint32_t seconds) { karuta_host.interval_seconds = seconds; }
void karuta_policy_response_set_min_interval(uint32_t seconds) { karuta_host.min_interval_seconds = seconds; }
void karuta_policy_response_set_num_want(uint32_t count) { karuta_host.num_want = count; }
void karuta_policy_response_add_peer(karuta_policy_response_address_t *address, uint16_t port, karuta_policy_response_place_t place) {
  (void)place;
  karuta_host.added = *address;
  karuta_host.added_port = port;
  karuta_host.added_count++;
}
void karuta_policy_response_set_attribute(karuta_test_string *name, karuta_test_string *value) {
  karuta_test_keep(karuta_host.attribute_name, name);
  karuta_test_keep(karuta_host.attribute_value, value);
}
void karuta_policy_response_hide(void) { karuta_host.hidden = true; }
void karuta_policy_response_remember(karuta_policy_response_scope_t scope, uint32_t seconds) {
  karuta_host.remembered_scope = scope;
  karuta_host.remembered_seconds = seconds;
}

// Swarm, locality

void karuta_policy_swarm_current(karuta_policy_swarm_stats_t *ret) { *ret = karuta_host.swarm; }
void karuta_policy_locality_assign(uint64_t label, uint32_t plan) {
  (void)plan;
  karuta_host.label = label;
}

// Sets

bool karuta_policy_sets_open(karuta_test_string *name, uint32_t *ret, karuta_test_string *err) {
  for (*ret = 0; karuta_host.data[*ret].name; ++*ret) {
    if (karuta_test_is(karuta_host.data[*ret].name, name)) return true;
  }
  karuta_error(err, "there is no data source `%.*s`", (int)name->len, (char *)name->ptr);
  return false;
}
bool karuta_policy_sets_has_string(uint32_t set, karuta_test_string *value) {
  const char **lines = karuta_host.data[set].lines;
  for (int at = 0; lines[at]; at++) {
    if (karuta_test_is(lines[at], value)) return true;
  }
  return false;
}
uint64_t karuta_policy_sets_size(uint32_t set) {
  uint64_t size = 0;
  while (karuta_host.data[set].lines[size]) size++;
  return size;
}
void karuta_policy_sets_refresh(karuta_test_string *name) { (void)name; }
bool karuta_policy_sets_has_info_hash(uint32_t set, karuta_policy_sets_info_hash_t *hash) {
  char text[41];
  snprintf(text, sizeof text, "%08" PRIx32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32, hash->f0, hash->f1,
           hash->f2, hash->f3, hash->f4);
  karuta_test_string line = KARUTA_TEXT(karuta_test_string, text);
  return karuta_policy_sets_has_string(set, &line);
}

// Key-values

// Returns the place of a key. If it has none, returns a new place if `make` is set, or else -1.
static inline int karuta_test_place(const karuta_test_bytes *key, bool make) {
  int free_place = -1;
  for (int at = 0; at < 64; at++) {
    bool used = karuta_host.values[at].used;
    if (!used && free_place < 0) free_place = at;
    if (used && karuta_host.values[at].key_length == key->len && !memcmp(karuta_host.values[at].key, key->ptr, key->len)) {
      return at;
    }
  }
  if (!make || free_place < 0 || key->len > sizeof karuta_host.values[0].key) return -1;
  memcpy(karuta_host.values[free_place].key, key->ptr, key->len);
  karuta_host.values[free_place].key_length = key->len;
  karuta_host.values[free_place].value_length = 0;
  karuta_host.values[free_place].used = true;
  return free_place;
}
bool karuta_policy_keyvalue_get(karuta_test_bytes *key, karuta_test_bytes *ret) {
  int at = karuta_test_place(key, false);
  if (at < 0) return false;
  ret->len = karuta_host.values[at].value_length;
  ret->ptr = malloc(ret->len + 1);
  memcpy(ret->ptr, karuta_host.values[at].value, ret->len);
  return true;
}
bool karuta_policy_keyvalue_put(karuta_test_bytes *key, karuta_test_bytes *value, uint32_t *ttl, karuta_test_string *err) {
  (void)ttl;
  int at = value->len > sizeof karuta_host.values[0].value ? -1 : karuta_test_place(key, true);
  if (at < 0) {
    karuta_error(err, "the host for tests has no room for it");
    return false;
  }
  memcpy(karuta_host.values[at].value, value->ptr, value->len);
  karuta_host.values[at].value_length = value->len;
  return true;
}
void karuta_policy_keyvalue_delete(karuta_test_bytes *key) {
  int at = karuta_test_place(key, false);
  if (at >= 0) karuta_host.values[at].used = false;
}
bool karuta_policy_keyvalue_increment(karuta_test_bytes *key, int64_t delta, uint32_t *ttl, int64_t *ret, karuta_test_string *err) {
  char digits[32] = "0";
  int at = karuta_test_place(key, false);
  if (at >= 0) snprintf(digits, sizeof digits, "%.*s", (int)karuta_host.values[at].value_length, karuta_host.values[at].value);
  *ret = strtoll(digits, NULL, 10) + delta;
  int length = snprintf(digits, sizeof digits, "%" PRId64, *ret);
  karuta_test_bytes value = {(uint8_t *)digits, (size_t)length};
  return karuta_policy_keyvalue_put(key, &value, ttl, err);
}

// Log

bool karuta_policy_log_enabled(karuta_policy_log_level_t level) {
  (void)level;
  return true;
}
void karuta_policy_log_write(karuta_policy_log_level_t level, karuta_test_string *message) {
  (void)level;
  karuta_test_keep(karuta_host.log, message);
}

#endif
