"""The benchmarks' own arithmetic, and Move37's side of each of them at toy size, so that they do not rot."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import common
import gpu
import growth
import learn
import meter
import partial_rollouts
import pieces
import rl_step
import roofline
import sample
import table
import workload
from channel import Worker, WorkerFailed
from move37.models import folder
from move37.models.decoder import Decoder
from move37_worker import Served


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A size of two layers, and results that go nowhere but a scratch directory."""
    monkeypatch.setitem(common.SIZES, "S", (32, 2, 2))
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(workload, "NEW", 6)
    monkeypatch.setattr(roofline, "SQUARES", (64,))
    monkeypatch.setattr(roofline, "TALL", ())
    return tmp_path


class Inline:
    """Move37's worker without a process of its own."""

    def __init__(self):
        self.handlers = Served().handlers()

    def ask(self, do, **given):
        told = json.loads(json.dumps(self.handlers[do](**json.loads(json.dumps(given)))))
        torch.set_num_threads(1)
        return {**told, "peak_memory": 1}


def lines(path):
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------------------------------------------------- arithmetic


def test_foreign_load_is_what_others_had_of_all_cpus():
    """2 CPUs for 10 s are 20 s; 14 busy, 11 of them ours: others had 3."""
    before = meter.Reading(clock=5.0, busy=100.0, own=40.0, cpus=2)
    after = meter.Reading(clock=15.0, busy=114.0, own=51.0, cpus=2)
    assert meter.foreign(before, after) == pytest.approx(0.15)
    assert meter.foreign(before, before) == 0
    assert meter.foreign(before, meter.Reading(15.0, 101.0, 51.0, 2)) == 0  # counters of 10 ms may disagree a little


def test_a_disturbed_timing_is_taken_again_and_the_quietest_kept(monkeypatch):
    loads = iter([0.5, 0.2, 0.3])
    seconds = iter([9.0, 5.0, 7.0])
    monkeypatch.setattr(meter, "foreign", lambda *_: next(loads))
    kept = meter.undisturbed(lambda: {"seconds": next(seconds)}, tries=3)
    assert (kept.seconds, kept.foreign) == (5.0, 0.2)
    loads, seconds = iter([0.5, 0.01]), iter([9.0, 4.0])
    assert meter.undisturbed(lambda: {"seconds": next(seconds)}, tries=3).seconds == 4.0


def test_own_time_holds_this_process():
    before = meter.read()
    until = time.process_time() + 0.2  # of work, however long a busy machine takes over it
    while time.process_time() < until:
        sum(range(1000))
    after = meter.read()
    assert 0.05 < after.own - before.own <= (after.clock - before.clock) * after.cpus + 0.1


def test_medians_and_ratios():
    def timing(seconds, tokens, foreign=0.0):
        return meter.Timing(seconds, foreign, {"tokens": tokens, "why": "text is left out"})

    found = common.medians([timing(1.0, 100), timing(4.0, 100, 0.03), timing(2.0, 100)])
    assert found == {"seconds": 2.0, "tokens": 100, "foreign": 0.03, "tokens_per_s": 50.0}
    assert common.ratios({"move37": {"tokens_per_s": 90.0}, "trl": {"tokens_per_s": 30.0}}) == {"trl": 3.0}


def test_lengths_are_those_of_the_tiny_run():
    assert workload.lengths("forced", 3, 0) == [128, 128, 128]
    drawn = workload.lengths("ragged", 20_000, 0)
    counts = json.loads(workload.TINY_RUN.read_text(encoding="utf-8"))
    assert abs(np.mean(drawn) - counts["mean"]) < 1 and 35 < counts["mean"] < 55
    assert max(drawn) <= workload.LONGEST and {str(n) for n in drawn} <= set(counts["responses"])
    assert workload.lengths("ragged", 9, 1) == workload.lengths("ragged", 9, 1) != workload.lengths("ragged", 9, 2)


def test_prompts_have_one_length_and_are_all_different():
    for tokenizer in (common.words(128), folder.load(folder.bundled(), torch.float32, torch.device("cpu")).tokenizer):
        texts = workload.word_prompts(tokenizer, 5, seed=0)
        assert len(set(texts)) == 5
        assert {len(tokenizer(text)["input_ids"]) for text in texts} == {workload.PROMPT}


