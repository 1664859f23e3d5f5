"""How long a report's page of many actors takes to be ready and to answer, in Chromium, and its Python side.

    python benchmarks/look.py [--actors 10000] [--times 9]

Rows of actors on 100 devices, each reads from two; half of all actors are forward, half backward. made: processor seconds of
`view.html`, of which a proof is not part. ready: from the request of the file to the page's last picture. hover, filter, search, zoom:
from the event to the second frame after it, so about 17 to 33 ms of each are the screen's; medians.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from picture import HERE
from plans import rows_of_ranks
from playwright.sync_api import sync_playwright
from report import options

from oflow import view
from oflow.check import check
from oflow.machine import Cost

sys.path.insert(0, str(HERE.parent))
from tests.conftest import CHROMIUM

RANKS = 100
TIMED = """async ([what, value]) => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const changed = (id, type) => {
    const one = document.getElementById(id);
    one.value = value;
    one.dispatchEvent(new Event(type, { bubbles: true }));
  };
  const acts = {
    hover: () => document.querySelectorAll("#tables tbody tr")[value].dispatchEvent(new MouseEvent("mouseover", { bubbles: true })),
    filter: () => changed("filter-device", "change"),
    search: () => changed("search", "input"),
    zoom: () => document.querySelector("#timeline canvas").dispatchEvent(new KeyboardEvent("keydown", { key: value })),
  };
  await frame();
  const began = performance.now();
  acts[what]();
  await frame();
  await frame();
  return performance.now() - began;
}"""
ASKED = {"hover": (0, 1, 2, 3, 4), "filter": ("1", "2", "3", ""), "search": ("a1", "a1@", ""), "zoom": ("+", "+", "-", "-")}


def main(words):
    given = options(__doc__, words, actors=10_000, times=9)
    plan = rows_of_ranks(given.actors // RANKS, RANKS)
    half = len(plan.actor_templates) // 2
    plan = replace(plan, actor_templates=tuple(
        replace(one, phase="F" if i < half else "B", stage=i * 4 // len(plan.actor_templates), costs=(Cost(seconds=1e-5 * (1 + i % 7)),))
        for i, one in enumerate(plan.actor_templates)
    ))  # fmt: skip
    proof, began = check(plan), process_time()
    made = view.html(plan, proof=proof)
    print(f"{given.actors:,} actors: made in {process_time() - began:.2f} processor seconds, {len(made):,} bytes")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        path.write_text(made)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        began = perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        print(f"ready after {perf_counter() - began:.2f} s")
        for what, values in ASKED.items():
            took = [page.evaluate(TIMED, [what, value]) for _ in range(given.times) for value in values]
            print(f"{what}: {median(took):.0f} ms, at most {max(took):.0f} ms")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
