"""What SFT learns from, and in which order."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tiny
from move37.errors import RecipeError, TaskError
from move37.models import folder
from move37.report.live import Live
from move37.runs import Run
from move37.stages.context import Context, Device, Interrupt
from move37.stages.sft import FineTuning
from move37.tasks import split_of

ROWS = [{"prompt": f"What is {i}+1?", "response": f"It is {i + 1}."} for i in range(40)]


@pytest.fixture
def stage(tmp_path):
    """`stage(rows, steps=3)`: an SFT stage on a random model."""
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    opened = []

    def make(rows=ROWS, template="short.txt", **section):
        (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {"stage": "sft", "data": "data.jsonl", "examples_per_step": 8, **section}
        recipe = tiny.recipe({"sft": given}, model="model", template=template)
        (tmp_path / "tiny.yaml").write_text(recipe.to_yaml())
        run = Run.create(tmp_path / f"runs{len(opened)}", recipe, source=tmp_path / "tiny.yaml")
        opened.append(run)
        device = Device(device=torch.device("cpu"), autocast=torch.float32)
        context = Context(recipe=recipe, run=run, display=Live(plain=True), tasks={}, device=device, interrupt=Interrupt())
        return FineTuning(context, "sft", recipe.stages["sft"])

    yield make
    for run in opened:
        run.close()


def test_replies_and_their_end_are_learned_prompts_are_context(stage):
    made = stage(epochs=1, held_out=0.0)
    examples = made._examples(made.train[:3])
    tokenizer = made.loaded.tokenizer
    for example, turn in zip(examples, made.train, strict=False):
        targets = example.tokens[example.start :]
        learned = targets[example.weight == 1]
        assert tokenizer.decode(learned[:-1]) == turn.response
        assert learned[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(example.tokens[: -len(learned)]) == f"Q: {turn.messages[0]['content']}\nA:"
        assert len(example.weight) == example.targets
    # "Q: What is " stands before all of them and is run once; the questions differ after it
    starts = {example.start for example in examples}
    assert len(starts) == 1
    assert tokenizer.decode(examples[0].tokens[: starts.pop()]).startswith("Q: What is")


def test_a_shared_start_changes_no_gradient(stage):
    """Alone, an example's whole prompt is its context; together, only what all prompts begin with. The loss is one."""
    made = stage(epochs=1, held_out=0.0)
    turns = made.train[:4]
    together = made.learner.logprobs(made._examples(turns), 1.0)
    for turn, values in zip(turns, together, strict=True):
        [example] = made._examples([turn])
        [alone] = made.learner.logprobs([example], 1.0)
        learned = int(example.weight.sum())
        np.testing.assert_allclose(values[-learned:], alone[-learned:], atol=2e-5)


def test_every_epoch_is_a_permutation_of_its_own(stage):
    made = stage(epochs=3, held_out=0.0)
    order = [made._turn(place).row for place in range(3 * 40)]
    epochs = [order[i : i + 40] for i in (0, 40, 80)]
    assert all(sorted(epoch) == list(range(1, 41)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert [made._turn(place).row for place in (3, 90, 4)] == [order[3], order[90], order[4]]  # whatever was asked before


def test_steps_follow_from_epochs(stage):
    assert stage(epochs=2, held_out=0.0).total == 10  # 80 replies, 8 a step
    made = stage(epochs=2, held_out=0.0, examples_per_step=24)
    assert made.total == 4  # 24, 24, 24 and 8
    metrics = [made.step(number) for number in (1, 4)]
    assert [m["epoch"] for m in metrics] == [24 / 40, 2.0]
    assert metrics[1]["tokens/learned"] < metrics[0]["tokens/learned"] / 2
    assert stage(steps=7, held_out=0.0).total == 7
    with pytest.raises(RecipeError, match="epochs or steps"):
        stage(epochs=1, steps=1)


def test_held_out_prompts_are_never_learned(stage):
    made = stage([*ROWS, {**ROWS[0], "response": "Another reply."}], epochs=1, held_out=0.3)
    assert {t.key for t in made.held_out}.isdisjoint(t.key for t in made.train)
    assert len(made.held_out) + len(made.train) == 41
    assert {split_of(t.key, 0.3) for t in made.held_out} == {"held_out"}
    assert made.step(1)["held_out_loss/start"] == pytest.approx(np.log(tiny.VOCABULARY), abs=2.0)
    with pytest.raises(TaskError, match=r"held_out=1 leaves none of the 40 replies"):
        stage(epochs=1, held_out=1.0)


def test_long_replies_are_left_out_and_counted(stage):
    long = {"prompt": "What is it?", "response": "7" * 100}
    made = stage([*ROWS[:7], long], epochs=1, held_out=0.0, max_tokens=60)
    assert made.step(1)["too_long"] == 1
    made = stage([long], epochs=1, held_out=0.0, max_tokens=60)
    with pytest.raises(TaskError, match=r"all 1 replies of step 1 are longer than 60 tokens; raise max_tokens"):
        made.step(1)


def test_what_the_template_has_written_is_not_written_twice(stage, tmp_path):
    (tmp_path / "think.txt").write_text("Q: {question}\nA: <think>")
    rows = [{"prompt": "1?", "response": "<think>one</think> 1"}, {"prompt": "2?", "response": "two</think> 2"}]
    made = stage(rows, template="think.txt", epochs=1, held_out=0.0)
    texts = [made.loaded.tokenizer.decode(e.tokens[:-1]) for e in made._examples(made.train)]
    assert texts == ["Q: 1?\nA: <think>one</think> 1", "Q: 2?\nA: <think>two</think> 2"]


def test_a_conversation_needs_a_chat_template(stage):
    chat = {"messages": [{"role": r, "content": "x"} for r in ("user", "assistant", "user", "assistant")]}
    with pytest.raises(TaskError, match=r"row 1: a conversation of several messages.*template: chat"):
        stage([chat], epochs=1, held_out=0.0)
