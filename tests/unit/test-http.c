/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The HTTP server and the client of `sluice status`, against each other and against raw requests, over loopback.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/cleanup.h>
#include <sluice/http.h>

#include "cli/client.h"
#include "http/listen.h"

static void render_hello(void *arg, const struct http_request *req, struct http_reply *reply)
{
	const char *who = http_query(req, "who");

	buf_printf(&reply->body, "hello %s, %s", who ? who : "nobody", (const char *)arg);
}

static void render_no(void *arg, const struct http_request *req, struct http_reply *reply)
{
	reply->status = 503;
	reply->content_type = "application/json";
	buf_puts(&reply->body, "{\"ready\":false}\n");
}

static const struct http_route routes[] = { { "/hello", render_hello }, { "/no", render_no } };
static char greeting[] = "good day";

static struct http_server *server_start(void)
{
	struct http_options opt = {
		.listen = "127.0.0.1:0", .routes = routes, .n_routes = 2, .arg = greeting
	};
	struct http_server *server = NULL;
	struct error err = ERROR_INIT;

	assert_int_equal(http_server_new(&opt, &server, &err), 0);
	assert_int_not_equal(http_server_port(server), 0);
	return server;
}

static int dial(const struct http_server *server)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_port = htons(http_server_port(server)),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* sends a request and reads until the server closes or has nothing more */
static void exchange(int fd, const char *request, size_t len, char *ret, size_t size)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	size_t have = 0;

	send(fd, request, len, MSG_NOSIGNAL);
	while (have < size - 1 && poll(&pfd, 1, have ? 100 : 1000) > 0) {
		ssize_t n = recv(fd, ret + have, size - 1 - have, 0);

		if (n <= 0)
			break;
		have += (size_t)n;
	}
	ret[have] = 0;
}

static void one_request(const char *request, char *ret, size_t size)
{
	_cleanup_(http_server_freep) struct http_server *server = server_start();
	_cleanup_(closep) int fd = dial(server);

	exchange(fd, request, strlen(request), ret, size);
}

static void test_get(void **state)
{
	_cleanup_(http_server_freep) struct http_server *server = server_start();
	_cleanup_(buf_freep) struct buf body = BUF_INIT;
	struct error err = ERROR_INIT;
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", (unsigned)http_server_port(server));
	assert_int_equal(client_get(url, "/hello?who=a%20b", "", &body, &err), 200);
	assert_string_equal(buf_str(&body), "hello a b, good day");
	assert_int_equal(client_get(url, "/no", "", &body, &err), 503);
	assert_string_equal(buf_str(&body), "{\"ready\":false}\n");
	assert_int_equal(client_get(url, "/missing", "", &body, &err), 404);
	assert_int_equal(client_get(url, "/hello/", "", &body, &err), 404);
}

static void test_head(void **state)
{
	char answer[4096];

	one_request("HEAD /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer, sizeof(answer));
	assert_non_null(strstr(answer, "HTTP/1.1 503"));
	assert_non_null(strstr(answer, "Content-Length: 16\r\n"));
	assert_non_null(strstr(answer, "Content-Type: application/json\r\n"));
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

static void test_other_methods(void **state)
{
	static const char *const methods[] = { "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW" };
	char request[128], answer[4096];

	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		snprintf(request, sizeof(request),
			"%s /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
			"Connection: close\r\n\r\n",
			methods[i]);
		one_request(request, answer, sizeof(answer));
		assert_non_null(strstr(answer, "HTTP/1.1 405"));
		assert_non_null(strstr(answer, "Allow: GET, HEAD\r\n"));
	}
	one_request("POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\nxxxx", answer,
		sizeof(answer));
	assert_non_null(strstr(answer, "HTTP/1.1 405"));
}

static void test_long_header(void **state)
{
	_cleanup_(http_server_freep) struct http_server *server = server_start();
	_cleanup_(closep) int fd = dial(server);
	static char request[200000], answer[4096];
	int n = snprintf(request, sizeof(request), "GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: ");
	int status = 0;

	memset(request + n, 'a', sizeof(request) - (size_t)n);
	exchange(fd, request, 20000, answer, sizeof(answer));
	assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
	assert_in_range(status, 400, 499);
}

static void test_rubbish(void **state)
{
	char answer[4096];
	int status = 0;

	one_request("\x16\x03\x01\x02\x01\xff\r\n\r\n", answer, sizeof(answer));
	if (*answer) { /* hanging up is as good */
		assert_int_equal(sscanf(answer, "HTTP/1.%*d %d", &status), 1);
		assert_in_range(status, 400, 599);
	}
}

/* far more clients than places: those that are in are served, and the server lives on when they go */
static void test_many_connections(void **state)
{
	_cleanup_(http_server_freep) struct http_server *server = server_start();
	_cleanup_(buf_freep) struct buf body = BUF_INIT;
	struct error err = ERROR_INIT;
	char url[64];
	int fds[60], status = 0;

	for (size_t i = 0; i < 60; i++)
		fds[i] = dial(server);
	for (size_t i = 0; i < 60; i++)
		close(fds[i]);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)http_server_port(server));
	/* the server may not have noticed yet that the others are gone */
	for (int tries = 0; tries < 100 && status != 200; tries++) {
		poll(NULL, 0, tries ? 50 : 0);
		status = client_get(url, "/hello", "", &body, &err);
	}
	assert_int_equal(status, 200);
}

