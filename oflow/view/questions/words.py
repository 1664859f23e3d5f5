"""Answers in words: one fact a line, its subject before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap

from oflow.boxings import INPUT, OUTPUT, Boxing
from oflow.graph import SignatureChoice
from oflow.view.questions.actors import ActorAnswer, Use
from oflow.view.questions.registers import KEPT, OFFLOADED, ORDER, SHARED, STASH, RegisterAnswer, User
from oflow.view.questions.tensor import ANNOTATION, ASKED, AUTOMATIC, EVERYWHERE, INFERENCE, OWNER, SPLIT, Operator, TensorAnswer
from oflow.view.style import bytes_text, padded, seconds_text, widths_of

Answer = TensorAnswer | ActorAnswer | RegisterAnswer
Line = tuple[str, str]
LISTED = 6
"""Readers, waits or places that have a line each."""
WIDTH = 140

WHO = {
    ANNOTATION: "asked for by the user's annotation", ASKED: "asked for by to_global", OWNER: "that of the parameter it belongs to",
    SPLIT: "split over the devices that repeat it, as zero= asks", AUTOMATIC: 'chosen by layout="auto"',
    EVERYWHERE: "nobody annotated it, so every device has all of it", INFERENCE: "chosen by inference",
}  # fmt: skip
LIVES = {
    KEPT: "kept from step to step", STASH: "stash: kept from the forward to the backward pass",
    OFFLOADED: "stash that waits in the host's memory for the backward pass", ORDER: "holds nothing: it only orders acts",
}  # fmt: skip


def answer_text(answer: Answer) -> str:
    """The answer as lines."""
    if isinstance(answer, TensorAnswer):
        return _lines(f"tensor {answer.name}: {_tensor_head(answer)}", _tensor(answer))
    if isinstance(answer, ActorAnswer):
        return _lines(f"actor {answer.name}: {_actor_head(answer)}", _actor(answer))
    return _lines(f"register {answer.name}: {_register_head(answer)}", _register(answer))


def summary(answer: Answer) -> tuple[str, ...]:
    """The cells of one line, for lists of several answers."""
    if isinstance(answer, TensorAnswer):
        return answer.name, answer.type, answer.layout, answer.kind, answer.line or (answer.writer.line if answer.writer else "")
    if isinstance(answer, ActorAnswer):
        return answer.name, f"{answer.devices}/{answer.stream}", f"stage {answer.stage} {answer.phase}", f"x{answer.acts}", _an_act(answer)
    place = answer.places[0]
    return answer.name, place.shard, f"x{answer.slots}", answer.layout or "-", f"{place.nbytes:,} bytes a device", place.devices


def _lines(head: str, lines: Iterable[Line]) -> str:
    rows: list[Line] = []
    for name, text in lines:
        parts = wrap(text, WIDTH - 12, break_long_words=False, break_on_hyphens=False) or [""]
        rows += [(name, parts[0]), *(("", part) for part in parts[1:])]
    return "\n".join([head, *(f"  {line}" for line in padded(rows, widths_of(rows)))]) + "\n"


# ---------------------------------------------------------------- tensors


def _tensor_head(one: TensorAnswer) -> str:
    of = f" of {one.of}" if one.of else ""
    return f"{one.type}, {one.kind}{of}" + (f", the program's output {one.outputs[0]!r}" if one.outputs else "")


def _tensor(one: TensorAnswer) -> Iterable[Line]:
    parts = f", in {one.times} micro-batches of {one.part}" if one.times > 1 and one.part != one.type else ""
    yield "lives", f"{one.sbp} on {one.devices}{parts}"
    yield "layout", _why(one)
    if one.choice:
        yield "", _choice(one.choice)
    if one.writer:
        yield "made by", _operator(one.writer)
    elif one.kind == "input":
        yield "made by", "the caller"
    yield from _several("read by", [_operator(reader) for reader in one.readers], "nobody")
    yield from _several("boxings", [_boxing(b) for b in one.boxings], "none: everybody reads it as it is")
    if one.fate:
        yield "memory", one.fate
    if one.again:
        yield "again", f"computed again in the backward pass, by {', '.join(one.again)}"
    for register in one.registers:
        yield "memory", f"register {register.name}: {_register_head(register)}"
        yield from ((f"  {name}", text) for name, text in _register(register) if name in ("at", "life", "held", "freed by"))


def _why(one: TensorAnswer) -> str:
    who = WHO.get(one.asked, one.asked)
    owner = f" ({one.of})" if one.asked == OWNER else ""
    return f"{who}{owner}" + (f" at {one.line}" if one.line and one.asked in (ANNOTATION, ASKED, OWNER) else "")


def _choice(one: SignatureChoice) -> str:
    alike = f", for {one.alike} that are alike" if one.alike > 1 else ""
    chosen = f"{one.signature}{alike}" + (f": {seconds_text(one.work)} of work a step" if one.work else "")
    whole = f"work and boxings of the whole step {seconds_text(one.seconds)}"
    if not one.second:
        reason = "it has no other signature here" if one.ways < 2 else "no other of its signatures fits the rest"
        return f"{chosen}; {reason}"
    more = one.second_seconds / one.seconds - 1 if one.seconds else 0.0
    gap = f"{more:+.1%}" if abs(more) >= 5e-4 else "the same"
    dear = ", and moves what the user placed" if one.moves_annotated else ""
    return f"{chosen}, {whole}; next best of {one.ways} is {one.second}: {seconds_text(one.second_seconds)} ({gap}){dear}"


def _operator(one: Operator) -> str:
    stage = f"stage {one.stage} " if one.stage is not None else ""
    runs = f", in {', '.join(one.actors[:2])}" + (f" and {len(one.actors) - 2} more" if len(one.actors) > 2 else "") if one.actors else ""
    wants = f", as {one.wants}" if one.wants else ""
    return f"{one.op}{f' at {one.line}' if one.line else ''} ({stage}{one.phase}){runs}{wants}"


def _boxing(one: Boxing) -> str:
    why = one.why if one.why in (INPUT, OUTPUT) else f"for {one.reader}" if one.reader else one.why
    where = f" at {one.line}" if one.line else ""
    unasked = "" if one.asked else ", not asked for"
    bucket = f", in bucket {one.bucket}" if one.bucket is not None else ""
    copied = ", read where it lies" if one.moves[0].in_place else ""
    return f"{one.route}: {one.nbytes:,} bytes and {seconds_text(one.seconds)} a step ({one.phase}, {why}{where}{unasked}{bucket}{copied})"


def _several(name: str, texts: Sequence[str], nothing: str) -> Iterable[Line]:
    if not texts:
        yield name, nothing
    for place, text in enumerate(texts[:LISTED]):
        yield name if place == 0 else "", text
    if len(texts) > LISTED:
        yield "", f"and {len(texts) - LISTED} more"


# ---------------------------------------------------------------- registers


def _register_head(one: RegisterAnswer) -> str:
    place = one.places[0]
    slots = f"{one.slots} slot{'s' * (one.slots != 1)}"
    size = f"{slots} of {place.shard}" + (f" = {place.nbytes:,} bytes a device" if place.nbytes else "")
    tokens = f", {one.initial} full at the start" if one.initial else ""
    return f"{size}{f', {one.layout}' if one.layout else ''}{tokens}"


def _register(one: RegisterAnswer) -> Iterable[Line]:
    yield from _several("at", [f"+{p.offset:,} of the {one.region} of {p.devices}: {p.shard}, {p.nbytes:,} bytes" for p in one.places], "")
    if one.life in LIVES:
        yield "life", LIVES[one.life] + (f" as {one.state}" if one.state else "")
    yield from _several("written by", [_user(user) for user in one.writers], "nobody")
    rewritten = any(user.mode == "keep" for user in one.writers)
    yield from _several("read by", [_user(user) for user in one.readers], "who rewrites it" if rewritten else "nobody")
    if one.held is not None and one.life != KEPT:
        yield "held", _held(one)
    if one.freed_by and one.life != KEPT:
        yield "freed by", ", ".join(f"{name} ({count} a step)" for name, count in one.freed_by)
    if one.shares:
        more = f" and {len(one.shares) - SHARED} more" if len(one.shares) > SHARED else ""
        yield "shares", f"bytes, in turn, with {', '.join(one.shares[:SHARED])}{more}"
    if one.critical:
        waits = {"data": "its content", "slot": "a free slot of it"}
        yield "critical", f"the critical cycle waits for {' and for '.join(waits[kind] for kind in one.critical)}"


def _held(one: RegisterAnswer) -> str:
    held = one.held
    assert held is not None
    spread = f" ({seconds_text(held.shortest)} .. {seconds_text(held.longest)})" if held.longest > held.shortest * 1.001 else ""
    times = f", {held.uses} times a step" if held.uses > 1 else ""
    return f"{seconds_text(held.mean)} from being written to being free{spread}{times}"


def _user(one: User) -> str:
    every = {0: ", kept for the run", 1: ""}.get(one.every, f", one slot for {one.every} acts")
    mode = "" if one.mode == "whole" else f", {one.mode}"
    return f"{one.actor} (stage {one.stage} {one.phase}, {one.where}{every}{mode})"


# ---------------------------------------------------------------- actors


def _actor_head(one: ActorAnswer) -> str:
    return f"stage {one.stage} {one.phase} on {one.devices}/{one.stream}, {one.acts} act{'s' * (one.acts != 1)} a step, {_an_act(one)}"


def _an_act(one: ActorAnswer) -> str:
    return f"{seconds_text(one.seconds)} an act"


def _actor(one: ActorAnswer) -> Iterable[Line]:
    yield from _several("runs", [f"{op}{f' at {line}' if line else ''}" for op, line in one.runs], "no kernel")
    yield from _several("reads", [_use(use, "from") for use in one.reads], "nothing")
    yield from _several("writes", [_use(use, "to") for use in one.writes], "nothing")
    if one.after:
        yield "after", f"{', '.join(one.after)} (their bytes pass to it)"
    if one.before:
        yield "before", f"{', '.join(one.before)} (its bytes pass to them)"
    if one.scratch_nbytes:
        yield "scratch", f"{one.scratch_nbytes:,} bytes"
    if one.received:
        yield "receives", f"{one.received:,} bytes a step on one device ({bytes_text(one.received / one.acts)} an act)"
    if one.rendezvous:
        yield "with", f"its partners in {one.rendezvous}, all at once"
    if one.busy is not None and one.critical is not None:
        cycle = f"{one.critical:.1%} of the critical cycle" if one.critical else "not on the critical cycle"
        yield "time", f"works {one.busy:.1%} of the period; {cycle}"
        waits = [_wait(w.why, w.register, w.other, w.seconds) for w in one.waits]
        yield from _several("waits", waits, "never with an idle stream: it follows on the act before it")


def _wait(why: str, register: str, other: str, seconds: float) -> str:
    if why == "input":
        what = f"for {register} from {other}"
    elif why == "free slot":
        what = f"for a free slot of {register}, which {other} frees"
    elif why == "stream":
        what = f"for its turn, after {other}"
    elif why == "partner":
        what = f"for its partner {other}"
    else:
        what = "for its caller" if why == "caller" else "for a free core" if why == "core" else "for nothing more: the run ends"
    return f"{seconds_text(seconds)} a step {what}"


def _use(one: Use, way: str) -> str:
    every = {0: ", kept for the run", 1: ""}.get(one.every, f", one slot for {one.every} acts")
    mode = "" if one.mode == "whole" else f", {one.mode}"
    more = f" and {len(one.others) - 4} more" if len(one.others) > 4 else ""
    others = f" {way} {', '.join(one.others[:4])}{more}" if one.others else ""
    return f"{one.register} x{one.slots}{f' {one.layout}' if one.layout else ''}{every}{mode}{others}"
