/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The HTTP server. libmicrohttpd speaks the protocol; the loop is ours, one thread, so that nothing here needs a lock:
 * accepting, parsing, rendering and the clock all run in it.
 *
 * What must stay true whatever a client does:
 *   1. memory is bounded: connections × connection memory, and the answers being sent;
 *   2. time is bounded twice: IDLE_SECONDS without a byte, and REQUEST_MS for a whole request; the library knows the first
 *      only, and a client that sends one byte every few seconds would hold its place for ever without the second;
 *   3. one address cannot take every place: PER_ADDRESS is below CONNECTIONS.
 */

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/cleanup.h>
#include <sluice/clock.h>
#include <sluice/http.h>

#include "listen.h"

#define CONNECTIONS		32
#define PER_ADDRESS		24
#define CONNECTION_MEMORY_BYTES ((size_t)16 * 1024)
#define IDLE_SECONDS		10
#define REQUEST_MS		20000
#define TICK_MS			1000

/* a connection and when it last did something whole */
struct peer {
	int fd; /* the library's; -1 = free place */
	struct mono since;
};

struct http_server {
	struct http_options opt;
	struct MHD_Daemon *daemon;
	pthread_t thread;
	bool running;
	int wake_fd, epoll_fd;
	uint16_t port;
	struct peer peers[CONNECTIONS];
};

static const char text_plain[] = "text/plain; charset=utf-8";

const char *http_query(const struct http_request *req, const char *key)
{
	return req->connection ? MHD_lookup_connection_value(req->connection, MHD_GET_ARGUMENT_KIND, key)
			       : NULL;
}

static enum MHD_Result reply_send(
	struct MHD_Connection *conn, const struct http_reply *reply, const char *allow)
{
	static char nothing[1];
	struct MHD_Response *response;
	enum MHD_Result rc;

	response = MHD_create_response_from_buffer(
		reply->body.len, reply->body.len ? (void *)reply->body.data : nothing, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
	rc = MHD_queue_response(conn, reply->status, response);
	MHD_destroy_response(response);
	return rc;
}

static enum MHD_Result reply_text(
	struct MHD_Connection *conn, unsigned status, const char *text, const char *allow)
{
	struct http_reply reply = { .status = status, .content_type = text_plain };
	enum MHD_Result rc;

	buf_puts(&reply.body, text);
	rc = reply_send(conn, &reply, allow);
	buf_fini(&reply.body);
	return rc;
}

static enum MHD_Result route_answer(
	struct http_server *server, const struct http_route *route, struct MHD_Connection *conn)
{
	const char *accept = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	struct http_request req = { .path = route->path, .accept = accept ? accept : "", .connection = conn };
	struct http_reply reply = { .status = MHD_HTTP_OK, .content_type = text_plain };
	enum MHD_Result rc;

	route->render(server->opt.arg, &req, &reply);
	rc = reply_send(conn, &reply, NULL);
	buf_fini(&reply.body);
	return rc;
}

static const struct http_route *route_find(const struct http_server *server, const char *path)
{
	for (size_t i = 0; i < server->opt.n_routes; i++)
		if (strcmp(server->opt.routes[i].path, path) == 0)
			return &server->opt.routes[i];
	return NULL;
}

/* the library calls this with the head of a request, then (for a method we serve) once more behind it */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
	const char *version, const char *upload_data, size_t *upload_bytes, void **request_state)
{
	static char head_seen;
	struct http_server *server = cls;
	const struct http_route *route;

	route = route_find(server, url);
	if (!route)
		return *upload_bytes ? MHD_NO : reply_text(conn, MHD_HTTP_NOT_FOUND, "not found\n", NULL);
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return *upload_bytes ? MHD_NO
				     : reply_text(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed\n",
					       "GET, HEAD");
	if (!*request_state) {
		*request_state = &head_seen; /* an answer to the head alone would cost the connection */
		return MHD_YES;
	}
	if (*upload_bytes)
		return MHD_NO; /* a GET with a body: hang up */
	return route_answer(server, route, conn);
}

