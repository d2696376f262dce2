"""Compares HDF5 files with what was expected, many in one process.

    compare_h5.py PAIRS.json

PAIRS.json is a list of {"label", "h5", "vectors", "ids", "tolerance", "order", "metric", "row_numbers"}. Prints a line
for each pair that differs: label, a tab, how. Its exit code is 0 even then; the caller reads the lines.
"""

import json
import sys

import h5py
import numpy as np


def words(rows):
    """Rows as whole numbers, so that equal means equal bits."""
    return rows.view(np.uint32) if rows.dtype == np.float32 else rows


def keys(ids, rows):
    """A key for each row that sorts by id, then by bytes."""
    key = np.empty(len(ids), dtype=[("id", np.int64), ("row", f"V{max(1, rows.dtype.itemsize * rows.shape[1])}")])
    key["id"] = ids
    if rows.shape[1]:
        key["row"] = np.ascontiguousarray(rows).view(key.dtype["row"]).ravel()
    # numpy does not order void; bytes of the row as an object do.
    return sorted(range(len(ids)), key=lambda i: (ids[i], key["row"][i].tobytes()))


def first_difference(got, want, tolerance):
    if tolerance == 0:
        differ = words(got) != words(want)
    else:
        off = np.abs(got.astype(np.float64) - want.astype(np.float64))
        differ = ~((off <= tolerance * np.maximum(1, np.abs(want))) | (words(got) == words(want)))
    if not differ.any():
        return None
    row, column = np.argwhere(differ)[0]
    count = int(differ.any(axis=1).sum())
    return f"{count} of {len(got)} rows differ; row {row} component {column}: {got[row, column]!r}, expected {want[row, column]!r}"


def problem(pair):
    want, want_ids = np.load(pair["vectors"]), np.load(pair["ids"])
    with h5py.File(pair["h5"], "r") as file:
        for name in ("embeddings", "ids"):
            if name not in file:
                return f"has no dataset {name}"
        got, ids, attributes = file["embeddings"][()], file["ids"][()], dict(file.attrs)
    if got.dtype != want.dtype or ids.dtype != np.int64:
        return f"types {got.dtype} and {ids.dtype}, expected {want.dtype} and int64"
    if got.shape != want.shape or ids.shape != (len(want),):
        return f"shapes {got.shape} and {ids.shape}, expected {want.shape} and {(len(want),)}"
    dimension = want.shape[1] * (8 if want.dtype == np.uint8 else 1)
    if attributes.get("dimension") != dimension:
        return f"dimension {attributes.get('dimension')!r}, expected {dimension}"
    metric = attributes.get("metric_type")
    metric = metric.decode() if isinstance(metric, bytes) else metric
    if metric not in pair["metric"]:
        return f"metric_type {metric!r}, expected {' or '.join(pair['metric'])}"
    if pair["row_numbers"]:
        if not np.array_equal(ids, np.arange(len(want))):
            return f"ids are not row numbers: {ids[:8]}"
        # Rows of lists come in an order of their own: those are compared without their ids.
        want_ids = ids if pair["order"] == "stored" else np.zeros_like(ids)
        ids = want_ids
    if pair["order"] == "any" and pair["tolerance"] == 0:
        a, b = keys(ids, got), keys(want_ids, want)
        got, ids, want, want_ids = got[a], ids[a], want[b], want_ids[b]
    elif pair["order"] == "any" and not pair["row_numbers"]:
        # Within a tolerance, only rows of distinct ids can be told apart.
        a, b = np.argsort(ids, kind="stable"), np.argsort(want_ids, kind="stable")
        got, ids, want, want_ids = got[a], ids[a], want[b], want_ids[b]
    elif pair["order"] == "any":
        return None
    if not np.array_equal(ids, want_ids):
        row = int(np.argmax(ids != want_ids))
        return f"ids differ: row {row} has {ids[row]}, expected {want_ids[row]}"
    return first_difference(got, want, pair["tolerance"])


def main():
    with open(sys.argv[1]) as file:
        pairs = json.load(file)
    for pair in pairs:
        try:
            found = problem(pair)
        except Exception as error:  # A file that cannot be read is a difference like any other.
            found = f"{type(error).__name__}: {error}"
        if found:
            print(f"{pair['label']}\t{found}")


if __name__ == "__main__":
    main()
