/* SPDX-License-Identifier: MIT */
/*
 * buddyscope.c - the command: table of subcommands, and the way to them.
 *
 * Owns:   main(), the table, global options.
 * Layer:  tools.
 * Locks:  none.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sites.h"
#include "tools/tool.h"

#define HELP_JSON "  --json         one line of JSON instead of text\n"
#define HELP_HELP "  --help         this text\n"
#define HELP_TARGET                                                                \
	"PID|NAME says which program; it may be left out when exactly one runs.\n" \
	"A saved segment can be given instead: a path, or a name ending in .seg.\n"
#define HELP_VIEW                                                                  \
	HELP_JSON                                                                  \
	"  --format=FORM  'modern' (default) or '2.6.29', the kernel whose form\n" \
	"                 the text has\n" HELP_HELP "\n" HELP_TARGET
#define VIEW_SYNOPSIS "[PID|NAME] [--json] [--format=FORM]"

#define VIEW(view, text)                                                       \
	{                                                                      \
		view, tool_run_view, VIEW_SYNOPSIS, text, HELP_VIEW, true      \
	}

const struct tool tools[] = {
	{ "run", tool_run_run,
	  "[-o KEY=VALUE]... [--quiet] [--] PROGRAM ARG...",
	  "Run a program under buddyscope",
	  "  -o KEY=VALUE   an option of the library, as in BUDDYSCOPE (repeatable)\n"
	  "  --quiet, -q    no summary at the end\n" HELP_HELP "\n"
	  "Starts the daemon if none runs.  The exit status is the program's; a\n"
	  "signal that kills it kills buddyscope, too.  2: the program cannot be\n"
	  "preloaded (static, another architecture, setuid); 126: cannot be\n"
	  "executed; 127: not found.\n",
	  false },
	{ "ps", tool_run_ps, "[PID|NAME] [--json]",
	  "List the programs under buddyscope", HELP_JSON HELP_HELP, true },
	VIEW("buddyinfo", "Free blocks per order, as /proc/buddyinfo"),
	VIEW("pagetypeinfo",
	     "Free blocks per order and migrate type, as /proc/pagetypeinfo"),
	VIEW("zoneinfo", "Pages, watermarks and counters, as /proc/zoneinfo"),
	VIEW("vmstat", "All counters, as /proc/vmstat"),
	{ "slabinfo", tool_run_view,
	  "[PID|NAME] [--statistics] [--json] [--format=FORM]",
	  "Objects and slabs of each cache, as /proc/slabinfo",
	  "  --statistics   globalstat and cpustat, too, as a kernel with\n"
	  "                 statistics has them\n" HELP_VIEW,
	  true },
	{ "slab_allocators", tool_run_view, VIEW_SYNOPSIS,
	  "Live objects by cache and caller, as /proc/slab_allocators",
	  HELP_VIEW "\nNeeds slab_debug=U: without it there is nothing to show "
		    "(exit status 1).\n",
	  true },
	{ "vmallocinfo", tool_run_view,
	  "[PID|NAME] [--paths] [--json] [--format=FORM]",
	  "Large allocations and mappings, as /proc/vmallocinfo",
	  "  --paths        path=FILE at the end of a line: the file, device or\n"
	  "                 carve-out that is mapped (blanks as \\040)\n" HELP_VIEW,
	  true },
	VIEW("devices", "DMA memory of each device, and the carve-outs"),
	{ "extfrag", tool_run_view,
	  "[PID|NAME] [--unusable] [--json] [--format=FORM]",
	  "Fragmentation per order, as debugfs extfrag/extfrag_index",
	  "  --unusable     extfrag/unusable_index instead\n" HELP_VIEW, true },
	{ "pins", tool_run_pins, "[PID|NAME] [--order=N] [--json]",
	  "Whose memory lies between the free pages, now",
	  "  --order=N      blocks of 2^N pages, 1 to 10 (default 8: 1 MiB)\n" HELP_JSON
		  HELP_HELP "\n"
	  "For each zone: blocks that are nearly free, and the call sites that have memory\n"
	  "in them: in how many, in how many of them alone, and how many pages.\n"
	  "The program looks itself, at its next allocation, which stops its allocations\n"
	  "for a millisecond (25 with millions of small objects).  When it is idle for\n"
	  "more than 2 s, what it found before is shown, with its age.  Of a request that\n"
	  "failed 'buddyscope failures' has the same.\n",
	  true },
	{ "failures", tool_run_view,
	  "[PID|NAME] [--all] [--json] [--format=FORM]",
	  "Requests that failed: which zone, leak or fragmentation, whose, what to try",
	  "  --all          fallbacks, hot add and other events, too\n" HELP_VIEW
	  "\nThe segment holds the last events; 'buddyscope log' has older ones.\n",
	  true },
	{ "sites", tool_run_sites,
	  "[PID|NAME] [--by=GROUP] [--sort=KEY] [-n N] [--min=BYTES] [--site=NR]\n"
	  "                        [--lifetimes] [--json | --folded[=COUNT] [--objects] | --pprof=FILE]",
	  "Call sites that allocate: backtraces, sums, flame graphs, pprof",
	  TOOL_SITES_HELP
	  "  --sort=KEY     live (default), growth, allocs or bytes\n"
	  "  -n, --limit=N  at most N sites or groups (default 20 in a text, else\n"
	  "                 all; 0: all)\n"
	  "  --min=BYTES    leave out sites or groups with fewer live bytes\n"
	  "  --site=NR      only this site\n" HELP_JSON HELP_HELP "\n"
	  "With --by a site belongs to its innermost function that is more than a\n"
	  "wrapper of malloc or new.\n\n" HELP_TARGET,
	  true },
	{ "leaks", tool_run_sites,
	  "[PID|NAME] [--all] [--lifetimes] [--sort=KEY] [-n N] [--min=BYTES] [--json]",
	  "Call sites that leak, with their backtraces",
	  "  --all          suspects, and leaks that stopped, too\n"
	  "  --lifetimes    how long what was freed has lived (JSON always has it)\n"
	  "  --sort=KEY     live (default), growth, allocs or bytes\n"
	  "  -n, --limit=N  at most N sites (default 20, with --json all; 0: all)\n"
	  "  --min=BYTES    leave out sites with fewer live bytes\n" HELP_JSON
		  HELP_HELP "\n"
	  "Suspects are listed without --all, too, until there can be a verdict (not\n"
	  "in JSON).  The verdict needs the history that the daemon keeps.  Of a program\n"
	  "that ended, and without a daemon, this shows what was never freed.\n"
	  "\n" HELP_TARGET,
	  true },
	{ "trace", tool_run_trace,
	  "[PID|NAME] [exact|auto|sample:BYTES|off] [--budget=PERCENT] [--json]",
	  "How a program is traced, and change it while it runs",
	  "  exact          every allocation with its backtrace\n"
	  "  auto           exact, until that would cost more than the budget: then\n"
	  "                 the costliest callers are sampled\n"
	  "  sample:BYTES   a sample every so many bytes: 8K, 32K, 128K, 512K, 2M,\n"
	  "                 8M or 32M; anything else is rounded to one of them\n"
	  "  off            nothing\n"
	  "  --budget=PERCENT\n"
	  "                 of the CPU, 0.1 to 100, for auto\n" HELP_JSON
		  HELP_HELP "\n"
	  "Without a mode or budget it shows what is the case.  With one it asks the\n"
	  "program and waits up to 2 s for the answer, which an idle program gives at\n"
	  "its next allocation on a slow path.  A program that was started with\n"
	  "trace=off cannot be switched.\n",
	  true },
	{ "log", tool_run_log, "[PID|NAME] [-n N] [--follow] [--json]",
	  "What the daemon logged",
	  "  -n, --lines=N  the last N lines (default 50)\n"
	  "  -f, --follow   wait for more until interrupted\n" HELP_JSON
		  HELP_HELP "\nWithout PID|NAME: of all programs.\n",
	  false },
	{ "watch", tool_run_watch, "INTERVAL COMMAND [ARG]...",
	  "Repeat a command until interrupted or until the program ends",
	  "  --help         this text\n\n"
	  "INTERVAL is a number of seconds or has a unit: 2, 0.5, 500ms, 2s, 1m.\n"
	  "The screen is cleared between readings when it is a terminal.\n",
	  false },
	{ "report", tool_run_report,
	  "FILE.seg [--sysroot=DIR] [--debug-dir=DIR] [-n N] [--by=GROUP]\n"
	  "                         [--json | --folded[=COUNT] [--objects] | --pprof=FILE]",
	  "Everything that a saved segment tells",
	  "  --sysroot=DIR  where the program's files are, if not at /\n"
	  "  --debug-dir=DIR\n"
	  "                 where separate debug files are (by build-id)\n"
	  "  -n, --limit=N  at most N call sites or groups (default 10 in a text,\n"
	  "                 else all; 0: all)\n" TOOL_SITES_HELP HELP_JSON
		  HELP_HELP "\n"
	  "With --folded or --pprof only the call sites are written.\n"
	  "PID|NAME may be given instead of a file.\n",
	  false },
	{ NULL, NULL, NULL, NULL, NULL, false },
};

const struct tool *tool_find(const char *name)
{
	for (const struct tool *t = tools; t->name; t++)
		if (!strcmp(t->name, name))
			return t;
	return NULL;
}

#define NAME_MAX_LEN 16

/* Levenshtein distance; names longer than any of ours are far away. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_LEN + 1], la = strlen(a), lb = strlen(b);

	if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

const char *tool_nearest(const char *name)
{
	const char *nearest = NULL;
	size_t best = 4;

	for (const struct tool *t = tools; t->name; t++) {
		size_t d = distance(name, t->name);

		/* A beginning of a name is as good as one slip. */
		if (*name && !strncmp(name, t->name, strlen(name)))
			d = 1;
		if (d < best && d < strlen(t->name)) {
			best = d;
			nearest = t->name;
		}
	}
	return nearest;
}

