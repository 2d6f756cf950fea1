// SPDX-License-Identifier: MIT
// Rules 18 and 20: exceptions pass through frames that allocate, and are served
// by the runtime's own unwinder, not by one that we brought along.
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int thrower(int depth, std::vector<std::string> &v)
{
	std::unique_ptr<char[]> p(new char[100]);

	v.push_back(std::string(200, 'y'));
	p[0] = static_cast<char>(depth);
	if (!depth)
		throw std::runtime_error(std::string(300, 'z'));
	return thrower(depth - 1, v) + p[0];
}

static void many(int *caught)
{
	for (int i = 0; i < 200; i++) {
		std::vector<std::string> v;

		try {
			thrower(i % 20, v);
		} catch (const std::runtime_error &e) {
			*caught += std::string(e.what()).size() == 300;
		}
	}
}

int main()
{
	int caught[3] = { 0, 0, 0 };
	std::thread a(many, &caught[0]), b(many, &caught[1]);
	Dl_info info;
	void *p;

	many(&caught[2]);
	a.join();
	b.join();
	if (caught[0] != 200 || caught[1] != 200 || caught[2] != 200) {
		fprintf(stderr, "caught %d %d %d\n", caught[0], caught[1],
			caught[2]);
		return 1;
	}
	p = dlsym(RTLD_DEFAULT, "_Unwind_RaiseException");
	if (!p || !dladdr(p, &info) ||
	    std::string(info.dli_fname).find("libgcc_s") == std::string::npos) {
		fprintf(stderr, "_Unwind_RaiseException is in %s\n",
			p ? info.dli_fname : "nowhere");
		return 1;
	}
	return 0;
}
