# SPDX-License-Identifier: MIT
"""verdict.py - questions about the JSON of leaks and sites, from stdin.

usage: verdict.py functions              innermost function of each site
       verdict.py one FUNCTION FILE LINE the only site is that one
       verdict.py site FUNCTION KEY...   values of the site of that function
"""
import json
import os
import sys


def top(site):
    return site["stack"][0] if site["stack"] else {}


def main():
    answer = json.load(sys.stdin)
    what, args = sys.argv[1], sys.argv[2:]
    sites = answer["sites"]
    if what == "functions":
        print(" ".join(sorted(str(top(s).get("function")) for s in sites)))
    elif what == "one":
        if len(sites) != 1:
            sys.exit("%d sites: %s" % (len(sites), [
                [f["function"] for f in s["stack"][:4]] for s in sites]))
        frame = top(sites[0])
        got = (frame.get("function"), os.path.basename(frame.get("file") or ""),
               frame.get("line"))
        if got != (args[0], args[1], int(args[2])):
            sys.exit("the site is %s %s:%s" % got)
    elif what == "site":
        found = [s for s in sites if top(s).get("function") == args[0]]
        if len(found) != 1:
            sys.exit("%d sites of %s" % (len(found), args[0]))
        print(" ".join(str(found[0][key]) for key in args[1:]))
    else:
        sys.exit("no question %s" % what)


main()
