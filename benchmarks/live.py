"""What watching costs: steps of one program with and without progress, in turns, as ratios of one run.

    python benchmarks/live.py [seconds=60]

plain: nobody watches. counted: a function is told of the figures, ten times a second. drawn: the bar, on a terminal that nobody reads
by eye. A ratio is that of steps a second, and of processor seconds a step, to plain; medians of rounds that take turns, so that
whatever else the machine does meets all three alike.
"""

import itertools
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import digits
import gpt

ROUND = 1.5
MODES = {"plain": False, "counted": lambda progress: None, "drawn": True}


@contextmanager
def terminal():
    """stderr is a terminal, which another process empties."""
    screen, ours = os.openpty()
    reader = subprocess.Popen(["cat"], stdin=screen, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before, os.environ["TERM"] = sys.stderr, "xterm"
    sys.stderr = os.fdopen(ours, "w")
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        reader.wait()
        os.close(screen)


def round_of(program, feed, progress):
    """(steps a second, processor seconds a step) over about ROUND seconds."""
    begun, worked, steps = time.perf_counter(), time.process_time(), 0
    for _ in program.stream(feed, progress=progress):
        steps += 1
        if time.perf_counter() - begun > ROUND:
            break
    return steps / (time.perf_counter() - begun), (time.process_time() - worked) / steps


def measure(name, build, batches, seconds):
    """A program for each mode, because a session that was ever watched counts to its end."""
    feed = list(itertools.islice(batches, 8))
    with ExitStack() as stack:
        programs = {mode: stack.enter_context(build()) for mode in MODES}
        for mode, program in programs.items():
            round_of(program, itertools.cycle(feed), MODES[mode])
        rounds = {mode: [] for mode in MODES}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for mode, program in programs.items():
                rounds[mode].append(round_of(program, itertools.cycle(feed), MODES[mode]))
    plain = rounds["plain"]
    for mode, found in rounds.items():
        rate = statistics.median(one[0] / base[0] for one, base in zip(found, plain, strict=True))
        work = statistics.median(one[1] / base[1] for one, base in zip(found, plain, strict=True))
        print(f"{name:26} {mode:8} steps a second x {rate:.4f}, processor seconds a step x {work:.4f}  ({len(found)} rounds)", flush=True)


def main(seconds=60.0):
    with terminal():
        measure("digits pipeline, native", lambda: digits.build("pipeline", executor="native"), digits.batches(), seconds / 3)
        measure("digits pipeline, threads", lambda: digits.build("pipeline", executor="threads"), digits.batches(), seconds / 3)
        measure("gpt, native", gpt.build, gpt.batches(), seconds / 3)


if __name__ == "__main__":
    main(*(float(word.partition("=")[2]) for word in sys.argv[1:]))
