/* SPDX-License-Identifier: MIT */
/*
 * throw.cc - exceptions that pass through shared libraries.
 *
 * Owns:   one source for four parts (PART): 0 the program, 1 and 2 libraries
 *         that it links, 3 one that it opens with dlopen.
 * Layer:  test.
 */
#include <stdexcept>
#include <string>

#define EXPORT __attribute__((visibility("default"), noinline))

struct payload : std::runtime_error {
	std::string more;
	int depth;
	payload(const std::string &s, int n)
		: std::runtime_error(s), more(1000, 'p'), depth(n) {}
};

#if PART == 1
EXPORT void first(int depth)
{
	std::string held(100 + depth, 'x');

	if (depth <= 0)
		throw payload("from the first library " + held.substr(0, 3), depth);
	try {
		first(depth - 1);
	} catch (payload &p) {
		p.depth++;
		throw;
	}
}
#elif PART == 2
void first(int depth);
EXPORT int second(int depth)
{
	std::string held(500, 'y');

	try {
		first(depth);
	} catch (const payload &p) {
		if (p.depth % 2)
			throw std::logic_error("odd " + std::to_string(p.depth));
		return p.depth + (int)p.more.size();
	}
	return -1;
}
#elif PART == 3
extern "C" EXPORT void third(void (*call)(int), int n)
{
	std::string held(300, 'z');

	try {
		call(n);
	} catch (const std::exception &e) {
		std::throw_with_nested(std::runtime_error("third: " + held.substr(0, 2)));
	}
}
#else
#include <cstdio>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <new>
#include <thread>
#include <vector>

int second(int depth);

static void call(int n)
{
	if (n == 0)
		throw n;
	second(2 * n + 1);
}

static std::string attempt(void (*third)(void (*)(int), int), int n)
{
	try {
		third(call, n);
	} catch (const std::exception &e) {
		try {
			std::rethrow_if_nested(e);
		} catch (const std::exception &inner) {
			return std::string(e.what()) + " <- " + inner.what();
		}
		return e.what();
	} catch (int i) {
		return "int " + std::to_string(i);
	}
	return "none";
}

static int measure()
{
	const int nr = 20000;
	struct timespec a, b;
	int sum = 0;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < nr; i++)
		sum += second(2);
	clock_gettime(CLOCK_MONOTONIC, &b);
	std::printf("%lld\n", ((b.tv_sec - a.tv_sec) * 1000000000LL +
			       b.tv_nsec - a.tv_nsec) / nr);
	return sum > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !std::strcmp(argv[1], "uncaught"))
		second(3);
	if (argc > 1 && !std::strcmp(argv[1], "time"))
		return measure();
	for (int i = 0; i < 6; i++) {
		try {
			std::printf("second(%d) = %d\n", i, second(i));
		} catch (const std::logic_error &e) {
			std::printf("second(%d) threw %s\n", i, e.what());
		}
	}
	void *lib = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
	if (!lib)
		return 2;
	auto third = (void (*)(void (*)(int), int))dlsym(lib, "third");
	for (int i = 0; i < 3; i++)
		std::printf("%s\n", attempt(third, i).c_str());
	std::vector<std::string> got(8);
	std::vector<std::thread> threads;
	for (int i = 0; i < 8; i++)
		threads.emplace_back([&, i] {
			for (int k = 0; k < 500; k++)
				got[i] = attempt(third, 1 + (i + k) % 4);
		});
	for (auto &t : threads)
		t.join();
	for (auto &s : got)
		std::printf("%s\n", s.c_str());
	dlclose(lib);
	try {
		volatile size_t huge = (size_t)-1 / 4;
		delete[] new char[huge];
	} catch (const std::bad_alloc &e) {
		std::printf("%s\n", e.what());
	}
	try {
		std::vector<int>().at(3);
	} catch (const std::out_of_range &e) {
		std::printf("%s\n", e.what());
	}
	return 3;
}
#endif
