"""What watching costs: steps of one program with and without progress, in turns, as ratios of one run.

    python benchmarks/live.py [seconds=60]

plain: nobody watches. counted: a function is told of the figures, ten times a second. drawn: the bar, on a terminal that nobody reads
by eye. A ratio is that of steps a second, and of processor seconds a step, to plain; medians of rounds that take turns, so that
whatever else the machine does meets all three alike. On a machine that others use these ratios tell five percent from nothing, not
one; so the parts are timed alone too, in processor seconds, and added up to a share of the program's own: the clock looked at once
an act, the count of each step, and the frames of a second.
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
from overhead import ACTORS, Running
from plans import EmptyPrograms, chain

from oflow.actors import native
from oflow.live import Following, Job
from oflow.live.bar import FRAME, Bar

ROUND = 3.0
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


def act_seconds(rounds=9):
    """What an act takes more when its session is watched: chains of empty acts in turns, on one thread."""
    plan = chain(ACTORS, 2, devices=[0] * ACTORS, ordered=True)
    launch = [lambda act, slots: None] * ACTORS
    with ExitStack() as stack:
        plain, watched = (Running(stack.enter_context(native(plan, launch, compiled=EmptyPrograms(plan), workers=0)), 1) for _ in range(2))
        watched.session.meter()
        for _ in range(rounds):
            plain.turn(0.1)
            watched.turn(0.1)
        return max(0.0, statistics.median(watched.times()) - statistics.median(plain.times()))


def processor_seconds(call, times):
    """Of this thread, a call."""
    call()
    begun = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - begun) / times


def parts(name, program, batches, an_act):
    """The share of a program's processor time that each part of watching takes."""
    feed = list(itertools.islice(batches, 8))
    round_of(program, itertools.cycle(feed), False)
    rate, work = round_of(program, itertools.cycle(feed), False)
    job = Job()
    following = program.following(1000)
    for _ in following.through(program.stream(feed)):
        pass
    job.following = (following.progress,)
    bar = Bar(job)
    frame = processor_seconds(bar.draw, 200)
    bar.wipe()
    counting = processor_seconds(lambda: sum(1 for _ in Following(1000).through(range(1000))), 20) / 1000
    acts = sum(actor.acts for actor in program.plan.actors)
    shares = acts * an_act / work, counting / work, frame / FRAME / (rate * work)
    print(f"{name:26} {acts} acts in {1e3 * work:.2f} ms of a core a step, {rate:.0f} steps a second")
    print(f"{'':26} clock {1e9 * an_act:.0f} ns an act: {shares[0]:.2%}; count {1e6 * counting:.2f} us a step: {shares[1]:.2%}; "
          f"frame {1e3 * frame:.2f} ms: {shares[2]:.2%}; together {sum(shares):.2%}", flush=True)


def main(seconds=60.0):
    with terminal():
        an_act = act_seconds()
        for name, example in (("digits pipeline, native", digits), ("gpt, native", gpt)):
            with example.build() as program:
                parts(name, program, example.batches(), an_act)
        measure("digits pipeline, native", lambda: digits.build("pipeline", executor="native"), digits.batches(), seconds / 3)
        measure("digits pipeline, threads", lambda: digits.build("pipeline", executor="threads"), digits.batches(), seconds / 3)
        measure("gpt, native", gpt.build, gpt.batches(), seconds / 3)


if __name__ == "__main__":
    main(*(float(word.partition("=")[2]) for word in sys.argv[1:]))
