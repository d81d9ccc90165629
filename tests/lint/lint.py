#!/usr/bin/env python3
# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
"""The rules that a machine can check. Usage: lint.py PATH-OF-SLUICE. Prints "ok NAME" or "FAIL NAME" and the places."""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["base", "record", "postgres", "source", "transport", "transform", "sink", "pipeline", "cutover", "config", "http", "cli"]
BANNED = r"\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|strtok|system|gets|tmpnam|alloca)\s*\("
WORDS = r"\b(TODO|FIXME|XXX|HACK|not (yet )?implemented|placeholder|stub|dummy)\b"


def files(*patterns):
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True,
                             text=True, check=True).stdout.split("\n")
    return [ROOT / f for f in tracked if f and (ROOT / f).is_file()]


def c_files():
    return [f for f in files("src", "include", "subprojects", "tests") if f.suffix in (".c", ".h")]


def grep(paths, pattern, flags=0):
    found = []
    for path in paths:
        for n, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            if re.search(pattern, line, flags):
                found.append(f"{path.relative_to(ROOT)}:{n}: {line.strip()[:100]}")
    return found


def sizes():
    found = []
    for path in c_files():
        lines = path.read_text().count("\n")
        limit = 150 if path.suffix == ".h" and "include" in path.parts else 600
        if lines > limit:
            found.append(f"{path.relative_to(ROOT)}: {lines} lines, the limit is {limit}")
    return found


def functions():
    found = []
    for path in c_files():
        start = None
        for n, line in enumerate(path.read_text().split("\n"), 1):
            if line == "{":
                start = n
            elif line == "}" and start:
                if n - start > 81:
                    found.append(f"{path.relative_to(ROOT)}:{start}: a function of {n - start - 1} lines")
                start = None
    return found


def includes():
    """A quoted include names a file of the same folder; a folder sees no other folder's private headers."""
    found = []
    for path in c_files():
        if "tests" in path.parts:
            continue
        for n, line in enumerate(path.read_text().split("\n"), 1):
            m = re.match(r'#include "([^"]+)"', line)
            if m and path.name != "main.c" and ("/" in m.group(1) or not (path.parent / m.group(1)).exists()):
                found.append(f"{path.relative_to(ROOT)}:{n}: {line}")
    return found


LAYERS = {  # contract header → the folders above which it may be used
    "pipeline.h": ["pipeline", "cutover", "config", "http", "cli"],
    "http.h": ["http", "cli", "pipeline"],
    "readiness.h": ["cutover", "pipeline", "http", "cli"],
}


def layers():
    found = []
    for path in files("src"):
        if path.suffix not in (".c", ".h"):
            continue
        folder = path.relative_to(ROOT / "src").parts[0]
        for n, line in enumerate(path.read_text().split("\n"), 1):
            m = re.match(r"#include <sluice/([^>]+)>", line)
            if not m:
                continue
            header = m.group(1)
            if folder == "base" and header in ("record.h", "batch.h", "relation.h", "source.h", "sink.h", "postgres.h"):
                found.append(f"{path.relative_to(ROOT)}:{n}: base knows no domain word")
            if header in LAYERS and folder not in LAYERS[header] and path.name != "main.c":
                found.append(f"{path.relative_to(ROOT)}:{n}: {folder} may not use {header}")
            if header == "postgres.h" and folder in ("base", "record", "transport", "transform", "pipeline", "http"):
                found.append(f"{path.relative_to(ROOT)}:{n}: {folder} knows no database")
    return found


def headers_alone():
    found = []
    for path in files("include"):
        with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
            f.write(f"#include <sluice/{path.name}>\n")
            f.flush()
            flags = subprocess.run(["pkg-config", "--cflags", "libpq"], capture_output=True, text=True).stdout.split()
            done = subprocess.run(["gcc", "-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-Iinclude",
                                   *flags, f.name], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            found.append(f"{path.name}: {done.stderr.splitlines()[0]}")
    return found


def licence():
    return [str(p.relative_to(ROOT)) for p in files("src", "include", "subprojects", "tests", "deploy")
            if p.suffix in (".c", ".h", ".py", ".sh") and "SPDX-License-Identifier" not in p.read_text(errors="replace")[:400]]


def formatted():
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *map(str, c_files())], capture_output=True, text=True)
    return sorted({line.split(":")[0] for line in done.stderr.split("\n") if "error:" in line})


def reference():
    done = subprocess.run([sys.argv[1], "config-reference"], capture_output=True, text=True)
    same = done.returncode == 0 and done.stdout == (ROOT / "config" / "reference.md").read_text()
    return [] if same else ["config/reference.md is not what `sluice config-reference` prints"]


def shell():
    paths = [str(p) for p in files("deploy", "tests", ".ci") if p.suffix == ".sh" or p.parent.name == ".ci"]
    done = subprocess.run(["shellcheck", "-x", "-S", "warning", "-s", "bash", *paths], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split("\n")[:20] if done.returncode else []


CHECKS = {
    "file sizes": sizes,
    "function sizes": functions,
    "private headers stay private": includes,
    "layers": layers,
    "every contract header compiles alone": headers_alone,
    "banned functions": lambda: grep([f for f in c_files() if "tests" not in f.parts], BANNED),
    "unfinished words": lambda: grep([f for f in files("src", "include", "subprojects", "tests", "deploy")
                                      if f.suffix in (".c", ".h", ".py", ".sh") and f.name != "lint.py"], WORDS, re.I),
    "no sleep in tests": lambda: grep([f for f in files("tests") if f.suffix in (".c", ".py") and f.name != "lint.py"],
                                      r"\b(usleep|nanosleep|time\.sleep)\s*\(|[^_]\bsleep\("),
    "no skipped tests": lambda: grep([f for f in files("tests") if f.suffix == ".py" and f.name != "lint.py"],
                                     r"pytest\.(skip|importorskip)|mark\.(skip|xfail)"),
    "no trailing blanks": lambda: grep([f for f in files("src", "include", "subprojects", "tests", "deploy", "config")
                                        if f.suffix in (".c", ".h", ".py", ".sh", ".md", ".build")], r"[ \t]+$"),
    "licence lines": licence,
    "clang-format": formatted,
    "config reference": reference,
    "shellcheck": shell,
}


def main():
    failed = False
    for name, check in CHECKS.items():
        places = check()
        print(("FAIL  " if places else "ok    ") + name)
        for place in places[:40]:
            print("      " + place)
        failed = failed or bool(places)
    return failed


sys.exit(main())
