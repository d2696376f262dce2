"""Reads collections of a Milvus 2.x server back, and digests what HDF5 files hold, to be compared with what was meant.

    read_back.py ADDRESS server COLLECTION…    JSON: what each collection is and holds; null where there is none
    read_back.py -       h5 FILE               JSON: digests of the file's rows

A digest is the SHA-256 over each row's id as little-endian i64 and its vector's bytes, sorted by both. Collections
without an index get a FLAT or BIN_FLAT one, because only what has one can be loaded.
"""

import hashlib
import json
import struct
import sys
from concurrent.futures import ThreadPoolExecutor


def digest(rows):
    total = hashlib.sha256()
    for key, vector in rows:
        total.update(struct.pack("<q", key) + vector)
    return total.hexdigest()


def h5(path):
    import h5py
    import numpy as np

    with h5py.File(path, "r") as file:
        ids = [int(i) for i in file["ids"][:]]
        vectors = file["embeddings"]
        if vectors.dtype.kind == "S":
            # h5py gives NUL bytes at the end up; the raw bytes have them.
            raw = np.fromfile(path, dtype=np.uint8, count=vectors.nbytes, offset=vectors.id.get_offset())
            vectors = [bytes(v) for v in raw.reshape(len(ids), -1)]
        elif vectors.dtype.kind == "f":
            vectors = [v.tobytes() for v in vectors[:].astype("<f4")]
        else:
            vectors = [v.tobytes() for v in vectors[:]]
    rows = list(zip(ids, vectors))
    return {"rows": len(rows), "in_order": digest(rows), "sorted": digest(sorted(rows))}


def server(address, names):
    from pymilvus import connections

    connections.connect(uri="http://" + address)
    # Indexing and loading is mostly waiting.
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(names, pool.map(collection, names)))


def collection(name):
    from pymilvus import Collection, DataType, utility

    if not utility.has_collection(name):
        return None
    c = Collection(name)
    key, field = c.schema.fields
    index = c.indexes[0].params if c.indexes else None
    if not index:
        binary = field.dtype == DataType.BINARY_VECTOR
        kind, metric = ("BIN_FLAT", "HAMMING") if binary else ("FLAT", "L2")
        c.create_index(field.name, {"index_type": kind, "metric_type": metric, "params": {}})
    c.load()
    count = c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
    said = {
        "fields": [key.name, field.name],
        "type": field.dtype.name,
        "dimension": field.params["dim"],
        "index": index and index["index_type"],
        "metric": index and index["metric_type"],
        "partitions": {p.name: partition(c, p.name) for p in c.partitions},
        "count": count,
    }
    c.release()
    return said


def partition(c, name):
    key, field = c.schema.fields
    rows = []
    for half in (f"{key.name} > 0", f"{key.name} <= 0"):
        found = c.query(
            half,
            output_fields=[key.name, field.name],
            partition_names=[name],
            limit=16384,
            consistency_level="Strong",
        )
        assert len(found) < 16384, "more rows than one answer holds"
        rows.extend((row[key.name], as_bytes(row[field.name])) for row in found)
    return {"rows": len(rows), "sorted": digest(sorted(rows))}


def as_bytes(vector):
    if isinstance(vector, list) and vector and isinstance(vector[0], bytes):
        return vector[0]
    return vector if isinstance(vector, bytes) else struct.pack(f"<{len(vector)}f", *vector)


address, what, *names = sys.argv[1:]
print(json.dumps(h5(*names) if what == "h5" else server(address, names)))
