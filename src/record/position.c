/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Positions and resume points; see position.h. */

#include <stdlib.h>

#include <sluice/position.h>

void position_encode(struct position pos, uint8_t out[POSITION_BYTES])
{
	uint64_t major = __builtin_bswap64(pos.major), minor = __builtin_bswap64(pos.minor);

	memcpy(out, &major, 8);
	memcpy(out + 8, &minor, 8);
}

bool position_decode(struct position *ret, const void *data, uint32_t len)
{
	uint64_t major, minor;

	if (len != POSITION_BYTES)
		return false;
	memcpy(&major, data, 8);
	memcpy(&minor, (const uint8_t *)data + 8, 8);
	*ret = (struct position){ __builtin_bswap64(major), __builtin_bswap64(minor) };
	return true;
}

void resume_box_set(struct resume_box *box, struct resume resume)
{
	if (resume.len > box->cap) {
		box->data = realloc(box->data, resume.len);
		if (!box->data)
			abort();
		box->cap = resume.len;
	}
	if (resume.len)
		memmove(box->data, resume.data, resume.len);
	box->len = resume.len;
}

void resume_box_fini(struct resume_box *box)
{
	free(box->data);
	*box = (struct resume_box){ 0 };
}
