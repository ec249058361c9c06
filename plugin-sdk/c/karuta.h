// The SDK for policies of the Karuta tracker in C. Include it after the header that `karuta plugin build`
// generates for the policy's world. Everything is static; what a policy does not call is not in its
// component.
//
// Ownership, as in the generated functions: the policy frees the texts and lists that the host returns, and
// keeps those that it passes to the host. An error that a hook returns is freed by the bindings, and so
// must come from malloc; karuta_error does that.
//
// Times are numbers in the unit that wit/policy.wit names: karuta_policy_response_retry_in takes minutes,
// set_interval, remember and the ttl of key-values take seconds. An option is a pointer that may be NULL,
// or a result of false; for what is left to download there is karuta_left.
#ifndef KARUTA_H
#define KARUTA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Info-hashes

typedef karuta_policy_types_info_hash_t karuta_info_hash;

static inline int karuta_hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// Parses 40 hexadecimal digits of either case, or the 64 of a v2 hash (BEP 52), of which the first 40
// count; false for anything else.
static inline bool karuta_parse_info_hash(const char *text, karuta_info_hash *hash) {
  uint32_t words[5] = {0};
  size_t length = strlen(text);
  if (length != 40 && length != 64) return false;
  for (size_t at = 0; at < length; at++) {
    int digit = karuta_hex_digit(text[at]);
    if (digit < 0) return false;
    if (at < 40) words[at / 8] = words[at / 8] << 4 | (uint32_t)digit;
  }
  *hash = (karuta_info_hash){words[0], words[1], words[2], words[3], words[4]};
  return true;
}

static inline bool karuta_same_info_hash(const karuta_info_hash *a, const karuta_info_hash *b) {
  return memcmp(a, b, sizeof *a) == 0;
}

// Addresses

// Writes an address as text: `192.0.2.1`, or the eight groups of an IPv6 address.
static inline void karuta_write_address(const karuta_policy_types_address_t *address, char text[40]) {
  uint32_t words[4] = {address->f0, address->f1, address->f2, address->f3};
  if (words[0] == 0 && words[1] == 0 && words[2] == 0xffff) {
    uint32_t ipv4 = words[3];
    snprintf(text, 40, "%u.%u.%u.%u", ipv4 >> 24, ipv4 >> 16 & 255, ipv4 >> 8 & 255, ipv4 & 255);
    return;
  }
  for (int at = 0; at < 4; at++) {
    snprintf(text + at * 10, 11, at < 3 ? "%04x:%04x:" : "%04x:%04x", words[at] >> 16, words[at] & 0xffff);
  }
}

// Encodes the IPv4 address a.b.c.d for the contract.
static inline karuta_policy_types_address_t karuta_ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  uint32_t word = (uint32_t)a << 24 | (uint32_t)b << 16 | (uint32_t)c << 8 | d;
  return (karuta_policy_types_address_t){0, 0, 0xffff, word};
}

// Requests

// What `left` of the request or of an outcome is if the client did not say.
#define KARUTA_UNSAID UINT64_MAX

// Gets how many bytes are left to download; false if the client did not say.
static inline bool karuta_left(uint64_t *left) {
  *left = karuta_policy_request_left();
  return *left != KARUTA_UNSAID;
}

// Texts, verdicts

// Creates a text for the host, which the policy keeps, of any type that has `ptr` and `len`.
#define KARUTA_TEXT(type, text) ((type){(uint8_t *)(text), strlen(text)})

// Sets the error that a hook returns, formatted as by printf.
#define karuta_error(err, ...) karuta_set_error(&(err)->ptr, &(err)->len, __VA_ARGS__)

static inline void karuta_set_error(uint8_t **ptr, size_t *len, const char *format, ...) {
  va_list values;
  *ptr = malloc(1024);
  va_start(values, format);
  int written = vsnprintf((char *)*ptr, 1024, format, values);
  va_end(values);
  *len = written < 0 ? 0 : written < 1024 ? (size_t)written : 1023;
}

// Config

// A reader of a policy's `config`, which is JSON; the policy reads one key after the other. The host wrote
// it, so it is well formed.
typedef struct karuta_json {
  const char *at, *end;
} karuta_json;

