"""PyTorch's schedule files: reading, writing, faults with line and cell, delivery of messages."""

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest

import oflow as of
from oflow.cli import main
from oflow.compiler.schedules import SCHEDULES, named_schedule
from oflow.errors import DeadlockError, PlanError
from oflow.schedule import Times, check_links, from_csv, read_csv, replay, to_csv
from oflow.schedule.links import Delivery, operations

FILES = Path(__file__).parent / "pytorch"
"""Made by torch 2.13's own schedule classes for 4 ranks and 8 micro-batches, as they dump them."""
FIGURES = {
    "GPipe_4_8_compute_comms": (33, 8), "Interleaved1F1B_4_8_compute_only": (57, 5.5), "Interleaved1F1B_4_8_compute_comms": (57, 5.5),
    "InterleavedZeroBubble_4_8_compute_only": (51, 4), "InterleavedZeroBubble_4_8_compute_comms": (51, 4),
    "ZBVZeroBubble_4_8_compute_only": (51, 4), "ZBVZeroBubble_4_8_compute_comms": (51, 4),
    "DualPipeV_4_8_compute_only": (51, 4.5), "DualPipeV_4_8_compute_comms": (51, 4.5),
}  # fmt: skip


def text(name: str) -> str:
    return (FILES / f"{name}.csv").read_bytes().decode()


def rows(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("name", FIGURES)
def test_files_of_pytorch_are_read_proved_and_written_back(name: str) -> None:
    listing = read_csv(text(name), name)
    made = replay(listing.schedule)
    assert (made.seconds, made.peak) == FIGURES[name]
    links = check_links(listing)
    assert links.explicit == name.endswith("comms")
    assert from_csv(to_csv(listing.schedule)).rows == listing.schedule.rows
    again = read_csv(to_csv(listing.schedule, messages=True))
    assert again.schedule.rows == listing.schedule.rows
    assert check_links(again).messages == links.messages
    check_links(again, buffers=0)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("GPipe_4_8_compute_comms", "gpipe"), ("Interleaved1F1B_4_8_compute_only", "interleaved"),
        ("ZBVZeroBubble_4_8_compute_only", "zero-bubble-v"),
    ],
)
@pytest.mark.parametrize("times", [Times(), Times(1, 2, 1), Times(1, 1.2, 0.8, 0.3)])
def test_our_orders_are_those_of_pytorch_or_better(theirs: str, ours: str, times: Times) -> None:
    their, own = from_csv(text(theirs)), SCHEDULES[ours].make(4, 8)
    assert own.rows == their.rows
    assert replay(SCHEDULES[ours].make(4, 8, times), times).seconds <= replay(their, times).seconds


def test_the_1f1b_picture_of_pytorch_has_a_fault() -> None:
    """The order that torch 2.13's Schedule1F1B._get_pipeline_order draws numbers the last rank's forwards from 1 to M."""
    with pytest.raises(PlanError, match=r"line 4, cell 2 \(3B0\) stands before its forward 3F0"):
        from_csv(text("1F1B_4_8_as_drawn"))


