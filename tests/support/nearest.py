"""Asks a server, through pymilvus: how many rows, and which is nearest to a row we know?

    nearest.py URI COLLECTION ROWS.npy

The rows' ids are 1,000,000 and up. Builds an index and loads the collection, as an application would.
"""
import sys
import numpy as np
from pymilvus import Collection, connections

uri, name, rows = sys.argv[1], sys.argv[2], np.load(sys.argv[3])
connections.connect(uri=uri)
collection = Collection(name)
if not collection.has_index():
    collection.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
collection.load()
count = collection.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
print(f"   count(*) = {count}")
assert count == len(rows), f"expected {len(rows)}"
for row in (0, 41_999, len(rows) - 1):
    hit = collection.search([rows[row]], "embedding", {"metric_type": "L2"}, limit=1, consistency_level="Strong")[0][0]
    print(f"   nearest to row {row}: id {hit.id} at distance {hit.distance:.3f}")
    assert hit.id == 1_000_000 + row and hit.distance < 1e-3
print(f"   verified: {count} rows")
