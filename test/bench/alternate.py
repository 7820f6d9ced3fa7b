#!/usr/bin/python3
"""alternate.py ROUNDS NAME CMD… [:: NAME CMD…]…: runs the commands in turn, ROUNDS times each, and prints
{"NAME": {"median_ms", "p90_ms", "min_ms"}, …}.

In turn, so that a noisy moment of the machine falls on all alike. Output is thrown away; a command
that fails ends it all.
"""
import json
import os
import statistics
import sys
import time


def run_once(command, null):
    started = time.perf_counter_ns()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)])
    _, status = os.waitpid(pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: status {os.waitstatus_to_exitcode(status)}")
    return (time.perf_counter_ns() - started) / 1e6


def main():
    rounds = int(sys.argv[1])
    commands = {}
    words = []
    for word in sys.argv[2:] + ["::"]:
        if word == "::":
            commands[words[0]] = words[1:]
            words = []
        else:
            words.append(word)
    null = os.open(os.devnull, os.O_RDWR)
    times = {name: [] for name in commands}
    for command in commands.values():
        run_once(command, null)  # not counted: files come into the page cache
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(run_once(command, null))
    print(json.dumps({
        name: {
            "median_ms": round(statistics.median(values), 3),
            "p90_ms": round(sorted(values)[int(len(values) * 0.9)], 3),
            "min_ms": round(min(values), 3),
        }
        for name, values in times.items()
    }))


if __name__ == "__main__":
    main()
