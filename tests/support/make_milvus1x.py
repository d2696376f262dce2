"""Makes a small Milvus 1.x data directory with SQLite metadata, and says what is in it.

    make_milvus1x.py OUT SPEC

SPEC is JSON: [{"collection", "dimension", "metric": 1 … 7, "partitions": {tag: [first id, last id + 1]}}]; the default
partition's tag is "". OUT/milvus is the directory, OUT/expected.json says of each table what the golden ones say.
Every tenth row is marked deleted. Standard library only.
"""

import hashlib
import json
import os
import random
import sqlite3
import struct
import sys

TABLES = """CREATE TABLE Tables (id INTEGER PRIMARY KEY NOT NULL, table_id TEXT UNIQUE NOT NULL, state INTEGER NOT NULL,
 dimension INTEGER NOT NULL, created_on INTEGER NOT NULL, flag INTEGER DEFAULT 0 NOT NULL,
 index_file_size INTEGER NOT NULL, engine_type INTEGER NOT NULL, index_params TEXT NOT NULL,
 metric_type INTEGER NOT NULL, owner_table TEXT DEFAULT '' NOT NULL, partition_tag TEXT DEFAULT '' NOT NULL,
 version TEXT DEFAULT '1.1.1' NOT NULL, flush_lsn INTEGER NOT NULL)"""
FILES = """CREATE TABLE TableFiles (id INTEGER PRIMARY KEY NOT NULL, table_id TEXT NOT NULL,
 segment_id TEXT DEFAULT '' NOT NULL, engine_type INTEGER DEFAULT 0 NOT NULL, file_id TEXT NOT NULL,
 file_type INTEGER NOT NULL, file_size INTEGER DEFAULT 0 NOT NULL, row_count INTEGER DEFAULT 0 NOT NULL,
 updated_time INTEGER NOT NULL, created_on INTEGER NOT NULL, date INTEGER DEFAULT -1 NOT NULL,
 flush_lsn INTEGER NOT NULL)"""
FIELDS = """CREATE TABLE Fields (collection_id TEXT NOT NULL, field_name TEXT NOT NULL, field_type INTEGER NOT NULL,
 field_params TEXT NOT NULL)"""


def sized(path, data):
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(data)) + data)


out, spec = sys.argv[1:]
db = os.path.join(out, "milvus", "db")
os.makedirs(db)
sql = sqlite3.connect(os.path.join(db, "meta.sqlite"))
for statement in (TABLES, FILES, FIELDS, "CREATE TABLE Environment (global_lsn INTEGER DEFAULT 0 NOT NULL)"):
    sql.execute(statement)
sql.execute("INSERT INTO Environment VALUES (0)")
random.seed(7)
number = 1795363735800000000
expected = []
for wanted in json.loads(spec):
    name, dimension, metric = wanted["collection"], wanted["dimension"], wanted["metric"]
    binary = metric in (3, 4, 5, 6, 7)
    engine = 9 if binary else 1
    for tag, (first, end) in [("", wanted["partitions"].get("", (0, 0)))] + [
        p for p in wanted["partitions"].items() if p[0]
    ]:
        number += 1000
        table, owner = (str(number), name) if tag else (name, "")
        sql.execute(
            "INSERT INTO Tables (table_id, state, dimension, created_on, index_file_size, engine_type, index_params,"
            " metric_type, owner_table, partition_tag, flush_lsn) VALUES (?,0,?,0,1073741824,?,'{}',?,?,?,0)",
            (table, dimension, engine, metric, owner, tag),
        )
        rows = []
        for key in range(first, end):
            floats = [random.gauss(0, 1) for _ in range(dimension)]
            vector = random.randbytes(dimension // 8) if binary else struct.pack(f"<{dimension}f", *floats)
            rows.append((struct.pack("<q", key), vector, key))
        live = [r for i, r in enumerate(rows) if i % 10 != 3]
        if rows:
            number += 1000
            directory = os.path.join(db, "tables", table, str(number))
            os.makedirs(directory)
            vectors = b"".join(v for _, v, _ in rows)
            sized(os.path.join(directory, f"{number}.rv"), vectors)
            sized(os.path.join(directory, f"{number}.uid"), b"".join(k for k, _, _ in rows))
            dead = [i for i in range(len(rows)) if i % 10 == 3]
            sized(os.path.join(directory, "deleted_docs"), struct.pack(f"<{len(dead)}i", *dead))
            sql.execute(
                "INSERT INTO TableFiles (table_id, segment_id, engine_type, file_id, file_type, file_size, row_count,"
                " updated_time, created_on, date, flush_lsn) VALUES (?,?,?,?,1,?,?,0,0,0,0)",
                (table, str(number), engine, str(number), len(vectors) + 8 * len(rows), len(live)),
            )
        ordered = sorted(live, key=lambda r: (r[2], r[1]))
        digest = hashlib.sha256(b"".join(k + v for k, v, _ in ordered)).hexdigest()
        expected.append(
            {"collection": name, "partition_tag": tag, "live_rows": len(live), "live_sorted_sha256": digest}
        )
sql.commit()
with open(os.path.join(out, "expected.json"), "w") as file:
    json.dump({"tables": expected}, file)