def test_shared_prompts_of_an_update():
    batch = workload.update("ragged", 50, prompts=3, samples=2, seed=4)
    assert [len(p) for p in batch["prompts"]] == [workload.PROMPT] * 3
    assert [len(r) for r in batch["responses"]] == workload.lengths("ragged", 6, 4)
    assert batch["old"] == pytest.approx(-np.log(50))


def test_parameters_count_a_tied_head_once(tmp_path):
    path = common.model("S", 128, tmp_path)
    assert common.parameters(path) == sum(p.numel() for p in Decoder(common.shape("S", 128)).parameters())
    assert 0.9e6 < common.parameters(path) < 1.2e6


def test_the_newest_line_of_a_configuration_and_cpu_counts():
    def line(model, features, speed):
        hardware = {"cores": 2, "cpu": "X", "features": features}
        return {"model": model, "vocabulary": 128, "dtype": "float32", "hardware": hardware, "speed": speed}

    told = [line("S", ["avx2"], 1), line("M", ["avx2"], 2), line("S", ["avx2", "avx512f"], 3), line("S", ["avx2"], 4)]
    assert [one["speed"] for one in table.pick(told)] == [4, 2, 3]


def test_disturbed_lines_make_no_table():
    assert table.quiet({"results": {"move37": {"tokens_per_s": 1.0}}}) and table.quiet({"foreign": 0.04})
    assert not table.quiet({"foreign": 0.05})
    assert not table.quiet({"results": {"move37": {"foreign": 0.0}, "trl": {"foreign": 0.2}}})


def test_a_page_is_filled_between_its_marks():
    page = "a\n<!-- start:START -->\nold\n<!-- start:END -->\nb\n"
    assert table.fill(page, {"start": r"\1 new"}) == "a\n<!-- start:START -->\n\\1 new\n<!-- start:END -->\nb\n"
    with pytest.raises(ValueError, match="learn"):
        table.fill(page, {"learn": ""})


def test_the_page_has_all_marks_and_the_results_make_tables():
    sections = {name: table.section(name) for name in table.TABLES}
    assert set(sections) == {"rl_step", "sample", "learn", "roofline", "growth", "start", "gpu"}
    table.fill(table.PAGE.read_text(encoding="utf-8"), sections)


def test_a_worker_that_fails_says_why(tmp_path):
    with Worker(common.sys.executable, common.HERE / "move37_worker.py", tmp_path / "log") as worker:
        with pytest.raises(WorkerFailed, match=r"move37_worker.py, load: .*no-such-model"):
            worker.ask("load", path=str(tmp_path / "no-such-model"), dtype="float32", kernels="torch", budget=64)
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(WorkerFailed, match="died on 'run'"):
            worker.ask("run")


# ----------------------------------------------------------------------------------------------------------- toy sizes


@pytest.mark.parametrize("kernels", ["torch", "auto"])
def test_a_step_ends_responses_where_it_should_and_learns_from_all(small, kernels):
    """The same update as Sampler and Learner make; the lengths are checked in the step itself."""
    path = common.model("S", 40, small)
    step = pieces.Step(path, "float32", kernels, budget=256)
    prompts = workload.word_prompts(step.loaded.tokenizer, 3, seed=0)
    lengths = [1, 2, 3, 9, 4, 4]
    before = step.loaded.model.head.detach().clone()
    told = step.run(prompts, 2, lengths, seed=0)
    assert told["tokens"] == 23 and told["seconds"] == pytest.approx(told["generate"] + told["score"] + told["update"])
    assert not torch.equal(before, step.loaded.model.head)
    [group, *_] = step.sample(prompts, 2, [5, 7, 2, 2, 2, 2], seed=1)
    assert [r.length for r in group.rollouts] == [5, 7]


def test_the_padded_loss_has_the_gradient_of_ours(small):
    """transformers' side of `learn` does the same work: the same norm of the gradient on the same batch."""
    from hf_worker import HF

    path = common.model("S", 40, small)
    batch = {"load": "ragged", "vocabulary": 40, "prompts": 2, "samples": 3, "seed": 7}
    ours = pieces.Step(path, "float32", "torch", budget=512).learn(**batch)
    for by_length in (False, True):
        theirs = HF()
        theirs.load(str(path), "float32")
        torch.set_num_threads(1)
        told = theirs.learn(batch, micro_batch=4, by_length=by_length)
        assert told["tokens"] == ours["tokens"]
        assert told["grad_norm"] == pytest.approx(ours["grad_norm"], rel=1e-4)


