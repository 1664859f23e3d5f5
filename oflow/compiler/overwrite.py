"""Who reads a temporary last may write its result into the same memory: less scratch, and bytes that are in the cache already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from oflow.ops import REGISTRY
from oflow.plan import Arg, Call, aligned
from oflow.types import TensorType, freeze


@dataclass(frozen=True, slots=True)
class Temporary:
    """A value or workspace inside a chain: first and last call that touch it (inclusive)."""

    types: tuple[TensorType, ...]
    first: int
    last: int

    @property
    def nbytes(self) -> int:
        return max(aligned(t.nbytes) for t in self.types)


def overwrite(calls: Sequence[Call], temporaries: Sequence[Temporary]) -> tuple[tuple[Call, ...], list[Temporary]]:
    """The calls, results in their operands' memory where the operator can, and the temporaries that are left."""
    found, same = list(temporaries), list(range(len(temporaries)))
    made = []
    for at, call in enumerate(calls):
        call = _renamed(call, same)
        pairs = _pairs(call, at, found)
        for result, operand in pairs:
            old, new = call.outs[result].index, call.ins[operand].index
            found[new] = replace(found[new], last=found[old].last)
            same[old] = new
        if pairs:
            columns = tuple(freeze({**dict(column), "inplace": tuple(pairs)}) for column in call.attrs)
            call = _renamed(replace(call, attrs=columns), same)
        made.append(call)
    kept = {index: i for i, index in enumerate(index for index, root in enumerate(same) if index == root)}
    numbers = [kept.get(root, -1) for root in same]
    return tuple(_renamed(call, numbers) for call in made), [found[index] for index in kept]


def _pairs(call: Call, at: int, temporaries: Sequence[Temporary]) -> list[tuple[int, int]]:
    """(result, operand): a temporary that begins here, of the type of one that ends here and is read once, element by element."""
    able = REGISTRY[call.op].overwrites
    pairs: list[tuple[int, int]] = []
    for result in able(dict(call.attrs[0])) if able is not None else ():
        out = call.outs[result]
        if out.kind != "scratch" or temporaries[out.index].first != at:
            continue
        for operand, arg in enumerate(call.ins):
            free = arg.kind == "scratch" and not arg.types and _ends(temporaries[arg.index], at) and call.ins.count(arg) == 1
            taken = any(operand == other for _, other in pairs)
            if free and not taken and temporaries[arg.index].types == temporaries[out.index].types:
                pairs.append((result, operand))
                break
    return pairs


def _ends(temporary: Temporary, at: int) -> bool:
    return temporary.first < at == temporary.last


def _renamed(call: Call, numbers: Sequence[int]) -> Call:
    def bound(arg: Arg) -> Arg:
        return replace(arg, index=numbers[arg.index]) if arg.kind == "scratch" else arg

    workspace = numbers[call.workspace] if call.workspace >= 0 else -1
    return replace(call, outs=tuple(map(bound, call.outs)), ins=tuple(map(bound, call.ins)), workspace=workspace)
