/* SPDX-License-Identifier: MIT */
/*
 * pins.h - whose memory lies between the free pages, told.
 *
 * Owns:   the words for struct bs_abi_pins, and its JSON form.
 * Layer:  shared; on snapshot, sitestack.
 * Locks:  none.
 */
#ifndef BS_SHARED_PINS_H
#define BS_SHARED_PINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/json.h"
#include "shared/snapshot.h"
#include "shared/symbols.h"

/* What was found after event `number`; NULL: nobody looked, or it was overwritten. */
const struct bs_abi_pins *bs_pins_of_event(const struct bs_snapshot *s,
					   uint64_t number);
/* What was found in a zone for a request of the control page; NULL: nothing. */
const struct bs_abi_pins *bs_pins_of_request(const struct bs_snapshot *s,
					     uint32_t request, uint32_t order,
					     uint32_t zone);
/* The last request of this order that was answered; false: none was. */
bool bs_pins_last_request(const struct bs_snapshot *s, uint32_t order,
			  uint32_t *request, uint64_t *time_ns);
/* Holders that the record names: at most BS_NR_PINS. */
size_t bs_pins_named(const struct bs_abi_pins *pins);

/* "slab pages of no known call site": what a holder without a site is. */
void bs_pin_no_site(struct bs_buf *out, const struct bs_abi_pin *pin);

/* Lines behind a failure's verdict; the symbolizer may be NULL. */
void bs_pins_text(struct bs_buf *out, const struct bs_snapshot *s,
		  struct bs_symbolizer *sym, const struct bs_abi_pins *pins);
/* "zone DMA: 12 of 44 blocks of 1024kB are free, ..." and lines as above. */
void bs_pins_zone_text(struct bs_buf *out, const struct bs_snapshot *s,
		       struct bs_symbolizer *sym,
		       const struct bs_abi_pins *pins);
/* "pinned": an object, null without a record. */
void bs_pins_json(struct bs_json *json, const struct bs_snapshot *s,
		  struct bs_symbolizer *sym, const struct bs_abi_pins *pins);

#endif
