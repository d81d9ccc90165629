/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Asks a running service and prints the answer. With --json the service's own bytes are passed on, so that what a script
 * sees is what /status and /cutover/ready say, whatever version runs there.
 */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/cleanup.h>
#include <sluice/clock.h>

#include "client.h"
#include "service.h"
#include "status_db.h"
#include "status_view.h"

#define TURN_MS	  1000
#define HTTP_OK	  200
#define HTTP_BUSY 503
#define TOKEN_MAX 512

struct service {
	const struct service_options *opt;
	struct view_options view;
	char url[320];
	char token[TOKEN_MAX];
};

/* a token is one line of printable characters: anything else could forge a header */
static int token_read(const char *path, char *ret, size_t size, struct error *err)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	if (n < 0) {
		error_set(err, ERROR_CONFIG, "TOKEN-FILE", "token file %s: %s", path, strerror(errno));
		return error_exit(err, EXIT_CLI);
	}
	while (n > 0 && isspace((unsigned char)ret[n - 1]))
		n--;
	ret[n] = 0;
	for (ssize_t i = 0; i < n; i++) {
		if (!isgraph((unsigned char)ret[i])) {
			error_set(
				err, ERROR_CONFIG, "TOKEN-FILE", "token file %s: not one line of text", path);
			return error_exit(err, EXIT_CLI);
		}
	}
	return 0;
}

static const char *url_of(const struct service_options *opt)
{
	return opt->url && *opt->url ? opt->url : getenv("SLUICE_URL");
}

bool service_url_given(const struct service_options *opt)
{
	const char *url = url_of(opt);

	return url && *url;
}

static int service_init(struct service *svc, const struct service_options *opt, struct error *err)
{
	const char *url = url_of(opt), *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	bool terminal = isatty(fileno(opt->out)) && term && *term && strcmp(term, "dumb") != 0;

	memset(svc, 0, sizeof(*svc));
	svc->opt = opt;
	svc->view.bars = terminal;
	svc->view.colour = terminal && !(no_colour && *no_colour);
	if (opt->token_file && *opt->token_file &&
		token_read(opt->token_file, svc->token, sizeof(svc->token), err) < 0)
		return -1;
	if (url && *url) {
		if ((size_t)snprintf(svc->url, sizeof(svc->url), "%s", url) < sizeof(svc->url))
			return 0;
		error_set(err, ERROR_CONFIG, "URL", "the URL is too long");
		return error_exit(err, EXIT_CLI);
	}
	if (opt->cfg)
		return client_default_url(opt->cfg->http.listen, svc->url, sizeof(svc->url), err);
	error_set(err, ERROR_CONFIG, "URL", "neither a config nor a URL says where the service is");
	error_exit(err, EXIT_CLI);
	return error_remedy(err, "give --url http://HOST:PORT, SLUICE_URL or -c FILE");
}

/* returns 0 with the body of an answer that has one of the two statuses */
static int service_ask(
	const struct service *svc, const char *path, int also, struct buf *ret, struct error *err)
{
	int status = client_get(svc->url, path, svc->token, ret, err);

	if (status < 0)
		return -1;
	if (status == HTTP_OK || status == also)
		return 0;
	error_set(err, ERROR_TRANSIENT, "SERVICE-ANSWER", "%s%s answers with HTTP status %d", svc->url, path,
		status);
	return error_exit(err, EXIT_UNAVAILABLE);
}

/* the service's status, else that of the databases; the service's error when neither is to be had */
static int status_fetch(const struct service *svc, struct buf *ret, struct error *err)
{
	struct error second = ERROR_INIT;

	if (service_ask(svc, "/status", HTTP_OK, ret, err) == 0)
		return 0;
	if (err->class != ERROR_TRANSIENT || !svc->opt->cfg)
		return -1;
	buf_clear(ret);
	if (status_databases(svc->opt->cfg, ret, &second) == 0) {
		*err = ERROR_INIT;
		return 0;
	}
	return error_remedy(err, "nor can the databases be asked: %s", second.message);
}

