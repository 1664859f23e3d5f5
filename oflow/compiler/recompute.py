"""recompute: forward values are made again in the backward pass instead of being kept, to the same bits (see `copies`).

    forward   with region 0: h = gelu(x @ up)      h was kept from here ...
    backward  d = g @ h                            ... to here
    backward  h' = gelu(x @ up); d = g @ h'        now only x is

Marked regions (Chen et al. 2016; nested ones are their recursion): what a reader takes is decided by the regions that it shares with
the value's maker. None, and it takes what was kept; the first k of the maker's regions, and it takes the copy of level k. So a
region's outputs are kept for readers behind it, and an inner region's values are made for the outer region's copy and once more for
the inner one's backward. Then, with recompute="all", whole segments (`segments`), or the values that `fit` chose (`dropped`).
"""

from __future__ import annotations

from oflow.compiler.copies import compute_again
from oflow.compiler.options import Options
from oflow.compiler.segments import all_but_cuts
from oflow.compiler.stash import stashes
from oflow.graph import Graph, common_region


def recompute(graph: Graph, options: Options) -> Graph:
    if any(node.region for node in graph.nodes):
        graph = compute_again(graph, lambda v, maker, region: len(common_region(region, maker.region)))
    dropped = all_but_cuts(stashes(graph, options)) if options.recompute == "all" else options.dropped
    return compute_again(graph, lambda v, maker, region: int(v in dropped)) if dropped else graph
