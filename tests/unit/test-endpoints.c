/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The paths of a service over loopback: when each says yes, when no, and in which format.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

#include <sluice/cleanup.h>
#include <sluice/http.h>
#include <sluice/readiness.h>

#include "cli/client.h"
#include "cli/service.h"

static char name[] = "shop", listen_any[] = "127.0.0.1:0", uri[] = "postgresql://u:hunter2@127.0.0.1:1/x",
	    empty[] = "";
static struct config cfg = { .name = name,
	.source = { .uri = uri, .user = empty, .password = empty },
	.target = { .uri = uri, .user = empty, .password = empty },
	.cutover = { .max_lag_ms = 1000, .max_lag_bytes = 1000, .hold_ms = 0 },
	.http = { .listen = listen_any } };
static struct log quiet = { .level = LOG_ERROR, .fd = STDERR_FILENO };
static struct metrics counters;
static struct status status;
static atomic_bool stop;
static const struct context ctx = {
	.cfg = &cfg,
	.log = &quiet,
	.metrics = &counters,
	.status = &status,
	.stop = &stop,
};
static struct http_server *server;
static char url[64];

static int setup(void **state)
{
	struct error err = ERROR_INIT;

	status_init(&status);
	atomic_store(&stop, false);
	if (http_service_start(&ctx, &server, &err) < 0)
		return -1;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)http_server_port(server));
	return 0;
}

static int teardown(void **state)
{
	server = http_server_free(server);
	status_fini(&status);
	return 0;
}

static int get(const char *path, struct buf *body)
{
	struct error err = ERROR_INIT;
	int status_code = client_get(url, path, "", body, &err);

	assert_true(status_code > 0);
	assert_null(strstr(buf_str(body), "hunter2"));
	return status_code;
}

static void make_ready(void)
{
	status_lock(&status);
	status.state = STATE_RUNNING;
	status.phase = PHASE_IN_SYNC;
	status.source.connected = status.target.connected = true;
	status.lag_seconds = 0;
	status.lag_bytes = 0;
	status.lag_measured = status.limits_met_since = mono_now();
	status.barrier_applied = status.sequences_mapped = true;
	status_unlock(&status);
}

static void test_livez(void **state)
{
	_cleanup_(buf_freep) struct buf body = BUF_INIT;

	/* nothing is connected, and it is alive */
	assert_int_equal(get("/livez", &body), 200);
	assert_int_equal(get("/healthz", &body), 200);
	status_lock(&status);
	status.main_turn.us -= INT64_C(61000000);
	status_unlock(&status);
	assert_int_equal(get("/livez", &body), 503);
	assert_int_equal(get("/healthz", &body), 503);
	assert_int_equal(get("/readyz", &body), 200);
}

static void test_readyz(void **state)
{
	_cleanup_(buf_freep) struct buf body = BUF_INIT;

	assert_int_equal(get("/readyz", &body), 200);
	status_state(&status, STATE_BLOCKED, "X", "x", "");
	assert_int_equal(get("/readyz", &body), 200);
	atomic_store(&stop, true);
	assert_int_equal(get("/readyz", &body), 503);
	assert_int_equal(get("/livez", &body), 200);
}

static void test_cutover_ready(void **state)
{
	const char *codes[] = { "ready", NULL };
	_cleanup_(buf_freep) struct buf body = BUF_INIT;
	char why[64];
	yajl_val doc;

	assert_int_equal(get("/cutover/ready", &body), 503);
	doc = yajl_tree_parse(buf_str(&body), why, sizeof(why));
	assert_non_null(doc);
	assert_true(YAJL_IS_FALSE(yajl_tree_get(doc, codes, yajl_t_any)));
	yajl_tree_free(doc);
	assert_non_null(strstr(buf_str(&body), "\"code\":\"not_connected\""));
	make_ready();
	assert_int_equal(get("/cutover/ready", &body), 200);
	assert_string_equal(buf_str(&body), "{\"ready\":true,\"reasons\":[],\"eta_seconds\":0}\n");
	assert_true(readiness_is_ready(&ctx));
}

static void test_status(void **state)
{
	_cleanup_(buf_freep) struct buf body = BUF_INIT;
	char why[64];
	yajl_val doc;

	assert_int_equal(get("/status", &body), 200);
	doc = yajl_tree_parse(buf_str(&body), why, sizeof(why));
	assert_non_null(doc);
	yajl_tree_free(doc);
	assert_int_equal(get("/status?tables=0", &body), 200);
	assert_int_equal(get("/status?tables=-1", &body), 400);
	assert_int_equal(get("/status?tables=99999999999999999999", &body), 400);
	assert_int_equal(get("/status?tables=", &body), 400);
}

static void raw_metrics(const char *accept, char *ret, size_t size)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_port = htons(http_server_port(server)),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char request[256];
	size_t have = 0;
	ssize_t n;

	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	n = snprintf(request, sizeof(request), "GET /metrics HTTP/1.0\r\nAccept: %s\r\n\r\n", accept);
	assert_int_equal(send(fd, request, (size_t)n, MSG_NOSIGNAL), n);
	while (have < size - 1 && (n = recv(fd, ret + have, size - 1 - have, 0)) > 0)
		have += (size_t)n;
	ret[have] = 0;
}

static void test_metrics_formats(void **state)
{
	static const struct {
		const char *accept;
		bool openmetrics;
	} rows[] = {
		{ "*/*", false },
		{ "text/plain", false },
		{ "application/openmetrics-text", true },
		{ "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
			true },
		{ "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5", false },
		{ "application/openmetrics-text;q=0", false },
	};
	static char answer[65536];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len;

		raw_metrics(rows[i].accept, answer, sizeof(answer));
		len = strlen(answer);
		assert_true(len > 1000);
		assert_int_equal(
			strstr(answer, "Content-Type: application/openmetrics-text; version=1.0.0") != NULL,
			rows[i].openmetrics);
		assert_int_equal(strcmp(answer + len - 6, "# EOF\n") == 0, rows[i].openmetrics);
	}
}

/* the commands against the service */
static void test_commands(void **state)
{
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct service_options opt = { .url = url, .out = out };
	struct error err = ERROR_INIT;

	assert_int_equal(service_ready(&opt, &err), EXIT_NO);
	assert_int_equal(err.class, ERROR_NONE);
	status_state(&status, STATE_PAUSED, "", "", "");
	opt.wait_ms = 600000; /* returns at once: a pause is not cured by time */
	assert_int_equal(service_ready(&opt, &err), EXIT_NO);
	make_ready();
	assert_int_equal(service_ready(&opt, &err), EXIT_OK);
	assert_int_equal(service_status(&opt, &err), EXIT_OK);
	fclose(out);
	assert_non_null(strstr(text, "paused"));
	assert_non_null(strstr(text, "shop  phase in-sync  state running"));
	assert_non_null(strstr(text, "ready      yes"));
}

static void test_commands_without_service(void **state)
{
	struct service_options opt = { .out = stdout };
	struct error err = ERROR_INIT;

	assert_int_equal(service_ready(&opt, &err), EXIT_CLI);
	opt.url = url;
	server = http_server_free(server);
	assert_int_equal(service_ready(&opt, &err), EXIT_UNAVAILABLE);
	assert_int_equal(service_status(&opt, &err), EXIT_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_livez, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readyz, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cutover_ready, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metrics_formats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commands_without_service, setup, teardown),
	};

	unsetenv("SLUICE_URL");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
