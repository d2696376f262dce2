"""What rows does a Milvus 2.x collection have? Prints {partition: [rows, digest]}, the digest as in the golden
directories: SHA-256 over the rows sorted by id, each its id (int64) and its vector's bytes.

    live_rows.py URI COLLECTION

Builds an index and loads the collection, as an application would. At most 16,384 rows to a partition.
"""
import hashlib, json, sys
import numpy as np
from pymilvus import Collection, DataType, connections

uri, name = sys.argv[1:3]
connections.connect(uri=uri)
collection = Collection(name)
binary = next(f for f in collection.schema.fields if f.name == "embedding").dtype == DataType.BINARY_VECTOR
if not collection.has_index():
    index = {"index_type": "BIN_FLAT", "metric_type": "JACCARD"} if binary else {"index_type": "FLAT", "metric_type": "L2"}
    collection.create_index("embedding", {**index, "params": {}})
collection.flush()
collection.load()
out = {}
for partition in collection.partitions:
    rows = collection.query("", output_fields=["id", "embedding"], limit=16384, partition_names=[partition.name],
                            consistency_level="Strong")
    vector = (lambda v: bytes(v[0])) if binary else (lambda v: np.array(v, "<f4").tobytes())
    rows = sorted((row["id"], vector(row["embedding"])) for row in rows)
    digest = hashlib.sha256(b"".join(int(i).to_bytes(8, "little", signed=True) + v for i, v in rows)).hexdigest()
    out[partition.name] = [len(rows), digest]
collection.release()
print(json.dumps(out))
