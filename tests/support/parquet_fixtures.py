"""Writes tests/fixtures/parquet: small files with columns of all types, which fuzzing starts from.

    parquet_fixtures.py DIR
"""
import datetime, decimal, os, sys
import pyarrow as pa
import pyarrow.parquet as pq

d = sys.argv[1]
n = 12
pairs = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
columns = {
    "id": pa.array(range(n)),
    "v": pa.array([[i * 0.5] * 4 for i in range(n)], pa.list_(pa.float32())),
    "b": pa.array([i % 2 == 0 for i in range(n)]),
    "i": pa.array([None, *range(1, n)], pa.int16()),
    "u": pa.array(range(n), pa.uint64()),
    "h": pa.array([0.5] * n, pa.float16()),
    "t": pa.array([None, *["text" * (i % 3) for i in range(1, n)]]),
    "d": pa.array([datetime.date(2024, 2, 29)] * n),
    "m": pa.array([datetime.datetime(2024, 2, 29)] * n, pa.timestamp("ns")),
    "c": pa.array([decimal.Decimal("1.10")] * n, pa.decimal128(9, 2)),
    "x": pa.array([b"0123456789abcdef"] * n, pa.binary(16)),
    "l": pa.array([["a"] * (i % 3) for i in range(n)]),
    "s": pa.array([{"indices": [1, 5], "values": [0.5, 1.5]}] * n, pairs),
}
table = pa.table(columns)
pq.write_table(table, os.path.join(d, "types_v1.parquet"), compression="snappy", row_group_size=7)
delta = {"id": "DELTA_BINARY_PACKED", "t": "DELTA_BYTE_ARRAY", "h": "BYTE_STREAM_SPLIT"}
pq.write_table(table, os.path.join(d, "types_v2.parquet"), compression="zstd", data_page_version="2.0", use_dictionary=False, column_encoding=delta, store_schema=False)
pq.write_table(table.select(["id", "v"]), os.path.join(d, "vectors.parquet"), compression="none", use_dictionary=False, store_schema=False)
