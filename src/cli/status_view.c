/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Renders what a service says about itself. A member that is missing is treated as one that is null, so that a newer
 * or older service can be asked as well.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include <sluice/cleanup.h>
#include <sluice/readiness.h>

#include "human.h"
#include "progress.h"
#include "status_view.h"

#define RED	     "\033[31m"
#define GREEN	     "\033[32m"
#define YELLOW	     "\033[33m"
#define COLOUR_RESET "\033[0m"

struct view {
	yajl_val doc;
	const struct view_options *opt;
	struct buf *out;
};

static void doc_freep(yajl_val *doc)
{
	yajl_tree_free(*doc);
}

static yajl_val get(yajl_val doc, const char *a, const char *b)
{
	const char *path[] = { a, b, NULL };

	return yajl_tree_get(doc, path, yajl_t_any);
}

static const char *get_text(yajl_val doc, const char *a, const char *b)
{
	yajl_val found = get(doc, a, b);

	return found && YAJL_IS_STRING(found) ? YAJL_GET_STRING(found) : "";
}

static double get_number(yajl_val doc, const char *a, const char *b)
{
	yajl_val found = get(doc, a, b);

	return found && YAJL_IS_NUMBER(found) ? strtod(YAJL_GET_NUMBER(found), NULL) : (double)NAN;
}

static bool get_true(yajl_val doc, const char *a, const char *b)
{
	yajl_val found = get(doc, a, b);

	return found && YAJL_IS_TRUE(found);
}

static size_t get_items(yajl_val doc, const char *a, const char *b, yajl_val **ret)
{
	yajl_val found = get(doc, a, b);

	if (!found || !YAJL_IS_ARRAY(found))
		return 0;
	*ret = YAJL_GET_ARRAY(found)->values;
	return YAJL_GET_ARRAY(found)->len;
}

/* no control characters, C0 or C1: they could say to a terminal what we did not */
static void put_clean(struct view *v, const char *s)
{
	for (const unsigned char *at = (const unsigned char *)s; *at; at++) {
		if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
			at++;
		else
			buf_putc(v->out, *at < 0x20 || *at == 0x7f ? ' ' : (char)*at);
	}
}

static void put_colour(struct view *v, const char *colour, const char *s)
{
	if (v->opt->colour)
		buf_puts(v->out, colour);
	put_clean(v, s);
	if (v->opt->colour)
		buf_puts(v->out, COLOUR_RESET);
}

static void put_label(struct view *v, const char *label)
{
	buf_printf(v->out, "%-11s", label);
}

static void put_remedy(struct view *v, const char *remedy)
{
	if (!*remedy)
		return;
	put_label(v, "");
	put_clean(v, remedy);
	buf_putc(v->out, '\n');
}

static const char *state_colour(const char *state)
{
	if (strcmp(state, "running") == 0)
		return GREEN;
	return strcmp(state, "blocked") == 0 ? RED : YELLOW;
}

/* "blue", "blue/shop" where the host alone does not tell the two apart */
static void put_peer(struct view *v, const char *peer, bool same_host)
{
	const char *host = get_text(v->doc, peer, "host"), *database = get_text(v->doc, peer, "database");

	put_clean(
		v, *host ? host : (*get_text(v->doc, peer, "type") ? get_text(v->doc, peer, "type") : peer));
	if (*host && same_host && *database) {
		buf_putc(v->out, '/');
		put_clean(v, database);
	}
}

static void view_head(struct view *v)
{
	const char *state = get_text(v->doc, "state", "name"), *phase = get_text(v->doc, "phase", NULL);
	bool same = strcmp(get_text(v->doc, "source", "host"), get_text(v->doc, "target", "host")) == 0;

	put_clean(v, get_text(v->doc, "name", NULL));
	buf_puts(v->out, "  phase ");
	put_clean(v, *phase ? phase : "unknown");
	buf_puts(v->out, "  state ");
	if (*state)
		put_colour(v, state_colour(state), state);
	else
		put_colour(v, YELLOW, "unknown");
	buf_puts(v->out, "  ");
	put_peer(v, "source", same);
	buf_puts(v->out, " -> ");
	put_peer(v, "target", same);
	buf_putc(v->out, '\n');
	if (strcmp(get_text(v->doc, "from", NULL), "databases") == 0)
		buf_puts(v->out, "from       the databases: no service answers\n");
}

