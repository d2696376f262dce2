"""Parquet files of vectors with large pages, small pages, and pages that rows run across.

    parquet_large.py DIR    component c of row r is r * 40 + c; in `null`, row 4000 has no vector, in `short` 39 components
"""
import os, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq

ROWS, DIM = 5000, 40
x = np.arange(ROWS * DIM, dtype="<f4").reshape(ROWS, DIM)
ids = pa.array(np.arange(ROWS))


def write(name, vectors, **settings):
    settings = {"compression": "none", "use_dictionary": False, "row_group_size": 3000} | settings
    table = pa.table({"title": pa.array([f"row {i}" for i in range(ROWS)]), "embedding": vectors, "id": ids})
    pq.write_table(table, os.path.join(sys.argv[1], name + ".parquet"), **settings)


lists = pa.array(list(x), type=pa.list_(pa.float32()))
for version in ["1.0", "2.0"]:
    write("plain_" + version, lists, data_page_version=version)
    write("zstd_" + version, lists, data_page_version=version, compression="zstd")
    write("small_" + version, lists, data_page_version=version, data_page_size=100, write_batch_size=1000)
    write("across_" + version, lists, data_page_version=version, data_page_size=100_000, write_batch_size=25_010)
write("fixed", pa.array([row.tobytes() for row in x], type=pa.binary(DIM * 4)))
write("sized", pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), DIM))
write("null", pa.array([None if r == 4000 else row for r, row in enumerate(x)], type=pa.list_(pa.float32())))
write("short", pa.array([row[: DIM - (r == 4000)] for r, row in enumerate(x)], type=pa.list_(pa.float32())))
