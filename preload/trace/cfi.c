/* SPDX-License-Identifier: MIT */
/*
 * cfi.c - reads one frame rule out of .eh_frame_hdr and .eh_frame.
 *
 * Owns:   the interpreter of call frame instructions, cut down to what a walk over
 *         return addresses needs: CFA, frame pointer, return address.
 * Layer:  trace.  Locks: none.  No allocation, no libc call that locks:
 *         _dl_find_object() is lock-free and async-signal-safe (glibc 2.35).
 * Source: DWARF 5, section 6.4; Linux Standard Base 5, "Exception Frames" and
 *         "eh_frame_hdr"; System V ABI x86-64 and aarch64, register numbers.
 */
#include "preload/trace/cfi.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

#include "preload/sys/sys.h"

#if defined(__x86_64__)
#define REG_FP 6U
#define REG_SP 7U
#define REG_RA 16U
#elif defined(__aarch64__)
#define REG_FP 29U
#define REG_SP 31U
#define REG_RA 30U
#else
#error "no frame registers for this architecture"
#endif

/* Pointer encodings (LSB): low four bits format, high four application. */
#define PE_ABSPTR  0x00U
#define PE_UDATA4  0x03U
#define PE_UDATA8  0x04U
#define PE_SDATA4  0x0bU
#define PE_SDATA8  0x0cU
#define PE_PCREL   0x10U
#define PE_DATAREL 0x30U
#define PE_OMIT	   0xffU

#define HDR_VERSION 1U
#define STATE_DEPTH 8 /* nested DW_CFA_remember_state */

enum where {
	W_SAME,
	W_UNDEFINED,
	W_AT_CFA,
	W_AT_FP,
	W_OTHER
};

struct reg_rule {
	enum where where;
	int64_t off;
};

/* The row of the table that the interpreter is at. */
struct row {
	enum {
		C_SP,
		C_FP,
		C_AT_FP,
		C_OTHER
	} cfa;
	int64_t cfa_off;
	struct reg_rule fp, ra;
};

struct cursor {
	const uint8_t *p, *end;
	bool bad; /* ran over the end, or met what it does not know */
};

/* What a CIE says. */
struct cie {
	uint64_t code_align;
	int64_t data_align;
	uint8_t fde_encoding;
	bool has_augmentation, signal_frame;
	struct cursor insns;
};

static uint64_t get_bytes(struct cursor *c, unsigned int nr)
{
	uint64_t v = 0;

	if ((size_t)(c->end - c->p) < nr) {
		c->bad = true;
		c->p = c->end;
		return 0;
	}
	memcpy(&v, c->p, nr); /* little-endian machines only */
	c->p += nr;
	return v;
}

static uint64_t get_uleb(struct cursor *c)
{
	uint64_t v = 0;
	unsigned int shift = 0;

	for (;;) {
		uint64_t b = get_bytes(c, 1);

		if (c->bad)
			return 0;
		if (shift < 64)
			v |= (b & 0x7f) << shift;
		shift += 7;
		if (!(b & 0x80))
			return v;
	}
}

static int64_t get_sleb(struct cursor *c)
{
	uint64_t v = 0;
	unsigned int shift = 0;

	for (;;) {
		uint64_t b = get_bytes(c, 1);

		if (c->bad)
			return 0;
		if (shift < 64)
			v |= (b & 0x7f) << shift;
		shift += 7;
		if (!(b & 0x80)) {
			if (shift < 64 && (b & 0x40))
				v |= UINT64_MAX << shift;
			return (int64_t)v;
		}
	}
}

static uintptr_t get_encoded(struct cursor *c, uint8_t enc, uintptr_t data_base)
{
	uintptr_t here = (uintptr_t)c->p;
	uintptr_t v;

	switch (enc & 0x0fU) {
	case PE_ABSPTR:
	case PE_UDATA8:
	case PE_SDATA8:
		v = get_bytes(c, 8);
		break;
	case PE_UDATA4:
		v = get_bytes(c, 4);
		break;
	case PE_SDATA4:
		v = (uintptr_t)(int64_t)(int32_t)get_bytes(c, 4);
		break;
	default:
		c->bad = true;
		return 0;
	}
	switch (enc & 0x70U) {
	case 0:
		return v;
	case PE_PCREL:
		return v + here;
	case PE_DATAREL:
		return v + data_base;
	default:
		c->bad = true;
		return 0;
	}
}

/* ---- finding the FDE ---------------------------------------------------- */

#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *pc, struct dl_find_object *result)
	__attribute__((weak));
#endif

struct find {
	uintptr_t pc;
	const uint8_t *hdr;
	bool found;
};

