"""Rows for tests that kill: a Faiss file of them, and whether a Milvus 2.x collection holds just them.

    soak.py make FILE ROWS DIM             an IDMap over flat rows, ids in no order
    soak.py check ADDRESS COLLECTION ROWS DIM    JSON: rows counted, rows compared, rows that differ
"""
import json, sys
import numpy as np

what, place, *rest = sys.argv[1:]
rows, dim = int(rest[-2]), int(rest[-1])
rng = np.random.default_rng(11)
vectors = rng.standard_normal((rows, dim), dtype=np.float32)
ids = rng.permutation(rows).astype(np.int64) * 3 - rows
if what == "make":
    import faiss

    index = faiss.IndexIDMap(faiss.IndexFlatL2(dim))
    index.add_with_ids(vectors, ids)
    faiss.write_index(index, place)
else:
    from pymilvus import Collection, connections

    connections.connect(uri="http://" + place)
    c = Collection(rest[0])
    if not c.has_index():
        c.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    counted = c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
    compared, differ = 0, []
    for at in range(0, rows, 4000):
        want = {int(i): v.tobytes() for i, v in zip(ids[at:at + 4000], vectors[at:at + 4000])}
        found = c.query(f"id in {list(want)}", output_fields=["id", "embedding"], consistency_level="Strong")
        for row in found:
            compared += 1
            if want.pop(row["id"], None) != np.array(row["embedding"], "<f4").tobytes():
                differ.append(row["id"])
        differ.extend(want)
    print(json.dumps({"counted": counted, "compared": compared, "differ": differ[:10]}))
