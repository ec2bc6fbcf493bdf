"""CIFAR files are read; missing, damaged and malicious ones are refused and named."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.errors import UserError
from quant.data.pickled_arrays import read_pickle
from quant.data.registry import load


def write(file: Path, content: dict) -> None:
    """Pickle as the official files are: by Python 2, with byte strings for keys."""
    file.parent.mkdir(parents=True, exist_ok=True)
    encoded = {key.encode(): value for key, value in content.items()}
    file.write_bytes(pickle.dumps(encoded, protocol=2))


def batch(count: int, key: str, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, 3072)).astype(np.uint8)
    return {"data": data, key: [int(n) for n in rng.integers(0, 10, count)]}


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    write(folder / "batches.meta", {"label_names": [b"class%d" % n for n in range(10)]})
    write(folder / "data_batch_1", batch(5, "labels", 1))
    write(folder / "test_batch", batch(4, "labels", 2))
    return folder


def test_cifar10_takes_the_folder_or_its_parent_and_whatever_batches_there_are(
    cifar10: Path,
) -> None:
    dataset = load("cifar10", cifar10)
    sizes = len(dataset.train), len(dataset.held_out), len(dataset.test)
    assert (sizes, dataset.shape) == ((4, 1, 4), (3, 32, 32))
    assert dataset.classes[3] == "class3"
    assert torch.equal(load("cifar10", cifar10.parent).test.images, dataset.test.images)
    write(cifar10 / "data_batch_2", batch(7, "labels", 3))
    dataset = load("cifar10", cifar10)
    assert len(dataset.train) + len(dataset.held_out) == 12
    expected = batch(4, "labels", 2)
    assert torch.equal(dataset.test.labels, torch.tensor(expected["labels"]))
    assert dataset.test.images[2, 1, 0, 5] == expected["data"][2, 1024 + 5]


def test_cifar100_reads_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    write(folder / "meta", {"fine_label_names": [b"n%d" % n for n in range(100)]})
    write(folder / "train", batch(6, "fine_labels", 1))
    write(folder / "test", batch(3, "fine_labels", 2))
    dataset = load("cifar100", tmp_path)
    assert (len(dataset.train), len(dataset.held_out)) == (5, 1)
    assert (len(dataset.test), len(dataset.classes)) == (3, 100)


@pytest.mark.parametrize("missing", ["batches.meta", "data_batch_1", "test_batch"])
def test_a_missing_file_is_named(cifar10: Path, missing: str) -> None:
    (cifar10 / missing).unlink()
    with pytest.raises(UserError, match=f"{missing}: not found"):
        load("cifar10", cifar10)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such directory"):
        load("cifar10", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"batches\.meta: not found"):
        load("cifar10", tmp_path)
    with pytest.raises(UserError, match="cifar100 needs --data DIR"):
        load("cifar100", None)


def test_damaged_files_are_named(cifar10: Path) -> None:
    whole = (cifar10 / "test_batch").read_bytes()
    (cifar10 / "test_batch").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="test_batch: not a readable pickle of arrays"):
        load("cifar10", cifar10)
    shutil.rmtree(cifar10 / "test_batch", ignore_errors=True)
    write(cifar10 / "test_batch", {"data": np.zeros((2, 9), dtype=np.uint8), "labels": [0, 0]})
    with pytest.raises(UserError, match="test_batch: data is not an array"):
        load("cifar10", cifar10)
    write(cifar10 / "test_batch", {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [0]})
    with pytest.raises(UserError, match="test_batch: labels does not have one label"):
        load("cifar10", cifar10)
    write(cifar10 / "test_batch", {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]})
    with pytest.raises(UserError, match=r"test_batch: labels leaves 0 \.\. 9"):
        load("cifar10", cifar10)
    write(cifar10 / "batches.meta", {"other": []})
    with pytest.raises(UserError, match=r"batches\.meta: has no label_names"):
        load("cifar10", cifar10)


class Malicious:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pwned",)


def test_a_pickle_that_would_run_something_is_refused(
    cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cifar10)
    write(cifar10 / "test_batch", {"data": Malicious()})
    with pytest.raises(UserError, match=r"test_batch: .* holds a .*\.mkdir"):
        load("cifar10", cifar10)
    assert not (cifar10 / "pwned").exists()


ARRAY = (
    b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n"
    b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R"
)
"""The beginning of a pickled dict whose entry `data` is an array that is not filled yet."""
UINT8 = (
    b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def filled(shape: bytes, dtype: bytes, content: bytes, more: bytes = b"") -> bytes:
    return ARRAY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb" + more + b"u."


ONE_IMAGE = b"T\x00\x0c\x00\x00" + bytes(3072)


ONE, LABELS = b"K\x01M\x00\x0c\x86", b"U\x06labels"


def nested(first: bytes, last: bytes) -> bytes:
    """60 lists or tuples, each of which holds the one before twice: 2**60 steps to walk them."""
    value = b")q\x00"
    for level in range(60):
        value = first + value + b"h%c" % level + last + b"q%c" % (level + 1)
    return value


HOSTILE = {
    # numpy's own types are called with arguments that crash them, or are left half made.
    "an array type that is called": b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x85R.",
    "an array of a type of its own": b"\x80\x02}U\x04datacnumpy\ndtype\nU\x01O\x85Rs.",
    "a type that is no type": b"\x80\x02cnumpy\ndtype\n)\x81(K\x03U\x01<NNNK\x00K\x00K\x00tb.",
    "an array that is never filled": ARRAY + b"u.",
    "a shape larger than the bytes": filled(b"J\xff\xff\xff\x7fM\x00\x0c\x86", UINT8, b"U\x01x"),
    "a negative shape": filled(b"J\xff\xff\xff\xffM\x00\x0c\x86", UINT8, ONE_IMAGE),
    "a shape of lists": filled(b"]]\x86", UINT8, ONE_IMAGE),
    "objects": filled(ONE, UINT8.replace(b"u1", b"O8"), ONE_IMAGE),
    "numbers in place of bytes": filled(ONE, UINT8, b"]K\x01a"),
    "labels nested 60 deep": filled(ONE, UINT8, ONE_IMAGE, LABELS + nested(b"](", b"e")),
    "a key that is a tuple": b"\x80\x02}" + nested(b"(", b"t") + b"K\x01s.",
    "a string that is copied often": b"\x80\x02T\x00\x00\x01\x00"
    + bytes(1 << 16)
    + b"q\x000"
    + b"c_codecs\nencode\nX\x01\x00\x00\x00ah\x00\x86R0" * 1000
    + b"N.",
    "only a number": b"\x80\x02K\x01.",
    "nothing": b"",
    "a stack that is empty": b"\x80\x02b.",
}


def test_a_pickle_that_is_built_as_the_hostile_ones_are_is_read(cifar10: Path) -> None:
    content = filled(ONE, UINT8, ONE_IMAGE, LABELS + b"](K\x07e")
    assert pickle.loads(content)["labels"] == [7]
    (cifar10 / "test_batch").write_bytes(content)
    test = load("cifar10", cifar10).test
    assert test.labels.tolist() == [7]
    assert test.images.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused_at_once(cifar10: Path, content: bytes) -> None:
    (cifar10 / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match="test_batch: "):
        load("cifar10", cifar10)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i8"])
def test_arrays_of_every_protocol_are_read(tmp_path: Path, protocol: int, dtype: str) -> None:
    array = np.asfortranarray(np.arange(12).reshape(3, 4).astype(dtype))
    (tmp_path / "file").write_bytes(pickle.dumps({"a": array, "b": [1, b"x"]}, protocol))
    content = read_pickle(tmp_path / "file", "")
    np.testing.assert_array_equal(content["a"].value, array)
    assert content["b"] == [1, b"x"]


def test_stray_files_are_no_training_data(cifar10: Path) -> None:
    images = len(load("cifar10", cifar10).train)
    for stray in ("data_batch_1.bak", "data_batch_1 (copy)", "data_batch_6", "data_batch_1~"):
        shutil.copyfile(cifar10 / "data_batch_1", cifar10 / stray)
    assert len(load("cifar10", cifar10).train) == images


def test_a_pipe_in_place_of_a_file_is_refused(cifar10: Path) -> None:
    (cifar10 / "test_batch").unlink()
    os.mkfifo(cifar10 / "test_batch")
    with pytest.raises(UserError, match="test_batch: not readable: it is no regular file"):
        load("cifar10", cifar10)
