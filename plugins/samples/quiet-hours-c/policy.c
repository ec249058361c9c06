// Rejects `started` announces of listed torrents between two times of day, and tells the client
// when to come back.

#include "announce_policy.h"
#include "karuta.h"

#include <time.h>

enum { DAY = 24 * 60 * 60 };

static struct {
  karuta_info_hash *torrents;
  size_t count;
  bool has_set;
  uint32_t set;
  int from, to; // seconds since midnight in UTC
} policy;

static bool time_of_day(const char *text, int *seconds) {
  const char *digits = "0123456789";
  if (strlen(text) != 5 || text[2] != ':') return false;
  for (int at = 0; at < 5; at++) {
    if (at != 2 && !strchr(digits, text[at])) return false;
  }
  int hours = (text[0] - '0') * 10 + text[1] - '0', minutes = (text[3] - '0') * 10 + text[4] - '0';
  *seconds = hours * 3600 + minutes * 60;
  return hours < 24 && minutes < 60;
}

static bool read_torrents(karuta_json *json, announce_policy_string_t *err) {
  if (!karuta_json_take(json, '[')) {
    karuta_error(err, "torrents: expected a list");
    return false;
  }
  while (karuta_json_more(json)) {
    char text[65];
    policy.torrents = realloc(policy.torrents, (policy.count + 1) * sizeof *policy.torrents);
    if (!karuta_json_text(json, text, sizeof text) || !karuta_parse_info_hash(text, &policy.torrents[policy.count])) {
      karuta_error(err, "torrents[%zu]: must be 40 hexadecimal digits", policy.count);
      return false;
    }
    policy.count++;
  }
  return true;
}

static bool open_set(karuta_json *json, announce_policy_string_t *err) {
  char name[128];
  if (!karuta_json_text(json, name, sizeof name)) {
    karuta_error(err, "torrents_from: expected a text");
    return false;
  }
  announce_policy_string_t reason, text = KARUTA_TEXT(announce_policy_string_t, name);
  policy.has_set = karuta_policy_sets_open(&text, &policy.set, &reason);
  if (!policy.has_set) karuta_error(err, "torrents_from: %.*s", (int)reason.len, (char *)reason.ptr);
  return policy.has_set;
}

static bool read_time(karuta_json *json, const char *key, int *seconds, announce_policy_string_t *err) {
  char text[16];
  if (karuta_json_text(json, text, sizeof text) && time_of_day(text, seconds)) return true;
  karuta_error(err, "%s: must be a time of day such as 22:00", key);
  return false;
}

bool exports_karuta_policy_lifecycle_init(exports_karuta_policy_lifecycle_context_t *context, announce_policy_string_t *err) {
  karuta_json json = KARUTA_JSON(context->config);
  policy.from = policy.to = -1;
  if (karuta_json_take(&json, '{')) {
    while (karuta_json_more(&json)) {
      char key[32] = "";
      bool known = karuta_json_text(&json, key, sizeof key), read = false;
      if (known && !strcmp(key, "torrents")) read = read_torrents(&json, err);
      else if (known && !strcmp(key, "torrents_from")) read = open_set(&json, err);
      else if (known && !strcmp(key, "from")) read = read_time(&json, key, &policy.from, err);
      else if (known && !strcmp(key, "to")) read = read_time(&json, key, &policy.to, err);
      else karuta_error(err, "%s: unknown key, expected one of torrents, torrents_from, from, to", key);
      if (!read) return false;
    }
  }
  if (policy.from < 0 || policy.to < 0) {
    karuta_error(err, "missing key `%s`", policy.from < 0 ? "from" : "to");
    return false;
  }
  if (policy.from == policy.to) {
    karuta_error(err, "to: must differ from `from`");
    return false;
  }
  return true;
}

static bool is_listed(karuta_info_hash *hash) {
  for (size_t at = 0; at < policy.count; at++) {
    if (karuta_same_info_hash(&policy.torrents[at], hash)) return true;
  }
  return policy.has_set && karuta_policy_sets_has_info_hash(policy.set, hash);
}

// Returns the seconds from one time of day to another.
static int until(int now, int then) { return (then - now + DAY) % DAY; }

// Remembers the verdict for one second less, because the current one has begun.
static void remember(int seconds) {
  if (seconds > 1) {
    karuta_policy_response_remember(KARUTA_POLICY_RESPONSE_SCOPE_INFO_HASH | KARUTA_POLICY_RESPONSE_SCOPE_EVENT, (uint32_t)seconds - 1);
  }
}

karuta_policy_types_verdict_t exports_karuta_policy_announce_filter_on_announce(karuta_policy_types_announce_t *announce) {
  if (announce->event != KARUTA_POLICY_TYPES_EVENT_STARTED) return KARUTA_POLICY_TYPES_VERDICT_NEXT;
  int now = (int)(time(NULL) % DAY), quiet = until(now, policy.to);
  bool is_quiet = quiet != 0 && quiet <= until(policy.from, policy.to);
  if (!is_quiet || !is_listed(&announce->info_hash)) {
    remember(is_quiet ? quiet : until(now, policy.from));
    return KARUTA_POLICY_TYPES_VERDICT_NEXT;
  }
  uint32_t minutes = (uint32_t)(quiet + 59) / 60;
  karuta_policy_response_retry_in(&minutes);
  // The client gets whole minutes, rounded up. Remember only while they stay the same.
  remember(quiet - ((int)minutes - 1) * 60);
  char reason[64];
  snprintf(reason, sizeof reason, "quiet hours until %02d:%02d UTC", policy.to / 3600, policy.to / 60 % 60);
  announce_policy_string_t text = KARUTA_TEXT(announce_policy_string_t, reason);
  karuta_policy_response_fail(&text);
  return KARUTA_POLICY_TYPES_VERDICT_REJECT;
}
