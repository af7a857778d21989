"""The card of a model on the Hugging Face hub, made from what the model knows of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samlet.errors import InputError
from samlet.evaluation.costs import Cost, cost
from samlet.io.jsons import dumps
from samlet.models import PromptableModel, Sam
from samlet.reporting import markdown
from samlet.zoo import ENTRIES, Entry

CARD = "README.md"
_HUB_LICENCES = {"Apache-2.0": "apache-2.0", "AGPL-3.0": "agpl-3.0", "MIT": "mit"}


def model_card(sam: PromptableModel, provenance: Mapping[str, Any], repository: str, licence: str | None) -> str:
    """Markdown with the hub's metadata at its head.

    Args:
        sam: the model.
        provenance: what it comes from, as `provenance.json` or `export.json` has it; may be empty.
        repository: `ORG/NAME` where it will stand.
        licence: of the weights, an SPDX identifier or a name; that of the zoo models it comes from if None.

    Raises:
        InputError: the licence is not given, and does not follow from the provenance.
    """
    parents = _parents(provenance)
    lines = ["---", *_metadata(_licence(parents, licence), parents), "---", "", f"# {repository.split('/')[1]}", ""]
    lines += [_sentence(sam, provenance, parents), "", *_costs(cost(sam, measure=False)), *_agreement(provenance), ""]
    lines += ["## Use", "", "```python", "import samlet  # pip install samlet", ""]
    lines += [f'sam = samlet.load("{repository}")', "predictor = samlet.Predictor(sam)"]
    lines += ['predictor.set_image("photo.jpg")', "answer = predictor.predict(points=[[500, 375]])", "```", ""]
    if provenance:
        lines += ["## Where it comes from", "", *_origin(provenance, parents), ""]
        lines += ["<details><summary>All of its provenance</summary>", "", "```json"]
        lines += [dumps(provenance, indent=2, ensure_ascii=False), "```", "", "</details>", ""]
    return "\n".join(lines)


def _parents(provenance: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Names of the models that it was made from, and what is known of them."""
    found = provenance.get("parents")
    if not isinstance(found, list):
        found = [provenance] if isinstance(provenance.get("name"), str) else []
    return [(str(one["name"]), one) for one in found if isinstance(one, dict) and one.get("name")]


def _licence(parents: Sequence[tuple[str, Any]], given: str | None) -> str:
    if given:
        return given
    unknown = [name for name, _ in parents if name not in ENTRIES]
    if unknown or not parents:
        why = f"it comes from {unknown[0]!r}, which is no model of the zoo" if unknown else "it has no provenance"
        raise InputError(f"the licence of the model is not known: {why}; say it with --licence, such as Apache-2.0")
    licences = sorted({ENTRIES[name].licence for name, _ in parents}, key=lambda one: (one in _HUB_LICENCES, one))
    others = [one for one in licences if one != "Apache-2.0"]
    if len(others) > 1:
        raise InputError(f"the model comes from models under {' and '.join(licences)}; say its licence with --licence")
    return others[0] if others else licences[0]


def _metadata(licence: str, parents: Sequence[tuple[str, Any]]) -> list[str]:
    known = _HUB_LICENCES.get(licence, licence.lower() if licence.lower() in _HUB_LICENCES.values() else None)
    lines = [f"license: {known}"] if known else ["license: other", f"license_name: {json.dumps(licence)}"]
    lines += ["library_name: samlet", "pipeline_tag: mask-generation", "tags:"]
    lines += [f"- {tag}" for tag in ("samlet", "segment-anything", "image-segmentation")]
    bases = [entry.repository for name, _ in parents if (entry := _entry(name)) and entry.repository]
    return lines + (["base_model:", *(f"- {base}" for base in dict.fromkeys(bases))] if bases else [])


def _entry(name: str) -> Entry | None:
    return ENTRIES.get(name)


def _sentence(sam: PromptableModel, provenance: Mapping[str, Any], parents: Sequence[tuple[str, Any]]) -> str:
    kind = "A Segment Anything Model" if isinstance(sam, Sam) else "An exported Segment Anything Model"
    made = ", ".join(_link(name) for name, _ in parents)
    method = str(provenance.get("method", "")).strip()
    return f"{kind}{f', made from {made}' if made else ''}{f' by {method}' if method else ''}."


def _link(name: str) -> str:
    entry = _entry(name)
    return f"[{name}](https://huggingface.co/{entry.repository})" if entry and entry.repository else f"`{name}`"


def _costs(found: Cost) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "parameters", "MACs (modules)", "MACs (total)")]
    for name, part in (("encoder", found.encoder), ("decoder, one prompt", found.decoder)):
        modules, total = (f"{count / 1e9:.1f} G" for count in (part.macs_modules, part.macs_total))
        rows.append((name, f"{part.parameters / 1e6:.2f} M", modules, total))
    return [f"At {found.image_size} px:", "", *markdown.table(rows, "lrrr")]


def _agreement(provenance: Mapping[str, Any]) -> list[str]:
    """What a run measured of the masks, with how it was measured."""
    figures = provenance.get("figures")
    agreement = figures.get("agreement") if isinstance(figures, dict) else None
    if not isinstance(agreement, dict) or not isinstance(agreement.get("aligned"), int | float):
        return []
    return [
        "",
        f"Mean mask IoU with its teacher {agreement['aligned']:.3f} ({agreement.get('protocol', 'protocol unknown')}; "
        f"{agreement.get('images', '?')} photographs that training never saw).",
    ]


def _origin(provenance: Mapping[str, Any], parents: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    lines = []
    for name, about in parents:
        digest = about.get("weights_sha256")
        role = f" ({about['role']})" if about.get("role") else ""
        lines.append(f"- from {_link(name)}{role}" + (f", weights SHA-256 `{digest}`" if digest else ""))
    data = provenance.get("data")
    if isinstance(data, dict) and data.get("name"):
        count = data.get("photographs")
        lines.append(f"- with {count if count is not None else 'the'} photographs of `{data['name']}`")
    versions = provenance.get("versions")
    if isinstance(versions, dict):
        lines.append(f"- by {', '.join(f'{name} {version}' for name, version in versions.items())}")
    return lines


def read_provenance(folder: Path) -> dict[str, Any]:
    """What a model folder says of its origin; empty where it says nothing."""
    for name, key in (("provenance.json", None), ("export.json", "provenance")):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = content if key is None or not isinstance(content, dict) else content.get(key)
        if isinstance(found, dict):
            return found
    return {}
