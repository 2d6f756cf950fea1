// SPDX-License-Identifier: MIT
// Rule 4: all forms of new and delete; failure calls the handler and throws.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__,     \
				__LINE__, #cond);                              \
			exit(1);                                               \
		}                                                              \
	} while (0)

/* Compilers that do not use the sized forms do not declare them either. */
void operator delete(void *, std::size_t) noexcept;
void operator delete[](void *, std::size_t) noexcept;
void operator delete(void *, std::size_t, std::align_val_t) noexcept;
void operator delete[](void *, std::size_t, std::align_val_t) noexcept;

static std::size_t too_much()
{
	volatile std::size_t n = std::size_t(1) << 60;
	return n;
}

/* What the optimiser sees somebody use it cannot leave out. */
static void *volatile sink;

static int handler_calls;

static void handler_gives_up()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

static void handler_throws()
{
	handler_calls++;
	throw std::bad_alloc();
}

template <class F> static bool throws(F f)
{
	try {
		f();
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

struct alignas(256) Wide {
	char c[300];
};

static void forms()
{
	const std::align_val_t a{ 128 };
	void *p;

	::operator delete(::operator new(10));
	::operator delete[](::operator new[](10));
	::operator delete(::operator new(10), std::size_t(10));
	::operator delete[](::operator new[](10), std::size_t(10));
	::operator delete(::operator new(10, std::nothrow), std::nothrow);
	::operator delete[](::operator new[](10, std::nothrow), std::nothrow);
	p = ::operator new(10, a);
	CHECK(reinterpret_cast<std::uintptr_t>(p) % 128 == 0);
	::operator delete(p, a);
	p = ::operator new[](10, a);
	CHECK(reinterpret_cast<std::uintptr_t>(p) % 128 == 0);
	::operator delete[](p, a);
	p = ::operator new(10, a, std::nothrow);
	::operator delete(p, a, std::nothrow);
	p = ::operator new[](10, a, std::nothrow);
	::operator delete[](p, a, std::nothrow);
	p = ::operator new(10, a);
	::operator delete(p, std::size_t(10), a);
	p = ::operator new[](10, a);
	::operator delete[](p, std::size_t(10), a);
	delete new Wide;
	delete[] new Wide[3];
	delete static_cast<int *>(nullptr);
}

int main()
{
	std::vector<std::string> v;

	for (int i = 0; i < 10000; i++)
		v.push_back(std::string(static_cast<std::size_t>(i % 300), 'x'));
	forms();
	CHECK(throws([] { sink = ::operator new(too_much()); }));
	CHECK(throws([] { sink = ::operator new[](too_much()); }));
	CHECK(throws([] {
		sink = ::operator new(too_much(), std::align_val_t{ 64 });
	}));
	CHECK(throws([] { sink = new char[too_much()]; }));
	CHECK(!::operator new(too_much(), std::nothrow));
	CHECK(!::operator new[](too_much(), std::nothrow));
	CHECK(!::operator new(too_much(), std::align_val_t{ 64 },
			      std::nothrow));

	std::set_new_handler(handler_gives_up);
	CHECK(throws([] { sink = ::operator new(too_much()); }));
	CHECK(handler_calls == 3);

	/* A handler that throws: nothrow forms turn that into null. */
	handler_calls = 0;
	std::set_new_handler(handler_throws);
	CHECK(throws([] { sink = ::operator new(too_much()); }));
	CHECK(!::operator new(too_much(), std::nothrow));
	CHECK(!::operator new[](too_much(), std::nothrow));
	CHECK(!::operator new(too_much(), std::align_val_t{ 64 },
			      std::nothrow));
	CHECK(!::operator new[](too_much(), std::align_val_t{ 64 },
				std::nothrow));
	CHECK(handler_calls == 5);
	return 0;
}
