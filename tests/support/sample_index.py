"""Makes the demo's Faiss index: IDMap over Flat, 100,000 x 128, ids 1,000,000 and up; the rows also as .npy."""
import sys
import faiss, numpy as np

path = sys.argv[1]
rows = np.random.default_rng(1).standard_normal((100_000, 128), dtype=np.float32)
ids = np.arange(1_000_000, 1_100_000, dtype=np.int64)
index = faiss.IndexIDMap(faiss.IndexFlatL2(128))
index.add_with_ids(rows, ids)
faiss.write_index(index, path)
np.save(path.replace(".index", ".npy"), rows)
