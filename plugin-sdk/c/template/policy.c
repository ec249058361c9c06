// Rejects announces of ports below a lowest one.

#include "announce_policy.h"
#include "karuta.h"

static uint64_t lowest;

bool exports_karuta_policy_lifecycle_init(exports_karuta_policy_lifecycle_context_t *context, announce_policy_string_t *err) {
  karuta_json json = KARUTA_JSON(context->config);
  bool found = false;
  if (karuta_json_take(&json, '{')) {
    while (karuta_json_more(&json)) {
      char key[32] = "";
      bool known = karuta_json_text(&json, key, sizeof key) && !strcmp(key, "lowest_port");
      if (!known) {
        karuta_error(err, "%s: unknown key, expected lowest_port", key);
        return false;
      }
      if (!karuta_json_number(&json, &lowest)) {
        karuta_error(err, "lowest_port: expected a whole number");
        return false;
      }
      found = true;
    }
  }
  if (!found) karuta_error(err, "missing key `lowest_port`");
  return found;
}

karuta_policy_types_verdict_t exports_karuta_policy_announce_filter_on_announce(karuta_policy_types_announce_t *announce) {
  if (announce->port >= lowest) return KARUTA_POLICY_TYPES_VERDICT_NEXT;
  announce_policy_string_t reason = KARUTA_TEXT(announce_policy_string_t, "port not allowed");
  karuta_policy_response_fail(&reason);
  return KARUTA_POLICY_TYPES_VERDICT_REJECT;
}
