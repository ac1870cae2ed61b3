"""Preference data, the losses of pairs and labels, and the stages that learn from them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import tiny
from move37.errors import ModelError, RecipeError, TaskError
from move37.learner.preference import pairwise, pointwise
from move37.models import folder
from move37.report import curves, quality
from move37.report.live import Live
from move37.runs import Run
from move37.sections import STAGE_KINDS
from move37.stages import RUNNERS, preferences
from move37.stages.checking import check_data
from move37.stages.context import Context, Device, Interrupt

PAIRS = [
    {"prompt": f"What is {i}+1?", "chosen": f"It is {i + 1}, because 1 more.", "rejected": f"It is {i * 7 % 10}."}
    for i in range(12)
]
LABELS = [{"prompt": f"Is {i} odd?", "response": f"I say {i}." * (1 + i % 3), "label": i % 2} for i in range(12)]
PLAIN = {"lr": 1e-3, "clip_norm": 1e9}  # no clipping: the gradients a step leaves are the ones it computed


@pytest.fixture
def stage(tmp_path):
    """`stage(kind, rows, ...)`: a stage on a random model of 2 layers."""
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    opened = []

    def make(kind, rows, template="short.txt", **section):
        (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {"stage": kind, "data": "data.jsonl", "examples_per_step": 4, "held_out": 0.0, "optimizer": PLAIN, **section}
        recipe = tiny.recipe({"it": given}, model="model", template=template)
        (tmp_path / "tiny.yaml").write_text(recipe.to_yaml())
        run = Run.create(tmp_path / f"runs{len(opened)}", recipe, source=tmp_path / "tiny.yaml")
        opened.append(run)
        device = Device(device=torch.device("cpu"), autocast=torch.float32)
        context = Context(recipe=recipe, run=run, display=Live(plain=True), tasks={}, device=device, interrupt=Interrupt())
        return RUNNERS[STAGE_KINDS[kind]](context, "it", recipe.stages["it"])

    yield make
    for run in opened:
        run.close()


# ---------------------------------------------------------------------------------------------------------- losses


def test_pairwise_by_hand():
    losses, slopes = pairwise(np.array([0.0, math.log(3), -math.log(3)]))
    # sigmoid: 1/2, 3/4, 1/4
    np.testing.assert_allclose(losses, [math.log(2), math.log(4 / 3), math.log(4)])
    np.testing.assert_allclose(slopes, [1 / 2, 1 / 4, 3 / 4])
    far, falls = pairwise(np.array([-1000.0, 1000.0]))
    np.testing.assert_allclose(far, [1000, 0], atol=1e-300)
    np.testing.assert_allclose(falls, [1, 0], atol=1e-300)


def test_pointwise_by_hand():
    losses, slopes = pointwise(np.array([math.log(3), math.log(3), 0.0]), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(losses, [math.log(4 / 3), math.log(4), math.log(2)])
    np.testing.assert_allclose(slopes, [1 / 4, -3 / 4, -1 / 2])  # label - sigmoid


# ------------------------------------------------------------------------------------------------------- gradients


class Plain:
    """transformers' model of a directory, in float64, on whole sequences."""

    def __init__(self, path, scalar):
        kind = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
        self.net = kind.from_pretrained(path, dtype=torch.float64)

    def logits(self, ids):
        return self.net(input_ids=torch.tensor([ids])).logits[0]

    def logprob(self, prompt, reply):
        """Sum over the reply's tokens."""
        scores = torch.log_softmax(self.logits([*prompt, *reply])[len(prompt) - 1 : -1], -1)
        return scores.gather(1, torch.tensor(reply)[:, None]).sum()

    def gradient(self, loss):
        loss.backward()
        return {name: p.grad for name, p in self.net.named_parameters()}


def encoded(made, row):
    """(prompt, chosen and rejected with their end) as token ids."""
    words = made.loaded.tokenizer
    prompt = words.encode(f"Q: {row['prompt']}\nA:", add_special_tokens=False)
    keys = ("chosen", "rejected") if "chosen" in row else ("response",)
    return prompt, [[*words.encode(row[key], add_special_tokens=False), words.eos_token_id] for key in keys]


def first_rows(made, rows):
    return [rows[made.train[made.order.row(place)].number - 1] for place in range(made.section.examples_per_step)]


