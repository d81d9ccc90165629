/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The paths of a running service. Two of them decide about processes and must not be cleverer than this:
 *   /livez   fails only when the main loop has not turned for a minute: a restart cures nothing else, and
 *            a source or target that is down least of all;
 *   /readyz  fails only once shutdown has begun: as a sidecar it decides about the application's pod.
 * Whether a cutover may begin is /cutover/ready, which nothing restarts anything for.
 */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sluice/http.h>
#include <sluice/readiness.h>
#include <sluice/report.h>

#define LIVE_SECONDS	   60
#define TABLES_DEFAULT	   100
#define TABLES_MAX	   10000
#define STATUS_UNAVAILABLE 503

static const char type_json[] = "application/json; charset=utf-8";
static const char type_prometheus[] = "text/plain; version=0.0.4; charset=utf-8";
static const char type_openmetrics[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static void render_live(void *arg, const struct http_request *req, struct http_reply *reply)
{
	const struct context *ctx = arg;
	int64_t age_us;

	status_lock(ctx->status);
	age_us = mono_diff_us(mono_now(), ctx->status->main_turn);
	status_unlock(ctx->status);
	if (age_us <= (int64_t)LIVE_SECONDS * 1000000) {
		buf_puts(&reply->body, "ok\n");
		return;
	}
	reply->status = STATUS_UNAVAILABLE;
	buf_printf(&reply->body, "the main loop has not turned for %lld s\n", (long long)(age_us / 1000000));
}

static void render_ready(void *arg, const struct http_request *req, struct http_reply *reply)
{
	const struct context *ctx = arg;

	if (!context_stopping(ctx)) {
		buf_puts(&reply->body, "ok\n");
		return;
	}
	reply->status = STATUS_UNAVAILABLE;
	buf_puts(&reply->body, "shutting down\n");
}

static void render_cutover_ready(void *arg, const struct http_request *req, struct http_reply *reply)
{
	struct readiness ready;

	readiness_evaluate(arg, &ready);
	if (!ready.ready)
		reply->status = STATUS_UNAVAILABLE;
	reply->content_type = type_json;
	report_readiness(&ready, &reply->body);
}

static void render_status(void *arg, const struct http_request *req, struct http_reply *reply)
{
	const char *tables = http_query(req, "tables");
	struct readiness ready;
	struct report_options opt = { .from = "service", .ready = &ready, .max_tables = TABLES_DEFAULT };

	if (tables) {
		char *end;
		unsigned long n = strtoul(tables, &end, 10);

		if (*tables < '0' || *tables > '9' || *end || n > TABLES_MAX) {
			reply->status = 400;
			buf_printf(&reply->body, "tables is a number from 0 to %d\n", TABLES_MAX);
			return;
		}
		opt.max_tables = (uint32_t)n;
	}
	status_sample(arg);
	readiness_evaluate(arg, &ready);
	reply->content_type = type_json;
	report_status(arg, &opt, &reply->body);
}

/* the weight that an Accept header gives to a media type; 0 = not named */
static double accept_weight(const char *accept, const char *type)
{
	const char *at = strcasestr(accept, type);
	const char *end, *q;

	if (!at)
		return 0;
	end = at + strcspn(at, ",");
	q = strcasestr(at, "q=");
	return q && q < end ? strtod(q + 2, NULL) : 1;
}

static void render_metrics(void *arg, const struct http_request *req, struct http_reply *reply)
{
	double weight = accept_weight(req->accept, "application/openmetrics-text");
	bool openmetrics = weight > 0 && weight >= accept_weight(req->accept, "text/plain");
	struct readiness ready;

	readiness_evaluate(arg, &ready);
	reply->content_type = openmetrics ? type_openmetrics : type_prometheus;
	report_metrics(arg, &ready, openmetrics, &reply->body);
}

static void render_index(void *arg, const struct http_request *req, struct http_reply *reply)
{
	const struct context *ctx = arg;

	buf_printf(&reply->body,
		"sluice %s, stream %s\n\n"
		"/status         where the migration stands, JSON; ?tables=100\n"
		"/cutover/ready  200 when a cutover may begin, 503 with the reasons when not, JSON\n"
		"/metrics        Prometheus, or OpenMetrics when asked for\n"
		"/livez          200 while the process works\n"
		"/readyz         200 until shutdown begins\n",
		SLUICE_VERSION, ctx->cfg->name);
}

static void on_tick(void *arg)
{
	status_sample(arg);
}

static const struct http_route routes[] = {
	{ "/", render_index },
	{ "/livez", render_live },
	{ "/healthz", render_live },
	{ "/readyz", render_ready },
	{ "/cutover/ready", render_cutover_ready },
	{ "/status", render_status },
	{ "/metrics", render_metrics },
};

int http_service_start(const struct context *ctx, struct http_server **ret, struct error *err)
{
	union {
		const struct context *ctx;
		void *arg;
	} shared = { .ctx = ctx };
	struct http_options opt = {
		.listen = ctx->cfg->http.listen,
		.routes = routes,
		.n_routes = sizeof(routes) / sizeof(*routes),
		.arg = shared.arg,
		.tick = on_tick,
	};

	if (http_server_new(&opt, ret, err) < 0)
		return -1;
	log_info(ctx->log, "http-listening", "HTTP answers", "listen=%s port=%u", ctx->cfg->http.listen,
		(unsigned)http_server_port(*ret));
	return 0;
}
