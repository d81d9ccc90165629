/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A GET over HTTP/1.0 needs neither chunks nor keep-alive: the answer is everything until the server closes. That is
 * enough for asking our own service, so no HTTP library is linked for it. TLS is not spoken: the service listens on
 * loopback or inside a cluster's network.
 */

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/cleanup.h>
#include <sluice/clock.h>

#include "client.h"

#define ANSWER_MAX_BYTES ((size_t)32 * 1024 * 1024)

struct target {
	char host[256], port[8], prefix[256];
};

static int unavailable(struct error *err, const struct target *to, const char *why)
{
	error_set(err, ERROR_TRANSIENT, "SERVICE-UNREACHABLE", "no service answers at %s port %s: %s",
		to->host, to->port, why);
	return error_exit(err, EXIT_UNAVAILABLE);
}

static int bad_url(struct error *err, const char *url)
{
	error_set(err, ERROR_CONFIG, "URL", "not a URL of the form http://HOST:PORT: %s", url);
	return error_exit(err, EXIT_CLI);
}

int client_default_url(const char *listen, char *ret, size_t size, struct error *err)
{
	const char *port = strrchr(listen, ':');
	size_t len = port ? (size_t)(port - listen) : 0;

	if (!port || strcmp(port, ":0") == 0) {
		error_set(err, ERROR_CONFIG, "URL", "http.listen %s does not tell where the service answers",
			listen);
		return error_remedy(err, "give --url http://HOST:PORT or SLUICE_URL");
	}
	if (len == 0 || (len == 4 && strncmp(listen, "[::]", 4) == 0) ||
		(len == 7 && strncmp(listen, "0.0.0.0", 7) == 0))
		snprintf(ret, size, "http://localhost%s", port);
	else
		snprintf(ret, size, "http://%s", listen);
	return 0;
}

static int url_split(const char *url, struct target *ret, struct error *err)
{
	static const char scheme[] = "http://";
	const char *host, *host_end, *rest;
	size_t port_len, prefix_len;

	if (strncasecmp(url, scheme, sizeof(scheme) - 1) != 0 || strpbrk(url, " \t\r\n@?#"))
		return bad_url(err, url);
	host = url + sizeof(scheme) - 1;
	if (*host == '[') {
		host++;
		host_end = strchr(host, ']');
		rest = host_end ? host_end + 1 : NULL;
	} else {
		host_end = host + strcspn(host, ":/");
		rest = host_end;
	}
	if (!host_end || host_end == host || (size_t)(host_end - host) >= sizeof(ret->host))
		return bad_url(err, url);
	snprintf(ret->host, sizeof(ret->host), "%.*s", (int)(host_end - host), host);
	snprintf(ret->port, sizeof(ret->port), "80");
	if (*rest == ':') {
		port_len = strspn(rest + 1, "0123456789");
		if (port_len == 0 || port_len > 5)
			return bad_url(err, url);
		snprintf(ret->port, sizeof(ret->port), "%.*s", (int)port_len, rest + 1);
		rest += 1 + port_len;
	}
	if (*rest && *rest != '/')
		return bad_url(err, url);
	prefix_len = strlen(rest);
	while (prefix_len && rest[prefix_len - 1] == '/')
		prefix_len--;
	if (prefix_len >= sizeof(ret->prefix))
		return bad_url(err, url);
	snprintf(ret->prefix, sizeof(ret->prefix), "%.*s", (int)prefix_len, rest);
	return 0;
}

/* returns false when the deadline has passed */
static bool wait_for(int fd, short events, struct mono deadline)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int timeout_ms, rc;

	do {
		timeout_ms = mono_until_ms(deadline, mono_now());
		rc = poll(&pfd, 1, timeout_ms);
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

/* returns the connected socket, or -1 with errno */
static int connect_one(const struct addrinfo *addr, struct mono deadline)
{
	_cleanup_(closep) int fd = -1;
	int failure = 0, mine;
	socklen_t len = sizeof(failure);

	fd = socket(addr->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, addr->ai_addr, addr->ai_addrlen) < 0) {
		if (errno != EINPROGRESS)
			return -1;
		if (!wait_for(fd, POLLOUT, deadline)) {
			errno = ETIMEDOUT;
			return -1;
		}
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0 || failure) {
			errno = failure;
			return -1;
		}
	}
	mine = fd;
	fd = -1; /* the caller's now */
	return mine;
}

