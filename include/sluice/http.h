/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A small HTTP server on one thread of its own: a table of paths, each with a function that renders its answer. It
 * knows no domain word. Everything a client controls is bounded: connections, connections per address, header
 * bytes, idle time, and the whole time of one request. GET and HEAD only.
 */

#include <stddef.h>
#include <stdint.h>

#include <sluice/buf.h>
#include <sluice/error.h>

struct context;
struct http_server;

struct http_request {
	const char *path;
	const char *accept; /* the Accept header, "" = none */
	void *connection;   /* the server's own */
};

struct http_reply {
	unsigned status; /* 200 unless render() sets another */
	const char
		*content_type; /* "text/plain; charset=utf-8" unless render() sets another; static storage */
	struct buf body;
};

struct http_route {
	const char *path; /* compared whole; "/livez" */
	/** render() - writes the answer; never a row value or a secret. Thread: the server's. Blocks: a few ms. */
	void (*render)(void *arg, const struct http_request *req, struct http_reply *reply);
};

struct http_options {
	const char *listen; /* "127.0.0.1:8620", "[::]:8620", "localhost:0"; port 0 = any free one */
	const struct http_route *routes; /* borrowed until http_server_free() */
	size_t n_routes;
	void *arg;		 /* for render() and tick() */
	void (*tick)(void *arg); /* called about once a second; may be NULL */
};

/** http_query() - the decoded value of a query parameter, NULL = not given. Borrowed until render() returns. */
const char *http_query(const struct http_request *req, const char *key);

/**
 * http_server_new() - binds, listens and starts the thread. [::] also takes IPv4; where the host has no IPv6,
 * 0.0.0.0 is bound instead.
 * Thread: any. Blocks: as long as a name takes to resolve. Return: 0; negative: CONFIG (78) when the address is wrong or in
 * use, TRANSIENT when the thread cannot be made.
 */
int http_server_new(const struct http_options *opt, struct http_server **ret, struct error *err);
/** http_server_port() - the port that is really bound. */
uint16_t http_server_port(const struct http_server *server);
/** http_server_free() - ends the thread, closes every connection; NULL is allowed; returns NULL. Blocks: some ms. */
struct http_server *http_server_free(struct http_server *server);

/**
 * http_service_start() - the server of a running service: /livez /healthz /readyz /cutover/ready /status /metrics and
 * a list of these at /. Listens at ctx->cfg->http.listen and logs where.
 * @ctx: borrowed until http_server_free().
 * Thread: main. Blocks: as http_server_new(). Return: as http_server_new().
 */
int http_service_start(const struct context *ctx, struct http_server **ret, struct error *err);

static inline void http_server_freep(struct http_server **server)
{
	if (*server)
		http_server_free(*server);
}