/* over what stands there; what is longer than the new text is erased */
static void screen_redraw(FILE *out, struct buf *text, bool first)
{
	const char *at = buf_str(text), *end;

	fputs(first ? "\033[2J\033[H" : "\033[H", out);
	for (; (end = strchr(at, '\n')); at = end + 1)
		fprintf(out, "%.*s\033[K\n", (int)(end - at), at);
	fputs("\033[J", out);
}

static int status_print(const struct service *svc, bool first, struct error *err)
{
	_cleanup_(buf_freep) struct buf json = BUF_INIT;
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	FILE *out = svc->opt->out;

	if (status_fetch(svc, &json, err) < 0)
		return -1;
	if (svc->opt->json) {
		fputs(buf_str(&json), out);
	} else {
		if (status_view(buf_str(&json), &svc->view, &text, err) < 0)
			return -1;
		if (svc->opt->watch && svc->view.bars)
			screen_redraw(out, &text, first);
		else
			fprintf(out, "%s%s", first ? "" : "\n", buf_str(&text));
	}
	fflush(out);
	return 0;
}

int service_status(const struct service_options *opt, struct error *err)
{
	struct service svc;
	bool first = true;

	if (service_init(&svc, opt, err) < 0)
		return error_exit_code(err);
	for (;;) {
		/* when watched, a service that is away may come back; a first look that fails is an answer */
		if (status_print(&svc, first, err) < 0 && (first || err->class != ERROR_TRANSIENT))
			return error_exit_code(err);
		if (ferror(opt->out))
			return EXIT_NO; /* nobody reads any more */
		first = false;
		if (!opt->watch)
			return EXIT_OK;
		poll(NULL, 0, TURN_MS);
	}
}

static void ready_print(const struct service *svc, struct buf *json, struct buf *text)
{
	fputs(buf_str(svc->opt->json ? json : text), svc->opt->out);
	fflush(svc->opt->out);
}

/* one look; returns 0 and the answer, or negative when the service cannot be asked */
static int ready_look(const struct service *svc, struct buf *json, struct buf *text,
	struct ready_answer *answer, struct error *err)
{
	buf_clear(text);
	if (service_ask(svc, "/cutover/ready", HTTP_BUSY, json, err) < 0)
		return -1;
	return ready_view(buf_str(json), &svc->view, text, answer, err);
}

/* says what is waited for, when it changes */
static void ready_waiting(const char *codes, char *last, size_t size)
{
	if (strcmp(codes, last) == 0)
		return;
	fprintf(stderr, "waiting: %s\n", codes);
	snprintf(last, size, "%s", codes);
}

int service_ready(const struct service_options *opt, struct error *err)
{
	struct mono deadline = mono_add_ms(mono_now(), opt->wait_ms);
	_cleanup_(buf_freep) struct buf json = BUF_INIT;
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	struct ready_answer answer = { 0 };
	char last[sizeof(answer.codes)] = "";
	struct service svc;

	if (service_init(&svc, opt, err) < 0)
		return error_exit_code(err);
	for (;;) {
		bool asked = ready_look(&svc, &json, &text, &answer, err) == 0;

		if (!asked && err->class != ERROR_TRANSIENT)
			return error_exit_code(err);
		if (asked && (answer.ready || opt->wait_ms == 0 || !answer.cured_by_time)) {
			ready_print(&svc, &json, &text);
			*err = ERROR_INIT; /* of a look before */
			return answer.ready ? EXIT_OK : EXIT_NO;
		}
		if (mono_diff_us(mono_now(), deadline) >= 0) {
			if (!asked)
				return error_exit_code(err);
			ready_print(&svc, &json, &text);
			error_set(err, ERROR_TRANSIENT, "READY-TIMEOUT",
				"not ready within the time given: %s", answer.codes);
			error_exit(err, EXIT_TIMEOUT);
			return EXIT_TIMEOUT;
		}
		ready_waiting(asked ? answer.codes : "the service does not answer", last, sizeof(last));
		poll(NULL, 0, TURN_MS);
	}
}
