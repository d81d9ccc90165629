/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads /proc/self. Values there are numbers written by the kernel; a file that is missing (hidepid, no procfs) leaves
 * zeros.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sluice/cleanup.h>

#include "process.h"

/* returns the length, 0 when there is nothing */
static size_t read_small(const char *path, char *buf, size_t size)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	buf[0] = 0;
	if (fd < 0)
		return 0;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = 0;
	buf[n] = 0;
	return (size_t)n;
}

static void usage_memory(struct process_usage *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	char buf[256], *end;

	if (!read_small("/proc/self/statm", buf, sizeof(buf)))
		return;
	ret->virtual_bytes = strtoull(buf, &end, 10) * page;
	ret->resident_bytes = strtoull(end, NULL, 10) * page;
}

/* field 22 of stat counts ticks since boot; the boot time stands in /proc/stat, whose first line is long */
static void usage_start(struct process_usage *ret)
{
	char buf[1024], line[256];
	const char *at;
	unsigned long long ticks, boot;
	long hz = sysconf(_SC_CLK_TCK);
	FILE *file;

	if (!read_small("/proc/self/stat", buf, sizeof(buf)) || hz <= 0)
		return;
	at = strrchr(buf, ')'); /* the name before it may hold anything */
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return;
	ticks = strtoull(at, NULL, 10);
	file = fopen("/proc/stat", "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "btime %llu", &boot) == 1) {
			ret->start_seconds = (double)boot + (double)ticks / (double)hz;
			break;
		}
	}
	fclose(file);
}

static void usage_fds(struct process_usage *ret)
{
	struct rlimit limit;
	DIR *dir = opendir("/proc/self/fd");

	if (dir) {
		const struct dirent *entry;

		while ((entry = readdir(dir)))
			if (entry->d_name[0] != '.')
				ret->open_fds++;
		closedir(dir);
		if (ret->open_fds)
			ret->open_fds--; /* the directory itself */
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		ret->max_fds = limit.rlim_cur;
}

void process_usage_read(struct process_usage *ret)
{
	struct rusage usage;

	memset(ret, 0, sizeof(*ret));
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		ret->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
				   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	usage_memory(ret);
	usage_start(ret);
	usage_fds(ret);
}