def compare(model, wanted):
    found = {name: p.grad for name, p in model.named_parameters()}
    q, k = 4 * 8, 2 * 8
    pieces = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    pieces |= {f"blocks.{i}.down.weight": f"model.layers.{i}.mlp.down_proj.weight" for i in range(2)}
    if "score.weight" in found:
        pieces["score.weight"] = "score.weight"
    scale = max(g.abs().max().item() for g in wanted.values())
    assert scale > 1e-4
    for ours, theirs in pieces.items():
        torch.testing.assert_close(found[ours].double(), wanted[theirs], atol=2e-5 * scale, rtol=1e-3)
    keys = found["blocks.0.qkv.weight"][q : q + k].double()
    torch.testing.assert_close(keys, wanted["model.layers.0.self_attn.k_proj.weight"], atol=2e-5 * scale, rtol=1e-3)


@pytest.mark.parametrize("budget", [1, 10**6])
def test_the_gradient_of_a_pairwise_reward_model(stage, tmp_path, budget):
    """Mean of -log sigmoid(r(chosen) - r(rejected)) over the step's pairs, r of transformers' own model."""
    made = stage("reward_model", PAIRS, tokens_per_microbatch=budget)
    folder.save(made.loaded, tmp_path / "start")
    plain = Plain(tmp_path / "start", scalar=True)
    losses = []
    for prompt, (chosen, rejected) in (encoded(made, row) for row in first_rows(made, PAIRS)):
        gap = plain.logits([*prompt, *chosen])[0] - plain.logits([*prompt, *rejected])[0]
        losses.append(-torch.nn.functional.logsigmoid(gap))
    loss = torch.stack(losses).mean()
    metrics = made.step(1)
    assert metrics["loss"] == pytest.approx(loss.item(), abs=1e-5)
    compare(made.loaded.model, plain.gradient(loss))