def test_each_script_runs_and_writes_a_line(small, monkeypatch):
    monkeypatch.setattr(common.Workers, "start", lambda *_, **__: Inline())
    shared = {"kernels": "torch", "cache": "auto", "budget": 256, "prompts": 2, "samples": 2, "micro_batch": 2}
    shared |= {"rounds": 1, "cold": True, "tries": 1}
    rl_step.measure(SimpleNamespace(**shared, trl_python=None), "S", 40, "forced", "float32")
    learn.measure(SimpleNamespace(**shared, alone=True), "S", 40, "ragged", "float32")
    sample.measure(SimpleNamespace(**shared, rows=[2], contenders=["move37"]), "S", 40, "float32")
    growth.memory(SimpleNamespace(**shared, dtypes=["float32"]), "S", 40, 2)
    results = {name: lines(small / "results" / f"{name}.jsonl") for name in ("rl_step", "learn", "sample", "growth")}
    assert [one["results"]["move37"]["tokens"] for one in results["rl_step"]] == [24]
    assert [one["results"]["move37"]["tokens"] for one in results["sample"]] == [12]
    assert results["learn"][0]["results"]["move37"]["share"] > 0
    assert results["growth"][0]["peak_memory"] > 0
    for line in (one for told in results.values() for one in told):
        assert {"hardware", "versions", "command", "date"} <= set(line)


def test_the_gpu_script_runs_at_toy_size(small, monkeypatch, capsys):
    """A line for Move37 and one for transformers per load; shares follow from the seconds told."""
    monkeypatch.setattr(gpu, "_there", lambda package: package == "transformers")
    sizes = ["--new", "5", "--prompts", "2", "--samples", "2", "--rounds", "1"]
    gpu.main(["--toy", "--device", "cpu", "--dtype", "float32", *sizes])
    told = lines(small / "results" / "gpu.jsonl")
    assert [(one["who"], one["load"]) for one in told] == [(w, x) for w in ("move37", "hf") for x in ("forced", "ragged")]
    assert [one["results"][one["who"]]["tokens"] for one in told] == [20, sum(gpu.lengths("ragged", 4, 5, 1))] * 2
    assert table.markdown(*table.TABLES["gpu"](told)).count("toy") == 4
    assert "not installed: pip install trl" in capsys.readouterr().out


def test_shares_of_a_gpu_by_hand():
    """Two responses of 3 and 1 tokens to one prompt of 32."""
    found = gpu.shares("toy", [3, 1], 1, {"generate": 2.0, "update": 4.0}, {"flops": 1e6, "bytes_per_s": 1e6})
    weights = sum(p.numel() for p in Decoder(gpu.SHAPES["toy"]).parameters())
    assert found["sample_mfu"] == pytest.approx(2 * weights * 4 / 2 / 1e6)
    assert found["update_mfu"] == pytest.approx(6 * weights * (4 + 32) / 4 / 1e6)
    columns = (33 + 34 + 35) + 33  # what each decoded token looks at
    bytes_of_a_column = 2 * 2 * 2 * 2 * 8  # layers, keys and values, heads, bfloat16, width
    assert found["sample_bandwidth"] == pytest.approx((2 * weights * 3 + columns * bytes_of_a_column) / 2 / 1e6)


def test_the_ceilings_are_measured(small):
    torch.set_num_threads(1)
    assert roofline.products("float32", seconds=0.0) > 1e8
    assert roofline.reading(1 << 16) > 1e7


def test_partial_rollouts_at_toy_size(small):
    """Both kinds, on the bundled model, to a target that is reached at the first look."""
    sizes = {"--steps": 5, "--prompts": 2, "--samples": 2, "--limit": 24, "--new-tokens": 8, "--every": 1, "--target": 0}
    partial_rollouts.main([str(word) for pair in sizes.items() for word in pair])
    whole, partial = lines(small / "results" / "partial_rollouts.jsonl")
    assert (whole["kind"], partial["kind"]) == ("whole", "partial")
    assert whole["results"]["reached"] == partial["results"]["reached"] == 1
    assert 0 < whole["results"]["seconds"] <= whole["results"]["all_seconds"]
    assert whole["results"]["stale"] == 0


def test_the_look_before_training_reaches_no_target():
    looks = [{"step": step, "pass@1": value} for step, value in ((0, 0.9), (5, None), (10, 0.4), (15, 0.5), (20, 0.3))]
    assert partial_rollouts.reach(looks, 0.5) == 15 and partial_rollouts.reach(looks, 0.6) is None
