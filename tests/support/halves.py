"""Indexes whose vectors are to become halves, what numpy makes of them, and what a server holds.

    halves.py make DIRECTORY                  flat.index, normalised and cast: float16.want, bfloat16.want;
                                              halves.index, brains.index: fp16 and bf16 quantizers with every
                                              finite code: halves.want, brains.want;
                                              prints the largest relative error of each cast (JSON)
    halves.py read ADDRESS COLLECTION OUT     writes the vectors' bytes, in the order of ids from 0 on
"""

import json
import sys

import numpy as np


def make(directory):
    import faiss

    x = np.random.default_rng(7).standard_normal((3000, 32)).astype("<f4")
    x[5] *= 1e-30
    x[6] *= 1e30
    index = faiss.IndexFlatL2(32)
    index.add(x)
    faiss.write_index(index, directory + "/flat.index")

    # The program's order: sixteen sums, then halves onto halves.
    squares = (x.astype("<f8") ** 2).reshape(-1, 2, 16)
    sums = squares[:, 0] + squares[:, 1]
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    unit = (x * (1.0 / np.sqrt(sums))).astype("<f4")
    assert np.allclose(np.linalg.norm(unit.astype("<f8"), axis=1), 1, atol=1e-6)

    half = unit.astype("<f2")
    bits = unit.view("<u4")
    brain = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
    half.tofile(directory + "/float16.want")
    brain.tofile(directory + "/bfloat16.want")
    wide = {"float16": half.astype("<f4"), "bfloat16": (brain.astype("<u4") << 16).view("<f4")}
    error = {name: float(np.max(np.abs((y - unit) / unit))) for name, y in wide.items()}

    kinds = [("halves", faiss.ScalarQuantizer.QT_fp16, 0x7C00), ("brains", faiss.ScalarQuantizer.QT_bf16, 0x7F80)]
    for name, kind, exponent in kinds:
        codes = np.arange(65536, dtype="<u2")
        codes = codes[codes & exponent != exponent]
        codes.tofile(f"{directory}/{name}.want")
        index = faiss.IndexScalarQuantizer(8, kind)
        faiss.copy_array_to_vector(codes.view(np.uint8).copy(), index.codes)
        index.ntotal = len(codes) // 8
        faiss.write_index(index, f"{directory}/{name}.index")
    print(json.dumps(error))


def read(address, name, out):
    from pymilvus import Collection, connections

    connections.connect(uri="http://" + address)
    collection = Collection(name)
    collection.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    collection.load()
    first = 0
    with open(out, "wb") as file:
        while True:
            rows = collection.query(f"id >= {first} and id < {first + 1000}", output_fields=["id", "embedding"])
            if not rows:
                break
            rows.sort(key=lambda row: row["id"])
            assert [row["id"] for row in rows] == list(range(first, first + len(rows)))
            file.writelines(row["embedding"][0] for row in rows)
            first += 1000


{"make": make, "read": read}[sys.argv[1]](*sys.argv[2:])