def test_the_gradient_of_a_pointwise_reward_model(stage, tmp_path):
    made = stage("reward_model", LABELS)
    folder.save(made.loaded, tmp_path / "start")
    plain = Plain(tmp_path / "start", scalar=True)
    rows = first_rows(made, LABELS)
    assert {row["label"] for row in rows} == {0, 1}
    scores = torch.stack([plain.logits([*prompt, *reply])[0] for prompt, [reply] in (encoded(made, row) for row in rows)])
    targets = torch.tensor([float(row["label"]) for row in rows]).double()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets)
    metrics = made.step(1)
    assert metrics["loss"] == pytest.approx(loss.item(), abs=1e-5)
    compare(made.loaded.model, plain.gradient(loss))


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("budget", [1, 10**6])
def test_the_gradient_of_dpo(stage, tmp_path, normalised, budget):
    """Equation 7 with a policy that has left its reference, from full logits of whole sequences."""
    made = stage("preference", PAIRS, beta=0.3, length_normalised=normalised, tokens_per_microbatch=budget)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.loaded.model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    folder.save(made.loaded, tmp_path / "left")
    policy, reference = Plain(tmp_path / "left", scalar=False), Plain(tmp_path / "model", scalar=False)
    losses, changes = [], []
    for prompt, replies in (encoded(made, row) for row in first_rows(made, PAIRS)):
        gone = [policy.logprob(prompt, r) - reference.logprob(prompt, r).detach() for r in replies]
        chosen, rejected = (g / len(r) if normalised else g for g, r in zip(gone, replies, strict=True))
        losses.append(-torch.nn.functional.logsigmoid(0.3 * (chosen - rejected)))
        changes.append([g.item() for g in gone])
    loss = torch.stack(losses).mean()
    metrics = made.step(1)
    assert metrics["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert abs(metrics["loss"] - math.log(2)) > 1e-3
    assert [metrics["chosen_change"], metrics["rejected_change"]] == pytest.approx(np.mean(changes, 0), abs=1e-3)
    compare(made.loaded.model, policy.gradient(loss))


def test_dpo_starts_at_its_reference(stage):
    made = stage("preference", PAIRS, epochs=2)
    first, second = made.step(1), made.step(2)
    assert first["loss"] == pytest.approx(math.log(2)) and first["accuracy"] == 0.5
    assert first["margin"] == first["chosen_change"] == first["rejected_change"] == 0
    assert second["chosen_change"] != 0 and second["tokens"] > 0


# ------------------------------------------------------------------------------------------------------------ data


def data(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_kinds_are_read_off_the_columns(tmp_path):
    pairs = preferences.read("d", data(tmp_path, PAIRS))
    assert pairs[2].responses == (PAIRS[2]["chosen"], PAIRS[2]["rejected"]) and pairs[2].label is None
    labels = preferences.read("d", data(tmp_path, LABELS))
    assert [row.label for row in labels[:3]] == [0, 1, 0] and labels[1].responses == (LABELS[1]["response"],)
    other = [{"q": r["prompt"], "good": r["chosen"], "bad": r["rejected"]} for r in PAIRS]
    named = preferences.read("d", data(tmp_path, other), {"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert [row.responses for row in named] == [row.responses for row in pairs]
    words = [{**row, "label": str(bool(row["label"]))} for row in LABELS]
    assert [row.label for row in preferences.read("d", data(tmp_path, words))] == [row.label for row in labels]


def test_conversations_that_end_in_two_ways(tmp_path):
    asked = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "2?"}]
    ends = [[*asked, {"role": "assistant", "content": c}] for c in ("2", "3")]
    [row] = preferences.read("d", data(tmp_path, [{"chosen": ends[0], "rejected": ends[1]}]))
    assert list(row.messages) == asked and row.responses == ("2", "3")
    alone = {"prompt": "2?", "chosen": ends[0][-1:], "rejected": ends[1][-1:]}
    [row] = preferences.read("d", data(tmp_path, [alone]))
    assert row.messages == ({"role": "user", "content": "2?"},)
    with pytest.raises(TaskError, match="row 1: chosen and rejected differ before their last message"):
        preferences.read("d", data(tmp_path, [{"chosen": ends[0], "rejected": ends[1][2:]}]))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([*PAIRS, {**PAIRS[0], "rejected": PAIRS[0]["chosen"]}], r"1 of 13 pairs have .* alike \(row 13 first\)"),
        ([{**row, "label": 1} for row in LABELS], "all 12 labels are 1 and none is 0"),
        ([{**row, "label": 0} for row in LABELS], "all 12 labels are 0 and none is 1"),
        ([{**row, "label": 0.5} for row in LABELS], "'label' holds 0.5; a label is 1"),
        ([{"prompt": "a", "chosen": "b"}], "has the columns prompt, chosen. Rows need prompt, chosen, rejected"),
        ([{**PAIRS[0], **LABELS[0]}], "columns of pairs and of labels"),
        ([PAIRS[0], {"prompt": "a", "chosen": "b"}], "row 2: there is no column 'rejected'"),
        ([{**PAIRS[0], "chosen": " "}], "'chosen' holds ' ', not text"),
        ([], "holds no rows"),
    ],
)
def test_what_teaches_nothing_is_refused(tmp_path, rows, told):
    with pytest.raises(TaskError, match=told):
        preferences.read("stages.rm.data", data(tmp_path, rows))


def test_it_is_refused_before_a_model_is_loaded(tmp_path):
    """The model of this recipe does not exist; the data are looked at first."""
    path = data(tmp_path, [{**row, "label": 1} for row in LABELS])
    recipe = tiny.recipe({"rm": {"stage": "reward_model", "data": path.name}}, model="nowhere", template="r1_zero")
    with pytest.raises(TaskError, match=r"stages\.rm\.data.*all 12 labels are 1"):
        check_data(recipe, tmp_path, ["rm"])
    data(tmp_path, LABELS)
    assert check_data(recipe, tmp_path, ["rm"]) == [f"stages.rm.data: 12 rows in {path}"]
    dpo = tiny.recipe({"dpo": {"stage": "preference", "data": path.name}}, model="nowhere", template="r1_zero")
    with pytest.raises(TaskError, match="labels single responses; this stage needs prompt, chosen and rejected"):
        check_data(dpo, tmp_path, ["dpo"])


def test_the_part_that_is_shown(tmp_path):
    def response(thought, answer):
        return f"<think>{thought}</think><answer>{answer}</answer>"

    rows = [
        {"prompt": "1", "chosen": response("long", "yes"), "rejected": response("short", "no")},
        {"prompt": "2", "chosen": response("one", "same"), "rejected": response("two", "same")},
        {"prompt": "3", "chosen": response("one", "same"), "rejected": "nothing"},
    ]
    read = preferences.read("d", data(tmp_path, rows))
    kept, left = preferences.shown(read, "answer", "tags")
    assert [row.responses for row in kept] == [("yes", "no")] and left == {"same": 1, "unreadable": 1}
    kept, left = preferences.shown(read, "response", "tags")
    assert len(kept) == 3 and left == {"same": 0, "unreadable": 0}
    assert preferences.part_of("<think>a</think> It is \\boxed{4}.", "answer", "box") == "It is \\boxed{4}."


