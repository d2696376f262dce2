"""Rows for tests of what stands between, and whether a Milvus 2.x collection holds them.

    promise.py make FILE ROWS DIM                       an HDF5 file; ids from 0
    promise.py check ADDRESS COLLECTION ROWS DIM        JSON: rows there, of the job and of others, and what is wrong
    promise.py strange ADDRESS COLLECTION FIRST ROWS DIM [PARTITION]    writes rows of somebody else, vectors of -1
    promise.py make_strange ADDRESS COLLECTION FIRST ROWS DIM           the same, and makes the collection first
"""

import json
import sys
import time

import numpy as np

what, place, *rest = sys.argv[1:]


def vectors(rows, dim):
    return np.random.default_rng(7).standard_normal((rows, dim), dtype=np.float32)


if what == "make":
    import h5py

    rows, dim = map(int, rest)
    with h5py.File(place, "w") as f:
        f["embeddings"] = vectors(rows, dim)
        f["ids"] = np.arange(rows, dtype="<i8")
    sys.exit()

from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, MilvusException, connections

connections.connect(uri="http://" + place)
if what.endswith("strange"):
    name, first, rows, dim, *partition = rest
    first, rows, dim = int(first), int(rows), int(dim)
    key = FieldSchema("id", DataType.INT64, is_primary=True)
    fields = [key, FieldSchema("embedding", DataType.FLOAT_VECTOR, dim=dim)]
    c = Collection(name, CollectionSchema(fields) if what.startswith("make") else None)
    if partition and not c.has_partition(partition[0]):
        c.create_partition(partition[0])
    data = [list(range(first, first + rows)), [[-1.0] * dim] * rows]
    print(c.insert(data, partition_name=partition[0] if partition else None).insert_count)
    sys.exit()


def look(name, rows, dim):
    c = Collection(name)
    if not c.has_index():
        c.flush()
        c.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()

    def count(expr):
        return c.query(expr, output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]

    wanted, wrong, step = vectors(rows, dim), 0, 4000
    for at in range(0, rows, step):
        found = c.query(f"id >= {at} and id < {min(rows, at + step)}", output_fields=["id", "embedding"],
                        consistency_level="Strong", limit=step)
        here = {row["id"]: np.array(row["embedding"], "<f4").tobytes() for row in found}
        wrong += sum(here.get(i) != wanted[i].tobytes() for i in range(at, min(rows, at + step)))
    others = c.query(f"id >= {rows}", output_fields=["embedding"], consistency_level="Strong", limit=16000)
    changed = sum(row["embedding"] != [-1.0] * dim for row in others)
    return {"count": count(f"id >= 0 and id < {rows}"), "wrong": wrong,
            "others": count(f"id >= {rows}"), "others_changed": changed}


# A server that was killed, or has no processor to itself, may have no node for a while.
until = time.monotonic() + 180
while True:
    try:
        print(json.dumps(look(rest[0], int(rest[1]), int(rest[2]))))
        break
    except MilvusException:
        if time.monotonic() > until:
            raise
        time.sleep(1)
