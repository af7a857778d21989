"""Label files: what is written is read back, by samlet and by pycocotools, with holes, parts and a tolerance."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

import samlet
from samlet.cli import main
from samlet.cli.parsers.common import LABEL_FORMATS
from samlet.data.datasets import open_dataset
from samlet.data.images import read_image
from samlet.data.masks import bounding_box, decode_rle, encode_rle, mask_iou, rle_from_segmentation
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything
from samlet.labels import FORMATS, LabelSettings, read_labels
from samlet.labels.rings import joined, region_rings, simplify
from tests.conftest import PHOTOS, make_tiny

FLAGS = ["--points-per-side", "4", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--image-size", "64"]
EXACT = ("jsonl", "png", "sa1b")  # as they are; a label map has no overlaps


def blobs(seed: int, size: tuple[int, int] = (60, 80), share: float = 0.5) -> np.ndarray:
    """A smooth random mask with regions apart and holes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 2.5)
    return noise > np.quantile(noise, 1 - share)


def found(*masks: np.ndarray) -> Everything:
    records = [
        {
            "segmentation": encode_rle(mask),
            "area": int(mask.sum()),
            "bbox": list(bounding_box(mask)),
            "predicted_iou": 0.9,
            "stability_score": 0.8,
            "point_coords": [[1.0, 2.0]],
            "crop_box": [0, 0, mask.shape[1], mask.shape[0]],
        }
        for mask in masks
    ]
    return Everything(records, 4, 0.5, masks[0].shape)


@pytest.fixture
def ring() -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    mask[20:30, 30:45] = False
    mask[35:45, 25:30] = False
    return mask


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(path)
    return path


def write(name, folder, picture, *masks, **settings):
    folder.mkdir()
    writer = FORMATS[name].writer(folder, LabelSettings(**settings))
    writer.write(Entry(picture.name, picture), found(*masks))
    writer.finish()


def filled(rings, size):
    return decode_rle(rle_from_segmentation([joined(rings).ravel().tolist()], *size))


@pytest.mark.parametrize("seed", range(8))
def test_rings_are_exact_and_joined_ones_too(seed):
    mask = blobs(seed, share=0.75) if seed % 2 else np.random.default_rng(seed).random((20, 30)) < 0.6
    regions = region_rings(mask)
    assert any(len(rings) > 1 for rings in regions)
    whole = np.zeros_like(mask)
    for rings in regions:
        part = filled(rings, mask.shape)
        assert not (whole & part).any()
        whole |= part
    assert (whole == mask).all()
    assert (filled([ring for rings in regions for ring in rings], mask.shape) == mask).all()


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_a_simplified_ring_stays_within_its_tolerance(tolerance):
    mask = ndimage.zoom(blobs(3, share=0.7).astype(float), 4, order=1) > 0.5
    before, after = region_rings(mask), region_rings(mask, tolerance)
    points = [sum(len(ring) for rings in regions for ring in rings) for regions in (before, after)]
    assert points[1] < points[0]
    for old, new in zip(before, after, strict=True):
        for a, b in zip(old, new, strict=True):
            starts, ends = b, np.roll(b, -1, 0)
            ways = ends - starts
            along = ((a[:, None] - starts) * ways).sum(-1) / np.maximum((ways**2).sum(-1), 1e-12)
            nearest = starts + np.clip(along, 0, 1)[..., None] * ways
            assert np.linalg.norm(a[:, None] - nearest, axis=-1).min(1).max() <= tolerance + 1e-9
    length = sum(np.linalg.norm(ring - np.roll(ring, -1, 0), axis=1).sum() for rings in before for ring in rings)
    changed = (filled([ring for rings in after for ring in rings], mask.shape) ^ mask).sum()
    assert changed < tolerance * length


def test_a_mask_of_noise_takes_no_longer_than_its_size():
    mask = np.random.default_rng(0).random((150, 200)) < 0.5
    rings = [ring for rings in region_rings(mask) for ring in rings]
    assert len(rings) > 2000
    assert (filled(rings, mask.shape) == mask).all()