def test_files_of_spreadsheets_and_of_older_versions() -> None:
    plain = rows("0F0,0F1,0B0,0B1", "1F0,1B0,1F1,1B1")
    assert from_csv("\ufeff" + plain.replace("\n", "\r\n") + "\r\n,,,\r\n").rows == from_csv(plain).rows
    assert from_csv(rows("0F0, 0F1,,0B0,0B1,,", ",1F0,1B0,1F1 ,1B1")).rows == from_csv(plain).rows
    older = from_csv(rows("0F0,0F1,0B0,0W0,0BW1", "1F0,1BW0,1F1,1B1,1W1"))
    assert [str(action) for action in older.rows[0]] == ["0F0", "0F1", "0I0", "0W0", "0B1"]
    assert [str(a) for a in from_csv(rows("0F0,0B0,0W0")).rows[0]] == ["0F0", "0I0", "0W0"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file has no actions"),
        (rows("0F0;0F1;0B0;0B1"), "line 1, cell 1: '0F0;0F1;0B0;0B1' holds several actions; cells are separated by commas"),
        (rows("0F0\t0B0"), "separated by commas"),
        ("0F0,0F1,0B0,0B1\n1F0,1B0,1F", "line 2, cell 3: '1F' is not a schedule action.*cut off here"),
        (rows("0F0,0F1,0B0,0B1", "1F0,1B0,1F1"), r"1B1 is missing; line 2, cell 3 \(1F1\) stands there"),
        (rows("0F0,0X0,0B0"), "line 1, cell 2: '0X0' is not a schedule action; write 2F0 for stage 2, forward, micro-batch 0$"),
        (rows("0F0,0B0", "2F0,2B0"), "there is a stage 2, but none of the 2 lines runs stage 1"),
        (rows("0F0,0B0,0F0"), r"line 1, cell 3 \(0F0\) stands twice; the first is line 1, cell 1"),
        (rows("0F0,0B0", "1F0,0F1,1B0"), r"line 2, cell 2 \(0F1\) stands on rank 1, but stage 0 is on rank 0"),
        (rows("0F0,0W0,0I0"), r"line 1, cell 2 \(0W0\) stands before 0I0"),
        (rows("1F0,0F0,1B0,0B0"), r"line 1, cell 1 \(1F0\) stands before 0F0 \(line 1, cell 2 \(0F0\)\), which it needs"),
        (rows("0F0,1F0,0I0,0W0,1I0,1W0"), r"line 1, cell 3 \(0I0\) stands before 1I0"),
        (rows("0SEND_F0,0RECV_B0", "1RECV_F0,1SEND_B0"), "communication only"),
        (rows("0UNSHARD0,0F0,0B0"), "line 1, cell 1: '0UNSHARD0' is not"),
        ("0F0\0", "no text file"),
    ],
)
def test_faults_have_a_line_and_a_cell(content: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_csv(content)


MESSAGES = rows("0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1", "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0F0,0SEND_F0", "0SEND_F0,0F0", r"cell 1 \(0SEND_F0\) stands before the action that makes the message"),
        ("1RECV_F1,1F1", "1F1,1RECV_F1", r"line 2, cell 5 \(1F1\) stands before the RECV of what it reads"),
        (",0SEND_F1", "", r"line 2, cell 6 \(1F1\) needs 0SEND_F1, which is missing; write it behind stage 0's forward of 1"),
        ("1RECV_F1,", "", "needs 1RECV_F1, which is missing; write it before it"),
        ("0SEND_F1", "0SEND_F1,0SEND_F1", r"\(0SEND_F1\) stands 2 times"),
        ("1SEND_B0", "1SEND_F0", r"\(1SEND_F0\) has no other end, stage 1 is the last"),
        ("1RECV_F0", "0RECV_B0", r"\(0RECV_B0\) is about stage 0, which is not on rank 1"),
        ("1RECV_F0,1F0", "1RECV_F1,1RECV_F0,1F0", r"stands 2 times"),
    ],
)
def test_faults_of_messages(old: str, new: str, message: str) -> None:
    check_links(read_csv(MESSAGES), buffers=1)
    assert old in MESSAGES
    with pytest.raises(PlanError, match=message):
        check_links(read_csv(MESSAGES.replace(old, new)))


def test_messages_that_overtake_each_other_name_both_ends() -> None:
    crossed = MESSAGES.replace("1RECV_F1,", "").replace("1RECV_F0,", "1RECV_F1,1RECV_F0,")
    with pytest.raises(PlanError, match=r"line 1, cell 2 \(0SEND_F0\) meets line 2, cell 1 \(1RECV_F1\)"):
        check_links(read_csv(crossed))


def test_too_few_buffers_block_and_the_least_number_is_told() -> None:
    late = rows("0F0,0F1,0F2,0B0,0B1,0B2", "1F0,1B0,1F1,1B1,1F2,1B2")
    assert check_links(read_csv(late)).least_buffers == 1
    with pytest.raises(DeadlockError, match="blocks with 0 buffers a link") as found:
        check_links(read_csv(late), buffers=0)
    assert found.value.cycle == (
        "rank 0 at line 1, cell 2 (0F1) waits for rank 1 to receive: the link has no buffer",
        "rank 1 at line 2, cell 2 (1B0) waits for rank 0 to receive: the link has no buffer",
    )
    assert str(found.value).endswith("1 buffer a link would do")


def test_an_order_that_no_buffers_help_names_the_cycle() -> None:
    with pytest.raises(DeadlockError) as found:
        check_links(read_csv(rows("0F0,0B0,0F1,0B1", "1F0,1F1,1B0,1B1")))
    assert found.value.cycle == (
        "rank 0 at line 1, cell 2 (0B0) waits for rank 1 to send it line 2, cell 3 (1B0), which is not reached",
        "rank 1 at line 2, cell 2 (1F1) waits for rank 0 to send it line 1, cell 3 (0F1), which is not reached",
    )


def test_a_receive_in_front_of_a_send_blocks_where_both_directions_share_a_stream() -> None:
    early = MESSAGES.replace("0RECV_B0,", "").replace("0F0,0SEND_F0", "0RECV_B0,0F0,0SEND_F0")
    assert check_links(read_csv(MESSAGES)).together
    assert not check_links(read_csv(early)).together


@pytest.mark.parametrize("seed", range(40))
def test_delivery_agrees_with_replay_and_more_buffers_never_hurt(seed: int) -> None:
    """Random orders: live without a limit exactly where the replay ends; from the least number of buffers on, always live."""
    rng = random.Random(seed)
    schedule = SCHEDULES[rng.choice([*SCHEDULES])].make(rng.randint(2, 4), rng.randint(1, 5))
    shuffled = [list(map(str, row)) for row in schedule.rows]
    for _ in range(rng.randint(0, 4)):
        row = rng.choice(shuffled)
        at = rng.randrange(len(row) - 1)
        row[at], row[at + 1] = row[at + 1], row[at]
    try:
        listing = read_csv(rows(*map(",".join, shuffled)))
    except PlanError:
        return  # a swap broke the order inside a rank
    live = [Delivery(operations(listing), k, False).is_live for k in (*range(5), None)]
    assert live == sorted(live), f"seed {seed}: {live}"
    try:
        replay(listing.schedule)
        ends = True
    except DeadlockError:
        ends = False
    assert live[-1] == ends, f"seed {seed}"
    if ends:
        least = check_links(listing).least_buffers
        assert Delivery(operations(listing), least, False).is_live
        assert not least or not Delivery(operations(listing), least - 1, False).is_live


