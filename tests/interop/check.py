"""Opens what exitwave writes with the readers of others: h5py, tifffile, mrcfile, numpy, and zarr where it is installed.

usage: check.py CONVERT FOLDER, where CONVERT is the built example `convert`.
"""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import tifffile

convert, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)
checked = 0


def make(array, name, ending):
    source, target = folder / f"{name}.npy", folder / f"{name}.{ending}"
    np.save(source, array)
    subprocess.run([convert, source, target], check=True, stdout=subprocess.DEVNULL)
    return target


def same(name, got, want):
    global checked
    assert got.shape == want.shape, f"{name}: {got.shape}, expected {want.shape}"
    assert got.dtype == want.dtype, f"{name}: {got.dtype}, expected {want.dtype}"
    assert np.array_equal(got, want), name
    checked += 1


def sample(shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)


for k, dtype in enumerate("u1 i1 u2 i2 u4 i4 u8 i8 f4 f8 c8 c16".split()):
    for shape in [(5,), (4, 3), (2, 3, 4), (2, 3, 4, 5)]:
        want = sample(shape, dtype)
        name = f"{dtype}_{len(shape)}"
        with h5py.File(make(want, name, "h5")) as file:
            (group,) = file.values()
            assert group.attrs["emd_group_type"] == 1
            same(f"h5 {name}", group["data"][...], want)
            for axis, n in enumerate(shape):
                dim = group[f"dim{axis + 1}"]
                assert dim.shape == (n,) and isinstance(dim.attrs["units"], (str, bytes)), name
        same(f"npy {name}", np.load(make(want, name + "b", "npy")), want)
        with np.load(make(want, name, "npz")) as file:
            same(f"npz {name}", file[file.files[0]], want)

for dtype in "i1 i2 u2 f4".split():
    for shape in [(4, 3), (2, 3, 4)]:
        want = sample(shape, dtype)
        path = make(want, f"mrc_{dtype}_{len(shape)}", "mrc")
        assert mrcfile.validate(path), path
        with mrcfile.open(path) as file:
            same(f"mrc {dtype} {shape}", file.data, want)

for dtype in "u2 f4".split():
    for shape in [(4, 3), (2, 3, 4)]:
        want = sample(shape, dtype)
        same(f"tiff {dtype} {shape}", tifffile.imread(make(want, f"tif_{dtype}_{len(shape)}", "tif")), want)

try:
    import zarr
except ImportError:
    zarr = None
if zarr is not None and int(zarr.__version__.split(".")[0]) >= 3:
    for dtype in "u2 f4 c8".split():
        for shape in [(4, 3), (2, 3, 4)]:
            want = sample(shape, dtype)
            same(f"zarr {dtype} {shape}", zarr.open(make(want, f"zarr_{dtype}_{len(shape)}", "zarr"), mode="r")[...], want)

print(json.dumps({"checked": checked, "zarr": zarr is not None}))