static int find_in_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct find *f = arg;
	const uint8_t *hdr = NULL;
	int i;

	(void)size;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && f->pc - start < ph->p_memsz)
			f->found = true;
		else if (ph->p_type == PT_GNU_EH_FRAME)
			hdr = (const uint8_t *)start;
	}
	if (f->found)
		f->hdr = hdr;
	return f->found;
}

/* .eh_frame_hdr of the object that pc is in, or NULL. */
static const uint8_t *find_hdr(uintptr_t pc)
{
	struct find f = { .pc = pc };

#ifdef DLFO_STRUCT_HAS_EH_DBASE
	if (_dl_find_object) {
		struct dl_find_object o;

		if (_dl_find_object((void *)pc, &o))
			return NULL;
		return o.dlfo_eh_frame;
	}
#endif
	dl_iterate_phdr(find_in_module, &f);
	return f.hdr;
}

/* Address of the FDE that may cover pc, by binary search. NULL: none; odd. */
static const uint8_t *find_fde(const uint8_t *hdr, uintptr_t pc, bool *odd)
{
	struct cursor c = { .p = hdr + 4, .end = hdr + 20 };
	const int32_t *table;
	uint64_t nr, lo, hi;
	int64_t want;

	*odd = true;
	if (hdr[0] != HDR_VERSION || hdr[1] == PE_OMIT || hdr[2] != PE_UDATA4 ||
	    hdr[3] != (PE_DATAREL | PE_SDATA4))
		return NULL;
	get_encoded(&c, hdr[1], (uintptr_t)hdr);
	nr = get_bytes(&c, 4);
	if (c.bad)
		return NULL;
	*odd = false;
	table = (const int32_t *)(const void *)c.p;
	want = (int64_t)(pc - (uintptr_t)hdr);
	for (lo = 0, hi = nr; lo < hi;) { /* last entry that starts <= pc */
		uint64_t mid = lo + (hi - lo) / 2;

		if (table[2 * mid] <= want)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? hdr + table[2 * (lo - 1) + 1] : NULL;
}

/* ---- CIE and FDE ---------------------------------------------------------- */

/* c becomes the body of the record at p.  False: 64-bit form, terminator. */
static bool open_record(const uint8_t *p, struct cursor *c)
{
	uint32_t len;

	memcpy(&len, p, 4);
	if (len == 0 || len == UINT32_MAX)
		return false;
	c->p = p + 4;
	c->end = p + 4 + len;
	c->bad = false;
	return true;
}

static bool parse_cie(const uint8_t *p, struct cie *cie)
{
	struct cursor c;
	const char *aug;
	uint64_t version, ra;
	const uint8_t *behind = NULL;

	memset(cie, 0, sizeof(*cie));
	if (!open_record(p, &c) || get_bytes(&c, 4) != 0)
		return false;
	version = get_bytes(&c, 1);
	if (version != 1 && version != 3)
		return false;
	aug = (const char *)c.p;
	while (get_bytes(&c, 1) && !c.bad)
		;
	cie->code_align = get_uleb(&c);
	cie->data_align = get_sleb(&c);
	ra = version == 1 ? get_bytes(&c, 1) : get_uleb(&c);
	if (c.bad || ra != REG_RA)
		return false;
	if (aug[0] != 'z' && aug[0] != '\0')
		return false;
	for (; *aug; aug++) {
		switch (*aug) {
		case 'z':
			cie->has_augmentation = true;
			ra = get_uleb(&c);
			behind = c.p + ra;
			break;
		case 'R':
			cie->fde_encoding = (uint8_t)get_bytes(&c, 1);
			break;
		case 'P':
			ra = get_bytes(&c, 1);
			get_encoded(&c, (uint8_t)(ra & 0x0f), 0);
			break;
		case 'L':
			get_bytes(&c, 1);
			break;
		case 'S':
			cie->signal_frame = true;
			break;
		case 'B': /* aarch64: signed with the B key */
			break;
		default:
			return false;
		}
	}
	if (c.bad)
		return false;
	cie->insns =
		(struct cursor){ .p = behind ? behind : c.p, .end = c.end };
	return cie->insns.p <= cie->insns.end;
}

/* ---- instructions ----------------------------------------------------------- */

static void set_cfa(struct row *row, uint64_t reg, int64_t off)
{
	row->cfa = reg == REG_SP ? C_SP : reg == REG_FP ? C_FP : C_OTHER;
	row->cfa_off = off;
}

static struct reg_rule *rule_of(struct row *row, uint64_t reg,
				struct reg_rule *ignored)
{
	return reg == REG_FP ? &row->fp : reg == REG_RA ? &row->ra : ignored;
}

/*
 * An expression of the two shapes that gcc makes for a realigned stack:
 * `FP + k` (deref = false) and `*(FP + k)` (deref = true).
 */
static bool fp_expression(struct cursor *c, bool deref, int64_t *off)
{
	uint64_t len = get_uleb(c);
	struct cursor e = { .p = c->p, .end = c->p + len };
	uint64_t op;

	if (c->bad || len > (size_t)(c->end - c->p)) {
		c->bad = true;
		return false;
	}
	c->p += len;
	op = get_bytes(&e, 1);
	if (op != 0x70U + REG_FP) /* DW_OP_bregN */
		return false;
	*off = get_sleb(&e);
	if (deref && get_bytes(&e, 1) != 0x06) /* DW_OP_deref */
		return false;
	return !e.bad && e.p == e.end;
}

/* The two-bit opcodes and their six-bit operand. False: not one of them. */
static bool step_short(struct cursor *c, const struct cie *cie, struct row *row,
		       const struct row *initial, uint8_t op, uintptr_t *loc)
{
	struct reg_rule ignored, *r;
	uint8_t low = op & 0x3f;

	switch (op >> 6) {
	case 1: /* advance_loc */
		*loc += low * cie->code_align;
		return true;
	case 2: /* offset */
		r = rule_of(row, low, &ignored);
		r->where = W_AT_CFA;
		r->off = (int64_t)get_uleb(c) * cie->data_align;
		return true;
	case 3: /* restore */
		r = rule_of(row, low, &ignored);
		if (r == &row->fp)
			*r = initial->fp;
		else if (r == &row->ra)
			*r = initial->ra;
		return true;
	default:
		return false;
	}
}

static void step_offset(struct row *row, uint64_t reg, int64_t off)
{
	struct reg_rule ignored, *r = rule_of(row, reg, &ignored);

	r->where = W_AT_CFA;
	r->off = off;
}

static void step_where(struct row *row, uint64_t reg, enum where where)
{
	struct reg_rule ignored;

	rule_of(row, reg, &ignored)->where = where;
}

/* Runs instructions until the row for pc is complete. */
static void run(struct cursor *c, const struct cie *cie, struct row *row,
		const struct row *initial, uintptr_t loc, uintptr_t pc)
{
	struct row saved[STATE_DEPTH];
	unsigned int nr_saved = 0;
	struct reg_rule ignored, *r;
	uint64_t reg;
	int64_t off;

	while (c->p < c->end && !c->bad && loc <= pc) {
		uint8_t op = (uint8_t)get_bytes(c, 1);

		if (step_short(c, cie, row, initial, op, &loc))
			continue;
		switch (op) {
		case 0x00: /* nop */
			break;
		case 0x01: /* set_loc */
			loc = get_encoded(c, cie->fde_encoding, 0);
			break;
		case 0x02: /* advance_loc1, 2, 4 */
			loc += get_bytes(c, 1) * cie->code_align;
			break;
		case 0x03:
			loc += get_bytes(c, 2) * cie->code_align;
			break;
		case 0x04:
			loc += get_bytes(c, 4) * cie->code_align;
			break;
		case 0x05: /* offset_extended */
			reg = get_uleb(c);
			off = (int64_t)get_uleb(c) * cie->data_align;
			step_offset(row, reg, off);
			break;
		case 0x06: /* restore_extended */
			reg = get_uleb(c);
			r = rule_of(row, reg, &ignored);
			if (r == &row->fp)
				*r = initial->fp;
			else if (r == &row->ra)
				*r = initial->ra;
			break;
		case 0x07: /* undefined */
			step_where(row, get_uleb(c), W_UNDEFINED);
			break;
		case 0x08: /* same_value */
			step_where(row, get_uleb(c), W_SAME);
			break;
		case 0x09: /* register */
			reg = get_uleb(c);
			get_uleb(c);
			step_where(row, reg, W_OTHER);
			break;
		case 0x0a: /* remember_state */
			if (nr_saved == STATE_DEPTH)
				c->bad = true;
			else
				saved[nr_saved++] = *row;
			break;
		case 0x0b: /* restore_state */
			if (nr_saved == 0)
				c->bad = true;
			else
				*row = saved[--nr_saved];
			break;
		case 0x0c: /* def_cfa */
			reg = get_uleb(c);
			set_cfa(row, reg, (int64_t)get_uleb(c));
			break;
		case 0x0d: /* def_cfa_register */
			set_cfa(row, get_uleb(c), row->cfa_off);
			break;
		case 0x0e: /* def_cfa_offset */
			row->cfa_off = (int64_t)get_uleb(c);
			break;
		case 0x0f: /* def_cfa_expression */
			row->cfa = fp_expression(c, true, &row->cfa_off)
					   ? C_AT_FP
					   : C_OTHER;
			break;
		case 0x10: /* expression */
			reg = get_uleb(c);
			r = rule_of(row, reg, &ignored);
			r->where = fp_expression(c, false, &r->off) ? W_AT_FP
								    : W_OTHER;
			break;
		case 0x11: /* offset_extended_sf */
			reg = get_uleb(c);
			step_offset(row, reg, get_sleb(c) * cie->data_align);
			break;
		case 0x12: /* def_cfa_sf */
			reg = get_uleb(c);
			set_cfa(row, reg, get_sleb(c) * cie->data_align);
			break;
		case 0x13: /* def_cfa_offset_sf */
			row->cfa_off = get_sleb(c) * cie->data_align;
			break;
		case 0x14: /* val_offset, val_offset_sf */
		case 0x15:
			reg = get_uleb(c);
			get_uleb(c);
			step_where(row, reg, W_OTHER);
			break;
		case 0x16: /* val_expression */
			reg = get_uleb(c);
			fp_expression(c, false, &off);
			step_where(row, reg, W_OTHER);
			break;
		case 0x2d: /* aarch64: negate_ra_state */
			break;
		case 0x2e: /* GNU_args_size */
			get_uleb(c);
			break;
		default:
			c->bad = true;
		}
	}
}

/* ---- the rule ------------------------------------------------------------------ */

/* Words of an offset that fits the rule's 12 bits, or false. */
static bool fits(int64_t off, int64_t *words)
{
	*words = off / 8;
	return off % 8 == 0 && *words >= -2048 && *words < 2048;
}

static struct cfi_rule pack(const struct row *row)
{
	struct cfi_rule rule = { .type = CFI_ODD };
	int64_t words;

	if (row->ra.where == W_UNDEFINED)
		return (struct cfi_rule){ .type = CFI_END };
	if (row->cfa == C_OTHER || row->cfa_off != (int32_t)row->cfa_off)
		return rule;
	rule.base = row->cfa == C_SP   ? CFI_BASE_SP
		    : row->cfa == C_FP ? CFI_BASE_FP
				       : CFI_BASE_AT_FP;
	rule.cfa_off = (int32_t)row->cfa_off;

	if (row->ra.where == W_AT_CFA && fits(row->ra.off, &words)) {
		rule.ra = CFI_RA_AT_CFA;
		rule.ra_words = (int32_t)words;
	} else if (row->ra.where == W_SAME) {
		rule.ra = CFI_RA_LINK;
	} else {
		return rule;
	}

	if (row->fp.where == W_SAME || row->fp.where == W_UNDEFINED) {
		rule.fp = CFI_FP_SAME;
	} else if ((row->fp.where == W_AT_CFA || row->fp.where == W_AT_FP) &&
		   fits(row->fp.off, &words)) {
		rule.fp = row->fp.where == W_AT_CFA ? CFI_FP_AT_CFA
						    : CFI_FP_AT_FP;
		rule.fp_words = (int32_t)words;
	} else {
		return rule;
	}
	rule.type = CFI_FRAME;
	return rule;
}

struct cfi_rule cfi_learn(uintptr_t pc)
{
	const struct cfi_rule none = { .type = CFI_NONE };
	const struct cfi_rule odd = { .type = CFI_ODD };
	const uint8_t *hdr = find_hdr(pc), *fde;
	struct row row = { .cfa = C_OTHER }, initial;
	struct cursor c, insns;
	struct cie cie;
	uintptr_t begin, size;
	uint32_t back;
	bool is_odd;

	if (!hdr)
		return none;
	fde = find_fde(hdr, pc, &is_odd);
	if (!fde)
		return is_odd ? odd : none;
	if (!open_record(fde, &c))
		return odd;
	memcpy(&back, c.p, 4);
	if (!back || !parse_cie(c.p - back, &cie))
		return odd;
	c.p += 4;
	begin = get_encoded(&c, cie.fde_encoding, 0);
	size = get_encoded(&c, cie.fde_encoding & 0x0f, 0);
	if (c.bad)
		return odd;
	if (pc - begin >= size)
		return none;
	if (cie.signal_frame)
		return (struct cfi_rule){ .type = CFI_SIGNAL };
	if (cie.has_augmentation) {
		uint64_t len = get_uleb(&c);

		if (c.bad || len > (size_t)(c.end - c.p))
			return odd;
		c.p += len;
	}
	insns = cie.insns;
	memset(&initial, 0, sizeof(initial));
	run(&insns, &cie, &row, &initial, 0, UINTPTR_MAX - 1);
	initial = row;
	run(&c, &cie, &row, &initial, begin, pc);
	if (insns.bad || c.bad)
		return odd;
	return pack(&row);
}