static void on_completed(
	void *cls, struct MHD_Connection *conn, void **request_state, enum MHD_RequestTerminationCode code)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct peer *peer = info ? info->socket_context : NULL;

	if (peer)
		peer->since = mono_now();
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
	enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = cls;
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (*socket_context)
			((struct peer *)*socket_context)->fd = -1;
		return;
	}
	info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	for (size_t i = 0; info && i < CONNECTIONS; i++) {
		if (server->peers[i].fd >= 0)
			continue;
		server->peers[i] = (struct peer){ .fd = info->connect_fd, .since = mono_now() };
		*socket_context = &server->peers[i];
		break;
	}
}

/* a request that takes too long as a whole: the library then sees the end of the connection */
static void peers_sweep(struct http_server *server, struct mono now)
{
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct peer *peer = &server->peers[i];

		if (peer->fd < 0 || mono_diff_us(now, peer->since) < (int64_t)REQUEST_MS * 1000)
			continue;
		shutdown(peer->fd, SHUT_RDWR);
		peer->since = now;
	}
}

static int poll_timeout_ms(struct http_server *server, struct mono tick_at)
{
	int timeout_ms = mono_until_ms(tick_at, mono_now());
	MHD_UNSIGNED_LONG_LONG wanted_ms;

	if (MHD_get_timeout(server->daemon, &wanted_ms) == MHD_YES && wanted_ms < (unsigned)timeout_ms)
		timeout_ms = (int)wanted_ms;
	return timeout_ms;
}

static void *server_main(void *arg)
{
	struct http_server *server = arg;
	struct pollfd fds[2] = { { .fd = server->epoll_fd, .events = POLLIN },
		{ .fd = server->wake_fd, .events = POLLIN } };
	struct mono tick_at = mono_now();

	for (;;) {
		struct mono now;

		if (poll(fds, 2, poll_timeout_ms(server, tick_at)) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		MHD_run(server->daemon);
		now = mono_now();
		if (mono_diff_us(now, tick_at) < 0)
			continue;
		tick_at = mono_add_ms(now, TICK_MS);
		peers_sweep(server, now);
		if (server->opt.tick)
			server->opt.tick(server->opt.arg);
	}
	return NULL;
}

static int daemon_start(struct http_server *server, int listen_fd, struct error *err)
{
	const union MHD_DaemonInfo *info;

	server->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, server,
		MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)PER_ADDRESS, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY_BYTES,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
		server, MHD_OPTION_END);
	if (!server->daemon) {
		close(listen_fd);
		return error_set(err, ERROR_TRANSIENT, "HTTP-START", "the HTTP server could not be started");
	}
	info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return error_set(err, ERROR_BUG, "HTTP-START", "the HTTP library was built without epoll");
	server->epoll_fd = info->epoll_fd;
	return 0;
}

/* signals belong to the main thread */
static int thread_start(struct http_server *server, struct error *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&server->thread, NULL, server_main, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return error_set(
			err, ERROR_TRANSIENT, "HTTP-THREAD", "thread of the HTTP server: %s", strerror(rc));
	server->running = true;
	return 0;
}

int http_server_new(const struct http_options *opt, struct http_server **ret, struct error *err)
{
	_cleanup_(http_server_freep) struct http_server *server = calloc(1, sizeof(*server));
	int listen_fd;

	if (!server)
		abort();
	server->opt = *opt;
	server->epoll_fd = -1;
	for (size_t i = 0; i < CONNECTIONS; i++)
		server->peers[i].fd = -1;
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->wake_fd < 0)
		return error_set(err, ERROR_TRANSIENT, "HTTP-START", "eventfd: %s", strerror(errno));
	if (http_listen(opt->listen, &listen_fd, &server->port, err) < 0)
		return -1;
	if (daemon_start(server, listen_fd, err) < 0 || thread_start(server, err) < 0)
		return -1;
	*ret = server;
	server = NULL; /* the caller's now */
	return 0;
}

uint16_t http_server_port(const struct http_server *server)
{
	return server->port;
}

struct http_server *http_server_free(struct http_server *server)
{
	if (!server)
		return NULL;
	if (server->running) {
		eventfd_write(server->wake_fd, 1);
		pthread_join(server->thread, NULL);
	}
	if (server->daemon)
		MHD_stop_daemon(server->daemon);
	if (server->wake_fd >= 0)
		close(server->wake_fd);
	free(server);
	return NULL;
}
