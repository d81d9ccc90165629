/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The listening socket is made here and not by the HTTP library, because only the errno of bind(2) can tell an operator
 * what is wrong ("the port is in use"), and because [::] should answer IPv4 as well and still work on a host without
 * IPv6: it is what the container image listens on.
 */

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sluice/cleanup.h>

#include "listen.h"

#define LISTEN_BACKLOG 64

static int listen_error(struct error *err, const char *text, const char *why)
{
	error_set(err, ERROR_CONFIG, "HTTP-LISTEN", "http.listen %s: %s", text, why);
	error_exit(err, EXIT_CONFIG);
	return error_remedy(err, "set http.listen to HOST:PORT, for example 127.0.0.1:8620");
}

int http_listen_split(const char *text, char *ret_host, size_t size, uint16_t *ret_port, struct error *err)
{
	const char *host = text, *host_end, *port;
	char *end;
	long number;

	if (*text == '[') {
		host = text + 1;
		host_end = strchr(host, ']');
		if (!host_end || host_end[1] != ':')
			return listen_error(err, text, "not of the form [ADDRESS]:PORT");
		port = host_end + 2;
	} else {
		host_end = strrchr(text, ':');
		if (!host_end || memchr(text, ':', (size_t)(host_end - text)))
			return listen_error(err, text, "not of the form HOST:PORT");
		port = host_end + 1;
	}
	if ((size_t)(host_end - host) >= size)
		return listen_error(err, text, "the host is too long");
	errno = 0;
	number = strtol(port, &end, 10);
	if (*port < '0' || *port > '9' || *end || errno || number > UINT16_MAX)
		return listen_error(err, text, "the port is not a number from 0 to 65535");
	memcpy(ret_host, host, (size_t)(host_end - host));
	ret_host[host_end - host] = 0;
	*ret_port = (uint16_t)number;
	return 0;
}

/* returns the socket, or -1 with errno */
static int listen_on(const struct sockaddr *addr, socklen_t len)
{
	int one = 1, zero = 0, saved;
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
		(addr->sa_family != AF_INET6 ||
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) == 0) &&
		bind(fd, addr, len) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int listen_any_ipv4(uint16_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };

	return listen_on((const struct sockaddr *)&any, sizeof(any));
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
		return 0;
	if (addr.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&addr)->sin6_port);
	return ntohs(((const struct sockaddr_in *)&addr)->sin_port);
}

int http_listen(const char *text, int *ret_fd, uint16_t *ret_port, struct error *err)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE
	};
	struct addrinfo *list = NULL;
	char host[256] = "", service[8];
	uint16_t port = 0;
	int fd = -1, rc;

	if (http_listen_split(text, host, sizeof(host), &port, err) < 0)
		return -1;
	if (!*host) /* all addresses */
		snprintf(host, sizeof(host), "::");
	snprintf(service, sizeof(service), "%u", (unsigned)port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0 && strcmp(host, "::") != 0)
		return listen_error(err, text, gai_strerror(rc));
	errno = 0; /* when nothing was tried */
	for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
		fd = listen_on(at->ai_addr, at->ai_addrlen);
	if (list)
		freeaddrinfo(list);
	if (fd < 0 && strcmp(host, "::") == 0 && errno != EADDRINUSE && errno != EACCES)
		fd = listen_any_ipv4(port);
	if (fd < 0)
		return listen_error(err, text, strerror(errno));
	*ret_fd = fd;
	*ret_port = bound_port(fd);
	return 0;
}
