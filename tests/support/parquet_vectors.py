"""Reads vectors out of a directory of Parquet files with pyarrow, pandas, polars and DuckDB, and compares each with a .fbin file.

    parquet_vectors.py DIR FILE.fbin
"""
import glob, os, sys
import duckdb, numpy as np, pandas, polars, pyarrow.parquet as pq

files = sorted(glob.glob(os.path.join(sys.argv[1], "*.parquet")))
rows, dim = np.fromfile(sys.argv[2], "<u4", 2)
meant = np.fromfile(sys.argv[2], "<f4", offset=8).reshape(rows, dim)


def same(name, found, ids):
    found = np.concatenate([np.asarray(v, dtype="<f4") for v in found]).reshape(rows, dim)
    assert found.tobytes() == meant.tobytes(), name
    assert list(ids) == list(range(rows)), name


table = pq.read_table(files)
same("pyarrow", [table.column("embedding").combine_chunks().flatten().to_numpy()], table.column("id").to_pylist())
assert str(table.schema.field("embedding")) == "pyarrow.Field<embedding: list<element: float not null> not null>"
frame = polars.read_parquet(files)
same("polars", [frame["embedding"].explode().to_numpy()], frame["id"])
found = duckdb.sql(f"select id, embedding from read_parquet({files!r})").fetchall()
same("duckdb", [row[1] for row in found], [row[0] for row in found])
frame = pandas.concat([pandas.read_parquet(file) for file in files])
same("pandas", list(frame["embedding"]), list(frame["id"]))
# Some rows of the middle only: readers skip pages by what their headers say.
part = pq.ParquetFile(files[0])
group = part.metadata.num_row_groups // 2
first = sum(part.metadata.row_group(g).num_rows for g in range(group))
vectors = part.read_row_group(group).column("embedding").combine_chunks().flatten().to_numpy()
assert vectors.tobytes() == meant[first:first + len(vectors) // dim].tobytes()
print(f"{rows} rows of {dim}")
