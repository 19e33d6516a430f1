"""`benchmarks.lbfgs_curves`: descents, and their cache."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import lbfgs_curves, quality
from benchmarks.lbfgs_curves import (
    compute_best_so_far,
    compute_curve,
    descend,
    load_curve,
    make_curve_key,
)
from benchmarks.objective import TRAINED, MeasuredObjective, Terms, make_measures, to_tensor
from tests.test_quality_benchmark import CONFIG, make_curve, make_picture

PAINTING, PHOTO = make_picture(2), make_picture(0)


class TestDescent:
    def test_descent_finds_a_minimum(self):
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

    def test_pixels_stay_in_range(self):
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

    def test_line_search_needs_evaluations_and_never_rises(self):
        objective = MeasuredObjective(make_measures(CONFIG), PAINTING)
        curve = compute_curve(objective, PHOTO, 10, "strong-wolfe")
        totals = [term.total for term in curve.terms[TRAINED]]
        assert totals == sorted(totals, reverse=True)
        assert totals[-1] < totals[0] / 3
        assert curve.evaluations[-1] > curve.iterations[-1] == 10

    @pytest.mark.parametrize("line_search", ["none", "strong-wolfe"])
    def test_descent_ends_soon_after_the_goal(self, line_search):
        objective = MeasuredObjective(make_measures(CONFIG), PAINTING)
        whole = compute_curve(objective, PHOTO, 60, line_search)
        goal = {name: terms[8] for name, terms in whole.terms.items()}
        short = compute_curve(objective, PHOTO, 60, line_search, goal)
        best = {name: compute_best_so_far(terms) for name, terms in whole.terms.items()}
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

    def test_noise_start_is_fixed(self):
        objective = MeasuredObjective(make_measures(CONFIG), PAINTING)
        noise = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
        for photo in (PHOTO, make_picture(1)):
            curve = compute_curve(objective, photo, 30, start="noise")
            of_photo = objective.for_photo(photo)
            first = of_photo.terms(noise)[TRAINED]
            assert curve.terms[TRAINED][0] == first
            assert compute_best_so_far(curve.terms[TRAINED])[-1].total < first.total / 10
            other = compute_curve(objective, photo, 2).terms[TRAINED][0]
            assert other == of_photo.terms(to_tensor(photo))[TRAINED]

    def test_bfloat16_gradients_are_nearly_as_good(self):
        objective = MeasuredObjective(make_measures(CONFIG), PAINTING)
        exact, half = (
            compute_best_so_far(
                compute_curve(objective, PHOTO, 40, precision=precision).terms[TRAINED]
            )
            for precision in ("fp32", "bf16")
        )
        assert half[0] == exact[0]  # what is recorded is float32
        assert exact[-1].total < 0.2 * exact[0].total
        assert half[-1] != exact[-1]
        assert half[-1].total < 1.3 * exact[-1].total

    def test_descent_starts_at_the_photo(self):
        objective = MeasuredObjective(make_measures(CONFIG), PAINTING)
        start = compute_curve(objective, PHOTO, 0)
        assert start.iterations == (0,)
        assert start.terms == {
            name: (terms,)
            for name, terms in objective.for_photo(PHOTO).terms(to_tensor(PHOTO)).items()
        }
        assert start.terms[TRAINED][0].content == 0


class TestCache:
    objective = staticmethod(lambda: MeasuredObjective(make_measures(CONFIG), PAINTING))

    def test_cached_curves_are_used(self, tmp_path, monkeypatch):
        descents = quality.DescentSettings(tmp_path, 4)
        objective = self.objective()
        beyond = {TRAINED: Terms(0.0, 0.0, 0.0)}
        first = descents.get_curve(objective, PAINTING, PHOTO, beyond)
        monkeypatch.setattr(quality, "compute_curve", None)
        assert descents.get_curve(objective, PAINTING, PHOTO, beyond) == first
        shorter = quality.DescentSettings(tmp_path, 2).get_curve(objective, PAINTING, PHOTO, beyond)
        assert shorter == first.up_to(2) == compute_curve(objective, PHOTO, 2)
        longer = quality.DescentSettings(tmp_path, 5)
        near = {TRAINED: first.terms[TRAINED][0]}
        assert longer.get_curve(objective, PAINTING, PHOTO, near) == first
        with pytest.raises(TypeError):  # another photo, a longer descent: computed
            descents.get_curve(objective, PAINTING, make_picture(3), beyond)
        with pytest.raises(TypeError):
            longer.get_curve(objective, PAINTING, PHOTO, beyond)
        with pytest.raises(TypeError):
            replace(descents, precisions=("bf16",)).get_curve(objective, PAINTING, PHOTO, beyond)
        for either in (("bf16", "fp32"), ("fp32", "bf16")):
            both = replace(descents, precisions=either)
            assert both.get_curve(objective, PAINTING, PHOTO, beyond) == first

    def test_new_curves_are_computed_in_the_last_precision(self, tmp_path):
        descents = quality.DescentSettings(tmp_path, 2, precisions=("tf32", "fp32", "bf16"))
        beyond = {TRAINED: Terms(0.0, 0.0, 0.0)}
        curve = descents.get_curve(self.objective(), PAINTING, PHOTO, beyond)
        assert curve == compute_curve(self.objective(), PHOTO, 2, precision="bf16")

    def test_a_shorter_curve_does_not_replace_a_longer_one(self, tmp_path):
        curve = make_curve([5, 4, 3])
        lbfgs_curves.store_curve(tmp_path, "key", curve)
        lbfgs_curves.store_curve(tmp_path, "key", curve.up_to(1))
        assert load_curve(tmp_path, "key") == curve

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"iterations": [0], "evaluations": []}'])
    def test_damaged_files_are_ignored(self, tmp_path, text):
        (tmp_path / "key.json").write_text(text)
        assert load_curve(tmp_path, "key") is None
        lbfgs_curves.store_curve(tmp_path, "key", make_curve([2, 1]))
        assert load_curve(tmp_path, "key") is not None
        whole = json.loads((tmp_path / "key.json").read_text())
        whole["terms"][TRAINED].pop()
        (tmp_path / "key.json").write_text(json.dumps(whole))
        assert load_curve(tmp_path, "key") is None

    def test_key_depends_on_every_option(self):
        def key(config=CONFIG, painting=2, photo=PHOTO, search="none"):
            return make_curve_key(make_measures(config), make_picture(painting), photo, search)

        changed = PHOTO.copy()
        changed[0, 0, 0] ^= 1
        others = [
            key(photo=changed),
            key(painting=3),
            key(search="strong-wolfe"),
            key(replace(CONFIG, style_weight=6.0)),
            key(replace(CONFIG, content_layers={"relu2_2": 1.0})),
            key(photo=PHOTO.reshape(24, 20, 3)),
            make_curve_key(make_measures(CONFIG), PAINTING, PHOTO, "none", "bf16"),
            make_curve_key(make_measures(CONFIG), PAINTING, PHOTO, "none", start="noise"),
        ]
        assert key() == key()
        assert len({key(), *others}) == 1 + len(others)