def test_what_would_vanish_stays():
    dot = np.zeros((5, 5), bool)
    dot[2, 3] = True
    (rings,) = region_rings(dot, 50.0)
    assert (filled(rings, dot.shape) == dot).all()
    assert len(simplify(np.array([[0.0, 0], [1, 0], [1, 1]]), 9.0)) == 3


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"label-map"}))
def test_every_format_gives_back_what_was_written(name, tmp_path, picture, ring):
    masks = [ring, blobs(1), ring & blobs(2)]
    exact = {"tolerance": 0.0, "class_name": "Büro: 1"} if FORMATS[name].polygons else {}
    write(name, tmp_path / "out", picture, *masks, **exact)
    (image,) = read_labels(tmp_path / "out", name)
    assert (image.name, image.size) == (picture.name, (60, 80))
    for one, mask in zip(image.objects, masks, strict=True):
        assert (decode_rle(one.rle) == mask).all()
        assert one.class_name == ("Büro: 1" if FORMATS[name].classes else "object")
    again = FORMATS[name].writer(tmp_path / "out", LabelSettings(**exact))
    assert again.done() == {picture.name}
    FORMATS[name].clear(tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_label_map_has_the_smallest_on_top(tmp_path, picture, ring):
    write("label-map", tmp_path / "out", picture, ring, ~ring)
    (image,) = read_labels(tmp_path / "out", "label-map")
    assert [(decode_rle(one.rle) == mask).all() for one, mask in zip(image.objects, (ring, ~ring), strict=True)]


def test_pycocotools_reads_the_coco_file(tmp_path, picture, ring):
    masks = [ring, blobs(1)]
    write("coco", tmp_path / "out", picture, *masks, class_name="fish", tolerance=0.0)
    coco = COCO(str(tmp_path / "out" / "instances.json"))
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == ["fish"]
    annotations = coco.loadAnns(coco.getAnnIds())
    for annotation, mask in zip(annotations, masks, strict=True):
        assert (coco.annToMask(annotation).astype(bool) == mask).all()
        assert annotation["area"] == mask.sum()
        assert tuple(annotation["bbox"]) == bounding_box(mask)
    dataset = open_dataset(tmp_path / "out" / "instances.json", images=picture.parent)
    assert [
        (decode_rle(one.rle) == mask).all() for one, mask in zip(next(iter(dataset)).annotations, masks, strict=True)
    ]


def test_labelme_gets_a_mask_for_holes_and_polygons_else(tmp_path, picture, ring):
    apart = np.zeros_like(ring)
    apart[5:10, 5:10] = apart[30:50, 30:70] = True
    write("labelme", tmp_path / "out", picture, ring, apart)
    content = json.loads((tmp_path / "out" / "a photo.json").read_text())
    shapes = content["shapes"]
    assert [(shape["shape_type"], shape["group_id"]) for shape in shapes] == [
        ("mask", 0),
        ("polygon", 1),
        ("polygon", 1),
    ]
    assert shapes[0]["points"] == [[20, 10], [59, 49]]
    assert (tmp_path / "out" / content["imagePath"]).resolve() == picture.resolve()
    shapes += [
        {"label": "b", "shape_type": "rectangle", "points": [[30, 20], [10, 40]]},
        {"label": "b", "points": [[0, 0], [10, 0], [10, 10], [0, 10]], "group_id": None},
    ]
    (tmp_path / "out" / "a photo.json").write_text(json.dumps(content))
    objects = read_labels(tmp_path / "out", "labelme")[0].objects
    assert [one.class_name for one in objects] == ["object", "object", "b", "b"]
    assert [decode_rle(one.rle).sum() for one in objects[2:]] == [400, 100]


def test_an_object_of_yolo_is_one_line_of_shares(tmp_path, picture, ring):
    write("yolo", tmp_path / "out", picture, ring, blobs(1), class_name="fish")
    lines = (tmp_path / "out" / "labels" / "a photo.txt").read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        kind, *values = line.split()
        assert kind == "0"
        assert len(values) % 2 == 0
        assert all(0 <= float(value) <= 1 for value in values)
    assert (tmp_path / "out" / "images" / "a photo.png").read_bytes() == picture.read_bytes()
    assert (tmp_path / "out" / "data.yaml").read_text() == 'train: images\nval: images\nnames:\n  0: "fish"\n'


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("coco", lambda out: (out / "instances.json").write_text("[]"), "expected COCO"),
        ("jsonl", lambda out: (out / "masks.jsonl").write_text("7\n"), "samlet did not write"),
        ("labelme", lambda out: (out / "a photo.json").write_text('{"shapes": []}'), "expected labelme"),
        ("sa1b", lambda out: (out / "a photo.json").write_text('{"annotations": []}'), "expected SA-1B"),
        ("yolo", lambda out: (out / "labels" / "a photo.txt").write_text("0 0.5 x\n"), "line 1, cannot be read"),
        ("yolo", lambda out: (out / "data.yaml").unlink(), "expected names:"),
        ("png", lambda out: (out / "a photo" / "0.png").write_text("x"), "expected the PNG"),
    ],
)
def test_damaged_files_are_named(name, damage, said, tmp_path, picture, ring):
    write(name, tmp_path / "out", picture, ring)
    damage(tmp_path / "out")
    with pytest.raises(InputError, match=said):
        read_labels(tmp_path / "out", name)


