from __future__ import annotations

import io
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from resuming import check_resumes_everywhere

import tidemill as tm
from tidemill.data.formats.image import IMAGE
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.steps.images import decode_image
from tidemill.errors import ConfigError, DataError, StateError

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


def make_picture(height: int = 40, width: int = 60) -> Image.Image:
    """Smooth, with no two corners alike."""
    down, across = np.mgrid[0:height, 0:width]
    parts = (down * 255 // max(1, height - 1), across * 255 // max(1, width - 1), (down + across) * 2 % 256)
    return Image.fromarray(np.stack(parts, axis=-1).astype(np.uint8))


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def decode(data: Any, **asked: Any) -> np.ndarray[Any, Any]:
    return decode_image(data, DecodeImage(**asked))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("form", FORMATS)
def test_pixels_are_those_that_pillow_decodes(form: str) -> None:
    """uint8 (height, width, 3), contiguous, writable, whatever the format; larger ones are put together of strips."""
    for height, width in ((40, 60), (700, 900)):
        data = encode(make_picture(height, width), form)
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(image.convert("RGB"))
        pixels = decode(data)
        assert (pixels.shape, pixels.dtype) == ((height, width, 3), np.uint8)
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable
        assert (pixels == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_photo_is_put_together_of_strips(mode: str, orientation: int) -> None:
    """Whichever way it lies, and whatever its colors are made of."""
    data = encode(make_picture(700, 900).convert(mode), "JPEG", exif=turned(orientation))
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        assert (decode(data) == np.asarray(upright.convert("RGB"))).all()


PHOTOS_HELD = """
import sys
from pathlib import Path
import tidemill as tm

def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

photos = tm.read(sys.argv[1])
next(iter(photos.decode_image(size=(8, 8))))
before = kib("VmRSS")
for photo in photos.decode_image():
    pass
print(kib("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process has held")
@pytest.mark.parametrize("orientation", [1, 3])
def test_no_more_than_three_photos_are_held(tmp_path: Path, orientation: int) -> None:
    """The one that the consumer has, and the one that is decoded, which is not held twice."""
    data = encode(make_picture(3_000, 4_000), "JPEG", exif=turned(orientation))
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    command = [sys.executable, "-c", PHOTOS_HELD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) * 1024 < 3 * 3_000 * 4_000 * 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright(form: str, orientation: int) -> None:
    """As Pillow turns it, and to the size asked for, which is that of the upright image."""
    data = encode(make_picture(), form, exif=turned(orientation))
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        assert (decode(data) == np.asarray(upright)).all()
    for fit in ("crop", "pad", "stretch"):
        pixels = decode(data, size=(30, 20), fit=fit)
        assert pixels.shape == (30, 20, 3)
    small = np.asarray(upright.resize((20, 30), Image.Resampling.BICUBIC), int)
    assert np.abs(decode(data, size=(30, 20), fit="stretch") - small).mean() < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_corrupt_orientation_costs_no_image() -> None:
    data = encode(make_picture(), "JPEG", exif=b"Exif\0\0MM\0*nonsense")
    assert decode(data).shape == (40, 60, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_image_is_made_to_fit(form: str) -> None:
    """Its middle kept, on black, or stretched; made larger too."""
    wide = Image.fromarray(
        np.repeat(np.array([[[250, 0, 0]] * 100 + [[0, 250, 0]] * 200 + [[0, 0, 250]] * 100], np.uint8), 200, 0)
    )
    data = encode(wide, form, **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}))

    def at(pixels: np.ndarray[Any, Any], down: float, across: float) -> str:
        pixel = pixels[int(down * pixels.shape[0]), int(across * pixels.shape[1])]
        return "rgb"[int(pixel.argmax())] if pixel.max() > 128 else "-"

    for size in ((20, 20), (50, 50), (300, 300)):
        crop, pad, stretch = (decode(data, size=size, fit=fit) for fit in ("crop", "pad", "stretch"))
        assert [at(crop, 0.5, across) for across in (0.03, 0.5, 0.97)] == ["g", "g", "g"]
        assert [at(stretch, 0.02, across) for across in (0.05, 0.5, 0.95)] == ["r", "g", "b"]
        assert [at(pad, 0.5, across) for across in (0.05, 0.5, 0.95)] == ["r", "g", "b"]
        assert [at(pad, down, 0.5) for down in (0.1, 0.3, 0.7, 0.9)] == ["-", "g", "g", "-"]


def test_a_smaller_image_is_about_the_one_that_is_resampled_whole() -> None:
    """A JPEG is decoded to an eighth and less than that is never read of it; what is kept stays where it was."""
    picture = make_picture(1200, 1600)
    for form in ("JPEG", "PNG"):
        data = encode(picture, form)
        small = ImageOps.fit(picture, (90, 110), Image.Resampling.BICUBIC)
        off = np.abs(decode(data, size=(110, 90)).astype(int) - np.asarray(small, int))
        assert off.mean() < 4


def test_modes_are_made_of_each_other() -> None:
    """Palettes, gray, transparency, CMYK, two tones and 16 bits; 32 bits a channel have no scale."""
    picture = make_picture()
    shapes = {"RGB": (40, 60, 3), "RGBA": (40, 60, 4), "L": (40, 60)}
    made = [picture.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    encoded = [encode(image) for image in made] + [encode(picture.convert("CMYK"), "JPEG")]
    for data in encoded:
        for mode, shape in shapes.items():
            assert decode(data, mode=mode).shape == shape
            assert decode(data, mode=mode, size=(8, 8)).shape == (8, 8, *shape[2:])
    deep = Image.fromarray((np.arange(2400, dtype=np.uint16) * 27).reshape(40, 60))
    assert (decode(encode(deep), mode="L") == np.asarray(deep) >> 8).all()
    with pytest.raises(DataError, match=r"expected an image of 8 or 16 bits a channel, got one of 32 \(mode `F`\)"):
        decode(encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize(("form", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_of_an_animation_so_many_frames_are_given(form: str, options: dict[str, Any]) -> None:
    """The first alone, or several along an axis of their own; no more are decoded than are asked for."""
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)]
    first, *rest = [Image.new("RGB", (6, 4), colour) for colour in colours]
    data = encode(first, form, save_all=True, append_images=rest, duration=50, **options)
    assert decode(data).shape == (4, 6, 3)
    for frames, given in ((1, 1), (3, 3), (9, 4)):
        pixels = decode(data, frames=frames)
        assert pixels.shape == (given, 4, 6, 3)
        assert [tuple(map(int, frame[0, 0])) for frame in pixels] == colours[:given]
    assert decode(data, frames=2, max_pixels=2 * 24).shape == (2, 4, 6, 3)
    with pytest.raises(DataError, match="expected an image of at most 60 pixels, got 6 × 4 in 3 frames"):
        decode(data, frames=9, max_pixels=60)


def test_frames_of_several_sizes_need_one() -> None:
    pages = [make_picture(4, 6), make_picture(8, 2)]
    data = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"(?s)expected frames of one size, got \(4, 6\) and \(8, 2\).*size="):
        decode(data, frames=2)
    assert decode(data, frames=2, size=(4, 4)).shape == (2, 4, 4, 3)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says this size, and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def large(form: str, side: int) -> bytes:
    """An image whose header says so many pixels a side."""
    data = bytearray(encode(make_picture(8, 8), form, **({"lossless": True} if form == "WEBP" else {})))
    if form == "PNG":
        return png_of(side, side)
    if form == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = side.to_bytes(2, "big") * 2
    elif form == "GIF":
        data[6:10] = side.to_bytes(2, "little") * 2
    elif form == "BMP":
        data[18:26] = side.to_bytes(4, "little") * 2
    elif form == "WEBP":
        side = min(side, 16_384)
        data[21:25] = ((side - 1) | (side - 1) << 14).to_bytes(4, "little")
    else:
        for tag in (256, 257):
            at = data.index(tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + b"\1\0\0\0")
            data[at + 8 : at + 12] = side.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("form", FORMATS)
def test_a_bomb_is_told_by_its_header(form: str) -> None:
    """Nothing is decoded, and no room made for it: not what a gigapixel would take."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        DataError, match=r"expected an image of at most 67,108,864 pixels, got [\d,]+ × [\d,]+\n"
    ) as told:
        decode(large(form, 30_000))
    assert told.value.hint == "raise max_pixels if such images are meant"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 64_000  # KiB


def test_pillows_own_guard_is_not_what_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a number of the whole process, which others may have changed; ours is the step's."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(encode(make_picture())).shape == (40, 60, 3)
    with pytest.raises(DataError, match="expected an image of at most 2,399 pixels, got 60 × 40"):
        decode(encode(make_picture()), max_pixels=2399)
    with pytest.raises(DataError, match="expected an image of at most 10 bytes, got"):
        decode(encode(make_picture()), max_bytes=10)


CORRUPT: dict[str, tuple[Callable[[bytes], Any], str]] = {
    "cut": (lambda data: data[: len(data) // 2], "the image cannot be decoded: "),
    "only a header": (lambda data: data[:12], "the image cannot be decoded: "),
    "text": (
        lambda data: b"<html>",
        "expected an image in JPEG, PNG, WebP, GIF, BMP or TIFF, got bytes that begin with",
    ),
    "empty": (lambda data: b"", "expected an image in JPEG, PNG, WebP, GIF, BMP or TIFF, got no bytes"),
    "a text": (lambda data: "image", "expected the bytes of an image in `image`, got a str"),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("spoil", "told"), CORRUPT.values(), ids=list(CORRUPT))
def test_what_is_no_image_costs_its_record(form: str, spoil: Callable[[bytes], Any], told: str, tmp_path: Path) -> None:
    """In threads too; the others come, in order, and it is kept whole."""
    good = encode(make_picture(), form)
    rows = [{"n": n, "image": spoil(good) if n == 2 else good} for n in range(5)]
    for concurrency in (1, 3):
        stream = tm.from_iterable(rows).decode_image(size=(8, 8), concurrency=concurrency)
        records = stream.iterate()
        assert [next(records)["n"] for _ in range(2)] == [0, 1]
        with pytest.raises(DataError, match=r"(?s).*") as caught:
            next(records)
        assert caught.value.message.startswith(told)
        assert caught.value.step == "decode_image"
        assert [record["n"] for record in records] == [3, 4]
        assert len(list(stream.catch(to=tmp_path / "failed.jsonl"))) == 4
        assert list(tm.replay(tmp_path / "failed.jsonl")) == rows[2:3]


def test_random_bytes_behind_a_header_are_outcomes() -> None:
    """No decoder's own error comes through."""
    rng = np.random.default_rng(0)
    for form in FORMATS:
        data = encode(make_picture(), form)
        for _ in range(40):
            raw = bytearray(data)
            for at in rng.integers(2, len(raw), 3):
                raw[at] = rng.integers(256)
            try:
                assert decode(raw, size=(8, 8)).shape == (8, 8, 3)
            except DataError as error:
                assert error.message  # noqa: PT017 - either is right


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes in folders, one of six images corrupt, and what is none."""
    for n in range(6):
        folder = tmp_path / "photos" / ("class=cat" if n % 2 else "class=dog")
        folder.mkdir(parents=True, exist_ok=True)
        data = encode(make_picture(30 + n, 40), "JPEG" if n % 2 else "PNG")
        (folder / f"{n}.{'jpg' if n % 2 else 'PNG'}").write_bytes(data[:99] if n == 4 else data)
        (folder / ".hidden.jpg").write_bytes(b"")
    return tmp_path / "photos"


def test_a_folder_of_images_is_a_stream_of_pixels(photos: Path) -> None:
    """By name, each a record, with its place, and the columns that folders give."""
    records = list(tm.read(photos / "**/*.jpg"))
    assert [Path(record["path"]).name for record in records] == ["1.jpg", "3.jpg", "5.jpg"]
    assert records[0]["image"] == (photos / "class=cat" / "1.jpg").read_bytes()
    stream = tm.read(photos).decode_image(size=(16, 16), concurrency=2)
    found = check_resumes_everywhere(lambda state: stream.select("class", "path").iterate(state))
    assert [outcome[1]["class"] if outcome[0] == "record" else "" for outcome in found] == [
        *["cat"] * 3,
        "dog",
        "dog",
        "",
    ]
    assert sum(len(list(tm.read(photos).shard(rank, 2))) for rank in range(2)) == 6


def test_images_by_number(photos: Path) -> None:
    """A folder of them is a dataset; decoded when one is asked for."""
    data = tm.dataset(photos / "class=cat").decode_image(size=(16, 16))
    assert (len(data), data.columns) == (3, ("image", "path"))
    assert data[-1]["image"].shape == (16, 16, 3)
    batch = tm.collate([{"image": record["image"]} for record in data])
    assert (batch["image"].shape, batch["image"].dtype) == (torch.Size([3, 16, 16, 3]), torch.uint8)
    pixels = data[0]["image"]
    assert torch.from_numpy(pixels).data_ptr() == pixels.ctypes.data


def test_files_that_are_no_records_are_told(tmp_path: Path) -> None:
    """Empty ones, larger ones than are taken; one that changed is another."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg, byte 0: expected a record, got an empty file"):
        next(tm.read(path).iterate())
    with pytest.raises(DataError, match="expected a record, got an empty file"):
        tm.dataset(path)[0]
    reader = IMAGE.open(path)
    with pytest.raises(DataError, match="empty"):
        next(reader)
    state = reader.state()
    path.write_bytes(b"x" * 200_000)
    assert IMAGE.compare(path, state) == "grown"
    assert next(IMAGE.open(path, state))["image"] == b"x" * 200_000
    with pytest.raises(DataError, match="expected at most 1,000 bytes in a file, got 200,000"):
        next(tm.read(path, max_line_bytes=1000).iterate())
    reader = IMAGE.open(path)
    next(reader)
    state = reader.state()
    path.write_bytes(b"x" * 200_001)
    with pytest.raises(StateError, match="the file was edited before byte 200000"):
        IMAGE.open(path, state)


def test_the_step_is_told_what_is_wrong_with_it() -> None:
    stream = tm.from_iterable([{"image": b""}])
    with pytest.raises(ConfigError, match="size"):
        stream.decode_image(size=(0, 4))
    with pytest.raises(ConfigError, match="crop"):
        stream.decode_image(fit="crap")  # type: ignore[arg-type]


MEASURE = """
import sys, resource, tidemill as tm
data = open(sys.argv[1], "rb").read()
def make(count):
    for n in range(count):
        yield {"image": data}
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
def run(count, size):
    workers = int(sys.argv[2])
    for record in tm.from_iterable(lambda: make(count)).decode_image(size=size, concurrency=workers):
        assert record["image"].dtype == "uint8"
run(4, (8, 8))
empty = peak()
run(int(sys.argv[3]), None)
print(peak() - empty)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much a process held")
@pytest.mark.parametrize("workers", [1, 2])
def test_large_images_are_held_a_few_at_a_time(tmp_path: Path, workers: int) -> None:
    """Three images as Pillow holds them a worker, the one that the consumer has among them."""
    width, height = 2000, 1500
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(make_picture(height, width), "JPEG"))
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, path, str(workers), "6"], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 3 * workers * width * height * 4


def write_job(folder: Path, *steps: str) -> tm.Job:
    lines = "\n".join(f"  - {step}" for step in steps)
    (folder / "job.yaml").write_text(f"source: {{path: 'photos/**/*'}}\nsteps:\n{lines}\nsink: {{path: out}}\n")
    return tm.load_job(folder / "job.yaml")


def test_a_job_file_is_checked_before_it_runs(photos: Path) -> None:
    """A column that no record has, a shape that is none, threads where a job has none; each at its place."""
    folder = photos.parent
    predict = "predict: {model: builtins:len, column: image}"
    for steps, told in {
        ("decode_image: imag", predict): r"job.yaml:3:19  .*expected a column `imag`, got `image`, `path`",
        (predict, "decode_image: {column: imag}"): r"job.yaml:4:28  .*no record has a column `imag`",
        (predict, "decode_image: {concurrency: 4}"): r"behind a call no function has workers of its own",
        (
            "decode_image: {size: [0, 4]}",
            predict,
        ): r"job.yaml:3:27  `steps.0.decode_image.size.0`: expected an integer >= 1",
        ("decode_image: {fitt: pad}", predict): r"did you mean `fit`\?",
    }.items():
        with pytest.raises(ConfigError, match=told):
            write_job(folder, *steps).check()


def measure_light(batch: list[Any]) -> list[float]:
    return [float(pixels.mean()) for pixels in batch]


def test_a_job_lands_what_it_can_decode_and_quarantines_the_rest(photos: Path) -> None:
    """With the bytes as they came; the same steps as a chain are the same job."""
    predict = "predict: {model: 'test_image_streams:measure_light', column: image, into: light}"
    decode_step = "decode_image: {size: [8, 8], concurrency: 2}"
    job = write_job(photos.parent, decode_step, predict, "select: [path, light]")
    chain = tm.read("photos/**/*").decode_image(size=(8, 8), concurrency=2)
    assert job.spec.steps[0] == chain.pipeline[0]
    report = job.run(progress=False)
    assert (report.records["landed"], report.records["quarantined"]) == (5, 1)
    assert sorted(tm.dataset(photos.parent / "out")[0]) == ["light", "path"]
