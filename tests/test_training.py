"""Options and photos of a training, wrong input, and whole runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fast_style
from fast_style.errors import (
    NameTakenError,
    ResumeError,
    TrainingDataError,
    TrainingError,
    UsageError,
)
from fast_style.models.card import ModelCard
from fast_style.models.config import SIZES, parameter_shapes
from fast_style.models.model_file import load_model, save_model
from fast_style.models.widening import widen
from fast_style.training.config import TrainingConfig, parse_layers
from fast_style.training.data import PhotoCrops, StepSampler, random_crop
from fast_style.training.inputs import find_photos
from fast_style.training.lightning_module import schedule_factor
from fast_style.training.trainer import TrainingResult, train
from tests.training_photos import ASTRONAUT, make_painting, make_photos


def make_config(folder: Path, **changes: Any) -> TrainingConfig:
    """Options of a run of seconds: tiny network, small crops, shallow losses."""
    if not (folder / "photos").exists():
        make_photos(folder / "photos")
        make_painting(folder / "painting.png")
    values: dict[str, Any] = {
        "style_image": folder / "painting.png",
        "photos": folder / "photos",
        "name": "waves",
        "size": "tiny",
        "steps": 4,
        "batch_size": 2,
        "crop_size": 32,
        "style_size": 64,
        "style_layers": "relu1_2,relu2_2",
        "workers": 0,
        "preview_every": 2,
        "checkpoint_every": 2,
        "runs": folder / "runs",
        "models": folder / "models",
        "precision": "fp32",
        "accelerator": "cpu",
    }
    return TrainingConfig(**(values | changes))


def quiet_train(config: TrainingConfig) -> TrainingResult:
    return train(config, quiet=True)


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"steps": 0}, "steps is 0; expected 1 or more"),
            ({"learning_rate": 0.0}, "learning_rate is 0.0; expected more than 0"),
            ({"style_weight": float("nan")}, "style_weight is nan"),
            ({"max_minutes": -1.0}, "max_minutes is -1.0"),
            ({"size": "huge"}, "size is 'huge'; expected one of tiny, standard, full"),
            ({"name": "../x"}, "name is '../x'; expected letters"),
            ({"name": ""}, "name is ''"),
            ({"style_layers": "relu1_2,relu1_2"}, "style_layers is"),
            ({"content_layers": "relu1_2=x"}, "content_layers is"),
        ],
    )
    def test_bad_values_are_rejected(
        self, tmp_path: Path, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            make_config(tmp_path, **changes)
        assert message in str(caught.value)

    def test_layers_parse_with_and_without_weights(self) -> None:
        assert parse_layers("relu1_2, relu2_2=0.5,", "x") == {"relu1_2": 1.0, "relu2_2": 0.5}

    def test_schedules_fall_from_one_to_zero(self) -> None:
        shares = [0.0, 0.25, 0.5, 1.0]
        assert [schedule_factor("linear", s) for s in shares] == [1.0, 0.75, 0.5, 0.0]
        cosine = [schedule_factor("cosine", s) for s in shares]
        np.testing.assert_allclose(cosine, [1, 0.5 + 0.5**1.5, 0.5, 0], atol=1e-12)
        assert {schedule_factor("constant", s) for s in shares} == {1.0}


class TestPhotos:
    def test_sample_depends_on_seed_and_number_alone(self, tmp_path: Path) -> None:
        photos = find_photos(make_photos(tmp_path / "photos"))
        one, two = PhotoCrops(photos, 24, 0, seed=3), PhotoCrops(photos, 24, 0, seed=3)
        in_order = [one[i][0] for i in range(13)]
        for i in reversed(range(13)):
            assert torch.equal(two[i][0], in_order[i])
        assert not torch.equal(PhotoCrops(photos, 24, 0, seed=4)[0][0], in_order[0])

    def test_grain_is_added_to_the_networks_input_alone(self, tmp_path: Path) -> None:
        photos = find_photos(make_photos(tmp_path / "photos"))
        for i in range(4):
            clean, grainy, _ = PhotoCrops(photos, 24, 8, seed=3)[i]
            assert torch.equal(clean, PhotoCrops(photos, 24, 0, seed=3)[i][0])
            noise = grainy.int() - clean.int()
            assert 6 <= noise.abs().max() <= 8
            assert torch.equal(PhotoCrops(photos, 24, 8, seed=3)[i][1], grainy)

    def test_every_photo_occurs_once_in_each_epoch(self, tmp_path: Path) -> None:
        photos = find_photos(make_photos(tmp_path / "photos"))
        crops = PhotoCrops(photos, 24, 0, seed=0)
        rounds = [[crops._photo_of(r * 6 + i) for i in range(6)] for r in range(3)]
        assert all(sorted(r) == photos for r in rounds)
        assert rounds[0] != rounds[1]

    def test_crop_is_a_square_of_the_photo_to_scale(self, tmp_path: Path) -> None:
        # Red and green are the pixel's row and column.
        place = np.mgrid[0:120, 0:200].astype(np.uint8)
        photo = Image.fromarray(np.stack([place[0], place[1], 0 * place[0]], axis=2))
        photo.save(tmp_path / "place.png")
        for seed in range(8):
            crop = random_crop(tmp_path / "place.png", 40, np.random.default_rng(seed)).astype(
                float
            )
            down = np.diff(crop[3:-3, 20, 0]).mean()
            across = np.diff(crop[20, 3:-3, 1]).mean()
            assert crop.shape == (40, 40, 3)
            assert abs(across) == pytest.approx(down, rel=0.05)
            assert 120 / (40 * 1.25) * 0.95 < down < 120 / 40 * 1.05

    def test_exif_rotation_is_applied(self, tmp_path: Path) -> None:
        top_is_white = np.zeros((60, 90, 3), np.uint8)
        top_is_white[:30] = 255
        exif = Image.Exif()
        exif[0x0112] = 3  # turned by 180 degrees
        Image.fromarray(top_is_white).save(tmp_path / "turned.jpg", exif=exif)
        crop = random_crop(tmp_path / "turned.jpg", 40, np.random.default_rng(0))
        assert crop[:5].mean() < 20
        assert crop[-5:].mean() > 235

    def test_unreadable_photos_are_replaced_and_named(self, tmp_path: Path) -> None:
        folder = make_photos(tmp_path / "photos")
        whole = ASTRONAUT.read_bytes()
        bad = {"text.jpg": b"hello", "empty.png": b"", "cut.jpg": whole[: len(whole) // 2]}
        for name, content in bad.items():
            (folder / name).write_bytes(content)
        crops = PhotoCrops(find_photos(folder), 24, 0, seed=0)
        named: set[str] = set()
        for i in range(9):
            crop, _, unreadable = crops[i]
            assert crop.shape == (3, 24, 24)
            named |= {Path(path).name for path in unreadable}
        assert named == set(bad)

    def test_error_if_all_photos_are_unreadable(self, tmp_path: Path) -> None:
        for i in range(3):
            (tmp_path / f"{i}.jpg").write_text("no photo")
        with pytest.raises(TrainingDataError, match="20 photos in a row could not be read"):
            PhotoCrops(find_photos(tmp_path), 24, 0, seed=0)[0]

    def test_sampler_divides_samples_among_devices(self) -> None:
        ranks = [list(StepSampler(3, 2, 0, rank, 2)) for rank in range(2)]
        together = [n for batches in zip(*ranks, strict=True) for batch in batches for n in batch]
        assert together == list(range(12))
        assert list(StepSampler(3, 2, 2)) == [[4, 5]]
        assert len(StepSampler(3, 2, 2)) == 3


class TestWrongInput:
    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="is not a folder"):
            quiet_train(make_config(tmp_path, photos=tmp_path / "nowhere"))

    def test_no_photos(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(TrainingDataError, match=r"no photos below .*empty"):
            quiet_train(make_config(tmp_path, photos=tmp_path / "empty"))

    def test_too_few_photos_for_a_batch(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match=r"6 photos below .* do not fill a batch of 7"):
            quiet_train(make_config(tmp_path, batch_size=7))

    def test_no_painting(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="the painting cannot be used"):
            quiet_train(make_config(tmp_path, style_image=tmp_path / "nothing.jpg"))

    def test_nothing_to_resume(self, tmp_path: Path) -> None:
        with pytest.raises(ResumeError, match="there is no run 'waves' to resume"):
            quiet_train(make_config(tmp_path, resume=True))

    def test_damaged_checkpoint(self, tmp_path: Path) -> None:
        config = make_config(tmp_path, resume=True)
        config.checkpoint_path.parent.mkdir(parents=True)
        config.checkpoint_path.write_bytes(b"half a check")
        with pytest.raises(ResumeError, match="is damaged or no checkpoint"):
            quiet_train(config)

    def test_unknown_accelerator(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="Lightning cannot train with accelerator 'warp'"):
            quiet_train(make_config(tmp_path, accelerator="warp"))

    def test_start_of_another_size(self, tmp_path: Path) -> None:
        model_file = tmp_path / "tiny.safetensors"
        shapes = parameter_shapes(SIZES["standard"])
        weights = {k: np.zeros(s, np.float32) for k, s in shapes.items()}
        save_model(model_file, ModelCard("wide", SIZES["standard"]), weights)
        with pytest.raises(UsageError, match="and tiny is to be trained: choose --size and"):
            quiet_train(make_config(tmp_path, init=str(model_file), size="tiny"))

    def test_narrower_start_is_widened(self, tmp_path: Path) -> None:
        first = make_config(tmp_path, steps=3)
        quiet_train(first)
        again = make_config(
            tmp_path,
            name="wider",
            size="standard",
            steps=1,
            learning_rate=1e-9,
            init=str(first.model_path),
        )
        quiet_train(again)
        narrow, wide = load_model(first.model_path), load_model(again.model_path)
        assert wide.card.network == SIZES["standard"]
        expected = widen(narrow.weights, narrow.card.network, wide.card.network, again.seed)
        for name, weight in wide.weights.items():
            np.testing.assert_allclose(weight, expected[name], atol=1e-6, rtol=1e-3)


class TestRun:
    def test_files_and_card_of_a_run(self, tmp_path: Path) -> None:
        config = make_config(tmp_path, title="Waves", artist="A. Nonymous", year="2001")
        result = quiet_train(config)
        assert result.model_path == config.model_path
        assert result.steps == 4
        assert result.signal is None
        model = load_model(config.model_path)
        card = model.card
        assert (card.name, card.title, card.artist, card.year) == (
            "waves",
            "Waves",
            "A. Nonymous",
            "2001",
        )
        assert card.network == config.network
        assert card.training["steps_taken"] == 4
        assert card.grain == config.grain == 8
        assert card.training["photos"] == 6
        assert card.training["photos_seen"] == 8
        assert card.training["style_layers"] == "relu1_2,relu2_2"
        assert card.training["final_losses"]["total"] == result.losses["total"]
        assert card.training["versions"]["torch"] == torch.__version__.split("+")[0]
        assert str(tmp_path) not in str(card.to_dict())
        assert card.thumbnail is not None
        # The model file has the checkpoint's weights, in half precision.
        saved = torch.load(result.checkpoint_path, weights_only=True)["state_dict"]
        assert set(saved) == {f"network.{name}" for name in model.weights}
        for name, weight in model.weights.items():
            stored = saved[f"network.{name}"].half().float().numpy()
            np.testing.assert_array_equal(weight, stored)
        run = config.run_folder
        assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["last.ckpt"]
        previews = sorted((run / "previews").iterdir())
        assert [p.name for p in previews] == ["step-000002.jpg", "step-000004.jpg"]
        with Image.open(previews[0]) as preview, Image.open(tmp_path / "photos/0.jpg") as photo:
            assert preview.size == (2 * photo.width, photo.height)
        events = EventAccumulator(str(run / "tensorboard"))
        events.Reload()
        assert events.Tags()["images"] == ["preview"]

    def test_batch_size_on_a_cpu_is_1(self, tmp_path: Path) -> None:
        quiet_train(make_config(tmp_path, batch_size=None))
        training = load_model(tmp_path / "models/waves.safetensors").card.training
        assert training["batch_size"] == 1
        assert training["photos_seen"] == training["steps_taken"] == 4

    def test_batch_size_on_a_gpu_is_8_or_all_photos(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fast_style.training.session.accelerator_device", lambda _: "cuda")
        quiet_train(make_config(tmp_path, batch_size=None))
        training = load_model(tmp_path / "models/waves.safetensors").card.training
        assert training["batch_size"] == 6  # there are only 6 photos
        assert training["photos_seen"] == 24

    def test_seed_and_crop_size_do_not_change_the_objective(self, tmp_path: Path) -> None:
        factors = set()
        for seed, crop_size in ((0, 32), (1, 48)):
            config = make_config(
                tmp_path, seed=seed, crop_size=crop_size, steps=1, name=f"waves-{seed}"
            )
            quiet_train(config)
            factors.add(load_model(config.model_path).card.training["style_factor"])
        assert len(factors) == 1
        assert factors != {1.0}

    def test_losses_fall(self, tmp_path: Path) -> None:
        config = make_config(tmp_path, steps=60, preview_every=0, checkpoint_every=60)
        quiet_train(config)
        events = EventAccumulator(str(config.run_folder / "tensorboard"))
        events.Reload()
        for loss in ("loss/total", "loss/style"):
            values = [event.value for event in events.Scalars(loss)]
            assert len(values) == 6
            assert values[-1] < 0.7 * values[0]

    def test_existing_name_is_rejected_unless_overwritten(self, tmp_path: Path) -> None:
        config = make_config(tmp_path, steps=1, preview_every=0)
        quiet_train(config)
        with pytest.raises(NameTakenError, match="a model of the name 'waves' exists"):
            quiet_train(config)
        config.model_path.unlink()
        with pytest.raises(NameTakenError, match="a run of the name 'waves' exists"):
            quiet_train(config)
        quiet_train(make_config(tmp_path, steps=1, preview_every=0, overwrite=True))
        assert config.model_path.is_file()

    def test_resume_requires_the_same_options(self, tmp_path: Path) -> None:
        quiet_train(make_config(tmp_path, steps=2))
        with pytest.raises(ResumeError, match=r"started with --style-weight 20\.0, not 11\.0"):
            quiet_train(make_config(tmp_path, steps=4, style_weight=11.0, resume=True))
        assert quiet_train(make_config(tmp_path, steps=4, resume=True)).steps == 4

    def test_start_from_another_model(self, tmp_path: Path) -> None:
        first = make_config(tmp_path, steps=3)
        quiet_train(first)
        start = load_model(first.model_path).weights
        again = make_config(
            tmp_path, name="second", steps=1, learning_rate=1e-9, init=str(first.model_path)
        )
        quiet_train(again)
        card = load_model(again.model_path).card
        assert card.training["started_from"]["name"] == "waves"
        assert card.training["started_from"]["steps_taken"] == 3
        for name, weight in load_model(again.model_path).weights.items():
            np.testing.assert_allclose(weight, start[name], atol=1e-6, rtol=1e-3)

    def test_start_from_the_base_of_the_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("fast_style.training.initialization._BASES", tmp_path / "weights")
        first = make_config(tmp_path, steps=2)
        train(first)
        assert "no base ships for this network" in capsys.readouterr().err
        scratch = load_model(first.model_path).card.training
        assert scratch["init"] == "scratch"
        assert "started_from" not in scratch
        (tmp_path / "weights").mkdir()
        first.model_path.rename(tmp_path / "weights" / "base-tiny.safetensors")
        again = make_config(tmp_path, name="second", steps=1, learning_rate=1e-9)
        quiet_train(again)
        card = load_model(again.model_path).card
        assert (card.training["init"], card.training["started_from"]["name"]) == ("base", "waves")
        start = load_model(tmp_path / "weights" / "base-tiny.safetensors").weights
        for name, weight in load_model(again.model_path).weights.items():
            np.testing.assert_allclose(weight, start[name], atol=1e-6, rtol=1e-3)
        # A base with another kind of upsampling does not fit.
        other = make_config(tmp_path, name="third", steps=1, upsampling="transposed")
        quiet_train(other)
        assert "started_from" not in load_model(other.model_path).card.training

    def test_shipped_bases_have_the_size_of_their_name(self) -> None:
        bases = sorted((Path(fast_style.__file__).parent / "weights").glob("base-*.safetensors"))
        assert bases
        for path in bases:
            size = path.stem.removeprefix("base-")
            assert load_model(path).card.network == SIZES[size]

    @pytest.mark.parametrize(
        ("asked", "limits"),
        [
            ({}, (4000, 10.0)),
            ({"steps": 9000}, (9000, None)),
            ({"max_minutes": 60.0}, (None, 60.0)),
            ({"steps": 9000, "max_minutes": 60.0}, (9000, 60.0)),
        ],
    )
    def test_a_given_limit_replaces_the_default_limits(
        self, tmp_path: Path, asked: dict[str, Any], limits: tuple[int | None, float | None]
    ) -> None:
        config = make_config(tmp_path, **{"steps": None, **asked})
        assert (config.step_limit, config.minute_limit) == limits

    def test_run_ends_at_its_time_limit(self, tmp_path: Path) -> None:
        config = make_config(tmp_path, steps=None, max_minutes=0.02, preview_every=0)
        result = quiet_train(config)
        assert result.steps >= 1
        assert 1.2 <= result.seconds < 60
        training = load_model(config.model_path).card.training
        assert training["steps_taken"] == result.steps
        assert (training["steps"], training["max_minutes"]) == (None, 0.02)
