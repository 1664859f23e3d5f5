"""Questions about one tensor, actor or register of a plan: answers as data, and in words (`answer_text`).

    names      which names a pattern means             steady      what happens in the steady state, from a simulated run
    registers, actors, tensors   the answers           words       the same as text
    tensor     the answer about a tensor as data       lookup      what all answers about one plan look up
"""

from __future__ import annotations

from oflow.view.questions.actors import ActorAnswer, explain_actor
from oflow.view.questions.names import Unknown
from oflow.view.questions.registers import RegisterAnswer, explain_register
from oflow.view.questions.tensor import TensorAnswer
from oflow.view.questions.tensors import explain_tensor
from oflow.view.questions.words import answer_text, summary

__all__ = [
    "ActorAnswer", "RegisterAnswer", "TensorAnswer", "Unknown", "answer_text", "explain_actor", "explain_register", "explain_tensor",
    "summary",
]  # fmt: skip
