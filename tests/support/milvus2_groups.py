"""Makes the segments of a backup those of storage V2, from its description: a bare Parquet file for each group of columns, named
and numbered by fields; deletions without an envelope. Argument: the directory of the backup, of which full_meta.json is read.

Group 0 has row numbers, moments and the key, group 1 the other columns that are no vectors, each vector a group of its field's number."""
import json, os, shutil, struct, sys

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = sys.argv[1]
META = os.path.join(ROOT, "meta", "full_meta.json")
VECTORS = {100, 101, 102, 103, 104, 105}


def payload(path):
    with open(path, "rb") as f:
        data = f.read()
    at = 85 + struct.unpack_from("<i", data, 81)[0]
    length = struct.unpack_from("<i", data, at + 9)[0]
    return pq.read_table(pa.BufferReader(data[at + 33:at + length])).column(0)


def write(path, columns):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fields = [pa.field(name, values.type, metadata={"PARQUET:field_id": str(number)}) for number, name, values in columns]
    table = pa.table([values for _, _, values in columns], schema=pa.schema(fields))
    pq.write_table(table, path, compression="zstd", row_group_size=37, store_schema=False)


def segment(of, schema):
    kinds = {field["fieldID"]: (field["name"], field["data_type"]) for field in schema["fields"]}
    key = next(field["fieldID"] for field in schema["fields"] if field.get("is_primary_key"))
    place = [str(of["collection_id"]), str(of["partition_id"]), str(of["group_id"]), str(of["segment_id"])]
    logs = {logs.get("fieldID", 0): sorted(log["log_id"] for log in logs["binlogs"]) for logs in of.get("binlogs", [])}
    groups = {}
    for number in logs:
        kind = kinds.get(number, ("", 0))[1]
        group = 0 if number in (0, 1, key) else number if kind in VECTORS else 1
        groups.setdefault(group, []).append(number)
    old = os.path.join(ROOT, "binlogs", "insert_log", *place)
    new = old + ".new"
    for group, members in groups.items():
        for chunk, log in enumerate(logs[members[0]]):
            columns = [(n, kinds.get(n, ("field %d" % n, 0))[0], payload(os.path.join(old, str(n), str(logs[n][chunk])))) for n in members]
            write(os.path.join(new, str(group), str(log)), columns)
    shutil.rmtree(old)
    os.rename(new, old)
    of["storage_version"] = 2
    of["binlogs"] = [{"fieldID": group, "binlogs": [{"log_id": log} for log in logs[members[0]]]} for group, members in sorted(groups.items())]
    for deltas in of.get("deltalogs", []):
        for log in deltas["binlogs"]:
            path = os.path.join(ROOT, "binlogs", "delta_log", *place, str(log["log_id"]))
            records = [json.loads(text) for text in payload(path).to_pylist()]
            kind = pa.string() if isinstance(records[0]["pk"], str) else pa.int64()
            write(path, [(0, "pk", pa.array([r["pk"] for r in records], kind)), (1, "ts", pa.array([r["ts"] for r in records], pa.int64()))])


with open(META) as f:
    meta = json.load(f)
for collection in meta["collection_backups"]:
    for partition in collection["partition_backups"]:
        for of in partition.get("segment_backups", []):
            of.setdefault("partition_id", partition["partition_id"])
            of.setdefault("collection_id", collection["collection_id"])
            segment(of, collection["schema"])
with open(META, "w") as f:
    json.dump(meta, f)
