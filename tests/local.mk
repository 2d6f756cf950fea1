# SPDX-License-Identifier: MIT
#
# UNIT_TESTS link libmm or libshared and run under every configuration;
# RUN_TESTS need the preloaded library and are left out under sanitizers.
# A test program is named in check_PROGRAMS too, a script in EXTRA_DIST.

UNIT_TESTS =
RUN_TESTS =

if TESTS_ENABLED
if SANITIZERS
TESTS += $(UNIT_TESTS)
else
TESTS += $(UNIT_TESTS) $(RUN_TESTS)
endif
endif
