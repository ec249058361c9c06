// Tests the policy on the host for tests, karuta_testing.h. Build it natively, with the folder
// karuta in the include path.

#define KARUTA_WORLD announce_policy
#include "announce_policy.h"
#include "karuta.h"
#include "karuta_testing.h"

#include "../policy.c"

#include <assert.h>

int main(void) {
  const char *config = "{\"from\": \"22:00\", \"to\": \"06:00\", \"torrents_from\": \"listed\"}";
  const time_t night = 23 * 3600, day = 6 * 3600;
  karuta_host = (karuta_test_host){
      .data = {{"listed", "info-hashes", {"b94a8fe5ccb19ba61c4c0873d391e987982fbbd3"}}},
      .now = night,
  };
  exports_karuta_policy_lifecycle_context_t context = {.config = KARUTA_TEXT(announce_policy_string_t, config)};
  announce_policy_string_t error;
  assert(exports_karuta_policy_lifecycle_init(&context, &error));

  karuta_policy_types_announce_t start = {.event = KARUTA_POLICY_TYPES_EVENT_STARTED};
  assert(karuta_parse_info_hash("b94a8fe5ccb19ba61c4c0873d391e987982fbbd3", &start.info_hash));
  assert(exports_karuta_policy_announce_filter_on_announce(&start) == KARUTA_POLICY_TYPES_VERDICT_REJECT);
  assert(!strcmp(karuta_host.failure, "quiet hours until 06:00 UTC"));
  assert(karuta_host.has_retry && karuta_host.retry_in_minutes == 420);

  karuta_host.now = day;
  assert(exports_karuta_policy_announce_filter_on_announce(&start) == KARUTA_POLICY_TYPES_VERDICT_NEXT);
  karuta_host.now = night;
  start.info_hash.f0++;
  assert(exports_karuta_policy_announce_filter_on_announce(&start) == KARUTA_POLICY_TYPES_VERDICT_NEXT);
}
