/* SPDX-License-Identifier: MIT */
/*
 * abi-table.c - print docs/segment.md: the byte table of the segment.
 *
 * Owns:   the text of docs/segment.md; a test compares the file with it.
 * Layer:  tests.
 * Locks:  none.
 *
 * tests/abi-fields.awk takes names, types and comments from shared/abi.h; the
 * compiler adds offsets and sizes, so that the table cannot be wrong.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shared/abi.h"

enum row_kind {
	ROW_STRUCT,
	ROW_FIELD,
	ROW_END,
	ROW_HEADING,
	ROW_CONSTANT
};

struct row {
	enum row_kind kind;
	const char *name;
	const char *type; /* fields; of constants the value's text */
	const char *doc;
	uint64_t offset;
	uint64_t bytes;
};

static const struct row rows[] = {
#define STRUCT(name, text)                                                     \
	{ ROW_STRUCT, #name, NULL, text, 0, sizeof(struct name) },
#define FIELD(record, field, field_type, text)                                 \
	{ ROW_FIELD,                                                           \
	  #field,                                                              \
	  field_type,                                                          \
	  text,                                                                \
	  offsetof(struct record, field),                                      \
	  sizeof(((struct record *)0)->field) },
#define END(name)     { ROW_END, #name, NULL, NULL, 0, 0 },
#define HEADING(text) { ROW_HEADING, NULL, NULL, text, 0, 0 },
#define CONSTANT(name, text)                                                   \
	{ ROW_CONSTANT, #name, NULL, text, (uint64_t)(name), 0 },
#include "tests/abi-fields.h"
};

#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

static const char preface[] =
	"# The segment, byte by byte\n\n"
	"*Generated from `shared/abi.h` by `tests/abi-table`; "
	"a test compares. Do not edit.*\n\n"
	"A process under buddyscope publishes one file, "
	"`<pid>-<start>-<nonce>.seg`, in `$BUDDYSCOPE_DIR` or\n"
	"`/dev/shm/buddyscope-<uid>/`. All fields are little-endian and "
	"naturally aligned; offsets in the file count\n"
	"from its start. To read it:\n\n"
	"1. Read the header. Check `magic`, and that `compat` is not newer "
	"than you are. A `magic` of 0 means: not complete yet.\n"
	"2. Find each section by its entry in `section[]`. Check offset, "
	"capacity and count against the size of the file.\n"
	"   Step by the section's `elem_bytes`, not by the sizes given here: "
	"newer writers have longer records.\n"
	"3. Records with a `seq` change as a whole. Copy the record, and take "
	"the copy if `seq` is even and is still the same\n"
	"   afterwards; else try again. Odd for ever means that the writer "
	"died inside: the record is torn. Sites have `lock`\n"
	"   instead, 0 when nobody is inside.\n"
	"4. The file is sparse. Do not read more than `count` records.\n";

static const char sections_head[] = "\n## Sections\n\n"
				    "| number | constant | record | bytes |\n"
				    "|---|---|---|---|\n";

struct section {
	const char *constant;
	unsigned int number;
	const char *record;
	size_t bytes;
};

static const struct section sections[] = {
	{ "BS_SEC_CONTROL", BS_SEC_CONTROL, "bs_abi_control",
	  sizeof(struct bs_abi_control) },
	{ "BS_SEC_ZONES", BS_SEC_ZONES, "bs_abi_zone",
	  sizeof(struct bs_abi_zone) },
	{ "BS_SEC_CACHES", BS_SEC_CACHES, "bs_abi_cache",
	  sizeof(struct bs_abi_cache) },
	{ "BS_SEC_AREAS", BS_SEC_AREAS, "bs_abi_area",
	  sizeof(struct bs_abi_area) },
	{ "BS_SEC_NODES", BS_SEC_NODES, "bs_abi_node",
	  sizeof(struct bs_abi_node) },
	{ "BS_SEC_SITES", BS_SEC_SITES, "bs_abi_site",
	  sizeof(struct bs_abi_site) },
	{ "BS_SEC_MODULES", BS_SEC_MODULES, "bs_abi_module",
	  sizeof(struct bs_abi_module) },
	{ "BS_SEC_PAGEMAP", BS_SEC_PAGEMAP, "uint8_t", 1 },
	{ "BS_SEC_EVENTS", BS_SEC_EVENTS, "bs_abi_event",
	  sizeof(struct bs_abi_event) },
	{ "BS_SEC_VMSTAT", BS_SEC_VMSTAT, "uint64_t", sizeof(uint64_t) },
	{ "BS_SEC_DEVICES", BS_SEC_DEVICES, "bs_abi_device",
	  sizeof(struct bs_abi_device) },
	{ "BS_SEC_OWNERS", BS_SEC_OWNERS, "bs_abi_owner",
	  sizeof(struct bs_abi_owner) },
	{ "BS_SEC_ESTIMATES", BS_SEC_ESTIMATES, "bs_abi_estimate",
	  sizeof(struct bs_abi_estimate) },
	{ "BS_SEC_THREADS", BS_SEC_THREADS, "bs_abi_thread",
	  sizeof(struct bs_abi_thread) },
	{ "BS_SEC_AGES", BS_SEC_AGES, "bs_abi_ages",
	  sizeof(struct bs_abi_ages) },
	{ "BS_SEC_PINS", BS_SEC_PINS, "bs_abi_pins",
	  sizeof(struct bs_abi_pins) },
};
_Static_assert(sizeof(sections) / sizeof(sections[0]) == BS_ABI_NR_SECTIONS,
	       "every section is listed");

static void print_sections(void)
{
	fputs(sections_head, stdout);
	for (size_t i = 0; i < BS_ABI_NR_SECTIONS; i++)
		printf("| %u | `%s` | `%s` | %zu |\n", sections[i].number,
		       sections[i].constant, sections[i].record,
		       sections[i].bytes);
}

static void print_records(void)
{
	const char *section = NULL, *record = NULL;

	printf("\n## Records\n\n"
	       "`section` is the constant of the section that holds the "
	       "record; the header is at offset 0.\n");
	for (size_t i = 0; i < NR_ROWS; i++) {
		const struct row *r = &rows[i];

		if (r->kind == ROW_STRUCT) {
			record = r->name;
			section = "-";
			for (size_t s = 0; s < BS_ABI_NR_SECTIONS; s++)
				if (!strcmp(sections[s].record, record))
					section = sections[s].constant;
			printf("\n### `%s`, %" PRIu64 " bytes\n\n%s\n\n"
			       "| section | record | offset | size | type | "
			       "field | meaning |\n"
			       "|---|---|---|---|---|---|---|\n",
			       record, r->bytes, r->doc);
		} else if (r->kind == ROW_FIELD) {
			printf("| %s | %s | %" PRIu64 " | %" PRIu64
			       " | `%s` | `%s` | %s |\n",
			       section, record, r->offset, r->bytes, r->type,
			       r->name, r->doc);
		} else if (r->kind == ROW_HEADING && record) {
			printf("| | | | | | | *%s* |\n", r->doc);
		} else if (r->kind == ROW_END) {
			record = NULL;
		}
	}
}

static void print_constants(void)
{
	bool inside = false, open = false;

	printf("\n## Constants\n");
	for (size_t i = 0; i < NR_ROWS; i++) {
		const struct row *r = &rows[i];

		if (r->kind == ROW_STRUCT || r->kind == ROW_END) {
			inside = r->kind == ROW_STRUCT;
		} else if (r->kind == ROW_HEADING && !inside) {
			printf("\n%s\n", r->doc);
			open = false;
		} else if (r->kind == ROW_CONSTANT) {
			if (!open)
				printf("\n| constant | value | meaning |\n"
				       "|---|---|---|\n");
			open = true;
			printf("| `%s` | %" PRIu64 " (0x%" PRIx64 ") | %s |\n",
			       r->name, r->offset, r->offset, r->doc);
		}
	}
}

static void print_tables(void)
{
	printf("\nUses of a frame: index of `used_pages[]`, JSON key.\n\n"
	       "| constant | index | key |\n|---|---|---|\n");
#define X(id, nr, key) printf("| `BS_USE_" #id "` | %d | %s |\n", nr, key);
	BS_USE_TABLE(X)
#undef X
	printf("\nEvents: `bs_abi_event.type`.\n\n"
	       "| constant | value | text |\n|---|---|---|\n");
#define X(id, nr, text) printf("| `BS_EVENT_" #id "` | %d | %s |\n", nr, text);
	BS_EVENT_TABLE(X)
#undef X
	printf("\nCounters: index in the section vmstat, JSON key.\n\n"
	       "| constant | index | key | meaning |\n|---|---|---|---|\n");
#define X(id, key, text)                                                       \
	printf("| `BS_VMSTAT_" #id "` | %d | %s | %s |\n", BS_VMSTAT_##id,     \
	       key, text);
	BS_VMSTAT_TABLE(X)
#undef X
}

int main(void)
{
	fputs(preface, stdout);
	print_sections();
	print_records();
	print_constants();
	print_tables();
	return fflush(stdout) ? 1 : 0;
}
