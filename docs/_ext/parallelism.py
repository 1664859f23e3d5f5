"""What a page of docs/parallelism shows of its program: the code, the plan, what was inserted, memory, time, the way to the next."""

from __future__ import annotations

from collections.abc import Callable

import oflow as of
from _ext.markdown import changes, details, fence, table
from _ext.pictures import picture
from _ext.programs import STEPS, compiled, text
from _ext.programs import losses as losses_of
from oflow.compiler.schedules import named_schedule
from oflow.view.style import bytes_text, device_order, seconds_text


def program(name: str) -> str:
    """The program, and what it is asked."""
    return fence(text(name), "python", numbered=True)


def losses(name: str) -> str:
    """The loss of a few steps, as run when the site was built."""
    found = losses_of(name)
    shown = [1, 2, *range(5, STEPS + 1, 5)]
    return "\n" + table([f"step {step}" for step in shown], [[f"{found[step - 1]:.4f}" for step in shown]])


def graph(name: str) -> str:
    """The logical graph with a layout on every value."""
    return fence(of.view.text(compiled(name).passes["infer_sbp"]))


def plan(name: str) -> str:
    made = compiled(name).plan
    report = f'<a href="../reports/{name}.html">everything linked, with zoom and search</a>'
    words = "A band is a stream of a device, a box an actor, an arrow a register; dashed: it starts full. Hover for figures; or see "
    return picture(of.view.svg(made, "lanes"), words + report)


def boxings(name: str) -> str:
    """Every change of layout that the compiler inserted: bytes over all links, seconds a step, cause."""
    return fence(of.view.boxings(compiled(name).boxings()))


def memory(name: str) -> str:
    """Bytes of each device, those that are alike in one row, and where they lie in the arena."""
    made = compiled(name).plan
    sizes = {device: (made.states.get(device, 0), made.arenas.get(device, 0)) for device in sorted(made.devices, key=device_order)}
    alike: dict[tuple[int, int], list[str]] = {}
    for device, size in sizes.items():
        alike.setdefault(size, []).append(device)
    rows = [[", ".join(f"`{one}`" for one in devices), *map(bytes_text, size), bytes_text(sum(size))] for size, devices in alike.items()]
    words = "One bar a device: what lies beside each other shares bytes, because it is never needed at the same time."
    drawn = picture(of.view.memory(made), words, fitting=True)
    return "\n" + table(("devices", "kept state", "arena", "together"), rows) + details("Where everything lies in memory", drawn)


def timeline_alone(name: str) -> str:
    """Two simulated steps."""
    made = compiled(name).plan
    words = "Two steps on the machine model; no kernel runs. Hover for names."
    return picture(of.view.timeline(made.simulate(steps=2), made), words, fitting=True)


def timeline(name: str) -> str:
    """Two simulated steps, and what the proof says of the period."""
    made = compiled(name).plan
    proof = "\n".join(line for line in str(made.check()).splitlines() if not line.startswith("stream "))
    shares = made.report()
    row = (seconds_text(shares.period), *(f"{share:.1%}" for share in (shares.computing, shares.exposed, shares.bubble)))
    parts = table(("a step, once steps overlap", "computing", "transfers that are not hidden", "bubble"), [row])
    return f"{timeline_alone(name)}\n{parts}" + details("The proof, with the critical cycle", fence(proof))


def schedule(name: str) -> str:
    """The order of actions on each rank, as a picture of equal steps."""
    order = made_schedule(name)
    drawn = picture(of.view.svg(order), "A schedule is data: one row of actions a rank.", fitting=True)
    return drawn + details("The same as text", fence(of.view.text(order)))


def made_schedule(name: str) -> of.Schedule:
    made = compiled(name).plan
    return named_schedule(made.schedule, 1 + max(actor.stage for actor in made.actor_templates), micro_batches=made.micro_batches)


VARIANTS: dict[str, tuple[str, tuple[object, ...]]] = {
    "zero": ("zero", (0, 1, 2, 3)),
    "pipeline": ("schedule", ("gpipe", "1f1b", "zero-bubble")),
}
"""The option that a page compares, and its values."""

FIGURES: dict[str, Callable[[of.Program], str]] = {
    "period": lambda made: seconds_text(made.plan.check().period),
    "bubble": lambda made: f"{made.plan.report().bubble:.1%}",
    "exposed transfers": lambda made: f"{made.plan.report().exposed:.1%}",
    "kept state, fullest device": lambda made: bytes_text(made.plan.report().state_nbytes),
    "arena, fullest device": lambda made: bytes_text(made.plan.report().arena_nbytes),
    "moved a step": lambda made: bytes_text(sum(one.nbytes for one in made.boxings())),
}


def compared(name: str) -> str:
    """The program with each value of one option, in figures of the proved plans."""
    option, values = VARIANTS[name]
    made = [compiled(name, **{option: value}) for value in values]
    rows = [[what, *(figure(one) for one in made)] for what, figure in FIGURES.items()]
    return "\n" + table(("", *(f"`{option}={value!r}`" for value in values)), rows)


def change(name: str, other: str) -> str:
    """What turns one program into the other."""
    return changes(text(name), text(other), around=1)
