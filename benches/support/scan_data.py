"""The same 200,000 x 128 rows as every reader finds them; see benches/scan.rs.

    scan_data.py DIR
"""
import os, subprocess, sys
import faiss, h5py, numpy as np

out = sys.argv[1]
rows = np.random.default_rng(7).standard_normal((200_000, 128), dtype=np.float32)
flat = faiss.IndexFlatL2(128)
flat.add(rows)
faiss.write_index(flat, f"{out}/flat.index")
ivf = faiss.index_factory(128, "IVF256,Flat")
ivf.train(rows[:20_000])
ivf.add(rows)
faiss.write_index(ivf, f"{out}/ivf.index")
sq8 = faiss.index_factory(128, "SQ8")
sq8.train(rows)
sq8.add(rows)
faiss.write_index(sq8, f"{out}/sq8.index")
for name, settings in (("plain", {}), ("chunked", {"chunks": (8192, 128)}),
                       ("gzip", {"chunks": (8192, 128), "compression": "gzip", "compression_opts": 1, "shuffle": True})):
    with h5py.File(f"{out}/{name}.h5", "w") as file:
        file.create_dataset("embeddings", data=rows, **settings)
        file["ids"] = np.arange(len(rows))
with h5py.File(f"{out}/doubles.h5", "w") as file:
    file["embeddings"] = rows.astype(">f8")
    file["ids"] = np.arange(len(rows))
make = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "make_milvus1x.py")
for name, deleted in (("whole", 0), ("deleted", 0.01)):
    subprocess.run([sys.executable, make, f"{out}/{name}", "--rows", "200000", "--deleted", str(deleted)],
                   check=True, stdout=subprocess.DEVNULL)
