"""Settings that cannot be, and folders that cannot be written."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.rows import Row, written

POINT = "segment {base}/photos/a0.png --point 5,5 --model {base}/m --out o"
EVERYTHING = "segment {base}/photos/a0.png --everything --model {base}/m --image-size 64 --out o"
FOLDER = "segment {base}/photos --everything --points-per-side 2 --model {base}/m --image-size 64 --out o"
LABEL = "label --teacher {base}/m --images {base}/photos --image-size 64 --points-per-side 2 --out o"
EVALUATE = "evaluate {base}/m --data {base}/coco.json --out o --image-size 64"
COMPARE = "compare {base}/m --data {base}/coco.json --out o --image-size 64"
SLIM = "slim --teacher {base}/m --images {base}/photos --out o"
DISTILL = "distill --teacher {base}/m --student {base}/m --data {base}/coco.json --out o"
DISTILL_PLAIN = "distill --teacher {base}/m --student {base}/m --data {base}/photos --out o"
QUANTIZE = "quantize {base}/m --images {base}/photos --out o"
EXPORT = "export {base}/m --to onnx --out o"
COST = "cost {base}/m"
WEB = "web {base}/m --out o"
LONG = "y" * 300

SETTINGS: list[tuple[str, str, str]] = [
    *(
        (command, f"--threads {value}", "threads")
        for command in (POINT, LABEL, EVALUATE, COST, SLIM, QUANTIZE)
        for value in ("0", "-1", "4000000")
    ),
    *(
        (command, f"--image-size {value}", "image.size")
        for command in (POINT, COST, EXPORT, EVALUATE)
        for value in ("65536", "1000000000", "0", "-16", "17")
    ),
    *((command, "--image-size 65536", "image.size") for command in (SLIM, DISTILL, DISTILL_PLAIN, QUANTIZE, COMPARE)),
    *((POINT, f"--device {value}", "device") for value in ("cpu:5", "meta", "cuda:99", "abc", "mps", "xla", "")),
    *((command, "--device meta", "device") for command in (LABEL, EVALUATE, SLIM, DISTILL, QUANTIZE, EXPORT)),
    *((EVERYTHING, f"--points-per-side {value}", "points.per.side") for value in ("0", "-3", "100000", "1000000000")),
    *((command, "--points-per-side 100000", "points.per.side") for command in (FOLDER, LABEL, EVALUATE, COMPARE)),
    *((EVERYTHING, f"--crop-n-layers {value}", "crop.n.layers") for value in ("50", "-1", "1000000000")),
    *((EVERYTHING, f"--points-per-batch {value}", "points.per.batch") for value in ("0", "1000000000")),
    *(
        (EVERYTHING, f"{option} {value}", option.strip("-").replace("-", "."))
        for option in ("--pred-iou-thresh", "--stability-score-thresh", "--box-nms-thresh", "--crop-overlap-ratio")
        for value in ("nan", "2", "-1")
    ),
    (EVERYTHING, "--stability-score-offset inf", "stability.score.offset"),
    (EVERYTHING, "--stability-score-offset nan", "stability.score.offset"),
    (EVERYTHING, "--min-mask-region-area -5", "min.mask.region.area"),
    (EVERYTHING, "--sparse-points-per-side 99 --strategy hierarchical", "sparse.points.per.side"),
    (EVERYTHING, "--refine 5 --strategy hierarchical", "refine"),
    (EVERYTHING, "--high-threshold nan --strategy hierarchical", "high.threshold"),
    *((FOLDER, f"--workers {value}", "workers") for value in ("0", "-1", "1000000")),
    *((LABEL, f"--workers {value}", "workers") for value in ("0", "1000000")),
    *((FOLDER, f"--every {value}", "every") for value in ("0", "-1", "1000000000000")),
    (EVERYTHING, "--every 0", "every"),
    (EVERYTHING, "--workers 0", "workers"),
    *((LABEL, f"--limit {value}", "limit") for value in ("0", "-1")),
    *((EVALUATE, f"--limit {value}", "limit") for value in ("0", "-1")),
    (DISTILL, "--limit 1", "limit"),
    *((LABEL, f"--min-area {value}", "min.area") for value in ("nan", "1", "-1", "inf")),
    *((LABEL, f"--format coco --tolerance {value}", "tolerance") for value in ("nan", "-1", "inf")),
    (LABEL, "--format coco --class ''", "class"),
    (LABEL, "--format nothing", "format"),
    *((POINT, f"--range {value}", "range") for value in ("x", "5,1", "nan,1", "0,inf", "1")),
    *((POINT, f"--page {value}", "page") for value in ("0", "-1")),
    *(
        (command, f"--seed {value}", "seed")
        for command in (EVALUATE, SLIM, QUANTIZE, EXPORT)
        for value in ("-1", "5000000000")
    ),
    (POINT, "--point nan,5", "point"),
    (POINT, "--point 1e400,5", "point"),
    (POINT, "--point 5", "point"),
    (POINT, "--point 5,5,7", "label"),
    (POINT, "--box 1,2,nan,4", "box"),
    (POINT, "--box 1,2,3", "box"),
    (POINT, "--max-pixels 0", "max.pixels"),
    (POINT, "--max-pixels -5", "max.pixels"),
    *(
        (SLIM, f"{option} {value}", option.strip("-").replace("-", "."))
        for option in ("--batch-size", "--micro-batch")
        for value in ("0", "-1", "1000000000000")
    ),
    *(
        (SLIM, f"{option} {value}", option.strip("-").replace("-", "."))
        for option in ("--ratio", "--minutes", "--clip", "--average")
        for value in ("nan", "-1", "inf")
    ),
    (SLIM, "--epochs 0", "epochs"),
    (SLIM, "--steps -1", "steps"),
    (SLIM, "--steps 1000000000000", "steps"),
    (SLIM, "--macs 0", "macs"),
    (SLIM, "--macs nonsense", "macs"),
    (SLIM, "--latency 1e400", "latency"),
    (SLIM, "--like nothing", "nothing"),
    (SLIM, "--labels nothing", "nothing"),
    (SLIM, "--then 'distill \"'", "then"),
    (SLIM, "--then 'export x'", "then"),
    (SLIM, "--then 'distill --steps 0'", "steps"),
    (SLIM, "--then ''", "then"),
    (SLIM, "--latency 0.5 --latency-table nothing", "nothing"),
    *((DISTILL, f"--prompts {value}", "prompts") for value in ("0", "1000000000000")),
    *((DISTILL, f"--rounds {value}", "rounds") for value in ("-1", "1000000000")),
    (DISTILL, "--boxes 2", "boxes"),
    (DISTILL_PLAIN, "--prompts 0", "prompts"),
    (DISTILL_PLAIN, "--pred-iou-thresh 7", "pred.iou.thresh"),
    (DISTILL_PLAIN, "--stability-score-thresh nan", "stability.score.thresh"),
    *((QUANTIZE, f"--weights {value}", "weights") for value in ("0", "1", "9", "64")),
    *(
        (QUANTIZE, f"{option} {value}", option.strip("-").replace("-", "."))
        for option in ("--calibration-images", "--candidates", "--rounds", "--samples")
        for value in ("0", "1000000000000")
    ),
    (QUANTIZE, "--keep-float nothing", "nothing"),
    (QUANTIZE, "--weight-group 0", "weight.group"),
    (EXPORT, "--prompts 0", "prompts"),
    (EXPORT, "--prompts 1000000000", "prompts"),
    (EXPORT, "--least-agreement 2", "least.agreement"),
    (EXPORT, "--int8 --images nothing", "nothing"),
    (EXPORT, "--to nothing", "to"),
    (COST, "--no-measure --table x", "table"),
    (WEB, "--size 3", "size"),
    (WEB, "--size 65536", "size"),
    (WEB, "--serve 99999", "99999"),
    ("serve {base}/m", "--port 99999", "port"),
    ("serve {base}/m", "--max-megabytes nan", "max-megabytes"),
    ("serve {base}/m", "--max-megapixels 1e300", "max"),
    ("serve {base}/m", "--max-prompts 0", "max"),
    ("serve {base}/m", "--timeout nan", "timeout"),
    ("demo --out o", "--minutes nan", "minutes"),
    ("demo --out o", "--minutes 0", "minutes"),
    ("demo --out o", "--image-size 65536", "image.size"),
]

COMMANDS = {
    "segment": POINT,
    "everything": EVERYTHING,
    "folder": f"{FOLDER} --workers 1",
    "label": f"{LABEL} --workers 1",
    "evaluate": EVALUATE,
    "compare": f"{COMPARE} --no-measure",
    "slim": f"{SLIM} --steps 2 --image-size 64",
    "distill": f"{DISTILL} --steps 1 --image-size 64",
    "quantize": f"{QUANTIZE} --image-size 64 --calibration-images 1",
    "export": EXPORT,
    "web": WEB,
}


def _file(here: Path, _base: Path) -> None:
    (here / "file").write_text("kept")


OUTPUTS: list[Row] = [
    Row(f"{name}: output {what}", words.replace("--out o", f"--out {where}"), 2, said, _file)
    for name, words in COMMANDS.items()
    for what, where, said in (
        ("under /proc", "/proc/samlet/o", "/proc"),
        ("of a name too long", LONG, "yyy"),
        ("in a file", "file/o", "file"),
        ("that is a file", "file", "file"),
        ("of no user", "~nobody-such/o", "nobody-such"),
        ("that holds something else", ".", "holds"),
    )
]

ROWS: list[Row] = [
    *(Row(f"{option}", f"{command} {option}", 2, said) for command, option, said in SETTINGS),
    *OUTPUTS,
    Row("a command that is none", "nonsense", 2, "nonsense"),
    Row("no model", "cost", 2, "model"),
    Row("an unknown model", "cost no_such_model", 2, "no_such_model"),
    Row("prompts with --everything", f"{EVERYTHING} --point 1,2", 2, "everything"),
    Row("a table where one is", "cost {base}/m --table t", 2, "exists", written("t", "x")),
    Row(
        "a table that is none",
        f"{SLIM} --latency 0.5 --latency-table t",
        2,
        "t is no latency table",
        written("t", "[" * 50_000 + "]" * 50_000),
    ),
    Row("output on a full disk", POINT.replace("--out o", "--out /dev/full/o"), 2, "/dev/full"),
    Row(
        "the zoo in a terminal without UTF-8", "models", 0, "", seconds=30.0, environment={"PYTHONIOENCODING": "ascii"}
    ),
    Row("no home folder", "models", 0, "", seconds=30.0, environment={"HOME": ""}),
]
