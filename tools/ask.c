/* SPDX-License-Identifier: MIT */
/* ask.c - see ask.h. */
#include "tools/ask.h"

#include <time.h>

#define WAIT_NS UINT64_C(2000000000)
#define LOOK_NS 20000000

void ask_put_name(struct bs_buf *out, const struct bs_abi_header *h)
{
	bs_buf_puts_clean(out, h->comm);
	bs_buf_printf(out, " (pid %d)", h->pid);
}

static bool has_ended(const struct bs_abi_header *h)
{
	uint64_t start;
	char letter;

	/* Of a process in another pid namespace only the segment tells. */
	if (h->state == BS_STATE_EXITED)
		return true;
	if (tool_last_target.state == BS_TARGET_UNKNOWN)
		return false;
	return bs_proc_stat(h->pid, &start, &letter) ||
	       start != h->start_ticks || letter == 'Z' || letter == 'X';
}

bool ask_is_stopped(const struct bs_abi_header *h)
{
	uint64_t start;
	char letter;

	return tool_last_target.state != BS_TARGET_UNKNOWN &&
	       !bs_proc_stat(h->pid, &start, &letter) &&
	       start == h->start_ticks && (letter == 'T' || letter == 't');
}

int ask_fail(const struct bs_abi_header *h, const char *what)
{
	struct bs_buf name = BS_BUF_INIT;

	ask_put_name(&name, h);
	tool_warn("%s %s", bs_buf_str(&name), what);
	bs_buf_free(&name);
	return BS_EXIT_FAILED;
}

static int ended(const struct bs_abi_header *h)
{
	return ask_fail(h, "has ended");
}

int ask_open(struct bs_control *c, const char *target, char *path, size_t len)
{
	char err[PATH_MAX + 256];
	int ret = tool_target(target, false, path, len);

	if (ret)
		return ret;
	if (bs_control_open(c, path, err, sizeof(err))) {
		tool_warn("%s", err);
		return BS_EXIT_FAILED;
	}
	if (!has_ended(&c->header))
		return BS_EXIT_OK;
	ret = ended(&c->header);
	bs_control_close(c);
	return ret;
}

int ask_wait(struct bs_control *c, bool (*seen)(const struct bs_control *c),
	     bool *answered)
{
	static const struct timespec pause = { 0, LOOK_NS };
	char err[PATH_MAX + 256];

	for (uint64_t waited = 0; waited < WAIT_NS; waited += LOOK_NS) {
		if (seen(c) || has_ended(&c->header))
			break;
		nanosleep(&pause, NULL);
		if (bs_control_look(c, err, sizeof(err))) {
			tool_warn("%s", err);
			return BS_EXIT_FAILED;
		}
	}
	*answered = seen(c);
	return *answered || !has_ended(&c->header) ? BS_EXIT_OK
						   : ended(&c->header);
}
