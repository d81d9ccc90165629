/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Values larger than a store's records may be, in pieces. The head is stored last and says how many there are, how long
 * the whole is and its hash, so that a value half written, or one that is being replaced, is never taken for a whole one.
 */

#include <inttypes.h>
#include <stdio.h>

#include <sluice/fault.h>
#include <sluice/fnv1a.h>
#include <sluice/state.h>

#define PIECE_BYTES ((size_t)512 * 1024)
#define KEY_BYTES   128

static const char *piece_key(char out[KEY_BYTES], const char *key, unsigned i)
{
	snprintf(out, KEY_BYTES, "%.100s/%u", key, i);
	return out;
}

int state_set_large(struct state *state, const char *key, const void *value, size_t len, struct error *err)
{
	const uint8_t *bytes = value;
	char name[KEY_BYTES], head[80];
	unsigned n = 0;

	for (size_t at = 0; at < len; n++) {
		size_t piece = len - at < PIECE_BYTES ? len - at : PIECE_BYTES;

		if (state_set(state, piece_key(name, key, n), bytes + at, piece, err) < 0)
			return -1;
		if (SLUICE_FAULT_POINT("state.piece"))
			return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point state.piece");
		at += piece;
	}
	snprintf(head, sizeof(head), "%u %zu %016" PRIx64, n, len, fnv1a(FNV1A_BASIS, bytes, len));
	return state_set(state, key, head, strlen(head), err);
}

int state_get_large(struct state *state, const char *key, struct buf *ret, struct error *err)
{
	struct buf piece = BUF_INIT;
	char name[KEY_BYTES];
	unsigned n = 0;
	size_t len = 0;
	uint64_t sum = 0;
	int r = state_get(state, key, &piece, err);

	buf_clear(ret);
	if (r == 0 && sscanf(buf_str(&piece), "%u %zu %" SCNx64, &n, &len, &sum) != 3)
		r = STATE_MISSING;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = state_get(state, piece_key(name, key, i), &piece, err);
		if (r == 0)
			buf_put(ret, piece.data, piece.len);
	}
	if (r == 0 && (ret->len != len || fnv1a(FNV1A_BASIS, ret->data, ret->len) != sum))
		r = STATE_MISSING;
	buf_fini(&piece);
	return r;
}
