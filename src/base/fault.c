/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Fault points of test builds; see fault.h. Each name has a hit counter of its own; the environment is
 * looked at on every hit, which only test builds pay for.
 */

#include <sluice/fault.h>

#ifdef SLUICE_FAULT_POINTS

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_POINTS  256
#define LISTED_HITS 3

struct point {
	const char *name;
	unsigned hits;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct point points[MAX_POINTS];
static unsigned n_points;

static void list_point(const char *name)
{
	const char *path = getenv("SLUICE_FAULT_LIST");
	char line[128];
	int fd, n;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	n = snprintf(line, sizeof(line), "%s\n", name);
	if (write(fd, line, (size_t)n) != n)
		abort();
	close(fd);
}

static unsigned count_hit(const char *name)
{
	unsigned hits = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < n_points && !hits; i++) {
		if (!strcmp(points[i].name, name))
			hits = ++points[i].hits;
	}
	if (!hits && n_points < MAX_POINTS) {
		points[n_points++] = (struct point){ name, 1 };
		hits = 1;
	}
	if (hits && hits <= LISTED_HITS)
		list_point(name);
	pthread_mutex_unlock(&lock);
	return hits;
}

bool fault_hit(const char *name)
{
	const char *spec = getenv("SLUICE_FAULT");
	unsigned hits = count_hit(name);
	size_t len = strlen(name);

	for (const char *p = spec; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		char action[64];
		const char *at;
		unsigned long want = 1;

		if (strncmp(p, name, len) || p[len] != ':')
			continue;
		snprintf(action, sizeof(action), "%.*s", (int)strcspn(p + len + 1, ",@"), p + len + 1);
		at = p + len + 1 + strlen(action);
		if (*at == '@')
			want = strtoul(at + 1, NULL, 10);
		if (hits != want)
			continue;
		if (!strcmp(action, "abort"))
			raise(SIGKILL);
		if (!strncmp(action, "sleep", 5))
			poll(NULL, 0, action[5] == '=' ? (int)strtol(action + 6, NULL, 10) : 3600 * 1000);
		if (!strcmp(action, "error"))
			return true;
	}
	return false;
}

int fault_period_ms(const char *name, int ms)
{
	size_t len = strlen(name);

	for (const char *p = getenv("SLUICE_PERIOD"); p && *p;
		p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		if (!strncmp(p, name, len) && p[len] == '=')
			return (int)strtol(p + len + 1, NULL, 10);
	}
	return ms;
}

#endif
