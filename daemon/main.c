/* SPDX-License-Identifier: MIT */
/* main.c - buddyscoped. */
#include "daemon/daemon.h"

int main(int argc, char **argv)
{
	struct bs_options options;
	int status = bs_options_parse(&options, argc, argv);

	return status >= 0 ? status : bs_daemon_run(&options);
}
