"""Datasets in every published layout: the same masks whatever file they come from."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy import io as scipy_io

import samlet
from samlet.data.datasets import open_dataset
from samlet.data.masks import decode_rle, encode_rle
from tests.conftest import peak_growth

HEIGHT, WIDTH = 40, 60


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def label_map() -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[:20, :30], labels[20:, 10:50], labels[0:5, 50:60] = 1, 700, 1  # label 1 in two pieces
    labels[39, 59] = 9  # too small to be a region
    return labels


def entries() -> list[dict]:
    labels = label_map()
    masks = [labels == 700, np.indices((HEIGHT, WIDTH))[1] < 7]
    return [{"segmentation": encode_rle(m), "point_coords": [[20.5, 30]], "id": i} for i, m in enumerate(masks)]


def masks_of(dataset) -> list[list[np.ndarray]]:
    return [[decode_rle(a.rle) for a in sample.annotations] for sample in dataset]


def coco(path, count, lvis=False, order=("images", "annotations")):
    parts = {
        "images": [
            {"id": 10 + i, "height": HEIGHT, "width": WIDTH}
            | ({"coco_url": f"http://images/val2017/{i}.png"} if lvis else {"file_name": f"{i}.png"})
            for i in range(count)
        ],
        "annotations": [
            {**e, "id": 2 * i + e["id"], "image_id": 10 + i, "category_id": 3} for i in range(count) for e in entries()
        ],
        "info": {"annotations": "not these"},
    }
    path.write_text(json.dumps({key: parts[key] for key in (*order, "info")}))
    return path


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(3):
        Image.fromarray(picture(i)).save(images / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("order", [("images", "annotations"), ("annotations", "images")])
@pytest.mark.parametrize("lvis", [False, True])
def test_coco_and_lvis(folder, order, lvis):
    dataset = open_dataset(coco(folder / "a.json", 3, lvis, order))
    assert (dataset.kind, dataset.size) == ("coco", 3)
    assert [sample.identity for sample in dataset] == [10, 11, 12]
    for sample, i in zip(dataset, range(3), strict=True):
        assert np.array_equal(sample.image(), picture(i))
        assert sample.annotations[0].point == (20.5, 30)
    assert all(np.array_equal(masks[0], label_map() == 700) for masks in masks_of(dataset))
    assert [s.path.name for s in dataset.share(1, 2)] == ["1.png"]
    assert [s.path.name for s in dataset.shuffled(0).head(2)] == [s.path.name for s in list(dataset.shuffled(0))[:2]]


def test_lvis_images_in_the_folder_of_their_split(folder):
    (folder / "split" / "val2017").mkdir(parents=True)
    for i in range(3):
        (folder / "images" / f"{i}.png").rename(folder / "split" / "val2017" / f"{i}.png")
    dataset = open_dataset(coco(folder / "a.json", 3, lvis=True), folder / "split")
    assert np.array_equal(next(iter(dataset)).image(), picture(0))


def test_a_large_json_costs_no_memory(folder):
    path = coco(folder / "a.json", 1)
    content = json.loads(path.read_text())
    one = json.dumps(content["annotations"][0])
    other = json.dumps({"image_id": 99, "segmentation": [[float(n) for n in range(200)]]})
    with path.open("w") as file:
        file.write('{"images": ' + json.dumps(content["images"]) + ', "annotations": [' + one)
        for _ in range(12_000):
            file.write(f",{other}")
        file.write("]}")
    read = []
    grown = peak_growth(lambda: read.append(next(iter(open_dataset(path)))))
    assert len(read[0].annotations) == 1
    assert grown < path.stat().st_size / 2


def shard(path, names, prefix=""):
    with tarfile.open(path, "w") as archive:
        for name, seed in names:
            stream = io.BytesIO()
            Image.fromarray(picture(seed)).save(stream, "png")
            for suffix, data in ((".json", sidecar(name)), (".png", stream.getvalue())):
                member = tarfile.TarInfo(f"{prefix}{name}{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def sidecar(name):
    return json.dumps({"image": {"file_name": f"{name}.png"}, "annotations": entries()}).encode()


def test_shards_in_place(tmp_path):
    shard(tmp_path / "b.tar", [("sa_2", 2)], "./")
    shard(tmp_path / "a.tar", [("sa_0", 0), ("sa_1", 1)])
    dataset = open_dataset(tmp_path)
    assert (dataset.kind, dataset.size, dataset.without_masks) == ("sa1b", 3, 0)
    for sample, i in zip(dataset, range(3), strict=True):
        assert sample.path.name == f"sa_{i}.png"
        assert np.array_equal(sample.image(), picture(i))
        assert len(sample.annotations) == 2
    assert open_dataset(tmp_path / "b.tar").size == 1


def test_damaged_shards(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(samlet.InputError, match="cannot be read as a tar file"):
        open_dataset(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("readme.txt"))
    with pytest.raises(samlet.InputError, match=r"no ID\.jpg beside"):
        open_dataset(tmp_path / "a.tar")
    path = shard(tmp_path / "a.tar", [("sa_0", 0), ("sa_1", 1)])
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"annotations"', b'"annotation!"', 1))
    with pytest.raises(samlet.InputError, match="no 'annotations'"):
        list(open_dataset(path))


@pytest.mark.parametrize("kind", ["png", "mat"])
@pytest.mark.parametrize("apart", [False, True])
def test_label_maps(tmp_path, kind, apart):
    images, maps = tmp_path / "images", tmp_path / ("maps" if apart else "images")
    images.mkdir()
    maps.mkdir(exist_ok=True)
    Image.fromarray(picture(0)).save(images / "x.jpg")
    Image.fromarray(picture(1)).save(images / "alone.jpg")
    if kind == "png":
        Image.fromarray(label_map()).save(maps / "x.png")
    else:
        people = [np.ones((HEIGHT, WIDTH), np.uint16), label_map(), np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)]
        cells = np.empty((1, 3), object)
        for i, person in enumerate(people):
            cells[0, i] = {"Segmentation": person.astype(np.uint16), "Boundaries": person > 0}
        scipy_io.savemat(maps / "x.mat", {"groundTruth": cells})
    dataset = open_dataset(maps, images) if apart else open_dataset(images)
    assert (dataset.kind, dataset.size, dataset.without_masks) == ("label maps", 1, 1)
    found = masks_of(dataset)[0]
    assert [int(mask.sum()) for mask in found] == [600, 50, 800]
    assert np.array_equal(found[2], label_map() == 700)


def test_damaged_label_maps(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "x.jpg")
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(samlet.InputError, match="is no label map"):
        list(open_dataset(tmp_path))


def test_a_photograph_in_two_formats_is_no_label_map(tmp_path):
    for suffix in ("jpg", "png"):
        Image.fromarray(picture(0)).save(tmp_path / f"x.{suffix}")
    assert open_dataset(tmp_path).kind == "images"
