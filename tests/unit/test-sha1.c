/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <sluice/hex.h>
#include <sluice/sha1.h>

static void expect(const char *data, size_t len, const char *digest)
{
	uint8_t bytes[SHA1_BYTES];
	char text[2 * SHA1_BYTES + 1];

	sha1(data, len, bytes);
	*hex_put(text, bytes, SHA1_BYTES) = '\0';
	assert_string_equal(text, digest);
	sha1_plain(data, len, bytes);
	*hex_put(text, bytes, SHA1_BYTES) = '\0';
	assert_string_equal(text, digest);
}

static void the_vectors_of_rfc_3174(void **state)
{
	char *many = malloc(1000000);

	assert_non_null(many);
	memset(many, 'a', 1000000);
	expect("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
	expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
		"84983e441c3bd26ebaae4aa1f95129e5e54670f1");
	expect(many, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
	expect("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	free(many);
}

/* where the length still fits the last block, and where it does not */
static void lengths_around_a_block(void **state)
{
	char text[65];

	memset(text, 'x', sizeof(text));
	expect(text, 55, "cef734ba81a024479e09eb5a75b6ddae62e6abf1");
	expect(text, 56, "901305367c259952f4e7af8323f480d59f81335b");
	expect(text, 63, "0ddc4e0cccd9a12850deb5abb0853a4425559fec");
	expect(text, 64, "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163");
	expect(text, 65, "78c741ddc482e4cdf8c474a0876347a0905b6233");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_rfc_3174),
		cmocka_unit_test(lengths_around_a_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