// Creates a reader of the bytes that `init` received.
#define KARUTA_JSON(text) ((karuta_json){(const char *)(text).ptr, (const char *)(text).ptr + (text).len})

static inline char karuta_json_peek(karuta_json *json) {
  while (json->at < json->end && strchr(" \t\r\n,:", *json->at)) json->at++;
  return json->at < json->end ? *json->at : 0;
}

// Takes a `{`, `[`, `}` or `]`; false if something else follows.
static inline bool karuta_json_take(karuta_json *json, char sign) {
  if (karuta_json_peek(json) != sign) return false;
  json->at++;
  return true;
}

// Returns whether the list or mapping goes on, and takes its end.
static inline bool karuta_json_more(karuta_json *json) {
  char sign = karuta_json_peek(json);
  if (sign != ']' && sign != '}') return sign != 0;
  json->at++;
  return false;
}

static inline unsigned karuta_json_unicode(const char *at) {
  unsigned value = 0;
  for (int digit = 0; digit < 4; digit++) value = value << 4 | (unsigned)karuta_hex_digit(at[digit]);
  return value;
}

// Takes a text or a key of less than `size` bytes, as UTF-8 that ends with a NUL; false if something else
// follows, or the text is longer or contains a NUL itself.
static inline bool karuta_json_text(karuta_json *json, char *text, size_t size) {
  size_t length = 0;
  if (!karuta_json_take(json, '"')) return false;
  while (json->at < json->end && *json->at != '"') {
    unsigned point = (unsigned char)*json->at++;
    bool is_byte = true;
    if (point == '\\' && json->at < json->end) {
      const char *names = "\"\\/bfnrt", *values = "\"\\/\b\f\n\r\t";
      char escape = *json->at++;
      if (escape == 'u' && json->end - json->at >= 4) {
        point = karuta_json_unicode(json->at);
        json->at += 4;
        if (point >= 0xd800 && point < 0xdc00 && json->end - json->at >= 6) {
          point = 0x10000 + ((point - 0xd800) << 10) + (karuta_json_unicode(json->at + 2) - 0xdc00);
          json->at += 6;
        }
        is_byte = point < 0x80;
      } else {
        const char *name = strchr(names, escape);
        if (!name || !escape) return false;
        point = (unsigned char)values[name - names];
      }
    }
    if (point == 0 || length + 5 > size) return false;
    if (is_byte) {
      text[length++] = (char)point;
    } else if (point < 0x800) {
      text[length++] = (char)(0xc0 | point >> 6);
      text[length++] = (char)(0x80 | (point & 63));
    } else if (point < 0x10000) {
      text[length++] = (char)(0xe0 | point >> 12);
      text[length++] = (char)(0x80 | (point >> 6 & 63));
      text[length++] = (char)(0x80 | (point & 63));
    } else {
      text[length++] = (char)(0xf0 | point >> 18);
      text[length++] = (char)(0x80 | (point >> 12 & 63));
      text[length++] = (char)(0x80 | (point >> 6 & 63));
      text[length++] = (char)(0x80 | (point & 63));
    }
  }
  text[length] = 0;
  return karuta_json_take(json, '"');
}

// Takes a whole number from 0; false if something else follows.
static inline bool karuta_json_number(karuta_json *json, uint64_t *number) {
  char sign = karuta_json_peek(json);
  if (sign < '0' || sign > '9') return false;
  *number = 0;
  for (; json->at < json->end && *json->at >= '0' && *json->at <= '9'; json->at++) {
    uint64_t digit = (uint64_t)(*json->at - '0');
    if (*number > (UINT64_MAX - digit) / 10) return false;
    *number = *number * 10 + digit;
  }
  return json->at == json->end || !strchr(".eE", *json->at);
}

// Takes true or false; false if something else follows.
static inline bool karuta_json_bool(karuta_json *json, bool *value) {
  *value = karuta_json_peek(json) == 't';
  size_t length = *value ? 4 : 5;
  if (json->end - json->at < (long)length || memcmp(json->at, *value ? "true" : "false", length)) return false;
  json->at += length;
  return true;
}

#endif
