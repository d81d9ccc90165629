/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The progress line. It is made of parts that are left out from the right when the terminal is narrow, and never wraps:
 * a wrapped line cannot be redrawn. Where the terminal is dumb the rest of the old line is blanked, not erased.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <sluice/cleanup.h>
#include <sluice/report.h>

#include "human.h"
#include "progress.h"

#define REDRAW_MS    250
#define BAR_CELLS    14
#define BAR_COLUMNS  64 /* narrower terminals get no bar */
#define GREEN	     "\033[32m"
#define YELLOW	     "\033[33m"
#define RED	     "\033[31m"
#define COLOUR_RESET "\033[0m"

/* a line that is being filled: what does not fit is left out, and with it all that follows */
struct line {
	struct buf *out;
	unsigned left;
	bool colour;
};

static void line_part(struct line *line, const char *colour, const char *text)
{
	size_t len = strlen(text);

	if (len > line->left) {
		line->left = 0;
		return;
	}
	line->left -= (unsigned)len;
	if (colour && line->colour)
		buf_printf(line->out, "%s%s" COLOUR_RESET, colour, text);
	else
		buf_puts(line->out, text);
}

char *progress_bar(double ratio, char *buf, size_t size)
{
	static const char full[] = "##############", empty[] = "--------------";
	int filled = ratio > 0 ? (int)((ratio < 1 ? ratio : 1) * BAR_CELLS) : 0;

	snprintf(buf, size, "[%.*s%.*s]", filled, full, BAR_CELLS - filled, empty);
	return buf;
}

static const struct {
	double size;
	const char *name;
} disk_units[] = { { 1e12, "TB" }, { 1e9, "GB" }, { 1e6, "MB" }, { 1e3, "kB" }, { 1, "B" } };

/* "11.0/18.0 GB": both in the unit of the whole */
static void line_of(struct line *line, double done, double total)
{
	char text[64];
	size_t i = 0;

	while (disk_units[i].size > 1 && total < disk_units[i].size)
		i++;
	snprintf(text, sizeof(text), "  %.1f/%.1f %s", done / disk_units[i].size, total / disk_units[i].size,
		disk_units[i].name);
	line_part(line, NULL, text);
}

static void line_snapshot(struct line *line, const struct status *st, unsigned columns)
{
	struct status_rates rates = status_rates(st);
	double done = (double)st->snapshot_bytes_done, total = (double)st->snapshot_bytes_estimated;
	double ratio = total > 0 ? (done < total ? done / total : 1) : 0, eta = status_snapshot_eta(st);
	char text[96], number[HUMAN_BYTES];

	line_part(line, NULL, "snapshot  ");
	if (columns >= BAR_COLUMNS) {
		line_part(line, GREEN, progress_bar(ratio, text, sizeof(text)));
		line_part(line, NULL, "  ");
	}
	snprintf(text, sizeof(text), "%2d %%", (int)(ratio * 100));
	line_part(line, NULL, text);
	line_of(line, done, total > done ? total : done);
	if (rates.snapshot_bytes >= 0) {
		snprintf(text, sizeof(text), "  %s/s",
			human_disk(rates.snapshot_bytes, number, sizeof(number)));
		line_part(line, NULL, text);
	}
	if (eta >= 0) {
		snprintf(text, sizeof(text), "  eta %s", human_duration(eta, number, sizeof(number)));
		line_part(line, NULL, text);
	}
	snprintf(text, sizeof(text), "  %llu/%llu tables", (unsigned long long)st->snapshot_tables_done,
		(unsigned long long)st->snapshot_tables_total);
	line_part(line, NULL, text);
}

static void line_stream(struct line *line, const struct status *st, struct mono now)
{
	struct status_rates rates = status_rates(st);
	double lag = status_lag_seconds(st, now);
	char text[96], number[HUMAN_BYTES];

	line_part(line, NULL, "stream    ");
	if (lag >= 0) {
		snprintf(text, sizeof(text), "lag %s", human_duration(lag, number, sizeof(number)));
		line_part(line, st->source.connected && lag < 10 ? NULL : YELLOW, text);
	} else {
		line_part(line, NULL, "lag unknown");
	}
	if (st->lag_bytes >= 0) {
		snprintf(text, sizeof(text), ", %s",
			human_size((double)st->lag_bytes, number, sizeof(number)));
		line_part(line, NULL, text);
	}
	if (rates.records >= 0) {
		snprintf(
			text, sizeof(text), "  %s rec/s", human_count(rates.records, number, sizeof(number)));
		line_part(line, NULL, text);
	}
	if (*st->applied_position) {
		snprintf(text, sizeof(text), "  applied %s", st->applied_position);
		line_part(line, NULL, text);
	}
}

