"""What a user of pymilvus writes: columns inserted in batches of 4 MB, then a flush.

    column_insert.py PORT ROWS.npy COLLECTION
"""
import sys
import numpy as np
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections

port, path, name = sys.argv[1:]
rows = np.load(path, mmap_mode="r")
connections.connect(uri=f"http://127.0.0.1:{port}")
fields = [FieldSchema("id", DataType.INT64, is_primary=True),
          FieldSchema("embedding", DataType.FLOAT_VECTOR, dim=rows.shape[1])]
collection = Collection(name, CollectionSchema(fields), num_shards=1)
step = 4_000_000 // (4 * rows.shape[1] + 8)
for first in range(0, len(rows), step):
    batch = rows[first:first + step]
    collection.insert([np.arange(first, first + len(batch)), batch])
collection.flush()
assert collection.num_entities == len(rows)
