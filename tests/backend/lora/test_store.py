"""Adapters on disk: peft's layout, found again, never half there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mattebox_backend.lora.adapter import AdapterPlan, adapted, adapter_weights
from mattebox_backend.lora.store import AdapterStore, KeptAdapter, adapter_id

PLAN = AdapterPlan(rank=2, alpha=4.0, feed_forward=False)


def kept_of(wan: Any, recipe: dict[str, Any]) -> KeptAdapter:
    with adapted(wan, PLAN, seed=5) as parameters:
        for parameter in parameters.values():
            parameter.data += 0.01
        return KeptAdapter(adapter_id(recipe), PLAN, adapter_weights(wan), [0.5, 0.25])


def test_an_adapter_is_found_again_by_what_it_was_made_from(wan: Any, tmp_path: Path) -> None:
    recipe = {"prompt": "a hat", "steps": 3}
    store, kept = AdapterStore(tmp_path), kept_of(wan, recipe)
    assert store.find(kept.id) is None
    store.add(kept, wan, recipe)
    found = AdapterStore(tmp_path).find(adapter_id({"steps": 3, "prompt": "a hat"}))
    assert found is not None
    assert (found.plan, list(found.losses)) == (PLAN, [0.5, 0.25])
    assert found.weights.keys() == kept.weights.keys()
    assert all(torch.equal(found.weights[name], value) for name, value in kept.weights.items())
    assert store.find(adapter_id({**recipe, "steps": 4})) is None


def test_peft_loads_it_as_any_other(wan: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    recipe = {"prompt": "a hat"}
    kept = kept_of(wan, recipe)
    AdapterStore(tmp_path).add(kept, wan, recipe)
    latents = torch.randn(1, 2, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    condition, prompt = torch.zeros(2, 20, 4, 4), wan.prompt("a hat", torch.zeros(32, 32, 3).byte().numpy())

    def answer() -> torch.Tensor:
        with torch.no_grad():
            return torch.as_tensor(wan.predict(latents, 500.0, condition, [prompt]))

    plain = answer()
    with adapted(wan, kept.plan, kept.weights):
        ours = answer()
    loaded = PeftModel.from_pretrained(wan.network, tmp_path / kept.id)
    theirs = answer()
    loaded.unload()
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert not torch.allclose(ours, plain, atol=1e-5)
    assert torch.equal(answer(), plain)


def test_a_damaged_adapter_is_none_and_makes_room(wan: Any, tmp_path: Path) -> None:
    recipe = {"prompt": "a hat"}
    store, kept = AdapterStore(tmp_path), kept_of(wan, recipe)
    for harm in ("adapter_model.safetensors", "mattebox.json"):
        store.add(kept, wan, recipe)
        (tmp_path / kept.id / harm).write_bytes(b"{")
        assert store.find(kept.id) is None
        assert not (tmp_path / kept.id).exists()
    store.add(kept, wan, recipe)
    assert store.find(kept.id) is not None
    assert json.loads((tmp_path / kept.id / "mattebox.json").read_text())["recipe"] == recipe