static int connect_any(const struct target *to, struct mono deadline, struct error *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int fd = -1, rc, saved = 0;

	rc = getaddrinfo(to->host, to->port, &hints, &list);
	if (rc != 0)
		return unavailable(err, to, gai_strerror(rc));
	for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
		fd = connect_one(at, deadline);
		saved = errno;
	}
	freeaddrinfo(list);
	return fd < 0 ? unavailable(err, to, strerror(saved)) : fd;
}

/* sends all of data; returns 0 or an errno */
static int send_all(int fd, const struct buf *data, struct mono deadline)
{
	for (size_t done = 0; done < data->len;) {
		ssize_t n = send(fd, data->data + done, data->len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			return errno;
		else if (!wait_for(fd, POLLOUT, deadline))
			return ETIMEDOUT;
	}
	return 0;
}

/* receives until the server closes; returns 0 or an errno */
static int receive_all(int fd, struct buf *ret, struct mono deadline)
{
	while (ret->len < ANSWER_MAX_BYTES) {
		uint8_t *at = buf_grow(ret, 16384);
		ssize_t n = recv(fd, at, 16384, 0);

		if (n > 0)
			ret->len += (size_t)n;
		else if (n == 0)
			return 0;
		else if (errno != EAGAIN && errno != EINTR)
			return errno;
		else if (!wait_for(fd, POLLIN, deadline))
			return ETIMEDOUT;
	}
	return EMSGSIZE;
}

/* returns the status and moves the body to the front, or -1 when it is no whole HTTP answer */
static int answer_split(struct buf *answer)
{
	static const char length_name[] = "\r\ncontent-length:";
	const char *text = buf_str(answer), *body = strstr(text, "\r\n\r\n"), *length;
	size_t head_len, body_len;
	int status;

	if (!body || sscanf(text, "HTTP/1.%*1d %3d", &status) != 1 || status < 100)
		return -1;
	head_len = (size_t)(body - text) + 4;
	body_len = answer->len - head_len;
	length = strcasestr(text, length_name);
	/* a server that died in the middle must not pass for one that has spoken */
	if (length && length < body && strtoull(length + sizeof(length_name) - 1, NULL, 10) != body_len)
		return -1;
	memmove(answer->data, answer->data + head_len, body_len);
	answer->len = body_len;
	return status;
}

int client_get(const char *url, const char *path, const char *token, struct buf *ret, struct error *err)
{
	struct mono deadline = mono_add_ms(mono_now(), CLIENT_TIMEOUT_MS);
	_cleanup_(buf_freep) struct buf request = BUF_INIT;
	_cleanup_(closep) int fd = -1;
	struct target to;
	int rc;

	buf_clear(ret);
	if (url_split(url, &to, err) < 0)
		return -1;
	fd = connect_any(&to, deadline, err);
	if (fd < 0)
		return -1;
	buf_printf(&request, "GET %s%s HTTP/1.0\r\nHost: %s:%s\r\nConnection: close\r\n", to.prefix, path,
		to.host, to.port);
	if (*token)
		buf_printf(&request, "Authorization: Bearer %s\r\n", token);
	buf_puts(&request, "\r\n");
	rc = send_all(fd, &request, deadline);
	if (rc == 0)
		rc = receive_all(fd, ret, deadline);
	if (rc != 0)
		return unavailable(err, &to, strerror(rc));
	rc = answer_split(ret);
	return rc < 0 ? unavailable(err, &to, "the answer is not a whole HTTP answer") : rc;
}