# ---------------------------------------------------------------- the command line


def test_check_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(FILES / "Interleaved1F1B_4_8_compute_comms.csv")
    assert main(["check", file, "F=1", "I=1", "W=1", "comm=0.1"]) == 0
    out = capsys.readouterr().out
    assert "8 stages on 4 ranks, 8 micro-batches, 128 actions: complete, in order" in out
    assert "112 messages (as listed)" in out and "peak 5.5 stages of activations" in out
    assert main(["check", file, "B=2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    stages = ",".join(str(1 + stage / 8) for stage in range(8))
    assert main(["check", file, f"F={stages}", "comm=0.1,0.2", "--json"]) == 0
    times = Times(tuple(1 + stage / 8 for stage in range(8)), communication=(0.1, 0.2))
    assert json.loads(capsys.readouterr().out)["seconds"] == replay(from_csv(Path(file).read_text()), times).seconds
    assert (facts["seconds"], facts["peak_stages"], facts["homes"]) == (57, 5.5, [0, 1, 2, 3, 0, 1, 2, 3])


def test_check_of_a_faulty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(FILES / "1F1B_4_8_as_drawn.csv")]) == 1
    assert "line 4, cell 2 (3B0) stands before its forward 3F0" in capsys.readouterr().err
    blocked = tmp_path / "blocked.csv"
    blocked.write_text(rows("0F0,0F1,0F2,0B0,0B1,0B2", "1F0,1B0,1F1,1B1,1F2,1B2"))
    assert main(["check", str(blocked), "buffers=0"]) == 1
    assert "blocks with 0 buffers a link" in capsys.readouterr().err
    assert main(["check", str(blocked), "buffers=1"]) == 0
    blocked.write_bytes(b"\xff\xfe" + "0F0,0B0\n".encode("utf-16-le"))
    assert main(["check", str(blocked)]) == 0
    blocked.write_bytes(b"0F0,0B0\xff\n")
    capsys.readouterr()
    assert main(["check", str(blocked)]) == 1
    assert "is no text file" in capsys.readouterr().err
    for wrong in ("buffers=-1", "B=-2", "comm=much", "K=1"):
        assert main(["check", str(blocked), wrong]) == 2
    blocked.write_text(rows("0F0,0B0"))
    assert main(["check", str(blocked), "F=1,2"]) == 0
    assert main(["check", str(blocked), "F=1,2", "B=1,2"]) == 2
    assert main(["check", str(blocked), "B=3", "I=1", "W=1"]) == 2
    assert "a whole backward, I + W" in capsys.readouterr().err


def test_view_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture, again = str(FILES / "ZBVZeroBubble_4_8_compute_comms.csv"), tmp_path / "out.svg", tmp_path / "out.csv"
    assert main(["view", file, "-o", str(picture), "F=1", "I=1.5", "W=0.5", "comm=0.25"]) == 0
    assert "bubble" in capsys.readouterr().out
    shapes = [e for e in ElementTree.fromstring(picture.read_text()).iter() if e.tag.endswith("rect")]
    widths = {e.get("class", "").split()[0]: float(e.get("width", 0)) for e in shapes}
    assert widths["of-I"] == pytest.approx(1.5 * widths["of-F"], rel=0.02)
    assert widths["of-comm"] == pytest.approx(widths["of-F"] / 4, rel=0.05)
    assert main(["view", file, "-o", str(again)]) == 0
    assert from_csv(again.read_text()) == from_csv(text("ZBVZeroBubble_4_8_compute_only"))
    assert main(["view", file, "-o", str(again), "messages=true"]) == 0
    assert check_links(read_csv(again.read_text())).explicit
    assert main(["view", file, "-o", str(tmp_path / "out.dot")]) == 2


def test_the_page_shows_what_the_commands_print(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "schedules.md").read_text()
    assert str(of.choose_schedule(8, 4, 8, stash_nbytes=100, limit_nbytes=700)) in page
    for name, stages, ranks in (("1f1b", 3, 3), ("interleaved", 4, 2), ("zero-bubble-v", 4, 2), ("zero-bubble-v-third", 4, 2)):
        grid = of.view.text(named_schedule(name, stages, ranks, 4))
        assert grid[: grid.index("stash slots")] in page
    main(["check", str(FILES / "Interleaved1F1B_4_8_compute_comms.csv"), "comm=0.1"])
    main(["check", str(FILES / "1F1B_4_8_as_drawn.csv")])
    shown = capsys.readouterr()
    assert shown.out.replace("Interleaved1F1B_4_8_compute_comms", "mine") in page
    assert shown.err in page
