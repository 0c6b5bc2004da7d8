"""What progress promises: plain lines off a terminal, and honest arithmetic."""

from ehr_pipeline.progress import Step, lines, shown


def step(done, total=10, elapsed_s=2.0):
    return Step(task="train", done=done, total=total, unit="epoch", elapsed_s=elapsed_s, values={"loss": 0.25})


def test_the_time_left_is_the_rate_so_far():
    assert step(0).remaining_s is None
    assert step(4).remaining_s == 3.0  # 0.5 s each, 6 left
    assert str(step(4)) == "train: epoch 4/10, loss 0.25, 3 s left"


def test_lines_writes_the_first_and_the_last_and_few_between():
    written = []
    listen = lines(written.append, every_s=3600)
    for done in range(1, 11):
        listen(step(done))
    assert [line.split(",")[0] for line in written] == ["train: epoch 1/10", "train: epoch 10/10"]


def test_off_a_terminal_the_command_line_writes_plain_lines_to_stderr(capsys):
    with shown() as listen:
        listen(step(10))
    assert capsys.readouterr().err == "train: epoch 10/10, loss 0.25, 0 s left\n"
