/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Loading: defaults, file, environment, --set, then the rules. Each step goes on after an error, so that one
 * run shows all of them. In the environment SLUICE_ alone does not make a setting: Kubernetes puts
 * SLUICE_SERVICE_HOST and kin there for a service named sluice, so an unknown name is a warning, and only
 * when it looks like a known one.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/cleanup.h>
#include <sluice/kafka_properties.h>

#include "bind.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define PREFIX	       "SLUICE_"

static const char *const places[] = { "./sluice.yaml", "/etc/sluice/sluice.yaml" };

/* not settings */
static const char *const others[] = { "SLUICE_CONFIG", "SLUICE_URL", "SLUICE_TOKEN_FILE", "SLUICE_FAULT",
	"SLUICE_FAULT_LIST" };

static const char *find_file(const char *path)
{
	const char *env = getenv("SLUICE_CONFIG");

	if (path)
		return path;
	if (env && *env)
		return env;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		if (access(places[i], F_OK) == 0)
			return places[i];
	}
	return "";
}

static int read_all(const char *path, struct buf *ret)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf_grow(ret, 4096), 4096)) > 0) {
		ret->len += (size_t)n;
		if (ret->len > FILE_MAX_BYTES)
			return -EFBIG;
	}
	return n < 0 ? -errno : 0;
}

static void load_file(struct binder *b)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;
	int r;

	if (!*b->file)
		return;
	r = read_all(b->file, &text);
	b->incomplete = r < 0;
	if (r < 0)
		bind_problem(b, &(struct origin){ 0 }, "", "cannot read the config: %s", strerror(-r));
	else
		yaml_bind(b, buf_str(&text), text.len);
	if (text.data)
		explicit_bzero(text.data, text.cap);
}

/* a list outside of the file: texts with commas between them, blanks around them cut */
static void bind_commas(struct binder *b, int option, const struct origin *origin, const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);
	_cleanup_(freep) char **items = calloc(strlen(text) / 2 + 2, sizeof(*items));
	char *at = copy, *item;
	size_t n = 0;

	if (!copy || !items)
		abort();
	while ((item = strsep(&at, ","))) {
		size_t len;

		item += strspn(item, " ");
		len = strlen(item);
		while (len && item[len - 1] == ' ')
			item[--len] = 0;
		if (len)
			items[n++] = item;
	}
	bind_list(b, option, origin, items, n);
}

static void bind_either(struct binder *b, int option, const struct origin *origin, const char *text)
{
	if (options_at((size_t)option)->type == OPTION_LIST)
		bind_commas(b, option, origin, text);
	else
		bind_text(b, option, origin, text, text);
}

static void load_environment(struct binder *b)
{
	const struct origin origin = { .kind = ORIGIN_ENVIRONMENT };
	const struct option *opt;

	for (size_t i = 0; (opt = options_at(i)); i++) {
		char name[KEY_BYTES];
		const char *value = getenv(config_environment_name(opt->key, name, sizeof(name)));

		if (value && *value)
			bind_either(b, (int)i, &origin, value);
	}
}

/* the option whose variable has this name, -1 = none */
static int environment_option(const char *name)
{
	const struct option *opt;
	char known[KEY_BYTES];

	for (size_t i = 0; (opt = options_at(i)); i++) {
		if (!strcmp(config_environment_name(opt->key, known, sizeof(known)), name))
			return (int)i;
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (!strcmp(others[i], name))
			return 0;
	}
	return -1;
}

/* a name that is nearly a setting's: everything after its first wrong character differs in one place */
static bool nearly(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	if (!*a && !*b)
		return false;
	return (*a && !strcmp(a + 1, b)) || (*b && !strcmp(a, b + 1)) ||
	       (*a && *b &&
		       (!strcmp(a + 1, b + 1) || (a[0] == b[1] && a[1] == b[0] && !strcmp(a + 2, b + 2))));
}

static void warn_variable(struct binder *b, const char *name)
{
	const struct option *opt;
	char known[KEY_BYTES];

	for (size_t i = 0; (opt = options_at(i)); i++) {
		if (!nearly(name, config_environment_name(opt->key, known, sizeof(known))))
			continue;
		buf_printf(&b->report->warnings, "%s: not a setting, did you mean %s?\n", name, known);
		b->report->n_warnings++;
		return;
	}
}

static void check_environment(struct binder *b)
{
	for (char **p = environ; p && *p; p++) {
		size_t len = strcspn(*p, "=");
		char name[KEY_BYTES];

		if (strncmp(*p, PREFIX, strlen(PREFIX)) || len >= sizeof(name))
			continue;
		memcpy(name, *p, len);
		name[len] = 0;
		if (environment_option(name) < 0)
			warn_variable(b, name);
	}
}

/* the map that key names a property of; *ret_name: which; -1 = none */
static int map_option(const char *key, const char **ret_name)
{
	const struct option *opt;

	for (size_t i = 0; (opt = options_at(i)); i++) {
		size_t len = strlen(opt->key);

		if (opt->type == OPTION_MAP && !strncmp(opt->key, key, len) && key[len] == '.' &&
			key[len + 1]) {
			*ret_name = key + len + 1;
			return (int)i;
		}
	}
	return -1;
}

static void load_set_pair(struct binder *b, int option, const char *name, const char *value)
{
	const struct origin origin = { .kind = ORIGIN_SET };

	if (kafka_property_is_secret(name))
		bind_fail(b, option, &origin,
			"%s is a secret, and a command line can be read by others: use the file", name);
	else
		bind_pair(b, option, &origin, name, value);
}

static void load_set(struct binder *b, const char *set)
{
	const struct origin origin = { .kind = ORIGIN_SET };
	const char *eq = strchr(set, '='), *pair = NULL;
	char key[KEY_BYTES], name[KEY_BYTES];
	int option;

	if (!eq || eq == set || (size_t)(eq - set) >= sizeof(key)) {
		bind_problem(b, &origin, "", "needs to be of the form KEY=VALUE");
		return;
	}
	memcpy(key, set, (size_t)(eq - set));
	key[eq - set] = 0;
	option = map_option(key, &pair);
	if (option >= 0) {
		load_set_pair(b, option, pair, eq + 1);
		return;
	}
	option = options_find(key);
	if (option < 0 && options_is_section(key))
		bind_problem(b, &origin, key, "%s is a section: give one of the keys in it", key);
	else if (option < 0)
		bind_unknown(b, &origin, key);
	else if (options_at((size_t)option)->flags & OPTION_SECRET)
		bind_problem(b, &origin, key,
			"%s is a secret, and a command line can be read by others: use %s or the file", key,
			config_environment_name(key, name, sizeof(name)));
	else
		bind_either(b, option, &origin, eq + 1);
}

int config_load(const struct config_request *req, struct config **ret, struct config_report *report)
{
	_cleanup_(config_freep) struct config *cfg = calloc(1, sizeof(*cfg));
	struct binder b = { .cfg = cfg, .report = report, .without = req->without };

	if (!cfg)
		abort();
	bind_defaults(&b);
	b.file = find_file(req->path);
	cfg->path = strdup(b.file);
	if (!cfg->path)
		abort();
	if (!strncmp(b.file, "./", 2))
		b.file += 2;
	load_file(&b);
	load_environment(&b);
	check_environment(&b);
	for (size_t i = 0; i < req->n_sets; i++)
		load_set(&b, req->sets[i]);
	rules_apply(&b);
	bind_report(&b);
	if (report->n_errors)
		return -1;
	*ret = cfg;
	cfg = NULL; /* the caller's now */
	return 0;
}
