"""A collection of a real Milvus 2.3.5, read in four ways. Arguments: WORK PORT PROGRAM READER PYARROW_PYTHON ROUNDS ROWS DIM.

Bounds: decoding at least as fast as pyarrow, a core each; into Parquet in no more than twice `cp -r` and fsync; 20 times faster than
pymilvus' iterator, in wall and in processor time of the client. What is written is read back and compared."""
import glob, json, os, resource, shutil, statistics, subprocess, sys, time

import numpy as np
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections

WORK, PORT, PROGRAM, READER, TABLES = sys.argv[1:6]
ROUNDS, ROWS, DIM = map(int, sys.argv[6:9])
STORAGE = os.path.join(WORK, "milvus", "data")


def timed(call):
    """seconds of the wall, and of the processor for this process and those it waited for"""
    def cpu():
        return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    before, start = cpu(), time.monotonic()
    value = call()
    return time.monotonic() - start, cpu() - before, value


def fill():
    connections.connect(uri="http://127.0.0.1:" + PORT)
    fields = [FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("v", DataType.FLOAT_VECTOR, dim=DIM)]
    c = Collection("offline", CollectionSchema(fields))
    step = max(1, min(ROWS, (40 << 20) // (4 * DIM)))
    random = np.random.default_rng(1)
    for at in range(0, ROWS, step):
        n = min(step, ROWS - at)
        c.insert([np.arange(at, at + n), list(random.standard_normal((n, DIM), np.float32))])
    c.flush()
    return c


def job(name, sink):
    path = os.path.join(WORK, name + ".yaml")
    with open(path, "w") as f:
        f.write("source: {milvus_files: {path: '%s'}}\nsink: %s\n" % (STORAGE, sink))
    return path


def ours(path, *more):
    done = subprocess.run([PROGRAM, "run", path, "--again", "--progress", "none", *more], capture_output=True, text=True)
    if done.returncode:
        sys.exit("%s: %d\n%s" % (path, done.returncode, done.stderr))


def to_parquet(n):
    out = os.path.join(WORK, "out-%d" % n)
    ours(job("out-%d" % n, "{parquet: {dir: '%s', compression: none}}" % out))
    return out


def decode():
    """bytes of vectors a second of processor: the program's reader, which discards the rows, from its start to its end"""
    path = job("read", "{parquet: {dir: none}}")
    _, cpu, done = timed(lambda: subprocess.run([READER, path], check=True, capture_output=True, text=True))
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    if rows != ROWS:
        sys.exit("%d rows were read" % rows)
    return ROWS * DIM * 4 / cpu


def copy(n):
    out = os.path.join(WORK, "copy-%d" % n)
    subprocess.run(["cp", "-r", os.path.join(STORAGE, "insert_log"), out], check=True)
    for path in glob.glob(out + "/**", recursive=True):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return out


def iterate(c):
    start = time.monotonic()
    c.load()
    print("loading: %.1f s" % (time.monotonic() - start), flush=True)
    iterator = c.query_iterator(batch_size=10000, output_fields=["id", "v"])
    rows = 0
    while True:
        page = iterator.next()
        if not page:
            return rows
        rows += len(page)


# Payload by payload, as pyarrow reads them: nothing is kept.
PYARROW = """
import glob, io, os, struct, sys, time
import pyarrow as pa, pyarrow.parquet as pq
pa.set_cpu_count(1)
paths = glob.glob(sys.argv[1] + '/insert_log/*/*/*/101/*')
files = [open(p, 'rb').read() for p in paths]
start, size = time.process_time(), 0
for data in files:
    at = 85 + struct.unpack_from('<i', data, 81)[0]
    length = struct.unpack_from('<i', data, at + 9)[0]
    table = pq.read_table(pa.BufferReader(memoryview(data)[at + 33:at + length]), use_threads=False)
    size += table.nbytes
print(size / (time.process_time() - start))
"""


def check(out):
    script = ("import glob, sys, pyarrow as pa, pyarrow.parquet as pq, pyarrow.compute as pc\n"
              "t = pa.concat_tables(pq.read_table(f, columns=['id']) for f in sorted(glob.glob(sys.argv[1] + '/*.parquet')))\n"
              "print(t.num_rows, pc.sum(t['id']).as_py(), pc.count_distinct(t['id']).as_py())")
    said = subprocess.run([TABLES, "-c", script, os.path.join(out, "offline/_default")], check=True, capture_output=True, text=True).stdout
    if said.split() != [str(ROWS), str(ROWS * (ROWS - 1) // 2), str(ROWS)]:
        sys.exit("what was written is not what was there: " + said)


def main():
    collection = fill()
    ratios = {"cp": [], "decode": []}
    for n in range(ROUNDS):
        copy_wall, _, copied = timed(lambda: copy(n))
        wall, cpu, out = timed(lambda: to_parquet(n))
        check(out)
        arrow = float(subprocess.run([TABLES, "-c", PYARROW, STORAGE], check=True, capture_output=True, text=True).stdout)
        mine = decode()
        ratios["cp"].append(wall / copy_wall)
        ratios["decode"].append(mine / arrow)
        print("round %d: into Parquet %.2f s, %.2f s of processor; cp -r and fsync %.2f s; pyarrow decodes %.0f MB/s of processor time, ours %.0f"
              % (n, wall, cpu, copy_wall, arrow / 1e6, mine / 1e6), flush=True)
        shutil.rmtree(out)
        shutil.rmtree(copied)
    collection.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    iterator_wall, iterator_cpu, rows = timed(lambda: iterate(collection))
    if rows != ROWS:
        sys.exit("the iterator gave %d rows" % rows)
    wall, cpu, out = timed(lambda: to_parquet(ROUNDS))
    by_wall, by_cpu = iterator_wall / wall, iterator_cpu / cpu
    print("pymilvus' iterator: %.1f s, %.1f s of processor (client); ours %.2f s, %.2f s" % (iterator_wall, iterator_cpu, wall, cpu))
    cp, decoding = (statistics.median(ratios[what]) for what in ("cp", "decode"))
    bounds = [("into Parquet / cp -r and fsync", cp, cp <= 2, "<= 2"), ("decode / pyarrow's decode", decoding, decoding >= 1, ">= 1"),
              ("iterator / ours, wall", by_wall, by_wall >= 20, ">= 20"), ("iterator / ours, processor", by_cpu, by_cpu >= 20, ">= 20")]
    for what, value, holds, bound in bounds:
        print("%-40s %6.2f  (%s)%s" % (what, value, bound, "" if holds else "  MISSED"))
    sys.exit(0 if all(holds for _, _, holds, _ in bounds) else 1)


main()
