"""Pictures of a slimming run: how loss and validation went, and which widths were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from samlet.models import EncoderConfig
from samlet.reporting.plots import GRID, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from samlet.slimming.pipeline import SlimRun

_STAGES = ("#2b6cb0", "#c05621", "#2f855a")
_ERROR, _AGREEMENT = "#6b46c1", "#2f855a"
_TEACHER, _SLIMMED = "#cbd5e0", "#2b6cb0"
_FEWEST_TO_SMOOTH, _WINDOWS = 40, 30
_MOST_WITH_NUMBERS = 16

Widths = dict[str, int]
"""Channels by place: a block (`3`), a block of a stage (`1.0`), or a named layer (`merge 2`)."""


def losses_figure(run: SlimRun) -> Figure:
    """Loss of every step, validation on the photographs held out, and learning rate, stage after stage."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 8), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    right = middle.twinx()
    errors = [error for name in run.stages for error in run.log.values(name, "validation_error")[1]]
    start = 0
    for number, name in enumerate(run.stages):
        colour = _STAGES[number % len(_STAGES)]
        steps, losses = run.log.values(name, "loss")
        at = start + np.array(steps, dtype=int)
        if len(losses) < _FEWEST_TO_SMOOTH:
            top.plot(at, losses, color=colour, marker=".", label=name)
        else:
            window = len(losses) // _WINDOWS + 2
            top.plot(at, losses, color=colour, alpha=0.3, linewidth=0.7)
            top.plot(at, smoothed(losses, window), color=colour, label=f"{name} (mean of {window} steps)")
        for axes, quantity, look in (
            (middle, "validation_error", {"color": _ERROR, "marker": "o"}),
            (right, "validation_agreement", {"color": _AGREEMENT, "marker": "s"}),
            (bottom, "learning_rate", {"color": colour}),
        ):
            measured, values = run.log.values(name, quantity)
            axes.plot(start + np.array(measured, dtype=int), values, markersize=5, linewidth=1.2, **look)
        if number:
            for axes in (top, middle, bottom):
                axes.axvline(start + 0.5, color="black", linewidth=0.8, linestyle=":")
        start += max(steps, default=0)
    top.set_title(f"{run.steps} steps of {run.config.batch_size} photographs at {run.image_size} px", fontsize=11)
    if run.steps:
        top.set_yscale("log")
    top.set_ylabel("training loss")
    top.grid(which="both", **GRID)
    top.legend(loc="best")
    middle.set_ylabel("embedding error,\nshare of the variance", color=_ERROR)
    middle.set_ylim(0, 1.1 * max(errors, default=1.0))
    right.set_ylabel("agreement with teacher,\nmean IoU", color=_AGREEMENT)
    right.set_ylim(0, 1)
    middle.legend(
        [*middle.lines[:1], *right.lines[:1]],
        ["embedding error on photographs held out (left)", "agreement there (right)"],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.98),
        ncols=2,
        frameon=False,
    )
    bottom.set_ylabel("learning rate")
    bottom.set_ylim(bottom=0)
    bottom.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    bottom.set_xlabel("optimizer step")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (middle, bottom):
        axes.grid(**GRID)
    return figure


def widths_figure(teacher: EncoderConfig, slimmed: EncoderConfig) -> Figure:
    """Every width of the slimmed encoder before the teacher's; alone if the two have other blocks."""
    from matplotlib.figure import Figure

    before, after = panels(teacher), panels(slimmed)
    heads = _heads(slimmed), _heads(teacher)
    comparable = all(before[title].keys() == after[title].keys() for title in after)
    shown = [title for title in after if after[title]]
    figure = Figure(figsize=(11, 0.8 + 2.2 * len(shown)), layout="constrained")
    by = "stage.block" if any("." in place for title in shown for place in after[title]) else "block"
    figure.suptitle(f"Channels of the image encoder, by {by}")
    for axes, title in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        kept, whole = after[title], before[title] if comparable else {}
        _draw_bars(axes, kept, whole)
        share = f": {sum(kept.values()) / sum(whole.values()):.0%} kept" if whole else ""
        axes.set_title(title + share, loc="left", fontsize=10)
        if title is _VALUES:
            if len(kept) > _MOST_WITH_NUMBERS:
                axes.set_title("over the bars: heads kept", loc="right", fontsize=9)
            _write_counts(axes, heads[0], heads[1] if whole else {}, kept, whole, " heads")
        elif len(kept) <= _MOST_WITH_NUMBERS:
            _write_counts(axes, kept, whole, kept, whole)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return figure