static int global_help(void)
{
	struct bs_buf out = BS_BUF_INIT;

	bs_buf_puts(&out, "usage: buddyscope COMMAND [OPTION]... [PID|NAME]\n"
			  "\nSee a program's memory as the kernel shows its "
			  "own, and who allocated it.\n\nCommands:\n");
	for (const struct tool *t = tools; t->name; t++)
		bs_buf_printf(&out, "  %-15s %s\n", t->name, t->summary);
	bs_buf_puts(
		&out,
		"\n'buddyscope COMMAND --help' tells about each.  Also: --help, "
		"--version.\n\n"
		"Exit status: 0 done, 1 failed, 2 wrong usage, 3 no such "
		"program.\n"
		"Environment: BUDDYSCOPE_DIR, directory of the segments.\n");
	return tool_output(&out);
}

static int unknown_command(const char *name)
{
	const char *nearest = tool_nearest(name);

	fprintf(stderr, "buddyscope: no command '%s'", name);
	if (nearest)
		fprintf(stderr, "; did you mean '%s'?", nearest);
	fputs("\nCommands:", stderr);
	for (const struct tool *t = tools; t->name; t++)
		fprintf(stderr, " %s", t->name);
	fputs("\nTry 'buddyscope --help'.\n", stderr);
	return BS_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const struct tool *tool;
	char name[64];

	if (argc < 2) {
		fputs("usage: buddyscope COMMAND [OPTION]... [PID|NAME]\n"
		      "Try 'buddyscope --help'.\n",
		      stderr);
		return BS_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    (!strcmp(argv[1], "help") && argc == 2))
		return global_help();
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("buddyscope " BS_VERSION);
		return fflush(stdout) ? BS_EXIT_FAILED : BS_EXIT_OK;
	}
	if (!strcmp(argv[1], "help")) {
		tool = tool_find(argv[2]);
		return tool ? tool_help(tool) : unknown_command(argv[2]);
	}
	tool = tool_find(argv[1]);
	if (!tool)
		return unknown_command(argv[1]);
	/* A reader that goes away is an error of write(), not our death. */
	if (strcmp(tool->name, "run"))
		signal(SIGPIPE, SIG_IGN);
	snprintf(name, sizeof(name), "buddyscope %s", tool->name);
	argv[1] = name; /* getopt's messages begin with it */
	return tool->run(tool, argc - 1, argv + 1);
}
