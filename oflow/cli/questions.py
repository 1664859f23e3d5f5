"""``oflow explain FILE tensor NAME`` (or ``actor NAME``, ``register NAME``): all about one of them, in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from oflow.cli.files import Given, Options, UsageError, opened
from oflow.view.questions import TensorAnswer, Unknown, answer_text, explain_actor, explain_register, explain_tensor, summary
from oflow.view.questions.words import Answer
from oflow.view.style import padded, widths_of


def _tensor(given: Given, name: str) -> Sequence[Answer]:
    if given.graph is None:
        raise UsageError(f"{given.path} has no logical graph, so no tensors; ask for a register or an actor, or give the .py file")
    return explain_tensor(given.program, name)


KINDS: dict[str, Callable[[Given, str], Sequence[Answer]]] = {
    "tensor": _tensor,
    "actor": lambda given, name: explain_actor(given.plan, name),
    "register": lambda given, name: explain_register(given.plan, name),
}
"""What can be asked about, and who answers."""


def explain_one(path: str, words: list[str], options: Options, as_json: bool) -> None:
    """Print the answer about ``words[0]`` of the name ``words[1]``; of several that the name means, a line each."""
    if len(words) != 2:
        raise UsageError(f"explain {words[0]} needs one name: oflow explain FILE {words[0]} NAME ('*' lists all)")
    kind, name = words
    with opened(path, options) as given:
        try:
            answers = KINDS[kind](given, name)
        except Unknown as e:
            raise UsageError(str(e)) from e
    if as_json:
        print(json.dumps({kind: name, "answers": [facts(answer) for answer in answers]}))
    elif len(answers) == 1:
        print(answer_text(answers[0]), end="")
    else:
        rows = [summary(answer) for answer in answers]
        print(f"{len(answers)} {kind}s are meant by {name!r}; name one for its answer")
        print("\n".join(f"  {line}" for line in padded(rows, widths_of(rows))))


def facts(answer: Answer) -> dict[str, Any]:
    """An answer as plain data; seconds that are infinite (there is no second choice) are null."""
    found = asdict(answer)
    if isinstance(answer, TensorAnswer):
        found["boxings"] = [one.facts() for one in answer.boxings]
        if answer.choice and not answer.choice.second:
            found["choice"]["second_seconds"] = None
    return found