_STREAMS = "residual width"
_VALUES = "attention, values: heads × channels of a head"
_QUERIES = "attention, queries and keys: heads × channels of a head"
_HIDDEN = "hidden width of MLPs and convolutions"


def panels(encoder: EncoderConfig) -> dict[str, Widths]:
    """Widths of an encoder under the title of their panel, gathered from the fields of its config."""
    found: dict[str, Widths] = {_STREAMS: {}, _VALUES: {}, _QUERIES: {}, _HIDDEN: {}}
    heads = _heads(encoder)
    for field, value in vars(encoder).items():
        if not field.endswith(("_dim", "_dims")) or field == "scale_dim":
            continue
        places = {place: width for place, width in _places(field, value).items() if width}
        if field in ("qk_dims", "v_dims"):
            found[_VALUES if field == "v_dims" else _QUERIES] = {p: heads[p] * width for p, width in places.items()}
        else:
            found[_STREAMS if field.startswith("embed") else _HIDDEN] |= places
    return found


def _heads(encoder: EncoderConfig) -> Widths:
    """Attention heads by place; none of a convolutional encoder."""
    return _places("num_heads", getattr(encoder, "num_heads", ()))


_PLACES = {
    "embed_dim": "all blocks",
    "embed_dims": "stage",
    "num_heads": "",
    "qk_dims": "",
    "v_dims": "",
    "mlp_dims": "",
}


def _places(field: str, value: Any) -> Widths:
    """A field's widths by place; in nested ones the outer index is the stage, and stage 0 has no attention."""
    name = _PLACES.get(field, field.rpartition("_")[0])
    if isinstance(value, int):
        return {name: value}
    flat: Widths = {}
    for number, entry in enumerate(value):
        if isinstance(entry, int):
            flat[f"{name} {number}".strip()] = entry
        else:
            flat |= {f"{name} {number + 1}.{block}".strip(): width for block, width in enumerate(entry)}
    return flat


def _draw_bars(axes: Axes, kept: Widths, whole: Widths) -> None:
    """Bars by place; the teacher's wide and light behind."""
    at = range(len(kept))
    if whole:
        axes.bar(at, list(whole.values()), width=0.86, color=_TEACHER, label="teacher")
    axes.bar(at, list(kept.values()), width=0.56, color=_SLIMMED, label="slimmed")
    axes.set_xticks(at, list(kept), fontsize=8)
    axes.set_xlim(-0.6, max(len(kept), 8) - 0.4)
    axes.set_ylim(0, 1.2 * max([*kept.values(), *whole.values()]))
    axes.set_ylabel("channels")
    axes.set_axisbelow(True)
    axes.grid(axis="y", **GRID)


def _write_counts(axes: Axes, counts: Widths, totals: Widths, kept: Widths, whole: Widths, unit: str = "") -> None:
    """`9/12` over every bar."""
    few = len(kept) <= _MOST_WITH_NUMBERS
    for at, place in enumerate(kept):
        total = f"/{totals[place]}" if totals else ""
        text = f"{counts[place]}{total}" + (unit if few else "")
        top = max(kept[place], whole.get(place, 0))
        axes.annotate(
            text, (at, top), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7.5 if few else 6
        )