# ---------------------------------------------------------------------------------------------------------- stages


def test_long_rows_are_left_out_and_counted(stage):
    long = {"prompt": "Which?", "chosen": "7" * 100, "rejected": "8"}
    for kind in ("reward_model", "preference"):
        metrics = stage(kind, [*PAIRS[:3], long], max_tokens=60).step(1)
        assert (metrics["too_long"], metrics["rows"]) == (1, 3)
        with pytest.raises(TaskError, match="all 1 rows of step 1 are longer than 60 tokens"):
            stage(kind, [long], max_tokens=60).step(1)


def test_rows_without_an_answer_are_refused_where_no_other_is_there(stage):
    with pytest.raises(TaskError, match=r"none of the 12 rows .* can be used \(12 unreadable\); part: response"):
        stage("reward_model", PAIRS, part="answer")


def test_one_class_among_what_is_trained_on_is_refused(stage):
    good = [{"prompt": f"{i}?", "response": f"<think>a</think><answer>{i}</answer>", "label": 1} for i in range(3)]
    bad = {"prompt": "4?", "response": "no answer", "label": 0}
    with pytest.raises(TaskError, match=r"stages\.it\.data, of what is trained on: all 3 labels are 1 and none is 0"):
        stage("reward_model", [*good, bad], part="answer")


def test_prompts_are_on_one_side_of_the_split(stage):
    made = stage("reward_model", [*PAIRS, *({**row, "chosen": "Or so."} for row in PAIRS)], held_out=0.4)
    assert {r.key for r in made.train}.isdisjoint(r.key for r in made.held_out)
    assert len(made.train) + len(made.held_out) == 24 and made.held_out
    assert made.total == -(-len(made.train) // 4)


def test_an_opened_thought_is_no_part_of_the_prompt(stage, tmp_path):
    (tmp_path / "think.txt").write_text("Q: {question}\nA: <think>")
    rows = [{"prompt": "1?", "chosen": "<think>a</think><answer>b</answer>", "rejected": "<think>a</think><answer>c</answer>"}]
    for part, text in (("answer", "Q: 1?\nA: b"), ("response", "Q: 1?\nA: <think>a</think><answer>b</answer>")):
        made = stage("reward_model", rows, template="think.txt", part=part)
        example = made.examples(made.train[0])[0]
        assert made.loaded.tokenizer.decode(example.tokens[:-2]) == text
        assert list(example.tokens[-2:]) == [made.loaded.tokenizer.eos_token_id] * 2
    made = stage("preference", rows, template="think.txt")
    [example, _] = made.examples(made.train[0])
    assert made.loaded.tokenizer.decode(example.tokens[:-1]) == "Q: 1?\nA: <think>a</think><answer>b</answer>"


def test_columns_of_one_kind():
    given = {"stage": "reward_model", "data": "d.jsonl", "columns": {"chosen": "a", "label": "b"}}
    with pytest.raises(RecipeError, match="prompt, chosen and rejected, or prompt, response and label, not both"):
        tiny.recipe({"rm": given}, model="m", template="r1_zero")


# --------------------------------------------------------------------------------------------------------- quality


def test_quality_of_pairs_by_hand():
    numbers = np.array([[math.log(3), 0.0], [0.0, math.log(3)], [1.0, 1.0], [math.log(9), 0.0]])
    lengths = np.array([[9.0, 3.0], [2.0, 8.0], [5.0, 5.0], [4.0, 6.0]])
    record = quality.of_pairs(numbers, lengths, np.array([1.0, 2.0, 3.0, 4.0]))
    # right, wrong, a tie, right: 2.5 of 4
    assert (record["accuracy"]["value"], record["accuracy"]["rows"], record["loss"]) == (0.625, 4, 2.5)
    # chosen longer in the first alone, shorter in the second and fourth
    assert record["length"]["chosen_longer"]["value"] == 1 and record["length"]["chosen_shorter"]["value"] == 0.5
    assert record["always_the_longer"] == (1 + 0 + 0.5 + 0) / 4
    # believed 3/4 (one right, one wrong), 1/2 (a tie), 9/10 (right)
    bins = {round(b["believed"], 6): (b["so"], b["rows"]) for b in record["calibration"]["bins"]}
    assert bins == {0.75: (0.5, 2), 0.5: (0.5, 1), 0.9: (1.0, 1)}
    assert record["calibration"]["ece"] == pytest.approx((2 * 0.25 + 0 + 0.1) / 4)
    gaps, longer = [math.log(3), -math.log(3), 0, math.log(9)], [6, -6, 0, -2]
    assert record["length"]["correlation_in_pairs"] == pytest.approx(np.corrcoef(gaps, longer)[0, 1])


def test_quality_of_labels_by_hand():
    numbers, labels = np.array([math.log(3), math.log(3), -math.log(3), 1.0]), np.array([1, 0, 0, 1])
    record = quality.of_labels(numbers, labels, np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4))
    assert record["accuracy"]["value"] == 0.75
    assert (record["accuracy_good"]["value"], record["accuracy_bad"]["value"]) == (1.0, 0.5)
    assert record["always_the_commoner"] == 0.5
    bins = {round(b["believed"], 6): b["so"] for b in record["calibration"]["bins"]}
    assert bins == {0.25: 0.0, 0.743686: pytest.approx(2 / 3)}  # 3/4, 3/4 and sigmoid(1) = 0.731
    assert record["length"]["shorter_half"]["value"] == 0.5 and record["length"]["longer_half"]["value"] == 1.0


