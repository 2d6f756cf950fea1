/* SPDX-License-Identifier: MIT */
/*
 * options.c - see options.h.
 *
 * Owns:   parsing and defaults.
 * Layer:  daemon.
 * Locks:  none.
 */
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/target.h"
#include "shared/wire.h"

enum {
	OPT_LOG_FORMAT = 256,
	OPT_IDLE_EXIT
};

static const struct option long_options[] = {
	{ "foreground", no_argument, NULL, 'f' },
	{ "log", required_argument, NULL, 'l' },
	{ "log-format", required_argument, NULL, OPT_LOG_FORMAT },
	{ "interval", required_argument, NULL, 'i' },
	{ "dir", required_argument, NULL, 'd' },
	{ "idle-exit", required_argument, NULL, OPT_IDLE_EXIT },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static void help(void)
{
	printf("Usage: buddyscoped [OPTION]...\n"
	       "\n"
	       "Watches the programs that run under buddyscope: logs their\n"
	       "fragmentation and leaks, and answers the buddyscope command.\n"
	       "\n"
	       "  -f, --foreground         stay in the foreground, log to stderr\n"
	       "                           (if that is not /dev/null)\n"
	       "  -l, --log FILE           log to FILE (default in the background:\n"
	       "                           $XDG_STATE_HOME/buddyscope/buddyscoped.log)\n"
	       "      --log-format FORMAT  logfmt (default) or json\n"
	       "  -i, --interval TIME      between two lines of a zone (default 10s)\n"
	       "  -d, --dir DIR            where the segments are (default\n"
	       "                           $BUDDYSCOPE_DIR or /dev/shm/buddyscope-UID)\n"
	       "      --idle-exit TIME     end when nothing ran for so long\n"
	       "  -h, --help               show this\n"
	       "  -V, --version            show the version\n"
	       "\n"
	       "TIME is a number with ms, s, m or h (seconds without).\n"
	       "SIGHUP opens the log file again; SIGTERM and SIGINT end.\n");
}

bool bs_parse_time(const char *text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = { { "ms", 1e6 },
		      { "s", 1e9 },
		      { "", 1e9 },
		      { "m", 60e9 },
		      { "h", 3600e9 } };
	char *end;
	double value;

	if (*text < '0' || *text > '9')
		return false;
	value = strtod(text, &end);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit))
			continue;
		value *= units[i].ns;
		if (value < 1e6 || value > 365 * 24 * 3600e9)
			return false;
		*ns = (uint64_t)value;
		return true;
	}
	return false;
}

static int usage_error(const char *fmt, const char *arg)
{
	fprintf(stderr, "buddyscoped: ");
	fprintf(stderr, fmt, arg);
	fprintf(stderr, "\nTry 'buddyscoped --help'.\n");
	return BS_EXIT_USAGE;
}

static int set_path(char *to, const char *arg)
{
	char cwd[PATH_MAX];
	int n;

	/* A daemon changes its working directory: make it absolute. */
	if (arg[0] == '/')
		n = snprintf(to, PATH_MAX, "%s", arg);
	else if (!getcwd(cwd, sizeof(cwd)))
		return usage_error("cannot resolve '%s'", arg);
	else
		n = snprintf(to, PATH_MAX, "%s/%s", cwd, arg);
	if (!*arg || n < 0 || n >= PATH_MAX - NAME_MAX)
		return usage_error("bad path '%s'", arg);
	return -1;
}

static int parse_one(struct bs_options *opt, int c)
{
	switch (c) {
	case 'f':
		opt->foreground = true;
		return -1;
	case 'l':
		return set_path(opt->log, optarg);
	case 'd':
		return set_path(opt->dir, optarg);
	case OPT_LOG_FORMAT:
		if (!strcmp(optarg, "logfmt"))
			opt->log_format = BS_LOG_LOGFMT;
		else if (!strcmp(optarg, "json"))
			opt->log_format = BS_LOG_JSON;
		else
			return usage_error("--log-format: '%s' is neither "
					   "logfmt nor json",
					   optarg);
		return -1;
	case 'i':
		if (!bs_parse_time(optarg, &opt->interval_ns))
			return usage_error("--interval: '%s' is no time",
					   optarg);
		return -1;
	case OPT_IDLE_EXIT:
		if (!bs_parse_time(optarg, &opt->idle_exit_ns))
			return usage_error("--idle-exit: '%s' is no time",
					   optarg);
		return -1;
	case 'h':
		help();
		return BS_EXIT_OK;
	case 'V':
		printf("buddyscoped %s\n", BS_VERSION);
		return BS_EXIT_OK;
	default:
		fprintf(stderr, "Try 'buddyscoped --help'.\n");
		return BS_EXIT_USAGE;
	}
}

/* Started by a program that throws our messages away: keep them in a file. */
static bool stderr_is_null(void)
{
	struct stat err, null;

	return !fstat(STDERR_FILENO, &err) && !stat("/dev/null", &null) &&
	       S_ISCHR(err.st_mode) && err.st_rdev == null.st_rdev;
}

int bs_options_parse(struct bs_options *opt, int argc, char **argv)
{
	char dir[PATH_MAX];
	int c, ret;

	memset(opt, 0, sizeof(*opt));
	opt->interval_ns = BS_INTERVAL_NS_DEFAULT;
	while ((c = getopt_long(argc, argv, "fl:i:d:hV", long_options, NULL)) !=
	       -1) {
		ret = parse_one(opt, c);
		if (ret >= 0)
			return ret;
	}
	if (optind < argc)
		return usage_error("unexpected argument '%s'", argv[optind]);
	if (!opt->dir[0]) {
		if (bs_target_dir(dir, sizeof(dir)))
			return usage_error("%s is too long", "BUDDYSCOPE_DIR");
		ret = set_path(opt->dir, dir);
		if (ret >= 0)
			return ret;
	}
	if (bs_state_dir(opt->state, sizeof(opt->state)))
		return usage_error("%s is too long", "XDG_STATE_HOME");
	if (!opt->log[0] && (!opt->foreground || stderr_is_null()) &&
	    snprintf(opt->log, sizeof(opt->log), "%s/buddyscoped.log",
		     opt->state) >= (int)sizeof(opt->log))
		return usage_error("%s is too long", "XDG_STATE_HOME");
	return -1;
}

int bs_make_path(const char *path)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	memcpy(part, path, len + 1);
	for (char *at = part + 1; at <= part + len; at++) {
		char saved = *at;

		if (saved != '/' && saved != '\0')
			continue;
		*at = '\0';
		if (mkdir(part, 0700) && errno != EEXIST && errno != EISDIR)
			return -errno;
		*at = saved;
	}
	return 0;
}