def test_settings_that_cannot_be():
    with pytest.raises(InputError, match="tolerance is -1"):
        LabelSettings(tolerance=-1)
    with pytest.raises(InputError, match="expected a name"):
        LabelSettings(class_name=" ")
    with pytest.raises(InputError, match="format sa1b has no classes"):
        FORMATS["sa1b"].settings("fish", None)
    with pytest.raises(InputError, match="format png has no polygons"):
        FORMATS["png"].settings(None, 2.0)
    with pytest.raises(InputError, match="expected one of coco"):
        read_labels(".", "voc")


def test_help_names_every_format():
    assert sorted(LABEL_FORMATS) == list(FORMATS)


def small_photo(name, path):
    with Image.open(PHOTOS / name) as photo:
        photo.resize((96, 72)).save(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    samlet.save(make_tiny(), folder)
    return str(folder)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_folder_in_every_format_and_again(name, model, tmp_path, capsys):
    (tmp_path / "p" / "deep").mkdir(parents=True)
    for source, target in (("cat.jpg", "cat.jpg"), ("bee.jpg", "deep/bee.jpg")):
        small_photo(source, tmp_path / "p" / target)
    out = tmp_path / "out"
    command = [
        "label",
        "--teacher",
        model,
        "--images",
        str(tmp_path / "p"),
        "--out",
        str(out),
        "--workers",
        "1",
        "--json",
    ]
    command += [*FLAGS, "--min-area", "0.01", "--format", name, *(["--class", "fish"] if FORMATS[name].classes else [])]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    images = read_labels(out, name)
    assert {image.name for image in images} == {"cat.jpg", "deep/bee.jpg"}
    assert first["images"] == 2
    assert first["masks"] == sum(len(image.objects) for image in images) > 0
    for image in images:
        assert image.size == read_image(tmp_path / "p" / image.name).shape[:2]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(command) == 0
    capsys.readouterr()
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main([*command, "--points-per-side", "3"]) == 2
    assert "other settings (points_per_side " in capsys.readouterr().err
    assert main([*command, "--points-per-side", "3", "--overwrite"]) == 0
    assert len(read_labels(out, name)) == 2


@pytest.mark.parametrize("name", list(FORMATS))
def test_one_image_in_every_format(name, model, tmp_path, capsys):
    image = tmp_path / "cat.jpg"
    small_photo("cat.jpg", image)
    base = ["segment", str(image), "--model", model, "--image-size", "64", "--format", name, "--json"]
    box = ["--box", "2,2,50,40", "--box", "30,10,90,70", "--out", str(tmp_path / "out")]
    for more in ([], ["--overwrite"]):
        assert main([*base, *box, *more]) == 0
        masks = json.loads(capsys.readouterr().out)["masks"]
        if name == "label-map":
            assert (tmp_path / "out" / "labels.png").is_file()
            continue
        (read,) = read_labels(tmp_path / "out" / "labels", name)
        assert read.name == "cat.jpg"
        for one, mask in zip(read.objects, masks, strict=True):
            assert mask_iou(decode_rle(one.rle), decode_rle(mask["segmentation"])) > (
                0.8 if FORMATS[name].polygons else 0.999
            )
        if name == "labelme":
            content = json.loads((tmp_path / "out" / "labels" / "cat.json").read_text())
            assert (tmp_path / "out" / "labels" / content["imagePath"]).resolve() == image.resolve()
    assert main([*base, "--everything", *FLAGS, "--out", str(tmp_path / "all")]) == 0
    masks = json.loads(capsys.readouterr().out)["masks"]
    if name in EXACT:
        (read,) = read_labels(tmp_path / "all" / "labels", name)
        assert [one.rle for one in read.objects] == [mask["segmentation"] for mask in masks if mask["area"]]


def test_a_class_needs_a_format(model, tmp_path, capsys):
    base = ["segment", str(PHOTOS / "cat.jpg"), "--model", model, "--image-size", "64", "--point", "30,30"]
    assert main([*base, "--class", "fish", "--out", str(tmp_path / "b")]) == 2
    assert "no --format" in capsys.readouterr().err