static void view_state(struct view *v)
{
	const char *reason = get_text(v->doc, "state", "reason"), *retry;

	if (!*reason)
		return;
	put_label(v, "state");
	put_clean(v, get_text(v->doc, "state", "code"));
	buf_puts(v->out, *get_text(v->doc, "state", "code") ? ": " : "");
	put_clean(v, reason);
	buf_putc(v->out, '\n');
	put_remedy(v, get_text(v->doc, "state", "remedy"));
	retry = get_text(v->doc, "state", "next_retry_at");
	if (*retry) {
		put_label(v, "");
		buf_puts(v->out, "next attempt at ");
		put_clean(v, retry);
		buf_putc(v->out, '\n');
	}
}

static void view_snapshot(struct view *v)
{
	double done = get_number(v->doc, "snapshot", "bytes_done");
	double total = get_number(v->doc, "snapshot", "bytes_estimated");
	double rate = get_number(v->doc, "snapshot", "bytes_per_second");
	double eta = get_number(v->doc, "snapshot", "eta_seconds");
	double tables = get_number(v->doc, "snapshot", "tables_total");
	char a[HUMAN_BYTES], b[HUMAN_BYTES], bar[32];

	if (!get_true(v->doc, "snapshot", "running") &&
		strcmp(get_text(v->doc, "phase", NULL), "snapshot") != 0)
		return;
	put_label(v, "snapshot");
	if (total > 0) {
		double ratio = done < total ? done / total : 1;

		if (v->opt->bars)
			buf_printf(v->out, "%s  ", progress_bar(ratio, bar, sizeof(bar)));
		buf_printf(v->out, "%2d %%  ", (int)(ratio * 100));
	}
	if (done >= 0)
		buf_printf(v->out, "%s of %s", human_disk(done, a, sizeof(a)),
			total > 0 ? human_disk(total, b, sizeof(b)) : "unknown");
	if (rate >= 0)
		buf_printf(v->out, "  %s/s", human_disk(rate, a, sizeof(a)));
	if (eta >= 0)
		buf_printf(v->out, "  eta %s", human_duration(eta, a, sizeof(a)));
	if (tables >= 0)
		buf_printf(
			v->out, "  %.0f/%.0f tables", get_number(v->doc, "snapshot", "tables_done"), tables);
	buf_putc(v->out, '\n');
}

static void view_lag(struct view *v)
{
	double seconds = get_number(v->doc, "lag", "seconds"), bytes = get_number(v->doc, "lag", "bytes");
	double growth = get_number(v->doc, "lag", "bytes_per_second");
	double eta = get_number(v->doc, "ready", "eta_seconds");
	char number[HUMAN_BYTES];

	if (isnan(seconds) && isnan(bytes))
		return;
	put_label(v, "lag");
	if (!isnan(seconds))
		buf_puts(v->out, human_duration(seconds, number, sizeof(number)));
	if (!isnan(bytes))
		buf_printf(v->out, "%s%s", isnan(seconds) ? "" : ", ",
			human_size(bytes, number, sizeof(number)));
	if (growth < 0 && strcmp(get_text(v->doc, "phase", NULL), "catching-up") == 0) {
		buf_puts(v->out, "   falling");
		if (eta >= 0)
			buf_printf(
				v->out, ", ready in about %s", human_duration(eta, number, sizeof(number)));
	}
	buf_putc(v->out, '\n');
}

/* "0.2 s, 12 KiB behind the source", "12.1 s, 48k records behind the log"; a half that does not speak is older than that */
static void view_half(struct view *v, const char *name, const char *of)
{
	yajl_val half = get(v->doc, "transport", name);
	double seconds = get_number(half, "seconds", NULL), records = get_number(half, "records", NULL);
	double bytes = get_number(half, "bytes", NULL);
	char number[HUMAN_BYTES];

	if (!half || !YAJL_IS_OBJECT(half))
		return;
	put_label(v, name);
	if (isnan(seconds) && isnan(records) && isnan(bytes)) {
		buf_puts(v->out, "unknown\n");
		return;
	}
	if (!isnan(seconds))
		buf_printf(v->out, "%s, ", human_duration(seconds, number, sizeof(number)));
	if (!isnan(records))
		buf_printf(v->out, "%s records", human_count(records, number, sizeof(number)));
	else
		buf_puts(v->out, isnan(bytes) ? "unknown bytes" : human_size(bytes, number, sizeof(number)));
	buf_printf(v->out, " behind the %s", of);
	if (get_true(half, "silent", NULL)) {
		buf_puts(v->out, "   ");
		put_colour(v, RED, "silent");
		buf_puts(v->out, " since ");
		put_clean(v, get_text(half, "heard_at", NULL));
	}
	buf_putc(v->out, '\n');
}

