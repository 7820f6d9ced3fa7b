#!/usr/bin/python3
"""page_commands.py PAGE…: checks every command of ours that a page tells a person to type: in its blocks of code and
in backticks, also behind `caxton on-node NODE --` and `ssh HOST`. The tool has the command, with these options, and takes
as many arguments (--describe). A script by its own name or path is wrong: an installation has only `caxton` for it in its
PATH. Prints how many there were; exit 1 and a line on stderr for each that is wrong.
"""
import functools
import json
import pathlib
import re
import shlex
import subprocess
import sys

COMMON = {"config": "text", "json": "flag", "table": "flag", "quiet": "flag", "verbose": "flag", "timeout": "duration"}


@functools.lru_cache
def described(tool):
    return json.loads(subprocess.run([tool, "--describe"], check=True, capture_output=True, text=True).stdout)["commands"]


@functools.lru_cache
def table():
    lines = subprocess.run(["caxton", "--table"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [[part.strip().split() for part in line.split("|")[:2]] for line in lines]


@functools.lru_cache
def scripts():
    return sorted({re.escape(row[1][0]) for row in table() if not row[1][0].startswith("cx-")})


def problem(line):
    words = shlex.split(line)
    if not re.match(r"(cx-[a-z]+|caxton)$", words[0]):
        return "is in no PATH; caxton --table has a word for it"
    if words[0] == "caxton":
        rows = [row for row in table() if words[1:1 + len(row[0])] == row[0]]
        if not rows:
            return "caxton has no such words"
        row = max(rows, key=lambda found: len(found[0]))
        words = row[1] + words[1 + len(row[0]):]
        if not words[0].startswith("cx-"):
            return None  # a script: its own tests know its options
    try:
        commands = described(words[0])
    except FileNotFoundError:
        return f"there is no {words[0]}"
    found = [c for c in commands if words[1:1 + len(c["name"].split())] == c["name"].split()]
    if not found:
        return f"{words[0]} has no such command"
    command = max(found, key=lambda c: len(c["name"]))
    kinds = COMMON | ({"dry-run": "flag"} if command["changes"] else {}) | {o["name"]: o["kind"] for o in command["options"]}
    count = 0
    rest = iter(words[1 + len(command["name"].split()):])
    for word in rest:
        if not word.startswith("--"):
            count += 1
        elif word[2:] not in kinds:
            return f"no option {word}"
        elif kinds[word[2:]] != "flag" and next(rest, None) is None:
            return f"{word} needs a value"
    most = command["arguments_max"]
    if count < command["arguments_min"] or (most is not None and count > most):
        return f"{count} arguments"
    return None


def commands_of(text):
    code = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    code += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for line in code:
        line = re.sub(r"^((CX_REMOTE_TIMEOUT=\d+ )?caxton on-node \S+ -- |ssh HOST )", "", line.split("  #")[0].strip())
        if re.match(r"((scripts|runbooks)/)?(" + "|".join(scripts()) + r")( |$)", line):
            yield line
        if re.match(r"(cx-[a-z]+|caxton) [a-z]", line) and not re.match(r"cx-\w+ cx-", line):
            yield line


def main():
    count = bad = 0
    for name in sys.argv[1:]:
        for line in commands_of(pathlib.Path(name).read_text()):
            count += 1
            reason = problem(line)
            if reason:
                bad += 1
                print(f"{name}: {line}: {reason}", file=sys.stderr)
    print(count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
