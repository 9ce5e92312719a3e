"""Finding models; loading one is the backbones' part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mattebox_backend.device import Device
from mattebox_backend.errors import ModelRefused, UnknownModel
from mattebox_backend.models.registry import ModelRegistry

CPU = Device("cpu", 0, "float32")


def model(folder: Path, name: str, weights: str = "diffusion_pytorch_model.safetensors") -> Path:
    for component in ("unet", "vae"):
        (folder / name / component).mkdir(parents=True)
        (folder / name / component / "config.json").write_text("{}")
        (folder / name / component / weights).write_bytes(b"")
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / name / "model_index.json").write_text(json.dumps(index))
    return folder / name


def motion_model(folder: Path, name: str, base: str) -> None:
    adapter = folder / name / "motion_adapter"
    adapter.mkdir(parents=True)
    (adapter / "config.json").write_text("{}")
    (adapter / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    about = {"version": 1, "base": base, "methods": {}}
    (folder / name / "mattebox.json").write_text(json.dumps(about))


def test_a_model_is_found_by_name_path_or_hub_id(tmp_path: Path) -> None:
    mine = model(tmp_path / "models", "mine")
    registry = ModelRegistry([tmp_path / "absent", tmp_path / "models"])
    assert registry.resolve("mine") == mine
    assert registry.resolve(str(mine)) == mine
    assert registry.resolve("owner/name") == "owner/name"


@pytest.mark.parametrize("name", ["", "yours", "../models/mine", "./mine", "a/b/c", "/nowhere/at/all", "."])
def test_what_is_no_model_is_named(tmp_path: Path, name: str) -> None:
    model(tmp_path / "models", "mine")
    with pytest.raises(UnknownModel) as refused:
        ModelRegistry([tmp_path / "models"]).resolve(name)
    assert name in str(refused.value)


def test_the_list_says_what_cannot_be_loaded_and_why(tmp_path: Path) -> None:
    model(tmp_path, "fine")
    model(tmp_path, "pickled", "diffusion_pytorch_model.bin")
    (model(tmp_path, "torn") / "model_index.json").write_text("{")
    entries = {entry.id: entry for entry in ModelRegistry([tmp_path]).entries()}
    assert (entries["fine"].available, entries["fine"].family) == (True, "stable-diffusion")
    assert not entries["pickled"].available
    assert "never loaded" in entries["pickled"].note
    assert not entries["torn"].available


def test_the_list_says_which_parameters_a_model_does_best_with(tmp_path: Path) -> None:
    best = {"st-modulator": {"steps": 30, "blend": True}}
    good, bad = model(tmp_path, "good"), model(tmp_path, "bad")
    (good / "mattebox.json").write_text(json.dumps({"version": 1, "methods": best}))
    (bad / "mattebox.json").write_text(
        json.dumps({"version": 1, "methods": {"st-modulator": {"steps": [3]}}})
    )
    model(tmp_path, "plain")
    entries = {entry.id: entry for entry in ModelRegistry([tmp_path]).entries()}
    assert entries["good"].defaults == best
    assert entries["plain"].defaults == {}
    assert not entries["bad"].available
    assert "mattebox.json" in entries["bad"].note


def test_one_backbone_is_kept_warm(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mattebox_backend import backbones

    loads: list[Path | str] = []
    real = backbones.load_backbone

    def counted(place: Path | str, device: Device, find: Any) -> object:
        loads.append(place)
        return real(place, device, find)

    monkeypatch.setattr(backbones, "load_backbone", counted)
    registry = ModelRegistry([tiny_model.parent])
    first = registry.load("tiny-sd", CPU)
    assert registry.load(str(tiny_model), CPU) is first
    assert loads == [tiny_model]
    registry.unload()
    again = registry.load("tiny-sd", CPU)
    assert again is not first
    assert again.identity == first.identity


def test_a_hub_id_without_a_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnknownModel, match="owner/name"):
        ModelRegistry().load("owner/name", CPU)


def test_a_motion_folder_is_listed_with_its_family_and_its_bases_defaults(tmp_path: Path) -> None:
    best = {"st-modulator": {"steps": 30}}
    (model(tmp_path, "base") / "mattebox.json").write_text(json.dumps({"version": 1, "methods": best}))
    for name, base in (("moving", "base"), ("lost", "nowhere"), ("fetched", "owner/name")):
        motion_model(tmp_path, name, base)
    entries = {entry.id: entry for entry in ModelRegistry([tmp_path]).entries()}
    moving = entries["moving"]
    assert (moving.available, moving.family, moving.defaults) == (True, "animatediff", best)
    assert not entries["lost"].available
    assert "built on nowhere" in entries["lost"].note
    assert entries["fetched"].available


def test_a_motion_folder_whose_base_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    model(tmp_path, "base", "diffusion_pytorch_model.bin")
    motion_model(tmp_path, "moving", "base")
    entries = {entry.id: entry for entry in ModelRegistry([tmp_path]).entries()}
    assert not entries["moving"].available
    assert "never loaded" in entries["moving"].note


def test_a_base_comes_from_the_users_folders_too(tiny_model: Path, tiny_motion: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_motion, tmp_path / "moving")
    registry = ModelRegistry([tmp_path, tiny_model.parent])
    loaded = registry.load("moving", CPU)
    assert loaded.frame_limit == 6
    assert loaded.identity == registry.load("tiny-motion", CPU).identity


def controlnet(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    return folder


def test_a_controlnet_is_found_by_name_path_or_hub_id_and_is_no_backbone(tmp_path: Path) -> None:
    mine = controlnet(tmp_path / "mine-controlnet")
    model(tmp_path, "mine")
    registry = ModelRegistry([tmp_path])
    assert registry.resolve_controlnet("mine-controlnet") == mine
    assert registry.resolve_controlnet(str(mine)) == mine
    assert registry.resolve_controlnet("owner/name") == "owner/name"
    with pytest.raises(UnknownModel, match="backbone “mine-controlnet” is not known"):
        registry.resolve("mine-controlnet")
    with pytest.raises(UnknownModel, match=r"ControlNet “mine” is not known; use one of .*mine-controlnet"):
        registry.resolve_controlnet("mine")


def test_a_controlnet_stays_loaded_until_another_or_another_model_is_asked_for(
    tiny_model: Path, tiny_controlnet: Path, tmp_path: Path
) -> None:
    registry = ModelRegistry()
    registry.load(str(tiny_model), CPU)
    first = registry.load_controlnet(str(tiny_controlnet), CPU)
    assert registry.load_controlnet(str(tiny_controlnet), CPU) is first
    assert registry.load(str(tiny_model), CPU).identity != first.identity
    assert first.module is not None
    second = shutil.copytree(tiny_controlnet, tmp_path / "second")
    assert registry.load_controlnet(str(second), CPU) is not first
    assert first.module is None
    third = registry.load_controlnet(str(second), CPU)
    registry.unload()
    assert third.module is None


def test_a_scorer_is_found_by_name_path_or_hub_id_and_is_no_model_to_edit_with(
    tiny_scorer: Path, tmp_path: Path
) -> None:
    mine = shutil.copytree(tiny_scorer, tmp_path / "mine-scorer")
    controlnet(tmp_path / "mine-controlnet")
    known = ModelRegistry([tmp_path])
    assert known.resolve_scorer("mine-scorer") == known.resolve_scorer(str(mine)) == mine
    assert known.resolve_scorer("owner/name") == "owner/name"
    assert known.load_scorer("mine-scorer", CPU).name == "mine-scorer"
    assert "mine-scorer" not in {entry.id for entry in known.entries()}
    with pytest.raises(UnknownModel, match="backbone “mine-scorer” is not known"):
        known.resolve("mine-scorer")
    with pytest.raises(UnknownModel, match="ControlNet “mine-scorer” is not known"):
        known.resolve_controlnet("mine-scorer")
    with pytest.raises(
        UnknownModel, match=r"scorer “mine-controlnet” is not known; use one of .*mine-scorer"
    ):
        known.resolve_scorer("mine-controlnet")
    with pytest.raises(UnknownModel, match="check the path of the scorer"):
        known.resolve_scorer(str(tmp_path / "nowhere"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that must not be asked."""
    import huggingface_hub
    import huggingface_hub.constants

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, name: str, folder: Path) -> Path:
    """Puts a folder into the hub's cache as the repository `name`."""
    place = hub / f"models--{name.replace('/', '--')}" / "snapshots" / "0a1b2c"
    return Path(shutil.copytree(folder, place))