/* which half is to be looked at, and both with their figures */
static void view_halves(struct view *v)
{
	const char *behind = get_text(v->doc, "transport", "behind");

	if (*behind && strcmp(behind, "none") != 0) {
		put_label(v, "behind");
		put_colour(v, YELLOW, "the ");
		put_colour(v, YELLOW, behind);
		buf_putc(v->out, '\n');
	}
	view_half(v, "reader", "source");
	view_half(v, "applier", "log");
}

static void view_applied(struct view *v)
{
	double records = get_number(v->doc, "throughput", "records_per_second");
	double transactions = get_number(v->doc, "throughput", "transactions_per_second");
	const char *position = get_text(v->doc, "applied", "position");
	char number[HUMAN_BYTES];

	if (!*position)
		return;
	put_label(v, "applied");
	put_clean(v, position);
	if (records >= 0)
		buf_printf(v->out, "  %s rec/s", human_count(records, number, sizeof(number)));
	if (transactions >= 0)
		buf_printf(v->out, ", %s tx/s", human_count(transactions, number, sizeof(number)));
	buf_putc(v->out, '\n');
}

static void view_slot(struct view *v)
{
	yajl_val slot = get(v->doc, "source", "slot");
	double retained = get_number(slot, "retained_bytes", NULL),
	       safe = get_number(slot, "safe_bytes", NULL);
	const char *wal_status = get_text(slot, "wal_status", NULL),
		   *host = get_text(v->doc, "source", "host");
	char number[HUMAN_BYTES];

	if (!slot || !YAJL_IS_OBJECT(slot))
		return;
	put_label(v, "slot");
	put_clean(v, get_text(slot, "name", NULL));
	if (retained >= 0) {
		buf_printf(v->out, " keeps %s of ", human_size(retained, number, sizeof(number)));
		put_clean(v, *host ? host : "the source");
		buf_puts(v->out, "'s WAL");
	}
	if (safe >= 0)
		buf_printf(v->out, ", lost after %s more", human_size(safe, number, sizeof(number)));
	if (*wal_status && strcmp(wal_status, "reserved") != 0) {
		buf_puts(v->out, "  ");
		put_colour(v, strcmp(wal_status, "extended") == 0 ? YELLOW : RED, wal_status);
	}
	buf_putc(v->out, '\n');
}

static void view_errors(struct view *v)
{
	yajl_val last = get(v->doc, "errors", "last"), *alarms = NULL;
	double letters = get_number(v->doc, "errors", "dead_letters");
	size_t n = get_items(v->doc, "alarms", NULL, &alarms);

	if (letters > 0)
		buf_printf(v->out, "letters    %.0f dead letters wait: sluice dead-letters list\n", letters);
	if (last && YAJL_IS_OBJECT(last)) {
		put_label(v, "last error");
		put_clean(v, get_text(last, "at", NULL));
		buf_putc(v->out, ' ');
		put_clean(v, get_text(last, "code", NULL));
		buf_puts(v->out, ": ");
		put_clean(v, get_text(last, "message", NULL));
		buf_putc(v->out, '\n');
	}
	for (size_t i = 0; i < n; i++) {
		put_label(v, "alarm");
		put_colour(v, YELLOW, get_text(alarms[i], "code", NULL));
		buf_puts(v->out, ": ");
		put_clean(v, get_text(alarms[i], "message", NULL));
		buf_putc(v->out, '\n');
		put_remedy(v, get_text(alarms[i], "remedy", NULL));
	}
}

