/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#include <sluice/fault.h>

#include "packs.h"
#include "writer.h"

#define PACK_BYTES  ((int64_t)64 * 1024)
#define SPARE_BYTES ((size_t)256 * 1024) /* a larger one held a record that was larger alone */

void packs_init(struct packs *packs, bool on, int64_t message_bytes)
{
	*packs = (struct packs){
		.on = on,
		.bytes = (size_t)(message_bytes / 2 < PACK_BYTES ? message_bytes / 2 : PACK_BYTES),
	};
}

void packs_fini(struct packs *packs)
{
	while (packs->n_spare)
		buf_fini(&packs->spare[--packs->n_spare]);
}

/* a partition's pack begins: with memory that another one had, and in the list */
static void packs_begin(struct packs *packs, struct packed *packed)
{
	if (!packed->pack.bytes.data && packs->n_spare) {
		packed->pack.bytes = packs->spare[--packs->n_spare];
		packs->spare[packs->n_spare] = BUF_INIT;
	}
	if (packed->listed)
		return;
	packed->listed = true;
	packed->next = packs->first;
	packs->first = packed;
}

/* its memory may serve another one */
static void packs_end(struct packs *packs, struct packed *packed)
{
	pack_clear(&packed->pack);
	if (packs->n_spare == PACKS_SPARE || packed->pack.bytes.cap > SPARE_BYTES)
		buf_fini(&packed->pack.bytes);
	else
		packs->spare[packs->n_spare++] = packed->pack.bytes;
	packed->pack.bytes = BUF_INIT;
}

int packs_send(struct writer *w, struct packed *packed, struct error *err)
{
	struct stamp stamp = { .reign = w->reign, .identity = w->identity, .options = "" };
	struct message msg = { 0 };
	int r;

	if (!packed->pack.n_records)
		return 0;
	pack_write(&packed->pack, &stamp, &msg);
	buf_clear(&w->text);
	stamp_write(&stamp, &w->text, &msg);
	if (SLUICE_FAULT_POINT("transport.kafka.produce"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point transport.kafka.produce");
	r = writer_produce(w, packed->place, &msg, w->packs.ticket, err);
	if (r < 0)
		return publish_where(w, &msg, err);
	if (r == 0)
		packs_end(&w->packs, packed);
	return r;
}

int packs_send_all(struct writer *w, struct error *err)
{
	while (w->packs.first) {
		struct packed *packed = w->packs.first;
		int r = packs_send(w, packed, err);

		if (r != 0)
			return r;
		w->packs.first = packed->next;
		packed->listed = false;
	}
	return 0;
}

int packs_put(struct writer *w, struct packed *packed, const struct record *rec, const struct publish_at *at,
	const struct codec_output *out, struct ticket *ticket, struct error *err)
{
	const struct stamp stamp = publish_stamp(w, rec, at);

	if (!pack_takes(&packed->pack, &stamp, out->value.len, w->packs.bytes)) {
		int r = packs_send(w, packed, err);

		if (r != 0)
			return r;
	}
	packs_begin(&w->packs, packed);
	pack_put(&packed->pack, &stamp, w->output.data + out->value.at, out->value.len);
	w->packs.ticket = ticket;
	return 0;
}