/* "blocked   PG-SLOT-LOST: …": the reason is cut to what is left, at a character */
static void line_reason(struct line *line, const struct status *st, const char *colour)
{
	char text[400];
	size_t len;

	snprintf(text, sizeof(text), "%-10s", run_state_to_string(st->state));
	line_part(line, colour, text);
	snprintf(text, sizeof(text), "%s%s%s", st->state_code,
		*st->state_code && *st->state_reason ? ": " : "", st->state_reason);
	len = strcspn(text, "\r\n\033");
	if (len > line->left)
		len = line->left;
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	text[len] = 0;
	line_part(line, NULL, text);
}

void progress_line(const struct status *st, struct mono now, unsigned columns, bool colour, struct buf *ret)
{
	struct line line = { .out = ret, .left = columns, .colour = colour };

	switch (st->state) {
	case STATE_RUNNING:
	case STATE_STARTING:
	case STATE_DRAINING:
	case STATE_FINISHED:
	case STATE_COUNT:
		if (st->snapshot_running)
			line_snapshot(&line, st, columns);
		else if (st->state == STATE_RUNNING)
			line_stream(&line, st, now);
		else
			line_reason(&line, st, NULL);
		break;
	case STATE_STANDBY:
	case STATE_PAUSED:
	case STATE_RETRYING:
		line_reason(&line, st, YELLOW);
		break;
	case STATE_BLOCKED:
		line_reason(&line, st, RED);
		break;
	}
}

/* what stands on the terminal; the terminal is one, and so is this */
static struct {
	struct mono next;
	bool drawn;
	unsigned width; /* of what was drawn last, for dumb terminals */
} screen;

static bool terminal_is_dumb(void)
{
	const char *term = getenv("TERM");

	return !term || !*term || strcmp(term, "dumb") == 0;
}

static unsigned terminal_columns(FILE *out)
{
	struct winsize size;

	if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col < 2)
		return 79;
	return size.ws_col - 1u; /* a full last column wraps on some */
}

void progress_draw(const struct context *ctx, FILE *out)
{
	_cleanup_(buf_freep) struct buf line = BUF_INIT;
	const char *no_colour = getenv("NO_COLOR");
	struct mono now = mono_now();
	bool dumb = terminal_is_dumb();

	status_sample(ctx);
	if (screen.drawn && mono_diff_us(now, screen.next) < 0)
		return;
	screen.next = mono_add_ms(now, REDRAW_MS);
	status_lock(ctx->status);
	progress_line(ctx->status, now, terminal_columns(out), !dumb && !(no_colour && *no_colour), &line);
	status_unlock(ctx->status);
	if (dumb) {
		unsigned width = (unsigned)line.len;

		while (line.len < screen.width)
			buf_putc(&line, ' ');
		screen.width = width;
	}
	fprintf(out, "\r%s%s", buf_str(&line), dumb ? "" : "\033[K");
	fflush(out);
	screen.drawn = true;
}

void progress_end(FILE *out)
{
	if (!screen.drawn)
		return;
	fputc('\n', out);
	fflush(out);
	screen.drawn = false;
	screen.width = 0;
}

void progress_log(const struct context *ctx)
{
	struct status *st = ctx->status;
	struct status_rates rates;
	double lag, eta;
	long long lag_bytes;
	unsigned long long tables, tables_total, rows, bytes, bytes_total;
	char phase[24], position[sizeof(st->applied_position)], seconds[32] = "", bytes_behind[24] = "";
	bool snapshot;

	status_sample(ctx);
	status_lock(st);
	snapshot = st->snapshot_running;
	rates = status_rates(st);
	lag = status_lag_seconds(st, mono_now());
	eta = status_snapshot_eta(st);
	lag_bytes = st->lag_bytes;
	tables = st->snapshot_tables_done;
	tables_total = st->snapshot_tables_total;
	rows = st->snapshot_rows_done;
	bytes = st->snapshot_bytes_done;
	bytes_total = st->snapshot_bytes_estimated;
	snprintf(phase, sizeof(phase), "%s", phase_to_string(st->phase));
	snprintf(position, sizeof(position), "%s", st->applied_position);
	status_unlock(st);
	/* empty = unknown */
	if (lag >= 0)
		snprintf(seconds, sizeof(seconds), "%.3f", lag);
	if (lag_bytes >= 0)
		snprintf(bytes_behind, sizeof(bytes_behind), "%lld", lag_bytes);
	if (snapshot)
		log_info(ctx->log, "progress", "snapshot",
			"tables=%llu tables_total=%llu rows=%llu bytes=%llu bytes_estimated=%llu "
			"bytes_per_second=%.0f eta_seconds=%.0f",
			tables, tables_total, rows, bytes, bytes_total,
			rates.snapshot_bytes >= 0 ? rates.snapshot_bytes : 0, eta);
	else
		log_info(ctx->log, "progress", "stream",
			"phase=%s lag_seconds=%s lag_bytes=%s records_per_second=%.1f applied=%s", phase,
			seconds, bytes_behind, rates.records >= 0 ? rates.records : 0, position);
}