/* "lag_seconds 4.1 > 1": hold and snapshot are too small, the others too large */
static void put_reason(struct view *v, yajl_val reason)
{
	const char *code = get_text(reason, "code", NULL);
	double value = get_number(reason, "value", NULL), limit = get_number(reason, "limit", NULL);

	put_clean(v, code);
	if (isnan(value) || isnan(limit) || value == limit)
		return;
	if (strcmp(code, "lag_bytes") == 0) {
		char a[HUMAN_BYTES], b[HUMAN_BYTES];

		buf_printf(
			v->out, " %s > %s", human_size(value, a, sizeof(a)), human_size(limit, b, sizeof(b)));
		return;
	}
	buf_printf(v->out, " %.10g %c %.10g", value, value < limit ? '<' : '>', limit);
}

static void view_ready(struct view *v)
{
	yajl_val ready = get(v->doc, "ready", NULL), *reasons = NULL;
	size_t n;

	if (!ready || !YAJL_IS_OBJECT(ready))
		return;
	put_label(v, "ready");
	n = get_items(ready, "reasons", NULL, &reasons);
	put_colour(v, get_true(ready, "ready", NULL) ? GREEN : YELLOW,
		get_true(ready, "ready", NULL) ? "yes" : "no");
	for (size_t i = 0; i < n; i++) {
		buf_puts(v->out, i ? ", " : ": ");
		put_reason(v, reasons[i]);
	}
	buf_putc(v->out, '\n');
}

static int parse(const char *json, const char *must_have, yajl_val *ret, struct error *err)
{
	char why[128];

	*ret = yajl_tree_parse(json, why, sizeof(why));
	if (*ret && YAJL_IS_OBJECT(*ret) && get(*ret, must_have, NULL))
		return 0;
	error_set(err, ERROR_TRANSIENT, "SERVICE-ANSWER", "what answers there is not a sluice service");
	error_exit(err, EXIT_UNAVAILABLE);
	return error_remedy(err, "look at --url, SLUICE_URL and http.listen");
}

int status_view(const char *json, const struct view_options *opt, struct buf *ret, struct error *err)
{
	_cleanup_(doc_freep) yajl_val doc = NULL;
	struct view v = { .opt = opt, .out = ret };

	if (parse(json, "format_version", &doc, err) < 0)
		return -1;
	v.doc = doc;
	view_head(&v);
	view_state(&v);
	view_snapshot(&v);
	view_lag(&v);
	view_halves(&v);
	view_applied(&v);
	view_slot(&v);
	view_errors(&v);
	view_ready(&v);
	return 0;
}

static void ready_reason(struct view *v, yajl_val reason, struct ready_answer *answer)
{
	const char *code = get_text(reason, "code", NULL);
	size_t len = strlen(answer->codes);

	snprintf(answer->codes + len, sizeof(answer->codes) - len, "%s%s", len ? ", " : "", code);
	answer->cured_by_time = answer->cured_by_time && readiness_cured_by_time(code);
	buf_puts(v->out, "  ");
	put_colour(v, YELLOW, code);
	buf_printf(v->out, "%*s", (int)(strlen(code) < 22 ? 22 - strlen(code) : 1), "");
	put_clean(v, get_text(reason, "message", NULL));
	buf_putc(v->out, '\n');
	if (*get_text(reason, "remedy", NULL)) {
		buf_printf(v->out, "%24s", "");
		put_clean(v, get_text(reason, "remedy", NULL));
		buf_putc(v->out, '\n');
	}
}

int ready_view(const char *json, const struct view_options *opt, struct buf *ret, struct ready_answer *answer,
	struct error *err)
{
	_cleanup_(doc_freep) yajl_val doc = NULL;
	struct view v = { .opt = opt, .out = ret };
	yajl_val *reasons = NULL;
	char number[HUMAN_BYTES];
	double eta;
	size_t n;

	memset(answer, 0, sizeof(*answer));
	if (parse(json, "ready", &doc, err) < 0)
		return -1;
	v.doc = doc;
	answer->ready = get_true(doc, "ready", NULL);
	answer->cured_by_time = true;
	eta = get_number(doc, "eta_seconds", NULL);
	put_colour(&v, answer->ready ? GREEN : YELLOW, answer->ready ? "ready" : "not ready");
	if (!answer->ready && eta >= 0)
		buf_printf(ret, ", in about %s", human_duration(eta, number, sizeof(number)));
	buf_putc(ret, '\n');
	n = get_items(doc, "reasons", NULL, &reasons);
	for (size_t i = 0; i < n; i++)
		ready_reason(&v, reasons[i], answer);
	return 0;
}
