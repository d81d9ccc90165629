/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include <sluice/crc32c.h>

static void expect(const void *data, size_t len, uint32_t crc)
{
	assert_int_equal(crc32c(0, data, len), crc);
	assert_int_equal(crc32c_table(0, data, len), crc);
}

static void the_vectors_of_rfc_3720(void **state)
{
	static const uint8_t read_command[48] = { 0x01,
		0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, 0x28, [40] = 0x02 };
	uint8_t bytes[32];

	memset(bytes, 0, sizeof(bytes));
	expect(bytes, 32, 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	expect(bytes, 32, 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	expect(bytes, 32, 0x46dd794e);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	expect(bytes, 32, 0x113fdb5c);
	expect(read_command, 48, 0xd9963a56);
	expect("123456789", 9, 0xe3069283);
	expect("", 0, 0);
}

/* every length, every alignment, every place to stop and go on */
static void check_pieces(uint32_t (*sum)(uint32_t crc, const void *data, size_t len))
{
	uint8_t bytes[80];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t start = 0; start < 8; start++) {
		for (size_t len = 0; len <= 70; len++) {
			uint32_t whole = crc32c_table(0, bytes + start, len);

			for (size_t cut = 0; cut <= len; cut++)
				assert_int_equal(
					sum(sum(0, bytes + start, cut), bytes + start + cut, len - cut),
					whole);
		}
	}
}

static void pieces_make_the_same_as_the_whole(void **state)
{
	check_pieces(crc32c_table);
	check_pieces(crc32c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_rfc_3720),
		cmocka_unit_test(pieces_make_the_same_as_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
