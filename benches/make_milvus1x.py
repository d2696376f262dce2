#!/usr/bin/env python3
"""Writes a large synthetic Milvus 1.x data directory (SQLite metadata) for benchmarks.

    make_milvus1x.py OUT_DIR [--rows 1000000] [--dim 128] [--segments 4] [--deleted 0.01] [--binary]

One collection, `bench`, with SEGMENTS raw segments; the last one is in its partition `p1`.
Correctness tests use tests/fixtures/milvus1x instead, which Milvus's own code wrote. Needs numpy. Prints the
live row count and payload bytes.
"""
import argparse, os, sqlite3, struct
import numpy as np

TABLES = """CREATE TABLE Tables (id INTEGER PRIMARY KEY NOT NULL, table_id TEXT UNIQUE NOT NULL, state INTEGER NOT NULL,
 dimension INTEGER NOT NULL, created_on INTEGER NOT NULL, flag INTEGER DEFAULT 0 NOT NULL, index_file_size INTEGER NOT NULL,
 engine_type INTEGER NOT NULL, index_params TEXT NOT NULL, metric_type INTEGER NOT NULL, owner_table TEXT DEFAULT '' NOT NULL,
 partition_tag TEXT DEFAULT '' NOT NULL, version TEXT DEFAULT '1.1.1' NOT NULL, flush_lsn INTEGER NOT NULL)"""
FILES = """CREATE TABLE TableFiles (id INTEGER PRIMARY KEY NOT NULL, table_id TEXT NOT NULL, segment_id TEXT DEFAULT '' NOT NULL,
 engine_type INTEGER DEFAULT 0 NOT NULL, file_id TEXT NOT NULL, file_type INTEGER NOT NULL, file_size INTEGER DEFAULT 0 NOT NULL,
 row_count INTEGER DEFAULT 0 NOT NULL, updated_time INTEGER NOT NULL, created_on INTEGER NOT NULL, date INTEGER DEFAULT -1 NOT NULL,
 flush_lsn INTEGER NOT NULL)"""

def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out"); a.add_argument("--rows", type=int, default=1_000_000); a.add_argument("--dim", type=int, default=128)
    a.add_argument("--segments", type=int, default=4); a.add_argument("--deleted", type=float, default=0.01); a.add_argument("--binary", action="store_true")
    a = a.parse_args()
    db = os.path.join(a.out, "db"); os.makedirs(db)
    sql = sqlite3.connect(os.path.join(db, "meta.sqlite")); sql.execute(TABLES); sql.execute(FILES)
    sql.execute("CREATE TABLE Environment (global_lsn INTEGER DEFAULT 0 NOT NULL)"); sql.execute("INSERT INTO Environment VALUES (0)")
    sql.execute("CREATE TABLE Fields (collection_id TEXT NOT NULL, field_name TEXT NOT NULL, field_type INTEGER NOT NULL, field_params TEXT NOT NULL)")
    metric = 3 if a.binary else 1
    row = "INSERT INTO Tables (table_id,state,dimension,created_on,flag,index_file_size,engine_type,index_params,metric_type,owner_table,partition_tag,version,flush_lsn) VALUES (?,0,?,0,?,1073741824,1,'{}',?,?,?,'1.1.1',0)"
    sql.execute(row, ("bench", a.dim, 2, metric, "", "")); sql.execute(row, ("1795363735800000000", a.dim, 0, metric, "bench", "p1"))
    rng = np.random.default_rng(7); live = payload = 0
    for s in range(a.segments):
        n = a.rows // a.segments; table = "1795363735800000000" if s == a.segments - 1 and s else "bench"
        seg = str(1795363735900000000 + s); d = os.path.join(db, "tables", table, seg); os.makedirs(d)
        v = rng.integers(0, 256, (n, a.dim // 8), dtype=np.uint8) if a.binary else rng.standard_normal((n, a.dim), dtype=np.float32)
        dead = rng.choice(n, int(n * a.deleted), replace=False).astype("<i4")
        for name, arr in ((seg + ".rv", v), (seg + ".uid", np.arange(s * n, (s + 1) * n, dtype="<i8")), ("deleted_docs", dead)):
            with open(os.path.join(d, name), "wb") as f: f.write(struct.pack("<Q", arr.nbytes)); arr.tofile(f)
        sql.execute("INSERT INTO TableFiles (table_id,segment_id,engine_type,file_id,file_type,file_size,row_count,updated_time,created_on,date,flush_lsn) VALUES (?,?,1,?,1,?,?,0,0,0,0)", (table, seg, seg, v.nbytes + 8 * n, n - len(dead)))
        live += n - len(dead); payload += v.nbytes + 8 * n
    sql.commit(); print(f"live_rows={live} payload_bytes={payload}")

main()