static void test_address_in_use(void **state)
{
	_cleanup_(http_server_freep) struct http_server *server = server_start();
	struct http_server *second = NULL;
	struct http_options opt = { .routes = routes, .n_routes = 2 };
	struct error err = ERROR_INIT;
	char listen[64];

	snprintf(listen, sizeof(listen), "127.0.0.1:%u", (unsigned)http_server_port(server));
	opt.listen = listen;
	assert_true(http_server_new(&opt, &second, &err) < 0);
	assert_int_equal(err.class, ERROR_CONFIG);
	assert_int_equal(error_exit_code(&err), EXIT_CONFIG);
	assert_non_null(strstr(err.message, "in use"));
	assert_null(second);
}

static void test_listen_split(void **state)
{
	static const struct {
		const char *text, *host;
		int port; /* -1 = refused */
	} rows[] = {
		{ "127.0.0.1:8620", "127.0.0.1", 8620 },
		{ "[::]:8620", "::", 8620 },
		{ "localhost:0", "localhost", 0 },
		{ ":8620", "", 8620 },
		{ "::1:8620", NULL, -1 },
		{ "[::1]8620", NULL, -1 },
		{ "[::1", NULL, -1 },
		{ "8620", NULL, -1 },
		{ "host:", NULL, -1 },
		{ "host:65536", NULL, -1 },
		{ "host:-1", NULL, -1 },
		{ "host:80x", NULL, -1 },
		{ "", NULL, -1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct error err = ERROR_INIT;
		char host[64] = "?";
		uint16_t port = 0;
		int rc = http_listen_split(rows[i].text, host, sizeof(host), &port, &err);

		assert_int_equal(rc, rows[i].port < 0 ? -1 : 0);
		if (rc == 0) {
			assert_string_equal(host, rows[i].host);
			assert_int_equal(port, rows[i].port);
		} else {
			assert_int_equal(error_exit_code(&err), EXIT_CONFIG);
		}
	}
}

static void test_client_refuses(void **state)
{
	static const char *const urls[] = { "", "localhost:1", "https://localhost:1", "http://", "http://:80",
		"http://h:x", "http://h:123456", "http://[::1", "http://user@h:1", "http://h:1?x",
		"http://h\r\nx:1" };
	_cleanup_(buf_freep) struct buf body = BUF_INIT;
	struct error err = ERROR_INIT;
	char url[64];

	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
		assert_true(client_get(urls[i], "/", "", &body, &err) < 0);
		assert_int_equal(error_exit_code(&err), EXIT_CLI);
	}
	assert_int_equal(client_default_url("[::]:8620", url, sizeof(url), &err), 0);
	assert_string_equal(url, "http://localhost:8620");
	assert_int_equal(client_default_url("10.0.0.1:80", url, sizeof(url), &err), 0);
	assert_string_equal(url, "http://10.0.0.1:80");
	assert_true(client_default_url("127.0.0.1:0", url, sizeof(url), &err) < 0);
}

static void test_client_nobody(void **state)
{
	_cleanup_(buf_freep) struct buf body = BUF_INIT;
	struct http_server *server = server_start();
	struct error err = ERROR_INIT;
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)http_server_port(server));
	http_server_free(server);
	assert_true(client_get(url, "/hello", "", &body, &err) < 0);
	assert_int_equal(error_exit_code(&err), EXIT_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_other_methods),
		cmocka_unit_test(test_long_header),
		cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_many_connections),
		cmocka_unit_test(test_address_in_use),
		cmocka_unit_test(test_listen_split),
		cmocka_unit_test(test_client_refuses),
		cmocka_unit_test(test_client_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
