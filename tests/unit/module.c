/* SPDX-License-Identifier: MIT */
/*
 * module.c - built twice, as module-a and module-b: two libraries with the same code
 * at the same offsets, to be loaded in turn at one address.
 */
void call_back(void (*fn)(void *), void *arg);

const char module_name[] = MODULE_NAME;

void call_back(void (*fn)(void *), void *arg)
{
	fn(arg);
	__asm__ volatile("" : : : "memory"); /* no tail call */
}
