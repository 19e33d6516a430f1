"""`benchmarks.lbfgs_curves`: descents, where they end, and where they are kept."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import lbfgs_curves, quality
from benchmarks.lbfgs_curves import best_so_far, compute_curve, curve_key, descend, load_curve
from benchmarks.objective import TRAINED, Objective, Terms, as_tensor, measures_of
from tests.test_quality_benchmark import CONFIG, made_curve, picture


class TestDescent:
    def test_it_finds_a_minimum(self):
        target = torch.linspace(0.2, 0.9, 48).view(1, 3, 4, 4)
        scale = torch.linspace(1, 30, 48).view(1, 3, 4, 4)
        seen = {}
        descend(
            lambda x: (scale * (x - target).square()).sum(),
            torch.full((1, 3, 4, 4), 0.5),
            40,
            lambda i, n, x: bool(seen.update({i: (n, x.clone())})),
            every=15,
        )
        assert list(seen) == [0, 15, 30, 40]
        assert [n for n, _ in seen.values()] == [0, 15, 30, 40]  # one evaluation an iteration
        assert torch.equal(seen[0][1], torch.full((1, 3, 4, 4), 0.5))
        assert torch.allclose(seen[40][1], target, atol=1e-3)

    def test_it_stays_in_the_range_of_pixels(self):
        start = torch.full((1, 3, 4, 4), 0.5)
        target = torch.linspace(-0.5, 1.5, 48).view(1, 3, 4, 4)
        for line_search in ("none", "strong-wolfe"):
            seen = []
            descend(
                lambda x: (x - target).square().sum(),
                start,
                20,
                lambda i, n, x: bool(seen.append(x.clone())),  # noqa: B023
                line_search,
            )
            assert len(seen) == 11
            assert all(x.min() >= 0 and x.max() <= 1 for x in seen)
            assert any(torch.allclose(x, target.clamp(0, 1), atol=1e-3) for x in seen)

    def test_a_line_search_costs_evaluations_and_never_climbs(self):
        objective = Objective(measures_of(CONFIG), picture(2))
        curve = compute_curve(objective, picture(0), 10, "strong-wolfe")
        totals = [term.total for term in curve.terms[TRAINED]]
        assert totals == sorted(totals, reverse=True)
        assert totals[-1] < totals[0] / 3
        assert curve.evaluations[-1] > curve.iterations[-1] == 10

    @pytest.mark.parametrize("line_search", ["none", "strong-wolfe"])
    def test_it_ends_a_little_beyond_a_goal(self, line_search):
        objective = Objective(measures_of(CONFIG), picture(2))
        whole = compute_curve(objective, picture(0), 60, line_search)
        goal = {name: terms[8] for name, terms in whole.terms.items()}
        short = compute_curve(objective, picture(0), 60, line_search, goal)
        best = {name: best_so_far(terms) for name, terms in whole.terms.items()}
        index = next(
            i
            for i in range(len(whole.iterations))
            if all(best[name][i].total <= goal[name].total for name in goal)
        )
        reached = whole.iterations[index]
        assert 1.1 * reached <= short.iterations[-1] < 1.1 * reached + 2
        assert short == whole.up_to(short.iterations[-1])
        assert short.reaches(goal)
        assert not whole.up_to(reached - 2).reaches(goal)

    def test_it_can_start_at_noise(self):
        objective = Objective(measures_of(CONFIG), picture(2))
        noise = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
        for photo in (picture(0), picture(1)):
            curve = compute_curve(objective, photo, 30, start="noise")
            of_photo = objective.of_photo(photo)
            first = of_photo.terms(noise)[TRAINED]
            assert curve.terms[TRAINED][0] == first
            assert best_so_far(curve.terms[TRAINED])[-1].total < first.total / 10
            other = compute_curve(objective, photo, 2).terms[TRAINED][0]
            assert other == of_photo.terms(as_tensor(photo))[TRAINED]

    def test_gradients_in_bfloat16_descend_nearly_as_well(self):
        objective = Objective(measures_of(CONFIG), picture(2))
        exact, half = (
            best_so_far(
                compute_curve(objective, picture(0), 40, precision=precision).terms[TRAINED]
            )
            for precision in ("fp32", "bf16")
        )
        assert half[0] == exact[0]  # what is recorded is float32
        assert exact[-1].total < 0.2 * exact[0].total
        assert half[-1] != exact[-1]
        assert half[-1].total < 1.3 * exact[-1].total

    def test_it_starts_at_the_photo(self):
        objective = Objective(measures_of(CONFIG), picture(2))
        start = compute_curve(objective, picture(0), 0)
        assert start.iterations == (0,)
        assert start.terms == {
            name: (terms,)
            for name, terms in objective.of_photo(picture(0)).terms(as_tensor(picture(0))).items()
        }
        assert start.terms[TRAINED][0].content == 0


class TestCache:
    objective = staticmethod(lambda: Objective(measures_of(CONFIG), picture(2)))

    def test_what_was_computed_is_not_computed_again(self, tmp_path, monkeypatch):
        descents = quality.Descents(tmp_path, 4)
        objective = self.objective()
        beyond = {TRAINED: Terms(0.0, 0.0, 0.0)}
        first = descents.curve(objective, picture(2), picture(0), beyond)
        monkeypatch.setattr(quality, "compute_curve", None)
        assert descents.curve(objective, picture(2), picture(0), beyond) == first
        shorter = quality.Descents(tmp_path, 2).curve(objective, picture(2), picture(0), beyond)
        assert shorter == first.up_to(2) == compute_curve(objective, picture(0), 2)
        longer = quality.Descents(tmp_path, 5)
        near = {TRAINED: first.terms[TRAINED][0]}
        assert longer.curve(objective, picture(2), picture(0), near) == first
        with pytest.raises(TypeError):  # another photo, a longer descent: computed
            descents.curve(objective, picture(2), picture(3), beyond)
        with pytest.raises(TypeError):
            longer.curve(objective, picture(2), picture(0), beyond)
        with pytest.raises(TypeError):
            replace(descents, precisions=("bf16",)).curve(objective, picture(2), picture(0), beyond)
        for either in (("bf16", "fp32"), ("fp32", "bf16")):
            both = replace(descents, precisions=either)
            assert both.curve(objective, picture(2), picture(0), beyond) == first

    def test_of_several_precisions_the_last_computes(self, tmp_path):
        descents = quality.Descents(tmp_path, 2, precisions=("tf32", "fp32", "bf16"))
        beyond = {TRAINED: Terms(0.0, 0.0, 0.0)}
        curve = descents.curve(self.objective(), picture(2), picture(0), beyond)
        assert curve == compute_curve(self.objective(), picture(0), 2, precision="bf16")

    def test_a_shorter_one_does_not_replace_a_longer(self, tmp_path):
        curve = made_curve([5, 4, 3])
        lbfgs_curves.store_curve(tmp_path, "key", curve)
        lbfgs_curves.store_curve(tmp_path, "key", curve.up_to(1))
        assert load_curve(tmp_path, "key") == curve

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"iterations": [0], "evaluations": []}'])
    def test_a_damaged_one_is_as_none(self, tmp_path, text):
        (tmp_path / "key.json").write_text(text)
        assert load_curve(tmp_path, "key") is None
        lbfgs_curves.store_curve(tmp_path, "key", made_curve([2, 1]))
        assert load_curve(tmp_path, "key") is not None
        whole = json.loads((tmp_path / "key.json").read_text())
        whole["terms"][TRAINED].pop()
        (tmp_path / "key.json").write_text(json.dumps(whole))
        assert load_curve(tmp_path, "key") is None

    def test_the_key_is_of_all_that_matters(self):
        def key(config=CONFIG, painting=2, photo=picture(0), search="none"):  # noqa: B008
            return curve_key(measures_of(config), picture(painting), photo, search)

        changed = picture(0).copy()
        changed[0, 0, 0] ^= 1
        others = [
            key(photo=changed),
            key(painting=3),
            key(search="strong-wolfe"),
            key(replace(CONFIG, style_weight=6.0)),
            key(replace(CONFIG, content_layers={"relu2_2": 1.0})),
            key(photo=picture(0).reshape(24, 20, 3)),
            curve_key(measures_of(CONFIG), picture(2), picture(0), "none", "bf16"),
            curve_key(measures_of(CONFIG), picture(2), picture(0), "none", start="noise"),
        ]
        assert key() == key()
        assert len({key(), *others}) == 1 + len(others)
