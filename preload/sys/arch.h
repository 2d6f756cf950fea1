/* SPDX-License-Identifier: MIT */
/* arch.h - chooses the architecture's file. */
#ifndef BS_SYS_ARCH_H
#define BS_SYS_ARCH_H

#if defined(__x86_64__)
#include "preload/sys/arch-x86_64.h"
#elif defined(__aarch64__)
#include "preload/sys/arch-aarch64.h"
#else
#error "buddyscope: x86_64 and aarch64 only"
#endif

#endif