def test_quality_of_nothing():
    nothing = np.zeros(0)
    for record in (
        quality.of_pairs(nothing.reshape(0, 2), nothing.reshape(0, 2), nothing),
        quality.of_labels(nothing, nothing, nothing, nothing),
    ):
        json.dumps(record, allow_nan=False)
        assert record["rows"] == 0 and record["accuracy"] is None
        assert quality.doubts(record) and quality.sentences(record) and not curves.of_quality(record)


def test_a_model_that_only_counts_words_is_doubted():
    lengths = np.array([[9.0, 3.0]] * 8 + [[3.0, 9.0]] * 2)
    counting = quality.of_pairs(lengths, lengths, np.ones(10))
    assert counting["length"]["correlation"] == pytest.approx(1) and counting["always_the_longer"] == 0.8
    assert any("always saying the longer is right on 80.0%" in doubt for doubt in quality.doubts(counting))
    knowing = quality.of_pairs(np.tile([1.0, 0.0], (100, 1)), np.tile(lengths, (10, 1)), np.ones(100))
    assert quality.doubts(knowing) == []


def test_what_is_no_reward_model(tmp_path):
    path = tmp_path / "lm"
    folder.save(tiny.loaded(), path)
    stages = {"rl": {"stage": "rl", "steps": 1, "rewards": {"helpful": {"weight": 1, "model": "./lm"}}}}
    recipe = tiny.recipe(stages, model="m", template="r1_zero")
    assert recipe.stages["rl"].inputs() == {"init": "model", "rewards.helpful.model": "./lm"}
    with pytest.raises(ModelError, match="this is a language model; name a reward_model stage"):
        check_data(recipe, tmp_path, ["rl"])


def test_rewards_and_their_models_in_a_recipe():
    rm = {"stage": "reward_model", "data": "d.jsonl", "part": "answer"}

    def rl(**rewards):
        return {"stage": "rl", "steps": 1, "rewards": rewards}

    good = {"rm": rm, "rl": rl(helpful={"weight": 1.0, "model": "rm"})}
    tiny.recipe(good, model="m", template="r1_zero")
    with pytest.raises(RecipeError, match=r"stages\.rl\.rewards\.helpful\.model='mr' is no earlier stage.*valid: rm"):
        tiny.recipe({"rm": rm, "rl": rl(helpful={"weight": 1.0, "model": "mr"})}, model="m", template="r1_zero")
    with pytest.raises(RecipeError, match="harmless shows its model the whole response, but rm was trained on the answer"):
        tiny.recipe({"rm": rm, "rl": rl(harmless={"weight": 1.0, "model": "rm"})}, model="m", template="r1_zero")
    with pytest.raises(RecipeError, match="model is missing"):
        tiny.recipe({"rl": rl(helpful=1.0)}, model="m", template="r1_zero")
    with pytest.raises(RecipeError, match="is no earlier training stage"):
        tiny.recipe({"rm": rm, "rl": {"stage": "rl", "steps": 1, "init": "rm"}}, model="m", template="r1_zero")