def test_a_captioner_is_found_by_name_path_or_hub_id_and_never_fetched(
    tiny_captioner: Path, tmp_path: Path, hub: Path
) -> None:
    mine = Path(shutil.copytree(tiny_captioner, tmp_path / "models" / "mine"))
    fetched = cached(hub, "florence-community/Florence-2-base", tiny_captioner)
    registry = ModelRegistry([tmp_path / "absent", tmp_path / "models"])
    assert registry.resolve_captioner("mine") == mine
    assert registry.resolve_captioner(str(tiny_captioner)) == tiny_captioner
    assert registry.resolve_captioner("florence-community/Florence-2-base") == fetched
    assert registry.resolve_captioner("") == mine, "the user's folders come first"
    assert ModelRegistry().resolve_captioner("") == fetched
    for name in ("yours", "florence-community/Florence-2-large", "../models/mine", "/nowhere/at/all"):
        with pytest.raises(UnknownModel) as refused:
            registry.resolve_captioner(name)
        assert name in str(refused.value)
    assert "mine, florence-community/Florence-2-base" in str(registry_says(registry, "yours"))


def registry_says(registry: ModelRegistry, name: str) -> UnknownModel:
    with pytest.raises(UnknownModel) as refused:
        registry.resolve_captioner(name)
    return refused.value


def test_without_a_captioner_the_list_says_how_to_get_one(hub: Path) -> None:
    registry = ModelRegistry()
    assert registry.captioners() == []
    note = registry.captioner_note()
    assert "hf download florence-community/Florence-2-base" in note
    assert str(registry_says(registry, "")) == note


def test_captioners_that_cannot_be_loaded_are_listed_with_the_reason_and_passed_over(
    tiny_captioner: Path, tmp_path: Path, hub: Path
) -> None:
    folders = tmp_path / "models"
    pickled = Path(shutil.copytree(tiny_captioner, folders / "a-pickle"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    half = cached(hub, "florence-community/Florence-2-base", tiny_captioner)  # a download that broke off
    (half / "model.safetensors").unlink()
    registry = ModelRegistry([folders])
    notes = {entry.id: entry.note for entry in registry.captioners()}
    assert "a pickle" in notes["a-pickle"]
    assert "has no weights" in notes["florence-community/Florence-2-base"]
    assert not any(entry.available for entry in registry.captioners())
    assert "a-pickle: " in registry.captioner_note()
    with pytest.raises(ModelRefused, match="a pickle that could run any code"):
        registry.resolve_captioner("a-pickle")

    shutil.copytree(tiny_captioner, folders / "b-whole")
    entries = {entry.id: entry for entry in registry.captioners()}
    assert (entries["b-whole"].available, entries["b-whole"].family) == (True, "florence-2")
    assert registry.captioner_note() == ""
    assert registry.resolve_captioner("") == folders / "b-whole"


def test_a_captioner_is_no_backbone(tiny_captioner: Path, tiny_model: Path, hub: Path) -> None:
    registry = ModelRegistry([tiny_captioner.parent, tiny_model.parent])
    assert tiny_captioner.name not in {entry.id for entry in registry.entries()}
    assert tiny_model.name not in {entry.id for entry in registry.captioners()}


def test_a_captioner_is_loaded_anew_for_each_who_asks(tiny_captioner: Path) -> None:
    registry = ModelRegistry([tiny_captioner.parent])
    first, second = (registry.load_captioner("tiny-florence", CPU) for _ in range(2))
    assert first is not second
    first.unload()
    assert second.module is not None
